"""Old, hostile and half-filled recommendations end in a sentence or a smaller page, never in a traceback."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmbench.analytics.verification import verify
from llmbench.analytics.warehouse import open_warehouse
from llmbench.errors import WarehouseError
from tests.test_verification import (
    CHANGE,
    OLD,
    START,
    a_call,
    a_recommendation,
    a_task,
    old_traffic,
    traffic,
    verdicts,
    verified,
    write_log,
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ("[" * 100_000, "recommendation"),
        ('{"tasks": []}', "has schema None, 2 is read here"),
        ('{"schema": 1, "tasks": []}', "has schema 1, 2 is read here"),
        ('{"schema": true, "tasks": []}', "has schema True"),
        ('{"schema": 2}', "tasks is no list"),
        ('{"schema": 2, "tasks": [{}]}', r"tasks\[0\].task is missing"),
        ('{"schema": 2, "tasks": [{"task": "a", "reference": 5}]}', r"tasks\[0\].reference is no text"),
        ("\udcff", "is not JSON"),
    ],
)
def test_a_file_that_is_no_recommendation_is_refused_in_words(tmp_path, text, said):
    path = tmp_path / "recommendation.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with open_warehouse() as warehouse, pytest.raises(WarehouseError, match=said):
        verify(path, warehouse)


def test_a_file_that_is_not_there_is_refused_in_words(tmp_path):
    with open_warehouse() as warehouse, pytest.raises(WarehouseError, match="cannot be read"):
        verify(tmp_path / "none.json", warehouse)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.json", r"^none\.json in work cannot be read \(No such file or directory\): give the rec"),
        (".", r"^work in .+ cannot be read \(Is a directory\): "),
        ("bad.json", r"^bad\.json in work is not JSON \("),
        ("old.json", r"^old\.json in work has schema 1, "),
        ("half.json", r"^half\.json in work: tasks is no list: "),
    ],
)
def test_a_name_alone_is_refused_with_its_folder_and_the_reason(tmp_path, monkeypatch, name, said):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for file, text in (("bad.json", "{"), ("old.json", '{"schema": 1}'), ("half.json", '{"schema": 2}')):
        Path(file).write_text(text, encoding="utf-8")
    with open_warehouse() as warehouse, pytest.raises(WarehouseError, match=said):
        verify(Path(name), warehouse)


def test_a_clock_that_runs_ahead_ends_no_window(tmp_path):
    ahead = a_call(datetime.now(UTC) + timedelta(days=400), call_id="ahead")
    plain = verified(tmp_path / "a", old_traffic(), traffic(CHANGE, 6))
    moved = verified(tmp_path / "b", old_traffic(), traffic(CHANGE, 6), [ahead])
    assert moved.to_dict()["tasks"] == plain.to_dict()["tasks"]
    since = datetime.now(UTC) + timedelta(days=399)
    asked = verified(tmp_path / "c", old_traffic(), traffic(CHANGE, 6), [ahead], since=since)
    assert asked["sort"].application.calls == 1


@pytest.mark.parametrize("value", ["1e999", "-1", "NaN", '"x"', "[]", "1" + "0" * 400, "true"])
def test_hostile_figures_are_taken_for_none(tmp_path, value):
    task = json.dumps(a_task()).replace("1000.0", value).replace("800.0", value).replace("0.01", value)
    path = tmp_path / "recommendation.json"
    path.write_text('{"schema": 2, "tasks": [' + task + "]}")
    log = write_log(tmp_path / "log.jsonl", old_traffic(), traffic(CHANGE, 3))
    with open_warehouse(telemetry=[log]) as warehouse:
        page = verify(path, warehouse)
    assert verdicts(page)["p95_ms"] == "not_promised"
    json.dumps(page.to_dict(), allow_nan=False)
    assert str(page)


def test_a_name_with_half_a_surrogate_pair_stops_nothing(tmp_path):
    path = a_recommendation(tmp_path, a_task("a\ud800b"))
    with open_warehouse() as warehouse:
        page = verify(path, warehouse)
    assert page.tasks[0].state == "not_applied"
    str(page).encode()


def test_figures_that_the_file_lacks_are_not_promised(tmp_path):
    bare = {**a_task(), "candidates": []}
    found = verdicts(verified(tmp_path, old_traffic(), traffic(CHANGE, 5), tasks=[bare]))
    assert set(found.values()) == {"not_promised"}


def test_tasks_that_stayed_are_listed_as_not_checked(tmp_path):
    kept = {**a_task("rest"), "outcome": "keep", "choice": OLD}
    page = verified(tmp_path, old_traffic(), traffic(CHANGE, 5), tasks=[a_task(), kept])
    assert [task.task for task in page.tasks] == ["sort"]
    assert page.to_dict()["not_checked"] == [{"task": "rest", "outcome": "keep"}]
    assert "left them where they were: rest (keep)" in str(page)


def test_the_json_form_has_no_infinities_and_the_html_no_markup_of_strangers(tmp_path):
    name = "<script>alert(1)</script>\x1b[31m"
    page = verified(
        tmp_path, old_traffic(task=name), traffic(CHANGE, 1, task=name, failing=0.2), tasks=[a_task(name)]
    )
    json.dumps(page.to_dict(), allow_nan=False)
    shown = page._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "\x1b" not in shown + str(page)


@pytest.mark.parametrize("options", [{"since": CHANGE, "until": START}, {"min_calls": 0}, {"alpha": 1.0}])
def test_times_and_limits_that_make_no_sense_are_refused(tmp_path, options):
    with pytest.raises(WarehouseError):
        verified(tmp_path, old_traffic(1), **options)
