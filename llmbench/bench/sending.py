"""Send the cells of a sweep: one call between its intent line and its result, lane by lane.

A cell is sent with its candidate pinned and fallback off. What the model or its provider did wrong is a
result (score 0, with its kind). What went wrong on our side is pending: a refusal for too many requests
slows the lane down and is tried again; a key, an account or a model that is not there closes the model for this run.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from llmbench.bench.account import Account, is_paid, worst_of_call
from llmbench.bench.asking import Outcome, Question
from llmbench.bench.cells import Cell
from llmbench.bench.facts import INTERRUPTED, own_failure_facts
from llmbench.bench.ledger import Ledger
from llmbench.bench.plan import Plan
from llmbench.bench.progress import Progress, ProgressFile
from llmbench.bench.throttle import FIRST_PAUSE_S, Place, Throttle, is_refusal
from llmbench.catalog import Endpoint, Limits
from llmbench.errors import LLMBenchError, SweepError
from llmbench.providers.embedded import ensure_server
from llmbench.routing.client import LLMClient

#: How often a cell is sent that the provider refuses, before it stays pending.
MOST_TRIES: Final = 8
#: Failures of our account in a row after which a model is left alone for the rest of the run.
CLOSES_AFTER: Final = 3
_CLOSING: Final = frozenset({"auth", "quota", "model_not_found"})


class Sendable(Protocol):
    """What can be sent and recorded: a cell, or a question to a judge."""

    @property
    def name(self) -> str:
        """The call in words, unique in the run."""
        ...

    @property
    def model(self) -> str:
        """The candidate's name."""
        ...

    @property
    def lane(self) -> str:
        """The place it queues at."""
        ...

    @property
    def fingerprint(self) -> str:
        """The identity of the question."""
        ...

    def call(self) -> dict[str, Any]:
        """The arguments of the client's `acall`."""
        ...


@dataclass(slots=True)
class Work:
    """One sweep under way.

    Attributes:
        ask: makes one call, here or on another machine.
        ends_at: the monotonic time after which nothing is sent, or None.
        throttles: provider -> its door.
        places: bounds the calls at once of all lanes of one local provider.
        warm: the (task, model) pairs whose server has been called before.
        closed: model -> why it is left alone from now on.
        unsent: fingerprint -> why a cell was not sent.
    """

    plan: Plan
    run_id: str
    client: LLMClient
    ledger: Ledger
    progress: Progress
    file: ProgressFile
    account: Account
    ask: Callable[[LLMClient, Question], Awaitable[Outcome]]
    ends_at: float | None = None
    throttles: dict[str, Throttle] = field(default_factory=dict)
    places: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    warm: set[tuple[str, str]] = field(default_factory=set)
    closed: dict[str, str] = field(default_factory=dict)
    unsent: dict[str, str] = field(default_factory=dict)
    account_failures: Counter[str] = field(default_factory=Counter)

    def base(self, cell: Sendable) -> str:
        """The registry's model behind a cell."""
        variant = self.plan.variants.get(cell.model)
        return cell.model if variant is None else variant.base

    def endpoint(self, cell: Sendable) -> Endpoint:
        """Where a cell is sent."""
        config = self.client.config
        return config.endpoints[config.models[self.base(cell)].provider]

    def throttle(self, endpoint: Endpoint) -> Throttle:
        """The door to a provider: its own limits, or the plan's where those are smaller."""
        found = self.throttles.get(endpoint.name)
        if found is None:
            limits = _smaller(endpoint.limits, self.plan.limits.get(endpoint.name, Limits()))
            pause_s = min(self.client.config.policy.backoff_s(429), FIRST_PAUSE_S)
            found = self.throttles[endpoint.name] = Throttle(limits, first_pause_s=pause_s)
        return found

    def refusal(self, cell: Sendable) -> str | None:
        """Why a cell is not sent at this time, or None."""
        if self.ends_at is not None and time.monotonic() >= self.ends_at:
            return f"the sweep's {self.plan.deadline_s:g} s were over"
        return self.closed.get(self.base(cell))

    def leave(self, cell: Sendable, reason: str) -> None:
        """Leave a cell pending without sending it."""
        self.unsent[cell.fingerprint] = reason
        self.progress.pending += 1
        self.file.show(self.progress)


def _smaller(one: Limits, other: Limits) -> Limits:
    def least(a: int | None, b: int | None) -> int | None:
        return a if b is None else b if a is None else min(a, b)

    return Limits(
        least(one.requests_per_minute, other.requests_per_minute),
        least(one.tokens_per_minute, other.tokens_per_minute),
        least(one.concurrency, other.concurrency),
    )


