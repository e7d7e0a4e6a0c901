"""A streamed Gemini answer: each event is an answer of its own, and all of them together are the whole.

Source of the forms: the Gemini API reference, and streams as Google's own client reads them. There is no end
mark but a finish reason, or the reason why the prompt was blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmbench.providers.base import Reply
from llmbench.providers.failures import error_from
from llmbench.providers.json_readers import as_mapping, as_mappings, as_text
from llmbench.providers.sse import event_object, unfinished


class GeminiAssembler:
    """Joins the parts of the first candidate; see Assembler. Token counts grow: the last ones hold."""

    def __init__(self, parse: Callable[[Mapping[str, Any], Mapping[str, str]], Reply]) -> None:
        self.has_output = False
        self.is_done = False  # only the end of the body tells: counts may follow the finish reason
        self._parse = parse
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._candidate: dict[str, Any] = {}
        self._parts: list[Mapping[str, Any]] = []

    def feed(self, data: str) -> str:
        """Take one event; see Assembler."""
        event = event_object(data) or {}
        if event.get("error"):
            raise error_from(200, {}, event)
        self._usage |= as_mapping(event.get("usageMetadata"))
        names = ("promptFeedback", "modelVersion", "responseId")
        self._head |= {name: event[name] for name in names if event.get(name)}
        candidates = as_mappings(event.get("candidates"))
        candidate = next((found for found in candidates if not found.get("index")), None)
        if candidate is None:
            return ""
        self._candidate |= {name: value for name, value in candidate.items() if value is not None}
        parts = as_mappings(as_mapping(candidate.get("content")).get("parts"))
        self._parts += parts
        answer = [part for part in parts if not part.get("thought")]
        text = "".join(as_text(part.get("text")) or "" for part in answer)
        is_other = any("functionCall" in part or "inlineData" in part for part in answer)
        self.has_output = self.has_output or bool(text) or is_other
        return text

    def reply(self, headers: Mapping[str, str]) -> Reply:
        """The answer as the wire reads it; see Assembler."""
        is_blocked = as_mapping(self._head.get("promptFeedback")).get("blockReason")
        if not self._candidate.get("finishReason") and (self._candidate or not is_blocked):
            raise unfinished()
        candidate = {**self._candidate, "content": {"role": "model", "parts": self._parts}}
        candidates = {"candidates": [candidate]} if self._candidate else {}
        return self._parse({**self._head, **candidates, "usageMetadata": self._usage}, headers)
