"""Applies are whole, alone and taken back: a kill at any step, two at a time, files changed since."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import time

import pytest

from llmbench import ApplyError, undo_apply
from llmbench.bench import config_store
from llmbench.bench.apply import prepare
from llmbench.bench.chain import Project
from llmbench.bench.config_copy import folder_of
from llmbench.bench.config_store import JOURNAL_FILE
from llmbench.bench.decision_log import LOG_FILE, read_log
from llmbench.bench.prepared import clear_leftovers, commit, finish_interrupted
from llmbench.bench.undo import prepare_undo
from tests.applying import (
    NOW,
    applied,
    project,  # noqa: F401 - a fixture
    template,  # noqa: F401 - a fixture of `project`
)

#: The steps of a commit that a kill may come before: the journal, two files, the log, two removals.
STEPS = 6


@pytest.fixture
def prepared(project):
    return prepare("r1", Project(project.root), now=NOW)


def in_child(work):
    """Run something in a process of its own; returns how it ended."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except ApplyError:
            os._exit(3)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_before(step, folder, work):
    """Do something in a process that is killed right before one of its steps in a folder."""

    def child():
        seen = 0

        def watch(event, args):
            nonlocal seen
            is_step = event in ("os.rename", "os.remove") and str(args[0]).startswith(str(folder))
            if event == "open" and str(args[0]).endswith(LOG_FILE) and args[2] & os.O_CREAT:
                is_step = True
            if is_step:
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(watch)
        work()

    return in_child(child)


def killed_at_fsync(count, work):
    """Do something in a process that is killed in place of one of its waits for the disk, from 1."""

    def child():
        left = count

        def fsync(_):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = fsync
        work()

    return in_child(child)


def named(folder):
    return {path.name for path in folder.iterdir() if path.name != LOG_FILE}


# --- killed, and two at a time ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(STEPS + 1))
def test_a_kill_before_any_step_leaves_all_files_or_none_once_the_next_came(project, prepared, step):
    before = project.texts()
    ended = killed_before(step, project.configs, lambda: commit(prepared, by="Mika", now=NOW))
    assert ended == (-signal.SIGKILL if step < STEPS else 0)
    said = finish_interrupted(Project(project.root))
    assert (said is not None) == (0 < step < STEPS)
    after = before | {change.name: change.after.encode() for change in prepared.files}
    assert project.texts() == (before if step == 0 else after)
    assert [entry.by for entry in read_log(project.configs)] == ([] if step == 0 else ["Mika"])
    assert step == 0 or named(project.configs) == {*before}
    if step == 0:
        assert applied(project).is_written
    undo_apply(project=project.root)
    assert project.texts() == before
    assert named(project.configs) == {*before}


@pytest.mark.parametrize("step", range(STEPS))
def test_a_kill_in_an_undo_is_finished_by_the_next_too(project, step):
    before = project.texts()
    done = applied(project)
    after = project.texts()
    undoing = prepare_undo(Project(project.root))
    assert killed_before(step, project.configs, lambda: commit(undoing, now=NOW)) == -signal.SIGKILL
    finish_interrupted(Project(project.root))
    assert project.texts() == (after if step == 0 else before)
    assert [entry.undoes for entry in read_log(project.configs)] == [None, *([done.id] if step else [])]


@pytest.mark.parametrize("clears", ["apply", "undo", "log"])
def test_a_file_left_half_written_by_a_kill_is_cleared_by_the_next(project, prepared, clears):
    before = project.texts()
    assert killed_at_fsync(1, lambda: commit(prepared, now=NOW)) == -signal.SIGKILL
    assert ".llm_apply.partial" in named(project.configs)
    if clears == "apply":
        assert applied(project).is_written
    elif clears == "undo":
        with pytest.raises(ApplyError, match="nothing to take back"):
            undo_apply(project=project.root)
    else:
        clear_leftovers(Project(project.root))
    assert named(project.configs) == {*before}


def test_a_half_written_file_beside_what_a_link_leads_to_is_cleared_too(project, prepared, tmp_path):
    target = tmp_path / "elsewhere" / "mapping.yaml"
    target.parent.mkdir()
    shutil.move(project.configs / "llm_tier_mapping.yaml", target)
    (project.configs / "llm_tier_mapping.yaml").symlink_to(target)
    (target.parent / ".llm_apply.partial").write_text("half")
    clear_leftovers(Project(project.root))
    assert [path.name for path in target.parent.iterdir()] == ["mapping.yaml"]


