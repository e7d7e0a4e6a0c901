"""The pictures of telemetry keep within their frame, let no text hide another, and say what the rows say."""

from __future__ import annotations

import itertools
import math
import re
from datetime import date, timedelta
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.display import figures
from llmbench.display.language import say, speaking
from llmbench.display.traffic_figures import CostDay, LatencyRow, draw_cost_by_tier, draw_latency
from llmbench.display.traffic_figures_marks import brief, level, percent, small_width, style
from llmbench.display.traffic_figures_matrix import FallbackStep, HeatCell, draw_error_heat, draw_fallbacks
from llmbench.visible import visible

DAY = date(2026, 11, 1)
HOSTILE = "<script>&amp;\u202e日本語\x00<img src=x onerror=alert(1)>"
KINDS = ("rate_limit", "timeout", "server_error", "bad_request", "content_filter", "refusal", "truncated")
_BY_HOUR = "by weekday and time of day: {n} hours, UTC"
_NAME = st.text(max_size=50)
_COUNT = st.integers(0, 2_000_000)
_MS = st.floats(0.001, 1e7)
_SIZES = {"t-tiny": 9.5, "t-small": 11.0, "f-soft": 11.5, "f-bad": 11.5, "f-accent": 11.5}
Point = tuple[float, float]


def many_names(n: int) -> list[str]:
    return [
        f"字幕翻訳モデル{at}の長い日本語の名前" if at % 3 == 0 else f"provider/model-number-{at}"
        for at in range(n)
    ]


def crowded() -> list[ET.Element]:
    """Every picture with more models, tiers and days than it has room for."""
    names = many_names(40)
    days = [
        CostDay(DAY + timedelta(days=n), tier, 0.01 * n + 1, 10, n % 3)
        for n in range(300)
        for tier in names[:9]
    ]
    rows = [latency(name, 100.0 * 1.2**at, n=9_000 + at) for at, name in enumerate(names)]
    steps = [FallbackStep(a, b, 1 + 37 * at) for at, (a, b) in enumerate(itertools.pairwise(names * 3))]
    cells = [
        HeatCell(name, kind, at, 1_000)
        for at, name in enumerate(names)
        for kind in [*KINDS, "empty", "auth", "quota"]
    ]
    hours = [
        HeatCell(
            say("{day} {weekday}", day=f"2026-11-{d:02d}", weekday=say("Wed")), say("{n}h", n=h), d % 7, 9 + d
        )
        for d in range(1, 29)
        for h in range(0, 24, 3)
    ]
    return [
        draw_cost_by_tier(days, key="a"),
        draw_latency(rows, key="b"),
        draw_fallbacks(steps, key="c"),
        draw_error_heat(cells, key="d", what=say("by model and kind of error")),
        draw_error_heat(hours, key="e", what=say(_BY_HOUR, n=3), is_split=False),
    ]


def latency(name: str, ms: float, n: int = 3) -> LatencyRow:
    bins = [(ms * 10 ** (at / 20), ms * 10 ** ((at + 1) / 20), 1 + at % 4) for at in range(12)]
    return LatencyRow(name, n, 1.5 * ms, 2.5 * ms, 3.5 * ms, bins, 2 * ms, 3 * ms)


# ---- geometry


@pytest.mark.parametrize("letter", ["M", "m", "W", "@", "字", "i", "…"])
def test_a_long_name_is_cut_before_the_times_of_its_row(letter):
    """By the widths of as wide a bold face as is in use: DejaVu Sans Bold, thousandths of its size."""
    svg = draw_latency([latency(letter * 300, 100.0)], key="a")
    texts = {text.text or "": text for text in svg.iter("text")}
    [name] = [text for text in texts if text.startswith(letter) and text.endswith("…")]
    median = next(text for text in texts if text.startswith("p50"))
    wide = {"M": 995, "m": 1042, "W": 1103, "@": 1000, "字": 1000, "i": 343, "…": 1000}
    end = 8 + 12.5 * sum(wide[char] for char in name) / 1000
    assert end < float(texts[median].attrib["x"]) - 11.5 * 0.65 * len(median) - 2
    assert texts[name].find("title").text == letter * 300


def corners(text: ET.Element) -> list[Point]:
    """The corners of a text's box, from its size and a usual width of its characters."""
    size = next((size for name, size in _SIZES.items() if name in text.attrib["class"].split()), 12.5)
    width = size * sum(1.0 if ord(char) >= 0x2E80 else 0.56 for char in text.text or "")
    x, y = float(text.attrib["x"]), float(text.attrib["y"])
    left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[text.attrib["text-anchor"]] * width
    box = [
        (left, y - 0.75 * size),
        (left + width, y - 0.75 * size),
        (left + width, y + 0.1 * size),
        (left, y + 0.1 * size),
    ]
    turn = math.radians(45 if "rotate(45" in text.attrib.get("transform", "") else 0)
    return [
        (
            x + (px - x) * math.cos(turn) - (py - y) * math.sin(turn),
            y + (px - x) * math.sin(turn) + (py - y) * math.cos(turn),
        )
        for px, py in box
    ]


