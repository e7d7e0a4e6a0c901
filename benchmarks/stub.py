"""A provider on loopback that costs as little as Python allows: the same Chat Completions answer each time.

    python benchmarks/stub.py [LATENCY_MS]

A request whose path begins with /busy is answered 429, so that a call must go to its second candidate.
Prints its port and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import sys

BODY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "stub",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "犬が走る。A dog runs along the beach."},
            }
        ],
        "usage": {"prompt_tokens": 120, "completion_tokens": 12, "total_tokens": 132},
    }
).encode()
BUSY = json.dumps(
    {"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}
).encode()


def _reply(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


OK_REPLY, BUSY_REPLY = _reply(b"200 OK", BODY), _reply(b"429 Too Many Requests", BUSY)


class Stub(asyncio.Protocol):
    """One connection: reads whole requests by their content-length, answers each in turn."""

    def __init__(self, latency_s: float) -> None:
        self.waiting = b""
        self.latency_s = latency_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while (end := self.waiting.find(b"\r\n\r\n")) >= 0:
            head = self.waiting[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self.waiting) < end + 4 + length:
                return
            is_busy = self.waiting.startswith(b"POST /busy")
            self.waiting = self.waiting[end + 4 + length :]
            reply = BUSY_REPLY if is_busy else OK_REPLY
            if self.latency_s:
                asyncio.get_running_loop().call_later(self.latency_s, self.transport.write, reply)
            else:
                self.transport.write(reply)


async def main(latency_ms: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stub(latency_ms / 1000), "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*map(float, sys.argv[1:2] or ["0"])))
