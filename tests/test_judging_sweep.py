"""Judged sweeps from end to end: two stub providers, one ledger, one budget, a replay without a network."""

from __future__ import annotations

from collections import Counter

import pytest
import yaml

from llmbench.bench import chain
from llmbench.bench.run_decisions import decisions
from llmbench.bench.sweep import run_sweep
from llmbench.errors import SweepError
from tests.servers.judge_server import JudgeServer
from tests.sweep_project import read_lines, rows_of, stub_provider, sweep, write_project

SAMPLES = [f"sample {number}" for number in range(6)]


def project_with(root, port, judge_port, *, judge, plan=None, samples=SAMPLES):
    """The usual small project, its task judged by a model at a provider of its own."""
    task = {"tasks": {"labels": {"judge": {"model": "referee", **judge}}}}
    project = write_project(root, port, samples=samples, plan=task | (plan or {}))
    added = {
        "llm_router.yaml": {"providers": {"bench": {"base_url": f"http://127.0.0.1:{judge_port}/v1"}}},
        "llm_model_registry.yaml": {
            "models": {
                "referee": {
                    "provider": "bench",
                    "model_name": "referee-1",
                    "price": {"input": 1.0, "output": 2.0, "as_of": "2026-11-22"},
                    "capabilities": {"structured_outputs": True, "context_tokens": 8192},
                }
            }
        },
    }
    for name, value in added.items():
        path = project.configs / name
        known = yaml.safe_load(path.read_text())
        for key, entries in value.items():
            known[key] |= entries
        path.write_text(yaml.safe_dump(known))
    return project


@pytest.fixture
def servers(tmp_path):
    with stub_provider(tmp_path) as stub, JudgeServer(good=["praise"]) as judge:
        yield stub, judge


def lines_of(run):
    return read_lines(run.run_dir / "judgements.jsonl")


def test_a_rubrics_verdicts_are_paid_once_and_replayed_byte_for_byte(tmp_path, servers):
    stub, judge = servers
    project = project_with(
        tmp_path, stub.port, judge.port, judge={"strategy": "rubric", "criteria": ["praises"]}
    )
    run = sweep(project)
    assert run.pending == 0
    lines = lines_of(run)
    assert len(lines) == 12, "each answer of both models"
    assert len(judge.requests) == 6, "equal answers to a sample are one question"
    assert {line["score"] for line in lines} == {1.0}
    kinds = Counter(line["type"] for line in read_lines(project.ledger))
    assert kinds == {"intent": 18, "result": 18}
    written = (run.run_dir / "judgements.jsonl").read_bytes()
    again = sweep(project)
    assert (again.calls, len(judge.requests), stub.count) == (0, 6, 12)
    assert (again.run_dir / "judgements.jsonl").read_bytes() == written
    replayed = sweep(project, replay=True, run_id="again")
    assert [line | {"run_id": run.run_dir.name} for line in lines_of(replayed)] == lines
    assert (len(judge.requests), stub.count) == (6, 12)
    decided = decisions(run.run_dir)["labels"]
    assert decided.is_judged
    assert {row["score"] for row in rows_of(run)} == {1.0}


def test_a_judge_that_talks_leaves_rows_pending_and_no_decision(tmp_path):
    with stub_provider(tmp_path) as stub, JudgeServer(replies=lambda _: "Nice answer!") as judge:
        project = project_with(tmp_path, stub.port, judge.port, judge={"strategy": "rubric"})
        run = sweep(project)
        assert len(judge.requests) == 12, "each question twice"
    lines = lines_of(run)
    assert {(line["status"], line["asked"], line["unparsable"], line["score"]) for line in lines} == {
        ("unparsable", 2, 2, None)
    }
    assert decisions(run.run_dir)["labels"].outcome == "inconclusive"


def test_answers_that_are_equal_are_compared_without_a_judge(tmp_path, servers):
    stub, judge = servers
    project = project_with(tmp_path, stub.port, judge.port, judge={"strategy": "pairwise"})
    run = sweep(project)
    assert judge.requests == []
    assert lines_of(run) == []
    assert decisions(run.run_dir)["labels"].is_judged


def test_the_judge_shares_the_candidates_budget(tmp_path, servers):
    stub, judge = servers
    project = project_with(
        tmp_path,
        stub.port,
        judge.port,
        judge={"strategy": "rubric"},
        plan={"budget": {"usd": 1.0, "calls": 15}},
    )
    run = sweep(project)
    assert stub.count + len(judge.requests) <= 15
    assert stub.count == 12
    assert len(judge.requests) == 3
    missing = 12 - len(lines_of(run))
    assert missing == 6, "what was not asked has no line, and its rows are pending"
    more = {"usd": 1.0, "calls": 40}
    path = project.configs / "sweeps" / "small.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"budget": more}))
    finished = sweep(project)
    assert (len(judge.requests), stub.count) == (6, 12)
    assert len(lines_of(finished)) == 12


def test_a_judged_task_that_stops_when_decided_is_refused(tmp_path, servers):
    stub, judge = servers
    project = project_with(tmp_path, stub.port, judge.port, judge={}, plan={"stop": "decided"})
    with pytest.raises(SweepError, match="grid"):
        sweep(project)
    assert stub.count == 0


def test_a_run_whose_judge_was_asked_nothing_replays_where_no_model_can_be_called(tmp_path, servers):
    stub, judge = servers
    project = project_with(tmp_path, stub.port, judge.port, judge={"strategy": "pairwise"})
    run = sweep(project)
    assert judge.requests == [], "equal answers need no question"
    choice = chain.Choice(replay=run.run_dir / "calls.jsonl")
    with chain.open_client(project, replay=choice.replay) as client:
        plan = chain.find_plan(project, "small", choice, client)
        again = run_sweep(plan, client, ledger=choice.replay, reports=tmp_path / "again", replay=True)
    assert (again.run_dir / "results.jsonl").read_bytes() == (run.run_dir / "results.jsonl").read_bytes()


def test_a_judge_that_cannot_be_called_is_said_before_anything_is_sent(tmp_path, servers):
    stub, judge = servers
    project = project_with(tmp_path, stub.port, judge.port, judge={"strategy": "pairwise"})
    path = project.configs / "llm_router.yaml"
    text = yaml.safe_load(path.read_text())
    text["providers"]["bench"] = {"base_url": "https://llm.example/v1", "env_api_key": "NO_SUCH_KEY"}
    path.write_text(yaml.safe_dump(text))
    with pytest.raises(SweepError, match="the judge referee cannot be called here; set its key"):
        sweep(project)
    assert stub.count == 0
