"""The telemetry notebook through the wrapper, with several sources, and the page that is made of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from llmbench.analytics.ingest import SQL_DIR
from llmbench.analytics.telemetry_store import load_store
from llmbench.analytics.traffic_report import cleaned_output, page_text, write_page
from llmbench.bench.notebooks import run_notebook
from llmbench.cli_telemetry_report import telemetry_report
from llmbench.errors import NotebookError, WarehouseError
from tests.small_notebooks import printed, read
from tests.test_traffic import calls_of
from tests.traffic_log import write_log

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "05_telemetry.ipynb"


def run(tmp_path, parameters):
    done = run_notebook(
        NOTEBOOK, tmp_path / "out" / NOTEBOOK.name, parameters, cwd=NOTEBOOK.parent, timeout_s=200
    )
    return read(done.output)


def said(nb) -> str:
    return printed(nb).strip().splitlines()[-1]


def test_the_notebook_reads_a_log_that_it_is_given(tmp_path):
    log = write_log(tmp_path / "log.jsonl", seed=11, calls=150, broken=("{",))
    nb = run(tmp_path, {"log_path": str(log), "days": 7, "configs": ""})
    seen = [call for call in calls_of(log) if call["timestamp"] >= "2026-11-16"]
    tiers = dict(sorted(Counter(call["tier"] for call in seen).items()))
    assert said(nb).startswith(f"OK {len(seen)} calls, 1 lines quarantined, {tiers}")


def test_the_notebook_reads_a_store_and_prices_what_it_finds(tmp_path):
    log = write_log(tmp_path / "log.jsonl", seed=12, calls=200)
    load_store(tmp_path / "t.duckdb", [log])
    nb = run(
        tmp_path, {"store_path": str(tmp_path / "t.duckdb"), "days": 365, "configs": str(ROOT / "configs")}
    )
    tiers = dict(sorted(Counter(call["tier"] for call in calls_of(log)).items()))
    assert said(nb).startswith(f"OK 200 calls, 5 lines quarantined, {tiers}")
    kinds = Counter(
        kind for cell in nb.cells for out in cell.get("outputs", []) for kind in out.get("data", {})
    )
    assert kinds["image/svg+xml"] == 6


def test_the_notebook_says_that_there_are_no_calls(tmp_path):
    (tmp_path / "log.jsonl").write_text("[]\n", encoding="utf-8")
    nb = run(tmp_path, {"log_path": str(tmp_path / "log.jsonl"), "configs": ""})
    assert said(nb) == "OK 0 calls, 1 lines quarantined, {} changed: 0"


@pytest.mark.parametrize(
    ("asked", "mart"),
    [
        ("latency_by_task", "mart_call_latency"),
        ("errors", "mart_call_errors"),
        ("endings", "mart_endings"),
        ("fallbacks", "mart_fallbacks"),
        ("budget", "mart_budget"),
        ("what_if", "mart_what_if"),
    ],
)
def test_a_table_shows_every_column_that_tells_its_rows_apart(asked, mart):
    header = (SQL_DIR / "marts" / f"{mart}.sql").read_text(encoding="utf-8")
    key = re.search(r"^-- key: (.+)$", header, re.MULTILINE).group(1).split(", ")
    [cell] = [cell.source for cell in read(NOTEBOOK).cells if f"table(traffic.{asked}()" in cell.source]
    assert set(key) <= set(re.findall(r'"(\w+)"', cell))


# ---- the page


def test_the_report_is_one_file_that_holds_everything_and_no_address(tmp_path):
    log = write_log(tmp_path / "calls.jsonl", seed=13, calls=120)
    page = telemetry_report(tmp_path / "out", log=str(log), notebook=NOTEBOOK, days=14)
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "out" / "telemetry.html"
    assert "5 lines of the whole logs are quarantined" in text
    assert text.count("<figure>") == 6
    assert "字幕の翻訳" in text
    assert not re.search(r"https?://|<script|<link|<img|\bon\w+=|import |NBVAL", text)
    assert "Content-Security-Policy" in text
    assert str(tmp_path) not in text
    assert "days = 14" in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert (
        write_page(page.with_name(NOTEBOOK.name), tmp_path / "again.html").read_text(encoding="utf-8") == text
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"log": "a.jsonl", "store": Path("b")}, "--log or --store, not both"),
        ({}, "no telemetry named and no store"),
        (
            {"log": "a.jsonl", "notebook": Path("nowhere.ipynb")},
            "nowhere.ipynb is missing; run this in the project",
        ),
    ],
)
def test_a_wrong_choice_is_refused_before_a_kernel_starts(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotebookError, match=said):
        telemetry_report(tmp_path / "out", **({"notebook": NOTEBOOK} | options))
    assert not (tmp_path / "out").exists()


def test_a_run_that_fails_leaves_the_last_page_as_it_was(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "telemetry.html").write_text("the last one", encoding="utf-8")
    with pytest.raises(NotebookError, match="no such log"):
        telemetry_report(out, log=str(tmp_path / "nowhere.jsonl"), notebook=NOTEBOOK)
    assert (out / "telemetry.html").read_text(encoding="utf-8") == "the last one"


def test_what_is_no_notebook_is_no_page(tmp_path):
    (tmp_path / "x.ipynb").write_text("{}", encoding="utf-8")
    for path in (tmp_path / "x.ipynb", tmp_path / "nowhere.ipynb"):
        with pytest.raises(WarehouseError, match="no notebook to make a page of"):
            write_page(path, tmp_path / "x.html")
    assert not (tmp_path / "x.html").exists()


def shown(**data: str) -> str:
    return cleaned_output(
        new_output("display_data", {key.replace("__", "/"): text for key, text in data.items()}), "k"
    )


@pytest.mark.parametrize(
    "hostile",
    [
        "<table><tr><td onclick='x()'>1</td></tr></table><script>x()</script>",
        "<img src=x onerror=x()><iframe src=//e.invalid></iframe><object data=x></object>",
        "<a href='javascript:x()'>go</a><form action=//e.invalid><input></form>",
        "<style>@import url(//e.invalid)</style><link rel=stylesheet href=//e.invalid>",
        "<svg><script>x()</script><foreignObject><img src=x onerror=x()></foreignObject></svg>",
        "<math><mtext><style><img src=x onerror=x()></style></mtext></math>",
        "<p style='background:url(//e.invalid)'>text</p><base href=//e.invalid>",
    ],
)
def test_only_tags_on_the_list_are_left_of_an_output(hostile):
    for clean in (shown(text__html=hostile), shown(**{"image/svg+xml": hostile})):
        assert not re.search(
            r"<(script|img|iframe|object|form|input|style|link|base|foreignObject|a)\b", clean
        )
        assert not re.search(r"<[^>]*\b(on\w+|href|src|style|action)=", clean)


def test_of_a_picture_only_the_drawing_is_left():
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1" width="5" onload="x()"><style>*{}</style>'
        '<rect class="t-0" x="0" y="0" width="1" height="1" onclick="x()" style="fill:red">'
        "<title>a &lt;b&gt;</title></rect>"
        '<a href="javascript:x()"><text>go</text></a><script>x()</script><use href="#y"/></svg>'
    )
    assert shown(**{"image/svg+xml": svg}) == (
        '<figure><svg viewBox="0 0 1 1"><rect class="t-0" x="0" y="0" width="1" height="1">'
        "<title>a &lt;b&gt;</title></rect></svg></figure>"
    )
    for bad in ('<!DOCTYPE x [<!ENTITY a "b">]><svg>&a;</svg>', "<svg>", "<html></html>"):
        assert shown(**{"image/svg+xml": bad}).startswith("<pre>a picture")


def test_a_form_that_can_run_is_not_shown_and_text_stays_text():
    assert shown(application__javascript="alert(1)") == ""
    assert shown(application__javascript="alert(1)", text__plain="<b>") == "<pre>&lt;b&gt;</pre>"
    assert (
        shown(image__png='iVBO" onerror="x()')
        == '<figure><img alt="" src="data:image/png;base64,iVBOonerror=x"></figure>'
    )
    error = new_output("error", ename="E", evalue="e", traceback=["\x1b[31m<script>\x1b[0m"])
    assert cleaned_output(error, "k") == "<pre>&lt;script&gt;</pre>"


def test_markdown_and_titles_are_cleaned_and_cells_can_be_left_out():
    cells = [
        new_markdown_cell(
            "# Head <script>x()</script>\n\n[go](javascript:x()) ![i](//e.invalid/p.png) **bold**"
        ),
        new_code_cell("1", outputs=[new_output("stream", text="kept")]),
        new_code_cell("2", outputs=[new_output("stream", text="gone")], metadata={"tags": ["remove-cell"]}),
    ]
    nb = new_notebook(
        cells=cells, metadata={"papermill": {"parameters": {"a": "<img src=x>"}, "input_path": "n"}}
    )
    text = page_text(nbformat.from_dict(json.loads(json.dumps(nb))), title="</title><script>x()</script>")
    body = text.partition("<body>")[2]
    assert "<strong>bold</strong>" in body
    assert "kept" in body
    assert "gone" not in body
    assert not re.search(r"<script|<img|<a\b|javascript:", text)
