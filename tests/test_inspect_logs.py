"""Logs of Inspect AI as a table of results: every sample a row, and a verdict at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("inspect_ai", reason='Inspect is not installed: pip install "llmbench[inspect]"')

import yaml
from inspect_ai.log import (
    EvalRetryError,
    EvalSampleLimit,
    ProvenanceData,
)
from inspect_ai.model import ChatMessageUser, ModelOutput, ModelUsage
from typer.testing import CliRunner

from llmbench.cli import app
from llmbench.errors import DatasetError
from llmbench.interop.inspect_results import import_results
from llmbench.jsonl import read_jsonl
from tests.conftest import models, provider
from tests.inspect_logs import only_row, rows_of, sample, write_log
from tests.servers.chat_server import ChatServer, Step, completion

# ---- rows


@pytest.mark.parametrize("suffix", [".eval", ".json"])
def test_a_sample_is_a_row_with_what_decide_reads(tmp_path, suffix):
    (row,) = rows_of(tmp_path, write_log(tmp_path / f"log{suffix}", [sample()]))
    assert {name: row[name] for name in ("task", "model", "sample_id", "cluster", "repeat")} == {
        "task": "sums",
        "model": "openai/gpt-4o",
        "sample_id": "s1",
        "cluster": "s1",
        "repeat": 0,
    }
    assert (row["status"], row["score"], row["scorer"], row["latency_ms"]) == ("ok", 1.0, "match", 500.0)
    assert (row["input_tokens"], row["output_tokens"], row["model_version"]) == (100, 10, "served-1")
    assert (row["cost_source"], row["run_id"]) == ("genai-prices", f"eval of log{suffix}")
    assert row["cost_usd"] > 0
    assert "question 1" not in json.dumps(row)


def test_rows_stand_in_the_datasets_order_and_not_in_that_of_their_ends(tmp_path):
    log = write_log(tmp_path / "a.eval", [sample(2), sample(3), sample(1)], ids=["s1", "s2", "s3"])
    assert [row["sample_id"] for row in rows_of(tmp_path, log)] == ["s1", "s2", "s3"]


def test_the_name_that_inspect_gives_a_failure_is_no_version(tmp_path):
    failed = sample(error="boom", output=ModelOutput(model="openai/gpt-4o"))
    assert only_row(tmp_path, failed)["model_version"] is None


def test_epochs_are_repeats(tmp_path):
    log = write_log(tmp_path / "a.eval", [sample(epoch=1), sample(value="I", epoch=2)], epochs=2)
    assert [(row["repeat"], row["score"]) for row in rows_of(tmp_path, log)] == [(0, 1.0), (1, 0.0)]


@pytest.mark.parametrize(
    ("fields", "status", "kind"),
    [
        ({"error": "boom"}, "error", None),
        ({"error": "llmbench server_error: no candidate answered"}, "error", "server_error"),
        ({"error": "ProviderError('llmbench connect: no candidate answered')"}, "error", "connect"),
        ({"error": "llmbench rate_limit: no candidate answered"}, "harness", "rate_limit"),
        ({"error": "llmbench auth: no candidate answered"}, "harness", "auth"),
        ({"error": "RouteError('llmbench not_sent: no candidate for task …')"}, "harness", None),
        ({"error": "llmbench timeout: no candidate answered"}, "timeout", "timeout"),
        ({"error": "llmbench circuit_open: no candidate answered"}, "harness", "circuit_open"),
        ({"error": "llmbench budget: used up"}, "harness", None),
        ({"error": "CancelledError('scope')"}, "harness", "cancelled"),
        ({"value": None, "limit": EvalSampleLimit(type="time", limit=1)}, "timeout", "timeout"),
        ({"value": None, "limit": EvalSampleLimit(type="token", limit=1)}, "error", None),
        ({"value": None, "limit": EvalSampleLimit(type="operator", limit=1)}, "harness", None),
        ({"value": None}, "harness", None),
        ({"value": float("nan")}, "harness", None),
        ({"invalidation": ProvenanceData(author="x")}, "harness", None),
        ({"working_time": None, "total_time": None}, "harness", None),
        ({"value": "I", "limit": EvalSampleLimit(type="token", limit=1)}, "ok", None),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else str(value),
)
def test_what_did_not_end_well_is_a_row_that_says_how(tmp_path, fields, status, kind):
    row = only_row(tmp_path, sample(**fields))
    assert (row["status"], row["error_kind"]) == (status, kind)
    assert row["score"] == (None if status == "harness" else 0.0)


def test_what_an_interrupted_eval_did_not_run_is_pending(tmp_path):
    log = write_log(tmp_path / "a.eval", [sample(1)], ids=["s1", "s2"], status="cancelled")
    (done,) = import_results([log], tmp_path / "table.jsonl")
    assert (done.ok, done.pending) == (1, 1)
    assert done.notes == {"pending: not run: the log ended as cancelled": 1}


def test_what_our_own_provider_wrote_is_used(tmp_path):
    output = ModelOutput.from_content("b", "yes")
    output.metadata = {
        "llmbench": {"call_id": "c1", "model_version": "v2", "cost_usd": 0.5, "cost_source": "registry"}
    }
    usage = {"llmbench/cheap": ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2, total_cost=0.5)}
    log = write_log(tmp_path / "a.eval", [sample(output=output, model_usage=usage)], model="llmbench/cheap")
    (row,) = rows_of(tmp_path, log)
    assert (row["call_id"], row["model_version"]) == ("c1", "v2")
    assert (row["cost_usd"], row["cost_source"]) == (0.5, "registry")


def test_a_tier_that_fell_back_is_measured_as_one(tmp_path):
    def answered(number, version):
        output = ModelOutput.from_content("x", "yes")
        output.metadata = {
            "llmbench": {"call_id": f"c{number}", "model": f"m{version}", "model_version": version}
        }
        return sample(number, output=output)

    log = write_log(tmp_path / "a.eval", [answered(1, "v1"), answered(2, "v2")], model="llmbench/cheap")
    (done,) = import_results([log], tmp_path / "table.jsonl")
    assert [line.record["model_version"] for line in read_jsonl(tmp_path / "table.jsonl")] == [None, None]
    assert done.notes["answered by 2 models of the tier, measured as one"] == 2


def test_an_answer_without_a_version_leaves_the_version_of_the_others(tmp_path):
    """One that was cut off is an attempt of the same model whose version nobody told."""

    def answered(number, **version):
        output = ModelOutput.from_content("c", "yes")
        output.metadata = {"llmbench": {"call_id": f"c{number}", "model": "c", **version}}
        return sample(number, output=output)

    both = [answered(1, model_version="v1"), answered(2)]
    log = write_log(tmp_path / "a.eval", both, model="llmbench/c")
    (done,) = import_results([log], tmp_path / "table.jsonl")
    assert [line.record["model_version"] for line in read_jsonl(tmp_path / "table.jsonl")] == ["v1", None]
    assert not any(note.startswith("answered by") for note in done.notes)


def test_a_cost_that_nobody_knows_is_empty_and_said(tmp_path):
    usage = {"some/model": ModelUsage(input_tokens=1), "openai/grader": ModelUsage(total_cost=9.0)}
    log = write_log(tmp_path / "a.eval", [sample(model_usage=usage)], model="some/model")
    (done,) = import_results([log], tmp_path / "table.jsonl")
    (row,) = (line.record for line in read_jsonl(tmp_path / "table.jsonl"))
    assert row["cost_usd"] is None
    assert any(note.startswith("without a cost: unknown: import:inspect") for note in done.notes)


def test_tries_of_inspect_are_said(tmp_path):
    again = EvalRetryError(message="x", traceback="", traceback_ansi="")
    log = write_log(tmp_path / "a.eval", [sample(error_retries=[again])])
    (done,) = import_results([log], tmp_path / "table.jsonl")
    assert any(note.startswith("tried again by Inspect") for note in done.notes)


def test_a_cluster_comes_from_the_samples_metadata(tmp_path):
    assert only_row(tmp_path, sample(metadata={"show": 7}, id="s9", epoch=2))["cluster"] == "s9"
    log = write_log(tmp_path / "a.eval", [sample(metadata={"show": 7})])
    assert rows_of(tmp_path, log, cluster="show")[0]["cluster"] == "7"
    with pytest.raises(DatasetError, match="has no metadata 'film' for its --cluster; it has: 'show'"):
        rows_of(tmp_path, log, cluster="film")


# ---- several logs


def test_logs_of_two_models_are_one_table_under_the_names_that_were_given(tmp_path):
    logs = [write_log(tmp_path / f"{name}.eval", [sample()], model=f"openai/{name}") for name in ("a", "b")]
    rows = rows_of(tmp_path, *logs, models={"openai/a": "ours"}, task="adding")
    assert [(row["task"], row["model"], row["model_id"]) for row in rows] == [
        ("adding", "ours", "openai/a"),
        ("adding", "openai/b", "openai/b"),
    ]
    with pytest.raises(DatasetError, match="--model 'openai/z': the logs have: openai/a, openai/b"):
        rows_of(tmp_path, *logs, models={"openai/z": "ours"})


def test_a_model_that_was_measured_twice_is_refused(tmp_path):
    logs = [write_log(tmp_path / f"{name}.eval", [sample()]) for name in ("a", "b")]
    with pytest.raises(DatasetError, match=r"a.eval and .*b.eval both measure openai/gpt-4o on sums"):
        rows_of(tmp_path, *logs)


def test_a_retry_replaces_what_it_finished_and_keeps_the_rest(tmp_path):
    first = [sample(1, "I"), sample(2, error="boom")]
    write_log(tmp_path / "a.eval", first, task_id="t", ids=["s1", "s2", "s3"], status="error")
    later = {"created": "2026-11-01T10:00:00+00:00", "status": "cancelled"}
    write_log(tmp_path / "b.eval", [sample(2)], task_id="t", ids=["s1", "s2", "s3"], **later)
    done = import_results([tmp_path], tmp_path / "table.jsonl")
    rows = [line.record for line in read_jsonl(tmp_path / "table.jsonl")]
    assert [(row["sample_id"], row["status"], row["score"]) for row in rows] == [
        ("s1", "ok", 0.0),
        ("s2", "ok", 1.0),
        ("s3", "harness", None),
    ]
    assert [one.rows for one in done] == [0, 3]
    assert done[0].notes["replaced by a retry of the same eval"] == 3


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (sample(input="another question"), "sample 's1' is not the same in both, 1 of 1 differ"),
        (sample(target="no"), "sample 's1' is not the same in both"),
        (sample(2), "have no sample in common"),
    ],
    ids=["input", "target", "ids"],
)
def test_logs_of_different_samples_are_refused(tmp_path, other, said):
    logs = [write_log(tmp_path / "a.eval", [sample()]), write_log(tmp_path / "b.eval", [other], model="x/y")]
    with pytest.raises(DatasetError, match=said):
        rows_of(tmp_path, *logs)


def test_messages_are_the_same_whatever_ids_inspect_gave_them(tmp_path):
    logs = [
        write_log(
            tmp_path / f"{name}.eval", [sample(input=[ChatMessageUser(content="hi")])], model=f"x/{name}"
        )
        for name in ("a", "b")
    ]
    first, second = rows_of(tmp_path, *logs)
    assert first["prompt_sha256"] == second["prompt_sha256"]


def test_a_sample_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="sample '1' stands twice in epoch 1"):
        rows_of(tmp_path, write_log(tmp_path / "a.json", [sample(id=1), sample(id="1")]))


def test_the_table_of_a_run_is_not_written_over(tmp_path):
    log = write_log(tmp_path / "a.eval", [sample()])
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(DatasetError, match="a table of its own"):
        import_results([log], tmp_path / "results.jsonl")
    with pytest.raises(DatasetError, match=r"ends in \.jsonl"):
        import_results([log], tmp_path / "results.csv")


# ---- from two evals to a verdict

TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import match

@task
def sums():
    samples = [Sample(id=n, input=f"{n} + 1 =", target=str(n + 1)) for n in range(24)]
    return Task(dataset=samples, scorer=match())
"""


