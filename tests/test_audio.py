"""Sound: whatever a provider sends becomes mono 16-bit samples or an error that says why not."""

from __future__ import annotations

import array
import io
import itertools
import struct
import sys
import tracemalloc
import wave
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench import audio
from llmbench.audio import (
    FORMATS,
    Sound,
    decode,
    encode_file,
    format_for,
    nearest_rate,
    resample,
    smooth_edges,
    wav_bytes,
)
from llmbench.errors import ConfigError, ParamError, ProviderError
from tests.servers.speech_provider import RATE_HZ, coded, tone, wav

pytest.importorskip("av")
TONE = tone("x" * 50)  # one second
SEEDS = [
    *(wav(tone("abc"), bits=bits, channels=channels) for bits, channels in ((16, 1), (24, 1), (16, 2))),
    *(coded(tone("abc"), name) for name in ("mp3", "opus", "flac", "aac")),
]


def numbers(pcm: bytes) -> array.array:
    values = array.array("h")
    values.frombytes(pcm)
    return values


def failed(data: bytes, mime: str | None = "audio/wav") -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        decode(data, mime)
    return caught.value


# ---- decode


@pytest.mark.parametrize("size", [None, 0xFFFFFFFF, 0x7FFFFFFF, 0], ids=["right", "all-ones", "half", "zero"])
def test_a_wav_is_read_whole_whatever_a_streaming_header_says_of_its_size(size):
    assert decode(wav(TONE, size=size), "audio/wav") == Sound(TONE, RATE_HZ)


def test_parts_before_and_after_the_samples_of_a_wav_are_no_sound():
    extra = struct.pack("<4sI", b"LIST", 5) + b"INFO!\0"
    made = wav(TONE)
    made = made[:12] + extra + made[12:] + extra
    assert decode(made, "audio/wav").pcm == TONE


def test_a_wav_is_known_by_its_bytes_and_not_by_its_name():
    assert decode(wav(TONE), "audio/mpeg").pcm == TONE
    assert decode(wav(TONE), "audio/L16;rate=8000") == Sound(TONE, RATE_HZ)
    assert decode(wav(TONE), None).pcm == TONE


