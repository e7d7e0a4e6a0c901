"""What a run proposes, as a value: recommendation.json's content, with a form to read in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmbench.call_page import escaped, folded, table
from llmbench.display import wording

_HEAD: Final = ("task", "verdict", "now", "proposed", "quality", "interval", "cost", "p95", "calls made")
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
    """A task's row; its figures are those of the model that it would move to."""
    by_name = {row["model"]: row for row in task["candidates"]}
    now, then = by_name.get(task["reference"], {}), by_name.get(task["choice"], {})
    made = f"{wording.number(sum(task['calls'].values()))} of {wording.number(task['grid_calls'])}"
    word = _VERDICTS.get(task["outcome"], task["outcome"])
    here = f"{task['reference']} ({task['tier']})"
    if not _moves(task):
        figures = (wording.score(now.get("quality")), "", wording.money(now.get("cost_usd_per_1000")))
        return (task["task"], word, here, "", *figures, wording.duration(now.get("p95_ms")), made)
    return (
        task["task"],
        word,
        here,
        f"{task['proposed_model']} ({task['proposed_tier']})",
        f"{wording.change(then.get('delta'))} points",
        wording.change_interval(then.get("delta_interval")),
        wording.ratio(then.get("cost_ratio")),
        f"{wording.duration(now.get('p95_ms'))} → {wording.duration(then.get('p95_ms'))}",
        made,
    )
