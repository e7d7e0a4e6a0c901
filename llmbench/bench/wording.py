"""What holds for every task of a recommendation, in words."""

from __future__ import annotations

from collections.abc import Sequence

from llmbench.bench.decision import Decision


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
