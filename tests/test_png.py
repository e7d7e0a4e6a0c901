"""A figure as PNG looks like its SVG on the light page, whatever it names."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from llmbench.cli import app
from llmbench.display import figures
from llmbench.display.png import ZOOM, _resolved, draw_png, flat_style
from llmbench.display.traffic_figures import LatencyRow, draw_latency
from llmbench.display.traffic_figures_marks import style
from llmbench.errors import ConfigError
from tests.run_folders import write_run_folder

FIGURES = sorted((Path(__file__).parents[1] / "reports" / "example" / "figures").glob("*-01-*.svg"))
GREEN, AMBER, INK, WHITE = (0x17, 0x72, 0x4A), (0x7D, 0x52, 0x00), (0x1D, 0x21, 0x27), (255, 255, 255)


def picture(svg: str) -> Image.Image:
    with Image.open(io.BytesIO(draw_png(svg))) as opened:
        return opened.convert("RGB")


def colours(image: Image.Image) -> dict[tuple[int, int, int], int]:
    return {colour: n for n, colour in image.getcolors(maxcolors=1 << 24)}


def differences(name: str, state: str = "promote") -> str:
    drawn = figures.draw_differences(
        [figures.Interval(name, state, -0.05, 0.1, 0.3)], reference="now", margin=0.05, key="d"
    )
    return figures.standalone(drawn, figures.style())


@pytest.mark.parametrize("path", FIGURES, ids=[path.stem for path in FIGURES])
def test_each_kind_of_figure_of_a_report_is_drawn_on_light_paper_at_twice_its_size(path):
    svg = path.read_text(encoding="utf-8")
    drawn = picture(svg)
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())
    assert drawn.size == (round(width * ZOOM), round(height * ZOOM))
    found = colours(drawn)
    assert max(found, key=found.get) == WHITE
    assert INK in found, "its labels are written in ink"


@pytest.mark.parametrize(("state", "hue"), [("promote", GREEN), ("open", AMBER)])
def test_a_part_has_the_hue_of_its_state(state, hue):
    found = colours(picture(differences("small", state)))
    assert found.get(hue, 0) > 100
    assert found.get(({GREEN, AMBER} - {hue}).pop(), 0) == 0


@pytest.mark.parametrize("name", ["小さなモデル", "<b>&\"'", "x" * 5000, "\ud800\x00\u202e", "]]><script>"])
def test_any_name_is_drawn(name):
    assert colours(picture(differences(name)))[GREEN] > 100


def test_the_report_draws_each_figure_in_its_language_and_leaves_no_older_one(tmp_path):
    run = write_run_folder(tmp_path, samples=12).run_dir
    figures_of = run / "figures"
    figures_of.mkdir()
    for old in ("gone-01-x.png", "gone-01-x.ja.png", "gone-01-x.svg"):
        (figures_of / old).write_bytes(b"old")
    done = CliRunner().invoke(app, ["report", str(run), "--lang", "ja", "--png"])
    assert done.exit_code == 0, done.output
    drawn = {path.stem for path in figures_of.glob("*.ja.png")}
    assert drawn == {path.stem for path in figures_of.glob("*.ja.svg")}
    assert len(drawn) >= 8
    assert sorted(path.name for path in figures_of.glob("gone*")) == ["gone-01-x.png", "gone-01-x.svg"]
    for path in figures_of.glob("*.ja.png"):
        svg = path.with_suffix(".svg").read_text(encoding="utf-8")
        assert draw_png(svg) == path.read_bytes()
    assert CliRunner().invoke(app, ["report", str(run), "--lang", "ja"]).exit_code == 0
    assert [path.name for path in figures_of.glob("*.png")] == ["gone-01-x.png"]


def test_without_the_package_the_report_is_left_as_it_was(tmp_path, monkeypatch):
    run = write_run_folder(tmp_path, samples=12).run_dir
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    before = sorted(path.name for path in run.iterdir())
    refused = CliRunner().invoke(app, ["report", str(run), "--png"])
    assert refused.exit_code == 1
    assert "llmbench[png]" in refused.stderr
    assert sorted(path.name for path in run.iterdir()) == before


def test_the_flat_style_leaves_nothing_that_the_library_does_not_know():
    flat = flat_style(figures.style())
    for unknown in ("var(", "@media", "--", "font:"):
        assert unknown not in flat
    assert ".f-goal{stroke: #17724a" in flat


@pytest.mark.parametrize(
    ("body", "flat"),
    [
        ("fill: var(--x, rgb(0 0 0))", "fill: rgb(0 0 0)"),
        ("fill: var(--y, var(--x, rgb(0 0 0)))", "fill: rgb(0 0 0)"),
        ("fill: var(--a, red)", "fill: green"),
        ("fill: var(--round, red)", "fill: red"),
        ("fill: var(--y)", "fill: inherit"),
        ("fill: var(--y", "fill: var(--y"),
        ("fill: var()", "fill: var()"),
    ],
)
def test_what_stands_in_for_a_property_is_written_out_and_every_rule_comes_to_an_end(body, flat):
    values = {"--a": "green", "--round": "var(--round) var(--round)"}
    assert _resolved(body, values) == flat


def test_a_figure_keeps_the_style_that_it_brings():
    drawn = draw_latency(
        [LatencyRow("fast", 40, 100.0, 200.0, 300.0, [(50.0, 400.0, 40)])], what="model", key="t"
    )
    bars = style()
    assert bars != figures.style()
    own = figures.standalone(drawn, bars.replace("--accent: #2c5c9e", "--accent: #ff00ff", 1))
    assert colours(picture(own)).get((255, 0, 255), 0) > 20, "the mark at p95 has its colour from there"


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(ConfigError, match=r"llmbench\[png\]"):
        draw_png(differences("small"))
