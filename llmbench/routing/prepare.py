"""One candidate's request: its options, what the guard makes of them, and the body. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llmbench.catalog import ModelSpec
from llmbench.errors import ParamError
from llmbench.messages import Adjustment, Message, OutputSchema, Request, canonical_json
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
    max_tokens = _most_tokens(guarded.extra_body, max_tokens)
    kept = (change for change in defaults.renamed if change.after not in request.options)
    changes = (*kept, *renamed, *taught.adjustments, *guarded.adjustments)
    losses = [change for change in changes if change.action != "renamed"]
    if request.strict and losses:
        listed = "; ".join(str(change) for change in losses)
        raise ParamError(f"strict: {spec.key} would not take the parameters as they are: {listed}")
    return Prepared(spec, body, options, changes, max_tokens, output_schema, taught.applied)


_EXTRA_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def _most_tokens(extra_body: Mapping[str, Any], max_tokens: int | None) -> int | None:
    """The output limit of the body as it is sent: `extra_body` wins, and `n` answers cost n times."""
    given = [value for name in _EXTRA_LIMITS if isinstance(value := extra_body.get(name), int)]
    most = max(given) if given else max_tokens
    answers = extra_body.get("n", 1)
    return most if most is None or not isinstance(answers, int) else most * max(answers, 1)


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
            total += text_tokens(message.content)
        else:
            total += sum(text_tokens(str(part.get("text", ""))) for part in message.content)
        if message.extra:
            total += text_tokens(canonical_json(message.extra))
    return total


def text_tokens(text: str) -> int:
    """The same for one text."""
    ascii_characters = len(text.encode("ascii", "ignore"))
    return len(text) - ascii_characters + (ascii_characters + 3) // 4
