"""A unified diff of config files, read strictly: what is not exactly as `unified_diff` writes it is refused.

A diff may come from a file that somebody sent. It names only files that a proposal can change, in the config
folder itself; a hunk applies at its own line, or not at all.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from llmbench.bench.edit import split_lines
from llmbench.bench.propose import CANDIDATES, MAPPING, OVERRIDES, ROUTER
from llmbench.config.model import MEDIA_FILES
from llmbench.errors import ApplyError

#: The only files that a proposal changes.
CHANGEABLE: Final = frozenset({MAPPING, OVERRIDES, CANDIDATES, ROUTER, *MEDIA_FILES.values()})
_FOLDER: Final = "configs"
_HUNK: Final = re.compile(r"@@ -(\d{1,7})(?:,(\d{1,7}))? \+(\d{1,7})(?:,(\d{1,7}))? @@\n")
_NO_NEWLINE: Final = "\\ No newline at end of file\n"


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that stand at a place and the lines that replace them; `old_at` and `new_at` count from 0."""

    old_at: int
    old: tuple[str, ...]
    new_at: int
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FilePatch:
    """The hunks of one file. `is_new`: it is made; `is_end`: it is removed (a making, reversed)."""

    name: str
    hunks: tuple[Hunk, ...]
    is_new: bool = False
    is_end: bool = False


def read_patch(diff: str) -> tuple[FilePatch, ...]:
    """The files of a diff.

    Raises:
        ApplyError: it is not well formed, or names a file outside the config folder or one that no proposal
            changes.
    """
    lines = _Lines(diff)
    patches = []
    while not lines.is_done:
        patches.append(_file(lines))
    names = [patch.name for patch in patches]
    if len(set(names)) != len(names):
        raise lines.wrong("names a file twice")
    return tuple(patches)


def apply_patch(patch: FilePatch, text: str | None) -> str | None:
    """The text after a patch whose every hunk stands exactly where it says; None for no file.

    Raises:
        ApplyError: the text is another one than the diff was made from.
    """
    _check_presence(patch, text)
    return _spliced(patch, text or "")


def apply_where_found(patch: FilePatch, text: str | None) -> str | None:
    """The text after a patch whose surroundings changed: its own lines must stand at exactly one place each.

    Of the lines around a hunk as many count as still stand there.

    Raises:
        ApplyError: a hunk stands nowhere or more than once.
    """
    _check_presence(patch, text)
    lines = split_lines(text or "")
    moved = tuple(_found(hunk, lines, patch) for hunk in patch.hunks)
    return _spliced(replace(patch, hunks=moved), text or "")


def _found(hunk: Hunk, lines: list[str], patch: FilePatch) -> Hunk:
    """The hunk at the place where it stands, without the surroundings that do not stand there."""
    for lead, tail in sorted(itertools.product(*map(range, _surroundings(hunk))), key=sum):
        old, new = (part[lead : len(part) - tail] for part in (hunk.old, hunk.new))
        places = [at for at in range(len(lines)) if old and tuple(lines[at : at + len(old)]) == old]
        if len(places) == 1:
            return Hunk(places[0], old, places[0], new)
        if places:
            break  # with less around them they are not fewer
    raise _other_text(patch)


def _surroundings(hunk: Hunk) -> tuple[int, int]:
    """One more than the lines that a hunk shares at its begin, and at its end."""
    least = min(len(hunk.old), len(hunk.new))
    lead = next((at for at in range(least) if hunk.old[at] != hunk.new[at]), least)
    rest = least - lead
    tail = next((at for at in range(rest) if hunk.old[-1 - at] != hunk.new[-1 - at]), rest)
    return lead + 1, tail + 1


def reverse_patch(patch: FilePatch) -> FilePatch:
    """The patch that takes a change back."""
    hunks = tuple(Hunk(hunk.new_at, hunk.new, hunk.old_at, hunk.old) for hunk in patch.hunks)
    return replace(patch, hunks=hunks, is_new=patch.is_end, is_end=patch.is_new)


