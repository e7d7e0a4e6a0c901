"""What a notebook shows of a route, a reply, a comparison and a recommendation: whole, and escaped."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from IPython.core.formatters import PlainTextFormatter

from llmbench.analytics.comparison import compare
from llmbench.bench.recommendation import Recommendation
from llmbench.bench.run_decisions import decisions
from llmbench.markup import folded, table
from llmbench.messages import Adjustment, Attempt, Response, Route, Usage

EXAMPLE = Path(__file__).parents[1] / "reports" / "example"
HOSTILE = '<img src=x onerror="alert(1)">\u202e\x1b]8;;'


class Reader(HTMLParser):
    """The tags of a page, and its text as a reader sees it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, _):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


def route(**fields) -> Route:
    basic = {"task": "caption", "tier": "cheap", "candidates": ("a", "b"), "reasons": ("tier cheap",)}
    return Route(**{**basic, **fields})


def response(**fields) -> Response:
    basic = {
        "text": "犬です。\n二行目", "model": "b", "model_id": "m-b", "provider": "stub", "tier": "cheap",
        "finish_reason": "stop", "usage": Usage(1200, 34), "latency_ms": 512.4, "cost_usd": 0.0012,
        "cost_source": "registry", "call_id": "c", "adjustments": (), "route": route(),
        "attempts": (Attempt("b", 512.4),),
    }  # fmt: skip
    return Response(**{**basic, **fields})


def test_a_route_shows_each_candidate_with_what_is_changed_for_it_and_who_is_left_out():
    change = Adjustment("stop", "dropped", ["x"], None, "a: allow_stop")
    shown = Reader(
        route(
            excluded=(("c", "no key"),), adjustments={"a": (change,)}, output_limits={"a": 256},
            worst_case_s=120.0, worst_case_usd=0.5,
        )._repr_html_()
    )  # fmt: skip
    for part in (
        "caption → tier cheap",
        "a: allow_stop",
        "256",
        "1 left out",
        "no key",
        "at worst 120 s and $0.5",
    ):
        assert part in shown.text, part
    assert shown.text.index("1a") < shown.text.index("2b")


def test_a_reply_shows_its_figures_its_data_and_what_happened_on_the_way():
    failed = Attempt("a", 100.0, error_kind="rate_limit")
    change = Adjustment("max_tokens", "clamped", 9000, 4096, "b: max_tokens")
    shown = Reader(
        response(
            attempts=(failed, Attempt("b", 512.4, 30.0)), adjustments=(change,), parsed={"字": 1}
        )._repr_html_()
    ).text
    for part in (
        "犬です。",
        "512 ms",
        "1,200 tokens in, 34 out",
        "$0.001200",
        "rate_limit",
        "9000",
        "4096",
        '"字": 1',
    ):
        assert part in shown, part
    plain = Reader(response()._repr_html_()).text
    assert "Attempts" not in plain
    assert "Not sent as given" not in plain


def test_the_plain_form_in_a_notebook_is_the_story_and_not_the_fields():
    shown = PlainTextFormatter()
    assert shown(route()) == str(route())
    assert shown(response()) == str(response())
    decision = next(iter(decisions(EXAMPLE).values()))
    assert shown(decision) == str(decision)


def test_an_unknown_cost_says_why_and_a_cut_answer_says_so():
    shown = Reader(
        response(cost_usd=None, cost_source="unknown: no price", finish_reason="length")._repr_html_()
    )
    assert "unknown: no price" in shown.text
    assert "length" in shown.text


HOSTILE_ROUTE = route(
    task=HOSTILE, tier=HOSTILE, candidates=(HOSTILE,), reasons=(HOSTILE,), excluded=((HOSTILE, HOSTILE),)
)
HOSTILE_REPLY = response(
    text=HOSTILE, model=HOSTILE, provider=HOSTILE, cost_usd=None, cost_source=HOSTILE,
    parsed={HOSTILE: HOSTILE}, attempts=(Attempt(HOSTILE, 1.0), Attempt(HOSTILE, 1.0)),
    adjustments=(Adjustment(HOSTILE, "moved", HOSTILE, HOSTILE, HOSTILE),),
)  # fmt: skip


@pytest.mark.parametrize("page", [HOSTILE_ROUTE, HOSTILE_REPLY], ids=["route", "reply"])
def test_no_text_of_a_stranger_becomes_markup_or_stays_hidden(page):
    shown = page._repr_html_()
    assert "img" not in Reader(shown).tags
    assert "\u202e" not in shown
    assert "\x1b" not in shown
    assert "⟨U+202E⟩" in shown


def test_an_endless_reply_is_cut_in_a_notebook_and_says_how_long_it_is():
    shown = response(text="あ" * 100_000)._repr_html_()
    assert len(shown) < 30_000
    assert "100,000 characters in all" in shown


def test_nothing_is_drawn_around_no_rows():
    assert table(("a",), []) == folded("more", "") == ""


def test_a_comparison_has_every_candidate_of_every_task_with_its_languages():
    found = compare(EXAMPLE)
    shown = Reader(found._repr_html_()).text
    rows = [json.loads(line) for line in (EXAMPLE / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = {(row["task"], row["model"]) for row in rows}
    assert {(row["task"], row["model"]) for row in found.rows} == pairs
    assert set(found.tasks) == {task for task, _ in pairs}
    assert all(model in shown and task in shown for task, model in pairs)
    scores = [
        row["score"]
        for row in rows
        if (row["task"], row["model"], row["lang"]) == ("caption", "gemma_json", "ja")
    ]
    assert found.by_language["caption", "gemma_json"]["ja"] == (
        pytest.approx(sum(scores) / len(scores)),
        len(scores),
    )
    assert len(found.frame()) == len(pairs)
    assert "caption: gemma_json 70.8 points on 20 prompts" in str(found)


def test_a_comparison_escapes_what_a_run_names(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(EXAMPLE, run, ignore=shutil.ignore_patterns("notebooks", "figures", "report*"))
    text = (run / "results.jsonl").read_text(encoding="utf-8")
    (run / "results.jsonl").write_text(text.replace('"caption"', json.dumps(HOSTILE)), encoding="utf-8")
    shown = compare(run)._repr_html_()
    assert "img" not in Reader(shown).tags
    assert "⟨U+202E⟩" in shown


def test_a_recommendation_shows_each_task_its_sentence_and_the_change():
    found = Recommendation(json.loads((EXAMPLE / "recommendation.json").read_text(encoding="utf-8")))
    shown = Reader(found._repr_html_()).text
    assert "2 tasks of 6 can move" in shown
    for task in found["tasks"]:
        assert task["sentence"] in shown
    assert "+  fact_extract:" in shown
    assert found == json.loads(json.dumps(found)), "it is the file's content still"
    assert str(found).startswith("[promote] Put gemma_free before smol_json for fact_extract")


def test_a_recommendation_escapes_what_it_holds():
    text = (EXAMPLE / "recommendation.json").read_text(encoding="utf-8")
    hostile = json.dumps(HOSTILE)[1:-1]
    found = Recommendation(json.loads(text.replace("smol_json", hostile).replace("caption", hostile)))
    shown = found._repr_html_()
    assert "img" not in Reader(shown).tags
    assert "⟨U+202E⟩" in shown
