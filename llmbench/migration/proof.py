"""The proof: every question is asked of the older folder and of the new one, and what differs is listed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

from llmbench.catalog import Modality
from llmbench.config.environment import read_environment
from llmbench.config.load import inspect_sources, load_config
from llmbench.config.media_view import media_config
from llmbench.config.model import FILES, Config, MediaModality
from llmbench.config.yaml_source import YamlSource, parse_yaml
from llmbench.errors import ConfigError, RouteError
from llmbench.migration.asking import asked_after, asked_before
from llmbench.migration.before import Before, Question
from llmbench.migration.kept import lost_on_the_way
from llmbench.migration.names import hidden_names
from llmbench.migration.reading import Legacy, read_text
from llmbench.migration.sent import Settings, media_after, media_before, sent_after, sent_before
from llmbench.migration.values import Asked, Change, Difference, Migration, Move, shortened
from llmbench.routing.resolve import Wanted, resolve

_ALONE = Question()
#: A model, one of its settings, and the value before and after.
Changed = tuple[str, str, str | None, str | None]


class NewRoute(NamedTuple):
    """A route of the new folder: what is asked for, its model keys, and its tier; empty without a route."""

    asked: tuple[Asked, ...] = ()
    keys: tuple[str, ...] = ()
    tier: str = ""


def compare(
    plain: Legacy, before: Before, local: Legacy | None, local_before: Before | None, folder: Path
) -> Migration:
    """Every route and what is sent along; with overlays both as this machine has them and without them.

    Raises:
        ConfigError: the new folder cannot be read.
    """
    after = After(load_config(folder))
    if local is None or local_before is None:
        return _compared(plain, before, after, folder, is_local=False)
    bare = _compared(plain, before, After(_without_overlays(folder)), folder, is_local=False)
    whole = _compared(local, local_before, after, folder, is_local=True)
    return Migration(
        folder,
        (),
        whole.moves,
        (),
        whole.hidden,
        bare.differences + tuple(each for each in whole.differences if each not in bare.differences),
        bare.compared + whole.compared,
        tuple(dict.fromkeys(bare.changes + whole.changes)),
    )


class After:
    """Asks a present folder. Keys and addresses of this machine do not count."""

    def __init__(self, config: Config) -> None:
        """Take a folder that was read."""
        self.config = config
        self._view = cache(self._media_view)
        self._asked: dict[tuple[str, str], tuple[Changed, ...]] = {}
        self._lost: dict[Hashable, tuple[Changed, ...]] = {}

    def tasks(self) -> set[str]:
        """Every task of text, images and speech."""
        media = {task for each in self.config.media.values() for task in each.tasks}
        return {*self.config.task_names(), *media}

    def questions(self) -> set[Question]:
        """Every channel, environment and slot, alone and together."""
        config = self.config
        channels = {*config.channels, *(channel for channel, _ in config.channel_envs)}
        envs = {*config.envs, *(env for _, env in config.channel_envs)}
        return {Question(*each) for each in product((None, *channels), (None, *envs), (None, *config.slots))}

    def media_slots(self) -> set[Question]:
        """Every profile of images and speech."""
        return {Question(slot=name) for media in self.config.media.values() for name in media.profiles}

    def asked_otherwise(self, before: Before, asked: Asked, key: str, now: NewRoute) -> tuple[Changed, ...]:
        """How an older registry's entry has its model asked against the new one: each that differs."""
        specs = (self.config.models[name] for name in now.keys)
        spec = next(spec for spec in specs if (spec.provider, spec.model_id) == asked)
        if (key, spec.key) not in self._asked:
            host = self.config.endpoints[spec.provider]
            was = asked_before(before.model(key), before.provider(asked.provider), host, spec)
            found = _differing(asked.model, was, asked_after(spec, host)) if was else ()
            self._asked[key, spec.key] = tuple(found)
        return self._asked[key, spec.key]

    def lost(self, before: Before, task: str, question: Question, now: NewRoute) -> tuple[Changed, ...]:
        """What its models are not sent of what the task asks for; a slot changes no more than the models."""
        candidates = before.candidates(task, question)
        place = (task, question.channel, question.env, now.tier, now.keys, tuple(candidates.items()))
        if place not in self._lost:
            keys: dict[Asked, str] = {}
            for key in now.keys:
                spec = self.config.models[key]
                keys.setdefault(Asked(spec.provider, spec.model_id), key)
            entries = [(asked, before.model(key), keys[asked]) for asked, key in candidates.items()]
            found = lost_on_the_way(self.config, task, question, now.tier, entries)
            self._lost[place] = tuple(
                (model, option, _shown(wanted), becomes) for model, option, wanted, becomes in found
            )
        return self._lost[place]

    def route(self, task: str, question: Question, *, is_media: bool = False) -> NewRoute:
        """The route of a task; `is_media`: it was one of images or speech, and is asked as such."""
        kind = self.config.media_of(task=task, tier="")
        if kind is None and is_media:
            return NewRoute()
        slot = question.slot if kind is None else None
        environment = read_environment({} if slot is None else {"LLM_MODEL_SLOT": slot})
        view = self.config if kind is None else self._view(kind, question.slot)
        for modality in _modalities(kind):
            wanted = Wanted(task, channel=question.channel, env=question.env, modality=modality)
            try:
                route = resolve(view, environment, wanted, lambda _spec: None)
            except RouteError:
                continue
            specs = [view.models[key] for key in route.candidates]
            asked = dict.fromkeys(Asked(spec.provider, spec.model_id) for spec in specs)
            return NewRoute(tuple(asked), route.candidates, route.tier)
        return NewRoute()

    def _media_view(self, kind: MediaModality, slot: str | None) -> Config:
        is_profile = slot in self.config.media[kind].profiles
        chosen = {f"{kind.upper()}_CLIENT_PROFILE": str(slot)} if is_profile else {}
        return media_config(self.config, kind, read_environment(chosen))


