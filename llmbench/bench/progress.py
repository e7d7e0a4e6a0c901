"""How far a sweep is: counted in memory, shown in progress.json for whoever watches from outside.

The file names the process that writes it. One that says `running` whose process is gone (killed, out of
memory) is read as `stopped`: nobody was left to write it.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmbench.bounded import read_json
from llmbench.own_files import write_beside

_EVERY_S: Final = 0.25


@dataclass(slots=True)
class Progress:
    """Counts of one sweep. `planned` cells in all, `cached` of them found in the ledger at the start.

    `warm_ups` are calls to a local model before its first cell of a task; they are in no result. `decisions`
    has the state of each candidate of each task, where the sweep stops as soon as it is decided; `planned` is
    then the most that can be needed.
    """

    planned: int
    cached: int
    done: int = 0
    failed: int = 0
    pending: int = 0
    warm_ups: int = 0
    cost_usd: float = 0.0
    cost_unknown: int = 0
    current: str = ""
    state: str = "running"
    notices: tuple[str, ...] = ()
    decisions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def note(self, text: str) -> None:
        """Add a sentence to what is said beside the counts."""
        self.notices = (*self.notices, text)

    def facts(self) -> dict[str, Any]:
        """The JSON form. `elapsed_s` is wall time, `rate` finished calls a second."""
        elapsed_s = time.monotonic() - self.started
        left = self.planned - self.cached - self.done - self.pending
        rate = self.done / elapsed_s if elapsed_s > 0 else 0.0
        return {
            "state": self.state,
            "planned": self.planned,
            "cached": self.cached,
            "done": self.done,
            "failed": self.failed,
            "pending": self.pending,
            "warm_ups": self.warm_ups,
            "cost_usd": self.cost_usd,
            "cost_unknown": self.cost_unknown,
            "elapsed_s": round(elapsed_s, 1),
            "rate": round(rate, 3),
            "eta_s": round(left / rate, 1) if rate > 0 else None,
            "current": self.current,
            "notices": list(self.notices),
            "decisions": self.decisions,
        }


class ProgressFile:
    """Writes a Progress to a file, whole each time, at most four times a second."""

    def __init__(self, path: Path, watch: Callable[[Progress], None] | None = None) -> None:
        self._path = path
        self._watch = watch
        self._last = 0.0
        self._writer = {"pid": os.getpid(), "pid_born": _birth(os.getpid()), "host": platform.node()}

    def show(self, progress: Progress, *, now: bool = False) -> None:
        """Write the file if it is due, or now; then tell the watcher.

        A file that cannot be written stays as it is: what it shows is in the ledger too.
        """
        if not now and time.monotonic() - self._last < _EVERY_S:
            return
        self._last = time.monotonic()
        _write(self._path, progress.facts() | self._writer)
        if self._watch is not None:
            self._watch(progress)


def read_progress(path: Path) -> dict[str, Any] | None:
    """The last written progress, or None while there is none.

    `state` is `stopped`, with the reason in `ended`, when the file says `running` and its process on this
    machine is gone.
    """
    facts = _read(path)
    if facts is not None and facts.get("state") == "running" and _is_gone(facts):
        ended = f"process {facts['pid']} ended before its sweep did"
        return facts | {"state": "stopped", "eta_s": None, "ended": ended}
    return facts


def mark_stopped(path: Path, ended: str) -> None:
    """Write that a sweep is stopped, for the process that ended it; nothing when it had come to its end.

    Args:
        path: the sweep's progress.json; it may be missing.
        ended: what ended the sweep, for the reader.
    """
    facts = _read(path)
    if facts is not None and facts.get("state") == "running":
        _write(path, facts | {"state": "stopped", "eta_s": None, "ended": ended})


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        write_beside(path, (json.dumps(facts) + "\n").encode())


def _is_gone(facts: Mapping[str, Any]) -> bool:
    """Whether the process that wrote the facts is dead for sure; not known of another machine's."""
    pid = facts.get("pid")
    if type(pid) is not int or pid <= 0 or facts.get("host") != platform.node():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it lives and is another person's; or the number is no pid
        return False
    born = facts.get("pid_born")
    return born is not None and _birth(pid) != born  # dead but not collected, or its number given away again


def _birth(pid: int) -> str | None:
    """When a live process started, in the kernel's own ticks; None of a dead one, or without /proc."""
    try:
        rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
    except OSError:
        return None
    words = rest.split()
    return None if words[0] in "ZX" else words[19]
