"""`decide`: the outcomes, what is called for them, and what they do not depend on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.tables import Pulls, decided, frame_of, losing, names, right

N = 400
BASE = right(0.8, N)


# --- outcomes -----------------------------------------------------------------------------------------------


def test_an_equal_and_cheaper_candidate_is_promoted_with_a_part_of_the_calls():
    frame = frame_of({"ref": BASE, "small": losing(BASE, 4)})
    pull = Pulls(frame)
    found = decided(frame, "small", pull=pull)
    row = found.why["small"]
    assert (found.outcome, found.choice, row.state) == ("promote", "small", "promote")
    assert row.evidence >= row.threshold == pytest.approx(20)
    assert -0.10 < row.interval[0] < row.delta < row.interval[1]
    assert (row.cost_ratio, row.failure_rate) == (pytest.approx(4 / 30), 0.0)
    assert row.cost_ratio_interval[1] < 1.0
    assert found.calls == {"ref": row.n, "small": row.n}
    assert len(pull.asked) == len(set(pull.asked)) == 2 * row.n < 0.3 * 2 * N
    assert found.saved == pytest.approx(1 - row.n / N)


def test_a_candidate_far_worse_is_given_up_early_and_the_reference_kept():
    found = decided(frame_of({"ref": BASE, "small": losing(BASE, 140)}), "small")
    assert (found.outcome, found.choice, found.why["small"].state) == ("keep", "ref", "worse")
    assert found.why["small"].n <= 60
    assert found.why["small"].needs_more is None


def test_an_undecided_candidate_says_how_many_more_would_prove_it():
    base = right(0.8, 40)
    found = decided(frame_of({"ref": base, "small": losing(base, 1)}), "small")
    row = found.why["small"]
    assert (found.outcome, found.choice, row.state) == ("inconclusive", "ref", "open")
    assert row.interval[0] < -0.10 < row.delta
    assert row.needs_more > 0
    assert f"about {row.needs_more} more would prove it" in str(found)


def test_the_cheapest_good_one_wins_and_the_dearer_ones_get_the_pilot_alone():
    scores = {"ref": BASE, "small": losing(BASE, 4), "tiny": losing(BASE, 160), "mid": losing(BASE, 2)}
    frame = frame_of(scores, cost_usd={"ref": 0.03, "tiny": 0.001, "small": 0.004, "mid": 0.01})
    found = decided(frame, "mid", "small", "tiny")
    assert (found.outcome, found.choice) == ("promote", "small")
    assert list(found.why) == ["tiny", "small", "mid"]
    assert [found.why[name].state for name in found.why] == ["worse", "promote", "open"]
    assert found.calls["mid"] == 10
    assert not found.why["mid"].is_over
    mid = found.to_dict()["candidates"][3]
    assert (
        mid["reason"] == "mid was called on the first 10 prompts only: small was proved before its turn came"
    )


def test_a_failed_call_is_an_answer_of_score_0():
    scores = [None if value == 1.0 and i % 5 == 0 else value for i, value in enumerate(BASE)]
    found = decided(frame_of({"ref": BASE, "small": scores}), "small", margin=0.05)
    assert found.outcome == "keep"
    assert found.why["small"].failure_rate > 0.1


def test_an_identical_candidate_is_promoted_only_on_cost():
    cheaper = decided(frame_of({"ref": BASE, "small": BASE}), "small")
    same = decided(frame_of({"ref": BASE, "small": BASE}, cost_usd=0.01), "small")
    unknown = decided(frame_of({"ref": BASE, "small": BASE}, cost_usd=None), "small")
    assert (cheaper.outcome, same.outcome, unknown.outcome) == ("promote", "keep", "keep")
    assert same.why["small"].state == unknown.why["small"].state == "costly"
    assert same.calls["small"] == 10
    assert "cost or the reference's is unknown" in str(unknown)


def test_a_saving_that_was_asked_for_must_be_made():
    frame = frame_of({"ref": BASE, "small": BASE}, cost_usd={"ref": 0.010, "small": 0.009})
    assert decided(frame, "small").outcome == "promote"
    assert decided(frame, "small", min_saving=0.2).outcome == "keep"
    assert decided(frame, "small", max_cost_usd=0.0095).outcome == "promote"
    assert decided(frame, "small", max_cost_usd=0.0085).why["small"].state == "costly"


def test_the_latency_limit_must_be_proved_too():
    scores = {"ref": BASE, "small": BASE, "tiny": BASE}
    slow = np.where(np.arange(N) % 4 == 0, 9000.0, 100.0)
    frame = frame_of(scores, latency_ms={"ref": 200.0, "tiny": slow, "small": 300.0})
    found = decided(frame, "small", "tiny", slo=(5000, 0.90))
    assert (found.choice, found.why["tiny"].state) == ("small", "slow")
    assert found.why["small"].within_slo == 1.0
    assert "answered within 5 s" in str(found)


def test_a_time_out_misses_the_limit_whatever_its_latency_says():
    status = ["timeout" if i % 4 == 0 else "ok" for i in range(N)]
    frame = frame_of({"ref": BASE, "small": BASE}, status={"ref": "ok", "small": status}, latency_ms=50.0)
    found = decided(frame, "small", slo=(5000, 0.95), margin=0.4)
    assert found.why["small"].state == "slow"


def test_floor_and_failure_cap_are_limits_of_the_candidate():
    worse = losing(BASE, 20)
    frame = frame_of({"ref": BASE, "small": worse})
    assert decided(frame, "small").outcome == "promote"
    assert decided(frame, "small", floor=0.6).outcome == "promote"
    assert decided(frame, "small", floor=0.9).why["small"].state in ("worse", "unlikely")
    flaky = frame_of({"ref": BASE, "small": [None if i % 12 == 0 else v for i, v in enumerate(BASE)]})
    assert decided(flaky, "small", margin=0.2, max_failure=0.2).outcome == "promote"
    assert decided(flaky, "small", margin=0.2, max_failure=0.02).why["small"].state == "worse"


def test_a_reference_below_its_floor_is_demoted_without_a_better_one():
    base = right(0.3, N)
    found = decided(frame_of({"ref": base, "small": losing(base, 110)}), "small", floor=0.8)
    assert (found.outcome, found.choice, found.limits_missed) == ("demote", "ref", ("floor",))
    alone = decided(frame_of({"ref": base}), floor=0.8)
    assert (alone.outcome, alone.limits_missed) == ("demote", ("floor",))
    assert decided(frame_of({"ref": base})).outcome == "keep"


def test_a_dearer_model_is_proposed_only_where_an_upgrade_is_asked_for():
    base = right(0.4, N)
    better = np.maximum(base, right(0.7, N, seed=3))
    frame = frame_of({"ref": base, "big": better})
    plain, wanted = decided(frame, "big"), decided(frame, "big", upgrade=0.10)
    assert (plain.outcome, plain.calls["big"]) == ("keep", 10)
    assert (wanted.outcome, wanted.choice, wanted.why["big"].is_superior) == ("demote", "big", True)


def test_an_upgrade_keeps_every_limit_and_the_cost_cap():
    base = right(0.4, N)
    frame = frame_of({"ref": base, "big": np.maximum(base, right(0.7, N, seed=3))})
    assert decided(frame, "big", upgrade=0.10, max_cost_usd=0.5).choice == "big"
    capped = decided(frame, "big", upgrade=0.10, max_cost_usd=0.05)
    assert (capped.outcome, capped.choice, capped.calls["big"]) == ("keep", "ref", 10)
    low = decided(frame, "big", upgrade=0.10, floor=0.95)
    assert (low.choice, low.why["big"].is_superior) == ("ref", False)


def test_a_pool_too_small_is_said_and_a_clearly_better_candidate_may_still_win():
    base = right(0.8, 20)
    equal = decided(frame_of({"ref": base, "small": base}), "small", margin=0.05)
    assert equal.outcome == "inconclusive"
    assert "20 clusters are too few" in str(equal)
    better = decided(frame_of({"ref": np.zeros(20), "small": np.ones(20)}), "small", margin=0.05)
    assert better.outcome == "promote"
    assert not better.notes


def test_every_candidate_more_divides_alpha_and_a_report_divides_it_by_its_tasks():
    frame = frame_of({"ref": BASE, "small": BASE, "tiny": BASE})
    assert decided(frame, "small", "tiny").why["tiny"].threshold == pytest.approx(40)
    report = decided(frame, "small", "tiny", family="report", tasks=5)
    assert report.why["tiny"].threshold == pytest.approx(200)
    assert report.why["tiny"].n > decided(frame, "small", "tiny").why["tiny"].n


# --- what our own side spoiled ------------------------------------------------------------------------------


class Spoiling(Pulls):
    """The first call of some prompts fails on our own side, as often as told."""

    def __init__(self, frame, prompts, times):
        super().__init__(frame)
        self.left = dict.fromkeys(prompts, times)

    def __call__(self, model, prompts):
        rows = super().__call__(model, prompts).copy()
        for prompt in prompts:
            if model == "small" and self.left.get(prompt, 0) > 0:
                self.left[prompt] -= 1
                rows.loc[rows["prompt_id"] == prompt, "status"] = "harness"
        return rows


def test_what_our_own_side_spoiled_is_asked_for_again():
    frame = frame_of({"ref": BASE, "small": BASE})
    pull = Spoiling(frame, names(30), 1)
    assert decided(frame, "small", pull=pull).outcome == "promote"
    assert pull.asked.count(("small", "p0000")) == 2


def test_more_than_2_percent_without_a_result_give_no_verdict():
    frame = frame_of({"ref": BASE, "small": BASE})
    few = decided(frame, "small", pull=Spoiling(frame, names(1), 99))
    many = decided(frame, "small", pull=Spoiling(frame, names(12), 99))
    assert (few.outcome, many.outcome, many.choice) == ("promote", "inconclusive", "ref")
    assert "1 of" in str(few)
    assert "small: 12 prompts have no result, and above 2 % nothing is promoted" in str(many)
    most = decided(frame, "small", pull=Spoiling(frame, names(30), 99))
    assert "No verdict: more than 2 %" in str(most)


def test_a_prompt_with_fewer_repeats_than_others_is_pending():
    frame = frame_of({"ref": BASE, "small": BASE})
    twice = pd.concat([frame, frame.assign(epoch=1)])
    flaky = (twice["model"] == "small") & (twice["epoch"] == 1) & twice["prompt_id"].isin(names(N)[1::8])
    found = decided(twice[~flaky], "small")  # as where failing repeats were thrown away
    assert (found.outcome, found.choice) == ("inconclusive", "ref")


def test_rows_that_are_missing_are_pending():
    frame = frame_of({"ref": BASE, "small": BASE})
    gaps = frame[~((frame["model"] == "small") & frame["prompt_id"].isin(names(N)[::5]))]
    assert decided(gaps, "small").outcome == "inconclusive"


# --- clusters, repeats, chains ------------------------------------------------------------------------------


def test_the_unit_is_the_cluster_and_repeats_are_averaged_first():
    frame = frame_of({"ref": BASE, "small": BASE})
    clusters = {prompt: f"c{i // 8}" for i, prompt in enumerate(names(N))}
    found = decided(frame, "small", clusters=clusters)
    assert found.units == N // 8
    assert (found.why["small"].units, found.why["small"].n) == (36, 288)
    twice = pd.concat([frame, frame.assign(epoch=1, score=frame["score"] * 0.5)])
    repeated = decided(twice, "small")
    assert repeated.why["small"].quality == pytest.approx(0.75 * BASE[: repeated.why["small"].n].mean())


def test_clusters_of_unequal_size_weigh_by_their_prompts():
    scores = {"ref": np.ones(12), "small": np.r_[np.zeros(2), np.ones(10)]}
    clusters = {prompt: "a" if i < 2 else "b" for i, prompt in enumerate(names(12))}
    found = decided(frame_of(scores), "small", clusters=clusters)
    assert found.why["small"].delta == pytest.approx(-2 / 12)


def test_a_chain_asks_its_next_model_only_where_the_one_before_failed():
    flaky = [None if i % 5 == 0 else value for i, value in enumerate(BASE)]
    frame = frame_of({"ref": BASE, "tiny": flaky, "small": BASE})
    pull = Pulls(frame)
    found = decided(frame, ("tiny", "small"), pull=pull)
    assert (found.outcome, found.choice) == ("promote", ("tiny", "small"))
    asked = [prompt for model, prompt in pull.asked if model == "small"]
    assert asked == [p for p in names(found.calls["tiny"]) if int(p[1:]) % 5 == 0]
    row = found.why["tiny", "small"]
    assert (row.name, row.failure_rate, row.quality) == ("tiny > small", 0.0, BASE[: row.n].mean())
    tiny = frame[frame["model"] == "tiny"]["cost_usd"].to_numpy()[: row.n].sum()
    small = frame[(frame["model"] == "small") & frame["prompt_id"].isin(asked)]["cost_usd"].sum()
    assert row.cost_usd_per_1000 == pytest.approx(1000 * (tiny + small) / row.n)


def test_a_chain_may_be_the_reference():
    flaky = [None if i % 10 == 0 else value for i, value in enumerate(BASE)]
    found = decided(frame_of({"ref": flaky, "big": BASE, "small": BASE}), "small", reference=("ref", "big"))
    assert (found.outcome, found.choice) == ("promote", "small")
    assert found.reference.name == "ref > big"
    assert found.reference.failure_rate == 0.0


# --- judges -------------------------------------------------------------------------------------------------


def test_a_judges_preferences_are_compared_instead_of_scores_and_said_to_be_uncalibrated():
    rng = np.random.default_rng(0)
    preference = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], size=N)
    frame = frame_of({"ref": np.zeros(N), "small": np.zeros(N)}, preference={"small": preference})
    found = decided(frame, "small", margin=0.3)
    assert found.is_judged
    assert found.why["small"].delta == pytest.approx(preference[: found.why["small"].n].mean())
    assert "Judge-scored, not calibrated by people." in str(found)


def test_a_lost_answer_loses_to_one_that_came_without_a_judge():
    failing = ["error" if i % 3 == 0 else "ok" for i in range(N)]
    preference = np.where(np.arange(N) % 3 == 0, np.nan, 0.0)
    scores = {"ref": np.ones(N), "small": np.ones(N)}
    frame = frame_of(scores, preference={"small": preference}, status={"ref": "ok", "small": failing})
    found = decided(frame, "small")
    assert found.outcome == "keep"
    assert found.why["small"].delta == pytest.approx(-1 / 3, abs=0.05)


def test_labels_that_were_promised_and_never_came_give_no_verdict():
    frame = frame_of({"ref": np.ones(N), "small": np.ones(N)}, preference={"small": 0.0})
    found = decided(frame, "small", human_share=0.5)
    assert (found.outcome, found.is_calibrated) == ("inconclusive", False)
    assert "no label is there yet" in str(found)


def test_a_judges_missing_verdict_is_pending_and_never_a_score():
    preference = np.where(np.arange(N) % 10 == 0, np.nan, 0.0)
    frame = frame_of({"ref": np.ones(N), "small": np.ones(N)}, preference={"small": preference})
    found = decided(frame, "small", margin=0.3)
    assert (found.outcome, found.why["small"].n) == ("inconclusive", 9 * found.calls["small"] // 10)


@pytest.mark.parametrize(("bias", "calibrated"), [(0.0, True), (0.5, True), (0.5, False)])
def test_peoples_labels_keep_the_error_rate_that_a_biased_judge_breaks(bias, calibrated):
    """Truth: the candidate is exactly the margin worse. The judge favours it by `bias` of the cases."""
    rng, margin, share, n, promoted, runs = np.random.default_rng(9), 0.10, 0.25, 200, 0, 60
    for _ in range(runs):
        truth = rng.choice([-1.0, 0.0, 1.0], size=n, p=[0.35, 0.4, 0.25])
        judge = np.where(rng.random(n) < bias, 1.0, truth)
        human = np.where(rng.random(n) < share, truth, np.nan)
        columns = {"preference": {"small": judge}} | ({"human": {"small": human}} if calibrated else {})
        frame = frame_of({"ref": np.zeros(n), "small": np.zeros(n)}, **columns)
        options = {"human_share": share} if calibrated else {}
        promoted += decided(frame, "small", margin=margin, **options).outcome == "promote"
    assert promoted <= 8 if calibrated else promoted >= 50
