"""Evidence by betting: one test for every claim about the mean of bounded values, valid at every look.

To prove E[x] > 0 for values x >= -bound, money is bet against the claim E[x] <= 0, unit by unit, by bets that
use the past only. If the claim were true, the wealth W would be a nonnegative supermartingale that starts
at 1, and the chance that it ever reaches 1 / alpha is at most alpha (J. Ville, 1939): whatever the
distribution, however often anybody looks, whenever the sweep stops, and if it is made longer later.

    W = 1/2 * mean over k = 1..10 of prod (1 + (k/10) x / bound)      ten bets of a fixed size
      + 1/2 * prod (1 + l x)                                          one bet that knows its budget
    l = min(0.9 / bound, sqrt(2 (ln(2 / alpha) - ln S)+ / (rest * v)))

S is the wealth of that last bet, v the variance seen so far with two pseudo-observations of 1/4, rest the
units left in the budget. The maximum of W so far is what is decided on.

Sources: H. Robbins (1970) and F. Orabona, K.-S. Jun (2021) for mixtures over bet sizes; I. Waudby-Smith,
A. Ramdas, "Estimating means of bounded random variables by betting" (JRSS B, 2024); V. Voracek, F. Orabona,
"STaR-Bets" (NeurIPS 2025) for the bet that knows its budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from llmbench.errors import SweepError

Floats = NDArray[np.float64]

POWER: Final = 0.80
"""The chance with which `units_needed` plans to reach the proof, if what was seen is the truth."""
FEW: Final = 20
"""Below so many units nothing is called hopeless."""
_BETS: Final = np.arange(1, 11, dtype=np.float64) / 10.0
_MOST_UNITS: Final = 10_000_000


class Evidence:
    """The wealth of a bet against E[x] <= 0, for one claim or for several at once.

    Attributes:
        n: units seen.
        best: the largest wealth so far, one number a claim; at least 1.
        path: the wealth after each update of a single claim, for pictures.
    """

    __slots__ = ("_alpha", "_bound", "_budgets", "_fixed", "_own", "_squares", "_sum", "best", "n", "path")

    def __init__(self, bound: ArrayLike, *, alpha: float, budgets: Sequence[int]) -> None:
        """Declare the claim before its first unit.

        Args:
            bound: x is never below -bound; one number, or one a claim. Positive.
            alpha: chance allowed of ever proving a claim that is false.
            budgets: units planned. When a sweep was made longer, the earlier plans stand first: a bet made
                under an earlier plan must not know of the later one.

        Raises:
            SweepError: a bound is not positive, alpha is outside (0, 1), or there is no budget.
        """
        self._bound = np.atleast_1d(np.asarray(bound, dtype=np.float64))
        if not bool((self._bound > 0.0).all()) or not 0.0 < alpha < 1.0 or not budgets or min(budgets) < 1:
            raise SweepError(
                f"evidence: bound {self._bound.tolist()} must be positive, alpha {alpha} lie in (0, 1) "
                f"and budgets {list(budgets)} name 1 unit or more"
            )
        claims = self._bound.size
        self._alpha = alpha
        self._budgets = sorted(budgets)
        self._fixed: Floats = np.zeros((claims, _BETS.size))
        self._own: Floats = np.zeros(claims)
        self._sum: Floats = np.zeros(claims)
        self._squares: Floats = np.zeros(claims)
        self.n = 0
        self.best: Floats = np.ones(claims)
        self.path: list[float] = []

    @property
    def is_proved(self) -> bool:
        """Whether the first claim was ever proved."""
        return bool(self.best[0] >= 1.0 / self._alpha)

    @property
    def value(self) -> float:
        """The largest wealth of the first claim so far."""
        return float(self.best[0])

    def update(self, xs: ArrayLike) -> None:
        """Bet on the next units.

        Args:
            xs: one value a unit, or one row a unit with one value a claim. Never below -bound.

        Raises:
            SweepError: a value is below -bound or no number: the claim's scale is not what was declared.
        """
        x = np.asarray(xs, dtype=np.float64)
        x = np.broadcast_to(x[:, None] if x.ndim == 1 else x, (x.shape[0], self._bound.size))
        if x.shape[0] == 0:
            return
        if not bool((x >= -self._bound - 1e-9).all()):
            raise SweepError(
                f"evidence: a value of {float(np.nanmin(x))} is below the bound -{self._bound.max()}"
            )
        with np.errstate(divide="ignore", over="ignore"):  # a full bet may lose all: log 0; the others go on
            fixed = self._fixed + np.cumsum(np.log1p(_BETS * (x / self._bound)[:, :, None]), axis=0)
            wealth = 0.5 * np.exp(fixed).mean(axis=2) + 0.5 * np.exp(self._bet_by_budget(x))
        self._fixed = fixed[-1]
        self.n += x.shape[0]
        self.best = np.maximum(self.best, np.minimum(wealth, 1e300).max(axis=0))
        self.path.append(float(min(wealth[-1, 0], 1e300)))

    def _bet_by_budget(self, x: Floats) -> Floats:
        """Log wealth of the bet that knows its budget, after each of the units."""
        places = np.arange(self.n, self.n + x.shape[0])
        before = places[:, None].astype(np.float64)
        sums, squares = self._sum + np.cumsum(x, axis=0), self._squares + np.cumsum(x * x, axis=0)
        past, past_squares = np.vstack([self._sum, sums[:-1]]), np.vstack([self._squares, squares[:-1]])
        spread = np.maximum(past_squares - past * past / np.maximum(before, 1.0), 0.0)
        variance = (0.5 + spread) / (2.0 + before)
        budgets = np.asarray(self._budgets, dtype=np.float64)
        plan = budgets[np.minimum(np.searchsorted(budgets, places + 1), budgets.size - 1)]
        rest = np.maximum(plan - places, 1.0)[:, None]
        scale, cap, goal = 2.0 / (rest * variance), 0.9 / self._bound, math.log(2.0 / self._alpha)
        own, logs = self._own.copy(), np.empty_like(x)
        for place in range(x.shape[0]):
            bet = np.minimum(cap, np.sqrt(np.maximum(goal - own, 0.0) * scale[place]))
            own = own + np.log1p(bet * x[place])
            logs[place] = own
        self._own, self._sum, self._squares = own, sums[-1], squares[-1]
        return logs


def always_valid_interval(
    differences: ArrayLike,
    weights: ArrayLike,
    *,
    alpha: float,
    budgets: Sequence[int],
    margin: float,
    reach: float = 1.0,
) -> tuple[float, float]:
    """The differences that neither side's evidence rules out, each side at alpha, at every look.

    The limits are exact to 0.001. They never contradict the verdict: -margin lies inside unless one of
    the two claims about it (no worse than the margin, clearly worse) is proved.

    Args:
        differences: one mean difference a cluster, in calling order, each in [-reach, reach].
        weights: a cluster's size over the largest cluster's, in (0, 1].
        alpha: error of one side.
        budgets: as for `Evidence`, in clusters.
        margin: the loss that would be accepted, in (0, 1).
        reach: the largest difference possible; above 1 when labels stand for a share of the prompts.

    Returns:
        (low, high), inside [-1, 1].
    """
    d = np.asarray(differences, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    if d.size == 0:
        return -1.0, 1.0

    def limit(sign: float) -> float:
        """The lowest value that sign * difference may have."""

        def is_left(values: Floats) -> NDArray[np.bool_]:
            bound = np.maximum(reach + values, 1e-3)  # a wider bound is only more careful
            evidence = Evidence(bound, alpha=alpha, budgets=budgets)
            evidence.update(w[:, None] * (sign * d[:, None] - values[None, :]))
            return evidence.best < 1.0 / alpha

        return _lowest_left(is_left, -sign * margin)

    return limit(1.0), -limit(-1.0)


def mean_interval(
    values: ArrayLike, weights: ArrayLike, *, alpha: float, budgets: Sequence[int]
) -> tuple[float, float]:
    """The means that neither side's evidence rules out, each side at alpha / 2, for values in [0, 1].

    Args:
        values: one mean score a cluster, in calling order.
        weights: as for `always_valid_interval`.
        alpha: error of both sides together.
        budgets: as for `Evidence`, in clusters.
    """
    stretched = 2.0 * np.asarray(values, dtype=np.float64) - 1.0
    low, high = always_valid_interval(stretched, weights, alpha=alpha / 2.0, budgets=budgets, margin=0.0)
    return (low + 1.0) / 2.0, (high + 1.0) / 2.0


def _lowest_left(is_left: Callable[[Floats], NDArray[np.bool_]], margin: float) -> float:
    """Close in on the lowest thousandth in [-1, 1] that is left, and keep it on the margin's right side."""
    start, stop = -1000, 1000
    for step in (100, 10, 1):
        grid = np.arange(start, stop + 1, step)
        at = int(is_left(grid / 1000.0).argmax())
        start, stop = int(grid[max(at - 1, 0)]), int(grid[at])
    found = stop / 1000.0
    if bool(is_left(np.array([margin]))[0]):
        return min(found, margin)
    return max(found, math.floor(margin * 1000.0 + 1.0) / 1000.0)


