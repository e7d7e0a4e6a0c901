"""A verification in words: sentences and a short table for a terminal, the same as HTML for a notebook."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Final
from unicodedata import east_asian_width

from llmbench import markup
from llmbench.analytics.verification_change import APPLIED_SHARE
from llmbench.display import wording
from llmbench.visible import visible

if TYPE_CHECKING:
    from llmbench.analytics.verification import TaskCheck, Verification
    from llmbench.analytics.verification_measures import Measure

_HEAD: Final = ("measure", "promised", "kept up to", "seen", "interval", "before", "calls", "verdict")
_LABELS: Final = {
    "cost_usd_per_1000": "cost of 1,000 calls",
    "wasted_usd_per_1000": "wasted in 1,000 calls",
    "p95_ms": "p95 latency",
    "model_failures": "failed at the model",
    "attempt_failures": "failed attempts",
    "call_failures": "failed calls",
    "unusable_answers": "unusable answers",
}
_VERDICTS: Final = {
    "kept": "kept",
    "broken": "BROKEN",
    "open": "open",
    "not_promised": "not promised",
    "not_measured": "not measured",
}


def as_text(page: Verification) -> str:
    """The page for a terminal."""
    lines = [headline(page)]
    for check in page.tasks:
        lines += ["", task_sentence(check)]
        if check.measures:
            lines += _aligned([_HEAD, *(_cells(measure) for measure in check.measures)])
            lines += [f"  {note}" for note in task_notes(check)]
    lines += ["", *foot(page)]
    return "\n".join(lines)


def as_html(page: Verification) -> str:
    """The page for a notebook. Every name is escaped."""
    parts = [markup.paragraph(headline(page))]
    for check in page.tasks:
        parts.append(markup.paragraph(task_sentence(check)))
        if check.measures:
            parts.append(markup.table(_HEAD, map(_cells, check.measures)))
            parts.append(markup.listing(task_notes(check)))
    parts += map(markup.paragraph, foot(page))
    return "".join(parts)


def headline(page: Verification) -> str:
    """One sentence: how many of the moved tasks keep what was promised."""
    file = _name(page.recommendation.file)
    if not page.tasks:
        return f"{file} moved no task; there is nothing to verify."
    states = [check.state for check in page.tasks]
    words = {
        "broken": "broken",
        "kept": "kept",
        "open": "open",
        "not_applied": "not applied",
        "not_measured": "not measured",
    }
    told = [f"{states.count(state)} {word}" for state, word in words.items() if state in states]
    return f"{file}: {wording.count(len(states), 'moved task')}: {', '.join(told)}."


def task_sentence(check: TaskCheck) -> str:
    """Where the move of a task shows, or that it does not."""
    promise, applied = check.promise, check.application
    task, model = _name(promise.task), _name(" > ".join(promise.chain))
    if not applied.is_applied:
        return f"{task}: not applied. {_not_applied(check)}"
    if applied.is_given:
        found = f"since {_time(applied.changed_at)} (as given)"
    elif applied.is_from_start:
        found = f"since {_time(applied.changed_at)} or before: its calls begin with it from the first on"
    else:
        found = f"since {_time(applied.changed_at)} (found in the telemetry)"
    calls = f"{wording.count(applied.calls, 'call')} until {_time(applied.until)}"
    reference = _name(" > ".join(promise.reference))
    said = f"{task}: moved from {reference} to {model} {found}; {calls}"
    if applied.share < 1.0:
        said += f", {wording.share(applied.share)} of them begin with it and only these are measured"
    return f"{said}. {_state(check)}"


def task_notes(check: TaskCheck) -> list[str]:
    """What a reader must know beside the table."""
    notes: list[str] = []
    for measure in check.measures:
        told = [*measure.notes]
        if measure.verdict == "open":
            told.append(_open(measure))
        if told:
            notes.append(f"{_LABELS[measure.name]}: {'; '.join(_name(each) for each in told)}")
    notes.append(quality_sentence(check))
    return notes


def quality_sentence(check: TaskCheck) -> str:
    """What telemetry cannot tell, and which sweep would."""
    promise = check.promise
    chain, reference = _name(" > ".join(promise.chain)), _name(" > ".join(promise.reference))
    promised = "promised quality"
    if promise.quality is not None:
        promised = f"promised {wording.score(promise.quality)} points of 100"
    return (
        f"quality: telemetry has no scores, so the {promised} cannot be checked here. To measure it again, "
        f"draw prompts with `llmbench dataset from-log LOG --task {_name(promise.task)}` and sweep {chain} "
        f"against {reference} on them"
    )


def foot(page: Verification) -> list[str]:
    """What was not checked, and how often the page is wrong."""
    lines: list[str] = []
    if page.recommendation.stayed:
        stayed = ", ".join(f"{_name(task)} ({_name(word)})" for task, word in page.recommendation.stayed)
        lines.append(f"Not checked, as the recommendation left them where they were: {stayed}.")
    if page.intervals:
        lines.append(
            f"{wording.count(page.intervals, 'interval')} share an error of {100 * page.alpha:g} %: at most "
            "that share of pages calls anything broken that is not. Kept is said of the days seen, and no "
            "outage is foreseen. Calls of one day count as one event, or of one hour where they span less "
            "than five days. Calls of runs do not count."
        )
    return lines


def _not_applied(check: TaskCheck) -> str:
    promise, applied = check.promise, check.application
    model = _name(promise.chain[0])
    if not applied.calls:
        return "The telemetry holds no call of it in this time, outside of runs."
    today = ", ".join(f"{_name(name)} {wording.share(share)}" for name, share in applied.today[:3])
    said = f"Its latest calls begin with: {today}."
    if applied.tried is not None:
        first, last = applied.tried
        return f"{said} They began with {model} from {_time(first)} to {_time(last)}; it was taken back."
    said += (
        f" No call is followed by {100 * APPLIED_SHARE:g} % that begin with {model} "
        f"({wording.share(applied.share)} of {wording.count(applied.calls, 'call')} do)."
    )
    hint = " If only a part of its calls was to move, say since when." if applied.share > 0.0 else ""
    return said + hint


def _state(check: TaskCheck) -> str:
    broken = [_LABELS[each.name] for each in check.measures if each.verdict == "broken"]
    if broken:
        return f"Broken: {', '.join(broken)}."
    kept = sum(each.verdict == "kept" for each in check.measures)
    judged = kept + sum(each.verdict == "open" for each in check.measures)
    return (
        f"{kept} of {wording.count(judged, 'promise')} kept, none broken." if judged else "Nothing to judge."
    )


def _open(measure: Measure) -> str:
    if measure.more_calls is None:
        return "open: too near the limit, or with too few hours or days, to say how many calls would tell"
    about = int(float(f"{measure.more_calls:.2g}"))
    return f"open: about {wording.count(about, 'more call')} would tell, if it stays where it is"


def _cells(measure: Measure) -> tuple[str, ...]:
    promised = _value(measure, measure.promised)
    if measure.promised_interval is not None and measure.promised is not None:
        promised += f" ({_bounds(measure, *measure.promised_interval)})"
    return (
        _LABELS[measure.name],
        promised,
        _value(measure, measure.limit),
        _value(measure, measure.observed),
        "" if measure.low is None else _bounds(measure, measure.low, measure.high),
        _value(measure, measure.before),
        f"{measure.calls:,} in {_events(measure)}",
        _VERDICTS[measure.verdict],
    )


def _events(measure: Measure) -> str:
    return f"{measure.hours:,} h" if measure.days is None else wording.count(measure.days, "day")


def _bounds(measure: Measure, low: float | None, high: float | None) -> str:
    if high is None or math.isinf(high):
        return f"{_value(measure, low)}, no upper limit"
    return f"{_value(measure, low)} to {_value(measure, high)}"


def _value(measure: Measure, value: float | None) -> str:
    if value is not None and math.isinf(value):
        return "cut off"
    if measure.name.endswith("usd_per_1000"):
        return wording.money(value)
    return wording.duration(value) if measure.name == "p95_ms" else wording.share(value)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(_width(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(cell + " " * (w - _width(cell)) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _width(text: str) -> int:
    """Columns of a terminal: letters of East Asian scripts take two."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _name(text: str) -> str:
    """A stranger's text on one line, with nothing hidden in it."""
    return " ".join(visible(text).split())


def _time(moment: datetime | None) -> str:
    return wording.MISSING if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC"
