"""A decision in words that can be read aloud: plain sentences with the numbers they rest on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from llmbench.display.language import mark, retell, say
from llmbench.display.said_decision import SaidDecision, SaidRow, SaidTerms
from llmbench.display.wording import change, change_interval, money, number, share

STATES: Final = {
    "promote": mark("proved"),
    "worse": mark("worse"),
    "slow": mark("too slow"),
    "costly": mark("no saving"),
    "unlikely": mark("unlikely"),
    "open": mark("open"),
}
LIMITS: Final = {"floor": mark("quality floor"), "slo": mark("latency limit")}


@dataclass(frozen=True, slots=True)
class Said:
    """What a task's sentence is about: where it is routed today, and where it would be."""

    task: str
    tier: str
    reference: str
    proposed_tier: str
    proposed_model: str


def task_sentence(said: Said, decision: SaidDecision) -> str:
    """What to do with one task, with the numbers that carry it."""
    facts = {"task": said.task, "tier": said.tier, "reference": said.reference}
    if decision.chosen is not None:
        move = _destination(said, decision)
        return say("{move}: {numbers}", move=move, numbers=_lower(body(decision)))
    if decision.outcome == "demote":
        text = "Replace {task} on {tier} ({reference}), but by none of the candidates: {numbers}"
        return say(text, numbers=paragraph(decision), **facts)
    numbers = body(decision)
    if decision.outcome == "keep":
        if numbers:
            return say("Keep {task} on {tier} ({reference}): {numbers}", numbers=_lower(numbers), **facts)
        return say("Keep {task} on {tier} ({reference}): no other model was compared.", **facts)
    if numbers:
        text = "No verdict for {task} on {tier} ({reference}), which stays: {numbers}"
        return say(text, numbers=_lower(numbers), **facts)
    text = "No verdict for {task} on {tier} ({reference}), which stays: no other model was compared."
    return say(text, **facts)


def _destination(said: Said, decision: SaidDecision) -> str:
    facts = {"task": said.task, "tier": said.tier, "reference": said.reference}
    facts |= {"proposed": said.proposed_model, "proposed_tier": said.proposed_tier}
    if said.proposed_tier == said.tier:
        return say("Put {proposed} before {reference} for {task} ({tier})", **facts)
    if decision.outcome == "demote":
        text = "Move {task} up from {tier} ({reference}) to {proposed_tier} ({proposed})"
    else:
        text = "Move {task} from {tier} ({reference}) to {proposed_tier} ({proposed})"
    return say(text, **facts)


def _lower(text: str) -> str:
    """The text with its first letter small, to stand behind a colon, unless it begins with a name."""
    return text[:1].lower() + text[1:] if text.startswith("On ") else text


def paragraph(decision: SaidDecision) -> str:
    """The decision in one paragraph: what to do, on which numbers, and how sure that is."""
    return _joined([part for part in (headline(decision), body(decision)) if part])


def body(decision: SaidDecision) -> str:
    """The numbers of a decision, without its headline."""
    sentences: list[str] = []
    chosen = decision.chosen
    if chosen is not None:
        sentences += [compared(chosen, decision), *_limits(chosen, decision.terms), _bet(chosen, decision)]
    else:
        sentences += [say("{reason}.", reason=finding_reason(row, decision)) for row in decision.rows]
    if decision.reference.failures or any(row.failures for row in decision.rows):
        sentences.append(say("Failed calls count as 0."))
    if decision.is_judged and not decision.is_calibrated:
        sentences.append(say("Judge-scored, not calibrated by people."))
    if decision.saved >= 0.005:
        percent = f"{100 * decision.saved:.0f}"
        sentences.append(say("{percent} % of the full grid's calls were not needed.", percent=percent))
    return _joined([*sentences, *(retell(note) or note for note in decision.notes)])


def headline(decision: SaidDecision) -> str:
    """What to do, in one sentence."""
    now, choice = decision.reference.name, decision.chosen
    if choice is not None and decision.outcome == "promote":
        return say("{choice} can take over from {reference}.", choice=choice.name, reference=now)
    if choice is not None and decision.outcome == "demote":
        is_cheaper = choice.cost_ratio is not None and choice.cost_ratio < 1.0
        text = "{choice} should take over from {reference}: it is better, at a higher cost."
        if is_cheaper:
            text = "{choice} should take over from {reference}: it is better."
        return say(text, choice=choice.name, reference=now)
    if decision.outcome == "demote":
        limits = limits_in_words(decision.limits_missed)
        return say("{reference} misses its {limits}.", reference=now, limits=limits)
    if decision.outcome == "keep":
        text = "Keep {reference}." if decision.rows else "Keep {reference}: no other model was compared."
        return say(text, reference=now)
    return say("Not decided, so {reference} stays.", reference=now)


