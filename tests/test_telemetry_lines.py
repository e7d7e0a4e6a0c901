"""What becomes of a line of a log depends neither on the lines beside it nor on the loads it comes in."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmbench.analytics.telemetry_store import load_logs, make_tables

SOUND = {
    "schema": "1",
    "status": '"success"',
    "timestamp": '"2026-11-22T09:00:00.123Z"',
    "call_id": '"a"',
    "task": '"字幕"',
    "model": '"m"',
    "fallback_chain": '["m"]',
    "latency_ms": "812.4",
    "usage": '{"input_tokens": 120, "output_tokens": 40}',
    "cost_usd": "0.001",
}
TIMES = [
    '"2026-11-22T09:00:00.123Z"',
    '"2026-11-22T18:00:00.123+09:00"',
    '"2026-11-22T09:00:01Z"',
    "1795338000",
]
TORN = b'{"task": "torn'
#: Lines that are no calls, a blank one, one that only Python reads, and one that no reader calls blank.
NEIGHBOURS = [
    TORN,
    b"\xff\xfe",
    b"[1, 2]",
    b"  ",
    b"\x0c",
    b"\x00\x00",
    b'{"call_id": "neighbour", "task": "\\ud800", "ts": 1795338000}',
    b'{"call_id": "neighbour", "task": "t", "ts": "soon", "latency_ms": "slow"}',
]
ODD = [
    *("null", "true", "false", "0", "1", "-1", "-0.0", "1.0", "2.5", "3.5", "-2.5", "1e3", "1e-400"),
    *("1e400", "-1e400", "NaN", "Infinity", "-Infinity", "9223372036854775807", "9223372036854775808"),
    *("4294967296", "99999999999999999999999", "1" + "0" * 400, '""', '" "', '"1"', '" 1"', '"1 "', '"1.0"'),
    *('"3.7"', '"1e3"', '"+5"', '"-5"', '"1_0"', '"0x10"', '"NaN"', '"inf"', '"true"', '"abc"', '"Success"'),
    *(
        '"ok"',
        '"a\\u0000b"',
        '"\\u5b57\\u5e55\\ud83d\\ude00"',
        '"\\ud800"',
        '"x\\udc00y"',
        '"\\u2028"',
        "01",
        "'a'",
    ),
    *(
        "[]",
        "{}",
        "[1]",
        '["a"]',
        "[null]",
        '["a", null, 1.50, true]',
        "[[1]]",
        '{"a": 1}',
        "[{}]",
        '"[1]"',
        "+1",
    ),
    *('"2026-11-22"', '"2026-11-22 09:00:00"', '"2026-11-22T24:00:00Z"', '"1999-11-22T09:00:00Z"'),
    *(
        '"2026-11-22T09:00:00"',
        '"2026-13-22T09:00:00Z"',
        "1795338000.5",
        "1795338000000",
        '"1795338000"',
        "1e300",
    ),
]
FIELDS = {
    "usage": ["input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "prompt_tokens", "other"],
    "rollout": ["name", "mode", "arm", "of", "models", "dropped_before", "other"],
    "media": ["modality", "images", "width", "height", "duration_s", "characters", "other"],
    "attempts": ["model", "error_kind", "status_code", "error", "latency_ms", "waited_ms", "cost_usd"],
    "adjustments": ["param", "action", "from", "to", "rule"],
}


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as opened:
        make_tables(opened)
        yield opened


def columns(con: duckdb.DuckDBPyConnection) -> list[str]:
    return [name for (name,) in con.execute("select column_name from (describe telemetry_line)").fetchall()]


def loaded(
    con: duckdb.DuckDBPyConnection, parts: Sequence[Sequence[bytes]]
) -> tuple[list[str], list[tuple[str, str]]]:
    """The calls, and the text and reason of each other line, of a log that is loaded part by part."""
    con.execute("truncate loaded_calls; truncate log_files; truncate log_seen; truncate log_quarantine")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        filled = 0
        for part in parts:
            with log.open("ab") as file:
                file.write(b"".join(line + b"\n" for line in part))
            load_logs(con, [log])
            filled += sum(bool(line.strip()) for line in part)
    calls = con.execute("""
        select * exclude (file_no, block_no)
            replace (case when call_id like 'unnamed-%' then 'unnamed' else call_id end as call_id)
        from loaded_calls""").fetchall()
    bad = con.execute("select raw, reason from log_quarantine").fetchall()
    assert len(calls) + len(bad) == filled
    calls = [call for call in calls if call[0] != "neighbour"]
    strange = {line.decode("utf-8", "replace") for line in NEIGHBOURS}
    return sorted(map(repr, calls)), sorted(each for each in bad if each[0] not in strange)


def line(fields: dict[str, str], *, more: str = "") -> bytes:
    text = ", ".join(f"{json.dumps(name)}: {value}" for name, value in fields.items())
    return ("{" + text + more + "}").encode("utf-8", "surrogatepass")


@st.composite
def values(draw: st.DrawFn, name: str) -> str:
    """The JSON of a value, rarely one that the field should have."""
    if name in FIELDS and draw(st.integers(0, 3)):
        fields = draw(st.lists(st.tuples(st.sampled_from(FIELDS[name]), st.sampled_from(ODD)), max_size=3))
        inside = "{" + ", ".join(f'"{field}": {value}' for field, value in fields) + "}"
        return f"[{inside}, {inside}]" if name in ("attempts", "adjustments") else inside
    any_value = st.one_of(st.integers(), st.floats(), st.text(max_size=4), st.booleans())
    return draw(st.one_of(st.sampled_from(ODD), any_value.map(json.dumps)))


@st.composite
def lines(draw: st.DrawFn, names: list[str]) -> bytes:
    """A line that is nearly sound: up to three fields of it are odd, missing, or there twice."""
    fields = dict(SOUND)
    fields["call_id"] = draw(st.sampled_from(['"a"', '"b"', "null", "1", '"\\ud800"']))
    fields["timestamp"] = draw(st.sampled_from(TIMES))
    for name in draw(st.lists(st.sampled_from([*names, "load", "other"]), max_size=3)):
        fields[name] = draw(values(name))
    for name in draw(st.lists(st.sampled_from(list(SOUND)), max_size=1)):
        fields.pop(name, None)
    twice = draw(st.lists(st.sampled_from([*names, "other"]), max_size=1)) if draw(st.booleans()) else []
    more = "".join(f', "{name}": {draw(values(name))}' for name in twice)
    return (
        draw(st.sampled_from([b"", b"", b"", b" ", b"\t"]))
        + line(fields, more=more + draw(st.sampled_from(["", "", "", "", ",", " }"])))
        + draw(st.sampled_from([b"", b"", b"", b"\r", b" ", b"x"]))
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_fate_of_a_line_depends_on_no_other_line_and_no_other_load(con, data: st.DataObject):
    some = data.draw(st.lists(lines(columns(con)), min_size=1, max_size=4))
    alone = loaded(con, [some])
    place = data.draw(st.integers(0, len(some)))
    neighbour = data.draw(st.sampled_from(NEIGHBOURS))
    assert loaded(con, [[*some[:place], neighbour, *some[place:]]]) == alone
    assert loaded(con, [[each] for each in some]) == alone
    assert loaded(con, [[*some[:place], neighbour], some[place:]]) == alone


ROWS: list[tuple[str, str, str, Any]] = [
    ("latency_ms", "true", "latency_ms", 1.0),
    ("latency_ms", '" 1"', "latency_ms", 1.0),
    ("usage", '{"input_tokens": 2.5}', "input_tokens", 2),
    ("usage", '{"input_tokens": true}', "input_tokens", 1),
    ("usage", '{"input_tokens": "12"}', "input_tokens", 12),
    ("usage", '{"input_tokens": null, "prompt_tokens": 7}', "input_tokens", 7),
    ("usage", '{"input_tokens": 5, "prompt_tokens": -3}', "input_tokens", 5),
    ("schema", '"1"', "call_id", "a"),
    ("media", "3", "media.images", None),
    ("media", '{"images": "many", "width": 2}', "media.width", 2),
    ("attempts", '[{"status_code": "429.5", "latency_ms": 1}, 3]', "attempts[1].latency_ms", 1.0),
    ("rollout", '{"dropped_before": "x", "name": "r"}', "rollout.name", "r"),
    ("model", '"m", "model": "n"', "model", "m"),
]
REASONS = [
    ("schema", "1.0", "unknown_schema"),
    ("schema", '" 1"', "unknown_schema"),
    ("schema", "true", "unknown_schema"),
    ("usage", '{"input_tokens": "3.7"}', "type_mismatch"),
    ("usage", "3", "type_mismatch"),
    ("usage", '{"output_tokens": -3}', "non_finite_or_negative"),
    ("rollout", "3", "type_mismatch"),
    ("attempts", "{}", "type_mismatch"),
    ("fallback_chain", '"m"', "type_mismatch"),
    ("latency_ms", '"NaN"', "non_finite_or_negative"),
    ("cost_usd", "1e400", "non_finite_or_negative"),
    ("dropped_before", "-1", "non_finite_or_negative"),
    ("timestamp", '"1999-11-22T09:00:00Z"', "type_mismatch"),
]


@pytest.mark.parametrize("beside", [[], [TORN]], ids=["alone", "beside a torn line"])
@pytest.mark.parametrize(("field", "value", "column", "expected"), ROWS)
def test_a_value_that_the_typed_reader_takes_is_taken_beside_a_torn_line_too(
    con, field, value, column, expected, beside
):
    loaded(con, [[line({**SOUND, field: value}), *beside]])
    assert con.execute(f"select {column} from loaded_calls").fetchall() == [(expected,)]  # noqa: S608


@pytest.mark.parametrize("beside", [[], [TORN]], ids=["alone", "beside a torn line"])
@pytest.mark.parametrize(("field", "value", "reason"), REASONS)
def test_a_line_is_quarantined_for_the_same_reason_beside_a_torn_line(con, field, value, reason, beside):
    bad = line({**SOUND, field: value})
    assert loaded(con, [[bad, *beside]]) == ([], [(bad.decode(), reason)])


def test_one_call_id_at_another_time_is_another_call_in_one_load_and_in_two(con):
    some = [line({**SOUND, "timestamp": time}) for time in TIMES]
    calls, bad = loaded(con, [some])
    assert (len(calls), [reason for _, reason in bad]) == (3, ["duplicate"])  # two of the times are the same
    assert loaded(con, [some[:2], some[2:]]) == loaded(con, [[each] for each in some]) == (calls, bad)


def test_of_two_lines_with_one_call_id_the_first_counts_also_where_it_had_to_be_mended(con):
    some = [line({**SOUND, "task": '"\\ud800"'}), line({**SOUND, "task": '"later"'})]
    calls, bad = loaded(con, [some])
    assert (len(calls), bad) == (1, [(some[1].decode(), "duplicate")])
    assert loaded(con, [[each] for each in some]) == (calls, bad)


def test_a_byte_order_mark_may_stand_before_the_first_line_of_a_log_and_no_other(con):
    marked, other = b"\xef\xbb\xbf" + line(SOUND), line({**SOUND, "call_id": '"b"'})
    assert len(loaded(con, [[marked, other]])[0]) == 2
    once = loaded(con, [[other, marked]])
    assert [reason for _, reason in once[1]] == ["not_json"]
    assert loaded(con, [[other], [marked]]) == once
