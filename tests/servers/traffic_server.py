"""A provider whose traffic was measured elsewhere, on loopback as a process of its own.

    python traffic_server.py TRAFFIC LOG

The first line of its output is its port. TRAFFIC is a JSON file:

    {"seed": 1, "scale": 0.025, "retry_after_s": 0.02, "windows": {"name": [10, 60]},
     "models": {"name": [[service_s, status, in, out], ...]}}

The n-th request of a model is served as one of the model's rows, drawn by seed, model and n alone: it takes
`service_s * scale` seconds and then gets that status, and with 200 that many tokens. Whoever leaves before
that has got status 499. A model with a window takes so many requests in each so many seconds (times scale)
and refuses the others at once. Each request is one line of LOG, written when its service ends and before the
answer is sent: what a client says about the service is held against what the server says.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

LEFT = 499


class Traffic:
    def __init__(self, traffic: dict[str, Any], log: str) -> None:
        self._traffic = traffic
        self._seen: Counter[str] = Counter()
        self._taken: Counter[tuple[str, float]] = Counter()
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(head.partition("content-length:")[2].partition("\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                line = await self._serve_one(reader, body)
                os.write(self._log, json.dumps(line).encode() + b"\n")
                if line["status"] == LEFT:
                    break
                writer.write(self._answer(line))
                await writer.drain()
        writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, body: dict[str, Any]) -> dict[str, Any]:
        """Serve a request; its line of the log."""
        arrived, started, model = time.time(), time.perf_counter(), body["model"]
        number = self._seen[model]
        self._seen[model] += 1
        service_s, status, tokens_in, tokens_out = draw(self._traffic, model, number)
        if self._is_over_limit(model, started):
            service_s, status = 0.0, 429
        if not await stays(reader, service_s * self._traffic["scale"]):
            status = LEFT
        took_s = time.perf_counter() - started
        return {
            "model": model,
            "number": number,
            "prompt": body["messages"][-1]["content"],
            "arrived": arrived,
            "service_ms": 1000 * took_s,
            "ended": arrived + took_s,
            "status": status,
            "input_tokens": tokens_in if status == 200 else 0,
            "output_tokens": tokens_out if status == 200 else 0,
        }

    def _is_over_limit(self, model: str, now: float) -> bool:
        if (window := self._traffic["windows"].get(model)) is None:
            return False
        most, seconds = window
        began = now // (seconds * self._traffic["scale"])
        self._taken[model, began] += 1
        return self._taken[model, began] > most

    def _answer(self, line: dict[str, Any]) -> bytes:
        extra, status = "", line["status"]
        if status == 200:
            reply: dict[str, Any] = {
                "model": f"{line['model']}-2023-12",
                "choices": [{"message": {"content": '{"label": "praise"}'}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": line["input_tokens"], "completion_tokens": line["output_tokens"]},
            }
        else:
            reply = {"error": {"message": f"status {status}"}}
            if status == 429:
                extra = f"retry-after: {self._traffic['retry_after_s']}\r\n"
        data = json.dumps(reply).encode()
        head = (
            f"HTTP/1.1 {status} X\r\n{extra}content-type: application/json\r\ncontent-length: {len(data)}\r\n"
        )
        return head.encode() + b"\r\n" + data


def draw(traffic: dict[str, Any], model: str, number: int) -> tuple[float, int, int, int]:
    """The row that the n-th request of a model (0-based) is served as."""
    row = random.Random(f"{traffic['seed']}/{model}/{number}").choice(traffic["models"][model])
    return tuple(row)


async def stays(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Wait; whether the client was still there at the end. It sends nothing before its answer has come."""
    try:
        async with asyncio.timeout(seconds):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def main(known: Traffic) -> None:
    server = await asyncio.start_server(known.serve, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Traffic(json.loads(Path(sys.argv[1]).read_bytes()), sys.argv[2])))
