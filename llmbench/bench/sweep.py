"""Run a plan: send what it needs and the ledger does not hold yet, write the run folder.

With `stop: decided` the race of each task says which calls are needed next; with `stop: grid` all are.
"""

from __future__ import annotations

import gc
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from llmbench.bench.account import Account
from llmbench.bench.asking import ask
from llmbench.bench.cells import Cell, Cells, lanes, make_cells
from llmbench.bench.cluster import check_engine, opened_engine, refuse_cluster
from llmbench.bench.headers import HEADERS_FILE, Declared, declare, first_declared
from llmbench.bench.judged_run import Judged, judge_recorded, judge_run
from llmbench.bench.ledger import DEFAULT_LEDGER, Ledger, LedgerState, read_ledger
from llmbench.bench.media_client import MediaClient
from llmbench.bench.media_store import check_answers, copy_answers, media_folder
from llmbench.bench.plan import Plan, checked_run_id
from llmbench.bench.progress import Progress, ProgressFile
from llmbench.bench.refusals import refuse_over_budget, refuse_unready
from llmbench.bench.results import answered, result_rows, write_rows, write_whole
from llmbench.bench.run_folder import CALLS_FILE, DEFAULT_REPORTS, refuse_other_run
from llmbench.bench.sending import CLOSES_AFTER, run_lanes
from llmbench.bench.terms import Terms
from llmbench.bench.versions import forget_older_versions
from llmbench.bench.work import Work
from llmbench.bounded import read_json
from llmbench.errors import SweepError
from llmbench.routing.background_loop import BackgroundLoop
from llmbench.routing.client import LLMClient

Row = dict[str, Any]
T = TypeVar("T")


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
    engine: str | None = None,
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
        engine: the address of a Dask scheduler whose nodes make the calls; this process if None or empty.

    Raises:
        SweepError: the run id or the ledger cannot be used, a replay misses a cell, or the plan has no budget
            or asks for more than it has.
        EmbeddedServerError: a local model's server cannot be started.
        RouteError: a candidate cannot take a task's samples.
    """
    check_engine(engine, is_replay=replay)
    if isinstance(client, MediaClient):
        refuse_cluster(engine)
        client.keep_beside(ledger)
    run_id = checked_run_id(plan.run_id if run_id is None else run_id)
    cells = make_cells(plan, client)
    run_dir = reports / run_id
    if not replay:
        refuse_other_run(run_dir, plan)
        refuse_unready(plan, client, cells)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SweepError(f"the run folder {run_dir} cannot be made: {error.strerror}") from error
    file = ProgressFile(run_dir / "progress.json", watch)
    if replay:
        return _replay(plan, run_id, client, cells, ledger, run_dir, file)
    with Ledger(ledger).opened(cells.fingerprints, run_id) as opened:
        if plan.modality != "text":  # a file that is lost is said before more is paid for
            check_answers(answered(cells, opened.state), opened.state.media)
        refuse_over_budget(plan, cells, opened.state, client)
        return _send(plan, run_id, client, cells, opened, run_dir, file, engine)


def _replay(
    plan: Plan,
    run_id: str,
    client: LLMClient,
    cells: Cells,
    ledger: Path,
    run_dir: Path,
    file: ProgressFile,
) -> SweepRun:
    """Take every result from a recorded ledger."""
    state = read_ledger(ledger, cells.fingerprints)
    declared = recorded_budgets(ledger, plan)
    is_own = ledger.resolve() == (run_dir / CALLS_FILE).resolve()  # scored again: its calls stay as they are
    needed = _replayed(plan, cells, state, ledger, declared, may_miss=is_own)
    progress = Progress(len(needed), len(needed), state="done", notices=_notices(plan, state, declared))
    folder = _Folder(plan, run_id, run_dir, needed, declared)
    judged = _run_alone(judge_recorded(plan, folder.rows(state), client, ledger))
    progress.notices = (*progress.notices, *judged.doubts())
    file.show(progress, now=True)
    return folder.finish(state, progress, judged, keeps_calls=is_own)


def _send(
    plan: Plan,
    run_id: str,
    client: LLMClient,
    cells: Cells,
    opened: Ledger,
    run_dir: Path,
    file: ProgressFile,
    engine: str | None,
) -> SweepRun:
    """Send what the ledger lacks."""
    older = forget_older_versions(cells, opened.state)
    declared = declare(opened.path.with_name(HEADERS_FILE), plan)
    declared = replace(declared, resets=(*declared.resets, *older))
    is_grid = plan.stop == "grid"  # a race counts what it takes from the ledger as it goes
    cached = sum(each in opened.state.results for each in cells.fingerprints) if is_grid else 0
    progress = Progress(len(cells), cached, notices=_notices(plan, opened.state, declared))
    bill = opened.state.bill
    work = Work(
        plan,
        run_id,
        client,
        opened,
        progress,
        file,
        account=Account(plan.budget, bill.usd, bill.calls),
        ask=ask,
        ends_at=None if plan.deadline_s is None else time.monotonic() + plan.deadline_s,
    )
    file.show(progress, now=True)
    _write_plan(run_dir, plan, run_id, declared)
    try:
        folder, judged = _run(work, cells, declared, run_dir, engine)
        progress.notices = (*progress.notices, *_left_out(work), *judged.doubts())
        progress.state = "done"
    except BaseException:
        progress.state = "stopped"
        raise
    finally:
        file.show(progress, now=True)
    return folder.finish(opened.state, progress, judged, work.unsent)


def _run(
    work: Work, cells: Cells, declared: Declared, run_dir: Path, engine: str | None
) -> tuple[_Folder, Judged]:
    """Make every call that the plan needs, the judges' too."""

    async def run() -> tuple[_Folder, Judged]:
        try:
            async with opened_engine(engine, work.client, work.bases(), work.progress.note) as work.ask:
                return await calls()
        finally:
            await work.client.aclose()

    async def calls() -> tuple[_Folder, Judged]:
        if work.plan.stop == "grid":
            if work.progress.cached < len(cells):
                await run_lanes(work, lanes(cells, finished=work.ledger.state.results))
            needed: Sequence[Cell] = cells
        else:
            from llmbench.bench.adaptive import run_decided  # a grid needs no statistics

            needed = await run_decided(work, cells, declared)
        folder = _Folder(work.plan, work.run_id, run_dir, needed, declared)
        return folder, await judge_run(work, folder.rows(work.ledger.state))

    with _calm_collector():
        return _run_alone(run())


