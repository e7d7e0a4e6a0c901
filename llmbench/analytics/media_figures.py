"""Figures of one candidate over all of its pictures or narrations, as words for a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Final

from llmbench.analytics.json_objects import as_number
from llmbench.display import wording
from llmbench.display.language import mark, say

Rows = Sequence[Mapping[str, Any]]

LEVEL: Final = 0.95
"""Of the interval of a median."""
_MOST: Final = 1e12
_HEADINGS: Final = {
    "image": (
        mark("Pictures"),
        mark("Valid"),
        mark("Shape obeyed"),
        mark("Caption legible"),
        mark("Contrast, median"),
        mark("Size, median"),
    ),
    "speech": (
        mark("Narrations"),
        mark("Real-time factor, median"),
        mark("Seconds a character, median"),
        mark("Clipped"),
        mark("Silent"),
        mark("Heard again"),
    ),
}


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A candidate's figures: a figure and a small word below it for each heading.

    Attributes:
        lang: the language that they are of; empty where they are of all.
    """

    model: str
    lang: str
    cells: Sequence[tuple[str, str]]


def figure_headings(modality: str) -> Sequence[str]:
    """The headings of the figures of image or speech."""
    return [say(heading) for heading in _HEADINGS[modality]]


def figure_rows(modality: str, model: str, rows: Rows) -> list[FigureRow]:
    """The figures of one candidate; `rows` are its rows with `answer` and `details` parsed.

    Narrations of several languages have a row for each, Japanese first: a second of sound holds fewer
    Japanese characters than English ones, and a voice may work another way in each.
    """
    languages = {str(row["lang"]) for row in rows}
    if modality == "image" or len(languages) < 2:
        return [_row(modality, model, "", rows)]
    return [
        _row(modality, model, lang, [row for row in rows if str(row["lang"]) == lang])
        for lang in sorted(languages, key=lambda each: (each != "ja", each == "und", each))
    ]


def _row(modality: str, model: str, lang: str, rows: Rows) -> FigureRow:
    answered = [row for row in rows if row["answer"] is not None]
    came = (wording.number(len(answered)), say("of {calls}", calls=wording.number(len(rows))))
    cells = _of_pictures(rows, answered) if modality == "image" else _of_sounds(answered)
    return FigureRow(model, lang, [came, *cells])


def _of_pictures(rows: Rows, answered: Rows) -> list[tuple[str, str]]:
    valid = [measured(row["details"]["valid"]) or 0.0 for row in rows]
    is_scored = any(row["details"]["valid"] is not None for row in rows)
    return [
        _mean(valid if is_scored else []),
        _mean(_details(answered, "shape")),
        _mean(_details(answered, "legible")),
        _middle(answered, lambda fact: measured(fact["contrast"]), lambda value: f"{value:.2f}"),
        _middle(answered, lambda fact: measured(fact["bytes"]), wording.size),
    ]


def _of_sounds(answered: Rows) -> list[tuple[str, str]]:
    return [
        _middle(answered, lambda fact: measured(fact["real_time_factor"]), lambda value: f"{value:.2f}"),
        _middle(answered, _seconds_a_character, lambda value: f"{value:.3f}"),
        _mean([n for row in answered if (n := measured(row["answer"]["clipped"])) is not None], digits=3),
        _mean([n for row in answered if (n := measured(row["answer"]["silence"])) is not None]),
        _mean(_details(answered, "heard")),
    ]


def _seconds_a_character(fact: Mapping[str, Any]) -> float | None:
    seconds, characters = measured(fact["duration_s"]), measured(fact["characters"])
    return seconds / characters if seconds is not None and characters else None


def _details(rows: Rows, name: str) -> list[float]:
    return [n for row in rows if (n := measured(row["details"][name])) is not None]


def _mean(values: Sequence[float], digits: int = 1) -> tuple[str, str]:
    """A mean share in percent, and over how many."""
    if not values:
        return wording.MISSING, ""
    mean = wording.percent(f"{100 * fmean(values):.{digits}f}")
    return mean, say("mean of {n}", n=wording.number(len(values)))


def _middle(rows: Rows, figure: Any, words: Any) -> tuple[str, str]:
    """A median over the independent units, and its interval."""
    units: dict[str, list[float]] = {}
    for row in rows:
        if (value := figure(row["answer"])) is not None:
            units.setdefault(row["cluster"], []).append(value)
    values = [median(each) for each in units.values()]
    if not values:
        return wording.MISSING, ""
    bounds = median_interval(values)
    return words(median(values)), "" if bounds is None else wording.span(words(bounds[0]), words(bounds[1]))


def median_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """The distribution-free interval of a median; None where the values are too few for the level.

    The number of n independent values below the median is binomial (n, 1/2); the k-th smallest and the k-th
    largest enclose the median unless fewer than k lie on one side of it (Conover, Practical Nonparametric
    Statistics, 3.2).

    Args:
        values: of independent units.
        level: the chance at least that the interval holds the median.
    """
    ordered, n = sorted(values), len(values)
    tail, k = 0.0, 0
    for below in range(n // 2):
        tail += math.exp(_log_binomial(n, below))
        if 2 * tail > 1 - level:
            break
        k = below + 1
    return (ordered[k - 1], ordered[n - k]) if k else None


def _log_binomial(n: int, k: int) -> float:
    """The logarithm of P(k of n) at one half."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)


def measured(value: object) -> float | None:
    """A number that may have been measured; None for anything else, and beyond a million of millions."""
    try:
        found = as_number(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return found if found is not None and abs(found) <= _MOST else None
