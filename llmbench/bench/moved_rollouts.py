"""What the rollouts that run do to the tasks that an apply moves: they send calls past the files' routes."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from llmbench.bench.route_proof import Expected, callable_models
from llmbench.config import Config, Environment
from llmbench.config.model import ROLLOUTS_FILE, MediaModality, Rollout
from llmbench.config.rollouts import is_over, stop_path
from llmbench.errors import ApplyError, RouteError
from llmbench.routing.resolve import Wanted, resolve
from llmbench.routing.rollout import read_stops


def rollout_notes(
    after: Config,
    folder: Path,
    moves: Iterable[Expected],
    uncalled: Collection[str],
    kind: MediaModality | None,
) -> tuple[str, ...]:
    """Say which running rollouts are of text tasks that move; refuse one that takes all calls of a task.

    Args:
        after: the config with the change.
        folder: the config folder: the stop file lies beside it.
        moves: the moves.
        uncalled: models that could not be called when the run was planned.
        kind: the media kind, which has no rollouts; None for text.

    Returns:
        A note for each rollout of a task that moves.

    Raises:
        ApplyError: with every routing key a task would go to another model than the proved one.
    """
    notes: list[str] = []
    running = _running(after, folder) if kind is None else frozenset()
    for move in moves:
        rollout = _rollout_of(after, move.task)
        if rollout is None or rollout.name not in running or not rollout.share:
            continue
        challengers = [after.model_key(model) or model for model in rollout.challengers]
        rest = callable_models(after, Wanted(task=move.task), uncalled)
        served = (*challengers, *(key for key in rest if key not in challengers))
        is_proved = served[: len(move.chain)] == move.chain
        if rollout.mode == "split" and rollout.share >= 1 and not is_proved:
            raise ApplyError(
                f"{move.task}: rollout {rollout.name} in {ROLLOUTS_FILE} sends every routing key to "
                f"{' > '.join(challengers)}, so {' > '.join(move.chain)} would answer only calls without "
                f'one: `llmbench rollout stop {rollout.name} --reason "..."`, or remove its section'
            )
        notes.append(_note(move, rollout, " > ".join(challengers), is_proved=is_proved))
    return tuple(notes)


def _rollout_of(config: Config, task: str) -> Rollout | None:
    """The rollout of a task, else that of its tier, as the router finds it."""
    try:
        tier = resolve(config, Environment(), Wanted(task=task), lambda _: None).tier
    except RouteError:
        tier = ""
    rollouts = config.rollouts.values()
    own = next((each for each in rollouts if task in each.tasks), None)
    return own or next((each for each in rollouts if each.tier == tier), None)


def _running(config: Config, folder: Path) -> frozenset[str]:
    """The rollouts that the router lets run now; with a stop file that cannot be used there is none."""
    try:
        stopped = read_stops(stop_path(replace(config, folder=folder)))
    except FileNotFoundError:
        stopped = {}
    except (OSError, ValueError):
        return frozenset()
    now = datetime.now(UTC)
    return frozenset(
        name for name, each in config.rollouts.items() if name not in stopped and not is_over(each, now)
    )


def _note(move: Expected, rollout: Rollout, challengers: str, *, is_proved: bool) -> str:
    head = f"{move.task}: rollout {rollout.name} ({rollout.mode}) runs on"
    if rollout.mode == "shadow":
        return f"{head} and asks {challengers} beside {rollout.share:.3g} of its calls; no caller sees that."
    if is_proved:
        return f"{head}, and its challenger is what the task moves to: remove its section."
    return (
        f"{head}: {rollout.share:.3g} of the routing keys still go to {challengers} first, and the others to "
        f"{' > '.join(move.chain)}."
    )
