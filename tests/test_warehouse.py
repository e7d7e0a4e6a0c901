"""The warehouse loads what is sound, keeps apart what is not, and lets nobody write."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.analytics.warehouse import open_warehouse
from llmbench.errors import ERROR_KINDS, WarehouseError
from tests.run_folders import telemetry_lines, write_run_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run_folder(tmp_path_factory.mktemp("run"), samples=40)


@pytest.fixture(scope="module")
def warehouse(folder):
    with open_warehouse(
        run_dirs=[folder.run_dir], ledgers=[folder.ledger], telemetry=[folder.telemetry]
    ) as opened:
        yield opened


def a_row(**changes):
    row = {
        "schema": 1,
        "run_id": "r",
        "task": "t",
        "sample_id": "s",
        "model": "m",
        "repeat": 0,
        "status": "ok",
        "score": 1.0,
        "latency_ms": 10.0,
        "output_tokens": 5,
        "cost_usd": 0.001,
    }
    return {key: value for key, value in {**row, **changes}.items() if value != "absent"}


def open_rows(tmp_path: Path, *lines: object, raw: bytes | None = None):
    data = "".join(json.dumps(line) + "\n" for line in lines).encode() if raw is None else raw
    (tmp_path / "results.jsonl").write_bytes(data)
    return open_warehouse(run_dirs=[tmp_path])


def reasons(warehouse):
    return [row["reason"] for row in warehouse.rows("select reason from quarantine order by line_no")]


def test_a_clean_run_loads_whole(warehouse, folder):
    loads = warehouse.rows("select * from loads order by kind")
    assert [(row["kind"], row["good"], row["quarantined"], row["blank"]) for row in loads] == [
        ("ledger", 2 * len(folder.rows), 0, 0),
        ("results", len(folder.rows), 0, 0),
        ("telemetry", len(folder.rows), 0, 0),
    ]


def test_values_arrive_as_they_were_written(warehouse, folder):
    wanted = folder.rows[17]
    got = warehouse.rows("select * from stg_results where fingerprint = $f", {"f": wanted["fingerprint"]})[0]
    for key in (
        "run_id",
        "task",
        "sample_id",
        "model",
        "score",
        "prompt",
        "output",
        "target",
        "latency_ms",
        "input_tokens",
        "cost_usd",
        "cpu_s",
        "lang",
        "cluster",
        "status",
    ):
        assert got[key] == wanted[key], key
    assert got["loadavg1"] == wanted["load"]["loadavg1"]
    assert got["called_at"].isoformat(timespec="milliseconds") + "Z" == wanted["timestamp"]


def test_candidates_agree_with_a_count_by_hand(warehouse, folder):
    mine = [row for row in folder.rows if row["task"] == "caption" and row["model"] == "smol_free"]
    got = warehouse.rows("from mart_candidates where task = 'caption' and model = 'smol_free'")[0]
    latencies = sorted(row["latency_ms"] for row in mine if row["status"] != "error")
    p95 = latencies[math.ceil(0.95 * len(latencies)) - 1]
    assert got["n"] == got["samples"] == 40
    assert got["clusters"] == 20
    assert got["mean_score"] == pytest.approx(sum(row["score"] for row in mine) / 40)
    assert got["failures"] == sum(row["status"] != "ok" for row in mine)
    assert got["cost_per_1000_usd"] == pytest.approx(1000 * sum(row["cost_usd"] for row in mine) / 40)
    assert got["p95_ms"] == p95


def test_pairs_are_the_same_seen_from_both_sides(warehouse):
    rows = warehouse.rows("""
        select count(*) as n from mart_paired as a join mart_paired as b
        on a.run_id = b.run_id and a.task = b.task and a.cluster = b.cluster
        and a.model = b.other and a.other = b.model where abs(a.difference + b.difference) < 1e-12""")
    assert rows == warehouse.rows("select count(*) as n from mart_paired") == [{"n": 3 * 20 * 4 * 3}]


def test_a_sound_run_reconciles(warehouse, folder):
    got = warehouse.rows("from mart_reconciliation")[0]
    assert (got["intents"], got["results"], got["rows"]) == (len(folder.rows),) * 3
    assert (got["orphans"], got["unannounced"], got["telemetry_gap"], got["reused"]) == (0, 0, 0, 0)


def test_a_killed_call_is_an_orphan_and_a_reused_result_is_named(tmp_path):
    ledger = [
        {"schema": 1, "type": kind, "fingerprint": print_, "cell": "c", "run_id": run}
        for kind, print_, run in (("intent", "a", "old"), ("result", "a", "old"), ("intent", "b", "r"))
    ]
    path = tmp_path / "ledger.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in ledger), encoding="utf-8")
    (tmp_path / "results.jsonl").write_text(json.dumps(a_row(fingerprint="a")) + "\n", encoding="utf-8")
    with open_warehouse(run_dirs=[tmp_path], ledgers=[path]) as opened:
        got = {row["run_id"]: row for row in opened.rows("from mart_reconciliation")}
    assert (got["old"]["orphans"], got["r"]["orphans"], got["r"]["reused"]) == (0, 1, 1)


def test_a_call_given_back_and_made_again_is_no_orphan(tmp_path):
    kinds = (("intent", "1"), ("pending", "1"), ("intent", "2"), ("result", "2"), ("intent", "3"))
    lines = [{"type": kind, "intent_id": send, "fingerprint": "a", "run_id": "r"} for kind, send in kinds]
    path = tmp_path / "ledger.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with open_warehouse(ledgers=[path]) as opened:
        got = opened.rows("from mart_reconciliation")[0]
    assert (got["intents"], got["results"], got["given_back"], got["orphans"], got["unannounced"]) == (
        3,
        1,
        1,
        1,
        0,
    )


def test_a_torn_line_is_kept_apart(tmp_path):
    good = json.dumps(a_row()).encode()
    with open_rows(tmp_path, raw=good + b"\n" + good[:40]) as opened:
        assert opened.rows("select line_no, byte_offset, reason, raw from quarantine") == [
            {"line_no": 2, "byte_offset": len(good) + 1, "reason": "torn_tail", "raw": good[:40].decode()}
        ]
        assert opened.rows("select count(*) as n from stg_results") == [{"n": 1}]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 2}, "unknown_schema"),
        ({"task": "absent"}, "missing_required"),
        ({"status": "fine"}, "unknown_status"),
        ({"latency_ms": "soon"}, "type_mismatch"),
        ({"score": True}, "type_mismatch"),
        ({"latency_ms": -1}, "non_finite_or_negative"),
        ({"cost_usd": float("nan")}, "non_finite_or_negative"),
        ({"cost_usd": float("inf")}, "non_finite_or_negative"),
        ({"score": 1.5}, "score_out_of_range"),
        ({"score": None}, "score_missing"),
    ],
)
def test_a_wrong_value_is_kept_apart_with_its_reason(tmp_path, change, reason):
    with open_rows(tmp_path, a_row(sample_id="other"), a_row(**change)) as opened:
        assert reasons(opened) == [reason]
        assert opened.rows("select sample_id from stg_results") == [{"sample_id": "other"}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": "\xff"}', "not_utf8"),
        (b"[1, 2]", "not_an_object"),
        (b"null", "not_an_object"),
        (b"{}", "missing_required"),
        (b'{"foreign": 1}', "missing_required"),
        (b"\x00\x00", "not_json"),
        (b'{"a": 1}{"b": 2}', "not_json"),
        (b"[" * 100_000, "not_json"),
    ],
)
def test_a_foreign_line_is_kept_apart(tmp_path, line, reason):
    good = json.dumps(a_row()).encode()
    with open_rows(tmp_path, raw=b"\n".join([line, b"", b" \t", good, b""])) as opened:
        assert reasons(opened) == [reason]
        assert opened.rows("select lines, good, quarantined, blank from loads") == [
            {"lines": 4, "good": 1, "quarantined": 1, "blank": 2}
        ]
        assert opened.rows("select line_no from stg_results") == [{"line_no": 4}]


def test_half_a_surrogate_pair_is_mended_and_the_row_counts(tmp_path):
    with open_rows(tmp_path, a_row(output="x\ud800y", prompt="nul \x00 and 日本")) as opened:
        assert opened.rows("select output, prompt from stg_results") == [
            {"output": "x\ufffdy", "prompt": "nul \x00 and 日本"}
        ]
        assert reasons(opened) == []


def test_a_byte_order_mark_does_not_cost_the_first_row(tmp_path):
    with open_rows(tmp_path, raw=b"\xef\xbb\xbf" + json.dumps(a_row()).encode()) as opened:
        assert opened.rows("select loads.good from loads") == [{"good": 1}]


def test_a_line_beyond_the_engines_usual_limit_is_read(tmp_path):
    with open_rows(tmp_path, a_row(output="x" * (17 << 20)), a_row(sample_id="b")) as opened:
        assert opened.rows("select len(output) as n from stg_results order by line_no") == [
            {"n": 17 << 20},
            {"n": None},
        ]


def test_a_cell_written_twice_counts_once_and_the_other_is_kept_apart(tmp_path):
    with open_rows(tmp_path, a_row(score=0.0), a_row(score=1.0)) as opened:
        assert opened.rows("select score from stg_results") == [{"score": 1.0}]
        assert reasons(opened) == ["duplicate_of_later_line"]


def test_a_copy_of_a_run_does_not_count_twice(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.jsonl").write_text(json.dumps(a_row()) + "\n", encoding="utf-8")
    with open_warehouse(run_dirs=[tmp_path / "one", tmp_path / "two", tmp_path / "one"]) as opened:
        assert opened.rows("select count(*) as n from stg_results") == [{"n": 1}]
        assert reasons(opened) == ["duplicate_of_other_file"]


def test_failures_count_zero_and_pending_rows_do_not_count(tmp_path):
    rows = [
        a_row(sample_id="1"),
        a_row(sample_id="2", status="timeout", score=None, error_kind="timeout"),
        a_row(sample_id="3", status="harness", score=None),
    ]
    with open_rows(tmp_path, *rows) as opened:
        got = opened.rows("from mart_candidates")[0]
        assert (got["mean_score"], got["n"], got["failures"], got["pending"]) == (0.5, 2, 1, 1)
        kinds = opened.rows("select status, error_kind from mart_failures order by status")
        assert kinds == [
            {"status": "harness", "error_kind": "unknown"},
            {"status": "timeout", "error_kind": "timeout"},
        ]


def test_repeats_are_averaged_within_a_sample_first(tmp_path):
    rows = [a_row(repeat=n, score=1.0) for n in range(3)] + [a_row(sample_id="b", score=0.0)]
    with open_rows(tmp_path, *rows) as opened:
        assert opened.rows("select mean_score, n, samples from mart_candidates") == [
            {"mean_score": 0.5, "n": 4, "samples": 2}
        ]


def test_a_cost_that_nobody_knows_stays_unknown(tmp_path):
    with open_rows(tmp_path, a_row(cost_usd=None)) as opened:
        assert opened.rows("select cost_usd, priced, cost_per_1000_usd from mart_candidates") == [
            {"cost_usd": None, "priced": 0, "cost_per_1000_usd": None}
        ]


def test_older_spellings_of_telemetry_are_read_as_todays(tmp_path):
    path = tmp_path / "usage.jsonl"
    lines = [
        {
            "status": "success",
            "timestamp": 1795338000.5,
            "task": "t",
            "chain": ["a", "b"],
            "selected_model": "b",
            "latency_ms": 5,
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        },
        {
            "status": "fail",
            "timestamp": "2026-11-22T18:00:00+09:00",
            "task": "t",
            "chain": ["a"],
            "error": "x",
        },
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with open_warehouse(telemetry=[path]) as opened:
        second, first = opened.rows("from stg_calls order by called_at")
    assert (first["model"], first["chain"], first["hops"], first["tier"]) == ("b", ["a", "b"], 1, "unknown")
    assert (first["input_tokens"], first["output_tokens"]) == (7, 3)
    assert first["called_at"].isoformat() == "2026-11-22T09:00:00.500000"
    assert (second["called_at"].isoformat(), second["model"], second["is_failure"]) == (
        "2026-11-22T09:00:00",
        None,
        True,
    )


def test_attempts_and_usage_add_up(tmp_path):
    path = tmp_path / "usage.jsonl"
    lines = telemetry_lines(500)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with open_warehouse(telemetry=[path]) as opened:
        assert opened.rows("select sum(calls) as n, sum(failures) as f from mart_usage") == [
            {"n": 500, "f": sum(line["status"] == "fail" for line in lines)}
        ]
        assert opened.rows("select count(*) as n from stg_attempts") == [
            {"n": sum(len(line["attempts"]) for line in lines)}
        ]
        kinds = {row["error_kind"] for row in opened.rows("from stg_attempts where is_failure")}
        assert kinds <= set(ERROR_KINDS)


_LINE = st.one_of(
    st.builds(lambda n: json.dumps(a_row(sample_id=f"s{n}")).encode(), st.integers(0, 10**9)),
    st.builds(lambda n: json.dumps(a_row(sample_id=f"s{n}", score="x")).encode(), st.integers(0, 10**9)),
    st.builds(lambda n: json.dumps(a_row()).encode()[:n], st.integers(0, 100)),
    st.binary(max_size=40).map(lambda raw: raw.replace(b"\n", b"")),
    st.text(max_size=20).map(lambda text: json.dumps({"output": text, "x": [text]}).encode()),
    st.sampled_from([b"", b" ", b"\t\r", b"null", b"[]", b"{}", b'"', b"\x0b", b"\xef\xbb\xbf"]),
)


@settings(deadline=None, max_examples=60)
@given(lines=st.lists(_LINE, max_size=25), ends_with_newline=st.booleans())
def test_every_line_is_good_quarantined_or_blank(lines, ends_with_newline):
    data = b"\n".join(lines) + (b"\n" if ends_with_newline else b"")
    with tempfile.TemporaryDirectory() as folder, open_rows(Path(folder), raw=data) as opened:
        load = opened.rows("from loads")[0]
        rows = opened.rows("select count(*) as n from stg_results")[0]["n"]
        bad = opened.rows("select count(*) as n, count(distinct line_no) as d from quarantine")[0]
    tail = 1 if data and not data.endswith(b"\n") else 0
    assert load["lines"] == data.count(b"\n") + tail
    assert load["good"] + load["quarantined"] + load["blank"] == load["lines"]
    assert (rows, bad["n"], bad["d"]) == (load["good"], load["quarantined"], load["quarantined"])


def test_a_missing_file_is_named_in_one_line(tmp_path):
    with pytest.raises(WarehouseError, match=r"results\.jsonl: No such file"):
        open_warehouse(run_dirs=[tmp_path])
    with pytest.raises(WarehouseError, match="Is a directory"):
        open_warehouse(telemetry=[tmp_path])


@pytest.mark.parametrize("name", ["run[1]", "run*", "run?", "a 'quoted' run", "走行"])
def test_a_folder_name_is_never_a_pattern(tmp_path, name):
    for each in (name, "run1", "runx"):
        (tmp_path / each).mkdir()
        (tmp_path / each / "results.jsonl").write_text(
            json.dumps(a_row(run_id=each)) + "\n", encoding="utf-8"
        )
    with open_warehouse(run_dirs=[tmp_path / name]) as opened:
        assert opened.rows("select run_id from stg_results") == [{"run_id": name}]


def test_a_closed_warehouse_says_so(tmp_path):
    opened = open_warehouse()
    opened.close()
    opened.close()
    with pytest.raises(WarehouseError, match=r"(?i)closed"):
        opened.rows("select 1")
