"""What a moved folder really sends: the body of a task's call, and what the guard makes of its options."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner

from llmbench.cli import app
from llmbench.config import load_config, read_environment
from llmbench.messages import Message, Request
from llmbench.migration import migrate, prove_folder
from llmbench.routing.prepare import prepare
from llmbench.routing.resolve import Wanted, resolve
from llmbench.routing.setup import Setup

ROW = {
    "id": "lab/x",
    "context_length": 100_000,
    "architecture": {"output_modalities": ["text"], "input_modalities": ["text"]},
    "pricing": {},
    "supported_parameters": ["max_tokens"],
    "top_provider": {"max_completion_tokens": 4096},
}


def write(folder, files):
    folder.mkdir()
    for name, data in files.items():
        text = data if isinstance(data, str) else json.dumps(data)  # JSON is YAML too
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def older(folder, entry, options):
    """An older folder with one model and one task that sends it options."""
    tasks = {"t": {"models": ["m"], "options": options}}
    registry = {"models": {"m": entry}}
    return write(folder, {"llm_model_registry.yaml": registry, "llm_task_overrides.yaml": {"tasks": tasks}})


def body(folder, task="t"):
    """The first candidate's body without its prompt, and its adjustments."""
    config = load_config(folder)
    environment = read_environment({})
    route = resolve(config, environment, Wanted(task), lambda _: None)
    setup = Setup(config, environment, {})
    request = Request(task, (Message("user", "x"),), "call-1")
    made = prepare(setup, request, Wanted(task), route.tier, route.candidates[0])
    prompts = ("model", "messages", "input", "contents", "stream", "store")
    return {name: value for name, value in made.body.items() if name not in prompts}, made.adjustments


def edit(folder, name, change):
    data = yaml.safe_load((folder / name).read_text("utf-8"))
    change(data)
    (folder / name).write_text(yaml.safe_dump(data), "utf-8")


OPENROUTER = {"provider": "openrouter", "model_name": "lab/x"}
AZURE = {"provider": "azure", "deployment": "dep"}
RESPONSES = {**AZURE, "use_responses_api": True}
GEMINI = {"provider": "gemini", "model_name": "gemini-9"}


@pytest.mark.parametrize(
    ("entry", "options", "sent"),
    [
        (OPENROUTER, {"extra_body": {"reasoning": {"effort": "high"}}}, {"reasoning": {"effort": "high"}}),
        (OPENROUTER, {"thinkingLevel": "LOW"}, {"reasoning": {"effort": "low"}}),
        (OPENROUTER, {"reasoning": 2000}, {"reasoning": {"max_tokens": 2000}}),
        (AZURE, {"thinkingLevel": "low"}, {"reasoning_effort": "low"}),
        (RESPONSES, {"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
        (
            GEMINI,
            {"thinkingLevel": "HIGH"},
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH"}}},
        ),
        (GEMINI, {"reasoning": 512}, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 512}}}),
        (
            {**AZURE, "capabilities": {"reasoning": False}},
            {"extra_body": {"reasoning": {"effort": "high"}}},
            {"reasoning_effort": "high"},
        ),
    ],
)
def test_a_level_of_thought_that_an_older_folder_sends_is_sent_in_the_words_of_the_wire(
    tmp_path, entry, options, sent
):
    done = migrate(older(tmp_path / "old", entry, options), tmp_path / "new", variables={})
    made, adjustments = body(tmp_path / "new")
    assert made == sent
    assert {change.action for change in adjustments} <= {"renamed"}
    assert done.is_same
    assert any(note.key.startswith("models.m.") for note in done.notes)


@pytest.mark.parametrize("entry", [AZURE, OPENROUTER, GEMINI])
@pytest.mark.parametrize(
    "flag", ["allow_reasoning_effort", "allow_reasoning", "allow_reasoning_effort_param"]
)
def test_a_level_of_thought_that_an_older_flag_forbids_stays_away(tmp_path, entry, flag):
    old = older(tmp_path / "old", {**entry, flag: False}, {"thinkingLevel": "low"})
    done = migrate(old, tmp_path / "new", variables={})
    assert done.is_same
    assert done.notes == ()
    assert body(tmp_path / "new")[0] == {}


def test_a_flag_that_now_holds_back_a_level_of_extra_body_is_noted(tmp_path):
    options = {"extra_body": {"reasoning": {"effort": "high"}}}
    old = older(tmp_path / "old", {**OPENROUTER, "allow_reasoning_effort": False}, options)
    done = migrate(old, tmp_path / "new", variables={})
    assert [note.key for note in done.notes] == ["models.m.allow_reasoning_effort"]
    assert body(tmp_path / "new")[0] == {}


