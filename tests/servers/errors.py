"""Errors in each provider's own form, by what they mean. Every one is a whole Step.

`openai_error("rate_limit")` is a status, headers and a body as OpenAI answers it; the cases of a provider
are the keys of its table. Source: the providers' API references and error pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.servers.chat_server import Step

_AZURE_IDS = {"apim-request-id": "apim-1", "x-request-id": "req-1"}
_GOOGLE_INFO = "type.googleapis.com/google.rpc."


def _openai(
    status: int, code: str | None, said: str, kind: str, param: str | None = None, **headers: str
) -> Step:
    body = {"error": {"message": said, "type": kind, "param": param, "code": code}}
    return Step(body, status, {"x-request-id": "req-1", **_named(headers)})


def _azure(status: int, code: str, said: str, **headers: str) -> Step:
    return Step({"error": {"code": code, "message": said}}, status, {**_AZURE_IDS, **_named(headers)})


def _gemini(status: int, code: str, said: str, *details: Mapping[str, Any]) -> Step:
    inner: dict[str, Any] = {"code": status, "message": said, "status": code}
    return Step({"error": inner | ({"details": [dict(item) for item in details]} if details else {})}, status)


def _openrouter(status: int, said: str, metadata: Mapping[str, Any] | None = None, **headers: str) -> Step:
    inner: dict[str, Any] = {"code": status, "message": said}
    return Step(
        {"error": inner | ({"metadata": dict(metadata)} if metadata else {})}, status, _named(headers)
    )


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


_BAD = "invalid_request_error"
OPENAI_ERRORS: Mapping[str, Step] = {
    "bad_request": _openai(400, "invalid_value", "Invalid value: 'banana'.", _BAD, "messages[0].role"),
    "unsupported_param": _openai(
        400,
        "unsupported_parameter",
        "Unsupported parameter: 'max_tokens' is not supported with this model.",
        _BAD,
        "max_tokens",
    ),
    "unsupported_value": _openai(
        400,
        "unsupported_value",
        "Unsupported value: 'temperature' does not support 0.2 with this model.",
        _BAD,
        "temperature",
    ),
    "context_length": _openai(
        400, "context_length_exceeded", "Input tokens exceed the configured limit.", _BAD, "messages"
    ),
    "auth": _openai(401, "invalid_api_key", "Incorrect API key provided.", _BAD),
    "model_not_found": _openai(404, "model_not_found", "The model does not exist.", _BAD),
    "rate_limit": _openai(
        429, "rate_limit_exceeded", "Rate limit reached.", "requests", retry_after="2", retry_after_ms="1640"
    ),
    "quota": _openai(429, "insufficient_quota", "You exceeded your current quota.", "insufficient_quota"),
    "server_error": _openai(500, "server_error", "The server had an error.", "server_error"),
}
AZURE_ERRORS: Mapping[str, Step] = {
    "bad_request": _azure(400, "BadRequest", "The request is not valid."),
    "unsupported_param": OPENAI_ERRORS["unsupported_param"],
    "context_length": OPENAI_ERRORS["context_length"],
    "content_filter": Step(
        {
            "error": {
                "message": "The response was filtered due to the prompt.",
                "type": None,
                "param": "prompt",
                "code": "content_filter",
                "status": 400,
                "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}},
            }
        },
        400,
        _AZURE_IDS,
    ),
    "auth": _azure(401, "401", "Access denied due to invalid subscription key."),
    "auth_flat": Step(
        {"statusCode": 401, "message": "Unauthorized. Access token is missing."}, 401, _AZURE_IDS
    ),
    "model_not_found": _azure(404, "DeploymentNotFound", "The API deployment does not exist."),
    "rate_limit": _azure(429, "429", "Exceeded token rate limit.", retry_after="24", retry_after_ms="24000"),
    "overloaded": _azure(429, "NoCapacity", "The system is currently experiencing high demand."),
    "server_error": _azure(500, "InternalServerError", "Backend returned unexpected response."),
}
GEMINI_ERRORS: Mapping[str, Step] = {
    "bad_request": _gemini(400, "INVALID_ARGUMENT", "Request contains an invalid argument."),
    "unsupported_param": _gemini(
        400, "INVALID_ARGUMENT", 'Invalid JSON payload received. Unknown name "topZ" at generation_config.'
    ),
    "context_length": _gemini(
        400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8)."
    ),
    "auth": _gemini(
        400,
        "INVALID_ARGUMENT",
        "API key not valid.",
        {"@type": _GOOGLE_INFO + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"},
    ),
    "unauthenticated": _gemini(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    "model_not_found": _gemini(404, "NOT_FOUND", "models/gemini-nope is not found for API version v1."),
    "rate_limit": _gemini(
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota.",
        {
            "@type": _GOOGLE_INFO + "QuotaFailure",
            "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}],
        },
        {"@type": _GOOGLE_INFO + "RetryInfo", "retryDelay": "38.2s"},
    ),
    "quota": _gemini(
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota.",
        {
            "@type": _GOOGLE_INFO + "QuotaFailure",
            "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
        },
        {"@type": _GOOGLE_INFO + "RetryInfo", "retryDelay": "35644s"},
    ),
    "server_error": _gemini(500, "INTERNAL", "An internal error has occurred."),
    "overloaded": _gemini(503, "UNAVAILABLE", "The model is overloaded."),
}
OPENROUTER_ERRORS: Mapping[str, Step] = {
    "bad_request": _openrouter(400, "Provider returned error", {"provider_name": "X", "raw": "{}"}),
    "context_length": _openrouter(400, "This endpoint's maximum context length is 9 tokens."),
    "unsupported_param": _openrouter(
        400, "Provider returned error", {"raw": '{"error":{"message":"Unsupported parameter: \'seed\'"}}'}
    ),
    "auth": _openrouter(401, "No auth credentials found"),
    "quota": _openrouter(402, "This request requires more credits."),
    "content_filter": _openrouter(
        403, "Input was flagged", {"reasons": ["violence"], "flagged_input": "…", "provider_name": "X"}
    ),
    "model_not_found": _openrouter(404, "No endpoints found for acme/x."),
    "rate_limit": _openrouter(
        429, "Provider returned error", {"provider_name": "X", "raw": "slow down"}, retry_after="3"
    ),
    "server_error": _openrouter(500, "Internal Server Error"),
    "overloaded": _openrouter(503, "No instances available"),
}


def openai_error(meaning: str) -> Step:
    """An error as OpenAI answers it; `meaning` is a key of OPENAI_ERRORS."""
    return OPENAI_ERRORS[meaning]


def azure_error(meaning: str) -> Step:
    """An error as Azure or its gateway answers it; `meaning` is a key of AZURE_ERRORS."""
    return AZURE_ERRORS[meaning]


def gemini_error(meaning: str) -> Step:
    """An error as Google answers it; `meaning` is a key of GEMINI_ERRORS."""
    return GEMINI_ERRORS[meaning]


def openrouter_error(meaning: str) -> Step:
    """An error as OpenRouter answers it; `meaning` is a key of OPENROUTER_ERRORS."""
    return OPENROUTER_ERRORS[meaning]
