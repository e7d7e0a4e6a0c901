"""Evidence from a finished table: intervals of quality, difference, cost and latency, and planning by them.

Every function here is pure and looks once at a table whose size was fixed before the first call. The unit of
all of them but latency is the cluster: the caller averages repeats per sample and samples per cluster.

The interval of a mean of bounded values is the hull of two intervals, one side at a time:

* Student's t on the values with one pseudo-value added at each end of the scale. Without them twenty equal
  values would have an interval of length zero.
* Gaffke's limit: the values get random weights (uniform on the simplex) together with one pseudo-value at
  the worse end of the scale; the limit is the quantile of their weighted mean. For 0/1 values it is the exact
  Clopper-Pearson limit. It is what keeps the promise where losses are rare: the reference perfect, the
  candidate losing 1 sample in 20, 160 samples, a side of 5 %. There t alone clears the candidate of a loss of
  5 points in 9 % of sweeps, the hull in less than 5 %.

Sources: N. Gaffke, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a
nonnegative variable" (2005); R. Lugannani and S. Rice, "Saddle point approximation for the distribution of
the sum of independent random variables" (1980), which gives the quantile without random numbers; B. Efron,
"Better bootstrap confidence intervals" (1987), for the ratio of costs. That Gaffke's limit holds its level
for every bounded distribution is a conjecture; for 0/1 values it is a theorem, and tests/test_evidence.py
tries others.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from llmbench.errors import SweepError

Floats = NDArray[np.float64]

POWER: Final = 0.80
"""The chance with which `samples_needed` plans to reach the proof, if the gap seen is the true one."""
_MOST_UNITS: Final = 10_000_000
_RESAMPLES: Final = 2_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with a two-sided interval.

    Attributes:
        estimate: the plain mean, ratio or quantile of the values seen.
        low: lower limit.
        high: upper limit; infinity when the data give none.
        n: the number of units (clusters, or calls for latency) behind it.
    """

    estimate: float
    low: float
    high: float
    n: int


def paired_interval(differences: ArrayLike, *, alpha: float = 0.05, n_candidates: int = 1) -> Interval:
    """Bound the mean paired difference (candidate minus reference), one side of alpha / n_candidates each.

    Args:
        differences: one mean difference per cluster, each in [-1, 1].
        alpha: chance allowed to each side of being wrong for any of the candidates of one task.
        n_candidates: how many candidates share alpha (Bonferroni); declared before the first call.

    Raises:
        SweepError: no differences, values outside [-1, 1], or an alpha outside (0, 0.15].
    """
    d = _values(differences, "differences", -1.0)
    side = _side(alpha, n_candidates)
    weights = np.ones_like(d)
    return Interval(float(d.mean()), _lower(d, weights, side), -_lower(-d, weights, side), d.size)


def mean_interval(values: ArrayLike, *, alpha: float = 0.05) -> Interval:
    """Bound one model's mean quality with a two-sided interval of level 1 - alpha.

    Args:
        values: one mean score per cluster, each in [0, 1].
        alpha: total error of the two sides.

    Raises:
        SweepError: no values, values outside [0, 1], or alpha outside (0, 0.3].
    """
    x = _values(values, "values", 0.0)
    around = paired_interval(2.0 * x - 1.0, alpha=alpha / 2.0)  # the same scale: 0..1 stretched to -1..1
    return Interval(float(x.mean()), (around.low + 1.0) / 2.0, (around.high + 1.0) / 2.0, x.size)


