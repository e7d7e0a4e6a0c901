"""The pictures of the evidence are sound, keep within their frame and say what the numbers say."""

from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.display import figures
from llmbench.display.evidence_figures import EvidencePath, draw_evidence, draw_paired, spread
from llmbench.display.planning_figures import FrontierSpot, PlanningCurve, draw_frontier, draw_planning

_NAME = st.text(max_size=60)
_UNIT = st.floats(0, 1)
_COST = st.floats(0, 1e4)
_MARGIN = st.floats(0.001, 0.5)
_COUNT = st.integers(1, 10_000)
_HOSTILE = "<script>&amp;\u202e日本語\x00"


def _texts(svg: ET.Element) -> list[str]:
    return [text.text or "" for text in svg.iter("text")]


def _heard(svg: ET.Element) -> str:
    """What a screen reader reads."""
    return svg.findtext("desc") or ""


def _pixels(svg: ET.Element, kind: str) -> list[tuple[float, float]]:
    line = next(each for each in svg.iter("polyline") if kind in each.attrib["class"].split())
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


def _check(svg: ET.Element) -> None:
    """Sound XML, no color of its own, a title and a description, and every mark within the frame."""
    ET.fromstring(figures.standalone(svg, ""))  # noqa: S314 - our own picture
    assert "style" not in svg.attrib
    named = svg.attrib["aria-labelledby"].split()
    assert named == [svg.find("title").attrib["id"], svg.find("desc").attrib["id"]]
    height = float(svg.attrib["viewBox"].split()[3])
    for shape in svg.iter():
        assert not {"fill", "stroke", "style"} & set(shape.attrib)
        for name, value in shape.attrib.items():
            if name in {"x", "x1", "x2", "cx"}:
                assert 0 <= float(value) <= figures.WIDTH
            elif name in {"y", "y1", "y2", "cy"}:
                assert 0 <= float(value) <= height
            elif name == "points":
                for x, y in (pair.split(",") for pair in value.split()):
                    assert 0 <= float(x) <= figures.WIDTH
                    assert 0 <= float(y) <= height


@given(
    st.lists(
        st.tuples(_NAME, st.lists(st.tuples(_COUNT, st.floats(0, math.inf)), max_size=6)),
        max_size=8,
    ),
    st.floats(2, 1e5),
)
def test_any_evidence_can_be_drawn_inside_the_frame(rows, threshold):
    paths = [EvidencePath(name, "open", sorted(points)) for name, points in rows]
    svg = draw_evidence(paths, threshold=threshold, key="a")
    assert (svg is None) == (not any(points for _, points in rows))
    if svg is not None:
        _check(svg)


@given(st.lists(st.floats(-1, 1), max_size=60), _NAME, st.floats(0.001, 0.99))
def test_any_differences_can_be_drawn_inside_the_frame(differences, name, margin):
    svg = draw_paired(differences, reference=name, candidate=name, margin=margin, key="a")
    assert (svg is None) == (not differences)
    if svg is not None:
        _check(svg)


@given(
    st.lists(st.tuples(_NAME, _COST, st.none() | _COST, _UNIT, _UNIT, st.none() | _COST), max_size=8), _MARGIN
)
def test_any_models_can_be_drawn_inside_the_frame(rows, margin):
    spots = [
        FrontierSpot(name, "open", cost, off and cost - off, off and cost + off, q, min(q, r), max(q, r), ms)
        for name, cost, off, q, r, ms in rows
    ]
    hull = sorted((spot.cost, spot.quality) for spot in spots)
    svg = draw_frontier(spots, reference=rows[0][0] if rows else "", margin=margin, hull=hull, key="a")
    assert (svg is None) == (not rows)
    if svg is not None:
        _check(svg)


@given(
    st.lists(st.tuples(_NAME, st.lists(st.tuples(_COUNT, st.floats(0, 2)), max_size=6)), max_size=8),
    st.integers(0, 100_000),
    _MARGIN,
)
def test_any_plans_can_be_drawn_inside_the_frame(rows, pool, margin):
    curves = [PlanningCurve(name, points) for name, points in rows]
    svg = draw_planning(curves, pool=pool, margin=margin, key="a")
    assert (svg is None) == (not any(points for _, points in rows))
    if svg is not None:
        _check(svg)


