"""The pictures of the evidence: how each candidate's evidence grew, and the paired differences behind it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from llmbench.display import wording
from llmbench.display.figures import (
    WIDTH,
    Box,
    Label,
    Scale,
    add,
    least_covered,
    log_ticks,
    overlap,
    picture,
    place,
    short,
    text_width,
    ticks,
    write,
)
from llmbench.display.language import say

_LEAST: Final = 0.01  # the lowest evidence shown; below it lies nothing that a decision could need
_MOST_TOLD: Final = 1e6  # beyond this the words say "over"
_HALF_BINS: Final = 10  # bars to each side of the middle one
_FLOOR: Final = 224.0  # the pixel that the bars stand on
_EQUAL: Final = 1e-9  # two scores that differ by less are the same score

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class EvidencePath:
    """How one candidate's evidence grew.

    Attributes:
        name: The candidate's name, as it was declared.
        state: The candidate's state: `promote`, `worse`, `open`, ...
        points: Prompts seen and the evidence (wealth, 1 at the start) after them, in order; thinned already.
    """

    name: str
    state: str
    points: Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Plane:
    """Two scales of one picture: `up.left` is the pixel of the bottom edge, `up.right` that of the top."""

    across: Scale
    up: Scale

    def __call__(self, point: Point) -> Point:
        """The pixels of a point, held inside the picture."""
        return self.across(point[0]), self.up(point[1])


def draw_evidence(paths: Sequence[EvidencePath], *, threshold: float, key: str) -> Element | None:
    """The evidence of each candidate over the prompts seen; None when there is nothing to draw.

    Every path begins at 1 before the first prompt. What lies outside 0.01 to 3 thresholds is drawn at the
    edge, and a path that ends there ends in an arrow.

    Args:
        paths: One path per candidate.
        threshold: The evidence at which a claim is proved.
        key: Distinguishes the ids of this picture from those of the page's others.
    """
    paths = [each for each in paths if each.points]
    if not paths:
        return None
    names = [short(each.name, 21) for each in paths]
    right = WIDTH - 18 - max(text_width(name) for name in names)
    bottom = 34.0 + max(210, 17 * len(paths))
    last = max(1, *(n for each in paths for n, _ in each.points))
    up = Scale(_LEAST, max(3 * threshold, 10.0), bottom, 34, is_log=True)
    plane = Plane(Scale(0, last, 46, right), up)
    svg = picture(bottom + 44, key, say("Evidence over the prompts seen"), _told(paths, threshold))
    write(svg, 8, 13, say("evidence, logarithmic"), "f-soft", "start")
    write(svg, right, bottom + 36, say("prompts seen"), "f-soft", "end")
    levels = [
        (tick, wording.number(tick, max(0, -round(math.log10(tick))))) for tick in log_ticks(_LEAST, up.stop)
    ]
    steps = [tick for tick in ticks(0, last, 5) if tick == round(tick)]
    draw_grid(svg, plane, [(step, wording.number(step)) for step in steps], levels)
    lines = (
        (threshold, "f-goal", "f-good", say("proved at {threshold}", threshold=f"{threshold:,.6g}")),
        (1.0, "f-zero", "f-soft", say("no evidence")),
    )
    for level, kind, _, _ in lines:
        add(svg, "line", {"class": kind, "x1": 46, "x2": right, "y1": up(level), "y2": up(level)})
    taken = _draw_paths(svg, plane, paths)
    _name_ends(svg, plane, paths, names, taken)
    for level, _, kind, text in lines:
        label_line(svg, text, (46, right), up(level), kind, taken)
    return svg


def _told(paths: Sequence[EvidencePath], threshold: float) -> str:
    ends = say("; ").join(
        say(
            "{name} {evidence} after {prompts}",
            name=each.name,
            evidence=_stake(each.points[-1][1]),
            prompts=wording.count(each.points[-1][0], "prompt"),
        )
        for each in paths
    )
    text = "Evidence begins at 1; the claim is proved at {threshold}. {ends}."
    return say(text, threshold=f"{threshold:,.6g}", ends=ends)


def _stake(wealth: float) -> str:
    if wealth < _LEAST:
        return say("below {n}", n=_LEAST)
    if wealth > _MOST_TOLD:
        return say("over {n}", n=wording.number(_MOST_TOLD))
    return wording.number(wealth, 0 if wealth >= 10 else 2)


def _draw_paths(svg: Element, plane: Plane, paths: Sequence[EvidencePath]) -> list[Box]:
    """Draw the paths and their ends; returns the room they take."""
    taken: list[Box] = []
    for each in paths:
        pixels = [plane(point) for point in [(0, 1.0), *each.points]]
        draw_curve(svg, pixels, f"f-path f-{each.state}")
        taken += along(pixels)
    for each in paths:
        x, y = plane(each.points[-1])
        wealth = each.points[-1][1]
        kind = f"f-dot f-{each.state}"
        if plane.up.start <= wealth <= plane.up.stop:
            add(svg, "circle", {"class": kind, "cx": x, "cy": y, "r": 4.5})
        else:
            tip = -9 if wealth > plane.up.stop else 9
            add(svg, "path", {"class": kind, "d": f"M{x - 6:.2f} {y:.2f}h12l-6 {tip}z"})
        taken.append((x - 6, y - 6, x + 6, y + 6))
    return taken


def _name_ends(
    svg: Element, plane: Plane, paths: Sequence[EvidencePath], names: Sequence[str], taken: list[Box]
) -> None:
    """Write each name beside its path's end; a thin line leads to a name that found room only farther off."""
    bottom = plane.up.left + 4
    points = [plane(each.points[-1]) for each in paths]
    widths = [text_width(name) for name in names]
    # Most paths end at the right edge: their names share the margin there, in the order of the ends.
    edge = plane.across.right - 12
    outer = [at for at, point in enumerate(points) if point[0] >= edge]
    heights = spread([points[at][1] + 4 for at in outer], 15, 28, bottom)
    labels: dict[int, Label] = {}
    for at, y in zip(outer, heights, strict=True):
        x = plane.across.right + 10
        labels[at] = (x, y, "start", (x, y - 11, x + widths[at], y + 3))
    taken += [label[3] for label in labels.values()]
    for at, point in enumerate(points):
        if at not in labels:
            labels[at] = place(*point, widths[at], taken, frame=(46.0, 16.0, WIDTH - 2.0, bottom))
            taken.append(labels[at][3])
    for at, label in sorted(labels.items()):
        lead(svg, points[at], label)
        write(svg, label[0], label[1], names[at], "f-name f-halo", label[2])


