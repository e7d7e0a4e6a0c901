"""A loader beside eight writers, three of them killed: each acknowledged call once, torn lines kept apart."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmbench.analytics.telemetry_store import load_store
from llmbench.analytics.warehouse import open_warehouse
from llmbench.jsonl import read_jsonl, rotated_parts

WRITERS, KILLED = "abcdefgh", "beg"
#: Half of the lines are of about 450 bytes, the longest of 200 kB.
WRITER = """
import itertools, os, random, sys, warnings
from pathlib import Path
from llmbench.telemetry import TelemetryLog
warnings.simplefilter("ignore", RuntimeWarning)
path, name, count, rotate_mb = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
log = TelemetryLog(path, rotate_mb=rotate_mb)
noted = os.open(path.with_name(f"{name}.noted"), os.O_WRONLY | os.O_CREAT)
chance = random.Random(name)
for number in range(count) if count else itertools.count():
    line = {"schema": 1, "status": "success", "timestamp": f"2026-11-{1 + number % 28:02d}T09:00:00Z"}
    line |= {"call_id": f"{name}-{number}", "task": name, "model": "m", "latency_ms": float(number)}
    line |= {"attempts": [{"model": "m", "latency_ms": 1.0}]}
    line |= {"reason": name * int(200 * 1000 ** chance.random() ** 6)}
    dropped = -1
    while dropped != log.dropped:
        dropped = log.dropped
        log.write(line)
    os.pwrite(noted, b"%9d" % number, 0)
"""
LOADER = """
import sys, time
from pathlib import Path
from llmbench.analytics.telemetry_store import load_store
log, store, end = map(Path, sys.argv[1:4])
import duckdb, pandas
print("ready", flush=True)
while not log.exists():
    time.sleep(0.01)
loads = 0
while not end.exists():
    loads += load_store(store, [log]).lines > 0
print(loads)
"""


def noted(folder: Path, name: str) -> int:
    """The number of the last line that a writer was told of as written; -1 for none."""
    try:
        return int((folder / f"{name}.noted").read_text() or -1)
    except FileNotFoundError:
        return -1


def write_and_load(log: Path, store: Path, count: int, rotate_mb: float) -> int:
    """Let the writers write and the loader load; returns how many loads found something new."""
    chance = random.Random(count)
    turns = {name: int(count * chance.uniform(0.3, 0.7)) for name in KILLED}
    end = log.with_name("end")
    loader = subprocess.Popen(
        [sys.executable, "-c", LOADER, str(log), str(store), str(end)], stdout=subprocess.PIPE, text=True
    )
    assert loader.stdout is not None
    assert loader.stdout.readline() == "ready\n"
    running = {
        name: subprocess.Popen(
            [
                sys.executable,
                "-c",
                WRITER,
                str(log),
                name,
                str(0 if name in KILLED else count),
                str(rotate_mb),
            ]
        )
        for name in WRITERS
    }
    try:
        while turns:
            for name in [name for name, turn in turns.items() if noted(log.parent, name) >= turn]:
                running[name].send_signal(signal.SIGKILL)
                del turns[name]
            time.sleep(0.001)
        ended = {name: process.wait(280) for name, process in running.items()}
        end.touch()
        loads, _ = loader.communicate(timeout=120)
    finally:
        for process in (*running.values(), loader):
            process.kill()
            process.wait()
    assert ended == {name: -signal.SIGKILL if name in KILLED else 0 for name in WRITERS}
    assert loader.returncode == 0
    return int(loads)


def check(folder: Path, count: int, rotate_mb: float) -> None:
    log, store = folder / "llm_usage.jsonl", folder / "telemetry.duckdb"
    assert write_and_load(log, store, count, rotate_mb) >= 1
    load_store(store, [log])
    torn = [
        line.raw.rstrip(b"\n")
        for file in (*rotated_parts(log), log)
        for line in read_jsonl(file)
        if line.record is None
    ]
    with open_warehouse(store=store) as opened:
        rows = opened.rows("""
            select task, count(*) as n, count(distinct call_id) as ids, max(latency_ms)::bigint as last,
                bool_and(reason = repeat(task, length(reason))) as is_whole from stg_calls group by task""")
        bad = [row["raw"].encode() for row in opened.rows("select raw from quarantine")]
        books = opened.rows(
            "select sum(good) as good, sum(quarantined) as bad, sum(lines) as lines from loads"
        )[0]
    found = {row["task"]: row for row in rows}
    assert set(found) == set(WRITERS)
    for name, row in found.items():
        assert row["is_whole"]
        assert row["n"] == row["ids"] == row["last"] + 1
        # of a killed writer at most one line more than it was told of
        assert row["n"] in (noted(folder, name) + 1, noted(folder, name) + 2)
        assert name in KILLED or row["n"] == count
    assert sorted(bad) == sorted(torn)
    assert len(torn) <= len(KILLED)
    assert books == {
        "good": sum(row["n"] for row in rows),
        "bad": len(torn),
        "lines": books["good"] + len(torn),
    }


def test_a_loader_beside_writers_takes_each_call_once(tmp_path):
    check(tmp_path, 3000, 4)


@pytest.mark.slow
def test_a_loader_beside_writers_of_twenty_thousand_lines_takes_each_call_once(tmp_path):
    check(tmp_path, 20_000, 64)
