"""A judge's verdicts and people's labels, set beside the rows of a run.

A preference is the mean of the verdicts in both orders, in [-1, 1], 1 for the candidate. A pair that lacks
one of them, or whose label is still owed, is pending: a verdict that is missing is never a score. Equal
answers are a preference of 0 without any question.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from llmbench.bench.labels import PairKey, labelled_share
from llmbench.errors import SweepError


def add_judgements(
    rows: pd.DataFrame,
    plan: Mapping[str, Any],
    judgements: Iterable[Mapping[str, Any]],
    labels: Iterable[Mapping[str, Any]] = (),
) -> pd.DataFrame:
    """Give the candidates' rows of judged tasks their columns `preference` and `human`.

    Args:
        rows: the rows of results.jsonl.
        plan: plan.json; `human_share` says on which share of the pairs people's labels are owed.
        judgements: lines of judgements.jsonl.
        labels: lines of labels.jsonl; the last one for a pair counts.

    Raises:
        SweepError: a task has verdicts of two judges, or a verdict or label is out of range.
    """
    verdicts = _verdicts(judgements)
    if not verdicts:
        return rows
    said = {_key(line): _in_range(line, "label") for line in labels}
    judged = {key.task for key in verdicts}
    references = {task: str(entry["reference"]) for task, entry in plan["tasks"].items() if task in judged}
    records: list[dict[str, Any]] = rows.to_dict("records")  # type: ignore[assignment]  # the columns are texts
    today = {
        (row["task"], row["sample_id"], row["repeat"]): row
        for row in records
        if row["model"] == references.get(row["task"])
    }
    drawn = _drawn(verdicts, plan.get("human_share"), int(plan.get("seed") or 0))
    found = []
    for row in records:
        reference = references.get(row["task"])
        if reference is None or row["model"] == reference or row["status"] == "harness":
            found.append(row)
            continue
        key = _key({**row, "other": reference})
        other = today.get((row["task"], row["sample_id"], row["repeat"]))
        found.append(
            row | _compared(row, other, verdicts.get(key, {}), said.get(key), is_drawn=key.id in drawn)
        )
    return pd.DataFrame(found)


def _verdicts(judgements: Iterable[Mapping[str, Any]]) -> dict[PairKey, dict[str, float | None]]:
    """Pair -> order -> verdict, of the one judge that each task has."""
    verdicts: dict[PairKey, dict[str, float | None]] = {}
    judges: dict[str, tuple[object, object]] = {}
    for line in judgements:
        key, judge = _key(line), (line.get("judge"), line.get("strategy"))
        if judges.setdefault(key.task, judge) != judge:
            raise SweepError(
                f"judgements: {key.task} was judged by {judges[key.task][0]} and by {judge[0]}; keep the "
                "lines of one judge and one strategy: the evidence is about one way of scoring"
            )
        verdict = None if line.get("verdict") is None else _in_range(line, "verdict")
        verdicts.setdefault(key, {})[str(line.get("order"))] = verdict
    return verdicts


def _in_range(line: Mapping[str, Any], name: str) -> float:
    value = line.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1.0 <= value <= 1.0:
        raise SweepError(f"judgements: {_key(line).id}: {name} {value!r} is not a number in [-1, 1]")
    return float(value)


def _key(line: Mapping[str, Any]) -> PairKey:
    names = [str(line.get(name)) for name in ("task", "sample_id", "model", "other")]
    return PairKey(*names)


def _drawn(verdicts: Iterable[PairKey], share: float | None, seed: int) -> set[str]:
    """The pairs on which a person's label is owed."""
    return set() if share is None else set(labelled_share([key.id for key in verdicts], share, seed))


def _compared(
    row: Mapping[str, Any],
    other: Mapping[str, Any] | None,
    verdicts: Mapping[str, float | None],
    label: float | None,
    *,
    is_drawn: bool,
) -> dict[str, Any]:
    """The columns of a candidate's row. A lost answer and an equal one are compared without any question."""
    pending = {"status": "harness", "preference": None, "human": None}
    if other is None or other["status"] == "harness":
        return pending
    answered, was_answered = row["status"] == "ok", other["status"] == "ok"
    if not (answered and was_answered):
        return {"preference": float(answered) - float(was_answered), "human": None}
    if str(row.get("output") or "").strip() == str(other.get("output") or "").strip():
        return {"preference": 0.0, "human": None}
    known = [verdict for order in ("AB", "BA") if (verdict := verdicts.get(order)) is not None]
    if len(known) < 2 or (is_drawn and label is None):
        return pending
    return {"preference": sum(known) / 2.0, "human": label if is_drawn else None}
