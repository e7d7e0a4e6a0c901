"""From a run's scored rows to a recommendation: a verdict per candidate, an outcome per task, a config diff.

Each side of an interval has the error alpha / K, K being all candidates that the plan declared for the task:
the chance of any false move of a task is at most alpha. The rules of the verdicts stand in `verdict`.

The table must be one that nobody peeked at: its size was fixed before the first call. The verdicts rest on
`evidence.paired_interval`, for which evidence that is valid at every look can stand in.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import pandas as pd

from llmbench.bench import evidence, wording
from llmbench.bench.arms import Arm, TaskTable, measure, pair, read_tables
from llmbench.bench.evidence import Interval
from llmbench.bench.propose import Move, propose
from llmbench.bench.verdict import Outcome, State, Verdict, cheapest_first, decide_outcome, decide_state
from llmbench.errors import SweepError

Decided = tuple[TaskTable, Outcome, Verdict | None, list[Verdict]]
PENDING_SHARE: Final = 0.02
"""A task with a larger share of cells still to be run gets no verdict."""


def recommend(
    results: pd.DataFrame,
    plan: Mapping[str, Any],
    *,
    tiers: Mapping[str, Sequence[str]],
    task_tiers: Mapping[str, str],
    configs: Mapping[str, str] | None = None,
    results_sha256: str | None = None,
    unreachable: Collection[str] = (),
) -> dict[str, Any]:
    """Decide every task of a run and propose the config change that follows.

    Args:
        results: the rows of results.jsonl, in any order.
        plan: plan.json.
        tiers: tier -> ordered model keys, as routed today.
        task_tiers: task -> tier, as routed today; a task it lacks has the tier of the plan.
        configs: file name -> text of the config files, to make the diff from; None for no diff.
        results_sha256: hash of results.jsonl, recorded in the answer.
        unreachable: models of the tiers that could not be called when the run was planned.

    Returns:
        The content of recommendation.json: the same for the same rows in any order.

    Raises:
        SweepError: the rows or the plan cannot be judged; the text names what is wrong.
    """
    margin, alpha = _declared(plan)
    routed = {task: task_tiers.get(task, str(entry["tier"])) for task, entry in plan["tasks"].items()}
    decided = {name: _decide_task(table, margin, alpha) for name, table in read_tables(results, plan).items()}
    moves = [
        Move(task, routed[task], table.reference, outcome, chosen.model)
        for task, (table, outcome, chosen, _) in decided.items()
        if chosen is not None
    ]
    proposal = propose(
        moves,
        measured=list(decided),
        tiers=tiers,
        task_tiers={**task_tiers, **routed},
        configs=configs,
        unreachable=unreachable,
    )
    tasks = [
        _task_json(task, routed[task], proposal.destinations.get(task, routed[task]), found, margin, alpha)
        for task, found in decided.items()
    ]
    return {
        "schema": 1,
        "run_id": plan.get("run_id"),
        "plan_hash": plan.get("plan_hash"),
        "config_hash": plan.get("config_hash"),
        "margin": margin,
        "alpha": alpha,
        "generated_from": {"results_sha256": results_sha256},
        "tasks": tasks,
        "tiers": proposal.tiers,
        "diff": proposal.diff,
        "notes": [*wording.notes([table for table, *_ in decided.values()], alpha), *proposal.notes],
    }


def _task_json(
    task: str, tier: str, proposed_tier: str, decided: Decided, margin: float, alpha: float
) -> dict[str, Any]:
    table, outcome, chosen, verdicts = decided
    model = table.reference if chosen is None else chosen.model
    said = wording.Said(task, tier, table.reference, proposed_tier, model, margin, alpha, table)
    return {
        "task": task,
        "tier": tier,
        "reference": table.reference,
        "proposed_tier": proposed_tier,
        "proposed_model": model,
        "outcome": outcome,
        "sentence": wording.task_sentence(said, outcome, chosen, verdicts),
        "samples": table.samples,
        "clusters": table.clusters,
        "pending": table.pending,
        "candidates": [_as_json(verdict) for verdict in verdicts],
    }


def _declared(plan: Mapping[str, Any]) -> tuple[float, float]:
    margin, alpha = float(plan["margin"]), float(plan["alpha"])
    if not 0.0 < margin < 1.0:
        raise SweepError(f"plan: margin {margin} must lie between 0 and 1; 0.05 means 5 points")
    if not 0.0 < alpha <= 0.15:
        raise SweepError(f"plan: alpha {alpha} must lie in (0, 0.15]; 0.05 is usual")
    return margin, alpha


def _decide_task(table: TaskTable, margin: float, alpha: float) -> Decided:
    reference = _measured(measure(table, table.reference), "reference", "what the task is routed to today")
    incomplete = table.pending > PENDING_SHARE * table.expected
    verdicts = [
        _measured(measure(table, model), "open", wording.pending(table))
        if incomplete
        else _judge(table, model, margin, alpha)
        for model in table.candidates
    ]
    verdicts = [reference, *sorted(verdicts, key=cheapest_first)]
    if incomplete:
        return table, "inconclusive", None, verdicts
    return table, *decide_outcome(verdicts, margin), verdicts


def _judge(table: TaskTable, model: str, margin: float, alpha: float) -> Verdict:
    arm, compared = measure(table, model), pair(table, model)
    row = _measured(arm, "open", wording.pending(table))
    if compared.samples == 0:
        return row
    share = {"alpha": alpha, "n_candidates": len(table.candidates)}
    delta = _rounded(evidence.paired_interval(compared.differences, **share))  # type: ignore[arg-type]
    cost = _ratio(compared.candidate_cost, compared.reference_cost)
    state = decide_state(delta, cost, margin)
    total = evidence.samples_needed(compared.differences, margin, **share) if state == "open" else None  # type: ignore[arg-type]
    row = replace(
        row,
        n=compared.samples,
        clusters=delta.n,
        state=state,
        delta=delta.estimate,
        delta_interval=(delta.low, delta.high),
        needs_more=None if total is None else max(total - delta.n, 1),
        cost_ratio=None if cost is None else cost.estimate,
        cost_ratio_interval=None if cost is None or math.isinf(cost.high) else (cost.low, cost.high),
    )
    lacking = table.samples - compared.samples
    if lacking > PENDING_SHARE * table.samples and state in ("promote", "costly"):
        return replace(row, state="open", reason=wording.lacking(lacking, table.samples))
    return replace(row, reason=wording.reason(row, margin))


def _ratio(candidate: evidence.Floats | None, reference: evidence.Floats | None) -> Interval | None:
    if candidate is None or reference is None:
        return None
    found = evidence.cost_ratio(candidate, reference)
    return None if found is None else _rounded(found)


def _measured(arm: Arm, state: State, reason: str) -> Verdict:
    quality = _rounded(evidence.mean_interval(arm.quality)) if arm.quality.size else None
    median = tail = None
    if arm.latency_ms.size:
        median = evidence.quantile_interval(arm.latency_ms, 0.5, timed_out=arm.timed_out)
        tail = evidence.quantile_interval(arm.latency_ms, 0.95, timed_out=arm.timed_out)
    return Verdict(
        model=arm.model,
        state=state,
        n=arm.samples,
        clusters=int(arm.quality.size),
        quality=None if quality is None else quality.estimate,
        quality_interval=None if quality is None else (quality.low, quality.high),
        delta=None,
        delta_interval=None,
        needs_more=None,
        cost_usd_per_1000=None if arm.cost_usd is None else _round(1000.0 * arm.cost_usd),
        cost_ratio=None,
        cost_ratio_interval=None,
        p50_ms=None if median is None else median.estimate,
        p95_ms=None if tail is None else tail.estimate,
        p95_interval_ms=None if tail is None else (tail.low, None if math.isinf(tail.high) else tail.high),
        tokens_per_s=None if arm.tokens_per_s is None else _round(arm.tokens_per_s),
        failures=arm.failures,
        failure_rate=_round(arm.failures / arm.calls) if arm.calls else None,
        reason=reason,
    )


def _rounded(found: Interval) -> Interval:
    """Six digits: what is decided on is what is printed, and the order of summing cannot show."""
    return Interval(_round(found.estimate), _round(found.low), _round(found.high), found.n)


def _round(value: float) -> float:
    return float(f"{value:.6g}") + 0.0  # no negative zero


def _as_json(verdict: Verdict) -> dict[str, Any]:
    row = asdict(verdict)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in row.items()}
