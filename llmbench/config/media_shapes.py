"""The shape of `image_models.yaml` and `speech_models.yaml`, as pydantic models.

Each file stands alone: its own providers, models, tiers and tasks. What a model's entry does not say of it is
unknown, never assumed.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, Field, StrictBool, StrictStr

from llmbench.config.model import MediaWireName
from llmbench.config.shapes import DatedText, Names, Number, PriceShape, ProviderShape, Shape

#: Pixels as "1536x1024", or the longest edge by Gemini's names; and a ratio such as "16:9".
SIZE: Final = r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}|[124]K"
RATIO: Final = r"[1-9][0-9]{0,3}:[1-9][0-9]{0,3}"
Least1 = Annotated[int, Field(ge=1)]


class MediaCapabilitiesShape(Shape):
    """What a media model takes, whichever its kind. Limits of a prompt or text are refused, never cut at."""

    mode: Literal["image", "speech"] | None = None
    max_prompt_chars: Least1 | None = None
    max_prompt_tokens: Least1 | None = None


class ImageCapabilitiesShape(MediaCapabilitiesShape):
    """What an image model takes. Sizes are "WIDTHxHEIGHT" in pixels, aspect ratios "W:H"."""

    supports_aspect_ratio: StrictBool | None = None
    supports_size: StrictBool | None = None
    supports_negative_prompt: StrictBool | None = None
    supports_seed: StrictBool | None = None
    supports_reference_images: StrictBool | None = None
    max_batch_n: Least1 | None = None
    sizes: list[Annotated[str, Field(pattern=f"^(?:{SIZE})$")]] = Field(default_factory=list)
    aspect_ratios: list[Annotated[str, Field(pattern=f"^(?:{RATIO})$")]] = Field(default_factory=list)


class SpeechCapabilitiesShape(MediaCapabilitiesShape):
    """What a speech model takes. Sample rates in Hz; `formats` as the provider spells them."""

    supports_speed: StrictBool | None = None
    supports_instructions: StrictBool | None = None
    max_speakers: Least1 | None = None
    voices: Names = Field(default_factory=list)
    languages: Names = Field(default_factory=list)
    formats: Names = Field(default_factory=list)
    sample_rates_hz: list[Least1] = Field(default_factory=list)


class MediaModelShape(Shape):
    """One image or speech model."""

    provider: StrictStr
    model_id: StrictStr | None = Field(default=None, validation_alias=AliasChoices("model_name", "model"))
    deployment: StrictStr | None = None
    wire: MediaWireName | None = None
    family: StrictStr | None = None
    api_version: DatedText | None = None
    price: PriceShape | None = None
    cost_tier: StrictStr | None = None
    expires: DatedText | None = None
    defaults: dict[StrictStr, Any] = Field(default_factory=dict)


class ImageModelShape(MediaModelShape):
    """One image model."""

    capabilities: ImageCapabilitiesShape = ImageCapabilitiesShape()


class SpeechModelShape(MediaModelShape):
    """One speech model."""

    capabilities: SpeechCapabilitiesShape = SpeechCapabilitiesShape()


class MediaTaskShape(Shape):
    """A task of a media tier. Another model is another style: none is fallen back to unless allowed."""

    tier: StrictStr
    models: Names = Field(default_factory=list)
    options: dict[StrictStr, Any] = Field(default_factory=dict)
    allow_fallback: StrictBool = False
    timeout: Annotated[Number, Field(gt=0)] | None = None


class ProfileTaskShape(Shape):
    """What a profile changes of a task."""

    tier: StrictStr = ""
    models: Names = Field(default_factory=list)
    options: dict[StrictStr, Any] = Field(default_factory=dict)
    allow_fallback: StrictBool | None = None
    timeout: Annotated[Number, Field(gt=0)] | None = None


class ProfileShape(Shape):
    """A profile: other models for tasks, or for whole tiers."""

    label: StrictStr = ""
    tasks: dict[StrictStr, ProfileTaskShape] = Field(default_factory=dict)
    tiers: dict[StrictStr, list[StrictStr]] = Field(default_factory=dict)


class MediaCodeShape(Shape):
    """The model behind an operator code."""

    model_key: StrictStr
    label: StrictStr = ""


class MediaCodesFile(Shape):
    """`image_model_slots.yaml`, `speech_model_slots.yaml`: short codes for models of the media file."""

    slots: dict[StrictStr, MediaCodeShape] = Field(default_factory=dict)


class MediaFile(Shape):
    """What both files hold beside their models."""

    providers: dict[StrictStr, ProviderShape] = Field(default_factory=dict)
    tiers: dict[StrictStr, list[StrictStr]] = Field(default_factory=dict)
    tasks: dict[StrictStr, MediaTaskShape] = Field(default_factory=dict)
    profiles: dict[StrictStr, ProfileShape] = Field(default_factory=dict)


class ImageModelsFile(MediaFile):
    """`image_models.yaml`."""

    models: dict[StrictStr, ImageModelShape] = Field(default_factory=dict)


class SpeechModelsFile(MediaFile):
    """`speech_models.yaml`."""

    models: dict[StrictStr, SpeechModelShape] = Field(default_factory=dict)
