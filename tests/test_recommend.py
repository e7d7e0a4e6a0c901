"""From a run's rows to a recommendation: terms from the plan, sentences, checks, a diff that git takes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

from llmbench.bench.propose import Routing
from llmbench.bench.recommend import decide_tasks, recommend
from llmbench.errors import SweepError
from tests.tables import losing, right

SCHEMA = json.loads((Path(__file__).parents[1] / "docs" / "recommendation.schema.json").read_text("utf-8"))
TIERS = {"heavy_reasoning": ["big"], "standard": ["ref", "big"], "cheap": ["small", "tiny"], "image": ["pic"]}
TASK_TIERS = {"extract": "standard", "caption": "standard"}
COST = {"ref": 1.0, "small": 0.45, "tiny": 0.1, "big": 4.0}
BASE = right(0.8, 160)


def rows(scores, *, task="extract", clusters=None, **fixed):
    """Rows of results.jsonl from {model: scores per sample}; a score of None is a failed call."""
    out = [
        {
            "task": task, "model": model, "model_version": "v1", "sample_id": f"s{i:03d}",
            "cluster": f"s{i:03d}" if clusters is None else f"c{clusters[i]}", "repeat": 0,
            "status": "error" if value is None else "ok", "score": 0.0 if value is None else float(value),
            "cost_usd": COST[model] * (1 + (i % 7) / 10) / 1000, "latency_ms": 100.0 + i,
            "output_tokens": 20, "timestamp": f"2026-11-22T09:00:{i % 60:02d}Z",
        } | fixed
        for model, values in scores.items() for i, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(out)


def plan_of(frame, **changes):
    tasks = {}
    for task, part in frame.groupby("task"):
        models = [model for model in dict.fromkeys(part["model"]) if model != "ref"]
        prompts = {}
        for sample, cluster in part[["sample_id", "cluster"]].drop_duplicates().itertuples(index=False):
            prompts.setdefault(cluster, []).append(sample)
        tasks[task] = {
            "reference": "ref", "chain": ["ref"], "arms": [[model] for model in models], "tier": "standard",
            "prompts": prompts, "constraints": {}, "excluded": [],
        }  # fmt: skip
    header = {"margin": 0.10, "alpha": 0.05, "family": "task", "stop": "grid", "batch": 10, "pilot": 10}
    return (
        {"run_id": "r1", "plan_hash": "p", "config_hash": "c", "repeats": 1, "tasks": tasks}
        | header
        | changes
    )


def judged(frame, plan=None, routing=None):
    return recommend(frame, plan or plan_of(frame), routing or Routing(TIERS, TASK_TIERS))


def task_of(answer, task="extract"):
    return next(entry for entry in answer["tasks"] if entry["task"] == task)


def candidate(answer, model, task="extract"):
    return next(row for row in task_of(answer, task)["candidates"] if row["model"] == model)


# --- outcomes and sentences ---------------------------------------------------------------------------------


def test_a_candidate_proved_no_worse_and_cheaper_takes_the_task_to_its_tier():
    answer = judged(rows({"ref": BASE, "small": losing(BASE, 2)}))
    task = task_of(answer)
    assert (task["outcome"], task["proposed_model"], task["proposed_tier"]) == ("promote", "small", "cheap")
    assert task["sentence"].startswith(
        "Move extract from standard (ref) to cheap (small): on 160 of your prompts small scored 1.2"
    )
    assert candidate(answer, "small")["state"] == "promote"
    assert candidate(answer, "ref")["state"] == "reference"


def test_a_candidate_far_worse_leaves_the_task_where_it_is():
    task = task_of(judged(rows({"ref": BASE, "small": losing(BASE, 50)})))
    assert (task["outcome"], task["proposed_model"], task["proposed_tier"]) == ("keep", "ref", "standard")
    assert task["sentence"].startswith("Keep extract on standard (ref): small was given up: −31.2 points")


def test_a_task_without_a_candidate_is_kept_and_says_so():
    task = task_of(judged(rows({"ref": BASE})))
    assert (task["outcome"], task["sentence"]) == (
        "keep", "Keep extract on standard (ref): no other model was compared."
    )  # fmt: skip


def test_the_answer_is_the_same_for_the_same_rows_in_any_order():
    frame = rows({"ref": BASE, "small": losing(BASE, 9), "tiny": losing(BASE, 30)})
    plan = plan_of(frame)
    mixed = frame.sample(frac=1.0, random_state=3)
    assert judged(mixed, plan) == judged(frame, plan)
    assert json.dumps(judged(mixed[mixed.columns[::-1]], plan)) == json.dumps(judged(frame, plan))


def test_a_run_that_stopped_when_decided_needs_no_more_rows_than_it_called():
    frame = rows({"ref": BASE, "small": losing(BASE, 2), "tiny": losing(BASE, 70)})
    plan = plan_of(frame, stop="decided")
    whole = decide_tasks(frame, plan)["extract"]
    assert whole.calls["tiny"] < whole.calls["small"] < 160
    called = frame[
        [int(s[1:]) < whole.calls[m] for m, s in zip(frame["model"], frame["sample_id"], strict=True)]
    ]
    assert judged(called, plan) == judged(frame, plan)


def test_constraints_of_the_plan_are_limits_of_the_decision():
    frame = rows({"ref": BASE, "small": losing(BASE, 2)}, latency_ms=3000.0)
    plan = plan_of(frame)
    assert task_of(judged(frame, plan))["outcome"] == "promote"
    plan["tasks"]["extract"]["constraints"] = {"slo": {"latency_ms": 1000.0, "share": 0.9}}
    slow = judged(frame, plan)
    assert (task_of(slow)["outcome"], candidate(slow, "small")["state"]) == ("demote", "slow")
    assert "misses its latency limit" in task_of(slow)["sentence"]


def test_a_channel_that_may_not_use_the_provider_is_left_as_it_is():
    frame = rows({"ref": BASE, "small": losing(BASE, 2)})
    plan = plan_of(frame)
    plan["tasks"]["extract"]["constraints"] = {"channels": {"CH02": {"not_providers": ["far"]}}}
    files = {"llm_tier_mapping.yaml": "tasks:\n  extract: standard\n"}
    routing = Routing(TIERS, TASK_TIERS, files, providers={"small": "far", "ref": "near"})
    answer = judged(frame, plan, routing)
    assert "+    CH02:" in answer["diff"]
    assert any("channel CH02 may not use small" in note for note in answer["notes"])


def test_a_report_shares_alpha_between_its_tasks():
    parts = [rows({"ref": BASE, "small": BASE}, task=task) for task in ("extract", "caption")]
    frame = pd.concat(parts)
    each, together = judged(frame), judged(frame, plan_of(frame, family="report"))
    assert (task_of(each)["side"], task_of(together)["side"]) == (0.05, 0.025)
    assert any("at most 0.1 are expected in 2 tasks" in note for note in each["notes"])
    assert any("P(any false move among 2 tasks) is at most 5 %" in note for note in together["notes"])


# --- failures, clusters, repeats, pending -------------------------------------------------------------------


@pytest.mark.parametrize("written", [0.0, None, 1.0])
def test_a_failed_call_is_an_answer_of_score_0_whatever_is_written(written):
    frame = rows({"ref": np.ones(160), "small": [None if i % 5 == 0 else 1.0 for i in range(160)]})
    frame.loc[frame["status"] == "error", "score"] = written
    found = candidate(judged(frame), "small")
    assert (found["failures"], found["failure_rate"]) == (32, 0.2)
    assert (found["quality"], found["delta"], found["state"]) == (0.8, -0.2, "worse")


def test_repeats_and_samples_of_a_cluster_are_averaged_first():
    clusters = np.arange(40) // 4
    first = rows({"ref": np.ones(40), "small": right(0.5, 40)}, clusters=clusters)
    second = rows({"ref": np.ones(40), "small": np.ones(40)}, clusters=clusters, repeat=1)
    frame = pd.concat([first, second])
    found = candidate(judged(frame, plan_of(frame, repeats=2)), "small")
    assert (found["n"], found["clusters"], found["delta"]) == (40, 10, -0.25)


def test_a_sample_whose_repeats_are_not_all_there_is_pending():
    frame = rows({"ref": BASE, "small": BASE})
    answer = judged(frame, plan_of(frame, repeats=2))
    assert task_of(answer)["outcome"] == "inconclusive"
    assert task_of(answer)["pending_share"] == 1.0


def test_more_than_2_percent_pending_gives_no_verdict():
    frame = rows({"ref": BASE, "small": BASE})
    frame.loc[frame.index[:7], ["status", "score"]] = ["harness", None]
    task = task_of(judged(frame))
    assert (task["outcome"], task["pending_share"]) == ("inconclusive", pytest.approx(7 / 320))
    assert "7 of 320 calls are still to be run." in task["sentence"]
    assert "No verdict: more than 2 % of the calls have no result." in task["sentence"]
    nothing = judged(frame.iloc[:0], plan_of(frame))
    assert task_of(nothing)["outcome"] == "inconclusive"
    assert candidate(nothing, "small")["quality"] is None


def test_a_few_pending_cells_are_left_out_and_named():
    frame = rows({"ref": BASE, "small": losing(BASE, 2)})
    frame.loc[frame.index[-3:], ["status", "score"]] = ["harness", None]
    answer = judged(frame)
    assert (task_of(answer)["outcome"], candidate(answer, "small")["n"]) == ("promote", 157)
    assert "3 of 320 calls are still to be run." in task_of(answer)["sentence"]


def test_answers_of_an_older_model_version_are_evidence_about_another_model():
    frame = rows({"ref": BASE, "small": BASE})
    older = (frame["model"] == "small") & (frame["sample_id"] < "s020")
    frame.loc[older, ["model_version", "timestamp"]] = ["v0", "2026-11-01T00:00:00Z"]
    task = task_of(judged(frame))
    assert task["outcome"] == "inconclusive"
    assert "small changed its version to v1 while it was measured: 20 earlier answers" in " ".join(
        task["notes"]
    )


# --- checks before any inference ----------------------------------------------------------------------------


def set_cell(column, value, row=170):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: pd.concat([f, f.iloc[[3]]]), "extract x ref on prompt s003: epoch 0 stands twice"),
        (set_cell("score", 1.5), "extract x small on prompt s010: score 1.5 is not in [0, 1]"),
        (set_cell("score", None), "extract x small on prompt s010: score nan is not in [0, 1]"),
        (set_cell("score", "good"), "column score holds something that is not a number"),
        (set_cell("sample_id", "other"), "extract: sample other is not in the plan"),
        (set_cell("cluster", "elsewhere"), "extract: prompt s010 is in two clusters"),
        (lambda f: f.assign(cluster="c"), "sample s000 is in cluster c, in the plan in s000"),
        (set_cell("status", "fine"), "unknown status 'fine'"),
        (set_cell("cost_usd", -1.0), "cost_usd -1.0 is not a price"),
        (set_cell("task", "unheard"), "task unheard is not in the plan"),
        (set_cell("model", "tiny"), "extract: model tiny is not a candidate of the plan"),
        (lambda f: f.drop(columns="latency_ms"), "column latency_ms is missing"),
        (lambda f: f.drop(columns="model"), "column model is missing"),
    ],
)
def test_a_table_that_cannot_be_judged_is_refused_by_name(change, says):
    frame = rows({"ref": BASE, "small": BASE})
    plan = plan_of(frame)
    with pytest.raises(SweepError) as caught:
        judged(change(frame), plan)
    assert says in str(caught.value)


@pytest.mark.parametrize(("key", "value"), [("margin", 5.0), ("alpha", 0.0)])
def test_a_plan_out_of_range_is_refused(key, value):
    frame = rows({"ref": BASE, "small": BASE})
    with pytest.raises(SweepError, match=key):
        judged(frame, plan_of(frame, **{key: value}))


# --- the file -----------------------------------------------------------------------------------------------


def test_the_answer_obeys_its_documented_schema():
    frame = rows({"ref": BASE, "small": losing(BASE, 2), "big": BASE})
    frame.loc[frame.index[-1], ["status", "score"]] = ["error", 0.0]
    answer = json.loads(json.dumps(judged(frame), allow_nan=False))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(answer, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(answer | {"new": 1}, SCHEMA)