@pytest.mark.parametrize(
    ("bits", "scaled"),
    [
        (8, lambda value: struct.pack("<B", value // 256 + 128)),
        (24, lambda value: struct.pack("<i", value * 256)[:3]),
        (32, lambda value: struct.pack("<i", value * 65536)),
    ],
)
def test_samples_of_other_depths_become_16_bit(bits, scaled):
    wide = b"".join(map(scaled, numbers(TONE)))
    sound = decode(wav(wide, bits=bits), "audio/wav")
    apart = [abs(a - b) for a, b in zip(numbers(sound.pcm), numbers(TONE), strict=True)]
    assert max(apart) <= (256 if bits == 8 else 1)


def test_two_channels_are_mixed_to_one_of_the_same_length():
    both = b"".join(struct.pack("<hh", value, value) for value in numbers(TONE))
    sound = decode(wav(both, channels=2), "audio/wav")
    assert (sound.samples, sound.rate_hz) == (len(TONE) // 2, RATE_HZ)
    assert max(map(abs, numbers(sound.pcm))) > 5000
    raw = decode(both, "audio/L16;rate=24000;channels=2")
    assert raw == sound


@pytest.mark.parametrize(
    ("mime", "rate"),
    [
        ("audio/L16;codec=pcm;rate=16000", 16_000),
        ("audio/pcm; Rate=44100", 44_100),
        ("AUDIO/PCM", 22_050),
        ("audio/pcm;rate=fast", 22_050),
    ],
)
def test_raw_samples_have_the_rate_of_their_type_or_else_the_models(mime, rate):
    assert decode(TONE, mime, 22_050) == Sound(TONE, rate)


def test_half_a_sample_at_the_end_of_raw_audio_is_left_out():
    assert decode(TONE + b"\1", "audio/pcm").pcm == TONE


@pytest.mark.parametrize("name", ["mp3", "opus", "flac", "aac"])
def test_coded_audio_is_decoded_to_its_duration_whatever_it_is_called(name):
    sound = decode(coded(TONE, name), "application/octet-stream")
    assert sound.duration_s == pytest.approx(1, abs=0.1)
    assert 6000 < max(map(abs, numbers(sound.pcm))) < 12_000
    if name == "flac":
        assert sound.pcm == TONE


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (b"", "audio/wav"),
        (wav(b""), "audio/wav"),
        (b"\1", "audio/pcm"),
        (wav(b"", channels=2), "audio/wav"),
    ],
    ids=["nothing", "a header alone", "half a sample", "a stereo header"],
)
def test_an_answer_without_samples_is_no_media(data, mime):
    assert failed(data, mime).kind == "no_media"


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (b"\0<html>\xff" * 40, "audio/mpeg"),
        (b"ID3EXAMPLE", "audio/mpeg"),
        (wav(TONE)[:20_000], "audio/wav"),
        (wav(TONE)[:30], "audio/wav"),
        (b"RIFF\0\0\0\0AVI " + bytes(40), "audio/wav"),
        (b"RIFF", "audio/wav"),
        (wav(TONE, rate_hz=0), "audio/wav"),
        (wav(TONE, rate_hz=4_000_000), "audio/wav"),
        (wav(TONE, channels=0), "audio/wav"),
        (wav(TONE, bits=0), "audio/wav"),
        (wav(TONE, bits=255, channels=2), "audio/wav"),
        (wav(TONE, channels=3000), "audio/wav"),
        (TONE, "audio/pcm;rate=3"),
        (coded(TONE, "opus")[:60], "audio/ogg"),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else value,  # some have random bytes
)
def test_what_is_no_usable_audio_is_malformed_and_says_why(data, mime):
    error = failed(data, mime)
    assert error.kind == "malformed"
    assert str(error).startswith("the audio of the answer cannot be used: ")
    assert "\n" not in str(error)


@pytest.mark.parametrize("mime", ["audio/mpeg", "audio/ogg", "", None])
def test_an_answer_that_names_other_files_is_not_followed(monkeypatch, tmp_path, mime):
    (tmp_path / "private.wav").write_bytes(wav(TONE))
    monkeypatch.chdir(tmp_path)
    assert failed(b"ffconcat version 1.0\nfile private.wav\n", mime).kind == "malformed"


def test_an_answer_that_decodes_to_far_more_than_it_holds_is_refused(monkeypatch):
    monkeypatch.setattr(audio, "MAX_PCM_BYTES", 2**20)
    silence = coded(bytes(3 * 2**20), "flac")
    assert len(silence) < 2**17
    assert failed(silence, "audio/flac").kind == "malformed"


@given(st.data())
def test_a_broken_file_is_a_sound_or_a_typed_failure_whichever_bytes_are_broken(data):
    whole = data.draw(st.sampled_from(SEEDS))
    made = bytearray(whole[: data.draw(st.integers(1, len(whole)))])
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, min(len(made) - 1, data.draw(st.sampled_from([43, 400, 10**6])))))
        broken = data.draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"\0" * 4, b"\xff" * 4, b"\1\0\0\0"]))
        made[place : place + len(broken)] = broken
    try:
        found = "a sound" if decode(bytes(made), None).samples else "nothing"
    except ProviderError as error:
        found = error.kind
    assert found in ("a sound", "malformed", "no_media")


@pytest.mark.parametrize(("kind", "bits"), [(3, 0), (0x1234, 16), (0xFFFE, 16)])
def test_a_wav_of_a_coding_that_no_decoder_knows_is_malformed(kind, bits):
    made = bytearray(wav(TONE))
    made[20:22], made[34:36] = struct.pack("<H", kind), struct.pack("<H", bits)
    assert failed(bytes(made)).kind == "malformed"


