"""A figure as PNG, for a slide or a chat: drawn from its SVG by a library, without a browser or a network.

The library knows plain CSS, but neither custom properties nor media queries. The style sheet is therefore
flattened first: the colours of the light page, written out.
"""

from __future__ import annotations

import html
import re
from typing import Final

from llmbench.display import figures
from llmbench.errors import ConfigError

#: Pixels of the picture for one of the figure's own: sharp on a screen of high density.
ZOOM: Final = 2.0
_DECLARED: Final = re.compile(r"(--[\w-]+):\s*([^;}]+)")
#: A property that is used, and what stands in for it: innermost first, so no other use stands in that.
_USED: Final = re.compile(r"var\((--[\w-]+)(?:,\s*((?:(?!var\()[^()]|\([^()]*\))*))?\)")
_COMMENT: Final = re.compile(r"/\*.*?\*/", re.DOTALL)
_RULE: Final = re.compile(r"([^{}]+)\{([^{}]*)\}")
_ROOTS: Final = (":root", ".llmbench")  # where colours are declared: on a page, in a figure
_FONT: Final = re.compile(r"font:\s*([\d.]+px)\s+([^;]+)")


def draw_png(svg: str) -> bytes:
    """The bytes of a PNG with the light page's colours, at twice the figure's size.

    Args:
        svg: a figure as `figures.standalone` gives it.

    Raises:
        ConfigError: the package that draws it is not installed.
    """
    try:
        import resvg_py
    except ModuleNotFoundError as error:
        raise ConfigError('figures as PNG need resvg: pip install "llmbench[png]"') from error
    head, _, rest = svg.partition("<style>")
    sheet, _, drawn = rest.partition("</style>")
    style = html.unescape(sheet)
    flat = f"{head}<style>{html.escape(flat_style(style), quote=False)}</style>{drawn}"
    ground = _colours(style).get("--raised", "#ffffff")
    return bytes(resvg_py.svg_to_bytes(svg_string=flat, background=ground, zoom=ZOOM))


def flat_style(style: str) -> str:
    """A style sheet of the light page without custom properties, media queries and font shorthands."""
    colours = _colours(style)
    hues = {
        selector.split()[-1]: _resolved(found[1], colours)
        for selectors, body in _rules(style)
        if (found := re.search(r"--hue:\s*([^;}]+)", body)) is not None
        for selector in selectors.split(",")
    }
    flat = list[str]()
    for selectors, body in _rules(style):
        if selectors.strip() in _ROOTS or "--hue:" in body:
            continue
        flat.append(f"{selectors.strip()}{{{_resolved(body, colours)}}}")
        if "--hue" in body:  # a part has the hue of the state that it shows
            for state, hue in hues.items():
                several = ",".join(f"{each.strip()}{state}" for each in selectors.split(","))
                flat.append(f"{several}{{{_resolved(body, {**colours, '--hue': hue})}}}")
    return "\n".join(flat)


def _rules(style: str) -> list[tuple[str, str]]:
    """The rules that hold on a light screen: those in media queries are left out."""
    return _RULE.findall(figures.light(_COMMENT.sub("", style)))


def _colours(style: str) -> dict[str, str]:
    roots = [body for selectors, body in _rules(style) if selectors.strip() in _ROOTS]
    return {name: value.strip() for body in roots for name, value in _DECLARED.findall(body)}


def _resolved(body: str, values: dict[str, str]) -> str:
    """A rule's body with each custom property replaced by its value, or by what stands in for it."""

    def value(found: re.Match[str]) -> str:
        known = values.get(found[1], "var(")  # a property that rests on another is not followed: no circles
        return (found[2] or "inherit") if "var(" in known else known

    while _USED.search(body):  # each round leaves fewer uses than there were
        body = _USED.sub(value, body)
    return _FONT.sub(r"font-size: \1; font-family: \2", body).strip()
