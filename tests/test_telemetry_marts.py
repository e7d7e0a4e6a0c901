"""The marts of calls, money, latency, caches and failures, each computed another way from the same calls."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as limits

from llmbench.analytics.ingest import SQL_DIR
from llmbench.analytics.warehouse import Warehouse, open_warehouse
from tests.telemetry_logs import Log, Record, check_rows, grouped, hops, known, logs, make_log, naive, total

Rows = Mapping[tuple[Any, ...], Mapping[str, Any]]

#: Failed attempts of these kinds may have been charged.
MAY_BE_CHARGED = {"timeout", "cancelled", "malformed", "truncated", "empty", "invalid_output", "refusal"}


def day(record: Record) -> Any:
    return naive(record["called_at"]).date()


def provider(record: Record) -> str:
    return record["provider"] or "(unknown)"


def serving(records: Sequence[Record]) -> Callable[[Record], str]:
    """The provider of a call, or of its model elsewhere: a failed call names none."""
    names: dict[str, str] = {}
    for each in records:
        if each["provider"]:
            names[each["last_model"]] = max(names.get(each["last_model"], ""), each["provider"])
    return lambda record: record["provider"] or names.get(record["last_model"], "(unknown)")


def span(records: Sequence[Record]) -> dict[str, Any]:
    times = [naive(record["called_at"]) for record in records]
    return {"first_at": min(times), "last_at": max(times)}


def share(part: float | None, whole: float) -> float | None:
    return part / whole if whole and part is not None else None


# ---- what a mart says, from the records


def usage(records: Sequence[Record]) -> Rows:
    of = serving(records)
    groups = grouped(
        records,
        lambda r: (day(r), r["task"], r["tier"], r["last_model"], of(r), r["channel"] or "(none)"),
    )
    sums = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost_usd")
    return {
        key: {name: total(calls, name) for name in (*sums, "wasted_cost_usd", "wasted_ms", "latency_ms")}
        | {
            "calls": len(calls),
            "failures": sum(call["is_failure"] for call in calls),
            "failure_rate": sum(call["is_failure"] for call in calls) / len(calls),
            "fell_back": sum(hops(call) > 0 for call in calls),
            "priced": len(known(calls, "cost_usd")),
            "timed": len(known(calls, "latency_ms")),
        }
        | span(calls)
        for key, calls in groups.items()
    }


def call_latency(records: Sequence[Record]) -> Rows:
    kept = [each for each in records if not each["is_failure"] or each["error_kind"] == "timeout"]
    of = serving(records)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, calls in grouped(kept, lambda r: (r["task"], r["tier"], r["last_model"], of(r))).items():
        times, firsts, queued = (known(calls, name) for name in ("latency_ms", "ttft_ms", "queued_ms"))
        row: dict[str, Any] = {"n": len(times), "streamed": len(firsts)}
        row |= {f"p{p}_ms": quantile(times, p) for p in (50, 90, 95, 99)}
        row |= {f"p{p}_ttft_ms": quantile(firsts, p) for p in (50, 95)}
        row["p50_low_ms"], row["p50_high_ms"] = bounds(times, 0.5)
        row["p95_low_ms"], row["p95_high_ms"] = bounds(times, 0.95)
        row["ttft_p95_low_ms"], row["ttft_p95_high_ms"] = bounds(firsts, 0.95)
        found[key] = row | {"mean_queued_ms": float(np.mean(queued)) if queued else None}
    return found


def quantile(values: Sequence[float], percent: int) -> float | None:
    return float(np.quantile(values, percent / 100)) if values else None


def bounds(values: Sequence[float], p: float) -> tuple[float | None, float | None]:
    """The order statistics about a quantile, each moved outwards to the edge of a bin 1 % wide."""
    n, ordered = len(values), sorted(values)
    half = 1.96 * math.sqrt(n * p * (1 - p))
    low, high = math.floor(n * p - half), math.ceil(n * p + half)
    return (
        edge(ordered[low - 1], 0) if 1 <= low <= n else None,
        edge(ordered[high - 1], 1) if 1 <= high <= n else None,
    )


def edge(value: float, above: int) -> float:
    place = math.floor(math.log(max(value, 0.001)) / math.log(1.01))
    return 0.0 if above == 0 and value < 0.001 else 1.01 ** (place + above)


def costs(records: Sequence[Record]) -> Rows:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, calls in grouped(
        records, lambda r: (day(r), r["task"], r["tier"], r["last_model"], r["cost_source"])
    ).items():
        priced = known(calls, "cost_usd")
        failed = [
            [each for each in call["attempts"] or [] if each["error_kind"] not in (None, "circuit_open")]
            for call in calls
        ]
        found[key] = {
            "calls": len(calls),
            "priced": len(priced),
            "unpriced": sum(call["cost_usd"] is None and not call["is_failure"] for call in calls),
            "cost_usd": total(calls, "cost_usd"),
            "wasted_calls": sum(bool(each) for each in failed),
            "wasted_cost_usd": total(calls, "wasted_cost_usd"),
            "wasted_unknown": sum(
                each["error_kind"] in MAY_BE_CHARGED and each.get("cost_usd") is None
                for attempts in failed
                for each in attempts
            ),
            "cost_per_1000_usd": 1000 * math.fsum(priced) / len(priced) if priced else None,
        }
    return found


def call_errors(records: Sequence[Record]) -> Rows:
    sizes = {key: len(calls) for key, calls in grouped(records, _model_of).items()}
    failed = [each for each in records if each["is_failure"]]
    groups = grouped(failed, lambda r: (*_model_of(r), r["error_kind"] or "unknown", r["status_code"]))
    return {
        key: {
            "calls": len(calls),
            "share": len(calls) / sizes[key[:3]],
            "example": min(known(calls, "error"), key=lambda text: (len(text), text), default=None),
        }
        | span(calls)
        for key, calls in groups.items()
    }


def _model_of(record: Record) -> tuple[Any, ...]:
    return record["task"], record["tier"], record["last_model"]


def cache(records: Sequence[Record]) -> Rows:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, calls in grouped(records, lambda r: (day(r), r["task"], r["last_model"], provider(r))).items():
        told = [call for call in calls if call["cached_tokens"] is not None and not call["is_failure"]]
        both = [call for call in told if call["input_tokens"] is not None]
        hits = sum(call["cached_tokens"] > 0 for call in told)
        found[key] = {
            "calls": len(calls),
            "input_tokens": total(calls, "input_tokens"),
            "cached_tokens": total(calls, "cached_tokens"),
            "cached_share": share(total(both, "cached_tokens"), total(both, "input_tokens") or 0),
            "calls_with_hit": hits,
            "hit_rate": share(hits, len(told)),
            "known_input_tokens": total(both, "input_tokens"),
            "known_cached_tokens": total(both, "cached_tokens"),
        }
    return found


def media(records: Sequence[Record]) -> Rows:
    """A call that tells no kind has that of its model in the tier; of two kinds, the later by name."""
    served, told = serving(records), dict[tuple[Any, ...], str]()
    for each in records:
        if each["media_kind"]:
            place = each["tier"], each["last_model"]
            told[place] = max(told.get(place, ""), each["media_kind"])
    kinds = [each["media_kind"] or told.get((each["tier"], each["last_model"])) for each in records]
    with_kind = [each | {"kind": kind} for each, kind in zip(records, kinds, strict=True) if kind]
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for key, calls in grouped(
        with_kind, lambda r: (day(r), r["task"], r["tier"], r["last_model"], served(r), r["kind"])
    ).items():
        failed = [call for call in calls if call["is_failure"]]
        amount = {"image": "images", "speech": "audio_s"}[key[-1]]
        counted = [call for call in calls if not call["is_failure"] and call[amount] is not None]
        found[key] = {
            "calls": len(calls),
            "failures": len(failed),
            "failure_rate": len(failed) / len(calls),
            "no_media": sum(call["error_kind"] == "no_media" for call in failed),
            "content_filter": sum(call["error_kind"] == "content_filter" for call in failed),
            "counted": len(counted),
            "spoken_characters": total(counted, "spoken_characters"),
            **amounts(counted, amount),
        }
    return found


def amounts(counted: Sequence[Record], amount: str) -> dict[str, Any]:
    """Pictures or seconds of audio, and what each cost in money and time."""
    row: dict[str, Any] = dict.fromkeys(
        f"{part}{name}" for part in ("", "priced_", "timed_") for name in ("images", "audio_s")
    )
    row |= dict.fromkeys(("cost_per_image_usd", "cost_per_minute_usd", "ms_per_image", "real_time_factor"))
    priced = [call for call in counted if call["cost_usd"] is not None]
    timed = [call for call in counted if call["latency_ms"] is not None]
    work = [max(call["latency_ms"] - (call["queued_ms"] or 0.0), 0.0) for call in timed]
    cost, work_ms = total(priced, "cost_usd"), math.fsum(work) if work else None
    row |= {amount: total(counted, amount), f"priced_{amount}": total(priced, amount)}
    row |= {f"timed_{amount}": total(timed, amount), "cost_usd": cost, "work_ms": work_ms}
    of_money, of_time = row[f"priced_{amount}"], row[f"timed_{amount}"]
    if amount == "images":
        row |= {"cost_per_image_usd": cost / of_money if of_money else None}
        row |= {"ms_per_image": work_ms / of_time if of_time else None}
    else:
        row |= {"cost_per_minute_usd": cost / (of_money / 60) if of_money else None}
        row |= {"real_time_factor": work_ms / (of_time * 1000) if of_time else None}
    return row | {"priced": len(priced)}


MARTS: dict[str, tuple[str, Callable[[Sequence[Record]], Rows]]] = {
    "mart_usage": ("day, task, tier, model, provider, channel", usage),
    "mart_call_latency": ("task, tier, model, provider", call_latency),
    "mart_costs": ("day, task, tier, model, cost_source", costs),
    "mart_call_errors": ("task, tier, model, error_kind, status_code", call_errors),
    "mart_cache": ("day, task, model, provider", cache),
    "mart_media": ("day, task, tier, model, provider, kind", media),
}


# ---- the claims


@pytest.fixture(scope="module")
def log() -> Log:
    return make_log(11, 3000, files=2, days=3.0)


@pytest.fixture(scope="module")
def warehouse(log, tmp_path_factory):
    with open_warehouse(telemetry=log.write(tmp_path_factory.mktemp("marts"))) as opened:
        yield opened


@pytest.mark.parametrize("mart", MARTS)
def test_a_mart_of_a_long_log_says_what_its_calls_say(mart: str, log: Log, warehouse: Warehouse):
    key, want = MARTS[mart]
    check_rows(warehouse.rows(f"from {mart}"), want(log.records), key)


@limits(max_examples=30)
@given(logs)
def test_every_mart_of_any_log_says_what_its_calls_say_and_no_line_is_lost(log: Log):
    with tempfile.TemporaryDirectory() as folder:
        paths = log.write(Path(folder))
        with open_warehouse(telemetry=paths) as opened:
            [counts] = opened.rows(
                "select sum(lines)::int as lines, sum(good)::int as good, sum(quarantined)::int as bad, "
                "sum(blank)::int as blank from loads"
            )
            [kept] = opened.rows(
                "select (select count(*) from stg_calls) as calls, (select count(*) from quarantine) as bad"
            )
            for mart, (key, want) in MARTS.items():
                check_rows(opened.rows(f"from {mart}"), want(log.records), key)
    assert counts == {
        "lines": log.lines,
        "good": len(log.records),
        "bad": log.quarantined,
        "blank": log.blank,
    }
    assert kept == {"calls": len(log.records), "bad": log.quarantined}
    assert kept["calls"] + kept["bad"] + counts["blank"] == log.lines


def test_usage_can_be_summed_up_further(warehouse: Warehouse, log: Log):
    [row] = warehouse.rows(
        "select sum(calls)::int as calls, sum(failures)::int as failures, sum(priced)::int as priced, "
        "sum(cost_usd) as cost_usd, sum(latency_ms) as latency_ms from mart_usage"
    )
    assert row["calls"] == len(log.records)
    assert row["failures"] == sum(each["is_failure"] for each in log.records)
    assert row["priced"] == len(known(log.records, "cost_usd"))
    assert row["cost_usd"] == pytest.approx(total(log.records, "cost_usd"))
    assert row["latency_ms"] == pytest.approx(total(log.records, "latency_ms"))


def test_a_latency_interval_holds_the_true_percentile_as_often_as_it_says():
    """400 samples of 250 calls of an exponential law; a share five standard errors too low is no accident."""
    samples, calls = 400, 250
    times = np.random.default_rng(3).exponential(100.0, samples * calls)
    frame = pd.DataFrame({"task": np.arange(samples * calls) // calls, "latency_ms": times})
    frame = frame.assign(tier="cheap", last_model="m", provider="p", is_failure=False, error_kind="none")
    con = duckdb.connect()
    con.register("stg_calls", frame.assign(ttft_ms=np.nan, queued_ms=0.0))
    rows = con.execute((SQL_DIR / "marts" / "mart_call_latency.sql").read_text(encoding="utf-8")).df()
    assert len(rows) == samples
    for truth, name in ((100 * math.log(2), "p50"), (100 * math.log(20), "p95")):
        low, high = rows[f"{name}_low_ms"], rows[f"{name}_high_ms"]
        assert ((low <= truth) & (truth <= high)).mean() >= 0.95 - 5 * math.sqrt(0.95 * 0.05 / samples)
        assert (high / low).median() < 1.7
