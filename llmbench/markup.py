"""Pieces of HTML for a notebook: each takes texts of any origin and escapes them."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmbench.visible import visible


@dataclass(frozen=True, slots=True)
class Link:
    """A cell that leads somewhere.

    Attributes:
        text: what it says.
        target: where it leads, quoted as a URL already.
    """

    text: str
    target: str


def escaped(value: object) -> str:
    """A text of any origin as HTML."""
    return html.escape(visible(str(value)))


def paragraph(text: object) -> str:
    """A paragraph."""
    return f"<p>{escaped(text)}</p>"


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "", *, numeric: bool = False
) -> str:
    """A table of escaped cells; nothing where there is no row.

    Args:
        head: names of the columns.
        rows: their cells; None is an empty one.
        caption: what the table is about.
        numeric: all columns but the first hold figures, which stand to the right.
    """
    filled = [list(row) for row in rows]
    if not filled:
        return ""
    sides = ["left", *["right" if numeric else "left"] * (len(head) - 1)]
    names = _cells("th scope='col'", "th", head, sides)
    body = "".join(f"<tr>{_cells('td', 'td', row, sides)}</tr>" for row in filled)
    style = "text-align:left;font-weight:bold;padding-top:1em"
    told = f'<caption style="{style}">{escaped(caption)}</caption>' if caption else ""
    return f"<table>{told}<thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def folded(summary: str, inner: str) -> str:
    """A part that opens by a click; nothing where there is none."""
    return f"<details><summary>{escaped(summary)}</summary>{inner}</details>" if inner else ""


def listing(items: Iterable[object]) -> str:
    """A list of points; nothing where there is none."""
    shown = "".join(f"<li>{escaped(item)}</li>" for item in items)
    return f"<ul>{shown}</ul>" if shown else ""


def _cells(opening: str, tag: str, values: Sequence[object], sides: Sequence[str]) -> str:
    return "".join(
        f'<{opening} style="text-align:{side};vertical-align:top;padding:1px 8px">{_cell(value)}</{tag}>'
        for value, side in zip(values, sides, strict=True)
    )


def _cell(value: object) -> str:
    if isinstance(value, Link):
        return f'<a href="{html.escape(value.target)}">{escaped(value.text)}</a>'
    return escaped("" if value is None else value)
