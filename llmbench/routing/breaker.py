"""The circuit breaker: a model that keeps failing is left alone for a while, at no cost of time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from llmbench.catalog import Breaker
from llmbench.errors import ErrorKind, ProviderError

#: Failures that say something of the model's host, not of the request.
_HOST_FAILURES: Final[frozenset[ErrorKind]] = frozenset({"connect", "timeout", "rate_limit", "server_error"})


@dataclass(slots=True)
class _Circuit:
    failed_at: deque[float] = field(default_factory=deque)
    open_until: float | None = None


class Circuits:
    """One circuit a model, shared by every call of a router; safe between threads.

    A circuit opens after `failures` failures of the host within `window_s` seconds. It stays open for
    `cooldown_s` seconds; then one call is let through, and its outcome closes or opens it again.
    """

    def __init__(self, breaker: Breaker, clock: Callable[[], float] = time.monotonic) -> None:
        self._breaker = breaker
        self._clock = clock
        self._guard = threading.Lock()
        self._circuits: dict[str, _Circuit] = {}

    def require_closed(self, model: str) -> None:
        """Let an attempt pass.

        Raises:
            ProviderError: kind circuit_open; nothing was sent.
        """
        with self._guard:
            circuit = self._circuits.get(model)
            if circuit is None or circuit.open_until is None:
                return
            left_s = circuit.open_until - self._clock()
            if left_s > 0:
                raise ProviderError(
                    f"left alone for {left_s:.1f} s more after {self._breaker.failures} failures",
                    kind="circuit_open",
                )
            circuit.open_until = self._clock() + self._breaker.cooldown_s  # this call is the trial

    def note(self, model: str, kind: ErrorKind | None) -> None:
        """Learn an attempt's outcome; None is an answer."""
        with self._guard:
            circuit = self._circuits.setdefault(model, _Circuit())
            if kind not in _HOST_FAILURES:
                if kind not in ("circuit_open", "cancelled"):
                    circuit.failed_at.clear()
                    circuit.open_until = None
                return
            now = self._clock()
            circuit.failed_at.append(now)
            while circuit.failed_at and circuit.failed_at[0] <= now - self._breaker.window_s:
                circuit.failed_at.popleft()
            if circuit.open_until is not None or len(circuit.failed_at) >= self._breaker.failures:
                circuit.open_until = now + self._breaker.cooldown_s
