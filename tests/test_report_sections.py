"""The parts of a report that only some runs have: judges, extras, calls not made, evidence begun again."""

from __future__ import annotations

import json
import re

import pytest

from llmbench.analytics.render import render_report
from llmbench.errors import WarehouseError
from tests.run_folders import write_run_folder
from tests.test_render import PAYLOADS, Page

EXTRAS = {
    "ranking": [
        {"task": "caption", "model": "smol_json", "strength": 1.25, "low": 1.1, "high": 1.5, "comparisons": 9}
    ],
    "aiq": [{"task": "caption", "aiq": 0.4321}],
    "holm": [{"task": "caption", "model": "smol_json", "p": 0.0123, "p_holm": 0.0246, "rejected": True}],
    "slices": [
        {
            "task": "caption", "slice": "lang", "value": "ja", "model": "smol_json", "n": 9, "clusters": 7,
            "score": 0.25, "delta": -0.125, "warning": "few units",
        }
    ],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return write_run_folder(tmp_path, samples=24)


def change(folder, name, edit):
    path = folder.run_dir / name
    value = json.loads(path.read_text(encoding="utf-8"))
    edit(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def rendered(folder, name="report.html", **given):
    render_report(folder.run_dir, **given)
    text = (folder.run_dir / name).read_text(encoding="utf-8")
    return " ".join((Page(text).text if name.endswith("html") else text).split())


def headings(folder):
    html = (folder.run_dir / "report.html").read_text(encoding="utf-8")
    return re.findall(r'<h2 id="([a-z]+)', html)


def judged(folder, task="caption"):
    """A judge that keeps its mind on all pairs but the first, and people who agree with it on half."""
    pairs = [
        {"run_id": "2026-11-22-tiers", "task": task, "sample_id": f"{task}-{at:03d}", "model": "smol_json"}
        | {"schema": 1, "other": "gemma_json", "timestamp": "2026-11-22T10:00:00Z"}
        for at in range(6)
    ]
    judge = {"judge": "gemma_free", "strategy": "pairwise", "status": "ok", "cost_usd": 0.0001, "lang": "en"}
    verdicts = [
        pair | judge | {"order": order, "verdict": -1.0 if at == 0 and order == "BA" else 1.0}
        for at, pair in enumerate(pairs)
        for order in ("AB", "BA")
    ]
    labels = [pair | {"label": 1 if at % 2 else -1} for at, pair in enumerate(pairs)]
    for name, rows in (("judgements", verdicts), ("labels", labels)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder.run_dir / f"{name}.jsonl").write_text(text, encoding="utf-8")


def test_an_uncalibrated_judge_stands_in_the_headline_with_its_tasks(folder):
    judge = {"judged_tasks": ["caption"], "uncalibrated_tasks": ["caption"]}
    change(folder, "recommendation.json", lambda value: value.update(judge=judge))
    text = rendered(folder)
    html = (folder.run_dir / "report.html").read_text(encoding="utf-8")
    title = html[html.index("<h1>") : html.index("</h1>")]
    assert "Judge-scored, not calibrated: caption." in title
    assert "No person has checked the judge" in text
    assert "Judge-scored, not calibrated: caption." in rendered(folder, "report.md").split("|")[0]


def test_a_calibrated_judge_does_not(folder):
    judge = {"judged_tasks": ["caption"], "uncalibrated_tasks": []}
    change(folder, "recommendation.json", lambda value: value.update(judge=judge))
    assert "not calibrated:" not in rendered(folder)


def test_the_judge_is_measured_where_it_judged_and_nowhere_else(folder):
    assert "How good the judge is" not in rendered(folder)
    judged(folder)
    text = rendered(folder)
    assert text.count("How good the judge is") == 1
    assert "Same in both orders" in text
    assert "First place wins" in text
    assert "83.3 %" in text  # five of six pairs
    assert "6 labelled" in text
    assert "Win rate" in text


def test_extras_are_shown_apart_and_say_that_they_decide_nothing(folder):
    (folder.run_dir / "extras.json").write_text(json.dumps(EXTRAS), encoding="utf-8")
    text = rendered(folder)
    for words in ("says nothing about a move", "1.25", "1.10 to 1.50", "43.2", "0.0246", "lang: ja", "−12.5"):
        assert words in text, words
    assert headings(folder)[-4:] == ["extras", "change", "evidence", "reproduce"]


def test_extras_that_are_given_win_over_the_file(folder):
    (folder.run_dir / "extras.json").write_text(json.dumps(EXTRAS), encoding="utf-8")
    text = rendered(folder, extras={"aiq": [{"task": "caption", "aiq": 0.9}], "holm": None})
    assert "AIQ" in text
    assert "Bradley" not in text
    assert "says nothing about a move" not in rendered(folder, extras={})


def test_without_extras_there_is_no_such_section(folder):
    assert "Descriptive extras" not in rendered(folder)
    assert "extras" not in headings(folder)


def test_extras_of_wrong_types_and_hostile_texts_stay_texts(folder):
    rows = [
        dict.fromkeys(("task", "model", "slice", "value", "warning", "score", "n"), each) for each in PAYLOADS
    ]
    text = rendered(folder, extras={"slices": rows, "ranking": rows, "aiq": "none", "holm": [None, 3]})
    assert "says nothing about a move" in text
    assert "<script" not in (folder.run_dir / "report.html").read_text(encoding="utf-8")


def test_broken_extras_are_named_in_one_line(folder):
    (folder.run_dir / "extras.json").write_text("{", encoding="utf-8")
    with pytest.raises(WarehouseError, match=r"extras\.json"):
        render_report(folder.run_dir)


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_what_was_not_called_is_told_with_its_reason(folder, name):
    def stop_early(value):
        task = value["tasks"][0]
        task["calls"]["smol_free"], task["saved"] = 10, 0.146
        task["candidates"][-1] |= {"n": 10, "was_tried_to_the_end": False, "delta": None}
        task |= {"outcome": "promote", "choice": "smol_json", "proposed_model": "smol_json"}

    change(folder, "recommendation.json", stop_early)
    change(folder, "plan.json", lambda plan: plan.update(unreachable=["far-off-model"]))
    text = rendered(folder, name).replace("\\", "")
    assert "274 of the 288 calls of the full grid were made; 4.9 % were not needed." in text
    assert "smol_free was called on 10 prompts only; smol_json was proved before its turn came" in text
    assert "its data leave the region" in text
    assert "far-off-model" in text


def test_a_task_that_stays_says_why_in_the_first_table(folder):
    def keep(value):
        for task, state in zip(value["tasks"], ("costly", "open", "worse"), strict=True):
            task |= {"outcome": "keep", "choice": "gemma_json", "proposed_model": "gemma_json"}
            for row in task["candidates"][1:]:
                row |= {"state": state, "evidence": 1.0, "needs_more": 24}
            task["candidates"][2] |= {"evidence": 27.0, "threshold": 60.0}

    change(folder, "recommendation.json", keep)
    render_report(folder.run_dir)
    html = (folder.run_dir / "report.html").read_text(encoding="utf-8")
    first = html[html.index("<table") : html.index("</table>")]
    assert "smol_json is not shown to be cheaper" in first
    assert "smol_json is not decided: evidence 27 of 60, about 24 prompts more" in first
    assert "smol_json loses too much" in first


def test_evidence_is_shown_beside_what_is_needed(folder):
    change(
        folder,
        "recommendation.json",
        lambda value: value["tasks"][0]["candidates"][1].update(evidence=27.4, threshold=60.0),
    )
    render_report(folder.run_dir)
    html = (folder.run_dir / "report.html").read_text(encoding="utf-8")
    assert '<td class="num">27<small>of 60</small></td>' in html


def test_answers_that_were_cut_off_are_counted(folder):
    path = folder.run_dir / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    mine = [row for row in rows if row["task"] == "caption" and row["model"] == "smol_free"]
    for row in mine[:5]:
        row |= {"finish_reason": "length", "status": "ok", "error_kind": None}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert rendered(folder).count("Answers cut off") == 1
    html = (folder.run_dir / "report.html").read_text(encoding="utf-8")
    counts = (f'<td class="num">{n}</td>' for n in (5, 24, 5))
    assert f'<th scope="row">smol_free</th>{"".join(counts)}' in html


def test_calls_that_a_rate_limit_held_back_are_counted_beside_the_failures(folder):
    path = folder.run_dir / "results.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for at, row in enumerate(row for row in rows if row["task"] == "caption" and row["model"] == "smol_free"):
        row["throttled"] = at < 7
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    rendered(folder)
    for name, words in (("report.html", "7 throttled</small>"), ("report.md", "(7 throttled)")):
        assert (folder.run_dir / name).read_text(encoding="utf-8").count(words) == 1, name


def test_a_reset_is_told_once_and_apart_from_the_notes(folder):
    reset = "smol_json has a new version: its evidence begins again"
    change(folder, "plan.json", lambda plan: plan.update(resets=[reset]))
    change(folder, "recommendation.json", lambda value: value["notes"].append(reset))
    text = rendered(folder)
    assert text.count(reset) == 1
    assert "Evidence that was begun again" in text


def test_a_chain_is_one_candidate_of_several_models(folder):
    def chain(value):
        task = value["tasks"][0]
        name = "smol_json > gemma_json"
        task["candidates"][2] |= {"model": name, "arm": ["smol_json", "gemma_json"], "state": "promote"}
        task |= {"outcome": "promote", "choice": name, "proposed_model": name}

    change(folder, "recommendation.json", chain)
    text = rendered(folder)
    assert "smol_json > gemma_json" in text
    html = (folder.run_dir / "report.html").read_text(encoding="utf-8")
    assert '<th scope="row">route_ticket</th><td>smol_json<small>proposed</small></td>' in html
