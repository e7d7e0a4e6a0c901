"""What the verbs of telemetry say where a store, a folder or a file cannot be used: one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmbench.analytics.telemetry_store import load_store, open_store
from llmbench.analytics.warehouse import open_warehouse
from llmbench.cli import app
from llmbench.errors import WarehouseError

HOLD = """
import duckdb, sys
con = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def log(tmp_path) -> Path:
    path = tmp_path / "usage.jsonl"
    path.write_text(json.dumps({"task": "t", "model": "m", "timestamp": 1795305600, "call_id": "a"}) + "\n")
    return path


@pytest.fixture
def store(tmp_path, log) -> Path:
    load_store(tmp_path / "telemetry.duckdb", [log])
    return tmp_path / "telemetry.duckdb"


def said(*arguments: object, code: int = 1) -> str:
    """The one line that a verb ends with."""
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == code, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("llmbench: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("name", ["notes.duckdb", "other.jsonl", "other.csv"])
@pytest.mark.parametrize("text", ["", '{"a": 1}\n{"a": 2}\n'])
def test_a_file_that_is_no_duckdb_file_is_never_taken_for_a_store(tmp_path, log, name, text):
    other = tmp_path / name
    other.write_text(text)
    with pytest.raises(WarehouseError, match="is no store"), open_store(other):
        pass
    with pytest.raises(WarehouseError, match="is no store"):
        open_warehouse(store=other)
    assert f"{name} is no store" in said("telemetry", "load", log, "--store", other)
    assert other.read_text() == text


def test_a_store_with_lock_in_its_name_is_not_waited_for(tmp_path):
    (tmp_path / "lock.duckdb").write_bytes(bytes(8) + b"DUCK" + bytes(20_000))
    begun = time.monotonic()
    with pytest.raises(WarehouseError, match="cannot be opened"), open_store(tmp_path / "lock.duckdb"):
        pass
    assert time.monotonic() - begun < 5


def test_verbs_that_change_a_store_make_none(tmp_path, log):
    none = tmp_path / "none.duckdb"
    assert "no such store" in said("telemetry", "archive", tmp_path / "archive", "--store", none)
    assert "no such store" in said("telemetry", "load", log, "--retry", "--store", none)
    assert not none.exists()
    assert not (tmp_path / "archive").exists()


def test_a_store_that_another_process_has_open_is_said_to_readers_and_writers(store, log, monkeypatch):
    monkeypatch.setattr("llmbench.analytics.store_file._LOCK_WAIT_S", 0.3)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"open\n"
        lines = [
            said("telemetry", "load", log, "--store", store),
            said("query", "select 1", "--store", store),
        ]
        holder.communicate(b"")
    for line in lines:
        assert f"another process (PID {holder.pid}) has it open; run this again when that is done" in line


def test_a_reader_waits_for_a_loader(store):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"open\n"
        done = threading.Timer(1, holder.kill)
        done.start()
        with open_warehouse(store=store) as opened:
            assert opened.rows("select count(*) as n from stg_calls") == [{"n": 1}]
        done.join()


def test_a_name_that_no_file_can_have_is_said_in_one_line(tmp_path, log):
    long = tmp_path / ("n" * 300)
    for line in (
        said("telemetry", "load", log, "--store", long / "s.duckdb"),
        said("query", "select 1", "--store", long),
        said("usage", "--store", long),
        said("telemetry", "archive", long, "--store", long),
    ):
        assert "File name too long" in line
        assert "nnn" in line


def test_a_file_in_place_of_the_stores_folder_is_said_in_one_line(tmp_path, log):
    assert f"{log}: File exists" in said("telemetry", "load", log, "--store", log / "s.duckdb")
    assert "no such store" in said("query", "select 1", "--store", log / "s.duckdb")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read and write anything"
)
def test_a_folder_that_may_not_be_entered_is_said_in_one_line(tmp_path, log):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    assert "Permission denied" in said("telemetry", "load", log, "--store", closed / "s.duckdb")
    assert "Permission denied" in said("query", "select 1", "--store", closed / "s.duckdb")


@pytest.mark.alone
def test_an_interrupted_query_ends_like_any_other_interrupted_verb(store):
    endless = "select count(*) from range(100000000) a, range(100000000) b where (a.range * b.range) % 7 = 3"
    command = [sys.executable, "-m", "llmbench.cli", "query", endless, "--store", str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            time.sleep(4)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate(timeout=60)
        finally:
            running.kill()  # a query that is deaf to Ctrl-C must not hold up the other tests
    assert (running.returncode, out) == (130, "")
    assert err == "llmbench: interrupted; what was answered is kept, run it again to go on\n"


def test_a_line_that_is_too_long_to_be_kept_whole_is_said_where_lines_are_taken_up(tmp_path, store):
    log = tmp_path / "long.jsonl"
    short = {"schema": 2, "task": "t", "timestamp": "2026-11-22T09:00:00Z", "model": "m"}
    long = short | {"x": "長" * (1 << 20)}
    log.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (long, short)))
    load_store(store, [log])
    verb = ["telemetry", "load", str(log), "--retry", "--store", str(store)]
    done = CliRunner().invoke(app, verb)
    assert done.exit_code == 0
    note = "note: of 1 quarantined line over 1 MiB only the beginning is kept"
    assert note in " ".join(done.output.split())
    facts = CliRunner().invoke(app, [*verb, "--json"])
    assert json.loads(facts.stdout)["cut"] == 1