def draw_paired(
    differences: Sequence[float], *, reference: str, candidate: str, margin: float, key: str
) -> Element | None:
    """How the paired score differences are spread, in 21 bars; None when there is nothing to draw.

    Args:
        differences: Candidate less reference, one number in -1..1 for each unit.
        reference: The name of the model compared with.
        candidate: The name of the model in question.
        margin: The mean loss that is allowed, as a part of one.
        key: Distinguishes the ids of this picture from those of the page's others.
    """
    if not differences:
        return None
    better = sum(each > _EQUAL for each in differences)
    worse = sum(each < -_EQUAL for each in differences)
    same = len(differences) - better - worse
    mean = math.fsum(differences) / len(differences)
    counts = say(
        "better on {better}, same on {same}, worse on {worse} of {n}",
        better=wording.number(better),
        same=wording.number(same),
        worse=wording.number(worse),
        n=wording.number(len(differences)),
    )
    told = say(
        "{candidate} against {reference}: {counts}. Mean {mean} points; margin {margin} points.",
        candidate=candidate,
        reference=reference,
        counts=counts,
        mean=wording.change(mean),
        margin=wording.change(-margin),
    )
    is_graded = any(min(abs(each), abs(abs(each) - 1)) > _EQUAL for each in differences)
    svg = picture(288 if is_graded else 272, key, say("Differences of scores, unit by unit"), told)
    scale = Scale(-1.05, 1.05, 10, WIDTH - 10)
    write(svg, 10, 16, counts, "f-name", "start")
    heights = _heights(differences)
    _draw_marks(svg, scale, mean, margin)
    _draw_bars(svg, scale, heights)
    _write_counts(svg, scale, heights)
    for tick in (-1.0, -0.5, 0.0, 0.5, 1.0):
        text = wording.number(100 * tick)
        write(svg, scale(tick), 242, text, "f-soft", "middle")
        add(
            svg,
            "line",
            {"class": "f-tick", "x1": scale(tick), "x2": scale(tick), "y1": _FLOOR, "y2": _FLOOR + 4},
        )
    write(svg, scale(-0.75), 242, say("worse"), "f-bad", "middle")
    write(svg, scale(0.75), 242, say("better"), "f-good", "middle")
    if is_graded:
        note = say("each bar is 10 points wide, the middle one from −5 to +5")
        write(svg, WIDTH / 2, 279, note, "f-soft", "middle")
    names = {"candidate": short(candidate, 22), "reference": short(reference, 22)}
    text = say("points, {candidate} less {reference}", **names)
    write(svg, WIDTH / 2, 263, text, "f-soft", "middle")
    return svg


