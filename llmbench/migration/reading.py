"""The files of an older folder: found, read with their lines, and freed of the keys that stand in them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmbench.config.model import FILES
from llmbench.config.yaml_source import YamlSource, parse_yaml
from llmbench.errors import ConfigError
from llmbench.migration.values import Keys, Losses, holds_key
from llmbench.telemetry import Redactor

#: A config file of more bytes is refused before it is read.
MAX_BYTES: Final = 16 * 1024 * 1024
MAX_DEPTH: Final = 4
ONE_FILE: Final = ("llm.yml", "llm.yaml", "llm_router.yml")
STAGES: Final = ("stages.yaml", "templates.yaml")
OPENROUTER: Final = "openrouter_models.json"
KNOWN: Final = frozenset({*FILES, *ONE_FILE, *STAGES, "llm_registry.json", "llm_tasks.yaml", OPENROUTER})
_SKIPPED: Final = frozenset({"schema", "node_modules", "__pycache__", "venv", "site-packages"})
_KEY_NAME: Final = re.compile(
    r"(?i)(?:\w*[_-])?(?:api[_-]?key|secret|password|authorization|(?:access|auth|api)[_-]?token)"
)
_SECTIONS: Final = frozenset({"models", "providers", "tiers", "tasks", "codes", "slots"})
#: Characters of a key that cannot be a word of the config itself.
_OF_CHANCE: Final = 12
_DIGIT: Final = re.compile("[0-9]")
_VARIABLE: Final = re.compile(r"\$?\{?([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\}?")
_KEY_VARIABLES: Final = {
    "azure": "AZURE_OPENAI_API_KEY",
    "openai": "OPENAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "gemini": "GEMINI_API_KEY",
}


@dataclass(frozen=True, slots=True)
class Legacy:
    """An older folder. `data` are the files by name without keys; `texts` are those read, as they are.

    `files` names each by its path in the folder, `sources` know the lines; `variables` is the environment.
    `overlays` names, by the file that each is merged over, the `.local.yaml` files that there are; `secrets`
    are the values of the keys that stand in the files. `not_tasks` are names that are no tasks, as the person
    who migrates says. `origins` leads from a file and path of the new folder to those of the older one, where
    another file had the value.
    """

    root: Path
    data: dict[str, Any]
    texts: dict[str, str]
    files: dict[str, str]
    sources: dict[str, YamlSource]
    losses: Losses = field(default_factory=Losses)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    overlays: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list, repr=False)
    not_tasks: frozenset[str] = frozenset()
    origins: dict[tuple[str, Keys], tuple[str, Keys]] = field(default_factory=dict, repr=False)

    def hidden(self, text: str) -> str:
        """The text without the keys that stand anywhere in the folder: a comment may repeat one."""
        return Redactor(self.secrets)(text)

    def origin(self, name: str, path: Keys) -> tuple[str, Keys]:
        """Older file and path of what stands at a path of a new file, as far as another file had it."""
        for size in range(len(path), 0, -1):
            if (name, path[:size]) in self.origins:
                file, start = self.origins[name, path[:size]]
                return file, (*start, *path[size:])
        return name, path

    def lost(self, name: str, path: Keys, value: object, reason: str) -> None:
        """Add a loss of one file, with the line where it stands."""
        file, line = self._place(name, path)
        self.losses.add(file, path, value, reason, line)

    def wrong(self, name: str, path: Keys, message: str) -> ConfigError:
        """An error about one file, with the line where it stands."""
        file, line = self._place(name, path)
        return ConfigError(message, path=file, line=line)

    def _place(self, name: str, path: Keys) -> tuple[str, int | None]:
        source = self.sources.get(name)
        return (self.files.get(name, name), None) if source is None else source.place(path)


def read_legacy(folder: str | Path, variables: Mapping[str, str], *, overlays: bool = True) -> Legacy:
    """Read every file of an older folder that is known, in it and up to four folders below.

    Args:
        folder: the older folder.
        variables: the environment.
        overlays: merge each `.local.yaml` over the file beside it; else they are only named.

    Raises:
        ConfigError: there is no such folder, it holds none of the files, or one cannot be read; with the
            file and, where it is known, the line.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"no folder at {root}; give the folder that holds the older files")
    legacy = Legacy(root, {}, {}, {}, {}, variables=variables)
    paths = sorted(_candidates(root), key=lambda each: (len(each.parts), each))
    for path in (path for path in paths if not _is_overlay(path)):
        _take(legacy, path)
    for path in filter(_is_overlay, paths):
        _take_overlay(legacy, path, merge=overlays)
    if not legacy.sources:
        raise ConfigError(f"{root} holds none of {', '.join(sorted(KNOWN))}; nothing can be migrated")
    try:
        for source in legacy.sources.values():
            legacy.secrets.extend(_keys_in(source.data, ()))
        for name, source in legacy.sources.items():
            legacy.data[name] = _with_sections(legacy, name, _without_keys(legacy, name, source.data, ()))
    except RecursionError as error:
        raise ConfigError("values in a file are nested too deeply; flatten them", path=str(root)) from error
    return legacy


