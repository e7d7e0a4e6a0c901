"""Every fault of a stream on every wire: it ends in an answer or a typed error, and no two texts are mixed.

Before its first piece of text a stream falls back like any call; after it the error holds what was delivered.
All streams of a wire are read at once in one event loop against real sockets; each case is reported alone.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from llmbench import LLMClient
from llmbench.errors import ErrorKind, FallbackExhausted
from llmbench.messages import Response
from llmbench.providers import base
from tests.conftest import CANARY
from tests.fault_calls import TOLERANCE_S, lines_by_cell, write_config
from tests.servers.fault_server import DIALECTS, Dialect, FaultServer
from tests.servers.faults import ANSWER
from tests.servers.stream_faults import BEGUN, STREAM_FAULTS

DEADLINE_S, SLOW_DEADLINE_S = 15.0, 1.5
#: The longest silence between two pieces, at the provider that falls silent.
STALL_S = 0.3


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
    def recovers(self) -> bool:
        """The second request to the same model is answered."""
        return self.name == "error-once" and self.ends.requests == 2

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
    """What a reader got, how the stream ended, its telemetry lines and the requests to the faulty model."""

    pieces: list[str]
    end: Response | FallbackExhausted
    elapsed_s: float
    lines: tuple[dict[str, Any], ...] = ()
    requests: int = 0


async def read(client: LLMClient, case: Case) -> Read:
    candidates = [case.key] + (["healthy"] if case.mode == "pair" else [])
    deadline_s = SLOW_DEADLINE_S if STREAM_FAULTS[case.name].is_slow else DEADLINE_S
    pieces: list[str] = []
    started = time.perf_counter()
    stream = client.stream(
        "caption", "6*7?", models=candidates, allow_fallback=True, timeout=deadline_s, cell=case.key
    )
    try:
        async for piece in stream:
            pieces.append(piece)  # noqa: PERF401, the pieces before a failure count
        end: Response | FallbackExhausted = stream.response
    except FallbackExhausted as error:
        end = error
    return Read(pieces, end, time.perf_counter() - started)


async def read_all(wire: Dialect, folder: Path, log: Path) -> dict[Case, Read]:
    """The quick faults, then the slow ones: a crowd must not eat up their short deadline."""
    found: dict[Case, Read] = {}
    async with LLMClient(folder, variables={"STUB_KEY": CANARY}, log_path=log) as client:
        for is_slow in (False, True):
            cases = [c for c in CASES if c.wire == wire and STREAM_FAULTS[c.name].is_slow is is_slow]
            found |= zip(cases, await asyncio.gather(*(read(client, case) for case in cases)), strict=True)
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
            log = folder / f"{wire}.jsonl"
            ran = asyncio.run(read_all(wire, folder / wire, log))
            lines = lines_by_cell(log)
            for case, outcome in ran.items():
                requests = server.seen[wire, case.key]
                found[case] = replace(outcome, lines=tuple(lines[case.key]), requests=requests)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.wire}-{case.key}")
def test_every_fault_of_a_stream_ends_in_an_answer_or_a_typed_error(streams, case):
    found, ends = streams[case], case.ends
    deadline_s = SLOW_DEADLINE_S if STREAM_FAULTS[case.name].is_slow else DEADLINE_S
    assert found.elapsed_s < deadline_s + TOLERANCE_S
    assert found.requests == ends.requests
    moves_on = case.mode == "pair" and ends.kind is not None and not ends.text and not case.recovers
    if ends.kind is None or case.recovers or moves_on:
        assert isinstance(found.end, Response), found.end
        assert found.end.model == ("healthy" if moves_on else case.key)
        text = ends.text or ANSWER
        assert ("".join(found.pieces), found.end.text) == (text, text)
        assert found.end.ttft_ms is not None
    else:
        assert isinstance(found.end, FallbackExhausted), found.end
        failures = [(error.kind, error.status_code) for error in found.end.exceptions]
        assert failures == [(ends.kind, ends.status)] * ends.requests
        assert "".join(found.pieces) == ends.text
        assert (found.end.output or "") == ends.text


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.wire}-{case.key}")
def test_every_stream_leaves_one_line_that_says_what_happened(streams, case):
    found, ends = streams[case], case.ends
    (line,) = found.lines
    has_answer = isinstance(found.end, Response)
    moved_on = has_answer and found.end.model == "healthy"
    failed = 0 if ends.kind is None else ends.requests - case.recovers
    attempts = line["attempts"]
    assert line["status"] == ("success" if has_answer else "fail")
    assert line["fallback_chain"] == [case.key, *(["healthy"] if moved_on else [])]
    assert len(attempts) == failed + has_answer
    for attempt in attempts[:failed]:
        assert (attempt["model"], attempt["error_kind"]) == (case.key, ends.kind)
        assert attempt.get("status_code") == ends.status
    assert (line["ttft_ms"] is not None) is has_answer
    if not has_answer:
        assert (line["error_kind"], line["status_code"]) == (ends.kind, ends.status)
    assert CANARY not in json.dumps(line) + str(found.end)


def test_the_table_names_every_fault_of_a_stream_and_no_other():
    assert set(EXPECTED) == set(STREAM_FAULTS)
