"""The class of every failure, the wait it asks for, the parameter it refuses, and what of it is shown."""

from __future__ import annotations

import json
import math
import socket
import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import ERROR_KINDS, ErrorKind, ProviderError
from llmbench.providers.failures import classify, connection_failure, error_from, without_keys

#: Where hosts put what is read of an error.
NAMES = (
    *("error", "message", "detail", "code", "type", "status", "http_status", "param", "innererror"),
    *("metadata", "raw", "error_type", "limit_source", "availability", "retry_after", "reasons"),
    *("details", "reason", "violations", "quotaId", "retryDelay"),
)
KEY_ID = "4cc243185e37d3ff658e3ed51653b9fe4f0454acb802f53c3852f23e60422714"


def read(status: int, error: object, headers: dict[str, str] | None = None) -> ProviderError:
    return error_from(status, headers or {}, {"error": error})


def of(code: object = None, message: str = "it failed", **more: Any) -> dict[str, Any]:
    return {"message": message, "code": code, **more}


# ---- the kind, from codes


@pytest.mark.parametrize(
    ("error_type", "kind"),
    [
        ("context_length_exceeded", "context_length"),
        ("max_tokens_exceeded", "truncated"),
        ("token_limit_exceeded", "quota"),
        ("string_too_long", "context_length"),
        ("authentication", "auth"),
        ("permission_denied", "auth"),
        ("payment_required", "quota"),
        ("rate_limit_exceeded", "rate_limit"),
        ("provider_overloaded", "server_error"),
        ("provider_unavailable", "server_error"),
        ("invalid_request", "bad_request"),
        ("invalid_prompt", "bad_request"),
        ("not_found", "model_not_found"),
        ("precondition_failed", "bad_request"),
        ("payload_too_large", "bad_request"),
        ("unprocessable", "bad_request"),
        ("content_policy_violation", "content_filter"),
        ("refusal", "refusal"),
        ("invalid_image", "bad_request"),
        ("image_too_large", "bad_request"),
        ("image_too_small", "bad_request"),
        ("unsupported_image_format", "bad_request"),
        ("image_not_found", "bad_request"),
        ("image_download_failed", "bad_request"),
        ("server", "server_error"),
        ("timeout", "timeout"),
        ("unmapped", "bad_request"),
        ("a_word_of_next_year", "bad_request"),
    ],
)
def test_every_error_type_of_openrouter_has_a_kind(error_type, kind):
    """`unmapped` and unknown ones leave it to the status, here 400."""
    assert read(400, of(400, metadata={"error_type": error_type})).kind == kind
    assert read(400, of(error_type=error_type)).kind == kind


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, of("insufficient_quota", type="insufficient_quota"), "quota"),
        (429, of("rate_limit_exceeded", type="tokens"), "rate_limit"),
        (413, of("rate_limit_exceeded", type="tokens"), "rate_limit"),
        (400, of(None, innererror={"code": "ResponsibleAIPolicyViolation"}), "content_filter"),
        (400, of("unknown_parameter", param="topk"), "unsupported_param"),
        (403, of(403, metadata={"patterns": ["x"]}), "content_filter"),
        (403, of(403, metadata={"limit_source": "openrouter_key_limit"}), "quota"),
        (403, of("AccessDenied"), "auth"),
        (503, of(503, status="UNAVAILABLE"), "server_error"),
        (410, of(), "model_not_found"),
        (499, of(), "server_error"),
        (400, of(400, type="exceed_context_size_error"), "context_length"),
    ],
)
def test_a_code_says_more_than_the_status(status, error, kind):
    assert read(status, error).kind == kind


@pytest.mark.parametrize(
    ("code", "status", "text", "kind"),
    [
        ("invalid_value", 400, "Unsupported value: 'x'", "bad_request"),
        ("rate_limit_exceeded", 429, "Rate limit exceeded: free-models-per-day", "rate_limit"),
        ("context_length_exceeded", 400, "Unknown name", "context_length"),
    ],
)
def test_no_text_outweighs_a_known_code(code, status, text, kind: ErrorKind):
    assert classify(status, [code], text) == kind


def test_a_code_that_says_nothing_leaves_it_to_the_text():
    text = "This model's maximum context length is 8192 tokens"
    for code in ("invalid_request_error", "BadRequest", "INVALID_ARGUMENT", "400"):
        assert classify(400, [code], text) == "context_length"
    assert classify(401, [], text) == "auth"


def test_the_most_telling_code_wins():
    day = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
    assert read(429, of(429, status="RESOURCE_EXHAUSTED", details=[day])).kind == "quota"
    assert read(429, of(429, status="RESOURCE_EXHAUSTED")).kind == "rate_limit"
    flagged = {"flagged_input": "...", "error_type": "permission_denied"}
    assert read(403, of(403, metadata=flagged)).kind == "content_filter"
    upstream = {"error_type": "invalid_request", "provider_code": "context_length_exceeded"}
    assert read(400, of(400, metadata=upstream)).kind == "context_length"


