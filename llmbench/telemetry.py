"""JSONL that is never torn: one line a call, written by many processes, read back with nothing lost.

Every JSONL line of llmbench goes through `JsonlWriter`: telemetry and the sweep's ledger alike.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from llmbench.errors import ErrorKind, FallbackExhausted, LLMBenchError, ProviderError, RouteError
from llmbench.messages import Adjustment, Attempt, Request, Response, Route, Usage
from llmbench.structuring import loads_strictly

SCHEMA: Final = 1
DEFAULT_LOG_PATH: Final = Path("workspaces/logs/llm_usage.jsonl")
#: Shorter values are too common to be hidden wherever they stand.
_SHORTEST_SECRET: Final = 6
_LEARNT_SECRETS: Final = 64
#: Key-shaped text that is hidden even when its value is not known: bearer tokens, JSON web tokens and
#: vendors' prefixes.
#: Model keys such as `fw_deep_v3` or `or_small` have the same beginnings and must stay readable.
_KEY_PATTERN: Final = re.compile(
    r"(?i:(bearer\s+)[\w.~+/=-]{12,})|\b(?:sk|xai)-[\w-]{16,}|\b(?:gsk|fw|hf)_[A-Za-z0-9]{20,}|\bAIza[\w-]{20,}"
    r"|(?<![\w-])eyJ[\w-]{10,}+\.[\w-]{10,}+\.[\w-]*"
)


def utc_now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


#: Made once: an encoder a call would cost a tenth of the line.
_AS_LINE: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(", ", ": ")
).encode


class JsonlWriter:
    """Appends whole lines to one file from any number of threads and processes.

    A lock file is not needed: the file itself is locked (flock), a torn tail left by a killed writer
    is closed with a newline before the next record, and a short write (disk full) is taken back.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._name = os.fspath(self.path)
        self._thread_lock = threading.Lock()
        self._fd: int | None = None
        self._identity = (0, 0)  # device and inode of the open file
        self._whole_to = 0  # up to here this writer left whole lines behind
        self._pid = os.getpid()

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record as one line.

        Raises:
            OSError: the file cannot be opened or written; nothing of the record remains in it.
            ValueError: the record holds NaN, infinity or something that is not JSON.
        """
        try:
            line = _AS_LINE(record)
        except (TypeError, RecursionError) as error:
            raise ValueError(f"not a JSON record: {error}") from error
        data = line.encode("utf-8", "backslashreplace") + b"\n"  # a lone surrogate becomes a JSON escape
        with self._thread_lock:
            fd, end = self._locked()
            try:
                if end != self._whole_to and end and os.pread(fd, 1, end - 1) != b"\n":
                    data = b"\n" + data
                if os.write(fd, data) != len(data):
                    os.ftruncate(fd, end)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._name)
                self._whole_to = end + len(data)
            finally:
                fcntl.flock(fd, fcntl.LOCK_UN)

    def _locked(self) -> tuple[int, int]:
        """The open and locked file and its size; opened again when the path was removed or rotated away.

        One look at the path under the lock says both whether it is still this file and where it ends.
        """
        if self._pid != os.getpid():  # a forked child shares the parent's lock: it needs a file of its own
            if self._fd is not None:
                os.close(self._fd)
            self._fd, self._pid = None, os.getpid()
        while True:
            if self._fd is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._fd = os.open(self.path, flags, 0o600)
                opened = os.fstat(self._fd)
                self._identity, self._whole_to = (opened.st_dev, opened.st_ino), 0
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            try:
                found = os.stat(self._name)  # noqa: PTH116 -- a Path here costs as much as the system call
                if (found.st_dev, found.st_ino) == self._identity:
                    return self._fd, found.st_size
            except FileNotFoundError:
                pass
            os.close(self._fd)  # ends the lock too
            self._fd = None

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        with self._thread_lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def __del__(self) -> None:
        if getattr(self, "_fd", None) is not None:
            with contextlib.suppress(OSError):
                self.close()


@dataclass(frozen=True, slots=True)
class JsonlLine:
    """One line as read: its record, or the reason why it is none. `number` is 1-based, `offset` in bytes."""

    number: int
    offset: int
    raw: bytes
    record: dict[str, Any] | None
    reason: str | None


def read_jsonl(path: str | Path) -> Iterator[JsonlLine]:
    """Every line of a file that is not blank, torn and foreign ones included with their reason.

    Raises:
        OSError: the file cannot be opened.
    """
    offset = 0
    with Path(path).open("rb") as file:
        for number, raw in enumerate(file, start=1):
            start, offset = offset, offset + len(raw)
            if not raw.strip():
                continue
            record, reason = _parse_line(raw)
            yield JsonlLine(number, start, raw, record, reason)


def _parse_line(raw: bytes) -> tuple[dict[str, Any] | None, str | None]:
    try:
        value = loads_strictly(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return None, "not_utf8"
    except ValueError:
        return None, "torn" if not raw.endswith(b"\n") else "not_json"
    if not isinstance(value, dict):
        return None, "not_object"
    return value, None


class Redactor:
    """Replaces known secret values and key-shaped text by `***`. Safe between threads.

    Of secrets that were learnt on the way (tokens that change by the hour) the newest are known.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._given = frozenset(s for s in secrets if len(s) >= _SHORTEST_SECRET)
        self._learnt: deque[str] = deque(maxlen=_LEARNT_SECRETS)
        self._secrets = sorted(self._given, key=len, reverse=True)
        self._guard = threading.Lock()

    def keep(self, secrets: Iterable[str]) -> None:
        """Hide these values too, for good: keys of a config that was taken up later."""
        with self._guard:
            self._given |= {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
            self._secrets = sorted({*self._given, *self._learnt}, key=len, reverse=True)

    def add(self, secret: str) -> None:
        """Hide this value too from now on: a token, of which only the newest are known."""
        with self._guard:
            if len(secret) >= _SHORTEST_SECRET and secret not in self._secrets:
                self._learnt.append(secret)
                self._secrets = sorted({*self._given, *self._learnt}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _KEY_PATTERN.sub(lambda match: (match.group(1) or "") + "***", text)


class TelemetryLog:
    """The log of calls. A disk that fails never fails a call: dropped lines are counted, warned of once."""

    def __init__(self, path: str | Path | None) -> None:
        self._writer = None if path is None else JsonlWriter(path)
        self.dropped = 0

    @property
    def path(self) -> Path | None:
        """Where lines go, or None when logging is off."""
        return None if self._writer is None else self._writer.path

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one telemetry line, or count it as dropped."""
        if self._writer is None:
            return
        try:
            self._writer.append(line)
        except (OSError, ValueError) as error:
            self.dropped += 1
            if self.dropped == 1:
                _warn(self._writer.path, error)

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


def _warn(path: Path, error: Exception) -> None:
    """One line: the place named is no file, so that Python quotes no source line below it."""
    reason = str(error)
    if isinstance(error, OSError) and error.strerror:
        is_other = error.filename not in (None, str(path))
        reason = f"{error.strerror}: {error.filename}" if is_other else error.strerror
    message = (
        f"telemetry cannot be written to {path}: {reason}; calls go on without it "
        "(set LLM_ROUTER_LOG_PATH to another file, or LLM_ROUTER_LOG_DISABLE=1)"
    )
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
        **_common(request, response.route, response.attempts, response.adjustments, config_hash),
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
        **_common(request, route, attempts, adjustments, config_hash),
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
        "error": redact(str(last)),
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
) -> dict[str, Any]:
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
        "attempts": [attempt.as_dict() for attempt in attempts],
        "adjustments": [adjustment.as_dict() for adjustment in adjustments],
        "routing_key": request.routing_key,
        "config_hash": config_hash,
        "prompt_sha256": request.prompt_sha256,
        "run_id": request.run_id,
        "cell": request.cell,
    }


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
    """The known costs of failed attempts; None when none is known, or one was counted but has no price."""
    failed = list(failed)
    if any(attempt.usage is not None and attempt.cost_usd is None for attempt in failed):
        return None
    known = [attempt.cost_usd for attempt in failed if attempt.cost_usd is not None]
    return sum(known) if known else None
