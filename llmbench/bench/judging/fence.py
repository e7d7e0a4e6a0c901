"""Strangers' texts inside a prompt as data: fenced by a code that they cannot contain, quoted line by line.

The code is a hash of the texts themselves, so that one question is one prompt, word for word, each time. A
text that contained its own hash would have to be found by trial; where one does, the next code is taken.
Source of the idea: "spotlighting", Hines et al. 2024 (delimiting and marking untrusted input).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

#: What every quoted line begins with: no line of a quoted text can look like a line of ours.
QUOTE: Final = "| "
#: Joiners that emoji and some scripts are written with.
_KEPT: Final = frozenset("\u200c\u200d")
#: Marks of chat templates. A server may take them for the real ones, which no fence holds. Some templates
#: write the bars of theirs in full width.
_TOKENS: Final = re.compile(
    r"<[|｜][^<>\n]{1,40}?[|｜]>"  # the full-width bar is meant
    r"|</?(?:start_of_turn|end_of_turn|bos|eos|s|pad|unused\d+|think)>|<</?SYS>>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|THINK)\]"
)
_BRACKETS: Final = str.maketrans("<>[]", "‹›［］")


def plain_text(text: str) -> str:
    """A text without what cannot be seen: control and format characters but line ends, tabs and joiners.

    Marks that turn or hide text are gone, a lone surrogate is U+FFFD, every kind of line end is one, and a
    chat template's marks have other brackets.
    """
    lines = ("".join(_seen(char) for char in line) for line in text.splitlines())
    return _TOKENS.sub(lambda found: found[0].translate(_BRACKETS), "\n".join(lines).strip())


def _seen(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Cs":
        return "\ufffd"
    return "" if category in ("Cc", "Cf") and char != "\t" and char not in _KEPT else char


def nonce_of(texts: Sequence[str]) -> str:
    """A code of ten letters and digits that none of the texts contains; the same for the same texts."""
    seed = "\x00".join(texts).encode("utf-8", "surrogatepass")
    turn = 0
    while True:
        nonce = hashlib.sha256(b"%d\x00" % turn + seed).hexdigest()[:10]
        if not any(nonce in text.casefold() for text in texts):
            return nonce
        turn += 1


def quoted(text: str) -> str:
    """A text with every line marked as quoted; an empty one is one empty quoted line."""
    return "\n".join(QUOTE + line for line in text.split("\n"))


def fenced(nonce: str, blocks: Iterable[tuple[str, str]]) -> str:
    """Named texts, each between two lines with the code.

    Args:
        nonce: from `nonce_of` over all texts of the prompt.
        blocks: (name, plain text); the names are ours.
    """
    return "\n\n".join(f"[{nonce} {name}]\n{quoted(text)}\n[{nonce} /{name}]" for name, text in blocks)
