"""From verdicts to a proposed change of the config files. Nothing is written: a diff is handed to a person.

A model that is the first of a cheaper tier takes the task there (of a dearer one, when the task needs more
quality). Any other model is put before the one it replaces, for this task alone, or in the tier, when it is
proved for every task of the tier: one that was not measured blocks.

Candidates that could not be called when the run was planned were not measured. They keep their places, and
the first of a tier is the first of the others: what serves the tier where the run was made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llmbench.bench.edit import Value, named_model, put_before, read_mapping, set_value, unified_diff
from llmbench.bench.terms import arm_name
from llmbench.bench.tiers import Move, settle
from llmbench.errors import ConfigError

MAPPING: Final = "llm_tier_mapping.yaml"
OVERRIDES: Final = "llm_task_overrides.yaml"
CANDIDATES: Final = "llm_tier_candidates.yaml"
ROUTER: Final = "llm_router.yaml"
SLOTS: Final = "llm_model_slots.yaml"


@dataclass(frozen=True, slots=True)
class MediaFile:
    """The file of a media kind.

    Attributes:
        name: image_models.yaml or speech_models.yaml.
        profile: the profile that lies over it where the run was made, or None.
        keys: what the file may call a model -> its key; names that are keys may be left out.
    """

    name: str
    profile: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Routing:
    """How tasks are routed today.

    Attributes:
        tiers: tier -> ordered model keys.
        task_tiers: task -> tier; a task it lacks has the tier of the plan.
        configs: file name -> text of the config files, to make the diff from; None for no diff.
        unreachable: models of the tiers that could not be called when the run was planned.
        providers: model key -> provider.
        media: the media file that the tiers stand in; None for those of text models.
        grounds: file name -> hash of each config file that the evidence rests on; None for no such file.
    """

    tiers: Mapping[str, Sequence[str]]
    task_tiers: Mapping[str, str]
    configs: Mapping[str, str] | None = None
    unreachable: Collection[str] = ()
    providers: Mapping[str, str] | None = None
    media: MediaFile | None = None
    grounds: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one file: set the value at a path, or put it into the list there, before another."""

    file: str
    path: tuple[str, ...]
    value: Value
    is_list: bool = False
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the moves of a run come to.

    Attributes:
        destinations: task -> tier it would be in.
        tiers: the `tiers` rows of recommendation.json.
        diff: unified diff of the config files; empty when nothing changes.
        notes: what a person should know before applying it.
        edited: file name -> text after the change.
    """

    destinations: Mapping[str, str]
    tiers: list[dict[str, Any]]
    diff: str = ""
    notes: list[str] = field(default_factory=list)
    edited: Mapping[str, str] = field(default_factory=dict)


def propose(moves: Sequence[Move], measured: Sequence[str], routing: Routing) -> Proposal:
    """Turn the moves of a run into tiers, overrides and a diff.

    Args:
        moves: at most one per task.
        measured: every task of the run.
        routing: how tasks are routed today.

    Raises:
        ConfigError: a config file is not YAML.
    """
    files, listed, task_tiers = dict(routing.configs or {}), routing.tiers, routing.task_tiers
    uncalled = routing.unreachable
    tiers = {tier: [name for name in models if name not in uncalled] for tier, models in listed.items()}
    pinned = {move.task for move in moves if move.params or _own_list(files, move.task) is not None}
    served = {task: name for task, name in task_tiers.items() if _own_list(files, task) is None}
    destinations, rows = settle(moves, measured, tiers, served, pinned)
    raised = {row["tier"]: row["proposed_first"] for row in rows if row["changed"]}
    if routing.configs is None:
        return Proposal(destinations, rows)
    edits = [_tier_edit(files, tier, model, tiers) for tier, model in raised.items()]
    for move in moves:
        if raised.get(move.tier) != move.model or destinations[move.task] != move.tier:
            edits += _task_edits(files, move, destinations[move.task], listed)
        edits += _channel_edits(files, move, listed)
    edited, notes = apply_edits(files, edits)
    notes += _warnings(files, edited, moves, destinations, raised)
    notes += ahead_notes(listed, tiers, raised, destinations)
    return Proposal(destinations, rows, unified_diff(files, edited), notes, edited)


def _own_list(files: Mapping[str, str], task: str) -> str | None:
    """The file in which a task has its own list of models, which wins over every tier."""
    for name in (OVERRIDES, ROUTER):
        if isinstance(_task_entry(files, name, task).get("models"), list):
            return name
    return None


def _task_entry(files: Mapping[str, str], name: str, task: str) -> Mapping[str, Any]:
    try:
        tasks = read_mapping(files.get(name, "")).get("tasks")
    except ConfigError as error:
        raise ConfigError(str(error), path=name) from error
    entry = tasks.get(task) if isinstance(tasks, dict) else None
    return entry if isinstance(entry, dict) else {}


def _tier_edit(files: Mapping[str, str], tier: str, model: str, tiers: Mapping[str, Sequence[str]]) -> Edit:
    name = ROUTER if CANDIDATES not in files and ROUTER in files else CANDIDATES
    return Edit(name, ("tiers", tier), model, is_list=True, before=next(iter(tiers.get(tier, ())), None))


def _task_edits(
    files: Mapping[str, str], move: Move, destination: str, tiers: Mapping[str, Sequence[str]]
) -> list[Edit]:
    """Say where a task's change belongs: the place that decides its route today."""
    entry = ("tasks", move.task)
    own = _own_list(files, move.task)
    if move.params:
        others = replace(move, params={})
        moved = [] if move.chain == (move.reference,) else _task_edits(files, others, destination, tiers)
        return [*moved, *_option_edits(files, move)]
    if own is not None:
        followers = (*move.chain[1:], move.reference)
        pairs = reversed(list(zip(move.chain, followers, strict=True)))
        return [Edit(own, (*entry, "models"), model, is_list=True, before=next_) for model, next_ in pairs]
    if destination != move.tier:
        if "tier" in _task_entry(files, OVERRIDES, move.task):
            return [Edit(OVERRIDES, (*entry, "tier"), destination)]
        if MAPPING not in files and ROUTER in files:
            return [Edit(ROUTER, (*entry, "tier"), destination)]
        return [Edit(MAPPING, entry, destination)]
    old = [model for model in tiers.get(move.tier, (move.reference,)) if model not in move.chain]
    name = ROUTER if OVERRIDES not in files and MAPPING not in files and ROUTER in files else OVERRIDES
    place = old.index(move.reference) if move.reference in old else 0
    return [Edit(name, (*entry, "models"), [*old[:place], *move.chain, *old[place:]])]


