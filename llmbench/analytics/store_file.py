"""The file of a store: made, told from other files, and opened when no other process has it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from llmbench.errors import WarehouseError

if TYPE_CHECKING:
    import duckdb

Taken = TypeVar("Taken")

_LOCK_WAIT_S: Final = 10.0
#: What DuckDB says on Linux and macOS, and on Windows, of a file that another process has open.
_LOCKED: Final = ("Could not set lock", "used by another process")
#: A DuckDB file begins with a checksum of eight bytes and these.
_MAGIC: Final = bytes(8) + b"DUCK"
_FIRST_BYTES_S: Final = 1.0
_TABLES: Final = """
select table_name from duckdb_tables()
where database_name = coalesce($database, current_database()) and not temporary
"""


def make_folder(store: Path) -> None:
    """Make the folder of a store where there is none.

    Raises:
        WarehouseError: it cannot be made.
    """
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WarehouseError(
            f"{error.filename}: {error.strerror}; the folder of {store.name} cannot be made: name a store "
            "elsewhere"
        ) from error


def when_free(store: Path, take: Callable[[], Taken]) -> Taken:
    """Open a store's file with `take`, after a wait of up to ten seconds where another process has it open.

    Raises:
        WarehouseError: the file is no DuckDB file, cannot be opened, or is still open elsewhere.
    """
    import duckdb

    _check_file(store)
    until = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            return take()
        except duckdb.Error as error:
            said = " ".join(str(error).split())
            if not any(words in said for words in _LOCKED):
                raise WarehouseError(f"{store} cannot be opened: {said}; {_advice(said)}") from error
            if time.monotonic() > until:
                holder = re.search(r"\(PID \d+\)", said)
                raise WarehouseError(
                    f"{store} is locked: another process{f' {holder[0]}' if holder else ''} has it open; "
                    "run this again when that is done"
                ) from error
            time.sleep(0.1)


def check_tables(
    con: duckdb.DuckDBPyConnection, store: Path, database: str | None = None, *, is_new_fine: bool = False
) -> None:
    """Refuse a DuckDB file of another purpose; `database` is its name in the connection, None the main one's.

    Raises:
        WarehouseError: the file has no table of calls. One without any table may become a store.
    """
    names = {name for (name,) in con.execute(_TABLES, {"database": database}).fetchall()}
    if "loaded_calls" not in names and (names or not is_new_fine):
        raise WarehouseError(
            f"{store} is a DuckDB file but no store of telemetry (no table loaded_calls); name another, "
            "or make a store with `llmbench telemetry load LOG`"
        )


def _check_file(store: Path) -> None:
    """Refuse what is no DuckDB file: DuckDB 2 opens a log, say, in memory, and a load into it is lost."""
    until = time.monotonic() + _FIRST_BYTES_S
    try:
        head = b"" if store.exists() else _MAGIC
        while not head and time.monotonic() < until:
            with store.open("rb") as file:
                head = file.read(len(_MAGIC))
            time.sleep(0 if head else 0.1)  # another loader may be about to write the first bytes
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise WarehouseError(
            f"{store}: {reason}; name the file of a store, such as workspaces/telemetry.duckdb"
        ) from error
    if head[8:] != _MAGIC[8:]:
        raise WarehouseError(f"{store} is no store (no DuckDB file); name one, or a new file to make one")


def _advice(said: str) -> str:
    """What to do about a file that DuckDB does not open."""
    if "denied" in said.lower():
        return "see that you may read and write it and its folder"
    return "bring back a copy, or move it away and load its logs into a new one"
