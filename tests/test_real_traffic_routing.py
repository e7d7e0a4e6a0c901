"""Production calls under real arrival times: telemetry and marts agree with the servers' own log."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import yaml

from llmbench import LLMClient
from llmbench.analytics.warehouse import open_warehouse
from llmbench.errors import FallbackExhausted
from tests.real_traffic import (
    AZURE,
    KINDS,
    LLMPERF,
    NEEDS_DATA,
    PRICE_IN,
    PRICE_OUT,
    Served,
    Stalls,
    check_quantiles,
    configure,
    measured,
    traffic_server,
)
from tests.sweep_project import telemetry_path, write_project

pytestmark = [NEEDS_DATA, pytest.mark.alone]

# ---- production calls


ROUTED = {
    "lepton-70b": {},
    "anyscale-13b": {"fails_every": 10},
    "replicate-70b": {},
    "together-7b": {"fails_every": 2},
}
TIERS = {"cheap": ["lepton-70b", "anyscale-13b", "together-7b"], "standard": ["replicate-70b", "together-7b"]}
TASKS = {"code": "cheap", "conv": "standard"}
#: How much faster than in production the requests come.
SPEED_UP = 15


@dataclass(frozen=True)
class Routed:
    served: Served
    log: Path
    arrivals: list[tuple[float, str]]
    #: what each call gave: its id, and the model that answered or None
    ends: list[tuple[str, str | None]]
    began: float
    stalls: Stalls


def arrivals(count: int) -> list[tuple[float, str, int, int]]:
    """The first requests of the trace: seconds since the first, service, tokens in and out."""
    return duckdb.execute(
        """select (epoch_us(TIMESTAMP) - min(epoch_us(TIMESTAMP)) over ()) / 1e6 as at, service,
            ContextTokens, GeneratedTokens
        from read_parquet($path) order by TIMESTAMP limit $count""",
        {"path": str(AZURE / "requests.parquet"), "count": count},
    ).fetchall()


#: What a call waits before its first request no server can see: for a place at a model that may be dead.
BEFORE_FIRST = """
    with sent as (
        select *, min(attempt) filter (where error_kind is distinct from 'circuit_open')
            over (partition by call_id) as first_sent
        from stg_attempts
    )
    select call_id, sum(queued_ms) filter (where attempt <= first_sent) as queued_ms
    from sent
    group by call_id
"""


async def replay(client: LLMClient, trace, stalls: Stalls) -> tuple[list[tuple[str, str | None]], float]:
    """Send each request at its time, whatever became of those before it."""
    began, watching = time.time(), asyncio.create_task(stalls.watch())

    async def one(number: int, at: float, task: str) -> tuple[str, str | None]:
        await asyncio.sleep(max(began + at / SPEED_UP - time.time(), 0))
        try:
            response = await client.acall(task, f"request {number}", max_tokens=16)
        except FallbackExhausted as error:
            return error.call_id, None
        return response.call_id, response.model

    try:
        return await asyncio.gather(*(one(n, at, task) for n, (at, task) in enumerate(trace))), began
    finally:
        watching.cancel()
        await client.aclose()


def route_over(folder: Path, count: int) -> Routed:
    trace = arrivals(count)
    models = {name: measured(name, **options) for name, options in ROUTED.items()}
    for rows in models.values():
        # the latency of one trace with the tokens of the other
        rows[:] = [
            [rows[n % len(rows)][0], rows[n % len(rows)][1], tokens_in, tokens_out]
            for n, (_, _, tokens_in, tokens_out) in enumerate(trace)
        ]
    with traffic_server(folder, models) as served:
        project = write_project(folder, served.port)
        configure(
            project,
            served,
            ROUTED,
            concurrency=None,
            per_status_retry={429: 0, 500: 1},
            breaker={"failures": 3, "window_s": 60, "cooldown_s": 0.3},
        )
        for name, value in (("candidates", {"tiers": TIERS}), ("mapping", {"tasks": TASKS})):
            (project.configs / f"llm_tier_{name}.yaml").write_text(yaml.safe_dump(value), "utf-8")
        client = LLMClient(project.configs, variables={}, log_path=telemetry_path(project))
        sent = [(at, task) for at, task, _, _ in trace]
        stalls = Stalls()
        ends, began = asyncio.run(replay(client, sent, stalls))
        client.close()
    return Routed(served, telemetry_path(project), sent, ends, began, stalls)


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    return route_over(tmp_path_factory.mktemp("routed"), count=500)


@pytest.fixture(scope="module")
def routed_long(tmp_path_factory):
    return route_over(tmp_path_factory.mktemp("routed_long"), count=4000)


@pytest.fixture(params=["routed", pytest.param("routed_long", marks=pytest.mark.slow)])
def calls(request) -> Routed:
    return request.getfixturevalue(request.param)


def by_call(calls: Routed) -> dict[int, pd.DataFrame]:
    """The server's requests of each call, in their order."""
    requests = calls.served.requests()
    return {int(prompt.split()[1]): group for prompt, group in requests.groupby("prompt")}


