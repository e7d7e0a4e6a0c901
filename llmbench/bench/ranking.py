"""Bradley-Terry: one strength per model from comparisons in pairs. Descriptive, never an input to a verdict.

Sources: R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block designs" (1952); fitted by evalica
with the iteration of M. E. J. Newman, "Efficient computation of rankings from pairwise comparisons" (2023).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from llmbench.bench.descriptive import score_table
from llmbench.errors import SweepError

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
_PAIR_COLUMNS: Final = ("cluster", "model", "other", "verdict")
_SAME: Final = 1e-9  # scores and strengths closer than this differ by rounding alone


def pairs_from_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Compare the models of one task on every cluster: the higher mean score wins, equal is a tie.

    Args:
        rows: as for `descriptive.score_table`.

    Returns:
        cluster, model, other (the later name of the two), verdict: 1 when `model` won, -1 when `other` did,
        0 for a tie. A cluster is compared on the samples that both models finished.

    Raises:
        SweepError: as `descriptive.score_table`.
    """
    scores = score_table(rows)
    found = []
    models = [str(name) for name in scores.columns]
    for place, model in enumerate(models):
        for other in models[place + 1 :]:
            gaps = (scores[model] - scores[other]).dropna().groupby(level="cluster").mean()
            verdicts = np.sign(np.where(gaps.abs() > _SAME, gaps, 0.0)).tolist()
            found += [(str(name), model, other, v) for name, v in zip(gaps.index, verdicts, strict=True)]
    return pd.DataFrame(found, columns=list(_PAIR_COLUMNS))


def bradley_terry(
    pairs: pd.DataFrame, *, resamples: int = 1_000, level: float = 0.95, seed: int = 0
) -> pd.DataFrame:
    """Rank models by Bradley-Terry strength, with percentile intervals from a bootstrap over clusters.

    The difference of two strengths is the log odds that the first wins a comparison, ties counting half to
    each side. A verdict between 0 and 1 is shared in the same way: v gives (1 + v) / 2 of a win. One tie is
    added per pair of models that met, so that a model which never lost has a finite strength; for two models
    the difference is then ln((wins + 1/2) / (losses + 1/2)), the estimate of J. B. S. Haldane (1956).

    Args:
        pairs: columns cluster, model, other, verdict (1 when `model` is better, -1 when `other` is, or
            between). The order of rows and which of a pair stands first make no difference; several verdicts
            on one pair in one cluster are averaged.
        resamples: number of bootstrap tables, at least 1.
        level: two-sided level of the intervals.
        seed: of the resampling.

    Returns:
        Strongest first: model, strength (natural log units, mean 0 over the models), low, high, comparisons
        (pairs of that model, counted once a cluster). A model whose resamples are all alike has the limits
        -inf and inf: that no spread was seen is not certainty.

    Raises:
        SweepError: a column is missing, there are no rows, a verdict is not in [-1, 1], a model meets itself,
            two groups of models never met, or `resamples` or `level` is out of range.
    """
    if resamples < 1 or not 0.0 < level < 1.0:
        raise SweepError("ranking: give 1 resample or more and a level between 0 and 1; usual: 1000 and 0.95")
    table = _one_a_cluster(pairs)
    models = sorted({*table["model"], *table["other"]})
    numbers = {name: place for place, name in enumerate(models)}
    met = sorted(set(zip(table["model"].map(numbers), table["other"].map(numbers), strict=True)))
    meetings = np.array(met, dtype=np.intp)
    _refuse_islands(meetings, models)
    wins = _wins(table, numbers, met)
    rng, clusters = np.random.default_rng(seed), wins.shape[0]
    even = np.full(clusters, 1.0 / clusters)
    strength = _fit(wins.sum(axis=0), meetings, models)
    counts = (rng.multinomial(clusters, even) for _ in range(resamples))
    drawn = np.array([_fit(count @ wins, meetings, models) for count in counts])
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
    is_still = np.ptp(drawn, axis=0) < _SAME
    comparisons = pd.concat([table["model"], table["other"]]).value_counts()
    ranked = pd.DataFrame(
        {
            "model": models,
            "strength": strength,
            "low": np.where(is_still, -np.inf, np.minimum(low, strength)),
            "high": np.where(is_still, np.inf, np.maximum(high, strength)),
            "comparisons": [int(comparisons[name]) for name in models],
        }
    )
    return ranked.sort_values("strength", ascending=False, kind="stable", ignore_index=True)


