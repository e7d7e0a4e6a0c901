"""A sweep's progress: the file, its words, the terminal's bar and a notebook's live output."""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import sys

import pytest
from rich.console import Console

from llmbench.bench.notebooks import run_notebook
from llmbench.bench.progress import Progress, ProgressFile, mark_stopped, read_progress
from llmbench.display.live_progress import LiveProgress, progress_bundle, progress_words
from llmbench.progress_bar import ProgressBar
from tests.small_notebooks import notebook, read
from tests.test_render import Page

RUNNING = {
    "state": "running", "planned": 20, "cached": 3, "done": 9, "failed": 2, "pending": 1, "rate": 4.5,
    "cost_usd": 0.0123, "cost_unknown": 0, "elapsed_s": 2.0, "eta_s": 1.6, "decisions": {},
}  # fmt: skip
WORDS = "3 from the ledger · 4.5/s · $0.01230 · 2 failed · 1 pending · about 2 s left"

# ---- the file


def written(path, **facts):
    ProgressFile(path).show(Progress(planned=2, cached=0, **facts), now=True)
    return json.loads(path.read_text())


def test_a_running_file_of_a_process_that_is_gone_is_read_as_stopped(tmp_path):
    path = tmp_path / "progress.json"
    facts = written(path)
    assert (facts["pid"], facts["host"]) == (os.getpid(), platform.node())
    assert read_progress(path)["state"] == "running"
    program = (
        "import os, sys\nfrom pathlib import Path\n"
        "from llmbench.bench.progress import Progress, ProgressFile\n"
        "ProgressFile(Path(sys.argv[1])).show(Progress(2, 0), now=True)\nos.kill(os.getpid(), 9)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)]) as process:
        # Dead and not collected yet: its number is still taken.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        dead = read_progress(path)
        assert (dead["state"], dead["ended"]) == (
            "stopped",
            f"process {process.pid} ended before its sweep did",
        )
    assert read_progress(path)["state"] == "stopped"
    assert "ended before its sweep did" in progress_words(read_progress(path))


def test_a_number_given_to_another_process_and_another_machines_are_told_apart(tmp_path):
    path = tmp_path / "progress.json"
    facts = written(path)
    path.write_text(json.dumps(facts | {"pid_born": "1"}))
    assert read_progress(path)["state"] == "stopped"
    for foreign in (
        {"host": "elsewhere", "pid": 2**22 + 1},
        {"pid": None},
        {"pid": "x"},
        {"pid": 10**30},
        {"pid": 0},
    ):
        path.write_text(json.dumps(facts | foreign))
        assert read_progress(path)["state"] == "running"


def test_only_a_running_file_is_marked_stopped(tmp_path):
    path = tmp_path / "progress.json"
    mark_stopped(path, "why")
    assert not path.exists()
    written(path, state="done")
    mark_stopped(path, "why")
    assert read_progress(path)["state"] == "done"
    written(path)
    mark_stopped(path, "why")
    assert (read_progress(path)["state"], read_progress(path)["ended"]) == ("stopped", "why")


# ---- the words


def test_the_words_say_rate_cost_failures_and_time_left():
    assert progress_words(RUNNING) == WORDS
    race = RUNNING | {"decisions": {"labels": [
        {"model": "a", "state": "running", "evidence": 1234.0, "needed": 20},
        {"model": "b", "state": "worse"},
    ]}}  # fmt: skip
    assert progress_words(race).endswith("at most 2 s left · labels: a 1,234 of 20, b worse")
    assert "$0.01230 and 4 calls of unknown cost" in progress_words(RUNNING | {"cost_unknown": 4})
    assert "5 queued · 6 throttled" in progress_words(RUNNING | {"queued": 5, "throttled": 6})


@pytest.mark.parametrize(
    "facts", [{}, {"state": "running"}, {"queued": {"a": 1}, "done": None}, Progress(2, 0).facts()]
)
def test_what_a_sweep_does_not_count_is_left_out(facts):
    assert progress_words(facts) == ""
    progress_bundle(facts)


def test_a_replay_is_shown_without_anything_of_the_clock():
    facts = Progress(planned=5, cached=5, state="done").facts()
    assert progress_bundle(facts | {"elapsed_s": 1.0}) == progress_bundle(facts | {"elapsed_s": 99.0})
    assert progress_bundle(facts)["text/plain"] == "done · 5 of 5 · 5 from the ledger"


def test_the_terminals_bar_has_the_same_words_and_a_name_is_no_markup():
    told = io.StringIO()
    hostile = RUNNING | {"decisions": {"[red]t": [{"model": "[/]m", "state": "worse"}]}, "part": "1 of 4"}
    with ProgressBar(Console(file=told, force_terminal=True, force_interactive=True, width=300)) as show:
        show(hostile)
    assert f"{WORDS.replace('about', 'at most')} · [red]t: [/]m worse" in told.getvalue()
    assert "sweep 1 of 4" in told.getvalue()


def test_a_notebooks_output_escapes_names():
    bundle = progress_bundle(RUNNING | {"decisions": {"<script>": [{"model": "<b>\n", "state": "worse"}]}})
    assert "\n" not in bundle["text/plain"]
    assert "<script>" not in bundle["text/html"]
    assert "<b>" not in bundle["text/html"]
    assert bundle["text/plain"] in Page(bundle["text/html"]).text


# ---- live in a notebook


def test_outside_a_notebook_the_live_output_shows_nothing(capsys):
    LiveProgress()(Progress(2, 0))
    assert capsys.readouterr() == ("", "")


def test_a_notebook_shows_one_output_that_is_updated_in_place_from_any_thread(tmp_path):
    cell = (
        "import threading\nfrom llmbench.bench.progress import Progress\n"
        "from llmbench.display.live_progress import LiveProgress\n"
        "live, progress = LiveProgress(), Progress(planned=3, cached=1)\nlive(progress)\n"
        "def work():\n    for _ in range(2):\n        progress.done += 1\n        live(progress)\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\n"
        "progress.state = 'done'\nlive(progress.facts() | {'rate': 2.0, 'elapsed_s': 1.0})"
    )
    run_notebook(notebook(tmp_path / "in.ipynb", cell), tmp_path / "out.ipynb", {})
    (output,) = read(tmp_path / "out.ipynb").cells[-1].outputs
    assert output.data["text/plain"] == "done · 3 of 3 · 1 from the ledger · 2.0/s · $0.00000 · 1 s"
    assert "<progress" in output.data["text/html"]
