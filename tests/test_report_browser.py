"""The report in a real browser: nothing runs, nothing loads, every payload is text, and nothing overflows."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator

import pytest
from markdown_it import MarkdownIt

from llmbench.analytics.render import render_report
from llmbench.visible import visible
from tests.run_folders import write_run_folder
from tests.test_render import PAYLOADS

pytestmark = pytest.mark.browser

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MARKDOWN_TAGS = set(
    re.findall(
        r"\w+",
        "h1 h2 h3 p strong em code pre ul li table thead tbody tr th td blockquote details summary br hr",
    )
)
# Runs before anything on the page can: a script that gets through shows here even if it hides its traces.
_WATCH = """
window.__pwned = [];
for (const name of ["alert", "confirm", "prompt", "open", "fetch"])
  window[name] = () => { window.__pwned.push(name); };
document.addEventListener("securitypolicyviolation", e => window.__pwned.push("csp " + e.violatedDirective));
"""


def chromium() -> str:
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        words = "no Chromium on this machine: the report is NOT checked in a browser"
        if os.environ.get("LLMBENCH_REQUIRE_BROWSER") == "1":
            pytest.fail(words)
        pytest.skip(words)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = write_run_folder(tmp_path_factory.mktemp("hostile"), samples=24, plant=PAYLOADS)
    render_report(folder.run_dir)
    return folder.run_dir


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = write_run_folder(tmp_path_factory.mktemp("clean"), samples=80)
    render_report(folder.run_dir)
    return folder.run_dir


class Visit:
    """One page, and everything it said, asked for or tried."""

    def __init__(self, browser, path, *, width=1200, scheme="light"):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.add_init_script(_WATCH)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)
        self.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def poke(self) -> None:
        """Click and hover over what a payload would hide behind."""
        for summary in self.page.query_selector_all("summary")[:4]:
            summary.click()
            summary.click()
        for link in self.page.query_selector_all("a[href^='#']"):
            link.dispatch_event("click")  # one may be out of sight until it has the focus
        for figure in self.page.query_selector_all("svg.figure"):
            figure.hover()
        self.page.wait_for_timeout(100)


@pytest.mark.parametrize("name", ["report.html", "report.ja.html"])
def test_no_payload_runs_loads_or_breaks_out(browser, hostile, name):
    with Visit(browser, hostile / name) as visit:
        visit.poke()
        page = visit.page
        assert page.evaluate("document.documentElement.dataset.pwn") is None
        assert page.evaluate("window.__pwned") == []
        assert visit.said == []
        assert {url.partition("#")[0] for url in visit.asked} == {visit.url}
        assert page.evaluate("document.scripts.length") == 0
        assert page.locator("img, iframe, object, embed").count() == 0
        assert page.url.partition("#")[0] == visit.url
        text = page.evaluate("document.body.textContent")
        for payload in PAYLOADS:
            assert visible(payload) in text


# Tags, attributes, and the words outside of code: in code no host looks for names or numbers.
_MARKDOWN = """() => {
  const all = [...document.body.querySelectorAll("*")];
  const found = [all.map(e => e.localName), all.flatMap(e => e.getAttributeNames())];
  document.querySelectorAll("code").forEach(e => e.remove());
  return [...found, document.body.textContent];
}"""


@pytest.mark.parametrize("name", ["summary.md", "summary.ja.md", "report.md", "report.ja.md"])
def test_markdown_shown_as_a_page_holds_nothing_of_a_strangers(browser, hostile, tmp_path, name):
    """Rendered as a host does that lets HTML through, makes links of addresses, and has no policy at all."""
    text = (hostile / name).read_text(encoding="utf-8")
    html = MarkdownIt("gfm-like", {"html": True, "linkify": True}).render(text)
    (tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8>{html}", encoding="utf-8")
    with Visit(browser, tmp_path / "page.html") as visit:
        page = visit.page
        visit.poke()
        assert page.evaluate("document.documentElement.dataset.pwn") is None
        assert page.evaluate("window.__pwned") == []
        assert visit.said == []
        assert visit.asked == [visit.url]
        tags, attributes, shown = page.evaluate(_MARKDOWN)
        assert set(tags) <= _MARKDOWN_TAGS
        assert set(attributes) <= {"class", "style", "open"}  # language of code, alignment, a fold
        if name.startswith("summary"):  # the other is read in a repository, where nobody is called
            assert not re.search(r"(?<!\w)@team\b", shown)
            assert not re.search(r"(?<![\w&])#1\b", shown)


def test_the_policy_itself_stops_a_script_that_gets_through(browser, hostile, tmp_path):
    broken = tmp_path / "report.html"
    text = (hostile / "report.html").read_text(encoding="utf-8")
    inject = (
        "<script>document.documentElement.dataset.pwn=9</script><img src=https://evil.invalid/p.png></main>"
    )
    broken.write_text(text.replace("</main>", inject, 1), encoding="utf-8")
    with Visit(browser, broken) as visit:
        assert visit.page.evaluate("document.documentElement.dataset.pwn") is None
        assert len(visit.page.evaluate("window.__pwned")) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_alone_run_nothing(browser, hostile, scheme):
    first, *others = sorted((hostile / "figures").iterdir())
    with Visit(browser, first, scheme=scheme) as visit:
        for path in [first, *others]:
            visit.page.goto(path.as_uri())
            assert visit.page.evaluate("document.documentElement.dataset.pwn") is None
        assert visit.said == []
        assert set(visit.asked) == {path.as_uri() for path in [first, *others]}


@pytest.mark.parametrize("width", [360, 400, 768, 1200])
def test_only_containers_scroll_sideways(browser, clean, hostile, width):
    for folder in (clean, hostile):
        with Visit(browser, folder / "report.html", width=width) as visit:
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_decision_needs_no_scrolling_sideways(browser, clean):
    for width in (400, 1200):
        with Visit(browser, clean / "report.html", width=width) as visit:
            box = visit.page.query_selector("table.cards").evaluate(
                "t => [t.scrollWidth, t.parentElement.clientWidth]"
            )
            assert box[0] <= box[1], width


# The contrast of each text against what lies behind it, as WCAG 2 computes it.
_CONTRAST = """() => {
  const lum = c => { const v = c.map(x => (x /= 255) <= .03928 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
                     return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
  const rgb = s => s.match(/[\\d.]+/g).map(Number);
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
                        if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const low = [];
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const svg = e instanceof SVGElement, style = getComputedStyle(e);
    if (svg && e.tagName !== "text") continue;
    const a = lum(rgb(svg ? style.fill : style.color).slice(0, 3)), b = lum(behind(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) low.push([e.tagName, e.getAttribute("class"), e.textContent.slice(0, 30), ratio]);
  }
  return low;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark(browser, clean, scheme):
    with Visit(browser, clean / "report.html", scheme=scheme) as visit:
        assert visit.page.evaluate(_CONTRAST) == []
        paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(253, 252, 250)") == (scheme == "light")


def test_a_screen_reader_finds_names_for_tables_pictures_and_regions(browser, clean):
    with Visit(browser, clean / "report.html") as visit:
        page = visit.page
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.get_by_role("table").count() == page.locator("table").count()
        assert page.get_by_role("img").count() == 12
        for picture in page.get_by_role("img").all():
            assert picture.evaluate("e => e.querySelector('title').textContent.length > 10")
        assert page.get_by_role("columnheader", name="Verdict").count() == 1


def test_a_phone_still_reads_the_first_table_as_a_table(browser, clean):
    with Visit(browser, clean / "report.html", width=400) as visit:
        assert visit.page.get_by_role("rowheader", name="route_ticket").first.is_visible()
        assert visit.page.get_by_role("cell", name="Move").first.is_visible()


def test_paper_shows_every_sample(browser, clean, tmp_path):
    with Visit(browser, clean / "report.html") as visit:
        visit.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")
        visit.page.emulate_media(media="print")
        hidden = visit.page.evaluate(
            "[...document.querySelectorAll('details .asked')].filter(e => !e.checkVisibility()).length"
        )
        assert hidden == 0
        assert len(visit.page.pdf()) > 10_000