def _heights(differences: Sequence[float]) -> list[int]:
    """How many differences fall to each bar; the middle one holds what rounds to no difference."""
    heights = [0] * (2 * _HALF_BINS + 1)
    for each in differences:
        heights[round(min(max(each, -1.0), 1.0) * _HALF_BINS) + _HALF_BINS] += 1
    return heights


def _bars(scale: Scale, heights: Sequence[int]) -> list[tuple[int, int, Box]]:
    """Position, count and room of every bar that is not empty, the tallest first."""
    bars = []
    for at, count in sorted(enumerate(heights), key=lambda pair: -pair[1]):
        left, right = (scale((at - _HALF_BINS + step) / _HALF_BINS) for step in (-0.5, 0.5))
        top = _FLOOR - max(134 * count / max(heights), 1.5)
        if count:
            bars.append((at - _HALF_BINS, count, (left + 1, top, right - 1, _FLOOR)))
    return bars


def _draw_bars(svg: Element, scale: Scale, heights: Sequence[int]) -> None:
    for at, _, (left, top, right, bottom) in _bars(scale, heights):
        side = "same" if at == 0 else "worse" if at < 0 else "better"
        bar = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        add(svg, "rect", {"class": f"f-bar f-bar-{side}", **bar})
    add(svg, "line", {"class": "f-axis", "x1": 10, "x2": WIDTH - 10, "y1": _FLOOR, "y2": _FLOOR})


def _write_counts(svg: Element, scale: Scale, heights: Sequence[int]) -> None:
    """The count above each bar, where it hides no taller bar and no other count."""
    taken: list[Box] = []
    for _, count, bar in _bars(scale, heights):
        text, x, y = wording.number(count), (bar[0] + bar[2]) / 2, bar[1] - 4
        half = 0.43 * text_width(text)  # digits are narrower than letters
        x = min(max(x, half + 2), WIDTH - half - 2)
        box = (x - half, y - 10, x + half, y + 2)
        if not any(overlap(box, other) for other in taken):
            taken.append(box)
            write(svg, x, y, text, "f-soft f-halo", "middle")
        taken.append(bar)


def _draw_marks(svg: Element, scale: Scale, mean: float, margin: float) -> None:
    """The mean and the margin, each with its words on the side away from the other one's line."""
    for value, y, kind, text, color in (
        (mean, 38, "f-mean", say("mean {mean}", mean=wording.change(mean)), "f-name"),
        (-margin, 56, "f-margin", say("margin −{margin}", margin=wording.plain(margin)), "f-bad"),
    ):
        x = scale(value)
        add(svg, "line", {"class": kind, "x1": x, "x2": x, "y1": y - 10, "y2": _FLOOR})
        is_right = mean >= -margin if value == mean else mean < -margin
        room = text_width(text) + 8
        is_right = x - room < 4 or (is_right and x + room < WIDTH - 4)
        write(svg, x + 6 if is_right else x - 6, y, text, f"{color} f-halo", "start" if is_right else "end")


