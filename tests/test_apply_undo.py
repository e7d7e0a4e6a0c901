"""Applies are taken back: to the byte, line by line where files changed since, by a log that can be read."""

from __future__ import annotations

import json

import pytest

from llmbench import ApplyError, undo_apply
from llmbench.bench.decision_log import LOG_FILE, DecisionLog, read_decisions, read_log
from tests.applying import (
    FILES,
    NOW,
    applied,
    make_project,
    project,  # noqa: F401 - a fixture
    template,  # noqa: F401 - a fixture of `project`
)


def test_the_last_apply_is_taken_back_to_the_byte_and_can_be_made_again(project):
    before = project.texts()
    done = applied(project)
    back = undo_apply(project=project.root, by="Mika", reason="too early", now=NOW)
    assert project.texts() == before
    assert project.first("extract") == "ref"
    first, second = read_log(project.configs)
    assert (first.id, second.undoes, second.by, second.reason) == (done.id, done.id, "Mika", "too early")
    assert [str(move) for move in back.moves] == [
        f"{task}: small (standard) → ref (standard)" for task in ("caption", "extract")
    ]
    with pytest.raises(ApplyError, match="nothing to take back"):
        undo_apply(project=project.root)
    assert applied(project).id != done.id


def test_a_file_that_was_made_is_removed_again(tmp_path):
    files = {name: text for name, text in FILES.items() if name != "llm_task_overrides.yaml"}
    project = make_project(tmp_path / "project", files=files, lost={"extract": 1, "caption": 40})
    done = applied(project)
    assert done.files == ("llm_task_overrides.yaml",)
    assert project.first("extract") == "small"
    back = undo_apply(project=project.root)
    assert "deleted file mode" in back.diff
    assert "llm_task_overrides.yaml" not in project.texts()


def test_an_earlier_apply_on_which_a_later_one_rests_is_not_taken_back(project):
    first = applied(project, tasks=["extract"])
    applied(project, tasks=["caption"])  # its channel stands under the one of the first
    before = project.texts()
    with pytest.raises(ApplyError, match="something that was changed later rests on it"):
        undo_apply(first.id, project=project.root)
    assert project.texts() == before


def test_an_earlier_apply_is_taken_back_by_its_id_and_the_later_one_stays(tmp_path):
    mapping = FILES["llm_tier_mapping.yaml"] + "  other: standard\n"  # not measured: the tier stays
    project = make_project(tmp_path / "project", files={**FILES, "llm_tier_mapping.yaml": mapping})
    first = applied(project, tasks=["extract"])
    second = applied(project, tasks=["caption"])
    tiers = project.configs / "llm_task_overrides.yaml"
    tiers.write_text("# ours\n" + tiers.read_text(encoding="utf-8"), encoding="utf-8")
    shown = undo_apply(first.id, project=project.root)
    assert any("only the lines of" in note for note in shown.notes)
    assert [project.first(task) for task in ("extract", "caption")] == ["ref", "small"]
    with pytest.raises(ApplyError, match="is undone"):
        undo_apply(first.id, project=project.root)
    with pytest.raises(ApplyError, match="not in the decision log"):
        undo_apply("nope", project=project.root)
    undo_apply(second.id, project=project.root)
    assert [project.first(task) for task in ("extract", "caption")] == ["ref", "ref"]


def test_an_undo_after_which_a_later_apply_still_serves_the_task_is_refused(tmp_path):
    project = make_project(tmp_path / "project")
    first = applied(project, tasks=["extract"])
    applied(project, tasks=["caption"])  # the last task of the tier: the tier itself gets the model
    with pytest.raises(ApplyError, match="extract would be served by small > ref > big and not by ref again"):
        undo_apply(first.id, project=project.root)


def test_lines_that_a_person_added_elsewhere_stay(project):
    applied(project)
    mapping = project.configs / "llm_tier_mapping.yaml"
    mapping.write_text("# ours\n" + mapping.read_text(encoding="utf-8"), encoding="utf-8")
    undo_apply(project=project.root)
    assert mapping.read_text(encoding="utf-8") == "# ours\n" + FILES["llm_tier_mapping.yaml"]
    assert project.first("extract") == "ref"


