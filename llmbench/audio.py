"""Sound as the joining of a narration needs it: decoded to mono 16-bit samples, and encoded again.

PyAV (the package `av`, with FFmpeg inside) reads and writes everything but plain WAV and raw samples, and is
loaded when it is first needed. An answer of a provider is untrusted: it is read as one of a few formats and
never as a playlist, which could name files and addresses of its own.
"""

from __future__ import annotations

import array
import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from llmbench.errors import ConfigError, ParamError, ProviderError
from llmbench.wav import Layout, header, read_layout

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler

#: Decoded bytes of one answer at most: 93 minutes at 24 kHz. A small file can decode to far more.
MAX_PCM_BYTES: Final = 256 * 2**20
#: Hz; beyond these a header is broken.
_RATES: Final = (4_000, 384_000)
_FRAME_SAMPLES: Final = 32_768
#: MIME types of samples without a header. `audio/L16` of a speech service is little-endian, whatever RFC 2586
#: says: Google documents its own so.
_RAW: Final = frozenset({"audio/pcm", "audio/l16", "audio/x-pcm", "audio/raw", "audio/x-raw"})
#: What FFmpeg may take an answer for.
_READ_AS: Final = "wav,mp3,ogg,flac,aac,mov,matroska"
#: Of PyAV beside its own errors: a broken header makes it trip over what it did not find.
_TRIPS: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
_INSTALL: Final = 'pip install "llmbench[audio]"'


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """One format of a finished narration. `container` and `codec` are FFmpeg's names, None for plain samples.

    `suffixes` are the endings of its files' names, the usual one first; `rates_hz` the sample rates that such
    a file can have, empty for any; `bits_per_s` is what the codec may use.
    """

    mime: str
    suffixes: tuple[str, ...] = ()
    container: str | None = None
    codec: str | None = None
    rates_hz: tuple[int, ...] = ()
    bits_per_s: int | None = None


_MPEG_RATES: Final = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_RATES: Final = (*_MPEG_RATES, 64000, 88200, 96000)
#: "adts" is what format aac means in a file of the name `.aac`: the same codec, as a bare stream.
FORMATS: Final[Mapping[str, AudioFormat]] = {
    "wav": AudioFormat("audio/wav", (".wav",)),
    "pcm": AudioFormat("audio/pcm"),
    "mp3": AudioFormat("audio/mpeg", (".mp3",), "mp3", "libmp3lame", _MPEG_RATES, 96_000),
    # Every decoder plays Opus at 48 kHz, whatever its encoder was given (RFC 7845, 5.1).
    "opus": AudioFormat("audio/ogg", (".opus", ".ogg"), "ogg", "libopus", (48000,), 64_000),
    "flac": AudioFormat("audio/flac", (".flac",), "flac", "flac"),
    "aac": AudioFormat("audio/mp4", (".m4a", ".mp4"), "ipod", "aac", _AAC_RATES, 64_000),
    "adts": AudioFormat("audio/aac", (".aac",), "adts", "aac", _AAC_RATES, 64_000),
}
_ENDINGS: Final = ", ".join(suffix for form in FORMATS.values() for suffix in form.suffixes)


@dataclass(frozen=True, slots=True)
class Sound:
    """Mono 16-bit little-endian samples, `rate_hz` of them a second."""

    pcm: bytes = field(repr=False)
    rate_hz: int

    @property
    def samples(self) -> int:
        """Their number."""
        return len(self.pcm) // 2

    @property
    def duration_s(self) -> float:
        """Their time in seconds."""
        return self.samples / self.rate_hz


def format_for(path: Path | None, asked: str | None = None) -> str:
    """The format of a file, by what is asked for and by the ending of its name; WAV where neither says one.

    Args:
        path: the file to write, None for none.
        asked: a format by name.

    Returns:
        A key of FORMATS.

    Raises:
        ParamError: the two contradict each other, or the ending is unknown and no format is asked for.
    """
    suffix = "" if path is None else path.suffix.lower()
    named = next((name for name, form in FORMATS.items() if suffix in form.suffixes), None)
    if named is None:
        if suffix and asked is None:
            known = f"use {_ENDINGS}, or say which with format="
            raise ParamError(f"out: no format is known by the ending {suffix!r:.40}; {known}")
        return asked or "wav"
    means = "aac" if named == "adts" else named
    if asked not in (None, means):
        raise ParamError(
            f"out: {suffix} is a name for {means} and format is {asked!r:.40}; leave one of them out"
        )
    return named


