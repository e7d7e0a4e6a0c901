"""A task's decision as a value: the outcome, the choice, and why, for each candidate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmbench.bench.decision_facts import decision_facts, said_decision
from llmbench.bench.decision_page import decision_html
from llmbench.bench.evidence import always_valid_interval, fewest_units, mean_interval, units_needed
from llmbench.bench.intervals import quantile_interval
from llmbench.bench.measured import Seen
from llmbench.bench.race import Race
from llmbench.bench.terms import Arm, Terms, arm_name
from llmbench.bench.trial import PENDING_SHARE, State, Trial
from llmbench.bench.units import Unit
from llmbench.display import decision_text

Floats = NDArray[np.float64]
Outcome = Literal["promote", "demote", "keep", "inconclusive"]
Limits = tuple[float, float | None]
QUANTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Arms:
    """What one model or chain did on the prompts that it was called on.

    Attributes:
        name: the model, or `a > b` for a chain.
        arm: its models.
        n: prompts with a result; for a candidate, those that it was compared on.
        units: clusters of them.
        failures: repeats that ended as error or timeout.
        failure_rate: their share of the repeats, or None.
        cost_usd_per_1000: US dollars per thousand calls, or None when a cost is unknown.
        within_slo: share of repeats answered in time, or None without a limit.
        latency_ms: quantile (0.5, 0.95, 0.99) -> (estimate, low, high); high is None without an upper limit.
        scores: mean score of each cluster, in calling order; failures 0.
        weights: of the clusters, in (0, 1].
    """

    name: str
    arm: Arm
    n: int
    units: int
    failures: int
    failure_rate: float | None
    cost_usd_per_1000: float | None
    within_slo: float | None
    latency_ms: Mapping[float, tuple[float, float, float | None]]
    scores: tuple[float, ...] = field(repr=False)
    weights: tuple[float, ...] = field(repr=False)
    budgets: tuple[int, ...] = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        """The same fields by name, as in the JSON form."""
        try:
            return getattr(self, name)
        except AttributeError as error:
            raise KeyError(name) from error

    @property
    def quality(self) -> float | None:
        """Mean score over prompts, failures 0; None when nothing was measured."""
        return float(np.average(self.scores, weights=self.weights)) if self.scores else None

    @cached_property
    def quality_interval(self) -> tuple[float, float] | None:
        """95 % interval of it, valid at every look."""
        if not self.scores:
            return None
        return mean_interval(self.scores, self.weights, alpha=0.05, budgets=self.budgets)

    @property
    def p50_ms(self) -> float | None:
        """Median latency of answered and timed-out calls, milliseconds."""
        return self.latency_ms[0.5][0] if self.latency_ms else None

    @property
    def p95_ms(self) -> float | None:
        """95th percentile of it; a lower bound where it falls on a timed-out call."""
        return self.latency_ms[0.95][0] if self.latency_ms else None

    @property
    def p99_ms(self) -> float | None:
        """99th percentile of it."""
        return self.latency_ms[0.99][0] if self.latency_ms else None

    @property
    def p95_interval_ms(self) -> Limits | None:
        """95 % interval of p95; without an upper limit below 72 calls, or where time limits hide it."""
        return self.latency_ms[0.95][1:] if self.latency_ms else None


@dataclass(frozen=True)
class Finding(Arms):
    """A candidate's row of a decision. Scores and differences are on 0..1.

    Attributes:
        state: what was decided about it.
        delta: mean paired difference to the reference over prompts, or None when nothing was compared.
        evidence: how much the bet against `worse by the margin or more` grew at best.
        threshold: how much it had to grow.
        needs_more: prompts more that would prove it, with a chance of about 80 %, if what was seen is the
            truth; None when it is decided or when no number would.
        cost_ratio: its cost over the reference's on the same prompts, or None when one is unknown.
        cost_ratio_interval: 95 % interval of it, or None when the data bound nothing.
        is_over: whether its trial ended; otherwise it was not needed, and a dearer one may be better still.
        is_superior: whether it is proved better by the upgrade asked for.
        claims: claim -> evidence of it.
        path: (prompts, evidence at that time) after each batch.
        differences: paired difference of every cluster, in calling order.
    """

    state: State = "open"
    delta: float | None = None
    evidence: float = 1.0
    threshold: float = math.inf
    needs_more: int | None = None
    cost_ratio: float | None = None
    cost_ratio_interval: tuple[float, float] | None = None
    is_over: bool = False
    is_superior: bool = False
    claims: Mapping[str, float] = field(default_factory=dict)
    path: tuple[tuple[int, float], ...] = field(default=(), repr=False)
    differences: tuple[float, ...] = field(default=(), repr=False)
    pair_weights: tuple[float, ...] = field(default=(), repr=False)
    terms: Terms | None = field(default=None, repr=False)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The always-valid interval of delta, each side at the candidate's share of alpha."""
        if self.terms is None:
            return -1.0, 1.0
        return always_valid_interval(
            self.differences,
            self.pair_weights,
            alpha=self.terms.side,
            budgets=self.budgets,
            margin=self.terms.margin,
            reach=self.terms.reach,
        )


