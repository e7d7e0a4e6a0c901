"""What `llmbench migrate --check` finds, which tier and model a task gets, and which files are refused."""

from __future__ import annotations

import json
import os

import pytest
import yaml
from typer.testing import CliRunner

from llmbench.cli import app
from llmbench.config import load_config
from llmbench.errors import ConfigError
from llmbench.migration import migrate, prove_folder

REGISTRY = """\
models:
  first: {provider: azure, deployment: dep-1, default_max_completion_tokens: 100}
  second: {provider: azure, deployment: dep-1, default_max_completion_tokens: 200}
  third: {provider: azure, deployment: dep-3, defaults: {temperature: 0.4}}
"""
OLD = {
    "llm_model_registry.yaml": REGISTRY,
    "llm_model_codes.yaml": "codes: {s: second}\n",
    "llm_tier_candidates.yaml": (
        "tiers: {standard: [third, first], cheap: [third]}\ndefaults: {cheap: {max_tokens: 9}}\n"
    ),
    "llm_task_overrides.yaml": (
        "tasks:\n  title:\n    models: [third, first]\n    system_prompt: Be brief.\n    timeout: 20\n"
        "    options: {max_tokens: 50, reasoning: low, temperature: 0.1, extra_body: {route: x}}\n"
    ),
    "llm_tier_mapping.yaml": "tasks: {caption: cheap}\n",
}


def write(folder, files):
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def moved(tmp_path):
    """The older folder and the new one, the same so far."""
    old, new = write(tmp_path / "old", OLD), tmp_path / "new"
    assert migrate(old, new, variables={}).is_same
    return old, new


def edit(folder, name, change):
    data = yaml.safe_load((folder / name).read_text("utf-8")) if (folder / name).is_file() else {}
    change(data)
    (folder / name).write_text(yaml.safe_dump(data), "utf-8")


@pytest.mark.parametrize(
    ("option", "was", "now"),
    [
        ("max_tokens", 50, 51),
        ("reasoning", "low", "high"),
        ("temperature", 0.1, 0.2),
        ("extra_body", {"route": "x"}, {"route": "y"}),
        ("top_p", None, 0.5),
    ],
)
def test_an_option_that_a_task_is_sent_otherwise_is_listed_for_each_model(moved, option, was, now):
    old, new = moved
    edit(new, "llm_task_overrides.yaml", lambda data: data["tasks"]["title"]["options"].update({option: now}))
    done = prove_folder(old, new, variables={})
    assert done.differences == ()
    assert not done.is_same
    assert [(each.task, each.model, each.option) for each in done.changes] == [
        ("title", model, option) for model in ("dep-3", "dep-1")
    ]
    shown = [
        None if value is None else value if isinstance(value, str) else json.dumps(value)
        for value in (was, now)
    ]
    assert [done.changes[0].before, done.changes[0].after] == shown


@pytest.mark.parametrize(
    ("field", "value", "option"), [("timeout", 21, "timeout"), ("system_prompt", "長く。", "system_prompt")]
)
def test_another_deadline_or_system_prompt_is_listed(moved, field, value, option):
    old, new = moved
    edit(new, "llm_task_overrides.yaml", lambda data: data["tasks"]["title"].update({field: value}))
    assert {each.option for each in prove_folder(old, new, variables={}).changes} == {option}


def test_two_long_prompts_that_differ_at_their_end_are_told_apart(tmp_path):
    text = "あ" * 500
    files = {**OLD, "llm_task_overrides.yaml": f"tasks: {{title: {{system_prompt: {text}1}}}}\n"}
    old, new = write(tmp_path / "old", files), tmp_path / "new"
    migrate(old, new, variables={})
    edit(new, "llm_task_overrides.yaml", lambda data: data["tasks"]["title"].update(system_prompt=f"{text}2"))
    change = prove_folder(old, new, variables={}).changes[0]
    assert change.before != change.after
    assert len(change.before) < 150


def test_a_default_of_a_tier_or_a_model_that_changes_is_listed(moved):
    old, new = moved
    edit(new, "llm_tier_candidates.yaml", lambda data: data["defaults"]["cheap"].update(max_tokens=10))
    assert [(c.task, c.option, c.before, c.after) for c in prove_folder(old, new, variables={}).changes] == [
        ("caption", "max_tokens", "9", "10")
    ]
    edit(new, "llm_model_registry.yaml", lambda data: data["models"]["third"]["defaults"].clear())
    assert ("caption", "temperature") in [
        (c.task, c.option) for c in prove_folder(old, new, variables={}).changes
    ]


