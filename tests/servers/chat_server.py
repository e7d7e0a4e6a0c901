"""A loopback Chat Completions server with a script: statuses, bodies, delays, resets; it keeps what it got.

It runs in its own thread and speaks plain HTTP/1.1 over asyncio streams, so that the real httpx transport
meets real sockets.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.servers.loopback import LoopbackServer

Fault = Literal["reset", "close", "truncate", "hang"]


@dataclass(frozen=True)
class Step:
    """One scripted answer. `body` is JSON data, text or bytes; `delay_s` passes before it is sent."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    fault: Fault | None = None


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)


def completion(
    text: str | None = "ok",
    *,
    finish_reason: str | None = "stop",
    usage: Mapping[str, Any] | None = None,
    **message: Any,
) -> dict[str, Any]:
    """A Chat Completions answer."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "served-model",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": 12, "completion_tokens": 4} if usage is None else dict(usage),
    }


def failure(status: int, code: object = None, message: str = "it failed", **headers: str) -> Step:
    """An error answer in the OpenAI form; header names are written with underscores."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Step({"error": {"message": message, "code": code}}, status=status, headers=names)


class ChatServer(LoopbackServer):
    """Answers by model id: `server.script["m-a"] = [Step(...), ...]`; the last step of a list repeats."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Received] = []
        self.script: dict[str, list[Step]] = {}
        self.answer: Callable[[Received], Step] = self._by_model
        self._turns: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def models(self) -> list[str]:
        """The model ids asked for, in order."""
        return [request.json["model"] for request in self.received]

    def _by_model(self, request: Received) -> Step:
        model = request.json["model"]
        steps = self.script.get(model, [Step(completion(f"answer of {model}"))])
        turn = self._turns.get(model, 0)
        self._turns[model] = turn + 1
        return steps[min(turn, len(steps) - 1)]

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Received(method, path, headers, raw)
        self.received.append(request)
        step = self.answer(request)
        if step.delay_s:
            await asyncio.sleep(step.delay_s)
        return await self._send(step, writer)

    async def _send(self, step: Step, writer: asyncio.StreamWriter) -> bool:
        if step.fault == "hang":
            await asyncio.sleep(3600)
        if step.fault == "reset":
            linger = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if step.fault in ("reset", "close"):
            return False
        body = step.body if isinstance(step.body, bytes) else json.dumps(step.body).encode()
        if isinstance(step.body, str):
            body = step.body.encode()
        given = {"content-type": "application/json", "content-length": str(len(body)), **step.headers}
        lines = [f"HTTP/1.1 {step.status} X", *(f"{name}: {value}" for name, value in given.items())]
        sent = body[: len(body) // 2] if step.fault == "truncate" else body
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + sent)
        await writer.drain()
        return step.fault is None
