"""The Gemini wire: bodies as they are sent, answers and failures as the service phrases them.

What Google's own client sent and got lies beside the checkout as recordings; without them those tests are
skipped.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from llmbench import LLMClient
from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import FallbackExhausted, ProviderError
from llmbench.messages import Usage
from llmbench.prompts import as_messages
from llmbench.providers.failures import error_from
from llmbench.providers.gemini import GeminiWire
from tests.conftest import CANARY
from tests.servers.chat_server import Step

CAPTURES = Path(__file__).parents[2] / "shared" / "wire" / "captures"
WIRE = GeminiWire()
SPEC = ModelSpec("g", "google", "gemini-x")
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "score": {"type": "integer"}},
    "required": ["answer", "score"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "w",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SAFETY = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]


def answer(*parts: dict[str, Any], finish: str | None = "STOP", **usage: int) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    counts = {"promptTokenCount": 12, "candidatesTokenCount": 4, **usage}
    return {"candidates": [candidate | ({"finishReason": finish} if finish else {})], "usageMetadata": counts}


def capture(name: str) -> dict[str, Any]:
    path = CAPTURES / f"gemini-{name}.json"
    if not path.is_file():
        pytest.skip("the recordings of Google's own client (shared/wire/captures) are not on this machine")
    return json.loads(path.read_text(encoding="utf-8"))


def in_camel_case(value: Any) -> Any:
    """The official client mixes two spellings; a JSON Schema is the caller's and keeps its own."""
    if isinstance(value, list):
        return [in_camel_case(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda m: m[1].upper(), key): item for key, item in value.items()}
    schemas = ("responseJsonSchema", "parametersJsonSchema")
    return {key: item if key in schemas else in_camel_case(item) for key, item in named.items()}


def as_recorded(name: str) -> dict[str, Any]:
    """A recorded request without what is the client's own habit and says nothing.

    An empty generationConfig, a role in systemInstruction, one candidate (the default), and
    includeThoughts, which only asks for text that is thrown away here.
    """
    sent = in_camel_case(capture(name)["requests"][-1]["json"])
    sent.get("systemInstruction", {}).pop("role", None)
    config = sent.get("generationConfig", {})
    config.pop("candidateCount", None)
    config.get("thinkingConfig", {}).pop("includeThoughts", None)
    return {key: value for key, value in sent.items() if value != {}}


@pytest.fixture
def open_google(server, write_configs, tmp_path):
    """A client whose one model speaks this wire to the loopback server."""
    opened: list[LLMClient] = []

    def opening(model: dict[str, Any] | None = None, **provider: Any) -> LLMClient:
        entry = {"provider": "google", "model_name": "gemini-3-flash-preview", **(model or {})}
        address = server.url.removesuffix("/v1")
        section = {"type": "gemini", "base_url": address, "env_api_key": "STUB_KEY", **provider}
        folder = write_configs(
            llm_router={"providers": {"google": section}},
            llm_model_registry={"models": {"g": entry}},
            llm_tier_candidates={"tiers": {"cheap": ["g"], "standard": ["g"]}},
            llm_tier_mapping={"tasks": {"caption": "cheap"}},
            llm_fallback_policy={"backoff_sec": 0, "retry_limit": 1},
        )
        client = LLMClient(folder, variables={"STUB_KEY": CANARY}, log_path=tmp_path / "log.jsonl")
        opened.append(client)
        return client

    server.answer = lambda _: Step(answer({"text": "42"}))
    yield opening
    for client in opened:
        client.close()


# ---- bodies, through the client to a real socket

LEVELS = {"params": {"reasoning_key": "thinkingLevel"}, "capabilities": {"reasoning": True}}
BUDGET = {"params": {"reasoning_key": "thinkingBudget"}, "capabilities": {"reasoning": True}}
STRUCTURED = {"capabilities": {"structured_outputs": True}}
ABLE = {"capabilities": {"vision": True, "tools": True}}
TALK = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "hello"},
    {"role": "user", "content": "again"},
]
PHOTO = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "weather here?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
        ],
    }
]


@pytest.mark.parametrize(
    ("case", "model", "prompt", "options"),
    [
        ("generate-minimal", {}, "What is 6*7?", {}),
        ("generate-multiturn", {}, TALK, {}),
        (
            "generate-thinkinglevel",
            {**LEVELS, "params": {**LEVELS["params"], "allow_penalties": True}},
            [{"role": "system", "content": "Be terse."}, {"role": "user", "content": "What is 6*7?"}],
            {
                "temperature": 0.2,
                "top_p": 0.9,
                "top_k": 40,
                "max_tokens": 512,
                "stop": "\n\n",
                "presence_penalty": 0.1,
                "frequency_penalty": 0.1,
                "seed": 7,
                "reasoning": "low",
            },
        ),
        ("generate-thinkingbudget", BUDGET, "What is 6*7?", {"max_tokens": 64, "reasoning": "none"}),
        ("generate-response-json-schema", STRUCTURED, "What is 6*7?", {"response_format": SCHEMA}),
        (
            "generate-image-input-tools",
            ABLE,
            PHOTO,
            {"tools": [WEATHER], "tool_choice": "auto", "extra_body": {"safetySettings": SAFETY}},
        ),
    ],
)
def test_a_call_sends_and_reads_what_googles_own_client_did(
    open_google, server, case, model, prompt, options
):
    recorded = capture(case)
    server.answer = lambda _: Step(recorded["response"]["body"])
    response = open_google(
        {**model, "model_name": recorded["requests"][-1]["path"].split("/")[-1].split(":")[0]}
    ).call("caption", prompt, **options)
    (sent,) = server.received
    assert sent.path == recorded["requests"][-1]["path"]
    assert sent.json == as_recorded(case)
    assert (sent.headers["x-goog-api-key"], "authorization" in sent.headers) == (CANARY, False)
    assert response.text == (recorded["sdk_result"]["text"] or "")


