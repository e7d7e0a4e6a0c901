"""From rows to a recommendation: rules, sentences, checks, and a diff that git takes."""

from __future__ import annotations

import copy
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llmbench.bench.recommend import recommend
from llmbench.errors import SweepError

TIERS = {"heavy_reasoning": ["big"], "standard": ["ref", "big"], "cheap": ["small", "tiny"], "image": ["pic"]}
TASK_TIERS = {"extract": "standard", "caption": "standard"}
COST = {"ref": 1.0, "small": 0.45, "tiny": 0.1, "big": 4.0}


def rows(scores, *, task="extract", clusters=None, cost=COST, **fixed):
    """Rows of results.jsonl from {model: scores per sample}; a score of None is a failed call."""
    out = []
    for model, values in scores.items():
        for i, value in enumerate(values):
            row = {
                "task": task, "model": model, "model_version": "v1", "sample_id": f"s{i:03d}",
                "cluster": f"s{i:03d}" if clusters is None else f"c{clusters[i]}", "repeat": 0,
                "status": "error" if value is None else "ok", "score": 0.0 if value is None else float(value),
                "cost_usd": cost.get(model) and cost[model] * (1 + (i % 7) / 10) / 1000,
                "latency_ms": 100.0 + i, "output_tokens": 20,
            }  # fmt: skip
            out.append(row | fixed)
    return pd.DataFrame(out)


def plan_of(frame, *, margin=0.10, alpha=0.05, repeats=1):
    tasks = {}
    for task, part in frame.groupby("task"):
        models = sorted(set(part["model"]))
        tasks[task] = {
            "samples": int(part["sample_id"].nunique()), "clusters": int(part["cluster"].nunique()),
            "candidates": models, "reference": "ref", "tier": "standard",
        }  # fmt: skip
    return {
        "run_id": "r1", "plan_hash": "p", "config_hash": "c",
        "margin": margin, "alpha": alpha, "repeats": repeats, "tasks": tasks,
    }  # fmt: skip


def judged(frame, plan=None, **options):
    return recommend(frame, plan or plan_of(frame), tiers=TIERS, task_tiers=TASK_TIERS, **options)


def task_of(answer, task="extract"):
    return next(entry for entry in answer["tasks"] if entry["task"] == task)


def candidate(answer, model, task="extract"):
    return next(row for row in task_of(answer, task)["candidates"] if row["model"] == model)


def right(share, n, seed=0):
    values = np.zeros(n)
    values[: round(share * n)] = 1.0
    return np.random.default_rng(seed).permutation(values)


BASE = right(0.8, 160)


def losing(count, base=BASE):
    """The same answers, except that `count` right ones are wrong."""
    worse = base.copy()
    worse[np.flatnonzero(base == 1.0)[:count]] = 0.0
    return worse


# --- outcomes and sentences ---------------------------------------------------------------------------------


def test_a_candidate_proved_no_worse_and_cheaper_takes_the_task_to_its_tier():
    answer = judged(rows({"ref": BASE, "small": losing(2)}))
    task = task_of(answer)
    assert (task["outcome"], task["proposed_model"], task["proposed_tier"]) == ("promote", "small", "cheap")
    assert candidate(answer, "small")["state"] == "promote"
    low, high = candidate(answer, "small")["delta_interval"]
    assert task["sentence"] == (
        "Move extract from standard (ref) to cheap (small): on 160 of your prompts it scored 1.2 points "
        f"below (90 % interval −{-100 * low:.1f} to {100 * high:+.1f}, margin 10), at 0.45 of the cost."
    )


def test_a_candidate_proved_worse_leaves_the_task_where_it_is():
    answer = judged(rows({"ref": BASE, "small": losing(50)}))
    task = task_of(answer)
    assert (task["outcome"], task["proposed_model"], task["proposed_tier"]) == ("keep", "ref", "standard")
    assert task["sentence"].startswith(
        "Keep extract on standard (ref): on 160 of your prompts small scored 31.2 points below"
    )


def test_an_undecided_candidate_says_how_many_more_clusters_would_prove_it():
    answer = judged(rows({"ref": BASE, "small": losing(11)}))
    found = candidate(answer, "small")
    assert (found["state"], task_of(answer)["outcome"]) == ("open", "inconclusive")
    assert found["delta_interval"][0] < -0.10 < found["delta"]
    assert found["needs_more"] > 0
    assert f"about {found['needs_more']} prompts more would" in task_of(answer)["sentence"]


