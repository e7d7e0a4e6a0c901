"""Narrations piece by piece: a slow listener, one that leaves, and a voice that breaks off."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from llmbench import (
    FallbackExhausted,
    LLMBenchError,
    SpeechClient,
)
from tests.media_calls import KEYS, lines, write_folder
from tests.narration_calls import SCRIPT, SENTENCES, answering, failing, log, open_speech, samples_of, speaker  # noqa: F401 - fixtures are used by their names
from tests.servers.chat_server import Step

# ---- streams


def test_a_stream_gives_each_piece_with_its_audio_and_then_the_response(open_speech, log):
    stream = open_speech().stream("narration", SCRIPT)
    with pytest.raises(LLMBenchError, match="has no response yet"):
        _ = stream.response
    pieces = list(stream)
    assert [piece.text for piece in pieces] == list(SENTENCES)
    response = stream.response
    assert b"".join(piece.pcm for piece in pieces) == samples_of(response.audio).tobytes()
    assert 0 < response.ttft_ms <= response.latency_ms
    assert list(stream) == []
    assert [line["status"] for line in lines(log)] == ["success"]
    assert lines(log)[0]["ttft_ms"] > 0


def test_a_stream_is_read_inside_a_loop(open_speech):
    client = open_speech()

    async def read() -> list[str]:
        async with client, client.stream("narration", SCRIPT) as stream:
            return [piece.text async for piece in stream]

    assert asyncio.run(read()) == list(SENTENCES)


@pytest.mark.alone
def test_the_first_piece_comes_while_later_ones_are_not_yet_spoken(open_speech, speaker):
    answering(speaker, lambda text, step: replace(step, delay_s=0.0 if text == SENTENCES[0] else 1.5))
    stream = open_speech().stream("narration", SCRIPT)
    started = time.monotonic()
    assert next(stream).text == SENTENCES[0]
    assert time.monotonic() - started < 1.4
    assert len(list(stream)) == 3


@pytest.mark.alone
def test_a_slow_listener_holds_the_voices_back(open_speech, speaker):
    stream = open_speech().stream("narration", "あ。" * 30, at_once=2)
    next(stream)
    time.sleep(0.5)
    assert len(speaker.received) <= 6  # heard, waiting in the queue, joined, and two under way
    assert len(list(stream)) == 29
    assert len(speaker.received) == 30


@pytest.mark.alone
def test_a_stream_that_is_left_is_cancelled_and_logged_at_once(open_speech, speaker, log):
    client = open_speech()
    with client.stream("narration", "あ。" * 30, at_once=1) as stream:
        next(stream)
    assert [line["error_kind"] for line in lines(log)] == ["cancelled"]
    time.sleep(0.2)  # one that was on its way may still arrive
    asked = len(speaker.received)
    time.sleep(0.3)
    assert len(speaker.received) == asked < 10

    async def leave() -> None:
        async with client, client.stream("narration", "あ。" * 30, at_once=1) as stream:
            async for _ in stream:
                break

    asyncio.run(leave())
    assert [line["error_kind"] for line in lines(log)] == ["cancelled"] * 2


def test_a_stream_whose_reader_is_cancelled_ends_with_it(open_speech, speaker, log):
    answering(speaker, lambda text, step: Step(fault="hang") if text == SENTENCES[1] else step)
    client = open_speech()

    async def read() -> None:
        async with client, asyncio.timeout(0.5):
            async for _ in client.stream("narration", SCRIPT):
                pass

    with pytest.raises(TimeoutError):
        asyncio.run(read())
    assert [line["error_kind"] for line in lines(log)] == ["cancelled"]


def test_a_stream_falls_back_before_its_first_piece_and_never_after_it(open_speech, speaker, log):
    client = open_speech(task={"allow_fallback": True}, a={}, b={})
    answer = speaker.answer
    failing("m-a", SENTENCES[0])(speaker)
    stream = client.stream("narration", SCRIPT)
    assert len(list(stream)) == 4
    assert stream.response.model == "b"
    speaker.answer = answer
    failing("m-a", SENTENCES[2])(speaker)
    heard: list[str] = []
    with pytest.raises(FallbackExhausted) as caught:
        heard += [piece.text for piece in client.stream("narration", SCRIPT, at_once=1)]
    assert caught.value.output == SENTENCES[0] + SENTENCES[1]
    assert lines(log)[-1]["fallback_chain"] == ["a"]


def test_the_wait_for_a_place_is_no_part_of_the_real_time_factor(tmp_path, speaker):
    provider = {"base_url": speaker.url, "env_api_key": "STUB_KEY", "limits": {"concurrency": 1}}
    folder = write_folder(
        tmp_path / "configs",
        speech_models={
            "providers": {"p": provider},
            "models": {"a": {"provider": "p", "defaults": {"split": "sentence", "at_once": 1}}},
            "tiers": {"speech": ["a"]},
            "tasks": {"narration": {"tier": "speech"}},
        },
    )
    speaker.delay_s = 0.2
    options = {"variables": KEYS, "log_path": tmp_path / "log.jsonl"}
    with SpeechClient(folder, **options) as client, ThreadPoolExecutor(3) as pool:
        spoken = list(pool.map(lambda _: client.synthesize("narration", SCRIPT), range(3)))
    for response in spoken:
        worked_ms = response.latency_ms - response.queued_ms
        assert worked_ms >= 4 * 200
        assert response.real_time_factor == pytest.approx(worked_ms / 1000 / response.duration_s)
    # Three callers share one place: two of three requests wait while another is made.
    assert max(response.queued_ms for response in spoken) > 4 * 200
    assert sum(response.latency_ms - response.queued_ms for response in spoken) < 1.6 * 12 * 200


def test_pieces_that_wait_at_the_same_time_count_their_wait_once(tmp_path, speaker):
    provider = {"base_url": speaker.url, "env_api_key": "STUB_KEY", "limits": {"concurrency": 1}}
    folder = write_folder(
        tmp_path / "configs",
        speech_models={
            "providers": {"p": provider},
            "models": {"a": {"provider": "p", "defaults": {"split": "sentence", "at_once": 4}}},
            "tiers": {"speech": ["a"]},
            "tasks": {"narration": {"tier": "speech"}},
        },
    )
    speaker.delay_s = 0.2
    with SpeechClient(folder, variables=KEYS, log_path=tmp_path / "log.jsonl") as client:
        spoken = client.synthesize("narration", SCRIPT)
    # Four pieces share one place: they wait 0, 200, 400 and 600 ms, a quarter of that sum each.
    assert 250 <= spoken.queued_ms < 600
    assert spoken.latency_ms - spoken.queued_ms >= 0.9 * (4 * 200 - spoken.queued_ms)
