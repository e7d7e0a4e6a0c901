"""What can be wrong between config files: names that lead nowhere, settings that have no effect."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import Any, Final

from llmbench.catalog import PARAMETER_ALIASES, PARAMETER_RANGES, PARAMETERS, REASONING_LEVELS
from llmbench.config.candidates import unusable_candidates
from llmbench.config.model import MEDIA_FILES, Config, Finding
from llmbench.config.places import Place, Problem, home, located, near, task_rules, tier_lists
from llmbench.config.yaml_source import YamlSource
from llmbench.structuring import is_number

_WHOLE: Final = frozenset({"max_tokens", "top_k", "seed"})
#: What the wires call the two parameters whose field a model may name.
_LIMIT_FIELDS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
_REASONING_FIELDS: Final = ("reasoning", "reasoning_effort", "thinkingLevel", "thinkingBudget")


def lint(config: Config, sources: Mapping[str, YamlSource]) -> list[Finding]:
    """Every dangling name, with file, line and the nearest known name; what has no effect as warnings."""
    checks: tuple[Iterator[Problem], ...] = (
        _model_providers(config, sources),
        _provider_settings(config),
        _tier_models(config),
        _task_rules(config),
        _mapped_tiers(config),
        _slots_and_codes(config),
        _model_words(config, sources),
        _model_wires(config, sources),
        _options(config, sources),
        unusable_candidates(config, sources),
    )
    return list(located(chain.from_iterable(checks), sources))


def _model_providers(config: Config, sources: Mapping[str, YamlSource]) -> Iterator[Problem]:
    shared = ("llm_model_registry.yaml", ("fallback_model",))
    for key, spec in config.models.items():
        file, path = home(sources, key)
        if spec.provider not in config.endpoints:
            message = f"model {key!r} names provider {spec.provider!r}, which llm_router.yaml does not have; "
            yield "error", (file, (*path, "provider")), message + near(spec.provider, config.endpoints)
        if ("models", key) in sources["llm_model_registry.yaml"] and ("models", key) in sources[
            "llm_router.yaml"
        ]:
            message = f"model {key!r} stands in llm_model_registry.yaml too, which is used; remove this one"
            yield "warning", ("llm_router.yaml", path), message
        if spec.fallback_model and config.model_key(spec.fallback_model) is None:
            own = (file, (*path, "fallback_model"))
            place = own if own[1] in sources[file] else shared
            message = f"fallback_model {spec.fallback_model!r} is no model; "
            yield "error", place, message + near(spec.fallback_model, config.models)
            if place == shared:
                return


def _provider_settings(config: Config) -> Iterator[Problem]:
    for name, endpoint in config.endpoints.items():
        path: tuple[str | int, ...] = ("providers", name)
        if endpoint.managed is None and endpoint.base_url is None and endpoint.env_endpoint is None:
            yield (
                "error",
                ("llm_router.yaml", path),
                f"provider {name!r} has no base_url and no env_endpoint; give one, or managed: embedded",
            )


def _unknown(model: str, config: Config) -> str:
    """What a name is that is no text model: one of another kind, or nothing."""
    kind = next((kind for kind, media in config.media.items() if model in media.models), None)
    if kind is not None:
        return f"which is a model of {MEDIA_FILES[kind]}; a tier holds one kind of model: name a text model"
    return f"which no registry has; {near(model, config.models)}"


def _tier_models(config: Config) -> Iterator[Problem]:
    for entries in tier_lists(config):
        (file, path), tier, candidates = entries.place, entries.tier, entries.candidates
        if not candidates:
            yield "error", (file, path), f"tier {tier!r} has no candidate; name one model"
        for index, candidate in enumerate(candidates):
            if config.model_key(candidate.model) is None:
                who = f"tier {tier!r} names model {candidate.model!r}"
                message = f"{who}, {_unknown(candidate.model, config)}"
                yield "error", (file, (*path, index)), message
        keys = [config.model_key(candidate.model) for candidate in candidates]
        modes = {config.models[key].capabilities.mode for key in keys if key}
        if len(modes) > 1:
            message = f"tier {tier!r} mixes {' and '.join(sorted(modes))} models; a tier holds one kind"
            yield "error", (file, path), message
    known = config.all_tiers()
    for path, override in config.overrides():
        for tier in set(override.tiers) - set(known):
            message = f"the override names tier {tier!r}, which no file has; " + near(tier, known)
            yield "error", ("llm_tier_mapping.yaml", (*path, "tiers", tier)), message
    for tier in set(config.tier_defaults) - set(known):
        message = f"defaults name tier {tier!r}, which no file has; " + near(tier, known)
        yield "error", ("llm_tier_candidates.yaml", ("defaults", tier)), message


def _task_rules(config: Config) -> Iterator[Problem]:
    known = config.all_tiers()
    for (file, path), task, rule in task_rules(config):
        if rule.tier is not None and rule.tier not in known:
            message = f"task {task!r} names tier {rule.tier!r}, which no file has; " + near(rule.tier, known)
            yield "error", (file, (*path, "tier")), message
        for index, model in enumerate(rule.models):
            if config.model_key(model) is None:
                message = f"task {task!r} names model {model!r}, {_unknown(model, config)}"
                yield "error", (file, (*path, "models", index)), message


def _mapped_tiers(config: Config) -> Iterator[Problem]:
    known = config.all_tiers()
    for task, tier in config.mapping.items():
        if tier not in known:
            message = f"task {task!r} names tier {tier!r}, which no file has; " + near(tier, known)
            yield "error", ("llm_tier_mapping.yaml", ("tasks", task)), message


def _slots_and_codes(config: Config) -> Iterator[Problem]:
    file, known = "llm_model_slots.yaml", config.all_tiers()
    for name, slot in config.slots.items():
        key: str | int = int(name) if name.isdigit() else name
        for tier, models in slot.tiers.items():
            path: tuple[str | int, ...] = ("slots", key, "tiers", tier)
            if tier not in known:
                message = f"slot {name} names tier {tier!r}, which no file has; " + near(tier, known)
                yield "error", (file, path), message
            if not models:
                yield "error", (file, path), f"slot {name}: tier {tier!r} has no candidate; name one model"
            for index, model in enumerate(models):
                if config.model_key(model) is None:
                    message = f"slot {name} names model {model!r}, {_unknown(model, config)}"
                    yield "error", (file, (*path, index)), message
    if config.default_slot is not None and config.default_slot not in config.slots:
        message = f"default_slot {config.default_slot!r} is no slot; "
        yield "error", (file, ("default_slot",)), message + near(config.default_slot, config.slots)
    for code, model in config.codes.items():
        if model not in config.models:
            message = f"code {code!r} names model {model!r}, {_unknown(model, config)}"
            place = ("llm_model_codes.yaml", ("codes", code, "model_key"))
            yield "error", place, message


def _model_words(config: Config, sources: Mapping[str, YamlSource]) -> Iterator[Problem]:
    """Levels of reasoning and names of fields as models spell them; a host may have others, so they warn."""
    for key in config.models:
        file, path = home(sources, key)
        words = [
            *(
                (REASONING_LEVELS, ("capabilities", "reasoning_levels", index), level.lower())
                for index, level in enumerate(config.models[key].capabilities.reasoning_levels)
            ),
            (_LIMIT_FIELDS, ("params", "max_tokens_key"), config.models[key].params.max_tokens_key),
            (_REASONING_FIELDS, ("params", "reasoning_key"), config.models[key].params.reasoning_key),
        ]
        for known, place, word in words:
            if word is not None and word not in known:
                message = f"{place[1]} has the unusual word {word!r}; " + near(word, known)
                yield "warning", (file, (*path, *place)), message


def _model_wires(config: Config, sources: Mapping[str, YamlSource]) -> Iterator[Problem]:
    """Models that insist on a wire which their provider has no address for."""
    for key, spec in config.models.items():
        endpoint = config.endpoints.get(spec.provider)
        if endpoint is None or spec.wire in ("images", "speech"):
            continue
        is_gemini = endpoint.type == "gemini"
        if is_gemini if spec.wire == "gemini" else endpoint.can_speak(spec.wire):
            continue
        file, path = home(sources, key)
        keys = ("wire", "force_responses", "force_chat", "use_responses_api")
        said = next(((*path, name) for name in keys if (*path, name) in sources[file]), path)
        kind = "embedded" if endpoint.managed else endpoint.type
        message = (
            f"model {key!r} is to speak {spec.wire}, which a provider of type {kind} does not; remove it"
        )
        yield "error", (file, said), message


def _option_sections(
    config: Config, sources: Mapping[str, YamlSource]
) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    for tier, options in config.tier_defaults.items():
        yield ("llm_tier_candidates.yaml", ("defaults", tier)), options
    for key, spec in config.models.items():
        file, path = home(sources, key)
        yield (file, (*path, "defaults")), spec.defaults
    for (file, path), _task, rule in task_rules(config):
        for name, value in rule.options.items():
            section = "options" if (*path, "options", name) in sources[file] else "defaults"
            yield (file, (*path, section)), {name: value}


def _options(config: Config, sources: Mapping[str, YamlSource]) -> Iterator[Problem]:
    """Parameters that no call could send: a wrong name or value here would fail every call of the task."""
    known = (*PARAMETERS, *PARAMETER_ALIASES, "extra_body")
    own = (spec.capabilities.reasoning_levels for spec in config.models.values())
    levels = {*REASONING_LEVELS, *(level.lower() for level in chain.from_iterable(own))}
    for (file, path), options in _option_sections(config, sources):
        for name, value in options.items():
            if name not in known:
                message = f"unknown parameter {name!r}; " + near(name, known)
                yield "error", (file, (*path, name)), message
            elif (wrong := _wrong_value(name, value, levels)) is not None:
                yield "error", (file, (*path, name)), wrong
            elif name == "timeout" and "tasks" not in path:
                message = "timeout limits a whole call and has no effect here; write it under a task"
                yield "warning", (file, (*path, name)), message


def _wrong_value(name: str, value: object, levels: Collection[str]) -> str | None:
    """What is wrong with a parameter's value, whatever the model; None for nothing. No value means unset."""
    target = PARAMETER_ALIASES.get(name, name)
    if value is None:
        return None
    if target in _WHOLE and not (_is_whole(value)):
        return f"{name} must be a whole number: {value!r:.80}"
    if target == "timeout" and not is_number(value):
        return f"{name} must be a number: {value!r:.80}"
    if target in PARAMETER_RANGES:
        least, most = PARAMETER_RANGES[target]
        is_right = isinstance(value, int | float) and is_number(value) and least <= value <= most
        return None if is_right else f"{name} must be a number from {least:g} to {most:g}: {value!r:.80}"
    if target == "response_format" and not isinstance(value, Mapping):
        return f"response_format must be a mapping, a JSON Schema or type: text: {value!r:.80}"
    if target != "reasoning" or is_number(value) or isinstance(value, Mapping):
        return None
    if isinstance(value, str):
        return None if value.lower() in levels else f"reasoning {value!r} is no level; " + near(value, levels)
    return f"reasoning must be a level or a number of tokens: {value!r:.80}; write off as none"


def _is_whole(value: object) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)
