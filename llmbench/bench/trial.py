"""One candidate against the reference, unit by unit: its claims, its cost, and the state that follows.

A unit is a cluster of prompts. Every claim about it is one evidence (see `evidence`) on another x:

    no worse     d + margin            slo         1{answered in time} - share
    superior     d - upgrade           floor       score - floor          failures    cap - 1{failed}

with d the paired difference of scores, or a judge's preference, or that preference corrected by people's
labels on a random share of the prompts (A. Angelopoulos et al., "Prediction-powered inference", 2023).
Clusters of unequal size weigh by their size over the largest one's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from llmbench.bench.evidence import Evidence, is_hopeless
from llmbench.bench.intervals import Interval, cost_ratio
from llmbench.bench.measured import Measured, Seen
from llmbench.bench.terms import Arm, Terms
from llmbench.bench.units import Unit

Floats = NDArray[np.float64]
State = Literal["promote", "worse", "slow", "costly", "unlikely", "open"]
PENDING_SHARE: Final = 0.02
"""With a larger share of calls without a result there is no promotion, and no verdict."""
GIVE_UP: Final = 0.10
"""Evidence of 1 / 0.10 against a candidate ends its trial: a saving of calls, no claim of the report."""


@dataclass(slots=True)
class Claim:
    """E[x] > 0 for x in [-low, high], and the claim against it."""

    goal: Evidence
    against: Evidence
    given_up_as: State
    xs: list[float] = field(default_factory=list)

    @property
    def is_refuted(self) -> bool:
        """Whether enough speaks against it, now and by the evidence, to end the trial."""
        return self.against.value >= 1.0 / GIVE_UP and sum(self.xs) <= 0.0

    def update(self, xs: Sequence[float]) -> None:
        """Bet both ways on the next units."""
        self.goal.update(xs)
        self.against.update(-np.asarray(xs, dtype=np.float64))
        self.xs.extend(xs)


def make_claim(
    low: float,
    high: float,
    state: State,
    *,
    alpha: float,
    against: float = GIVE_UP,
    budgets: Sequence[int],
) -> Claim:
    """Declare a claim about x in [-low, high], each way with its own error."""
    return Claim(
        Evidence(low, alpha=alpha, budgets=budgets), Evidence(high, alpha=against, budgets=budgets), state
    )


class Trial:
    """A candidate's trial. `state` is `open` until `judge` ends it.

    Attributes:
        arm: the candidate.
        state: what was decided so far.
        is_over: whether the trial has ended; a state of `open` may be final.
        is_superior: whether it is proved better by `terms.upgrade`, within all limits and the cost cap.
        is_judged: whether a judge's preferences are compared instead of scores.
        differences: paired difference of every unit, in calling order.
        weights: of the same units.
        prompts: prompts behind them.
        pending: prompts that could not be compared.
        path: (prompts, evidence of no worse) after each batch.
        cost: the candidate's cost over the reference's, or None when one is unknown.
    """

    def __init__(self, arm: Arm, terms: Terms, budgets: Sequence[int]) -> None:
        self.arm, self.terms, self.budgets = arm, terms, tuple(budgets)
        self.state: State = "open"
        self.is_over = False
        self.is_superior = False
        self.is_judged = False
        self.differences: list[float] = []
        self.weights: list[float] = []
        self.prompts = 0
        self.pending = 0
        self.path: list[tuple[int, float]] = [(0, 1.0)]
        self.cost: Interval | None = None
        self._costs: list[list[tuple[float, float]]] = []
        self._spent = [0.0, 0.0]
        self._is_cost_known = True
        self._looked = 0
        self._claims = _claims(terms, budgets)
        self._superior = (
            None
            if terms.upgrade is None
            else Evidence(terms.reach + terms.upgrade, alpha=terms.side, budgets=budgets)
        )

    @property
    def evidence(self) -> float:
        """The largest wealth of the bet against `worse by the margin or more`."""
        return self._claims["quality"].goal.value

    @property
    def evidence_of(self) -> dict[str, float]:
        """The same for every claim: what was proved, and what was not."""
        return {name: claim.goal.value for name, claim in self._claims.items()}

    @property
    def delta(self) -> float:
        """The mean difference over prompts."""
        return float(np.average(self.differences, weights=self.weights)) if self.differences else math.nan

    @property
    def xs(self) -> Floats:
        """The values that the main evidence bets on."""
        return np.asarray(self._claims["quality"].xs, dtype=np.float64)

    def update(self, units: Sequence[Unit], measured: Measured) -> None:
        """Take in the next units, of which every call that could be had has been made."""
        rows: dict[str, list[float]] = {name: [] for name in (*self._claims, "superior")}
        self.is_judged |= not measured.judged.isdisjoint(self.arm)
        for unit in units:
            pairs = self._pairs(unit, measured)
            if pairs:
                self._take(pairs, unit.weight(len(pairs)), rows)
        for name, claim in self._claims.items():
            claim.update(rows[name])
        if self._superior is not None:
            self._superior.update(rows["superior"])
            limits = all(claim.goal.is_proved for claim in self._claims.values())
            self.is_superior = self._superior.is_proved and limits and not self._is_over_cap()
        if rows["quality"]:
            self.path.append((self.prompts, self._claims["quality"].goal.path[-1]))

    def _pairs(self, unit: Unit, measured: Measured) -> list[tuple[Seen, Seen]]:
        """The prompts that both have results on. Where a judge compares, a missing verdict is no score."""
        pairs = []
        for prompt in unit.prompts:
            mine, other = measured.seen(self.arm, prompt), measured.seen(self.terms.reference, prompt)
            if mine is None or other is None:
                continue  # counted as pending below
            if self.is_judged and max(mine.failed, other.failed) == 1.0:
                mine = replace(mine, preference=other.failed - mine.failed)  # a lost answer needs no judge
            if self.is_judged and math.isnan(mine.preference):
                measured.pending.add((self.arm[0], prompt))
            else:
                pairs.append((mine, other))
        self.pending += len(unit.prompts) - len(pairs)
        return pairs

    def _take(self, pairs: list[tuple[Seen, Seen]], weight: float, rows: dict[str, list[float]]) -> None:
        terms, n = self.terms, len(pairs)
        difference = sum(_difference(mine, other, terms) for mine, other in pairs) / n
        self.differences.append(difference)
        self.weights.append(weight)
        self.prompts += n
        rows["quality"].append(weight * (difference + terms.margin))
        rows["superior"].append(weight * (difference - (terms.upgrade or 0.0)))
        if terms.slo is not None:
            within = sum(mine.within(terms.slo[0]) for mine, _ in pairs) / n
            rows["slo"].append(weight * (within - terms.slo[1]))
        if terms.floor is not None:
            rows["floor"].append(weight * (sum(mine.score for mine, _ in pairs) / n - terms.floor))
        if terms.max_failure is not None:
            failed = sum(mine.failed for mine, _ in pairs) / n
            rows["failures"].append(weight * (terms.max_failure - failed))
        self._is_cost_known &= not any(
            math.isnan(s.cost_usd) and s.failed == 0.0 for pair in pairs for s in pair
        )
        costs = [(mine.cost_usd, other.cost_usd) for mine, other in pairs]
        self._costs.append(costs)
        for mine_usd, other_usd in costs:
            self._spent[0] += 0.0 if math.isnan(mine_usd) else mine_usd
            self._spent[1] += 0.0 if math.isnan(other_usd) else other_usd

    @property
    def is_whole(self) -> bool:
        """Whether few enough of its prompts lack a result for a promotion."""
        return self.pending <= PENDING_SHARE * (self.prompts + self.pending)

    def promote_if_proved(self, *, is_last: bool = False) -> bool:
        """Promote the candidate if every claim and its lower cost are proved now."""
        is_proved = all(claim.goal.is_proved for claim in self._claims.values())
        self._look_at_cost(is_proved=is_proved, is_last=is_last)
        if is_proved and self.is_whole and self._is_cheaper():
            self._end("promote")
        return self.is_over

    def judge(self, *, is_last: bool) -> None:
        """Decide what can be decided now. `is_last`: no unit is left."""
        if self.promote_if_proved(is_last=is_last):
            return
        claims = list(self._claims.values())
        state: State | None = None
        if self._is_dear() and (self._superior is None or self.is_superior or self._cannot_be_superior()):
            state = "costly"
        elif refuted := [claim for claim in claims if claim.is_refuted]:
            state = refuted[0].given_up_as
        elif lost := [c for c in claims if is_hopeless(c.xs, alpha=self.terms.side, budget=self.budgets[-1])]:
            state = "slow" if lost[0].given_up_as == "slow" else "unlikely"
        elif is_last:
            state = self._last_state(claims)
        if state is not None:
            self._end(state)

    def _last_state(self, claims: Sequence[Claim]) -> State:
        if all(claim.goal.is_proved for claim in claims):
            return "costly" if self.is_whole else "open"
        lost = any(not claim.goal.is_proved and sum(claim.xs) <= 0.0 for claim in claims)
        return "unlikely" if lost else "open"

    def _end(self, state: State) -> None:
        self.state, self.is_over = state, True
        if self._looked != self.prompts and self._is_cost_known:  # what is shown is of all that was seen
            self._looked, self.cost = self.prompts, _ratio(self._costs)

    def _look_at_cost(self, *, is_proved: bool, is_last: bool) -> None:
        """Bound the ratio of costs, more rarely than the evidence is read: the bootstrap is slow."""
        n = self.prompts
        may_be_dear = n >= 2 * self._looked and self._sum_ratio() >= 1.0 - self.terms.min_saving
        is_due = self._looked == 0 or is_last or may_be_dear or is_proved
        if n in (0, self._looked) or not is_due:
            return
        self._looked = n
        self.cost = _ratio(self._costs) if self._is_cost_known else None

    def _sum_ratio(self) -> float:
        """The candidate's known cost so far over the reference's: whether to look closer."""
        mine, other = self._spent
        return mine / other if other > 0.0 else math.inf

    def _is_cheaper(self) -> bool:
        cost = self.cost
        if cost is None or self._is_over_cap():
            return False
        return cost.high < 1.0 and cost.estimate < 1.0 - self.terms.min_saving

    def _is_dear(self) -> bool:
        """Whether it is clear, or cannot be known, that the candidate saves too little."""
        if self.prompts == 0:
            return False
        return self.cost is None or self._is_over_cap() or self.cost.low >= 1.0 - self.terms.min_saving

    def _is_over_cap(self) -> bool:
        """Whether its calls cost more than allowed; the pilot's mean decides, as it decides the order."""
        most = self.terms.max_cost_usd
        if most is None or self.prompts == 0:
            return False
        return self._spent[0] / self.prompts > most

    def _cannot_be_superior(self) -> bool:
        gain = np.asarray(self.differences) - (self.terms.upgrade or 0.0)
        xs = np.asarray(self.weights) * gain
        is_out = is_hopeless(xs, alpha=self.terms.side, budget=self.budgets[-1]) or self._is_over_cap()
        return is_out or self.budgets[-1] <= xs.size


