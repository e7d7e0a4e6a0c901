"""Proof that a change of config files moves the tasks that it is about, and nothing else. Nothing is sent.

Both folders are loaded as a router would load them, and every task is routed in every channel, environment,
slot and profile, before and after.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from llmbench.bench.edit import read_mapping
from llmbench.config import Config, Environment, read_environment
from llmbench.config.media_view import media_config
from llmbench.config.model import MediaModality, TaskRule
from llmbench.errors import ApplyError, ConfigError, RouteError
from llmbench.routing.resolve import Wanted, option_layers, resolve, task_rules

#: What a proposal for text tasks changes of a config, and one for a media kind.
_ROUTES: Final = frozenset(
    {"folder", "hash", "tiers", "mapping", "channels", "channel_envs", "task_overrides"}
    | {"router_tiers", "router_tasks"}
)
_MEDIA_ROUTES: Final = frozenset({"folder", "hash", "media"})
_MOST_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to become of one task.

    Attributes:
        task: its name.
        tier: the tier it is in afterwards.
        reference: the models that the evidence compared with, as they serve it today; first the first.
        chain: the models that are to answer first.
        params: options that were proved along with them.
        closed: channel -> the models that may not serve it there.
    """

    task: str
    tier: str
    reference: tuple[str, ...]
    chain: tuple[str, ...]
    params: Mapping[str, Any]
    closed: Mapping[str, Sequence[str]] = field(default_factory=dict)


def prove_others_stay(
    before: Config, after: Config, moved: Collection[str], kind: MediaModality | None
) -> None:
    """Refuse a change that touches more than the routes of the tasks that it is about.

    Args:
        before: the config as it is.
        after: the config with the change.
        moved: the tasks that may change.
        kind: the media kind that is changed; None for text.

    Raises:
        ApplyError: it names what else would change.
    """
    other = _other_changes(before, after, kind)
    for name, environment, old, new in _views(before, after, kind):
        tasks = sorted({*old.task_names(), *new.task_names()} - set(moved))
        for place, wanted in _wanted(old, new, tasks, kind):
            was, will = (_served(config, environment, wanted) for config in (old, new))
            if was != will:
                where = "".join(f" in {part}" for part in (*place, name) if part)
                other.append(f"{wanted.task}{where}: {_models(was)} → {_models(will)}")
    if other:
        listed = "; ".join(other[:_MOST_NAMED])
        more = f"; and {len(other) - _MOST_NAMED} more" if len(other) > _MOST_NAMED else ""
        raise ApplyError(
            f"the change would touch more than {', '.join(sorted(moved))}: {listed}{more}; apply single "
            "tasks with --task, or edit the files by hand"
        )


def prove_moves(
    before: Config,
    after: Config,
    expected: Iterable[Expected],
    uncalled: Collection[str],
    texts: Mapping[str, str],
    kind: MediaModality | None,
) -> None:
    """Refuse a change after which a moved task is not answered first by the model that was proved for it.

    Args:
        before: the config as it is.
        after: the config with the change.
        expected: the moves.
        uncalled: models that could not be called when the run was planned; they keep their places.
        texts: the files of the folder, to name an overlay that hides the change.
        kind: the media kind; None for text.

    Raises:
        ApplyError: it names the task, what would answer it, and why where that can be told.
    """
    moves = list(expected)
    old, new = (view_of(config, kind) for config in (before, after))
    for each in moves:
        wanted = Wanted(task=each.task, modality=kind or "text")
        today = callable_models(old, wanted, uncalled)
        if today[: len(each.reference)] != each.reference:
            raise ApplyError(
                f"{each.task} is served by {' > '.join(today) or 'nothing'} today, and the evidence is about "
                f"{' > '.join(each.reference)}: sweep again with the present configs"
                + _hidden(texts, each, old, wanted)
            )
        then = callable_models(new, wanted, uncalled)
        if then[: len(each.chain)] != each.chain:
            raise ApplyError(
                f"{each.task} would be served by {' > '.join(then) or 'nothing'} after the change, not first "
                f"by {' > '.join(each.chain)}"
                + (_hidden(texts, each, new, wanted) or "; apply single tasks with --task")
            )
        for channel, refused in each.closed.items() if kind is None else ():
            there = callable_models(new, replace(wanted, channel=channel), uncalled)
            if found := [model for model in there if model in refused]:
                raise ApplyError(
                    f"{each.task} in channel {channel} would be served by {', '.join(found)}, which that "
                    "channel may not use: keep its present models by an override, by hand"
                )
        if _manner(old, wanted, each.params) != _manner(new, wanted, each.params):
            raise ApplyError(
                f"{each.task}: the change touches more than its models, tier and proved parameters; "
                "decide the run again"
            )
    _prove_everywhere(before, after, moves, uncalled, kind)