def test_lines_of_the_apply_that_a_person_changed_are_named_and_nothing_is_written(project):
    applied(project)
    tiers = project.configs / "llm_tier_candidates.yaml"
    tiers.write_text(tiers.read_text(encoding="utf-8").replace("[small, ref", "[small, tiny, ref"))
    before = project.texts()
    with pytest.raises(ApplyError, match=r"llm_tier_candidates.yaml changed since \w+ was applied on"):
        undo_apply(project=project.root)
    assert project.texts() == before


def test_converted_line_ends_are_named_as_what_keeps_an_undo_from_its_lines(project):
    before = project.texts()
    applied(project)
    tiers = project.configs / "llm_tier_candidates.yaml"
    tiers.write_bytes(tiers.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(ApplyError, match=r"only its line ends were converted .*: convert them back"):
        undo_apply(project=project.root)
    tiers.write_bytes(tiers.read_bytes().replace(b"\r\n", b"\n"))
    undo_apply(project=project.root)
    assert project.texts() == before


def test_an_undo_that_would_move_another_task_is_refused(project):
    applied(project)
    mapping = project.configs / "llm_tier_mapping.yaml"
    mapping.write_text(mapping.read_text(encoding="utf-8").replace("greet: cheap", "greet: standard"))
    with pytest.raises(ApplyError, match="greet: small > ref > big → ref > big"):
        undo_apply(project=project.root)


def test_a_torn_last_line_hides_no_apply(project):
    applied(project)
    log = project.configs / LOG_FILE
    log.write_text(log.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(ApplyError, match=r"llm_decisions.jsonl, line 1: cannot be used .* these stand: none"):
        undo_apply(project=project.root)


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": {"a": 1}},
        {"tasks": []},
        {"tasks": [{"task": 7, "from": {"tier": "a", "model": "b"}, "to": {"tier": "a", "model": "b"}}]},
        {"files": [{"file": ["x"], "before_sha256": None, "after_sha256": None}]},
        {"files": [{"file": "x", "before_sha256": 7, "after_sha256": None}]},
        {"files": {}},
        {"when": 7},
    ],
    ids=str,
)
def test_a_line_of_the_log_of_another_shape_is_not_used(project, change):
    done = applied(project)
    log = project.configs / LOG_FILE
    log.write_text(json.dumps(json.loads(log.read_text(encoding="utf-8")) | change) + "\n", encoding="utf-8")
    assert read_decisions(project.configs) == DecisionLog((), (1,))
    with pytest.raises(ApplyError, match="not in the decision log"):
        undo_apply(done.id, project=project.root)


def test_a_line_of_the_log_that_changed_no_file_takes_nothing_back(project):
    applied(project)
    log = project.configs / LOG_FILE
    log.write_text(json.dumps(json.loads(log.read_text(encoding="utf-8")) | {"diff": ""}) + "\n")
    with pytest.raises(ApplyError, match="its diff changes no file"):
        undo_apply(project=project.root)


def test_a_torn_or_foreign_line_of_the_log_is_passed_over(project):
    done = applied(project)
    log = project.configs / LOG_FILE
    log.write_text('{"schema": 9}\n' + log.read_text(encoding="utf-8") + '{"schema": 1, "id": "x"\n[]\n')
    assert [entry.id for entry in read_log(project.configs)] == [done.id]
    with pytest.raises(ApplyError, match=f"lines 1, 3, 4: .* these stand: {done.id}"):
        undo_apply(project=project.root)  # one of them may have been a later apply
    shown = undo_apply(done.id, project=project.root)
    assert any("lines 1, 3, 4: cannot be used" in note for note in shown.notes)
    assert [entry.action for entry in read_log(project.configs)] == ["apply", "undo"]


def test_a_line_of_the_log_that_names_a_foreign_file_takes_nothing_back(project):
    applied(project)
    log = project.configs / LOG_FILE
    log.write_text(
        log.read_text(encoding="utf-8").replace("configs/llm_tier_mapping.yaml", "configs/../own.yaml")
    )
    with pytest.raises(ApplyError, match="which no proposal may change"):
        undo_apply(project=project.root)
