"""A loopback server whose answer comes in pieces, with pauses between them: real streams, real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.servers.loopback import LoopbackServer

#: Bytes are sent as one chunk, a number is a pause in seconds; the words end the body.
Part = bytes | float | Literal["reset", "close", "hang"]


@dataclass(frozen=True)
class Play:
    """One answer in pieces, sent in chunked encoding. Without an ending word the body ends in good order."""

    parts: Sequence[Part]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})


class StreamServer(LoopbackServer):
    """Answers every request with the same play; counts connections, and those that the client left."""

    def __init__(self, play: Play) -> None:
        super().__init__()
        self.play = play
        self.connections = 0
        self.bodies: list[bytes] = []
        self.heads: list[str] = []
        self.was_left = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await super()._serve(reader, writer)

    def _left(self) -> None:
        self.was_left.set()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = int(head.lower().partition("content-length:")[2].partition("\r\n")[0])
        self.heads.append(head)
        self.bodies.append(await reader.readexactly(length))
        given = {**self.play.headers, "transfer-encoding": "chunked"}
        lines = [f"HTTP/1.1 {self.play.status} X", *(f"{name}: {value}" for name, value in given.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        for part in self.play.parts:
            if part == b"":
                continue  # an empty chunk would be the end of the body
            if isinstance(part, bytes):
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                await writer.drain()
            elif isinstance(part, float):
                await asyncio.sleep(part)
            else:
                return await self._end(part, reader, writer)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _end(
        self,
        how: Literal["reset", "close", "hang"],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        if how == "hang":
            await reader.read()  # ends when the client goes
            self.was_left.set()
        if how == "reset":
            await asyncio.sleep(0.05)  # what was sent before must arrive first: a reset overtakes it
            linger = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return False
