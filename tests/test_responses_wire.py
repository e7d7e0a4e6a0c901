"""The Responses wire: bodies as the official SDK sends them, answers and failures as hosts phrase them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmbench import FallbackExhausted
from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ProviderError
from llmbench.messages import Message, Usage
from llmbench.providers.responses import ResponsesWire
from tests.conftest import CANARY, models, provider
from tests.servers.chat_server import Step

CAPTURES = Path(__file__).parents[2] / "shared" / "wire" / "captures"
SPEC = ModelSpec("m", "stub", "m-id")
WIRE = ResponsesWire()
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "score": {"type": "integer"}},
    "required": ["answer", "score"],
    "additionalProperties": False,
}
REFUSAL = "I'm sorry, I can't help with that."
RECORD = '{"answer":"42","score":1}'


def capture(name: str) -> dict[str, Any]:
    path = CAPTURES / f"{name}.json"
    if not path.is_file():
        pytest.skip("the recorded exchanges are not beside this checkout (shared/wire/captures)")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def text(said: str) -> dict[str, Any]:
    return {"type": "output_text", "text": said, "annotations": []}


def answer(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A response as OpenAI and Azure send it."""
    usage = {"input_tokens": 12, "output_tokens": 4}
    basic = {"id": "resp_1", "status": "completed", "error": None, "incomplete_details": None}
    return {**basic, "model": "served", "output": list(output), "usage": usage, **fields}


def body(*messages: Message, instruction: str | None = None, extra: Any = None, **params: Any) -> Any:
    return WIRE.body(SPEC, messages or (Message("user", "hi"),), params, instruction, extra or {})


@pytest.fixture
def ask(open_client, server):
    """Call model `a` on this wire; its registry entry and the provider's section may be changed."""

    def asking(prompt="hi", entry=None, host=None, url=None, **options):
        entry = {
            "capabilities": {"structured_outputs": True, "reasoning": True, "tools": True, "vision": True}
        } | (entry or {})
        client = open_client(
            llm_router={"providers": {"stub": provider(url or server.url, **(host or {}))}},
            llm_model_registry={"models": models("a", "b", "c", use_responses_api=True, **entry)},
        )
        return client.call("caption", prompt, models="a", **options)

    return asking


# ---- the request


def test_the_body_is_the_one_the_official_sdk_sends(ask, server):
    recorded = capture("azure-responses-v1")["requests"][0]["json"]
    picture = recorded["input"][0]["content"][1]["image_url"]
    server.answer = lambda _: Step(answer(message(text(RECORD))))
    response = ask(
        [
            {"role": "system", "content": "Be terse."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is 6*7?"},
                    {"type": "image_url", "image_url": {"url": picture, "detail": "low"}},
                ],
            },
        ],
        max_tokens=512,
        reasoning="low",
        verbosity="low",
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
        extra_body={"include": ["reasoning.encrypted_content"]},
    )
    assert server.received[0].json == {**recorded, "model": "m-a"}
    assert server.received[0].path == "/v1/responses"
    assert server.received[0].headers["authorization"] == f"Bearer {CANARY}"
    assert response.parsed == {"answer": "42", "score": 1}
    assert {change.param for change in response.adjustments} == {"max_tokens", "include"}


def test_tools_are_flat_as_the_official_sdk_sends_them(ask, server):
    recorded = capture("azure-responses-v1-tools")
    sent = recorded["requests"][0]["json"]
    function = {key: value for key, value in sent["tools"][0].items() if key != "type"}
    server.answer = lambda _: Step(recorded["response"]["body"])
    response = ask(sent["input"], tools=[{"type": "function", "function": function}], tool_choice="auto")
    said = [{"role": "user", "content": [{"type": "input_text", "text": sent["input"]}]}]
    assert server.received[0].json == {**sent, "model": "m-a", "input": said}
    assert response.finish_reason == "tool_calls"
    call = {"name": "get_weather", "arguments": '{"city":"Oslo"}'}
    assert list(response.tool_calls) == [{"id": "call_1", "type": "function", "function": call}]


