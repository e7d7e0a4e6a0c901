"""Models and providers of the new folder: those that there are, and those that names call for."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llmbench.config.openrouter_models import read_row
from llmbench.migration.before import Before
from llmbench.migration.hiding import key_variable
from llmbench.migration.models import KNOWN_TYPES, asked_id, convert_model
from llmbench.migration.reading import OPENROUTER, Legacy
from llmbench.migration.tasks import ROUTER, Named
from llmbench.migration.values import Asked, section

MODELS: Final = "llm_model_registry.yaml"
_PREFIXES: Final[Mapping[str, str]] = {"azure": "az", "openai": "oa", "openrouter": "or", "gemini": "gem"}
#: What stands for a part that a row of OpenRouter's list leaves out. A text task calls for its model.
_UNSAID: Final[Mapping[str, Any]] = {"architecture": {"output_modalities": ["text"]}, "pricing": {}}
Files = dict[str, dict[str, Any]]


@dataclass(slots=True)
class Catalogue:
    """Finds the model key behind a name, and makes an entry for a model that has none."""

    legacy: Legacy
    before: Before
    files: Files
    rows: dict[str, Any] = field(default_factory=dict)

    def convert(self) -> None:
        """Rewrite the entries that there are, and give every provider that they name a section."""
        self.rows = _rows(self.legacy)
        for file in (ROUTER, MODELS):
            models = section(self.files.get(file, {})).get("models")
            for key, entry in list(section(models).items()):
                made = convert_model(self.legacy, file, ("models", key), entry)
                self.files[file]["models"][key] = made
                if isinstance(provider := section(made).get("provider"), str):
                    self._need_provider(provider)
                tail = section(made).get("fallback_model")
                if isinstance(tail, str):
                    made["fallback_model"] = self.written(tail)
        tail = self.files.get(MODELS, {}).get("fallback_model")
        if isinstance(tail, str):
            self.files[MODELS]["fallback_model"] = self.written(tail)

    def models(self) -> dict[str, Any]:
        """Every text model by key."""
        own = section(self.files.get(ROUTER, {}).get("models"))
        return {**own, **section(self.files.get(MODELS, {}).get("models"))}

    def written(self, name: str) -> str:
        """A name for a list of the new files: itself where it leads to a model, else the key made for it."""
        return name if self.before.key(name) is not None else self.key(Named(None, name)) or name

    def key(self, name: Named) -> str | None:
        """The model key of a name, made where there is none; None where nothing says who serves it."""
        asked = self.before.asked(name)
        if asked is None:
            return None
        direct = self.before.key_of(name)
        if direct is not None:
            return direct
        same = next((key for key, entry in self.models().items() if _asked(key, entry) == asked), None)
        return same or self._make(asked)

    def unused_rows(self) -> None:
        """Say what becomes of the rows of OpenRouter's list that no task calls for."""
        used = {asked.model for asked in (_asked(*item) for item in self.models().items())}
        rest = [name for name in self.rows if name not in used]
        if rest:
            reason = "models that no file names; `llmbench models import` brings them with their facts"
            self.legacy.lost(OPENROUTER, (), f"{len(rest)} models: {', '.join(rest)}", reason)

    def _make(self, asked: Asked) -> str:
        self._need_provider(asked.provider)
        taken = {*self.models(), *section(self.files.get("llm_model_codes.yaml", {}).get("codes"))}
        key = free_key(asked, taken)
        entry: dict[str, Any] = {"provider": asked.provider, "model_name": asked.model}
        if asked.provider == "openrouter":
            entry |= self._facts(asked.model)
        self.files.setdefault(MODELS, {}).setdefault("models", {})[key] = entry
        return key

    def _facts(self, model: str) -> dict[str, Any]:
        """What OpenRouter's list says of a text model; a part that a row leaves out is unknown."""
        row = section(self.rows.get(model))
        missing = {part: given for part, given in _UNSAID.items() if part not in row}
        if not row.keys() - {"id"}:
            return {}
        try:
            found = read_row({**missing, **row})
        except ValueError as error:
            reason = f"its facts cannot be used ({error}); the model is carried without them"
            self.legacy.lost(OPENROUTER, (model,), "", reason)
            return {}
        if found.fields["capabilities"]["mode"] != "text":
            return {}
        for note in found.notes:
            self.legacy.lost(OPENROUTER, (model,), note, "has no place in the registry")
        fields = dict(found.fields)
        can = dict(fields["capabilities"])
        if "architecture" in missing:
            del can["vision"]
        if "supported_parameters" not in row:  # silence forbids no parameter
            fields.pop("params", None)
            said = ("mode", "vision", "context_tokens", "max_tokens")
            can = {key: can[key] for key in said if key in can}
        return {**fields, "capabilities": can}

    def _need_provider(self, name: str) -> None:
        providers = self.files.setdefault(ROUTER, {}).setdefault("providers", {})
        if name in section(providers):
            return
        known = name in KNOWN_TYPES
        variable = key_variable(name).removesuffix("_API_KEY")
        providers[name] = (
            {"env_api_key": key_variable(name)}
            if known
            else {"env_api_key": f"{variable}_API_KEY", "env_endpoint": f"{variable}_ENDPOINT"}
        )
        if not known:
            reason = f"no file has its address: set {variable}_ENDPOINT or write its base_url"
            self.legacy.lost(ROUTER, ("providers", name), "", reason)


def free_key(asked: Asked, taken: Collection[Any]) -> str:
    """A key for a new model, made of its provider and id."""
    stem = re.sub(r"[^a-z0-9]+", "_", asked.model.lower()).strip("_") or "model"
    prefix = _PREFIXES.get(asked.provider) or re.sub(r"[^a-z0-9]+", "_", asked.provider.lower())
    names = (f"{prefix}_{stem}{f'_{n}' if n > 1 else ''}" for n in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def _asked(key: str, entry: Any) -> Asked:
    return Asked(str(section(entry).get("provider", "")), asked_id(key, section(entry)))


def _rows(legacy: Legacy) -> dict[str, Any]:
    """OpenRouter's list by model id: its own answer, a list of it, or of ids alone."""
    data = legacy.data.get(OPENROUTER)
    if data is None:
        return {}
    rows = section(data).get("data", section(data).get("models", data))
    if isinstance(rows, Mapping):
        rows = [{"id": name, **section(row)} for name, row in rows.items()]
    if not isinstance(rows, list):
        raise legacy.wrong(OPENROUTER, (), "no list of models, and no object with one under data")
    found: dict[str, Any] = {}
    for number, row in enumerate(rows):
        name = row if isinstance(row, str) else section(row).get("id")
        if isinstance(name, str):
            found.setdefault(name, row)
        else:
            legacy.lost(OPENROUTER, (number,), row, "a row without an id")
    return found
