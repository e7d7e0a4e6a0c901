"""A query can read the open warehouse and do nothing else."""

from __future__ import annotations

import pytest

from llmbench.analytics.warehouse import open_warehouse
from llmbench.errors import WarehouseError
from tests.run_folders import write_run_folder


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    folder = write_run_folder(tmp_path_factory.mktemp("run"), samples=12)
    with open_warehouse(run_dirs=[folder.run_dir]) as opened:
        yield opened


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("create table x (a int)", "read-only"),
        ("insert into raw_results (file) values ('x')", "read-only"),
        ("with x as (insert into raw_results (file) values ('x') returning *) select * from x", "read-only"),
        ("with x as (delete from raw_results returning *) select * from x", "read-only"),
        ("drop view mart_usage", "read-only"),
        ("copy (select 1) to 'out.csv'", "read-only"),
        ("copy raw_results from '/etc/passwd'", "read-only"),
        ("install httpfs", "read-only"),
        ("load httpfs", "read-only"),
        ("attach 'other.db'", "read-only"),
        ("set enable_external_access = true", "read-only"),
        ("reset lock_configuration", "read-only"),
        ("pragma database_list", "read-only"),
        ("call pragma_version()", "read-only"),
        ("export database 'out'", "read-only"),
        ("select * from read_text('/etc/passwd')", "disabled by configuration"),
        ("select * from read_csv('/etc/passwd')", "disabled by configuration"),
        ("select * from read_json('https://example.com/x')", "disabled|does not exist|extension"),
        ("select * from glob('/etc/*')", "disabled by configuration"),
        ("select * from '/etc/passwd'", "does not exist"),
        ("select * from folder", "does not exist"),
        ("select 1; select 2", "one statement"),
        ("", "one statement"),
        ("-- nothing", "one statement"),
        ("selec 1", "syntax error"),
        ("select * from mart_usge", 'Did you mean "mart_usage"'),
        ("select mean_scor from mart_candidates", "mean_score"),
        ("select error('boom')", "boom"),
    ],
)
def test_a_query_can_only_read_the_warehouse(warehouse, sql, words):
    before = warehouse.rows("select count(*) as n from raw_results")
    for ask in (warehouse.query, warehouse.rows):
        with pytest.raises(WarehouseError, match=words) as caught:
            ask(sql)
        assert "\n" not in str(caught.value)
    assert warehouse.rows("select count(*) as n from raw_results") == before


def test_parameters_are_values_and_never_sql(warehouse):
    got = warehouse.rows("select $x as x", {"x": "'; drop view mart_usage; --"})
    assert got == [{"x": "'; drop view mart_usage; --"}]
    assert warehouse.query("select ? + 1 as n", [41])["n"].tolist() == [42]
