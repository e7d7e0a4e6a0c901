"""From the arguments of a call to a Request and what it wants of its route. Pure.

The arguments stand here once; `call`, `acall`, `stream` and `explain` take the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmbench.catalog import Policy, Wire
from llmbench.config.environment import Environment
from llmbench.config.model import Config, TaskRule
from llmbench.errors import ParamError
from llmbench.messages import Message, Request, as_messages
from llmbench.routing.params import normalise
from llmbench.routing.prepare import content_parts, estimated_tokens
from llmbench.routing.resolve import Wanted, task_policy, task_rules
from llmbench.structuring import as_output_schema

Prompt = str | Sequence[Message | Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as it was asked for: the request, what its route must offer, and the policy of its task."""

    request: Request
    wanted: Wanted
    policy: Policy


def asked_for(
    config: Config,
    environment: Environment,
    /,
    task: str,
    prompt: Prompt,
    *,
    system: str | None = None,
    variables: Mapping[str, Any] | None = None,
    channel: str | None = None,
    env: str | None = None,
    tier: str | None = None,
    models: str | Sequence[str] = (),
    allow_fallback: bool | None = None,
    response_format: object = None,
    strict: bool = False,
    force_responses: bool = False,
    force_chat: bool = False,
    budget_usd: float | None = None,
    run_id: str | None = None,
    cell: str | None = None,
    routing_key: str | None = None,
    **params: Any,
) -> Asked:
    """What a call asks for, with the task's own settings filled in.

    Args:
        config: the loaded config.
        environment: the process's variables.
        task: the kind of work, as the config names it.
        prompt: a text, or messages with role and content.
        system: a system prompt; the task's own by default.
        variables: values for `{name}` places in the texts; without it braces mean nothing.
        channel: overrides of this channel apply; `LLM_CHANNEL` by default.
        env: overrides of this environment apply; `LLM_ENV` by default.
        tier: use this tier whatever the config says of the task.
        models: use these candidates; strict unless allow_fallback.
        allow_fallback: True lets a strict list go on to its second entry, False keeps any list to its first.
        response_format: JSON Schema, pydantic model class or Chat Completions response_format.
        strict: refuse instead of adjusting a parameter.
        force_responses: use the Responses wire, and only candidates that are served on it.
        force_chat: use Chat Completions, and only candidates that are served on it.
        budget_usd: the most that this call may cost, in USD.
        run_id: the sweep this call belongs to; written to telemetry.
        cell: the sweep's cell; written to telemetry.
        routing_key: who the call is for; `LLM_ROUTING_KEY` by default.
        **params: canonical parameters or their aliases; `timeout` is the deadline in seconds.

    Raises:
        ParamError: an argument is unknown or has a wrong value.
    """
    place = Wanted(task, channel=channel or environment.channel, env=env or environment.env)
    rules, policy = task_rules(config, place), task_policy(config, place)
    given, _ = normalise(params)
    output_schema = as_output_schema(response_format)
    options = dict(params)
    if response_format is not None and output_schema is None:
        options["response_format"] = {"type": "text"}  # against a schema that the config asks for
    request = Request(
        task=task,
        messages=_messages(prompt, system, variables, rules),
        call_id=uuid.uuid4().hex,
        options=options,
        output_schema=output_schema,
        channel=place.channel,
        env=place.env,
        deadline_s=_deadline_s(given, rules, policy),
        strict=strict,
        budget_usd=budget_usd,
        run_id=run_id,
        cell=cell,
        routing_key=routing_key or environment.routing_key,
    )
    wanted = replace(
        place,
        tier=tier,
        models=(models,) if isinstance(models, str) else tuple(models),
        allow_fallback=allow_fallback,
        wire=_forced_wire(force_responses, force_chat, rules),
        needs_vision=any(
            part.get("type") == "image_url" for turn in request.messages for part in content_parts(turn)
        ),
        needs_tools="tools" in given,
        needs_reasoning=given.get("reasoning", "none") not in ("none", "minimal"),
        input_tokens=estimated_tokens(request.messages),
        output_tokens=given.get("max_tokens", 0),
    )
    return Asked(request, wanted, policy)


def _messages(
    prompt: Prompt, system: str | None, variables: Mapping[str, Any] | None, rules: Sequence[TaskRule]
) -> tuple[Message, ...]:
    """The messages; the task's own system prompt comes first where the caller gives none."""
    messages = as_messages(prompt, system)  # TODO variables
    if system is None and not any(turn.role in ("system", "developer") for turn in messages):
        own = next((rule.system_prompt for rule in rules if rule.system_prompt), None)
        return as_messages(messages, own)
    return messages


def _deadline_s(given: Mapping[str, Any], rules: Sequence[TaskRule], policy: Policy) -> float:
    """The call's own `timeout`, else the task's, else the policy's deadline, in seconds."""
    limits = (given, *({"timeout": rule.timeout_s} for rule in rules), *(rule.options for rule in rules))
    timeouts = (limit.get("timeout") for limit in limits)
    return next((float(value) for value in timeouts if value is not None), policy.deadline_s)


def _forced_wire(force_responses: bool, force_chat: bool, rules: Sequence[TaskRule]) -> Wire | None:  # noqa: FBT001 -- the caller's own words
    if force_responses and force_chat:
        raise ParamError("force_responses and force_chat exclude each other; keep one")
    if force_responses:
        return "responses"
    if force_chat:
        return "chat"
    return next((rule.force_wire for rule in rules if rule.force_wire), None)
