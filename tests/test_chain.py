"""The main job around the notebooks: what is checked first, which files are used, what it has to say."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from llmbench.bench import chain, run_decisions
from llmbench.bench.ledger import Ledger
from llmbench.bench.progress import Progress, ProgressFile, read_progress
from llmbench.errors import LLMBenchError, NotebookError, SweepError
from tests.sweep_project import (
    ROOT,
    copy_notebooks,
    frozen_plan,
    open_project_client,
    stub_provider,
    sweep,
    write_project,
)


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    with stub_provider(tmp_path_factory.mktemp("stub")) as running:
        yield running


@pytest.fixture
def project(tmp_path, stub):
    return write_project(tmp_path, stub.port, samples=["a", "b", "c", "#429"])


def run(project, choice=None, name="small", watch=lambda _facts: None):
    choice = choice or chain.Choice()
    with chain.open_client(project, replay=choice.replay) as client:
        plan = chain.find_plan(project, name, choice, client)
    chain.run_plan(project, name, plan, choice, watch)
    return plan


def test_importing_the_chain_does_not_load_what_runs_notebooks():
    program = (
        "import sys, llmbench.bench.chain\n"
        "heavy = {'papermill', 'nbformat', 'nbclient', 'pandas', 'numpy', 'duckdb', 'scipy', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_a_busy_ledger_is_refused_before_the_running_sweeps_folder_is_touched(project):
    copy_notebooks(project)
    with open_project_client(project) as client:
        run_dir = project.reports / frozen_plan(project, client).run_id
    run_dir.mkdir(parents=True)
    (run_dir / "progress.json").write_text('{"state": "running"}')
    with Ledger(project.ledger).opened(), pytest.raises(SweepError, match="another sweep is writing"):
        run(project)
    assert [path.name for path in run_dir.iterdir()] == ["progress.json"]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (chain.Choice(run_id="../x"), "cannot be a folder's name"),
        (chain.Choice(tasks=("nope",)), "has no task 'nope'"),
        (chain.Choice(replay=ROOT / "nowhere.jsonl"), "there is no recorded ledger"),
    ],
)
def test_a_wrong_choice_is_refused_before_a_kernel_starts(project, choice, said):
    copy_notebooks(project)
    with pytest.raises(SweepError, match=said):
        run(project, choice)
    assert not project.reports.exists()


def test_a_project_without_its_notebooks_is_told_where_to_run(project):
    with pytest.raises(SweepError, match=r"01_sweep\.ipynb is missing; run this in the project's folder"):
        run(project)


def test_a_plan_is_found_by_name_and_by_path(project, tmp_path):
    other = tmp_path / "elsewhere.yml"
    other.write_bytes((project.configs / "sweeps" / "small.yaml").read_bytes())
    with open_project_client(project) as client:
        found = [chain.find_plan(project, name, chain.Choice(), client) for name in ("small", str(other))]
        assert found[0].run_id == found[1].run_id
        with pytest.raises(SweepError, match=r"no sweep plan nope\.yaml in .*; there are: small"):
            chain.find_plan(project, "nope", chain.Choice(), client)


# ---- clients


def test_the_log_lies_in_the_project_wherever_this_runs(project, monkeypatch, tmp_path):
    for value, wanted in (
        (None, project.root / "workspaces" / "logs" / "llm_usage.jsonl"),
        ("logs/own.jsonl", project.root / "logs" / "own.jsonl"),
        (str(tmp_path / "abs.jsonl"), tmp_path / "abs.jsonl"),
    ):
        if value is None:
            monkeypatch.delenv("LLM_ROUTER_LOG_PATH")
        else:
            monkeypatch.setenv("LLM_ROUTER_LOG_PATH", value)
        with chain.open_client(project) as client:
            assert client.router.log.path == wanted


def test_a_replay_needs_no_key_no_model_and_cannot_send(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a", "b"])
    first = sweep(project)
    router = project.configs / "llm_router.yaml"
    config = yaml.safe_load(router.read_text())
    config["providers"]["stub"]["env_api_key"] = "NOT_SET"
    router.write_text(yaml.safe_dump(config))
    with (
        open_project_client(project) as client,
        pytest.raises(SweepError, match="no candidate can be called"),
    ):
        frozen_plan(project, client)
    seen = stub.count
    from llmbench.bench.sweep import run_sweep

    with chain.open_client(project, replay=first.run_dir / "calls.jsonl") as client:
        plan = frozen_plan(project, client)
        again = run_sweep(
            plan, client, ledger=first.run_dir / "calls.jsonl", reports=tmp_path / "r", replay=True
        )
        with pytest.raises(LLMBenchError):
            client.call("labels", "is anybody there?")
    assert (again.run_dir / "results.jsonl").read_bytes() == (first.run_dir / "results.jsonl").read_bytes()
    assert stub.count == seen


def test_a_replay_is_routed_as_where_it_was_recorded(tmp_path, stub):
    """A model ahead in the tier that nobody recorded is not the reference of the replay."""
    project = write_project(tmp_path, stub.port, samples=["a", "b"])
    first = sweep(project)
    tiers = project.configs / "llm_tier_candidates.yaml"
    registry = project.configs / "llm_model_registry.yaml"
    models = yaml.safe_load(registry.read_text())
    models["models"]["far"] = models["models"]["beta"] | {"model_name": "far-1"}
    registry.write_text(yaml.safe_dump(models))
    tiers.write_text("tiers: {standard: [far, alpha, beta]}\n")
    with chain.open_client(project, replay=first.run_dir / "calls.jsonl") as client:
        plan = frozen_plan(project, client)
    assert (plan.tasks[0].reference, plan.unreachable) == ("alpha", ("far",))


def test_a_recommendation_leaves_models_that_could_not_be_called_where_they_stand(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a", "b", "c"])
    first = sweep(project)
    tiers = project.configs / "llm_tier_candidates.yaml"
    tiers.write_text("tiers: {standard: [far, alpha, beta]}\n")
    registry = project.configs / "llm_model_registry.yaml"
    models = yaml.safe_load(registry.read_text())
    models["models"]["far"] = models["models"]["beta"] | {"model_name": "far-1"}
    registry.write_text(yaml.safe_dump(models))
    plan = first.run_dir / "plan.json"
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"unreachable": ["far"]}))
    (row,) = run_decisions.recommendation(project, first.run_dir)["tiers"]
    assert row["first"] == "alpha"


def test_a_replay_of_the_shipped_plan_knows_the_local_models_by_their_pinned_versions():
    from llmbench.bench.cells import make_cells

    project = chain.Project(ROOT)
    with chain.open_client(project, replay=ROOT / "reports" / "example" / "calls.jsonl") as client:
        plan = chain.find_plan(project, "default", chain.Choice(limit=2), client)
        assert all(facts["version"].startswith("sha256:") for facts in plan.models.values())
        assert {cell.model for cell in make_cells(plan, client)} == set(plan.candidates)


# ---- what a run folder is for


def test_a_run_folder_that_lacks_its_rows_or_holds_no_json_is_one_line(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a", "b", "c"])
    finished = sweep(project)
    for name in ("results.jsonl", "plan.json"):
        text = (finished.run_dir / name).read_bytes()
        (finished.run_dir / name).write_bytes(text[: len(text) // 2])
        with pytest.raises(SweepError, match="not JSON"):
            run_decisions.recommendation(project, finished.run_dir)
        (finished.run_dir / name).unlink()
        with pytest.raises(SweepError, match="is missing; run the sweep first"):
            run_decisions.recommendation(project, finished.run_dir)
        (finished.run_dir / name).write_bytes(text)
    with pytest.raises(SweepError, match=r"no readable recommendation\.json"):
        chain.summary(project, None, chain.Choice(run_id=finished.run_dir.name))


def test_a_recommendation_counts_the_pending_cells_and_is_written_whole(project):
    finished = sweep(project)
    assert finished.pending == 2
    decided = run_decisions.write_recommendation(project, finished.run_dir)
    assert json.loads((finished.run_dir / "recommendation.json").read_text()) == decided
    assert (finished.run_dir / "recommendation.diff").read_text() == decided["diff"]
    assert "2 of 8 calls are still to be run." in decided["tasks"][0]["sentence"]


def test_the_warehouse_reads_all_runs_or_those_named(tmp_path):
    with stub_provider(tmp_path) as stub:
        project = write_project(tmp_path, stub.port, samples=["a", "b"])
        first = sweep(project)
        second = sweep(project, run_id="second")
    everything = chain.warehouse_sources(project)
    assert set(everything.run_dirs) == {first.run_dir, second.run_dir}
    assert everything.ledgers == (project.ledger,)
    assert chain.warehouse_sources(project, ["second"]).run_dirs == (second.run_dir,)
    assert chain.warehouse_sources(project, [str(first.run_dir)]).run_dirs == (first.run_dir,)
    with pytest.raises(SweepError, match=r"nope.* does not exist"):
        chain.warehouse_sources(project, ["nope"])


def test_the_warehouse_and_the_servers_count_agree(tmp_path):
    from llmbench.analytics.warehouse import open_warehouse
    from llmbench.telemetry import DEFAULT_LOG_PATH

    with stub_provider(tmp_path) as stub:
        project = write_project(tmp_path, stub.port, samples=["a", "b", "#401", "#500"])
        sweep(project)
        sweep(project)
        sources = chain.warehouse_sources(project)
        log = project.root / DEFAULT_LOG_PATH
        with open_warehouse(run_dirs=sources.run_dirs, ledgers=sources.ledgers, telemetry=[log]) as warehouse:
            (books,) = warehouse.rows("select * from mart_reconciliation")
        assert books["intents"] == books["telemetry_lines"] == stub.count == 10
        assert (books["results"], books["given_back"], books["orphans"], books["unannounced"]) == (6, 4, 0, 0)
        assert (books["rows"], books["pending"]) == (8, 2)


def test_progress_is_passed_on_while_the_notebooks_run_and_once_more_in_the_end(tmp_path):
    path, seen = tmp_path / "progress.json", []
    with chain.watched(path, seen.append):
        path.write_text("torn {")
        path.write_text('{"done": 1}')
        while not seen:
            time.sleep(0.01)
        path.write_text('{"done": 2}')
    assert seen[0] == {"done": 1}
    assert seen[-1] == {"done": 2}


def test_a_sweep_whose_notebook_was_ended_says_stopped_and_a_finished_one_stays_done(tmp_path):
    path, seen = tmp_path / "progress.json", []
    for state, shown in (("running", "stopped"), ("done", "done")):
        with contextlib.suppress(KeyboardInterrupt), chain.watched(path, seen.append):
            ProgressFile(path).show(Progress(planned=2, cached=0, state=state), now=True)
            raise KeyboardInterrupt
        assert seen[-1]["state"] == read_progress(path)["state"] == shown
        assert json.loads(path.read_text())["state"] == shown


@pytest.mark.parametrize("how", ["kernel killed", "interrupted"])
def test_a_sweep_that_is_ended_midway_leaves_its_progress_as_stopped(tmp_path, how):
    """Its own kernel is killed, which can say nothing; or its cell is interrupted, and says so itself."""
    with stub_provider(tmp_path, (50, 80)) as stub:
        project = write_project(tmp_path, stub.port, samples=[f"q{number}" for number in range(200)])
        copy_notebooks(project)
        path = project.reports / "r" / "progress.json"

        def end(facts):
            if facts["done"] > 3 and facts["state"] == "running":
                if how == "kernel killed":
                    os.kill(facts["pid"], signal.SIGKILL)
                else:
                    os.kill(facts["pid"], signal.SIGINT)

        with pytest.raises(NotebookError):
            run(project, chain.Choice(run_id="r"), watch=end)
    facts = json.loads(path.read_text())
    assert facts["state"] == "stopped"
    assert ("ended" in facts) == (how == "kernel killed")