def nearest_rate(rate_hz: int, allowed: tuple[int, ...]) -> int:
    """The rate itself where it is allowed, else the next higher one, which loses nothing, else the highest.

    Args:
        rate_hz: what is asked for.
        allowed: as AudioFormat has them; nothing stands for any.
    """
    if not allowed or rate_hz in allowed:
        return rate_hz
    return min((rate for rate in allowed if rate > rate_hz), default=max(allowed))


def decode(data: bytes, mime: str | None, rate_hz: int = 24_000) -> Sound:
    """The sound in a provider's answer, several channels mixed to one.

    Args:
        data: what came.
        mime: its MIME type as the provider says it; the bytes are believed where they begin as a WAV file.
        rate_hz: the rate of raw samples whose type names no `rate=`.

    Raises:
        ProviderError: kind no_media, there is no sample in it; kind malformed, it cannot be decoded, is cut
            off, or is absurd in its rate or its length.
        ConfigError: PyAV is needed and not installed.
    """
    if not data:
        raise ProviderError("the answer holds no audio", kind="no_media", status_code=200)
    essence, named = _type_of(mime)
    if data[:4] in (b"RIFF", b"RF64"):
        layout = read_layout(data)
        sound = _samples(data[layout.start : layout.end], layout)
    elif essence in _RAW:
        rate, channels = named.get("rate", rate_hz), named.get("channels", 1)
        sound = _samples(data, Layout(rate, channels, 16, start=0, end=len(data)))
    else:
        sound = _decoded(data)
    if not sound.samples:
        raise ProviderError("the audio of the answer has no samples", kind="no_media", status_code=200)
    return sound


def resample(sound: Sound, rate_hz: int) -> Sound:
    """The same sound at another rate; its samples are those of its duration, rounded.

    Raises:
        ConfigError: PyAV is not installed.
    """
    if sound.rate_hz == rate_hz or not sound.pcm:
        return replace(sound, rate_hz=rate_hz)
    av = _load_av()
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
    made = b"".join(map(_bytes_of, _resampled(resampler, _frames(av, sound))))
    wanted = 2 * max(1, round(sound.samples * rate_hz / sound.rate_hz))
    return Sound(made[:wanted].ljust(wanted, b"\0"), rate_hz)


def smooth_edges(sound: Sound, ms: float = 3) -> Sound:
    """The sound with its first and last `ms` milliseconds faded linearly from and to silence.

    So no joint has a click, whatever was before it. The number of samples stays.
    """
    samples = _from_little_endian(sound.pcm)
    count = min(int(sound.rate_hz * ms / 1000), len(samples) // 2)
    for index in range(count):
        samples[index] = int(samples[index] * index / count)
        samples[-1 - index] = int(samples[-1 - index] * index / count)
    return replace(sound, pcm=_little_endian(samples))


def wav_bytes(sound: Sound) -> bytes:
    """The sound as a WAV file.

    Raises:
        ParamError: it is too long for one.
    """
    return header(len(sound.pcm), sound.rate_hz) + sound.pcm


def encode_file(wav_path: Path, out_path: Path, format: str) -> None:  # noqa: A002 -- the parameter's name
    """Encode a WAV file into another format, frame by frame: memory does not grow with its length.

    The same samples give the same bytes with the same FFmpeg. What was written is removed on failure.

    Args:
        wav_path: mono or stereo, any rate.
        out_path: the file to write, whatever its suffix.
        format: a key of FORMATS that has a codec.

    Raises:
        ParamError: the format is none that is encoded, or the file is no WAV file or has no samples.
        ConfigError: PyAV is not installed.
        OSError: a file cannot be read or written.
    """
    target = FORMATS.get(format)
    if target is None or target.container is None:
        known = ", ".join(name for name, each in FORMATS.items() if each.container is not None)
        raise ParamError(f"format {format!r:.40} is none that can be encoded; known: {known}")
    av = _load_av()
    try:
        _transcode(av, wav_path, out_path, target)
    except BaseException as error:
        out_path.unlink(missing_ok=True)
        if isinstance(error, av.FFmpegError) and not isinstance(error, OSError):
            raise ParamError(f"{wav_path.name} cannot be encoded as {format}: {error.strerror}") from None
        raise


def _transcode(av: ModuleType, wav_path: Path, out_path: Path, target: AudioFormat) -> None:
    exact = {"fflags": "+bitexact"}  # no dates and no random serial numbers
    with (
        av.open(str(wav_path), format="wav") as source,
        av.open(str(out_path), "w", format=target.container, options=exact) as made,
    ):
        rate = nearest_rate(source.streams.audio[0].rate, target.rates_hz)
        stream = made.add_stream(target.codec, rate=rate, layout="mono")
        if target.bits_per_s is not None:
            stream.bit_rate = target.bits_per_s
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate)
        place = 0
        for out in _resampled(resampler, source.decode(audio=0)):
            out.pts, place = place, place + out.samples
            made.mux(stream.encode(out))
        if place == 0:
            raise ParamError(f"{wav_path.name} has no samples; there is nothing to encode")
        made.mux(stream.encode(None))


