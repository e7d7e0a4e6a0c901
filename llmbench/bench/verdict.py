"""What can be decided about a candidate and about a task: pure rules on intervals.

The rules, in order, for a candidate against the task's reference (the model it is routed to today):

    worse     the upper limit of the difference is below -margin
    costly    the upper limit of the cost ratio is not below 1, or a cost is unknown
    promote   the lower limit of the difference is above -margin (and it is cheaper, as the last rule says)
    unlikely  neither, and the estimate is at or below -margin: more samples are not expected to prove it
    open      neither; `needs_more` says how many clusters more a new run should have

Latency limits (state `slow`) are not judged yet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from llmbench.bench.evidence import Interval

State = Literal["promote", "worse", "slow", "costly", "unlikely", "open", "reference"]
Outcome = Literal["promote", "demote", "keep", "inconclusive"]
Limits = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One candidate's row of the recommendation; scores and differences are on the scale 0..1.

    Attributes:
        model: the model key.
        state: what was decided about it.
        n: samples behind the difference (for the reference: behind its quality).
        clusters: clusters behind the difference, the unit of every interval.
        quality: mean score over clusters, failures counted as 0; None when nothing was measured.
        quality_interval: 95 % interval of it.
        delta: mean difference to the reference on the same samples; None for the reference.
        delta_interval: its limits, each side at alpha / K.
        needs_more: clusters that a new run should have more, or None.
        cost_usd_per_1000: US dollars per thousand calls, or None when unknown.
        cost_ratio: candidate's cost over the reference's on the same samples, or None.
        cost_ratio_interval: 95 % interval of it, or None when the data bound nothing.
        p50_ms: median latency of answered and timed-out calls, milliseconds.
        p95_ms: 95th percentile of it; a lower bound when it falls on a timed-out call.
        p95_interval_ms: 95 % interval of it; no upper limit below 72 calls.
        tokens_per_s: output tokens per second of answers.
        failures: calls that ended as error or timeout.
        failure_rate: their share of the finished calls.
        reason: one sentence.
    """

    model: str
    state: State
    n: int
    clusters: int
    quality: float | None
    quality_interval: Limits | None
    delta: float | None
    delta_interval: tuple[float, float] | None
    needs_more: int | None
    cost_usd_per_1000: float | None
    cost_ratio: float | None
    cost_ratio_interval: tuple[float, float] | None
    p50_ms: float | None
    p95_ms: float | None
    p95_interval_ms: Limits | None
    tokens_per_s: float | None
    failures: int
    failure_rate: float | None
    reason: str


def decide_state(
    delta: Interval, cost: Interval | None, margin: float
) -> Literal["promote", "worse", "costly", "unlikely", "open"]:
    """Judge a candidate by its difference to the reference and its cost ratio, by this module's rules."""
    if delta.high < -margin:
        return "worse"
    if cost is None or not cost.high < 1.0:
        return "costly"
    if delta.low > -margin:
        return "promote"
    return "unlikely" if delta.estimate <= -margin else "open"


def decide_outcome(verdicts: Iterable[Verdict], margin: float) -> tuple[Outcome, Verdict | None]:
    """Decide a task: its outcome and, for promote and demote, the verdict of the model to move to.

    The cheapest promoted candidate wins. Without one, a candidate that is not cheaper but proved better than
    the reference by more than the margin is a reason to move up: an offer, since nobody asked for more
    quality. `keep` is said when every other candidate is worse or not cheaper, `inconclusive` otherwise.
    """
    candidates = [verdict for verdict in verdicts if verdict.state != "reference"]
    promoted = [verdict for verdict in candidates if verdict.state == "promote"]
    if promoted:
        return "promote", min(promoted, key=cheapest_first)
    better = [
        v for v in candidates if v.state == "costly" and v.delta_interval and v.delta_interval[0] > margin
    ]
    if better:
        return "demote", min(better, key=cheapest_first)
    if all(verdict.state in ("worse", "costly") for verdict in candidates):
        return "keep", None
    return "inconclusive", None


def cheapest_first(verdict: Verdict) -> tuple[float, float, float, str]:
    """By cost ratio, then cost, then quality, then name; an unknown cost comes last."""
    ratio = math.inf if verdict.cost_ratio is None else verdict.cost_ratio
    cost = math.inf if verdict.cost_usd_per_1000 is None else verdict.cost_usd_per_1000
    return ratio, cost, -(verdict.quality or 0.0), verdict.model
