"""SpeechClient against a provider whose samples are known before they are asked for."""

from __future__ import annotations

import array
import asyncio
import itertools
import json
import random
import re
import subprocess
import sys
import threading
import wave
from dataclasses import replace
from typing import Any

import pytest

from llmbench import (
    LLMBenchError,
    ParamError,
    SpeechClient,
    SpeechResponse,
)
from llmbench.audio import Sound, decode
from llmbench.media import Piece
from llmbench.routing.narrating import Joint, in_order
from tests.media_calls import lines
from tests.narration_calls import (  # noqa: F401 - fixtures are used by their names
    FADED,
    SCRIPT,
    SENTENCES,
    answering,
    check_joined,
    exhausted,
    log,
    open_speech,
    samples_of,
    speaker,
)
from tests.servers.chat_server import Step
from tests.servers.speech_provider import RATE_HZ, SAMPLES_A_CHARACTER, tone, wav

# ---- the whole and its pieces


@pytest.mark.parametrize("settings", [{}, {"provider": "google"}, {"capabilities": {"formats": ["pcm"]}}])
def test_a_script_is_spoken_in_pieces_and_joined_sample_by_sample(open_speech, speaker, log, settings):
    response = open_speech(a=settings).synthesize("narration", SCRIPT)
    assert isinstance(response, SpeechResponse)
    assert sorted(speaker.spoken) == sorted(SENTENCES)
    voice = "{}" if "provider" in settings else ""
    check_joined(samples_of(response.audio), SENTENCES, voice)
    assert (response.model, response.mime, response.rate_hz) == ("a", "audio/wav", RATE_HZ)
    assert response.duration_s == sum(map(len, SENTENCES)) * SAMPLES_A_CHARACTER / RATE_HZ
    (line,) = lines(log)
    assert line["media"] == {
        "modality": "speech",
        "duration_s": response.duration_s,
        "pieces": 4,
        "characters": len(SCRIPT),
    }
    assert len(line["attempts"]) == 1
    assert SENTENCES[0] not in json.dumps(line, ensure_ascii=False)


def test_pieces_tell_their_texts_and_times_end_to_end(open_speech):
    response = open_speech().synthesize("narration", SCRIPT)
    assert [piece.text for piece in response.pieces] == list(SENTENCES)
    assert [piece.index for piece in response.pieces] == [0, 1, 2, 3]
    ends = [0.0, *(piece.end_s for piece in response.pieces)]
    assert [piece.start_s for piece in response.pieces] == ends[:-1]
    assert ends[-1] == response.duration_s
    assert {piece.pcm for piece in response.pieces} == {b""}


def test_subtitles_have_one_block_a_piece_in_the_form_of_srt(open_speech):
    blocks = open_speech().synthesize("narration", "一行目。\n\n二つ --> 目。").srt().split("\n\n")
    assert blocks[0] == "1\n00:00:00,000 --> 00:00:00,080\n一行目。"
    assert re.fullmatch(r"2\n00:00:00,080 --> 00:00:00,\d{3}\n二つ → 目。\n", blocks[1])
    hour = SpeechResponse(
        **{**_response_fields(open_speech()), "pieces": (Piece(0, "x", 3661.0015, 7325.9996, 8),)}
    )
    assert hour.srt() == "1\n01:01:01,002 --> 02:02:06,000\nx\n"


def _response_fields(client: SpeechClient) -> dict[str, Any]:
    response = client.synthesize("narration", "あ。")
    return {name: getattr(response, name) for name in response.__dataclass_fields__}


def test_no_joint_clicks():
    joint = Joint(RATE_HZ)
    pieces = [array.array("h", [value] * 500).tobytes() for value in (9000, -9000, 9000)]
    made = [joint.add("x", Sound(pcm, RATE_HZ)).pcm for pcm in pieces]
    data = joint.finish("wav").read_bytes()
    joint.close()
    samples = samples_of(data)
    assert len(samples) == 1500
    assert samples.tobytes() == b"".join(made)
    steps = [abs(after - before) for before, after in itertools.pairwise(samples)]
    assert max(steps) <= 9000 / FADED + 1  # without the fades 18000 at each joint


