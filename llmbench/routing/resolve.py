"""Task, channel, environment and slot -> tier -> candidates, with the reason of every decision. Pure.

The order of precedence is the contract's (section 1): two lists of places to look, first hit wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llmbench.catalog import PARAMETER_ALIASES, Candidate, Condition, Modality, ModelSpec, Policy, Wire
from llmbench.config import Config, Environment, Override, TaskRule
from llmbench.config.candidates import unmet
from llmbench.config.model import MEDIA_FILES
from llmbench.errors import ExclusionCause, RouteError
from llmbench.messages import Adjustment, Route

DEFAULT_TIER: Final = "standard"
#: Where each kind of task is asked.
DOORS: Final[Mapping[Modality, str]] = {
    "text": "LLMClient.call",
    "image": "ImageClient.generate",
    "speech": "SpeechClient.synthesize",
}
_LIMIT_NAMES: Final = (
    "max_tokens",
    *(alias for alias, name in PARAMETER_ALIASES.items() if name == "max_tokens"),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks of its route. Token counts are estimates; None means not asked for."""

    task: str
    tier: str | None = None
    models: tuple[str, ...] = ()
    channel: str | None = None
    env: str | None = None
    allow_fallback: bool | None = None
    modality: Modality = "text"
    wire: Wire | None = None
    needs_vision: bool = False
    needs_tools: bool = False
    needs_reasoning: bool = False
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True)
class _Choice:
    candidates: tuple[Candidate, ...]
    source: str
    strict: bool = False
    slot: str | None = None
    excluded: list[tuple[str, str]] = field(default_factory=list)
    causes: list[ExclusionCause] = field(default_factory=list)
    passed: list[tuple[str, str]] = field(default_factory=list)  # out of reach, before the first that is not

    def exclude(self, model: str, cause: ExclusionCause, reason: str) -> None:
        """A candidate that cannot take the call."""
        self.excluded.append((model, reason))
        self.causes.append(cause)


def resolve(
    config: Config,
    environment: Environment,
    wanted: Wanted,
    unreachable: Callable[[ModelSpec], str | None],
) -> Route:
    """The route of one call.

    Args:
        config: the checked config folder.
        environment: slot, forced models, channel and env of the process.
        wanted: the call.
        unreachable: why a model's provider cannot be called at all (no key, no address), or None.

    Raises:
        RouteError: no candidate is left, or the task is unknown and the config forbids that.
    """
    _refuse_media(config, wanted)
    tier, tier_reason = _tier(config, wanted)
    choice = _candidates(config, environment, wanted, tier)
    kept: list[str] = []
    for candidate in _with_fallback_model(config, choice.candidates):
        key = config.model_key(candidate.model)
        if key is None:
            choice.exclude(candidate.model, "config", _unknown(config, candidate.model))
            continue
        spec = config.models[key]
        need = wanted.input_tokens + output_tokens(config, wanted, tier, spec)
        lack = _lack(spec, candidate.condition, wanted, need)
        if lack is not None:
            choice.exclude(key, *lack)
        elif (reason := unreachable(spec)) is not None:
            choice.exclude(key, "unreachable", reason)
            choice.passed += [] if kept else [(key, reason)]
        elif key not in kept:
            kept.append(key)
    if wanted.needs_reasoning:
        kept = _without_unreasoning(config, kept, choice)
    if not kept:
        listed = "; ".join(f"{model}: {reason}" for model, reason in choice.excluded) or "the list is empty"
        raise RouteError(
            f"no candidate for task {wanted.task!r} in tier {tier!r} ({choice.source}): {listed}",
            choice.excluded,
            choice.causes,
        )
    reasons = [tier_reason, f"candidates from {choice.source}"]
    moved = None
    if _is_strict(config, environment, wanted, choice):
        moved = _moved(choice.passed, kept[0]) if wanted.modality != "text" else None
        choice.excluded += [(key, "strict choice: allow_fallback is off") for key in kept[1:]]
        kept = kept[:1]
        reasons.append("strict: only the first candidate, no fallback")
    return Route(
        task=wanted.task,
        tier=tier,
        candidates=tuple(kept),
        reasons=tuple(reasons),
        excluded=tuple(choice.excluded),
        slot=choice.slot,
        moved=moved,
    )


def _moved(passed: Sequence[tuple[str, str]], asked: str) -> Adjustment | None:
    """That a call for one model alone goes to another than the first, as that one cannot be called here."""
    if not passed:
        return None
    first, reason = passed[0]
    advice = f"allow_fallback: true of the task, or {asked} as the first of its list, settles it"
    return Adjustment("model", "moved", first, asked, f"{reason}; {advice}")


def _unknown(config: Config, model: str) -> str:
    """Why a name is no candidate, with the door where it is one."""
    kind = next((kind for kind, media in config.media.items() if model in media.models), None)
    if kind is not None:
        return f"a model of {MEDIA_FILES[kind]}: ask through {DOORS[kind]}"
    return "no model, code or unique model id of that name"


