"""What a migration finds and does, as frozen data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from llmbench.telemetry import Redactor

#: Characters of a value that a loss repeats.
_SHOWN: Final = 80
_redact: Final = Redactor()
#: Words for a boolean, as older readers of YAML and of the environment take them.
_WORDS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
Keys = tuple[str | int, ...]


class Asked(NamedTuple):
    """What one candidate comes to: the provider, and the model id or deployment that it is asked for."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class Loss:
    """One thing that could not be carried as it was. `value` is shortened, and never a key."""

    file: str
    key: str
    value: str
    reason: str
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        shown = f" = {self.value}" if self.value else ""
        return f"{place}: {self.key}{shown}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Move:
    """One task, old -> new. `file` is the one that decided before, `old` its route there."""

    task: str
    file: str
    old: tuple[Asked, ...]
    tier: str
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hidden:
    """A model key, id or family that reads like another model than the one which is asked."""

    key: str
    name: str
    asked: str

    def __str__(self) -> str:
        return f"{self.key}: {self.name!r} reads like another model than {self.asked!r}, which is asked"


@dataclass(frozen=True, slots=True)
class Difference:
    """One question that is answered otherwise after than before."""

    task: str
    channel: str | None
    env: str | None
    slot: str | None
    before: tuple[Asked, ...]
    after: tuple[Asked, ...]
    is_local: bool = False

    def __str__(self) -> str:
        where = "".join(
            f", {name} {value}"
            for name, value in (("channel", self.channel), ("env", self.env), ("slot", self.slot))
            if value is not None
        )
        where += ", with the .local.yaml files" if self.is_local else ""
        return f"task {self.task}{where}: {_chain(self.before)} before, {_chain(self.after)} after"


@dataclass(frozen=True, slots=True)
class Change:
    """One option that a candidate of a task is sent otherwise after than before; None: it is not sent.

    `places` counts the questions (channel, environment, slot) that it holds for, `first` names one of them.
    """

    task: str
    model: str
    option: str
    before: str | None
    after: str | None
    places: int
    first: str

    def __str__(self) -> str:
        was, now = (value or "not set" for value in (self.before, self.after))
        where = f"{self.places} places, such as {self.first}" if self.places > 1 else self.first
        return f"task {self.task}, {self.model}: {self.option} was {was}, is {now} ({where})"


@dataclass(frozen=True, slots=True)
class Migration:
    """What was written to `folder`, and how it compares; `compared` counts the routes that were asked for.

    `differences` are routes, `changes` what the same route is sent otherwise; `notes` is what was read or
    written otherwise than it stood, so that nothing is lost.
    """

    folder: Path
    files: tuple[str, ...]
    moves: tuple[Move, ...]
    losses: tuple[Loss, ...]
    hidden: tuple[Hidden, ...]
    differences: tuple[Difference, ...]
    compared: int
    changes: tuple[Change, ...] = ()
    kept: Path | None = None
    notes: tuple[Loss, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether every route and all that is sent along is as it was."""
        return not self.differences and not self.changes

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON has it."""
        return {
            "folder": str(self.folder),
            "kept": None if self.kept is None else str(self.kept),
            "files": list(self.files),
            "ok": self.is_same,
            "compared": self.compared,
            "tasks": [{**asdict(move), "old": _ids(move.old), "new": list(move.new)} for move in self.moves],
            "losses": [asdict(loss) for loss in self.losses],
            "notes": [asdict(note) for note in self.notes],
            "hidden": [asdict(each) for each in self.hidden],
            "differences": [
                {**asdict(each), "before": _ids(each.before), "after": _ids(each.after)}
                for each in self.differences
            ],
            "changes": [asdict(change) for change in self.changes],
        }


@dataclass(slots=True)
class Losses:
    """The list of losses as it grows, and beside it that of notes."""

    found: list[Loss] = field(default_factory=list)
    notes: list[Loss] = field(default_factory=list)

    def add(self, file: str, path: Keys, value: object, reason: str, line: int | None = None) -> None:
        """Add one; the same loss is listed once."""
        _add(self.found, Loss(file, _dotted(path), shortened(value), reason, line))

    def note(self, file: str, path: Keys, value: object, reason: str, line: int | None = None) -> None:
        """Add a note; the same one is listed once."""
        _add(self.notes, Loss(file, _dotted(path), shortened(value), reason, line))


def _add(found: list[Loss], loss: Loss) -> None:
    if loss not in found:
        found.append(loss)


def _dotted(path: Keys) -> str:
    return ".".join(map(str, path)) or "(the file)"


def shortened(value: object) -> str:
    """A value as one short line, with whatever looks like a key hidden."""
    if value is None or value == "":
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    line = " ".join(_redact(text).split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def section(value: object) -> Mapping[Any, Any]:
    """The mapping, or an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_flag(value: object) -> object:
    """The boolean that a 0, a 1 or a word such as "true" was meant as; any other value as it is."""
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower(), value)
    return bool(value) if isinstance(value, int) and value in (0, 1) else value


def holds_key(text: str) -> bool:
    """Whether a text holds something in the form of an API key."""
    return _redact(text) != text


def _ids(asked: tuple[Asked, ...]) -> list[str]:
    return [f"{each.provider}:{each.model}" for each in asked]


def _chain(asked: tuple[Asked, ...]) -> str:
    return " > ".join(_ids(asked)) or "no model"
