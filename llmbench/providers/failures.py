"""What went wrong with an answer: one ErrorKind, the wait that was asked for, the parameter that was refused.

Everything here is pure; the transports, `base.py` and the wires call it with what a host sent. A kind comes
from the provider's code; from its text only where it has no code for the case; else from the HTTP status.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from llmbench.errors import ErrorKind, ProviderError
from llmbench.providers.json_readers import as_mapping, as_mappings
from llmbench.providers.waits import retry_after_s, seconds
from llmbench.telemetry import Redactor

_MESSAGE_CHARACTERS: Final = 300
_BODY_CHARACTERS: Final = 120
_REQUEST_ID_HEADERS: Final = ("x-request-id", "apim-request-id", "x-generation-id")


def error_from(
    status: int, headers: Mapping[str, str], payload: Mapping[str, Any] | None, body: bytes = b""
) -> ProviderError:
    """The ProviderError of an answer or a stream event that reports a failure. Its text is one line.

    Args:
        status: the HTTP status; below 400 the status that the payload names counts instead.
        headers: in lower case.
        payload: the JSON object of the answer, or None when it is none.
        body: the answer as it came; its start is quoted where no message is found.
    """
    detail = _detail(payload, body)
    upstream = _upstream(detail)
    status = status if status >= 400 else _inner_status(detail) or status
    said, upstream_said = _message(detail), _message(upstream)
    wait_s = _wait_s(headers, detail)
    text = f"{said} {upstream_said or str(_metadata(detail).get('raw', ''))[:500]}"
    codes = _codes(detail, upstream)
    refuses_schema = status == 400 and _refuses_schema(detail, upstream)
    if refuses_schema:
        codes.append("unsupported_parameter")  # counts where no code of the host's says otherwise
    param = "response_format" if refuses_schema else _refused(detail, upstream, text)
    kind = classify(status, codes, text)
    if status == 402 and kind == "quota" and wait_s is not None:
        kind = "rate_limit"  # OpenRouter: money that running requests hold back; it comes free again
    shown = f"{said} ({upstream_said})" if upstream_said and upstream_said not in said else said
    if 300 <= status < 400 and not said:
        shown = _redirected(headers)
    return ProviderError(
        f"HTTP {status}: {_shown(shown, body)}",
        kind=kind,
        status_code=status,
        retry_after_s=wait_s,
        request_id=request_id_of(headers),
        param=param if kind == "unsupported_param" else None,
    )


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """The host's id of the request, from headers in lower case."""
    return next((headers[name] for name in _REQUEST_ID_HEADERS if headers.get(name)), None)


# ---- the kind

#: A provider's code -> kind. A code that says no more than the status (invalid_request_error, BadRequest,
#: INVALID_ARGUMENT, server_error, ...) has no place here: it would hide the text that says more.
#: Sources: the error lists of OpenAI (with those of a response that failed), Azure and Google; OpenRouter's
#: `APIErrorType`; the server of llama.cpp.
_BY_CODE: Final[Mapping[str, ErrorKind]] = {
    **dict.fromkeys(
        ("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation", "moderation_blocked"),
        "content_filter",
    ),
    **dict.fromkeys(("image_content_policy_violation", "bio_policy"), "content_filter"),
    "refusal": "refusal",
    **dict.fromkeys(("insufficient_quota", "billing_hard_limit_reached", "BILLING_DISABLED"), "quota"),
    **dict.fromkeys(("quota_per_day", "payment_required", "token_limit_exceeded"), "quota"),
    **dict.fromkeys(("openrouter_credits", "openrouter_key_limit"), "quota"),
    **dict.fromkeys(("rate_limit_exceeded", "too_many_requests"), "rate_limit"),
    **dict.fromkeys(("RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"), "rate_limit"),
    **dict.fromkeys(
        ("context_length_exceeded", "exceed_context_size_error", "string_too_long"), "context_length"
    ),
    "max_tokens_exceeded": "truncated",
    **dict.fromkeys(("unsupported_parameter", "unsupported_value", "unknown_parameter"), "unsupported_param"),
    **dict.fromkeys(
        ("DeploymentNotFound", "model_not_found", "not_found", "NOT_FOUND"),
        "model_not_found",
    ),
    **dict.fromkeys(("invalid_api_key", "API_KEY_INVALID", "authentication", "permission_denied"), "auth"),
    **dict.fromkeys(("UNAUTHENTICATED", "PERMISSION_DENIED", "FAILED_PRECONDITION"), "auth"),
    **dict.fromkeys(("NoCapacity", "provider_overloaded", "provider_unavailable", "server"), "server_error"),
    **dict.fromkeys(("UNAVAILABLE", "INTERNAL"), "server_error"),
    **dict.fromkeys(("timeout", "vector_store_timeout", "DEADLINE_EXCEEDED"), "timeout"),
    **dict.fromkeys(("invalid_value", "invalid_prompt", "precondition_failed"), "bad_request"),
    **dict.fromkeys(("payload_too_large", "unprocessable", "data_residency_mismatch"), "bad_request"),
    **dict.fromkeys(
        (
            *("invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url"),
            *("image_too_large", "image_too_small", "image_parse_error", "invalid_image_mode"),
            *("image_file_too_large", "unsupported_image_media_type", "unsupported_image_format"),
            *("empty_image_file", "failed_to_download_image", "image_download_failed"),
            *("image_file_not_found", "image_not_found"),
        ),
        "bad_request",
    ),
}
_BY_STATUS: Final[Mapping[int, ErrorKind]] = {
    401: "auth",
    402: "quota",
    403: "auth",
    404: "model_not_found",
    408: "timeout",
    409: "server_error",
    410: "model_not_found",
    429: "rate_limit",
    499: "server_error",
    504: "timeout",
}
#: What hosts say where they have no code for it: status, part of the text, kind.
#: Source: error bodies of OpenRouter, Gemini, and llama.cpp, whose 500 for an image is no server error.
_BY_TEXT: Final[tuple[tuple[int, str, ErrorKind], ...]] = (
    (400, "maximum context length", "context_length"),
    (400, "exceeds the maximum number of tokens allowed", "context_length"),
    (400, "is not a valid model id", "model_not_found"),
    (400, "unsupported parameter", "unsupported_param"),
    (400, "unsupported value", "unsupported_param"),
    (400, "unknown parameter", "unsupported_param"),
    (400, "unknown name", "unsupported_param"),
    (400, "unrecognized request argument", "unsupported_param"),
    (400, "is not supported with this model", "unsupported_param"),
    (400, "does not support parameter", "unsupported_param"),
    (400, "penalty is not enabled", "unsupported_param"),
    (403, "key limit exceeded", "quota"),
    (429, "free-models-per-day", "quota"),
    (500, "input is not supported", "bad_request"),
)


