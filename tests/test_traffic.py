"""The tables of telemetry say what the log says, and show strangers' texts as text."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from llmbench.analytics.telemetry_store import load_store
from llmbench.analytics.traffic import open_traffic
from llmbench.analytics.traffic_tables import table, written
from llmbench.analytics.warehouse import open_warehouse
from llmbench.errors import WarehouseError
from tests.traffic_log import RECORDING, log_lines, write_log

CONFIGS = Path(__file__).parents[1] / "configs"
HOSTILE = "<script>alert(1)</script>\u202egnp.exe\x07"


def calls_of(path: Path) -> list[dict]:
    """The sound lines of a log, read without the warehouse."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "attempts" in row:
            found.append(row)
    return found


@pytest.fixture(scope="module")
def traffic():
    with open_traffic(RECORDING, configs=CONFIGS) as opened:
        yield opened


@pytest.fixture(scope="module")
def calls():
    return calls_of(RECORDING)


def test_the_committed_log_is_what_its_script_writes():
    assert RECORDING.read_text(encoding="utf-8") == "\n".join(log_lines()) + "\n"


# ---- what was loaded


def test_what_was_quarantined_is_said_first(traffic):
    assert len(traffic.loaded) == 1
    file = traffic.loaded.iloc[0]
    assert (file["file"], file["lines"], file["calls"], file["quarantined"], file["blank"]) == (
        "telemetry.jsonl", 406, 400, 5, 1,
    )  # fmt: skip
    reasons = dict(zip(traffic.quarantined["reason"], traffic.quarantined["lines"], strict=True))
    assert reasons == {
        "not_json": 1, "not_an_object": 1, "type_mismatch": 1, "missing_required": 1,
        "non_finite_or_negative": 1,
    }  # fmt: skip
    assert str(traffic).startswith("400 calls seen, 2026-10-26 to 2026-11-22 (UTC), from 1 file. 5 lines")
    assert "not_json 1" in traffic._repr_html_()


def test_a_clean_log_says_that_nothing_was_quarantined(tmp_path):
    path = write_log(tmp_path / "log.jsonl", calls=3, broken=())
    with open_traffic(path) as opened:
        assert str(opened).endswith("No line was quarantined.")


def test_a_number_of_days_ends_with_the_newest_call(calls):
    with open_traffic(RECORDING, days=7) as opened:
        assert opened.calls == sum(call["timestamp"] >= "2026-11-16" for call in calls)
        assert opened.usage(["day"])["day"].min() == pd.Timestamp("2026-11-16")
        assert int(opened.quarantined["lines"].sum()) == 5
        assert "of the whole logs" in str(opened)
    with open_traffic(RECORDING, since=datetime(2026, 11, 16, tzinfo=UTC)) as opened:
        assert opened.calls == sum(call["timestamp"] >= "2026-11-16" for call in calls)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no telemetry named"),
        ({"log": "nowhere.jsonl"}, "no such log"),
        ({"store": "nowhere.duckdb"}, "no such store"),
        ({"log": RECORDING, "days": 0}, "give the number of days"),
        (
            {"log": RECORDING, "days": 1, "since": datetime(2026, 11, 1, tzinfo=UTC)},
            "since or days, not both",
        ),
    ],
)
def test_a_wrong_choice_is_said_in_words(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WarehouseError, match=said):
        open_traffic(**options)


def test_a_store_gives_the_same_tables_as_its_log(tmp_path, traffic):
    load_store(tmp_path / "t.duckdb", [RECORDING])
    with open_traffic(store=tmp_path / "t.duckdb", configs=CONFIGS) as opened:
        assert str(opened) == str(traffic)
        for name in ("usage", "costs", "latency", "fallbacks", "errors", "adjustments", "what_if", "drift"):
            pd.testing.assert_frame_equal(
                getattr(opened, name)(), getattr(traffic, name)(), check_exact=False
            )
        assert str(opened.draw_costs()) == str(traffic.draw_costs())


# ---- tables


