"""A judge's verdicts beside the rows of a run: both orders, people's labels, and what is pending."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from llmbench.bench.judged import add_judgements
from llmbench.bench.labels import PairKey, labelled_share
from llmbench.bench.recommend import decide_tasks, recommend
from llmbench.bench.run_decisions import decisions
from llmbench.errors import SweepError
from tests.test_recommend import TASK_TIERS, TIERS, Routing, plan_of, rows

N = 160


def run_of(*, failing=(), same=()):
    frame = rows({"ref": np.zeros(N), "small": [None if i in failing else 0.0 for i in range(N)]})
    texts = [f"{m} {s}" for m, s in zip(frame["model"], frame["sample_id"], strict=True)]
    frame["output"] = texts
    frame.loc[frame["sample_id"].isin([f"s{i:03d}" for i in same]), "output"] = "the same "
    return frame


def judgement(i, order, verdict, model="small"):
    return {
        "task": "extract", "sample_id": f"s{i:03d}", "model": model, "other": "ref", "order": order,
        "verdict": verdict, "status": "ok" if verdict is not None else "unparsable", "judge": "j",
    }  # fmt: skip


def both(verdicts):
    return [
        judgement(i, order, v)
        for i, pair in enumerate(verdicts)
        for order, v in zip(("AB", "BA"), pair, strict=True)
    ]


def preferences(frame):
    small = frame[frame["model"] == "small"]
    return dict(zip(small["sample_id"], small["preference"], strict=True))


def test_both_orders_are_averaged_so_that_a_position_is_no_preference():
    frame = run_of()
    found = preferences(
        add_judgements(frame, plan_of(frame), both([(1, -1), (1, 1), (0, -1)] + [(0, 0)] * (N - 3)))
    )
    assert [found["s000"], found["s001"], found["s002"]] == [0.0, 1.0, -0.5]


def test_a_missing_or_unparsable_verdict_is_pending_and_never_a_score():
    frame = run_of()
    plan = plan_of(frame)
    judged = add_judgements(frame, plan, both([(None, 1), (1, None)] + [(0, 0)] * (N - 2)))
    small = judged[judged["model"] == "small"].set_index("sample_id")
    assert list(small["status"][:3]) == ["harness", "harness", "ok"]
    many = decide_tasks(add_judgements(frame, plan, both([(None, 1)] * 10 + [(0, 0)] * (N - 10))), plan)[
        "extract"
    ]
    assert many.outcome == "inconclusive"


def test_a_lost_answer_and_an_equal_one_need_no_question():
    frame = run_of(failing=(0, 1), same=(2,))
    found = preferences(add_judgements(frame, plan_of(frame), both([(0, 0)] * N)[6:]))
    assert [found["s000"], found["s001"], found["s002"], found["s003"]] == [-1.0, -1.0, 0.0, 0.0]


def test_a_task_that_nobody_judged_keeps_its_scores():
    frame = run_of()
    assert add_judgements(frame, plan_of(frame), []) is frame
    other = [line | {"task": "other"} for line in both([(0, 0)] * N)]
    plan = plan_of(frame)
    plan["tasks"]["other"] = plan["tasks"]["extract"]
    assert "preference" not in add_judgements(frame, plan, other).columns


def test_labels_are_owed_on_the_share_drawn_beforehand_and_correct_the_judge():
    frame = run_of()
    plan = plan_of(frame, human_share=0.5, seed=3, margin=0.30)
    lines = both([(1, 1)] * N)  # the judge always prefers the candidate
    keys = [PairKey("extract", f"s{i:03d}", "small", "ref") for i in range(N)]
    drawn = set(labelled_share([key.id for key in keys], 0.5, 3))
    assert 0.35 < len(drawn) / N < 0.65
    owed = add_judgements(frame, plan, lines)
    assert (owed["status"] == "harness").sum() == len(drawn)
    people = [
        {"task": "extract", "sample_id": key.sample_id, "model": "small", "other": "ref", "label": -1}
        for key in keys
    ]
    told = add_judgements(frame, plan, lines, people)
    small = told[told["model"] == "small"]
    assert small["human"].notna().sum() == len(drawn)
    found = decide_tasks(told, plan)["extract"]
    assert (found.outcome, found.why["small"].state) == ("keep", "worse")
    alone = plan | {"human_share": None}
    believed = decide_tasks(add_judgements(frame, alone, lines), alone)["extract"]
    assert believed.outcome == "promote"


def test_the_recommendation_names_what_was_judged_without_people(tmp_path):
    frame = run_of()
    plan = plan_of(frame)
    lines = both([(0, 0)] * N)
    answer = recommend(add_judgements(frame, plan, lines), plan, Routing(TIERS, TASK_TIERS))
    assert answer["judge"] == {"judged_tasks": ["extract"], "uncalibrated_tasks": ["extract"]}
    assert "Judge-scored, not calibrated by people." in answer["tasks"][0]["sentence"]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    frame.to_json(tmp_path / "results.jsonl", orient="records", lines=True)
    (tmp_path / "judgements.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    read = decisions(tmp_path)["extract"]
    assert read.is_judged
    assert read.to_dict()["outcome"] == answer["tasks"][0]["outcome"] == "promote"


def test_labels_that_nobody_gave_calibrate_nothing():
    frame = run_of()
    plan = plan_of(frame, human_share=0.5, margin=0.30)
    answer = recommend(add_judgements(frame, plan, both([(1, 1)] * N)), plan, Routing(TIERS, TASK_TIERS))
    assert answer["judge"]["uncalibrated_tasks"] == ["extract"]
    assert answer["tasks"][0]["outcome"] == "inconclusive"


def test_two_judges_and_verdicts_that_are_no_numbers_are_refused():
    frame = run_of()
    other = [line | {"judge": "k"} for line in both([(0, 0)] * 2)]
    with pytest.raises(SweepError, match="extract was judged by j and by k; keep the lines"):
        add_judgements(frame, plan_of(frame), both([(0, 0)] * N) + other)
    for verdict in ("A", True, 2):
        with pytest.raises(SweepError, match=r"s000/small: verdict .* is not a number in \[-1, 1\]"):
            add_judgements(frame, plan_of(frame), [judgement(0, "AB", verdict)])


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_share_out_of_range_is_refused(share):
    frame = run_of()
    with pytest.raises(Exception, match="share"):
        add_judgements(frame, plan_of(frame, human_share=share), both([(0, 0)] * N))


def test_rows_come_back_as_a_frame():
    frame = run_of()
    assert isinstance(add_judgements(frame, plan_of(frame), both([(0, 0)] * N)), pd.DataFrame)
