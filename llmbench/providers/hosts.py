"""Where a model answers: a remote host by its address and key, or a local server started on demand."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import urlsplit

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.config.environment import Environment
from llmbench.errors import ConfigError, ErrorKind, ProviderError
from llmbench.messages import RateLeft
from llmbench.providers import local_models
from llmbench.providers.embedded import ametered, ensure_server
from llmbench.providers.entra import EntraTokens, TokenProvider
from llmbench.providers.keys import REST_S, Key, KeyRing
from llmbench.providers.pacing import pace_of


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
        rate_left: what the answer's headers say is left of the provider's limits, or None.
        key: the key's fingerprint such as `key#3f2a`, or None without a key.
        on_failure: is told what a request that got no answer met; see `note`.
    """

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    queued_ms: float = 0.0
    cpu_s: float | None = None
    load: Mapping[str, float | None] | None = None
    version: str | None = None
    rate_left: RateLeft | None = None
    key: str | None = None
    on_failure: Callable[[ErrorKind], object] | None = field(default=None, repr=False)

    def note(self, kind: ErrorKind) -> None:
        """Tell the host of a failure found after the lease ended; one that passes through it is known."""
        if self.on_failure is not None:
            self.on_failure(kind)


class Host(Protocol):
    """A provider's place of service."""

    def is_reachable(self, spec: ModelSpec) -> bool:
        """Whether a call makes sense at all: a key is set, or a local model is installed."""
        ...

    def version(self, spec: ModelSpec) -> str | None:
        """The model's version as far as it is known before a call."""
        ...

    def lease(self, spec: ModelSpec, tokens: int = 0) -> AbstractAsyncContextManager[Lease]:
        """A place for one request of about so many tokens, input and output together."""
        ...