def compared(row: SaidRow, decision: SaidDecision) -> str:
    """A candidate against the reference: prompts, difference with interval, cost."""
    points, reference = _change(row.delta or 0.0), decision.reference
    facts = {"points": points[1:], "reference": reference.name}
    if points[0] == "±":
        gap = say("the same as {reference}", reference=reference.name)
    elif points[0] == "+":
        gap = say("{points} points above {reference}", **facts)
    else:
        gap = say("{points} points below {reference}", **facts)
    if row.units == row.n:
        prompts = say("{n} of your prompts", n=row.n)
    else:
        prompts = say("{n} of your prompts in {units} clusters", n=row.n, units=row.units)
    text = "On {prompts} {name} scored {gap} (always-valid {level} % interval {interval}), {cost}."
    if decision.is_judged:
        text = "On {prompts} {name} was judged {gap} (always-valid {level} % interval {interval}), {cost}."
    return say(
        text,
        prompts=prompts,
        name=row.name,
        gap=gap,
        level=f"{level(decision.terms):.3g}",
        interval=change_interval(row.interval),
        cost=cost(row, reference),
    )


def cost(row: SaidRow, reference: SaidRow) -> str:
    """A candidate's cost beside the reference's."""
    if row.cost_ratio is None:
        return say("at an unknown cost")
    prices = {"cost": money(row.cost_usd_per_1000), "other": money(reference.cost_usd_per_1000)}
    if 0.0 < row.cost_ratio <= 0.2:
        text = "at 1/{part} of the cost ({cost} against {other} per 1,000 calls)"
        return say(text, part=f"{1 / row.cost_ratio:.0f}", **prices)
    text = "at {ratio} times the cost ({cost} against {other} per 1,000 calls)"
    return say(text, ratio=f"{row.cost_ratio:.2f}", **prices)


def finding_reason(row: SaidRow, decision: SaidDecision) -> str:
    """Why a candidate has its state, in one sentence without its full stop."""
    name = row.name
    if not row.is_over and row.state != "promote":
        return _untried(row, decision)
    if row.delta is None:
        return say("{name} has no result yet", name=name)
    if row.state == "costly":
        return _not_cheaper(row, decision)
    if row.state == "slow":
        return _too_slow(row, decision.terms)
    if row.state == "worse":
        return say("{name} was given up: {why}", name=name, why=_worse(row, decision.terms))
    facts = {"name": name, "seen": _seen(row)}
    facts |= {"evidence": growth(row.evidence), "threshold": growth(row.threshold)}
    if row.state == "promote":
        return say("{name} is proved: {seen}, evidence {evidence} of {threshold} needed", **facts)
    if row.state == "unlikely":
        text = "{name} is unlikely to be proved: {seen}, evidence {evidence} of {threshold} needed"
    else:
        text = "{name} is not decided: {seen}, evidence {evidence} of {threshold} needed"
    said = say(text, **facts)
    if row.needs_more is None:
        return said
    more = f"{row.needs_more:,}"
    return say("{said}; about {more} more would prove it, if this is the truth", said=said, more=more)


def about(n: int) -> str:
    """A planned number of prompts in two digits: more would claim too much."""
    rounded = float(f"{n:.2g}")
    return f"about {rounded:,.0f}" if rounded < 1e5 else "over 100,000"


def growth(evidence: float) -> str:
    """How many times a stake grew, in few digits."""
    if evidence >= 1e6:
        return say("over a million")
    return f"{evidence:,.0f}" if evidence >= 10 else number(evidence, 1)


def level(terms: SaidTerms) -> float:
    """The level of the shown intervals, percent: two sides, each at the candidate's share of alpha."""
    return 100.0 * (1.0 - 2.0 * terms.side)


def limits_in_words(names: Sequence[str]) -> str:
    """The limits that were missed, behind the word `its`."""
    return say(" and its ").join(say(LIMITS[name]) if name in LIMITS else name for name in names)


def _bet(row: SaidRow, decision: SaidDecision) -> str:
    """The evidence behind a promotion as a bet that anybody can follow."""
    terms, n = decision.terms, decision.terms.candidates
    if decision.outcome != "promote":
        points = f"{100 * (terms.upgrade or 0):g}"
        return say("The evidence that it is {points} points better is proved.", points=points)
    facts = {"name": row.name, "margin": f"{100 * terms.margin:g}", "growth": growth(row.evidence)}
    facts["needed"] = growth(math.ceil(row.threshold - 1e-9))
    if n > 1:
        facts |= {"n": str(n), "alpha": f"{100 * terms.task_alpha:.3g}"}
        bet = say(
            "We bet against the claim “{name} is {margin} points worse or more”: the stake grew "
            "{growth}-fold, and {needed} were needed ({n} candidates at {alpha} %).",
            **facts,
        )
    else:
        bet = say(
            "We bet against the claim “{name} is {margin} points worse or more”: the stake grew "
            "{growth}-fold, and {needed} were needed.",
            **facts,
        )
    sure = say(
        "If the claim were true, that would happen in fewer than 1 sweep in {needed}, however often anyone "
        "looked.",
        needed=facts["needed"],
    )
    return _joined([bet, sure])


