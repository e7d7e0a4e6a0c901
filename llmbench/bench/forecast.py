"""What a plan will take before anything is sent: calls, tokens, dollars and time, and whether it may start.

One row a task and model; judges' questions are rows of another kind. What the ledger holds costs nothing
more. A race (`stop: decided`) calls what its rules need: its low figures are those of the pilot, its high
ones those of the whole grid.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from llmbench.bench.account import is_paid
from llmbench.bench.cells import Cell, lane_of
from llmbench.bench.forecast_calls import CallForecast, Span, base_model
from llmbench.bench.plan import Budget, Plan
from llmbench.bench.throttle import FIRST_CONCURRENCY, MOST_CONCURRENCY
from llmbench.catalog import Limits
from llmbench.display import wording
from llmbench.routing.client import LLMClient
from llmbench.visible import visible

Kind = Literal["answer", "judge"]


@dataclass(frozen=True, slots=True)
class ForecastRow:
    """What is left to call of one model on one task.

    Attributes:
        task: its name.
        model: the plan's key.
        provider: who serves it.
        lane: where its calls queue: the provider, or one local server.
        planned: cells of the whole grid.
        in_ledger: those that have a result.
        calls: still to be made: the fewest, the expected and the most.
        input: tokens of those calls.
        output: the same.
        usd: US dollars of those calls, or None when a price is unknown.
        unknown: why, else empty.
        seconds: of the expected calls, one after the other.
        reserved_tokens: that the expected calls count in a limit of tokens a minute.
        costs_money: whether its provider charges for a call, as far as is known.
        basis: what the figures rest on, in words.
        kind: who is asked what.
    """

    task: str
    model: str
    provider: str
    lane: str
    planned: int
    in_ledger: int
    calls: Span
    input: Span
    output: Span
    usd: Span | None
    unknown: str
    seconds: float
    reserved_tokens: int
    costs_money: bool
    basis: tuple[str, ...]
    kind: Kind = "answer"

    def facts(self) -> dict[str, Any]:
        """The JSON form."""
        spans = {name: getattr(self, name).facts() for name in ("calls", "input", "output")}
        usd = None if self.usd is None else self.usd.facts()
        return asdict(self) | spans | {"usd": usd, "basis": list(self.basis)}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a whole plan will take.

    Attributes:
        rows: one a task, model and kind.
        seconds: of the wall clock, expected.
    """

    rows: tuple[ForecastRow, ...]
    seconds: float

    @property
    def planned(self) -> int:
        """Cells of the whole grid."""
        return sum(row.planned for row in self.rows)

    @property
    def in_ledger(self) -> int:
        """Those that have a result."""
        return sum(row.in_ledger for row in self.rows)

    @property
    def calls(self) -> Span:
        """Calls still to be made."""
        return _sum(row.calls for row in self.rows)

    @property
    def input(self) -> Span:
        """Their tokens of input."""
        return _sum(row.input for row in self.rows)

    @property
    def output(self) -> Span:
        """Their tokens of output."""
        return _sum(row.output for row in self.rows)

    @property
    def usd(self) -> Span | None:
        """Their US dollars; None when the price of one is unknown."""
        spans = [row.usd for row in self.rows if row.usd is not None]
        return _sum(spans) if len(spans) == len(self.rows) else None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Why a price is unknown, each reason once."""
        return tuple(dict.fromkeys(row.unknown for row in self.rows if row.usd is None))

    @property
    def paid_providers(self) -> tuple[str, ...]:
        """The providers that charge for what is left to call."""
        return tuple(dict.fromkeys(row.provider for row in self.rows if row.costs_money and row.calls.high))

    def facts(self) -> dict[str, Any]:
        """The JSON form."""
        usd = self.usd
        return {
            "planned": self.planned,
            "in_ledger": self.in_ledger,
            "calls": self.calls.facts(),
            "input_tokens": self.input.facts(),
            "output_tokens": self.output.facts(),
            "usd": None if usd is None else usd.facts(),
            "unknown": list(self.unknown),
            "seconds": self.seconds,
            "paid_providers": list(self.paid_providers),
            "rows": [row.facts() for row in self.rows],
        }


def _sum(spans: Iterable[Span]) -> Span:
    return sum(spans, start=Span())


def forecast_row(
    cells: Sequence[Cell],
    calls: Mapping[str, CallForecast],
    finished: Container[str],
    prompts: tuple[int, int],
    client: LLMClient,
) -> ForecastRow:
    """What is left of one model on one task.

    Args:
        cells: all cells of the model on the task.
        calls: what each of them takes, by fingerprint.
        finished: fingerprints that have a result.
        prompts: of the task's samples in calling order, how many are called at least, and expected.
        client: the router.
    """
    first = cells[0]
    place = {sample.id: at for at, sample in enumerate(first.task.samples)}
    left = [cell for cell in cells if cell.fingerprint not in finished]
    fewest, expected = (
        [calls[cell.fingerprint] for cell in left if place[cell.sample.id] < most] for most in prompts
    )
    most = [calls[cell.fingerprint] for cell in left]
    spec = client.config.models[base_model(first)]
    priced = [(call.usd or Span(), call.unknown) for call in most]
    unknown = next((reason for _, reason in priced if reason), "")
    basis = dict.fromkeys(text for cell in cells for text in calls[cell.fingerprint].basis)
    return ForecastRow(
        task=first.task.task,
        model=first.model,
        provider=spec.provider,
        lane=lane_of(client, spec.key),
        planned=len(cells),
        in_ledger=len(cells) - len(left),
        calls=Span(len(fewest), len(expected), len(most)),
        input=_spread(fewest, expected, most, "input"),
        output=_spread(fewest, expected, most, "output"),
        usd=None if unknown else _spread(fewest, expected, most, "usd"),
        unknown=unknown,
        seconds=math.fsum(call.seconds for call in expected),
        reserved_tokens=sum(cell.tokens for cell in left if place[cell.sample.id] < prompts[1]),
        costs_money=is_paid(client, spec.key),
        basis=tuple(basis),
    )


def _spread(
    fewest: Iterable[CallForecast], expected: Iterable[CallForecast], most: Iterable[CallForecast], name: str
) -> Span:
    """Low figures of the fewest calls, expected ones of the expected, high ones of all."""
    return Span(
        math.fsum(getattr(call, name).low for call in fewest),
        math.fsum(getattr(call, name).expected for call in expected),
        math.fsum(getattr(call, name).high for call in most),
    )


def make_forecast(plan: Plan, rows: Iterable[ForecastRow], client: LLMClient) -> Forecast:
    """The rows with the time that they take together.

    Args:
        plan: the plan. Of its own limits by provider and those of the config the smaller ones hold.
        rows: of all its tasks.
        client: the router, for its providers.
    """
    known = tuple(rows)
    endpoints = client.config.endpoints
    names = {row.provider for row in known}
    held = {name: _smaller(plan.limits.get(name, Limits()), endpoints[name].limits) for name in names}
    local = frozenset(name for name in held if endpoints[name].managed is not None)
    if plan.stop == "grid":  # everything waits at its provider at once
        return Forecast(known, _seconds(known, held, local, math.inf))
    tasks = dict.fromkeys(row.task for row in known)
    round_ = plan.batch * plan.repeats  # a race looks at a batch before it asks for the next one
    parts = (_seconds([row for row in known if row.task == task], held, local, round_) for task in tasks)
    return Forecast(known, math.fsum(parts))


def _smaller(one: Limits, other: Limits) -> Limits:
    """The smaller of two limits each."""
    pairs = (
        (one.requests_per_minute, other.requests_per_minute),
        (one.tokens_per_minute, other.tokens_per_minute),
        (one.concurrency, other.concurrency),
    )
    return Limits(*(min((n for n in pair if n is not None), default=None) for pair in pairs))


def _seconds(
    rows: Sequence[ForecastRow], limits: Mapping[str, Limits], local: frozenset[str], round_: float
) -> float:
    """The slowest provider's time for these rows; `round_` bounds the calls of a model at once."""
    return max(
        (
            (_local_seconds if name in local else _remote_seconds)(
                [row for row in rows if row.provider == name and row.calls.expected], limits[name], round_
            )
            for name in {row.provider for row in rows}
        ),
        default=0.0,
    )


