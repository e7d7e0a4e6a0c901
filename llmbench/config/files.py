"""The shape of every config file as a whole: one root class a file, made of the sections of `shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import Field, StrictBool, StrictStr

from llmbench.config.media_shapes import ImageModelsFile, MediaCodesFile, SpeechModelsFile
from llmbench.config.rollout_shapes import RolloutsFile
from llmbench.config.shapes import (
    CandidateList,
    ModelShape,
    PolicyShape,
    ProviderShape,
    RouterDefaultsShape,
    Shape,
    TaskShape,
)
from llmbench.config.values import Names, Options


class RouterFile(Shape):
    """`llm_router.yaml`: hosts, and settings of the router; for a small project all the rest, too."""

    providers: dict[StrictStr, ProviderShape] = Field(default_factory=dict, description="Name -> host.")
    models: dict[StrictStr, ModelShape] = Field(
        default_factory=dict, description="Key -> model, as in the registry, which wins."
    )
    tiers: dict[StrictStr, CandidateList] = Field(
        default_factory=dict, description="Tier -> models in order; llm_tier_candidates.yaml wins."
    )
    tasks: dict[StrictStr, TaskShape] = Field(
        default_factory=dict, description="Task -> what is its own; the other files win."
    )
    defaults: RouterDefaultsShape = Field(
        RouterDefaultsShape(), description="Settings of the router as a whole."
    )


class RegistryFile(Shape):
    """`llm_model_registry.yaml`: what each model can do, how it takes parameters, what it costs."""

    models: dict[StrictStr, ModelShape] = Field(default_factory=dict, description="Key -> model.")
    fallback_model: StrictStr | None = Field(
        None, description="A model to try after all others, for every model that names none."
    )


class TierCandidatesFile(Shape):
    """`llm_tier_candidates.yaml`: which models serve a tier, in which order."""

    tiers: dict[StrictStr, CandidateList] = Field(
        default_factory=dict, description="Tier -> models in the order in which they are tried."
    )
    defaults: dict[StrictStr, Options] = Field(
        default_factory=dict, description="Tier -> parameters of calls that name none."
    )


class OverrideShape(Shape):
    """What a channel or an environment changes."""

    tasks: dict[StrictStr, TaskShape] = Field(default_factory=dict, description="Task -> what changes.")
    tiers: dict[StrictStr, CandidateList] = Field(
        default_factory=dict, description="Tier -> other candidates."
    )


class ChannelShape(OverrideShape):
    """A channel's overrides, with its own overrides by environment."""

    env: dict[StrictStr, OverrideShape] = Field(
        default_factory=dict, description="Environment -> what changes in this channel there."
    )


class OverridesShape(Shape):
    """Overrides by channel and by environment."""

    channels: dict[StrictStr, ChannelShape] = Field(
        default_factory=dict, description="Channel -> what changes."
    )
    env: dict[StrictStr, OverrideShape] = Field(
        default_factory=dict, description="Environment -> what changes."
    )


class TierMappingFile(Shape):
    """`llm_tier_mapping.yaml`: which tier serves a task, and what channels and environments change."""

    tasks: dict[StrictStr, StrictStr] = Field(default_factory=dict, description="Task -> tier.")
    overrides: OverridesShape = Field(OverridesShape(), description="What channels and environments change.")


class TaskOverridesFile(Shape):
    """`llm_task_overrides.yaml`: what single tasks have of their own."""

    tasks: dict[StrictStr, TaskShape] = Field(default_factory=dict, description="Task -> what is its own.")


class PolicyFile(PolicyShape):
    """`llm_fallback_policy.yaml`: what is tried again, what moves on, and when a call gives up."""


class SlotShape(Shape):
    """One operator slot: models for some tiers."""

    label: StrictStr = Field("", description="What people read.")
    tiers: dict[StrictStr, Names] = Field(
        default_factory=dict, description="Tier -> models in order, in place of the tier's."
    )
    allow_fallback: StrictBool = Field(
        default=False, description="true: more than the first model may answer."
    )


class SlotsFile(Shape):
    """`llm_model_slots.yaml`: choices of models for operators. A number in YAML is as good as text."""

    default_slot: int | StrictStr | None = Field(None, description="The slot without LLM_MODEL_SLOT.")
    slots: dict[int | StrictStr, SlotShape] = Field(
        default_factory=dict, description="Number or name -> choice of models."
    )


class CodeShape(Shape):
    """A short operator code for a model key."""

    model_key: StrictStr = Field(description="The model.")
    label: StrictStr = Field("", description="What people read.")


class CodesFile(Shape):
    """`llm_model_codes.yaml`: short codes for model keys."""

    codes: dict[StrictStr, CodeShape] = Field(
        default_factory=dict, description="Code -> model; usable wherever a model is named."
    )


#: The root shape of each file of `llmbench.config.model.FILES`.
ROOTS: Final[Mapping[str, type[Shape]]] = {
    "llm_router.yaml": RouterFile,
    "llm_model_registry.yaml": RegistryFile,
    "llm_tier_candidates.yaml": TierCandidatesFile,
    "llm_tier_mapping.yaml": TierMappingFile,
    "llm_task_overrides.yaml": TaskOverridesFile,
    "llm_fallback_policy.yaml": PolicyFile,
    "llm_model_slots.yaml": SlotsFile,
    "llm_model_codes.yaml": CodesFile,
    "image_models.yaml": ImageModelsFile,
    "speech_models.yaml": SpeechModelsFile,
    "image_model_slots.yaml": MediaCodesFile,
    "speech_model_slots.yaml": MediaCodesFile,
    "llm_rollouts.yaml": RolloutsFile,
}