def test_usage_adds_up_to_the_log_whatever_it_is_summed_by(traffic, calls):
    for by in (["tier"], ["task", "tier"], ["day", "provider"], ["channel"]):
        rows = traffic.usage(by)
        assert rows["calls"].sum() == 400
        assert rows["failures"].sum() == sum(call["status"] == "fail" for call in calls)
        assert rows["cost_usd"].sum() == pytest.approx(sum(call.get("cost_usd", 0) for call in calls))
        assert not rows.duplicated(by).any()
    assert traffic.usage(["day"])["day"].is_monotonic_increasing
    with pytest.raises(WarehouseError, match="name one or more of day, task, tier"):
        traffic.usage(["model; drop table x"])


def test_costs_tell_known_from_unknown_and_wasted(traffic, calls):
    rows = traffic.costs().set_index("tier")
    for tier in rows.index:
        own = [call for call in calls if call["tier"] == tier]
        assert rows.loc[tier, "priced"] == sum("cost_usd" in call for call in own)
        assert rows.loc[tier, "unpriced"] == sum(
            "cost_usd" not in call and call["status"] == "success" for call in own
        )
        assert rows.loc[tier, "cost_usd"] == pytest.approx(sum(call.get("cost_usd", 0) for call in own))
    by_source = traffic.costs(["cost_source"])
    assert by_source.loc[by_source["cost_source"].isna(), "cost_usd"].isna().all()  # unknown is not $0


def test_what_nobody_knows_the_cost_of_is_not_free(tmp_path):
    rows = [json.loads(line) for line in log_lines(calls=20, broken=())]
    lines = [json.dumps({key: value for key, value in row.items() if "cost" not in key}) for row in rows]
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with open_traffic(tmp_path / "log.jsonl") as opened:
        assert opened.usage()["cost_usd"].isna().all()
        assert opened.costs()["cost_usd"].isna().all()


def test_latency_is_of_calls_that_answered_or_timed_out(traffic, calls):
    rows = traffic.latency("tier").set_index("name")
    for tier, row in rows.iterrows():
        own = [
            c["latency_ms"] for c in calls if c["tier"] == tier and c.get("error_kind") in (None, "timeout")
        ]
        assert row["n"] == len(own)
        assert row["p95_ms"] == pytest.approx(pd.Series(own).quantile(0.95))


def odd_log(path: Path) -> Path:
    """Failures without a kind that end at once, and calls that do not say what a cache served."""
    line = {"task": "t", "tier": "s", "model": "m", "timestamp": "2026-11-22T09:00:00Z", "status": "success"}
    sent = {"input_tokens": 1000, "output_tokens": 5}
    lines = [line | {"latency_ms": 1000.0, "usage": sent | {"cached_tokens": 800}}] * 10
    lines += [line | {"usage": sent}] * 10
    lines += [line | {"status": "fail", "error": "boom", "latency_ms": 1.0}] * 40
    lines += [line | {"status": "fail", "error_kind": "timeout", "latency_ms": 3000.0}] * 5
    lines += [line | {"task": "untimed", "usage": sent}]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    return path


def test_a_failure_without_a_kind_is_no_answer(tmp_path):
    with open_traffic(odd_log(tmp_path / "log.jsonl")) as opened:
        for by in ("model", "tier", "task"):
            [row] = opened.latency(by).to_dict("records")
            assert (row["n"], row["p50_ms"], row["p99_ms"]) == (15, 1000.0, 3000.0)
            assert "of 15 calls" in str(opened.draw_latency(by))
        mart = opened.latency_by_task()
        assert mart[mart["task"] == "t"]["n"].tolist() == [15]


def test_a_mean_time_is_of_the_calls_whose_time_is_known(tmp_path):
    with open_traffic(odd_log(tmp_path / "log.jsonl")) as opened:
        rows = opened.usage(["task"]).set_index("task")["mean_ms"]
    assert rows["t"] == pytest.approx((10 * 1000 + 40 + 5 * 3000) / 55)
    assert pd.isna(rows["untimed"])


def test_the_share_of_the_cache_is_of_calls_that_tell_it(tmp_path):
    with open_traffic(odd_log(tmp_path / "log.jsonl")) as opened:
        rows = opened.cache().set_index("task")
        assert rows.loc["t", "cached_share"] == 0.8
        assert (rows.loc["t", "known_input_tokens"], rows.loc["t", "input_tokens"]) == (10_000, 20_000)
        assert pd.isna(rows.loc["untimed", "cached_share"])
        [mart] = opened.frame("select cached_share from mart_cache where task = 't'")["cached_share"]
        assert mart == 0.8


