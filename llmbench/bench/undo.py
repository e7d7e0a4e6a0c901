"""Take an apply back: exactly, or line by line where its files changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from llmbench.bench.applied import Applied
from llmbench.bench.chain import Project
from llmbench.bench.config_copy import load_texts
from llmbench.bench.config_store import FileChange, sha256_of
from llmbench.bench.decision_log import DecisionLog, Entry, read_decisions, standing
from llmbench.bench.edit import unified_diff
from llmbench.bench.patch import FilePatch, read_patch, take_back
from llmbench.bench.prepared import (
    Check,
    Prepared,
    changed_files,
    commit,
    finish_interrupted,
    loader_errors,
    new_id,
    refuse_new_errors,
    settled,
)
from llmbench.bench.proposed import kind_of
from llmbench.bench.route_proof import prove_back, prove_others_stay
from llmbench.config import Config
from llmbench.errors import ApplyError, ConfigError


def undo_apply(
    entry_id: str | None = None,
    *,
    project: str | Path = ".",
    by: str | None = None,
    reason: str = "",
    dry_run: bool = False,
    check: Check = loader_errors,
    now: datetime | None = None,
) -> Applied:
    """Take an apply back: the last one that stands, or the one of an id in the decision log.

    Raises:
        ApplyError: there is none, or a file changed since in a way that does not let it be taken back.
        ConfigError: the config folder cannot be loaded.
    """
    where = Project(Path(project))
    if not dry_run:
        finish_interrupted(where)
    prepared = prepare_undo(where, entry_id, check=check)
    return prepared.shown if dry_run else commit(prepared, by=by, reason=reason, now=now)


def prepare_undo(project: Project, entry_id: str | None = None, *, check: Check = loader_errors) -> Prepared:
    """Work out and prove how an apply is taken back. Writes nothing.

    Raises:
        ApplyError, ConfigError: as in `undo_apply`.
    """
    texts = settled(project.configs)
    log = read_decisions(project.configs)
    entry = _to_undo(log, entry_id)
    after, notes = dict(texts), [*log.doubts()]
    for patch in read_patch(entry.diff):
        text, is_exact = _taken_back(patch, texts.get(patch.name), entry)
        if not is_exact:
            notes.append(f"{patch.name} changed since: only the lines of {entry.id} are taken back.")
        after.pop(patch.name, None)
        if text is not None:
            after[patch.name] = text
    files = changed_files(texts, after)
    if not files:
        raise ApplyError(f"{entry.id}: its diff changes no file, so there is nothing to take back")
    moves = tuple(move.reversed() for move in entry.moves)
    kind = kind_of(each.name for each in files)
    before, loaded = load_texts(texts), _loaded(after, entry)
    prove_back(loaded, [(move.task, _first(move.from_model), _first(move.to_model)) for move in moves], kind)
    prove_others_stay(before, loaded, [move.task for move in moves], kind)
    refuse_new_errors(texts, after, check)
    undoing = replace(
        entry,
        id=new_id(),
        when="",
        by="",
        reason="",
        action="undo",
        undoes=entry.id,
        moves=moves,
        files=tuple((each.name, sha256_of(each.before), sha256_of(each.after)) for each in files),
        diff=_diff(files),
    )
    return Prepared(project.configs, texts, files, Applied(undoing, notes=tuple(notes)))


def _to_undo(log: DecisionLog, entry_id: str | None) -> Entry:
    """The apply to take back.

    Raises:
        ApplyError: there is none, or a line that cannot be read may be the last one.
    """
    entries, left = log.entries, standing(log.entries)
    if entry_id is None:
        if log.lost:
            listed = ", ".join(entry.id for entry in left) or "none"
            raise ApplyError(
                f"{log.doubts()[0]} It may be the last apply: repair the line (from git, or a backup), or "
                f"name the apply to take back; of those that can be read these stand: {listed}"
            )
        if not left:
            raise ApplyError("the decision log has no apply that is not undone: nothing to take back")
        return left[-1]
    found = next((entry for entry in left if entry.id == entry_id), None)
    if found is None:
        is_known = any(entry.id == entry_id for entry in entries)
        said = "is undone, or is no apply" if is_known else "is not in the decision log"
        raise ApplyError(f"{entry_id!r:.80} {said}; `llmbench apply --log` lists what is")
    return found


def _taken_back(patch: FilePatch, text: str | None, entry: Entry) -> tuple[str | None, bool]:
    """A file's text before an apply, and whether the file is still as the apply left it.

    Raises:
        ApplyError: it changed since, and the lines of the apply no longer stand in it as they did.
    """
    hashes = {name: (before, after) for name, before, after in entry.files}
    before, after = hashes.get(patch.name, (None, None))
    try:
        restored, _ = take_back(patch, text)
    except ApplyError as error:
        raise ApplyError(
            f"{patch.name} changed since {entry.id} was applied on {entry.when}, and its lines no longer "
            f"stand there as they did: {_what_to_do(text, after)}"
        ) from error
    return restored, sha256_of(text) == after and sha256_of(restored) == before


def _what_to_do(text: str | None, after: str | None) -> str:
    """How a file that cannot be taken back is taken back all the same."""
    plain = (text or "").replace("\r\n", "\n")
    if after in (sha256_of(plain), sha256_of(plain.replace("\n", "\r\n"))):
        return (
            "only its line ends were converted (an editor, or git's core.autocrlf): convert them back and "
            "undo again"
        )
    return (
        "take it back by hand: in `llmbench apply --log --json` its `diff` shows the lines to remove (+) and "
        "those to put back (-)"
    )


def _first(model: str) -> str:
    """The registry's key of a chain's first model, without the parameters that were tried on it."""
    return model.partition(" > ")[0].partition("[")[0]


def _loaded(after: Mapping[str, str], entry: Entry) -> Config:
    """The config of the files without an apply.

    Raises:
        ApplyError: it cannot be loaded: something that came later rests on the lines of the apply.
    """
    try:
        return load_texts(after)
    except ConfigError as error:
        raise ApplyError(
            f"without {entry.id} the files could not be loaded ({error}): something that was changed later "
            "rests on it; take that back first, or edit the files by hand"
        ) from error


def _diff(files: Sequence[FileChange]) -> str:
    """The diff of changes of which one may remove a file."""
    old = {each.name: each.before for each in files if each.before is not None}
    parts = [unified_diff(old, {each.name: each.after for each in files if each.after is not None})]
    for each in files:
        if each.after is None:
            lines = "".join(f"-{line}\n" for line in (each.before or "").splitlines())
            count = lines.count("\n")
            parts.append(
                f"diff --git a/configs/{each.name} b/configs/{each.name}\ndeleted file mode 100644\n"
                f"--- a/configs/{each.name}\n+++ /dev/null\n@@ -1,{count} +0,0 @@\n{lines}"
            )
    return "".join(parts)
