"""Every SQL file is what its header says: grain, key, reads, columns, and the house's form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmbench.analytics.ingest import SQL_DIR
from llmbench.analytics.traffic_prices import CandidatePrice
from llmbench.analytics.warehouse import Warehouse, build_views, find_views, open_warehouse
from llmbench.catalog import BudgetLimits
from llmbench.errors import WarehouseError
from tests.run_folders import telemetry_lines, write_judgements, write_run_folder

VIEW_FILES = sorted(path for part in ("staging", "marts") for path in (SQL_DIR / part).glob("*.sql"))
ALL_FILES = sorted(SQL_DIR.rglob("*.sql"))
WANTED = {
    "stg_results",
    "stg_calls",
    "stg_attempts",
    "stg_adjustments",
    "stg_ledger",
    "stg_judgements",
    "stg_labels",
    "mart_attempts",
    "mart_candidates",
    "mart_cluster_scores",
    "mart_paired",
    "mart_disagreements",
    "mart_latency",
    "mart_failures",
    "mart_adjustments",
    "mart_language",
    "mart_usage",
    "mart_media",
    "mart_reconciliation",
    "mart_preferences",
    "mart_win_rates",
    "mart_judges",
    "mart_call_latency",
    "mart_costs",
    "mart_call_errors",
    "mart_fallbacks",
    "mart_endings",
    "mart_cache",
    "mart_budget",
    "mart_what_if",
    "mart_drift",
    "stg_rollout_calls",
    "mart_rollouts",
}


def header(path: Path, name: str) -> str:
    found = re.search(rf"^-- {name}: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"{path.name} has no `-- {name}:` line"
    return found[1]


def body(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    import json

    root = tmp_path_factory.mktemp("sql")
    folder = write_run_folder(root, samples=30)
    write_judgements(folder)
    usage = root / "usage.jsonl"
    lines = telemetry_lines(400)
    lines[0]["rollout"] = {"name": "r", "mode": "split", "arm": "control", "of": None, "models": ["m"]}
    lines[1] |= {"status": "success", "model": "m", "media": {"modality": "image", "images": 1}}
    whole = "".join(json.dumps(line) + "\n" for line in lines)
    usage.write_text(whole + '{"torn": ', encoding="utf-8")
    with open_warehouse(
        run_dirs=[folder.run_dir],
        ledgers=[folder.ledger],
        telemetry=[folder.telemetry, usage],
        prices=[CandidatePrice("standard", "other", 1.0, 2.0)],
        budgets=BudgetLimits(run_usd=5.0),
    ) as warehouse:
        yield warehouse


def test_every_promised_view_has_a_file():
    assert {path.stem for path in VIEW_FILES} >= WANTED


@pytest.mark.parametrize("path", VIEW_FILES, ids=lambda path: path.stem)
def test_the_header_names_the_real_columns_in_order(path: Path, loaded: Warehouse):
    text = path.read_text(encoding="utf-8")
    promised = re.findall(r"^--   ([a-z0-9_]+): \S", text.split("-- columns:\n", 1)[1], re.MULTILINE)
    assert promised == list(loaded.query(f"select * from {path.stem} limit 0").columns)  # noqa: S608


@pytest.mark.parametrize("path", VIEW_FILES, ids=lambda path: path.stem)
def test_the_key_is_unique_and_the_view_is_not_empty(path: Path, loaded: Warehouse):
    key = header(path, "key")
    rows = loaded.rows(
        f"with keys as (select distinct {key} from {path.stem}) "  # noqa: S608 - names from our own files
        f"select (select count(*) from keys) as distinct_n, count(*) as n from {path.stem}"
    )
    assert rows[0]["n"] == rows[0]["distinct_n"] > 0


@pytest.mark.parametrize("path", VIEW_FILES, ids=lambda path: path.stem)
def test_the_reads_header_names_exactly_what_is_read(path: Path, loaded: Warehouse):
    tables = set(re.findall(r"\b(?:from|join)\s+([a-z_][a-z0-9_]*)", body(path)))
    steps = set(re.findall(r"\b([a-z_]+) as \(\n", body(path)))
    assert tables - steps == set(header(path, "reads").split(", "))


@pytest.mark.parametrize(
    "path", [p for p in ALL_FILES if not p.stem.endswith("_tables")], ids=lambda path: path.stem
)
def test_a_file_is_one_select_in_the_house_form(path: Path):
    code = body(path)
    assert header(path, "grain")
    assert code.startswith("with ")
    assert code.splitlines()[-1] == "select * from final"
    assert ";" not in code
    outside_strings = re.sub(r"'[^']*'", "''", code)
    assert outside_strings == outside_strings.lower()


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: path.stem)
def test_every_division_is_guarded(path: Path):
    for found in re.finditer(r"/\s*(\w+)", body(path)):
        assert found[1] == "nullif" or float(found[1]) > 0, found[0]


def test_every_view_is_empty_and_not_an_error_without_inputs():
    with open_warehouse() as warehouse:
        for name in warehouse.views:
            assert len(warehouse.query(f"select * from {name}")) == 0, name  # noqa: S608


def test_views_that_read_each_other_in_a_circle_are_refused():
    views = {"a": "-- reads: b\nselect 1", "b": "-- reads: a\nselect 1"}
    with pytest.raises(WarehouseError, match="circle"):
        build_views(None, views)


@pytest.mark.parametrize("name", ["Bad.sql", "1st.sql", 'x"; drop table y; --.sql', "ä.sql"])
def test_a_file_name_that_is_no_identifier_is_refused(tmp_path: Path, name: str):
    (tmp_path / "marts").mkdir()
    (tmp_path / "marts" / name).write_text("-- reads: x\nselect 1", encoding="utf-8")
    with pytest.raises(WarehouseError, match="rename"):
        find_views(tmp_path)


def test_a_view_without_a_reads_header_is_refused():
    with pytest.raises(WarehouseError, match="reads"):
        build_views(None, {"a": "select 1"})
