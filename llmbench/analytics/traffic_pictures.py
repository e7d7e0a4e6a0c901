"""The pictures of telemetry: rows out of the warehouse into drawings that a notebook can show."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from xml.etree.ElementTree import Element

from llmbench.analytics.warehouse import Warehouse
from llmbench.display import figures, traffic_figures_marks
from llmbench.display.language import mark, say
from llmbench.display.traffic_figures import CostDay, LatencyRow, draw_cost_by_tier, draw_latency
from llmbench.display.traffic_figures_matrix import FallbackStep, HeatCell, draw_error_heat, draw_fallbacks

_SHOWN_WIDTH: Final = 640  # px in a notebook
_MOST_DAYS: Final = 31  # rows of the picture of hours; more are put together by the day of the week
_WEEKDAYS: Final = (
    mark("Mon"),
    mark("Tue"),
    mark("Wed"),
    mark("Thu"),
    mark("Fri"),
    mark("Sat"),
    mark("Sun"),
)
_HOURS: Final = 3  # in a column

_COSTS: Final = """
select
    day, tier, sum(coalesce(cost_usd, 0)) as cost_usd, sum(calls)::bigint as calls,
    sum(unpriced)::bigint as unpriced
from mart_costs group by day, tier order by day, tier
"""
_LATENCY: Final = """
with named as (
    select case $by when 'tier' then tier when 'task' then task else last_model end as name, latency_ms
    from stg_calls
    where latency_ms is not null and (not is_failure or error_kind = 'timeout')
),
binned as (
    select name, floor(20 * log10(greatest(latency_ms, 0.01)))::integer as bin, count(*) as n
    from named
    group by name, bin
),
bins as (
    select name, list({'bin': bin, 'n': n} order by bin) as bins from binned group by name
),
summed as (
    select name, count(*) as n, quantile_cont(latency_ms, [0.5, 0.95, 0.99]) as q from named group by name
)
select name, n, q[1] as p50_ms, q[2] as p95_ms, q[3] as p99_ms, bins
from summed
join bins using (name)
order by n desc, name
"""
_STEPS: Final = """
with ways as (
    select chain, count(*) as calls from stg_calls where hops > 0 group by chain
),
steps as (
    select unnest(list_zip(chain[:-2], chain[2:])) as step, calls from ways
)
select step[1] as from_model, step[2] as to_model, sum(calls)::bigint as calls
from steps
group by all
order by all
"""
_ENDED: Final = """
select model, ended, is_failure, sum(n)::bigint as n
from mart_attempts
where ended <> 'circuit_open'
group by all
order by all
"""
_BY_HOUR: Final = """
select called_at::date as day, hour(called_at) as hour, count(*) as requests,
    count(*) filter (where is_failure) as failures
from stg_attempts
where error_kind is distinct from 'circuit_open'
group by all
order by all
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture for a notebook, or the reason why there is none.

    Attributes:
        svg: The drawing; None when there was nothing to draw.
        nothing: What to say then.
    """

    svg: Element | None
    nothing: str

    def _repr_svg_(self) -> str | None:
        if self.svg is None:
            return None
        _, _, width, height = map(float, self.svg.attrib["viewBox"].split())
        size = {"width": f"{_SHOWN_WIDTH}", "height": f"{_SHOWN_WIDTH * height / width:.0f}"}
        root = Element("svg", {**self.svg.attrib, **size})
        root.extend(self.svg)
        return figures.for_notebook(root, traffic_figures_marks.style())

    def __str__(self) -> str:
        """The words that stand for the picture."""
        if self.svg is None:
            return self.nothing
        return f"{self.svg.findtext('title')}. {self.svg.findtext('desc')}"

    __repr__ = __str__


def costs(warehouse: Warehouse) -> Figure:
    """Dollars over time by tier."""
    rows = [CostDay(**row) for row in warehouse.rows(_COSTS)]
    return Figure(draw_cost_by_tier(rows, key="costs"), say("No calls: no costs to draw."))


def latency(warehouse: Warehouse, by: str) -> Figure:
    """The time per call by model, tier or task."""
    rows = [_latency_row(row) for row in warehouse.rows(_LATENCY, {"by": by})]
    return Figure(draw_latency(rows, key=f"latency-{by}", what=by), say("No call has a measured time."))


def _latency_row(row: dict[str, Any]) -> LatencyRow:
    bins = [(10 ** (each["bin"] / 20), 10 ** ((each["bin"] + 1) / 20), each["n"]) for each in row.pop("bins")]
    return LatencyRow(**row, bins=bins)


def fallbacks(warehouse: Warehouse) -> Figure:
    """Calls handed on from model to model."""
    rows = [FallbackStep(**row) for row in warehouse.rows(_STEPS)]
    return Figure(draw_fallbacks(rows, key="fallbacks"), say("No call fell back from one model to another."))


def errors(warehouse: Warehouse) -> Figure:
    """Failed requests by model and kind."""
    rows = warehouse.rows(_ENDED)
    sent: Counter[str] = Counter()
    for row in rows:
        sent[row["model"] or "(none)"] += row["n"]
    cells = [
        HeatCell(row["model"] or "(none)", row["ended"], row["n"], sent[row["model"] or "(none)"])
        for row in rows
        if row["is_failure"]
    ]
    svg = draw_error_heat(cells, key="errors", what=say("by model and kind of error"))
    return Figure(svg, say("No request failed."))


def hours(warehouse: Warehouse) -> Figure:
    """Failed requests by day, or day of the week, and time of day."""
    rows = warehouse.rows(_BY_HOUR)
    days = {row["day"] for row in rows}
    is_weekly = len(days) > _MOST_DAYS
    sums: dict[tuple[int | date, int], list[int]] = defaultdict(lambda: [0, 0])
    for row in rows:
        line = row["day"].weekday() if is_weekly else row["day"]
        cell = sums[line, row["hour"] // _HOURS]
        cell[0] += row["failures"]
        cell[1] += row["requests"]
    lines = sorted({line for line, _ in sums}, key=str)
    cells = [
        HeatCell(_line_name(line), say("{n}h", n=_HOURS * at), *sums[line, at])
        for line in lines
        for at in range(24 // _HOURS)
    ]
    what = (
        "by weekday and time of day: {n} hours, UTC"
        if is_weekly
        else "by day and time of day: {n} hours from, UTC"
    )
    svg = draw_error_heat(cells, key="hours", what=say(what, n=_HOURS), is_split=False)
    return Figure(svg, say("No request is recorded."))


def _line_name(line: int | date) -> str:
    if isinstance(line, int):
        return say(_WEEKDAYS[line])
    return say("{day} {weekday}", day=line.isoformat(), weekday=say(_WEEKDAYS[line.weekday()]))
