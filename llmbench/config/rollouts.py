"""Rollouts from `llm_rollouts.yaml`: built from their shapes, and held against the rest of the folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.config.model import MEDIA_FILES, ROLLOUTS_FILE, Config, Finding, Rollout, RolloutBudget
from llmbench.config.places import Problem, located, near
from llmbench.messages import Usage
from llmbench.pricing import cost_of

if TYPE_CHECKING:
    from llmbench.config.rollout_shapes import RolloutShape
    from llmbench.config.yaml_source import YamlSource


def build_rollout(name: str, shape: RolloutShape) -> Rollout:
    """One section of the file."""
    budget = shape.budget
    return Rollout(
        name=name,
        mode=shape.mode,
        challengers=tuple(shape.challenger),
        share=shape.share,
        salt=name if shape.salt is None else shape.salt,
        tasks=(shape.task,) if shape.task else tuple(dict.fromkeys(shape.tasks)),
        tier=shape.tier,
        budget=RolloutBudget(budget.usd, budget.calls, budget.in_flight) if budget else RolloutBudget(),
        max_failure_rate=shape.limits.failure_rate,
        max_p95_ms=shape.limits.p95_ms,
        until=shape.until,
    )


def is_over(rollout: Rollout, now: datetime) -> bool:
    """Whether a rollout's last day has passed, by UTC."""
    return rollout.until is not None and now.astimezone(UTC).date().isoformat() > rollout.until


def stop_path(config: Config) -> Path:
    """Where the stop file is, from the folder that the config folder lies in: the same for every process."""
    return config.folder.resolve().parent / config.stop_file


def longest_deadline_s(config: Config, rollout: Rollout) -> float:
    """Seconds in which a rollout's calls end, by the files: a call's own `timeout` may be longer."""
    named = [
        config.router_tasks,
        config.task_overrides,
        *(override.tasks for _, override in config.overrides()),
    ]
    rules = [
        rule
        for tasks in named
        for task, rule in tasks.items()
        if rollout.tier is not None or task in rollout.tasks
    ]
    said = [(rule.timeout_s, rule.options.get("timeout"), rule.policy.get("deadline_s")) for rule in rules]
    return max([config.policy.deadline_s, *(float(each) for one in said for each in one if each is not None)])


def has_price(spec: ModelSpec, endpoint: Endpoint) -> bool:
    """Whether the cost of a request can be known before it is sent."""
    return cost_of(spec, endpoint, Usage(1, 1), cpu_s=1.0)[0] is not None


def lint_rollouts(config: Config, sources: Mapping[str, YamlSource]) -> list[Finding]:
    """Names that lead nowhere, tasks with two rollouts, rollouts that do nothing or that nothing stops."""
    problems = [problem for one in config.rollouts.values() for problem in _problems(config, one)]
    return list(located([*problems, *_doubles(config)], sources))


def _problems(config: Config, rollout: Rollout) -> Iterator[Problem]:
    name = rollout.name
    path: tuple[str | int, ...] = ("rollouts", name)
    yield from _places(config, rollout)
    for index, model in enumerate(rollout.challengers):
        if config.model_key(model) is None:
            message = f"rollout {name!r} names model {model!r}, which no registry has; "
            place = (ROLLOUTS_FILE, (*path, "challenger", index))
            yield "error", place, message + near(model, config.models)
        elif rollout.mode == "shadow":
            yield from _crowded(config, rollout, model)
            yield from _unpaid(config, rollout, model)
    if is_over(rollout, datetime.now(UTC)):
        message = f"rollout {name!r} ended after {rollout.until}: its calls go the usual way; remove it"
        yield "warning", (ROLLOUTS_FILE, (*path, "until")), message
    if rollout.max_failure_rate is None and rollout.max_p95_ms is None:
        message = f"rollout {name!r} has no limits: only a person stops it; give failure_rate or p95_ms"
        yield "warning", (ROLLOUTS_FILE, path), message
    if rollout.max_failure_rate in (0.0, 1.0):
        message = f"rollout {name!r}: no calls can prove a failure_rate of 0 or 1 broken; give one between"
        yield "error", (ROLLOUTS_FILE, (*path, "limits", "failure_rate")), message


