"""A call is in the store or in the archive, never in both and never in neither."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmbench.analytics.archive import archive_days
from llmbench.analytics.telemetry_store import load_store, open_store
from llmbench.analytics.warehouse import open_warehouse
from llmbench.cli import app
from llmbench.errors import WarehouseError

NEWEST = datetime(2026, 11, 28, 23, 30, tzinfo=UTC)


def write_log(path: Path, first: int, last: int, *, prefix: str = "c") -> None:
    """Twenty calls a day, so many days back from the newest."""
    with path.open("a", encoding="utf-8") as file:
        for day in range(first, last):
            for at in range(20):
                moment = NEWEST - timedelta(days=day, hours=at)
                line = {"task": f"t{at % 3}", "model": "m", "timestamp": moment.isoformat(), "latency_ms": at}
                line |= {"call_id": f"{prefix}-{day}-{at}", "schema": 1, "status": "success", "cost_usd": 0.5}
                line |= {"attempts": [{"model": "m", "latency_ms": at}], "fallback_chain": ["m"]}
                file.write(json.dumps(line) + "\n")


@pytest.fixture
def store(tmp_path) -> Path:
    log = tmp_path / "usage.jsonl"
    write_log(log, 0, 40)
    load_store(tmp_path / "telemetry.duckdb", [log])
    return tmp_path / "telemetry.duckdb"


def calls(store: Path | None, archive: Path | None) -> list[dict]:
    with open_warehouse(store=store, archive=archive) as opened:
        return opened.rows("from stg_calls order by call_id")


def test_what_is_read_from_both_is_what_was_in_the_store(store, tmp_path):
    before = calls(store, None)
    with open_store(store) as con:
        done = archive_days(con, tmp_path / "archive", keep_days=30)
    assert (done.days, done.calls) == (10, 200)
    assert calls(store, tmp_path / "archive") == before
    assert len(calls(store, None)) == 600
    with open_warehouse(archive=tmp_path / "archive") as opened:
        assert len(opened.rows("from stg_calls")) == 200
        assert opened.rows("select sum(calls) as n from mart_usage") == [{"n": 200}]
        assert opened.rows("select count(*) as n from stg_attempts") == [{"n": 200}]


def test_a_clock_that_runs_ahead_moves_no_day_to_the_archive(store, tmp_path):
    ahead = tmp_path / "ahead.jsonl"
    later = datetime.now(UTC) + timedelta(days=400)
    line = {"task": "t", "model": "m", "timestamp": later.isoformat(), "call_id": "ahead", "latency_ms": 1}
    ahead.write_text(json.dumps(line) + "\n", encoding="utf-8")
    load_store(store, [ahead])
    with open_store(store) as con:
        done = archive_days(con, tmp_path / "archive", keep_days=30)
    assert (done.days, done.calls) == (10, 200)
    assert len(calls(store, None)) == 601


def test_calls_of_an_archived_day_that_come_late_get_a_file_of_their_own(store, tmp_path):
    folder = tmp_path / "archive"
    with open_store(store) as con:
        archive_days(con, folder, keep_days=30)
    late = tmp_path / "late.jsonl"
    write_log(late, 35, 36, prefix="late")
    load_store(store, [late])
    with open_store(store) as con:
        assert archive_days(con, folder, keep_days=30).calls == 20
    assert len(calls(store, folder)) == 820
    assert len(list(folder.glob("day=2026-10-24/*.parquet"))) == 2


def test_a_run_that_is_killed_leaves_each_call_in_one_place_once_it_is_run_again(store, tmp_path):
    folder = tmp_path / "archive"
    before = calls(store, None)
    code = """
import os, sys
from pathlib import Path
from llmbench.analytics import archive
from llmbench.analytics.telemetry_store import open_store
done, at = 0, int(sys.argv[3])
def sync(folder):
    global done
    done += 1
    if done == at:
        os._exit(9)
archive._sync = sync
with open_store(Path(sys.argv[1])) as con:
    archive.archive_days(con, Path(sys.argv[2]), 30)
"""
    for at in (1, 4):
        child = subprocess.run([sys.executable, "-c", code, str(store), str(folder), str(at)], check=False)
        assert child.returncode == 9
        with pytest.raises(WarehouseError, match="run `llmbench telemetry archive` again"):
            calls(store, folder)
    with open_store(store) as con:
        archive_days(con, folder, keep_days=30)
    assert calls(store, folder) == before


def test_the_verb_moves_and_the_others_read(store, tmp_path):
    runner = CliRunner()
    arguments = ["telemetry", "archive", str(tmp_path / "archive"), "--store", str(store), "--keep-days", "7"]
    assert "33 days moved" in runner.invoke(app, arguments).stdout
    page = runner.invoke(
        app, ["usage", "--store", str(store), "--archive", str(tmp_path / "archive"), "--json"]
    )
    assert json.loads(page.stdout)["rows"] == 800


def test_an_archive_is_read_beside_the_projects_own_store(store, tmp_path):
    project = tmp_path / "project"
    load_store(project / "workspaces" / "telemetry.duckdb", [tmp_path / "usage.jsonl"])
    runner, folder = CliRunner(), str(tmp_path / "archive")
    runner.invoke(app, ["telemetry", "archive", folder, "--project", str(project), "--keep-days", "7"])
    page = runner.invoke(app, ["usage", "--project", str(project), "--archive", folder, "--json"])
    assert json.loads(page.stdout)["rows"] == 800
    sql = "select count(*) as n from stg_calls"
    rows = runner.invoke(app, ["query", sql, "--project", str(project), "--archive", folder, "--json"])
    assert json.loads(rows.stdout) == [{"n": 800}]


def cut_off(store: Path, folder: Path) -> None:
    """A move that is killed once its first day has its file."""
    code = """
