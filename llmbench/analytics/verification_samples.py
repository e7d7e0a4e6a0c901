"""From calls to samples: what was promised of each measure, and the value of every call."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from llmbench.analytics.verification_calls import Calls, Floats, SweepRows
from llmbench.analytics.verification_intervals import QUANTILE, exact_limits
from llmbench.analytics.verification_promise import Bounds, Promise
from llmbench.analytics.verification_tokens import token_notes
from llmbench.display import wording

Name = Literal[
    "cost_usd_per_1000",
    "wasted_usd_per_1000",
    "p95_ms",
    "model_failures",
    "attempt_failures",
    "call_failures",
    "unusable_answers",
]
COST_TOLERANCE: Final = 0.10
P95_TOLERANCE: Final = 0.20
SHARE_TOLERANCE: Final = 0.01
_SWEEP_ALPHA: Final = 0.05
Form = Literal["mean", "share", "quantile"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A measure before its verdict: the promise, and one value of each call.

    Attributes:
        name: which measure.
        values: one value a call; shares as 0 and 1.
        hours: the hour of each call.
        promised: what the sweep measured, or None.
        promised_interval: the sweep's own 95 % limits, or None.
        limit: the worst value that still keeps the promise, or None.
        before: the value over as long a time before the change, or None.
        notes: what a reader must know beside it.
        form: how the value comes from the calls.
    """

    name: Name
    values: Floats
    hours: Floats
    promised: float | None
    promised_interval: Bounds | None
    limit: float | None
    before: float | None
    notes: tuple[str, ...]
    form: Form = "share"

    @property
    def observed(self) -> float | None:
        """The plain value; infinity where it is a time that was cut off."""
        if not self.values.size:
            return None
        return _quantile(self.values) if self.form == "quantile" else float(self.values.mean())

    def is_judged(self, min_calls: int) -> bool:
        """Whether it takes an interval: there is a promise, and there are calls to hold against it."""
        return self.promised is not None and self.values.size >= min_calls


@dataclass(frozen=True, slots=True)
class Evidence:
    """The calls that a promise is held against.

    Attributes:
        after: calls since the change that begin with the model, as they tell of the model.
        before: all calls over as long a time before, as they tell of the model that it replaced.
        sweep: what the sweep's own results say, or None where they are not at hand.
    """

    after: Calls
    before: Calls
    sweep: SweepRows | None


def take_samples(promise: Promise, evidence: Evidence) -> tuple[Sample, ...]:
    """Every measure of a task, in the order of the page."""
    return (
        _cost(promise, evidence),
        _wasted(evidence),
        _p95(promise, evidence),
        *_failures(promise, evidence),
        _unusable(evidence),
    )


def _cost(promise: Promise, evidence: Evidence) -> Sample:
    known = _with_cost(evidence.after)
    answered = int((~evidence.after.flags("is_failure")).sum())
    notes = list(token_notes(known, None if evidence.sweep is None else evidence.sweep.tokens))
    if len(known) < answered:
        notes.append(f"{wording.count(answered - len(known), 'answer')} of {answered:,} without a known cost")
    elsewhere = int((~known.flags("is_answer")).sum())
    if elsewhere:
        notes.append(
            f"{elsewhere:,} of these {wording.count(len(known), 'call')} answered by a model further down"
        )
    promised = promise.cost_usd_per_1000
    return Sample(
        name="cost_usd_per_1000",
        values=1000.0 * known["cost_usd"],
        hours=known.hours,
        promised=promised,
        promised_interval=None,
        limit=None if promised is None else promised * (1.0 + COST_TOLERANCE),
        before=_mean(1000.0 * _with_cost(evidence.before)["cost_usd"]),
        notes=tuple(notes),
        form="mean",
    )


def _with_cost(calls: Calls) -> Calls:
    return calls.only(~calls.flags("is_failure") & np.isfinite(calls["cost_usd"]))


def _wasted(evidence: Evidence) -> Sample:
    """Costs of failed attempts, in calls that had any; what is unknown of them adds nothing."""
    after = 1000.0 * np.nan_to_num(evidence.after["wasted_cost_usd"])
    before = 1000.0 * np.nan_to_num(evidence.before["wasted_cost_usd"])
    note = "failed attempts, beside the cost of the answers; attempts of unknown cost add nothing"
    return Sample(
        "wasted_usd_per_1000", after, evidence.after.hours, None, None, None, _mean(before), (note,), "mean"
    )