def _prove_everywhere(
    before: Config,
    after: Config,
    moves: Iterable[Expected],
    uncalled: Collection[str],
    kind: MediaModality | None,
) -> None:
    """Refuse a change after which a moved task has, somewhere, a model first that was not proved for it.

    In each channel, environment, slot and profile it is answered first by the proved models, or by the very
    models that answer it there today.
    """
    by_task = {each.task: each for each in moves}
    for name, environment, old, new in _views(before, after, kind):
        for place, wanted in _wanted(old, new, sorted(by_task), kind):
            chain = by_task[wanted.task].chain
            was, will = (callable_models(config, wanted, uncalled, environment) for config in (old, new))
            is_proved = bool(will) and will[: len(chain)] == chain[: len(will)]  # a slot may allow one alone
            if will != was and not is_proved:
                where = " and ".join(part for part in (*place, name) if part) or "no channel"
                raise ApplyError(
                    f"{wanted.task} in {where} would be served by {' > '.join(will) or 'nothing'} instead of "
                    f"{' > '.join(was) or 'nothing'}, and {' > '.join(chain)} was proved for it: apply "
                    "single tasks with --task, or keep its present models there by an override, by hand"
                )


def prove_back(after: Config, ways: Iterable[tuple[str, str, str]], kind: MediaModality | None) -> None:
    """Refuse an undo after which a task is still served by what it is to leave.

    Args:
        after: the config with the change taken back.
        ways: (task, model to leave, model to come back to).
        kind: the media kind; None for text.

    Raises:
        ApplyError: it names the task and what would serve it.
    """
    view = view_of(after, kind)
    for task, left, back in ways:
        served = callable_models(view, Wanted(task=task, modality=kind or "text"), ())
        order = {model: at for at, model in reversed(list(enumerate(served)))}
        if left != back and order.get(back, len(served)) >= order.get(left, len(served)):
            raise ApplyError(
                f"{task} would be served by {' > '.join(served) or 'nothing'} and not by {back} again: a "
                "later change serves it too; take that back first, or edit the files by hand"
            )


def unnamed_moves(before: Config, after: Config) -> str | None:
    """A note where tasks that no file names get another first model too, that of their tier; else None."""
    wanted = Wanted(task="a task that no file names")
    was, will = (callable_models(config, wanted, ())[:1] for config in (before, after))
    if was == will:
        return None
    return (
        f"Tasks that no file names are served by the same tier: {' > '.join(was)} → {' > '.join(will)} first."
    )


def view_of(config: Config, kind: MediaModality | None, environment: Environment | None = None) -> Config:
    """A config as calls of one kind see it; the process's own environment where none is given."""
    return config if kind is None else media_config(config, kind, environment or read_environment())


def _views(
    before: Config, after: Config, kind: MediaModality | None
) -> Iterator[tuple[str, Environment, Config, Config]]:
    """Both configs as each slot or profile shows them, with the name of it."""
    if kind is None:
        yield "", Environment(), before, after
        for slot in before.slots:
            yield f"slot {slot}", Environment(slot=slot), before, after
        return
    profiles = before.media[kind].profiles
    for profile in ("", *profiles):
        environment = read_environment({f"{kind.upper()}_CLIENT_PROFILE": profile})
        old, new = (view_of(config, kind, environment) for config in (before, after))
        yield (f"profile {profile}" if profile else ""), Environment(), old, new


