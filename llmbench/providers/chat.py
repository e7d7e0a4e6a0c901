"""The Chat Completions wire: any OpenAI-compatible host, the embedded servers included.

Source of the forms: the OpenAI API reference, and requests and replies recorded from llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ProviderError
from llmbench.messages import FinishReason, Message, Usage
from llmbench.providers.azure_paths import below_openai, dated_version, is_plain
from llmbench.providers.base import Reply, problem_of
from llmbench.providers.chat_stream import ChatAssembler
from llmbench.providers.failures import error_from
from llmbench.providers.json_readers import as_cost, as_count, as_mapping, as_mappings, as_text

_FINISH: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
}


class ChatWire:
    """POST {base}/chat/completions, or the path of an Azure deployment."""

    names: Final[Mapping[str, str]] = MappingProxyType({})

    def path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The path below the base URL (which ends in /v1 on most hosts).

        An Azure resource without a dated API version is asked through its v1 path.

        Raises:
            ConfigError: there is no such Azure API version.
        """
        if is_plain(endpoint):
            return "/chat/completions"
        version = dated_version(spec, endpoint)
        if version is None:
            return below_openai(endpoint, "/v1/chat/completions")
        deployment = quote(spec.model_id, safe="")
        path = f"/deployments/{deployment}/chat/completions?api-version={version}"
        return below_openai(endpoint, path)

    def body(
        self,
        spec: ModelSpec,
        messages: tuple[Message, ...],
        params: Mapping[str, Any],
        instruction: str | None,
        extra_body: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The request body; an instruction joins the first system message or becomes one.

        A level or a budget under the name `reasoning` is written as OpenRouter's object of that name.
        """
        turns = [_turn(message) for message in messages]
        if instruction is not None:
            if turns[0]["role"] == "system" and isinstance(turns[0]["content"], str):
                turns[0]["content"] += "\n\n" + instruction
            else:
                turns.insert(0, {"role": "system", "content": instruction})
        if "reasoning" in params:
            params = {**params, "reasoning": _reasoning(params["reasoning"])}
        return {"model": spec.model_id, "messages": turns, **params, **extra_body}

    def parse(
        self, payload: Mapping[str, Any], headers: Mapping[str, str], sent: Mapping[str, Any] | None = None
    ) -> Reply:
        """The first choice of a completion.

        Raises:
            ProviderError: the payload has no choice, or the choice reports an error.
        """
        del sent  # every answer says itself how it ended
        choice = _first_choice(payload, headers)
        message = choice.get("message")
        if not isinstance(message, Mapping):
            raise ProviderError("the choice holds no message", kind="malformed", status_code=200)
        refusal = as_text(message.get("refusal"))
        text = _text(message.get("content")) or refusal or ""
        tool_calls = tuple(as_mappings(message.get("tool_calls")))
        finish = _finish(choice, has_answer=bool(text or tool_calls), has_refused=refusal is not None)
        request_id = headers.get("x-request-id") or as_text(payload.get("id"))
        return Reply(
            text=text,
            finish_reason=finish,
            usage=_usage(payload.get("usage")),
            request_id=request_id,
            served_model=as_text(payload.get("model")),
            reported_usd=as_cost(as_mapping(payload.get("usage")).get("cost")),
            tool_calls=tool_calls,
            problem=problem_of(finish, text, request_id),
        )

    def stream_path(self, spec: ModelSpec, endpoint: Endpoint) -> str:
        """The path for an answer in pieces: the same."""
        return self.path(spec, endpoint)

    def stream_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body that asks for pieces, and for the usage in the last of them.

        `stream_options` of the body is sent as it is; null leaves it out, for a host that refuses it.
        """
        streamed = {"stream_options": {"include_usage": True}, **body, "stream": True}
        return {name: value for name, value in streamed.items() if (name, value) != ("stream_options", None)}

    def assembler(self, sent: Mapping[str, Any] | None = None) -> ChatAssembler:
        """What puts one streamed answer together."""
        del sent
        return ChatAssembler(self.parse)


def _turn(message: Message) -> dict[str, Any]:
    """One turn; a turn that only calls tools has no content, and some hosts refuse an empty text."""
    turn = message.as_dict()
    return {**turn, "content": None} if turn["content"] == "" and turn.get("tool_calls") else turn


def _reasoning(value: object) -> object:
    """OpenRouter's form of a level or of a number of tokens; an object as it is."""
    if isinstance(value, str):
        return {"effort": value}
    is_budget = isinstance(value, int) and not isinstance(value, bool)
    return {"max_tokens": value} if is_budget else value


def _finish(choice: Mapping[str, Any], *, has_answer: bool, has_refused: bool) -> FinishReason:
    """The normalised finish reason; an answer without content is `empty` unless something cut it off."""
    finish = _FINISH.get(str(choice.get("finish_reason")), "stop")
    if has_refused:
        return "refusal"
    return "empty" if finish in ("stop", "tool_calls") and not has_answer else finish


def _first_choice(payload: Mapping[str, Any], headers: Mapping[str, str]) -> Mapping[str, Any]:
    choices = payload.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, Mapping):
        raise ProviderError("the answer holds no choice", kind="malformed", status_code=200)
    if choice.get("error"):
        raise error_from(200, headers, choice)
    return choice


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def _usage(value: object) -> Usage:
    usage = as_mapping(value)
    inputs, outputs = (
        as_mapping(usage.get("prompt_tokens_details")),
        as_mapping(usage.get("completion_tokens_details")),
    )
    tokens_in, tokens_out = as_count(usage.get("prompt_tokens")), as_count(usage.get("completion_tokens"))
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cached_tokens=min(as_count(inputs.get("cached_tokens")), tokens_in),
        reasoning_tokens=min(as_count(outputs.get("reasoning_tokens")), tokens_out),
    )