def test_a_level_for_a_model_that_no_registry_has_is_sent(tmp_path):
    tasks = {
        "y": {"provider": "azure", "model": "gpt-5-mini", "thinkingLevel": "low"},
        "z": {"provider": "openrouter", "model": "lab/x", "thinkingLevel": "low"},
        "w": {"provider": "gemini", "model": "gemini-9", "thinkingLevel": "HIGH"},
    }
    done = migrate(write(tmp_path / "old", {"llm_registry.json": tasks}), tmp_path / "new", variables={})
    assert done.is_same
    assert body(tmp_path / "new", "y")[0] == {"reasoning_effort": "low"}
    assert body(tmp_path / "new", "z")[0] == {"reasoning": {"effort": "low"}}
    assert body(tmp_path / "new", "w")[0]["generationConfig"]["thinkingConfig"] == {"thinkingLevel": "HIGH"}


@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_level_changes_no_route_of_a_list_that_asks_whether_a_model_reasons(tmp_path, is_wanted):
    tiers = {"tiers": {"standard": [{"model": "m", "reasoning": is_wanted}, "n"]}}
    files = {
        "llm_model_registry.yaml": {"models": {"m": AZURE, "n": {**AZURE, "deployment": "other"}}},
        "llm_task_overrides.yaml": {"tasks": {"t": {"models": ["m"], "options": {"reasoning": "low"}}}},
        "llm_tier_candidates.yaml": tiers,
        "llm_tier_mapping.yaml": {"tasks": {"u": "standard"}},
    }
    assert migrate(write(tmp_path / "old", files), tmp_path / "new", variables={}).is_same
    assert body(tmp_path / "new")[0] == {"reasoning_effort": "low"}


def test_a_level_that_the_new_folder_loses_is_a_difference_and_fails_the_check(tmp_path):
    old, new = older(tmp_path / "old", AZURE, {"thinkingLevel": "low"}), tmp_path / "new"
    migrate(old, new, variables={})
    edit(new, "llm_model_registry.yaml", lambda data: data["models"]["m"].pop("capabilities"))
    found = prove_folder(old, new, variables={}).changes
    assert [(each.option, each.before) for each in found if "not sent" in each.after] == [
        ("reasoning", "low")
    ]
    result = CliRunner().invoke(app, ["migrate", str(old), "--to", str(new), "--check"])
    assert result.exit_code == 1
    assert "reasoning was low, is not sent (m: takes no reasoning level" in result.stdout


@pytest.mark.parametrize(
    ("fact", "options", "option", "becomes"),
    [
        ({"capabilities": {"max_tokens": 50}}, {"max_tokens": 60}, "max_tokens", "clamped to 50"),
        (
            {"capabilities": {"reasoning_levels": ["high"]}},
            {"reasoning": "low"},
            "reasoning",
            "clamped to high",
        ),
        ({"params": {"allow_seed": False}}, {"seed": 3}, "seed", "not sent"),
        (
            {"params": {"response_format_support": "prompt"}},
            {"response_format": {"type": "json_object"}},
            "response_format",
            "moved to system prompt",
        ),
        ({"params": {"reasoning_key": "thinkingLevel"}}, {"reasoning": "none"}, "options", "refused"),
    ],
)
def test_what_only_the_new_entry_holds_back_is_a_difference_and_what_the_older_one_states_is_none(
    tmp_path, fact, options, option, becomes
):
    old, new = older(tmp_path / "old", AZURE, options), tmp_path / "new"
    assert migrate(old, new, variables={}).is_same
    edit(new, "llm_model_registry.yaml", lambda data: data["models"]["m"].update(fact))
    found = {each.option: each.after for each in prove_folder(old, new, variables={}).changes}
    assert found[option].startswith(becomes)
    stated = older(tmp_path / "stated", {**AZURE, **fact}, options)
    done = migrate(stated, tmp_path / "kept", variables={})
    assert done.is_same == (option != "options")


@pytest.mark.parametrize(
    ("entry", "options", "option"),
    [
        (RESPONSES, {"stop": ["x"]}, "stop"),
        (AZURE, {"top_k": 4}, "top_k"),
        ({**AZURE, "allow_presence_penalty": False}, {"frequency_penalty": 1}, "frequency_penalty"),
        (RESPONSES, {"max_tokens": 9}, "max_tokens"),
        (GEMINI, {"reasoning": 900, "max_tokens": 500}, "reasoning"),
        (OPENROUTER, {"reasoning": {"max_tokens": 900}, "max_tokens": 500}, "reasoning"),
        (AZURE, {"reasoning": 900}, "options"),
    ],
)
def test_what_no_older_flag_forbids_and_the_new_folder_cannot_send_is_listed(
    tmp_path, entry, options, option
):
    done = migrate(older(tmp_path / "old", entry, options), tmp_path / "new", variables={})
    assert [each.option for each in done.changes] == [option]
    assert done.changes[0].after.startswith(("not sent (", "clamped to ", "refused: "))


