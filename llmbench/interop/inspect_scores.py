"""What Inspect's scorers found as a number in [0, 1]. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from inspect_ai.scorer import Score

from llmbench.errors import DatasetError

#: Words of scorers. Source: `inspect_ai.scorer.value_to_float`.
_WORDS: Final[Mapping[str, float]] = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_LOWER_WORDS: Final[Mapping[str, float]] = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}


@dataclass(frozen=True, slots=True)
class Scale:
    """The range of a scorer's numbers: `low` becomes 0 and `high` 1. A `low` over `high` turns it around.

    Raises:
        DatasetError: it is no range.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.low) or not math.isfinite(self.high) or self.low == self.high:
            raise DatasetError(
                f"--scale {self.low:g} {self.high:g}: give two different numbers, worst and best"
            )

    def place(self, value: float) -> float:
        """Where a number lies: 0 at `low`, 1 at `high`."""
        return (value - self.low) / (self.high - self.low)


def score_of(
    scores: Mapping[str, Score], scorer: str | None, scale: Scale, where: str
) -> tuple[float | None, str]:
    """The score of one sample.

    Args:
        scores: scorer -> what it found.
        scorer: which counts: its name, or `name/key` where its value is a mapping or a list; None: the only
            one.
        scale: the range of numbers; words and booleans need none.
        where: file and sample, for the errors.

    Returns:
        the score in [0, 1], or None where the scorer gave none, and the scorer's full name.

    Raises:
        DatasetError: there are several scorers and none was named, the named one is missing, or its value
            is no number in the range.
    """
    name, value = _chosen(scores, scorer, where)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None, name
    return _in_range(_number(value, scale, f"{where}: scorer {name}"), value, scale, where, name), name


def _in_range(score: float, value: Any, scale: Scale, where: str, name: str) -> float:
    if 0.0 <= score <= 1.0:
        return score
    asked = "" if scale == Scale() else f" after --scale {scale.low:g} {scale.high:g}"
    raise DatasetError(
        f"{where}: scorer {name} gave {value!r:.40}, outside 0 to 1{asked}; "
        "say its worst and best value: --scale WORST BEST"
    )


def _number(value: Any, scale: Scale, where: str) -> float:
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return scale.place(float(value))
    if isinstance(value, str):
        if value in _WORDS:
            return _WORDS[value]
        if value.lower() in _LOWER_WORDS:
            return _LOWER_WORDS[value.lower()]
        try:
            return scale.place(float(value))
        except ValueError:
            pass
    raise DatasetError(
        f"{where} gave {value!r:.40}, which is no number; choose another with --scorer, or score the log "
        "again with one that gives numbers or C, P, I, N (`inspect score`)"
    )


def _chosen(scores: Mapping[str, Score], scorer: str | None, where: str) -> tuple[str, Any]:
    """The scorer's full name and its value.

    Raises:
        DatasetError: it is not clear which, or it is missing.
    """
    choices = {full: value for name, score in scores.items() for full, value in _values(name, score.value)}
    if scorer is not None and scorer in choices:
        return scorer, choices[scorer]
    begun = [full for full in choices if scorer is None or full.startswith(f"{scorer}/")]
    if len(begun) == 1:
        return begun[0], choices[begun[0]]
    listed = ", ".join(f"{name!r:.60}" for name in begun or choices)
    problem = "has several scores" if begun else f"has no score {scorer!r:.60}"
    raise DatasetError(f"{where}: {problem}; choose one with --scorer: {listed or 'it has none'}")


def _values(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(f"{name}/{key}", inner) for key, inner in value.items()]
    if isinstance(value, list | tuple):
        return [(f"{name}/{number}", inner) for number, inner in enumerate(value)]
    return [(name, value)]
