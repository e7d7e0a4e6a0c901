"""JSONL that is never torn: many processes append whole lines to one file, and all of it is read back.

Every JSONL line of llmbench goes through `JsonlWriter`: telemetry, recordings and the sweep's ledger alike.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmbench.structuring import loads_strictly

#: Seconds between two tries for the file's lock: the first, and the longest.
_FIRST_PAUSE_S: Final = 0.0002
_LONGEST_PAUSE_S: Final = 0.002

#: Made once: an encoder a call would cost a tenth of the line.
_AS_LINE: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(", ", ": ")
).encode


class JsonlWriter:
    """Appends whole lines to one file from any number of threads and processes.

    A lock file is not needed: the file itself is locked (flock), a torn tail left by a killed writer
    is closed with a newline before the next record, and a short write (disk full) is taken back.

    `wait_s` limits the wait for a lock that another process holds, in seconds; None waits until it is free.
    After a wait in vain the next records ask for the lock once and do not wait, until one gets it.
    """

    def __init__(self, path: str | Path, wait_s: float | None = None) -> None:
        self.path = Path(path)
        self._wait_s = wait_s
        self._is_held_up = False
        self._name = os.fspath(self.path)
        self._thread_lock = threading.Lock()
        self._fd: int | None = None
        self._identity = (0, 0)  # device and inode of the open file
        self._whole_to = 0  # up to here this writer left whole lines behind
        self._pid = os.getpid()

    def append(self, record: Mapping[str, Any]) -> int:
        """Write one record as one line; returns the byte offset at which the line begins.

        Raises:
            OSError: the file cannot be opened or written, or its lock was not free within `wait_s`
                (TimeoutError); nothing of the record remains in it.
            ValueError: the record holds NaN, infinity or something that is not JSON.
        """
        try:
            line = _AS_LINE(record)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"not a JSON record: {error}") from error
        data = line.encode("utf-8", "backslashreplace") + b"\n"  # a lone surrogate becomes a JSON escape
        with self._thread_lock:
            fd, end = self._locked()
            begin = end
            try:
                if end != self._whole_to and end and os.pread(fd, 1, end - 1) != b"\n":
                    data, begin = b"\n" + data, end + 1
                if os.write(fd, data) != len(data):
                    os.ftruncate(fd, end)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._name)
                self._whole_to = end + len(data)
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)
            return begin

    def _locked(self) -> tuple[int, int]:
        """The open and locked file and its size; opened again when the path was removed or rotated away.

        One look at the path under the lock says both whether it is still this file and where it ends.
        """
        if self._pid != os.getpid():  # a forked child shares the parent's lock: it needs a file of its own
            if self._fd is not None:
                os.close(self._fd)
            self._fd, self._pid = None, os.getpid()
        while True:
            if self._fd is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._fd = os.open(self.path, flags, 0o600)
                opened = os.fstat(self._fd)
                self._identity, self._whole_to = (opened.st_dev, opened.st_ino), 0
            self._lock(self._fd)
            try:
                found = os.stat(self._name)  # noqa: PTH116 -- a Path here costs as much as the system call
                if (found.st_dev, found.st_ino) == self._identity:
                    return self._fd, found.st_size
            except FileNotFoundError:
                pass
            os.close(self._fd)  # ends the lock too
            self._fd = None

    def _lock(self, fd: int) -> None:
        if self._wait_s is None:
            fcntl.flock(fd, fcntl.LOCK_EX)
            return
        pause_s, until = _FIRST_PAUSE_S, None
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = time.monotonic()
                until = now + (0.0 if self._is_held_up else self._wait_s) if until is None else until
                if now >= until:
                    self._is_held_up = True
                    said = "another process holds its lock"
                    raise TimeoutError(errno.ETIMEDOUT, said, self._name) from None
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                self._is_held_up = False
                return

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        with self._thread_lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def __del__(self) -> None:
        if getattr(self, "_fd", None) is not None:
            with contextlib.suppress(OSError):
                self.close()


@dataclass(frozen=True, slots=True)
class JsonlLine:
    """One line as read: its record, or the reason why it is none. `number` is 1-based, `offset` in bytes."""

    number: int
    offset: int
    raw: bytes
    record: dict[str, Any] | None
    reason: str | None


def read_jsonl(path: str | Path) -> Iterator[JsonlLine]:
    """Every line of a file that is not blank, torn and foreign ones included with their reason.

    Raises:
        OSError: the file cannot be opened.
    """
    offset = 0
    with Path(path).open("rb") as file:
        for number, raw in enumerate(file, start=1):
            start, offset = offset, offset + len(raw)
            if not raw.strip():
                continue
            record, reason = _parse_line(raw)
            yield JsonlLine(number, start, raw, record, reason)


def read_record(fd: int, offset: int) -> dict[str, Any]:
    """The record of the line that begins at an offset of an open file.

    Raises:
        OSError: the file cannot be read.
        ValueError: no record begins there; the file was changed.
    """
    record, reason = _parse_line(read_line(fd, offset))
    if record is None:
        raise ValueError(f"no record at byte {offset}: {reason}")
    return record


def read_line(fd: int, offset: int) -> bytes:
    """The bytes of the line that begins at an offset of an open file, with its newline.

    Raises:
        OSError: the file cannot be read.
    """
    size, raw = 4096, b""
    while b"\n" not in raw:
        piece = os.pread(fd, size, offset + len(raw))
        if not piece:
            break
        raw, size = raw + piece, size * 4
    return raw.partition(b"\n")[0] + b"\n"


def _parse_line(raw: bytes) -> tuple[dict[str, Any] | None, str | None]:
    try:
        value = loads_strictly(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return None, "not_utf8"
    except ValueError:
        return None, "torn" if not raw.endswith(b"\n") else "not_json"
    if not isinstance(value, dict):
        return None, "not_object"
    return value, None
