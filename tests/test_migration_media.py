"""Image and speech tasks of older folders: those that pin a model, and slots that change tiers and tasks."""

from __future__ import annotations

import json

import pytest
import yaml

from llmbench.check import check_folder
from llmbench.config import load_config
from llmbench.migration import migrate, prove_folder

MODELS = """\
providers: {gemini: {}}
models:
  flash: {provider: gemini, model_name: gemini-2.5-flash-image}
  pro: {provider: gemini, model_name: gemini-3-pro-image-preview}
tiers: {image_gen: [flash, pro]}
"""
TEXT = "models: {m: {provider: gemini, model_name: gemini-3-pro}}\n"


def moved(tmp_path, tasks, slots=None, models=MODELS):
    old = tmp_path / "old"
    old.mkdir()
    (old / "llm_model_registry.yaml").write_text(TEXT, "utf-8")
    (old / "llm_registry.json").write_text(json.dumps({"draft": {"model": "m"}}))
    (old / "image_models.yaml").write_text(
        models + yaml.safe_dump({"tasks": tasks}, allow_unicode=True), "utf-8"
    )
    if slots:
        (old / "image_model_slots.yaml").write_text(yaml.safe_dump(slots, allow_unicode=True), "utf-8")
    done = migrate(old, tmp_path / "new", variables={})
    assert [each for each in check_folder(tmp_path / "new", variables={}) if each.severity == "error"] == []
    return done, load_config(tmp_path / "new").media["image"]


@pytest.mark.parametrize(
    "rule",
    [
        {"model": "pro"},
        {"model_key": "pro"},
        {"model": "gemini-3-pro-image-preview"},
        {"provider": "google", "model": "gemini-3-pro-image-preview"},
        "pro",
        {"tier": "nowhere", "model": "pro"},
        {"tier": "image_gen", "models": "pro"},
    ],
    ids=str,
)
def test_an_image_task_that_pins_its_model_keeps_it_and_stays_an_image_task(tmp_path, rule):
    done, media = moved(tmp_path, {"solo": rule, "thumb": {"tier": "image_gen"}})
    move = next(move for move in done.moves if move.task == "solo")
    assert move.old == (("gemini", "gemini-3-pro-image-preview"),)
    assert [media.models[key].model_id for key in move.new] == ["gemini-3-pro-image-preview"]
    assert media.tasks["solo"].tier == "image_gen"
    assert done.is_same


def test_a_pinned_id_that_no_entry_has_gets_one_and_a_tier_of_its_own(tmp_path):
    done, media = moved(tmp_path, {"solo": {"provider": "google", "model": "imagen-4"}})
    assert media.tasks["solo"].tier == "image"
    assert media.models["gem_imagen_4"].model_id == "imagen-4"
    assert done.is_same


SLOTS = {
    "default_slot": "f-1",
    "slots": {
        "p": "pro",
        "f-1": {"label": "速い", "tiers": {"image_gen": ["flash"]}},
        "s-1": {"tasks": {"thumb": "p"}},
    },
}


def test_slots_that_change_tiers_or_tasks_become_profiles_and_the_default_one_the_file(tmp_path):
    done, media = moved(tmp_path, {"thumb": {"tier": "image_gen"}, "cover": {"tier": "image_gen"}}, SLOTS)
    assert media.tiers["image_gen"] == ("flash",)
    assert media.profiles["s-1"].tiers["image_gen"] == ("flash", "pro")
    assert media.profiles["s-1"].tasks["thumb"].models == ("p",)
    assert media.codes == {"p": "pro"}
    assert (done.losses, done.is_same) == ((), True)


def test_a_profile_that_is_changed_afterwards_is_a_difference(tmp_path):
    moved(tmp_path, {"thumb": {"tier": "image_gen"}}, SLOTS)
    path = tmp_path / "new" / "image_models.yaml"
    data = yaml.safe_load(path.read_text("utf-8"))
    data["profiles"]["s-1"]["tasks"]["thumb"]["models"] = ["flash"]
    path.write_text(yaml.safe_dump(data), "utf-8")
    found = prove_folder(tmp_path / "old", tmp_path / "new", variables={}).differences
    assert [(each.task, each.slot) for each in found] == [("thumb", "s-1")]


def test_an_image_task_without_a_model_is_listed_and_becomes_no_text_task(tmp_path):
    done, media = moved(tmp_path, {"bad": {"tier": "nowhere"}, "thumb": {"tier": "image_gen"}})
    assert "bad" not in media.tasks
    assert next(move.new for move in done.moves if move.task == "bad") == ()
    assert any(loss.key.startswith("tasks.bad") for loss in done.losses)
    assert done.is_same


def test_a_default_slot_of_no_slot_is_listed_and_left_out(tmp_path):
    done, _ = moved(tmp_path, {"thumb": {"tier": "image_gen"}}, {"default_slot": "x", "slots": {"p": "pro"}})
    assert [loss.key for loss in done.losses] == ["default_slot"]
    assert "default_slot" not in (tmp_path / "new" / "image_model_slots.yaml").read_text("utf-8")
    assert done.is_same


FALLING = MODELS.replace("-flash-image}", "-flash-image, fallback_model: pro}")


def test_a_fallback_of_a_task_or_its_model_is_the_last_candidate_and_may_answer(tmp_path):
    rules = {
        "own": {"model": "flash", "fallback_model": "gemini-3-pro-image-preview"},
        "barred": {"models": ["flash"], "fallback_model": "pro", "allow_fallback": False},
        "plain": {"models": ["flash"]},
    }
    done, media = moved(tmp_path, rules)
    assert {move.task: len(move.old) for move in done.moves if move.task in rules} == {
        "own": 2,
        "barred": 2,
        "plain": 1,
    }
    assert {task: rule.allow_fallback for task, rule in media.tasks.items()} == {
        "own": True,
        "barred": False,
        "plain": False,
    }
    assert (done.is_same, done.losses) == (True, ())


def test_a_fallback_of_a_model_follows_it_in_tiers_profiles_and_tasks(tmp_path):
    models = FALLING.replace("[flash, pro]", "[flash]")
    slots = {"slots": {"s": {"tiers": {"image_gen": ["flash"]}}, "t": {"tasks": {"thumb": "flash"}}}}
    done, media = moved(tmp_path, {"thumb": {"tier": "image_gen"}, "solo": "flash"}, slots, models)
    assert media.tiers["image_gen"] == ("flash", "pro")
    assert media.tasks["thumb"].allow_fallback is media.tasks["solo"].allow_fallback is True
    assert (done.is_same, done.losses) == (True, ())


def test_a_fallback_without_models_of_its_own_is_listed(tmp_path):
    done, _ = moved(tmp_path, {"thumb": {"tier": "image_gen", "fallback_model": "pro"}})
    assert [loss.key for loss in done.losses] == ["tasks.thumb.fallback_model"]
    assert done.is_same


def test_the_table_names_the_file_that_decided_on_an_image_task(tmp_path):
    slots = {"default_slot": "s", "slots": {"s": {"tasks": {"slotted": "pro"}}}}
    tier = {"tier": "image_gen"}
    done, _ = moved(tmp_path, {"pinned": "pro", "slotted": tier, "tiered": tier}, slots)
    assert {move.task: move.file for move in done.moves if move.task != "draft"} == {
        "pinned": "image_models.yaml",
        "slotted": "image_model_slots.yaml",
        "tiered": "its tier",
    }
