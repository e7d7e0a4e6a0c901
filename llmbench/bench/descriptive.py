"""Descriptive tables beside a verdict, never inputs to one: a Holm-adjusted grid, and quality by slices.

A verdict comes from `llmbench.bench.evidence`, which holds however often somebody looks. What stands here
looks once at a finished table: it describes, and promotes nobody. Rows are those of results.jsonl, one a
(task, model, sample, repeat). Repeats are averaged first, a failed or timed-out call scores 0, a pending call
(status `harness`) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from llmbench.bench.measured import STATUSES
from llmbench.errors import SweepError

Floats = NDArray[np.float64]
_NEEDED: Final = ("task", "sample_id", "model", "status", "score")
_HOLM_COLUMNS: Final = ("task", "reference", "candidate", "clusters", "difference", "p_value", "p_holm")
_SLICE_COLUMNS: Final = (
    "task", "dimension", "slice", "model", "n", "clusters", "score", "difference", "warning",
)  # fmt: skip


def score_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The scores of one task: a sample a row, a model a column, repeats averaged.

    Args:
        rows: columns task, sample_id, model, status, score; optionally cluster (a sample without one is its
            own) and repeat.

    Returns:
        Indexed by (cluster, sample_id), both sorted; columns are all models of the rows, sorted. NaN where a
        model has no finished call.

    Raises:
        SweepError: a column is missing, there are no rows or rows of several tasks, a status is unknown, a
            score is not in [0, 1], a row stands twice, or a sample has two clusters.
    """
    rows = _checked(rows)
    tasks = sorted(set(rows["task"]))
    if len(tasks) != 1:
        raise SweepError(
            f"results: rows of {len(tasks)} tasks ({', '.join(tasks)}); give those of one task at a time"
        )
    finished = rows[rows["status"] != "harness"].sort_values(["sample_id", "model", "repeat"])
    means = finished.groupby(["cluster", "sample_id", "model"])["score"].mean().unstack("model")
    return means.reindex(columns=pd.Index(sorted(set(rows["model"])), name="model"))


def paired_t_p_value(differences: ArrayLike, margin: float) -> float:
    """One-sided p value of "the mean difference is at most -margin": small speaks for non-inferiority.

    A t test on the cluster means with one difference of +1 and one of -1 added, so that a sample without any
    spread does not look like certainty. It needs independent clusters, and a look that was fixed beforehand.

    Args:
        differences: candidate minus reference, one mean per cluster, each in [-1, 1].
        margin: the loss that is accepted, in (0, 1).

    Returns:
        A value in [0, 1]; 1 when there is no difference to look at.

    Raises:
        SweepError: a difference is out of range, or the margin is.
    """
    seen = np.asarray(differences, dtype=np.float64)
    if not bool((np.abs(seen) <= 1.0).all()):  # NaN is refused as well
        raise SweepError("differences: give candidate minus reference per cluster, each in [-1, 1]")
    _refuse_share("margin", margin)
    if seen.size == 0:
        return 1.0
    return float(stats.ttest_1samp(np.r_[seen, 1.0, -1.0], -margin, alternative="greater").pvalue)


def holm_table(rows: pd.DataFrame, references: Mapping[str, str], *, margin: float = 0.05) -> pd.DataFrame:
    """Non-inferiority of every other model of every task, adjusted together by Holm's method.

    The chance that any p_holm of a truly inferior model falls below alpha is at most alpha, if the grid was
    fixed before the calls and is looked at once. The table of a race that stopped early is not such a grid.

    Source of the adjustment: S. Holm, "A simple sequentially rejective multiple test procedure" (1979).

    Args:
        rows: as for `score_table`, of any number of tasks.
        references: task -> the model it is routed to today; the tasks of the grid.
        margin: the loss that is accepted, in score units.

    Returns:
        One row a (task, candidate), sorted: task, reference, candidate, clusters (with results of both),
        difference (candidate minus reference, mean of cluster means; NaN without clusters), p_value, p_holm.
        A candidate without results stays in the grid with a p value of 1.

    Raises:
        SweepError: as `score_table`, or a task or its reference has no rows.
    """
    found = []
    for task, reference, own in _tasks(rows, references):
        scores = score_table(own)
        for candidate in scores.columns.drop(reference):
            seen = _cluster_means(scores[candidate] - scores[reference])
            mean = float(seen.mean()) if seen.size else math.nan
            p_value = paired_t_p_value(seen, margin)
            found.append((task, reference, str(candidate), seen.size, mean, p_value))
    table = pd.DataFrame(found, columns=list(_HOLM_COLUMNS[:-1]))
    return table.assign(p_holm=_holm(table["p_value"].to_numpy(dtype=np.float64)))