def test_the_picture_of_fallbacks_counts_every_step(traffic, calls):
    steps = Counter(pair for call in calls for pair in itertools.pairwise(call["fallback_chain"]))
    told = str(traffic.draw_fallbacks())
    for (start, goal), n in steps.items():
        assert f"{start} to {goal}: {n} call" in told


def test_the_picture_of_errors_counts_requests_not_calls(traffic, calls):
    attempts = [attempt for call in calls for attempt in call["attempts"]]
    tried = Counter(attempt["model"] for attempt in attempts)
    ended = Counter((attempt["model"], attempt.get("error_kind")) for attempt in attempts)
    markup = traffic.draw_errors()._repr_svg_()
    for (model, kind), n in ended.items():
        if kind:
            assert f"{model}, {kind}: {n} of {tried[model]} requests" in markup
    for n, sent in zip(traffic.failed_attempts()["n"], traffic.failed_attempts()["sent"], strict=True):
        assert 0 < n <= sent


def test_a_slower_model_is_found_to_have_changed(traffic):
    rows = traffic.drift()
    changed = rows[rows["is_change"]]
    assert changed[["task", "model", "measure"]].to_numpy().tolist() == [
        ["字幕の翻訳", "gem_3_8_flash", "latency_ms"],
        ["fact_extract", "gem_3_8_flash", "latency_ms"],
    ]
    assert ((changed["low"] > 0.0) & (changed["low"] < 0.9) & (changed["high"] > 0.9)).all()


def test_estimates_are_marked_and_candidates_without_a_price_named(traffic):
    rows = traffic.what_if()
    assert rows["is_estimate"].all()
    assert {"gem_3_8_flash", "az_gpt_6_luna"} <= set(rows["candidate"])
    assert "smol_json" in {each.model for each in traffic.unpriced}
    with open_traffic(RECORDING) as opened:
        assert opened.what_if().empty


def test_more_than_a_month_of_hours_is_drawn_by_the_day_of_the_week(tmp_path):
    lines = []
    for n, line in enumerate(log_lines(calls=120, broken=())):
        row = json.loads(line)
        row["timestamp"] = f"2026-{1 + n % 9:02d}-{1 + n % 28:02d}T10:00:00Z"
        lines.append(json.dumps(row))
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with open_traffic(tmp_path / "log.jsonl") as opened:
        markup = opened.draw_hours()._repr_svg_()
        assert ">Mon<" in markup
        assert "by weekday and time of day" in markup


def test_no_calls_are_said_not_drawn(tmp_path):
    (tmp_path / "log.jsonl").write_text("", encoding="utf-8")
    with open_traffic(tmp_path / "log.jsonl", days=28, configs=CONFIGS) as opened:
        assert str(opened) == "No calls seen in 1 file. No line was quarantined."
        for draw in ("draw_costs", "draw_latency", "draw_fallbacks", "draw_errors", "draw_hours"):
            figure = getattr(opened, draw)()
            assert figure._repr_svg_() is None
            assert str(figure).startswith("No ")
        for name in ("usage", "costs", "latency", "fallbacks", "errors", "drift", "what_if", "budget"):
            assert "nothing" in table(getattr(opened, name)())._repr_html_()


# ---- one's own SQL


def test_ones_own_sql_only_reads(traffic):
    assert (
        traffic.frame("select count(*) as n from stg_calls where tier = $tier", {"tier": "cheap"})["n"][0] > 0
    )
    with pytest.raises(WarehouseError, match="read-only"):
        traffic.frame("drop view stg_calls")
    if find_spec("pyarrow") is None:
        with pytest.raises(WarehouseError, match=r'pip install "llmbench\[arrow\]"'):
            traffic.arrow("select 1")


