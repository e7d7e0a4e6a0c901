"""Figures that describe a run and decide nothing: ranking, cost-quality hull, Holm table, slices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from llmbench.bench.descriptive import holm_table, slice_table
from llmbench.bench.frontier import average_improvement_in_quality, frontier
from llmbench.bench.ranking import bradley_terry, pairs_from_scores
from llmbench.errors import SweepError

_RESAMPLES: Final = 300
FAILED: Final = ("error", "timeout")


def describe(rows: pd.DataFrame, plan: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The content of extras.json: `ranking`, `aiq`, `holm` and `slices`, each a list of rows.

    The Holm table is for a full grid alone: the rows of a race that stopped when it was decided are no
    table of a size fixed beforehand.

    Args:
        rows: the rows of results.jsonl.
        plan: plan.json.
    """
    found: dict[str, list[dict[str, Any]]] = {"ranking": [], "aiq": [], "holm": [], "slices": []}
    done = rows[rows["status"] != "harness"] if len(rows) else rows
    if done.empty:
        return found
    references = {task: str(entry["reference"]) for task, entry in plan["tasks"].items()}
    margin, alpha = float(plan["margin"]), float(plan["alpha"])
    for task, mine in done.groupby("task", sort=False):
        found["ranking"] += _ranking(str(task), mine)
        found["aiq"] += _aiq(str(task), mine)
    measured = {task: model for task, model in references.items() if task in set(done["task"])}
    if plan.get("stop", "grid") == "grid":
        holm = holm_table(done, measured, margin=margin)
        holm = holm.rename(columns={"candidate": "model", "p_value": "p"})
        found["holm"] = _records(holm.assign(rejected=holm["p_holm"] <= alpha))
    slices = slice_table(done, measured, margin=margin, alpha=alpha)
    slices = slices.rename(columns={"slice": "value"}).rename(
        columns={"dimension": "slice", "difference": "delta"}
    )
    found["slices"] = _records(slices)
    return found


def _ranking(task: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Nothing where the models of a task never met often enough to be ranked."""
    try:
        ranked = bradley_terry(pairs_from_scores(rows), resamples=_RESAMPLES)
    except SweepError:
        return []
    return [{"task": task, **row} for row in _records(ranked)]


def _aiq(task: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The hull of mean cost and quality; nothing where a cost is unknown."""
    by_model = rows.assign(score=rows["score"].where(~rows["status"].isin(FAILED), 0.0)).groupby("model")
    means = by_model[["cost_usd", "score"]].mean()
    if len(means) < 2 or bool(means.isna().any(axis=None)):
        return []
    line = frontier(means["cost_usd"], means["score"], list(means.index))
    return [{"task": task, "aiq": _plain(average_improvement_in_quality(line)), "hull": list(line.names)}]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    """A value that JSON can hold, figures in six digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value.item() if hasattr(value, "item") else value
