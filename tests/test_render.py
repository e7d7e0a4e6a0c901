"""The report tells what the run folder holds, every time the same, and shows a stranger's text as text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from markdown_it import MarkdownIt

from llmbench.analytics.render import render_report
from llmbench.analytics.templating import goal, stake
from llmbench.display import wording
from llmbench.errors import WarehouseError
from llmbench.visible import visible
from tests.run_folders import write_run_folder

PAYLOADS = (
    "<script>document.documentElement.dataset.pwn=1</script>",
    "</svg><script>document.documentElement.dataset.pwn=2</script>",
    '"><img src=x onerror="document.documentElement.dataset.pwn=3">',
    "' onmouseover='alert(1)' x='",
    "javascript:document.documentElement.dataset.pwn=4",
    "{{7*7}}{% raw %}${7*7}",
    "]]>--></style></title></textarea><script>document.documentElement.dataset.pwn=5</script>",
    "\x00\x07\x1b[31mred\x7f\x85",
    "\u202egnp.exe\u2066\u200b\ufeff",
    "half \ud83d pair \udfff",
    "| a | b |\n# head\n[x](javascript:alert(1)) ![y](https://evil.example/p.png) `c`",
    "@team #1 $x$ www.evil.example ~~gone~~ **bold** _soft_ :tada:",
    "&lt;b&gt; &amp; \\ &#x3c;script&#x3e;",
)
ALLOWED_TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "main",
    "section",
    "nav",
    "footer",
    "p",
    "h1",
    "h2",
    "h3",
    "ul",
    "li",
    "a",
    "b",
    "strong",
    "small",
    "span",
    "i",
    "code",
    "pre",
    "div",
    "table",
    "caption",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "dl",
    "dt",
    "dd",
    "details",
    "summary",
    "figure",
    "figcaption",
    "svg",
    "desc",
    "rect",
    "line",
    "polyline",
    "path",
    "circle",
    "text",
}
VOID_TAGS = {"meta"}


class Page(HTMLParser):
    """Collects tags, attributes, headings and text; fails on a tag that is closed out of turn."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[int] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID_TAGS:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = write_run_folder(tmp_path_factory.mktemp("clean"), samples=80)
    render_report(folder.run_dir)
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = write_run_folder(tmp_path_factory.mktemp("hostile"), samples=24, plant=PAYLOADS)
    render_report(folder.run_dir)
    return folder


def read(folder, name="report.html") -> str:
    return (folder.run_dir / name).read_text(encoding="utf-8")


def test_the_same_inputs_give_the_same_bytes(tmp_path, clean):
    again = write_run_folder(tmp_path / "elsewhere", samples=80)
    render_report(again.run_dir)
    render_report(again.run_dir)
    made = sorted(p.relative_to(again.run_dir) for p in again.run_dir.rglob("*") if p.is_file())
    assert made == sorted(p.relative_to(clean.run_dir) for p in clean.run_dir.rglob("*") if p.is_file())
    assert len(made) == 3 + 2 * (3 + 12)  # what was there, then three files and the figures a language
    for name in made:
        assert (again.run_dir / name).read_bytes() == (clean.run_dir / name).read_bytes(), name


def test_the_report_reads_nothing_but_the_run_folder(tmp_path, clean):
    import shutil

    alone = tmp_path / "alone" / clean.run_dir.name
    shutil.copytree(clean.run_dir, alone)
    for name in ("report.html", "report.md"):
        (alone / name).unlink()
    render_report(alone)
    assert (alone / "report.html").read_bytes() == (clean.run_dir / "report.html").read_bytes()


def test_every_figure_of_the_recommendation_is_on_the_page(clean):
    text = Page(read(clean)).text
    recommendation = json.loads(read(clean, "recommendation.json"))
    for task in recommendation["tasks"]:
        assert task["sentence"] in text
        for each in task["candidates"]:
            for words in (
                wording.score(each["quality"]),
                wording.score_interval(each["quality_interval"]),
                wording.change(each.get("delta")),
                wording.change_interval(each.get("delta_interval")),
                wording.money(each["cost_usd_per_1000"]),
                wording.duration(each["p50_ms"]),
                wording.duration(each["p95_ms"]),
                wording.duration(each["p99_ms"]),
                wording.duration_interval(each["p95_interval_ms"]),
                stake(each.get("evidence")),
                goal(each.get("threshold")),
                each["reason"],
                each["model"],
            ):
                assert words in text, (each["model"], words)
    for line in recommendation["diff"].splitlines():
        assert line in text


