"""The Japanese report in a real browser: it fits, it can be read, and its words are found by their names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llmbench.analytics.render import render_report
from tests.run_folders import write_run_folder
from tests.test_render import PAYLOADS
from tests.test_report_browser import _CONTRAST, Visit, browser

__all__ = ["browser"]
pytestmark = pytest.mark.browser
EXAMPLE = Path(__file__).parents[1] / "reports" / "example"
# Texts of pictures that another text lies over, or that leave their picture.
_COLLISIONS = """() => {
  const found = [];
  for (const svg of document.querySelectorAll("svg.figure")) {
    const frame = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
    boxes.forEach(([text, a], at) => {
      if (a.left < frame.left - 2 || a.right > frame.right + 2) found.push(["leaves", text]);
      for (const [other, b] of boxes.slice(at + 1)) {
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (across > 2 && down > 5) found.push([text, other]);
      }
    });
  }
  return found;
}"""


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example") / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("notebooks", "figures", "report.*"))
    render_report(folder)
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = write_run_folder(tmp_path_factory.mktemp("hostile"), samples=24, plant=PAYLOADS)
    render_report(folder.run_dir)
    return folder.run_dir


@pytest.mark.parametrize("width", [360, 390, 768, 1100])
def test_the_page_fits_every_width(browser, example, hostile, width):
    for folder in (example, hostile):
        with Visit(browser, folder / "report.ja.html", width=width) as visit:
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
            box = visit.page.query_selector("table.cards").evaluate(
                "t => [t.scrollWidth, t.parentElement.clientWidth]"
            )
            # Between phone and desk the decision may scroll inside its own frame, as it does in English.
            assert folder is hostile or width == 768 or box[0] <= box[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_and_no_label_of_a_picture_hides_another(browser, example, scheme):
    with Visit(browser, example / "report.ja.html", scheme=scheme, width=1100) as visit:
        assert visit.page.evaluate(_CONTRAST) == []
        assert visit.page.evaluate(_COLLISIONS) == []
        assert visit.said == []


def test_no_payload_runs_in_the_japanese_page(browser, hostile):
    with Visit(browser, hostile / "report.ja.html") as visit:
        visit.poke()
        assert visit.page.evaluate("document.documentElement.dataset.pwn") is None
        assert visit.page.evaluate("window.__pwned") == []
        assert visit.said == []
        assert {url.partition("#")[0] for url in visit.asked} == {visit.url}


def test_a_screen_reader_hears_japanese_names(browser, example):
    with Visit(browser, example / "report.ja.html", width=390) as visit:
        page = visit.page
        assert page.evaluate("document.documentElement.lang") == "ja"
        assert page.get_by_role("heading", level=1).inner_text().startswith("タスク 6 件のうち 2 件")
        assert page.get_by_role("columnheader", name="判定").count() == 1
        assert page.get_by_role("rowheader", name="fact_extract").first.is_visible()
        assert page.get_by_role("img", name="独立単位ごとの得点の差").count() == 6


def test_a_click_leads_to_the_other_language_and_back(browser, example):
    with Visit(browser, example / "report.html") as visit:
        visit.page.get_by_role("link", name="日本語").click()
        assert visit.page.url.endswith("/report.ja.html")
        visit.page.get_by_role("link", name="English").click()
        assert visit.page.url.endswith("/report.html")
        assert visit.said == []


def test_code_of_the_japanese_page_keeps_its_columns(browser, example):
    with Visit(browser, example / "report.ja.html") as visit:
        codes = "[...document.querySelectorAll('code, code span, .mono')]"
        fonts = visit.page.evaluate(f"{codes}.map(e => getComputedStyle(e).fontFamily)")
        assert fonts
        assert all("monospace" in font for font in fonts)
