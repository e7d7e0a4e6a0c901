"""Several keys: one that was refused rests, the next one is used, and no text shows either."""

from __future__ import annotations

import asyncio
import threading

import pytest

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.config import read_environment
from llmbench.errors import ProviderError
from llmbench.providers.hosts import RemoteHost
from llmbench.providers.keys import REST_S, Key, KeyRing
from llmbench.providers.send import send_once
from llmbench.providers.transport import HttpxTransport
from tests.servers.chat_server import Received, Step, completion, failure

SPEC = ModelSpec("m", "stub", "m-id")
FIRST, SECOND = Key("A_KEY", "first-secret"), Key("B_KEY", "second-secret")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("kind", ["auth", "quota"])
def test_a_refused_key_rests_and_is_used_again_after_its_rest(kind, clock):
    ring = KeyRing([FIRST, SECOND], clock=clock)
    assert ring.pick() == FIRST
    assert ring.note(FIRST, kind)
    assert ring.pick() == SECOND
    clock.now = REST_S
    assert ring.pick() == FIRST


@pytest.mark.parametrize("kind", ["rate_limit", "server_error", "timeout", "bad_request"])
def test_what_says_nothing_of_the_key_changes_nothing(kind, clock):
    ring = KeyRing([FIRST, SECOND], clock=clock)
    assert not ring.note(FIRST, kind)
    assert ring.pick() == FIRST


def test_when_all_rest_the_one_whose_rest_ends_first_is_used(clock):
    ring = KeyRing([FIRST, SECOND], clock=clock)
    ring.note(FIRST, "auth")
    clock.now = 5.0
    assert ring.note(SECOND, "quota")
    assert ring.pick() == FIRST


def test_a_single_key_is_used_whatever_it_met(clock):
    for ring in (KeyRing([FIRST], clock=clock), KeyRing([FIRST, Key("C_KEY", FIRST.value)], clock=clock)):
        assert not ring.note(FIRST, "auth")
        assert ring.pick() == FIRST
    assert KeyRing([]).pick() is None


def test_a_key_shows_four_digits_of_its_hash_and_nothing_of_its_value():
    assert str(FIRST) == "key#e0a5 (A_KEY)"
    assert "secret" not in f"{FIRST!r} {KeyRing([FIRST])!r}"


def test_threads_that_share_a_ring_agree_on_the_next_key():
    ring = KeyRing([FIRST, SECOND])
    picked = []

    def use() -> None:
        for _ in range(200):
            key = ring.pick()
            picked.append(key)
            if key == FIRST:
                ring.note(key, "auth")

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert picked.count(SECOND) >= 1600 - 8


async def post(host: RemoteHost, url: str) -> None:
    transport = HttpxTransport()
    try:
        await send_once(SPEC, Endpoint("p", base_url=url), host, transport, {"model": "m-id"}, None)
    finally:
        await transport.aclose()


def test_the_host_uses_the_next_key_after_a_refusal_and_says_which_one_was_refused(server):
    def answer(request: Received) -> Step:
        is_good = request.headers["authorization"] == "Bearer second-secret"
        return Step(completion()) if is_good else failure(402, None, "no credits")

    server.answer = answer
    environment = read_environment({"A_KEY": FIRST.value, "B_KEY": SECOND.value})
    host = RemoteHost(Endpoint("p", base_url=server.url, env_api_keys=("A_KEY", "B_KEY")), environment)
    with pytest.raises(ProviderError, match=r"no credits; key#\w{4} \(A_KEY\) rests for 10 min") as caught:
        asyncio.run(post(host, server.url))
    assert caught.value.kind == "quota"
    for _ in range(2):
        asyncio.run(post(host, server.url))
    used = [request.headers["authorization"] for request in server.received]
    assert used == ["Bearer first-secret", "Bearer second-secret", "Bearer second-secret"]


def test_when_the_last_key_is_refused_the_host_says_when_the_first_is_back(server):
    server.answer = lambda _: failure(402, None, "no credits")
    environment = read_environment({"A_KEY": FIRST.value, "B_KEY": SECOND.value})
    host = RemoteHost(Endpoint("p", base_url=server.url, env_api_keys=("A_KEY", "B_KEY")), environment)
    for said in ("another key is next", "and so do all others of p: the first is back in 10 min"):
        with pytest.raises(
            ProviderError, match=rf"no credits; key#\w{{4}} \(\w_KEY\) rests for 10 min, {said}$"
        ):
            asyncio.run(post(host, server.url))


def test_a_single_key_that_is_refused_says_nothing_of_others(server):
    server.answer = lambda _: failure(402, None, "no credits")
    host = RemoteHost(
        Endpoint("p", base_url=server.url, env_api_keys=("A_KEY",)), read_environment({"A_KEY": FIRST.value})
    )
    with pytest.raises(ProviderError, match=r"no credits$"):
        asyncio.run(post(host, server.url))


def test_the_ring_knows_when_its_first_key_is_back(clock):
    ring = KeyRing([FIRST, SECOND], clock=clock)
    ring.note(FIRST, "quota")
    assert ring.back_in_s() == 0
    clock.now = 100.0
    ring.note(SECOND, "quota")
    assert ring.back_in_s() == REST_S - 100
    clock.now = REST_S
    assert ring.back_in_s() == KeyRing([]).back_in_s() == 0


def test_a_failure_found_after_the_lease_is_noted_by_it(server):
    environment = read_environment({"A_KEY": FIRST.value, "B_KEY": SECOND.value})
    host = RemoteHost(Endpoint("p", base_url=server.url, env_api_keys=("A_KEY", "B_KEY")), environment)

    async def fingerprints() -> list[str | None]:
        found = []
        for _ in range(2):
            async with host.lease(SPEC) as lease:
                found.append(lease.key)
            lease.note("quota")
        return found

    assert asyncio.run(fingerprints()) == [FIRST.fingerprint, SECOND.fingerprint]
