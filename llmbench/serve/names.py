"""What a request's `model` names: a task or a tier; and the list of both."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from llmbench.catalog import Modality
from llmbench.config.model import Config
from llmbench.errors import LLMBenchError
from llmbench.serve.doors import Doors
from llmbench.serve.problems import Problem, refused, shown
from llmbench.serve.reading import MOST_NAME

_PATHS: Final[dict[Modality, str]] = {
    "text": "POST /v1/chat/completions or /v1/responses",
    "image": "POST /v1/images/generations",
    "speech": "POST /v1/audio/speech",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes: a task and, where its `model` named a tier, that tier.

    A tier is asked under a task of its own name, so that its telemetry has one.
    """

    task: str
    tier: str | None
    kind: Modality

    @property
    def model_id(self) -> str:
        """The name in the list of models."""
        return self.task if self.tier is None else f"tier:{self.tier}"


def targets(config: Config) -> Iterator[Target]:
    """Every task and tier of a config, tasks first."""
    media_tasks = {name for media in config.media.values() for name in media.tasks}
    for name in config.task_names():
        if name not in media_tasks:
            yield Target(name, None, "text")
    for kind, media in config.media.items():
        for name in sorted(media.tasks):
            yield Target(name, None, kind)
    media_tiers = {name for media in config.media.values() for name in media.tiers}
    for name in sorted(_text_tiers(config) - media_tiers):
        yield Target(name, name, "text")
    for kind, media in config.media.items():
        for name in sorted(media.tiers):
            yield Target(name, name, kind)


def _text_tiers(config: Config) -> set[str]:
    slots = {name for slot in config.slots.values() for name in slot.tiers}
    overridden = {name for _, override in config.overrides() for name in override.tiers}
    return {*config.all_tiers(), *slots, *overridden}


def find_target(config: Config, name: object, kind: Modality, arguments: dict[str, Any]) -> Target:
    """What a request of one kind means by its `model`.

    A task wins over a tier of the same name; `tier:cheap` and `task:cheap` leave no doubt. With a tier or
    models of the request's own (`llmbench.tier`, `llmbench.models`) any other name is a task, too.

    Raises:
        Problem: 400 no name, or one of another kind; 404 nothing has that name.
    """
    if not isinstance(name, str) or not name.strip():
        raise refused("model", "give the name of a task or of a tier; GET /v1/models lists them")
    if len(name) > MOST_NAME:
        raise refused("model", f"a name has at most {MOST_NAME} characters, not {len(name):,}")
    found = _named(config, name)
    if found is None:
        if not arguments.keys() & {"tier", "models"} or ":" in name:
            raise Problem(404, "model_not_found", _unknown(config, name, kind), param="model")
        return Target(name, None, kind)
    if found.kind != kind:
        raise refused("model", f"{name!r} is for {found.kind}; ask it by {_PATHS[found.kind]}")
    if found.tier is not None and arguments.get("tier", found.tier) != found.tier:
        raise refused("llmbench.tier", f"model already names the tier {found.tier!r}; keep one of them")
    return found


def _named(config: Config, name: str) -> Target | None:
    prefix, has_prefix, rest = name.partition(":")
    known = list(targets(config))
    for target in known:
        if name == target.task and target.tier is None:
            return target
    for target in known:
        is_named = (
            has_prefix and prefix == ("task" if target.tier is None else "tier") and rest == target.task
        )
        if is_named or (target.tier is not None and name == target.tier):
            return target
    return None


def _unknown(config: Config, name: str, kind: Modality) -> str:
    """What is told of a name that nothing has: the nearest that a request of this kind may ask for.

    Names are compared without `tier:` and `task:`, which would make any two of them near.
    """
    prefix, has_prefix, rest = name.partition(":")
    is_asked = {"tier": (True,), "task": (False,)}.get(prefix if has_prefix else "", (True, False))
    wanted = rest if len(is_asked) == 1 else name
    near = {
        target.task: target.model_id
        for target in reversed(list(targets(config)))  # of a task and a tier of one name the task
        if target.kind == kind and (target.tier is not None) in is_asked
    }
    close = difflib.get_close_matches(wanted, near, n=1, cutoff=0.6)
    hint = f"did you mean {near[close[0]]!r}?" if close else "GET /v1/models lists what there is"
    return f"no task and no tier is named {name[:80]!r}; {hint}"


def described(doors: Doors, target: Target, created: int) -> dict[str, Any]:
    """One entry of the list of models: a task or tier, its candidates, and whether one can be reached."""
    given = {} if target.tier is None else {"tier": target.tier}
    facts: dict[str, Any] = {"kind": "task" if target.tier is None else "tier", "modality": target.kind}
    try:
        route = doors.of(target.kind).explain(target.task, **given)
        facts |= {"tier": route.tier, "candidates": list(route.candidates), "reachable": True}
    except LLMBenchError as error:
        facts |= {"tier": target.tier, "candidates": [], "reachable": False, "reason": shown(str(error))}
    base = {"id": target.model_id, "object": "model", "created": created, "owned_by": "llmbench"}
    return {**base, "llmbench": facts}
