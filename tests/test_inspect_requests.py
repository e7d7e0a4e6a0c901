"""What of Inspect's calls reaches the wire of a tier, and what is said of the rest."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

pytest.importorskip("inspect_ai", reason='Inspect is not installed: pip install "llmbench[inspect]"')

from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentAudio,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ResponseSchema,
)
from inspect_ai.tool import ToolCall, ToolCallError, ToolFunction, ToolInfo, ToolParam, ToolParams
from inspect_ai.util import JSONSchema

from llmbench.errors import ParamError
from llmbench.interop.inspect_parameters import parameters_of
from tests.conftest import models
from tests.inspect_calls import _key, ask, facts, tier  # noqa: F401 -- the fixtures
from tests.servers.chat_server import Step, completion

PIXEL = "data:image/png;base64," + base64.b64encode(b"not really a picture").decode()
WEATHER = ToolInfo(
    name="weather",
    description="The weather of a place.",
    parameters=ToolParams(
        properties={"place": ToolParam(type="string", description="where")}, required=["place"]
    ),
)


def test_every_kind_of_message_reaches_the_wire(tier, server):
    vision = {"llm_model_registry": {"models": models("a", capabilities={"vision": True, "tools": True})}}
    vision |= {"llm_tier_candidates": {"tiers": {"cheap": ["a"]}}}
    call = ToolCall(id="call-1", function="weather", arguments={"place": "奈良"})
    ask(
        tier(files=vision),
        ChatMessageSystem(content="Be brief."),
        ChatMessageUser(content=[ContentText(text="What is this?"), ContentImage(image=PIXEL, detail="low")]),
        ChatMessageAssistant(content="I look it up.", tool_calls=[call]),
        ChatMessageTool(content="sunny", tool_call_id="call-1", function="weather"),
        ChatMessageAssistant(content="", tool_calls=[call]),
        ChatMessageTool(content="", tool_call_id="call-1", error=ToolCallError("timeout", "too slow")),
        ChatMessageUser(content=[ContentText(text="So?"), ContentText(text="Well?")]),
        tools=[WEATHER],
    )
    sent = server.received[0].json["messages"]
    assert [turn["role"] for turn in sent] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
        "user",
    ]
    assert sent[1]["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
    ]
    assert json.loads(sent[2]["tool_calls"][0]["function"]["arguments"]) == {"place": "奈良"}
    assert sent[3] == {"role": "tool", "content": "sunny", "tool_call_id": "call-1"}
    assert sent[5]["content"] == "Error: too slow"
    assert sent[6]["content"] == "So?\nWell?"


def test_what_no_text_tier_takes_is_refused_by_place(tier):
    sound = ContentAudio(audio="data:audio/wav;base64,UklGRg==", format="wav")
    with pytest.raises(
        ParamError, match=r"messages\[0\].content\[0\]: text tiers take text and images, not audio"
    ):
        ask(tier(), ChatMessageUser(content=[sound]))


def test_tool_calls_come_back_and_go_out_again_as_their_host_wrote_them(tier, server):
    able = {"llm_model_registry": {"models": models("a", capabilities={"tools": True})}}
    able |= {"llm_tier_candidates": {"tiers": {"cheap": ["a"]}}}
    signed = {
        "id": "call-1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"place":"Nara"}'},
        "extra_content": {"google": {"thought_signature": "c2lnbmVk"}},
    }
    server.script["m-a"] = [
        Step(completion(None, finish_reason="tool_calls", tool_calls=[signed])),
        Step(completion("Sunny.")),
    ]
    question = ChatMessageUser(content="Weather?")
    output = ask(tier(files=able), question, tools=[WEATHER], tool_choice=ToolFunction("weather"))
    assert output.stop_reason == "tool_calls"
    assert output.message.tool_calls == [
        ToolCall(id="call-1", function="weather", arguments={"place": "Nara"})
    ]
    result = ChatMessageTool(content="sunny", tool_call_id="call-1")
    ask(tier(files=able), question, output.message, result, tools=[WEATHER])
    first, second = (request.json for request in server.received)
    assert first["tools"][0]["function"]["parameters"]["required"] == ["place"]
    assert first["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert second["messages"][1]["tool_calls"] == [signed]
    assert second["tool_choice"] == "auto"


def test_a_tool_call_that_was_changed_since_goes_out_as_it_is_now(tier, server):
    able = {"llm_model_registry": {"models": models("a", capabilities={"tools": True})}}
    able |= {"llm_tier_candidates": {"tiers": {"cheap": ["a"]}}}
    raw = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": '{"place":"Nara"}'}}
    turn = ChatMessageAssistant(
        content="",
        tool_calls=[ToolCall(id="1", function="weather", arguments={"place": "Kobe"})],
        metadata={"llmbench_tool_calls": [raw]},
    )
    ask(tier(files=able), ChatMessageUser(content="?"), turn, ChatMessageTool(content="x", tool_call_id="1"))
    sent = server.received[0].json["messages"][1]["tool_calls"]
    assert json.loads(sent[0]["function"]["arguments"]) == {"place": "Kobe"}


@pytest.mark.parametrize("arguments", ['{"place":', "[1]", "null", '{"place": NaN}'])
def test_arguments_that_are_no_object_are_a_parse_error_of_the_call(tier, server, arguments):
    call = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    server.script["m-a"] = [Step(completion(None, finish_reason="tool_calls", tool_calls=[call]))]
    (found,) = ask(tier()).message.tool_calls
    assert found.arguments == {}
    assert "no JSON object" in found.parse_error


#: A value for every field of Inspect's config.
VALUES = {
    **dict.fromkeys(("max_retries", "timeout", "attempt_timeout", "stream_idle_timeout"), 1),
    **dict.fromkeys(("max_connections", "max_tokens", "best_of", "seed", "top_k", "num_choices"), 3),
    **dict.fromkeys(("top_logprobs", "prompt_logprobs", "max_tool_output", "reasoning_tokens"), 4),
    **dict.fromkeys(("top_p", "temperature", "frequency_penalty", "presence_penalty"), 0.5),
    **dict.fromkeys(("logprobs", "parallel_tool_calls", "internal_tools", "cache_prompt"), True),
    **dict.fromkeys(("fail_on_refusal", "cache", "batch", "adaptive_connections"), True),
    "system_message": "x",
    "stop_seqs": ["x"],
    "logit_bias": {42: 10},
    "fallback_models": ["x"],
    "verbosity": "low",
    "effort": "low",
    "reasoning_effort": "low",
    "reasoning_mode": "pro",
    "reasoning_summary": "auto",
    "reasoning_history": "all",
    "response_schema": ResponseSchema(name="x", json_schema=JSONSchema(type="object")),
    "extra_headers": {"authorization": "secret"},
    "extra_body": {"x": 1},
    "modalities": ["image"],
}
SENT = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_seqs": "stop",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "verbosity": "verbosity",
    "extra_body": "extra_body",
    "timeout": "timeout",
    "reasoning_effort": "reasoning",
    "reasoning_tokens": "reasoning",
    "response_schema": "response_format",
}
INSPECTS = {"max_retries", "attempt_timeout", "max_connections", "adaptive_connections", "system_message"}
INSPECTS |= {"max_tool_output", "reasoning_history", "fail_on_refusal", "cache"}


@pytest.mark.parametrize("name", sorted(GenerateConfig.model_fields))
def test_no_field_of_inspects_config_is_lost_without_a_word(name):
    asked = parameters_of(GenerateConfig(**{name: VALUES[name]}))
    if name in SENT:
        assert list(asked.arguments) == [SENT[name]]
        assert asked.adjustments == ()
    else:
        assert asked.arguments == {}
        said = [change.param for change in asked.adjustments]
        assert said == ([] if name in INSPECTS else [name])


def test_headers_are_not_repeated_in_the_log():
    (change,) = parameters_of(GenerateConfig(extra_headers={"authorization": "secret"})).adjustments
    assert "secret" not in str(change)


def test_a_level_of_reasoning_goes_before_a_budget_and_says_so():
    asked = parameters_of(GenerateConfig(reasoning_effort="high", reasoning_tokens=2000))
    assert asked.arguments == {"reasoning": "high"}
    assert [change.param for change in asked.adjustments] == ["reasoning_tokens"]


def test_the_shorter_deadline_holds():
    assert parameters_of(GenerateConfig(timeout=5), deadline_s=9).arguments["timeout"] == 5
    assert parameters_of(GenerateConfig(timeout=50), deadline_s=9).arguments["timeout"] == 9


def test_what_was_not_sent_stands_in_the_metadata_and_is_warned_of_once(tier, server, caplog):
    strict = {"llm_model_registry": {"models": models("a", params={"allow_temperature": False})}}
    strict |= {"llm_tier_candidates": {"tiers": {"cheap": ["a"]}}}
    model = tier(files=strict)
    old = ChatMessageAssistant(content=[ContentReasoning(reasoning="hm"), ContentText(text="Hi.")])

    async def twice():
        async with model:
            for _ in range(2):
                output = await model.generate(
                    [ChatMessageUser(content="Hello?"), old, ChatMessageUser(content="And?")],
                    config=GenerateConfig(temperature=0.5, logit_bias={4: 1}, reasoning_history="all"),
                )
            return output

    changed = {change["param"]: change["action"] for change in facts(asyncio.run(twice()))["adjustments"]}
    assert changed == {"logit_bias": "dropped", "reasoning_history": "dropped", "temperature": "dropped"}
    assert server.received[0].json["messages"][1]["content"] == "Hi."
    assert sum("logit_bias" in record.getMessage() for record in caplog.records) == 1


def test_a_response_schema_is_enforced_by_the_router(tier, server):
    server.script["m-a"] = [Step(completion('{"n": "four"}'))]
    server.script["m-b"] = [Step(completion('{"n": 4}'))]
    schema = JSONSchema(type="object", properties={"n": JSONSchema(type="integer")}, required=["n"])
    output = ask(tier(), response_schema=ResponseSchema(name="sum", json_schema=schema))
    assert output.completion == '{"n": 4}'
    assert facts(output)["fallback_chain"] == ["a", "b"]
