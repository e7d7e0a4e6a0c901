"""`llmbench models import`: a provider's list of models into the registry's overlay, written whole."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import yaml

from llmbench.bounded import read_json, read_text
from llmbench.config.load import load_config
from llmbench.config.model import Config
from llmbench.config.openrouter_models import Imported, read_row
from llmbench.config.yaml_source import YamlSource, parse_yaml
from llmbench.errors import ConfigError

TARGET: Final = "llm_model_registry.local.yaml"
BASE: Final = "llm_model_registry.yaml"
_HEAD: Final = (
    "# Written by `llmbench models import`, which keeps what it did not import, but no comments.\n"
    "# Facts of imported models are replaced by the next import; all other keys of an entry are yours.\n"
)
#: The keys of an entry that an import replaces.
_FACTS: Final = ("capabilities", "params", "price", "expires", "x-price_overrides")


class _Plain(yaml.SafeDumper):
    """Sorted keys, and every value written out: no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Every value."""
        del data
        return True


@dataclass(slots=True)
class ImportResult:
    """What an import did: ids by what became of them, and what the registry has no place for."""

    target: Path
    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    left_out: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    lost_comments: bool = False

    def lines(self) -> Iterator[str]:
        """What a person should know, the counts first."""
        yield (
            f"{self.target}: {len(self.added)} models added, {len(self.updated)} updated, "
            f"{len(self.bad)} rows not used, {self.left_out} left out by --only"
        )
        for text in self.updated:
            yield f"updated: {text}"
        for name, count in sorted(self.lost.items()):
            yield f"not carried over: {name}, {count} models"
        for text in self.bad:
            yield f"not used: {text}"
        if self.lost_comments:
            yield f"the comments of the old {self.target.name} are gone"


def import_models(source: Path, target: Path, only: Sequence[str] = ()) -> ImportResult:
    """Put the models of OpenRouter's list into a config folder's registry overlay.

    A model that the folder has already keeps its key and all that is not a fact of the list; a new one gets
    a key made of its id. The file is replaced in one step, and is the same for the same inputs.

    Args:
        source: the answer of GET /models as JSON, or the list in it.
        target: `llm_model_registry.local.yaml` of a config folder.
        only: patterns of model ids, as in `deepseek/*`; all models if none.

    Raises:
        ConfigError: the source is no list of models, nothing of it can be used, or the folder cannot be.
    """
    if target.name != TARGET:
        raise ConfigError(f"the import writes {TARGET}, which lies over {BASE}; not {target.name}")
    rows = _rows(source)
    config = load_config(target.parent)
    provider = _provider(config)
    old_text = read_text(target) if target.is_file() else ""
    base_file = target.with_name(BASE)
    base = parse_yaml(read_text(base_file) if base_file.is_file() else "", BASE)
    data = parse_yaml(old_text, TARGET).data
    models: dict[str, Any] = dict(data.get("models") or {})
    result = ImportResult(target)
    for imported in _usable(rows, only, result):
        _put(imported, models, config, provider, base, result)
    if not (result.added or result.updated):
        raise ConfigError(f"no model of the list can be imported: {'; '.join(result.bad[:3]) or 'none'}")
    text = _HEAD + yaml.dump(
        {**data, "models": models}, Dumper=_Plain, allow_unicode=True, width=110, default_flow_style=None
    )
    result.lost_comments = any(line.lstrip().startswith("#") for line in _without_head(old_text))
    _write_whole(target, text)
    return result


def _rows(source: Path) -> list[Any]:
    try:
        data = read_json(source)
    except OSError as error:
        raise ConfigError(f"{source} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{source} is not JSON: save the answer of GET /models as it is") from error
    rows = data.get("data") if isinstance(data, dict) else data
    if not isinstance(rows, list) or not rows:
        raise ConfigError(f"{source} is no list of models: a JSON list, or an object with one under data")
    return rows


def _provider(config: Config) -> str:
    found = [name for name, endpoint in config.endpoints.items() if endpoint.type == "openrouter"]
    if not found:
        raise ConfigError("llm_router.yaml has no provider of type openrouter; add one: `openrouter: {}`")
    return found[0]


def _usable(rows: Sequence[object], only: Sequence[str], result: ImportResult) -> list[Imported]:
    """The rows that are wanted and can be read, by id; a second row of one id is not used."""
    found: dict[str, Imported] = {}
    for number, row in enumerate(rows, start=1):
        name = str(row.get("id")) if isinstance(row, Mapping) else f"row {number}"
        if only and not any(fnmatchcase(name, pattern) for pattern in only):
            result.left_out += 1
            continue
        try:
            imported = read_row(row)
        except ValueError as error:
            result.bad.append(f"{' '.join(name.split())[:80]}: {error}")
            continue
        if imported.model_id in found:
            result.bad.append(f"{name}: stands twice in the list; the first is used")
        else:
            found[imported.model_id] = imported
    return [found[name] for name in sorted(found)]


def _put(
    imported: Imported,
    models: dict[str, Any],
    config: Config,
    provider: str,
    base: YamlSource,
    result: ImportResult,
) -> None:
    """Put one model under every key that it has, or under a new one."""
    keys = [
        key
        for key, spec in config.models.items()
        if spec.model_id == imported.model_id and config.endpoints[spec.provider].type == "openrouter"
    ]
    if not keys and imported.key in {*config.models, *models}:
        result.bad.append(f"{imported.model_id}: its key {imported.key} is taken by another model")
        return
    for key in keys or [imported.key]:
        entry = {name: value for name, value in (models.get(key) or {}).items() if name not in _FACTS}
        if not keys:
            entry |= {"provider": provider, "model_name": imported.model_id}
            result.added.append(imported.model_id)
        elif ("models", key) in base or key in models:
            result.updated.append(f"{imported.model_id} as {key}")
        else:
            result.bad.append(f"{imported.model_id}: {key} stands in llm_router.yaml; move it to {BASE}")
            continue
        models[key] = entry | dict(imported.fields)
    result.lost.update(imported.notes)


def _without_head(text: str) -> list[str]:
    return text.removeprefix(_HEAD).splitlines()


def _write_whole(path: Path, text: str) -> None:
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"{path.name} cannot be written: {error.strerror}") from error
