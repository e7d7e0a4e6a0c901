"""Applying a recommendation: what it changes, what it proves first, and everything that it refuses."""

from __future__ import annotations

import getpass
import hashlib
import json
import pickle
import shutil
from datetime import timedelta

import pytest

import llmbench
from llmbench import ApplyError
from llmbench.bench.decision_log import read_log
from llmbench.config import load_config
from tests.applying import (
    FILES,
    MAPPING,
    NOW,
    applied,
    make_project,
    project,  # noqa: F401 - a fixture
    refused,
    template,  # noqa: F401 - a fixture of `project`
)

# --- what it does ------------------------------------------------------------------------------------------


def test_the_proved_model_answers_first_and_every_other_byte_stays(project):
    before = project.texts()
    assert (project.first("extract"), project.first("greet")) == ("ref", "tiny")
    done = applied(project)
    assert [project.first(task) for task in ("extract", "caption", "greet")] == ["small", "small", "tiny"]
    assert project.first("extract", channel="CH02") == "ref"
    after = project.texts()
    assert [name for name in before if before[name] != after[name]] == list(done.files)
    line = "  standard: [ref, big]   # the usual"
    assert after["llm_tier_candidates.yaml"] == before["llm_tier_candidates.yaml"].replace(
        line.encode(), line.replace("[ref", "[small, ref").encode()
    )
    assert after["llm_tier_mapping.yaml"].startswith(before["llm_tier_mapping.yaml"])


def test_who_when_why_and_on_what_evidence_is_in_the_decision_log(project):
    before = project.texts()
    done = applied(project, by="Mika", reason="half the price")
    (line,) = (project.configs / "llm_decisions.jsonl").read_text(encoding="utf-8").splitlines()
    facts = json.loads(line)
    sha256 = {name: hashlib.sha256(data).hexdigest() for name, data in (before | {}).items()}
    now = {name: hashlib.sha256(data).hexdigest() for name, data in project.texts().items()}
    assert facts == {
        "schema": 1,
        "id": done.id,
        "when": "2026-11-29T12:00:00Z",
        "by": "Mika",
        "reason": "half the price",
        "action": "apply",
        "undoes": None,
        "run_id": "r1",
        "recommendation_sha256": hashlib.sha256(project.recommendation.read_bytes()).hexdigest(),
        "evidence_sha256": hashlib.sha256((project.run_dir / "results.jsonl").read_bytes()).hexdigest(),
        "tasks": [
            {
                "task": task,
                "from": {"tier": "standard", "model": "ref"},
                "to": {"tier": "standard", "model": "small"},
            }
            for task in ("caption", "extract")
        ],
        "files": [
            {"file": name, "before_sha256": sha256[name], "after_sha256": now[name]} for name in done.files
        ],
        "diff": project.facts()["diff"],
    }
    load_config(project.configs)  # the log is no config file


def test_the_login_name_decides_where_nobody_is_named(project):
    assert applied(project).entry.by == getpass.getuser()


def test_a_dry_run_says_everything_and_writes_nothing(project):
    before = project.texts()
    shown = applied(project, dry_run=True)
    assert (shown.is_written, shown.id, shown.diff) == (False, None, project.facts()["diff"])
    assert str(shown).startswith(
        "caption: ref (standard) → small (standard)\n  Put small before ref for caption"
    )
    assert str(shown).endswith("not written")
    assert project.texts() == before
    assert sorted(path.name for path in project.configs.iterdir()) == sorted([*before])


def test_one_task_of_a_recommendation_moves_alone_and_the_other_may_follow(project):
    applied(project, tasks=["extract"])
    assert [project.first(task) for task in ("extract", "caption")] == ["small", "ref"]
    rest = applied(project)
    assert [move.task for move in rest.moves] == ["caption"]
    assert any("applied extract before" in note for note in rest.notes)
    assert [project.first(task) for task in ("extract", "caption")] == ["small", "small"]


