"""What is no store, or a damaged one, is refused with its name, the reason and what to do."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from llmbench.analytics.archive import archive_days
from llmbench.analytics.telemetry_store import load_store, open_store
from llmbench.analytics.warehouse import open_warehouse
from llmbench.errors import WarehouseError
from tests.test_telemetry_store import lines


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(0, 50))
    return path


def test_a_folder_is_no_store(tmp_path, log):
    with pytest.raises(WarehouseError, match=r": Is a directory; name the file of a store, such as "):
        load_store(tmp_path, [log])


def test_a_store_within_a_file_is_refused_with_both_names(log):
    said = r"a\.jsonl: File exists; the folder of x\.duckdb cannot be made: name a store elsewhere"
    with pytest.raises(WarehouseError, match=said):
        load_store(log / "x.duckdb", [log])


def test_a_duckdb_file_of_another_purpose_is_neither_read_nor_changed(tmp_path, log):
    other = tmp_path / "other.duckdb"
    with duckdb.connect(str(other)) as con:
        con.execute("create table mine (a integer)")
    for ask in (lambda: open_warehouse(store=other), lambda: load_store(other, [log])):
        with pytest.raises(WarehouseError, match=r"other\.duckdb is a DuckDB file but no store of telemetry"):
            ask()
    with duckdb.connect(str(other)) as con:
        assert con.execute("select table_name from duckdb_tables()").fetchall() == [("mine",)]


def test_a_duckdb_file_without_a_table_becomes_a_store(tmp_path, log):
    empty = tmp_path / "empty.duckdb"
    duckdb.connect(str(empty)).close()
    assert load_store(empty, [log]).calls == 50


def test_a_store_that_was_cut_is_named_with_what_to_do(tmp_path, log):
    store = tmp_path / "telemetry.duckdb"
    load_store(store, [log])
    with duckdb.connect(str(store)) as con:
        con.execute("checkpoint")
    store.write_bytes(store.read_bytes()[:5000])
    for ask in (lambda: open_warehouse(store=store), lambda: load_store(store, [log])):
        with pytest.raises(
            WarehouseError, match=r"telemetry\.duckdb cannot be opened: .*; bring back a copy, or"
        ):
            ask()


def test_a_damaged_file_of_an_archive_is_named_with_what_to_do(tmp_path, log):
    store, archive = tmp_path / "telemetry.duckdb", tmp_path / "archive"
    load_store(store, [log])
    with open_store(store) as con:
        archive_days(con, archive, keep_days=1)
    part = sorted(archive.glob("day=*/*.parquet"))[3]
    whole = part.read_bytes()
    for damaged in (b"x", whole[: len(whole) // 2]):
        part.write_bytes(damaged)
        with pytest.raises(
            WarehouseError, match=f"archive: .*{part.name}.*; bring back a copy of that file, or"
        ):
            open_warehouse(store=store, archive=archive)
