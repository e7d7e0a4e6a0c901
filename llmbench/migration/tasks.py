"""What each file of an older folder says of the tasks: one form for all of them, in order of precedence.

The order: the pins of `stages.yaml` and `templates.yaml`, then `llm_task_overrides.yaml`, `llm_tasks.yaml`,
the router's file, `llm_registry.json`, and last a pipeline's `default_model`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from llmbench.catalog import PARAMETER_ALIASES, PARAMETERS, REASONING_LEVELS
from llmbench.config.shapes import TaskShape
from llmbench.migration.reading import STAGES, Legacy
from llmbench.migration.values import Keys, section

REGISTRY, TASKS = "llm_registry.json", "llm_tasks.yaml"
OVERRIDES, ROUTER = "llm_task_overrides.yaml", "llm_router.yaml"
#: Overrides the `default_model` of the pipeline's files.
DEFAULT_VARIABLE: Final = "SCRIPT_PIPELINE_DEFAULT_MODEL"
#: Parameters that are whole numbers.
_WHOLE: Final = frozenset({"max_tokens", "top_k", "seed"})
_MODEL_KEYS: Final = ("model", "model_name", "model_key", "deployment")
_OPTION_SECTIONS: Final = ("defaults", "params", "options")
_BODY: Final = frozenset(TaskShape.model_fields) - {"tier", "models", "defaults", "options"}
_OWN: Final = frozenset({"provider", "tier", "models", "fallback_model", "system_prompt_override"})
#: What a stage says of its calls. Its `timeout` and all else are the pipeline's own.
_STAGE_KEYS: Final = frozenset(
    {*_MODEL_KEYS, *_OWN, *_OPTION_SECTIONS, *PARAMETERS, *PARAMETER_ALIASES, "extra_body", "system_prompt"}
) - {"timeout"}
_NOT_A_TASK: Final = "said to be no task"
_NESTED: Final = ("stages", "templates", "steps", "tasks")


class Named(NamedTuple):
    """A model as an older file names it; without a provider it may be a key, a code or a model id."""

    provider: str | None
    model: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What one file says of one task. `body` is the rest, in the form of `llm_task_overrides.yaml`.

    `is_default` marks a pipeline's `default_model`: it holds where nothing else names a model or a tier.
    """

    task: str
    file: str
    path: Keys
    names: tuple[Named, ...] = ()
    tier: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    is_default: bool = False


def read_tasks(legacy: Legacy) -> dict[str, list[Entry]]:
    """Every task of every file, the entry that wins first.

    Raises:
        ConfigError: an entry is no model and no mapping, or a section no mapping; with file and line.
    """
    pins, defaults = _stages(legacy)
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
            legacy.lost(entry.file, entry.path, "", _NOT_A_TASK)
        else:
            found.setdefault(entry.task, []).append(entry)
    return found


def mapping_at(legacy: Legacy, name: str, path: Keys) -> Mapping[Any, Any]:
    """A section of a file; empty where it is not written.

    Raises:
        ConfigError: it is something else than a mapping.
    """
    value: Any = legacy.data.get(name, {})
    for key in path:
        value = section(value).get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        what = ".".join(map(str, path)) or "the file"
        raise legacy.wrong(name, path, f"{what} must be a mapping, not a {type(value).__name__}")
    return value


def canonical_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by llmbench's names; `extra_body.reasoning` becomes `reasoning` where it says no more."""
    options: dict[str, Any] = {}
    for name, value in given.items():
        target = PARAMETER_ALIASES.get(name, name)
        if target not in options or name == target:
            options[target] = option_value(target, value)
    extra = options.get("extra_body")
    level = _level(extra.get("reasoning")) if isinstance(extra, Mapping) else None
    if isinstance(extra, Mapping) and level is not None and "reasoning" not in options:
        rest = {name: value for name, value in extra.items() if name != "reasoning"}
        options = {name: value for name, value in options.items() if name != "extra_body"}
        options |= {"reasoning": level, **({"extra_body": rest} if rest else {})}
    return options


def option_value(name: str, value: Any) -> Any:
    """A parameter's value as llmbench has it: a level by its own word, a whole number that was text."""
    if not isinstance(value, str):
        return value
    if name == "reasoning":
        return value.lower().removeprefix("thinking_level_")
    is_whole = name in _WHOLE and re.fullmatch(r"[0-9]{1,9}", value.strip())
    return int(value) if is_whole else value


def read_task(legacy: Legacy, file: str, path: Keys, task: str, entry: object) -> Entry:
    """One task's entry in any of the older forms.

    Raises:
        ConfigError: it is neither a model's name nor a mapping.
    """
    if isinstance(entry, str):
        return Entry(task, file, path, (Named(None, entry),))
    if not isinstance(entry, Mapping):
        kind = "nothing" if entry is None else f"a {type(entry).__name__}"
        raise legacy.wrong(file, path, f"task {task!r} must be a model's name or a mapping, not {kind}")
    body = {key: value for key, value in entry.items() if key in _BODY}
    if (prompt := entry.get("system_prompt_override")) is not None:
        if body.get("system_prompt") not in (None, prompt):
            reason = "system_prompt_override, which won, stands in its place"
            legacy.lost(file, (*path, "system_prompt"), body["system_prompt"], reason)
        body["system_prompt"] = prompt
    if options := _options(legacy, file, path, entry):
        body["options"] = options
    tier = entry.get("tier")
    return Entry(
        task, file, path, _names(legacy, file, path, entry), tier if isinstance(tier, str) else None, body
    )