@contextmanager
def _calm_collector() -> Iterator[None]:
    """Look for cycles less often: calls in flight are many living objects, and looks cost a fifth."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()  # what was loaded so far stays
    gc.set_threshold(50_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _run_alone(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own, in a script and in a notebook."""
    loop = BackgroundLoop()
    try:
        return loop.run(work)
    finally:
        loop.close()


def _left_out(work: Work) -> Iterator[str]:
    """What was not sent, and why."""
    for model, reason in work.closed.items():
        yield f"{model} was left alone after {CLOSES_AFTER} failures of our account: {reason}"
    for reason, count in Counter(work.unsent.values()).items():
        if reason not in work.closed.values():
            yield f"{count} calls were not made: {reason}"


def recorded_budgets(ledger: Path, plan: Plan) -> Declared:
    """What held for a recorded run: from the plan.json beside its ledger when it is this plan's."""
    try:
        facts = read_json(ledger.with_name("plan.json"))
        if facts["plan_hash"] == plan.hash:
            budgets = {task.task: tuple(facts["tasks"][task.task]["budgets"]) for task in plan.tasks}
            return Declared(budgets, tuple(facts.get("resets", ())))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # a bare ledger: nothing was declared before
    return first_declared(plan)


def _replayed(
    plan: Plan, cells: Cells, state: LedgerState, ledger: Path, declared: Declared, *, may_miss: bool
) -> Sequence[Cell]:
    """The cells that a plan needs, all of them from the ledger; a run that is scored again may lack some."""
    if not ledger.is_file():
        raise SweepError(
            f"replay: there is no recorded ledger {ledger}; a run folder has one in {CALLS_FILE}"
        )
    if plan.stop == "grid":
        if not may_miss:
            _refuse_misses(cells, state, ledger)
        return cells
    from llmbench.bench.adaptive import rounds  # a grid needs no statistics

    needed: set[str] = set()
    for round_ in rounds(plan, cells, state, declared):
        if not may_miss:
            _refuse_misses(round_.cells, state, ledger)
        needed.update(cell.fingerprint for cell in round_.cells)
    return [cell for cell in cells if cell.fingerprint in needed]


