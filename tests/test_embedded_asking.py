"""Asking a local model server: answers, counts, the slot and the meter. Real servers, real kills."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmbench.providers import local_models
from llmbench.providers.embedded import EmbeddedServer, ametered, ensure_server, metered, request_count
from tests.embedded_clients import (  # noqa: F401
    ASKING_CLIENT,
    GEMMA,
    SMOL,
    ask,
    client,
    post,
    root,
    settled_count,
    skip_unless_here,
    smol,
)

# ---- answers, counts and measures


@pytest.mark.embedded
@pytest.mark.parametrize("name", [SMOL, GEMMA])
def test_a_model_answers_in_json_where_the_grammar_asks_for_it(root: Path, name: str) -> None:
    skip_unless_here(name)
    server = ensure_server(name, state_root=root)
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "},
    }
    grammar = f"%llguidance {{}}\nstart: %json {json.dumps(schema)}"
    status, reply = ask(server, "Which city? Luca (Milan) bought a bike.", grammar=grammar, max_tokens=24)
    assert status == 200
    assert list(json.loads(reply["choices"][0]["message"]["content"])) == ["city"]


@pytest.mark.embedded
def test_the_same_question_gets_the_same_answer(smol: EmbeddedServer) -> None:
    question = "Name three colours of a sunset."
    first = ask(smol, question)[1]["choices"]
    ask(smol, "Something else in between.")
    assert ask(smol, question)[1]["choices"] == first


@pytest.mark.embedded
def test_a_few_shot_prompt_in_japanese_fits_the_context(smol: EmbeddedServer) -> None:
    shot = "山田太郎さんは三月に東京の店舗でヘッドホンを一万四千九百円で購入しました。" * 5
    tokens = len(post(smol, "/tokenize", {"content": shot * 6})[1]["tokens"])
    assert tokens > 1500
    assert tokens + 512 < local_models.MODELS[SMOL].n_ctx


@pytest.mark.embedded
def test_the_server_counts_what_it_was_asked_and_logs_no_prompt(root: Path) -> None:
    server = ensure_server(SMOL, state_root=root)
    assert request_count(server) == 0
    for number in range(5):
        assert ask(server, f"Zaphodbeeblebrox {number}")[0] == 200
    assert ask(server, key="wrong")[0] == 401
    assert ask(server, "too long " * 4000)[0] == 400
    assert settled_count(server, 6) == 6, (
        "five answered and one too long; the one without a key was not let in"
    )
    log = (root / SMOL / "server.log").read_text().lower()
    assert "zaphod" not in log
    assert server.api_key not in log


@pytest.mark.embedded
def test_a_killed_clients_request_is_counted_and_not_charged_to_the_next(smol: EmbeddedServer) -> None:
    before = request_count(smol)
    with client(SMOL, smol.state_dir.parent, ASKING_CLIENT) as killed:
        killed.server_pid()
        assert killed.line() == "asked\n"
        while request_count(smol) == before:
            time.sleep(0.01)
        time.sleep(0.3)
        killed.kill()
    with metered(smol) as meter:
        ask(smol, max_tokens=1)
    assert settled_count(smol, before + 2) == before + 2
    assert meter.queued_ms > 50, "the next request did not wait until the engine was idle again"
    assert meter.queued_ms < 4000
    if sys.platform.startswith("linux"):
        assert meter.cpu_s is not None
        assert meter.cpu_s < 0.5


@pytest.mark.embedded
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux shows another process's clock")
def test_the_meter_agrees_with_the_kernels_account_of_the_process(smol: EmbeddedServer) -> None:
    def ticks() -> float:
        fields = Path(f"/proc/{smol.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before, total = ticks(), 0.0
    for number in range(5):
        with metered(smol) as meter:
            ask(smol, f"Tell me about the number {number}.", max_tokens=16)
        assert meter.cpu_s is not None
        assert meter.cpu_s > 0.01
        total += meter.cpu_s
    assert total == pytest.approx(ticks() - before, abs=0.05)
    assert meter.load["loadavg1"] is not None
    assert set(meter.load) == {"cpu_some_avg10", "loadavg1"}


@pytest.mark.embedded
def test_the_slot_is_held_by_one_at_a_time_and_the_wait_is_told(smol: EmbeddedServer) -> None:
    spans: list[tuple[float, float]] = []

    def work(_n: int) -> float:
        with metered(smol) as meter:
            started = time.perf_counter()
            time.sleep(0.1)
            spans.append((started, time.perf_counter()))
        return meter.queued_ms

    with ThreadPoolExecutor(3) as pool:
        waits = sorted(pool.map(work, range(3)))
    spans.sort()
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert waits[0] < 50
    assert waits[1] >= 90
    assert waits[2] >= 190


@pytest.mark.embedded
def test_a_waiting_coroutine_lets_the_loop_go_on(smol: EmbeddedServer) -> None:
    async def main() -> tuple[float, int]:
        holding, done = threading.Event(), threading.Event()

        def hold() -> None:
            with metered(smol):
                holding.set()
                done.wait(5)

        thread = threading.Thread(target=hold)
        thread.start()
        await asyncio.to_thread(holding.wait)
        turns = 0

        async def spin() -> None:
            nonlocal turns
            while turns < 20:
                await asyncio.sleep(0.01)
                turns += 1
            done.set()

        async def wait() -> float:
            async with ametered(smol) as meter:
                return meter.queued_ms

        queued_ms, _ = await asyncio.gather(wait(), spin())
        thread.join()
        return queued_ms, turns

    queued_ms, turns = asyncio.run(main())
    assert turns == 20
    assert queued_ms >= 150


@pytest.mark.embedded
def test_a_cancelled_coroutine_gives_the_slot_back(smol: EmbeddedServer) -> None:
    async def main() -> None:
        async def hold() -> None:
            async with ametered(smol):
                await asyncio.sleep(30)

        holder = asyncio.create_task(hold())
        await asyncio.sleep(0.05)
        waiter = asyncio.create_task(hold())
        await asyncio.sleep(0.05)
        for task in (waiter, holder):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with asyncio.timeout(5), ametered(smol) as meter:
            pass
        assert meter.queued_ms < 1000

    asyncio.run(main())


@pytest.mark.embedded
def test_the_meter_of_a_dead_server_says_nothing_rather_than_something_wrong(root: Path) -> None:
    server = ensure_server(SMOL, state_root=root)
    os.kill(server.pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        while True:  # until it is collected: the clock of a dying process can still be read
            os.kill(server.pid, 0)
            time.sleep(0.02)
    with pytest.raises(ConnectionError), metered(server) as meter:
        ask(server)
    assert meter.cpu_s is None
    with metered(server) as meter:
        pass
    assert meter.queued_ms < 1000
