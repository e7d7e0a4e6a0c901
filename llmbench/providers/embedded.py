"""Start, find, share and stop the local model servers.

One process serves one model or voice, over the OpenAI dialect, on a free loopback port. Processes that ask
for the same one share its server; it lives while one of them does (`embedded_server.py` tells how). Whoever
calls asks `ensure_server` for address and key, wraps each call in `metered` or `ametered`, and needs no more.

State lies in `<cache>/servers/<name>/`. Beside the server's own files, start.lock is held while a server is
looked for and started, so that one start happens at a time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from llmbench.errors import EmbeddedServerError
from llmbench.providers import embedded_server as program
from llmbench.providers.embedded_meter import EmbeddedServer, Meter, ametered, get, metered, request_count
from llmbench.providers.local_models import default_cache_dir, find_model, local_model, model_version
from llmbench.providers.local_voices import LocalVoice, lacking

if sys.platform != "win32":
    import fcntl

__all__ = [
    "EmbeddedServer",
    "Meter",
    "ametered",
    "ensure_server",
    "metered",
    "release",
    "request_count",
    "require_engine",
    "running_server",
]

START_LOCK: Final = "start.lock"
VOICE_ENGINE: Final = "llmbench.providers.voice_server"
ENGINE_COMMAND: Final = 'pip install "llmbench[local]"'

_POLL_S: Final = 0.01
_KILL_S: Final = 5.0


def ensure_server(
    name: str,
    *,
    state_root: Path | None = None,
    port: int = 0,
    decode_threads: int = 1,
    start_timeout_s: float = 60.0,
) -> EmbeddedServer:
    """Find the model's running server or start one, and keep it alive for this process.

    May be called as often as wanted, from any thread; it blocks for a few milliseconds when the server runs,
    and for the model's loading time when it does not. The lease it takes ends with `release` or with this
    process (a forked child shares it).

    Args:
        name: a key of `local_models.MODELS` or `local_voices.VOICES`.
        state_root: parent of the state folder; default `<cache>/servers`.
        port: 0 for a free one.
        decode_threads: 2 is a quarter faster on an idle machine, and many times slower on a busy one.
        start_timeout_s: limit for the whole call, seconds.

    Raises:
        EmbeddedServerError: engine or model is not installed, the model file is damaged, the port is taken,
            the server ended while loading, did not get ready in time, or runs with other settings for someone
            else; or this is not a Unix system.
    """
    wanted = _Wanted(name, state_root or default_cache_dir() / "servers", port, decode_threads)
    deadline = time.monotonic() + start_timeout_s
    is_new = _hold_lease(wanted, deadline)
    try:
        seen = _look(wanted)
        if isinstance(seen, EmbeddedServer):
            return seen
        with _start_lock(wanted, deadline):
            return _start(wanted, deadline)
    except BaseException:
        if is_new:
            _drop_lease(wanted.state_dir)
        raise


def require_engine(name: str) -> None:
    """Make sure that the engine of a local model or voice is installed.

    Raises:
        EmbeddedServerError: it is not; the text names the command that installs it.
    """
    model = local_model(name)
    if isinstance(model, LocalVoice):
        if missing := lacking(model):
            raise EmbeddedServerError(
                f"{name}: not installed, or in another version than the pinned one: {', '.join(missing)}: "
                f"run `{model.weights.pull_command}`"
            )
        return
    if importlib.util.find_spec("xllamacpp") is None:
        raise EmbeddedServerError(
            f"{name}: the engine of the local models is missing: run `{ENGINE_COMMAND}`"
        )


def running_server(name: str, *, state_root: Path | None = None) -> EmbeddedServer | None:
    """The model's server if one runs and answers, whatever its settings. Starts nothing, takes no lease."""
    seen = _look(_Wanted(name, state_root or default_cache_dir() / "servers", None, None))
    return seen if isinstance(seen, EmbeddedServer) else None


def release(name: str | None = None) -> None:
    """Give up this process's lease on the servers of one model, or of all.

    A server without any lease ends within about half a second.
    """
    with _leases_guard:
        for state_dir in [path for path in _leases if name is None or path.name == name]:
            os.close(_leases.pop(state_dir))


# ---- leases

_leases: dict[Path, int] = {}
_leases_guard = threading.Lock()


