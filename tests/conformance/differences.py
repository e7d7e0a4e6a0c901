"""Where our requests differ from an official SDK's, as data: what, why, and where that is written.

`reform` brings the SDK's request into our form and leaves every other request as it is. A difference that
no call meets any more is found by a test; one that is not listed here fails the call that meets it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.conformance.exchange import Seen

Body = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """One documented difference: `field` of the request, at the places whose names start with `where`."""

    where: tuple[str, ...]
    field: str
    official: str
    ours: str
    why: str
    source: str
    reform: Callable[[Seen], Seen]

    def applies_to(self, place: str) -> bool:
        return place.startswith(self.where)


def as_ours(place: str, theirs: Seen, *, is_stream: bool = False) -> tuple[Seen, list[Difference]]:
    """An SDK's request in our form, and the differences it met."""
    met = []
    for difference in (*DIFFERENCES, *(STREAM_DIFFERENCES if is_stream else ())):
        if difference.applies_to(place):
            reformed = difference.reform(theirs)
            if reformed != theirs:
                met.append(difference)
            theirs = reformed
    return theirs, met


def _body(change: Callable[[Body], Body]) -> Callable[[Seen], Seen]:
    return lambda request: replace(request, body=change(dict(request.body)))


def _key_header(request: Seen) -> Seen:
    headers = dict(request.headers)
    key = headers.pop("authorization").removeprefix("Bearer ")
    return replace(request, headers={**headers, "api-key": key})


def _no_version(request: Seen) -> Seen:
    query = {name: value for name, value in request.query.items() if name != "api-version"}
    return replace(request, query=query)


# ---- Responses


def _input_as_parts(body: Body) -> Body:
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return {**body, "input": [_parts_of(item) for item in items]}


def _parts_of(item: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(item.get("content"), str):
        return item
    kind = "output_text" if item["role"] == "assistant" else "input_text"
    return {**item, "content": [{"type": kind, "text": item["content"]}]}


def _typed_assistant(body: Body) -> Body:
    typed = [
        {**item, "type": "message"} if item.get("role") == "assistant" else item for item in body["input"]
    ]
    return {**body, "input": typed}


# ---- Gemini


def _camel(value: Any) -> Any:
    """Every name in camelCase; a JSON Schema and a tool's own data are the caller's and stay."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda found: found[1].upper(), key): item for key, item in value.items()}
    own = ("responseJsonSchema", "parametersJsonSchema", "args", "response")
    return {key: item if key in own else _camel(item) for key, item in named.items()}


def _standard_base64(value: Any) -> Any:
    if isinstance(value, list):
        return [_standard_base64(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"mimeType", "data"}:
        return {**value, "data": value["data"].replace("-", "+").replace("_", "/")}
    return {key: _standard_base64(item) for key, item in value.items()}


def _system_without_role(body: Body) -> Body:
    if "systemInstruction" not in body:
        return body
    return {**body, "systemInstruction": {"parts": body["systemInstruction"]["parts"]}}


def _without_empty(body: Body) -> Body:
    return {key: value for key, value in body.items() if value != {}}


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        ("azure-chat-v1-key",),
        "header",
        "authorization: Bearer KEY",
        "api-key: KEY",
        "The plain OpenAI client knows no other header; Azure documents api-key for keys and takes both.",
        "Azure OpenAI REST reference, v1 authentication",
        _key_header,
    ),
    Difference(
        ("azure-responses-v1-key",),
        "query.api-version",
        "api-version=preview",
        "no query",
        "AzureOpenAI refuses to open without a version; the v1 address needs none.",
        "Azure OpenAI API version lifecycle: api-version is optional on v1",
        _no_version,
    ),
    Difference(
        ("openai-responses", "azure-responses"),
        "body.input",
        "a text, or messages whose content is a text",
        "messages with a list of typed parts",
        "Both say the same to OpenAI and Azure; one form for all turns is simpler to read and to test.",
        "OpenAI API reference, Responses: input and EasyInputMessage",
        _body(_input_as_parts),
    ),
    Difference(
        ("openai-responses", "azure-responses"),
        "body.input[].type",
        "an assistant turn without a type",
        "type: message",
        "llama.cpp answers 400 to an assistant turn without it; OpenAI has it as the default.",
        "a live llama.cpp server; OpenAI API reference, Responses: EasyInputMessage.type",
        _body(_typed_assistant),
    ),
    Difference(
        ("openai-responses", "azure-responses"),
        "body.store",
        "left out: the service then stores the answer for 30 days",
        "store: false",
        "Every call stands alone, and no answer is left at a provider.",
        "OpenAI API reference, Responses: store (default true)",
        _body(lambda body: {"store": False, **body}),
    ),
    Difference(
        ("openrouter",),
        "body.stream",
        "stream: false in every call",
        "left out",
        "false is the default.",
        "OpenRouter API reference, Chat: stream",
        _body(lambda body: {key: value for key, value in body.items() if (key, value) != ("stream", False)}),
    ),
    Difference(
        ("gemini",),
        "body, names",
        "snake_case in parts that it passes on unread (mime_type, thinking_level, parameters_json_schema)",
        "camelCase everywhere",
        "The JSON form of protobuf takes both; camelCase is the documented one.",
        "Gemini API reference; ProtoJSON format: parsers accept both names",
        _body(_camel),
    ),
    Difference(
        ("gemini",),
        "body.contents[].parts[].inlineData.data",
        "base64 with the URL alphabet",
        "base64 with the standard alphabet, as the caller's data: address has it",
        "The JSON form of protobuf takes both alphabets.",
        "ProtoJSON format: bytes",
        _body(_standard_base64),
    ),
    Difference(
        ("gemini",),
        "body.systemInstruction.role",
        "role: user",
        "left out",
        "A system instruction has no role that counts.",
        "Gemini API reference, GenerateContentRequest.systemInstruction (text only)",
        _body(_system_without_role),
    ),
    Difference(
        ("gemini",),
        "body.generationConfig",
        "an empty object when the config sets none of its fields",
        "left out",
        "An empty object says nothing.",
        "Gemini API reference, GenerateContentRequest.generationConfig (optional)",
        _body(_without_empty),
    ),
)

#: Those that only the request of a stream meets.
STREAM_DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        ("openrouter",),
        "body.stream_options",
        "left out",
        "include_usage: true",
        "One body for every host of the dialect; OpenRouter sends the usage anyway.",
        "OpenRouter API reference, usage accounting: stream_options has no effect",
        _body(lambda body: {"stream_options": {"include_usage": True}, **body}),
    ),
)
