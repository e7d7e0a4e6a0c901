"""Both connection pools behind the transport: the same answers, the same words for the same faults."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from llmbench.errors import ProviderError
from llmbench.providers.base import HttpReply
from llmbench.providers.transport import HttpxTransport
from tests.servers.chat_server import Step
from tests.servers.fault_server import FaultServer, SilentPort, closed_port
from tests.servers.faults import FAULTS

POOLS = ["aiohttp", "httpx"]


def post(pool: str, url: str, *, connect_s: float = 5.0, times: int = 1) -> list[HttpReply | ProviderError]:
    """The outcomes of so many requests, one after the other over one transport."""

    async def main() -> list[HttpReply | ProviderError]:
        transport = HttpxTransport(pool)
        ended: list[HttpReply | ProviderError] = []
        for _ in range(times):
            try:
                async with asyncio.timeout(5):
                    ended.append(await transport.post(url, {"x-own": "1"}, b'{"model": "m"}', connect_s))
            except ProviderError as error:
                ended.append(error)
        await transport.aclose()
        return ended

    return asyncio.run(main())


@pytest.mark.parametrize("pool", POOLS)
def test_what_is_sent_and_read_is_the_same(server, pool):
    server.answer = lambda _: Step({"a": "é"}, headers={"X-Request-Id": "r1", "set-cookie": "c=1"})
    replies = post(pool, f"{server.url}/chat/completions?api-version=2", times=2)
    assert [json.loads(reply.body) for reply in replies] == [{"a": "é"}] * 2
    assert replies[0].headers["x-request-id"] == "r1"
    first, second = server.received
    assert (first.path, first.raw) == ("/v1/chat/completions?api-version=2", b'{"model": "m"}')
    assert first.headers["x-own"] == "1"
    assert first.headers["user-agent"] == "llmbench"
    assert "cookie" not in second.headers, "one call must not tell the next what a host set"
    assert first.headers["content-length"] == "14"


@pytest.mark.parametrize("pool", POOLS)
def test_an_encoded_body_is_decoded(server, pool):
    body = gzip.compress(b'{"a": 1}')
    server.answer = lambda _: Step(body, headers={"content-encoding": "gzip"})
    assert post(pool, server.url)[0].body == b'{"a": 1}'


@pytest.mark.parametrize("pool", POOLS)
def test_a_redirect_is_an_answer_and_is_not_followed(server, pool):
    server.answer = lambda _: Step({}, status=307, headers={"location": f"{server.url}/elsewhere"})
    assert post(pool, server.url)[0].status == 307
    assert len(server.received) == 1


@pytest.mark.parametrize("pool", POOLS)
def test_the_environments_proxy_gets_nothing(server, pool, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    assert post(pool, server.url)[0].status == 200
    assert len(server.received) == 1


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("reset-before", "connect"),
        ("close-before", "connect"),
        ("reset-mid-body", "connect"),
        ("short-body", "connect"),
        ("broken-chunks", "connect"),
        ("not-http", "connect"),
    ],
)
def test_a_connection_that_breaks_is_of_kind_connect(pool, fault, kind):
    with FaultServer({"m": FAULTS[fault].act}) as server:
        (ended,) = post(pool, server.url("chat") + "/chat/completions")
    assert isinstance(ended, ProviderError), ended
    assert ended.kind == kind


@pytest.mark.parametrize("pool", POOLS)
def test_a_port_on_which_nothing_listens_is_said_in_words(pool):
    (ended,) = post(pool, f"http://127.0.0.1:{closed_port()}/v1")
    assert (ended.kind, str(ended)) == (
        "connect",
        "connection failed: nothing listens at the address (connection refused)",
    )


@pytest.mark.parametrize("pool", POOLS)
def test_a_handshake_that_takes_too_long_is_a_timeout(pool):
    with SilentPort() as silent:
        (ended,) = post(pool, f"https://127.0.0.1:{silent.port}/v1", connect_s=0.2)
    assert ended.kind == "timeout"


@pytest.mark.parametrize("pool", POOLS)
def test_an_address_that_is_none_is_malformed(pool):
    (ended,) = post(pool, "ftp://127.0.0.1/v1")
    assert ended.kind == "malformed"


@pytest.mark.parametrize("pool", POOLS)
def test_no_limit_of_the_pool_holds_back_calls_at_once(server, pool):
    """More than a hundred calls, which is the default limit of both libraries, are open at the same time."""
    server.answer = lambda _: Step({}, delay_s=10)

    async def main() -> None:
        transport = HttpxTransport(pool)
        calls = [asyncio.create_task(transport.post(server.url, {}, b"{}", 5.0)) for _ in range(150)]
        async with asyncio.timeout(9):
            while len(server.received) < 150:
                await asyncio.sleep(0.02)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await transport.aclose()

    asyncio.run(main())
