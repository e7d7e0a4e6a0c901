"""Faults before a request is even read: names, ports and certificates. One typed error each, in plain words.

The wires have no part in them, but every wire's provider section has: each fault is met on each of them.
"""

from __future__ import annotations

import _socket
import asyncio
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import pytest

from llmbench import LLMClient
from llmbench.errors import ErrorKind, FallbackExhausted
from llmbench.jsonl import read_jsonl
from llmbench.messages import Response
from llmbench.providers import transport
from tests.conftest import CANARY
from tests.fault_calls import TOLERANCE_S, write_config
from tests.servers.fault_server import BASES, DIALECTS, FaultServer, SilentPort, closed_port
from tests.servers.faults import ANSWER, FAULTS

certificates = pytest.importorskip(
    "tests.servers.certificates",
    reason="certificates are made with the library cryptography, which is not here: NO TLS FAULT IS TESTED",
    exc_type=ImportError,
)

DEADLINE_S, SLOW_DEADLINE_S = 15.0, 1.5


@dataclass(frozen=True)
class Says:
    kind: ErrorKind | None
    words: str = ""


EXPECTED: Mapping[str, Says] = {
    "tls": Says(None),
    "tls-expired": Says("connect", "the host's certificate is not accepted: certificate has expired"),
    "tls-wrong-host": Says("connect", "the host's certificate is not accepted: Hostname mismatch"),
    "tls-unknown-authority": Says("connect", "the host's certificate is not accepted: "),
    "tls-to-plain": Says("connect", "TLS failed: "),
    "plain-to-tls": Says("connect", "connection failed: "),
    "no-such-name": Says("connect", "the host's name cannot be looked up: "),
    "refused": Says("connect", "nothing listens at the address (connection refused)"),
    "silent": Says("timeout", "no answer within"),
    "tls-silent": Says("timeout", "no connection in time"),
}
#: Ends by the call's deadline alone. A handshake that is cancelled from outside would leave httpx's socket to
#: the garbage collector, which warns: `tls-silent` ends by the time to connect.
SLOW = ("silent",)
CONNECT_S = 0.4


@pytest.fixture(scope="module")
def addresses(tmp_path_factory) -> Iterator[dict[str, str]]:
    """Scheme, host and port of every fault; the test's own authority is the only one that is trusted."""
    folder = tmp_path_factory.mktemp("certificates")
    trusted = certificates.Authority.create(folder)
    stranger = certificates.Authority.create(folder, "a stranger")
    acts = dict.fromkeys((*EXPECTED, "healthy"), FAULTS["healthy"].act)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(certifi, "where", lambda: str(trusted.path))
        transport.trusted_authorities.cache_clear()
        stack.callback(transport.trusted_authorities.cache_clear)
        patch.setattr(socket, "getaddrinfo", _look_up_nowhere(socket.getaddrinfo))

        def port(context: Any = None) -> int:
            return stack.enter_context(FaultServer(acts, context=context)).port

        plain, good, silent = port(), port(trusted.context()), stack.enter_context(SilentPort()).port
        yield {
            "tls": f"https://localhost:{good}",
            "tls-expired": f"https://localhost:{port(trusted.context(is_expired=True))}",
            "tls-wrong-host": f"https://localhost:{port(trusted.context('other.example'))}",
            "tls-unknown-authority": f"https://localhost:{port(stranger.context())}",
            "tls-to-plain": f"https://localhost:{plain}",
            "plain-to-tls": f"http://localhost:{good}",
            "no-such-name": "https://provider.invalid",
            "refused": f"http://127.0.0.1:{closed_port()}",
            "silent": f"http://127.0.0.1:{silent}",
            "tls-silent": f"https://127.0.0.1:{silent}",
            "healthy": f"http://127.0.0.1:{plain}",
        }


