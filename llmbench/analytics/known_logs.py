"""Which log is which: the files that a store has read from, and which of them a file on disk continues."""

from __future__ import annotations

import glob
from collections.abc import Sequence
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
"""
_NAME: Final = """
update log_files set file = $file, device = $device, inode = $inode, size = $size, mtime_ns = $mtime_ns
where file_no = $file_no
"""


@dataclass(slots=True)
class KnownLog:
    """A log as the store knows it; `mark` is None before its first block."""

    file_no: int
    stat: Stat
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
        matches = [path] if path.exists() else [Path(each) for each in sorted(globbed)]
        parts = rotated_parts(path)
        if not matches and not parts:
            raise WarehouseError(
                f"{name}: no such log; give a file, or a glob in quotes such as 'logs/*.jsonl'"
            )
        for each in matches:
            found |= dict.fromkeys((*rotated_parts(each), each))
        found |= dict.fromkeys(parts)
    return list(found)


def stat_of(text: LogText) -> Stat:
    """What tells at a glance that a file has not changed."""
    return text.state.st_dev, text.state.st_ino, text.state.st_size, text.state.st_mtime_ns


def candidates(known: Sequence[KnownLog], text: LogText) -> list[KnownLog]:
    """The known logs that a log begins as: that of its inode first, then the one that was read furthest.

    Of one without a whole line only the inode is known.
    """
    stat = stat_of(text)
    same = [
        log
        for log in known
        if log.mark and text.begins_as(log.mark) and (log.mark.taken_to > 0 or log.stat[:2] == stat[:2])
    ]
    return sorted(same, key=lambda log: (log.stat[:2] != stat[:2], -(log.mark.taken_to if log.mark else 0)))


def keep_name(con: duckdb.DuckDBPyConnection, log: KnownLog, path: Path, stat: Stat) -> None:
    """Note what a log that was read is called now."""
    facts = dict(zip(("device", "inode", "size", "mtime_ns"), stat, strict=True))
    con.execute(_NAME, {"file": str(path), "file_no": log.file_no, **facts})


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
    stat = (row["device"], row["inode"], row["size"], row["mtime_ns"])
    return KnownLog(row["file_no"], stat, found, row["line_count"], row["block_count"])


def new_log(con: duckdb.DuckDBPyConnection, path: Path, file_no: int) -> KnownLog:
    """Note a log that continues none that is known."""
    con.execute(_FILE, {"file_no": file_no, "file": str(path)})
    return KnownLog(file_no, (0, 0, 0, 0), None, 0, 0)