def _candidates(root: Path) -> Iterator[Path]:
    for at, folders, names in os.walk(root):
        depth = len(Path(at).relative_to(root).parts)
        folders[:] = sorted(
            name
            for name in folders
            if depth < MAX_DEPTH and name not in _SKIPPED and not name.startswith(".")
        )
        yield from (Path(at) / name for name in names if name.endswith((".yaml", ".yml", ".json")))


def _is_overlay(path: Path) -> bool:
    return ".local" in path.suffixes and path.suffix != ".json"


def _take(legacy: Legacy, path: Path) -> None:
    where, name = path.relative_to(legacy.root).as_posix(), path.name
    if name not in KNOWN:
        legacy.losses.add(where, (), "", "none of the files that are read here")
    elif name in legacy.sources:
        reason = f"{legacy.files[name]} has the same name and is read instead"
        legacy.losses.add(where, (), "", reason)
    else:
        text = read_text(path, where)
        source = _parse_json(text, where) if name.endswith(".json") else parse_yaml(text, where)
        legacy.files[name], legacy.sources[name], legacy.texts[name] = where, source, text


def _take_overlay(legacy: Legacy, path: Path, *, merge: bool) -> None:
    """Merge an overlay over the file of its name beside it, deeply; where there is none, it stands alone."""
    where, stem = path.relative_to(legacy.root).as_posix(), path.name.removesuffix(path.suffix)
    names = [f"{stem.removesuffix('.local')}{end}" for end in (".yaml", ".yml")]
    known = [name for name in names if name in KNOWN]
    name = next((name for name in known if name in legacy.sources), known[0] if known else None)
    if name is None:
        legacy.losses.add(where, (), "", "an overlay of none of the files that are read here")
        return
    beside = Path(legacy.files.get(name, where)).parent.as_posix()
    if beside != Path(where).parent.as_posix() or name in legacy.overlays:
        reason = f"an overlay that is not merged: {legacy.files[name]} is not beside it, or has another"
        legacy.losses.add(where, (), "", reason)
        return
    legacy.overlays[name] = where
    if not merge:
        return
    text = read_text(path, where)
    overlay = parse_yaml(text, where)
    base = legacy.sources.get(name, YamlSource(where, {}, {}))
    merged = _merged(base.data, overlay.data)
    legacy.files.setdefault(name, where)
    legacy.sources[name] = YamlSource(base.name, merged, base.lines, overlay)
    written = overlay_name(name)
    legacy.files[written], legacy.texts[written] = where, text


def overlay_name(name: str) -> str:
    """The name of a file's overlay; that of a one-file form is the router's."""
    name = "llm_router.yaml" if name in ONE_FILE else name
    return f"{name.rpartition('.')[0]}.local.yaml"


def _merged(base: Mapping[Any, Any], overlay: Mapping[Any, Any]) -> dict[Any, Any]:
    """Mappings are merged deeply; anything else in the overlay replaces what was there."""
    merged = dict(base)
    for key, value in overlay.items():
        old = merged.get(key)
        merged[key] = (
            _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
        )
    return merged


def read_text(path: Path, where: str) -> str:
    """A file as text.

    Raises:
        ConfigError: it is too large, not UTF-8, or cannot be read.
    """
    try:
        size = path.stat().st_size
        if not path.is_file() or size > MAX_BYTES:
            raise ConfigError(f"{size} bytes are no config file (at most {MAX_BYTES})", path=where)
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=where) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text; save it as UTF-8", path=where, line=line) from error