def test_the_requests_come_when_the_trace_says(calls):
    late = [
        group["arrived"].iloc[0] - calls.began - calls.arrivals[number][0] / SPEED_UP
        for number, group in by_call(calls).items()
    ]
    assert float(np.quantile(late, 0.5)) < 0.05


def test_no_call_is_lost_and_each_ended_as_the_server_says(calls):
    served = by_call(calls)
    with open_warehouse(telemetry=[calls.log]) as warehouse:
        lines = warehouse.rows("from stg_calls")
        assert warehouse.rows("select * from quarantine") == []
    assert len(lines) == len(calls.arrivals) == len(served)
    assert {line["call_id"]: line["model"] for line in lines} == dict(calls.ends)
    for number, (_, model) in enumerate(calls.ends):
        last = served[number].iloc[-1]
        assert model == (last["model"] if last["status"] == 200 else None), number
    assert None in dict(calls.ends).values()


def test_attempts_have_the_servers_counts_kinds_and_quantiles(calls):
    requests = calls.served.requests()
    with open_warehouse(telemetry=[calls.log]) as warehouse:
        rows = warehouse.rows("from mart_attempts")
    tasks = requests["prompt"].map(lambda prompt: calls.arrivals[int(prompt.split()[1])][1])
    seen = requests.groupby([tasks.rename("task"), "model", requests["status"].map(KINDS).rename("ended")])
    sent = {(row["task"], row["model"], row["ended"]): row for row in rows if row["ended"] != "circuit_open"}
    assert {key: row["n"] for key, row in sent.items()} == seen.size().to_dict()
    totals = requests.groupby([tasks, "model"]).size()
    for key, group in seen:
        assert sent[key]["share"] == pytest.approx(len(group) / totals[key[:2]])
        check_quantiles(sent[key], group["service_ms"].tolist(), str(key), calls.stalls)
    assert {row["ended"] for row in rows} >= {
        "answered",
        "rate_limit",
        "server_error",
        "timeout",
        "circuit_open",
    }
    assert all(row["share"] is None for row in rows if row["ended"] == "circuit_open")


USAGE = """
    select task, model, sum(calls - failures)::bigint as answers, sum(input_tokens)::bigint as input_tokens,
        sum(output_tokens)::bigint as output_tokens, sum(cost_usd) as cost_usd
    from mart_usage
    group by all
    having answers > 0
"""
FALLEN = "select sum(calls - failures)::bigint as calls from mart_fallbacks"


def test_usage_has_the_servers_calls_fallbacks_tokens_money_and_the_time_that_callers_waited(calls):
    want: dict[tuple[str, str], list[pd.DataFrame]] = defaultdict(list)
    spans: dict[tuple[str, str], list[float]] = defaultdict(list)
    with open_warehouse(telemetry=[calls.log]) as warehouse:
        rows = {(row["task"], row["model"]): row for row in warehouse.rows(USAGE)}
        [fallen] = warehouse.rows(FALLEN)
        [totals] = warehouse.rows(
            "select sum(calls)::bigint as calls, sum(failures)::bigint as failures from mart_usage"
        )
        latency = {(row["task"], row["model"]): row for row in warehouse.rows("from mart_call_latency")}
        timeouts = warehouse.rows("from mart_call_errors where error_kind = 'timeout'")
        queued = dict(warehouse.query(BEFORE_FIRST).itertuples(index=False))
    for number, group in by_call(calls).items():
        call_id, model = calls.ends[number]
        key = (calls.arrivals[number][1], model or "(none)")
        want[key].append(group)
        spans[key].append(1000 * (group["ended"].iloc[-1] - group["arrived"].iloc[0]) + queued[call_id])
    failures = sum(len(groups) for (_, model), groups in want.items() if model == "(none)")
    assert totals == {"calls": sum(map(len, want.values())), "failures": failures}
    assert timeouts == []
    want = {key: groups for key, groups in want.items() if key[1] != "(none)"}
    assert rows.keys() == want.keys()
    fell_back = 0
    for (task, model), groups in want.items():
        row, first = rows[task, model], TIERS[TASKS[task]][0]
        assert row["answers"] == latency[task, model]["n"] == len(groups)
        fell_back += sum(model != first or group["model"].nunique() > 1 for group in groups)
        answers = pd.concat([group.tail(1) for group in groups])
        for name in ("input_tokens", "output_tokens"):
            assert row[name] == answers[name].sum()
        dollars = (PRICE_IN * row["input_tokens"] + PRICE_OUT * row["output_tokens"]) / 1e6
        assert row["cost_usd"] == pytest.approx(dollars, rel=1e-9)
        check_quantiles(latency[task, model], spans[task, model], f"{task} {model}", calls.stalls)
    assert fallen["calls"] == fell_back


