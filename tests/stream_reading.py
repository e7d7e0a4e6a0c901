"""Reading streams in tests: one attempt over any transport, and the transports that stand in for a host."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from llmbench.catalog import Endpoint, ModelSpec, Price, Timeouts
from llmbench.config.environment import read_environment
from llmbench.errors import ProviderError
from llmbench.messages import OutputSchema
from llmbench.providers.base import Transport
from llmbench.providers.hosts import open_host
from llmbench.providers.scripted import ScriptedTransport, StreamReply
from llmbench.providers.send import Sent
from llmbench.providers.stream import stream_once
from llmbench.providers.transport import HttpxTransport

BODY = {"model": "m-id", "messages": [{"role": "user", "content": "hi"}]}


def spec_of(wire: str = "chat") -> ModelSpec:
    return ModelSpec("m", "stub", "m-id", wire=wire, price=Price(input=1.0, output=2.0))


async def read(
    transport: Transport,
    *,
    wire: str = "chat",
    url: str = "http://127.0.0.1:9/v1",
    schema: OutputSchema | None = None,
    body: dict[str, Any] = BODY,
    **timeouts: float,
) -> tuple[list[str], Sent]:
    """Every piece of one attempt, and what it ended with."""
    endpoint = Endpoint("stub", base_url=url, timeouts=Timeouts(**timeouts))
    host = open_host(endpoint, read_environment({}))
    found = [part async for part in stream_once(spec_of(wire), endpoint, host, transport, body, schema)]
    *pieces, sent = found
    assert isinstance(sent, Sent)
    assert all(isinstance(piece, str) for piece in pieces)
    return pieces, sent  # type: ignore[return-value]


def read_scripted(
    events: Iterable[str | bytes | ProviderError], *, wire: str = "chat", **options: Any
) -> tuple[list[str], Sent]:
    """The pieces that come of these chunks."""
    chunks = [event.encode() if isinstance(event, str) else event for event in events]
    return asyncio.run(read(ScriptedTransport([StreamReply(chunks)]), wire=wire, **options))


def read_from(url: str, **options: Any) -> tuple[list[str], Sent]:
    """The pieces that come from a server, over real sockets."""

    async def main() -> tuple[list[str], Sent]:
        transport = HttpxTransport()
        try:
            return await read(transport, url=url, **options)
        finally:
            await transport.aclose()

    return asyncio.run(main())
