"""Entra tokens: from the caller's function or from azure-identity, asked for once, and shown nowhere."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings
from dataclasses import dataclass

import pytest

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.config import read_environment
from llmbench.errors import ProviderError
from llmbench.providers import entra
from llmbench.providers.entra import MARGIN_S, SCOPE, TEXT_KEPT_S, EntraTokens
from llmbench.providers.hosts import RemoteHost
from llmbench.providers.send import send_once
from llmbench.providers.transport import HttpxTransport
from llmbench.telemetry import Redactor
from tests.servers.chat_server import Received, Step, completion, failure

SPEC = ModelSpec("m", "azure", "m-id")
SECRET = "entra-5d0c7e61b2f94a38"


@dataclass
class AccessToken:
    token: str
    expires_on: float


class Counted:
    """A provider function that counts its calls and hands out a new token each time."""

    def __init__(self, lives_s: float | None = None, takes_s: float = 0.0) -> None:
        self.calls, self.lives_s, self.takes_s = 0, lives_s, takes_s
        self.at_once, self.most_at_once = 0, 0

    def __call__(self) -> object:
        self.calls += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.takes_s)
        self.at_once -= 1
        text = f"{SECRET}-{self.calls}"
        return text if self.lives_s is None else AccessToken(text, self.lives_s)


def azure(url: str, **options) -> RemoteHost:
    endpoint = Endpoint(
        "azure", type="azure", base_url=url, auth="entra", env_api_keys=("AZURE_OPENAI_API_KEY",)
    )
    return RemoteHost(endpoint, read_environment({}), **options)


async def send(host: RemoteHost, url: str, times: int = 1) -> None:
    transport = HttpxTransport()
    endpoint = Endpoint("azure", type="azure", base_url=url, auth="entra")
    try:
        for _ in range(times):
            await send_once(SPEC, endpoint, host, transport, {"model": "m-id", "messages": []}, None)
    finally:
        await transport.aclose()


def test_the_callers_token_is_the_bearer_of_each_request_and_is_asked_for_once(server):
    provider = Counted()
    asyncio.run(send(azure(server.url, token_provider=provider), server.url, times=3))
    assert [r.headers["authorization"] for r in server.received] == [f"Bearer {SECRET}-1"] * 3
    assert provider.calls == 1


def test_an_async_function_serves_as_well(server):
    async def provider() -> str:
        await asyncio.sleep(0)
        return SECRET

    asyncio.run(send(azure(server.url, token_provider=provider), server.url))
    assert server.received[0].headers["authorization"] == f"Bearer {SECRET}"


def test_a_refused_token_is_fetched_anew_for_the_next_request(server):
    server.script["m-id"] = [failure(401, "401"), Step(completion())]
    host = azure(server.url, token_provider=Counted())
    with pytest.raises(ProviderError) as caught:
        asyncio.run(send(host, server.url))
    assert caught.value.kind == "auth"
    asyncio.run(send(host, server.url))
    sent = [request.headers["authorization"] for request in server.received]
    assert sent == [f"Bearer {SECRET}-1", f"Bearer {SECRET}-2"]


def test_without_a_function_azure_identity_finds_the_token(server, monkeypatch):
    """The real library, told by its own variables to ask an identity service on this machine."""

    def answer(request: Received) -> Step:
        if not request.path.startswith("/msi"):
            return Step(completion())
        return Step({"access_token": SECRET, "expires_on": str(int(time.time()) + 3600), "resource": "r"})

    server.answer = answer
    monkeypatch.setenv("IDENTITY_ENDPOINT", server.url.replace("/v1", "/msi"))
    monkeypatch.setenv("IDENTITY_HEADER", "here")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    host = azure(server.url)
    assert host.is_reachable(SPEC)
    asyncio.run(send(host, server.url, times=2))
    asked, first, second = server.received
    assert f"resource={SCOPE.removesuffix('/.default')}" in asked.path.replace("%3A%2F%2F", "://")
    assert first.headers["authorization"] == second.headers["authorization"] == f"Bearer {SECRET}"


def test_without_function_and_library_the_host_is_out_of_reach_and_says_what_to_install(monkeypatch):
    monkeypatch.setattr(entra, "has_azure_identity", lambda: False)
    host = azure("http://127.0.0.1:9")
    assert not host.is_reachable(SPEC)
    with pytest.raises(ProviderError, match=r"pip install 'llmbench\[azure\]'") as caught:
        asyncio.run(send(host, "http://127.0.0.1:9"))
    assert caught.value.kind == "auth"


@pytest.mark.parametrize(("lives_s", "kept_s"), [(None, TEXT_KEPT_S), (5000.0, 4000.0 - MARGIN_S)])
def test_a_token_is_kept_until_shortly_before_its_end(lives_s, kept_s):
    now, provider = [1000.0], Counted(lives_s)
    tokens = EntraTokens("azure", provider, clock=lambda: now[0])
    for at, calls in ((0.0, 1), (kept_s - 1, 1), (kept_s + 1, 2)):
        now[0] = 1000.0 + at
        asyncio.run(tokens.token())
        assert provider.calls == calls


def test_many_threads_and_loops_cause_one_fetch_and_the_loops_go_on():
    provider = Counted(takes_s=0.2)
    tokens = EntraTokens("azure", provider)
    found, ticks = [], []

    async def ask() -> None:
        asking = asyncio.gather(*(tokens.token() for _ in range(5)))
        while not asking.done():
            await asyncio.sleep(0.01)
            ticks.append(1)
        found.extend(await asking)

    threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == [f"{SECRET}-1"] * 20
    assert (provider.calls, provider.most_at_once) == (1, 1)
    assert len(ticks) > 20  # four loops, 0.2 s each: none stood still


def test_a_caller_who_gives_up_leaves_the_fetch_to_the_others():
    provider = Counted(takes_s=0.1)
    tokens = EntraTokens("azure", provider)

    async def one_gives_up() -> str:
        impatient = asyncio.create_task(tokens.token())
        patient = asyncio.create_task(tokens.token())
        await asyncio.sleep(0.02)
        impatient.cancel()
        return await patient

    assert asyncio.run(one_gives_up()) == f"{SECRET}-1"
    assert provider.calls == 1


def test_a_forked_child_fetches_for_itself():
    tokens = EntraTokens("azure", Counted(lives_s=0.0))  # never kept
    assert asyncio.run(tokens.token()) == f"{SECRET}-1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests' threads make fork warn
        child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(asyncio.wait_for(tokens.token(), 5))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_a_failed_fetch_is_an_auth_failure_of_one_line_and_the_next_one_may_succeed():
    outcomes = [RuntimeError("sign in first\nBearer " + SECRET), 7, "", "a\nb", SECRET]

    def provider() -> object:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    tokens = EntraTokens("azure", provider)
    for said in ("RuntimeError: sign in first$", "gave int without", "gave str without", "gave str without"):
        with pytest.raises(ProviderError, match=said) as caught:
            asyncio.run(tokens.token())
        assert caught.value.kind == "auth"
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None
    assert asyncio.run(tokens.token()) == SECRET


def test_every_new_token_is_told_so_that_it_can_be_hidden_and_no_repr_shows_it():
    redact = Redactor()
    host = azure("http://127.0.0.1:9", token_provider=lambda: SECRET, learn=redact.add)

    async def shown() -> str:
        async with host.lease(SPEC) as lease:
            return f"{lease!r} {host!r} {vars(host)!r} {vars(host._tokens)!r}"

    assert SECRET not in asyncio.run(shown())
    assert redact(f"the host said: {SECRET} is wrong") == "the host said: *** is wrong"
