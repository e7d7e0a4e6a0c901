"""One media file as a config of its own: its tiers, tasks and models in the places of the text models'.

So one resolver, one set of hosts, one fallback and one telemetry line serve all three kinds of call. What
the variables `IMAGE_CLIENT_*` and `SPEECH_CLIENT_*` choose goes the ways of `LLM_FORCE_MODELS` and its kin;
the `LLM_*` variables that name models mean text models and hold for no media call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from llmbench.catalog import Candidate, Capabilities, Endpoint, ModelSpec, Wire
from llmbench.config.environment import Environment
from llmbench.config.model import (
    MEDIA_FILES,
    Config,
    Media,
    MediaModality,
    MediaModel,
    MediaProfile,
    MediaTask,
    TaskRule,
)
from llmbench.errors import ConfigError

#: The wire of a model that names none, by modality and the provider's type.
_WIRES: Final[Mapping[tuple[MediaModality, str], Wire]] = {
    ("image", "gemini"): "gemini",
    ("speech", "gemini"): "gemini",
}
_DEFAULT_WIRES: Final[Mapping[MediaModality, Wire]] = {"image": "images", "speech": "speech"}


def media_config(config: Config, modality: MediaModality, environment: Environment) -> Config:
    """The view of one media file; the profile that the environment names lies over its tasks and tiers.

    Raises:
        ConfigError: the folder has no such file, or the profile is not in it.
    """
    media, file = config.media.get(modality), MEDIA_FILES[modality]
    if media is None or not media.models:
        raise ConfigError(f"{config.folder} has no models in {file}; copy the shipped one to start")
    stem = file.removesuffix(".yaml")
    chosen, profile = _profile(media, modality, environment)
    tasks = {name: _changed(task, profile.tasks.get(name)) for name, task in media.tasks.items()}
    tiers = {**media.tiers, **profile.tiers}
    changed = {name: task.options for name, task in profile.tasks.items()}
    return replace(
        config,
        endpoints=media.endpoints,
        models={key: _spec(model, media.endpoints[model.provider]) for key, model in media.models.items()},
        codes=media.codes,
        tiers={tier: tuple(map(Candidate, names)) for tier, names in tiers.items()},
        tier_defaults={},
        mapping={name: task.tier for name, task in tasks.items()},
        channels={},
        envs={},
        channel_envs={},
        task_overrides={
            name: TaskRule(models=task.models, options=changed.get(name, {}), timeout_s=task.timeout_s)
            for name, task in tasks.items()
        },
        router_tiers={},
        router_tasks={name: TaskRule(options=task.options) for name, task in media.tasks.items()},
        slots={},
        rollouts={},
        default_slot=None,
        unknown_task="error",
        media={modality: replace(media, tasks=tasks, tiers=tiers)},
        sources={
            "llm_tier_mapping": f"{stem}{chosen}",
            "llm_task_overrides": f"{stem}{chosen}",
            "llm_tier_candidates": f"{stem}{chosen}",
            "LLM_FORCE_MODELS": _variable(modality, "FORCE_MODEL_KEY"),
            "LLM_FORCE_TASK_MODELS_JSON": f"{_variable(modality, 'FORCE_MODEL_KEY')}_<TASK>",
        },
    )


def media_environment(environment: Environment, modality: MediaModality, media: Media) -> Environment:
    """The environment of media calls: models are forced by the variables of this kind alone.

    `IMAGE_CLIENT_FORCE_MODEL_KEY` forces one model for every task, `IMAGE_CLIENT_FORCE_MODEL_KEY_<TASK>` for
    one: the task's name in capitals, with `_` for whatever is no letter or digit of any script.
    """
    name = _variable(modality, "FORCE_MODEL_KEY")
    forced = {task: environment.secret(force_variable(modality, task)) for task in media.tasks}
    everywhere = environment.secret(name)
    return replace(
        environment,
        slot=None,
        force_models=() if everywhere is None else (everywhere,),
        force_task_models={task: (model,) for task, model in forced.items() if model is not None},
        allow_fallback=False,
    )


def force_variable(modality: MediaModality, task: str) -> str:
    """The variable that forces the model of one task."""
    return f"{_variable(modality, 'FORCE_MODEL_KEY')}_{_capitals(task)}"


def _variable(modality: MediaModality, name: str) -> str:
    return f"{modality.upper()}_CLIENT_{name}"


def _capitals(task: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in task.upper())


def _profile(media: Media, modality: MediaModality, environment: Environment) -> tuple[str, MediaProfile]:
    """How reasons call the profile that the environment names, and what it changes; nothing without one.

    Raises:
        ConfigError: the file has no such profile.
    """
    name = environment.secret(_variable(modality, "PROFILE"))
    if name is None:
        return "", MediaProfile({}, {})
    profile = media.profiles.get(name)
    if profile is None:
        known = ", ".join(media.profiles) or "none"
        raise ConfigError(
            f"{_variable(modality, 'PROFILE')}={name!r} is no profile of {MEDIA_FILES[modality]}; "
            f"known: {known}"
        )
    return f" profile {name}", profile


def _changed(task: MediaTask, change: MediaTask | None) -> MediaTask:
    if change is None:
        return task
    return MediaTask(
        tier=change.tier or task.tier,
        models=change.models or (() if change.tier else task.models),
        options={**task.options, **change.options},
        allow_fallback=task.allow_fallback if change.allow_fallback is None else change.allow_fallback,
        timeout_s=task.timeout_s if change.timeout_s is None else change.timeout_s,
    )


def _spec(model: MediaModel, endpoint: Endpoint) -> ModelSpec:
    kind = model.modality
    return ModelSpec(
        key=model.key,
        provider=model.provider,
        model_id=model.model_id,
        wire=model.wire or _WIRES.get((kind, endpoint.type), _DEFAULT_WIRES[kind]),
        family=model.family,
        api_version=model.api_version,
        capabilities=Capabilities(mode=kind),
        price=model.price,
        cost_tier=model.cost_tier,
        defaults=model.defaults,
        expires=model.expires,
        media=model.capabilities,
    )
