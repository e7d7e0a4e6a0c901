"""What a judge's reply says. Tolerant of fences and prose around the JSON, and never raises.

A reply that cannot be read is None, never a tie and never a score. Two objects that say different things are
not read either: which of them is the verdict would be a guess.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from llmbench.structuring import unfence

Better = Literal["A", "B", "tie"]
_T = TypeVar("_T")
#: Longer replies are no verdicts; reading them would only cost time.
_LONGEST: Final = 20_000
_TIES: Final = frozenset({"tie", "tied", "draw", "equal", "same", "neither", "引き分け", "同等", "同点"})
_DECORATION: Final = re.compile(r"^(answer|response|option|回答|解答)\s*|[\s'\"「」.。]+")


@dataclass(frozen=True, slots=True)
class Preference:
    """A pairwise verdict."""

    better: Better
    reason: str


@dataclass(frozen=True, slots=True)
class Points:
    """A rubric's verdict: points and reasons, in the order of the criteria."""

    scores: tuple[int, ...]
    reasons: tuple[str, ...]

    def score(self, scale: int) -> float:
        """The mean of the points on 0..1: 1 point is 0, `scale` points are 1."""
        return sum(points - 1 for points in self.scores) / (len(self.scores) * (scale - 1))


def read_preference(output: str | None) -> Preference | None:
    """The verdict of a pairwise reply, or None."""
    found = _only(output, _as_preference)
    if found is None and output is not None and len(output) < 40 and (bare := _better(output)):
        return Preference(bare, "")
    return found


def read_points(output: str | None, criteria: int, scale: int) -> Points | None:
    """The points of a rubric's reply, or None unless every criterion has whole points from 1 to `scale`."""
    return _only(output, lambda value: _as_points(value, criteria, scale))


def _only(output: str | None, read: Callable[[dict[str, Any]], _T | None]) -> _T | None:
    """What the one readable object of a reply says; several must agree but for their reasons."""
    if output is None or len(output) > _LONGEST:
        return None
    found = [value for each in _objects(unfence(output.strip())) if (value := read(each)) is not None]
    said = {_without_reasons(value) for value in found}
    return found[-1] if len(said) == 1 else None


def _without_reasons(value: object) -> object:
    return value.scores if isinstance(value, Points) else getattr(value, "better", value)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a text, not those inside others. One with a key given twice is none."""
    decoder = json.JSONDecoder(object_pairs_hook=_once)
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            end = at + 1
        except RecursionError:  # as deep at the next bracket: nobody means such a reply
            return
        else:
            if isinstance(value, dict):
                yield value
        at = text.find("{", end)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _as_preference(value: dict[str, Any]) -> Preference | None:
    better = _better(value.get("better"))
    return None if better is None else Preference(better, _reason(value.get("reason")))


def _better(value: object) -> Better | None:
    if not isinstance(value, str):
        return None
    word = _DECORATION.sub("", unicodedata.normalize("NFKC", value).casefold().strip())
    if word in _TIES:
        return "tie"
    return {"a": "A", "b": "B"}.get(word)  # type: ignore[return-value]  # the values are the literals


def _as_points(value: dict[str, Any], criteria: int, scale: int) -> Points | None:
    scores: list[int] = []
    reasons: list[str] = []
    for number in range(1, criteria + 1):
        entry = value.get(f"c{number}")
        points = _whole(entry.get("score") if isinstance(entry, dict) else entry, scale)
        if points is None:
            return None
        scores.append(points)
        reasons.append(_reason(entry.get("reason")) if isinstance(entry, dict) else "")
    return Points(tuple(scores), tuple(reasons)) if scores else None


def _whole(value: object, scale: int) -> int | None:
    """Whole points within the scale: 4, 4.0, "4" or "4/5"; a truth value is none."""
    if isinstance(value, str):
        spelled = re.fullmatch(
            r"([0-9]{1,2})(?:\s*/\s*([0-9]{1,2}))?", unicodedata.normalize("NFKC", value).strip()
        )
        if spelled is None or (spelled[2] is not None and int(spelled[2]) != scale):
            return None
        value = int(spelled[1])
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return int(value) if 1 <= value <= scale and value == int(value) else None


def _reason(value: object) -> str:
    return value.strip()[:300] if isinstance(value, str) else ""
