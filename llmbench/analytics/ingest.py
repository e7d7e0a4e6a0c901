"""Load JSON lines into the warehouse's raw tables, and keep apart every line that is not what it should be.

DuckDB reads a file at full speed with explicit text columns and without stopping at bad lines; a check in
sql/checks/ then names what is wrong with a row. Only the named lines are looked at again, by their bytes, to
say why and to keep their text. The invariant, for each file: good + quarantined + blank = lines.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from llmbench.bounded import MAX_LINE_BYTES
from llmbench.errors import WarehouseError

if TYPE_CHECKING:
    import duckdb
    import numpy.typing as npt

Kind = Literal["results", "ledger", "judgements", "labels"]
SQL_DIR: Final = Path(__file__).parent / "sql"
_CHUNK: Final = 1 << 24
#: So much of a line that is no row is kept beside the reason; the whole of it is in the file.
_KEPT_BYTES: Final = 1 << 20
_SMALLEST_OBJECT_LIMIT: Final = 1 << 24  # DuckDB's own default for the longest JSON value, in bytes
_READ: Final = """
create or replace temp table incoming as
select * from read_json(
    $path, format = 'newline_delimited', columns = $columns, ignore_errors = true,
    compression = 'none', maximum_object_size = $longest)
"""
#: The verdict on a line of which DuckDB made nothing: Python then says why.
NOT_A_ROW: Final = "not_a_row"
_COLUMNS: Final[dict[Kind, str]] = {
    "results": "select column_name, column_type from (describe raw_results)",
    "ledger": "select column_name, column_type from (describe raw_ledger)",
    "judgements": "select column_name, column_type from (describe raw_judgements)",
    "labels": "select column_name, column_type from (describe raw_labels)",
}
#: Columns of these tables that are no keys of a line.
_OUR_COLUMNS: Final = ("file", "line_no")
_INSERT: Final[dict[Kind, str]] = {
    "results": """insert into raw_results by name select $file as file, l.line_no, i.* from incoming as i
        join places as l on l.n = i.rowid join verdicts as v on v.n = i.rowid where v.reason is null""",
    "ledger": """insert into raw_ledger by name select $file as file, l.line_no, i.* from incoming as i
        join places as l on l.n = i.rowid join verdicts as v on v.n = i.rowid where v.reason is null""",
    "judgements": """insert into raw_judgements by name select $file as file, l.line_no, i.*
        from incoming as i join places as l on l.n = i.rowid
        join verdicts as v on v.n = i.rowid where v.reason is null""",
    "labels": """insert into raw_labels by name select $file as file, l.line_no, i.* from incoming as i
        join places as l on l.n = i.rowid join verdicts as v on v.n = i.rowid where v.reason is null""",
}


@dataclass(frozen=True, slots=True)
class Lines:
    """Where the lines of one file lie. `starts`/`ends` are byte offsets of every line, newline excluded."""

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    filled: npt.NDArray[np.int64]  # indices of the lines that are not blank

    def text(self, index: int) -> bytes:
        """The bytes of line `index` (0-based)."""
        return self.data[self.starts[index] : self.ends[index]].tobytes()

    def begin(self, index: int) -> bytes:
        """The bytes of line `index` (0-based), as far as one line may go."""
        end = min(self.ends[index], self.starts[index] + _KEPT_BYTES)
        return self.data[self.starts[index] : end].tobytes()

    @property
    def longest(self) -> int:
        """Bytes of the longest line."""
        return int((self.ends - self.starts).max(initial=0))


@dataclass(frozen=True, slots=True)
class Rejected:
    """One line kept apart: 0-based line index and the reason."""

    index: int
    reason: str


def find_lines(path: Path) -> Lines:
    """Index the lines of a file. A last line without newline counts as a line.

    Raises:
        WarehouseError: the file cannot be read.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else np.empty(0, np.uint8)
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise WarehouseError(f"{path}: {reason}; give an existing JSON lines file") from error
    breaks = [
        np.flatnonzero(data[at : at + _CHUNK] == 10).astype(np.int64) + at
        for at in range(0, len(data), _CHUNK)
    ]
    ends = np.concatenate(breaks) if breaks else np.empty(0, np.int64)
    if len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        ends = np.append(ends, len(data))
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1)) if len(ends) else ends
    certain = np.zeros(len(starts), dtype=bool)
    occupied = ends > starts
    certain[occupied] = data[starts[occupied]] > 32
    for index in np.flatnonzero(occupied & ~certain):
        certain[index] = bool(data[starts[index] : ends[index]].tobytes().strip())
    return Lines(data, starts, ends, np.flatnonzero(certain))


@dataclass(frozen=True, slots=True)
class Taken:
    """The lines of a file, and those of them that are no rows."""

    lines: Lines
    rejected: list[Rejected]


def load_file(con: duckdb.DuckDBPyConnection, kind: Kind, path: Path) -> None:
    """Load one file into raw_<kind>; bad lines go to `quarantine`, the counts to `loads`.

    Raises:
        WarehouseError: the file cannot be read.
    """
    taken = take_file(con, kind, path, {"file": str(path)})
    _record(con, kind, path, taken.lines, taken.rejected)


