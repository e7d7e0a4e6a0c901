"""`llmbench migrate`: every older field, what becomes of what has no place, and hostile files."""

from __future__ import annotations

import json
import os
import re

import pytest
import yaml
from typer.testing import CliRunner

from llmbench.check import check_folder
from llmbench.cli import app
from llmbench.config import load_config
from llmbench.errors import ConfigError
from llmbench.migration import migrate

REGISTRY = """\
# the models
models:
  small:            # quick
    provider: azure
    deployment: gpt-5-mini
    family: gpt-5
    use_responses_api: true
    api_version_responses: 2025-04-01-preview
    allow_temperature_param: false
    allow_top_p: false
    allow_logprobs_param: false
    fallback_model: deep
  deep: {provider: openrouter, model_name: deepseek/deepseek-v3.2}
"""
ONE_FILE = """\
providers:
  openrouter: {api_key: sk-or-v1-0123456789abcdef0123}
  azure: {endpoint: "https://x.openai.azure.com", api_key: "${AZURE_KEY_ONE}"}
tiers: {cheap: [deep]}
tasks: {summary: {models: [deep, small]}}
"""
OVERRIDES = """\
tasks:
  summary:
    system_prompt_override: Write short.   # the house style
    options: {extra_body: {reasoning: {effort: high}, route: x}, stream: true}
"""
ROW = {
    "id": "qwen/qwen3-30b",
    "context_length": 32768,
    "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
    "pricing": {"prompt": "0.0000001", "completion": "0.0000002"},
}
SAMPLE = {
    "llm_registry.json": json.dumps(
        {
            "outline": {
                "provider": "google",
                "model": "gemini-2.5-pro",
                "thinkingLevel": "HIGH",
                "max_output_tokens": 8192,
                "api_key": "abcdef0123456789abcdef0123456789",
            },
            "summary": {"provider": "azure", "model": "small"},
        },
        indent="\t",
    ),
    "llm_model_registry.yaml": REGISTRY,
    "llm.yml": ONE_FILE,
    "llm_tasks.yaml": "tts: {reading: small, accent: {model: qwen/qwen3-30b}}\n",
    "llm_task_overrides.yaml": OVERRIDES,
    "llm_model_codes.yaml": "codes: {d: deep}\n",
    "llm_model_slots.yaml": "slots: {1: {label: deep, tiers: {cheap: [d]}}}\n",
    "image_models.yaml": (
        "providers: {gemini: {}}\nmodels: {nano: {provider: gemini, model_name: gemini-2.5-flash-image}}\n"
        "tiers: {image: [nano]}\ntasks: {thumb: {tier: image, models: [n]}}\n"
    ),
    "image_model_slots.yaml": "slots: {n: nano}\n",
    "openrouter_models.json": json.dumps({"data": [ROW, {"id": "unused/model"}]}),
    "stages.yaml": "default_model: deep\nstages: {draft: {model: small, prompt: p.txt}, review: {}}\n",
    "templates.yaml": "templates: {short: {stages: [{name: cut, model: d}, {name: draft, model: deep}]}}\n",
}


def write(folder, files):
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def moved(tmp_path, files=SAMPLE, **options):
    done = migrate(write(tmp_path / "old", files), tmp_path / "new", variables={}, **options)
    return done, load_config(tmp_path / "new")


@pytest.fixture
def sample(tmp_path):
    return moved(tmp_path)


def test_the_sample_keeps_every_route_and_passes_the_check(sample, tmp_path):
    done, _ = sample
    assert done.differences == ()
    assert [f for f in check_folder(tmp_path / "new", variables={}) if f.severity == "error"] == []
    assert {move.task: move.new[0] for move in done.moves} == {
        "accent": "or_qwen_qwen3_30b",
        "cut": "deep",
        "draft": "small",
        "outline": "gem_gemini_2_5_pro",
        "reading": "small",
        "review": "deep",
        "summary": "deep",
        "thumb": "nano",
    }
    assert {move.tier for move in done.moves} == {"standard", "image"}


