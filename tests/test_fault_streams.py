"""Every fault of a stream on every wire: it ends in an answer or a typed error, and no two texts are mixed.

Before its first piece of text a stream falls back like any call; after it the error holds what was delivered.
All streams of a wire are read at once in one event loop against real sockets; each case is reported alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmbench.catalog import Policy
from llmbench.config.environment import read_environment
from llmbench.config.load import load_config
from llmbench.config.model import Config
from llmbench.errors import ErrorKind, FallbackExhausted
from llmbench.messages import as_messages
from llmbench.providers import base
from llmbench.providers.base import HttpxTransport
from llmbench.providers.hosts import open_host
from llmbench.providers.send import Sent, wire_for
from llmbench.providers.stream import stream_once
from llmbench.routing.fallback import Outcome
from llmbench.routing.streaming import stream_candidates
from tests.conftest import CANARY
from tests.fault_calls import TOLERANCE_S, write_config
from tests.servers.fault_server import DIALECTS, Dialect, FaultServer
from tests.servers.faults import ANSWER
from tests.servers.stream_faults import BEGUN, STREAM_FAULTS

DEADLINE_S, SLOW_DEADLINE_S = 15.0, 1.5
#: The longest silence between two pieces, at the provider that falls silent.
STALL_S = 0.3
POLICY = Policy(backoff_sec=0, breaker=None)


@dataclass(frozen=True)
class Ends:
    """Kind and status of every failure, and the text that came before; `requests` to the faulty model."""

    kind: ErrorKind | None
    status: int | None = None
    text: str = ""
    requests: int = 1


_BREAKS = Ends("malformed", 200, BEGUN)
#: A status inside the stream counts as a status does: a transient one is tried again at once.
_ERROR_BEFORE_TEXT: Mapping[str, Ends] = {
    **dict.fromkeys(("chat", "responses"), Ends("server_error", 200)),
    "openrouter": Ends("server_error", 502, requests=2),
    "": Ends("server_error", 503, requests=2),
}
EXPECTED: Mapping[str, Ends | Mapping[str, Ends]] = {
    "healthy": Ends(None, text=ANSWER),
    "keep-alives-first": Ends(None, text=ANSWER),
    "byte-by-byte": Ends(None, text="四十二"),
    "json-instead": Ends(None, text=ANSWER),
    "comments-only": Ends("server_error", 200),
    "comments-for-ever": Ends("timeout"),
    "hang": Ends("timeout"),
    "empty": Ends("malformed", 200),
    "html-instead": Ends("malformed", 200),
    "status-429": Ends("rate_limit", 429, requests=2),
    "error-first": _ERROR_BEFORE_TEXT,
    "error-once": _ERROR_BEFORE_TEXT,
    "huge": Ends("malformed", 200),
    "done-only": Ends("empty", 200),
    "no-end": Ends("server_error", 200, BEGUN),
    "error-after-text": {
        **dict.fromkeys(("chat", "responses"), Ends("server_error", 200, BEGUN)),
        "openrouter": Ends("server_error", 502, BEGUN),
        "": Ends("server_error", 503, BEGUN),
    },
    "reset": Ends("connect", None, BEGUN),
    "stall": Ends("timeout", None, BEGUN),
    "cut": Ends("connect", None, BEGUN),
    "half-character": _BREAKS,
    "bad-utf8": Ends(None, text=f"{BEGUN}\ufffd\ufffd"),
    "bad-json": _BREAKS,
    "cut-off": Ends("truncated", 200, BEGUN),
    "filtered": Ends("content_filter", 200, BEGUN),
    "failed": Ends("server_error", 200),
}


@dataclass(frozen=True)
class Case:
    wire: Dialect
    name: str
    mode: str

    @property
    def key(self) -> str:
        return f"{self.name}.{self.mode}"

    @property
    def ends(self) -> Ends:
        found = EXPECTED[self.name]
        return found if isinstance(found, Ends) else found.get(self.wire) or found[""]


CASES = [
    Case(wire, name, mode)
    for wire in DIALECTS
    for name, fault in STREAM_FAULTS.items()
    if wire in fault.on
    for mode in ("alone", "pair")
]


@dataclass(frozen=True)
class Read:
    pieces: list[str]
    end: Outcome | FallbackExhausted
    elapsed_s: float
    requests: int


async def read(case: Case, config: Config, transport: HttpxTransport, server: FaultServer) -> Read:
    environment = read_environment({"STUB_KEY": CANARY})

    def open_stream(key: str) -> AsyncGenerator[str | Sent, None]:
        spec = config.models[key]
        endpoint = config.endpoints[spec.provider]
        body = wire_for(spec).body(spec, as_messages("6*7?"), {}, None, {})
        return stream_once(spec, endpoint, open_host(endpoint, environment), transport, body, None)

    candidates = [case.key] + (["healthy"] if case.mode == "pair" else [])
    deadline_s = SLOW_DEADLINE_S if STREAM_FAULTS[case.name].is_slow else DEADLINE_S
    pieces: list[str] = []
    end: Outcome | FallbackExhausted | None = None
    started = time.perf_counter()
    try:
        async with aclosing(stream_candidates(candidates, POLICY, deadline_s, open_stream)) as source:
            async for item in source:
                if isinstance(item, Outcome):
                    end = item
                else:
                    pieces.append(item)
    except FallbackExhausted as error:
        end = error
    assert end is not None, "the stream ended without a word"
    return Read(pieces, end, time.perf_counter() - started, server.seen[case.wire, case.key])


async def read_all(wire: Dialect, folder: Path, server: FaultServer) -> dict[Case, Read]:
    """The quick faults, then the slow ones: a crowd must not eat up their short deadline."""
    found: dict[Case, Read] = {}
    config, transport = load_config(folder), HttpxTransport()
    for is_slow in (False, True):
        cases = [c for c in CASES if c.wire == wire and STREAM_FAULTS[c.name].is_slow is is_slow]
        ended = await asyncio.gather(*(read(case, config, transport, server) for case in cases))
        found |= zip(cases, ended, strict=True)
    await transport.aclose()
    return found


@pytest.fixture(scope="module")
def streams(tmp_path_factory) -> dict[Case, Read]:
    """Every case of every wire, run once."""
    folder = tmp_path_factory.mktemp("streams")
    found: dict[Case, Read] = {}
    acts = {name: fault.act for name, fault in STREAM_FAULTS.items()}
    with pytest.MonkeyPatch.context() as patch, FaultServer(acts) as server:
        patch.setattr(base, "MAX_REPLY_BYTES", 1 << 20)
        for wire in DIALECTS:
            keys = [case.key for case in CASES if case.wire == wire] + ["healthy"]
            limits = {key: {"stall_s": STALL_S} for key in keys if key.startswith("stall")}
            write_config(folder / wire, wire, dict.fromkeys(keys, server.url(wire)), **limits)
            found |= asyncio.run(read_all(wire, folder / wire, server))
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.wire}-{case.key}")
def test_every_fault_of_a_stream_ends_in_an_answer_or_a_typed_error(streams, case):
    found, ends = streams[case], case.ends
    deadline_s = SLOW_DEADLINE_S if STREAM_FAULTS[case.name].is_slow else DEADLINE_S
    assert found.elapsed_s < deadline_s + TOLERANCE_S
    assert found.requests == ends.requests
    recovers = case.name == "error-once" and ends.requests == 2
    moves_on = case.mode == "pair" and ends.kind is not None and not ends.text and not recovers
    if ends.kind is None or recovers or moves_on:
        assert isinstance(found.end, Outcome), found.end
        assert found.end.model == ("healthy" if moves_on else case.key)
        text = ends.text or ANSWER
        assert ("".join(found.pieces), found.end.sent.reply.text) == (text, text)
        assert found.end.sent.ttft_ms is not None
    else:
        assert isinstance(found.end, FallbackExhausted), found.end
        failures = [(error.kind, error.status_code) for error in found.end.exceptions]
        assert failures == [(ends.kind, ends.status)] * ends.requests
        assert "".join(found.pieces) == ends.text
        assert (found.end.output or "") == ends.text
        assert CANARY not in str(found.end)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.wire}-{case.key}")
def test_the_attempts_of_a_stream_say_what_happened(streams, case):
    found, ends = streams[case], case.ends
    attempts = found.end.attempts
    is_answered = isinstance(found.end, Outcome)
    failed = [attempt for attempt in attempts if attempt.error_kind is not None]
    assert len(attempts) == len(failed) + is_answered
    assert {attempt.model for attempt in failed} <= {case.key}
    assert {(a.error_kind, a.status_code) for a in failed} <= {(ends.kind, ends.status)}
    assert bool(failed) is (ends.kind is not None)


def test_the_table_names_every_fault_of_a_stream_and_no_other():
    assert set(EXPECTED) == set(STREAM_FAULTS)
