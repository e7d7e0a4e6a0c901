"""The limits hold: an alarm is as rare as the page says, also where the calls of an event fail together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from llmbench.analytics.verification_intervals import (
    days_of,
    exact_limits,
    mean_interval,
    more_for_mean,
    more_for_share,
    quantile_interval,
    share_interval,
)
from llmbench.analytics.verification_measures import judge
from llmbench.analytics.verification_samples import Form, Sample

PAGES, PER_PAGE = 100, 8
Z95 = 1.6448536


def in_hours(random: np.random.Generator, hours: int = 48, per_hour: float = 8) -> np.ndarray:
    """The hour of each call; some hours have many calls and some none."""
    return np.repeat(np.arange(hours), random.poisson(random.gamma(2.0, per_hour / 2, hours))).astype(float)


def shares(random: np.random.Generator, share: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    """Failures that come in bursts: each hour has its own rate, 0.03 in the mean of all hours."""
    hours = in_hours(random)
    rates = random.beta(share * 9, (1 - share) * 9, 48)
    return (random.random(hours.size) < rates[hours.astype(int)]).astype(float), hours


def costs(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Skewed costs with a mean of 1."""
    hours = in_hours(random)
    shift = random.normal(0, 0.2, 48)[hours.astype(int)]
    return np.exp(random.normal(0, 0.8, hours.size) + shift - (0.8**2 + 0.2**2) / 2), hours


