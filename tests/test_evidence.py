"""Evidence by betting: exact expectations where they can be enumerated, seeded simulation elsewhere."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llmbench.bench.evidence import (
    Evidence,
    always_valid_interval,
    fewest_units,
    is_hopeless,
    mean_interval,
    units_needed,
)
from llmbench.errors import SweepError

ALPHA = 0.05


def slack(runs: int, rate: float) -> int:
    """The count that a correct rule exceeds once in a thousand tries."""
    return int(stats.binom.ppf(0.999, runs, rate))


def grown(xs, bound, *, budgets, alpha=ALPHA, at_once=True):
    evidence = Evidence(bound, alpha=alpha, budgets=budgets)
    for part in [xs] if at_once else np.array_split(np.asarray(xs), 3):
        evidence.update(part)
    return evidence


# --- the promise --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.05, 0.10, 0.30])
@pytest.mark.parametrize("budgets", [(8,), (3, 8), (40,)])
def test_the_stake_is_a_fair_game_at_the_boundary_whatever_was_planned(margin, budgets):
    """Every sequence of eight units of a candidate exactly the margin worse: the mean wealth is at most 1."""
    values, chances = [1.0 + margin, margin - 1.0], [(1 - margin) / 2, (1 + margin) / 2]
    mean = 0.0
    for picks in itertools.product(range(2), repeat=8):
        evidence = grown([values[pick] for pick in picks], 1.0 - margin, budgets=budgets)
        mean += math.prod(chances[pick] for pick in picks) * evidence.path[-1]
    assert mean == pytest.approx(1.0, abs=1e-9)


def rare_loss(rng, n):
    return -(rng.random(n) < 0.10).astype(float)


def skewed(rng, n):  # usually a little better, now and then a catastrophe
    return np.where(rng.random(n) < 0.13, -0.9, (0.9 * 0.13 - 0.1) / 0.87)


def right_or_wrong(rng, n):
    return rng.choice([-1.0, 0.0, 1.0], size=n, p=[0.25, 0.6, 0.15])


def graded(rng, n):
    return np.clip(rng.beta(4, 2, n) - rng.beta(4, 2, n), -1, 1) - 0.10


@pytest.mark.parametrize("draw", [rare_loss, skewed, right_or_wrong, graded])
@pytest.mark.parametrize("n", [20, 200])
def test_peeking_at_every_unit_proves_a_boundary_loser_no_more_often_than_alpha(draw, n):
    rng, runs, margin = np.random.default_rng(7), 400, 0.10
    assert draw(rng, 200_000).mean() == pytest.approx(-margin, abs=4e-3)
    proved = sum(
        grown(np.clip(draw(rng, n), -1, 1) + margin, 1 - margin, budgets=[n]).is_proved for _ in range(runs)
    )
    assert proved <= slack(runs, ALPHA)


def test_a_sweep_made_longer_after_looking_keeps_the_promise():
    rng, runs, margin = np.random.default_rng(11), 400, 0.10
    proved = 0
    for _ in range(runs):
        x = right_or_wrong(rng, 300) + margin
        first = grown(x[:100], 1 - margin, budgets=[100])
        proved += first.is_proved or grown(x, 1 - margin, budgets=[100, 300]).is_proved
    assert proved <= slack(runs, ALPHA)


def test_an_earlier_budget_leaves_the_first_units_bets_as_they_were():
    x = right_or_wrong(np.random.default_rng(3), 300) + 0.15
    first, longer = grown(x[:100], 0.85, budgets=[100]), Evidence(0.85, alpha=ALPHA, budgets=[100, 300])
    longer.update(x[:100])
    assert longer.path == first.path
    assert grown(x[:100], 0.85, budgets=[300]).path != first.path


def test_updates_in_parts_are_the_update_at_once():
    x = graded(np.random.default_rng(5), 90) + 0.2
    one, parts = (grown(x, 1.2, budgets=[90], at_once=at_once) for at_once in (True, False))
    assert one.best == pytest.approx(parts.best)
    assert one.path[-1] == pytest.approx(parts.path[-1])


def test_a_full_bet_that_loses_everything_leaves_the_others_alive():
    evidence = grown([-1.0, *[0.9] * 60], 1.0, budgets=[61])
    assert evidence.is_proved
    assert math.isfinite(evidence.path[-1])


def test_values_below_the_bound_are_refused():
    with pytest.raises(SweepError, match="below the bound"):
        grown([-0.96], 0.95, budgets=[10])


# --- the interval -------------------------------------------------------------------------------------------

differences = st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0]), min_size=1, max_size=120)


@given(differences, st.floats(0.01, 0.4), st.sampled_from([0.01, 0.05, 0.2]), st.booleans())
@settings(max_examples=60)
def test_verdict_and_interval_never_contradict(d, margin, alpha, weighted):
    d = np.asarray(d)
    w = np.where(np.arange(d.size) % 2, 0.5, 1.0) if weighted else np.ones(d.size)
    low, high = always_valid_interval(d, w, alpha=alpha, budgets=[d.size], margin=margin)
    no_worse = grown(w * (d + margin), 1 - margin, budgets=[d.size], alpha=alpha).is_proved
    worse = grown(-w * (d + margin), 1 + margin, budgets=[d.size], alpha=alpha).is_proved
    assert (low > -margin) == no_worse
    assert (high < -margin) == worse
    assert -1.0 <= low <= high <= 1.0


@given(differences, st.sampled_from([0.01, 0.05, 0.2]))
@settings(max_examples=30)
def test_the_interval_turns_with_the_sign(d, alpha):
    w = np.ones(len(d))
    low, high = always_valid_interval(d, w, alpha=alpha, budgets=[len(d)], margin=0.5)
    turned = always_valid_interval(-np.asarray(d), w, alpha=alpha, budgets=[len(d)], margin=0.5)
    assert turned == pytest.approx((-high, -low), abs=0.0011)


@pytest.mark.parametrize("draw", [rare_loss, right_or_wrong, graded])
def test_the_interval_covers_the_truth_when_the_sweep_stops_at_a_proof(draw):
    rng, runs, n, margin = np.random.default_rng(2), 150, 60, 0.10
    missed = 0
    for _ in range(runs):
        d = np.clip(draw(rng, n) + 0.05, -1, 1)  # truth: -0.05
        truth = -0.05 if draw is not rare_loss else None
        evidence = Evidence(1 - margin, alpha=ALPHA, budgets=[n])
        seen = 0
        while seen < n and not evidence.is_proved:
            evidence.update(d[seen : seen + 10] + margin)
            seen += 10
        low, high = always_valid_interval(d[:seen], np.ones(seen), alpha=ALPHA, budgets=[n], margin=margin)
        exact = -0.10 * 0.95 + 0.90 * 0.05 if truth is None else truth
        missed += not low <= exact <= high
    assert missed <= slack(runs, 2 * ALPHA)


def test_without_a_unit_the_interval_is_the_whole_scale():
    assert always_valid_interval([], [], alpha=ALPHA, budgets=[10], margin=0.05) == (-1.0, 1.0)


def test_a_perfect_score_does_not_promise_perfection():
    low, high = mean_interval(np.ones(20), np.ones(20), alpha=0.05, budgets=[20])
    assert 0.7 < low < 0.9
    assert high == 1.0


# --- planning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("margin", "alpha", "least", "most"),
    [(0.05, 0.05, 59, 89), (0.10, 0.05, 29, 46), (0.03, 0.05, 99, 140), (0.05, 0.05 / 3, 80, 110)],
)
def test_without_any_disagreement_a_margin_takes_more_than_ln_alpha_over_ln_1_less_margin(
    margin, alpha, least, most
):
    assert math.ceil(math.log(alpha) / math.log(1 - margin)) == least
    fewest = fewest_units(margin, alpha=alpha)
    assert least < fewest <= most
    assert grown(np.full(fewest, margin), 1 - margin, budgets=[fewest], alpha=alpha).is_proved
    assert not grown(np.full(fewest - 1, margin), 1 - margin, budgets=[fewest - 1], alpha=alpha).is_proved


def test_the_planned_number_proves_a_true_gap_in_about_four_of_five_sweeps():
    rng, margin, runs = np.random.default_rng(1), 0.10, 150
    spread = [-1.0, 0.0, 1.0], [0.12, 0.76, 0.12]
    needed = units_needed(margin, 0.24, alpha=ALPHA)
    proved = sum(
        grown(
            rng.choice(spread[0], size=needed, p=spread[1]) + margin, 1 - margin, budgets=[needed]
        ).is_proved
        for _ in range(runs)
    )
    assert 0.7 <= proved / runs <= 0.95


def test_no_number_is_promised_at_or_beyond_the_margin():
    assert units_needed(0.0, 0.2, alpha=ALPHA) is None
    assert units_needed(-0.1, 0.2, alpha=ALPHA) is None
    assert units_needed(1e-5, 0.2, alpha=ALPHA) is None


def test_a_candidate_far_below_is_hopeless_and_one_in_sight_is_not():
    rng = np.random.default_rng(4)
    below = right_or_wrong(rng, 60) - 0.25
    near = right_or_wrong(rng, 60) + 0.15
    assert is_hopeless(below, alpha=ALPHA, budget=200)
    assert not is_hopeless(near, alpha=ALPHA, budget=200)
    assert not is_hopeless(below[:19], alpha=ALPHA, budget=200)
    assert is_hopeless(np.zeros(30), alpha=ALPHA, budget=200)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Evidence(0.0, alpha=0.05, budgets=[1]), "must be positive"),
        (lambda: Evidence(1.0, alpha=1.0, budgets=[1]), "alpha 1.0 lie in"),
        (lambda: Evidence(1.0, alpha=0.05, budgets=[]), "name 1 unit or more"),
        (lambda: fewest_units(0.0, alpha=0.05), "margin 0.0 must lie between"),
    ],
)
def test_wrong_input_is_named(call, says):
    with pytest.raises(SweepError, match=says):
        call()
