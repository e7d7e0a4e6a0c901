"""A telemetry line as spans: plain values by the GenAI semantic conventions, without the SDK. Pure.

The call is one client span that covers every retry and fallback; each attempt is a child of it. A line's
timestamp is the end of the call, so that it began `latency_ms` before. Attempts follow one another, each
after its `waited_ms` and `queued_ms`, and the last ends with the call: what is left of the call's time is
what the router did before it sent anything, a quarter of a second for the first call of a process and about a
millisecond for others. Tokens and cost stand on the call alone, so that no sum counts them twice.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from llmbench.interop.conversions import Unmapped, as_time

Attribute = str | bool | int | float | tuple[str, ...]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Names of providers in lower case, ours and those of imported logs -> the conventions' word.
_PROVIDERS: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai", "azure_ai": "azure.ai.inference", "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai", "bedrock": "aws.bedrock", "mistral": "mistral_ai", "xai": "x_ai",
    "moonshot": "moonshot_ai", "watsonx": "ibm.watsonx.ai", "openai": "openai", "anthropic": "anthropic",
    "cohere": "cohere", "deepseek": "deepseek", "groq": "groq", "perplexity": "perplexity",
}  # fmt: skip
#: Tiers whose calls are no chats -> the type of what they give.
_MEDIA: Final[Mapping[str, str]] = {"image": "image", "speech": "speech"}
#: Fields of a line that become `llmbench.<name>` as they are.
_OWN: Final = (
    "call_id", "status", "task", "tier", "channel", "env", "slot", "model", "provider", "reason",
    "latency_ms", "queued_ms", "cost_usd", "cost_source", "wasted_ms", "wasted_cost_usd", "cpu_s",
    "error_class", "routing_key", "config_hash", "prompt_sha256", "run_id", "cell",
)  # fmt: skip
_LARGEST: Final = 2**63 - 1  # of OTLP's whole numbers; the smallest is one further from 0
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
#: A line's part in a rollout; on every span, so that a sum can leave the shadows out.
_ROLLOUT: Final = ("name", "mode", "arm", "of")
_TRIED: Final = ("model", "latency_ms", "waited_ms", "queued_ms", "ttft_ms")


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """One span.

    Attributes:
        name: of the span.
        trace_id: 128 bits, by the call's id.
        span_id: 64 bits, by the call's id and the attempt's number.
        parent_id: the call's span, None for that itself.
        start_ns: nanoseconds since 1970, UTC.
        end_ns: as `start_ns`.
        attributes: without nulls.
        error: one word for what went wrong; None when it went well.
        left_out: names of attributes whose whole number has no room in 64 bits.
    """

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Attribute]
    error: str | None
    left_out: tuple[str, ...] = ()


def spans_of(line: Mapping[str, Any], fallback_id: str) -> list[SpanFacts]:
    """The spans of a telemetry line: the call first, then its attempts.

    Args:
        line: as it was logged; older spellings are read too.
        fallback_id: stands for the call where an older line has no `call_id`.

    Raises:
        Unmapped: the line has no time or no task, and so is no call; or it began before 1970, as no span can.
    """
    stamp = line.get("timestamp", line.get("ts"))
    if stamp is None or line.get("task") is None:
        raise Unmapped("not a call", "no timestamp or no task")
    end_ns = (as_time(stamp, "timestamp") - _EPOCH) // timedelta(microseconds=1) * 1000
    start_ns = end_ns - _ns(line.get("latency_ms"))
    if start_ns < 0:
        raise Unmapped("a start before 1970", f"latency_ms {line['latency_ms']}")
    call_id = str(line.get("call_id") or fallback_id)
    trace_id, span_id = _id(call_id, 16), _id(f"{call_id} call", 8)
    attributes = _call_attributes({**line, "call_id": call_id})
    asked = attributes.get("gen_ai.request.model")
    name = " ".join(str(part) for part in (attributes["gen_ai.operation.name"], asked) if part)
    error = None if _is_success(line) else str(attributes["error.type"])
    call = _span(name, (trace_id, span_id, None), (start_ns, end_ns), attributes, error)
    return [call, *_attempt_spans(call, call_id, line)]


def _attempt_spans(call: SpanFacts, call_id: str, line: Mapping[str, Any]) -> list[SpanFacts]:
    spans: list[SpanFacts] = []
    attempts = line.get("attempts")
    found = [one for one in attempts if isinstance(one, Mapping)] if isinstance(attempts, list) else []
    used = sum(_ns(one.get(key)) for one in found for key in ("waited_ms", "queued_ms", "latency_ms"))
    at = max(call.start_ns, call.end_ns - used)
    for number, tried in enumerate(found, start=1):
        begin = min(at + _ns(tried.get("waited_ms")) + _ns(tried.get("queued_ms")), call.end_ns)
        at = min(begin + _ns(tried.get("latency_ms")), call.end_ns)
        attributes = _present({f"llmbench.attempt.{key}": tried.get(key) for key in _TRIED})
        attributes |= {"llmbench.attempt.number": number, "llmbench.task": str(line["task"])}
        attributes |= _rollout(line)
        kind = tried.get("error_kind")
        attributes |= _present({"error.type": kind, "http.response.status_code": tried.get("status_code")})
        span_id = _id(f"{call_id} attempt {number}", 8)
        name = f"attempt {tried.get('model') or number}"
        error = None if kind is None else str(kind)
        ids = call.trace_id, span_id, call.span_id
        spans.append(_span(name, ids, (begin, at), attributes, error))
    return spans


def _span(
    name: str,
    ids: tuple[int, int, int | None],
    times_ns: tuple[int, int],
    attributes: Mapping[str, Attribute],
    error: str | None,
) -> SpanFacts:
    """A span that OTLP can hold: its texts are UTF-8 and its whole numbers have 64 bits.

    One value that has no room would keep back every span that is sent with it.
    """
    kept = {key: _encodable(value) for key, value in attributes.items() if not _is_too_large(value)}
    left_out = tuple(key for key in attributes if key not in kept)
    word = None if error is None else _clean(error)
    return SpanFacts(_clean(name), *ids, *times_ns, kept, word, left_out)


def _is_too_large(value: Attribute) -> bool:
    return isinstance(value, int) and not -_LARGEST - 1 <= value <= _LARGEST


def _encodable(value: Attribute) -> Attribute:
    if isinstance(value, tuple):
        return tuple(map(_clean, value))
    return _clean(value) if isinstance(value, str) else value


def _clean(text: str) -> str:
    """The text with half characters, which UTF-8 has none of, replaced by U+FFFD."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def _call_attributes(line: Mapping[str, Any]) -> dict[str, Attribute]:
    """`gen_ai.*` by the conventions, `llmbench.*` for what they have no word for."""
    chain = line.get("fallback_chain") or line.get("chain") or []
    chain = [str(model) for model in chain] if isinstance(chain, list) else []
    key = line.get("model") or line.get("selected_model") or (chain[-1] if chain else None)
    model_id = line.get("model_id") or key
    provider = line.get("provider")
    media = _MEDIA.get(str(line.get("tier")))
    ttft_ms = line.get("ttft_ms")
    failed = None if _is_success(line) else line.get("error_kind") or line.get("error_class") or "_OTHER"
    attributes = _present({
        "gen_ai.operation.name": "chat" if media is None else "generate_content",
        "gen_ai.output.type": media,
        "gen_ai.provider.name": _PROVIDERS.get(str(provider).lower(), provider or "unknown"),
        "gen_ai.request.model": model_id,
        "gen_ai.request.stream": None if ttft_ms is None else True,
        "gen_ai.response.model": line.get("model_version") or (model_id if failed is None else None),
        "gen_ai.response.id": line.get("request_id"),
        "gen_ai.response.time_to_first_chunk": _seconds(ttft_ms),
        "error.type": failed,
        "http.response.status_code": line.get("status_code"),
        **{f"llmbench.{name}": line.get(name) for name in _OWN},
    })  # fmt: skip
    if line.get("finish_reason"):
        attributes["gen_ai.response.finish_reasons"] = (str(line["finish_reason"]),)
    if chain:
        attributes["llmbench.fallback_chain"] = tuple(chain)
    if changes := _changes(line.get("adjustments")):
        attributes["llmbench.adjustments"] = changes
    return attributes | _rollout(line) | _usage(line.get("usage"))


