"""Telemetry for notebooks and reports: what was loaded, the marts as tables, the pictures.

`open_traffic` reads logs, a store or an archive; the object that it returns answers each question as a pandas
table, and draws (traffic_pictures.py). Strangers' texts in these tables have their hidden marks made visible;
`frame` and `arrow` give rows of one's own SQL as they are.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from llmbench.analytics import traffic_pictures
from llmbench.analytics.traffic_pictures import Figure
from llmbench.analytics.warehouse import Params, Warehouse, open_warehouse
from llmbench.display import wording
from llmbench.display.language import say
from llmbench.errors import WarehouseError
from llmbench.visible import visible

if TYPE_CHECKING:
    import pandas as pd

    from llmbench.analytics.traffic_prices import CandidatePrice, Unpriced
    from llmbench.catalog import BudgetLimits

By = Literal["model", "tier", "task"]

_USAGE_KEYS: Final = ("day", "task", "tier", "model", "provider", "channel")
_COST_KEYS: Final = ("day", "task", "tier", "model", "cost_source")
_SPAN: Final = (
    "select count(*) as calls, min(called_at) as first_at, max(called_at) as last_at from stg_calls"
)
_LOADED: Final = """
select parse_filename(file) as file, lines, good as calls, quarantined, blank
from loads
where kind = 'telemetry'
order by all
"""
_QUARANTINED: Final = """
select reason, count(*) as lines, parse_filename(arg_min(file, (file, line_no))) as first_file,
    arg_min(line_no, (file, line_no)) as first_line, left(arg_min(raw, (file, line_no)), 80) as first_text
from quarantine group by reason order by lines desc, reason
"""
_LATENCY: Final = """
with named as (
    select case $by when 'tier' then tier when 'task' then task else last_model end as name, latency_ms
    from stg_calls
    where latency_ms is not null and (not is_failure or error_kind = 'timeout')
),
summed as (
    select name, count(*) as n, quantile_cont(latency_ms, [0.5, 0.95, 0.99]) as q from named group by name
)
select name, n, q[1] as p50_ms, q[2] as p95_ms, q[3] as p99_ms from summed order by n desc, name
"""
_BY_TASK: Final = "select * from mart_call_latency order by n desc, task, tier, model, provider"
_FALLBACKS: Final = """
select * from mart_fallbacks order by calls desc, tier, task, chain, why
"""
_ERRORS: Final = """
select * from mart_call_errors order by calls desc, tier, task, model, error_kind, status_code
"""
_ATTEMPTS: Final = """
with ended as (
    select model, ended, is_failure, sum(n)::bigint as n from mart_attempts group by all
),
totals as (
    select *, sum(n) filter (where ended <> 'circuit_open') over (partition by model) as sent from ended
)
select
    model, ended, n, sent::bigint as sent,
    case when ended <> 'circuit_open' then n / nullif(sent, 0) end as share
from totals
where is_failure
order by n desc, model, ended
"""
_ADJUSTMENTS: Final = """
select model, param, action, rule, sum(n)::bigint as calls, count(distinct task) as tasks,
    min(from_example) as from_example, min(to_example) as to_example
from mart_adjustments
where source = 'call'
group by model, param, action, rule
order by calls desc, model, param, action, rule
"""
_ENDINGS: Final = "select * from mart_endings order by unusable_rate desc nulls last, tier, task, model"
_CACHE: Final = """
select task, model, sum(calls)::bigint as calls, sum(input_tokens)::bigint as input_tokens,
    sum(cached_tokens)::bigint as cached_tokens, sum(calls_with_hit)::bigint as calls_with_hit,
    sum(known_cached_tokens) / nullif(sum(known_input_tokens), 0) as cached_share,
    sum(known_input_tokens)::bigint as known_input_tokens