def times(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Latencies with slow hours and a p95 of 1."""
    hours = in_hours(random)
    shift = random.normal(0, 0.2, 48)[hours.astype(int)]
    spread = np.hypot(0.5, 0.2)
    return np.exp(random.normal(0, 0.5, hours.size) + shift - Z95 * spread), hours


MADE: tuple[tuple[Form, Callable[..., tuple[np.ndarray, np.ndarray]], float], ...] = (
    ("mean", costs, 1.0),
    ("quantile", times, 1.0),
    ("share", shares, 0.03),
    ("share", shares, 0.03),
)


def pages_with_alarms(limit_of: Callable[[Form, float], float], *, in_one: bool = True) -> float:
    """The share of pages on which anything is called broken; `in_one`: calls of an hour stand together."""
    random = np.random.default_rng(20261128)
    alarms = 0
    for _ in range(PAGES):
        page = set()
        for form, made, truth in MADE * (PER_PAGE // len(MADE)):
            values, hours = made(random)
            hours = hours if in_one else np.linspace(0.0, 47.0, hours.size)
            sample = Sample("p95_ms", values, hours, truth, None, limit_of(form, truth), None, (), form)
            page.add(judge(sample, 0.05 / PER_PAGE, 30).verdict)
        alarms += "broken" in page
    return alarms / PAGES


def test_where_the_truth_is_the_promise_hardly_a_page_raises_an_alarm():
    tolerance = {"mean": 1.1, "quantile": 1.2, "share": 1.0}
    rate = pages_with_alarms(lambda form, truth: truth * tolerance[form] + (0.01 if form == "share" else 0.0))
    assert rate <= 0.01


def test_where_the_truth_is_the_very_limit_at_most_one_page_in_twenty_raises_an_alarm():
    assert pages_with_alarms(lambda _, truth: truth) <= 0.05


def test_if_each_call_were_an_hour_of_its_own_the_same_pages_would_raise_alarms_far_more_often():
    assert pages_with_alarms(lambda _, truth: truth, in_one=False) > 0.1


def wandering_hours(random: np.random.Generator, days: int) -> np.ndarray:
    """A level in each hour that resembles the one before (phi 0.9), 20 % up or down."""
    level = np.zeros(24 * days)
    for hour in range(1, level.size):
        level[hour] = 0.9 * level[hour - 1] + random.normal(0, 0.2 * np.sqrt(1 - 0.9**2))
    return level


def noisy_days(random: np.random.Generator, days: int) -> np.ndarray:
    return np.repeat(random.normal(0, 0.15, days), 24)


def costs_at(level: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    hours = np.repeat(np.arange(level.size), random.poisson(8, level.size)).astype(float)
    return np.exp(level[hours.astype(int)] + random.normal(0, 0.5, hours.size) - 0.5**2 / 2), hours


@pytest.mark.parametrize(
    ("made", "spread", "days"),
    [
        (made, spread, days)
        for made, spread in ((wandering_hours, 0.2), (noisy_days, 0.15))
        for days in (6, 14)
    ],
)
def test_hours_that_resemble_each_other_raise_no_more_alarms_than_promised(made, spread: float, days: int):
    random, pages, alpha = np.random.default_rng(11), 200, 0.05
    alarms = 0
    for _ in range(pages):
        values, hours = costs_at(made(random, days), random)
        mean = float(np.exp(spread**2 / 2))
        sample = Sample("cost_usd_per_1000", values, hours, mean, None, mean, None, (), "mean")
        alarms += judge(sample, alpha, 30).verdict == "broken"
    assert alarms / pages <= alpha + 2 * np.sqrt(alpha / pages)


@pytest.mark.parametrize(("days", "unit"), [(4, "hour"), (14, "day")])
@pytest.mark.parametrize("size", [300, 800, 3000])
def test_one_busy_hour_with_an_outage_breaks_no_promise(size: int, days: int, unit: str):
    hours = np.repeat(np.arange(24.0 * days), 5)
    flags = np.zeros(hours.size)
    flags[::100] = 1.0
    flags = np.concatenate([flags, (np.arange(size) < size / 3).astype(float)])
    hours = np.concatenate([hours, np.full(size, 30.0)])
    sample = Sample("call_failures", flags, hours, 0.01, None, 0.02, None, ())
    found = judge(sample, 0.05, 30)
    assert flags.mean() > 0.04
    assert found.verdict == "open"
    assert (found.days is None) == (unit == "hour")


@pytest.mark.parametrize("form", ["mean", "share", "quantile"])
def test_fewer_than_four_events_leave_a_promise_open_and_five_do_not(form: Form):
    for events in (3, 5):
        hours = np.repeat(np.arange(float(events)), 2_000)
        values = np.tile(np.linspace(1.0, 2.0, 2_000), events) if form != "share" else np.ones(hours.size)
        sample = Sample("p95_ms", values, hours, 0.1, None, 0.1, None, (), form)
        assert judge(sample, 0.05, 30).verdict == ("open" if events < 4 else "broken")


def test_a_day_is_one_event_where_calls_span_five_days_and_ends_with_the_last_call():
    assert days_of(np.arange(119.0)) is None
    found = days_of(np.arange(1000.0, 1120.0))
    assert np.bincount(found.astype(int)).tolist() == [24] * 5
    assert (found[-1], found[-24], found[-25]) == (0.0, 0.0, 1.0)


def test_an_event_with_most_of_the_calls_is_held_against_the_mean_of_the_others():
    random = np.random.default_rng(6)
    sizes = np.array([40, 19, 15, 18, 17, 16, 19, 15])
    events = np.repeat(np.arange(8.0), sizes)
    values = random.normal(10, 1, events.size) + (events == 0) * 3
    without = np.array([values[events != each].mean() for each in range(8)])
    error = np.sqrt(7 / 8 * ((without - values.mean()) ** 2).sum())
    count = events.size**2 / (sizes**2).sum()
    found = mean_interval(values, events, 0.05)
    assert 4 < count < 8
    assert found.events == pytest.approx(count)
    assert found.high - found.estimate == pytest.approx(stats.t.ppf(0.975, count - 1) * error)


@pytest.mark.parametrize("n", [50, 150, 400])
def test_a_handful_of_failures_raises_no_more_alarms_than_promised_where_wilsons_limits_would(n):
    alpha, share = 0.05 / 15, 0.01
    seen = np.arange(n + 1)
    chance = stats.binom.pmf(seen, n, share)
    wilson = [stats.binomtest(int(x), n).proportion_ci(1 - alpha, "wilson").low > share for x in seen]
    exact = [exact_limits(x / n, n, alpha)[0] > share for x in seen]
    assert chance[exact].sum() <= alpha / 2
    assert chance[wilson].sum() > 2 * alpha / 2


def test_independent_calls_get_the_limits_of_order_statistics():
    random = np.random.default_rng(5)
    values = random.exponential(size=400)
    ours = quantile_interval(values, np.arange(400.0), 0.05)
    test = stats.quantile_test(values, q=1.0, p=0.95)
    theirs = test.confidence_interval(confidence_level=0.95)
    assert ours.low == pytest.approx(theirs.low, abs=0.3)
    assert ours.high == pytest.approx(theirs.high, abs=0.6)
    assert ours.low < ours.estimate < ours.high


def test_limits_of_a_quantile_cover_it_as_often_as_they_say():
    random = np.random.default_rng(8)
    missed = 0
    for _ in range(400):
        values, hours = times(random)
        found = quantile_interval(values, hours, 0.1)
        missed += not found.low <= 1.0 <= found.high
    assert 0.02 <= missed / 400 <= 0.12


def test_a_mean_of_independent_values_gets_the_limits_of_a_t_test():
    values = np.random.default_rng(2).normal(10, 2, 60)
    ours = mean_interval(values, np.arange(60.0), 0.05)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (ours.low, ours.high) == (pytest.approx(theirs.low), pytest.approx(theirs.high))


def test_a_burst_of_failures_in_one_hour_weighs_as_one_event():
    hours = np.repeat(np.arange(24.0), 20)
    burst, spread = np.zeros(480, dtype=bool), np.zeros(480, dtype=bool)
    burst[100:120] = True
    spread[::24] = True
    together, apart = (share_interval(flags, hours, 0.05) for flags in (burst, spread))
    assert together.estimate == apart.estimate
    assert together.low < 0.005 < apart.low
    assert together.n_effective < 30 < apart.n_effective


@pytest.mark.parametrize("made", [mean_interval, quantile_interval])
def test_calls_of_a_single_hour_say_nothing(made):
    found = made(np.linspace(1, 2, 500), np.zeros(500), 0.05)
    assert (found.low, found.high) == (0.0, np.inf)


def test_a_share_from_a_single_hour_says_nothing():
    found = share_interval(np.zeros(500, dtype=bool), np.zeros(500), 0.05)
    assert (found.low, found.high) == (0.0, 1.0)


def test_one_dear_hour_widens_the_limits_of_a_mean():
    hours = np.repeat(np.arange(24.0), 20)
    together, apart = np.ones(480), np.ones(480)
    together[100:120] = 5.0
    apart[::24] = 5.0
    wide, narrow = (mean_interval(values, hours, 0.05) for values in (together, apart))
    assert wide.estimate == narrow.estimate
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
    assert wide.n_effective < 30 < narrow.n_effective


def test_equal_values_have_limits_of_their_own_value():
    found = mean_interval(np.full(50, 2.5), np.arange(50.0), 0.05)
    assert (found.low, found.high) == (2.5, 2.5)


def test_the_calls_still_needed_are_about_those_that_settle_it():
    hours = np.arange(400.0)
    flags = np.arange(400) % 50 == 0  # 2 %
    now = share_interval(flags, hours, 0.05)
    more = more_for_share(0.02, now, 0.0275, 0.05)
    assert now.low < 0.0275 < now.high
    times_as_many = (400 + more) / 400
    assert exact_limits(0.02, now.n_effective * times_as_many * 1.05, 0.05)[1] <= 0.0275
    assert exact_limits(0.02, now.n_effective * times_as_many * 0.9, 0.05)[1] > 0.0275
    assert more_for_share(0.03, now, 0.03, 0.05) is None
    values = np.tile([1.0, 3.0], 50)
    mean = mean_interval(values, np.arange(100.0), 0.05)
    more = more_for_mean(mean, 2.1)
    assert mean.high > 2.1
    assert (
        mean_interval(np.tile([1.0, 3.0], 50 + more // 2 + 2), np.arange(104.0 + more // 2 * 2), 0.05).high
        < 2.1
    )
