"""What can be wrong between config files: names that lead nowhere, candidates nobody can reach."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

from llmbench.config.model import Config, Finding, Severity, TaskRule
from llmbench.config.yaml_source import YamlSource

Place = tuple[str, tuple[str | int, ...]]


def lint(config: Config, sources: Mapping[str, YamlSource]) -> list[Finding]:
    """Every dangling name, with file, line and the nearest known name; missing prices as warnings."""
    checks: tuple[Iterator[tuple[Severity, Place, str]], ...] = (
        _model_providers(config, sources),
        _tier_models(config),
        _task_tiers(config),
        _slots_and_codes(config),
        _prices(config, sources),
    )
    findings = []
    for check in checks:
        for severity, (name, path), message in check:
            source = sources[name]
            findings.append(Finding(severity, name, source.line(path), message))
    return findings


def _near(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"


def _home(sources: Mapping[str, YamlSource], key: str) -> Place:
    """Where a model is written: the registry, or the one-file form of the router."""
    registry = "llm_model_registry.yaml"
    file = registry if ("models", key) in sources[registry].lines else "llm_router.yaml"
    return file, ("models", key)


def _model_providers(
    config: Config, sources: Mapping[str, YamlSource]
) -> Iterator[tuple[Severity, Place, str]]:
    for key, spec in config.models.items():
        if spec.provider not in config.endpoints:
            message = f"model {key!r} names provider {spec.provider!r}, which llm_router.yaml does not have; "
            yield "error", _home(sources, key), message + _near(spec.provider, config.endpoints)
        if spec.fallback_model and config.model_key(spec.fallback_model) is None:
            message = f"fallback_model {spec.fallback_model!r} is no model; "
            yield "error", _home(sources, key), message + _near(spec.fallback_model, config.models)
    for name, endpoint in config.endpoints.items():
        if endpoint.managed is None and endpoint.base_url is None and endpoint.env_endpoint is None:
            yield (
                "error",
                ("llm_router.yaml", ("providers", name)),
                f"provider {name!r} has no base_url and no env_endpoint; give one, or managed: embedded",
            )


def _tier_models(config: Config) -> Iterator[tuple[Severity, Place, str]]:
    for file, tiers in (
        ("llm_tier_candidates.yaml", config.tiers),
        ("llm_router.yaml", config.router_tiers),
    ):
        for tier, candidates in tiers.items():
            if not candidates:
                yield "error", (file, ("tiers", tier)), f"tier {tier!r} has no candidate; name one model"
            for index, candidate in enumerate(candidates):
                if config.model_key(candidate.model) is None:
                    message = f"tier {tier!r} names model {candidate.model!r}, which no registry has; "
                    place = (file, ("tiers", tier, index))
                    yield "error", place, message + _near(candidate.model, config.models)
            modes = {
                config.models[key].capabilities.mode
                for candidate in candidates
                if (key := config.model_key(candidate.model))
            }
            if len(modes) > 1:
                message = f"tier {tier!r} mixes {' and '.join(sorted(modes))} models; a tier holds one kind"
                yield "error", (file, ("tiers", tier)), message


def _task_tiers(config: Config) -> Iterator[tuple[Severity, Place, str]]:
    known = config.all_tiers()
    for task, tier in config.mapping.items():
        if tier not in known:
            message = f"task {task!r} names tier {tier!r}, which no file has; " + _near(tier, known)
            yield "error", ("llm_tier_mapping.yaml", ("tasks", task)), message
    named: list[tuple[Place, str, TaskRule]] = []
    for file, rules in (
        ("llm_task_overrides.yaml", config.task_overrides),
        ("llm_router.yaml", config.router_tasks),
    ):
        named += [((file, ("tasks", task)), task, rule) for task, rule in rules.items()]
    for prefix, overrides in (("channels", config.channels), ("env", config.envs)):
        for name, override in overrides.items():
            path: tuple[str | int, ...] = ("overrides", prefix, name, "tasks")
            named += [
                (("llm_tier_mapping.yaml", (*path, task)), task, rule)
                for task, rule in override.tasks.items()
            ]
    for place, task, rule in named:
        if rule.tier is not None and rule.tier not in known:
            yield "error", place, f"task {task!r} names tier {rule.tier!r}; " + _near(rule.tier, known)
        for model in rule.models:
            if config.model_key(model) is None:
                yield "error", place, f"task {task!r} names model {model!r}; " + _near(model, config.models)


def _slots_and_codes(config: Config) -> Iterator[tuple[Severity, Place, str]]:
    for name, slot in config.slots.items():
        for tier, models in slot.tiers.items():
            for model in models:
                if config.model_key(model) is None:
                    place: Place = ("llm_model_slots.yaml", ("slots", name, "tiers", tier))
                    yield "error", place, f"slot {name} names model {model!r}; " + _near(model, config.models)
    if config.default_slot is not None and config.default_slot not in config.slots:
        place = ("llm_model_slots.yaml", ("default_slot",))
        message = f"default_slot {config.default_slot!r} is no slot; " + _near(
            config.default_slot, config.slots
        )
        yield "error", place, message
    for code, key in config.codes.items():
        if key not in config.models:
            place = ("llm_model_codes.yaml", ("codes", code))
            yield "error", place, f"code {code!r} names model {key!r}; " + _near(key, config.models)


def _prices(config: Config, sources: Mapping[str, YamlSource]) -> Iterator[tuple[Severity, Place, str]]:
    for key, spec in config.models.items():
        if spec.price is None:
            yield "warning", _home(sources, key), f"model {key!r} has no price: its cost will be unknown"
