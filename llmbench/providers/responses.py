"""The Responses wire: POST {base}/responses, of OpenAI, of Azure and of llama.cpp.

Nothing is stored at the provider and no reasoning item is sent back: every call stands alone. llama.cpp
takes the form, but enforces no schema on this path; Chat Completions is the better wire for it.
Source of the forms: the OpenAI and Azure API references, requests recorded from the official SDK, and
replies recorded from llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ConfigError, ProviderError
from llmbench.messages import FinishReason, Message, Usage
from llmbench.providers.azure_paths import below_openai, dated_version, is_plain
from llmbench.providers.base import Reply, problem_of
from llmbench.providers.failures import error_from
from llmbench.providers.json_readers import as_count, as_mapping, as_mappings, as_text
from llmbench.providers.responses_stream import ResponsesAssembler

#: The first dated Azure version that has the Responses API. Source: the 400 that an older one answers.
FIRST_AZURE_VERSION: Final = "2025-03-01-preview"


class ResponsesWire:
    """POST {base}/responses; at Azure below /openai/v1, or below /openai with a dated API version."""

    names: Final[Mapping[str, str]] = MappingProxyType({})

    def path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The path below the base URL. The deployment of an Azure resource stands in the body alone.

        Raises:
            ConfigError: there is no such Azure API version, or it is older than the Responses API.
        """
        if is_plain(endpoint):
            return "/responses"
        version = dated_version(spec, endpoint)
        if version is None:
            return below_openai(endpoint, "/v1/responses")
        if version[: len("2025-03-01")] < FIRST_AZURE_VERSION[: len("2025-03-01")]:
            message = (
                f"model {spec.key!r}: api_version {version!r} has no Responses API; "
                f"use {FIRST_AZURE_VERSION} or later, or v1"
            )
            raise ConfigError(message)
        return below_openai(endpoint, f"/responses?api-version={version}")

    def body(
        self,
        spec: ModelSpec,
        messages: tuple[Message, ...],
        params: Mapping[str, Any],
        instruction: str | None,
        extra_body: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The request body. Leading system messages and the instruction become `instructions`.

        A parameter without a form of its own on this wire is sent as it is: what the API lacks is dropped
        by the guard, which says so, and never here.
        """
        head = _leading_system(messages)
        instructions = [_plain_text(message.content) or "" for message in messages[:head]]
        instructions += [] if instruction is None else [instruction]
        body: dict[str, Any] = {"model": spec.model_id}
        if instructions:
            body["instructions"] = "\n\n".join(instructions)
        body["input"] = [item for message in messages[head:] for item in _items(message)]
        for name, value in (*_fields(params), *extra_body.items()):
            is_joined = name in ("text", "reasoning") and isinstance(value, Mapping)
            body[name] = {**as_mapping(body.get(name)), **value} if is_joined else value
        return {**body, "store": False}

    def parse(
        self, payload: Mapping[str, Any], headers: Mapping[str, str], sent: Mapping[str, Any] | None = None
    ) -> Reply:
        """The output items of a response: text, refusal and function calls; reasoning is not read.

        `sent` tells the output limit to an answer that does not repeat it, as llama.cpp's.

        Raises:
            ProviderError: the response failed, is not finished, or holds no output.
        """
        status = payload.get("status") or "completed"
        if status not in ("completed", "incomplete"):
            raise _failure(str(status), payload, headers)
        output = payload.get("output")
        if not isinstance(output, list):
            raise ProviderError("the answer holds no output", kind="malformed", status_code=200)
        items = as_mappings(output)
        parts = [
            part
            for item in items
            if item.get("type") == "message"
            for part in as_mappings(item.get("content"))
        ]
        refusal = _joined(parts, "refusal", "refusal")
        text = _joined(parts, "output_text", "text") or refusal or ""
        calls = tuple(_chat_call(item) for item in items if item.get("type") == "function_call")
        payload = {"max_output_tokens": as_mapping(sent).get("max_output_tokens"), **payload}
        finish = _finish(payload, has_text=bool(text), has_calls=bool(calls), has_refused=refusal is not None)
        request_id = (
            headers.get("x-request-id") or headers.get("apim-request-id") or as_text(payload.get("id"))
        )
        return Reply(
            text=text,
            finish_reason=finish,
            usage=_usage(payload.get("usage")),
            request_id=request_id,
            served_model=as_text(payload.get("model")),
            tool_calls=calls,
            problem=problem_of(finish, text, request_id),
        )

    def stream_path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The path for an answer in pieces: the same."""
        return self.path(spec, endpoint)

    def stream_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body that asks for pieces; the last one has the usage."""
        return {**body, "stream": True}

    def assembler(self, sent: Mapping[str, Any] | None = None) -> ResponsesAssembler:
        """What puts one streamed answer together; `sent` as in `parse`."""
        return ResponsesAssembler(partial(self.parse, sent=sent))


# ---- the request


def _leading_system(messages: Sequence[Message]) -> int:
    """How many messages at the start are instructions. The last message never is: input must not be empty."""
    count = 0
    for message in messages[:-1]:
        if message.role != "system" or message.extra or _plain_text(message.content) is None:
            break
        count += 1
    return count


def _plain_text(content: str | tuple[Mapping[str, Any], ...]) -> str | None:
    """The text of a content that is text alone, or None."""
    if isinstance(content, str):
        return content
    texts = [part.get("text") if set(part) == {"type", "text"} else None for part in content]
    return "".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else None


def _items(message: Message) -> list[dict[str, Any]]:
    """One turn as input items: the message, and an item for each tool call or result."""
    if message.role == "tool":
        extra = {key: value for key, value in message.extra.items() if key != "tool_call_id"}
        output = message.content if isinstance(message.content, str) else _parts(message)
        call_id = message.extra.get("tool_call_id")
        return [{"type": "function_call_output", "call_id": call_id, "output": output, **extra}]
    extra = {key: value for key, value in message.extra.items() if key != "tool_calls"}
    calls = [_call_item(call) for call in as_mappings(message.extra.get("tool_calls"))]
    if not message.content and calls:
        return calls
    item = {"role": message.role, "content": _parts(message), **extra}
    if message.role == "assistant":
        item["type"] = "message"  # llama.cpp answers 400 to an assistant turn that does not name its type
    return [item, *calls]


def _parts(message: Message) -> list[dict[str, Any]]:
    text_type = "output_text" if message.role == "assistant" else "input_text"
    if isinstance(message.content, str):
        return [{"type": text_type, "text": message.content}]
    return [_part(part, text_type) for part in message.content]


def _part(part: Mapping[str, Any], text_type: str) -> dict[str, Any]:
    """One content part of the Chat form in this wire's form; any other part as it is."""
    kind = part.get("type")
    if kind == "text":
        return {**part, "type": text_type}
    if kind == "image_url":
        image = part.get("image_url")
        given = {"image_url": image} if isinstance(image, str) else dict(as_mapping(image))
        if "url" in given:
            given["image_url"] = given.pop("url")
        return {**part, "type": "input_image", **given}
    if kind == "file":
        rest = {key: value for key, value in part.items() if key != "file"}
        return {**rest, "type": "input_file", **as_mapping(part.get("file"))}
    return dict(part)


def _call_item(call: Mapping[str, Any]) -> dict[str, Any]:
    function = as_mapping(call.get("function"))
    return {
        "type": "function_call",
        "call_id": call.get("id"),
        "name": function.get("name"),
        "arguments": function.get("arguments"),
    }


def _fields(params: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The guarded parameters in this wire's layout."""
    return [_field(name, value) for name, value in params.items()]


def _field(name: str, value: Any) -> tuple[str, Any]:
    if name in ("reasoning", "reasoning_effort"):
        return "reasoning", value if isinstance(value, Mapping) else {"effort": value}
    if name == "verbosity":
        return "text", {"verbosity": value}
    if name == "response_format" and isinstance(value, Mapping):
        inner = {key: part for key, part in value.items() if key != "json_schema"}
        return "text", {"format": {**inner, **as_mapping(value.get("json_schema"))}}
    if name == "tools":
        return name, [_tool(tool) for tool in value] if isinstance(value, list | tuple) else value
    if name == "tool_choice" and isinstance(value, Mapping):
        return name, _flat_function(value)
    return name, value


def _tool(tool: Any) -> Any:
    """A tool in the flat form. `strict` is written out: this API is strict by default, Chat is not."""
    if not isinstance(tool, Mapping) or not isinstance(tool.get("function"), Mapping):
        return tool
    return {"strict": False, **_flat_function(tool)}


def _flat_function(value: Mapping[str, Any]) -> dict[str, Any]:
    outer = {key: part for key, part in value.items() if key != "function"}
    return {**outer, **as_mapping(value.get("function"))}


# ---- the answer


def _failure(status: str, payload: Mapping[str, Any], headers: Mapping[str, str]) -> ProviderError:
    """Why a response holds no answer: it failed, was cancelled or is not finished."""
    if not payload.get("error"):
        message = f"the provider reports status {status[:40]!r} and no answer"
        return ProviderError(message, kind="server_error", status_code=200)
    return error_from(200, headers, payload)


def _finish(
    payload: Mapping[str, Any], *, has_text: bool, has_calls: bool, has_refused: bool
) -> FinishReason:
    """The normalised finish reason; an answer without content is `empty` unless something cut it off."""
    if has_refused:
        return "refusal"
    if payload.get("status") == "incomplete":
        reason = as_mapping(payload.get("incomplete_details")).get("reason")
        return "content_filter" if reason == "content_filter" else "length"
    if _is_cut_silently(payload):
        return "length"
    if has_calls:
        return "tool_calls"
    return "stop" if has_text else "empty"


def _is_cut_silently(payload: Mapping[str, Any]) -> bool:
    """Whether a host without `incomplete_details` used up its output limit: llama.cpp says `completed`."""
    limit = as_count(payload.get("max_output_tokens"))
    used = as_count(as_mapping(payload.get("usage")).get("output_tokens"))
    return "incomplete_details" not in payload and 0 < limit <= used


def _joined(parts: Sequence[Mapping[str, Any]], kind: str, key: str) -> str | None:
    """The text of all parts of one kind, or None when there is no such part."""
    found = [part.get(key) for part in parts if part.get("type") == kind]
    return "".join(text for text in found if isinstance(text, str)) if found else None


def _chat_call(item: Mapping[str, Any]) -> dict[str, Any]:
    """A function call in the Chat form, so that a caller reads one form from every wire."""
    function = {"name": item.get("name"), "arguments": item.get("arguments")}
    return {"id": item.get("call_id") or item.get("id"), "type": "function", "function": function}


def _usage(value: object) -> Usage:
    usage = as_mapping(value)
    inputs, outputs = (
        as_mapping(usage.get("input_tokens_details")),
        as_mapping(usage.get("output_tokens_details")),
    )
    tokens_in, tokens_out = as_count(usage.get("input_tokens")), as_count(usage.get("output_tokens"))
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cached_tokens=min(as_count(inputs.get("cached_tokens")), tokens_in),
        reasoning_tokens=min(as_count(outputs.get("reasoning_tokens")), tokens_out),
    )