def _option_edits(files: Mapping[str, str], move: Move) -> list[Edit]:
    """Give a task the parameters that were proved."""
    is_router = OVERRIDES not in files and MAPPING not in files and ROUTER in files
    name, key = (ROUTER, "defaults") if is_router else (OVERRIDES, "options")
    return [Edit(name, ("tasks", move.task, key, param), value) for param, value in move.params.items()]


def _channel_edits(files: Mapping[str, str], move: Move, tiers: Mapping[str, Sequence[str]]) -> list[Edit]:
    """Keep the present models for channels that may not use a provider of the new one."""
    own = _own_list(files, move.task)
    listed = [str(named_model(each)) for each in _task_entry(files, own, move.task)["models"]] if own else []
    present = listed or list(tiers.get(move.tier, (move.reference,)))
    edits = []
    for channel, refused in move.closed_channels.items():
        kept = [model for model in present if model not in refused] or [move.reference]
        edits.append(Edit(MAPPING, ("overrides", "channels", channel, "tasks", move.task, "models"), kept))
    return edits


def apply_edits(files: Mapping[str, str], edits: Sequence[Edit]) -> tuple[dict[str, str], list[str]]:
    """Make the edits one after the other; one that is not safe becomes a note instead."""
    edited, notes = dict(files), []
    for edit in edits:
        text = edited.get(edit.file, "")
        try:
            if edit.is_list:
                edited[edit.file] = put_before(text, edit.path, str(edit.value), edit.before)
            else:
                edited[edit.file] = set_value(text, edit.path, edit.value)
        except ConfigError as error:
            notes.append(f"Not in the diff: {edit.file}: {error} (wanted: {edit.value}).")
    return edited, notes


def _warnings(
    files: Mapping[str, str],
    edited: Mapping[str, str],
    moves: Sequence[Move],
    destinations: Mapping[str, str],
    raised: Mapping[str, str],
) -> list[str]:
    """Name what else decides a route or a call, and is left as it is."""
    overrides = str(read_mapping(files.get(MAPPING, "")).get("overrides") or "")
    options = read_mapping(files.get(CANDIDATES, "")).get("defaults") or {}
    notes = [
        f"{MAPPING}: overrides by channel or environment name {move.task}; they are left alone."
        for move in moves
        if f"'{move.task}'" in overrides
    ]
    notes += [
        f"{move.task}: channel {channel} may not use {arm_name(move.chain)} and keeps its present models."
        for move in moves
        for channel in move.closed_channels
    ]
    notes += [
        f"{move.task}: {', '.join(move.params)} goes into the task's options; a call that passes it wins."
        for move in moves
        if move.params
    ]
    notes += [
        f"{move.task}: tiers {move.tier} and {new} have different defaults in {CANDIDATES}."
        for move in moves
        if options.get(new := destinations[move.task]) != options.get(move.tier)
    ]
    slots = read_mapping(files.get(SLOTS, ""))
    chosen = (slots.get("slots") or {}).get(slots.get("default_slot")) or {}
    notes += [
        f"{SLOTS}: the default slot names the models of {tier} and wins over {CANDIDATES}."
        for tier in dict.fromkeys([*raised, *destinations.values()])
        if tier in (chosen.get("tiers") or {})
    ]
    changed = [name for name in sorted(edited) if edited[name] != files.get(name)]
    overlays = {name: name.replace(".yaml", ".local.yaml") for name in changed}
    return notes + [
        f"{overlay} lies over {name} and may hide the change."
        for name, overlay in overlays.items()
        if overlay in files
    ]


def ahead_notes(
    listed: Mapping[str, Sequence[str]],
    tiers: Mapping[str, Sequence[str]],
    raised: Mapping[str, str],
    destinations: Mapping[str, str],
) -> list[str]:
    """Name the candidates that would answer before those that were measured, once they can be called."""
    notes = []
    for tier in dict.fromkeys([*raised, *destinations.values()]):
        first = next(iter(tiers.get(tier, ())), None)
        names = list(listed.get(tier, ()))
        ahead = names[: names.index(first)] if first in names else []
        if ahead:
            notes.append(
                f"{tier}: {', '.join(ahead)} could not be called here and were not measured; they stay "
                f"before {raised.get(tier, first)} and answer first where their keys are set."
            )
    return notes
