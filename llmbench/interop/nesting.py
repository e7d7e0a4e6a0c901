"""How deep a JSON text is nested, counted piece by piece and without parsing it.

Some parsers keep a path to where they are: their work grows with the square of the depth, so that a short
text of nothing but `[` keeps them busy for hours.
"""

from __future__ import annotations

import re
from typing import Final

_ESCAPED: Final = re.compile(rb"\\.", re.DOTALL)
#: Every byte but those that open and close something.
_OTHERS: Final = bytes(sorted(set(range(256)) - set(b'"[]{}')))


class Nesting:
    """The depth of a JSON text that comes in pieces, in time linear in its length.

    Attributes:
        deepest: levels of the deepest place so far.
    """

    def __init__(self) -> None:
        self.deepest = 0
        self._depth = 0
        self._is_text = False
        self._rest = b""

    def add(self, piece: bytes) -> int:
        """Take the next piece; returns the deepest place so far."""
        piece = _ESCAPED.sub(b"", self._rest + piece)  # an escaped quotation mark ends no text
        self._rest = b"\\" if piece.endswith(b"\\") else b""
        for number, marks in enumerate(piece.translate(None, _OTHERS).split(b'"')):
            self._is_text ^= number > 0
            if not self._is_text:
                self._walk(marks)
        return self.deepest

    def _walk(self, marks: bytes) -> None:
        for mark in marks:
            self._depth += 1 if mark in b"[{" else -1
            self.deepest = max(self.deepest, self._depth)
