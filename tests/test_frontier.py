"""The hull over cost and quality: by hand, by its properties, and refused where there is none."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.bench.frontier import average_improvement_in_quality, frontier
from llmbench.errors import SweepError


def test_the_hull_drops_what_is_dearer_and_no_better_and_what_a_mixture_beats():
    line = frontier(
        [1, 2, 3, 4, 5, 1], [0.2, 0.3, 0.8, 0.7, 1.0, 0.1], ["a", "under", "b", "worse", "c", "poor"]
    )
    assert line.names == ("a", "b", "c")
    assert (line.costs, line.qualities, line.dearest) == ((1.0, 3.0, 5.0), (0.2, 0.8, 1.0), 5.0)
    assert [line.quality_at(cost) for cost in (1, 2, 4, 99)] == pytest.approx([0.2, 0.5, 0.9, 1.0])


def test_aiq_is_the_area_under_the_hull_by_the_length_of_the_range():
    line = frontier([1, 3, 7], [0.2, 0.8, 0.5])
    assert average_improvement_in_quality(line) == pytest.approx((2 * 0.5 + 4 * 0.8) / 6)
    assert average_improvement_in_quality(line, low=2, high=4) == pytest.approx((0.65 + 0.8) / 2)
    assert average_improvement_in_quality(line, high=11) == pytest.approx((2 * 0.5 + 8 * 0.8) / 10)
    assert average_improvement_in_quality(line, low=2, high=2) == pytest.approx(0.5)
    assert average_improvement_in_quality(frontier([2], [0.4])) == 0.4


points = st.lists(
    st.tuples(st.floats(0, 1e3, allow_subnormal=False), st.floats(0, 1, allow_subnormal=False)),
    min_size=1,
    max_size=15,
)


@given(points)
@settings(deadline=None)
def test_the_hull_is_concave_increasing_and_nowhere_below_a_point(given_points):
    cost, quality = np.array(given_points).T
    line = frontier(cost, quality)
    costs, qualities = np.array(line.costs), np.array(line.qualities)
    assert (np.diff(costs) > 0).all()
    assert (np.diff(qualities) > 0).all()
    steps = list(zip(np.diff(costs), np.diff(qualities), strict=True))
    for (run, rise), (next_run, next_rise) in itertools.pairwise(steps):
        assert next_rise * run <= rise * next_run * (1 + 1e-9) + 1e-12
    assert qualities[-1] == quality.max()
    assert costs[0] == cost.min()
    assert all(line.quality_at(c) >= q - 1e-9 for c, q in given_points)
    assert set(zip(costs, qualities, strict=True)) <= set(zip(cost, quality, strict=True))


@given(points, st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None)
def test_aiq_lies_between_the_least_and_the_greatest_quality(given_points, first, second):
    cost, quality = np.array(given_points).T
    line = frontier(cost, quality)
    assert quality.min() <= average_improvement_in_quality(line) <= quality.max()
    low, high = (float(cost.min()) + 2000 * share for share in sorted((first, second)))
    part = average_improvement_in_quality(line, low=low, high=high)
    assert line.quality_at(low) <= part <= line.quality_at(high)


@pytest.mark.parametrize(
    ("cost", "quality", "names"),
    [([], [], None), ([1], [1, 2], None), ([1], [1], ["a", "b"]), ([-1], [1], None), ([math.nan], [1], None)],
)
def test_points_without_a_hull_are_refused(cost, quality, names):
    with pytest.raises(SweepError, match="frontier: "):
        frontier(cost, quality, names)


def test_a_range_without_models_or_length_is_refused():
    line = frontier([1, 2], [0.1, 0.9])
    with pytest.raises(SweepError, match=r"nothing costs as little as 0\.5; the least is 1"):
        average_improvement_in_quality(line, low=0.5)
    with pytest.raises(SweepError, match=r"from 1\.5 to 1\.2"):
        average_improvement_in_quality(line, low=1.5, high=1.2)
    with pytest.raises(SweepError, match="AIQ"):
        average_improvement_in_quality(line, high=math.inf)
