"""Intervals of what production shows, where the calls of one hour stand together.

An outage fails the calls of an hour together, so that calls are no independent draws. Every interval widens
by the design effect: how much larger the variance over hours is than that of as many independent calls. With
few hours the variance itself is known badly, and the interval widens once more.

Sources: L. Kish, Survey Sampling (1965), for the design effect; W. Cochran, Sampling Techniques (1977), for
the variance of a ratio over clusters; E. Korn and B. Graubard (Survey Methodology, 1998) for exact limits of
a share with a design effect; R. Woodruff (JASA, 1952) for limits of a quantile from those of a share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
QUANTILE: Final = 0.95
_MOST_FACTOR: Final = 10_000.0
_STEP: Final = 1.05


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with two-sided limits.

    Attributes:
        estimate: the plain mean, share or quantile.
        low: lower limit.
        high: upper limit; infinity where the calls give none.
        n: calls behind it.
        hours: hours that they lie in.
        n_effective: as many independent calls would say as much.
    """

    estimate: float
    low: float
    high: float
    n: int
    hours: int
    n_effective: float


def mean_interval(values: Floats, hours: Floats, alpha: float) -> Interval:
    """Bound the mean of values that are not negative: t limits over hours.

    The variance of the mean is G/(G-1) * sum over hours of (sum of the hour - mean * its calls)^2 / n^2, for
    G hours (Cochran), and never less than that of n independent calls; the t has G-1 degrees of freedom.

    Args:
        values: one value a call, at least one.
        hours: the hour of each call, any numbering.
        alpha: two-sided error.
    """
    n, mean = values.size, float(values.mean())
    groups, spread = _spread_over_hours(values, hours)
    if groups < 2:
        return Interval(mean, 0.0, math.inf, n, groups, 0.0)
    alone = float(values.var(ddof=1)) / n
    variance = max(alone, spread)
    half = float(stats.t.ppf(1.0 - alpha / 2.0, groups - 1)) * math.sqrt(variance)
    effective = n if variance == 0.0 else n * alone / variance
    return Interval(mean, max(mean - half, 0.0), mean + half, n, groups, effective)


def share_interval(flags: NDArray[np.bool_], hours: Floats, alpha: float) -> Interval:
    """Bound the share of calls for which something holds: exact limits at the effective number of calls.

    The limits are Clopper and Pearson's at n / design effect * (z / t)^2 calls, with t on (hours - 1) degrees
    of freedom (Korn and Graubard). Wilson's limits are shorter, but with a handful of failures, and at the
    errors that a page of many intervals leaves to each, they are wrong several times as often as they say.

    Args:
        flags: one flag a call, at least one.
        hours: the hour of each call.
        alpha: two-sided error.
    """
    effective, groups = effective_calls(flags, hours, alpha)
    share = float(flags.mean())
    low, high = exact_limits(share, effective, alpha)
    return Interval(share, low, high, flags.size, groups, effective)


def effective_calls(flags: NDArray[np.bool_], hours: Floats, alpha: float) -> tuple[float, int]:
    """How many independent calls would say as much about a share, and the hours; 0 calls in a single hour."""
    values = flags.astype(np.float64)
    groups, spread = _spread_over_hours(values, hours)
    if groups < 2:
        return 0.0, groups
    share, n = float(values.mean()), values.size
    alone = share * (1.0 - share) / n
    effect = 1.0 if alone == 0.0 else max(spread / alone, 1.0)
    t = float(stats.t.ppf(1.0 - alpha / 2.0, groups - 1))
    z = float(stats.norm.ppf(1.0 - alpha / 2.0))
    return n / effect * (z / t) ** 2, groups


def exact_limits(share: float, n: float, alpha: float) -> tuple[float, float]:
    """Clopper and Pearson's limits of a share of n calls, n any number; (0, 1) of none."""
    if n <= 0.0:
        return 0.0, 1.0
    hits = share * n
    low = 0.0 if hits <= 0.0 else float(stats.beta.ppf(alpha / 2.0, hits, n - hits + 1.0))
    high = 1.0 if hits >= n else float(stats.beta.ppf(1.0 - alpha / 2.0, hits + 1.0, n - hits))
    return low, high


def quantile_interval(times: Floats, hours: Floats, alpha: float, quantile: float = QUANTILE) -> Interval:
    """Bound a quantile by order statistics, whatever the distribution.

    With m effective calls, the k-th smallest is a lower limit where P(Binomial(m, q) < k) <= alpha/2, and an
    upper one where P(Binomial(m, q) >= k) <= alpha/2; the ranks are stretched from m to n calls (Woodruff).

    Args:
        times: one time a call, at least one; infinity for a call that was cut off.
        hours: the hour of each call.
        alpha: two-sided error.
        quantile: which one, in (0, 1).
    """
    ordered = np.sort(times)
    n = ordered.size
    estimate = float(ordered[max(math.ceil(quantile * n - 1e-9), 1) - 1])
    effective, groups = effective_calls(times > estimate, hours, alpha)
    m = math.floor(effective + 1e-9)
    if m < 1:
        return Interval(estimate, 0.0, math.inf, n, groups, effective)
    below = int(stats.binom.ppf(alpha / 2.0, m, quantile))
    above = int(stats.binom.ppf(1.0 - alpha / 2.0, m, quantile)) + 1
    first = math.floor(below * n / m)
    low = float(ordered[first - 1]) if first >= 1 else 0.0
    high = float(ordered[min(math.ceil(above * n / m), n) - 1]) if above <= m else math.inf
    return Interval(estimate, min(low, estimate), max(high, estimate), n, groups, effective)


def more_for_mean(interval: Interval, limit: float) -> int | None:
    """About how many more calls would show on which side of a limit a mean lies, if it stays where it is."""
    half, distance = interval.high - interval.estimate, abs(interval.estimate - limit)
    if not math.isfinite(half) or distance <= 0.0:
        return None
    return _more(interval.n, (half / distance) ** 2)


def more_for_share(share: float, interval: Interval, limit: float, alpha: float) -> int | None:
    """The same of a share: the first multiple of the effective calls whose exact limits leave `limit` out."""
    if interval.n_effective <= 0.0 or share == limit:
        return None
    factor = 1.0
    while factor < _MOST_FACTOR:
        low, high = exact_limits(share, interval.n_effective * factor, alpha)
        if low > limit or high <= limit:
            return _more(interval.n, factor)
        factor *= _STEP
    return None


def _more(n: int, factor: float) -> int | None:
    return max(math.ceil(n * (factor - 1.0)), 1) if factor <= _MOST_FACTOR else None


def _spread_over_hours(values: Floats, hours: Floats) -> tuple[int, float]:
    """The number of hours, and the variance of the mean that their sums show."""
    names, place = np.unique(hours, return_inverse=True)
    groups, n = int(names.size), values.size
    if groups < 2:
        return groups, 0.0
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    left = sums - float(values.mean()) * counts
    return groups, groups / (groups - 1) * float((left**2).sum()) / n**2
