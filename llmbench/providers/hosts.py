"""Where a model answers: a remote host by its address and key, or a local server started on demand."""

from __future__ import annotations

import asyncio
import ipaddress
import time
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlsplit

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.config.environment import Environment
from llmbench.errors import ConfigError, ProviderError
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
    """An HTTP host named in `llm_router.yaml`. The first of its key variables that is set is used."""

    def __init__(self, endpoint: Endpoint, environment: Environment) -> None:
        self._endpoint = endpoint
        named = endpoint.env_endpoint and environment.secret(endpoint.env_endpoint)
        self._base_url = (named or endpoint.base_url or "").rstrip("/")
        self._key_name = next((name for name in endpoint.env_api_keys if environment.secret(name)), "")
        self._key = environment.secret(self._key_name)
        self._places: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            weakref.WeakKeyDictionary()
        )
        if self._base_url:
            _check_address(endpoint, self._base_url)

    def is_reachable(self, spec: ModelSpec) -> bool:
        """An address is known, and a key where the provider names one."""
        del spec
        return bool(self._base_url) and (self._key is not None or not self._endpoint.env_api_keys)

    def version(self, spec: ModelSpec) -> str | None:
        """None: a remote host names the version only in its answer."""
        del spec
        return None

    @asynccontextmanager
    async def lease(self, spec: ModelSpec) -> AsyncIterator[Lease]:
        """The address with its headers, once `limits.concurrency` leaves a place.

        Raises:
            ProviderError: kind auth; the key holds what no header can carry.
        """
        del spec
        headers = self._headers()
        asked = time.perf_counter()
        async with self._place():
            yield Lease(self._base_url, headers, queued_ms=(time.perf_counter() - asked) * 1000)

    def _headers(self) -> dict[str, str]:
        headers = dict(self._endpoint.headers)
        if self._key is None:
            return headers
        if not (self._key.isascii() and self._key.isprintable()):
            message = f"the value of {self._key_name} holds line breaks or non-ASCII characters; set it again"
            raise ProviderError(message, kind="auth")
        if self._endpoint.auth != "key":
            return headers | {"authorization": f"Bearer {self._key}"}
        return headers | {"x-goog-api-key" if self._endpoint.type == "gemini" else "api-key": self._key}

    def _place(self) -> AbstractAsyncContextManager[object]:
        limit = self._endpoint.limits.concurrency
        if limit is None:
            return nullcontext()
        return self._places.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(limit))


#: Where an Azure key may go without being named in `allow_hosts` (contract, section 2).
_AZURE_HOSTS: Final = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")


def _check_address(endpoint: Endpoint, base_url: str) -> None:
    """Refuse an address that would carry a key in clear text, or to a host that nobody named.

    The text of the error holds no more of the address than its host: the rest may be a secret.
    """
    try:
        parts = urlsplit(base_url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    where = f"provider {endpoint.name!r}: the address {parts.scheme or '?'}://{host or '?'}"
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(f"{where} holds a user, a query or a fragment; remove it", path="llm_router.yaml")
    if parts.scheme in ("http", "https") and _is_loopback(host):
        return
    if parts.scheme != "https" or not host:
        message = f"{where} is neither https nor on this machine; use https"
        raise ConfigError(message, path="llm_router.yaml")
    is_known = host in endpoint.allow_hosts or (endpoint.type == "azure" and host.endswith(_AZURE_HOSTS))
    if not is_known and (endpoint.type == "azure" or endpoint.allow_hosts):
        raise ConfigError(f"{where} is not in allow_hosts; name the host there", path="llm_router.yaml")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
