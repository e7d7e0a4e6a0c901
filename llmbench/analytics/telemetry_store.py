"""Load telemetry logs into DuckDB: only what is new, block by block, and every line that is none kept apart.

A block in which every line is sound is taken whole, at the speed of DuckDB's own reader in its strict
mode. Any other block is rolled back and read line by line (telemetry_lines.py), which says for each line
what is wrong with it. The rows, the quarantined lines and the place up to which the log was read are
committed together, so that a loader killed at any moment has loaded each line once or not at all.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmbench.analytics.block_copies import copies_folder
from llmbench.analytics.ingest import SQL_DIR, literal_glob
from llmbench.analytics.known_logs import (
    KnownLog,
    candidates,
    find_logs,
    is_moved,
    is_older_copy,
    is_seen,
    keep_name,
    keep_seen,
    known_logs,
    new_log,
    note_log,
    stat_of,
    with_late_parts,
)
from llmbench.analytics.log_text import HEAD_BYTES, Block, LogText, Mark, mark
from llmbench.analytics.store_file import check_tables, make_folder, when_free
from llmbench.analytics.telemetry_lines import INSERT_SOUND, LINE_COLUMNS, calls_sql, judge_lines
from llmbench.errors import WarehouseError

if TYPE_CHECKING:
    import duckdb

DEFAULT_STORE: Final = Path("workspaces/telemetry.duckdb")
#: Blocks that are tried together. DuckDB reads them in parallel, which it does not do within one small file.
_TOGETHER: Final = 48
#: DuckDB's own memory while it loads; the blocks' text takes twice 200 MB beside it.
_MEMORY: Final = "700MB"
#: Rows wait in the write-ahead log until there are so many: a checkpoint after each block costs a third more.
_WAL: Final = "256MB"
#: So many bytes of that log may stay: readers go through it, and a small load need not rewrite the tables.
_WAL_KEPT: Final = 24 << 20
_PROGRESS: Final = """
update log_files set
    taken_to = $taken_to, head_bytes = $head_bytes, head_sha256 = $head_sha256, tail_bytes = $tail_bytes,
    tail_sha256 = $tail_sha256, line_count = $line_count, call_count = call_count + $calls,
    blank_count = blank_count + $blank, block_count = $block_no
where file_no = $file_no
"""
#: Lines of blocks that are taken whole: what is no record raises an error, or is missing from the insertion.
_WHOLE: Final = """
select *, 0 as n, null as fault
from read_json(
    $path, format = 'newline_delimited', columns = $columns, ignore_errors = false, compression = 'none')
where schema is null or schema = '1'
"""
_INSERT_WHOLE: Final = "insert into loaded_calls by name select * exclude (n, fault) from "
_QUARANTINE: Final = """
insert into log_quarantine
select $file_no, unnest($line_no), unnest($offset), unnest($reason), unnest($raw)
"""
_KEPT: Final = """
select file_no, list(byte_offset order by byte_offset), list(raw order by byte_offset), any_value(block_count)
from log_quarantine join log_files using (file_no)
where reason not in ('torn_tail', 'unreadable', 'duplicate', 'not_utf8')
group by file_no order by file_no
"""
#: Lines of which not all is kept (ingest.py keeps a MiB of one, log_text.py less of one over its limit).
_CUT: Final = "select count(*) from log_quarantine where reason = 'too_long' or strlen(raw) >= 1048576"
_RELEASE: Final = """
delete from log_quarantine where file_no = $file_no and byte_offset in (select unnest($offsets))
"""
_RELEASED: Final = """
update log_files set call_count = call_count + $calls, block_count = $block_no where file_no = $file_no
"""
#: What lay behind the last whole line is read again, whatever it is now.
_FORGET_TAIL: Final = """
delete from log_quarantine where file_no = $file_no and byte_offset >= $taken_to
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What one load brought in. `lines` = `calls` + `quarantined`; blank lines are not counted.

    A line that was taken up again from quarantine counts 1 in `calls` and -1 in `quarantined`.
    """

    files: int
    calls: int
    quarantined: int
    blank: int

    @property
    def lines(self) -> int:
        """Lines that were read."""
        return self.calls + self.quarantined


def load_store(store: Path, names: Sequence[str | Path]) -> Load:
    """Load what is new in logs into a store on disk, which is made where there is none.

    Raises:
        WarehouseError: a log is missing, the store is no DuckDB file, or another process has it open.
    """
    logs = find_logs(names)
    with open_store(store) as con:
        return load_logs(con, logs)


@contextmanager
def open_store(store: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A store on disk, open for writing, with its tables made.

    Raises:
        WarehouseError: the file is no DuckDB file, or another process keeps it open for ten seconds.
    """
    import duckdb

    make_folder(store)
    con = when_free(
        store,
        lambda: duckdb.connect(
            str(store.absolute()), config={"memory_limit": _MEMORY, "checkpoint_threshold": _WAL}
        ),
    )
    try:
        con.execute("pragma disable_checkpoint_on_shutdown")
        check_tables(con, store, is_new_fine=True)
        make_tables(con)
        yield con
        if _size(store.with_name(store.name + ".wal")) > _WAL_KEPT:
            con.execute("checkpoint")
    except duckdb.Error as error:
        raise WarehouseError(f"{store}: {' '.join(str(error).split())}") from error
    finally:
        con.close()


