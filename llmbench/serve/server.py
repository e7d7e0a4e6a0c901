"""The endpoint as a process: its socket, its limits on connections, and how it ends on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from llmbench.errors import ConfigError
from llmbench.serve.app import build_app
from llmbench.serve.calls import Calls
from llmbench.serve.doors import Doors
from llmbench.serve.gate import is_loopback
from llmbench.serve.problems import Problem

#: Seconds that a client has for the head of a request, and for taking what was written to it.
_HEAD_S: Final = 30.0
_TAKE_S: Final = 30.0
#: Connections that are open at once; more are told to come back.
_MOST_CONNECTIONS: Final = 512
#: Seconds that cancelled calls have for their telemetry lines.
_LAST_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How the endpoint is served. `most_calls` may be in flight at once, bodies hold `most_bytes`.

    `grace_s` are the seconds that calls in flight have for ending once the server is told to.
    """

    host: str = "127.0.0.1"
    port: int = 8700
    most_bytes: int = 32 * 2**20
    most_calls: int = 256
    grace_s: float = 10.0
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)


def serve(doors: Doors, token: str, settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; then calls in flight have their grace, and the clients are closed.

    A second signal cancels them at once.

    Args:
        doors: the clients that answer; closed at the end.
        token: what every request must bring.
        settings: address and limits.
        ready: called with the address once it is served.

    Raises:
        ConfigError: the address cannot be used, or a TLS file cannot be read.
    """
    listening = bound(settings.host, settings.port)
    with contextlib.closing(listening):
        asyncio.run(_serve(doors, token, settings, listening, ready))


async def _serve(
    doors: Doors, token: str, settings: Settings, listening: socket.socket, ready: Callable[[str], None]
) -> None:
    calls = Calls(settings.most_calls)
    app = build_app(doors, calls, token, is_loopback=settings.is_loopback, most_bytes=settings.most_bytes)
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=max(1, round(settings.grace_s + _LAST_S)),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"--tls-cert and --tls-key cannot be used: {error.strerror or error}") from error
    scheme = "https" if settings.tls_cert else "http"
    server = _Server(config, calls, settings.grace_s, lambda: ready(f"{scheme}://{_address(listening)}/v1"))
    try:
        await server.serve(sockets=[listening])
    finally:
        await doors.aclose()


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at an address; port 0 takes a free one.

    Raises:
        ConfigError: there is no such address here, or its port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            "127.0.0.1" if host == "localhost" else host,
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host}: no such address here: {error}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"port {port} of {host} cannot be used: {error.strerror}; choose another with --port"
        ) from error
    listening.setblocking(False)
    return listening


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn's server, which ends its calls on a signal and does not raise the signal again."""

    def __init__(
        self, config: uvicorn.Config, calls: Calls, grace_s: float, ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._calls, self._grace_s, self._ready = calls, grace_s, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets=sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End on SIGINT and SIGTERM; only the main thread hears them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _end(self) -> None:
        if self.should_exit:
            self._calls.cancel()
            return
        self.should_exit = True
        asyncio.get_running_loop().call_later(self._grace_s, self._calls.cancel)


class PatientProtocol(H11Protocol):
    """uvicorn's connection, which does not wait for ever: for a request's head, or for what is not taken."""

    _head: asyncio.TimerHandle | None = None
    _take: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection is open: its first request is due."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        super().data_received(data)
        self._await_head()

    def _await_head(self) -> None:
        """Limit the wait for a head; while a request is answered none is due."""
        is_due = self.cycle is None or self.cycle.response_complete
        if is_due and self._head is None:
            self._head = self.loop.call_later(_HEAD_S, self.transport.abort)
        elif not is_due and self._head is not None:
            self._head.cancel()
            self._head = None

    def pause_writing(self) -> None:
        """The client does not take what was written."""
        super().pause_writing()
        self._take = self.loop.call_later(_TAKE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._take is not None:
            self._take.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over, and so is every wait."""
        super().connection_lost(exc)
        for timer in (self._head, self._take):
            if timer is not None:
                timer.cancel()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the shape of all other errors."""
        response = Problem(400, "bad_request", msg).response()
        headers: list[Any] = [*response.raw_headers, (b"connection", b"close")]
        reason = HTTPStatus.BAD_REQUEST.phrase.encode()
        for event in (
            h11.Response(status_code=400, headers=headers, reason=reason),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event=event) or b"")
        self.transport.close()
