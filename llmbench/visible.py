"""A stranger's text made safe to look at: nothing in it is hidden, and nothing moves the text around it."""

from __future__ import annotations

import re
from typing import Final

# Marks that change how the text around them is read or that cannot be seen at all.
_HIDDEN: Final = re.compile(
    "[\u0080-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NONCHARACTER: Final = re.compile("[\ufdd0-\ufdef\ufffe\uffff]")
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


def visible(text: str) -> str:
    """Make a stranger's text safe to look at: control characters and hidden marks become visible signs.

    Newlines and tabs stay; a lone surrogate becomes U+FFFD, so that the result always encodes as UTF-8.
    """
    text = text.replace("\r\n", "\n")
    text = _SURROGATE.sub("\ufffd", text)
    text = _NONCHARACTER.sub("\ufffd", text)
    text = _CONTROL.sub(lambda found: "␡" if found[0] == "\x7f" else chr(0x2400 + ord(found[0])), text)
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)
