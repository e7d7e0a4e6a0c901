"""A made-up telemetry log of four weeks, the same bytes for the same seed.

notebooks/05_telemetry.ipynb reads it.

`python -m tests.traffic_log` writes notebooks/recordings/telemetry.jsonl again.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

RECORDING = Path(__file__).parents[1] / "notebooks" / "recordings" / "telemetry.jsonl"
START = datetime(2026, 10, 26, tzinfo=UTC)
DAYS = 28
TIERS = {
    "heavy_reasoning": ("az_gpt_5_6_sol", "gem_3_1_pro", "or_kimi_k2_thinking"),
    "standard": ("gem_3_8_flash", "az_gpt_5_6_terra", "or_deepseek_v3_2"),
    "cheap": ("az_gpt_6_luna", "or_deepseek_v3_2", "smol_json"),
}
# task: tier, share of the calls, tokens in, tokens out, share of the input that a cache can hold
TASKS = {
    "脚本の書き直し": ("heavy_reasoning", 0.10, 2600, 900, 0.0),
    "plan_scenes": ("heavy_reasoning", 0.07, 1500, 1200, 0.0),
    "字幕の翻訳": ("standard", 0.29, 900, 420, 0.6),
    "fact_extract": ("standard", 0.16, 700, 160, 0.0),
    "comment_classify": ("cheap", 0.24, 210, 8, 0.3),
    "caption": ("cheap", 0.14, 340, 60, 0.0),
}
# model: provider, US dollars per million tokens in, cached and out, usual milliseconds, spread of their log
MODELS = {
    "az_gpt_5_6_sol": ("azure", 4.0, 0.4, 20.0, 6400.0, 0.35),
    "az_gpt_5_6_terra": ("azure", 2.0, 0.2, 12.0, 1900.0, 0.32),
    "az_gpt_6_luna": ("azure", 0.1, 0.01, 0.5, 640.0, 0.38),
    "gem_3_1_pro": ("gemini", 2.0, 0.2, 12.0, 7600.0, 0.42),
    "gem_3_8_flash": ("gemini", 0.75, 0.075, 3.75, 1250.0, 0.30),
    "or_kimi_k2_thinking": ("openrouter", 0.6, 0.15, 2.5, 12500.0, 0.40),
    "or_deepseek_v3_2": ("openrouter", 0.27, 0.27, 0.41, 2400.0, 0.50),
    "smol_json": ("embedded", 0.0, 0.0, 0.0, 900.0, 0.25),
}
_STATUS = {"rate_limit": 429, "server_error": 503}
_OUTAGE = (datetime(2026, 11, 12, 12, tzinfo=UTC), datetime(2026, 11, 12, 18, tzinfo=UTC))
_SLOWER_FROM = datetime(2026, 11, 16, tzinfo=UTC)  # gem_3_8_flash takes 1.9 times as long from here on
_START = '{"schema": 1, "status": "success", "timestamp": '
_BROKEN = (
    _START + '"2026-11-03T10:0',
    "[1, 2, 3]",
    _START + '"2026-11-05T08:00:00Z", "call_id": "b3", "task": "caption", "latency_ms": "fast"}',
    _START + '"2026-11-09T08:00:00Z", "call_id": "b4", "model": "smol_json"}',
    "",
    _START + '"2026-11-15T08:00:00Z", "call_id": "b5", "task": "caption", "cost_usd": -1}',
)


def log_lines(
    seed: int = 5,
    *,
    calls: int = 400,
    tasks: dict[str, tuple[str, float, int, int, float]] | None = None,
    broken: Sequence[str] = _BROKEN,
) -> Iterator[str]:
    """The lines of a log in the order of time, with broken ones spread among them."""
    dice = random.Random(seed)
    tasks = tasks or TASKS
    times = sorted(_time(dice) for _ in range(calls))
    places = {round((n + 1) * calls / (len(broken) + 1)): text for n, text in enumerate(broken)}
    for n, at in enumerate(times):
        if n in places:
            yield places[n]
        yield json.dumps(_line(dice, n, at, tasks), ensure_ascii=False)


def write_log(path: Path, **options: object) -> Path:
    """Write a log and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(log_lines(**options)) + "\n", encoding="utf-8", newline="")  # type: ignore[arg-type]
    return path


def _time(dice: random.Random) -> datetime:
    """Any day, by day more than by night; weekends are quiet."""
    while True:
        at = START + timedelta(days=dice.random() * DAYS)
        busy = 0.25 + 0.75 * math.exp(-(((at.hour - 12) / 5) ** 2))
        if dice.random() < busy * (0.4 if at.weekday() >= 5 else 1.0):
            return at


