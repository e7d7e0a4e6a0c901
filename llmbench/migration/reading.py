"""The files of an older folder: found, read with their lines, and freed of the keys that stand in them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from llmbench.config.model import FILES
from llmbench.config.yaml_source import YamlSource, parse_yaml
from llmbench.errors import ConfigError
from llmbench.migration.hiding import Hiding, names_in, secrets_in
from llmbench.migration.values import Keys, Losses, section
from llmbench.telemetry import Redactor

#: A config file of more bytes is refused before it is read.
MAX_BYTES: Final = 16 * 1024 * 1024
MAX_DEPTH: Final = 4
ONE_FILE: Final = ("llm.yml", "llm.yaml", "llm_router.yml")
STAGES: Final = ("stages.yaml", "templates.yaml")
OPENROUTER: Final = "openrouter_models.json"
CODES: Final = "llm_model_codes.yaml"
KNOWN: Final = frozenset({*FILES, *ONE_FILE, *STAGES, "llm_registry.json", "llm_tasks.yaml", OPENROUTER})
_SKIPPED: Final = frozenset({"schema", "node_modules", "__pycache__", "venv", "site-packages"})
_SECTIONS: Final = frozenset({"models", "providers", "tiers", "tasks", "codes", "slots"})


@dataclass(frozen=True, slots=True)
class Legacy:
    """An older folder. `data` are the files by name without keys; `texts` are those read, as they are.

    `files` names each by its path in the folder, `sources` know the lines; `variables` is the environment.
    `overlays` names, by the file that each is merged over, the `.local.yaml` files that there are; `secrets`
    are the values of the keys that stand in the files. `not_tasks` are names that are no tasks, as the person
    who migrates says; `left_out` are those of them that were met. `origins` leads from a file and path of the
    new folder to those of the older one, where another file had the value; `joined` has the sources of files
    that were put below another one.
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
    joined: dict[str, list[YamlSource]] = field(default_factory=dict, repr=False)
    left_out: set[str] = field(default_factory=set, repr=False)

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
        file, line = self.place(name, path)
        self.losses.add(file, path, value, reason, line)

    def noted(self, name: str, path: Keys, value: object, reason: str) -> None:
        """Add a note on one file: nothing is lost, but something is not as it stood."""
        file, line = self.place(name, path)
        self.losses.note(file, path, value, reason, line)

    def wrong(self, name: str, path: Keys, message: str) -> ConfigError:
        """An error about one file, with the line where it stands."""
        file, line = self.place(name, path)
        return ConfigError(message, path=file, line=line)

    def place(self, name: str, path: Keys) -> tuple[str, int | None]:
        """File and line of a path; where two files were joined, of the one that has it."""
        sources = [self.sources[name], *self.joined.get(name, ())] if name in self.sources else []
        for size in range(len(path), 0, -1):
            for source in sources:
                if path[:size] in source:
                    where, line = source.place(path[:size])
                    return where, line
        return self.files.get(name, name), None

    def has_model(self, name: str) -> bool:
        """Whether a text is the key or the code of a text model."""
        parts = (("llm_router.yaml", "models"), ("llm_model_registry.yaml", "models"), (CODES, "codes"))
        return any(name in section(section(self.data.get(file)).get(part)) for file, part in parts)


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
    names = names_in(source.data for source in legacy.sources.values())
    try:
        for source in legacy.sources.values():
            legacy.secrets.extend(secrets_in(source.data, names))
        for name, source in legacy.sources.items():
            hiding = Hiding(legacy.secrets, partial(_lose_key, legacy, name))
            legacy.data[name] = _with_sections(legacy, name, hiding.without_keys(source.data, names))
    except RecursionError as error:
        raise ConfigError("values in a file are nested too deeply; flatten them", path=str(root)) from error
    return legacy


def _lose_key(legacy: Legacy, name: str, path: Keys, reason: str) -> None:
    legacy.lost(name, path, "***", reason)


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
        if not path.is_file():
            raise ConfigError("is no regular file (a pipe, a device?); remove it from the folder", path=where)
        if size > MAX_BYTES:
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
