"""From verdicts to a proposed change of the config files. Nothing is written: a diff is handed to a person.

A model that is the first of another tier takes the task there. Any other model is put before the one it
replaces, for this task alone, or in the tier, when every measured task of the tier moved to it.

Candidates that could not be called when the run was planned were not measured. They keep their places, and
the first of a tier is the first of the others: what serves the tier where the run was made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmbench.bench.edit import put_before, read_mapping, set_value, unified_diff
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
    """A task that leaves its reference for another model. `outcome` is promote or demote."""

    task: str
    tier: str
    reference: str
    outcome: str
    model: str


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one file: set the value at a path, or put it into the list there, before another."""

    file: str
    path: tuple[str, ...]
    value: str | list[str]
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


def propose(
    moves: Sequence[Move],
    *,
    measured: Sequence[str],
    tiers: Mapping[str, Sequence[str]],
    task_tiers: Mapping[str, str],
    configs: Mapping[str, str] | None = None,
    unreachable: Collection[str] = (),
) -> Proposal:
    """Turn the moves of a run into tiers, overrides and a diff.

    Args:
        moves: at most one per task.
        measured: every task of the run.
        tiers: tier -> ordered model keys, as routed today.
        task_tiers: task -> tier, as routed today.
        configs: file name -> text; None for no diff.
        unreachable: models of the tiers that could not be called where the run was made.

    Raises:
        ConfigError: a config file is not YAML.
    """
    files = dict(configs or {})
    listed = tiers
    tiers = {tier: [model for model in models if model not in unreachable] for tier, models in tiers.items()}
    pinned = {move.task for move in moves if _own_list(files, move.task) is not None}
    destinations = {move.task: _destination(move, tiers, is_pinned=move.task in pinned) for move in moves}
    staying = [move for move in moves if destinations[move.task] == move.tier and move.task not in pinned]
    rows = []
    raised: dict[str, str] = {}
    for tier in dict.fromkeys([*(name for name in tiers if name in LADDER), *(m.tier for m in moves)]):
        row = _tier_row(tier, moves, staying, measured, tiers, task_tiers, destinations)
        rows.append(row)
        if row["changed"]:
            raised[tier] = row["proposed_first"]
    if configs is None:
        return Proposal(destinations, rows)
    edits = [_tier_edit(files, tier, model, tiers) for tier, model in raised.items()]
    edits += [
        _task_edit(files, move, destinations[move.task], listed)
        for move in moves
        if raised.get(move.tier) != move.model or destinations[move.task] != move.tier
    ]
    edited, notes = _apply(files, edits)
    notes += _warnings(files, edited, moves, destinations, raised)
    notes += _ahead(listed, tiers, raised, destinations)
    return Proposal(destinations, rows, unified_diff(files, edited), notes, edited)


def _destination(move: Move, tiers: Mapping[str, Sequence[str]], *, is_pinned: bool) -> str:
    if is_pinned or move.tier not in LADDER:
        return move.tier
    for tier in reversed(LADDER):
        if tier != move.tier and list(tiers.get(tier, ()))[:1] == [move.model]:
            return tier
    return move.tier


def _tier_row(
    tier: str,
    moves: Sequence[Move],
    staying: Sequence[Move],
    measured: Sequence[str],
    tiers: Mapping[str, Sequence[str]],
    task_tiers: Mapping[str, str],
    destinations: Mapping[str, str],
) -> dict[str, Any]:
    first = next(iter(tiers.get(tier, ())), None)
    here = [task for task in measured if task_tiers.get(task) == tier]
    promoted = {move.task: move.model for move in moves if move.tier == tier and move.outcome == "promote"}
    inside = {move.task: move.model for move in staying if move.task in promoted}
    leader = _leader(inside or promoted)
    blocking = [task for task in here if leader is not None and promoted.get(task) != leader]
    agreed = bool(here) and all(inside.get(task) == leader for task in here)
    changed = tier in LADDER and leader is not None and leader != first and agreed
    others = sorted(task for task, name in task_tiers.items() if name == tier and task not in measured)
    if changed:
        sentence = (
            f"Put {leader} before {first} in {tier}: promoted for every measured task ({', '.join(here)})"
        )
        sentence += f"; not measured, but served by it too: {', '.join(others)}." if others else "."
    elif not here:
        sentence = f"{tier} keeps {first}: none of its tasks was measured."
    elif leader is None:
        sentence = f"{tier} keeps {first}: no measured task of it moves to a cheaper model."
    elif blocking:
        winners = ", ".join(task for task in here if promoted.get(task) == leader)
        losers = ", ".join(blocking)
        sentence = f"{tier} keeps {first}: {leader} is promoted for {winners}, but not for {losers}."
    else:
        places = ", ".join(dict.fromkeys(destinations[task] for task in here))
        sentence = f"{tier} keeps {first}: every measured task reaches {leader} by way of {places} instead."
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


def _task_edit(
    files: Mapping[str, str], move: Move, destination: str, tiers: Mapping[str, Sequence[str]]
) -> Edit:
    """Say where a task's change belongs: the place that decides its route today."""
    entry = ("tasks", move.task)
    own = _own_list(files, move.task)
    if own is not None:
        return Edit(own, (*entry, "models"), move.model, is_list=True, before=move.reference)
    if destination != move.tier:
        if "tier" in _task_entry(files, OVERRIDES, move.task):
            return Edit(OVERRIDES, (*entry, "tier"), destination)
        if MAPPING not in files and ROUTER in files:
            return Edit(ROUTER, (*entry, "tier"), destination)
        return Edit(MAPPING, entry, destination)
    old = [model for model in tiers.get(move.tier, (move.reference,)) if model != move.model]
    name = ROUTER if OVERRIDES not in files and MAPPING not in files and ROUTER in files else OVERRIDES
    place = old.index(move.reference) if move.reference in old else 0
    return Edit(name, (*entry, "models"), [*old[:place], move.model, *old[place:]])


def _apply(files: Mapping[str, str], edits: Sequence[Edit]) -> tuple[dict[str, str], list[str]]:
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


def _ahead(
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
