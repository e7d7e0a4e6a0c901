"""Money that a call may spend: reserved before a request is sent, settled when its cost is known.

A request is admitted when its worst case fits beside what was spent and what requests in flight may still
cost, in each of three accounts: the call's, its run's and its routing key's. Accounts live in this process.

What a request counts in the end: its cost where that is known; nothing where nobody charges for it (no
connection, an open circuit, an HTTP status of 400 and above); else its worst case. A timeout, a gateway's
too, a cancelled call, a broken stream and an answer without a known cost may all have been charged.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Self

from llmbench.catalog import BudgetLimits
from llmbench.errors import BudgetExceeded, ConfigError, ErrorKind, ParamError, ProviderError
from llmbench.messages import Route
from llmbench.structuring import brief, is_number

#: Money is counted in whole units of 1e-12 USD: sums of floats drift, and a limit is a limit.
UNITS: Final = 10**12
#: Failures without an HTTP status that count nothing. A connection that breaks while the answer is read has
#: the status of the answer, and counts: the host may charge for it.
_UNCHARGED: Final[frozenset[ErrorKind]] = frozenset({"connect", "circuit_open", "auth"})
_UNKNOWN: Final = "its worst case is not known: "
_NEEDS: Final = "give the model a price and the call max_tokens"


@dataclass(slots=True)
class _Account:
    """What was spent and what is held for requests in flight, in units."""

    spent: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True)
class _Limited:
    """An account with its limit in units, and the words for both."""

    account: _Account
    limit: int
    name: str

    def refusal(self, worst: int) -> str | None:
        left = self.limit - self.account.spent - self.account.held
        if worst <= left:
            return None
        rest, whole = _shown(max(left, 0)), _shown(self.limit)
        return f"its worst case {_shown(worst)} is more than what is left: {rest} of {self.name} of {whole}"


class Budgets:
    """The accounts of one process, shared by its calls; safe between threads and event loops.

    Calls without a run id share one run, calls without a routing key one key: a limit that is set holds for
    every call. `limits` may be replaced while calls run; what was spent stays. An account is kept for each
    run id and key that was seen under a limit. A forked child starts with what was spent, and nothing held.
    """

    def __init__(self, limits: BudgetLimits) -> None:
        self.limits = limits
        self._runs: dict[str | None, _Account] = {}
        self._keys: dict[str | None, _Account] = {}
        self._begin()

    def _begin(self) -> None:
        """Start with nothing held: in a forked child, the parent's requests are never settled."""
        self._guard = threading.Lock()
        for account in (*self._runs.values(), *self._keys.values()):
            account.held = 0
        self._pid = os.getpid()

    def guard(self) -> threading.Lock:
        """The lock of this process over all accounts, to be entered."""
        if self._pid != os.getpid():
            self._begin()
        return self._guard

    def open(
        self,
        run_id: str | None,
        routing_key: str | None,
        budget_usd: float | None = None,
        needs: str = _NEEDS,
    ) -> Purse:
        """The money of one call. `budget_usd` is the call's own limit; the smaller one holds.

        `needs` says what to do where the worst case of a request is not known.

        Raises:
            ParamError: `budget_usd` is no amount of money.
        """
        if budget_usd is not None and not (is_number(budget_usd) and budget_usd >= 0):
            raise ParamError(f"budget_usd is {brief(budget_usd)}; give an amount in USD, 0 or more")
        limits = self.limits
        given = [limit for limit in (budget_usd, limits.call_usd) if limit is not None]
        if not given and limits.run_usd is None and limits.routing_key_usd is None:
            return Purse(self, (), needs)
        accounts: list[_Limited] = []
        with self.guard():
            if given:
                accounts.append(_Limited(_Account(), units(min(given)), "the call's budget"))
            if limits.run_usd is not None:
                account = self._runs.setdefault(run_id, _Account())
                accounts.append(_Limited(account, units(limits.run_usd), f"the budget of {_run(run_id)}"))
            if limits.routing_key_usd is not None:
                account = self._keys.setdefault(routing_key, _Account())
                name = f"the budget of {_key(routing_key)}"
                accounts.append(_Limited(account, units(limits.routing_key_usd), name))
        return Purse(self, tuple(accounts), needs)


