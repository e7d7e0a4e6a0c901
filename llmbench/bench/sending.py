"""Send the cells of a sweep: one call between its intent line and its result, lane by lane.

A cell is sent with its candidate pinned and fallback off. What the model or its provider did wrong is a
result (score 0, with its kind); what went wrong on our side is pending and sent again next time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llmbench.bench.cells import Cell, lanes
from llmbench.bench.facts import INTERRUPTED, answer_facts, failure_facts, own_failure_facts
from llmbench.bench.ledger import Ledger
from llmbench.bench.plan import Plan
from llmbench.bench.progress import Progress, ProgressFile
from llmbench.catalog import Endpoint
from llmbench.errors import FallbackExhausted, LLMBenchError, SweepError
from llmbench.providers.embedded import ensure_server
from llmbench.routing.client import LLMClient

#: Calls at once at a remote provider that names no `limits.concurrency`.
DEFAULT_CONCURRENCY: Final = 4


@dataclass(slots=True)
class Work:
    """One sweep under way.

    `places` bounds the calls at once of all lanes of one local provider; `warm` are the (task, model) pairs
    whose server has been called before.
    """

    plan: Plan
    run_id: str
    client: LLMClient
    ledger: Ledger
    progress: Progress
    file: ProgressFile
    places: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    warm: set[tuple[str, str]] = field(default_factory=set)

    def endpoint(self, cell: Cell) -> Endpoint:
        """Where a cell is sent."""
        return self.client.config.endpoints[self.client.config.models[cell.model].provider]


async def run_lanes(work: Work, cells: list[Cell]) -> None:
    """All lanes at once, each with its own concurrency; the first lane that cannot go on ends the others."""
    waiting = lanes(cells, finished=frozenset(work.ledger.state.results))
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


async def _run_lane(work: Work, waiting: list[Cell]) -> None:
    endpoint = work.endpoint(waiting[0])
    if endpoint.managed:
        spec = work.client.config.models[waiting[0].model]
        await asyncio.to_thread(ensure_server, spec.model_id)  # a server that cannot start ends the sweep
        await _run_local_lane(work, waiting)
        return
    queue = iter(waiting)

    async def serve() -> None:
        for cell in queue:
            await _run_cell(work, cell)

    async with asyncio.TaskGroup() as group:
        for _ in range(endpoint.limits.concurrency or DEFAULT_CONCURRENCY):
            group.create_task(serve())


async def _run_local_lane(work: Work, waiting: list[Cell]) -> None:
    """One call at a time; each task and candidate is called once beforehand, outside the results.

    The first call compiles the grammar and fills the prompt cache with the examples: seconds that a
    server in use pays once, and that would stand in the first sample's latency and cost.
    """
    endpoint = work.endpoint(waiting[0])
    most = endpoint.limits.concurrency or len(work.plan.candidates)
    place = work.places.setdefault(endpoint.name, asyncio.Semaphore(most))
    for cell in waiting:
        async with place:
            if (pair := (cell.task.task, cell.model)) not in work.warm:
                work.warm.add(pair)
                await _warm_up(work, cell)
            await _run_cell(work, cell)


async def _warm_up(work: Work, cell: Cell) -> None:
    shots = cell.task.dataset.prompt.shots
    example = replace(cell.sample, id="warmup", input=shots[0][0] if shots else "warm up")
    call = replace(cell, sample=example, fingerprint=f"warmup-{uuid.uuid4().hex}")
    await _send(work, call)
    work.progress.warm_ups += 1


async def _run_cell(work: Work, cell: Cell) -> None:
    progress = work.progress
    progress.current = cell.name
    facts = await _send(work, cell)
    if facts["status"] == "harness":
        progress.pending += 1
    else:
        progress.done += 1
        progress.failed += facts["status"] != "ok"
    progress.cost_usd += facts["cost_usd"] or 0.0
    progress.cost_unknown += facts["cost_usd"] is None
    work.file.show(progress)


async def _send(work: Work, cell: Cell) -> Mapping[str, Any]:
    """One call between its intent line and its result or pending line."""
    mark = {
        "intent_id": uuid.uuid4().hex,
        "fingerprint": cell.fingerprint,
        "cell": cell.name,
        "run_id": work.run_id,
    }
    work.ledger.intent(mark)
    try:
        facts = await _call(work, cell)
        if facts["status"] != "harness":
            json.dumps(facts, allow_nan=False)  # a provider's figure that is no number must not end the sweep
    except asyncio.CancelledError:
        with contextlib.suppress(SweepError):  # the ledger itself may be why the sweep ends
            work.ledger.pending(mark, INTERRUPTED)
        raise
    except Exception as error:  # noqa: BLE001 -- the cell boundary: one broken cell must not end a sweep
        facts = own_failure_facts(error)
    if facts["status"] == "harness":
        work.ledger.pending(mark, facts)
    else:
        work.ledger.result(mark, facts)
    return facts


async def _call(work: Work, cell: Cell) -> Mapping[str, Any]:
    facts = work.plan.models[cell.model]
    try:
        response = await work.client.acall(**cell.call(), run_id=work.run_id, cell=cell.name)
    except FallbackExhausted as error:
        is_managed = work.endpoint(cell).managed is not None
        return failure_facts(error, facts["version"], facts["model_id"], is_managed=is_managed)
    return answer_facts(response, facts["version"])
