"""The proof: every question is asked of the older folder and of the new one, and what differs is listed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
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
from llmbench.migration.before import Before, Question
from llmbench.migration.names import hidden_names
from llmbench.migration.reading import Legacy, read_text
from llmbench.migration.sent import Sent, media_after, media_before, sent_after, sent_before
from llmbench.migration.values import Asked, Change, Difference, Migration, Move, shortened
from llmbench.routing.resolve import Wanted, resolve

_ALONE = Question()


class Found(NamedTuple):
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

    def route(self, task: str, question: Question) -> Found:
        """The route of a task."""
        kind = self.config.media_of(task=task, tier="")
        slot = question.slot if kind is None else None
        environment = read_environment({} if slot is None else {"LLM_MODEL_SLOT": slot})
        view = self.config if kind is None else self._view(kind)
        for modality in _modalities(kind):
            wanted = Wanted(task, channel=question.channel, env=question.env, modality=modality)
            try:
                route = resolve(view, environment, wanted, lambda _spec: None)
            except RouteError:
                continue
            specs = [view.models[key] for key in route.candidates]
            asked = dict.fromkeys(Asked(spec.provider, spec.model_id) for spec in specs)
            return Found(tuple(asked), route.candidates, route.tier)
        return Found()

    def _media_view(self, kind: MediaModality) -> Config:
        return media_config(self.config, kind, read_environment({}))


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
    questions = sorted(asked, key=lambda each: [part or "" for part in (each.channel, each.env, each.slot)])
    differences: list[Difference] = []
    changed: dict[tuple[str, str, str, str | None, str | None], list[Question]] = {}
    for task, question in product(tasks, questions):
        was, now = before.route(task, question), after.route(task, question)
        if was != now.asked:
            places = (question.channel, question.env, question.slot)
            differences.append(Difference(task, *places, was, now.asked, is_local))
            continue
        for model, option, old, new in _changes(before, after, task, question, now):
            changed.setdefault((task, model, option, old, new), []).append(question)
    return Migration(
        folder,
        (),
        tuple(_move(legacy, before, after, task) for task in tasks),
        (),
        tuple(hidden_names(legacy.data)),
        tuple(differences),
        len(tasks) * len(questions),
        tuple(Change(*key, len(found), str(found[0])) for key, found in changed.items()),
    )


def _changes(
    before: Before, after: After, task: str, question: Question, now: Found
) -> Iterator[tuple[str, str, str | None, str | None]]:
    """Model, option, and its value before and after, for each that differs."""
    if before.is_media(task):
        if question == _ALONE:
            model = ", ".join(asked.model for asked in now.asked)
            yield from _differing(model, media_before(before, task), media_after(after.config, task))
        return
    was = sent_before(before, task, question)
    new = sent_after(after.config, task, question, now.tier, now.keys)
    for asked, sent in was.items():
        yield from _differing(asked.model, sent, new[asked])


def _differing(model: str, was: Sent, now: Sent) -> Iterator[tuple[str, str, str | None, str | None]]:
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
    entry = before.winner(task)
    file = legacy.files[entry.file] if entry is not None else "its tier"
    found = after.route(task, _ALONE)
    return Move(task, file, before.route(task, _ALONE), found.tier, found.keys)