def _remote_seconds(rows: Sequence[ForecastRow], limits: Limits, round_: float) -> float:
    calls = sum(row.calls.expected for row in rows)
    if not calls:
        return 0.0
    mean = math.fsum(row.seconds for row in rows) / calls
    seconds = [mean * _turns(calls, limits, round_ * len(rows))]
    if limits.requests_per_minute:
        seconds.append(60 * calls / limits.requests_per_minute)
    if limits.tokens_per_minute:
        tokens = sum(row.reserved_tokens for row in rows)
        seconds.append(60 * tokens / limits.tokens_per_minute)
    return max(seconds)


def _turns(calls: float, limits: Limits, most: float) -> float:
    """How many calls one after the other so many calls take, `most` at once or fewer.

    Where nobody says how many a provider allows, the sweep finds out: one more each turn, as long as it is
    not refused. That it is not is assumed here.
    """
    if limits.concurrency is not None:
        return max(calls / min(limits.concurrency, most), 1.0)
    turns, at_once, ceiling = 0, FIRST_CONCURRENCY, min(MOST_CONCURRENCY, most)
    while calls > at_once and at_once < ceiling:
        calls -= at_once
        turns += 1
        at_once += 1
    return turns + max(calls / min(at_once, ceiling), 1.0)


def _local_seconds(rows: Sequence[ForecastRow], limits: Limits, _round: float) -> float:
    """Each server answers one call at a time, and so many servers at once as the provider allows."""
    servers: dict[str, float] = {}
    for row in rows:
        servers[row.lane] = servers.get(row.lane, 0.0) + row.seconds
    if not servers:
        return 0.0
    at_once = min(limits.concurrency or len(servers), len(servers))
    return max(*servers.values(), math.fsum(servers.values()) / at_once)


