"""Processes that use a local model server, and servers to ask: shared by the tests of the embedded models."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmbench.providers import embedded, local_models
from llmbench.providers.embedded import EmbeddedServer, request_count

SMOL = "smollm2-135m"
GEMMA = "gemma3-270m"


def skip_unless_here(name: str) -> None:
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip('the engine is not installed: pip install "llmbench[local]"')
    if name in local_models.missing_models():
        pytest.skip(f"{name} is not installed: run `llmbench models pull {name}`")


def skip_unless_voice(name: str) -> None:
    if not local_models.is_available(name):
        pytest.skip(f"the voice {name} is not installed: run `llmbench models pull {name}`")


CLIENT = """
import json, sys
from pathlib import Path
from llmbench.providers import embedded
server = embedded.ensure_server(sys.argv[1], state_root=Path(sys.argv[2]))
print(json.dumps({"pid": server.pid, "url": server.base_url, "key": server.api_key}), flush=True)
sys.stdin.read()
"""
ASKING_CLIENT = CLIENT.replace(
    "sys.stdin.read()",
    """
import http.client
with embedded.metered(server):
    host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    body = {"messages": [{"role": "user", "content": "Count."}], "max_tokens": 2000, "ignore_eos": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {
        "Authorization": "Bearer " + server.api_key, "Content-Type": "application/json"})
    print("asked", flush=True)
    connection.getresponse()
""",
)


class Client:
    """Another process that uses a server; it lives until it is told to end, or killed."""

    def __init__(self, name: str, root: Path, code: str = CLIENT) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, name, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # select() sees nothing of a line that waits in a buffer
        )

    def line(self, timeout_s: float = 30) -> str:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], timeout_s)[0], "the client said nothing"
        return self.process.stdout.readline().decode()

    def server_pid(self) -> int:
        return int(json.loads(self.line())["pid"])

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def close(self) -> None:
        self.process.communicate()


@contextlib.contextmanager
def client(name: str, root: Path, code: str = CLIENT) -> Iterator[Client]:
    one = Client(name, root, code)
    try:
        yield one
    finally:
        one.kill()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return sys.platform == "darwin"


def wait_gone(pid: int, limit_s: float = 3.0) -> float:
    started = time.monotonic()
    while is_alive(pid):
        assert time.monotonic() - started < limit_s, f"server {pid} still lives after {limit_s} s"
        time.sleep(0.02)
    return time.monotonic() - started


def post(server: EmbeddedServer, path: str, body: Any, key: str | None = None) -> tuple[int, Any]:
    host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    headers = {"Authorization": f"Bearer {key or server.api_key}", "Content-Type": "application/json"}
    try:
        connection.request("POST", path, json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def settled_count(server: EmbeddedServer, expected: int, limit_s: float = 10.0) -> int:
    """The server's count of requests, once its log has caught up with its answers.

    A thread of the engine writes its log, so on a busy machine a line comes after the reply that it tells of.
    A line that never comes shows in the count after `limit_s`; one too many, in the moment waited at the end.
    """
    end = time.monotonic() + limit_s
    while request_count(server) < expected and time.monotonic() < end:
        time.sleep(0.02)
    time.sleep(0.1)
    return request_count(server)


def ask(
    server: EmbeddedServer, content: str = "Say hello.", *, key: str | None = None, **options: Any
) -> tuple[int, Any]:
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": 8, "temperature": 0, **options}
    return post(server, "/v1/chat/completions", body, key)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A state root of the test's own; whatever runs there ends with the test."""
    skip_unless_here(SMOL)
    yield tmp_path / "servers"
    embedded.release()


@pytest.fixture(scope="module")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """One server for the tests that only ask it, held by a process of its own: `release` is tested here."""
    skip_unless_here(SMOL)
    root = tmp_path_factory.mktemp("shared")
    with client(SMOL, root) as holder:
        holder.server_pid()
        server = embedded.running_server(SMOL, state_root=root)
        assert server is not None
        yield server
