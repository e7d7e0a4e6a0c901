"""Read a block of a telemetry log line by line: which lines are calls, and why each other one is none.

What a line means as a call is said once, in sql/loading/calls.sql, for these blocks and for those that are
taken whole. Here is found out which lines are calls. Every column that is no text is read as JSON and then
cast, which gives what DuckDB's reader makes of a typed column, and null where that reader refuses the line.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmbench.analytics.ingest import (
    NOT_A_ROW,
    SQL_DIR,
    Lines,
    Rejected,
    Taken,
    find_lines,
    literal_glob,
    longest_object,
    mended_text,
    reread,
)

if TYPE_CHECKING:
    import duckdb

#: Puts the sound lines among `spelled_calls` into the store; the caller commits them with all else.
INSERT_SOUND: Final = """
insert into loaded_calls by name
select c.* exclude (n, fault) from spelled_calls as c join verdicts as v using (n) where v.reason is null
"""
#: The types that a line is read with.
LINE_COLUMNS: Final = "select column_name, column_type from (describe telemetry_line)"
#: In `usage` each field must be of its type, too.
_USAGE_FIELDS: Final = "select column_name from (describe (select usage.* from telemetry_line))"
#: A value of another type in `media` is left out, and so is a `media` that is no object.
_LEFT_OUT: Final = ("media",)
_TEXT: Final = "VARCHAR"
#: One row a line that is not blank, in the order of the file, and all null where the line is no object.
_READ: Final = """
select *, row_number() over () as place from read_json(
    $path, format = 'newline_delimited', columns = $columns, ignore_errors = true,
    compression = 'none', maximum_object_size = $longest)
