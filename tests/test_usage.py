"""The usage report counts what a plain loop over the lines counts, and more."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from llmbench.analytics.telemetry_store import load_store
from llmbench.analytics.usage import usage_report
from llmbench.analytics.warehouse import open_warehouse
from llmbench.cli import app
from tests.run_folders import telemetry_lines


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("logs") / "llm_usage.jsonl"
    older = [
        {
            "task": "older",
            "selected_model": "m",
            "ts": 1795338000 + at,
            "latency_ms": 5.0,
            "status": "success",
        }
        for at in range(4)
    ]
    records = [*telemetry_lines(600), *older]
    path.write_text(
        "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in records) + '{"to', "utf-8"
    )
    return path


def plain_loop(path: Path) -> dict:
    """What the users' aggregator does: one line after the other."""
    models, tasks, chains, latency, failures = Counter(), Counter(), Counter(), [], 0
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        chain = record.get("fallback_chain") or record.get("chain") or []
        is_failure = record["status"] != "success"
        models[
            (None if is_failure else record.get("model") or record.get("selected_model"))
            or (chain[-1] if chain else "(none)")
        ] += 1
        tasks[record["task"]] += 1
        failures += is_failure
        if len(chain) > 1:
            chains[" > ".join(chain)] += 1
        latency.append(record["latency_ms"])
    return {"models": models, "tasks": tasks, "chains": chains, "latency": latency, "failures": failures}


def run(*arguments: object):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def test_the_report_counts_what_a_plain_loop_counts(log):
    wanted = plain_loop(log)
    with open_warehouse(telemetry=[log]) as warehouse:
        found = usage_report(warehouse).to_dict()
    assert found["rows"] == len(wanted["latency"]) == 604
    assert found["quarantined"] == 1
    assert found["failures"] == wanted["failures"] > 0
    assert {name: row["calls"] for name, row in found["by_model"].items()} == dict(wanted["models"])
    assert {name: row["calls"] for name, row in found["by_task"].items()} == dict(wanted["tasks"])
    assert {name: row["calls"] for name, row in found["fallback_chains"].items()} == dict(wanted["chains"])
    assert found["mean_ms"] == pytest.approx(np.mean(wanted["latency"]))
    assert found["p95_ms"] == pytest.approx(np.quantile(wanted["latency"], 0.95))
    assert sum(row["calls"] for row in found["failures_by_kind"]) == found["failures"]


def test_the_verb_prints_the_same_from_a_log_a_glob_and_a_store(log, tmp_path):
    store = tmp_path / "telemetry.duckdb"
    load_store(store, [log])
    ways = (["--log", log], ["--log", log.parent / "*.jsonl"], ["--store", store])
    pages = [json.loads(run("usage", *way, "--json").stdout) for way in ways]
    assert pages[0] == pages[1] == pages[2]
    assert {"rows", "quarantined", "by_model", "by_task", "fallback_chains", "failures"} <= pages[0].keys()
    table = run("usage", "--log", log, "--top", 2)
    assert table.exit_code == 0
    assert table.stdout.startswith("604 calls of 1 file")
    assert "more models" in table.stdout
    assert "1 lines are no records" in table.stderr


def test_top_limits_each_table_and_not_the_counts(log):
    page = json.loads(run("usage", "--log", log, "--top", 1, "--json").stdout)
    assert (len(page["by_model"]), len(page["by_task"]), len(page["fallback_chains"])) == (1, 1, 1)
    assert page["rows"] == 604


def test_names_are_shown_as_text_and_not_as_markup(tmp_path):
    log = tmp_path / "usage.jsonl"
    line = {"task": "[red]字幕\x1b[31m\u202e", "model": "[bold]m", "ts": 1795338000, "status": "success"}
    log.write_text(json.dumps(line) + "\n", encoding="utf-8")
    shown = run("usage", "--log", log).stdout
    assert "[red]字幕" in shown
    assert "[bold]m" in shown
    assert "\x1b[31m" not in shown
    assert "\u202e" not in shown


def test_an_empty_log_is_no_error(tmp_path):
    log = tmp_path / "usage.jsonl"
    log.write_bytes(b"")
    assert json.loads(run("usage", "--log", log, "--json").stdout)["rows"] == 0
    assert run("usage", "--log", log).stdout.startswith("0 calls")


def test_lines_that_a_writer_lost_are_told(tmp_path):
    log = tmp_path / "usage.jsonl"
    lines = [
        {"task": "t", "model": "m", "ts": 1795338000 + at, "dropped_before": 7 if at else None}
        for at in range(2)
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert json.loads(run("usage", "--log", log, "--json").stdout)["dropped"] == 7
    assert "lost 7 lines" in run("usage", "--log", log).stderr


def test_load_says_what_it_took_and_a_second_time_nothing(log, tmp_path):
    first = run("telemetry", "load", log, "--project", tmp_path)
    assert "605 new lines of 1 file: 604 calls, +1 in quarantine" in first.stdout
    again = json.loads(run("telemetry", "load", log, "--project", tmp_path, "--json").stdout)
    assert (again["lines"], again["rows"], again["quarantined"]) == (0, 0, 0)
    page = json.loads(run("usage", "--project", tmp_path, "--json").stdout)
    assert (page["rows"], page["quarantined"]) == (604, 1)
    asked = run("query", "select count(*) as n from stg_calls", "--project", tmp_path, "--json")
    assert json.loads(asked.stdout) == [{"n": 604}]


def test_a_missing_log_is_one_line_that_says_what_to_do(tmp_path):
    for verb in (["usage"], ["telemetry", "load"], ["usage", "--log", "nope*.jsonl"]):
        result = run(*verb, "--project", tmp_path)
        assert result.exit_code == 1
        assert "no such log" in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
