"""The usage report: what tasks and models cost, how slow and how flaky they are, in one page of figures.

Every figure is of the calls themselves, failed ones included. A failed call stands with the model that was
tried last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from llmbench.analytics.warehouse import Warehouse

Row = dict[str, Any]

#: Sums, from which those of a model and of a task are made; one pass over the calls.
_SUMS: Final = """
select
    last_model as model,
    task,
    count(*) as calls,
    count(*) filter (where is_failure) as failures,
    count(*) filter (where hops > 0) as fell_back,
    sum(input_tokens)::bigint as input_tokens,
    sum(output_tokens)::bigint as output_tokens,
    sum(cost_usd) as cost_usd,
    count(cost_usd) as priced,
    sum(wasted_cost_usd) as wasted_cost_usd,
    sum(latency_ms) as latency_ms,
    count(latency_ms) as timed,
    sum(dropped_before)::bigint as dropped,
    min(called_at) as first_at,
    max(called_at) as last_at
from stg_calls
group by all
"""
_ADDED: Final = (
    "calls", "failures", "fell_back", "input_tokens", "output_tokens", "cost_usd", "priced",
    "wasted_cost_usd", "latency_ms", "timed", "dropped",
)  # fmt: skip
_P95: Final = {
    "model": """
        select last_model as name, quantile_cont(latency_ms, 0.95) as p95_ms from stg_calls
        group by name""",
    "task": """
        select task as name, quantile_cont(latency_ms, 0.95) as p95_ms from stg_calls
        group by name""",
    "whole": """
        select null as name, quantile_cont(latency_ms, 0.95) as p95_ms from stg_calls""",
}
_CHAINS: Final = """
select
    array_to_string(chain, ' > ') as chain,
    count(*) as calls,
    count(*) filter (where is_failure) as failures,
    avg(wasted_ms) as mean_wasted_ms
from stg_calls
where hops > 0
group by all
order by calls desc, chain
"""
_FAILURES: Final = """
select coalesce(error_kind, 'unknown') as error_kind, status_code, count(*) as calls
from stg_calls
where is_failure
group by all
order by calls desc, error_kind, status_code
"""
#: Most telemetry is of text alone, and is then not added up for this.
_ANY_MEDIA: Final = "select 1 from stg_calls where media_kind is not null limit 1"
#: Of pictures and speech; the quotients are of sums, so that a day with many calls weighs more.
_MEDIA: Final = """
select
    kind,
    model,
    sum(calls)::bigint as calls,
    sum(failures)::bigint as failures,
    sum(counted)::bigint as counted,
    sum(images)::bigint as images,
    sum(audio_s) as audio_s,
    sum(cost_usd) as cost_usd,
    sum(priced)::bigint as priced,
    sum(cost_usd) / nullif(sum(priced_images), 0) as cost_per_image_usd,
    60 * sum(cost_usd) / nullif(sum(priced_audio_s), 0) as cost_per_minute_usd,
    sum(work_ms) / nullif(sum(timed_images), 0) as ms_per_image,
    sum(work_ms) / 1000 / nullif(sum(timed_audio_s), 0) as real_time_factor
from mart_media
group by all
order by kind, calls desc, model
"""
#: Shadows of rollouts are no calls of callers; what they cost is real, and told apart.
_SHADOWS: Final = """
select count(*) as calls,
    case when count(cost_usd) + count(wasted_cost_usd) > 0
        then coalesce(sum(cost_usd), 0) + coalesce(sum(wasted_cost_usd), 0) end as cost_usd
from stg_rollout_calls
where shadow_of in (select call_id from stg_calls)
"""
_BOOKS: Final = """
select count(*) as files, coalesce(sum(good), 0)::bigint as good,
    coalesce(sum(quarantined), 0)::bigint as quarantined, coalesce(sum(blank), 0)::bigint as blank
