"""The text of a telemetry log as blocks of whole lines: plain, gzip or Zstandard, while it is written to.

A log is known by its text, not by its name: the hash of its beginning and of the bytes before the place up to
which it was read. So it is the same log after it was renamed, copied or compressed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self

from llmbench.bounded import MAX_LINE_BYTES
from llmbench.errors import WarehouseError

HEAD_BYTES: Final = 4096
_BLOCK_BYTES: Final = 1 << 22
_PIECE_BYTES: Final = 1 << 22
_NEWLINE: Final = 10
#: So many bytes behind a line that had no end yet may be blanks and its end.
_LINE_END_BYTES: Final = 16
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a log was read. `taken_to` and the lengths are bytes of the text, the hashes SHA-256."""

    taken_to: int
    head_bytes: int
    head_sha256: str
    tail_bytes: int
    tail_sha256: str


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a log, copied to a file of their own.

    Attributes:
        path: the copy.
        offset: where the block begins in the log's text, bytes.
        size: its length, bytes.
        newlines: line ends in it; a last line without one has been given one, and counts.
        rest: the bytes behind it that are no whole line yet; the log ends with them.
        broken: why the log could not be read further, None where it was read to its end.
        tail: the last bytes of the text up to the block's end, at most HEAD_BYTES.
        is_long: whether it is one line over MAX_LINE_BYTES; its copy holds the beginning alone.
    """

    path: Path
    offset: int
    size: int
    newlines: int
    rest: bytes
    broken: str | None
    tail: bytes
    is_long: bool = False


class LogText:
    """An open log, read forwards once. Close it, or use it in a `with` statement.

    Raises:
        WarehouseError: the file cannot be opened, or needs a package that is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            raw = path.open("rb")
        except OSError as error:
            reason = error.strerror or "unreadable"
            raise WarehouseError(f"{path}: {reason}; give an existing JSON lines file") from error
        self.state = os.fstat(raw.fileno())
        magic = raw.read(4)
        raw.seek(0)
        self.is_compressed = magic[:2] == _GZIP or magic == _ZSTD
        self._raw = raw
        self._text, self._faults = _opened(raw, magic, path)
        self._at = 0
        self._left = b""
        self._before = b""
        self.broken: str | None = None
        self.head = self._head()
        self._left = self.head

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()
        self._raw.close()

    def begins_as(self, mark: Mark) -> bool:
        """Whether the log begins as the one that was marked."""
        head = self.head[: mark.head_bytes]
        return len(head) == mark.head_bytes and hashlib.sha256(head).hexdigest() == mark.head_sha256

    def skip_to(self, mark: Mark) -> bool:
        """Go to where the marked log was read to; False where the text before that place is another.

        After False the log is at an unknown place and must be opened again.
        """
        before = mark.taken_to - mark.tail_bytes
        if not self.is_compressed:
            self._raw.seek(before)
            self._at, self._left = before, b""
        while self._at < before:
            piece = self._take(min(_PIECE_BYTES, before - self._at))
            if not piece:
                return False
        tail = b""
        while len(tail) < mark.tail_bytes:
            piece = self._take(mark.tail_bytes - len(tail))
            if not piece:
                return False
            tail += piece
        self._before = tail
        if tail and not tail.endswith(b"\n"):
            self._end_line()
        return hashlib.sha256(tail).hexdigest() == mark.tail_sha256

    def _end_line(self) -> None:
        """Go beyond the end of a line that was taken before it had one; other text is a line of its own."""
        piece = b""
        while len(piece) < _LINE_END_BYTES and (more := self._take(_LINE_END_BYTES - len(piece))):
            piece += more
        behind = piece.lstrip(b" \t\r")
        rest = behind[1:] if behind.startswith(b"\n") else piece
        self._left, self._at = rest + self._left, self._at - len(rest)
        # The next mark is of all bytes up to its place, the end of this line among them.
        self._before = (self._before + piece[: len(piece) - len(rest)])[-HEAD_BYTES:]

    def continues(self, other: LogText) -> bool:
        """Whether the other log's whole text is the beginning of this one. Both are read."""
        size = 0
        while piece := other._take(_PIECE_BYTES):
            mine = b""
            while len(mine) < len(piece) and (more := self._take(len(piece) - len(mine))):
                mine += more
            if mine != piece:
                return False
            size += len(piece)
        return size > 0

    def blocks(self, folder: Path, kept: int) -> Iterator[Block]:
        """The rest of the log in blocks, up to the size that the file had when it was opened.

        The last `kept` blocks have their copies in `folder`, which should lie in memory (a tmpfs); an older
        one is overwritten. The last block may be empty.
        """
        buffer, filled, number = bytearray(_BLOCK_BYTES), 0, 0
        while True:
            begin, got = self._at - filled, 1
            while filled < len(buffer) and got:
                got = self._into(memoryview(buffer)[filled:])
                filled += got
            cut = buffer.rfind(b"\n", 0, filled) + 1
            if got and not cut and filled < MAX_LINE_BYTES:  # a line longer than the buffer
                buffer += bytes(min(len(buffer), MAX_LINE_BYTES - len(buffer)))
                continue
            if got and not cut:
                number += 1
                block = self._long_line(folder / f"{number % kept}.jsonl", buffer, begin)
                yield block
                if not block.newlines:
                    return
                filled, buffer = 0, bytearray(_BLOCK_BYTES)
                continue
            is_record = not got and _is_record(buffer[cut:filled])
            size = filled if is_record else cut
            number += 1  # of blocks, not of turns: a copy is overwritten `kept` blocks later
            with _rewritten(folder / f"{number % kept}.jsonl") as out:
                out.write(memoryview(buffer)[:size])
                out.write(b"\n" if is_record else b"")
                out.truncate()
            newlines = _line_ends(buffer, size) + is_record
            self._before = (self._before + buffer[max(size - HEAD_BYTES, 0) : size])[-HEAD_BYTES:]
            rest, broken = (b"", None) if got else (bytes(buffer[size:filled]), self.broken)
            yield Block(Path(out.name), begin, size, newlines, rest, broken, self._before)
            if not got:
                return
            buffer[: filled - size] = buffer[size:filled]
            filled -= size
            del buffer[max(filled, _BLOCK_BYTES) :]

    def _long_line(self, copy: Path, beginning: bytearray, begin: int) -> Block:
        """A block of one line over MAX_LINE_BYTES, of which only the beginning is kept.

        Where the log ends within it, the block is empty and the line its rest: the next load reads it again.
        """
        self._before = bytes(beginning[-HEAD_BYTES:])
        end = -1
        while end < 0 and (piece := self._take(_PIECE_BYTES)):
            end = piece.find(b"\n")
            line = piece if end < 0 else piece[: end + 1]
            self._before = (self._before + line)[-HEAD_BYTES:]
        head = bytes(beginning[:HEAD_BYTES])
        with _rewritten(copy) as out:
            out.write(head + b"\n" if end >= 0 else b"")
            out.truncate()
        if end < 0:
            return Block(copy, begin, 0, 0, head, self.broken, b"", is_long=True)
        self._left, self._at = piece[end + 1 :] + self._left, self._at - len(piece) + end + 1
        return Block(copy, begin, self._at - begin, 1, b"", None, self._before, is_long=True)

    def _into(self, view: memoryview) -> int:
        """Read on into a buffer, a plain file to the size that it had; returns the number of bytes."""
        if self._left or self.is_compressed:
            piece = self._take(min(len(view), _PIECE_BYTES))
            view[: len(piece)] = piece
            return len(piece)
        got = self._raw.readinto(view[: max(self.state.st_size - self._at, 0)])
        self._at += got
        return got

    def _head(self) -> bytes:
        head = b""
        while len(head) < HEAD_BYTES and (piece := self._read(HEAD_BYTES - len(head))):
            head += piece
        return head

    def _take(self, most: int) -> bytes:
        """The next bytes, b"" at the end."""
        if most and self._left:
            piece, self._left = self._left[:most], self._left[most:]
        else:
            piece = self._read(most)
        self._at += len(piece)
        return piece

    def _read(self, most: int) -> bytes:
        if self.broken or not most:
            return b""
        try:
            return self._text.read1(most)
        except self._faults as error:
            if not self.is_compressed:
                reason = getattr(error, "strerror", None) or "unreadable"
                raise WarehouseError(f"{self.path}: {reason}; it was read up to byte {self._at}") from error
            self.broken = " ".join(str(error).split()) or type(error).__name__
            return b""