def test_the_least_body_is_model_input_and_no_storage():
    said = [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]
    assert body() == {"model": "m-id", "input": said, "store": False}


def test_leading_system_turns_and_the_instruction_become_instructions():
    made = body(
        Message("system", "Be brief."),
        Message("system", ({"type": "text", "text": "No jokes."},)),
        Message("user", "hi"),
        Message("system", "Now in French."),
        instruction="Answer in JSON.",
    )
    assert made["instructions"] == "Be brief.\n\nNo jokes.\n\nAnswer in JSON."
    assert [item["role"] for item in made["input"]] == ["user", "system"]
    assert body(instruction="Answer in JSON.")["instructions"] == "Answer in JSON."
    alone = body(Message("system", "Say hello."))
    assert "instructions" not in alone
    assert alone["input"][0]["role"] == "system"


def test_a_conversation_with_tools_becomes_items():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    made = body(
        Message("user", "weather?"),
        Message("assistant", "", {"tool_calls": [call]}),
        Message("tool", "rain", {"tool_call_id": "c1"}),
        Message("assistant", "It rains."),
        Message("user", ({"type": "file", "file": {"file_id": "f1"}}, {"type": "other", "x": 1})),
    )
    assert made["input"][1:] == [
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It rains."}]},
        {"role": "user", "content": [{"type": "input_file", "file_id": "f1"}, {"type": "other", "x": 1}]},
    ]


def test_a_tool_that_is_not_strict_says_so_because_this_api_is_strict_by_default():
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    made = body(
        tools=[tool, {"type": "web_search"}], tool_choice={"type": "function", "function": {"name": "f"}}
    )
    assert made["tools"] == [
        {"type": "function", "name": "f", "parameters": {}, "strict": False},
        {"type": "web_search"},
    ]
    assert made["tool_choice"] == {"type": "function", "name": "f"}


def test_extra_fields_join_the_objects_they_belong_to():
    made = body(
        response_format={"type": "json_object"},
        reasoning_effort="low",
        extra={"text": {"verbosity": "high"}, "reasoning": {"summary": "auto"}, "top_a": 1},
    )
    assert made["text"] == {"format": {"type": "json_object"}, "verbosity": "high"}
    assert made["reasoning"] == {"effort": "low", "summary": "auto"}
    assert made["top_a"] == 1


def test_what_this_api_lacks_is_dropped_and_told(ask, server):
    server.answer = lambda _: Step(answer(message(text("ok"))))
    lacking = {"stop": ["\n"], "seed": 3, "presence_penalty": 0.5, "frequency_penalty": 0.5}
    response = ask(**lacking, temperature=0.2, max_tokens=64)
    told = {change.param: (change.action, change.before, change.after) for change in response.adjustments}
    dropped = {name: ("dropped", value, None) for name, value in lacking.items()}
    assert told == {**dropped, "max_tokens": ("renamed", "max_tokens", "max_output_tokens")}
    sent = server.received[0].json
    assert (sent["temperature"], sent["max_output_tokens"]) == (0.2, 64)
    assert not set(lacking) & set(sent)


def test_the_registry_may_say_otherwise_than_the_wire(ask, server):
    server.answer = lambda _: Step(answer(message(text("ok"))))
    entry = {
        "params": {"allow_seed": True, "max_tokens_key": "max_tokens", "reasoning_key": "reasoning_effort"}
    }
    ask(entry=entry, seed=3, max_tokens=64, reasoning="low")
    sent = server.received[0].json
    assert (sent["seed"], sent["max_tokens"], sent["reasoning"]) == (3, 64, {"effort": "low"})


def test_a_models_output_limit_does_not_name_the_chat_field(ask, server):
    server.answer = lambda _: Step(answer(message(text("ok"))))
    ask(entry={"capabilities": {"max_completion_tokens": 50}}, max_tokens=64)
    assert server.received[0].json["max_output_tokens"] == 50


