"""The files of an older folder: found, read with their lines, and freed of the keys that stand in them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmbench.config.model import FILES
from llmbench.config.yaml_source import YamlSource, parse_yaml
from llmbench.errors import ConfigError
from llmbench.migration.values import Keys, Losses, holds_key

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
    """

    root: Path
    data: dict[str, Any]
    texts: dict[str, str]
    files: dict[str, str]
    sources: dict[str, YamlSource]
    losses: Losses = field(default_factory=Losses)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def lost(self, name: str, path: Keys, value: object, reason: str) -> None:
        """Add a loss of one file, with the line where it stands."""
        source = self.sources.get(name)
        line = None if source is None else source.place(path)[1]
        self.losses.add(self.files.get(name, name), path, value, reason, line)

    def wrong(self, name: str, path: Keys, message: str) -> ConfigError:
        """An error about one file, with the line where it stands."""
        source = self.sources.get(name)
        line = None if source is None else source.place(path)[1]
        return ConfigError(message, path=self.files.get(name, name), line=line)


def read_legacy(folder: str | Path, variables: Mapping[str, str]) -> Legacy:
    """Read every file of an older folder that is known, in it and up to four folders below.

    Raises:
        ConfigError: there is no such folder, it holds none of the files, or one cannot be read; with the
            file and, where it is known, the line.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"no folder at {root}; give the folder that holds the older files")
    legacy = Legacy(root, {}, {}, {}, {}, variables=variables)
    for path in sorted(_candidates(root), key=lambda each: (len(each.parts), each)):
        _take(legacy, path)
    if not legacy.data:
        raise ConfigError(f"{root} holds none of {', '.join(sorted(KNOWN))}; nothing can be migrated")
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


def _take(legacy: Legacy, path: Path) -> None:
    where, name = path.relative_to(legacy.root).as_posix(), path.name
    if name.endswith(".local.yaml") and name.replace(".local.yaml", ".yaml") in KNOWN:
        legacy.losses.add(where, (), "", "an overlay of one machine is not carried; copy it by hand")
    elif name not in KNOWN:
        legacy.losses.add(where, (), "", "none of the files that are read here")
    elif name in legacy.data:
        reason = f"{legacy.files[name]} has the same name and is read instead"
        legacy.losses.add(where, (), "", reason)
    else:
        text = read_text(path, where)
        source = _parse_json(text, where) if name.endswith(".json") else parse_yaml(text, where)
        legacy.files[name], legacy.sources[name], legacy.texts[name] = where, source, text
        legacy.data[name] = _without_keys(legacy, name, source.data, ())


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
    last, in_provider = str(path[-1]), path[0] == "providers"
    by_name = not last.startswith("env_") and (
        _KEY_NAME.fullmatch(last) or (in_provider and last.lower() in ("key", "token"))
    )
    if not holds_key(value) and not (by_name and not _VARIABLE.fullmatch(value.strip())):
        return False
    provider = str(path[1]) if len(path) > 2 and path[0] == "providers" else ""
    hint = f"set it as {key_variable(provider)}" if provider else "set it as an environment variable"
    legacy.lost(name, path, "***", f"holds a key, which is never copied; {hint}")
    return True


def key_variable(provider: str) -> str:
    """The environment variable for a provider's key."""
    name = re.sub(r"[^A-Z0-9]+", "_", provider.upper()).strip("_")
    return _KEY_VARIABLES.get(provider) or f"{name if name[:1].isalpha() else 'LLM'}_API_KEY"
