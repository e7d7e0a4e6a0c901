"""The shape of every section of the config files, as pydantic models; `files` joins them to whole files.

Extra keys are collected, not refused here: `llmbench.config.load` names them with file, line and the
nearest known key. The descriptions stand in the JSON Schemas and in docs/configuration.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
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

from llmbench.catalog import ResponseFormatSupport, Wire
from llmbench.config.model import CleanUp, ForcedWire
from llmbench.config.values import (
    AtLeastOne,
    Count,
    DatedText,
    HeaderText,
    MebiBytes,
    Names,
    Options,
    Seconds,
    SecondsFromZero,
    TokenCount,
    Unit,
    Usd,
    UsdPerMillion,
    VariableName,
    VariableNames,
    as_list,
)
from llmbench.errors import ErrorKind


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
    """What one process asks of a provider at most; a call waits for its place."""

    requests_per_minute: AtLeastOne | None = Field(None, description="Requests a minute.")
    tokens_per_minute: AtLeastOne | None = Field(None, description="Tokens a minute, input and output.")
    concurrency: AtLeastOne | None = Field(None, description="Requests at once.")


class TimeoutsShape(Shape):
    """Waits within a call; the call as a whole has its deadline."""

    connect_s: SecondsFromZero = Field(10.0, description="Longest wait for a connection.")
    first_token_s: SecondsFromZero | None = Field(
        None, description="Longest wait for the first part of a streamed answer."
    )
    stall_s: SecondsFromZero | None = Field(None, description="Longest silence within a stream.")


class ProviderShape(Shape):
    """One provider: a host and the names of the environment variables that hold its keys."""

    type: Literal["azure", "openai", "openrouter", "gemini", "openai_compatible"] | None = Field(
        None, description="The kind of host. Without it: the section's own name, else openai_compatible."
    )
    base_url: StrictStr | None = Field(
        None,
        description="Address of the API: https, or http on this machine. Known types have their own.",
    )
    env_api_key: VariableName | None = Field(
        None, description="Environment variable that holds the key. Known types have one of their own."
    )
    env_api_keys: VariableNames = Field(
        [],
        description="Further keys: one that is refused or out of quota rests, the next is used.",
    )
    env_endpoint: VariableName | None = Field(
        None, description="Environment variable that holds the address; for Azure AZURE_OPENAI_ENDPOINT."
    )
    api_version: DatedText | None = Field(
        None, description="Azure: a dated API instead of the v1 paths. Gemini: v1 (default) or v1beta."
    )
    default_api_version: DatedText | None = Field(None, description="The same; api_version wins over it.")
    auth: Literal["key", "bearer", "entra"] | None = Field(
        None,
        description="How the key is sent: key (Azure, Gemini), bearer (others); entra: tokens in its place.",
    )
    headers: dict[HeaderText, HeaderText] = Field({}, description="Further headers of each request.")
    limits: LimitsShape = Field(LimitsShape(), description="What one process asks of it at most.")
    timeouts: TimeoutsShape = Field(TimeoutsShape(), description="Waits within a call.")
    allow_hosts: Names = Field(
        [],
        description="Further host names that may be asked, such as a gateway of your own.",
    )
    managed: Literal["embedded"] | None = Field(
        None, description="embedded: model servers on this machine that llmbench starts and stops. No key."
    )


class CapabilitiesShape(Shape):
    """What a model can do; `mode` is its modality. `supports_vision` means the same as `vision`."""

    open_prefixes: ClassVar[tuple[str, ...]] = ("x-", "supports_")

    mode: Literal["text", "chat", "image", "speech"] | None = Field(
        None,
        description="Its modality (chat means text). Without it: by image and tts, else text.",
    )
    reasoning: StrictBool = Field(default=False, description="It can think before it answers.")
    reasoning_levels: Names = Field(
        [], description="The levels it takes, such as [low, high]. Others are moved to the nearest, and said."
    )
    structured_outputs: StrictBool = Field(default=False, description="It holds to a JSON Schema by itself.")
    json_mode: StrictBool = Field(default=False, description="It answers in JSON when told so.")
    vision: StrictBool = Field(default=False, description="It takes pictures in a prompt.")
    tools: StrictBool = Field(default=False, description="It can call functions.")
    image: StrictBool = Field(default=False, description="It makes pictures.")
    tts: StrictBool = Field(default=False, description="It speaks.")
    context_tokens: TokenCount | None = Field(
        None, description="Its window, input and output together; calls that do not fit go elsewhere."
    )
    max_tokens: TokenCount | None = Field(None, description="Its longest answer.")
    max_completion_tokens: TokenCount | None = Field(
        None, description="The same, where the output limit is sent under this name."
    )

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
    """How a model takes parameters on its wire. What is not written follows from the wire."""

    max_tokens_key: StrictStr | None = Field(None, description="Name of the output limit in the request.")
    reasoning_key: StrictStr | None = Field(
        None,
        description="Field for the level of thought, such as reasoning_effort or thinkingLevel.",
    )
    response_format_support: ResponseFormatSupport | None = Field(
        None,
        description="How it is held to a schema; llguidance is a grammar, prompt asks in words. Else "
        "by structured_outputs and json_mode, else prompt.",
    )
    allow_temperature: StrictBool | None = Field(None, description="false: left out, and said.")
    allow_top_p: StrictBool | None = Field(None, description="false: left out, and said.")
    allow_stop: StrictBool | None = Field(None, description="false: left out, and said.")
    allow_seed: StrictBool | None = Field(None, description="false: left out, and said.")
    allow_penalties: StrictBool | None = Field(None, description="false: both left out, and said.")
    allow_top_k: StrictBool | None = Field(None, description="false: left out, and said.")
    allow_verbosity: StrictBool | None = Field(None, description="false: left out, and said.")
    min_max_tokens: Annotated[AtLeastOne, Unit("tokens")] | None = Field(
        None, description="The lowest output limit it takes."
    )


class PriceShape(Shape):
    """A price written here wins over the list prices; a cost that the provider reports wins over both."""

    input: UsdPerMillion | None = Field(None, description="Input.")
    cached_input: UsdPerMillion | None = Field(None, description="Input that came from the provider's cache.")
    output: UsdPerMillion | None = Field(None, description="Output.")
    reasoning: UsdPerMillion | None = Field(None, description="Thought, where it costs other than output.")
    per_image: Usd | None = Field(None, description="One picture.")
    per_minute: Usd | None = Field(None, description="One minute of audio.")
    per_million_chars: Usd | None = Field(None, description="One million characters to be spoken.")
    per_core_hour: Usd | None = Field(None, description="One hour of a core, for local models.")
    as_of: DatedText | None = Field(None, description="Day of the price, YYYY-MM-DD.")


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

    provider: StrictStr = Field(description="The provider section that serves it.")
    model_id: StrictStr | None = Field(
        None,
        validation_alias=AliasChoices("model_name", "model"),
        description="The provider's name of the model. Without it and a deployment: the model key.",
    )
    deployment: StrictStr | None = Field(None, description="Azure: the name that you gave the deployment.")
    wire: Wire | None = Field(None, description="The API. Without it: by provider and mode, else chat.")
    use_responses_api: StrictBool = Field(
        default=False, description="true: Responses, where no wire is named."
    )
    force_responses: StrictBool = Field(default=False, description="true: always Responses.")
    force_chat: StrictBool = Field(default=False, description="true: always chat.")
    family: StrictStr | None = Field(
        None, description="The model behind a deployment: by it Azure's prices are found, and kin of a judge."
    )
    api_version: DatedText | None = Field(None, description="As in the provider section, for this model.")
    allow_temperature: StrictBool | None = Field(None, description="As in params, which wins.")
    allow_stop: StrictBool | None = Field(None, description="As in params, which wins.")
    allow_reasoning_effort: StrictBool | None = Field(None, description="false: no level of thought is sent.")
    default_max_completion_tokens: TokenCount | None = Field(
        None, description="Output limit of calls that name none."
    )
    capabilities: CapabilitiesShape = Field(CapabilitiesShape(), description="What it can do.")
    params: ParamsShape = Field(ParamsShape(), description="How it takes parameters.")
    price: PriceShape | None = Field(None, description="What it costs.")
    cost_tier: StrictStr | None = Field(None, description="Your own word; nothing reads it.")
    expires: DatedText | None = Field(
        None, description="Day on which the provider ends it, YYYY-MM-DD; `llmbench check` warns."
    )
    defaults: Options = Field({}, description="Parameters of calls that name none.")
    fallback_model: StrictStr | None = Field(None, description="A model to try after all others.")

    @model_validator(mode="after")
    def _one_wire(self) -> Self:
        forced = forced_wire(self)
        if forced is not None and self.wire not in (None, forced):
            message = "force_{wire} says otherwise than the key wire; keep one"
            raise PydanticCustomError("contradiction", message, {"wire": forced})
        return self


class CandidateShape(Shape):
    """A tier's candidate with a condition."""

    model: StrictStr = Field(description="Model key, operator code, or an id that one model alone has.")
    min_context_tokens: TokenCount | None = Field(None, description="Only with a window so large.")
    structured_outputs: StrictBool | None = Field(None, description="true: only if it has them.")
    reasoning: StrictBool | None = Field(None, description="true: only if it can think.")


