"""What went wrong with an answer: one ErrorKind for a status, a code and, where there is none, a text.

Everything here is pure; `base.py` and the wires call it with what a host sent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from llmbench.errors import ErrorKind, ProviderError


def error_from(
    status: int, headers: Mapping[str, str], payload: Mapping[str, Any] | None, body: bytes = b""
) -> ProviderError:
    """The ProviderError of an answer that reports a failure. Its text is one line."""
    error = (payload or {}).get("error")
    detail: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    message = str(detail.get("message") or (payload or {}).get("message") or error or "").strip()
    if not message:
        message = body[:120].decode("utf-8", "replace").strip() or "empty body"
    message = " ".join(message.split())[:300]
    inner = detail.get("code")
    if status < 400 and isinstance(inner, int) and 400 <= inner < 600:
        status = inner  # OpenRouter: a 200 whose body holds the real status
    metadata = _mapping(detail.get("metadata"))
    return ProviderError(
        f"HTTP {status}: {message}",
        kind=classify(status, _codes(detail, metadata), f"{message} {str(metadata.get('raw', ''))[:500]}"),
        status_code=status,
        retry_after_s=_first_known(retry_after_s(headers), _retry_delay_s(detail)),
        request_id=headers.get("x-request-id") or headers.get("apim-request-id"),
    )


def _codes(detail: Mapping[str, Any], metadata: Mapping[str, Any]) -> set[str]:
    """Every code word of an error: OpenAI, Azure (innererror), OpenRouter (metadata), Gemini (details)."""
    found = [detail.get(name) for name in ("code", "type", "status", "error_type")]
    found += [_mapping(detail.get("innererror")).get("code"), metadata.get("error_type")]
    if metadata.get("flagged_input") or metadata.get("reasons") or metadata.get("patterns"):
        found.append("content_filter")  # OpenRouter's moderation and guardrails have no code of their own
    for item in _details(detail):
        found.append(item.get("reason"))
        if any("PerDay" in str(quota.get("quotaId")) for quota in _mappings(item.get("violations"))):
            found.append("quota_per_day")  # the code of Gemini's 429 for a day's quota is that for a minute's
    return {str(code) for code in found if code is not None}


def _details(detail: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The typed details of a Gemini error: ErrorInfo, QuotaFailure, RetryInfo."""
    return _mappings(detail.get("details"))


def _retry_delay_s(detail: Mapping[str, Any]) -> float | None:
    """Seconds from a RetryInfo such as `"retryDelay": "38.2s"`: Gemini sends no retry-after."""
    delays = (_seconds(str(item.get("retryDelay", "")).removesuffix("s")) for item in _details(detail))
    return next((delay for delay in delays if delay is not None), None)


def _first_known(first: float | None, second: float | None) -> float | None:
    return second if first is None else first


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


_BY_CODE: Final[Mapping[str, ErrorKind]] = {
    "content_filter": "content_filter",
    "ResponsibleAIPolicyViolation": "content_filter",
    "moderation_blocked": "content_filter",
    "refusal": "refusal",
    "insufficient_quota": "quota",
    "rate_limit_exceeded": "rate_limit",
    "invalid_prompt": "bad_request",
    "context_length_exceeded": "context_length",
    "exceed_context_size_error": "context_length",
    "unsupported_parameter": "unsupported_param",
    "unsupported_value": "unsupported_param",
    "DeploymentNotFound": "model_not_found",
    "model_not_found": "model_not_found",
    "NoCapacity": "server_error",
    "invalid_api_key": "auth",
    "API_KEY_INVALID": "auth",
    "FAILED_PRECONDITION": "auth",
    "quota_per_day": "quota",
}
_BY_STATUS: Final[Mapping[int, ErrorKind]] = {
    401: "auth",
    402: "quota",
    403: "auth",
    404: "model_not_found",
    408: "timeout",
    409: "server_error",
    429: "rate_limit",
    504: "timeout",
}
#: What hosts say where they have no code for it: status, part of the text, kind.
#: Source: error bodies of OpenRouter, Gemini, and llama.cpp, whose 500 for an image is no server error.
_BY_TEXT: Final[tuple[tuple[int, str, ErrorKind], ...]] = (
    (400, "maximum context length", "context_length"),
    (400, "is not a valid model id", "model_not_found"),
    (400, "unsupported parameter", "unsupported_param"),
    (400, "unsupported value", "unsupported_param"),
    (400, "unknown parameter", "unsupported_param"),
    (400, "unknown name", "unsupported_param"),
    (400, "penalty is not enabled", "unsupported_param"),
    (400, "exceeds the maximum number of tokens allowed", "context_length"),
    (429, "free-models-per-day", "quota"),
    (500, "input is not supported", "bad_request"),
)


def classify(status: int, codes: set[str], text: str = "") -> ErrorKind:
    """One word for a failure: from the provider's code, else from known texts, else from the status.

    Source: the error classes of OpenAI, Azure, OpenRouter, Gemini and llama.cpp. Texts count only where the
    host has no code for the case.
    """
    for code in sorted(codes):
        if code in _BY_CODE:
            return _BY_CODE[code]
    lowered = text.lower()
    for at, part, kind in _BY_TEXT:
        if status == at and part in lowered:
            return kind
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return "bad_request" if 400 <= status < 500 else "server_error"


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds to wait from `retry-after-ms`, or `retry-after` as seconds or an HTTP date."""
    millis, value = _seconds(headers.get("retry-after-ms")), headers.get("retry-after")
    if millis is not None:
        return millis / 1000
    if value is None:
        return None
    if (seconds := _seconds(value)) is not None:
        return seconds
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max((when - (now or datetime.now(UTC))).total_seconds(), 0.0)


def _seconds(text: str | None) -> float | None:
    """A finite number of at least 0, or None."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(number, 0.0) if math.isfinite(number) else None