def make_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Make the tables that telemetry is loaded into, where they are not there yet."""
    con.execute("set timezone = 'UTC'")
    con.execute((SQL_DIR / "telemetry_tables.sql").read_text(encoding="utf-8"))


def load_logs(con: duckdb.DuckDBPyConnection, logs: Sequence[Path]) -> Load:
    """Load what is new in logs, and in parts that are rotated away meanwhile, into a connection's tables.

    Raises:
        WarehouseError: a log cannot be read; the others are loaded.
    """
    before, failed, read = _totals(con), list[str](), list[Path]()
    con.execute("set preserve_insertion_order = false")
    with copies_folder() as copies:
        for path in with_late_parts(logs):
            read.append(path)
            try:
                _load_log(con, path, copies)
            except WarehouseError as error:  # the other logs are loaded all the same
                if not is_moved(path, error):
                    failed.append(str(error))
    con.execute("reset preserve_insertion_order")
    if failed:
        raise WarehouseError("; ".join(failed))
    after = _totals(con)
    calls, quarantined, blank = (now - was for now, was in zip(after, before, strict=True))
    return Load(len(read), calls, quarantined, blank)


def retry_quarantine(con: duckdb.DuckDBPyConnection) -> int:
    """Judge the quarantined lines again, and take up those that are calls by now; returns how many.

    It is for the day on which a newer version reads what an older one did not, a schema of tomorrow say. The
    end of a file needs it not: each load reads it again. A line whose text is cut (`cut_lines`) stays.
    """
    taken_up = 0
    with tempfile.TemporaryDirectory(prefix="llmbench-") as folder:
        for file_no, offsets, texts, blocks in con.execute(_KEPT).fetchall():
            again = Path(folder) / "again.jsonl"
            again.write_bytes(b"".join(text.replace("\n", " ").encode() + b"\n" for text in texts))
            taken = judge_lines(con, again, {"file_no": file_no, "block_no": blocks + 1})
            bad = {each.index for each in taken.rejected} | (set(range(len(texts))) - set(taken.lines.filled))
            sound = [offset for index, offset in enumerate(offsets) if index not in bad]
            con.execute("begin")
            con.execute(INSERT_SOUND)
            con.execute(_RELEASE, {"file_no": file_no, "offsets": sound})
            con.execute(_RELEASED, {"file_no": file_no, "calls": len(sound), "block_no": blocks + 1})
            con.execute("commit")
            taken_up += len(sound)
    return taken_up


def cut_lines(con: duckdb.DuckDBPyConnection) -> int:
    """How many quarantined lines are too long to be kept whole: only a load of their log takes these up."""
    return int(con.execute(_CUT).fetchall()[0][0])


def _totals(con: duckdb.DuckDBPyConnection) -> tuple[int, int, int]:
    found = con.execute("""
        select coalesce(sum(call_count), 0)::bigint, (select count(*) from log_quarantine),
            coalesce(sum(blank_count), 0)::bigint from log_files""").fetchall()
    return (int(found[0][0]), int(found[0][1]), int(found[0][2]))


def _load_log(con: duckdb.DuckDBPyConnection, path: Path, copies: Path) -> None:
    known = known_logs(con)
    with LogText(path) as text:
        if is_seen(con, text):
            return
        same = candidates(known, text)
    for log in same:
        with LogText(path) as text:
            if log.mark is not None and text.skip_to(log.mark):
                _read_on(con, path, text, log, copies)
                return
    with LogText(path) as text:
        # A short text may be the beginning of any log: only whole beginnings have a hash.
        if is_older_copy(path, same if len(text.head) == HEAD_BYTES else known):
            keep_seen(con, stat_of(text))
        else:
            _read_on(con, path, text, new_log(path, known), copies)


def _read_on(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    text: LogText,
    file: KnownLog,
    copies: Path,
) -> None:
    """Take the blocks of a log from where it was read to; a rest that is no whole line goes to quarantine."""
    for batch in _ahead(text.blocks(copies, 2 * _TOGETHER)):
        _take(con, text, file, batch)
    keep_name(con, file, path, stat_of(text))


def _take(con: duckdb.DuckDBPyConnection, text: LogText, file: KnownLog, blocks: Sequence[Block]) -> None:
    """Load blocks whole where that can be done, else each half; a single one line by line."""
    if _take_whole(con, text, file, blocks):
        return
    if len(blocks) == 1:
        _take_lines(con, text, file, blocks[0])
        return
    half = len(blocks) // 2
    _take(con, text, file, blocks[:half])
    _take(con, text, file, blocks[half:])


def _ahead(blocks: Iterator[Block]) -> Iterator[list[Block]]:
    """Blocks in batches; the next batch is read while this one is loaded."""

    def read() -> list[Block]:
        return list(itertools.islice(blocks, _TOGETHER))

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read)
        while batch := coming.result():
            coming = reader.submit(read)
            yield batch


def _take_whole(
    con: duckdb.DuckDBPyConnection, text: LogText, file: KnownLog, blocks: Sequence[Block]
) -> bool:
    """Load blocks in which every line is a sound and new call; else load nothing."""
    import duckdb

    number = {"file_no": file.file_no, "block_no": file.blocks + 1}
    columns = dict(con.execute(LINE_COLUMNS).fetchall())
    paths = [literal_glob(block.path) for block in blocks if block.size]
    con.execute("begin")
    try:
        inserted, missed = 0, 0
        if paths:
            found = con.execute(
                _INSERT_WHOLE + "(" + calls_sql(_WHOLE) + ")",
                {"path": paths, "columns": columns, **number},
            ).fetchall()
            inserted = int(found[0][0])
            missed = int(con.execute(_sql("loading/missed_calls"), number).fetchall()[0][0])
    except (duckdb.InvalidInputException, duckdb.ConversionException):
        missed = 1
    if missed or inserted != sum(block.newlines for block in blocks):
        con.execute("rollback")
        return False
    _move_on(con, text, file, blocks, calls=inserted, blank=0)
    con.execute("commit")
    return True


def _take_lines(con: duckdb.DuckDBPyConnection, text: LogText, file: KnownLog, block: Block) -> None:
    """Read a block line by line: sound lines become calls, the others go to quarantine."""
    con.execute("set preserve_insertion_order = true")
    number = {"file_no": file.file_no, "block_no": file.blocks + 1}
    taken = judge_lines(con, block.path, number, begins_log=not block.offset)
    con.execute("set preserve_insertion_order = false")
    bad = sorted(taken.rejected, key=lambda each: each.index)
    filled = len(taken.lines.filled)
    kept = {
        "file_no": file.file_no,
        "line_no": [file.lines + each.index + 1 for each in bad],
        "offset": [block.offset + int(taken.lines.starts[each.index]) for each in bad],
        "reason": ["too_long" if block.is_long else each.reason for each in bad],
        "raw": [taken.lines.begin(each.index).decode("utf-8", "replace") for each in bad],
    }
    con.execute("begin")
    calls = int(con.execute(INSERT_SOUND).fetchall()[0][0])
    if calls != filled - len(bad):
        raise WarehouseError(
            f"{text.path}: {filled} lines gave {calls} calls and {len(bad)} others; load it again"
        )
    _move_on(con, text, file, [block], calls=calls, blank=block.newlines - filled)
    if bad:
        con.execute(_QUARANTINE, kept)
    con.execute("commit")


def _move_on(
    con: duckdb.DuckDBPyConnection,
    text: LogText,
    file: KnownLog,
    blocks: Sequence[Block],
    *,
    calls: int,
    blank: int,
) -> None:
    """Note up to where a log was read, and what lies behind its last whole line."""
    first, last = blocks[0], blocks[-1]
    note_log(con, file)
    con.execute(_FORGET_TAIL, {"file_no": file.file_no, "taken_to": first.offset})
    now = mark(text, last.offset + last.size, last.tail)
    file.lines, file.blocks = file.lines + sum(block.newlines for block in blocks), file.blocks + 1
    facts = {name: getattr(now, name) for name in Mark.__slots__}
    facts |= {"file_no": file.file_no, "block_no": file.blocks, "calls": calls, "blank": blank}
    con.execute(_PROGRESS, {**facts, "line_count": file.lines})
    _keep_tail(con, file, last)


def _keep_tail(con: duckdb.DuckDBPyConnection, file: KnownLog, block: Block) -> None:
    """Quarantine what lies behind the last whole line; the next load reads it again."""
    offset, bad = block.offset + block.size, list[tuple[int, str, str]]()
    if block.rest.strip():
        bad.append(
            (offset, "too_long" if block.is_long else "torn_tail", block.rest.decode("utf-8", "replace"))
        )
    if block.broken:
        bad.append((offset + len(block.rest), "unreadable", block.broken))
    if bad:
        offsets, reasons, texts = (list(each) for each in zip(*bad, strict=True))
        numbers = [file.lines + 1 + at for at in range(len(bad))]
        facts = {"line_no": numbers, "offset": offsets, "reason": reasons, "raw": texts}
        con.execute(_QUARANTINE, {"file_no": file.file_no, **facts})


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sql(name: str) -> str:
    return (SQL_DIR / f"{name}.sql").read_text(encoding="utf-8")
