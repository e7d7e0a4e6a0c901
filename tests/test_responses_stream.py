"""Streamed Responses: deltas for the reader, and the last event's response for the judge."""

from __future__ import annotations

import json

import pytest

from llmbench.errors import ProviderError
from llmbench.providers.responses import ResponsesWire
from tests.servers.answers import REFUSAL, WEATHER_CALL, event, responses_answer, responses_stream
from tests.stream_reading import read_scripted

WIRE = ResponsesWire()


@pytest.mark.parametrize(
    ("options", "pieces"),
    [
        ({}, ["4", "2"]),
        ({"pieces": ["字", "幕"]}, ["字", "幕"]),
        ({"status": "incomplete", "reason": "max_output_tokens"}, ["4", "2"]),
        ({"status": "incomplete", "reason": "content_filter"}, ["4", "2"]),
        ({"calls": [WEATHER_CALL]}, []),
        ({"refusal": REFUSAL}, []),
    ],
)
def test_a_streamed_answer_is_read_as_the_whole_one(options, pieces):
    given = dict(options)
    text = "".join(given.pop("pieces", ("4", "2")))
    found, sent = read_scripted(responses_stream(**options), wire="responses")
    expected = WIRE.parse(responses_answer(text, **given), {})
    assert found == pieces
    for name in ("text", "finish_reason", "usage", "tool_calls", "request_id", "served_model"):
        assert getattr(sent.reply, name) == getattr(expected, name), name
    assert (sent.problem and sent.problem.kind) == (expected.problem and expected.problem.kind)


def test_a_call_or_a_refusal_counts_as_the_first_part():
    for options in ({"calls": [WEATHER_CALL]}, {"refusal": REFUSAL}):
        assert read_scripted(responses_stream(**options), wire="responses")[1].ttft_ms is not None
    reasoning = responses_stream([], status="incomplete", reason="max_output_tokens")
    thinking = [one for one in reasoning if "output_text" not in one.partition("data:")[0]]
    assert read_scripted(thinking, wire="responses")[1].ttft_ms is None


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ({"type": "error", "code": "server_error", "message": "boom", "param": None}, "server_error"),
        ({"type": "error", "error": {"code": "too_many_requests", "message": "slow"}}, "rate_limit"),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}, "rate_limit"),
        ({"error": {"code": "content_filter", "message": "no"}}, "content_filter"),
        ({"type": "error"}, "server_error"),
    ],
)
def test_an_error_event_is_raised_flat_and_nested_with_the_text_so_far(last, kind):
    events = [*responses_stream(terminal=False), event(last)]
    with pytest.raises(ProviderError) as caught:
        read_scripted(events, wire="responses")
    assert (caught.value.kind, caught.value.output) == (kind, "42")


def test_a_failed_response_is_raised_as_its_code_says():
    failed = responses_stream(status="failed", error={"code": "rate_limit_exceeded", "message": "slow down"})
    with pytest.raises(ProviderError, match="slow down") as caught:
        read_scripted(failed, wire="responses")
    assert caught.value.kind == "rate_limit"


def test_a_stream_without_its_last_event_is_a_failure_that_keeps_the_text():
    with pytest.raises(ProviderError) as caught:
        read_scripted(responses_stream(terminal=False), wire="responses")
    assert (caught.value.kind, caught.value.output) == ("server_error", "42")


def test_a_last_event_without_items_takes_those_that_came_before():
    *events, last = responses_stream()
    data = json.loads(last.partition("data: ")[2])
    data["response"]["output"] = []
    pieces, sent = read_scripted([*events, event(data)], wire="responses")
    assert (pieces, sent.reply.text, sent.problem) == (["4", "2"], "42", None)


def test_events_without_a_name_and_a_done_at_the_end_are_read_alike():
    nameless = [one.partition("\n")[2] for one in responses_stream()]
    assert read_scripted([*nameless, "data: [DONE]\n\n"], wire="responses")[1].reply.text == "42"


def test_the_body_asks_for_pieces_on_the_same_path():
    assert WIRE.stream_body({"model": "m"}) == {"model": "m", "stream": True}
