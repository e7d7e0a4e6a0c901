"""The decision log: who changed which task's model, when, why and on which evidence. One JSON line a change.

It lies beside the files that it speaks of, `configs/llm_decisions.jsonl`, so that it is committed, reviewed
and taken back with them. No loader reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

from llmbench.errors import ApplyError
from llmbench.jsonl import JsonlWriter, read_jsonl
from llmbench.visible import visible

LOG_FILE: Final = "llm_decisions.jsonl"
HEAD: Final = ("id", "when (UTC)", "by", "action", "run", "moves", "reason")
_ACTIONS: Final = ("apply", "undo")


@dataclass(frozen=True, slots=True)
class Moved:
    """One task's change.

    Attributes:
        task: its name.
        from_tier, to_tier: its tier before and after.
        from_model, to_model: what answered first before and after: a model, or a chain `a > b`.
        sentence: the evidence in one sentence; empty where it is not known.
    """

    task: str
    from_tier: str
    from_model: str
    to_tier: str
    to_model: str
    sentence: str = ""

    def __str__(self) -> str:
        return f"{self.task}: {self.from_model} ({self.from_tier}) → {self.to_model} ({self.to_tier})"

    def reversed(self) -> Moved:
        """The way back."""
        return Moved(self.task, self.to_tier, self.to_model, self.from_tier, self.from_model)

    def facts(self) -> dict[str, Any]:
        """Its part of a line of the log."""
        return {
            "task": self.task,
            "from": {"tier": self.from_tier, "model": self.from_model},
            "to": {"tier": self.to_tier, "model": self.to_model},
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the log, checked.

    Attributes:
        id: its name, for `--undo`.
        when: UTC, ISO 8601.
        by, reason: who, and why; texts of a person.
        action: apply or undo.
        undoes: the id of the apply that an undo took back, or None.
        run_id: the run that the evidence is of, or None.
        recommendation_sha256: hash of recommendation.json.
        evidence_sha256: hash of results.jsonl, or None.
        moves: what it changed.
        files: (file, hash before, hash after); None for no file.
        diff: the change.
    """

    id: str
    when: str
    by: str
    reason: str
    action: str
    undoes: str | None
    run_id: str | None
    recommendation_sha256: str
    evidence_sha256: str | None
    moves: tuple[Moved, ...]
    files: tuple[tuple[str, str | None, str | None], ...]
    diff: str

    def facts(self) -> dict[str, Any]:
        """The line as it is written."""
        return {
            "schema": 1,
            "id": self.id,
            "when": self.when,
            "by": self.by,
            "reason": self.reason,
            "action": self.action,
            "undoes": self.undoes,
            "run_id": self.run_id,
            "recommendation_sha256": self.recommendation_sha256,
            "evidence_sha256": self.evidence_sha256,
            "tasks": [move.facts() for move in self.moves],
            "files": [
                {"file": name, "before_sha256": before, "after_sha256": after}
                for name, before, after in self.files
            ],
            "diff": self.diff,
        }


def append_entry(folder: Path, facts: Mapping[str, Any]) -> None:
    """Add a line.

    Raises:
        OSError: it cannot be written.
    """
    path = folder / LOG_FILE
    is_new = not path.exists()
    writer = JsonlWriter(path)
    try:
        writer.append(facts)
    finally:
        writer.close()
    if is_new:
        path.chmod(0o644)  # it is for everybody who reads the configs


@dataclass(frozen=True, slots=True)
class DecisionLog:
    """What a log holds.

    Attributes:
        entries: every line that can be used, oldest first.
        lost: the numbers of the lines that cannot, counted from 1: torn, edited, or of another version.
    """

    entries: tuple[Entry, ...] = ()
    lost: tuple[int, ...] = ()

    def doubts(self) -> tuple[str, ...]:
        """A warning of the lines that were passed over; none where there are none."""
        if not self.lost:
            return ()
        lines = "line" if len(self.lost) == 1 else "lines"
        return (f"{LOG_FILE}, {lines} {', '.join(map(str, self.lost))}: cannot be used and was passed over.",)