def _modalities(kind: MediaModality | None) -> tuple[Modality, ...]:
    """Text tiers of older folders may hold models of images or speech."""
    return ("text", "image", "speech") if kind is None else (kind,)


def _without_overlays(folder: Path) -> Config:
    """The folder as a machine without its overlays has it.

    Raises:
        ConfigError: it cannot be read, or has an error.
    """
    sources = {
        name: parse_yaml(read_text(folder / name, name), name)
        if (folder / name).is_file()
        else YamlSource(name, {}, {})
        for name in FILES
    }
    config, findings = inspect_sources(folder, sources)
    error = next((finding for finding in findings if finding.severity == "error"), None)
    if error is not None:
        message = f"without the .local.yaml files: {error.message}"
        raise ConfigError(message, path=error.path, line=error.line)
    return config


def _compared(legacy: Legacy, before: Before, after: After, folder: Path, *, is_local: bool) -> Migration:
    tasks = sorted({*before.tasks(), *after.tasks()})
    asked = {*before.questions(), *after.questions()}
    of_media = asked | before.media_slots() | after.media_slots()
    differences: list[Difference] = []
    changed: dict[tuple[str, str, str, str | None, str | None], list[Question]] = {}
    compared = 0
    for task in tasks:
        is_media = before.media(task) is not None
        for question in sorted(of_media if is_media else asked, key=_order):
            compared += 1
            was, now = before.route(task, question), after.route(task, question, is_media=is_media)
            if was != now.asked:
                places = (question.channel, question.env, question.slot)
                differences.append(Difference(task, *places, was, now.asked, is_local))
                continue
            for change in _changes(before, after, task, question, now):
                changed.setdefault((task, *change), []).append(question)
    return Migration(
        folder,
        (),
        tuple(_move(legacy, before, after, task) for task in tasks),
        (),
        tuple(hidden_names(legacy.data)),
        tuple(differences),
        compared,
        tuple(Change(*key, len(found), str(found[0])) for key, found in changed.items()),
    )


def _order(question: Question) -> list[str]:
    return [part or "" for part in (question.channel, question.env, question.slot)]


def _changes(before: Before, after: After, task: str, question: Question, now: NewRoute) -> Iterator[Changed]:
    """Model, option, and its value before and after, for each that differs."""
    if before.media(task) is not None:
        if question == _ALONE and now.asked:
            model = ", ".join(asked.model for asked in now.asked)
            yield from _differing(model, media_before(before, task), media_after(after.config, task))
        return
    was = sent_before(before, task, question)
    new = sent_after(after.config, task, question, now.tier, now.keys)
    for asked, sent in was.items():
        yield from _differing(asked.model, sent, new[asked])
    yield from after.lost(before, task, question, now)
    for asked, key in before.candidates(task, question).items():
        if key is not None:  # what no registry had gets its facts from OpenRouter's list, or none
            yield from after.asked_otherwise(before, asked, key, now)


def _differing(model: str, was: Settings, now: Settings) -> Iterator[Changed]:
    for name in sorted({*was, *now}):
        if was.get(name) != now.get(name):
            yield model, name, _shown(was.get(name)), _shown(now.get(name))


def _shown(value: object) -> str | None:
    """A value in one line, or what tells a long one apart."""
    if value is None:
        return None
    whole, short = json.dumps(value, ensure_ascii=False, default=str), shortened(value)
    mark = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return short if not short.endswith("…") else f"{short} ({len(whole)} characters, sha256 {mark})"


def _move(legacy: Legacy, before: Before, after: After, task: str) -> Move:
    found = after.route(task, _ALONE, is_media=before.media(task) is not None)
    decider = before.decider(task)
    file = "its tier" if decider is None else legacy.place(*decider)[0]
    return Move(task, file, before.route(task, _ALONE), found.tier, found.keys)
