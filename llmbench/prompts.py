"""What a caller gives as a prompt, a text or a list of turns, checked and turned into messages."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from llmbench.errors import ParamError
from llmbench.messages import ROLES, Message, canonical_json

#: A place for a variable in a template: an identifier between braces, nothing else.
_PLACE: Final = re.compile(r"\{([^\W\d]\w*)\}")


def as_messages(
    prompt: str | Sequence[Message | Mapping[str, Any]],
    system: str | None = None,
    variables: Mapping[str, str | float] | None = None,
) -> tuple[Message, ...]:
    """Turn a plain string or a message list into messages, with an optional system prompt first.

    With `variables`, every `{name}` in a text (system prompt, turns, text parts) gives way to the value of
    that name; other braces, such as those of JSON, stay, and so do braces inside a value. Without
    `variables` no text is touched.

    Raises:
        ParamError: the prompt is neither text nor a list, the list is empty, a message lacks a role or
            content, the role is unknown, or something in it is not plain JSON; a place has no value, a
            variable has no place, or a value is neither text nor a number.
    """
    if system is not None and not isinstance(system, str):
        raise ParamError(f"system: must be a text, not {type(system).__name__}")
    head = () if system is None else (Message("system", system),)
    if isinstance(prompt, str):
        turns: tuple[Message, ...] = (Message("user", prompt),)
    elif isinstance(prompt, Iterable):
        turns = tuple(_as_message(index, turn) for index, turn in enumerate(prompt))
    else:
        raise ParamError(f"messages: give a text or a list of messages, not {type(prompt).__name__}")
    if not turns:
        raise ParamError("messages: the list is empty; give a string or at least one message")
    return head + turns if variables is None else _filled(head + turns, variables)


def _filled(messages: tuple[Message, ...], variables: Mapping[str, str | float]) -> tuple[Message, ...]:
    if not isinstance(variables, Mapping):
        raise ParamError(f"variables: give a mapping of names to values, not {type(variables).__name__}")
    for name, value in variables.items():
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            kind = type(value).__name__
            raise ParamError(f"variables: {name!r} must be a text or a number, not {kind}")
    used: set[str] = set()

    def value_at(place: re.Match[str]) -> str:
        name = place[1]
        if name not in variables:
            hint = _did_you_mean(name, variables) or "give one, or write the text without variables"
            raise ParamError(f"messages: {{{name}}} has no value in variables; {hint}")
        used.add(name)
        return str(variables[name])

    def fill(part: Mapping[str, Any]) -> Mapping[str, Any]:
        text = part.get("text")
        return {**part, "text": _PLACE.sub(value_at, text)} if isinstance(text, str) else part

    filled = tuple(
        replace(
            turn,
            content=_PLACE.sub(value_at, turn.content)
            if isinstance(turn.content, str)
            else tuple(fill(part) for part in turn.content),
        )
        for turn in messages
    )
    for name in variables:
        if name not in used:
            raise ParamError(
                f"variables: no text has a place {{{name}}}; {_did_you_mean(name, used) or 'remove it'}"
            )
    return filled


def _did_you_mean(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else None


def _as_message(index: int, turn: Message | Mapping[str, Any]) -> Message:
    message = turn if isinstance(turn, Message) else _from_mapping(index, turn)
    if message.extra or not isinstance(message.content, str):  # a plain text costs no look
        _refuse_unless_json(index, message)
    return message


def _from_mapping(index: int, turn: Mapping[str, Any]) -> Message:
    if not isinstance(turn, Mapping):
        raise ParamError(f"messages[{index}]: a message is a mapping of role and content, not {turn!r:.40}")
    role, content = turn.get("role"), turn.get("content")
    if role not in ROLES:
        raise ParamError(f"messages[{index}]: role {role!r} is none of {', '.join(ROLES)}")
    extra = {key: value for key, value in turn.items() if key not in ("role", "content")}
    if content is None and extra.get("tool_calls"):
        content = ""  # an assistant turn that only calls tools
    if isinstance(content, str):
        return Message(role, content, extra)
    return Message(role, tuple(dict(part) for part in _parts(index, content)), extra)


def _parts(index: int, content: object) -> Sequence[Mapping[str, Any]]:
    if isinstance(content, Sequence) and content and all(isinstance(part, Mapping) for part in content):
        return content
    kind = type(content).__name__
    raise ParamError(f"messages[{index}]: content must be text or a list of parts, not {kind}")


def _refuse_unless_json(index: int, message: Message) -> None:
    if not isinstance(message.content, str):
        _parts(index, message.content)
    try:
        canonical_json(message.as_dict())
    except (TypeError, ValueError, RecursionError) as error:
        raise ParamError(f"messages[{index}]: not plain JSON: {error}") from error
