"""From verdicts on pictures or narrations to a proposed change of their media file, which a person applies.

A task that another tier already serves by the proved model moves there. Else the model is put before the one
it replaces: in the tier, where it is proved for every task of it, or for this task alone. A media task has no
fallback unless it allows one, so the first model that can be called is all that counts.

Where a profile lay over the file when the run was made, the change is made in that profile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmbench.bench.edit import Path, read_mapping, unified_diff
from llmbench.bench.propose import (
    Edit,
    MediaFile,
    Proposal,
    Routing,
    ahead_notes,
    apply_edits,
)
from llmbench.bench.terms import arm_name
from llmbench.bench.tiers import Move, tier_row
from llmbench.bounded import read_text
from llmbench.config.environment import Environment
from llmbench.config.media_view import media_config
from llmbench.config.model import MEDIA_FILES, Config, MediaModality
from llmbench.errors import ConfigError

PROFILE_VARIABLE: Final = "{}_CLIENT_PROFILE"


def media_routing(
    config: Config, modality: MediaModality, environment: Environment, uncalled: Collection[str]
) -> Routing:
    """How the tasks of one media file are routed today, with the file's text to make the diff from.

    Args:
        config: the whole loaded folder.
        modality: image or speech.
        environment: names the profile that lies over the file, if any.
        uncalled: keys of models that could not be called when the run was planned.

    Raises:
        ConfigError: the folder has no such file, the profile is not in it, or the file cannot be read.
    """
    view = media_config(config, modality, environment)
    name = MEDIA_FILES[modality]
    files = {}
    for path in (config.folder / name, config.folder / name.replace(".yaml", ".local.yaml")):
        try:
            files[path.name] = read_text(path)
        except FileNotFoundError:
            continue  # only an overlay was not there: without models the view was refused
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", path=path.name) from error
    written = {entry.model for entries in view.tiers.values() for entry in entries}
    written |= {model for task in view.media[modality].tasks.values() for model in task.models}
    keys = {model: view.model_key(model) or model for model in written}
    return Routing(
        tiers={tier: [keys[entry.model] for entry in entries] for tier, entries in view.tiers.items()},
        task_tiers=dict(view.mapping),
        configs=files,
        unreachable=set(uncalled) & set(keys.values()),
        providers={key: spec.provider for key, spec in view.models.items()},
        media=MediaFile(name, environment.secret(PROFILE_VARIABLE.format(modality.upper())), keys),
    )


def propose_media(moves: Sequence[Move], measured: Sequence[str], routing: Routing) -> Proposal:
    """Turn the moves of a run into tiers and a diff of the media file.

    Args:
        moves: at most one per task.
        measured: every task of the run.
        routing: how tasks are routed today; made by `media_routing`.

    Raises:
        ConfigError: the routing is not of a media file, or the file is not YAML.
    """
    file, files = _File.of(routing), dict(routing.configs or {})
    tiers = {
        tier: [name for name in models if name not in routing.unreachable]
        for tier, models in routing.tiers.items()
    }
    pinned = {move.task for move in moves if move.params or file.own_list(move.task)}
    destinations = {
        move.task: move.tier if move.task in pinned else _destination(move, tiers) for move in moves
    }
    staying = [move for move in moves if destinations[move.task] == move.tier and move.task not in pinned]
    served = {task: tier for task, tier in routing.task_tiers.items() if not file.own_list(task)}
    rows = [
        tier_row(tier, moves, staying, measured, tiers, served, destinations, tiers)
        for tier in dict.fromkeys([*(routing.task_tiers[task] for task in measured if task in served)])
    ]
    raised = {row["tier"]: row["proposed_first"] for row in rows if row["changed"]}
    edits = [edit for tier, model in raised.items() for edit in _tier_edits(file, tier, model, tiers)]
    for move in moves:
        if raised.get(move.tier) != move.model or destinations[move.task] != move.tier:
            edits += _task_edits(file, move, destinations[move.task], routing.tiers)
    edited, notes = apply_edits(files, edits)
    notes += _notes(file, moves, raised, files) if files != edited else []
    notes += ahead_notes(routing.tiers, tiers, raised, destinations)
    return Proposal(destinations, rows, unified_diff(files, edited), notes, edited)


@dataclass(frozen=True, slots=True)
class _File:
    """A media file as it is written, seen through the profile that lies over it."""

    name: str
    root: Path
    data: Mapping[str, Any]
    keys: Mapping[str, str]

    @classmethod
    def of(cls, routing: Routing) -> _File:
        if routing.media is None:
            raise ConfigError("the routing is of text models; make it by media_routing")
        name, profile = routing.media.name, routing.media.profile
        try:
            data = read_mapping((routing.configs or {}).get(name, ""))
        except ConfigError as error:
            raise ConfigError(str(error), path=name) from error
        return cls(name, () if profile is None else ("profiles", profile), data, routing.media.keys)

    def at(self, *path: str) -> Any:
        """What stands at a path, None where nothing does."""
        found: Any = self.data
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def own_list(self, task: str) -> list[str]:
        """The models that a task names itself, as they are written; empty where its tier serves it."""
        if self.root and (models := self.at(*self.root, "tasks", task, "models")):
            return list(models)
        if self.root and self.at(*self.root, "tasks", task, "tier"):
            return []
        return list(self.at("tasks", task, "models") or ())

    def tier_list(self, tier: str) -> list[str]:
        """The models of a tier, as they are written."""
        own = self.at(*self.root, "tiers", tier) if self.root else None
        return list(own or self.at("tiers", tier) or ())

    def written(self, names: Sequence[str], key: str) -> str:
        """How a list calls a model: by its key, its code, or its id."""
        return next((name for name in names if self.keys.get(name, name) == key), key)

    def put(
        self, path: tuple[str, ...], names: Sequence[str], chain: Sequence[str], before: str
    ) -> list[Edit]:
        """Put a chain before a model of the list `names`, which may not stand at the path yet."""
        items = [self.written(names, key) for key in chain]
        place = self.written(names, before)
        if self.at(*path):
            followers = [*items[1:], place]
            pairs = reversed(list(zip(items, followers, strict=True)))
            return [Edit(self.name, path, item, is_list=True, before=next_) for item, next_ in pairs]
        others = [name for name in names if name not in items]
        at = others.index(place) if place in others else 0
        whole = [*others[:at], *items, *others[at:]]
        if self.at(*path) is None:
            return [Edit(self.name, path, whole)]
        return [Edit(self.name, path, item, is_list=True) for item in reversed(whole)]


def _destination(move: Move, tiers: Mapping[str, Sequence[str]]) -> str:
    """Another tier that already begins with the proved models, else the task's own."""
    others = (tier for tier, models in tiers.items() if tuple(models[: len(move.chain)]) == move.chain)
    return next((tier for tier in others if tier != move.tier), move.tier)


