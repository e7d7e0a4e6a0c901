"""How Japanese is read: Open JTalk's words with their readings, the same on every machine.

pyopenjtalk asks Sudachi's dictionary about each kanji that its own dictionary lacks, and fails where
sudachidict-core (193 MB, not among the pins) is not installed. Here such a kanji gets the Unihan reading that
the package brings, before Sudachi is asked; a text with a kanji that has none is told apart by `Unreadable`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Final

#: As pyopenjtalk counts kanji, and the mark that repeats one.
_KANJI: Final = re.compile("[々㐀-䶿一-鿿豈-\ufaff\U00020000-\U0003ffff]")
#: The table of common kanji prints 叱 in this form and allows both; the dictionary has the other one.
_SPELLED: Final = str.maketrans({"𠮟": "叱"})

#: A word as pyopenjtalk has it: `string`, `pos` (記号 for marks), `pron` (katakana, ’ where it is voiceless).
Word = dict[str, Any]


class Unreadable(ValueError):
    """A text has kanji of which no reading is known.

    Attributes:
        characters: they, each once, in their order.
    """

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = "".join(dict.fromkeys(characters))
        super().__init__(f"no reading is known of {self.characters[:20]!r}")


def words(text: str) -> list[Word]:
    """The words of a text, as Open JTalk's further steps take them.

    Raises:
        Unreadable: a kanji has no reading.
        ImportError: pyopenjtalk is missing.
    """
    jtalk: Any = importlib.import_module("pyopenjtalk")
    found: list[Word] = jtalk.run_frontend(
        text.translate(_SPELLED), use_sudachi_kanji_yomi=False, jtalk=_frontend()
    )
    if unread := _unread(found):
        raise Unreadable(unread)
    return found


def pronounced(word: Word) -> str:
    """A word in katakana as it is spoken (は as ワ); a mark as it is."""
    return str(word["string"] if word["pos"] == "記号" else word["pron"].replace("’", ""))


def unreadable(texts: Iterable[str], read: Callable[[str], object] = words) -> str:
    """The kanji of some texts that have no reading, each once."""
    found: dict[str, None] = {}
    for text in texts:
        try:
            read(text)
        except Unreadable as error:
            found |= dict.fromkeys(error.characters)
    return "".join(found)


@cache
def _frontend() -> Any:
    """Open JTalk's analysis; what leaves it has no kanji without a reading but marks of repetition."""
    jtalk: Any = importlib.import_module("pyopenjtalk")

    class Frontend(jtalk.OpenJTalk):  # type: ignore[misc]
        def run_frontend(self, *args: Any, **options: Any) -> list[Word]:
            return read(super().run_frontend(*args, **options))

        def run_njd_from_mecab(self, *args: Any, **options: Any) -> list[Word]:
            return read(super().run_njd_from_mecab(*args, **options))

    def read(found: list[Word]) -> list[Word]:
        jtalk.read_unknown_kanji(found)  # without the text Sudachi is not asked
        if unread := [char for char in _unread(found) if char != "々"]:  # a later step reads that one
            raise Unreadable(char for char in unread if _is_unknown(char, found))
        return found

    def _is_unknown(char: str, found: list[Word]) -> bool:
        """Whether a kanji alone has no reading: several that stand together are read all or not at all."""
        example = next(word for word in found if char in word["string"])
        return bool(_unread(jtalk.read_unknown_kanji([{**example, "string": char}])))

    return Frontend(dn_mecab=jtalk.OPEN_JTALK_DICT_DIR)


def _unread(found: Iterable[Word]) -> list[str]:
    """The kanji of words that are still marks: nothing would be said for them."""
    marks = (word for word in found if word["pos"] == "記号" and word["pos_group1"] == "読点")
    return [char for word in marks for char in _KANJI.findall(word["string"])]
