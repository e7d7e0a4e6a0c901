"""A live race: only the calls that the rule needs, resumed, replayed, topped up, and equal to the table's."""

from __future__ import annotations

import _thread
import json

import pandas as pd
import pytest
import yaml

from llmbench.bench.progress import read_progress
from llmbench.bench.recommend import decide_tasks
from llmbench.bench.run_folder import CALLS_FILE
from tests.sweep_project import read_lines, rows_of, stub_provider, sweep, write_project

SAMPLES = tuple(f"sample {number}" for number in range(120))


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    with stub_provider(tmp_path_factory.mktemp("stub")) as running:
        yield running


def project_of(root, stub, *, samples=SAMPLES, cost=(9.0, 1.0), **options):
    """alpha serves the task; beta (and gamma) could, at a ninth of its price."""
    options = {"plan": {"stop": "decided", "margin": 0.10}} | options
    project = write_project(root, stub.port, samples=samples, **options)
    path = project.configs / "llm_model_registry.yaml"
    registry = yaml.safe_load(path.read_text())
    for key, model in registry["models"].items():
        model["price"]["input"] = model["price"]["output"] = cost[key != "alpha"]
    path.write_text(yaml.safe_dump(registry, sort_keys=False))
    return project


def decision_of(run, **changes):
    plan = json.loads((run.run_dir / "plan.json").read_text()) | changes
    return decide_tasks(pd.DataFrame(rows_of(run)), plan)["labels"]


def test_a_sweep_stops_when_it_is_decided_and_again_it_asks_nothing(tmp_path, stub):
    project = project_of(tmp_path, stub)
    before = stub.count
    run = sweep(project)
    found = decision_of(run)
    assert (found.outcome, found.choice) == ("promote", "beta")
    assert found.calls == {"alpha": found.why["beta"].n, "beta": found.why["beta"].n}
    assert run.cells == run.calls == stub.count - before == sum(found.calls.values()) < 120
    again = sweep(project)
    assert (again.calls, again.cached, stub.count - before) == (0, run.cells, run.cells)
    standing = read_progress(run.run_dir / "progress.json")["decisions"]["labels"]
    assert [row["model"] for row in standing] == ["beta"]


def test_the_live_race_ends_as_the_same_rule_over_the_full_grid(tmp_path, stub):
    samples = tuple(f"{text} #prose" if i % 9 == 0 else text for i, text in enumerate(SAMPLES))
    live = sweep(project_of(tmp_path / "live", stub, samples=samples, models=("alpha", "beta", "gamma")))
    grid_plan = {"stop": "grid", "margin": 0.10}
    grid = sweep(
        project_of(
            tmp_path / "grid", stub, samples=samples, models=("alpha", "beta", "gamma"), plan=grid_plan
        )
    )
    assert live.cells < grid.cells == 360
    one, other = decision_of(live), decision_of(grid, stop="decided")
    assert (one.outcome, one.choice, one.calls) == (other.outcome, other.choice, other.calls)
    assert [row.evidence for row in one.why.values()] == [row.evidence for row in other.why.values()]
    assert [row.interval for row in one.why.values()] == [row.interval for row in other.why.values()]


def test_a_race_that_was_stopped_goes_on_where_it_was(tmp_path, stub):
    project = project_of(tmp_path, stub)

    def stop(progress):
        if progress.done >= 25:
            _thread.interrupt_main()  # as Ctrl-C does; the watcher itself runs beside the calls

    before = stub.count
    with pytest.raises(KeyboardInterrupt):
        sweep(project, watch=stop)
    run = sweep(project)
    asked = [(line["model"], line["prompt"]) for line in stub.requests()[before:]]
    lines = read_lines(project.ledger)
    finished = [line["cell"] for line in lines if line["type"] == "result"]
    assert len(finished) == len(set(finished)) == run.cells
    assert len(asked) == sum(line["type"] == "intent" for line in lines)
    assert decision_of(run).outcome == "promote"


