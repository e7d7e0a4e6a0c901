"""How large a pool of prompts must be to prove a margin, and which margin a pool can prove: numbers only.

A candidate is proved good enough on clusters of prompts (see `evidence`), so that the size of a pool bounds
what it can ever prove. Here stands that bound, and beside it what is needed with a chance of about 80 % when
candidate and reference differ as assumed: a *discordance* of 0.2 means that two prompts in ten are scored 1
for one of the two and 0 for the other, equally often either way; the variance of the difference is then 0.2.
Only a candidate that beats the reference can be proved with fewer prompts than one that never differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from llmbench.bench.evidence import Evidence, fewest_units, units_needed


@dataclass(frozen=True, slots=True)
class Assumption:
    """How a candidate is taken to differ from the reference.

    Attributes:
        key: the assumption in one word.
        name: the assumption in words.
        mean: of the paired difference of a cluster, in [-1, 1].
        variance: of the same. For clusters of several prompts a discordance is the most that it can be.
        seen: clusters that it was measured on; 0 when it is only assumed.
    """

    key: str
    name: str
    mean: float = 0.0
    variance: float = 0.0
    seen: int = 0

    @property
    def is_best_case(self) -> bool:
        """Whether the two are assumed never to differ."""
        return self.mean == 0.0 and self.variance == 0.0 and not self.seen


NEVER_DIFFER: Final = Assumption("best", "they never differ")
EQUAL: Final = tuple(
    Assumption(f"differ_{100 * v:.0f}", f"as good, differing on {100 * v:.0f} %", 0.0, v)
    for v in (0.1, 0.2, 0.3)
)
"""Equally good models that differ on one to three prompts in ten."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Prompts to compare on.

    Attributes:
        prompts: their number.
        weights: of the clusters, their size over the largest one's, in calling order.
    """

    prompts: int
    weights: tuple[float, ...]

    @classmethod
    def of_units(cls, units: int) -> Pool:
        """So many clusters of one prompt."""
        return cls(units, (1.0,) * units)

    def grown(self, factor: float) -> Pool:
        """A pool of another size with clusters like these; at least one cluster."""
        units = max(1, math.ceil(factor * len(self.weights) - 1e-9))
        return Pool(self.prompts_for(units), _repeated(self.weights, units))

    def prompts_for(self, units: int) -> int:
        """Prompts in so many clusters like these, rounded up."""
        return math.ceil(units * self.prompts / len(self.weights) - 1e-9)


def units_for(pool: Pool, assumption: Assumption, margin: float, *, alpha: float) -> int | None:
    """Clusters like the pool's that prove a margin: at least in the best case, else with about 80 % chance.

    Args:
        pool: whose clusters they are; its own size does not matter.
        assumption: how candidate and reference differ.
        margin: the loss accepted, in (0, 1).
        alpha: the error of this one claim, alpha over the number of candidates.

    Returns:
        None when no number would do.
    """
    if assumption.is_best_case:
        return _fewest(pool.weights, margin, alpha)
    mean, variance = _bet(pool.weights, assumption, margin)
    return units_needed(mean, variance, alpha=alpha)


def provable_margin(pool: Pool, assumption: Assumption, *, alpha: float) -> float | None:
    """The smallest margin, to 0.001, that a pool proves: at best, or with a chance of about 80 %.

    Returns:
        None when not even 0.999 can be proved.
    """
    if assumption.is_best_case:
        return _best_margin(pool.weights, alpha)

    def is_enough(margin: float) -> bool:
        needed = units_needed(*_bet(pool.weights, assumption, margin), alpha=alpha)
        return needed is not None and needed <= len(pool.weights)

    return _smallest(is_enough)


@lru_cache(maxsize=256)
def _best_margin(weights: tuple[float, ...], alpha: float) -> float | None:
    return _smallest(lambda margin: _is_proved_by_equals(weights, margin, alpha))


def _smallest(is_enough: Callable[[float], bool]) -> float | None:
    """The smallest margin in thousandths below 1 that is enough, or None."""
    low, high = 0, 1000  # low is not enough, high is or stands for nothing
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle / 1000.0) else (middle, high)
    return high / 1000.0 if high < 1000 else None


def _bet(weights: Sequence[float], assumption: Assumption, margin: float) -> tuple[float, float]:
    """Mean and variance of x = weight * (difference + margin), the two taken as independent."""
    w = np.asarray(weights)
    gain = assumption.mean + margin
    mean = float(w.mean()) * gain
    return mean, float((w * w).mean()) * (assumption.variance + gain * gain) - mean * mean


def _fewest(weights: Sequence[float], margin: float, alpha: float) -> int:
    """The fewest clusters that prove a margin when the models never differ."""
    low, high = fewest_units(margin, alpha=alpha) - 1, fewest_units(margin, alpha=alpha)
    while not _is_proved_by_equals(_repeated(weights, high), margin, alpha):  # small clusters count for less
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        is_enough = _is_proved_by_equals(_repeated(weights, middle), margin, alpha)
        low, high = (low, middle) if is_enough else (middle, high)
    return high


def _is_proved_by_equals(weights: Sequence[float], margin: float, alpha: float) -> bool:
    evidence = Evidence(1.0 - margin, alpha=alpha, budgets=[len(weights)])
    evidence.update(np.asarray(weights) * margin)
    return evidence.is_proved


def _repeated(weights: Sequence[float], units: int) -> tuple[float, ...]:
    return tuple(weights[at % len(weights)] for at in range(units))
