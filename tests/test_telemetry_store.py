"""The telemetry store takes each line once, whatever becomes of its file, and keeps all others apart."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import duckdb
import pytest
import zstandard

from llmbench.analytics.ingest import SQL_DIR
from llmbench.analytics.known_logs import find_logs
from llmbench.analytics.telemetry_store import load_store, open_store, retry_quarantine
from llmbench.analytics.warehouse import open_warehouse
from llmbench.errors import WarehouseError
from llmbench.jsonl import JsonlWriter


def a_line(at: int, **changes: object) -> bytes:
    line = {
        "schema": 1,
        "status": "success",
        "timestamp": f"2026-11-{1 + at % 28:02d}T09:00:00.{at % 1000:03d}Z",
        "call_id": f"call-{at}",
        "task": "字幕",
        "tier": "cheap",
        "model": "or_small",
        "provider": "openrouter",
        "fallback_chain": ["or_small"],
        "latency_ms": 100.0 + at,
        "usage": {"input_tokens": 10, "output_tokens": 5},
        "cost_usd": 0.001,
        "attempts": [{"model": "or_small", "latency_ms": 90.0 + at}],
    }
    return json.dumps({**line, **changes}, ensure_ascii=False).encode() + b"\n"


def lines(first: int, last: int) -> bytes:
    return b"".join(a_line(at) for at in range(first, last))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store" / "telemetry.duckdb"


def books(store: Path) -> tuple[int, int, int]:
    """Calls, quarantined lines and blank lines; every call is there once."""
    with open_warehouse(store=store) as opened:
        found = opened.rows("""
            select coalesce(sum(good), 0)::bigint as good, coalesce(sum(quarantined), 0)::bigint as bad,
                coalesce(sum(blank), 0)::bigint as blank from loads""")[0]
        calls = opened.rows("select count(*) as n, count(distinct call_id) as ids from stg_calls")[0]
    assert calls["n"] == calls["ids"] == found["good"]
    return found["good"], found["bad"], found["blank"]


def reasons(store: Path) -> list[str]:
    with open_warehouse(store=store) as opened:
        return [row["reason"] for row in opened.rows("select reason from quarantine order by byte_offset")]


def test_only_what_is_new_is_loaded(tmp_path, store):
    log = tmp_path / "llm_usage.jsonl"
    log.write_bytes(lines(0, 500))
    assert load_store(store, [log]).calls == 500
    assert load_store(store, [log]).calls == 0
    with log.open("ab") as file:
        file.write(lines(500, 507))
    assert load_store(store, [log]).calls == 7
    assert books(store) == (507, 0, 0)


def test_a_torn_tail_is_quarantined_and_taken_up_when_it_is_whole(tmp_path, store):
    log = tmp_path / "llm_usage.jsonl"
    whole, torn = lines(0, 3), a_line(3)
    log.write_bytes(whole + torn[:40])
    first = load_store(store, [log])
    assert (first.calls, first.quarantined, first.lines) == (3, 1, 4)
    with open_warehouse(store=store) as opened:
        bad = opened.rows("from quarantine")[0]
    assert bad == {
        "file": str(log),
        "line_no": 4,
        "byte_offset": len(whole),
        "reason": "torn_tail",
        "raw": torn[:40].decode("utf-8", "replace"),
    }
    log.write_bytes(whole + torn + a_line(4))
    second = load_store(store, [log])
    assert (second.calls, second.quarantined) == (2, -1)
    assert books(store) == (5, 0, 0)


def test_a_file_that_is_nothing_but_a_torn_line_is_taken_up_too(tmp_path, store):
    log = tmp_path / "llm_usage.jsonl"
    log.write_bytes(a_line(0)[:20])
    load_store(store, [log])
    assert books(store) == (0, 1, 0)
    log.write_bytes(a_line(0))
    load_store(store, [log])
    assert books(store) == (1, 0, 0)


@pytest.mark.parametrize("cut", [1, 2, 17, 60, -30, -2, -1])
def test_every_place_where_a_line_is_cut_gives_each_call_once(tmp_path, store, cut):
    log = tmp_path / "llm_usage.jsonl"
    text = lines(0, 4)
    last = text.rindex(b"\n", 0, -1) + 1
    place = last + cut if cut > 0 else len(text) + cut
    log.write_bytes(text[:place])
    load_store(store, [log])
    log.write_bytes(text + lines(4, 6))
    load_store(store, [log])
    assert books(store) == (6, 0, 0)


def test_a_last_line_without_its_newline_is_a_call_when_it_is_whole(tmp_path, store):
    log = tmp_path / "llm_usage.jsonl"
    log.write_bytes(lines(0, 2)[:-1])
    load_store(store, [log])
    assert books(store) == (2, 0, 0)
    with log.open("ab") as file:
        file.write(b"\n" + b"nonsense\n" + lines(2, 3))
    load_store(store, [log])
    assert books(store) == (3, 1, 0)
    with open_warehouse(store=store) as opened:
        bad = opened.rows("from quarantine")[0]
    text = log.read_bytes()
    assert (bad["line_no"], bad["byte_offset"]) == (3, text.index(b"nonsense"))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_log_that_was_rotated_and_compressed_is_the_same_log(tmp_path, store, suffix):
    log = tmp_path / "llm_usage.jsonl"
    log.write_bytes(lines(0, 300))
    load_store(store, [log])
    with log.open("ab") as file:
        file.write(lines(300, 310))
    text = log.read_bytes()
    packed = tmp_path / f"llm_usage.jsonl.20261128T000000Z-1{suffix}"
    packed.write_bytes(gzip.compress(text) if suffix == ".gz" else zstandard.compress(text))
    log.write_bytes(lines(310, 320))
    loaded = load_store(store, [log])
    assert (loaded.files, loaded.calls, loaded.quarantined) == (2, 20, 0)
    assert load_store(store, [log]).calls == 0
    assert books(store) == (320, 0, 0)


def test_a_compressed_log_that_was_cut_gives_what_can_be_read(tmp_path, store):
    log = tmp_path / "old.jsonl.gz"
    text = b"".join(a_line(at, prompt_sha256=os.urandom(32).hex()) for at in range(2000))
    packed = gzip.compress(text)
    log.write_bytes(packed[: len(packed) // 2])
    load_store(store, [log])
    good, bad, _ = books(store)
    assert good > 500
    assert bad == len(reasons(store)) in (1, 2)
    assert "unreadable" in reasons(store)
    log.write_bytes(packed)
    load_store(store, [log])
    assert books(store) == (2000, 0, 0)


def test_a_copy_is_not_loaded_twice(tmp_path, store):
    log, copy = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    log.write_bytes(lines(0, 50))
    shutil.copy(log, copy)
    load_store(store, [log, copy])
    assert books(store) == (50, 0, 0)


def test_a_log_without_call_ids_keeps_lines_that_are_equal(tmp_path, store):
    log = tmp_path / "older.jsonl"
    line = (
        json.dumps({"task": "t", "selected_model": "m", "ts": 1795338000, "latency_ms": 5}).encode() + b"\n"
    )
    log.write_bytes(line * 7)
    load_store(store, [log])
    log.write_bytes(line * 9)
    load_store(store, [log])
    assert books(store) == (9, 0, 0)


def test_a_log_that_was_cut_to_nothing_and_written_anew_is_another_log(tmp_path, store):
    log = tmp_path / "llm_usage.jsonl"
    older = json.dumps({"task": "t", "selected_model": "m", "ts": 1795338000}).encode() + b"\n"
    log.write_bytes(older * 5)
    load_store(store, [log])
    log.write_bytes(older.replace(b"m", b"n") * 3)
    load_store(store, [log])
    assert books(store) == (8, 0, 0)


def test_of_two_lines_with_one_call_id_the_first_counts(tmp_path, store):
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_bytes(a_line(0) + a_line(1) + a_line(0, model="other"))
    two.write_bytes(a_line(2) + a_line(1, model="other"))
    load_store(store, [one, two])
    assert books(store) == (3, 2, 0)
    assert set(reasons(store)) == {"duplicate"}
    with open_warehouse(store=store) as opened:
        assert opened.rows("select distinct model from stg_calls") == [{"model": "or_small"}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1, 2]\n", "not_an_object"),
        (b'{"a": \n', "not_json"),
        (b"\xff\xfe\n", "not_utf8"),
        (b"\x00\x00\x00\n", "not_json"),
        (b"{}\n", "missing_required"),
        (a_line(9, schema=2), "unknown_schema"),
        (a_line(9, task=None), "missing_required"),
        (a_line(9, timestamp=None), "missing_required"),
        (a_line(9, timestamp="soon"), "type_mismatch"),
        (a_line(9, timestamp=1e30), "type_mismatch"),
        (a_line(9, timestamp="nan"), "type_mismatch"),
        (a_line(9, latency_ms="fast"), "type_mismatch"),
        (a_line(9, ttft_ms={"a": 1}), "type_mismatch"),
        (a_line(9, usage={"input_tokens": "many"}), "type_mismatch"),
        (a_line(9, usage=[1]), "type_mismatch"),
        (a_line(9, attempts="none"), "type_mismatch"),
        (a_line(9, latency_ms=-1), "non_finite_or_negative"),
        (a_line(9).replace(b"0.001", b"NaN"), "non_finite_or_negative"),
        (a_line(9).replace(b"0.001", b"1e999"), "non_finite_or_negative"),
    ],
)
def test_a_line_that_is_no_record_is_kept_with_its_place_and_reason(tmp_path, store, line, reason):
    log = tmp_path / "llm_usage.jsonl"
    before = lines(0, 3) + b"  \n"
    log.write_bytes(before + line + lines(3, 5))
    load_store(store, [log])
    assert books(store) == (5, 1, 1)
    with open_warehouse(store=store) as opened:
        bad = opened.rows("from quarantine")[0]
    assert (bad["reason"], bad["line_no"], bad["byte_offset"]) == (reason, 5, len(before))
    assert bad["raw"] == line[:-1].decode("utf-8", "replace")


def test_both_ways_of_reading_give_the_same_rows(tmp_path):
    today = [
        a_line(0),
        a_line(1, status="fail", model=None, error="x", error_kind="timeout", status_code=504, cost_usd=None),
        a_line(2, fallback_chain=["a", "b"], attempts=[{"model": "a", "error_kind": "rate_limit"}, None]),
        a_line(
            3, adjustments=[{"param": "stop", "action": "dropped", "from": ["x"], "to": None, "rule": "r"}]
        ),
        a_line(4, timestamp="2026-11-22T18:00:00+09:00", ttft_ms=12.5, usage=None, attempts=None),
        a_line(5, fallback_chain=None, status=None),
        a_line(6, fallback_chain=[None, "z"], error="boom\n\u2028", status=None, slot=3),
    ]
    rows = []
    for tail in (b"", b"not json\n"):
        log, store = tmp_path / f"{len(tail)}.jsonl", tmp_path / f"{len(tail)}.duckdb"
        log.write_bytes(b"".join(today) + tail)
        load_store(store, [log])
        with open_warehouse(store=store) as opened:
            rows.append(opened.rows("from stg_calls order by call_id"))
            assert len(opened.rows("from quarantine")) == bool(tail)
    assert rows[0] == rows[1]
    assert len(rows[0]) == 7


def test_a_line_longer_than_a_block_is_read(tmp_path, store, monkeypatch):
    monkeypatch.setattr("llmbench.analytics.log_text._BLOCK_BYTES", 1 << 12)
    log = tmp_path / "llm_usage.jsonl"
    log.write_bytes(lines(0, 40) + a_line(40, error="長" * 9000) + lines(41, 90) + b"x\n" + lines(90, 100))
    load_store(store, [log])
    assert books(store) == (100, 1, 0)
    with open_warehouse(store=store) as opened:
        assert opened.rows("select line_no from quarantine") == [{"line_no": 91}]


def test_the_parts_of_a_rotated_log_are_loaded_with_it(tmp_path, store):
    log = tmp_path / "llm_usage.jsonl"
    writer = JsonlWriter(log, rotate_bytes=20_000)
    for at in range(400):
        writer.append(json.loads(a_line(at)))
        if at == 150:
            load_store(store, [log])
    writer.close()
    assert len(find_logs([log])) > 3
    load_store(store, [log])
    assert books(store) == (400, 0, 0)


def test_quarantined_lines_are_taken_up_when_they_can_be_read(tmp_path, store, monkeypatch):
    log = tmp_path / "llm_usage.jsonl"
    log.write_bytes(lines(0, 3) + a_line(3, schema=2) + b"rubbish\n" + a_line(4, schema=2) + lines(5, 7))
    load_store(store, [log])
    assert books(store) == (5, 3, 0)
    with open_store(store) as con:
        assert retry_quarantine(con) == 0
    newer = tmp_path / "sql"
    shutil.copytree(SQL_DIR, newer)
    check = newer / "loading" / "typed_lines.sql"
    check.write_text(check.read_text().replace("schema <> '1'", "schema not in ('1', '2')"))
    monkeypatch.setattr("llmbench.analytics.telemetry_lines.SQL_DIR", newer)
    with open_store(store) as con:
        assert retry_quarantine(con) == 2
        assert retry_quarantine(con) == 0
    assert books(store) == (7, 1, 0)
    assert reasons(store) == ["not_json"]
    assert load_store(store, [log]).lines == 0


def test_names_and_globs_are_found_once(tmp_path):
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(b"")
    found = find_logs([tmp_path / "*.jsonl", tmp_path / "a.jsonl"])
    assert [path.name for path in found] == ["a.jsonl", "b.jsonl"]
    with pytest.raises(WarehouseError, match="no such log"):
        find_logs([tmp_path / "*.gz"])


def test_a_file_that_is_no_store_is_refused(tmp_path):
    other = tmp_path / "notes.duckdb"
    other.write_text("no database", encoding="utf-8")
    (tmp_path / "a.jsonl").write_bytes(lines(0, 1))
    with pytest.raises(WarehouseError, match=r"notes\.duckdb"):
        load_store(other, [tmp_path / "a.jsonl"])
    with pytest.raises(WarehouseError, match="no such store"):
        open_warehouse(store=tmp_path / "none.duckdb")


def test_a_store_that_another_process_keeps_open_is_said_after_a_wait(tmp_path, store, monkeypatch):
    (tmp_path / "a.jsonl").write_bytes(lines(0, 1))
    load_store(store, [tmp_path / "a.jsonl"])
    monkeypatch.setattr("llmbench.analytics.store_file._LOCK_WAIT_S", 0.3)
    import subprocess
    import sys

    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(WarehouseError, match=r"(?i)lock"):
            load_store(store, [tmp_path / "a.jsonl"])
        holder.communicate(b"")
    assert load_store(store, [tmp_path / "a.jsonl"]).calls == 0


def test_a_store_is_only_read_by_a_warehouse(tmp_path, store):
    (tmp_path / "a.jsonl").write_bytes(lines(0, 3))
    load_store(store, [tmp_path / "a.jsonl"])
    with open_warehouse(store=store) as opened, pytest.raises(WarehouseError, match="read-only"):
        opened.rows("with x as (delete from store.loaded_calls returning *) select * from x")
    assert duckdb.connect(str(store)).execute("select count(*) from loaded_calls").fetchall() == [(3,)]
