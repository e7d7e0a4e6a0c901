"""Answers without a network, for tests: from a list, or from a function of the request.

A test makes one transport and gives it to its client:

    scripted = ScriptedTransport(["first answer", "second answer"])
    client = LLMClient("configs", transport=lambda: scripted)
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from llmbench.errors import ProviderError
from llmbench.messages import Usage
from llmbench.providers.base import HttpReply, HttpStream

_EVENT_STREAM: Final = {"content-type": "text/event-stream"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as a transport saw it, without its headers. `path` includes the query."""

    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StreamReply:
    """An answer that comes in pieces. A ProviderError among them breaks the connection at that place."""

    chunks: Sequence[bytes | ProviderError]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: dict(_EVENT_STREAM))


Answer = HttpReply | StreamReply | str | ProviderError


def chat_reply(
    text: str, *, usage: Usage | None = None, finish_reason: str = "stop", status: int = 200
) -> HttpReply:
    """A Chat Completions answer; the usage is 1 token in and 1 out unless given."""
    message = {"role": "assistant", "content": text}
    payload = {
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message}],
        "usage": _chat_usage(usage),
    }
    return HttpReply(status, {}, json.dumps(payload, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def chat_stream_reply(
    pieces: Iterable[str],
    *,
    usage: Usage | None = None,
    finish_reason: str | None = "stop",
    breaks_with: ProviderError | None = None,
) -> StreamReply:
    """A Chat Completions stream, one chunk a piece.

    Args:
        pieces: the texts.
        usage: 1 token in and 1 out unless given.
        finish_reason: None ends the stream after the last piece, as a host does that dies quietly.
        breaks_with: the connection breaks with this error after the last piece.
    """
    chunks: list[bytes | ProviderError] = [_chat_event({"content": piece}, None) for piece in pieces]
    if breaks_with is not None:
        chunks.append(breaks_with)
    elif finish_reason is not None:
        chunks += [_chat_event({}, finish_reason), _event({"choices": [], "usage": _chat_usage(usage)})]
        chunks.append(b"data: [DONE]\n\n")
    return StreamReply(chunks)


def _chat_event(delta: Mapping[str, str], finish_reason: str | None) -> bytes:
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def _event(data: Mapping[str, Any]) -> bytes:
    text = json.dumps({"object": "chat.completion.chunk", **data}, ensure_ascii=False)
    return f"data: {text}\n\n".encode("utf-8", "backslashreplace")


def _chat_usage(usage: Usage | None) -> dict[str, int]:
    counted = usage or Usage(1, 1)
    return {"prompt_tokens": counted.input_tokens, "completion_tokens": counted.output_tokens}


class ScriptedTransport:
    """Answers from a list, in order, or from a function of the request. Keeps what it was asked.

    An answer is a text (sent as a chat completion, or as a stream of one piece where a stream was asked
    for), a whole HttpReply, a StreamReply, or a ProviderError to raise. Give it to a client as
    `transport=lambda: scripted`.
    """

    def __init__(self, answers: Iterable[Answer] | Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []
        self._answer = answers if callable(answers) else _in_turn(answers)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float) -> HttpReply:
        """The next answer; see Transport.

        Raises:
            ProviderError: the answer is one, or the list is used up (kind connect).
        """
        del headers, connect_s
        answer = self._next(url, body)
        if isinstance(answer, str):
            return chat_reply(answer)
        if isinstance(answer, StreamReply):
            return HttpReply(answer.status, answer.headers, b"".join([c async for c in _sent(answer)]))
        return answer

    async def get(self, url: str, headers: Mapping[str, str], connect_s: float) -> HttpReply:
        """The next answer, to a request without a body; see `post`."""
        return await self.post(url, headers, b"{}", connect_s)

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float
    ) -> AsyncIterator[HttpStream]:
        """The next answer in pieces; see Transport.

        Raises:
            ProviderError: the answer is one, or the list is used up (kind connect).
        """
        del headers, connect_s
        answer = self._next(url, body)
        if isinstance(answer, str):
            answer = chat_stream_reply([answer])
        if isinstance(answer, HttpReply):
            answer = StreamReply([answer.body], answer.status, answer.headers)
        async with aclosing(_sent(answer)) as chunks:
            yield HttpStream(answer.status, answer.headers, chunks)

    def _next(self, url: str, body: bytes) -> HttpReply | StreamReply | str:
        asked = Asked(path_of(url), json.loads(body))
        self.asked.append(asked)
        answer = self._answer(asked)
        if isinstance(answer, ProviderError):
            raise answer
        return answer

    async def aclose(self) -> None:
        """Nothing is open."""


async def _sent(reply: StreamReply) -> AsyncGenerator[bytes, None]:
    for chunk in reply.chunks:
        if isinstance(chunk, ProviderError):
            raise chunk
        yield chunk


def _in_turn(answers: Iterable[Answer]) -> Callable[[Asked], Answer]:
    waiting = list(answers)
    given = iter(waiting)

    def answer(asked: Asked) -> Answer:
        found = next(given, None)
        if found is None:
            message = f"the script's {len(waiting)} answers are used up; {asked.path} was asked once more"
            raise ProviderError(message, kind="connect")
        return found

    return answer


def path_of(url: str) -> str:
    """The path of an address with its query."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
