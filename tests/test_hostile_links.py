"""No link in a folder that a stranger made leads a write, a copy or a deletion out of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import nbformat
import pytest

from llmbench.analytics.render import render_report
from llmbench.bench.config_store import _PARTIAL, _write
from llmbench.bench.media_store import as_line, copy_answers, store_file, whole_file
from llmbench.bench.notebooks import run_notebook
from llmbench.bench.progress import mark_stopped
from llmbench.bench.results import write_whole
from llmbench.bench.run_folder import refuse_links
from llmbench.errors import SweepError, WarehouseError
from tests.hostile_strings import by_kind
from tests.run_folders import write_run_folder


def test_a_ledgers_name_of_a_file_never_leaves_its_folder(tmp_path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / ("a" * 64 + ".png")).symlink_to(tmp_path / "secret")
    for name in (*by_kind("path"), "a" * 64 + ".png", None, 7, ["x"]):
        with pytest.raises(SweepError):
            whole_file(tmp_path / "media", name)


@pytest.fixture
def kept(tmp_path) -> Iterator[Path]:
    """A folder outside of the one that is written, with files that must stay as they are."""
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("mine.svg", "mine.ja.svg", "mine.png", "own.txt"):
        (folder / name).write_text("mine")
    yield folder
    assert {path.name for path in folder.iterdir()} == {"mine.svg", "mine.ja.svg", "mine.png", "own.txt"}
    assert {path.read_text() for path in folder.iterdir()} == {"mine"}


def planted(folder: Path, names: Sequence[str], target: Path) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)


def test_a_report_deletes_and_writes_nothing_through_a_link_of_its_figures(tmp_path, kept):
    folder = write_run_folder(tmp_path, samples=4).run_dir
    (folder / "figures").symlink_to(kept)
    with pytest.raises(WarehouseError, match=r"figures cannot be used: is a link"):
        render_report(folder, with_png=True)


def test_a_page_that_is_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path, kept):
    folder = write_run_folder(tmp_path, samples=4).run_dir
    pages = ["report.html", "report.ja.html", "report.md", "summary.md"]
    planted(folder, [*pages, *(f".{name}.{os.getpid()}.partial" for name in pages)], kept / "own.txt")
    (folder / "figures").mkdir()
    planted(folder / "figures", ["old.svg", "old.ja.svg"], kept / "mine.svg")
    render_report(folder)
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert "<html" in (folder / "report.html").read_text(encoding="utf-8")


def test_results_and_progress_are_not_written_through_a_link(tmp_path, kept):
    folder = tmp_path / "run"
    folder.mkdir()
    names = ["plan.json", "progress.json"]
    names += [f"plan.json.{os.getpid()}.tmp", f".progress.json.{os.getpid()}.partial"]
    planted(folder, names, kept / "own.txt")
    write_whole(folder / "plan.json", ["{}\n"])
    (folder / "progress.json").unlink()
    (folder / "progress.json").write_text('{"state": "running"}')
    mark_stopped(folder / "progress.json", "test")
    assert (folder / "plan.json").read_text() == "{}\n"
    assert json.loads((folder / "progress.json").read_text())["state"] == "stopped"


@pytest.mark.parametrize("name", ["notebooks", "media", "figures"])
def test_a_run_does_not_begin_in_a_folder_whose_parts_lead_away(tmp_path, kept, name):
    (tmp_path / "run").mkdir()
    refuse_links(tmp_path / "run")
    (tmp_path / "run" / name).symlink_to(kept)
    with pytest.raises(SweepError, match=rf"{name} is a link to another place"):
        refuse_links(tmp_path / "run")


def test_an_executed_notebook_is_not_written_through_a_link(tmp_path, kept):
    path = tmp_path / "out.partial.ipynb"
    path.symlink_to(kept / "own.txt")
    source = tmp_path / "in.ipynb"
    cell = nbformat.v4.new_code_cell("a = 1", metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), source)
    run_notebook(source, tmp_path / "out.ipynb", {})
    assert nbformat.read(tmp_path / "out.ipynb", 4).cells


def test_pictures_are_not_copied_through_a_link_and_no_link_brings_a_file(tmp_path, kept):
    source = tmp_path / "media"
    name = store_file(source, b"picture", ".png")
    (source / f"{Path(name).stem}.read.json").symlink_to(kept / "own.txt")
    line = as_line({"media": "image", "file": name})
    copy_answers([line], source, tmp_path / "run" / "media")
    assert [path.name for path in (tmp_path / "run" / "media").iterdir()] == [name]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "media").symlink_to(kept)
    with pytest.raises(SweepError, match="is a link"):
        copy_answers([line], source, tmp_path / "other" / "media")


def test_an_apply_writes_no_draft_through_a_link(tmp_path, kept):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "llm_tier_mapping.yaml").write_text("tasks: {}\n")
    planted(folder, [_PARTIAL], kept / "own.txt")
    _write(folder, folder / "llm_tier_mapping.yaml", "tasks: {a: cheap}\n")
    assert (folder / "llm_tier_mapping.yaml").read_text() == "tasks: {a: cheap}\n"
