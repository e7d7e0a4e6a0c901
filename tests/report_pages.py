"""The pages that are shared, made once for the tests that look at them in a browser."""

from __future__ import annotations

import shutil
from pathlib import Path

from llmbench.analytics.render import render_report
from llmbench.cli_telemetry_report import telemetry_report
from tests.media_run_folders import write_media_run
from tests.run_folders import write_judgements, write_run_folder
from tests.test_report_sections import EXTRAS
from tests.traffic_log import RECORDING

ROOT = Path(__file__).parents[1]


def rich_run(root: Path, *, samples: int = 24) -> Path:
    """A run folder whose report has every section, in both languages; made once for each `root`."""
    made = root / "reports" / "2026-11-22-tiers"
    if made.is_dir():
        return made
    folder = write_run_folder(root, samples=samples)
    write_judgements(folder)
    render_report(folder.run_dir, extras=EXTRAS)
    return folder.run_dir


def media_run(root: Path, modality: str) -> Path:
    folder = write_media_run(root, modality)
    render_report(folder.run_dir)
    return folder.run_dir


def example_run(root: Path) -> Path:
    """A copy of the committed example with the report of today."""
    folder = root / "example"
    left_out = shutil.ignore_patterns("notebooks", "figures", "report.*", "summary.*")
    shutil.copytree(ROOT / "reports" / "example", folder, ignore=left_out)
    render_report(folder)
    return folder


def telemetry_page(root: Path) -> Path:
    return telemetry_report(root, log=str(RECORDING), notebook=ROOT / "notebooks" / "05_telemetry.ipynb")
