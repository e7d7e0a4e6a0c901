"""What a model's key means and how a task asks it: recorded with a sweep, compared before it is acted on.

A key of the registry is only a name: an overlay, another host or another default makes it another model
while every file that a proposal edits stays the same. Only hashes are recorded: headers may be secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Final

from llmbench.catalog import Modality
from llmbench.config import Config, Environment
from llmbench.errors import RouteError
from llmbench.messages import canonical_json
from llmbench.routing.resolve import Wanted, option_layers, resolve, task_rules

#: What may change of a model and of a host without another model being asked, or in another way.
_PRICED: Final = frozenset({"key", "price", "cost_tier", "expires", "fallback_model"})
_ACCESS: Final = frozenset({"name", "env_api_keys", "auth", "limits", "timeouts", "allow_hosts"})
_ROUTE: Final = frozenset({"tier", "models", "options", "policy"})
_WHERE: Final = {
    "model": "its entry in the registry",
    "endpoint": "its host (base_url, headers, type)",
    "options": "its options or the task's own settings",
}


def asked_facts(config: Config, tasks: Mapping[str, Iterable[str]], kind: Modality) -> dict[str, Any]:
    """How each task asks each of its models under a config.

    Args:
        config: as the router sees it; for a media kind, the view of that kind.
        tasks: task -> keys of the registry.
        kind: what the answers are.

    Returns:
        Task -> model -> hashes of its `model`, its `endpoint` and its `options`; an unknown model has none.
    """
    return {
        task: {
            key: _facts(config, Wanted(task=task, modality=kind), key) if key in config.models else {}
            for key in dict.fromkeys(keys)
        }
        for task, keys in tasks.items()
    }


def measured_models(plan: Mapping[str, Any], task: str) -> list[str]:
    """The registry's keys of all that was measured for a task, without parameters of their own."""
    entry, models = plan["tasks"][task], plan.get("models") or {}
    keys = dict.fromkeys(key for arm in (entry["chain"], *entry["arms"]) for key in arm)
    return list(dict.fromkeys(str((models.get(key) or {}).get("base", key)) for key in keys))


def other_meaning(
    asked: Mapping[str, Any], config: Config, measured: Mapping[str, Iterable[str]], kind: Modality
) -> str | None:
    """What is asked otherwise than when it was measured, in words; None where all is as it was.

    Args:
        asked: what `asked_facts` gave when the run was planned.
        config: the config now, or the view of its kind.
        measured: the tasks that are to move, and the models that were measured for each.
        kind: what the answers are.
    """
    for task, facts in asked_facts(config, measured, kind).items():
        for key, now in facts.items():
            was = (asked.get(task) or {}).get(key)
            if not was:
                return f"it is not recorded how {task} asked {key}"
            changed = [name for name in _WHERE if was.get(name) != now.get(name)]
            if changed:
                return f"{key} is not asked for {task} as it was measured: {_WHERE[changed[0]]} changed"
    return None


def renamed_model(models: Mapping[str, Any], config: Config, keys: Collection[str]) -> str | None:
    """The same for a plan of an earlier version, which has only each model's provider and id."""
    for facts_key, facts in models.items():
        key = str((facts or {}).get("base", facts_key))
        if key not in keys or not facts:
            continue
        spec = config.models.get(key)
        found = None if spec is None else (spec.provider, spec.model_id)
        if found != (was := (facts.get("provider"), facts.get("model_id"))):
            is_now = "gone" if found is None else f"{found[1]} of {found[0]}"
            return f"{key} was {was[1]} of {was[0]} when it was measured and is {is_now} now"
    return None


def _facts(config: Config, wanted: Wanted, key: str) -> dict[str, str]:
    spec = config.models[key]
    options: dict[str, Any] = {}
    for layer in option_layers(config, wanted, _tier(config, wanted), spec):
        options |= layer
    rules = [_said(rule, _ROUTE) for rule in task_rules(config, wanted)]
    return {
        "model": _hash(_said(spec, _PRICED)),
        "endpoint": _hash(_said(config.endpoints[spec.provider], _ACCESS) | {"provider": spec.provider}),
        "options": _hash({"options": _said(options), "rules": [rule for rule in rules if rule]}),
    }


def _tier(config: Config, wanted: Wanted) -> str:
    try:
        return resolve(config, Environment(), wanted, lambda _: None).tier
    except RouteError:
        return ""


def _said(value: Any, apart: Collection[str] = ()) -> Any:
    """A value as JSON; a field that is as by default is left out, so that a later version may add some."""
    if is_dataclass(value) and not isinstance(value, type):
        named = ((each, getattr(value, each.name)) for each in fields(value) if each.name not in apart)
        return {each.name: _said(held) for each, held in named if held != _default(each)}
    if isinstance(value, Mapping):
        return {str(key): _said(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_said(each) for each in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _hash(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