def test_tasks_that_no_file_names_are_said_to_move_with_their_tier(project):
    assert any("no file names" in note and "ref → small" in note for note in applied(project).notes)
    assert project.first("anything else") == "small"


def test_a_path_a_run_folder_and_a_run_id_are_the_same_recommendation(project):
    diffs = {
        applied(project, given, dry_run=True).diff
        for given in ("r1", project.run_dir, project.recommendation, str(project.recommendation))
    }
    assert diffs == {project.facts()["diff"]}


def test_line_ends_of_the_files_are_kept(tmp_path):
    crlf = {name: text.replace("\n", "\r\n") for name, text in FILES.items()}
    project = make_project(tmp_path / "project", files=crlf)
    done = applied(project)
    for name in done.files:
        data = (project.configs / name).read_bytes()
        assert data.count(b"\n") == data.count(b"\r\n")
    assert project.first("extract") == "small"


def test_rights_and_symbolic_links_of_the_files_are_kept(project, tmp_path):
    mapping, tiers = (
        project.configs / name for name in ("llm_tier_mapping.yaml", "llm_tier_candidates.yaml")
    )
    tiers.chmod(0o640)
    shutil.move(mapping, tmp_path / "shared.yaml")
    mapping.symlink_to(tmp_path / "shared.yaml")
    applied(project)
    assert tiers.stat().st_mode & 0o777 == 0o640
    assert mapping.is_symlink()
    assert "CH02" in (tmp_path / "shared.yaml").read_text(encoding="utf-8")


def test_in_a_notebook_all_texts_are_escaped(project):
    done = applied(project, by="<script>x</script>\x1b[31m", reason="<b>")
    page = done._repr_html_()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "\x1b" not in page + str(done)
    assert "# 段の候補" in page
    assert done.to_dict()["is_written"] is True


def test_the_error_is_public_survives_pickling_and_is_of_the_lab():
    error = pickle.loads(pickle.dumps(ApplyError("no")))  # noqa: S301 -- made here
    assert (str(error), isinstance(error, llmbench.BenchError)) == ("no", True)


# --- what the evidence must be ------------------------------------------------------------------------------


def test_nothing_proved_is_nothing_applied(tmp_path):
    project = make_project(tmp_path / "project", lost={"extract": 40, "caption": 7})
    said = refused(project)
    assert "extract: keep" in said
    assert "nothing was proved" in said


def test_a_task_that_does_not_move_cannot_be_chosen_and_its_verdict_is_named(tmp_path):
    project = make_project(tmp_path / "project", lost={"extract": 1, "caption": 40})
    assert "caption does not move: its verdict is 'keep'" in refused(project, tasks=["caption"])
    assert "says nothing of task 'greet'" in refused(project, tasks=["greet"])
    applied(project, tasks=["extract"])
    assert [project.first(task) for task in ("extract", "caption")] == ["small", "ref"]


def test_evidence_over_the_limit_of_age_is_refused(project):
    assert "is 31 days old (2026-11-26)" in refused(project, now=NOW + timedelta(days=28, hours=1))
    assert "over the limit of 2:" in refused(project, max_age_days=2)
    assert "over the limit of nan" in refused(project, max_age_days=float("nan"))
    assert "yet to come" in refused(project, now=NOW - timedelta(days=10))
    applied(project, max_age_days=1e300, now=NOW + timedelta(days=40))


def with_times(project, times):
    """The run's rows with times of their own, by their place; decided again."""
    results = project.run_dir / "results.jsonl"
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    for at, time in times.items():
        lines[at]["timestamp"] = time
    results.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    project.decide()


def test_one_old_call_among_new_ones_makes_the_evidence_old(project):
    with_times(project, {0: "2025-10-01T00:00:00.000Z"})
    facts = project.facts()
    assert (facts["evidence_from"], facts["evidence_at"][:10]) == ("2025-10-01T00:00:00.000Z", "2026-11-26")
    assert "its oldest call is 424 days old (2025-10-01)" in refused(project)
    assert "its oldest call is 424 days old" in refused(project, project.alone(), accept_unproved=True)
    applied(project, tasks=["caption"])  # the old call is one of the other task's


