"""Run a plan: send what the ledger does not hold yet, record every call, write the run folder.

A cell is sent with its candidate pinned and fallback off. What the model or its provider did wrong is a
result (score 0, with its kind); what went wrong on our side is pending and sent again next time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from llmbench.bench.cells import Cell, first_of_each, lanes, make_cells
from llmbench.bench.facts import INTERRUPTED, answer_facts, failure_facts, own_failure_facts
from llmbench.bench.ledger import DEFAULT_LEDGER, Ledger, LedgerState, read_ledger
from llmbench.bench.plan import Plan, checked_run_id
from llmbench.bench.progress import Progress, ProgressFile
from llmbench.bench.results import result_rows, write_rows, write_whole
from llmbench.catalog import Endpoint
from llmbench.errors import FallbackExhausted, LLMBenchError, SweepError
from llmbench.providers.embedded import ensure_server
from llmbench.routing.background_loop import BackgroundLoop
from llmbench.routing.client import LLMClient

DEFAULT_REPORTS: Final = Path("reports")
#: The run's own lines of the ledger: with them a run folder can be replayed anywhere.
CALLS_FILE: Final = "calls.jsonl"
#: Calls at once at a remote provider that names no `limits.concurrency`.
DEFAULT_CONCURRENCY: Final = 4


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A finished sweep: its folder and its counts.

    `calls` cells were sent now and `cached` came from the ledger; retries and warm-up calls are in the
    ledger alone.
    """

    run_dir: Path
    cells: int
    calls: int
    cached: int
    failed: int
    pending: int
    notices: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.cells} cells: {self.cached} from the ledger, {self.calls} called now, "
            f"{self.failed} failed, {self.pending} pending"
        )


@dataclass(slots=True)
class _Work:
    """One sweep under way. `places` bounds the calls at once of all lanes of one local provider."""

    plan: Plan
    run_id: str
    client: LLMClient
    ledger: Ledger
    progress: Progress
    file: ProgressFile
    places: dict[str, asyncio.Semaphore] = field(default_factory=dict)

    def endpoint(self, cell: Cell) -> Endpoint:
        """Where a cell is sent."""
        return self.client.config.endpoints[self.client.config.models[cell.model].provider]


def run_sweep(
    plan: Plan,
    client: LLMClient,
    *,
    ledger: Path = DEFAULT_LEDGER,
    reports: Path = DEFAULT_REPORTS,
    run_id: str | None = None,
    replay: bool = False,
    watch: Callable[[Progress], None] | None = None,
) -> SweepRun:
    """Send every cell that the ledger does not hold, then write plan.json, results.jsonl and calls.jsonl.

    Works in a script and in a notebook. Ctrl-C loses the calls in flight and nothing else: running the
    same plan again goes on.

    Args:
        plan: the frozen plan.
        client: the router; its telemetry gets a line a call, with run_id and cell.
        ledger: where paid-for calls are looked up and recorded.
        reports: parent of the run folder.
        run_id: the folder's name; the plan's own by default.
        replay: take every result from the ledger, and fail on the first one it lacks; nothing is sent.
        watch: told of the progress up to four times a second.

    Raises:
        SweepError: the run id or the ledger cannot be used, or a replay misses a cell.
        EmbeddedServerError: a local model's server cannot be started.
        RouteError: a candidate cannot take a task's samples.
    """
    run_id = checked_run_id(plan.run_id if run_id is None else run_id)
    cells = make_cells(plan, client)
    run_dir = reports / run_id
    if not replay:
        refuse_other_run(run_dir, plan)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SweepError(f"the run folder {run_dir} cannot be made: {error.strerror}") from error
    file = ProgressFile(run_dir / "progress.json", watch)
    wanted = {cell.fingerprint for cell in cells}
    if replay:
        state = read_ledger(ledger, wanted)
        _refuse_misses(cells, state, ledger)
        progress = Progress(len(cells), len(cells), state="done", notices=_notices(plan, state))
        file.show(progress, now=True)
        return _finish(plan, run_id, cells, state, run_dir, progress)
    with Ledger(ledger).opened(wanted) as opened:
        cached = sum(cell.fingerprint in opened.state.results for cell in cells)
        notices = _notices(plan, opened.state)
        progress = Progress(planned=len(cells), cached=cached, notices=notices)
        work = _Work(plan, run_id, client, opened, progress, file)
        file.show(progress, now=True)
        _write_plan(run_dir, plan, run_id)
        try:
            if cached < len(cells):
                _send_all(work, cells)
            progress.state = "done"
        except BaseException:
            progress.state = "stopped"
            raise
        finally:
            file.show(progress, now=True)
        return _finish(plan, run_id, cells, opened.state, run_dir, progress)


def refuse_other_run(run_dir: Path, plan: Plan) -> None:
    """Keep the report of one plan from being written over by another's.

    Raises:
        SweepError: the folder holds a run of another plan.
    """
    try:
        held = json.loads((run_dir / "plan.json").read_text(encoding="utf-8")).get("plan_hash")
    except (OSError, ValueError, AttributeError):
        return
    if held != plan.hash:
        raise SweepError(
            f"{run_dir} holds a run of another plan ({str(held)[:8]}, this is {plan.hash[:8]}); "
            "choose another run id, or move that folder away"
        )


