"""What of a task's parameters does not reach its model as asked for, and was not meant to be held back.

The new folder's own guard is asked. What an older entry states itself counts as meant: a flag that forbids a
parameter, a limit, the levels or the forms of answer that its model has. Anything else is a difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from llmbench.catalog import ModelSpec
from llmbench.config.model import Config
from llmbench.errors import ConfigError, ParamError
from llmbench.messages import Adjustment
from llmbench.migration.asking import stated_rules
from llmbench.migration.before import Question
from llmbench.migration.values import Asked, as_flag, section
from llmbench.providers.send import wire_for
from llmbench.routing.params import Guarded, guard, merge
from llmbench.routing.resolve import Wanted, option_layers, task_rules
from llmbench.structuring import as_output_schema

#: A model, a parameter, what was asked for and what becomes of it.
Lost = tuple[str, str, Any, Any]
#: Flags of an older entry that forbid a parameter, where they are not `allow_` and its name.
_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "reasoning": ("allow_reasoning_effort", "allow_reasoning"),
    "presence_penalty": ("allow_penalties", "allow_presence_penalty"),
    "frequency_penalty": ("allow_penalties", "allow_frequency_penalty"),
}
#: Capabilities that state what becomes of a parameter.
_FACTS: Final[Mapping[str, tuple[str, ...]]] = {
    "max_tokens": ("max_tokens", "max_completion_tokens"),
    "reasoning": ("reasoning_levels",),
    "response_format": ("structured_outputs", "json_mode"),
    "tools": ("tools",),
    "tool_choice": ("tools",),
}
#: What a capability that is true or false makes of its parameter. `reasoning: false` forbids no level, as
#: `extra_body` sent it.
_BY_FACT: Final[Mapping[str, str]] = {
    "response_format": "moved",
    "tools": "dropped",
    "tool_choice": "dropped",
}


def lost_on_the_way(
    config: Config,
    task: str,
    question: Question,
    tier: str,
    candidates: Iterable[tuple[Asked, Mapping[Any, Any], str]],
) -> Iterator[Lost]:
    """Of a text task, each parameter that a model is not sent and no older entry forbids.

    Args:
        config: the new folder.
        task: the task.
        question: its channel and environment.
        tier: its tier.
        candidates: what each is asked for, its entry in the older registry, and its key in the new one.
    """
    wanted = Wanted(task, channel=question.channel, env=question.env)
    wire = next((rule.force_wire for rule in task_rules(config, wanted) if rule.force_wire), None)
    for asked, model, key in candidates:
        found = config.models[key]
        if found.capabilities.mode != "text":
            continue
        spec = found if wire is None else found.on_wire(wire)
        try:
            options = merge(option_layers(config, wanted, tier, spec))[0]
        except ParamError:
            continue  # is listed with the options themselves
        for lost in _lost(model, spec, options):
            yield asked.model, *lost


def _lost(
    model: Mapping[Any, Any], spec: ModelSpec, options: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    try:
        schema = as_output_schema(options.get("response_format"))
        guarded = guard(spec, options, schema, wire_for(spec).names)
    except (ParamError, ConfigError) as error:
        yield "options", options, f"refused: {error}"
        return
    form = None if schema is None else "json_object" if schema.name == "json_object" else "json_schema"
    for change in guarded.adjustments:
        if _is_loss(change, options, guarded, form) and not _is_stated(model, change):
            becomes = "not sent" if change.action == "dropped" else f"{change.action} to {change.after}"
            yield change.param, options.get(change.param), f"{becomes} ({change.rule})"


def _is_loss(change: Adjustment, options: Mapping[str, Any], guarded: Guarded, form: str | None) -> bool:
    """Whether a parameter itself is changed, and not its spelling, or what `extra_body` says in its place.

    The tokens that llmbench itself makes of a level are a spelling too.
    """
    if change.action == "clamped":
        asked = options.get(change.param)
        asked = asked.get("max_tokens") if isinstance(asked, Mapping) else asked
        return bool(change.before == (asked.lower() if isinstance(asked, str) else asked))
    if change.action == "moved":
        field = section(guarded.params.get("response_format"))
        return change.param == "response_format" and field.get("type") != form
    return change.action == "dropped" and change.after is None


def _is_stated(model: Mapping[Any, Any], change: Adjustment) -> bool:
    """Whether an older entry itself says what becomes of a parameter."""
    name, params = change.param, section(model.get("params"))
    if name == "response_format" and "response_format_support" in stated_rules(model):
        return True
    can = {
        str(key).removeprefix("supports_"): each for key, each in section(model.get("capabilities")).items()
    }
    facts = [can[fact] for fact in _FACTS.get(name, ()) if can.get(fact) is not None]
    if change.action == "clamped":
        levels = [str(level).lower() for fact in facts if isinstance(fact, list) for level in fact]
        return change.after in (*facts, *levels, params.get("min_max_tokens"))
    flags = [f"{flag}{end}" for flag in _FLAGS.get(name, (f"allow_{name}",)) for end in ("", "_param")]
    said = [as_flag(where[flag]) for where in (model, params) for flag in flags if flag in where]
    return any(each is False for each in said) or (bool(facts) and _BY_FACT.get(name) == change.action)
