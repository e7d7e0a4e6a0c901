"""What speaks against a judge in its own judgements: a judge that does not read makes all models look equal.

A judge that always names the same place has a mean verdict of 0 on every pair, and one that gives every
answer the same points finds no difference: both would prove any candidate as good as the reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

#: Fewer pairs or answers than this say little of a judge.
FEWEST: Final = 5
#: Below this share of pairs with one outcome in both orders a judge is doubted. Three outcomes at random
#: agree on a third of the pairs.
LEAST_CONSISTENT: Final = 0.5


def doubts(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each task whose judge gives cause for doubt.

    Args:
        lines: lines of judgements.jsonl.
    """
    tasks: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for line in lines:
        tasks.setdefault((str(line["task"]), str(line["judge"])), []).append(line)
    found = []
    for (task, judge), mine in tasks.items():
        said = _of_places(mine) or _of_points(mine)
        if said:
            found.append(
                f"{task}: the judge {judge} {said}; do not rest a decision on it without people's labels."
            )
    return found


def _of_places(lines: Sequence[Mapping[str, Any]]) -> str | None:
    pairs: dict[tuple[object, ...], dict[str, float]] = {}
    for line in lines:
        if line.get("verdict") is not None:
            key = tuple(line.get(name) for name in ("sample_id", "model", "other", "repeat"))
            pairs.setdefault(key, {})[str(line["order"])] = float(line["verdict"])
    both = [pair for pair in pairs.values() if len(pair) == 2]
    same = sum(_sign(pair["AB"]) == _sign(pair["BA"]) for pair in both)
    if len(both) < FEWEST or same >= LEAST_CONSISTENT * len(both):
        return None
    return (
        f"says the same in both orders on only {same} of {len(both)} pairs: it reads the place, not the "
        "answers"
    )


def _of_points(lines: Sequence[Mapping[str, Any]]) -> str | None:
    scores = [line["score"] for line in lines if line.get("score") is not None]
    if len(scores) < FEWEST or len(set(scores)) > 1:
        return None
    return f"gave all {len(scores)} answers the same points"


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
