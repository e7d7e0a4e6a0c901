"""Run a plan: send what the ledger does not hold yet, record every call, write the run folder.

A cell is sent with its candidate pinned and fallback off. What the model or its provider did wrong is a
result (score 0, with its kind); what went wrong on our side is pending and sent again next time.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from llmbench.bench.cells import Cell, first_of_each, lanes, make_cells
from llmbench.bench.ledger import DEFAULT_LEDGER, Ledger, LedgerState, read_ledger
from llmbench.bench.plan import Plan
from llmbench.bench.progress import Progress, ProgressFile
from llmbench.bench.results import result_rows, write_rows
from llmbench.errors import ErrorKind, FallbackExhausted, LLMBenchError, ProviderError, SweepError
from llmbench.messages import Adjustment, Attempt, Response
from llmbench.providers.embedded import ensure_server
from llmbench.routing.background_loop import BackgroundLoop
from llmbench.routing.client import LLMClient

DEFAULT_REPORTS: Final = Path("reports")
#: The run's own lines of the ledger: with them a run folder can be replayed anywhere.
CALLS_FILE: Final = "calls.jsonl"
DEFAULT_CONCURRENCY: Final = 4
#: Our own throttling and interruptions: never a model's result.
_OURS: Final[frozenset[ErrorKind]] = frozenset({"rate_limit", "circuit_open", "cancelled"})
#: At a server that we run ourselves, a connection that fails is our failure too.
_OURS_WHEN_MANAGED: Final[frozenset[ErrorKind]] = frozenset({"connect", "auth", "model_not_found"})


@dataclass(frozen=True, slots=True)
class SweepRun:
    """A finished sweep: its folder and its counts. `calls` were sent now, `cached` came from the ledger."""

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
    """One sweep under way."""

    plan: Plan
    client: LLMClient
    ledger: Ledger
    progress: Progress
    file: ProgressFile


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
        SweepError: the ledger cannot be used, or a replay misses a cell.
        EmbeddedServerError: a local model's server cannot be started.
        RouteError: a candidate cannot take a task's samples.
    """
    cells = make_cells(plan, client)
    run_dir = reports / (run_id or plan.run_id)
    run_dir.mkdir(parents=True, exist_ok=True)
    if replay:
        state = read_ledger(ledger)
        _refuse_misses(cells, state, ledger)
        progress = Progress(len(cells), len(cells), state="done")
        return _finish(plan, cells, state, run_dir, progress, run_id)
    with Ledger(ledger).opened() as opened:
        missing = [cell for cell in cells if cell.fingerprint not in opened.state.results]
        progress = Progress(planned=len(cells), cached=len(cells) - len(missing))
        work = _Work(plan, client, opened, progress, ProgressFile(run_dir / "progress.json", watch))
        work.file.show(progress, now=True)
        _write_json(run_dir / "plan.json", _header(plan, run_id))
        try:
            if missing:
                _send_all(work, missing)
            progress.state = "done"
        except BaseException:
            progress.state = "stopped"
            raise
        finally:
            work.file.show(progress, now=True)
        return _finish(plan, cells, opened.state, run_dir, progress, run_id)


def _send_all(work: _Work, missing: list[Cell]) -> None:
    loop = BackgroundLoop()
    try:
        loop.run(_run_lanes(work, missing))
    finally:
        loop.close()


async def _run_lanes(work: _Work, missing: list[Cell]) -> None:
    """All lanes at once, each with its own concurrency."""
    try:
        async with asyncio.TaskGroup() as group:
            for waiting in lanes(missing).values():
                group.create_task(_run_lane(work, waiting))
    except* LLMBenchError as errors:
        raise errors.exceptions[0] from None
    finally:
        await work.client.aclose()


async def _run_lane(work: _Work, waiting: list[Cell]) -> None:
    spec = work.client.config.models[waiting[0].model]
    endpoint = work.client.config.endpoints[spec.provider]
    if endpoint.managed:
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
    warm = first_of_each(waiting)
    for cell in waiting:
        key = (cell.task.task, cell.model)
        if warm.get(key) is cell:
            await _warm_up(work, cell)
        await _run_cell(work, cell)