def test_the_same_models_in_another_order_are_a_difference(moved):
    old, new = moved
    edit(new, "llm_task_overrides.yaml", lambda data: data["tasks"]["title"]["models"].reverse())
    found = prove_folder(old, new, variables={}).differences
    assert [each.task for each in found] == ["title"]
    assert set(found[0].before) == set(found[0].after)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (
            "llm_tier_mapping.yaml",
            lambda data: data.update(overrides={"channels": {"CH9": {"tiers": {"cheap": ["first"]}}}}),
        ),
        (
            "llm_tier_mapping.yaml",
            lambda data: data.update(overrides={"env": {"dev": {"tasks": {"title": {"models": ["third"]}}}}}),
        ),
        ("llm_model_slots.yaml", lambda data: data.update(slots={7: {"tiers": {"cheap": ["first"]}}})),
        ("llm_tier_mapping.yaml", lambda data: data["tasks"].update(new_task="cheap")),
    ],
    ids=["channel", "environment", "slot", "task"],
)
def test_a_rule_that_only_the_new_folder_has_is_asked_too(moved, name, change):
    old, new = moved
    edit(new, name, change)
    assert prove_folder(old, new, variables={}).differences


def test_the_verb_fails_on_another_option_and_says_both(moved):
    old, new = moved
    edit(new, "llm_task_overrides.yaml", lambda data: data["tasks"]["title"]["options"].update(max_tokens=51))
    result = CliRunner().invoke(app, ["migrate", str(old), "--to", str(new), "--check"])
    assert result.exit_code == 1
    assert (
        "other option: task title, dep-3: max_tokens was 50, is 51 (no channel, env or slot)" in result.stdout
    )
    as_json = CliRunner().invoke(app, ["migrate", str(old), "--to", str(new), "--check", "--json"])
    assert json.loads(as_json.stdout)["changes"][0]["option"] == "max_tokens"
    assert json.loads(as_json.stdout)["ok"] is False
    assert not (new / "MIGRATION.md").exists()


@pytest.mark.parametrize(
    ("pin", "key"),
    [
        ({"model": "second"}, "second"),
        ({"model": "s"}, "second"),
        ({"provider": "azure", "model": "second"}, "second"),
        ({"provider": "azure", "model": "s"}, "second"),
        ({"provider": "azure", "model": "dep-1"}, "first"),
    ],
)
def test_of_two_models_with_one_deployment_the_one_that_is_named_is_kept(tmp_path, pin, key):
    old = write(tmp_path / "old", {**OLD, "llm_registry.json": json.dumps({"pinned": pin})})
    done = migrate(old, tmp_path / "new", variables={})
    assert load_config(tmp_path / "new").task_overrides["pinned"].models == (key,)
    assert done.is_same


@pytest.mark.parametrize("entry", [{"tier": "cheap"}, {"tier": "cheap", "model": "first"}])
@pytest.mark.parametrize("file", ["llm_registry.json", "stages.yaml", "llm_tasks.yaml", "llm.yml"])
def test_a_tier_that_only_one_file_names_is_kept(tmp_path, file, entry):
    section = {"stages.yaml": "stages", "llm.yml": "tasks"}.get(file)
    entry = {**entry, "models": [entry["model"]]} if file == "llm.yml" and "model" in entry else entry
    data = {section: {"mine": entry}} if section else {"mine": entry}
    done = migrate(write(tmp_path / "old", {**OLD, file: json.dumps(data)}), tmp_path / "new", variables={})
    assert next(move.tier for move in done.moves if move.task == "mine") == "cheap"
    assert done.is_same


def test_a_tier_or_option_that_loses_is_listed(tmp_path):
    files = {
        **OLD,
        "stages.yaml": "stages: {title: {tier: cheap, max_tokens: 60, system_prompt: Long.}}\n",
        "llm_tier_mapping.yaml": "tasks: {title: standard, caption: cheap}\n",
    }
    done = migrate(write(tmp_path / "old", files), tmp_path / "new", variables={})
    assert done.is_same
    found = {(loss.file, loss.key): loss.value for loss in done.losses}
    assert found["stages.yaml", "stages.title.tier"] == "cheap"
    assert found["llm_task_overrides.yaml", "tasks.title.options.max_tokens"] == "50"
    assert found["llm_task_overrides.yaml", "tasks.title.system_prompt"] == "Be brief."
    rule = load_config(tmp_path / "new").task_overrides["title"]
    assert (rule.options["max_tokens"], rule.system_prompt) == (60, "Long.")