def take_file(con: duckdb.DuckDBPyConnection, kind: Kind, path: Path, facts: Mapping[str, object]) -> Taken:
    """Insert the sound lines of a file into raw_<kind>, and return where the others are.

    `facts` are the values that the insertion needs.

    Raises:
        WarehouseError: the file cannot be read.
    """
    lines = find_lines(path)
    rejected: list[Rejected] = []
    if len(lines.filled):
        suspects = _load_block(con, kind, path, lines.filled, lines.longest, facts)
        again: list[tuple[int, dict[str, Any]]] = []
        for index, reason in suspects:
            found = reread(lines, index, reason)
            if isinstance(found, dict):
                again.append((index, found))
            else:
                rejected.append(Rejected(index, found))
        rejected += _load_mended(con, kind, again, facts)
    return Taken(lines, rejected)


def _load_block(
    con: duckdb.DuckDBPyConnection,
    kind: Kind,
    source: Path,
    indices: npt.NDArray[np.int64],
    longest: int,
    facts: Mapping[str, object],
) -> list[tuple[int, str]]:
    """Read `source`, whose non-blank lines are lines `indices` of the file; insert the sound ones.

    Returns (line index, reason) of the others. When DuckDB sees another number of rows than there are lines
    (the file is being written to, say), every line is a suspect and is read again one by one.
    """
    import duckdb
    import pandas as pd

    described = con.execute(_COLUMNS[kind]).fetchall()
    columns = {name: type_ for name, type_ in described if name not in _OUR_COLUMNS}
    wanted = {"path": literal_glob(source), "columns": columns, "longest": longest_object(longest)}
    try:
        con.execute(_READ, wanted)
        seen = con.execute("select count(*) from incoming").fetchall()
    except duckdb.Error:
        seen = []
    if seen != [(len(indices),)]:
        return [(int(index), NOT_A_ROW) for index in indices]
    places = pd.DataFrame({"n": np.arange(len(indices)), "line_no": indices + 1})
    con.register("places", places)
    check = (SQL_DIR / "checks" / f"{kind}.sql").read_text(encoding="utf-8")
    con.execute("create or replace temp table verdicts as " + check)
    con.execute(_INSERT[kind], facts)
    bad = con.execute("select n, reason from verdicts where reason is not null order by n, reason").fetchall()
    con.unregister("places")
    return [(int(indices[n]), reason) for n, reason in dict(bad).items()]


def longest_object(longest: int) -> int:
    """DuckDB's limit for the longest JSON value, in bytes, where the longest line has so many."""
    return max(_SMALLEST_OBJECT_LIMIT, 2 * min(longest, MAX_LINE_BYTES))


def reread(lines: Lines, index: int, reason: str, *, begins_file: bool = True) -> str | dict[str, Any]:
    """Why a suspect line is bad, or its object where plain JSON reading finds nothing wrong with it.

    Of a key that stands there twice the first value counts, as in DuckDB. A byte order mark may stand before
    the first line where it `begins_file`.
    """
    if lines.ends[index] - lines.starts[index] > MAX_LINE_BYTES:
        return "too_long"
    raw = lines.text(index)
    encoding = "utf-8-sig" if index == 0 and begins_file else "utf-8"
    try:
        value = json.loads(raw.decode(encoding), object_pairs_hook=_first)
    except UnicodeDecodeError:
        return "not_utf8"
    except (ValueError, RecursionError):
        is_tail = index == len(lines.starts) - 1 and int(lines.ends[index]) == len(lines.data)
        return "torn_tail" if is_tail else "not_json"
    if not isinstance(value, dict):
        return "not_an_object"
    return value if reason == NOT_A_ROW else reason


def _first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    first = dict(reversed(pairs))
    return {key: first[key] for key, _ in pairs}


def mended_text(value: dict[str, Any]) -> bytes | None:
    """An object that Python reads and DuckDB does not, for DuckDB: half of a surrogate pair becomes U+FFFD.

    None where a figure in it is infinite or none.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return None
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _load_mended(
    con: duckdb.DuckDBPyConnection,
    kind: Kind,
    again: Sequence[tuple[int, dict[str, Any]]],
    facts: Mapping[str, object],
) -> Iterator[Rejected]:
    """Load objects that Python reads and DuckDB does not."""
    if not again:
        return
    with tempfile.TemporaryDirectory(prefix="llmbench-") as folder:
        source = Path(folder) / "mended.jsonl"
        kept: list[int] = []
        longest = 0
        with source.open("wb") as out:
            for index, value in again:
                data = mended_text(value)
                if data is None:
                    yield Rejected(index, "non_finite_or_negative")
                    continue
                out.write(data + b"\n")
                longest = max(longest, len(data))
                kept.append(index)
        if kept:
            for index, reason in _load_block(con, kind, source, np.array(kept), longest, facts):
                yield Rejected(index, "missing_required" if reason == NOT_A_ROW else reason)


def _record(
    con: duckdb.DuckDBPyConnection, kind: Kind, path: Path, lines: Lines, rejected: Sequence[Rejected]
) -> None:
    """Write the quarantined lines and the file's counts."""
    for bad in sorted(rejected, key=lambda each: each.index):
        raw = lines.begin(bad.index).decode("utf-8", "replace")
        con.execute(
            "insert into file_quarantine values (?, ?, ?, ?, ?)",
            [str(path), bad.index + 1, int(lines.starts[bad.index]), bad.reason, raw],
        )
    total, filled = len(lines.starts), len(lines.filled)
    con.execute(
        "insert into file_loads values (?, ?, ?, ?, ?, ?)",
        [str(path), kind, total, filled - len(rejected), len(rejected), total - filled],
    )


def literal_glob(path: Path) -> str:
    """Spell a path so that DuckDB takes it as that one file and not as a pattern."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in str(path.absolute()))
