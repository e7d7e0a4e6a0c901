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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmbench.errors import SweepError
from llmbench.messages import canonical_json
from llmbench.telemetry import JsonlWriter, read_jsonl, utc_now

DEFAULT_LEDGER: Final = Path("workspaces/ledger.jsonl")
_KINDS: Final = frozenset({"intent", "result", "pending"})


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
    """What a ledger holds.

    Attributes:
        results: fingerprint -> its result line; the first one wins.
        orphans: call ids of intents that have neither result nor pending line, with their lines.
        bad_lines: (line number, reason) of torn or foreign lines, which are left as they are.
    """

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    orphans: dict[str, dict[str, Any]] = field(default_factory=dict)
    bad_lines: list[tuple[int, str]] = field(default_factory=list)


def read_ledger(path: Path) -> LedgerState:
    """Read a ledger that may be missing, torn at its end, or hold foreign lines.

    Raises:
        SweepError: the file cannot be opened.
    """
    state = LedgerState()
    if not path.exists():
        return state
    try:
        for line in read_jsonl(path):
            record = line.record
            if record is None or record.get("type") not in _KINDS or "fingerprint" not in record:
                state.bad_lines.append((line.number, line.reason or "foreign"))
            elif record["type"] == "intent":
                state.orphans[str(record.get("intent_id"))] = record
            else:
                state.orphans.pop(str(record.get("intent_id")), None)
                if record["type"] == "result":
                    state.results.setdefault(record["fingerprint"], record)
    except OSError as error:
        raise SweepError(f"the ledger {path} cannot be read: {error.strerror}") from error
    return state


class Ledger:
    """A ledger open for one sweep; a second sweep on the same file is refused while it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = LedgerState()
        self._writer = JsonlWriter(path)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Ledger]:
        """Hold the ledger's lock and read what it has.

        Raises:
            SweepError: another sweep holds it, or it cannot be read.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SweepError(
                    f"another sweep is writing to {self.path}; wait for it, or use another ledger"
                ) from error
            self.state = read_ledger(self.path)
            yield self
        finally:
            self._writer.close()
            os.close(lock)

    def intent(self, mark: Mapping[str, Any]) -> None:
        """Say that a call is about to be sent. `mark` names intent_id, fingerprint, cell and run_id."""
        self._append({"type": "intent", **mark})

    def result(self, mark: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Record how a call ended; it is never made again."""
        line = self._append({"type": "result", **mark, **facts})
        self.state.results.setdefault(line["fingerprint"], line)

    def pending(self, mark: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        """Record a call that ended for our own reasons; it will be made again."""
        self._append({"type": "pending", **mark, **facts})

    def _append(self, line: Mapping[str, Any]) -> dict[str, Any]:
        record = {"schema": 1, "timestamp": utc_now(), **line}
        try:
            self._writer.append(record)
        except OSError as error:
            raise SweepError(
                f"the ledger {self.path} cannot be written: {error.strerror}; nothing more is sent"
            ) from error
        return record
