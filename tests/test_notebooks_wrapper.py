"""Notebooks run in real kernels: copies, kernels, failures, interrupts, chains."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell

from llmbench.bench.notebooks import run_chain, run_notebook
from llmbench.errors import NotebookError
from tests.small_notebooks import REPOSITORY, gone_within, notebook, printed, read, sockets, wait_for  # noqa: F401


def test_the_same_parameters_give_the_same_bytes_and_nothing_of_this_machine(tmp_path, sockets):
    printing = (
        "import os, sys, warnings, time\nprint({'b', 'a', 'c'}, names)\nprint('oops', file=sys.stderr)\n"
        "warnings.warn('soon')\ntime.sleep(0.3)\nprint('late')\nprint('more', file=sys.stderr)"
    )
    cells = (printing, "print(os.getcwd(), sys.executable, data)", "n * 2")
    values = {"n": 21, "data": str(tmp_path / "deep" / "data.jsonl"), "names": ["日本", "a'\"\\b{n}"]}
    source = notebook(tmp_path / "in.ipynb", *cells, parameters='n: int = 1\ndata = ""\nnames: list = []')
    raw = json.loads(source.read_text())
    for cell in raw["cells"]:
        del cell["id"]  # as older notebooks are; papermill would draw new ones
    source.write_text(json.dumps(raw))
    before = source.read_bytes()
    outputs = [tmp_path / "first" / "in{n}.ipynb", tmp_path / "second" / "in{n}.ipynb"]
    runs = [run_notebook(source, outputs[0], values, cwd=tmp_path)]
    open_files = len(list(Path("/proc/self/fd").iterdir()))
    runs.append(run_notebook(source, outputs[1], values, cwd=tmp_path))
    assert len(list(Path("/proc/self/fd").iterdir())) <= open_files

    one, two = (output.read_bytes() for output in outputs)
    assert one == two
    text = one.decode()
    for path in (
        str(tmp_path),
        sys.prefix,
        sys.base_prefix,
        str(sockets),
        str(Path.home()) + "/",
        "ipykernel_",
    ):
        assert path not in text
    nb = read(outputs[0])
    assert nb.cells[-1].outputs[0].data["text/plain"] == "42"
    assert "['日本', 'a\\'\"\\\\b{n}']" in printed(nb)
    assert nb.metadata.llmbench == {"status": "ok"}
    assert nb.metadata.papermill.input_path == "in.ipynb"
    assert nb.metadata.papermill.output_path == "in{n}.ipynb"
    assert runs[0].duration_s > 0.3
    assert len(runs[0].cell_durations_s) == len(nb.cells)
    assert max(runs[0].cell_durations_s) >= 0.3
    assert source.read_bytes() == before
    assert list(outputs[0].parent.iterdir()) == [outputs[0]]
    assert list(sockets.iterdir()) == []


def test_the_kernel_is_this_interpreter_over_ipc_whatever_spec_is_installed(tmp_path, sockets, monkeypatch):
    wrong = tmp_path / "jupyter" / "kernels" / "python3"
    wrong.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "wrong", "language": "python"}
    (wrong / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    source = notebook(
        tmp_path / "in.ipynb",
        "import sys, json, psutil, ipykernel.kernelapp as k\napp = k.IPKernelApp.instance()",
        "print(json.dumps([sys.prefix == base, app.transport]))",
        "print([c.laddr.port for c in psutil.Process().net_connections('inet') if c.status == 'LISTEN'])",
        # ipykernel's own inlet for the prints of forked children: it has no setting, and nobody races for it
        "print([sys.stdout.pub_thread._pipe_port])",
        parameters='base = ""',
        metadata={"kernelspec": {"name": "elsewhere", "display_name": "x", "language": "python"}},
    )
    run_notebook(source, tmp_path / "out.ipynb", {"base": sys.prefix})
    said = printed(read(tmp_path / "out.ipynb")).splitlines()
    assert json.loads(said[0]) == [True, "ipc"]
    assert said[1] == said[2]


def test_threads_run_notebooks_at_once_in_folders_of_their_own(tmp_path, sockets):
    source = notebook(
        tmp_path / "in.ipynb", "import os, time\ntime.sleep(0.5)\nprint(n, os.path.basename(os.getcwd()))"
    )
    here = Path.cwd()

    def one(number):
        folder = tmp_path / f"w{number}"
        folder.mkdir()
        run_notebook(source, tmp_path / f"out{number}.ipynb", {"n": number}, cwd=folder)
        return (tmp_path / f"out{number}.ipynb").read_text()

    with ThreadPoolExecutor(3) as pool:
        texts = list(pool.map(one, range(3)))
    assert all(f"{number} w{number}" in text for number, text in enumerate(texts))
    assert Path.cwd() == here
    assert list(sockets.iterdir()) == []


async def _inside_a_loop(source, output):
    return run_notebook(source, output, {})


def test_a_caller_with_a_running_loop_can_run_a_notebook_whose_text_and_empty_cells_need_no_run(tmp_path):
    source = notebook(tmp_path / "in.ipynb", "1", "")
    nb = read(source)
    nb.cells.append(new_markdown_cell("The end."))
    nbformat.write(nb, source)
    asyncio.run(_inside_a_loop(source, tmp_path / "out.ipynb"))
    assert read(tmp_path / "out.ipynb").metadata.llmbench.status == "ok"


# --- a run that does not ---


def failed(tmp_path, *cells, **options):
    """Run cells that must fail over an older good copy; return the error's text and the kept copy."""
    source = notebook(tmp_path / "in.ipynb", *cells)
    output = tmp_path / "out.ipynb"
    output.write_text("older")
    with pytest.raises(NotebookError) as caught:
        run_notebook(source, output, {"n": 2}, **options)
    assert output.read_text() == "older"
    assert not (tmp_path / "out.partial.ipynb").exists()
    assert str(caught.value).endswith(f"the copy is {tmp_path / 'out.failed.ipynb'}")
    copy = read(tmp_path / "out.failed.ipynb")
    assert copy.metadata.llmbench.status == "failed"
    assert copy.metadata.llmbench.error in str(caught.value)
    return str(caught.value), copy