def test_the_first_table_holds_the_decision(clean):
    html = read(clean)
    first = html[html.index("<table") : html.index("</table>")]
    recommendation = json.loads(read(clean, "recommendation.json"))
    for task in recommendation["tasks"]:
        assert task["task"] in first
        assert f"badge {task['outcome']}" in first
        if task["outcome"] == "promote":
            assert task["proposed_model"] in first


def test_verdicts_are_taken_and_not_made(tmp_path):
    folder = write_run_folder(tmp_path, samples=24)
    path = folder.run_dir / "recommendation.json"
    recommendation = json.loads(path.read_text(encoding="utf-8"))
    recommendation["tasks"][0] |= {
        "outcome": "demote",
        "proposed_model": "gemma_free",
        "choice": "gemma_free",
        "sentence": "Because.",
    }
    path.write_text(json.dumps(recommendation), encoding="utf-8")
    render_report(folder.run_dir)
    text = Page(read(folder)).text
    assert "Replace" in text
    assert "Because." in text


def test_the_licence_the_language_caveat_and_the_limits_are_told(clean):
    text = " ".join(Page(read(clean)).text.split())
    for words in (
        "Gemma Terms of Use",
        "A mean over all languages hides differences of 10 points or more",
        "fewer than 80 independent units (for 3 candidates)",
        "llmbench sweep tiers --seed 7 --limit 80",
        "smollm2-135m@1",
        "Load of the machine",
        "max_tokens_key",
        "no structured outputs",
        "Failures by kind",
        "Seed, repeats",
    ):
        assert words in text, words


def test_an_open_upper_limit_is_said_in_words(tmp_path):
    folder = write_run_folder(tmp_path, samples=24)
    render_report(folder.run_dir)
    assert "no upper limit" in Page(read(folder)).text


def test_a_changed_results_file_is_called_out(tmp_path):
    folder = write_run_folder(tmp_path, samples=24)
    with (folder.run_dir / "results.jsonl").open("a", encoding="utf-8") as out:
        out.write('{"torn')
    render_report(folder.run_dir)
    for name in ("report.html", "report.md"):
        text = Page(read(folder)).text if name.endswith("html") else read(folder, name)
        assert "is not the file that the verdicts were computed from" in text
        assert "1 line of results.jsonl could not be used" in text


@pytest.mark.parametrize("name", ["plan.json", "recommendation.json", "results.jsonl"])
def test_a_missing_file_is_named_in_one_line(tmp_path, name):
    folder = write_run_folder(tmp_path, samples=24)
    (folder.run_dir / name).unlink()
    with pytest.raises(WarehouseError, match=re.escape(name)) as caught:
        render_report(folder.run_dir)
    assert "\n" not in str(caught.value)
    assert not (folder.run_dir / "report.html").exists()


@pytest.mark.parametrize("text", ["[]", "{", "null"])
def test_a_broken_recommendation_is_named_in_one_line(tmp_path, text):
    folder = write_run_folder(tmp_path, samples=24)
    (folder.run_dir / "recommendation.json").write_text(text, encoding="utf-8")
    with pytest.raises(WarehouseError, match=r"recommendation\.json"):
        render_report(folder.run_dir)


def test_a_sparse_plan_and_recommendation_still_make_a_report(tmp_path):
    folder = write_run_folder(tmp_path, samples=24)
    sparse = {
        "tasks": [
            {
                "task": "caption",
                "outcome": "inconclusive",
                "reference": "gemma_json",
                "candidates": [{"model": "gemma_json", "state": "reference"}, {"model": "new"}],
            }
        ]
    }
    (folder.run_dir / "plan.json").write_text('{"run_id": "2026-11-22-tiers"}', encoding="utf-8")
    (folder.run_dir / "recommendation.json").write_text(json.dumps(sparse), encoding="utf-8")
    render_report(folder.run_dir)
    assert "None of 1 task can move" in Page(read(folder)).text