CandidateList = list[StrictStr | CandidateShape]


class BreakerShape(Shape):
    """When a failing model is left alone, and for how long."""

    failures: Count = Field(3, description="Failures in a row that open the circuit; 0 switches it off.")
    window_s: Seconds = Field(60.0, description="Failures further apart than this do not count as in a row.")
    cooldown_s: Seconds = Field(30.0, description="How long the model is left alone.")


class PolicyShape(Shape):
    """What is tried again, what moves on, and when a call gives up."""

    transient_statuses: list[int] | None = Field(
        None, description="HTTP statuses after which the same candidate is tried again."
    )
    retry_limit: Count | None = Field(None, description="How many candidates to try; 0 = all.")
    backoff_sec: SecondsFromZero | None = Field(
        None, description="Wait before the same candidate is tried again; a host's own Retry-After wins."
    )
    per_status_backoff: dict[int, SecondsFromZero] | None = Field(None, description="The same, by status.")
    per_status_retry: dict[int, Count] | None = Field(
        None, description="How often the same candidate is tried again, by status; 1 where none is named."
    )
    max_total_attempts: AtLeastOne | None = Field(None, description="Requests of the whole call.")
    max_total_wait_sec: SecondsFromZero | None = Field(None, description="Waits of the whole call, together.")
    deadline_s: Seconds | None = Field(None, description="Wall clock of the whole call.")
    fall_back_on: list[ErrorKind] | None = Field(
        None, description="Error kinds that move a call to the next candidate (errors.md)."
    )
    on_content_filter: Literal["fail", "fallback"] | None = Field(
        None, description="What a content filter's refusal does."
    )
    on_refusal: Literal["return", "fallback"] | None = Field(
        None, description="return: a model's refusal is the answer."
    )
    breaker: BreakerShape | None = Field(None, description="When a failing model is left alone.")


