"""A chat provider on loopback as a process of its own, for tests that kill and count.

    python stub_provider.py LOG LATENCY_MIN_MS LATENCY_MAX_MS

The first line of its output is its port. Each request is one line of LOG, written before anything is
answered: the sweep's own books are held against it. What a prompt says decides the answer:
#500 #401 #429 fail, #hang never answers, #prose is no JSON, #inf has an infinite cost, #once fails its first
request, #surrogate answers half a character; any other prompt gets the label `praise`. With #drift the time
to answer goes up and down once a second.

A prompt with `#dice SEED fate=weight …;` throws dice for each of its requests: ok (a label made of model and
prompt), prose, 429, retry and long (429 with retry-after of 0.05 and 30 s), 500, 504, hang, reset, cut (a
body that ends too soon) and garbage. `in=` and `out=` there are the most tokens that its usage counts. LOG
has the fate and the tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import os
import random
import re
import sys
import time
from typing import Any

FAILURES = {"#500": 500, "#401": 401, "#429": 429}
STATUSES = {"429": 429, "retry": 429, "long": 429, "500": 500, "504": 504}
WAITS = {"retry": "retry-after: 0.05\r\n", "long": "retry-after: 30\r\n"}
_DICE = re.compile(r"#dice (\d+)((?: [a-z0-9]+=\d+)+);")


def label_of(model: str, prompt: str) -> str:
    """The label that a model (its id) gives a prompt with #dice."""
    return hashlib.sha256(f"{model}|{prompt}".encode()).hexdigest()[:12]


def thrown(model: str, prompt: str, seen: int) -> dict[str, Any] | None:
    """What the dice say of a request: fate, input and output tokens; None for a prompt without."""
    found = _DICE.search(prompt)
    if found is None:
        return None
    weights = {name: int(value) for name, _, value in (part.partition("=") for part in found[2].split())}
    most = [weights.pop(name, default) for name, default in (("in", 7), ("out", 3))]
    dice = random.Random(f"{found[1]} {model} {prompt} {seen}")
    fate = dice.choices(list(weights), list(weights.values()))[0]
    return {
        "fate": fate,
        "input": dice.randint(most[0] // 2, most[0]),
        "output": dice.randint(most[1] // 2, most[1]),
    }


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
                    model, prompt, seen = self._logged(body)
                    dice = thrown(model, prompt, seen)
                    if dice is None:
                        status, reply = await self._answer(model, prompt, seen)
                        writer.write(_response(status, reply.encode()))
                    elif not await self._meet(dice, model, prompt, writer):
                        break
                finally:
                    self._open -= 1
                await writer.drain()
        writer.close()

    def _logged(self, body: dict[str, Any]) -> tuple[str, str, int]:
        """Model, prompt and number of a request, after its line was written."""
        prompt, model = body["messages"][-1]["content"], str(body["model"])
        seen = self._seen[model + prompt] = self._seen.get(model + prompt, 0) + 1
        line = {"model": model, "prompt": prompt, "seen": seen, "open": self._open, "at": time.monotonic()}
        line |= {name: body[name] for name in ("temperature", "top_p", "reasoning_effort") if name in body}
        line |= thrown(model, prompt, seen) or {}
        os.write(self._log, json.dumps(line).encode() + b"\n")
        return model, prompt, seen

    async def _meet(
        self, dice: dict[str, Any], model: str, prompt: str, writer: asyncio.StreamWriter
    ) -> bool:
        """Let a request meet its fate; whether its connection goes on."""
        fate = dice["fate"]
        if fate == "hang":
            await asyncio.sleep(3600)
        await asyncio.sleep(random.uniform(*self._range))
        if fate == "reset":
            writer.transport.abort()
            return False
        if fate == "garbage":
            writer.write(_response(200, b"\x00<html>\xff" + label_of(model, prompt).encode()))
        elif fate in STATUSES:
            error = json.dumps({"error": {"message": f"the dice say {fate}"}}).encode()
            writer.write(_response(STATUSES[fate], error, WAITS.get(fate, "")))
        else:
            text = "prose" if fate == "prose" else json.dumps({"label": label_of(model, prompt)})
            usage = {"prompt_tokens": dice["input"], "completion_tokens": dice["output"]}
            whole = _response(200, json.dumps(_reply(model, text, usage)).encode())
            writer.write(whole[:-20] if fate == "cut" else whole)
        await writer.drain()
        return bool(fate != "cut")

    async def _answer(self, model: str, prompt: str, seen: int) -> tuple[int, str]:
        if "#hang" in prompt:
            await asyncio.sleep(3600)
        wait_s = random.uniform(*self._range)
        if "#drift" in prompt:
            low, high = self._range
            wait_s = low + (high - low) * (1 + math.sin(2 * math.pi * time.monotonic())) / 2
        await asyncio.sleep(wait_s)
        status = next((code for word, code in FAILURES.items() if word in prompt), 200)
        if "#once" in prompt:
            status = 500 if seen == 1 else 200
        if status != 200:
            return status, json.dumps({"error": {"message": f"told to fail with {status}"}})
        text = '{"label": "praise"}'
        if "#prose" in prompt:
            text = "I would say praise"
        spelled = json.dumps(_reply(model, text, {"prompt_tokens": 7, "completion_tokens": 3}))
        if "#inf" in prompt:
            spelled = spelled.replace('"completion_tokens"', '"cost": 1e999, "completion_tokens"')
        return 200, spelled.replace("praise", r"\ud800") if "#surrogate" in prompt else spelled


def _reply(model: str, text: str, usage: dict[str, int]) -> dict[str, Any]:
    return {
        "model": f"{model}-2026-01-01",
        "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
        "usage": usage,
    }


def _response(status: int, data: bytes, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}"
    return f"{head}content-length: {len(data)}\r\n\r\n".encode() + data


async def main(log: str, fastest_ms: str, slowest_ms: str) -> None:
    provider = Provider(log, float(fastest_ms), float(slowest_ms))
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
