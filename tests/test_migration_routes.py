"""`llmbench migrate` keeps every route: generated older folders, held against rules stated on their own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from llmbench.check import check_folder
from llmbench.config import load_config, read_environment
from llmbench.config.media_view import media_config
from llmbench.errors import RouteError
from llmbench.migration import migrate
from llmbench.migration.before import Before, Question
from llmbench.migration.forms import unify
from llmbench.migration.reading import read_legacy
from llmbench.routing.params import merge
from llmbench.routing.resolve import Wanted, option_layers, resolve, task_rules
from tests.legacy_folders import folders
from tests.legacy_writing import write_folder

FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


def routed(config, task, channel, env, slot):
    """(provider, id) of each candidate, and what the task's rules have each sent."""
    kind = config.media_of(task=task, tier="")
    profile = {"IMAGE_CLIENT_PROFILE": slot} if kind and slot in config.media[kind].profiles else {}
    view = config if kind is None else media_config(config, kind, read_environment(profile))
    environment = read_environment({"LLM_MODEL_SLOT": slot} if slot and kind is None else {})
    wanted = Wanted(task, channel=channel, env=env, modality=kind or "text")
    try:
        route = resolve(view, environment, wanted, lambda _: None)
    except RouteError:
        return (), []
    found = {}
    for key in route.candidates:
        spec = view.models[key]
        found.setdefault((spec.provider, spec.model_id), key)
    return tuple(found), [] if kind else [sent(view, wanted, route.tier, key) for key in found.values()]


def sent(config, wanted, tier, key):
    rules = task_rules(config, wanted)
    made = dict(merge(option_layers(config, wanted, tier, config.models[key]))[0])
    made |= next(({"timeout": rule.timeout_s} for rule in rules if rule.timeout_s), {})
    return made | next(({"system_prompt": rule.system_prompt} for rule in rules if rule.system_prompt), {})


def assert_kept(folder, config):
    for task in folder.known_tasks():
        is_image = task in folder.images["tasks"]
        for question in folder.media_questions() if is_image else folder.questions():
            found, options = routed(config, task, *question)
            assert found == folder.route(task, *question), (task, question)
            if not is_image:
                assert options == folder.sent(task, *question), (task, question)


def keeps_every_route(folder):
    with tempfile.TemporaryDirectory() as name:
        old, new, bare = Path(name, "old"), Path(name, "new"), Path(name, "bare")
        old.mkdir()
        write_folder(folder, old)
        texts = {path.name: path.read_bytes() for path in old.iterdir()}
        done = migrate(old, new, variables=folder.variables)
        assert done.differences == ()
        assert done.changes == ()
        assert_kept(folder.overlaid(), load_config(new))
        shutil.copytree(new, bare, ignore=shutil.ignore_patterns("*.local.yaml"))
        assert_kept(folder, load_config(bare))
        assert {path.name: path.read_bytes() for path in old.iterdir()} == texts
        assert [str(each) for each in check_folder(new, variables={}) if each.severity == "error"] == []


@FEW
@given(folder=folders())
def test_every_route_and_option_of_a_generated_folder_is_kept(folder):
    keeps_every_route(folder)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@MANY
@given(folder=folders())
def test_every_route_and_option_of_many_generated_folders_is_kept(folder):
    keeps_every_route(folder)


@FEW
@given(folder=folders())
def test_the_older_rules_answer_as_they_are_stated(folder):
    with tempfile.TemporaryDirectory() as name:
        write_folder(folder, Path(name))
        for overlays, stated in ((False, folder), (True, folder.overlaid())):
            legacy = read_legacy(name, folder.variables, overlays=overlays)
            unify(legacy)
            before = Before(legacy)
            assert before.tasks() == stated.known_tasks()
            for task in stated.known_tasks():
                is_image = task in stated.images["tasks"]
                for question in stated.media_questions() if is_image else stated.questions():
                    assert before.route(task, Question(*question)) == stated.route(task, *question)


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
