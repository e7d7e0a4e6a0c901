"""Candidates under a policy and one deadline: who is tried, how often, and when the call gives up.

    run_candidates -> run_turns -> _run_retries -> _run_once

Each step has one concern: the order of candidates, the same candidate again, the clock of one attempt.
A candidate may take half of the time that is left while another one waits, and all of it after that: so the
first choice keeps half of the deadline however long the list is, and one that hangs costs no more than that.
A wait for the first answer of a model (see `breaker`) is not taken off its half, as long as a quarter of what
is left remains for the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from llmbench.catalog import Policy
from llmbench.errors import BudgetExceeded, ConfigError, ErrorKind, LLMBenchError, ParamError, ProviderError
from llmbench.messages import Attempt
from llmbench.providers.pacing import was_waiting
from llmbench.providers.send import Sent
from llmbench.routing.breaker import Circuits, Place
from llmbench.routing.progress import Options, Progress, Send

#: The longest wait for the first answer of a model, as a part of the call's time: those who find out give up
#: after a half, and what they met must be known by then.
_SLOW_START: Final = 0.55

#: The kind that stands in the record of a candidate that got no request.
_REFUSALS: Final[Mapping[type[LLMBenchError], ErrorKind]] = {
    ParamError: "unsupported_param",
    ConfigError: "model_not_found",
    BudgetExceeded: "quota",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The candidate that answered, its answer, and every attempt on the way."""

    model: str
    sent: Sent
    attempts: tuple[Attempt, ...]


@dataclass(slots=True)
class _Turn:
    """A candidate's turn: how many others still wait, and whether nothing else is left to try."""

    model: str
    candidates_left: int
    is_last_resort: bool
    slow_start_s: float = 0.0
    ends_at: float | None = None

    def left_s(self, call: Progress) -> float:
        """Seconds left for requests and waits; the turn begins with its first request."""
        left_s = call.remaining_s()
        if self.ends_at is None:
            half_s = min((left_s + self.slow_start_s) / 2, left_s * 0.75)
            self.ends_at = call.ends_at - left_s + (left_s if self.candidates_left == 0 else half_s)
        return max(left_s - (call.ends_at - self.ends_at), 0.0)


async def run_candidates(
    candidates: Sequence[str],
    policy: Policy,
    deadline_s: float,
    send: Send,
    *,
    attempts: list[Attempt] | None = None,
    options: Options | None = None,
) -> Outcome:
    """Try candidates in order until one answers.

    Args:
        candidates: model keys; `policy.retry_limit` of them at most, 0 for all.
        policy: what is retried, what moves on, and the caps.
        deadline_s: wall-clock limit over attempts and waits, in seconds.
        send: one attempt at one model. A ParamError, ConfigError or BudgetExceeded from it means that this
            candidate cannot express the call or costs too much; nothing was sent, and the next one is tried.
        attempts: an empty list that grows with every attempt; it tells what was tried when the call is
            cancelled.
        options: what else the call brings along.

    Raises:
        FallbackExhausted: every attempt failed, a failure forbids moving on, or a cap was reached.
        ParamError, ConfigError: no candidate can express the call, or strict; the first one's reason.
    """
    options, record = options or Options(), [] if attempts is None else attempts
    progress = Progress(policy, options.clock() + deadline_s, send, options, record)
    return await run_turns(progress, candidates)


async def run_turns(call: Progress, candidates: Sequence[str]) -> Outcome:
    """Every candidate's turn; those with an open circuit come last, and only if all others failed.

    Raises:
        FallbackExhausted, ParamError, ConfigError: see `run_candidates`.
    """
    limit = call.policy.retry_limit or len(candidates)
    waiting, is_second_round = deque(candidates[:limit]), False
    while waiting or call.skipped:
        if not waiting:
            waiting, is_second_round = deque(call.skipped), True
            call.skipped.clear()
        model = waiting.popleft()
        if call.is_too_small(model):
            call.left_out.append(f"{model}: left out, its context window is no larger")
            continue
        left = sum(not call.is_too_small(other) for other in waiting)
        sent = await _run_retries(call, _Turn(model, left, is_second_round or left == 0))
        if sent is not None:
            return Outcome(model, sent, tuple(call.attempts))
        if not call.goes_on():
            break
    raise call.ending()


