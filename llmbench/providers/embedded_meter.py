"""One running model server: its address, its slot, and what a request at it costs.

slot.lock, in the server's state folder, is held for one request: the server has one slot. It contains a byte
while a request is under way; a byte found there is the trace of a client that left before its answer came.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from llmbench.errors import EmbeddedServerError
from llmbench.providers import embedded_server as program

if sys.platform != "win32":
    import fcntl

SLOT_LOCK: Final = "slot.lock"

_POLL_S: Final = 0.005
_HTTP_TIMEOUT_S: Final = 5.0
_SETTLE_S: Final = 5.0  # the engine notices within about 1 s that a client is gone
_UNDER_WAY: Final = b"1"
_STARTED: Final = program.REQUEST_STARTED.encode()
_ENDED: Final = program.REQUEST_ENDED.encode()
_LOG_TAIL_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running server of one local model.

    Attributes:
        name: the local model's name.
        base_url: address of the OpenAI dialect, ending in /v1.
        api_key: the key that the server asks for; left out of the repr.
        pid: its process.
        version: the model's version, as results record it.
        state_dir: the folder of its locks and its log.
    """

    name: str
    base_url: str
    api_key: str = field(repr=False)
    pid: int
    version: str
    state_dir: Path


@dataclass(slots=True)
class Meter:
    """What one request at one server cost. Filled in while the block runs; complete after it.

    Attributes:
        queued_ms: wait for the server's one slot, milliseconds.
        cpu_s: processor seconds that the server spent on this request, or None where that cannot be told.
        load: how busy the machine was at the end: "cpu_some_avg10" (percent of the last 10 s in which some
            process waited for a processor; None outside Linux) and "loadavg1".
    """

    queued_ms: float = 0.0
    cpu_s: float | None = None
    load: dict[str, float | None] = field(default_factory=dict)


def request_count(server: EmbeddedServer) -> int:
    """How many generation requests the server itself has started since its own start.

    Read from the engine's log, which has one line for each request that gets the slot: also for one whose
    client was killed before the answer came, and for one refused because its prompt is too long. What is
    refused earlier (a wrong key, malformed JSON) does not count. The engine's metrics have no such counter.

    Raises:
        EmbeddedServerError: the log cannot be read.
    """
    try:
        log = (server.state_dir / program.SERVER_LOG).read_bytes()
    except OSError as error:
        raise EmbeddedServerError(f"{server.name}: the server's log cannot be read: {error}") from error
    return log.count(_STARTED)


@contextlib.contextmanager
def metered(server: EmbeddedServer) -> Iterator[Meter]:
    """Have the server to oneself for one request, and measure that request.

    Processor time is read from the server process's own clock: nanoseconds, threads that have ended included.
    Measured over 20 requests of 0.3 to 0.6 s at each model: it agreed within 0.1 ms with the sum of the
    threads' schedstat, which forgets ended threads; utime + stime of /proc/<pid>/stat, counted in ticks of
    10 ms, was up to 13 ms (3 percent) away. The slot is held across processes: all of it is this request.

    Raises:
        EmbeddedServerError: the state folder is gone.
    """
    slot = _Slot(server)
    try:
        slot.wait()
        while slot.is_settling():
            time.sleep(_POLL_S)
        with slot.measure() as meter:
            yield meter
    finally:
        slot.close()


@contextlib.asynccontextmanager
async def ametered(server: EmbeddedServer) -> AsyncIterator[Meter]:
    """As `metered`, for coroutines: the event loop goes on while this one waits for the slot.

    Raises:
        EmbeddedServerError: the state folder is gone.
    """
    import asyncio  # loaded already wherever a coroutine runs

    slot = _Slot(server)
    try:
        while not slot.is_taken():
            await asyncio.sleep(_POLL_S)
        while slot.is_settling():
            await asyncio.sleep(_POLL_S)
        with slot.measure() as meter:
            yield meter
    finally:
        slot.close()


def get(url: str, path: str, key: str) -> tuple[int, bytes]:
    """GET from a server of ours: status and body.

    Raises:
        OSError: it cannot be reached, or (TimeoutError) does not answer.
        ValueError: the address or the reply is not HTTP.
    """
    import http.client

    host, _, port = url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=_HTTP_TIMEOUT_S)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    except http.client.HTTPException as error:
        raise ValueError(f"{url} does not speak HTTP: {error!r}") from error
    finally:
        connection.close()


class _Slot:
    """The server's one slot, held by at most one request of all processes."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self._since = time.perf_counter()
        self._give_up: float | None = None
        self._is_alone = True
        try:
            # Opened anew each time: two locks of one process exclude each other only then.
            self._file = os.open(server.state_dir / SLOT_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EmbeddedServerError(
                f"{server.name}: its state folder is gone ({error}): call ensure_server again"
            ) from error

    def wait(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def is_taken(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def is_settling(self) -> bool:
        """Whether the engine still works on a request whose client left. Costs nothing if none did.

        Read from the engine's log: asking over HTTP more than once a second would start anew the very timer
        by which the engine notices that a client is gone.
        """
        if not os.pread(self._file, 1, 0) or not _is_engine_busy(self._server):
            return False
        self._give_up = self._give_up or time.monotonic() + _SETTLE_S
        self._is_alone = time.monotonic() < self._give_up
        return self._is_alone

    @contextlib.contextmanager
    def measure(self) -> Iterator[Meter]:
        meter = Meter(queued_ms=(time.perf_counter() - self._since) * 1000.0)
        os.pwrite(self._file, _UNDER_WAY, 0)
        before = _cpu_s(self._server.pid)
        try:
            yield meter
            os.ftruncate(self._file, 0)
        finally:
            after = _cpu_s(self._server.pid)
            if self._is_alone and before is not None and after is not None:
                meter.cpu_s = after - before
            meter.load = {"cpu_some_avg10": _cpu_pressure(), "loadavg1": os.getloadavg()[0]}

    def close(self) -> None:
        # Unlocked first: a child forked in the meantime has a copy of the file and would keep the lock.
        fcntl.flock(self._file, fcntl.LOCK_UN)
        os.close(self._file)


def _is_engine_busy(server: EmbeddedServer) -> bool:
    """Whether the last thing in the server's log is the start of a request and not its end."""
    try:
        os.kill(server.pid, 0)
        with (server.state_dir / program.SERVER_LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            tail = log.read()
    except OSError:
        return False  # no server, no work: the request itself will say so
    return tail.rfind(_STARTED) > tail.rfind(_ENDED)


def _cpu_s(pid: int) -> float | None:
    """Processor seconds that a process has used, or None where its clock cannot be read.

    Linux numbers the clock of another process as clock_getcpuclockid(3) does: the process id's complement
    above three bits that say "scheduler time of the whole process".
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return None


def _cpu_pressure() -> float | None:
    """The kernel's pressure figure "some avg10" for processors, percent, or None where it keeps none."""
    try:
        with open("/proc/pressure/cpu", encoding="ascii") as file:  # noqa: PTH123 (twice as fast)
            return float(file.readline().split("avg10=")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return None
