"""The lines of a dialogue and the speakers that a call gives voices to. Pure.

A voice is found by the name at the beginning of a line. A colon alone proves none ("Note: ...", "10:30"),
so one name that nobody knows is told and not refused, unless a speaker who was named is missing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from llmbench.errors import ParamError
from llmbench.messages import Adjustment

#: What stands before the first colon of a line, without a remark in brackets ("Joe (softly): ...").
_LABEL: Final = re.compile(
    r"\s*(?P<label>[^:：\n]{1,80}?)\s*(?:[(（\[【][^:：\n]*[)）\]】]\s*)?[:：](?![0-9/])"
)
#: What may be a name: a letter first, few characters, no mark of a sentence.
_NAME: Final = re.compile(r"[^\W\d_][^,、，;；。．!！?？\"“”「」]{0,39}")
_MOST_WORDS: Final = 3


def fit_speakers(text: str, speakers: Mapping[str, str] | None) -> list[Adjustment]:
    """What a dialogue's lines say of speakers that have no voice; nothing where it is no dialogue.

    Raises:
        ParamError: no line begins with the name of a speaker; or one of them begins none, and a name that has
            no voice does.
    """
    if not speakers:
        return []
    known = {_key(name): name for name in speakers}
    labels = {_key(label): label for label in _labels(text, known)}
    silent = [name for key, name in known.items() if key not in labels]
    strangers = [label for key, label in labels.items() if key not in known]
    if len(silent) == len(known):
        raise ParamError(
            f"speakers: no line of the text begins with {_listed(silent, ' or ')} and a colon"
            f"{_instead(strangers)}; write every turn as `NAME: what is said`, or give voice for one speaker"
        )
    if silent and strangers:
        raise ParamError(
            f"speakers: no line of the text begins with {_listed(silent, ' or ')}{_instead(strangers)}; "
            f"{_meant(strangers, silent)}name the speakers as the text does"
        )
    rule = "lines begin with it and speakers gives it no voice: another speaker's voice reads them"
    return [Adjustment("speakers", "dropped", label, None, rule) for label in strangers]


def _labels(text: str, known: Mapping[str, str]) -> Iterator[str]:
    """What lines begin with: known names, and what may be one."""
    for line in text.splitlines():
        found = _LABEL.match(line)
        if found is None:
            continue
        label = found["label"]
        is_name = _NAME.fullmatch(label) is not None and len(label.split()) <= _MOST_WORDS
        if is_name or _key(label) in known:
            yield label


def _key(name: str) -> str:
    return name.strip().casefold()


def _listed(names: list[str], joint: str = ", ") -> str:
    return joint.join(f"{name!r:.60}" for name in names[:5]) + (", …" if len(names) > 5 else "")


def _instead(strangers: list[str]) -> str:
    return f" (lines begin with {_listed(strangers)})" if strangers else ""


def _meant(strangers: list[str], silent: list[str]) -> str:
    for name in strangers:
        if close := difflib.get_close_matches(name, silent, n=1, cutoff=0.6):
            return f"did you mean {close[0]!r} by {name!r}? "
    return ""
