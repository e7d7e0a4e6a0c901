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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmbench.bench.media_store import media_folder
from llmbench.errors import SweepError
from llmbench.jsonl import JsonlWriter, read_jsonl, read_line, read_record
from llmbench.messages import canonical_json
from llmbench.telemetry import utc_now

DEFAULT_LEDGER: Final = Path("workspaces/ledger.jsonl")
_NOWHERE: Final = -1
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


class StoredResults(Mapping[str, dict[str, Any]]):
    """Fingerprint -> result line, read from the ledger when it is asked for.

    Where a line begins is all that is kept of it, so that memory does not grow with the answers of a sweep.
    """

    def __init__(self, path: Path, wanted: Iterable[str] | None = None) -> None:
        """Hold results of the wanted fingerprints, of any if None."""
        self._path = path
        self._is_open = wanted is None
        self._offsets: dict[str, int] = dict.fromkeys(wanted or (), _NOWHERE)
        self._fd: int | None = None

    @property
    def path(self) -> Path:
        """The ledger."""
        return self._path

    @property
    def wanted(self) -> Iterable[str]:
        """The fingerprints that were asked for."""
        return self._offsets.keys()

    def is_wanted(self, fingerprint: str) -> bool:
        """Whether a fingerprint is one of those that were asked for."""
        return self._is_open or fingerprint in self._offsets

    def store(self, fingerprint: str, offset: int) -> None:
        """Note at which byte of the ledger a result line begins."""
        self._offsets[fingerprint] = offset

    def forget(self, fingerprint: str) -> None:
        """Leave a result out; it is still wanted."""
        self._offsets[fingerprint] = _NOWHERE

    def __contains__(self, fingerprint: object) -> bool:
        return self._offsets.get(fingerprint, _NOWHERE) != _NOWHERE  # type: ignore[call-overload, no-any-return]

    def __getitem__(self, fingerprint: str) -> dict[str, Any]:
        offset = self._offsets.get(fingerprint, _NOWHERE)
        if offset == _NOWHERE:
            raise KeyError(fingerprint)
        try:
            record = read_record(self._file(), offset)
        except (OSError, ValueError) as error:
            raise SweepError(f"the ledger {self._path} was changed while it was read: {error}") from error
        if record.get("fingerprint") != fingerprint:
            raise SweepError(f"the ledger {self._path} was changed while it was read, at byte {offset}")
        return record

    def line(self, fingerprint: str) -> str:
        """The result line as it stands in the ledger, with its newline.

        Raises:
            SweepError: the ledger cannot be read.
        """
        try:
            return read_line(self._file(), self._offsets[fingerprint]).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SweepError(f"the ledger {self._path} was changed while it was read: {error}") from error

    def _file(self) -> int:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return self._fd

    def __iter__(self) -> Iterator[str]:
        return (name for name, offset in self._offsets.items() if offset != _NOWHERE)

    def __len__(self) -> int:
        return sum(offset != _NOWHERE for offset in self._offsets.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self) == dict(other)

    __hash__ = None  # type: ignore[assignment]

    def __del__(self) -> None:
        if getattr(self, "_fd", None) is not None:
            with contextlib.suppress(OSError):
                os.close(self._fd)  # type: ignore[arg-type]


@dataclass(slots=True)
class Bill:
    """What one run has spent, as its lines say: USD, worst cases where nobody knows better; calls sent."""

    run_id: str | None = None
    usd: float = 0.0
    calls: int = 0
    open: dict[str, float] = field(default_factory=dict)

    def take(self, record: Mapping[str, Any]) -> None:
        """Take in a line. A call under way when its process was killed counts with its worst case."""
        if self.run_id is None or record.get("run_id") != self.run_id:
            return
        if record["type"] == "intent":
            self.calls += 1
            worst = _usd(record.get("worst_usd"))
            self.open[record["intent_id"]] = worst
            self.usd += worst
            return
        charged = record.get("charged_usd", record.get("cost_usd"))
        self.usd += _usd(charged) - self.open.pop(record["intent_id"], 0.0)


def _usd(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) else 0.0
    except OverflowError:  # a line that was tampered with: no sum of money has 300 digits
        return 0.0


@dataclass(slots=True)
class LedgerState:
    """What a ledger holds of the cells that were asked for.

    Attributes:
        results: fingerprint -> its result line; of one model version the first, of several the last.
        pending: fingerprint -> the last line that says why the cell has no result yet.
        orphans: intent id -> its line, of intents that have neither result nor pending line.
        bad_lines: (line number, reason) of torn or foreign lines, which are left as they are.
        bill: what the run that was named has spent before, cells of other plans included.
    """

    results: StoredResults
    pending: dict[str, dict[str, Any]] = field(default_factory=dict)
    orphans: dict[str, dict[str, Any]] = field(default_factory=dict)
    bad_lines: list[tuple[int, str]] = field(default_factory=list)
    bill: Bill = field(default_factory=Bill, compare=False)

    @property
    def media(self) -> Path:
        """The folder of the pictures and narrations that its results name."""
        return media_folder(self.results.path)

    def take(self, record: dict[str, Any], offset: int) -> None:
        """Take in the line that begins at a byte of the ledger, in the ledger's order."""
        name = record["fingerprint"]
        if not self.results.is_wanted(name):
            return
        if record["type"] == "intent":
            self.orphans[record["intent_id"]] = record
            return
        self.orphans.pop(record["intent_id"], None)
        if record["type"] == "result":
            known = self.results.get(name)
            if known is None or known.get("model_version") != record.get("model_version"):
                self.results.store(name, offset)
            self.pending.pop(name, None)
        elif name not in self.results:
            self.pending[name] = record


def read_ledger(path: Path, wanted: Iterable[str] | None = None, run_id: str | None = None) -> LedgerState:
    """Read a ledger that may be missing, torn at its end, or hold foreign lines.

    Args:
        path: the ledger.
        wanted: the fingerprints to keep; a ledger of many runs need not fit into memory. All if None.
        run_id: the run whose spending is added up, or None.

    Raises:
        SweepError: the file cannot be opened.
    """
    state = LedgerState(StoredResults(path, wanted), bill=Bill(run_id))
    if not path.exists():
        return state
    try:
        for line in read_jsonl(path):
            problem = line.reason if line.record is None else _problem(line.record)
            if line.record is None or problem is not None:
                state.bad_lines.append((line.number, problem or "foreign"))
            else:
                state.bill.take(line.record)
                state.take(line.record, line.offset)
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
        self.state = LedgerState(StoredResults(path, ()))
        self._writer = JsonlWriter(path)

    @contextlib.contextmanager
    def opened(self, wanted: Iterable[str] | None = None, run_id: str | None = None) -> Iterator[Ledger]:
        """Hold the ledger's lock and read what it has of the wanted fingerprints, and what a run has spent.

        Raises:
            SweepError: another sweep holds it, or it cannot be read.
        """
        with self._lock():
            self.state = read_ledger(self.path, wanted, run_id)
            try:
                yield self
            finally:
                self._writer.close()

    def want(self, fingerprints: Iterable[str]) -> None:
        """Read what the ledger has of further fingerprints.

        Raises:
            SweepError: it cannot be read.
        """
        self.state = read_ledger(self.path, {*self.state.results.wanted, *fingerprints})

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
            offset = self._writer.append(record)
        except OSError as error:
            raise SweepError(
                f"the ledger {self.path} cannot be written: {error.strerror}; nothing more is sent"
            ) from error
        self.state.take(record, offset)
