"""A decision in words that can be read aloud: plain sentences with the numbers they rest on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from llmbench.bench.terms import Terms
from llmbench.display.wording import change, change_interval, money, number, share

if TYPE_CHECKING:
    from llmbench.bench.decision import Arms, Decision, Finding

STATES: Final = {
    "promote": "proved",
    "worse": "worse",
    "slow": "too slow",
    "costly": "no saving",
    "unlikely": "unlikely",
    "open": "open",
}


def paragraph(decision: Decision) -> str:
    """The decision in one paragraph: what to do, on which numbers, and how sure that is."""
    return " ".join(part for part in (headline(decision), body(decision)) if part)


def body(decision: Decision) -> str:
    """The numbers of a decision, without its headline."""
    sentences: list[str] = []
    chosen = decision.chosen
    if chosen is not None:
        sentences += [compared(chosen, decision), *_limits(chosen, decision.terms), _bet(chosen, decision)]
    else:
        sentences += [f"{finding_reason(row, decision)}." for row in decision.why.values()]
    if decision.reference.failures or any(row.failures for row in decision.why.values()):
        sentences.append("Failed calls count as 0.")
    if decision.is_judged and not decision.is_calibrated:
        sentences.append("Judge-scored, not calibrated by people.")
    if decision.saved >= 0.005:
        sentences.append(f"{100 * decision.saved:.0f} % of the full grid's calls were not needed.")
    return " ".join([*sentences, *decision.notes])


def headline(decision: Decision) -> str:
    """What to do, in one sentence."""
    now, choice = decision.reference.name, decision.chosen
    if decision.outcome == "promote" and choice is not None:
        return f"{choice.name} can take over from {now}."
    if decision.outcome == "demote" and choice is not None:
        dearer = "" if choice.cost_ratio is not None and choice.cost_ratio < 1.0 else ", at a higher cost"
        return f"{choice.name} should take over from {now}: it is better{dearer}."
    if decision.outcome == "demote":
        return f"{now} misses its {' and its '.join(map(_limit_name, decision.limits_missed))}."
    if decision.outcome == "keep":
        return f"Keep {now}." if decision.why else f"Keep {now}: no other model was compared."
    return f"Not decided, so {now} stays."


def compared(row: Finding, decision: Decision) -> str:
    """A candidate against the reference: prompts, difference with interval, cost."""
    terms, delta = decision.terms, row.delta or 0.0
    judged = "was judged" if decision.is_judged else "scored"
    points = _change(delta)
    gap = (
        f"{points[1:]} points {'above' if points[0] == '+' else 'below'}"
        if points[0] != "±"
        else "the same as"
    )
    grouped = "" if row.units == row.n else f" in {row.units} clusters"
    interval = f"always-valid {level(terms):.3g} % interval {change_interval(row.interval)}"
    return (
        f"On {row.n} of your prompts{grouped} {row.name} {judged} {gap} {decision.reference.name} "
        f"({interval}), {cost(row, decision.reference)}."
    )


def cost(row: Finding, reference: Arms) -> str:
    """A candidate's cost beside the reference's."""
    if row.cost_ratio is None:
        return "at an unknown cost"
    prices = f"({money(row.cost_usd_per_1000)} against {money(reference.cost_usd_per_1000)} per 1,000 calls)"
    if 0.0 < row.cost_ratio <= 0.2:
        return f"at 1/{1 / row.cost_ratio:.0f} of the cost {prices}"
    return f"at {row.cost_ratio:.2f} times the cost {prices}"


def finding_reason(row: Finding, decision: Decision) -> str:
    """Why a candidate has its state, in one sentence without its full stop."""
    terms = decision.terms
    if not row.is_over and row.state != "promote":
        return f"{row.name} was called on the first {row.n} prompts only: {_unneeded(decision)}"
    if row.delta is None:
        return f"{row.name} has no result yet"
    seen = f"{_change(row.delta)} points ({change_interval(row.interval)}) on {row.n} prompts"
    if row.state == "promote":
        return (
            f"{row.name} is proved: {seen}, evidence {growth(row.evidence)} of {growth(row.threshold)} needed"
        )
    if row.state == "costly":
        saving = terms.min_saving
        wanted = f"to save {100 * saving:g} %" if saving and row.cost_ratio is not None else "to be cheaper"
        return f"{row.name} is not shown {wanted}: {_costly(row, decision)}"
    if row.state == "slow":
        answered = f"{share(row.within_slo)} answered within {_limit(terms)}"
        return f"{row.name} is too slow: {answered}, {_asked(terms)}"
    if row.state == "worse":
        return f"{row.name} was given up: {_worse(row, terms)}"
    if not row.is_over:
        return f"{row.name} was called on the first {row.n} prompts only: {_unneeded(decision)}"
    more = (
        ""
        if row.needs_more is None
        else f"; about {row.needs_more:,} more would prove it, if this is the truth"
    )
    word = "is unlikely to be proved" if row.state == "unlikely" else "is not decided"
    return (
        f"{row.name} {word}: {seen}, evidence {growth(row.evidence)} of {growth(row.threshold)} needed{more}"
    )


def about(n: int) -> str:
    """A planned number of prompts in two digits: more would claim too much."""
    rounded = float(f"{n:.2g}")
    return f"about {rounded:,.0f}" if rounded < 1e5 else "over 100,000"


def growth(evidence: float) -> str:
    """How many times a stake grew, in few digits."""
    if evidence >= 1e6:
        return "over a million"
    return f"{evidence:,.0f}" if evidence >= 10 else number(evidence, 1)


def level(terms: Terms) -> float:
    """The level of the shown intervals, percent: two sides, each at the candidate's share of alpha."""
    return 100.0 * (1.0 - 2.0 * terms.side)


