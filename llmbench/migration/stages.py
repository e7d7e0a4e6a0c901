"""The stages of `stages.yaml` and `templates.yaml`: their pins, and the models of stages without one.

A stage is a mapping, a model's name, a list of steps with names, or a list of models. What is none of these
is a loss with its place, and never a task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from llmbench.migration.reading import STAGES, Legacy
from llmbench.migration.tasks import ENTRY_KEYS, MODEL_KEYS, Entry, Named, mapping_at, read_names, read_task
from llmbench.migration.values import Keys, section

#: Overrides the `default_model` of the pipeline's files.
DEFAULT_VARIABLE: Final = "SCRIPT_PIPELINE_DEFAULT_MODEL"
_NESTED: Final = ("stages", "templates", "steps", "tasks")
_NAMES: Final = ("task", "name", "id")
_PINS: Final = (*MODEL_KEYS, "models", "llm", "provider", "fallback_model")


class _Default(NamedTuple):
    """The models of stages that name none. `is_pin`: a template's own, which also wins over a tier."""

    names: tuple[Named, ...] = ()
    is_pin: bool = False


def read_stages(legacy: Legacy) -> tuple[list[Entry], list[Entry]]:
    """The pins of the pipeline's files, and the tasks that run on a `default_model`."""
    pins: list[Entry] = []
    defaults: list[Entry] = []
    for file in STAGES:
        data = mapping_at(legacy, file, ())
        given = legacy.variables.get(DEFAULT_VARIABLE, "").strip()
        if given and data:
            reason = f"{DEFAULT_VARIABLE} was set and won; its model stands in the tasks now"
            legacy.lost(file, ("default_model",), data.get("default_model"), reason)
        pipeline = _Pipeline(legacy, file, is_set=bool(given))
        for entry in pipeline.below(data, (), _Default((Named(None, given),) if given else ())):
            (defaults if entry.is_default else pins).append(entry)
        if pipeline.own:
            shown = ", ".join(sorted(pipeline.own))
            legacy.lost(file, (), shown, "the pipeline's own keys stay in its own file")
    return pins, defaults


@dataclass(slots=True)
class _Pipeline:
    """One file as it is read. `is_set`: the variable decides the default; `own` collects its other keys."""

    legacy: Legacy
    file: str
    is_set: bool
    own: set[str] = field(default_factory=set)

    def below(self, data: Mapping[Any, Any], path: Keys, default: _Default) -> Iterator[Entry]:
        """The stages below a mapping, whose own pin or `default_model` holds for those that name none."""
        default = self._default(data, path, default)
        for key in (key for key in _NESTED if data.get(key) is not None):
            value = data[key]
            if isinstance(value, Mapping):
                for name, stage in value.items():
                    yield from self._stage(stage, (*path, key, name), default)
            elif isinstance(value, list):
                for number, stage in enumerate(value):
                    yield from self._step(stage, (*path, key, number), default)
            else:
                self._lose((*path, key), value, "neither a mapping nor a list of stages")
        known = {*_NESTED, *_NAMES, "default_model", *(_PINS if path else MODEL_KEYS)}
        self.own.update(str(key) for key in data if key not in known)

    def _default(self, data: Mapping[Any, Any], path: Keys, default: _Default) -> _Default:
        given = data.get("default_model")
        if given is not None and not self.is_set:
            names = self._default_names(given, (*path, "default_model"))
            default = _Default(names) if names else default
        if any(data.get(key) for key in _PINS):
            names = read_task(
                self.legacy, self.file, path, "", {k: data[k] for k in _PINS if k in data}
            ).names
            default = _Default(names, is_pin=bool(path)) if names else default
        return default

    def _default_names(self, given: object, path: Keys) -> tuple[Named, ...]:
        if isinstance(given, str):
            return (Named(None, given),) if given else ()
        names = read_names(self.legacy, self.file, path, given) if isinstance(given, Mapping) else ()
        if not names:
            self._lose(path, given, "neither a model's name nor a mapping with one")
        for key in section(given).keys() - {*_PINS}:
            self._lose((*path, key), section(given)[key], "a default says its model alone here")
        return names

    def _step(self, step: object, path: Keys, default: _Default) -> Iterator[Entry]:
        """One step of a list: a name alone, or a mapping with its name."""
        if isinstance(step, str):
            yield from self._task(step, {}, path, default)
        elif isinstance(step, Mapping) and not any(step.get(key) for key in _NAMES):
            self._lose(path, step, "a step without a name; give it one as `name`")
        else:
            yield from self._stage(step, path, default)

    def _stage(self, stage: object, path: Keys, default: _Default) -> Iterator[Entry]:
        if isinstance(stage, list):
            yield from self._steps(stage, path, default)
        elif isinstance(stage, str):
            yield from self._task(str(path[-1]), {"model": stage}, path, default)
        elif stage is not None and not isinstance(stage, Mapping):
            self._lose(path, stage, "a stage is a model's name, a mapping or a list of steps")
        elif any(key in section(stage) for key in _NESTED):
            yield from self.below(section(stage), path, default)
        else:
            entry = section(stage)
            name = next((entry[key] for key in _NAMES if entry.get(key)), path[-1])
            yield from self._task(str(name), entry, path, default)

    def _steps(self, steps: list[Any], path: Keys, default: _Default) -> Iterator[Entry]:
        """A stage that is a list: of steps, or of models that the folder has."""
        is_text = bool(steps) and all(isinstance(step, str) for step in steps)
        models = [step for step in steps if isinstance(step, str) and self.legacy.has_model(step)]
        if is_text and len(models) == len(steps):
            yield from self._task(str(path[-1]), {"models": steps}, path, default)
        elif is_text and (models or "templates" not in path[-2:-1]):
            self._lose(path, steps, "neither steps with names nor models that the folder has")
        else:
            for number, step in enumerate(steps):
                yield from self._step(step, (*path, number), default)

    def _task(self, name: str, entry: Mapping[Any, Any], path: Keys, default: _Default) -> Iterator[Entry]:
        read = {key: value for key, value in entry.items() if key in ENTRY_KEYS}
        self.own.update(str(key) for key in entry if key not in read and key not in _NAMES)
        found = read_task(self.legacy, self.file, path, name, read)
        if found.names or found.tier or found.body:
            yield found
        if default.names and not found.names:
            is_default = not default.is_pin or found.tier is not None
            yield Entry(name, self.file, path, default.names, is_default=is_default)

    def _lose(self, path: Keys, value: object, reason: str) -> None:
        self.legacy.lost(self.file, path, value, f"not read as a task: {reason}")