def take_back(patch: FilePatch, text: str | None) -> tuple[str | None, bool]:
    """The text before a patch, and whether every line of it stands where the patch put it.

    Raises:
        ApplyError: the lines of the patch no longer stand there, or at several places.
    """
    back = reverse_patch(patch)
    try:
        return apply_patch(back, text), True
    except ApplyError:
        return apply_where_found(back, text), False


def _check_presence(patch: FilePatch, text: str | None) -> None:
    if (text is None) != patch.is_new:
        is_there = "is there already" if patch.is_new else "is not there"
        raise ApplyError(f"{patch.name} {is_there}, the diff says otherwise; decide the run again")


def _spliced(patch: FilePatch, text: str) -> str | None:
    lines, done, end = split_lines(text), [], 0
    for hunk in patch.hunks:
        at = hunk.old_at
        if at < end or tuple(lines[at : at + len(hunk.old)]) != hunk.old:
            raise _other_text(patch)
        done += [*lines[end:at], *hunk.new]
        end = at + len(hunk.old)
    done += lines[end:]
    if any(not line.endswith("\n") for line in done[:-1]):
        raise ApplyError(f"{patch.name}: the diff has no line end in the middle of the file")
    if patch.is_end and done:
        raise _other_text(patch)
    return None if patch.is_end else "".join(done)


def _other_text(patch: FilePatch) -> ApplyError:
    return ApplyError(f"{patch.name} is not the text that the diff was made from; decide the run again")


class _Lines:
    """The lines of a diff, taken one after the other."""

    def __init__(self, diff: str) -> None:
        self._lines, self._at = split_lines(diff), 0

    @property
    def is_done(self) -> bool:
        return self._at >= len(self._lines)

    def peek(self) -> str:
        return "" if self.is_done else self._lines[self._at]

    def take(self) -> str:
        line = self.peek()
        self._at += 1
        return line

    def wrong(self, said: str) -> ApplyError:
        return ApplyError(f"the diff {said} (its line {max(self._at, 1)}); decide the run again")


def _file(lines: _Lines) -> FilePatch:
    head = re.fullmatch(r"diff --git a/(\S+) b/(\S+)\n", lines.take())
    if head is None or head[1] != head[2]:
        raise lines.wrong("is not well formed")
    folder, _, name = head[1].rpartition("/")
    if folder != _FOLDER or name not in CHANGEABLE:
        raise lines.wrong(f"changes {head[1]!r:.120}, which no proposal may change")
    is_new = lines.peek() == "new file mode 100644\n"
    if is_new:
        lines.take()
    source = "/dev/null" if is_new else f"a/{_FOLDER}/{name}"
    if (lines.take(), lines.take()) != (f"--- {source}\n", f"+++ b/{_FOLDER}/{name}\n"):
        raise lines.wrong("is not well formed")
    hunks = tuple(_hunks(lines))
    if not hunks or (is_new and any(hunk.old for hunk in hunks)):
        raise lines.wrong("is not well formed")
    return FilePatch(name, hunks, is_new)


def _hunks(lines: _Lines) -> Iterator[Hunk]:
    while lines.peek().startswith("@@"):
        head = _HUNK.fullmatch(lines.take())
        if head is None:
            raise lines.wrong("has a broken hunk")
        counts = int(head[2] or 1) if head[2] != "0" else 0, int(head[4] or 1) if head[4] != "0" else 0
        old, new = _body(lines, *counts)
        starts = (int(head[1]) - bool(counts[0]), int(head[3]) - bool(counts[1]))
        if min(starts) < 0:
            raise lines.wrong("has a broken hunk")
        yield Hunk(starts[0], old, starts[1], new)


def _body(lines: _Lines, olds: int, news: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    old: list[str] = []
    new: list[str] = []
    while len(old) < olds or len(new) < news:
        line = lines.take()
        sign, text = line[:1], line[1:]
        if sign not in (" ", "-", "+") or not text.endswith("\n"):
            raise lines.wrong("has a broken hunk")
        if lines.peek() == _NO_NEWLINE:
            lines.take()
            text = text[:-1]
        if sign != "+":
            old.append(text)
        if sign != "-":
            new.append(text)
    if len(old) != olds or len(new) != news:
        raise lines.wrong("has a broken hunk")
    return tuple(old), tuple(new)
