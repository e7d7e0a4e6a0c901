"""One candidate's request: its options, what the guard makes of them, and the body. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmbench.catalog import ModelSpec
from llmbench.errors import ParamError
from llmbench.messages import Adjustment, Message, OutputSchema, Request
from llmbench.providers.send import wire_for
from llmbench.routing.params import guard
from llmbench.routing.resolve import Wanted
from llmbench.routing.setup import Setup
from llmbench.structuring import as_output_schema


@dataclass(frozen=True, slots=True)
class Prepared:
    """One candidate's request, ready to send. `max_tokens` is None when nothing limits the answer.

    `lessons` names the parameters that it leaves out or sends otherwise because its host refused them.
    """

    spec: ModelSpec
    body: Mapping[str, Any]
    options: Mapping[str, Any]
    adjustments: tuple[Adjustment, ...]
    max_tokens: int | None
    output_schema: OutputSchema | None = None
    lessons: tuple[str, ...] = ()


def prepare(
    setup: Setup,
    request: Request,
    wanted: Wanted,
    tier: str,
    key: str,
    renamed: tuple[Adjustment, ...] = (),
) -> Prepared:
    """Options, guard and body for one candidate.

    Args:
        setup: the config and what its hosts refused.
        request: the call; its options are canonical.
        wanted: the call's place: task, channel, env and wire.
        tier: the tier whose defaults apply.
        key: the candidate.
        renamed: how the call's own options were renamed.

    Raises:
        ParamError: an option of a file has a wrong value, or strict is set and one would be changed.
        ConfigError: the model needs a wire that this version does not speak.
    """
    spec = setup.spec(key, wanted.wire)
    defaults = setup.defaults(request.task, wanted.channel, wanted.env, tier, key)
    options: Mapping[str, Any] = {**defaults.options, **request.options}
    output_schema = request.output_schema
    if output_schema is None and "response_format" not in request.options:
        output_schema = defaults.output_schema
    elif output_schema is None:
        output_schema = as_output_schema(request.options["response_format"])
    taught = setup.lessons.apply(spec, options)
    spec, options = taught.spec, taught.options
    wire = wire_for(spec)
    guarded = guard(spec, options, output_schema, wire.names)
    body = wire.body(spec, request.messages, guarded.params, guarded.instruction, guarded.extra_body)
    limits = (options.get("max_tokens"), spec.capabilities.max_output_tokens)
    max_tokens = min((limit for limit in limits if limit is not None), default=None)
    kept = (change for change in defaults.renamed if change.after not in request.options)
    changes = (*kept, *renamed, *taught.adjustments, *guarded.adjustments)
    losses = [change for change in changes if change.action != "renamed"]
    if request.strict and losses:
        listed = "; ".join(str(change) for change in losses)
        raise ParamError(f"strict: {spec.key} would not take the parameters as they are: {listed}")
    return Prepared(spec, body, options, changes, max_tokens, output_schema, taught.applied)


def content_parts(message: Message) -> Sequence[Mapping[str, Any]]:
    """The parts of a message whose content is not plain text."""
    return () if isinstance(message.content, str) else message.content


def estimated_tokens(messages: Iterable[Message]) -> int:
    """A rough count of the text: four ASCII characters a token, one token for any other character.

    Images are not counted: their tokens depend on the model, and their encoded bytes say nothing of them.
    """
    total = 0
    for message in messages:
        if isinstance(message.content, str):
            total += _text_tokens(message.content)
        else:
            total += sum(_text_tokens(str(part.get("text", ""))) for part in message.content)
    return total


def _text_tokens(text: str) -> int:
    ascii_characters = len(text.encode("ascii", "ignore"))
    return len(text) - ascii_characters + (ascii_characters + 3) // 4
