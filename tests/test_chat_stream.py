"""Streamed Chat Completions: the stream of an answer is read as the answer itself."""

from __future__ import annotations

import json

import pytest

from llmbench.errors import ProviderError
from llmbench.messages import Usage
from llmbench.providers.chat import ChatWire
from tests.servers.answers import (
    REFUSAL,
    WEATHER_CALL,
    event,
    openai_chat_answer,
    openai_chat_stream,
    openrouter_answer,
    openrouter_stream,
)
from tests.stream_reading import read_scripted

WIRE = ChatWire()
TWO_CALLS = [WEATHER_CALL, {"name": "get_time", "arguments": '{"zone":"JST"}'}]


def chunk(delta=None, finish=None, **fields):
    return event({"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **fields})


@pytest.mark.parametrize(
    ("events", "whole"),
    [
        (openai_chat_stream(), openai_chat_answer()),
        (openai_chat_stream(azure=True), openai_chat_answer(azure=True)),
        (openai_chat_stream(["字", "幕"]), openai_chat_answer("字幕")),
        (openai_chat_stream(finish="length"), openai_chat_answer(finish="length")),
        (openai_chat_stream([], finish="length"), openai_chat_answer("", finish="length")),
        (openai_chat_stream(finish="content_filter"), openai_chat_answer(finish="content_filter")),
        (openai_chat_stream([]), openai_chat_answer("")),
        (openai_chat_stream([], refusal=REFUSAL), openai_chat_answer(None, refusal=REFUSAL)),
        (
            openai_chat_stream(calls=TWO_CALLS, finish="tool_calls"),
            openai_chat_answer(None, calls=TWO_CALLS, finish="tool_calls"),
        ),
        (openrouter_stream(), openrouter_answer()),
    ],
)
def test_a_streamed_answer_is_read_as_the_whole_one(events, whole):
    _, sent = read_scripted(events)
    expected = WIRE.parse(whole, {})
    for name in ("text", "finish_reason", "usage", "reported_usd", "tool_calls"):
        assert getattr(sent.reply, name) == getattr(expected, name), name
    assert (sent.problem and sent.problem.kind) == (expected.problem and expected.problem.kind)


def test_the_pieces_are_the_text_and_neither_thoughts_nor_calls_are_pieces():
    pieces, sent = read_scripted(
        [
            chunk({"role": "assistant", "content": "", "reasoning_content": "Hm."}),
            chunk({"reasoning": "Well."}),
            chunk({"content": [{"type": "text", "text": "4"}, {"type": "image"}]}),
            chunk({"content": "2"}),
            chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}),
            chunk(finish="stop"),
        ]
    )
    assert pieces == ["4", "2"]
    assert sent.reply.text == "42"


def test_a_refusal_is_no_piece_so_that_another_model_can_still_be_asked():
    pieces, sent = read_scripted(openai_chat_stream([], refusal=REFUSAL))
    assert (pieces, sent.reply.text, sent.problem.kind) == ([], REFUSAL, "refusal")
    assert sent.ttft_ms is not None


def test_calls_are_told_apart_by_index_and_else_by_id():
    def call(**part):
        return chunk({"tool_calls": [part]})

    begin = [{"id": f"c{n}", "function": {"name": f"f{n}", "arguments": ""}} for n in (1, 2)]
    more = [{"function": {"arguments": f'{{"n":{n}}}'}} for n in (1, 2)]
    end = chunk(finish="tool_calls")
    mixed = [
        call(index=1, **begin[1]),
        call(index=0, **begin[0]),
        call(index=0, **more[0]),
        call(index=1, **more[1]),
    ]
    in_turn = [call(**begin[0]), call(**more[0]), call(**begin[1]), call(**more[1], id="c2")]
    for events in (mixed, in_turn):
        _, sent = read_scripted([*events, end])
        assert [(found["id"], found["function"]) for found in sent.reply.tool_calls] == [
            ("c1", {"name": "f1", "arguments": '{"n":1}'}),
            ("c2", {"name": "f2", "arguments": '{"n":2}'}),
        ]


