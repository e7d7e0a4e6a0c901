r"""Regular expressions whose time grows with the text and the pattern, never with their powers.

Python's `re` tries alternatives one after the other, so that `(a+)+$` on thirty letters takes minutes: a
model's reply could stop a run. Here all alternatives are followed at once (K. Thompson, "Regular Expression
Search Algorithm", CACM 11(6), 1968), one set of states a character, and sets met before are looked up. The
price: what needs memory of the text read (look-around, back-references, atomic groups) does not exist; such a
pattern is refused when the dataset is checked.

The syntax and the meaning of a single character (`[ぁ-ん]`, `\d`, `.`, case folding) are those of `re`, which
reads them; only whether a match exists is asked, so greedy and lazy repeats are the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_MOST_CHARACTERS: Final = 1000
_MOST_STATES: Final = 1000
_MOST_SETS: Final = 20_000
_REPEAT: Final = re.compile(r"\*|\+|\?|\{(?:\d+|\d*,\d*)\}")
_ESCAPE: Final = re.compile(
    r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|0[0-7]{0,2}|.)", re.DOTALL
)
_SET: Final = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_ASSERTIONS: Final = frozenset({"^", "$", r"\A", r"\Z", r"\b", r"\B"})
_MATCH: Final = 0


@dataclass(frozen=True, slots=True)
class _Char:
    """One character that a piece of pattern such as `a`, `.` or `[a-z]` accepts."""

    test: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Assert:
    """A place between two characters."""

    kind: str


@dataclass(frozen=True, slots=True)
class _Sequence:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    branches: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    """`least` to `most` times; `most` is None for any number."""

    part: _Node
    least: int
    most: int | None


_Node = _Char | _Assert | _Sequence | _Choice | _Repeat


@lru_cache(maxsize=64)
def compile_linear(pattern: str, flags: int = 0, *, whole: bool = False) -> LinearPattern:
    """A pattern ready to search with.

    Args:
        pattern: in the syntax of `re`.
        flags: of `re`: IGNORECASE, MULTILINE, DOTALL.
        whole: only a match of the whole text counts.

    Raises:
        ValueError: the pattern is wrong, is too long or repeats too much (over 1000 characters or states), or
            uses what cannot be matched in linear time.
    """
    if len(pattern) > _MOST_CHARACTERS:
        raise ValueError(f"the pattern has {len(pattern)} characters; {_MOST_CHARACTERS} are allowed")
    try:
        re.compile(pattern, flags)  # the messages of `re` for what is wrong; reading below trusts the syntax
        node = _Reader(pattern, flags).choice()
        if whole:
            node = _Sequence((_Assert(r"\A"), node, _Assert(r"\Z")))
        return LinearPattern(node, flags)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    except (RecursionError, OverflowError) as error:
        raise ValueError("the pattern is nested or repeated too much") from error


class _Reader:
    """Pattern text to tree, left to right; the text is known to be a valid pattern."""

    def __init__(self, pattern: str, flags: int) -> None:
        self._text, self._at, self._flags = pattern, 0, flags

    def choice(self) -> _Node:
        branches = [self._sequence()]
        while self._text.startswith("|", self._at):
            self._at += 1
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else _Choice(tuple(branches))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeats(self._atom()))
        return _Sequence(tuple(parts))

    def _repeats(self, part: _Node) -> _Node:
        found = _REPEAT.match(self._text, self._at)
        if found is None:
            return part
        self._at = found.end()
        if self._text.startswith("+", self._at):
            raise self._refused("a possessive repeat")
        if self._text.startswith("?", self._at):  # lazy: the same matches exist
            self._at += 1
        return _Repeat(part, *_bounds(found[0]))

    def _atom(self) -> _Node:
        if self._text[self._at] == "(":
            return self._group()
        source = self._source()
        self._at += len(source)
        if source in _ASSERTIONS:
            return _Assert(source)
        if re.match(r"\\[1-9]", source):
            raise self._refused(f"the back-reference {source}")
        return _Char(re.compile(source, self._flags))

    def _source(self) -> str:
        """The text of the next atom that is no group."""
        char = self._text[self._at]
        reader = _ESCAPE if char == "\\" else _SET if char == "[" else None
        found = None if reader is None else reader.match(self._text, self._at)
        return char if found is None else found[0]

    def _group(self) -> _Node:
        found = re.compile(r"\((?:\?:|\?P<\w+>|(?!\?))").match(self._text, self._at)
        if found is None:
            raise self._refused(f"the group `{self._text[self._at : self._at + 4]}`")
        self._at = found.end()
        inner = self.choice()
        self._at += 1  # the closing bracket
        return inner

    def _refused(self, what: str) -> ValueError:
        return ValueError(
            f"{what} at character {self._at + 1} cannot be matched in linear time; write the pattern without "
            "it (plain groups, sets, `|`, repeats and the anchors ^ $ \\A \\Z \\b \\B are known)"
        )


def _bounds(repeat: str) -> tuple[int, int | None]:
    if repeat in "*+?":
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[repeat]
    least, comma, most = repeat[1:-1].partition(",")
    return int(least or 0), (int(most) if most else None) if comma else int(least)


class LinearPattern:
    """A compiled pattern: numbered states, each a character to read, a place to be at, or a fork."""

    __slots__ = ("_closures", "_flags", "_kinds", "_start", "_states", "_steps")

    def __init__(self, node: _Node, flags: int) -> None:
        self._states: list[tuple[_Char | _Assert | None, tuple[int, ...]]] = [(None, ())]
        self._flags = flags
        self._start = self._add(node, _MATCH)
        self._kinds = sorted({what.kind for what, _ in self._states if isinstance(what, _Assert)})
        self._closures: dict[tuple[frozenset[int], tuple[bool, ...]], frozenset[int]] = {}
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def found_in(self, text: str) -> bool:
        """Whether the pattern matches anywhere in the text."""
        states: frozenset[int] = frozenset()
        for position in range(len(text) + 1):
            truths = tuple(self._holds(kind, text, position) for kind in self._kinds)
            states = self._closure(states | {self._start}, truths)
            if _MATCH in states:
                return True
            if position < len(text):
                states = self._step(states, text[position])
        return False

    def _new(self, what: _Char | _Assert | None, following: tuple[int, ...]) -> int:
        if len(self._states) >= _MOST_STATES:
            raise ValueError(f"the pattern repeats too much: it needs over {_MOST_STATES} states")
        self._states.append((what, following))
        return len(self._states) - 1

    def _add(self, node: _Node, then: int) -> int:
        """The state that reads `node` and goes on at `then`."""
        if isinstance(node, _Sequence):
            for part in reversed(node.parts):
                then = self._add(part, then)
            return then
        if isinstance(node, _Choice):
            return self._new(None, tuple(self._add(branch, then) for branch in node.branches))
        if isinstance(node, _Repeat):
            return self._add_repeat(node, then)
        return self._new(node, (then,))

    def _add_repeat(self, node: _Repeat, then: int) -> int:
        entry = then
        if node.most is None:
            entry = self._new(None, ())
            self._states[entry] = (None, (self._add(node.part, entry), then))
        else:
            for _ in range(node.most - node.least):
                entry = self._new(None, (self._add(node.part, entry), then))
        for _ in range(node.least):
            entry = self._add(node.part, entry)
        return entry

    def _closure(self, states: frozenset[int], truths: tuple[bool, ...]) -> frozenset[int]:
        """All states reached without reading a character."""
        known = self._closures.get((states, truths))
        if known is not None:
            return known
        holds = dict(zip(self._kinds, truths, strict=True))
        seen: set[int] = set()
        stack = list(states)
        while stack:
            state = stack.pop()
            what, following = self._states[state]
            if state in seen or (isinstance(what, _Assert) and not holds[what.kind]):
                continue
            seen.add(state)
            if not isinstance(what, _Char):
                stack.extend(following)
        if len(self._closures) >= _MOST_SETS:
            self._closures.clear()
        return self._closures.setdefault((states, truths), frozenset(seen))

    def _step(self, states: frozenset[int], char: str) -> frozenset[int]:
        """The states after one character."""
        known = self._steps.get((states, char))
        if known is not None:
            return known
        reached: set[int] = set()
        for state in states:
            what, following = self._states[state]
            if isinstance(what, _Char) and what.test.fullmatch(char):
                reached.update(following)
        if len(self._steps) >= _MOST_SETS:
            self._steps.clear()
        return self._steps.setdefault((states, char), frozenset(reached))

    def _holds(self, kind: str, text: Sequence[str], position: int) -> bool:
        """Whether an assertion is true between the characters `position - 1` and `position`."""
        before = text[position - 1] if position else ""
        after = text[position] if position < len(text) else ""
        many_lines = bool(self._flags & re.MULTILINE)
        if kind in ("^", r"\A"):
            return not before or (many_lines and kind == "^" and before == "\n")
        if kind in ("$", r"\Z"):
            is_last_newline = after == "\n" and (many_lines or position == len(text) - 1)
            return not after or (kind == "$" and is_last_newline)
        return (_is_word(before) != _is_word(after)) == (kind == r"\b")


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
