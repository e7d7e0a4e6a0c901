"""The local model servers live and die: real servers, real client processes, real kills."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmbench.errors import EmbeddedServerError
from llmbench.providers import embedded
from llmbench.providers.embedded import ensure_server
from tests.embedded_clients import SMOL, ask, client, is_alive, root, wait_gone  # noqa: F401

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
    # The engine ends without waiting for the thread that writes its log: the last lines may be missing.
    assert re.search("failed to load model|Failed to init server", str(caught.value))
    assert str(root / SMOL / "server.log") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.embedded
def test_a_start_that_takes_too_long_is_stopped(root: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="was not ready in time and was stopped"):
        ensure_server(SMOL, state_root=root, start_timeout_s=0.1)
    assert embedded._living_pid(root / SMOL) is None
