"""Pictures are sound SVG whatever the numbers are."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from llmbench.display import figures

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
