"""What makes two prompts the same or nearly the same, and which language one is written in. All pure."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

#: Characters a shingle: long enough that English words differ, short enough for Japanese ones.
SHINGLE: Final = 4
#: Two texts are near-duplicates when they share this part of all their shingles (Jaccard index).
NEAR: Final = 0.8
#: A shingle that more than half of the prompts hold is the prompt's template, not its content …
_TEMPLATE_SHARE: Final = 0.5
#: … which so few prompts cannot tell.
_TEMPLATE_TEXTS: Final = 20
_KANA: Final = re.compile("[\u3041-\u309f\u30a1-\u30ff\uff66-\uff9d]")
_HANGUL: Final = re.compile("[\uac00-\ud7a3]")
_HAN: Final = re.compile("[\u4e00-\u9fff]")


def folded(text: str) -> str:
    """One spelling for texts that differ in width, case, blanks or punctuation alone. Idempotent.

    A text of punctuation alone stays as it is, without the blanks around it.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return re.sub(r"[\W_]+", " ", plain).strip() or " ".join(plain.split())


def text_key(texts: Iterable[str]) -> str:
    """32 hex digits that texts of one folded spelling share."""
    return hashlib.sha256("\0".join(map(folded, texts)).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def language_of(text: str) -> str:
    """`ja` with kana, `ko` with Hangul, `zh` with Chinese characters alone, else `en`: by script, no more."""
    if _KANA.search(text):
        return "ja"
    if _HANGUL.search(text):
        return "ko"
    return "zh" if _HAN.search(text) else "en"


def shingles(text: str) -> set[int]:
    """The CRC-32 of every run of `SHINGLE` characters of the folded text, of all of it if it is shorter."""
    plain = folded(text)
    runs = {plain[at : at + SHINGLE] for at in range(max(1, len(plain) - SHINGLE + 1))}
    return {zlib.crc32(run.encode("utf-8", "backslashreplace")) for run in runs}


def template_shingles(texts: Sequence[str]) -> frozenset[int]:
    """The shingles that more than half of the texts hold: what a pipeline sends with each prompt.

    Fewer than twenty texts give none.
    """
    if len(texts) < _TEMPLATE_TEXTS:
        return frozenset()
    held = Counter(run for text in texts for run in shingles(text))
    return frozenset(run for run, count in held.items() if count > _TEMPLATE_SHARE * len(texts))


class NearIndex:
    """Texts that were taken so far, and which of them a new one nearly repeats.

    Exact, not approximate: with all shingles in one order, two sets of a Jaccard index of t or more share one
    of the first |S| - ceil(t |S|) + 1 of each (prefix filtering: Chaudhuri, Ganti and Kaushik, 2006). Only
    texts that do are compared, so that a text costs its own length and its few rivals.
    """

    def __init__(self, threshold: float = NEAR, template: frozenset[int] = frozenset()) -> None:
        self._threshold = threshold
        self._template = template
        self._texts: list[array[int]] = []
        self._by_prefix: dict[int, list[int]] = {}

    def near(self, text: str) -> list[int]:
        """The places of the taken texts that this one nearly repeats, in the order they were taken."""
        own = self._content(text)
        return sorted(place for place in self._rivals(own) if self._is_near(own, self._texts[place]))

    def has_near(self, text: str) -> bool:
        """Whether the text nearly repeats a taken one."""
        own = self._content(text)
        return any(self._is_near(own, self._texts[place]) for place in self._rivals(own))

    def _rivals(self, own: set[int]) -> set[int]:
        return {place for run in self._prefix(sorted(own)) for place in self._by_prefix.get(run, ())}

    def add(self, text: str) -> int:
        """Take a text; its place, counted from 0."""
        runs = sorted(self._content(text))
        place = len(self._texts)
        self._texts.append(array("I", runs))
        for run in self._prefix(runs):
            self._by_prefix.setdefault(run, []).append(place)
        return place

    def _content(self, text: str) -> set[int]:
        """A text's shingles without the template's; all of them where nothing else is left."""
        runs = shingles(text)
        return runs - self._template or runs

    def _prefix(self, runs: list[int]) -> list[int]:
        return runs[: len(runs) - math.ceil(self._threshold * len(runs)) + 1]

    def _is_near(self, own: set[int], other: array[int]) -> bool:
        least, most = sorted((len(own), len(other)))
        if least < self._threshold * most:
            return False
        shared = len(own.intersection(other))
        return shared >= self._threshold * (len(own) + len(other) - shared)
