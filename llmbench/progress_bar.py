"""A sweep's progress on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class ProgressBar:
    """A bar for the sweep's calls: rate, failures, cost so far and time left.

    It appears with the first figures and is gone in the end: what is said then is an error, or the result.
    Entering it gives the function that shows figures; nothing is shown where nobody looks.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("sweep", total=None, facts="starting")

    def __enter__(self) -> Any:
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._bar.live.is_started:
            self._bar.stop()

    def _show(self, facts: Mapping[str, Any]) -> None:
        if not self._console.is_interactive:
            return
        self._bar.start()  # nothing when it has started
        parts = [f"{facts['rate']:.1f}/s", f"${facts['cost_usd']:.5f}"]
        if facts["failed"]:
            parts.append(f"{facts['failed']} failed")
        if facts["pending"]:
            parts.append(f"{facts['pending']} pending")
        if facts["state"] == "running" and facts["eta_s"] is not None:
            word = "at most" if facts.get("decisions") else "about"  # a race may end before its prompts do
            parts.append(f"{word} {facts['eta_s']:.0f} s left")
        if facts["state"] == "running" and facts.get("decisions"):
            parts.append(_standing(facts["decisions"]))
        label = "sweep" if facts["state"] == "running" else "report"
        self._bar.update(
            self._task,
            description=label,
            total=facts["planned"],
            completed=facts["cached"] + facts["done"],
            facts=" · ".join(parts),
        )


def _standing(decisions: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The task under way and where each of its candidates stands; names are text, not markup."""
    task, rows = list(decisions.items())[-1]
    shown = ", ".join(
        f"{row['model']} {row['evidence']:,.0f} of {row['needed']}" if row["state"] == "running"
        else f"{row['model']} {row['state']}"
        for row in rows
    )  # fmt: skip
    return escape(f"{task}: {shown}")
