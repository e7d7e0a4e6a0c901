"""A change of config files that was proved, and how it is written: all files or none, and logged."""

from __future__ import annotations

import getpass
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from llmbench.bench.applied import Applied
from llmbench.bench.chain import Project
from llmbench.bench.config_copy import clear_copies, folder_of
from llmbench.bench.config_store import (
    FileChange,
    clear_partials,
    has_journal,
    locked,
    partials,
    read_configs,
    recover,
    write_all,
)
from llmbench.config import inspect_config
from llmbench.config.model import Finding
from llmbench.errors import ApplyError

Check = Callable[[Path], Sequence[Finding]]
"""What is wrong with a config folder."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A change that was proved and may be written.

    Attributes:
        folder: the config folder.
        seen: every file's text as it was when the change was proved.
        files: what would change.
        shown: what is shown of it.
        is_proved: whether the run that it rests on was looked at.
    """

    folder: Path
    seen: Mapping[str, str]
    files: tuple[FileChange, ...]
    shown: Applied
    is_proved: bool = True


def loader_errors(folder: Path) -> Sequence[Finding]:
    """What the loader has to say of a config folder; `llmbench apply` asks `llmbench check` instead."""
    return inspect_config(folder)[1]


def settled(folder: Path) -> dict[str, str]:
    """The texts of a folder in which no apply was broken off.

    Raises:
        ApplyError: one was.
    """
    if has_journal(folder):
        raise ApplyError(
            f"an apply was broken off in {folder}: `llmbench apply --undo`, or any apply that is not a dry "
            "run, finishes it first"
        )
    return read_configs(folder)


def changed_files(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[FileChange, ...]:
    """The files that are not the same, one of them perhaps new or gone."""
    names = sorted({*before, *after})
    changes = (FileChange(name, before.get(name), after.get(name)) for name in names)
    return tuple(change for change in changes if change.before != change.after)


def refuse_new_errors(before: Mapping[str, str], after: Mapping[str, str], check: Check) -> None:
    """Refuse a change that makes an error which was not there.

    Raises:
        ApplyError: it does.
    """
    found = []
    for texts in (before, after):
        with folder_of(texts) as root:
            findings = check(root / "configs")
            found.append({(each.path, each.message): each for each in findings if each.severity == "error"})
    new = [each for key, each in found[1].items() if key not in found[0]]
    if new:
        raise ApplyError(f"the changed files would have an error: {new[0]}")


def commit(
    prepared: Prepared, *, by: str | None = None, reason: str = "", now: datetime | None = None
) -> Applied:
    """Write what was prepared, and log it.

    Raises:
        ApplyError: a file changed since it was prepared, another apply is at work, or a file cannot be
            written.
    """
    when = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    entry = replace(prepared.shown.entry, when=when, by=by or _login(), reason=reason)
    with locked(prepared.folder):
        present = settled(prepared.folder)
        other = sorted(
            name for name in {*present, *prepared.seen} if present.get(name) != prepared.seen.get(name)
        )
        if other:
            raise ApplyError(
                f"{', '.join(other)} changed in the meantime; nothing was written: "
                "give the same command again, it shows the change on the files as they are now"
            )
        write_all(prepared.folder, prepared.files, entry.facts())
    return replace(prepared.shown, entry=entry, is_written=True)


def finish_interrupted(project: Project) -> str | None:
    """Finish what a killed process began and clear what it left; says what it was, None where nothing was.

    Raises:
        ApplyError: it cannot be finished; the text says what to do.
    """
    clear_copies()
    if not has_journal(project.configs) and not partials(project.configs):
        return None
    with locked(project.configs):
        entry = recover(project.configs)
        clear_partials(project.configs)
    if entry is None:  # nothing was changed yet, or another process was faster
        return None
    return f"{entry.get('action')} {entry['id']} had been broken off and was finished now"


def clear_leftovers(project: Project) -> None:
    """Clear what a killed process left half-written, and finish nothing.

    Raises:
        ApplyError: a file cannot be removed, or another apply is at work.
    """
    clear_copies()
    if partials(project.configs):
        with locked(project.configs):
            clear_partials(project.configs)


def new_id() -> str:
    """A name for a line of the decision log."""
    return uuid.uuid4().hex[:10]


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return "unknown"
