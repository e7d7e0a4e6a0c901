"""Markdown tables, and the anchors of headings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. Columns that are empty in every row are left out."""
    filled = [[cell(text) for text in row] for row in rows]
    kept = [n for n in range(len(head)) if not filled or any(row[n] for row in filled)]
    lines = [[head[n] for n in kept], ["---"] * len(kept), *([row[n] for n in kept] for row in filled)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(text: str) -> str:
    """A text that may stand in a cell."""
    return " ".join(text.split()).replace("|", r"\|")


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading: its text without marks and links, small, with hyphens."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
