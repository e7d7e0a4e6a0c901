"""Judges' replies as lines of judgements.jsonl: one a question, with what it cost and how it was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from llmbench.bench.judging.cells import JudgeCell
from llmbench.bench.judging.verdicts import Points, Preference

#: Failures that are a reply which nobody can use; any other failure is a call that gave none.
_UNREADABLE: Final = frozenset({"invalid_output", "malformed", "truncated", "empty", "refusal"})
_VALUES: Final[Mapping[tuple[str, str], float]] = {
    ("AB", "A"): 1.0, ("AB", "B"): -1.0, ("BA", "A"): -1.0, ("BA", "B"): 1.0,
}  # fmt: skip


def judgements(
    cells: Sequence[JudgeCell], again: Iterable[JudgeCell], results: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The lines of one task, in the order of its questions. Pure: the same ledger gives the same lines.

    A question whose call is still to be made has no line. The cost of a call that several questions share
    stands in the first of their lines.

    Args:
        cells: the first calls, as `judge_cells` gives them.
        again: the second calls, as `retry_cells` gives them.
        results: result lines of the ledger by fingerprint.
    """
    second = {cell.question.name: cell for cell in again}
    paid: set[str] = set()
    lines = []
    for cell in cells:
        calls = [each for each in (cell, second.get(cell.question.name)) if each is not None]
        made = [each for each in calls if each.fingerprint in results]
        if len(made) == len(calls):
            lines.append(_line(made, results, paid))
    return lines


def _line(
    calls: Sequence[JudgeCell], results: Mapping[str, Mapping[str, Any]], paid: set[str]
) -> dict[str, Any]:
    last, question = calls[-1], calls[-1].question
    row, found = question.row, results[calls[-1].fingerprint]
    verdict = last.read(found)
    unread = [each for each in calls if each.read(results[each.fingerprint]) is None]
    new = [each for each in calls if each.fingerprint not in paid]
    paid.update(each.fingerprint for each in new)
    names = ("run_id", "task", "sample_id", "cluster", "lang", "model")
    return {
        "schema": 1,
        **{name: row.get(name) for name in names},
        "other": question.other,
        "repeat": row.get("repeat") or 0,
        "judge": last.model,
        "judge_version": found.get("model_version"),
        "strategy": question.plan.strategy,
        "order": question.order,
        "status": "ok" if verdict is not None else _status(found),
        **_said(verdict, last),
        "asked": len(calls),
        "unparsable": sum(_status(results[each.fingerprint]) == "unparsable" for each in unread),
        "addresses_judge": question.asked.addresses_judge,
        "cost_usd": sum(results[each.fingerprint].get("cost_usd") or 0.0 for each in new),
        "latency_ms": found.get("latency_ms"),
        "fingerprint": last.fingerprint,
        "timestamp": found.get("timestamp"),
    }


def _status(result: Mapping[str, Any]) -> str:
    """What a call without a verdict is: a reply that cannot be read, or no reply."""
    if result.get("status") == "ok" or result.get("error_kind") in _UNREADABLE:
        return "unparsable"
    return "error"


def _said(verdict: Preference | Points | None, cell: JudgeCell) -> dict[str, Any]:
    question = cell.question
    if isinstance(verdict, Preference):
        value = _VALUES.get((question.order, verdict.better), 0.0)
        return {"verdict": value, "score": None, "scores": None, "reason": verdict.reason}
    if isinstance(verdict, Points):
        scores = [
            {"criterion": text, "points": points, "reason": reason}
            for text, points, reason in zip(cell.asked.criteria, verdict.scores, verdict.reasons, strict=True)
        ]
        return {
            "verdict": None,
            "score": verdict.score(question.plan.scale),
            "scores": scores,
            "reason": None,
        }
    return {"verdict": None, "score": None, "scores": None, "reason": None}
