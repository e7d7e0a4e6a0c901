"""One attempt at one model whose answer comes in pieces: lease a place, read the pieces, judge the whole.

Two waits are limited by the endpoint's `timeouts`. `first_token_s` runs from the request to the first part of
the answer: text, a refusal or a tool call; neither thoughts nor keep-alives end it. `stall_s` is the longest
silence between two chunks once the first has come; there a keep-alive is a sign of life. The time in which
the reader of the pieces is busy counts for neither. The deadline of the call is the caller's business.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from llmbench.catalog import Endpoint, ModelSpec, Timeouts
from llmbench.errors import EmbeddedServerError, ProviderError
from llmbench.messages import OutputSchema
from llmbench.pricing import begin_loading, uses_list
from llmbench.providers.base import (
    HttpReply,
    HttpStream,
    Reply,
    Transport,
    Wire,
    json_bytes,
    payload_of,
    read_body,
)
from llmbench.providers.failures import request_id_of
from llmbench.providers.hosts import Host, Lease
from llmbench.providers.send import Sent, at_address, finished, wire_for
from llmbench.providers.sse import events

T = TypeVar("T")

#: How long the body may take to end after the answer's end mark, so that the connection can be used again.
_ENDING_S: Final = 0.1
#: A body that begins like this is a whole answer or a page; events begin with a letter, a colon or a mark.
_WHOLE: Final = (b"{", b"[", b"<")


async def stream_once(
    spec: ModelSpec,
    endpoint: Endpoint,
    host: Host,
    transport: Transport,
    body: Mapping[str, Any],
    output_schema: OutputSchema | None,
    *,
    tokens: int = 0,
) -> AsyncGenerator[str | Sent, None]:
    """Send one request; yield its text in pieces, and at the end what `send_once` returns.

    The pieces together are the text of the answer, but for two cases that yield no piece: a refusal, and a
    host that answers with a whole answer which has a problem. Closing the generator early ends the exchange.
    `body` is that of a whole answer; what asks for pieces is added here.

    Raises:
        ProviderError: no answer came, it broke off, or what came is no answer. Its `output` is the text that
            was yielded before.
    """
    wire = wire_for(spec)
    if uses_list(spec, endpoint):
        begin_loading()  # while the host works; the answer's cost finds it loaded
    pieces: list[str] = []
    try:
        async with host.lease(spec, tokens) as lease:
            sent_at, waits = datetime.now(UTC), _Waits(endpoint.timeouts)
            url = lease.base_url + wire.stream_path(spec, at_address(endpoint, lease))
            exchange = _exchange(wire, transport, url, lease, wire.stream_body(body), waits)
            async with aclosing(exchange) as arriving:
                async for part in arriving:
                    if isinstance(part, Reply):
                        reply = part
                    else:
                        pieces.append(part)
                        yield part
    except EmbeddedServerError as error:
        raise ProviderError(str(error), kind="connect") from error
    except ProviderError as error:
        error.output = "".join(pieces) or error.output
        raise
    yield finished(
        spec,
        endpoint,
        lease,
        reply,
        output_schema,
        sent_at,
        latency_ms=waits.latency_ms,
        ttft_ms=waits.ttft_ms,
    )


class _Waits:
    """The clock of one exchange: what was measured, and how long the next wait may be."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.ttft_ms: float | None = None
        self.latency_ms = 0.0
        self.connect_s = timeouts.connect_s
        self._timeouts = timeouts
        self._started = time.perf_counter()
        self._has_bytes = False

    def elapsed_ms(self) -> float:
        """Milliseconds since the request."""
        return (time.perf_counter() - self._started) * 1000

    def note_output(self) -> None:
        """A part of the answer is here."""
        if self.ttft_ms is None:
            self.ttft_ms = self.elapsed_ms()

    async def chunk(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        """The next chunk in time, or None at the end."""
        found = await self.wait(lambda: anext(chunks, None))
        self._has_bytes = True
        return found

    async def wait(self, step: Callable[[], Awaitable[T]]) -> T:
        """One step of the exchange.

        Raises:
            ProviderError: kind timeout, the step took longer than a limit allows; or as the step.
        """
        limit_s, message = self._limit()
        if limit_s is not None and limit_s <= 0:  # chunks that are here already would never be timed out
            raise ProviderError(message, kind="timeout")
        try:
            async with asyncio.timeout(limit_s):
                return await step()
        except TimeoutError as error:
            raise ProviderError(message, kind="timeout") from error

    def _limit(self) -> tuple[float | None, str]:
        """Seconds until the next limit is passed, None for none, and what to say then."""
        first_s, stall_s = self._timeouts.first_token_s, self._timeouts.stall_s
        limits: list[tuple[float, str]] = []
        if first_s is not None and self.ttft_ms is None:
            left_s = first_s - self.elapsed_ms() / 1000
            limits.append((left_s, f"no part of the answer within first_token_s ({first_s:g} s)"))
        if stall_s is not None and self._has_bytes:
            limits.append((stall_s, f"the stream stood still for stall_s ({stall_s:g} s)"))
        return min(limits, default=(None, ""))


async def _exchange(
    wire: Wire, transport: Transport, url: str, lease: Lease, body: Mapping[str, Any], waits: _Waits
) -> AsyncGenerator[str | Reply, None]:
    """The pieces of one answer, then its Reply."""
    accepted = "text/event-stream, application/json"
    headers = {"content-type": "application/json", "accept": accepted, **lease.headers}
    async with AsyncExitStack() as stack:
        context = transport.stream(url, headers, json_bytes(body), waits.connect_s)
        stream = await waits.wait(lambda: stack.enter_async_context(context))
        chunks = await stack.enter_async_context(aclosing(_timed(stream.chunks, waits)))
        try:
            head = await _head(chunks)
            is_whole = not 200 <= stream.status < 300 or not head or head.startswith(_WHOLE)
            read = _whole if is_whole else _streamed
            parts = await stack.enter_async_context(
                aclosing(read(wire, stream, _joined(head, chunks), waits, body))
            )
            async for part in parts:
                yield part
        except ProviderError as error:
            error.request_id = error.request_id or request_id_of(stream.headers)
            raise


async def _timed(chunks: AsyncIterator[bytes], waits: _Waits) -> AsyncGenerator[bytes, None]:
    while (chunk := await waits.chunk(chunks)) is not None:
        yield chunk


async def _head(chunks: AsyncIterator[bytes]) -> bytes:
    """The first bytes that are no white space, with which hosts pad while they wait; none at the end."""
    async for chunk in chunks:
        if head := chunk.lstrip():
            return head
    return b""


async def _joined(head: bytes, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield head
    async for chunk in chunks:
        yield chunk


async def _whole(
    wire: Wire, stream: HttpStream, chunks: AsyncIterator[bytes], waits: _Waits, sent: Mapping[str, Any]
) -> AsyncGenerator[str | Reply, None]:
    """An answer that is not streamed: a failure, or a host that does not stream. Its text is one piece."""
    body = await read_body(chunks)
    waits.latency_ms = waits.elapsed_ms()
    payload = payload_of(HttpReply(stream.status, stream.headers, body))
    reply = wire.parse(payload, stream.headers, sent)
    waits.note_output()
    if reply.text and reply.problem is None:
        yield reply.text
    yield reply


async def _streamed(
    wire: Wire, stream: HttpStream, chunks: AsyncIterator[bytes], waits: _Waits, sent: Mapping[str, Any]
) -> AsyncGenerator[str | Reply, None]:
    """The text of events as they come, and the answer that they make."""
    assembler = wire.assembler(sent)
    async with aclosing(events(chunks)) as arriving:
        async for data in arriving:
            text = assembler.feed(data)
            if assembler.has_output:
                waits.note_output()
            if text:
                yield text
            if assembler.is_done:
                break
        waits.latency_ms = waits.elapsed_ms()
        reply = assembler.reply(stream.headers)
        if assembler.is_done:
            await _read_out(arriving)
    yield reply


async def _read_out(arriving: AsyncIterator[str]) -> None:
    """Let the body of a complete answer end; how it ends changes nothing any more."""
    with suppress(TimeoutError, ProviderError):
        async with asyncio.timeout(_ENDING_S):
            async for _ in arriving:
                pass
