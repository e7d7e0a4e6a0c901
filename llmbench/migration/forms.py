"""Older layouts of whole files in the layout that all further steps read.

A one-file form goes below `llm_router.yaml`, a section at the top of a file below its name, a word that
stands for a mapping or a list becomes one. Values stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Final

from llmbench.config.yaml_source import YamlSource
from llmbench.migration.models import convert_provider, provider_name
from llmbench.migration.reading import ONE_FILE, Legacy
from llmbench.migration.tasks import OVERRIDES, ROUTER
from llmbench.migration.values import Keys, section

MAPPING: Final = "llm_tier_mapping.yaml"
#: What a provider is asked for, the first that an entry has.
_IDS: Final = ("deployment", "model_name", "model")
_CODES: Final[Mapping[str, str]] = {
    "llm_model_codes.yaml": "codes",
    "image_model_slots.yaml": "slots",
    "speech_model_slots.yaml": "slots",
}


def unify(legacy: Legacy) -> None:
    """Bring every file into the present layout."""
    _join_router(legacy)
    _lift(legacy, "llm_model_registry.yaml", "models", lambda value: "provider" in section(value))
    _lift(legacy, OVERRIDES, "tasks", lambda value: isinstance(value, Mapping))
    _lift(legacy, MAPPING, "tasks", lambda value: isinstance(value, str))
    _lift(legacy, "llm_tier_candidates.yaml", "tiers", lambda value: isinstance(value, (list, str)))
    for file, name in _CODES.items():
        _lift(legacy, file, name, lambda value: isinstance(value, str) or "model_key" in section(value))
        _each(legacy, file, name, lambda value: {"model_key": value} if isinstance(value, str) else value)
    _name_tiers(legacy)
    for file in (ROUTER, "llm_tier_candidates.yaml", "image_models.yaml", "speech_models.yaml"):
        _each(legacy, file, "tiers", _listed)
    for file in (ROUTER, "image_models.yaml", "speech_models.yaml"):
        _each(legacy, file, "providers", convert_provider)
        providers = section(section(legacy.data.get(file)).get("providers"))
        _each(legacy, file, "models", partial(_with_provider, known=providers))
    known = section(section(legacy.data.get(ROUTER)).get("providers"))
    _each(legacy, "llm_model_registry.yaml", "models", partial(_with_provider, known=known))


def _name_tiers(legacy: Legacy) -> None:
    """Bring the tiers of tasks into the form of one name; what names none is a loss."""
    data = legacy.data.get(MAPPING)
    if not isinstance(data, Mapping):
        return
    made = dict(data)
    if isinstance(tasks := data.get("tasks"), Mapping):
        named = {task: _tier(legacy, ("tasks", task), value) for task, value in tasks.items()}
        made["tasks"] = {task: tier for task, tier in named.items() if tier is not None}
    files = (legacy.data.get(name) for name in ("llm_tier_candidates.yaml", ROUTER))
    tiers = {tier for file in files for tier in section(section(file).get("tiers"))}
    if "overrides" in data:
        known = {*tiers, *section(made.get("tasks")).values()}
        made["overrides"] = _with_tiers(
            data["overrides"], {tier for tier in known if not legacy.has_model(tier)}
        )
    legacy.data[MAPPING] = made


def _tier(legacy: Legacy, path: Keys, value: Any) -> str | None:
    inner = value.get("tier") if isinstance(value, Mapping) else value
    tier = inner[0] if isinstance(inner, list) and len(inner) == 1 else inner
    if not isinstance(tier, str):
        if value is not None:
            legacy.lost(MAPPING, path, value, "a task is in one tier; name it")
        return None
    for key in section(value).keys() - {"tier"}:
        legacy.lost(MAPPING, (*path, key), value[key], "this file says the tier of a task alone")
    return tier


def _with_tiers(value: Any, tiers: Collection[str]) -> Any:
    """The overrides with each tier that stands in place of a task's section below `tier`."""
    if not isinstance(value, Mapping):
        return value
    made = {key: _with_tiers(item, tiers) for key, item in value.items()}
    for task, rule in section(value.get("tasks")).items():
        if isinstance(rule, str) and rule in tiers:
            made["tasks"] = {**made["tasks"], task: {"tier": rule}}
    return made


