"""docs/scorers.md against the code: the table is the registry, and each example gives the score it shows."""

import json
import re
import sys
from pathlib import Path

import pytest

from llmbench.bench.scorers import SCORERS, score, scorer_rows
from tests.test_scorers import sample

PAGE = (Path(__file__).parents[1] / "docs" / "scorers.md").read_text(encoding="utf-8")


def table(heading):
    """The rows of the first table under a heading, cells without their blanks."""
    lines = PAGE.partition(f"\n{heading}\n")[2].partition("\n## ")[0].splitlines()
    rows = [line for line in lines if line.startswith("|")][2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def shown(row):
    params = [f"`{name}`" + ("" if value == "null" else f" {value}") for name, value in row.params.items()]
    return [f"`{row.name}`", row.summary, ", ".join(params) or "none"]


def test_the_table_is_the_registry():
    assert [cells[:3] for cells in table("## All scorers")] == [shown(row) for row in scorer_rows()]
    assert all(cells[3] for cells in table("## All scorers"))


EXAMPLES = table("## Examples")


def test_every_scorer_has_an_english_and_a_japanese_example():
    seen = {(name.strip("`"), lang) for name, lang, *_ in EXAMPLES}
    assert seen == {(name, lang) for name in SCORERS for lang in ("en", "ja")}


@pytest.mark.parametrize("cells", EXAMPLES, ids=lambda cells: "-".join(cells[:2]).replace("`", ""))
def test_an_example_gives_the_score_it_shows(cells):
    name, lang, params, of_sample, reply, shown_score = cells
    given = json.loads(of_sample.strip("`"))
    one = sample(given["target"], given.get("input", "text"), lang, **given.get("checks", {}))
    schema = {"type": "object"} if name == "`json_schema`" else None
    got = score(name.strip("`"), json.loads(params.strip("`")), json.loads(reply.strip("`")), one, schema)
    assert f"{got.value:.2f}" == shown_score


def test_the_plug_in_of_the_page_works(tmp_path, monkeypatch):
    code, project = re.findall(r"```(?:python|toml)\n(.*?)```", PAGE, re.DOTALL)[:2]
    names = re.search(r'"llmbench\.scorers"\]\n(\w+) = "(\w+):(\w+)"', project)
    scorer_name, module, function = names.groups()
    (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
    info = tmp_path / "page-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: page\nVersion: 1\n", encoding="utf-8")
    points = f"[llmbench.scorers]\n{scorer_name} = {module}:{function}\n"
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        one = sample("速報: 海", lang="ja")
        assert score(scorer_name, {"tags": ["速報"]}, "速報: 海が静か", one, None).value == 1
        assert score(scorer_name, {"tags": ["速報"]}, "海が静か", one, None).value == 0
    finally:
        SCORERS.pop(scorer_name, None)
        sys.modules.pop(module, None)