def test_a_failing_cell_is_named_and_its_copy_kept_until_a_run_ends_well(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "canary-90210")
    text, copy = failed(
        tmp_path, "print('fine')", "import os\nraise ValueError('no: ' + os.environ['SOME_API_KEY'])", "3"
    )
    assert text.startswith(
        "in.ipynb: cell 4 of 5 (In [4]) raised ValueError: no: <SOME_API_KEY>; the copy is "
    )
    assert [cell.metadata.papermill.status for cell in copy.cells] == ["completed"] * 3 + [
        "failed",
        "pending",
    ]
    assert copy.cells[3].outputs[-1].ename == "ValueError"
    kept = (tmp_path / "out.failed.ipynb").read_text()
    assert "canary" not in kept
    assert sys.prefix not in kept
    run_notebook(notebook(tmp_path / "in.ipynb", "1"), tmp_path / "out.ipynb", {})
    assert not (tmp_path / "out.failed.ipynb").exists()


def test_a_killed_kernel_is_a_failure_and_cells_after_it_are_not_called_completed(tmp_path, sockets):
    text, copy = failed(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "3")
    assert "the kernel died at cell 3 of 4" in text
    assert [cell.metadata.papermill.status for cell in copy.cells] == [
        "completed",
        "completed",
        "failed",
        "pending",
    ]
    assert list(sockets.iterdir()) == []


def test_a_cell_that_leaves_quietly_is_a_failure_since_later_cells_never_ran(tmp_path):
    text, _ = failed(tmp_path, "raise SystemExit(0)", "3")
    assert "cell 4 of 4 was never run" in text


def test_an_unknown_magic_is_a_failure(tmp_path):
    text, _ = failed(tmp_path, "%nosuchmagic\nprint('not reached')", "3")
    assert "cell 3 of 4" in text


def test_a_cell_over_its_time_ends_with_its_kernel_and_children(tmp_path):
    cell = (
        "import os, subprocess, time\nchild = subprocess.Popen(['sleep', '600'])\n"
        "open('pids', 'w').write(f'{os.getpid()} {child.pid}\\n')\ntime.sleep(600)"
    )
    started = time.monotonic()
    text, _ = failed(tmp_path, cell, cell_timeout_s=0.7, cwd=tmp_path)
    assert "cell 3 of 3 (In [3]) ran longer than cell_timeout_s=0.7" in text
    assert time.monotonic() - started < 15
    assert all(gone_within(pid, 2) for pid in wait_for(tmp_path / "pids"))


@pytest.mark.alone
def test_a_notebook_over_its_time_is_stopped(tmp_path):
    text, _ = failed(tmp_path, *["import time\ntime.sleep(3)"] * 9, timeout_s=5)
    assert "timeout_s=5 was over at cell" in text


# --- the parent is interrupted or killed ---