from mart_cache group by task, model order by input_tokens desc nulls last, task, model
"""
_BUDGET: Final = "select * from mart_budget order by scope, name desc"
_WHAT_IF: Final = "select * from mart_what_if order by tier, task, estimated_usd, candidate"
_DRIFT: Final = """
select * from mart_drift
order by is_change desc, abs(change) / nullif(high - low, 0) desc nulls last, task, model, measure
"""


@dataclass(slots=True)
class Traffic:
    """Telemetry that is open for reading. Close it, or use it in a `with` statement.

    Attributes:
        warehouse: What the tables are read from.
        unpriced: Candidates that `what_if` leaves out, each with the reason.
        loaded: One row a file: lines, calls, quarantined and blank ones.
        quarantined: One row a reason: how many lines, and the first of them.
        calls: Calls seen.
        first_at: When the first of them ended, UTC; None without calls.
        last_at: When the newest ended, UTC.
    """

    warehouse: Warehouse
    unpriced: Sequence[Unpriced] = ()
    loaded: pd.DataFrame = field(init=False)
    quarantined: pd.DataFrame = field(init=False)
    calls: int = field(init=False)
    first_at: datetime | None = field(init=False)
    last_at: datetime | None = field(init=False)

    def __post_init__(self) -> None:
        self.loaded = self._shown(_LOADED)
        self.quarantined = self._shown(_QUARANTINED)
        span = self.warehouse.rows(_SPAN)[0]
        self.calls, self.first_at, self.last_at = span["calls"], span["first_at"], span["last_at"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the warehouse. Closing twice is fine."""
        self.warehouse.close()

    def __str__(self) -> str:
        return f"{self._seen()} {self._kept_apart()}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        kind = "callout" if len(self.quarantined) else "callout info"
        seen, kept_apart = html.escape(self._seen()), html.escape(self._kept_apart())
        return f'<div class="{kind}"><p>{seen}</p><p>{kept_apart}</p></div>'

    def _seen(self) -> str:
        files = wording.count(len(self.loaded), "file")
        if self.first_at is None or self.last_at is None:
            return say("No calls seen in {files}.", files=files)
        days = wording.span(f"{self.first_at:%Y-%m-%d}", f"{self.last_at:%Y-%m-%d}")
        calls = wording.count(self.calls, "call")
        return say("{calls} seen, {days} (UTC), from {files}.", calls=calls, days=days, files=files)

    def _kept_apart(self) -> str:
        lines = int(self.quarantined["lines"].sum()) if len(self.quarantined) else 0
        if not lines:
            return say("No line was quarantined.")
        rows = zip(self.quarantined["reason"], self.quarantined["lines"], strict=True)
        reasons = wording.listed(f"{reason} {n:,}" for reason, n in rows)
        text = (
            "1 line of the whole logs is quarantined and in no figure: {reasons}."
            if lines == 1
            else "{lines} of the whole logs are quarantined and in no figure: {reasons}."
        )
        return say(text, lines=wording.count(lines, "line"), reasons=reasons)

    # ---- tables

    def frame(self, sql: str, params: Params | None = None) -> pd.DataFrame:
        """The rows of one reading statement over stg_calls, stg_attempts and the marts, as a pandas table.

        Raises:
            WarehouseError: the statement is wrong, is more than one, or would do anything but read.
        """
        return self.warehouse.query(sql, params)

    def arrow(self, sql: str, params: Params | None = None) -> Any:
        """The rows of one reading statement as a `pyarrow.Table`.

        Raises:
            WarehouseError: as in `frame`; also when the package pyarrow is missing.
        """
        return self.warehouse.arrow(sql, params)

    def usage(self, by: Sequence[str] = ("tier", "task", "model")) -> pd.DataFrame:
        """Calls, failures, fallbacks, tokens and known dollars, summed up by any of the mart's keys.

        `mean_ms` is of the calls whose latency is known.

        Raises:
            WarehouseError: a key is none of day, task, tier, model, provider and channel.
        """
        keys = _keys(by, _USAGE_KEYS)
        rows = self._shown("select * from mart_usage")
        sums = ["calls", "failures", "fell_back", "input_tokens", "output_tokens", "cached_tokens"]
        found = rows.groupby(keys, as_index=False, dropna=False)[
            [*sums, "cost_usd", "priced", "latency_ms", "timed"]
        ].sum(min_count=1)
        found["failure_rate"] = found["failures"] / found["calls"]
        timed = found.pop("timed")
        found["mean_ms"] = found.pop("latency_ms") / timed.where(timed > 0)
        return _sorted(found, "calls", keys)

    def costs(self, by: Sequence[str] = ("tier",)) -> pd.DataFrame:
        """Dollars known, calls whose cost is not known, and what failed attempts cost.

        Args:
            by: Any of day, task, tier, model and cost_source.

        Raises:
            WarehouseError: a key is none of these.
        """
        keys = _keys(by, _COST_KEYS)
        rows = self._shown("select * from mart_costs")
        sums = [
            "calls",
            "priced",
            "unpriced",
            "cost_usd",
            "wasted_calls",
            "wasted_cost_usd",
            "wasted_unknown",
        ]
        found = rows.groupby(keys, as_index=False, dropna=False)[sums].sum(min_count=1)
        found["cost_per_1000_usd"] = 1000 * found["cost_usd"] / found["priced"].where(found["priced"] > 0)
        return _sorted(found, "cost_usd", keys)

    def latency(self, by: By = "model") -> pd.DataFrame:
        """Exact quantiles of the time per call, of calls that answered or timed out; ms."""
        return self._shown(_LATENCY, {"by": by})

    def latency_by_task(self) -> pd.DataFrame:
        """Quantiles with intervals, by task, tier, model and provider (mart_call_latency)."""
        return self._shown(_BY_TASK)

    def fallbacks(self) -> pd.DataFrame:
        """Ways from model to model with their reasons, the most frequent first (mart_fallbacks)."""
        return self._shown(_FALLBACKS)

    def errors(self) -> pd.DataFrame:
        """Calls that nobody answered, by kind (mart_call_errors)."""
        return self._shown(_ERRORS)

    def failed_attempts(self) -> pd.DataFrame:
        """Requests that failed, by model and kind, whatever became of their calls (mart_attempts)."""
        return self._shown(_ATTEMPTS)

    def adjustments(self) -> pd.DataFrame:
        """Parameters that were not sent as given, and by which rule."""
        return self._shown(_ADJUSTMENTS)

    def endings(self) -> pd.DataFrame:
        """Answers that were cut, empty or of no use (mart_endings)."""
        return self._shown(_ENDINGS)

    def cache(self) -> pd.DataFrame:
        """How much of the input a prompt cache served, by task and model.

        `cached_share` is of `known_input_tokens`: those of answered calls whose cached tokens are known.
        """
        return self._shown(_CACHE)

    def budget(self) -> pd.DataFrame:
        """Known spending of runs, routing keys and months against their limits (mart_budget)."""
        return self._shown(_BUDGET)

    def what_if(self) -> pd.DataFrame:
        """ESTIMATES: what the same tokens would have cost at each candidate's prices (mart_what_if)."""
        return self._shown(_WHAT_IF)

    def drift(self) -> pd.DataFrame:
        """The last seven days against the seven before, with intervals; changes first (mart_drift)."""
        return self._shown(_DRIFT)

    # ---- pictures

    def draw_costs(self) -> Figure:
        """US dollars a day, or by longer spans, stacked by tier."""
        return traffic_pictures.costs(self.warehouse)

    def draw_latency(self, by: By = "model") -> Figure:
        """Histograms of the time per call with p50, p95 and p99."""
        return traffic_pictures.latency(self.warehouse, by)

    def draw_fallbacks(self) -> Figure:
        """Which model handed calls on to which."""
        return traffic_pictures.fallbacks(self.warehouse)

    def draw_errors(self) -> Figure:
        """Failed requests by model and kind."""
        return traffic_pictures.errors(self.warehouse)

    def draw_hours(self) -> Figure:
        """Failed requests by day and time of day."""
        return traffic_pictures.hours(self.warehouse)

    def _shown(self, sql: str, params: Params | None = None) -> pd.DataFrame:
        """A table whose texts are safe to look at."""
        found = self.warehouse.query(sql, params)
        for name in found.columns:
            if found[name].dtype.kind in "OU" or str(found[name].dtype) in ("str", "string"):
                found[name] = found[name].map(_visible, na_action="ignore")
        return found


