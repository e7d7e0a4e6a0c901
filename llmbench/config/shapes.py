"""The shape of every config file, as pydantic models. One class a section, one root class a file.

Extra keys are collected, not refused here: `llmbench.config.load` names them with file, line and the
nearest known key. Types are strict where YAML guesses (a key `no` is not the text "no").
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr

from llmbench.catalog import ResponseFormatSupport, Wire
from llmbench.errors import ErrorKind

Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[StrictStr], BeforeValidator(_as_list)]


class Shape(BaseModel):
    """Base of every section: extra keys are kept aside for the linter."""

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=(), populate_by_name=True)


class LimitsShape(Shape):
    """Provider limits: requests and tokens a minute, requests at once."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None


class TimeoutsShape(Shape):
    """Provider time limits in seconds."""

    connect_s: Number = 10.0
    first_token_s: Number | None = None
    stall_s: Number | None = None


class ProviderShape(Shape):
    """One provider: a host and the names of the environment variables that hold its keys."""

    type: Literal["azure", "openai", "openrouter", "gemini", "openai_compatible"] | None = None
    base_url: StrictStr | None = None
    env_api_key: StrictStr | None = None
    env_api_keys: Names = []
    env_endpoint: StrictStr | None = None
    api_version: StrictStr | None = None
    default_api_version: StrictStr | None = None
    auth: Literal["key", "bearer", "entra"] | None = None
    headers: dict[StrictStr, StrictStr] = {}
    limits: LimitsShape = LimitsShape()
    timeouts: TimeoutsShape = TimeoutsShape()
    allow_hosts: Names = []
    managed: Literal["embedded"] | None = None


class CapabilitiesShape(Shape):
    """What a model can do; `mode` is its modality."""

    mode: Literal["text", "chat", "image", "speech"] = "text"
    reasoning: StrictBool = False
    reasoning_levels: Names = []
    structured_outputs: StrictBool = False
    json_mode: StrictBool = False
    vision: StrictBool = False
    tools: StrictBool = False
    image: StrictBool = False
    tts: StrictBool = False
    context_tokens: Count | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None


class ParamsShape(Shape):
    """How a model takes parameters on its wire."""

    max_tokens_key: StrictStr | None = None
    reasoning_key: StrictStr | None = None
    response_format_support: ResponseFormatSupport | None = None
    allow_temperature: StrictBool | None = None
    allow_top_p: StrictBool | None = None
    allow_stop: StrictBool | None = None
    allow_seed: StrictBool | None = None
    allow_penalties: StrictBool | None = None


class PriceShape(Shape):
    """USD per million tokens or per named unit."""

    input: Number | None = None
    cached_input: Number | None = None
    output: Number | None = None
    reasoning: Number | None = None
    per_image: Number | None = None
    per_minute: Number | None = None
    per_million_chars: Number | None = None
    per_core_hour: Number | None = None
    as_of: StrictStr | None = None


class ModelShape(Shape):
    """One model of the registry."""

    provider: StrictStr
    model_id: StrictStr | None = Field(
        default=None, validation_alias=AliasChoices("model_name", "model", "deployment")
    )
    wire: Wire | None = None
    use_responses_api: StrictBool = False
    family: StrictStr | None = None
    api_version: StrictStr | None = None
    allow_temperature: StrictBool | None = None
    allow_stop: StrictBool | None = None
    allow_reasoning_effort: StrictBool | None = None
    default_max_completion_tokens: Count | None = None
    capabilities: CapabilitiesShape = CapabilitiesShape()
    params: ParamsShape = ParamsShape()
    price: PriceShape | None = None
    cost_tier: StrictStr | None = None
    expires: StrictStr | None = None
    defaults: dict[StrictStr, Any] = {}
    fallback_model: StrictStr | None = None


class CandidateShape(Shape):
    """A tier's candidate with a condition."""

    model: StrictStr
    min_context_tokens: Count | None = None
    structured_outputs: StrictBool | None = None
    reasoning: StrictBool | None = None


CandidateList = list[StrictStr | CandidateShape]


class TaskShape(Shape):
    """A task in `llm_router.yaml`, `llm_task_overrides.yaml` or a channel/env override."""

    tier: StrictStr | None = None
    models: Names = []
    timeout: Number | None = None
    retry_policy: dict[StrictStr, Any] | None = None
    defaults: dict[StrictStr, Any] = {}
    options: dict[StrictStr, Any] = {}
    system_prompt: StrictStr | None = None
    allow_fallback: StrictBool | None = None


class RouterDefaultsShape(Shape):
    """Settings of the router as a whole."""

    unknown_task: Literal["standard", "error"] = "standard"
    log_path: StrictStr | None = None


class RouterFile(Shape):
    """`llm_router.yaml`."""

    providers: dict[StrictStr, ProviderShape] = {}
    models: dict[StrictStr, ModelShape] = {}
    tiers: dict[StrictStr, CandidateList] = {}
    tasks: dict[StrictStr, TaskShape] = {}
    defaults: RouterDefaultsShape = RouterDefaultsShape()


class RegistryFile(Shape):
    """`llm_model_registry.yaml`."""

    models: dict[StrictStr, ModelShape] = {}
    fallback_model: StrictStr | None = None


class TierCandidatesFile(Shape):
    """`llm_tier_candidates.yaml`."""

    tiers: dict[StrictStr, CandidateList] = {}
    defaults: dict[StrictStr, dict[StrictStr, Any]] = {}


class OverrideShape(Shape):
    """What a channel or an environment changes."""

    tasks: dict[StrictStr, TaskShape] = {}
    tiers: dict[StrictStr, CandidateList] = {}


class ChannelShape(OverrideShape):
    """A channel's overrides, with its own overrides by environment."""

    env: dict[StrictStr, OverrideShape] = {}


class OverridesShape(Shape):
    """Overrides by channel and by environment."""

    channels: dict[StrictStr, ChannelShape] = {}
    env: dict[StrictStr, OverrideShape] = {}


class TierMappingFile(Shape):
    """`llm_tier_mapping.yaml`."""

    tasks: dict[StrictStr, StrictStr] = {}
    overrides: OverridesShape = OverridesShape()


class TaskOverridesFile(Shape):
    """`llm_task_overrides.yaml`."""

    tasks: dict[StrictStr, TaskShape] = {}


class PolicyFile(Shape):
    """`llm_fallback_policy.yaml`."""

    transient_statuses: list[int] | None = None
    retry_limit: Count | None = None
    backoff_sec: Number | None = None
    per_status_backoff: dict[int, Number] = {}
    per_status_retry: dict[int, Count] = {}
    max_total_attempts: Annotated[int, Field(ge=1)] | None = None
    max_total_wait_sec: Number | None = None
    deadline_s: Number | None = None
    fall_back_on: list[ErrorKind] | None = None
    on_content_filter: Literal["fail", "fallback"] | None = None
    on_refusal: Literal["return", "fallback"] | None = None


class SlotShape(Shape):
    """One operator slot: models for some tiers."""

    label: StrictStr = ""
    tiers: dict[StrictStr, Names] = {}
    allow_fallback: StrictBool = False


class SlotsFile(Shape):
    """`llm_model_slots.yaml`. Slots are numbered; a number in YAML is as good as text."""

    default_slot: int | StrictStr | None = None
    slots: dict[int | StrictStr, SlotShape] = {}


class CodeShape(Shape):
    """A short operator code for a model key."""

    model_key: StrictStr
    label: StrictStr = ""


class CodesFile(Shape):
    """`llm_model_codes.yaml`."""

    codes: dict[StrictStr, CodeShape] = {}