def _refuse_media(config: Config, wanted: Wanted) -> None:
    """A text call to an image or speech task goes to no model: none that writes text could do it.

    Raises:
        RouteError: the task, or the tier that the call names, belongs to a media file.
    """
    kind = config.media_of(task=wanted.task, tier=wanted.tier or "")
    if kind is None or wanted.modality != "text":
        return
    task = config.media[kind].tasks.get(wanted.task)
    tier = wanted.tier if task is None else task.tier
    raise RouteError(
        f"task {wanted.task!r} belongs to the {kind} tier {tier!r} of {MEDIA_FILES[kind]}: "
        f"a text call asks no text model for it; ask through {DOORS[kind]}"
    )


def _overrides(config: Config, wanted: Wanted) -> Iterator[tuple[str, Override]]:
    """The overrides that apply, the most specific first."""
    channel, env = wanted.channel, wanted.env
    if channel and env and (channel, env) in config.channel_envs:
        yield f"channel {channel} in env {env}", config.channel_envs[channel, env]
    if channel and channel in config.channels:
        yield f"channel {channel}", config.channels[channel]
    if env and env in config.envs:
        yield f"env {env}", config.envs[env]


def _tier(config: Config, wanted: Wanted) -> tuple[str, str]:
    task = wanted.task
    if wanted.tier:
        return wanted.tier, f"tier {wanted.tier} from the call"
    for name, override in _overrides(config, wanted):
        rule = override.tasks.get(task)
        if rule is not None and rule.tier:
            return rule.tier, f"tier {rule.tier} from llm_tier_mapping overrides of {name}"
    places: tuple[tuple[str, str | None], ...] = (
        ("llm_task_overrides", config.task_overrides.get(task, TaskRule()).tier),
        (config.source("llm_tier_mapping"), config.mapping.get(task)),
        ("llm_router", config.router_tasks.get(task, TaskRule()).tier),
    )
    for name, tier in places:
        if tier:
            return tier, f"tier {tier} from {name}"
    if any(rule is not None for rule in _rules(config, wanted)):
        return DEFAULT_TIER, f"tier {DEFAULT_TIER}: task {task!r} names no tier"
    if config.unknown_task == "error":
        known = ", ".join(config.task_names()) or "none"
        raise RouteError(f"unknown task {task!r} (defaults.unknown_task: error); known: {known}")
    return DEFAULT_TIER, f"tier {DEFAULT_TIER}: task {task!r} is unknown"


def tiers_of_tasks(config: Config) -> dict[str, str]:
    """The tier of every text task that a config file names, without channel or environment."""
    names = dict.fromkeys((*config.mapping, *config.task_overrides, *config.router_tasks))
    return {
        name: _tier(config, Wanted(task=name))[0]
        for name in names
        if config.media_of(task=name, tier="") is None
    }


def _candidates(config: Config, environment: Environment, wanted: Wanted, tier: str) -> _Choice:
    """The first place that names candidates for this task and tier."""
    choice = (
        _forced_choice(config, environment, wanted)
        or _task_choice(config, wanted)
        or _slot_choice(config, environment, tier)
        or _tier_choice(config, wanted, tier)
    )
    if choice is None:
        known = ", ".join(sorted(config.all_tiers())) or "none"
        raise RouteError(f"tier {tier!r} of task {wanted.task!r} is in no file; known: {known}")
    return choice


def _named(models: Sequence[str]) -> tuple[Candidate, ...]:
    return tuple(Candidate(model) for model in models)


def _forced_choice(config: Config, environment: Environment, wanted: Wanted) -> _Choice | None:
    places = (
        ("the call", wanted.models),
        (
            config.source("LLM_FORCE_TASK_MODELS_JSON"),
            environment.force_task_models.get(wanted.task, ()),
        ),
        (config.source("LLM_FORCE_MODELS"), environment.force_models),
    )
    return next((_Choice(_named(models), source, strict=True) for source, models in places if models), None)


def _task_choice(config: Config, wanted: Wanted) -> _Choice | None:
    task = wanted.task
    places = [
        (f"llm_tier_mapping overrides of {name}", override.tasks.get(task))
        for name, override in _overrides(config, wanted)
    ]
    places += [
        (f"{config.source('llm_task_overrides')} tasks.{task}.models", config.task_overrides.get(task)),
        (f"llm_router tasks.{task}.models", config.router_tasks.get(task)),
    ]
    return next(
        (_Choice(_named(rule.models), source) for source, rule in places if rule and rule.models), None
    )