def _tier_edits(file: _File, tier: str, model: str, tiers: Mapping[str, Sequence[str]]) -> list[Edit]:
    return file.put((*file.root, "tiers", tier), file.tier_list(tier), (model,), tiers[tier][0])


def _task_edits(file: _File, move: Move, destination: str, tiers: Mapping[str, Sequence[str]]) -> list[Edit]:
    """The change of one task, with the parameters that were proved for it."""
    entry = (*file.root, "tasks", move.task)
    options = [Edit(file.name, (*entry, "options", name), value) for name, value in move.params.items()]
    if move.chain == (move.reference,):
        return options
    if destination != move.tier:
        return [Edit(file.name, (*entry, "tier"), destination), *options]
    names = file.own_list(move.task) or file.tier_list(move.tier) or list(tiers.get(move.tier, ()))
    return [*file.put((*entry, "models"), names, move.chain, move.reference), *options]


def _notes(
    file: _File, moves: Sequence[Move], raised: Mapping[str, str], files: Mapping[str, str]
) -> list[str]:
    """Name what else decides a call, and is left as it is."""
    notes = [
        f"{move.task}: channel {channel} may not use {arm_name(move.chain)}, and {file.name} knows no "
        "channels: name a model in that channel's calls, or keep the present one."
        for move in moves
        for channel in move.closed_channels
    ]
    notes += [
        f"{move.task}: {', '.join(move.params)} goes into the task's options; a call that passes it wins."
        for move in moves
        if move.params
    ]
    notes += [
        f"{move.task}: {arm_name(move.chain)} was proved as a chain; set allow_fallback: true for the task, "
        "or only its first model answers."
        for move in moves
        if len(move.chain) > 1 and not _allows_fallback(file, move.task)
    ]
    notes += _profile_notes(file, [move.task for move in moves], raised)
    overlay = file.name.replace(".yaml", ".local.yaml")
    if overlay in files:
        notes.append(f"{overlay} lies over {file.name} and may hide the change.")
    return notes


def _allows_fallback(file: _File, task: str) -> bool:
    own = file.at(*file.root, "tasks", task, "allow_fallback")
    return bool(file.at("tasks", task, "allow_fallback") if own is None else own)


def _profile_notes(file: _File, tasks: Sequence[str], raised: Mapping[str, str]) -> list[str]:
    if file.root:
        return [f"The change is made in profile {file.root[1]} of {file.name}; without it nothing changes."]
    notes = []
    for name in file.at("profiles") or ():
        own = [task for task in tasks if _is_named(file, name, task)]
        if own:
            notes.append(f"Profile {name} names models of {', '.join(own)} itself and is left alone.")
        lent = [tier for tier in raised if not file.at("profiles", name, "tiers", tier)]
        if lent:
            notes.append(f"Profile {name} takes {', '.join(lent)} from {file.name} and gets the change too.")
    return notes


def _is_named(file: _File, profile: str, task: str) -> bool:
    """Whether a profile decides a task's model itself: by its models, its tier, or the tier's models."""
    entry = file.at("profiles", profile, "tasks", task) or {}
    tier = file.at("tasks", task, "tier")
    return bool(entry.get("models") or entry.get("tier") or file.at("profiles", profile, "tiers", str(tier)))
