"""The report of pictures and narrations: small copies of them stand in the page, and nothing else gets in."""

from __future__ import annotations

import io
import json
import math
import re
from itertools import pairwise
from statistics import median

import pytest
from PIL import Image

from llmbench.analytics.media_figures import median_interval
from llmbench.analytics.media_pages import PAGE_BYTES, show_media
from llmbench.analytics.media_story import SAMPLES_SHOWN
from llmbench.analytics.render import render_html, render_report
from llmbench.analytics.story import read_story
from llmbench.analytics.warehouse import open_warehouse
from llmbench.audio import decode
from llmbench.visible import visible
from tests.media_run_folders import (
    answer,
    change_answer,
    opened,
    write_media_run,
    write_rows,
)
from tests.run_folders import write_run_folder
from tests.test_render import ALLOWED_TAGS, PAYLOADS, Page


class MediaPage(Page):
    """A page whose pictures are never closed."""

    def handle_starttag(self, tag, attrs):
        super().handle_starttag(tag, attrs)
        if tag == "img":
            self._open.pop()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = write_media_run(tmp_path_factory.mktemp("images"), "image")
    render_report(folder.run_dir)
    return folder


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    folder = write_media_run(tmp_path_factory.mktemp("speech"), "speech")
    render_report(folder.run_dir)
    return folder


@pytest.fixture(scope="module")
def story(images):
    with open_warehouse(run_dirs=[images.run_dir]) as warehouse:
        return read_story(images.run_dir, warehouse)


def read(folder, name="report.html") -> str:
    return (folder.run_dir / name).read_text(encoding="utf-8")


def said(text: str) -> str:
    return " ".join(MediaPage(text).text.split())


def sources(html: str, tag: str) -> list[str]:
    return [value for each, name, value in MediaPage(html).attributes if each == tag and name == "src"]


# --- examples ---------------------------------------------------------------------------------------------


def test_each_task_shows_eight_samples_with_a_small_picture_of_every_answer(images):
    html = read(images)
    rows = re.findall(r'<table class="media".*?</table>', html, re.DOTALL)
    assert len(rows) == 2
    assert [table.count('<tr role="row">') - 1 for table in rows] == [SAMPLES_SHOWN] * 2
    shown = sources(html, "img")
    assert len(shown) == sum(table.count("<td ") - table.count(" missing") for table in rows)
    for uri in shown:
        with Image.open(io.BytesIO(opened(uri, "image/webp"))) as picture:
            assert picture.format == "WEBP"
            assert max(picture.size) == 320
            assert picture.size == (320, 180)


def test_each_narration_is_a_player_that_loads_nothing_until_it_is_asked(speech):
    html = read(speech)
    page = MediaPage(html)
    players = sources(html, "audio")
    assert len(players) > 50
    assert page.attributes.count(("audio", "preload", "none")) == len(players)
    assert ("audio", "autoplay", "") not in page.attributes
    first = decode(opened(players[0], "audio/mpeg"), "audio/mpeg")
    assert 0.5 <= first.duration_s <= 0.9
    assert max(map(len, players)) < 20_000


def test_the_samples_on_which_the_scores_differ_most_come_first(story):
    for task in story.media.values():
        spreads = [each.highest - each.lowest for each in task.samples]
        assert all(a >= b for a, b in pairwise(spreads))
        assert task.of == 10


def test_pictures_and_players_are_named_by_candidate_and_prompt(images, speech):
    labels = [v for tag, name, v in MediaPage(read(images)).attributes if (tag, name) == ("img", "alt")]
    spoken = [
        v for tag, name, v in MediaPage(read(speech)).attributes if (tag, name) == ("audio", "aria-label")
    ]
    assert labels[0].startswith("Picture by gemma_json for: ")
    assert spoken[0].startswith("Spoken by gemma_json: ")
    for folder in (images, speech):
        html = read(folder)
        for table in re.findall(r'<table class="media".*?</table>', html, re.DOTALL):
            assert "荷物がまだ届きません。" in table
            assert "<caption>" in table


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_an_answer_is_told_by_its_facts_and_never_as_json(images, speech, name):
    for folder in (images, speech):
        text = said(read(folder, name)) if name.endswith("html") else read(folder, name)
        assert '"media"' not in text
        assert "okens per s" not in text
        assert "CPU s each" in text
    assert "480 × 270 pixels · 2 kB · contrast" in said(read(images))
    assert "0.5 s · 16 kHz · 16 kB" in said(read(speech))
    assert "80 scored pictures" in said(read(images))
    assert "80 scored narrations" in said(read(speech))