class _Wanted:
    """The server that a caller wants: which model, where, and with which settings (None: any)."""

    def __init__(self, name: str, state_root: Path, port: int | None, decode_threads: int | None) -> None:
        if sys.platform == "win32":
            raise EmbeddedServerError("the embedded models need Linux or macOS: use a hosted model, or WSL")
        self.model = local_model(name)
        self.name = name
        self.version = model_version(name)
        self.state_dir = state_root.absolute() / name
        self.settings: dict[str, int | None] = {"port": port, "n_threads": decode_threads}
        if not isinstance(self.model, LocalVoice):
            threads = max(program.batch_threads(), decode_threads or 1)
            self.settings |= {"n_ctx": self.model.n_ctx, "n_threads_batch": threads}
        self.takes_any = decode_threads is None

    def engine(self) -> dict[str, str | None]:
        """What the server program needs to know of the model itself."""
        path = str(find_model(self.name))
        if isinstance(self.model, LocalVoice):
            return {"model_path": path, "engine": VOICE_ENGINE}
        return {"model_path": path, "chat_template": self.model.chat_template}

    def fits(self, record: dict[str, Any]) -> bool:
        """Whether a running server's record is what is wanted. Port 0 is content with any port."""
        mine = dict(self.settings)
        if mine["port"] == 0:
            mine["port"] = record["settings"].get("port")
        return self.takes_any or (record["version"] == self.version and record["settings"] == mine)


def _hold_lease(wanted: _Wanted, deadline: float) -> bool:
    """Hold the shared lock on the lease for this process. True when it was not held before."""
    path = wanted.state_dir / program.LEASE_LOCK
    try:
        wanted.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _leases_guard:
            held = _leases.get(wanted.state_dir)
            if held is not None:
                if path.exists() and os.path.samestat(os.fstat(held), path.stat()):
                    return False
                os.close(_leases.pop(wanted.state_dir))  # somebody emptied the state folder
            file = _locked(path, fcntl.LOCK_SH, deadline)
            if file is None:
                raise EmbeddedServerError(
                    f"{wanted.name}: an ending server does not let go of {path}: try again"
                )
            _leases[wanted.state_dir] = file
    except OSError as error:
        raise EmbeddedServerError(
            f"{wanted.name}: the state folder cannot be used ({error}): "
            "set LLMBENCH_CACHE to a writable folder"
        ) from error
    return True


def _drop_lease(state_dir: Path) -> None:
    with _leases_guard:
        if state_dir in _leases:
            # Closed, not unlocked: a forked child that shares the lock keeps it.
            os.close(_leases.pop(state_dir))


