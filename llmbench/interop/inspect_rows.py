"""One sample of a log as a row of the table that `llmbench decide` reads. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import ModelUsage

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ERROR_KINDS, DatasetError
from llmbench.interop.inspect_output import METADATA
from llmbench.interop.inspect_scores import Scale, score_of
from llmbench.messages import Usage, canonical_json
from llmbench.pricing import cost_of

#: Inspect's providers whose list prices are known -> the type of our endpoint.
_PRICED: Final[Mapping[str, str]] = {
    "openai": "openai",
    "openai/azure": "azure",
    "azureai": "azure",
    "google": "gemini",
    "openrouter": "openrouter",
}
#: How the text of an error begins that our own provider raised; Inspect may log its repr.
_OUR_ERROR: Final = re.compile(r"""(?:\w+\(['"])?llmbench (\w+): """)
#: How Inspect writes that a sample was called off.
_CALLED_OFF: Final = re.compile(r"(Cancelled|CancelledError)\(")
#: Kinds that say something of us and nothing of the model: to be run again. Those of a sweep, and two words
#: of our provider's own.
_OURS: Final = frozenset(
    {"rate_limit", "circuit_open", "cancelled", "auth", "quota", "model_not_found", "budget", "not_sent"}
)
_TIME_LIMITS: Final = frozenset({"time", "working"})
_LONGEST_ERROR: Final = 300
NO_SCORE: Final = "no score; score the log: inspect score"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a person says of the logs.

    Attributes:
        scorer: whose score counts; None where there is one.
        scale: the range of its numbers.
        task: the task of the rows; None takes the log's.
        cluster: the field of the samples' metadata that names what belongs together.
        models: the log's model -> the name it gets.
    """

    scorer: str | None = None
    scale: Scale = field(default_factory=Scale)
    task: str | None = None
    cluster: str | None = None
    models: Mapping[str, str] = field(default_factory=dict)


def row_of(log: EvalLog, sample: EvalSample, terms: Terms, where: str) -> dict[str, Any]:
    """The row of a sample that the log holds.

    Args:
        log: its header.
        sample: the sample; its conversation is not needed.
        terms: scorer, scale, task, cluster and names.
        where: the file, for the errors.

    Raises:
        DatasetError: its score cannot be used, or it lacks the cluster's field.
    """
    at = f"{where}: sample {sample.id!r:.60}"
    facts = _our_facts(sample)
    latency_ms = _latency_ms(sample)
    status, kind, error = _outcome(sample, facts)
    score: float | None = 0.0
    scorer = None
    if status == "ok":
        score, scorer = score_of(sample.scores or {}, terms.scorer, terms.scale, at)
        if score is None:
            status, error = "harness", f"scorer {scorer} gave no score"
        elif latency_ms is None:
            status, error = "harness", "the log holds no time of this sample"
    row = {
        **_place(log, sample.id, sample.epoch, terms),
        "cluster": _cluster(sample, terms.cluster, at),
        "prompt_sha256": _prompt_sha256(sample),
        "model_version": _version(sample, facts),
        "status": status,
        "error_kind": kind,
        "error": error,
        "score": None if status == "harness" else score,
        "scorer": scorer,
        "latency_ms": latency_ms,
        "finish_reason": sample.output.stop_reason if sample.output.choices else None,
        "call_id": facts.get("call_id"),
        "timestamp": sample.completed_at,
        "retries": len(sample.error_retries or ()),
    }
    return row | _spent(log, sample, facts)


def missing_row(log: EvalLog, sample_id: str | int, epoch: int, terms: Terms) -> dict[str, Any]:
    """The row of a sample that the log plans and does not hold: to be run again."""
    unknown = (
        *("prompt_sha256", "model_version", "error_kind", "score", "scorer", "latency_ms", "finish_reason"),
        *("call_id", "timestamp", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
        *("cost_usd", "cost_source", "retries", "cluster"),
    )
    why = f"not run: the log ended as {log.status}"
    row = {**_place(log, sample_id, epoch, terms), "status": "harness", "error": why}
    return row | dict.fromkeys(unknown)


def _place(log: EvalLog, sample_id: str | int, epoch: int, terms: Terms) -> dict[str, Any]:
    model = log.eval.model
    return {
        "schema": 1,
        "run_id": log.eval.eval_id,
        "task": terms.task or log.eval.task,
        "dataset": log.eval.dataset.name,
        "sample_id": str(sample_id),
        "model": terms.models.get(model, model),
        "model_id": model,
        "repeat": epoch - 1,
    }


def _outcome(sample: EvalSample, facts: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """Status, error kind and error text of a sample, before its score is looked at."""
    if sample.invalidation is not None:
        return "harness", None, "invalidated after the eval"
    if sample.error is not None:
        return _error(sample.error.message)
    kind, error = facts.get("error_kind"), sample.output.error
    if sample.scores:
        return "ok", kind, error and error[:_LONGEST_ERROR]  # the scorer has seen it: to refuse may be right
    if sample.limit is not None:
        return _stopped(sample.limit.type)
    if kind is not None:
        return "error", str(kind), error and error[:_LONGEST_ERROR]
    return "harness", None, NO_SCORE


def _stopped(limit: str) -> tuple[str, str | None, str]:
    """A sample that a limit ended before it was scored."""
    if limit == "operator":
        return "harness", None, "stopped by its operator"
    if limit in _TIME_LIMITS:
        return "timeout", "timeout", f"stopped by its {limit} limit"
    return "error", None, f"stopped by its {limit} limit"


def _error(message: str) -> tuple[str, str | None, str]:
    text = message[:_LONGEST_ERROR]
    if _CALLED_OFF.match(message):
        return "harness", "cancelled", text
    found = _OUR_ERROR.match(message)
    kind = found[1] if found else None
    if kind in _OURS:
        return "harness", kind if kind in ERROR_KINDS else None, text
    if kind == "timeout":
        return "timeout", kind, text
    return "error", kind if kind in ERROR_KINDS else None, text


def _our_facts(sample: EvalSample) -> Mapping[str, Any]:
    """What our own provider wrote about the last call; empty for any other."""
    facts = (sample.output.metadata or {}).get(METADATA)
    return facts if isinstance(facts, Mapping) else {}


def _version(sample: EvalSample, facts: Mapping[str, Any]) -> str | None:
    """The version that answered; where none did, Inspect repeats the name that was asked for.

    Our own provider says the version where it knows it; its `output.model` is a key of the config.
    """
    if sample.error is not None or not sample.output.choices:
        return None
    return facts.get("model_version") if facts else sample.output.model or None


def answering_model(sample: EvalSample) -> str | None:
    """The key of the model that our own provider asked last for a sample; None for any other provider."""
    found = _our_facts(sample).get("model")
    return found if isinstance(found, str) else None


def _latency_ms(sample: EvalSample) -> float | None:
    """The time that was worked on a sample, without waits for a free place or another try."""
    seconds = sample.total_time if sample.working_time is None else sample.working_time
    return None if seconds is None else round(seconds * 1000, 3)


def _cluster(sample: EvalSample, name: str | None, at: str) -> str:
    if name is None:
        return str(sample.id)
    if name not in sample.metadata:
        known = ", ".join(f"{key!r:.40}" for key in sample.metadata) or "none"
        raise DatasetError(f"{at} has no metadata {name!r:.60} for its --cluster; it has: {known}")
    return str(sample.metadata[name])


def _prompt_sha256(sample: EvalSample) -> str:
    """What identifies a sample between logs: its input and target, without the ids of messages."""
    asked = sample.input
    if not isinstance(asked, str):
        turns = [turn.model_dump(include={"role", "content"}, exclude_none=True) for turn in asked]
        asked = canonical_json(turns)
    target = canonical_json([asked, sample.choices, sample.target])
    return hashlib.sha256(target.encode("utf-8", "backslashreplace")).hexdigest()


def _spent(log: EvalLog, sample: EvalSample, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens and cost of the model under test; what graders used is theirs."""
    used = sample.model_usage.get(log.eval.model)
    if used is None:
        names = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost_usd")
        return dict.fromkeys(names) | {"cost_source": "unknown: the log counts no tokens of the model"}
    usage = Usage(
        used.input_tokens + (used.input_tokens_cache_read or 0) + (used.input_tokens_cache_write or 0),
        used.output_tokens,
        used.input_tokens_cache_read or 0,
        used.reasoning_tokens or 0,
    )
    cost_usd, source = _cost(log, used, usage, facts)
    return usage.as_dict() | {"cost_usd": cost_usd, "cost_source": source}


def _cost(log: EvalLog, used: ModelUsage, usage: Usage, facts: Mapping[str, Any]) -> tuple[float | None, str]:
    if "cost_usd" in facts and facts["cost_usd"] is None:
        return None, str(facts.get("cost_source") or "unknown: the call has no cost")
    if used.total_cost is not None:
        return used.total_cost, str(facts.get("cost_source") or "import:inspect")
    provider, _, name = log.eval.model.rpartition("/")
    kind = _PRICED.get(provider)
    if kind is None:
        return None, f"unknown: import:inspect has no cost, and there is no list for {log.eval.model}"
    spec, endpoint = ModelSpec(log.eval.model, provider, name), Endpoint(provider, kind)
    return cost_of(spec, endpoint, usage, at=datetime.fromisoformat(log.eval.created))
