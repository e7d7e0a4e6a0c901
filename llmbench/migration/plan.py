"""The older folder's content as the files of the present one. Every task stays on its present model."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from llmbench.catalog import PARAMETER_ALIASES
from llmbench.config.model import FILES
from llmbench.config.shapes import TaskShape
from llmbench.migration.before import Before, Question
from llmbench.migration.catalogue import Catalogue, Files
from llmbench.migration.facts import say_what_is_sent
from llmbench.migration.media import convert_media
from llmbench.migration.pins import lose_unread_pins
from llmbench.migration.reading import Legacy
from llmbench.migration.task_files import read_tasks
from llmbench.migration.tasks import (
    OVERRIDES,
    ROUTER,
    Entry,
    canonical_options,
    option_value,
    read_task,
)
from llmbench.migration.values import Keys, section

CANDIDATES, MAPPING, SLOTS = "llm_tier_candidates.yaml", "llm_tier_mapping.yaml", "llm_model_slots.yaml"
_OWN_FILES: Final = (OVERRIDES, ROUTER)
_TASK_KEYS: Final = frozenset(TaskShape.model_fields)
_OPTION_KEYS: Final = ("defaults", "options")


def plan_files(legacy: Legacy, before: Before, tiers: Mapping[str, str], base: Files | None = None) -> Files:
    """The new files as data.

    Args:
        legacy: the files as they were read, in the present layout.
        before: the older rules.
        tiers: task -> tier, said by the person who migrates.
        base: the new files that an overlay will be merged over; it can take none of their entries away.

    Raises:
        ConfigError: a section is no mapping, or a task no model and no mapping.
    """
    files: Files = {}
    for name in FILES:
        if isinstance(data := legacy.data.get(name), Mapping) and data:
            files[name] = copy.deepcopy(dict(data))
    catalogue = Catalogue(legacy, before, files)
    catalogue.convert()
    convert_media(legacy, files)
    _rewrite_lists(catalogue)
    for file in _OWN_FILES:
        _rewrite_tasks(catalogue, file, ("tasks",))
    _rewrite_overrides(catalogue)
    tasks = read_tasks(legacy)
    for task, entries in tasks.items():
        if before.media(task) is not None:
            for entry in entries:
                reason = "an image or speech task of the same name has models of its own"
                legacy.lost(entry.file, entry.path, task, reason)
                if entry.file in _OWN_FILES:
                    files[entry.file]["tasks"].pop(task, None)
            continue
        _put_task(catalogue, task, entries)
    _name_tiers(before, files, tiers)
    _make_tiers(before, catalogue)
    say_what_is_sent(catalogue)
    _repeat_what_base_entries_hide(before, files, base or {})
    catalogue.unused_rows()
    lose_unread_pins(legacy, (entry for entries in tasks.values() for entry in entries))
    return {name: files[name] for name in FILES if files.get(name)}


def _repeat_what_base_entries_hide(before: Before, files: Files, base: Files) -> None:
    """Write out what only an entry of the base says, where that entry would win over the overlay's files."""
    for task in section(base.get(MAPPING, {}).get("tasks")):
        if task in before.tasks():
            tier = before.tier(task, Question())
            files.setdefault(MAPPING, {}).setdefault("tasks", {}).setdefault(task, tier)
    listed = section(files.get(ROUTER, {}).get("tiers"))
    for tier in section(base.get(CANDIDATES, {}).get("tiers")):
        if tier in listed:
            files.setdefault(CANDIDATES, {}).setdefault("tiers", {}).setdefault(tier, listed[tier])


def _rewrite_lists(catalogue: Catalogue) -> None:
    """Names in tiers and slots that no registry has become keys of new entries."""
    for file in (ROUTER, CANDIDATES):
        tiers = section(catalogue.files.get(file, {}).get("tiers"))
        for tier, entries in tiers.items():
            catalogue.files[file]["tiers"][tier] = _written(catalogue, entries)
    for slot in section(catalogue.files.get(SLOTS, {}).get("slots")).values():
        tiers = section(section(slot).get("tiers"))
        for tier, entries in tiers.items():
            slot["tiers"][tier] = _written(catalogue, entries)