LOOP = "import os, time\nopen('pids', 'w').write(f'{os.getpid()}\\n')\nwhile True:\n    time.sleep(0.1)"
CLOSING = """import os, time
try:
    open('pids', 'w').write(f'{os.getpid()}\\n')
    while True:
        time.sleep(0.1)
finally:
    open('closed', 'w').close()"""
PARENT = """
import sys
from pathlib import Path
from llmbench.bench.notebooks import run_notebook
run_notebook(Path("in.ipynb"), Path("out.ipynb"), {})
"""


@pytest.fixture
def parent(tmp_path, sockets):
    """A process that runs a notebook which never ends, and its kernel's pid."""
    notebook(tmp_path / "in.ipynb", CLOSING, "3")
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(sockets), "PYTHONWARNINGS": "error"}
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    )
    try:
        (kernel,) = wait_for(tmp_path / "pids")
        yield process, kernel
    finally:
        process.kill()
        process.communicate()


@pytest.mark.alone
def test_an_interrupt_ends_the_kernel_within_two_seconds_and_keeps_the_partial(tmp_path, sockets, parent):
    process, kernel = parent
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert gone_within(kernel, 2)
    _, said = process.communicate(timeout=10)
    assert time.monotonic() - started < 4
    assert process.returncode == -signal.SIGINT
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert "never awaited" not in said
    assert "destroyed" not in said
    assert not (tmp_path / "out.ipynb").exists()
    copy = read(tmp_path / "out.partial.ipynb")
    assert copy.metadata.llmbench == {"status": "interrupted"}
    assert [cell.metadata.papermill.status for cell in copy.cells] == ["completed", "interrupted", "pending"]
    assert list(sockets.iterdir()) == []


def test_the_kernel_of_a_killed_parent_ends_and_its_partial_says_interrupted(tmp_path, parent):
    process, kernel = parent
    process.kill()
    assert gone_within(kernel, 5)
    assert not (tmp_path / "out.ipynb").exists()
    assert read(tmp_path / "out.partial.ipynb").metadata.llmbench == {"status": "interrupted"}


def test_an_interrupted_cell_may_close_what_it_holds(tmp_path, parent):
    process, kernel = parent
    process.send_signal(signal.SIGINT)
    assert gone_within(kernel, 2)
    assert (tmp_path / "closed").exists()


@pytest.mark.alone
@pytest.mark.parametrize("deaf", [False, True])
def test_a_thread_is_stopped_within_two_seconds_also_when_its_cell_does_not_listen(tmp_path, deaf):
    listen = "try:\n        time.sleep(0.1)\n    except KeyboardInterrupt:\n        pass" if deaf else "pass"
    source = notebook(tmp_path / "in.ipynb", LOOP.replace("time.sleep(0.1)", listen), "3")
    stop = Future()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_notebook, source, tmp_path / "out.ipynb", {}, cwd=tmp_path, stop=stop)
        (kernel,) = wait_for(tmp_path / "pids")
        stop.set_result(None)
        assert gone_within(kernel, 2)
        assert isinstance(running.exception(), KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run_notebook(source, tmp_path / "later.ipynb", {}, stop=stop)
    assert not (tmp_path / "later.partial.ipynb").exists()


# --- a chain ---


def test_a_chain_runs_in_order_and_tells_each_step(tmp_path):
    first = notebook(tmp_path / "a.ipynb", "open('x', 'w').write(str(n))")
    second = notebook(tmp_path / "b.ipynb", "print('got', open('x').read())")
    told = []
    runs = run_chain(
        [(first, {"n": 7}), (second, {})],
        tmp_path / "out",
        cwd=tmp_path,
        on_step=lambda number, total, run: told.append((number, total, run.output.name)),
    )
    assert told == [(1, 2, "a.ipynb"), (2, 2, "b.ipynb")]
    assert [run.output for run in runs] == [tmp_path / "out" / "a.ipynb", tmp_path / "out" / "b.ipynb"]
    assert "got 7" in printed(read(runs[1].output))


def test_a_chain_is_checked_whole_before_its_first_step(tmp_path):
    first = notebook(tmp_path / "a.ipynb", "1")
    with pytest.raises(NotebookError, match="unknown parameter `m`"):
        run_chain([(first, {}), (notebook(tmp_path / "b.ipynb"), {"m": 1})], tmp_path / "out")
    with pytest.raises(NotebookError, match="two steps would write"):
        run_chain([(first, {}), (first, {"n": 2})], tmp_path / "out")
    assert not (tmp_path / "out").exists()
