"""The report in Japanese: every text of ours is translated, and nothing English is left but quotations."""

from __future__ import annotations

import json
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmbench.analytics.render import render_report, summarize
from llmbench.analytics.story import read_story
from llmbench.analytics.templating import page_name
from llmbench.analytics.warehouse import open_warehouse
from llmbench.cli import app
from llmbench.display import decision_text, wording
from llmbench.display.language import LANGUAGES, _between, catalog, retell, say, speaking, spoken
from llmbench.display.said_decision import SaidDecision, SaidRow, SaidTerms, read_decision
from llmbench.errors import ConfigError
from llmbench.visible import visible
from tests.report_words import fixed_words, said_texts
from tests.run_folders import write_judgements, write_run_folder
from tests.test_render import PAYLOADS, Page
from tests.test_report_sections import EXTRAS

EXAMPLE = Path(__file__).parents[1] / "reports" / "example"
_PLACE = re.compile(r"\{(\w+)\}")
# Four words in a row; names and identifiers have fewer.
_ENGLISH = re.compile(r"[A-Za-z’']{2,}(?:[ ,]+[A-Za-z’']{2,}){3,}")
#: What stands in a page as it is: the sentence that a licence wants passed on, and what a model was asked.
_QUOTED = ("Gemma is provided under", "実際の指示：")


class Texts(HTMLParser):
    """The texts of a page that are told and not quoted: outside of code, and of what is marked another's."""

    SKIPPED = ("style", "code", "pre")
    NEVER_CLOSED = ("meta", "img")

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.told: list[str] = []
        self._quoted: list[bool] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        kind = (given.get("class") or "").split()
        is_other = tag != "html" and given.get("lang") not in (None, "ja")
        is_quoted = tag in self.SKIPPED or is_other or "said" in kind or "mono" in kind
        if tag not in self.NEVER_CLOSED:
            self._quoted.append(is_quoted)
        labels = [given.get(name) or "" for name in ("aria-label", "alt", "title", "data-label")]
        self.told += [label.partition("：")[0] if tag in ("img", "audio") else label for label in labels]

    def handle_endtag(self, tag):  # tags are balanced: another test holds that
        if tag not in self.NEVER_CLOSED:
            self._quoted.pop()

    def handle_data(self, data):
        if not any(self._quoted) and data.strip():
            self.told.append(" ".join(data.split()))


