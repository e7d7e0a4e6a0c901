"""The table of a run, checked and reduced to what each model of a task measured.

The unit is the cluster: repeats are averaged per sample, then samples per cluster, and a difference is taken
on the same samples. A failed or timed-out call is an answer of score 0. A cell that is still to be run
(`harness`, or planned and absent) is left out and counted as pending.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmbench.errors import SweepError

Floats = NDArray[np.float64]

COLUMNS: Final = (
    "task", "model", "model_version", "sample_id", "cluster", "repeat", "status", "score",
    "cost_usd", "latency_ms", "output_tokens",
)  # fmt: skip
CELL: Final = ["task", "model", "sample_id", "repeat"]
FAILED: Final = ("error", "timeout")
STATUSES: Final = ("ok", *FAILED, "harness")


@dataclass(frozen=True, slots=True)
class Arm:
    """What one model did on one task.

    Attributes:
        model: the model key.
        calls: finished cells.
        failures: finished cells that ended as error or timeout.
        samples: samples with every repeat finished.
        quality: mean score per cluster, each in [0, 1].
        pending: cells still to be run.
        cost_usd: mean cost of a call, or None when unknown.
        latency_ms: per answered or timed-out call.
        timed_out: one flag per entry of latency_ms.
        tokens_per_s: output tokens of all answers over their latency, or None.
    """

    model: str
    calls: int
    failures: int
    samples: int
    quality: Floats
    pending: int
    cost_usd: float | None
    latency_ms: Floats
    timed_out: NDArray[np.bool_]
    tokens_per_s: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """A candidate against the reference, on the samples that both finished.

    Attributes:
        differences: mean score difference (candidate minus reference) per cluster.
        samples: how many samples are behind it.
        candidate_cost: summed cost per cluster, or None when a cost is unknown.
        reference_cost: the same for the reference.
    """

    differences: Floats
    samples: int
    candidate_cost: Floats | None
    reference_cost: Floats | None


@dataclass(frozen=True, slots=True)
class TaskTable:
    """One task's part of a run.

    Attributes:
        task: the task's name.
        reference: the model key that the task is routed to today.
        candidates: the other model keys, in alphabetical order.
        expected: cells that the plan asks for.
        pending: cells still to be run.
        samples: samples planned.
        clusters: clusters of the samples seen.
        cells: the finished rows; score 0 where a call failed.
        repeats: repeats per sample.
    """

    task: str
    reference: str
    candidates: tuple[str, ...]
    expected: int
    pending: int
    samples: int
    clusters: int
    cells: pd.DataFrame
    repeats: int


def read_tables(results: pd.DataFrame, plan: Mapping[str, Any]) -> dict[str, TaskTable]:
    """Check a run's rows against its plan and split them by task, in the plan's order.

    Args:
        results: the rows of results.jsonl.
        plan: plan.json.

    Raises:
        SweepError: a column is missing, a row stands twice, a score or cost is out of range, a sample changes
            its cluster, a model its version, or a model was run on samples, repeats or tasks not planned.
    """
    frame = _clean(results)
    tasks: Mapping[str, Mapping[str, Any]] = plan["tasks"]
    _refuse(frame[~frame["task"].isin(list(tasks))], "task {task} is not in the plan")
    return {task: _task_table(task, frame[frame["task"] == task], plan) for task in tasks}


def measure(table: TaskTable, model: str) -> Arm:
    """Sum up one model's finished cells of a task."""
    cells = table.cells[table.cells["model"] == model]
    samples = _per_sample(table, model)
    answered = cells[cells["status"] != "error"]
    answers = cells[cells["status"] == "ok"]
    seconds = float(answers["latency_ms"].sum()) / 1000.0
    return Arm(
        model=model,
        calls=len(cells),
        failures=int(cells["status"].isin(FAILED).sum()),
        samples=len(samples),
        quality=_array(samples.groupby("cluster", sort=True)["score"].mean()),
        pending=table.samples * table.repeats - len(cells),
        cost_usd=None if cells.empty or _cost_unknown(cells) else float(_costs(cells).mean()),
        latency_ms=_array(answered["latency_ms"]),
        timed_out=np.asarray(answered["status"] == "timeout", dtype=np.bool_),
        tokens_per_s=float(answers["output_tokens"].sum()) / seconds if seconds > 0.0 else None,
    )


def pair(table: TaskTable, model: str) -> Pair:
    """Set a candidate against the reference, sample by sample, and reduce to clusters."""
    today = _per_sample(table, table.reference)[["score", "cost"]].add_suffix("_reference")
    both = _per_sample(table, model).join(today, how="inner")
    both["difference"] = both["score"] - both["score_reference"]
    by_cluster = both.groupby("cluster", sort=True)
    priced = bool(both[["cost", "cost_reference"]].notna().all(axis=None))
    return Pair(
        differences=_array(by_cluster["difference"].mean()),
        samples=len(both),
        candidate_cost=_array(by_cluster["cost"].sum()) if priced else None,
        reference_cost=_array(by_cluster["cost_reference"].sum()) if priced else None,
    )


