"""Calls at the door of a provider in virtual time: when each came, and when and how it was let through."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from llmbench.bench.throttle import Place, Throttle
from llmbench.catalog import Limits
from llmbench.messages import RateLeft
from tests.virtual_time import now

NO_LIMITS = Limits()


def door_of(limits: Limits = NO_LIMITS, **options) -> Throttle:
    return Throttle(limits, clock=now, **options)


@dataclass
class Call:
    """One call: when it came, how long it takes, how it ends, and what its place was like."""

    comes_s: float = 0.0
    takes_s: float = 1.0
    is_refused: bool = False
    wait_s: float | None = None
    left: RateLeft | None = None
    tokens: int = 0
    sent_s: float | None = None
    place: Place | None = None
    most: int = 0
    tries: int = 0

    async def make(self, door: Throttle) -> None:
        await asyncio.sleep(self.comes_s)
        async with door.place(self.tokens) as self.place:
            self.tries += 1
            self.sent_s, self.most = now() - 1000.0, door.in_flight
            await asyncio.sleep(self.takes_s)
            if self.is_refused:
                door.refused(self.place, self.wait_s)
            else:
                door.answered(self.place, self.left)


async def make_all(door: Throttle, calls: list[Call]) -> list[Call]:
    await asyncio.gather(*(call.make(door) for call in calls))
    return calls


def sent_at(calls: list[Call]) -> list[float]:
    return sorted(round(call.sent_s or 0.0, 2) for call in calls)
