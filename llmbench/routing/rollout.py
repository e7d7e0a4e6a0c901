"""Rollouts: which calls a challenger is tried out on. Decides and labels; the lab judges and stops.

A *split* lets the challenger answer the calls of a share of the routing keys; the usual candidates stay
behind it as its fallback. A *shadow* leaves a call as it is and asks the challenger beside it
(`rollout_shadow`). Who is in the share is a hash of salt and key, so a key stays in its arm, and a larger
share only adds keys.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from llmbench.catalog import ModelSpec
from llmbench.config.environment import Environment
from llmbench.config.model import Config, Rollout
from llmbench.config.rollouts import has_price, is_over, stop_path
from llmbench.errors import RouteError
from llmbench.messages import Request, Route
from llmbench.routing.resolve import Wanted

#: The form of the stop file that this version reads and the lab writes.
STOP_SCHEMA: Final = 1
#: Seconds between two looks at the stop file.
LOOK_S: Final = 1.0
#: More than any number of rollouts needs: a larger file is not ours.
_LONGEST_FILE: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Arm:
    """A call's place in a rollout, as its telemetry line tells it.

    `models` are the keys of the challengers: the line's model is one of them where they answered. `of` is the
    id of the caller's call, which a shadow belongs to. `dropped_before`, on the lines of callers, counts the
    shadows of the rollout that this process did not send and has not told of, this call's among them.
    """

    name: str
    mode: Literal["split", "shadow"]
    arm: Literal["control", "challenger"]
    models: tuple[str, ...]
    of: str | None = None
    dropped_before: int = 0

    def is_kept(self, candidates: Collection[str]) -> bool:
        """Whether candidates still hold a challenger where one is to answer."""
        return self.arm == "control" or any(key in candidates for key in self.models)

    def as_dict(self) -> dict[str, Any]:
        """The telemetry form."""
        line: dict[str, Any] = {"name": self.name, "mode": self.mode, "arm": self.arm, "of": self.of}
        line["models"] = list(self.models)
        return line | ({"dropped_before": self.dropped_before} if self.dropped_before else {})


def place_of(salt: str, key: str) -> float:
    """Where a key stands in [0, 1): evenly spread, always the same for one salt.

    The first 53 bits of SHA-256 over the salt's length, the salt and the key.
    """
    text = f"{len(salt)}:{salt}{key}".encode("utf-8", "backslashreplace")
    return (int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 11) / 2.0**53


class StopFile:
    """What the lab wrote of each rollout. Safe between threads: a look replaces what is known as a whole.

    Without the file every rollout runs; with one that cannot be read or understood none does.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        self._next_look = -1.0
        self._seen: tuple[int, ...] | None = ()
        self._stops: Mapping[str, str] = {}
        self._problem: str | None = None

    def stopped(self, name: str) -> str | None:
        """Why a rollout does not run, or None. The file's facts are looked at once a second at most.

        Warns:
            RuntimeWarning: the file cannot be used; once for every state of it.
        """
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_S
            self._look()
        return self._stops.get(name) if self._problem is None else self._problem

    def _look(self) -> None:
        seen: tuple[int, ...] | None
        try:
            facts = self.path.stat()
            seen = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            if seen == self._seen:
                return
            stops, problem = read_stops(self.path), None
        except FileNotFoundError:
            seen, stops, problem = None, {}, None
        except (OSError, ValueError) as error:
            seen, stops, problem = (), {}, _unusable(self.path, error)
        was, self._problem = self._problem, problem
        self._seen, self._stops = seen, stops
        if problem is not None and problem != was:
            with contextlib.suppress(RuntimeWarning):  # also under -W error a call must not fail
                warnings.warn_explicit(problem, RuntimeWarning, "<llmbench rollouts>", 1, module=__name__)


