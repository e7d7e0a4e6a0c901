"""Rollouts of a task that an apply moves: told of, and refused where they take all of its calls."""

from __future__ import annotations

import json

import pytest

from llmbench import LLMClient
from tests.applying import (
    applied,
    project,  # noqa: F401 - a fixture
    refused,
    template,  # noqa: F401 - a fixture of `project`
)


def try_out(project, share=1.0, challenger="big", where="task: caption", mode="split", more=""):
    """Write a rollout `half` beside the routes; llm_rollouts.yaml is no ground of the evidence."""
    budget = "budget: {calls: 9}, " if mode == "shadow" else ""
    text = f"{where}, mode: {mode}, {budget}{more}share: {share}, challenger: {challenger}"
    (project.configs / "llm_rollouts.yaml").write_text(
        f"rollouts: {{half: {{{text}, limits: {{failure_rate: 0.1}}}}}}\n", encoding="utf-8"
    )


def stop(project, state="stopped"):
    """Write the stop file where the lab writes it."""
    path = project.root / "workspaces" / "rollouts.json"
    path.parent.mkdir(exist_ok=True)
    entry = {"state": state, "reason": "complaints"}
    path.write_text(json.dumps({"schema": 1, "rollouts": {"half": entry}}), encoding="utf-8")


def told(project):
    """What the dry run and then the apply say of rollouts: the same."""
    shown, done = applied(project, dry_run=True), applied(project)
    said = [[note for note in each.notes if "rollout" in note] for each in (shown, done)]
    assert said[0] == said[1]
    return said[0]


def first(project, **options):
    with LLMClient(project.configs) as client:
        return client.explain("caption", **options).candidates[0]


@pytest.mark.parametrize("where", ["task: caption", "tier: standard"])
def test_a_split_that_takes_every_key_to_another_model_refuses_the_move(project, where):
    try_out(project, where=where)
    said = refused(project)
    assert "rollout half in llm_rollouts.yaml sends every routing key to big" in said
    assert "llmbench rollout stop half" in said
    assert "sends every routing key to big" in refused(project, dry_run=True)


def test_a_split_of_a_share_is_told_with_what_it_does_afterwards(project):
    try_out(project, share=0.25)
    (said,) = told(project)
    assert said == (
        "caption: rollout half (split) runs on: 0.25 of the routing keys still go to big first, and the "
        "others to small."
    )
    assert {first(project, routing_key=f"u{each}") for each in range(40)} == {"big", "small"}


@pytest.mark.parametrize("challenger", ["small", "[small, big]"])
def test_a_split_to_the_proved_model_itself_is_told_and_no_reason_to_refuse(project, challenger):
    try_out(project, challenger=challenger)
    (said,) = told(project)
    assert said.endswith("runs on, and its challenger is what the task moves to: remove its section.")
    assert first(project, routing_key="u1") == "small"


def test_a_shadow_is_told_and_changes_no_answer(project):
    try_out(project, mode="shadow", share=0.5)
    (said,) = told(project)
    assert "asks big beside 0.5 of its calls" in said
    assert first(project, routing_key="u1") == "small"


def test_a_rollout_that_does_not_run_is_no_matter(project):
    try_out(project)
    stop(project)
    assert told(project) == []
    assert first(project, routing_key="u1") == "small"


def test_a_rollout_that_is_over_is_no_matter(project):
    try_out(project, more="until: 2020-01-01, ")
    assert told(project) == []
    assert first(project, routing_key="u1") == "small"


def test_a_rollout_that_was_resumed_counts_and_one_whose_stop_file_is_broken_does_not(project):
    try_out(project)
    stop(project, "running")
    assert "every routing key" in refused(project)
    (project.root / "workspaces" / "rollouts.json").write_text("no JSON")
    assert told(project) == []
    with pytest.warns(RuntimeWarning, match="cannot be used"):
        assert first(project, routing_key="u1") == "small"


def test_a_rollout_of_a_task_that_stays_is_no_matter(project):
    try_out(project, where="task: greet")
    assert told(project) == []