def _rollout(line: Mapping[str, Any]) -> dict[str, Attribute]:
    part = line.get("rollout")
    if not isinstance(part, Mapping):
        return {}
    return _present({f"llmbench.rollout.{name}": part.get(name) for name in _ROLLOUT})


def _usage(usage: Any) -> dict[str, Attribute]:
    """Token counts that are known: the zeros of a failed call say nothing, nor do those of details."""
    if not isinstance(usage, Mapping):
        return {}
    sent = usage.get("input_tokens", usage.get("prompt_tokens"))
    received = usage.get("output_tokens", usage.get("completion_tokens"))
    if not sent and not received:
        return {}
    return _present({
        "gen_ai.usage.input_tokens": sent,
        "gen_ai.usage.output_tokens": received,
        "gen_ai.usage.cache_read.input_tokens": usage.get("cached_tokens") or None,
        "gen_ai.usage.reasoning.output_tokens": usage.get("reasoning_tokens") or None,
    })  # fmt: skip


def _changes(adjustments: Any) -> tuple[str, ...]:
    """`param action`, without the values."""
    found = adjustments if isinstance(adjustments, list) else []
    return tuple(f"{one.get('param')} {one.get('action')}" for one in found if isinstance(one, Mapping))


def _present(values: Mapping[str, Any]) -> dict[str, Attribute]:
    """The values that are there, what is no plain value as JSON."""
    return {
        name: value if isinstance(value, str | bool | int | float) else json.dumps(value, ensure_ascii=False)
        for name, value in values.items()
        if value is not None
    }


def _is_success(line: Mapping[str, Any]) -> bool:
    default = "success" if line.get("error") is None else "fail"
    return str(line.get("status") or default).lower() in ("success", "ok")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _seconds(milliseconds: Any) -> float | None:
    number = _number(milliseconds)
    return None if number is None else round(number / 1000, 6)


def _ns(milliseconds: Any) -> int:
    """Nanoseconds of milliseconds, at most 292 years; none where it is no duration."""
    return round(min((_number(milliseconds) or 0.0) * 1_000_000, _LARGEST))


def _id(text: str, size: int) -> int:
    """A number of so many bytes that is the same for the same text, and never 0, which is no id."""
    digest = hashlib.sha256(f"llmbench {text}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:size]) or 1
