"""The Responses path of `llmbench serve`, asked by the official library."""

from __future__ import annotations

import openai
import pytest

from tests.serve_process import running, sdk  # noqa: F401 - fixtures are used by their names
from tests.test_serve_chat import PIXEL, PLACE, City

WEATHER = {"type": "function", "name": "weather", "parameters": PLACE, "strict": False}


def test_a_text_is_answered_with_instructions_parameters_and_usage(running, sdk):
    before = len(running.lines())
    reply = sdk.responses.create(
        model="caption",
        input="hello",
        instructions="Be short.",
        max_output_tokens=64,
        text={"verbosity": "low"},
        extra_body={"llmbench": {"channel": "CH01"}},
    )
    assert (reply.output_text, reply.status, reply.model) == ("you said hello", "completed", "b")
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.total_tokens) == (12, 4, 16)
    assert reply.usage.input_tokens_details.cached_tokens == 3
    sent = running.text.received[-1].json
    assert sent["messages"][0] == {"role": "system", "content": "Be short."}
    assert (sent["max_tokens"], sent["verbosity"]) == (64, "low")
    assert [line["channel"] for line in running.new_lines(before)] == ["CH01"]


def test_items_become_turns(running, sdk):
    image = {"type": "input_image", "image_url": PIXEL, "detail": "low"}
    picture = [{"type": "input_text", "text": "what"}, image]
    sdk.responses.create(
        model="caption",
        input=[
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": picture},
            {"role": "assistant", "content": [{"type": "output_text", "text": "a cat", "annotations": []}]},
            {"role": "user", "content": "sure?"},
        ],
    )
    turns = running.text.received[-1].json["messages"]
    assert [turn["role"] for turn in turns] == ["developer", "user", "assistant", "user"]
    assert turns[1]["content"][1] == {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}
    assert turns[2]["content"] == "a cat"


def test_tools_are_called_and_answered_with_the_items_that_came(running, sdk):
    first = sdk.responses.create(model="caption", input="#tool", tools=[WEATHER], tool_choice="required")
    [call] = first.output
    assert (call.type, call.call_id, call.name) == ("function_call", "call_7", "weather")
    said = [
        {"role": "user", "content": "#tool"},
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "sun"},
    ]
    assert sdk.responses.create(model="caption", input=said, tools=[WEATHER]).output_text == "you said sun"
    sent = running.text.received[-1].json
    assert sent["tools"][0]["function"]["name"] == "weather"
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "tool"]
    assert sent["messages"][1]["tool_calls"][0]["id"] == "call_7"


def test_a_schema_is_parsed_by_the_library(sdk):
    reply = sdk.responses.parse(model="caption", input="#json", text_format=City)
    assert reply.output_parsed == City(city="Kyoto", people=1463723)


def test_cut_off_and_refused_answers_are_told(sdk):
    cut = sdk.responses.create(model="caption", input="#long x")
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (cut.output_text, cut.output[0].status) == ("you said #long x", "incomplete")
    *_, done, last = sdk.responses.create(model="caption", input="#long x", stream=True)
    assert (done.type, done.item.status) == ("response.output_item.done", "incomplete")
    assert (last.type, last.response.output[0].status) == ("response.incomplete", "incomplete")
    refused = sdk.responses.create(model="caption", input="#refuse")
    assert refused.output[0].content[0].refusal == "I will not."


@pytest.mark.parametrize("is_stream", [False, True])
def test_an_answer_repeats_what_was_asked_of_tools(sdk, is_stream):
    asked = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False}
    reply = sdk.responses.create(model="caption", input="x", stream=is_stream, **asked)
    if is_stream:
        first, *_, last = reply
        assert first.response.tools == last.response.tools
        reply = last.response
    assert (reply.tools[0].name, reply.tool_choice) == ("weather", "required")
    assert reply.parallel_tool_calls is False


def test_a_stream_is_the_events_that_the_library_adds_up(running, sdk):
    before = len(running.lines())
    events = list(sdk.responses.create(model="caption", input="one two", stream=True))
    kinds = [event.type for event in events]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 4,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == "you said one two"
    assert events[-1].response.usage.total_tokens == 16
    assert len(running.new_lines(before)) == 1
    with sdk.responses.stream(model="caption", input="one two") as stream:
        assert stream.get_final_response().output_text == "you said one two"


def test_a_streamed_call_of_a_tool_has_its_events(sdk):
    with sdk.responses.stream(model="caption", input="#tool", tools=[WEATHER]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "response.function_call_arguments.done" in kinds
    assert (final.output[0].type, final.output[0].arguments) == ("function_call", '{"city":"Kyoto"}')


@pytest.mark.parametrize(
    "given",
    [
        {"previous_response_id": "resp_1"},
        {"store": True},
        {"background": True},
        {"reasoning": {"effort": "low", "summary": "auto"}},
        {"tools": [{"type": "web_search"}]},
        {"input": [{"type": "item_reference", "id": "x"}]},
        {"input": []},
        {"text": {"format": {"type": "grammar"}}},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
    ],
    ids=lambda given: next(iter(given)),
)
def test_what_cannot_be_done_is_refused_by_name(running, sdk, given):
    before = len(running.text.received)
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.responses.create(**{"model": "caption", "input": "x", **given})
    assert caught.value.param.partition("[")[0].partition(".")[0] == next(iter(given))
    assert len(running.text.received) == before
