"""The program that serves one local model: `python -m llmbench.providers.embedded_server <json>`.

For a text model it imports nothing of llmbench, so that it starts as fast as the engine allows; for a voice
it imports the engine that it is told of. `embedded.py` starts it and talks to it through the files of one
state folder:

    lease.lock   every client holds a shared lock. Whoever gets the exclusive lock knows that no client is
                 left: the server tries that twice a second, and ends when it succeeds. The kernel drops a
                 lock when its holder dies, however it died, so no server outlives its clients.
    server.lock  the server holds it exclusively from its first to its last moment and writes its process id
                 into it: the proof of life that a recorded process id alone cannot be.
    server.json  address, key and settings of the running server; readable by its owner only.
    server.log   the engine's own log. It holds no prompt and no answer.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

if sys.platform != "win32":
    import fcntl

LEASE_LOCK: Final = "lease.lock"
SERVER_LOCK: Final = "server.lock"
SERVER_JSON: Final = "server.json"
SERVER_LOG: Final = "server.log"

POLL_S: Final = 0.5
LOCK_PATIENCE_S: Final = 1.0
# The engine keeps finished prompts in RAM (8 GB unless told otherwise) to reuse their beginnings.
PROMPT_CACHE_MIB: Final = 64
# How the log speaks of the slot, one line each. A test holds the text engine to these words.
REQUEST_STARTED: Final = "| processing task, is_child = 0"
REQUEST_ENDED: Final = "| stop processing: "
# The level at which the engine logs the start and the end of each request, without its text.
LOG_LEVEL: Final = 3


def batch_threads() -> int:
    """Threads for reading a prompt: two, or one where this process may use one core only."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(2, usable)


def start_engine(config: dict[str, Any], api_key: str) -> Any:
    """Load the model and start the HTTP server on the loopback interface; return the engine's handle.

    One slot: with several, the answers to the same prompts change between runs. One decode thread and passive
    OpenMP waiting: spinning threads slow each other down many times over on a machine that does other work.

    Args:
        config: name, model_path, chat_template, and settings {port, n_ctx, n_threads, n_threads_batch}.
        api_key: the key to ask for.

    Raises:
        ImportError: the engine is not installed.
        RuntimeError: the model cannot be loaded, or the port is taken; the log has the reason.
    """
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # read once, when the engine's library is loaded
    xllamacpp: Any = importlib.import_module("xllamacpp")  # it has no type information
    settings = config["settings"]
    params = xllamacpp.CommonParams()
    params.model.path = config["model_path"]
    params.model_alias = {config["name"]}
    if config["chat_template"]:
        params.chat_template = config["chat_template"]
    params.hostnames = ["127.0.0.1"]
    params.port = settings["port"]
    params.n_parallel = 1
    params.n_ctx = settings["n_ctx"]
    params.cpuparams.n_threads = settings["n_threads"]
    params.cpuparams_batch.n_threads = settings["n_threads_batch"]
    params.api_keys = [api_key]
    params.cors_origins = "http://127.0.0.1"
    params.ui = False
    params.endpoint_slots = False  # it shows prompts
    params.verbosity = LOG_LEVEL
    params.fit_params = False  # it may change settings silently, and loads the model twice to find out
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.offline = True
    return xllamacpp.Server(params)


def _starter(config: dict[str, Any]) -> Callable[[dict[str, Any], str], Any]:
    """The function that starts the engine: `start_engine`, or that of the module that the config names."""
    if "engine" not in config:
        return start_engine
    # This very copy of the package: the import path may hold another, or none.
    root = Path(__file__).parents[1]
    spec = importlib.util.spec_from_file_location(
        root.name, root / "__init__.py", submodule_search_locations=[str(root)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{root} is not a package")
    package = importlib.util.module_from_spec(spec)
    sys.modules[root.name] = package
    spec.loader.exec_module(package)
    starter: Callable[[dict[str, Any], str], Any] = importlib.import_module(config["engine"]).start_engine
    return starter


class Presence:
    """This server's visible state: its lock, its record, and the watch for its last client.

    Args:
        state_dir: the state folder; it exists.

    Raises:
        BlockingIOError: another server is alive in this folder.
    """

    def __init__(self, state_dir: Path) -> None:
        self._record = state_dir / SERVER_JSON
        self._writing = threading.Lock()
        self._alive = os.open(state_dir / SERVER_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        self._lock_server()
        self._record.unlink(missing_ok=True)  # what a killed predecessor left
        os.ftruncate(self._alive, 0)
        os.pwrite(self._alive, str(os.getpid()).encode(), 0)
        self._lease = os.open(state_dir / LEASE_LOCK, os.O_RDWR | os.O_CREAT, 0o600)

    def _lock_server(self) -> None:
        """Take server.lock. Tried for a while: a client that looks for a server holds it for an instant."""
        give_up = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(self._alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.005)
            else:
                return

    def announce(self, record: dict[str, Any]) -> None:
        """Write server.json in one step, readable by its owner only."""
        partial = self._record.with_suffix(".partial")
        with self._writing:
            partial.unlink(missing_ok=True)
            file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(file, json.dumps(record).encode())
            os.close(file)
            partial.replace(self._record)

    def end_with_last_client(self) -> None:
        """Return never: end this process once nobody holds the lease."""
        while True:
            try:
                fcntl.flock(self._lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(POLL_S)
                continue
            # The lock is kept to the end: a client that comes now waits for it, and finds no server.
            with self._writing:
                self._withdraw()
                os._exit(0)

    def _withdraw(self) -> None:
        try:
            is_own = json.loads(self._record.read_text(encoding="utf-8"))["pid"] == os.getpid()
        except (OSError, ValueError, KeyError, TypeError):
            is_own = False
        if is_own:
            self._record.unlink(missing_ok=True)


def main(argument: str) -> int:
    """Serve until the last client is gone. Problems go to the log; the exit status is then 1."""
    import datetime as dt  # here, because the clients import this module for its names only
    import secrets

    config = json.loads(argument)
    try:
        presence = Presence(Path(config["state_dir"]))
    except BlockingIOError:
        print("llmbench: another server is alive in this state folder", flush=True)
        return 1
    # Started first: a client may die while the model loads. A daemon, so that an error which nobody expected
    # ends the process and stands last in the log.
    watch = threading.Thread(target=presence.end_with_last_client, name="lease", daemon=True)
    watch.start()
    key = secrets.token_hex(16)
    try:
        engine = _starter(config)(config, key)
    except (ImportError, RuntimeError, OSError, ValueError) as error:
        print(f"llmbench: {type(error).__name__}: {error}", flush=True)
        os._exit(1)
    presence.announce(
        {
            "url": engine.listening_address,
            "api_key": key,
            "pid": os.getpid(),
            "name": config["name"],
            "version": config["version"],
            "settings": config["settings"],
            "started_at": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
        }
    )
    watch.join()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