def test_options_and_prompts_are_carried_by_their_present_names(sample):
    _, config = sample
    assert config.task_overrides["outline"].options == {"reasoning": "high", "max_tokens": 8192}
    assert config.task_overrides["summary"].options == {"extra_body": {"route": "x"}, "reasoning": "high"}
    assert config.task_overrides["summary"].system_prompt == "Write short."


def test_the_older_flags_of_a_model_become_its_rules(sample):
    _, config = sample
    small = config.models["small"]
    assert (small.wire, small.api_version) == ("responses", "2025-04-01-preview")
    assert (small.params.allow_temperature, small.params.allow_top_p) == (False, False)
    assert small.fallback_model == "deep"
    assert config.models["or_qwen_qwen3_30b"].capabilities.context_tokens == 32768


def test_comments_stay_where_a_file_is_rewritten_and_the_rest_is_copied(sample, tmp_path):
    text = (tmp_path / "new" / "llm_model_registry.yaml").read_text()
    assert "# the models" in text
    assert "small:            # quick" in text
    overrides = (tmp_path / "new" / "llm_task_overrides.yaml").read_text()
    assert re.search("system_prompt: Write short. +# the house style", overrides)
    assert (tmp_path / "new" / "image_models.yaml").read_text() == SAMPLE["image_models.yaml"]


def test_what_has_no_place_is_listed_with_file_line_and_reason(sample):
    done, _ = sample
    found = {(loss.file, loss.key): loss for loss in done.losses}
    flag = found["llm_model_registry.yaml", "models.small.allow_logprobs_param"]
    assert (flag.value, flag.line) == ("false", 11)
    assert "sends" in found["llm_task_overrides.yaml", "tasks.summary.options.stream"].reason
    assert "wins" in found["templates.yaml", "templates.short.stages.1"].reason
    assert "wins" in found["llm_registry.json", "summary"].reason
    assert found["stages.yaml", "(the file)"].value == "prompt"
    assert "unused/model" in found["openrouter_models.json", "(the file)"].value


def test_a_key_in_a_file_is_never_copied_and_its_variable_is_named(sample, tmp_path):
    done, config = sample
    written = "".join(path.read_text() for path in (tmp_path / "new").iterdir())
    for secret in ("sk-or-v1", "abcdef0123456789"):
        assert secret not in written + json.dumps(done.to_dict())
    hidden = [loss for loss in done.losses if loss.value == "***"]
    assert {loss.key for loss in hidden} == {"providers.openrouter.api_key", "outline.api_key"}
    assert config.endpoints["openrouter"].env_api_keys == ("OPENROUTER_API_KEY",)
    assert config.endpoints["azure"].env_api_keys == ("AZURE_KEY_ONE",)


def test_the_variable_of_the_pipeline_wins_over_its_default_model(tmp_path):
    old = write(tmp_path / "old", SAMPLE)
    variables = {"SCRIPT_PIPELINE_DEFAULT_MODEL": "small"}
    done = migrate(old, tmp_path / "new", variables=variables)
    assert next(move.new[0] for move in done.moves if move.task == "review") == "small"
    assert any("SCRIPT_PIPELINE_DEFAULT_MODEL" in loss.reason for loss in done.losses)


def test_a_tier_that_is_said_is_given(tmp_path):
    done, config = moved(tmp_path, tiers={"outline": "cheap"})
    assert config.mapping["outline"] == "cheap"
    assert done.differences == ()