# ---- the status inside a 200, the wait


@pytest.mark.parametrize("error", [of(503), of("503"), of(None, http_status=503), of(None, status=503)])
def test_the_status_inside_a_200_counts(error):
    found = read(200, error)
    assert (found.kind, found.status_code) == ("server_error", 503)
    assert str(found).startswith("HTTP 503:")


def test_a_real_status_is_not_overruled_by_one_in_the_payload():
    assert read(502, of(429)).status_code == 502


def test_a_402_that_names_a_wait_is_a_rate_limit_and_any_other_is_quota():
    """OpenRouter holds money back for the requests that run; it says when to come again."""
    held = of(402, metadata={"limit_source": "openrouter_in_flight_budget"})
    waits = read(402, held, {"retry-after": "3"})
    assert (waits.kind, waits.retry_after_s) == ("rate_limit", 3.0)
    assert read(402, held).kind == "quota"
    assert read(402, of(402, metadata={"limit_source": "openrouter_credits"})).kind == "quota"


@pytest.mark.parametrize(
    ("headers", "more", "wait_s"),
    [
        ({}, {"availability": {"retry_after": 40}}, 40.0),
        ({}, {"metadata": {"availability": {"retry_after": 7}}}, 7.0),
        ({"retry-after": "5"}, {"availability": {"retry_after": 40}}, 5.0),
        ({}, {"details": [{"retryDelay": "38.2s"}]}, 38.2),
        ({}, {"details": [{"retryDelay": "soon"}], "availability": {"retry_after": "later"}}, None),
        ({}, {"details": "x", "availability": 3, "metadata": []}, None),
    ],
)
def test_the_wait_is_found_wherever_a_provider_writes_it(headers, more, wait_s):
    assert read(429, of(**more), headers).retry_after_s == wait_s


# ---- the refused parameter


@pytest.mark.parametrize(
    ("error", "param"),
    [
        (of("unsupported_parameter", param="max_tokens"), "max_tokens"),
        (of("unsupported_value", param="reasoning.effort"), "reasoning.effort"),
        (of("unsupported_parameter", "Unsupported parameter: 'text.verbosity' is not"), "text.verbosity"),
        (of(None, "Unsupported value: 'temperature' does not support 0.2"), "temperature"),
        (of(None, "Unknown parameter: 'reasoning_effort'."), "reasoning_effort"),
        (of(None, "Unrecognized request argument supplied: top_k"), "top_k"),
        (of(None, "Unrecognized request arguments supplied: top_k, seed"), "top_k,seed"),
        (of(None, "'stop' is not supported with this model."), "stop"),
        (of(None, "This model does not support parameter presencePenalty."), "presencePenalty"),
        (of(None, 'Invalid JSON payload received. Unknown name "topZ": Cannot find field.'), "topZ"),
        (
            of(None, "Unknown name \"topZ\" at 'generation_config': Cannot find field."),
            "generation_config.topZ",
        ),
        (of(None, 'Unknown name "topZ" at generation_config.'), "generation_config.topZ"),
        (
            of(None, "Penalty is not enabled for models/gemini-3-flash"),
            "generationConfig.presencePenalty,generationConfig.frequencyPenalty",
        ),
        (of(400, metadata={"raw": '{"error":{"message":"Unsupported value: temperature"}}'}), "temperature"),
        (of(400, metadata={"raw": '{"error":{"code":"unsupported_parameter","param":"seed"}}'}), "seed"),
        (of("unsupported_parameter", "no"), None),
        (of(None, param="response_format"), "response_format"),
        (of("invalid_request_error", param="text.format.schema"), "response_format"),
        (of(None, "Invalid schema for response_format 'x': 'oneOf' is not permitted."), "response_format"),
        (of(400, metadata={"raw": '{"error":{"param":"response_format"}}'}), "response_format"),
    ],
)
def test_the_refused_parameter_has_the_providers_own_name(error, param):
    found = read(400, error)
    assert (found.kind, found.param) == ("unsupported_param", param)


def test_no_other_failure_names_a_parameter():
    assert read(400, of("context_length_exceeded", param="messages")).param is None
    assert read(400, of("content_filter", param="prompt")).param is None
    said = "'messages' must contain the word 'json' to use 'response_format'"
    assert read(400, of(None, said, param="messages")).kind == "bad_request"


def test_a_refused_schema_does_not_hide_what_a_code_or_another_status_says():
    for code, kind in (("context_length_exceeded", "context_length"), ("invalid_value", "bad_request")):
        found = read(400, of(code, param="response_format"))
        assert (found.kind, found.param) == (kind, None)
    assert read(429, of(None, param="response_format")).kind == "rate_limit"