import os, sys
from pathlib import Path
from llmbench.analytics import archive
from llmbench.analytics.telemetry_store import open_store
real = archive._publish
def publish(draft, part):
    real(draft, part)
    os._exit(9)
archive._publish = publish
with open_store(Path(sys.argv[1])) as con:
    archive.archive_days(con, Path(sys.argv[2]), 30)
"""
    child = subprocess.run([sys.executable, "-c", code, str(store), str(folder)], check=False)
    assert child.returncode == 9


def archived(folder: Path) -> int:
    with open_warehouse(archive=folder) as opened:
        return len(opened.rows("from stg_calls"))


def test_two_stores_may_share_an_archive_also_after_a_move_was_cut_off(store, tmp_path):
    folder, other = tmp_path / "archive", tmp_path / "other.duckdb"
    write_log(tmp_path / "other.jsonl", 0, 40, prefix="o")
    load_store(other, [tmp_path / "other.jsonl"])
    cut_off(store, folder)
    for each in (other, store):
        with open_store(each) as con:
            assert archive_days(con, folder, keep_days=30).calls == 200
    assert archived(folder) == 400
    assert len(calls(store, None)) == len(calls(other, None)) == 600


def test_a_move_that_was_cut_off_ends_where_it_was_begun(store, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    cut_off(store, first)
    write_log(tmp_path / "late.jsonl", 39, 40, prefix="late")
    load_store(store, [tmp_path / "late.jsonl"])
    with open_store(store) as con:
        assert archive_days(con, second, keep_days=30).calls == 220
    assert (archived(first), archived(second), len(calls(store, None))) == (40, 180, 600)


def test_the_folder_of_a_move_that_was_cut_off_is_asked_for_when_it_is_gone(store, tmp_path):
    cut_off(store, tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "elsewhere")
    with (
        open_store(store) as con,
        pytest.raises(WarehouseError, match=r"first/day=2026-10-\d\d is not there"),
    ):
        archive_days(con, tmp_path / "second", keep_days=30)
    assert len(calls(store, None)) == 800


def test_a_folder_named_by_mistake_is_not_kept_in_mind(store, tmp_path):
    wrong = tmp_path / "file"
    wrong.write_text("no folder", encoding="utf-8")
    with open_store(store) as con:
        with pytest.raises(WarehouseError, match=r"file/day=.*Not a directory"):
            archive_days(con, wrong, keep_days=30)
        assert archive_days(con, tmp_path / "archive", keep_days=30).calls == 200


@pytest.mark.parametrize("name", ["status=fail", "day=2020-01-01", "a[1]", "b*c?", "it's"])
def test_a_folders_name_changes_nothing_of_what_is_read(store, tmp_path, name):
    before = calls(store, None)
    folder = tmp_path / name / "archive"
    with open_store(store) as con:
        archive_days(con, folder, keep_days=30)
    for copy in ("a1", "b-cd"):  # what the names would match as patterns
        shutil.copytree(folder, tmp_path / copy / "archive")
    assert calls(store, folder) == before


def test_an_archive_opens_no_other_file(store, tmp_path):
    with open_store(store) as con:
        archive_days(con, tmp_path / "a[1]", keep_days=30)
    with open_warehouse(archive=tmp_path / "a[1]") as opened:
        for query in (f"from read_text('{tmp_path}/usage.jsonl')", f"from read_parquet('{tmp_path}/*/*/*')"):
            with pytest.raises(WarehouseError, match="disabled by configuration"):
                opened.rows(query)


def test_a_folder_that_cannot_be_written_to_keeps_the_calls(store, tmp_path):
    (tmp_path / "archive").write_text("a file", encoding="utf-8")
    with open_store(store) as con, pytest.raises(WarehouseError, match="archive"):
        archive_days(con, tmp_path / "archive", keep_days=30)
    assert len(calls(store, None)) == 800


def test_an_archive_that_is_not_there_is_said(store, tmp_path):
    with pytest.raises(WarehouseError, match="no telemetry archive"):
        calls(store, tmp_path / "nothing")
