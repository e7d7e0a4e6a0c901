"""One attempt at one model: lease a place, post the body, read the answer, price it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ConfigError, EmbeddedServerError, ProviderError
from llmbench.messages import OutputSchema
from llmbench.pricing import begin_loading, cost_of, uses_list
from llmbench.providers.base import Reply, Transport, Wire, post_json
from llmbench.providers.chat import ChatWire
from llmbench.providers.gemini import GeminiWire
from llmbench.providers.hosts import Host, Lease
from llmbench.providers.rate_limits import rate_left
from llmbench.providers.responses import ResponsesWire
from llmbench.structuring import parse_structured

_WIRES: Final[Mapping[str, Wire]] = {"chat": ChatWire(), "responses": ResponsesWire(), "gemini": GeminiWire()}


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that was answered.

    `problem` says why the answer does not count (cut off, empty, schema broken); the tokens and the
    money were used all the same. Times are milliseconds, `cost_usd` USD or None with the reason in
    `cost_source`. `ttft_ms` is the time to the first part of a streamed answer; None where it was not
    streamed, or nothing came.
    """

    reply: Reply
    parsed: Any
    problem: ProviderError | None
    latency_ms: float
    lease: Lease
    cost_usd: float | None
    cost_source: str
    ttft_ms: float | None = None


def speaks(spec: ModelSpec) -> bool:
    """Whether this version has the dialect of a model."""
    if spec.capabilities.mode == "text":
        return spec.wire in _WIRES
    from llmbench.providers.media_wires import speaks_media  # text calls do not load it

    return speaks_media(spec)


def wire_for(spec: ModelSpec) -> Wire:
    """The dialect a model speaks.

    Raises:
        ConfigError: this version has no such wire.
    """
    wire = _WIRES.get(spec.wire)
    if wire is None:
        known = ", ".join(sorted(_WIRES))
        raise ConfigError(f"model {spec.key!r} needs the wire {spec.wire!r}; this version speaks: {known}")
    return wire


async def send_once(
    spec: ModelSpec,
    endpoint: Endpoint,
    host: Host,
    transport: Transport,
    body: Mapping[str, Any],
    output_schema: OutputSchema | None,
    *,
    tokens: int = 0,
) -> Sent:
    """Send one request. The latency is the request alone, without the wait for a place.

    `tokens` estimates input and output together, for hosts with a limit of tokens a minute.

    Raises:
        ProviderError: no answer came, or what came is no answer.
    """
    wire = wire_for(spec)
    if uses_list(spec, endpoint):
        begin_loading()  # while the host works; the answer's cost finds it loaded
    try:
        async with host.lease(spec, tokens) as lease:
            sent_at, started = datetime.now(UTC), time.perf_counter()
            payload, headers = await post_json(
                transport,
                lease.base_url + wire.path(spec, at_address(endpoint, lease)),
                lease.headers,
                body,
                endpoint.timeouts.connect_s,
            )
            latency_ms = (time.perf_counter() - started) * 1000
            lease.rate_left = rate_left(headers)
            reply = wire.parse(payload, headers, body)  # a refused key in a 200 is the lease's business too
    except EmbeddedServerError as error:
        raise ProviderError(str(error), kind="connect") from error
    return finished(
        spec,
        endpoint,
        lease,
        reply,
        output_schema,
        sent_at,
        latency_ms=latency_ms,
    )


def at_address(endpoint: Endpoint, lease: Lease) -> Endpoint:
    """The endpoint at the address of a lease: the form of a wire's path depends on it."""
    return endpoint if endpoint.base_url == lease.base_url else replace(endpoint, base_url=lease.base_url)


def finished(
    spec: ModelSpec,
    endpoint: Endpoint,
    lease: Lease,
    reply: Reply,
    output_schema: OutputSchema | None,
    sent_at: datetime,
    *,
    latency_ms: float,
    ttft_ms: float | None = None,
) -> Sent:
    """An answer with its cost and, where it is one, its data; the lease has ended and holds its figures."""
    cost_usd, cost_source = cost_of(
        spec, endpoint, reply.usage, reported_usd=reply.reported_usd, cpu_s=lease.cpu_s, at=sent_at
    )
    parsed, problem = None, reply.problem
    if problem is None and output_schema is not None and (reply.text or not reply.tool_calls):
        try:
            parsed = parse_structured(reply.text, output_schema)
        except ProviderError as error:
            problem = error
    return Sent(reply, parsed, problem, latency_ms, lease, cost_usd, cost_source, ttft_ms)