async def run_lanes(work: Work, waiting: Mapping[str, Iterator[Sendable]]) -> None:
    """All lanes at once, each with its own concurrency; the first lane that cannot go on ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            for lane in waiting.values():
                group.create_task(_run_lane(work, lane))
    except BaseExceptionGroup as errors:
        raise _first_error(errors) from None


def _first_error(error: BaseException) -> BaseException:
    """The first error of nested groups; one that was raised on purpose before any other."""
    if not isinstance(error, BaseExceptionGroup) or isinstance(error, LLMBenchError):
        return error
    found = [_first_error(inner) for inner in error.exceptions]
    return next((inner for inner in found if isinstance(inner, LLMBenchError)), found[0])


async def _run_lane(work: Work, cells: Iterator[Sendable]) -> None:
    first = next(cells)
    endpoint, queue = work.endpoint(first), _Queue(first, cells)
    if endpoint.managed:
        spec = work.client.config.models[work.base(first)]
        await asyncio.to_thread(ensure_server, spec.model_id)  # a server that cannot start ends the sweep
        await _run_local_lane(work, queue, endpoint)
        return
    throttle = work.throttle(endpoint)
    async with asyncio.TaskGroup() as group:
        for _ in range(throttle.most):
            group.create_task(_serve(work, queue, throttle))


class _Queue:
    """The cells of a lane; a cell that was refused comes back and goes first."""

    def __init__(self, first: Sendable, cells: Iterator[Sendable]) -> None:
        self._again: deque[Sendable] = deque([first])
        self._cells = cells
        self._out = 0
        self._waiting: list[asyncio.Future[None]] = []
        self.tries: Counter[str] = Counter()

    async def take(self) -> Sendable | None:
        """The next cell; None when none is left and none can come back."""
        while True:
            cell = self._again.popleft() if self._again else next(self._cells, None)
            if cell is not None:
                self._out += 1
                return cell
            if not self._out:
                return None
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def end(self, cell: Sendable, *, is_again: bool) -> None:
        """Take a cell as dealt with, or back."""
        self._out -= 1
        if is_again:
            self._again.append(cell)
        if is_again or not self._out:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def may_try(self, cell: Sendable) -> bool:
        """Count a refused try; whether another one may follow."""
        self.tries[cell.fingerprint] += 1
        return self.tries[cell.fingerprint] < MOST_TRIES


async def _serve(work: Work, queue: _Queue, throttle: Throttle) -> None:
    while (cell := await queue.take()) is not None:
        is_again = False
        try:
            if (reason := work.refusal(cell)) is not None:
                work.leave(cell, reason)
                continue
            async with throttle.place(_tokens(work, cell)) as place:
                is_again = await _serve_one(work, queue, throttle, cell, place)
        finally:
            queue.end(cell, is_again=is_again)


async def _serve_one(work: Work, queue: _Queue, throttle: Throttle, cell: Sendable, place: Place) -> bool:
    """Send a cell and tell the throttle what it met; whether the cell is to be sent again."""
    if (reason := work.refusal(cell)) is not None:  # it may have waited long for its place
        work.leave(cell, reason)
        return False
    outcome = await send(work, cell, is_throttled=place.is_throttled)
    if outcome is None:
        return False
    kind = outcome.facts["error_kind"]
    if outcome.facts["status"] == "harness" and is_refusal(kind):
        throttle.refused(place, outcome.retry_after_s)
        if queue.may_try(cell) and work.refusal(cell) is None:
            work.file.show(work.progress)
            return True
    elif outcome.refusals:  # the policy's own retries got through in the end
        throttle.refused(place, 0.0)
    else:
        throttle.answered(place, outcome.left)
    _count(work, cell, outcome)
    return False


async def _run_local_lane(work: Work, queue: _Queue, endpoint: Endpoint) -> None:
    """One call at a time; each task and candidate is called once beforehand, outside the results.

    The first call compiles the grammar and fills the prompt cache with the examples: seconds that a
    server in use pays once, and that would stand in the first sample's latency and cost.
    """
    most = endpoint.limits.concurrency or len(work.plan.candidates)
    place = work.places.setdefault(endpoint.name, asyncio.Semaphore(most))
    while (cell := await queue.take()) is not None:
        async with place:
            if (reason := work.refusal(cell)) is not None:
                work.leave(cell, reason)
            else:
                if isinstance(cell, Cell) and (pair := (cell.task.task, cell.model)) not in work.warm:
                    work.warm.add(pair)
                    await _warm_up(work, cell)
                outcome = await send(work, cell)
                if outcome is not None:
                    _count(work, cell, outcome)
        queue.end(cell, is_again=False)


async def _warm_up(work: Work, cell: Cell) -> None:
    shots = cell.task.dataset.prompt.shots
    example = replace(cell.sample, id="warmup", input=shots[0][0] if shots else "warm up")
    call = replace(cell, sample=example, fingerprint=f"warmup-{uuid.uuid4().hex}")
    if await send(work, call) is not None:
        work.progress.warm_ups += 1


def _count(work: Work, cell: Sendable, outcome: Outcome) -> None:
    """Take a call's end into the progress, and close a model that our account cannot reach."""
    progress, facts = work.progress, outcome.facts
    progress.cost_usd += facts["cost_usd"] or 0.0
    progress.cost_unknown += facts["cost_usd"] is None
    if facts["status"] == "harness":
        progress.pending += 1
        if facts["error_kind"] in _CLOSING:
            base = work.base(cell)
            work.account_failures[base] += 1
            if work.account_failures[base] >= CLOSES_AFTER:
                work.closed[base] = f"{facts['error_kind']}: {facts['error']}"
    else:
        work.account_failures[work.base(cell)] = 0
        progress.done += 1
        progress.failed += facts["status"] != "ok"
    work.file.show(progress)


