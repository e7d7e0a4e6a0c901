"""The marts of fallbacks, endings, budgets and what-ifs, computed another way; all marts of one small log."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as limits

from llmbench.analytics.ingest import SQL_DIR
from llmbench.analytics.traffic_prices import CandidatePrice, candidate_prices
from llmbench.analytics.warehouse import Warehouse, open_warehouse
from llmbench.catalog import BudgetLimits, Endpoint, ModelSpec, Price
from llmbench.config import load_config
from llmbench.messages import Usage
from llmbench.pricing import cost_of
from tests.telemetry_logs import Log, Record, check_rows, grouped, hops, known, logs, make_log, naive, total

Rows = Mapping[tuple[Any, ...], Mapping[str, Any]]

SNAPSHOT = Path(__file__).parent / "data_telemetry" / "marts.json"
SHOWN = (
    *("mart_usage", "mart_call_latency", "mart_costs", "mart_call_errors", "mart_fallbacks", "mart_endings"),
    *(
        "mart_cache",
        "mart_budget",
        "mart_what_if",
        "mart_drift",
        "mart_attempts",
        "mart_adjustments",
        "mart_media",
    ),
)
BUDGETS = BudgetLimits(call_usd=1.0, run_usd=0.25, routing_key_usd=2.0)
PRICES = [
    CandidatePrice("cheap", "small", 0.05, 0.4),
    CandidatePrice(
        "cheap", "モデル🌸", 1.0, 4.0, cached_input_usd=0.1, reasoning_usd=6.0, as_of="2026-11-01"
    ),
    CandidatePrice("standard", "small", 0.05, 0.4, cached_input_usd=0.0, source="genai-prices"),
    CandidatePrice("no_such_tier", "small", 0.05, 0.4),
]


# ---- what a mart says, from the records


def fallbacks(records: Sequence[Record]) -> Rows:
    fallen = [each for each in records if hops(each) > 0]
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, calls in grouped(
        fallen, lambda r: (r["task"], r["tier"], " > ".join(r["chain"]), why(r["attempts"]))
    ).items():
        wasted, lasted = known(calls, "wasted_ms"), known(calls, "latency_ms")
        found[key] = {
            "calls": len(calls),
            "failures": sum(call["is_failure"] for call in calls),
            "mean_wasted_ms": math.fsum(wasted) / len(wasted) if wasted else None,
            "wasted_ms": total(calls, "wasted_ms"),
            "wasted_cost_usd": total(calls, "wasted_cost_usd"),
            "wasted_known": len(known(calls, "wasted_cost_usd")),
            "mean_latency_ms": math.fsum(lasted) / len(lasted) if lasted else None,
            "extra_hops": sum(hops(call) for call in calls),
        }
    return found


def why(attempts: Sequence[Mapping[str, Any]] | None) -> str:
    kinds: list[tuple[str, str]] = []
    for each in attempts or ():
        step = each["model"], each["error_kind"]
        if each["error_kind"] and (not kinds or kinds[-1] != step):
            kinds.append(step)
    return " > ".join(kind for _, kind in kinds) or "unknown"


def endings(records: Sequence[Record]) -> Rows:
    tried: dict[tuple[Any, ...], list[str | None]] = {}
    answers: dict[tuple[Any, ...], list[str | None]] = {}
    for each in records:
        place = each["task"], each["tier"]
        listed = [*(each["attempts"] or ())]
        has_answer = any(attempt["error_kind"] is None for attempt in listed)
        if not listed or not (each["is_failure"] or has_answer):
            kind = (each["error_kind"] or "unknown") if each["is_failure"] else None
            listed.append({"model": each["last_model"], "error_kind": kind})
        for attempt in listed:
            if attempt["error_kind"] != "circuit_open":
                tried.setdefault((*place, attempt["model"]), []).append(attempt["error_kind"])
        if not each["is_failure"]:
            answers.setdefault((*place, each["last_model"]), []).append(each["finish_reason"])
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key in tried | answers:
        kinds, reasons = tried.get(key, []), answers.get(key, [])
        names = ("empty", "invalid_output", "refusal", "content_filter", "malformed")
        row: dict[str, Any] = {name: kinds.count(name) for name in names}
        row |= {"answers": len(reasons), "attempts": len(kinds)}
        row["truncated"] = kinds.count("truncated") + reasons.count("length")
        unusable = row["truncated"] + sum(row[name] for name in names)
        for name, count in (("truncated", row["truncated"]), ("empty", row["empty"]), ("unusable", unusable)):
            row[f"{name}_rate"] = count / len(kinds) if kinds else None
        found[key] = row
    return found


def budget(records: Sequence[Record]) -> Rows:
    ceilings = {"run": 0.25, "routing_key": 2.0, "month": None}
    names: dict[str, Callable[[Record], Any]] = {
        "run": lambda r: r["run_id"],
        "routing_key": lambda r: r["routing_key"],
        "month": lambda r: naive(r["called_at"]).strftime("%Y-%m"),
    }
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for scope, name_of in names.items():
        named = [each for each in records if name_of(each) is not None]
        for (name,), calls in grouped(named, lambda r, of=name_of: (of(r),)).items():
            times = [naive(call["called_at"]) for call in calls]
            days = max(1.0, (max(times) - min(times)).total_seconds() / 86400)
            spent = (total(calls, "cost_usd") or 0.0) + (total(calls, "wasted_cost_usd") or 0.0)
            ceiling = ceilings[scope]
            found[scope, name] = {
                "calls": len(calls),
                "spent_usd": spent,
                "unpriced": sum(call["cost_usd"] is None and not call["is_failure"] for call in calls),
                "limit_usd": ceiling,
                "used_share": None if ceiling is None else spent / ceiling,
                "first_at": min(times),
                "last_at": max(times),
                "usd_per_day": spent / days,
                "left_usd": None if ceiling is None else ceiling - spent,
                "days_left": None,
            }
    return found


def what_if(records: Sequence[Record]) -> Rows:
    """Each call priced by llmbench/pricing.py, at the candidate's price as a registry would have it."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    answered = [each for each in records if not each["is_failure"]]
    for (tier, task), calls in grouped(answered, lambda r: (r["tier"], r["task"])).items():
        for price in (each for each in PRICES if each.tier == tier):
            priced = [(call, usd) for call in calls if (usd := estimate(price, call)) is not None]
            if not priced:
                continue
            paid = [(call["cost_usd"], usd) for call, usd in priced if call["cost_usd"] is not None]
            actual = math.fsum(cost for cost, _ in paid)
            row = {
                name: sum(call[name] or 0 for call, _ in priced)
                for name in ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
            }
            dollars = math.fsum(usd for _, usd in priced)
            found[tier, task, price.model] = row | {
                "calls": len(priced),
                "estimated_usd": dollars,
                "estimated_per_1000_usd": 1000 * dollars / len(priced),
                "actual_usd": actual if paid else None,
                "actual_priced": len(paid),
                "ratio": math.fsum(usd for _, usd in paid) / actual if actual else None,
                "is_estimate": True,
                "source": price.source,
                "as_of": price.as_of,
            }
    return found