@pytest.mark.parametrize("samples", [1, 2, 3, 143, 144, 145])
def test_a_piece_shorter_than_its_fades_keeps_its_samples(samples):
    joint = Joint(RATE_HZ)
    joint.add("x", Sound(array.array("h", [100] * samples).tobytes(), RATE_HZ))
    assert (joint.samples, len(samples_of(joint.finish("wav").read_bytes()))) == (samples, samples)
    joint.close()


def test_a_joint_that_is_closed_takes_no_piece_and_leaves_no_file():
    joint = Joint(RATE_HZ)
    joint.add("x", Sound(b"\0\0" * 10, RATE_HZ))
    folder = joint.path.parent
    joint.close()
    assert not folder.exists()
    with pytest.raises(ValueError, match="the narration is over"):
        joint.add("x", Sound(b"\0\0" * 10, RATE_HZ))
    with pytest.raises(ValueError, match="the narration is over"):
        joint.finish("wav")
    joint.close()


def test_the_order_of_the_text_is_kept_whatever_comes_first(open_speech, speaker):
    choose = random.Random(3)
    answering(speaker, lambda _, step: replace(step, delay_s=choose.random() / 20))
    texts = [f"文の{n}番。" for n in range(30)]
    response = open_speech().synthesize("narration", "".join(texts), at_once=8)
    assert [piece.text for piece in response.pieces] == texts
    check_joined(samples_of(response.audio), texts)
    assert 1 < speaker.most_open <= 8


def test_no_more_pieces_are_under_way_than_the_call_says(open_speech, speaker):
    speaker.delay_s = 0.05
    open_speech().synthesize("narration", "あ。" * 8, at_once=2)
    assert speaker.most_open == 2


def test_a_short_text_is_one_piece_and_so_are_sentences_that_fit_into_one(open_speech, speaker):
    response = open_speech().synthesize("narration", SCRIPT, split="size")
    assert speaker.spoken == [SCRIPT]
    assert [piece.text for piece in response.pieces] == [SCRIPT]


