"""Shadows: a call's request goes to a challenger too, off the caller's path, and the reply is discarded.

Shadows run in a thread and an event loop of their own, with a deadline, a budget and circuits apart from the
callers' calls; what does not fit is dropped and counted, never waited for. The accounts live in this process.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from llmbench.catalog import BudgetLimits
from llmbench.config.model import Rollout
from llmbench.errors import BudgetExceeded, LLMBenchError
from llmbench.messages import Route
from llmbench.routing.background_loop import BackgroundLoop
from llmbench.routing.budget import Budgets
from llmbench.routing.call import Call
from llmbench.routing.progress import Options
from llmbench.routing.rollout import Arm

#: Seconds that closing waits for shadows on their way before it cancels them.
CLOSE_S: Final = 2.0


class ShadowCall(Call):
    """A shadow on its way: its route is the challengers', and no circuit that callers share learns of it."""

    def _find(self) -> Route:
        route = self.setup.route(self.asked.wanted)
        models = () if self.arm is None else self.arm.models
        kept = tuple(key for key in route.candidates if key in models)
        return replace(route, candidates=kept, reasons=(*route.reasons, "shadow: its reply is discarded"))

    def failed(self, error: BaseException) -> None:
        """Write the failure; where nothing was sent for want of money it is a drop, and counted as one."""
        if not isinstance(error, BudgetExceeded):
            super().failed(error)

    def options(self) -> Options:
        """As of any call, without the circuits of the callers' calls."""
        return replace(super().options(), circuits=None)


@dataclass(slots=True)
class _Account:
    """What one rollout's shadows have used today, and how many are on their way."""

    money: Budgets
    day: str = ""
    calls: int = 0
    in_flight: int = 0
    untold: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


class Shadows:
    """The shadows of one router; safe between threads and event loops, and begun anew in a forked child."""

    def __init__(self, run: Callable[[Call], Awaitable[Any]], end: Callable[[], Awaitable[None]]) -> None:
        """Take what sends a call and writes its line, and what closes the connections of a loop."""
        self._run, self._end = run, end
        self._accounts: dict[str, _Account] = {}
        self._loop = BackgroundLoop()
        self._begin()

    def _begin(self) -> None:
        """Start with nothing on its way: in a forked child, the parent's shadows are the parent's."""
        self._guard = threading.Condition()
        self._pid = os.getpid()
        self._threads: set[int] = set()
        for account in self._accounts.values():
            account.in_flight = 0

    def _held(self) -> threading.Condition:
        """The lock of this process over all accounts, to be entered."""
        if self._pid != os.getpid():
            self._begin()
        return self._guard

    def dropped(self, name: str) -> dict[str, int]:
        """How many shadows of a rollout were not sent in this process, by reason."""
        account = self._accounts.get(name)
        return {} if account is None else dict(account.dropped)

    def send(self, call: Call, today: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Send the shadow of a caller's call that has one, or drop it. Returns at once, raises nothing."""
        arm = call.arm
        if arm is None or arm.mode != "shadow" or arm.of is not None:
            return
        rollout = call.setup.config.rollouts[arm.name]
        day = today().date().isoformat()
        with self._held():
            account = self._account(rollout)
            reason = "log is off" if call.log.path is None else _full(rollout, account, day)
            if reason is None:
                account.in_flight += 1
                account.calls += 1
            else:
                account.dropped[reason] += 1
                account.untold += 1
            untold, account.untold = account.untold, 0
        if untold:  # by the caller's line: the next shadow may be long in coming
            call.arm = replace(arm, dropped_before=untold)
        if reason is not None:
            return
        shadow = _shadow_of(call, arm, account, day)
        try:
            self._loop.spawn(self._to_its_end(shadow, account))
        except RuntimeError:
            self._over(account, "no thread")

    def _account(self, rollout: Rollout) -> _Account:
        limits = BudgetLimits(run_usd=rollout.budget.usd)
        account = self._accounts.setdefault(rollout.name, _Account(Budgets(limits)))
        account.money.limits = limits  # a reload may have changed it
        return account

    async def _to_its_end(self, shadow: ShadowCall, account: _Account) -> None:
        """Run one shadow. What it meets stands in its line; a cancelled one has its line too."""
        self._threads.add(threading.get_ident())
        reason: str | None = None
        try:
            shadow.resolve()
            await self._run(shadow)
        except BudgetExceeded:
            reason = "budget"  # nothing was sent
        except LLMBenchError:
            reason = None if shadow.is_logged else "no route"
        finally:
            self._over(account, reason)

    def _over(self, account: _Account, reason: str | None) -> None:
        with self._held():
            account.in_flight -= 1
            if reason is not None:
                account.dropped[reason] += 1
                account.untold += 1
            self._guard.notify_all()

    def close(self) -> None:
        """Wait for shadows on their way, `CLOSE_S` seconds at most; cancel the others, which log that."""
        if threading.get_ident() not in self._threads:  # garbage may be collected in their own thread
            until = time.monotonic() + CLOSE_S
            with self._held():
                while any(one.in_flight for one in self._accounts.values()):
                    if not self._guard.wait(max(until - time.monotonic(), 0.0)):
                        break
        self._loop.close(self._end)
        self._threads.clear()  # a later thread may have the same number


def _full(rollout: Rollout, account: _Account, day: str) -> str | None:
    """Why there is no room for another shadow, or None."""
    if account.day != day:
        account.day, account.calls = day, 0
    if account.in_flight >= rollout.budget.in_flight:
        return "in flight"
    if rollout.budget.calls is not None and account.calls >= rollout.budget.calls:
        return "calls"
    return None


def _shadow_of(call: Call, arm: Arm, account: _Account, day: str) -> ShadowCall:
    """The same request under an id, a deadline and a purse of its own."""
    asked = call.asked
    request = replace(asked.request, call_id=uuid.uuid4().hex, budget_usd=None)
    wanted = replace(asked.wanted, models=arm.models, allow_fallback=True)
    return ShadowCall(
        call.setup,
        replace(asked, request=request, wanted=wanted),
        call.log,
        call.redact,
        account.money.open(day, None),
        arm=replace(arm, arm="challenger", of=asked.request.call_id),
    )
