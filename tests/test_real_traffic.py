"""What the marts and the report say of real traffic agrees with the log of the server that served it.

A server on loopback serves latencies, refusals and token counts that were measured at real providers
(LLMPerf, December 2023), at arrival times of real production traffic (Azure, November 2023), SCALE times as
long. What was measured holds hardly a failure but 429, so a share of some models' rows is made a fast 500.
One provider (lepton) took ten requests a minute and refused the rest, 87 % in all; so does the server.

Tolerances: counts, tokens and money agree exactly; a quantile of latency within 5 ms + 2 % of the server's
for a median of 20 and more, else 20 ms + 2 %, and more by the longest time for which this process was held
up by the machine (twice that, a tenth for a median), which a clock beside the calls measures. A queue, a
retry or a wait would be several times that.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from llmbench.analytics.render import render_report
from llmbench.analytics.warehouse import open_warehouse
from llmbench.bench.run_decisions import write_recommendation
from llmbench.display import wording
from tests.real_traffic import (
    KINDS,
    NEEDS_DATA,
    PRICE_IN,
    PRICE_OUT,
    SCALE,
    WINDOWS,
    Served,
    Stalls,
    check_quantiles,
    close_to,
    configure,
    measured,
    traffic_server,
)
from tests.servers.traffic_server import LEFT, draw
from tests.sweep_project import read_lines, sweep, telemetry_path, write_project

pytestmark = [NEEDS_DATA, pytest.mark.alone]

# ---- a sweep


SWEPT = {
    "anyscale-13b": {"fails_every": 6},
    "lepton-70b": {},  # refuses most
    "perplexity-70b": {},
    "replicate-70b": {},  # a tail beyond the deadline
}


@dataclass(frozen=True)
class Swept:
    project: Any
    run: Any
    served: Served
    #: the last request of each cell, how many were refused; status 429 too where none was sent
    cells: pd.DataFrame
    stalls: Stalls

    def warehouse(self):
        return open_warehouse(
            run_dirs=[self.run.run_dir],
            ledgers=[self.project.ledger],
            telemetry=[telemetry_path(self.project)],
        )


def sweep_over(folder: Path, served: Served, samples: int, deadline_s: float) -> Swept:
    texts = [f"request {number}" for number in range(samples)]
    project = write_project(
        folder, served.port, models=tuple(SWEPT), samples=texts, plan={"deadline_s": deadline_s}
    )
    retries = {"per_status_retry": {429: 0, 500: 1}, "per_status_backoff": {500: 0.2}}
    configure(project, served, SWEPT, concurrency=2, **retries)
    stalls = Stalls()
    with stalls.watched():
        run = sweep(project)
    write_recommendation(project, run.run_dir)
    render_report(run.run_dir)
    requests = served.requests()
    groups = requests.groupby(["model", "prompt"])
    cells = groups.last().assign(refusals=groups["status"].agg(lambda status: (status == 429).sum()))
    every = pd.MultiIndex.from_product(
        [SWEPT, [f"{text} of labels" for text in texts]], names=cells.index.names
    )
    cells = cells.reindex(every)
    cells["kind"] = cells["status"].map(KINDS).fillna("unknown")
    cells["status"] = cells["status"].fillna(429).astype(int)
    return Swept(project, run, served, cells.reset_index(), stalls)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    models = {name: measured(name, **options) for name, options in SWEPT.items()}
    with traffic_server(folder, models) as served:
        yield sweep_over(folder, served, samples=48, deadline_s=6)


@pytest.fixture(scope="module")
def swept_long(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept_long")
    models = {name: measured(name, **options) for name, options in SWEPT.items()}
    with traffic_server(folder, models, seed=2) as served:
        yield sweep_over(folder, served, samples=400, deadline_s=45)


@pytest.fixture(params=["swept", pytest.param("swept_long", marks=pytest.mark.slow)])
def done(request) -> Swept:
    return request.getfixturevalue(request.param)


def test_the_traffic_served_is_what_was_drawn_and_has_every_end_that_matters(done):
    requests = done.served.requests()
    for line in requests.to_dict("records"):
        seconds, status, tokens_in, _ = draw(done.served.traffic, line["model"], line["number"])
        assert line["status"] in (status, LEFT, 429 if line["model"] in WINDOWS else status)
        if line["status"] == 200:
            assert line["input_tokens"] == tokens_in
            assert line["service_ms"] >= 1000 * SCALE * seconds - 1
    assert set(requests["status"]) >= {200, 429, 500, LEFT}
    ends = done.cells.groupby("model")["status"].agg(set)
    assert 500 in ends["anyscale-13b"]
    assert LEFT in ends["replicate-70b"]
    assert 429 in ends["lepton-70b"]


def test_latency_in_the_marts_is_the_servers_time_of_the_last_request_of_each_cell(done):
    """Queues, retries, refusals and the engine's pauses are left out; fast failures are too."""
    with done.warehouse() as warehouse:
        latency = {row["model"]: row for row in warehouse.rows("from mart_latency")}
        candidates = {row["model"]: row for row in warehouse.rows("from mart_candidates")}
    for model, cells in done.cells.groupby("model"):
        timed = cells[cells["status"].isin([200, LEFT])]
        row = latency[model]
        assert (row["n"], row["timeouts"]) == (len(timed), (cells["status"] == LEFT).sum()), model
        assert row["errors"] == cells["status"].isin([500, 502]).sum(), model
        check_quantiles(row, timed["service_ms"].tolist(), model, done.stalls)
        check_quantiles(candidates[model], timed["service_ms"].tolist(), model, done.stalls)


