"""Whether production keeps what a recommendation promised: cost, p95, failures, and answers that can be used.

The change is found in the telemetry, the calls after it are held against the sweep's figures with the
tolerances of verification_samples.py, and every interval of a page shares one error rate. Calls of runs never
count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from llmbench.analytics import verification_text
from llmbench.analytics.verification_calls import (
    Beginnings,
    Window,
    read_beginnings,
    read_calls,
    read_end,
    read_sweep,
    read_today,
)
from llmbench.analytics.verification_change import find_change, find_stretch
from llmbench.analytics.verification_measures import Measure, judge
from llmbench.analytics.verification_promise import Promise, Recommendation, read_recommendation
from llmbench.analytics.verification_samples import Evidence, Sample, take_samples
from llmbench.analytics.warehouse import Warehouse
from llmbench.errors import WarehouseError

ALPHA: Final = 0.05
_FIRST, _LAST = -1e11, 1e11  # seconds; the years that a timestamp of a log can have lie between
_MOMENT: Final = 0.001


@dataclass(frozen=True, slots=True)
class Application:
    """Where a task's move shows in the telemetry.

    Attributes:
        is_applied: whether its calls begin with the proposed model from some moment to the end.
        changed_at: that moment, UTC, or None.
        is_given: whether the moment was given, not found.
        is_from_start: whether there are no calls before it: it may have been earlier.
        until: the end of the calls looked at, UTC, or None without any.
        calls: calls from the change on that tried a model; all of them where there is no change.
        calls_before: calls before the change.
        share: the part of `calls` that begins with the proposed model; 0 without calls.
        today: the models that the latest calls begin with, and their shares.
        tried: from when until when the calls began with the model, where that ended again; else None.
    """

    is_applied: bool
    changed_at: datetime | None
    is_given: bool
    is_from_start: bool
    until: datetime | None
    calls: int
    calls_before: int
    share: float
    today: tuple[tuple[str, float], ...]
    tried: tuple[datetime, datetime] | None


@dataclass(frozen=True, slots=True)
class TaskCheck:
    """A task that was moved, and how its promises fare; no measures where the move was not applied."""

    promise: Promise
    application: Application
    measures: tuple[Measure, ...]

    @property
    def task(self) -> str:
        """The task's name."""
        return self.promise.task

    @property
    def state(self) -> str:
        """The worst that its measures say: broken, open or kept; not_applied without a change."""
        if not self.application.is_applied:
            return "not_applied"
        verdicts = {measure.verdict for measure in self.measures}
        return next((word for word in ("broken", "open", "kept") if word in verdicts), "not_measured")

    def __getitem__(self, name: str) -> Measure:
        """A measure by its name."""
        for measure in self.measures:
            if measure.name == name:
                return measure
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class Verification:
    """A page of verdicts.

    Attributes:
        recommendation: what was promised.
        tasks: the moved tasks, in the file's order.
        alpha: how often a page is wrong anywhere, at most.
        intervals: how many intervals share it.
        min_calls: fewer calls than this take no verdict.
    """

    recommendation: Recommendation
    tasks: tuple[TaskCheck, ...]
    alpha: float
    intervals: int
    min_calls: int

    @property
    def is_broken(self) -> bool:
        """Whether any promise is broken."""
        return any(task.state == "broken" for task in self.tasks)

    def __getitem__(self, task: str) -> TaskCheck:
        """A moved task by its name."""
        for check in self.tasks:
            if check.task == task:
                return check
        raise KeyError(task)

    def __str__(self) -> str:
        return verification_text.as_text(self)

    def _repr_html_(self) -> str:
        return verification_text.as_html(self)

    def to_dict(self) -> dict[str, Any]:
        """The page as JSON: money in US dollars, times in milliseconds, shares on 0..1, no infinities."""
        return {
            "schema": 1,
            "recommendation": self.recommendation.file,
            "run_id": self.recommendation.run_id,
            "is_broken": self.is_broken,
            "alpha": self.alpha,
            "intervals": self.intervals,
            "min_calls": self.min_calls,
            "tasks": [_task_facts(check) for check in self.tasks],
            "not_checked": [{"task": task, "outcome": word} for task, word in self.recommendation.stayed],
        }