def adder(request):
    """Model `good` and `equal` can add; `poor` is wrong by one, and fails sometimes."""
    number = int(request.json["messages"][-1]["content"].split()[0])
    if request.json["model"] != "m-poor":
        return Step(completion(str(number + 1)))
    if number % 10 == 0:
        return Step({"error": {"message": "no"}}, status=500)
    return Step(completion(str(number + 2)))


@pytest.fixture(scope="module")
def evals(tmp_path_factory):
    """The logs of one eval on three models of a config, run as a person runs it."""
    folder = tmp_path_factory.mktemp("evals")
    with ChatServer() as server:
        server.answer = adder
        prices = {"good": 4.0, "equal": 1.0, "poor": 1.0}
        registry = {}
        for name, usd in prices.items():
            registry |= models(name, price={"input": usd, "output": usd})
        files = {
            "llm_router": {"providers": {"stub": provider(server.url)}},
            "llm_model_registry": {"models": registry},
            "llm_tier_candidates": {"tiers": {"standard": ["good"]}},
            "llm_fallback_policy": {"backoff_sec": 0, "breaker": {"failures": 1000}},
        }
        (folder / "configs").mkdir()
        for name, content in files.items():
            (folder / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        (folder / "task.py").write_text(TASK, encoding="utf-8")
        command = [Path(sys.executable).with_name("inspect"), "eval", "task.py", "--display", "none"]
        command += ["--model", "llmbench/good,llmbench/equal,llmbench/poor", "-M", "configs=configs"]
        command += ["--no-fail-on-error", "--log-dir", "logs"]
        environment = {**os.environ, "HOME": str(folder), "STUB_KEY": "k"}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def invoke(*args):
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.drop")  # DuckDB's times under pandas 3.1
def test_logs_of_real_evals_end_in_a_verdict(evals, tmp_path):
    table = tmp_path / "table.jsonl"
    names = [item for name in ("good", "equal", "poor") for item in ("--model", f"llmbench/{name}={name}")]
    done = invoke("results", "import", "inspect", evals / "logs", "--out", table, *names)
    assert done.exit_code == 0, done.output
    assert "72 rows written" in done.stdout
    assert "3 failed, scores 0: server_error" in done.stderr
    verdict = invoke("decide", table, "--reference", "good", "--margin", "0.3", "--json")
    assert verdict.exit_code == 0, verdict.output
    decision = json.loads(verdict.stdout)
    assert (decision["outcome"], decision["choice"]) == ("promote", "equal")
    states = {one["model"]: one["state"] for one in decision["candidates"]}
    assert (states["equal"], states["poor"]) == ("promote", "worse")


def test_the_summary_for_a_machine_counts_every_sample(evals, tmp_path):
    done = invoke("results", "import", "inspect", evals / "logs", "--out", tmp_path / "t.jsonl", "--json")
    counts = {one["model"]: (one["ok"], one["failed"], one["pending"]) for one in json.loads(done.stdout)}
    assert counts == {"llmbench/good": (24, 0, 0), "llmbench/equal": (24, 0, 0), "llmbench/poor": (21, 3, 0)}


def test_a_log_without_a_result_exits_with_1(tmp_path):
    log = write_log(tmp_path / "a.eval", [sample(error="CancelledError('x')")], status="cancelled")
    assert invoke("results", "import", "inspect", log, "--out", tmp_path / "t.jsonl").exit_code == 1


@pytest.mark.parametrize("pair", ["x", "=y", "x="])
def test_a_name_that_is_no_pair_is_refused(tmp_path, pair):
    log = write_log(tmp_path / "a.eval", [sample()])
    done = invoke("results", "import", "inspect", log, "--out", tmp_path / "t.jsonl", "--model", pair)
    assert done.exit_code == 1
    assert "write the log's model and its new name" in done.stderr


def test_names_of_strangers_are_shown_and_not_obeyed(tmp_path):
    log = write_log(tmp_path / "a.eval", [sample()], model="openai/[red]x\x1b[2J")
    done = invoke("results", "import", "inspect", log, "--out", tmp_path / "t.jsonl")
    assert "[red]x" in done.stdout
    assert "\x1b" not in done.stdout