def test_the_whole_message_in_one_chunk_is_an_answer_too():
    whole = openai_chat_answer(None, calls=[WEATHER_CALL], finish="tool_calls")
    _, sent = read_scripted([event(whole)])
    assert sent.reply.tool_calls == WIRE.parse(whole, {}).tool_calls
    assert read_scripted([event(openai_chat_answer("42"))])[0] == ["42"]


def test_of_several_choices_the_first_is_read():
    other = event({"choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}]})
    pieces, sent = read_scripted([chunk({"content": "yes"}), other, chunk(finish="length")])
    assert (pieces, sent.reply.finish_reason) == (["yes"], "length")


@pytest.mark.parametrize("done", [True, False])
def test_a_finish_reason_ends_the_answer_with_and_without_done(done):
    assert read_scripted(openai_chat_stream(done=done))[1].problem is None


def test_done_alone_ends_the_answer():
    assert read_scripted(openai_chat_stream(finish=None))[1].reply.finish_reason == "stop"


@pytest.mark.parametrize(
    "events",
    [
        openai_chat_stream(finish=None, done=False),
        openrouter_stream(finish=None, done=False),
    ],
)
def test_a_stream_without_its_end_is_a_failure_that_keeps_the_text(events):
    with pytest.raises(ProviderError, match="ended before the answer") as caught:
        read_scripted(events)
    assert (caught.value.kind, caught.value.output) == ("server_error", "42")


def test_comments_and_nothing_else_are_no_answer():
    with pytest.raises(ProviderError) as caught:
        read_scripted([": OPENROUTER PROCESSING\n\n"] * 3)
    assert (caught.value.kind, caught.value.output) == ("server_error", None)


@pytest.mark.parametrize(
    ("broken", "kind", "status"),
    [
        (openrouter_stream(error={"code": 429, "message": "slow", "metadata": {}}), "rate_limit", 429),
        ([chunk({"content": "42"}), event({"error": {"code": 502, "message": "x"}})], "server_error", 502),
        ([chunk({"content": "42"}), event({"error": "overloaded"})], "server_error", 200),
        (
            [
                chunk({"content": "42"}),
                event({"choices": [{"index": 0, "error": {"code": 503, "message": "x"}}]}),
            ],
            "server_error",
            503,
        ),
        ([chunk({"content": "42"}), 'data: {"choices": [{"delta": {"conte'], "malformed", 200),
    ],
)
def test_an_error_inside_the_stream_is_raised_with_the_text_so_far(broken, kind, status):
    with pytest.raises(ProviderError) as caught:
        read_scripted(broken)
    assert (caught.value.kind, caught.value.status_code, caught.value.output) == (kind, status, "42")


def test_a_finish_for_an_error_that_nobody_names_is_a_problem():
    _, sent = read_scripted([chunk({"content": "4"}), chunk(finish="error")])
    assert (sent.problem.kind, sent.problem.output) == ("server_error", "4")


def test_the_body_asks_for_pieces_and_their_usage():
    assert WIRE.stream_body({"model": "m"}) == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    own = {"include_usage": False}
    assert WIRE.stream_body({"stream_options": own})["stream_options"] == own
    assert "stream_options" not in WIRE.stream_body({"stream_options": None})


def test_usage_and_cost_come_from_the_last_chunk():
    _, sent = read_scripted(openrouter_stream())
    assert (sent.reply.usage, sent.cost_usd, sent.cost_source) == (Usage(31, 90, 4, 64), 2.14e-05, "provider")
    _, sent = read_scripted(openai_chat_stream(usage=False))
    assert (sent.reply.usage, sent.cost_usd) == (Usage(), None)


def test_odd_chunks_of_an_answer_are_passed_over():
    odd = [{}, {"choices": None}, {"choices": ["x"]}, {"choices": [{"delta": None}]}, {"usage": None}]
    odd += [{"choices": [{"delta": {"content": 7, "tool_calls": "x", "refusal": 1}}]}]
    pieces, sent = read_scripted([f"data: {json.dumps(one)}\n\n" for one in odd] + openai_chat_stream())
    assert (pieces, sent.reply.tool_calls, sent.problem) == (["4", "2"], (), None)
