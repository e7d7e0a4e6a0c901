"""The Responses dialect: an answer as one `response` object, or as its events. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmbench.messages import Response, Usage
from llmbench.serve.chat import facts, text_of, tool_calls
from llmbench.serve.problems import Problem


def response_object(
    call_id: str, created: int, model: str, reply: Response | None, echo: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The whole answer; without a reply, the object of a call that is under way. `echo` is what was asked."""
    base: dict[str, Any] = {
        "id": f"resp_{call_id}",
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "store": False,
        "usage": None,
        **(echo or {}),
    }
    if reply is None:
        return base
    cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(reply.finish_reason)
    status = "completed" if cut is None else "incomplete"
    return {
        **base,
        "status": status,
        "incomplete_details": None if cut is None else {"reason": cut},
        "output": _output_items(call_id, reply, status),
        "usage": _usage(reply.usage),
        "llmbench": facts(reply),
    }


def _output_items(call_id: str, reply: Response, status: str) -> list[dict[str, Any]]:
    """The message, where there is one, then the calls of tools."""
    items = [] if reply.tool_calls and not reply.text else [_message(call_id, _said(reply), status)]
    return items + [_call_item(call, status) for call in tool_calls(reply)]


def _said(reply: Response) -> dict[str, Any]:
    if reply.finish_reason == "refusal":
        return {"type": "refusal", "refusal": reply.text}
    return _text_part(text_of(reply))


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(call_id: str, part: Mapping[str, Any] | None, status: str) -> dict[str, Any]:
    content = [] if part is None else [part]
    head = {"id": f"msg_{call_id}", "type": "message", "role": "assistant", "status": status}
    return {**head, "content": content}


def _call_item(call: Mapping[str, Any], status: str) -> dict[str, Any]:
    function = call["function"]
    named = {"call_id": call["id"], "name": function["name"], "arguments": function["arguments"]}
    return {"id": f"fc_{call['id']}", "type": "function_call", "status": status, **named}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


@dataclass(slots=True)
class Events:
    """The events of one streamed answer, numbered in order.

    `model` is the model that is under way, `echo` what of the request every response object repeats.
    """

    call_id: str
    created: int
    echo: Mapping[str, Any]
    model: str = ""
    _number: int = 0
    _texts: list[str] = field(default_factory=list)
    _has_begun: bool = False

    def piece(self, text: str) -> list[dict[str, Any]]:
        """A part of the text; the first one opens the response and its message."""
        events = [*self._opening(), *([] if self._texts else self._opened_message())]
        self._texts.append(text)
        delta = {**self._place(), "delta": text, "logprobs": []}
        return [*events, self._event("response.output_text.delta", **delta)]

    def ending(self, reply: Response) -> list[dict[str, Any]]:
        """What comes after the text: the parts as they are in the end, calls of tools, the whole response."""
        self.model = reply.model
        events = list(self._opening())
        done = response_object(self.call_id, self.created, reply.model, reply, self.echo)
        if self._texts:
            whole = _message(self.call_id, _text_part("".join(self._texts)), done["status"])  # as delivered
            events += self._closed_message(whole)
            done["output"] = [whole, *_calls_of(done["output"])]
        for index, item in enumerate(done["output"]):
            if index or not self._texts:
                events += self._whole_item(index, item)
        last = "response.completed" if done["status"] == "completed" else "response.incomplete"
        return [*events, self._event(last, response=done)]

    def failed(self, problem: Problem) -> list[dict[str, Any]]:
        """The end of an answer that broke off."""
        error = {"code": problem.code, "message": str(problem), "param": problem.param}
        return [self._event("error", **error)]

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **fields}

    def _opening(self) -> Iterator[dict[str, Any]]:
        if not self._has_begun:
            self._has_begun = True
            begun = response_object(self.call_id, self.created, self.model, None, self.echo)
            yield self._event("response.created", response=begun)
            yield self._event("response.in_progress", response=begun)

    def _place(self) -> dict[str, Any]:
        return {"item_id": f"msg_{self.call_id}", "output_index": 0, "content_index": 0}

    def _opened_message(self) -> list[dict[str, Any]]:
        item = _message(self.call_id, None, "in_progress")
        return [
            self._event("response.output_item.added", output_index=0, item=item),
            self._event("response.content_part.added", **self._place(), part=_text_part("")),
        ]

    def _closed_message(self, item: Mapping[str, Any]) -> list[dict[str, Any]]:
        part, place = item["content"][0], self._place()
        return [
            self._event("response.output_text.done", **place, text=part["text"], logprobs=[]),
            self._event("response.content_part.done", **place, part=part),
            self._event("response.output_item.done", output_index=0, item=item),
        ]

    def _whole_item(self, index: int, item: Mapping[str, Any]) -> list[dict[str, Any]]:
        """An item that came at once: a call of a tool, or a message of no pieces."""
        if item["type"] != "function_call":
            added = {**item, "status": "in_progress", "content": []}
            return [
                self._event("response.output_item.added", output_index=index, item=added),
                self._event("response.output_item.done", output_index=index, item=item),
            ]
        place = {"item_id": item["id"], "output_index": index}
        added, arguments = {**item, "status": "in_progress", "arguments": ""}, item["arguments"]
        return [
            self._event("response.output_item.added", output_index=index, item=added),
            self._event("response.function_call_arguments.delta", **place, delta=arguments),
            self._event(
                "response.function_call_arguments.done", **place, name=item["name"], arguments=arguments
            ),
            self._event("response.output_item.done", output_index=index, item=item),
        ]


def _calls_of(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item for item in items if item["type"] == "function_call"]