def test_counts_error_rates_tokens_and_money_are_the_servers_exactly(done):
    with done.warehouse() as warehouse:
        candidates = {row["model"]: row for row in warehouse.rows("from mart_candidates")}
        failures = {
            (row["model"], row["status"], row["error_kind"]): (row["n"], row["share"])
            for row in warehouse.rows("from mart_failures")
        }
    want: dict[tuple[str, str, str], tuple[int, float]] = {}
    for model, cells in done.cells.groupby("model"):
        answered, pending = cells[cells["status"] == 200], cells[cells["status"] == 429]
        row, n = candidates[model], len(cells) - len(pending)
        assert (row["n"], row["pending"]) == (n, len(pending)), model
        assert row["failures"] == n - len(answered), model
        assert row["failure_rate"] == pytest.approx((n - len(answered)) / n), model
        for name in ("input_tokens", "output_tokens"):
            assert row[name] == answered[name].sum(), (model, name)
        assert row["priced"] == len(answered)
        dollars = (PRICE_IN * row["input_tokens"] + PRICE_OUT * row["output_tokens"]) / 1e6
        assert row["cost_usd"] == pytest.approx(dollars, rel=1e-9), model
        kinds = Counter(kind for kind in cells["kind"] if kind != "answered")
        for kind, count in kinds.items():
            status = {"timeout": "timeout", "rate_limit": "harness", "unknown": "harness"}.get(kind, "error")
            want[model, status, kind] = (count, pytest.approx(count / len(cells)))
    assert failures == want


def test_every_request_the_server_saw_is_an_attempt_of_its_kind_and_is_in_the_ledger(done):
    """The refusals that the engine absorbed are no failures of a model, and none of them is hidden."""
    requests = done.served.requests()
    with done.warehouse() as warehouse:
        attempts = {(row["model"], row["ended"]): row for row in warehouse.rows("from mart_attempts")}
        books = warehouse.rows("from mart_reconciliation")[0]
    seen = requests.groupby(["model", requests["status"].map(KINDS)])
    assert {key: row["n"] for key, row in attempts.items()} == seen.size().to_dict()
    totals = requests.groupby("model").size()
    for (model, ended), group in seen:
        row = attempts[model, ended]
        assert row["share"] == pytest.approx(len(group) / totals[model])
        check_quantiles(row, group["service_ms"].tolist(), f"{model} {ended}", done.stalls)
    assert attempts["lepton-70b", "rate_limit"]["n"] > 5
    ends = [line for line in read_lines(done.project.ledger) if line["type"] != "intent"]
    assert sum(line["calls"] for line in ends) == len(requests)
    assert (books["orphans"], books["unannounced"], books["telemetry_gap"]) == (0, 0, 0)
    assert books["given_back"] == sum(line["type"] == "pending" for line in ends)
    assert books["pending"] == (done.cells["status"] == 429).sum()