def test_a_note_is_in_the_report_on_the_screen_and_in_json_and_counts_as_no_loss(tmp_path):
    old = older(tmp_path / "old", AZURE, {"thinkingLevel": "low"})
    shown = CliRunner().invoke(app, ["migrate", str(old), "--to", str(tmp_path / "new"), "--check"])
    line = "models.m.capabilities.reasoning = true: added, as the older folder sends the model reasoning"
    assert shown.exit_code == 0
    assert f"note: llm_model_registry.yaml:1: {line}" in shown.stdout
    assert "0 not carried" in shown.stdout
    assert "## Note" in (tmp_path / "new" / "MIGRATION.md").read_text("utf-8")
    as_json = CliRunner().invoke(app, ["migrate", str(old), "--to", str(tmp_path / "other"), "--json"])
    assert [note["key"] for note in json.loads(as_json.stdout)["notes"]] == [
        "models.m.capabilities.reasoning"
    ]


@pytest.mark.parametrize("end", ["", "_param"])
@pytest.mark.parametrize(
    ("flag", "rule", "option"),
    [
        ("allow_temperature", "allow_temperature", "temperature"),
        ("allow_stop", "allow_stop", "stop"),
        ("allow_top_p", "allow_top_p", "top_p"),
        ("allow_seed", "allow_seed", "seed"),
        ("allow_verbosity", "allow_verbosity", "verbosity"),
        ("allow_penalties", "allow_penalties", "frequency_penalty"),
        ("allow_presence_penalty", "allow_penalties", "presence_penalty"),
        ("allow_frequency_penalty", "allow_penalties", "frequency_penalty"),
    ],
)
def test_each_older_flag_holds_its_parameter_back(tmp_path, flag, rule, option, end):
    value = {"stop": ["x"], "verbosity": "low"}.get(option, 1)
    old = older(tmp_path / "old", {**AZURE, f"{flag}{end}": False}, {option: value})
    done = migrate(old, tmp_path / "new", variables={})
    assert done.is_same
    assert done.losses == ()
    assert getattr(load_config(tmp_path / "new").models["m"].params, rule) is False
    assert body(tmp_path / "new")[0] == {}


JSON = {"type": "json_object"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "r", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("flags", "form", "support", "sent"),
    [
        ({}, JSON, "json_object", "json_object"),
        ({}, SCHEMA, "json_schema", "json_schema"),
        ({"allow_response_format": True}, JSON, "json_schema", "json_object"),
        ({"allow_response_format": "json_object"}, JSON, "json_object", "json_object"),
        ({"allow_response_format_param": "json_object"}, SCHEMA, "json_object", "json_object"),
        ({"allow_response_format": False}, JSON, "prompt", None),
        ({"allow_response_format": "false"}, JSON, "prompt", None),
        (
            {"allow_response_format": True, "capabilities": {"json_mode": True}},
            SCHEMA,
            "json_object",
            "json_object",
        ),
    ],
)
def test_the_form_of_an_answer_is_sent_as_the_older_entry_allows(tmp_path, flags, form, support, sent):
    old = older(tmp_path / "old", {**AZURE, **flags}, {"response_format": form})
    done = migrate(old, tmp_path / "new", variables={})
    assert done.is_same
    assert done.losses == ()
    assert load_config(tmp_path / "new").models["m"].params.response_format_support == support
    assert body(tmp_path / "new")[0].get("response_format", {}).get("type") == sent


def test_a_form_that_llmbench_has_not_is_listed_and_a_difference(tmp_path):
    old = older(tmp_path / "old", {**AZURE, "allow_response_format": "xml"}, {})
    done = migrate(old, tmp_path / "new", variables={})
    assert [loss.key for loss in done.losses] == ["models.m.allow_response_format"]
    assert [(each.option, each.before) for each in done.changes] == [("response_format_support", "xml")]


def test_of_two_words_on_the_form_of_an_answer_the_loser_is_listed(tmp_path):
    entry = {**AZURE, "allow_response_format": False, "params": {"response_format_support": "json_object"}}
    done = migrate(older(tmp_path / "old", entry, {"response_format": JSON}), tmp_path / "new", variables={})
    assert done.is_same
    assert [loss.key for loss in done.losses] == ["models.m.allow_response_format"]


