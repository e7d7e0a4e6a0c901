"""The telemetry report in a real browser: one request, nothing runs or overflows, no text hides another."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from llmbench.cli_telemetry_report import telemetry_report
from llmbench.display import figures
from llmbench.display.language import speaking
from llmbench.display.traffic_figures_marks import style
from llmbench.visible import visible
from tests.test_report_browser import _CONTRAST, Visit, browser  # noqa: F401 - a fixture is used by its name
from tests.test_traffic_figures import crowded, hidden_texts
from tests.traffic_log import RECORDING, log_lines

pytestmark = pytest.mark.browser

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "05_telemetry.ipynb"
PAYLOADS = {
    "字幕の翻訳": "<script>document.documentElement.dataset.pwn=1</script>",
    "caption": '"><img src=x onerror="document.documentElement.dataset.pwn=2">',
    "gem_3_8_flash": "</svg><script>document.documentElement.dataset.pwn=3</script>",
    "az_gpt_6_luna": "</title></style><svg onload=document.documentElement.dataset.pwn=4>",
    "or_deepseek_v3_2": "' onmouseover='document.documentElement.dataset.pwn=5' x='",
    "cheap": "javascript:document.documentElement.dataset.pwn=6",
    "the model writes at most 256 tokens": "<iframe src=javascript:document.documentElement.dataset.pwn=7>",
    "rate_limit": "<a href=https://evil.invalid/>rate</a>\u202e",
}
# The corners of every text's box on the screen, turned ones too.
_TEXTS = """() => [...document.querySelectorAll("svg.figure")].map(svg => [
  ...svg.querySelectorAll("text")].map(t => {
  const b = t.getBBox(), m = t.getScreenCTM(), pad = 1.5;
  const at = (x, y) => { const p = new DOMPoint(x, y).matrixTransform(m); return [p.x, p.y]; };
  return [t.firstChild.data, [at(b.x, b.y + pad), at(b.x + b.width, b.y + pad),
                              at(b.x + b.width, b.y + b.height - pad), at(b.x, b.y + b.height - pad)]];
}))"""
_OUTSIDE = """() => [...document.querySelectorAll("svg.figure")].flatMap(svg => {
  const s = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(t => { const r = t.getBoundingClientRect();
    return r.left < s.left - 1 || r.right > s.right + 1 || r.top < s.top - 1 || r.bottom > s.bottom + 1;
  }).map(t => t.textContent);
})"""

_LINES = """e => { const r = document.createRange(); r.selectNodeContents(e);
  return r.getClientRects().length; }"""


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return telemetry_report(
        tmp_path_factory.mktemp("clean"), log=str(RECORDING), notebook=NOTEBOOK, languages=("en", "ja")
    )


@pytest.fixture(scope="module")
def hostile(hostile_pages):
    return hostile_pages["en"]


@pytest.fixture(scope="module")
def hostile_pages(tmp_path_factory):
    """A page in each language, each made alone."""
    folder = tmp_path_factory.mktemp("hostile")
    lines = []
    for line in log_lines(broken=(f"[{PAYLOADS['caption']}", PAYLOADS["字幕の翻訳"])):
        pattern = "|".join(re.escape(json.dumps(name, ensure_ascii=False)) for name in PAYLOADS)
        lines.append(re.sub(pattern, lambda found: json.dumps(PAYLOADS[json.loads(found[0])]), line))
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    log = str(folder / "log.jsonl")
    return {
        tag: telemetry_report(folder / tag, log=log, notebook=NOTEBOOK, languages=[tag])
        for tag in ("en", "ja")
    }


@pytest.mark.parametrize(
    ("tag", "scheme", "width"),
    [
        ("en", "light", 1200),
        ("en", "dark", 1200),
        ("en", "light", 400),
        ("ja", "light", 1100),
        ("ja", "dark", 420),
    ],
)
def test_one_request_no_console_line_and_no_payload_runs(browser, hostile_pages, tag, scheme, width):
    with Visit(browser, hostile_pages[tag], width=width, scheme=scheme) as visit:
        visit.poke()
        page = visit.page
        for row in page.query_selector_all("tbody th")[:20]:
            row.hover()
        assert page.evaluate("document.documentElement.dataset.pwn") is None
        assert page.evaluate("window.__pwned") == []
        assert visit.said == []
        assert visit.asked == [visit.url]
        assert page.evaluate("document.scripts.length") == 0
        assert page.locator("img, iframe, object, embed, a, link, form").count() == 0
        text = page.evaluate("document.body.textContent")
        for payload in PAYLOADS.values():
            assert visible(payload) in text, payload
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_policy_itself_stops_a_script_that_gets_through(browser, clean, tmp_path):
    text = clean.read_text(encoding="utf-8")
    inject = (
        "<script>document.documentElement.dataset.pwn=9</script><img src=https://evil.invalid/p.png></main>"
    )
    (tmp_path / "broken.html").write_text(text.replace("</main>", inject, 1), encoding="utf-8")
    with Visit(browser, tmp_path / "broken.html") as visit:
        assert visit.page.evaluate("document.documentElement.dataset.pwn") is None
        assert len(visit.page.evaluate("window.__pwned")) == 2


@pytest.mark.parametrize("name", ["telemetry.html", "telemetry.ja.html"])
@pytest.mark.parametrize("width", [360, 420, 768, 1100])
def test_only_containers_scroll_sideways(browser, clean, name, width):
    with Visit(browser, clean.with_name(name), width=width) as visit:
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
        assert visit.said == []


@pytest.mark.parametrize("name", ["telemetry.html", "telemetry.ja.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_outside_the_pictures_can_be_read(browser, clean, name, scheme):
    with Visit(browser, clean.with_name(name), scheme=scheme) as visit:
        low = [each for each in visit.page.evaluate(_CONTRAST) if not (each[1] or "").startswith("t-on-")]
        assert low == []  # numbers on shades: tests/test_traffic_figures.py has their contrast


def test_every_picture_and_table_has_a_name_and_what_was_quarantined_comes_first(browser, clean):
    with Visit(browser, clean) as visit:
        page = visit.page
        assert page.get_by_role("img").count() == 6
        for picture in page.get_by_role("img").all():
            assert picture.evaluate("e => e.querySelector('title').textContent.length > 10")
            assert picture.evaluate("e => e.querySelector('desc').textContent.length > 20")
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.locator("h2").first.text_content() == "What was loaded"
        assert "5 lines of the whole logs are quarantined" in page.locator(".callout").first.text_content()


def test_a_screen_reader_hears_japanese_and_a_click_leads_to_the_other_language(browser, clean):
    with Visit(browser, clean.with_name("telemetry.ja.html"), width=420) as visit:
        page = visit.page
        assert page.evaluate("document.documentElement.lang") == "ja"
        assert page.get_by_role("heading", level=1).inner_text().startswith("テレメトリー")
        assert page.get_by_role("img", name="モデル別の応答時間").count() == 1
        assert page.get_by_role("columnheader", name="費用不明").first.is_visible()
        assert page.get_by_role("group", name="予算との比較").count() == 1
        page.get_by_role("link", name="English").click()
        assert page.url.endswith("/telemetry.html")
        page.get_by_role("link", name="日本語").click()
        assert page.url.endswith("/telemetry.ja.html")
        assert visit.said == []


def test_a_short_word_of_a_japanese_table_is_not_broken(browser, clean):
    with Visit(browser, clean.with_name("telemetry.ja.html"), width=1100) as visit:
        cells = visit.page.get_by_role("cell", name="いいえ", exact=True)
        assert cells.count() > 3
        assert cells.last.evaluate(_LINES) == 1


@pytest.mark.parametrize("tag", ["en", "ja"])
@pytest.mark.parametrize("width", [400, 1200])
def test_no_text_of_a_picture_hides_another_or_leaves_it(browser, clean, hostile_pages, tmp_path, tag, width):
    sheet = style() + "svg.figure { display: block; width: 100%; max-width: 34rem; overflow: visible; }"
    with speaking(tag):
        drawn = "".join(figures.inline(svg) for svg in crowded())
    full = tmp_path / "crowded.html"
    full.write_text(f"<!doctype html><meta charset=utf-8><style>{sheet}</style>{drawn}", encoding="utf-8")
    for path in (clean.with_name(hostile_pages[tag].name), hostile_pages[tag], full):
        with Visit(browser, path, width=width) as visit:
            for texts in visit.page.evaluate(_TEXTS):
                assert hidden_texts([(text, [tuple(at) for at in box]) for text, box in texts]) == []
            assert visit.page.evaluate(_OUTSIDE) == []


def test_a_cron_line_can_write_it(clean, tmp_path):
    """A page is replaced whole: whoever reads it meanwhile has the one before."""
    page = tmp_path / "telemetry.html"
    shutil.copy(clean, page)
    with page.open(encoding="utf-8") as reading:
        telemetry_report(tmp_path, log=str(RECORDING), notebook=NOTEBOOK, days=7)
        assert reading.read().rstrip().endswith("</html>")
    assert "days = 7" in page.read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["05_telemetry.ipynb", "telemetry.html"]