def least_clusters(margin: float, alpha: float) -> int:
    """The clusters below which no method can rule out a loss of `margin`, if no answer ever differs.

    ceil(ln(alpha) / ln(1 - margin)): with fewer, a model that loses a whole point on a share `margin` of the
    clusters shows no loss at all with a chance above alpha.

    Raises:
        SweepError: margin or alpha is outside (0, 1).
    """
    _refuse_share("margin", margin)
    _refuse_share("alpha", alpha)
    return math.ceil(math.log(alpha) / math.log1p(-margin))


def slice_table(
    rows: pd.DataFrame, references: Mapping[str, str], *, margin: float = 0.05, alpha: float = 0.05
) -> pd.DataFrame:
    """Quality by prompt length, language, channel and tag.

    Many slices are many looks: a large difference in one of them is a question to ask, not a finding.

    Args:
        rows: as for `score_table`, of any number of tasks. Sliced by those of prompt (terciles of its
            characters, per task), lang, channel and tags (a list a row) which are columns; a sample without
            a value is in no slice of that dimension.
        references: task -> the model it is routed to today; other tasks are left out.
        margin: the loss that matters, in score units; sets which slices are warned of.
        alpha: as `margin`.

    Returns:
        One row a (task, dimension, slice, model): task, dimension (length, lang, channel, tag), slice, model,
        n (samples with a result), clusters of them, score (mean), difference (to the reference, mean over
        the samples that both have; NaN for the reference itself and where they share none), warning (empty,
        or why the slice says too little).

    Raises:
        SweepError: as `score_table` and `least_clusters`, or a task or its reference has no rows.
    """
    least = least_clusters(margin, alpha)
    found = []
    for task, reference, own in _tasks(rows, references):
        scores = score_table(own)
        for dimension, names in _slices(own):
            for name, samples in names.items():
                part = scores[scores.index.get_level_values("sample_id").isin(samples)]
                for model in part.columns:
                    figures = _slice_figures(part, str(model), reference, least, margin)
                    found.append((task, dimension, name, str(model), *figures))
    return pd.DataFrame(found, columns=list(_SLICE_COLUMNS))


def _slice_figures(
    scores: pd.DataFrame, model: str, reference: str, least: int, margin: float
) -> tuple[int, int, float, float, str]:
    """Samples, clusters, mean score, mean difference and warning of one model on one slice."""
    mine = scores[model].dropna()
    shared = (scores[model] - scores[reference]).dropna()
    difference = math.nan if model == reference or shared.empty else float(shared.mean())
    clusters = mine.index.get_level_values("cluster").nunique()
    behind = shared.index.get_level_values("cluster").nunique()  # of the difference, which is the fewer
    warning = ""
    if behind < least:
        warning = f"{behind} clusters; a model only as good needs {least} to rule out a loss of {margin:g}"
    return len(mine), clusters, float(mine.mean()) if len(mine) else math.nan, difference, warning


def _slices(rows: pd.DataFrame) -> Iterator[tuple[str, dict[str, set[str]]]]:
    """The dimensions that the rows have: name -> slice -> sample ids."""
    rows = rows.assign(sample_id=rows["sample_id"].astype(str))
    if "prompt" in rows.columns:
        prompts = rows.dropna(subset="prompt").drop_duplicates("sample_id")
        lengths = prompts["prompt"].astype(str).str.len().to_numpy(dtype=np.int64)
        yield "length", _terciles(dict(zip(prompts["sample_id"], lengths.tolist(), strict=True)))
    for dimension, column in (("lang", "lang"), ("channel", "channel"), ("tag", "tags")):
        if column in rows.columns:
            values = rows[["sample_id", column]].explode(column).dropna()
            groups = values.groupby(values[column].astype(str))["sample_id"]
            yield dimension, {str(name): set(samples) for name, samples in groups}


