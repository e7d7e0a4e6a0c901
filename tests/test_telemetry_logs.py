"""Whatever becomes of a log's file, each of its calls is in the store once."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmbench.analytics import block_copies, log_text, telemetry_store
from llmbench.analytics.telemetry_store import load_store
from llmbench.analytics.warehouse import open_warehouse
from llmbench.errors import WarehouseError
from tests.test_telemetry_store import a_line, books, lines, reasons


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store" / "telemetry.duckdb"


def older(at: int) -> bytes:
    line = {"task": "t", "selected_model": "m", "ts": 1795338000 + at, "latency_ms": at}
    return json.dumps(line).encode() + b"\n"


def test_a_line_longer_than_a_block_overwrites_no_block_that_is_still_loaded(tmp_path, store, monkeypatch):
    monkeypatch.setattr(log_text, "_BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(telemetry_store, "_TOGETHER", 4)
    log = tmp_path / "llm_usage.jsonl"
    long = [a_line(1000 + at, error="x" * 60_000) for at in range(4)]
    parts = [lines(100 * at, 100 * at + 100) + long[at // 2] if at % 2 == 0 else b"torn\n" + lines(
        100 * at, 100 * at + 100) for at in range(8)]  # fmt: skip
    log.write_bytes(b"".join(parts))
    load_store(store, [log])
    assert books(store) == (804, 4, 0)


def test_longer_copies_of_one_log_are_loaded_once_however_often(tmp_path, store):
    for count in (50, 80, 120):
        (tmp_path / f"snap{count:03d}.jsonl").write_bytes(b"".join(map(older, range(count))))
    loads = [load_store(store, [tmp_path / "snap*.jsonl"]).lines for _ in range(3)]
    assert loads == [120, 0, 0]
    (tmp_path / "older.bak").write_bytes(b"".join(map(older, range(30))))
    assert load_store(store, [tmp_path / "older.bak"]).lines == 0
    assert books(store) == (120, 0, 0)


@pytest.mark.parametrize("begun", [0, 10])
def test_a_file_that_was_seen_while_it_was_compressed_is_the_log_that_is_known(tmp_path, store, begun):
    log, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.1.gz"
    log.write_bytes(b"".join(map(older, range(50))))
    load_store(store, [log])
    whole = gzip.compress(log.read_bytes())
    with packed.open("wb") as file:
        file.write(whole[:begun])
        file.flush()
        load_store(store, [packed])
        file.write(whole[begun:])
    load_store(store, [packed])
    assert books(store) == (50, 0, 0)


@pytest.mark.parametrize("behind", [b"\r\n", b" \n", b"\n", b"  \r\n"])
def test_a_last_line_may_get_any_end_later(tmp_path, store, behind):
    log = tmp_path / "a.jsonl"
    log.write_bytes(b"".join(map(older, range(5))).rstrip(b"\n"))
    load_store(store, [log])
    with log.open("ab") as file:
        file.write(behind + older(5) + older(6))
    load_store(store, [log])
    assert books(store)[:2] == (7, 0)


def test_a_line_that_is_glued_to_the_last_one_is_a_line_of_its_own(tmp_path, store):
    log = tmp_path / "a.jsonl"
    log.write_bytes(b"".join(map(older, range(5))).rstrip(b"\n"))
    load_store(store, [log])
    with log.open("ab") as file:
        file.write(older(5))
    load_store(store, [log])
    assert books(store) == (6, 0, 0)


@pytest.mark.parametrize(
    ("stamp", "when"),
    [
        (1795305600, "2026-11-22 00:00:00"),
        (1795305600.25, "2026-11-22 00:00:00.25"),
        (1795305600250, "2026-11-22 00:00:00.25"),
        (1795305600250000, "2026-11-22 00:00:00.25"),
        (1795305600250000000, "2026-11-22 00:00:00.25"),
        ("1795305600", "2026-11-22 00:00:00"),
        ("2026-11-22T09:00:00+09:00", "2026-11-22 00:00:00"),
        ("2026-11-22 00:00:00", "2026-11-22 00:00:00"),
    ],
)
@pytest.mark.parametrize("beside", [b"", b"torn\n"])
def test_a_time_is_read_in_every_spelling(tmp_path, store, stamp, when, beside):
    log = tmp_path / "a.jsonl"
    log.write_bytes(a_line(0, timestamp=stamp) + beside)
    load_store(store, [log])
    with telemetry_store.open_store(store) as con:
        assert con.execute("select called_at::varchar from loaded_calls").fetchall() == [(when,)]


@pytest.mark.parametrize(
    "stamp",
    ["12026-11-22T09:00:00Z", "1026-11-22T09:00:00Z", "9999-11-22T09:00:00Z", "infinity", 1e300, -9.2e12, 5],
)
@pytest.mark.parametrize("beside", [b"", b"torn\n"])
def test_a_time_outside_of_the_century_is_quarantined(tmp_path, store, stamp, beside):
    log = tmp_path / "a.jsonl"
    log.write_bytes(a_line(0, timestamp=stamp) + beside + a_line(1))
    load_store(store, [log])
    assert books(store) == (1, 1 + bool(beside), 0)
    assert "type_mismatch" in reasons(store)


def test_a_clock_that_runs_ahead_does_not_hide_the_other_calls(tmp_path):
    log = tmp_path / "a.jsonl"
    log.write_bytes(lines(0, 28) + a_line(99, timestamp="2099-01-01T00:00:00Z"))
    with open_warehouse(telemetry=[log], days=7) as opened:
        assert opened.rows("select count(*) as n from stg_calls") == [{"n": 8}]


def test_a_call_that_is_there_twice_with_half_a_surrogate_counts_once(tmp_path, store):
    log = tmp_path / "a.jsonl"
    log.write_bytes(a_line(0) + a_line(0).replace(b'"provider": "openrouter"', b'"provider": "\\ud800"'))
    load_store(store, [log])
    assert books(store) == (1, 1, 0)


def test_a_log_that_cannot_be_read_stops_no_other(tmp_path, store):
    (tmp_path / "b.jsonl").mkdir()
    for name in ("a.jsonl", "c.jsonl"):
        (tmp_path / name).write_bytes(a_line(ord(name[0])))
    load_store(store, [tmp_path / "*.jsonl"])
    assert books(store) == (2, 0, 0)
    (tmp_path / "d.jsonl").write_bytes(a_line(7))
    with pytest.raises(WarehouseError, match=r"b\.jsonl"):
        load_store(store, [tmp_path / "b.jsonl", tmp_path / "d.jsonl"])
    assert books(store) == (3, 0, 0)


def test_copies_lie_elsewhere_where_shared_memory_is_small(tmp_path, store, monkeypatch):
    monkeypatch.setattr(block_copies, "_ROOM", 1 << 60)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with block_copies.copies_folder() as folder:
        assert folder.parent == tmp_path
    assert list(tmp_path.glob("llmbench-*")) == []


def test_what_a_killed_loader_left_in_memory_is_removed_by_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(block_copies, "_ROOM", 1 << 60)
    code = """
