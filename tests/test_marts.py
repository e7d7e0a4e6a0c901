"""Marts against an independent computation in pandas, on the committed example and on generated telemetry."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmbench.analytics.warehouse import open_warehouse
from llmbench.bench.intervals import quantile_interval
from tests.run_folders import telemetry_lines, write_run_folder

EXAMPLE = Path(__file__).parents[1] / "reports" / "example"


@pytest.fixture(scope="module")
def rows():
    text = (EXAMPLE / "results.jsonl").read_text(encoding="utf-8")
    return pd.DataFrame.from_records([json.loads(line) for line in text.splitlines()])


@pytest.fixture(scope="module")
def example():
    with open_warehouse(run_dirs=[EXAMPLE]) as warehouse:
        yield warehouse


def by(frame, *keys):
    """Rows in one order, comparable whatever the source's."""
    return frame.sort_values(list(keys)).reset_index(drop=True)


def test_usage_is_the_sum_of_its_calls(tmp_path):
    lines = telemetry_lines(500)
    path = tmp_path / "usage.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with open_warehouse(telemetry=[path]) as warehouse:
        got = warehouse.query("select * from mart_usage")
    raw = pd.DataFrame.from_records(lines)
    raw["model"] = raw["model"].fillna(raw["fallback_chain"].str[-1])
    raw["channel"] = "(none)"
    raw["moved_on"] = raw["fallback_chain"].map(len) > 1
    raw["at"] = pd.to_datetime(raw["timestamp"]).dt.tz_convert(None)
    raw["day"] = raw["at"].dt.floor("D")
    keys = ["day", "task", "tier", "model", "provider", "channel"]
    want = raw.groupby(keys).agg(
        calls=("task", "size"),
        failures=("status", lambda status: (status == "fail").sum()),
        fell_back=("moved_on", "sum"),
        priced=("cost_usd", "count"),
        cost_usd=("cost_usd", "sum"),
        wasted_ms=("wasted_ms", "sum"),
        latency_ms=("latency_ms", "sum"),
        first_at=("at", "min"),
        last_at=("at", "max"),
    )
    got, want = by(got, *keys), by(want.reset_index(), *keys)
    assert got[keys].to_numpy().tolist() == want[keys].to_numpy().tolist()
    for name in ("calls", "failures", "fell_back", "priced"):
        assert got[name].tolist() == want[name].tolist(), name
    for name in ("cost_usd", "wasted_ms", "latency_ms"):
        np.testing.assert_allclose(got[name], want[name], err_msg=name)
    for name in ("first_at", "last_at"):
        assert (got[name] - want[name]).abs().max() < pd.Timedelta(milliseconds=1), name


def test_attempts_are_counted_and_timed_by_model_and_by_how_they_ended(tmp_path):
    lines = telemetry_lines(500)
    for line in lines[::50]:
        left_alone = {"model": "or_small", "error_kind": "circuit_open", "latency_ms": 0.0, "waited_ms": 0.0}
        line["attempts"] = [left_alone, *line["attempts"]]
    path = tmp_path / "usage.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with open_warehouse(telemetry=[path]) as warehouse:
        got = warehouse.query("select * from mart_attempts")
    tries = pd.DataFrame(
        [
            {name: line[name] for name in ("tier", "task")} | {"error_kind": None} | attempt
            for line in lines
            for attempt in line["attempts"]
        ]
    )
    tries["ended"] = tries["error_kind"].fillna("answered")
    keys = ["tier", "task", "model", "ended"]
    want = tries.groupby(keys)["latency_ms"].describe(percentiles=[0.5, 0.95, 0.99]).reset_index()
    got, want = by(got, *keys), by(want, *keys)
    assert got[keys].to_numpy().tolist() == want[keys].to_numpy().tolist()
    for name, column in (("n", "count"), ("p50_ms", "50%"), ("p95_ms", "95%"), ("p99_ms", "99%")):
        np.testing.assert_allclose(got[name], want[column], err_msg=name)
    is_sent = want["ended"] != "circuit_open"
    assert got["share"].isna().tolist() == (~is_sent).tolist()
    sent = want["count"].where(is_sent).groupby([want[name] for name in keys[:3]]).transform("sum")
    np.testing.assert_allclose(got["share"][is_sent], (want["count"] / sent)[is_sent])