def test_what_the_loader_refuses_is_taken_out_with_its_reason(tmp_path):
    files = {**SAMPLE, "llm_model_codes.yaml": "codes: {d: deep, z: nowhere}\n"}
    done, config = moved(tmp_path, files)
    assert config.codes == {"d": "deep"}
    assert any(loss.key == "codes.z.model_key" or loss.key == "codes.z" for loss in done.losses)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("llm_tasks.yaml", BOMB.encode(), None),
        ("llm_tasks.yaml", b"tts: {a: x}\ntts: {b: y}\n", 2),
        ("llm_registry.json", b'{"a": {"model": "x"},\n "a": {"model": "y"}}', 2),
        ("llm_registry.json", b'{"a":\n nope}', 2),
        ("llm_registry.json", b'{"t": 1,\n "a": ["x"]}', 1),
        ("llm_registry.json", b"[" * 100_000, None),
        ("llm_task_overrides.yaml", b"tasks:\n  a: 1\n  b: [1]\n", 2),
        ("llm_task_overrides.yaml", b"tasks:\n  a: {model: 1.10}\n", 2),
        ("stages.yaml", b"# x\n\xff: 1\n", 2),
        ("llm.yml", b"tasks:\n  a: !!python/object:os.system x\n", 2),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_hostile_file_is_a_config_error_with_its_place(tmp_path, name, content, line):
    old = write(tmp_path / "old", {})
    (old / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        migrate(old, tmp_path / "new", variables={})
    assert (caught.value.path, caught.value.line) == (name, line)
    assert not (tmp_path / "new").exists()


def test_a_line_of_100_mb_is_refused_unread(tmp_path):
    old = write(tmp_path / "old", {})
    with (old / "llm_tasks.yaml").open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    with pytest.raises(ConfigError, match="bytes are no config file"):
        migrate(old, tmp_path / "new", variables={})


def test_a_pipe_is_refused_unread_and_called_what_it_is(tmp_path):
    old = write(tmp_path / "old", SAMPLE)
    (old / "llm_tasks.yaml").unlink()
    os.mkfifo(old / "llm_tasks.yaml")
    with pytest.raises(ConfigError, match="no regular file") as caught:
        migrate(old, tmp_path / "new", variables={})
    assert caught.value.path == "llm_tasks.yaml"


def test_a_full_target_is_refused_and_with_force_set_aside(tmp_path):
    old = write(tmp_path / "old", SAMPLE)
    target = write(tmp_path / "new", {"mine.txt": "x"})
    with pytest.raises(ConfigError, match="is not empty"):
        migrate(old, target, variables={})
    assert [path.name for path in target.iterdir()] == ["mine.txt"]
    done = migrate(old, target, variables={}, force=True)
    assert (done.kept / "mine.txt").read_text() == "x"
    assert {path.name for path in tmp_path.iterdir()} == {"old", "new", done.kept.name}


def test_the_older_folder_is_no_place_to_write(tmp_path):
    old = write(tmp_path / "old", SAMPLE)
    for target in (old, old / "configs"):
        with pytest.raises(ConfigError, match="only read"):
            migrate(old, target, variables={}, force=True)
    assert sorted(path.name for path in old.iterdir()) == sorted(SAMPLE)


def test_the_verb_writes_compares_and_fails_on_a_difference(tmp_path):
    old, new = write(tmp_path / "old", SAMPLE), tmp_path / "new"
    first = CliRunner().invoke(app, ["migrate", str(old), "--to", str(new), "--check", "--json"])
    assert first.exit_code == 0
    assert json.loads(first.stdout)["ok"] is True
    file = new / "llm_task_overrides.yaml"
    data = yaml.safe_load(file.read_text())
    data["tasks"]["outline"]["models"] = ["deep"]
    file.write_text(yaml.safe_dump(data))
    again = CliRunner().invoke(app, ["migrate", str(old), "--to", str(new), "--check"])
    assert again.exit_code == 1
    assert "other route: task outline" in again.stdout


def test_a_pin_of_the_pipeline_wins_over_models_of_the_overrides(tmp_path):
    overrides = "tasks: {draft: {models: [deep], timeout: 20}}\n"
    done, config = moved(tmp_path, {**SAMPLE, "llm_task_overrides.yaml": overrides})
    assert config.task_overrides["draft"].models == ("small",)
    assert config.task_overrides["draft"].timeout_s == 20
    assert done.differences == ()
    assert any(loss.file == "llm_task_overrides.yaml" and "wins" in loss.reason for loss in done.losses)


def test_a_provider_that_is_named_decides_between_a_key_and_an_id(tmp_path):
    pins = {
        "mine": {"provider": "azure", "model": "small"},
        "theirs": {"provider": "openrouter", "model": "small"},
    }
    done, _ = moved(tmp_path, {**SAMPLE, "llm_registry.json": json.dumps(pins)})
    first = {move.task: move.old[0] for move in done.moves if move.task in pins}
    assert first == {"mine": ("azure", "gpt-5-mini"), "theirs": ("openrouter", "small")}
    assert done.differences == ()
