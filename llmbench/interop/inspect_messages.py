"""Turns of a conversation from Inspect's form to ours and back. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    Content,
    ContentImage,
    ContentReasoning,
    ContentText,
)
from inspect_ai.tool import ToolCall

from llmbench.errors import ParamError
from llmbench.messages import Adjustment, Message
from llmbench.structuring import loads_strictly

#: Where an assistant's turn keeps the tool calls as the host wrote them: some hosts sign theirs.
RAW_CALLS: Final = "llmbench_tool_calls"
_NO_THOUGHTS: Final = "thoughts of earlier turns are not sent"


def messages_of(turns: Sequence[ChatMessage]) -> tuple[list[Message], tuple[Adjustment, ...]]:
    """Inspect's messages in our form, and what of them is not sent.

    Raises:
        ParamError: a message holds something other than text, images and tool calls.
    """
    changes: list[Adjustment] = []
    return [_message(index, turn, changes) for index, turn in enumerate(turns)], tuple(changes)


def _message(index: int, turn: ChatMessage, changes: list[Adjustment]) -> Message:
    where = f"messages[{index}]"
    if isinstance(turn, ChatMessageTool):
        extra = {"tool_call_id": turn.tool_call_id} if turn.tool_call_id else {}
        if turn.error is not None:
            return Message("tool", f"Error: {turn.error.message}", extra)
        return Message("tool", _content(turn.content, where, changes), extra)
    content = _content(turn.content, where, changes)
    if isinstance(turn, ChatMessageAssistant) and turn.tool_calls:
        return Message("assistant", content, {"tool_calls": _calls(turn)})
    return Message(turn.role, content)


def _content(
    content: str | list[Content], where: str, changes: list[Adjustment]
) -> str | tuple[Mapping[str, Any], ...]:
    """Plain text where there is nothing else: every model takes it."""
    if isinstance(content, str):
        return content
    parts = []
    for number, item in enumerate(content):
        if isinstance(item, ContentReasoning):
            size = f"({len(item.reasoning)} characters)"
            changes.append(Adjustment("reasoning_history", "dropped", size, None, _NO_THOUGHTS))
        else:
            parts.append(_part(item, f"{where}.content[{number}]"))
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return tuple(parts)


def _part(item: Content, where: str) -> dict[str, Any]:
    if isinstance(item, ContentText):
        return {"type": "text", "text": item.text}
    if isinstance(item, ContentImage):
        if not item.image.startswith("data:"):
            raise ParamError(f"{where}: an image must come as a data: address, which Inspect makes of files")
        detail = {} if item.detail == "auto" else {"detail": item.detail}
        return {"type": "image_url", "image_url": {"url": item.image, **detail}}
    raise ParamError(f"{where}: text tiers take text and images, not {item.type}; leave it out of the sample")


def _calls(turn: ChatMessageAssistant) -> list[Mapping[str, Any]]:
    """The tool calls of a turn; one that nobody changed since goes back as its host wrote it."""
    kept = (turn.metadata or {}).get(RAW_CALLS) or []
    raw = {str(call.get("id")): call for call in kept if isinstance(call, Mapping)}
    return [_unchanged(call, raw.get(call.id)) or _call(call) for call in turn.tool_calls or []]


def _unchanged(call: ToolCall, raw: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if raw is None:
        return None
    then = tool_call(raw)
    same = (then.function, then.arguments, then.parse_error) == (call.function, call.arguments, None)
    return raw if same else None


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.function, "arguments": arguments}}


def tool_call(call: Mapping[str, Any]) -> ToolCall:
    """A tool call of an answer in Inspect's form; arguments that are no JSON object are its parse error."""
    function = call.get("function")
    asked: Mapping[str, Any] = function if isinstance(function, Mapping) else {}
    name, text = str(asked.get("name") or ""), str(asked.get("arguments") or "{}")
    arguments, problem = _arguments(text)
    if problem is not None:
        problem = f"the arguments of {name} are no JSON object ({problem}): {text:.200}"
    return ToolCall(id=str(call.get("id") or name), function=name, arguments=arguments, parse_error=problem)


def _arguments(text: str) -> tuple[dict[str, Any], str | None]:
    try:
        found = loads_strictly(text)
    except (ValueError, RecursionError) as error:
        return {}, str(error)
    return (found, None) if isinstance(found, dict) else ({}, f"it is a {type(found).__name__}")
