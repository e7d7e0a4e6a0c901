"""The warehouse: run folders, ledgers and telemetry behind SQL views, read-only once open.

`open_warehouse` loads the files (ingest.py), then makes one view of every file under sql/staging and
sql/marts, in the order of their `reads:` headers. From then on the database accepts reads only: no write, no
file, no setting, one statement at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, time, timedelta
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from llmbench.analytics.ingest import SQL_DIR, Kind, literal_glob, load_file
from llmbench.analytics.store_file import check_tables, when_free
from llmbench.analytics.telemetry_store import load_logs, make_tables
from llmbench.errors import WarehouseError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from llmbench.analytics.traffic_prices import CandidatePrice
    from llmbench.catalog import BudgetLimits

Params = Sequence[object] | Mapping[str, object]
R = TypeVar("R")

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


_PRICE: Final = """
insert into candidate_prices by name
select
    $tier as tier, $model as model, $input_usd as input_usd, $cached_input_usd as cached_input_usd,
    $output_usd as output_usd, $reasoning_usd as reasoning_usd, $source as source, $as_of as as_of
"""
_LIMIT: Final = "insert into budget_limits values ($scope, $usd)"
#: The day of the newest call; a clock that runs days ahead does not move it, unless all calls have it.
_NEWEST: Final = """
select coalesce(
    max(called_at) filter (where called_at < (now() at time zone 'UTC') + interval 1 day),
    max(called_at))::date
from every_call
"""
_ATTACH: Final = "attach $store as store (read_only)"
#: Where calls can be: in memory, in a store on disk, in an archive.
_CALLS: Final = {
    "memory": "select * from loaded_calls",
    "store": "select * from store.loaded_calls",
    "archive": """
        select *
        from read_parquet(getvariable('archive'), hive_partitioning = false, union_by_name = true)""",
}
#: What callers asked for. Shadows of a rollout are lines beside it, for stg_rollout_calls alone.
_EVERY_CALL: Final = 'create view every_call as select * from every_line where rollout."of" is null'
_LOG_VIEWS: Final = {
    "memory": """
        create view all_log_files as select * from log_files;
        create view all_log_quarantine as select * from log_quarantine""",
    "store": """
        create view all_log_files as select * from store.log_files;
        create view all_log_quarantine as select * from store.log_quarantine""",
}


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
        return self._answer(lambda: self._read(sql, params).df())

    def rows(self, sql: str, params: Params | None = None) -> list[dict[str, Any]]:
        """Run one reading statement and return its rows as dicts of plain values.

        Raises:
            WarehouseError: as in `query`.
        """

        def plain() -> list[dict[str, Any]]:
            cursor = self._read(sql, params)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

        return self._answer(plain)

    def arrow(self, sql: str, params: Params | None = None) -> Any:
        """Run one reading statement and return its rows as a `pyarrow.Table`.

        Raises:
            WarehouseError: as in `query`; also when the package pyarrow is missing.
        """
        if find_spec("pyarrow") is None:
            raise WarehouseError('an Arrow table needs the package pyarrow: pip install "llmbench[arrow]"')

        def table() -> Any:
            self._check(sql)
            return self._con.sql(sql, params=params).to_arrow_table()

        return self._answer(table)

    def _answer(self, read: Callable[[], R]) -> R:
        """Read in a thread of its own, so that Ctrl-C reaches the caller: DuckDB may be deaf to it for hours.

        Raises:
            WarehouseError: the statement failed or was refused.
            KeyboardInterrupt: the caller was interrupted; the statement has ended.
        """
        import duckdb

        with self._lock, ThreadPoolExecutor(1, "llmbench-query") as thread:
            reading = thread.submit(read)
            try:
                return reading.result()
            except duckdb.Error as error:
                raise WarehouseError(_one_line(error)) from error
            except KeyboardInterrupt:
                self._con.interrupt()
                raise
            finally:
                thread.shutdown()
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
        self._check(sql)
        return self._con.execute(sql, params)

    def _check(self, sql: str) -> None:
        """Begin a read-only transaction for one select: a data-changing CTE counts as one to the parser."""
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
    store: Path | None = None,
    archive: Path | None = None,
    since: datetime | None = None,
    days: int | None = None,
    prices: Sequence[CandidatePrice] = (),
    budgets: BudgetLimits | None = None,
) -> Warehouse:
    """Load files and build every view.

    Args:
        run_dirs: folders holding results.jsonl, and judgements.jsonl and labels.jsonl where a judge or a
            person compared answers; the same folder named twice is read once.
        ledgers: ledger.jsonl files.
        telemetry: telemetry JSON lines files, read into memory.
        store: a file of telemetry that was loaded before (telemetry_store.py); only read here.
        archive: a folder of telemetry as Parquet, in folders named by day.
        since: the first moment whose calls are seen, UTC; all when None. What was loaded and what was
            quarantined is told of whole files all the same.
        days: the same, as so many days (UTC) up to that of the newest call.
        prices: what the candidates of the tiers ask, for mart_what_if (traffic_prices.py).
        budgets: what may be spent on one run and for one routing key, for mart_budget.

    Raises:
        WarehouseError: a file is missing or unreadable, the store cannot be opened, or `since` and `days`
            are both given.
    """
    import duckdb

    sources: list[tuple[Kind, Path]] = []
    sources += [("results", path / "results.jsonl") for path in run_dirs]
    sources += [(kind, path / f"{kind}.jsonl") for kind in _OPTIONAL for path in run_dirs if _has(path, kind)]
    sources += [("ledger", path) for path in ledgers]
    con = duckdb.connect(":memory:")
    try:
        con.execute(_SESSION)
        con.execute((SQL_DIR / "raw_tables.sql").read_text(encoding="utf-8"))
        seen: set[tuple[Kind, Path]] = set()
        for kind, path in sources:
            if (kind, path.resolve()) not in seen:
                seen.add((kind, path.resolve()))
                load_file(con, kind, path)
        make_tables(con)
        _fill_settings(con, prices, budgets)
        load_logs(con, telemetry)
        _join_telemetry(con, telemetry, store, archive)
        _see_from(con, since, days)
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


def _join_telemetry(
    con: duckdb.DuckDBPyConnection, logs: Sequence[Path], store: Path | None, archive: Path | None
) -> None:
    """Make one view of the calls in logs, in a store and in an archive.

    Raises:
        WarehouseError: the store or the archive is not there, or logs and a store are asked for together.
    """
    if logs and store is not None:
        raise WarehouseError("give logs or a store, not both: a log is loaded into the store first")
    places = ["memory"]  # empty beside a store or an archive, which may lack today's columns
    if store is not None:
        if not store.is_file():
            raise WarehouseError(f"{store}: no such store; make it with `llmbench telemetry load LOG`")
        path = {"store": str(store.absolute())}
        when_free(store, lambda: con.execute(_ATTACH, path))
        check_tables(con, store, "store")
        places.append("store")
    if archive is not None:
        if store is not None and con.execute("select count(*) from store.archiving").fetchall() != [(0,)]:
            raise WarehouseError(
                f"{archive}: moving a day there was cut off; run `llmbench telemetry archive` again"
            )
        files = _archived_files(archive)
        if not files:
            raise WarehouseError(
                f"{archive}: no telemetry archive; make it with `llmbench telemetry archive`"
            )
        con.execute("set variable archive = $files", {"files": [literal_glob(path) for path in files]})
        # The second spelling is that of the files: DuckDB compares the text.
        folders = [str(archive.absolute()), literal_glob(archive)]
        con.execute("set allowed_directories = $folders", {"folders": folders})
        places.append("archive")
    _make_view(con, places, archive)
    con.execute(_EVERY_CALL)
    con.execute(_LOG_VIEWS["memory" if store is None else "store"])


def _make_view(con: duckdb.DuckDBPyConnection, places: Sequence[str], archive: Path | None) -> None:
    """Make the view of all lines, for which the beginning of each file of an archive is read.

    Raises:
        WarehouseError: a file of the archive is damaged; DuckDB names it.
    """
    import duckdb

    try:
        con.execute("create view every_line as " + " union all by name ".join(_CALLS[at] for at in places))
    except duckdb.Error as error:
        if archive is None:
            raise
        raise WarehouseError(
            f"{archive}: {_one_line(error)}; bring back a copy of that file, or move it out of the archive"
        ) from error


def _archived_files(archive: Path) -> list[Path]:
    """The files of an archive: a pattern would be misread by DuckDB where the folder's own name holds one."""
    if not archive.is_dir():
        return []
    days = sorted(path for path in archive.iterdir() if path.name.startswith("day=") and path.is_dir())
    return [path for day in days for path in sorted(day.iterdir()) if path.suffix == ".parquet"]


