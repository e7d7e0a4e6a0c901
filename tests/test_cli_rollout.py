"""`llmbench rollout`: from calls to evidence to a stop that a client obeys; shadows are no traffic."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmbench import cli
from llmbench.analytics.telemetry_store import DEFAULT_STORE, load_store
from llmbench.analytics.traffic import open_traffic
from llmbench.analytics.usage import usage_report
from llmbench.analytics.warehouse import open_warehouse
from llmbench.bench.datasets.from_log import LogDraw, draft_from_log
from llmbench.errors import ConfigError, LLMBenchError, SweepError
from llmbench.routing.rollout import LOOK_S
from llmbench.telemetry import DEFAULT_LOG_PATH
from tests.rolling import SHADOW, SPLIT, look, open_client, other, project, run, status, the_projects_log  # noqa: F401 (fixtures)
from tests.servers.chat_server import Step, completion

# ---- by hand -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["stop", "resume"])
def test_an_empty_reason_is_refused_and_writes_nothing(project, verb):
    root = project(small=SPLIT)
    for reason in ("", "  "):
        words = ["rollout", verb, "small", "--reason", reason, "--project", str(root)]
        ran = CliRunner().invoke(cli.app, words)
        assert ran.exit_code == 2
        assert "--reason says why" in ran.stderr
    assert not (root / "workspaces" / "rollouts.json").exists()


# ---- end to end ----------------------------------------------------------------------------------------


def test_a_challenger_whose_host_dies_costs_no_call_and_is_stopped(project, other):
    root = project(small=SPLIT | {"share": 1.0})
    with open_client(root) as client:
        answers = [client.call("caption", "hi", routing_key=f"u{at}").model for at in range(20)]
        assert set(answers) == {"d"}
        assert "small: running: 0 of 20 calls failed" in look(root)
        other.close()
        answers = [client.call("caption", "hi", routing_key=f"v{at}").model for at in range(20)]
        assert set(answers) == {"a"}
        said = look(root)
        assert "small: stopped now: 20 of 40 calls failed (allowed 5 %" in said
        time.sleep(LOOK_S + 0.1)
        response = client.call("caption", "hi", routing_key="v1")
        assert response.attempts[0].model == "a"
        assert "it is stopped: 20 of 40 calls failed" in response.reason
    entry = json.loads((root / "workspaces" / "rollouts.json").read_text(encoding="utf-8"))["rollouts"][
        "small"
    ]
    assert (entry["state"], entry["by"], entry["figures"]["alpha"]) == (
        "stopped",
        "llmbench rollout watch",
        0.05,
    )
    assert entry["figures"]["limits"][0]["broken"] == 20
    assert "small: stopped: " in look(root)


@pytest.mark.slow
def test_a_watch_goes_on_by_itself_and_stops_a_slow_shadow(project, other):
    other.answer = lambda _: Step(completion(), delay_s=0.06)
    root = project(slow=SHADOW | {"limits": {"p95_ms": 50}})
    verb = [sys.executable, "-c", "from llmbench.cli import main; main()", "rollout", "watch", "--every", "1"]
    verb += ["--settle", "0"]
    watching = subprocess.Popen([*verb, "--project", root], stdout=subprocess.PIPE, text=True)
    try:
        assert watching.stdout is not None
        assert (
            watching.stdout.readline()
            == "slow: running: 0 of 0 calls took longer than 50 ms (allowed 5 %; " + ("evidence 1 of 20)\n")
        )
        with open_client(root) as client:
            for _ in range(10):
                client.call("caption", "hi")
        said = watching.stdout.readline()
        while "stopped now" not in said:
            assert said.startswith("slow: running")
            said = watching.stdout.readline()
    finally:
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=20)
    assert watching.returncode == 130
    assert "slow: stopped: 10 of 10 calls took longer than 50 ms" in look(root)


def test_a_person_stops_and_resumes_and_the_evidence_begins_anew(project, other):
    other.close()
    root = project(small=SPLIT | {"share": 1.0})
    with open_client(root) as client:
        for at in range(10):
            client.call("caption", "hi", routing_key=f"u{at}")
        look(root)
        assert status(root)[0]["state"] == "stopped"
        assert "small: running" in run("resume", "small", "--project", root, "--reason", "host is back")
        look(root)
        (found,) = status(root)
        assert (found["state"], found["reason"], found["limits"][0]["units"]) == (
            "running",
            "host is back",
            0,
        )
        assert "small: stopped" in run("stop", "small", "--reason", "[b]enough[/b]", "--project", root)
        assert "[b]enough[/b]" in run("status", "--project", root)
        time.sleep(LOOK_S + 0.1)
        assert "it is stopped: [b]enough[/b]" in client.explain("caption", routing_key="u").reasons[-1]


# ---- status --------------------------------------------------------------------------------------------


def test_status_tells_both_arms_with_their_figures(project):
    root = project(small=SPLIT)
    with open_client(root) as client:
        for at in range(30):
            client.call("caption", "hi", routing_key=f"user-{at}")
    (found,) = status(root)
    arms = {arm["arm"]: arm for arm in found["arms"]}
    assert arms["control"]["calls"] + arms["challenger"]["calls"] == 30
    assert arms["challenger"]["failures"] == arms["control"]["failures"] == 0
    assert arms["control"]["cost_usd"] == pytest.approx(arms["control"]["calls"] * 20e-6)
    assert found["limits"][0]["units"] == arms["challenger"]["calls"] > 0
    shown = run("status", "--project", root)
    assert "challenger" in shown
    assert "running" in shown


def test_status_before_any_call_and_without_rollouts(project):
    root = project(small=SPLIT)
    assert "0 calls" in run("status", "--project", root)
    assert "no rollout" in run("status", "--project", project())
    assert "no rollout" in run("watch", "--once", "--project", project())


def test_calls_that_the_caller_or_the_breaker_ended_say_nothing_of_the_challenger(project):
    root = project(small=SPLIT)
    line = {"schema": 1, "task": "caption", "status": "success", "model": "a", "fallback_chain": ["a"]}
    line |= {"rollout": {"name": "small", "mode": "split", "arm": "challenger", "of": None, "models": ["d"]}}
    told = [
        line | {"attempts": [{"model": "d", "error_kind": "circuit_open"}, {"model": "a"}]},
        line | {"status": "fail", "model": None, "error_kind": "cancelled", "attempts": [{"model": "d"}]},
        line | {"attempts": [{"model": "d", "error_kind": "timeout"}, {"model": "a"}]},
        line | {"model": "d", "attempts": [{"model": "d"}]},
    ]
    log = root / "told.jsonl"
    texts = [
        json.dumps(each | {"timestamp": f"2026-11-01T00:00:0{at}Z", "call_id": f"c{at}", "latency_ms": 5})
        for at, each in enumerate(told)
    ]
    log.write_text("\n".join(texts) + "\n", encoding="utf-8")
    (found,) = status(root, "--log", log)
    (arm,) = found["arms"]
    assert (arm["calls"], arm["counted"], arm["failures"]) == (4, 2, 1)
    assert (found["limits"][0]["units"], found["limits"][0]["broken"]) == (2, 1)


@pytest.mark.parametrize("verb", ["stop", "resume"])
def test_an_unknown_rollout_is_named_with_the_nearest_one(project, verb):
    root = project(small=SPLIT)
    words = [verb, "smal", "--reason", "x", "--project", root]
    with pytest.raises(ConfigError, match="no rollout 'smal'; did you mean 'small'"):
        run(*words)


def test_a_stop_file_that_cannot_be_used_is_said_and_left_alone(project):
    root = project(small=SPLIT)
    path = root / "workspaces" / "rollouts.json"
    path.parent.mkdir(parents=True)
    path.write_text("{", encoding="utf-8")
    for words in (["status"], ["watch", "--once"], ["resume", "small"]):
        with pytest.raises(SweepError, match="the router stops every rollout until the file is repaired"):
            run(*words, "--project", root)
    assert path.read_text(encoding="utf-8") == "{"


def test_one_look_that_fails_raises_its_error(project):
    root = project(small=SPLIT)
    shutil.rmtree(root / "configs")
    with pytest.raises(LLMBenchError):
        run("watch", "--once", "--project", root)


# ---- shadows are no traffic ----------------------------------------------------------------------------


@pytest.fixture
def shadowed(project, other) -> Path:
    """A project whose log has ten calls and ten shadows, five of which failed."""
    other.script["m-d"] = [Step(completion())] * 5 + [Step({"error": {"message": "no"}}, status=401)]
    root = project(content=True, beside=SHADOW)
    with open_client(root) as client:
        for at in range(10):
            client.call("caption", f"prompt number {at} of its own")
    return root


def test_shadows_count_in_no_figure_of_the_callers_calls(shadowed):
    with open_warehouse(telemetry=[shadowed / DEFAULT_LOG_PATH]) as warehouse:
        assert warehouse.rows("select count(*) as n, count(rollout) as r from stg_calls") == [
            {"n": 10, "r": 10}
        ]
        for view in (
            "mart_usage",
            "mart_costs",
            "mart_call_errors",
            "mart_attempts",
            "mart_drift",
            "mart_budget",
        ):
            text = json.dumps(warehouse.rows(f"select * from {view}"), default=str)  # noqa: S608
            assert '"d"' not in text, view
        (usage,) = warehouse.rows("select calls, failures, cost_usd from mart_usage")
        assert (usage["calls"], usage["failures"]) == (10, 0)
        (beside,) = warehouse.rows("select * from mart_rollouts where arm = 'challenger'")
    assert (beside["calls"], beside["shadows"], beside["failures"]) == (10, 10, 5)
    assert beside["cost_usd"] == pytest.approx(5 * 16e-6)
    assert usage["cost_usd"] == pytest.approx(10 * 20e-6)


def test_usage_tells_what_shadows_cost_apart(shadowed):
    with open_warehouse(telemetry=[shadowed / DEFAULT_LOG_PATH]) as warehouse:
        told = usage_report(warehouse).to_dict()
    assert (told["rows"], told["failures"], told["shadow_calls"]) == (10, 0, 10)
    assert (told["cost_usd"], told["shadow_cost_usd"]) == (pytest.approx(200e-6), pytest.approx(80e-6))
    shown = CliRunner().invoke(cli.app, ["usage", "--project", str(shadowed)]).stdout
    assert "beside these, 10 shadow calls of rollouts cost $0.00008" in shown


def test_the_traffic_tables_leave_shadows_out(shadowed):
    with open_traffic(shadowed / DEFAULT_LOG_PATH) as traffic:
        assert traffic.frame("select count(*) as n from stg_calls")["n"].tolist() == [10]


def test_a_dataset_is_drawn_from_callers_calls_alone(shadowed):
    draft = draft_from_log([shadowed / DEFAULT_LOG_PATH], LogDraw(task="caption", n=50))
    assert len(draft.rows) == 10
    assert draft.source["counts"]["a rollout's shadow of a call"] == 10
    assert set(draft.source["counts"]) >= {"calls with a prompt", "drawn"}


def test_a_store_made_before_there_were_rollouts_is_read_and_loaded_into(shadowed, tmp_path):
    import duckdb

    store = shadowed / DEFAULT_STORE
    load_store(store, [shadowed / DEFAULT_LOG_PATH])
    with duckdb.connect(str(store)) as con:
        con.execute("delete from loaded_calls where rollout.of is not null")
        con.execute("alter table loaded_calls drop column rollout")
    with open_warehouse(store=store) as warehouse:
        assert warehouse.rows("select count(*) as n, count(rollout) as r from stg_calls") == [
            {"n": 10, "r": 0}
        ]
    more = tmp_path / "more.jsonl"
    lines = (shadowed / DEFAULT_LOG_PATH).read_text(encoding="utf-8").splitlines()
    again = [json.dumps(json.loads(line) | {"call_id": f"again-{at}"}) for at, line in enumerate(lines)]
    more.write_text("\n".join(again) + "\n", encoding="utf-8")
    load_store(store, [more])
    with open_warehouse(store=store) as warehouse:
        assert warehouse.rows("select count(*) as n, count(rollout) as r from stg_calls") == [
            {"n": 20, "r": 10}
        ]


def test_a_line_whose_rollout_is_no_object_goes_to_quarantine(project, tmp_path):
    log = tmp_path / "odd.jsonl"
    line = {
        "schema": 1,
        "task": "t",
        "status": "success",
        "timestamp": "2026-11-01T00:00:00Z",
        "rollout": "x",
    }
    log.write_text(json.dumps(line) + "\n", encoding="utf-8")
    with open_warehouse(telemetry=[log]) as warehouse:
        assert warehouse.rows("select reason from quarantine") == [{"reason": "type_mismatch"}]
