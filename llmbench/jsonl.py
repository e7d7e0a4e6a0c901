"""JSONL that is never torn: many processes append whole lines to one file, and all of it is read back.

Every JSONL line of llmbench goes through `JsonlWriter`: telemetry, recordings and the sweep's ledger alike.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from llmbench.bounded import MAX_LINE_BYTES
from llmbench.structuring import loads_strictly

#: Seconds between two tries for the file's lock: the first, and the longest.
_FIRST_PAUSE_S: Final = 0.0002
_LONGEST_PAUSE_S: Final = 0.002
#: Seconds until a rotation that failed is tried again: each try costs a look at the folder.
_ROTATION_PAUSE_S: Final = 1.0
#: How much is kept of a line that is too long, and read at once of the rest of it, in bytes.
_KEPT_OF_LONG: Final = 4096
_PIECE_BYTES: Final = 1 << 20
#: What a part's name has behind the log's name: the time in UTC, a number, and how it was compressed since.
_PART: Final = re.compile(r"\.([0-9]{8}T[0-9]{6}Z)-([1-9][0-9]{0,8})(\.gz|\.zst)?")
#: Held while a forked child leaves its parent's file and lock.
_AFTER_FORK: Final = threading.Lock()

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

    `rotate_bytes` is the size that a file is not to pass; None never rotates. A record that would take the
    file beyond it goes into a new file, and the old one becomes a part: `rotated_parts` says how parts are
    named. Under the lock of the old file it is renamed, so that nobody writes to a part, and every other
    writer notices. A record larger than the limit has a file of its own. Where renaming fails, records go on
    into the same file, `rotation_error` says why, and it is tried again every second.
    """

    def __init__(
        self, path: str | Path, wait_s: float | None = None, *, rotate_bytes: int | None = None
    ) -> None:
        self.path = Path(path)
        self.rotation_error: OSError | None = None
        self._wait_s = wait_s
        self._rotate_bytes = rotate_bytes
        self._rotate_after = 0.0  # on the monotonic clock, in seconds
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
        if self._pid != os.getpid():
            self._leave_parents_file()
        with self._thread_lock:
            fd, end = self._locked()
            if self._rotate_bytes is not None:
                fd, end = self._with_room(len(data), fd, end)
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
            except OSError:  # the folder cannot be looked into any more: nobody shall wait for this lock
                self._leave_file()
                raise
            self._leave_file()

    def _with_room(self, size: int, fd: int, end: int) -> tuple[int, int]:
        """The open and locked file and its size, after a file that has no room became a part."""
        limit = self._rotate_bytes
        while limit is not None and end and end + size > limit and time.monotonic() >= self._rotate_after:
            try:
                _make_part(self.path)
                self.rotation_error = None
            except FileNotFoundError:
                pass  # removed since it was looked at: the next file is empty
            except OSError as error:
                self.rotation_error, self._rotate_after = error, time.monotonic() + _ROTATION_PAUSE_S
                break
            self._leave_file()
            fd, end = self._locked()  # by now another writer may have filled this one too
        return fd, end

    def _leave_file(self) -> None:
        """Close the file, which ends its lock too."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _leave_parents_file(self) -> None:
        """A forked child shares its parent's locks: it needs a file and a thread lock of its own."""
        with _AFTER_FORK:
            if self._pid != os.getpid():
                self._leave_file()
                self._thread_lock, self._pid = threading.Lock(), os.getpid()

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
        if self._pid != os.getpid():
            self._leave_parents_file()
        with self._thread_lock:
            self._leave_file()

    def __del__(self) -> None:
        if getattr(self, "_fd", None) is not None:
            with contextlib.suppress(OSError):
                self.close()


def rotated_parts(path: str | Path) -> list[Path]:
    """The parts that a rotated log left behind, oldest first, without the file that is written to.

    A part is named `<name>.<time of the rotation, UTC>-<number>`, such as
    `llm_usage.jsonl.20261128T213000Z-1`, and lies beside the log (where that is a symbolic link, beside what
    it leads to). It is never written to, and keeps its name, but that one may compress it: a further `.gz` or
    `.zst` is known. A part that is there in both forms is named once, as it was written.

    A reader that must miss nothing opens the log first, then asks for its parts, and leaves out the part
    that is the file it opened (by `st_dev` and `st_ino`): a rotation may come in between.

    Raises:
        OSError: the folder is there and cannot be listed.
    """
    live = Path(os.path.realpath(path))
    found: dict[tuple[str, int], Path] = {}
    for stamp, number, part in sorted(_named_as_parts(live)):
        if part.is_file():
            found.setdefault((stamp, number), part)
    return list(found.values())


def _named_as_parts(live: Path) -> Iterator[tuple[str, int, Path]]:
    """Time, number and place of everything that is named like a part of the log."""
    with contextlib.suppress(FileNotFoundError), os.scandir(live.parent) as entries:
        for entry in entries:
            match = _PART.fullmatch(entry.name.removeprefix(live.name))
            if match and entry.name.startswith(live.name):
                yield match[1], int(match[2]), live.parent / entry.name


def _make_part(path: Path) -> None:
    """Rename the file at the path, whose lock is held, to the name of its next part.

    Only the holder of that lock renames, so the name is still free when it is taken. It sorts behind all
    parts that are there, also where the clock was set back.
    """
    live = Path(os.path.realpath(path))
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    last, number = max((named[:2] for named in _named_as_parts(live)), default=("", 0))
    stamp, number = (now, 1) if now > last else (last, number + 1)
    live.rename(live.with_name(f"{live.name}.{stamp}-{number}"))


@dataclass(frozen=True, slots=True)
class JsonlLine:
    """One line as read: its record, or the reason why it is none. `number` is 1-based, `offset` in bytes.

    `raw` are the line's bytes, `end` the offset behind them; of a line over MAX_LINE_BYTES, whose reason is
    `too_long`, only the first bytes are kept.
    """

    number: int
    offset: int
    raw: bytes
    record: dict[str, Any] | None
    reason: str | None
    end: int


def read_jsonl(path: str | Path) -> Iterator[JsonlLine]:
    """Every line of a file that is not blank, torn and foreign ones included with their reason.

    Raises:
        OSError: the file cannot be opened.
    """
    offset = number = 0
    with Path(path).open("rb", buffering=_PIECE_BYTES) as file:
        while raw := file.readline(MAX_LINE_BYTES):
            number, start, offset = number + 1, offset, offset + len(raw)
            if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
                offset += _pass_over(file)
                yield JsonlLine(number, start, raw[:_KEPT_OF_LONG], None, "too_long", offset)
            elif raw.strip():
                record, reason = _parse_line(raw)
                yield JsonlLine(number, start, raw, record, reason, offset)


def _pass_over(file: BinaryIO) -> int:
    """Read on to the end of a line without keeping it; returns the number of bytes."""
    size = 0
    while piece := file.readline(_PIECE_BYTES):
        size += len(piece)
        if piece.endswith(b"\n"):
            break
    return size


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

    Returns:
        The line, or what MAX_LINE_BYTES hold of it.
    """
    size, raw = 4096, b""
    while b"\n" not in raw and len(raw) < MAX_LINE_BYTES:
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