def mark(text: LogText, taken_to: int, tail: bytes) -> Mark:
    """The mark of a log that was read up to `taken_to`, `tail` being the last bytes before it."""
    head = text.head[: min(HEAD_BYTES, taken_to)]
    return Mark(
        taken_to, len(head), hashlib.sha256(head).hexdigest(), len(tail), hashlib.sha256(tail).hexdigest()
    )


def _line_ends(text: bytearray, size: int) -> int:
    """Line ends in the first bytes of a text, counted at five times Python's speed where NumPy is there."""
    try:
        import numpy as np
    except ModuleNotFoundError:  # an export of spans needs no more than its own extra
        return text.count(b"\n", 0, size)
    return int(np.count_nonzero(np.frombuffer(text, np.uint8, size) == _NEWLINE))


def _rewritten(path: Path) -> IO[bytes]:
    """A file to write anew; its pages in memory are used again, which a new file's are not."""
    return path.open("r+b" if path.exists() else "w+b")


def _opened(
    raw: io.BufferedReader, magic: bytes, path: Path
) -> tuple[io.BufferedReader | gzip.GzipFile, tuple[type[Exception], ...]]:
    """The reader of the text, and what it raises where the file is damaged."""
    if magic[:2] == _GZIP:
        return gzip.GzipFile(fileobj=raw), (EOFError, OSError, zlib.error)
    if magic != _ZSTD:
        return raw, (OSError,)
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise WarehouseError(
            f'{path}: Zstandard needs the package zstandard: pip install "llmbench[lab]"'
        ) from error
    stream = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
    return io.BufferedReader(stream), (OSError, zstandard.ZstdError)


def _is_record(text: bytes | bytearray) -> bool:
    """Whether a last line without its newline is a whole object: nothing can follow but the newline."""
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
