"""The recommendation.json of a generated run folder: plain means and normal intervals, for tests alone."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from statistics import fmean, pstdev, quantiles
from typing import Any

MARGIN = 0.05


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
    return {
        "schema": 1,
        "run_id": plan["run_id"],
        "plan_hash": plan["plan_hash"],
        "config_hash": plan["config_hash"],
        "margin": MARGIN,
        "alpha": 0.05,
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
    entries = [_candidate(by_model, model, reference, tail) for model in facts["candidates"]]
    winners = [each for each in entries if each["state"] == "promote"]
    best = min(winners, key=lambda each: each["cost_usd_per_1000"]) if winners else None
    outcome = "promote" if best else "inconclusive" if any(e["state"] == "open" for e in entries) else "keep"
    return {
        "task": task,
        "tier": facts["tier"],
        "reference": reference,
        "proposed_tier": "cheap" if best else facts["tier"],
        "proposed_model": best["model"] if best else reference,
        "outcome": outcome,
        "sentence": f"{task}: {outcome}. On {facts['samples']} samples the evidence reads as shown.{tail}",
        "samples": facts["samples"],
        "clusters": facts["clusters"],
        "pending": 0,
        "candidates": entries,
    }


def _candidate(
    by_model: dict[str, list[dict[str, Any]]], model: str, reference: str, tail: str
) -> dict[str, Any]:
    mine, base = by_model[model], by_model[reference]
    scores = [row["score"] for row in mine]
    deltas = [row["score"] - other["score"] for row, other in zip(mine, base, strict=True)]
    wide = 1.96 / math.sqrt(len(mine))
    delta, half = fmean(deltas), pstdev(deltas) * wide + 0.005
    latency = [row["latency_ms"] for row in mine]
    cuts = quantiles(latency, n=20)
    cost, base_cost = fmean(r["cost_usd"] for r in mine), fmean(r["cost_usd"] for r in base)
    failures = sum(row["status"] != "ok" for row in mine)
    state = "reference" if model == reference else "promote" if delta - half > -MARGIN else "open"
    state = "worse" if model != reference and delta + half < -MARGIN else state
    quality = fmean(scores)
    spread = pstdev(scores) * wide
    return {
        "model": model,
        "state": state,
        "n": len(mine),
        "clusters": len({row["cluster"] for row in mine}),
        "quality": quality,
        "quality_interval": [max(0.0, quality - spread), min(1.0, quality + spread)],
        "delta": None if model == reference else delta,
        "delta_interval": None if model == reference else [delta - half, delta + half],
        "needs_more": 120 if state == "open" else None,
        "cost_usd_per_1000": 1000 * cost,
        "cost_ratio": None if model == reference else cost / base_cost,
        "cost_ratio_interval": None
        if model == reference
        else [0.9 * cost / base_cost, 1.1 * cost / base_cost],
        "p50_ms": cuts[9],
        "p95_ms": cuts[18],
        "p95_interval_ms": [cuts[17], None if len(mine) < 72 else max(latency)],
        "tokens_per_s": sum(r["output_tokens"] for r in mine) / sum(latency) * 1000,
        "failures": failures,
        "failure_rate": failures / len(mine),
        "reason": f"{state}: difference {100 * delta:+.1f} points{tail}",
    }
