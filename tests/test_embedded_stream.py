"""A stream from a local model: real tokens, one by one, and the same answer as in one piece."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.messages import Message
from llmbench.providers import embedded
from llmbench.providers.hosts import EmbeddedHost
from llmbench.providers.send import Sent, send_once, wire_for
from llmbench.providers.stream import stream_once
from llmbench.providers.transport import HttpxTransport
from tests.embedded_clients import SMOL, skip_unless_here

ENDPOINT = Endpoint("local", managed="embedded")


@pytest.mark.embedded
@pytest.mark.parametrize("wire", ["chat", "responses"])
def test_a_local_model_streams_the_answer_that_it_gives_in_one_piece(wire: str, tmp_path: Path, monkeypatch):
    skip_unless_here(SMOL)
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path))
    spec = ModelSpec("m", "local", SMOL, wire=wire)
    limit = {"chat": "max_tokens", "responses": "max_output_tokens"}[wire]
    params = {limit: 12, "temperature": 0}
    body = wire_for(spec).body(spec, (Message("user", "Name three colours."),), params, None, {})

    async def main() -> tuple[list[str | Sent], Sent]:
        transport, host = HttpxTransport(), EmbeddedHost()
        try:
            parts = [part async for part in stream_once(spec, ENDPOINT, host, transport, body, None)]
            return parts, await send_once(spec, ENDPOINT, host, transport, body, None)
        finally:
            await transport.aclose()

    try:
        (*pieces, streamed), whole = asyncio.run(main())
    finally:
        embedded.release()
    assert isinstance(streamed, Sent)
    assert len(pieces) > 3
    assert "".join(map(str, pieces)) == streamed.reply.text == whole.reply.text
    assert streamed.reply.finish_reason == whole.reply.finish_reason
    assert streamed.reply.usage.output_tokens == whole.reply.usage.output_tokens > 3
    assert streamed.ttft_ms is not None
    assert 0 < streamed.ttft_ms < streamed.latency_ms
    assert streamed.lease.cpu_s is not None
