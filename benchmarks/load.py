"""Clients under load in one process, in turn: CPU per call at 64 calls at once, as JSON.

    python benchmarks/load.py PORT CLIENT... [--rounds N] [--calls N]

A client is raw (one POST with httpx and the transport that llmbench uses), pool (the same with httpx's own
pool), llmbench, failover (llmbench, the first candidate answering 429) or litellm (needs litellm installed).
A round is so many calls of each client, one client after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

AT_ONCE = 64
PROMPT = "字幕にして: 夕方の海岸で、犬が波打ち際を走っている。" * 8
MESSAGES = [{"role": "user", "content": PROMPT}]
CONFIG = """
providers:
  stub: {{base_url: "http://127.0.0.1:{port}/v1", env_api_key: STUB_KEY}}
  busy: {{base_url: "http://127.0.0.1:{port}/busy", env_api_key: STUB_KEY}}
models:
  stub: {{provider: stub, price: {{input: 1, output: 2}}, capabilities: {{context_tokens: 100000}}}}
  busy: {{provider: busy, price: {{input: 1, output: 2}}, capabilities: {{context_tokens: 100000}}}}
tiers: {{standard: [stub], cheap: [busy, stub]}}
tasks: {{caption: {{tier: standard}}, failover: {{tier: cheap}}}}
"""
#: Every failure moves on at once and no circuit spares the failing candidate: each call does fail over.
POLICY = "{backoff_sec: 0, per_status_retry: {429: 0}, breaker: {failures: 1000000}}\n"
Once = Callable[[], Awaitable[object]]


@contextlib.asynccontextmanager
async def raw(port: int, *, has_fast_pool: bool = True) -> AsyncIterator[Once]:
    import httpx

    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=100)
    if has_fast_pool:
        import httpx_aiohttp

        transport: httpx.AsyncBaseTransport = httpx_aiohttp.AiohttpTransport(limits=limits)
    else:
        transport = httpx.AsyncHTTPTransport(limits=limits)
    url, headers = f"http://127.0.0.1:{port}/v1/chat/completions", {"authorization": "Bearer key"}
    async with httpx.AsyncClient(transport=transport, trust_env=False) as client:

        async def once() -> object:
            reply = await client.post(
                url, headers=headers, json={"model": "stub", "messages": MESSAGES, "max_tokens": 50}
            )
            return reply.json()["choices"][0]["message"]["content"]

        yield once


def write_config(folder: Path, port: int) -> None:
    (folder / "llm_router.yaml").write_text(CONFIG.format(port=port), encoding="utf-8")
    (folder / "llm_fallback_policy.yaml").write_text(POLICY, encoding="utf-8")


@contextlib.asynccontextmanager
async def llmbench(port: int, task: str = "caption") -> AsyncIterator[Once]:
    from llmbench import LLMClient

    with tempfile.TemporaryDirectory() as folder:
        write_config(Path(folder), port)
        variables = {"STUB_KEY": "key-of-the-stub"}
        async with LLMClient(folder, variables=variables, log_path=Path(folder, "usage.jsonl")) as client:
            yield lambda: client.acall(task, MESSAGES, max_tokens=50)


@contextlib.asynccontextmanager
async def litellm(port: int) -> AsyncIterator[Once]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its import asks the network otherwise
    from litellm import Router

    params = {"model": "openai/stub", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": "key"}
    router = Router(model_list=[{"model_name": "caption", "litellm_params": params}], num_retries=0)
    yield lambda: router.acompletion(model="caption", messages=MESSAGES, max_tokens=50)


CLIENTS = {
    "raw": raw,
    "pool": lambda port: raw(port, has_fast_pool=False),
    "llmbench": llmbench,
    "failover": lambda port: llmbench(port, "failover"),
    "litellm": litellm,
}


async def drive(once: Once, calls: int) -> float:
    """CPU seconds of this process for a number of calls."""
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await once()

    started = time.process_time()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return time.process_time() - started


async def main(port: int, clients: list[str], rounds: int, calls: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        onces = {name: await stack.enter_async_context(CLIENTS[name](port)) for name in clients}
        for once in onces.values():
            await drive(once, calls)  # connections, caches, what is loaded at the first call
        spent: dict[str, list[float]] = {name: [] for name in clients}
        for _ in range(rounds):
            for name, once in onces.items():
                spent[name].append(await drive(once, calls) / calls * 1e6)
    print(json.dumps(spent))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("clients", choices=CLIENTS, nargs="+")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=1000)
    given = parser.parse_args()
    asyncio.run(main(given.port, given.clients, given.rounds, given.calls))