# ---- what is shown


def test_the_words_of_the_provider_behind_a_provider_are_shown():
    error = of(400, "Provider returned error", metadata={"raw": '{"error":{"message":"seed: too\\nlarge"}}'})
    assert str(read(400, error)) == "HTTP 400: Provider returned error (seed: too large)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            f"visit https://openrouter.ai/workspaces/default/keys/{KEY_ID} and",
            "visit https://openrouter.ai/workspaces/default/keys/*** and",
        ),
        ("see https://openrouter.ai/settings/keys/0123abcd.", "see https://openrouter.ai/settings/keys/***"),
        ("POST https://h.example/v1?key=abc&x=1 failed", "POST https://h.example/v1 failed"),
        ("at https://user:secret@h.example/a", "at https://h.example/a"),
        (f"key {KEY_ID} is at its limit", "key *** is at its limit"),
        ("Incorrect API key provided: sk-proj-abcdefghijklmnop1234", "Incorrect API key provided: ***"),
        ("see https://ai.google.dev/gemini-api/docs/rate-limits.", None),
        ("(https://cognitiveservices.azure.com), or have expired.", None),
    ],
)
def test_keys_and_the_ids_of_keys_are_not_shown(text, shown):
    assert without_keys(text) == (shown or text)
    assert str(read(402, of(402, text))) == f"HTTP 402: {shown or text}"


def test_a_key_at_the_place_of_the_cut_is_not_half_shown():
    page = b"<html>" + b"x" * 100 + b" sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
    assert "sk-proj" not in str(error_from(500, {}, None, page))


def test_a_redirect_says_where_to_and_that_it_is_not_followed():
    error = error_from(307, {"location": "https://login.example/?state=s3cr3t"}, None, b"")
    assert str(error).startswith(
        "HTTP 307: the host redirects to https://login.example; no key is sent there"
    )
    assert "s3cr3t" not in str(error)
    assert "elsewhere" in str(error_from(302, {"location": "/new"}, None, b""))


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (
            b'[{"error": {"code": 400, "message": "Unknown name \\"store\\": no"}}]',
            "unsupported_param",
            "store",
        ),
        (b'{"detail": "Not Found"}', "model_not_found", "HTTP 404: Not Found"),
        (b'{"detail": [{"loc": ["body", "x"], "msg": "missing"}]}', "bad_request", "missing"),
        (b'{"message": "no", "code": "insufficient_quota"}', "quota", "HTTP 429: no"),
        (b"[]", "server_error", "HTTP 500: []"),
        (b"\xff\xfe", "server_error", "HTTP 500"),
        (b"", "server_error", "empty body"),
    ],
)
def test_bodies_of_unusual_form_are_read_too(body, kind, said):
    status = {"model_not_found": 404, "quota": 429, "server_error": 500}.get(kind, 400)
    value = json.loads(body) if body[:1] == b"{" else None
    found = error_from(status, {}, value, body)
    assert found.kind == kind
    assert said in str(found)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 600) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(st.integers(200, 599), st.dictionaries(st.sampled_from(NAMES), _JSON), st.binary(max_size=40))
def test_no_payload_is_too_odd_to_be_read(status, payload, body):
    """Whatever stands where a message, a code or a wait belongs: one kind, one line, a finite wait."""
    for found in (error_from(status, {}, payload, body), error_from(status, {}, None, body)):
        assert found.kind in ERROR_KINDS
        assert found.status_code is not None
        assert found.status_code >= 200
        assert found.retry_after_s is None or 0 <= found.retry_after_s < math.inf
        assert found.param is None or found.param
        assert "\n" not in str(found)
        assert len(str(found)) < 320


# ---- connections


def test_a_connection_that_failed_says_why_in_words():
    expired = ssl.SSLCertVerificationError(1, "certificate verify failed")
    expired.verify_message = "certificate has expired"
    assert connection_failure(_chained(expired)) == (
        "the host's certificate is not accepted: certificate has expired"
    )
    nowhere = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert "cannot be looked up: Name or service not known" in connection_failure(_chained(nowhere))
    group = OSError("all failed")
    group.__cause__ = ExceptionGroup("both", [ConnectionRefusedError(111, "no")])
    assert "nothing listens" in connection_failure(group)
    assert "TLS failed" in connection_failure(ssl.SSLError(1, "wrong version number"))
    assert connection_failure(RuntimeError("odd")) == "odd"
    assert connection_failure(RuntimeError()) == "RuntimeError"


def test_a_ring_of_causes_is_read_once():
    first, second = OSError("a"), OSError("b")
    first.__cause__, second.__cause__ = second, first
    assert connection_failure(first) == "a"


def _chained(cause: Exception) -> Exception:
    outer = RuntimeError("outer")
    outer.__cause__ = OSError("middle")
    outer.__cause__.__context__ = cause
    return outer