@dataclass(frozen=True)
class Decision:
    """What a race came to.

    Attributes:
        outcome: promote (a cheaper candidate takes over), demote (the reference misses its limits, or a
            dearer candidate is better by the upgrade), keep, or inconclusive.
        choice: the model to use, or a chain as a tuple; the reference unless another is proved.
        why: candidate (a name, or a tuple for a chain) -> its row, cheapest first.
        reference: what the reference did.
        terms: what was declared.
        budgets: clusters planned, each plan before the next; give them to a decision on more prompts.
        calls: model -> prompts it was called on.
        grid_calls: prompts times models of the full grid.
        pool: prompts that could be called.
        units: clusters of them.
        pending_share: share of the calls without a result.
        is_judged: whether a judge's preferences were compared instead of scores.
        is_calibrated: whether people's labels on a share drawn beforehand corrected them.
        limits_missed: limits that the reference is proved to miss.
        notes: what a reader must know.
    """

    outcome: Outcome
    choice: str | tuple[str, ...]
    why: Mapping[str | tuple[str, ...], Finding]
    reference: Arms
    terms: Terms
    budgets: tuple[int, ...]
    calls: Mapping[str, int]
    grid_calls: int
    pool: int
    units: int
    pending_share: float
    is_judged: bool = False
    is_calibrated: bool = False
    limits_missed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def noted(self, notes: Sequence[str]) -> Decision:
        """The same decision with more that a reader must know."""
        return replace(self, notes=(*self.notes, *notes))

    @property
    def chosen(self) -> Finding | None:
        """The row of the choice, or None when it is the reference."""
        return self.why.get(self.choice)

    @property
    def saved(self) -> float:
        """The share of the full grid's calls that were not made."""
        return 1.0 - sum(self.calls.values()) / self.grid_calls

    def __str__(self) -> str:
        return decision_text.paragraph(said_decision(self))

    def _repr_html_(self) -> str:
        return decision_html(self)

    def _repr_pretty_(self, printer: Any, _: object) -> None:
        printer.text(str(self))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: figures of six digits, so that the order of summing cannot show."""
        return decision_facts(self)


def make_decision(race: Race) -> Decision:
    """Sum up a race that has ended."""
    terms = race.terms
    trials = [race.trials[arm] for arm in race.order]
    why = {_key(trial.arm): _finding(race, trial) for trial in trials}
    outcome, choice = _outcome(race, trials)
    models = dict.fromkeys(model for arm in (terms.reference, *terms.candidates) for model in arm)
    pool = sum(len(unit.prompts) for unit in race.units)
    called = Counter(model for model, _ in race.measured.asked)
    return Decision(
        outcome=outcome,
        choice=_key(choice),
        why=why,
        reference=_arms(race, terms.reference),
        terms=terms,
        budgets=race.budgets,
        calls={model: called[model] for model in models},
        grid_calls=pool * len(models),
        pool=pool,
        units=len(race.units),
        pending_share=race.pending_share,
        is_judged=any(trial.is_judged for trial in trials),
        is_calibrated=terms.human_share is not None and race.measured.is_labelled,
        limits_missed=tuple(race.limits_missed),
        notes=tuple(_notes(race)),
    )


def _outcome(race: Race, trials: Sequence[Trial]) -> tuple[Outcome, Arm]:
    """The task's outcome and the arm to use, by the rules of the specification."""
    reference, margin = race.terms.reference, race.terms.margin
    if race.pending_share > PENDING_SHARE or _lacks_labels(race, trials):
        return "inconclusive", reference
    if race.winner is not None:
        return "promote", race.winner.arm
    better = [trial.arm for trial in trials if trial.is_superior]
    if better:
        return "demote", better[0]
    if race.limits_missed:
        return "demote", reference
    settled = ("worse", "slow", "costly")
    if all(t.state in settled or (t.state == "unlikely" and t.delta <= -margin) for t in trials):
        return "keep", reference
    return "inconclusive", reference


def too_small(terms: Terms, units: int) -> str | None:
    """What a pool of so many units cannot prove, or None when it is large enough."""
    fewest = fewest_units(terms.margin, alpha=terms.side)
    if units >= fewest:
        return None
    one_of = "" if len(terms.candidates) < 2 else f", one of {len(terms.candidates)} candidates,"
    return (
        f"{units} clusters are too few to prove that a model{one_of} as good as the present one loses less "
        f"than {100 * terms.margin:g} points: {fewest} are needed, and with fewer only a better one can win"
    )