def _limits(row: SaidRow, terms: SaidTerms) -> list[str]:
    """What else was asked for and is kept."""
    kept = []
    if terms.slo is not None:
        text = "{share} were answered within {limit} ({asked})."
        facts = {"share": share(row.within_slo), "limit": _limit(terms), "asked": _asked(terms)}
        kept.append(say(text, **facts))
    if terms.floor is not None and row.quality is not None:
        facts = {"quality": f"{100 * row.quality:.1f}", "floor": f"{100 * terms.floor:g}"}
        kept.append(say("Its quality is {quality}, the floor {floor}.", **facts))
    if terms.max_failure is not None:
        facts = {"share": share(row.failure_rate), "most": share(terms.max_failure)}
        kept.append(say("{share} failed; {most} are allowed.", **facts))
    return kept


def _not_cheaper(row: SaidRow, decision: SaidDecision) -> str:
    saving, facts = decision.terms.min_saving, {"name": row.name, "why": _costly(row, decision)}
    if saving and row.cost_ratio is not None:
        text = "{name} is not shown to save {percent} %: {why}"
        return say(text, percent=f"{100 * saving:g}", **facts)
    return say("{name} is not shown to be cheaper: {why}", **facts)


def _costly(row: SaidRow, decision: SaidDecision) -> str:
    if row.cost_ratio is None:
        return say("its cost or the reference's is unknown")
    most, cost_usd = decision.terms.max_cost_usd, row.cost_usd_per_1000
    if most is not None and cost_usd is not None and cost_usd > 1000.0 * most:
        facts = {"cost": money(cost_usd), "most": money(1000.0 * most)}
        return say("{cost} per 1,000 calls, {most} are allowed", **facts)
    bound, said = row.cost_ratio_interval, cost(row, decision.reference)
    if bound is None or bound[0] is None or bound[1] is None:
        return said
    facts = {"cost": said, "low": f"{bound[0]:.3f}", "high": f"{bound[1]:.3f}"}
    return say("{cost}, 95 % interval {low} to {high}", **facts)


def _too_slow(row: SaidRow, terms: SaidTerms) -> str:
    facts = {"share": share(row.within_slo), "limit": _limit(terms), "asked": _asked(terms)}
    return say("{name} is too slow: {share} answered within {limit}, {asked}", name=row.name, **facts)


def _worse(row: SaidRow, terms: SaidTerms) -> str:
    if (row.delta or 0.0) <= -terms.margin:
        return say("{seen} speak against it", seen=_seen(row))
    if terms.floor is not None and (row.quality or 0.0) < terms.floor:
        facts = {"quality": f"{100 * (row.quality or 0.0):.1f}", "floor": f"{100 * terms.floor:g}"}
        return say("its quality {quality} is below the floor of {floor}", **facts)
    facts = {"share": share(row.failure_rate), "most": share(terms.max_failure)}
    return say("{share} of its calls failed, {most} are allowed", **facts)


def _untried(row: SaidRow, decision: SaidDecision) -> str:
    text = "{name} was called on the first {n} prompts only: {why}"
    return say(text, name=row.name, n=row.n, why=unneeded(decision.chosen.name if decision.chosen else None))


def unneeded(chosen: str | None) -> str:
    """Why a trial was not brought to its end: another model was proved, or the trial has not begun."""
    if chosen is None:
        return say("its trial has not begun")
    return say("{chosen} was proved before its turn came", chosen=chosen)


def _seen(row: SaidRow) -> str:
    facts = {"points": _change(row.delta), "interval": change_interval(row.interval)}
    return say("{points} points ({interval}) on {n} prompts", n=row.n, **facts)


def _change(delta: float | None) -> str:
    """A difference in points, from the six digits that the JSON form has."""
    return change(None if delta is None else float(f"{delta:.6g}"))


def _limit(terms: SaidTerms) -> str:
    limit_ms = terms.slo[0] if terms.slo else 0.0
    return f"{limit_ms / 1000:g} s" if limit_ms >= 1000 else f"{limit_ms:g} ms"


def _asked(terms: SaidTerms) -> str:
    return say("{percent} % are asked for", percent=f"{100 * terms.slo[1]:g}") if terms.slo else ""


def _joined(sentences: Sequence[str]) -> str:
    """Sentences one after the other, as the language does it."""
    return say(" ").join(sentences)