def _parse_json(text: str, where: str) -> YamlSource:
    """JSON with lines: its layout is YAML's too, once tabs between the values are spaces."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"not valid JSON: {error.msg}", path=where, line=error.lineno) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError("not usable as JSON: nested too deeply or a number too long", path=where) from error
    if isinstance(data, list):
        return YamlSource(where, data, {})  # type: ignore[arg-type]  # OpenRouter's list
    if not isinstance(data, dict):
        raise ConfigError("the file must hold a mapping of keys to values", path=where, line=1)
    if where.endswith(OPENROUTER):
        return YamlSource(where, data, {})
    return YamlSource(where, data, parse_yaml(text.replace("\t", " "), where).lines)


def _without_keys(legacy: Legacy, name: str, value: Any, path: Keys) -> Any:
    """The data without API keys; each becomes a loss, and the name of a variable in its provider section."""
    if isinstance(value, list):
        return [
            _without_keys(legacy, name, item, (*path, index))
            for index, item in enumerate(value)
            if not _is_key(legacy, name, (*path, index), item)
        ]
    if not isinstance(value, dict):
        return value
    kept: dict[Any, Any] = {}
    provider = str(path[1]) if len(path) >= 2 and path[0] == "providers" else None
    for key, item in value.items():
        named = _variable_named(key, item, provider)
        if named is not None:
            kept.setdefault("env_api_key", named)
        elif not _is_key(legacy, name, (*path, key), item):
            kept[key] = _without_keys(legacy, name, item, (*path, key))
        elif provider is not None and len(path) == 2 and "env_api_key" not in value:
            kept["env_api_key"] = key_variable(provider)
    return kept


def _variable_named(key: object, item: object, provider: str | None) -> str | None:
    """The variable behind `api_key: ${NAME}` in a provider section."""
    if provider is None or not isinstance(item, str) or not re.fullmatch("(?i)api[_-]?key|key", str(key)):
        return None
    found = _VARIABLE.fullmatch(item.strip())
    return found[1] if found else None


def _is_key(legacy: Legacy, name: str, path: Keys, value: object) -> bool:
    """Whether a text is an API key, by its name or its form; it becomes a loss that does not repeat it."""
    if not isinstance(value, str) or not value.strip():
        return False
    if not holds_key(value) and not _is_named_key(path, value) and not _repeats(legacy.secrets, value):
        return False
    provider = str(path[1]) if len(path) > 2 and path[0] == "providers" else ""
    hint = f"set it as {key_variable(provider)}" if provider else "set it as an environment variable"
    legacy.lost(name, path, "***", f"holds a key, which is never copied; {hint}")
    return True


def _is_named_key(path: Keys, value: str) -> bool:
    """Whether a text stands where a key does, and is no variable's name."""
    last, in_provider = str(path[-1]), path[0] == "providers"
    by_name = not last.startswith("env_") and (
        _KEY_NAME.fullmatch(last) or (in_provider and last.lower() in ("key", "token"))
    )
    return bool(by_name) and not _VARIABLE.fullmatch(value.strip())


def _keys_in(value: Any, path: Keys) -> Iterator[str]:
    """The texts that stand where keys do."""
    for key, item in _items(value):
        if isinstance(item, str) and _is_named_key((*path, key), item):
            yield item.strip()
        yield from _keys_in(item, (*path, key))


def _with_sections(legacy: Legacy, name: str, data: Any) -> Any:
    """The data of a config file without its empty sections.

    Raises:
        ConfigError: a section that has to be a mapping of names is something else.
    """
    if not isinstance(data, dict) or name not in {*FILES, *ONE_FILE}:
        return data
    for key in _SECTIONS & data.keys():
        if data[key] is not None and not isinstance(data[key], Mapping):
            raise legacy.wrong(name, (key,), f"{key} must be a mapping of names; remove it or write it out")
    return {key: value for key, value in data.items() if key not in _SECTIONS or value is not None}


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _repeats(secrets: Iterable[str], value: str) -> bool:
    """Whether a text holds one of the keys, as a URL may; a word like `embedded` in a key's place is none."""
    return any(secret in value for secret in secrets if len(secret) >= _OF_CHANCE and _DIGIT.search(secret))


def key_variable(provider: str) -> str:
    """The environment variable for a provider's key."""
    name = re.sub(r"[^A-Z0-9]+", "_", provider.upper()).strip("_")
    return _KEY_VARIABLES.get(provider) or f"{name if name[:1].isalpha() else 'LLM'}_API_KEY"
