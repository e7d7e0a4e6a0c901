"""Older layouts of whole files in the layout that all further steps read.

A one-file form goes below `llm_router.yaml`, a section at the top of a file below its name, a word that
stands for a mapping or a list becomes one. Values stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from llmbench.config.yaml_source import YamlSource
from llmbench.migration.models import convert_provider, provider_name
from llmbench.migration.reading import ONE_FILE, Legacy
from llmbench.migration.tasks import OVERRIDES, ROUTER
from llmbench.migration.values import section

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
    _lift(legacy, "llm_tier_mapping.yaml", "tasks", lambda value: isinstance(value, str))
    _lift(legacy, "llm_tier_candidates.yaml", "tiers", lambda value: isinstance(value, (list, str)))
    for file, name in _CODES.items():
        _lift(legacy, file, name, lambda value: isinstance(value, str) or "model_key" in section(value))
        _each(legacy, file, name, lambda value: {"model_key": value} if isinstance(value, str) else value)
    for file in (ROUTER, "llm_tier_candidates.yaml", "image_models.yaml", "speech_models.yaml"):
        _each(legacy, file, "tiers", _listed)
    for file in (ROUTER, "image_models.yaml", "speech_models.yaml"):
        _each(legacy, file, "providers", convert_provider)
        providers = section(section(legacy.data.get(file)).get("providers"))
        _each(legacy, file, "models", partial(_with_provider, known=providers))
    known = section(section(legacy.data.get(ROUTER)).get("providers"))
    _each(legacy, "llm_model_registry.yaml", "models", partial(_with_provider, known=known))


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
            legacy.data[ROUTER] = _below(legacy, name, (), given, legacy.data[ROUTER])
            continue
        legacy.files[ROUTER], legacy.sources[ROUTER] = legacy.files[name], legacy.sources[name]
        legacy.texts[ROUTER], legacy.data[ROUTER] = legacy.texts.pop(name), given


def _below(legacy: Legacy, name: str, path: tuple[Any, ...], low: Any, high: Any) -> Any:
    if not isinstance(low, Mapping) or not isinstance(high, Mapping):
        if low != high:
            legacy.lost(name, path, low, f"{legacy.files[ROUTER]} says otherwise and wins")
        return high
    merged = dict(high)
    for key, value in low.items():
        merged[key] = _below(legacy, name, (*path, key), value, high[key]) if key in high else value
    return merged
