"""mart_drift: two weeks beside each other, days as clusters, and its errors counted on simulated logs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from llmbench.analytics.ingest import SQL_DIR
from llmbench.analytics.warehouse import open_warehouse
from tests.telemetry_logs import Record, check_rows, grouped, hops, make_log, naive

SQL = (SQL_DIR / "marts" / "mart_drift.sql").read_text(encoding="utf-8")
KEY = "task, model, measure"
START = pd.Timestamp("2026-11-01")
WEEK_H = 7 * 24
TASKS = ("caption", "route_ticket")
MODELS = ("or_small", "fw_deep")


# ---- simulated logs, as rows


def simulated(
    seed: int, *, calls_an_hour: float = 12.0, outages: float = 4.0, failing: float = 0.02
) -> pd.DataFrame:
    """Two weeks of two tasks and models: a daily course, hours that are slower than others, and outages.

    `outages` is the mean number a week for each model; one fails every call of its twenty minutes. `failing`
    is the share of the other calls that fail.
    """
    draw = np.random.default_rng(seed)
    hours = 2 * WEEK_H
    parts = []
    for model in MODELS:
        down = draw.uniform(0, hours, draw.poisson(2 * outages))
        slow = draw.normal(0, 0.2, hours)
        for task in TASKS:
            busy = calls_an_hour * (1 + 0.6 * np.sin(np.arange(hours) * 2 * np.pi / 24))
            at = np.repeat(np.arange(hours), draw.poisson(busy)) + 0.0
            hour = at.astype(int)
            at += draw.random(len(at))
            is_down = (np.abs(at[:, None] - down[None, :] - 1 / 6) < 1 / 6).any(axis=1)
            fails = is_down | (draw.random(len(at)) < failing)
            parts.append(
                pd.DataFrame(
                    {
                        "task": task,
                        "last_model": model,
                        "called_at": START + pd.to_timedelta(at, unit="h"),
                        "is_failure": fails,
                        "hops": (draw.random(len(at)) < 0.03).astype(int),
                        "finish_reason": np.where(draw.random(len(at)) < 0.05, "length", "stop"),
                        "error_kind": np.where(is_down, "timeout", "server_error"),
                        "latency_ms": np.exp(6.5 + slow[hour] + draw.normal(0, 0.5, len(at))),
                        "cost_usd": np.where(fails, np.nan, draw.lognormal(-8, 0.6, len(at))),
                        "output_tokens": np.where(fails, np.nan, draw.poisson(150, len(at))),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def is_late(calls: pd.DataFrame) -> pd.Series:
    """The calls of the newest seven days."""
    return calls["called_at"] > calls["called_at"].max() - timedelta(days=7)


@cache
def database() -> duckdb.DuckDBPyConnection:
    """One for all simulated logs: to open one takes as long as to read the view."""
    return duckdb.connect(config={"threads": 1})


def drift(calls: pd.DataFrame) -> pd.DataFrame:
    status = np.where(calls["is_failure"], "fail", "success")
    database().register("every_call", calls.assign(status=status))
    return database().execute(SQL).df()


def test_a_clock_that_runs_ahead_moves_no_window():
    calls = simulated(3)
    ahead = calls.tail(1).assign(called_at=pd.Timestamp.now("UTC").tz_localize(None) + timedelta(days=400))
    pd.testing.assert_frame_equal(sorted_drift(pd.concat((calls, ahead))), sorted_drift(calls))
    later = calls.assign(called_at=calls["called_at"] + timedelta(days=20_000))  # the clock of all runs ahead
    assert (sorted_drift(later)["this_n"] > 0).sum() == (sorted_drift(calls)["this_n"] > 0).sum() > 0


def sorted_drift(calls: pd.DataFrame) -> pd.DataFrame:
    return drift(calls).sort_values(["task", "model", "measure"], ignore_index=True)


# ---- another way to the same figures


def measures(record: Record) -> dict[str, float | None]:
    latency, kind = record["latency_ms"], record["error_kind"]
    has_lasted = bool(latency) and (not record["is_failure"] or kind == "timeout")
    return {
        "failure_rate": float(record["is_failure"]),
        "fallback_rate": float(hops(record) > 0),
        "truncated_rate": float(record["finish_reason"] == "length" or kind == "truncated"),
        "latency_ms": math.log(latency) if has_lasted else None,
        "cost_usd": record["cost_usd"],
        "output_tokens": None if record["is_failure"] else record["output_tokens"],
    }


def week(points: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Calls, effective days, mean and its variance: each day is left out once, and the means are compared."""
    days = sorted({day for day, _ in points})
    n = len(points)
    if not n:
        return {"n": 0, "days": 0.0, "mean": None, "variance": math.nan}
    mean = math.fsum(value for _, value in points) / n
    sizes = [sum(day == each for day, _ in points) for each in days]
    without = [[value for day, value in points if day != each] for each in days]
    variance = math.nan
    if len(days) > 1:
        variance = sum((np.mean(rest) - mean) ** 2 for rest in without) * (len(days) - 1) / len(days)
    return {"n": n, "days": n**2 / sum(size**2 for size in sizes), "mean": mean, "variance": variance}