def _look_up_nowhere(look_up: Any) -> Any:
    """The system's own look-up, told to ask nobody for `.invalid`: it really fails, without a packet."""

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if isinstance(name, str) and name.endswith(".invalid"):
            return _socket.getaddrinfo(name, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
        return look_up(host, port, *args, **options)

    return getaddrinfo


@dataclass(frozen=True)
class Ended:
    alone: Response | FallbackExhausted
    pair: Response | FallbackExhausted
    elapsed_s: float
    lines: list[dict[str, Any]]


@pytest.fixture(params=DIALECTS, scope="module")
def ended(request, addresses, tmp_path_factory) -> dict[str, Ended]:
    """Every address on one wire, met at the same time by a model alone and by one with a healthy other."""
    folder, wire = tmp_path_factory.mktemp("addresses"), request.param
    names = [f"{name}.{mode}" for name in EXPECTED for mode in ("alone", "pair")] + ["healthy"]
    place = {name: addresses[name.partition(".")[0]] + BASES[wire] for name in names}
    limits = {name: {"connect_s": CONNECT_S} for name in names if name.startswith("tls-silent")}
    configs = write_config(folder / "configs", wire, place, **limits)
    found = asyncio.run(_call_all(configs, folder / "log.jsonl"))
    lines = [line.record for line in read_jsonl(folder / "log.jsonl")]
    return {
        name: Ended(
            found[f"{name}.alone"][0],
            found[f"{name}.pair"][0],
            max(found[f"{name}.{mode}"][1] for mode in ("alone", "pair")),
            [line for line in lines if line is not None and line["cell"] == name],
        )
        for name in EXPECTED
    }


async def _call_all(configs: Path, log: Path) -> dict[str, tuple[Response | FallbackExhausted, float]]:
    async def call(client: LLMClient, name: str, mode: str) -> tuple[Response | FallbackExhausted, float]:
        candidates = [f"{name}.{mode}"] + (["healthy"] if mode == "pair" else [])
        deadline_s = SLOW_DEADLINE_S if name in SLOW else DEADLINE_S
        started = time.perf_counter()
        try:
            ended: Response | FallbackExhausted = await client.acall(
                "caption", "6*7?", models=candidates, allow_fallback=True, timeout=deadline_s, cell=name
            )
        except FallbackExhausted as error:
            ended = error
        return ended, time.perf_counter() - started

    found: dict[str, tuple[Response | FallbackExhausted, float]] = {}
    async with LLMClient(configs, variables={"STUB_KEY": CANARY}, log_path=log) as client:
        for names in (EXPECTED.keys() - set(SLOW), SLOW):
            cells = [(name, mode) for name in names for mode in ("alone", "pair")]
            ended = await asyncio.gather(*(call(client, name, mode) for name, mode in cells))
            found |= {f"{name}.{mode}": value for (name, mode), value in zip(cells, ended, strict=True)}
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_an_address_that_fails_is_one_typed_error_in_plain_words(ended, name):
    outcome, says = ended[name], EXPECTED[name]
    assert outcome.elapsed_s < (SLOW_DEADLINE_S if name in SLOW else DEADLINE_S) + TOLERANCE_S
    assert isinstance(outcome.pair, Response), outcome.pair
    assert outcome.pair.text == ANSWER
    if says.kind is None:
        assert isinstance(outcome.alone, Response), outcome.alone
        return
    assert isinstance(outcome.alone, FallbackExhausted)
    (error,) = outcome.alone.exceptions
    assert (error.kind, error.status_code) == (says.kind, None)
    assert says.words in str(error)
    assert "\n" not in str(error)
    assert [attempt.error_kind for attempt in outcome.pair.attempts] == [says.kind, None]
    chains = sorted(line["fallback_chain"] for line in outcome.lines)
    assert chains == [[f"{name}.alone"], [f"{name}.pair", "healthy"]]
    for line in outcome.lines:
        assert line["attempts"][0]["error_kind"] == says.kind
        assert CANARY not in str(line)
