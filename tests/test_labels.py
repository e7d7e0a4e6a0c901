"""Blind labels: who is asked what, what is shown, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analytics.warehouse import open_warehouse
from llmbench.bench.labels import (
    Agreement,
    Labelled,
    LabelSession,
    PairKey,
    agreement,
    as_html,
    find_pairs,
    labelled_share,
    read_labels,
    read_pairs,
    show_text,
    typed_keys,
)
from llmbench.errors import BenchError
from tests.run_folders import write_judgements, write_run_folder

IDS = [f"t/s-{at}/cheap" for at in range(4000)]


def row(sample: str, model: str, output: str | None, **changes):
    status = "ok" if output is not None else "error"
    line = {"run_id": "r", "task": "t", "sample_id": sample, "model": model, "repeat": 0, "status": status}
    return line | {"lang": "ja", "prompt": f"prompt {sample}", "output": output, "score": 0.5} | changes


def pairs_of(*answers: tuple[str | None, str | None]):
    rows = [
        row(f"s{at}", model, output)
        for at, pair in enumerate(answers)
        for model, output in zip(("cheap", "dear"), pair, strict=True)
    ]
    return find_pairs(rows, "t", "cheap", "dear")


def many(n: int):
    return pairs_of(*[(f"cheap says {at}", f"dear says {at}") for at in range(n)])


def session(pairs, path: Path, keys: str, **changes):
    seen: list = []
    settings = {"share": 1.0, "seed": 3, "read": typed_keys(keys), "show": seen.append} | changes
    return LabelSession(pairs, path, **settings), seen


def lines(path: Path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- the draw ------------------------------------------------------------------------------------------


@given(st.lists(st.text(), unique=True, max_size=40), st.integers(), st.data())
def test_a_larger_pool_or_share_keeps_every_earlier_draw(ids, seed, data):
    part = data.draw(st.integers(0, len(ids)))
    small, large = sorted(data.draw(st.tuples(*[st.floats(0.01, 1)] * 2)))
    everything = labelled_share(ids, large, seed)
    assert labelled_share(ids[:part], large, seed) == [each for each in everything if each in ids[:part]]
    assert set(labelled_share(ids, small, seed)) <= set(everything)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.9])
def test_the_share_drawn_is_the_probability_named(share):
    drawn = [len(labelled_share(IDS, share, seed)) / len(IDS) for seed in range(5)]
    allowed = 5 * (share * (1 - share) / len(IDS)) ** 0.5
    assert all(abs(found - share) < allowed for found in drawn)
    assert len(set(drawn)) > 1


def test_two_seeds_draw_independently():
    first, second = (set(labelled_share(IDS, 0.5, seed)) for seed in (1, 2))
    assert 0.2 < len(first & second) / len(IDS) < 0.3


def test_everything_is_drawn_when_the_share_is_one():
    assert labelled_share(IDS, 1, 0) == IDS


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_a_share_that_is_no_probability_is_refused(share):
    with pytest.raises(BenchError, match="above 0"):
        labelled_share(IDS, share, 0)


# --- a session -----------------------------------------------------------------------------------------


def test_a_label_is_about_the_candidate_whichever_side_it_stood_on(tmp_path):
    pairs = many(40)
    asked, seen = session(pairs, tmp_path / "labels.jsonl", "1" * 40)
    assert asked.run() == Labelled(drawn=40, plain=0, labelled=40, left=0)
    for question, line in zip(seen, lines(tmp_path / "labels.jsonl"), strict=True):
        assert line["label"] == (1 if question.left.startswith("cheap") else -1)
    on_the_left = sum(question.left.startswith("cheap") for question in seen)
    assert 8 < on_the_left < 32


@pytest.mark.parametrize(
    ("key", "sign"), [("1", 1), ("2", -1), ("0", 0), (" ", 0), ("２", -1), ("　", 0), ("1 ", 1)]
)
def test_each_key_means_one_label(tmp_path, key, sign):
    typed = iter([key])
    asked, seen = session(many(1), tmp_path / "labels.jsonl", "", read=lambda _: next(typed))
    asked.run()
    left_is_cheap = seen[0].left.startswith("cheap")
    assert lines(tmp_path / "labels.jsonl")[0]["label"] == (sign if left_is_cheap else -sign)


def test_a_key_without_a_meaning_is_asked_again(tmp_path):
    typed = iter(["", "3", "yes", "1"])
    asked, seen = session(many(1), tmp_path / "labels.jsonl", "", read=lambda _: next(typed))
    assert asked.run().labelled == 1
    assert len(seen) == 1
    assert list(typed) == []


def test_what_is_shown_names_no_model_and_looks_the_same_whatever_it_came_with(tmp_path):
    pairs = pairs_of(("  yes\u200b\n", "no"))
    asked, seen = session(pairs, tmp_path / "labels.jsonl", "q")
    asked.run()
    page = as_html(seen[0])
    assert not [word for word in ("cheap", "dear", "s0\x00") if word in page]
    assert "yes⟨U+200B⟩</td>" in page


def test_going_back_replaces_the_label_and_the_last_one_counts(tmp_path):
    path = tmp_path / "labels.jsonl"
    asked, seen = session(many(2), path, "b1b21q")
    assert asked.run().left == 0
    assert [question.number for question in seen] == [1, 1, 2, 1, 2]
    written = lines(path)
    assert [line["sample_id"] for line in written] == ["s0", "s0", "s1"]
    assert written[0]["label"] == -written[1]["label"]
    kept = read_labels(path, "r")
    assert kept[PairKey("t", "s0", "cheap", "dear")] == written[1]["label"]


def test_a_session_goes_on_where_the_last_one_stopped_with_the_same_sides(tmp_path):
    path = tmp_path / "labels.jsonl"
    whole, all_seen = session(many(6), tmp_path / "whole.jsonl", "111111")
    whole.run()
    first, seen_first = session(many(6), path, "11q")
    assert first.run() == Labelled(drawn=6, plain=0, labelled=2, left=4)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"torn')  # a writer that was killed
    second, seen_second = session(many(6), path, "1111")
    assert second.run().left == 0
    assert [(q.left, q.right) for q in [*seen_first[:2], *seen_second]] == [
        (q.left, q.right) for q in all_seen
    ]
    assert read_labels(path, "r") == read_labels(tmp_path / "whole.jsonl", "r")


def test_a_label_is_on_disk_before_the_next_question(tmp_path):
    path = tmp_path / "labels.jsonl"
    found = []

    def read(_: str) -> str:
        found.append(len(lines(path)) if path.exists() else 0)
        return "1"

    session(many(3), path, "", read=read)[0].run()
    assert found == [0, 1, 2]


@pytest.mark.parametrize("stop", [EOFError, KeyboardInterrupt])
def test_an_interrupt_ends_the_session_and_keeps_what_was_said(tmp_path, stop):
    typed = iter(["1"])

    def read(_: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise stop from None

    asked, _ = session(many(3), tmp_path / "labels.jsonl", "", read=read)
    assert asked.run().labelled == 1


def test_pairs_that_need_no_eyes_are_labelled_unasked(tmp_path):
    pairs = pairs_of(("same", " same\n"), (None, "answer"), ("answer", None), (None, None), ("a", "b"))
    asked, seen = session(pairs, tmp_path / "labels.jsonl", "q")
    assert asked.run() == Labelled(drawn=5, plain=4, labelled=0, left=1)
    assert len(seen) == 1
    assert [line["label"] for line in lines(tmp_path / "labels.jsonl")] == [0, -1, 1, 0]
    assert session(pairs, tmp_path / "labels.jsonl", "0")[0].run().left == 0
    assert len(lines(tmp_path / "labels.jsonl")) == 5


def test_only_drawn_pairs_are_shown(tmp_path):
    pairs = many(60)
    drawn = labelled_share([pair.key.id for pair in pairs], 0.3, 3)
    asked, seen = session(pairs, tmp_path / "labels.jsonl", "1" * 60, share=0.3)
    assert asked.run().drawn == len(drawn) == len(seen)
    assert [f"t/{line['sample_id']}/cheap" for line in lines(tmp_path / "labels.jsonl")] == drawn


def test_labels_of_another_run_do_not_count(tmp_path):
    path = tmp_path / "labels.jsonl"
    session(many(2), path, "11")[0].run()
    assert read_labels(path, "another") == {}
    assert len(read_labels(path, "r")) == 2


def test_a_place_that_cannot_be_written_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    asked, _ = session(many(1), tmp_path / "file" / "labels.jsonl", "1")
    with pytest.raises(BenchError, match="cannot be written"):
        asked.run()


def test_pairs_of_two_runs_are_refused(tmp_path):
    other = find_pairs(
        [row("x", model, model, run_id="r2") for model in ("cheap", "dear")], "t", "cheap", "dear"
    )
    with pytest.raises(BenchError, match="2 runs"):
        LabelSession([*many(1), *other], tmp_path / "labels.jsonl", share=1, seed=0)


@given(prompt=st.text(), left=st.text(min_size=1), lang=st.text(max_size=9))
def test_a_strangers_text_is_escaped_wherever_it_is_shown(prompt, left, lang):
    import re

    rows = [row("s", "cheap", f"<script>{left}</script>", prompt=f"<img src=x>{prompt}", lang=f'"><b>{lang}')]
    (pair,) = find_pairs([*rows, row("s", "dear", "b")], "t", "cheap", "dear")
    seen: list = []
    LabelSession([pair], Path("never-written"), share=1, seed=0, read=typed_keys("q"), show=seen.append).run()
    tags = re.findall(r"</?([a-z]+)", as_html(seen[0]))
    assert set(tags) == {"p", "table", "tr", "th", "td"}
    as_html(seen[0]).encode("utf-8")


def test_a_terminal_shows_control_characters_as_signs(tmp_path, capsys):
    pairs = pairs_of(("\x1b[31mred", "plain"))
    session(pairs, tmp_path / "labels.jsonl", "q", show=show_text)[0].run()
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "␛[31mred" in said
    assert "prompt s0" in said


# --- pairs ---------------------------------------------------------------------------------------------


def test_the_first_repeat_is_the_answer_and_a_pending_cell_makes_no_pair():
    rows = [row("s", "cheap", "second", repeat=1, score=1.0), row("s", "cheap", "first", score=0.25)]
    rows += [
        row("s", "dear", "d", score=1.0),
        row("p", "cheap", "x", status="harness"),
        row("p", "dear", "y"),
    ]
    (pair,) = find_pairs(rows, "t", "cheap", "dear")
    assert (pair.answer, pair.other_answer, pair.difference) == ("first", "d", -0.75)


@pytest.mark.parametrize("names", [("t", "cheap", "cheap"), ("t", "cheap", "nobody"), ("u", "cheap", "dear")])
def test_models_that_were_not_compared_are_an_error_that_names_them(names):
    rows = [row("s", model, model) for model in ("cheap", "dear")]
    with pytest.raises(BenchError, match=f"'{names[0]}'"):
        find_pairs(rows, *names)


def test_the_pairs_of_a_judged_run_are_those_the_judge_saw(tmp_path):
    folder = write_run_folder(tmp_path, samples=30)
    models = ("smol_free", "gemma_json")
    everything = read_pairs(folder.run_dir, "caption", *models)
    write_judgements(folder)
    path = folder.run_dir / "judgements.jsonl"
    kept = [line for line in path.read_text().splitlines(keepends=True) if '"caption-00' in line]
    path.write_text("".join(kept), encoding="utf-8")
    judged = read_pairs(folder.run_dir, "caption", *models)
    assert 0 < len(judged) < len(everything)
    assert {pair.key for pair in judged} < {pair.key for pair in everything}
    with pytest.raises(BenchError, match="no judge compared"):
        read_pairs(folder.run_dir, "caption", "gemma_json", "smol_free")


def test_a_folder_without_results_is_an_error_that_names_it(tmp_path):
    with pytest.raises(BenchError, match=r"results\.jsonl"):
        read_pairs(tmp_path, "t", "cheap", "dear")


# --- agreement -----------------------------------------------------------------------------------------


def test_agreement_counts_equal_signs_over_the_pairs_both_were_asked_about():
    keys = [PairKey("t", str(at), "cheap", "dear") for at in range(6)]
    labels = dict(zip(keys, (1, -1, 0, 0, 1, 1), strict=True))
    verdicts = dict(zip(keys[:5], (0.5, 1.0, 0.0, -0.5, None), strict=True))
    assert agreement(labels, verdicts) == Agreement(5, 0.4)
    assert agreement({}, verdicts) == Agreement(0, None)


def test_the_warehouse_says_the_same_of_a_judge_as_agreement_does(tmp_path):
    folder = write_run_folder(tmp_path, samples=30)
    write_judgements(folder)
    labels = read_labels(folder.run_dir / "labels.jsonl", "2026-11-22-tiers")
    with open_warehouse(run_dirs=[folder.run_dir]) as warehouse:
        rows = warehouse.rows("from mart_preferences where judge = 'big' and task = 'caption'")
        accuracy = warehouse.rows("from mart_judges where judge = 'big' and task = 'caption'")
    names = ("task", "sample_id", "model", "other")
    asked = {PairKey(*(r[n] for n in names)): r["verdict_ab"] for r in rows if r["status_ab"]}
    assert agreement(labels, asked).share == pytest.approx(accuracy[0]["accuracy_ab"])
