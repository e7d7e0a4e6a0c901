"""Telemetry: one line a call, without secrets, and without the call's texts unless they are asked for."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from llmbench.errors import ErrorKind, FallbackExhausted, LLMBenchError, ProviderError, RouteError
from llmbench.jsonl import JsonlWriter
from llmbench.messages import Adjustment, Attempt, Message, Request, Response, Route, Usage
from llmbench.quotation import without_prompt

SCHEMA: Final = 1
DEFAULT_LOG_PATH: Final = Path("workspaces/logs/llm_usage.jsonl")
#: Shorter values are too common to be hidden wherever they stand.
_SHORTEST_SECRET: Final = 6
_LEARNT_SECRETS: Final = 64
#: So much of a secret's beginning is hidden where a text was cut within it.
_SHORTEST_HEAD: Final = 8
#: What may stand after a cut: quotes, brackets, an ellipsis.
_AFTER_CUT: Final = "'\"`.\u2026)]}> \n"
#: A lock that another process holds longer costs a line, not a call. Writers hold it for microseconds: eight
#: that do nothing else lose no line (tests/test_jsonl.py).
LOCK_WAIT_S: Final = 1.0
#: Parameters whose values are words of the interface, not texts of the caller.
_WORDED: Final = frozenset({"reasoning", "reasoning_effort", "verbosity", "tool_choice", "service_tier"})
_LONGEST_WORD: Final = 20
#: Failures after which a host may charge for a request all the same.
_LEFT_AT_WORK: Final = frozenset({"timeout", "cancelled", "malformed"})
#: Key-shaped text that is hidden even when its value is not known: bearer tokens, JSON web tokens and
#: vendors' prefixes.
#: Model keys such as `fw_deep_v3` or `or_small` have the same beginnings and must stay readable.
_KEY_PATTERN: Final = re.compile(
    r"(?i:(bearer\s+)[\w.~+/=-]{12,})|\b(?:sk|xai)-[\w-]{16,}|\b(?:gsk|fw|hf)_[A-Za-z0-9]{20,}|\bAIza[\w-]{20,}"
    r"|(?<![\w-])eyJ[\w-]{10,}+\.[\w-]{10,}+\.[\w-]*",
    re.ASCII,  # a key right behind a Japanese letter is a key too
)


def utc_now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Redactor:
    """Replaces known secret values and key-shaped text by `***`. Safe between threads.

    Of secrets that were learnt on the way (tokens that change by the hour) the newest are known.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._given = frozenset(s for s in secrets if len(s) >= _SHORTEST_SECRET)
        self._learnt: deque[str] = deque(maxlen=_LEARNT_SECRETS)
        self._spelt = _spellings(self._given)
        self._guard = threading.Lock()

    def keep(self, secrets: Iterable[str]) -> None:
        """Hide these values too, for good: keys of a config that was taken up later."""
        with self._guard:
            self._given |= {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
            self._spelt = _spellings({*self._given, *self._learnt})

    def add(self, secret: str) -> None:
        """Hide this value too from now on: a token, of which only the newest are known."""
        with self._guard:
            is_known = secret in self._given or secret in self._learnt
            if len(secret) >= _SHORTEST_SECRET and not is_known:
                self._learnt.append(secret)
                self._spelt = _spellings({*self._given, *self._learnt})

    def __call__(self, text: str) -> str:
        """The text without secrets, the beginning of one at its end included: the text may have been cut."""
        spelt = self._spelt
        for secret in spelt:
            text = text.replace(secret, "***")
        for secret in spelt:
            text = _without_head(text, secret)
        return _KEY_PATTERN.sub(lambda match: (match.group(1) or "") + "***", text)


def _spellings(secrets: Iterable[str]) -> list[str]:
    """The secrets as they are, as in a URL, in JSON once and twice, and in Python; the longest first."""
    spelt = set(secrets)
    for secret in tuple(spelt):
        as_json = json.dumps(secret)[1:-1]
        spelt |= {quote(secret, safe="", errors="replace"), quote(secret, errors="replace")}
        spelt |= {as_json, json.dumps(as_json)[1:-1], repr(secret)[1:-1], repr(as_json)[1:-1]}
    return sorted(spelt, key=len, reverse=True)


def _without_head(text: str, secret: str) -> str:
    """The text without the beginning of the secret that it ends with, if it does."""
    head, end = secret[:_SHORTEST_HEAD], len(text.rstrip(_AFTER_CUT))
    if len(secret) <= _SHORTEST_HEAD:
        return text
    at = text.find(head, max(end - len(secret), 0), end)
    while at >= 0:
        if secret.startswith(text[at:end]):
            return f"{text[:at]}***{text[end:]}"
        at = text.find(head, at + 1, end)
    return text


class TelemetryLog:
    """The log of calls. A disk that fails never fails a call: dropped lines are counted, warned of once.

    Every line is tried on its own, so writing goes on by itself when the trouble is over. The first line
    written then has `dropped_before`: how many lines of this process are missing before it. What a process
    drops and writes no line after is told by the warning alone.

    `rotate_mb` is the size in MiB that the file is not to pass (see `JsonlWriter`); None never rotates.
    """

    def __init__(self, path: str | Path | None, *, rotate_mb: float | None = None) -> None:
        limit = None if rotate_mb is None else max(1, int(rotate_mb * 2**20))
        self._writer = None if path is None else JsonlWriter(path, LOCK_WAIT_S, rotate_bytes=limit)
        self._guard = threading.Lock()
        self._missing = 0  # lines that no written line has told of yet
        self._pid = os.getpid()
        self._is_stuck = False
        self.dropped = 0

    @property
    def path(self) -> Path | None:
        """Where lines go, or None when logging is off."""
        return None if self._writer is None else self._writer.path

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one telemetry line, or count it as dropped."""
        if self._writer is None:
            return
        missing = self._taken() if self._missing else 0
        try:
            self._writer.append({**line, "dropped_before": missing} if missing else line)
        except (OSError, ValueError) as error:
            if self._drop(missing + 1):
                _warn_of_drop(self._writer.path, error)
        if self._writer.rotation_error is not None and not self._is_stuck:
            self._is_stuck = True
            _warn_of_size(self._writer.path, self._writer.rotation_error)

    def _taken(self) -> int:
        """The lines to be told of, which one line alone tells."""
        self._leave_parents_lines()
        with self._guard:
            missing, self._missing = self._missing, 0
            return missing

    def _drop(self, missing: int) -> bool:
        """Count a line as dropped, and all that it should have told of; returns whether it is the first."""
        self._leave_parents_lines()
        with self._guard:
            self._missing += missing
            self.dropped += 1
            return self.dropped == 1

    def _leave_parents_lines(self) -> None:
        """What a forked child's parent dropped is told by the parent."""
        if self._pid != os.getpid():
            self._guard, self._missing, self._pid = threading.Lock(), 0, os.getpid()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


def _warn_of_drop(path: Path, error: Exception) -> None:
    _warn(
        f"telemetry cannot be written to {path}: {_reason(path, error)}; calls go on without it "
        "(set LLM_ROUTER_LOG_PATH to another file, or LLM_ROUTER_LOG_DISABLE=1)"
    )


def _warn_of_size(path: Path, error: OSError) -> None:
    _warn(
        f"the telemetry file {path} is as large as log_rotate_mb and cannot be renamed: "
        f"{_reason(path, error)}; it grows on (let this user write to its folder)"
    )


def _reason(path: Path, error: Exception) -> str:
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    is_other = error.filename not in (None, str(path))
    return f"{error.strerror}: {error.filename}" if is_other else error.strerror


def _warn(message: str) -> None:
    """One line: the place named is no file, so that Python quotes no source line below it."""
    with contextlib.suppress(RuntimeWarning):  # also under -W error a call must not fail
        warnings.warn_explicit(message, RuntimeWarning, "<llmbench telemetry>", 1, module=__name__)


def success_line(
    request: Request,
    response: Response,
    *,
    config_hash: str,
    redact: Redactor | None = None,
    content: bool = False,
) -> dict[str, Any]:
    """The telemetry line of a call that ended well (contract, section 5).

    `content` adds the prompt (`messages`) and the reply (`output`), redacted; without it no text of
    either is in the line.
    """
    failed = [attempt for attempt in response.attempts if attempt.error_kind]
    texts = _content(request, response.text, redact) if content else {}
    return {
        **_common(
            request, response.route, response.attempts, response.adjustments, config_hash, content=content
        ),
        "status": "success",
        "model": response.model,
        "model_id": response.model_id,
        "model_version": response.model_version,
        "provider": response.provider,
        "reason": response.reason,
        "latency_ms": round(response.latency_ms, 3),
        "ttft_ms": None if response.ttft_ms is None else round(response.ttft_ms, 3),
        "queued_ms": round(response.queued_ms, 3),
        "usage": response.usage.as_dict(),
        "cost_usd": response.cost_usd,
        "cost_source": response.cost_source,
        "cpu_s": response.cpu_s,
        "load": None if response.load is None else dict(response.load),
        "wasted_ms": round(_wasted_ms(response.attempts), 3),
        "wasted_cost_usd": _wasted_cost(failed),
        "finish_reason": response.finish_reason,
        "request_id": response.request_id,
        **texts,
    }


def failure_line(
    request: Request,
    route: Route,
    error: LLMBenchError,
    attempts: tuple[Attempt, ...],
    adjustments: tuple[Adjustment, ...],
    *,
    latency_ms: float,
    config_hash: str,
    redact: Redactor,
    content: bool = False,
) -> dict[str, Any]:
    """The telemetry line of a call that failed (contract, section 5); `content` as in `success_line`.

    The output is what the last attempt received before it failed, None for nothing.
    """
    last = error.exceptions[-1] if isinstance(error, FallbackExhausted) else error
    kind: ErrorKind | None = last.kind if isinstance(last, ProviderError) else None
    status_code = last.status_code if isinstance(last, ProviderError) else None
    output = next((a.output for a in reversed(attempts) if a.output is not None), None)
    texts = _content(request, output, redact) if content else {}
    return {
        **_common(request, route, attempts, adjustments, config_hash, content=content),
        "status": "fail",
        "model": None,
        "model_id": None,
        "model_version": None,
        "provider": None,
        "reason": "; ".join((*route.reasons, *(f"{a.model}: {a.error_kind}" for a in attempts))),
        "latency_ms": round(latency_ms, 3),
        "ttft_ms": None,
        "queued_ms": round(sum(attempt.queued_ms for attempt in attempts), 3),
        "usage": Usage().as_dict(),
        "cost_usd": None,
        "cost_source": "unknown: the call failed",
        "cpu_s": None,
        "load": None,
        "wasted_ms": round(latency_ms, 3),
        "wasted_cost_usd": _wasted_cost(attempts),
        "finish_reason": None,
        "request_id": last.request_id if isinstance(last, ProviderError) else None,
        "error": redact(str(last) if content else without_prompt(str(last), request.messages)),
        "error_class": type(error).__name__,
        "error_kind": kind or ("model_not_found" if isinstance(error, RouteError) else "bad_request"),
        "status_code": status_code,
        **texts,
    }


def _common(
    request: Request,
    route: Route,
    attempts: tuple[Attempt, ...],
    adjustments: tuple[Adjustment, ...],
    config_hash: str,
    *,
    content: bool,
) -> dict[str, Any]:
    tried = [attempt.as_dict() for attempt in attempts]
    changes = [adjustment.as_dict() for adjustment in adjustments]
    if not content:
        for attempt in tried:
            if attempt.get("error"):
                attempt["error"] = without_prompt(attempt["error"], request.messages)
        changes = [_without_texts(change, request.messages) for change in changes]
    return {
        "schema": SCHEMA,
        "timestamp": utc_now(),
        "call_id": request.call_id,
        "task": request.task,
        "tier": route.tier,
        "channel": request.channel,
        "env": request.env,
        "slot": route.slot,
        "fallback_chain": list(dict.fromkeys(attempt.model for attempt in attempts)),
        "attempts": tried,
        "adjustments": changes,
        "routing_key": request.routing_key,
        "config_hash": config_hash,
        "prompt_sha256": request.prompt_sha256,
        "run_id": request.run_id,
        "cell": request.cell,
    }


def _without_texts(change: dict[str, Any], messages: Sequence[Message]) -> dict[str, Any]:
    """An adjustment whose values are numbers and words of the interface, and of all others type and size.

    What was renamed or moved holds names; a rule may quote the host that refused the parameter.
    """
    change["rule"] = without_prompt(change["rule"], messages)
    if change["action"] not in ("renamed", "moved"):
        worded = change["param"] in _WORDED
        change |= {side: _measured(change[side], worded=worded) for side in ("from", "to")}
    return change


def _measured(value: Any, *, worded: bool) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value if worded and len(value) <= _LONGEST_WORD else f"{len(value)} characters"
    name = "mapping" if isinstance(value, Mapping) else type(value).__name__
    return f"{name} of {len(value)}" if hasattr(value, "__len__") else name


def _content(request: Request, output: str | None, redact: Redactor | None) -> dict[str, Any]:
    hide = redact or Redactor()
    messages = [_redacted(message.as_dict(), hide) for message in request.messages]
    return {"messages": messages, "output": None if output is None else hide(output)}


def _redacted(value: Any, hide: Redactor) -> Any:
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {key: _redacted(item, hide) for key, item in value.items()}
    return [_redacted(item, hide) for item in value] if isinstance(value, (list, tuple)) else value


def _wasted_ms(attempts: Iterable[Attempt]) -> float:
    """Failed attempts with their queues, and every wait: a wait is only ever the consequence of a failure."""
    return sum(
        attempt.waited_ms + (attempt.latency_ms + attempt.queued_ms if attempt.error_kind else 0.0)
        for attempt in attempts
    )


def _wasted_cost(failed: Iterable[Attempt]) -> float | None:
    """The known costs of failed attempts; None when none is known, or one may have cost what nobody knows."""
    failed = list(failed)
    if any(attempt.cost_usd is None and _may_have_cost(attempt) for attempt in failed):
        return None
    known = [attempt.cost_usd for attempt in failed if attempt.cost_usd is not None]
    return sum(known) if known else None


def _may_have_cost(attempt: Attempt) -> bool:
    """Whether the host may have worked for it: tokens were counted, an answer began or was given up."""
    has_begun = attempt.status_code is not None and attempt.status_code < 400
    return attempt.usage is not None or has_begun or attempt.error_kind in _LEFT_AT_WORK
