"""What was declared before the first call is kept, and a change of it is said."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from llmbench.bench.headers import declare, first_declared
from llmbench.errors import SweepError
from tests.sweep_project import frozen_plan, open_project_client, write_project


@pytest.fixture
def plan(tmp_path):
    project = write_project(tmp_path, 1)
    with open_project_client(project) as client:
        return frozen_plan(project, client)


def shorter(plan, n):
    task = plan.tasks[0]
    return replace(plan, tasks=(replace(task, samples=task.samples[:n]),))


def test_a_plan_is_recorded_once_and_the_same_one_adds_nothing(plan, tmp_path):
    path = tmp_path / "headers.jsonl"
    assert declare(path, plan) == declare(path, plan) == first_declared(plan)
    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert (line["plan"], line["task"], line["units"]) == ("small", "labels", 12)
    assert {"margin", "alpha", "seed", "candidates", "models", "dataset"} <= set(line["header"])


def test_more_prompts_under_the_same_header_go_on_with_the_evidence(plan, tmp_path):
    path = tmp_path / "headers.jsonl"
    declare(path, shorter(plan, 4))
    declare(path, shorter(plan, 7))
    found = declare(path, plan)
    assert (found.budgets, found.resets) == ({"labels": (4, 7, 12)}, ())
    assert declare(path, shorter(plan, 7)).budgets == {"labels": (4, 7)}
    facts = found.facts(plan)
    assert (facts["tasks"]["labels"]["budgets"], facts["resets"]) == ([4, 7, 12], [])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"margin": 0.1}, "margin 0.5 -> 0.1"),
        ({"alpha": 0.01}, "alpha 0.05 -> 0.01"),
        ({"seed": 5}, "seed 0 -> 5"),
        ({"models": {"alpha": {"version": "new"}, "beta": {"version": "beta-1"}}}, "models"),
    ],
)
def test_a_changed_header_starts_the_evidence_anew_and_says_so(plan, tmp_path, change, says):
    path = tmp_path / "headers.jsonl"
    declare(path, shorter(plan, 4))
    found = declare(path, replace(plan, **change))
    assert found.budgets == {"labels": (12,)}
    (reset,) = found.resets
    assert reset.startswith("labels: its evidence starts anew, since the header changed (")
    assert says in reset
    assert declare(path, replace(plan, **change)).resets == (reset,)  # it stays to be said of every later run
    assert declare(path, plan).resets == ()  # what was declared first is as good as it was


def test_torn_and_foreign_lines_are_passed_over(plan, tmp_path):
    path = tmp_path / "headers.jsonl"
    with path.open("ab") as file:
        file.write(b'[1]\n{"plan": "small", "header": 3}\n{"plan": "sma')
    assert declare(path, plan) == first_declared(plan)


def test_another_plan_on_the_same_prompts_is_a_look_too(plan, tmp_path):
    path = tmp_path / "headers.jsonl"
    declare(path, replace(shorter(plan, 4), name="other"))
    assert declare(path, plan).budgets == {"labels": (4, 12)}
    (reset,) = declare(path, replace(plan, name="third", margin=0.4)).resets
    assert "margin 0.5 -> 0.4; before in plan small at" in reset


def test_a_task_taken_alone_is_no_change_of_the_header(plan, tmp_path):
    path = tmp_path / "headers.jsonl"
    twice = replace(plan, tasks=(plan.tasks[0], replace(plan.tasks[0], task="other")))
    declare(path, plan)
    assert declare(path, twice).resets == ()
    assert declare(path, replace(twice, family="report")).resets != ()


def test_a_file_that_cannot_be_written_stops_the_sweep_before_it_spends(plan, tmp_path):
    (tmp_path / "headers.jsonl").mkdir()
    with pytest.raises(SweepError, match="nothing is sent without it"):
        declare(tmp_path / "headers.jsonl", plan)
