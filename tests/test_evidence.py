"""The intervals keep their promise: exact enumeration where it is possible, seeded simulation elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llmbench.bench import evidence
from llmbench.bench.evidence import (
    cost_ratio,
    mean_interval,
    paired_interval,
    quantile_interval,
    samples_needed,
    smallest_margin,
)
from llmbench.errors import SweepError

ALPHA = 0.05


def slack(runs: int, rate: float) -> int:
    """The count that a correct rule exceeds once in a thousand tries."""
    return int(stats.binom.ppf(0.999, runs, rate))


def t_with_two_pseudo_values(d: np.ndarray, alpha: float) -> float:
    x = np.r_[d, 1.0, -1.0]
    return float(x.mean() - stats.t.ppf(1 - alpha, x.size - 1) * stats.sem(x))


def table(wins: int, losses: int, n: int) -> np.ndarray:
    return np.r_[np.ones(wins), -np.ones(losses), np.zeros(n - wins - losses)]


# --- the promise at the boundary: the candidate is exactly the margin worse ---------------------------------


@pytest.mark.parametrize("n", [20, 46, 60, 76, 160])
@pytest.mark.parametrize("margin", [0.05, 0.10])
@pytest.mark.parametrize("candidates", [1, 3])
def test_rare_losses_never_pass_more_often_than_alpha(n, margin, candidates):
    """Reference perfect, candidate loses a share `margin`: the probability is exact, not simulated."""
    passed = 0.0
    for losses in range(n + 1):
        if stats.binom.pmf(losses, n, margin) < 1e-9:
            continue
        shown = paired_interval(table(0, losses, n), alpha=ALPHA, n_candidates=candidates)
        passed += stats.binom.pmf(losses, n, margin) * (shown.low > -margin)
    assert passed <= ALPHA / candidates + 1e-9


def test_t_alone_would_pass_a_rare_loser_twice_as_often_as_alpha():
    """Why the interval is a hull: two pseudo-values alone do not keep a one-sided promise."""
    passed = sum(
        stats.binom.pmf(k, 160, 0.05) * (t_with_two_pseudo_values(table(0, k, 160), ALPHA) > -0.05)
        for k in range(161)
    )
    assert passed == pytest.approx(0.0939, abs=1e-4)


@pytest.mark.parametrize("wins", [0.02, 0.10, 0.30])
@pytest.mark.parametrize("margin", [0.10, 0.20])
def test_twenty_pairs_of_right_and_wrong_keep_alpha_exactly(wins, margin):
    passed = 0.0
    for w in range(21):
        for k in range(21 - w):
            chance = stats.multinomial.pmf(
                [w, k, 20 - w - k], 20, [wins, wins + margin, 1 - 2 * wins - margin]
            )
            if chance > 1e-7:
                passed += chance * (paired_interval(table(w, k, 20)).low > -margin)
    assert passed <= ALPHA + 1e-5


def skewed(rng, n):  # usually a little better, now and then a catastrophe; mean -0.10
    return np.where(rng.random(n) < 0.14, -1.0, 0.04 / 0.86)


def graded(rng, n):
    return np.clip(rng.normal(-0.10, 0.25, n), -0.85, 0.65)  # symmetric around -0.10


def few_clusters(rng, n):  # n clusters of 25 samples which are won and lost together; mean -0.10
    return 0.05 - rng.binomial(25, rng.beta(1.0, 17 / 3, n)) / 25


def right_or_wrong(rng, n):
    return rng.choice([1.0, -1.0, 0.0], n, p=[0.08, 0.18, 0.74])


@pytest.mark.parametrize(
    ("draw", "n"),
    [
        (right_or_wrong, 160),
        (skewed, 20),
        (skewed, 160),
        (graded, 20),
        (few_clusters, 12),
        (few_clusters, 40),
    ],
)
def test_no_shape_of_scores_passes_at_the_boundary_more_often_than_alpha(draw, n):
    rng, runs, margin = np.random.default_rng(7), 300, 0.10
    shown = [paired_interval(draw(rng, n), alpha=ALPHA) for _ in range(runs)]
    assert sum(i.low > -margin for i in shown) <= slack(runs, ALPHA)
    assert sum(i.high < -margin for i in shown) <= slack(runs, ALPHA)


def test_samples_counted_instead_of_clusters_break_the_promise():
    """40 clusters of 25 samples: taken as 1,000 independent samples they pass far too often."""
    rng, runs, margin = np.random.default_rng(8), 200, 0.10
    naive = ours = 0
    for _ in range(runs):
        lost = rng.random((40, 25)) < rng.beta(1.0, 17 / 3, 40)[:, None]
        samples = 0.05 - lost
        naive += t_with_two_pseudo_values(samples.ravel(), ALPHA) > -margin
        ours += paired_interval(samples.mean(axis=1)).low > -margin
    assert naive > 3 * ALPHA * runs
    assert ours <= slack(runs, ALPHA)


def test_an_equal_candidate_is_proved_in_most_sweeps_of_160():
    rng, runs = np.random.default_rng(9), 200
    proved = sum(
        paired_interval(rng.choice([1.0, -1.0, 0.0], 160, p=[0.05, 0.05, 0.9])).low > -0.10
        for _ in range(runs)
    )
    assert proved >= 0.93 * runs


# --- quality of one model -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5, 20, 60, 160])
def test_quality_of_right_and_wrong_is_covered_exactly(n):
    shown = [mean_interval(np.r_[np.ones(k), np.zeros(n - k)]) for k in range(n + 1)]
    for p in [0.02, 0.1, 0.5, 0.8, 0.86, 0.9, 0.95, 0.99, 0.999]:
        inside = [i.low <= p <= i.high for i in shown]
        assert stats.binom.pmf(np.arange(n + 1), n, p)[inside].sum() >= 0.95


@pytest.mark.parametrize(("a", "b"), [(30.0, 1.0), (0.5, 0.05), (4.0, 2.0)])
def test_graded_quality_near_1_is_covered_with_20_samples(a, b):
    rng, runs = np.random.default_rng(10), 300
    shown = [mean_interval(rng.beta(a, b, 20)) for _ in range(runs)]
    missed = sum(not i.low <= a / (a + b) <= i.high for i in shown)
    assert missed <= slack(runs, 0.05)


def test_a_perfect_score_does_not_promise_perfection():
    shown = mean_interval(np.ones(20))
    assert (shown.estimate, shown.high) == (1.0, 1.0)
    assert shown.low == pytest.approx(0.025 ** (1 / 20), abs=2e-3)  # Clopper and Pearson


# --- the limit itself ---------------------------------------------------------------------------------------


def test_the_saddlepoint_limit_agrees_with_random_weights():
    rng = np.random.default_rng(1)
    x = np.round(rng.uniform(-1, 1, 15), 1)
    draws = rng.exponential(size=(200_000, 16))
    weighted = (draws * np.r_[x, -1.0]).sum(axis=1) / draws.sum(axis=1)
    found = evidence._gaffke_lower(x, np.ones(15), 0.05)
    assert found == pytest.approx(float(np.quantile(weighted, 0.05)), abs=3e-3)


values = st.lists(st.sampled_from([-1.0, -0.5, -0.1, 0.0, 0.2, 1.0]), min_size=1, max_size=40)


@given(values, st.sampled_from([0.001, 0.01, 0.05, 0.15]), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_the_interval_holds_its_estimate_and_turns_with_the_sign(d, alpha, k):
    shown = paired_interval(d, alpha=alpha, n_candidates=k)
    turned = paired_interval([-x for x in d], alpha=alpha, n_candidates=k)
    assert -1 <= shown.low <= shown.estimate <= shown.high <= 1
    assert (turned.low, turned.high) == pytest.approx((-shown.high, -shown.low), abs=1e-7)
    wider = paired_interval(d, alpha=alpha, n_candidates=k + 1)
    assert wider.low <= shown.low + 1e-7
    assert wider.high >= shown.high - 1e-7


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: paired_interval([]), "differences is empty"),
        (lambda: paired_interval([0.0, 1.5]), "differences must lie in [-1, 1]"),
        (lambda: paired_interval([math.nan]), "differences must lie"),
        (lambda: mean_interval([-0.1]), "values must lie in [0, 1]"),
        (lambda: paired_interval([0.0], alpha=0.6), "alpha 0.6"),
        (lambda: paired_interval([0.0], n_candidates=0), "n_candidates 0"),
        (lambda: smallest_margin(0), "0 clusters"),
        (lambda: quantile_interval([], 0.5), "latency"),
        (lambda: quantile_interval([1.0], 0.5, timed_out=[True, False]), "latency"),
        (lambda: cost_ratio([1.0], [1.0, 2.0]), "cost"),
        (lambda: cost_ratio([-1.0], [1.0]), "negative"),
    ],
)
def test_wrong_input_is_named(call, says):
    with pytest.raises(SweepError) as caught:
        call()
    assert says in str(caught.value)


# --- planning -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("margin", "candidates", "units"),
    [(0.05, 1, 59), (0.10, 1, 29), (0.03, 1, 99), (0.05, 3, 80), (0.10, 3, 39), (0.03, 3, 135)],
)
def test_without_any_disagreement_a_margin_takes_ln_alpha_over_ln_1_less_margin_units(
    margin, candidates, units
):
    assert math.ceil(math.log(ALPHA / candidates) / math.log(1 - margin)) == units
    assert smallest_margin(units, n_candidates=candidates) < margin * 1.001
    assert smallest_margin(units - 1, n_candidates=candidates) > margin
    assert samples_needed([0.0] * 5, margin, n_candidates=candidates) in (units, units + 1)


def test_the_planned_number_proves_a_true_gap_in_about_four_of_five_sweeps():
    rng, shape = np.random.default_rng(11), {"a": [1.0, -1.0, 0.0], "p": [0.06, 0.08, 0.86]}
    total = samples_needed(table(6, 8, 100), 0.10)
    assert total is not None
    proved = sum(paired_interval(rng.choice(size=total, **shape)).low > -0.10 for _ in range(300))
    assert 0.73 * 300 <= proved <= 0.90 * 300


def test_no_number_is_promised_at_or_beyond_the_margin():
    assert samples_needed(table(0, 10, 100), 0.10) is None
    assert samples_needed(table(0, 30, 100), 0.10) is None
    assert samples_needed([-0.1 + 1e-8] * 2, 0.10) is None  # more than ten million


# --- latency ------------------------------------------------------------------------------------------------


def test_p95_has_an_upper_limit_from_72_calls_on():
    assert quantile_interval(np.arange(71.0), 0.95).high == math.inf
    assert quantile_interval(np.arange(72.0), 0.95).high == 71.0
    assert quantile_interval([5.0], 0.95).low == 0.0


def test_latency_quantiles_are_covered():
    rng, runs = np.random.default_rng(12), 500
    for n, q in [(20, 0.5), (100, 0.95), (300, 0.95)]:
        truth = float(stats.lognorm.ppf(q, 0.8))
        shown = [quantile_interval(rng.lognormal(0, 0.8, n), q) for _ in range(runs)]
        assert all(i.low <= i.estimate <= i.high for i in shown)
        assert sum(not i.low <= truth <= i.high for i in shown) <= slack(runs, 0.05)


def test_a_limit_on_a_call_that_was_cut_off_does_not_exist():
    latency, cut = np.r_[np.arange(180.0), np.full(20, 500.0)], np.r_[np.zeros(180, bool), np.ones(20, bool)]
    shown = quantile_interval(latency, 0.95, timed_out=cut)
    assert (shown.estimate, shown.high) == (500.0, math.inf)
    assert quantile_interval(latency, 0.5, timed_out=cut).high < 180.0


# --- cost ---------------------------------------------------------------------------------------------------


def test_the_cost_ratio_is_covered_and_repeats_itself():
    rng, runs, missed = np.random.default_rng(13), 200, 0
    for _ in range(runs):
        size = rng.lognormal(0, 0.6, 60)
        shown = cost_ratio(size * rng.lognormal(-1, 0.3, 60), size * rng.lognormal(0, 0.3, 60))
        assert shown is not None
        missed += not shown.low <= math.exp(-1) <= shown.high
    assert missed <= slack(runs, 0.07)  # BCa is a little short of 95 % at 60 clusters
    again = np.abs(np.random.default_rng(14).normal(size=(2, 30)))
    assert cost_ratio(again[0], again[1]) == cost_ratio(again[0], again[1])


def test_costs_without_a_spread_or_without_a_ratio_are_answered_plainly():
    flat = cost_ratio([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
    assert flat is not None
    assert (flat.estimate, flat.low, flat.high) == (0.5, 0.5, 0.5)
    free = cost_ratio([0.0, 0.0], [1.0, 2.0])
    assert free is not None
    assert (free.estimate, free.high) == (0.0, 0.0)
    assert cost_ratio([1.0, 2.0], [0.0, 0.0]) is None
    for unknown in (cost_ratio([1.0], [2.0]), cost_ratio([0.0, 1.0, 0.0], [0.0, 0.0, 1.0])):
        assert unknown is not None
        assert (unknown.low, unknown.high) == (0.0, math.inf)
