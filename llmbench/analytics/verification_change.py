"""When a task's calls went over to another model, as its telemetry shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

APPLIED_SHARE: Final = 0.9
"""The share of a task's calls that begin with a model from the change on."""
FEWEST: Final = 10
"""Fewer calls are no change: a person tried something out."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Calls in the order of their times, from `first` to `last`, both included."""

    first: int
    last: int


def find_change(begins: NDArray[np.bool_]) -> int | None:
    """The call from which on a task is served by a model to the end, or None.

    Of the calls after which at least 90 % of all further calls begin with the model, it is the one that parts
    the calls best: the sum from there on (1/2 for a call that begins with the model, -1/2 for another) is the
    largest. The first such call alone would often lie too early: a single try-out weeks before is followed by
    90 % as well, once enough calls came after the change.

    Args:
        begins: one flag a call, in the order of time: whether its chain begins with the model.
    """
    n = begins.size
    if n < FEWEST:
        return None
    before = _running(begins)[:-1]
    share = np.cumsum(begins[::-1])[::-1] / np.arange(n, 0, -1)
    is_able = begins & (share >= APPLIED_SHARE)
    is_able[n - FEWEST + 1 :] = False
    if not is_able.any():
        return None
    return int(np.argmin(np.where(is_able, before, np.inf)))


def find_stretch(begins: NDArray[np.bool_]) -> Stretch | None:
    """The stay with a model that ended again: the stretch of calls with the largest such sum, or None."""
    if begins.size < FEWEST:
        return None
    total = _running(begins)
    lowest = np.minimum.accumulate(total[:-1])
    last = int(np.argmax(total[1:] - lowest))
    first = int(np.argmin(total[: last + 1]))
    stay = begins[first : last + 1]
    if stay.size < FEWEST or float(stay.mean()) < APPLIED_SHARE:
        return None
    return Stretch(first, last)


def _running(begins: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The sum before each call, and after the last."""
    return np.concatenate(([0.0], np.cumsum(begins - 0.5)))
