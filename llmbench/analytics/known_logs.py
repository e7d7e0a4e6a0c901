"""Which log is which: the files that a store has read from, and which of them a file on disk continues."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llmbench.analytics.log_text import LogText, Mark
from llmbench.errors import WarehouseError
from llmbench.jsonl import rotated_parts

if TYPE_CHECKING:
    import duckdb

Stat = tuple[int, int, int, int]  # device, inode, size in bytes, mtime in ns
_KNOWN: Final = """
select * from log_files order by file_no
"""
_FILE: Final = """
insert into log_files by name
select
    $file_no as file_no, $file as file, 0 as taken_to, 0 as line_count, 0 as call_count, 0 as blank_count,
    0 as block_count
where $file_no not in (select file_no from log_files)
"""
#: Files of which nothing was taken: an earlier version noted them first, and was then killed.
_FORGET_GHOSTS: Final = "delete from log_files where head_sha256 is null"
_NAME: Final = """
update log_files set file = $file, device = $device, inode = $inode where file_no = $file_no
"""
_FORGET_SEEN: Final = "delete from log_seen where device = $device and inode = $inode"
_SEEN: Final = "insert into log_seen values ($device, $inode, $size, $mtime_ns)"
_ALL_SEEN: Final = "select device, inode, size, mtime_ns from log_seen"
#: A file that had no text yet when it was first seen, and has that of a known log now.
_EMPTY: Final = """
select file_no from log_files
where device = $device and inode = $inode and taken_to = 0 and file_no <> $file_no
"""
_DROP_QUARANTINE: Final = "delete from log_quarantine where file_no = $file_no"
_DROP_FILE: Final = "delete from log_files where file_no = $file_no"


@dataclass(slots=True)
class KnownLog:
    """A log as the store knows it, with its last name and place; `mark` is None before its first block."""

    file_no: int
    path: Path
    inode: tuple[int, int]  # device and inode
    mark: Mark | None
    lines: int
    blocks: int


def find_logs(names: Sequence[str | Path]) -> list[Path]:
    """The log files that names and globs stand for, each once, with the parts that were rotated away.

    Raises:
        WarehouseError: a name is no file, or a glob matches none.
    """
    found: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        # A glob may be absolute, and pathlib takes relative ones only.
        globbed = [] if path.exists() else glob.glob(str(name), recursive=True)  # noqa: PTH207
        matches = [path] if path.exists() else [each for each in map(Path, sorted(globbed)) if each.is_file()]
        parts = rotated_parts(path)
        if not matches and not parts:
            raise WarehouseError(
                f"{name}: no such log; give a file, or a glob in quotes such as 'logs/*.jsonl'"
            )
        for each in matches:
            found |= dict.fromkeys((*rotated_parts(each), each))
        found |= dict.fromkeys(parts)
    return list(found)


def with_late_parts(logs: Sequence[Path]) -> Iterator[Path]:
    """The logs, and then the parts that were rotated away from them since they were found.

    A log that is rotated before its turn is another file by then, and what it was is a part: whatever was
    written before the logs were found is in one of the files.
    """
    yield from logs
    for log in logs:
        yield from (part for part in rotated_parts(log) if part not in logs)


def is_moved(log: Path, error: WarehouseError) -> bool:
    """Whether a log could not be opened since it has a longer name by now: rotated away, or compressed."""
    packed = (log.with_name(log.name + suffix) for suffix in (".gz", ".zst"))
    is_gone = isinstance(error.__cause__, FileNotFoundError)
    return is_gone and (bool(rotated_parts(log)) or any(path.exists() for path in packed))


def stat_of(text: LogText) -> Stat:
    """What tells at a glance that a file has not changed."""
    return text.state.st_dev, text.state.st_ino, text.state.st_size, text.state.st_mtime_ns


def is_seen(con: duckdb.DuckDBPyConnection, text: LogText) -> bool:
    """Whether the file is as it was when it was read last."""
    return stat_of(text) in con.execute(_ALL_SEEN).fetchall()


def candidates(known: Sequence[KnownLog], text: LogText) -> list[KnownLog]:
    """The known logs that a log begins as: the one that was read furthest first.

    Of one without a whole line only the inode is known; it comes last.
    """
    inode = stat_of(text)[:2]
    marked = [
        (log, log.mark)
        for log in known
        if log.mark and text.begins_as(log.mark) and (log.mark.taken_to > 0 or log.inode == inode)
    ]
    marked.sort(key=lambda each: -each[1].taken_to)
    return [log for log, _ in marked]


def is_older_copy(path: Path, known: Sequence[KnownLog]) -> bool:
    """Whether a file is the beginning of a known log that is still where it was."""
    for log in known:
        if log.mark and log.mark.taken_to > 0 and log.path.is_file():
            with LogText(log.path) as whole, LogText(path) as part:
                if stat_of(whole)[:2] != stat_of(part)[:2] and whole.continues(part):
                    return True
    return False


def keep_name(con: duckdb.DuckDBPyConnection, log: KnownLog, path: Path, stat: Stat) -> None:
    """Note what a log that was read is called now."""
    place = {"device": stat[0], "inode": stat[1], "file_no": log.file_no}
    for (empty,) in con.execute(_EMPTY, place).fetchall():
        con.execute(_DROP_QUARANTINE, {"file_no": empty})
        con.execute(_DROP_FILE, {"file_no": empty})
    con.execute(_NAME, {"file": str(path), **place})
    keep_seen(con, stat)


def keep_seen(con: duckdb.DuckDBPyConnection, stat: Stat) -> None:
    """Note that a file was read as it is now."""
    facts = dict(zip(("device", "inode", "size", "mtime_ns"), stat, strict=True))
    con.execute(_FORGET_SEEN, {"device": stat[0], "inode": stat[1]})
    con.execute(_SEEN, facts)


def known_logs(con: duckdb.DuckDBPyConnection) -> list[KnownLog]:
    """Every log that the store has read from."""
    cursor = con.execute(_KNOWN)
    names = [column[0] for column in cursor.description or ()]
    return [_as_file(dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


def _as_file(row: dict[str, Any]) -> KnownLog:
    found = None
    if row["head_sha256"] is not None:
        found = Mark(
            *(row[n] for n in ("taken_to", "head_bytes", "head_sha256", "tail_bytes", "tail_sha256"))
        )
    inode = (row["device"], row["inode"])
    return KnownLog(row["file_no"], Path(row["file"]), inode, found, row["line_count"], row["block_count"])


def new_log(path: Path, known: Sequence[KnownLog]) -> KnownLog:
    """A log that continues none that is known."""
    file_no = max((log.file_no for log in known), default=-1) + 1
    return KnownLog(file_no, path, (0, 0), None, 0, 0)


def note_log(con: duckdb.DuckDBPyConnection, log: KnownLog) -> None:
    """Give a log its row where it has none yet, in the transaction of its first blocks."""
    con.execute(_FORGET_GHOSTS)
    con.execute(_FILE, {"file_no": log.file_no, "file": str(log.path)})