# ---- Azure's addresses


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        (Endpoint("x", base_url="https://h.test/v1", api_version="ignored"), "/responses"),
        (Endpoint("x", type="azure", base_url="https://r.openai.azure.com/openai/v1/"), "/responses"),
        (Endpoint("x", type="azure", base_url="https://r.openai.azure.com"), "/openai/v1/responses"),
        (
            Endpoint("x", type="azure", base_url="https://r.test", api_version="2025-04-01-preview"),
            "/openai/responses?api-version=2025-04-01-preview",
        ),
        (
            Endpoint("x", type="azure", base_url="https://r.test", api_version="2025-03-01-preview"),
            "/openai/responses?api-version=2025-03-01-preview",
        ),
    ],
)
def test_the_path_is_the_hosts(endpoint, path):
    assert WIRE.path(SPEC, endpoint) == path


@pytest.mark.parametrize(
    ("auth", "header"),
    [({}, ("api-key", CANARY)), ({"auth": "bearer"}, ("authorization", f"Bearer {CANARY}"))],
)
def test_azure_is_asked_in_its_dated_form_with_either_header(ask, server, auth, header):
    recorded = capture("azure-responses-apiversion")
    server.answer = lambda _: Step(recorded["response"]["body"], headers=recorded["response"]["headers"])
    version = recorded["requests"][0]["query"]["api-version"]
    root = server.url.removesuffix("/v1")
    host = {"type": "azure", "api_version": version, "env_endpoint": "NOT_SET", **auth}
    response = ask(entry={"deployment": "my-dep"}, host=host, url=root)
    sent = server.received[0]
    assert sent.path == recorded["requests"][0]["path"] + f"?api-version={version}"
    assert sent.json["model"] == "my-dep"
    assert sent.headers[header[0]] == header[1]
    assert ("api-key" in sent.headers) != ("authorization" in sent.headers)
    assert (response.text, response.request_id) == (RECORD, "66666666-7777-8888-9999-000000000000")


def test_azures_v1_address_takes_no_version(ask, server):
    recorded = capture("azure-responses-v1")
    server.answer = lambda _: Step(recorded["response"]["body"])
    host = {"type": "azure", "env_endpoint": "NOT_SET"}
    ask(host=host, url=server.url.removesuffix("/v1") + "/openai/v1/")
    assert server.received[0].path == recorded["requests"][0]["path"]


# ---- the answer


@pytest.mark.parametrize(
    ("name", "said", "finish", "kind", "usage"),
    [
        ("azure-responses-v1", RECORD, "stop", None, Usage(31, 90, 0, 64)),
        ("azure-responses-v1-azureclient", RECORD, "stop", None, Usage(31, 90, 0, 64)),
        ("azure-responses-v1-minimal-request", RECORD, "stop", None, Usage(31, 90, 0, 64)),
        ("openai-responses", RECORD, "stop", None, Usage(31, 90, 0, 64)),
        ("openai-responses-minimal-response", "ok", "stop", None, Usage()),
        ("azure-responses-incomplete-max-tokens", "", "length", "truncated", Usage(31, 64, 0, 64)),
        (
            "azure-responses-incomplete-content-filter",
            "The ",
            "content_filter",
            "content_filter",
            Usage(31, 90, 0, 64),
        ),
        ("azure-responses-refusal", REFUSAL, "refusal", "refusal", Usage(31, 90, 0, 64)),
    ],
)
def test_recorded_replies_are_read_for_what_they_are(name, said, finish, kind, usage):
    reply = WIRE.parse(capture(name)["response"]["body"], {})
    assert (reply.text, reply.finish_reason, reply.usage) == (said, finish, usage)
    assert (reply.problem and reply.problem.kind) == kind


def test_a_llama_cpp_reply_that_used_up_its_limit_is_cut_off_though_it_says_completed():
    recorded = capture("llamacpp-responses-incomplete")
    limit = recorded["requests"][0]["json"]["max_output_tokens"]
    payload = recorded["response"]["body"]
    reply = WIRE.parse(payload, {}, {"max_output_tokens": limit})
    assert (reply.finish_reason, reply.problem.kind, reply.usage) == ("length", "truncated", Usage(33, 4, 28))
    whole = WIRE.parse(payload, {}, {"max_output_tokens": limit + 1})
    assert (whole.finish_reason, whole.problem) == ("stop", None)


