"""A streamed Responses answer: deltas for the reader, and the whole response in the last event.

Source of the forms: the OpenAI API reference, and a stream recorded from llama.cpp. `error` events come flat
and nested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmbench.providers.base import Reply
from llmbench.providers.failures import error_from
from llmbench.providers.json_readers import as_mapping, as_text
from llmbench.providers.sse import event_object, unfinished

_TERMINAL: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)
#: Deltas that are part of the answer without being its text.
_OTHER_OUTPUT: Final = frozenset({"response.refusal.delta", "response.function_call_arguments.delta"})


class ResponsesAssembler:
    """Reads events until the one that holds the whole response; see Assembler."""

    def __init__(self, parse: Callable[[Mapping[str, Any], Mapping[str, str]], Reply]) -> None:
        self.has_output = False
        self.is_done = False
        self._parse = parse
        self._response: Mapping[str, Any] | None = None
        self._items: list[Mapping[str, Any]] = []

    def feed(self, data: str) -> str:
        """Take one event; see Assembler."""
        event = event_object(data) or {}
        kind = as_text(event.get("type"))
        if event.get("error") or kind == "error":
            detail = event.get("error") or {name: event.get(name) for name in ("code", "message", "param")}
            raise error_from(200, {}, {"error": detail})
        if kind in _TERMINAL:
            self._response = as_mapping(event.get("response"))
            self.is_done = True
        if kind == "response.output_item.done":
            self._items.append(as_mapping(event.get("item")))
        text = as_text(event.get("delta")) or "" if kind == "response.output_text.delta" else ""
        is_call = as_mapping(event.get("item")).get("type") == "function_call"
        self.has_output = self.has_output or bool(text) or kind in _OTHER_OUTPUT or is_call
        return text

    def reply(self, headers: Mapping[str, str]) -> Reply:
        """The response of the last event as the wire reads it; see Assembler.

        Its items are those that came before, where a host leaves them out at the end.
        """
        if self._response is None:
            raise unfinished()
        return self._parse({**self._response, "output": self._response.get("output") or self._items}, headers)
