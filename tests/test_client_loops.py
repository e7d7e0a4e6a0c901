"""The door in every surrounding: a running loop, many threads, a fork, Ctrl-C, a close in the middle."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import pytest

from llmbench import LLMClient
from tests.servers.chat_server import Step, completion


def test_call_works_inside_a_running_loop(open_client):
    client = open_client()

    async def notebook_cell() -> str:
        return client.call("caption", "x").text

    assert asyncio.run(notebook_cell()) == "answer of m-a"


def test_call_works_from_many_threads_at_once(open_client, log):
    client = open_client()
    texts: list[str] = []
    threads = [
        threading.Thread(target=lambda: texts.append(client.call("caption", "x").text)) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert texts == ["answer of m-a"] * 12
    assert len({line["call_id"] for line in log()}) == 12


def test_acall_works_in_one_loop_after_another(open_client):
    client = open_client()

    async def once() -> str:
        async with client:
            return (await client.acall("caption", "x")).text

    assert [asyncio.run(once()) for _ in range(3)] == ["answer of m-a"] * 3


def test_a_forked_child_calls_for_itself(open_client, log):
    client = open_client()
    client.call("caption", "x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is the point here
        child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if client.call("caption", "y").text == "answer of m-a" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(log()) == 2


def test_close_ends_the_calls_of_other_threads(open_client, server):
    server.answer = lambda _: Step(fault="hang")
    client = open_client()
    ended: list[BaseException] = []

    def call() -> None:
        try:
            client.call("caption", "x")
        except BaseException as error:  # noqa: BLE001 -- whatever it is, it must not be silence
            ended.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    while not server.received:
        time.sleep(0.005)
    client.close()
    thread.join(10)
    assert [type(error).__name__ for error in ended] == ["CancelledError"]
    server.answer = lambda _: Step(completion())
    assert client.call("caption", "x").text == "ok"


CALLER = """
import json, sys
from llmbench import LLMClient
client = LLMClient(sys.argv[1], variables={"STUB_KEY": "k"}, log_path=sys.argv[2])
try:
    client.call("caption", "x")
except KeyboardInterrupt:
    print("interrupted", open(sys.argv[2]).read().count("cancelled") > 0, flush=True)
    raise
"""


@pytest.mark.alone
def test_ctrl_c_ends_a_call_at_once_and_it_is_in_the_log(three_models, server, tmp_path, log):
    server.answer = lambda _: Step(fault="hang")
    command = [sys.executable, "-c", CALLER, str(three_models()), str(tmp_path / "log.jsonl")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not server.received:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (out, process.returncode) == ("interrupted True\n", -signal.SIGINT)
    assert "never awaited" not in err
    assert [(line["status"], line["error_kind"]) for line in log()] == [("fail", "cancelled")]


def test_a_call_from_within_its_own_loop_is_refused_and_not_waited_for_for_ever(open_client):
    client = open_client()
    refused: list[str] = []

    async def inside() -> None:
        try:
            client.call("caption", "x")
        except RuntimeError as error:
            refused.append(str(error))

    client._loop.run(inside())
    assert "use `await acall(...)`" in refused[0]


def test_a_client_that_nobody_closed_ends_its_thread(open_client, three_models, variables, tmp_path):
    before = threading.active_count()
    program = LLMClient(three_models(), variables=variables, log_path=tmp_path / "log.jsonl")
    program.call("caption", "x")
    assert threading.active_count() > before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # its connection was not closed either
        del program
        gc.collect()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.005)
    assert threading.active_count() <= before


NEVER_CLOSED = """
import asyncio, sys
from llmbench import LLMClient

client = LLMClient(sys.argv[1], variables={"STUB_KEY": "key"}, log_path=sys.argv[2])

async def ask():
    return (await client.acall("caption", "hi")).model

print(*[asyncio.run(ask()) for _ in range(3)], client.call("caption", "hi").model)
print("transports", len(client.router._transports))
"""


def test_a_client_that_nobody_closes_leaves_no_word_and_no_pool_of_an_ended_loop(three_models, tmp_path):
    command = [sys.executable, "-c", NEVER_CLOSED, str(three_models()), str(tmp_path / "log.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["a a a a", "transports 1"]
    assert done.stderr == ""


INSIDE = """
import asyncio, sys
from llmbench import LLMClient

def opened():
    return LLMClient(sys.argv[1], variables={"STUB_KEY": "key"}, log_path=sys.argv[2])

async def sync_with():
    with opened() as client:
        return (await client.acall("caption", "hi")).model

async def dropped():
    client = opened()
    return (await client.acall("caption", "hi")).model

def called_and_dropped():
    client = opened()
    return client.call("caption", "hi").model

def closed_elsewhere():
    client = opened()
    answer = client.call("caption", "hi").model
    asyncio.run(client.aclose())
    return answer

print(asyncio.run(sync_with()), asyncio.run(dropped()), called_and_dropped(), closed_elsewhere())
"""


def test_however_a_client_ends_it_leaves_no_word(three_models, tmp_path):
    command = [sys.executable, "-c", INSIDE, str(three_models()), str(tmp_path / "log.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("a a a a\n", "")
