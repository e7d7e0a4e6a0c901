"""`llmbench telemetry verify` prints the page, and its exit code is the alarm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from llmbench.analytics.telemetry_store import DEFAULT_STORE, load_store
from llmbench.cli_verify import verify_verb
from llmbench.errors import WarehouseError
from tests.test_verification import (
    CHANGE,
    a_recommendation,
    a_task,
    old_traffic,
    traffic,
    write_log,
    write_results,
)

app = typer.Typer()
app.command()(verify_verb)


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, Path]:
    """A recommendation and a log that keeps it."""
    return a_recommendation(tmp_path / "run"), write_log(
        tmp_path / "kept.jsonl", old_traffic(), traffic(CHANGE, 5)
    )


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Path, Path]:
    """A recommendation and a log whose answers cost twice as much."""
    return a_recommendation(tmp_path / "run"), write_log(
        tmp_path / "broken.jsonl", old_traffic(), traffic(CHANGE, 5, cost=1.0)
    )


def test_a_kept_promise_exits_with_0(kept):
    assert "none broken" in run(kept[0], "--log", kept[1])


def test_a_broken_promise_exits_with_1(broken):
    assert "Broken: cost of 1,000 calls." in run(broken[0], "--log", broken[1], code=1)


def test_json_is_the_page_for_a_machine(broken):
    page = json.loads(run(broken[0], "--log", broken[1], "--json", code=1))
    assert page["is_broken"] is True
    cost = page["tasks"][0]["measures"][0]
    assert (cost["name"], cost["verdict"]) == ("cost_usd_per_1000", "broken")
    assert page["tasks"][0]["changed_at"].startswith("2026-11-07T00:")


def test_logs_may_be_named_several_times_and_by_globs(tmp_path):
    path = a_recommendation(tmp_path / "run")
    write_log(tmp_path / "a1.jsonl", old_traffic())
    write_log(tmp_path / "a2.jsonl", traffic(CHANGE, 2))
    last = write_log(tmp_path / "b.jsonl", traffic(CHANGE.replace(day=9), 2, seed=4))
    page = json.loads(run(path, "--log", tmp_path / "a*.jsonl", "--log", last, "--json"))
    assert page["tasks"][0]["calls"] == 4 * 24 * 8


def test_the_projects_store_is_read_unless_another_is_named(broken, tmp_path):
    store = tmp_path / "project" / DEFAULT_STORE
    load_store(store, [broken[1]])
    assert "Broken" in run(broken[0], "--project", tmp_path / "project", code=1)
    assert "Broken" in run(broken[0], "--store", store, code=1)


def test_results_beside_the_recommendation_are_read_by_themselves(kept, tmp_path):
    write_results(kept[0].parent)
    found = json.loads(run(kept[0], "--log", kept[1], "--json"))["tasks"][0]["measures"][-1]
    assert (found["name"], found["promised"]) == ("unusable_answers", 0.02)
    lone = a_recommendation(tmp_path / "elsewhere")
    found = json.loads(run(lone, "--log", kept[1], "--json"))["tasks"][0]["measures"][-1]
    assert found["verdict"] == "not_promised"
    found = json.loads(run(lone, "--log", kept[1], "--run-dir", kept[0].parent, "--json"))
    assert found["tasks"][0]["measures"][-1]["promised"] == 0.02


def test_times_bound_the_calls_that_are_looked_at(kept):
    words = ("--log", kept[1], "--since", "2026-11-08", "--until", "2026-11-09T00:00:00Z", "--json")
    task = json.loads(run(kept[0], *words))["tasks"][0]
    assert (task["changed_at"], task["calls"], task["change_is_given"]) == (
        "2026-11-08T00:00:00.000Z",
        24 * 8,
        True,
    )


def test_names_are_printed_as_they_are_and_not_as_markup(tmp_path):
    name = "[bold]見出し[/bold]"
    log = write_log(tmp_path / "log.jsonl", old_traffic(task=name), traffic(CHANGE, 2, task=name))
    assert f"{name}: moved from" in run(a_recommendation(tmp_path / "run", a_task(name)), "--log", log)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--log", "{log}", "--store", "s.duckdb"), "--log and --store are two places"),
        (("--log", "none.jsonl"), "no such log"),
        (("--store", "none.duckdb"), "no such store"),
        (("--log", "{log}", "--since", "yesterday"), "--since 'yesterday' is no time"),
        (("--log", "{log}", "--since", "2026-11-09", "--until", "2026-11-08"), "since is not before until"),
        (("--log", "{log}", "--run-dir", "none"), "none"),
    ],
)
def test_what_cannot_be_done_is_said(kept, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WarehouseError, match=said):
        run(kept[0], *(word.format(log=kept[1]) for word in words))


def test_a_recommendation_that_is_not_there_is_said(kept, tmp_path):
    with pytest.raises(WarehouseError, match="cannot be read"):
        run(tmp_path / "none.json", "--log", kept[1])