def estimate(price: CandidatePrice, call: Record) -> float | None:
    if call["input_tokens"] is None or call["output_tokens"] is None:
        return None
    registry = Price(price.input_usd, price.cached_input_usd, price.output_usd, price.reasoning_usd)
    spec = ModelSpec(price.model, "stub", "m", price=registry)
    usage = Usage(
        call["input_tokens"], call["output_tokens"], call["cached_tokens"] or 0, call["reasoning_tokens"] or 0
    )
    return cost_of(spec, Endpoint("stub"), usage)[0]


MARTS: dict[str, tuple[str, Callable[[Sequence[Record]], Rows]]] = {
    "mart_fallbacks": ("task, tier, chain, why", fallbacks),
    "mart_endings": ("task, tier, model", endings),
    "mart_budget": ("scope, name", budget),
    "mart_what_if": ("tier, task, candidate", what_if),
}


# ---- the claims


@pytest.fixture(scope="module")
def log() -> Log:
    return make_log(12, 3000, files=2, days=40.0)


@pytest.fixture(scope="module")
def warehouse(log, tmp_path_factory):
    paths = log.write(tmp_path_factory.mktemp("marts"))
    with open_warehouse(telemetry=paths, prices=PRICES, budgets=BUDGETS) as opened:
        yield opened