def test_an_empty_results_file_makes_a_report_that_says_so(tmp_path):
    folder = write_run_folder(tmp_path, samples=24)
    (folder.run_dir / "results.jsonl").write_text("", encoding="utf-8")
    render_report(folder.run_dir)
    assert "0 scored answers" in Page(read(folder)).text


def test_headings_go_down_one_step_at_a_time_and_tables_say_what_they_are(clean):
    page = Page(read(clean))
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(page.headings, page.headings[1:], strict=False))
    html = read(clean)
    for table in re.findall(r"<table.*?</table>", html, re.DOTALL):
        assert "<caption>" in table or "Answer</th>" in table
        assert 'scope="col"' in table
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for _, name, value in page.attributes:
        if name in ("aria-labelledby", "aria-describedby"):
            assert set(value.split()) <= set(ids)
        if name == "href":
            assert value[1:] in ids or value == "report.ja.html"
    assert ("dd", "lang", "ja") in page.attributes


def test_the_page_carries_its_policy_and_nothing_that_loads_or_runs(hostile):
    page = Page(read(hostile))
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )
    assert ("meta", "content", policy) in page.attributes
    assert page.tags <= ALLOWED_TAGS
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "srcset", "action", "formaction", "xlink:href"), (tag, name)
        assert name != "href" or value.startswith("#") or value == "report.ja.html"


def test_every_payload_is_on_the_page_as_text(hostile):
    text = Page(read(hostile)).text
    for payload in PAYLOADS:
        assert visible(payload) in text


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_no_hidden_mark_or_control_character_reaches_a_file(hostile, name):
    text = read(hostile, name)
    assert visible(text) == text


def test_templates_are_not_evaluated_twice(hostile):
    assert "{{7*7}}" in Page(read(hostile)).text
    assert "4949" not in read(hostile)


def test_svg_files_are_sound_xml_with_title_and_no_script(hostile, clean):
    for folder in (hostile, clean):
        paths = sorted((folder.run_dir / "figures").iterdir())
        assert len(paths) == 24  # in two languages
        for path in paths:
            kinds = "paired|evidence|difference|frontier"
            assert re.fullmatch(rf"({kinds})-\d\d-[a-z0-9-]{{1,40}}(\.ja)?\.svg", path.name)
            root = ET.fromstring(path.read_bytes())  # noqa: S314 - our own file
            names = [each.tag.rpartition("}")[2] for each in root.iter()]
            assert "script" not in names
            assert names.count("title") == names.count("desc") == 1
            assert "prefers-color-scheme: dark" in path.read_text(encoding="utf-8")


def test_markdown_stays_a_summary_whatever_the_texts_say(hostile):
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(read(hostile, "report.md"))
    flat = [child for token in tokens for child in (token.children or [token])]
    unwanted = {"html_block", "html_inline", "link_open", "image", "code_inline", "fence"}
    assert not [token for token in flat if token.type in unwanted]
    assert [t.markup for t in tokens if t.type == "heading_open"] == ["##", *["###"] * 6]
    widths: list[list[int]] = []  # of each table, the cells of each row
    for token in tokens:
        if token.type == "table_open":
            widths.append([])
        elif token.type == "tr_open":
            widths[-1].append(0)
        elif token.type in ("td_open", "th_open"):
            widths[-1][-1] += 1
    assert [set(rows) for rows in widths] == [{7}, {12}, {4}]
    assert len(widths[0]) == 4
    text = "".join(child.content for token in tokens for child in (token.children or []))
    for payload in PAYLOADS[:7]:
        assert payload in text
    assert not re.search(r"(?<!\\)@team|(?<![\\&])#\d", read(hostile, "report.md").replace("&#64;", ""))


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    folder = write_run_folder(tmp_path, samples=24)
    path = render_report(folder.run_dir)
    before = path.read_bytes()
    (folder.run_dir / "recommendation.json").write_text("{", encoding="utf-8")
    with pytest.raises(WarehouseError):
        render_report(folder.run_dir)
    assert path.read_bytes() == before
    assert list(Path(folder.run_dir).rglob("*.partial")) == []
