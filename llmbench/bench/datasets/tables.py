"""CSV, JSONL and Parquet as records: each with its line, or the reason why a line is none."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmbench.bounded import read_bytes
from llmbench.errors import DatasetError
from llmbench.jsonl import read_jsonl
from llmbench.structuring import loads_strictly

#: Python's own limit is 128 KiB a field; a document in a prompt is longer.
_LONGEST_FIELD: Final = 1 << 26
_BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Record:
    """One line (CSV, JSONL) or row (Parquet), counted from 1 as an editor does, by column."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that became no row, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class CsvText:
    """A CSV file's text, what it was decoded by, and what separates its fields."""

    text: str
    encoding: str
    delimiter: str


def read_json_records(path: Path) -> Iterator[Record | Skipped]:
    """The objects of a JSONL file.

    Raises:
        DatasetError: the file cannot be read.
    """
    try:
        for line in read_jsonl(path):
            record = _unmarked(line.raw) if line.offset == 0 and line.record is None else line.record
            if record is None:
                yield Skipped(line.number, f"not a JSON object ({line.reason})")
            else:
                yield Record(line.number, record)
    except OSError as error:
        raise unreadable(path, error) from error


def _unmarked(raw: bytes) -> dict[str, Any] | None:
    """The object of a line that begins with UTF-8's mark, as some editors write it; None without one."""
    try:
        value = loads_strictly(raw.removeprefix(codecs.BOM_UTF8).decode())
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def decode_csv(path: Path, encoding: str | None = None) -> CsvText:
    """The text of a CSV file: UTF-8 with or without a mark, UTF-16 with one, else Shift_JIS (cp932).

    Args:
        path: the file.
        encoding: what it is in; found out where it is None.

    Raises:
        DatasetError: the file cannot be read, or is in none of these.
    """
    try:
        raw = read_bytes(path)
    except OSError as error:
        raise unreadable(path, error) from error
    marked = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    for name in (encoding,) if encoding else (marked, "cp932"):
        try:
            text = raw.decode(name)
        except LookupError as error:
            raise DatasetError(f"{path}: no encoding is called {name!r}; try utf-8 or cp932") from error
        except UnicodeDecodeError:
            continue
        head = text.partition("\n")[0]
        delimiter = max(",\t;", key=head.count)
        return CsvText(text, name, delimiter)
    tried = encoding or "UTF-8, nor Shift_JIS (cp932)"
    raise DatasetError(f"{path}: not {tried}; name its --encoding, or save it as UTF-8")


def read_csv_records(path: Path, source: CsvText) -> Iterator[Record | Skipped]:
    """The rows of a CSV file below its header; every value stays the text that it is (`007`).

    Raises:
        DatasetError: no header, a column named twice, or quotes that do not close.
    """
    limit = csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(io.StringIO(source.text, newline=""), delimiter=source.delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        start = reader.line_num + 1
        for fields in reader:
            line, start = start, reader.line_num + 1
            if len(fields) == len(header):
                yield Record(line, dict(zip(header, fields, strict=True)))
            elif fields:
                yield Skipped(line, f"{len(fields)} fields under a header of {len(header)}")
    except csv.Error as error:
        raise DatasetError(f"{path}:{reader.line_num}: not CSV ({error}); correct the quotes") from error
    finally:
        csv.field_size_limit(limit)


def _check_header(path: Path, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if not any(header):
        raise DatasetError(f"{path}:1: no header; name the columns in the first line")
    if twice:
        raise DatasetError(f"{path}:1: the column `{twice[0]}` is there twice; rename one")


def read_parquet_records(path: Path) -> Iterator[Record | Skipped]:
    """The rows of a Parquet file; the line is the row's number.

    Raises:
        DatasetError: the file is not Parquet or cannot be read.
    """
    import duckdb

    try:
        with duckdb.connect(":memory:") as connection:
            result = connection.execute("select * from read_parquet($path)", {"path": str(path)})
            columns = [str(column[0]) for column in result.description or ()]
            number = 0
            while rows := result.fetchmany(_BATCH):
                for row in rows:
                    number += 1
                    yield Record(number, dict(zip(columns, map(_plain, row), strict=True)))
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise DatasetError(f"{path}: not a Parquet file that can be read ({reason}); name another") from error


def _plain(value: Any) -> Any:
    """A value as JSON has it: what is no JSON (dates, decimals, bytes) as its text."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else str(value)


def unreadable(path: Path, error: OSError) -> DatasetError:
    """What to say of a file that cannot be opened."""
    return DatasetError(f"{path}: cannot be read ({error.strerror}); name a file that is there")