class RetryPolicyShape(PolicyShape):
    """The part of the policy that a task changes; older files have further keys here, which only warn."""

    refuses_near_keys: ClassVar[bool] = False


class TaskShape(Shape):
    """A task in `llm_router.yaml`, `llm_task_overrides.yaml` or a channel/env override."""

    tier: StrictStr | None = Field(None, description="Its tier.")
    models: Names = Field([], description="Its own candidates, in order, instead of the tier's.")
    timeout: Seconds | None = Field(None, description="Deadline of its calls.")
    retry_policy: RetryPolicyShape | None = Field(None, description="What it changes of the fallback policy.")
    defaults: Options = Field({}, description="Parameters of calls that name none.")
    options: Options = Field({}, description="The same; wins over defaults.")
    system_prompt: StrictStr | None = Field(None, description="System text of calls that bring none.")
    clean_output: Annotated[
        list[CleanUp], BeforeValidator(as_list, json_schema_input_type=CleanUp | list[CleanUp])
    ] = Field(
        [],
        description="Clean-up of free text: a fence around it off, a text out of a lone JSON object.",
    )
    force_responses: StrictBool = Field(default=False, description="true: always by Responses.")
    force_chat: StrictBool = Field(default=False, description="true: always by chat.")

    @model_validator(mode="after")
    def _one_wire(self) -> Self:
        forced_wire(self)
        return self


class BudgetsShape(Shape):
    """The most that may be spent; a call that could pass a limit is refused before it is sent."""

    call_usd: Usd | None = Field(None, description="One call, all its attempts.")
    run_usd: Usd | None = Field(None, description="All calls with one run_id, in this process.")
    routing_key_usd: Usd | None = Field(None, description="All calls with one routing_key, in this process.")


class RouterDefaultsShape(Shape):
    """Settings of the router as a whole."""

    unknown_task: Literal["standard", "error"] = Field(
        "standard", description="Where a task goes that no file names: tier standard, or an error."
    )
    log_path: StrictStr | None = Field(
        None,
        description="The telemetry log, else workspaces/logs/llm_usage.jsonl. LLM_ROUTER_LOG_PATH wins.",
    )
    log_content: StrictBool = Field(default=False, description="true: prompts and replies stand in the log.")
    log_rotate_mb: MebiBytes | None = Field(None, description="Size at which the log is rotated.")
    reload: StrictBool = Field(default=False, description="true: changed files are taken up.")
    budgets: BudgetsShape = Field(BudgetsShape(), description="The most that may be spent.")
