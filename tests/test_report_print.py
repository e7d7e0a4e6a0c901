"""The report on paper: light, whole, on pages of any common size."""

from __future__ import annotations

import re

import pytest

from tests.report_pages import example_run, media_run, rich_run, telemetry_page
from tests.test_report_browser import _CONTRAST, Visit, browser  # noqa: F401 - a fixture is used by its name

pytestmark = pytest.mark.browser

A4_TEXT = 695  # px: 210 mm less the margins of 13 mm, 96 px an inch
LETTER_TEXT = 717  # px: 8.5 inches less the same
_STYLE = "([name, key]) => [...document.querySelectorAll(name)].map(e => getComputedStyle(e)[key])"
# What stands out of the page on the right, in tables too: on paper nothing scrolls.
_OUTSIDE = """() => [...document.querySelectorAll("table, figure, svg.figure, pre, td, th, p, img")]
  .filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => e.tagName + " " + e.textContent.slice(0, 40))"""


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return rich_run(tmp_path_factory.getbasetemp() / "rich")


def on_paper(browser, path, *, width=A4_TEXT, scheme="dark") -> Visit:
    visit = Visit(browser, path, width=width, scheme=scheme)
    visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")
    visit.page.emulate_media(media="print", color_scheme=scheme)
    return visit


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_a_dark_screen_prints_dark_ink_on_light_paper(browser, rich):
    with on_paper(browser, rich / "report.html") as visit:
        page = visit.page
        assert page.evaluate(_STYLE, ["body", "color"]) == ["rgb(29, 33, 39)"]
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
        assert set(page.evaluate(_STYLE, ["svg .f-name", "fill"])) == {"rgb(29, 33, 39)"}
        assert set(page.evaluate(_STYLE, [".badge.promote", "color"])) == {"rgb(23, 114, 74)"}
        assert page.evaluate(_CONTRAST) == []
        page.emulate_media(media="screen", color_scheme="dark")
        assert page.evaluate(_STYLE, ["body", "color"]) == ["rgb(229, 232, 236)"]


def test_a_figure_by_itself_prints_light_too(browser, rich):
    path = next((rich / "figures").glob("paired-01-*.svg"))
    with Visit(browser, path, scheme="dark") as visit:
        visit.page.emulate_media(media="print", color_scheme="dark")
        assert set(visit.page.evaluate(_STYLE, ["text.f-name", "fill"])) == {"rgb(29, 33, 39)"}


@pytest.mark.parametrize("name", ["report.html", "report.ja.html"])
def test_everything_is_on_the_page_and_nothing_is_beside_it(browser, rich, name):
    with on_paper(browser, rich / name) as visit:
        page = visit.page
        for width in (A4_TEXT, LETTER_TEXT):
            page.set_viewport_size({"width": width, "height": 1000})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(_OUTSIDE) == []
        folded = "details > :not(summary), details table"
        assert page.locator(folded).count() > 8
        assert page.evaluate(
            "name => [...document.querySelectorAll(name)].every(e => e.checkVisibility())", folded
        )
        for left_out in ("nav", ".others", ".skip"):
            assert not page.locator(left_out).first.is_visible()


def test_rows_figures_callouts_and_samples_are_kept_whole_and_headings_with_what_follows(browser, rich):
    with on_paper(browser, rich / "report.html") as visit:
        for kept in ("tr", "figure", ".callout", "caption", "details:not(:has(tr:nth-child(30)))"):
            assert set(visit.page.evaluate(_STYLE, [kept, "breakInside"])) == {"avoid"}, kept
        for heading in ("h2", "h3", "summary"):
            assert set(visit.page.evaluate(_STYLE, [heading, "breakAfter"])) == {"avoid"}, heading
        assert set(visit.page.evaluate(_STYLE, [".badge, .meter i", "printColorAdjust"])) == {"exact"}


def test_a_pdf_has_a_sane_number_of_pages_its_links_and_its_headings(browser, rich):
    with Visit(browser, rich / "report.html", scheme="dark") as visit:
        pdf = visit.page.pdf(prefer_css_page_size=True, tagged=True, outline=True)
        sections = visit.page.locator("h2").count()
        tasks = visit.page.locator("table.cards tbody a").count()
    assert 6 <= pages_of(pdf) <= 16
    assert len(re.findall(rb"/Subtype\s*/Link\b", pdf)) >= tasks
    assert pdf.count(b"/StructTreeRoot") >= 1
    assert pdf.count(b"/Title (") + pdf.count(b"/Title <") > sections


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "most"), [("example", 36), ("image", 16), ("speech", 14), ("telemetry", 12)]
)
def test_every_page_fits_paper(browser, tmp_path, kind, most):
    if kind == "telemetry":
        pages = [telemetry_page(tmp_path)]
    else:
        folder = example_run(tmp_path) if kind == "example" else media_run(tmp_path, kind)
        pages = [folder / "report.html", folder / "report.ja.html"]
    for path in pages:
        with on_paper(browser, path) as visit:
            assert visit.page.evaluate(_OUTSIDE) == [], path.name
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= A4_TEXT
            assert pages_of(visit.page.pdf(prefer_css_page_size=True)) <= most
