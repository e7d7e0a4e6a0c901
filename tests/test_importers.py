"""Logs of LiteLLM, OpenRouter and Langfuse become telemetry lines: every value, every refusal, once only."""

from __future__ import annotations

import copy
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer import Typer
from typer.testing import CliRunner

from llmbench.analytics.warehouse import open_warehouse
from llmbench.cli_interop import import_verb
from llmbench.interop.importers import import_log, load_mapping, rejected_path
from llmbench.jsonl import read_jsonl

DATA = Path(__file__).parent / "data_interop"
#: Every field of the view that an import fills.
COLUMNS = (
    "called_at", "status", "task", "tier", "channel", "env", "model", "model_id", "provider",
    "latency_ms", "ttft_ms", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens",
    "cost_usd", "cost_source", "wasted_ms", "wasted_cost_usd", "finish_reason", "request_id", "error",
    "error_class", "error_kind", "status_code",
)  # fmt: skip


def imported(tmp_path, format_, *names, task=None):
    """The summaries, and the rows of the warehouse by call id; no line may be in quarantine."""
    out = tmp_path / "log.jsonl"
    done = [import_log(DATA / name, load_mapping(format_), out, task=task) for name in names]
    if not out.exists():
        return done, {}
    with open_warehouse(telemetry=[out]) as house:
        assert house.rows("select * from quarantine") == []
        rows = house.rows("select * from stg_calls order by call_id")
    return done, {row["call_id"]: row for row in rows}


def facts(row):
    """A row's values that are there, times as text."""
    found = {name: row[name] for name in COLUMNS if row[name] is not None}
    return {**found, "called_at": str(row["called_at"])}


def rejections(tmp_path):
    return [line.record for line in read_jsonl(rejected_path(tmp_path / "log.jsonl"))]


# ---- every value of every format ------------------------------------------------------------------------


def test_litellm_payloads_give_every_value_of_a_line(tmp_path):
    (done,), rows = imported(tmp_path, "litellm", "litellm_payloads.jsonl")
    assert set(rows) == {
        f"litellm:{name}" for name in ("chatcmpl-0001", "chatcmpl-0002", "5b0e-fail", "5b0e-odd")
    }
    assert facts(rows["litellm:chatcmpl-0001"]) == {
        "called_at": "2026-11-22 10:00:00.812000", "status": "success", "task": "要約", "tier": "unknown",
        "channel": "東京", "model": "小型モデル", "model_id": "azure/gpt-4o-mini", "provider": "azure",
        "latency_ms": 812.4, "input_tokens": 120, "output_tokens": 40, "cached_tokens": 64,
        "reasoning_tokens": 8, "cost_usd": 0.000123, "cost_source": "import:litellm", "wasted_ms": 0.0,
        "finish_reason": "stop", "request_id": "chatcmpl-0001",
    }  # fmt: skip
    assert facts(rows["litellm:chatcmpl-0002"]) == {
        "called_at": "2026-11-22 10:00:03", "status": "success", "task": "caption", "tier": "unknown",
        "channel": "CH01", "env": "prod", "model": "gpt-4o-mini", "model_id": "gpt-4o-mini",
        "provider": "anthropic", "latency_ms": 2000.0, "ttft_ms": 250.0, "input_tokens": 120,
        "output_tokens": 40, "cost_usd": 0.000123, "cost_source": "import:litellm", "wasted_ms": 0.0,
        "finish_reason": "length", "request_id": "msg_9",
    }  # fmt: skip
    assert facts(rows["litellm:5b0e-fail"]) == {
        "called_at": "2026-11-22 10:00:11.500000", "status": "fail", "task": "要約", "tier": "unknown",
        "channel": "東京", "latency_ms": 1500.0, "input_tokens": 0, "output_tokens": 0, "cached_tokens": 64,
        "reasoning_tokens": 8, "cost_source": "unknown: the call failed", "wasted_ms": 1500.0,
        "wasted_cost_usd": 0.0, "request_id": "5b0e-fail", "error": "RateLimitError, status 429",
        "error_class": "RateLimitError", "error_kind": "rate_limit", "status_code": 429,
    }  # fmt: skip
    assert rows["litellm:5b0e-fail"]["chain"] == ["小型モデル"]
    assert (done.rows, done.imported, done.repeated, done.rejected) == (13, 4, 1, 8)