def _clean(results: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in COLUMNS if name not in results.columns]
    if missing:
        raise SweepError(
            f"results: column {missing[0]} is missing; read the rows of results.jsonl as they are"
        )
    frame = results.loc[:, list(COLUMNS)].reset_index(drop=True)
    for name in ("score", "cost_usd", "latency_ms", "output_tokens"):
        try:
            frame[name] = pd.to_numeric(frame[name]).astype("float64")
        except (TypeError, ValueError) as error:
            raise SweepError(
                f"results: column {name} holds something that is not a number: {error}"
            ) from error
    frame["cluster"] = frame["cluster"].where(frame["cluster"].notna(), frame["sample_id"])
    for name in ("task", "model", "sample_id", "cluster"):
        frame[name] = frame[name].astype(str)
    frame = frame.sort_values(CELL, kind="stable", ignore_index=True)
    _refuse(frame[frame.duplicated(CELL)], "{task} x {model} x {sample_id} x repeat {repeat} stands twice")
    _refuse(frame[~frame["status"].isin(STATUSES)], "{task} x {model} x {sample_id}: unknown status {status}")
    failed = frame["status"].isin(FAILED)
    frame.loc[failed, "score"] = frame.loc[failed, "score"].fillna(0.0)
    done = frame["status"] != "harness"
    out_of_range = done & ~frame["score"].between(0.0, 1.0)
    _refuse(frame[out_of_range], "{task} x {model} x {sample_id}: score {score} is not in [0, 1]")
    _refuse(
        frame[failed & (frame["score"] != 0.0)], "{task} x {model} x {sample_id}: a failure has score {score}"
    )
    _refuse(
        frame[done & (frame["cost_usd"] < 0.0)], "{task} x {model} x {sample_id}: cost {cost_usd} is negative"
    )
    no_time = done & (frame["status"] != "error") & ~np.isfinite(frame["latency_ms"])
    _refuse(frame[no_time], "{task} x {model} x {sample_id}: latency_ms {latency_ms} is not a number")
    return frame


def _task_table(task: str, frame: pd.DataFrame, plan: Mapping[str, Any]) -> TaskTable:
    declared: Mapping[str, Any] = plan["tasks"][task]
    repeats = int(plan.get("repeats", 1))
    reference = str(declared["reference"])
    candidates = tuple(sorted({str(model) for model in declared["candidates"]} - {reference}))
    models = (reference, *candidates)
    _refuse(frame[~frame["model"].isin(models)], "{task}: model {model} is not a candidate of the plan")
    numbers = pd.to_numeric(frame["repeat"])
    _refuse(frame[~numbers.between(0, repeats - 1)], "{task} x {model}: repeat {repeat} is not planned")
    clusters = frame.drop_duplicates(["sample_id", "cluster"])
    _refuse(
        clusters[clusters.duplicated("sample_id")], "{task}: sample {sample_id} is also in cluster {cluster}"
    )
    cells = frame[frame["status"] != "harness"]
    versions = cells.dropna(subset="model_version").drop_duplicates(["model", "model_version"])
    _refuse(
        versions[versions.duplicated("model")],
        "{task}: {model} changed its version to {model_version} during the run; start a new run",
    )
    planned = int(declared.get("samples", frame["sample_id"].nunique()))
    _check_same_samples(task, frame, reference, planned)
    expected = planned * repeats * len(models)
    return TaskTable(
        task=task,
        reference=reference,
        candidates=candidates,
        expected=expected,
        pending=expected - len(cells),
        samples=planned,
        clusters=int(frame["cluster"].nunique()),
        cells=cells,
        repeats=repeats,
    )


def _check_same_samples(task: str, frame: pd.DataFrame, reference: str, planned: int) -> None:
    """More sample ids than planned mean that the models were not run on the same samples."""
    if frame["sample_id"].nunique() <= planned:
        return
    known = set(frame.loc[frame["model"] == reference, "sample_id"])
    for model, rows in frame.groupby("model", sort=True):
        extra = sorted(set(rows["sample_id"]) - known)
        if extra:
            raise SweepError(
                f"results: {task}: {model} was run on sample {extra[0]}, {reference} was not; "
                "compare models on the same samples"
            )
    raise SweepError(
        f"results: {task}: {frame['sample_id'].nunique()} samples, but the plan has {planned}; "
        "use the plan of this run"
    )


def _refuse(rows: pd.DataFrame, message: str) -> None:
    """Raise about the first of the rows that should not exist."""
    if not rows.empty:
        first = {str(name): value for name, value in rows.iloc[0].items()}
        more = f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""
        raise SweepError(f"results: {message.format_map(first)}{more}")


def _per_sample(table: TaskTable, model: str) -> pd.DataFrame:
    """One row per sample with every repeat finished: its cluster, mean score and mean cost."""
    cells = table.cells[table.cells["model"] == model]
    grouped = cells.assign(cost=_costs(cells)).groupby("sample_id", sort=True)
    samples = grouped[["score", "cost"]].mean()
    samples["cluster"] = grouped["cluster"].first()
    return samples[grouped.size() == table.repeats]


def _cost_unknown(cells: pd.DataFrame) -> bool:
    return bool(cells.loc[cells["status"] == "ok", "cost_usd"].isna().any()) or bool(
        cells["cost_usd"].isna().all()
    )


def _costs(cells: pd.DataFrame) -> pd.Series[float]:
    """Cost per call; a failed call without a known cost counts as the model's mean, all NaN when unknown."""
    if _cost_unknown(cells):
        return cells["cost_usd"] * float("nan")
    return cells["cost_usd"].fillna(float(cells["cost_usd"].mean()))


def _array(values: pd.Series[float]) -> Floats:
    return np.asarray(values, dtype=np.float64)