@pytest.mark.parametrize("time", [None, "soon", "2026-11-26T12:00:00"], ids=str)
def test_a_call_that_does_not_say_when_it_was_made_leaves_the_age_unknown(project, time):
    with_times(project, {0: time})
    assert "the age of its evidence is not known" in refused(project)


def test_an_uncalibrated_judge_needs_a_word(project):
    facts = project.facts()
    facts["judge"] = {"judged_tasks": ["extract"], "uncalibrated_tasks": ["extract"]}
    project.write(facts)
    sent = project.alone()
    said = refused(project, sent, accept_unproved=True)
    assert "extract: scored by a judge that no person checked" in said
    assert applied(project, sent, accept_uncalibrated=True, accept_unproved=True).is_written


def test_results_that_are_not_the_ones_it_was_made_from_are_refused(project):
    results = project.run_dir / "results.jsonl"
    results.write_bytes(results.read_bytes() + b"\n")
    assert "another results.jsonl" in refused(project)


def test_a_run_folder_that_lost_its_plan_is_refused_and_not_taken_for_a_lone_file(project):
    (project.run_dir / "plan.json").unlink()
    assert "plan.json is missing" in refused(project)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plan.json", "[]"),
        ("plan.json", "{}"),
        ("plan.json", '{"tasks": {"extract": 7}}'),
        ("plan.json", '{"tasks": {}, "modality": "smell"}'),
        ("plan.json", "{"),
        ("results.jsonl", "7\n"),
        ("results.jsonl", '{"task": 7}\n'),
        ("results.jsonl", ""),
    ],
)
def test_a_run_folder_that_no_sweep_wrote_is_refused(project, name, content):
    (project.run_dir / name).write_text(content)
    sha256 = hashlib.sha256((project.run_dir / "results.jsonl").read_bytes()).hexdigest()
    project.write(project.facts() | {"evidence_sha256": sha256})
    refused(project)


def edited(path, value):
    """A hand that edits one place of a recommendation."""

    def edit(facts):
        *parents, last = path
        for key in parents:
            facts = facts[key]
        facts[last] = value(facts[last]) if callable(value) else value

    return edit


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("tasks", 0, "proposed_model"), "big", "tasks.caption.proposed_model is 'big'"),
        (("tasks", 1, "candidates", 1, "delta"), 0.4, "delta"),
        (("tasks", 0, "proposed_tier"), "cheap", "proposed_tier"),
        (("tiers", 0, "changed"), True, "changed"),
        (("diff",), lambda diff: diff.replace("small", "big"), "diff"),
        (("plan_hash",), "q", "plan_hash"),
        (("evidence_at",), "2026-11-29T00:00:00Z", "evidence_at"),
        (("header", "margin"), 0.5, "header.margin"),
        (("own",), 1, "own is not part of it"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:30],
)
def test_what_does_not_follow_from_the_run_is_refused_by_its_place(project, path, value, named):
    facts = project.facts() | ({"own": 0} if path == ("own",) else {})
    edited(path, value)(facts)
    project.write(facts)
    said = refused(project)
    assert "does not follow from its run" in said
    assert named in said


def test_a_sentence_edited_by_hand_is_not_what_is_shown(project):
    facts = project.facts()
    facts["tasks"][0]["sentence"] = "Trust me."
    project.write(facts)
    assert "Trust me" not in str(applied(project))


def test_a_recommendation_applies_once(project):
    first = applied(project, by="Mika")
    with pytest.raises(ApplyError, match=f"already applied on .* by Mika; .*--undo {first.id}"):
        applied(project)
    with pytest.raises(ApplyError, match="caption: already applied"):
        applied(project, tasks=["caption"])
    assert len(read_log(project.configs)) == 1


