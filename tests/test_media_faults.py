"""Every fault on every media wire: a picture, a narration or one typed error, and a line that says why.

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

import pytest

from llmbench import ImageClient, SpeechClient
from llmbench.catalog import NEVER_FALL_BACK
from llmbench.errors import FallbackExhausted, LLMBenchError
from llmbench.media import ImageResponse, SpeechResponse
from llmbench.providers import base
from tests.conftest import CANARY, provider
from tests.fault_calls import TOLERANCE_S, lines_by_cell
from tests.media_calls import write_folder
from tests.servers.fault_server import FaultServer
from tests.servers.faults import KEY_ID
from tests.servers.media_faults import PLACES, MediaWire, media_faults, picture, sound
from tests.test_faults import EXPECTED, MODES, Ends, Outcome

DEADLINE_S, SLOW_DEADLINE_S = 15.0, 1.5
AT_ONCE = 24
TEXT = "おはよう。"
#: What ends otherwise than on a text wire, by wire or by its kind.
OTHERWISE: Mapping[str, Mapping[str, Ends]] = {
    "nothing-200": {"": Ends("no_media", 200)},
    "broken-200": {"": Ends("malformed", 200), "speech-gemini": Ends("no_media", 200)},
    "filtered-200": {"": Ends("content_filter", 200)},
}
FAULTS = {wire: media_faults(wire) for wire in PLACES}


def expected(wire: MediaWire, name: str) -> Ends:
    found = EXPECTED.get(name, {})
    by_dialect = {"": found} if isinstance(found, Ends) else found
    by_wire = {**by_dialect, **OTHERWISE.get(name, {})}
    ends = by_wire.get(wire) or by_wire.get(PLACES[wire].dialect) or by_wire[""]
    return as_ticket(ends) if wire == "images-ticket" and not ends.recovers else ends


def as_ticket(ends: Ends) -> Ends:
    """The same where a ticket's result is asked for: it may be paid for, so no other takes its place."""
    if ends.kind is None or (ends.kind == "timeout" and ends.status is None):
        return ends
    return replace(ends, kind="server_error" if ends.status == 404 else ends.kind, status=200, requests=1)


@dataclass(frozen=True)
class Case:
    wire: MediaWire
    name: str
    mode: str

    @property
    def cell(self) -> str:
        return f"{self.name}.{self.mode}"


#: Wires of the same form as another: what hangs there hangs here too.
ALIKE = ("images-azure", "images-openrouter", "speech-azure", "speech-openrouter")
CASES = [
    Case(wire, name, mode)
    for wire, faults in FAULTS.items()
    for name, fault in faults.items()
    for mode in MODES
    if wire not in ALIKE or not fault.is_slow
]


def folder_of(folder: Path, wire: MediaWire, server: FaultServer, cells: list[str]) -> Path:
    """A config with a provider and a model for each cell, so that no call meets what another left behind."""
    place, kind = PLACES[wire], wire.partition("-")[0]
    url = server.url(place.dialect)
    return write_folder(
        folder,
        **{
            f"{kind.removesuffix('s') if kind == 'images' else kind}_models": {
                "providers": {cell: provider(url, **place.provider) for cell in cells},
                "models": {
                    cell: {"provider": cell, "model_name": place.path.format(cell), **place.model}
                    for cell in cells
                },
                "tiers": {"t": ["healthy"]},
                "tasks": {"make": {"tier": "t"}},
            },
            "llm_fallback_policy": {"backoff_sec": 0, "max_total_wait_sec": 1},
        },
    )