def _type_of(mime: str | None) -> tuple[str, dict[str, int]]:
    """A MIME type in lower case, and its parameters that are whole numbers."""
    essence, *rest = (part.strip().lower() for part in (mime or "").split(";"))
    pairs = (part.partition("=") for part in rest)
    return essence, {
        name.strip(): int(digits)
        for name, _, value in pairs
        if (digits := value.strip().strip('"')).isascii() and digits.isdigit() and len(digits) < 10
    }


def _samples(data: bytes, layout: Layout) -> Sound:
    """Samples of a known layout as mono 16-bit."""
    _check_rate(layout.rate_hz)
    if not 1 <= layout.channels <= 8:
        raise _malformed(f"it names {layout.channels} channels")
    if layout.is_plain and layout.channels == 1 and layout.bits == 16:
        return Sound(data[: len(data) // 2 * 2], layout.rate_hz)
    if not data:
        return Sound(b"", layout.rate_hz)
    return _decoded(layout.as_file(data))


def _decoded(data: bytes) -> Sound:
    """What PyAV makes of a file."""
    av = _load_av()
    pieces: list[bytes] = []
    size, rate = 0, 0
    try:
        with av.open(io.BytesIO(data), options={"format_whitelist": _READ_AS}) as container:
            if not container.streams.audio:
                raise _malformed("it has no sound in it")
            rate = container.streams.audio[0].rate
            _check_rate(rate)
            resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
            for frame in _resampled(resampler, container.decode(audio=0)):
                pieces.append(_bytes_of(frame))
                size += len(pieces[-1])
                if size > MAX_PCM_BYTES:
                    raise _malformed(f"it decodes to more than {MAX_PCM_BYTES // 2**20} MiB")
    except (av.FFmpegError, *_TRIPS) as error:
        said = getattr(error, "strerror", None) or "no decoder makes sense of it"
        raise _malformed(said.lower()) from None
    return Sound(b"".join(pieces), rate)


def _resampled(resampler: AudioResampler, frames: Iterator[AudioFrame]) -> Iterator[AudioFrame]:
    """The frames as the resampler makes them, to the last sample."""
    for frame in frames:
        frame.pts = None  # a gap in the clock of a file is no silence
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _frames(av: ModuleType, sound: Sound) -> Iterator[AudioFrame]:
    """Samples as PyAV's frames."""
    step = 2 * _FRAME_SAMPLES
    for start in range(0, len(sound.pcm), step):
        data = sound.pcm[start : start + step]
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(data) // 2)
        frame.sample_rate = sound.rate_hz
        plane = frame.planes[0]
        plane.update(data.ljust(plane.buffer_size, b"\0"))
        yield frame


def _bytes_of(frame: AudioFrame) -> bytes:
    """The samples of a mono 16-bit frame; its buffer is longer."""
    return bytes(frame.planes[0])[: 2 * frame.samples]


def _check_rate(rate_hz: int) -> None:
    if not _RATES[0] <= rate_hz <= _RATES[1]:
        raise _malformed(f"its sample rate is {rate_hz} Hz")


def _malformed(why: str) -> ProviderError:
    return ProviderError(f"the audio of the answer cannot be used: {why}", kind="malformed", status_code=200)


def _from_little_endian(pcm: bytes) -> array.array[int]:
    samples = array.array("h")
    samples.frombytes(pcm[: len(pcm) // 2 * 2])
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _little_endian(samples: array.array[int]) -> bytes:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _load_av() -> Any:
    """PyAV, without its log: what is wrong with a file is in the error.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import av
    except ImportError:
        raise ConfigError(f"sound needs the package av to be decoded and encoded: {_INSTALL}") from None
    return av
