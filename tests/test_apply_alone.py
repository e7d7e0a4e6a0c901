"""A recommendation without its run, sent by anybody: its diff is read strictly. And media files."""

from __future__ import annotations

import json
import shutil

import pytest

from llmbench import ApplyError, ConfigError, SweepError, apply_recommendation, undo_apply
from llmbench.bench.patch import apply_patch, read_patch
from tests.applying import BASE, NOW, Applying, make_project, write_run
from tests.test_propose_media import CODES, IMAGES, SPEECH, TEXT
from tests.test_recommend import rows

HEAD = "diff --git a/configs/{0} b/configs/{0}\n--- a/configs/{0}\n+++ b/configs/{0}\n"
TASKS = "tasks:\n"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("template") / "project")


@pytest.fixture
def project(template, tmp_path):
    shutil.copytree(template.root, tmp_path / "project")
    return Applying(tmp_path / "project")


def applied(project, given, **options):
    return apply_recommendation(
        given, project=project.root, **{"now": NOW, "accept_unproved": True} | options
    )


def refused(project, facts, **options):
    sent = project.root / "sent.json"
    sent.write_text(facts if isinstance(facts, str) else json.dumps(facts), encoding="utf-8")
    before = project.texts()
    with pytest.raises((ApplyError, ConfigError)) as error:
        applied(project, sent, **options)
    assert project.texts() == before
    return str(error.value)


def replaced(project, name, old, new):
    """The diff that replaces one text in one file."""
    from llmbench.bench.edit import unified_diff

    text = (project.configs / name).read_text(encoding="utf-8")
    assert old in text
    return unified_diff({name: text}, {name: text.replace(old, new)})


def test_a_lone_recommendation_is_applied_by_its_diff_and_taken_back(project):
    before = project.texts()
    done = applied(project, project.alone())
    assert [project.first(task) for task in ("extract", "caption", "greet")] == ["small", "small", "tiny"]
    assert any("does not lie beside it" in note for note in done.notes)
    with pytest.raises(ApplyError, match="already applied"):
        applied(project, project.alone())
    undo_apply(project=project.root)
    assert project.texts() == before


def test_without_its_run_it_needs_a_word_unless_it_is_only_shown(project):
    facts = project.facts()
    assert "nothing shows that its figures were ever measured" in refused(
        project, facts, accept_unproved=False
    )
    assert not applied(project, project.alone(), accept_unproved=False, dry_run=True).is_written
    other = project.root / "reports" / "r2"
    other.mkdir()
    (other / "recommendation.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(ApplyError, match="or give --accept-unproved"):
        applied(project, "r2", accept_unproved=False)


@pytest.mark.parametrize("key", ["llm_model_registry.yaml", "llm_tier_mapping.yaml"])
def test_a_file_that_it_does_not_name_as_its_ground_is_a_changed_one(project, key):
    facts = project.facts()
    del facts["configs"][key]
    assert f"{key} changed since the evidence" in refused(project, facts)
    assert "llm_model_registry.yaml" in refused(project, facts | {"configs": {}})


def test_its_models_are_compared_with_those_that_it_says_were_measured(project):
    overlay = project.configs / "llm_model_registry.local.yaml"
    overlay.write_text("models: {small: {model_name: m-other}}\n")
    said = refused(project, project.facts())
    assert "small is not asked for caption as it was measured: its entry in the registry changed" in said
    overlay.unlink()
    assert any(
        "could not be compared" in note for note in applied(project, sent_without_asked(project)).notes
    )


def sent_without_asked(project):
    """A lone file of an earlier version, planned on another state of the files than it was decided on."""
    facts = project.facts() | {"config_hash": "c"}
    del facts["asked"]
    sent = project.root / "sent.json"
    sent.write_text(json.dumps(facts), encoding="utf-8")
    return sent


@pytest.mark.parametrize("asked", [7, {"extract": 7}, {"extract": {"small": 7}}], ids=str)
def test_a_record_of_how_it_asked_that_is_of_another_shape_is_refused(project, asked):
    assert "lacks what a recommendation holds" in refused(project, project.facts() | {"asked": asked})


def test_a_part_of_a_lone_recommendation_cannot_be_worked_out(project):
    assert "lies alone: a part of it" in refused(project, project.facts(), tasks=["extract"])


@pytest.mark.parametrize(
    "name",
    [
        "../own.yaml",
        "sub/llm_router.yaml",
        "llm_model_registry.yaml",
        "llm_router.local.yaml",
        "sweeps/x.yaml",
    ],
)
def test_a_diff_of_a_file_that_no_proposal_changes_is_refused(project, name):
    diff = HEAD.format(name) + "@@ -1 +1 @@\n-a\n+b\n"
    assert "which no proposal may change" in refused(project, project.facts() | {"diff": diff})


@pytest.mark.parametrize("path", ["/etc/llm_router.yaml", "../configs/llm_router.yaml", "llm_router.yaml"])
def test_a_diff_of_another_folder_is_refused(project, path):
    diff = f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-a\n+b\n"
    assert "which no proposal may change" in refused(project, project.facts() | {"diff": diff})


@pytest.mark.parametrize(
    "change",
    [
        lambda diff: diff.replace("@@ -1,5 +1,5 @@", "@@ -2,5 +2,5 @@"),
        lambda diff: diff.replace("@@ -1,5 +1,5 @@", "@@ -1,4 +1,5 @@"),
        lambda diff: diff.replace("@@ -1,5 +1,5 @@", "@@ -0,5 +0,5 @@"),
        lambda diff: diff.replace("the usual", "the other", 1),
        lambda diff: diff[:-1],
        lambda diff: diff + "more\n",
        lambda diff: diff + diff,
        lambda diff: diff.partition("@@")[0],
        lambda diff: diff.replace("b/configs", "b/other", 1),
        lambda diff: diff.replace("+  standard", "\\ No newline at end of file\n+  standard"),
        lambda diff: "GIT binary patch\n" + diff,
    ],
    ids=[
        "another place", "a false count", "line 0", "another context", "torn", "more", "twice", "no hunk",
        "two names", "no line end", "binary",
    ],
)  # fmt: skip
def test_a_diff_that_does_not_fit_exactly_is_refused(project, change):
    facts = project.facts()
    assert "@@ -1,5 +1,5 @@" in facts["diff"]
    said = refused(project, facts | {"diff": change(facts["diff"])})
    assert "the diff" in said or "its diff" in said


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("llm_router.yaml", "127.0.0.1:1", "127.0.0.1:9", "endpoints of the configs"),
        ("llm_tier_candidates.yaml", "[tiny, small]", "[small, tiny]", "greet: tiny > small → small > tiny"),
        ("llm_tier_mapping.yaml", "greet: cheap", "greet: standard", "greet: tiny > small → small > ref"),
        ("llm_task_overrides.yaml", "{timeout: 30}", "{timeout: 3}", "greet"),
        ("llm_task_overrides.yaml", TASKS, f"{TASKS}  extract: {{system_prompt: Lie.}}\n", "extract: the"),
        ("llm_task_overrides.yaml", TASKS, f"{TASKS}  caption: {{options: {{top_p: 0}}}}\n", "caption: the"),
        ("llm_task_overrides.yaml", TASKS, f"{TASKS}  extract: {{models: [big]}}\n", "by big after the"),
        ("llm_task_overrides.yaml", TASKS, f"{TASKS}  extract: {{models: [gone]}}\n", "gone"),
        ("llm_task_overrides.yaml", TASKS, "tasks: [\n", "YAML"),
    ],
    ids=["provider", "tier", "mapping", "deadline", "prompt", "options", "model", "no model", "no YAML"],
)  # fmt: skip
def test_a_diff_that_slips_in_something_else_is_refused_by_what_it_is(project, name, old, new, said):
    facts = project.facts()
    (patch,) = read_patch(facts["diff"])
    if name == patch.name:  # both changes in one diff of the file
        text = (project.configs / name).read_text(encoding="utf-8")
        from llmbench.bench.edit import unified_diff

        diff = unified_diff({name: text}, {name: apply_patch(patch, text).replace(old, new)})
    else:
        diff = facts["diff"] + replaced(project, name, old, new)
    assert said in refused(project, facts | {"diff": diff})


