"""Chat Completions of `llmbench serve`, asked by the official library."""

from __future__ import annotations

import asyncio

import openai
import pydantic
import pytest

from tests.conftest import CANARY
from tests.serve_process import TOKEN, running, sdk  # noqa: F401 - fixtures are used by their names

PIXEL = "data:image/png;base64,iVBORw0KGgo="
PLACE = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}


class City(pydantic.BaseModel):
    city: str
    people: int


def user(text):
    return [{"role": "user", "content": text}]


def test_a_task_answers_in_openais_form_with_what_the_router_knows(running, sdk):
    before = len(running.lines())
    reply = sdk.chat.completions.create(model="caption", messages=user("hello"), temperature=0.5)
    assert reply.choices[0].message.content == "you said hello"
    assert (reply.model, reply.object, reply.choices[0].finish_reason) == ("a", "chat.completion", "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (12, 4, 16)
    assert reply.usage.prompt_tokens_details.cached_tokens == 3
    facts = reply.llmbench
    assert (facts["task"], facts["tier"], facts["model_id"]) == ("caption", "cheap", "m-a")
    assert facts["fallback_chain"] == ["a"]
    assert facts["cost_usd"] == pytest.approx(20e-6)
    [line] = running.new_lines(before)
    assert line["call_id"] == facts["call_id"] == reply._request_id == reply.id.removeprefix("chatcmpl-")
    assert line["status"] == "success"


def test_a_tier_is_a_model_and_so_is_a_new_task_with_a_tier_of_its_own(running, sdk):
    before = len(running.lines())
    for name in ("standard", "tier:standard"):
        assert sdk.chat.completions.create(model=name, messages=user("x")).model == "b"
    own = {"llmbench": {"tier": "standard"}}
    assert sdk.chat.completions.create(model="a_new_task", messages=user("x"), extra_body=own).model == "b"
    places = [(line["task"], line["tier"]) for line in running.new_lines(before, 3)]
    assert places == [("standard", "standard")] * 2 + [("a_new_task", "standard")]


def test_the_body_object_names_channel_routing_key_run_and_deadline(running, sdk):
    before = len(running.lines())
    own = {"channel": "CH01", "env": "prod", "routing_key": "anna", "run_id": "r1", "deadline_s": 9}
    reply = sdk.chat.completions.create(
        model="caption", messages=user("x"), extra_body={"llmbench": own | {"allow_fallback": False}}
    )
    assert (reply.model, reply.llmbench["tier"]) == ("b", "standard")
    [line] = running.new_lines(before)
    assert {name: line[name] for name in own if name != "deadline_s"}.items() <= own.items()


def test_the_user_of_a_request_is_its_routing_key(running, sdk):
    before = len(running.lines())
    sdk.chat.completions.create(model="caption", messages=user("x"), user="bert")
    assert running.new_lines(before)[0]["routing_key"] == "bert"


def test_parameters_arrive_at_the_provider(running, sdk):
    sdk.chat.completions.create(
        model="caption",
        messages=[{"role": "system", "content": "Be short."}, *user("x")],
        max_completion_tokens=77,
        top_p=0.9,
        stop=["END"],
        seed=5,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        parallel_tool_calls=False,
        tools=[WEATHER],
        tool_choice="auto",
    )
    sent = running.text.received[-1].json
    expected = {"max_tokens": 77, "top_p": 0.9, "stop": ["END"], "seed": 5, "tool_choice": "auto"}
    expected |= {"presence_penalty": 0.1, "frequency_penalty": 0.2, "parallel_tool_calls": False}
    assert expected.items() <= sent.items()
    assert sent["tools"] == [WEATHER]
    assert sent["messages"][0] == {"role": "system", "content": "Be short."}


def test_a_schema_is_kept_and_the_answer_is_json_without_its_fence(sdk):
    reply = sdk.chat.completions.parse(model="caption", messages=user("#json"), response_format=City)
    assert reply.choices[0].message.parsed == City(city="Kyoto", people=1463723)


def test_tools_are_called_and_answered_in_a_second_turn(running, sdk):
    first = sdk.chat.completions.create(model="caption", messages=user("#tool"), tools=[WEATHER])
    choice = first.choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    [call] = choice.message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("call_7", "weather", '{"city":"Kyoto"}')
    turns = [
        *user("#tool"),
        choice.message.model_dump(),
        {"role": "tool", "tool_call_id": call.id, "content": "sun"},
    ]
    again = sdk.chat.completions.create(model="caption", messages=turns, tools=[WEATHER])
    assert again.choices[0].message.content == "you said sun"
    asked = running.text.received[-1].json["messages"][1]
    assert asked == {"role": "assistant", "content": None, "tool_calls": [call.model_dump()]}


def test_pictures_go_along_as_parts(running, sdk):
    parts = [{"type": "text", "text": "what"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    sdk.chat.completions.create(model="caption", messages=[{"role": "user", "content": parts}])
    assert running.text.received[-1].json["messages"][0]["content"] == parts


def test_how_an_answer_ended_is_told_in_openais_words(sdk):
    refused = sdk.chat.completions.create(model="caption", messages=user("#refuse")).choices[0]
    assert (refused.message.content, refused.message.refusal) == (None, "I will not.")


def test_an_answer_that_nobody_could_fit_into_its_limit_is_handed_on_as_cut_off(running, sdk):
    before = len(running.lines())
    cut = sdk.chat.completions.create(model="caption", messages=user("#long x"))
    assert (cut.choices[0].finish_reason, cut.choices[0].message.content) == ("length", "you said #long x")
    assert (cut.model, cut.usage.completion_tokens) == ("b", 4)
    assert cut.llmbench["fallback_chain"] == ["a", "b"]
    chunks = list(sdk.chat.completions.create(model="caption", messages=user("#long x"), stream=True))
    assert chunks[-1].choices[0].finish_reason == "length"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "you said #long x"
    assert {line["error_kind"] for line in running.new_lines(before, 2)} == {"truncated"}


def test_a_stream_comes_in_chunks_with_the_usage_at_the_end(running, sdk):
    before = len(running.lines())
    chunks = list(
        sdk.chat.completions.create(
            model="caption", messages=user("one two"), stream=True, stream_options={"include_usage": True}
        )
    )
    pieces = [
        chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content
    ]
    assert pieces == ["you ", "said ", "one ", "two"]
    assert {chunk.model for chunk in chunks} == {"a"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-2].llmbench["tier"] == "cheap"
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 16)
    assert [line["status"] for line in running.new_lines(before)] == ["success"]


def test_the_librarys_own_accumulator_reads_streams_of_text_schemas_and_tools(sdk):
    with sdk.chat.completions.stream(model="caption", messages=user("#json"), response_format=City) as stream:
        assert stream.get_final_completion().choices[0].message.content.startswith('{"city"')
    with sdk.chat.completions.stream(model="caption", messages=user("#tool"), tools=[WEATHER]) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls[0].function.arguments == '{"city":"Kyoto"}'


def test_a_stream_that_fails_before_its_first_piece_has_a_status(sdk):
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.chat.completions.create(model="caption", messages=user("#500"), stream=True)
    assert (caught.value.status_code, caught.value.code) == (502, "server_error")


def test_fifty_calls_at_once_are_all_answered(running):
    async def ask_all():
        async with openai.AsyncOpenAI(base_url=running.url, api_key=TOKEN, max_retries=0) as client:
            asked = [
                client.chat.completions.create(model="caption", messages=user(f"#slow {number}"))
                for number in range(50)
            ]
            return await asyncio.gather(*asked)

    before = len(running.lines())
    replies = asyncio.run(ask_all())
    said = [reply.choices[0].message.content for reply in replies]
    assert said == [f"you said #slow {number}" for number in range(50)]
    assert len(running.new_lines(before, 50)) == 50


def test_an_asynchronous_stream_is_read_to_its_end(running):
    async def read():
        async with openai.AsyncOpenAI(base_url=running.url, api_key=TOKEN) as client:
            stream = await client.chat.completions.create(model="caption", messages=user("x"), stream=True)
            return [c.choices[0].delta.content or "" async for c in stream if c.choices]

    assert "".join(asyncio.run(read())) == "you said x"


@pytest.mark.parametrize(
    ("prompt", "status", "code"),
    [
        ("#429", 429, "rate_limit"),
        ("#500", 502, "server_error"),
        ("#401", 502, "auth"),
        ("#400", 400, "bad_request"),
        ("#filter", 400, "content_filter"),
        ("#never", 504, "timeout"),
    ],
)
def test_each_kind_of_failure_has_its_status_and_no_secret(running, sdk, prompt, status, code):
    own = {"llmbench": {"deadline_s": 0.3}} if prompt == "#never" else {}
    before = len(running.lines())
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.chat.completions.create(model="standard", messages=user(prompt), extra_body=own)
    error = caught.value
    assert (error.status_code, error.code) == (status, code)
    assert error.body["message"].startswith("no candidate answered: b: ")
    assert CANARY not in error.response.text
    assert error.response.headers["x-should-retry"] == "false"
    [line] = running.new_lines(before)
    assert (line["error_kind"], line["call_id"]) == (code, error.response.headers["x-request-id"])


def test_the_library_does_not_ask_again_what_the_router_has_tried_everywhere(running):
    before = len(running.lines())
    with running.sdk(max_retries=2) as client, pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="caption", messages=user("#429"))
    assert caught.value.response.headers["retry-after"] == "7"
    [line] = running.new_lines(before)
    assert line["fallback_chain"] == ["a", "b"]


def test_a_call_over_its_budget_is_402_and_sends_nothing(running, sdk):
    before = len(running.text.received)
    with pytest.raises(openai.APIStatusError) as caught:
        sdk.chat.completions.create(
            model="caption", messages=user("x"), max_tokens=100, extra_body={"llmbench": {"budget_usd": 1e-9}}
        )
    assert (caught.value.status_code, caught.value.code) == (402, "budget_exceeded")
    assert len(running.text.received) == before


def test_strict_refuses_what_would_be_changed(sdk):
    with pytest.raises(openai.BadRequestError, match="strict"):
        sdk.chat.completions.create(
            model="caption",
            messages=user("x"),
            logit_bias={"5": 1},
            extra_body={"llmbench": {"strict": True}},
        )


def test_a_task_without_a_reachable_model_says_which_variable_is_missing(sdk):
    with pytest.raises(openai.BadRequestError, match="NO_SUCH_KEY") as caught:
        sdk.chat.completions.create(model="unreachable", messages=user("x"))
    assert caught.value.code == "model_not_found"
