"""The report's pictures, drawn as SVG elements: no clock, no random ids, text as text.

A picture names its colours by class only. The page's style sheet, or the one that `standalone` adds, gives
them for light and dark. Every rule holds inside the class `llmbench` alone: a page that shows a picture keeps
its own looks. All text passes through the XML writer, which escapes it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from llmbench.display import wording
from llmbench.display.language import say
from llmbench.visible import visible

WIDTH: Final = 460
_CHAR: Final = 8.3  # mean width of a bold character at the labels' size, px, in the widest usual font
_TEXT: Final = 13.0  # height of a label, px
LINE: Final = 14.0  # from one baseline to the next, px

_MEDIA: Final = re.compile(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}\n?")
_GROUND: Final = "svg.llmbench { background: var(--raised); }\n"

Box = tuple[float, float, float, float]  # left, top, right, bottom, px
Label = tuple[float, float, str, Box]  # x, baseline, text-anchor and the room a text takes


@dataclass(frozen=True, slots=True)
class Interval:
    """One row of the difference picture; values are differences of scores, -1..1."""

    name: str
    state: str
    low: float
    middle: float
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
        """The pixel of a value, held inside the picture; a logarithm takes zero and below for the start."""
        if self.is_log:
            part = math.log(max(value, self.start) / self.start) / math.log(self.stop / self.start)
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
    label = say("Quality difference to {reference}, in points", reference=reference)
    told = say("; ").join(
        f"{each.name} {wording.change(each.middle)} ({wording.change_interval((each.low, each.high))})"
        for each in intervals
    )
    text = say("Margin {margin} points. {told}.", margin=wording.change(-margin), told=told)
    svg = picture(bottom + 44, key, label, text)
    edge = scale(-margin)
    for tick in ticks(scale.start, scale.stop, 6):
        text = wording.number(100 * tick + 0.0)
        write(svg, scale(tick), bottom + 16, text, "f-soft", "middle")
    limit = say("margin −{margin}", margin=wording.plain(margin))
    write(svg, edge, 16, limit, "f-bad", "middle" if edge > 50 else "start")
    if scale(0) - edge > 110:
        write(svg, scale(0), 16, say("no difference"), "f-soft", "middle")
    for each, y in zip(intervals, rows, strict=True):
        _draw_interval(svg, scale, each, y, edge)
    unit = say("points against {reference}", reference=short(reference, 30))
    write(svg, WIDTH / 2, bottom + 36, unit, "f-soft", "middle")
    return svg


def _draw_interval(svg: Element, scale: Scale, each: Interval, y: float, edge: float) -> None:
    """One row: its text, and below it a band on which the interval lies against margin and zero."""
    text = f"{wording.change(each.middle)} ({wording.change_interval((each.low, each.high))})"
    write(svg, 8, y, short(each.name, 30), "f-name", "start")
    write(svg, WIDTH - 8, y, text, "f-ink", "end")
    top, bottom = y + 8, y + 30
    middle = (top + bottom) / 2
    add(svg, "rect", {"class": "f-loss", "x": 8, "y": top, "width": edge - 8, "height": bottom - top})
    rest = {"x": edge, "y": top, "width": WIDTH - 8 - edge, "height": bottom - top}
    add(svg, "rect", {"class": "f-safe", **rest})
    for tick in ticks(scale.start, scale.stop, 6):
        add(svg, "line", {"class": "f-grid", "x1": scale(tick), "x2": scale(tick), "y1": top, "y2": bottom})
    add(svg, "line", {"class": "f-zero", "x1": scale(0), "x2": scale(0), "y1": top, "y2": bottom})
    add(svg, "line", {"class": "f-margin", "x1": edge, "x2": edge, "y1": top, "y2": bottom})
    kind = f"f-{each.state}"
    line = {"x1": scale(each.low), "x2": scale(each.high), "y1": middle, "y2": middle}
    add(svg, "line", {"class": f"f-range {kind}", **line})
    add(svg, "circle", {"class": f"f-dot {kind}", "cx": scale(each.middle), "cy": middle, "r": 5})


def place(
    x: float,
    y: float,
    width: float,
    taken: Sequence[Box],
    *,
    frame: Box = (46, 18, WIDTH, 260),
    lines: int = 1,
) -> Label:
    """The first place beside a point where a text of so many lines hides nothing, else the least bad one.

    Args:
        x: The point, px.
        y: The point, px.
        width: The text's width, px.
        taken: What is drawn already.
        frame: Left, top, right and bottom that the text must keep within, px.
        lines: How many lines the text has; the label's `y` is the first one's baseline.
    """
    choices: list[Label] = []
    for n in range(16):  # on the point's own line, then above and below it in turn
        dy = 4.0 + LINE * (n // 2 if n % 2 == 0 else -(n + 1) // 2)
        for anchor, tx, left in (("start", x + 10, x + 10), ("end", x - 10, x - 10 - width)):
            base = y + dy - (lines - 1) * LINE / 2
            box = (left, base - _TEXT + 2, left + width, base + 3 + (lines - 1) * LINE)
            if box[0] >= frame[0] and box[2] <= frame[2] and box[1] >= frame[1] and box[3] <= frame[3]:
                choices.append((tx, base, anchor, box))
    return least_covered(choices, taken) or (x + 10, y + 4, "start", (x + 10, y - 9, x + 10 + width, y + 7))


def least_covered(choices: Sequence[Label], taken: Sequence[Box]) -> Label | None:
    """The first of the choices that lies over the fewest taken boxes; None when there is no choice."""
    return min(choices, key=lambda each: sum(overlap(each[3], box) for box in taken), default=None)


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share any room."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def draw_strip(low: float, middle: float, high: float, *, margin: float, state: str) -> Element:
    """A word-sized picture of one difference against the margin; the text beside it says the same."""
    reach = max(2.2 * margin, 0.02, 1.1 * abs(low), 1.1 * abs(high))
    scale = Scale(-reach, reach, 6, 114)
    svg = Element("svg", {"class": "strip llmbench", "viewBox": "0 0 120 16", "aria-hidden": "true"})
    add(svg, "rect", {"class": "f-loss", "x": 0, "y": 0, "width": scale(-margin), "height": 16})
    add(svg, "line", {"class": "f-zero", "x1": scale(0), "x2": scale(0), "y1": 0, "y2": 16})
    add(svg, "line", {"class": "f-margin", "x1": scale(-margin), "x2": scale(-margin), "y1": 0, "y2": 16})
    line = {"x1": scale(low), "x2": scale(high), "y1": 8, "y2": 8}
    add(svg, "line", {"class": f"f-range f-{state}", **line})
    add(svg, "circle", {"class": f"f-dot f-{state}", "cx": scale(middle), "cy": 8, "r": 4})
    return svg


def inline(svg: Element) -> str:
    """The markup of a picture inside a page."""
    return tostring(svg, encoding="unicode")


def style() -> str:
    """The style sheet that gives the pictures' classes their colours for light and dark."""
    return Path(__file__).with_name("figure.css").read_text(encoding="utf-8")


