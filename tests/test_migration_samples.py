"""`llmbench migrate` over the hand-written older folders: every field, comments, the table, a served call."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmbench import LLMClient
from llmbench.check import check_folder
from llmbench.cli import app
from llmbench.config import load_config
from llmbench.migration import migrate

LEGACY = Path(__file__).parent / "legacy"
CONFIGS = Path(__file__).parents[1] / "configs"


class Moved:
    """A sample that was moved: what came of it, its config, and the texts before and after."""

    def __init__(self, name, folder):
        self.old, self.new = LEGACY / name, folder
        self.done = migrate(self.old, folder, variables={})
        self.config = load_config(folder)
        self.before = {path.name: path.read_text("utf-8") for path in self.old.rglob("*.*")}
        self.after = {path.name: path.read_text("utf-8") for path in folder.iterdir()}
        self.routes = {move.task: [f"{p}:{m}" for p, m in move.old] for move in self.done.moves}
        self.keys = {move.task: move.new for move in self.done.moves}
        self.lost = {(loss.file, loss.key): loss for loss in self.done.losses}

    def task(self, name):
        return self.config.task_overrides[name]


@pytest.fixture(scope="module")
def channels(tmp_path_factory):
    return Moved("channels", tmp_path_factory.mktemp("channels") / "configs")


@pytest.fixture(scope="module")
def one_file(tmp_path_factory):
    return Moved("one_file", tmp_path_factory.mktemp("one_file") / "configs")


#: Every field that older files have: where the sample has it, and what it must have become.
FIELDS = [
    (
        "llm_registry.json",
        '"provider": "gemini"',
        lambda m: m.routes["企画_タイトル"] == ["gemini:gemini-2.5-pro"],
    ),
    ("llm_registry.json", '"model": "gpt-5-mini"', lambda m: m.keys["thumbnail_text"][0] == "gpt5_mini_az"),
    (
        "llm_registry.json",
        '"thinkingLevel": "HIGH"',
        lambda m: m.task("企画_タイトル").options["reasoning"] == "high",
    ),
    (
        "llm_registry.json",
        '"max_output_tokens": 8192',
        lambda m: m.task("企画_タイトル").options["max_tokens"] == 8192,
    ),
    ("llm_model_registry.yaml", "family: gpt-5-mini", lambda m: m.config.models["gpt5_mini_az"].family),
    (
        "llm_model_registry.yaml",
        "use_responses_api: true",
        lambda m: m.config.models["gpt5_mini_az"].wire == "responses",
    ),
    (
        "llm_model_registry.yaml",
        "api_version_responses: 2025-04-01-preview",
        lambda m: m.config.models["gpt5_mini_az"].api_version == "2025-04-01-preview",
    ),
    (
        "llm_model_registry.yaml",
        "allow_temperature: false",
        lambda m: not m.config.models["gpt5_mini_az"].params.allow_temperature,
    ),
    (
        "llm_model_registry.yaml",
        "allow_stop_param: false",
        lambda m: not m.config.models["gpt5_mini_az"].params.allow_stop,
    ),
    (
        "llm_model_registry.yaml",
        "allow_top_p_param: false",
        lambda m: not m.config.models["gpt5_mini_az"].params.allow_top_p,
    ),
    (
        "llm_model_registry.yaml",
        "allow_logprobs: false",
        lambda m: ("configs/llm_model_registry.yaml", "models.gpt5_mini_az.allow_logprobs") in m.lost,
    ),
    (
        "llm_model_registry.yaml",
        "fallback_model: deepseek_or",
        lambda m: m.keys["thumbnail_text"] == ("gpt5_mini_az", "deepseek_or"),
    ),
    ("llm_router.yaml", "要約: {tier: cheap", lambda m: m.config.router_tasks["要約"].tier == "cheap"),
    ("llm_router.yaml", "timeout: 45", lambda m: m.config.router_tasks["要約"].timeout_s == 45),
    (
        "llm_router.yaml",
        "retry_policy: {retry_limit: 2}",
        lambda m: m.config.router_tasks["要約"].policy["retry_limit"] == 2,
    ),
    ("llm_tasks.yaml", "読み_annotation: ds", lambda m: m.keys["読み_annotation"] == ("deepseek_or",)),
    (
        "llm_tasks.yaml",
        "accent_check: {model: qwen/qwen3-30b",
        lambda m: m.routes["accent_check"] == ["openrouter:qwen/qwen3-30b"],
    ),
    (
        "llm_task_overrides.yaml",
        "system_prompt_override: 短い日本語で書く。",
        lambda m: m.task("belt_text").system_prompt == "短い日本語で書く。",
    ),
    (
        "llm_task_overrides.yaml",
        "extra_body: {reasoning: {effort: high}}",
        lambda m: m.task("script_draft").options == {"reasoning": "high", "max_tokens": 6000},
    ),
    ("llm_model_codes.yaml", "ds: {model_key: deepseek_or", lambda m: m.config.codes["ds"] == "deepseek_or"),
    ("llm_model_codes.yaml", "fl: gem_flash", lambda m: m.config.codes["fl"] == "gem_flash"),
    ("llm_model_slots.yaml", "standard: [ds]", lambda m: m.config.slots["1"].tiers["standard"] == ("ds",)),
    (
        "image_models.yaml",
        "サムネイル: {tier: image, models: [nb]",
        lambda m: m.routes["サムネイル"] == ["gemini:gemini-2.5-flash-image"],
    ),
    (
        "image_model_slots.yaml",
        "nb: {model_key: nano_banana",
        lambda m: m.config.media["image"].codes["nb"] == "nano_banana",
    ),
    (
        "openrouter_models.json",
        '"context_length": 32768',
        lambda m: m.config.models["or_qwen_qwen3_30b"].capabilities.context_tokens == 32768,
    ),
    (
        "openrouter_models.json",
        "mistral/unused-model",
        lambda m: "mistral/unused-model" in m.lost["configs/openrouter_models.json", "(the file)"].value,
    ),
    ("stages.yaml", "outline: {model: gem_flash", lambda m: m.keys["outline"] == ("gem_flash",)),
    (
        "stages.yaml",
        "default_model: gpt5_mini_az",
        lambda m: m.keys["draft"] == ("gpt5_mini_az", "deepseek_or"),
    ),
    ("stages.yaml", "max_output_tokens: 2000", lambda m: m.task("review").options == {"max_tokens": 2000}),
    ("templates.yaml", "{name: hook, model: fl}", lambda m: m.keys["hook"] == ("gem_flash",)),
    ("templates.yaml", "default_model: deepseek_or", lambda m: m.keys["closing"] == ("deepseek_or",)),
    (
        "llm_tier_candidates.yaml",
        "min_context_tokens: 100000",
        lambda m: m.config.tiers["standard"][1].condition.min_context_tokens == 100000,
    ),
    (
        "llm_tier_mapping.yaml",
        "tiers: {cheap: [ds]}",
        lambda m: m.config.channels["CH01_健康"].tiers["cheap"][0].model == "ds",
    ),
    (
        "llm_router.local.yaml",
        "base_url: http://127.0.0.1:8080",
        lambda m: m.config.endpoints["azure"].base_url == "http://127.0.0.1:8080",
    ),
    (
        "llm_task_overrides.local.yaml",
        "models: [deepseek_or]",
        lambda m: m.keys["belt_text"] == ("deepseek_or",),
    ),
]


@pytest.mark.parametrize(("file", "text", "holds"), FIELDS, ids=[f"{f[0]}: {f[1]}" for f in FIELDS])
def test_every_field_of_the_older_files_is_carried_or_listed(channels, file, text, holds):
    assert text in channels.before[file]
    assert holds(channels)


def test_the_pipelines_variable_wins_over_the_default_of_both_files(tmp_path):
    variables = {"SCRIPT_PIPELINE_DEFAULT_MODEL": "gem_flash"}
    done = migrate(LEGACY / "channels", tmp_path / "new", variables=variables)
    new = {move.task: move.new for move in done.moves}
    assert (new["draft"], new["closing"], new["review"]) == (("gem_flash",), ("gem_flash",), ("deepseek_or",))
    assert done.is_same


@pytest.mark.parametrize("sample", ["channels", "one_file"])
def test_a_sample_keeps_every_route_and_option_and_has_no_error(sample, request):
    moved = request.getfixturevalue(sample)
    assert moved.done.is_same
    asked = {"channels": 2 * 15 * (2 * 3 * 4), "one_file": 2}  # overlays x tasks x channels, envs and slots
    assert moved.done.compared == asked[sample]
    assert [f for f in check_folder(moved.new, variables={}) if f.severity == "error"] == []


def test_each_task_is_in_tier_standard_unless_a_file_names_one(channels):
    other = {move.task: move.tier for move in channels.done.moves if move.tier != "standard"}
    assert other == {
        "script_draft": "heavy_reasoning",
        "字幕": "cheap",
        "要約": "cheap",
        "サムネイル": "image",
    }
    assert load_config(channels.new).mapping["企画_タイトル"] == "standard"


def test_every_comment_of_a_rewritten_file_stays_where_it_was(channels):
    comment = re.compile(r"#.*")
    rewritten = [name for name in channels.before if name in channels.after]
    assert len(rewritten) == 12
    for name in rewritten:
        found = comment.findall(channels.before[name])
        assert [text for text in comment.findall(channels.after[name]) if text in found] == found, name


def test_lines_that_do_not_change_are_the_same_bytes(channels):
    old, new = (texts["llm_model_registry.yaml"].splitlines() for texts in (channels.before, channels.after))
    gone = [line.strip() for line in old if line not in new]
    assert gone == [
        "api_version: 2024-10-21",
        "api_version_responses: 2025-04-01-preview   # Responses だけ新しい",
        "allow_stop_param: false",
        "allow_top_p_param: false",
        "allow_logprobs: false",
    ]
    assert new[: old.index("    api_version: 2024-10-21")] == old[: old.index("    api_version: 2024-10-21")]
    assert "    api_version: 2025-04-01-preview   # Responses だけ新しい" in new
    same = ("llm_fallback_policy.yaml", "image_models.yaml", "image_model_slots.yaml", "llm_router.yaml")
    for name in (*same, "llm_router.local.yaml", "llm_task_overrides.local.yaml", "llm_model_slots.yaml"):
        assert channels.after[name] == channels.before[name]


def test_a_comment_over_the_next_key_survives_the_end_of_the_entry_before_it(tmp_path):
    (tmp_path / "old").mkdir()
    text = (
        "models:\n  a:\n    provider: azure\n    allow_seed_param: false\n    allow_logprobs: true  # 古い\n"
        "  # --- next ---\n  b: {provider: azure}\n"
    )
    (tmp_path / "old" / "llm_model_registry.yaml").write_text(text, "utf-8")
    migrate(tmp_path / "old", tmp_path / "new", variables={})
    made = (tmp_path / "new" / "llm_model_registry.yaml").read_text("utf-8")
    assert made == (
        "models:\n  a:\n    provider: azure\n    # 古い\n    params:\n      allow_seed: false\n"
        "  # --- next ---\n  b: {provider: azure}\n"
    )


def test_comments_of_files_that_are_taken_apart_are_listed(channels):
    for file in ("configs/llm_tasks.yaml", "pipeline/stages.yaml", "pipeline/templates.yaml"):
        assert "stay in the older file" in channels.lost[file, "comments"].reason


def test_an_overlay_stays_an_overlay_and_the_shared_files_are_as_without_it(channels):
    assert channels.task("belt_text").models == ("deepseek_or",)
    assert "models: [gpt-4o]" in channels.after["llm_task_overrides.yaml"]
    assert "127.0.0.1" not in channels.after["llm_router.yaml"]


def test_an_overlay_of_a_file_that_is_taken_apart_becomes_one_of_those_it_went_to(tmp_path):
    old = shutil.copytree(LEGACY / "channels", tmp_path / "old")
    (old / "pipeline" / "stages.local.yaml").write_text("stages: {outline: {model: lab/new-model}}\n")
    done = migrate(old, tmp_path / "new", variables={})
    assert done.is_same
    assert load_config(tmp_path / "new").task_overrides["outline"].models == ("or_lab_new_model",)
    assert "or_lab_new_model" not in (tmp_path / "new" / "llm_model_registry.yaml").read_text("utf-8")
    assert "or_lab_new_model" in (tmp_path / "new" / "llm_model_registry.local.yaml").read_text("utf-8")


def test_a_key_in_an_overlay_is_never_copied_and_the_named_variable_stays(tmp_path):
    old = shutil.copytree(LEGACY / "channels", tmp_path / "old")
    secret = "sk-or-v1-0123456789abcdef0123"
    overlay = f"providers: {{openrouter: {{api_key: {secret}}}, azure: {{api_key: abcdefghij}}}}\n"
    (old / "configs" / "llm_router.local.yaml").write_text(overlay)
    done = migrate(old, tmp_path / "new", variables={})
    written = "".join(path.read_text("utf-8") for path in (tmp_path / "new").iterdir())
    assert "sk-or-v1" not in written + json.dumps(done.to_dict())
    assert "abcdefghij" not in written + json.dumps(done.to_dict())
    assert load_config(tmp_path / "new").endpoints["azure"].env_api_keys == ("AZURE_OPENAI_API_KEY",)
    hidden = [(loss.file, loss.line) for loss in done.losses if loss.value == "***"]
    assert hidden == [("configs/llm_router.local.yaml", 1)] * 2


def test_an_overlay_that_leads_to_another_route_afterwards_is_a_difference(tmp_path, channels):
    from llmbench.migration import prove_folder

    new = shutil.copytree(channels.new, tmp_path / "new")
    (new / "llm_task_overrides.local.yaml").unlink()
    found = prove_folder(channels.old, new, variables={}).differences
    assert {each.task for each in found} == {"belt_text"}
    assert "with the .local.yaml files" in str(found[0])
    text = (new / "llm_task_overrides.yaml").read_text("utf-8")
    (new / "llm_task_overrides.yaml").write_text(text.replace("[gpt-4o]", "[gem_flash]"), "utf-8")
    found = prove_folder(channels.old, new, variables={}).differences
    assert {each.is_local for each in found} == {True, False}


def test_the_present_form_is_copied_byte_for_byte(tmp_path):
    done = migrate(CONFIGS, tmp_path / "new", variables={})
    assert done.is_same
    assert {loss.reason for loss in done.losses} == {"none of the files that are read here"}
    names = {path.name for path in CONFIGS.glob("*.yaml") if ".local." not in path.name}
    for name in names:
        assert (tmp_path / "new" / name).read_bytes() == (CONFIGS / name).read_bytes()
    assert {path.name for path in (tmp_path / "new").iterdir()} >= names


@pytest.mark.parametrize("sample", ["channels", "one_file"])
def test_moving_what_was_moved_changes_nothing(sample, request, tmp_path):
    moved = request.getfixturevalue(sample)
    again = migrate(moved.new, tmp_path / "again", variables={})
    assert again.is_same
    assert {path.name: path.read_text("utf-8") for path in (tmp_path / "again").iterdir()} == moved.after


def test_a_one_file_form_is_copied_with_its_spellings_and_only_its_own_words_are_unknown(one_file):
    text = one_file.after["llm_router.yaml"]
    assert "defaults: {temperature: 0.3, max_output_tokens: 4000}" in text
    assert "  main:                             # 主力" in text
    warned = [f.message for f in check_folder(one_file.new, variables={}) if f.severity == "warning"]
    assert [
        message.split(";")[0] for message in warned if "unknown" in message and "price" not in message
    ] == ["unknown key 'tasks.caption.retry_policy.limit'"]
    assert [loss.key for loss in one_file.done.losses] == ["tasks.caption.retry_policy.limit"]


def test_the_table_fits_a_terminal_of_100_columns_and_says_everything(tmp_path, monkeypatch):
    from rich.console import Console

    from llmbench import cli_migrate

    screen = Console(force_terminal=True, width=100, soft_wrap=True, color_system=None, record=True)
    monkeypatch.setattr(cli_migrate, "out", screen)
    command = ["migrate", str(LEGACY / "channels"), "--to", str(tmp_path / "new"), "--check"]
    assert CliRunner().invoke(app, command).exit_code == 0
    text = screen.export_text()
    assert "…" not in text.split("hidden model")[0]
    table = [line for line in text.splitlines() if line.startswith(("│", "┃", "┏", "└"))]
    assert max(Console().measure(line).maximum for line in table) <= 100
    for word in ("ナレーション原稿", "openrouter:deepseek/deepseek-v3.2", "gem_gemini_2_5_pro", "15 tasks"):
        assert word in text


def test_the_report_beside_the_new_files_has_the_table_the_losses_and_no_markup_of_strangers(tmp_path):
    pins = {"a|b <script>x</script> [l](http://x) `c`\u202e": {"provider": "azure", "model": "gpt-4o-mini"}}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "llm_registry.json").write_text(json.dumps(pins))
    (tmp_path / "old" / "notes.yaml").write_text("a: 1\n")
    command = ["migrate", str(tmp_path / "old"), "--to", str(tmp_path / "new"), "--check"]
    assert CliRunner().invoke(app, command).exit_code == 0
    text = (tmp_path / "new" / "MIGRATION.md").read_text("utf-8")
    assert "<script" not in text
    assert "\u202e" not in text
    assert "[l](http" not in text
    row = next(line for line in text.splitlines() if "azure" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 6
    assert "## Not carried" in text
    assert "notes.yaml" in text
    load_config(tmp_path / "new")


def test_a_moved_task_is_served(tmp_path, server):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    (old / "llm.yml").write_text(f"providers: {{desk: {{url: '{server.url}', api_key: '${{DESK_KEY}}'}}}}\n")
    (old / "llm_registry.json").write_text(
        json.dumps({"台本": {"provider": "desk", "model": "m-1", "max_output_tokens": 64}})
    )
    (old / "llm_task_overrides.yaml").write_text(
        "tasks: {台本: {system_prompt_override: 短く。, options: {temperature: 0.2}}}\n", "utf-8"
    )
    assert migrate(old, new, variables={}).is_same
    with LLMClient(new, variables={"DESK_KEY": "k-1"}, log_path=tmp_path / "log.jsonl") as client:
        reply = client.call("台本", "犬が走る。")
    assert (reply.text, reply.tier, reply.model_id) == ("answer of m-1", "standard", "m-1")
    sent = server.received[-1]
    assert sent.headers["authorization"] == "Bearer k-1"
    assert sent.json["max_tokens"] == 64
    assert sent.json["temperature"] == 0.2
    assert [message["role"] for message in sent.json["messages"]] == ["system", "user"]
