"""What must be as it was measured: each model, its host and its options, in every channel and slot."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from llmbench import ApplyError
from llmbench.bench.asked import measured_models, other_meaning
from llmbench.bench.config_copy import load_texts
from llmbench.bench.config_store import read_configs
from llmbench.bench.route_proof import Expected, prove_moves
from tests.applying import (
    FILES,
    MAPPING,
    applied,
    make_project,
    project,  # noqa: F401 - a fixture
    refused,
    template,  # noqa: F401 - a fixture of `project`
)
from tests.sweep_project import frozen_plan, open_project_client, write_project

SWAPS = {
    "llm_model_registry.local.yaml": ("models: {small: {model_name: m-other}}\n", "entry in the registry"),
    "llm_router.local.yaml": ("providers: {far: {base_url: 'http://127.0.0.1:9/v1'}}\n", "base_url"),
    "llm_tier_candidates.local.yaml": ("defaults: {standard: {temperature: 1.9}}\n", "its options"),
    "llm_task_overrides.local.yaml": ("tasks: {caption: {system_prompt: Lie.}}\n", "its options"),
}


@pytest.mark.parametrize("is_decided_again", [False, True], ids=["as decided", "decided again"])
@pytest.mark.parametrize("overlay", SWAPS)
def test_an_overlay_that_makes_a_measured_model_another_one_is_refused(project, overlay, is_decided_again):
    text, said = SWAPS[overlay]
    (project.configs / overlay).write_text(text)
    if is_decided_again:
        project.decide()
    told = refused(project)
    assert said in told
    assert "for caption as it was measured" in told
    assert "Deciding again does not make it evidence" in told


def test_deciding_again_does_not_make_another_model_the_measured_one(project):
    registry = project.configs / "llm_model_registry.yaml"
    registry.write_text(registry.read_text().replace("m-small", "m-other"))
    assert "small is not asked for caption as it was measured" in refused(project)
    project.decide()
    assert "small is not asked for caption as it was measured" in refused(project)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("m-small}", "m-small, cost_tier: low, expires: '2030-01-01'}"),
        ("m-tiny}", "m-new}"),
        ("models:", "# ours\nmodels:"),
    ],
    ids=["price class", "a model that was not measured", "a comment"],
)
def test_what_changes_no_measured_model_is_no_reason_to_refuse_once_it_was_decided_again(project, old, new):
    registry = project.configs / "llm_model_registry.yaml"
    registry.write_text(registry.read_text().replace(old, new))
    project.decide()
    assert applied(project).is_written


def test_a_plan_of_an_earlier_version_is_held_to_its_providers_and_model_ids(tmp_path):
    models = {
        key: {"provider": provider, "model_id": f"m-{key}"}
        for key, provider in (("ref", "near"), ("small", "far"))
    }
    project = make_project(tmp_path / "project", asked={}, models=models, config_hash="c")
    assert any("could not be compared" in note for note in applied(project, dry_run=True).notes)
    overlay = project.configs / "llm_model_registry.local.yaml"
    overlay.write_text("models: {small: {model_name: m-other}}\n")
    said = refused(project)
    assert "small was m-small of far when it was measured and is m-other of far now" in said


def test_a_plan_that_does_not_say_how_a_task_asked_a_model_is_refused(tmp_path):
    project = make_project(tmp_path / "project", asked={"extract": {}, "caption": {}})
    assert "it is not recorded how caption asked ref" in refused(project)


# --- what serves it elsewhere ---


def test_a_moved_task_is_proved_in_every_channel_too(tmp_path):
    """CH09 puts `extract` into the tier whose first model the move of `greet` changes."""
    channels = "overrides:\n  channels:\n    CH09:\n      tasks:\n        extract: {tier: cheap}\n"
    before = load_texts({**FILES, "llm_tier_mapping.yaml": MAPPING + channels})
    after = load_texts(
        {
            **FILES,
            "llm_tier_mapping.yaml": MAPPING + channels,
            "llm_tier_candidates.yaml": FILES["llm_tier_candidates.yaml"]
            .replace("[ref, big]", "[small, ref, big]")
            .replace("[tiny, small]", "[big, tiny, small]"),
        }
    )
    moves = [
        Expected(task, tier, (was,), (then,), {})
        for task, tier, was, then in (
            ("extract", "standard", "ref", "small"),
            ("caption", "standard", "ref", "small"),
            ("greet", "cheap", "tiny", "big"),
        )
    ]
    with pytest.raises(
        ApplyError, match="extract in channel CH09 would be served by big > tiny > small inst"
    ):
        prove_moves(before, after, moves, (), {}, None)
    prove_moves(before, after, [moves[1], moves[2]], (), {}, None)


def test_a_moved_task_is_proved_in_every_slot_too():
    slots = "slots:\n  1: {label: own, tiers: {standard: [STANDARD]}}\n"
    before, after = (
        load_texts(
            {
                **FILES,
                "llm_model_slots.yaml": slots.replace("STANDARD", slot),
                "llm_tier_candidates.yaml": FILES["llm_tier_candidates.yaml"].replace("[ref,", tier),
            }
        )
        for slot, tier in (("ref", "[ref,"), ("big", "[small, ref,"))
    )
    moves = [Expected("extract", "standard", ("ref",), ("small",), {})]
    with pytest.raises(ApplyError, match="extract in slot 1 would be served by big instead of ref"):
        prove_moves(before, after, moves, (), {}, None)


def test_what_a_sweep_records_is_what_the_same_files_give_later_and_holds_no_secret(tmp_path):
    project = write_project(tmp_path, 1)
    with open_project_client(project) as client:
        facts = json.loads(json.dumps(frozen_plan(project, client).facts()))
    measured = {task: measured_models(facts, task) for task in facts["tasks"]}
    assert measured["labels"]
    config = load_texts(read_configs(project.configs))
    assert other_meaning(facts["asked"], config, measured, "text") is None
    hashes = {text for each in facts["asked"]["labels"].values() for text in each.values()}
    assert all(re.fullmatch("[0-9a-f]{16}", text) for text in hashes)
    key = measured["labels"][0]
    host = config.models[key].provider
    endpoint = replace(config.endpoints[host], headers={"X-Team": "b"})
    other = replace(config, endpoints={**config.endpoints, host: endpoint})
    assert f"{key} is not asked for labels" in str(other_meaning(facts["asked"], other, measured, "text"))