def _unusable(path: Path, error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"the stop file {path} cannot be used ({said}): every rollout is stopped; repair or remove it"


def read_stops(path: Path) -> dict[str, str]:
    """Name -> reason of every rollout that a stop file stops.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no stop file.
    """
    return {
        name: str(entry.get("reason") or "stopped")
        for name, entry in read_entries(path).items()
        if entry["state"] == "stopped"
    }


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """Every entry of a stop file as it stands there.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no stop file.
    """
    with open(path, "rb", opener=_opened) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        raw = file.read(_LONGEST_FILE + 1)
    if len(raw) > _LONGEST_FILE:
        raise ValueError("it is too long for a stop file")
    try:
        data = json.loads(raw.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    entries = data.get("rollouts") if isinstance(data, dict) else None
    if not isinstance(entries, dict) or data.get("schema") != STOP_SCHEMA:
        raise ValueError(f"it is no stop file of schema {STOP_SCHEMA}")
    for name, entry in entries.items():
        if not isinstance(entry, dict) or entry.get("state") not in ("running", "stopped"):
            raise ValueError(f"its entry {name!r:.60} has no state running or stopped")
    return entries


def _opened(path: str, flags: int) -> int:
    """Open without waiting: for a pipe's other end a call would wait for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


class Rollouts:
    """The rollouts of one config, by task and by tier."""

    def __init__(self, config: Config, environment: Environment, stops: StopFile) -> None:
        self._config, self._environment, self.stops = config, environment, stops
        values = config.rollouts.values()
        self._by_task = {task: rollout for rollout in values for task in rollout.tasks}
        self._by_tier = {rollout.tier: rollout for rollout in values if rollout.tier}

    def join(
        self, request: Request, wanted: Wanted, route: Route, find: Callable[[Wanted], Route]
    ) -> tuple[Route, Arm | None]:
        """The route of a call with its rollout's part in it, and the call's arm; None for no part.

        Args:
            request: the call.
            wanted: what it asks of its route.
            route: where it would go without a rollout.
            find: the route of another question, here of the challengers.
        """
        rollout = self._by_task.get(route.task) or self._by_tier.get(route.tier)
        if rollout is None:
            return route, None
        problem = self._pinned(wanted, route, request, find) or self._ended(rollout)
        if problem is not None:
            return _because(route, rollout, problem), None
        key = request.routing_key or (request.call_id if rollout.mode == "shadow" else None)
        if key is None:
            return _because(route, rollout, "the call has no routing key, so it goes the usual way"), None
        is_in = place_of(rollout.salt, key) < rollout.share
        if not is_in and rollout.mode == "shadow":
            return _because(route, rollout, "this call has no shadow"), None
        try:
            asked = replace(wanted, models=rollout.challengers, allow_fallback=True)
            models = self._able(rollout, wanted, route, find(asked))
        except RouteError as error:
            said = "; ".join(f"{model}: {reason}" for model, reason in error.excluded) or str(error)
            return _because(route, rollout, f"its challenger cannot take this call: {said}"), None
        return _joined(route, rollout, models, wanted, is_in=is_in)

    def _pinned(
        self, wanted: Wanted, route: Route, request: Request, find: Callable[[Wanted], Route]
    ) -> str | None:
        """Who chose the models of this call by hand, or None (contract, section 1)."""
        environment = self._environment
        pins = (
            (bool(wanted.models), "the call names its models"),
            (request.run_id is not None or request.cell is not None, "the call belongs to a sweep"),
            (wanted.task in environment.force_task_models, "LLM_FORCE_TASK_MODELS_JSON names the models"),
            (bool(environment.force_models), "LLM_FORCE_MODELS names the models"),
            (environment.slot is not None and route.slot is not None, "LLM_MODEL_SLOT names the models"),
            (self._is_elsewhere(wanted, find), "the call names another tier than its task has"),
        )
        return next((f"{reason}, so it does not apply" for applies, reason in pins if applies), None)

    def _is_elsewhere(self, wanted: Wanted, find: Callable[[Wanted], Route]) -> bool:
        """Whether a call of a task with a rollout of its own names another tier than the task's."""
        if wanted.tier is None or wanted.task not in self._by_task:
            return False
        try:
            return find(replace(wanted, tier=None)).tier != wanted.tier
        except RouteError:  # its own tier cannot take this call
            return True

    def _ended(self, rollout: Rollout) -> str | None:
        if is_over(rollout, datetime.now(UTC)):
            return f"it ended after {rollout.until}"
        stop = self.stops.stopped(rollout.name)
        return None if stop is None else f"it is stopped: {stop}"

    def _able(self, rollout: Rollout, wanted: Wanted, route: Route, found: Route) -> tuple[str, ...]:
        """The challengers that can take the call: those that its route leaves, without their own fallbacks.

        Raises:
            RouteError: none can.
        """
        named = {self._config.model_key(model) for model in rollout.challengers}
        models = [key for key in found.candidates if key in named]
        if wanted.needs_reasoning and any(map(self._reasons, route.candidates)):
            models = [key for key in models if self._reasons(key)]
        if not models:
            raise RouteError("none of the challengers can reason (capabilities.reasoning)")
        if rollout.mode == "shadow" and rollout.budget.usd is not None:
            models = [key for key in models if self._has_price(key)]
        if not models:
            raise RouteError("its budget is in USD, and no challenger has a price")
        return tuple(models)

    def _has_price(self, key: str) -> bool:
        spec: ModelSpec = self._config.models[key]
        return spec.price is not None or has_price(spec, self._config.endpoints[spec.provider])

    def _reasons(self, key: str) -> bool:
        spec: ModelSpec = self._config.models[key]
        return spec.capabilities.reasoning


def _joined(
    route: Route, rollout: Rollout, models: tuple[str, ...], wanted: Wanted, *, is_in: bool
) -> tuple[Route, Arm]:
    """The route of a call that is in the rollout, with its reason."""
    names = " > ".join(models)
    if rollout.mode == "shadow":
        said = f"{names} is asked too, off the caller's path, if its budget has room"
        return _because(route, rollout, said), Arm(rollout.name, "shadow", "control", models)
    if not is_in:
        said = "its routing key is outside of the share: control"
        return _because(route, rollout, said), Arm(rollout.name, "split", "control", models)
    order = (*models, *(key for key in route.candidates if key not in models))
    excluded = route.excluded
    if wanted.allow_fallback is False:  # the caller wants one model and no other
        excluded = (*excluded, *((key, "strict choice: allow_fallback is off") for key in order[1:]))
        order = order[:1]
    route = replace(route, candidates=order, excluded=excluded)
    said = f"its routing key is in the share: {names} first"
    return _because(route, rollout, said), Arm(rollout.name, "split", "challenger", models)


def _because(route: Route, rollout: Rollout, reason: str) -> Route:
    said = f"rollout {rollout.name} ({rollout.mode} {rollout.share:g}): {reason}"
    return replace(route, reasons=(*route.reasons, said))


def open_rollouts(
    config: Config, environment: Environment, before: Rollouts | None = None
) -> Rollouts | None:
    """The rollouts of a config, or None where it has none. A reload keeps what is known of the stop file."""
    if not config.rollouts:
        return None
    path = stop_path(config)
    known = before.stops if before is not None and before.stops.path == path else StopFile(path)
    return Rollouts(config, environment, known)