async def _warm_up(work: _Work, cell: Cell) -> None:
    shots = cell.task.dataset.prompt.shots
    example = replace(cell.sample, id="warmup", input=shots[0][0] if shots else "warm up")
    call = replace(cell, sample=example, fingerprint=f"warmup-{uuid.uuid4().hex}")
    await _send(work, call)


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
        "run_id": work.plan.run_id,
    }
    work.ledger.intent(mark)
    version = work.plan.models[cell.model]["version"]
    try:
        response = await work.client.acall(**cell.call(), run_id=work.plan.run_id, cell=cell.name)
        facts = _answer_facts(response, version)
    except FallbackExhausted as error:
        managed = work.client.config.endpoints[work.client.config.models[cell.model].provider].managed
        facts = _failure_facts(error, version, is_managed=managed is not None)
    except Exception as error:  # noqa: BLE001 -- the cell boundary: one broken cell must not end a sweep
        problem = f"{type(error).__name__}: {error}"
        facts = {**_NO_CALL, "model_version": version, "status": "harness", "error": problem}
    if facts["status"] == "harness":
        work.ledger.pending(mark, facts)
    else:
        work.ledger.result(mark, facts)
    return facts


_NO_CALL: Final[Mapping[str, Any]] = {
    "error_kind": None,
    "output": None,
    "finish_reason": None,
    "latency_ms": None,
    "queued_ms": None,
    "ttft_ms": None,
    **dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")),
    "cost_usd": None,
    "cost_source": "unknown",
    "cpu_s": None,
    "load": None,
    "adjustments": [],
    "call_id": None,
    "calls": 0,
}


def _answer_facts(response: Response, version: str) -> dict[str, Any]:
    facts = _attempt_facts(response.attempts, version, response.adjustments)
    return facts | {
        "status": "ok",
        "error_kind": None,
        "error": None,
        "output": response.text,
        "ttft_ms": response.ttft_ms,
        "call_id": response.call_id,
        "model_version": response.model_version or version,
    }


def _failure_facts(error: FallbackExhausted, version: str, *, is_managed: bool) -> dict[str, Any]:
    last = error.exceptions[-1]
    kind = last.kind if isinstance(last, ProviderError) else error.kind
    ours = kind in _OURS or (is_managed and kind in _OURS_WHEN_MANAGED)
    attempts = tuple(attempt for attempt in error.attempts if isinstance(attempt, Attempt))
    return _attempt_facts(attempts, version, ()) | {
        "status": "harness" if ours else "timeout" if kind == "timeout" else "error",
        "error_kind": kind,
        "error": str(last),
    }


def _attempt_facts(
    attempts: tuple[Attempt, ...], version: str, adjustments: tuple[Adjustment, ...]
) -> dict[str, Any]:
    """What the last attempt measured; `calls` counts every request that was sent."""
    last = attempts[-1]
    facts = {
        **_NO_CALL,
        "model_version": version,
        "calls": len(attempts),
        "output": last.output,
        "finish_reason": last.finish_reason,
        "latency_ms": round(last.latency_ms, 3),
        "queued_ms": round(last.queued_ms, 3),
        "cost_usd": last.cost_usd,
        "cost_source": last.cost_source or "unknown: no answer came",
        "cpu_s": last.cpu_s,
        "load": None if last.load is None else dict(last.load),
        "adjustments": [adjustment.as_dict() for adjustment in adjustments],
    }
    return facts if last.usage is None else facts | last.usage.as_dict()


def _refuse_misses(cells: list[Cell], state: LedgerState, ledger: Path) -> None:
    missing = [cell for cell in cells if cell.fingerprint not in state.results]
    if missing:
        raise SweepError(
            f"replay: {len(missing)} of {len(cells)} cells are not in {ledger}, first {missing[0].name}; "
            "run the sweep without replay to call them"
        )


def _header(plan: Plan, run_id: str | None) -> dict[str, Any]:
    return plan.facts() | {"run_id": run_id or plan.run_id}


def _finish(
    plan: Plan,
    cells: list[Cell],
    state: LedgerState,
    run_dir: Path,
    progress: Progress,
    run_id: str | None,
) -> SweepRun:
    model_ids = {key: str(facts["model_id"]) for key, facts in plan.models.items()}
    rows = result_rows(run_id or plan.run_id, cells, state.results, model_ids)
    _write_json(run_dir / "plan.json", _header(plan, run_id))
    write_rows(run_dir / "results.jsonl", rows)
    calls = (state.results.get(cell.fingerprint) for cell in cells)
    write_rows(run_dir / CALLS_FILE, (line for line in calls if line is not None))
    notices = list(plan.notices)
    if state.bad_lines:
        number, reason = state.bad_lines[0]
        notices.append(f"{len(state.bad_lines)} ledger lines were skipped (first: line {number}, {reason})")
    return SweepRun(
        run_dir=run_dir,
        cells=len(cells),
        calls=progress.done + progress.pending,
        cached=progress.cached,
        failed=sum(row["status"] in ("error", "timeout") for row in rows),
        pending=sum(row["status"] == "harness" for row in rows),
        notices=tuple(notices),
    )


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
