"""Intervals of what a verdict does not rest on alone: quantiles of latency and the ratio of costs.

Both look once at the calls made so far. Latency is bounded by order statistics, which hold for every
distribution; the ratio of costs by a bootstrap over clusters.

Source of the bootstrap: B. Efron, "Better bootstrap confidence intervals" (1987).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from llmbench.errors import SweepError

Floats = NDArray[np.float64]
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