def _wanted(
    old: Config, new: Config, tasks: Sequence[str], kind: MediaModality | None
) -> Iterator[tuple[tuple[str, str], Wanted]]:
    """Each task in each channel and environment that a file names, and without."""
    pairs = {*old.channel_envs, *new.channel_envs}
    channels = sorted({*old.channels, *new.channels, *(channel for channel, _ in pairs)})
    envs = sorted({*old.envs, *new.envs, *(env for _, env in pairs)})
    for task, channel, env in itertools.product(tasks, (None, *channels), (None, *envs)):
        place = (f"channel {channel}" if channel else "", f"env {env}" if env else "")
        yield place, Wanted(task=task, channel=channel, env=env, modality=kind or "text")


def _served(config: Config, environment: Environment, wanted: Wanted) -> tuple[Any, ...]:
    """All that the files say of a task's calls: comparable, models first."""
    try:
        route = resolve(config, environment, wanted, lambda _: None)
    except RouteError as error:
        return (str(error),), ()
    options = [option_layers(config, wanted, route.tier, config.models[key]) for key in route.candidates]
    return route.candidates, (route.tier, route.slot, options, task_rules(config, wanted))


def _models(served: tuple[Any, ...]) -> str:
    return " > ".join(served[0])


def callable_models(
    config: Config, wanted: Wanted, uncalled: Collection[str], environment: Environment | None = None
) -> tuple[str, ...]:
    """The models that serve a task where those cannot be called."""
    try:
        route = resolve(
            config,
            environment or Environment(),
            wanted,
            lambda spec: "not measured" if spec.key in uncalled else None,
        )
    except RouteError:
        return ()
    return route.candidates


def _manner(config: Config, wanted: Wanted, params: Mapping[str, Any]) -> list[TaskRule]:
    """How a task is asked, apart from its models, its tier and the parameters that were proved."""
    bare = [
        replace(
            rule,
            tier=None,
            models=(),
            options={name: value for name, value in rule.options.items() if name not in params},
        )
        for rule in task_rules(config, wanted)
    ]
    return [rule for rule in bare if rule != TaskRule()]


def _other_changes(before: Config, after: Config, kind: MediaModality | None) -> list[str]:
    """The parts of a config that no proposal changes and that are not the same."""
    changeable = _ROUTES if kind is None else _MEDIA_ROUTES
    names = [field.name for field in fields(Config) if field.name not in changeable]
    found = [f"{name} of the configs" for name in names if getattr(before, name) != getattr(after, name)]
    if kind is not None:
        for each in {*before.media, *after.media}:
            old, new = before.media.get(each), after.media.get(each)
            if old is None or new is None or (each != kind and old != new):
                found.append(f"the {each} models")
                continue
            parts = ("endpoints", "models", "codes")
            found += [f"{part} of {each}" for part in parts if getattr(old, part) != getattr(new, part)]
    return found


def _hidden(texts: Mapping[str, str], move: Expected, config: Config, wanted: Wanted) -> str:
    """What lies over the change and hides it, in words; nothing where that cannot be told."""
    said = []
    for name, text in texts.items():
        if name.endswith(".local.yaml") and (key := _named(text, move, config)):
            said.append(
                f"; {name} lies over {name.replace('.local.yaml', '.yaml')} and names {key} itself: change "
                "it there, or remove it"
            )
    try:
        route = resolve(config, Environment(), wanted, lambda _: None)
    except RouteError:
        return "".join(said)
    if route.slot is not None:
        said.append(f"; slot {route.slot} of llm_model_slots.yaml is the default and names the models itself")
    return "".join(said)


def _named(text: str, move: Expected, config: Config) -> str | None:
    """The key of an overlay that decides a task's route: the task's own, or that of its tier."""
    try:
        data = read_mapping(text)
    except ConfigError:
        return None
    tiers = {move.tier, config.mapping.get(move.task)}
    for section, names in (("tasks", {move.task}), ("tiers", tiers)):
        held = data.get(section)
        found = sorted(str(name) for name in names if isinstance(held, dict) and name in held)
        if found:
            return f"{section}.{found[0]}"
    return None
