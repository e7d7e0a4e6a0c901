"""Reports without a mouse, a screen or colours: the rules of WCAG 2.2 AA, by axe-core and by hand."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.report_pages import example_run, media_run, rich_run, telemetry_page
from tests.test_report_browser import _CONTRAST, Visit, browser  # noqa: F401 - a fixture is used by its name

pytestmark = pytest.mark.browser

_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
#: Left to `_CONTRAST` and `_SHAPES`: axe cannot tell what lies behind a text in a picture or on a gradient,
#: says so for each of hundreds, and takes a minute for it.
_OPTIONS = {
    "resultTypes": ["violations", "incomplete"],
    "runOnly": {"type": "tag", "values": _RULES},
    "rules": {"color-contrast": {"enabled": False}},
}


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    return rich_run(tmp_path_factory.getbasetemp() / "rich")


def complaints(page) -> list[tuple[str, str]]:
    """What axe objects to or cannot decide: the rule, and the first element."""
    found = Axe().run(page, options=_OPTIONS).response
    return [
        (each["id"], each["nodes"][0]["html"][:200]) for each in [*found["violations"], *found["incomplete"]]
    ]


@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("report.html", 1100, "dark"), ("report.ja.html", 390, "light")]
)
def test_axe_has_no_complaint(browser, rich, name, width, scheme):
    with Visit(browser, rich / name, width=width, scheme=scheme) as visit:
        assert complaints(visit.page) == []


def test_axe_would_complain(browser, rich, tmp_path):
    text = (rich / "report.html").read_text(encoding="utf-8")
    broken = tmp_path / "report.html"
    for good, bad in (('<html lang="en">', "<html>"), ('role="img"', 'role="radio"'), ("<h2", "<h5")):
        assert good in text
        text = text.replace(good, bad, 1)
    broken.write_text(text, encoding="utf-8")
    with Visit(browser, broken) as visit:
        rules = {rule for rule, _ in complaints(visit.page)}
        assert {"html-has-lang", "heading-order", "aria-required-attr"} <= rules


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["example", "image", "speech", "telemetry"])
def test_axe_has_no_complaint_about_any_page(browser, tmp_path, kind):
    if kind == "telemetry":
        pages = [telemetry_page(tmp_path)]
    else:
        folder = example_run(tmp_path) if kind == "example" else media_run(tmp_path, kind)
        pages = [folder / "report.html", folder / "report.ja.html"]
    for path in pages:
        for scheme, width in (("light", 1100), ("dark", 390)):
            with Visit(browser, path, width=width, scheme=scheme) as visit:
                assert complaints(visit.page) == [], (path.name, scheme, width)


# --- colours ----------------------------------------------------------------------------------------------

# The contrast of what a picture draws, and of the bars beside numbers, with their opacity, against the panel.
# Left out are the lines that only guide the eye (grid, leaders) and the tints under the rest.
_SHAPES = """() => {
  const lum = c => { const v = c.map(x => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
                     return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
  const rgb = s => s.match(/[\\d.]+/g).map(Number);
  const panel = rgb(getComputedStyle(document.querySelector("figure, .scroll")).backgroundColor).slice(0, 3);
  const low = {}, seen = new Set();
  const told = ".f-range, .f-dot, .f-path, .f-curve, .f-mean, .f-margin, .f-goal, .f-pool, .f-zero," +
               ".f-axis, .f-ring, .f-bar, .f-whisker, .f-hull, .meter i";
  for (const e of document.querySelectorAll(told)) {
    const s = getComputedStyle(e), name = e.getAttribute("class") || "meter";
    const paint = e.matches(".meter i") ? s.backgroundColor
                : e.matches(".f-dot, .f-bar") ? s.fill : s.stroke;
    const alpha = Number(s.opacity);
    const ink = rgb(paint).slice(0, 3).map((c, i) => alpha * c + (1 - alpha) * panel[i]);
    const a = lum(ink), b = lum(panel), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    seen.add(name);
    if (ratio < 3) low[name] = ratio;
  }
  return [seen.size, low];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_and_shapes_can_be_told_from_what_lies_behind_them(browser, rich, scheme):
    with Visit(browser, rich / "report.ja.html", scheme=scheme) as visit:
        assert visit.page.evaluate(_CONTRAST) == []
        kinds, low = visit.page.evaluate(_SHAPES)
        assert kinds > 8
        assert low == {}


def test_high_contrast_keeps_bars_halos_and_the_chosen_row(browser, rich):
    context = browser.new_context(forced_colors="active", color_scheme="dark")
    page = context.new_page()
    page.goto((rich / "report.html").as_uri())
    style = "(name, key) => getComputedStyle(document.querySelector(name))[key]"
    look = [
        page.evaluate(f"([name, key]) => ({style})(name, key)", [name, key])
        for name, key in (
            (".meter i", "backgroundColor"),
            ("body", "backgroundColor"),
            (".f-halo", "stroke"),
            ("tr.chosen > *", "borderBottomStyle"),
        )
    ]
    context.close()
    assert look[0] not in (look[1], "rgba(0, 0, 0, 0)")
    assert look[1] == look[2]
    assert look[3] == "double"


# --- keyboard ---------------------------------------------------------------------------------------------

# Every stop of the Tab key as it gets the focus: its place in the page, and whether it shows it.
_LISTEN = """() => {
  window.stops = [];
  window.all = [...document.querySelectorAll("a[href], summary, [tabindex], audio, button, input, select")];
  document.addEventListener("focusin", ({target}) => {
    const s = getComputedStyle(target), r = target.getBoundingClientRect();
    window.stops.push([all.indexOf(target), s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2,
                       r.bottom > 0 && r.top < innerHeight && r.right > 0 && r.left < innerWidth]);
  });
}"""
_REACHABLE = "all.flatMap((e, at) => e.checkVisibility() && e.tabIndex >= 0 ? [at] : [])"


def test_tab_reaches_every_part_in_reading_order_shows_where_it_is_and_gets_out(browser, rich):
    with Visit(browser, rich / "report.html") as visit:
        page = visit.page
        page.evaluate("document.querySelectorAll('details').forEach((d, at) => d.open = at % 2 === 0)")
        page.evaluate(_LISTEN)
        expected = page.evaluate(_REACHABLE)
        assert len(expected) > 40
        for _ in range(len(expected)):
            page.keyboard.press("Tab")
        stops = page.evaluate("window.stops")
        assert [at for at, *_ in stops] == expected
        assert [at for at, is_marked, _ in stops if not is_marked] == []
        assert [at for at, _, is_in_view in stops if not is_in_view] == []
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body")


def test_the_first_stop_shows_itself_and_skips_to_the_summary(browser, rich):
    with Visit(browser, rich / "report.ja.html") as visit:
        page = visit.page
        skip = page.locator(".skip")
        assert skip.evaluate("e => getComputedStyle(e).clipPath") != "none"
        page.keyboard.press("Tab")
        assert skip.evaluate("e => document.activeElement === e && getComputedStyle(e).clipPath") == "none"
        assert skip.inner_text() == "要約へ移動"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('section').getAttribute('aria-labelledby')") == (
            "summary"
        )


def test_folds_open_and_wide_tables_scroll_by_keys(browser, rich):
    with Visit(browser, rich / "report.html", width=390) as visit:
        page = visit.page
        fold = page.locator("details").last
        was_open = fold.evaluate("e => e.open")
        fold.locator("summary").focus()
        page.keyboard.press("Space")
        assert fold.evaluate("e => e.open") is not was_open
        table = page.locator(".scroll:has(table.dense)").first
        table.focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        # Keys scroll smoothly, and the page's policy forbids to wait by a function.
        page.wait_for_timeout(300)
        assert table.evaluate("e => e.scrollLeft") > 20


# --- screen reader ----------------------------------------------------------------------------------------

_NAMES = """() => {
  const ids = [...document.querySelectorAll("[id]")].map(e => e.id), wrong = [];
  if (new Set(ids).size !== ids.length) wrong.push("ids");
  for (const e of document.querySelectorAll("[aria-labelledby], [href^='#']"))
    for (const id of (e.getAttribute("aria-labelledby") || e.getAttribute("href").slice(1)).split(" "))
      if (!document.getElementById(id)) wrong.push("no " + id);
  for (const t of document.querySelectorAll("table")) {
    if (!(t.caption?.textContent.trim())) wrong.push("caption of " + t.textContent.slice(0, 40));
    if ([...t.querySelectorAll("th")].some(h => !h.scope || !h.textContent.trim())) wrong.push("header");
    const rows = [...t.tBodies].flatMap(b => [...b.rows]);
    if (rows.some(r => r.cells[0].tagName !== "TH")) wrong.push("row header");
  }
  for (const s of document.querySelectorAll("svg"))
    if (s.getAttribute("aria-hidden") !== "true" && !(s.getAttribute("role") === "img" &&
        s.querySelector("title")?.textContent && s.querySelector("desc")?.textContent)) wrong.push("picture");
  for (const b of document.querySelectorAll(".badge")) if (!b.textContent.trim()) wrong.push("badge");
  const levels = [...document.querySelectorAll("h1,h2,h3,h4,h5,h6")].map(h => Number(h.tagName[1]));
  if (levels[0] !== 1 || levels.filter(l => l === 1).length !== 1) wrong.push("h1");
  if (levels.some((l, at) => at && l > levels[at - 1] + 1)) wrong.push("heading order");
  return wrong;
}"""


@pytest.mark.parametrize(("name", "language"), [("report.html", "en"), ("report.ja.html", "ja")])
def test_landmarks_headings_tables_and_pictures_have_names(browser, rich, name, language):
    with Visit(browser, rich / name, width=390) as visit:
        page = visit.page
        assert page.evaluate(_NAMES) == []
        for landmark in ("banner", "main", "navigation", "contentinfo"):
            assert page.get_by_role(landmark).count() == 1, landmark
        assert page.evaluate("document.documentElement.lang") == language
        other = page.locator(".others a")
        assert other.get_attribute("lang") == other.get_attribute("hreflang") != language
        assert page.evaluate("[...document.querySelectorAll('.said[lang]')].length") > 4


def test_tables_of_telemetry_are_named_by_their_headings():
    from llmbench.analytics.traffic_report import cleaned_output

    table = {"output_type": "display_data", "data": {"text/html": "<table><tr><td>1</td></tr></table>"}}
    shown = cleaned_output(table, "k", 'What it "cost" <b>\u202e')
    assert 'role="group" aria-label="What it &quot;cost&quot; &lt;b&gt;' in shown
    assert "\u202e" not in shown


# --- size and motion --------------------------------------------------------------------------------------

# What is cut off: more inside than shown, where nothing can be scrolled.
_CUT = """() => [...document.querySelectorAll("body *")].filter(e => {
  const s = getComputedStyle(e);
  if (s.clipPath !== "none" || e.closest("svg, .meter, thead")) return false;
  return ["hidden", "clip"].includes(s.overflowX) && e.scrollWidth > e.clientWidth + 1;
}).map(e => e.className + " " + e.textContent.slice(0, 40))"""


@pytest.mark.parametrize("name", ["report.html", "report.ja.html"])
def test_a_zoomed_page_loses_nothing_and_scrolls_one_way(browser, rich, name):
    with Visit(browser, rich / name) as visit:
        for width, letters in ((320, 100), (550, 100), (1100, 200)):
            visit.page.set_viewport_size({"width": width, "height": 900})
            visit.page.evaluate(f"document.documentElement.style.fontSize = '{letters}%'")
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
            assert visit.page.evaluate(_CUT) == []


def test_nothing_moves(browser, rich):
    with Visit(browser, rich / "report.html") as visit:
        moving = visit.page.evaluate(
            """[...document.querySelectorAll("*")].filter(e => { const s = getComputedStyle(e);
                 return s.animationName !== "none" || parseFloat(s.transitionDuration) > 0
                   || s.scrollBehavior === "smooth"; }).length"""
        )
        assert moving == 0
