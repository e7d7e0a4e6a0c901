"""The environment variables of the serving half, read here and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from llmbench.bounded import parse_json
from llmbench.errors import ConfigError

_TRUE = frozenset({"1", "true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables that steer routing and logging. Provider keys are looked up by `secret`.

    `log_content` is None where the environment leaves the choice to the config.
    """

    channel: str | None = None
    env: str | None = None
    slot: str | None = None
    force_models: tuple[str, ...] = ()
    force_task_models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    allow_fallback: bool = False
    routing_key: str | None = None
    log_path: str | None = None
    log_disabled: bool = False
    log_content: bool | None = None
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    def secret(self, name: str) -> str | None:
        """The value of a variable named in a provider section, or None when it is unset or empty."""
        return self.variables.get(name, "").strip() or None


def read_environment(variables: Mapping[str, str] | None = None) -> Environment:
    """Read the variables, from the process's own unless given.

    Raises:
        ConfigError: `LLM_FORCE_TASK_MODELS_JSON` is not a JSON object of task to model or list.
    """
    source = dict(os.environ if variables is None else variables)

    def text(name: str) -> str | None:
        return source.get(name, "").strip() or None

    def flag(name: str) -> bool | None:
        value = text(name)
        return None if value is None else value.lower() in _TRUE

    forced = tuple(part.strip() for part in (text("LLM_FORCE_MODELS") or "").split(",") if part.strip())
    slot = text("LLM_MODEL_SLOT")
    if len(forced) == 1 and forced[0].isdigit():  # contract: a bare number here is a slot
        slot, forced = forced[0], ()
    return Environment(
        channel=text("LLM_CHANNEL"),
        env=text("LLM_ENV"),
        slot=slot,
        force_models=forced,
        force_task_models=_task_models(text("LLM_FORCE_TASK_MODELS_JSON")),
        allow_fallback=flag("LLM_ALLOW_FALLBACK") or False,
        routing_key=text("LLM_ROUTING_KEY"),
        log_path=text("LLM_ROUTER_LOG_PATH"),
        log_disabled=flag("LLM_ROUTER_LOG_DISABLE") or False,
        log_content=flag("LLM_ROUTER_LOG_CONTENT"),
        variables=source,
    )


def _task_models(text: str | None) -> dict[str, tuple[str, ...]]:
    if text is None:
        return {}
    wanted = 'LLM_FORCE_TASK_MODELS_JSON must be a JSON object such as {"caption": ["model_key"]}'
    try:
        data = parse_json(text)
    except ValueError as error:
        raise ConfigError(f"{wanted}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{wanted}, not {type(data).__name__}")
    models: dict[str, tuple[str, ...]] = {}
    for task, value in data.items():
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"{wanted}: {task!r} is neither a model nor a list of models")
        models[task] = tuple(names)
    return models
