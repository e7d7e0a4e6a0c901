"""The values that travel through one call: message, request, route, attempt, response.

All are frozen: a stage of the call receives one value and returns another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from llmbench import call_page
from llmbench.errors import ErrorKind

#: Made once: an encoder a call would cost more than the short prompts that it encodes.
_CANONICAL: Final = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
).encode

Role = Literal["system", "developer", "user", "assistant", "tool"]
ROLES: Final[tuple[Role, ...]] = ("system", "developer", "user", "assistant", "tool")
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "error", "empty"]
AdjustmentAction = Literal["renamed", "clamped", "dropped", "rejected", "moved"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `content` is text, or a tuple of content parts in the Chat Completions form.

    `extra` holds the turn's other keys (`name`, `tool_calls`, `tool_call_id`, ...), sent as they are.
    """

    role: Role
    content: str | tuple[Mapping[str, Any], ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The turn as plain JSON data."""
        content = self.content if isinstance(self.content, str) else [dict(part) for part in self.content]
        return {"role": self.role, "content": content, **self.extra}


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The JSON Schema a reply must meet. `name` identifies it on wires that ask for one.

    `strict` is the caller's own wish about the wire field of that name; None leaves it to the schema.
    `check` is what a class asks of the data beyond its schema (dates, validators): it raises where they fail.
    """

    schema: Mapping[str, Any]
    name: str = "reply"
    strict: bool | None = None
    check: Callable[[Any], object] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """What the caller asked for, before any model is chosen.

    `options` holds canonical parameters (contract: max_tokens, temperature, stop, seed, ...);
    `deadline_s` is the wall-clock limit of the whole call in seconds, `budget_usd` the most it may cost.
    """

    task: str
    messages: tuple[Message, ...]
    call_id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    output_schema: OutputSchema | None = None
    channel: str | None = None
    env: str | None = None
    deadline_s: float = 120.0
    strict: bool = False
    budget_usd: float | None = None
    run_id: str | None = None
    cell: str | None = None
    routing_key: str | None = None

    @property
    def prompt_sha256(self) -> str:
        """Hash of the messages: identifies a prompt in a log that does not hold its text."""
        text = canonical_json([message.as_dict() for message in self.messages])
        return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one reply. `cached_tokens` is part of the input, `reasoning_tokens` part of the output."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def as_dict(self) -> dict[str, int]:
        """The telemetry form."""
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "reasoning_tokens": self.reasoning_tokens,
        }


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One parameter that was not sent verbatim, and the rule that changed it."""

    param: str
    action: AdjustmentAction
    before: Any
    after: Any
    rule: str

    def __str__(self) -> str:
        return f"{self.param} {self.action}: {self.before!r} -> {self.after!r} ({self.rule})"

    def as_dict(self) -> dict[str, Any]:
        """The telemetry form, with the contract's key names `from` and `to`."""
        return {
            "param": self.param,
            "action": self.action,
            "from": self.before,
            "to": self.after,
            "rule": self.rule,
        }