def _bet(row: Finding, decision: Decision) -> str:
    """The evidence behind a promotion as a bet that anybody can follow."""
    terms, n = decision.terms, len(decision.terms.candidates)
    worse = f"{row.name} is {100 * terms.margin:g} points worse or more"
    if decision.outcome != "promote":
        return f"The evidence that it is {100 * (terms.upgrade or 0):g} points better is proved."
    many = f" ({n} candidates at {100 * terms.task_alpha:.3g} %)" if n > 1 else ""
    needed = growth(math.ceil(row.threshold - 1e-9))
    return (
        f"We bet against the claim “{worse}”: the stake grew {growth(row.evidence)}-fold, and {needed} were "
        f"needed{many}. If the claim were true, that would happen in fewer than 1 sweep in {needed}, however "
        "often anyone looked."
    )


def _limits(row: Finding, terms: Terms) -> list[str]:
    """What else was asked for and is kept."""
    kept = []
    if terms.slo is not None:
        kept.append(f"{share(row.within_slo)} were answered within {_limit(terms)} ({_asked(terms)}).")
    if terms.floor is not None and row.quality is not None:
        kept.append(f"Its quality is {100 * row.quality:.1f}, the floor {100 * terms.floor:g}.")
    if terms.max_failure is not None:
        kept.append(f"{share(row.failure_rate)} failed; {share(terms.max_failure)} are allowed.")
    return kept


def _costly(row: Finding, decision: Decision) -> str:
    if row.cost_ratio is None:
        return "its cost or the reference's is unknown"
    most = decision.terms.max_cost_usd
    if most is not None and row.cost_usd_per_1000 is not None and row.cost_usd_per_1000 > 1000.0 * most:
        return f"{money(row.cost_usd_per_1000)} per 1,000 calls, {money(1000.0 * most)} are allowed"
    bound = row.cost_ratio_interval
    shown = "" if bound is None else f", 95 % interval {bound[0]:.3f} to {bound[1]:.3f}"
    return f"{cost(row, decision.reference)}{shown}"


def _worse(row: Finding, terms: Terms) -> str:
    seen = f"{_change(row.delta)} points ({change_interval(row.interval)}) on {row.n} prompts"
    if (row.delta or 0.0) <= -terms.margin:
        return f"{seen} speak against it"
    if terms.floor is not None and (row.quality or 0.0) < terms.floor:
        return f"its quality {100 * (row.quality or 0.0):.1f} is below the floor of {100 * terms.floor:g}"
    return f"{share(row.failure_rate)} of its calls failed, {share(terms.max_failure)} are allowed"


def _unneeded(decision: Decision) -> str:
    chosen = decision.chosen
    return f"{chosen.name} was proved before its turn came" if chosen else "its trial has not begun"


def _change(delta: float | None) -> str:
    """A difference in points, from the six digits that the JSON form has: sentence and table round alike."""
    return change(None if delta is None else float(f"{delta:.6g}"))


def _limit(terms: Terms) -> str:
    limit_ms = terms.slo[0] if terms.slo else 0.0
    return f"{limit_ms / 1000:g} s" if limit_ms >= 1000 else f"{limit_ms:g} ms"


def _asked(terms: Terms) -> str:
    return f"{100 * terms.slo[1]:g} % are asked for" if terms.slo else ""


def _limit_name(name: str) -> str:
    return {"floor": "quality floor", "slo": "latency limit"}[name]
