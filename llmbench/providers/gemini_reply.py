"""The answer half of the Gemini wire: candidates, finish reasons and token counts.

Source of the forms: the Gemini API reference, and the types of Google's own client.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from llmbench.errors import ErrorKind, ProviderError
from llmbench.messages import FinishReason, Usage
from llmbench.providers.base import Reply
from llmbench.providers.json_readers import as_count, as_mapping, as_mappings, as_text

#: Start of the ids made up here for calls that the service left without one; they are never sent.
MADE_UP_ID: Final = "gemini-call-"

_FILTERED: Final = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "ESCALATION",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)
_FINISH: Final[Mapping[str, FinishReason]] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    **dict.fromkeys(_FILTERED, "content_filter"),
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    "NO_IMAGE": "error",
    "IMAGE_OTHER": "error",
    "OTHER": "error",
}
#: Errors of generating that have a word of their own; every other one is a server error.
_ERROR_KINDS: Final[Mapping[str, ErrorKind]] = {
    "MALFORMED_FUNCTION_CALL": "malformed",
    "MALFORMED_RESPONSE": "malformed",
    "UNEXPECTED_TOOL_CALL": "malformed",
    "TOO_MANY_TOOL_CALLS": "malformed",
    "MISSING_THOUGHT_SIGNATURE": "bad_request",
    "NO_IMAGE": "no_media",
    "IMAGE_OTHER": "no_media",
}
_PROBLEMS: Final[Mapping[FinishReason, tuple[ErrorKind, str]]] = {
    "content_filter": ("content_filter", "the provider's filter stopped the answer"),
    "length": (
        "truncated",
        "the answer was cut off at its output limit, thoughts included; raise max_tokens",
    ),
    "error": ("server_error", "the provider reports an error while generating"),
    "empty": ("empty", "the answer holds no text and no tool call"),
}


def read_reply(payload: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
    """The first candidate of a generateContent answer; thoughts are not part of its text.

    Raises:
        ProviderError: kind malformed; the payload holds neither a candidate nor the reason for none.
    """
    candidate = first_candidate(payload)
    blocked = as_text(as_mapping(payload.get("promptFeedback")).get("blockReason"))
    if candidate is None and blocked is None and not as_mapping(payload.get("usageMetadata")):
        raise ProviderError("the answer holds no candidate", kind="malformed", status_code=200)
    parts = parts_of(candidate or {})
    text = "".join(
        part["text"] for part in parts if isinstance(part.get("text"), str) and not part.get("thought")
    )
    tool_calls = _tool_calls(parts)
    reason = as_text((candidate or {}).get("finishReason")) or ""
    if candidate is None and blocked is not None:
        finish: FinishReason = "content_filter"
        reason = f"prompt blocked: {blocked}"
    else:
        finish = _finish(reason, has_text=bool(text), has_calls=bool(tool_calls))
    request_id = as_text(payload.get("responseId")) or headers.get("x-request-id")
    return Reply(
        text=text,
        finish_reason=finish,
        usage=_usage(payload.get("usageMetadata")),
        request_id=request_id,
        served_model=as_text(payload.get("modelVersion")),
        tool_calls=tool_calls,
        problem=_problem(finish, reason, text, request_id),
    )


def first_candidate(payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first candidate, the only one that is asked for, or None."""
    candidates = payload.get("candidates")
    first = candidates[0] if isinstance(candidates, list) and candidates else None
    return first if isinstance(first, Mapping) else None


def parts_of(candidate: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The parts of a candidate, thoughts included."""
    return as_mappings(as_mapping(candidate.get("content")).get("parts"))


def _tool_calls(parts: list[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """The calls in the Chat Completions form.

    A thought signature stands where Google's OpenAI-compatible endpoint puts it, because the next
    request has to bring it back.
    """
    calls: list[Mapping[str, Any]] = []
    for part in parts:
        if not isinstance(asked := part.get("functionCall"), Mapping):
            continue
        arguments = json.dumps(asked.get("args") or {}, ensure_ascii=False)
        call: dict[str, Any] = {
            "id": as_text(asked.get("id")) or f"{MADE_UP_ID}{len(calls)}",
            "type": "function",
            "function": {"name": str(asked.get("name", "")), "arguments": arguments},
        }
        if signature := as_text(part.get("thoughtSignature")):
            call["extra_content"] = {"google": {"thought_signature": signature}}
        calls.append(call)
    return tuple(calls)


def _finish(reason: str, *, has_text: bool, has_calls: bool) -> FinishReason:
    """The normalised finish reason.

    One that is not known here counts as an ordinary end: a new word of the service must not turn its
    answers into failures.
    """
    finish = _FINISH.get(reason, "stop")
    if finish != "stop":
        return finish
    return "tool_calls" if has_calls else "stop" if has_text else "empty"


def _problem(finish: FinishReason, reason: str, text: str, request_id: str | None) -> ProviderError | None:
    """Why an answer that came is none, with the service's own word for it, or None."""
    if finish not in _PROBLEMS:
        return None
    kind, what = _PROBLEMS[finish]
    if finish == "error":
        kind = _ERROR_KINDS.get(reason, kind)
    message = f"{what} ({reason[:80]})" if reason else what
    return ProviderError(message, kind=kind, status_code=200, request_id=request_id, output=text or None)


def _usage(value: object) -> Usage:
    """Token counts: thoughts are billed as output, the results of the service's own tools as input."""
    usage = as_mapping(value)
    tokens_in = as_count(usage.get("promptTokenCount")) + as_count(usage.get("toolUsePromptTokenCount"))
    thoughts = as_count(usage.get("thoughtsTokenCount"))
    return Usage(
        input_tokens=tokens_in,
        output_tokens=as_count(usage.get("candidatesTokenCount")) + thoughts,
        cached_tokens=min(as_count(usage.get("cachedContentTokenCount")), tokens_in),
        reasoning_tokens=thoughts,
    )