def _slot_choice(config: Config, environment: Environment, tier: str) -> _Choice | None:
    slot = environment.slot or config.default_slot
    if slot is None:
        return None
    if slot not in config.slots:
        known = ", ".join(config.slots) or "none"
        raise RouteError(f"slot {slot!r} is not in llm_model_slots.yaml; known: {known}")
    if tier not in config.slots[slot].tiers:
        return None
    strict = environment.slot is not None
    return _Choice(_named(config.slots[slot].tiers[tier]), f"slot {slot}", strict=strict, slot=slot)


def _tier_choice(config: Config, wanted: Wanted, tier: str) -> _Choice | None:
    places = [
        (f"llm_tier_mapping overrides of {name}, tier {tier}", override.tiers.get(tier))
        for name, override in _overrides(config, wanted)
    ]
    places += [
        (config.source("llm_tier_candidates"), config.tiers.get(tier)),
        ("llm_router", config.router_tiers.get(tier)),
    ]
    return next((_Choice(candidates, source) for source, candidates in places if candidates), None)


def _with_fallback_model(config: Config, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The list, and last the `fallback_model` that the candidates' registry entries name."""
    tails = []
    for candidate in candidates:
        key = config.model_key(candidate.model)
        tail = config.models[key].fallback_model if key else None
        if tail and tail not in tails:
            tails.append(tail)
    return (*candidates, *(Candidate(tail) for tail in tails))


def _without_unreasoning(config: Config, kept: list[str], choice: _Choice) -> list[str]:
    """Those who can reason, if any can; if none can, the guard says what becomes of the wish."""
    able = [key for key in kept if config.models[key].capabilities.reasoning]
    if able:
        rest = [key for key in kept if key not in able]
        choice.excluded += [(key, "cannot reason (capabilities.reasoning)") for key in rest]
    return able or kept


def output_tokens(config: Config, wanted: Wanted, tier: str, spec: ModelSpec) -> int:
    """The output limit that a candidate would be sent, in tokens; 0 when there is none."""
    limit = wanted.output_tokens
    if not limit:
        layers = option_layers(config, wanted, tier, spec)
        given = [layer[name] for layer in layers for name in _LIMIT_NAMES if isinstance(layer.get(name), int)]
        limit = given[-1] if given else 0
    most = spec.capabilities.max_output_tokens
    return limit if most is None else min(limit, most)


def _lack(
    spec: ModelSpec, condition: Condition, wanted: Wanted, need: int
) -> tuple[ExclusionCause, str] | None:
    """Why a candidate cannot take this call of about `need` tokens, or None."""
    can = spec.capabilities
    context = can.context_tokens
    if can.mode != wanted.modality:
        return "config", f"its mode is {can.mode}; the call is {wanted.modality}"
    if wanted.needs_vision and not can.vision:
        return "ability", "cannot see images (capabilities.vision)"
    if wanted.needs_tools and not can.tools:
        return "ability", "cannot use tools (capabilities.tools)"
    if context is not None and need > context:
        return "context", f"about {need} tokens do not fit its context of {context}"
    broken = unmet(condition, can)
    return None if broken is None else ("config", broken)


def _is_strict(config: Config, environment: Environment, wanted: Wanted, choice: _Choice) -> bool:
    """Whether only the first candidate may answer: a list chosen by hand, or a call that says so."""
    if wanted.allow_fallback is not None:
        return not wanted.allow_fallback
    if choice.slot is not None and config.slots[choice.slot].allow_fallback:
        return False
    return choice.strict and not environment.allow_fallback


def _rules(config: Config, wanted: Wanted) -> list[TaskRule | None]:
    """What each file says of the task, the most specific first; None where it says nothing."""
    rules = [override.tasks.get(wanted.task) for _, override in _overrides(config, wanted)]
    return [*rules, config.task_overrides.get(wanted.task), config.router_tasks.get(wanted.task)]


def option_layers(config: Config, wanted: Wanted, tier: str, spec: ModelSpec) -> list[Mapping[str, Any]]:
    """Every layer of options under the call's own, later ones winning (contract, section 1).

    Order: tier defaults < model defaults < task in llm_router < task in llm_task_overrides < env <
    channel < channel and env together.
    """
    limit = {} if spec.default_max_tokens is None else {"max_tokens": spec.default_max_tokens}
    tasks = [rule.options for rule in task_rules(config, wanted)]
    return [config.tier_defaults.get(tier, {}), limit, spec.defaults, *reversed(tasks)]


def task_rules(config: Config, wanted: Wanted) -> list[TaskRule]:
    """What the files say of a task besides its route, the most specific first."""
    return [rule for rule in _rules(config, wanted) if rule is not None]


def task_policy(config: Config, wanted: Wanted) -> Policy:
    """The fallback policy with what the task's `retry_policy` changes, the most specific file winning."""
    changes: dict[str, Any] = {}
    for rule in reversed(task_rules(config, wanted)):
        changes |= rule.policy
    return replace(config.policy, **changes)
