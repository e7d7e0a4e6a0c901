"""The shape of every section of the config files, as pydantic models; `files` joins them to whole files.

Extra keys are collected, not refused here: `llmbench.config.load` names them with file, line and the
nearest known key. Types are strict where YAML guesses (a key `no` is not the text "no").
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from llmbench.catalog import PARAMETER_ALIASES, PARAMETERS, ResponseFormatSupport, Wire
from llmbench.config.model import CleanUp, ForcedWire
from llmbench.errors import ErrorKind

Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _date_as_text(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value


#: The JSON types name what may stand in the file, before a single word becomes a list.
Names = Annotated[list[StrictStr], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]
#: Parameters of calls. A wrong name is found by the linter, and in an editor by the enumeration.
Options = Annotated[
    dict[StrictStr, Any],
    Field(json_schema_extra={"propertyNames": {"enum": [*PARAMETERS, *PARAMETER_ALIASES, "extra_body"]}}),
]
#: YAML reads an unquoted 2024-10-21 as a date; API versions and dates of prices are texts here.
DatedText = Annotated[StrictStr, BeforeValidator(_date_as_text)]
#: Keys that have the form of a variable's name: hexadecimal ones (Azure's older keys have 32 digits), and
#: long ones of capital and small letters and digits. As JSON Schema; `_refuse_key` says the same.
_LIKE_A_KEY: Final[dict[str, Any]] = {
    "type": "string",
    "anyOf": [
        {"pattern": "^[0-9A-Fa-f]{32,}$"},
        {"minLength": 41, "allOf": [{"pattern": "[a-z]"}, {"pattern": "[A-Z]"}, {"pattern": "[0-9]"}]},
    ],
}


def _refuse_key(name: str) -> str:
    is_mixed = len(name) > 40 and all(re.search(kind, name) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    if is_mixed or re.fullmatch("[0-9A-Fa-f]{32,}", name):
        message = "give the name of an environment variable; a key must not stand in a file"
        raise PydanticCustomError("key_as_name", message)
    return name


#: A name of an environment variable. A key pasted in its place is refused, and not repeated.
VariableName = Annotated[
    StrictStr,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$", json_schema_extra={"not": _LIKE_A_KEY}),
    AfterValidator(_refuse_key),
]
VariableNames = Annotated[
    list[VariableName],
    BeforeValidator(_as_list, json_schema_input_type=VariableName | list[VariableName]),
]
HeaderText = Annotated[StrictStr, Field(pattern=r"^[\x20-\x7e]*$")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _size(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf:
        return value
    message = "must be a number above 0, of MiB, such as 64; without the key the file is never rotated"
    raise PydanticCustomError("no_size", message)


#: A size of a file. `true` and `"64"` are none, though pydantic would read them as numbers.
MebiBytes = Annotated[
    float, BeforeValidator(_size, json_schema_input_type=Annotated[float, Field(gt=0, allow_inf_nan=False)])
]


class Shape(BaseModel):
    """Base of every section: extra keys are kept aside for the linter.

    A key without a value (`tasks:` and nothing below) counts as not written.
    """

    model_config = ConfigDict(extra="allow", frozen=True, protected_namespaces=(), populate_by_name=True)
    #: Beginnings of further keys that this section may have.
    open_prefixes: ClassVar[tuple[str, ...]] = ("x-",)
    #: Whether an unknown key that looks like a known one is taken for a typing error.
    refuses_near_keys: ClassVar[bool] = True

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, data: object) -> object:
        if data is None:
            return {}
        if not isinstance(data, Mapping):
            return data
        return {key: value for key, value in data.items() if value is not None}


class LimitsShape(Shape):
    """Provider limits: requests and tokens a minute, requests at once."""

    requests_per_minute: AtLeastOne | None = None
    tokens_per_minute: AtLeastOne | None = None
    concurrency: AtLeastOne | None = None


class TimeoutsShape(Shape):
    """Provider time limits in seconds."""

    connect_s: Number = 10.0
    first_token_s: Number | None = None
    stall_s: Number | None = None


class ProviderShape(Shape):
    """One provider: a host and the names of the environment variables that hold its keys."""

    type: Literal["azure", "openai", "openrouter", "gemini", "openai_compatible"] | None = None
    base_url: StrictStr | None = None
    env_api_key: VariableName | None = None
    env_api_keys: VariableNames = []
    env_endpoint: VariableName | None = None
    api_version: DatedText | None = None
    default_api_version: DatedText | None = None
    auth: Literal["key", "bearer", "entra"] | None = None
    headers: dict[HeaderText, HeaderText] = {}
    limits: LimitsShape = LimitsShape()
    timeouts: TimeoutsShape = TimeoutsShape()
    allow_hosts: Names = []
    managed: Literal["embedded"] | None = None


class CapabilitiesShape(Shape):
    """What a model can do; `mode` is its modality. `supports_vision` means the same as `vision`."""

    open_prefixes: ClassVar[tuple[str, ...]] = ("x-", "supports_")

    mode: Literal["text", "chat", "image", "speech"] | None = None
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

    @model_validator(mode="before")
    @classmethod
    def _short_names(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        names = {key: str(key).removeprefix("supports_") for key in data}
        return {
            name if (name := names[key]) in cls.model_fields else key: value for key, value in data.items()
        }


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
    allow_top_k: StrictBool | None = None
    allow_verbosity: StrictBool | None = None
    min_max_tokens: AtLeastOne | None = None


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
    as_of: DatedText | None = None


def forced_wire(shape: ModelShape | TaskShape) -> ForcedWire | None:
    """The wire that a model or a task insists on.

    Raises:
        PydanticCustomError: it insists on two.
    """
    if shape.force_responses and shape.force_chat:
        raise PydanticCustomError("contradiction", "force_responses and force_chat exclude each other")
    return "responses" if shape.force_responses else "chat" if shape.force_chat else None


class ModelShape(Shape):
    """One model of the registry. A `deployment` is what the provider is asked for, whatever else is named."""

    provider: StrictStr
    model_id: StrictStr | None = Field(default=None, validation_alias=AliasChoices("model_name", "model"))
    deployment: StrictStr | None = None
    wire: Wire | None = None
    use_responses_api: StrictBool = False
    force_responses: StrictBool = False
    force_chat: StrictBool = False
    family: StrictStr | None = None
    api_version: DatedText | None = None
    allow_temperature: StrictBool | None = None
    allow_stop: StrictBool | None = None
    allow_reasoning_effort: StrictBool | None = None
    default_max_completion_tokens: Count | None = None
    capabilities: CapabilitiesShape = CapabilitiesShape()
    params: ParamsShape = ParamsShape()
    price: PriceShape | None = None
    cost_tier: StrictStr | None = None
    expires: DatedText | None = None
    defaults: Options = {}
    fallback_model: StrictStr | None = None

    @model_validator(mode="after")
    def _one_wire(self) -> Self:
        forced = forced_wire(self)
        if forced is not None and self.wire not in (None, forced):
            message = "force_{wire} says otherwise than the key wire; keep one"
            raise PydanticCustomError("contradiction", message, {"wire": forced})
        return self


class CandidateShape(Shape):
    """A tier's candidate with a condition."""

    model: StrictStr
    min_context_tokens: Count | None = None
    structured_outputs: StrictBool | None = None
    reasoning: StrictBool | None = None