def _written(catalogue: Catalogue, entries: Any) -> Any:
    if isinstance(entries, str):
        return catalogue.written(entries)
    if not isinstance(entries, list):
        return entries
    return [
        catalogue.written(entry)
        if isinstance(entry, str)
        else {**entry, "model": catalogue.written(entry["model"])}
        if isinstance(section(entry).get("model"), str)
        else entry
        for entry in entries
    ]


def _rewrite_overrides(catalogue: Catalogue) -> None:
    """Tasks and tiers of channels and environments."""
    overrides = section(catalogue.files.get(MAPPING, {}).get("overrides"))
    places: list[tuple[Keys, Any]] = [
        (("env", env), rule) for env, rule in section(overrides.get("env")).items()
    ]
    for channel, rule in section(overrides.get("channels")).items():
        places.append((("channels", channel), rule))
        both = section(section(rule).get("env")).items()
        places += [(("channels", channel, "env", env), each) for env, each in both]
    for path, rule in places:
        for tier, entries in section(section(rule).get("tiers")).items():
            rule["tiers"][tier] = _written(catalogue, entries)
        _rewrite_tasks(catalogue, MAPPING, ("overrides", *path, "tasks"))


def _rewrite_tasks(catalogue: Catalogue, file: str, path: Keys) -> None:
    """Bring the tasks of a present file into the present form; those that have it stay as they are."""
    tasks: Any = catalogue.files.get(file, {})
    for key in path:
        tasks = section(tasks).get(key)
    for task, entry in list(section(tasks).items()):
        if _is_present(catalogue, entry):
            continue
        read = read_task(catalogue.legacy, file, (*path, task), str(task), {} if entry is None else entry)
        tasks[task] = _as_written(catalogue, read)


def _is_present(catalogue: Catalogue, entry: Any) -> bool:
    """Whether a task's section needs no change."""
    if not isinstance(entry, Mapping):
        return False
    if any(key not in _TASK_KEYS and not str(key).startswith("x-") for key in entry):
        return False
    given = [section(entry.get(name)) for name in ("defaults", "options")]
    extras = [options for options in given if "reasoning" in section(options.get("extra_body"))]
    if any(canonical_options(options) != dict(options) for options in extras):
        return False
    if any(_is_respelt(name, value) for options in given for name, value in options.items()):
        return False
    models = entry.get("models") or ()
    names = [models] if isinstance(models, str) else models
    return all(not isinstance(name, str) or catalogue.before.key(name) is not None for name in names)


def _is_respelt(name: str, value: Any) -> bool:
    """Whether a parameter's value is written otherwise now; capitals alone may stay."""
    return isinstance(value, str) and option_value(PARAMETER_ALIASES.get(name, name), value) not in (
        value,
        value.lower(),
    )


def _as_written(catalogue: Catalogue, entry: Entry) -> dict[str, Any]:
    """An entry in the form of `llm_task_overrides.yaml`."""
    made: dict[str, Any] = {"tier": entry.tier} if entry.tier else {}
    if keys := _keys(catalogue, entry):
        made["models"] = keys
    return made | dict(entry.body)


def _keys(catalogue: Catalogue, entry: Entry) -> list[str]:
    keys: list[str] = []
    for name in entry.names:
        key = catalogue.key(name)
        if key is None:
            reason = "nothing says which provider serves this model; name one in the registry"
            catalogue.legacy.lost(entry.file, entry.path, name.model, reason)
        elif key not in keys:
            keys.append(key)
    return keys


def _put_task(catalogue: Catalogue, task: str, entries: Sequence[Entry]) -> None:
    """Join what the files say of a task, the winner first, into the file that wins in the present form."""
    has_tier = catalogue.before.names_tier(task)
    names = [entry for entry in entries if entry.names and not (entry.is_default and has_tier)]
    _lose_models(catalogue, names)
    _lose_tiers(catalogue, task, entries)
    made: dict[str, Any] = {}
    if names and names[0].file not in _OWN_FILES and (keys := _keys(catalogue, names[0])):
        made["models"] = keys
        catalogue.legacy.origins[OVERRIDES, ("tasks", task, "models")] = (names[0].file, names[0].path)
    said: dict[str, Any] = {}
    for entry in entries:
        for path, value in _settings(entry):
            name = path[-1]
            if name not in said:
                said[name] = value
                if entry.file not in _OWN_FILES:
                    (made.setdefault("options", {}) if path[0] == "options" else made)[name] = value
                    source = (entry.file, (*entry.path, *path))
                    catalogue.legacy.origins[OVERRIDES, ("tasks", task, *path)] = source
            elif said[name] != value:
                reason = "another file says otherwise and wins"
                catalogue.legacy.lost(entry.file, (*entry.path, *path), value, reason)
    if made:
        _merge_into_overrides(catalogue, task, made)


