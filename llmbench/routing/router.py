"""LLMRouter takes one request through its stages: route, guard, fallback, response, telemetry line."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmbench.catalog import ModelSpec, cost_of
from llmbench.config.environment import read_environment
from llmbench.config.model import Config
from llmbench.errors import FallbackExhausted, LLMBenchError, ParamError, ProviderError
from llmbench.messages import (
    Adjustment,
    Attempt,
    Message,
    OutputSchema,
    Request,
    Response,
    Route,
    Usage,
)
from llmbench.providers.base import HttpxTransport, Transport
from llmbench.providers.hosts import Host, open_host
from llmbench.providers.send import Sent, send_once, speaks, wire_for
from llmbench.routing.breaker import Circuits
from llmbench.routing.fallback import Outcome, run_candidates
from llmbench.routing.params import guard, merge, normalise
from llmbench.routing.resolve import Wanted, option_layers, resolve, task_policy
from llmbench.structuring import as_output_schema
from llmbench.telemetry import DEFAULT_LOG_PATH, Redactor, TelemetryLog, failure_line, success_line

Prompt = str | Sequence[Message | Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Prepared:
    """One candidate's request, ready to send. `max_tokens` is None when nothing limits the answer."""

    spec: ModelSpec
    body: Mapping[str, Any]
    adjustments: tuple[Adjustment, ...]
    max_tokens: int | None
    output_schema: OutputSchema | None = None


