"""A decision as the sentences need it, read from its JSON form: one reading for the lab and for a report.

The figures have the six digits that the JSON form has, so that a sentence and a table round alike, and so
that a sentence told anew from recommendation.json is the one that was told when it was written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class SaidTerms:
    """What was declared. Scores and shares are on 0..1; `candidates` is their number."""

    candidates: int
    margin: float
    task_alpha: float
    side: float
    slo: tuple[float, float] | None
    floor: float | None
    max_failure: float | None
    min_saving: float
    max_cost_usd: float | None
    upgrade: float | None


@dataclass(frozen=True, slots=True)
class SaidRow:
    """What one model or chain did; the names are those of recommendation.json, docs/decisions.md has them.

    `evidence` and `threshold` are infinite where JSON has no number for them.
    """

    name: str
    state: str
    n: int
    units: int
    failures: int
    failure_rate: float | None
    quality: float | None
    cost_usd_per_1000: float | None
    within_slo: float | None
    delta: float | None
    interval: Bounds
    evidence: float
    threshold: float
    needs_more: int | None
    cost_ratio: float | None
    cost_ratio_interval: Bounds | None
    is_over: bool


@dataclass(frozen=True, slots=True)
class SaidDecision:
    """A decision: its outcome, the model in use, the candidates in their order, and the chosen one."""

    outcome: str
    reference: SaidRow
    rows: Sequence[SaidRow]
    chosen: SaidRow | None
    terms: SaidTerms
    saved: float
    limits_missed: Sequence[str]
    notes: Sequence[str]
    is_judged: bool
    is_calibrated: bool


def read_decision(facts: Mapping[str, Any], *, is_judged: bool, is_calibrated: bool) -> SaidDecision | None:
    """Read a decision's JSON form; None where it lacks the model in use or the terms.

    Args:
        facts: a task of recommendation.json.
        is_judged: whether a judge's preferences were compared instead of scores.
        is_calibrated: whether people's labels corrected them.
    """
    rows = [_row(each) for each in facts.get("candidates") or ()]
    reference = next((row for row in rows if row.state == "reference"), None)
    declared = facts.get("terms")
    if reference is None or not declared or declared.get("margin") is None or facts.get("side") is None:
        return None
    others = [row for row in rows if row is not reference]
    choice = facts.get("choice")
    return SaidDecision(
        outcome=str(facts.get("outcome")),
        reference=reference,
        rows=others,
        chosen=next((row for row in others if row.name == choice), None),
        terms=_terms(declared, facts["side"]),
        saved=facts.get("saved") or 0.0,
        limits_missed=list(facts.get("limits_missed") or ()),
        notes=list(facts.get("notes") or ()),
        is_judged=is_judged,
        is_calibrated=is_calibrated,
    )


def _terms(declared: Mapping[str, Any], side: float) -> SaidTerms:
    tasks = declared.get("tasks") or 1
    slo = declared.get("slo")
    return SaidTerms(
        candidates=len(declared.get("candidates") or ()),
        margin=declared["margin"],
        task_alpha=(declared.get("alpha") or 0.0) / (tasks if declared.get("family") == "report" else 1),
        side=side,
        slo=(slo[0], slo[1]) if slo else None,
        floor=declared.get("floor"),
        max_failure=declared.get("max_failure"),
        min_saving=declared.get("min_saving") or 0.0,
        max_cost_usd=declared.get("max_cost_usd"),
        upgrade=declared.get("upgrade"),
    )


def _row(facts: Mapping[str, Any]) -> SaidRow:
    evidence, threshold = facts.get("evidence"), facts.get("threshold")
    return SaidRow(
        name=str(facts.get("model")),
        state=str(facts.get("state")),
        n=facts.get("n") or 0,
        units=facts.get("clusters") or 0,
        failures=facts.get("failures") or 0,
        failure_rate=facts.get("failure_rate"),
        quality=facts.get("quality"),
        cost_usd_per_1000=facts.get("cost_usd_per_1000"),
        within_slo=facts.get("within_slo"),
        delta=facts.get("delta"),
        interval=_bounds(facts.get("delta_interval")) or (-1.0, 1.0),
        evidence=math.inf if evidence is None else evidence,
        threshold=math.inf if threshold is None else threshold,
        needs_more=facts.get("needs_more"),
        cost_ratio=facts.get("cost_ratio"),
        cost_ratio_interval=_bounds(facts.get("cost_ratio_interval")),
        is_over=bool(facts.get("was_tried_to_the_end")),
    )


def _bounds(value: Sequence[float | None] | None) -> Bounds | None:
    return (value[0], value[1]) if value else None
