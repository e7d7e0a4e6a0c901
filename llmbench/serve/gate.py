"""Who may come in: the token of every request, and on loopback the name that it was asked under."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from llmbench.serve.problems import Problem

#: The one path that asks for no token; it says only that the server is there.
HEALTH: Final = "/healthz"


class Gate:
    """Lets a request through to the app, or answers it.

    A page that a browser has open can make its own name point at this machine (DNS rebinding); on loopback
    the Host header must therefore name this machine.
    """

    def __init__(self, app: ASGIApp, token: str, *, is_loopback: bool) -> None:
        self._app = app
        self._digest = _digest(token.encode())
        self._is_loopback = is_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        problem = self._problem(scope)
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await problem.response()(scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        hosts = _values(scope, b"host")
        if self._is_loopback and not (len(hosts) == 1 and names_this_machine(hosts[0])):
            message = "the Host header must name this machine: ask for 127.0.0.1, [::1] or localhost"
            return Problem(403, "host_refused", message)
        if _values(scope, b"content-length") and _values(scope, b"transfer-encoding"):
            # A proxy before us may have believed the other one: its body ends elsewhere (RFC 9112, 6.1).
            message = "give content-length or transfer-encoding, not both"
            return Problem(400, "bad_request", message, headers={"connection": "close"})
        if scope["path"] == HEALTH:
            return None
        given = _values(scope, b"authorization")
        if len(given) == 1 and self._is_right(given[0]):
            return None
        message = "send the server's token, as in `Authorization: Bearer …`"
        return Problem(401, "auth", message, headers={"www-authenticate": "Bearer"})

    def _is_right(self, given: bytes) -> bool:
        """Whether the header has the token; how long that takes says nothing of it."""
        scheme, _, token = given.partition(b" ")
        return secrets.compare_digest(_digest(token.strip()), self._digest) and scheme.lower() == b"bearer"


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == name]


def names_this_machine(host: bytes) -> bool:
    """Whether a Host header, with or without a port, is a loopback address or `localhost`."""
    text = host.decode("latin-1").strip().lower()
    name, _, port = text.rpartition(":") if not text.endswith("]") and ":" in text else (text, "", "")
    if port and not port.isdecimal():
        return False
    if name == "localhost":
        return True
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    return is_loopback(name)


def is_loopback(address: str) -> bool:
    """Whether a text is an address of this machine alone."""
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
