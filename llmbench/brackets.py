"""Quotations and brackets in a line, Japanese and Latin, with straight marks among them. Pure."""

from __future__ import annotations

import bisect
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

#: Full-width text, as a range within the brackets of an expression.
WIDE: Final = "　-ヿ㐀-鿿豈-﫿＀-￯"
IS_WIDE: Final = re.compile(f"[{WIDE}]")
_BRACKETS: Final = {
    "「": "」",
    "『": "』",
    "（": "）",
    "(": ")",
    "【": "】",
    "《": "》",
    "〈": "〉",
    "“": "”",
    "‘": "’",
    '"': '"',
    "'": "'",
}
_OPENS: Final = frozenset(_BRACKETS)
_CLOSES: Final = frozenset(_BRACKETS.values())
#: What stands before a straight mark that opens: a blank, a mark that opens or joins, full-width text.
_BEFORE_STRAIGHT: Final = re.compile(rf"[\s(\[{{<,:;/=–—\-\"'“‘{WIDE}]")


def quotations(line: str, limit: int) -> list[tuple[int, int]]:
    """The outermost quotations and brackets of a line that fit into one piece: (start, end)."""
    found: list[tuple[int, int]] = []
    open_at: list[tuple[int, str]] = []
    waiting: Counter[str] = Counter()
    for index, char in enumerate(line):
        if char in _CLOSES and waiting[char] and _can_close(line, index):
            start = _closed(open_at, waiting, char)
            if index + 1 - start <= limit:
                while found and found[-1][0] > start:
                    found.pop()
                found.append((start, index + 1))
        elif char in _OPENS and _can_open(line, index):
            if _BRACKETS[char] == char and waiting[char]:
                _closed(open_at, waiting, char)  # the older one was never closed
            open_at.append((index, _BRACKETS[char]))
            waiting[_BRACKETS[char]] += 1
    return found


def _closed(open_at: list[tuple[int, str]], waiting: Counter[str], closer: str) -> int:
    """Close the last one that waits for this mark, and those within it that were left open; its start."""
    while True:
        start, awaited = open_at.pop()
        waiting[awaited] -= 1
        if awaited == closer:
            return start


def _can_open(line: str, index: int) -> bool:
    """Whether a mark opens a quotation: a straight one can be an apostrophe, inches, or one that closes."""
    char, after = line[index], line[index + 1 : index + 2]
    if char not in "\"'":
        return True
    if index and not _BEFORE_STRAIGHT.match(line[index - 1]):
        return False
    return bool(after) and not after.isspace() and not (char == "'" and after.isdigit())


def _can_close(line: str, index: int) -> bool:
    """Whether a mark can close a quotation: no apostrophe can, and none after the s of a plural ("dogs'")."""
    char, before, after = line[index], line[index - 1 : index], line[index + 1 : index + 2]
    if char not in "\"'’":
        return True
    if before.isspace() or (after.isalnum() and not IS_WIDE.match(after)):
        return False
    return char == '"' or before not in ("s", "S")


def is_inside(place: int, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a place is within one of the spans, which are in order."""
    index = bisect.bisect_left(spans, (place,)) - 1
    return index >= 0 and place < spans[index][1]