def _lacks_labels(race: Race, trials: Sequence[Trial]) -> bool:
    """Whether people were to check a judge, and nobody did."""
    is_judged = any(trial.is_judged for trial in trials)
    return is_judged and race.terms.human_share is not None and not race.measured.is_labelled


def _notes(race: Race) -> list[str]:
    terms, notes = race.terms, list[str]()
    if race.winner is None and terms.candidates and (small := too_small(terms, race.budgets[-1])):
        notes.append(f"{small}.")
    if race.measured.pending:
        notes.append(f"{len(race.measured.pending)} of {len(race.measured.asked)} calls are still to be run.")
    if _lacks_labels(race, list(race.trials.values())):
        notes.append("No verdict: people were to check the judge, and no label is there yet.")
    notes += [
        f"{arm_name(trial.arm)}: {trial.pending} prompts have no result, and above {100 * PENDING_SHARE:g} % "
        "nothing is promoted."
        for trial in race.trials.values()
        if not trial.is_whole
    ]
    if race.pending_share > PENDING_SHARE:
        notes.append(f"No verdict: more than {100 * PENDING_SHARE:g} % of the calls have no result.")
    return notes


def _finding(race: Race, trial: Trial) -> Finding:
    arms, cost = vars(_arms(race, trial.arm)), trial.cost
    if trial.prompts:  # what was compared: a prompt on which the reference has no result counts for neither
        arms |= {"n": trial.prompts, "units": len(trial.differences)}
    return Finding(
        **arms,
        state=trial.state,
        delta=trial.delta if trial.differences else None,
        evidence=trial.evidence,
        threshold=1.0 / race.terms.side,
        needs_more=_needs_more(race, trial),
        cost_ratio=None if cost is None else cost.estimate,
        cost_ratio_interval=None if cost is None or math.isinf(cost.high) else (cost.low, cost.high),
        is_over=trial.is_over,
        is_superior=trial.is_superior,
        claims=trial.evidence_of,
        path=tuple(trial.path),
        differences=tuple(trial.differences),
        pair_weights=tuple(trial.weights),
        terms=race.terms,
    )


def _needs_more(race: Race, trial: Trial) -> int | None:
    """Prompts that would settle an undecided candidate, if what was seen is the truth.

    Planned for 90 %, which gives about 80 %: what was seen was undecided, which is a little worse than usual.
    """
    xs = trial.xs
    if trial.state not in ("open", "unlikely") or not trial.is_over or xs.size < 2:
        return None
    total = units_needed(float(xs.mean()), float(xs.var(ddof=1)), alpha=race.terms.side, power=0.9)
    if total is None:
        return None
    pool = sum(len(unit.prompts) for unit in race.units)
    per_unit = pool / len(race.units)
    return max(math.ceil(total * per_unit) - trial.prompts, math.ceil(0.1 * trial.prompts))


def _arms(race: Race, arm: Arm) -> Arms:
    found = [(unit, [s for p in unit.prompts if (s := race.measured.seen(arm, p))]) for unit in race.units]
    rows: list[tuple[Unit, list[Seen]]] = [(unit, seen) for unit, seen in found if seen]
    seen = [each for _, row in rows for each in row]
    calls = [call for each in seen for call in each.calls]
    failures = sum(status != "ok" for status, _ in calls)
    slo = race.terms.slo
    return Arms(
        name=arm_name(arm),
        arm=arm,
        n=len(seen),
        units=len(rows),
        failures=failures,
        failure_rate=failures / len(calls) if calls else None,
        cost_usd_per_1000=_cost_per_1000(seen),
        within_slo=None if slo is None or not seen else float(np.mean([s.within(slo[0]) for s in seen])),
        latency_ms=_quantiles(calls),
        scores=tuple(sum(each.score for each in row) / len(row) for _, row in rows),
        weights=tuple(unit.weight(len(row)) for unit, row in rows),
        budgets=race.budgets,
    )


def _cost_per_1000(seen: Sequence[Seen]) -> float | None:
    """The mean cost of a call; a failed one without a known cost counts as the mean of the others."""
    costs = [each.cost_usd for each in seen if not math.isnan(each.cost_usd)]
    unknown = any(math.isnan(each.cost_usd) and each.failed == 0.0 for each in seen)
    return None if unknown or not costs else 1000.0 * float(np.mean(costs))


def _quantiles(calls: Sequence[tuple[str, float]]) -> dict[float, tuple[float, float, float | None]]:
    timed = [(ms, status == "timeout") for status, ms in calls if status != "error"]
    if not timed:
        return {}
    latency, cut = [ms for ms, _ in timed], [is_cut for _, is_cut in timed]
    found = {q: quantile_interval(latency, q, timed_out=cut) for q in QUANTILES}
    return {q: (x.estimate, x.low, None if math.isinf(x.high) else x.high) for q, x in found.items()}


def _key(arm: Arm) -> str | tuple[str, ...]:
    return arm[0] if len(arm) == 1 else arm