def test_an_estimate_at_the_margin_is_unlikely_and_promises_no_number():
    answer = judged(rows({"ref": BASE, "small": losing(16)}))
    assert candidate(answer, "small")["state"] == "unlikely"
    assert candidate(answer, "small")["needs_more"] is None
    assert task_of(answer)["outcome"] == "inconclusive"


def test_the_cheapest_of_the_promoted_wins():
    answer = judged(rows({"ref": BASE, "small": BASE, "tiny": losing(1)}))
    assert task_of(answer)["proposed_model"] == "tiny"
    assert [row["model"] for row in task_of(answer)["candidates"]] == ["ref", "tiny", "small"]
    assert task_of(answer)["proposed_tier"] == "standard"  # tiny heads no tier: an override of this task


@pytest.mark.parametrize(("cost", "says"), [(1.0, "not shown to be cheaper"), (None, "unknown")])
def test_an_identical_candidate_is_promoted_only_if_known_to_be_cheaper(cost, says):
    answer = judged(rows({"ref": BASE, "small": BASE}, cost={"ref": 1.0, "small": cost}))
    assert (candidate(answer, "small")["state"], task_of(answer)["outcome"]) == ("costly", "keep")
    assert says in candidate(answer, "small")["reason"]
    assert says in task_of(answer)["sentence"]
    assert task_of(judged(rows({"ref": BASE, "small": BASE})))["outcome"] == "promote"


def test_a_cost_that_only_looks_lower_is_not_shown_to_be_cheaper():
    frame = rows({"ref": BASE, "small": BASE}, cost={"ref": 1.0, "small": 0.9})
    frame["cost_usd"] *= np.random.default_rng(3).lognormal(0, 1.5, len(frame))
    found = candidate(judged(frame), "small")
    assert found["cost_ratio"] < 1 < found["cost_ratio_interval"][1]
    assert found["state"] == "costly"


def test_a_dearer_model_proved_better_by_more_than_the_margin_is_offered():
    answer = judged(rows({"ref": right(0.5, 160), "big": np.ones(160), "small": np.zeros(160)}))
    task = task_of(answer)
    assert (task["outcome"], task["proposed_tier"]) == ("demote", "heavy_reasoning")
    assert task["sentence"].startswith(
        "Move extract up from standard (ref) to heavy_reasoning (big): on 160 of"
    )
    assert "50.0 points above" in task["sentence"]
    assert "at 4 times the cost" in task["sentence"]


def test_alpha_is_shared_by_the_candidates_the_plan_declares():
    one = candidate(judged(rows({"ref": BASE, "small": losing(5)})), "small")["delta_interval"]
    answer = judged(rows({"ref": BASE, "small": losing(5), "tiny": losing(60), "big": BASE}))
    three = candidate(answer, "small")["delta_interval"]
    assert three[0] < one[0] < one[1] < three[1]
    assert "96.7 % interval" in task_of(answer)["sentence"]


# --- failures, clusters, repeats, pending -------------------------------------------------------------------


@pytest.mark.parametrize("written", [0.0, None])
def test_a_failed_call_is_an_answer_of_score_0(written):
    answers = [None if i % 5 == 0 else 1.0 for i in range(160)]
    frame = rows({"ref": np.ones(160), "small": answers})
    frame.loc[frame["status"] == "error", "score"] = written
    found = candidate(judged(frame), "small")
    assert (found["failures"], found["failure_rate"]) == (32, 0.2)
    assert (found["quality"], found["delta"], found["state"]) == (0.8, -0.2, "worse")


