"""What the verbs share: consoles, options, JSON and tables."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from llmbench.display.spreadsheet import csv_text
from llmbench.visible import visible


class SafeConsole(Console):
    """A console to which no text gives commands: control characters and hidden marks are printed as signs."""

    def render_str(self, text: str, **options: Any) -> Text:
        """A text with its markup, as rich reads it, once every character of it can be seen."""
        return super().render_str(visible(text), **options)


out, err = SafeConsole(soft_wrap=True), SafeConsole(stderr=True, soft_wrap=True)
#: Of characters that JSON does not escape by itself, those that `visible` makes signs of.
_UNSEEN: Final = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff\ufff9-\ufffb"
    "\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)
Configs = Annotated[Path, typer.Option("--configs", help="Config folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
Languages = Annotated[
    list[str] | None,
    typer.Option("--lang", help="Language of the pages: en, ja, or both as en,ja; both if none."),
]


def asked_languages(lang: Sequence[str] | None) -> list[str]:
    """The tags of the languages that `--lang` names; none where it is not given.

    Raises:
        ConfigError: there is no such language.
    """
    from llmbench.display.language import known_language

    return [known_language(tag.strip()) for text in lang or () for tag in text.split(",")]


def print_json(value: object) -> None:
    """Print a value as JSON for a machine; what a terminal would obey or hide is written as an escape."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    sys.stdout.write(_UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], text) + "\n")


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table for a spreadsheet; a missing figure is an empty cell."""
    text = csv_text(columns, ([None if cell != cell else cell for cell in row] for row in rows))
    sys.stdout.write(visible(text) if out.is_terminal else text.encode("utf-8", "replace").decode())


def print_answer(text: str) -> None:
    """Print an answer: as it is into a file or a pipe, with every character to be seen on a terminal."""
    if out.is_terminal:
        out.print(escape(text))
    else:
        sys.stdout.write(text.encode("utf-8", "replace").decode() + "\n")


def print_table(columns: Sequence[str], rows: Any) -> None:
    """Print rows as a table; every cell is text, not markup."""
    table = Table(*columns, header_style="bold")
    for row in rows:
        table.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    wide = out if out.is_terminal else SafeConsole(width=1000, soft_wrap=True)  # a pipe has no edge to cut at
    wide.print(table)
