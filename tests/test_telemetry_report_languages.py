"""The telemetry report in Japanese: nothing English is left but what the log itself says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from llmbench.analytics.traffic import open_traffic
from llmbench.analytics.traffic_prices import candidate_prices
from llmbench.analytics.traffic_report import PAGE, told_text, write_page
from llmbench.analytics.traffic_tables import table
from llmbench.cli import app
from llmbench.cli_telemetry_report import spoken_by
from llmbench.config import load_config
from llmbench.display.language import speaking
from tests.test_report_languages import _ENGLISH, english_in
from tests.traffic_log import RECORDING

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "05_telemetry.ipynb"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """What the verb writes when it is asked for no language."""
    out = tmp_path_factory.mktemp("out")
    command = ["telemetry", "report", "--log", str(RECORDING), "--out", str(out), "--notebook", str(NOTEBOOK)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.stderr
    return {tag: (out / name).read_text(encoding="utf-8") for tag, name in NAMES.items()} | {"folder": out}


def test_a_notebook_without_the_parameter_is_run_in_english_alone(tmp_path):
    assert spoken_by(NOTEBOOK) == ("en", "ja")
    text = NOTEBOOK.read_text(encoding="utf-8")
    own = tmp_path / "own.ipynb"
    own.write_text(text.replace('language: str = \\"en\\"', 'tongue: str = \\"en\\"'), encoding="utf-8")
    assert own.read_text(encoding="utf-8") != text
    assert spoken_by(own) == ("en",)


NAMES = {"en": "telemetry.html", "ja": "telemetry.ja.html"}


def of_the_log() -> str:
    """The log's own texts, which a page shows as they are."""
    return RECORDING.read_text(encoding="utf-8").replace('\\"', '"')


def test_the_japanese_page_says_nothing_in_english(pages):
    log = of_the_log()
    assert [text for text in english_in(pages["ja"]) if text not in log] == []
    assert len([text for text in english_in(pages["en"]) if text not in log]) > 30
    quoted = "".join(re.findall("<pre>(.*?)</pre>", pages["ja"], re.DOTALL))
    assert quoted.startswith("見積もりなし：")
    assert not _ENGLISH.search(quoted)


def test_the_japanese_page_says_that_it_is_japanese_in_its_title_and_in_every_heading(pages):
    assert '<html lang="ja">' in pages["ja"]
    assert "<title>テレメトリーレポート</title>" in pages["ja"]
    assert ":lang(ja)" in pages["ja"]
    for tag in ("h1", "h2"):
        headings = re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", pages["ja"])
        assert len(headings) == len(re.findall(f"<{tag}", pages["en"]))
        assert not [text for text in headings if not re.search("[ぁ-んァ-ヶ一-龠]", text)]
    pictures = re.findall('<title id="[^"]+">(.*?)</title>', pages["ja"])
    assert len(pictures) == 6
    assert not [text for text in pictures if not re.search("[ぁ-ん一-龠]", text)]