# ---- the published figures


def test_the_marts_give_the_figures_that_were_published_of_the_same_calls(tmp_path):
    """19 models of 8 providers, by two ways: scored rows and telemetry. Exact but for rounding."""
    raw = duckdb.execute(
        "select * from read_parquet($path)", {"path": str(LLMPERF / "requests.parquet")}
    ).fetch_df()
    kinds = {"429.0": "rate_limit", "-100.0": "truncated", "-1.0": "server_error"}
    results, telemetry = [], []
    for row in raw.to_dict("records"):
        model, kind = f"{row['provider']}-{row['model_size']}", kinds.get(row["error_code"])
        usage = {"input_tokens": row["number_input_tokens"], "output_tokens": row["number_output_tokens"]}
        latency_ms = 1000 * row["end_to_end_latency_s"]
        shared = {"task": "chat", "tier": "standard", "error_kind": kind, "latency_ms": latency_ms}
        shared |= {"schema": 1, "timestamp": "2023-12-21T00:00:00Z", "call_id": f"{model}/{row['idx']}"}
        results.append(
            shared
            | usage
            | {"run_id": "llmperf", "sample_id": str(row["idx"]), "model": model, "repeat": 0, "lang": "en"}
            | {"status": "error" if kind else "ok", "score": 0.0 if kind else 1.0, "cost_usd": None}
            | {"ttft_ms": 1000 * row["ttft_s"], "fingerprint": f"{model}/{row['idx']}", "dataset": "llmperf"}
        )
        attempt = {"model": model, "latency_ms": latency_ms} | ({"error_kind": kind} if kind else {})
        telemetry.append(
            shared
            | {"status": "fail" if kind else "success", "model": None if kind else model, "usage": usage}
            | {"fallback_chain": [model], "attempts": [attempt]}
        )
    for name, lines in (("results", results), ("usage", telemetry)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines), "utf-8")
    with open_warehouse(run_dirs=[tmp_path], telemetry=[tmp_path / "usage.jsonl"]) as warehouse:
        assert warehouse.rows("select * from quarantine") == []
        latency = {row["model"]: row for row in warehouse.rows("from mart_latency")}
        candidates = {row["model"]: row for row in warehouse.rows("from mart_candidates")}
        call_latency = {row["model"]: row for row in warehouse.rows("from mart_call_latency")}
        answers = (
            "select model, avg(output_tokens) as mean from stg_calls where model is not null group by all"
        )
        means = {row["model"]: row["mean"] for row in warehouse.rows(answers)}
        answered = {
            row["model"]: row for row in warehouse.rows("from mart_attempts where ended = 'answered'")
        }
    published = pd.read_csv(LLMPERF / "published_summary.csv")
    assert len(published) == len(latency) == 19
    for row in published.to_dict("records"):
        model = row["file"].replace("_", "-")
        times = sorted(
            line["latency_ms"] for line in results if (line["model"], line["status"]) == (model, "ok")
        )
        for share in (50, 95, 99):
            want = 1000 * row[f"results_end_to_end_latency_s_quantiles_p{share}"]
            for mart in (call_latency, answered):
                assert mart[model][f"p{share}_ms"] == pytest.approx(want, rel=1e-9), (model, share)
            one_of_them = times[math.ceil(len(times) * share / 100) - 1]  # a run's marts do not interpolate
            for mart in (latency, candidates):
                assert mart[model][f"p{share}_ms"] == pytest.approx(one_of_them, rel=1e-9), (model, share)
        assert latency[model]["n"] == row["results_num_completed_requests"]
        assert latency[model]["errors"] == candidates[model]["failures"] == row["results_number_errors"]
        assert candidates[model]["failure_rate"] == pytest.approx(row["results_error_rate"])
        assert 1 - answered[model]["share"] == pytest.approx(row["results_error_rate"])
        mean = row["results_number_output_tokens_mean"]
        assert means[model] == pytest.approx(mean, rel=1e-9), model
