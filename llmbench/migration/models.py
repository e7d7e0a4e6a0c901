"""Older flags of models and providers in the words of the present registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, get_args

from llmbench.catalog import ResponseFormatSupport
from llmbench.config.shapes import CapabilitiesShape, ModelShape
from llmbench.migration.reading import Legacy
from llmbench.migration.values import Keys, as_flag, section

#: Older spellings of provider names.
_PROVIDERS: Final[Mapping[str, str]] = {
    "azureopenai": "azure",
    "openai": "openai",
    "openrouter": "openrouter",
    "google": "gemini",
    "googlegemini": "gemini",
    "googleai": "gemini",
}
KNOWN_TYPES: Final = ("azure", "openai", "openrouter", "gemini")
_PROVIDER_KEYS: Final[Mapping[str, str]] = {
    "endpoint": "base_url",
    "api_base": "base_url",
    "url": "base_url",
    "api_key_env": "env_api_key",
    "env_key": "env_api_key",
    "endpoint_env": "env_endpoint",
}
#: Flags of a model's wire, and its capabilities that are true or false.
_BOOLEANS: Final = frozenset(
    name
    for shape in (ModelShape, CapabilitiesShape)
    for name, field in shape.model_fields.items()
    if field.annotation is bool
)
#: How a model may be held to a form of answer.
SUPPORTS: Final[tuple[str, ...]] = get_args(ResponseFormatSupport)
#: Capabilities that say the same.
_FORM_FACTS: Final = frozenset(
    {"structured_outputs", "json_mode", "supports_structured_outputs", "supports_json_mode"}
)
#: Rules that stand at a model's top; the others belong below `params`.
_TOP_RULES: Final = frozenset({"allow_temperature", "allow_stop", "allow_reasoning_effort"})
_PARAM_RULES: Final[Mapping[str, str]] = {
    "allow_top_p": "allow_top_p",
    "allow_top_k": "allow_top_k",
    "allow_seed": "allow_seed",
    "allow_verbosity": "allow_verbosity",
    "allow_penalties": "allow_penalties",
    "allow_presence_penalty": "allow_penalties",
    "allow_frequency_penalty": "allow_penalties",
    "allow_reasoning": "allow_reasoning_effort",
}


def provider_name(name: str, known: Mapping[str, Any]) -> str:
    """The present name of a provider: as it is where the config has it."""
    if name in known:
        return name
    return _PROVIDERS.get(re.sub(r"[^a-z]", "", name.lower()), name)


def guessed_provider(model: str, known: Mapping[str, Any]) -> str | None:
    """Where a model that nothing places is asked, by the form of its id; None where it says nothing."""
    if "/" in model:
        return "openrouter"
    if model.lower().startswith("gemini"):
        return "gemini"
    if re.match(r"(?i)(gpt|o)-?\d|chatgpt", model):
        return "azure" if "azure" in known or "openai" not in known else "openai"
    return next(iter(known)) if len(known) == 1 else None


def convert_provider(entry: Any) -> Any:
    """One provider's section with the present spellings of its keys."""
    if not isinstance(entry, Mapping):
        return entry
    return {
        _PROVIDER_KEYS[key] if key in _PROVIDER_KEYS and _PROVIDER_KEYS[key] not in entry else key: value
        for key, value in entry.items()
    }


def convert_model(legacy: Legacy, file: str, path: Keys, entry: Any) -> Any:
    """One model's entry without older flags; what has no place now is a loss."""
    if not isinstance(entry, Mapping):
        return entry
    made: dict[str, Any] = {}
    params = {
        key: _flag(legacy, file, (*path, "params", key), value)
        for key, value in section(entry.get("params")).items()
    }
    for key, given in entry.items():
        value = _flag(legacy, file, (*path, key), given)
        rule = str(key).removesuffix("_param")
        if key == "api_version_responses":
            continue
        if not str(key).startswith("allow_"):
            made[key] = _facts(legacy, file, (*path, key), value) if key == "capabilities" else value
        elif rule in _TOP_RULES or _PARAM_RULES.get(rule) in _TOP_RULES:
            _set_rule(legacy, file, (*path, key), made, _PARAM_RULES.get(rule, rule), value)
        elif rule in _PARAM_RULES:
            _set_rule(legacy, file, (*path, key), params, _PARAM_RULES[rule], value)
        elif rule == "allow_response_format":
            _set_support(legacy, file, (*path, key), entry, params, value)
        else:
            legacy.lost(file, (*path, key), value, "no rule that llmbench has for a parameter")
    _responses_version(legacy, file, path, entry, made)
    return {**made, "params": params} if params else made


def _facts(legacy: Legacy, file: str, path: Keys, value: Any) -> Any:
    """Capabilities with booleans where they stand for one."""
    if not isinstance(value, Mapping):
        return value
    return {name: _flag(legacy, file, (*path, name), each) for name, each in value.items()}


def _flag(legacy: Legacy, file: str, path: Keys, value: Any) -> Any:
    """A flag's value as the boolean that it was meant as; the value of any other key as it is."""
    name = str(path[-1]).removeprefix("supports_")
    meant = as_flag(value) if name.startswith("allow_") or name in _BOOLEANS else value
    if isinstance(meant, bool) and not isinstance(value, bool):
        legacy.noted(file, path, value, f"no boolean; read as {str(meant).lower()}")
    return meant


def _set_support(
    legacy: Legacy, file: str, path: Keys, entry: Mapping[Any, Any], params: dict[str, Any], value: object
) -> None:
    """How a model is held to a form of answer: by the prompt where it takes no field for it.

    Its facts decide where the flag says no more than that it takes one.
    """
    if value is True and _FORM_FACTS & set(section(entry.get("capabilities"))):
        return
    support = {True: "json_schema", False: "prompt"}.get(value) if isinstance(value, bool) else value
    if support not in SUPPORTS:
        legacy.lost(file, path, value, f"no form of answers; known: {', '.join(SUPPORTS)}")
    elif params.setdefault("response_format_support", support) != support:
        kept = params["response_format_support"]
        legacy.lost(file, path, value, f"the entry also says {kept!r}, which is kept")


def _set_rule(legacy: Legacy, file: str, path: Keys, into: dict[str, Any], rule: str, value: object) -> None:
    """Set a rule; where two flags disagree the one that forbids is kept, since it can break no call."""
    if into.get(rule, value) != value:
        reason = "another flag of the parameter says false, which is kept: it can break no call"
        legacy.lost(file, path if value else path[:-1], value or f"{rule}: true", reason)
        value = False
    into[rule] = value


def _responses_version(
    legacy: Legacy, file: str, path: Keys, entry: Mapping[Any, Any], made: dict[str, Any]
) -> None:
    version = entry.get("api_version_responses")
    if version is None:
        return
    place = (*path, "api_version_responses")
    is_asked = made.get("use_responses_api") is True or made.get("force_responses") is True
    if not is_asked and entry.get("wire") != "responses":
        reason = "the version of a wire that this model is not asked on"
        legacy.lost(file, place, version, reason)
        return
    if made.get("api_version") not in (None, version):
        reason = "the version of the chat wire; the model is asked on the Responses wire"
        legacy.lost(file, (*path, "api_version"), made["api_version"], reason)
    made["api_version"] = version


def asked_id(key: str, entry: Mapping[Any, Any]) -> str:
    """What a provider is asked for."""
    found = entry.get("deployment") or entry.get("model_name") or entry.get("model") or key
    return str(found)
