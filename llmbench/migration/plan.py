"""The older folder's content as the files of the present one. Every task stays on its present model."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from llmbench.catalog import PARAMETER_ALIASES
from llmbench.config.model import FILES
from llmbench.config.shapes import TaskShape
from llmbench.migration.before import Before, Question
from llmbench.migration.catalogue import Catalogue, Files
from llmbench.migration.reading import Legacy
from llmbench.migration.tasks import OVERRIDES, ROUTER, Entry, canonical_options, read_task, read_tasks
from llmbench.migration.values import Keys, section

CANDIDATES, MAPPING, SLOTS = "llm_tier_candidates.yaml", "llm_tier_mapping.yaml", "llm_model_slots.yaml"
_OWN_FILES: Final = (OVERRIDES, ROUTER)
_TASK_KEYS: Final = frozenset(TaskShape.model_fields)


def plan_files(legacy: Legacy, before: Before, tiers: Mapping[str, str]) -> Files:
    """The new files as data.

    Args:
        legacy: the files as they were read, in the present layout.
        before: the older rules.
        tiers: task -> tier, said by the person who migrates.

    Raises:
        ConfigError: a section is no mapping, or a task no model and no mapping.
    """
    files: Files = {}
    for name in FILES:
        if isinstance(data := legacy.data.get(name), Mapping) and data:
            files[name] = copy.deepcopy(dict(data))
    catalogue = Catalogue(legacy, before, files)
    catalogue.convert()
    _rewrite_lists(catalogue)
    for file in _OWN_FILES:
        _rewrite_tasks(catalogue, file, ("tasks",))
    _rewrite_overrides(catalogue)
    for task, entries in read_tasks(legacy).items():
        if before.is_media(task):
            for entry in entries:
                reason = "an image or speech task of the same name has models of its own"
                legacy.lost(entry.file, entry.path, task, reason)
                if entry.file in _OWN_FILES:
                    files[entry.file]["tasks"].pop(task, None)
            continue
        _put_task(catalogue, task, entries)
    _name_tiers(before, files, tiers)
    _make_tiers(before, catalogue)
    catalogue.unused_rows()
    return {name: files[name] for name in FILES if files.get(name)}


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
    models = entry.get("models") or ()
    names = [models] if isinstance(models, str) else models
    return all(not isinstance(name, str) or catalogue.before.key(name) is not None for name in names)


def _as_written(catalogue: Catalogue, entry: Entry) -> dict[str, Any]:
    """An entry in the form of `llm_task_overrides.yaml`."""
    made: dict[str, Any] = {"tier": entry.tier} if entry.tier else {}
    if keys := _keys(catalogue, entry):
        made["models"] = keys
    return made | dict(entry.body)


def _keys(catalogue: Catalogue, entry: Entry) -> list[str]:
    keys: list[str] = []
    for name in entry.names:
        key = catalogue.key(name, section(entry.body.get("options")))
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
    for loser in names[1:]:
        if loser.names != names[0].names and not loser.is_default:
            reason = f"{catalogue.legacy.files[names[0].file]} names another model for the task and wins"
            shown = " > ".join(name.model for name in loser.names)
            catalogue.legacy.lost(loser.file, loser.path, shown, reason)
    made: dict[str, Any] = {}
    if names and names[0].file not in _OWN_FILES and (keys := _keys(catalogue, names[0])):
        made["models"] = keys
    taken: set[str] = set()
    for entry in entries:
        body = {**entry.body, "options": {**section(entry.body.get("options"))}}
        fresh = {key: value for key, value in body["options"].items() if key not in taken}
        if entry.file not in _OWN_FILES:
            _add(catalogue.legacy, entry, made, {**body, "options": fresh}, taken)
        taken |= {*fresh, *(f"{key}:" for key in entry.body)}
    if made:
        _merge_into_overrides(catalogue, task, made)


def _add(
    legacy: Legacy, entry: Entry, made: dict[str, Any], body: Mapping[str, Any], taken: set[str]
) -> None:
    """Add what an entry says and no entry before it has said."""
    for key, value in body.items():
        if key == "options":
            if value:
                made["options"] = {**value, **made.get("options", {})}
        elif f"{key}:" in taken:
            legacy.lost(entry.file, (*entry.path, key), value, "another file says so too and wins")
        else:
            made[key] = value


def _merge_into_overrides(catalogue: Catalogue, task: str, made: Mapping[str, Any]) -> None:
    tasks = catalogue.files.setdefault(OVERRIDES, {}).setdefault("tasks", {})
    own = dict(section(tasks.get(task)))
    models = made.get("models")
    names_options = {PARAMETER_ALIASES.get(key, key) for key in section(own.get("options"))}
    fresh = {key: value for key, value in section(made.get("options")).items() if key not in names_options}
    joined = {**{key: value for key, value in made.items() if key not in ("options", "models")}, **own}
    if models:
        joined["models"] = models
    if fresh:
        joined["options"] = {**fresh, **section(own.get("options"))}
    tasks[task] = joined


def _name_tiers(before: Before, files: Files, tiers: Mapping[str, str]) -> None:
    """Give every text task a tier: what the person said, what the files say, else `standard`."""
    for task in [*before.tasks(), *(task for task in tiers if task not in before.tasks())]:
        if before.is_media(task):
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
        if before.is_media(task):
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
