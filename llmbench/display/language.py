"""The language that a report is written in.

English stands in the code and in the templates, as the text given to `say`; another language is a catalog in
locale/ that gives each of those texts its own, with the same named places. The language holds for a block of
code (`speaking`), so that a function from value to words needs no parameter that it would only hand on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from llmbench.errors import ConfigError

LANGUAGES: Final[Mapping[str, str]] = MappingProxyType({"en": "English", "ja": "日本語"})
"""Tag of each language that a report can be written in -> its own name for itself."""
ENGLISH: Final = "en"
_FOLDER: Final = Path(__file__).parent / "locale"
_PLACE: Final = re.compile(r"\{(\w+)\}")
_BREAK: Final = re.compile(r"\n\s*")  # a template may break a text where its page does
_MOST_CHARACTERS: Final = 4_000  # a longer text is no sentence of ours
_spoken: ContextVar[str] = ContextVar("llmbench_language", default=ENGLISH)


@contextmanager
def speaking(tag: str) -> Iterator[None]:
    """Write in a language inside the block.

    Raises:
        ConfigError: there is no catalog of the language.
    """
    token = _spoken.set(known_language(tag))
    try:
        yield
    finally:
        _spoken.reset(token)


def known_language(tag: str) -> str:
    """The tag, if reports can be written in its language.

    Raises:
        ConfigError: they cannot.
    """
    if tag not in LANGUAGES:
        raise ConfigError(f"no report in the language {tag!r}; there are: {', '.join(LANGUAGES)}")
    return tag


def spoken() -> str:
    """The tag of the language that is written in here."""
    return _spoken.get()


def say(text: str, /, **values: object) -> str:
    """A text of ours in the spoken language, with its named places filled.

    Args:
        text: the English text, a literal of ours and never a stranger's; `{name}` is a place.
        values: what stands in the places.
    """
    return translated(text).format(**values)


def translated(text: str) -> str:
    """A text of ours in the spoken language, its places unfilled; English where the catalog lacks it."""
    if spoken() == ENGLISH:
        return text
    return catalog(spoken())["texts"].get(_BREAK.sub(" ", text), text)


def mark(text: str) -> str:
    """The same text: marks one that is translated where it is shown."""
    return text


def retell(text: str) -> str | None:
    """A sentence that a run folder stores in English, in the spoken language; None where it is not known.

    A sentence is known by its fixed words: the catalog's `stored` texts, whose places take what stands there.
    A place whose name begins with `said` holds such a sentence itself, and one with `each` a list of them.
    """
    if spoken() == ENGLISH:
        return text
    for fixed, pattern, ours in _stored(spoken()):
        if len(text) > _MOST_CHARACTERS or not all(part in text for part in fixed):
            continue
        if found := pattern.fullmatch(text):
            return ours.format(**{name: _retold(name, value) for name, value in found.groupdict().items()})
    return None


def _retold(name: str, value: str) -> str:
    """What stands in a place of a stored sentence, told anew where its name asks for it."""
    if name.startswith("said"):
        return retell(value) or value
    if name.startswith("each"):
        return say(", ").join(retell(item) or item for item in value.split(", "))
    return value


@cache
def catalog(tag: str) -> Mapping[str, Mapping[str, str]]:
    """The catalog of a language: `texts` of the program, and `stored` sentences of run folders."""
    import yaml

    found: Mapping[str, Mapping[str, str]] = yaml.safe_load(
        (_FOLDER / f"{tag}.yaml").read_text(encoding="utf-8")
    )
    return found


@cache
def _stored(tag: str) -> tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...]:
    """Fixed words, pattern and translation of each stored sentence."""
    made = []
    for english, ours in catalog(tag)["stored"].items():
        parts = _PLACE.split(english)  # fixed words and names of places in turn
        pattern = "".join(f"(?P<{part}>.+?)" if at % 2 else re.escape(part) for at, part in enumerate(parts))
        made.append((tuple(part for part in parts[::2] if part), re.compile(pattern, re.DOTALL), ours))
    return tuple(made)
