"""Answers of the router as Inspect's ModelOutput. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    ModelFallback,
    ModelOutput,
    ModelUsage,
    StopReason,
)

from llmbench.errors import ErrorKind, FallbackExhausted, RouteError
from llmbench.interop.inspect_messages import RAW_CALLS, tool_call
from llmbench.messages import Adjustment, Attempt, FinishReason, Response, Usage

#: The key of ModelOutput.metadata under which everything of ours stands.
METADATA: Final = "llmbench"

_STOPS: Final[Mapping[FinishReason, StopReason]] = {
    "stop": "stop",
    "length": "max_tokens",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "error": "unknown",
    "empty": "unknown",
}
#: Failures of the model itself, which a scorer should see, and the stop reason that tells them.
_ANSWERS: Final[Mapping[ErrorKind, StopReason]] = {
    "context_length": "model_length",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "truncated": "max_tokens",
    "invalid_output": "stop",
    "empty": "unknown",
}
_FACTS: Final = (
    *(
        "call_id",
        "tier",
        "model",
        "model_id",
        "model_version",
        "provider",
        "reason",
        "cost_usd",
        "cost_source",
    ),
    *("latency_ms", "queued_ms", "finish_reason", "request_id"),
)


def as_output(response: Response, changes: Sequence[Adjustment] = ()) -> ModelOutput:
    """An answer, with what it cost and how it came in the metadata.

    Args:
        response: the answer.
        changes: what of Inspect's call was not sent, besides what the guard of the model changed.
    """
    message = ChatMessageAssistant(
        content=response.text,
        model=response.model,
        source="generate",
        tool_calls=[tool_call(call) for call in response.tool_calls] or None,
        metadata={RAW_CALLS: [dict(call) for call in response.tool_calls]} if response.tool_calls else None,
    )
    chain = response.fallback_chain
    is_fallback = len(chain) > 1
    return ModelOutput(
        model=response.model,
        choices=[ChatCompletionChoice(message=message, stop_reason=_STOPS[response.finish_reason])],
        usage=_usage(response.usage, response.cost_usd),
        input_context_tokens=response.usage.input_tokens,
        fallback=ModelFallback(model=chain[0], fallback_model=response.model) if is_fallback else None,
        time=response.latency_ms / 1000,
        metadata={METADATA: _facts(response, changes)},
        response_id=response.request_id,
    )


def as_answer(name: str, error: FallbackExhausted, changes: Sequence[Adjustment] = ()) -> ModelOutput | None:
    """A failure that is the model's own as an output; None for every other, which is an error.

    Args:
        name: the model's name at Inspect.
        error: what every attempt met.
        changes: as `as_output`.
    """
    stop = _ANSWERS.get(error.kind)
    if stop is None:
        return None
    attempts = [attempt for attempt in error.attempts if isinstance(attempt, Attempt)]
    last = attempts[-1] if attempts else None
    facts: dict[str, Any] = {
        "call_id": error.call_id,
        "error_kind": error.kind,
        "fallback_chain": list(dict.fromkeys(attempt.model for attempt in attempts)),
        "adjustments": [change.as_dict() for change in (*changes, *_adjustments(error))],
    }
    if last is not None:
        facts |= {"model": last.model, "cost_usd": last.cost_usd, "cost_source": last.cost_source}
    output = ModelOutput.from_content(
        last.model if last is not None else name,
        (last.output if last is not None else None) or error.output or "",
        stop_reason=stop,
        error=f"llmbench {error.kind}: {error.message}",
    )
    usage = None if last is None or last.usage is None else _usage(last.usage, last.cost_usd)
    return output.model_copy(update={"usage": usage, "metadata": {METADATA: facts}})


def as_too_long(name: str, error: RouteError, changes: Sequence[Adjustment] = ()) -> ModelOutput | None:
    """A prompt that fits no candidate's context as an output; None where anything else is wrong.

    Nothing was sent: it was counted beforehand.

    Args:
        name: the model's name at Inspect.
        error: why no candidate is left.
        changes: as `as_output`.
    """
    if set(error.causes) != {"context"}:
        return None
    facts = {
        "call_id": None,
        "error_kind": error.kind,
        "fallback_chain": [],
        "adjustments": [change.as_dict() for change in changes],
    }
    said = f"llmbench {error.kind}: {error}"
    output = ModelOutput.from_content(name, "", stop_reason=_ANSWERS[error.kind], error=said)
    return output.model_copy(update={"metadata": {METADATA: facts}})


def _adjustments(error: FallbackExhausted) -> list[Adjustment]:
    return [change for change in error.adjustments if isinstance(change, Adjustment)]


def _usage(usage: Usage, cost_usd: float | None) -> ModelUsage:
    """Inspect counts cached tokens apart from the input, ours are part of it."""
    return ModelUsage(
        input_tokens=max(usage.input_tokens - usage.cached_tokens, 0),
        output_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        input_tokens_cache_read=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        total_cost=cost_usd,
    )


def _facts(response: Response, changes: Sequence[Adjustment]) -> dict[str, Any]:
    return {name: getattr(response, name) for name in _FACTS} | {
        "task": response.route.task,
        "fallback_chain": list(response.fallback_chain),
        "adjustments": [change.as_dict() for change in (*changes, *response.adjustments)],
    }