def test_a_dry_run_finishes_nothing_and_says_what_does(project, prepared):
    killed_before(2, project.configs, lambda: commit(prepared, now=NOW))
    half = project.texts()
    with pytest.raises(ApplyError, match="an apply was broken off"):
        applied(project, dry_run=True)
    assert project.texts() == half
    with pytest.raises(ApplyError, match="already applied"):
        applied(project)
    assert project.first("extract") == "small"


def test_a_file_that_a_person_changed_after_a_kill_is_not_written_over(project, prepared):
    killed_before(2, project.configs, lambda: commit(prepared, now=NOW))
    mapping = project.configs / "llm_tier_mapping.yaml"
    mapping.write_text("tasks: {extract: cheap}\n")
    with pytest.raises(ApplyError, match=r"llm_tier_mapping.yaml was changed after an apply was broken off"):
        applied(project)
    assert mapping.read_text() == "tasks: {extract: cheap}\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda journal: journal["files"][0].update(name="../../own.yaml"), "names a file"),
        (lambda journal: journal["files"][0].update(name="llm_model_registry.yaml"), "names a file"),
        (lambda journal: journal["files"][0].update(text="tasks: {}\n"), "does not match its hash"),
        (lambda journal: journal.update(entry=None), "is not a journal"),
        (lambda journal: journal.update(schema=2), "is not a journal"),
        (lambda journal: journal.update(files=[7]), "names a file"),
    ],
    ids=["outside", "another file", "another text", "no entry", "another schema", "no file"],
)
def test_a_journal_that_was_tampered_with_is_refused(project, prepared, change, said):
    killed_before(1, project.configs, lambda: commit(prepared, now=NOW))
    path = project.configs / JOURNAL_FILE
    journal = json.loads(path.read_text(encoding="utf-8"))
    change(journal)
    path.write_text(json.dumps(journal), encoding="utf-8")
    before = project.texts()
    with pytest.raises(ApplyError, match=said):
        applied(project)
    assert project.texts() == before


def test_a_journal_that_is_no_json_is_refused(project):
    (project.configs / JOURNAL_FILE).write_text("{")
    with pytest.raises(ApplyError, match="cannot be read"):
        applied(project)


def test_of_two_that_were_prepared_from_the_same_files_one_is_written(project):
    both = [prepare("r1", Project(project.root), [task], now=NOW) for task in ("extract", "caption")]
    ends = []
    for each in both:
        pid = os.fork()
        if pid == 0:
            try:
                commit(each, now=NOW)
            except ApplyError:
                os._exit(3)
            os._exit(0)
        ends.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in ends]
    assert sorted(codes) == [0, 3]
    assert len(read_log(project.configs)) == 1
    won = both[codes.index(0)]
    assert project.texts() == {
        **{name: text.encode() for name, text in won.seen.items()},
        **{change.name: change.after.encode() for change in won.files},
    }


def test_a_file_that_changed_after_it_was_shown_is_named_with_what_to_do(project, prepared):
    with (project.configs / "llm_router.yaml").open("a") as file:
        file.write("# more\n")
    with pytest.raises(ApplyError, match=r"llm_router.yaml changed in the meantime.*the same command again"):
        commit(prepared, now=NOW)
    assert read_log(project.configs) == ()


def test_a_copy_that_a_killed_apply_left_is_cleared_by_the_next_and_one_in_use_is_not(
    project, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def die():
        with folder_of({"llm_router.yaml": "{}"}):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == -signal.SIGKILL
    (left,) = tmp_path.glob("llmbench-apply-*")
    finish_interrupted(Project(project.root))
    assert left.exists()  # so young that its process may be about to lock it
    link = tmp_path / "llmbench-apply-link"
    link.symlink_to(project.configs)
    old = time.time() - 3600
    os.utime(left, (old, old))
    os.utime(project.configs, (old, old))
    with folder_of({}) as used:
        os.utime(used, (old, old))
        assert applied(project).is_written
        assert used.is_dir()
    assert not left.exists()
    assert link.is_symlink()
    assert project.texts()
    assert not used.exists()


def test_a_folder_that_another_process_holds_is_waited_for_and_then_named(project, prepared, monkeypatch):
    monkeypatch.setattr(config_store, "PATIENCE_S", 0.1)
    held = os.open(project.configs, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(ApplyError, match="another apply is changing"):
        commit(prepared, now=NOW)
    os.close(held)
    assert commit(prepared, now=NOW).is_written


def test_a_folder_that_cannot_be_written_says_so_and_keeps_its_files(project, prepared, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = project.texts()
    with pytest.raises(ApplyError, match="No space left on device; nothing was changed"):
        commit(prepared, now=NOW)
    monkeypatch.undo()
    assert project.texts() == before
    assert applied(project).is_written
