"""Pacing: a provider's limits of requests, tokens and calls at once, kept by this process for all its calls.

Own code and not aiolimiter: that library's limiter serves one event loop, while a process has several (one
a thread, one behind the synchronous door) and one account with the provider; and its leaky bucket lets twice
the limit through in the first minute. Here no window of 60 seconds ever holds more than the limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from llmbench.catalog import Limits

#: The limits are counted by the minute.
WINDOW_S: Final = 60.0
_WAITED: Final = "while waiting for a place in the provider's limits: nothing was sent"


@dataclass(slots=True, eq=False)
class _Ticket:
    """One caller's place in the queue. `woken` belongs to `loop`; other threads ask the loop to set it."""

    tokens: int
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class Pace:
    """The queue before one provider: first come, first served, over all loops and threads of the process.

    A request that is given up while it waits leaves no trace; one that was sent counts for `WINDOW_S`
    seconds, whatever became of it. A request of more tokens than a minute's limit waits for an empty window.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._sent: deque[tuple[float, int]] = deque()
        self._sent_tokens = 0
        self._begin()

    def _begin(self) -> None:
        """Start with an empty queue: in a forked child, the parent's callers never leave theirs."""
        self._pid = os.getpid()
        self._guard = threading.Lock()
        self._queue: deque[_Ticket] = deque()
        self._in_flight = 0

    @asynccontextmanager
    async def place(self, tokens: int = 0) -> AsyncIterator[None]:
        """Room for one request of so many tokens (input and output, estimated).

        The wait has no end of its own: the caller's timeout or cancellation ends it, and `was_waiting`
        tells then that nothing was sent.
        """
        if self._pid != os.getpid():
            self._begin()
        ticket = _Ticket(tokens)
        with self._guard:
            self._queue.append(ticket)
        try:
            while (pause_s := self._admit(ticket)) != 0.0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await ticket.woken.wait()
                ticket.woken.clear()
        except BaseException as error:
            error.add_note(_WAITED)
            with self._guard:
                if ticket in self._queue:
                    self._queue.remove(ticket)
                self._wake_first()
            raise
        try:
            yield
        finally:
            with self._guard:
                self._in_flight -= 1
                self._wake_first()

    def count(self, tokens: int = 0) -> None:
        """Count a request that was sent without asking: a retry inside of another request's place."""
        with self._guard:
            self._sent.append((self._clock(), tokens))
            self._sent_tokens += tokens

    def _admit(self, ticket: _Ticket) -> float | None:
        """0.0 lets the ticket pass; else the seconds to its next try, None for until it is woken."""
        with self._guard:
            concurrency = self._limits.concurrency
            if self._queue[0] is not ticket or (concurrency is not None and self._in_flight >= concurrency):
                return None
            now = self._clock()
            pause_s = self._pause_s(now, ticket.tokens)
            if pause_s > 0.0:
                return pause_s
            self._queue.popleft()
            self._in_flight += 1
            if self._limits.requests_per_minute is not None or self._limits.tokens_per_minute is not None:
                self._sent.append((now, ticket.tokens))
                self._sent_tokens += ticket.tokens
            self._wake_first()
            return 0.0

    def _pause_s(self, now: float, tokens: int) -> float:
        """Seconds until the window has room: the oldest requests leave it first."""
        while self._sent and self._sent[0][0] <= now - WINDOW_S:
            self._sent_tokens -= self._sent.popleft()[1]
        requests, per_minute = self._limits.requests_per_minute, self._limits.tokens_per_minute
        count, total, pause_s = len(self._sent), self._sent_tokens, 0.0
        for sent_at, used in self._sent:
            has_room = requests is None or count < requests
            if has_room and (per_minute is None or total + tokens <= per_minute):
                break
            count, total, pause_s = count - 1, total - used, sent_at + WINDOW_S - now
        return pause_s

    def _wake_first(self) -> None:
        while self._queue:
            first = self._queue[0]
            try:
                first.loop.call_soon_threadsafe(first.woken.set)
            except RuntimeError:  # its loop was closed without cancelling it
                self._queue.popleft()
                continue
            return


def was_waiting(error: BaseException) -> bool:
    """Whether a timeout or cancellation fell into the wait for a place: our limit, not the host's fault."""
    return any(_WAITED in getattr(one, "__notes__", ()) for one in (error, error.__cause__))


_PACES: Final[weakref.WeakValueDictionary[tuple[str, str, Limits], Pace]] = weakref.WeakValueDictionary()
_PACES_GUARD: Final = threading.Lock()


def pace_of(provider: str, base_url: str, limits: Limits) -> Pace | None:
    """The process's one Pace for a provider's address, shared by every client; None without a limit."""
    if limits == Limits():
        return None
    with _PACES_GUARD:
        return _PACES.setdefault((provider, base_url, limits), Pace(limits))
