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
        lines = _lines(path, plan.name)
        with contextlib.closing(JsonlWriter(path)) as writer:
            for task in plan.tasks:
                header, units = _header(plan, task), len(task.units)
                before = lines.get(task.task, [])
                same = _since_last_change(before, header)
                if before and not same:
                    resets.append(_reset(task.task, before[-1]["header"], header))
                budgets[task.task] = (*(n for n in same if n < units), units)
                if units not in same:
                    writer.append(
                        {"schema": 1, "timestamp": utc_now(), "plan": plan.name, "task": task.task,
                         "units": units, "header": header}
                    )  # fmt: skip
    except OSError as error:
        raise SweepError(f"{path} cannot be used: {error.strerror}; nothing is sent without it") from error
    return Declared(budgets, tuple(resets))


def _lines(path: Path, plan: str) -> dict[str, list[dict[str, Any]]]:
    """The plan's lines by task, oldest first; torn and foreign lines are passed over."""
    found: dict[str, list[dict[str, Any]]] = {}
    if not path.exists():
        return found
    for line in read_jsonl(path):
        record = line.record or {}
        if record.get("plan") == plan and isinstance(record.get("header"), dict):
            found.setdefault(str(record.get("task")), []).append(record)
    return found


def _since_last_change(lines: list[dict[str, Any]], header: Mapping[str, Any]) -> list[int]:
    """The sizes declared under this header since it was last another one, ascending."""
    sizes: set[int] = set()
    for line in reversed(lines):
        if line["header"] != header:
            break
        sizes.add(int(line["units"]))
    return sorted(sizes)


def _header(plan: Plan, task: TaskPlan) -> dict[str, Any]:
    terms = plan.terms(task).facts()
    terms.pop("stop")  # how many calls are made changes no evidence
    terms |= {"human_share": plan.human_share, "seed": plan.seed, "repeats": plan.repeats}
    terms["dataset"] = task.dataset.sha256
    terms["models"] = {model: plan.models[model]["version"] for model in task.candidates}
    header: dict[str, Any] = json.loads(json.dumps(terms))  # as it is read back
    return header


def _reset(task: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changed = [name for name in now if before.get(name) != now[name]]
    details = ", ".join(f"{name} {_short(before.get(name))} -> {_short(now[name])}" for name in changed)
    return (
        f"{task}: its evidence starts anew, since the header changed ({details}). A header that was chosen "
        "after looking at the same prompts does not keep its error rate: use prompts that are new."
    )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