def light(style: str) -> str:
    """A style sheet of pictures without its media queries: what holds on a light page."""
    return _MEDIA.sub("", style)


def standalone(svg: Element, style: str) -> str:
    """The text of an SVG file that carries its own colours for light and dark.

    The colours are declared on the picture itself, not on the root of a page that it may be put into.
    """
    sheet = Element("style")
    sheet.text = style.replace(":root", ".llmbench")
    root = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **svg.attrib})
    root.extend([sheet, *svg])
    return tostring(root, encoding="unicode") + "\n"


def for_notebook(svg: Element, style: str) -> str:
    """The same for a notebook: on light ground of its own, whose theme a picture cannot ask for.

    A media query would tell it the system's colours, and those need not be the notebook's.
    """
    return standalone(svg, light(style) + _GROUND)


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


def picture(height: float, key: str, title: str, told: str) -> Element:
    """An empty picture of a height in px, with a title and a description for those who do not see it."""
    svg = Element(
        "svg",
        {
            "class": "figure llmbench",
            "viewBox": f"0 0 {WIDTH} {height:g}",
            "role": "img",
            "aria-labelledby": f"{key}-title {key}-desc",
        },
    )
    SubElement(svg, "title", {"id": f"{key}-title"}).text = visible(title)
    SubElement(svg, "desc", {"id": f"{key}-desc"}).text = visible(told)
    return svg


def add(svg: Element, tag: str, attributes: dict[str, str | float]) -> None:
    """Add one shape; numbers are written with two decimals."""
    texts = {name: v if isinstance(v, str) else f"{v:.2f}" for name, v in attributes.items()}
    SubElement(svg, tag, texts)


def write(svg: Element, x: float, y: float, text: str, kind: str, anchor: str) -> None:
    """Add one line of text at a baseline; `kind` is its classes, `anchor` start, middle or end."""
    place = {"class": kind, "x": f"{x:.2f}", "y": f"{y:.2f}", "text-anchor": anchor}
    SubElement(svg, "text", place).text = visible(text)


def dollars(value: float) -> str:
    """A round amount at an axis, with no more digits than it has."""
    return "$" + (f"{value:,.10f}".rstrip("0").rstrip(".") or "0")


def short(text: str, limit: int) -> str:
    """A stranger's text made safe and cut to the room of so many mean characters."""
    text = visible(text)
    if text_width(text) <= limit * _CHAR:
        return text
    text = text[:limit]
    while text and text_width(text) > (limit - 1) * _CHAR:
        text = text[:-1]
    return text + "…"


def text_width(text: str) -> float:
    """The room that a text takes at the labels' size, px: an estimate on the safe side."""
    return sum(_CHAR * (2.0 if ord(char) >= 0x2E80 else 1.35 if char.isupper() else 1.0) for char in text)
