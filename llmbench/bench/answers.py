"""Read what a model wrote: one spelling for equal texts, JSON replies, numbers, scripts.

All pure; none raises on any text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final, Literal

from llmbench.bench.card import schema_error
from llmbench.structuring import loads_strictly, unfence

_CJK: Final = r"\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_KEPT_PUNCTUATION: Final = frozenset("%&@#/")
NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")


def normalise(text: str) -> str:
    """One spelling for texts that a reader takes as the same. Idempotent.

    In this order: NFKC (full-width ASCII and half-width kana become their usual forms), case folding,
    thousands commas inside numbers out, punctuation to blanks (kept: `. : ,` between two digits and
    `% & @ # /`, and the minus of a number), control and format characters to blanks, runs of blanks to one,
    no blank beside a Japanese character, none at the ends. The long-vowel mark and symbols such as `+` and
    `¥` stay. A hyphen is a minus before a digit, at the start or behind a blank, a mark or hiragana: not in
    `2026-11-28`, `A-5` or `3月-5月`.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text).replace("\u2212", "-")
    chars = [_plain(text, i) for i in range(len(text))]
    text = " ".join("".join(chars).split())
    return re.sub(rf"(?<=[{_CJK}]) | (?=[{_CJK}])", "", text)


def _plain(text: str, index: int) -> str:
    char = text[index]
    category = unicodedata.category(char)
    if category[0] == "C" or char == "~":
        return " "
    if category[0] != "P" or char in _KEPT_PUNCTUATION or (char == "-" and _is_minus(text, index)):
        return char
    between = 0 < index < len(text) - 1 and text[index - 1].isdecimal() and text[index + 1].isdecimal()
    return char if char in ".:," and between else " "


def _is_minus(text: str, index: int) -> bool:
    """Whether a hyphen is the sign of a number."""
    if not text[index + 1 : index + 2].isdecimal():
        return False
    before = text[:index].rstrip()[-1:]
    if text[index - 1 : index].isspace() and re.match(f"[{_CJK}]", before) is None:
        return True  # a blank beside a Japanese character does not last
    return not before.isalnum() or re.match(r"[\u3040-\u309f]", before) is not None


def read_json(output: str) -> Any:
    """The reply as JSON, or None when it is anything else (a bare `null` too).

    One Markdown fence around the whole reply is taken off.
    """
    try:
        return loads_strictly(unfence(output))
    except ValueError:
        return None


def read_object(
    output: str, schema: Mapping[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, float]]:
    """The reply as an object that obeys the schema, or None, with the two details that say which failed."""
    return read_valid(output, schema, dict)


def read_valid(
    output: str, schema: Mapping[str, Any] | None, kind: type = object
) -> tuple[Any, dict[str, float]]:
    """The reply as JSON of a kind (`dict`, `list`) that obeys the schema, or None, with the two details."""
    value = read_json(output)
    if value is None or not isinstance(value, kind):
        return None, {"json": 0.0, "schema": 0.0}
    try:
        valid = schema is None or schema_error(value, schema) is None
    except (ValueError, RecursionError, OverflowError):  # 1e999 reads as infinity, which is not JSON
        valid = False
    return (value if valid else None), {"json": 1.0, "schema": float(valid)}


def same(left: Any, right: Any) -> bool:
    """Equal as a reader sees it: texts after `normalise`, numbers by value, lists in order, objects by key.

    A truth value equals no number.
    """
    if isinstance(left, str) and isinstance(right, str):
        return normalise(left) == normalise(right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def width(text: str) -> int:
    """Columns on a screen: a wide (East Asian) character takes two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def stands_in(word: str, text: str) -> bool:
    """Whether a normalised word occurs in a normalised text; Latin words only as whole words."""
    start = r"(?<![a-z0-9])" if re.match(r"[a-z0-9]", word) else ""
    end = r"(?![a-z0-9])" if re.search(r"[a-z0-9]\Z", word) else ""
    return re.search(start + re.escape(word) + end, text) is not None


_KANJI_DIGITS: Final = {c: i for i, c in enumerate("〇一二三四五六七八九")}
_KANJI_UNITS: Final = {"十": 10, "百": 100, "千": 1000}


def numbers_in(text: str) -> set[str]:
    """Every number of a text in digits, those in kanji below ten thousand included."""
    found = set(NUMBER.findall(text))
    for run in re.findall("[〇一二三四五六七八九十百千]{1,12}", text):
        total, digit = 0, 0
        for char in run:
            if char in _KANJI_UNITS:
                total, digit = total + (digit or 1) * _KANJI_UNITS[char], 0
            else:
                digit = digit * 10 + _KANJI_DIGITS[char]
        found.add(str(total + digit))
    return found


def script_fits(text: str, lang: str) -> bool:
    """Whether a text is written in a language's script.

    Japanese: at least half of the letters are kana or kanji (a title in Latin letters is allowed). Other
    languages: no kana or kanji at all, and at least one letter or digit.
    """
    plain = unicodedata.normalize("NFKC", text)
    japanese = len(re.findall(f"[{_CJK}]", plain))
    letters = sum(c.isalpha() for c in plain)
    if lang == "ja":
        return japanese > 0 and japanese * 2 >= letters
    return japanese == 0 and any(c.isalnum() for c in plain)


_TOKEN: Final = re.compile(rf"[{_CJK}]|[^\s{_CJK}]+")


def tokens(text: str) -> list[str]:
    """The words of a text after `normalise`; each kana or kanji is a word of its own."""
    return _TOKEN.findall(normalise(text))


Form = Literal["raw", "stripped", "normalised"]


def in_form(text: str, form: Form) -> str:
    """A text as it is, without the blanks at its ends, or after `normalise`."""
    if form == "normalised":
        return normalise(text)
    return text.strip() if form == "stripped" else text
