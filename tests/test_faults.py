"""Every fault on every wire: a call ends with an answer or a typed error, and its telemetry line says why.

All calls of a wire run at once in one event loop against real sockets; each case is reported by itself.
`alone` has the faulty model as its only candidate, `pair` has a healthy one behind it.
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
from llmbench.catalog import NEVER_FALL_BACK
from llmbench.errors import ErrorKind, FallbackExhausted, LLMBenchError
from llmbench.messages import Response
from llmbench.providers import base
from tests.conftest import CANARY
from tests.fault_calls import TOLERANCE_S, lines_by_cell, write_config
from tests.servers.fault_server import DIALECTS, Dialect, FaultServer
from tests.servers.faults import ANSWER, FAULTS, KEY_ID

#: Seconds that a call may take. A hanging provider uses up half of them while another candidate waits.
DEADLINE_S, SLOW_DEADLINE_S = 15.0, 1.5
#: Quick calls that run at once; httpx's pool takes time that grows with the square of their number.
AT_ONCE = 24
MODES = ("alone", "pair")


@dataclass(frozen=True)
class Ends:
    """What each failed attempt must say; `requests` is how many of them the faulty model gets.

    One that `recovers` answers after its failures; a kind of None means that nothing fails.
    """

    kind: ErrorKind | None
    status: int | None
    requests: int = 1
    recovers: bool = False


def again(kind: ErrorKind, status: int) -> Ends:
    """A transient failure: the policy asks the same model once more."""
    return Ends(kind, status, requests=2)


_RECOVERS = Ends("rate_limit", 429, requests=2, recovers=True)
_MALFORMED, _BROKEN, _TIMEOUT = Ends("malformed", 200), Ends("connect", None), Ends("timeout", None)
EXPECTED: Mapping[str, Ends | Mapping[str, Ends]] = {
    "healthy": Ends(None, None),
    "bad-request-400": Ends("bad_request", 400),
    "unsupported-param-400": Ends("unsupported_param", 400),
    "context-length-400": Ends("context_length", 400),
    "content-filter-400": Ends("content_filter", 400),
    "bad-key": {"gemini": Ends("auth", 400), "": Ends("auth", 401)},
    "bad-key-flat": Ends("auth", 401),
    "credits-402": Ends("quota", 402),
    "in-flight-402": Ends("rate_limit", 402),
    "forbidden-403": Ends("auth", 403),
    "moderation-403": Ends("content_filter", 403),
    "model-404": Ends("model_not_found", 404),
    "timeout-408": again("timeout", 408),
    "conflict-409": again("server_error", 409),
    "too-large-413": Ends("bad_request", 413),
    "unprocessable-422": Ends("bad_request", 422),
    "quota-429": Ends("quota", 429),
    "free-limit-429": Ends("quota", 429),
    "rate-429-long": Ends("rate_limit", 429),
    "rate-429-none": again("rate_limit", 429),
    "rate-429-seconds-once": _RECOVERS,
    "rate-429-ms-once": _RECOVERS,
    "rate-429-date-once": _RECOVERS,
    "rate-429-info-once": _RECOVERS,
    "no-capacity-429": again("server_error", 429),
    "server-500": again("server_error", 500),
    "html-502": again("server_error", 502),
    "unavailable-503": again("server_error", 503),
    "unavailable-503-long": Ends("server_error", 503),
    "gateway-504": again("timeout", 504),
    "edge-524": again("server_error", 524),
    "overloaded-529": again("server_error", 529),
    "redirect-302": Ends("server_error", 302),
    "redirect-307": Ends("server_error", 307),
    "redirect-308": Ends("server_error", 308),
    **dict.fromkeys(("hang-before", "hang-after-headers", "hang-mid-body", "drip"), _TIMEOUT),
    **dict.fromkeys(("reset-before", "close-before"), _BROKEN),
    **dict.fromkeys(("reset-mid-body", "short-body"), Ends("connect", 200)),  # a host may charge for it
    **dict.fromkeys(("broken-chunks", "not-http", "endless-headers"), _BROKEN),
    **dict.fromkeys(("truncated-json", "html-200", "empty-200", "white-space-200"), _MALFORMED),
    **dict.fromkeys(("array-200", "deep-200", "nan-200", "bad-utf8-200", "no-choices"), _MALFORMED),
    **dict.fromkeys(("huge-200", "bomb-200"), _MALFORMED),
    "bad-gzip-200": Ends("malformed", 200),
    "error-200": again("server_error", 502),
    "error-text-200": Ends("server_error", 200),
    "failed-200": {"openrouter": again("server_error", 502), "": Ends("server_error", 200)},
    "failed-rate-200": {"openrouter": again("rate_limit", 429), "": Ends("rate_limit", 200)},
    "empty-content": Ends("empty", 200),
    "cut-off": Ends("truncated", 200),
    "filtered-200": Ends("content_filter", 200),
    "prompt-blocked-200": Ends("content_filter", 200),
    "refusal-200": Ends(None, None),
}


def expected(wire: str, name: str) -> Ends:
    found = EXPECTED[name]
    return found if isinstance(found, Ends) else found.get(wire) or found[""]


@dataclass(frozen=True)
class Case:
    wire: Dialect
    name: str
    mode: str

    @property
    def cell(self) -> str:
        return f"{self.name}.{self.mode}"


CASES = [
    Case(wire, name, mode)
    for wire in DIALECTS
    for name, fault in FAULTS.items()
    if wire in fault.on
    for mode in MODES
]


@dataclass(frozen=True)
class Outcome:
    """How one call ended, its telemetry lines, and how many requests the faulty model got."""

    ended: Response | LLMBenchError
    elapsed_s: float
    lines: tuple[dict[str, Any], ...] = ()
    requests: int = 0


async def call(client: LLMClient, case: Case, deadline_s: float) -> Outcome:
    candidates = [case.cell] + (["healthy"] if case.mode == "pair" else [])
    started = time.perf_counter()
    try:
        ended: Response | LLMBenchError = await client.acall(
            "caption", "6*7?", models=candidates, allow_fallback=True, timeout=deadline_s, cell=case.cell
        )
    except LLMBenchError as error:
        ended = error
    return Outcome(ended, time.perf_counter() - started)


async def run_all(folder: Path, log: Path, cases: list[Case]) -> dict[Case, Outcome]:
    """The quick faults, then the slow ones: a crowd must not eat up their short deadline."""
    places = asyncio.Semaphore(AT_ONCE)

    async def quick(case: Case) -> Outcome:
        async with places:
            return await call(client, case, DEADLINE_S)

    found: dict[Case, Outcome] = {}
    async with LLMClient(folder, variables={"STUB_KEY": CANARY}, log_path=log) as client:
        for is_slow in (False, True):
            some = [case for case in cases if FAULTS[case.name].is_slow is is_slow]
            ended = (call(client, case, SLOW_DEADLINE_S) if is_slow else quick(case) for case in some)
            found |= zip(some, await asyncio.gather(*ended), strict=True)
    return found


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[Case, Outcome]:
    """Every case of every wire, run once; a wire's calls all at the same time."""
    folder = tmp_path_factory.mktemp("faults")
    found: dict[Case, Outcome] = {}
    with pytest.MonkeyPatch.context() as patch, FaultServer({n: f.act for n, f in FAULTS.items()}) as server:
        patch.setattr(base, "MAX_REPLY_BYTES", 1 << 20)
        for wire in DIALECTS:
            cells = [case.cell for case in CASES if case.wire == wire] + ["healthy"]
            write_config(folder / wire, wire, dict.fromkeys(cells, server.url(wire)))
            log = folder / f"{wire}.jsonl"
            ran = asyncio.run(run_all(folder / wire, log, [case for case in CASES if case.wire == wire]))
            lines = lines_by_cell(log)
            for case, outcome in ran.items():
                requests = server.seen[wire, case.cell]
                found[case] = replace(outcome, lines=tuple(lines[case.cell]), requests=requests)
        strays = list(server.strays)
    assert not strays, "a redirect was followed"
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.wire}-{case.cell}")
def test_every_fault_ends_in_an_answer_or_a_typed_error(outcomes, case):
    outcome, ends = outcomes[case], expected(case.wire, case.name)
    deadline_s = SLOW_DEADLINE_S if FAULTS[case.name].is_slow else DEADLINE_S
    assert outcome.elapsed_s < deadline_s + TOLERANCE_S
    assert outcome.requests == ends.requests
    moves_on = case.mode == "pair" and ends.kind is not None and ends.kind not in NEVER_FALL_BACK
    if ends.kind is None or ends.recovers or moves_on:
        assert isinstance(outcome.ended, Response), outcome.ended
        assert outcome.ended.model == ("healthy" if moves_on and not ends.recovers else case.cell)
        assert outcome.ended.finish_reason == ("refusal" if case.name == "refusal-200" else "stop")
        assert ends.kind is None or outcome.ended.text == ANSWER
    else:
        assert isinstance(outcome.ended, FallbackExhausted), outcome.ended
        failures = [(error.kind, error.status_code) for error in outcome.ended.exceptions]
        assert failures == [(ends.kind, ends.status)] * ends.requests


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.wire}-{case.cell}")
def test_every_call_leaves_one_line_that_says_what_happened(outcomes, case):
    outcome, ends = outcomes[case], expected(case.wire, case.name)
    (line,) = outcome.lines
    has_answer = isinstance(outcome.ended, Response)
    moved_on = has_answer and outcome.ended.model == "healthy" and case.name != "healthy"
    failed = 0 if ends.kind is None else ends.requests - ends.recovers
    attempts = line["attempts"]
    assert line["status"] == ("success" if has_answer else "fail")
    assert line["fallback_chain"] == [case.cell, *(["healthy"] if moved_on else [])]
    assert len(attempts) == failed + has_answer
    for attempt in attempts[:failed]:
        assert (attempt["model"], attempt["error_kind"]) == (case.cell, ends.kind)
        assert attempt.get("status_code") == ends.status
    if has_answer:
        assert attempts[-1].get("error_kind") is None
        lost = sum(attempt["waited_ms"] for attempt in attempts)
        lost += sum(attempt["latency_ms"] + attempt["queued_ms"] for attempt in attempts[:failed])
        assert line["wasted_ms"] == pytest.approx(lost, abs=0.1)
        assert (line["wasted_ms"] > 0) is (failed > 0)
    else:
        assert (line["error_kind"], line["status_code"]) == (ends.kind, ends.status)
        assert line["wasted_ms"] == line["latency_ms"] > 0
    said = json.dumps(line) + str(outcome.ended)
    assert CANARY not in said
    assert KEY_ID not in said
    assert "s3cr3t" not in said


def test_the_table_names_every_fault_and_no_other():
    assert set(EXPECTED) == set(FAULTS)
