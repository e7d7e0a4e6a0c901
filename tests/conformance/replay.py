"""A recorded request, said again as a caller of llmbench says it: messages and canonical options.

The way back to a body is our own: guard, then wire. What has no canonical name goes by extra_body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmbench.catalog import Capabilities, ModelSpec, ParamRules, Wire
from llmbench.prompts import as_messages
from llmbench.providers.send import wire_for
from llmbench.routing.params import guard, normalise
from llmbench.structuring import as_output_schema

_SAME = (
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "tools",
    "tool_choice",
    "verbosity",
    "response_format",
)
_STREAM = ("stream", "stream_options")


@dataclass
class Said:
    """A call, and the registry's names of the two parameters that a model may name itself."""

    messages: list[dict[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    max_tokens_key: str = "max_tokens"
    reasoning_key: str = "reasoning_effort"


def body_of(wire: Wire, said: Said) -> dict[str, Any]:
    """Our body for a call, its model left out."""
    rules = ParamRules(said.max_tokens_key, said.reasoning_key, "json_schema")
    spec = ModelSpec("m", "p", "m", wire, capabilities=Capabilities(tools=True), params=rules)
    options, _ = normalise({**said.options, **({"extra_body": said.extra} if said.extra else {})})
    schema = as_output_schema(options.get("response_format"))
    speaker = wire_for(spec)
    guarded = guard(spec, options, schema, speaker.names)
    made = speaker.body(
        spec, as_messages(said.messages), guarded.params, guarded.instruction, guarded.extra_body
    )
    return {key: value for key, value in made.items() if key != "model"}


def say(wire: Wire, body: Mapping[str, Any]) -> Said:
    """The call that a recorded body is."""
    given = {key: value for key, value in body.items() if key not in ("model", *_STREAM)}
    return {"chat": _chat, "responses": _responses, "gemini": _gemini}[wire](given)


def _chat(body: dict[str, Any]) -> Said:
    said = Said(body.pop("messages"))
    for key in ("max_completion_tokens", "max_tokens"):
        if key in body and "max_tokens" not in said.options and body[key] != 0:
            said.options["max_tokens"], said.max_tokens_key = body.pop(key), key
    if "reasoning_effort" in body:
        said.options["reasoning"] = body.pop("reasoning_effort")
    elif body.get("reasoning"):
        said.options["reasoning"], said.reasoning_key = body.pop("reasoning")["effort"], "reasoning"
    said.options |= {key: body.pop(key) for key in _SAME if key in body}
    said.extra = body
    return said


def _responses(body: dict[str, Any]) -> Said:
    given = body.pop("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    said = Said([_chat_turn(item) for item in items], max_tokens_key="max_output_tokens")
    if "instructions" in body:
        said.messages.insert(0, {"role": "system", "content": body.pop("instructions")})
    if "max_output_tokens" in body:
        said.options["max_tokens"] = body.pop("max_output_tokens")
    if "reasoning" in body:
        said.options["reasoning"], said.reasoning_key = body.pop("reasoning")["effort"], "reasoning"
    text = body.pop("text", {})
    if "verbosity" in text:
        said.options["verbosity"] = text["verbosity"]
    if "format" in text:
        inner = {key: value for key, value in text["format"].items() if key != "type"}
        said.options["response_format"] = {"type": text["format"]["type"], "json_schema": inner}
    if "tools" in body:
        said.options["tools"] = [
            {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}
            for tool in body.pop("tools")
        ]
    said.options |= {key: body.pop(key) for key in _SAME if key in body}
    body.pop("store", None)
    said.extra = body
    return said


def _chat_turn(item: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(item["content"], str):
        return dict(item)
    parts = []
    for part in item["content"]:
        if part["type"] == "input_text":
            parts.append({"type": "text", "text": part["text"]})
        else:
            image = {"url": part["image_url"], **({"detail": part["detail"]} if "detail" in part else {})}
            parts.append({"type": "image_url", "image_url": image})
    return {**item, "content": parts}


_GEMINI = {
    "maxOutputTokens": "max_tokens",
    "topP": "top_p",
    "topK": "top_k",
    "stopSequences": "stop",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "temperature": "temperature",
    "seed": "seed",
}


def _gemini(body: dict[str, Any]) -> Said:
    """`body` is in camelCase, as differences.as_ours leaves it."""
    said = Said([_gemini_turn(turn) for turn in body.pop("contents")], max_tokens_key="maxOutputTokens")
    if "systemInstruction" in body:
        parts = body.pop("systemInstruction")["parts"]
        said.messages.insert(0, {"role": "system", "content": parts[0]["text"]})
    config = dict(body.pop("generationConfig", {}))
    said.options = {name: config.pop(key) for key, name in _GEMINI.items() if key in config}
    thinking = dict(config.pop("thinkingConfig", {}))
    for key in ("thinkingLevel", "thinkingBudget"):
        if key in thinking and "reasoning" not in said.options:
            said.options["reasoning"], said.reasoning_key = thinking.pop(key), key
    if thinking:
        config["thinkingConfig"] = thinking
    if "responseJsonSchema" in config and config.pop("responseMimeType", None):
        said.options["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "reply", "schema": config.pop("responseJsonSchema")},
        }
    for tool in body.pop("tools", []):
        functions = [
            {"parameters" if key == "parametersJsonSchema" else key: value for key, value in each.items()}
            for each in tool["functionDeclarations"]
        ]
        said.options["tools"] = [{"type": "function", "function": function} for function in functions]
    if "toolConfig" in body:
        said.options["tool_choice"] = body.pop("toolConfig")
    said.extra = body | ({"generationConfig": config} if config else {})
    return said


def _gemini_turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    role = "assistant" if turn.get("role") == "model" else "user"
    parts = []
    for part in turn["parts"]:
        if "text" in part:
            parts.append({"type": "text", "text": part["text"]})
        else:
            inline = part["inlineData"]
            url = f"data:{inline['mimeType']};base64,{inline['data']}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
    return {"role": role, "content": parts}