def _terciles(lengths: Mapping[str, int]) -> dict[str, set[str]]:
    """Short, middle and long prompts, named by the lengths in them; fewer when many are equally long."""
    if not lengths:
        return {}
    values = np.array(list(lengths.values()))
    cuts = np.quantile(values, [1 / 3, 2 / 3])
    thirds: dict[int, dict[str, int]] = {}
    for sample, length in sorted(lengths.items(), key=lambda item: item[1]):
        thirds.setdefault(int(np.searchsorted(cuts, length)), {})[sample] = length
    return {
        f"{min(third.values())}-{max(third.values())} characters": set(third) for third in thirds.values()
    }


def _tasks(rows: pd.DataFrame, references: Mapping[str, str]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    _refuse_missing(rows)
    names = rows["task"].astype(str)
    for task, reference in sorted(references.items()):
        own = rows[names == task]
        if own.empty:
            raise SweepError(f"results: task {task} has no rows; name tasks of this table")
        if reference not in set(own["model"].astype(str)):
            raise SweepError(f"results: task {task}: the reference {reference} has no rows; measure it too")
        yield task, reference, own


def _cluster_means(differences: pd.Series[float]) -> Floats:
    means = differences.dropna().groupby(level="cluster").mean().to_numpy(dtype=np.float64)
    return np.clip(means, -1.0, 1.0)  # a mean of ones can miss 1 by a rounding


def _holm(p_values: Floats) -> Floats:
    from statsmodels.stats.multitest import multipletests

    if p_values.size == 0:
        return p_values
    adjusted: Floats = multipletests(p_values, method="holm")[1]
    return adjusted


def _refuse_missing(rows: pd.DataFrame) -> None:
    missing = [name for name in _NEEDED if name not in rows.columns]
    if missing:
        raise SweepError(f"results: column {missing[0]} is missing; needed are {', '.join(_NEEDED)}")


def _checked(rows: pd.DataFrame) -> pd.DataFrame:
    """The needed columns, names as text and failures as 0."""
    _refuse_missing(rows)
    kept = rows[["task", "sample_id", "model"]].astype(str)
    kept["cluster"] = kept["sample_id"]
    if "cluster" in rows.columns:
        kept["cluster"] = rows["cluster"].astype(str).where(rows["cluster"].notna(), kept["sample_id"])
    kept["repeat"] = rows["repeat"] if "repeat" in rows.columns else 0
    kept["status"] = rows["status"].astype(str)
    number = pd.to_numeric(rows["score"], errors="coerce").astype(float)
    kept["score"] = number.where(kept["status"] == "ok", 0.0)
    _refuse_rows(kept, ~kept["status"].isin(STATUSES), f"status is none of {', '.join(STATUSES)}")
    _refuse_rows(kept, ~kept["score"].between(0.0, 1.0), "the score is not in [0, 1]; scale it first")
    twice = kept.duplicated(["task", "model", "sample_id", "repeat"])
    _refuse_rows(kept, twice, "the row stands twice; keep one a repeat")
    homes = kept.groupby(["task", "sample_id"])["cluster"].transform("nunique")
    _refuse_rows(kept, homes > 1, "the sample is in two clusters; give it one")
    return kept


def _refuse_rows(rows: pd.DataFrame, wrong: pd.Series[bool], what: str) -> None:
    if bool(wrong.any()):
        first = rows[wrong].iloc[0]
        raise SweepError(f"results: {first['task']} x {first['model']} on {first['sample_id']}: {what}")


def _refuse_share(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise SweepError(f"{name} {value} must lie between 0 and 1; 0.05 is usual")