def _line(
    dice: random.Random, n: int, at: datetime, tasks: dict[str, tuple[str, float, int, int, float]]
) -> dict:
    task = dice.choices(list(tasks), [each[1] for each in tasks.values()])[0]
    tier, _, tokens_in, tokens_out, cacheable = tasks[task]
    attempts: list[dict] = []
    for model in TIERS[tier]:
        kind = _trouble(dice, model, at, tier)
        attempts.append(_attempt(dice, model, kind, at))
        if kind is None or kind == "content_filter":
            break
    last, wasted = attempts[-1], attempts[:-1]
    is_answered = "error_kind" not in last
    provider = MODELS[last["model"]][0]
    known = [each["cost_usd"] for each in wasted if "cost_usd" in each]
    chain = [each["model"] for each in attempts]
    line = {
        "schema": 1,
        "status": "success" if is_answered else "fail",
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "call_id": f"call-{n:04d}",
        "task": task,
        "tier": tier,
        "channel": dice.choice(["CH01", "CH02"]),
        "model": last["model"] if is_answered else None,
        "provider": provider,
        "fallback_chain": chain,
        "reason": f"tier {tier} from llm_tier_mapping"
        + "".join(f"; {w['model']}: {w['error_kind']}" for w in wasted),
        "latency_ms": round(sum(each["latency_ms"] for each in attempts), 1),
        "wasted_ms": round(sum(each["latency_ms"] for each in wasted), 1),
        "wasted_cost_usd": round(sum(known), 8) if known else None,
        "attempts": attempts,
        "adjustments": _adjustments(last["model"]),
        "config_hash": "5f1c0a7e",
    }
    if is_answered:
        line |= _answer(dice, last["model"], tokens_in, tokens_out, cacheable)
    else:
        kind = last["error_kind"]
        line |= {"error": f"{last['model']}: {kind}", "error_class": "FallbackExhausted", "error_kind": kind}
        line |= {"status_code": _STATUS.get(kind)}
    return {key: value for key, value in line.items() if value is not None}


def _trouble(dice: random.Random, model: str, at: datetime, tier: str) -> str | None:
    """What goes wrong with an attempt, if anything does."""
    provider = MODELS[model][0]
    if provider == "azure" and _OUTAGE[0] <= at < _OUTAGE[1]:
        return "server_error"
    busy = {"openrouter": 0.16, "azure": 0.05, "gemini": 0.07, "embedded": 0.0}
    odds = {"rate_limit": busy[provider], "timeout": 0.012, "server_error": 0.012}
    odds["truncated"] = 0.03 if tier == "cheap" else 0.008
    odds["invalid_output"] = 0.25 if model == "smol_json" else 0.01
    odds["content_filter"] = 0.012 if provider in ("azure", "gemini") else 0.0
    return next((kind for kind, chance in odds.items() if dice.random() < chance), None)


def _attempt(dice: random.Random, model: str, kind: str | None, at: datetime) -> dict:
    _, _, _, _, usual, spread = MODELS[model]
    if model == "gem_3_8_flash" and at >= _SLOWER_FROM:
        usual *= 1.9
    fixed = {"rate_limit": 120.0, "server_error": 310.0, "timeout": 30_000.0, "content_filter": 420.0}
    ms = fixed.get(kind or "", usual) * math.exp(dice.gauss(0.0, 0.02 if kind == "timeout" else spread))
    row: dict = {"model": model, "latency_ms": round(ms, 1)}
    if kind is not None:
        row |= {"error_kind": kind}
        if kind in _STATUS:
            row |= {"status_code": _STATUS[kind]}
        if kind in ("truncated", "invalid_output") and MODELS[model][0] != "openrouter":
            row |= {"cost_usd": round(MODELS[model][3] * 250 / 1e6, 8)}
    return row


def _adjustments(model: str) -> list[dict]:
    if model.startswith("az_"):
        rename = {"param": "max_tokens", "action": "renamed", "from": 4096, "to": "max_completion_tokens"}
        rows = [rename | {"rule": "the deployment takes max_completion_tokens"}]
        if model == "az_gpt_5_6_sol":
            drop = {"param": "temperature", "action": "dropped", "from": 0.2, "to": None}
            rows.append(drop | {"rule": "allow_temperature is false in the registry"})
        return rows
    if model == "smol_json":
        clamp = {"param": "max_tokens", "action": "clamped", "from": 4096, "to": 256}
        return [clamp | {"rule": "the model writes at most 256 tokens"}]
    return []


def _answer(dice: random.Random, model: str, tokens_in: int, tokens_out: int, cacheable: float) -> dict:
    provider, in_usd, cached_usd, out_usd, _, _ = MODELS[model]
    sent = max(1, round(tokens_in * math.exp(dice.gauss(0, 0.3))))
    received = max(1, round(tokens_out * math.exp(dice.gauss(0, 0.3))))
    cached = round(sent * cacheable) if dice.random() < 0.7 else 0
    usage = {"input_tokens": sent, "output_tokens": received, "cached_tokens": cached, "reasoning_tokens": 0}
    found: dict = {"usage": usage, "finish_reason": "length" if dice.random() < 0.02 else "stop"}
    if provider == "openrouter" and dice.random() < 0.3:
        return found  # the provider named no cost, and no price is known
    sources = {"openrouter": "provider", "embedded": "registry"}
    cost = ((sent - cached) * in_usd + cached * cached_usd + received * out_usd) / 1e6
    return found | {
        "cost_usd": round(cost, 8),
        "cost_source": sources.get(provider, "genai-prices"),
    }


if __name__ == "__main__":
    write_log(RECORDING)
