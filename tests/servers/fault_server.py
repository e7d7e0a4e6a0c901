"""A loopback provider that misbehaves: the model id of a request names the fault that it meets.

It speaks raw HTTP/1.1 over asyncio streams in a thread of its own, because no library would let it break the
protocol on purpose; with a certificate it speaks HTTPS. What each fault does stands in `faults.py`.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, cast, get_args

from tests.servers.chat_server import Step
from tests.servers.loopback import LoopbackServer

Dialect = Literal["chat", "azure", "openrouter", "responses", "gemini"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)
#: Where a dialect's providers have their base URL on the server.
BASES: Mapping[Dialect, str] = {
    "chat": "/chat/v1",
    "azure": "/azure",
    "openrouter": "/openrouter/api/v1",
    "responses": "/responses/v1",
    "gemini": "/gemini",
}
_GEMINI_PATH = re.compile(r"/models/(?P<model>[^/:]+):(?P<verb>\w+)")
_AZURE_PATH = re.compile(r"/deployments/(?P<model>[^/]+)/")
_WORKFLOW_PATH = re.compile(r"/workflows/accounts/\w+/models/(?P<model>[^/]+)")


@dataclass
class Exchange:
    """One request and the raw way back to its sender."""

    dialect: Dialect
    model: str
    turn: int
    is_stream: bool
    headers: Mapping[str, str]
    json: Any
    port: int
    writer: asyncio.StreamWriter = field(repr=False)
    is_open: bool = True
    path: str = ""

    async def send(self, step: Step) -> None:
        """A whole answer in good order."""
        body = step.body if isinstance(step.body, bytes) else _encoded(step.body)
        await self.head(step.status, {"content-length": str(len(body)), **step.headers})
        await self.raw(body)

    async def head(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """A status line and headers; the body is the fault's own business."""
        given = {"content-type": "application/json", **(headers or {})}
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in given.items())]
        await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        """One piece of a body in chunked encoding."""
        await self.raw(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def hang(self) -> None:
        """Nothing more, until the client goes or the server ends."""
        await asyncio.sleep(3600)

    def close(self) -> None:
        """End the connection in good order; what was sent still arrives."""
        self.is_open = False

    def reset(self) -> None:
        """End the connection with RST in place of FIN."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.is_open = False


Act = Callable[[Exchange], Awaitable[None]]


class FaultServer(LoopbackServer):
    """Serves `acts[model]`; counts the requests of each (dialect, model) in `seen`.

    What follows a dot in a model id only tells models apart: `drip` and `drip.2` meet the same fault.
    With `context` it speaks TLS. Anything at a path outside the dialects, such as a followed redirect,
    is kept in `strays` with its headers.
    """

    def __init__(self, acts: Mapping[str, Act], *, context: ssl.SSLContext | None = None) -> None:
        super().__init__(context)
        self.seen: Counter[tuple[str, str]] = Counter()
        self.strays: list[tuple[str, Mapping[str, str]]] = []
        self._acts = acts

    def url(self, dialect: Dialect, *, host: str = "127.0.0.1", scheme: str = "http") -> str:
        """The base URL of a dialect's providers."""
        return f"{scheme}://{host}:{self.port}{BASES[dialect]}"

    async def _start(self) -> asyncio.Server:
        self._loop.set_exception_handler(lambda _loop, _context: None)  # failed handshakes are the point
        return await super()._start()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first = await reader.readexactly(1)
        if first == b"\x16":  # a TLS handshake at a port that does not speak it
            writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            return False
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = head[0].split(" ")[1]
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))) or b"{}")
        dialect = path.split("/")[1]
        if dialect not in DIALECTS:
            self.strays.append((path, headers))
            return False
        model, is_stream = _asked_for(path, body)
        self.seen[dialect, model] += 1
        exchange = Exchange(
            cast("Dialect", dialect),
            model,
            self.seen[dialect, model],
            is_stream,
            headers,
            body,
            self.port,
            writer,
            path=path,
        )
        await self._acts[model.partition(".")[0]](exchange)
        return exchange.is_open


class SilentPort:
    """A port that takes connections and never says a word."""

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()


def closed_port() -> int:
    """A port where nothing listens: it was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _asked_for(path: str, body: Mapping[str, Any]) -> tuple[str, bool]:
    """The model of a request, from its path or its body, and whether it asks for a stream."""
    if found := _GEMINI_PATH.search(path):
        return found["model"], found["verb"].startswith("stream")
    named = _AZURE_PATH.search(path) or _WORKFLOW_PATH.search(path)
    return named["model"] if named else str(body["model"]), body.get("stream") is True


def _encoded(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