def _p95(promise: Promise, evidence: Evidence) -> Sample:
    after = _timed(evidence.after)
    before = _times(_timed(evidence.before))
    return Sample(
        name="p95_ms",
        values=_times(after),
        hours=after.hours,
        promised=promise.p95_ms,
        promised_interval=promise.p95_interval_ms,
        limit=None if promise.p95_ms is None else promise.p95_ms * (1.0 + P95_TOLERANCE),
        before=_quantile(before) if before.size else None,
        notes=("promised by a sweep, at the sweep's load and from the sweep's machine",),
        form="quantile",
    )


def _timed(calls: Calls) -> Calls:
    """Calls that were answered or ran into their time limit, as a sweep counts them."""
    return calls.only(
        (~calls.flags("is_failure") | calls.flags("is_timeout")) & np.isfinite(calls["latency_ms"])
    )


def _times(calls: Calls) -> Floats:
    return np.where(calls.flags("is_failure"), np.inf, calls["latency_ms"])


def _failures(promise: Promise, evidence: Evidence) -> tuple[Sample, Sample, Sample]:
    """At the model after its retries, as a sweep counts; of its single attempts; of whole calls."""
    after, before = _settled(evidence.after), _settled(evidence.before)
    tried, was_tried = after.only(after.flags("is_tried")), before.only(before.flags("is_tried"))
    rate = promise.failure_rate
    limit = None if rate is None else rate + SHARE_TOLERANCE
    bounds = (
        None if rate is None or not promise.calls else exact_limits(rate, float(promise.calls), _SWEEP_ALPHA)
    )
    is_chain = len(promise.chain) > 1
    of_model = (None, None, None) if is_chain else (rate, bounds, limit)
    name = promise.chain[0]
    return (
        Sample(
            "model_failures", 1.0 - tried["is_answer"], tried.hours, *of_model,
            _mean(1.0 - was_tried["is_answer"]),
            (f"calls that tried {name} and were not answered by it, after its retries",),
        ),
        Sample(
            "attempt_failures", _tries(tried), _tries(tried, "hours"), None, None, None,
            _mean(_tries(was_tried)), (f"single attempts at {name}; a sweep counts after the retries",),
        ),
        Sample(
            "call_failures", after["is_failure"], after.hours, rate, bounds, limit,
            _mean(before["is_failure"]), ("calls that no model answered",),
        ),
    )  # fmt: skip


def _settled(calls: Calls) -> Calls:
    """Without the calls that their own caller gave up."""
    return calls.only(~calls.flags("is_cancelled"))


def _tries(calls: Calls, column: str = "failed") -> Floats:
    """One value for each attempt at the model: 1 for a failed one, or its hour."""
    attempts, failed = calls["attempts"].astype(int), calls["failed_attempts"].astype(int)
    if column == "hours":
        return np.repeat(calls.hours, attempts)
    kinds = np.tile([1.0, 0.0], len(calls))
    return np.repeat(kinds, np.column_stack([failed, attempts - failed]).ravel())


def _unusable(evidence: Evidence) -> Sample:
    after = evidence.after.only(evidence.after.flags("has_reply"))
    before = evidence.before.only(evidence.before.flags("has_reply"))
    sweep = evidence.sweep
    share = None if sweep is None else sweep.unusable / sweep.replies
    notes = ["cut off, empty, malformed, invalid, refused or filtered; a proxy: telemetry has no scores"]
    if sweep is None:
        notes.append("the sweep's share is in results.jsonl of its run folder: give it as --run-dir")
    return Sample(
        name="unusable_answers",
        values=after["is_unusable"],
        hours=after.hours,
        promised=share,
        promised_interval=None
        if sweep is None or share is None
        else exact_limits(share, float(sweep.replies), _SWEEP_ALPHA),
        limit=None if share is None else share + SHARE_TOLERANCE,
        before=_mean(before["is_unusable"]),
        notes=tuple(notes),
    )


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if values.size else None


def _quantile(times: Floats) -> float:
    """The smallest value that 95 % of the values do not pass, as sweeps count it."""
    return float(np.sort(times)[max(math.ceil(QUANTILE * times.size - 1e-9), 1) - 1])