def draw_grid(
    svg: Element,
    plane: Plane,
    steps: Sequence[tuple[float, str]],
    levels: Sequence[tuple[float, str]],
) -> None:
    """Both axes of a plane; a number at the lower axis that would touch the one before it is left out."""
    left, right, bottom = plane.across.left, plane.across.right, plane.up.left
    for level, text in levels:
        y = plane.up(level)
        add(svg, "line", {"class": "f-grid", "x1": left, "x2": right, "y1": y, "y2": y})
        write(svg, left - 6, y + 4, text, "f-soft", "end")
    free = -math.inf
    for step, text in steps:
        x, half = plane.across(step), 0.45 * text_width(text)
        add(svg, "line", {"class": "f-tick", "x1": x, "x2": x, "y1": bottom, "y2": bottom + 4})
        if x - half > free and x + half <= WIDTH:
            write(svg, x, bottom + 18, text, "f-soft", "middle")
            free = x + half + 4
    add(svg, "line", {"class": "f-axis", "x1": left, "x2": right, "y1": bottom, "y2": bottom})


def draw_curve(svg: Element, pixels: Sequence[Point], kind: str) -> None:
    """A line through pixels."""
    add(svg, "polyline", {"class": kind, "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)})


def along(pixels: Sequence[Point]) -> list[Box]:
    """Small boxes along a line, for labels to keep clear of."""
    boxes = []
    for (x1, y1), (x2, y2) in itertools.pairwise(pixels):
        pieces = max(1, math.ceil(math.hypot(x2 - x1, y2 - y1) / 6))
        for n in range(pieces):
            x, y = x1 + (x2 - x1) * n / pieces, y1 + (y2 - y1) * n / pieces
            boxes.append((x - 1, y - 1, x + 1, y + 1))
    return boxes


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near as can be to the wanted ones, in their order and a gap apart, within two limits.

    Less its rank times the gap, each place must be no less than the one before: the least squares under
    that rule are an isotonic regression, found by pooling neighbours (Ayer and others, 1955).
    """
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    pools: list[tuple[float, int]] = []  # mean and size
    for rank, at in enumerate(order):
        mean, size = wanted[at] - rank * gap, 1
        while pools and pools[-1][0] > mean:
            other, more = pools.pop()
            mean, size = (mean * size + other * more) / (size + more), size + more
        pools.append((mean, size))
    places = [0.0] * len(wanted)
    means = [mean for mean, size in pools for _ in range(size)]
    for rank, (at, mean) in enumerate(zip(order, means, strict=True)):
        places[at] = max(min(mean, high - (len(wanted) - 1) * gap), low) + rank * gap
    return places


def lead(svg: Element, point: Point, label: Label) -> None:
    """A thin line from a point to its label, when the label is too far off to be taken for its own."""
    left, top, right, bottom = label[3]
    y = min(max(point[1], top), bottom)
    if abs(y - point[1]) > 8:
        x = left if label[2] == "start" else right
        add(
            svg,
            "line",
            {"class": "f-leader", "x1": point[0], "x2": x, "y1": point[1], "y2": y},
        )


def label_line(svg: Element, text: str, span: Point, y: float, kind: str, taken: list[Box]) -> None:
    """Write a level line's words by it, where they hide least; `span` holds the line's two ends, px."""
    width = 0.9 * text_width(text)
    choices: list[Label] = []
    for base in (y - 5, y + 13):
        for part in (0.0, 0.25, 0.5, 0.75, 1.0):
            x = span[0] + 4 + part * (span[1] - span[0] - 8 - width)
            choices.append((x, base, "start", (x, base - 11, x + width, base + 3)))
    label = least_covered(choices, taken)
    if label is not None:
        taken.append(label[3])
        write(svg, label[0], label[1], text, f"{kind} f-halo", label[2])
