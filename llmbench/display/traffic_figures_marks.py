"""What the pictures of telemetry share: labels cut to their room, short numbers, colours, column heads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from llmbench.display import figures, wording
from llmbench.display.language import say
from llmbench.visible import visible

#: Width of a text at the small size (11.5 px) against `figures.text_width`, which is for bold 12.5 px.
SMALL: Final = 0.84
COLOURS: Final = 6  # the last one is for what is summed up
_LEAST_CUT: Final = 3  # characters
_LEAST_SLANTED: Final = 40.0  # px: a column head is cut no shorter
_SLANT: Final = math.sqrt(0.5)  # of 45 degrees
#: The widest letters and marks take as much as 1.7 mean characters in the widest usual font.
_WIDE: Final = frozenset("MWmw@%…")
_WIDE_CHAR: Final = 1.7 * figures.text_width("a")


def style() -> str:
    """The style sheet of these pictures and of the report's others, for light and dark."""
    return figures.style() + Path(__file__).with_name("traffic_figure.css").read_text(encoding="utf-8")


def small_width(text: str) -> float:
    """The room that a text takes at the small size, px: an estimate on the safe side."""
    return SMALL * figures.text_width(visible(text))


def cut(text: str, room: float) -> str:
    """A stranger's text made safe and cut to so many px at the small size."""
    return figures.short(_named(text), max(_LEAST_CUT, int(room / (8.3 * SMALL))))


def cut_bold(text: str, room: float) -> str:
    """The same at the size of bold names, where a row of the widest letters must not run into the next."""
    shown = figures.short(_named(text), max(_LEAST_CUT, int(room / 8.3)))
    while len(shown) > _LEAST_CUT and _bold_width(shown) > room:
        shown = shown.removesuffix("…")[:-1] + "…"
    return shown


def _named(text: str) -> str:
    return " ".join(text.split()) or say("(empty)")


def _bold_width(text: str) -> float:
    return sum(_WIDE_CHAR if char in _WIDE else figures.text_width(char) for char in text)


def label(
    svg: Element,
    x: float,
    y: float,
    text: str,
    room: float,
    kind: str,
    anchor: str,
    *,
    slant: bool = False,
    bold: bool = False,
) -> None:
    """Write a name into so many px; one that is cut has the whole as its title.

    Args:
        svg: The picture.
        x: The anchor, px.
        y: The baseline, px.
        text: A stranger's text.
        room: Most px that it may take.
        kind: Its classes.
        anchor: start, middle or end.
        slant: Turned by 45 degrees about its anchor, so that it comes down to it from the upper left.
        bold: Its class is of bold names, which are not of the small size.
    """
    shown = cut_bold(text, room) if bold else cut(text, room)
    place = {"class": kind, "x": f"{x:.2f}", "y": f"{y:.2f}", "text-anchor": anchor}
    if slant:
        place["transform"] = f"rotate(45 {x:.2f} {y:.2f})"
    element = SubElement(svg, "text", place)
    element.text = shown
    if shown != text:
        SubElement(element, "title").text = visible(text)


def tip(svg: Element, shape: dict[str, str | float], text: str) -> None:
    """Add a rectangle that says what it stands for when it is pointed at."""
    figures.add(svg, "rect", shape)
    SubElement(svg[-1], "title").text = visible(text)


def brief(n: float, room: float) -> str:
    """A count in so many px at the small size: whole where it fits, else in thousands or millions."""
    whole = wording.number(n)
    if small_width(whole) <= room or n < 1000:
        return whole
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if n < 999.5 * size:
            fine = f"{n / size:.1f}{unit}"
            return fine if n < 9.95 * size and small_width(fine) <= room else f"{n / size:.0f}{unit}"
    return "∞"


def percent(part: float, whole: float) -> str:
    """A share of calls in percent, in at most four characters and without the sign."""
    if whole <= 0:
        return wording.MISSING
    value = 100 * part / whole
    if value == 0:
        return "0"
    if value < 0.1:
        return "<0.1"
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


def level(share: float, limits: Sequence[float]) -> int:
    """The shade of a share: 0 for nothing, else 1 + the number of limits that it is above."""
    return 0 if share <= 0 else 1 + sum(share > limit for limit in limits)


def text_kind(shade: int) -> str:
    """The class of a text on a shade: the pale three and the deep three have one each."""
    return "f-soft" if shade == 0 else "t-on-pale" if shade <= 3 else "t-on-deep"


def head_height(names: Sequence[str], width: float, most: float = 136.0) -> float:
    """The height that column heads need, px: a line where all fit upright, else room for slanted ones."""
    longest = max(map(small_width, names))
    return 20.0 if longest <= width - 6 else 12 + _SLANT * (min(max(longest, _LEAST_SLANTED), most) + 10)


def write_heads(
    svg: Element, names: Sequence[str], left: float, width: float, bottom: float, most: float = 136.0
) -> None:
    """Write the heads of columns that begin at `left` and are `width` px wide, above `bottom`."""
    is_slanted = max(map(small_width, names)) > width - 6
    for at, name in enumerate(names):
        x = left + (at + 0.5) * width
        if is_slanted:
            label(svg, x + 3, bottom - 6, name, most, "f-soft", "end", slant=True)
        else:
            label(svg, x, bottom - 6, name, width - 6, "f-soft", "middle")


def legend(
    svg: Element,
    y: float,
    entries: Sequence[tuple[str, str]],
    left: float = 8,
    right: float = figures.WIDTH - 8,
) -> float:
    """Write swatches (class, words) in as many lines as they need; return the last line's baseline, px."""
    x = left
    for kind, words in entries:
        width = 16 + small_width(words)
        if x > left and x + width > right:
            x, y = left, y + 18
        figures.add(svg, "rect", {"class": kind, "x": x, "y": y - 9, "width": 11, "height": 11, "rx": 2})
        label(svg, x + 16, y, words, right - x - 16, "f-soft", "start")
        x += width + 14
    return y