def test_what_litellm_says_of_an_unknown_error_is_kept_and_no_kind_is_made_up(tmp_path):
    (done,), rows = imported(tmp_path, "litellm", "litellm_payloads.jsonl")
    row = rows["litellm:5b0e-odd"]
    assert (row["error_class"], row["error_kind"], row["status_code"]) == ("SomethingNew", None, None)
    assert done.notices == {
        "ttft_ms left out: a negative duration": 1,
        "error_kind left out: unknown word 'SomethingNew'": 1,
        "status_code left out: not a number": 1,
    }


def test_a_csv_of_litellms_table_with_a_mark_and_json_in_cells_is_read(tmp_path):
    (done,), rows = imported(tmp_path, "litellm", "litellm_spend_logs.csv")
    assert facts(rows["litellm:chatcmpl-s1"]) == {
        "called_at": "2026-11-22 09:00:01.500000", "status": "success", "task": "翻訳", "tier": "unknown",
        "model": "下書き", "model_id": "claude-haiku", "provider": "anthropic", "latency_ms": 1500.0,
        "ttft_ms": 300.0, "input_tokens": 70, "output_tokens": 20, "cached_tokens": 5, "cost_usd": 0.00042,
        "cost_source": "import:litellm", "wasted_ms": 0.0, "request_id": "chatcmpl-s1",
    }  # fmt: skip
    failed = rows["litellm:chatcmpl-s2"]
    assert (failed["task"], failed["error_kind"], failed["status_code"]) == ("qa", "context_length", 400)
    assert done.reasons == {"answered from LiteLLM's cache, no model was called": 1}


def test_an_openrouter_activity_export_gives_every_value_of_a_line(tmp_path):
    _, rows = imported(tmp_path, "openrouter", "openrouter_activity.csv", task="chat")
    assert facts(rows["openrouter:gen-1"]) == {
        "called_at": "2026-11-22 09:00:00.123000", "status": "success", "task": "字幕アプリ",
        "tier": "unknown", "model": "openai/gpt-4o-mini-2024-07-18",
        "model_id": "openai/gpt-4o-mini-2024-07-18", "provider": "OpenAI", "latency_ms": 2100.0,
        "ttft_ms": 340.0, "input_tokens": 300, "output_tokens": 80, "cached_tokens": 100,
        "reasoning_tokens": 16, "cost_usd": 0.0012, "cost_source": "import:openrouter", "wasted_ms": 0.0,
        "finish_reason": "stop", "request_id": "gen-1",
    }  # fmt: skip
    own_key = rows["openrouter:gen-2"]
    assert own_key["task"] == "chat"
    assert own_key["cost_usd"] == pytest.approx(0.002)  # what the own key's provider took is added
    assert rows["openrouter:gen-3"]["error_kind"] == "cancelled"
    assert rows["openrouter:gen-4"]["error_kind"] == "server_error"


def test_a_reply_of_openrouters_generation_endpoint_is_read(tmp_path):
    _, rows = imported(tmp_path, "openrouter", "openrouter_generations.jsonl", task="chat")
    assert facts(rows["openrouter:gen-9"]) == {
        "called_at": "2026-11-22 09:00:00.433000", "status": "success", "task": "chat", "tier": "unknown",
        "model": "openai/gpt-4o", "model_id": "openai/gpt-4o", "provider": "OpenAI", "latency_ms": 1250.0,
        "input_tokens": 12, "output_tokens": 26, "cached_tokens": 3, "reasoning_tokens": 5,
        "cost_usd": 0.0015, "cost_source": "import:openrouter", "wasted_ms": 0.0,
        "finish_reason": "tool_calls", "request_id": "chatcmpl-up",
    }  # fmt: skip


def test_a_days_sums_are_not_passed_off_as_calls_even_a_day_with_one(tmp_path):
    (done,), rows = imported(tmp_path, "openrouter", "openrouter_daily.json", task="chat")
    assert (done.rows, done.rejected, rows) == (2, 2, {})
    (reason,) = done.reasons
    assert "a sum over a day" in reason
    assert "generation_id" in reason
    assert [record["raw"]["requests"] for record in rejections(tmp_path)] == [5, 1]