"""
_SPELL: Final = "insert into spelled_calls by name "
_NO_ROWS: Final = "select n from spelled_calls where fault = 'not_a_row' order by n"
_TAKE_OUT: Final = "delete from spelled_calls where n in (select unnest($numbers::bigint[]))"
_BAD: Final = "select n, reason from verdicts where reason is not null order by n"


def calls_sql(typed_lines: str) -> str:
    """The SELECT of the calls that lines are; `typed_lines` selects those lines, with `n` and `fault`."""
    return f"with typed_lines as ({typed_lines}) select * from ({_text('loading/calls')})"  # noqa: S608 - our own


def judge_lines(
    con: duckdb.DuckDBPyConnection, path: Path, facts: Mapping[str, object], *, begins_log: bool = False
) -> Taken:
    """Read a file line by line into `spelled_calls`, and return where the lines are that are no calls.

    `verdicts` then tells the sound ones, for INSERT_SOUND. `facts` are file_no and block_no; a byte order
    mark may stand before the first line where it `begins_log`.

    Raises:
        WarehouseError: the file cannot be read.
    """
    lines = find_lines(path)
    con.execute("truncate spelled_calls")
    rejected = _spell_lines(con, path, lines, facts, begins_log=begins_log) if len(lines.filled) else []
    con.execute("create or replace temp table verdicts as " + _text("checks/telemetry"))
    for n, reason in con.execute(_BAD).fetchall():
        index = int(lines.filled[n])
        found = reread(lines, index, reason, begins_file=begins_log)
        # A mended line that is no row either is an object with none of the keys of a line.
        rejected.append(Rejected(index, found if isinstance(found, str) else "missing_required"))
    return Taken(lines, rejected)


def _spell_lines(
    con: duckdb.DuckDBPyConnection, path: Path, lines: Lines, facts: Mapping[str, object], *, begins_log: bool
) -> list[Rejected]:
    """Fill `spelled_calls`, whose `n` counts lines that are not blank; return the lines that are no objects.

    A line that Python reads and DuckDB does not is mended (ingest.py) and read again in its place, before any
    line is judged: which of two lines came first must not depend on it.
    """
    every = range(len(lines.filled))
    is_read = _spell(con, path, lines.longest, facts) == len(every)
    odd = [int(n) for (n,) in con.execute(_NO_ROWS).fetchall()] if is_read else list(every)
    con.execute(_TAKE_OUT, {"numbers": odd})
    rejected, mended = list[Rejected](), dict[int, bytes]()
    for n in odd:
        index = int(lines.filled[n])
        found = reread(lines, index, NOT_A_ROW, begins_file=begins_log)
        text = mended_text(found) if isinstance(found, dict) else None
        if text is not None:
            mended[n] = text
        else:
            rejected.append(Rejected(index, found if isinstance(found, str) else "non_finite_or_negative"))
    if not _spell_mended(con, mended, facts):
        con.execute(_TAKE_OUT, {"numbers": odd})
        rejected += [Rejected(int(lines.filled[n]), "missing_required") for n in mended]
    return rejected


def _spell_mended(
    con: duckdb.DuckDBPyConnection, mended: Mapping[int, bytes], facts: Mapping[str, object]
) -> bool:
    """Put mended lines into `spelled_calls` by their numbers; False where DuckDB does not read them all."""
    if not mended:
        return True
    with tempfile.TemporaryDirectory(prefix="llmbench-") as folder:
        source = Path(folder) / "mended.jsonl"
        source.write_bytes(b"".join(text + b"\n" for text in mended.values()))
        return _spell(con, source, max(map(len, mended.values())), facts, list(mended)) == len(mended)


def _spell(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    longest: int,
    facts: Mapping[str, object],
    numbers: Sequence[int] | None = None,
) -> int:
    """Put a file's lines into `spelled_calls`, as the `numbers` or counted from 0; returns how many they are.

    It is 0 where one of them keeps DuckDB from reading the others.
    """
    import duckdb

    columns = dict(con.execute(LINE_COLUMNS).fetchall())
    as_json = {name: type_ if type_ == _TEXT else "JSON" for name, type_ in columns.items()}
    wanted = {"path": literal_glob(path), "columns": as_json, "longest": longest_object(longest)}
    usage = [field for (field,) in con.execute(_USAGE_FIELDS).fetchall()]
    facts = {**facts, **wanted, "numbers": numbers}
    try:
        found = con.execute(_SPELL + calls_sql(_typed_sql(columns, usage)), facts).fetchall()
    except duckdb.InvalidInputException:
        return 0
    return int(found[0][0])


def _typed_sql(columns: Mapping[str, str], usage: Iterable[str]) -> str:
    cast_lines = _cast_sql(columns, usage)
    return f"with cast_lines as ({cast_lines}) select * from ({_text('loading/typed_lines')})"  # noqa: S608


def _cast_sql(columns: Mapping[str, str], usage: Iterable[str]) -> str:
    """The SELECT that casts what was read to the columns' types, and tells lines in which that loses a value.

    A value that is no object becomes a struct of nulls and not null, so that objects are told by their JSON.
    """
    typed = {name: type_ for name, type_ in columns.items() if type_ != _TEXT}
    casts = [f'try_cast("{name}" as {type_}) as "typed {name}"' for name, type_ in typed.items()]
    casts.append(f"try_cast(usage as struct({', '.join(f'{field} json' for field in usage)})) as given")
    lost = [
        f"json_type(\"{name}\") <> 'OBJECT'"
        if type_.startswith("STRUCT") and not type_.endswith("[]")
        else f'"{name}" is not null and "typed {name}" is null'
        for name, type_ in typed.items()
        if name not in _LEFT_OUT
    ]
    lost += [f'given.{field} is not null and "typed usage".{field} is null' for field in usage]
    is_lost = " or ".join(f"coalesce({each}, false)" for each in lost)
    return f"""
        select coalesce(($numbers::bigint[])[place], place - 1) as n, {is_lost} as is_mismatch,
            * exclude ({", ".join(f'"typed {name}"' for name in typed)}, given, place)
            replace ({", ".join(f'"typed {name}" as "{name}"' for name in typed)})
        from (select *, {", ".join(casts)} from ({_READ}))"""  # noqa: S608 - our own names


def _text(name: str) -> str:
    return (SQL_DIR / f"{name}.sql").read_text(encoding="utf-8")
