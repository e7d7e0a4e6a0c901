"""The sentences of a recommendation: plain words with the numbers they rest on, in points of 100."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmbench.bench.arms import TaskTable
from llmbench.bench.verdict import Outcome, Verdict


@dataclass(frozen=True, slots=True)
class Said:
    """What a task's sentence is about: where it is routed today, where it would be, and at which error."""

    task: str
    tier: str
    reference: str
    proposed_tier: str
    proposed_model: str
    margin: float
    alpha: float
    table: TaskTable


def task_sentence(said: Said, outcome: Outcome, chosen: Verdict | None, verdicts: Sequence[Verdict]) -> str:
    """One sentence per task, with the numbers that carry it."""
    candidates = [verdict for verdict in verdicts if verdict.state != "reference"]
    if chosen is not None:
        return f"{_destination(said, outcome)}: {_compared(said, chosen, 'it')}, {_cost(chosen)}."
    if said.table.pending and all(verdict.delta is None for verdict in candidates):
        return f"No verdict for {said.task}: {pending(said.table)}."
    details = "; ".join(_detail(said, verdict) for verdict in candidates)
    where = _where(candidates[0]) if candidates else ""
    details = details.replace(f"; {where} ", "; ")  # the same prompts are named once
    if outcome == "keep":
        keep = f"Keep {said.task} on {said.tier} ({said.reference})"
        return f"{keep}: {details}." if candidates else f"{keep}: no other model was compared."
    return f"No verdict for {said.task}, which stays on {said.tier} ({said.reference}): {details}."


def reason(row: Verdict, margin: float) -> str:
    """Why a candidate has its state."""
    low, high = (signed(limit) for limit in row.delta_interval or (0.0, 0.0))
    bar = f"−{points(margin)}"
    if row.state == "worse":
        return f"worse by more than the margin: the upper limit {high} is below {bar} points"
    if row.state == "costly":
        return _costly(row)
    if row.state == "promote":
        return f"no worse than the margin allows (lower limit {low}, above {bar} points), {_cost(row)}"
    if row.state == "unlikely":
        return f"not decided, and the estimate {signed(row.delta or 0.0)} is not above {bar} points"
    more = "no feasible number of" if row.needs_more is None else f"about {row.needs_more}"
    return (
        f"not decided: the interval {low} to {high} holds {bar} points; "
        f"{more} more would prove it if the gap seen is the true one"
    )


def pending(table: TaskTable) -> str:
    """Say how many of a task's cells are missing."""
    return f"{table.pending} of {table.expected} cells are still to be run"


def lacking(samples: int, planned: int) -> str:
    """Say that one pair of models misses too many samples for a move."""
    return f"{samples} of {planned} samples are still to be run for this model or the reference"


def notes(tables: Sequence[TaskTable], alpha: float) -> list[str]:
    """What holds for every task of the report."""
    tested = sum(1 for table in tables if table.candidates)
    moves = (
        f"at most {alpha * tested:.3g} false moves are expected in {tested} task{'s' if tested != 1 else ''}"
    )
    lines = [
        "Failed and timed-out calls count as score 0. The unit of every interval is the cluster.",
        f"At alpha {100 * alpha:g} % per task, {moves}.",
        "The intervals are for one look at a table whose size was fixed beforehand.",
        "A run made longer because it was undecided, and judged again, is not covered by alpha.",
    ]
    return lines + [f"{table.task}: {pending(table)} and are left out." for table in tables if table.pending]


def points(value: float) -> str:
    """A share as points of 100, without its sign: 0.0523 -> 5.2, 0.1 -> 10."""
    return f"{100 * abs(value):.1f}".removesuffix(".0")


def signed(value: float) -> str:
    """A difference as points of 100 with its sign, one decimal: -0.05 -> −5.0."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def _destination(said: Said, outcome: Outcome) -> str:
    if said.proposed_tier == said.tier:
        return f"Put {said.proposed_model} before {said.reference} for {said.task} ({said.tier})"
    up = " up" if outcome == "demote" else ""
    return (
        f"Move {said.task}{up} from {said.tier} ({said.reference}) "
        f"to {said.proposed_tier} ({said.proposed_model})"
    )


def _compared(said: Said, row: Verdict, name: str) -> str:
    delta, (low, high) = row.delta or 0.0, row.delta_interval or (0.0, 0.0)
    level = 100 * (1 - 2 * said.alpha / max(len(said.table.candidates), 1))
    shown = f"{100 * abs(delta):.1f} points"
    gap = f"{shown} {'below' if delta < 0 else 'above'}" if shown != "0.0 points" else "the same"
    return (
        f"{_where(row)} {name} scored {gap} "
        f"({level:.3g} % interval {signed(low)} to {signed(high)}, margin {points(said.margin)})"
    )


def _where(row: Verdict) -> str:
    grouped = "" if row.clusters == row.n else f" in {row.clusters} clusters"
    return f"on {row.n} of your prompts{grouped}"


def _cost(row: Verdict) -> str:
    if row.cost_ratio is None:
        return "at an unknown cost"
    if row.cost_ratio <= 1.0:
        return f"at {row.cost_ratio:.2g} of the cost"
    return f"at {row.cost_ratio:.3g} times the cost"


def _costly(row: Verdict) -> str:
    if row.cost_ratio is None:
        return "its cost or the reference's is unknown, so it is not shown to be cheaper"
    if row.cost_ratio_interval is None:
        return f"not shown to be cheaper: {_cost(row)}, and the costs seen bound nothing"
    return f"not shown to be cheaper: {_cost(row)} (95 % interval up to {row.cost_ratio_interval[1]:.3g})"


def _detail(said: Said, row: Verdict) -> str:
    if row.delta is None:
        return f"{row.model}: {row.reason}"
    compared = _compared(said, row, row.model)
    if row.state == "worse":
        return compared
    if row.state == "costly":
        return (
            f"{row.model} is {_costly(row)}" if row.cost_ratio is not None else f"{row.model}: {row.reason}"
        )
    if row.state == "unlikely":
        return f"{compared}, so that more prompts are not expected to prove it"
    if row.needs_more is None:
        return f"{compared}, which decides nothing"
    unit = "prompts" if row.clusters == row.n else "clusters of prompts"
    more = f"about {row.needs_more} {unit} more would, if this gap is the true one"
    return f"{compared}, which decides nothing; {more}"