def _refuse_misses(cells: Sequence[Cell], state: LedgerState, ledger: Path) -> None:
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
        if terms.candidates and (small := _too_small(terms, len(task.units))):
            notices.append(f"{task.task}: {small} (`llmbench plan` tells more)")
    if state.bad_lines:
        number, reason = state.bad_lines[0]
        notices.append(f"{len(state.bad_lines)} ledger lines were skipped (first: line {number}, {reason})")
    again = [line for line in state.orphans.values() if line["fingerprint"] not in state.results]
    if again:
        notices.append(f"{len(again)} calls were under way when a sweep was stopped; they are made again")
    return tuple(notices)


def _too_small(terms: Terms, units: int) -> str | None:
    """What a pool cannot prove. The statistics take a second to load, and no large pool is too small."""
    if units > 2 * math.log(terms.side) / math.log1p(-terms.margin):  # see `fewest_units`
        return None
    from llmbench.bench.decision import too_small

    return too_small(terms, units)


def _write_plan(
    run_dir: Path, plan: Plan, run_id: str, declared: Declared, notices: Iterable[str] = ()
) -> None:
    header = declared.facts(plan) | {"run_id": run_id, "notices": [*plan.notices, *notices]}
    text = json.dumps(header, ensure_ascii=False, allow_nan=False, indent=2)
    write_whole(run_dir / "plan.json", [text, "\n"])


@dataclass(frozen=True, slots=True)
class _Folder:
    """The run folder, and what goes into it: `cells` are those that the plan needed."""

    plan: Plan
    run_id: str
    run_dir: Path
    cells: Sequence[Cell]
    declared: Declared

    def rows(self, state: LedgerState, unsent: Mapping[str, str] = MappingProxyType({})) -> Iterator[Row]:
        """The rows of results.jsonl, made one by one."""
        model_ids = {key: str(facts["model_id"]) for key, facts in self.plan.models.items()}
        return result_rows(self.run_id, self.cells, state, model_ids, unsent)

    def finish(
        self,
        state: LedgerState,
        progress: Progress,
        judged: Judged,
        unsent: Mapping[str, str] = MappingProxyType({}),
        *,
        keeps_calls: bool = False,
    ) -> SweepRun:
        """Write the files of a finished run."""
        _write_plan(self.run_dir, self.plan, self.run_id, self.declared, judged.doubts())
        statuses: Counter[str] = Counter()

        def counted() -> Iterator[Row]:
            for row in judged.graded(self.plan, self.rows(state, unsent)):
                statuses[row["status"]] += 1
                yield row

        write_rows(self.run_dir / "results.jsonl", counted())
        names = itertools.chain((cell.fingerprint for cell in self.cells), judged.fingerprints)
        if not keeps_calls:
            write_whole(
                self.run_dir / CALLS_FILE, (state.results.line(n) for n in names if n in state.results)
            )
        if judged.lines is not None:
            write_rows(self.run_dir / "judgements.jsonl", judged.lines)
        self._keep_media(state)
        return SweepRun(
            run_dir=self.run_dir,
            cells=len(self.cells),
            calls=progress.done + progress.pending - len(unsent),
            cached=progress.cached,
            failed=statuses["error"] + statuses["timeout"],
            pending=statuses["harness"],
            notices=progress.notices,
        )

    def _keep_media(self, state: LedgerState) -> None:
        """Copy the pictures or narrations of the results: a run folder is complete in itself."""
        own = media_folder(self.run_dir / CALLS_FILE)
        if self.plan.modality == "text" or own.resolve() == state.media.resolve():
            return
        copy_answers(answered(self.cells, state), state.media, own)
