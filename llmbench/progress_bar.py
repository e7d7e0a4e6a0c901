"""A sweep's progress on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from llmbench.display.live_progress import progress_counts, progress_words


class ProgressBar:
    """A bar for the sweep's calls: rate, failures, cost so far and time left, in a notebook's words.

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
        finished, planned = progress_counts(facts)
        label = {"running": "sweep", "stopped": "stopped"}.get(str(facts.get("state")), "report")
        self._bar.update(
            self._task,
            description=escape(f"{label} {facts.get('part', '')}".rstrip()),
            total=planned,
            completed=finished,
            facts=escape(progress_words(facts)),
        )
