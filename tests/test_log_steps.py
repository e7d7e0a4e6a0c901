"""A log that is loaded step by step, wherever it was cut, gives what it gives when it is loaded at once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmbench.analytics.telemetry_store import load_logs, load_store, make_tables
from tests.test_telemetry_store import a_line

#: Lines of 470, 70 and 5,000 bytes, blank and foreign ones, and every kind of line end.
_END = st.sampled_from([b"\n", b"\n", b"\r\n", b" \n", b"\t \r\n"])
_SHAPE = st.sampled_from(["today", "today", "older", "long", "foreign", "blank"])


def older(at: int) -> bytes:
    """A line without call_id: if it is read twice, it counts twice."""
    return json.dumps({"task": "t", "selected_model": "m", "ts": 1795338000 + at}).encode() + b"\n"


def shaped(shape: str, at: int) -> bytes:
    if shape == "foreign":
        return b"%d: no record" % at
    if shape == "blank":
        return b""
    line = older(at) if shape == "older" else a_line(at, error="x" * 4500 if shape == "long" else None)
    return line.rstrip(b"\n")


@pytest.mark.parametrize("make", [a_line, older])
@pytest.mark.parametrize("count", [3, 60])
def test_a_line_whose_end_came_later_is_not_read_again(tmp_path, make, count):
    log, store = tmp_path / "a.jsonl", tmp_path / "telemetry.duckdb"
    text = [make(at) for at in range(count + 3)]
    log.write_bytes(b"".join(text[:count]).rstrip(b"\n"))
    loads = [load_store(store, [log])]
    for more in (b"\n" + text[count], text[count + 1], text[count + 2].rstrip(b"\n"), b"\n", b""):
        with log.open("ab") as file:
            file.write(more)
        loads.append(load_store(store, [log]))
    assert [(load.calls, load.quarantined) for load in loads] == [
        (count, 0), (1, 0), (1, 0), (1, 0), (0, 0), (0, 0),
    ]  # fmt: skip
    assert len(log.read_bytes().splitlines()) == count + 3


def test_a_log_that_gets_its_line_ends_before_each_line_counts_every_line_once(tmp_path):
    log, store = tmp_path / "a.jsonl", tmp_path / "telemetry.duckdb"
    for at in range(6):
        with log.open("ab") as file:
            file.write(b"\n" * (at > 0) + older(at).rstrip(b"\n"))
        assert load_store(store, [log]).lines == 1
    with duckdb.connect(str(store)) as con:
        assert con.execute("select line_count, call_count from log_files").fetchall() == [(6, 6)]


def told(con: duckdb.DuckDBPyConnection) -> list[list[Any]]:
    """Everything that a store says of a log, but in how many blocks it was read."""
    return [
        con.execute(sql).fetchall()
        for sql in (
            "select * exclude (file_no, block_no, call_id) from loaded_calls order by all",
            "select call_id from loaded_calls where call_id like 'call-%' order by all",
            "select line_no, byte_offset, reason, raw from log_quarantine order by all",
            "select line_count, call_count, blank_count, taken_to, head_sha256, tail_sha256 from log_files",
        )
    ]


def put(log: Path, text: bytes, *, is_packed: bool) -> None:
    log.write_bytes(gzip.compress(text, 1) if is_packed else text)


@settings(max_examples=12, deadline=None)
@given(
    lines=st.lists(st.tuples(_SHAPE, _END), min_size=1, max_size=12),
    cuts=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 6000)), max_size=5),
    is_packed=st.booleans(),
)
@example([("older", b"\n")] * 4, [(at, 0) for at in range(4)], False)
@example([("today", b"\r\n"), ("long", b" \n"), ("older", b"\n")], [(0, 0), (0, 1), (1, 1), (2, 0)], False)
def test_a_log_that_is_cut_anywhere_and_loaded_in_steps_is_as_one_that_is_loaded_at_once(
    tmp_path_factory, lines, cuts, is_packed
):
    log = tmp_path_factory.mktemp("steps") / "a.jsonl"
    parts = [(shaped(shape, at), end) for at, (shape, end) in enumerate(lines)]
    text = b"".join(part + end for part, end in parts)
    places = set()
    for index, back in cuts:  # so many bytes before the end of a line, 0 right before its line feed
        at = index % len(parts)
        upto = len(b"".join(part + end for part, end in parts[: at + 1]))
        places.add(max(upto - 1 - back, 0))
    with duckdb.connect(config={"threads": 1}) as steps, duckdb.connect(config={"threads": 1}) as whole:
        for con in (steps, whole):
            make_tables(con)
        for place in sorted(places):
            put(log, text[:place], is_packed=is_packed)
            load_logs(steps, [log])
        put(log, text, is_packed=is_packed)
        for con in (steps, whole):
            load_logs(con, [log])
        assert told(steps) == told(whole)


def test_of_logs_with_one_beginning_the_one_that_was_read_furthest_goes_on(tmp_path):
    store = tmp_path / "telemetry.duckdb"
    first, second, third = (tmp_path / f"{name}.jsonl" for name in "abc")
    text = [older(at) for at in range(120)]
    first.write_bytes(b"".join(text[:80]))
    load_store(store, [first])
    first.unlink()
    second.write_bytes(b"".join(text[:50]))  # nothing tells that it was part of the one that is gone
    assert load_store(store, [second]).calls == 50
    second.write_bytes(b"".join(text[:100]))
    assert load_store(store, [second]).calls == 20
    second.unlink()
    third.write_bytes(b"".join(text))
    assert load_store(store, [third]).calls == 20


def test_a_file_that_was_seen_empty_is_the_known_log_that_it_has_the_text_of(tmp_path):
    log, packed, store = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz", tmp_path / "telemetry.duckdb"
    packed.touch()
    log.write_bytes(b"".join(map(older, range(50))))
    load_store(store, [packed])
    load_store(store, [log])
    packed.write_bytes(gzip.compress(log.read_bytes()))
    assert load_store(store, [packed]).calls == 0
    with duckdb.connect(str(store)) as con:
        assert con.execute("select sum(call_count) from log_files").fetchall() == [(50,)]
