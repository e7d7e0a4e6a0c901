"""Personal data and secrets in texts, replaced by placeholders: the same value always by the same one.

A rule finds spans; where spans of two rules overlap, the whole of both is hidden under the rule that stands
first. Texts are searched in a copy whose full-width letters and digits are narrow, character for character.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

Spans = Iterable[tuple[int, int]]
#: Full-width ASCII and the ideographic space to their narrow forms, dashes of all kinds to a hyphen.
_DASHES: Final = "‐‑‒–—―−"
_NARROW: Final = (
    {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
    | {0x3000: 0x20}
    | {ord(dash): ord("-") for dash in _DASHES}
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of value to hide.

    Attributes:
        name: as it is counted and switched off.
        placeholder: what stands in a value's place; `{n}` becomes the number of the value in its dataset.
        find: the (start, end) of each value in a text.
        key: what two spellings of one value have in common.
    """

    name: str
    placeholder: str
    find: Callable[[str], Spans]
    key: Callable[[str], str] = lambda value: unicodedata.normalize("NFKC", value).casefold()


@dataclass(frozen=True, slots=True)
class Found:
    """A value that a rule found in a text."""

    start: int
    end: int
    rule: Rule


def narrow(text: str) -> str:
    """The text with narrow letters, digits and hyphens, each character at its place."""
    return text.translate(_NARROW)


class Masker:
    """Hides what its rules find. It remembers the values of one dataset, to call each by one name."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        self._numbers: dict[tuple[str, str], str] = {}
        self._given: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the rules, in order of precedence."""
        return tuple(rule.name for rule in self._rules)

    def find(self, text: str) -> list[Found]:
        """Every value to hide in a text, in order and apart from each other."""
        plain = narrow(text)
        texts = (plain,) if plain == text else (plain, text)
        spans = {
            (start, end, rank)
            for rank, rule in enumerate(self._rules)
            for searched in texts
            for start, end in rule.find(searched)
        }
        return [Found(start, end, self._rules[rank]) for start, end, rank in _joined(sorted(spans))]

    def mask(self, text: str) -> str:
        """The text with a placeholder for each value, counted by rule in `counts`."""
        return self._replaced(text, self._placeholder)

    def anonymous(self, text: str) -> str:
        """The text with bare placeholders: the same for texts that differ in masked values alone."""
        return self._replaced(text, lambda _value, rule: rule.placeholder.replace("{n}", ""))

    def mask_all(self, value: Any) -> Any:
        """JSON data with every text in it masked, keys of objects excepted."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, dict):
            return {key: self.mask_all(item) for key, item in value.items()}
        return [self.mask_all(item) for item in value] if isinstance(value, list) else value

    def _replaced(self, text: str, name: Callable[[str, Rule], str]) -> str:
        return "".join(_pieces(text, self.find(text), name))

    def _placeholder(self, value: str, rule: Rule) -> str:
        self.counts[rule.name] += 1
        known = (rule.name, rule.key(value))
        if known not in self._numbers:
            self._given[rule.placeholder] += 1
            number = str(self._given[rule.placeholder])
            self._numbers[known] = rule.placeholder.replace("{n}", number)
        return self._numbers[known]


def _joined(spans: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Sorted spans (start, end, rank of the rule); those that overlap become one, of the lowest rank."""
    joined: list[tuple[int, int, int]] = []
    for start, end, rank in spans:
        if joined and start < joined[-1][1]:
            first, last, held = joined.pop()
            joined.append((first, max(last, end), min(held, rank)))
        else:
            joined.append((start, end, rank))
    return joined


def _pieces(text: str, found: Sequence[Found], name: Callable[[str, Rule], str]) -> Iterator[str]:
    at = 0
    for one in found:
        yield text[at : one.start]
        yield name(text[one.start : one.end], one.rule)
        at = one.end
    yield text[at:]
