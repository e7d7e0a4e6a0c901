"""A chat provider on loopback as a process of its own, for tests that kill and count.

    python stub_provider.py LOG LATENCY_MIN_MS LATENCY_MAX_MS

The first line of its output is its port. Each request is one line of LOG, written before anything is
answered: the sweep's own books are held against it. What a prompt says decides the answer:
#500 #401 #429 fail, #hang never answers, #prose is no JSON, #inf has an infinite cost, #once fails its first
request, #surrogate answers half a character; any other prompt gets the label `praise`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys

FAILURES = {"#500": 500, "#401": 401, "#429": 429}


class Provider:
    def __init__(self, log: str, fastest_ms: float, slowest_ms: float) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._range = (fastest_ms / 1000, slowest_ms / 1000)
        self._seen: dict[str, int] = {}
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(head.partition("content-length:")[2].partition("\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                self._open += 1
                try:
                    status, reply = await self._answer(body)
                finally:
                    self._open -= 1
                data = reply.encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
                    f"content-length: {len(data)}\r\n\r\n".encode()
                    + data
                )
                await writer.drain()
        writer.close()

    async def _answer(self, body: dict[str, object]) -> tuple[int, str]:
        messages = body["messages"]
        assert isinstance(messages, list)
        prompt = messages[-1]["content"]
        model = str(body["model"])
        seen = self._seen[model + prompt] = self._seen.get(model + prompt, 0) + 1
        line = {"model": model, "prompt": prompt, "seen": seen, "open": self._open}
        os.write(self._log, json.dumps(line).encode() + b"\n")
        if "#hang" in prompt:
            await asyncio.sleep(3600)
        await asyncio.sleep(random.uniform(*self._range))
        status = next((code for word, code in FAILURES.items() if word in prompt), 200)
        if "#once" in prompt:
            status = 500 if seen == 1 else 200
        if status != 200:
            return status, json.dumps({"error": {"message": f"told to fail with {status}"}})
        text = '{"label": "praise"}'
        if "#prose" in prompt:
            text = "I would say praise"
        reply = {
            "model": f"{model}-2026-01-01",
            "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3},
        }
        spelled = json.dumps(reply)
        if "#inf" in prompt:
            spelled = spelled.replace('"completion_tokens"', '"cost": 1e999, "completion_tokens"')
        return 200, spelled.replace("praise", r"\ud800") if "#surrogate" in prompt else spelled


async def main(log: str, fastest_ms: str, slowest_ms: str) -> None:
    provider = Provider(log, float(fastest_ms), float(slowest_ms))
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