def verify(
    recommendation: Path,
    warehouse: Warehouse,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    min_calls: int = 30,
    alpha: float = ALPHA,
) -> Verification:
    """Hold a recommendation's promises against the telemetry after the change.

    Args:
        recommendation: the recommendation.json of a run.
        warehouse: with the telemetry, and with the run's results where answers are to be compared.
        since: when the change was made; found in the telemetry, task by task, if not given. Without a time
            zone it is UTC.
        until: calls from then on are not looked at; by default those whose clock runs a day or more ahead,
            unless all do.
        min_calls: with fewer calls a measure stays open.
        alpha: how often any verdict of the page is wrong, at most; each interval gets an equal part.

    Raises:
        WarehouseError: the file cannot be used, or the times or limits given make no sense.
    """
    asked = _asked(warehouse, since, until)
    if asked.seconds <= 0.0:
        raise WarehouseError("since is not before until: exchange them")
    if min_calls < 1 or not 0.0 < alpha < 1.0:
        raise WarehouseError(f"min_calls {min_calls} is to be 1 or more, and alpha {alpha:g} between 0 and 1")
    decided = read_recommendation(recommendation)
    is_given = since is not None
    found = [(each, _application(warehouse, each, asked, is_given=is_given)) for each in decided.promises]
    samples = [
        _samples(warehouse, promise, applied, decided.run_id) if applied.is_applied else ()
        for promise, applied in found
    ]
    intervals = sum(sample.is_judged(min_calls) for task in samples for sample in task)
    side = alpha / max(intervals, 1)
    tasks = tuple(
        TaskCheck(promise, applied, tuple(judge(sample, side, min_calls) for sample in task))
        for (promise, applied), task in zip(found, samples, strict=True)
    )
    return Verification(decided, tasks, alpha, intervals, min_calls)


def _asked(warehouse: Warehouse, since: datetime | None, until: datetime | None) -> Window:
    """The span that is looked at: a single call of next year would end the window next year."""
    first, ahead = _seconds(since, _FIRST), read_end(warehouse)
    return Window(first, _seconds(until, _LAST if ahead is None or ahead <= first else ahead))


def _application(warehouse: Warehouse, promise: Promise, asked: Window, *, is_given: bool) -> Application:
    """Find the change in the calls of a task, or take the moment that was given."""
    everything = Window(_FIRST, asked.until)
    calls = read_beginnings(warehouse, promise.task, promise.chain[0], everything)
    today = read_today(warehouse, promise.task, everything)
    first = int((calls.at < asked.since).sum()) if is_given else find_change(calls.begins)
    stay = calls.begins if first is None else calls.begins[first:]
    is_applied = first is not None and bool(stay.any())
    return Application(
        is_applied=is_applied,
        changed_at=_changed_at(calls, asked, first, is_given=is_given) if is_applied else None,
        is_given=is_given,
        is_from_start=is_applied and first == 0,
        until=_moment(float(calls.at[-1])) if calls.at.size else None,
        calls=int(stay.size),
        calls_before=first or 0,
        share=float(stay.mean()) if stay.size else 0.0,
        today=today,
        tried=None if is_applied else _tried(calls),
    )


def _changed_at(calls: Beginnings, asked: Window, first: int | None, *, is_given: bool) -> datetime:
    return _moment(asked.since if is_given or first is None else float(calls.at[first]))


def _tried(calls: Beginnings) -> tuple[datetime, datetime] | None:
    stretch = find_stretch(calls.begins)
    if stretch is None:
        return None
    return _moment(float(calls.at[stretch.first])), _moment(float(calls.at[stretch.last]))


def _samples(
    warehouse: Warehouse, promise: Promise, applied: Application, run_id: str | None
) -> tuple[Sample, ...]:
    """What is measured after the change, and over as long a time before it."""
    if applied.changed_at is None or applied.until is None:
        return ()
    model = promise.chain[0]
    window = Window(_to_seconds(applied.changed_at), _to_seconds(applied.until) + _MOMENT)
    after = read_calls(warehouse, promise.task, model, window)
    return take_samples(
        promise,
        Evidence(
            after=after.only(after.flags("begins")),
            before=read_calls(warehouse, promise.task, promise.reference[0], window.before()),
            sweep=read_sweep(warehouse, promise.task, model, run_id),
        ),
    )


def _seconds(moment: datetime | None, other: float) -> float:
    return other if moment is None else _to_seconds(moment)


def _to_seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _task_facts(check: TaskCheck) -> dict[str, Any]:
    promise, applied = check.promise, check.application
    return {
        "task": promise.task,
        "state": check.state,
        "outcome": promise.outcome,
        "reference": list(promise.reference),
        "model": list(promise.chain),
        "changed_at": _stamp(applied.changed_at),
        "change_is_given": applied.is_given,
        "change_is_from_start": applied.is_from_start,
        "until": _stamp(applied.until),
        "calls": applied.calls,
        "share_of_calls": applied.share,
        "begin_with_today": [{"model": model, "share": share} for model, share in applied.today],
        "tried": None if applied.tried is None else [_stamp(moment) for moment in applied.tried],
        "measures": [_measure_facts(measure) for measure in check.measures],
        "sentence": verification_text.task_sentence(check),
        "promised_quality": promise.quality,
        "quality": verification_text.quality_sentence(check),
    }


def _measure_facts(measure: Measure) -> dict[str, Any]:
    return {field.name: _plain(getattr(measure, field.name)) for field in fields(measure)}


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
