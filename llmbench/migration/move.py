"""`llmbench migrate`: read, plan, write, and prove that every route is the same before and after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from llmbench.catalog import Modality
from llmbench.config.environment import read_environment
from llmbench.config.load import load_config
from llmbench.config.media_view import media_config
from llmbench.config.model import Config, MediaModality
from llmbench.errors import ConfigError, RouteError
from llmbench.migration.before import Before, Question
from llmbench.migration.fitting import fit_files
from llmbench.migration.forms import unify
from llmbench.migration.models import hidden_names
from llmbench.migration.plan import plan_files
from llmbench.migration.reading import Legacy, read_legacy
from llmbench.migration.values import Asked, Difference, Migration, Move, section
from llmbench.migration.writing import file_texts, put_in_place
from llmbench.routing.resolve import Wanted, resolve

_ALONE = Question()


def migrate(
    old: str | Path,
    target: str | Path = "configs",
    *,
    tiers: Mapping[str, str] | None = None,
    force: bool = False,
    variables: Mapping[str, str] | None = None,
) -> Migration:
    """Write an older folder's content as a present config folder, and compare every route.

    Args:
        old: the older folder; it is only read.
        target: the folder to write, which must be empty or not exist.
        tiers: task -> tier for tasks that are not to be `standard`.
        force: set a target that is not empty aside, under a name that says when.
        variables: environment variables; the process's own by default.

    Raises:
        ConfigError: a file cannot be read (with file and line), or the target cannot be written.
    """
    source, folder = Path(old).resolve(), Path(target).resolve()
    if folder == source or source in folder.parents:
        raise ConfigError(f"{target} is in the older folder, which is only read; name one outside of it")
    legacy = _read(old, variables)
    before = Before(legacy)
    files = fit_files(legacy, plan_files(legacy, before, tiers or {}))
    kept = put_in_place(file_texts(legacy, files), Path(target), force=force)
    done = _proved(legacy, before, Path(target))
    return replace(done, files=tuple(files), losses=tuple(legacy.losses.found), kept=kept)


def prove_folder(
    old: str | Path, folder: str | Path, *, variables: Mapping[str, str] | None = None
) -> Migration:
    """Compare every route of an older folder with those of a folder that was written before.

    Raises:
        ConfigError: one of them cannot be read.
    """
    legacy = _read(old, variables)
    return _proved(legacy, Before(legacy), Path(folder))


def _read(old: str | Path, variables: Mapping[str, str] | None) -> Legacy:
    legacy = read_legacy(old, read_environment(variables).variables)
    unify(legacy)
    return legacy


def _proved(legacy: Legacy, before: Before, folder: Path) -> Migration:
    config = load_config(folder)
    tasks = sorted({*before.tasks(), *config.task_names(), *_media_tasks(config)})
    questions = before.questions()
    differences = []
    for task in tasks:
        for question in questions:
            was, now = before.route(task, question), after(config, task, question)[0]
            if was != now:
                differences.append(Difference(task, question.channel, question.env, question.slot, was, now))
    moves = tuple(_move(legacy, before, config, task) for task in tasks)
    models = {**section(section(legacy.data.get("llm_router.yaml")).get("models"))}
    models |= section(section(legacy.data.get("llm_model_registry.yaml")).get("models"))
    hidden = tuple(hidden_names(models))
    compared = len(tasks) * len(questions)
    return Migration(folder, (), moves, (), hidden, tuple(differences), compared)


def _move(legacy: Legacy, before: Before, config: Config, task: str) -> Move:
    entry = before.winner(task)
    file = legacy.files[entry.file] if entry is not None else "its tier"
    new, tier = after(config, task, _ALONE)[1:]
    return Move(task, file, before.route(task, _ALONE), tier, new)


def after(config: Config, task: str, question: Question) -> tuple[tuple[Asked, ...], tuple[str, ...], str]:
    """The route in the new folder: what is asked for, its model keys, and its tier; empty without a route."""
    kind = config.media_of(task=task, tier="")
    environment = read_environment({} if question.slot is None else {"LLM_MODEL_SLOT": question.slot})
    view = config if kind is None else media_config(config, kind, read_environment({}))
    if kind is not None:
        environment = read_environment({})
    for modality in _modalities(kind):
        wanted = Wanted(task, channel=question.channel, env=question.env, modality=modality)
        try:
            route = resolve(view, environment, wanted, lambda _spec: None)
        except RouteError:
            continue
        specs = [view.models[key] for key in route.candidates]
        asked = dict.fromkeys(Asked(spec.provider, spec.model_id) for spec in specs)
        return tuple(asked), route.candidates, route.tier
    return (), (), ""


def _modalities(kind: MediaModality | None) -> tuple[Modality, ...]:
    """Text tiers of older folders may hold models of images or speech."""
    return ("text", "image", "speech") if kind is None else (kind,)


def _media_tasks(config: Config) -> set[str]:
    return {task for media in config.media.values() for task in media.tasks}