def overlap(a: list[Point], b: list[Point]) -> bool:
    """Whether two convex shapes share room: no edge's normal separates them."""
    for shape in (a, b):
        for (x1, y1), (x2, y2) in itertools.pairwise([*shape, shape[0]]):
            normal = (y1 - y2, x2 - x1)
            one, other = ([px * normal[0] + py * normal[1] for px, py in each] for each in (a, b))
            if max(one) <= min(other) or max(other) <= min(one):
                return False
    return True


def hidden_texts(shapes: list[tuple[str, list[Point]]]) -> list[tuple[str, str]]:
    return [(a, b) for (a, one), (b, other) in itertools.combinations(shapes, 2) if overlap(one, other)]


def check(svg: ET.Element) -> None:
    """Sound XML, colours by class alone, a title and a description, and everything within the frame."""
    ET.fromstring(figures.standalone(svg, style()))  # noqa: S314 - our own picture
    assert svg.attrib["aria-labelledby"].split() == [
        svg.find("title").attrib["id"],
        svg.find("desc").attrib["id"],
    ]
    width, height = map(float, svg.attrib["viewBox"].split()[2:])
    for shape in svg.iter():
        assert not {"fill", "stroke", "style"} & set(shape.attrib)
        x, y = float(shape.attrib.get("x", 0)), float(shape.attrib.get("y", 0))
        assert x >= -0.01
        assert y >= -0.01
        assert x + float(shape.attrib.get("width", 0)) <= width + 0.02
        assert y + float(shape.attrib.get("height", 0)) <= height + 0.02
        for name in shape.attrib.keys() & {"x1", "x2"}:
            assert 0 <= float(shape.attrib[name]) <= width
    for text in svg.iter("text"):
        for x, y in corners(text):
            assert -2 <= x <= width + 2, text.text
            assert 0 <= y <= height, text.text
    assert hidden_texts([(text.text or "", corners(text)) for text in svg.iter("text")]) == []


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 900), _NAME, st.floats(0, 1e6), _COUNT), max_size=12))
def test_any_costs_can_be_drawn_inside_the_frame(rows):
    svg = draw_cost_by_tier(
        [CostDay(DAY + timedelta(days=at), tier, usd, n + 1, n) for at, tier, usd, n in rows], key="a"
    )
    assert (svg is None) == (not rows)
    if svg is not None:
        check(svg)


@settings(max_examples=60)
@given(st.lists(st.tuples(_NAME, _MS, _COUNT), max_size=15))
def test_any_latencies_can_be_drawn_inside_the_frame(rows):
    svg = draw_latency([latency(name, ms, n) for name, ms, n in rows], key="a")
    assert (svg is None) == (not any(n for *_, n in rows))
    if svg is not None:
        check(svg)


@settings(max_examples=60)
@given(st.lists(st.tuples(_NAME, _NAME, _COUNT), max_size=30))
def test_any_fallbacks_can_be_drawn_inside_the_frame(rows):
    svg = draw_fallbacks([FallbackStep(*row) for row in rows], key="a")
    assert (svg is None) == (not any(n for *_, n in rows))
    if svg is not None:
        check(svg)


@settings(max_examples=60)
@given(st.lists(st.tuples(_NAME, _NAME, _COUNT, _COUNT), max_size=30), st.booleans())
def test_any_errors_can_be_drawn_inside_the_frame(rows, is_split):
    cells = [HeatCell(a, b, min(n, m), max(n, m)) for a, b, n, m in rows]
    columns = len({b for _, b, _, _ in rows})
    svg = draw_error_heat(cells, key="a", what="by x", is_split=is_split or columns > 8)
    assert (svg is None) == (not rows)
    if svg is not None:
        check(svg)


@pytest.mark.parametrize("tag", ["en", "ja"])
def test_no_text_hides_another_in_crowded_pictures(tag):
    with speaking(tag):
        for svg in crowded():
            check(svg)


