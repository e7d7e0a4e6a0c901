"""What a recommendation promised: the figures of the model that it chose, task by task."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from llmbench.analytics.json_objects import Facts, as_object, as_objects, read_object
from llmbench.errors import WarehouseError

SCHEMA: Final = 2
_MOVES: Final = ("promote", "demote", "upgrade")
_ADVICE: Final = "give the recommendation.json of a run folder, as `llmbench sweep` writes it"
Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Promise:
    """A task that a recommendation moved, and what the sweep measured of the model it moved to.

    Attributes:
        task: its name.
        reference: the models that served it, in order.
        chain: the models to serve it, in order; one, or a fallback chain.
        outcome: promote, demote or upgrade.
        calls: calls behind the figures.
        cost_usd_per_1000: US dollars per thousand calls, or None where the file holds none.
        p95_ms: milliseconds, or None.
        p95_interval_ms: the sweep's own 95 % limits of it, or None.
        failures: calls that failed, or None.
        failure_rate: their share, or None.
        quality: mean score on 0..1, which telemetry cannot check, or None.
    """

    task: str
    reference: tuple[str, ...]
    chain: tuple[str, ...]
    outcome: str
    calls: int
    cost_usd_per_1000: float | None
    p95_ms: float | None
    p95_interval_ms: Bounds | None
    failures: int | None
    failure_rate: float | None
    quality: float | None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A recommendation as far as it can be checked.

    Attributes:
        file: the file's name with its folder's.
        run_id: the run that it rests on, or None.
        promises: the tasks that it moved.
        stayed: (task, outcome) of the others.
    """

    file: str
    run_id: str | None
    promises: tuple[Promise, ...]
    stayed: tuple[tuple[str, str], ...]


def read_recommendation(path: Path) -> Recommendation:
    """Read a recommendation.json.

    Raises:
        WarehouseError: there is no such file, it is not JSON, has another schema, or lacks what names a move.
    """
    try:
        facts = read_object(path, _ADVICE)
    except RecursionError as error:
        raise WarehouseError(f"{path.name} is nested too deeply to be a recommendation: {_ADVICE}") from error
    if facts["schema"] != SCHEMA or isinstance(facts["schema"], bool):
        raise WarehouseError(
            f"{path.name} in {path.absolute().parent.name} has schema {facts['schema']!r:.40}, "
            f"{SCHEMA} is read here: run the sweep again; it calls nothing that is finished "
            "and writes the recommendation anew"
        )
    if not isinstance(facts["tasks"], list):
        _refuse(path, "tasks", "is no list")
    promises: list[Promise] = []
    stayed: list[tuple[str, str]] = []
    for at, entry in enumerate(as_objects(facts["tasks"])):
        names = {key: _text(path, at, entry, key) for key in ("task", "reference", "outcome", "choice")}
        if names["outcome"] in _MOVES and names["choice"] != names["reference"]:
            promises.append(_promise(entry, names))
        else:
            stayed.append((names["task"], names["outcome"]))
    run_id = facts["run_id"]
    return Recommendation(
        f"{path.parent.name}/{path.name}" if path.parent.name else path.name,
        _sound(run_id) if isinstance(run_id, str) else None,
        tuple(promises),
        tuple(stayed),
    )


def _promise(entry: Facts, names: dict[str, str]) -> Promise:
    rows = {str(row["model"]): row for row in as_objects(entry["candidates"])}
    chosen = as_object(rows.get(names["choice"]))
    limits = chosen["p95_interval_ms"]
    calls = _number(chosen["n"])
    failures = _number(chosen["failures"])
    return Promise(
        task=names["task"],
        reference=_chain(as_object(rows.get(names["reference"])), names["reference"]),
        chain=_chain(chosen, names["choice"]),
        outcome=names["outcome"],
        calls=0 if calls is None else int(calls),
        cost_usd_per_1000=_number(chosen["cost_usd_per_1000"]),
        p95_ms=_number(chosen["p95_ms"]),
        p95_interval_ms=(_number(limits[0]), _number(limits[1])) if _is_pair(limits) else None,
        failures=None if failures is None else int(failures),
        failure_rate=_share(chosen["failure_rate"]),
        quality=_share(chosen["quality"]),
    )


def _chain(row: Facts, name: str) -> tuple[str, ...]:
    """The models of an arm; a file without them has them in its name, as `a > b`."""
    arm = row["arm"]
    models = arm if isinstance(arm, list) and arm and all(isinstance(m, str) for m in arm) else None
    return tuple(_sound(model) for model in models or name.split(" > "))


def _text(path: Path, at: int, entry: Facts, key: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value:
        _refuse(path, f"tasks[{at}].{key}", "is no text" if key in entry else "is missing")
    return _sound(value)


def _refuse(path: Path, key: str, trouble: str) -> NoReturn:
    raise WarehouseError(f"{path.name} in {path.absolute().parent.name}: {key} {trouble}: {_ADVICE}")


def _sound(text: str) -> str:
    """A text that encodes as UTF-8: half a surrogate pair, which JSON can hold, becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2


def _share(value: object) -> float | None:
    number = _number(value)
    return number if number is None or number <= 1.0 else None


def _number(value: object) -> float | None:
    """A finite number that is not negative, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of three hundred digits
        return None
    return number if math.isfinite(number) and number >= 0.0 else None
