"""What makes two prompts the same or nearly the same, and which language one is written in. All pure."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class ChatText:
    """A chat as it is compared: what the user says in it (`asked`), and all of it (`whole`)."""

    asked: str
    whole: str


class NearChats:
    """Chats that were taken so far. Two are near when both what the user says and the whole chat are.

    The whole alone would not do: long instructions that many prompts share are most of each. What the user
    says alone would not do either: a pipeline may put all of its material into the instructions.

    Exact, not approximate: with all shingles in one order, two sets of a Jaccard index of t or more share one
    of the first |S| - ceil(t |S|) + 1 of each (prefix filtering: Chaudhuri, Ganti and Kaushik, 2006). Only
    chats that do are compared, and of those none that is in the chat's own group already.
    """

    def __init__(self, threshold: float = NEAR, sample: Sequence[ChatText] = ()) -> None:
        self._threshold = threshold
        self._templates = (
            template_shingles([text.asked for text in sample]),
            template_shingles([text.whole for text in sample]),
        )
        self._groups: list[int] = []
        self._contents: list[tuple[array[int], array[int]]] = []
        self._by_prefix: dict[int, dict[int, list[int]]] = {}

    def has_near(self, text: ChatText) -> bool:
        """Whether the chat nearly repeats a taken one."""
        return next(self._found(self._content(text), -1), None) is not None

    def join(self, text: ChatText, group: int | None = None) -> list[int]:
        """Take a chat into a group, and join it with every group that holds one it nearly repeats.

        Args:
            text: the chat.
            group: the place of a chat that it belongs with anyway.

        Returns:
            The place of one near chat of each group that it was not connected with before.
        """
        own = self._content(text)
        place = len(self._groups)
        self._groups.append(place if group is None else self._root(group))
        near: list[int] = []
        for other in self._found(own, place):
            near.append(other)
            self._groups[self._root(place)] = self._root(other)
        self._contents.append((array("I", own[0]), array("I", own[1])))
        for run in _prefix(sorted(own[1]), self._threshold):
            self._by_prefix.setdefault(run, {}).setdefault(self._root(place), []).append(place)
        return near

    def _found(self, own: tuple[set[int], set[int]], place: int) -> Iterator[int]:
        """Near chats of other groups than the place's; groups may be joined between two of them."""
        compared: set[int] = set()
        for run in _prefix(sorted(own[1]), self._threshold):
            for group, places in list(self._by_group(run).items()):
                for other in places:
                    if place >= 0 and self._root(group) == self._root(place):
                        break
                    if other not in compared:
                        compared.add(other)
                        if self._is_near(own, self._contents[other]):
                            yield other

    def _by_group(self, run: int) -> dict[int, list[int]]:
        """The chats with a shingle in their prefix, by the group that they are in now."""
        held = self._by_prefix.get(run, {})
        for group in [group for group in held if self._root(group) != group]:
            held.setdefault(self._root(group), []).extend(held.pop(group))
        return held

    def _root(self, place: int) -> int:
        while self._groups[place] != place:
            self._groups[place] = self._groups[self._groups[place]]
            place = self._groups[place]
        return place

    def _content(self, text: ChatText) -> tuple[set[int], set[int]]:
        asked, whole = shingles(text.asked), shingles(text.whole)
        return asked - self._templates[0] or asked, whole - self._templates[1] or whole

    def _is_near(self, own: tuple[set[int], set[int]], other: tuple[array[int], array[int]]) -> bool:
        return all(_are_near(one, two, self._threshold) for one, two in zip(own, other, strict=True))


def _prefix(runs: list[int], threshold: float) -> list[int]:
    return runs[: len(runs) - math.ceil(threshold * len(runs)) + 1]


def _are_near(own: set[int], other: array[int], threshold: float) -> bool:
    least, most = sorted((len(own), len(other)))
    if least < threshold * most:
        return False
    shared = len(own.intersection(other))
    return shared >= threshold * (len(own) + len(other) - shared)
