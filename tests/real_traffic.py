"""Servers whose latencies, failures and tokens are those of real hosts, and how near figures must come."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import yaml

from tests.servers.traffic_server import LEFT
from tests.sweep_project import read_lines

DATA = Path(__file__).parents[2] / "shared" / "data"
LLMPERF = DATA / "llmperf_2023_12"
AZURE = DATA / "azure_llm_2023"
SERVER = Path(__file__).parent / "servers" / "traffic_server.py"
#: A second at the real provider is so many seconds here.
SCALE = 1 / 40
#: The server's status -> the word of the shared vocabulary.
KINDS = {200: "answered", 429: "rate_limit", 500: "server_error", 502: "server_error", LEFT: "timeout"}
#: US dollars per million tokens, in and out.
PRICE_IN, PRICE_OUT = 1.0, 2.0
#: Requests taken in so many seconds, as seen in the order of lepton's rows.
WINDOWS = {"lepton-70b": (10, 60)}

#: Seconds after which the clients give up, at the real providers. An answer that crosses with the giving up
#: is an answer to the server and a timeout to the client: rows that last so long, give or take 2 s, are left
#: out.
GIVES_UP_S = (20, 40)

NEEDS_DATA = pytest.mark.skipif(
    not (LLMPERF.is_dir() and AZURE.is_dir()),
    reason="the measured traffic is not on this machine: nothing here was checked",
)


@dataclass(frozen=True)
class Served:
    """A running server and the traffic that it serves."""

    port: int
    log: Path
    traffic: dict[str, Any]

    def requests(self) -> pd.DataFrame:
        return pd.DataFrame.from_records(read_lines(self.log)).sort_values("arrived", kind="stable")


@contextlib.contextmanager
def traffic_server(folder: Path, models: dict[str, list[list[float]]], seed: int = 1):
    traffic = {"seed": seed, "scale": SCALE, "retry_after_s": 0.02, "windows": WINDOWS, "models": models}
    (folder / "traffic.json").write_text(json.dumps(traffic), encoding="utf-8")
    command = [sys.executable, str(SERVER), str(folder / "traffic.json"), str(folder / "served.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Served(int(process.stdout.readline()), folder / "served.jsonl", traffic)
        finally:
            process.kill()


def measured(name: str, *, fails_every: int | None = None) -> list[list[float]]:
    """Rows of one model of one provider, such as `lepton-70b`: seconds, status, tokens in and out."""
    provider, _, size = name.partition("-")
    rows = duckdb.execute(
        """select end_to_end_latency_s, error_code, number_input_tokens, number_output_tokens
        from read_parquet($path) where provider = $provider and model_size = $size order by idx""",
        {"path": str(LLMPERF / "requests.parquet"), "provider": provider, "size": size},
    ).fetchall()
    # -100 is an answer shorter than LLMPerf asked for: the provider's status was 200
    status = {"429.0": 429, "-1.0": 502}
    found = [
        [s, status.get(code, 200), n_in, n_out]
        for s, code, n_in, n_out in rows
        if not (name in WINDOWS and code == "429.0") and all(abs(s - limit) > 2 for limit in GIVES_UP_S)
    ]
    for row in found[::fails_every] if fails_every else ():
        row[0], row[1] = row[0] / 10, 500
    return found


class Stalls:
    """How long this process was held up at worst, in milliseconds."""

    def __init__(self) -> None:
        self.worst_ms = 0.0

    def note(self, asked: float) -> None:
        self.worst_ms = max(self.worst_ms, 1000 * (time.perf_counter() - asked - 0.005))

    async def watch(self) -> None:
        """Watch the running loop until cancelled."""
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(0.005)
            self.note(asked)

    @contextlib.contextmanager
    def watched(self):
        """Watch from a thread, as long as the context is open."""
        ended = threading.Event()

        def watch() -> None:
            asked = time.perf_counter()
            while not ended.wait(0.005):
                self.note(asked)
                asked = time.perf_counter()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def close_to(got: float, want: float, *, is_tail: bool, stalled_ms: float) -> bool:
    """A busy machine holds calls up: a tail may be late by what a clock beside it met, a median by a part."""
    return abs(got - want) <= (20.0 + 2.0 * stalled_ms if is_tail else 5.0 + 0.1 * stalled_ms) + 0.02 * want


def check_quantiles(row: dict[str, Any], want_ms: list[float], where: str, stalls: Stalls) -> None:
    """Hold p50_ms, p95_ms and p99_ms of a mart's row against the server's times."""
    for share in (50, 95, 99):
        want = float(np.quantile(want_ms, share / 100))
        is_tail = share > 50 or len(want_ms) < 20
        seen = (where, share, row, want, stalls.worst_ms)
        assert close_to(row[f"p{share}_ms"], want, is_tail=is_tail, stalled_ms=stalls.worst_ms), seen


def configure(project, served: Served, names, *, concurrency: int | None, **policy: Any) -> None:
    """One provider for each model, as the models were measured at different ones."""
    files = {
        "llm_router": {
            "providers": {
                f"at-{name}": {
                    "base_url": f"http://127.0.0.1:{served.port}/v1",
                    **({} if concurrency is None else {"limits": {"concurrency": concurrency}}),
                }
                for name in names
            }
        },
        "llm_model_registry": {
            "models": {
                name: {
                    "provider": f"at-{name}",
                    "model_name": name,
                    "price": {"input": PRICE_IN, "output": PRICE_OUT, "as_of": "2023-12-21"},
                    "capabilities": {"context_tokens": 32768},
                }
                for name in names
            }
        },
        "llm_fallback_policy": {
            "transient_statuses": [429, 500],
            "backoff_sec": 0.01,
            "deadline_s": 1.0,  # 40 s at the real providers
            **policy,
        },
    }
    for name, value in files.items():
        (project.configs / f"{name}.yaml").write_text(yaml.safe_dump(value, sort_keys=False), "utf-8")
