"""Whatever stands in an older config folder, it is moved or refused by an error of the tree."""

from __future__ import annotations

import contextlib
import json
import random
import shutil

import pytest

from llmbench.errors import ConfigError, LLMBenchError
from llmbench.migration import migrate
from tests.fuzzing import as_bytes, fuzz, json_text, one_of, patient, yaml_text
from tests.test_migration import SAMPLE

SECTIONS = {
    "models": "llm_model_registry.yaml",
    "providers": "llm.yml",
    "tiers": "llm.yml",
    "tasks": "llm.yml",
    "codes": "llm_model_codes.yaml",
    "slots": "llm_model_slots.yaml",
}


@patient
def test_an_older_folder_is_moved_or_refused(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"

    def act(draw: random.Random) -> None:
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(new, ignore_errors=True)
        old.mkdir()
        name = one_of(list(SAMPLE), draw)
        for each, text in SAMPLE.items():
            (old / each).write_text(text, encoding="utf-8")
        text = (
            json_text(json.loads(SAMPLE[name]), draw)
            if name.endswith(".json")
            else yaml_text(SAMPLE[name], draw)
        )
        (old / name).write_bytes(as_bytes(text, draw))
        migrate(old, new, variables={})

    fuzz(act, examples=12)


@pytest.mark.parametrize("section", ["models", "providers", "tiers", "tasks", "codes", "slots"])
@pytest.mark.parametrize("value", ["'no'", "7", "[a]", "null"])
def test_a_section_that_is_no_mapping_is_refused_or_as_if_it_were_not_there(tmp_path, section, value):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    for name, text in SAMPLE.items():
        (old / name).write_text(text, encoding="utf-8")
    (old / SECTIONS[section]).write_text(f"{section}: {value}\n", encoding="utf-8")
    if value == "null":
        migrate(old, new, variables={})
    else:
        with pytest.raises(ConfigError, match=f"{section} must be a mapping"):
            migrate(old, new, variables={})


@pytest.mark.parametrize("tier", ["5.0e-324", "[[a]]", "[{b: c}]", "[{model: [a]}]", "[]", "7"])
def test_a_tier_of_a_slot_in_another_form_is_moved_or_refused(tmp_path, tier):
    old = tmp_path / "old"
    old.mkdir()
    for name, text in SAMPLE.items():
        (old / name).write_text(text, encoding="utf-8")
    (old / "llm_model_slots.yaml").write_text(f"slots: {{1: {{label: deep, tiers: {{cheap: {tier}}}}}}}\n")
    with contextlib.suppress(LLMBenchError):
        migrate(old, tmp_path / "new", variables={})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("llm_registry.json", '{"a": ' + "[" * 900 + "]" * 900 + "}"),
        ("openrouter_models.json", '{"data": ' + "[" * 700 + "]" * 700 + "}"),
        ("llm_model_registry.yaml", "models: {}\nfallback_model: [[a]]\n"),
    ],
)
def test_a_value_nested_deeply_or_in_another_form_is_moved_or_refused(tmp_path, name, text):
    old = tmp_path / "old"
    old.mkdir()
    for each, sample in SAMPLE.items():
        (old / each).write_text(sample, encoding="utf-8")
    (old / name).write_text(text)
    with contextlib.suppress(LLMBenchError):
        migrate(old, tmp_path / "new", variables={})
