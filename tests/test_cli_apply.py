"""`llmbench apply` on the command line: it shows, asks, writes, takes back, and says who decided."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmbench.bench.decision_log import read_log
from llmbench.cli import app
from tests.applying import Applying, make_project

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A run of yesterday: the command asks the real clock."""
    made = datetime.now(UTC) - timedelta(days=1)
    return make_project(tmp_path_factory.mktemp("template") / "project", made=made)


@pytest.fixture
def project(template, tmp_path):
    shutil.copytree(template.root, tmp_path / "project")
    return Applying(tmp_path / "project")


def invoke(project, *args):
    return CliRunner().invoke(app, ["apply", *args, "--project", str(project.root)])


def at_a_terminal(project, answer, *args):
    """Run the command in a pseudo-terminal and answer its question; its exit code and what it showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "llmbench.cli", "apply", *args, "--project", str(project.root)]
        os.execvpe(command[0], command, {**os.environ, "TERM": "xterm-256color"})  # noqa: S606 -- our own
    shown = b""
    try:
        while piece := os.read(terminal, 4096):
            shown += piece
            if b"[y/N]" in piece:
                os.write(terminal, answer)
    except OSError:  # the command ended, and its side of the terminal with it
        pass
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_a_dry_run_shows_the_moves_and_the_diff_and_writes_nothing(project):
    before = project.texts()
    result = invoke(project, "r1", "--dry-run")
    assert result.exit_code == 0
    assert "caption: ref (standard) → small (standard)\nPut small before ref for caption" in result.stdout
    assert project.facts()["diff"] in result.stdout
    assert result.stdout.endswith("not written\n")
    assert project.texts() == before


def test_without_a_terminal_and_without_yes_it_shows_and_exits_with_1(project):
    before = project.texts()
    result = invoke(project, "r1")
    assert result.exit_code == 1
    assert project.facts()["diff"] in result.stdout
    assert result.stderr == (
        "note: Tasks that no file names are served by the same tier: ref → small first.\n"
        "llmbench: nothing was written: there is nobody to ask here; give --yes to write it\n"
    )
    assert project.texts() == before


def test_yes_writes_logs_and_says_how_to_take_it_back(project):
    result = invoke(project, "r1", "--yes", "--by", "Mika", "--reason", "half the price")
    assert result.exit_code == 0, result.stderr
    (entry,) = read_log(project.configs)
    assert (entry.by, entry.reason) == ("Mika", "half the price")
    assert f"llmbench apply --undo {entry.id}" in result.stdout
    shown = CliRunner().invoke(app, ["explain", "extract", "--configs", str(project.configs)])
    assert "small" in shown.stdout.splitlines()[0] + shown.stdout.splitlines()[1]


def test_the_last_apply_or_one_of_the_log_is_taken_back(project):
    before = project.texts()
    for choice in ([], ["ID"]):
        invoke(project, "r1", "--yes")
        ids = [read_log(project.configs)[-1].id for _ in choice]
        result = invoke(project, "--undo", *ids, "--yes")
        assert result.exit_code == 0, result.stderr
        assert result.stdout.endswith("\n")
        assert "undone: " in result.stdout
        assert project.texts() == before
    assert invoke(project, "--undo", "--yes").exit_code == 1


def test_the_log_is_a_table_whose_texts_are_escaped(project):
    assert invoke(project, "--log").exit_code == 0
    invoke(project, "r1", "--yes", "--by", "[red]Mika[/]\x1b[31m", "--reason", "=1+1")
    shown = invoke(project, "--log")
    assert "[red]Mika[/]␛[31m" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "caption: ref (standard) → small (standard)" in shown.stdout
    (facts,) = json.loads(invoke(project, "--log", "--json").stdout)
    assert facts["by"] == "[red]Mika[/]\x1b[31m"


def test_json_is_what_was_done_or_would_be(project):
    result = invoke(project, "r1", "--dry-run", "--json")
    facts = json.loads(result.stdout)
    assert (facts["is_written"], facts["diff"]) == (False, project.facts()["diff"])
    assert [task["task"] for task in facts["tasks"]] == ["caption", "extract"]
    assert facts["tasks"][0]["sentence"].startswith("Put small")
    unasked = invoke(project, "r1", "--json")
    assert (unasked.exit_code, json.loads(unasked.stdout)["is_written"]) == (1, False)
    done = json.loads(invoke(project, "r1", "--json", "--yes", "--task", "extract").stdout)
    assert (done["is_written"], [task["task"] for task in done["tasks"]]) == (True, ["extract"])
    back = json.loads(invoke(project, "--undo", "--json", "--yes").stdout)
    assert (back["action"], back["undoes"]) == ("undo", done["id"])


def test_a_refusal_is_one_line_and_exit_code_1(project):
    result = invoke(project, "r1", "--yes", "--max-age-days", "0.5")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("llmbench: ")
    assert "over the limit of 0.5" in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_check_calls_an_error_refuses_the_change(project):
    (project.configs / "sweeps").mkdir(exist_ok=True)
    (project.configs / "sweeps" / "old.yaml").write_text(
        "name: old\ntasks: {extract: {candidates: [gone]}}\n"
    )
    result = invoke(project, "r1", "--yes")  # an error that was there before is none of the change
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["r1", "--yes", "--dry-run"],
        ["--log", "--undo"],
        ["r1", "--log"],
        ["--undo", "--task", "extract"],
        ["r1", "--max-age-days", "-1"],
    ],
    ids=" ".join,
)
def test_options_that_contradict_each_other_are_wrong_usage(project, args):
    assert invoke(project, *args).exit_code == 2


@pytest.mark.parametrize(
    ("answer", "code"), [(b"y\r", 0), pytest.param(b"\r", 1, marks=pytest.mark.slow)], ids=["yes", "enter"]
)
def test_at_a_terminal_it_shows_colours_and_asks(project, answer, code):
    before = project.texts()
    ended, shown = at_a_terminal(project, answer, "r1")
    assert ended == code, shown
    assert "\x1b[32m+  standard: [small, ref, big]" in shown
    assert "\x1b[31m-  standard: [ref, big]" in shown
    assert (project.texts() != before) == (code == 0)
    assert ("nothing was written" in shown) == (code == 1)


def test_a_file_without_its_run_needs_a_word_and_the_question_says_so(project):
    sent = str(project.alone())
    refused = invoke(project, sent, "--yes")
    assert (refused.exit_code, "or give --accept-unproved" in refused.stderr) == (1, True)
    ended, shown = at_a_terminal(project, b"\r", sent, "--accept-unproved")
    assert ended == 1
    assert "nothing shows that it was measured. Write this change?" in " ".join(shown.split())
    assert invoke(project, sent, "--yes", "--accept-unproved").exit_code == 0


def test_a_line_of_the_log_that_cannot_be_used_is_said_beside_the_table(project):
    (project.configs / "llm_decisions.jsonl").write_text("torn\n")
    shown = invoke(project, "--log", "--json")
    assert json.loads(shown.stdout) == []
    assert "note: llm_decisions.jsonl, line 1: cannot be used" in " ".join(shown.stderr.split())


# --- docs/applying.md ---------------------------------------------------------------------------------------


def test_the_page_names_every_option_and_every_field_of_the_log(project):
    page = (ROOT / "docs" / "applying.md").read_text(encoding="utf-8")
    options = set(re.findall(r"--[a-z][a-z-]+", invoke(project, "--help").stdout)) - {"--help"}
    assert {option for option in options if f"`{option}" not in page} == set()
    invoke(project, "r1", "--yes")
    (entry,) = read_log(project.configs)
    assert {field for field in entry.facts() if f"`{field}`" not in page} == set()


def test_the_pages_code_runs_on_the_example(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "applying.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(block, "docs/applying.md", "exec"), {})  # noqa: S102 -- the page's own code
    assert capsys.readouterr().out.endswith("not written\n")


def test_the_log_of_a_folder_that_is_not_there_is_refused_like_everywhere(tmp_path):
    ran = CliRunner().invoke(app, ["apply", "--log", "--project", str(tmp_path / "nope")])
    assert ran.exit_code == 1
    assert f"no config folder at {tmp_path / 'nope' / 'configs'}; create it" in " ".join(ran.stderr.split())