def expected(records: Sequence[Record]) -> dict[tuple[Any, ...], dict[str, Any]]:
    newest = max(naive(record["called_at"]) for record in records)
    pairs: dict[tuple[Any, ...], tuple[dict[str, Any], dict[str, Any]]] = {}
    for (task, model), calls in grouped(records, lambda r: (r["task"], r["last_model"])).items():
        for measure in measures(calls[0]):
            points = [(naive(call["called_at"]), measures(call)[measure]) for call in calls]
            known = [((newest - at) // timedelta(days=1), value) for at, value in points if value is not None]
            this, last = (
                week([(day, value) for day, value in known if start <= day < start + 7]) for start in (0, 7)
            )
            if this["n"] + last["n"]:
                pairs[task, model, measure] = this, last
    m = sum(min(this["days"], last["days"]) >= 4 for this, last in pairs.values())
    z = math.sqrt(2 * math.log(m / 0.05)) if m else None
    return {key: beside(key[2], *pair, z) for key, pair in pairs.items()}


def beside(measure: str, this: dict[str, Any], last: dict[str, Any], z: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {f"this_{name}": this[name] for name in ("n", "days")}
    row |= {f"last_{name}": last[name] for name in ("n", "days")}
    shown = math.exp if measure == "latency_ms" else float
    row |= {
        name: None if side["mean"] is None else shown(side["mean"])
        for name, side in (("this_mean", this), ("last_mean", last))
    }
    difference = None if None in (this["mean"], last["mean"]) else this["mean"] - last["mean"]
    limits: list[float | None] = [difference, None, None]
    needed = None
    if z is not None and min(this["days"], last["days"]) >= 4:
        needed = z * (1 + (z**2 + 1) / (4 * (this["days"] + last["days"] - 2)))
        half = needed * math.sqrt(this["variance"] + last["variance"])
        limits = [difference, difference - half, difference + half]
    changed = [None if x is None else math.expm1(x) if measure == "latency_ms" else x for x in limits]
    row |= dict(zip(("change", "low", "high"), map(as_float, changed), strict=True))
    outside = limits[1] is not None and (limits[1] > 0 or limits[2] < 0)
    return row | {"is_change": outside, "needed_z": needed}


def as_float(value: float | None) -> float | None:
    return None if value is None else float(value)


@pytest.mark.parametrize(("seed", "calls", "days"), [(1, 2500, 14.5), (2, 1500, 30.0), (3, 60, 20.0)])
def test_the_figures_are_those_of_the_calls(tmp_path, seed: int, calls: int, days: float):
    log = make_log(seed, calls, days=days)
    want = expected(log.records)
    with open_warehouse(telemetry=log.write(tmp_path)) as warehouse:
        check_rows(warehouse.rows("from mart_drift"), want, KEY)
    is_compared = [row["low"] is not None for row in want.values()]
    assert any(is_compared) == (calls > 1000)


# ---- how often it errs


def rolling_hours(seed: int) -> pd.DataFrame:
    """Latencies whose level wanders: an hour resembles the one before it (phi 0.9) by 20 %."""
    draw = np.random.default_rng(seed)
    level = np.zeros(2 * WEEK_H)
    for hour in range(1, len(level)):
        level[hour] = 0.9 * level[hour - 1] + draw.normal(0, 0.2 * math.sqrt(1 - 0.9**2))
    return at_level(seed, level)


def noisy_days(seed: int) -> pd.DataFrame:
    """Latencies and costs that are 15 % higher or lower from day to day."""
    level = np.random.default_rng(seed).normal(0, 0.15, 14)
    return at_level(seed, np.repeat(level, 24))


def at_level(seed: int, level: np.ndarray) -> pd.DataFrame:
    calls = simulated(seed, calls_an_hour=5.0)
    factor = np.exp(level[((calls["called_at"] - START) // pd.Timedelta(hours=1)).astype(int)])
    return calls.assign(latency_ms=calls["latency_ms"] * factor, cost_usd=calls["cost_usd"] * factor)


def one_busy_hour(seed: int) -> pd.DataFrame:
    """Five calls an hour, and one hour with two thousand of which a third fails and is slow."""
    calls = simulated(seed, calls_an_hour=5.0, outages=0.0, failing=0.005)
    draw = np.random.default_rng(seed)
    hour = START + timedelta(hours=int(draw.integers(0, 2 * WEEK_H)))
    busy = calls.sample(2000, replace=True, random_state=seed)
    busy["called_at"] = hour + pd.to_timedelta(np.sort(draw.random(2000)), unit="h")
    is_down = np.arange(2000) < 2000 // 3
    busy["is_failure"] |= is_down
    busy["latency_ms"] *= np.where(is_down, 5.0, 1.0)
    return pd.concat([calls, busy], ignore_index=True)


@pytest.mark.parametrize("made", [simulated, rolling_hours, noisy_days, one_busy_hour])
def test_without_a_change_at_most_one_view_in_twenty_shows_any_whatever_makes_the_noise(made):
    logs = 100
    shown = sum(bool(drift(made(seed))["is_change"].any()) for seed in range(logs))
    assert shown / logs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / logs)


@pytest.mark.parametrize("size", [100, 300, 3000])
def test_one_busy_hour_in_a_quiet_week_cannot_hide_that_it_alone_makes_the_mean(size: int):
    calls = simulated(5, calls_an_hour=5.0, outages=0.0).query(
        "task == 'caption' and last_model == 'fw_deep'"
    )
    start = START + timedelta(days=10, hours=2)
    busy = calls.sample(size, replace=True, random_state=1)
    busy["called_at"] = start + pd.to_timedelta(np.arange(size) / size, unit="h")
    busy["is_failure"] = np.arange(size) < size / 3
    row = drift(pd.concat([calls, busy], ignore_index=True)).query("measure == 'failure_rate'").iloc[0]
    assert row["change"] > 0.02
    assert not row["is_change"]
    assert row["this_days"] < 7 < row["this_n"]


def slower(calls: pd.DataFrame) -> pd.DataFrame:
    return calls.assign(latency_ms=calls["latency_ms"] * np.where(is_late(calls), 2.0, 1.0))


def more_failures(calls: pd.DataFrame) -> pd.DataFrame:
    draw = np.random.default_rng(5)
    more = is_late(calls) & (draw.random(len(calls)) < 0.05)
    return calls.assign(is_failure=calls["is_failure"] | more)


def dearer(calls: pd.DataFrame) -> pd.DataFrame:
    return calls.assign(cost_usd=calls["cost_usd"] * np.where(is_late(calls), 1.3, 1.0))


@pytest.mark.parametrize(
    ("change", "measure", "size"),
    [(slower, "latency_ms", 1.0), (more_failures, "failure_rate", 0.05), (dearer, "cost_usd", None)],
)
def test_a_real_change_is_found_in_every_task_and_model_and_its_size_lies_in_the_interval(
    change, measure: str, size: float | None
):
    found, inside = [], []
    for seed in range(10):
        before = simulated(seed, calls_an_hour=24.0, outages=1.0)
        rows = drift(change(before)).query("measure == @measure")
        found += rows["is_change"].tolist()
        truth = 0.3 * before["cost_usd"].mean() if size is None else size
        inside += ((rows["low"] <= truth) & (truth <= rows["high"])).tolist()
    assert len(found) == 10 * len(TASKS) * len(MODELS)
    assert np.mean(found) >= 0.95
    assert np.mean(inside) >= 0.95


def test_one_outage_is_no_change_and_read_call_by_call_it_would_have_been_one():
    calls = simulated(8, calls_an_hour=200.0, outages=0.0, failing=0.002)
    start = START + timedelta(days=10)
    is_down = calls["called_at"].between(start, start + timedelta(minutes=20))
    calls["is_failure"] |= is_down & (calls["last_model"] == "or_small")
    rows = drift(calls).query("measure == 'failure_rate' and model == 'or_small'")
    assert is_down.sum() >= 20
    assert not rows["is_change"].any()
    for row in rows.itertuples():
        fails = calls["is_failure"][(calls["task"] == row.task) & (calls["last_model"] == row.model)]
        this, last = fails[is_late(calls)], fails[~is_late(calls)]
        error = math.sqrt(this.var() / len(this) + last.var() / len(last))
        assert (this.mean() - last.mean()) / error > row.needed_z


# ---- the edges


def test_a_week_of_fewer_than_four_days_gives_no_verdict():
    calls = simulated(3)
    day = (calls["called_at"].max() - calls["called_at"]) // pd.Timedelta(days=1)
    for kept in (3, 5):
        rows = drift(slower(calls[(day < kept) | (day >= 7)])).query("measure == 'latency_ms'")
        assert rows["this_days"].tolist() == pytest.approx([kept] * len(rows), rel=0.05)
        assert rows["low"].isna().tolist() == [kept < 4] * len(rows)
        assert rows["needed_z"].isna().tolist() == [kept < 4] * len(rows)
        assert rows["is_change"].tolist() == [kept >= 4] * len(rows)


def test_a_view_of_the_last_seven_days_is_compared_with_the_seven_before_all_the_same(tmp_path):
    paths = make_log(1, 2500, days=14.5).write(tmp_path)
    with open_warehouse(telemetry=paths) as whole, open_warehouse(telemetry=paths, days=7) as cut:
        assert len(cut.rows("from stg_calls")) < len(whole.rows("from stg_calls"))
        found, wanted = (each.query(f"from mart_drift order by {KEY}") for each in (cut, whole))
    pd.testing.assert_frame_equal(found, wanted)
    assert found["low"].notna().any()


def test_figures_that_never_vary_show_no_change_by_rounding_and_show_one_when_they_move():
    calls = simulated(4).assign(cost_usd=0.1, latency_ms=300.0)
    rows = drift(calls.sample(frac=1.0, random_state=1)).query("measure in ('cost_usd', 'latency_ms')")
    assert not rows["is_change"].any()
    assert rows["change"].abs().max() < 1e-9
    moved = drift(calls.assign(cost_usd=np.where(is_late(calls), 0.11, 0.1))).query("measure == 'cost_usd'")
    assert moved["is_change"].all()
    assert moved["change"].tolist() == pytest.approx([0.01] * len(moved))


def test_more_comparisons_or_fewer_days_need_a_larger_difference():
    few = drift(simulated(6).query("task == 'caption' and last_model == 'fw_deep'"))
    many = drift(simulated(6))
    for rows, m in ((few, 6), (many, 24)):
        z = math.sqrt(2 * math.log(m / 0.05))
        df = rows["this_days"] + rows["last_days"] - 2
        assert rows["needed_z"].tolist() == pytest.approx((z * (1 + (z**2 + 1) / (4 * df))).tolist())
    assert many["needed_z"].min() > few["needed_z"].max()