@given(st.binary(max_size=200), st.sampled_from(["audio/wav", "audio/mpeg", "audio/pcm", "", None]))
def test_any_bytes_are_a_sound_or_a_typed_failure(data, mime):
    for made in (data, wav(TONE)[:40] + data, b"RIFF\0\0\0\0WAVE" + data):
        try:
            found = "a sound" if decode(made, mime).samples else "nothing"
        except ProviderError as error:
            found = error.kind
        assert found in ("a sound", "malformed", "no_media")


# ---- resample, edges, WAV


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_duration_and_pitch(rate):
    source = Sound(tone("x" * 50, "a voice"), RATE_HZ)
    made = resample(source, rate)
    assert (made.samples, made.rate_hz) == (rate, rate)

    def rises(sound: Sound) -> int:
        values = numbers(sound.pcm)
        return sum(a < 0 <= b for a, b in itertools.pairwise(values))

    assert abs(rises(made) - rises(source)) <= 2


@pytest.mark.parametrize("samples", [1, 2, 7, 100, 1001, 32_769])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_a_resampled_sound_has_the_samples_of_its_duration_however_short_it_is(samples, rate):
    made = resample(Sound(TONE[: 2 * samples].ljust(2 * samples, b"\1"), RATE_HZ), rate)
    assert made.samples == max(1, round(samples * rate / RATE_HZ))


def test_resampling_to_the_same_rate_changes_nothing():
    sound = Sound(TONE, RATE_HZ)
    assert resample(sound, RATE_HZ) == sound
    assert resample(Sound(b"", RATE_HZ), 8000) == Sound(b"", 8000)


def test_edges_are_faded_to_silence_and_the_number_of_samples_stays():
    loud = array.array("h", [20_000] * 1000)
    values = numbers(smooth_edges(Sound(loud.tobytes(), RATE_HZ), ms=3).pcm)
    assert len(values) == 1000
    assert values[0] == values[-1] == 0
    assert list(values[:72]) == sorted(values[:72])
    assert list(values[-72:]) == sorted(values[-72:], reverse=True)
    assert set(values[72:-72]) == {20_000}


@given(st.lists(st.integers(-32768, 32767), max_size=300), st.floats(0, 20))
def test_smoothing_never_makes_a_sample_louder(samples, ms):
    given_samples = array.array("h", samples)
    made = numbers(smooth_edges(Sound(given_samples.tobytes(), RATE_HZ), ms).pcm)
    assert len(made) == len(samples)
    assert all(abs(after) <= abs(before) for after, before in zip(made, samples, strict=True))


def test_a_written_wav_is_what_the_standard_library_reads():
    with wave.open(io.BytesIO(wav_bytes(Sound(TONE, 22_050)))) as file:
        assert file.getparams()[:3] == (1, 2, 22_050)
        assert file.readframes(file.getnframes()) == TONE
    assert wav_bytes(Sound(TONE, RATE_HZ)) == wav(TONE)


# ---- formats of files


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(("a.wav", "wav"), ("a.MP3", "mp3"), ("a.flac", "flac"), ("a.opus", "opus"), ("a.ogg", "opus")),
        *(("a.m4a", "aac"), ("a.mp4", "aac"), ("a.aac", "adts"), ("a", "wav")),
    ],
)
def test_a_format_is_that_of_the_ending(name, form):
    assert format_for(Path(name)) == form
    named = "aac" if form == "adts" else form
    assert format_for(Path(name), named) == form


@pytest.mark.parametrize("name", ["a.gif", "a.pcm", "a.v2", "a.wave"])
def test_an_unknown_ending_is_refused_unless_a_format_is_asked_for(name):
    with pytest.raises(
        ParamError, match=r"by the ending '\.\w+'; use \.wav, .*\.aac, or say which with format="
    ):
        format_for(Path(name))
    assert format_for(Path(name), "mp3") == "mp3"


@pytest.mark.parametrize(("name", "asked"), [("a.mp3", "wav"), ("a.aac", "mp3"), ("a.ogg", "flac")])
def test_an_ending_that_contradicts_the_format_is_refused(name, asked):
    with pytest.raises(
        ParamError, match=rf"is a name for \w+ and format is '{asked}'; leave one of them out"
    ):
        format_for(Path(name), asked)