class LLMRouter:
    """Config, hosts, transports and the log of one process; the stages of a call in order.

    Safe to share between threads and event loops: each loop gets its own transport.
    """

    def __init__(
        self,
        configs: str | Path | Config = "configs",
        *,
        variables: Mapping[str, str] | None = None,
        log_path: str | Path | None = None,
        transport: Callable[[], Transport] = HttpxTransport,
        hosts: Mapping[str, Host] | None = None,
    ) -> None:
        """Load the config and open the hosts.

        Args:
            configs: a config folder, or a loaded Config.
            variables: environment variables; the process's own by default.
            log_path: the telemetry file; `LLM_ROUTER_LOG_PATH`, the config's or the default path if None.
            transport: makes one transport an event loop.
            hosts: hosts by provider name, in place of those the config describes.

        Raises:
            ConfigError: the folder or a provider's address cannot be used.
        """
        self.config = configs if isinstance(configs, Config) else _loaded(configs)
        self.environment = read_environment(variables)
        self._hosts: dict[str, Host] = {
            name: open_host(endpoint, self.environment) for name, endpoint in self.config.endpoints.items()
        } | dict(hosts or {})
        self._make_transport = transport
        self._transports: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Transport] = (
            weakref.WeakKeyDictionary()
        )
        self._transports_guard = threading.Lock()
        names = [name for endpoint in self.config.endpoints.values() for name in endpoint.env_api_keys]
        self._redact = Redactor(value for name in names if (value := self.environment.secret(name)))
        path = log_path or self.environment.log_path or self.config.log_path or DEFAULT_LOG_PATH
        self.log = TelemetryLog(None if self.environment.log_disabled else path)
        breaker = self.config.policy.breaker
        self._circuits = None if breaker is None else Circuits(breaker)

    # ---- stages

    def wanted(self, request: Request, **choice: Any) -> Wanted:
        """What the request asks of its route.

        Raises:
            ParamError: an option is unknown or has a wrong value.
        """
        options, _ = normalise(request.options)
        parts = [part for message in request.messages for part in _parts(message)]
        return Wanted(
            task=request.task,
            channel=request.channel,
            env=request.env,
            needs_vision=any(part.get("type") == "image_url" for part in parts),
            needs_tools="tools" in options,
            input_tokens=_estimated_tokens(request.messages),
            output_tokens=options.get("max_tokens", 0),
            **choice,
        )

    def route(self, wanted: Wanted) -> Route:
        """Resolve the route of a call. No network.

        Raises:
            RouteError: no candidate is left.
        """
        return resolve(self.config, self.environment, wanted, self._unreachable)

    def is_reachable(self, spec: ModelSpec) -> bool:
        """Whether a model's provider is known and has what a call needs."""
        return self._unreachable(spec) is None

    def _unreachable(self, spec: ModelSpec) -> str | None:
        """Why a model cannot be called at all, or None."""
        host = self._hosts.get(spec.provider)
        if not speaks(spec):
            return f"this version does not speak its wire {spec.wire!r}"
        if host is None:
            return f"provider {spec.provider} is not in llm_router.yaml"
        if host.is_reachable(spec):
            return None
        endpoint = self.config.endpoints.get(spec.provider)
        if endpoint is None or endpoint.managed == "embedded":
            return f"{spec.model_id} is not installed (llmbench models pull)"
        named = [*endpoint.env_api_keys, *([endpoint.env_endpoint] if endpoint.env_endpoint else [])]
        return f"no key or address for provider {spec.provider}: set {' or '.join(named)}"

    def model_version(self, key: str) -> str:
        """The version of a model as far as it is known before a call; its id when nothing more is."""
        spec = self.config.models[key]
        host = self._hosts.get(spec.provider)
        return (host.version(spec) if host is not None else None) or spec.model_id

    def prepare(self, request: Request, wanted: Wanted, tier: str, key: str) -> Prepared:
        """Options, guard and body for one candidate. Pure.

        Raises:
            ParamError: an option is unknown or has a wrong value.
            ConfigError: the model needs a wire that this version does not speak.
        """
        spec = self.config.models[key]
        options, renamed = merge((*option_layers(self.config, wanted, tier, spec), request.options))
        output_schema = request.output_schema or as_output_schema(options.get("response_format"))
        guarded = guard(spec, options, output_schema)
        body = wire_for(spec).body(
            spec, request.messages, guarded.params, guarded.instruction, guarded.extra_body
        )
        limits = (options.get("max_tokens"), spec.capabilities.max_output_tokens)
        max_tokens = min((limit for limit in limits if limit is not None), default=None)
        return Prepared(spec, body, (*renamed, *guarded.adjustments), max_tokens, output_schema)

    def explain(self, request: Request, wanted: Wanted) -> Route:
        """The route with the body of every candidate and the worst case. No network."""
        route = self.route(wanted)
        prepared = {key: self.prepare(request, wanted, route.tier, key) for key in route.candidates}
        return replace(
            route,
            bodies={key: item.body for key, item in prepared.items()},
            adjustments={key: item.adjustments for key, item in prepared.items() if item.adjustments},
            worst_case_s=request.deadline_s,
            worst_case_usd=_worst_case_usd(prepared.values(), wanted.input_tokens),
        )

    async def run(self, request: Request, wanted: Wanted, *, strict: bool = False) -> Response:
        """One call from route to telemetry line.

        Raises:
            RouteError: no candidate is left.
            ParamError: an option is wrong, or strict=True and the guard would change one.
            FallbackExhausted: every attempt failed.
        """
        started = time.monotonic()
        route = Route(request.task, wanted.tier or "", (), ())
        prepared: dict[str, Prepared] = {}
        attempts: list[Attempt] = []
        try:
            route = self.route(wanted)

            async def send(key: str) -> Sent:
                prepared[key] = self.prepare(request, wanted, route.tier, key)
                _refuse_changes(prepared[key], strict=strict)
                return await self._send(prepared[key])

            outcome = await run_candidates(
                route.candidates,
                task_policy(self.config, wanted),
                request.deadline_s,
                send,
                attempts=attempts,
                circuits=self._circuits,
            )
        except (LLMBenchError, asyncio.CancelledError) as error:
            changes = tuple(change for item in prepared.values() for change in item.adjustments)
            latency_ms = (time.monotonic() - started) * 1000
            if isinstance(error, FallbackExhausted):
                error.adjustments, error.call_id = changes, request.call_id
            self._log_failure(request, route, error, tuple(attempts), changes, latency_ms)
            raise
        latency_ms = (time.monotonic() - started) * 1000
        response = _response(request, route, outcome, prepared[outcome.model], latency_ms)
        self.log.write(success_line(request, response, config_hash=self.config.hash))
        return response

    async def _send(self, prepared: Prepared) -> Sent:
        spec = prepared.spec
        endpoint = self.config.endpoints[spec.provider]
        try:
            return await send_once(
                spec,
                endpoint,
                self._hosts[spec.provider],
                self._transport(),
                prepared.body,
                prepared.output_schema,
            )
        except ProviderError as error:
            error.args = (self._redact(str(error)),)
            error.__cause__ = error.__context__ = None  # the message has their text; they may quote a header
            raise

    def _transport(self) -> Transport:
        """This event loop's transport."""
        loop = asyncio.get_running_loop()
        with self._transports_guard:
            transport = self._transports.get(loop)
            if transport is None:
                transport = self._transports[loop] = self._make_transport()
            return transport

    def _log_failure(
        self,
        request: Request,
        route: Route,
        error: BaseException,
        attempts: tuple[Attempt, ...],
        changes: tuple[Adjustment, ...],
        latency_ms: float,
    ) -> None:
        cause = error if isinstance(error, LLMBenchError) else ProviderError("cancelled", kind="cancelled")
        line = failure_line(
            request,
            route,
            cause,
            attempts,
            changes,
            latency_ms=latency_ms,
            config_hash=self.config.hash,
            redact=self._redact,
        )
        self.log.write(line)

    async def aclose(self) -> None:
        """Close this loop's connections and the log."""
        with self._transports_guard:
            transport = self._transports.pop(asyncio.get_running_loop(), None)
        if transport is not None:
            await transport.aclose()
        self.log.close()


