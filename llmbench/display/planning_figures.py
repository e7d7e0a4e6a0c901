"""The pictures for choosing: quality against cost, and how many prompts a margin needs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from llmbench.display import wording
from llmbench.display.evidence_figures import (
    Plane,
    Point,
    along,
    draw_curve,
    draw_grid,
    label_line,
    lead,
    spread,
)
from llmbench.display.figures import (
    LINE,
    WIDTH,
    Box,
    Scale,
    add,
    dollars,
    log_ticks,
    picture,
    place,
    short,
    text_width,
    ticks,
    write,
)
from llmbench.display.language import say

_LEFT: Final = 46.0
_RIGHT: Final = WIDTH - 10.0
_TOP: Final = 24.0
_BOTTOM: Final = 274.0
_LEAST_SPAN: Final = 8.0  # a logarithmic axis with less from end to end has too few round numbers
_LEAST_QUALITY: Final = 0.05  # a quality axis shorter than this makes much of nothing
_NAME_WEIGHT: Final = 4  # to hide a name is as bad as to lie over so many lines
_DASHES: Final = 4  # kinds of line in the style sheet


@dataclass(frozen=True, slots=True)
class FrontierSpot:
    """One point of the frontier picture.

    Attributes:
        name: The candidate's name, as it was declared.
        state: The candidate's state: `reference`, `promote`, `worse`, ...
        cost: US dollars per 1,000 calls.
        cost_low: Lower limit of the cost; None when unknown.
        cost_high: Upper limit of the cost; None when unknown.
        quality: Mean score, 0..1.
        low: Lower limit of the quality.
        high: Upper limit of the quality.
        p95_ms: The time within which 95 % of the calls were answered, ms; None when unknown.
    """

    name: str
    state: str
    cost: float
    cost_low: float | None
    cost_high: float | None
    quality: float
    low: float
    high: float
    p95_ms: float | None


@dataclass(frozen=True, slots=True)
class PlanningCurve:
    """What can be proved under one assumption.

    Attributes:
        name: The assumption, in a few words.
        points: Prompts in the pool and the smallest margin (part of one) that they can prove.
    """

    name: str
    points: Sequence[tuple[int, float]]


def draw_frontier(
    spots: Sequence[FrontierSpot], *, reference: str, margin: float, hull: Sequence[Point], key: str
) -> Element | None:
    """Quality over cost, both with intervals; None when there is nothing to draw.

    Args:
        spots: One point per model.
        reference: The name of the spot that the others are compared with.
        margin: The mean loss that is allowed, as a part of one.
        hull: Cost and quality of the corners of the best line, the cheapest first. What lies between two
            corners is a mix of their calls, so it is straight in dollars and bent on a logarithmic axis.
        key: Distinguishes the ids of this picture from those of the page's others.
    """
    if not spots:
        return None
    plane = Plane(_cost_scale(spots, hull), _quality_scale(spots, hull))
    across, up = plane.across, plane.up
    told = say("; ").join(_spot_told(spot, reference) for spot in spots)
    svg = picture(_BOTTOM + 44, key, say("Quality against cost per 1,000 calls"), say("{told}.", told=told))
    steps = log_ticks(across.start, across.stop) if across.is_log else ticks(across.start, across.stop, 5)
    levels = [(tick, wording.plain(tick)) for tick in ticks(up.start, min(up.stop, 1.0), 5)]
    draw_grid(svg, plane, [(tick, dollars(tick)) for tick in steps], levels)
    write(svg, 8, 13, say("quality, points of 100"), "f-soft", "start")
    unit = say("US dollars per 1,000 calls")
    if across.is_log:
        unit = say("US dollars per 1,000 calls, logarithmic")
    write(svg, _RIGHT, _BOTTOM + 36, unit, "f-soft", "end")
    taken: list[Box] = []
    if len(hull) > 1:
        pixels = [plane(point) for point in _mixes(hull)]
        draw_curve(svg, pixels, "f-hull")
        taken += along(pixels)
        write(svg, _RIGHT, 13, "line: best quality for the money", "f-soft", "end")
    base = next((spot.quality for spot in spots if spot.name == reference), None)
    is_shown = base is not None and up.start < base - margin < up.stop
    edge = up((base or 0.0) - margin)
    if is_shown:
        add(svg, "line", {"class": "f-margin", "x1": _LEFT, "x2": _RIGHT, "y1": edge, "y2": edge})
        taken.append((_LEFT, edge - 1, _RIGHT, edge + 1))
    taken += _draw_crosses(svg, plane, spots, reference)
    _name_spots(svg, plane, spots, reference, taken)
    if is_shown:
        limit = say("margin −{margin}", margin=wording.plain(margin))
        label_line(svg, limit, (_LEFT, _RIGHT), edge, "f-bad", taken)
    return svg


def _spot_told(spot: FrontierSpot, reference: str) -> str:
    name = say("{name} (reference)", name=spot.name) if spot.name == reference else spot.name
    cost = wording.money(spot.cost)
    if spot.cost_low is not None and spot.cost_high is not None:
        cost += f" ({wording.span(wording.money(spot.cost_low), wording.money(spot.cost_high))})"
    facts = {"name": name, "quality": wording.score(spot.quality), "cost": cost}
    facts["interval"] = wording.score_interval((spot.low, spot.high))
    text = say("{name} {quality} ({interval}) at {cost}", **facts)
    if spot.p95_ms is None:
        return text
    return say("{spot}, 95 % within {limit}", spot=text, limit=wording.duration(spot.p95_ms))


def _cost_scale(spots: Sequence[FrontierSpot], hull: Sequence[Point]) -> Scale:
    """The cost axis: logarithmic when the costs span more than eightfold."""
    costs = [*(spot.cost for spot in spots), *(cost for cost, _ in hull)]
    most = max([*costs, *(spot.cost_high for spot in spots if spot.cost_high is not None)])
    least = min(costs)
    if least <= 1e-9 or max(costs) <= 8 * least:
        return Scale(0.0, 1.12 * most if most > 1e-9 else 1.0, _LEFT, _RIGHT)
    # A limit near zero would stretch the axis without end: its whisker runs to the edge instead.
    lows = [spot.cost_low for spot in spots if spot.cost_low is not None]
    return Scale(max(min([least, *lows]), least / 5) / 1.4, 1.4 * most, _LEFT, _RIGHT, is_log=True)


def _quality_scale(spots: Sequence[FrontierSpot], hull: Sequence[Point]) -> Scale:
    low = min([*(spot.low for spot in spots), *(quality for _, quality in hull)])
    high = max([*(spot.high for spot in spots), *(quality for _, quality in hull)])
    pad = max(0.06 * (high - low), (_LEAST_QUALITY - high + low) / 2)
    return Scale(max(low - pad, 0.0), min(high + pad, 1.01), _BOTTOM, _TOP)


def _mixes(hull: Sequence[Point]) -> list[Point]:
    """The corners and, between each two, mixes of them in equal steps of cost."""
    points: list[Point] = []
    for (cost, quality), (next_cost, next_quality) in itertools.pairwise(hull):
        for n in range(16):
            part = (n / 16) ** 2  # closer at the cheap end, where a logarithmic axis bends the line most
            points.append((cost + part * (next_cost - cost), quality + part * (next_quality - quality)))
    return [*points, hull[-1]]


def _draw_crosses(svg: Element, plane: Plane, spots: Sequence[FrontierSpot], reference: str) -> list[Box]:
    """Draw every spot with its whiskers, the reference with a ring; returns the room they take."""
    taken: list[Box] = []
    for spot in spots:
        x, y = plane((spot.cost, spot.quality))
        low, high = plane.up(spot.low), plane.up(spot.high)
        add(svg, "line", {"class": f"f-whisker f-{spot.state}", "x1": x, "x2": x, "y1": low, "y2": high})
        taken.append((x - 1, high, x + 1, low))
        if spot.cost_low is not None and spot.cost_high is not None:
            left, right = plane.across(spot.cost_low), plane.across(spot.cost_high)
            add(
                svg, "line", {"class": f"f-whisker f-{spot.state}", "x1": left, "x2": right, "y1": y, "y2": y}
            )
            taken.append((left, y - 1, right, y + 1))
    for spot in spots:
        x, y = plane((spot.cost, spot.quality))
        add(svg, "circle", {"class": f"f-dot f-{spot.state}", "cx": x, "cy": y, "r": 5})
        if spot.name == reference:
            add(svg, "circle", {"class": "f-ring", "cx": x, "cy": y, "r": 8.5})
        taken.append((x - 8, y - 8, x + 8, y + 8))
    return taken


def _name_spots(
    svg: Element, plane: Plane, spots: Sequence[FrontierSpot], reference: str, taken: list[Box]
) -> None:
    """Beside each spot its name and, below it, what else is known of it."""
    for spot in spots:
        point = plane((spot.cost, spot.quality))
        name = short(spot.name, 20)
        facts = [say("reference")] if spot.name == reference else []
        facts += [] if spot.p95_ms is None else [f"p95 {wording.duration(spot.p95_ms)}"]
        below = wording.listed(facts)
        width = max(text_width(name), 0.9 * text_width(below))
        frame = (_LEFT, 18.0, WIDTH - 2.0, _BOTTOM - 2)
        label = place(*point, width, taken, frame=frame, lines=2 if below else 1)
        taken += [label[3]] * _NAME_WEIGHT
        lead(svg, point, label)
        write(svg, label[0], label[1], name, "f-name f-halo", label[2])
        if below:
            write(svg, label[0], label[1] + LINE, below, "f-soft f-halo", label[2])


def draw_planning(curves: Sequence[PlanningCurve], *, pool: int, margin: float, key: str) -> Element | None:
    """The smallest margin that pools of many sizes can prove; None when there is nothing to draw.

    Below the picture stands, for each assumption, about how many prompts the margin asked for needs.

    Args:
        curves: One curve per assumption.
        pool: Prompts in the present pool.
        margin: The margin asked for, as a part of one.
        key: Distinguishes the ids of this picture from those of the page's others.
    """
    curves = [each for each in curves if each.points]
    if not curves:
        return None
    sizes = [float(n) for each in curves for n, _ in each.points]
    reached = [value for each in curves for _, value in each.points if value > 0]
    left, right = _widened(max(1.0, min([pool, *sizes])), max([pool, *sizes]))
    low, high = _widened(max(min([margin, *reached]) / 1.2, 1e-4), min(1.2 * max([margin, *reached]), 1.0))
    plane = Plane(
        Scale(left, right, _LEFT, _RIGHT - 18, is_log=True), Scale(low, high, _BOTTOM, 40, is_log=True)
    )
    needs = [_need(each.points, margin) for each in curves]
    told = "; ".join(f"{each.name}: {need}" for each, need in zip(curves, needs, strict=True))
    title = "Smallest margin that a pool of prompts can prove"
    asked = f"{wording.plain(margin)} points"
    height = _BOTTOM + 68 + 19 * len(curves)
    svg = picture(height, key, title, f"Pool {wording.count(pool, 'prompt')}, margin asked {asked}. {told}.")
    write(svg, 8, 13, "smallest margin provable, points, logarithmic", "f-soft", "start")
    write(svg, _RIGHT, _BOTTOM + 36, "prompts in the pool, logarithmic", "f-soft", "end")
    steps = [(tick, wording.number(tick)) for tick in _steps(left, right)]
    draw_grid(svg, plane, steps, [(tick, wording.plain(tick)) for tick in _steps(low, high)])
    taken = _draw_present(svg, plane, pool, margin)
    _draw_assumptions(svg, plane, curves, taken)
    label_line(svg, f"margin asked: {asked}", (_LEFT, _RIGHT - 18), plane.up(margin), "f-bad", taken)
    _write_needs(svg, curves, needs, asked)
    return svg


def _widened(low: float, high: float) -> Point:
    """A range for a logarithmic axis, wide enough for a few round numbers; the upper end stays."""
    return min(low, high / _LEAST_SPAN), high


def _steps(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis: ones, twos and fives, or powers of ten where those are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [round(m * 10.0**p, 12) for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]
    return fine if len(fine) <= 10 else log_ticks(low, high)


def _draw_present(svg: Element, plane: Plane, pool: int, margin: float) -> list[Box]:
    """The line of the present pool, with its words, and that of the margin; returns the room they take."""
    x, y = plane((pool, margin))
    add(svg, "line", {"class": "f-pool", "x1": x, "x2": x, "y1": 34, "y2": _BOTTOM})
    add(svg, "line", {"class": "f-margin", "x1": _LEFT, "x2": _RIGHT - 18, "y1": y, "y2": y})
    text = f"your pool: {wording.number(pool)}"
    half = text_width(text) / 2
    write(svg, min(max(x, half), WIDTH - half), 30, text, "f-accent", "middle")
    return [(x - 1, 34, x + 1, _BOTTOM), (_LEFT, y - 1, _RIGHT - 18, y + 1)]


def _draw_assumptions(svg: Element, plane: Plane, curves: Sequence[PlanningCurve], taken: list[Box]) -> None:
    """Draw each curve, with the letter at its end that the list below explains."""
    ends: list[Point] = []
    for at, each in enumerate(curves):
        pixels = [plane(point) for point in sorted(each.points)]
        draw_curve(svg, pixels, f"f-curve f-dash-{at % _DASHES}")
        taken += along(pixels)
        ends.append(pixels[-1])
    heights = spread([y + 4 for _, y in ends], 13, 44, _BOTTOM + 4)
    for at, ((x, y), base) in enumerate(zip(ends, heights, strict=True)):
        box = (x + 5, base - 11, x + 5 + text_width(_letter(at)), base + 3)
        taken.append(box)
        lead(svg, (x, y), (x + 5, base, "start", box))
        write(svg, x + 5, base, _letter(at), "f-name f-halo", "start")


def _letter(at: int) -> str:
    return chr(ord("A") + at % 26)


def _need(points: Sequence[tuple[int, float]], margin: float) -> str:
    """About how many prompts a margin needs, in words; between points the curve is a power law."""
    ordered = sorted(points)
    first = next((at for at, (_, value) in enumerate(ordered) if value <= margin), None)
    if first is None:
        return f"more than {wording.count(ordered[-1][0], 'prompt')}"
    n, value = ordered[first]
    if first == 0:
        return f"at most {wording.count(n, 'prompt')}"
    n0, value0 = ordered[first - 1]
    part = math.log(value0 / margin) / math.log(value0 / value) if 0 < value < value0 else 1.0
    size = n0 * (n / max(n0, 1)) ** part
    step = 10 ** max(math.floor(math.log10(max(size, 1))) - 1, 0)  # two digits, rounded up
    return f"about {wording.count(math.ceil(size / step - 1e-9) * step, 'prompt')}"


def _write_needs(svg: Element, curves: Sequence[PlanningCurve], needs: Sequence[str], asked: str) -> None:
    """The list of the assumptions: line, letter, name and what the margin needs."""
    y = _BOTTOM + 60
    write(svg, 8, y, "if", "f-soft", "start")
    write(svg, _RIGHT, y, f"{asked} need", "f-soft", "end")
    for at, (each, need) in enumerate(zip(curves, needs, strict=True)):
        y += 19
        draw_curve(svg, [(8, y - 4), (36, y - 4)], f"f-curve f-dash-{at % _DASHES}")
        write(svg, 42, y, _letter(at), "f-name", "start")
        write(svg, 58, y, short(each.name, 32), "f-ink", "start")
        write(svg, _RIGHT, y, need, "f-soft", "end")
