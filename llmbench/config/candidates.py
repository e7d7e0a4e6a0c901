"""Candidates that no call can use: a condition that the model never meets, a twin, another kind of model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from llmbench.catalog import Capabilities, Condition, Modality
from llmbench.config.model import Config
from llmbench.config.places import (
    CandidateList,
    Problem,
    home,
    slot_lists,
    task_lists,
    task_rules,
    tier_lists,
)

if TYPE_CHECKING:  # YAML is for those who read files: a call must not load it
    from llmbench.config.yaml_source import YamlSource


def unmet(condition: Condition, can: Capabilities) -> str | None:
    """What a tier's condition asks for and the model has not, or None."""
    context = can.context_tokens
    if condition.min_context_tokens is not None and (context or 0) < condition.min_context_tokens:
        return f"context {context or 'unknown'} is under the tier's {condition.min_context_tokens}"
    if condition.structured_outputs not in (None, can.structured_outputs):
        return f"the tier asks for structured_outputs: {str(condition.structured_outputs).lower()}"
    if condition.reasoning not in (None, can.reasoning):
        return f"the tier asks for reasoning: {str(condition.reasoning).lower()}"
    return None


def unusable_candidates(config: Config, sources: Mapping[str, YamlSource]) -> Iterator[Problem]:
    """Entries that can never be used, as warnings; an error where nothing of a list can be."""
    for lists in (tier_lists, slot_lists, task_lists):
        for entries in lists(config):
            yield from _unusable(config, entries)
    yield from _fallback_models(config, sources)
    yield from _forced_wires(config)


def _unusable(config: Config, entries: CandidateList) -> Iterator[Problem]:
    file, path = entries.place
    kind = _kind(config, entries)
    used: dict[str, int] = {}
    is_known = bool(entries.candidates)
    for index, candidate in enumerate(entries.candidates):
        key = config.model_key(candidate.model)
        if key is None:  # a dangling name; said elsewhere
            is_known = False
            continue
        can = config.models[key].capabilities
        where = (file, (*path, index))
        if can.mode != kind:
            reason: str | None = f"its mode is {can.mode}, the list's {kind}"
        else:
            reason = unmet(candidate.condition, can)
        if reason is not None:
            yield "warning", where, f"{entries.label}: {candidate.model!r} can never be used: {reason}"
        elif key in used:
            message = f"{entries.label}: {candidate.model!r} can never be used: its entry {used[key]} is"
            yield "warning", where, f"{message} the same model; remove one"
        else:
            used[key] = index + 1
    if is_known and not used:
        yield "error", (file, path), f"{entries.label}: none of its candidates can ever be used"


def _kind(config: Config, entries: CandidateList) -> Modality | None:
    """The kind of model that calls of this list ask for: the tier's, else that of the list's first model."""
    tier = config.all_tiers().get(entries.tier or "", ())
    keys = (config.model_key(candidate.model) for candidate in (*tier, *entries.candidates))
    return next((config.models[key].capabilities.mode for key in keys if key), None)


def _fallback_models(config: Config, sources: Mapping[str, YamlSource]) -> Iterator[Problem]:
    """A model's own last resort; one of the whole registry may be meant for some of the models only."""
    for key, spec in config.models.items():
        file, path = home(sources, key)
        place = (*path, "fallback_model")
        last = config.model_key(spec.fallback_model) if spec.fallback_model else None
        if last is None or place not in sources[file]:
            continue
        mode = config.models[last].capabilities.mode
        if last == key:
            yield "warning", (file, place), f"model {key!r} names itself as fallback_model; remove it"
        elif mode != spec.capabilities.mode:
            message = f"fallback_model {spec.fallback_model!r} can never be used: its mode is {mode}"
            yield "warning", (file, place), message


def _forced_wires(config: Config) -> Iterator[Problem]:
    """Tasks that force a wire on models that are not served on it."""
    for (file, path), task, rule in task_rules(config):
        if rule.force_wire is None:
            continue
        tier = rule.tier or config.mapping.get(task, "")
        names = rule.models or [candidate.model for candidate in config.all_tiers().get(tier, ())]
        specs = [config.models[key] for name in names if (key := config.model_key(name))]
        without = [spec.key for spec in specs if spec.on_wire(rule.force_wire).wire != rule.force_wire]
        if without:
            place = (file, (*path, f"force_{rule.force_wire}"))
            message = (
                f"task {task!r} forces the wire {rule.force_wire}, which {', '.join(without)} cannot use"
            )
            yield "error" if len(without) == len(specs) else "warning", place, message
