"""Rows of an exported log, one after another: JSON lines, JSON arrays and pages, CSV, each plain or gzipped.

Memory holds one row (and one page, where a page is one line), never the file.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from llmbench.bounded import MAX_LINE_BYTES
from llmbench.errors import DatasetError

_CHUNK: Final = 1 << 16
#: Python's own limit is 128 KiB a field; a prompt in an export is longer.
_LONGEST_FIELD: Final = 1 << 26
#: The key of a page that holds its rows.
_PAGE: Final = "data"
_BLANK: Final = " \t\r\n,\x1e"
#: Bytes that are never the first of a character in UTF-8.
_WITHIN_CHARACTER: Final = bytes(range(0x80, 0xC0))
#: Lines, and characters of each, among which a whole object is looked for below a torn first line.
_FIRST_LINES: Final = 5
_LONGEST_LINE: Final = MAX_LINE_BYTES


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source. `number`: its line (JSON lines, CSV) or its place in the array, from 1."""

    number: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that cannot be read. `is_last`: nothing after it could be read either."""

    number: int
    reason: str
    is_last: bool = False


def read_rows(path: Path) -> Iterator[Row | Broken]:
    """The rows of a file, whose form is found by its first character and lines.

    Raises:
        DatasetError: the file cannot be read, is neither UTF-8 nor marked UTF-16, or is CSV without a header.
    """
    try:
        with _opened(path) as file:
            start = file.tell()
            first = _first_character(file)
            file.seek(start)
            if first and _is_lines(file):
                yield from _lines(file)
            elif first in ("[", "{"):
                yield from _values(file)
            elif first:
                yield from _table(path, file)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 (byte {error.start} of a block); save it as UTF-8") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DatasetError(f"{path}: the gzip file is cut off or damaged; fetch it again") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"{path}: cannot be read ({reason}); name a file that is there") from error


def _opened(path: Path) -> TextIO:
    """The file as text, unpacked where it is gzipped, whatever it is called.

    What is left of a character that a file begins within, up to three bytes, is passed over.
    """
    with path.open("rb") as file:
        head = file.read(4)
    is_packed = head.startswith(b"\x1f\x8b")
    if is_packed:
        with gzip.open(path, "rb") as packed:
            head = packed.read(4)
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    raw = gzip.GzipFile(path) if is_packed else path.open("rb")
    raw.seek(min(len(head) - len(head.lstrip(_WITHIN_CHARACTER)), 3))
    return io.TextIOWrapper(raw, encoding=encoding, newline="")


def _first_character(file: TextIO) -> str:
    while chunk := file.read(_CHUNK):
        if found := chunk.lstrip():
            return found[0]
    return ""


def _is_lines(file: TextIO) -> bool:
    """Whether these are JSON lines. The file stands at its beginning before and after.

    They are where the first line is a whole object. A file that was cut off another one may begin within a
    line: then a whole object in one of the next lines says so, unless that is within the value that the first
    line begins with.
    """
    start = file.tell()
    first = next(line for line in iter(lambda: file.readline(_LONGEST_LINE), "") if line.strip())
    is_whole = isinstance(_parsed(first), dict)
    below = [] if is_whole else [file.readline(_LONGEST_LINE) for _ in range(_FIRST_LINES - 1)]
    file.seek(start)
    if is_whole:
        return True
    has_object = any(_has_content(_parsed(line)) for line in below)
    return has_object and not _begins_values(first + "".join(below))


def _has_content(value: Any) -> bool:
    """Whether it is an object with keys; in CSV a cell of several lines may hold the line `{}`."""
    return isinstance(value, dict) and bool(value)


def _begins_values(text: str) -> bool:
    """Whether the text begins with objects or arrays, the last of them perhaps without its end."""
    decode, at = json.JSONDecoder().raw_decode, 0
    while True:
        while text.startswith((" ", "\t", "\r", ","), at):
            at += 1
        if at == len(text) or text[at] == "\n":
            return True
        if text[at] not in ("{", "["):
            return False
        try:
            _, at = decode(text, at)
        except json.JSONDecodeError as error:  # arrays are read on where a comma is missing
            return text[at] == "[" or not text[error.pos :].strip()
        except (ValueError, RecursionError):
            return True


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _row(number: int, value: Any) -> Row | Broken:
    return Row(number, value) if isinstance(value, dict) else Broken(number, "not a JSON object")


# ---- JSON lines ----------------------------------------------------------------------------------------


def _lines(file: TextIO) -> Iterator[Row | Broken]:
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE and not line.endswith("\n"):
            _pass_over(file)
            yield Broken(number, f"a line over {_LONGEST_LINE // 2**20} MiB")
            continue
        if not line.strip():
            continue
        value = _parsed(line)
        rows = value.get(_PAGE) if isinstance(value, dict) else None
        if isinstance(rows, list):
            yield from (_row(number, row) for row in rows)
        else:
            yield _row(number, value)


def _pass_over(file: TextIO) -> None:
    """Read on to the end of a line."""
    while piece := file.readline(_CHUNK):
        if piece.endswith("\n"):
            return


# ---- JSON over many lines ------------------------------------------------------------------------------


class _Incomplete(ValueError):
    """The text ends, or is broken, within a value."""


class _Reader:
    """JSON values out of a text that is read piece by piece."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._size = _CHUNK
        self._decode = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is neither blank nor a comma; nothing at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            self._text, self._at = self._file.read(_CHUNK), 0
            if not self._text:
                return ""

    def skip(self, expected: str) -> None:
        """Go past one character.

        Raises:
            _Incomplete: another one stands there.
        """
        if self.peek() != expected:
            raise _Incomplete
        self._at += 1

    def value(self) -> Any:
        """The next whole value. A piece that ends within one is followed by a larger one: linear in its size.

        Raises:
            _Incomplete: the file ends within it, or it is no JSON.
        """
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except RecursionError:
                raise _Incomplete from None
            except ValueError:
                value, end = None, len(self._text)
            if end < len(self._text):  # a number that touches the end of a piece may go on
                self._at, self._size = end, _CHUNK
                return value
            if len(self._text) - self._at > _LONGEST_LINE:
                raise _Incomplete
            more = self._file.read(self._size)
            if not more:
                return self._tail()
            self._text, self._at, self._size = self._text[self._at :] + more, 0, self._size * 2

    def _tail(self) -> Any:
        try:
            value, self._at = self._decode(self._text, self._at)
        except (ValueError, RecursionError):
            raise _Incomplete from None
        return value


