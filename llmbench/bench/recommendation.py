"""What a run proposes, as a value: recommendation.json's content, with a form to read in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmbench.display import wording
from llmbench.display.decision_text import STATES, limits_in_words
from llmbench.markup import escaped, folded, table

_HEAD: Final = (
    *("task", "verdict", "now", "proposed"),
    *("quality now", "change, points", "interval", "cost now per 1,000", "cost ratio", "p95 now", "p95 then"),
    *("calls made", "why no change"),
)
_VERDICTS: Final = {
    "promote": "can move",
    "demote": "should move",
    "keep": "keep",
    "inconclusive": "not decided",
}


class Recommendation(dict[str, Any]):
    """The content of recommendation.json (docs/recommendation.schema.json), key by key.

    In a notebook it is a row a task, the sentences behind them, and the change to review.
    """

    def __str__(self) -> str:
        return "\n".join(f"[{task['outcome']}] {task['sentence']}" for task in self["tasks"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        tasks: list[Mapping[str, Any]] = self["tasks"]
        moving = sum(_moves(task) for task in tasks)
        head = f"<p><strong>{wording.count(moving, 'task')} of {len(tasks)} can move</strong></p>"
        uncalibrated = self["judge"]["uncalibrated_tasks"]
        doubt = (
            f"<p>Judge-scored, not calibrated: {escaped(', '.join(uncalibrated))}.</p>"
            if uncalibrated
            else ""
        )
        told = "".join(f"<p>{escaped(task['sentence'])}</p>" for task in tasks)
        tiers = "".join(f"<p>{escaped(tier['sentence'])}</p>" for tier in self["tiers"])
        notes = "".join(f"<p>{escaped(note)}</p>" for note in self["notes"])
        change = f"<pre>{escaped(self['diff'])}</pre>" if self["diff"] else ""
        return "".join(
            (
                head,
                doubt,
                table(_HEAD, map(_row, tasks)),
                folded("in words", told),
                folded("tiers", tiers),
                folded("what to hold against it", notes),
                folded("the change to review", change),
            )
        )


def _moves(task: Mapping[str, Any]) -> bool:
    return bool(task["choice"] != task["reference"])


def _row(task: Mapping[str, Any]) -> tuple[object, ...]:
    """A task's row: the model in use, and beside it what changes with the one that it would move to."""
    by_name = {row["model"]: row for row in task["candidates"]}
    now, then = by_name.get(task["reference"], {}), by_name.get(task["choice"], {})
    made = f"{wording.number(sum(task['calls'].values()))} of {wording.number(task['grid_calls'])}"
    word = _VERDICTS.get(task["outcome"], task["outcome"])
    moves = _moves(task)
    return (
        task["task"],
        word,
        f"{task['reference']} ({task['tier']})",
        f"{task['proposed_model']} ({task['proposed_tier']})" if moves else "",
        wording.score(now.get("quality")),
        wording.change(then.get("delta")) if moves else "",
        wording.change_interval(then.get("delta_interval")) if moves else "",
        wording.money(now.get("cost_usd_per_1000")),
        wording.ratio(then.get("cost_ratio")) if moves else "",
        wording.duration(now.get("p95_ms")),
        wording.duration(then.get("p95_ms")) if moves else "",
        made,
        "" if moves else _why_not(task),
    )


def _why_not(task: Mapping[str, Any]) -> str:
    """What became of each candidate, in a word or two, where none takes over."""
    missed = task.get("limits_missed")
    rivals = [row for row in task["candidates"] if row["model"] != task["reference"]]
    parts = [f"misses its {limits_in_words(missed)}"] if missed else []
    parts += [f"{row['model']}: {STATES.get(row['state'], row['state'])}" for row in rivals]
    return "; ".join(parts) or "no other model was compared"
