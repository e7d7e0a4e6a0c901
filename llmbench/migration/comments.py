"""The comments of a YAML text, found by its tokens, and put back where what they stand beside is now."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import yaml

from llmbench.config.yaml_source import parse_yaml
from llmbench.migration.values import Keys

_LOADER: Final[type[Any]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BLOCK: Final = ("|", ">")


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment: its text from the `#` on, its line from 0, and whether it has the line to itself."""

    line: int
    text: str
    is_alone: bool


def comments(text: str) -> list[str]:
    """The comments of a YAML text in order."""
    return [comment.text for comment in read_comments(text)]


def read_comments(text: str) -> list[Comment]:
    """Every comment of a YAML text: a `#` after white space that is in no scalar."""
    starts = [0, *accumulate(len(line) for line in text.splitlines(keepends=True))]
    inside = sorted(_scalars(text))
    found: list[Comment] = []
    for number, line in enumerate(text.splitlines()):
        at = 0
        while (at := line.find("#", at)) >= 0:
            place = starts[number] + at
            spot = bisect_right(inside, (place, len(text) + 1)) - 1
            is_inside = spot >= 0 and place < inside[spot][1]
            if not is_inside and (at == 0 or line[at - 1] in " \t"):
                found.append(Comment(number, line[at:].rstrip(), not line[:at].strip()))
                break
            at += 1
    return found


