"""`llmbench migrate` keeps every route: generated older folders, held against rules stated on their own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from llmbench.check import check_folder
from llmbench.config import load_config, read_environment
from llmbench.migration import migrate
from llmbench.migration.before import Before, Question
from llmbench.migration.forms import unify
from llmbench.migration.reading import read_legacy
from llmbench.routing.resolve import Wanted, resolve
from tests.legacy_folders import folders

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def routed(config, task, channel, env, slot):
    environment = read_environment({"LLM_MODEL_SLOT": slot} if slot else {})
    route = resolve(config, environment, Wanted(task, channel=channel, env=env), lambda _: None)
    specs = [config.models[key] for key in route.candidates]
    return tuple(dict.fromkeys((spec.provider, spec.model_id) for spec in specs))


@FEW
@given(folder=folders())
def test_every_route_of_a_generated_folder_is_kept(folder):
    with tempfile.TemporaryDirectory() as name:
        old, new = Path(name, "old"), Path(name, "new")
        old.mkdir()
        folder.write(old)
        texts = {path.name: path.read_bytes() for path in old.iterdir()}
        done = migrate(old, new, variables={})
        assert done.differences == ()
        config = load_config(new)
        for task in folder.known_tasks():
            for question in folder.questions():
                assert routed(config, task, *question) == folder.route(task, *question), (task, question)
        assert {path.name: path.read_bytes() for path in old.iterdir()} == texts
        assert [str(each) for each in check_folder(new, variables={}) if each.severity == "error"] == []


@FEW
@given(folder=folders())
def test_the_older_rules_answer_as_they_are_stated(folder):
    with tempfile.TemporaryDirectory() as name:
        folder.write(Path(name))
        legacy = read_legacy(name, {})
        unify(legacy)
        before = Before(legacy)
        assert before.tasks() == folder.known_tasks()
        for task in folder.known_tasks():
            for question in folder.questions():
                assert before.route(task, Question(*question)) == folder.route(task, *question)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("llm_tier_candidates.yaml", "- deep", "- small"),
        ("llm_task_overrides.yaml", "- small", "- deep"),
        ("llm_tier_mapping.yaml", "summary: cheap", "summary: standard"),
        ("llm_model_registry.yaml", "fallback_model: big", "x-fallback: big"),
        ("llm_model_slots.yaml", "allow_fallback: true", "allow_fallback: false"),
        ("llm_model_registry.yaml", "deployment: dep-small", "deployment: dep-other"),
    ],
    ids=lambda value: value[:30],
)
def test_a_change_of_the_new_folder_is_found(tmp_path, file, old, new):
    from llmbench.migration import prove_folder

    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "llm_registry.json").write_text('{"title": {"provider": "azure", "model": "small"}}')
    (folder / "llm_model_registry.yaml").write_text(
        "models:\n  small: {provider: azure, deployment: dep-small}\n"
        "  deep: {provider: azure, deployment: dep-deep, fallback_model: big}\n"
        "  big: {provider: azure, deployment: dep-big}\n"
    )
    (folder / "llm_tier_candidates.yaml").write_text("tiers:\n  cheap:\n  - deep\n  standard: [big]\n")
    (folder / "llm_tier_mapping.yaml").write_text("tasks:\n  summary: cheap\n")
    (folder / "llm_model_slots.yaml").write_text(
        "slots:\n  1: {tiers: {cheap: [small, big]}, allow_fallback: true}\n"
    )
    target = tmp_path / "new"
    assert migrate(folder, target, variables={}).differences == ()
    assert prove_folder(folder, target, variables={}).differences == ()
    text = (target / file).read_text()
    assert old in text
    (target / file).write_text(text.replace(old, new, 1))
    found = prove_folder(folder, target, variables={})
    assert found.differences
    assert found.compared == 4
