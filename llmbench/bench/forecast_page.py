"""What a plan will take, in one line and as a table. Every name is a stranger's and is escaped."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from llmbench import markup
from llmbench.bench.forecast_calls import Span
from llmbench.display import wording
from llmbench.visible import visible

if TYPE_CHECKING:
    from llmbench.bench.forecast import Forecast, ForecastRow

HEAD: Final = (
    *("task", "model", "planned", "in ledger", "calls left", "input tokens", "output tokens"),
    *("$ low", "$ expected", "$ high", "time", "rests on"),
)
"""Columns of `table`. Where one figure does not say it, it is followed by (low to high)."""


def total_line(forecast: Forecast) -> str:
    """All of it in one line: calls, dollars, time."""
    parts = [f"{_calls(forecast.calls)} left of {wording.number(forecast.planned)}"]
    if forecast.calls.high:
        parts += [_dollars(forecast), about(forecast.seconds)]
    return " · ".join(parts)


def table(forecast: Forecast) -> list[tuple[str, ...]]:
    """One row a task, model and kind, and the total where there are several, under `HEAD`."""
    rows = [_row(row) for row in forecast.rows]
    if len(rows) < 2:
        return rows
    facts = (wording.number(forecast.planned), wording.number(forecast.in_ledger))
    return [*rows, ("total", "", *facts, *_figures(forecast), about(forecast.seconds), "")]


def notes(forecast: Forecast) -> list[str]:
    """How to read the table, and why a price is unknown."""
    reading = (
        "low: the fewest calls, with short answers; high: all calls, each at its cap, no less than what a "
        "budget holds back; time: of the calls of a row one after the other, in the total as they run"
    )
    return [reading, *(f"no dollars: {visible(reason)}" for reason in forecast.unknown)]


def html_table(forecast: Forecast) -> str:
    """The line, the table and its notes for a notebook."""
    told = "".join(f"<p><small>{markup.escaped(note)}</small></p>" for note in notes(forecast))
    return markup.table(HEAD, table(forecast), total_line(forecast)) + told


def about(seconds: float) -> str:
    """A forecast of time: seconds, minutes or hours, no finer than it can be."""
    if seconds < 99.5:
        return f"about {math.ceil(seconds)} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5970 else f"about {seconds / 3600:,.1f} h"


def _row(row: ForecastRow) -> tuple[str, ...]:
    named = visible(row.task), visible(row.model)
    task = named[0] if row.kind == "answer" else f"{named[0]} ({row.kind})"
    counts = (wording.number(row.planned), wording.number(row.in_ledger))
    time = about(row.seconds) if row.calls.expected else wording.MISSING
    return (task, named[1], *counts, *_figures(row), time, visible("; ".join(row.basis)))


def _figures(of: Forecast | ForecastRow) -> tuple[str, ...]:
    usd = (None, None, None) if of.usd is None else (of.usd.low, of.usd.expected, of.usd.high)
    return (
        _span(of.calls),
        _span(of.input),
        _span(of.output),
        *(wording.money(None if value is None or math.isinf(value) else value) for value in usd),
    )


def _span(span: Span) -> str:
    expected = _short(span.expected)
    if span.low == span.high:
        return expected
    return f"{expected} ({_short(span.low)} to {_short(span.high)})"


def _short(value: float) -> str:
    """A count of two or three digits."""
    if math.isinf(value):
        return "no limit"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            scaled = value / (1e3 if unit == "k" else size)
            return f"{scaled:.1f}{unit}" if scaled < 99.95 else f"{scaled:,.0f}{unit}"
    return wording.number(value)


def _calls(calls: Span) -> str:
    expected = wording.count(round(calls.expected), "call")
    if calls.low == calls.high:
        return expected
    return f"{expected} ({wording.number(calls.low)} to {wording.number(calls.high)})"


def _dollars(forecast: Forecast) -> str:
    usd = forecast.usd
    if usd is None:
        return "dollars not known"
    low, expected, high = (
        "no limit" if math.isinf(value) else wording.money(value)
        for value in (usd.low, usd.expected, usd.high)
    )
    return f"{low} – {expected} – {high} (low, expected, high)"
