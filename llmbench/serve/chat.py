"""Chat Completions: a request as a call of the router, an answer as a completion or as its chunks. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmbench.messages import FinishReason, Response, Usage
from llmbench.serve.problems import refused
from llmbench.serve.reading import (
    FLAG,
    OBJECT,
    TEXT,
    Check,
    checked,
    own_arguments,
    require_inert,
    require_known,
    with_user,
)
from llmbench.serve.turns import read_choice, read_tools, read_turns

#: Sent on under these names; the router checks their values.
_PARAMS: Final = (
    *("max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "stop", "seed"),
    *("presence_penalty", "frequency_penalty"),
)
_CHECKED: Final[Mapping[str, Check]] = {
    "reasoning_effort": TEXT,
    "verbosity": TEXT,
    "response_format": OBJECT,
}
#: Sent to the model as they are; the answer's adjustments name them.
AS_IS: Final = ("logit_bias", "parallel_tool_calls", "prompt_cache_key", "service_tier")
#: Fields of the dialect that mean something else than an answer in text, and the values that ask for nothing.
_UNSUPPORTED: Final[Mapping[str, tuple[Any, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (),
    "audio": (),
    "modalities": (["text"],),
    "prediction": (),
    "web_search_options": (),
    "functions": (),
    "function_call": (),
    "store": (False,),
    "metadata": ({},),
    "safety_identifier": (),
    "prompt_cache_retention": (),
}
_KNOWN: Final = (
    *("model", "messages", "stream", "stream_options", "user", "llmbench", "tools", "tool_choice"),
    *(*_PARAMS, *_CHECKED, *AS_IS, *_UNSUPPORTED),
)
_FINISH: Final[Mapping[FinishReason, str]] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: what its `model` is, the conversation, and the router's arguments.

    `echo` is what the answer repeats of the request.
    """

    model: object
    prompt: Sequence[Mapping[str, Any]]
    arguments: dict[str, Any]
    is_stream: bool = False
    has_usage: bool = False
    echo: Mapping[str, Any] = field(default_factory=dict)


def read_chat(body: Mapping[str, Any]) -> Ask:
    """A Chat Completions request.

    Raises:
        Problem: 400; a parameter that is unknown or cannot be kept is of the kind unsupported_param.
    """
    require_known(body, _KNOWN)
    require_inert(body, _UNSUPPORTED)
    arguments = with_user(own_arguments(body), body)
    arguments |= {name: body[name] for name in _PARAMS if body.get(name) is not None}
    arguments |= checked(body, _CHECKED)
    if body.get("tools"):
        arguments["tools"] = read_tools(body["tools"])
    if body.get("tool_choice") is not None:
        choice = body["tool_choice"]
        function = choice.get("function") if isinstance(choice, dict) else None
        arguments["tool_choice"] = read_choice(choice, function)
    is_stream = checked(body, {"stream": FLAG}).get("stream", False)
    return Ask(
        model=body.get("model"),
        prompt=read_turns(body.get("messages")),
        arguments=with_as_is(arguments, body),
        is_stream=is_stream,
        has_usage=_wants_usage(body.get("stream_options"), is_stream=is_stream),
    )


