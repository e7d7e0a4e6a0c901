"""Answers in each provider's own form, for servers that stand in for them. All functions are pure.

Answers are JSON data, errors are whole Steps (status, headers, body), streams are lists of SSE events, each
one complete with its blank line; `sse` makes a Step of a stream. Every form here is read by the provider's
own SDK in tests/conformance, so that what our tests answer is what a provider could have answered.
Source of the forms: the types of the official SDKs and the providers' API references.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.servers.chat_server import Step

CREATED = 1_795_348_800  # 2026-11-22T16:00:00Z
REFUSAL = "I'm sorry, I can't help with that."
WEATHER_CALL = {"name": "get_weather", "arguments": '{"city":"Oslo"}'}
#: Tokens of every answer: 31 in (4 of them cached), 90 out (64 of them reasoning).
IN, CACHED, OUT, REASONING = 31, 4, 90, 64

_AZURE_SAFE = {
    name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")
}


# ---- Chat Completions: OpenAI and Azure


def openai_usage() -> dict[str, Any]:
    return {
        "prompt_tokens": IN,
        "completion_tokens": OUT,
        "total_tokens": IN + OUT,
        "prompt_tokens_details": {"cached_tokens": CACHED, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": REASONING, "audio_tokens": 0},
    }


def _chat_calls(calls: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{n}", "type": "function", "function": dict(call)} for n, call in enumerate(calls, 1)
    ]


def openai_chat_answer(
    text: str | None = "42",
    *,
    finish: str = "stop",
    calls: Sequence[Mapping[str, str]] = (),
    refusal: str | None = None,
    azure: bool = False,
    model: str = "gpt-5-mini-2025-08-07",
) -> dict[str, Any]:
    """A completion. `calls` are `{"name", "arguments"}`; `azure` adds its content filter results."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal, "annotations": []}
    if calls:
        message |= {"tool_calls": _chat_calls(calls)}
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    answer: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [choice],
        "usage": openai_usage(),
        "system_fingerprint": None,
    }
    if azure:
        filtered = {"violence": {"filtered": finish == "content_filter", "severity": "high"}}
        choice["content_filter_results"] = _AZURE_SAFE | (filtered if finish == "content_filter" else {})
        answer["prompt_filter_results"] = [{"prompt_index": 0, "content_filter_results": _AZURE_SAFE}]
    return answer