def test_repeats_and_samples_of_a_cluster_are_averaged_first():
    first = rows({"ref": np.ones(40), "small": right(0.5, 40)}, clusters=np.arange(40) // 4)
    second = rows({"ref": np.ones(40), "small": np.ones(40)}, clusters=np.arange(40) // 4).assign(repeat=1)
    frame = pd.concat([first, second])
    found = candidate(judged(frame, plan_of(frame, repeats=2)), "small")
    assert (found["n"], found["clusters"], found["delta"]) == (40, 10, -0.25)


def test_more_than_2_percent_pending_gives_no_verdict():
    frame = rows({"ref": BASE, "small": BASE})
    frame.loc[frame.index[:7], ["status", "score"]] = ["harness", None]
    answer = judged(frame)
    task = task_of(answer)
    assert (task["outcome"], task["pending"]) == ("inconclusive", 7)
    assert task["sentence"] == "No verdict for extract: 7 of 320 cells are still to be run."
    assert candidate(answer, "small")["reason"] == "7 of 320 cells are still to be run"
    assert candidate(answer, "small")["delta"] is None


def test_rows_that_were_never_written_are_pending_too():
    frame = rows({"ref": BASE, "small": BASE})
    answer = judged(frame.iloc[:200], plan_of(frame))
    assert task_of(answer)["sentence"] == "No verdict for extract: 120 of 320 cells are still to be run."
    nothing = judged(frame.iloc[:0], plan_of(frame))
    assert task_of(nothing)["outcome"] == "inconclusive"
    assert candidate(nothing, "small")["quality"] is None


def test_a_few_pending_cells_are_left_out_and_named():
    frame = rows({"ref": BASE, "small": losing(2)})
    frame.loc[frame.index[-3:], ["status", "score"]] = ["harness", None]
    answer = judged(frame)
    assert task_of(answer)["outcome"] == "promote"
    assert candidate(answer, "small")["n"] == 157
    assert "extract: 3 of 320 cells are still to be run and are left out." in answer["notes"]


def test_a_model_that_lacks_too_many_samples_is_not_moved_to():
    frame = rows({"ref": BASE, "small": BASE, "tiny": losing(60), "big": BASE})
    gone = frame[frame["model"] == "small"].index[:9]
    frame.loc[gone, ["status", "score"]] = ["harness", None]
    found = candidate(judged(frame), "small")
    assert (found["state"], found["n"]) == ("open", 151)
    assert found["reason"] == "9 of 160 samples are still to be run for this model or the reference"


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
        (lambda f: pd.concat([f, f.iloc[[3]]]), "extract x ref x s003 x repeat 0 stands twice"),
        (set_cell("score", 1.5), "extract x small x s010: score 1.5 is not in [0, 1]"),
        (set_cell("score", None), "extract x small x s010: score nan is not in [0, 1]"),
        (set_cell("score", "good"), "column score holds something that is not a number"),
        (set_cell("sample_id", "other"), "small was run on sample other, ref was not"),
        (set_cell("model_version", "v2"), "extract: small changed its version to v2"),
        (set_cell("cluster", "elsewhere"), "extract: sample s010 is also in cluster"),
        (set_cell("status", "fine"), "unknown status fine"),
        (set_cell("cost_usd", -1.0), "cost -1.0 is negative"),
        (set_cell("task", "unheard"), "task unheard is not in the plan"),
        (set_cell("repeat", 1), "extract x small: repeat 1 is not planned"),
        (lambda f: f.drop(columns="cluster"), "column cluster is missing"),
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
        judged(frame, plan_of(frame) | {key: value})


# --- the promise, from rows to outcome ----------------------------------------------------------------------


def moved(frame, plan):
    return task_of(judged(frame, plan))["outcome"] == "promote"


def test_candidates_exactly_a_margin_worse_are_rarely_promoted_though_there_are_three():
    rng, runs, count, n = np.random.default_rng(21), 60, 0, 60
    for _ in range(runs):
        ref = rng.random(n) < 0.95
        worse = {name: ref & (rng.random(n) > 0.10 / 0.95) for name in ("small", "tiny", "mini")}
        frame = rows({"ref": ref, **worse}, cost=COST | {"mini": 0.2})
        count += moved(frame, plan_of(frame))
    assert count <= stats.binom.ppf(0.999, runs, 0.05)


def test_failures_left_out_would_promote_what_failures_as_0_do_not():
    """The candidate's answers are as good, but it fails on 1 prompt in 10: a loss of 10 points."""
    rng, runs, ours, naive = np.random.default_rng(22), 40, 0, 0
    for _ in range(runs):
        failed = rng.random(160) < 0.10
        frame = rows({"ref": np.ones(160), "small": [None if f else 1.0 for f in failed]})
        ours += moved(frame, plan_of(frame))
        kept = frame[~frame["sample_id"].isin(frame.loc[frame["status"] == "error", "sample_id"])]
        naive += moved(kept, plan_of(kept))
    assert naive == runs
    assert ours <= stats.binom.ppf(0.999, runs, 0.05)


def test_clusters_ignored_would_promote_what_clusters_respected_do_not():
    rng, runs, ours, naive = np.random.default_rng(23), 40, 0, 0
    clusters = np.arange(160) // 16
    for _ in range(runs):
        lost = rng.random(160) < rng.beta(0.3, 1.7, 10)[clusters]  # mean 0.15
        frame = rows({"ref": np.full(160, 0.95), "small": np.where(lost, 0.0, 1.0)}, clusters=clusters)
        ours += moved(frame, plan_of(frame))
        alone = frame.assign(cluster=frame["sample_id"])
        naive += moved(alone, plan_of(alone))
    assert naive > stats.binom.ppf(0.999, runs, 0.05)
    assert ours <= stats.binom.ppf(0.999, runs, 0.05)


scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, None]), min_size=2, max_size=12)


