"""The local model servers: real servers, real client processes, real kills."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import itertools
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llmbench.errors import EmbeddedServerError
from llmbench.providers import embedded, local_models
from llmbench.providers.embedded import EmbeddedServer, ametered, ensure_server, metered, request_count

SMOL = "smollm2-135m"
GEMMA = "gemma3-270m"


def skip_unless_here(name: str) -> None:
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip('the engine is not installed: pip install "llmbench[local]"')
    if name in local_models.missing_models():
        pytest.skip(f"{name} is not installed: run `llmbench models pull {name}`")


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


# ---- life and death


@pytest.mark.embedded
def test_clients_share_a_server_that_outlives_the_first_and_ends_with_the_last(root: Path) -> None:
    with client(SMOL, root) as first, client(SMOL, root) as second:
        pid = first.server_pid()
        assert second.server_pid() == pid
        first.kill()
        time.sleep(1.5)
        assert is_alive(pid), "the server ended under its second client"
        second.kill()
        assert wait_gone(pid) < 3
    assert not (root / SMOL / "server.json").exists()


@pytest.mark.embedded
def test_a_server_whose_client_is_killed_while_it_loads_ends_too(root: Path) -> None:
    with client(SMOL, root) as only:
        lock = root / SMOL / "server.lock"
        give_up = time.monotonic() + 20
        while not (lock.exists() and lock.read_text()):
            assert time.monotonic() < give_up
            time.sleep(0.002)
        pid = int(lock.read_text())
        only.kill()
        wait_gone(pid)
    assert embedded.running_server(SMOL, state_root=root) is None


@pytest.mark.embedded
def test_four_processes_that_start_at_once_get_one_server(root: Path) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(SMOL, root)) for _ in range(4)]
        assert len({one.server_pid() for one in clients}) == 1
        time.sleep(1.3)  # a second server would give up after a second, and say so
        assert "another server" not in (root / SMOL / "server.log").read_text()


@pytest.mark.embedded
def test_threads_that_start_at_once_get_one_server_and_release_ends_it(root: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        servers = list(pool.map(lambda _n: ensure_server(SMOL, state_root=root), range(4)))
    assert len({server.pid for server in servers}) == 1
    embedded.release("another-model")
    assert ensure_server(SMOL, state_root=root) == servers[0]
    embedded.release(SMOL)
    wait_gone(servers[0].pid)


@pytest.mark.embedded
def test_a_server_is_out_of_reach_of_the_terminal_and_keeps_its_key_to_itself(root: Path) -> None:
    server = ensure_server(SMOL, state_root=root)
    assert os.getsid(server.pid) != os.getsid(0)
    record = root / SMOL / "server.json"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700
    assert server.api_key not in repr(server)
    if sys.platform.startswith("linux"):
        assert server.api_key.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
    assert ask(server, key="wrong")[0] == 401
    assert server.base_url.startswith("http://127.0.0.1:")


# ---- what may lie around


@pytest.mark.embedded
def test_the_record_of_a_killed_server_is_not_believed(root: Path) -> None:
    first = ensure_server(SMOL, state_root=root)
    os.kill(first.pid, signal.SIGKILL)
    wait_gone(first.pid)
    assert (root / SMOL / "server.json").exists()
    second = ensure_server(SMOL, state_root=root)
    assert second.pid != first.pid
    assert ask(second)[0] == 200


@pytest.mark.embedded
def test_a_process_id_that_another_program_has_now_is_not_believed_nor_harmed(root: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (root / SMOL).mkdir(parents=True)
        record = {"url": "http://127.0.0.1:9", "api_key": "k", "pid": stranger.pid, "settings": {}}
        (root / SMOL / "server.json").write_text(json.dumps(record))
        server = ensure_server(SMOL, state_root=root)
        assert server.pid != stranger.pid
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.embedded
@pytest.mark.parametrize("damage", ["key", "text"])
def test_a_live_server_with_a_wrong_record_is_replaced(root: Path, damage: str) -> None:
    first = ensure_server(SMOL, state_root=root)
    path = root / SMOL / "server.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "api_key": "wrong"}) if damage == "key" else "{torn")
    second = ensure_server(SMOL, state_root=root)
    assert second.pid != first.pid
    assert not is_alive(first.pid)
    assert ask(second)[0] == 200


@pytest.mark.embedded
def test_a_state_folder_that_was_emptied_is_set_up_again(root: Path) -> None:
    first = ensure_server(SMOL, state_root=root)
    for path in (root / SMOL).iterdir():
        path.unlink()
    second = ensure_server(SMOL, state_root=root)
    time.sleep(1.2)
    assert is_alive(second.pid), "the new server did not see its client's lease"
    wait_gone(first.pid)


@pytest.mark.embedded
def test_other_settings_never_take_a_server_from_another_process(root: Path) -> None:
    with client(SMOL, root) as other:
        pid = other.server_pid()
        with pytest.raises(EmbeddedServerError, match="other settings for another process"):
            ensure_server(SMOL, state_root=root, decode_threads=2)
        assert is_alive(pid)
    server = ensure_server(SMOL, state_root=root, decode_threads=2)
    assert server.pid != pid
    assert ensure_server(SMOL, state_root=root, decode_threads=2) == server


# ---- what can go wrong at the start


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="use one of smollm2-135m"):
        ensure_server("gpt-9", state_root=tmp_path)


def test_a_missing_engine_names_the_command_and_leaves_no_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(EmbeddedServerError, match=r'run `pip install "llmbench\[local\]"`'):
        ensure_server(SMOL, state_root=tmp_path)
    assert embedded._leases == {}


def test_a_state_folder_that_cannot_be_made_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EmbeddedServerError, match="set LLMBENCH_CACHE to a writable folder"):
        ensure_server(SMOL, state_root=tmp_path / "file")


@pytest.mark.embedded
def test_a_port_in_use_is_one_clear_line_and_a_free_one_is_taken(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            EmbeddedServerError, match=f"port {port} is in use: choose another, or 0"
        ) as caught:
            ensure_server(SMOL, state_root=root, port=port)
        assert "\n" not in str(caught.value)
    server = ensure_server(SMOL, state_root=root, port=port)
    assert server.base_url == f"http://127.0.0.1:{port}/v1"
    assert ensure_server(SMOL, state_root=root) == server, "port 0 is content with any port"


@pytest.mark.embedded
def test_a_model_that_cannot_be_loaded_shows_the_engines_reason(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF\x03\x00\x00\x00 nothing of use")
    monkeypatch.setattr(embedded, "find_model", lambda _name: broken)
    with pytest.raises(EmbeddedServerError, match="the server ended while starting") as caught:
        ensure_server(SMOL, state_root=root)
    assert "failed to load model" in str(caught.value)
    assert str(root / SMOL / "server.log") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.embedded
def test_a_start_that_takes_too_long_is_stopped(root: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="was not ready in time and was stopped"):
        ensure_server(SMOL, state_root=root, start_timeout_s=0.1)
    assert embedded._living_pid(root / SMOL) is None


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
    assert request_count(server) == 6, "five answered and one too long; the one without a key was not let in"
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
    assert request_count(smol) == before + 2
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
