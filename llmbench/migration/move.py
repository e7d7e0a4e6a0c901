"""`llmbench migrate`: read, plan, write, and prove that every route is the same before and after."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmbench.config.environment import read_environment
from llmbench.config.places import near
from llmbench.errors import ConfigError
from llmbench.migration.before import Before
from llmbench.migration.catalogue import Files
from llmbench.migration.fitting import fit_files
from llmbench.migration.forms import unify
from llmbench.migration.plan import plan_files
from llmbench.migration.proof import compare
from llmbench.migration.reading import Legacy, overlay_name, read_legacy
from llmbench.migration.values import Loss, Migration
from llmbench.migration.writing import file_texts, put_in_place


def migrate(
    old: str | Path,
    target: str | Path = "configs",
    *,
    tiers: Mapping[str, str] | None = None,
    force: bool = False,
    not_tasks: Collection[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Migration:
    """Write an older folder's content as a present config folder, and compare every route.

    Each `.local.yaml` overlay becomes one again: what it changes stands in overlays of the new files.

    Args:
        old: the older folder; it is only read.
        target: the folder to write, which must be empty or not exist.
        tiers: task -> tier for tasks that are not to be `standard`.
        not_tasks: names in `llm_tasks.yaml`, `llm_registry.json` and the pipeline's files that are no tasks.
        force: set a target that is not empty aside, under a name that says when.
        variables: environment variables; the process's own by default.

    Raises:
        ConfigError: a file cannot be read (with file and line), the target cannot be written, or a name in
            `tiers` or `not_tasks` is in none of the files.
    """
    _refuse_overlap(Path(old).resolve(), Path(target).resolve())
    plain, local = _read(old, variables, not_tasks)
    before = Before(plain)
    local_before = None if local is None else Before(local)
    befores = [before, *([] if local_before is None else [local_before])]
    _refuse_unknown_tasks(befores, tiers or {})
    _refuse_unmet(plain, local, befores)
    files = fit_files(plain, plan_files(plain, before, tiers or {}))
    texts = file_texts(plain, files)
    if local is not None and local_before is not None:
        whole = fit_files(local, plan_files(local, local_before, tiers or {}, files))
        texts |= file_texts(local, overlay_files(files, whole))
    kept = put_in_place(texts, Path(target), force=force)
    done = compare(plain, before, local, local_before, Path(target))
    return replace(
        done, files=tuple(texts), losses=_losses(plain, local), notes=_notes(plain, local), kept=kept
    )


def prove_folder(
    old: str | Path,
    folder: str | Path,
    *,
    not_tasks: Collection[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Migration:
    """Compare every route of an older folder with those of a folder that was written before.

    Raises:
        ConfigError: one of them cannot be read, or a name in `not_tasks` is in none of the older files.
    """
    plain, local = _read(old, variables, not_tasks)
    before, local_before = Before(plain), None if local is None else Before(local)
    _refuse_unmet(plain, local, [before, *([] if local_before is None else [local_before])])
    return compare(plain, before, local, local_before, Path(folder))


def overlay_files(base: Files, whole: Files) -> Files:
    """The overlays that make the whole of the base. An empty key takes a field of the base away."""
    changes = {name: _overlay_change(base.get(name, {}), data, ()) for name, data in whole.items()}
    return {overlay_name(name): change for name, change in changes.items() if change}


def _overlay_change(
    base: Mapping[Any, Any], whole: Mapping[Any, Any], path: tuple[Any, ...]
) -> dict[Any, Any]:
    change: dict[Any, Any] = {}
    for key, value in whole.items():
        old = base.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            if inner := _overlay_change(old, value, (*path, key)):
                change[key] = inner
        elif key not in base or (type(old), old) != (type(value), value):
            change[key] = value
    gone = [key for key in base if key not in whole]
    if path == ("tasks",):
        change |= {key: dict.fromkeys(base[key]) for key in gone if isinstance(base[key], Mapping)}
    elif len(path) > 1:  # a field of an entry; other entries that the overlay does without stay unused
        change |= dict.fromkeys(gone)
    return change


def _refuse_overlap(source: Path, folder: Path) -> None:
    if folder == source or source in folder.parents:
        raise ConfigError(f"{folder} is in the older folder, which is only read; name one outside of it")
    if folder in source.parents:
        raise ConfigError(f"{folder} holds the older folder, which is only read; name one outside of it")


def _refuse_unknown_tasks(befores: Sequence[Before], tiers: Mapping[str, str]) -> None:
    """Refuse a tier for what is no text task: it would make a task that nobody named."""
    media = {task for before in befores for task in before.tasks() if before.media(task) is not None}
    known = {task for before in befores for task in before.tasks()} - media
    for task, tier in tiers.items():
        if task in media:
            raise ConfigError(f"--tier {task}={tier}: images and speech have their tiers in their own file")
        if task not in known:
            raise ConfigError(f"--tier {task}={tier}: no older file has a task {task!r}; {near(task, known)}")


def _refuse_unmet(plain: Legacy, local: Legacy | None, befores: Sequence[Before]) -> None:
    """Refuse a name that is said to be no task and that no file has where that can be said."""
    met = plain.left_out | (set() if local is None else local.left_out)
    if missing := sorted(plain.not_tasks - met):
        known = {task for before in befores for task in before.tasks()}
        files = "llm_tasks.yaml, llm_registry.json, stages.yaml or templates.yaml"
        raise ConfigError(f"--not-a-task {missing[0]}: no such name in {files}; {near(missing[0], known)}")


def _read(
    old: str | Path, variables: Mapping[str, str] | None, not_tasks: Collection[str]
) -> tuple[Legacy, Legacy | None]:
    """The older folder without its overlays, and with them if it has any."""
    environment = read_environment(variables).variables
    names = frozenset(not_tasks)
    plain = replace(read_legacy(old, environment, overlays=False), not_tasks=names)
    unify(plain)
    if not plain.overlays:
        return plain, None
    local = replace(read_legacy(old, environment), not_tasks=names)
    unify(local)
    plain.secrets.extend(local.secrets)
    local.secrets.extend(plain.secrets)
    return plain, local


def _losses(plain: Legacy, local: Legacy | None) -> tuple[Loss, ...]:
    """Every loss. What an overlay wins over still stands in the base's own files, and is none."""
    found = plain.losses.found
    if local is None:
        return tuple(found)
    overlays = set(local.overlays.values())
    return (*found, *(loss for loss in local.losses.found if loss.file in overlays and loss not in found))


def _notes(plain: Legacy, local: Legacy | None) -> tuple[Loss, ...]:
    found = [*plain.losses.notes, *([] if local is None else local.losses.notes)]
    return tuple(dict.fromkeys(found))
