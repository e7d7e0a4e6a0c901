"""Hosts: a key goes to the addresses it may go to, under the name its host looks for, and nowhere else."""

from __future__ import annotations

import asyncio
from typing import get_args

import pytest

from llmbench.catalog import Endpoint, Limits, ModelSpec, Wire
from llmbench.config import read_environment
from llmbench.config.build import build_model
from llmbench.config.shapes import ModelShape
from llmbench.errors import ConfigError, ProviderError
from llmbench.providers.hosts import RemoteHost

SPEC = ModelSpec("m", "stub", "m-id")


def host(variables=None, **fields) -> RemoteHost:
    return RemoteHost(
        Endpoint("p", env_api_keys=("A_KEY", "B_KEY"), **fields), read_environment(variables or {})
    )


async def headers_of(one: RemoteHost) -> dict[str, str]:
    async with one.lease(SPEC) as lease:
        assert "first" not in repr(lease)
        return dict(lease.headers)


@pytest.mark.parametrize(
    ("fields", "header"),
    [
        ({}, {"authorization": "Bearer first-key"}),
        ({"auth": "entra"}, {"authorization": "Bearer first-key"}),
        ({"auth": "key"}, {"api-key": "first-key"}),
        (
            {"auth": "key", "type": "gemini", "allow_hosts": ("h.test",)},
            {"x-goog-api-key": "first-key"},
        ),
        ({"headers": {"X-Title": "t"}}, {"X-Title": "t", "authorization": "Bearer first-key"}),
    ],
)
def test_the_key_goes_where_the_host_looks_for_it(fields, header):
    one = host({"B_KEY": "second", "A_KEY": "first-key"}, base_url="https://h.test", **fields)
    assert one.is_reachable(SPEC)
    assert asyncio.run(headers_of(one)) == header


def test_without_key_or_address_a_host_is_not_reachable():
    assert not host(base_url="https://h.test").is_reachable(SPEC)
    assert not host({"A_KEY": "k"}).is_reachable(SPEC)
    assert host({"B_KEY": "k", "ADDR": "https://h.test/"}, env_endpoint="ADDR").is_reachable(SPEC)


def test_a_key_that_no_header_can_carry_is_an_auth_failure_without_its_text():
    with pytest.raises(ProviderError, match="the value of A_KEY holds") as caught:
        asyncio.run(headers_of(host({"A_KEY": "first\nkey"}, base_url="https://h.test")))
    assert caught.value.kind == "auth"
    assert "first" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "fields"),
    [
        ("http://127.0.0.1:8000/v1", {}),
        ("http://localhost:8000/v1", {"type": "azure"}),
        ("http://[::1]:8000", {"allow_hosts": ("x.test",)}),
        ("https://h.test/v1", {}),
        ("https://r.openai.azure.com", {"type": "azure"}),
        ("https://r.services.ai.azure.com", {"type": "azure"}),
        ("https://proxy.test", {"type": "azure", "allow_hosts": ("proxy.test",)}),
        ("https://api.openai.com/v1", {"type": "openai"}),
        ("https://openrouter.ai/api/v1", {"type": "openrouter"}),
        ("https://generativelanguage.googleapis.com", {"type": "gemini"}),
        ("https://api.openai.com/v1", {"type": "openai", "allow_hosts": ("proxy.test",)}),
        ("https://proxy.test/v1", {"type": "openai", "allow_hosts": ("Proxy.Test",)}),
        ("https://Proxy.test/v1", {"allow_hosts": ("proxy.TEST",)}),
        ("http://127.0.0.1:8000/v1", {"type": "openrouter"}),
    ],
)
def test_addresses_that_may_carry_a_key(url, fields):
    host(base_url=url, **fields)


@pytest.mark.parametrize(
    ("url", "fields", "said"),
    [
        ("http://h.test/v1", {}, "neither https nor on this machine"),
        ("http://127.0.0.1.h.test", {}, "neither https"),
        ("ftp://h.test", {}, "neither https"),
        ("h.test", {}, "neither https"),
        ("https://[x", {}, "neither https"),
        ("https://user:SECRET@h.test", {}, "holds a user, a query or a fragment"),
        ("https://h.test/v1?sig=SECRET", {}, "holds a user, a query or a fragment"),
        ("https://evil.test", {"type": "azure"}, "is not in allow_hosts"),
        ("https://openai.azure.com.evil.test", {"type": "azure"}, "is not in allow_hosts"),
        ("https://h.test", {"allow_hosts": ("x.test",)}, "is not in allow_hosts"),
        ("https://evil.test/v1", {"type": "openai"}, "is not in allow_hosts"),
        ("https://evil.test/v1", {"type": "openrouter"}, "is not in allow_hosts"),
        ("https://evil.test", {"type": "gemini"}, "is not in allow_hosts"),
        ("https://api.openai.com.evil.test", {"type": "openai"}, "is not in allow_hosts"),
        ("https://evil-api.openai.com", {"type": "openai"}, "is not in allow_hosts"),
        ("https://openrouter.ai", {"type": "openai"}, "is not in allow_hosts"),
        ("https://evil.test", {"type": "openai", "allow_hosts": ("x.test",)}, "is not in allow_hosts"),
    ],
)
def test_addresses_that_may_not(url, fields, said):
    with pytest.raises(ConfigError, match=said) as caught:
        host(base_url=url, **fields)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "wires"),
    [
        ({"type": "azure"}, {"chat", "responses"}),
        ({"type": "openai"}, {"chat", "responses"}),
        ({"type": "openai_compatible"}, {"chat", "responses"}),
        ({"managed": "embedded"}, {"chat"}),
        ({"type": "openrouter"}, {"chat"}),
        ({"type": "gemini"}, set()),
    ],
)
def test_a_model_has_another_wire_only_where_its_host_has_both(fields, wires):
    endpoint = Endpoint("p", **fields)
    assert {wire for wire in get_args(Wire) if endpoint.can_speak(wire)} == wires
    spec = build_model("m", ModelShape(provider="p"), endpoint, None)
    assert (spec.other_params is not None) == (len(wires) == 2)


def test_a_limit_of_requests_at_once_makes_the_others_queue():
    one = host({"A_KEY": "k"}, base_url="https://h.test", limits=Limits(concurrency=1))
    order: list[str] = []

    async def use(name: str) -> float:
        async with one.lease(SPEC) as lease:
            order.append(f"{name} in")
            await asyncio.sleep(0.02)
            order.append(f"{name} out")
            return lease.queued_ms

    async def both() -> list[float]:
        return await asyncio.gather(use("x"), use("y"))

    first, second = asyncio.run(both())
    assert order == ["x in", "x out", "y in", "y out"]
    assert second - first > 15
