"""From checked file sections to the catalog's values: defaults filled in, spellings unified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from llmbench.catalog import (
    Breaker,
    BudgetLimits,
    Candidate,
    Capabilities,
    Condition,
    Endpoint,
    Limits,
    Modality,
    ModelSpec,
    ParamRules,
    Policy,
    Price,
    ResponseFormatSupport,
    Timeouts,
    Wire,
)
from llmbench.config.files import OverrideShape
from llmbench.config.model import Override, TaskRule
from llmbench.config.shapes import (
    BudgetsShape,
    CandidateShape,
    ModelShape,
    PolicyShape,
    ProviderShape,
    TaskShape,
    forced_wire,
)

_KNOWN_TYPES: Final = frozenset({"azure", "openai", "openrouter", "gemini"})
_BASE_URLS: Final[Mapping[str, str]] = {
    "openai": "https://api.openai.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "gemini": "https://generativelanguage.googleapis.com",
}
_KEY_VARIABLES: Final[Mapping[str, str]] = {
    "azure": "AZURE_OPENAI_API_KEY",
    "openai": "OPENAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY",
    "gemini": "GEMINI_API_KEY",
}
#: What a wire's API takes, where it is not as Chat Completions: the rules of a model that names none.
#: Source: the Responses API has no field for stop, seed, penalties and top_k, and refuses
#: max_output_tokens under 16.
#: Gemini has no field for verbosity; most of its models refuse penalties, and whether one takes
#: thinkingLevel or thinkingBudget only its own entry can say.
_WIRE_RULES: Final[Mapping[Wire, ParamRules]] = {
    "responses": ParamRules(
        max_tokens_key="max_output_tokens",
        reasoning_key="reasoning",
        allow_stop=False,
        allow_seed=False,
        allow_penalties=False,
        allow_top_k=False,
        min_max_tokens=16,
    ),
    "gemini": ParamRules(max_tokens_key="maxOutputTokens", allow_penalties=False, allow_verbosity=False),
}
#: Chat Completions as OpenAI and Azure speak it has no field top_k; other hosts of the dialect have.
_NO_TOP_K: Final = frozenset({"azure", "openai"})
#: The two wires that one model can be asked on.
_OTHER_WIRE: Final[Mapping[Wire, Wire]] = {"chat": "responses", "responses": "chat"}


def build_endpoint(name: str, shape: ProviderShape) -> Endpoint:
    """One provider section. A provider named like a known type is of that type."""
    kind = shape.type or (name if name in _KNOWN_TYPES and shape.managed is None else "openai_compatible")
    keys = [*([shape.env_api_key] if shape.env_api_key else []), *shape.env_api_keys]
    if not keys and kind in _KEY_VARIABLES:
        keys = [_KEY_VARIABLES[kind]]
    endpoint_variable = shape.env_endpoint or ("AZURE_OPENAI_ENDPOINT" if kind == "azure" else None)
    auth: Literal["key", "bearer", "entra", "none"] = shape.auth or (
        "key" if kind in ("azure", "gemini") else "bearer"
    )
    return Endpoint(
        name=name,
        type=kind,
        base_url=shape.base_url or _BASE_URLS.get(kind),
        env_api_keys=tuple(keys),
        env_endpoint=endpoint_variable,
        api_version=shape.api_version or shape.default_api_version,
        auth=auth,
        headers=shape.headers,
        limits=Limits(
            shape.limits.requests_per_minute, shape.limits.tokens_per_minute, shape.limits.concurrency
        ),
        timeouts=Timeouts(shape.timeouts.connect_s, shape.timeouts.first_token_s, shape.timeouts.stall_s),
        allow_hosts=tuple(shape.allow_hosts),
        managed=shape.managed,
    )


def build_model(key: str, shape: ModelShape, endpoint: Endpoint | None, fallback: str | None) -> ModelSpec:
    """One model of the registry. A model without an id is served under its key."""
    price = shape.price
    wire = _wire(shape, endpoint)
    kind = "openai_compatible" if endpoint is None else endpoint.type
    other_wire = _OTHER_WIRE.get(wire)
    if other_wire is not None and endpoint is not None and not endpoint.can_speak(other_wire):
        other_wire = None
    return ModelSpec(
        key=key,
        provider=shape.provider,
        model_id=shape.deployment or shape.model_id or key,
        wire=wire,
        family=shape.family,
        api_version=shape.api_version,
        capabilities=_capabilities(shape),
        params=_params(shape, wire, kind),
        price=None if price is None else Price(**price.model_dump(include=set(type(price).model_fields))),
        cost_tier=shape.cost_tier,
        default_max_tokens=shape.default_max_completion_tokens,
        defaults=shape.defaults,
        fallback_model=shape.fallback_model or fallback,
        expires=shape.expires,
        other_params=None if other_wire is None else _params(_for_other_wire(shape), other_wire, kind),
    )


def _for_other_wire(shape: ModelShape) -> ModelShape:
    """The section without what it says of its own wire: names of fields, and fields that this wire has.

    A field that the model refuses on one wire it refuses on the other.
    """
    own = {"max_tokens_key": None, "reasoning_key": None, "min_max_tokens": None}
    allowed = {
        name: None
        for name in type(shape.params).model_fields
        if name.startswith("allow_") and getattr(shape.params, name)
    }
    changes: dict[str, Any] = {"params": shape.params.model_copy(update=own | allowed)}
    if shape.allow_stop:
        changes["allow_stop"] = None
    return shape.model_copy(update=changes)


def _wire(shape: ModelShape, endpoint: Endpoint | None) -> Wire:
    stated = shape.wire or forced_wire(shape)
    if stated is not None:
        return stated
    mode = _mode(shape)
    if mode != "text":
        return "images" if mode == "image" else "speech"
    if endpoint is not None and endpoint.type == "gemini":
        return "gemini"
    return "responses" if shape.use_responses_api else "chat"


def _mode(shape: ModelShape) -> Modality:
    """The modality: as written, else from the capability flags of an image or speech model."""
    given = shape.capabilities
    if given.mode is None:
        return "image" if given.image else "speech" if given.tts else "text"
    return "text" if given.mode == "chat" else given.mode


def _capabilities(shape: ModelShape) -> Capabilities:
    given = shape.capabilities
    return Capabilities(
        mode=_mode(shape),
        reasoning=given.reasoning or bool(given.reasoning_levels),
        reasoning_levels=tuple(given.reasoning_levels),
        structured_outputs=given.structured_outputs,
        json_mode=given.json_mode,
        vision=given.vision,
        tools=given.tools,
        context_tokens=given.context_tokens,
        max_output_tokens=given.max_completion_tokens or given.max_tokens,
    )


def _params(shape: ModelShape, wire: Wire, kind: str) -> ParamRules:
    given = shape.params
    basic = _WIRE_RULES.get(wire, ParamRules(allow_top_k=wire != "chat" or kind not in _NO_TOP_K))

    def first(*values: bool | None, default: bool) -> bool:
        return next((value for value in values if value is not None), default)

    support: ResponseFormatSupport = given.response_format_support or (
        "json_schema"
        if shape.capabilities.structured_outputs
        else "json_object"
        if shape.capabilities.json_mode
        else "prompt"
    )
    reasoning_key = given.reasoning_key
    if reasoning_key is None and first(shape.allow_reasoning_effort, default=_capabilities(shape).reasoning):
        reasoning_key = basic.reasoning_key if wire in _WIRE_RULES else "reasoning_effort"
    max_tokens_key = basic.max_tokens_key
    if wire not in _WIRE_RULES and shape.capabilities.max_completion_tokens:
        max_tokens_key = "max_completion_tokens"
    return ParamRules(
        max_tokens_key=given.max_tokens_key or max_tokens_key,
        reasoning_key=reasoning_key,
        response_format_support=support,
        allow_temperature=first(
            given.allow_temperature, shape.allow_temperature, default=basic.allow_temperature
        ),
        allow_top_p=first(given.allow_top_p, default=basic.allow_top_p),
        allow_stop=first(given.allow_stop, shape.allow_stop, default=basic.allow_stop),
        allow_seed=first(given.allow_seed, default=basic.allow_seed),
        allow_penalties=first(given.allow_penalties, default=basic.allow_penalties),
        allow_top_k=first(given.allow_top_k, default=basic.allow_top_k),
        allow_verbosity=first(given.allow_verbosity, default=basic.allow_verbosity),
        min_max_tokens=basic.min_max_tokens if given.min_max_tokens is None else given.min_max_tokens,
    )


def build_candidates(entries: Sequence[str | CandidateShape]) -> tuple[Candidate, ...]:
    """A tier's ordered list; an entry is a model name or a model with a condition."""
    return tuple(
        Candidate(entry)
        if isinstance(entry, str)
        else Candidate(
            entry.model, Condition(entry.min_context_tokens, entry.structured_outputs, entry.reasoning)
        )
        for entry in entries
    )


