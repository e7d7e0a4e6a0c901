"""JSONL of many processes: whole lines, and nothing acknowledged is ever lost."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.jsonl import JsonlWriter, read_jsonl

#: Appends records as telemetry does, until it is killed; prints the number of each one acknowledged.
APPENDER = """
import os, sys
from llmbench.jsonl import JsonlWriter
from llmbench.telemetry import LOCK_WAIT_S
path, name, count, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
writer = JsonlWriter(path, LOCK_WAIT_S)
for number in range(count):
    writer.append({"by": name, "number": number, "fill": name * size})
    os.write(1, b"%d\\n" % number)
"""


def appender(path: Path, name: str, count: int, size: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", APPENDER, str(path), name, str(count), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def test_eight_processes_interleave_nothing(tmp_path):
    path = tmp_path / "log.jsonl"
    writers = [appender(path, name, 200, 300) for name in "abcdefgh"]
    assert [writer.wait(60) for writer in writers] == [0] * 8
    for writer in writers:
        writer.stdout.close()
    lines = list(read_jsonl(path))
    assert {line.reason for line in lines} == {None}
    for name in "abcdefgh":
        own = [line.record for line in lines if line.record["by"] == name]
        assert [record["number"] for record in own] == list(range(200))
        assert {record["fill"] for record in own} == {name * 300}


def test_kill_9_in_the_middle_loses_no_acknowledged_record(tmp_path):
    path = tmp_path / "log.jsonl"
    chance, acknowledged = random.Random(7), set()
    for turn in range(4):
        writers = {name: appender(path, name, 100_000, 200_000) for name in (f"{turn}x", f"{turn}y")}
        for writer in writers.values():
            writer.stdout.readline()
        time.sleep(chance.uniform(0.01, 0.1))
        for name, writer in writers.items():
            writer.send_signal(signal.SIGKILL)
            numbers = [0, *map(int, writer.communicate()[0].split())]
            acknowledged |= {(name, number) for number in numbers}
    JsonlWriter(path).append({"by": "last", "number": 0})
    lines = list(read_jsonl(path))
    found = {(line.record["by"], line.record["number"]) for line in lines if line.record}
    assert acknowledged <= found
    assert ("last", 0) in found
    assert len(acknowledged) >= 8


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers()), min_size=1, max_size=4), st.data())
def test_a_torn_line_is_kept_apart_whatever_byte_the_kill_fell_on(tmp_path_factory, records, data):
    path = tmp_path_factory.mktemp("torn") / "log.jsonl"
    writer = JsonlWriter(path)
    for record in records:
        writer.append(record)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    writer.append({"after": True})
    writer.close()
    kept = whole[:cut].count(b"\n")
    read = [line.record for line in read_jsonl(path) if line.record is not None]
    assert read[:kept] == records[:kept]
    assert read[-1] == {"after": True}


def test_every_line_is_accounted_for_with_its_place(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n\n[2]\nNaN\n\xff\xfe\n{"b": 1e999}\n{"torn": ')
    lines = list(read_jsonl(path))
    assert [(line.number, line.reason) for line in lines] == [
        (1, None), (3, "not_object"), (4, "not_json"), (5, "not_utf8"), (6, "not_json"), (7, "torn"),
    ]  # fmt: skip
    content = path.read_bytes()
    assert all(content[line.offset : line.offset + len(line.raw)] == line.raw for line in lines)


def test_a_lone_surrogate_and_japanese_survive(tmp_path):
    path = tmp_path / "log.jsonl"
    record = {"text": "字幕 \ud83d \\ \n \u2028 end"}
    JsonlWriter(path).append(record)
    assert [line.record for line in read_jsonl(path)] == [record]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"x"])
def test_what_json_cannot_hold_is_a_value_error_and_leaves_no_trace(tmp_path, value):
    path = tmp_path / "log.jsonl"
    with pytest.raises(ValueError, match=r"JSON|float"):
        JsonlWriter(path).append({"x": value})
    assert not path.exists()


def test_a_removed_or_rotated_file_is_opened_anew(tmp_path):
    path = tmp_path / "logs" / "log.jsonl"
    writer = JsonlWriter(path)
    writer.append({"n": 1})
    path.rename(path.with_suffix(".1"))
    writer.append({"n": 2})
    path.unlink()
    path.parent.joinpath("log.1").unlink()
    path.parent.rmdir()
    writer.append({"n": 3})
    assert [line.record for line in read_jsonl(path)] == [{"n": 3}]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_another_took_the_place_of_is_left_alone(tmp_path):
    path = tmp_path / "log.jsonl"
    writer = JsonlWriter(path)
    writer.append({"n": 1})
    path.rename(tmp_path / "log.1")
    JsonlWriter(path).append({"n": 2})
    writer.append({"n": 3})
    assert [line.record for line in read_jsonl(path)] == [{"n": 2}, {"n": 3}]
    assert [line.record for line in read_jsonl(tmp_path / "log.1")] == [{"n": 1}]


def test_a_forked_child_waits_for_its_parents_lock(tmp_path):
    path = tmp_path / "log.jsonl"
    writer = JsonlWriter(path)
    writer.append({"by": "parent"})
    fcntl.flock(writer._fd, fcntl.LOCK_EX)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests' threads make fork warn
        child = os.fork()
    if child == 0:
        writer.append({"by": "child"})
        os._exit(0)
    time.sleep(0.2)  # a child that does not wait is done long before
    os.write(writer._fd, b'{"by": "parent"}\n')
    fcntl.flock(writer._fd, fcntl.LOCK_UN)
    assert os.waitpid(child, 0)[1] == 0
    assert [line.record["by"] for line in read_jsonl(path)] == ["parent", "parent", "child"]


def test_a_short_write_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    writer = JsonlWriter(path)
    writer.append({"n": 1})
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))  # as a full disk does it
    with pytest.raises(OSError, match="No space left"):
        writer.append({"n": 2})
    monkeypatch.undo()
    writer.append({"n": 3})
    assert [line.record for line in read_jsonl(path)] == [{"n": 1}, {"n": 3}]


def test_a_torn_tail_that_another_writer_left_is_closed_also_after_whole_lines_of_our_own(tmp_path):
    path = tmp_path / "log.jsonl"
    writer = JsonlWriter(path)
    writer.append({"n": 1})
    with path.open("ab") as other:
        other.write(b'{"torn": ')
    writer.append({"n": 2})
    writer.append({"n": 3})
    assert [line.record for line in read_jsonl(path)] == [{"n": 1}, None, {"n": 2}, {"n": 3}]


def test_a_record_that_holds_itself_is_a_value_error(tmp_path):
    record: dict[str, object] = {}
    record["self"] = record
    with pytest.raises(ValueError, match="not a JSON record"):
        JsonlWriter(tmp_path / "log.jsonl").append(record)


def test_the_file_is_json_a_line_with_a_space_after_each_comma(tmp_path):
    path = tmp_path / "log.jsonl"
    JsonlWriter(path).append({"a": 1, "b": [1, 2]})
    assert path.read_text() == '{"a": 1, "b": [1, 2]}\n'
    assert json.loads(path.read_text())


@contextmanager
def held(path: Path) -> Iterator[threading.Timer]:
    """The file's lock is held elsewhere; the timer, once started, gives it back after 0.2 s."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    free = threading.Timer(0.2, fcntl.flock, (fd, fcntl.LOCK_UN))
    try:
        yield free
    finally:
        if free.is_alive():
            free.join()
        os.close(fd)


def test_a_lock_that_is_not_given_back_costs_a_line_and_one_wait(tmp_path):
    path = tmp_path / "log.jsonl"
    writer = JsonlWriter(path, wait_s=0.3)
    with held(path):
        for least, most in ((0.3, 3), (0, 0.2), (0, 0.2)):
            started = time.monotonic()
            with pytest.raises(TimeoutError, match="another process holds its lock"):
                writer.append({"n": 1})
            assert least <= time.monotonic() - started < most
    writer.append({"n": 2})
    with held(path) as free:  # after a line that was written it waits again
        free.start()
        writer.append({"n": 3})
    assert [line.record for line in read_jsonl(path)] == [{"n": 2}, {"n": 3}]


def test_a_writer_without_a_limit_waits_until_the_lock_is_free(tmp_path):
    path = tmp_path / "ledger.jsonl"
    with held(path) as free:
        free.start()
        started = time.monotonic()
        JsonlWriter(path).append({"n": 1})
        assert time.monotonic() - started > 0.1
    assert [line.record for line in read_jsonl(path)] == [{"n": 1}]
