"""The recommendation.json of a generated run folder, for tests alone: normal intervals and a fixed bet."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Sequence
from statistics import fmean, pstdev, quantiles
from typing import Any

MARGIN = 0.05
ALPHA = 0.05
STEP = 10  # prompts between two looks


def make_recommendation(
    rows: list[dict[str, Any]], plan: dict[str, Any], plant: Sequence[str]
) -> dict[str, Any]:
    tail = plant[0] if plant else ""
    before = "tiers:\n  standard:\n    - gemma_json\n    - gemma_free\n"
    after = f"tiers:\n  standard:\n    - smol_json{tail}\n    - gemma_json\n"
    diff = "".join(
        difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            "configs/llm_tier_candidates.yaml",
            "configs/llm_tier_candidates.yaml",
        )
    )
    tasks = [_task(rows, task, facts, tail) for task, facts in plan["tasks"].items()]
    lines = "".join(json.dumps(row) + "\n" for row in rows)  # as they are written to results.jsonl
    return {
        "schema": 2,
        "run_id": plan["run_id"],
        "plan_hash": plan["plan_hash"],
        "config_hash": plan["config_hash"],
        "evidence_sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "header": {
            "margin": MARGIN,
            "alpha": ALPHA,
            "family": "task",
            "stop": "grid",
            "seed": plan["seed"],
            "repeats": 1,
            "pilot": 10,
            "batch": STEP,
            "human_share": None,
            "models": {key: facts["version"] for key, facts in plan["models"].items()},
        },
        "judge": {"judged_tasks": [], "uncalibrated_tasks": []},
        "tasks": tasks,
        "tiers": [
            {
                "tier": "standard",
                "first": plan["candidates"][0],
                "proposed_first": plan["candidates"][0],
                "changed": False,
                "blocking_tasks": [tasks[1]["task"]],
                "sentence": f"standard keeps its first model: extract_invoice is not proven.{tail}",
            },
        ],
        "diff": diff,
        "notes": ["Scores of 80 samples a task; more samples narrow the intervals.", *plant],
    }


def _task(rows: list[dict[str, Any]], task: str, facts: dict[str, Any], tail: str) -> dict[str, Any]:
    by_model = {
        model: [row for row in rows if row["task"] == task and row["model"] == model]
        for model in facts["candidates"]
    }
    reference = facts["reference"]
    side = ALPHA / (len(by_model) - 1)
    entries = [_candidate(by_model, model, reference, side, tail) for model in facts["candidates"]]
    winners = [each for each in entries if each["state"] == "promote"]
    best = min(winners, key=lambda each: each["cost_usd_per_1000"]) if winners else None
    outcome = "promote" if best else "inconclusive" if any(e["state"] == "open" for e in entries) else "keep"
    choice = best["model"] if best else reference
    return {
        "task": task,
        "tier": facts["tier"],
        "reference": reference,
        "proposed_tier": "cheap" if best else facts["tier"],
        "proposed_model": choice,
        "sentence": f"{task}: {outcome}. On {facts['samples']} samples the evidence reads as shown.{tail}",
        "excluded": [[f"distant{tail}", f"its data leave the region{tail}"]],
        "outcome": outcome,
        "choice": choice,
        "paragraph": f"On {facts['samples']} samples the evidence reads as shown.{tail}",
        "terms": {"reference": reference, "margin": MARGIN, "alpha": ALPHA, "stop": "grid"},
        "side": side,
        "budgets": [facts["clusters"]],
        "pool": facts["samples"],
        "units": facts["clusters"],
        "calls": {model: len(found) for model, found in by_model.items()},
        "grid_calls": facts["samples"] * len(by_model),
        "saved": 0.0,
        "pending_share": 0.0,
        "limits_missed": [],
        "notes": [],
        "candidates": entries,
    }


def _candidate(
    by_model: dict[str, list[dict[str, Any]]], model: str, reference: str, side: float, tail: str
) -> dict[str, Any]:
    mine = by_model[model]
    scores = [row["score"] for row in mine]
    quality, spread = fmean(scores), pstdev(scores) * 1.96 / math.sqrt(len(mine))
    latency = [row["latency_ms"] for row in mine]
    cuts = quantiles(latency, n=20)
    failures = sum(row["status"] != "ok" for row in mine)
    facts = {
        "model": model,
        "arm": [model],
        "n": len(mine),
        "clusters": len({row["cluster"] for row in mine}),
        "quality": quality,
        "quality_interval": [max(0.0, quality - spread), min(1.0, quality + spread)],
        "cost_usd_per_1000": 1000 * fmean(row["cost_usd"] for row in mine),
        "p50_ms": cuts[9],
        "p95_ms": cuts[18],
        "p95_interval_ms": [cuts[17], None if len(mine) < 72 else max(latency)],
        "p99_ms": max(latency),
        "within_slo": None,
        "failures": failures,
        "failure_rate": failures / len(mine),
    }
    if model == reference:
        return facts | {"state": "reference", "reason": f"what the task is routed to today{tail}"}
    return facts | _compared(mine, by_model[reference], side, tail)


def _compared(
    mine: list[dict[str, Any]], base: list[dict[str, Any]], side: float, tail: str
) -> dict[str, Any]:
    deltas = [row["score"] - other["score"] for row, other in zip(mine, base, strict=True)]
    delta, half = fmean(deltas), pstdev(deltas) * 1.96 / math.sqrt(len(mine)) + 0.005
    path, wealth = [[0, 1.0]], 1.0
    for at, each in enumerate(deltas, start=1):
        wealth *= 1 + 0.5 * (each + MARGIN)
        path += [[at, wealth]] if at % STEP == 0 or at == len(deltas) else []
    state = "promote" if delta - half > -MARGIN else "worse" if delta + half < -MARGIN else "open"
    ratio = fmean(row["cost_usd"] for row in mine) / fmean(row["cost_usd"] for row in base)
    evidence = max(value for _, value in path)
    return {
        "state": state,
        "was_tried_to_the_end": True,
        "delta": delta,
        "delta_interval": [delta - half, delta + half],
        "evidence": evidence,
        "threshold": 1 / side,
        "needs_more": 120 if state == "open" else None,
        "cost_ratio": ratio,
        "cost_ratio_interval": [0.9 * ratio, 1.1 * ratio],
        "is_superior": False,
        "claims": {"quality": evidence},
        "path": path,
        "differences": deltas,
        "reason": f"{state}: difference {100 * delta:+.1f} points{tail}",
    }