def _locked(path: Path, kind: int, deadline: float) -> int | None:
    """An open, locked file, or None when the deadline came first."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(file)
                return None
            time.sleep(_POLL_S)
        except BaseException:
            os.close(file)
            raise
        else:
            return file


@contextlib.contextmanager
def _start_lock(wanted: _Wanted, deadline: float) -> Iterator[None]:
    file = _locked(wanted.state_dir / START_LOCK, fcntl.LOCK_EX, deadline)
    if file is None:
        raise EmbeddedServerError(
            f"{wanted.name}: another process has been starting this server all the time: "
            f"see {wanted.state_dir / program.SERVER_LOG}"
        )
    try:
        yield
    finally:
        os.close(file)


# ---- finding and starting

_Sight = Literal["absent", "loading", "broken", "other"]


def _look(wanted: _Wanted) -> EmbeddedServer | _Sight:
    """What the state folder shows.

    absent: no server process lives. loading: one lives and has not announced itself. broken: one lives that
    does not answer as its record says. other: one lives with other settings.
    """
    pid = _living_pid(wanted.state_dir)
    if pid is None:
        return "absent"
    try:
        record = json.loads((wanted.state_dir / program.SERVER_JSON).read_text(encoding="utf-8"))
        if record["pid"] != pid:
            return "loading"
        url, key, fits = str(record["url"]), str(record["api_key"]), wanted.fits(record)
        version = str(record["version"])
        status, _ = get(url, "/props", key)  # asks for the key, and answers 503 while the model loads
    except FileNotFoundError:
        return "loading"
    except TimeoutError:
        return "loading"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "broken"
    if status == 503:
        return "loading"
    if status != 200:
        return "broken"
    return EmbeddedServer(wanted.name, f"{url}/v1", key, pid, version, wanted.state_dir) if fits else "other"


def _living_pid(state_dir: Path) -> int | None:
    """Process id of the server that holds server.lock (0 before it wrote it), or None when nobody does."""
    try:
        file = os.open(state_dir / program.SERVER_LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.pread(file, 20, 0) or b"0")
    else:
        return None
    finally:
        os.close(file)


def _start(wanted: _Wanted, deadline: float) -> EmbeddedServer:
    """Bring the state folder to a ready server. The caller holds start.lock and the lease."""
    process: subprocess.Popen[bytes] | None = None
    while True:
        seen = _look(wanted)
        if isinstance(seen, EmbeddedServer):
            return seen
        if process is not None and process.poll() is not None:
            raise EmbeddedServerError(_death(wanted, process.returncode))
        if seen == "broken":
            _kill(wanted.state_dir)
        elif seen == "other":
            _outwait(wanted, deadline)
        elif seen == "absent" and process is None:
            process = _spawn(wanted)
        if time.monotonic() >= deadline:
            if process is not None:
                process.kill()  # it may not have got as far as its lock
            _kill(wanted.state_dir)
            raise EmbeddedServerError(
                f"{wanted.name}: the server was not ready in time and was stopped; its last line: "
                f"{_last_line(_log(wanted))} (see {wanted.state_dir / program.SERVER_LOG})"
            )
        time.sleep(_POLL_S)


def _spawn(wanted: _Wanted) -> subprocess.Popen[bytes]:
    """Start the server program, detached: a Ctrl-C in this terminal must not end it under another client."""
    require_engine(wanted.name)
    config = {
        "name": wanted.name,
        "version": wanted.version,
        **wanted.engine(),
        "settings": wanted.settings,
        "state_dir": str(wanted.state_dir),
    }
    log = os.open(
        wanted.state_dir / program.SERVER_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600
    )
    try:
        # By its file and with -P: neither the working folder nor this package is on its import path.
        process = subprocess.Popen(
            [sys.executable, "-P", str(program.__file__), json.dumps(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
        )
    finally:
        os.close(log)
    # Collects the exit status whenever the server ends, so that it does not stay behind as a zombie.
    threading.Thread(target=process.wait, name=f"reap-{wanted.name}", daemon=True).start()
    return process


def _kill(state_dir: Path) -> None:
    """End the server that holds server.lock, and wait until it is gone."""
    give_up = time.monotonic() + _KILL_S
    while (pid := _living_pid(state_dir)) is not None and time.monotonic() < give_up:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def _outwait(wanted: _Wanted, deadline: float) -> None:
    """Let a server with other settings end, if nobody but this process holds its lease.

    Raises:
        EmbeddedServerError: somebody does.
    """
    _drop_lease(wanted.state_dir)
    give_up = time.monotonic() + 4 * program.POLL_S
    while _living_pid(wanted.state_dir) is not None:
        if time.monotonic() >= give_up:
            raise EmbeddedServerError(
                f"{wanted.name}: its server runs with other settings for another process: "
                "wait for that to end, or give another state_root"
            )
        time.sleep(_POLL_S)
    _hold_lease(wanted, deadline)


def _log(wanted: _Wanted) -> str:
    try:
        return (wanted.state_dir / program.SERVER_LOG).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _death(wanted: _Wanted, status: int) -> str:
    """Why a server ended while it was starting, as one line."""
    log, port = _log(wanted), wanted.settings["port"] or 0
    if "couldn't bind" in log or _is_taken(port):  # the engine may end before its log is written
        return f"{wanted.name}: port {port} is in use: choose another, or 0 for a free one"
    return (
        f"{wanted.name}: the server ended while starting (status {status}): {_last_line(log)} "
        f"(see {wanted.state_dir / program.SERVER_LOG})"
    )


def _is_taken(port: int) -> bool:
    """Whether another process listens on a port of this machine."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False


def _last_line(log: str) -> str:
    """The engine's last error if it logged one, else the last line at all."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if " E " in line and "exiting due to" not in line]
    return (errors or lines or ["(the log is empty)"])[-1]