def has_entry(folder: Path, entry_id: str) -> bool:
    """Whether the log has a line of that id."""
    return any(entry.id == entry_id for entry in read_log(folder))


def read_log(folder: Path) -> tuple[Entry, ...]:
    """Every line of a log that can be used, oldest first.

    Raises:
        ApplyError: the file is there and cannot be read.
    """
    return read_decisions(folder).entries


def read_decisions(folder: Path) -> DecisionLog:
    """Read the decision log of a config folder; without a file it is empty.

    Raises:
        ApplyError: the file is there and cannot be read.
    """
    try:
        found = [(line.number, _entry(line.record)) for line in read_jsonl(folder / LOG_FILE)]
    except FileNotFoundError:
        return DecisionLog()
    except OSError as error:
        raise ApplyError(f"{folder / LOG_FILE} cannot be read: {error.strerror}") from error
    return DecisionLog(
        tuple(entry for _, entry in found if entry is not None),
        tuple(number for number, entry in found if entry is None),
    )


def standing(entries: Iterable[Entry]) -> list[Entry]:
    """The applies that nobody has undone, oldest first."""
    listed = list(entries)
    undone = {entry.undoes for entry in listed}
    return [entry for entry in listed if entry.action == "apply" and entry.id not in undone]


def table(entries: Iterable[Entry]) -> list[tuple[str, ...]]:
    """The log as rows under HEAD; each text is made visible, and its place must still escape it."""
    return [
        tuple(
            visible(text)
            for text in (
                entry.id,
                entry.when,
                entry.by,
                entry.action if entry.undoes is None else f"{entry.action} {entry.undoes}",
                entry.run_id or "",
                "; ".join(map(str, entry.moves)),
                entry.reason,
            )
        )
        for entry in entries
    ]


def _entry(facts: Mapping[str, Any] | None) -> Entry | None:
    """A line as an entry, None where anything of it is not what it must be."""
    if facts is None or facts.get("schema") != 1 or facts.get("action") not in _ACTIONS:
        return None
    texts = [facts.get(key) for key in ("id", "when", "by", "reason", "recommendation_sha256", "diff")]
    maybe = [facts.get(key) for key in ("undoes", "run_id", "evidence_sha256")]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(t, str | None) for t in maybe):
        return None
    moves, files = _moves(facts.get("tasks")), _files(facts.get("files"))
    if not moves or not files:
        return None
    return Entry(
        id=facts["id"],
        when=facts["when"],
        by=facts["by"],
        reason=facts["reason"],
        action=facts["action"],
        undoes=facts["undoes"],
        run_id=facts["run_id"],
        recommendation_sha256=facts["recommendation_sha256"],
        evidence_sha256=facts["evidence_sha256"],
        moves=moves,
        files=files,
        diff=facts["diff"],
    )


def _moves(listed: Any) -> tuple[Moved, ...] | None:
    """The moves of a line, None where one is not as `Moved.facts` writes it."""
    try:
        moves = tuple(
            Moved(
                each["task"],
                each["from"]["tier"],
                each["from"]["model"],
                each["to"]["tier"],
                each["to"]["model"],
            )
            for each in (listed if isinstance(listed, list) else ())
        )
    except (KeyError, TypeError):
        return None
    return moves if all(isinstance(text, str) for move in moves for text in astuple(move)) else None


def _files(listed: Any) -> tuple[tuple[str, str | None, str | None], ...] | None:
    """The files of a line with their hashes, None where one is not as it is written."""
    try:
        files = tuple(
            (each["file"], each["before_sha256"], each["after_sha256"])
            for each in (listed if isinstance(listed, list) else ())
        )
    except (KeyError, TypeError):
        return None
    is_good = all(isinstance(name, str) and _are_texts(hashes) for name, *hashes in files)
    return files if is_good else None


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str | None) for value in values)
