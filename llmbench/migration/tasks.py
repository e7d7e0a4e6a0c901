"""What an older file says of one task, in any of its forms: one form for all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from llmbench.catalog import PARAMETER_ALIASES, PARAMETERS, REASONING_LEVELS
from llmbench.config.shapes import TaskShape
from llmbench.migration.reading import Legacy
from llmbench.migration.values import Keys, section

REGISTRY, TASKS = "llm_registry.json", "llm_tasks.yaml"
OVERRIDES, ROUTER = "llm_task_overrides.yaml", "llm_router.yaml"
#: Parameters that are whole numbers.
_WHOLE: Final = frozenset({"max_tokens", "top_k", "seed"})
MODEL_KEYS: Final = ("model", "model_name", "model_key", "deployment")
_OPTION_SECTIONS: Final = ("defaults", "params", "options")
_BODY: Final = frozenset(TaskShape.model_fields) - {"tier", "models", "defaults", "options"}
_OWN: Final = frozenset({"provider", "tier", "models", "fallback_model", "system_prompt_override", "llm"})
#: Parameters of a call, by any name.
KNOWN: Final = frozenset({*PARAMETERS, *PARAMETER_ALIASES, "extra_body"}) - {"timeout"}
#: What a stage says of its calls. Its `timeout` and all else are the pipeline's own.
ENTRY_KEYS: Final = KNOWN | {*MODEL_KEYS, *_OWN, *_OPTION_SECTIONS, "system_prompt"}
NOT_A_TASK: Final = "said to be no task"


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
    entry = unwrapped(entry)
    body = {key: value for key, value in entry.items() if key in _BODY}
    if (prompt := entry.get("system_prompt_override")) is not None:
        if body.get("system_prompt") not in (None, prompt):
            reason = "system_prompt_override, which won, stands in its place"
            legacy.lost(file, (*path, "system_prompt"), body["system_prompt"], reason)
        body["system_prompt"] = prompt
    if options := _options(legacy, file, path, entry):
        body["options"] = options
    tier = text_at(legacy, file, path, entry, "tier", "a tier must be one name")
    return Entry(task, file, path, read_names(legacy, file, path, entry), tier, body)


def unwrapped(entry: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """An entry with what stands below its `llm`, a model's name or a mapping, as its own words."""
    inner = {"model": entry["llm"]} if isinstance(entry.get("llm"), str) else entry.get("llm")
    if not isinstance(inner, Mapping):
        return entry
    return {**inner, **{key: value for key, value in entry.items() if key != "llm"}}


def text_at(
    legacy: Legacy, file: str, path: Keys, entry: Mapping[Any, Any], key: str, reason: str
) -> str | None:
    """A text of an entry; anything else is a loss with the reason."""
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        legacy.lost(file, (*path, key), value, reason)
    return value if isinstance(value, str) else None


def _options(legacy: Legacy, file: str, path: Keys, entry: Mapping[Any, Any]) -> dict[str, Any]:
    """The parameters of a call, wherever the entry has them; what is none of them is a loss."""
    said = [((*path, key), value) for key, value in entry.items() if key in KNOWN]
    for name in _OPTION_SECTIONS:
        if not isinstance(entry.get(name, {}), (Mapping, type(None))):
            legacy.lost(file, (*path, name), entry[name], "no mapping of parameters to values")
        for key, value in section(entry.get(name)).items():
            if key in KNOWN or key == "timeout":
                said.append(((*path, name, key), value))
            else:
                legacy.lost(file, (*path, name, key), value, "no parameter that llmbench sends")
    for key, value in entry.items():
        if key not in {*KNOWN, *_BODY, *_OWN, *MODEL_KEYS, *_OPTION_SECTIONS} and not _is_own(key):
            legacy.lost(file, (*path, key), value, "nothing that llmbench has for a task")
    given = {str(place[-1]): value for place, value in said}
    options = canonical_options(given)
    for place, value in said:
        _lose_option(legacy, file, place, value, given, options)
    return options


def _lose_option(
    legacy: Legacy, file: str, path: Keys, value: Any, given: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    """Say of a parameter that is named twice, also by two of its names, which value is used."""
    name = str(path[-1])
    target = PARAMETER_ALIASES.get(name, name)
    used = given[name] if name == "extra_body" else options.get(target)
    own = value if name == "extra_body" else canonical_options({name: value}).get(target)
    if own != used:
        legacy.lost(file, path, value, f"{target} is said twice; {used!r} is used")


def _is_own(key: object) -> bool:
    return str(key).startswith("x-")


def read_names(legacy: Legacy, file: str, path: Keys, entry: Mapping[Any, Any]) -> tuple[Named, ...]:
    """The models of an entry in order, a `fallback_model` last; what names none is a loss.

    Raises:
        ConfigError: a model's name is no text.
    """
    host = text_at(legacy, file, path, entry, "provider", "a provider must be one name")
    single = [entry[key] for key in MODEL_KEYS if entry.get(key)]
    listed = entry.get("models")
    many = [listed] if isinstance(listed, str) else listed if isinstance(listed, list) else []
    if listed is not None and not isinstance(listed, (str, list)):
        legacy.lost(file, (*path, "models"), listed, "no list of models")
    if not all(isinstance(name, str) for name in (*single, *many)):
        raise legacy.wrong(file, path, "a model's name must be text; put it in quotes")
    for extra in single[1:]:
        if extra != single[0]:
            legacy.lost(file, path, extra, f"the model is named twice; {single[0]!r} is used")
    names = [Named(host, name) for name in (*single[:1], *many)]
    tails = _tails(legacy, file, path, entry.get("fallback_model"), has_models=bool(names))
    return tuple(dict.fromkeys([*names, *tails]))


def _tails(legacy: Legacy, file: str, path: Keys, tail: Any, *, has_models: bool) -> list[Named]:
    """The `fallback_model` of an entry, one or several."""
    if tail is None:
        return []
    names = [tail] if isinstance(tail, str) else tail
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        legacy.lost(file, (*path, "fallback_model"), tail, "no model's name, and no list of them")
        return []
    if not has_models:
        legacy.lost(file, (*path, "fallback_model"), tail, "a task without models of its own has no last one")
        return []
    return [Named(None, name) for name in names]


def _level(value: object) -> str | None:
    """The level that OpenRouter's `reasoning` asks for, if it says nothing else."""
    if isinstance(value, Mapping) and set(value) == {"effort"}:
        value = value["effort"]
    elif isinstance(value, Mapping) and dict(value) == {"enabled": False}:
        value = "none"
    return value.lower() if isinstance(value, str) and value.lower() in REASONING_LEVELS else None
