"""The calls of a task in the telemetry, outside of runs, as columns of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmbench.analytics.warehouse import Warehouse

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
HOUR_S: Final = 3600.0
#: What comes back but cannot be used.
UNUSABLE: Final = ("truncated", "empty", "malformed", "invalid_output", "refusal", "content_filter")
#: How an answer ends that was cut off or held back.
CUT: Final = ("length", "refusal", "content_filter")
_LATEST: Final = 100

_BEGINNINGS: Final = """
select epoch(called_at)::double as at, (chain[1] = $model)::double as begins
from stg_calls
where task = $task and run_id is null and len(chain) > 0 and called_at is not null
    and epoch(called_at) >= $since and epoch(called_at) < $until
order by called_at, call_id
"""
_TODAY: Final = """
with latest as (
    select chain[1] as model
    from stg_calls
    where task = $task and run_id is null and len(chain) > 0 and called_at is not null
        and epoch(called_at) >= $since and epoch(called_at) < $until
    order by called_at desc, call_id
    limit $latest
)
select model, count(*) / sum(count(*)) over () as share from latest group by model order by share desc, model
"""
_AHEAD: Final = """
select epoch((now() at time zone 'UTC') + interval 1 day)::double as at
from stg_calls
where called_at < (now() at time zone 'UTC') + interval 1 day
limit 1
"""
# An older line without attempts tells by its chain and its error what the model did.
_CALLS: Final = """
with of_task as (
    select
        *,
        list_filter(coalesce(attempts, []), lambda each: each.model = $model) as own
    from stg_calls
    where task = $task and run_id is null and called_at is not null
        and epoch(called_at) >= $since and epoch(called_at) < $until
),
told as (
    select
        *,
        coalesce(model = $model, false) as is_answer,
        coalesce(list_contains(chain, $model), false) or len(own) > 0 as is_tried,
        case
            when model = $model then null
            when len(own) > 0 then coalesce(own[-1].error_kind, 'unknown')
            when chain[-1] = $model then coalesce(error_kind, 'unknown')
            else 'unknown'
        end as own_kind
    from of_task
)
select
    epoch(called_at)::double as at,
    coalesce(chain[1] = $model, false)::double as begins,
    is_failure::double as is_failure,
    coalesce(error_kind = 'cancelled', false)::double as is_cancelled,
    coalesce(error_kind = 'timeout', false)::double as is_timeout,
    is_tried::double as is_tried,
    is_answer::double as is_answer,
    (is_answer or list_contains($unusable, own_kind))::double as has_reply,
    case
        when is_answer then coalesce(list_contains($cut, finish_reason), false)
        else list_contains($unusable, own_kind)
    end::double as is_unusable,
    len(own)::double as attempts,
    len(list_filter(own, lambda each: each.error_kind is not null))::double as failed_attempts,
    latency_ms,
    cost_usd,
    wasted_cost_usd,
    input_tokens::double as input_tokens,
    output_tokens::double as output_tokens,
    cached_tokens::double as cached_tokens
from told
order by called_at, call_id
"""
_SWEEP: Final = """
select
    count(*) filter (where status = 'ok' or list_contains($unusable, error_kind)) as replies,
    count(*) filter (where list_contains($unusable, error_kind)
        or (status = 'ok' and list_contains($cut, finish_reason))) as unusable,
    avg(input_tokens) filter (where status = 'ok') as input_tokens,
    avg(output_tokens) filter (where status = 'ok') as output_tokens,
    avg(cached_tokens) filter (where status = 'ok') as cached_tokens
from stg_results
where task = $task and model = $model and not is_pending and ($run is null or run_id = $run)
"""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time in seconds since 1970: from `since` on, before `until`."""

    since: float
    until: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.until - self.since

    def before(self) -> Window:
        """As long a span that ends where this one begins."""
        return Window(self.since - self.seconds, self.since)


@dataclass(frozen=True, slots=True)
class Beginnings:
    """The calls of a task by time: when, and whether their chain begins with the model asked about."""

    at: Floats
    begins: Flags


@dataclass(frozen=True, slots=True)
class Tokens:
    """Mean tokens of an answer: sent, received, and sent but served from a cache."""

    input: float
    output: float
    cached: float


@dataclass(frozen=True, slots=True)
class SweepRows:
    """What the sweep's own results say of a model on a task.

    Attributes:
        replies: calls that something came back from.
        unusable: those whose answer could not be used.
        tokens: mean tokens of an answer, or None where none are known.
    """

    replies: int
    unusable: int
    tokens: Tokens | None


class Calls:
    """Columns of calls in the order of time; flags are numbers 0 and 1, unknown numbers are NaN."""

    __slots__ = ("_columns",)

    def __init__(self, columns: Mapping[str, Floats]) -> None:
        self._columns = dict(columns)

    def __len__(self) -> int:
        """The number of calls."""
        return int(self["at"].size)

    def __getitem__(self, name: str) -> Floats:
        """A column of numbers."""
        return self._columns[name]

    def flags(self, name: str) -> Flags:
        """A column of flags."""
        return self._columns[name] > 0.5

    @property
    def hours(self) -> Floats:
        """The hour of each call since 1970, UTC."""
        return np.floor(self["at"] / HOUR_S)

    def only(self, chosen: Flags) -> Calls:
        """The calls for which a flag is set."""
        return Calls({name: column[chosen] for name, column in self._columns.items()})


def read_end(warehouse: Warehouse) -> float | None:
    """The moment (seconds since 1970) from which on a call's clock runs ahead: a day from now.

    None where no call is before it.
    """
    return next((float(row["at"]) for row in warehouse.rows(_AHEAD)), None)


def read_beginnings(warehouse: Warehouse, task: str, model: str, window: Window) -> Beginnings:
    """The calls of a task that tried any model, and whether they begin with this one."""
    columns = _columns(warehouse, _BEGINNINGS, {"task": task, "model": model, **_limits(window)})
    return Beginnings(columns["at"], columns["begins"] > 0.5)


def read_today(warehouse: Warehouse, task: str, window: Window) -> tuple[tuple[str, float], ...]:
    """The models that the latest hundred calls of a task begin with, and their shares."""
    rows = warehouse.rows(_TODAY, {"task": task, "latest": _LATEST, **_limits(window)})
    return tuple((str(row["model"]), float(row["share"])) for row in rows)


def read_calls(warehouse: Warehouse, task: str, model: str, window: Window) -> Calls:
    """The calls of a task in a span of time, and what each says of a model."""
    words = {"unusable": list(UNUSABLE), "cut": list(CUT)}
    return Calls(_columns(warehouse, _CALLS, {"task": task, "model": model, **words, **_limits(window)}))


def read_sweep(warehouse: Warehouse, task: str, model: str, run_id: str | None) -> SweepRows | None:
    """What the run folder's results say of a model on a task; None without a row that says anything."""
    words = {"unusable": list(UNUSABLE), "cut": list(CUT)}
    row = warehouse.rows(_SWEEP, {"task": task, "model": model, "run": run_id, **words})[0]
    if not row["replies"]:
        return None
    sent, got = row["input_tokens"], row["output_tokens"]
    is_known = sent is not None and got is not None
    known = Tokens(float(sent), float(got), float(row["cached_tokens"] or 0.0)) if is_known else None
    return SweepRows(int(row["replies"]), int(row["unusable"]), known)


def _columns(warehouse: Warehouse, sql: str, params: Mapping[str, Any]) -> dict[str, Floats]:
    frame = warehouse.query(sql, params)
    return {str(name): frame[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in frame.columns}


def _limits(window: Window) -> dict[str, float]:
    return {"since": window.since, "until": window.until}
