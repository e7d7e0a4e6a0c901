"""How far one call has come: what it has used up, what it has met, and how it ends if nobody answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from llmbench.catalog import Policy
from llmbench.errors import BudgetExceeded, ConfigError, FallbackExhausted, ParamError, ProviderError
from llmbench.messages import Attempt
from llmbench.providers.send import Sent
from llmbench.routing.breaker import Circuits

Send = Callable[[str], Awaitable[Sent]]
Learn = Callable[[str, ProviderError], bool]


@dataclass(frozen=True, slots=True)
class Options:
    """What a call may bring along.

    Attributes:
        clock: seconds, monotonic.
        sleep: waits for seconds.
        circuits: the models that are left alone for now, shared by the calls of a router. A model left out
            is recorded with the kind circuit_open, and tried after all when nothing else is left.
        learn: takes the lesson of a 400 that names a parameter; True sends the request again at once, one
            time for each model and parameter.
        context_tokens: windows by model key, None or absent when unknown. After the kind context_length the
            call goes on to windows that may be larger only.
        is_strict: a ParamError or ConfigError of one candidate ends the call.
    """

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    circuits: Circuits | None = None
    learn: Learn | None = None
    context_tokens: Mapping[str, int | None] = field(default_factory=dict)
    is_strict: bool = False


@dataclass(slots=True)
class Progress:
    """What one call has used up so far. `send` is one attempt at one model."""

    policy: Policy
    ends_at: float
    send: Send
    options: Options
    attempts: list[Attempt]
    errors: list[ProviderError] = field(default_factory=list)
    unsent: list[ProviderError] = field(default_factory=list)
    refusals: list[ParamError | ConfigError | BudgetExceeded] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    lessons: set[tuple[str, str]] = field(default_factory=set)
    delivered: list[str] = field(default_factory=list)
    too_small: int = -1
    waited_s: float = 0.0
    limit: asyncio.Timeout | None = None

    @property
    def circuits(self) -> Circuits | None:
        """The breaker's state, unless this call's policy has none."""
        return None if self.policy.breaker is None else self.options.circuits

    @property
    def output(self) -> str | None:
        """The text that the caller has, or None."""
        return "".join(self.delivered) or None

    def remaining_s(self) -> float:
        """Seconds until the deadline."""
        return self.ends_at - self.options.clock()

    def is_spent(self) -> bool:
        """Whether no further request may be sent."""
        requests = len(self.attempts) - len(self.unsent)
        return requests >= self.policy.max_total_attempts or bool(self.delivered) or self.remaining_s() <= 0

    def deliver(self, model: str, piece: str) -> None:
        """Note that a piece of the answer goes to the caller: from now on there is no other attempt.

        So this one may take all the time that is left.
        """
        if not self.delivered:
            if self.limit is not None:
                self.limit.reschedule(asyncio.get_running_loop().time() + self.remaining_s())
            if self.circuits is not None:
                self.circuits.learn(model, None)
        self.delivered.append(piece)

    def is_too_small(self, model: str) -> bool:
        """Whether the window is known to be no larger than one that was too small."""
        window = self.options.context_tokens.get(model)
        return window is not None and window <= self.too_small

    def goes_on(self) -> bool:
        """Whether the last failure lets the call move on. A candidate that got no request always does."""
        if self.is_spent():
            return False
        error = self.errors[-1]
        was_unsent = bool(self.unsent) and error is self.unsent[-1]
        return was_unsent or self.policy.falls_back_on(error.kind)

    def takes_lesson(self, model: str, error: ProviderError) -> bool:
        """Whether the model is to be asked again at once, without the parameter that it refused."""
        learn = self.options.learn
        if learn is None or error.kind != "unsupported_param" or error.param is None:
            return False
        lesson = (model, error.param)
        if lesson in self.lessons or not learn(model, error):
            return False
        self.lessons.add(lesson)
        return True

    def record(self, attempt: Attempt, sent: Sent | None, error: ProviderError | None) -> None:
        """The attempt joins the record, its error the errors, and its lesson the breaker."""
        if sent is not None:
            attempt = _filled(attempt, sent)
        if error is not None:
            self.errors.append(error)
            attempt = _failed(attempt, error)
            if error.kind == "context_length":
                window = self.options.context_tokens.get(attempt.model)
                self.too_small = max(self.too_small, -1 if window is None else window)
        self.attempts.append(attempt)
        is_late = error is not None and error.kind == "timeout" and bool(self.delivered)
        if self.circuits is not None and not is_late:  # a slow reader is no fault of the host's
            self.circuits.learn(attempt.model, None if error is None else error.kind)

    def record_unsent(self, attempt: Attempt, error: ProviderError) -> ProviderError:
        """The same for a candidate that got no request: nothing was learned of it."""
        self.errors.append(error)
        self.unsent.append(error)
        self.attempts.append(_failed(attempt, error))
        return error

    def ending(self) -> FallbackExhausted | ParamError | ConfigError | BudgetExceeded:
        """The error of a call that nobody answered; its own fault where no candidate could express it."""
        if self.refusals and len(self.unsent) == len(self.errors):
            return self.refusals[0]
        chain = [
            f"{attempt.model}: {attempt.error_kind} ({error})"
            for attempt, error in zip(self.attempts, self.errors, strict=True)
        ]
        text = f"no candidate answered: {'; '.join(chain + self.left_out)}"
        group = FallbackExhausted(text, self.errors)
        group.attempts, group.output = tuple(self.attempts), self.output
        return group


def _filled(attempt: Attempt, sent: Sent) -> Attempt:
    """The attempt with what the answer tells of it."""
    return replace(
        attempt,
        latency_ms=sent.latency_ms,
        queued_ms=attempt.queued_ms + sent.lease.queued_ms,
        usage=sent.reply.usage,
        cost_usd=sent.cost_usd,
        cost_source=sent.cost_source,
        cpu_s=sent.lease.cpu_s,
        load=sent.lease.load,
        rate_left=sent.lease.rate_left,
        output=sent.reply.text,
        finish_reason=sent.reply.finish_reason,
        ttft_ms=sent.ttft_ms,
    )


def _failed(attempt: Attempt, error: ProviderError) -> Attempt:
    """The attempt with what went wrong."""
    output = error.output if attempt.output is None else attempt.output
    return replace(
        attempt, error_kind=error.kind, status_code=error.status_code, error=str(error), output=output
    )
