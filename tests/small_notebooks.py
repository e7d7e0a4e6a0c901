"""Small notebooks and a look at their kernels: shared by the tests of the papermill wrapper."""

import tempfile
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from llmbench.bench.notebooks import run_notebook
from llmbench.errors import NotebookError

REPOSITORY = Path(__file__).parents[1]
DEFAULTS = """n: int = 3
rate = 0.5
label = "a=b"
names: list[str] = []
mode: Literal["fast", "slow"] = "fast"
limit: int | None = None
anything = None"""


def notebook(path, *sources, parameters="n: int = 1", metadata=None):
    cells = [new_code_cell(source) for source in sources]
    if parameters is not None:
        cells.insert(0, new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    nbformat.write(new_notebook(cells=cells, metadata=metadata or {}), path)
    return path


def read(path):
    return nbformat.read(path, as_version=4)


def printed(nb):
    return "".join(
        out.text for cell in nb.cells for out in cell.get("outputs", []) if out.output_type == "stream"
    )


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_within(pid, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not alive(pid):
            return True
        time.sleep(0.05)
    return False


def wait_for(path, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and path.read_text().endswith("\n"):
            return path.read_text().split()
        time.sleep(0.05)
    raise AssertionError(f"{path} did not appear")


@pytest.fixture
def sockets(tmp_path_factory, monkeypatch):
    """A folder of its own for the kernels' sockets, short enough for them."""
    with tempfile.TemporaryDirectory(prefix="t") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def refused(tmp_path, values, parameters=DEFAULTS):
    source = notebook(tmp_path / "in.ipynb", parameters=parameters)
    with pytest.raises(NotebookError) as caught:
        run_notebook(source, tmp_path / "out.ipynb", values)
    assert not (tmp_path / "out.partial.ipynb").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- parameters ---