def test_a_host_that_tells_why_it_stopped_is_believed_at_its_limit():
    reply = WIRE.parse(answer(message(text("done")), max_output_tokens=4), {})
    assert (reply.finish_reason, reply.problem) == ("stop", None)


@pytest.mark.parametrize(
    ("payload", "finish", "kind"),
    [
        (answer(), "empty", "empty"),
        (answer({"type": "reasoning", "summary": []}), "empty", "empty"),
        (answer(message(text(""))), "empty", "empty"),
        (answer(message({"type": "refusal", "refusal": ""})), "refusal", "refusal"),
        (answer(message(text("half")), status="incomplete"), "length", "truncated"),
    ],
)
def test_an_answer_that_is_none_keeps_its_tokens_and_names_its_problem(payload, finish, kind):
    reply = WIRE.parse(payload, {})
    assert (reply.finish_reason, reply.problem.kind, reply.usage) == (finish, kind, Usage(12, 4))


def test_the_text_of_all_messages_is_joined_and_reasoning_is_not_read():
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
    reply = WIRE.parse(answer(thought, message(text("a"), text("b")), message(text("c"))), {})
    assert (reply.text, reply.request_id, reply.served_model) == ("abc", "resp_1", "served")
    assert WIRE.parse(answer(message(text("a"))), {"apim-request-id": "r-7"}).request_id == "r-7"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("failed", "rate_limit_exceeded", "rate_limit"),
        ("failed", "server_error", "server_error"),
        ("failed", "invalid_prompt", "bad_request"),
        ("failed", "image_too_large", "bad_request"),
        ("failed", "image_content_policy_violation", "content_filter"),
        ("failed", "vector_store_timeout", "timeout"),
        ("failed", "unheard_of", "server_error"),
        ("failed", None, "server_error"),
        ("cancelled", None, "server_error"),
        ("queued", None, "server_error"),
    ],
)
def test_a_response_without_answer_fails_with_its_reason(status, code, kind):
    error = None if code is None else {"code": code, "message": "It failed."}
    with pytest.raises(ProviderError, match=r"status|It failed") as caught:
        WIRE.parse(answer(status=status, error=error), {})
    assert caught.value.kind == kind


@pytest.mark.parametrize("payload", [{}, {"output": None}, {"output": "x"}, {"choices": []}])
def test_a_payload_without_output_is_malformed(payload):
    with pytest.raises(ProviderError) as caught:
        WIRE.parse(payload, {})
    assert caught.value.kind == "malformed"


def test_a_recorded_failure_is_read_as_one():
    with pytest.raises(ProviderError, match="failed to generate") as caught:
        WIRE.parse(capture("azure-responses-failed")["response"]["body"], {})
    assert caught.value.kind == "server_error"


def test_odd_items_and_figures_do_no_harm():
    odd = answer(
        "x", message(), {"type": "message", "content": "x"}, message(text("ok")), usage={"input_tokens": -1}
    )
    reply = WIRE.parse(odd, {})
    assert (reply.text, reply.usage) == ("ok", Usage())


def test_a_failure_inside_a_200_is_no_answer_for_the_client(ask, server):
    failed = {"code": "server_error", "message": "It failed."}
    server.answer = lambda _: Step(answer(status="failed", error=failed))
    with pytest.raises(FallbackExhausted, match=r"server_error .*It failed"):
        ask()


def test_a_refusal_and_a_cut_answer_reach_the_caller_as_such(ask, server):
    server.answer = lambda _: Step(answer(message({"type": "refusal", "refusal": "No."})))
    assert ask().finish_reason == "refusal"
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    server.answer = lambda _: Step(answer(**cut))
    with pytest.raises(FallbackExhausted, match="a: truncated"):
        ask()