class RemoteHost:
    """An HTTP host named in `llm_router.yaml`.

    The first of its keys that is not resting after a refusal is used. With `auth: entra` a caller's token
    provider is, else a key that is set, else azure-identity.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        environment: Environment,
        *,
        token_provider: TokenProvider | None = None,
        learn: Callable[[str], None] | None = None,
    ) -> None:
        """Take what one provider section says.

        Args:
            endpoint: the section.
            environment: where its variables are looked up.
            token_provider: returns an Entra token; used with `auth: entra` alone.
            learn: is told every new token, so that it can be hidden from logs.

        Raises:
            ConfigError: the address may not carry a key.
        """
        self._endpoint = endpoint
        named = endpoint.env_endpoint and environment.secret(endpoint.env_endpoint)
        self._base_url = (named or endpoint.base_url or "").rstrip("/")
        self._keys = KeyRing(
            Key(name, value) for name in endpoint.env_api_keys if (value := environment.secret(name))
        )
        self._tokens: EntraTokens | None = None
        if endpoint.auth == "entra" and (token_provider is not None or not len(self._keys)):
            self._tokens = EntraTokens(endpoint.name, token_provider, learn=learn)
        self._pace = pace_of(endpoint.name, self._base_url, endpoint.limits)
        if self._base_url:
            _check_address(endpoint, self._base_url)

    def is_reachable(self, spec: ModelSpec) -> bool:
        """An address is known, and a key or a way to a token where the provider names one."""
        del spec
        if not self._base_url:
            return False
        if self._tokens is not None:
            return self._tokens.is_available()
        return bool(len(self._keys)) or not self._endpoint.env_api_keys

    def version(self, spec: ModelSpec) -> str | None:
        """None: a remote host names the version only in its answer."""
        del spec
        return None

    @asynccontextmanager
    async def lease(self, spec: ModelSpec, tokens: int = 0) -> AsyncIterator[Lease]:
        """The address with its headers, once the provider's `limits` leave a place.

        A key that is refused while the lease is held rests; see `KeyRing`.

        Raises:
            ProviderError: kind auth; the key holds what no header can carry, or no token can be had.
        """
        del spec
        asked = time.perf_counter()
        async with nullcontext() if self._pace is None else self._pace.place(tokens):
            queued_ms = (time.perf_counter() - asked) * 1000
            if self._tokens is None:
                key = self._keys.pick()
            else:
                key = Key("Entra token", await self._tokens.token())
            try:
                lease = Lease(self._base_url, self._headers(key), queued_ms)
                if key is not None:
                    lease.key, lease.on_failure = key.fingerprint, lambda kind: self._note(key, kind)
                yield lease
            except ProviderError as error:
                if key is not None and self._note(key, error.kind):
                    error.args = (f"{error}; {key} rests for {REST_S / 60:.0f} min, {self._next_key()}",)
                raise

    def ready_keys(self) -> int:
        """How many keys do not rest."""
        return 0 if self._tokens is not None else self._keys.awake()

    def _next_key(self) -> str:
        """Which key is next, in words."""
        wait_s = self._keys.back_in_s()
        if wait_s <= 0:
            return "another key is next"
        minutes = math.ceil(wait_s / 60)
        return f"and so do all others of {self._endpoint.name}: the first is back in {minutes} min"

    def _note(self, key: Key, kind: ErrorKind) -> bool:
        if self._tokens is None:
            return self._keys.note(key, kind)
        if kind == "auth":
            self._tokens.forget(key.value)
        return False

    def _headers(self, key: Key | None) -> dict[str, str]:
        headers = dict(self._endpoint.headers)
        if key is None:
            return headers
        if not (key.value.isascii() and key.value.isprintable()):
            message = f"the value of {key.name} holds line breaks or non-ASCII characters; set it again"
            raise ProviderError(message, kind="auth")
        if self._endpoint.auth != "key":
            return headers | {"authorization": f"Bearer {key.value}"}
        return headers | {"x-goog-api-key" if self._endpoint.type == "gemini" else "api-key": key.value}


#: Where a key of each provider type may go without being named in `allow_hosts`: a host, or with a dot in
#: front every host below it. A type that is not here has no hosts of its own.
_OWN_HOSTS: Final[Mapping[str, tuple[str, ...]]] = {
    "azure": (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com"),
    "openai": ("api.openai.com",),
    "openrouter": ("openrouter.ai",),
    "gemini": ("generativelanguage.googleapis.com",),
}


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
    if parts.scheme in ("http", "https") and is_loopback(host):
        return
    if parts.scheme != "https" or not host:
        message = f"{where} is neither https nor on this machine; use https"
        raise ConfigError(message, path="llm_router.yaml")
    own = _OWN_HOSTS.get(endpoint.type, ())
    named = {name.casefold() for name in endpoint.allow_hosts}
    is_own = any(host.endswith(name) if name.startswith(".") else host == name for name in own)
    if (own or named) and not is_own and host not in named:
        raise ConfigError(f"{where} is not in allow_hosts; name the host there", path="llm_router.yaml")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
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
    async def lease(self, spec: ModelSpec, tokens: int = 0) -> AsyncIterator[Lease]:
        """The server's one slot for one request, so that its CPU time is this request's alone."""
        del tokens
        server = await asyncio.to_thread(ensure_server, spec.model_id)
        headers = {"authorization": f"Bearer {server.api_key}"}
        lease = Lease(server.base_url, headers, version=server.version)
        async with ametered(server) as meter:
            lease.queued_ms = meter.queued_ms
            yield lease
        lease.cpu_s, lease.load = meter.cpu_s, meter.load


def has_ready_key(host: Host) -> bool:
    """Whether a key of a remote host does not rest: after one was refused, whether another is next."""
    return isinstance(host, RemoteHost) and host.ready_keys() > 0


def open_host(
    endpoint: Endpoint,
    environment: Environment,
    *,
    token_provider: TokenProvider | None = None,
    learn: Callable[[str], None] | None = None,
) -> Host:
    """The host of one provider section; see RemoteHost for the arguments.

    Raises:
        ConfigError: the address may not carry a key.
    """
    if endpoint.managed == "embedded":
        return EmbeddedHost()
    return RemoteHost(endpoint, environment, token_provider=token_provider, learn=learn)