CandidateList = list[StrictStr | CandidateShape]


class BreakerShape(Shape):
    """When a failing model is left alone, and for how long (seconds). 0 failures: never."""

    failures: Count = 3
    window_s: Seconds = 60.0
    cooldown_s: Seconds = 30.0


class PolicyShape(Shape):
    """What is tried again, what moves on, and when a call gives up."""

    transient_statuses: list[int] | None = None
    retry_limit: Count | None = None
    backoff_sec: Number | None = None
    per_status_backoff: dict[int, Number] | None = None
    per_status_retry: dict[int, Count] | None = None
    max_total_attempts: AtLeastOne | None = None
    max_total_wait_sec: Number | None = None
    deadline_s: Seconds | None = None
    fall_back_on: list[ErrorKind] | None = None
    on_content_filter: Literal["fail", "fallback"] | None = None
    on_refusal: Literal["return", "fallback"] | None = None
    breaker: BreakerShape | None = None


class RetryPolicyShape(PolicyShape):
    """The part of the policy that a task changes; older files have further keys here, which only warn."""

    refuses_near_keys: ClassVar[bool] = False


class TaskShape(Shape):
    """A task in `llm_router.yaml`, `llm_task_overrides.yaml` or a channel/env override."""

    tier: StrictStr | None = None
    models: Names = []
    timeout: Seconds | None = None
    retry_policy: RetryPolicyShape | None = None
    defaults: Options = {}
    options: Options = {}
    system_prompt: StrictStr | None = None
    clean_output: Annotated[
        list[CleanUp], BeforeValidator(_as_list, json_schema_input_type=CleanUp | list[CleanUp])
    ] = []
    force_responses: StrictBool = False
    force_chat: StrictBool = False

    @model_validator(mode="after")
    def _one_wire(self) -> Self:
        forced_wire(self)
        return self


class BudgetsShape(Shape):
    """The most that may be spent, in USD; a call that could pass a limit is refused before it is sent."""

    call_usd: Number | None = None
    run_usd: Number | None = None
    routing_key_usd: Number | None = None


class RouterDefaultsShape(Shape):
    """Settings of the router as a whole."""

    unknown_task: Literal["standard", "error"] = "standard"
    log_path: StrictStr | None = None
    log_content: StrictBool = False
    log_rotate_mb: MebiBytes | None = None
    reload: StrictBool = False
    budgets: BudgetsShape = BudgetsShape()
