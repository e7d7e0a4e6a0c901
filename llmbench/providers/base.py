"""The one place where a request leaves: transport seam, HTTP post, and the class of every failure.

A wire (`chat.py`, ...) turns a request into a body and a payload into a Reply, both pure. This module
posts the body, reads the answer within a byte cap, and names what went wrong with one ErrorKind.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ErrorKind, ProviderError
from llmbench.messages import FinishReason, Message, Usage
from llmbench.structuring import loads_strictly

#: Decoded bytes of one reply that are read at most; more is a broken or hostile server.
MAX_REPLY_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back: status, headers in lower case, and the whole decoded body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed answer. `reported_usd` is the provider's own cost, `served_model` the model it names.

    `problem` is set when the answer came but is none: cut off, empty, filtered, refused. Its tokens were
    used all the same.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    request_id: str | None = None
    served_model: str | None = None
    reported_usd: float | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    problem: ProviderError | None = None


class Transport(Protocol):
    """The seam under which the network lies; tests and replays bring their own."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float) -> HttpReply:
        """Send one request and read the whole answer.

        Raises:
            ProviderError: kind connect or malformed; a deadline is the caller's business.
        """
        ...

    async def aclose(self) -> None:
        """Close pooled connections."""
        ...


class Wire(Protocol):
    """One dialect: the form of a request and of its answer."""

    def path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The URL path below the endpoint's base."""
        ...

    def body(
        self,
        spec: ModelSpec,
        messages: tuple[Message, ...],
        params: Mapping[str, Any],
        instruction: str | None,
        extra_body: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The JSON body of a request."""
        ...

    def parse(self, payload: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
        """The answer in a 2xx payload; what is wrong with it is its `problem`.

        Raises:
            ProviderError: the payload holds an error instead of an answer, or has no known form.
        """
        ...


class HttpxTransport:
    """The default transport: one httpx client with a connection pool, for one event loop.

    Environment proxies are not used: a router that reads `HTTP_PROXY` by itself sends keys to hosts
    that no config names. httpx is loaded here, not at import: it brings a hundred modules along.
    """

    def __init__(self) -> None:
        import httpx

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        self._client = httpx.AsyncClient(limits=limits, trust_env=False, follow_redirects=False)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float) -> HttpReply:
        """Send one request; see Transport."""
        import httpx

        timeout = httpx.Timeout(None, connect=connect_s)
        try:
            async with self._client.stream(
                "POST", url, headers=dict(headers), content=body, timeout=timeout
            ) as response:
                chunks: list[bytes] = []
                size = 0
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > MAX_REPLY_BYTES:
                        message = f"the reply is over {MAX_REPLY_BYTES // 2**20} MiB; nothing of it was kept"
                        raise ProviderError(message, kind="malformed", status_code=response.status_code)
                    chunks.append(chunk)
                return HttpReply(response.status_code, response.headers, b"".join(chunks))
        except _transport_errors() as error:
            raise transport_error(error) from error

    async def aclose(self) -> None:
        """Close pooled connections."""
        await self._client.aclose()


def _transport_errors() -> tuple[type[Exception], ...]:
    """What a failing connection raises; httpx's aiohttp transport lets some errors through unmapped."""
    import httpx

    aiohttp = sys.modules.get("aiohttp")
    mapped: tuple[type[Exception], ...] = (httpx.HTTPError, httpx.InvalidURL)
    return mapped if aiohttp is None else (*mapped, aiohttp.ClientError)


def transport_error(error: Exception) -> ProviderError:
    """A connection that failed, as a ProviderError of kind timeout, connect or malformed."""
    import httpx

    detail = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return ProviderError(f"no connection in time: {detail}", kind="timeout")
    if isinstance(error, (httpx.DecodingError, httpx.InvalidURL, httpx.UnsupportedProtocol)):
        return ProviderError(f"unreadable reply or address: {detail}", kind="malformed")
    return ProviderError(f"connection failed: {detail}", kind="connect")


async def post_json(
    transport: Transport, url: str, headers: Mapping[str, str], body: Mapping[str, Any], connect_s: float
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Post a JSON body and return the JSON object of a 2xx answer with the answer's headers.

    Raises:
        ProviderError: the connection failed, the status is not 2xx, or the body is not a JSON object.
    """
    data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
    sent = {"content-type": "application/json", "accept": "application/json", **headers}
    reply = await transport.post(url, sent, data, connect_s)
    payload = _json_object(reply.body)
    if not 200 <= reply.status < 300:
        raise error_from(reply.status, reply.headers, payload, reply.body)
    if payload is None:
        start = reply.body[:80].decode("utf-8", "replace").strip()
        message = f"a {reply.status} answer that is not a JSON object: {start!r}"
        raise ProviderError(message, kind="malformed", status_code=reply.status)
    if payload.get("error"):  # some hosts report failures inside a 200
        raise error_from(reply.status, reply.headers, payload, reply.body)
    return payload, reply.headers


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = loads_strictly(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


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
