"""Tables as CSV that a spreadsheet shows and does not run: a cell's text never begins a formula.

A text that begins like one gets an apostrophe in front, numbers stay numbers. Source: OWASP, CSV Injection;
full-width signs are among the beginnings, since spreadsheets in Japanese read them as well.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

#: Where a text would be a formula, or would be one without the apostrophes in front.
_BEGINS_FORMULA: Final = re.compile(r"'*\s*[=+\-@\t\r\n＝＋－＠]")


def cell(value: object) -> object:
    """A value as a cell: numbers and truth values as they are, None as an empty one, a text as no formula."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    return f"'{text}" if _BEGINS_FORMULA.match(text) else text


def restored(text: str) -> str:
    """The text that `cell` made a cell of."""
    return text[1:] if text.startswith("'") and _BEGINS_FORMULA.match(text[1:]) else text


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV with a header; texts stand in quotes, lines end with a line feed."""
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow([cell(name) for name in columns])
    for row in rows:
        writer.writerow([cell(value) for value in row])
    return written.getvalue()
