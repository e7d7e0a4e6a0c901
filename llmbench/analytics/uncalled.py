"""What a run did not call, and why: candidates left out, trials not needed, models out of reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmbench.analytics.json_objects import as_number, as_object, as_objects, as_texts
from llmbench.display.decision_text import unneeded
from llmbench.display.language import say


@dataclass(frozen=True, slots=True)
class CallsRow:
    """The calls of one task: model -> prompts it was called on, of `pool`; `saved` is a part of one."""

    task: str
    calls: Mapping[str, int]
    pool: int | None
    saved: float | None


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A candidate whose trial was not brought to an end, and why."""

    task: str
    model: str
    n: int
    why: str


@dataclass(frozen=True, slots=True)
class Uncalled:
    """What was left out of a run.

    Attributes:
        models: every model that was called, in the order of the plan.
        rows: the calls of each task.
        made: prompts called, over all tasks and models; None when unknown.
        grid: the same of the full grid.
        excluded: (task, candidate, reason) of candidates that the constraints do not allow.
        unfinished: candidates whose trial was not brought to an end.
        unreachable: models that could not be called when the run was planned.
    """

    models: Sequence[str]
    rows: Sequence[CallsRow]
    made: int | None
    grid: int | None
    excluded: Sequence[tuple[str, str, str]]
    unfinished: Sequence[Unfinished]
    unreachable: Sequence[str]

    @property
    def saved(self) -> float | None:
        """The share of the full grid's calls that were not made; None when unknown."""
        return None if self.made is None or not self.grid else 1.0 - self.made / self.grid


def tell_uncalled(tasks: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]) -> Uncalled:
    """Gather what was not called from the tasks of recommendation.json and from plan.json."""
    rows = [_calls_row(task) for task in tasks]
    grids = [n for task in tasks if (n := as_number(task["grid_calls"])) is not None]
    is_counted = bool(tasks) and len(grids) == len(tasks)
    return Uncalled(
        models=list(dict.fromkeys(model for row in rows for model in row.calls)),
        rows=[row for row in rows if row.calls],
        made=sum(n for row in rows for n in row.calls.values()) if is_counted else None,
        grid=int(sum(grids)) if is_counted else None,
        excluded=[
            (str(task["task"]), pair[0], pair[1])
            for task in tasks
            for pair in map(as_texts, task["excluded"] if isinstance(task["excluded"], list) else ())
            if len(pair) == 2
        ],
        unfinished=[each for task in tasks for each in _unfinished(task)],
        unreachable=as_texts(plan["unreachable"]),
    )


def _calls_row(task: Mapping[str, Any]) -> CallsRow:
    calls = {
        str(model): int(n)
        for model, value in as_object(task["calls"]).items()
        if (n := as_number(value)) is not None
    }
    pool = as_number(task["pool"])
    return CallsRow(str(task["task"]), calls, None if pool is None else int(pool), as_number(task["saved"]))


def _unfinished(task: Mapping[str, Any]) -> list[Unfinished]:
    choice, reference = task["choice"], task["reference"]
    why = (
        say("its trial had not ended when the calls stopped")
        if choice in (None, reference)
        else unneeded(str(choice))
    )
    return [
        Unfinished(str(task["task"]), str(row["model"]), int(as_number(row["n"]) or 0), why)
        for row in as_objects(task["candidates"])
        if row["was_tried_to_the_end"] is False
    ]
