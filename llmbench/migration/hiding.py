"""The keys that stand in the files of an older folder, and the data without them.

A key is known by the name of its place, by its own form, as a part of an address, or because it stands in
a key's place elsewhere in the folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llmbench.config.key_names import (
    address_keys,
    is_key_header,
    is_key_name,
    variable_named,
    without_address_keys,
)
from llmbench.config.shapes import ProviderShape
from llmbench.migration.values import Keys, holds_key, section

#: Characters of a key that cannot be a word of the config itself.
_OF_CHANCE: Final = 12
_DIGIT: Final = re.compile("[0-9]")
_NAMED: Final = frozenset({"models", "providers", "tiers", "tasks", "codes", "slots", "stages", "templates"})
#: Fields that make a section one of a task, a model or a template, whatever its name.
_ENTRY: Final = frozenset(
    {
        *("model", "model_name", "model_key", "deployment", "models", "tier", "provider", "stages", "steps"),
        *("tasks", "tiers", "system_prompt", "options", "defaults"),
    }
)
#: What stands in a key's place and is none.
_WORDS: Final = frozenset(
    {"key", "bearer", "entra", "none", "true", "false", "standard", "cheap", "heavy_reasoning"}
)
_FIELDS: Final = frozenset(ProviderShape.model_fields) - {"auth"}
_MODEL_ID: Final = re.compile(r"[a-z0-9-]+/[a-z0-9.:_-]{1,60}|(?:gemini|gpt|claude)-[a-z0-9.-]{1,40}")
_ENV: Final = re.compile(r"(?i)^env_|_env$")
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z_]\w{0,19}|[A-Za-z_]+|[A-Za-z]\w*_\w*", re.ASCII)
_KEY_VARIABLES: Final = {
    "azure": "AZURE_OPENAI_API_KEY",
    "openai": "OPENAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "gemini": "GEMINI_API_KEY",
}


def key_variable(provider: str) -> str:
    """The environment variable for a provider's key."""
    name = re.sub(r"[^A-Z0-9]+", "_", provider.upper()).strip("_")
    return _KEY_VARIABLES.get(provider) or f"{name if name[:1].isalpha() else 'LLM'}_API_KEY"


def names_in(files: Iterable[Any]) -> set[str]:
    """The models, codes and tiers that the files have: such a name is no key, wherever it stands."""
    parts = (section(section(file).get(name)) for file in files for name in ("models", "codes", "tiers"))
    return {str(name) for part in parts for name in part}


def secrets_in(data: Any, names: Collection[str]) -> Iterator[str]:
    """The texts of a file that are keys by their place or stand in an address, and the parts of them."""
    for _, text in _named_keys(data, (), names, inherited=False):
        yield text
        yield from (part for part in re.split(r"[\s=;,]+", text) if part != text and _is_of_chance(part))
    for text in _texts(data):
        yield from address_keys(text)


