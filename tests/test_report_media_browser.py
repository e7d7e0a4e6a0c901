"""The report of pictures and narrations in a real browser: they show and play, and nothing gets out."""

from __future__ import annotations

import pytest

from llmbench.analytics.render import render_report
from llmbench.visible import visible
from tests.media_run_folders import change_answer, write_media_run, write_rows
from tests.test_render import PAYLOADS
from tests.test_report_browser import _CONTRAST, Visit, browser  # noqa: F401 - a fixture is used by its name

pytestmark = pytest.mark.browser

# Every player is told to load: each says how it went, how much it has (4 is enough), and its length in s.
_LOAD = """() => Promise.all([...document.querySelectorAll("audio")].map(a => new Promise(done => {
  const tell = why => done([why, a.readyState, a.duration]);
  a.oncanplaythrough = () => tell("");
  a.onerror = () => tell(`error ${a.error.code}: ${a.error.message}`);
  a.preload = "auto";
  a.load();
})))"""
_SIZES = "[...document.images].map(i => [i.complete, i.naturalWidth, i.naturalHeight, i.clientWidth])"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = write_media_run(tmp_path_factory.mktemp("images"), "image")
    return render_report(folder.run_dir)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    folder = write_media_run(tmp_path_factory.mktemp("speech"), "speech")
    return render_report(folder.run_dir)


@pytest.fixture(scope="module", params=["image", "speech"])
def hostile(tmp_path_factory, request):
    """A page in which every text that a stranger can choose is an attack, the answers' facts too."""
    folder = write_media_run(tmp_path_factory.mktemp("hostile"), request.param, samples=13, plant=PAYLOADS)
    for at, row in enumerate(folder.rows):
        payload = PAYLOADS[at % len(PAYLOADS)]
        if row["status"] == "ok":
            row["score_details"][payload] = 1.0
            change_answer(
                row, revised_prompt=payload, mime=payload, **({"file": payload} if at % 5 == 0 else {})
            )
    write_rows(folder)
    return render_report(folder.run_dir)


def quiet(visit) -> bool:
    """Whether the page ran, said and asked for nothing of its own."""
    outside = {url for url in visit.asked if not url.startswith("data:")}
    return (
        visit.said == []
        and {url.partition("#")[0] for url in outside} == {visit.url}
        and visit.page.evaluate("window.__pwned") == []
        and visit.page.evaluate("document.documentElement.dataset.pwn") is None
        and visit.page.evaluate("document.scripts.length") == 0
    )


def test_every_picture_is_drawn(browser, images):
    with Visit(browser, images) as visit:
        sizes = visit.page.evaluate(_SIZES)
        assert len(sizes) > 50
        assert {tuple(each[:3]) for each in sizes} == {(True, 320, 180)}
        assert min(each[3] for each in sizes) >= 120
        assert quiet(visit)


def test_every_narration_can_be_played_and_loads_only_when_it_is_asked_to(browser, speech):
    with Visit(browser, speech) as visit:
        before = visit.page.evaluate("[...document.querySelectorAll('audio')].map(a => a.readyState)")
        assert len(before) > 50
        assert set(before) == {0}
        for why, ready, seconds in visit.page.evaluate(_LOAD):
            assert (why, ready) == ("", 4)
            assert 0.45 <= seconds <= 1.0
        assert quiet(visit)


def test_a_narration_sounds(browser, speech):
    """The samples that the browser decodes are those of a tone and not of silence."""
    with Visit(browser, speech) as visit:
        loudest = visit.page.evaluate(
            """async () => {
              const bytes = Uint8Array.from(atob(document.querySelector("audio").src.split(",")[1]),
                                            c => c.charCodeAt(0));
              const sound = await new OfflineAudioContext(1, 1, 24000).decodeAudioData(bytes.buffer);
              return Math.max(...sound.getChannelData(0).map(Math.abs));
            }"""
        )
        assert 0.2 < loudest < 0.4


def test_no_payload_runs_loads_or_breaks_out(browser, hostile):
    with Visit(browser, hostile) as visit:
        visit.poke()
        visit.page.evaluate(_LOAD)
        assert quiet(visit)
        assert visit.page.locator("iframe, object, embed, source, video, link").count() == 0
        ours = visit.page.evaluate(
            """[...document.querySelectorAll("[src]")].every(e =>
                 /^data:(image\\/webp|audio\\/mpeg);base64,[A-Za-z0-9+\\/=]+$/.test(e.getAttribute("src")))"""
        )
        assert ours
        text = visit.page.evaluate("document.body.textContent")
        for payload in PAYLOADS:
            assert visible(payload) in text


@pytest.mark.parametrize("width", [360, 420, 768, 1100])
def test_only_containers_scroll_sideways_and_a_phone_needs_none(browser, images, speech, width):
    for path in (images, speech):
        with Visit(browser, path, width=width) as visit:
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
            over = visit.page.evaluate(
                """[...document.querySelectorAll("table.media")]
                   .map(t => t.scrollWidth - t.parentElement.clientWidth)"""
            )
            assert len(over) == 2
            assert width == 768 or max(over) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark(browser, images, speech, scheme):
    for path in (images, speech):
        with Visit(browser, path, scheme=scheme) as visit:
            assert visit.page.evaluate(_CONTRAST) == []


def test_a_screen_reader_finds_the_prompt_the_candidate_and_the_picture_or_player(browser, images, speech):
    for path, width in ((images, 1100), (images, 420), (speech, 1100)):
        with Visit(browser, path, width=width) as visit:
            page = visit.page
            table = page.get_by_role("table").filter(has=page.locator("img, audio")).first
            assert table.get_by_role("columnheader", name="gemma_json").count() == 1
            assert table.get_by_role("rowheader").count() == 8
            assert "route_ticket-0" in table.get_by_role("rowheader").first.inner_text()
            assert table.get_by_role("cell").count() == 8 * 4
            if path is images:
                assert page.get_by_role("img", name="Picture by smol_free for: ").count() > 10
            else:
                assert page.get_by_label("Spoken by smol_free: ").count() > 10


def test_paper_shows_the_pictures_and_the_facts(browser, images, speech):
    with Visit(browser, images) as visit:
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate(
            "[...document.images].every(i => i.checkVisibility() && i.clientHeight > 40)"
        )
        assert len(visit.page.pdf()) > 20_000
    with Visit(browser, speech) as visit:
        visit.page.emulate_media(media="print")
        assert not visit.page.locator("audio").first.is_visible()
        assert visit.page.locator("table.media td small").first.is_visible()


@pytest.mark.parametrize("width", [360, 420])
def test_no_caption_is_wider_than_a_small_screen(browser, images, speech, width):
    widest = """() => Math.max(...[...document.querySelectorAll("caption")].map(caption => {
      const text = document.createRange();
      text.selectNodeContents(caption);
      return text.getBoundingClientRect().right;
    }))"""
    for path in (images, speech):
        with Visit(browser, path, width=width) as visit:
            assert 0 < visit.page.evaluate(widest) < width