def _one_a_cluster(pairs: pd.DataFrame) -> pd.DataFrame:
    """Checked verdicts, one a (cluster, pair), the earlier name first; sorted, so that sums do not depend."""
    missing = [name for name in _PAIR_COLUMNS if name not in pairs.columns]
    if missing:
        raise SweepError(f"pairs: column {missing[0]} is missing; needed are {', '.join(_PAIR_COLUMNS)}")
    if pairs.empty:
        raise SweepError("pairs: there are no comparisons; a ranking needs at least one")
    names = pairs[["cluster", "model", "other"]].astype(str)
    verdict = pd.to_numeric(pairs["verdict"], errors="coerce").astype(float)
    for wrong, what in (
        (~verdict.between(-1.0, 1.0), "the verdict is not in [-1, 1]"),
        (names["model"] == names["other"], "a model is compared with itself; leave the row out"),
    ):
        if bool(wrong.any()):
            model, other, cluster = names[["model", "other", "cluster"]][wrong].iloc[0]
            raise SweepError(f"pairs: {model} against {other} on {cluster}: {what}")
    is_swapped = names["model"] > names["other"]
    table = pd.DataFrame(
        {
            "cluster": names["cluster"],
            "model": names["model"].where(~is_swapped, names["other"]),
            "other": names["other"].where(~is_swapped, names["model"]),
            "verdict": verdict.where(~is_swapped, -verdict),
        }
    )
    keys = ["cluster", "model", "other"]
    return table.sort_values("verdict").groupby(keys, as_index=False)[["verdict"]].mean()


def _wins(table: pd.DataFrame, numbers: dict[str, int], met: list[tuple[int, int]]) -> Floats:
    """Shares of wins, one row a cluster: first of each pair that met, then second of each pair."""
    columns = {pair: place for place, pair in enumerate(met)}
    pairs = zip(table["model"].map(numbers), table["other"].map(numbers), strict=True)
    column = np.array([columns[pair] for pair in pairs], dtype=np.intp)
    row = pd.factorize(table["cluster"], sort=True)[0]
    share = (1.0 + table["verdict"].to_numpy(dtype=np.float64)) / 2.0
    wins = np.zeros((int(row.max()) + 1, 2 * len(met)))
    wins[row, column] = share
    wins[row, column + len(met)] = 1.0 - share
    return wins


def _fit(wins: Floats, meetings: Ints, models: list[str]) -> Floats:
    """Strengths, in the order of `models`, of a sum of rows of `_wins` with one tie added per pair."""
    import evalica

    winners, losers = np.r_[meetings, meetings[:, ::-1]].T
    result = evalica.bradley_terry(
        xs=[models[place] for place in winners],
        ys=[models[place] for place in losers],
        winners=[evalica.Winner.X] * len(winners),
        weights=(wins + 0.5).tolist(),
        tolerance=1e-12,
        limit=1_000,
    )
    logs: Floats = np.log(result.scores.reindex(models).to_numpy(dtype=np.float64))
    centred: Floats = logs - logs.mean()
    return centred


def _refuse_islands(meetings: Ints, models: list[str]) -> None:
    """Without a chain of comparisons between two models nothing says which is stronger."""
    size = len(models)
    graph = sparse.coo_array((np.ones(len(meetings)), (meetings[:, 0], meetings[:, 1])), shape=(size, size))
    count, group = sparse.csgraph.connected_components(graph, directed=False)
    if count > 1:
        stranger = models[int(np.flatnonzero(group != group[0])[0])]
        raise SweepError(
            f"pairs: {models[0]} and {stranger} are linked by no chain of comparisons; compare a model of "
            "either side, or rank the groups apart"
        )