def over_budget(forecast: Forecast, budget: Budget, *, spent_usd: float = 0.0, calls: int = 0) -> str | None:
    """Why a plan cannot start under its budget, in one line; None when it can.

    Its fewest calls must fit, and its expected dollars. A cost that nobody can cap fits into no budget.

    Args:
        forecast: what is left to call.
        budget: the plan's.
        spent_usd: what earlier parts of the run have spent of it, US dollars.
        calls: that those have sent.
    """
    fewest, most = round(forecast.calls.low), budget.calls
    if fewest and most is not None and calls + fewest > most:
        return (
            f"it takes at least {wording.count(fewest, 'call')} more and its budget has "
            f"{max(most - calls, 0):,} left; raise budget.calls, or ask for fewer samples, candidates or "
            "repeats"
        )
    if budget.usd is None or not forecast.calls.high:
        return None
    paid = [row for row in forecast.rows if row.costs_money]
    uncapped = next((row for row in paid if row.usd is None or math.isinf(row.usd.high)), None)
    if uncapped is not None:
        reason = uncapped.unknown.removeprefix("unknown: ") or "its answers have no output limit"
        return (
            f"nobody knows what {visible(uncapped.model)} may cost on "
            f"{visible(uncapped.task)} ({visible(reason)}), and no budget in USD can hold "
            "that; give the model a price and the task max_tokens"
        )
    expected = _sum(row.usd for row in forecast.rows if row.usd is not None).expected
    if spent_usd + expected <= budget.usd:
        return None
    return (
        f"it is expected to cost {wording.money(expected)} more and its budget has "
        f"{wording.money(max(budget.usd - spent_usd, 0.0))} left; raise budget.usd, or ask for fewer "
        "samples, candidates or repeats"
    )