def test_cells_that_a_rate_limit_held_back_are_marked(done):
    with done.warehouse() as warehouse:
        throttled = dict(
            warehouse.query("select model, throttled from mart_candidates").itertuples(index=False)
        )
        marked = warehouse.query("select model, prompt, is_throttled from stg_results where not is_pending")
    refused = done.cells[(done.cells["status"] != 429) & (done.cells["refusals"] > 0)]
    names = set(zip(refused["model"], refused["prompt"], strict=True))
    said = marked[marked["is_throttled"].astype(bool)]
    assert names <= {
        (model, prompt) for model, prompt in said[["model", "prompt"]].itertuples(index=False, name=None)
    }
    assert throttled["lepton-70b"] > 0
    # a process that stalls for a moment at the door takes that for a limit
    assert max(throttled["anyscale-13b"], throttled["replicate-70b"]) <= 2


def test_the_report_shows_the_servers_quantiles_error_rates_and_what_is_pending(done):
    """The report's quantiles are order statistics: of the server's times in the same way."""
    facts = json.loads((done.run.run_dir / "recommendation.json").read_text(encoding="utf-8"))["tasks"][0]
    lines = (done.run.run_dir / "report.md").read_text(encoding="utf-8").splitlines()
    html = (done.run.run_dir / "report.html").read_text(encoding="utf-8")
    table = {
        cells[1].replace("\\", ""): cells
        for line in lines
        if line.startswith("| labels |")
        and len(cells := [each.strip() for each in line.strip("|").split("|")]) > 10
    }
    with done.warehouse() as warehouse:
        throttled = dict(
            warehouse.query("select model, throttled from mart_candidates").itertuples(index=False)
        )
    for each in facts["candidates"]:
        cells = done.cells[done.cells["model"] == each["model"]]
        times = sorted(cells[cells["status"].isin([200, LEFT])]["service_ms"])
        for share, shown in ((50, 6), (95, 7), (99, 8)):
            want = times[max(math.ceil(share * len(times) / 100), 1) - 1]
            is_tail = share > 50 or len(times) < 20
            got, stalled_ms = each[f"p{share}_ms"], done.stalls.worst_ms
            assert close_to(got, want, is_tail=is_tail, stalled_ms=stalled_ms), (each["model"], share, want)
            assert table[each["model"]][shown] == wording.duration(each[f"p{share}_ms"])
            assert wording.duration(each[f"p{share}_ms"]) in html
        counted = cells[cells["status"] != 429]
        failed = int((counted["status"] != 200).sum())
        words = f"{failed} of {len(counted)}"
        if throttled[each["model"]]:
            words += f" ({throttled[each['model']]} throttled)"
        assert table[each["model"]][11] == words
        assert each["failure_rate"] == pytest.approx(failed / len(counted), rel=1e-5)
    pending = int((done.cells["status"] == 429).sum())
    assert any(f"{pending} calls of {len(done.cells):,} must be run again" in line for line in lines)
    assert facts["outcome"] == "inconclusive"  # more than 2 % pending: no verdict
    for (model, kind), count in (
        done.cells[done.cells["status"] == 429].groupby(["model", "kind"]).size().to_dict().items()
    ):
        row = f'<th scope="row">{model}</th><td>harness</td><td>{kind}</td><td class="num">{count}</td>'
        assert row in html