def test_arrow_has_the_rows_that_pandas_has(traffic):
    pytest.importorskip("pyarrow", reason="pyarrow is an extra")
    sql, params = (
        "select task, sum(cost_usd) as usd from stg_calls where tier = $t group by 1 order by 1",
        {"t": "cheap"},
    )
    assert traffic.arrow(sql, params).to_pylist() == traffic.frame(sql, params).to_dict("records")
    with pytest.raises(WarehouseError, match="read-only"):
        traffic.arrow("drop view stg_calls")
    with pytest.raises(WarehouseError, match="2; send them one at a time"):
        traffic.arrow("select 1; select 2")
    assert traffic.frame("select 1 as n")["n"][0] == 1  # no transaction is left open


def test_since_is_seen_by_every_view_and_the_store_is_untouched(tmp_path):
    load_store(tmp_path / "t.duckdb", [RECORDING])
    with open_warehouse(store=tmp_path / "t.duckdb", days=7) as opened:
        oldest = opened.rows("select min(called_at) as t from stg_calls")[0]["t"]
        assert oldest >= datetime(2026, 11, 16)  # noqa: DTZ001 - DuckDB's timestamps carry no zone; these are UTC
        assert opened.rows("select min(day) as d from mart_usage")[0]["d"] == oldest.date()
    with open_warehouse(store=tmp_path / "t.duckdb") as opened:
        assert opened.rows("select count(*) as n from stg_calls") == [{"n": 400}]


# ---- how values are written


@pytest.mark.parametrize(
    ("name", "value", "row", "text"),
    [
        ("cost_usd", 1.5, {}, "$1.50"),
        ("left_usd", -0.25, {}, "−$0.250"),
        ("cost_usd", float("nan"), {}, "–"),
        ("status_code", pd.NA, {}, "–"),
        ("first_at", pd.NaT, {}, "–"),
        ("failure_rate", 0.125, {}, "12.5 %"),
        ("p95_ms", 1234.0, {}, "1.23 s"),
        ("status_code", 429.0, {}, "429"),
        ("last_at", pd.Timestamp("2026-11-22T16:57:32"), {}, "2026-11-22 16:57"),
        ("day", pd.Timestamp("2026-11-22"), {}, "2026-11-22"),
        ("ratio", 0.5, {}, "0.50×"),
        ("is_change", True, {}, "yes"),
        ("calls", 12_345, {}, "12,345"),
        ("days_left", 3.25, {}, "3.25"),
        ("error", "a\x07b\nc", {}, "a␇b c"),
        ("change", 0.2, {"measure": "latency_ms"}, "+20.0 %"),
        ("this_mean", 1500.0, {"measure": "latency_ms"}, "1.50 s"),
        ("low", -0.01, {"measure": "failure_rate"}, "−1.0 %"),
        ("change", -0.5, {"measure": "cost_usd"}, "−$0.500"),
        ("last_mean", 812.25, {"measure": "output_tokens"}, "812.2"),
    ],
)
def test_a_value_is_written_as_its_column_wants_it(name, value, row, text):
    assert written(name, value, row) == text


def test_a_table_says_how_many_rows_it_leaves_out():
    shown = table(pd.DataFrame({"name": ["a", "b", "c"], "calls": [1, 2, 3]}), limit=2)
    assert "1 more row not shown." in shown._repr_html_()
    assert str(shown) == "name | calls\na | 1\nb | 2\n1 more row not shown."


def test_a_strangers_texts_are_escaped_and_their_hidden_marks_shown(tmp_path):
    tasks = {HOSTILE: ("cheap", 1.0, 100, 10, 0.0)}
    path = write_log(tmp_path / "log.jsonl", calls=60, tasks=tasks, broken=(f"[{HOSTILE!r}]",))
    with open_traffic(path, configs=CONFIGS) as opened:
        for name in ("usage", "fallbacks", "errors", "latency_by_task", "endings", "cache"):
            rows = getattr(opened, name)()
            shown = table(rows)._repr_html_() + rows.to_html()
            assert not [mark for mark in ("<script", "\u202e", "\x07") if mark in shown]
            assert "&lt;script&gt;alert(1)&lt;/script&gt;⟨U+202E⟩gnp.exe␇" in shown
        assert "<script" not in table(opened.quarantined)._repr_html_()
        assert "<script" not in opened.draw_latency("task")._repr_svg_()
