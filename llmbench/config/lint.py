"""What can be wrong between config files: names that lead nowhere, settings that have no effect."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

from llmbench.catalog import PARAMETER_ALIASES, PARAMETERS, Candidate
from llmbench.config.model import Config, Finding, Severity, TaskRule
from llmbench.config.yaml_source import YamlSource

Place = tuple[str, tuple[str | int, ...]]
Problem = tuple[Severity, Place, str]


def lint(config: Config, sources: Mapping[str, YamlSource]) -> list[Finding]:
    """Every dangling name, with file, line and the nearest known name; what has no effect as warnings."""
    checks: tuple[Iterator[Problem], ...] = (
        _model_providers(config, sources),
        _provider_settings(config),
        _tier_models(config),
        _task_rules(config),
        _mapped_tiers(config),
        _slots_and_codes(config),
        _options(config, sources),
        _prices(config, sources),
    )
    findings = []
    for check in checks:
        for severity, (name, path), message in check:
            findings.append(Finding(severity, *sources[name].place(path), message))
    return findings


def _near(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"


def _home(sources: Mapping[str, YamlSource], key: str) -> Place:
    """Where a model is written: the registry, or the one-file form of the router."""
    registry = "llm_model_registry.yaml"
    file = registry if ("models", key) in sources[registry] else "llm_router.yaml"
    return file, ("models", key)


def _model_providers(config: Config, sources: Mapping[str, YamlSource]) -> Iterator[Problem]:
    shared = ("llm_model_registry.yaml", ("fallback_model",))
    for key, spec in config.models.items():
        home, path = _home(sources, key)
        if spec.provider not in config.endpoints:
            message = f"model {key!r} names provider {spec.provider!r}, which llm_router.yaml does not have; "
            yield "error", (home, (*path, "provider")), message + _near(spec.provider, config.endpoints)
        if ("models", key) in sources["llm_model_registry.yaml"] and ("models", key) in sources[
            "llm_router.yaml"
        ]:
            message = f"model {key!r} stands in llm_model_registry.yaml too, which is used; remove this one"
            yield "warning", ("llm_router.yaml", path), message
        if spec.fallback_model and config.model_key(spec.fallback_model) is None:
            own = (home, (*path, "fallback_model"))
            place = own if own[1] in sources[home] else shared
            message = f"fallback_model {spec.fallback_model!r} is no model; "
            yield "error", place, message + _near(spec.fallback_model, config.models)
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
        unused = (
            ("limits", "requests_per_minute", endpoint.limits.requests_per_minute),
            ("limits", "tokens_per_minute", endpoint.limits.tokens_per_minute),
            ("timeouts", "first_token_s", endpoint.timeouts.first_token_s),
            ("timeouts", "stall_s", endpoint.timeouts.stall_s),
        )
        for section, key, value in unused:
            if value is not None:
                message = f"provider {name!r}: {section}.{key} has no effect in this version"
                yield "warning", ("llm_router.yaml", (*path, section, key)), message


def _tier_lists(config: Config) -> Iterator[tuple[Place, str, tuple[Candidate, ...]]]:
    """Every tier's list in any file."""
    for tier, candidates in config.tiers.items():
        yield ("llm_tier_candidates.yaml", ("tiers", tier)), tier, candidates
    for tier, candidates in config.router_tiers.items():
        yield ("llm_router.yaml", ("tiers", tier)), tier, candidates
    for path, override in config.overrides():
        for tier, candidates in override.tiers.items():
            yield ("llm_tier_mapping.yaml", (*path, "tiers", tier)), tier, candidates


def _tier_models(config: Config) -> Iterator[Problem]:
    for (file, path), tier, candidates in _tier_lists(config):
        if not candidates:
            yield "error", (file, path), f"tier {tier!r} has no candidate; name one model"
        for index, candidate in enumerate(candidates):
            if config.model_key(candidate.model) is None:
                message = f"tier {tier!r} names model {candidate.model!r}, which no registry has; "
                yield "error", (file, (*path, index)), message + _near(candidate.model, config.models)
        keys = [config.model_key(candidate.model) for candidate in candidates]
        modes = {config.models[key].capabilities.mode for key in keys if key}
        if len(modes) > 1:
            message = f"tier {tier!r} mixes {' and '.join(sorted(modes))} models; a tier holds one kind"
            yield "error", (file, path), message
    known = config.all_tiers()
    for path, override in config.overrides():
        for tier in set(override.tiers) - set(known):
            message = f"the override names tier {tier!r}, which no file has; " + _near(tier, known)
            yield "error", ("llm_tier_mapping.yaml", (*path, "tiers", tier)), message
    for tier in set(config.tier_defaults) - set(known):
        message = f"defaults name tier {tier!r}, which no file has; " + _near(tier, known)
        yield "error", ("llm_tier_candidates.yaml", ("defaults", tier)), message