def test_a_strangers_names_stay_text():
    spot = FrontierSpot(_HOSTILE, "open", 1, None, None, 0.5, 0.4, 0.6, 814)
    for svg in (
        draw_evidence([EvidencePath(_HOSTILE, "open", [(9, 2.0)])], threshold=60, key="a"),
        draw_paired([0.5], reference=_HOSTILE, candidate=_HOSTILE, margin=0.05, key="b"),
        draw_frontier([spot], reference=_HOSTILE, margin=0.05, hull=[], key="c"),
        draw_planning([PlanningCurve(_HOSTILE, [(9, 0.1)])], pool=9, margin=0.05, key="d"),
    ):
        markup = figures.inline(svg)
        assert "<script" not in markup
        assert "&lt;script&gt;&amp;amp;" in markup
        assert not re.search("[\u202e\x00]", markup)
        _check(svg)


def test_evidence_begins_at_one_and_ends_in_a_dot_or_beyond_the_edge_in_an_arrow():
    paths = [
        EvidencePath("proved", "promote", [(50, 1e12)]),
        EvidencePath("open", "open", [(50, 8.0)]),
        EvidencePath("lost", "worse", [(20, 0.0)]),
    ]
    svg = draw_evidence(paths, threshold=60, key="a")
    start = _pixels(svg, "f-promote")[0]
    level = next(line for line in svg.iter("line") if line.attrib["class"] == "f-zero")
    assert start[1] == pytest.approx(float(level.attrib["y1"]), abs=0.1)
    assert [dot.attrib["class"] for dot in svg.iter("circle")] == ["f-dot f-open"]
    tips = {arrow.attrib["class"]: arrow.attrib["d"] for arrow in svg.iter("path")}
    assert tips["f-dot f-promote"].endswith("l-6 -9z")
    assert tips["f-dot f-worse"].endswith("l-6 9z")
    assert {"proved at 60", "no evidence", "proved", "open", "lost"} <= set(_texts(svg))
    assert "proved over 1,000,000 after 50 prompts; open 8.00" in _heard(svg)


def test_names_at_one_end_do_not_cover_each_other():
    paths = [EvidencePath(f"model-{n}", "open", [(50, 1.0 + n / 100)]) for n in range(12)]
    svg = draw_evidence(paths, threshold=60, key="a")
    heights = sorted(float(t.attrib["y"]) for t in svg.iter("text") if (t.text or "").startswith("model-"))
    assert len(heights) == 12
    assert all(below - above >= 14.9 for above, below in itertools.pairwise(heights))


@given(st.lists(st.floats(0, 200), max_size=12))
def test_places_are_spread_in_order_and_within_the_limits(wanted):
    places = spread(wanted, 15, 10, 190)
    ordered = [place for _, place in sorted(zip(wanted, places, strict=True))]
    assert all(b - a >= 15 - 1e-6 for a, b in itertools.pairwise(ordered))
    assert all(10 - 1e-6 <= place <= 190 + 1e-6 for place in places)


def test_places_far_enough_apart_are_left_alone_and_crowded_ones_give_way_evenly():
    assert spread([100, 20, 60], 15, 0, 200) == [100, 20, 60]
    assert spread([50, 50], 10, 0, 200) == [45, 55]


def test_right_and_wrong_answers_make_three_bars_with_their_counts():
    differences = [1] * 12 + [0] * 140 + [-1] * 28
    svg = draw_paired(differences, reference="big", candidate="small", margin=0.05, key="a")
    bars = {bar.attrib["class"]: float(bar.attrib["height"]) for bar in svg.iter("rect")}
    assert set(bars) == {"f-bar f-bar-worse", "f-bar f-bar-same", "f-bar f-bar-better"}
    assert len(list(svg.iter("rect"))) == 3
    assert bars["f-bar f-bar-worse"] / bars["f-bar f-bar-same"] == pytest.approx(28 / 140, rel=0.01)
    told = "better on 12, same on 140, worse on 28 of 180"
    assert {"12", "140", "28", told, "mean −8.9", "margin −5", "points, small less big"} <= set(_texts(svg))
    assert told in _heard(svg)


