"""A streamed Chat Completions answer, put together again as the completion it would have been.

Source of the forms: the OpenAI API reference, streams recorded from llama.cpp, and Azure's and OpenRouter's
pages: Azure's first chunk has no choice, the usage comes in a chunk without one (OpenRouter: with one), and
OpenRouter reports failures in a chunk with a top-level `error`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmbench.providers.base import Reply
from llmbench.providers.failures import error_from
from llmbench.providers.json_readers import as_mapping, as_mappings, as_text
from llmbench.providers.sse import event_object, unfinished


class ChatAssembler:
    """Joins the deltas of the first choice; see Assembler. A finish reason or `[DONE]` is the end mark."""

    def __init__(self, parse: Callable[[Mapping[str, Any], Mapping[str, str]], Reply]) -> None:
        self.has_output = False
        self.is_done = False
        self._parse = parse
        self._head: dict[str, Any] = {}
        self._finish: str | None = None
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}

    def feed(self, data: str) -> str:
        """Take one chunk; see Assembler."""
        chunk = event_object(data)
        if chunk is None:
            self.is_done = True
            return ""
        choice = _first_choice(chunk)
        for holder in (chunk, choice):
            if holder.get("error"):
                raise error_from(200, {}, holder)
        self._head |= {name: chunk[name] for name in ("id", "model", "usage") if chunk.get(name)}
        self._finish = as_text(choice.get("finish_reason")) or self._finish
        # Hosts that cannot stream an answer send all of it as the `message` of one chunk.
        return self._take(as_mapping(choice.get("delta") or choice.get("message")))

    def _take(self, delta: Mapping[str, Any]) -> str:
        text = _text(delta.get("content"))
        self._texts.append(text)
        self._refusals.append(as_text(delta.get("refusal")) or "")
        calls = as_mappings(delta.get("tool_calls"))
        for part in calls:
            self._join(part)
        self.has_output = self.has_output or bool(text or self._refusals[-1] or calls)
        return text

    def _join(self, part: Mapping[str, Any]) -> None:
        """Add a part to the call of its index. A host that counts none starts a call with each new id."""
        index = part.get("index")
        if not isinstance(index, int):
            last = max(self._calls, default=-1)
            known = last >= 0 and part.get("id") in (None, "", self._calls[last].get("id"))
            index = last if known else last + 1
        call = self._calls.setdefault(index, _empty_call())
        call |= {name: value for name, value in part.items() if value and name not in ("index", "function")}
        function, added = call["function"], as_mapping(part.get("function"))
        function["name"] = function["name"] or added.get("name")
        arguments = added.get("arguments")
        if isinstance(arguments, str):
            if isinstance(function["arguments"], str):
                function["arguments"] += arguments
        elif arguments:
            function["arguments"] = arguments  # an object and not its text: some hosts send it in one part

    def reply(self, headers: Mapping[str, str]) -> Reply:
        """The completion as the wire reads it; see Assembler."""
        if self._finish is None and not self.is_done:
            raise unfinished()
        message = {
            "role": "assistant",
            "content": "".join(self._texts),
            "refusal": "".join(self._refusals) or None,
            "tool_calls": [self._calls[index] for index in sorted(self._calls)],
        }
        choice = {"index": 0, "finish_reason": self._finish, "message": message}
        return self._parse({**self._head, "choices": [choice]}, headers)


def _first_choice(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    """The choice that is read, the only one that is ever asked for; empty where the chunk has none."""
    choices = as_mappings(chunk.get("choices"))
    return next((choice for choice in choices if not choice.get("index")), {})


def _empty_call() -> dict[str, Any]:
    return {"type": "function", "function": {"name": None, "arguments": ""}}


def _text(content: object) -> str:
    """The text of a delta: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(as_text(part.get("text")) or "" for part in as_mappings(content))
