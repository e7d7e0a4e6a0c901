"""How many calls may be under way at one provider, and when: found out while the sweep runs.

Additive increase, multiplicative decrease (Chiu and Jain 1989, as in TCP): every `limit` calls that were
answered while all places were taken raise the limit by one, a refusal for too many requests halves it.
Refusals of calls that began before the last decrease are about the old limit and change nothing. Beside that,
a provider is left alone for as long as it asks, and its headers say when the next request would be refused.

After a refusal one call goes first; the others follow when it was answered. Calls that were under way before
end as they may.
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
        self._fresh = 0  # calls under way that began after the last decrease
        self._allowed = 0  # requests that the provider's headers leave until then
        self._allowed_until = 0.0
        self._refusing_since: float | None = None  # the first refusal since the last answer
        self._holds = 0  # how often something began to hold the door
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = 0.0

    @property
    def most(self) -> int:
        """The most calls at once that are ever allowed."""
        return self._most

    @property
    def is_slowed(self) -> bool:
        """Whether the provider holds the sweep back at this time."""
        return self._is_probing or self._clock() < self._opens_at()

    def refusing_s(self) -> float:
        """Seconds for which the provider has refused every call, 0 after an answer."""
        return 0.0 if self._refusing_since is None else self._clock() - self._refusing_since

    @property
    def counts_tokens(self) -> bool:
        """Whether the tokens of a call decide when it may go."""
        return self._pace is not None

    @asynccontextmanager
    async def place(self, tokens: int = 0) -> AsyncIterator[Place]:
        """Room for one call of so many tokens, input and output together, as soon as there is.

        A call that waited for its minute while a pause began queues again, so that a pause lets nothing
        through. What it had of the minute stays counted: a minute may hold less than its limits, never more.
        """
        is_throttled, holds = self.is_slowed, self._holds
        while True:
            began = await self._enter()
            try:
                asked = self._clock()
                async with self._minute(tokens):
                    waited_s = 0.0 if self._pace is None else self._clock() - asked
                    is_throttled = is_throttled or waited_s > 0.001 or self._holds > holds
                    if waited_s <= 0.001 or not self._must_queue_again(began):
                        yield Place(self._decreases, is_throttled)
                        return
            finally:
                self._leave(began)

    def count(self, requests: int, tokens: int) -> None:
        """Count requests that a call made beside its first: the policy's retries use up the minute too."""
        if self._pace is not None:
            for _ in range(requests):
                self._pace.count(tokens)

    async def _enter(self) -> int:
        """Take a place, in the order of those who wait; returns the decreases until then."""
        if not self._waiting and self._has_room():
            return self._take()
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._look_later()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._leave(future.result())  # the place was given and is not used
            raise

    def _leave(self, began: int) -> None:
        self.in_flight -= 1
        if began == self._decreases:
            self._fresh -= 1
        self._wake()

    def _must_queue_again(self, began: int) -> bool:
        """Whether a call that has a place may not go after all."""
        is_probe = began == self._decreases and self._fresh == 1
        return self._clock() < self._paused_until or (self._is_probing and not is_probe)

    def answered(self, place: Place, left: RateLeft | None = None, tokens: int = 0) -> None:
        """Learn that a call was not refused, and what the provider's headers say is left.

        `tokens` are those of a call like it: fewer are as good as none.
        """
        self._refusing_since = None
        if place.began == self._decreases:
            self._is_probing, self._pause_s = False, 0.0
            if self.in_flight >= int(self.limit):
                self.limit = min(self.limit + 1.0 / self.limit, float(self._most))
        if left is not None and left.tokens_reset_s and (left.tokens or 0) < tokens:
            self._pause(min(left.tokens_reset_s, LONGEST_PAUSE_S))
        if left is not None and left.reset_s:
            self._keep_to(left, min(left.reset_s, LONGEST_PAUSE_S))
        self._wake()

    def refused(self, place: Place, wait_s: float | None) -> None:
        """Learn that the provider refused a call for too many requests, and the wait that it asked for."""
        self.refusals += 1
        if self._refusing_since is None:
            self._refusing_since = self._clock()
        if self._decrease(place):
            self._pause_s = min(max(2.0 * self._pause_s, self._first_pause_s), LONGEST_PAUSE_S)
        self._is_probing = True
        if wait_s is None:
            wait_s = self._pause_s
        else:  # its word counts; after a refusal in spite of it, up to eight times as long
            longest_s = 8.0 * max(wait_s, self._first_pause_s)
            wait_s = max(wait_s, min(self._pause_s - self._first_pause_s, longest_s))
        self._pause(min(wait_s, LONGEST_PAUSE_S))

    def struggled(self, place: Place) -> None:
        """Learn that a call ended well after refusals, which its own retries have waited out."""
        self._refusing_since = None
        if self._decrease(place):
            self._is_probing, self._pause_s = False, 0.0
        self.refusals += 1
        self._wake()

    def _decrease(self, place: Place) -> bool:
        """Halve the limit, unless the call began before that was done last."""
        if place.began != self._decreases:
            return False
        self._decreases += 1
        self._fresh = 0
        self.limit = max(self.limit / 2.0, 1.0)
        return True

    def _pause(self, seconds: float) -> None:
        self._holds += 1
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _keep_to(self, left: RateLeft, reset_s: float) -> None:
        """Send no more until the reset than the headers leave; those under way may not be counted in them."""
        if left.requests == 0 or left.tokens == 0:
            self._pause(reset_s)
        elif left.requests is not None and left.requests < int(self.limit):
            self._holds += 1
            self._allowed = max(left.requests - (self.in_flight - 1), 0)
            self._allowed_until = self._clock() + reset_s
        elif left.requests is not None:
            self._allowed_until = 0.0  # an older word is out of date

    def _has_room(self) -> bool:
        if self._clock() < self._opens_at():
            return False
        return self.in_flight < int(self.limit) and not (self._is_probing and self._fresh)

    def _opens_at(self) -> float:
        """When nothing that the provider said keeps a call back any more."""
        return max(self._paused_until, self._allowed_until if self._allowed < 1 else 0.0)

    def _take(self) -> int:
        self.in_flight += 1
        self._fresh += 1
        self._allowed -= 1
        return self._decreases

    def _wake(self) -> None:
        """Give free places to those who wait, in their order."""
        while self._waiting and self._has_room():
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(self._take())
        self._look_later()

    def _look_later(self) -> None:
        """Look again when the door opens."""
        at, now = self._opens_at(), self._clock()
        if not self._waiting or at <= now:
            return
        if self._timer is not None:
            if self._looks_at <= at:
                return
            self._timer.cancel()
        self._looks_at = at
        self._timer = asyncio.get_running_loop().call_later(at - now + 0.001, self._look)

    def _look(self) -> None:
        self._timer = None
        self._wake()

    def _minute(self, tokens: int) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._pace is None else self._pace.place(tokens)


def is_refusal(kind: ErrorKind | None) -> bool:
    """Whether a failure means too many requests, at the provider or by our own limits."""
    return kind in ("rate_limit", "circuit_open")


def smaller(one: Limits, other: Limits) -> Limits:
    """The limits that keep both; None is no limit."""

    def least(a: int | None, b: int | None) -> int | None:
        return a if b is None else b if a is None else min(a, b)

    return Limits(
        least(one.requests_per_minute, other.requests_per_minute),
        least(one.tokens_per_minute, other.tokens_per_minute),
        least(one.concurrency, other.concurrency),
    )
