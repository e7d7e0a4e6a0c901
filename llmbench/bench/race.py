"""The cheapest-first race of one task: which calls are needed next, and what they decide.

The race is a generator. It yields the calls that it needs as (model, prompts); whoever drives it makes
them, puts the results into `race.measured` and goes on. So the same code decides a live sweep, a function
that calls models, and a finished table: on the same rows in the same order it comes to the same end.

1. Every candidate gets the pilot's prompts; their measured cost gives the order.
2. The cheapest is called, batch by batch, on the reference's prompts until its trial ends.
3. The first that is promoted takes over, and the dearer ones are never called. Otherwise the next is tried.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import numpy as np

from llmbench.bench.measured import Measured
from llmbench.bench.terms import Arm, Terms, arm_name
from llmbench.bench.trial import Claim, Trial, make_claim
from llmbench.bench.units import Unit
from llmbench.errors import SweepError

Want = tuple[str, list[str]]
"""A model, and the prompts that it is to be called on."""


class Race:
    """The race of one task.

    Attributes:
        terms: what was declared.
        units: clusters of prompts in calling order.
        budgets: units planned; earlier, smaller plans of the same prompts stand first. The last one is above
            the number of units when a table holds only what a sweep called.
        measured: the calls made so far.
        trials: a trial a candidate, in the order of the terms.
        order: the candidates by measured cost, known after the pilot.
        winner: the promoted trial, or None.
    """

    def __init__(self, terms: Terms, units: Sequence[Unit], budgets: Sequence[int] = ()) -> None:
        self.terms, self.units = terms, list(units)
        self.budgets = _all_budgets(budgets, len(self.units))
        self.measured = Measured()
        self.trials = {arm: Trial(arm, terms, self.budgets) for arm in terms.candidates}
        self.order: list[Arm] = []
        self.winner: Trial | None = None
        self._batches = _in_batches(self.units, terms.pilot, terms.batch)
        self._watched = 0
        self._limits = _reference_limits(terms, self.budgets)

    @property
    def limits_missed(self) -> list[str]:
        """The names of the limits that the reference is proved to miss: floor, slo."""
        return [name for name, claim in self._limits.items() if claim.against.is_proved]

    @property
    def pending_share(self) -> float:
        """The share of the calls asked for that have no result."""
        return len(self.measured.pending) / max(len(self.measured.asked), 1)

    def run(self) -> Generator[list[Want], None, None]:
        """Yield the calls needed next until everything that can be decided is decided."""
        yield from self._fill([self.terms.reference, *self.terms.candidates], 0)
        self.order = sorted(self.terms.candidates, key=lambda arm: (self._pilot_cost(arm), arm_name(arm)))
        is_grid = self.terms.stop == "grid"
        for arm in self.order:
            yield from self._try_all(self.trials[arm]) if is_grid else self._try(self.trials[arm])
            if self.trials[arm].state == "promote" and self.winner is None:
                self.winner = self.trials[arm]
            if self.winner is not None and not is_grid:
                return
        if not self.terms.candidates:
            yield from self._follow_reference()

    def _try(self, trial: Trial) -> Generator[list[Want], None, None]:
        """One candidate's trial: to its end, or to the end of the prompts."""
        for at in range(len(self._batches)):
            yield from self._extend(trial, at)
            trial.judge(is_last=at == len(self._batches) - 1)
            if trial.is_over:
                return

    def _try_all(self, trial: Trial) -> Generator[list[Want], None, None]:
        """One candidate on every prompt; what is proved on the way stays proved, nothing is given up."""
        for at in range(len(self._batches)):
            yield from self._extend(trial, at)
            if not trial.is_over:
                trial.promote_if_proved()
        if not trial.is_over:
            trial.judge(is_last=True)

    def _extend(self, trial: Trial, at: int) -> Generator[list[Want], None, None]:
        yield from self._fill([self.terms.reference, trial.arm], at)
        trial.update(self._batches[at], self.measured)

    def _follow_reference(self) -> Generator[list[Want], None, None]:
        """Without a candidate, only whether the reference keeps its limits is left to ask."""
        for at in range(len(self._batches)):
            if self.terms.stop == "decided" and (not self._limits or self.limits_missed):
                return
            yield from self._fill([self.terms.reference], at)

    def _fill(self, arms: Sequence[Arm], at: int) -> Generator[list[Want], None, None]:
        """Ask for what a batch lacks; a chain's next model only where the one before it failed."""
        batch = self._batches[at]
        while wants := self._wants(arms, batch):
            yield list(wants.items())
            for model, prompts in wants.items():
                for prompt in prompts:
                    if (model, prompt) not in self.measured.asked:
                        raise SweepError(
                            f"decide: {model} was asked for prompt {prompt}: no answer came back"
                        )
        if at == self._watched:
            self._watched += 1
            self._watch_reference(batch)

    def _wants(self, arms: Sequence[Arm], batch: Sequence[Unit]) -> dict[str, list[str]]:
        wants: dict[str, dict[str, None]] = {}
        for unit in batch:
            for prompt in unit.prompts:
                for arm in arms:
                    model = self.measured.wanted(arm, prompt)
                    if model is not None:
                        wants.setdefault(model, {})[prompt] = None
        return {model: list(prompts) for model, prompts in wants.items()}

    def _pilot_cost(self, arm: Arm) -> float:
        """Mean cost on the pilot; an unknown cost comes last."""
        prompts = [prompt for unit in self._batches[0] for prompt in unit.prompts]
        seen = [self.measured.seen(arm, prompt) for prompt in prompts]
        costs = [each.cost_usd for each in seen if each is not None and not math.isnan(each.cost_usd)]
        return float(np.mean(costs)) if costs else math.inf

    def _watch_reference(self, batch: Sequence[Unit]) -> None:
        """Let the reference's own calls speak about its limits."""
        for unit in batch:
            found = [self.measured.seen(self.terms.reference, prompt) for prompt in unit.prompts]
            seen = [each for each in found if each is not None]
            if not seen:
                continue
            weight = unit.weight(len(seen))
            if self.terms.floor is not None:
                score = float(np.mean([each.score for each in seen]))
                self._limits["floor"].update([weight * (score - self.terms.floor)])
            if self.terms.slo is not None:
                within = float(np.mean([each.within(self.terms.slo[0]) for each in seen]))
                self._limits["slo"].update([weight * (within - self.terms.slo[1])])


def _reference_limits(terms: Terms, budgets: Sequence[int]) -> dict[str, Claim]:
    """The claims that the reference misses its floor or its latency limit, each at the task's own error."""
    share = {"alpha": terms.task_alpha, "against": terms.task_alpha}
    limits = {}
    if terms.floor is not None:
        limits["floor"] = make_claim(terms.floor, 1.0 - terms.floor, "worse", budgets=budgets, **share)
    if terms.slo is not None:
        q = terms.slo[1]
        limits["slo"] = make_claim(q, 1.0 - q, "slow", budgets=budgets, **share)
    return limits


def _all_budgets(declared: Sequence[int], units: int) -> tuple[int, ...]:
    """What was declared, and all units when no plan has more."""
    return tuple(sorted({*declared, *([] if any(n > units for n in declared) else [units])}))


def _in_batches(units: Sequence[Unit], pilot: int, batch: int) -> list[list[Unit]]:
    """Whole units: the pilot's prompts, then batch by batch."""
    batches: list[list[Unit]] = [[]]
    wanted = pilot
    for unit in units:
        if sum(len(each.prompts) for each in batches[-1]) >= wanted:
            batches.append([])
            wanted = batch
        batches[-1].append(unit)
    return batches
