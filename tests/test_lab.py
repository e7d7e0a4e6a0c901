"""`make lab` opens JupyterLab on the tour, and the tour runs there as it does in a test."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.test_report_browser import browser  # noqa: F401 - a fixture

pytestmark = [pytest.mark.slow, pytest.mark.browser]
ROOT = Path(__file__).parents[1]


@pytest.fixture
def lab(tmp_path):
    """The command of the Makefile, in a copy of the project, on a free port and without a window."""
    printed = subprocess.run(
        ["make", "-n", "lab"], cwd=ROOT, text=True, capture_output=True, check=True
    ).stdout
    line = next(line for line in printed.splitlines() if "jupyter lab" in line)
    command = shlex.split(line.replace(".venv/bin/jupyter", f"{sys.executable} -m jupyter"))
    for name in ("notebooks", "configs", "datasets"):
        shutil.copytree(ROOT / name, tmp_path / "project" / name)
    tour = tmp_path / "project" / "notebooks" / "00_tour.ipynb"
    notebook = nbformat.read(tour, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, tour)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command += [
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.token=",
        "--ServerApp.password=",
    ]
    with (
        (tmp_path / "lab.log").open("w") as log,
        subprocess.Popen(command, cwd=tmp_path / "project", stdout=log, stderr=log) as server,
    ):
        yield f"http://127.0.0.1:{port}/"
        server.terminate()


def test_make_lab_opens_the_tour_and_all_its_cells_run(lab, browser):
    page = browser.new_page()
    for _ in range(240):  # the server needs a while
        try:
            page.goto(lab)
            break
        except Exception:  # noqa: BLE001 - the browser's own error for a refused connection
            page.wait_for_timeout(250)
    page.wait_for_url("**/lab/tree/notebooks/00_tour.ipynb*", timeout=60_000)
    page.wait_for_selector(".jp-Notebook", timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)  # the kernel is there
    page.get_by_text("Run", exact=True).first.click()
    page.get_by_text("Run All Cells", exact=True).first.click()
    page.wait_for_selector("text=OK 4 calls", timeout=60_000)
    shown = page.locator(".jp-RenderedHTMLCommon table")
    assert "candidate" in (shown.first.text_content() or "")
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    page.close()