def _rules(config: Config) -> Iterator[tuple[Place, str, TaskRule]]:
    """Every task's section in any file."""
    for task, rule in config.task_overrides.items():
        yield ("llm_task_overrides.yaml", ("tasks", task)), task, rule
    for task, rule in config.router_tasks.items():
        yield ("llm_router.yaml", ("tasks", task)), task, rule
    for path, override in config.overrides():
        for task, rule in override.tasks.items():
            yield ("llm_tier_mapping.yaml", (*path, "tasks", task)), task, rule


def _task_rules(config: Config) -> Iterator[Problem]:
    known = config.all_tiers()
    for (file, path), task, rule in _rules(config):
        if rule.tier is not None and rule.tier not in known:
            message = f"task {task!r} names tier {rule.tier!r}, which no file has; " + _near(rule.tier, known)
            yield "error", (file, (*path, "tier")), message
        for index, model in enumerate(rule.models):
            if config.model_key(model) is None:
                message = f"task {task!r} names model {model!r}, which no registry has; "
                yield "error", (file, (*path, "models", index)), message + _near(model, config.models)


def _mapped_tiers(config: Config) -> Iterator[Problem]:
    known = config.all_tiers()
    for task, tier in config.mapping.items():
        if tier not in known:
            message = f"task {task!r} names tier {tier!r}, which no file has; " + _near(tier, known)
            yield "error", ("llm_tier_mapping.yaml", ("tasks", task)), message


def _slots_and_codes(config: Config) -> Iterator[Problem]:
    file, known = "llm_model_slots.yaml", config.all_tiers()
    for name, slot in config.slots.items():
        key: str | int = int(name) if name.isdigit() else name
        for tier, models in slot.tiers.items():
            path: tuple[str | int, ...] = ("slots", key, "tiers", tier)
            if tier not in known:
                message = f"slot {name} names tier {tier!r}, which no file has; " + _near(tier, known)
                yield "error", (file, path), message
            if not models:
                yield "error", (file, path), f"slot {name}: tier {tier!r} has no candidate; name one model"
            for index, model in enumerate(models):
                if config.model_key(model) is None:
                    message = f"slot {name} names model {model!r}, which no registry has; "
                    yield "error", (file, (*path, index)), message + _near(model, config.models)
    if config.default_slot is not None and config.default_slot not in config.slots:
        message = f"default_slot {config.default_slot!r} is no slot; "
        yield "error", (file, ("default_slot",)), message + _near(config.default_slot, config.slots)
    for code, model in config.codes.items():
        if model not in config.models:
            message = f"code {code!r} names model {model!r}, which no registry has; "
            place = ("llm_model_codes.yaml", ("codes", code, "model_key"))
            yield "error", place, message + _near(model, config.models)


def _option_sections(config: Config, sources: Mapping[str, YamlSource]) -> Iterator[tuple[Place, list[str]]]:
    for tier, options in config.tier_defaults.items():
        yield ("llm_tier_candidates.yaml", ("defaults", tier)), list(options)
    for key, spec in config.models.items():
        file, path = _home(sources, key)
        yield (file, (*path, "defaults")), list(spec.defaults)
    for (file, path), _task, rule in _rules(config):
        for name in rule.options:
            section = "options" if (*path, "options", name) in sources[file] else "defaults"
            yield (file, (*path, section)), [name]


def _options(config: Config, sources: Mapping[str, YamlSource]) -> Iterator[Problem]:
    """Parameters that no call could send: a wrong name here would fail every call of the task."""
    known = (*PARAMETERS, *PARAMETER_ALIASES, "extra_body")
    for (file, path), names in _option_sections(config, sources):
        for name in names:
            if name not in known:
                message = f"unknown parameter {name!r}; " + _near(name, known)
                yield "error", (file, (*path, name)), message
            elif name == "timeout" and "tasks" not in path:
                message = "timeout limits a whole call and has no effect here; write it under a task"
                yield "warning", (file, (*path, name)), message


def _prices(config: Config, sources: Mapping[str, YamlSource]) -> Iterator[Problem]:
    for key, spec in config.models.items():
        if spec.price is None:
            yield "warning", _home(sources, key), f"model {key!r} has no price: its cost will be unknown"
