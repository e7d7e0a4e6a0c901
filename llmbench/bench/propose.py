"""From verdicts to a proposed change of the config files. Nothing is written: a diff is handed to a person.

A model that is the first of a cheaper tier takes the task there (of a dearer one, when the task needs more
quality). Any other model is put before the one it replaces, for this task alone, or in the tier, when it is
proved for every task of the tier: one that was not measured blocks.

Candidates that could not be called when the run was planned were not measured. They keep their places, and
the first of a tier is the first of the others: what serves the tier where the run was made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llmbench.bench.edit import Value, put_before, read_mapping, set_value, unified_diff
from llmbench.bench.terms import arm_name
from llmbench.errors import ConfigError

LADDER: Final = ("heavy_reasoning", "standard", "cheap")
"""The tiers that tasks move between, dearest first; others are left alone."""

MAPPING: Final = "llm_tier_mapping.yaml"
OVERRIDES: Final = "llm_task_overrides.yaml"
CANDIDATES: Final = "llm_tier_candidates.yaml"
ROUTER: Final = "llm_router.yaml"
SLOTS: Final = "llm_model_slots.yaml"


@dataclass(frozen=True, slots=True)
class Move:
    """A task that leaves its reference for another model.

    Attributes:
        task: its name.
        tier: its tier today.
        reference: the first model that serves it today.
        outcome: promote or demote.
        chain: the model to move to, or a fallback chain.
        closed_channels: channels that may not use it and stay as they are -> the models they may not use.
        params: what it is to be asked with for this task, where parameters were tried.
    """

    task: str
    tier: str
    reference: str
    outcome: str
    chain: tuple[str, ...]
    closed_channels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The first model of the chain."""
        return self.chain[0]


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
    """

    tiers: Mapping[str, Sequence[str]]
    task_tiers: Mapping[str, str]
    configs: Mapping[str, str] | None = None
    unreachable: Collection[str] = ()
    providers: Mapping[str, str] | None = None
    media: MediaFile | None = None


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
    destinations = {move.task: _destination(move, tiers, is_pinned=move.task in pinned) for move in moves}
    staying = [move for move in moves if destinations[move.task] == move.tier and move.task not in pinned]
    rows = []
    raised: dict[str, str] = {}
    for tier in dict.fromkeys([*(name for name in tiers if name in LADDER), *(m.tier for m in moves)]):
        served = {task: name for task, name in task_tiers.items() if _own_list(files, task) is None}
        row = tier_row(tier, moves, staying, measured, tiers, served, destinations, LADDER)
        rows.append(row)
        if row["changed"]:
            raised[tier] = row["proposed_first"]
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


def _destination(move: Move, tiers: Mapping[str, Sequence[str]], *, is_pinned: bool) -> str:
    """The tier that a task moves to: down the ladder for less money, up for more quality, else none."""
    if is_pinned or move.tier not in LADDER:
        return move.tier
    place = LADDER.index(move.tier)
    others = LADDER[:place:-1] if move.outcome == "promote" else LADDER[:place][::-1]
    for tier in others:
        if tuple(tiers.get(tier, ()))[: len(move.chain)] == move.chain:
            return tier
    return move.tier


def tier_row(
    tier: str,
    moves: Sequence[Move],
    staying: Sequence[Move],
    measured: Sequence[str],
    tiers: Mapping[str, Sequence[str]],
    task_tiers: Mapping[str, str],
    destinations: Mapping[str, str],
    changeable: Collection[str],
) -> dict[str, Any]:
    """What becomes of one tier, as a row of recommendation.json.

    Args:
        tier: its name.
        moves: every move of the run.
        staying: those of them that leave their task in its tier and without a list of its own.
        measured: every task of the run.
        tiers: tier -> the models that could be called.
        task_tiers: task -> tier, of the tasks that their tier serves.
        destinations: task -> the tier that it would be in.
        changeable: the tiers that may get a new first model.
    """
    first = next(iter(tiers.get(tier, ())), None)
    tasks = sorted({task for task, name in task_tiers.items() if name == tier})
    here = [task for task in measured if task in tasks]
    won = [move for move in moves if move.tier == tier and move.outcome == "promote"]
    promoted = {move.task: arm_name(move.chain) for move in won}
    inside = {move.task: arm_name(move.chain) for move in staying if move.task in promoted}
    leader = _leader(inside or promoted)
    blocking = [task for task in tasks if leader is not None and promoted.get(task) != leader]
    is_model = any(move.chain == (leader,) for move in staying)  # a chain is no first model of a tier
    agreed = bool(here) and all(inside.get(task) == leader for task in tasks)
    changed = tier in changeable and is_model and leader != first and agreed
    if changed:
        sentence = f"Put {leader} before {first} in {tier}: proved for every task of it ({', '.join(here)})."
    elif not here:
        sentence = f"{tier} keeps {first}: none of its tasks was measured."
    elif leader is None:
        sentence = f"{tier} keeps {first}: no measured task of it moves to a cheaper model."
    elif blocking:
        winners = ", ".join(task for task in here if promoted.get(task) == leader)
        losers = ", ".join(task if task in here else f"{task} (not measured)" for task in blocking)
        sentence = f"{tier} keeps {first}: {leader} is proved for {winners}, but not for {losers}."
    else:
        places = ", ".join(dict.fromkeys(destinations[task] for task in here))
        sentence = (
            f"{tier} keeps {first}: every task of it moves to {places} instead."
            if places != tier
            else f"{tier} keeps {first}: {leader} is put first for each of its tasks alone."
        )
    return {
        "tier": tier,
        "first": first,
        "proposed_first": leader if changed else first,
        "changed": changed,
        "blocking_tasks": blocking,
        "sentence": sentence,
    }


def _leader(models: Mapping[str, str]) -> str | None:
    """The model promoted for most tasks; of equals the first by name."""
    counts = Counter(models.values())
    return min(counts, key=lambda model: (-counts[model], model), default=None)


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
    listed = [_name(each) for each in _task_entry(files, own, move.task)["models"]] if own else []
    present = listed or list(tiers.get(move.tier, (move.reference,)))
    edits = []
    for channel, refused in move.closed_channels.items():
        kept = [model for model in present if model not in refused] or [move.reference]
        edits.append(Edit(MAPPING, ("overrides", "channels", channel, "tasks", move.task, "models"), kept))
    return edits


def _name(entry: Any) -> str:
    return str(entry.get("model") if isinstance(entry, dict) else entry)


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
