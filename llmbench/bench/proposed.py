"""From a recommendation that was found to the texts that it asks for: worked out anew, or by its diff."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from llmbench.bench.asked import measured_models
from llmbench.bench.chain import Project
from llmbench.bench.config_copy import folder_of, load_texts
from llmbench.bench.decision_log import Moved
from llmbench.bench.patch import apply_patch, read_patch
from llmbench.bench.propose import Proposal
from llmbench.bench.recommend import decide_tasks, moves_of, proposal_of
from llmbench.bench.route_proof import Expected, view_of
from llmbench.bench.run_decisions import Run, read_run, recommend_run, routing_of
from llmbench.bench.tiers import Move
from llmbench.bench.vetting import (
    AGAIN,
    Found,
    refuse_changed_configs,
    refuse_old,
    refuse_other_evidence,
    refuse_other_models,
    refuse_what_does_not_follow,
)
from llmbench.config import Config, load_config
from llmbench.config.model import MEDIA_FILES, MediaModality
from llmbench.errors import ApplyError

_NOT_DONE: Final = "Not in the diff:"
_UNPROVED: Final = "Its run does not lie beside it: nothing was worked out again, its diff is taken as it is."


@dataclass(frozen=True, slots=True)
class Change:
    """What a recommendation comes to on the present files.

    Attributes:
        texts: every file's text afterwards.
        moves: the tasks that move, in words.
        expected: the same, to be proved.
        uncalled: models that could not be called when the run was planned.
        kind: the media kind; None for text.
        notes: what a person should know.
    """

    texts: Mapping[str, str]
    moves: tuple[Moved, ...]
    expected: tuple[Expected, ...]
    uncalled: frozenset[str]
    kind: MediaModality | None
    notes: tuple[str, ...]


def proposed_change(
    found: Found,
    tasks: Collection[str],
    base: Mapping[str, str],
    texts: Mapping[str, str],
    most_days: float,
    now: datetime,
) -> Change:
    """The change that some tasks of a recommendation ask for, after everything about it was vetted.

    Args:
        found: the recommendation.
        tasks: those to move.
        base: the config files without what this recommendation already changed.
        texts: the config files as they are.
        most_days: the most days since the evidence.
        now: the present time.

    Raises:
        ApplyError: it is too old, the files changed since, or it does not follow from its run.
        ConfigError: the files cannot be loaded.
        SweepError: the run folder cannot be read or decided.
    """
    if found.run_dir is None:
        return _as_written(found, tasks, base, texts, most_days, now)
    try:
        return _by_its_run(found, found.run_dir, tasks, base, texts, most_days, now)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise ApplyError(
            f"{found.run_dir}: plan.json or results.jsonl is not as a sweep writes it "
            f"({type(error).__name__}: {error}); sweep again"
        ) from error


def _by_its_run(
    found: Found,
    run_dir: Path,
    tasks: Collection[str],
    base: Mapping[str, str],
    texts: Mapping[str, str],
    most_days: float,
    now: datetime,
) -> Change:
    """The change as the run gives it now, after the recommendation was compared with it."""
    run = read_run(run_dir)
    refuse_other_evidence(found, run.results_sha256)
    decisions = decide_tasks(run.rows, run.plan)
    with folder_of(base) as root:
        config = load_config(root / "configs")
        kind = _kind(run)
        measured = {task: measured_models(run.plan, task) for task in tasks}
        notes = refuse_other_models(found, run.plan, view_of(config, kind), measured, kind)
        notes += refuse_changed_configs(found, base, config.hash, kind)
        routing = routing_of(Project(root), config, run.plan)
    right = recommend_run(run, routing, decisions)
    refuse_old(found, run.oldest(tasks), run.evidence_at, most_days, now)
    if "configs" not in found.facts:
        _patched(found, base)
    refuse_what_does_not_follow(found, right)
    with folder_of(texts) as root:
        routing = routing_of(Project(root), load_config(root / "configs"), run.plan)
    moves = [move for move in moves_of(decisions, run.plan, routing) if move.task in tasks]
    proposal = proposal_of(moves, list(decisions), run.plan, routing)
    return _worked_out(moves, proposal, right, run, texts, notes)


def _kind(run: Run) -> MediaModality | None:
    kind = run.plan.get("modality", "text")
    return None if kind == "text" else kind


def kind_of(names: Iterable[str]) -> MediaModality | None:
    """The media kind that some of the files are of; None for text."""
    listed = set(names)
    return next((kind for kind, name in MEDIA_FILES.items() if name in listed), None)


def _worked_out(
    moves: Sequence[Move],
    proposal: Proposal,
    right: Mapping[str, Any],
    run: Run,
    texts: Mapping[str, str],
    notes: Sequence[str],
) -> Change:
    undone = [note for note in proposal.notes if note.startswith(_NOT_DONE)]
    if undone:
        raise ApplyError(f"the proposal cannot be made whole: {undone[0]} Make it by hand")
    said = {task["task"]: task for task in right["tasks"]}
    moved, expected = [], []
    for move in moves:
        facts, tier = said[move.task], proposal.destinations[move.task]
        moved.append(
            Moved(move.task, move.tier, facts["reference"], tier, facts["choice"], facts["sentence"])
        )
        expected.append(
            Expected(move.task, tier, (move.reference,), move.chain, move.params, move.closed_channels)
        )
    return Change(
        texts={**texts, **proposal.edited},
        moves=tuple(moved),
        expected=tuple(expected),
        uncalled=frozenset(run.plan.get("unreachable", ())),
        kind=_kind(run),
        notes=(*notes, *proposal.notes),
    )


def _as_written(
    found: Found,
    tasks: Collection[str],
    base: Mapping[str, str],
    texts: Mapping[str, str],
    most_days: float,
    now: datetime,
) -> Change:
    """The change by the diff alone: nothing lies beside the file that it could be worked out from.

    Raises:
        ApplyError: a part of it is asked for, its age is not known, or its diff does not fit exactly.
    """
    if {task["task"] for task in found.moving} != set(tasks):
        raise ApplyError(
            f"{found.path} lies alone: a part of it can be worked out only beside its plan.json and "
            "results.jsonl"
        )
    newest = found.facts.get("evidence_at")
    refuse_old(found, found.facts.get("evidence_from", newest), newest, most_days, now)
    config = load_texts(base)
    kind = kind_of(patch.name for patch in read_patch(found.facts["diff"]))
    expected = tuple(_expected(task) for task in found.moving)
    measured = {each.task: [*each.reference, *each.chain] for each in expected}
    told = refuse_other_models(found, found.facts, view_of(config, kind), measured, kind)
    told += refuse_changed_configs(found, base, config.hash, kind)
    after = _patched(found, texts)
    moves = [
        Moved(
            task["task"],
            task["tier"],
            task["reference"],
            task["proposed_tier"],
            task["proposed_model"],
            task["sentence"],
        )
        for task in found.moving
    ]
    return Change(
        texts=after,
        moves=tuple(moves),
        expected=expected,
        uncalled=frozenset(_ahead(found, config, kind)),
        kind=kind,
        notes=(_UNPROVED, *told),
    )


def _patched(found: Found, texts: Mapping[str, str]) -> dict[str, str]:
    """The texts after the diff of a recommendation.

    Raises:
        ApplyError: it is not well formed, or not of these texts.
    """
    after = dict(texts)
    for patch in read_patch(found.facts["diff"]):
        text = apply_patch(patch, after.get(patch.name))
        if text is None:
            raise ApplyError(f"{found.path}: its diff removes {patch.name}, which no proposal does; {AGAIN}")
        after[patch.name] = text
    return after


def _expected(task: Mapping[str, Any]) -> Expected:
    chain = tuple(task["proposed_model"].split(" > "))
    if any("[" in model for model in chain):
        raise ApplyError(
            f"{task['task']} moves to {task['proposed_model']}, a model with parameters of its own: that can "
            "be applied only beside its plan.json and results.jsonl"
        )
    reference = tuple(task["reference"].split(" > "))[:1]
    return Expected(task["task"], task["proposed_tier"], reference, chain, {})


def _ahead(found: Found, config: Config, kind: MediaModality | None) -> list[str]:
    """The models before the one that the recommendation calls a tier's first: they were not measured."""
    view = view_of(config, kind)
    tiers = view.all_tiers()
    ahead: list[str] = []
    for row in found.facts["tiers"]:
        keys = [view.model_key(each.model) or each.model for each in tiers.get(str(row.get("tier")), ())]
        first = view.model_key(str(row.get("first"))) or str(row.get("first"))
        ahead += keys[: keys.index(first)] if first in keys else []
    return ahead