def quantile_interval(
    latency_ms: ArrayLike, quantile: float, *, timed_out: ArrayLike | None = None, level: float = 0.95
) -> Interval:
    """Bound a quantile of latency by order statistics, whatever the distribution.

    A call that ran into its time limit would have taken longer than recorded, by an unknown amount: a limit
    which falls on such a call does not exist. The estimate is then the time recorded, a lower bound.
    Calls are taken as independent of each other.

    Args:
        latency_ms: one value per call, milliseconds.
        quantile: 0.5 for the median, 0.95 for p95.
        timed_out: one flag per call; None when no call was cut off.
        level: two-sided level. At 0.95 the p95 of fewer than 72 calls has no upper limit.

    Raises:
        SweepError: no calls, a latency that is not a number, or as many flags as calls are not given.
    """
    seen = np.asarray(latency_ms, dtype=np.float64)
    cut = np.zeros(seen.size, dtype=bool) if timed_out is None else np.asarray(timed_out, dtype=bool)
    if seen.size == 0 or seen.shape != cut.shape or not bool(np.isfinite(seen).all()):
        raise SweepError("latency: give one finite number of milliseconds and one time-out flag per call")
    times = np.sort(np.where(cut, np.inf, seen))
    test = stats.quantile_test(times, q=float(seen.max()), p=quantile)
    limits = cast("tuple[float, float]", test.confidence_interval(confidence_level=level))  # stub: float
    estimate = float(times[max(math.ceil(quantile * times.size - 1e-9), 1) - 1])
    low, high = float(limits[0]), float(limits[1])
    return Interval(
        estimate if math.isfinite(estimate) else float(seen.max()),
        0.0 if math.isnan(low) else min(low, float(seen.max())),
        math.inf if math.isnan(high) else high,
        int(seen.size),
    )


def cost_ratio(
    candidate: ArrayLike, reference: ArrayLike, *, level: float = 0.95, seed: int = 0
) -> Interval | None:
    """Bound the ratio of total costs, candidate to reference, by a paired BCa bootstrap over clusters.

    Args:
        candidate: the candidate's cost per cluster, any unit, not negative.
        reference: the reference's cost on the same clusters, the same unit.
        level: two-sided level of the interval.
        seed: of the resampling; the same seed and table give the same interval.

    Returns:
        None when the reference cost nothing, so that no ratio exists. With a single cluster, or when a
        resample of the reference can cost nothing, the interval is (0, infinity): nothing is known. When
        the ratio is the same in all clusters it has length zero.

    Raises:
        SweepError: no clusters, different lengths, or costs that are negative or not numbers.
    """
    top = np.asarray(candidate, dtype=np.float64)
    base = np.asarray(reference, dtype=np.float64)
    if top.size == 0 or top.shape != base.shape or not bool((np.isfinite(top) & np.isfinite(base)).all()):
        raise SweepError("cost: give one finite cost per cluster for the candidate and for the reference")
    if float(min(top.min(), base.min())) < 0.0:
        raise SweepError("cost: a cost is negative; correct the price in the registry")
    if float(base.sum()) == 0.0:
        return None
    ratio = float(top.sum() / base.sum())
    if top.size == 1:
        return Interval(ratio, 0.0, math.inf, 1)
    spread = float(np.abs(top - ratio * base).max())
    if spread <= 1e-12 * float(max(top.max(), base.max())):
        return Interval(ratio, ratio, ratio, top.size)
    low, high = _bca(top / base.sum(), base / base.sum(), level, seed)
    return Interval(ratio, min(low, ratio), max(high, ratio), top.size)


def samples_needed(
    differences: ArrayLike, margin: float, *, alpha: float = 0.05, n_candidates: int = 1
) -> int | None:
    """Plan the clusters, in total, of a sweep that proves non-inferiority if the gap seen is the true one.

    The plan takes the spread seen as the true one and reaches the proof with a chance of about 80 %. It is
    for a new sweep of that size: adding samples to a table because it was undecided, and looking again, is a
    second look, which alpha does not cover.

    Args:
        differences: one mean difference per cluster, each in [-1, 1].
        margin: the loss that would be accepted, in (0, 1).
        alpha: as for `paired_interval`.
        n_candidates: as for `paired_interval`.

    Returns:
        None when the mean difference is at or below -margin, or when more than ten million would be needed.
    """
    d = _values(differences, "differences", -1.0)
    side = _side(alpha, n_candidates)
    values, counts = np.unique(d, return_counts=True)
    spread = float(d.std(ddof=1)) if d.size > 1 else 0.0

    def proved(n: int) -> bool:
        shifted = np.clip(values - special.ndtri(POWER) * spread / math.sqrt(n), -1.0, 1.0)
        return _lower(shifted, counts.astype(np.float64) * (n / d.size), side) > -margin

    return None if float(d.mean()) <= -margin else _first_true(proved, d.size)


