"""What a call's end says, as fields of a ledger line: an answer, the model's failure, or our own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmbench.errors import ConfigError, ErrorKind, FallbackExhausted, ParamError, ProviderError, RouteError
from llmbench.messages import Adjustment, Attempt, Response

#: Our own throttling, accounts and interruptions: never a model's result.
_OURS: Final[frozenset[ErrorKind]] = frozenset(
    {"rate_limit", "circuit_open", "cancelled", "auth", "quota", "model_not_found"}
)
#: At a server that we run ourselves, a connection that fails is our failure too.
_OURS_WHEN_MANAGED: Final[frozenset[ErrorKind]] = frozenset({"connect"})
#: Raised before anything is sent.
_UNSENT: Final = (RouteError, ParamError, ConfigError)

_NO_CALL: Final[Mapping[str, Any]] = {
    "model_version": None,
    "error_kind": None,
    "error": None,
    "output": None,
    "finish_reason": None,
    "latency_ms": None,
    "queued_ms": None,
    "ttft_ms": None,
    **dict.fromkeys(("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")),
    "cost_usd": None,
    "cost_source": "unknown",
    "cpu_s": None,
    "load": None,
    "adjustments": [],
    "call_id": None,
    "calls": 0,
}
#: A call broken off by Ctrl-C, or because another lane cannot go on. It was sent once at most.
INTERRUPTED: Final[Mapping[str, Any]] = {
    **_NO_CALL,
    "status": "harness",
    "error_kind": "cancelled",
    "error": "the sweep was stopped before the answer came",
    "calls": 1,
}


def answer_facts(response: Response, version: str) -> dict[str, Any]:
    """An answer to be scored. `version` is the model's as known before the call."""
    return _attempt_facts(response.attempts, response.adjustments) | {
        "status": "ok",
        "output": response.text,
        "ttft_ms": response.ttft_ms,
        "call_id": response.call_id,
        "model_version": response.model_version or version,
    }


def failure_facts(
    error: FallbackExhausted, version: str, model_id: str, *, is_managed: bool
) -> dict[str, Any]:
    """A call that failed after its retries: the model's or its provider's failure, or our own (pending).

    Args:
        error: the failure.
        version: the model's version as known before the call; its id when nothing more is known, which
            would look like another version beside the answers that name theirs.
        model_id: the model's id at its provider.
        is_managed: whether we run the model's server ourselves.
    """
    last = error.exceptions[-1]
    kind = last.kind if isinstance(last, ProviderError) else error.kind
    ours = kind in _OURS or (is_managed and kind in _OURS_WHEN_MANAGED)
    attempts = tuple(attempt for attempt in error.attempts if isinstance(attempt, Attempt))
    changes = tuple(change for change in error.adjustments if isinstance(change, Adjustment))
    return _attempt_facts(attempts, changes) | {
        "status": "harness" if ours else "timeout" if kind == "timeout" else "error",
        "error_kind": kind,
        "error": str(last),
        "call_id": error.call_id,
        "model_version": None if version == model_id else version,
    }


def own_failure_facts(error: Exception) -> dict[str, Any]:
    """A call that our own code broke off. `calls` is at most 1: nobody can say whether it was sent."""
    return {
        **_NO_CALL,
        "status": "harness",
        "error": f"{type(error).__name__}: {error}",
        "calls": 0 if isinstance(error, _UNSENT) else 1,
    }


def _attempt_facts(attempts: tuple[Attempt, ...], adjustments: tuple[Adjustment, ...]) -> dict[str, Any]:
    """What the last attempt measured; `calls` counts every request, also one that found no connection."""
    last = attempts[-1]
    facts = {
        **_NO_CALL,
        "calls": sum(attempt.error_kind != "circuit_open" for attempt in attempts),
        "output": last.output,
        "finish_reason": last.finish_reason,
        "latency_ms": round(last.latency_ms, 3),
        "queued_ms": round(last.queued_ms, 3),
        "cost_usd": last.cost_usd,
        "cost_source": last.cost_source or "unknown: no answer came",
        "cpu_s": last.cpu_s,
        "load": None if last.load is None else dict(last.load),
        "adjustments": [adjustment.as_dict() for adjustment in adjustments],
    }
    return facts if last.usage is None else facts | last.usage.as_dict()
