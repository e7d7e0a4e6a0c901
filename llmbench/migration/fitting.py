"""What the loader refuses is taken out, each with the loader's own reason, until it accepts the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from llmbench.config.load import inspect_sources
from llmbench.config.model import FILES, Finding
from llmbench.config.yaml_source import YamlSource
from llmbench.errors import ConfigError, ParamError
from llmbench.migration.catalogue import Files
from llmbench.migration.reading import Legacy
from llmbench.migration.tasks import OVERRIDES, ROUTER
from llmbench.migration.values import Keys
from llmbench.routing.params import normalise

MAPPING: Final = "llm_tier_mapping.yaml"
#: Rounds of taking out: a name that led to what was taken out goes in the next one.
_ROUNDS: Final = 20


def fit_files(legacy: Legacy, files: Files) -> Files:
    """The files without what the loader refuses. A key that it only does not know stays and is a loss too.

    Raises:
        ConfigError: nothing is left, or the loader goes on refusing.
    """
    for _ in range(_ROUNDS):
        findings, paths = _inspect(legacy, files)
        errors = [finding for finding in findings if finding.severity == "error"]
        if not errors:
            _drop_options(legacy, files)
            for finding in findings:
                if finding.message.startswith("unknown key"):
                    _lose(legacy, files, finding, paths, "llmbench has no such key: it stays without effect")
            return {name: data for name, data in files.items() if data}
        places = {(error.path, _path(error, paths)): error for error in errors}
        for place in sorted(places, key=_depth, reverse=True):
            _lose(legacy, files, places[place], paths, f"llmbench refuses it: {places[place].message}")
            _remove(files, *place)
    raise ConfigError(f"{legacy.root} cannot be fitted: {errors[0].message}", path=errors[0].path)


def _drop_options(legacy: Legacy, files: Files) -> None:
    """Take out each parameter of a task whose value no call accepts, such as `max_tokens: 0`."""
    for name in (OVERRIDES, ROUTER, MAPPING):
        for path, options in list(_options(files.get(name, {}), ())):
            for key, value in list(options.items()):
                try:
                    normalise({key: value})
                except ParamError as error:
                    file, place = legacy.origin(name, (*path, key))
                    legacy.lost(file, place, value, f"llmbench refuses it: {error}")
                    del options[key]


def _options(value: Any, path: Keys) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """The parameters of every task below a value, each with its path."""
    for key, item in value.items() if isinstance(value, dict) else ():
        if "tasks" in path and key in ("options", "defaults") and isinstance(item, dict):
            yield (*path, key), item
        else:
            yield from _options(item, (*path, key))


def _inspect(legacy: Legacy, files: Files) -> tuple[tuple[Finding, ...], dict[str, list[Keys]]]:
    """The loader's findings. In place of its line each has the number of its path in the file."""
    sources, paths = {}, {}
    for name in FILES:
        paths[name] = list(_all_paths(files.get(name, {}), ()))
        lines = {path: number for number, path in enumerate(paths[name])}
        sources[name] = YamlSource(name, files.get(name, {}), lines)
    _, findings = inspect_sources(legacy.root, sources)
    return findings, paths


def _all_paths(value: Any, path: Keys) -> Iterator[Keys]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from _all_paths(item, (*path, key))


def _path(finding: Finding, paths: dict[str, list[Keys]]) -> Keys:
    return () if finding.line is None else paths[finding.path][finding.line]


def _depth(place: tuple[str, Keys]) -> list[tuple[bool, int, str]]:
    """Sorts the entries of one list by their number, so that the last can be taken out first."""
    return [
        (isinstance(key, int), key if isinstance(key, int) else 0, str(key)) for key in (place[0], *place[1])
    ]


def _lose(legacy: Legacy, files: Files, finding: Finding, paths: dict[str, list[Keys]], reason: str) -> None:
    path = _path(finding, paths)
    value: Any = files.get(finding.path, {})
    for key in path:
        value = value[key]
    legacy.lost(*legacy.origin(finding.path, path), value, reason)


def _remove(files: Files, name: str, path: Keys) -> None:
    if not path:
        files[name] = {}
        return
    value: Any = files[name]
    for key in path[:-1]:
        value = value[key]
    del value[path[-1]]
