"""The Chat Completions wire: bodies as they are sent, answers and failures as hosts really phrase them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ProviderError
from llmbench.messages import Message, Usage
from llmbench.providers import base
from llmbench.providers.base import post_json
from llmbench.providers.chat import ChatWire
from llmbench.providers.failures import error_from
from llmbench.providers.transport import HttpxTransport
from llmbench.providers.waits import retry_after_s
from tests.servers.chat_server import Step, completion, failure

SPEC = ModelSpec("m", "stub", "m-id")
WIRE = ChatWire()


# ---- body and path


def test_the_body_is_model_messages_and_parameters_and_nothing_else():
    body = WIRE.body(SPEC, (Message("user", "hi"),), {"max_tokens": 5}, None, {"top_a": 1})
    assert body == {
        "model": "m-id",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 5,
        "top_a": 1,
    }


def test_an_instruction_joins_the_system_turn_or_becomes_one():
    def turns(*messages):
        return WIRE.body(SPEC, messages, {}, "Answer in JSON.", {})["messages"]

    assert turns(Message("system", "Be brief."), Message("user", "hi"))[0] == {
        "role": "system",
        "content": "Be brief.\n\nAnswer in JSON.",
    }
    assert turns(Message("user", "hi"))[0] == {"role": "system", "content": "Answer in JSON."}


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        (Endpoint("x", base_url="https://h.test/v1"), "/chat/completions"),
        (
            Endpoint("x", type="azure", base_url="https://r.openai.azure.com", api_version="2024-10-21"),
            "/openai/deployments/m-id/chat/completions?api-version=2024-10-21",
        ),
        (Endpoint("x", type="azure", base_url="https://r.openai.azure.com"), "/openai/v1/chat/completions"),
        (
            Endpoint("x", type="azure", base_url="https://r.openai.azure.com/openai/v1", api_version="v"),
            "/chat/completions",
        ),
    ],
)
def test_the_path_is_the_hosts(endpoint, path):
    assert WIRE.path(SPEC, endpoint) == path


# ---- answers


def test_an_answer_is_read_with_its_usage_cost_and_ids():
    usage = {
        "prompt_tokens": 14,
        "completion_tokens": 40,
        "cost": 2.1e-05,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 32},
    }
    reply = WIRE.parse(completion("42", usage=usage), {"x-request-id": "req-9"})
    assert (reply.text, reply.finish_reason, reply.problem) == ("42", "stop", None)
    assert reply.usage == Usage(14, 40, 4, 32)
    assert (reply.reported_usd, reply.request_id, reply.served_model) == (2.1e-05, "req-9", "served-model")


@pytest.mark.parametrize(
    ("payload", "finish", "kind"),
    [
        (completion("half", finish_reason="length"), "length", "truncated"),
        (completion("", finish_reason="length"), "length", "truncated"),
        (completion(None, finish_reason="content_filter"), "content_filter", "content_filter"),
        (completion(None, refusal="I cannot."), "refusal", "refusal"),
        (completion("par", finish_reason="error"), "error", "server_error"),
        (completion(None), "empty", "empty"),
        (completion(""), "empty", "empty"),
        (completion([]), "empty", "empty"),
    ],
)
def test_an_answer_that_is_none_keeps_its_tokens_and_names_its_problem(payload, finish, kind):
    reply = WIRE.parse(payload, {})
    assert (reply.finish_reason, reply.problem.kind, reply.usage) == (finish, kind, Usage(12, 4))
    assert "I cannot" not in str(reply.problem)


def test_a_refusals_text_is_the_answers():
    assert WIRE.parse(completion(None, refusal="I cannot."), {}).text == "I cannot."


def test_tool_calls_are_an_answer_without_text():
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    reply = WIRE.parse(completion(None, finish_reason="tool_calls", tool_calls=calls), {})
    assert (reply.finish_reason, reply.problem, list(reply.tool_calls)) == ("tool_calls", None, calls)


@pytest.mark.parametrize(
    "payload", [{}, {"choices": []}, {"choices": None}, {"choices": ["x"]}, {"choices": [{"text": "x"}]}]
)
def test_a_payload_without_a_choice_is_malformed(payload):
    with pytest.raises(ProviderError) as caught:
        WIRE.parse(payload, {})
    assert caught.value.kind == "malformed"


def test_an_error_inside_a_choice_has_its_real_status():
    choice = {"finish_reason": "error", "error": {"code": 502, "message": "Upstream error"}}
    with pytest.raises(ProviderError, match="HTTP 502: Upstream error") as caught:
        WIRE.parse({"choices": [choice]}, {})
    assert (caught.value.kind, caught.value.status_code) == ("server_error", 502)


def test_figures_that_no_host_should_send_make_no_negative_cost():
    odd = {
        "prompt_tokens": 5,
        "completion_tokens": True,
        "cost": -1,
        "prompt_tokens_details": {"cached_tokens": 50},
    }
    reply = WIRE.parse(completion("x", usage=odd), {})
    assert (reply.usage, reply.reported_usd) == (Usage(5, 0, 5, 0), None)


# ---- failures


def body(message="x", **detail):
    return {"error": {"message": message, **detail}}


@pytest.mark.parametrize(
    ("status", "payload", "kind"),
    [
        (
            400,
            body(code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}),
            "content_filter",
        ),
        (400, body(innererror={"code": "ResponsibleAIPolicyViolation"}), "content_filter"),
        (403, body(code=403, metadata={"reasons": ["violence"], "flagged_input": "…"}), "content_filter"),
        (403, body(code=403, metadata={"patterns": ["ignore"]}), "content_filter"),
        (400, body(code="context_length_exceeded"), "context_length"),
        (400, body(code=400, type="exceed_context_size_error", n_ctx=2048), "context_length"),
        (400, body("This endpoint's maximum context length is 9", code=400), "context_length"),
        (400, body(code="unsupported_parameter"), "unsupported_param"),
        (400, body(code="unsupported_value"), "unsupported_param"),
        (
            400,
            body(code=400, metadata={"raw": '{"m": "Unsupported value: temperature"}'}),
            "unsupported_param",
        ),
        (400, body("acme/x is not a valid model ID", code=400), "model_not_found"),
        (400, body(code="BadRequest"), "bad_request"),
        (401, body(code="401"), "auth"),
        (401, {"statusCode": 401, "message": "Unauthorized"}, "auth"),
        (402, body(code=402), "quota"),
        (403, body(code="AccessDenied"), "auth"),
        (404, body(code="DeploymentNotFound"), "model_not_found"),
        (404, body(code=404), "model_not_found"),
        (408, body(code="Timeout"), "timeout"),
        (413, body(code="request_too_large"), "bad_request"),
        (422, body(), "bad_request"),
        (429, body(code="429"), "rate_limit"),
        (429, body(code="NoCapacity"), "server_error"),
        (429, body(code="insufficient_quota", type="insufficient_quota"), "quota"),
        (429, body("Rate limit exceeded: free-models-per-day.", code=429), "quota"),
        (429, {"error": {"message": "at capacity", "error_type": "rate_limit_exceeded"}}, "rate_limit"),
        (500, body(code=500, type="server_error"), "server_error"),
        (500, body("image input is not supported - hint", code=500, type="server_error"), "bad_request"),
        (503, body(code="ServiceUnavailable"), "server_error"),
        (504, body(code="GatewayTimeout"), "timeout"),
        (524, None, "server_error"),
        (529, None, "server_error"),
        (302, None, "server_error"),
        (200, body(code=502), "server_error"),
        (200, body(code=429), "rate_limit"),
        (200, {"error": "plain text"}, "server_error"),
    ],
)
def test_every_hosts_failure_has_one_word(status, payload, kind):
    assert error_from(status, {}, payload).kind == kind


def test_a_failures_text_is_one_line_of_limited_length():
    error = error_from(
        500, {"apim-request-id": "r-7"}, None, b"<html>\n  <h1>Bad\r\n gateway</h1>" + b"x" * 999
    )
    assert str(error).startswith("HTTP 500: <html> <h1>Bad gateway</h1>")
    assert len(str(error)) < 200
    assert error.request_id == "r-7"
    assert len(str(error_from(500, {}, body("y" * 5000)))) < 330


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "24"}, 24.0),
        ({"retry-after-ms": "1640", "retry-after": "2"}, 1.64),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, 1e12),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Mon, 23 Nov 2026 10:00:30 GMT"}, 30.0),
        ({"retry-after": "Mon, 23 Nov 2026 09:00:00 GMT"}, 0.0),
    ],
)
def test_the_wait_a_provider_asks_for_is_read_in_all_its_spellings(headers, seconds):
    assert retry_after_s(headers, datetime(2026, 11, 23, 10, tzinfo=UTC)) == seconds


# ---- the real transport against a real socket


def post(server, *, path="/chat/completions", connect_s=2.0):
    async def once():
        transport = HttpxTransport()
        try:
            return await post_json(transport, server.url + path, {}, {"model": "m"}, connect_s)
        finally:
            await transport.aclose()

    return asyncio.run(once())


@pytest.mark.parametrize(
    ("step", "kind", "said"),
    [
        (Step(fault="reset"), "connect", "connection failed"),
        (Step(fault="close"), "connect", "connection failed"),
        (Step(completion(), fault="truncate"), "connect", "connection failed"),
        (Step("<html>hello</html>"), "malformed", "not a JSON object: application/json, 18 bytes$"),
        (Step(""), "malformed", "not a JSON object"),
        (Step("[1]"), "malformed", "not a JSON object"),
        (Step('{"choices": NaN}'), "malformed", "not a JSON object"),
        (Step('{"usage": {"cost": 1e999}}'), "malformed", "not a JSON object"),
        (Step(b"\xff\xfe\xfa"), "malformed", "not a JSON object"),
        (Step(b"no gzip", headers={"content-encoding": "gzip"}), "malformed", "unreadable reply"),
        (failure(503, retry_after="5"), "server_error", "HTTP 503: it failed"),
        (Step({}, status=302, headers={"location": "https://example.org"}), "server_error", "HTTP 302"),
    ],
)
def test_what_goes_wrong_on_the_way_has_one_word(server, step, kind, said):
    server.answer = lambda _: step
    with pytest.raises(ProviderError, match=said) as caught:
        post(server)
    assert caught.value.kind == kind
    assert "\n" not in str(caught.value)
    assert len(server.received) == 1


def test_white_space_before_the_answer_is_no_failure(server):
    server.answer = lambda _: Step(b"\n\n  " + b'{"choices": []}')
    assert post(server)[0] == {"choices": []}


def test_nobody_listening_is_a_failed_connection(server):
    server.port, port = 1, server.port
    with pytest.raises(ProviderError) as caught:
        post(server)
    assert caught.value.kind == "connect"
    server.port = port


def test_a_reply_without_end_is_cut_off(server, monkeypatch):
    monkeypatch.setattr(base, "MAX_REPLY_BYTES", 1 << 20)
    server.answer = lambda _: Step(b" " * (3 << 20))
    with pytest.raises(ProviderError, match="over 1 MiB") as caught:
        post(server)
    assert caught.value.kind == "malformed"
