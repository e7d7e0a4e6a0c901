"""One plan, many choices of seed, limit and tasks: a run of its own for each combination.

Sweeps go one after the other, and only then the notebooks that read their runs, several at a time. A ledger
takes one sweep at a time, a provider's limits and a budget are shared, and latencies are measured: sweeps at
the same time (or beside kernels that draw) would gain nothing and would measure each other. The notebooks
after them only read files.

The ledger is shared: what a combination asks that an earlier one has asked is not paid for again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from llmbench.bench.chain import (
    CHAIN_TIMEOUT_S,
    PROGRESS_FILE,
    Choice,
    Project,
    Step,
    Watch,
    find_plan,
    planned_steps,
    summary,
    watched,
)
from llmbench.bench.notebook_matrix import combination_name, combinations
from llmbench.bench.notebooks import check_chain, run_chain
from llmbench.bench.plan import Plan
from llmbench.errors import BenchError, NotebookError, SweepError
from llmbench.routing.client import LLMClient

#: What a combination may choose, beside its run id.
CHOICES: Final = ("seed", "limit", "tasks")


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One combination, checked and ready to run.

    Attributes:
        parameters: what the combination chooses.
        choice: the same on top of what all share, with the run id.
        plan: frozen with this choice.
        run_dir: the folder of its run.
        steps: the notebooks, the sweep first.
    """

    parameters: Mapping[str, Any]
    choice: Choice
    plan: Plan
    run_dir: Path
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class SweepRow:
    """What became of one combination: its summary as `chain.summary` makes it, or what went wrong."""

    run: PlannedRun
    summary: Mapping[str, Any] | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The row as data for a machine."""
        facts: dict[str, Any] = {"run_id": self.run.run_dir.name, "parameters": dict(self.run.parameters)}
        facts |= {"status": "failed" if self.error else "ok", "error": self.error}
        return facts | {"summary": None if self.summary is None else dict(self.summary)}


def plan_matrix(
    project: Project, name: str, matrix: Mapping[str, Sequence[object]], choice: Choice, client: LLMClient
) -> list[PlannedRun]:
    """Freeze and check the plan of every combination; nothing is sent and no kernel started.

    Args:
        project: where the files are.
        name: the plan's name or path.
        matrix: values of `seed`, `limit` or `tasks`; one of `tasks` is a list of task names, or one name.
        choice: what all combinations share; a run id in it becomes the beginning of each run's id.
        client: the router.

    Raises:
        NotebookError: the matrix is wrong.
        SweepError: a plan cannot be used, or two combinations come to the same plan.
    """
    unknown = next((key for key in matrix if key not in CHOICES), None)
    if unknown is not None:
        raise SweepError(f"matrix: a sweep has no `{unknown}` to choose; it has {', '.join(CHOICES)}")
    both = next((key for key in matrix if getattr(choice, key) not in (None, ())), None)
    if both is not None:
        raise SweepError(f"matrix: `{both}` is chosen for all and in the matrix; give it once")
    runs: list[PlannedRun] = []
    for combination in combinations(matrix):
        own = _own_choice(choice, combination)
        plan = find_plan(project, name, own, client)
        run_dir, steps = planned_steps(project, name, plan, own)
        check_chain(steps, run_dir / "notebooks")
        twin = next((run for run in runs if run.plan.hash == plan.hash), None)
        if twin is not None:
            raise SweepError(
                f"matrix: {combination_name(combination)} asks for the same calls as "
                f"{combination_name(twin.parameters)}; leave one of them out"
            )
        runs.append(PlannedRun(combination, own, plan, run_dir, tuple(steps)))
    return runs


def _own_choice(choice: Choice, combination: Mapping[str, Any]) -> Choice:
    values = dict(combination)
    if "tasks" in values:
        values["tasks"] = (values["tasks"],) if isinstance(values["tasks"], str) else tuple(values["tasks"])
    for key in ("seed", "limit"):
        if key in values and type(values[key]) is not int:
            raise SweepError(f"matrix: `{key}` got {values[key]!r}; give whole numbers")
    if choice.run_id is not None:
        values["run_id"] = f"{choice.run_id}-{combination_name(combination)}"
    return replace(choice, **values)


def run_plans(project: Project, runs: Sequence[PlannedRun], watch: Watch, *, jobs: int = 2) -> list[SweepRow]:
    """Run the sweeps of a matrix one after the other, then the notebooks that read their runs.

    A combination that fails is kept with its error, and the others go on.

    Args:
        project: where the files are.
        runs: as `plan_matrix` gives them.
        watch: told of each sweep's progress, with its place in the matrix as `part`.
        jobs: most notebooks at once after the sweeps.

    Raises:
        KeyboardInterrupt: raised on after every kernel is ended.
    """
    rows: dict[Path, SweepRow] = {}
    for number, run in enumerate(runs, start=1):
        rows[run.run_dir] = _sweep(project, run, watch, f"{number} of {len(runs)}")
    swept = [run for run in runs if rows[run.run_dir].error is None]
    stop: Future[None] = Future()
    with ThreadPoolExecutor(max(jobs, 1), thread_name_prefix="llmbench-report") as pool:
        reports = [pool.submit(_report, project, run, stop) for run in swept]
        try:
            for ended in as_completed(reports):
                rows[ended.result().run.run_dir] = ended.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop.set_result(None)
            pool.shutdown()
            raise
    return list(rows.values())


def _sweep(project: Project, run: PlannedRun, watch: Watch, part: str) -> SweepRow:
    path = run.run_dir / PROGRESS_FILE
    path.unlink(missing_ok=True)
    try:
        with watched(path, lambda facts: watch(facts | {"part": part})):
            run_chain(
                run.steps[:1], run.run_dir / "notebooks", cwd=project.notebooks, timeout_s=CHAIN_TIMEOUT_S
            )
    except NotebookError as error:
        return SweepRow(run, error=str(error))
    return SweepRow(run)


def _report(project: Project, run: PlannedRun, stop: Future[None]) -> SweepRow:
    try:
        run_chain(
            run.steps[1:],
            run.run_dir / "notebooks",
            cwd=project.notebooks,
            timeout_s=CHAIN_TIMEOUT_S,
            stop=stop,
        )
        return SweepRow(run, summary(project, run.plan, run.choice))
    except BenchError as error:
        return SweepRow(run, error=str(error))
