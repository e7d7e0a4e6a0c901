"""A sweep's budget: what each call may cost is held before it is sent, and settled when it has ended.

What is held and what was spent never exceed the budget together, so that the cap holds with any number of
calls in flight. A call that does not fit waits as long as calls under way may give money back, and is not
sent when none is left. Earlier parts of the same run count: the ledger has what they spent.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from llmbench.bench.plan import Budget
from llmbench.catalog import Policy
from llmbench.messages import Attempt
from llmbench.providers.hosts import is_loopback
from llmbench.routing.budget import UNITS, is_uncharged, units
from llmbench.routing.client import LLMClient


@dataclass(frozen=True, slots=True)
class Hold:
    """Money held for one call, in units."""

    units: int


class Account:
    """The money and the calls of one run.

    Attributes:
        calls: sent, or about to be.
    """

    def __init__(self, budget: Budget, spent_usd: float = 0.0, calls: int = 0) -> None:
        self._limit = None if budget.usd is None else units(budget.usd)
        self._most_calls = budget.calls
        self._spent = units(spent_usd)
        self._held = 0
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.calls = calls

    @property
    def spent_usd(self) -> float:
        """What the run has spent, earlier parts too; worst cases where nobody knows better."""
        return self._spent / UNITS

    @property
    def has_limit(self) -> bool:
        """Whether the money is limited, so that each call's worst case must be known."""
        return self._limit is not None

    async def hold(self, worst_usd: float | None) -> Hold | str:
        """Hold the worst case of one call, or say why it cannot be sent: that will not change any more."""
        if self._limit is None:
            worst = 0
        elif worst_usd is None or not math.isfinite(worst_usd):
            return (
                "the most that a call can cost is not known: give the model a price and the call max_tokens"
            )
        else:
            worst = units(worst_usd)
        while (refusal := self._refusal(worst)) is not None:
            if not self._in_flight or "calls" in refusal:
                return refusal
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future
        self._held += worst
        self._in_flight += 1
        self.calls += 1
        return Hold(worst)

    def settle(self, hold: Hold, charged_usd: float) -> None:
        """Replace what is held by what was charged, in USD."""
        self._held -= hold.units
        self._in_flight -= 1
        self._spent += units(charged_usd)
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def release(self, hold: Hold) -> None:
        """Give back what was held for a call that is not made after all."""
        self.calls -= 1
        self.settle(hold, 0.0)

    def _refusal(self, worst: int) -> str | None:
        if self._most_calls is not None and self.calls >= self._most_calls:
            return f"the budget of {self._most_calls} calls is used up"
        if self._limit is None or worst <= self._limit - self._spent - self._held:
            return None
        left, whole = (max(units, 0) / UNITS for units in (self._limit - self._spent, self._limit))
        return (
            f"a call may cost {worst / UNITS:.6f} USD, and {left:.6f} of the budget of {whole:g} USD is left"
        )


def is_paid(client: LLMClient, base: str) -> bool:
    """Whether a model may cost money."""
    spec = client.config.models[base]
    endpoint = client.config.endpoints[spec.provider]
    if endpoint.managed is not None:
        return False
    if spec.price is not None:
        return any(value for name, value in asdict(spec.price).items() if name != "as_of")
    return not is_loopback(urlsplit(endpoint.base_url or "").hostname or "")


def worst_of_call(request_usd: float | None, policy: Policy) -> float | None:
    """The most that a call to one candidate can cost with its retries, in USD.

    Only requests that ended in a timeout at a gateway may be charged and made again.
    """
    return None if request_usd is None else request_usd * most_charged(policy)


def most_charged(policy: Policy) -> int:
    """The most requests of one call to one candidate that may be charged."""
    again = max((policy.retries("timeout", status) for status in policy.transient_statuses), default=0)
    return max(min(1 + again, policy.max_total_attempts), 1)


def charged(attempts: Sequence[Attempt], request_usd: float | None) -> float:
    """What a call's requests may have been charged together, in USD.

    The cost where it is known; nothing where nobody charges (no connection, HTTP 400 and above but for
    timeouts at a gateway); else the worst case of a request.
    """
    worst = request_usd or 0.0
    return sum(worst if (cost := _known(each)) is None else cost for each in attempts)


def _known(attempt: Attempt) -> float | None:
    if attempt.cost_usd is not None and math.isfinite(attempt.cost_usd):
        return attempt.cost_usd
    is_free = attempt.error_kind is not None and is_uncharged(attempt.error_kind, attempt.status_code)
    return 0.0 if is_free else None
