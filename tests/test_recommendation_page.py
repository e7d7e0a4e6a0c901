"""A recommendation in a notebook: one kind of figure a column, and why a task keeps its model."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

from llmbench.bench.recommendation import Recommendation

EXAMPLE = Path(__file__).parents[1] / "reports" / "example" / "recommendation.json"


class Cells(HTMLParser):
    """The texts of the cells of a page's tables, row by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._is_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self._is_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._is_cell = False

    def handle_data(self, data: str) -> None:
        if self._is_cell:
            self.rows[-1][-1] += data


def test_a_column_holds_one_kind_of_figure_and_a_task_that_keeps_its_model_says_why():
    content = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    head, *rows = Cells(Recommendation(content)._repr_html_()).rows
    shown = [dict(zip(head, row, strict=True)) for row in rows]
    assert len(shown) == len(content["tasks"])
    for row, task in zip(shown, content["tasks"], strict=True):
        assert 0 <= float(row["quality now"]) <= 100
        assert row["cost now per 1,000"].startswith("$")
        if task["choice"] == task["reference"]:
            assert {row[name] for name in ("proposed", "change, points", "cost ratio", "p95 then")} == {""}
            rivals = [each["model"] for each in task["candidates"] if each["model"] != task["reference"]]
            assert rivals
            assert all(f"{model}: " in row["why no change"] for model in rivals)
        else:
            assert row["change, points"][0] in "+−±"
            assert row["cost ratio"].endswith("×")
            assert row["why no change"] == ""
    assert {task["choice"] == task["reference"] for task in content["tasks"]} == {True, False}


def test_limits_that_are_missed_and_a_lack_of_candidates_are_reasons():
    content = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    kept = next(task for task in content["tasks"] if task["choice"] == task["reference"])
    alone = {**kept, "candidates": [row for row in kept["candidates"] if row["model"] == kept["reference"]]}
    for task, why in (
        (alone, "no other model was compared"),
        ({**alone, "limits_missed": ["floor"]}, "floor"),
    ):
        page = Cells(Recommendation({**content, "tasks": [task]})._repr_html_())
        assert why in page.rows[1][-1]
