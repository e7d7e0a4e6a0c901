"""A plan swept once for each combination of seed, limit and tasks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from llmbench.bench import chain, sweep_matrix
from llmbench.errors import LLMBenchError
from tests.sweep_project import copy_notebooks, read_lines, stub_provider, write_project


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    with stub_provider(tmp_path_factory.mktemp("stub"), (5, 10)) as running:
        yield running


@pytest.fixture
def project(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=[f"q{number}" for number in range(6)])
    copy_notebooks(project)
    return project


def planned(project, matrix, choice=None):
    choice = choice or chain.Choice()
    with chain.open_client(project) as client:
        return sweep_matrix.plan_matrix(project, "small", matrix, choice, client)


def test_each_combination_has_its_own_run_and_nothing_is_paid_for_twice(project, stub):
    runs = planned(project, {"limit": [2, 4], "seed": [1, 2]}, chain.Choice(run_id="m"))
    assert [run.run_dir.name for run in runs] == [
        "m-limit_2-seed_1", "m-limit_2-seed_2", "m-limit_4-seed_1", "m-limit_4-seed_2",
    ]  # fmt: skip
    before, parts = stub.count, []
    rows = sweep_matrix.run_plans(project, runs, lambda facts: parts.append(facts["part"]))
    assert [row.error for row in rows] == [None] * 4
    assert list(dict.fromkeys(parts)) == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]
    asked = {(line["cell"]) for line in read_lines(project.ledger) if line["type"] == "result"}
    assert stub.count - before == len(asked) <= 12
    for run in runs:
        results = read_lines(run.run_dir / "results.jsonl")
        assert len(results) == 2 * run.parameters["limit"]
        assert {line["run_id"] for line in results} == {run.run_dir.name}
        assert {path.name for path in (run.run_dir / "notebooks").iterdir()} == set(chain.NOTEBOOKS)


@pytest.mark.parametrize(
    ("matrix", "choice", "said"),
    [
        ({"colour": [1]}, chain.Choice(), "a sweep has no `colour` to choose; it has seed, limit, tasks"),
        ({"limit": [1, 2]}, chain.Choice(limit=3), "`limit` is chosen for all and in the matrix"),
        ({"limit": ["x"]}, chain.Choice(), "`limit` got 'x'; give whole numbers"),
        ({"tasks": ["labels", "nope"]}, chain.Choice(), "has no task 'nope'"),
        ({"tasks": [["labels"], []]}, chain.Choice(), "asks for the same calls as"),
        ({"seed": []}, chain.Choice(), "`seed` has no values"),
    ],
)
def test_a_wrong_matrix_is_refused_before_a_kernel_starts(project, matrix, choice, said):
    with pytest.raises(LLMBenchError) as caught:
        planned(project, matrix, choice)
    assert said in str(caught.value)
    assert not project.reports.exists()


def command(project, *args):
    return [sys.executable, "-m", "llmbench.cli", "sweep", "small", "--project", str(project.root), *args]


def test_the_verb_goes_on_past_a_failed_run_and_ends_with_1(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a", "b", "c"])
    copy_notebooks(project, changed={"run_sweep(": "if choice.limit == 1: raise ValueError('no')\nprint(1)"})
    done = subprocess.run(
        command(project, "--matrix", "limit=1,2", "--run-id", "r", "--json"),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    rows = json.loads(done.stdout)
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert "raised ValueError: no" in rows[0]["error"]
    assert "04_recommend_tiers.ipynb: cell" in rows[1]["error"], "it came as far as its own fault"
    assert done.returncode == 1
    assert done.stderr == "llmbench: 2 of 2 runs failed: r-limit_1, r-limit_2\n"


@pytest.mark.alone
def test_ctrl_c_ends_a_sweep_within_two_seconds_and_its_progress_says_stopped(tmp_path):
    with stub_provider(tmp_path, (50, 80)) as stub:
        project = write_project(tmp_path, stub.port, samples=[f"q{n}" for n in range(200)], concurrency=2)
        copy_notebooks(project)
        started = command(project, "--matrix", "seed=1,2", "--run-id", "r")
        with subprocess.Popen(started, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
            while stub.count < 20:
                assert process.poll() is None
                time.sleep(0.01)
            pressed = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
            assert time.monotonic() - pressed < 2
    assert process.returncode == 130
    assert said == "llmbench: interrupted; what was answered is kept, run it again to go on\n"
    assert json.loads((project.reports / "r-seed_1" / "progress.json").read_text())["state"] == "stopped"
    assert not (project.reports / "r-seed_2").exists()
    lines = read_lines(project.ledger)
    ended = {line["intent_id"] for line in lines if line["type"] != "intent"}
    orphans = [line for line in lines if line["type"] == "intent" and line["intent_id"] not in ended]
    assert orphans == [], "the calls in flight were recorded as interrupted"
