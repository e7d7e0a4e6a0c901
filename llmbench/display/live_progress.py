"""A sweep's progress in words, and as one live output of a notebook cell.

A notebook's output is replaced in place, without a widget: it is the same in JupyterLab, in a saved notebook
and on a page. What a saved one says last depends on what was done and on the clock only where calls were
made: a replay calls nothing, and its output is the same every time.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from llmbench.visible import visible

Facts = Mapping[str, Any]
#: Further counts, shown where a sweep has them: what waits on our side or at a provider's limit.
_WAITING: Final = ("queued", "throttled")


class _Counted(Protocol):
    """A sweep's counts, which give their facts when asked."""

    def facts(self) -> Mapping[str, Any]:
        """The counts by name, as in progress.json."""
        ...


def progress_words(facts: Facts) -> str:
    """Say how a sweep goes: rate, cost so far, failures, time left, and where the candidates stand.

    Args:
        facts: as in progress.json. What is missing or unknown is left out.
    """
    is_running = facts.get("state") == "running"
    called = _count(facts, "done") + _count(facts, "pending")
    parts = [f"{_count(facts, 'cached')} from the ledger"] if facts.get("cached") else []
    if called:
        parts += [f"{facts.get('rate') or 0:.1f}/s", _cost(facts)]
    parts += [f"{_count(facts, word)} {word}" for word in ("failed", "pending") if _count(facts, word)]
    if is_running:
        parts += [f"{_count(facts, word)} {word}" for word in _WAITING if _count(facts, word)]
        if facts.get("eta_s") is not None:
            word = "at most" if facts.get("decisions") else "about"  # a race may end before its prompts do
            parts.append(f"{word} {facts['eta_s']:.0f} s left")
        if facts.get("decisions"):
            parts.append(_standing(facts["decisions"]))
    if facts.get("ended"):
        parts.append(str(facts["ended"]))
    return _line(parts)


def progress_counts(facts: Facts) -> tuple[int, int]:
    """The cells that have their result, and all that were planned."""
    return _count(facts, "cached") + _count(facts, "done"), _count(facts, "planned")


def _count(facts: Facts, name: str) -> int:
    value = facts.get(name)
    return value if isinstance(value, int) else 0


def _line(parts: Sequence[str]) -> str:
    """The parts that say something, on one line, with nothing hidden in them."""
    return " ".join(visible(" · ".join(part for part in parts if part)).split())


def _cost(facts: Facts) -> str:
    known = f"${facts.get('cost_usd') or 0:.5f}"
    unknown = _count(facts, "cost_unknown")
    return f"{known} and {unknown} calls of unknown cost" if unknown else known


def _standing(decisions: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The task under way and where each of its candidates stands."""
    task, rows = list(decisions.items())[-1]
    shown = ", ".join(
        f"{row.get('model')} {row.get('evidence') or 0:,.0f} of {row.get('needed')}"
        if row.get("state") == "running" else f"{row.get('model')} {row.get('state')}"
        for row in rows
    )  # fmt: skip
    return f"{task}: {shown}"


def progress_bundle(facts: Facts) -> dict[str, str]:
    """A sweep's progress as a notebook shows it: `text/plain`, and `text/html` with a bar."""
    finished, planned = progress_counts(facts)
    words = [str(facts.get("state", "")), f"{finished} of {planned}", progress_words(facts)]
    if _count(facts, "done") + _count(facts, "pending"):
        words.append(f"{facts.get('elapsed_s') or 0:.0f} s")
    line = _line(words)
    bar = f'<progress max="{max(planned, 1)}" value="{finished}"></progress>'
    return {"text/plain": line, "text/html": f"<p>{bar} {html.escape(line)}</p>"}


class LiveProgress:
    """Shows a sweep's progress in the notebook cell that runs it: `run_sweep(..., watch=LiveProgress())`.

    It may be told from any thread. Outside IPython it shows nothing.
    """

    def __init__(self) -> None:
        self._output: Any = None  # IPython's handle of an output, untyped
        self._shown: dict[str, str] = {}

    def __call__(self, progress: _Counted | Facts) -> None:
        """Show the progress in place of what was shown before."""
        bundle = progress_bundle(progress if isinstance(progress, Mapping) else progress.facts())
        if bundle == self._shown:
            return
        self._shown = bundle
        if self._output is not None:
            self._output.update(bundle, raw=True)
            return
        try:
            from IPython import get_ipython
            from IPython.display import display
        except ModuleNotFoundError:
            return  # a script without the notebooks' packages
        if get_ipython() is not None:
            self._output = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
