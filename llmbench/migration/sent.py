"""What a task's calls are sent with besides their prompt: options, system prompt, deadline and wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmbench.config.model import Config
from llmbench.errors import ParamError
from llmbench.migration.before import Before, Question
from llmbench.migration.tasks import canonical_options
from llmbench.migration.values import Asked, as_flag, section
from llmbench.routing.params import merge
from llmbench.routing.resolve import Wanted, option_layers, task_rules

#: What is sent along, by name.
Settings = dict[str, Any]


def sent_before(before: Before, task: str, question: Question) -> dict[Asked, Settings]:
    """By candidate, as the older folder has it.

    Later wins: defaults of the tier, of the model, and what the files say of the task, the winner last.
    """
    bodies = before.bodies(task, question)
    defaults = section(before.tier_defaults.get(before.tier(task, question)))
    found = {}
    for asked, key in before.candidates(task, question).items():
        model = before.model(key)
        limit = model.get("default_max_completion_tokens")
        layers = [defaults, {} if limit is None else {"max_tokens": limit}, section(model.get("defaults"))]
        layers += [section(body.get("options")) for body in reversed(bodies)]
        timeouts = [body.get("timeout") or section(body.get("options")).get("timeout") for body in bodies]
        prompts = [body.get("system_prompt") for body in bodies]
        found[asked] = _sent(layers, timeouts, prompts) | _forced([_forces(body) for body in bodies])
    return found


def sent_after(
    config: Config, task: str, question: Question, tier: str, keys: tuple[str, ...]
) -> dict[Asked, Settings]:
    """By candidate, as the new folder has it."""
    wanted = Wanted(task, channel=question.channel, env=question.env)
    rules = task_rules(config, wanted)
    timeouts = [rule.timeout_s or rule.options.get("timeout") for rule in rules]
    prompts = [rule.system_prompt for rule in rules]
    forced = _forced([rule.force_wire for rule in rules])
    found: dict[Asked, Settings] = {}
    for key in keys:
        spec = config.models[key]
        try:
            options = merge(option_layers(config, wanted, tier, spec))[0]
        except ParamError as error:
            options = {"options": str(error)}
        found.setdefault(Asked(spec.provider, spec.model_id), _sent([options], timeouts, prompts) | forced)
    return found


def media_before(before: Before, task: str) -> Settings:
    """What a file of images or speech says of a task besides its models."""
    media = before.media(task)
    said = {} if media is None else media.options(task)
    return {**said, **_seconds(said.get("timeout"))}


def media_after(config: Config, task: str) -> Settings:
    """The same in the new folder."""
    rule = next((media.tasks[task] for media in config.media.values() if task in media.tasks), None)
    if rule is None:
        return {}
    return {**rule.options, **_seconds(rule.timeout_s), "allow_fallback": rule.allow_fallback is True}


def _forces(body: Mapping[str, Any]) -> str | None:
    """The wire that an older task insists on."""
    wires = {"force_responses": "responses", "force_chat": "chat"}
    return next((wire for flag, wire in wires.items() if as_flag(body.get(flag)) is True), None)


def _forced(wires: list[str | None]) -> Settings:
    wire = next((wire for wire in wires if wire), None)
    return {} if wire is None else {"force_wire": wire}


def _seconds(value: object) -> Settings:
    is_number = isinstance(value, (int, float))
    return {} if value is None else {"timeout": float(value) if is_number else value}  # type: ignore[arg-type]


def _sent(layers: list[Mapping[str, Any]], timeouts: list[Any], prompts: list[Any]) -> Settings:
    made: Settings = {}
    for layer in layers:
        made |= canonical_options(layer)
    made = {name: value for name, value in made.items() if value is not None and name != "timeout"}
    timeout = next((value for value in timeouts if value is not None), None)
    prompt = next((text for text in prompts if text), None)
    made |= _seconds(timeout)
    return made | ({} if prompt is None else {"system_prompt": prompt})
