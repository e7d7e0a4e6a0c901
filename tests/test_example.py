"""The committed example run: the same calls score, decide and draw to the same bytes today."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from llmbench.analytics.render import render_report
from llmbench.bench import chain, run_decisions
from llmbench.bench.notebooks import run_chain
from llmbench.bench.sweep import run_sweep

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "reports" / "example"
CALLS = EXAMPLE / "calls.jsonl"


@pytest.fixture
def project(tmp_path):
    """The shipped configs, datasets and notebooks, with a reports folder of the test's own."""
    for name in ("configs", "datasets", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    return chain.Project(tmp_path)


def replay(project, **choice):
    chosen = chain.Choice(replay=CALLS, **choice)
    with chain.open_client(project, replay=CALLS) as client:
        plan = chain.find_plan(project, "default", chosen, client)
        return run_sweep(
            plan, client, ledger=CALLS, reports=project.reports, run_id=chosen.run_id, replay=True
        )


def test_the_example_is_a_full_run_of_the_default_plan(project):
    run = replay(project, run_id="example")
    plan = json.loads((EXAMPLE / "plan.json").read_text(encoding="utf-8"))
    assert run.cells == len((EXAMPLE / "results.jsonl").read_text(encoding="utf-8").splitlines())
    assert run.pending == 0
    full = [task for task in plan["tasks"].values() if task["clusters"] >= 160]
    assert len(full) == 2
    assert plan["margin"] == 0.10


def test_the_same_calls_give_the_same_rows_verdicts_and_report(project):
    run = replay(project, run_id="example")
    assert (run.run_dir / "results.jsonl").read_bytes() == (EXAMPLE / "results.jsonl").read_bytes()
    shutil.copy(EXAMPLE / "plan.json", run.run_dir / "plan.json")  # it names the machine that was measured
    run_decisions.write_recommendation(project, run.run_dir)
    render_report(run.run_dir)
    names = ["recommendation.json", "recommendation.diff", "report.html", "report.md"]
    names += [f"figures/{path.name}" for path in sorted((EXAMPLE / "figures").glob("*.svg"))]
    assert len(names) > 4
    for name in names:
        assert (run.run_dir / name).read_bytes() == (EXAMPLE / name).read_bytes(), name


@pytest.mark.parametrize(
    "chosen",
    [{"tasks": ["caption"], "limit": 4, "run_id": "one"}, {"limit": 6, "run_id": "many"}],
    ids=["one task", "all tasks"],
)
def test_the_notebooks_run_through_papermill_with_other_parameters(project, chosen):
    """nbval replays the committed notebooks with their defaults; this is the way of `llmbench sweep`."""
    root = str(project.root)
    sweep = {"root": root, "replay": str(CALLS), **chosen}
    later = {"root": root, "run_id": chosen["run_id"]}
    steps = [(project.notebooks / name, later) for name in chain.NOTEBOOKS]
    steps[0] = (steps[0][0], sweep)
    runs = run_chain(steps, project.reports / chosen["run_id"] / "notebooks", timeout_s=200)
    assert [run.output.exists() for run in runs] == [True] * 3
    last = json.loads(runs[-1].output.read_text(encoding="utf-8"))["cells"][-1]["outputs"][0]["text"]
    assert "".join(last).startswith("OK {'")
    assert (project.reports / chosen["run_id"] / "report.html").is_file()
