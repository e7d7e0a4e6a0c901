"""What quality a budget buys: the hull over (cost, quality) points, and its average. Descriptive, no verdict.

A point on the line between two models is a router that sends a share of the calls to each at random, so every
point of the hull can be had. Neither hull nor average says how certain the points are.

Source: Q. J. Hu et al., "RouterBench: A Benchmark for Multi-LLM Routing System" (2024), arXiv 2403.12031. The
convention where a range leaves the hull is ours, and stands at `Frontier`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmbench.errors import SweepError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Frontier:
    """A non-decreasing concave line through the best points ("non-decreasing convex hull").

    It begins at the cheapest point given, however poor (the best of several at that cost), and ends at the
    cheapest one of the best quality. To the right it goes on flat: who has more money buys the same. To the
    left of the cheapest point there is nothing: no model answers for less.

    Attributes:
        names: of the points on the line, from cheap to dear.
        costs: theirs, strictly increasing, in the unit given.
        qualities: theirs, strictly increasing.
        dearest: the highest cost of all points given, on the line or not.
    """

    names: tuple[str, ...]
    costs: tuple[float, ...]
    qualities: tuple[float, ...]
    dearest: float

    def quality_at(self, cost: float) -> float:
        """The best quality that a mean cost per call buys.

        Raises:
            SweepError: the cost is below that of the cheapest point.
        """
        if not cost >= self.costs[0]:
            raise SweepError(f"frontier: nothing costs as little as {cost:g}; the least is {self.costs[0]:g}")
        return float(np.interp(cost, self.costs, self.qualities))


def frontier(cost: ArrayLike, quality: ArrayLike, names: Sequence[str] | None = None) -> Frontier:
    """Find the non-decreasing convex hull of (cost, quality) points.

    By a scan from cheap to dear which drops a point once the next one lies above the line over it (A. M.
    Andrew, 1979). SciPy's hull refuses points that all lie on one line, and two models always do.

    Args:
        cost: mean cost per call, one a model, any unit, not negative.
        quality: mean score, one a model.
        names: one a model; by default their numbers, from "0".

    Raises:
        SweepError: no points, lists of different lengths, or a value that is no such number.
    """
    costs, qualities = np.asarray(cost, dtype=np.float64), np.asarray(quality, dtype=np.float64)
    labels = [str(place) for place in range(costs.size)] if names is None else list(names)
    if costs.ndim != 1 or costs.size == 0 or costs.shape != qualities.shape or len(labels) != costs.size:
        raise SweepError("frontier: give one cost, one quality and one name per model")
    if not bool((np.isfinite(costs) & np.isfinite(qualities) & (costs >= 0.0)).all()):
        raise SweepError("frontier: a cost or quality is unknown or negative; leave out that model")
    hull: list[int] = []
    for place in np.lexsort((-qualities, costs)).tolist():
        if hull and qualities[place] <= qualities[hull[-1]]:
            continue  # dearer or as dear, and no better
        while len(hull) > 1 and _is_below(hull[-1], hull[-2], place, costs, qualities):
            hull.pop()
        hull.append(place)
    return Frontier(
        tuple(labels[place] for place in hull),
        tuple(costs[hull].tolist()),
        tuple(qualities[hull].tolist()),
        float(costs.max()),
    )


def average_improvement_in_quality(
    line: Frontier, *, low: float | None = None, high: float | None = None
) -> float:
    """AIQ: the area under the hull between two costs, divided by their distance.

    It is the mean quality when every budget in the range is equally likely. Values compare only over the
    same range: give one when routers with different points are compared.

    Args:
        line: from `frontier`.
        low: lower end of the range; by default the cost of the cheapest point.
        high: upper end; by default the cost of the dearest point given, on the hull or not.

    Returns:
        A quality. For a range of length 0, the quality at that cost.

    Raises:
        SweepError: the range begins below the cheapest point, ends before it begins, or has no end.
    """
    begin = line.costs[0] if low is None else low
    end = line.dearest if high is None else high
    first = line.quality_at(begin)
    if not begin <= end < math.inf:
        raise SweepError(f"AIQ: the range from {begin:g} to {end:g} has no length; give low below high")
    if begin == end:
        return first
    inside = [cost for cost in line.costs if begin < cost < end]
    places = np.array([begin, *inside, end])
    heights = np.interp(places, line.costs, line.qualities)
    mean = float(np.trapezoid(heights, (places - begin) / (end - begin)))
    return min(max(mean, float(heights[0])), float(heights[-1]))  # the sum can miss by a rounding


def _is_below(middle: int, left: int, right: int, costs: Floats, qualities: Floats) -> bool:
    """Whether a point lies on or below the line between its neighbours."""
    run, rise = costs[right] - costs[left], qualities[right] - qualities[left]
    return bool((qualities[middle] - qualities[left]) * run <= rise * (costs[middle] - costs[left]))