def open_traffic(
    log: Sequence[str | Path] | str | Path = (),
    *,
    store: str | Path | None = None,
    archive: str | Path | None = None,
    configs: str | Path | None = None,
    since: datetime | None = None,
    days: int | None = None,
) -> Traffic:
    """Open telemetry for reading.

    Args:
        log: Log files and globs, read into memory, with the parts that were rotated away.
        store: A store made by `llmbench telemetry load`.
        archive: A folder of Parquet made by `llmbench telemetry archive`; may stand beside a log or a store.
        configs: The folder whose prices the estimates of other candidates use; without it there are none.
        since: The first moment whose calls are seen, UTC.
        days: The same as so many days (UTC) up to that of the newest call.

    Raises:
        WarehouseError: nothing was named, or a log, the store or the archive cannot be read.
        ConfigError: the configs are wrong.
    """
    from llmbench.analytics.known_logs import find_logs

    names = [log] if isinstance(log, str | Path) else list(log)
    if not (names or store or archive):
        raise WarehouseError("no telemetry named; give a log, a store or an archive")
    prices, unpriced, budgets = _settings(configs)
    warehouse = open_warehouse(
        telemetry=find_logs(names),
        store=Path(store) if store else None,
        archive=Path(archive) if archive else None,
        since=since,
        days=days,
        prices=prices,
        budgets=budgets,
    )
    return Traffic(warehouse, unpriced)


def _settings(
    configs: str | Path | None,
) -> tuple[list[CandidatePrice], list[Unpriced], BudgetLimits | None]:
    """The candidates' prices, the candidates without one, and the limits that the configs set."""
    if not configs:
        return [], [], None
    from llmbench.analytics.traffic_prices import candidate_prices
    from llmbench.config import load_config

    config = load_config(Path(configs))
    return *candidate_prices(config), config.budgets


def _visible(value: object) -> object:
    return visible(value) if isinstance(value, str) else value


def _sorted(rows: pd.DataFrame, amount: str, keys: Sequence[str]) -> pd.DataFrame:
    """In the order of time where there are days, else the most first."""
    if "day" in keys:
        return rows.sort_values(list(keys), ignore_index=True)
    falling = [False] + [True] * len(keys)
    return rows.sort_values([amount, *keys], ascending=falling, ignore_index=True)


def _keys(by: Sequence[str], known: Sequence[str]) -> list[str]:
    keys = [by] if isinstance(by, str) else list(by)
    wrong = [key for key in keys if key not in known]
    if wrong or not keys:
        raise WarehouseError(f"by={list(keys)!r}: name one or more of {', '.join(known)}")
    return keys
