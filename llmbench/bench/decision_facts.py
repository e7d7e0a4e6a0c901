"""A decision as JSON: what recommendation.json holds of a task, and what `llmbench decide --json` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from llmbench.bench.terms import arm_name
from llmbench.display import decision_text
from llmbench.display.said_decision import SaidDecision, read_decision

if TYPE_CHECKING:
    from llmbench.bench.decision import Arms, Decision, Finding

_MOST_POINTS: Final = 200
"""Points of an evidence path that are kept for pictures."""


def decision_facts(decision: Decision) -> dict[str, Any]:
    """The JSON form of a decision. Every figure has six digits: the order of summing cannot show."""
    facts = _figures(decision)
    said = _said(facts, decision)
    facts["paragraph"] = decision_text.paragraph(said)
    for row, told in zip(facts["candidates"][1:], said.rows, strict=True):
        row["reason"] = decision_text.finding_reason(told, said)
    return facts


def said_decision(decision: Decision) -> SaidDecision:
    """A decision as its sentences need it."""
    return _said(_figures(decision), decision)


def _said(facts: dict[str, Any], decision: Decision) -> SaidDecision:
    said = read_decision(facts, is_judged=decision.is_judged, is_calibrated=decision.is_calibrated)
    if said is None:
        raise ValueError("a decision has a model in use and terms")
    return said


def _figures(decision: Decision) -> dict[str, Any]:
    """The JSON form, its paragraph and the candidates' reasons still empty."""
    rows = [
        arms_facts(decision.reference) | {"state": "reference", "reason": "what the task is routed to today"}
    ]
    rows += [finding_facts(row) for row in decision.why.values()]
    return {
        "outcome": decision.outcome,
        "choice": arm_name((decision.chosen or decision.reference).arm),
        "paragraph": "",
        "terms": decision.terms.facts(),
        "side": _round(decision.terms.side),
        "budgets": list(decision.budgets),
        "pool": decision.pool,
        "units": decision.units,
        "calls": dict(decision.calls),
        "grid_calls": decision.grid_calls,
        "saved": _round(decision.saved),
        "pending_share": _round(decision.pending_share),
        "limits_missed": list(decision.limits_missed),
        "notes": list(decision.notes),
        "candidates": rows,
    }


def arms_facts(row: Arms) -> dict[str, Any]:
    """What one model or chain did."""
    return {
        "model": row.name,
        "arm": list(row.arm),
        "n": row.n,
        "clusters": row.units,
        "quality": _round(row.quality),
        "quality_interval": _limits(row.quality_interval),
        "cost_usd_per_1000": _round(row.cost_usd_per_1000),
        "p50_ms": _round(row.p50_ms),
        "p95_ms": _round(row.p95_ms),
        "p95_interval_ms": _limits(row.p95_interval_ms),
        "p99_ms": _round(row.p99_ms),
        "within_slo": _round(row.within_slo),
        "failures": row.failures,
        "failure_rate": _round(row.failure_rate),
    }


def finding_facts(row: Finding) -> dict[str, Any]:
    """A candidate's row, its reason still empty."""
    return arms_facts(row) | {
        "state": row.state,
        "was_tried_to_the_end": row.is_over,
        "delta": _round(row.delta),
        "delta_interval": _limits(row.interval) if row.differences else None,
        "evidence": _round(row.evidence),
        "threshold": _round(row.threshold),
        "needs_more": row.needs_more,
        "cost_ratio": _round(row.cost_ratio),
        "cost_ratio_interval": _limits(row.cost_ratio_interval),
        "is_superior": row.is_superior,
        "claims": {name: _round(value) for name, value in row.claims.items()},
        "path": [[n, _round(value)] for n, value in _thinned(row.path)],
        "differences": [_round(value) for value in row.differences],
        "reason": "",
    }


def _thinned(path: tuple[tuple[int, float], ...]) -> list[tuple[int, float]]:
    step = max(math.ceil(len(path) / _MOST_POINTS), 1)
    return [point for at, point in enumerate(path) if at % step == 0 or at == len(path) - 1]


def _limits(bounds: tuple[float, float | None] | None) -> list[float | None] | None:
    return None if bounds is None else [_round(bound) for bound in bounds]


def _round(value: float | None) -> float | None:
    if value is None or math.isnan(value) or math.isinf(value):
        return None
    return float(f"{value:.6g}") + 0.0  # no negative zero