@dataclass(slots=True)
class Hiding:
    """Takes the keys out of one file. `lost` is told of each: its path, and what to do."""

    secrets: Collection[str]
    lost: Callable[[Keys, str], None]
    _named: frozenset[Keys] = field(default=frozenset(), init=False)

    def without_keys(self, data: Any, names: Collection[str]) -> Any:
        """The data without keys; in its provider's section each leaves the name of a variable."""
        self._named = frozenset(path for path, _ in _named_keys(data, (), names, inherited=False))
        return self._bare(data, ())

    def _bare(self, value: Any, path: Keys) -> Any:
        if isinstance(value, str):
            return self._address(value, path)
        if isinstance(value, list):
            kept = ((*path, at) for at in range(len(value)) if not self._is_key((*path, at), value[at]))
            return [self._bare(value[int(place[-1])], place) for place in kept]
        return self._mapping(value, path) if isinstance(value, dict) else value

    def _mapping(self, value: dict[Any, Any], path: Keys) -> dict[Any, Any]:
        kept: dict[Any, Any] = {}
        provider = str(path[1]) if len(path) == 2 and path[0] == "providers" else None
        for key, item in value.items():
            here = (*path, key)
            if provider is not None and (named := _variable_beside(key, item)):
                kept.setdefault("env_api_key", named)
                continue
            is_key = self._is_key(here, item)
            made = None if is_key else self._bare(item, here)
            is_gone = is_key or (made != item and made in ([], {}))
            if not is_gone:
                kept[key] = made
            has_own = {"env_api_key", "env_api_keys"} & value.keys() - {key}
            if provider is not None and (is_gone or made != item) and not has_own:
                kept.setdefault("env_api_key", key_variable(provider))
        return kept

    def _is_key(self, path: Keys, value: object) -> bool:
        """Whether a value is a key, which is a loss then."""
        text = value if isinstance(value, str) else ""
        bare = without_address_keys(text)
        is_one = path in self._named or holds_key(bare) or _repeats(self.secrets, bare)
        if not is_one and (bare == text or not re.search(r"\s", text.strip())):
            return False
        self.lost(path, f"holds a key, which is never copied; {_advice(path)}")
        return True

    def _address(self, text: str, path: Keys) -> str:
        bare = without_address_keys(text)
        if bare != text:
            self.lost(path, f"the address holds a key, which is never copied; {_advice(path)}")
        return bare


def _advice(path: Keys) -> str:
    provider = str(path[1]) if len(path) > 2 and path[0] == "providers" else ""
    return f"set it as {key_variable(provider)}" if provider else "set it as an environment variable"


def _variable_beside(key: object, item: object) -> str | None:
    """The variable behind `api_key: ${NAME}` in a provider section."""
    is_named = isinstance(item, str) and re.fullmatch("(?i)api[_-]?key|key", str(key))
    return variable_named(str(item)) if is_named else None


def _named_keys(
    value: Any, path: Keys, names: Collection[str], *, inherited: bool
) -> Iterator[tuple[Keys, str]]:
    """Path and text of each value that is a key by the name of its place, or of what it stands in."""
    for key, item in _items(value):
        here = (*path, key)
        own = inherited if isinstance(value, list) else _is_place(here)
        if isinstance(item, (Mapping, list)):
            is_entry = bool(_ENTRY & section(item).keys()) or (len(here) == 2 and path[0] in _NAMED)
            goes_on = (own or inherited) and not (isinstance(item, Mapping) and is_entry)
            yield from _named_keys(item, here, names, inherited=goes_on)
        elif own and isinstance(item, (int, float)) and not isinstance(item, bool):
            yield here, str(item)
        elif (own or inherited) and isinstance(item, str) and _is_secret(item.strip(), here, names):
            yield here, item.strip()


def _is_place(path: Keys) -> bool:
    """Whether what stands at a path is a key by its name."""
    last = str(path[-1])
    if any(str(part).lower().endswith("headers") for part in path[:-1]):
        return is_key_header(last)
    if path[0] == "providers" and len(path) == 3 and last not in _FIELDS and not _ENV.search(last):
        return is_key_header(last)
    return is_key_name(_ENV.sub("", last))


def _is_secret(text: str, path: Keys, names: Collection[str]) -> bool:
    if not text or text in names or text.lower() in _WORDS:
        return False
    if len(path) == 2 and path[0] in _NAMED and _MODEL_ID.fullmatch(text):
        return False  # a task or code whose own name reads like a key's
    name = next(str(part) for part in reversed(path) if not isinstance(part, int))
    if _ENV.search(name):
        return _VARIABLE_NAME.fullmatch(text) is None
    return variable_named(text) is None


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for _, item in _items(value):
        yield from _texts(item)


def _is_of_chance(text: str) -> bool:
    return len(text) >= _OF_CHANCE and _DIGIT.search(text) is not None


def _repeats(secrets: Iterable[str], value: str) -> bool:
    """Whether a text holds one of the keys, as a URL may; a word like `embedded` in a key's place is none."""
    return any(secret in value for secret in secrets if _is_of_chance(secret))
