"""Pictures are sound SVG whatever the numbers are."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from llmbench.display import figures
from llmbench.display.traffic_figures_marks import style

_UNIT = st.floats(0, 1, allow_nan=False)


@given(st.lists(st.tuples(st.text(max_size=40), _UNIT, _UNIT), max_size=8), st.floats(0.001, 0.5))
def test_any_candidates_can_be_drawn_inside_the_frame(rows, margin):
    spans = [figures.Interval(name, "open", -max(q, r), -q, min(q, r)) for name, q, r in rows]
    svg = figures.draw_differences(spans, reference="", margin=margin, key="b")
    assert (svg is None) == (not rows)
    if svg is not None:
        height = float(svg.attrib["viewBox"].split()[3])
        for dot in svg.iter("circle"):
            assert 0 <= float(dot.attrib["cx"]) <= figures.WIDTH
            assert 0 <= float(dot.attrib["cy"]) <= height
        ET.fromstring(figures.standalone(svg, figures.style()))  # noqa: S314 - our own picture


def test_the_style_sheet_colours_every_state_in_light_and_in_dark():
    sheet = figures.style()
    assert "prefers-color-scheme: dark" in sheet
    for state in ("promote", "worse", "slow", "costly", "unlikely", "open", "reference"):
        assert f".f-{state}" in sheet


def test_no_rule_of_a_figure_reaches_what_lies_outside_of_it():
    for sheet in (figures.style(), style()):
        own = ET.fromstring(figures.standalone(figures.picture(9, "k", "t", "d"), sheet))  # noqa: S314 - ours
        rules = re.sub(r"@media[^{]*\{|/\*.*?\*/", "", own.findtext("{http://www.w3.org/2000/svg}style"))
        selectors = [each.strip() for part in re.findall(r"([^{}]+)\{", rules) for each in part.split(",")]
        assert len(selectors) > 30
        assert [each for each in selectors if not each.startswith(".llmbench")] == []


def test_in_a_notebook_a_figure_stands_on_light_ground_of_its_own_whatever_the_system_prefers():
    text = figures.for_notebook(figures.picture(9, "k", "t", "d"), style())
    assert "prefers-color-scheme" not in text
    assert "#13161b" not in text
    assert "svg.llmbench { background: var(--raised); }" in text
