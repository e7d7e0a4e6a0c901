"""The change is found where a task's calls went over to the proposed model, and nowhere else."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from llmbench.analytics.verification_change import find_change, find_stretch
from tests.test_verification import CHANGE, OLD, START, a_call, old_traffic, traffic, verified


def test_the_change_is_found_where_the_calls_went_over(tmp_path):
    found = verified(tmp_path, old_traffic(), traffic(CHANGE, 5))["sort"].application
    assert found.is_applied
    assert not found.is_given
    assert abs(found.changed_at - CHANGE) < timedelta(hours=1)
    assert found.calls == 5 * 24 * 8


def test_the_value_before_is_that_of_as_long_a_time_before(tmp_path):
    early = traffic(START - timedelta(days=5), 5, OLD, seed=9, cost=50.0, p95_ms=9_000.0)
    page = verified(tmp_path, early, old_traffic(), traffic(CHANGE, 5))["sort"]
    assert page["cost_usd_per_1000"].before == pytest.approx(5.0, rel=0.05)
    assert page["p95_ms"].before == pytest.approx(2_000, rel=0.15)


def test_calls_that_stayed_with_the_old_model_are_not_applied(tmp_path):
    page = verified(tmp_path, old_traffic(10))
    task = page["sort"]
    assert (task.state, task.measures, page.is_broken) == ("not_applied", (), False)
    assert task.application.today == ((OLD, 1.0),)
    assert "begin with: big 100.0 %" in str(page)


def test_a_change_taken_back_after_two_days_is_told_with_its_times(tmp_path):
    stay = traffic(CHANGE, 2, cost=5.0)
    page = verified(tmp_path, old_traffic(), stay, traffic(CHANGE + timedelta(days=2), 3, OLD, seed=3))
    task = page["sort"]
    assert task.state == "not_applied"
    first, last = task.application.tried
    assert abs(first - CHANGE) < timedelta(hours=1)
    assert abs(last - CHANGE - timedelta(days=2)) < timedelta(hours=1)
    assert "it was taken back" in str(page)


def test_a_change_taken_back_can_be_looked_at_up_to_its_end(tmp_path):
    end = CHANGE + timedelta(days=2)
    page = verified(
        tmp_path, old_traffic(), traffic(CHANGE, 2, cost=5.0), traffic(end, 3, OLD, seed=3), until=end
    )
    assert page["sort"]["cost_usd_per_1000"].verdict == "broken"


def test_a_try_out_long_before_is_not_taken_for_the_change(tmp_path):
    trial = [a_call(START + timedelta(minutes=1))]
    page = verified(tmp_path, trial, old_traffic(1), traffic(CHANGE, 20))
    assert abs(page["sort"].application.changed_at - CHANGE) < timedelta(hours=1)


def test_a_given_moment_is_taken_as_it_is(tmp_path):
    half = CHANGE + timedelta(days=5)
    application = verified(tmp_path, old_traffic(), traffic(CHANGE, 10), since=half.replace(tzinfo=None))[
        "sort"
    ].application
    assert (application.changed_at, application.is_given, application.calls) == (half, True, 5 * 24 * 8)


def test_a_given_moment_after_which_nothing_moved_is_not_applied(tmp_path):
    page = verified(tmp_path, old_traffic(10), since=CHANGE)
    assert page["sort"].state == "not_applied"


def test_calls_that_began_with_the_model_from_the_first_on_are_said_to_have_no_before(tmp_path):
    page = verified(tmp_path, traffic(CHANGE, 3))
    assert page["sort"].application.is_from_start
    assert page["sort"]["p95_ms"].before is None
    assert "or before: its calls begin with it from the first on" in str(page)


def test_calls_sent_elsewhere_after_the_change_are_told_and_not_measured(tmp_path):
    other = [{**a_call(CHANGE + timedelta(hours=at), OLD), "cost_usd": 1.0} for at in range(1, 240, 3)]
    task = verified(tmp_path, old_traffic(), traffic(CHANGE, 10), other)["sort"]
    assert task["cost_usd_per_1000"].observed == pytest.approx(0.5, rel=0.05)
    assert task.application.share == pytest.approx(1920 / 2000)


def flags(text: str) -> np.ndarray:
    """'aaab' -> calls that begin with b, as flags."""
    return np.array([letter == "b" for letter in text])


@pytest.mark.parametrize(
    ("calls", "at"),
    [
        ("a" * 50 + "b" * 50, 50),
        ("b" * 50, 0),
        ("a" * 50 + ("b" * 19 + "a") * 10, 50),
        ("b" + "a" * 9 + "b" * 200, 10),  # one try-out before
        ("a" * 50 + "b" * 9, None),  # too short a stay
        ("a" * 50 + "ab" * 50, None),
        ("a" * 50 + "b" * 50 + "a" * 20, None),
        ("a" * 100 + "b", None),
        ("", None),
    ],
)
def test_a_change_is_where_the_calls_went_over_for_good(calls, at):
    assert find_change(flags(calls)) == at


@pytest.mark.parametrize(
    ("calls", "ends"),
    [
        ("a" * 50 + "b" * 50 + "a" * 20, (50, 99)),
        ("a" * 50 + "b" * 5 + "a" * 20, None),
        ("ab" * 50, None),
        ("a" * 50, None),
        ("", None),
    ],
)
def test_a_stay_that_ended_is_found_with_its_ends(calls, ends):
    found = find_stretch(flags(calls))
    assert (found if found is None else (found.first, found.last)) == ends
