"""From the arguments of a call to a Request and what it wants of its route. Pure.

The arguments stand here once; `call`, `acall`, `stream` and `explain` take the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmbench.catalog import Policy, Wire
from llmbench.errors import ParamError
from llmbench.messages import Adjustment, Message, OutputSchema, Request, canonical_json
from llmbench.prompts import as_messages
from llmbench.routing.params import normalise
from llmbench.routing.prepare import content_parts, estimated_tokens, text_tokens
from llmbench.routing.resolve import Wanted
from llmbench.routing.setup import Setup
from llmbench.structuring import as_output_schema, brief

Prompt = str | Sequence[Message | Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as it was asked for: the request, what its route must offer, and the task's own settings.

    `renamed` tells which of the call's parameters came under another name than their canonical one.
    """

    request: Request
    wanted: Wanted
    policy: Policy
    renamed: tuple[Adjustment, ...] = ()
    clean_output: tuple[str, ...] = ()


def asked_for(
    setup: Setup,
    /,
    task: str,
    prompt: Prompt,
    *,
    system: str | None = None,
    variables: Mapping[str, str | float] | None = None,
    channel: str | None = None,
    env: str | None = None,
    tier: str | None = None,
    models: str | Sequence[str] | None = None,
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
        setup: the loaded config and the process's variables.
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
        strict: refuse instead of adjusting a parameter; another spelling of its name is no adjustment here.
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
    check_task(task)
    check_texts(channel=channel, env=env, tier=tier, run_id=run_id, cell=cell, routing_key=routing_key)
    check_flags(allow_fallback=allow_fallback, strict=strict)
    wire = _forced_wire(force_responses, force_chat)
    environment = setup.environment
    channel, env = channel or environment.channel, env or environment.env
    settings = setup.settings(task, channel, env)
    options, renamed = normalise(params)
    output_schema = as_output_schema(response_format)
    if response_format is not None and output_schema is None:
        options["response_format"] = {"type": "text"}  # against a schema that the config asks for
    messages = as_messages(prompt, system, variables)
    if system is None and settings.system_prompt and not _is_instructed(messages):
        messages = as_messages(messages, settings.system_prompt)
    deadline_s = options.get("timeout") or settings.timeout_s or settings.policy.deadline_s
    request = Request(
        task=task,
        messages=messages,
        call_id=uuid.uuid4().hex,
        options=options,
        output_schema=output_schema,
        channel=channel,
        env=env,
        deadline_s=float(deadline_s),
        strict=bool(strict),
        budget_usd=budget_usd,
        run_id=run_id,
        cell=cell,
        routing_key=routing_key or environment.routing_key,
    )
    wanted = Wanted(
        task=task,
        tier=tier,
        models=named_models(models),
        channel=channel,
        env=env,
        allow_fallback=allow_fallback,
        wire=wire or settings.wire,
        needs_vision=any(
            part.get("type") == "image_url" for turn in messages for part in content_parts(turn)
        ),
        needs_tools="tools" in options,
        needs_reasoning=options.get("reasoning", "none") not in ("none", "minimal"),
        input_tokens=estimated_tokens(messages) + _attached_tokens(options, output_schema),
        output_tokens=options.get("max_tokens", 0),
    )
    return Asked(request, wanted, settings.policy, renamed, settings.clean_output)


def _attached_tokens(options: Mapping[str, Any], output_schema: OutputSchema | None) -> int:
    """The estimate of what goes along with the messages: tools, and a schema that may stand in the prompt."""
    attached = [options["tools"]] if "tools" in options else []
    attached += [] if output_schema is None else [output_schema.schema]
    return sum(text_tokens(canonical_json(item)) for item in attached)


def _is_instructed(messages: Sequence[Message]) -> bool:
    """Whether the caller gave a system prompt among the messages."""
    return any(turn.role in ("system", "developer") for turn in messages)


def check_task(task: object) -> None:
    """Refuse a task that is no name.

    Raises:
        ParamError: it is none.
    """
    if not isinstance(task, str):
        raise ParamError(f"task: give the name of a task as a text, not {type(task).__name__}")


def check_texts(**given: object) -> None:
    """Refuse arguments that are no text; None is not given.

    Raises:
        ParamError: one of them is none.
    """
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise ParamError(f"{name}: give a text, not {type(value).__name__}")


def check_flags(**given: object) -> None:
    """Refuse arguments that are neither True nor False; None is not given.

    Raises:
        ParamError: one of them is neither: a text such as "no" would count as yes.
    """
    for name, value in given.items():
        if value is not None and not isinstance(value, bool):
            raise ParamError(f"{name}: give True or False, not {brief(value)}")


def named_models(models: object) -> tuple[str, ...]:
    """The candidates that a call names, none where None is given.

    Raises:
        ParamError: they are no names.
    """
    several = (models,) if isinstance(models, str) else () if models is None else models
    names = tuple(several) if isinstance(several, Iterable) else (several,)
    if all(isinstance(name, str) for name in names):
        return names
    raise ParamError(f"models: give the name of a model, or a list of names, not {brief(models)}")


def _forced_wire(force_responses: bool, force_chat: bool) -> Wire | None:  # noqa: FBT001 -- the caller's words
    check_flags(force_responses=force_responses, force_chat=force_chat)
    if force_responses and force_chat:
        raise ParamError("force_responses and force_chat exclude each other; keep one")
    return "responses" if force_responses else "chat" if force_chat else None