def test_a_page_of_langfuse_gives_every_value_of_a_line(tmp_path):
    (done,), rows = imported(tmp_path, "langfuse", "langfuse_page.json")
    assert facts(rows["langfuse:obs-1"]) == {
        "called_at": "2026-11-22 09:00:02.500000", "status": "success", "task": "商品説明",
        "tier": "unknown", "env": "production", "model": "gpt-4o", "model_id": "gpt-4o",
        "latency_ms": 2500.0, "ttft_ms": 750.0, "input_tokens": 150, "output_tokens": 40,
        "cached_tokens": 50, "reasoning_tokens": 10, "cost_usd": 0.003, "cost_source": "import:langfuse",
        "wasted_ms": 0.0,
    }  # fmt: skip
    failed = rows["langfuse:obs-2"]
    assert (failed["status"], failed["model"], failed["chain"]) == ("fail", None, ["gpt-4o"])
    assert (failed["error"], failed["error_kind"]) == ("failed, as the export says", None)
    own = rows["langfuse:obs-3"]
    assert (own["task"], own["channel"], own["provider"]) == ("caption", "CH02", "openai")
    assert (own["latency_ms"], own["finish_reason"]) == (None, "length")
    assert sorted(done.reasons.values()) == [1, 1, 1]


def test_a_csv_of_langfuses_table_whose_dates_have_quotes_of_their_own_is_read(tmp_path):
    _, rows = imported(tmp_path, "langfuse", "langfuse_ui.csv")
    assert facts(rows["langfuse:obs-7"]) == {
        "called_at": "2026-11-22 09:00:02", "status": "success", "task": "caption", "tier": "unknown",
        "channel": "大阪", "env": "default", "model": "gpt-4o-mini", "model_id": "gpt-4o-mini",
        "latency_ms": 2000.0, "ttft_ms": 500.0, "input_tokens": 100, "output_tokens": 7,
        "cached_tokens": 10, "cost_usd": 0.0005, "cost_source": "import:langfuse", "wasted_ms": 0.0,
    }  # fmt: skip
    assert rows["langfuse:obs-8"]["task"] == "夜間バッチ"


# ---- nothing is lost, nothing comes twice, no text comes along ------------------------------------------


def test_every_row_that_makes_no_line_is_kept_with_its_row_and_reason(tmp_path):
    (done,), _ = imported(tmp_path, "litellm", "litellm_payloads.jsonl")
    found = {record["row"]: record["reason"] for record in rejections(tmp_path)}
    assert found == {
        5: "answered from LiteLLM's cache, no model was called",
        6: (
            "no task: nothing at `metadata.spend_logs_metadata.task`, `metadata.requester_metadata.task`, "
            "`metadata.task`, `request_tags`; give a task for such rows (--task)"
        ),
        7: "no time: nothing at `endTime`, `end_time`",
        8: (
            "no id: nothing at `id`, `request_id`, `litellm_call_id`; "
            "without it a second import would count it twice"
        ),
        9: "a negative duration: `endTime` lies 1000 ms before the start",
        10: "not a number: `response_cost` is nan",
        13: "not a JSON object",
        14: "not a JSON object",
    }
    assert done.rejected_path == rejected_path(tmp_path / "log.jsonl")
    assert rejections(tmp_path)[3]["raw"]["model"] == "gpt-4o-mini"


def test_a_second_import_writes_nothing(tmp_path):
    names = ("litellm_payloads.jsonl", "litellm_spend_logs.csv")
    first, once = imported(tmp_path, "litellm", *names)
    written = {path: path.read_bytes() for path in tmp_path.iterdir()}
    second, twice = imported(tmp_path, "litellm", *names)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == written
    assert len(written) == 2
    assert once == twice
    assert [done.imported for done in second] == [0, 0]
    assert [done.repeated for done in second] == [done.imported + done.repeated for done in first]


def test_the_same_call_in_two_logs_is_counted_once_by_the_warehouse(tmp_path):
    logs = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for log in logs:
        import_log(DATA / "langfuse_ui.csv", load_mapping("langfuse"), log)
    with open_warehouse(telemetry=logs) as house:
        assert house.rows("select count(*) as n from stg_calls") == [{"n": 2}]
        reasons = house.rows("select distinct reason from quarantine")
    assert all(row["reason"].startswith("duplicate") for row in reasons)


@pytest.mark.parametrize(
    ("format_", "names"),
    [
        ("litellm", ("litellm_payloads.jsonl", "litellm_spend_logs.csv")),
        ("langfuse", ("langfuse_page.json", "langfuse_ui.csv")),
    ],
)
def test_no_text_of_a_prompt_a_reply_or_an_error_is_written(tmp_path, format_, names):
    imported(tmp_path, format_, *names)
    for path in tmp_path.iterdir():
        assert "SECRET" not in path.read_text(encoding="utf-8"), path.name
    assert sum("SECRET" in (DATA / name).read_text(encoding="utf-8") for name in names) == len(names)