@given(st.integers(4000, 192_000), st.sampled_from([form.rates_hz for form in FORMATS.values()]))
def test_the_nearest_rate_is_the_next_that_loses_nothing(rate, allowed):
    found = nearest_rate(rate, allowed)
    assert not allowed or found in allowed
    assert found >= rate or found == max(allowed)
    assert nearest_rate(found, allowed) == found


# ---- encode_file


@pytest.mark.parametrize("name", ["mp3", "opus", "flac", "aac", "adts"])
def test_a_wav_file_is_encoded_the_same_each_time_and_decodes_to_its_duration(tmp_path, name):
    source, first, second = (tmp_path / file for file in ("a.wav", "b", "c"))
    source.write_bytes(wav(tone("x" * 100)))
    encode_file(source, first, name)
    encode_file(source, second, name)
    assert first.read_bytes() == second.read_bytes()
    sound = decode(first.read_bytes(), FORMATS[name].mime)
    assert sound.duration_s == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("name", "rate"), [("opus", 44_100), ("mp3", 96_000), ("flac", 96_000), ("aac", 5512)]
)
def test_a_rate_that_a_codec_has_not_becomes_one_that_it_has(tmp_path, name, rate):
    source, made = tmp_path / "a.wav", tmp_path / "b"
    source.write_bytes(wav(TONE, rate_hz=rate))
    encode_file(source, made, name)
    assert decode(made.read_bytes(), None).duration_s == pytest.approx(RATE_HZ / rate, abs=0.3)


def test_encoding_needs_no_more_memory_for_a_longer_file(tmp_path):
    source, made = tmp_path / "a.wav", tmp_path / "b.flac"
    source.write_bytes(wav(TONE * 200))
    tracemalloc.start()
    encode_file(source, made, "flac")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20 < source.stat().st_size / 8


@pytest.mark.parametrize("name", ["wav", "pcm", "ogv"])
def test_a_format_that_is_not_encoded_is_refused_by_name(tmp_path, name):
    with pytest.raises(ParamError, match="mp3, opus, flac, aac"):
        encode_file(tmp_path / "a.wav", tmp_path / "b", name)


def test_a_file_that_is_no_wav_leaves_nothing_behind(tmp_path):
    mp3 = coded(TONE * 20, "mp3")
    broken = wav(mp3[mp3.index(b"\xff\xf3") :] + b"\0\1" * 20_000)
    broken = broken.replace(b"\x10\0\0\0\1\0", b"\x10\0\0\0\x55\0", 1)  # MP3 in a WAV file, and then none
    for content in (b"\0\1" * 500, broken):
        (tmp_path / "a.wav").write_bytes(content)
        with pytest.raises(ParamError, match=r"a\.wav cannot be encoded as mp3"):
            encode_file(tmp_path / "a.wav", tmp_path / "b.mp3", "mp3")
    with pytest.raises(FileNotFoundError):
        encode_file(tmp_path / "none.wav", tmp_path / "b.mp3", "mp3")
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["a.wav"]


def test_a_wav_without_samples_is_not_encoded_to_an_empty_file(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(b""))
    for name in ("mp3", "opus", "flac", "aac"):
        with pytest.raises(ParamError, match=r"a\.wav has no samples"):
            encode_file(tmp_path / "a.wav", tmp_path / "b", name)
    assert not (tmp_path / "b").exists()


def test_without_pyav_the_error_says_how_to_install_it_and_plain_wav_still_works(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    assert decode(wav(TONE), "audio/wav").pcm == TONE
    with pytest.raises(ConfigError, match=r'pip install "llmbench\[audio\]"'):
        decode(b"ID3EXAMPLE", "audio/mpeg")
    with pytest.raises(ConfigError, match="llmbench"):
        encode_file(tmp_path / "a.wav", tmp_path / "b.mp3", "mp3")
