"""Before spending: what a sweep will take, how many prompts a task needs, and what a larger pool would buy.

What a pool can prove is a matter of its size alone (see `pools`). What a sweep takes is forecast from the
calls that the ledger holds (see `forecast_calls`). Nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from llmbench.bench import forecast_page, planning_page
from llmbench.bench.cells import Cell, make_cells
from llmbench.bench.evidence import FEW
from llmbench.bench.forecast import (
    Forecast,
    ForecastRow,
    forecast_row,
    make_forecast,
    over_budget,
)
from llmbench.bench.forecast_calls import CallForecast
from llmbench.bench.forecast_judges import judge_row
from llmbench.bench.forecast_media import calls_of
from llmbench.bench.ledger import LedgerState, read_ledger
from llmbench.bench.measured import Call, Measured
from llmbench.bench.plan import Plan, TaskPlan
from llmbench.bench.pools import EQUAL, NEVER_DIFFER, Assumption, Pool, provable_margin, units_for
from llmbench.bench.refusals import budget_missing
from llmbench.bench.results import cell_score
from llmbench.bench.spending import Spending, as_number, price_of, total
from llmbench.bench.terms import Arm, Terms, arm_name
from llmbench.bench.trial import Trial
from llmbench.routing.client import LLMClient
from llmbench.visible import visible

FACTORS: Final = (1.0, 1.5, 2.0, 3.0, 5.0)
"""Sizes of the pools that are compared, the present one first."""
_CURVE: Final = (0.25, 0.5, 0.75, *FACTORS)
_EXPECTED: Final = "differ_20"
"""The assumption behind the expected calls, until the ledger holds enough to say better."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one assumption asks for, and what the present pool gives under it."""

    assumption: Assumption
    units: int | None
    prompts: int | None
    provable: float | None


@dataclass(frozen=True, slots=True)
class PoolRow:
    """One size of pool.

    Attributes:
        factor: its size over the present one's.
        prompts: its prompts.
        units: clusters of them.
        provable: assumption's key -> smallest margin, or None.
        expected_calls: of the whole sweep, those of the ledger too.
        expected_usd: for those of them without a result; None when a price is unknown.
        most_calls: of the full grid.
        most_usd: the most that those of them without a result can cost, each made once; or None.
    """

    factor: float
    prompts: int
    units: int
    provable: Mapping[str, float | None]
    expected_calls: int
    expected_usd: float | None
    most_calls: int
    most_usd: float | None


@dataclass(frozen=True, slots=True)
class TaskForecast:
    """What is known of a task's sweep before it.

    Attributes:
        task: its name.
        reference: the model or chain to compare with.
        candidates: what could take over, the cheapest first.
        pool: the prompts.
        margin: the loss accepted.
        side: the error of one candidate's claim.
        needs: the best case first, then the assumed discordances, then what the ledger has seen. Empty
            without a candidate.
        expected_prompts: that the first candidate's trial takes; all of them when they will hardly decide.
        expected_from: the assumption behind it; empty when it rests on none.
        is_undecided: whether the pool will hardly decide under that assumption: all calls are expected then.
        pools: the sizes of pool, the present one first.
        rows: what is left to call of each model.
        curves: assumption's name -> (prompts, smallest margin), for the chart.
    """

    task: str
    reference: str
    candidates: tuple[str, ...]
    pool: Pool
    margin: float
    side: float
    needs: tuple[Need, ...]
    expected_prompts: int
    expected_from: str
    is_undecided: bool
    pools: tuple[PoolRow, ...]
    rows: tuple[ForecastRow, ...]
    curves: Mapping[str, tuple[tuple[int, float], ...]]

    @property
    def can_prove(self) -> bool:
        """Whether this pool can prove the margin at all."""
        fewest = self.needs[0].units if self.needs else None
        return fewest is not None and fewest <= len(self.pool.weights)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        facts = {name: value for name, value in asdict(self).items() if name != "rows"}
        facts["pool"] = {"prompts": self.pool.prompts, "clusters": len(self.pool.weights)}
        return facts | {"can_prove": self.can_prove, "warning": planning_page.warning(self)}