def test_graded_differences_say_what_the_middle_bar_holds_and_count_it_by_sign():
    svg = draw_paired([0.04, -0.04, 0.0, 0.3], reference="r", candidate="c", margin=0.05, key="a")
    texts = _texts(svg)
    assert "better on 2, same on 1, worse on 1 of 4" in texts
    assert any("the middle one from −5 to +5" in text for text in texts)


def test_the_frontier_tells_cost_quality_and_latency_and_marks_the_reference():
    spots = [
        FrontierSpot("big", "reference", 28.0, 26.0, 30.0, 0.83, 0.79, 0.87, 1900),
        FrontierSpot("small", "promote", 1.0, None, None, 0.82, 0.78, 0.86, 814),
    ]
    svg = draw_frontier(spots, reference="big", margin=0.05, hull=[(1.0, 0.82), (28.0, 0.83)], key="a")
    assert {"big", "reference, p95 1.90 s", "small", "p95 814 ms", "margin −5"} <= set(_texts(svg))
    assert "big (reference) 83.0 (79.0 to 87.0) at $28.00 ($26.00 to $30.00), 95 % within 1.90 s" in _heard(
        svg
    )
    whiskers = [line.attrib for line in svg.iter("line") if "f-whisker" in line.attrib["class"]]
    assert sum(each["y1"] == each["y2"] for each in whiskers) == 1  # the cost of small has no interval
    ring = next(dot.attrib for dot in svg.iter("circle") if dot.attrib["class"] == "f-ring")
    dot = next(dot.attrib for dot in svg.iter("circle") if dot.attrib["class"] == "f-dot f-reference")
    assert (ring["cx"], ring["cy"]) == (dot["cx"], dot["cy"])


def test_a_mix_of_two_models_lies_on_a_bent_line_where_the_cost_is_logarithmic():
    spots = [
        FrontierSpot(n, "open", c, None, None, q, q, q, None) for n, c, q in (("a", 1, 0), ("b", 100, 1))
    ]
    svg = draw_frontier(spots, reference="b", margin=0.05, hull=[(1, 0), (100, 1)], key="a")
    pixels = _pixels(svg, "f-hull")
    (x0, y0), (x1, y1) = pixels[0], pixels[-1]
    x, y = pixels[len(pixels) // 2]
    straight = y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    assert y > straight + 20  # lower in the picture: half the way in cents is less than half in quality


def test_a_free_model_and_costs_of_one_size_are_drawn_on_a_plain_axis():
    free = FrontierSpot("local", "open", 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, None)
    texts = _texts(draw_frontier([free], reference="x", margin=0.05, hull=[], key="a"))
    assert "US dollars per 1,000 calls" in texts
    assert "$1" in texts
    assert max(float(text) for text in texts if re.fullmatch(r"[\d.]+", text)) == 100


def test_a_plan_says_about_how_many_prompts_each_assumption_needs():
    def halves(top: float) -> list[tuple[int, float]]:  # a margin that falls with the root of the prompts
        return [(n, top / math.sqrt(n)) for n in (25, 100, 400, 1600)]

    curves = [
        PlanningCurve("easy", halves(0.2)),
        PlanningCurve("usual", halves(1.2)),
        PlanningCurve("hard", halves(9.0)),
    ]
    svg = draw_planning(curves, pool=180, margin=0.05, key="a")
    texts = _texts(svg)
    assert "at most 25 prompts" in texts
    assert "about 580 prompts" in texts  # (1.2 / 0.05)² = 576
    assert "more than 1,600 prompts" in texts
    assert {"your pool: 180", "margin asked: 5 points", "A", "B", "C", "easy", "usual", "hard"} <= set(texts)
    assert "usual: about 580 prompts" in _heard(svg)


def test_a_curve_that_is_not_given_in_order_is_drawn_from_small_pools_to_large():
    curve = PlanningCurve("x", [(400, 0.1), (25, 0.4), (100, 0.2)])
    pixels = _pixels(draw_planning([curve], pool=90, margin=0.05, key="a"), "f-curve")
    assert pixels == sorted(pixels)


def test_the_same_values_make_the_same_picture():
    paths = [EvidencePath("m", "open", [(10, 2.0), (20, 3.0)])]
    first, second = (figures.inline(draw_evidence(paths, threshold=60, key="a")) for _ in range(2))
    assert first == second