def test_facts_of_openrouters_list_forbid_nothing_that_a_task_sends(tmp_path):
    task = {
        "provider": "openrouter",
        "model": "lab/x",
        "temperature": 0.3,
        "thinkingLevel": "high",
        "max_output_tokens": 5000,
        "response_format": JSON,
    }
    old = write(
        tmp_path / "old", {"llm_registry.json": {"t": task}, "openrouter_models.json": {"data": [ROW]}}
    )
    done = migrate(old, tmp_path / "new", variables={})
    made, adjustments = body(tmp_path / "new")
    assert made == {
        "temperature": 0.3,
        "reasoning": {"effort": "high"},
        "max_tokens": 5000,
        "response_format": JSON,
    }
    assert not [change for change in adjustments if change.action in ("dropped", "clamped")]
    assert done.is_same
    assert any("allow_temperature" in note.value for note in done.notes)
    params = load_config(tmp_path / "new").models["or_lab_x"].params
    assert (params.allow_top_p, params.allow_seed) == (False, False)


def test_levels_of_openrouters_list_give_way_to_the_level_that_a_task_sends(tmp_path):
    row = {
        **ROW,
        "supported_parameters": ["max_tokens", "reasoning"],
        "reasoning": {"supported_efforts": ["high"]},
    }
    task = {"provider": "openrouter", "model": "lab/x", "thinkingLevel": "low"}
    old = write(tmp_path / "old", {"llm_registry.json": {"t": task}, "openrouter_models.json": [row]})
    assert migrate(old, tmp_path / "new", variables={}).is_same
    assert body(tmp_path / "new")[0] == {"reasoning": {"effort": "low"}}


@pytest.mark.parametrize("has_it", [True, False])
def test_a_row_without_an_architecture_says_nothing_of_pictures(tmp_path, has_it):
    row = {key: value for key, value in ROW.items() if has_it or key != "architecture"}
    task = {"provider": "openrouter", "model": "lab/x"}
    old = write(tmp_path / "old", {"llm_registry.json": {"t": task}, "openrouter_models.json": [row]})
    migrate(old, tmp_path / "new", variables={})
    written = yaml.safe_load((tmp_path / "new" / "llm_model_registry.yaml").read_text("utf-8"))
    assert ("vision" in written["models"]["or_lab_x"]["capabilities"]) is has_it


@pytest.mark.parametrize(
    ("value", "meant"), [(0, False), (1, True), ("false", False), ("True", True), ("no", False)]
)
def test_a_flag_that_is_no_boolean_is_read_as_the_one_that_it_was_meant_as(tmp_path, value, meant):
    entry = {**AZURE, "allow_temperature": value, "params": {"allow_seed": value}}
    done = migrate(
        older(tmp_path / "old", entry, {"temperature": 1, "seed": 2}), tmp_path / "new", variables={}
    )
    assert done.is_same
    assert {note.key for note in done.notes} == {"models.m.allow_temperature", "models.m.params.allow_seed"}
    assert body(tmp_path / "new")[0] == ({"temperature": 1, "seed": 2} if meant else {})


@pytest.mark.parametrize("value", [1, "true", "ON"])
def test_a_wire_that_a_text_or_a_number_names_is_kept(tmp_path, value):
    entry = {**AZURE, "use_responses_api": value, "api_version_responses": "2025-04-01-preview"}
    done = migrate(older(tmp_path / "old", entry, {"max_tokens": 99}), tmp_path / "new", variables={})
    assert done.is_same
    assert body(tmp_path / "new")[0] == {"max_output_tokens": 99}
    assert load_config(tmp_path / "new").models["m"].api_version == "2025-04-01-preview"


@pytest.mark.parametrize(
    ("flag", "option"), [("allow_temperature", "allow_temperature"), ("use_responses_api", "wire")]
)
def test_a_flag_that_cannot_be_read_is_a_difference(tmp_path, flag, option):
    old = older(tmp_path / "old", {**AZURE, flag: "perhaps"}, {})
    done = migrate(old, tmp_path / "new", variables={})
    assert [loss.key for loss in done.losses] == [f"models.m.{flag}"]
    assert [each.option for each in done.changes] == [option]


def test_a_wire_that_a_task_insists_on_and_the_new_folder_does_not_is_a_difference(tmp_path):
    tasks = {"tasks": {"t": {"models": ["m"], "force_responses": True}}}
    old = write(
        tmp_path / "old",
        {"llm_model_registry.yaml": {"models": {"m": AZURE}}, "llm_task_overrides.yaml": tasks},
    )
    assert migrate(old, tmp_path / "new", variables={}).is_same
    edit(tmp_path / "new", "llm_task_overrides.yaml", lambda data: data["tasks"]["t"].pop("force_responses"))
    found = prove_folder(old, tmp_path / "new", variables={}).changes
    assert [(each.option, each.before, each.after) for each in found] == [("force_wire", "responses", None)]