def with_as_is(arguments: dict[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with what goes to the model as it is."""
    given = {name: body[name] for name in AS_IS if body.get(name) is not None}
    if not given:
        return arguments
    return {**arguments, "extra_body": {**given, **arguments.get("extra_body", {})}}


def _wants_usage(options: object, *, is_stream: bool) -> bool:
    if options is None:
        return False
    if not isinstance(options, dict):
        raise refused("stream_options", "must be an object")
    if not is_stream:
        raise refused("stream_options", "is for stream: true")
    require_known(options, ("include_usage", "include_obfuscation"), "stream_options.")
    found = checked(options, {"include_usage": FLAG, "include_obfuscation": FLAG}, "stream_options.")
    if found.get("include_obfuscation"):
        raise refused(
            "stream_options.include_obfuscation", "this endpoint does not do that", "unsupported_param"
        )
    return bool(found.get("include_usage", False))


# ---- answers


def completion(reply: Response, created: int) -> dict[str, Any]:
    """An answer as OpenAI's `chat.completion`, with what the router knows of it under `llmbench`."""
    choice = {
        "index": 0,
        "message": _message(reply),
        "finish_reason": finish_of(reply),
        "logprobs": None,
    }
    return {
        "id": f"chatcmpl-{reply.call_id}",
        "object": "chat.completion",
        "created": created,
        "model": reply.model,
        "choices": [choice],
        "usage": usage_of(reply.usage),
        "llmbench": facts(reply),
    }


def _message(reply: Response) -> dict[str, Any]:
    has_refused = reply.finish_reason == "refusal"
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if has_refused or (reply.tool_calls and not reply.text) else text_of(reply),
        "refusal": reply.text if has_refused else None,
    }
    return {**message, "tool_calls": tool_calls(reply)} if reply.tool_calls else message


def text_of(reply: Response) -> str:
    """The answer's text; where it was checked against a schema, JSON and nothing around it."""
    if reply.parsed is None:
        return reply.text
    try:
        json.loads(reply.text)
    except ValueError:
        return json.dumps(reply.parsed, ensure_ascii=False)
    return reply.text


def tool_calls(reply: Response) -> list[dict[str, Any]]:
    """The answer's calls of tools, each with an id and with its arguments as a text."""
    return [_named_call(call, index, reply.call_id) for index, call in enumerate(reply.tool_calls)]


def _named_call(call: Mapping[str, Any], index: int, call_id: str) -> dict[str, Any]:
    function = call.get("function")
    function = function if isinstance(function, Mapping) else {}
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False)
    named = {"name": str(function.get("name") or ""), "arguments": text}
    return {"id": str(call.get("id") or f"call_{call_id}_{index}"), "type": "function", "function": named}


def finish_of(reply: Response) -> str:
    """OpenAI's word for how the answer ended; `llmbench.finish_reason` has our own."""
    return "tool_calls" if reply.tool_calls else _FINISH.get(reply.finish_reason, "stop")


def usage_of(usage: Usage) -> dict[str, Any]:
    """The tokens in Chat Completions' form."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def facts(reply: Response) -> dict[str, Any]:
    """What the router knows of an answer besides its text: the `llmbench` object of every reply."""
    names = ("call_id", "tier", "model", "model_id", "model_version", "provider", "reason", "finish_reason")
    numbers = ("cost_usd", "cost_source", "latency_ms", "ttft_ms")
    return {
        "task": reply.route.task,
        **{name: getattr(reply, name) for name in (*names, *numbers)},
        "fallback_chain": list(reply.fallback_chain),
        "adjustments": [change.as_dict() for change in reply.adjustments],
    }


@dataclass(slots=True)
class Chunks:
    """The chunks of one streamed answer, in order. `model` is the model that is under way, once one is."""

    call_id: str
    created: int
    has_usage: bool
    model: str = ""
    has_begun: bool = False

    def piece(self, text: str) -> dict[str, Any]:
        """A part of the text; the first one opens the message."""
        opening: dict[str, Any] = {} if self.has_begun else {"role": "assistant"}
        self.has_begun = True
        return self._chunk([_choice({**opening, "content": text})])

    def ending(self, reply: Response) -> list[dict[str, Any]]:
        """What comes after the text: calls of tools, how the answer ended, and the usage."""
        self.model = reply.model
        chunks = [] if self.has_begun else [self.piece("")]
        for index, call in enumerate(tool_calls(reply)):
            chunks.append(self._chunk([_choice({"tool_calls": [{"index": index, **call}]})]))
        chunks.append({**self._chunk([_choice({}, finish_of(reply))]), "llmbench": facts(reply)})
        if self.has_usage:
            chunks.append({**self._chunk([]), "usage": usage_of(reply.usage)})
        return chunks

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": f"chatcmpl-{self.call_id}", "object": "chat.completion.chunk", "created": self.created}
        usage = {"usage": None} if self.has_usage else {}
        return {**head, "model": self.model, "choices": choices, **usage}


def _choice(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