def _with_provider(model: Any, known: Mapping[str, Any]) -> Any:
    """A model's entry with the present name of its provider."""
    provider = section(model).get("provider")
    if not isinstance(provider, str):
        return model
    return {**section(model), "provider": provider_name(provider, known)}


def _listed(value: Any) -> Any:
    """A tier's list, which older files also write as one word or below `models` or `candidates`."""
    inner = next((value[key] for key in ("models", "candidates") if key in section(value)), value)
    return [inner] if isinstance(inner, str) else inner


def _each(legacy: Legacy, file: str, name: str, change: Callable[[Any], Any]) -> None:
    data = legacy.data.get(file)
    if isinstance(data, Mapping) and isinstance(data.get(name), Mapping):
        legacy.data[file] = {**data, name: {key: change(value) for key, value in data[name].items()}}


def _lift(legacy: Legacy, file: str, name: str, fits: Callable[[Any], bool]) -> None:
    """Put a file's content below a section that it leaves out, if all of it looks like that section."""
    data = legacy.data.get(file)
    if not isinstance(data, Mapping) or not data or name in data or not all(map(fits, data.values())):
        return
    legacy.data[file] = {name: dict(data)}
    legacy.sources[file] = _below_key(legacy.sources[file], name)


def _below_key(source: YamlSource, name: str) -> YamlSource:
    """A file whose content stands below a key."""
    lines = {(name, *path): line for path, line in source.lines.items()}
    overlay = None if source.overlay is None else _below_key(source.overlay, name)
    return YamlSource(source.name, {name: source.data}, lines, overlay)


def _join_router(legacy: Legacy) -> None:
    """Put the one-file forms below `llm_router.yaml`, whose own words win."""
    for name in (name for name in ONE_FILE if name in legacy.data):
        given = legacy.data.pop(name)
        if ROUTER in legacy.data:
            legacy.joined.setdefault(ROUTER, []).append(legacy.sources[name])
            legacy.data[ROUTER] = _below(legacy, name, (), given, legacy.data[ROUTER])
            continue
        legacy.files[ROUTER], legacy.sources[ROUTER] = legacy.files[name], legacy.sources[name]
        legacy.texts[ROUTER], legacy.data[ROUTER] = legacy.texts.pop(name), given


def _below(legacy: Legacy, name: str, path: tuple[Any, ...], low: Any, high: Any) -> Any:
    if not isinstance(low, Mapping) or not isinstance(high, Mapping):
        if low != high:
            legacy.lost(name, path, low, f"{legacy.files[ROUTER]} says otherwise and wins")
        return high
    if path[:1] == ("models",) and len(path) == 2 and _is_other_model(low, high):
        reason = f"{legacy.files[ROUTER]} names another model under this key and wins, with all that it says"
        legacy.lost(name, path, low, reason)
        host = {"provider": low["provider"]} if "provider" in low and "provider" not in high else {}
        return host | dict(high)
    merged = dict(high)
    for key, value in low.items():
        merged[key] = _below(legacy, name, (*path, key), value, high[key]) if key in high else value
    return merged


def _is_other_model(low: Mapping[Any, Any], high: Mapping[Any, Any]) -> bool:
    """Whether two entries of one key do not ask the same model: they cannot be mixed then."""
    provider, *ids = [(low.get(key), high.get(key)) for key in ("provider", *_IDS)]
    was, now = (next((each[side] for each in ids if each[side]), None) for side in (0, 1))
    return provider[1] not in (None, provider[0]) or now not in (None, was)
