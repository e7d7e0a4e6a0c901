"""The shape of `image_models.yaml` and `speech_models.yaml`, as pydantic models.

Each file stands alone: its own providers, models, tiers and tasks. What a model's entry does not say of it is
unknown, never assumed.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, Field, StrictBool, StrictStr

from llmbench.config.model import MediaWireName
from llmbench.config.shapes import PriceShape, ProviderShape, Shape
from llmbench.config.values import DatedText, Names, Seconds, Unit

#: Pixels as "1536x1024", or the longest edge by Gemini's names; and a ratio such as "16:9".
SIZE: Final = r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}|[124]K"
RATIO: Final = r"[1-9][0-9]{0,3}:[1-9][0-9]{0,3}"
Least1 = Annotated[int, Field(ge=1)]
Hertz = Annotated[Least1, Unit("Hz")]


class MediaCapabilitiesShape(Shape):
    """What a media model takes, whichever its kind. Limits of a prompt or text are refused, never cut at."""

    mode: Literal["image", "speech"] | None = Field(
        None, description="image or speech; the file says it already."
    )
    max_prompt_chars: Least1 | None = Field(
        None, description="Longest prompt or piece of text, in characters."
    )
    max_prompt_tokens: Least1 | None = Field(None, description="The same in tokens, estimated.")


class ImageCapabilitiesShape(MediaCapabilitiesShape):
    """What an image model takes. Sizes are "WIDTHxHEIGHT" in pixels, aspect ratios "W:H"."""

    supports_aspect_ratio: StrictBool | None = Field(None, description="false: a ratio becomes a size.")
    supports_size: StrictBool | None = Field(None, description="false: a size becomes a ratio.")
    supports_negative_prompt: StrictBool | None = Field(None, description="false: left out, and said.")
    supports_seed: StrictBool | None = Field(None, description="false: left out, and said.")
    supports_reference_images: StrictBool | None = Field(
        None, description="false: a call with pictures is refused."
    )
    max_batch_n: Least1 | None = Field(None, description="Pictures a request; more are asked for in several.")
    sizes: list[Annotated[str, Field(pattern=f"^(?:{SIZE})$")]] = Field(
        default_factory=list, description='The only sizes it makes, "WIDTHxHEIGHT", or 1K, 2K, 4K.'
    )
    aspect_ratios: list[Annotated[str, Field(pattern=f"^(?:{RATIO})$")]] = Field(
        default_factory=list, description='The only ratios it makes, "W:H".'
    )


class SpeechCapabilitiesShape(MediaCapabilitiesShape):
    """What a speech model takes. Sample rates in Hz; `formats` as the provider spells them."""

    supports_speed: StrictBool | None = Field(None, description="false: left out, and said.")
    supports_instructions: StrictBool | None = Field(None, description="false: left out, and said.")
    max_speakers: Least1 | None = Field(None, description="Speakers in one request.")
    voices: Names = Field(default_factory=list, description="The only voices it has.")
    languages: Names = Field(default_factory=list, description="The only languages it speaks.")
    formats: Names = Field(
        default_factory=list,
        description="Formats of its answers, as the provider spells them; wav is asked for where it may be.",
    )
    sample_rates_hz: list[Hertz] = Field(default_factory=list, description="Sample rates of its answers.")


class MediaModelShape(Shape):
    """One image or speech model."""

    provider: StrictStr = Field(description="The provider section of this file that serves it.")
    model_id: StrictStr | None = Field(
        default=None,
        validation_alias=AliasChoices("model_name", "model"),
        description="The provider's name of the model; else the key.",
    )
    deployment: StrictStr | None = Field(None, description="Azure: the name that you gave the deployment.")
    wire: MediaWireName | None = Field(
        None, description="The API. Without it: gemini at Gemini, else images or speech."
    )
    family: StrictStr | None = Field(
        None, description="The model behind a deployment: its prices are found by it."
    )
    api_version: DatedText | None = Field(None, description="As in the provider section.")
    price: PriceShape | None = Field(None, description="What it costs.")
    cost_tier: StrictStr | None = Field(None, description="Your own word; nothing reads it.")
    expires: DatedText | None = Field(
        None, description="Day on which the provider ends it, YYYY-MM-DD; `llmbench check` warns."
    )
    defaults: dict[StrictStr, Any] = Field(
        default_factory=dict, description="Parameters of calls that name none."
    )


class ImageModelShape(MediaModelShape):
    """One image model."""

    capabilities: ImageCapabilitiesShape = Field(ImageCapabilitiesShape(), description="What it takes.")


class SpeechModelShape(MediaModelShape):
    """One speech model."""

    capabilities: SpeechCapabilitiesShape = Field(SpeechCapabilitiesShape(), description="What it takes.")


class MediaTaskShape(Shape):
    """A task of a media tier. Another model is another style: none is fallen back to unless allowed."""

    tier: StrictStr = Field(description="Its tier in this file.")
    models: Names = Field(
        default_factory=list, description="Its own candidates, in order, instead of the tier's."
    )
    options: dict[StrictStr, Any] = Field(
        default_factory=dict, description="Parameters of calls that name none."
    )
    allow_fallback: StrictBool = Field(default=False, description="true: the next candidate may answer.")
    timeout: Seconds | None = Field(None, description="Deadline of its calls.")


class ProfileTaskShape(Shape):
    """What a profile changes of a task."""

    tier: StrictStr = Field("", description="Another tier.")
    models: Names = Field(default_factory=list, description="Other candidates.")
    options: dict[StrictStr, Any] = Field(
        default_factory=dict, description="Parameters on top of the task's."
    )
    allow_fallback: StrictBool | None = Field(None, description="Whether the next candidate may answer.")
    timeout: Seconds | None = Field(None, description="Another deadline.")


class ProfileShape(Shape):
    """A profile: other models for tasks, or for whole tiers."""

    label: StrictStr = Field("", description="What it is for.")
    tasks: dict[StrictStr, ProfileTaskShape] = Field(
        default_factory=dict, description="Task -> what changes."
    )
    tiers: dict[StrictStr, list[StrictStr]] = Field(
        default_factory=dict, description="Tier -> other candidates."
    )


class MediaCodeShape(Shape):
    """The model behind an operator code."""

    model_key: StrictStr = Field(description="The model.")
    label: StrictStr = Field("", description="What people read.")


class MediaCodesFile(Shape):
    """`image_model_slots.yaml`, `speech_model_slots.yaml`: short codes for models of the media file."""

    slots: dict[StrictStr, MediaCodeShape] = Field(default_factory=dict, description="Code -> model.")


class MediaFile(Shape):
    """What both files hold beside their models."""

    providers: dict[StrictStr, ProviderShape] = Field(
        default_factory=dict, description="Name -> host; these stand apart from the text models'."
    )
    tiers: dict[StrictStr, list[StrictStr]] = Field(
        default_factory=dict, description="Tier -> models in order."
    )
    tasks: dict[StrictStr, MediaTaskShape] = Field(
        default_factory=dict, description="Task -> tier and what is its own."
    )
    profiles: dict[StrictStr, ProfileShape] = Field(
        default_factory=dict,
        description="Name -> changes for one process; IMAGE_CLIENT_PROFILE or SPEECH_CLIENT_PROFILE chooses.",
    )


class ImageModelsFile(MediaFile):
    """`image_models.yaml`: hosts, models, tiers and tasks of pictures."""

    models: dict[StrictStr, ImageModelShape] = Field(default_factory=dict, description="Key -> image model.")


class SpeechModelsFile(MediaFile):
    """`speech_models.yaml`: hosts, voices, tiers and tasks of speech."""

    models: dict[StrictStr, SpeechModelShape] = Field(
        default_factory=dict, description="Key -> speech model."
    )
