"""One call on its way: what each stage gave it, up to its answer and its telemetry line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from llmbench.errors import ConfigError, FallbackExhausted, LLMBenchError, ParamError, ProviderError
from llmbench.messages import Adjustment, Attempt, Response, Route
from llmbench.pricing import worst_case_usd
from llmbench.providers.base import Transport
from llmbench.providers.send import Sent, send_once
from llmbench.providers.stream import stream_once
from llmbench.routing.arguments import Asked
from llmbench.routing.budget import Purse, Reservation, within_budget
from llmbench.routing.fallback import Outcome
from llmbench.routing.prepare import Prepared, prepare
from llmbench.routing.progress import Options
from llmbench.routing.rollout import Arm
from llmbench.routing.setup import Setup
from llmbench.structuring import clean_output
from llmbench.telemetry import Redactor, TelemetryLog, failure_line, success_line


@dataclass(slots=True)
class Call:
    """The state of one call. `attempts` grows while candidates are tried."""

    setup: Setup
    asked: Asked
    log: TelemetryLog
    redact: Redactor
    purse: Purse
    attempts: list[Attempt] = field(default_factory=list)
    prepared: dict[str, Prepared] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    is_logged: bool = False
    route: Route = field(init=False)
    arm: Arm | None = None

    def __post_init__(self) -> None:
        request, wanted = self.asked.request, self.asked.wanted
        self.route = Route(request.task, wanted.tier or "", (), ())  # of a call that finds no way

    def resolve(self) -> Route:
        """Find the route. No network.

        Raises:
            RouteError: no candidate is left.
            BudgetExceeded: every candidate might cost more than what is left.
        """
        self.route = self._find()
        if self.purse.is_limited:
            self.route = within_budget(self.route, self.purse, lambda key: self.worst_usd(self._planned(key)))
            if self.arm is not None and not self.arm.is_kept(self.route.candidates):
                self.arm = None
        return self.route

    def _find(self) -> Route:
        """The route, and this call's part in a rollout."""
        route = self.setup.route(self.asked.wanted)
        if self.setup.rollouts is not None:
            asked = self.asked
            route, self.arm = self.setup.rollouts.join(asked.request, asked.wanted, route, self.setup.route)
        return route

    def explain(self) -> Route:
        """The route with the body of every candidate and the worst case. No network.

        Raises:
            RouteError: no candidate is left.
            ParamError: an option is wrong, or strict is set and one would be changed.
        """
        route = self.resolve()
        prepared, refusals = self._prepared_all(route)
        costs = [self.worst_usd(item) for item in prepared.values()]
        return replace(
            route,
            candidates=tuple(prepared),
            excluded=(*route.excluded, *((key, str(error)) for key, error in refusals.items())),
            bodies={key: item.body for key, item in prepared.items()},
            adjustments={key: item.adjustments for key, item in prepared.items() if item.adjustments},
            worst_case_s=self.asked.request.deadline_s,
            worst_case_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
            worst_case_tokens=max(self._tokens(item) for item in prepared.values()),
            output_limits={key: item.max_tokens for key, item in prepared.items()},
        )

    def _prepared_all(self, route: Route) -> tuple[dict[str, Prepared], dict[str, LLMBenchError]]:
        """Every candidate's request, or why it cannot express the call; the first error if none can."""
        prepared: dict[str, Prepared] = {}
        refusals: dict[str, LLMBenchError] = {}
        for key in route.candidates:
            try:
                prepared[key] = self.prepare(key)
            except (ParamError, ConfigError) as error:
                if self.asked.request.strict and not prepared:
                    raise
                refusals[key] = error
        if not prepared:
            raise next(iter(refusals.values()))
        return prepared, refusals

    def prepare(self, key: str) -> Prepared:
        """One candidate's request.

        Raises:
            ParamError: an option is wrong, or strict is set and one would be changed.
            ConfigError: the model needs a wire that this version does not speak.
        """
        self.prepared[key] = found = self._planned(key)
        return found

    def _planned(self, key: str) -> Prepared:
        asked = self.asked
        return prepare(self.setup, asked.request, asked.wanted, self.route.tier, key, asked.renamed)

    def worst_usd(self, item: Prepared) -> float | None:
        """The most that one request to a candidate can cost, in USD; None when nobody knows."""
        endpoint, asked = self.setup.config.endpoints[item.spec.provider], self.asked
        return worst_case_usd(
            item.spec,
            endpoint,
            asked.wanted.input_tokens,
            item.max_tokens,
            deadline_s=asked.request.deadline_s,
        )

    async def send(self, key: str, transport: Transport) -> Sent:
        """One attempt at one candidate.

        Raises:
            ProviderError: no answer came, or what came is no answer.
            BudgetExceeded: the request might cost more than what is left; nothing was sent.
        """
        item = self.prepare(key)
        try:
            with self._held(key, item) as held:
                sent = await send_once(*self._exchange(item, transport), tokens=self._tokens(item))
                held.settle(sent.cost_usd)
                return sent
        except ProviderError as error:
            raise self._redacted(error) from None

    async def open_stream(self, key: str, transport: Transport) -> AsyncGenerator[str | Sent, None]:
        """The same in pieces of text, then the Sent.

        Raises:
            ProviderError, BudgetExceeded: as `send`.
        """
        item = self.prepare(key)
        opened = stream_once(*self._exchange(item, transport), tokens=self._tokens(item))
        try:
            with self._held(key, item) as held:
                async with aclosing(opened) as parts:
                    async for part in parts:
                        if isinstance(part, Sent):
                            held.settle(part.cost_usd)
                        yield part
        except ProviderError as error:
            raise self._redacted(error) from None

    def _exchange(self, item: Prepared, transport: Transport) -> tuple[Any, ...]:
        provider = item.spec.provider
        endpoint, host = self.setup.config.endpoints[provider], self.setup.hosts[provider]
        return item.spec, endpoint, host, transport, item.body, item.output_schema

    def _held(self, key: str, item: Prepared) -> Reservation:
        return self.purse.reserve(key, self.worst_usd(item) if self.purse.is_limited else None)

    def _tokens(self, item: Prepared) -> int:
        return self.asked.wanted.input_tokens + (item.max_tokens or 0)

    def _redacted(self, error: ProviderError) -> ProviderError:
        """The error without secrets in its text; its causes may quote a header, so they are cut off."""
        error.args = (self.redact(str(error)),)
        for name in ("request_id", "output", "param"):
            if value := getattr(error, name):
                setattr(error, name, self.redact(value))
        error.__cause__ = error.__context__ = None
        return error

    def learn(self, key: str, error: ProviderError) -> bool:
        """Keep what a host said of a parameter; True when the request would now be another."""
        item = self.prepared[key]
        return self.setup.lessons.learn(key, error, item.options, item.lessons)

    def changes(self) -> tuple[Adjustment, ...]:
        """Every adjustment of every candidate that was tried."""
        return tuple(change for item in self.prepared.values() for change in item.adjustments)

    def options(self) -> Options:
        """What the turns of the candidates need besides the policy."""
        models = self.setup.config.models
        return Options(
            circuits=self.setup.circuits,
            learn=self.learn,
            context_tokens={key: models[key].capabilities.context_tokens for key in self.route.candidates},
            is_strict=self.asked.request.strict,
        )

    def answered(self, outcome: Outcome) -> Response:
        """The answer with all that happened on the way to it, written to telemetry."""
        response = self.response(outcome)
        line = success_line(
            self.asked.request,
            response,
            config_hash=self.setup.config.hash,
            redact=self.redact,
            content=self.setup.logs_content,
        )
        self._write({**line, **self.extra_facts(response)})
        return response

    def extra_facts(self, response: Response | None) -> Mapping[str, Any]:
        """What a kind of call adds to its telemetry line; None for a call that failed."""
        del response
        return {}

    def response(self, outcome: Outcome) -> Response:
        """The answer with all that happened on the way to it."""
        sent, prepared = outcome.sent, self.prepared[outcome.model]
        spec = prepared.spec
        return Response(
            text=self._text(sent, prepared),
            model=outcome.model,
            model_id=spec.model_id,
            provider=spec.provider,
            tier=self.route.tier,
            finish_reason=sent.reply.finish_reason,
            usage=sent.reply.usage,
            latency_ms=self._elapsed_ms(),
            cost_usd=sent.cost_usd,
            cost_source=sent.cost_source,
            call_id=self.asked.request.call_id,
            attempts=outcome.attempts,
            adjustments=prepared.adjustments,
            route=self.route,
            parsed=sent.parsed,
            ttft_ms=sent.ttft_ms,
            queued_ms=sum(attempt.queued_ms for attempt in outcome.attempts),
            request_id=self._shown(sent.reply.request_id),
            model_version=sent.lease.version or self._shown(sent.reply.served_model),
            cpu_s=sent.lease.cpu_s,
            load=sent.lease.load,
            tool_calls=sent.reply.tool_calls,
        )

    def _shown(self, text: str | None) -> str | None:
        """What a host calls a request or a model, without the keys that it might repeat."""
        return None if text is None else self.redact(text)

    def _text(self, sent: Sent, prepared: Prepared) -> str:
        """The reply's text, cleaned as the task asks; a reply with a schema stays as it was checked."""
        steps = self.asked.clean_output if prepared.output_schema is None else ()
        return clean_output(sent.reply.text, steps)

    def failed(self, error: BaseException) -> None:
        """Write the call's failure to telemetry, and what is known of it to the error."""
        if self.is_logged:
            return  # a stream that is left after its last piece
        changes = self.changes()
        if isinstance(error, FallbackExhausted):
            error.adjustments, error.call_id = changes, self.asked.request.call_id
        cause = error if isinstance(error, LLMBenchError) else _as_cancelled(error)
        line = failure_line(
            self.asked.request,
            self.route,
            cause,
            tuple(self.attempts),
            changes,
            latency_ms=self._elapsed_ms(),
            config_hash=self.setup.config.hash,
            redact=self.redact,
            content=self.setup.logs_content,
        )
        self._write({**line, **self.extra_facts(None)})

    def _write(self, line: Mapping[str, Any]) -> None:
        self.is_logged = True
        self.log.write(line if self.arm is None else {**line, "rollout": self.arm.as_dict()})

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self.started) * 1000


def _as_cancelled(error: BaseException) -> ProviderError:
    """The error of a call that something outside of it ended."""
    what = "cancelled" if isinstance(error, (asyncio.CancelledError, GeneratorExit)) else type(error).__name__
    return ProviderError(what, kind="cancelled")
