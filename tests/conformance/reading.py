"""What an official SDK made of an answer, in one shape for all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llmbench.messages import Usage
from llmbench.providers.base import Reply
from tests.conformance.places import Dialect

NO_USAGE = Usage()


@dataclass(frozen=True)
class Read:
    """An answer as somebody read it. `finish` is the provider's own word; `calls` are (name, arguments)."""

    text: str
    finish: str | None
    usage: Usage
    calls: tuple[tuple[str, Any], ...] = ()


def ours(reply: Reply) -> Read:
    """Our reading, its finish reason in our own words."""
    functions = [call["function"] for call in reply.tool_calls]
    calls = tuple((each["name"], json.loads(each["arguments"])) for each in functions)
    return Read(reply.text, reply.finish_reason, reply.usage, calls)


def of_sdk(dialect: Dialect, result: Any) -> Read:
    """The SDK's reading of a whole answer."""
    return {"chat": _chat, "openrouter": _chat, "responses": _responses, "gemini": _gemini}[dialect](result)


def of_sdk_stream(dialect: Dialect, events: Iterable[Any]) -> Read:
    """The SDK's reading of a stream, its pieces joined."""
    readers = {"chat": _chat_stream, "openrouter": _chat_stream}
    return (readers | {"responses": _responses_stream, "gemini": _gemini_stream})[dialect](list(events))


# ---- Chat Completions, of openai and of openrouter


def _plain(value: Any) -> Any:
    """A field of openrouter's models may be its marker of a missing value."""
    return None if type(value).__name__ == "Unset" else value


def _chat(result: Any) -> Read:
    choice = result.choices[0]
    message = choice.message
    calls = tuple(
        (call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()
    )
    text = _plain(message.content) or _plain(message.refusal) or ""
    return Read(text, choice.finish_reason, _chat_usage(result.usage), calls)


def _chat_usage(usage: Any) -> Usage:
    if usage is None:
        return NO_USAGE
    return Usage(
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.prompt_tokens_details.cached_tokens,
        usage.completion_tokens_details.reasoning_tokens,
    )


def _chat_stream(chunks: list[Any]) -> Read:
    text, finish, usage = "", None, NO_USAGE
    calls: dict[int, list[str]] = {}
    for chunk in chunks:
        if chunk.usage is not None:
            usage = _chat_usage(chunk.usage)
        for choice in chunk.choices[:1]:
            finish = choice.finish_reason or finish
            text += _plain(choice.delta.content) or _plain(choice.delta.refusal) or ""
            for part in choice.delta.tool_calls or ():
                call = calls.setdefault(part.index, ["", ""])
                call[0] += part.function.name or ""
                call[1] += part.function.arguments or ""
    return Read(text, finish, usage, tuple((name, json.loads(words)) for name, words in calls.values()))


# ---- Responses


def _responses(result: Any) -> Read:
    calls = tuple(
        (item.name, json.loads(item.arguments)) for item in result.output if item.type == "function_call"
    )
    messages = [item for item in result.output if item.type == "message"]
    refusals = [part.refusal for item in messages for part in item.content if part.type == "refusal"]
    details = result.incomplete_details
    finish = result.status if details is None else details.reason
    return Read(result.output_text or "".join(refusals), finish, _responses_usage(result.usage), calls)


def _responses_usage(usage: Any) -> Usage:
    if usage is None:
        return NO_USAGE
    cached, reasoning = usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens
    return Usage(usage.input_tokens, usage.output_tokens, cached, reasoning)


def _responses_stream(events: list[Any]) -> Read:
    """The last event has the whole answer; its text must be that of the pieces."""
    whole = _responses(events[-1].response)
    kinds = ("response.output_text.delta", "response.refusal.delta")
    pieces = "".join(event.delta for event in events if event.type in kinds)
    assert pieces == whole.text
    return whole


# ---- Gemini


def _gemini(result: Any) -> Read:
    candidate = result.candidates[0] if result.candidates else None
    content = candidate.content if candidate is not None else None
    parts = (content.parts if content is not None else None) or []
    calls = tuple((part.function_call.name, part.function_call.args) for part in parts if part.function_call)
    text = "".join(part.text for part in parts if part.text and not part.thought)
    blocked = result.prompt_feedback and result.prompt_feedback.block_reason
    finish = candidate.finish_reason if candidate is not None else blocked
    return Read(text, None if finish is None else finish.value, _gemini_usage(result.usage_metadata), calls)


def _gemini_usage(usage: Any) -> Usage:
    def count(name: str) -> int:
        return getattr(usage, name) or 0

    thoughts = count("thoughts_token_count")
    output = count("candidates_token_count") + thoughts
    return Usage(count("prompt_token_count"), output, count("cached_content_token_count"), thoughts)


def _gemini_stream(chunks: list[Any]) -> Read:
    reads = [_gemini(chunk) for chunk in chunks]
    text = "".join(read.text for read in reads)
    return Read(text, reads[-1].finish, reads[-1].usage, tuple(call for read in reads for call in read.calls))


def data_of(event: str) -> str | None:
    """The data of one SSE event of tests.servers.answers, or None for a comment."""
    lines = [line for line in event.splitlines() if line.startswith("data: ")]
    return lines[0].removeprefix("data: ") if lines else None


def arguments_of(call: Mapping[str, str]) -> tuple[str, Any]:
    """A call of tests.servers.answers as a Read has it."""
    return call["name"], json.loads(call["arguments"])
