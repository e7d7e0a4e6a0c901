"""The ledger: every paid-for call of every sweep, one append-only file. Resume and cache are one lookup.

Two lines a call: an `intent` before it is sent, a `result` after it ended. An intent without a result is
an orphan: its call may have been paid for, and is made again. A call that ended for our own reasons
(interrupted, throttled) gets a `pending` line and no result.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmbench.errors import SweepError
from llmbench.jsonl import JsonlWriter, read_jsonl
from llmbench.messages import canonical_json
from llmbench.telemetry import utc_now

DEFAULT_LEDGER: Final = Path("workspaces/ledger.jsonl")
_KINDS: Final = ("intent", "result", "pending")  # tuples: a foreign line may hold what cannot be hashed
_ENDINGS: Final = ("ok", "error", "timeout")


def fingerprint(
    *, task: str, sample_sha256: str, model: str, version: str, body: Mapping[str, Any], repeat: int
) -> str:
    """The identity of a cell: equal fingerprints are the same question to the same model version."""
    identity = {
        "task": task,
        "sample": sample_sha256,
        "model": model,
        "version": version,
        "body": body,
        "repeat": repeat,
    }
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:32]


@dataclass(slots=True)
class LedgerState:
    """What a ledger holds of the cells that were asked for.

    Attributes:
        results: fingerprint -> its result line; of one model version the first, of several the last.
        pending: fingerprint -> the last line that says why the cell has no result yet.
        orphans: intent id -> its line, of intents that have neither result nor pending line.
        bad_lines: (line number, reason) of torn or foreign lines, which are left as they are.
    """

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    pending: dict[str, dict[str, Any]] = field(default_factory=dict)
    orphans: dict[str, dict[str, Any]] = field(default_factory=dict)
    bad_lines: list[tuple[int, str]] = field(default_factory=list)

    def take(self, record: dict[str, Any]) -> None:
        """Take in one line, in the ledger's order."""
        if record["type"] == "intent":
            self.orphans[record["intent_id"]] = record
            return
        self.orphans.pop(record["intent_id"], None)
        if record["type"] == "result":
            known = self.results.setdefault(record["fingerprint"], record)
            if known.get("model_version") != record.get("model_version"):
                self.results[record["fingerprint"]] = record
            self.pending.pop(record["fingerprint"], None)
        elif record["fingerprint"] not in self.results:
            self.pending[record["fingerprint"]] = record


def read_ledger(path: Path, wanted: Container[str] | None = None) -> LedgerState:
    """Read a ledger that may be missing, torn at its end, or hold foreign lines.

    Args:
        path: the ledger.
        wanted: the fingerprints to keep; a ledger of many runs need not fit into memory. All if None.

    Raises:
        SweepError: the file cannot be opened.
    """
    state = LedgerState()
    if not path.exists():
        return state
    try:
        for line in read_jsonl(path):
            problem = line.reason if line.record is None else _problem(line.record)
            if line.record is None or problem is not None:
                state.bad_lines.append((line.number, problem or "foreign"))
            elif wanted is None or line.record["fingerprint"] in wanted:
                state.take(line.record)
    except OSError as error:
        raise SweepError(f"the ledger {path} cannot be read: {error.strerror}") from error
    return state


def _problem(record: Mapping[str, Any]) -> str | None:
    """Why an object is no line of a ledger, or None."""
    if record.get("type") not in _KINDS:
        return "foreign"
    if not all(isinstance(record.get(key), str) for key in ("fingerprint", "intent_id")):
        return "no fingerprint or intent_id"
    if record["type"] == "result" and record.get("status") not in _ENDINGS:
        return "a result without a known status"
    if not isinstance(record.get("output"), str | None):
        return "an output that is no text"
    return None


class Ledger:
    """A ledger open for one sweep; a second sweep on the same file is refused while it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = LedgerState()
        self._writer = JsonlWriter(path)

    @contextlib.contextmanager
    def opened(self, wanted: Container[str] | None = None) -> Iterator[Ledger]:
        """Hold the ledger's lock and read what it has of the wanted fingerprints.

        Raises:
            SweepError: another sweep holds it, or it cannot be read.
        """
        with self._lock():
            self.state = read_ledger(self.path, wanted)
            try:
                yield self
            finally:
                self._writer.close()

    def refuse_if_busy(self) -> None:
        """Say at once that another sweep holds the ledger, before anything is prepared for a second one.

        Raises:
            SweepError: another sweep holds it, or its folder cannot be used.
        """
        with self._lock():
            pass

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(
                self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise SweepError(f"the ledger {self.path} cannot be used: {error.strerror}") from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SweepError(
                    f"another sweep is writing to {self.path}; wait for it, or use another ledger"
                ) from error
            yield
        finally:
            os.close(lock)

    def intent(self, mark: Mapping[str, Any]) -> None:
        """Say that a call is about to be sent. `mark` names intent_id, fingerprint, cell and run_id."""
        self._append({"type": "intent", **mark})

    def result(self, mark: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Record how a call ended; it is never made again."""
        self._append({"type": "result", **mark, **facts})

    def pending(self, mark: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Record a call that ended for our own reasons; it will be made again."""
        self._append({"type": "pending", **mark, **facts})

    def _append(self, line: Mapping[str, Any]) -> None:
        """Write a line, then take it in as a reader would.

        Raises:
            SweepError: the file cannot be written.
            ValueError: the line holds something that is not JSON; nothing was written.
        """
        record = {"schema": 1, "timestamp": utc_now(), **line}
        try:
            self._writer.append(record)
        except OSError as error:
            raise SweepError(
                f"the ledger {self.path} cannot be written: {error.strerror}; nothing more is sent"
            ) from error
        self.state.take(record)