def test_a_model_named_alone_in_an_override_is_asked(tmp_path):
    mapping = "tasks: {caption: cheap}\noverrides: {channels: {CH1: {tasks: {caption: {model: first}}}}}\n"
    done = migrate(
        write(tmp_path / "old", {**OLD, "llm_tier_mapping.yaml": mapping}), tmp_path / "new", variables={}
    )
    assert done.is_same
    assert load_config(tmp_path / "new").channels["CH1"].tasks["caption"].models == ("first",)


def test_a_list_of_which_nothing_can_be_used_is_said(tmp_path):
    tiers = "tiers: {standard: [third], cheap: [{model: third, min_context_tokens: 9000}]}\n"
    done = migrate(
        write(tmp_path / "old", {**OLD, "llm_tier_candidates.yaml": tiers}), tmp_path / "new", variables={}
    )
    assert any("none of its candidates" in loss.reason for loss in done.losses)
    assert {each.task for each in done.differences} == {"caption"}


def test_a_target_that_holds_the_older_folder_is_refused_even_with_force(tmp_path):
    outer = tmp_path / "outer"
    outer.mkdir()
    old = write(outer / "old", OLD)
    with pytest.raises(ConfigError, match="holds the older folder"):
        migrate(old, outer, variables={}, force=True)
    assert sorted(path.name for path in old.iterdir()) == sorted(OLD)


@pytest.mark.parametrize("kind", ["dangling", "pipe", "folder link"])
def test_a_file_that_is_none_is_an_error_or_not_followed(tmp_path, kind):
    old = write(tmp_path / "old", OLD)
    if kind == "folder link":
        (old / "more").symlink_to(
            write(tmp_path / "elsewhere", {"llm_registry.json": '{"x": {"model": "first"}}'})
        )
        assert "x" not in {move.task for move in migrate(old, tmp_path / "new", variables={}).moves}
        return
    path = old / "llm_tasks.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere.yaml")
    with pytest.raises(ConfigError) as caught:
        migrate(old, tmp_path / "new", variables={})
    assert caught.value.path == "llm_tasks.yaml"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"tasks:\n\ta: x\n", 2),
        (b"tasks:\n  a: {timeout: 1}\n  a: {timeout: 2}\n", 3),
        (b"tasks:\n  \xe5\x8f\n", 2),
        (b"- a\n", 1),
        (b"tasks: {a: {models: [1.5]}}\n", 1),
    ],
    ids=["tab", "duplicate", "encoding", "list", "number"],
)
@pytest.mark.parametrize("name", ["llm_task_overrides.yaml", "llm_task_overrides.local.yaml"])
def test_a_wrong_file_or_overlay_is_named_with_its_line(tmp_path, name, content, line):
    old = write(tmp_path / "old", {key: text for key, text in OLD.items() if key != name})
    (old / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        migrate(old, tmp_path / "new", variables={})
    assert (caught.value.path, caught.value.line) == (name, line)
    assert not (tmp_path / "new").exists()


def test_an_older_folder_that_may_only_be_read_is_read_and_left_as_it_was(tmp_path):
    old = write(tmp_path / "old", OLD)
    for path in (*old.iterdir(), old):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path.name: path.stat().st_mtime_ns for path in (old, *old.iterdir())}
    assert migrate(old, tmp_path / "new", variables={}).is_same
    assert {path.name: path.stat().st_mtime_ns for path in (old, *old.iterdir())} == before
    old.chmod(0o755)


def test_a_target_that_is_a_link_is_refused_and_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(ConfigError, match="is a link"):
        migrate(write(tmp_path / "old", OLD), tmp_path / "link", variables={})
    assert (tmp_path / "link").is_symlink()


