"""Values that `llmbench migrate` carries in another spelling, and those that it lists with their place."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from llmbench.cli import app
from llmbench.config import load_config
from llmbench.migration import migrate, prove_folder

ROUTER = "providers: {azure: {}, gemini: {}}\n"
REGISTRY = (
    "models:\n  m: {provider: azure, deployment: dep}\n  g: {provider: gemini, model_name: gemini-3-pro}\n"
)
OLD = {"llm_router.yaml": ROUTER, "llm_model_registry.yaml": REGISTRY}


def moved(tmp_path, files, **options):
    (tmp_path / "old").mkdir()
    for name, text in {**OLD, **files}.items():
        (tmp_path / "old" / name).write_text(text, encoding="utf-8")
    return migrate(tmp_path / "old", tmp_path / "new", variables={}, **options)


@pytest.mark.parametrize(
    ("given", "carried"),
    [
        ({"max_output_tokens": "2048"}, {"max_tokens": 2048}),
        ({"thinkingLevel": "THINKING_LEVEL_HIGH"}, {"reasoning": "high"}),
    ],
)
@pytest.mark.parametrize("file", ["llm_registry.json", "llm_task_overrides.yaml"])
def test_a_number_as_text_and_geminis_own_level_are_carried(tmp_path, file, given, carried):
    entry = {"model": "g", **given} if file == "llm_registry.json" else {"models": ["g"], "options": given}
    done = moved(tmp_path, {file: json.dumps({"draft": entry})})
    assert load_config(tmp_path / "new").task_overrides["draft"].options == carried
    assert (done.losses, done.is_same) == ((), True)


def test_a_value_that_no_call_accepts_is_a_loss_of_the_file_that_holds_it(tmp_path):
    pins = {"a": {"model": "m"}, "draft": {"model": "m", "max_output_tokens": 0, "thinkingLevel": "dynamic"}}
    done = moved(tmp_path, {"llm_registry.json": json.dumps(pins, indent=1)})
    assert {(loss.file, loss.key, loss.value, loss.line) for loss in done.losses} == {
        ("llm_registry.json", "draft.options.max_tokens", "0", 5),
        ("llm_registry.json", "draft.options.reasoning", "dynamic", 5),
    }
    assert [(each.option, each.before, each.after) for each in done.changes] == [
        ("max_tokens", "0", None),
        ("reasoning", "dynamic", None),
    ]


@pytest.mark.parametrize("first", ["true", "false"])
def test_two_flags_that_disagree_are_listed_in_either_order_and_the_one_that_forbids_is_kept(tmp_path, first):
    second = "false" if first == "true" else "true"
    model = f"{{provider: azure, allow_temperature_param: {first}, allow_temperature: {second}}}"
    done = moved(tmp_path, {"llm_model_registry.yaml": f"models:\n  m: {model}\n", "llm_registry.json": PIN})
    assert [(loss.file, loss.line) for loss in done.losses] == [("llm_model_registry.yaml", 2)]
    assert "can break no call" in done.losses[0].reason
    assert not load_config(tmp_path / "new").models["m"].params.allow_temperature
    assert done.is_same


PIN = '{"draft": {"model": "m"}}'
MODEL = "models:\n  m: {provider: azure, deployment: dep, api_version: v1, allow_stop_param: false}\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "option"),
    [
        ("llm_model_registry.yaml", "api_version: v1", "api_version: v2", "api_version"),
        ("llm_model_registry.yaml", "deployment: dep", "deployment: dep, wire: responses", "wire"),
        ("llm_model_registry.yaml", "allow_stop: false", "allow_stop: true", "allow_stop"),
        (
            "llm_model_registry.yaml",
            "allow_stop",
            "allow_temperature: false, allow_stop",
            "allow_temperature",
        ),
        ("llm_router.yaml", "azure: {}", "azure: {headers: {X-Team: b}}", "headers"),
        ("llm_router.yaml", "azure: {}", "azure: {default_api_version: v3}", None),
    ],
)
def test_how_a_model_is_asked_is_compared_too(tmp_path, file, old, new, option):
    files = {"llm_model_registry.yaml": MODEL, "llm_registry.json": PIN}
    assert moved(tmp_path, files).is_same
    path = tmp_path / "new" / file
    assert old in path.read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace(old, new, 1), "utf-8")
    changes = prove_folder(tmp_path / "old", tmp_path / "new", variables={}).changes
    assert (option in {each.option for each in changes}) if option else not changes


def test_a_sentence_among_sub_tasks_is_listed_and_no_task(tmp_path):
    tasks = 'tts:\n  reading: m\n  notes:\n    comment: "これはタスクではない"\n'
    done = moved(tmp_path, {"llm_tasks.yaml": tasks})
    assert [move.task for move in done.moves] == ["reading"]
    assert [(loss.key, loss.line) for loss in done.losses] == [("tts.notes.comment", 4)]
    assert done.is_same


def test_a_name_can_be_said_to_be_no_task(tmp_path):
    tasks = "tts:\n  reading: m\n  notes: {author: someone, version: 2}\n"
    done = moved(tmp_path, {"llm_tasks.yaml": tasks}, not_tasks=["notes"])
    assert [move.task for move in done.moves] == ["reading"]
    assert done.is_same
    command = ["migrate", str(tmp_path / "old"), "--to", str(tmp_path / "new"), "--check"]
    assert CliRunner().invoke(app, [*command, "--not-a-task", "notes"]).exit_code == 0
    assert CliRunner().invoke(app, command).exit_code != 0


def test_a_row_without_architecture_keeps_the_facts_that_it_has(tmp_path):
    row = {"id": "lab/x", "context_length": 4096, "pricing": {"prompt": "0.000001", "completion": "0.000002"}}
    files = {
        "openrouter_models.json": json.dumps({"data": [row, {"id": "lab/y"}]}),
        "llm_registry.json": json.dumps({"a": {"model": "lab/x"}, "b": {"model": "lab/y"}}),
    }
    done = moved(tmp_path, files)
    models = load_config(tmp_path / "new").models
    assert models["or_lab_x"].capabilities.context_tokens == 4096
    assert (models["or_lab_x"].price.input, models["or_lab_x"].price.output) == (1.0, 2.0)
    assert models["or_lab_y"].price is None
    assert done.losses == ()


def test_an_id_that_two_models_have_is_the_first_ones_with_its_options(tmp_path):
    models = (
        "models:\n  a: {provider: azure, deployment: gpt-5, default_max_completion_tokens: 30}\n"
        "  b: {provider: azure, deployment: gpt-5}\n"
    )
    done = moved(tmp_path, {"llm_model_registry.yaml": models, "llm_tasks.yaml": "tts: {reading: gpt-5}\n"})
    assert [move.new for move in done.moves] == [("a",)]
    assert done.is_same


def test_what_keeps_the_client_from_starting_stands_at_the_head(tmp_path):
    moved(tmp_path, {"llm_router.yaml": 'providers: {azure: {base_url: "https://gateway.example"}}\n'})
    command = ["migrate", str(tmp_path / "old"), "--to", str(tmp_path / "again")]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 1
    last = shown.stdout.strip().splitlines()[-1]
    head = (tmp_path / "again" / "MIGRATION.md").read_text("utf-8").split("| task")[0]
    for text in (last, head.replace("\\", "")):
        assert "The client does not start until this is put right (1)" in text
        assert "allow_hosts; name the host there" in text
