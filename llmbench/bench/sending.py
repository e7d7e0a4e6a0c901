"""Send the cells of a sweep: one call between its intent line and its result, lane by lane.

A cell is sent with its candidate pinned and fallback off. What the model or its provider did wrong is a
result (score 0, with its kind). What went wrong on our side is pending: a refusal for too many requests
slows the lane down and is tried again; a key, an account or a model that is not there closes the model for
this run.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import secrets
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from llmbench.bench.account import is_paid
from llmbench.bench.asking import Outcome, Question
from llmbench.bench.bounds import most_usd
from llmbench.bench.cells import Cell
from llmbench.bench.facts import INTERRUPTED, own_failure_facts
from llmbench.bench.throttle import Place, Throttle, is_refusal
from llmbench.bench.work import Sendable, Work
from llmbench.catalog import Endpoint
from llmbench.errors import LLMBenchError, SweepError
from llmbench.providers.embedded import ensure_server

#: How often a cell is sent that the provider refuses, before it stays pending.
MOST_TRIES: Final = 8
#: How often a call is made again that was lost with the machine that made it.
MOST_REPEATS: Final = 1
#: Failures of our account in a row after which a model is left alone for the rest of the run.
CLOSES_AFTER: Final = 3
#: Characters of a sample that a voice speaks first: in its language, and short.
_WARM_UP_CHARS: Final = 12
_CLOSING: Final = frozenset({"auth", "quota", "model_not_found"})


async def run_lanes(work: Work, waiting: Mapping[str, Iterator[Sendable]]) -> None:
    """All lanes at once, each with its own concurrency; the first lane that cannot go on ends the others.

    Local servers are started before any lane runs, and voices speak once: loading a model takes the cores
    that another one is measured on.
    """
    ready = [await _started(work, lane) for lane in waiting.values()]
    if work.plan.modality != "text":
        ready = [await _warmed(work, lane) for lane in ready]
    try:
        async with asyncio.TaskGroup() as group:
            for lane in ready:
                group.create_task(_run_lane(work, lane))
    except BaseExceptionGroup as errors:
        raise _first_error(errors) from None


def _first_error(error: BaseException) -> BaseException:
    """The first error of nested groups; one that was raised on purpose before any other."""
    if not isinstance(error, BaseExceptionGroup) or isinstance(error, LLMBenchError):
        return error
    found = [_first_error(inner) for inner in error.exceptions]
    return next((inner for inner in found if isinstance(inner, LLMBenchError)), found[0])


async def _started(work: Work, cells: Iterator[Sendable]) -> Iterator[Sendable]:
    """The same cells, once their server runs where it is local; one that cannot start ends the sweep."""
    first = next(cells)
    if work.endpoint(first).managed:
        spec = work.client.config.models[work.base(first)]
        await asyncio.to_thread(ensure_server, spec.model_id)
    return itertools.chain((first,), cells)


async def _warmed(work: Work, cells: Iterator[Sendable]) -> Iterator[Sendable]:
    """The same cells, once each of their voices has spoken a few words outside the results."""
    lane = list(cells)
    for cell in lane:
        if work.endpoint(cell).managed and work.refusal(cell) is None:
            await _warm_once(work, cell)
    return iter(lane)


async def _run_lane(work: Work, cells: Iterator[Sendable]) -> None:
    first = next(cells)
    endpoint, queue = work.endpoint(first), _Queue(first, cells)
    if endpoint.managed:
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
        self.losses: Counter[str] = Counter()

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

    def may_repeat(self, cell: Sendable) -> bool:
        """Count a lost call; whether it may be made again."""
        self.losses[cell.fingerprint] += 1
        return self.losses[cell.fingerprint] <= MOST_REPEATS

    def may_try(self, cell: Sendable) -> bool:
        """Count a refused try; whether another one may follow."""
        self.tries[cell.fingerprint] += 1
        return self.tries[cell.fingerprint] < MOST_TRIES


async def _serve(work: Work, queue: _Queue, throttle: Throttle) -> None:
    while (cell := await queue.take()) is not None:
        is_again = False
        try:
            is_again = await _serve_in_time(work, queue, throttle, cell)
        finally:
            queue.end(cell, is_again=is_again)


async def _serve_in_time(work: Work, queue: _Queue, throttle: Throttle, cell: Sendable) -> bool:
    """Wait for a place while there is time; whether the cell is to be sent again."""
    if (reason := work.refusal(cell)) is not None:
        work.leave(cell, reason)
        return False
    tokens, limit = _tokens(work, cell) if throttle.counts_tokens else 0, asyncio.timeout(work.left_s())
    try:
        async with limit, throttle.place(tokens) as place:
            limit.reschedule(None)  # the sweep's time ends the wait for a place, and no call under way
            return await _serve_one(work, queue, throttle, cell, place)
    except TimeoutError:
        if not limit.expired():
            raise
        work.leave(cell, work.no_time)
        return False


async def _serve_one(work: Work, queue: _Queue, throttle: Throttle, cell: Sendable, place: Place) -> bool:
    """Send a cell and tell the throttle what it met; whether the cell is to be sent again."""
    if (reason := work.refusal(cell)) is not None:  # it may have waited long for its place
        work.leave(cell, reason)
        return False
    outcome = await send(work, cell, is_throttled=place.is_throttled)
    if outcome is None:
        return False
    kind, tokens = outcome.facts["error_kind"], cell.tokens if isinstance(cell, Cell) else 0
    throttle.count(outcome.facts["calls"] - 1, tokens)
    if outcome.facts["status"] == "harness" and is_refusal(kind):
        is_load = throttle.in_flight > 1  # what is refused among others says nothing of this cell
        throttle.refused(place, outcome.retry_after_s)
        if (is_load or queue.may_try(cell)) and work.refusal(cell) is None:
            work.file.show(work.progress)
            return True
    elif outcome.is_lost:  # with its machine: once more, as a call of its own
        if queue.may_repeat(cell) and work.refusal(cell) is None:
            return True
    elif outcome.refusals:  # the policy's own retries got through in the end
        throttle.struggled(place)
    else:
        throttle.answered(place, outcome.left, tokens)
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
                await _warm_once(work, cell)
                outcome = await send(work, cell)
                if outcome is not None:
                    _count(work, cell, outcome)
        queue.end(cell, is_again=False)


async def _warm_once(work: Work, cell: Sendable) -> None:
    if isinstance(cell, Cell) and (pair := (cell.task.task, cell.model)) not in work.warm:
        work.warm.add(pair)
        await _warm_up(work, cell)


async def _warm_up(work: Work, cell: Cell) -> None:
    dataset, own = cell.task.dataset, cell.sample.input
    shots = dataset.prompt.shots
    text = shots[0][0] if shots else "warm up" if dataset.modality == "text" else own[:_WARM_UP_CHARS]
    example = replace(cell.sample, id="warmup", input=text)
    call = replace(cell, sample=example, fingerprint=f"warmup-{secrets.token_hex(16)}")
    if await send(work, call) is not None:
        work.progress.warm_ups += 1
    elif work.unsent.pop(call.fingerprint, None) is not None:  # it is no cell of the plan
        work.progress.pending -= 1


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
    """Tokens of a call, input and output limit together."""
    return (
        cell.tokens if isinstance(cell, Cell) else work.client.explain(**cell.call()).worst_case_tokens or 0
    )


async def send(work: Work, cell: Sendable, *, is_throttled: bool = False) -> Outcome | None:
    """One call between its intent line and its result or pending line; None where the budget forbids it."""
    endpoint = work.endpoint(cell)
    request_usd = _request_usd(work, cell)
    worst = None if request_usd is None else request_usd * work.most_charged
    hold = await work.account.hold(worst)
    if isinstance(hold, str):
        work.leave(cell, hold)
        return None
    if (reason := work.refusal(cell)) is not None:  # it may have waited long for its money
        work.account.release(hold)
        work.leave(cell, reason)
        return None
    mark = {
        "intent_id": secrets.token_hex(16),
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
    spent = worst or 0.0
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
    base = work.base(cell)
    if isinstance(cell, Cell):
        worst = cell.worst_usd
    else:
        worst = most_usd(work.client, base, work.client.explain(**cell.call()))
    return 0.0 if worst is None and not is_paid(work.client, base) else worst
