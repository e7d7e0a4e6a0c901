"""What an error quotes of the prompt that it was the answer to, and the error without it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

from llmbench.messages import Message

#: So many characters in a row, the same in an error and in a message, are a quotation.
QUOTATION: Final = 20


def without_prompt(text: str, messages: Sequence[Message]) -> str:
    """An error's text without what it quotes of the messages, in time linear in both.

    A quotation of twice `QUOTATION` characters is found wherever it begins, as is every message of
    `QUOTATION` characters; shorter pieces of a message may stay.
    """
    places: dict[str, list[int]] = {}
    for at in range(len(text) - QUOTATION + 1):
        places.setdefault(text[at : at + QUOTATION], []).append(at)
    marks = 0  # a byte a character; each spelling has marks of its own, since another may reach further
    for known in _quotable(messages) if places else ():
        quoted, found = bytearray(len(text)), set[str]()
        for start in range(0, len(known) - QUOTATION + 1, QUOTATION):
            piece = known[start : start + QUOTATION]
            if piece not in found:
                found.add(piece)
                for at in places.get(piece, ()):
                    _mark(quoted, text, at, known, start)
        marks |= int.from_bytes(quoted)
    kept, end = [], 0
    for run in re.finditer(rb"\x01+", marks.to_bytes(len(text))):
        kept += [text[end : run.start()], "(prompt text)"]
        end = run.end()
    return "".join((*kept, text[end:]))


def _quotable(messages: Sequence[Message]) -> Iterator[str]:
    """Each text of the messages as an error may spell it: as it is, on one line, and within JSON."""
    for message in messages:
        parts = ({"text": message.content},) if isinstance(message.content, str) else message.content
        for text in (part.get("text") for part in parts):
            if isinstance(text, str) and len(text) >= QUOTATION:
                spelt = (text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
                yield from {form for one in spelt for form in (one, " ".join(one.split()))}


def _mark(quoted: bytearray, text: str, at: int, known: str, start: int) -> None:
    """Mark what the text has of the known one around these places; each place is marked once."""
    first, last = at, at + QUOTATION
    shift = start - at
    while first > max(0, -shift) and not quoted[first - 1] and text[first - 1] == known[first - 1 + shift]:
        first -= 1
    until = min(len(text), len(known) - shift)
    while last < until and not quoted[last] and text[last] == known[last + shift]:
        last += 1
    quoted[first:last] = b"\x01" * (last - first)
