"""Which config files a recommendation rests on: all that say who is asked and how, and none that do not."""

from __future__ import annotations

import pytest

from llmbench.config.model import FILES
from tests.applying import (
    applied,
    project,  # noqa: F401 - a fixture
    refused,
    template,  # noqa: F401 - a fixture of `project`
)
from tests.test_apply_alone import media_project

CHANNEL = "overrides: {channels: {CH1: {tasks: {caption: {options: {temperature: 1.5}}}}}}\n"
#: What each of these files says is not recorded with a sweep, and changes what calls meet.
NEW = {
    "llm_fallback_policy.yaml": "deadline_s: 1\n",
    "llm_fallback_policy.local.yaml": "deadline_s: 1\n",
    "llm_task_overrides.local.yaml": "tasks: {greet: {timeout: 2}}\n",
    "llm_tier_mapping.local.yaml": CHANNEL,
    "llm_tier_candidates.local.yaml": "defaults: {heavy_reasoning: {temperature: 1.5}}\n",
    "llm_router.local.yaml": "defaults: {unknown_task: error}\n",
    "llm_model_registry.local.yaml": "models: {tiny: {model_name: m-other}}\n",
}
#: The files that earlier versions recorded.
FIRST = ("router", "model_registry", "tier_candidates", "tier_mapping", "task_overrides", "model_slots")


def write(project, name, text):
    (project.configs / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", NEW)
def test_a_file_that_is_new_since_it_was_decided_is_named_until_it_is_decided_again(project, name):
    write(project, name, NEW[name])
    assert f"{name} changed since the evidence" in refused(project)
    assert f"{name} changed since the evidence" in refused(project, project.alone(), accept_unproved=True)
    project.decide()
    assert applied(project).is_written


def test_a_file_that_is_gone_since_it_was_decided_is_named(project):
    write(project, "llm_fallback_policy.local.yaml", "deadline_s: 60\n")
    project.decide()
    (project.configs / "llm_fallback_policy.local.yaml").unlink()
    assert "llm_fallback_policy.local.yaml changed since the evidence" in refused(project)


def test_every_text_file_and_overlay_is_recorded_and_one_that_is_not_there_as_none(project):
    held = project.facts()["configs"]
    text = [name for name in FILES if name.startswith("llm_") and name != "llm_rollouts.yaml"]
    assert set(held) == {*text, *(name.replace(".yaml", ".local.yaml") for name in text)}
    assert all((sha256 is not None) == (project.configs / name).exists() for name, sha256 in held.items())


@pytest.mark.parametrize("name", ["llm_rollouts.yaml", "image_models.local.yaml", "sweeps/own.yaml"])
def test_what_the_evidence_does_not_rest_on_may_change(project, name):
    (project.configs / "sweeps").mkdir(exist_ok=True)
    write(project, name, "# ours\n")
    assert applied(project).is_written


def earlier(project):
    """Make the recommendation one of an earlier version, and give its file back."""
    facts = project.facts()
    first = [f"llm_{name}.yaml" for name in FIRST]
    facts["configs"] = {name: facts["configs"][name] for name in first if facts["configs"][name]}
    return project.write(facts)


def test_an_earlier_recommendation_is_held_to_the_files_that_it_names(project):
    earlier(project)
    mapping = project.configs / "llm_tier_mapping.yaml"
    text = mapping.read_text(encoding="utf-8")
    write(project, "llm_tier_mapping.yaml", text + "# more\n")
    assert "llm_tier_mapping.yaml changed since the evidence" in refused(project)
    write(project, "llm_tier_mapping.yaml", text)
    write(project, "llm_model_slots.yaml", "# ours\n")
    assert "llm_model_slots.yaml changed since the evidence" in refused(project)
    (project.configs / "llm_model_slots.yaml").unlink()
    assert not any("earlier version" in note for note in applied(project).notes)  # the planned config


@pytest.mark.parametrize("is_alone", [False, True], ids=["its run", "alone"])
def test_an_earlier_recommendation_tells_of_the_files_that_it_does_not_name(project, is_alone):
    earlier(project)
    write(project, "llm_fallback_policy.local.yaml", "deadline_s: 1\n")
    shown = applied(project, project.alone() if is_alone else "r1", dry_run=True)
    said = next(note for note in shown.notes if "did not record llm_fallback_policy.local.yaml" in note)
    assert "decide it again" in said


def test_a_media_recommendation_rests_on_its_own_files_and_the_policy(tmp_path):
    project = media_project(tmp_path / "project", "image", "scene_image", "image")
    write(project, "llm_task_overrides.local.yaml", "tasks: {caption: {timeout: 2}}\n")
    write(project, "speech_models.local.yaml", "# ours\n")
    assert applied(project, dry_run=True).moves
    for name in ("image_models.local.yaml", "image_model_slots.local.yaml", "llm_fallback_policy.yaml"):
        write(project, name, "# ours\n")
        assert f"{name} changed since the evidence" in refused(project)
        (project.configs / name).unlink()
