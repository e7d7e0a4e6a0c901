"""Stages and templates of older folders in their forms: every pin is carried, or listed with its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmbench.cli import app
from llmbench.config import load_config
from llmbench.errors import ConfigError
from llmbench.migration import migrate

ROUTER = """\
providers: {openrouter: {}, gemini: {}}
models:
  g: {provider: gemini, model_name: gemini-2.5-flash}
  d: {provider: openrouter, model_name: deepseek/deepseek-v3.2}
  q: {provider: openrouter, model_name: qwen/qwen3}
tiers: {standard: [d], cheap: [d]}
"""


def moved(folder, files, **options):
    old = folder / "old"
    old.mkdir()
    for name, text in {"llm_router.yaml": ROUTER, **files}.items():
        (old / name).write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    done = migrate(old, folder / "new", variables={}, **options)
    assert done.differences == ()
    return done, {move.task: move.new for move in done.moves}


@pytest.mark.parametrize(
    ("file", "data", "tasks"),
    [
        ("stages", {"stages": {"draft": [{"name": "d1", "model": "g"}]}}, {"d1": ("g",)}),
        ("stages", {"stages": {"check": ["g", "q"]}}, {"check": ("g", "q")}),
        (
            "templates",
            {"templates": {"short": [{"name": "hook", "model": "g"}, {"id": "end", "llm": {"model": "q"}}]}},
            {"hook": ("g",), "end": ("q",)},
        ),
        (
            "templates",
            {"default_model": "d", "templates": {"long": {"model": "q", "stages": {"a": {}, "b": "g"}}}},
            {"a": ("q",), "b": ("g",)},
        ),
        (
            "stages",
            {"stages": {"draft": {"llm": {"model": "g"}}, "end": {"llm": "q"}}},
            {"draft": ("g",), "end": ("q",)},
        ),
        (
            "stages",
            {
                "default_model": {"provider": "google", "model": "gemini-2.5-flash"},
                "stages": {"a": {}, "b": None},
            },
            {"a": ("g",), "b": ("g",)},
        ),
        (
            "stages",
            {"default_model": "q", "templates": {"t": ["one", "two"]}},
            {"one": ("q",), "two": ("q",)},
        ),
        ("llm_tasks", {"voice": {"reading": {"llm": {"model": "g"}}}}, {"reading": ("g",)}),
        ("stages", {"stages": {"a": {"model": "g", "fallback_model": ["q", "d"]}}}, {"a": ("g", "q", "d")}),
    ],
    ids=str,
)
def test_a_pin_is_carried_in_every_form(tmp_path, file, data, tasks):
    _, found = moved(tmp_path, {f"{file}.yaml": data})
    assert found == tasks


def test_a_pin_of_a_template_wins_over_a_tier_and_gives_way_to_one_of_the_stage(tmp_path):
    data = {"templates": {"t": {"model": "q", "stages": {"a": {}, "b": {"tier": "cheap"}}}}}
    _, found = moved(tmp_path, {"templates.yaml": data, "llm_tier_mapping.yaml": "tasks: {a: cheap}\n"})
    assert found == {"a": ("q",), "b": ("d",)}


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"stages": {"n": 5, "x": {"model": "g"}}}, "stages.n"),
        ({"stages": {"n": True, "x": {"model": "g"}}}, "stages.n"),
        ({"stages": {"n": ["g", "other"], "x": {"model": "g"}}}, "stages.n"),
        ({"stages": [{"model": "q"}, {"name": "x", "model": "g"}]}, "stages.0"),
        ({"default_model": 5, "stages": {"x": {"model": "g"}}}, "default_model"),
        ({"default_model": "q", "stages": {"x": {"model": "g"}}}, "default_model"),
        (
            {"stages": {"x": {"model": "g"}}, "draft": {"deep": [{"draft_model": "q"}]}},
            "draft.deep.0.draft_model",
        ),
        ({"stages": {"x": {"model": "g", "critic": {"llm": "q"}}}}, "stages.x.critic.llm"),
        ({"stages": {"x": {"model": "g"}}, "templates": 3}, "templates"),
    ],
    ids=str,
)
def test_what_is_no_stage_is_listed_with_its_line_and_makes_no_task(tmp_path, data, key):
    done, found = moved(tmp_path, {"stages.yaml": f"# 構成\n{json.dumps(data)}"})
    assert found == {"x": ("g",)}
    loss = next(loss for loss in done.losses if loss.key == key)
    assert (loss.file, loss.line) == ("stages.yaml", 2)
    assert loss.value


NAMES = st.sampled_from(
    ["model", "llm", "stages", "steps", "name", "a", "b", "default_model", "templates", "critic"]
)
VALUES = st.recursive(
    st.sampled_from(["g", "q", "d", 5, True, None, ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def _pins(value):
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    ):
        if key in ("model", "llm", "default_model") and isinstance(item, str) and item:
            yield item
        yield from _pins(item)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.dictionaries(NAMES, VALUES, max_size=4))
def test_no_pin_of_any_form_vanishes(data, tmp_path_factory):
    files = {"stages.yaml": data, "llm_registry.json": {"other": {"model": "d"}}}
    try:
        done, found = moved(tmp_path_factory.mktemp("any"), files)
    except ConfigError:
        return
    used = {model for models in found.values() for model in models}
    listed = " ".join(loss.value for loss in done.losses)
    assert [pin for pin in _pins(data) if pin not in used and pin not in listed] == []


ENTRIES = {
    "a": ({"tier": ["cheap"]}, "a.tier"),
    "b": ({"models": {"x": "q"}}, "b.models"),
    "c": ({"options": ["temperature"]}, "c.options"),
    "d": ({"provider": ["gemini"]}, "d.provider"),
    "e": ({"max_output_tokens": 100, "max_tokens": 200}, "e.max_output_tokens"),
    "f": ({"temperature": 0.1, "defaults": {"temperature": 0.9}}, "f.temperature"),
    "g": ({"fallback_model": {"x": 1}}, "g.fallback_model"),
}


def test_a_value_of_another_form_or_said_twice_is_listed(tmp_path):
    entries = {task: {"model": "g", **said} for task, (said, _) in ENTRIES.items()}
    done, _ = moved(tmp_path, {"llm_registry.json": entries})
    assert {loss.key for loss in done.losses} == {key for _, key in ENTRIES.values()}


def test_a_task_in_no_one_tier_makes_no_tier(tmp_path):
    tiers = {"tasks": {"a": {"tier": "cheap"}, "b": ["cheap"], "c": {"x": 1}, "d": 5, "e": "cheap"}}
    done, _ = moved(tmp_path, {"llm_tier_mapping.yaml": tiers})
    assert {move.task: move.tier for move in done.moves} == {"a": "cheap", "b": "cheap", "e": "cheap"}
    assert {loss.key for loss in done.losses} == {"tasks.c", "tasks.d"}
    assert not (tmp_path / "new" / "llm_tier_candidates.yaml").exists()


def test_a_tier_in_place_of_a_section_of_an_override_is_a_tier(tmp_path):
    rules = {"tasks": {"a": "cheap"}, "overrides": {"channels": {"c": {"tasks": {"a": "standard"}}}}}
    moved(tmp_path, {"llm_tier_mapping.yaml": rules})
    rule = load_config(tmp_path / "new").channels["c"].tasks["a"]
    assert (rule.tier, rule.models) == ("standard", ())


def test_two_one_file_forms_never_make_a_model_that_neither_names(tmp_path):
    low = (
        "models:\n  g: {provider: azure, deployment: gpt-5-mini}\n"
        "  q: {capabilities: {reasoning: true}}\n  d: {deployment: x}\n  own: {provider: gemini, odd: 1}\n"
        "tasks: {t: {model: own}}\n"
    )
    done, found = moved(tmp_path, {"llm.yml": low})
    places = {loss.key: (loss.file, loss.line) for loss in done.losses}
    assert places["models.g"] == ("llm.yml", 2)
    assert places["models.own.odd"] == ("llm.yml", 5)
    assert (found["t"], {move.file for move in done.moves}) == (("own",), {"llm.yml"})
    written = (tmp_path / "new" / "llm_router.yaml").read_text("utf-8")
    assert "gpt-5-mini" not in written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tiers": {"nope": "cheap"}}, "no older file has a task 'nope'; did you mean 'note'"),
        ({"not_tasks": ["nothere"]}, "--not-a-task nothere: no such name"),
    ],
)
def test_a_name_that_no_file_has_is_refused_before_anything_is_written(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        moved(tmp_path, {"llm_registry.json": {"note": {"model": "g"}}}, **options)
    assert not (tmp_path / "new").exists()


def test_a_tier_for_a_folder_that_is_only_compared_is_refused(tmp_path):
    moved(tmp_path, {"llm_registry.json": {"note": {"model": "g"}}})
    command = [
        "migrate",
        str(tmp_path / "old"),
        "--to",
        str(tmp_path / "new"),
        "--check",
        "--tier",
        "note=cheap",
    ]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert "only compared" in done.output