def _lose_models(catalogue: Catalogue, names: Sequence[Entry]) -> None:
    """Say of each entry whose models lose which file wins."""
    for loser in names[1:]:
        if loser.names != names[0].names and not loser.is_default:
            winner = catalogue.legacy.place(names[0].file, names[0].path)[0]
            reason = f"{winner} names another model for the task and wins"
            shown = " > ".join(name.model for name in loser.names)
            catalogue.legacy.lost(loser.file, loser.path, shown, reason)


def _lose_tiers(catalogue: Catalogue, task: str, entries: Sequence[Entry]) -> None:
    tier = catalogue.before.tier(task, Question())
    for entry in entries:
        if entry.tier not in (None, tier):
            reason = f"another file puts the task into tier {tier!r} and wins"
            catalogue.legacy.lost(entry.file, (*entry.path, "tier"), entry.tier, reason)


def _settings(entry: Entry) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What an entry says besides its models and tier, each with its path."""
    for key, value in entry.body.items():
        if key == "options":
            yield from ((("options", name), each) for name, each in value.items())
        else:
            yield (key,), value


def _merge_into_overrides(catalogue: Catalogue, task: str, made: Mapping[str, Any]) -> None:
    """Put what other files say of a task into its section, where what wins over it is already left out."""
    tasks = catalogue.files.setdefault(OVERRIDES, {}).setdefault("tasks", {})
    own = dict(section(tasks.get(task)))
    options = section(made.get("options"))
    for name in _OPTION_KEYS:
        given = section(own.get(name)).items()
        if kept := {key: value for key, value in given if PARAMETER_ALIASES.get(key, key) not in options}:
            own[name] = kept
        else:
            own.pop(name, None)
    joined = {**own, **{key: value for key, value in made.items() if key != "options"}}
    if options:
        joined["options"] = {**section(own.get("options")), **options}
    tasks[task] = joined


def _name_tiers(before: Before, files: Files, tiers: Mapping[str, str]) -> None:
    """Give every text task a tier: what the person said, what the files say, else `standard`."""
    for task in [*before.tasks(), *(task for task in tiers if task not in before.tasks())]:
        if before.media(task) is not None:
            continue
        own = section(section(files.get(OVERRIDES, {}).get("tasks")).get(task))
        if task in tiers and own.get("tier"):
            files[OVERRIDES]["tasks"][task]["tier"] = tiers[task]
            continue
        mapped = section(files.get(MAPPING, {}).get("tasks")).get(task)
        routed = section(section(files.get(ROUTER, {}).get("tasks")).get(task)).get("tier")
        if task in tiers or not (own.get("tier") or mapped or routed):
            tier = tiers.get(task) or before.tier(task, Question())
            files.setdefault(MAPPING, {}).setdefault("tasks", {})[task] = tier


def _make_tiers(before: Before, catalogue: Catalogue) -> None:
    """A list for every tier that a task is in and no file has: its tasks' models, the most used first."""
    files = catalogue.files
    known = {*section(files.get(CANDIDATES, {}).get("tiers")), *section(files.get(ROUTER, {}).get("tiers"))}
    used: dict[str, Counter[str]] = {}
    for task in before.tasks():
        if before.media(task) is not None:
            continue
        own = section(section(files.get(OVERRIDES, {}).get("tasks")).get(task))
        routed = section(section(files.get(ROUTER, {}).get("tasks")).get(task))
        mapped = section(files.get(MAPPING, {}).get("tasks")).get(task)
        tier = own.get("tier") or mapped or routed.get("tier")
        models = own.get("models") or routed.get("models") or []
        first = [models] if isinstance(models, str) else models[:1]
        used.setdefault(str(tier), Counter()).update(first)
    for tier, counted in used.items():
        models = [model for model, _ in counted.most_common()] or list(catalogue.models())[:1]
        if tier not in known and models:
            files.setdefault(CANDIDATES, {}).setdefault("tiers", {})[tier] = models
