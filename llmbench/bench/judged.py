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
    """
    verdicts: dict[PairKey, dict[str, float | None]] = {}
    for line in judgements:
        verdicts.setdefault(_key(line, line["other"]), {})[str(line["order"])] = line["verdict"]
    if not verdicts:
        return rows
    said = {_key(line, line["other"]): float(line["label"]) for line in labels}
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
        key = _key(row, reference)
        other = today.get((row["task"], row["sample_id"], row["repeat"]))
        found.append(
            row | _compared(row, other, verdicts.get(key, {}), said.get(key), is_drawn=key.id in drawn)
        )
    return pd.DataFrame(found)


def _key(line: Mapping[str, Any], other: object) -> PairKey:
    return PairKey(str(line["task"]), str(line["sample_id"]), str(line["model"]), str(other))


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
