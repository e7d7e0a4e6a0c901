"""One sweep under way: what it sends, through which doors, under which account, and what it leaves alone."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from llmbench.bench.account import Account, most_charged
from llmbench.bench.asking import Outcome, Question
from llmbench.bench.ledger import Ledger
from llmbench.bench.plan import Plan
from llmbench.bench.progress import Progress, ProgressFile
from llmbench.bench.throttle import FIRST_PAUSE_S, Throttle, smaller
from llmbench.catalog import Endpoint, Limits
from llmbench.routing.client import LLMClient

#: Seconds after which a provider that refused every call since is left alone for the rest of the run.
PATIENCE_S: Final = 600.0


class Sendable(Protocol):
    """What can be sent and recorded: a cell, or a question to a judge."""

    @property
    def name(self) -> str:
        """The call in words, unique in the run."""
        ...

    @property
    def model(self) -> str:
        """The candidate's name."""
        ...

    @property
    def lane(self) -> str:
        """The place it queues at."""
        ...

    @property
    def fingerprint(self) -> str:
        """The identity of the question."""
        ...

    def call(self) -> dict[str, Any]:
        """The arguments of the client's `acall`."""
        ...


@dataclass(slots=True)
class Work:
    """One sweep under way.

    Attributes:
        ask: makes one call, here or on another machine.
        ends_at: the monotonic time after which nothing is sent, or None.
        throttles: provider -> its door.
        places: bounds the calls at once of all lanes of one local provider.
        warm: the (task, model) pairs whose server has been called before.
        closed: model -> why it is left alone from now on.
        unsent: fingerprint -> why a cell was not sent.
    """

    plan: Plan
    run_id: str
    client: LLMClient
    ledger: Ledger
    progress: Progress
    file: ProgressFile
    account: Account
    ask: Callable[[LLMClient, Question], Awaitable[Outcome]]
    ends_at: float | None = None
    throttles: dict[str, Throttle] = field(default_factory=dict)
    places: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    warm: set[tuple[str, str]] = field(default_factory=set)
    closed: dict[str, str] = field(default_factory=dict)
    unsent: dict[str, str] = field(default_factory=dict)
    account_failures: Counter[str] = field(default_factory=Counter)
    most_charged: int = field(init=False)

    def __post_init__(self) -> None:
        self.most_charged = most_charged(self.client.config.policy)

    def base(self, cell: Sendable) -> str:
        """The registry's model behind a cell."""
        variant = self.plan.variants.get(cell.model)
        return cell.model if variant is None else variant.base

    def bases(self) -> list[str]:
        """The registry's models that the plan may call."""
        variants = self.plan.variants
        return list(dict.fromkeys(variants[key].base if key in variants else key for key in self.plan.models))

    def endpoint(self, cell: Sendable) -> Endpoint:
        """Where a cell is sent."""
        config = self.client.config
        return config.endpoints[config.models[self.base(cell)].provider]

    def throttle(self, endpoint: Endpoint) -> Throttle:
        """The door to a provider: its own limits, or the plan's where those are smaller."""
        found = self.throttles.get(endpoint.name)
        if found is None:
            limits = smaller(endpoint.limits, self.plan.limits.get(endpoint.name, Limits()))
            pause_s = min(max(self.client.config.policy.backoff_s(429), 0.01), FIRST_PAUSE_S)
            found = self.throttles[endpoint.name] = Throttle(limits, first_pause_s=pause_s)
        return found

    def refusal(self, cell: Sendable) -> str | None:
        """Why a cell is not sent at this time, or None."""
        if self.left_s() == 0.0:
            return self.no_time
        if (reason := self.closed.get(self.base(cell))) is not None:
            return reason
        door = self.throttles.get(self.endpoint(cell).name)
        if door is None or door.refusing_s() < PATIENCE_S:
            return None
        return f"{self.endpoint(cell).name} refused every call for {PATIENCE_S / 60:g} minutes"

    def left_s(self) -> float | None:
        """Seconds until nothing more is sent, or None."""
        return None if self.ends_at is None else max(self.ends_at - time.monotonic(), 0.0)

    @property
    def no_time(self) -> str:
        """What is said of a cell for which there was no time."""
        return f"the sweep's {self.plan.deadline_s:g} s were over"

    def leave(self, cell: Sendable, reason: str) -> None:
        """Leave a cell pending without sending it."""
        self.unsent[cell.fingerprint] = reason
        self.progress.pending += 1
        self.file.show(self.progress)