def test_nothing_to_draw_is_no_picture_and_one_row_is_one():
    assert draw_cost_by_tier([], key="a") is None
    assert draw_latency([], key="a") is None
    assert draw_latency([LatencyRow("m", 0, 1, 1, 1, [])], key="a") is None
    assert draw_fallbacks([FallbackStep("a", "b", 0)], key="a") is None
    assert draw_error_heat([], key="a", what="x") is None
    for svg in (
        draw_cost_by_tier([CostDay(DAY, "cheap", 0.0, 3, 3)], key="a"),
        draw_latency([LatencyRow("m", 1, 5, 5, 5, [(4.9, 5.1, 1)])], key="b"),
        draw_fallbacks([FallbackStep("a", "b", 1)], key="c"),
        draw_error_heat([HeatCell("a", "timeout", 1, 1)], key="d", what="x"),
    ):
        check(svg)


# ---- what the pictures say


def texts(svg: ET.Element) -> list[str]:
    return [text.text or "" for text in svg.iter("text")]


def tips(svg: ET.Element) -> list[str]:
    return [rect.findtext("title") or "" for rect in svg.iter("rect") if rect.find("title") is not None]


def test_a_strangers_names_stay_text_and_a_name_that_is_cut_is_whole_in_its_title():
    for svg in (
        draw_cost_by_tier([CostDay(DAY, HOSTILE, 1.0, 1, 0)], key="a"),
        draw_latency([latency(HOSTILE, 10)], key="b"),
        draw_fallbacks([FallbackStep(HOSTILE, HOSTILE, 3)], key="c"),
        draw_error_heat([HeatCell(HOSTILE, HOSTILE, 3, 9)], key="d", what="x"),
    ):
        markup = figures.inline(svg)
        assert not re.search("<script|<img|[\u202e\x00]", markup)
        assert any(text.endswith("…") for text in texts(svg))
        whole = [text.findtext("title") for text in svg.iter("text") if text.find("title") is not None]
        assert any(visible(HOSTILE) in each for each in whole)
        check(svg)


@pytest.mark.parametrize(
    ("days", "bars", "unit"), [(31, 31, "a day"), (32, 5, "a week"), (300, 11, "in 28 days")]
)
def test_many_days_are_put_together_and_no_dollar_is_lost(days, bars, unit):
    rows = [CostDay(DAY + timedelta(days=n), "cheap", 0.25, 1, 0) for n in range(days)]
    svg = draw_cost_by_tier(rows, key="a")
    found = [tip for tip in tips(svg) if "cheap" in tip]
    assert len(found) == bars
    assert sum(float(tip.rpartition("$")[2]) for tip in found) == pytest.approx(0.25 * days)
    assert f"US dollars {unit}, known costs" in texts(svg)


def test_a_bar_is_as_tall_as_its_dollars_and_unknown_costs_are_told():
    rows = [
        CostDay(DAY, "cheap", 1.0, 4, 1),
        CostDay(DAY, "heavy", 3.0, 1, 0),
        CostDay(DAY + timedelta(1), "heavy", 2.0, 5, 0),
    ]
    svg = draw_cost_by_tier(rows, key="a")
    tall = {
        r.findtext("title"): float(r.attrib["height"])
        for r in svg.iter("rect")
        if r.find("title") is not None
    }
    one = tall["2026-11-01: cheap $1.00"]
    tops = {
        r.findtext("title"): float(r.attrib["y"]) for r in svg.iter("rect") if r.find("title") is not None
    }
    assert tops["2026-11-01: cheap $1.00"] + one == pytest.approx(tops["2026-11-01: heavy $3.00"], abs=0.02)
    assert tall["2026-11-01: heavy $3.00"] == pytest.approx(3 * one, rel=0.01)
    assert tall["2026-11-02: heavy $2.00"] == pytest.approx(2 * one, rel=0.01)
    assert "cost not known: 1 of 10 calls (10.0 %)" in texts(svg)
    told = svg.findtext("desc")
    assert told == (
        "$6.00 in all: heavy $5.00; cheap $1.00. Most a day: $4.00 (2026-11-01). "
        "The cost of 1 of 10 calls is not known."
    )


@pytest.mark.parametrize(
    ("usd", "words", "top"),
    [
        (0.00002, "millionths of a US dollar", "20"),
        (0.004, "US dollars", "$0.004"),
        (4_000, "US dollars", "$4,000"),
        (40_000, "thousands of US dollars", "40"),
        (4e6, "millions of US dollars", "4"),
    ],
)
def test_the_axis_counts_in_a_unit_that_has_room(usd, words, top):
    svg = draw_cost_by_tier([CostDay(DAY, "cheap", usd, 1, 0)], key="a")
    assert f"{words} a day, known costs" in texts(svg)
    assert top in texts(svg)
    assert not any("…" in text for text in texts(svg))


