"""A log that is rotated while it is read: whatever was written before the read began is seen, and once."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmbench.analytics.known_logs import find_logs
from llmbench.analytics.telemetry_store import load_store
from llmbench.analytics.warehouse import open_warehouse
from llmbench.errors import WarehouseError
from llmbench.jsonl import JsonlWriter, rotated_parts
from tests.test_telemetry_store import books, lines


class Writing:
    """A writer that goes on, with a new part about every hundred lines."""

    def __init__(self, log: Path) -> None:
        self.writer = JsonlWriter(log, rotate_bytes=40_000)
        self.written = 0
        self.has_ended = threading.Event()

    def write(self) -> None:
        while not self.has_ended.wait(0.0003):
            self.writer.append(
                {
                    "task": "t",
                    "timestamp": "2026-11-22T00:00:00Z",
                    "model": "m",
                    "call_id": f"c{self.written}",
                }
                | {"reason": "x" * 300}
            )
            self.written += 1


@contextmanager
def writing(log: Path) -> Iterator[Writing]:
    """A log that is written to meanwhile, and has a part already."""
    running = Writing(log)
    thread = threading.Thread(target=running.write)
    thread.start()
    try:
        while not rotated_parts(log):
            running.has_ended.wait(0.01)
        yield running
    finally:
        running.has_ended.set()
        thread.join()
        running.writer.close()


def test_all_that_was_written_before_a_read_is_seen_while_the_log_is_rotated(tmp_path):
    log = tmp_path / "llm_usage.jsonl"
    with writing(log) as running:
        for _ in range(4):
            before = running.written
            with open_warehouse(telemetry=find_logs([log])) as opened:
                seen = opened.rows("select count(*) as n, count(distinct call_id) as ids from stg_calls")[0]
            assert seen["n"] == seen["ids"] >= before
        parts = len(rotated_parts(log))
    assert parts > 4


def rotated(log: Path) -> Path:
    """What a writer does: the log gets a part's name; a new one is not there yet."""
    return log.rename(log.with_name(f"{log.name}.20261128T213000Z-1"))


def test_a_log_that_is_rotated_between_being_found_and_read_is_read_as_a_part(tmp_path):
    log = tmp_path / "a.jsonl"
    log.write_bytes(lines(0, 5))
    found = find_logs([log])
    rotated(log)
    with open_warehouse(telemetry=found) as opened:
        assert opened.rows("select count(*) as n from stg_calls") == [{"n": 5}]
    log.write_bytes(lines(5, 7))
    with open_warehouse(telemetry=found) as opened:
        assert opened.rows("select count(*) as n from stg_calls") == [{"n": 7}]


def test_a_part_that_is_compressed_between_being_found_and_read_is_read_all_the_same(tmp_path):
    log = tmp_path / "a.jsonl"
    log.write_bytes(lines(0, 5))
    part = rotated(log)
    log.write_bytes(lines(5, 7))
    found = find_logs([log])
    part.with_name(part.name + ".gz").write_bytes(gzip.compress(part.read_bytes()))
    part.unlink()
    with open_warehouse(telemetry=found) as opened:
        assert opened.rows("select count(*) as n from stg_calls") == [{"n": 7}]


def test_a_log_that_is_removed_between_being_found_and_read_is_said(tmp_path):
    log = tmp_path / "a.jsonl"
    log.write_bytes(lines(0, 5))
    found = find_logs([log])
    log.unlink()
    with pytest.raises(WarehouseError, match=r"a\.jsonl: No such file"):
        open_warehouse(telemetry=found)


def test_a_load_counts_the_parts_that_came_meanwhile_as_files(tmp_path):
    log, store = tmp_path / "a.jsonl", tmp_path / "telemetry.duckdb"
    with writing(log) as running:
        loads = [load_store(store, [log]) for _ in range(3)]
    loads.append(load_store(store, [log]))
    assert loads[-1].files == len(rotated_parts(log)) + 1
    assert sum(load.calls for load in loads) == running.written
    assert books(store) == (running.written, 0, 0)
