"""Run a plan: send what it needs and the ledger does not hold yet, write the run folder.

With `stop: decided` the race of each task says which calls are needed next; with `stop: grid` all are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from llmbench.bench.adaptive import rounds, run_decided
from llmbench.bench.cells import Cell, make_cells
from llmbench.bench.decision import too_small
from llmbench.bench.headers import HEADERS_FILE, Declared, declare, first_declared
from llmbench.bench.ledger import DEFAULT_LEDGER, Ledger, LedgerState, read_ledger
from llmbench.bench.plan import Plan, checked_run_id
from llmbench.bench.progress import Progress, ProgressFile
from llmbench.bench.results import result_rows, write_rows, write_whole
from llmbench.bench.run_folder import CALLS_FILE, DEFAULT_REPORTS, refuse_other_run
from llmbench.bench.sending import Work, run_lanes
from llmbench.errors import SweepError
from llmbench.routing.background_loop import BackgroundLoop
from llmbench.routing.client import LLMClient


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
    """Send what is needed and the ledger does not hold; write plan.json, results.jsonl and calls.jsonl.

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
        declared = recorded_budgets(ledger, plan)
        needed = _replayed(plan, cells, state, ledger, declared)
        progress = Progress(len(needed), len(needed), state="done", notices=_notices(plan, state, declared))
        file.show(progress, now=True)
        return _finish(plan, run_id, needed, state, run_dir, progress, declared)
    with Ledger(ledger).opened(wanted) as opened:
        older = _forget_older_versions(cells, opened.state)
        declared = declare(ledger.with_name(HEADERS_FILE), plan)
        declared = replace(declared, resets=(*declared.resets, *older))
        is_grid = plan.stop == "grid"  # a race counts what it takes from the ledger as it goes
        cached = sum(cell.fingerprint in opened.state.results for cell in cells) if is_grid else 0
        notices = _notices(plan, opened.state, declared)
        progress = Progress(planned=len(cells), cached=cached, notices=notices)
        work = Work(plan, run_id, client, opened, progress, file)
        file.show(progress, now=True)
        _write_plan(run_dir, plan, run_id, declared)
        try:
            is_all_here = is_grid and cached == len(cells)
            needed = cells if is_all_here else _send_all(work, cells, declared)
            progress.state = "done"
        except BaseException:
            progress.state = "stopped"
            raise
        finally:
            file.show(progress, now=True)
        return _finish(plan, run_id, needed, opened.state, run_dir, progress, declared)


def recorded_budgets(ledger: Path, plan: Plan) -> Declared:
    """What held for a recorded run: from the plan.json beside its ledger when it is this plan's."""
    try:
        facts = json.loads(ledger.with_name("plan.json").read_text(encoding="utf-8"))
        if facts["plan_hash"] == plan.hash:
            budgets = {task.task: tuple(facts["tasks"][task.task]["budgets"]) for task in plan.tasks}
            return Declared(budgets, tuple(facts.get("resets", ())))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # a bare ledger: nothing was declared before
    return first_declared(plan)


def _forget_older_versions(cells: list[Cell], state: LedgerState) -> list[str]:
    """Leave out answers of a model's older version: they are evidence about another model."""
    versions: dict[str, tuple[str, str]] = {}
    lines = [(cell, state.results.get(cell.fingerprint)) for cell in cells]
    known = [(cell, line) for cell, line in lines if line is not None and line.get("model_version")]
    for cell, line in known:
        seen = (str(line.get("timestamp")), str(line["model_version"]))
        versions[cell.model] = max(versions.get(cell.model, seen), seen)
    older = [cell for cell, line in known if str(line["model_version"]) != versions[cell.model][1]]
    for cell in older:
        del state.results[cell.fingerprint]
    return [
        f"{model} changed its version to {versions[model][1]}: its evidence starts anew, and {n} answers are "
        "asked for again"
        for model, n in Counter(cell.model for cell in older).items()
    ]


def _send_all(work: Work, cells: list[Cell], declared: Declared) -> list[Cell]:
    """Make every call that the plan needs; returns the cells that were needed."""
    loop = BackgroundLoop()
    try:
        return loop.run(_needed(work, cells, declared))
    finally:
        loop.close()


async def _needed(work: Work, cells: list[Cell], declared: Declared) -> list[Cell]:
    try:
        if work.plan.stop == "grid":
            await run_lanes(work, cells)
            return cells
        return await run_decided(work, cells, declared)
    finally:
        await work.client.aclose()


def _replayed(
    plan: Plan, cells: list[Cell], state: LedgerState, ledger: Path, declared: Declared
) -> list[Cell]:
    """The cells that a plan needs, all of them from the ledger."""
    if not ledger.is_file():
        raise SweepError(
            f"replay: there is no recorded ledger {ledger}; a run folder has one in {CALLS_FILE}"
        )
    if plan.stop == "grid":
        _refuse_misses(cells, state, ledger)
        return cells
    needed: set[str] = set()
    for round_ in rounds(plan, cells, state, declared):
        _refuse_misses(round_.cells, state, ledger)
        needed.update(cell.fingerprint for cell in round_.cells)
    return [cell for cell in cells if cell.fingerprint in needed]


def _refuse_misses(cells: list[Cell], state: LedgerState, ledger: Path) -> None:
    missing = [cell for cell in cells if cell.fingerprint not in state.results]
    if missing:
        raise SweepError(
            f"replay: {len(missing)} of {len(cells)} cells are not in {ledger}, first {missing[0].name}; "
            "run the sweep without replay to call them"
        )


def _notices(plan: Plan, state: LedgerState, declared: Declared) -> tuple[str, ...]:
    """What is to be said before the first call."""
    notices = [*plan.notices, *declared.resets]
    for task in plan.tasks:
        terms = plan.terms(task)
        if terms.candidates and (small := too_small(terms, len(task.units))):
            notices.append(f"{task.task}: {small} (`llmbench plan` tells more)")
    if state.bad_lines:
        number, reason = state.bad_lines[0]
        notices.append(f"{len(state.bad_lines)} ledger lines were skipped (first: line {number}, {reason})")
    again = [line for line in state.orphans.values() if line["fingerprint"] not in state.results]
    if again:
        notices.append(f"{len(again)} calls were under way when a sweep was stopped; they are made again")
    return tuple(notices)


def _write_plan(run_dir: Path, plan: Plan, run_id: str, declared: Declared) -> None:
    header = declared.facts(plan) | {"run_id": run_id}
    text = json.dumps(header, ensure_ascii=False, allow_nan=False, indent=2)
    write_whole(run_dir / "plan.json", [text, "\n"])


def _finish(
    plan: Plan,
    run_id: str,
    cells: list[Cell],
    state: LedgerState,
    run_dir: Path,
    progress: Progress,
    declared: Declared,
) -> SweepRun:
    model_ids = {key: str(facts["model_id"]) for key, facts in plan.models.items()}
    rows = result_rows(run_id, cells, state, model_ids)
    _write_plan(run_dir, plan, run_id, declared)
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