@dataclass(frozen=True, slots=True)
class RateLeft:
    """What a provider says is left before it refuses; `*reset_s`: seconds until there is more, or None."""

    requests: int | None = None
    tokens: int | None = None
    reset_s: float | None = None
    tokens_reset_s: float | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to one model.

    Latency is the request alone; `waited_ms` is the pause before it, `queued_ms` the wait for a free
    place, `ttft_ms` the time to the first token (None when not streamed). A failed attempt may have an
    output and a usage: an answer that was cut off or broke its schema was paid for all the same.
    """

    model: str
    latency_ms: float
    waited_ms: float = 0.0
    queued_ms: float = 0.0
    error_kind: ErrorKind | None = None
    status_code: int | None = None
    error: str | None = None
    usage: Usage | None = None
    cost_usd: float | None = None
    cost_source: str | None = None
    cpu_s: float | None = None
    load: Mapping[str, float | None] | None = None
    output: str | None = None
    finish_reason: FinishReason | None = None
    ttft_ms: float | None = None
    rate_left: RateLeft | None = None

    def as_dict(self) -> dict[str, Any]:
        """The telemetry form; an attempt that answered has no error keys, its cost is the call's.

        `usage` and the cost stand only with a failed attempt whose answer was counted.
        """
        line: dict[str, Any] = {
            "model": self.model,
            "latency_ms": round(self.latency_ms, 3),
            "waited_ms": round(self.waited_ms, 3),
            "queued_ms": round(self.queued_ms, 3),
        }
        if self.ttft_ms is not None:
            line["ttft_ms"] = round(self.ttft_ms, 3)
        if self.error_kind is None:
            return line
        line |= {"error_kind": self.error_kind, "status_code": self.status_code, "error": self.error}
        if self.usage is not None:
            cost = {"cost_usd": self.cost_usd, "cost_source": self.cost_source}
            line |= {"usage": self.usage.as_dict(), **cost}
        return line


@dataclass(frozen=True, slots=True)
class Route:
    """Where a call would go and why. `print(route)` tells the story; nothing was sent.

    Attributes:
        candidates: model keys in the order they would be tried.
        reasons: one sentence a decision, in the order they were taken.
        excluded: (model key, reason) of every candidate removed before the call.
        bodies: model key -> the request body as it would be sent.
        adjustments: model key -> what the guard changed for that model.
        worst_case_s, worst_case_usd: the longest and the most of the call; None when a price is unknown.
        worst_case_tokens: input (estimated) and output limit of the longest; output_limits: by model key.
        moved: that the call, which may not fall back, goes to another model than the one named first, as that
            one cannot be called here (image and speech); None where it does not.
    """

    task: str
    tier: str
    candidates: tuple[str, ...]
    reasons: tuple[str, ...]
    excluded: tuple[tuple[str, str], ...] = ()
    slot: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    bodies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    adjustments: Mapping[str, tuple[Adjustment, ...]] = field(default_factory=dict)
    worst_case_s: float | None = None
    worst_case_usd: float | None = None
    worst_case_tokens: int | None = None
    output_limits: Mapping[str, int | None] = field(default_factory=dict)
    moved: Adjustment | None = None

    def __str__(self) -> str:
        lines = [f"{self.task} -> tier {self.tier} -> {' > '.join(self.candidates)}"]
        lines += [f"  because {reason}" for reason in self.reasons]
        lines += [f"  without {model}: {reason}" for model, reason in self.excluded]
        for model, changes in self.adjustments.items():
            lines += [f"  {model}: {change}" for change in changes]
        if worst := self._worst():
            lines.append(f"  {worst}")
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, _: object) -> None:
        printer.text(str(self))  # IPython's plain form

    def _worst(self) -> str:
        if self.worst_case_s is None:
            return ""
        cost = "unknown" if self.worst_case_usd is None else f"${self.worst_case_usd:.6f}"
        return f"at worst {self.worst_case_s:g} s and {cost}"

    def _repr_html_(self) -> str:
        return call_page.route_html(
            f"{self.task} → tier {self.tier}",
            [(key, self.output_limits.get(key), self.adjustments.get(key, ())) for key in self.candidates],
            self.reasons,
            self.excluded,
            self._worst(),
        )


@dataclass(frozen=True, slots=True)
class Response:
    """The answer of one call, with everything that happened on the way to it.

    Latencies are milliseconds: `latency_ms` the whole call (attempts, waits and queues), `ttft_ms` the
    time to the first token (None when not streamed). `cost_usd` is None when no price is known, and
    `cost_source` then says why. `cpu_s` and `load` are set by local models only.
    """

    text: str
    model: str
    model_id: str
    provider: str
    tier: str
    finish_reason: FinishReason
    usage: Usage
    latency_ms: float
    cost_usd: float | None
    cost_source: str
    call_id: str
    attempts: tuple[Attempt, ...]
    adjustments: tuple[Adjustment, ...]
    route: Route
    parsed: Any = None
    ttft_ms: float | None = None
    queued_ms: float = 0.0
    request_id: str | None = None
    model_version: str | None = None
    cpu_s: float | None = None
    load: Mapping[str, float | None] | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()

    @property
    def fallback_chain(self) -> tuple[str, ...]:
        """Every model tried, in order, the one that answered last."""
        return tuple(dict.fromkeys(attempt.model for attempt in self.attempts))

    @property
    def reason(self) -> str:
        """Why this model answered: the route's decisions, then what each failed attempt met."""
        failed = [f"{a.model}: {a.error_kind}" for a in self.attempts if a.error_kind]
        return "; ".join((*self.route.reasons, *failed))

    def __str__(self) -> str:
        return self.text

    def _repr_pretty_(self, printer: Any, _: object) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return self._page(call_page.text_html(self.text, self.parsed), self._tokens())

    def _tokens(self) -> str:
        return f"{self.usage.input_tokens:,} tokens in, {self.usage.output_tokens:,} out"

    def _page(self, shown: str, measure: str) -> str:
        """What came, as HTML, with a measure of it in words and the call's other figures below."""
        cost = call_page.money(self.cost_usd, self.cost_source)
        first = "" if self.ttft_ms is None else f"first token after {self.ttft_ms:.0f} ms"
        ended = "" if self.finish_reason == "stop" else self.finish_reason
        return call_page.reply_html(
            shown,
            (self.model, self.tier, self.provider, f"{self.latency_ms:.0f} ms", first, measure, cost, ended),
            [
                (a.model, a.error_kind or "answered", round(a.latency_ms), round(a.waited_ms))
                for a in self.attempts
            ],
            [(a.param, a.action, repr(a.before), repr(a.after), a.rule) for a in self.adjustments],
            self.reason,
        )


def canonical_json(value: object) -> str:
    """One spelling for equal data: sorted keys, no spaces, no NaN, Unicode kept. Used for hashes."""
    return _CANONICAL(value)
