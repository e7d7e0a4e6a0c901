"""Candidates under a policy and one deadline: who is tried, how often, and when the call gives up.

    run_candidates -> _run_retries -> _run_once

Each step has one concern: the order of candidates, the same candidate again, the clock of one attempt.
An attempt may take half of the time that is left while another candidate waits, and all of it after that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from llmbench.catalog import Policy
from llmbench.errors import FallbackExhausted, ProviderError
from llmbench.messages import Attempt
from llmbench.providers.send import Sent
from llmbench.routing.breaker import Circuits

Send = Callable[[str], Awaitable[Sent]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The candidate that answered, its answer, and every attempt on the way."""

    model: str
    sent: Sent
    attempts: tuple[Attempt, ...]


@dataclass(slots=True)
class _Call:
    """What one call has used up so far."""

    policy: Policy
    ends_at: float
    send: Send
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    attempts: list[Attempt]
    circuits: Circuits | None
    errors: list[ProviderError] = field(default_factory=list)
    waited_s: float = 0.0

    def remaining_s(self) -> float:
        return self.ends_at - self.clock()


async def run_candidates(
    candidates: Sequence[str],
    policy: Policy,
    deadline_s: float,
    send: Send,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    attempts: list[Attempt] | None = None,
    circuits: Circuits | None = None,
) -> Outcome:
    """Try candidates in order until one answers.

    Args:
        candidates: model keys; `policy.retry_limit` of them at most, 0 for all.
        policy: what is retried, what moves on, and the caps.
        deadline_s: wall-clock limit over attempts and waits, in seconds.
        send: one attempt at one model.
        clock: seconds, monotonic.
        sleep: waits for seconds.
        attempts: a list that grows with every attempt; it tells what was tried when the call is cancelled.
        circuits: the models that are left alone for now, shared by the calls of a router.

    Raises:
        FallbackExhausted: every attempt failed, a failure forbids moving on, or a cap was reached.
    """
    record = [] if attempts is None else attempts
    call = _Call(policy, clock() + deadline_s, send, clock, sleep, record, circuits)
    tried = candidates[: policy.retry_limit] if policy.retry_limit else candidates
    for index, model in enumerate(tried):
        sent = await _run_retries(call, model, candidates_left=len(tried) - index - 1)
        if sent is not None:
            return Outcome(model, sent, tuple(call.attempts))
        if not policy.falls_back_on(call.errors[-1].kind) or _is_spent(call):
            break
    raise _exhausted(call)


async def _run_retries(call: _Call, model: str, *, candidates_left: int) -> Sent | None:
    """One candidate, again after a transient status while the policy and the clock allow it."""
    wait_s = 0.0
    for retry in range(call.policy.max_total_attempts):
        sent, error = await _run_once(call, model, wait_s, candidates_left)
        if sent is not None or error is None:
            return sent
        if retry >= call.policy.retries(error.status_code) or _is_spent(call):
            return None
        wait_s = (
            call.policy.backoff_s(error.status_code) if error.retry_after_s is None else error.retry_after_s
        )
        if not _wait_fits(call, wait_s, candidates_left):
            return None
        call.waited_s += wait_s
        await call.sleep(wait_s)
    return None


async def _run_once(
    call: _Call, model: str, waited_s: float, candidates_left: int
) -> tuple[Sent | None, ProviderError | None]:
    """One attempt within its share of the deadline; its outcome joins the record."""
    share_s = _share_s(call.remaining_s(), candidates_left)
    started = call.clock()
    sent: Sent | None = None
    try:
        if call.circuits is not None:
            call.circuits.require_closed(model)
        async with asyncio.timeout(share_s):
            sent = await call.send(model)
        error = _problem(sent, call.policy)
    except TimeoutError:
        error = ProviderError(f"no answer within {share_s:.1f} s", kind="timeout")
    except ProviderError as failure:
        error = failure
    except asyncio.CancelledError:
        error = ProviderError("cancelled", kind="cancelled")
        _record(call, model, sent, error, started, waited_s)
        raise
    _record(call, model, sent, error, started, waited_s)
    return (sent, None) if error is None else (None, error)


def _problem(sent: Sent, policy: Policy) -> ProviderError | None:
    """What is wrong with an answer; a refusal is an answer unless the policy says to fall back."""
    problem = sent.problem
    if problem is not None and problem.kind == "refusal" and policy.on_refusal == "return":
        return None
    return problem


def _record(
    call: _Call, model: str, sent: Sent | None, error: ProviderError | None, started: float, waited_s: float
) -> None:
    elapsed_ms = (call.clock() - started) * 1000
    call.attempts.append(_attempt(model, sent, error, elapsed_ms, waited_s * 1000))
    if error is not None:
        call.errors.append(error)
    if call.circuits is not None:
        call.circuits.note(model, None if error is None else error.kind)


def _share_s(remaining_s: float, candidates_left: int) -> float:
    """The time one attempt may take: all that is left for the last candidate, half of it before."""
    return max(remaining_s if candidates_left == 0 else remaining_s / 2, 0.0)


def _wait_fits(call: _Call, wait_s: float, candidates_left: int) -> bool:
    if call.waited_s + wait_s > call.policy.max_total_wait_sec:
        return False
    return wait_s < _share_s(call.remaining_s(), candidates_left)


def _is_spent(call: _Call) -> bool:
    return len(call.attempts) >= call.policy.max_total_attempts or call.remaining_s() <= 0


def _attempt(
    model: str, sent: Sent | None, error: ProviderError | None, elapsed_ms: float, waited_ms: float
) -> Attempt:
    if sent is None:
        attempt = Attempt(model, elapsed_ms, waited_ms, output=None if error is None else error.output)
    else:
        attempt = Attempt(
            model,
            sent.latency_ms,
            waited_ms,
            queued_ms=sent.lease.queued_ms,
            usage=sent.reply.usage,
            cost_usd=sent.cost_usd,
            cost_source=sent.cost_source,
            cpu_s=sent.lease.cpu_s,
            load=sent.lease.load,
            output=sent.reply.text,
            finish_reason=sent.reply.finish_reason,
        )
    if error is None:
        return attempt
    return replace(attempt, error_kind=error.kind, status_code=error.status_code, error=str(error))


def _exhausted(call: _Call) -> FallbackExhausted:
    chain = "; ".join(
        f"{attempt.model}: {attempt.error_kind} ({error})"
        for attempt, error in zip(call.attempts, call.errors, strict=True)
    )
    error = FallbackExhausted(f"no candidate answered: {chain}", call.errors)
    error.attempts = tuple(call.attempts)
    return error