def _loaded(folder: str | Path) -> Config:
    from llmbench.config.load import load_config  # pydantic and YAML: only where a folder is read

    return load_config(folder)


def _parts(message: Message) -> Sequence[Mapping[str, Any]]:
    return () if isinstance(message.content, str) else message.content


def _estimated_tokens(messages: Iterable[Message]) -> int:
    """A rough count of the text: four ASCII characters a token, one token for any other character.

    Images are not counted: their tokens depend on the model, and their encoded bytes say nothing of them.
    """
    texts = [m.content if isinstance(m.content, str) else "" for m in messages]
    texts += [str(part.get("text", "")) for message in messages for part in _parts(message)]
    characters = "".join(texts)
    wide = sum(not character.isascii() for character in characters)
    return wide + (len(characters) - wide + 3) // 4


def _worst_case_usd(prepared: Iterable[Prepared], input_tokens: int) -> float | None:
    """Every candidate answers in full and fails; None when one of them has no token price or no limit."""
    total = 0.0
    for item in prepared:
        if item.max_tokens is None:
            return None
        cost, _ = cost_of(item.spec, Usage(input_tokens, item.max_tokens))
        if cost is None:
            return None
        total += cost
    return total


def _refuse_changes(prepared: Prepared, *, strict: bool) -> None:
    if strict and prepared.adjustments:
        listed = "; ".join(str(change) for change in prepared.adjustments)
        raise ParamError(f"strict: {prepared.spec.key} would not take the parameters as they are: {listed}")


def _response(
    request: Request, route: Route, outcome: Outcome, prepared: Prepared, latency_ms: float
) -> Response:
    sent, spec = outcome.sent, prepared.spec
    return Response(
        text=sent.reply.text,
        model=outcome.model,
        model_id=spec.model_id,
        provider=spec.provider,
        tier=route.tier,
        finish_reason=sent.reply.finish_reason,
        usage=sent.reply.usage,
        latency_ms=latency_ms,
        cost_usd=sent.cost_usd,
        cost_source=sent.cost_source,
        call_id=request.call_id,
        attempts=outcome.attempts,
        adjustments=prepared.adjustments,
        route=route,
        parsed=sent.parsed,
        queued_ms=sent.lease.queued_ms,
        request_id=sent.reply.request_id,
        model_version=sent.lease.version or sent.reply.served_model,
        cpu_s=sent.lease.cpu_s,
        load=sent.lease.load,
        tool_calls=sent.reply.tool_calls,
    )
