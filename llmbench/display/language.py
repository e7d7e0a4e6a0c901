"""The language that a report is written in.

English stands in the code and in the templates, as the text given to `say`; another language is a catalog in
locale/ that gives each of those texts its own, with the same named places. The language holds for a block of
code (`speaking`), so that a function from value to words needs no parameter that it would only hand on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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
_MOST_NESTED: Final = 4  # a sentence of ours holds one that holds one
_MOST_LISTED: Final = 50
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


def speak(tag: str) -> None:
    """Write in a language from here on: for a notebook, whose cells share one context and no block of code.

    Raises:
        ConfigError: there is no catalog of the language.
    """
    _spoken.set(known_language(tag))


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
    A stranger may have written the text: it is read once from left to right for each text of the catalog, and
    what is longer or nested deeper than any sentence of ours stays as it is.
    """
    return text if spoken() == ENGLISH else _retell(text, _MOST_NESTED)


def _retell(text: str, depth: int) -> str | None:
    if depth == 0 or len(text) > _MOST_CHARACTERS:
        return None
    for fixed, names, ours in _stored(spoken()):
        values = _between(fixed, text)
        if values is not None:
            told = {name: _retold(name, value, depth) for name, value in zip(names, values, strict=True)}
            return ours.format(**told)
    return None


def _retold(name: str, value: str, depth: int) -> str:
    """What stands in a place of a stored sentence, told anew where its name asks for it."""
    if name.startswith("said"):
        return _retell(value, depth - 1) or value
    if name.startswith("each"):
        items = value.split(", ", _MOST_LISTED)
        return say(", ").join(_retell(item, depth - 1) or item for item in items)
    return value


def _between(fixed: Sequence[str], text: str) -> list[str] | None:
    """What stands between fixed words that begin and end a text; None where it does not have them in turn.

    Each place takes as little as it can and at least one character. To take the first find is enough: a later
    one leaves less room for what follows.
    """
    first, last = fixed[0], fixed[-1]
    if len(fixed) == 1:
        return [] if text == first else None
    end = len(text) - len(last)
    if not text.startswith(first) or not text.endswith(last):
        return None
    at, values = len(first), list[str]()
    for part in fixed[1:-1]:
        found = text.find(part, at + 1, end)
        if found < 0:
            return None
        values.append(text[at:found])
        at = found + len(part)
    return [*values, text[at:end]] if at < end else None


@cache
def catalog(tag: str) -> Mapping[str, Mapping[str, str]]:
    """The catalog of a language: `texts` of the program, and `stored` sentences of run folders."""
    import yaml

    found: Mapping[str, Mapping[str, str]] = yaml.safe_load(
        (_FOLDER / f"{tag}.yaml").read_text(encoding="utf-8")
    )
    return found


@cache
def _stored(tag: str) -> tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...]:
    """Fixed words, names of the places between them, and translation of each stored sentence."""
    split = [(_PLACE.split(english), ours) for english, ours in catalog(tag)["stored"].items()]
    return tuple((tuple(parts[::2]), tuple(parts[1::2]), ours) for parts, ours in split)