def _tokens(work: Work, cell: Sendable) -> int:
    """Tokens of a call, input and output limit together; asked only where a minute's tokens are limited."""
    return (
        cell.tokens if isinstance(cell, Cell) else work.client.explain(**cell.call()).worst_case_tokens or 0
    )


async def send(work: Work, cell: Sendable, *, is_throttled: bool = False) -> Outcome | None:
    """One call between its intent line and its result or pending line; None where the budget forbids it."""
    endpoint = work.endpoint(cell)
    request_usd = _request_usd(work, cell)
    hold = await work.account.hold(worst_of_call(request_usd, work.client.config.policy))
    if isinstance(hold, str):
        work.leave(cell, hold)
        return None
    mark = {
        "intent_id": uuid.uuid4().hex,
        "fingerprint": cell.fingerprint,
        "cell": cell.name,
        "run_id": work.run_id,
    }
    facts = work.plan.models[cell.model]
    question = Question(
        arguments={**cell.call(), "run_id": work.run_id, "cell": cell.name},
        version=str(facts["version"]),
        model_id=str(facts["model_id"]),
        is_managed=endpoint.managed is not None,
        request_usd=request_usd,
    )
    spent = worst_of_call(request_usd, work.client.config.policy) or 0.0
    work.progress.current = cell.name
    work.ledger.intent(mark | ({"worst_usd": spent} if work.account.has_limit else {}))
    try:
        outcome = await work.ask(work.client, question)
        spent = outcome.facts["charged_usd"]
    except asyncio.CancelledError:
        with contextlib.suppress(SweepError):  # the ledger itself may be why the sweep ends
            work.ledger.pending(mark, {**INTERRUPTED, "charged_usd": spent})
        raise
    finally:
        work.account.settle(hold, spent)
    return _recorded(work, mark, outcome, is_throttled=is_throttled)


def _recorded(work: Work, mark: Mapping[str, Any], outcome: Outcome, *, is_throttled: bool) -> Outcome:
    """Write a call's end to the ledger; a figure of a provider's that is no number must not end the sweep."""
    facts = dict(outcome.facts) | {"throttled": is_throttled or outcome.refusals > 0}
    try:
        if facts["status"] != "harness":
            work.ledger.result(mark, facts)
            return outcome
    except ValueError as error:
        facts = own_failure_facts(error) | {"charged_usd": _number(facts["charged_usd"])}
    work.ledger.pending(mark, facts)
    return replace(outcome, facts=facts)


def _number(value: Any) -> float:
    return float(value) if math.isfinite(value) else 0.0


def _request_usd(work: Work, cell: Sendable) -> float | None:
    """The most that one request of a cell can cost; worked out only where money is limited."""
    if not work.account.has_limit:
        return None
    worst = cell.worst_usd if isinstance(cell, Cell) else work.client.explain(**cell.call()).worst_case_usd
    return 0.0 if worst is None and not is_paid(work.client, work.base(cell)) else worst