def _values(file: TextIO) -> Iterator[Row | Broken]:
    """The rows of arrays, pages and objects that stand one after another."""
    reader, number = _Reader(file), 0
    try:
        while first := reader.peek():
            found = _array(reader) if first == "[" else _object(reader)
            for row in found:
                number += 1
                yield _row(number, row)
    except _Incomplete:
        yield Broken(number + 1, "not JSON from here on; the rest of the file is not read", is_last=True)


def _array(reader: _Reader) -> Iterator[Any]:
    reader.skip("[")
    while reader.peek() != "]":
        yield reader.value()
    reader.skip("]")


def _object(reader: _Reader) -> Iterator[Any]:
    """The rows of a page, or the object itself where it is none."""
    reader.skip("{")
    own: dict[str, Any] = {}
    is_page = False
    while reader.peek() != "}":
        key = reader.value() if reader.peek() == '"' else None
        if key is None:
            raise _Incomplete
        reader.skip(":")
        if key == _PAGE and reader.peek() == "[":
            is_page = True
            yield from _array(reader)
        else:
            own[key] = reader.value()
    reader.skip("}")
    if not is_page:
        yield own


# ---- CSV -----------------------------------------------------------------------------------------------


def _table(path: Path, file: TextIO) -> Iterator[Row | Broken]:
    """The rows below a header; the delimiter is the one that the header has most of."""
    top = file.tell()
    head = file.readline()
    file.seek(top)
    limit = csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(file, delimiter=max(",\t;", key=head.count), strict=True)
    start = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        start = reader.line_num + 1
        for cells in reader:
            line, start = start, reader.line_num + 1
            if len(cells) == len(header):
                yield Row(line, dict(zip(header, cells, strict=True)))
            elif cells:
                yield Broken(line, "another number of cells than the header")
    except csv.Error:
        yield Broken(start, "not CSV from here on (quotes); the rest of the file is not read", is_last=True)
    finally:
        csv.field_size_limit(limit)


def _check_header(path: Path, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if len(header) < 2:
        raise DatasetError(f"{path}:1: neither JSON nor CSV with a header; name an export of rows")
    if twice:
        raise DatasetError(f"{path}:1: the column {twice[0]!r} is there twice; rename one")