def english_in(html: str) -> list[str]:
    """The English sentences that a page tells; a payload in a text tells that the text is a stranger's."""
    planted = [" ".join(visible(payload).split()) for payload in PAYLOADS]
    told = [text for text in Texts(html).told if not any(payload in text for payload in planted)]
    return [text for text in told if _ENGLISH.search(text) and not text.startswith(_QUOTED)]


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example") / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("notebooks", "*.png", "*.svg", "report.*"))
    render_report(folder)
    return folder


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A run with everything that a report can show, and payloads in all that a stranger can choose."""
    folder = write_run_folder(tmp_path_factory.mktemp("judged"), samples=24, plant=PAYLOADS)
    write_judgements(folder)
    render_report(folder.run_dir, extras=EXTRAS)
    return folder.run_dir


# --- the catalog ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", [tag for tag in LANGUAGES if tag != "en"])
def test_every_text_of_ours_is_translated_and_no_translation_is_left_over(tag):
    said = said_texts()
    assert len(said) > 300
    texts = catalog(tag)["texts"]
    assert {text: file for text, file in said.items() if text not in texts} == {}
    assert [text for text in texts if text not in said] == []


@pytest.mark.parametrize("part", ["texts", "stored"])
def test_a_translation_has_the_places_of_its_text(part):
    for english, ours in catalog("ja")[part].items():
        assert set(_PLACE.findall(ours)) == set(_PLACE.findall(english)), english
        assert re.findall(r"<[^>]+>|&\w+;", ours) in ([], re.findall(r"<[^>]+>|&\w+;", english)), english


def test_a_stored_sentence_is_made_of_words_that_the_package_writes():
    words = fixed_words()
    for english in catalog("ja")["stored"]:
        for fixed in _PLACE.split(english)[::2]:
            for piece in re.split("[.,;:()]", fixed):
                assert _is_written(piece.split(), words), english


def _is_written(piece: list[str], words: str) -> bool:
    """Whether the words stand in the package in one piece, or in two with something optional between."""
    cuts = ((" ".join(piece[:at]), " ".join(piece[at:])) for at in range(len(piece) + 1))
    return any(one in words and other in words for one, other in cuts)


def test_a_sentence_that_nobody_knows_is_not_told_anew():
    with speaking("ja"):
        assert retell("Something quite different.") is None
        assert retell("x" * 100_000) is None
        assert retell("cheap keeps a: none of its tasks was measured.") == (
            "cheap は a のままにします。測定したタスクがありません。"
        )
    assert retell("Something quite different.") == "Something quite different."


def test_a_list_and_a_sentence_within_a_stored_one_are_told_too():
    with speaking("ja"):
        tier = "t keeps a: b is proved for x, but not for y (not measured), z."
        assert (
            retell(tier)
            == "t は a のままにします。b は x で証明されましたが、y（未測定）、z では証明されていません。"
        )
        notice = "m (id) cannot be called here and is left out; set its key"
        assert retell(notice) == "m（id）はここでは呼び出せないため、除外します（キーを設定してください）"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_values_in_braces_stay_what_they_are(text):
    with speaking("ja"):
        assert say("{model} is too slow", model=text) == f"{text} は遅すぎます"
        retell(f"{text}: judge {text} keeps {text}")


def test_the_language_ends_with_its_block_and_an_unknown_one_is_refused():
    with speaking("ja"):
        assert spoken() == "ja"
        assert wording.duration_interval((605.0, None)) == "605 ms 以上、上限なし"
    assert spoken() == "en"
    with pytest.raises(ConfigError, match="there are: en, ja"), speaking("fr"):
        pass


# --- the page ---------------------------------------------------------------------------------------------


def test_the_japanese_page_says_nothing_in_english(example, judged):
    for folder in (example, judged):
        html = (folder / "report.ja.html").read_text(encoding="utf-8")
        assert '<html lang="ja">' in html
        assert english_in(html) == []


def test_a_page_of_pictures_says_nothing_in_english(tmp_path):
    from tests.media_run_folders import write_media_run

    for modality in ("image", "speech"):
        folder = write_media_run(tmp_path / modality, modality)
        render_report(folder.run_dir)
        html = (folder.run_dir / "report.ja.html").read_text(encoding="utf-8")
        assert english_in(html) == []
        assert ("実時間比 0." if modality == "speech" else "コントラスト 0.") in html
        assert ("real-time factor" if modality == "speech" else "contrast 0") not in html


def test_the_english_page_would_be_found_out(example):
    assert len(english_in((example / "report.html").read_text(encoding="utf-8"))) > 60


def test_a_sentence_told_anew_from_the_file_is_the_one_that_was_written():
    decided = json.loads((EXAMPLE / "recommendation.json").read_text(encoding="utf-8"))
    for task in decided["tasks"]:
        said = read_decision(task, is_judged=False, is_calibrated=False)
        assert decision_text.paragraph(said) == task["paragraph"]
        reasons = [decision_text.finding_reason(row, said) for row in said.rows]
        assert reasons == [row["reason"] for row in task["candidates"] if row["state"] != "reference"]


ROWS = st.builds(
    SaidRow,
    name=st.sampled_from(["small", "large > small"]),
    state=st.sampled_from(["promote", "worse", "slow", "costly", "unlikely", "open"]),
    n=st.integers(1, 300),
    units=st.integers(1, 300),
    failures=st.integers(0, 2),
    failure_rate=st.floats(0, 1),
    quality=st.none() | st.floats(0, 1),
    cost_usd_per_1000=st.none() | st.floats(0, 100),
    within_slo=st.floats(0, 1),
    delta=st.none() | st.floats(-1, 1),
    interval=st.just((-0.5, 0.5)),
    evidence=st.floats(0, 1e7),
    threshold=st.floats(2, 1e3),
    needs_more=st.none() | st.integers(1, 5000),
    cost_ratio=st.none() | st.floats(0, 3),
    cost_ratio_interval=st.none() | st.just((0.5, 1.5)),
    is_over=st.booleans(),
)
TERMS = st.builds(
    SaidTerms,
    candidates=st.integers(1, 4),
    margin=st.floats(0.01, 0.2),
    task_alpha=st.just(0.05),
    side=st.just(0.0125),
    slo=st.none() | st.just((5000.0, 0.95)) | st.just((800.0, 0.9)),
    floor=st.none() | st.just(0.7),
    max_failure=st.none() | st.just(0.02),
    min_saving=st.sampled_from([0.0, 0.2]),
    max_cost_usd=st.none() | st.just(0.001),
    upgrade=st.none() | st.just(0.03),
)


@st.composite
def decisions(draw) -> SaidDecision:
    rows = draw(st.lists(ROWS, max_size=3))
    return SaidDecision(
        outcome=draw(st.sampled_from(["promote", "demote", "keep", "inconclusive"])),
        reference=draw(ROWS),
        rows=rows,
        chosen=draw(st.sampled_from([None, *rows])),
        terms=draw(TERMS),
        saved=draw(st.floats(0, 1)),
        limits_missed=draw(st.sampled_from([(), ("floor",), ("floor", "slo")])),
        notes=draw(st.sampled_from([(), ("No verdict: more than 2 % of the calls have no result.",)])),
        is_judged=draw(st.booleans()),
        is_calibrated=draw(st.booleans()),
    )


@settings(max_examples=150, deadline=None)
@given(decisions(), st.sampled_from(["cheap", "heavy"]))
def test_whatever_was_decided_is_told_wholly_in_japanese(decision, tier):
    said = decision_text.Said("translate", "heavy", "large", tier, "small")
    with speaking("ja"):
        told = [decision_text.task_sentence(said, decision), decision_text.paragraph(decision)]
    for text in told:
        assert not re.search("[a-z]{2,} [a-z]{2,}", text), text
        assert text.endswith("。")
        assert not re.search("。。|。、|  ", text), text


def test_the_sentences_in_japanese_hold_every_number_of_the_english_ones(example):
    with open_warehouse(run_dirs=[example]) as warehouse, speaking("ja"):
        story = read_story(example, warehouse)
    for task in story.tasks:
        english = set(re.findall(r"\d[\d.,]*\d|\d", task.facts["sentence"]))
        japanese = set(re.findall(r"\d[\d.,]*\d|\d", task.sentence))
        assert english <= japanese | {"1"}, task.name
        assert not _ENGLISH.search(task.sentence)


@pytest.mark.parametrize("name", ["report.html", "report.md", "summary.md"])
def test_both_languages_show_the_same_figures(example, name):
    def figures(tag: str) -> list[str]:
        text = (example / page_name(tag, name)).read_text(encoding="utf-8")
        text = re.sub("<[^>]+>", " ", text.partition("</style>")[2] or text)
        return sorted(set(re.findall(r"(?<![\w.])[+−]\d+\.\d|\$[\d.]+|(?<![\w.])\d\.\d{3,}", text)))

    assert figures("ja") == figures("en")
    assert len(figures("en")) > 10


def test_strangers_texts_are_as_safe_in_japanese(judged):
    html = (judged / "report.ja.html").read_text(encoding="utf-8")
    page = Page(html)
    assert not page.tags & {"script", "img", "iframe"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    for payload in PAYLOADS[:4]:
        assert visible(payload) in page.text


def test_pages_link_to_each_other_only_where_both_are_written(example, tmp_path):
    pages = {tag: (example / page_name(tag)).read_text(encoding="utf-8") for tag in LANGUAGES}
    assert '<a href="report.ja.html" lang="ja" hreflang="ja">日本語</a>' in pages["en"]
    assert '<a href="report.html" lang="en" hreflang="en">English</a>' in pages["ja"]
    alone = tmp_path / "alone"
    shutil.copytree(example, alone)
    render_report(alone, languages=("ja",))
    assert "hreflang" not in (alone / "report.ja.html").read_text(encoding="utf-8")
    assert (alone / "report.html").read_text(encoding="utf-8") == pages["en"]


def test_the_languages_of_a_call_decide_its_bytes_and_not_what_lay_there(example, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(example, again, ignore=shutil.ignore_patterns("report.*", "summary.*", "figures"))
    render_report(again, languages=("ja", "en", "ja"))
    for name in ("report.html", "report.ja.html", "report.md", "summary.ja.md"):
        assert (again / name).read_bytes() == (example / name).read_bytes(), name
    assert sorted(p.name for p in (again / "figures").iterdir()) == sorted(
        p.name for p in (example / "figures").iterdir()
    )


# --- the verb ---------------------------------------------------------------------------------------------


def test_the_verb_writes_the_languages_asked_for(example, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(example, folder, ignore=shutil.ignore_patterns("report.*", "summary.*", "figures"))
    result = CliRunner().invoke(app, ["report", str(folder), "--lang", "ja", "--json"])
    assert json.loads(result.stdout) == {"report": str(folder / "report.ja.html")}
    assert not (folder / "report.html").exists()
    refused = CliRunner().invoke(app, ["report", str(folder), "--lang", "en,fr"])
    assert refused.exit_code == 1
    assert "no report in the language 'fr'; there are: en, ja" in refused.stderr


def test_the_verb_prints_the_summary_as_it_is_written(example):
    for tag in LANGUAGES:
        result = CliRunner().invoke(app, ["report", str(example), "--summary", "--lang", tag])
        assert result.stdout == (example / page_name(tag, "summary.md")).read_text(encoding="utf-8")
        assert result.stdout == summarize(example, tag)


def test_a_text_made_to_match_almost_is_read_once_from_left_to_right():
    """Each fixed word of a sentence, many times over, in the order in which the sentence has them."""
    with speaking("ja"):
        began = time.perf_counter()
        for english in catalog("ja")["stored"]:
            words = re.split(r"\{\w+\}", english)
            piece = "a".join(words) + "a"
            for text in (piece * (3_900 // len(piece)) + "\x00", words[0] + piece * (3_800 // len(piece))):
                retell(text)
        assert time.perf_counter() - began < 5


@given(st.lists(st.sampled_from(["a", "b", "ab", ": ", " keeps "]), max_size=12).map("".join))
def test_places_are_filled_as_the_shortest_match_of_a_pattern_fills_them(text):
    fixed = ("a", " keeps ", ": ", "b")
    found = re.fullmatch("(.+?)".join(map(re.escape, fixed)), text, re.DOTALL)
    assert _between(fixed, text) == (None if found is None else list(found.groups()))


def test_sentences_nested_without_end_are_told_to_a_depth_only():
    with speaking("ja"):
        deep = "m: " * 1_000 + "x (`llmbench plan` tells more)" * 20
        assert isinstance(retell(deep) or deep, str)
