"""The circuit breaker: a model that keeps failing is left alone for a while, at no cost of time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from llmbench.catalog import Breaker
from llmbench.errors import ErrorKind, ProviderError

#: Failures that the next call would meet too, whatever it asks. A wrong key, a spent account and a model
#: that is not there belong to them: they are as dead for every call as a host that refuses connections.
HOST_FAILURES: Final[frozenset[ErrorKind]] = frozenset(
    {"connect", "timeout", "rate_limit", "server_error", "malformed", "auth", "quota", "model_not_found"}
)
#: Ends that say nothing of the host.
_NO_LESSON: Final[frozenset[ErrorKind]] = frozenset({"circuit_open", "cancelled"})
#: A model that stays dead is tried ever less often: the rest doubles up to this many times the first.
_LONGEST_REST: Final = 8


@dataclass(frozen=True, slots=True)
class Place:
    """The right to make one attempt, given back by `Circuits.leave`. A trial is that of an open circuit."""

    model: str
    is_trial: bool = False
    pid: int = field(default_factory=os.getpid)


@dataclass(slots=True)
class _Circuit:
    rest_s: float
    failures: int = 0  # since the last answer
    failed_at: float = 0.0
    open_until: float | None = None
    opened_by: ErrorKind = "connect"
    has_answered: bool = False
    has_trial: bool = False
    in_flight: int = 0
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def forget(self, since: float) -> None:
        """Forget failures that ended before, unless an attempt that may be one more is still under way."""
        if self.in_flight == 0 and self.failed_at <= since:
            self.failures = 0

    def take(self, model: str, *, is_trial: bool = False) -> Place:
        self.in_flight += 1
        self.has_trial = self.has_trial or is_trial
        return Place(model, is_trial)


class Circuits:
    """One circuit a model, shared by every call of a router; safe between threads and event loops.

    - It opens after `failures` failures of the host in a row: with no answer between them, and no pause of
      `window_s` seconds from the end of one to the begin of the next attempt. How long an attempt took does
      not count, so a host that hangs is found out under any deadline.
    - It stays open for `cooldown_s` seconds; then one call at a time tries the model, and its outcome closes
      or opens it again. Each trial that fails doubles the rest, up to eight times.
    - Slow start: as long as a model has not answered, ever or since its last failure, no more than
      `failures` calls find out at the same time whether it does. The others wait for them.

    Promised: a model that is dead from the start gets `failures` requests and then the trials, whether calls
    come one after another or at once, if those that come at once have one deadline and are not cancelled. Not
    promised: requests that were under way when a model died cannot be recalled, and calls that begin before
    its first failure is known still reach it. And a call whose wait ends before any failure is known goes
    ahead: a slow model is no dead one. But one that needs more than three sevenths of the deadline leaves too
    little of it to those who waited: they try it, and end at the next candidate.

    A forked child keeps what was learned, and has no attempts under way and no waiting calls.
    """

    def __init__(self, breaker: Breaker, clock: Callable[[], float] = time.monotonic) -> None:
        self._breaker = breaker
        self._clock = clock
        self._circuits: dict[str, _Circuit] = {}
        self._begin()

    def _begin(self) -> None:
        """Start with nobody under way: in a forked child, the parent's calls never give their places back."""
        self._guard = threading.Lock()
        for circuit in self._circuits.values():
            circuit.in_flight, circuit.has_trial, circuit.waiting = 0, False, []
        self._pid = os.getpid()

    def _locked(self) -> threading.Lock:
        """The lock of this process, to be entered."""
        if self._pid != os.getpid():
            self._begin()
        return self._guard

    async def enter(self, model: str, wait_s: float, may_skip: Callable[[ErrorKind], bool]) -> Place:
        """A place for one attempt, after at most `wait_s` seconds of slow start.

        Args:
            model: the model's key.
            wait_s: the longest wait for the first answer of the model, in seconds. After it the place is
                given, unless a failure is known.
            may_skip: whether a failure of a kind lets the call leave the model out; where it does not, the
                breaker must not either, and the place is given.

        Raises:
            ProviderError: kind circuit_open; no place was taken, nothing may be sent.
        """
        answer = self._ask(model, may_skip)
        if isinstance(answer, asyncio.Future):
            try:
                async with asyncio.timeout(wait_s):
                    while isinstance(answer, asyncio.Future):
                        await answer
                        answer = self._ask(model, may_skip)
            except TimeoutError:
                if not (self._has_failed(model) and may_skip("timeout")):
                    return self.force(model)
                message = f"failures only, and the first calls had no answer yet after {wait_s:.1f} s"
                answer = ProviderError(message, kind="circuit_open")
        if isinstance(answer, ProviderError):
            raise answer
        return answer

    def force(self, model: str) -> Place:
        """A place whatever the state: for a call that has nothing else left to try."""
        with self._locked():
            circuit = self._circuit(model)
            circuit.forget(self._clock() - self._breaker.window_s)
            return circuit.take(model)

    def leave(self, place: Place) -> None:
        """Give a place back and let those who wait for it ask again; in a forked child it is the parent's."""
        with self._locked():
            if place.pid != self._pid:
                return
            circuit = self._circuit(place.model)
            circuit.in_flight -= 1
            if place.is_trial:
                circuit.has_trial = False
            _wake(circuit)

    def learn(self, model: str, kind: ErrorKind | None) -> None:
        """Learn an attempt's outcome; None is an answer, or its first piece."""
        if kind in _NO_LESSON:
            return
        with self._locked():
            circuit, now = self._circuit(model), self._clock()
            if kind not in HOST_FAILURES:
                circuit.failures = 0
                circuit.open_until, circuit.rest_s = None, self._breaker.cooldown_s
                circuit.has_answered = True
                _wake(circuit)
                return
            circuit.forget(now - self._breaker.window_s)
            circuit.failures, circuit.failed_at = circuit.failures + 1, now
            circuit.has_answered = False  # whoever comes from now on waits for those under way
            if circuit.open_until is not None:
                if now < circuit.open_until:
                    return  # a forced attempt, or one that began before the circuit opened
                circuit.rest_s = min(circuit.rest_s * 2, self._breaker.cooldown_s * _LONGEST_REST)
            elif circuit.failures < self._breaker.failures:
                return
            circuit.open_until, circuit.opened_by = now + circuit.rest_s, kind

    def is_open(self, model: str) -> bool:
        """Whether calls leave the model out at this time, but for a trial."""
        with self._locked():
            return self._circuit(model).open_until is not None

    def _has_failed(self, model: str) -> bool:
        """Whether the last thing known of the model is a failure."""
        with self._locked():
            return self._circuit(model).failures > 0

    def _circuit(self, model: str) -> _Circuit:
        circuit = self._circuits.get(model)
        if circuit is None:
            circuit = self._circuits[model] = _Circuit(self._breaker.cooldown_s)
        return circuit

    def _ask(
        self, model: str, may_skip: Callable[[ErrorKind], bool]
    ) -> Place | ProviderError | asyncio.Future[None]:
        """A place, a refusal, or a future that ends when it is time to ask again."""
        with self._locked():
            circuit, now = self._circuit(model), self._clock()
            if circuit.open_until is None:
                circuit.forget(now - self._breaker.window_s)
                undecided = circuit.in_flight + circuit.failures
                if circuit.has_answered or undecided < self._breaker.failures:
                    return circuit.take(model)
                future = asyncio.get_running_loop().create_future()
                circuit.waiting.append(future)
                return future
            left_s = circuit.open_until - now
            if left_s <= 0 and not circuit.has_trial:
                return circuit.take(model, is_trial=True)
            if not may_skip(circuit.opened_by):
                return circuit.take(model)
            rest = f"for {left_s:.1f} s more" if left_s > 0 else "while one call tries it"
            failures = f"{self._breaker.failures} failures, the last one {circuit.opened_by}"
            return ProviderError(f"left alone {rest} after {failures}", kind="circuit_open")


def _wake(circuit: _Circuit) -> None:
    """End the futures of those who wait, each in its own event loop."""
    waiting, circuit.waiting = circuit.waiting, []
    for future in waiting:
        with contextlib.suppress(RuntimeError):  # its loop was closed: nobody waits any more
            future.get_loop().call_soon_threadsafe(_end, future)


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
