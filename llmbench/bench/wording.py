"""The sentences of a recommendation: where a task goes, and the decision that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmbench.bench import decision_text
from llmbench.bench.decision import Decision


@dataclass(frozen=True, slots=True)
class Said:
    """What a task's sentence is about: where it is routed today, and where it would be."""

    task: str
    tier: str
    reference: str
    proposed_tier: str
    proposed_model: str


def task_sentence(said: Said, decision: Decision) -> str:
    """What to do with one task, with the numbers that carry it."""
    if decision.chosen is not None:
        return f"{_destination(said, decision)}: {_lower(decision_text.body(decision))}"
    where = f"{said.task} on {said.tier} ({said.reference})"
    if decision.outcome == "demote":
        return f"Replace {where}, but by none of the candidates: {decision_text.paragraph(decision)}"
    verb = f"Keep {where}" if decision.outcome == "keep" else f"No verdict for {where}, which stays"
    body = decision_text.body(decision)
    return f"{verb}: {_lower(body)}" if body else f"{verb}: no other model was compared."


def notes(decisions: Sequence[Decision]) -> list[str]:
    """What holds for every task of the report."""
    terms = next((decision.terms for decision in decisions if decision.terms.candidates), None)
    if terms is None:
        return []
    tested = sum(1 for decision in decisions if decision.terms.candidates)
    tasks = f"{tested} task{'s' if tested != 1 else ''}"
    error = (
        f"P(any false move among {tasks}) is at most {100 * terms.alpha:g} %"
        if terms.family == "report"
        else f"at {100 * terms.alpha:g} % a task, at most {terms.alpha * tested:.3g} are expected in {tasks}"
    )
    return [
        "Failed and timed-out calls count as score 0. The unit of every interval is the cluster.",
        f"A false move is one to a model that is worse by the margin or more; {error}.",
        "The evidence holds at every look and for any stopping: more prompts may be added at any time.",
    ]


def _destination(said: Said, decision: Decision) -> str:
    if said.proposed_tier == said.tier:
        return f"Put {said.proposed_model} before {said.reference} for {said.task} ({said.tier})"
    up = " up" if decision.outcome == "demote" else ""
    return (
        f"Move {said.task}{up} from {said.tier} ({said.reference}) "
        f"to {said.proposed_tier} ({said.proposed_model})"
    )


def _lower(text: str) -> str:
    """The text with its first letter small, to stand behind a colon, unless it begins with a name."""
    return text[:1].lower() + text[1:] if text.startswith("On ") else text