def test_the_marks_stand_where_the_axis_says():
    svg = draw_latency([LatencyRow("m", 9, 10, 100, 1000, [(10, 100, 5), (100, 1000, 4)])], key="a")
    marks = [
        float(line.attrib["x1"]) for line in svg.iter("line") if "t-mark" in line.attrib["class"].split()
    ]
    assert marks[1] - marks[0] == pytest.approx(marks[2] - marks[1], abs=0.02)  # a decade each
    at = {text.text: float(text.attrib["x"]) for text in svg.iter("text")}
    assert [at["10 ms"], at["100 ms"], at["1 s"]] == pytest.approx(marks, abs=30)
    assert at["100 ms"] == pytest.approx(marks[1], abs=0.02)
    assert svg.findtext("desc") == "m p50 10 ms, p95 100 ms, p99 1.00 s of 9 calls."


def test_models_that_are_not_drawn_are_counted():
    svg = draw_latency([latency(name, 10, n=at + 1) for at, name in enumerate(many_names(40))], key="a")
    assert "28 more models with 406 calls not drawn" in texts(svg)
    assert len([line for line in svg.iter("line") if "t-mark-95" in line.attrib["class"]]) == 12


def test_small_models_are_summed_up_and_every_fallback_is_counted():
    names = many_names(40)
    steps = [FallbackStep(a, b, at + 1) for at, (a, b) in enumerate(itertools.pairwise(names))]
    svg = draw_fallbacks(steps, key="a")
    counts = [int(re.search(r": ([\d,]+) calls?,", tip)[1].replace(",", "")) for tip in tips(svg)]
    assert sum(counts) == sum(step.calls for step in steps)
    assert "28 others" in texts(svg)
    heads = [t for t in svg.iter("text") if "transform" in t.attrib]
    assert len(heads) == 12


def test_a_rows_calls_count_once_however_many_kinds_it_has():
    cells = [HeatCell(f"m{n}", kind, 1, 100) for n in range(40) for kind in ("timeout", "rate_limit")]
    svg = draw_error_heat(cells, key="a", what="x", most_rows=4)
    assert "37 others, timeout: 37 of 3,700 requests" in tips(svg)


def test_few_calls_are_a_fraction_and_never_shaded_deeply():
    svg = draw_error_heat(
        [HeatCell("a", "timeout", 9, 9), HeatCell("b", "timeout", 10, 10)], key="a", what="x"
    )
    assert {"9/9", "100"} <= set(texts(svg))
    shades = {rect.findtext("title"): rect.attrib["class"] for rect in svg.iter("rect")}
    assert shades["a, timeout: 9 of 9 requests"] == "t-heat-2"
    assert shades["b, timeout: 10 of 10 requests"] == "t-heat-6"


def test_hours_without_calls_are_blank_and_hours_without_failures_a_zero():
    cells = [HeatCell("Mon", "0h", 0, 40), HeatCell("Mon", "3h", 0, 0), HeatCell("Tue", "0h", 1, 40)]
    svg = draw_error_heat(cells, key="a", what="x", is_split=False)
    assert texts(svg).count("0") == 1
    assert (
        len([rect for rect in svg.iter("rect") if rect.attrib["class"] in ("t-none", "t-heat-3")])
        == 3 - 1 + 1
    )
    assert svg.findtext("desc") == "The most first: Tue, 0h: 2.5 %."


@given(st.integers(0, 10**13), st.floats(18, 60))
def test_a_count_is_short_enough_for_its_cell(n, room):
    text = brief(n, room)
    assert small_width(text) <= max(room, small_width("999M"))
    assert n >= 1000 or text == str(n)


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_share_takes_four_characters_and_is_zero_for_nothing_alone(part, whole):
    text = percent(min(part, whole), whole)
    assert len(text) <= 4
    assert (text == "0") == (part == 0)
    assert text != "0.0"


def test_shades_rise_with_the_share():
    shades = [level(share, (0.1, 0.2)) for share in (0, 0.05, 0.1, 0.15, 0.2, 0.9)]
    assert shades == [0, 1, 1, 2, 2, 3]


# ---- colours


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_number_can_be_read_on_its_shade_and_every_tier_seen_on_the_paper(scheme):
    blocks = re.findall(r":root \{(.*?)\}", style(), re.DOTALL)
    assert len(blocks) == 4
    colours: dict[str, str] = {}
    for block in blocks if scheme == "dark" else blocks[::2]:
        colours |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for ramp, n in itertools.product(("heat", "step"), range(1, 7)):
        on = colours["on-pale" if n <= 3 else "on-deep"]
        assert contrast(colours[f"{ramp}-{n}"], on) >= 4.5, (ramp, n)
    for n in range(6):
        assert contrast(colours[f"t-{n}"], colours["raised"]) >= 3, n
    assert contrast(colours["soft"], colours["panel"]) >= 4.5