def test_a_model_of_its_own_parameters_needs_its_run(project):
    facts = project.facts()
    facts["tasks"][0]["proposed_model"] = "small[temperature=0.1]"
    assert "a model with parameters of its own" in refused(project, facts)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "not a recommendation of schema 2"),
        ('{"schema": 1}', "not a recommendation of schema 2"),
        ('{"schema": true}', "not a recommendation of schema 2"),
        ('{"schema": 2}', "lacks what a recommendation holds"),
    ],
    ids=range(6),
)
def test_what_is_no_recommendation_is_refused(project, facts, said):
    assert said in refused(project, facts)


@pytest.mark.parametrize("key", ["tasks", "tiers", "judge", "diff", "configs"])
def test_a_recommendation_with_a_part_of_another_type_is_refused(project, key):
    assert "lacks what a recommendation holds" in refused(project, project.facts() | {key: 7})


def test_names_with_hidden_characters_are_refused_and_shown(project):
    facts = project.facts()
    facts["tasks"][0]["proposed_model"] = "sm\x1b[31mall"
    said = refused(project, facts)
    assert "hidden characters" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("given", ["nope", "../r1", "reports/none", ""])
def test_what_is_not_there_is_said(project, given, monkeypatch):
    monkeypatch.chdir(project.root / "configs")
    with pytest.raises((ApplyError, SweepError)):
        applied(project, given)


# --- media --------------------------------------------------------------------------------------------------


def media_project(root, modality, task, tier):
    project = Applying(root)
    project.configs.mkdir(parents=True)
    files = {**TEXT, "speech_models": SPEECH, "image_models": IMAGES, "image_model_slots": CODES}
    for name, text in files.items():
        (project.configs / f"{name}.yaml").write_text(text, encoding="utf-8")
    table = rows({"ref": BASE, "small": BASE}, task=task, timestamp="2026-11-26T12:00:00Z").to_dict("records")
    write_run(project, table, {"tier": tier}, modality=modality, unreachable=["away", "gone"])
    return project


@pytest.mark.parametrize(
    ("modality", "task", "tier"), [("speech", "narration", "speech"), ("image", "scene_image", "image")]
)
@pytest.mark.parametrize("is_alone", [False, True], ids=["its run", "alone"])
def test_a_media_recommendation_moves_its_task_and_comes_back(tmp_path, modality, task, tier, is_alone):
    project = media_project(tmp_path / "project", modality, task, tier)
    before = project.texts()
    held = {name for name, sha256 in project.facts()["configs"].items() if sha256 is not None}
    assert held == {f"{modality}_models.yaml", *(["image_model_slots.yaml"] if modality == "image" else [])}
    done = applied(project, project.alone() if is_alone else "r1")
    assert done.files == (f"{modality}_models.yaml",)
    assert project.first(task) == "small"
    undo_apply(project=project.root)
    assert project.texts() == before
