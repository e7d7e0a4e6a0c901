"""Descriptive extras of a report: figures beside the decision that say nothing about a move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmbench.analytics.json_objects import Facts, as_number, as_objects, read_object

_NUMBERS: Final = {
    "ranking": ("strength", "low", "high", "comparisons"),
    "aiq": ("aiq",),
    "holm": ("p", "p_holm"),
    "slices": ("n", "clusters", "score", "delta"),
}
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Extras:
    """The extras that a run has; an empty list is left out of the report.

    Attributes:
        ranking: task, model, strength with low and high, comparisons (Bradley and Terry).
        aiq: task, aiq: the mean quality over the range of costs.
        holm: task, model, p, p_holm, rejected.
        slices: task, slice, value, model, n, clusters, score, delta, warning.
    """

    ranking: Rows = ()
    aiq: Rows = ()
    holm: Rows = ()
    slices: Rows = ()

    def __bool__(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.ranking or self.aiq or self.holm or self.slices)


def read_extras(run_dir: Path, given: Mapping[str, Any] | None = None) -> Extras:
    """The extras given, else those in extras.json of the run folder, else none.

    Raises:
        WarehouseError: extras.json is there and holds no JSON object.
    """
    path = run_dir / "extras.json"
    if given is None:
        given = read_object(path, "make it again or delete it") if path.exists() else {}
    return Extras(**{name: _rows(given.get(name), numbers) for name, numbers in _NUMBERS.items()})


def _rows(value: object, numbers: Sequence[str]) -> list[Facts]:
    rows = as_objects(list(value) if isinstance(value, tuple) else value)
    return [Facts(row | {name: as_number(row[name]) for name in numbers}) for row in rows]
