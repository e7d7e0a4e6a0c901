"""Intervals of what production shows, where the calls of one event stand together.

An outage fails the calls of an hour together, and a slow morning is slow for hours, so that calls are no
independent draws. One event is a day where the calls span five or more, else an hour. Every interval widens
by the design effect: how much larger the variance over events is than that of as many independent calls. With
few events the variance itself is known badly, and the interval widens once more. An event with most of the
calls pulls the mean to itself, so each is held against the mean of the others, and events count by their
share of the calls.

Sources: L. Kish, Survey Sampling (1965), for the design effect and for effective numbers; A. C. Cameron and
D. Miller (Journal of Human Resources, 2015) for the variance with each cluster left out (CR3); E. Korn and
B. Graubard (Survey Methodology, 1998) for exact limits of a share with a design effect; R. Woodruff (JASA,
1952) for limits of a quantile from those of a share.
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
#: Hours that calls must span for a day to be one event.
DAYS_FROM_H: Final = 5 * 24
#: With fewer effective events no limit is given.
FEWEST_EVENTS: Final = 4.0
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
        events: events that they lie in, by their share of the calls: n^2 / sum of (calls of an event)^2.
        n_effective: as many independent calls would say as much.
    """

    estimate: float
    low: float
    high: float
    n: int
    events: float
    n_effective: float


def days_of(hours: Floats) -> Floats | None:
    """The day of each call, so many times 24 hours before the last one; None where they span less than five.

    Args:
        hours: the hour of each call, at least one.
    """
    age = hours.max() - hours
    return np.floor(age / 24.0) if float(age.max()) + 1.0 >= DAYS_FROM_H else None


def mean_interval(values: Floats, events: Floats, alpha: float) -> Interval:
    """Bound the mean of values that are not negative: t limits over events.

    The variance of the mean is (G-1)/G * sum over the G events of e^2 / n^2, where e is (sum of the event -
    mean * its calls) / (1 - its calls / n) (CR3), and never less than that of n independent calls. The t has
    one degree of freedom less than there are effective events; below four of these there are no limits.

    Args:
        values: one value a call, at least one.
        events: the day or the hour of each call, any numbering.
        alpha: two-sided error.
    """
    n, mean = values.size, float(values.mean())
    count, spread = _spread(values, events)
    if count < FEWEST_EVENTS:
        return Interval(mean, 0.0, math.inf, n, count, 0.0)
    alone = float(values.var(ddof=1)) / n
    variance = max(alone, spread)
    half = float(stats.t.ppf(1.0 - alpha / 2.0, count - 1.0)) * math.sqrt(variance)
    effective = n if variance == 0.0 else n * alone / variance
    return Interval(mean, max(mean - half, 0.0), mean + half, n, count, effective)


def share_interval(flags: NDArray[np.bool_], events: Floats, alpha: float) -> Interval:
    """Bound the share of calls for which something holds: exact limits at the effective number of calls.

    The limits are Clopper and Pearson's at n / design effect * (z / t)^2 calls, t with (events - 1) degrees
    of freedom (Korn and Graubard). Wilson's limits are shorter, but with a handful of failures, and at the
    errors that a page of many intervals leaves to each, they are wrong several times as often as they say.

    Args:
        flags: one flag a call, at least one.
        events: the day or the hour of each call.
        alpha: two-sided error.
    """
    effective, count = effective_calls(flags, events, alpha)
    share = float(flags.mean())
    low, high = exact_limits(share, effective, alpha)
    return Interval(share, low, high, flags.size, count, effective)


def effective_calls(flags: NDArray[np.bool_], events: Floats, alpha: float) -> tuple[float, float]:
    """How many independent calls would say as much about a share, and the effective events; 0 of too few."""
    values = flags.astype(np.float64)
    count, spread = _spread(values, events)
    if count < FEWEST_EVENTS:
        return 0.0, count
    share, n = float(values.mean()), values.size
    alone = share * (1.0 - share) / n
    effect = 1.0 if alone == 0.0 else max(spread / alone, 1.0)
    t = float(stats.t.ppf(1.0 - alpha / 2.0, count - 1.0))
    z = float(stats.norm.ppf(1.0 - alpha / 2.0))
    return n / effect * (z / t) ** 2, count


def exact_limits(share: float, n: float, alpha: float) -> tuple[float, float]:
    """Clopper and Pearson's limits of a share of n calls, n any number; (0, 1) of none."""
    if n <= 0.0:
        return 0.0, 1.0
    hits = share * n
    low = 0.0 if hits <= 0.0 else float(stats.beta.ppf(alpha / 2.0, hits, n - hits + 1.0))
    high = 1.0 if hits >= n else float(stats.beta.ppf(1.0 - alpha / 2.0, hits + 1.0, n - hits))
    return low, high


def quantile_interval(times: Floats, events: Floats, alpha: float, quantile: float = QUANTILE) -> Interval:
    """Bound a quantile by order statistics, whatever the distribution.

    With m effective calls, the k-th smallest is a lower limit where P(Binomial(m, q) < k) <= alpha/2, and an
    upper one where P(Binomial(m, q) >= k) <= alpha/2; the ranks are stretched from m to n calls (Woodruff).

    Args:
        times: one time a call, at least one; infinity for a call that was cut off.
        events: the day or the hour of each call.
        alpha: two-sided error.
        quantile: which one, in (0, 1).
    """
    ordered = np.sort(times)
    n = ordered.size
    estimate = float(ordered[max(math.ceil(quantile * n - 1e-9), 1) - 1])
    effective, count = effective_calls(times > estimate, events, alpha)
    m = math.floor(effective + 1e-9)
    if m < 1:
        return Interval(estimate, 0.0, math.inf, n, count, effective)
    below = int(stats.binom.ppf(alpha / 2.0, m, quantile))
    above = int(stats.binom.ppf(1.0 - alpha / 2.0, m, quantile)) + 1
    first = math.floor(below * n / m)
    low = float(ordered[first - 1]) if first >= 1 else 0.0
    high = float(ordered[min(math.ceil(above * n / m), n) - 1]) if above <= m else math.inf
    return Interval(estimate, min(low, estimate), max(high, estimate), n, count, effective)


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


def _spread(values: Floats, events: Floats) -> tuple[float, float]:
    """The effective number of events, and the variance of the mean that their sums show."""
    names, place = np.unique(events, return_inverse=True)
    groups, n = int(names.size), values.size
    if groups < 2:
        return float(groups), 0.0
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    left = (sums - float(values.mean()) * counts) / (1.0 - counts / n)
    variance = (groups - 1) / groups * float((left**2).sum()) / n**2
    return n**2 / float((counts.astype(np.float64) ** 2).sum()), variance