def _options(legacy: Legacy, file: str, path: Keys, entry: Mapping[Any, Any]) -> dict[str, Any]:
    """The parameters of a call, wherever the entry has them; what is none of them is a loss."""
    known = {*PARAMETERS, *PARAMETER_ALIASES, "extra_body"} - {"timeout"}
    given = {key: value for key, value in entry.items() if key in known}
    for name in _OPTION_SECTIONS:
        for key, value in section(entry.get(name)).items():
            if key in known or key == "timeout":
                given[key] = value
            else:
                legacy.lost(file, (*path, name, key), value, "no parameter that llmbench sends")
    for key, value in entry.items():
        if key not in {*known, *_BODY, *_OWN, *_MODEL_KEYS, *_OPTION_SECTIONS} and not _is_own(key):
            legacy.lost(file, (*path, key), value, "nothing that llmbench has for a task")
    return canonical_options(given)


def _is_own(key: object) -> bool:
    return str(key).startswith("x-")


def _names(legacy: Legacy, file: str, path: Keys, entry: Mapping[Any, Any]) -> tuple[Named, ...]:
    """The models in order, a `fallback_model` last."""
    provider = entry.get("provider")
    host = provider if isinstance(provider, str) else None
    single = [entry[key] for key in _MODEL_KEYS if entry.get(key)]
    listed = entry.get("models")
    many = [listed] if isinstance(listed, str) else listed if isinstance(listed, list) else []
    if not all(isinstance(name, str) for name in (*single, *many)):
        raise legacy.wrong(file, path, "a model's name must be text; put it in quotes")
    for extra in single[1:]:
        if extra != single[0]:
            legacy.lost(file, path, extra, f"the model is named twice; {single[0]!r} is used")
    names = [Named(host, name) for name in (*single[:1], *many)]
    tail = entry.get("fallback_model")
    if isinstance(tail, str) and names:
        names.append(Named(None, tail))
    elif tail is not None:
        legacy.lost(file, (*path, "fallback_model"), tail, "a task without models of its own has no last one")
    return tuple(dict.fromkeys(names))


def _level(value: object) -> str | None:
    """The level that OpenRouter's `reasoning` asks for, if it says nothing else."""
    if isinstance(value, Mapping) and set(value) == {"effort"}:
        value = value["effort"]
    elif isinstance(value, Mapping) and dict(value) == {"enabled": False}:
        value = "none"
    return value.lower() if isinstance(value, str) and value.lower() in REASONING_LEVELS else None


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
        own = {*_MODEL_KEYS, "models", "provider", "tier"}
        if str(key) in legacy.not_tasks:
            legacy.lost(file, (*path, key), "", _NOT_A_TASK)
        elif isinstance(entry, str) and not _may_be_model(legacy, entry):
            legacy.lost(file, (*path, key), entry, "no name of a model, so that it is read as no task")
        elif isinstance(entry, Mapping) and not own & set(entry):
            yield from _sub_tasks(legacy, file, entry, (*path, key))
        else:
            yield read_task(legacy, file, (*path, key), str(key), entry)


def _may_be_model(legacy: Legacy, text: str) -> bool:
    """Whether a text is a key or code, or has the form of a model's id."""
    files = (ROUTER, "models"), ("llm_model_registry.yaml", "models"), ("llm_model_codes.yaml", "codes")
    known = any(text in section(section(legacy.data.get(file)).get(part)) for file, part in files)
    return known or re.fullmatch(r"[\w.:/@+~-]+", text, re.ASCII) is not None


def _stages(legacy: Legacy) -> tuple[list[Entry], list[Entry]]:
    """The pins of the pipeline's files, and the tasks that run on a `default_model`."""
    pins: list[Entry] = []
    defaults: list[Entry] = []
    for file in STAGES:
        data = mapping_at(legacy, file, ())
        given = legacy.variables.get(DEFAULT_VARIABLE, "").strip()
        if given and data:
            reason = f"{DEFAULT_VARIABLE} was set and won; its model stands in the tasks now"
            legacy.lost(file, ("default_model",), data.get("default_model"), reason)
        own: set[str] = set()
        for entry in _walk(legacy, file, data, (), given or data.get("default_model"), own):
            (defaults if entry.is_default else pins).append(entry)
        if own:
            legacy.lost(file, (), ", ".join(sorted(own)), "the pipeline's own keys stay in its own file")
    return pins, defaults


def _walk(
    legacy: Legacy, file: str, data: Mapping[Any, Any], path: Keys, default: Any, own: set[str]
) -> Iterator[Entry]:
    """The stages below a mapping, whose own `default_model` holds unless the variable is set."""
    if not legacy.variables.get(DEFAULT_VARIABLE, "").strip():
        default = data.get("default_model") or default
    nested = [key for key in _NESTED if isinstance(data.get(key), (Mapping, list))]
    for key in nested:
        value = data[key]
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, stage in items:
            yield from _stage(legacy, file, (*path, key, name), stage, default, own)
    own.update(str(key) for key in data if key not in {*nested, "default_model", "name"})


def _stage(
    legacy: Legacy, file: str, path: Keys, stage: object, default: Any, own: set[str]
) -> Iterator[Entry]:
    if isinstance(stage, Mapping) and any(key in stage for key in _NESTED):
        yield from _walk(legacy, file, stage, path, default, own)
        return
    entry = stage if isinstance(stage, Mapping) else {}
    name = entry.get("task") or entry.get("name") or path[-1]
    if isinstance(stage, str) and isinstance(path[-1], int):
        name = stage
    elif isinstance(stage, str):
        entry = {"model": stage}
    read = {key: value for key, value in entry.items() if key in _STAGE_KEYS}
    own.update(str(key) for key in entry if key not in read and key not in ("task", "name"))
    if read:
        found = read_task(legacy, file, path, str(name), read)
        if found.names or found.tier or found.body:
            yield found
        if found.names:
            return
    if isinstance(default, str) and default:
        yield Entry(str(name), file, path, (Named(None, default),), is_default=True)
