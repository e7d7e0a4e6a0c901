"""How many calls may be under way at one provider, and when: found out while the sweep runs.

Additive increase, multiplicative decrease (Chiu and Jain 1989, as in TCP): every `limit` calls that were
answered while all places were taken raise the limit by one, a refusal for too many requests halves it.
Refusals of calls that began before the last decrease are about the old limit and change nothing. Beside that,
a provider is left alone for as long as it asks, and its headers say when the next request would be refused.

After a refusal one call goes first; the others follow when it was answered.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from llmbench.catalog import Limits
from llmbench.errors import ErrorKind
from llmbench.messages import RateLeft
from llmbench.providers.pacing import Pace

#: Calls at once at the start, where nobody says how many a provider allows.
FIRST_CONCURRENCY: Final = 4
#: The most calls at once that are tried there.
MOST_CONCURRENCY: Final = 64
#: The first wait after a refusal that names none, and the longest, in seconds; it doubles in between.
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """The right to send one call. `is_throttled` says that it waited for more than a free place."""

    began: int
    is_throttled: bool


class Throttle:
    """The door to one provider, for the calls of one event loop.

    Attributes:
        limit: calls at once that are allowed now.
        in_flight: calls under way.
        refusals: refusals so far.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = limits.concurrency or MOST_CONCURRENCY
        self.limit: float = limits.concurrency or min(FIRST_CONCURRENCY, self._most)
        self.in_flight = 0
        self.refusals = 0
        minute = Limits(limits.requests_per_minute, limits.tokens_per_minute)
        self._pace = None if minute == Limits() else Pace(minute, clock)
        self._first_pause_s = first_pause_s
        self._pause_s = 0.0
        self._clock = clock
        self._paused_until = 0.0
        self._decreases = 0
        self._is_probing = False
        self._allowed = 0  # requests that the provider's headers leave until then
        self._allowed_until = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def most(self) -> int:
        """The most calls at once that are ever allowed."""
        return self._most

    @property
    def is_slowed(self) -> bool:
        """Whether the provider holds the sweep back at this time."""
        return self._is_probing or self._clock() < self._paused_until

    @asynccontextmanager
    async def place(self, tokens: int = 0) -> AsyncIterator[Place]:
        """Room for one call of so many tokens, input and output together, as soon as there is."""
        is_throttled = self.is_slowed
        if self._waiting or not self._has_room():
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            self._look_later()
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self.in_flight -= 1  # the place was given and is not used
                    self._wake()
                raise
        else:
            self._take()
        try:
            asked = self._clock()
            async with self._minute(tokens):
                is_throttled = is_throttled or self._clock() - asked > 0.001
                yield Place(self._decreases, is_throttled)
        finally:
            self.in_flight -= 1
            self._wake()

    def answered(self, place: Place, left: RateLeft | None = None) -> None:
        """Learn that a call was not refused, and what the provider's headers say is left."""
        if place.began == self._decreases:
            self._is_probing, self._pause_s = False, 0.0
            if self.in_flight >= int(self.limit):
                self.limit = min(self.limit + 1.0 / self.limit, float(self._most))
        if left is not None and left.reset_s:
            self._keep_to(left, min(left.reset_s, LONGEST_PAUSE_S))
        self._wake()

    def refused(self, place: Place, wait_s: float | None) -> None:
        """Learn that the provider refused a call for too many requests, and the wait that it asked for."""
        self.refusals += 1
        if place.began == self._decreases:
            self._decreases += 1
            self.limit = max(self.limit / 2.0, 1.0)
            self._pause_s = min(max(2.0 * self._pause_s, self._first_pause_s), LONGEST_PAUSE_S)
        self._is_probing = True
        self._pause(min(self._pause_s if wait_s is None else wait_s, LONGEST_PAUSE_S))

    def _pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _keep_to(self, left: RateLeft, reset_s: float) -> None:
        """Send no more until the reset than the headers leave; those under way may not be counted in them."""
        if left.requests == 0 or left.tokens == 0:
            self._pause(reset_s)
        elif left.requests is not None and left.requests < int(self.limit):
            self._allowed = max(left.requests - (self.in_flight - 1), 0)
            self._allowed_until = self._clock() + reset_s

    def _has_room(self) -> bool:
        now = self._clock()
        if now < self._paused_until or (now < self._allowed_until and self._allowed < 1):
            return False
        return self.in_flight < (1 if self._is_probing else int(self.limit))

    def _take(self) -> None:
        self.in_flight += 1
        self._allowed -= 1

    def _wake(self) -> None:
        """Give free places to those who wait, in their order."""
        while self._waiting and self._has_room():
            future = self._waiting.popleft()
            if not future.done():
                self._take()
                future.set_result(None)
        self._look_later()

    def _look_later(self) -> None:
        """Look again when a pause is over."""
        left_s = max(self._paused_until, self._allowed_until) - self._clock()
        if self._waiting and left_s > 0 and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(left_s + 0.001, self._pause_over)

    def _pause_over(self) -> None:
        self._timer = None
        self._wake()

    def _minute(self, tokens: int) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._pace is None else self._pace.place(tokens)


def is_refusal(kind: ErrorKind | None) -> bool:
    """Whether a failure means too many requests, at the provider or by our own limits."""
    return kind in ("rate_limit", "circuit_open")