@dataclass(frozen=True, slots=True, repr=False)
class SweepForecast:
    """What is known of a whole plan before it is run; a notebook shows it as tables and charts.

    Attributes:
        name: the run's id.
        tasks: what each needs and proves.
        calls: what all of them take.
        refusal: why the plan cannot start, in one line; None when it can.
    """

    name: str
    tasks: tuple[TaskForecast, ...]
    calls: Forecast = field(default_factory=lambda: Forecast((), 0.0))
    refusal: str | None = None

    def rows(self) -> list[dict[str, Any]]:
        """One row a task and size of pool: margins as shares, dollars or None."""
        return [planning_page.pool_row(task, row) for task in self.tasks for row in task.pools]

    def warnings(self) -> list[str]:
        """What must not be overlooked."""
        proofs = [text for task in self.tasks if (text := planning_page.warning(task)) is not None]
        return [*([] if self.refusal is None else [self.refusal]), *proofs]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        tasks = {task.task: task.to_dict() for task in self.tasks}
        head = {"plan": self.name, "forecast": self.calls.facts(), "refusal": self.refusal}
        return {**head, "tasks": tasks, "warnings": self.warnings()}

    def chart(self) -> str:
        """The charts of all tasks as the text of one SVG file."""
        return planning_page.charts_svg(self)

    def __str__(self) -> str:
        lines = map(planning_page.task_line, self.tasks)
        return "\n".join([forecast_page.total_line(self.calls), *lines, *map(visible, self.warnings())])

    def __repr__(self) -> str:
        return f"SweepForecast({self.name}: {forecast_page.total_line(self.calls)})"

    def _repr_html_(self) -> str:
        return planning_page.forecast_html(self)


def forecast_sweep(plan: Plan, client: LLMClient, ledger: Path) -> SweepForecast:
    """Plan a sweep without sending anything.

    Args:
        plan: the frozen plan.
        client: the router, for prices and for the most that a call can cost.
        ledger: what was called before; the file may be missing.

    Raises:
        RouteError: a candidate cannot take a task's samples.
        SweepError: the same, or the ledger cannot be read.
    """
    cells = list(make_cells(plan, client))
    state = read_ledger(ledger, {cell.fingerprint for cell in cells}, plan.run_id)
    calls = calls_of(cells, state, client)
    tasks = tuple(
        plan_task(plan, task, [cell for cell in cells if cell.task is task], state, calls, client)
        for task in plan.tasks
    )
    answers = [row for task in tasks for row in task.rows]
    whole = make_forecast(plan, [*answers, *_judge_rows(plan, cells, state, client)], client)
    refusal = budget_missing(plan, client) or over_budget(
        whole, plan.budget, spent_usd=state.bill.usd, calls=state.bill.calls
    )
    return SweepForecast(plan.run_id, tasks, whole, refusal)


def forecast_refusal(plan: Plan, cells: Sequence[Cell], state: LedgerState, client: LLMClient) -> str | None:
    """Why a plan asks for more than its budget has left, in one line, or None."""
    calls = calls_of(cells, state, client)
    rows = [
        row
        for task in plan.tasks
        for row in plan_task(plan, task, [c for c in cells if c.task is task], state, calls, client).rows
    ]
    whole = make_forecast(plan, [*rows, *_judge_rows(plan, cells, state, client)], client)
    return over_budget(whole, plan.budget, spent_usd=state.bill.usd, calls=state.bill.calls)


def _judge_rows(
    plan: Plan, cells: Iterable[Cell], state: LedgerState, client: LLMClient
) -> Iterator[ForecastRow]:
    """The judges' questions of tasks that are not answered yet; later the ledger has most of them."""
    open_tasks = {cell.task.task for cell in cells if cell.fingerprint not in state.results}
    for task in plan.tasks:
        if task.task in open_tasks and (row := judge_row(plan, task, client)) is not None:
            yield row


def plan_task(
    plan: Plan,
    task: TaskPlan,
    cells: Sequence[Cell],
    state: LedgerState,
    calls: Mapping[str, CallForecast],
    client: LLMClient,
) -> TaskForecast:
    """What one task of a plan needs, proves and costs.

    Args:
        plan: the plan.
        task: one of its tasks.
        cells: its cells.
        state: what the ledger holds of them.
        calls: what each cell takes, by fingerprint.
        client: the router.
    """
    terms, units = plan.terms(task), task.units
    pool = Pool(len(task.samples), tuple(unit.weight(len(unit.prompts)) for unit in units))
    prices = {model: price_of(model, cells, state, calls) for model in task.candidates}
    arms = sorted(task.arms, key=lambda arm: _known_first(prices[arm[0]].usd))
    seen = _seen_so_far(terms, task, cells, state, arms)
    assumed = (NEVER_DIFFER, *EQUAL, *(found for found in seen if found is not None)) if arms else ()
    needs = tuple(_need(pool, each, terms) for each in assumed)
    basis = _basis(needs, seen)
    needed = None if basis is None else basis.prompts
    spending = Spending(terms, plan.repeats, tuple(arms), prices, pool.prompts)
    prompts = spending.prompts(pool.prompts, needed)
    return TaskForecast(
        task=task.task,
        reference=arm_name(task.chain),
        candidates=tuple(map(arm_name, arms)),
        pool=pool,
        margin=terms.margin,
        side=terms.side,
        needs=needs,
        expected_prompts=pool.prompts if prompts is None else prompts,
        expected_from="" if basis is None or terms.stop == "grid" else basis.assumption.name,
        is_undecided=prompts is None,
        pools=tuple(_pool_row(factor, pool, spending, assumed, needed) for factor in FACTORS),
        rows=_call_rows(cells, calls, state, spending, needed, client),
        curves=_curves(pool, assumed, terms.side),
    )


