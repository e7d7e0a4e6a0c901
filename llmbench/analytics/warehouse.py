"""The warehouse: run folders, ledgers and telemetry behind SQL views, read-only once open.

`open_warehouse` loads the files (ingest.py), then makes one view of every file under sql/staging and
sql/marts, in the order of their `reads:` headers. From then on the database accepts reads only: no write, no
file, no setting, one statement at a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from llmbench.analytics.ingest import SQL_DIR, Kind, load_file
from llmbench.errors import WarehouseError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

Params = Sequence[object] | Mapping[str, object]

_VIEW_NAME: Final = re.compile(r"\A[a-z][a-z0-9_]{0,62}\Z")
_READS: Final = re.compile(r"^-- reads: (.+)$", re.MULTILINE)
_FOLDERS: Final = ("staging", "marts")
_OPTIONAL: Final[tuple[Kind, ...]] = ("judgements", "labels")  # a run folder holds these or does not
_SESSION: Final = """
set timezone = 'UTC';
set autoinstall_known_extensions = false;
set autoload_known_extensions = false;
set python_enable_replacements = false;
"""
_LOCK: Final = """
set enable_external_access = false;
set lock_configuration = true;
"""


class Warehouse:
    """An open warehouse. Close it, or use it in a `with` statement."""

    __slots__ = ("_con", "_lock", "views")

    def __init__(self, con: duckdb.DuckDBPyConnection, views: Sequence[str]) -> None:
        """Take over a loaded connection; `views` are the names that can be read."""
        self._con = con
        self._lock = Lock()
        self.views: Final = tuple(views)

    def query(self, sql: str, params: Params | None = None) -> pd.DataFrame:
        """Run one reading statement and return its rows as a table.

        Raises:
            WarehouseError: the statement is wrong, is more than one, or would do anything but read.
        """
        import duckdb

        with self._lock:
            try:
                return self._read(sql, params).df()
            except duckdb.Error as error:
                raise WarehouseError(_one_line(error)) from error
            finally:
                self._end()

    def rows(self, sql: str, params: Params | None = None) -> list[dict[str, Any]]:
        """Run one reading statement and return its rows as dicts of plain values.

        Raises:
            WarehouseError: as in `query`.
        """
        import duckdb

        with self._lock:
            try:
                cursor = self._read(sql, params)
                names = [column[0] for column in cursor.description or ()]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            except duckdb.Error as error:
                raise WarehouseError(_one_line(error)) from error
            finally:
                self._end()

    def close(self) -> None:
        """Close the database. Closing twice is fine."""
        self._con.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, sql: str, params: Params | None) -> duckdb.DuckDBPyConnection:
        """Execute inside a read-only transaction: a data-changing CTE counts as a select to the parser."""
        import duckdb

        statements = self._con.extract_statements(sql)
        if len(statements) != 1:
            raise WarehouseError(
                f"a query is one statement, this text has {len(statements)}; send them one at a time"
            )
        if statements[0].type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
            verb = sql.split(maxsplit=1)[0].lower()
            raise WarehouseError(f"the warehouse is read-only: {verb!r} is refused; write a select")
        self._con.execute("begin transaction read only")
        return self._con.execute(sql, params)

    def _end(self) -> None:
        import duckdb

        try:
            self._con.execute("rollback")
        except duckdb.Error:  # no transaction was begun, or the connection is closed
            return


def open_warehouse(
    *,
    run_dirs: Sequence[Path] = (),
    ledgers: Sequence[Path] = (),
    telemetry: Sequence[Path] = (),
    database: Path | None = None,
) -> Warehouse:
    """Load files and build every view.

    Args:
        run_dirs: folders holding results.jsonl, and judgements.jsonl and labels.jsonl where a judge or a
            person compared answers; the same folder named twice is read once.
        ledgers: ledger.jsonl files.
        telemetry: telemetry JSON lines files.
        database: a .duckdb file to keep the tables in (rebuilt from the files each time); default: memory.

    Raises:
        WarehouseError: a file is missing or unreadable, or the database file cannot be opened.
    """
    import duckdb

    sources: list[tuple[Kind, Path]] = []
    sources += [("results", path / "results.jsonl") for path in run_dirs]
    sources += [(kind, path / f"{kind}.jsonl") for kind in _OPTIONAL for path in run_dirs if _has(path, kind)]
    sources += [("ledger", path) for path in ledgers]
    sources += [("telemetry", path) for path in telemetry]
    try:
        con = duckdb.connect(str(database) if database else ":memory:")
    except duckdb.Error as error:
        raise WarehouseError(_one_line(error)) from error
    try:
        con.execute(_SESSION)
        con.execute((SQL_DIR / "raw_tables.sql").read_text(encoding="utf-8"))
        seen: set[tuple[Kind, Path]] = set()
        for kind, path in sources:
            if (kind, path.resolve()) not in seen:
                seen.add((kind, path.resolve()))
                load_file(con, kind, path)
        con.execute("drop table if exists temp.incoming; drop table if exists temp.verdicts")
        views = build_views(con, find_views(SQL_DIR))
        con.execute(_LOCK)
    except duckdb.Error as error:
        con.close()
        raise WarehouseError(_one_line(error)) from error
    except BaseException:
        con.close()
        raise
    return Warehouse(con, views)


def find_views(folder: Path) -> dict[str, str]:
    """Map view name -> SQL text of every file under folder/staging and folder/marts.

    Raises:
        WarehouseError: a file name is no plain identifier, or two files have one name.
    """
    found: dict[str, str] = {}
    for path in sorted(path for part in _FOLDERS for path in (folder / part).glob("*.sql")):
        if not _VIEW_NAME.match(path.stem) or path.stem in found:
            raise WarehouseError(f"{path}: a view's file is named once, in a-z, 0-9 and _; rename it")
        found[path.stem] = path.read_text(encoding="utf-8")
    return found


def build_views(con: duckdb.DuckDBPyConnection, views: Mapping[str, str]) -> list[str]:
    """Create each view after those that its `reads:` header names; return the order.

    Raises:
        WarehouseError: a header is missing, or views read each other in a circle.
    """
    needs: dict[str, set[str]] = {}
    for name, sql in views.items():
        header = _READS.search(sql)
        if header is None:
            raise WarehouseError(f"{name}.sql: no `-- reads:` header; name the tables and views it reads")
        needs[name] = {word.strip() for word in header[1].split(",")} & views.keys()
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise WarehouseError(f"views read each other in a circle: {' > '.join(error.args[1])}") from error
    for name in order:
        con.execute(f"create or replace view {name} as {views[name]}")
    return order


def _has(run_dir: Path, kind: Kind) -> bool:
    """Whether a run folder holds this file. Anything but a file under its name is read, and so reported."""
    return (run_dir / f"{kind}.jsonl").exists()


def _one_line(error: Exception) -> str:
    """DuckDB's message with its hint, without the echo of the statement."""
    return " ".join(str(error).split("\n\nLINE ", 1)[0].split())
