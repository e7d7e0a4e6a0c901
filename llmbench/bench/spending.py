"""What the calls of a task's sweep cost, for its pool of prompts and for larger ones; or it is unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmbench.bench.cells import Cell
from llmbench.bench.forecast_calls import CallForecast
from llmbench.bench.ledger import LedgerState
from llmbench.bench.terms import Arm, Terms


@dataclass(frozen=True, slots=True)
class Price:
    """What calls of one model cost on a task, in US dollars.

    Attributes:
        model: its key.
        results: calls of the plan that the ledger holds.
        usd: a call's expected cost, on average over the task's prompts; None when a price is unknown.
        worst_usd: the most that a call can cost, on the same average; None when nobody knows.
        left_usd: the most that all calls without a result can cost together, each made once; or None.
    """

    model: str
    results: int
    usd: float | None
    worst_usd: float | None
    left_usd: float | None


@dataclass(frozen=True, slots=True)
class Spending:
    """The calls of a task's sweep, and their dollars.

    Attributes:
        terms: what is declared of its decision.
        repeats: calls of a model on a prompt.
        arms: the candidates, in the order in which they are tried.
        prices: model -> its price; every model that may be called.
        prompts_now: prompts of the present pool.
    """

    terms: Terms
    repeats: int
    arms: tuple[Arm, ...]
    prices: Mapping[str, Price]
    prompts_now: int

    def prompts(self, pool: int, needed: int | None) -> int | None:
        """Prompts of the first candidate's trial; None when it needs more than the pool has."""
        terms = self.terms
        if terms.stop == "grid":
            return pool
        if not self.arms:  # no candidate: only the reference's limits are left to ask
            has_limits = terms.floor is not None or terms.slo is not None
            return pool if has_limits else min(terms.pilot, pool)
        if needed is None or needed > pool:
            return None
        batches = max(math.ceil((needed - terms.pilot) / terms.batch), 0)
        return min(terms.pilot + batches * terms.batch, pool)

    def calls(self, pool: int, needed: int | None) -> dict[str, int]:
        """Model -> calls expected: all of them when the first candidate's trial will hardly decide."""
        prompts = self.prompts(pool, needed)
        if prompts is None or self.terms.stop == "grid":
            return dict.fromkeys(self.prices, pool * self.repeats)
        asked = {arm[0]: min(self.terms.pilot, pool) for arm in self.arms}
        asked |= {arm[0]: prompts for arm in (self.terms.reference, *self.arms[:1])}
        return {model: n * self.repeats for model, n in asked.items()}

    def fewest(self, pool: int) -> dict[str, int]:
        """Model -> prompts that it is called on whatever comes out: the pilot's, or all of a grid's."""
        if self.terms.stop == "grid":
            return dict.fromkeys(self.prices, pool)
        first = {arm[0] for arm in (self.terms.reference, *self.arms)}  # the rest of a chain is for failures
        return {model: min(self.terms.pilot, pool) if model in first else 0 for model in self.prices}

    def left(self, calls: Mapping[str, int]) -> list[tuple[Price, int]]:
        """The prices of the models with calls that the ledger does not hold, and how many."""
        rest = [(self.prices[model], n - self.prices[model].results) for model, n in calls.items()]
        return [(price, n) for price, n in rest if n > 0]

    def most_usd(self, pool: int) -> float | None:
        """The most that the full grid can still cost."""
        more = max(pool - self.prompts_now, 0) * self.repeats
        known = [price.left_usd for price in self.prices.values()]
        known += [
            more * price.worst_usd if price.worst_usd is not None else None for price in self.prices.values()
        ]
        return total(known if more else known[: len(self.prices)])


def price_of(
    model: str, cells: Sequence[Cell], state: LedgerState, calls: Mapping[str, CallForecast]
) -> Price:
    """What a model's calls on a task cost.

    Args:
        model: its key.
        cells: the task's cells.
        state: what the ledger holds of them.
        calls: what each of them takes, by fingerprint.
    """
    own = [cell.fingerprint for cell in cells if cell.model == model]
    usual = total([None if (usd := calls[key].usd) is None else usd.expected for key in own])
    most = {key: None if (usd := calls[key].usd) is None or math.isinf(usd.high) else usd.high for key in own}
    whole = total(list(most.values()))
    return Price(
        model=model,
        results=sum(key in state.results for key in own),
        usd=None if usual is None or math.isinf(usual) else usual / len(own),
        worst_usd=None if whole is None else whole / len(own),
        left_usd=total([usd for key, usd in most.items() if key not in state.results]),
    )


def as_number(value: object) -> float:
    """A figure of a ledger line; NaN when it is none."""
    is_known = isinstance(value, int | float) and math.isfinite(value) and value >= 0
    return float(value) if is_known and isinstance(value, int | float) else math.nan


def total(values: Sequence[float | None]) -> float | None:
    """The sum; None when one of them is unknown."""
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None
