"""Inspect's GenerateConfig as the parameters of a call, and what of it has no place there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inspect_ai.model import GenerateConfig, ResponseSchema
from inspect_ai.tool import ToolChoice, ToolFunction, ToolInfo

from llmbench.messages import Adjustment

#: Fields that go on under our name; the guard of the model that answers has the last word.
_SENT: Final[Mapping[str, str]] = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_seqs": "stop",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "verbosity": "verbosity",
    "extra_body": "extra_body",
}
#: Fields that Inspect itself acts on, before or around a call.
_INSPECTS_OWN: Final = frozenset(
    {"max_retries", "attempt_timeout", "max_connections", "adaptive_connections", "system_message"}
    | {"max_tool_output", "reasoning_history", "fail_on_refusal", "cache"}
)
#: Fields that are read here by name.
_READ_HERE: Final = frozenset({"timeout", "reasoning_effort", "reasoning_tokens", "response_schema"})
_NO_PLACE: Final = "llmbench has no such parameter; where the host takes one, give it by extra_body"
#: Why a field is left out, where there is more to say.
_REASONS: Final[Mapping[str, str]] = {
    "extra_headers": "headers of a provider stand in llm_router.yaml",
    "fallback_models": "the tier's candidates are the fallback",
    "num_choices": "a call has one answer; use epochs",
    "batch": "calls are sent one by one",
    "stream_idle_timeout": "calls are not streamed; a provider's timeouts stand in llm_router.yaml",
    "modalities": "text tiers answer in text",
}
#: Fields whose value may be a secret.
_HIDDEN: Final = frozenset({"extra_headers"})
_SWITCHED_OFF: Final[Mapping[str, Any]] = {"batch": False, "num_choices": 1, "logprobs": False}


@dataclass(frozen=True, slots=True)
class Parameters:
    """Arguments of `LLMClient.acall`, and the fields of Inspect's config that are not among them."""

    arguments: Mapping[str, Any]
    adjustments: tuple[Adjustment, ...]


def parameters_of(
    config: GenerateConfig,
    tools: Sequence[ToolInfo] = (),
    tool_choice: ToolChoice = "auto",
    *,
    deadline_s: float | None = None,
) -> Parameters:
    """The parameters of a call.

    Args:
        config: what Inspect asks for; a field that is None asks for nothing.
        tools: the functions that the model may call.
        tool_choice: which of them it must call.
        deadline_s: the longest that the call may take, in seconds; a shorter `config.timeout` holds.
    """
    given = config.model_dump(exclude_none=True)
    arguments: dict[str, Any] = {ours: given[name] for name, ours in _SENT.items() if name in given}
    deadlines = [limit for limit in (deadline_s, given.get("timeout")) if limit is not None]
    if deadlines:
        arguments["timeout"] = min(deadlines)
    if config.response_schema is not None:
        arguments["response_format"] = _response_format(config.response_schema)
    if tools:
        arguments["tools"] = [_tool(tool) for tool in tools]
        arguments["tool_choice"] = _tool_choice(tool_choice)
    left_out = [name for name in given if name not in {*_SENT, *_INSPECTS_OWN, *_READ_HERE}]
    changes = [
        Adjustment(
            name,
            "dropped",
            "(not shown)" if name in _HIDDEN else given[name],
            None,
            _REASONS.get(name, _NO_PLACE),
        )
        for name in left_out
        if _SWITCHED_OFF.get(name) != given[name]
    ]
    return Parameters({**arguments, **_reasoning(config, changes)}, tuple(changes))


def _reasoning(config: GenerateConfig, changes: list[Adjustment]) -> dict[str, Any]:
    """How much the model shall think: the level, else the budget in tokens."""
    level, budget = config.reasoning_effort, config.reasoning_tokens
    if level is None:
        return {} if budget is None else {"reasoning": budget}
    if budget is not None:
        rule = "reasoning_effort says otherwise"
        changes.append(Adjustment("reasoning_tokens", "dropped", budget, level, rule))
    return {"reasoning": level}


def _response_format(asked: ResponseSchema) -> dict[str, Any]:
    schema = asked.json_schema.model_dump(exclude_none=True)
    inner: dict[str, Any] = {"name": asked.name, "schema": schema}
    if asked.description:
        inner["schema"] = {"description": asked.description, **schema}
    if asked.strict is not None:
        inner["strict"] = asked.strict
    return {"type": "json_schema", "json_schema": inner}


def _tool(tool: ToolInfo) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters.model_dump(exclude_none=True),
    }
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> Any:
    if isinstance(choice, ToolFunction):
        return {"type": "function", "function": {"name": choice.name}}
    return {"auto": "auto", "any": "required", "none": "none"}[choice]