def test_the_official_clients_missing_media_type_is_not_repeated():
    """It sent a schema without one and got a 400; here the two go together."""
    recorded = as_recorded("generate-response-json-schema-nomime")["generationConfig"]
    form = {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA}}
    sent = WIRE.body(SPEC, as_messages("x"), {"response_format": form}, None, {})["generationConfig"]
    assert sent == {**recorded, "responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("settings", "model", "path"),
    [
        ({}, {}, "/v1/models/g-1:generateContent"),
        ({"api_version": "v1beta"}, {}, "/v1beta/models/g-1:generateContent"),
        ({"api_version": "v1beta"}, {"api_version": "v1alpha"}, "/v1alpha/models/g-1:generateContent"),
        ({}, {"model_name": "tunedModels/t:1"}, "/v1/tunedModels/t%3A1:generateContent"),
        ({}, {"model_name": "a/b"}, "/v1/models/a%2Fb:generateContent"),
    ],
)
def test_the_version_is_a_setting_and_the_model_is_in_the_path(open_google, server, settings, model, path):
    open_google({"model_name": "g-1", **model}, **settings).call("caption", "x")
    assert server.received[0].path == path.replace("%3A", ":")  # what a path may hold stands in it plainly


@pytest.mark.parametrize("base", ["https://h.test/v1beta", "https://h.test/v1/", "https://h.test/v1beta2"])
def test_a_base_that_names_its_version_keeps_it(base):
    endpoint = Endpoint("g", type="gemini", base_url=base, api_version="v1")
    assert WIRE.path(SPEC, endpoint) == "/models/gemini-x:generateContent"


def test_the_default_rules_refuse_penalties_and_never_guess_how_a_model_thinks(open_google, server):
    client = open_google({"model_name": "gemini-2.5-flash", "capabilities": {"reasoning": True}})
    response = client.call("caption", "x", max_tokens=9, presence_penalty=0.5, reasoning="low")
    assert server.received[0].json["generationConfig"] == {"maxOutputTokens": 9}
    dropped = {change.param for change in response.adjustments if change.action == "dropped"}
    assert dropped == {"presence_penalty", "reasoning"}


# ---- answers


def test_an_answer_is_read_with_its_usage_and_ids_and_without_its_thoughts():
    parts = [{"text": "Hm.", "thought": True}, {"text": "4"}, {"text": "2", "thoughtSignature": "eA=="}]
    payload = answer(*parts, thoughtsTokenCount=30, cachedContentTokenCount=5, toolUsePromptTokenCount=2)
    reply = WIRE.parse(payload | {"responseId": "r-1", "modelVersion": "g-001"}, {"x-request-id": "h"})
    assert (reply.text, reply.finish_reason, reply.problem) == ("42", "stop", None)
    assert reply.usage == Usage(14, 34, 5, 30)
    assert (reply.request_id, reply.served_model) == ("r-1", "g-001")


def test_a_function_call_is_an_answer_though_the_service_says_stop():
    call = {"functionCall": {"name": "get_weather", "args": {"city": "京都"}}}
    reply = WIRE.parse(answer({"text": "Let me see."}, call), {})
    assert (reply.finish_reason, reply.problem, reply.text) == ("tool_calls", None, "Let me see.")
    assert reply.tool_calls[0]["function"] == {"name": "get_weather", "arguments": '{"city": "京都"}'}


@pytest.mark.parametrize(
    ("payload", "finish", "kind"),
    [
        (answer({"text": "half"}, finish="MAX_TOKENS"), "length", "truncated"),
        (answer({"functionCall": {"name": "f"}}, finish="MAX_TOKENS"), "length", "truncated"),
        (answer({"text": "half"}, finish="CONTINUATION"), "length", "truncated"),
        (answer({"text": "some"}, finish="SAFETY"), "content_filter", "content_filter"),
        (answer(finish="IMAGE_SAFETY"), "content_filter", "content_filter"),
        (answer(finish="UNEXPECTED_TOOL_CALL"), "error", "malformed"),
        (answer({"text": "some"}, finish="OTHER"), "error", "server_error"),
        (answer(finish="NO_IMAGE"), "error", "no_media"),
        (answer({"text": "Hm.", "thought": True}), "empty", "empty"),
        (answer({"text": ""}), "empty", "empty"),
        (answer(finish="SOMETHING_NEW"), "empty", "empty"),
        (answer("no part", {"text": 5}), "empty", "empty"),
    ],
)
def test_an_answer_that_is_none_keeps_its_tokens_and_names_its_problem(payload, finish, kind):
    reply = WIRE.parse(payload, {})
    assert (reply.finish_reason, reply.problem.kind, reply.usage) == (finish, kind, Usage(12, 4))
    reason = payload["candidates"][0]["finishReason"]
    assert reason in str(reply.problem)