def openai_chat_stream(
    pieces: Sequence[str] = ("4", "2"),
    *,
    finish: str | None = "stop",
    calls: Sequence[Mapping[str, str]] = (),
    refusal: str | None = None,
    azure: bool = False,
    usage: bool = True,
    done: bool = True,
) -> list[str]:
    """The events of a completion. Azure's first chunk is empty; arguments of a call come in two."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None if calls else ""}]
    deltas += [{"content": piece} for piece in pieces if not calls]
    deltas += [{"refusal": refusal}] if refusal else []
    for index, call in enumerate(_chat_calls(calls)):
        name, whole = call["function"]["name"], call["function"]["arguments"]
        first = call | {"index": index, "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [first]})
        for part in (whole[:5], whole[5:]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    chunks = [_chat_chunk([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    if finish is not None:
        chunks.append(_chat_chunk([{"index": 0, "delta": {}, "finish_reason": finish}]))
    if usage:
        chunks.append(_chat_chunk([], usage=openai_usage()))
    if azure:
        prompt = [{"prompt_index": 0, "content_filter_results": _AZURE_SAFE}]
        empty = {"id": "", "model": "", "object": "", "created": 0}
        chunks.insert(0, _chat_chunk([], **empty, prompt_filter_results=prompt))
    return [*map(event, chunks), *(["data: [DONE]\n\n"] if done else [])]


def _chat_chunk(choices: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    basic = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": CREATED, "model": "gpt-5-mini"}
    return {**basic, "choices": choices, **fields}


# ---- Responses: OpenAI and Azure


def responses_answer(
    text: str | None = "42",
    *,
    status: str = "completed",
    reason: str | None = None,
    calls: Sequence[Mapping[str, str]] = (),
    refusal: str | None = None,
    error: Mapping[str, Any] | None = None,
    azure: bool = False,
) -> dict[str, Any]:
    """A response. `reason` is that of an incomplete one; `text` None leaves the reasoning item alone."""
    output: list[dict[str, Any]] = [{"id": "rs_1", "type": "reasoning", "summary": []}]
    parts: list[dict[str, Any]] = []
    if text is not None and not calls and refusal is None:
        parts = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    if refusal is not None:
        parts = [{"type": "refusal", "refusal": refusal}]
    if parts:
        item_status = "completed" if status == "completed" else "incomplete"
        output.append(_responses_message(parts, item_status))
    for n, call in enumerate(calls, 1):
        item = {"id": f"fc_{n}", "type": "function_call", "status": "completed", "call_id": f"call_{n}"}
        output.append(item | dict(call))
    answer: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None if error is None else dict(error),
        "incomplete_details": None if reason is None else {"reason": reason},
        "instructions": None,
        "max_output_tokens": None,
        "model": "gpt-5-mini",
        "output": [] if status == "failed" else output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "low", "summary": None},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if status == "failed" else _responses_usage(),
        "user": None,
        "metadata": {},
    }
    return answer | ({"content_filters": None} if azure else {})


def _responses_message(parts: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "status": status, "role": "assistant", "content": parts}


def _responses_usage() -> dict[str, Any]:
    return {
        "input_tokens": IN,
        "input_tokens_details": {"cached_tokens": CACHED, "cache_write_tokens": 0},
        "output_tokens": OUT,
        "output_tokens_details": {"reasoning_tokens": REASONING},
        "total_tokens": IN + OUT,
    }


def responses_stream(
    pieces: Sequence[str] = ("4", "2"),
    *,
    status: str = "completed",
    reason: str | None = None,
    calls: Sequence[Mapping[str, str]] = (),
    refusal: str | None = None,
    error: Mapping[str, Any] | None = None,
    terminal: bool = True,
) -> list[str]:
    """The named events of a response; the last one, `response.<status>`, holds the whole of it."""
    text = "".join(pieces)
    final = responses_answer(text, status=status, reason=reason, calls=calls, refusal=refusal, error=error)
    begun = final | {"status": "in_progress", "output": [], "usage": None, "error": None}
    begun |= {"incomplete_details": None}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(final["output"]):
        events += _item_events(index, item, pieces)
    if terminal:
        events.append({"type": f"response.{status}", "response": final})
    return [event({"sequence_number": n, **it}, named=True) for n, it in enumerate(events)]


def _item_events(index: int, item: Mapping[str, Any], pieces: Sequence[str]) -> list[dict[str, Any]]:
    at = {"output_index": index, "item_id": item["id"]}
    inner: list[dict[str, Any]] = []
    opened: dict[str, Any] = {**item, "status": "in_progress"}
    if item["type"] == "message":
        opened["content"] = []
        part = item["content"][0]
        kind, key = part["type"], "text" if part["type"] == "output_text" else "refusal"
        where = {**at, "content_index": 0}
        logprobs = {"logprobs": []} if key == "text" else {}
        inner = [{"type": "response.content_part.added", **where, "part": {**part, key: ""}}]
        for piece in pieces if key == "text" else [part[key]]:
            inner.append({"type": f"response.{kind}.delta", **where, "delta": piece, **logprobs})
        inner.append({"type": f"response.{kind}.done", **where, key: part[key], **logprobs})
        inner.append({"type": "response.content_part.done", **where, "part": part})
    elif item["type"] == "function_call":
        opened["arguments"] = ""
        kind, whole = "response.function_call_arguments", item["arguments"]
        inner = [{"type": f"{kind}.delta", **at, "delta": part} for part in (whole[:5], whole[5:])]
        inner.append({"type": f"{kind}.done", **at, "name": item["name"], "arguments": whole})
    else:
        opened = dict(item)
    added = {"type": "response.output_item.added", "output_index": index, "item": opened}
    return [added, *inner, {"type": "response.output_item.done", "output_index": index, "item": dict(item)}]


# ---- Gemini


def gemini_usage() -> dict[str, Any]:
    return {
        "promptTokenCount": IN,
        "cachedContentTokenCount": CACHED,
        "candidatesTokenCount": OUT - REASONING,
        "thoughtsTokenCount": REASONING,
        "totalTokenCount": IN + OUT,
    }


def gemini_answer(
    text: str | None = "42",
    *,
    finish: str | None = "STOP",
    calls: Sequence[Mapping[str, str]] = (),
    thought: str | None = None,
    blocked: str | None = None,
) -> dict[str, Any]:
    """A generateContent answer. `blocked` is the reason why the prompt got no candidate at all."""
    head = {"modelVersion": "gemini-3-flash-preview", "responseId": "resp-g1"}
    if blocked is not None:
        usage = {"promptTokenCount": IN, "totalTokenCount": IN}
        return {"promptFeedback": {"blockReason": blocked}, "usageMetadata": usage, **head}
    parts: list[dict[str, Any]] = [] if thought is None else [{"text": thought, "thought": True}]
    parts += [] if text is None or calls else [{"text": text}]
    for call in calls:
        asked = {"name": call["name"], "args": json.loads(call["arguments"])}
        parts.append({"functionCall": asked, "thoughtSignature": "c2ln"})
    content: dict[str, Any] = {"role": "model"} | ({"parts": parts} if parts else {})
    candidate: dict[str, Any] = {"content": content, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": gemini_usage(), **head}


def gemini_stream(
    pieces: Sequence[str] = ("4", "2"),
    *,
    finish: str | None = "STOP",
    calls: Sequence[Mapping[str, str]] = (),
    blocked: str | None = None,
) -> list[str]:
    """The events of streamGenerateContent?alt=sse: CRLF, whole answers, no end marker but finishReason."""
    if blocked is not None:
        chunks = [gemini_answer(blocked=blocked)]
    elif calls:
        chunks = [gemini_answer(calls=calls, finish=finish)]
    else:
        chunks = [gemini_answer(piece, finish=None) for piece in pieces[:-1]]
        chunks.append(gemini_answer(pieces[-1] if pieces else None, finish=finish))
    return [event(chunk).replace("\n", "\r\n") for chunk in chunks]


# ---- OpenRouter


def openrouter_usage() -> dict[str, Any]:
    return {
        **openai_usage(),
        "cost": 2.14e-05,
        "is_byok": False,
        "cost_details": {
            "upstream_inference_cost": None,
            "upstream_inference_prompt_cost": 3.8e-06,
            "upstream_inference_completions_cost": 1.76e-05,
        },
    }


def openrouter_answer(
    text: str | None = "42",
    *,
    finish: str = "stop",
    calls: Sequence[Mapping[str, str]] = (),
    refusal: str | None = None,
    error: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A completion with its cost. `error` is one that came after generation had begun: status 200."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": refusal, "reasoning": "Hm."}
    if calls:
        message |= {"tool_calls": _chat_calls(calls)}
    choice: dict[str, Any] = {
        "index": 0,
        "logprobs": None,
        "finish_reason": "error" if error else finish,
        "native_finish_reason": finish,
        "message": message,
    }
    return {
        "id": "gen-1",
        "provider": "DeepInfra",
        "model": "deepseek/deepseek-v3.2-exp",
        "object": "chat.completion",
        "created": CREATED,
        "system_fingerprint": None,
        "choices": [choice | ({"error": dict(error)} if error else {})],
        "usage": openrouter_usage(),
    }


def openrouter_stream(
    pieces: Sequence[str] = ("4", "2"),
    *,
    finish: str | None = "stop",
    calls: Sequence[Mapping[str, str]] = (),
    comments: bool = True,
    error: Mapping[str, Any] | None = None,
    done: bool = True,
) -> list[str]:
    """The events of a completion: comments while waiting, usage in the last chunk beside its choice.

    `error` takes the place of the end: a chunk with `error` beside an empty delta, as the docs show it.
    """
    chunks = [
        json.loads(text[6:]) for text in openai_chat_stream(pieces, calls=calls, finish=None, done=False)
    ]
    chunks = [chunk for chunk in chunks if chunk["choices"]]
    if error is not None:
        chunks.append({**_chat_chunk([{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}])})
        chunks[-1]["error"] = dict(error)
    elif finish is not None:
        last = {"index": 0, "delta": {"content": ""}, "finish_reason": finish}
        chunks.append(_chat_chunk([last], usage=openrouter_usage()))
    made = [event({**chunk, "id": "gen-1", "provider": "DeepInfra"}) for chunk in chunks]
    head = [": OPENROUTER PROCESSING\n\n"] * (2 if comments else 0)
    return [*head, *made, *(["data: [DONE]\n\n"] if done else [])]


# ---- both ways of sending


def event(data: Mapping[str, Any], *, named: bool = False) -> str:
    """One SSE event of JSON data; `named` puts its `type` on a line of its own."""
    name = f"event: {data['type']}\n" if named else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


def sse(events: Iterable[str], **headers: str) -> Step:
    """A stream as one Step, its whole body at once; header names are written with underscores."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Step(
        "".join(events).encode(), headers={"content-type": "text/event-stream; charset=utf-8", **names}
    )
