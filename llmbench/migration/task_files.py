"""The tasks of each file of an older folder, in order of precedence.

The order: the pins of `stages.yaml` and `templates.yaml`, then `llm_task_overrides.yaml`, `llm_tasks.yaml`,
the router's file, `llm_registry.json`, and last a pipeline's `default_model`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from llmbench.migration.reading import Legacy
from llmbench.migration.stages import read_stages
from llmbench.migration.tasks import (
    MODEL_KEYS,
    NOT_A_TASK,
    OVERRIDES,
    REGISTRY,
    ROUTER,
    TASKS,
    Entry,
    mapping_at,
    read_task,
)
from llmbench.migration.values import Keys, section


def read_tasks(legacy: Legacy) -> dict[str, list[Entry]]:
    """Every task of every file, the entry that wins first.

    Raises:
        ConfigError: an entry is no model and no mapping, or a section no mapping; with file and line.
    """
    pins, defaults = read_stages(legacy)
    found: dict[str, list[Entry]] = {}
    for entry in (
        *pins,
        *_sectioned(legacy, OVERRIDES),
        *_sub_tasks(legacy, TASKS, _root(legacy, TASKS), ("tasks",) if _has(legacy, TASKS) else ()),
        *_sectioned(legacy, ROUTER),
        *_registry(legacy),
        *defaults,
    ):
        if entry.task in legacy.not_tasks and entry.file not in (OVERRIDES, ROUTER):
            legacy.left_out.add(entry.task)
            legacy.lost(entry.file, entry.path, "", NOT_A_TASK)
        else:
            found.setdefault(entry.task, []).append(entry)
    return found


def _has(legacy: Legacy, file: str) -> bool:
    return "tasks" in section(legacy.data.get(file))


def _root(legacy: Legacy, file: str) -> Mapping[Any, Any]:
    """The tasks of a file that has them below `tasks`, or at its top."""
    return mapping_at(legacy, file, ("tasks",) if _has(legacy, file) else ())


def _sectioned(legacy: Legacy, file: str) -> Iterator[Entry]:
    for task, entry in mapping_at(legacy, file, ("tasks",)).items():
        yield read_task(legacy, file, ("tasks", task), str(task), entry if entry is not None else {})


def _registry(legacy: Legacy) -> Iterator[Entry]:
    start: Keys = ("tasks",) if _has(legacy, REGISTRY) else ()
    for task, entry in _root(legacy, REGISTRY).items():
        yield read_task(legacy, REGISTRY, (*start, task), str(task), entry)


def _sub_tasks(legacy: Legacy, file: str, entries: Mapping[Any, Any], path: Keys) -> Iterator[Entry]:
    """Sub-tasks, also in groups: a mapping that names no model holds further ones."""
    for key, entry in entries.items():
        own = {*MODEL_KEYS, "models", "provider", "tier", "llm"}
        if str(key) in legacy.not_tasks:
            legacy.left_out.add(str(key))
            legacy.lost(file, (*path, key), "", NOT_A_TASK)
        elif isinstance(entry, str) and not _may_be_model(legacy, entry):
            legacy.lost(file, (*path, key), entry, "no name of a model, so that it is read as no task")
        elif isinstance(entry, Mapping) and not own & set(entry):
            yield from _sub_tasks(legacy, file, entry, (*path, key))
        else:
            yield read_task(legacy, file, (*path, key), str(key), entry)


def _may_be_model(legacy: Legacy, text: str) -> bool:
    """Whether a text is a key or code, or has the form of a model's id."""
    return legacy.has_model(text) or re.fullmatch(r"[\w.:/@+~-]+", text, re.ASCII) is not None