def is_hopeless(xs: ArrayLike, *, alpha: float, budget: int) -> bool:
    """Whether the chance to prove E[x] > 0 within the budget is below 5 % even if luck was bad so far.

    A reason to spend no more on a candidate; it costs power, never validity. The mean is taken at the top
    of its 95 % interval, and the wealth at the end by a normal approximation.
    """
    x = np.asarray(xs, dtype=np.float64)
    n = x.size
    if n < FEW or n >= budget:
        return False
    mean, spread = float(x.mean()), float(x.std(ddof=1))
    if spread == 0.0:
        return mean <= 0.0
    top = mean + 1.96 * spread / math.sqrt(n)
    goal = spread * math.sqrt(2.0 * budget * math.log(1.0 / alpha))
    reached = (n * mean + (budget - n) * top - goal) / (spread * math.sqrt(budget - n))
    return float(special.ndtr(reached)) < 0.05


def units_needed(mean: float, variance: float, *, alpha: float, power: float = POWER) -> int | None:
    """Units, in total, that prove E[x] > 0 with a chance of `power` if mean and variance are the true ones.

    Returns:
        None when the mean is not positive, or when more than ten million would be needed.
    """
    if mean <= 0.0:
        return None
    reach = math.sqrt(2.0 * math.log(1.0 / alpha)) + float(special.ndtri(power))
    never_less = 1.25 * math.log(1.0 / alpha) / math.log1p(mean)  # without any spread, as `fewest_units` says
    total = max(reach**2 * variance / mean**2, never_less)
    return None if total > _MOST_UNITS else math.ceil(total)


def fewest_units(margin: float, *, alpha: float) -> int:
    """The smallest pool that can prove the margin at all: when candidate and reference never differ.

    No method needs fewer than ln(alpha) / ln(1 - margin) units; this evidence needs a fifth to a half more.

    Raises:
        SweepError: margin or alpha is outside (0, 1).
    """
    _refuse_shares(margin=margin, alpha=alpha)
    low = math.ceil(math.log(alpha) / math.log1p(-margin)) - 1
    high = 2 * low + 2
    while not _proves_equality(high, margin, alpha):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _proves_equality(middle, margin, alpha) else (middle, high)
    return high


def _proves_equality(units: int, margin: float, alpha: float) -> bool:
    evidence = Evidence(1.0 - margin, alpha=alpha, budgets=[units])
    evidence.update(np.full(units, margin))
    return evidence.is_proved


def _refuse_shares(**shares: float) -> None:
    for name, value in shares.items():
        if not 0.0 < value < 1.0:
            raise SweepError(f"evidence: {name} {value} must lie between 0 and 1; 0.05 is usual")