async def call(client: ImageClient | SpeechClient, case: Case, deadline_s: float) -> Outcome:
    candidates = [case.cell] + (["healthy"] if case.mode == "pair" else [])
    ask = client.agenerate if isinstance(client, ImageClient) else client.asynthesize
    started = time.perf_counter()
    try:
        ended = await ask(
            "make", TEXT, models=candidates, allow_fallback=True, timeout=deadline_s, cell=case.cell
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

    door = ImageClient if cases[0].wire.startswith("images") else SpeechClient
    found: dict[Case, Outcome] = {}
    async with door(folder, variables={"STUB_KEY": CANARY}, log_path=log) as client:
        for is_slow in (False, True):
            some = [case for case in cases if FAULTS[case.wire][case.name].is_slow is is_slow]
            ended = (call(client, case, SLOW_DEADLINE_S) if is_slow else quick(case) for case in some)
            found |= zip(some, await asyncio.gather(*ended), strict=True)
    return found


def run_wire(folder: Path, wire: MediaWire) -> dict[Case, Outcome]:
    """Every case of one wire, with its lines and how many requests the faulty model got."""
    cases = [case for case in CASES if case.wire == wire]
    found: dict[Case, Outcome] = {}
    with FaultServer({name: fault.act for name, fault in FAULTS[wire].items()}) as server:
        log = folder / f"{wire}.jsonl"
        configs = folder_of(folder / wire, wire, server, [*(case.cell for case in cases), "healthy"])
        ran = asyncio.run(run_all(configs, log, cases))
        lines = lines_by_cell(log)
        for case, outcome in ran.items():
            requests = server.seen[PLACES[wire].dialect, case.cell]
            found[case] = replace(outcome, lines=tuple(lines[case.cell]), requests=requests)
        assert not server.strays, "a redirect was followed"
    return found


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[Case, Outcome]:
    folder = tmp_path_factory.mktemp("faults")
    found: dict[Case, Outcome] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "MAX_REPLY_BYTES", 1 << 20)
        for wire in PLACES:
            found |= run_wire(folder, wire)
    return found


def is_right(ended: object) -> bool:
    """Whether an answer is what a healthy model makes."""
    if isinstance(ended, ImageResponse):
        return [image.data for image in ended.images] == [picture()]
    assert isinstance(ended, SpeechResponse)
    return ended.duration_s * ended.rate_hz * 2 == len(sound(TEXT))


def failures(case: Case) -> int:
    """How many attempts fail; a result that is not there yet is asked for again within one attempt."""
    ends = expected(case.wire, case.name)
    if ends.kind is None or (ends.recovers and case.wire == "images-ticket"):
        return 0
    return ends.requests - ends.recovers


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.wire}-{case.cell}")
def test_every_fault_ends_in_the_right_answer_or_one_typed_error_with_one_line(outcomes, case):
    outcome, ends, failed = outcomes[case], expected(case.wire, case.name), failures(case)
    deadline_s = SLOW_DEADLINE_S if FAULTS[case.wire][case.name].is_slow else DEADLINE_S
    assert outcome.elapsed_s < deadline_s + TOLERANCE_S
    assert case.wire == "images-ticket" or outcome.requests == ends.requests
    moves_on = case.mode == "pair" and failed and not ends.recovers and ends.kind not in NEVER_FALL_BACK
    (line,) = outcome.lines
    if failed == 0 or ends.recovers or moves_on:
        assert is_right(outcome.ended), outcome.ended
        assert outcome.ended.model == ("healthy" if moves_on else case.cell)
    else:
        assert isinstance(outcome.ended, FallbackExhausted), outcome.ended
        met = [(error.kind, error.status_code) for error in outcome.ended.exceptions]
        assert met == [(ends.kind, ends.status)] * failed
        assert (line["error_kind"], line["status_code"]) == (ends.kind, ends.status)
    has_answer = not isinstance(outcome.ended, LLMBenchError)
    assert line["status"] == ("success" if has_answer else "fail")
    assert bool({"images", "duration_s"} & set(line["media"])) is has_answer
    assert line["fallback_chain"] == [case.cell, *(["healthy"] if moves_on else [])]
    assert [attempt["error_kind"] for attempt in line["attempts"][:failed]] == [ends.kind] * failed
    assert len(line["attempts"]) == failed + has_answer
    said = json.dumps(line) + str(outcome.ended)
    assert CANARY not in said
    assert KEY_ID not in said
    assert "s3cr3t" not in said
