"""A notebook run once for each combination: real kernels, several at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmbench.bench.notebook_matrix import combination_name, combinations, run_matrix
from llmbench.cli import app
from llmbench.errors import NotebookError
from tests.small_notebooks import (  # noqa: F401
    REPOSITORY,
    gone_within,
    notebook,
    printed,
    read,
    sockets,
    wait_for,
)
from tests.test_render import Page

PARAMETERS = 'seed: int = 1\nlimit: int | None = None\nlabel: str = "x"'


def index(folder):
    return {row["name"]: row for row in json.loads((folder / "matrix.json").read_text())["rows"]}


def test_four_notebooks_at_once_each_keep_their_own_kernel_and_values(tmp_path, sockets):
    """All four wait until they see each other, so they do run at once; the sockets are files of their own."""
    meeting = (
        "import os, pathlib, time\npathlib.Path(f'here-{seed}-{limit}').write_text(str(os.getpid()))\n"
        "end = time.monotonic() + 60\n"
        "while len(list(pathlib.Path('.').glob('here-*'))) < 4 and time.monotonic() < end:\n"
        "    time.sleep(0.05)\n"
        "print('met', len(list(pathlib.Path('.').glob('here-*'))), seed, limit, label)"
    )
    source = notebook(tmp_path / "in.ipynb", meeting, parameters=PARAMETERS)
    done = run_matrix(
        source,
        tmp_path / "out",
        {"seed": [1, 2], "limit": [10, None]},
        {"label": "all"},
        jobs=4,
        cwd=tmp_path,
    )
    assert [(row.name, row.status) for row in done.rows] == [
        ("in-limit_10-seed_1", "ok"),
        ("in-limit_null-seed_1", "ok"),
        ("in-limit_10-seed_2", "ok"),
        ("in-limit_null-seed_2", "ok"),
    ]
    for row in done.rows:
        values = row.parameters
        said = printed(read(tmp_path / "out" / row.copy))
        assert said == f"met 4 {values['seed']} {values['limit']} all\n"
    pids = {path.read_text() for path in tmp_path.glob("here-*")}
    assert len(pids) == 4
    assert all(gone_within(pid, 2) for pid in pids)
    assert list(sockets.iterdir()) == []


def test_one_that_fails_is_kept_and_the_others_go_on_and_only_it_runs_again(tmp_path):
    source = notebook(
        tmp_path / "in.ipynb",
        "if seed == 1: raise ValueError('<b>no</b>')\nprint(seed)",
        parameters=PARAMETERS,
    )
    out, told = tmp_path / "out", []
    done = run_matrix(source, out, {"seed": [1, 2, 3]}, on_row=lambda row: told.append(row.name))
    assert [row.status for row in done.rows] == ["failed", "ok", "ok"]
    assert sorted(told) == ["in-seed_1", "in-seed_2", "in-seed_3"]
    (failed,) = done.failed
    assert failed.copy == "in-seed_1.failed.ipynb"
    assert failed.error == "cell 3 of 3 (In [3]) raised ValueError: <b>no</b>"
    assert read(out / failed.copy).metadata.llmbench.status == "failed"
    assert index(out)["in-seed_1"]["error"] == failed.error
    assert str(tmp_path) not in (out / "matrix.json").read_text()
    assert failed.error in str(done)
    page = done._repr_html_()
    assert "<b>" not in page
    assert failed.error in Page(page).text
    assert f'href="{os.path.relpath(out)}/in-seed_2.ipynb"' in unquote(page)

    before = (out / "in-seed_2.ipynb").stat().st_mtime_ns
    again = run_matrix(source, out, {"seed": [2, 1]})
    assert [row.status for row in again.rows] == ["kept", "failed"]
    assert (out / "in-seed_2.ipynb").stat().st_mtime_ns == before
    assert index(out)["in-seed_3"]["status"] == "ok", "what was not asked for now is still known"


def test_a_copy_is_kept_only_while_its_source_and_its_parameters_are_the_same(tmp_path):
    source, out = notebook(tmp_path / "in.ipynb", "1", parameters=PARAMETERS), tmp_path / "out"

    def status(parameters=None, **options):
        (row,) = run_matrix(source, out, {"seed": [1]}, parameters, **options).rows
        return row.status

    assert [status(), status()] == ["ok", "kept"]
    assert status(again=True) == "ok"
    assert [status({"label": "y"}), status({"label": "y"})] == ["ok", "kept"]
    notebook(source, "2", parameters=PARAMETERS)
    assert status({"label": "y"}) == "ok"
    (out / "in-seed_1.ipynb").unlink()
    assert status({"label": "y"}) == "ok"
    (out / "matrix.json").write_text("torn {")
    assert status({"label": "y"}) == "ok"


@pytest.mark.parametrize(
    ("matrix", "parameters", "said"),
    [
        ({"seed": [1, "x"]}, {}, "`seed` got 'x' (str), wanted int"),
        ({"sede": [1]}, {}, "unknown parameter `sede`; did you mean `seed`?"),
        ({"seed": []}, {}, "`seed` has no values"),
        ({"seed": [1, 1]}, {}, "`seed` has the value 1 twice"),
        ({"label": "abc"}, {}, "`label` got 'abc'; give a list of values"),
        ({"seed": [1]}, {"seed": 2}, "`seed` is set for all and in the matrix"),
    ],
)
def test_a_wrong_matrix_is_refused_before_anything_is_started(tmp_path, matrix, parameters, said):
    source = notebook(tmp_path / "in.ipynb", "1", parameters=PARAMETERS)
    with pytest.raises(NotebookError) as caught:
        run_matrix(source, tmp_path / "out", matrix, parameters)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.lists(st.text())
)


@given(st.lists(st.tuples(values, values), min_size=2, unique_by=json.dumps))
def test_every_combination_has_a_safe_file_name_of_its_own(pairs):
    names = [combination_name({"a": one, "b_c": other}, "in") for one, other in pairs]
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-")
        assert not name.endswith((".failed", ".partial"))
        assert len(name) < 220


def test_a_name_is_the_same_whatever_the_order_of_parameters():
    assert combination_name({"seed": 1, "limit": None}) == combination_name({"limit": None, "seed": 1})
    assert combinations({}) == [{}]


LOOP = (
    "import os, time\nopen(f'pids{seed}', 'w').write(f'{os.getpid()}\\n')\nwhile seed:\n    time.sleep(0.1)"
)
PARENT = """
from pathlib import Path
from llmbench.bench.notebook_matrix import run_matrix
run_matrix(Path("in.ipynb"), Path("out"), {"seed": [0, 1, 2, 3, 4]}, jobs=3)
"""


@pytest.mark.alone
def test_an_interrupt_ends_all_kernels_within_two_seconds_and_the_index_says_so(tmp_path, sockets):
    notebook(tmp_path / "in.ipynb", LOOP, parameters=PARAMETERS)
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(sockets), "PYTHONWARNINGS": "error"}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            kernels = [pid for seed in (1, 2, 3) for pid in wait_for(tmp_path / f"pids{seed}")]
            with pytest.raises(NotebookError, match="another matrix is being run"):
                run_matrix(tmp_path / "in.ipynb", tmp_path / "out", {"seed": [0]})
            pressed = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert all(gone_within(pid, max(0, pressed + 2 - time.monotonic())) for pid in kernels)
            _, said = process.communicate(timeout=10)
        finally:
            process.kill()
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert "never awaited" not in said
    rows = index(tmp_path / "out")
    assert [rows[f"in-seed_{seed}"]["status"] for seed in range(5)] == ["ok", *["interrupted"] * 3, "pending"]
    copy = read(tmp_path / "out" / "in-seed_1.partial.ipynb")
    assert copy.metadata.llmbench == {"status": "interrupted"}
    assert not (tmp_path / "pids4").exists()
    assert list(sockets.iterdir()) == []


# ---- the verb


def invoke(*args):
    return CliRunner().invoke(app, ["notebook", *(str(arg) for arg in args)], standalone_mode=False)


def test_the_verb_types_values_by_the_notebooks_annotations(tmp_path):
    source = notebook(tmp_path / "in.ipynb", "print([seed, limit, label])", parameters=PARAMETERS)
    args = (
        source,
        "--set",
        "label=12",
        "--matrix",
        "seed=1,2",
        "--matrix",
        "limit=null",
        "--out",
        tmp_path / "o",
    )
    done = invoke(*args, "--json")
    assert [row["parameters"] for row in json.loads(done.stdout)] == [
        {"seed": 1, "limit": None},
        {"seed": 2, "limit": None},
    ]
    assert printed(read(tmp_path / "o" / "in-limit_null-seed_2.ipynb")) == "[2, None, '12']\n"
    assert invoke(*args).stdout.count("kept") == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--set", "seed"], "--set seed: write it as name=value"),
        (["--set", "seed=1", "--set", "seed=2"], "`seed` is given twice"),
        (["--set", "seed=1.5"], "`seed` got '1.5' (float), wanted int"),
        (["--matrix", "sede=1"], "unknown parameter `sede`; did you mean `seed`?"),
    ],
)
def test_what_the_verb_cannot_use_is_one_line_and_exit_code_1(tmp_path, args, said):
    source = notebook(tmp_path / "in.ipynb", "1", parameters=PARAMETERS)
    done = invoke(source, *args, "--out", tmp_path / "o")
    assert done.exit_code == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_a_failed_run_is_exit_code_1_after_the_table(tmp_path):
    source = notebook(tmp_path / "in.ipynb", "1 / (seed - 1)", parameters=PARAMETERS)
    done = invoke(source, "--matrix", "seed=1,2", "--out", tmp_path / "o")
    assert done.exit_code == 1
    assert "failed  1" in done.stdout
    assert "ok      2" in done.stdout
    assert "1 of 2 runs of in.ipynb failed, first in-seed_1: cell 3 of 3" in done.stderr
    assert done.stderr.count("\n") == 1