# --- what the files must be ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llm_tier_mapping.yaml", "llm_model_registry.yaml"])
def test_a_config_file_that_changed_since_the_evidence_is_named(project, name):
    with (project.configs / name).open("a") as file:
        file.write("# one more line\n")
    assert f"{name} changed since the evidence" in refused(project)


def test_a_recommendation_of_an_earlier_version_is_held_to_its_diff_and_config_hash(project):
    facts = project.facts()
    del facts["configs"], facts["evidence_at"], facts["evidence_from"], facts["asked"]
    project.write(facts)
    mapping = project.configs / "llm_tier_mapping.yaml"
    mapping.write_text(MAPPING.replace("# 抽出", "# other words"), encoding="utf-8")  # the same hash
    assert "llm_tier_mapping.yaml is not the text" in refused(project)
    mapping.write_text(MAPPING.replace("greet: cheap", "greet: standard"), encoding="utf-8")
    assert "the configs changed since the run was planned" in refused(project)
    mapping.write_text(MAPPING, encoding="utf-8")
    alone = refused(project, project.alone(), accept_unproved=True)
    assert "age of its evidence is not known" in alone
    assert applied(project).is_written


@pytest.mark.parametrize(
    ("overlay", "said"),
    [
        ("llm_tier_candidates.local.yaml", "lies over llm_tier_candidates.yaml and names tiers.standard"),
        ("llm_task_overrides.local.yaml", "lies over llm_task_overrides.yaml and names tasks.caption"),
    ],
)
def test_an_overlay_that_hides_the_change_is_named(project, overlay, said):
    held = (
        "tiers: {standard: [ref, big]}\n"
        if "tier_candidates" in overlay
        else "tasks: {caption: {models: [ref, big]}, extract: {models: [ref, big]}}\n"
    )
    (project.configs / overlay).write_text(held, encoding="utf-8")
    project.decide()  # it was there when the run was decided
    text = refused(project)
    assert "would be served by ref > big after the change, not first by small" in text
    assert f"{overlay} {said}" in text


def test_a_default_slot_that_hides_the_change_is_named(tmp_path):
    slots = "default_slot: 1\nslots:\n  1: {label: own, tiers: {standard: [ref, big]}}\n"
    project = make_project(tmp_path / "project", files={**FILES, "llm_model_slots.yaml": slots})
    assert "slot 1 of llm_model_slots.yaml is the default" in refused(project)


def test_a_task_that_another_model_serves_by_now_is_refused(tmp_path):
    project = make_project(tmp_path / "project")
    (project.configs / "llm_task_overrides.local.yaml").write_text("tasks: {extract: {models: [big]}}\n")
    project.decide()
    assert "extract is served by big today, and the evidence is about ref" in refused(project)


def test_another_task_that_would_move_with_the_tier_is_named_and_single_tasks_can_be_applied(tmp_path):
    channels = "overrides:\n  channels:\n    CH09:\n      tasks:\n        greet: {tier: standard}\n"
    files = {**FILES, "llm_tier_mapping.yaml": MAPPING + channels}
    project = make_project(tmp_path / "project", files=files)
    assert "greet in channel CH09: ref > big → small > ref > big" in refused(project)
    applied(project, tasks=["extract"])
    assert [project.first("greet", "CH09"), project.first("extract")] == ["ref", "small"]


def test_a_new_error_of_the_config_check_refuses_the_change(project):
    from llmbench.config.model import Finding

    def check(folder):
        text = (folder / "llm_tier_candidates.yaml").read_text(encoding="utf-8")
        found = [Finding("error", "llm_router.yaml", 1, "was there before")]
        return [*found, Finding("error", "llm_tier_candidates.yaml", 4, "no")] if "[small" in text else found

    said = refused(project, check=check)
    assert said == "the changed files would have an error: llm_tier_candidates.yaml:4: error: no"
