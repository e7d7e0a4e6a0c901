"""What lies between a wire and the network: the transport seam, one exchange, the wire's own protocol.

A wire (`chat.py`, ...) turns a request into a body and a payload into a Reply, both pure. This module
posts the body and reads the answer within a byte cap; `failures.py` names what went wrong. A stream is the
same exchange read in pieces: `stream.py` reads it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ErrorKind, ProviderError
from llmbench.media import Blob
from llmbench.messages import FinishReason, Message, Usage
from llmbench.providers.failures import error_from
from llmbench.structuring import loads_strictly

#: Decoded bytes of one reply that are read at most; more is a broken or hostile server.
MAX_REPLY_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What came back: status, headers in lower case, and the whole decoded body.

    `earlier` are the replies that led to this one, where an exchange took several requests, the first of them
    first; theirs are empty.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    earlier: tuple[HttpReply, ...] = ()


@dataclass(frozen=True, slots=True)
class HttpStream:
    """An answer whose body is still coming: status, headers in lower case, decoded bytes as they arrive.

    Iterating `chunks` raises ProviderError of kind connect or malformed where the connection breaks.
    """

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed answer. `reported_usd` is the provider's own cost, `served_model` the model it names.

    `problem` is set when the answer came but is none: cut off, empty, filtered, refused. Its tokens were
    used all the same. Of a media model: `media` are the pictures or the audio, `seeds` and `revised_prompts`
    belong to them one by one where the provider names any, and `safety` holds its own ratings.
    """

    text: str
    finish_reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    request_id: str | None = None
    served_model: str | None = None
    reported_usd: float | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    problem: ProviderError | None = None
    media: tuple[Blob, ...] = ()
    seeds: tuple[int | None, ...] = ()
    revised_prompts: tuple[str | None, ...] = ()
    safety: Mapping[str, Any] = field(default_factory=dict)


_PROBLEMS: Final[Mapping[FinishReason, tuple[ErrorKind, str]]] = {
    "refusal": ("refusal", "the model refused to answer"),
    "content_filter": ("content_filter", "the provider's filter stopped the answer"),
    "length": ("truncated", "the answer was cut off at its output limit; raise max_tokens"),
    "error": ("server_error", "the provider reports an error while generating"),
    "empty": ("empty", "the answer holds no text and no tool call"),
}


def problem_of(finish: FinishReason, text: str, request_id: str | None) -> ProviderError | None:
    """Why an answer that came is none, or None."""
    if finish not in _PROBLEMS:
        return None
    kind, what = _PROBLEMS[finish]
    return ProviderError(what, kind=kind, status_code=200, request_id=request_id, output=text or None)


class Transport(Protocol):
    """The seam under which the network lies; tests and replays bring their own."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float) -> HttpReply:
        """Send one request and read the whole answer.

        Raises:
            ProviderError: kind connect or malformed; a deadline is the caller's business.
        """
        ...

    async def get(self, url: str, headers: Mapping[str, str], connect_s: float) -> HttpReply:
        """Read what is at an address: a picture that an answer only points to.

        Raises:
            ProviderError: as `post`.
        """
        ...

    def stream(
        self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float
    ) -> AbstractAsyncContextManager[HttpStream]:
        """Send one request and read the answer in pieces; leaving the context ends the exchange.

        Raises:
            ProviderError: kind connect or malformed; a deadline is the caller's business.
        """
        ...

    async def aclose(self) -> None:
        """Close pooled connections."""
        ...


class Wire(Protocol):
    """One dialect: the form of a request and of its answer."""

    @property
    def names(self) -> Mapping[str, str]:
        """Parameters with another name here: canonical name -> name in the body."""
        ...

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

    def parse(
        self, payload: Mapping[str, Any], headers: Mapping[str, str], sent: Mapping[str, Any] | None = None
    ) -> Reply:
        """The answer in a 2xx payload; what is wrong with it is its `problem`.

        `sent` is the body of the request, for what an answer does not repeat of it.

        Raises:
            ProviderError: the payload holds an error instead of an answer, or has no known form.
        """
        ...

    def stream_path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The URL path below the endpoint's base for an answer in pieces."""
        ...

    def stream_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON body of a request, asking for the answer in pieces and for its usage."""
        ...

    def assembler(self, sent: Mapping[str, Any] | None = None) -> Assembler:
        """What puts one streamed answer together; `sent` as in `parse`."""
        ...


class Assembler(Protocol):
    """Puts a streamed answer together again, so that the wire judges it as it judges a whole one.

    Attributes:
        has_output: whether any part of the answer has come: text, a refusal or a tool call. Thoughts and
            keep-alives are none.
        is_done: whether the end mark has come; what follows it is not read.
    """

    has_output: bool
    is_done: bool

    def feed(self, data: str) -> str:
        """Take the data of one event, and return the text it adds, "" for none.

        A refusal adds no text: a caller that falls back on refusals must not have shown it. It is the text
        of the whole answer.

        Raises:
            ProviderError: the event reports an error, or is not of a known form.
        """
        ...

    def reply(self, headers: Mapping[str, str]) -> Reply:
        """The whole answer, once the stream is over.

        Raises:
            ProviderError: kind server_error, the stream ended without its end mark; or as `Wire.parse`.
        """
        ...


async def read_body(chunks: AsyncIterable[bytes]) -> bytes:
    """All of a body.

    Raises:
        ProviderError: kind malformed, the body is over MAX_REPLY_BYTES; or the connection broke.
    """
    read: list[bytes] = []
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > MAX_REPLY_BYTES:
            raise too_long()
        read.append(chunk)
    return b"".join(read)


def too_long() -> ProviderError:
    """The error of a body beyond the cap."""
    message = f"the reply is over {MAX_REPLY_BYTES // 2**20} MiB; the rest of it was not read"
    return ProviderError(message, kind="malformed", status_code=200)


async def post_json(
    transport: Transport, url: str, headers: Mapping[str, str], body: Mapping[str, Any], connect_s: float
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Post a JSON body and return the JSON object of a 2xx answer with the answer's headers.

    Raises:
        ProviderError: the connection failed, the status is not 2xx, or the body is not a JSON object.
    """
    sent = {"content-type": "application/json", "accept": "application/json", **headers}
    reply = await transport.post(url, sent, json_bytes(body), connect_s)
    return payload_of(reply), reply.headers


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def json_bytes(body: Mapping[str, Any]) -> bytes:
    """A body as it goes over the wire: UTF-8, half a character of a torn text as an escape."""
    return _ENCODER.encode(body).encode("utf-8", "backslashreplace")


def payload_of(reply: HttpReply) -> dict[str, Any]:
    """The JSON object of a 2xx answer.

    Raises:
        ProviderError: the status is not 2xx, the body is not a JSON object, or it reports an error.
    """
    payload = _json_object(reply.body)
    if not 200 <= reply.status < 300:
        raise error_from(reply.status, reply.headers, payload, reply.body)
    if payload is None:
        named = reply.headers.get("content-type", "").partition(";")[0].strip()[:60] or "no content type"
        message = f"a {reply.status} answer that is not a JSON object: {named}, {len(reply.body)} bytes"
        raise ProviderError(message, kind="malformed", status_code=reply.status)
    if payload.get("error"):  # some hosts report failures inside a 200
        raise error_from(reply.status, reply.headers, payload, reply.body)
    return payload


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = loads_strictly(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
