"""The report's pictures, drawn as SVG elements: no clock, no random ids, text as text.

A picture names its colours by class only. The page's style sheet, or the one that `standalone` adds, gives
them for light and dark. All text passes through the XML writer, which escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from llmbench.display import wording

WIDTH: Final = 460
_CHAR: Final = 7.4  # mean width of a character at the labels' size, px
_TEXT: Final = 13.0  # height of a label, px

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Interval:
    """One row of the difference picture; values are differences of scores, -1..1."""

    name: str
    state: str
    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Spot:
    """One point of the trade-off picture: US dollars per 1,000 calls and score 0..1 with its interval."""

    name: str
    state: str
    cost: float
    quality: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear or logarithmic map from values to pixels."""

    start: float
    stop: float
    left: float
    right: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value, held inside the picture."""
        if self.is_log:
            part = math.log(value / self.start) / math.log(self.stop / self.start)
        else:
            part = (value - self.start) / (self.stop - self.start)
        return self.left + min(max(part, 0.0), 1.0) * (self.right - self.left)


def draw_differences(
    intervals: Sequence[Interval], *, reference: str, margin: float, key: str
) -> Element | None:
    """Quality differences with intervals against the margin; None when there is nothing to draw."""
    if not intervals:
        return None
    low = min(-1.6 * margin, *(each.low for each in intervals))
    high = max(1.2 * margin, *(each.high for each in intervals))
    scale = Scale(max(low * 1.08, -1.02), min(high * 1.08, 1.02), 8, WIDTH - 8)
    rows = [44 + 50 * at for at in range(len(intervals))]  # baseline of each row's text
    bottom = rows[-1] + 30
    label = f"Quality difference to {reference}, in points"
    told = "; ".join(
        f"{each.name} {wording.change(each.middle)} ({wording.change_interval((each.low, each.high))})"
        for each in intervals
    )
    svg = _picture(bottom + 44, key, label, f"Margin {wording.change(-margin)} points. {told}.")
    edge = scale(-margin)
    for tick in ticks(scale.start, scale.stop, 6):
        text = wording.number(100 * tick + 0.0).replace("-", "−")
        _write(svg, scale(tick), bottom + 16, text, "f-soft", "middle")
    _write(svg, edge, 16, f"margin −{wording.plain(margin)}", "f-bad", "middle" if edge > 50 else "start")
    if scale(0) - edge > 110:
        _write(svg, scale(0), 16, "no difference", "f-soft", "middle")
    for each, y in zip(intervals, rows, strict=True):
        _draw_interval(svg, scale, each, y, edge)
    _write(svg, WIDTH / 2, bottom + 36, f"points against {_short(reference, 30)}", "f-soft", "middle")
    return svg


def _draw_interval(svg: Element, scale: Scale, each: Interval, y: float, edge: float) -> None:
    """One row: its text, and below it a band on which the interval lies against margin and zero."""
    text = f"{wording.change(each.middle)} ({wording.change_interval((each.low, each.high))})"
    _write(svg, 8, y, _short(each.name, 30), "f-name", "start")
    _write(svg, WIDTH - 8, y, text, "f-ink", "end")
    top, bottom = y + 8, y + 30
    middle = (top + bottom) / 2
    _add(svg, "rect", {"class": "f-loss", "x": 8, "y": top, "width": edge - 8, "height": bottom - top})
    rest = {"x": edge, "y": top, "width": WIDTH - 8 - edge, "height": bottom - top}
    _add(svg, "rect", {"class": "f-safe", **rest})
    for tick in ticks(scale.start, scale.stop, 6):
        _add(svg, "line", {"class": "f-grid", "x1": scale(tick), "x2": scale(tick), "y1": top, "y2": bottom})
    _add(svg, "line", {"class": "f-zero", "x1": scale(0), "x2": scale(0), "y1": top, "y2": bottom})
    _add(svg, "line", {"class": "f-margin", "x1": edge, "x2": edge, "y1": top, "y2": bottom})
    kind = f"f-{each.state}"
    line = {"x1": scale(each.low), "x2": scale(each.high), "y1": middle, "y2": middle}
    _add(svg, "line", {"class": f"f-range {kind}", **line})
    _add(svg, "circle", {"class": f"f-dot {kind}", "cx": scale(each.middle), "cy": middle, "r": 5})


def draw_tradeoff(spots: Sequence[Spot], *, reference: str, margin: float, key: str) -> Element | None:
    """Quality over cost, every candidate a point; None when there is nothing to draw."""
    if not spots:
        return None
    costs = [spot.cost for spot in spots]
    is_log = min(costs) > 1e-9 and max(costs) > 8 * min(costs)
    start, stop = (min(costs) / 1.5, max(costs) * 1.7) if is_log else (0.0, max(max(costs) * 1.18, 1e-9))
    across = Scale(start, stop, 46, WIDTH - 10, is_log)
    low, high = min(spot.low for spot in spots), max(spot.high for spot in spots)
    pad = 0.06 * (high - low or 0.1)
    up = Scale(max(low - pad, 0.0), min(high + pad, 1.0), 262, 22)
    told = "; ".join(
        f"{spot.name} {wording.score(spot.quality)} at {wording.money(spot.cost)}" for spot in spots
    )
    svg = _picture(312, key, "Quality against cost per 1,000 calls", f"{told}.")
    for tick in ticks(up.start, up.stop, 5):
        _add(svg, "line", {"class": "f-grid", "x1": 46, "x2": WIDTH - 10, "y1": up(tick), "y2": up(tick)})
        _write(svg, 40, up(tick) + 4, wording.number(100 * tick), "f-soft", "end")
    for tick in log_ticks(start, stop) if is_log else ticks(start, stop, 5):
        _write(svg, across(tick), 280, _dollars(tick), "f-soft", "middle")
        _add(svg, "line", {"class": "f-tick", "x1": across(tick), "x2": across(tick), "y1": 262, "y2": 266})
    _add(svg, "line", {"class": "f-axis", "x1": 46, "x2": WIDTH - 10, "y1": 262, "y2": 262})
    base = next((spot.quality for spot in spots if spot.name == reference), None)
    if base is not None and up.start < base - margin < up.stop:
        y = up(base - margin)
        _add(svg, "line", {"class": "f-margin", "x1": 46, "x2": WIDTH - 10, "y1": y, "y2": y})
    _write(svg, 46, 13, "quality, points of 100", "f-soft", "start")
    unit = "US dollars per 1,000 calls" + (", logarithmic" if is_log else "")
    _write(svg, WIDTH - 10, 303, unit, "f-soft", "end")
    _draw_spots(svg, spots, across, up)
    return svg


def _draw_spots(svg: Element, spots: Sequence[Spot], across: Scale, up: Scale) -> None:
    taken: list[Box] = []
    for spot in spots:
        x, y = across(spot.cost), up(spot.quality)
        whisker = {"x1": x, "x2": x, "y1": up(spot.low), "y2": up(spot.high)}
        _add(svg, "line", {"class": f"f-whisker f-{spot.state}", **whisker})
        _add(svg, "circle", {"class": f"f-dot f-{spot.state}", "cx": x, "cy": y, "r": 5.5})
        taken.append((x - 7, y - 7, x + 7, y + 7))
    for spot in spots:
        name = _short(spot.name, 20)
        x, y, anchor, box = _place(across(spot.cost), up(spot.quality), _width(name), taken)
        taken.append(box)
        _write(svg, x, y, name, "f-name f-halo", anchor)


def _place(x: float, y: float, width: float, taken: Sequence[Box]) -> tuple[float, float, str, Box]:
    """The first place beside a point where its name hides nothing, else the first one."""
    choices: list[tuple[float, float, str, Box]] = []
    for dy in (4.0, -10.0, 18.0, -24.0, 32.0):
        for anchor, tx, left in (("start", x + 10, x + 10), ("end", x - 10, x - 10 - width)):
            box = (left, y + dy - _TEXT + 2, left + width, y + dy + 3)
            if box[0] >= 46 and box[2] <= WIDTH and box[1] >= 18 and box[3] <= 260:
                choices.append((tx, y + dy, anchor, box))
    free = [each for each in choices if not any(_overlap(each[3], other) for other in taken)]
    fallback = (x + 10, y + 4, "start", (x + 10, y - 9, x + 10 + width, y + 7))
    return (free or choices or [fallback])[0]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def draw_strip(low: float, middle: float, high: float, *, margin: float, state: str) -> Element:
    """A word-sized picture of one difference against the margin; the text beside it says the same."""
    reach = max(2.2 * margin, 0.02)
    scale = Scale(-reach, reach, 6, 114)
    svg = Element("svg", {"class": "strip", "viewBox": "0 0 120 16", "aria-hidden": "true"})
    _add(svg, "rect", {"class": "f-loss", "x": 0, "y": 0, "width": scale(-margin), "height": 16})
    _add(svg, "line", {"class": "f-zero", "x1": scale(0), "x2": scale(0), "y1": 0, "y2": 16})
    _add(svg, "line", {"class": "f-margin", "x1": scale(-margin), "x2": scale(-margin), "y1": 0, "y2": 16})
    line = {"x1": scale(low), "x2": scale(high), "y1": 8, "y2": 8}
    _add(svg, "line", {"class": f"f-range f-{state}", **line})
    _add(svg, "circle", {"class": f"f-dot f-{state}", "cx": scale(middle), "cy": 8, "r": 4})
    return svg


def inline(svg: Element) -> str:
    """The markup of a picture inside a page."""
    return tostring(svg, encoding="unicode")


def standalone(svg: Element, style: str) -> str:
    """The text of an SVG file that carries its own colours for light and dark."""
    sheet = Element("style")
    sheet.text = style
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **svg.attrib})
    root.extend([sheet, *svg])
    return tostring(root, encoding="unicode") + "\n"


def ticks(start: float, stop: float, about: int) -> list[float]:
    """Round numbers in a range, about so many."""
    raw = (stop - start) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999), 10 * power)
    first = math.ceil(start / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(stop / step + 1e-9) + 1)]


def log_ticks(start: float, stop: float) -> list[float]:
    """Powers of ten in a range, with twos and fives between when there are few."""
    powers = range(math.floor(math.log10(start)), math.ceil(math.log10(stop)) + 1)
    tens = [10.0**p for p in powers if start <= 10.0**p <= stop]
    if len(tens) >= 3:
        return tens
    return [round(m * 10.0**p, 12) for p in powers for m in (1, 2, 5) if start <= m * 10.0**p <= stop]


def _picture(height: float, key: str, title: str, told: str) -> Element:
    svg = Element(
        "svg",
        {
            "class": "figure",
            "viewBox": f"0 0 {WIDTH} {height:g}",
            "role": "img",
            "aria-labelledby": f"{key}-title {key}-desc",
        },
    )
    SubElement(svg, "title", {"id": f"{key}-title"}).text = wording.visible(title)
    SubElement(svg, "desc", {"id": f"{key}-desc"}).text = wording.visible(told)
    return svg


def _add(svg: Element, tag: str, attributes: dict[str, str | float]) -> None:
    texts = {name: v if isinstance(v, str) else f"{v:.2f}" for name, v in attributes.items()}
    SubElement(svg, tag, texts)


def _write(svg: Element, x: float, y: float, text: str, kind: str, anchor: str) -> None:
    place = {"class": kind, "x": f"{x:.2f}", "y": f"{y:.2f}", "text-anchor": anchor}
    SubElement(svg, "text", place).text = wording.visible(text)


def _dollars(value: float) -> str:
    return "$" + (f"{value:.10f}".rstrip("0").rstrip(".") or "0")


def _short(text: str, limit: int) -> str:
    text = wording.visible(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _width(text: str) -> float:
    return sum(_CHAR if ord(char) < 0x2E80 else 2 * _CHAR for char in text)
