"""A live race: the calls that the rule of a task needs, and no others."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmbench.bench.cells import Cell, lanes
from llmbench.bench.headers import Declared
from llmbench.bench.ledger import LedgerState
from llmbench.bench.measured import Call
from llmbench.bench.plan import Plan, TaskPlan
from llmbench.bench.race import Race
from llmbench.bench.results import cell_score
from llmbench.bench.sending import run_lanes
from llmbench.bench.terms import arm_name
from llmbench.bench.work import Work


@dataclass(frozen=True, slots=True)
class Round:
    """The cells that a race needs next."""

    task: TaskPlan
    race: Race
    cells: list[Cell]


def rounds(plan: Plan, cells: Sequence[Cell], state: LedgerState, declared: Declared) -> Iterator[Round]:
    """Run the race of each task, one task after the other.

    Whoever takes a round from here sees to it that the ledger's state has its cells before taking the next
    one; a cell without a result then counts as pending.
    """
    by_place: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        by_place.setdefault((cell.task.task, cell.model, cell.sample.id), []).append(cell)
    for task in plan.tasks:
        race = Race(plan.terms(task), task.units, declared.budgets[task.task])
        for wants in race.run():
            asked = {model: {p: by_place[task.task, model, p] for p in prompts} for model, prompts in wants}
            flat = [cell for found in asked.values() for each in found.values() for cell in each]
            yield Round(task, race, flat)
            for model, found in asked.items():
                calls = {prompt: _calls(each, state) for prompt, each in found.items()}
                race.measured.add(model, list(found), calls)


async def run_decided(work: Work, cells: Sequence[Cell], declared: Declared) -> list[Cell]:
    """Call what each task's race needs; returns the cells that it needed, those of the ledger too."""
    needed: set[str] = set()
    state = work.ledger.state
    for round_ in rounds(work.plan, cells, state, declared):
        work.progress.decisions[round_.task.task] = standing(round_.race)
        work.file.show(work.progress)
        needed.update(cell.fingerprint for cell in round_.cells)
        waiting = [cell for cell in round_.cells if cell.fingerprint not in state.results]
        work.progress.cached += len(round_.cells) - len(waiting)
        if waiting:
            await run_lanes(work, lanes(round_.cells, finished=state.results))
        else:
            await asyncio.sleep(0)  # a race from the ledger alone can still be interrupted
    return [cell for cell in cells if cell.fingerprint in needed]


def standing(race: Race) -> list[dict[str, Any]]:
    """The state of each candidate now, for those who watch."""
    trials = [race.trials[arm] for arm in (race.order or race.terms.candidates)]
    return [
        {
            "model": arm_name(trial.arm),
            "state": trial.state if trial.is_over else "running" if trial.prompts else "waiting",
            "prompts": trial.prompts,
            "evidence": round(trial.evidence, 2),
            "needed": math.ceil(1.0 / race.terms.side - 1e-9),
        }
        for trial in trials
    ]


def _calls(cells: Sequence[Cell], state: LedgerState) -> list[Call]:
    """The repeats of one model on one sample; none when one of them has no result."""
    lines = [state.results.get(cell.fingerprint) for cell in cells]
    known = [(cell, line) for cell, line in zip(cells, lines, strict=True) if line is not None]
    return [_call(cell, line, state.media) for cell, line in known] if len(known) == len(cells) else []


def _call(cell: Cell, line: Mapping[str, Any], media: Path) -> Call:
    status = str(line["status"])
    given = cell_score(cell, status, line.get("output"), media)
    score = 0.0 if given is None else given.value
    return Call(status, score, _number(line.get("latency_ms")), _number(line.get("cost_usd")))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