@pytest.mark.parametrize("mart", MARTS)
def test_a_mart_of_a_long_log_says_what_its_calls_say(mart: str, log: Log, warehouse: Warehouse):
    key, want = MARTS[mart]
    check_rows(warehouse.rows(f"from {mart}"), want(log.records), key)


@limits(max_examples=30)
@given(logs)
def test_every_mart_of_any_log_says_what_its_calls_say(log: Log):
    with tempfile.TemporaryDirectory() as folder:
        paths = log.write(Path(folder))
        with open_warehouse(telemetry=paths, prices=PRICES, budgets=BUDGETS) as opened:
            for mart, (key, want) in MARTS.items():
                check_rows(opened.rows(f"from {mart}"), want(log.records), key)


def test_repeats_of_one_models_kind_stand_once_and_the_same_kind_of_the_next_model_again(tmp_path):
    kinds = [
        ("a", "rate_limit"),
        ("a", "rate_limit"),
        ("b", "rate_limit"),
        ("b", "timeout"),
        ("b", "rate_limit"),
    ]
    attempts = [{"model": model, "error_kind": kind} for model, kind in kinds] + [{"model": "c"}]
    line = {"task": "t", "timestamp": "2026-11-22T09:00:00Z", "status": "success", "model": "c"}
    line |= {"fallback_chain": ["a", "b", "c"], "attempts": attempts, "call_id": "1"}
    (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    with open_warehouse(telemetry=[tmp_path / "log.jsonl"]) as opened:
        [row] = opened.rows("from mart_fallbacks")
    assert row["chain"] == "a > b > c"
    assert row["why"] == "rate_limit > rate_limit > timeout > rate_limit"


def test_the_answer_of_a_call_that_lists_failed_attempts_alone_is_an_attempt(tmp_path):
    line = {"task": "t", "tier": "s", "timestamp": "2026-11-22T09:00:00Z", "status": "success", "model": "m"}
    empty = [{"model": "m", "error_kind": "empty"}]
    lines = [line | {"attempts": empty * 2, "finish_reason": "length"}, line | {"attempts": empty}, line]
    lines.append(line | {"attempts": [*empty, {"model": "m"}]})
    lines.append(line | {"attempts": [{"model": "other", "error_kind": "timeout"}]})
    lines.append(line | {"status": "fail", "model": None, "fallback_chain": ["m"], "attempts": empty})
    lines.append(line | {"attempts": [{"model": "m", "error_kind": "circuit_open"}]})
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    with open_warehouse(telemetry=[tmp_path / "log.jsonl"]) as opened:
        m, other = opened.rows("from mart_endings order by model")
    assert (m["model"], m["answers"], m["attempts"], m["empty"], m["truncated"]) == ("m", 6, 11, 5, 1)
    assert m["unusable_rate"] == pytest.approx(6 / 11)
    assert (other["answers"], other["attempts"], other["unusable_rate"]) == (0, 1, 0.0)


def test_a_months_limit_says_how_many_days_are_left_at_this_pace():
    times = [datetime(2026, 11, day, tzinfo=UTC).replace(tzinfo=None) for day in (1, 3, 5)]
    calls = pd.DataFrame(
        {"called_at": times, "cost_usd": [10.0, 14.0, 15.0], "wasted_cost_usd": [0.0, 1.0, 0.0]}
    )
    con = duckdb.connect()
    con.register("every_call", calls.assign(status="success", run_id="r", routing_key="k"))
    for limit, want in ((100.0, (40.0, 10.0, 60.0, 6.0)), (30.0, (40.0, 10.0, -10.0, 0.0))):
        con.register("budget_limits", pd.DataFrame({"scope": ["month"], "limit_usd": [limit]}))
        rows = con.execute((SQL_DIR / "marts" / "mart_budget.sql").read_text(encoding="utf-8")).df()
        [row] = rows[rows["scope"] == "month"].to_dict("records")
        assert tuple(row[name] for name in ("spent_usd", "usd_per_day", "left_usd", "days_left")) == want
        assert row["used_share"] == pytest.approx(40 / limit)
        assert rows[rows["scope"] != "month"][["limit_usd", "days_left"]].isna().all(axis=None)


# ---- every mart of one small log


def snapshot() -> dict[str, list[dict[str, Any]]]:
    """Every telemetry mart's rows in the order of its key, as JSON has them."""
    found: dict[str, list[dict[str, Any]]] = {}
    with open_warehouse(
        telemetry=[SNAPSHOT.parent / "usage.jsonl"], prices=PRICES, budgets=BUDGETS
    ) as opened:
        for name in SHOWN:
            header = (SQL_DIR / "marts" / f"{name}.sql").read_text(encoding="utf-8")
            key = header.split("-- key: ", 1)[1].split("\n", 1)[0]
            rows = opened.rows(f"select * from {name} order by {key}")  # noqa: S608 - names from our own files
            found[name] = [{each: as_json(value) for each, value in row.items()} for row in rows]
    return found


def as_json(value: Any) -> Any:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return float(f"{value:.12g}") if isinstance(value, float) else value


def test_the_marts_of_one_small_log_are_the_rows_that_were_checked_by_eye():
    """Written anew with WRITE_MARTS=1; read the difference before it is committed."""
    rows = snapshot()
    if os.environ.get("WRITE_MARTS"):
        text = json.dumps(rows, ensure_ascii=False, indent=1)
        SNAPSHOT.write_text(text + "\n", encoding="utf-8")
    assert rows == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


# ---- the candidates' prices


def test_each_tiers_candidates_are_priced_as_calls_are_and_the_others_named_with_their_reason(write_configs):
    price = {"input": 1.0, "cached_input": 0.25, "output": 2.0, "as_of": "2026-11-01"}
    folder = write_configs(
        llm_router={
            "providers": {
                "stub": {"base_url": "http://127.0.0.1:9/v1", "env_api_key": "STUB_KEY"},
                "openai": {"type": "openai", "env_api_key": "OPENAI_API_KEY"},
            }
        },
        llm_model_registry={
            "models": {
                "own": {"provider": "stub", "model_name": "m-own", "price": price},
                "listed": {"provider": "openai", "model_name": "gpt-4o-mini"},
                "nameless": {"provider": "stub", "model_name": "m-nameless"},
                "machine": {"provider": "stub", "model_name": "m-machine", "price": {"per_core_hour": 0.04}},
            }
        },
        llm_tier_candidates={
            "tiers": {"cheap": ["own", "m-own", "listed"], "standard": ["nameless", "machine", "own"]}
        },
    )
    prices, left_out = candidate_prices(load_config(folder))
    assert [(each.tier, each.model) for each in prices] == [
        ("cheap", "own"),
        ("cheap", "listed"),
        ("standard", "own"),
    ]
    assert prices[0] == CandidatePrice("cheap", "own", 1.0, 2.0, 0.25, 2.0, "registry", "2026-11-01")
    assert (prices[1].source, prices[1].as_of) == ("genai-prices", None)
    assert 0 < prices[1].cached_input_usd < prices[1].input_usd < prices[1].output_usd
    reasons = {(each.tier, each.model): each.reason for each in left_out}
    assert list(reasons) == [("standard", "nameless"), ("standard", "machine")]
    assert "no price for nameless" in reasons["standard", "nameless"]
    assert "per core hour" in reasons["standard", "machine"]


def test_the_shipped_candidates_are_all_priced_or_named():
    config = load_config(Path(__file__).parents[1] / "configs")
    prices, left_out = candidate_prices(config)
    of_text = {(tier, each.model) for tier, candidates in config.all_tiers().items() for each in candidates}
    of_media = {
        (tier, model)
        for media in config.media.values()
        for tier, models in media.tiers.items()
        for model in models
    }
    assert {(each.tier, each.model) for each in (*prices, *left_out)} == of_text | of_media
    assert len(prices) + len(left_out) == len(of_text | of_media)
    long = [each for each in prices if each.model == "gem_3_1_pro"]
    assert [each.source for each in long] == ["genai-prices, short inputs"]
