"""Where a model answers: a remote host by its address and key, or a local server started on demand."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.config import Environment
from llmbench.errors import ConfigError
from llmbench.providers import local_models
from llmbench.providers.embedded import ametered, ensure_server


@dataclass(slots=True)
class Lease:
    """The right to send one request to one address; local hosts fill the figures when it ends.

    Attributes:
        base_url: address without a trailing slash.
        headers: authorisation and the provider's own headers; never shown in a repr.
        queued_ms: wait for a free place before the request, in milliseconds.
        cpu_s: CPU seconds that the request used on the server, or None when unknown.
        load: the machine's load beside the request, or None for a remote host.
        version: the exact version of the model behind the address, or None when unknown.
    """

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    queued_ms: float = 0.0
    cpu_s: float | None = None
    load: Mapping[str, float | None] | None = None
    version: str | None = None


class Host(Protocol):
    """A provider's place of service."""

    def is_reachable(self, spec: ModelSpec) -> bool:
        """Whether a call makes sense at all: a key is set, or a local model is installed."""
        ...

    def version(self, spec: ModelSpec) -> str | None:
        """The model's version as far as it is known before a call."""
        ...

    def lease(self, spec: ModelSpec) -> AbstractAsyncContextManager[Lease]:
        """A place for one request."""
        ...


class RemoteHost:
    """An HTTP host named in `llm_router.yaml`."""

    def __init__(self, endpoint: Endpoint, environment: Environment) -> None:
        self._endpoint = endpoint
        named = endpoint.env_endpoint and environment.secret(endpoint.env_endpoint)
        self._base_url = (named or endpoint.base_url or "").rstrip("/")
        keys = (environment.secret(name) for name in endpoint.env_api_keys)
        self._key = next((key for key in keys if key), None)
        if self._base_url:
            _check_address(endpoint, self._base_url)

    def is_reachable(self, spec: ModelSpec) -> bool:
        """An address is known, and a key where the provider names one."""
        del spec
        return bool(self._base_url) and (self._key is not None or not self._endpoint.env_api_keys)

    def version(self, spec: ModelSpec) -> str | None:
        """A remote host names the version only in its answer."""
        del spec

    @asynccontextmanager
    async def lease(self, spec: ModelSpec) -> AsyncIterator[Lease]:
        """The address with its headers; remote hosts queue on their own side."""
        del spec
        headers = dict(self._endpoint.headers)
        if self._key is not None:
            if self._endpoint.auth == "key":
                headers["api-key"] = self._key
            else:
                headers["authorization"] = f"Bearer {self._key}"
        yield Lease(self._base_url, headers)


def _check_address(endpoint: Endpoint, base_url: str) -> None:
    """Refuse plain HTTP to anything but this machine: a key would travel in clear text."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if parts.scheme == "https" and host:
        return
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if parts.scheme != "http" or not is_loopback:
        raise ConfigError(
            f"provider {endpoint.name!r}: {base_url} is neither https nor on this machine; use https",
            path="llm_router.yaml",
        )


class EmbeddedHost:
    """Local model servers, one process a model, started when first needed and shared by processes."""

    def is_reachable(self, spec: ModelSpec) -> bool:
        """The model's package is installed."""
        return local_models.is_available(spec.model_id)

    def version(self, spec: ModelSpec) -> str | None:
        """The hash of the model file."""
        return local_models.model_version(spec.model_id)

    @asynccontextmanager
    async def lease(self, spec: ModelSpec) -> AsyncIterator[Lease]:
        """The server's one slot for one request, so that its CPU time is this request's alone."""
        server = await asyncio.to_thread(ensure_server, spec.model_id)
        headers = {"authorization": f"Bearer {server.api_key}"}
        lease = Lease(server.base_url, headers, version=server.version)
        async with ametered(server) as meter:
            lease.queued_ms = meter.queued_ms
            yield lease
        lease.cpu_s, lease.load = meter.cpu_s, meter.load


def open_host(endpoint: Endpoint, environment: Environment) -> Host:
    """The host of one provider section.

    Raises:
        ConfigError: the address is neither https nor on this machine.
    """
    return EmbeddedHost() if endpoint.managed == "embedded" else RemoteHost(endpoint, environment)