def classify(status: int, codes: Sequence[str], text: str = "") -> ErrorKind:
    """One word for a failure: from the first code that is known, else from a known text, else the status.

    Args:
        status: the HTTP status, or the one that the payload of a 200 names.
        codes: every code word of the error, the most telling one first.
        text: the provider's words; they count only where it has no code for the case.
    """
    for code in codes:
        if code in _BY_CODE:
            return _BY_CODE[code]
    lowered = text.lower()
    for at, part, kind in _BY_TEXT:
        if status == at and part in lowered:
            return kind
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return "bad_request" if 400 <= status < 500 else "server_error"


def _codes(detail: Mapping[str, Any], upstream: Mapping[str, Any]) -> list[str]:
    """Every code word of an error, the most telling one first.

    OpenRouter's metadata and its error_type, Azure's innererror, Google's details, then what the provider
    behind OpenRouter said, then the plain code, type and status.
    """
    metadata = _metadata(detail)
    found: list[object] = []
    if any(metadata.get(name) for name in ("flagged_input", "reasons", "patterns")):
        found.append("content_filter")  # OpenRouter's moderation and guardrails have no code of their own
    found += [metadata.get("limit_source"), as_mapping(detail.get("innererror")).get("code")]
    for item in as_mappings(detail.get("details")):
        if any("PerDay" in str(quota.get("quotaId")) for quota in as_mappings(item.get("violations"))):
            found.append("quota_per_day")  # the code of Gemini's 429 for a day's quota is that for a minute's
        found.append(item.get("reason"))
    found += [metadata.get("error_type"), detail.get("error_type"), metadata.get("provider_code")]
    found += [source.get(name) for source in (upstream, detail) for name in ("code", "type", "status")]
    return [str(code) for code in found if code is not None]


# ---- what the answer says


def _detail(payload: Mapping[str, Any] | None, body: bytes) -> Mapping[str, Any]:
    """The error object; a flat payload is its own, and Google's list of one error is taken apart."""
    if payload is None:
        listed = as_mappings(_json(body))
        payload = listed[0] if listed else {}
    error = payload.get("error")
    if isinstance(error, Mapping):
        return error
    return {**payload, "message": error} if isinstance(error, str) else payload


def _upstream(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    """The error of the provider behind OpenRouter: `metadata.raw`, often JSON in a string."""
    raw = _metadata(detail).get("raw")
    value = as_mapping(_json(raw) if isinstance(raw, str) else raw)
    return as_mapping(value.get("error")) or value


def _inner_status(detail: Mapping[str, Any]) -> int | None:
    """The status inside a 200: OpenRouter and streams report failures after the headers have left."""
    for name in ("code", "http_status", "status"):
        text = str(detail.get(name))
        if text.isascii() and text.isdigit() and 400 <= int(text) < 600:
            return int(text)
    return None


def _message(detail: Mapping[str, Any]) -> str:
    said = detail.get("message") or detail.get("detail") or ""
    return " ".join((said if isinstance(said, str) else json.dumps(said, default=str)).split())


def _wait_s(headers: Mapping[str, str], detail: Mapping[str, Any]) -> float | None:
    """Seconds to wait, from the headers, Google's RetryInfo ("38.2s"), or OpenRouter's availability."""
    asked = [retry_after_s(headers)]
    asked += [
        seconds(str(item.get("retryDelay", "")).removesuffix("s"))
        for item in as_mappings(detail.get("details"))
    ]
    for source in (detail, _metadata(detail)):
        asked.append(seconds(str(as_mapping(source.get("availability")).get("retry_after", ""))))
    return next((wait_s for wait_s in asked if wait_s is not None), None)


# ---- the refused parameter

_NAME: Final = r"[\"'`]?(?P<name>[A-Za-z_][\w.\[\]]*)[\"'`]?"
_REFUSALS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"unknown name {_NAME}(?: at [\"'`]?(?P<place>[A-Za-z_][\w.\[\]]*))?",
        rf"(?:unsupported|unknown) (?:parameter|value):? {_NAME}",
        r"unrecognized request arguments? supplied: (?P<name>[\w.\[\]]+(?:, [\w.\[\]]+)*)",
        rf"{_NAME} is not supported with this model",
        rf"does not support parameter:? {_NAME}",
    )
)
#: Gemini does not say which of the two it means.
_PENALTIES: Final = "generationConfig.presencePenalty,generationConfig.frequencyPenalty"