def test_both_pages_show_the_same_figures_names_and_dates(pages):
    def shown(tag: str, pattern: str) -> set[str]:
        text = re.sub("<[^>]+>", " ", pages[tag].partition("</style>")[2])
        return set(re.findall(pattern, text))

    figures = r"\$\d[\d,]*(?:\.\d+)?|\d{4}-\d\d-\d\d|\d[\d.]* m?s\b|\d[\d,]*,\d{3}|\d+\.\d(?= ?%)"
    assert shown("ja", figures) - {"1,000"} == shown("en", figures) - {"1,000"}  # a word: 1,000 回あたり
    assert len(shown("ja", figures)) > 200
    names = shown("ja", r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
    assert names - shown("en", r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+") == set()
    assert {"az_gpt_6_luna", "comment_classify", "rate_limit", "heavy_reasoning"} <= names


def test_pages_of_one_call_link_to_each_other_and_a_page_alone_links_nowhere(pages, tmp_path):
    for tag, other, name in (("en", "ja", "日本語"), ("ja", "en", "English")):
        links = re.findall("<a ([^>]*)>([^<]*)</a>", pages[tag])
        attributes = {f'href="{NAMES[other]}"', f'hreflang="{other}"', f'lang="{other}"'}
        assert [(set(said.split()), text) for said, text in links] == [(attributes, name)]
    with speaking("ja"):
        alone = write_page(pages["folder"] / "05_telemetry.ja.ipynb", tmp_path / PAGE)
    assert "<a " not in alone.read_text(encoding="utf-8")


def test_an_unknown_language_is_refused_before_a_kernel_starts(tmp_path):
    command = ["telemetry", "report", "--log", str(RECORDING), "--out", str(tmp_path / "out"), "--lang", "fr"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "no report in the language 'fr'; there are: en, ja" in result.stderr
    assert not (tmp_path / "out").exists()


def test_blocks_of_a_notebook_that_nobody_knows_stay_as_they_are():
    with speaking("ja"):
        own = "## Errors\n\nOur own\nwords.\n\n```\n\n# Errors\n```\n"
        assert told_text(own) == own.replace("## Errors", "## エラー")
        wrapped = (
            "When a candidate fails, the next one is asked.\n  A cell has the calls that its row's model"
        )
        assert told_text(f"{wrapped} handed on to its column's.").startswith("候補が失敗すると")
    assert told_text("## Errors") == "## Errors"


def test_tables_say_what_is_ours_in_japanese_and_names_as_they_are(tmp_path):
    rows = {"scope": ["month", "cheap"], "action": ["dropped", "yes"], "is_change": [True, False]}
    with speaking("ja"):
        made = table(pd.DataFrame({"task": ["no", "run"], **rows}))
        assert made.heads == ["タスク", "範囲", "処理", "変化あり"]
        assert made.rows == [["no", "月", "除外", "はい"], ["run", "cheap", "yes", "いいえ"]]
        assert "なし" in table(pd.DataFrame({"task": []}))._repr_html_()
        assert str(table(pd.DataFrame({"task": ["a"] * 3}), limit=1)).endswith(
            "ほか 2 行は表示していません。"
        )
    drifted = pd.DataFrame({"measure": ["latency_ms"], "this_mean": [20.0], "change": [0.5]})
    with speaking("ja"):
        assert table(drifted).rows == [["応答時間", "20 ms", "+50.0%"]]
    assert table(drifted).rows == [["latency_ms", "20 ms", "+50.0 %"]]


def test_what_was_loaded_is_told_in_japanese(tmp_path):
    (tmp_path / "log.jsonl").write_text("[]\n", encoding="utf-8")
    with speaking("ja"), open_traffic(tmp_path / "log.jsonl") as opened:
        seen, kept_apart = re.findall("<p>(.*?)</p>", opened._repr_html_())
        assert seen == "ファイル 1 個に呼び出しはありません。"
        assert kept_apart == "ログ全体のうち 1 行は隔離し、どの数値にも含めていません：not_an_object 1。"
        for drawn in (opened.draw_costs(), opened.draw_latency(), opened.draw_fallbacks()):
            assert str(drawn).endswith("ありません。")
        for drawn in (opened.draw_errors(), opened.draw_hours()):
            assert str(drawn).endswith("ありません。")


def test_why_a_candidate_has_no_price_is_told_in_japanese():
    config = load_config(ROOT / "configs")
    english, japanese = candidate_prices(config)[1], []
    with speaking("ja"):
        japanese = candidate_prices(config)[1]
        told = [str(each) for each in japanese]
    assert [(each.tier, each.model) for each in english] == [(each.tier, each.model) for each in japanese]
    assert len(told) > 5
    assert not [text for text in told if _ENGLISH.search(text)]
    assert json.dumps([each.reason for each in english]).isascii()
