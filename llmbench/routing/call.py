"""One call on its way: what each stage gave it, up to its answer and its telemetry line."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from llmbench.errors import FallbackExhausted, LLMBenchError, ProviderError
from llmbench.messages import Adjustment, Attempt, Response, Route
from llmbench.pricing import worst_case_usd
from llmbench.providers.base import Transport
from llmbench.providers.send import Sent, send_once
from llmbench.routing.arguments import Asked
from llmbench.routing.fallback import Outcome
from llmbench.routing.prepare import Prepared, prepare
from llmbench.routing.resolve import resolve
from llmbench.routing.setup import Setup
from llmbench.telemetry import Redactor, TelemetryLog, failure_line, success_line


@dataclass(slots=True)
class Call:
    """The state of one call. `attempts` grows while candidates are tried."""

    setup: Setup
    asked: Asked
    log: TelemetryLog
    redact: Redactor
    attempts: list[Attempt] = field(default_factory=list)
    prepared: dict[str, Prepared] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    route: Route = field(init=False)

    def __post_init__(self) -> None:
        request, wanted = self.asked.request, self.asked.wanted
        self.route = Route(request.task, wanted.tier or "", (), ())  # of a call that finds no way

    def resolve(self) -> Route:
        """Find the route. No network.

        Raises:
            RouteError: no candidate is left.
        """
        setup, wanted = self.setup, self.asked.wanted
        self.route = resolve(
            setup.config, setup.environment, wanted, lambda spec: setup.unreachable(spec, wanted.wire)
        )
        return self.route

    def explain(self) -> Route:
        """The route with the body of every candidate and the worst case. No network.

        Raises:
            RouteError: no candidate is left.
            ParamError: an option is wrong, or strict is set and one would be changed.
        """
        route = self.resolve()
        prepared = {key: self.prepare(key) for key in route.candidates}
        costs = [self.worst_usd(item) for item in prepared.values()]
        return replace(
            route,
            bodies={key: item.body for key, item in prepared.items()},
            adjustments={key: item.adjustments for key, item in prepared.items() if item.adjustments},
            worst_case_s=self.asked.request.deadline_s,
            worst_case_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
        )

    def prepare(self, key: str) -> Prepared:
        """One candidate's request.

        Raises:
            ParamError: an option is wrong, or strict is set and one would be changed.
            ConfigError: the model needs a wire that this version does not speak.
        """
        asked = self.asked
        found = prepare(self.setup, asked.request, asked.wanted, self.route.tier, key, asked.renamed)
        self.prepared[key] = found
        return found

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
        """
        item = self.prepare(key)
        provider = item.spec.provider
        try:
            return await send_once(
                item.spec,
                self.setup.config.endpoints[provider],
                self.setup.hosts[provider],
                transport,
                item.body,
                item.output_schema,
            )
        except ProviderError as error:
            raise self.redacted(error) from None

    def redacted(self, error: ProviderError) -> ProviderError:
        """The error without secrets in its text; its causes may quote a header, so they are cut off."""
        error.args = (self.redact(str(error)),)
        error.__cause__ = error.__context__ = None
        return error

    def learn(self, key: str, error: ProviderError) -> bool:
        """Keep what a host said of a parameter; True when the request would now be another."""
        return self.setup.lessons.learn(key, error, self.prepared[key].options)

    def changes(self) -> tuple[Adjustment, ...]:
        """Every adjustment of every candidate that was tried."""
        return tuple(change for item in self.prepared.values() for change in item.adjustments)

    def answered(self, outcome: Outcome, ttft_ms: float | None = None) -> Response:
        """The answer with all that happened on the way to it, written to telemetry."""
        sent, prepared = outcome.sent, self.prepared[outcome.model]
        spec = prepared.spec
        response = Response(
            text=sent.reply.text,
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
            ttft_ms=ttft_ms,
            queued_ms=sent.lease.queued_ms,
            request_id=sent.reply.request_id,
            model_version=sent.lease.version or sent.reply.served_model,
            cpu_s=sent.lease.cpu_s,
            load=sent.lease.load,
            tool_calls=sent.reply.tool_calls,
        )
        self.log.write(success_line(self.asked.request, response, config_hash=self.setup.config.hash))
        return response

    def failed(self, error: BaseException) -> None:
        """Write the call's failure to telemetry, and what is known of it to the error."""
        changes = self.changes()
        if isinstance(error, FallbackExhausted):
            error.adjustments, error.call_id = changes, self.asked.request.call_id
        cause = error if isinstance(error, LLMBenchError) else ProviderError("cancelled", kind="cancelled")
        line = failure_line(
            self.asked.request,
            self.route,
            cause,
            tuple(self.attempts),
            changes,
            latency_ms=self._elapsed_ms(),
            config_hash=self.setup.config.hash,
            redact=self.redact,
        )
        self.log.write(line)

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self.started) * 1000