def _call_rows(
    cells: Sequence[Cell],
    calls: Mapping[str, CallForecast],
    state: LedgerState,
    spending: Spending,
    needed: int | None,
    client: LLMClient,
) -> tuple[ForecastRow, ...]:
    pool = spending.prompts_now
    fewest, expected = spending.fewest(pool), spending.calls(pool, needed)
    own: dict[str, list[Cell]] = {model: [] for model in spending.prices}
    for cell in cells:
        own[cell.model].append(cell)
    return tuple(
        forecast_row(
            found, calls, state.results, (fewest[model], expected.get(model, 0) // spending.repeats), client
        )
        for model, found in own.items()
    )


def _pool_row(
    factor: float, now: Pool, spending: Spending, assumed: Sequence[Assumption], needed: int | None
) -> PoolRow:
    pool = now.grown(factor)
    calls = spending.calls(pool.prompts, needed)
    left = spending.left(calls)
    alpha = spending.terms.side
    return PoolRow(
        factor=factor,
        prompts=pool.prompts,
        units=len(pool.weights),
        provable={each.key: provable_margin(pool, each, alpha=alpha) for each in assumed},
        expected_calls=sum(calls.values()),
        expected_usd=total([None if price.usd is None else n * price.usd for price, n in left]),
        most_calls=pool.prompts * spending.repeats * len(spending.prices),
        most_usd=spending.most_usd(pool.prompts),
    )


def _known_first(usd: float | None) -> float:
    return float("inf") if usd is None else usd


def _need(pool: Pool, assumption: Assumption, terms: Terms) -> Need:
    units = units_for(pool, assumption, terms.margin, alpha=terms.side)
    provable = provable_margin(pool, assumption, alpha=terms.side)
    return Need(assumption, units, None if units is None else pool.prompts_for(units), provable)


def _basis(needs: Sequence[Need], seen: Sequence[Assumption | None]) -> Need | None:
    """What the expected calls rest on: enough results of the first candidate, or the usual assumption."""
    if seen and seen[0] is not None and seen[0].seen >= FEW:
        found = next(need for need in needs if need.assumption is seen[0])
        if found.units is not None:  # otherwise it is about to be given up, and nobody knows the next one
            return found
    return next((need for need in needs if need.assumption.key == _EXPECTED), None)


def _curves(
    pool: Pool, assumed: Sequence[Assumption], alpha: float
) -> dict[str, tuple[tuple[int, float], ...]]:
    pools = {grown.prompts: grown for factor in _CURVE for grown in [pool.grown(factor)]}
    return {
        each.name: tuple(
            (prompts, margin)
            for prompts, grown in pools.items()
            if (margin := provable_margin(grown, each, alpha=alpha)) is not None
        )
        for each in assumed
    }


def _seen_so_far(
    terms: Terms, task: TaskPlan, cells: Sequence[Cell], state: LedgerState, arms: Sequence[Arm]
) -> list[Assumption | None]:
    """Each arm's paired differences to the reference in the ledger; None with fewer than two clusters."""
    measured = Measured()
    places: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        places.setdefault((cell.model, cell.sample.id), []).append(cell)
    for (model, prompt), repeats in places.items():
        lines = [state.results.get(cell.fingerprint) for cell in repeats]
        known = [(cell, line) for cell, line in zip(repeats, lines, strict=True) if line is not None]
        calls = [_call(cell, line, state.media) for cell, line in known]
        if len(calls) == len(repeats):
            measured.add(model, [prompt], {prompt: calls})
    return [_seen(terms, task, arm, measured) for arm in arms]


def _seen(terms: Terms, task: TaskPlan, arm: Arm, measured: Measured) -> Assumption | None:
    trial = Trial(arm, terms, [len(task.units)])
    trial.update(task.units, measured)
    n = len(trial.differences)
    if n < 2:
        return None
    name = f"{arm_name(arm)}, as seen on {n}"
    return Assumption(f"seen:{arm_name(arm)}", name, trial.delta, float(np.var(trial.differences, ddof=1)), n)


def _call(cell: Cell, line: Mapping[str, Any], media: Path) -> Call:
    given = cell_score(cell, str(line["status"]), line.get("output"), media)
    score = 0.0 if given is None else given.value
    return Call(
        str(line["status"]), score, as_number(line.get("latency_ms")), as_number(line.get("cost_usd"))
    )
