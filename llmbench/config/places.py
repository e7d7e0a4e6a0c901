"""Where things stand in the config files: every list of candidates, every task's section, every model."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmbench.catalog import Candidate
from llmbench.config.model import Config, Finding, Severity, TaskRule

if TYPE_CHECKING:  # YAML is for those who read files: a call must not load it
    from llmbench.config.yaml_source import YamlSource

#: A file and the keys that lead to one value in it.
Place = tuple[str, tuple[str | int, ...]]
Problem = tuple[Severity, Place, str]

REGISTRY, ROUTER = "llm_model_registry.yaml", "llm_router.yaml"


def located(problems: Iterable[Problem], sources: Mapping[str, YamlSource]) -> Iterator[Finding]:
    """The problems with the lines of their places."""
    for severity, (name, path), message in problems:
        yield Finding(severity, *sources[name].place(path), message)


def near(name: str, known: Iterable[str]) -> str:
    """What may have been meant by a name that leads nowhere."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"


def home(sources: Mapping[str, YamlSource], key: str) -> Place:
    """Where a model is written: the registry, or the one-file form of the router."""
    file = REGISTRY if ("models", key) in sources[REGISTRY] else ROUTER
    return file, ("models", key)


@dataclass(frozen=True, slots=True)
class CandidateList:
    """One ordered list of candidates; `tier` is None for a task's own list, `label` names it for people."""

    place: Place
    label: str
    tier: str | None
    candidates: tuple[Candidate, ...]


def tier_lists(config: Config) -> Iterator[CandidateList]:
    """Every tier's list in any file."""
    for tier, candidates in config.tiers.items():
        yield CandidateList(("llm_tier_candidates.yaml", ("tiers", tier)), f"tier {tier!r}", tier, candidates)
    for tier, candidates in config.router_tiers.items():
        yield CandidateList((ROUTER, ("tiers", tier)), f"tier {tier!r}", tier, candidates)
    for path, override in config.overrides():
        for tier, candidates in override.tiers.items():
            place = ("llm_tier_mapping.yaml", (*path, "tiers", tier))
            yield CandidateList(place, f"tier {tier!r}", tier, candidates)


def slot_lists(config: Config) -> Iterator[CandidateList]:
    """Every slot's list."""
    for name, slot in config.slots.items():
        key: str | int = int(name) if name.isdigit() else name
        for tier, models in slot.tiers.items():
            place = ("llm_model_slots.yaml", ("slots", key, "tiers", tier))
            listed = tuple(Candidate(model) for model in models)
            yield CandidateList(place, f"slot {name}, tier {tier!r}", tier, listed)


def task_lists(config: Config) -> Iterator[CandidateList]:
    """Every task's own list of models."""
    for (file, path), task, rule in task_rules(config):
        listed = tuple(Candidate(model) for model in rule.models)
        yield CandidateList((file, (*path, "models")), f"task {task!r}", None, listed)


def task_rules(config: Config) -> Iterator[tuple[Place, str, TaskRule]]:
    """Every task's section in any file."""
    for task, rule in config.task_overrides.items():
        yield ("llm_task_overrides.yaml", ("tasks", task)), task, rule
    for task, rule in config.router_tasks.items():
        yield (ROUTER, ("tasks", task)), task, rule
    for path, override in config.overrides():
        for task, rule in override.tasks.items():
            yield ("llm_tier_mapping.yaml", (*path, "tasks", task)), task, rule
