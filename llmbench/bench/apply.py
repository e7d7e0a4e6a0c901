"""Apply a recommendation to the config files: read it, vet it, prove what it changes, write it and log it.

`prepare` writes nothing; `commit` writes what was prepared, if the folder is still what was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from llmbench.bench.applied import Applied
from llmbench.bench.chain import Project
from llmbench.bench.config_copy import load_texts
from llmbench.bench.config_store import sha256_of
from llmbench.bench.decision_log import Entry, read_decisions, standing
from llmbench.bench.edit import unified_diff
from llmbench.bench.moved_rollouts import rollout_notes
from llmbench.bench.patch import read_patch, take_back
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
from llmbench.bench.proposed import Change, proposed_change
from llmbench.bench.route_proof import prove_moves, prove_others_stay, unnamed_moves
from llmbench.bench.vetting import (
    choose_tasks,
    find_recommendation,
    refuse_uncalibrated,
    refuse_unproved,
)
from llmbench.errors import ApplyError
from llmbench.visible import visible

#: Days after which evidence is too old, unless said otherwise.
MAX_AGE_DAYS: Final = 30.0


def apply_recommendation(
    recommendation: str | Path,
    *,
    project: str | Path = ".",
    tasks: Sequence[str] = (),
    by: str | None = None,
    reason: str = "",
    accept_uncalibrated: bool = False,
    accept_unproved: bool = False,
    max_age_days: float = MAX_AGE_DAYS,
    dry_run: bool = False,
    check: Check = loader_errors,
    now: datetime | None = None,
) -> Applied:
    """Change the config files as a recommendation proposes, and log it.

    Args:
        recommendation: a recommendation.json, a run folder, or a run id in reports/.
        project: the folder with configs/ and reports/.
        tasks: only these tasks; all that it moves by default.
        by: who applies it; the login name by default.
        reason: why, in a person's words.
        accept_uncalibrated: also move tasks that only a judge scored whom no person checked.
        accept_unproved: also apply a recommendation.json whose run does not lie beside it; a dry run does.
        max_age_days: the most days since the oldest call that the moved tasks rest on.
        dry_run: only say what would be done.
        check: what is wrong with a config folder; new errors refuse the change.
        now: the present time; the clock's by default.

    Returns:
        What was done: it prints in words and shows its diff in a notebook.

    Raises:
        ApplyError: it may not be applied; the text says why and what to do. Nothing was written.
        ConfigError: the config folder cannot be loaded.
        SweepError: the run folder cannot be read or decided.
    """
    where = Project(Path(project))
    if not dry_run:
        finish_interrupted(where)
    prepared = prepare(
        recommendation,
        where,
        tasks,
        accept_uncalibrated=accept_uncalibrated,
        accept_unproved=accept_unproved or dry_run,
        max_age_days=max_age_days,
        check=check,
        now=now,
    )
    return prepared.shown if dry_run else commit(prepared, by=by, reason=reason, now=now)


def prepare(
    recommendation: str | Path,
    project: Project,
    tasks: Sequence[str] = (),
    *,
    accept_uncalibrated: bool = False,
    accept_unproved: bool = False,
    max_age_days: float = MAX_AGE_DAYS,
    check: Check = loader_errors,
    now: datetime | None = None,
) -> Prepared:
    """Read, vet and prove a recommendation. Writes nothing.

    Raises:
        ApplyError, ConfigError, SweepError: as in `apply_recommendation`.
    """
    texts = settled(project.configs)
    found = find_recommendation(recommendation, project)
    refuse_unproved(found, is_accepted=accept_unproved)
    log = read_decisions(project.configs)
    own = [each for each in standing(log.entries) if each.recommendation_sha256 == found.sha256]
    chosen = _not_yet_applied(choose_tasks(found, tasks), own, has_choice=bool(tasks))
    refuse_uncalibrated(found, chosen, is_accepted=accept_uncalibrated)
    base = _without(texts, own)
    change = proposed_change(found, chosen, base, texts, max_age_days, now or datetime.now(UTC))
    files = changed_files(texts, change.texts)
    if not files:
        raise ApplyError(f"{found.path} changes no file: the configs already say what it proposes")
    before, after = load_texts(texts), load_texts(change.texts)
    moved = [move.task for move in change.moves]
    prove_moves(before, after, change.expected, change.uncalled, texts, change.kind)
    prove_others_stay(before, after, moved, change.kind)
    beside = rollout_notes(after, project.configs, change.expected, change.uncalled, change.kind)
    refuse_new_errors(texts, change.texts, check)
    entry = Entry(
        id=new_id(),
        when="",
        by="",
        reason="",
        action="apply",
        undoes=None,
        run_id=found.facts["run_id"],
        recommendation_sha256=found.sha256,
        evidence_sha256=found.facts["evidence_sha256"],
        moves=change.moves,
        files=tuple((each.name, sha256_of(each.before), sha256_of(each.after)) for each in files),
        diff=unified_diff(texts, change.texts),
    )
    notes = (*_notes(change, own, unnamed_moves(before, after)), *beside, *log.doubts())
    return Prepared(project.configs, texts, files, Applied(entry, notes=notes), found.run_dir is not None)


def _not_yet_applied(chosen: list[str], own: Sequence[Entry], *, has_choice: bool) -> list[str]:
    """The tasks that this very recommendation has not moved already.

    Raises:
        ApplyError: it has moved all of them, or one that was asked for.
    """
    done = {move.task: entry for entry in own for move in entry.moves}
    again = [task for task in chosen if task in done]
    left = [task for task in chosen if task not in done]
    if again and (has_choice or not left):
        entry = done[again[0]]
        raise ApplyError(
            f"{', '.join(again)}: already applied on {entry.when} by {visible(entry.by)}; take it back with "
            f"`llmbench apply --undo {entry.id}`"
        )
    return left


def _without(texts: Mapping[str, str], own: Sequence[Entry]) -> dict[str, str]:
    """The texts as they were before the parts of a recommendation that were applied already.

    Raises:
        ApplyError: a file changed since.
    """
    base = dict(texts)
    for entry in reversed(own):
        for patch in read_patch(entry.diff):
            text, _ = take_back(patch, base.pop(patch.name, None))  # what it gives is compared by its hash
            if text is not None:
                base[patch.name] = text
    return base


def _notes(change: Change, own: Sequence[Entry], unnamed: str | None) -> tuple[str, ...]:
    before = [f"{entry.id} applied {', '.join(move.task for move in entry.moves)} before." for entry in own]
    return (*before, *change.notes, *([unnamed] if unnamed else []))