from loads where kind = 'telemetry'
"""


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What the calls of a log or a store add up to.

    Attributes:
        whole: one row over all calls.
        by_model: a row a model, most calls first; mean_ms and p95_ms are milliseconds of whole calls.
        by_task: the same a task.
        chains: the fallback chains that were gone through, with how often.
        failures: calls without an answer by error kind and HTTP status.
        media: calls for pictures and speech, a row a kind (image, speech) and model, most calls first.
        quarantined: lines that are no records.
        files: log files they come from.
        shadows: calls of rollouts beside these calls, and their cost.
    """

    whole: Row
    by_model: Sequence[Row]
    by_task: Sequence[Row]
    chains: Sequence[Row]
    failures: Sequence[Row]
    media: Sequence[Row]
    quarantined: int
    files: int
    shadows: Row

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """The report as plain values; `rows` counts the calls.

        Args:
            top: at most so many models (of each kind of media too), tasks, chains and kinds of failure;
                None for all.
        """
        return {
            "rows": self.whole["calls"],
            "quarantined": self.quarantined,
            "dropped": self.whole["dropped"],
            "by_model": {row["name"]: _figures(row) for row in self.by_model[:top]},
            "by_task": {row["name"]: _figures(row) for row in self.by_task[:top]},
            "by_media": {kind: _by_model(rows[:top]) for kind, rows in self.of_kinds().items()},
            "fallback_chains": {row["chain"]: _figures(row) for row in self.chains[:top]},
            "failures": self.whole["failures"],
            "failures_by_kind": [dict(row) for row in self.failures[:top]],
            "mean_ms": _rounded(self.whole["mean_ms"]),
            "p95_ms": _rounded(self.whole["p95_ms"]),
            "cost_usd": _rounded(self.whole["cost_usd"]),
            "priced": self.whole["priced"],
            "wasted_cost_usd": _rounded(self.whole["wasted_cost_usd"]),
            "shadow_calls": self.shadows["calls"],
            "shadow_cost_usd": _rounded(self.shadows["cost_usd"]),
            "first_at": _iso(self.whole["first_at"]),
            "last_at": _iso(self.whole["last_at"]),
        }

    def of_kinds(self) -> dict[str, list[Row]]:
        """The rows of `media` by kind; a kind without calls is not there."""
        found: dict[str, list[Row]] = {}
        for row in self.media:
            found.setdefault(row["kind"], []).append(row)
        return found


def usage_report(warehouse: Warehouse) -> UsageReport:
    """Add up the calls that a warehouse sees."""
    sums = warehouse.rows(_SUMS)
    p95 = {kind: {row["name"]: row["p95_ms"] for row in warehouse.rows(sql)} for kind, sql in _P95.items()}
    books = warehouse.rows(_BOOKS)[0]
    return UsageReport(
        whole={**_added(sums), "p95_ms": p95["whole"].get(None)},
        by_model=_grouped(sums, "model", p95["model"]),
        by_task=_grouped(sums, "task", p95["task"]),
        chains=warehouse.rows(_CHAINS),
        failures=warehouse.rows(_FAILURES),
        media=warehouse.rows(_MEDIA) if warehouse.rows(_ANY_MEDIA) else [],
        quarantined=books["quarantined"],
        files=books["files"],
        shadows=warehouse.rows(_SHADOWS)[0],
    )


def _grouped(sums: Sequence[Row], key: str, p95: Row) -> list[Row]:
    """The sums of each value of `key`, most calls first."""
    parts: dict[str, list[Row]] = {}
    for row in sums:
        parts.setdefault(row[key], []).append(row)
    found = [{"name": name, **_added(rows), "p95_ms": p95.get(name)} for name, rows in parts.items()]
    return sorted(found, key=lambda row: (-row["calls"], row["name"]))


def _added(rows: Sequence[Row]) -> Row:
    """Rows of sums added up; a sum over nothing known is None, and so is the mean of no latency."""
    known = {name: [row[name] for row in rows if row[name] is not None] for name in _ADDED}
    total: Row = {name: sum(values) if values else None for name, values in known.items()}
    total |= {name: total[name] or 0 for name in ("calls", "failures", "fell_back", "priced", "dropped")}
    latency, timed = total.pop("latency_ms"), total.pop("timed")
    total["mean_ms"] = latency / timed if timed else None
    times = [row[name] for row in rows for name in ("first_at", "last_at") if row[name] is not None]
    return {**total, "first_at": min(times, default=None), "last_at": max(times, default=None)}


def _by_model(rows: Sequence[Row]) -> dict[str, Row]:
    return {
        row["model"]: {key: _rounded(value) for key, value in row.items() if key not in ("kind", "model")}
        for row in rows
    }


def _figures(row: Row) -> Row:
    """A row for a machine: without its name, and times as text."""
    kept = {key: _rounded(value) for key, value in row.items() if key not in ("name", "chain", "dropped")}
    return kept | {key: _iso(kept[key]) for key in ("first_at", "last_at") if key in kept}


def _rounded(value: Any) -> Any:
    """A figure to nine decimals: sums of floats differ behind them with the order of the rows."""
    return round(value, 9) if isinstance(value, float) else value


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat() + "Z"