async def _run_retries(call: Progress, turn: _Turn) -> Sent | None:
    """One candidate, again after a lesson or a transient status while the policy and the clock allow it."""
    wait_s = 0.0
    retries: Counter[int | None] = Counter()
    while True:
        result = await _run_once(call, turn, wait_s)
        if isinstance(result, Sent):
            return result
        if call.is_spent():
            return None
        if call.takes_lesson(turn.model, result):
            wait_s = 0.0
            continue
        status, asked_s = result.status_code, result.retry_after_s
        if not _may_retry(call, turn, result, retries[status]):
            return None
        wait_s = call.policy.backoff_s(status) if asked_s is None else asked_s
        if wait_s >= turn.left_s(call) or call.waited_s + wait_s > call.policy.max_total_wait_sec:
            return None
        retries[status] += 1
        call.waited_s += wait_s
        await call.options.sleep(wait_s)


def _may_retry(call: Progress, turn: _Turn, error: ProviderError, retried: int) -> bool:
    """Whether the policy tries the same candidate again; not once its circuit is open, if others are left."""
    if retried >= call.policy.retries(error.kind, error.status_code):
        return False
    circuits = call.circuits
    return turn.is_last_resort or circuits is None or not circuits.is_open(turn.model)


async def _run_once(call: Progress, turn: _Turn, waited_s: float) -> Sent | ProviderError:
    """One attempt with the breaker's leave; a model that is left alone is skipped, which is recorded too."""
    circuits = call.circuits
    if circuits is None:
        return await _request(call, turn, waited_s, 0.0)
    asked = call.options.clock()
    try:
        place = await _enter(call, circuits, turn)
    except ProviderError as closed:
        if all(attempt.model != turn.model for attempt in call.attempts):
            call.skipped.append(turn.model)
        queued_ms = _whole_ms(call.options.clock() - asked)
        return call.record_unsent(Attempt(turn.model, 0.0, waited_s * 1000, queued_ms), closed)
    try:
        return await _request(call, turn, waited_s, _whole_ms(call.options.clock() - asked))
    finally:
        circuits.leave(place)


def _whole_ms(seconds: float) -> float:
    """Milliseconds of a queue; nobody waited for less than one."""
    return float(round(seconds * 1000))


async def _enter(call: Progress, circuits: Circuits, turn: _Turn) -> Place:
    """Wait for a place; a model that answers within three sevenths of the deadline loses no call by it.

    (Three quarters of the four sevenths that are left are as much again.)
    """
    if turn.is_last_resort:
        return circuits.force(turn.model)
    asked, is_first = call.options.clock(), turn.ends_at is None
    wait_s = max(call.remaining_s(), 0.0) * _SLOW_START if is_first else turn.left_s(call) / 2
    place = await circuits.enter(turn.model, wait_s, call.policy.falls_back_on)
    turn.slow_start_s = call.options.clock() - asked
    return place


async def _request(call: Progress, turn: _Turn, waited_s: float, queued_ms: float) -> Sent | ProviderError:
    """One request within its turn's share of the deadline; its outcome joins the record."""
    started = call.options.clock()
    sent: Sent | None = None
    error: ProviderError | None = None
    try:
        async with asyncio.timeout(turn.left_s(call)) as call.limit:
            sent = await call.send(turn.model)
        problem = _problem(sent, call.policy)
        if problem is None:
            return sent
        error = problem
    except TimeoutError as late:
        seconds = call.options.clock() - started
        if was_waiting(late):  # nothing was sent: the wait was for a place under our own limits
            attempt = Attempt(turn.model, 0.0, waited_s * 1000, queued_ms + seconds * 1000)
            message = f"no place under the provider's limits within {seconds:.1f} s"
            return call.record_unsent(attempt, ProviderError(message, kind="circuit_open"))
        error = ProviderError(f"no answer within {seconds:.1f} s", kind="timeout", output=call.output)
    except ProviderError as failure:
        error = failure
    except (ParamError, ConfigError, BudgetExceeded) as refusal:
        if call.options.is_strict and not isinstance(refusal, BudgetExceeded):
            raise
        call.refusals.append(refusal)
        attempt = Attempt(turn.model, 0.0, waited_s * 1000, queued_ms)
        return call.record_unsent(attempt, ProviderError(str(refusal), kind=_REFUSALS[type(refusal)]))
    except asyncio.CancelledError:
        error = ProviderError("cancelled", kind="cancelled", output=call.output)
        raise
    finally:
        if sent is not None or error is not None:
            elapsed_ms = (call.options.clock() - started) * 1000
            attempt = Attempt(turn.model, elapsed_ms, waited_s * 1000, queued_ms)
            call.record(attempt, sent, error)
    return error


def _problem(sent: Sent, policy: Policy) -> ProviderError | None:
    """What is wrong with an answer; a refusal is an answer unless the policy says to fall back."""
    problem = sent.problem
    if problem is not None and problem.kind == "refusal" and policy.on_refusal == "return":
        return None
    return problem