class Purse:
    """What one call may spend: its own account, and those that it shares."""

    def __init__(self, budgets: Budgets, accounts: tuple[_Limited, ...], needs: str = _NEEDS) -> None:
        self._budgets = budgets
        self._accounts = accounts
        self._unknown = _UNKNOWN + needs

    @property
    def is_limited(self) -> bool:
        """Whether any limit holds for this call."""
        return bool(self._accounts)

    def refusal(self, worst_usd: float | None) -> str | None:
        """Why a request of this worst case would be refused now, or None. Nothing is held."""
        if not self._accounts:
            return None
        if worst_usd is None or not math.isfinite(worst_usd):
            return self._unknown
        with self._budgets.guard():
            return self._refusal(units(worst_usd))

    def reserve(self, model: str, worst_usd: float | None) -> Reservation:
        """Hold the worst case of one request; to be used as a context manager around sending it.

        Raises:
            BudgetExceeded: it does not fit, or nobody knows what it may cost; nothing was sent.
        """
        if not self._accounts:
            return Reservation(self._budgets, (), 0)
        if worst_usd is None or not math.isfinite(worst_usd):
            raise BudgetExceeded(f"{model}: {self._unknown}")
        worst = units(worst_usd)
        with self._budgets.guard():
            problem = self._refusal(worst)
            if problem is not None:
                raise BudgetExceeded(f"{model}: {problem}")
            for limited in self._accounts:
                limited.account.held += worst
        return Reservation(self._budgets, tuple(limited.account for limited in self._accounts), worst)

    def _refusal(self, worst: int) -> str | None:
        problems = (limited.refusal(worst) for limited in self._accounts)
        return next((problem for problem in problems if problem is not None), None)


class Reservation:
    """Money held for one request. Leaving its context settles what was not settled inside."""

    def __init__(self, budgets: Budgets, accounts: tuple[_Account, ...], worst: int) -> None:
        self._budgets = budgets
        self._accounts = accounts
        self._worst = worst
        self._is_open = True
        self._pid = os.getpid()

    def settle(self, actual_usd: float | None) -> None:
        """Replace what is held by the cost in USD; by the worst case when the cost is not known.

        A cost above the worst case counts in full. Only the first call settles, in the process that holds.
        """
        if not self._accounts or self._pid != os.getpid():
            return
        is_known = actual_usd is not None and math.isfinite(actual_usd) and actual_usd >= 0
        actual = units(actual_usd) if is_known and actual_usd is not None else self._worst
        with self._budgets.guard():
            if not self._is_open:
                return
            self._is_open = False
            for account in self._accounts:
                account.held -= self._worst
                account.spent += actual

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.settle(0.0 if error is not None and is_free(error) else None)


def is_free(error: BaseException) -> bool:
    """Whether a request that failed like this counts nothing."""
    return isinstance(error, ProviderError) and is_uncharged(error.kind, error.status_code)


def is_uncharged(kind: ErrorKind, status_code: int | None) -> bool:
    """Whether nobody charges for a request that failed with this kind and HTTP status."""
    if kind == "timeout":
        return False
    return kind in _UNCHARGED if status_code is None else status_code >= 400


def within_budget(route: Route, purse: Purse, worst_usd: Callable[[str], float | None]) -> Route:
    """The route without the candidates that do not fit the call's budget, each with its reason.

    Args:
        route: where the call would go.
        purse: the call's money; without a limit the route stays as it is, and nothing is computed.
        worst_usd: the most that one request to a model can cost, None when that is not known.

    Raises:
        BudgetExceeded: no candidate fits; nothing was sent.
    """
    if not purse.is_limited:
        return route
    said = {key: _said(purse, key, worst_usd) for key in route.candidates}
    refused = {key: reason for key, reason in said.items() if reason is not None}
    if not refused:
        return route
    left = tuple(key for key in route.candidates if key not in refused)
    if not left:
        listed = "; ".join(f"{key}: {reason}" for key, reason in refused.items())
        raise BudgetExceeded(f"no candidate of task {route.task} fits the budget: {listed}")
    return replace(route, candidates=left, excluded=(*route.excluded, *refused.items()))


def _said(purse: Purse, key: str, worst_usd: Callable[[str], float | None]) -> str | None:
    """Why a candidate is refused; one that cannot express the call stays, and says so at its turn."""
    try:
        return purse.refusal(worst_usd(key))
    except (ParamError, ConfigError):
        return None


def _shown(units: int) -> str:
    return f"${units / UNITS:.6f}"


def units(usd: float) -> int:
    """US dollars in whole units: sums of floats drift, and a limit is a limit."""
    return round(usd * UNITS)


def _run(run_id: str | None) -> str:
    return "calls without a run id" if run_id is None else f"run {run_id}"


def _key(routing_key: str | None) -> str:
    return "calls without a routing key" if routing_key is None else f"routing key {routing_key}"