def _claims(terms: Terms, budgets: Sequence[int]) -> dict[str, Claim]:
    """The claims that must all be proved before a promotion."""
    reach, bounds = terms.reach, dict[str, tuple[float, float, State]]()
    bounds["quality"] = (reach - terms.margin, reach + terms.margin, "worse")
    if terms.slo is not None:
        bounds["slo"] = (terms.slo[1], 1.0 - terms.slo[1], "slow")
    if terms.floor is not None:
        bounds["floor"] = (terms.floor, 1.0 - terms.floor, "worse")
    if terms.max_failure is not None:
        bounds["failures"] = (1.0 - terms.max_failure, terms.max_failure, "worse")
    return {name: make_claim(*bound, alpha=terms.side, budgets=budgets) for name, bound in bounds.items()}


def _difference(mine: Seen, other: Seen, terms: Terms) -> float:
    """The paired difference of one prompt: of scores, or as a judge and people saw it."""
    if math.isnan(mine.preference):
        return mine.score - other.score
    if terms.human_share is None or math.isnan(mine.human):
        return mine.preference
    return mine.preference + (mine.human - mine.preference) / terms.human_share


def _ratio(costs: Sequence[Sequence[tuple[float, float]]]) -> Interval | None:
    """The ratio of costs over units; a failed call without a known cost counts as the arm's mean."""
    table = np.asarray([pair for unit in costs for pair in unit], dtype=np.float64)
    if bool(np.isnan(table).all(axis=0).any()):
        return None
    table = np.where(np.isnan(table), np.nanmean(table, axis=0), table)
    starts = np.cumsum([0, *(len(unit) for unit in costs[:-1])])
    sums = np.add.reduceat(table, starts, axis=0)
    return cost_ratio(sums[:, 0], sums[:, 1])
