"""Quantiles of latency and ratios of costs: covered as they say, and silent where the data say nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from llmbench.bench.intervals import cost_ratio, quantile_interval
from llmbench.errors import SweepError


def slack(runs: int, rate: float) -> int:
    """The count that a correct rule exceeds once in a thousand tries."""
    return int(stats.binom.ppf(0.999, runs, rate))


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


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: quantile_interval([], 0.5), "one finite number of milliseconds"),
        (lambda: quantile_interval([1.0, math.nan], 0.5), "one finite number of milliseconds"),
        (lambda: cost_ratio([], []), "one finite cost"),
        (lambda: cost_ratio([1.0], [1.0, 2.0]), "one finite cost"),
        (lambda: cost_ratio([-1.0], [1.0]), "negative"),
    ],
)
def test_wrong_input_is_named(call, says):
    with pytest.raises(SweepError, match=says):
        call()
