"""docs/marts.md: the views over results and telemetry, made from the headers of their SQL files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmbench.analytics.ingest import SQL_DIR
from llmbench.reference.tables import slug, table

_TOP: Final = """\
# Views

Made from the headers of their SQL files (`make docs`); do not edit. `llmbench query "select … from VIEW"`
asks them; [telemetry.md](telemetry.md) says what those over calls answer. A grain is what one row is.
"""
_PARTS: Final = {"Marts": "marts", "Behind them": "staging"}


@dataclass(frozen=True, slots=True)
class View:
    """One view as its file's header describes it. `columns` are (name, meaning)."""

    name: str
    grain: str
    key: str
    reads: str
    note: str
    columns: tuple[tuple[str, str], ...]


def marts_page() -> str:
    """The whole page."""
    parts = [_TOP]
    for heading, folder in _PARTS.items():
        views = list(list_views(folder))
        links = "".join(f"- [{view.name}](#{slug(view.name)}): {view.grain}\n" for view in views)
        parts.append(f"## {heading}\n\n{links}")
        parts += [_view_text(view) for view in views]
    return "\n".join(parts)


def list_views(folder: str) -> Iterator[View]:
    """The views of a folder of `analytics/sql`, by name."""
    for path in sorted((SQL_DIR / folder).glob("*.sql")):
        yield read_view(path)


def read_view(path: Path) -> View:
    """One view from its file's header. A test holds headers against the real views."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("--")]
    facts: dict[str, str] = {}
    note: list[str] = []
    columns: list[tuple[str, str]] = []
    for line in lines:
        text = line[2:]
        if found := re.match(r" (grain|key|reads): (.*)", text):
            facts[found[1]] = found[2]
        elif found := re.match(r" {3}(\w+): (.*)", text):
            columns.append((found[1], found[2]))
        elif columns and text.startswith("     "):
            name, meaning = columns.pop()
            columns.append((name, f"{meaning} {text.strip()}"))
        elif text.strip() != "columns:":
            note.append(text.strip())
    return View(
        path.stem, facts["grain"], facts["key"], facts.get("reads", ""), " ".join(note), tuple(columns)
    )


def _view_text(view: View) -> str:
    reads = f" Reads {view.reads}." if view.reads else ""
    note = f"\n{_markdown(view.note)}\n" if view.note else ""
    rows = [(f"`{name}`", _markdown(meaning)) for name, meaning in view.columns]
    return (
        f"### {view.name}\n\nGrain: {view.grain}. Key: {view.key}.{reads}\n{note}\n"
        f"{table(('column', 'meaning'), rows)}"
    )


def _markdown(text: str) -> str:
    """Prose of a header, with nothing taken for a tag or for emphasis."""
    return text.replace("<", r"\<").replace("*", r"\*")