@given(scores, scores, scores, st.sampled_from([0.05, 0.3, 0.6]), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_verdict_and_interval_never_contradict_and_order_does_not_matter(a, b, c, margin, random):
    n = min(len(a), len(b), len(c)) * 4
    frame = rows({"ref": (a * 24)[:n], "small": (b * 24)[:n], "tiny": (c * 24)[:n]})
    plan = plan_of(frame, margin=margin)
    answer = judged(frame, plan)
    for row in task_of(answer)["candidates"][1:]:
        low, high = row["delta_interval"]
        cheaper = row["cost_ratio"] is not None and row["cost_ratio_interval"][1] < 1
        assert low <= row["delta"] <= high
        assert (row["state"] == "worse") == (high < -margin)
        assert (row["state"] == "promote") == (low > -margin and cheaper)
        assert (row["state"] == "unlikely") == (
            low <= -margin <= high and row["delta"] <= -margin and cheaper
        )
    states = {row["state"] for row in task_of(answer)["candidates"]}
    assert (task_of(answer)["outcome"] == "promote") == ("promote" in states)
    mixed = copy.deepcopy(plan)
    random.shuffle(mixed["tasks"]["extract"]["candidates"])
    places = list(range(len(frame)))
    random.shuffle(places)
    assert judged(frame.iloc[places], mixed) == answer


@given(st.sampled_from([1e-6, 0.013, 3.0, 1e5]), st.integers(0, 30))
@settings(max_examples=12, deadline=None)
def test_the_unit_of_cost_changes_no_verdict(factor, losses):
    frame = rows({"ref": BASE, "small": losing(losses)})
    frame["cost_usd"] *= np.random.default_rng(losses).lognormal(0, 0.5, len(frame))
    before, after = judged(frame), judged(frame.assign(cost_usd=frame["cost_usd"] * factor))
    assert task_of(after)["sentence"] == task_of(before)["sentence"]
    for key in ("cost_ratio", "cost_ratio_interval"):
        assert candidate(after, "small")[key] == pytest.approx(candidate(before, "small")[key], rel=1e-5)


def test_a_failed_call_without_a_cost_counts_as_a_mean_call():
    frame = rows({"ref": np.ones(80), "small": [None] * 8 + [1.0] * 72})
    flat = frame.assign(cost_usd=np.where(frame["model"] == "ref", 1.0, 0.5))
    flat.loc[flat["status"] == "error", "cost_usd"] = None
    assert candidate(judged(flat), "small")["cost_ratio"] == 0.5


def test_the_answer_is_plain_json_of_the_agreed_shape():
    answer = json.loads(json.dumps(judged(rows({"ref": BASE, "small": BASE, "big": BASE})), allow_nan=False))
    assert list(answer) == [
        "schema", "run_id", "plan_hash", "config_hash", "margin", "alpha", "generated_from", "tasks", "tiers",
        "diff", "notes",
    ]  # fmt: skip
    assert list(answer["tasks"][0]["candidates"][0]) == [
        "model", "state", "n", "clusters", "quality", "quality_interval", "delta", "delta_interval",
        "needs_more", "cost_usd_per_1000", "cost_ratio", "cost_ratio_interval", "p50_ms", "p95_ms",
        "p95_interval_ms", "tokens_per_s", "failures", "failure_rate", "reason",
    ]  # fmt: skip
    reference = answer["tasks"][0]["candidates"][0]
    assert (reference["state"], reference["delta"], reference["p95_ms"]) == ("reference", None, 251.0)
