"""From a run's rows to a judge's lines: what is asked, what it costs, and what it does to the rows."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from llmbench.bench.dataset import load_dataset
from llmbench.bench.judged import add_judgements, graded_rows
from llmbench.bench.judging.asking import asking, judge_task, recorded
from llmbench.bench.judging.cells import distinct, judge_cells, retry_cells
from llmbench.bench.judging.plan import JudgeFile, JudgePlan, check_independent, family_of
from llmbench.bench.judging.questions import questions
from llmbench.bench.ledger import read_ledger
from llmbench.catalog import ModelSpec
from llmbench.errors import RouteError, SweepError
from llmbench.routing.client import LLMClient
from tests.servers.judge_server import JudgeServer
from tests.sweep_project import read_lines

DATASET = load_dataset(Path(__file__).parents[1] / "datasets" / "caption")
PAIRWISE = JudgePlan("judge")
RUBRIC = JudgePlan("judge", strategy="rubric", criteria=("short",))


@dataclass(frozen=True)
class Task:
    judge: JudgePlan | None = PAIRWISE
    task: str = "caption"
    chain: tuple[str, ...] = ("ref",)
    dataset: object = DATASET
    samples: tuple = DATASET.samples[:4]


def row(at, model, output, status="ok", repeat=0):
    sample = DATASET.samples[at]
    return {
        "run_id": "r", "task": "caption", "sample_id": sample.id, "cluster": sample.cluster,
        "lang": sample.lang, "model": model, "repeat": repeat, "status": status, "output": output,
        "score": 0.5 if status == "ok" else 0.0,
    }  # fmt: skip


ROWS = [
    row(0, "ref", "a GOOD one"), row(0, "small", "a bad one"), row(0, "tiny", "a bad one"),
    row(1, "ref", "the same"), row(1, "small", " the same\n"), row(1, "tiny", None, "error"),
    row(2, "ref", None, "timeout"), row(2, "small", "bad"), row(2, "tiny", "GOOD"),
    row(3, "ref", "bad"), row(3, "small", "GOOD"), row(3, "tiny", "bad too"),
    row(3, "gone", None, "harness"),
]  # fmt: skip


@pytest.fixture
def project(tmp_path):
    """Opens a client of a project whose judge is at a server that answers as told."""

    def project(server):
        configs = tmp_path / "configs"
        configs.mkdir(exist_ok=True)
        entry = {"provider": "stub", "model_name": "judge-1", "price": {"input": 1.0, "output": 2.0}}
        files = {
            "llm_router": {"providers": {"stub": {"base_url": f"http://127.0.0.1:{server.port}/v1"}}},
            "llm_model_registry": {"models": {"judge": entry}},
            "llm_tier_candidates": {"tiers": {"standard": ["judge"]}},
        }
        for name, value in files.items():
            (configs / f"{name}.yaml").write_text(yaml.safe_dump(value))
        return LLMClient(configs, variables={}, log_path=tmp_path / "log.jsonl")

    return project


def judged(client, task, ask, rows=ROWS):
    async def run():
        try:
            return await judge_task(task, rows, client, "judge-1", ask(client))
        finally:
            await client.aclose()

    return asyncio.run(run())


def test_only_two_answers_that_differ_are_asked_about_and_in_both_orders():
    asked = questions(Task(), ROWS)
    found = [(each.row["sample_id"], each.row["model"], each.order) for each in asked]
    first, last = (DATASET.samples[at].id for at in (0, 3))
    assert found == [
        (sample, model, order)
        for sample, model in ((first, "small"), (first, "tiny"), (last, "small"), (last, "tiny"))
        for order in ("AB", "BA")
    ]
    assert len({each.name for each in asked}) == len(asked)
    assert questions(Task(judge=None), ROWS) == []
    assert questions(Task(task="other"), ROWS) == []
    assert DATASET.samples[0].input in asked[0].asked.messages[1]["content"]


def test_a_rubric_asks_about_every_answer_the_references_too():
    asked = questions(Task(RUBRIC), ROWS)
    assert [each.order for each in asked] == ["alone"] * 10
    assert sum(each.row["model"] == "ref" for each in asked) == 3


def test_a_samples_own_criteria_win():
    sample = replace(DATASET.samples[0], checks={"criteria": ["names the knife"]})
    own = questions(Task(RUBRIC, samples=(sample,)), ROWS)
    assert {each.asked.criteria for each in own} == {("names the knife",)}
    assert {each.asked.criteria for each in questions(Task(RUBRIC), ROWS)} == {("short",)}


def test_equal_questions_are_one_call_and_its_cost_stands_once(project, tmp_path):
    path = tmp_path / "ledger.jsonl"
    with JudgeServer(good=["GOOD"]) as server:
        lines = judged(project(server), Task(), lambda client: asking(client, path))
        assert len(lines) == 8
        assert len(server.requests) == 6, "small's and tiny's first answers are the same"
        replayed = judged(project(server), Task(), lambda _: recorded(path))
        again = judged(project(server), Task(), lambda client: asking(client, path))
        assert len(server.requests) == 6
    assert lines == replayed == again
    paid = sum(line["cost_usd"] for line in read_ledger(path).results.values())
    assert sum(line["cost_usd"] for line in lines) == pytest.approx(paid)
    assert paid > 0
    by = {(line["sample_id"], line["model"], line["order"]): line["verdict"] for line in lines}
    first, last = (DATASET.samples[at].id for at in (0, 3))
    assert [by[first, "small", order] for order in ("AB", "BA")] == [-1.0, -1.0]
    assert [by[last, "small", order] for order in ("AB", "BA")] == [1.0, 1.0]
    assert [by[last, "tiny", order] for order in ("AB", "BA")] == [0.0, 0.0]
    assert all("judge" not in str(body["messages"][1]) for body in server.requests)


def test_an_unreadable_reply_is_asked_once_more_and_then_missing(project, tmp_path):
    path = tmp_path / "ledger.jsonl"
    said = {0: "hm", 6: '{"reason": "x", "better": "B"}', 1: "A is nicer", 7: "still prose"}
    with JudgeServer(good=["GOOD"], replies=said.get) as server:
        lines = judged(project(server), Task(), lambda client: asking(client, path, concurrency=1))
        assert len(server.requests) == 8
        assert "could not be read" in server.requests[6]["messages"][1]["content"] or (
            "読み取れません" in server.requests[6]["messages"][1]["content"]
        )
    names = ("model", "order", "status", "verdict", "asked", "unparsable")
    shown = [tuple(line[name] for name in names) for line in lines[:4]]
    assert shown == [
        ("small", "AB", "ok", -1.0, 2, 1),
        ("small", "BA", "unparsable", None, 2, 2),
        ("tiny", "AB", "ok", -1.0, 2, 1),
        ("tiny", "BA", "unparsable", None, 2, 2),
    ]
    frame = add_judgements(pd.DataFrame(ROWS), plan_of(PAIRWISE), lines)
    lost = frame[(frame["sample_id"] == DATASET.samples[0].id) & (frame["model"] == "small")].iloc[0]
    assert lost["status"] == "harness"
    assert pd.isna(lost["preference"])


def plan_of(judge):
    return {"seed": 0, "tasks": {"caption": {"reference": "ref", "judge": judge.facts()}}}


def test_a_question_that_is_still_pending_has_no_line_and_is_not_asked_again(project):
    with JudgeServer() as server:
        client = project(server)
        with client:
            cells = judge_cells(questions(Task(), ROWS), client, "judge-1")
            assert retry_cells(cells, {}, client, "judge-1") == []
            assert len(distinct(cells)) == 6
            assert len({cell.name for cell in cells}) == 8
            assert {cell.lane for cell in cells} == {"stub"}
            twice = judge_cells(questions(Task(), ROWS), client, "judge-1")
            assert [cell.fingerprint for cell in twice] == [cell.fingerprint for cell in cells]
            newer = judge_cells(questions(Task(), ROWS), client, "judge-2")
            assert newer[0].fingerprint != cells[0].fingerprint
    assert server.requests == []


def test_a_judge_that_fails_gives_no_verdict_and_is_no_unreadable_reply(project, tmp_path):
    class Broken(JudgeServer):
        async def _one(self, reader, writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            await reader.readexactly(int(head.partition("content-length:")[2].partition("\r\n")[0]))
            self.requests.append({})
            writer.write(b"HTTP/1.1 500 X\r\ncontent-length: 2\r\n\r\n{}")
            await writer.drain()
            return True

    with Broken() as server:
        lines = judged(project(server), Task(), lambda client: asking(client, tmp_path / "l.jsonl"))
    assert {(line["status"], line["verdict"], line["unparsable"]) for line in lines} == {("error", None, 0)}


def test_a_rubrics_points_are_the_rows_scores(project, tmp_path):
    replies = {3: '{"c1": {"reason": "", "score": 2}}'}.get
    with JudgeServer(good=["GOOD"], replies=replies) as server:
        client = project(server)
        lines = judged(client, Task(RUBRIC), lambda each: asking(each, tmp_path / "l.jsonl", concurrency=1))
    frame = add_judgements(pd.DataFrame(ROWS), plan_of(RUBRIC), lines)
    scores = {(each["sample_id"], each["model"]): each["score"] for each in frame.to_dict("records")}
    first, last = (DATASET.samples[at].id for at in (0, 3))
    assert (scores[first, "ref"], scores[first, "small"]) == (1.0, 0.0)
    by = frame.set_index(["sample_id", "model"])
    assert by.loc[(first, "small"), "preference"] == -1.0
    assert by.loc[(last, "small"), "preference"] == 1.0
    assert by.loc[(DATASET.samples[2].id, "tiny"), "preference"] == scores[DATASET.samples[2].id, "tiny"]
    assert all(line["scores"][0]["criterion"] == "short" for line in lines)
    graded = graded_rows(ROWS, lines, {"caption"})
    assert graded_rows(graded, lines, {"caption"}) == graded


def test_an_answer_without_points_is_pending_and_never_the_scorers_score():
    line = {"task": "caption", "sample_id": DATASET.samples[0].id, "model": "ref", "judge": "judge"}
    line |= {"strategy": "rubric", "order": "alone", "score": None, "status": "unparsable"}
    for lines in ([], [line]):
        frame = add_judgements(pd.DataFrame(ROWS), plan_of(RUBRIC), lines)
        answers = frame[[each["status"] == "ok" for each in ROWS]]
        assert set(answers["status"]) == {"harness"}
        assert answers["score"].isna().all()
        failed = frame[[each["status"] in ("error", "timeout") for each in ROWS]]
        assert set(failed["score"]) == {0.0}


@pytest.mark.parametrize("score", [1.5, -0.1, True, "1"])
def test_a_score_out_of_range_is_refused(score):
    line = {"task": "caption", "sample_id": "x", "model": "ref", "strategy": "rubric", "score": score}
    with pytest.raises(SweepError, match=r"caption/x/ref: score .* is not a number in \[0, 1\]"):
        graded_rows(ROWS, [line], {"caption"})


def test_repeats_are_judged_each_by_itself():
    rows = [row(0, "ref", "x", repeat=at) for at in (0, 1)] + [
        row(0, "small", str(at), repeat=at) for at in (0, 1)
    ]
    base = {
        "task": "caption",
        "sample_id": rows[0]["sample_id"],
        "model": "small",
        "other": "ref",
        "judge": "j",
    }
    lines = [
        base | {"strategy": "pairwise", "order": order, "verdict": at, "repeat": at}
        for at in (0, 1)
        for order in ("AB", "BA")
    ]
    frame = add_judgements(pd.DataFrame(rows), plan_of(PAIRWISE), lines)
    assert list(frame[frame["model"] == "small"]["preference"]) == [0.0, 1.0]


def spec(key, model_id, family=None, provider="p"):
    return ModelSpec(key, provider, model_id, family=family)


def test_a_judge_of_a_candidates_family_is_said_and_a_judge_of_itself_refused():
    judge = spec("judge", "openai/gpt-6-luna")
    assert family_of(judge) == "gpt"
    kin = check_independent("t", PAIRWISE, judge, [spec("a", "gpt-5.6"), spec("b", "kimi-k2")])
    assert len(kin) == 1
    assert "one family (gpt) with a:" in kin[0]
    assert check_independent("t", PAIRWISE, judge, [spec("b", "kimi-k2")]) == []
    same = [spec("other_key", "openai/gpt-6-luna")]
    with pytest.raises(SweepError, match=r"judge would judge its own answers \(candidate other_key\)"):
        check_independent("t", PAIRWISE, judge, same)
    assert "its own answers" in check_independent("t", replace(PAIRWISE, own_answers=True), judge, same)[0]


@pytest.mark.parametrize(
    ("model_id", "declared", "family"),
    [
        ("google/gemma-3-27b-it", None, "gemma"),
        ("kimi-k2", None, "kimi"),
        ("kimi-k2", "house", "house"),
        ("mine", "gemma3-base", "gemma3-base"),
        ("mine", "Fam2", "fam2"),
        ("o3-mini", None, "gpt"),
        ("openai/o1", None, "gpt"),
        ("o4-mini-2025-04-16", None, "gpt"),
        ("chatgpt-4o-latest", None, "gpt"),
        ("our-deployment", "o3-mini", "gpt"),
        ("our-deployment", "gpt-5.6-sol", "gpt"),
        ("olmo-2", None, "olmo"),
        ("o3x", None, "o"),
        ("123", None, "123"),
    ],
)
def test_a_declared_family_counts_whole_and_a_guessed_one_by_its_first_word(model_id, declared, family):
    assert family_of(spec("x", model_id, declared)) == family


def test_only_one_family_is_near_to_its_judge():
    judge = spec("judge", "j", "fam")
    assert check_independent("t", PAIRWISE, judge, [spec("a", "a", "fam2")]) == []
    assert "one family (fam) with a:" in check_independent("t", PAIRWISE, judge, [spec("a", "a", "fam")])[0]
    kin = check_independent("t", PAIRWISE, spec("judge", "o3-mini"), [spec("a", "openai/gpt-6-luna")])
    assert "one family (gpt) with a:" in kin[0]


def test_a_plan_file_names_the_judge_and_the_plan_keeps_it():
    plan = JudgeFile.model_validate({"model": "judge", "strategy": "rubric", "criteria": ["short"]}).freeze()
    assert plan == RUBRIC
    facts = plan.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["prompt_version"] == 1
    for wrong in (
        {"model": "j", "scale": 1},
        {"model": "j", "criteria": [" "]},
        {"model": "j", "stil": 1},
        {},
    ):
        with pytest.raises(ValueError, match="validation error"):
            JudgeFile.model_validate(wrong)


def test_an_unknown_judge_is_refused_before_anything_is_sent(project, tmp_path):
    with JudgeServer() as server, pytest.raises(RouteError, match="nobody"):
        judged(
            project(server), Task(JudgePlan("nobody")), lambda client: asking(client, tmp_path / "l.jsonl")
        )
    assert server.requests == []
    assert not (tmp_path / "l.jsonl").exists()


def test_every_call_has_its_intent_and_its_result(project, tmp_path):
    path = tmp_path / "ledger.jsonl"
    with JudgeServer(good=["GOOD"]) as server:
        judged(project(server), Task(), lambda client: asking(client, path))
    kinds = [line["type"] for line in read_lines(path)]
    assert kinds.count("intent") == kinds.count("result") == 6
    assert all(line["cell"].endswith("/judge/0") for line in read_lines(path))