def inverse_cdf(latencies, share):
    return np.quantile(latencies.dropna(), share, method="inverted_cdf")


def test_a_decision_and_the_marts_of_its_run_have_the_same_latencies(example):
    decided = json.loads((EXAMPLE / "recommendation.json").read_text(encoding="utf-8"))
    facts = {(task["task"], each["model"]): each for task in decided["tasks"] for each in task["candidates"]}
    marts = [example.rows(f"from {name}") for name in ("mart_candidates", "mart_latency")]
    for row in itertools.chain(*marts):
        for name in ("p50_ms", "p95_ms", "p99_ms"):
            assert row[name] == pytest.approx(facts[row["task"], row["model"]][name], rel=1e-5), name


def test_a_call_that_ran_into_its_limit_counts_as_longer_than_all_others(tmp_path):
    run = write_run_folder(tmp_path, samples=12).run_dir
    path = run / "results.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    first = (lines[0]["task"], lines[0]["model"])
    mine = [line for line in lines if (line["task"], line["model"]) == first]
    for at, line in enumerate(mine):
        line |= {"status": "ok", "error_kind": None, "score": 1.0, "latency_ms": 100.0 + at}
    mine[0] |= {"status": "timeout", "error_kind": "timeout", "score": 0.0}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    calls = [line["latency_ms"] for line in mine], [line["status"] == "timeout" for line in mine]
    with open_warehouse(run_dirs=[run]) as warehouse:
        for name in ("mart_candidates", "mart_latency"):
            of = f"from {name} where task = $task and model = $model"
            row = warehouse.rows(of, dict(zip(("task", "model"), first, strict=True)))[0]
            for share, got in ((0.5, row["p50_ms"]), (0.95, row["p95_ms"]), (0.99, row["p99_ms"])):
                assert got == quantile_interval(calls[0], share, timed_out=calls[1]).estimate


def test_latency_quantiles_leave_out_what_failed_and_are_exact_as_is_the_load(example, rows):
    got = by(example.query("select * from mart_latency"), "task", "model")
    candidates = by(example.query("select * from mart_candidates"), "task", "model")
    loads = pd.json_normalize(rows["load"].tolist())
    raw = rows.assign(load_1=loads["loadavg1"], waiting=loads["cpu_some_avg10"])
    raw["lasted_ms"] = raw["latency_ms"].where(raw["status"] != "error")
    groups = raw.groupby(["task", "model"])
    for share in (0.5, 0.9, 0.95, 0.99):
        want = groups["lasted_ms"].apply(inverse_cdf, share).to_numpy()
        name = f"p{round(100 * share)}_ms"
        np.testing.assert_allclose(got[name], want)
        if name in candidates:
            np.testing.assert_allclose(candidates[name], want)
    assert got["n"].tolist() == groups["lasted_ms"].count().tolist()
    assert (got["n"] + got["errors"]).tolist() == groups.size().tolist()
    assert got["errors"].sum() > 0
    for name, column, how in (
        ("min_ms", "lasted_ms", "min"),
        ("max_ms", "lasted_ms", "max"),
        ("mean_queued_ms", "queued_ms", "mean"),
        ("p50_load", "load_1", "median"),
        ("max_load", "load_1", "max"),
        ("p50_cpu_wait", "waiting", "median"),
        ("max_cpu_wait", "waiting", "max"),
    ):
        np.testing.assert_allclose(got[name], groups[column].agg(how).to_numpy(), err_msg=name)


def test_adjustments_are_counted_by_rule_with_an_example_each(example, rows):
    got = example.rows("select * from mart_adjustments")
    flat = [
        {"task": row["task"], "model": row["model"], **adjustment}
        for row in rows.to_dict("records")
        for adjustment in row["adjustments"]
    ]
    want: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for item in flat:
        key = tuple(str(item[name]) for name in ("task", "model", "param", "action", "rule"))
        want.setdefault(key, []).append(item)
    assert {
        tuple(str(row[name]) for name in ("task", "model", "param", "action", "rule")): row["n"]
        for row in got
    } == {key: len(items) for key, items in want.items()}
    for row in got:
        items = want[tuple(str(row[name]) for name in ("task", "model", "param", "action", "rule"))]
        assert row["to_example"] == min(
            (json.dumps(i["to"]) for i in items if i["to"] is not None), default=None
        )
