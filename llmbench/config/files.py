"""The shape of every config file as a whole: one root class a file, made of the sections of `shapes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import Field, StrictBool, StrictStr

from llmbench.config.media_shapes import ImageModelsFile, MediaCodesFile, SpeechModelsFile
from llmbench.config.shapes import (
    CandidateList,
    ModelShape,
    Names,
    Options,
    PolicyShape,
    ProviderShape,
    RouterDefaultsShape,
    Shape,
    TaskShape,
)


class RouterFile(Shape):
    """`llm_router.yaml`."""

    providers: dict[StrictStr, ProviderShape] = Field(default_factory=dict)
    models: dict[StrictStr, ModelShape] = Field(default_factory=dict)
    tiers: dict[StrictStr, CandidateList] = Field(default_factory=dict)
    tasks: dict[StrictStr, TaskShape] = Field(default_factory=dict)
    defaults: RouterDefaultsShape = RouterDefaultsShape()


class RegistryFile(Shape):
    """`llm_model_registry.yaml`."""

    models: dict[StrictStr, ModelShape] = Field(default_factory=dict)
    fallback_model: StrictStr | None = None


class TierCandidatesFile(Shape):
    """`llm_tier_candidates.yaml`."""

    tiers: dict[StrictStr, CandidateList] = Field(default_factory=dict)
    defaults: dict[StrictStr, Options] = Field(default_factory=dict)


class OverrideShape(Shape):
    """What a channel or an environment changes."""

    tasks: dict[StrictStr, TaskShape] = Field(default_factory=dict)
    tiers: dict[StrictStr, CandidateList] = Field(default_factory=dict)


class ChannelShape(OverrideShape):
    """A channel's overrides, with its own overrides by environment."""

    env: dict[StrictStr, OverrideShape] = Field(default_factory=dict)


class OverridesShape(Shape):
    """Overrides by channel and by environment."""

    channels: dict[StrictStr, ChannelShape] = Field(default_factory=dict)
    env: dict[StrictStr, OverrideShape] = Field(default_factory=dict)


class TierMappingFile(Shape):
    """`llm_tier_mapping.yaml`."""

    tasks: dict[StrictStr, StrictStr] = Field(default_factory=dict)
    overrides: OverridesShape = OverridesShape()


class TaskOverridesFile(Shape):
    """`llm_task_overrides.yaml`."""

    tasks: dict[StrictStr, TaskShape] = Field(default_factory=dict)


class PolicyFile(PolicyShape):
    """`llm_fallback_policy.yaml`."""


class SlotShape(Shape):
    """One operator slot: models for some tiers."""

    label: StrictStr = ""
    tiers: dict[StrictStr, Names] = Field(default_factory=dict)
    allow_fallback: StrictBool = False


class SlotsFile(Shape):
    """`llm_model_slots.yaml`. Slots are numbered; a number in YAML is as good as text."""

    default_slot: int | StrictStr | None = None
    slots: dict[int | StrictStr, SlotShape] = Field(default_factory=dict)


class CodeShape(Shape):
    """A short operator code for a model key."""

    model_key: StrictStr
    label: StrictStr = ""


class CodesFile(Shape):
    """`llm_model_codes.yaml`."""

    codes: dict[StrictStr, CodeShape] = Field(default_factory=dict)


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
}