def _see_from(con: duckdb.DuckDBPyConnection, since: datetime | None, days: int | None) -> None:
    """Make the view of the calls that are seen: all, or those from a moment on.

    Raises:
        WarehouseError: `since` and `days` are both given, or days is below one.
    """
    if since is not None and days is not None:
        raise WarehouseError("give since or days, not both")
    if days is not None and days < 1:
        raise WarehouseError(f"days={days}: give the number of days to look at, one or more")
    if days is not None:
        newest = con.execute(_NEWEST).fetchall()[0][0]
        since = None if newest is None else datetime.combine(newest, time()) - timedelta(days=days - 1)
    if since is None:
        con.execute("create view all_calls as select * from every_call")
        return
    start = since.astimezone(UTC).replace(tzinfo=None) if since.tzinfo else since
    con.execute("set variable since = $start::timestamp", {"start": start})
    con.execute("create view all_calls as select * from every_call where called_at >= getvariable('since')")


def _fill_settings(
    con: duckdb.DuckDBPyConnection, prices: Sequence[CandidatePrice], budgets: BudgetLimits | None
) -> None:
    """Put today's prices and limits into the tables that the marts read."""
    for price in prices:
        con.execute(_PRICE, asdict(price))
    limits = {} if budgets is None else asdict(budgets)
    for name, usd in limits.items():
        if usd is not None:
            con.execute(_LIMIT, {"scope": name.removesuffix("_usd"), "usd": usd})


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
