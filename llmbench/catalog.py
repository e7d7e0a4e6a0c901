"""The catalog as data: hosts, models, what they can do, what they cost, and the fallback policy.

Everything here is frozen and knows nothing of files; `llmbench.config` builds it from YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from llmbench.errors import ErrorKind

Modality = Literal["text", "image", "speech"]
Wire = Literal["chat", "responses", "gemini", "images", "speech", "workflow"]
ResponseFormatSupport = Literal["json_schema", "json_object", "llguidance", "prompt", "none"]

#: Canonical names of a call's parameters (contract, section 3), and the spellings accepted for them.
PARAMETERS: Final[tuple[str, ...]] = (
    "max_tokens",
    "reasoning",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "tools",
    "tool_choice",
    "verbosity",
    "timeout",
)
PARAMETER_ALIASES: Final[Mapping[str, str]] = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "reasoning_effort": "reasoning",
    "thinking_level": "reasoning",
    "thinkingLevel": "reasoning",
}

#: The least and the most of parameters that every wire documents so; a host that takes more gets it by
#: `extra_body`. Source: the references of Chat Completions, Responses and Gemini's generateContent.
PARAMETER_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}

#: Words for how much a model thinks, the least first. A model may have words of its own besides.
REASONING_LEVELS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

#: Kinds that never move a call to the next candidate: the same request would fail there too, or the
#: caller must decide. Contract: the default of `fall_back_on` is every other kind.
NEVER_FALL_BACK: Final[frozenset[ErrorKind]] = frozenset(
    {"bad_request", "content_filter", "refusal", "cancelled"}
)
#: Kinds that never try the same candidate again, whatever the status: the same request would end the same.
NEVER_RETRY: Final[frozenset[ErrorKind]] = NEVER_FALL_BACK | {"unsupported_param", "context_length", "quota"}


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens, or per the unit in the name; None means not priced by that unit."""

    input: float | None = None
    cached_input: float | None = None
    output: float | None = None
    reasoning: float | None = None
    per_image: float | None = None
    per_minute: float | None = None
    per_million_chars: float | None = None
    per_core_hour: float | None = None
    as_of: str | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do. Token limits are None when unknown."""

    mode: Modality = "text"
    reasoning: bool = False
    reasoning_levels: tuple[str, ...] = ()
    structured_outputs: bool = False
    json_mode: bool = False
    vision: bool = False
    tools: bool = False
    context_tokens: int | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ParamRules:
    """How a model family takes parameters on its wire; data of the registry, never guessed from a name.

    `min_max_tokens` is the lowest output limit that the API takes, in tokens.
    """

    max_tokens_key: str = "max_tokens"
    reasoning_key: str | None = None
    response_format_support: ResponseFormatSupport = "prompt"
    allow_temperature: bool = True
    allow_top_p: bool = True
    allow_stop: bool = True
    allow_seed: bool = True
    allow_penalties: bool = True
    allow_top_k: bool = True
    allow_verbosity: bool = True
    min_max_tokens: int = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What a provider allows. None means not limited here."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection, for the first token and between two pieces of a reply."""

    connect_s: float = 10.0
    first_token_s: float | None = None
    stall_s: float | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One provider's host. Keys are named here by environment variable, never held.

    `managed` is "embedded" for local model servers that llmbench starts itself.
    """

    name: str
    type: str = "openai_compatible"
    base_url: str | None = None
    env_api_keys: tuple[str, ...] = ()
    env_endpoint: str | None = None
    api_version: str | None = None
    auth: Literal["key", "bearer", "entra", "none"] = "bearer"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    allow_hosts: tuple[str, ...] = ()
    managed: Literal["embedded"] | None = None

    def can_speak(self, wire: Wire) -> bool:
        """Whether one model of this host can be asked in either of the dialects chat and responses.

        Azure, OpenAI and OpenAI-compatible servers such as llama.cpp have both paths. OpenRouter has
        chat for all of its models, Gemini its own dialect, and the local servers are spoken to in chat alone:
        llama.cpp enforces no schema on the other path.
        """
        if self.managed == "embedded" or self.type == "openrouter":
            return wire == "chat"
        return wire in ("chat", "responses") and self.type in ("azure", "openai", "openai_compatible")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model as one provider serves it. `model_id` is the provider's own name or the deployment.

    `other_params` holds the rules on the other of the wires chat and responses, for a model that its
    provider serves on both; None for any other wire. `media` is what an image or speech model takes, by the
    keys of its file: what is not there is unknown.
    """

    key: str
    provider: str
    model_id: str
    wire: Wire = "chat"
    family: str | None = None
    api_version: str | None = None
    capabilities: Capabilities = field(default_factory=Capabilities)
    params: ParamRules = field(default_factory=ParamRules)
    price: Price | None = None
    cost_tier: str | None = None
    default_max_tokens: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    fallback_model: str | None = None
    expires: str | None = None
    other_params: ParamRules | None = None
    media: Mapping[str, Any] = field(default_factory=dict)

    def on_wire(self, wire: Wire) -> ModelSpec:
        """The same model on the other of the wires chat and responses; itself where it has no other."""
        if wire == self.wire or self.other_params is None:
            return self
        return replace(self, wire=wire, params=self.other_params, other_params=self.params)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a model must be able to do to be used as a tier's candidate. None asks for nothing."""

    min_context_tokens: int | None = None
    structured_outputs: bool | None = None
    reasoning: bool | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One entry of a tier's ordered list."""

    model: str
    condition: Condition = field(default_factory=Condition)


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a failing model is left alone: `failures` in a row open its circuit, no `window_s` seconds apart.

    An open circuit costs no request for `cooldown_s` seconds; then one call tries the model again. It is
    never what makes a call fail: a call that has nothing else left to try tries the model all the same.
    `failures` is also the number of calls that may find out at the same time whether a model answers at all.
    """

    failures: int = 3
    window_s: float = 60.0
    cooldown_s: float = 30.0


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """The most that may be spent, in USD: on one call, in one run, for one routing key. None is no limit."""

    call_usd: float | None = None
    run_usd: float | None = None
    routing_key_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """The users' fallback policy. Seconds throughout.

    A *transient* status waits and tries the same candidate again, `per_status_retry` times (once when
    it names no number) after `per_status_backoff` seconds, or after what the provider asked for; a kind in
    `fall_back_on` moves to the next candidate. `retry_limit` is the number of candidates to try, 0 for all
    of them; `max_total_attempts` counts requests and `max_total_wait_sec` the seconds between them, both
    over the whole call. `breaker` is None when no circuit is ever opened.
    """

    transient_statuses: frozenset[int] = frozenset({408, 409, 429, 500, 502, 503, 504, 524, 529})
    retry_limit: int = 0
    backoff_sec: float = 1.0
    per_status_backoff: Mapping[int, float] = field(default_factory=dict)
    per_status_retry: Mapping[int, int] = field(default_factory=dict)
    max_total_attempts: int = 10
    max_total_wait_sec: float = 60.0
    deadline_s: float = 120.0
    fall_back_on: frozenset[ErrorKind] | None = None
    on_content_filter: Literal["fail", "fallback"] = "fail"
    on_refusal: Literal["return", "fallback"] = "return"
    breaker: Breaker | None = field(default_factory=Breaker)

    def falls_back_on(self, kind: ErrorKind) -> bool:
        """Whether a failure of this kind moves the call to the next candidate."""
        if kind == "content_filter":
            return self.on_content_filter == "fallback"
        if kind == "refusal":
            return self.on_refusal == "fallback"
        if self.fall_back_on is not None:
            return kind in self.fall_back_on
        return kind not in NEVER_FALL_BACK

    def retries(self, kind: ErrorKind, status_code: int | None) -> int:
        """How often the same candidate is tried again after this status."""
        if status_code is None or status_code not in self.transient_statuses or kind in NEVER_RETRY:
            return 0
        return self.per_status_retry.get(status_code, 1)

    def backoff_s(self, status_code: int | None) -> float:
        """The wait before trying the same candidate again, when the provider named none."""
        if status_code is None:
            return self.backoff_sec
        return self.per_status_backoff.get(status_code, self.backoff_sec)