def test_a_prompt_that_a_mapping_takes_for_a_name_is_refused_and_not_written(tmp_path):
    row = json.loads((DATA / "litellm_payloads.jsonl").read_text(encoding="utf-8").splitlines()[0])
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({**row, "prompt": "SECRET " * 40}), encoding="utf-8")
    mapping = load_mapping("litellm").with_task_at("prompt")
    done = import_log(source, mapping, tmp_path / "log.jsonl")
    assert (done.reasons, done.imported) == ({"not a name": 1}, 0)
    assert "SECRET" not in rejected_path(tmp_path / "log.jsonl").read_text(encoding="utf-8")


def _places(value, at=()):
    """Every place in a nested value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from _places(item, (*at, key))


SAMPLES = {
    "litellm": json.loads((DATA / "litellm_payloads.jsonl").read_text(encoding="utf-8").splitlines()[2]),
    "openrouter": json.loads((DATA / "openrouter_generations.jsonl").read_text(encoding="utf-8")),
    "langfuse": json.loads((DATA / "langfuse_page.json").read_text(encoding="utf-8"))["data"][0],
}


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(SAMPLES)),
            st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from([None, "", "x", -1, 1e400, [], {}]))),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_is_missing_a_row_is_a_line_that_the_warehouse_takes_or_is_refused_with_its_reason(
    tmp_path_factory, changes
):
    folder = tmp_path_factory.mktemp("nulls")
    out, rows, imported_rows = folder / "log.jsonl", Counter(), 0
    for index, (format_, nulls) in enumerate(changes):
        row = copy.deepcopy(SAMPLES[format_])
        places = list(_places(row))
        for number, value in nulls:
            *way, last = places[number % len(places)]
            inner = row
            for key in way:
                inner = inner[key] if isinstance(inner, list | dict) and key in _keys(inner) else {}
            if last in _keys(inner):
                inner[last] = value
        source = folder / f"{index}.json"
        source.write_text(json.dumps([row]), encoding="utf-8")
        done = import_log(source, load_mapping(format_), out, task="t")
        assert (done.rows, done.imported + done.repeated + done.rejected) == (1, 1)
        assert sum(done.reasons.values()) == done.rejected
        imported_rows += done.imported
        rows[format_] += 1
    if imported_rows:
        with open_warehouse(telemetry=[out]) as house:
            assert house.rows("select * from quarantine") == []
            assert house.rows("select count(*) as n from stg_calls") == [{"n": imported_rows}]


def _keys(value):
    return value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()


# ---- the verb -------------------------------------------------------------------------------------------


def run(*args):
    app = Typer()
    app.command("import")(import_verb)
    return CliRunner().invoke(app, list(map(str, args)))


def test_the_verb_counts_per_source_and_says_each_reason(tmp_path):
    out = tmp_path / "log.jsonl"
    done = run("langfuse", DATA / "langfuse_ui.csv", DATA / "langfuse_page.json", "--out", out)
    assert done.exit_code == 0, done.output
    assert f"5 calls written to {out}" in done.output
    assert "langfuse_page.json: 1 rejected: no model" in done.output
    again = run("langfuse", DATA / "langfuse_ui.csv", "--out", out, "--json")
    assert json.loads(again.stdout) == [
        {
            "source": str(DATA / "langfuse_ui.csv"), "format": "langfuse", "rows": 3, "imported": 0,
            "repeated": 2, "rejected": 1, "notices": {}, "rejected_path": f"{out}.rejected.jsonl",
            "reasons": {"an observation that is no call of a model; only those of type GENERATION are": 1},
        }
    ]  # fmt: skip


def test_the_verb_takes_another_field_for_the_task_and_fails_where_nothing_is_a_call(tmp_path):
    out = tmp_path / "log.jsonl"
    done = run("openrouter", DATA / "openrouter_activity.csv", "--out", out, "--task-field", "api_key_name")
    assert done.exit_code == 0, done.output
    assert {line.record["task"] for line in read_jsonl(out)} == {"本番", "Primary"}
    assert run("openrouter", DATA / "openrouter_daily.json", "--out", out).exit_code == 1
