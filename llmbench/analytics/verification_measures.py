"""From samples to verdicts: on which side of its limit a measure lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from llmbench.analytics.verification_intervals import (
    QUANTILE,
    Floats,
    Interval,
    days_of,
    mean_interval,
    more_for_mean,
    more_for_share,
    quantile_interval,
    share_interval,
)
from llmbench.analytics.verification_promise import Bounds
from llmbench.analytics.verification_samples import Form, Name, Sample

Verdict = Literal["kept", "broken", "open", "not_promised", "not_measured"]


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure of a task with its verdict. Costs in US dollars, times in milliseconds, shares on 0..1.

    Attributes:
        name: which measure.
        verdict: kept, broken, open, not_promised or not_measured.
        promised: what the sweep measured, or None.
        promised_interval: the sweep's own 95 % limits; a limit it does not give is None.
        limit: the worst value that still keeps the promise, tolerance included.
        observed: what production shows; infinity where more than 5 % of the calls ran into a time limit.
        low: lower limit of the observed value, or None where no interval was made.
        high: upper limit; infinity where the calls give none.
        before: the value over as long a time before the change.
        calls: calls behind the observed value.
        hours: hours that they lie in.
        days: days that they lie in, where a day is one event; None where an hour is.
        calls_effective: as many independent calls would say as much, or None where no interval was made.
        more_calls: about how many more calls would end an open verdict, or None where that is not known.
        notes: what a reader must know beside it.
    """

    name: Name
    verdict: Verdict
    promised: float | None
    promised_interval: Bounds | None
    limit: float | None
    observed: float | None
    low: float | None
    high: float | None
    before: float | None
    calls: int
    hours: int
    days: int | None
    calls_effective: float | None
    more_calls: int | None
    notes: tuple[str, ...]


def judge(sample: Sample, alpha: float, min_calls: int) -> Measure:
    """The verdict on a measure, at an error of `alpha` for its interval."""
    days = days_of(sample.hours) if sample.hours.size else None
    events = sample.hours if days is None else days
    interval = _INTERVALS[sample.form](sample.values, events, alpha) if sample.is_judged(min_calls) else None
    verdict = _verdict(sample, interval)
    more = None
    if verdict == "open":
        few = min_calls - sample.values.size
        more = few if interval is None else _more(sample, interval, alpha)
    return Measure(
        name=sample.name,
        verdict=verdict,
        promised=sample.promised,
        promised_interval=sample.promised_interval,
        limit=sample.limit,
        observed=sample.observed,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        before=sample.before,
        calls=sample.values.size,
        hours=int(np.unique(sample.hours).size),
        days=None if days is None else int(np.unique(days).size),
        calls_effective=None if interval is None else interval.n_effective,
        more_calls=more,
        notes=(*sample.notes, *_doubts(sample, verdict)),
    )


def _verdict(sample: Sample, interval: Interval | None) -> Verdict:
    if not sample.values.size:
        return "not_measured"
    if sample.promised is None or sample.limit is None:
        return "not_promised"
    if interval is None:
        return "open"
    # A sum of floats must not break a promise that is met to the last digit.
    limit = sample.limit * (1.0 + 1e-9)
    return "kept" if interval.high <= limit else "broken" if interval.low > limit else "open"


def _doubts(sample: Sample, verdict: Verdict) -> list[str]:
    """What speaks for a promise that was uncertain itself."""
    bounds, seen = sample.promised_interval, sample.observed
    if verdict != "broken" or bounds is None or seen is None:
        return []
    low, high = bounds
    if (low is not None and seen < low) or (high is not None and seen > high):
        return []
    return ["the sweep's own interval holds this value: the promise rested on few calls"]


def _more(sample: Sample, interval: Interval, alpha: float) -> int | None:
    limit = float(sample.limit or 0.0)
    if sample.form == "mean":
        return more_for_mean(interval, limit)
    if sample.form == "share":
        return more_for_share(interval.estimate, interval, limit, alpha)
    slower = float((sample.values > limit).mean())
    return more_for_share(slower, interval, 1.0 - QUANTILE, alpha)


_INTERVALS: Final[dict[Form, Callable[[Floats, Floats, float], Interval]]] = {
    "mean": mean_interval,
    "share": lambda values, events, alpha: share_interval(values > 0.5, events, alpha),
    "quantile": quantile_interval,
}