def test_a_text_run_has_no_trace_of_media(tmp_path):
    folder = write_run_folder(tmp_path, samples=24)
    render_report(folder.run_dir)
    html = read(folder)
    assert "side by side" not in html
    assert "media-src" not in html
    assert "Tokens per s" in html
    assert "Samples on which the models differ most" in html


# --- figures ----------------------------------------------------------------------------------------------


def cells_of(folder, name: str, language: str | None = None) -> str:
    """The row of smol_free's figures in the first task, as text."""
    if name.endswith("html"):
        of_figures = r'<table class="dense">\s*<caption>Figures of each.*?</table>'
        table = re.search(of_figures, read(folder), re.DOTALL)
        rows = [said(row) for row in re.findall(r"<tr>.*?</tr>", table[0], re.DOTALL)]
    else:
        told = read(folder, name).replace("\\", "")
        figures = told[told.index("### What the") : told.index("### What was not called")]
        rows = [row for row in figures.splitlines() if row.startswith("| route_ticket")]
    (found,) = [row for row in rows if "smol_free" in row and (language or "") in row]
    return found


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_the_figures_of_each_candidate_are_those_of_its_rows(images, speech, name):
    def of(folder, language=None):
        mine = [r for r in folder.rows if r["task"] == "route_ticket" and r["model"] == "smol_free"]
        mine = [row for row in mine if language in (None, row["lang"])]
        return mine, [row for row in mine if row["status"] == "ok"]

    def middle(rows, figure):
        units: dict[str, list[float]] = {}
        for row in rows:
            units.setdefault(row["cluster"], []).append(figure(answer(row)))
        return median(median(each) for each in units.values())

    for language, words in (("ja", "Japanese"), ("en", "English")):
        mine, answered = of(speech, language)
        text = cells_of(speech, name, words)
        assert 0 < len(answered) < 10, "a voice is told by language"
        assert f"{middle(answered, lambda fact: fact['real_time_factor']):.2f}" in text
        assert f"{middle(answered, lambda fact: fact['duration_s'] / fact['characters']):.3f}" in text
        heard = [row["score_details"]["heard"] for row in answered]
        assert f"{100 * sum(heard) / len(heard):.1f} %" in text
        assert f"mean of {len(answered)}" in text
    mine, answered = of(images)
    text = cells_of(images, name)
    assert f"{100 * len(answered) / len(mine):.1f} %" in text
    obeyed = [row["score_details"]["shape"] for row in answered]
    assert f"{100 * sum(obeyed) / len(obeyed):.1f} %" in text


def test_narrations_of_one_language_have_one_row_a_candidate(tmp_path):
    folder = write_media_run(tmp_path, "speech")
    for row in folder.rows:
        row["lang"] = "ja"
    write_rows(folder)
    render_report(folder.run_dir)
    assert 'scope="col">Language<' not in read(folder)
    assert "of 10" in cells_of(folder, "report.html")


def test_the_short_report_tells_every_candidate_by_language_and_the_load_of_the_machine(speech):
    told = read(speech, "report.md").replace("\\", "")
    by_language = told[told.index("### Quality by language") :]
    for model in {row["model"] for row in speech.rows}:
        assert by_language.count(f"| {model}") == 2, "once a task"
    assert "- route_ticket: load median" in told


def test_the_interval_of_a_median_holds_what_it_promises_and_is_not_wider_than_it_must():
    for n in (6, 9, 25, 60):
        low, high = median_interval([float(i) for i in range(1, n + 1)])

        def outside(k, n=n):
            return 2 * sum(math.comb(n, i) for i in range(int(k))) / 2**n

        assert (high, outside(low) <= 0.05) == (n + 1 - low, True)
        assert outside(low + 1) > 0.05
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0]) is None
    assert median_interval([]) is None


