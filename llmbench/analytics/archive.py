"""Move telemetry out of a store into Parquet files, a folder a day, without losing or doubling a call.

A day is written to a file whose name is noted in the store first; then its calls leave the store. Killed in
between, the next run writes the same file again, so that a call is in the store or in the archive.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmbench.errors import WarehouseError

if TYPE_CHECKING:
    import duckdb

_NEWEST: Final = "select max(called_at)::date from loaded_calls"
_DAYS: Final = """
select distinct called_at::date as day from loaded_calls where called_at < $before::timestamp order by day
"""
_BEGUN: Final = "select day, file from archiving order by day"
_NOTE: Final = "insert into archiving values ($day, $file)"
_COPY: Final = """
copy (
    select * from loaded_calls
    where called_at >= $day::timestamp and called_at < $day::timestamp + interval 1 day
    order by called_at, call_id
) to $file (format parquet, compression zstd)
"""
_LEAVE: Final = """
delete from loaded_calls where called_at >= $day::timestamp and called_at < $day::timestamp + interval 1 day
"""
_DONE: Final = "delete from archiving where day = $day"


@dataclass(frozen=True, slots=True)
class Archived:
    """What was moved: the days, and how many calls."""

    days: int
    calls: int


def archive_days(con: duckdb.DuckDBPyConnection, folder: Path, keep_days: int) -> Archived:
    """Move the days before the newest `keep_days` (UTC) of an open store to folder/day=YYYY-MM-DD/*.parquet.

    Raises:
        WarehouseError: `keep_days` is below 1, or the folder cannot be written to.
    """
    if keep_days < 1:
        raise WarehouseError(
            f"keep_days is {keep_days}: keep 1 day or more; the newest is still being written"
        )
    moved = [_move(con, folder, day, name) for day, name in con.execute(_BEGUN).fetchall()]
    newest = con.execute(_NEWEST).fetchall()[0][0]
    if newest is not None:
        before = newest - timedelta(days=keep_days - 1)
        for (day,) in con.execute(_DAYS, {"before": before}).fetchall():
            name = _free_name(folder, day)
            con.execute(_NOTE, {"day": day, "file": name})
            moved.append(_move(con, folder, day, name))
    return Archived(len(moved), sum(moved))


def _free_name(folder: Path, day: date) -> str:
    """A name for a file of this day: calls that were loaded late have one of their own."""
    taken = {path.name for path in (folder / f"day={day}").glob("*.parquet")}
    return next(name for at in range(len(taken) + 1) if (name := f"calls-{at}.parquet") not in taken)


def _move(con: duckdb.DuckDBPyConnection, folder: Path, day: date, name: str) -> int:
    """Write a day's calls to its file, whole or not at all, and take them out of the store."""
    part = folder / f"day={day}" / name
    draft = part.with_suffix(".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        found = con.execute(_COPY, {"day": day, "file": str(draft)}).fetchall()
        draft.replace(part)
        _sync(part.parent)
    except OSError as error:
        raise WarehouseError(
            f"{part}: {error.strerror or 'cannot be written'}; give a folder to write to"
        ) from error
    con.execute("begin")
    con.execute(_LEAVE, {"day": day})
    con.execute(_DONE, {"day": day})
    con.execute("commit")
    return int(found[0][0])


def _sync(folder: Path) -> None:
    """Make a rename last: the calls leave the store only after it."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
