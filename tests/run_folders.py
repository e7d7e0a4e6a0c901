"""A seeded generator of run folders, ledgers and telemetry in the shared formats.

The figures hang together as those of a real sweep do: rows, ledger, telemetry, plan and recommendation tell
one story, and the same seed writes the same bytes. `plant` puts payloads into every text that a stranger can
choose.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.run_recommendation import MARGIN, make_recommendation

MODELS: dict[str, dict[str, Any]] = {
    "gemma_json": {"label": "Gemma 3 270M, enforced JSON", "ms": 620.0, "price": 0.05, "id": "gemma3-270m"},
    "gemma_free": {"label": "Gemma 3 270M, free", "ms": 560.0, "price": 0.05, "id": "gemma3-270m"},
    "smol_json": {"label": "SmolLM2 135M, enforced JSON", "ms": 300.0, "price": 0.05, "id": "smollm2-135m"},
    "smol_free": {"label": "SmolLM2 135M, free", "ms": 260.0, "price": 0.05, "id": "smollm2-135m"},
}
SKILL: dict[str, dict[str, float]] = {
    "route_ticket": {"gemma_json": 0.86, "gemma_free": 0.84, "smol_json": 0.85, "smol_free": 0.55},
    "extract_invoice": {"gemma_json": 0.78, "gemma_free": 0.60, "smol_json": 0.52, "smol_free": 0.30},
    "caption": {"gemma_json": 0.70, "gemma_free": 0.71, "smol_json": 0.66, "smol_free": 0.62},
}
TIER = {"route_ticket": "standard", "extract_invoice": "standard", "caption": "cheap"}
TEXTS = {
    "en": ("My parcel has not arrived and the tracking page shows nothing new.", "delivery"),
    "ja": ("荷物がまだ届きません。追跡ページも更新されていません。", "配送"),
}

USAGE = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """What was written, and the counts a test can hold the warehouse against."""

    root: Path
    run_dir: Path
    ledger: Path
    telemetry: Path
    rows: list[dict[str, Any]] = field(default_factory=list)


def write_run_folder(
    root: Path,
    *,
    seed: int = 7,
    samples: int = 80,
    plant: Sequence[str] = (),
    run_id: str = "2026-11-22-tiers",
) -> RunFolder:
    """Write reports/<run_id>, workspaces/ledger.jsonl and workspaces/logs/llm_usage.jsonl under `root`."""
    draw = random.Random(seed)
    folder = RunFolder(
        root,
        root / "reports" / run_id,
        root / "workspaces" / "ledger.jsonl",
        root / "workspaces" / "logs" / "llm_usage.jsonl",
    )
    folder.run_dir.mkdir(parents=True)
    folder.telemetry.parent.mkdir(parents=True)
    rename = _planter(plant)
    tasks = [rename(task) for task in SKILL]
    models = [rename(model) for model in MODELS]
    for task, name in zip(SKILL, tasks, strict=True):
        for at in range(samples):
            for model, key in zip(MODELS, models, strict=True):
                folder.rows.append(_row(draw, run_id, task, name, model, key, at, plant))
    plan = _plan(run_id, seed, samples, dict(zip(SKILL, tasks, strict=True)), models, plant)
    recommendation = make_recommendation(folder.rows, plan, plant)
    _dump_lines(folder.run_dir / "results.jsonl", folder.rows)
    digest = hashlib.sha256((folder.run_dir / "results.jsonl").read_bytes()).hexdigest()
    recommendation["generated_from"] = {"results_sha256": digest}
    _dump(folder.run_dir / "plan.json", plan)
    _dump(folder.run_dir / "recommendation.json", recommendation)
    _dump_lines(folder.ledger, _ledger(folder.rows))
    _dump_lines(folder.telemetry, [_telemetry(draw, row) for row in folder.rows])
    return folder


def telemetry_lines(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """`count` lines of production telemetry: several tiers and providers, fallbacks, failures."""
    draw = random.Random(seed)
    return [_telemetry(draw, _production_call(draw, at)) for at in range(count)]


def write_judgements(folder: RunFolder, *, seed: int = 7) -> None:
    """Add judgements.jsonl and labels.jsonl: two judges over every pair with the first model, in both orders.

    Some replies are unparsable, some pairs lack an order; a third of the pairs is labelled, some twice.
    """
    draw = random.Random(seed)
    first = folder.rows[0]["model"]
    judgements: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    for row in folder.rows:
        if row["model"] == first:
            continue
        names = ("schema", "run_id", "task", "sample_id", "model", "timestamp")
        pair = {name: row[name] for name in names} | {"other": first}
        for judge, order in (("big", "AB"), ("big", "BA"), ("small", "AB"), ("small", "BA")):
            if draw.random() < 0.95:
                judgements.append(pair | _judged(draw, row, judge, order))
        labels += [pair | {"label": draw.randint(-1, 1)} for _ in range(draw.choice([0, 0, 0, 0, 1, 2]))]
    _dump_lines(folder.run_dir / "judgements.jsonl", judgements)
    _dump_lines(folder.run_dir / "labels.jsonl", labels)


def _judged(draw: random.Random, row: dict[str, Any], judge: str, order: str) -> dict[str, Any]:
    status = draw.choices(["ok", "unparsable", "error"], [90, 8, 2])[0]
    return {
        "cluster": row["cluster"],
        "lang": row["lang"],
        "judge": judge,
        "strategy": "pairwise",
        "order": order,
        "status": status,
        "verdict": draw.choice([-1, -0.25, 0, 0.5, 1]) if status == "ok" else None,
        "cost_usd": 0.0004,
        "latency_ms": round(draw.uniform(200, 900), 1),
    }


def _planter(plant: Sequence[str]) -> Any:
    payloads = iter(plant)
    return lambda name: f"{name}{next(payloads, '')}"


def _row(
    draw: random.Random,
    run_id: str,
    task: str,
    name: str,
    model: str,
    key: str,
    at: int,
    plant: Sequence[str],
) -> dict[str, Any]:
    lang = "ja" if at % 3 == 0 else "en"
    prompt, label = TEXTS[lang]
    payload = plant[at % len(plant)] if plant else ""
    skill = SKILL[task][model] * (0.55 if lang == "ja" else 1.1)
    # One uniform number a sample makes models agree as they do in life: easy samples are easy for all.
    hardness = random.Random(f"{task}/{at}").random()
    right = 0.97 * hardness + 0.03 * draw.random() < min(skill, 0.98)
    status, kind = "ok", None
    if draw.random() < 0.012:
        status, kind = draw.choice(
            [("error", "malformed"), ("timeout", "timeout"), ("error", "server_error")]
        )
    answer = label if right else "分かりません" if lang == "ja" else "billing"
    score = 0.0 if status != "ok" else 1.0 if right else 0.5 if hardness > 0.9 else 0.0
    cell = f"{name}/{task}-{at:03d}/{key}/0"
    digest = hashlib.sha256(cell.encode("utf-8", "surrogatepass")).hexdigest()
    stamp = datetime(2026, 11, 22, 9, tzinfo=UTC) + timedelta(seconds=at * 2, milliseconds=at)
    return {
        "schema": 1,
        "run_id": run_id,
        "task": name,
        "tier": TIER[task],
        "dataset": f"{task}_v1",
        "lang": lang,
        "sample_id": f"{task}-{at:03d}{payload}",
        "cluster": f"c{at // 2:03d}",
        "model": key,
        "model_id": MODELS[model]["id"],
        "model_version": f"{MODELS[model]['id']}@1",
        "repeat": 0,
        "status": status,
        "error_kind": kind,
        "error": None if kind is None else f"the model failed: {kind}{payload}",
        "score": score,
        "score_details": {"exact": score},
        "prompt": f"{prompt} (#{at}){payload}",
        "output": answer + payload if status == "ok" else None,
        "target": label + payload,
        "finish_reason": "stop" if status == "ok" else None,
        **_measured(draw, model, at),
        "adjustments": _adjusted(model, payload),
        "fingerprint": digest,
        "call_id": f"call-{digest[:16]}",
        "timestamp": stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def _measured(draw: random.Random, model: str, at: int) -> dict[str, Any]:
    latency = MODELS[model]["ms"] * draw.lognormvariate(0, 0.35)
    return {
        "latency_ms": round(latency, 2),
        "queued_ms": round(draw.random() * 5, 2),
        "ttft_ms": round(latency * 0.4, 2),
        "input_tokens": 180 + at % 40,
        "output_tokens": 8 + draw.randrange(20),
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "cost_usd": round(latency / 3.6e6 * MODELS[model]["price"], 12),
        "cost_source": "per_core_hour",
        "cpu_s": round(latency / 1000 * 1.2, 4),
        "load": {"cpu_some_avg10": round(draw.random() * 20, 2), "loadavg1": round(0.8 + draw.random(), 2)},
    }


def _adjusted(model: str, payload: str) -> list[dict[str, Any]]:
    renamed = {"param": "max_tokens", "action": "renamed", "from": 48, "to": 48, "rule": "max_tokens_key"}
    dropped = {
        "param": "response_format",
        "action": "dropped",
        "from": {"type": "json_schema"},
        "to": None,
        "rule": f"no structured outputs{payload}",
    }
    return [renamed, dropped] if "free" in model else [renamed]


def _plan(
    run_id: str, seed: int, samples: int, tasks: dict[str, str], models: list[str], plant: Sequence[str]
) -> dict[str, Any]:
    japanese = len(range(0, samples, 3))
    return {
        "name": "tiers",
        "run_id": run_id,
        "plan_hash": "9f2c41d07ab3",
        "seed": seed,
        "margin": MARGIN,
        "alpha": 0.05,
        "repeats": 1,
        "candidates": models,
        "tasks": {
            name: {
                "dataset": f"{task}_v1",
                "dataset_sha256": "ab" * 32,
                "version": "1.0.0",
                "limit": samples,
                "samples": samples,
                "clusters": math.ceil(samples / 2),
                "lang": {"ja": japanese, "en": samples - japanese},
                "candidates": models,
                "reference": models[0],
                "tier": TIER[task],
                "scorer": "exact",
            }
            for task, name in tasks.items()
        },
        "models": {
            key: {
                "provider": "local",
                "model_id": MODELS[model]["id"],
                "version": f"{MODELS[model]['id']}@1",
                "label": MODELS[model]["label"] + (plant[0] if plant else ""),
                "price_per_core_hour": MODELS[model]["price"],
                "licence": "Gemma Terms of Use" if "gemma" in model else "Apache-2.0",
            }
            for model, key in zip(MODELS, models, strict=True)
        },
        "machine": {"cores": 2, "platform": "Linux-6.1-x86_64", "python": "3.11.7"},
        "notices": [
            "Gemma is provided under the Gemma Terms of Use, see ai.google.dev/gemma/terms.",
            *plant,
        ],
        "config_hash": "4be1d2c3",
    }


def _ledger(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for row in rows:
        cell = f"{row['task']}/{row['sample_id']}/{row['model']}/{row['repeat']}"
        same = {
            "schema": 1,
            "intent_id": f"intent-{row['fingerprint'][:16]}",
            "fingerprint": row["fingerprint"],
            "cell": cell,
            "run_id": row["run_id"],
            "timestamp": row["timestamp"],
        }
        paid = {key: value for key, value in row.items() if key not in ("score", "score_details")}
        lines += [{"type": "intent", **same}, {"type": "result", **paid, **same}]
    return lines


def _production_call(draw: random.Random, at: int) -> dict[str, Any]:
    task = draw.choice(list(SKILL))
    model = draw.choice(list(MODELS))
    stamp = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=17 * at)
    return {
        "task": task,
        "tier": TIER[task],
        "model": model,
        "model_id": MODELS[model]["id"],
        "repeat": 0,
        "status": "ok" if draw.random() > 0.03 else "error",
        "error_kind": "rate_limit",
        "run_id": None,
        "latency_ms": round(MODELS[model]["ms"] * draw.lognormvariate(0, 0.4), 2),
        "queued_ms": 0.4,
        "ttft_ms": 90.0,
        "input_tokens": 200,
        "output_tokens": 18,
        "cost_usd": 0.00001,
        "cpu_s": None,
        "cost_source": "registry",
        "finish_reason": "stop",
        "adjustments": [],
        "call_id": f"p-{at:08d}",
        "sample_id": f"s{at}",
        "fingerprint": f"{at:064x}",
        "timestamp": stamp.isoformat(),
        "error": None,
        "load": {"cpu_some_avg10": 3.0, "loadavg1": 1.0},
    }


def _telemetry(draw: random.Random, row: dict[str, Any]) -> dict[str, Any]:
    failed = row["status"] != "ok"
    chain = [row["model"]]
    attempts: list[dict[str, Any]] = [{"model": row["model"], "latency_ms": row["latency_ms"]}]
    if row["run_id"] is None and draw.random() < 0.05:
        chain.insert(0, "smol_free")
        attempts.insert(
            0,
            {
                "model": "smol_free",
                "error_kind": "rate_limit",
                "status_code": 429,
                "latency_ms": 80.0,
                "waited_ms": 0,
            },
        )
    if failed:
        attempts[-1] |= {"error_kind": row["error_kind"]}
    cell = f"{row['task']}/{row['sample_id']}/{row['model']}/{row['repeat']}"
    return {
        "schema": 1,
        "status": "fail" if failed else "success",
        "timestamp": row["timestamp"],
        "call_id": row["call_id"],
        "task": row["task"],
        "tier": row["tier"],
        "channel": None,
        "env": None,
        "slot": None,
        "model": None if failed else row["model"],
        "model_id": row["model_id"],
        "provider": "local",
        "fallback_chain": chain,
        "reason": "pinned",
        "latency_ms": row["latency_ms"],
        "ttft_ms": row["ttft_ms"],
        "queued_ms": row["queued_ms"],
        "usage": {key: row.get(key, 0) for key in USAGE},
        "cost_usd": row["cost_usd"],
        "cost_source": row["cost_source"],
        "wasted_ms": 0.0,
        "wasted_cost_usd": None,
        "cpu_s": row["cpu_s"],
        "load": row["load"],
        "finish_reason": row["finish_reason"],
        "request_id": None,
        "attempts": attempts,
        "error": row["error"],
        "error_class": "ProviderError" if failed else None,
        "error_kind": row["error_kind"] if failed else None,
        "status_code": None,
        "adjustments": row["adjustments"],
        "routing_key": None,
        "config_hash": "4be1d2c3",
        "prompt_sha256": row["fingerprint"],
        "run_id": row["run_id"],
        "cell": cell if row["run_id"] else None,
    }


def _dump(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _dump_lines(path: Path, rows: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