def test_a_replay_needs_the_cells_of_the_race_alone_and_gives_the_same_bytes(tmp_path, stub):
    project = project_of(tmp_path, stub)
    run = sweep(project, run_id="live")
    before = stub.count
    again = sweep(project, run_id="again", ledger=run.run_dir / CALLS_FILE, replay=True)
    assert stub.count == before
    read = [(folder / "results.jsonl").read_text() for folder in (run.run_dir, again.run_dir)]
    assert read[1].replace('"again"', '"live"') == read[0]


def test_a_larger_pool_goes_on_with_the_evidence_and_pays_for_what_is_new(tmp_path, stub):
    project = project_of(tmp_path, stub)
    path = project.configs / "sweeps" / "small.yaml"
    whole = path.read_text()
    path.write_text(whole.replace("labels: {}", "labels: {limit: 24}"))
    short = sweep(project, run_id="short")
    path.write_text(whole)
    assert decision_of(short).outcome == "inconclusive"
    longer = sweep(project, run_id="longer")
    plan = json.loads((longer.run_dir / "plan.json").read_text())
    assert plan["tasks"]["labels"]["budgets"] == [24, 120]
    assert longer.cached == short.cells == 48
    found, before = decision_of(longer).why["beta"], decision_of(short).why["beta"]
    assert found.state == "promote"
    assert found.path[: len(before.path) - 1] == before.path[:-1]


def test_a_changed_margin_is_said_before_anything_is_sent_and_in_the_run(tmp_path, stub):
    project = project_of(tmp_path, stub)
    sweep(project, run_id="first")
    path = project.configs / "sweeps" / "small.yaml"
    path.write_text(path.read_text().replace("margin: 0.1", "margin: 0.2"))
    run = sweep(project, run_id="second")
    assert any("margin 0.1 -> 0.2" in notice for notice in run.notices)
    assert json.loads((run.run_dir / "plan.json").read_text())["resets"]


def test_a_new_model_version_starts_its_evidence_anew_and_says_so(tmp_path, stub):
    project = project_of(tmp_path, stub)
    first = sweep(project)
    lines = read_lines(project.ledger)
    for line in lines:  # the model answered under another version until 2020, all but one prompt
        if line["type"] == "result" and "/beta/" in line["cell"] and "/0" in line["cell"]:
            line |= {"model_version": "beta-2019", "timestamp": "2020-01-01T00:00:00.000Z"}
    kept = next(line for line in reversed(lines) if line["type"] == "result" and "/beta/" in line["cell"])
    kept |= {"model_version": "beta-1-2026-01-01", "timestamp": "2026-01-01T00:00:00.000Z"}
    project.ledger.write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = stub.count
    run = sweep(project)
    asked_again = first.cells // 2 - 1
    assert stub.count - before == asked_again
    assert any(f"its evidence starts anew, and {asked_again} answers" in notice for notice in run.notices)
    assert sweep(project).calls == 0
    assert decision_of(run).outcome == "promote"


def test_a_chains_second_model_is_called_where_the_first_failed(tmp_path, stub):
    samples = tuple(f"{text} #500" if i % 10 == 0 else text for i, text in enumerate(SAMPLES))
    plan = {"stop": "decided", "margin": 0.10, "candidates": [["beta", "gamma"]]}
    project = project_of(tmp_path, stub, samples=samples, models=("alpha", "beta", "gamma"), plan=plan)
    run = sweep(project)
    rows = rows_of(run)
    failed = {row["sample_id"] for row in rows if row["model"] == "beta" and row["status"] == "error"}
    assert {row["sample_id"] for row in rows if row["model"] == "gamma"} == failed != set()
    found = decision_of(run)
    assert (found.choice, found.outcome) == (("beta", "gamma"), "promote")


def test_a_candidate_that_the_constraints_rule_out_is_never_called(tmp_path, stub):
    constraints = {"capabilities": ["structured_outputs"]}
    plan = {"stop": "decided", "margin": 0.10, "constraints": constraints}
    project = project_of(tmp_path, stub, plan=plan)
    run = sweep(project)
    plan_json = json.loads((run.run_dir / "plan.json").read_text())
    assert plan_json["tasks"]["labels"]["excluded"] == [["beta", "it lacks structured_outputs"]]
    assert decision_of(run).outcome == "keep"
    assert {row["model"] for row in rows_of(run)} == {"alpha"}