@pytest.mark.parametrize("task", ["narration"])
def test_it_works_in_a_running_loop_in_threads_and_by_await(open_speech, log, task):
    client = open_speech()

    async def notebook_cell() -> SpeechResponse:
        return client.synthesize(task, "あ。い。")

    async def awaited() -> list[SpeechResponse]:
        async with client:
            return await asyncio.gather(*(client.asynthesize(task, "あ。い。") for _ in range(3)))

    made = [asyncio.run(notebook_cell()).audio]
    threads = [
        threading.Thread(target=lambda: made.append(client.synthesize(task, "あ。い。").audio))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    made += [response.audio for response in asyncio.run(awaited())]
    assert len(made) == 8
    assert len(set(made)) == 1
    assert len({line["call_id"] for line in lines(log)}) == 8


# ---- formats


@pytest.mark.parametrize(
    ("form", "name", "mime"),
    [
        ("wav", "a.wav", "audio/wav"),
        ("mp3", "a.mp3", "audio/mpeg"),
        ("opus", "a.opus", "audio/ogg"),
        ("flac", "a.flac", "audio/flac"),
        ("aac", "a.m4a", "audio/mp4"),
        ("aac", "a.mp4", "audio/mp4"),
        ("opus", "a.ogg", "audio/ogg"),
    ],
)
def test_a_format_is_made_by_its_option_or_by_the_ending_of_the_file(open_speech, tmp_path, form, name, mime):
    client = open_speech()
    by_option = client.synthesize("narration", SCRIPT, format=form)
    by_ending = client.synthesize("narration", SCRIPT, out=tmp_path / name)
    assert by_option.mime == by_ending.mime == mime
    assert by_ending.audio == b""
    assert by_ending.path.read_bytes() == by_option.audio
    sound = decode(by_option.audio, mime)
    assert sound.duration_s == pytest.approx(by_option.duration_s, abs=0.1)
    wanted = [] if form == "wav" else ["format"]
    assert [change.param for change in by_option.adjustments] == wanted


def test_the_ending_aac_is_a_bare_stream_of_aac(open_speech, tmp_path):
    response = open_speech().synthesize("narration", SCRIPT, out=tmp_path / "a.aac", format="aac")
    data = response.path.read_bytes()
    assert (response.mime, data[:2]) == ("audio/aac", b"\xff\xf1")  # the first bits of every ADTS frame
    assert decode(data, response.mime).duration_s == pytest.approx(response.duration_s, abs=0.1)


@pytest.mark.parametrize(("name", "options"), [("a.mp3", {"format": "wav"}), ("a.gif", {}), ("a.pcm", {})])
def test_a_name_that_contradicts_the_format_or_says_none_is_refused_before_it_costs(
    open_speech, speaker, tmp_path, name, options
):
    with pytest.raises(ParamError, match="out: "):
        open_speech().synthesize("narration", "あ。", out=tmp_path / name, **options)
    assert (speaker.received, list(tmp_path.glob(name + "*"))) == ([], [])


def test_a_format_that_is_asked_for_is_written_under_any_other_name(open_speech, tmp_path):
    response = open_speech().synthesize("narration", "あ。", out=tmp_path / "a.v2", format="flac")
    assert response.path.read_bytes()[:4] == b"fLaC"


@pytest.mark.parametrize(
    ("name", "asked", "rate"),
    [("a.mp3", 96_000, 48_000), ("a.mp3", 4000, 8000), ("a.opus", 11_025, 48_000), ("a.ogg", None, 48_000)],
)
def test_the_rate_that_is_told_is_that_of_the_file(open_speech, tmp_path, name, asked, rate):
    options = {} if asked is None else {"sample_rate_hz": asked}
    response = open_speech().synthesize("narration", SCRIPT, out=tmp_path / name, **options)
    sound = decode(response.path.read_bytes(), response.mime)
    record = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert sound.rate_hz == response.rate_hz == record["rate_hz"] == rate
    told = [(change.before, change.after) for change in response.adjustments]
    assert told == ([] if asked is None else [(asked, rate)])


def two_rates(speaker, first_hz: int, second_hz: int) -> None:
    """The second text is answered at another rate than the first."""

    def changed(text: str, step: Step) -> Step:
        rate = second_hz if text == "二つ目。" else first_hz
        return replace(step, body=wav(tone(text), rate_hz=rate))

    answering(speaker, changed)


def test_pieces_of_several_rates_become_the_models_own_rate(open_speech, speaker):
    two_rates(speaker, 22_050, 48_000)
    client = open_speech(a={"capabilities": {"sample_rates_hz": [48_000]}})
    response = client.synthesize("narration", "一つ目。二つ目。")
    assert (response.rate_hz, response.adjustments) == (48_000, ())
    assert decode(response.audio, response.mime).rate_hz == 48_000
    lengths = [piece.end_s - piece.start_s for piece in response.pieces]
    exact = [4 * SAMPLES_A_CHARACTER / rate for rate in (22_050, 48_000)]
    assert lengths == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("rates", [(22_050, 48_000), (48_000, 22_050)])
def test_pieces_of_several_rates_are_told_where_nobody_planned_one(open_speech, speaker, log, rates):
    two_rates(speaker, *rates)
    response = open_speech().synthesize("narration", "一つ目。二つ目。")
    (change,) = response.adjustments
    assert (change.param, change.before, change.after) == ("sample_rate_hz", [rates[1]], rates[0])
    assert "a spoke at 22050, 48000 Hz" in str(change)
    assert response.rate_hz == rates[0]
    assert lines(log)[-1]["adjustments"] == [change.as_dict()]
    asked = open_speech().synthesize("narration", "一つ目。二つ目。", sample_rate_hz=48_000)
    assert [(change.action, change.before) for change in asked.adjustments] == [("moved", 48_000)]


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_a_sample_rate_is_made_here_and_every_duration_is_kept(open_speech, rate):
    response = open_speech().synthesize("narration", SCRIPT, sample_rate_hz=rate)
    sound = decode(response.audio, response.mime)
    assert (sound.rate_hz, response.rate_hz) == (rate, rate)
    exact = sum(round(len(text) * SAMPLES_A_CHARACTER * rate / RATE_HZ) for text in SENTENCES)
    assert sound.samples == exact
    assert response.duration_s == exact / rate
    assert [change.param for change in response.adjustments] == ["sample_rate_hz"]


def test_speed_goes_to_the_voice(open_speech, speaker):
    response = open_speech().synthesize("narration", "あいうえお。", speed=2, voice="x")
    assert response.duration_s == 6 * SAMPLES_A_CHARACTER / 2 / RATE_HZ
    assert {request.json["voice"] for request in speaker.received} == {"x"}


def test_a_narration_is_written_with_a_record_and_nothing_else(open_speech, tmp_path):
    out = tmp_path / "made" / "ナレーション.wav"
    response = open_speech(a={"price": {"per_minute": 0.6}}).synthesize("narration", SCRIPT, out=out)
    check_joined(samples_of(out.read_bytes()), SENTENCES)
    record = json.loads(out.with_name(out.name + ".json").read_text(encoding="utf-8"))
    assert [piece["text"] for piece in record["pieces"]] == list(SENTENCES)
    assert (record["duration_s"], record["model"], record["prompt"]) == (response.duration_s, "a", SCRIPT)
    assert sorted(path.name for path in out.parent.iterdir()) == [out.name, out.name + ".json"]


def test_a_narration_that_fails_leaves_no_file_and_the_older_one_whole(open_speech, speaker, tmp_path):
    out = tmp_path / "made" / "a.wav"
    client = open_speech()
    client.synthesize("narration", "前の。", out=out)
    before = out.read_bytes()
    speaker.outcome = lambda text: "filtered" if "始め" in text else "ok"
    exhausted(client, out=out)
    assert out.read_bytes() == before
    assert len(list(out.parent.iterdir())) == 2


# ---- memory


MEASURED = """
import resource, sys
from llmbench import SpeechClient
folder, out, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
text = "".join(f"これは{n}番目の文で、少し長めに読みます。" for n in range(count))
with SpeechClient(folder, variables={"STUB_KEY": "x"}, log_path=out + ".jsonl") as client:
    client.synthesize("narration", text[:22], out=out, split="sentence")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    response = client.synthesize("narration", text, out=out, split="sentence", at_once=4)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(response.pieces), round(response.duration_s * response.rate_hz), before, after)
"""


def test_memory_does_not_grow_with_the_length_of_a_script_and_its_samples_are_exact(
    open_speech, speaker, tmp_path
):
    folder = open_speech().config.folder
    grown = {}
    for count in (50, 400):
        out = tmp_path / f"{count}.wav"
        command = [sys.executable, "-c", MEASURED, str(folder), str(out), str(count)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        pieces, samples, before, after = map(int, ran.stdout.split())
        assert pieces == count
        spoken = sum(len(f"これは{n}番目の文で、少し長めに読みます。") for n in range(count))
        assert samples == spoken * SAMPLES_A_CHARACTER
        with wave.open(str(out)) as file:
            assert file.getnframes() == samples
        grown[count] = after - before
    more_kib = (spoken - 50 * 20) * SAMPLES_A_CHARACTER * 2 // 1024
    assert grown[400] - grown[50] < more_kib / 3  # which is all that there is more to hear


def test_pieces_that_nobody_waits_for_any_more_are_cancelled():
    began: list[int] = []
    ended: list[int] = []

    async def make(index: int) -> int:
        began.append(index)
        try:
            await asyncio.sleep(0 if index < 2 else 10)
        finally:
            ended.append(index)
        if index == 1:
            raise LLMBenchError("no")
        return index

    async def read() -> list[int]:
        return [item async for item in in_order(9, make, 3)]

    with pytest.raises(LLMBenchError, match="no"):
        asyncio.run(read())
    assert began[:3] == [0, 1, 2]
    assert sorted(ended) == began != list(range(9))