import sys, tempfile, time
from llmbench.analytics import block_copies
tempfile.tempdir, block_copies._ROOM = sys.argv[1], 1 << 60
with block_copies.copies_folder() as folder:
    (folder / "0.jsonl").write_bytes(b"x" * 1000)
    print("there", flush=True)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"there\n"
    with block_copies.copies_folder():
        assert len(list(tmp_path.glob("llmbench-load-*"))) == 2  # a living loader's is left alone
    child.send_signal(signal.SIGKILL)
    child.communicate()
    with block_copies.copies_folder():
        assert len(list(tmp_path.glob("llmbench-load-*"))) == 1


#: Makes and leaves folders for a while, beside another one that does the same.
_FOLDERS = """
import sys, tempfile
from llmbench.analytics import block_copies
tempfile.tempdir, block_copies._ROOM = sys.argv[1], 1 << 60
for _ in range(400):
    with block_copies.copies_folder() as folder:
        (folder / "1.jsonl").open("w+b").close()
"""


def test_loaders_that_begin_and_end_beside_each_other_keep_their_folders(tmp_path):
    command = [sys.executable, "-c", _FOLDERS, str(tmp_path)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [child.communicate()[1] for child in running] == [""] * 3
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_removes_before_it_is_locked_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(block_copies, "_ROOM", 1 << 60)
    lock, made = block_copies.fcntl.flock, list[Path]()

    def flock(file, operation):
        if not made:
            made.extend(tmp_path.glob("llmbench-load-*"))
            shutil.rmtree(made[0])
        lock(file, operation)

    monkeypatch.setattr(block_copies.fcntl, "flock", flock)
    with block_copies.copies_folder() as folder:
        assert folder.is_dir()
        assert [folder] != made


def test_a_loader_killed_before_its_first_commit_leaves_nothing_behind(tmp_path, store):
    log = tmp_path / "a.jsonl"
    log.write_bytes(lines(0, 3))
    load_store(store, [])
    code = "import os, sys; from pathlib import Path; from llmbench.analytics import telemetry_store\n"
    code += "telemetry_store._take = lambda *_: os._exit(9)\n"
    code += "telemetry_store.load_store(Path(sys.argv[1]), [sys.argv[2]])"
    for _ in range(3):
        assert subprocess.run([sys.executable, "-c", code, str(store), str(log)], check=False).returncode == 9
    with telemetry_store.open_store(store) as con:
        assert con.execute("from log_files").fetchall() == []
        con.execute("insert into log_files (file_no, file, taken_to) values (0, 'ghost', 0)")  # of old
    load_store(store, [log])
    with open_warehouse(store=store) as opened:
        assert opened.rows("select file, lines from loads") == [{"file": str(log), "lines": 3}]


def test_a_loader_killed_at_any_moment_leaves_each_line_in_one_place(tmp_path, store):
    log = tmp_path / "a.jsonl"
    log.write_bytes(b"".join(a_line(at) if at % 500 else b"torn\n" for at in range(60_000)))
    code = "import sys; from pathlib import Path; from llmbench.analytics import telemetry_store, log_text\n"
    code += "log_text._BLOCK_BYTES, telemetry_store._TOGETHER = 1 << 18, 4\n"
    code += "telemetry_store.load_store(Path(sys.argv[1]), [sys.argv[2]])"
    load_store(store, [])
    for delay in (0.6, 0.9, 1.2, 1.5):
        child = subprocess.Popen([sys.executable, "-c", code, str(store), str(log)])
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        good, bad, _ = books(store)
        with telemetry_store.open_store(store) as con:
            counted = con.execute("select coalesce(sum(line_count), 0)::bigint from log_files").fetchall()
        assert good + bad == counted[0][0]
    load_store(store, [log])
    assert books(store) == (60_000 - 120, 120, 0)
