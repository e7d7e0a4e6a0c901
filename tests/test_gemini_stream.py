"""Streamed Gemini: answers that add up, thoughts that are no text, and an end that must be named."""

from __future__ import annotations

import pytest

from llmbench.catalog import Endpoint
from llmbench.errors import ProviderError
from llmbench.messages import Usage
from llmbench.providers.gemini import GeminiWire
from tests.servers.answers import WEATHER_CALL, event, gemini_answer, gemini_stream, gemini_usage
from tests.stream_reading import read_scripted, spec_of

WIRE = GeminiWire()


@pytest.mark.parametrize(
    ("events", "whole", "pieces"),
    [
        (gemini_stream(), gemini_answer(), ["4", "2"]),
        (gemini_stream(finish="MAX_TOKENS"), gemini_answer(finish="MAX_TOKENS"), ["4", "2"]),
        (gemini_stream([], finish="MAX_TOKENS"), gemini_answer(None, finish="MAX_TOKENS"), []),
        (gemini_stream([], finish="SAFETY"), gemini_answer(None, finish="SAFETY"), []),
        (gemini_stream([]), gemini_answer(None), []),
        (gemini_stream(blocked="SAFETY"), gemini_answer(blocked="SAFETY"), []),
        (gemini_stream(calls=[WEATHER_CALL]), gemini_answer(calls=[WEATHER_CALL]), []),
        ([event(gemini_answer("42", thought="Hm."))], gemini_answer("42"), ["42"]),
    ],
)
def test_a_streamed_answer_is_read_as_the_whole_one(events, whole, pieces):
    found, sent = read_scripted(events, wire="gemini")
    expected = WIRE.parse(whole, {})
    assert found == pieces
    for name in ("text", "finish_reason", "usage", "tool_calls", "request_id", "served_model"):
        assert getattr(sent.reply, name) == getattr(expected, name), name
    assert str(sent.problem) == str(expected.problem)


def test_counts_grow_and_the_last_ones_hold():
    first = gemini_answer("4", finish=None) | {
        "usageMetadata": {"promptTokenCount": 31, "totalTokenCount": 31}
    }
    last = gemini_answer("2") | {"usageMetadata": gemini_usage()}
    _, sent = read_scripted([event(first), event(last)], wire="gemini")
    assert sent.reply.usage == Usage(31, 90, 4, 64)


def test_thoughts_are_not_the_first_part_and_calls_are():
    thought = {
        "candidates": [{"content": {"parts": [{"text": "Hm.", "thought": True}]}, "finishReason": "STOP"}]
    }
    _, sent = read_scripted([event(thought)], wire="gemini")
    assert (sent.ttft_ms, sent.problem.kind) == (None, "empty")
    assert read_scripted(gemini_stream(calls=[WEATHER_CALL]), wire="gemini")[1].ttft_ms is not None


@pytest.mark.parametrize(
    "events",
    [
        gemini_stream(finish=None),
        [*gemini_stream(finish=None), event({"promptFeedback": {"blockReason": "OTHER"}})],
    ],
)
def test_a_stream_without_a_finish_reason_is_a_failure_that_keeps_the_text(events):
    with pytest.raises(ProviderError) as caught:
        read_scripted(events, wire="gemini")
    assert (caught.value.kind, caught.value.output) == ("server_error", "42")


def test_an_error_event_is_raised_with_the_text_so_far():
    error = {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}
    with pytest.raises(ProviderError, match="overloaded") as caught:
        read_scripted([*gemini_stream(finish=None), event({"error": error})], wire="gemini")
    assert (caught.value.kind, caught.value.status_code, caught.value.output) == ("server_error", 503, "42")


def test_the_path_asks_for_events_and_the_body_stays_as_it_is():
    endpoint = Endpoint("g", type="gemini", base_url="https://g.test")
    assert WIRE.stream_path(spec_of("gemini"), endpoint) == "/v1/models/m-id:streamGenerateContent?alt=sse"
    assert WIRE.stream_body({"contents": []}) == {"contents": []}