def _places(config: Config, rollout: Rollout) -> Iterator[Problem]:
    """Tasks and tiers that no text file has."""
    path: tuple[str | int, ...] = ("rollouts", rollout.name)
    tiers = config.all_tiers()
    if rollout.tier is not None and rollout.tier not in tiers:
        kind = config.media_of(task="", tier=rollout.tier)
        message = f"rollout {rollout.name!r} names tier {rollout.tier!r}, "
        hint = f"which no file has; {near(rollout.tier, tiers)}"
        yield "error", (ROLLOUTS_FILE, (*path, "tier")), message + (_of_media(kind) if kind else hint)
    known = {
        *config.task_names(),
        *(task for _, override in config.overrides() for task in override.tasks),
    }
    for index, task in enumerate(rollout.tasks):
        kind = config.media_of(task=task, tier="")
        if task in known and kind is None:
            continue
        place = (ROLLOUTS_FILE, (*path, "task" if len(rollout.tasks) == 1 else "tasks", index))
        message = f"rollout {rollout.name!r} names task {task!r}, "
        hint = f"which no file has; {near(task, known)}"
        yield "error", place, message + (_of_media(kind) if kind else hint)


def _of_media(kind: str) -> str:
    file = next(name for modality, name in MEDIA_FILES.items() if modality == kind)
    return f"which is of {file}; rollouts are for text tasks"


def _crowded(config: Config, rollout: Rollout, model: str) -> Iterator[Problem]:
    """Shadows that could take every place of a provider that calls wait for, too."""
    key = config.model_key(model)
    endpoint = config.endpoints.get(config.models[key].provider) if key else None
    places = endpoint.limits.concurrency if endpoint is not None else None
    if places is not None and rollout.budget.in_flight >= places:
        message = (
            f"rollout {rollout.name!r} lets {rollout.budget.in_flight} shadows be on their way at once, and "
            f"{model!r} has {places} places: calls would wait for them; lower budget.in_flight"
        )
        yield "warning", (ROLLOUTS_FILE, ("rollouts", rollout.name, "budget", "in_flight")), message


def _unpaid(config: Config, rollout: Rollout, model: str) -> Iterator[Problem]:
    """Shadows that a budget of money would hold back for ever."""
    key = config.model_key(model)
    endpoint = config.endpoints.get(config.models[key].provider) if key else None
    if rollout.budget.usd is None or key is None or endpoint is None:
        return
    if not has_price(config.models[key], endpoint):
        message = (
            f"rollout {rollout.name!r} has a usd budget, which needs a price: {model!r} has none, so "
            "it would never be asked; give the model its price, or the budget calls alone"
        )
        yield "error", (ROLLOUTS_FILE, ("rollouts", rollout.name, "budget", "usd")), message


def _doubles(config: Config) -> Iterator[Problem]:
    """Tasks that two rollouts name, themselves or by their tier: a call is in one rollout at most."""
    seen: dict[tuple[str, str], str] = {}
    for name, rollout in config.rollouts.items():
        places = [("tier", rollout.tier)] if rollout.tier else [("task", task) for task in rollout.tasks]
        for kind, place in places:
            first = seen.setdefault((kind, place), name)
            if first != name:
                yield _double(name, first, f"{kind} {place!r}")
    for (kind, task), name in seen.items():
        tier = _tier(config, task) if kind == "task" else None
        if tier is not None and ("tier", tier) in seen:
            yield _double(name, seen["tier", tier], f"task {task!r} of tier {tier!r}")


def _double(name: str, first: str, what: str) -> Problem:
    message = f"rollouts {first!r} and {name!r} both name {what}; a call is in one rollout, remove one"
    return "error", (ROLLOUTS_FILE, ("rollouts", name)), message


def _tier(config: Config, task: str) -> str | None:
    """The tier that the files give a task outside of channels and environments."""
    rules = (config.task_overrides.get(task), config.router_tasks.get(task))
    first, last = (rule.tier if rule is not None else None for rule in rules)
    return first or config.mapping.get(task) or last
