"""The stop file: which rollouts are stopped, since when, why and by whom. The router only reads it.

Every change is made under a lock beside the file and written whole, so that a person and a watch that write
at once both keep what they wrote, and the router never sees half a file.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from llmbench.bench.results import write_whole
from llmbench.errors import SweepError
from llmbench.routing.rollout import STOP_SCHEMA, read_entries

Entry = Mapping[str, Any]
State = Literal["running", "stopped"]
#: A rollout that the file does not name. Evidence counts calls from `counts_from` on, for None all of them.
NO_ENTRY: Final[Entry] = {"state": "running", "counts_from": None}


def entries(path: Path) -> dict[str, dict[str, Any]]:
    """The entry of every rollout that the file names; none where there is no file.

    Raises:
        SweepError: the file cannot be used; the router stops every rollout meanwhile.
    """
    try:
        return read_entries(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SweepError(
            f"{path}: {error}; the router stops every rollout until the file is repaired or removed"
        ) from error


def write_state(
    path: Path,
    name: str,
    state: State,
    *,
    now: datetime,
    by: str,
    reason: str,
    figures: Mapping[str, Any] | None = None,
    known: Entry | None = None,
) -> bool:
    """Write a rollout's state, and keep those of the others.

    Args:
        path: the stop file; its folder is made.
        name: the rollout.
        state: whether it runs from now on.
        now: the time of the change.
        by: who or what changes it.
        reason: why, in a sentence.
        figures: what the change is based on.
        known: the entry that the change is based on; with another one in the file nothing is written.

    Returns:
        Whether the entry was written.

    Raises:
        SweepError: the file cannot be used or written.
    """
    with _locked(path):
        found = entries(path)
        if known is not None and found.get(name, NO_ENTRY) != known:
            return False
        counts_from = found.get(name, NO_ENTRY).get("counts_from")
        entry: dict[str, Any] = {"state": state, "since": now.isoformat(), "by": by, "reason": reason}
        entry["counts_from"] = now.isoformat() if state == "running" else counts_from
        found[name] = entry | ({"figures": dict(figures)} if figures else {})
        data = {"schema": STOP_SCHEMA, "rollouts": found}
        write_whole(path, [json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False), "\n"])
        return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        raise SweepError(f"{lock} cannot be written: {error.strerror}; let this user write there") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