def smallest_margin(n: int, *, alpha: float = 0.05, n_candidates: int = 1) -> float:
    """Say which margin n clusters can prove at best: when candidate and reference never disagree.

    Raises:
        SweepError: n below 1, or an alpha outside (0, 0.15].
    """
    if n < 1:
        raise SweepError(f"evidence: {n} clusters can prove nothing; give at least 1")
    return -_lower(np.zeros(1), np.full(1, float(n)), _side(alpha, n_candidates))


def _values(given: ArrayLike, name: str, least: float) -> Floats:
    x = np.asarray(given, dtype=np.float64).ravel()
    if x.size == 0:
        raise SweepError(f"evidence: {name} is empty; give one value per cluster")
    if not bool(((x >= least) & (x <= 1.0)).all()):
        raise SweepError(
            f"evidence: {name} must lie in [{least:g}, 1]; found {float(x.min())}..{float(x.max())}"
        )
    return x


def _side(alpha: float, n_candidates: int) -> float:
    if not 0.0 < alpha <= 0.15 or n_candidates < 1:
        raise SweepError(
            f"evidence: alpha {alpha} must lie in (0, 0.15] and n_candidates {n_candidates} be 1 or more"
        )
    return alpha / n_candidates


def _lower(values: Floats, weights: Floats, side: float) -> float:
    """The lower limit of the mean of values in [-1, 1]; `weights` says how often each value stands."""
    mean = float(values @ weights / weights.sum())
    return max(-1.0, min(mean, _t_lower(values, weights, side), _gaffke_lower(values, weights, side)))


def _t_lower(values: Floats, weights: Floats, side: float) -> float:
    x = np.concatenate([values, [-1.0, 1.0]])
    w = np.concatenate([weights, [1.0, 1.0]])
    n = float(w.sum())
    mean = float(x @ w) / n
    error = math.sqrt(float(w @ (x - mean) ** 2) / (n - 1.0) / n)
    return mean - float(special.stdtrit(n - 1.0, 1.0 - side)) * error


def _gaffke_lower(values: Floats, weights: Floats, side: float) -> float:
    levels, place = np.unique(np.concatenate([values, [-1.0]]), return_inverse=True)
    counts: Floats = np.bincount(place, weights=np.concatenate([weights, [1.0]])).astype(np.float64)
    least = float(levels[0]) + 1e-6
    middle = float(levels @ counts / counts.sum())
    if middle <= least or _chance_at_most(levels, counts, least) >= side:
        return float(levels[0])
    return float(
        optimize.brentq(lambda y: _chance_at_most(levels, counts, y) - side, least, middle, xtol=1e-9)
    )


def _chance_at_most(levels: Floats, counts: Floats, y: float) -> float:
    """P(randomly weighted mean <= y): the saddlepoint tail of a sum of exponentials a_i E_i at zero."""
    a = levels - y

    def slope(s: float) -> float:
        return float((counts * a / (1.0 - a * s)).sum())

    s = float(optimize.brentq(slope, (1.0 - 1e-12) / a[0], (1.0 - 1e-12) / a[-1], xtol=1e-12, rtol=1e-12))
    r = math.copysign(math.sqrt(2.0 * max(float(counts @ np.log1p(-a * s)), 0.0)), s)
    u = s * math.sqrt(float(counts @ (a / (1.0 - a * s)) ** 2))
    if abs(r) < 1e-3:  # at the mean itself, where the formula is 0 / 0
        return 0.5
    density = math.exp(-r * r / 2.0) / math.sqrt(2.0 * math.pi)
    return float(special.ndtr(r)) + density * (1.0 / r - 1.0 / u)


def _bca(top: Floats, base: Floats, level: float, seed: int) -> tuple[float, float]:
    def ratio(a: Floats, b: Floats, axis: int = -1) -> Floats:
        quotient: Floats = a.sum(axis=axis) / b.sum(axis=axis)
        return quotient

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (top, base), ratio, n_resamples=_RESAMPLES, batch=200, paired=True, vectorized=True,
            confidence_level=level, method="BCa", rng=np.random.default_rng(seed),
        )  # fmt: skip
    low, high = float(found.confidence_interval.low), float(found.confidence_interval.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (0.0, math.inf)


def _first_true(holds: Callable[[int], bool], start: int) -> int | None:
    low, high = 0, start
    while not holds(high):
        low, high = high, 2 * high
        if high > _MOST_UNITS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