def test_the_last_model_of_a_candidate_that_cannot_be_used_stays_the_last(tmp_path):
    files = {
        **OLD,
        "llm_model_registry.yaml": REGISTRY + "  fourth: {provider: azure, fallback_model: third}\n",
        "llm_tier_candidates.yaml": (
            "tiers: {standard: [{model: fourth, reasoning: true}, first], cheap: [third]}\n"
        ),
        "llm_tier_mapping.yaml": "tasks: {caption: standard}\n",
    }
    done = migrate(write(tmp_path / "old", files), tmp_path / "new", variables={})
    assert done.is_same
    assert next(move.new for move in done.moves if move.task == "caption") == ("first", "third")


def test_an_option_of_the_routers_file_wins_over_that_of_the_registry(tmp_path):
    files = {
        **OLD,
        "llm.yml": "tasks: {mine: {defaults: {max_tokens: 11}}}\n",
        "llm_registry.json": json.dumps({"mine": {"model": "first", "max_output_tokens": 12, "top_p": 0.5}}),
    }
    done = migrate(write(tmp_path / "old", files), tmp_path / "new", variables={})
    assert done.is_same
    assert load_config(tmp_path / "new").task_overrides["mine"].options == {"top_p": 0.5}
    assert ("llm_registry.json", "mine.options.max_tokens") in {(loss.file, loss.key) for loss in done.losses}


def test_a_tier_of_an_overlay_takes_a_task_from_the_pipelines_default(tmp_path):
    files = {
        **OLD,
        "stages.yaml": "default_model: first\nstages: {one: {}, two: {}}\n",
        "llm_task_overrides.yaml": "tasks: {two: {options: {top_p: 0.5}}}\n",
        "llm_tier_mapping.local.yaml": "tasks: {one: cheap, two: cheap}\n",
    }
    done = migrate(write(tmp_path / "old", files), tmp_path / "new", variables={})
    assert done.is_same
    new = {move.task: (move.tier, move.new) for move in done.moves}
    assert (new["one"], new["two"]) == (("cheap", ("third",)), ("cheap", ("third",)))


def test_a_tier_of_an_overlay_wins_over_the_one_that_is_written_for_the_base(tmp_path):
    files = {
        **OLD,
        "llm_registry.json": json.dumps({"mine": {"model": "first"}}),
        "llm_router.local.yaml": "tasks: {mine: {tier: cheap}}\n",
    }
    done = migrate(write(tmp_path / "old", files), tmp_path / "new", variables={})
    assert done.is_same
    assert next(move.tier for move in done.moves if move.task == "mine") == "cheap"


def test_a_row_that_names_no_parameters_forbids_none(tmp_path):
    row = {
        "id": "lab/x",
        "context_length": 4096,
        "architecture": {"output_modalities": ["text"]},
        "pricing": {},
    }
    files = {
        **OLD,
        "openrouter_models.json": json.dumps([row]),
        "llm_registry.json": json.dumps({"mine": {"model": "lab/x", "temperature": 0.2}}),
    }
    migrate(write(tmp_path / "old", files), tmp_path / "new", variables={})
    spec = load_config(tmp_path / "new").models["or_lab_x"]
    assert spec.capabilities.context_tokens == 4096
    assert spec.params.allow_temperature


def test_losses_of_a_flat_overlay_are_placed_in_it_and_those_of_the_base_are_listed_once(tmp_path):
    files = {
        **OLD,
        "llm_task_overrides.yaml": "title: {models: [first], stream: true}\n",
        "llm_task_overrides.local.yaml": "\ntitle: {echo: true}\n",
        "llm_registry.json": json.dumps({"title": {"model": "third"}}),
    }
    done = migrate(write(tmp_path / "old", files), tmp_path / "new", variables={})
    assert [(loss.file, loss.line) for loss in done.losses] == [
        ("llm_task_overrides.yaml", 1),
        ("llm_registry.json", 1),
        ("llm_task_overrides.local.yaml", 2),
    ]


def test_an_overlay_that_is_not_beside_its_file_is_listed_and_not_merged(tmp_path):
    old = write(tmp_path / "old", OLD)
    write(old / "more", {"llm_task_overrides.local.yaml": "tasks: {title: {models: [first]}}\n"})
    done = migrate(old, tmp_path / "new", variables={})
    assert [loss.file for loss in done.losses] == ["more/llm_task_overrides.local.yaml"]
    assert load_config(tmp_path / "new").task_overrides["title"].models == ("third", "first")
