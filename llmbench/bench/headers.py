"""What was declared before the first call of every task, kept so that nobody can declare it afterwards.

A line a task each time a plan is run under a header that is new, beside the ledger. The same header with
more prompts goes on with the evidence it has: the earlier sizes of the pool are its earlier budgets. Anything
else that changed (margin, error rate, candidates, a limit, a model's version) starts the evidence anew, and
the run says so.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmbench.bench.plan import Plan, TaskPlan
from llmbench.errors import SweepError
from llmbench.jsonl import JsonlWriter, read_jsonl
from llmbench.telemetry import utc_now

HEADERS_FILE: Final = "headers.jsonl"
_CHOSEN_LATER: Final = (
    "A header that was chosen after looking at the same prompts does not keep its error rate: use prompts "
    "that are new."
)


@dataclass(frozen=True, slots=True)
class Declared:
    """What holds for a run.

    Attributes:
        budgets: task -> clusters planned, each earlier plan before the next.
        resets: what changed since the last run of a task, in words.
    """

    budgets: Mapping[str, tuple[int, ...]]
    resets: tuple[str, ...] = ()

    def facts(self, plan: Plan) -> dict[str, Any]:
        """The content of plan.json."""
        facts = plan.facts()
        for task, budgets in self.budgets.items():
            facts["tasks"][task]["budgets"] = list(budgets)
        return facts | {"resets": list(self.resets)}


def first_declared(plan: Plan) -> Declared:
    """What holds for a plan that nobody ran before."""
    return Declared({task.task: (len(task.units),) for task in plan.tasks})


def declare(path: Path, plan: Plan) -> Declared:
    """Compare a plan with what was declared before, and record it where it is new. Before any call.

    Raises:
        SweepError: the file cannot be read or written.
    """
    budgets: dict[str, tuple[int, ...]] = {}
    resets: list[str] = []
    try:
        lines = _lines(path)
        with contextlib.closing(JsonlWriter(path)) as writer:
            for task in plan.tasks:
                header, units = _header(plan, task), len(task.units)
                before = _of_same_prompts(lines, plan.name, task.task, header)
                same = [int(line["units"]) for line in before if line["header"] == header]
                resets += _resets(task.task, plan.name, before, header)
                budgets[task.task] = (*sorted({n for n in same if n < units}), units)
                if units not in same:
                    writer.append(
                        {"schema": 1, "timestamp": utc_now(), "plan": plan.name, "task": task.task,
                         "units": units, "header": header}
                    )  # fmt: skip
    except OSError as error:
        raise SweepError(f"{path} cannot be used: {error.strerror}; nothing is sent without it") from error
    return Declared(budgets, tuple(resets))


def _lines(path: Path) -> list[dict[str, Any]]:
    """What was declared, oldest first; torn and foreign lines are passed over."""
    if not path.exists():
        return []
    records = (line.record or {} for line in read_jsonl(path))
    return [record for record in records if isinstance(record.get("header"), dict)]


def _of_same_prompts(
    lines: list[dict[str, Any]], plan: str, task: str, header: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The task's lines under this plan, and of other plans that judged a candidate on the same prompts."""
    return [
        line
        for line in lines
        if line.get("task") == task and (line.get("plan") == plan or _is_other_look(line["header"], header))
    ]


def _is_other_look(other: Mapping[str, Any], header: Mapping[str, Any]) -> bool:
    both = set(other.get("candidates") or ()) & set(header["candidates"])
    return bool(both) and all(other.get(name) == header[name] for name in ("dataset", "reference"))


def _resets(task: str, plan: str, before: list[dict[str, Any]], header: Mapping[str, Any]) -> list[str]:
    """What was declared otherwise before this header was, and by when: it stays to be said of every run."""
    first = next((at for at, line in enumerate(before) if line["header"] == header), len(before))
    changed = [line for line in before[:first] if line["header"] != header]
    if not changed:
        return []
    last = changed[-1]
    names = [name for name in header if last["header"].get(name) != header[name]]
    details = [f"{name} {_short(last['header'].get(name))} -> {_short(header[name])}" for name in names]
    where = "" if last.get("plan") == plan else f" in plan {last.get('plan')}"
    since = f"before{where} at {str(last.get('timestamp'))[:16]}Z"
    text = f"{task}: its evidence starts anew, since the header changed ({', '.join(details)}; {since})."
    return [text if names == ["models"] else f"{text} {_CHOSEN_LATER}"]


def _header(plan: Plan, task: TaskPlan) -> dict[str, Any]:
    terms = plan.terms(task).facts()
    terms.pop("stop")  # how many calls are made changes no evidence
    if plan.family == "task":
        terms.pop("tasks")  # each task has its own alpha
    terms |= {"human_share": plan.human_share, "seed": plan.seed, "repeats": plan.repeats}
    terms["dataset"] = task.dataset.sha256
    terms["models"] = {model: plan.models[model]["version"] for model in task.candidates}
    header: dict[str, Any] = json.loads(json.dumps(terms))  # as it is read back
    return header


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
