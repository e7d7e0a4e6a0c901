"""The judges of a run: their questions go through the lanes, limits, budget and ledger of the candidates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmbench.bench.judging.asking import Ask, Results, judge_task
from llmbench.bench.judging.cells import JudgeCell
from llmbench.bench.judging.doubts import doubts
from llmbench.bench.ledger import read_ledger
from llmbench.bench.media_store import media_folder
from llmbench.bench.plan import Plan
from llmbench.bench.sending import run_lanes
from llmbench.bench.work import Work
from llmbench.errors import SweepError
from llmbench.routing.client import LLMClient


@dataclass(frozen=True, slots=True)
class Judged:
    """What the judges said: lines of judgements.jsonl (None without a judge), and the calls behind them."""

    lines: list[dict[str, Any]] | None = None
    fingerprints: tuple[str, ...] = ()

    def doubts(self) -> list[str]:
        """What speaks against resting a decision on these judges."""
        return doubts(self.lines or ())

    def graded(self, plan: Plan, rows: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        """The rows with the points of the tasks that a rubric scores; the others as they are."""
        by_rubric = {t.task for t in plan.tasks if t.judge is not None and t.judge.strategy == "rubric"}
        if not by_rubric:
            return rows
        from llmbench.bench.judged import graded_rows  # pandas: only where a rubric scores

        return graded_rows(rows, self.lines or (), by_rubric)


async def judge_run(work: Work, rows: Iterable[Mapping[str, Any]]) -> Judged:
    """Ask the judges what a run's rows need, as far as the ledger does not know it.

    Raises:
        RouteError, SweepError: a judge cannot be called, or the ledger cannot be used.
    """

    async def ask(cells: Sequence[JudgeCell]) -> Results:
        work.ledger.want(cell.fingerprint for cell in cells)
        state = work.ledger.state
        waiting: dict[str, list[JudgeCell]] = {}
        for cell in cells:
            if cell.fingerprint in state.results:
                work.progress.cached += 1
            else:
                waiting.setdefault(cell.lane, []).append(cell)
        work.progress.planned += len(cells)
        await run_lanes(work, {lane: iter(found) for lane, found in waiting.items()})
        return state.results

    return await _judge(work.plan, rows, work.client, ask, work.ledger.state.media)


async def judge_recorded(
    plan: Plan, rows: Iterable[Mapping[str, Any]], client: LLMClient, ledger: Path
) -> Judged:
    """The same from a recorded ledger alone.

    Raises:
        SweepError: it lacks a question's answer.
    """

    async def ask(cells: Sequence[JudgeCell]) -> Results:
        results = read_ledger(ledger, [cell.fingerprint for cell in cells]).results
        missing = [cell for cell in cells if cell.fingerprint not in results]
        if missing:
            raise SweepError(
                f"replay: {len(missing)} of {len(cells)} questions to a judge are not in {ledger}, first "
                f"{missing[0].name}; run the sweep without replay to ask them"
            )
        return results

    return await _judge(plan, rows, client, ask, media_folder(ledger))


async def _judge(
    plan: Plan, rows: Iterable[Mapping[str, Any]], client: LLMClient, ask: Ask, media: Path
) -> Judged:
    judged = [(task, task.judge) for task in plan.tasks if task.judge is not None]
    if not judged:
        return Judged()
    names = {task.task for task, _ in judged}
    known = [row for row in rows if row["task"] in names]
    asked: dict[str, None] = {}

    async def noted(cells: Sequence[JudgeCell]) -> Results:
        asked.update(dict.fromkeys(cell.fingerprint for cell in cells))
        return await ask(cells)

    lines: list[dict[str, Any]] = []
    for task, judge in judged:
        version = str(plan.models[judge.model]["version"])
        lines += await judge_task(task, known, client, version, noted, media)
    return Judged(lines, tuple(asked))