# --- the page as a whole ----------------------------------------------------------------------------------


def used(pages) -> int:
    return sum(s.size for page in pages.values() for each in page.examples for s in each.shown.values())


def test_a_page_holds_no_more_than_its_room_and_says_what_it_left_out(images, story):
    whole = show_media(images.run_dir, story.media)
    assert 0 < used(whole) < PAGE_BYTES
    assert all(page.left_out == 0 for page in whole.values())
    for most in (0, used(whole) * 2 // 3):
        pages = show_media(images.run_dir, story.media, most)
        assert used(pages) <= most
        for page, task in zip(pages.values(), story.media.values(), strict=True):
            assert len(page.examples) + page.left_out == len(task.samples)
            assert page.left_out > 0
            assert bool(page.examples) == bool(most)
        text = said(render_html(story, {}, pages))
        assert re.search(r"\d more samples? had no room: a page holds 8\.0 MB of pictures\.", text)


def test_the_same_inputs_give_the_same_page(speech, tmp_path):
    again = write_media_run(tmp_path / "elsewhere", "speech")
    render_report(again.run_dir)
    for name in ("report.html", "report.md"):
        assert read(again, name) == read(speech, name)


def test_the_policy_lets_in_data_alone_and_sound_only_where_there_is_some(images, speech):
    head, tail = "default-src 'none'; img-src data:; ", "style-src 'unsafe-inline'; base-uri 'none'; "
    for folder, sound, tag in ((images, "", "img"), (speech, "media-src data:; ", "audio")):
        page = MediaPage(read(folder))
        assert ("meta", "content", f"{head}{sound}{tail}form-action 'none'") in page.attributes
        assert page.tags - ALLOWED_TAGS == {tag}
        for each, name, value in page.attributes:
            assert not name.startswith("on")
            assert name not in ("srcset", "action", "formaction", "xlink:href", "poster", "autoplay")
            assert name != "src" or (
                each == tag and re.match(r"data:(image/webp|audio/mpeg);base64,[\w+/=]+\Z", value)
            )


HOSTILE_FACTS = [
    {"file": "../../plan.json"}, {"file": "data:text/html,<script>alert(1)</script>"}, {"file": ["x"]},
    {"mime": 'text/html"><script>alert(1)</script>'}, {"revised_prompt": PAYLOADS[0]}, {"width": 1e400},
    {"revised_prompt": {"a": 1}, "bytes": "many", "contrast": None, "seed": True}, {"width": -(10**400)},
    {"real_time_factor": "0.3", "duration_s": math.nan, "silence": [], "clipped": 10**30},
]  # fmt: skip


@pytest.mark.parametrize("modality", ["image", "speech"])
def test_whatever_an_answer_says_the_page_is_made_and_shows_it_as_text(tmp_path, modality):
    folder = write_media_run(tmp_path, modality, samples=13, plant=PAYLOADS)
    rows = [row for row in folder.rows if row["status"] == "ok"]
    for at, row in enumerate(rows):
        change_answer(row, **HOSTILE_FACTS[at % len(HOSTILE_FACTS)])
    for row, output in zip(
        rows[::4], [*PAYLOADS, "[" * 5000, "[]", "null", '{"media": "text"}'], strict=False
    ):
        row["output"] = output
    write_rows(folder)
    render_report(folder.run_dir)
    html = read(folder)
    page = MediaPage(html)
    assert page.tags <= ALLOWED_TAGS | {"img", "audio"}
    assert visible(html) == html
    assert "<script" not in html
    assert "the answer tells of no" in page.text
    assert "the answer names no file of this run" in page.text
    for task in json.loads(read(folder, "recommendation.json"))["tasks"]:
        assert visible(task["task"]) in page.text
    assert visible(read(folder, "report.md")) == read(folder, "report.md")


def test_files_that_are_gone_leave_a_report_that_says_so(tmp_path):
    folder = write_media_run(tmp_path, "image")
    for path in (folder.run_dir / "media").iterdir():
        path.unlink()
    (folder.run_dir / "media").rmdir()
    render_report(folder.run_dir)
    assert sources(read(folder), "img") == []
    assert "the file is missing in the run folder’s media" in said(read(folder))