def test_tokens_without_a_candidate_are_an_empty_answer_and_nothing_at_all_is_malformed():
    reply = WIRE.parse({"usageMetadata": {"promptTokenCount": 7}}, {})
    assert (reply.problem.kind, reply.usage) == ("empty", Usage(7))
    for payload in ({}, {"candidates": []}, {"candidates": ["x"]}):
        with pytest.raises(ProviderError) as caught:
            WIRE.parse(payload, {})
        assert caught.value.kind == "malformed"


def test_figures_that_no_host_should_send_make_no_negative_cost():
    odd = answer({"text": "x"}, candidatesTokenCount=True, thoughtsTokenCount=-4, cachedContentTokenCount=99)
    assert WIRE.parse(odd, {}).usage == Usage(12, 0, 12, 0)


@pytest.mark.parametrize(
    ("case", "text", "finish", "kind", "usage"),
    [
        ("generate-minimal", "42", "stop", None, Usage(12, 99, 0, 96)),
        ("generate-thinkinglevel", "42", "stop", None, Usage(12, 99, 0, 96)),
        ("generate-image-input-tools", "", "tool_calls", None, Usage(12, 99, 0, 96)),
        ("minimal-response", "ok", "stop", None, Usage()),
        ("unknown-finish-reason", "42", "stop", None, Usage(12, 99, 0, 96)),
        ("max-tokens-empty", "", "length", "truncated", Usage(12, 61, 0, 61)),
        ("max-tokens-partial", "The answer is", "length", "truncated", Usage(12, 3)),
        ("prompt-blocked", "", "content_filter", "content_filter", Usage(12)),
        ("safety", "", "content_filter", "content_filter", Usage(12)),
        ("recitation", "", "content_filter", "content_filter", Usage(12)),
        ("image-no-image", "", "content_filter", "content_filter", Usage(4)),
        ("malformed-function-call", "", "error", "malformed", Usage(12)),
        ("empty-stop", "", "empty", "empty", Usage(12)),
    ],
)
def test_recorded_answers_have_the_right_word(case, text, finish, kind, usage):
    reply = WIRE.parse(capture(case)["response"]["body"], {})
    assert (reply.text, reply.finish_reason, reply.usage) == (text, finish, usage)
    assert (reply.problem and reply.problem.kind) == kind


# ---- failures


def error(status: int, message: str = "x", *details: dict[str, Any]) -> ProviderError:
    return error_from(status, {}, {"error": {"code": status, "message": message, "details": list(details)}})


def test_details_say_what_the_status_does_not():
    assert error(400, "x", {"reason": "API_KEY_INVALID"}).kind == "auth"
    assert error(400).kind == "bad_request"
    day = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
    minute = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}
    delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38.2s"}
    assert (error(429, "x", day, delay).kind, error(429, "x", day, delay).retry_after_s) == ("quota", 38.2)
    assert error(429, "x", minute, delay).kind == "rate_limit"
    assert error(429, "x", {"retryDelay": "soon"}).retry_after_s is None
    assert error_from(429, {"retry-after": "3"}, {"error": {"details": [delay]}}).retry_after_s == 3
    assert error(400, 'Unknown name "topZ" at generation_config').kind == "unsupported_param"
    assert error(400, "Penalty is not enabled for models/g").kind == "unsupported_param"


@pytest.mark.parametrize(
    ("case", "kind", "wait_s"),
    [
        ("error-400-api-key", "auth", None),
        ("error-400-failed-precondition", "auth", None),
        ("error-400-invalid-argument", "bad_request", None),
        ("error-401", "auth", None),
        ("error-403", "auth", None),
        ("error-404-model", "model_not_found", None),
        ("error-408", "timeout", None),
        ("error-409", "server_error", None),
        ("error-413", "bad_request", None),
        ("error-422", "bad_request", None),
        ("error-429-per-day", "quota", 35644.0),
        ("error-429-per-minute", "rate_limit", 46.0),
        ("error-500", "server_error", None),
        ("error-502-html", "server_error", None),
        ("error-503", "server_error", None),
        ("error-504", "timeout", None),
        ("generate-both-level-and-budget", "bad_request", None),
        ("200-empty-object", "malformed", None),
        ("200-html", "malformed", None),
    ],
)
def test_recorded_failures_have_one_word_through_a_real_socket(open_google, server, case, kind, wait_s):
    response = capture(case)["response"]
    server.answer = lambda _: Step(response["body"], response["status"], {})
    with pytest.raises(FallbackExhausted) as caught:
        open_google().call("caption", "x", timeout=5)
    first = caught.value.exceptions[0]
    assert (first.kind, first.retry_after_s) == (kind, wait_s)
    assert CANARY not in str(first)
