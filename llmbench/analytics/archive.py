"""Move telemetry out of a store into Parquet files, a folder a day, without losing or doubling a call.

A day is written to a file whose folder and name are noted in the store first; then its calls leave the store.
Killed in between, the next run writes the same file again, so that a call is in the store or in the archive.
No two moves share a name, so that one folder may take the calls of several stores.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from llmbench.errors import WarehouseError

if TYPE_CHECKING:
    import duckdb

#: As in warehouse.py: a clock that runs days ahead does not move the newest day, unless all calls have it.
_NEWEST: Final = """
select coalesce(
    max(called_at) filter (where called_at < (now() at time zone 'UTC') + interval 1 day),
    max(called_at))::date
from loaded_calls
"""
_DAYS: Final = """
select distinct called_at::date as day from loaded_calls where called_at < $before::timestamp order by day
"""
_BEGUN: Final = "select coalesce(folder, $folder), day, file from archiving order by day"
_NOTE: Final = "insert into archiving by name select $day as day, $file as file, $folder as folder"
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

    A move that was cut off is finished first, in the folder in which it was begun.

    Raises:
        WarehouseError: `keep_days` is below 1, or a folder cannot be written to.
    """
    if keep_days < 1:
        raise WarehouseError(
            f"keep_days is {keep_days}: keep 1 day or more; the newest is still being written"
        )
    here = folder.absolute()
    begun = con.execute(_BEGUN, {"folder": str(here)}).fetchall()
    moved = [_resume(con, Path(noted), day, name) for noted, day, name in begun]
    newest = con.execute(_NEWEST).fetchall()[0][0]
    if newest is not None:
        before = newest - timedelta(days=keep_days - 1)
        for (day,) in con.execute(_DAYS, {"before": before}).fetchall():
            moved.append(_begin(con, here, day))
    return Archived(len(moved), sum(moved))


def _begin(con: duckdb.DuckDBPyConnection, folder: Path, day: date) -> int:
    """Move a day to a new file. What cannot be written leaves no note: the next run may go elsewhere."""
    part = folder / f"day={day}" / f"{uuid4().hex}.parquet"
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(part.parent, error) from error
    con.execute(_NOTE, {"day": day, "file": part.name, "folder": str(folder)})
    try:
        return _move(con, folder, day, part.name)
    except WarehouseError:
        if not part.exists():
            con.execute(_DONE, {"day": day})
        raise


def _resume(con: duckdb.DuckDBPyConnection, folder: Path, day: date, name: str) -> int:
    """Finish a move that was cut off, where it was begun: the file may be there already."""
    place = folder / f"day={day}"
    if not place.is_dir():
        raise WarehouseError(
            f"{place} is not there, and moving a day to it was cut off; bring it back, or make an empty "
            "folder of this name, and run this again"
        )
    return _move(con, folder, day, name)


def _move(con: duckdb.DuckDBPyConnection, folder: Path, day: date, name: str) -> int:
    """Write a day's calls to its file, whole or not at all, and take them out of the store."""
    import duckdb

    part = folder / f"day={day}" / name
    draft = part.with_suffix(".part")
    try:
        found = con.execute(_COPY, {"day": day, "file": str(draft)}).fetchall()
        _sync(draft)
        part.unlink(missing_ok=True)  # of a run that was cut off; calls may have come since
        _publish(draft, part)
        _sync(part.parent)
    except (OSError, duckdb.IOException) as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise _refused(part.parent, error) from error
    con.execute("begin")
    con.execute(_LEAVE, {"day": day})
    con.execute(_DONE, {"day": day})
    con.execute("commit")
    return int(found[0][0])


def _publish(draft: Path, part: Path) -> None:
    """Give a finished draft its name; a link, unlike a rename, never replaces a file."""
    try:
        os.link(draft, part)
    except OSError:
        if part.exists():
            raise
        draft.rename(part)  # a file system without hard links
        return
    draft.unlink()


def _refused(place: Path, error: Exception) -> WarehouseError:
    reason = error.strerror if isinstance(error, OSError) else None
    said = reason or " ".join(str(error).split())
    return WarehouseError(f"{place}: {said}; its calls are still in the store: make it a folder to write to")


def _sync(path: Path) -> None:
    """Make a file, or the names in a folder, last: the calls leave the store only after it."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