def _scalars(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of every scalar; of a text block without its first line, which may have a comment."""
    for token in yaml.scan(text, Loader=_LOADER):
        if isinstance(token, yaml.ScalarToken):
            start = token.start_mark.index
            if token.style in _BLOCK:
                start = text.find("\n", start) + 1 or len(text)
            yield start, token.end_mark.index


def with_comments(old: str, new: str, name: str) -> str:
    """The new text with the comments that it lost, each where its neighbour is now.

    A comment at the end of a line goes with its value; where the value is gone, and for a comment with a line
    of its own, it has a line above what follows. What the new text kept in its right place stays.

    Raises:
        ConfigError: one of the texts cannot be parsed.
    """
    move = _Moving(old, new, name)
    left = Counter(comments(new))
    wanted: list[tuple[Comment, _Target]] = []
    for comment in read_comments(old):
        target = move.target(comment)
        if left[comment.text] and move.has(comment, target):
            left[comment.text] -= 1
        else:
            wanted.append((comment, target))
    for comment, target in wanted:
        if left[comment.text]:
            left[comment.text] -= 1  # elsewhere, as the editor moved it along with its key
        else:
            move.put(comment, target)
    return move.text()


@dataclass(frozen=True, slots=True)
class _Target:
    """A line of the new text, from 0; `is_end`: at its end, else above it."""

    line: int
    is_end: bool


class _Moving:
    """Both texts with the lines of their key paths, and what is to be added to the new one."""

    def __init__(self, old: str, new: str, name: str) -> None:
        """Parse both."""
        self._was, self._now = parse_yaml(old, name), parse_yaml(new, name)
        self._lines = new.splitlines()
        self._kept = {(comment.line, comment.text) for comment in read_comments(new)}
        self._open = _open_lines(new)
        lines = reversed(self._was.lines.items())
        self._paths = {line - 1: path for path, line in lines if "<<" not in path}
        self._old_lines = sorted(self._paths)
        self._above: dict[int, list[str]] = {}

    def target(self, comment: Comment) -> _Target:
        """Where a comment of the old text belongs in the new one."""
        spot = bisect_right(self._old_lines, comment.line)
        if comment.is_alone:
            if spot == len(self._old_lines):
                return _Target(len(self._lines), is_end=False)
            return self._beside(self._paths[self._old_lines[spot]], is_end=False)
        if spot == 0:
            return _Target(0, is_end=False)
        return self._beside(self._paths[self._old_lines[spot - 1]], is_end=True)

    def has(self, comment: Comment, target: _Target) -> bool:
        """Whether the new text has the comment there."""
        if target.is_end:
            return (target.line, comment.text) in self._kept
        line = target.line - 1
        while line >= 0 and (not (said := self._lines[line].strip()) or said.startswith("#")):
            if (line, comment.text) in self._kept:
                return True
            line -= 1
        return False

    def put(self, comment: Comment, target: _Target) -> None:
        """Add a comment to the end of its line if that may have one, else above it."""
        line = target.line
        if target.is_end and line not in self._open and not any(at == line for at, _ in self._kept):
            self._lines[line] += f"   {comment.text}"
            self._kept.add((line, comment.text))
        else:
            self._above.setdefault(line, []).append(comment.text)

    def text(self) -> str:
        """The new text with what was added."""
        made: list[str] = []
        for number, line in enumerate([*self._lines, ""]):
            indent = line[: len(line) - len(line.lstrip())]
            made += [indent + text for text in self._above.get(number, ())]
            made.append(line)
        return "\n".join(made)

    def _beside(self, path: Keys, *, is_end: bool) -> _Target:
        now, rest = self._follow(path)
        if not rest:
            return _Target(self._line(now), is_end=is_end)
        value: Any = self._was.data
        for key in path:
            value = value[key]
        if is_end and isinstance(value, str) and (moved := self._find(value, now)) is not None:
            return _Target(self._line(moved), is_end=True)
        return _Target(self._after_sibling(path[: len(path) - len(rest)], now, rest[0]), is_end=False)

    def _follow(self, path: Keys) -> tuple[Keys, Keys]:
        """A path of the old text in the new one as far as it leads, and the rest of the old one."""
        found: list[Any] = []
        was: Any = self._was.data
        now: Any = self._now.data
        for number, key in enumerate(path):
            step = _step(was, now, key)
            if step is None:
                return tuple(found), path[number:]
            found.append(step)
            was, now = was[key], now[step]
        return tuple(found), ()

    def _find(self, value: str, below: Keys) -> Keys | None:
        """Where a text stands now below a path, if there alone."""
        places = []
        for path in self._now.lines:
            if path[: len(below)] == below:
                found: Any = self._now.data
                for key in path:
                    found = found[key]
                if found == value:
                    places.append(path)
        return places[0] if len(places) == 1 else None

    def _after_sibling(self, parent: Keys, now: Keys, key: Any) -> int:
        """The line after the last key that stood before one which is gone, comments over it not counted."""
        siblings: Any = self._was.data
        for step in parent:
            siblings = siblings[step]
        keys = list(siblings) if isinstance(siblings, Mapping) else list(range(len(siblings)))
        followed = [self._follow((*parent, each)) for each in keys[: keys.index(key)]]
        last = next((path for path, rest in reversed(followed) if not rest), None)
        start = self._line(last or now) if last or now else -1
        following = [
            line - 1
            for path, line in self._now.lines.items()
            if line - 1 > start and (last is None or path[: len(last)] != last)
        ]
        line = min(following, default=len(self._lines))
        while line - 1 > start and self._lines[line - 1].lstrip().startswith("#"):
            line -= 1
        return line

    def _line(self, path: Keys) -> int:
        return self._now.lines[path] - 1


def _step(was: Any, now: Any, key: Any) -> Any:
    """The key or number in the new value of what stands at one in the old value; None where it is gone."""
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        if key in now:
            return key
        return next((name for name in now if name not in was and now[name] == was[key]), None)
    if isinstance(was, list) and isinstance(now, list):
        if was[key] in now:
            return key if key < len(now) and now[key] == was[key] else now.index(was[key])
        return key if len(was) == len(now) else None
    return None


def _open_lines(text: str) -> set[int]:
    """Lines that a scalar goes on after: no comment can stand at their end."""
    found: set[int] = set()
    for token in yaml.scan(text, Loader=_LOADER):
        if isinstance(token, yaml.ScalarToken):
            found.update(range(token.start_mark.line, token.end_mark.line))
    return found