#: Chat Completions and Responses name the field of the schema, with or without the place in it.
_SCHEMA_FIELDS: Final = ("response_format", "text.format")


def _refuses_schema(detail: Mapping[str, Any], upstream: Mapping[str, Any]) -> bool:
    """Whether a host will not take the schema of the reply.

    OpenAI and Azure have no code for it: code null or invalid_request_error, and the field in `param`.
    """
    return any(
        str(source.get("param") or "").startswith(_SCHEMA_FIELDS)
        or _message(source).startswith("Invalid schema for response_format")
        for source in (detail, upstream)
    )


def _refused(detail: Mapping[str, Any], upstream: Mapping[str, Any], text: str) -> str | None:
    """The wire name of the refused parameter as the provider writes it, or None when it names none.

    Several names are joined by commas without a space.
    """
    for source in (detail, upstream):
        if isinstance(source.get("param"), str) and source["param"]:
            return str(source["param"])
    if "penalty is not enabled" in text.lower():
        return _PENALTIES
    for pattern in _REFUSALS:
        if found := pattern.search(text):
            parts = found.groupdict()
            name = parts["name"].replace(", ", ",").rstrip(".")
            place = (parts.get("place") or "").rstrip(".")
            return f"{place}.{name}" if place else name
    return None


# ---- what is shown

_redact_keys: Final = Redactor()
_URL: Final = re.compile(r"https?://[^\s\"'<>]+")
_LONG_ID: Final = re.compile(r"(?=[\w-]*\d)[\w-]{20,}|[0-9a-f]{12,}", re.IGNORECASE)
_HEX: Final = re.compile(r"\b[0-9a-f]{32,}\b", re.IGNORECASE)


def _shown(message: str, body: bytes) -> str:
    """One line of limited length without keys; secrets go before the cut, which could leave half of one."""
    limit = _MESSAGE_CHARACTERS if message else _BODY_CHARACTERS
    text = message or " ".join(body[:2000].decode("utf-8", "replace").split()) or "empty body"
    return without_keys(text)[:limit].strip()


def without_keys(text: str) -> str:
    """The text without key-shaped words, and its addresses without queries and ids of keys.

    OpenRouter's 402 and 403 link to the page of the key that was used: the id in it is the key's hash.
    """
    return _HEX.sub("***", _redact_keys(_URL.sub(_plain_address, text)))


def _plain_address(match: re.Match[str]) -> str:
    try:
        parts = urlsplit(match[0])
    except ValueError:
        return "***"
    steps = parts.path.split("/")
    for index, step in enumerate(steps):
        after_keys = index > 0 and steps[index - 1].lower() in ("key", "keys")
        if step and (after_keys or _LONG_ID.fullmatch(step)):
            steps[index] = "***"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{'/'.join(steps)}"


def _redirected(headers: Mapping[str, str]) -> str:
    parts = urlsplit(without_keys(headers.get("location", "")))
    where = f"to {parts.scheme}://{parts.netloc}" if parts.netloc else "elsewhere"
    return f"the host redirects {where}; no key is sent there: set base_url to the address that answers"


# ---- connections


def connection_failure(error: BaseException) -> str:
    """Why no connection came about, in words: a certificate, a name, a port; else the error's own text."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = getattr(cause, "verify_message", None)  # aiohttp's own error has none; its cause does
            if reason is None:
                continue
            return f"the host's certificate is not accepted: {reason.rstrip('.')}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {cause}"
        if isinstance(cause, socket.gaierror):
            return f"the host's name cannot be looked up: {cause.strerror or cause}"
        if isinstance(cause, ConnectionRefusedError):
            return "nothing listens at the address (connection refused)"
    return str(error) or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, also through groups; a chain of errors may close to a ring."""
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
        waiting += [cause for cause in (current.__cause__, current.__context__) if cause is not None]


# ---- reading JSON of unknown form


def _json(text: str | bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _metadata(detail: Mapping[str, Any]) -> Mapping[str, Any]:
    return as_mapping(detail.get("metadata"))