def _send_all(work: _Work, cells: list[Cell]) -> None:
    loop = BackgroundLoop()
    try:
        loop.run(_run_lanes(work, cells))
    finally:
        loop.close()


async def _run_lanes(work: _Work, cells: list[Cell]) -> None:
    """All lanes at once, each with its own concurrency; the first lane that cannot go on ends the others."""
    waiting = lanes(cells, finished=frozenset(work.ledger.state.results))
    try:
        async with asyncio.TaskGroup() as group:
            for lane in waiting.values():
                group.create_task(_run_lane(work, lane))
    except BaseExceptionGroup as errors:
        raise _first_error(errors) from None
    finally:
        await work.client.aclose()


def _first_error(error: BaseException) -> BaseException:
    """The first error of nested groups; one that was raised on purpose before any other."""
    if not isinstance(error, BaseExceptionGroup) or isinstance(error, LLMBenchError):
        return error
    found = [_first_error(inner) for inner in error.exceptions]
    return next((inner for inner in found if isinstance(inner, LLMBenchError)), found[0])


async def _run_lane(work: _Work, waiting: list[Cell]) -> None:
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


async def _run_local_lane(work: _Work, waiting: list[Cell]) -> None:
    """One call at a time; each task and candidate is called once beforehand, outside the results.

    The first call compiles the grammar and fills the prompt cache with the examples: seconds that a
    server in use pays once, and that would stand in the first sample's latency and cost.
    """
    endpoint = work.endpoint(waiting[0])
    most = endpoint.limits.concurrency or len(work.plan.candidates)
    place = work.places.setdefault(endpoint.name, asyncio.Semaphore(most))
    warm = first_of_each(waiting)
    for cell in waiting:
        async with place:
            if warm[cell.task.task, cell.model] is cell:
                await _warm_up(work, cell)
            await _run_cell(work, cell)


async def _warm_up(work: _Work, cell: Cell) -> None:
    shots = cell.task.dataset.prompt.shots
    example = replace(cell.sample, id="warmup", input=shots[0][0] if shots else "warm up")
    call = replace(cell, sample=example, fingerprint=f"warmup-{uuid.uuid4().hex}")
    await _send(work, call)
    work.progress.warm_ups += 1


async def _run_cell(work: _Work, cell: Cell) -> None:
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


async def _send(work: _Work, cell: Cell) -> Mapping[str, Any]:
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


async def _call(work: _Work, cell: Cell) -> Mapping[str, Any]:
    facts = work.plan.models[cell.model]
    try:
        response = await work.client.acall(**cell.call(), run_id=work.run_id, cell=cell.name)
    except FallbackExhausted as error:
        is_managed = work.endpoint(cell).managed is not None
        return failure_facts(error, facts["version"], facts["model_id"], is_managed=is_managed)
    return answer_facts(response, facts["version"])


def _refuse_misses(cells: list[Cell], state: LedgerState, ledger: Path) -> None:
    if not ledger.is_file():
        raise SweepError(
            f"replay: there is no recorded ledger {ledger}; a run folder has one in {CALLS_FILE}"
        )
    missing = [cell for cell in cells if cell.fingerprint not in state.results]
    if missing:
        raise SweepError(
            f"replay: {len(missing)} of {len(cells)} cells are not in {ledger}, first {missing[0].name}; "
            "run the sweep without replay to call them"
        )


def _notices(plan: Plan, state: LedgerState) -> tuple[str, ...]:
    """What the ledger's state before the first call has to say."""
    notices = list(plan.notices)
    if state.bad_lines:
        number, reason = state.bad_lines[0]
        notices.append(f"{len(state.bad_lines)} ledger lines were skipped (first: line {number}, {reason})")
    again = [line for line in state.orphans.values() if line["fingerprint"] not in state.results]
    if again:
        notices.append(f"{len(again)} calls were under way when a sweep was stopped; they are made again")
    return tuple(notices)


def _write_plan(run_dir: Path, plan: Plan, run_id: str) -> None:
    header = plan.facts() | {"run_id": run_id}
    text = json.dumps(header, ensure_ascii=False, allow_nan=False, indent=2)
    write_whole(run_dir / "plan.json", [text, "\n"])


def _finish(
    plan: Plan,
    run_id: str,
    cells: list[Cell],
    state: LedgerState,
    run_dir: Path,
    progress: Progress,
) -> SweepRun:
    model_ids = {key: str(facts["model_id"]) for key, facts in plan.models.items()}
    rows = result_rows(run_id, cells, state, model_ids)
    _write_plan(run_dir, plan, run_id)
    write_rows(run_dir / "results.jsonl", rows)
    calls = (state.results.get(cell.fingerprint) for cell in cells)
    write_rows(run_dir / CALLS_FILE, (line for line in calls if line is not None))
    return SweepRun(
        run_dir=run_dir,
        cells=len(cells),
        calls=progress.done + progress.pending,
        cached=progress.cached,
        failed=sum(row["status"] in ("error", "timeout") for row in rows),
        pending=sum(row["status"] == "harness" for row in rows),
        notices=progress.notices,
    )
