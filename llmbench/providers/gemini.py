"""The Gemini wire: generateContent, text and images in, text and tool calls out.

Source of the forms: the Gemini API reference, and requests recorded from Google's own client. What this
wire has no place for is refused with a ParamError, never left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ParamError
from llmbench.messages import Message
from llmbench.providers.base import Reply
from llmbench.providers.extra_body import with_extra
from llmbench.providers.gemini_reply import read_reply
from llmbench.providers.gemini_stream import GeminiAssembler
from llmbench.providers.gemini_turns import contents_of, media_resolution_of, text_of
from llmbench.providers.json_readers import as_mapping

_DEFAULT_VERSION: Final = "v1"
_WHOLE: Final = ":generateContent"
_IN_PIECES: Final = ":streamGenerateContent?alt=sse"
_VERSION_AT_END: Final = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?/?\Z")
#: Source: the Gemini API reference, GenerationConfig. What is not named here keeps its name there.
_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "max_tokens": "maxOutputTokens",
        "top_p": "topP",
        "top_k": "topK",
        "stop": "stopSequences",
        "presence_penalty": "presencePenalty",
        "frequency_penalty": "frequencyPenalty",
    }
)
_MODES: Final[Mapping[str, str]] = {"auto": "AUTO", "none": "NONE", "required": "ANY"}


class GeminiWire:
    """POST {base}/{api_version}/models/{model}:generateContent."""

    names = _NAMES

    def path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The path below the base URL; a base that ends in a version already keeps its own."""
        return path_of(spec, endpoint)

    def body(
        self,
        spec: ModelSpec,
        messages: tuple[Message, ...],
        params: Mapping[str, Any],
        instruction: str | None,
        extra_body: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The request body; every system turn and the instruction become the one systemInstruction.

        Raises:
            ParamError: a turn, a parameter or a key of extra_body has no place in a Gemini request.
        """
        del spec  # the model is in the path
        system = [text_of(turn) for turn in messages if turn.role in ("system", "developer")]
        body: dict[str, Any] = {"contents": contents_of(messages)}
        if system or instruction is not None:
            texts = [*system, *([] if instruction is None else [instruction])]
            body["systemInstruction"] = {"parts": [{"text": "\n\n".join(texts)}]}
        if "tools" in params:
            body["tools"] = _tools(params["tools"])
        if "tools" in params or "tool_choice" in params:
            body |= _tool_config(params.get("tool_choice"), params.get("tools"))
        settings = _generation_config(params)
        if resolution := media_resolution_of(messages):
            settings["mediaResolution"] = resolution
        if settings:
            body["generationConfig"] = settings
        merged = with_extra(body, extra_body)
        thinking = as_mapping(as_mapping(merged.get("generationConfig")).get("thinkingConfig"))
        if {"thinkingBudget", "thinkingLevel"} <= set(thinking):
            raise ParamError("thinkingBudget and thinkingLevel exclude each other: give one of them")
        return merged

    def parse(
        self, payload: Mapping[str, Any], headers: Mapping[str, str], sent: Mapping[str, Any] | None = None
    ) -> Reply:
        """The first candidate of an answer.

        Raises:
            ProviderError: kind malformed; the payload holds no candidate and no reason for none.
        """
        del sent  # every answer says itself how it ended
        return read_reply(payload, headers)

    def stream_path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The path for an answer in pieces, as server-sent events: without `alt` it is one JSON array."""
        return self.path(spec, endpoint).removesuffix(_WHOLE) + _IN_PIECES

    def stream_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a whole answer: the path asks for pieces, and each of them has the usage."""
        return dict(body)

    def assembler(self, sent: Mapping[str, Any] | None = None) -> GeminiAssembler:
        """What puts one streamed answer together."""
        del sent
        return GeminiAssembler(self.parse)


def path_of(spec: ModelSpec, endpoint: Endpoint) -> str:
    """The path of generateContent below the base URL; a base that ends in a version keeps its own."""
    version = spec.api_version or endpoint.api_version or _DEFAULT_VERSION
    has_version = _VERSION_AT_END.search(endpoint.base_url or "") is not None
    kind, slash, name = spec.model_id.rpartition("/")
    if not (slash and kind in ("models", "tunedModels")):
        kind, name = "models", spec.model_id
    start = "" if has_version else f"/{quote(version, safe='')}"
    return f"{start}/{kind}/{quote(name, safe='')}{_WHOLE}"


def _generation_config(params: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name, value in params.items():
        if name in ("tools", "tool_choice"):
            continue
        if name == "stopSequences":
            config[name] = [value] if isinstance(value, str) else list(value)
        elif name in ("thinkingLevel", "thinkingBudget"):
            config["thinkingConfig"] = {name: value}
        elif name == "response_format":
            config |= _response_format(value)
        else:
            config[name] = value
    return config


def _response_format(value: Mapping[str, Any]) -> dict[str, Any]:
    """JSON mode, or a schema; the service enforces any schema, so that name and strict have no field."""
    asked: dict[str, Any] = {"responseMimeType": "application/json"}
    if value.get("type") == "json_schema":
        asked["responseJsonSchema"] = value["json_schema"]["schema"]
    return asked


def _tools(tools: object) -> list[dict[str, Any]]:
    """Functions in the Chat Completions form as one list of declarations; Gemini's own tools as they are."""
    declarations: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    for index, tool in enumerate(tools if isinstance(tools, (list, tuple)) else [tools]):
        if isinstance(tool, Mapping) and tool.get("type") == "function":
            declarations.append(_declaration(index, as_mapping(tool.get("function"))))
        elif isinstance(tool, Mapping) and "type" not in tool:
            own.append(dict(tool))
        else:
            raise ParamError(f"tools[{index}]: neither a function nor a tool of Gemini: {tool!r:.80}")
    return [*([{"functionDeclarations": declarations}] if declarations else []), *own]


def _declaration(index: int, function: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [key for key in function if key not in ("name", "description", "parameters", "strict")]
    if unknown or not isinstance(function.get("name"), str):
        said = f"does not know {', '.join(unknown)}" if unknown else "needs a name"
        raise ParamError(f"tools[{index}].function: Gemini {said}")
    names = {"name": "name", "description": "description", "parameters": "parametersJsonSchema"}
    return {name: function[key] for key, name in names.items() if function.get(key) is not None}


def _tool_config(choice: object, tools: object) -> dict[str, Any]:
    """The toolConfig; a function that is `strict` asks for mode VALIDATED where the model may choose."""
    is_strict = any(
        as_mapping(as_mapping(tool).get("function")).get("strict") is True
        for tool in (tools if isinstance(tools, (list, tuple)) else [])
    )
    if isinstance(choice, str) and choice in _MODES:
        mode = _MODES[choice]
        config: dict[str, Any] = {"mode": "VALIDATED" if is_strict and mode == "AUTO" else mode}
    elif choice is None:
        if not is_strict:
            return {}
        config = {"mode": "VALIDATED"}
    elif isinstance(choice, Mapping) and choice.get("type") == "function":
        name = as_mapping(choice.get("function")).get("name")
        config = {"mode": "ANY", "allowedFunctionNames": [name]}
    elif isinstance(choice, Mapping) and "type" not in choice:
        return {"toolConfig": dict(choice)}
    else:
        raise ParamError(f"tool_choice {choice!r:.80} has no place in a Gemini request")
    return {"toolConfig": {"functionCallingConfig": config}}