def build_task(shape: TaskShape) -> TaskRule:
    """A task's rule; `defaults` (router file) and `options` (overrides file) mean the same."""
    options: dict[str, Any] = {**shape.defaults, **shape.options}
    return TaskRule(
        tier=shape.tier,
        models=tuple(shape.models),
        options=options,
        system_prompt=shape.system_prompt,
        timeout_s=shape.timeout,
        policy={} if shape.retry_policy is None else policy_fields(shape.retry_policy),
        clean_output=tuple(shape.clean_output),
        force_wire=forced_wire(shape),
    )


def build_override(shape: OverrideShape) -> Override:
    """A channel's or environment's changes."""
    return Override(
        tasks={name: build_task(task) for name, task in shape.tasks.items()},
        tiers={name: build_candidates(entries) for name, entries in shape.tiers.items()},
    )


def build_budgets(shape: BudgetsShape) -> BudgetLimits:
    """The spending limits."""
    return BudgetLimits(shape.call_usd, shape.run_usd, shape.routing_key_usd)


def build_policy(shape: PolicyShape) -> Policy:
    """The fallback policy; what the file leaves out keeps the default."""
    return Policy(**policy_fields(shape))


def policy_fields(shape: PolicyShape) -> dict[str, Any]:
    """The fields of Policy that a section sets."""
    fields: dict[str, Any] = {
        name: value
        for name in PolicyShape.model_fields
        if name != "breaker" and (value := getattr(shape, name)) is not None
    }
    for name in ("transient_statuses", "fall_back_on"):
        if name in fields:
            fields[name] = frozenset(fields[name])
    if shape.breaker is not None:
        given = shape.breaker
        never = given.failures == 0
        fields["breaker"] = None if never else Breaker(given.failures, given.window_s, given.cooldown_s)
    return fields
