"""Characters as a reader sees them, and words of them: where a text may be cut without tearing one. Pure.

Source: Unicode Annex 29, extended grapheme clusters. Left out are the prefixes of some scripts and the
conjuncts of Indic ones, which no voice of ours reads.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from typing import Final

_JOINER: Final = "\u200d"
#: What stands within a number between two digits, and within a Latin word between two letters.
_IN_NUMBER: Final = frozenset(".,:/．，：／\u00a0\u202f")
_IN_WORD: Final = frozenset("'’-")
_LATIN: Final = re.compile("[A-Za-zÀ-ɏＡ-Ｚａ-ｚ]")
#: Kinds of Hangul letters that belong to one syllable: leading (L), vowel (V), trailing (T), and whole ones.
_SYLLABLES: Final = frozenset(
    {
        *(("L", kind) for kind in ("L", "V", "LV", "LVT")),
        *((kind, other) for kind in ("LV", "V") for other in ("V", "T")),
        *((kind, "T") for kind in ("LVT", "T")),
    }
)


def boundaries(text: str) -> bytes:
    """Whether a text may be cut at each place, 0 to its length: 1 where it may, else 0."""
    found = bytearray(b"\1")
    flags = 0  # in a row; two of them make one
    for before, after in itertools.pairwise(text):
        flags = flags + 1 if _is_flag(before) else 0
        found.append(flags % 2 == 0 if flags and _is_flag(after) else not _holds(before, after))
    return bytes(found) + b"\1" * bool(text)


def _holds(before: str, after: str) -> bool:
    """Whether two characters that are no flags are parts of one."""
    return (
        _extends(after)
        or before == _JOINER
        or (before, after) == ("\r", "\n")
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff")
        or (_hangul(before), _hangul(after)) in _SYLLABLES
    )


def is_within_word(text: str, place: int) -> bool:
    """Whether a place, over 0 and below the text's length, is within a number (1,234.56) or a Latin word."""
    before, after = text[place - 1], text[place]
    return (
        (_is_latin(before) and _is_latin(after))
        or (place > 1 and _joins(text[place - 2], before, after))
        or (place + 1 < len(text) and _joins(before, after, text[place + 1]))
    )


def _joins(first: str, mark: str, last: str) -> bool:
    """Whether a mark stands within a number or a word."""
    if mark in _IN_NUMBER:
        return first.isdigit() and last.isdigit()
    return mark in _IN_WORD and _is_latin(first) and _is_latin(last)


def _is_latin(char: str) -> bool:
    return char.isdigit() or _LATIN.match(char) is not None


def _extends(char: str) -> bool:
    """Combining marks, joiners, variation selectors, skin tones, tags, half-width voicing marks."""
    return (
        unicodedata.category(char) in ("Mn", "Me", "Mc")
        or char in "\u200c\u200d\uff9e\uff9f"
        or "\U0001f3fb" <= char <= "\U0001f3ff"
        or "\U000e0020" <= char <= "\U000e007f"
    )


def _is_flag(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


def _hangul(char: str) -> str:
    code = ord(char)
    if 0x1100 <= code <= 0x115F or 0xA960 <= code <= 0xA97C:
        return "L"
    if 0x1160 <= code <= 0x11A7 or 0xD7B0 <= code <= 0xD7C6:
        return "V"
    if 0x11A8 <= code <= 0x11FF or 0xD7CB <= code <= 0xD7FB:
        return "T"
    if 0xAC00 <= code <= 0xD7A3:
        return "LV" if (code - 0xAC00) % 28 == 0 else "LVT"
    return ""
