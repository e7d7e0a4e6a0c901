"""Streams: the policy of any call up to the first piece, and never two models' text in one answer."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from llmbench.catalog import Breaker, Policy
from llmbench.errors import FallbackExhausted, LLMBenchError, ParamError, ProviderError
from llmbench.messages import Attempt, Response, Route, Usage
from llmbench.providers.send import Sent
from llmbench.routing.background_loop import BackgroundLoop
from llmbench.routing.breaker import Circuits
from llmbench.routing.fallback import Outcome
from llmbench.routing.progress import Options
from llmbench.routing.streaming import Stream, stream_candidates
from tests.test_fallback import answer, error
from tests.virtual_time import now, run_virtual

Step = str | float | Exception | Sent


class Streams:
    """What each model's streams do in turn: say a piece, wait for seconds, fail, or end with an answer."""

    def __init__(self, **scripts: list[list[Step]]) -> None:
        self.scripts = scripts
        self.opened: list[str] = []
        self.closed: list[str] = []

    async def __call__(self, model: str) -> AsyncGenerator[str | Sent, None]:
        turns = self.scripts[model]
        steps = turns[min(self.opened.count(model), len(turns) - 1)]
        self.opened.append(model)
        try:
            for step in steps:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.closed.append(model)


async def read(
    streams: Streams,
    policy: Policy | None = None,
    candidates: str = "ab",
    deadline_s: float = 10.0,
    pause_s: float = 0.0,
    **options,
) -> tuple[list[str], Outcome | FallbackExhausted]:
    """The pieces and the end of one stream, read with a pause after each piece."""
    pieces: list[str] = []
    asked = Options(clock=now, **options)
    try:
        async with aclosing(
            stream_candidates(candidates, policy or Policy(), deadline_s, streams, options=asked)
        ) as source:
            async for item in source:
                if isinstance(item, Outcome):
                    return pieces, item
                pieces.append(item)
                await asyncio.sleep(pause_s)
    except FallbackExhausted as group:
        return pieces, group
    raise AssertionError("a stream ends with an outcome or an error")


def kinds(end: Outcome | FallbackExhausted) -> list[tuple[str, str | None]]:
    return [(attempt.model, attempt.error_kind) for attempt in end.attempts]


DONE = answer()


def test_the_pieces_come_as_they_are_said_and_the_answer_last():
    async def calls() -> None:
        began = now()
        streams = Streams(a=[["one ", 1.0, "two ", 1.0, "", "three", DONE]])
        source = stream_candidates("a", Policy(), 10.0, streams, options=Options(clock=now))
        seen = [(now() - began, item) async for item in source]
        (*pieces, (_, outcome)) = seen
        assert pieces == [(0.0, "one "), (1.0, "two "), (2.0, "three")]
        assert (outcome.model, outcome.sent) == ("a", DONE)
        assert kinds(outcome) == [("a", None)]
        assert outcome.attempts[0].usage == Usage(3, 2)
        assert streams.closed == ["a"]

    run_virtual(calls())


def test_an_answer_without_text_is_an_answer():
    pieces, end = run_virtual(read(Streams(a=[[DONE]])))
    assert (pieces, kinds(end)) == ([], [("a", None)])


@pytest.mark.parametrize(
    ("failing", "tried"),
    [
        ([error("rate_limit")], [("a", "rate_limit"), ("a", "rate_limit"), ("b", None)]),
        ([ProviderError("refused", kind="connect")], [("a", "connect"), ("b", None)]),
        ([answer(error("empty"))], [("a", "empty"), ("b", None)]),
        ([3600.0], [("a", "timeout"), ("b", None)]),
        ([], [("a", "malformed"), ("b", None)]),
        ([ParamError("no top_k")], [("a", "unsupported_param"), ("b", None)]),
    ],
)
def test_what_fails_before_the_first_piece_falls_back_like_any_call(failing, tried):
    streams = Streams(a=[failing], b=[["fine", DONE]])
    pieces, end = run_virtual(read(streams))
    assert (pieces, kinds(end)) == (["fine"], tried)
    assert streams.closed == streams.opened


def test_a_stream_that_nobody_answers_has_no_output():
    pieces, end = run_virtual(read(Streams(a=[[error("auth")]], b=[[error("auth")]])))
    assert isinstance(end, FallbackExhausted)
    assert (pieces, end.output, kinds(end)) == ([], None, [("a", "auth"), ("b", "auth")])


@pytest.mark.parametrize(
    ("breaking", "kind"),
    [
        (error("server_error"), "server_error"),
        (ProviderError("reset", kind="connect"), "connect"),
        (answer(error("truncated", status=200)), "truncated"),
        (3600.0, "timeout"),
        ("", "malformed"),
    ],
)
def test_a_stream_that_breaks_after_a_piece_is_not_tried_again_and_tells_the_text_so_far(breaking, kind):
    streams = Streams(a=[["one ", "two", breaking]], b=[["other", DONE]])
    pieces, end = run_virtual(read(streams, Policy(per_status_retry={500: 3})))
    assert isinstance(end, FallbackExhausted)
    assert (pieces, end.output, end.kind) == (["one ", "two"], "one two", kind)
    assert (streams.opened, kinds(end)) == (["a"], [("a", kind)])
    assert end.exceptions[0].output in ("one two", None)


def test_after_the_first_piece_a_stream_may_take_all_the_time_there_is():
    slow: list[Step] = ["one ", 9.0, "two", DONE]
    pieces, end = run_virtual(read(Streams(a=[slow], b=[[DONE]])))
    assert (pieces, kinds(end)) == (["one ", "two"], [("a", None)])


def test_the_deadline_covers_the_callers_own_time_and_no_piece_is_lost_to_it():
    pieces, end = run_virtual(read(Streams(a=[["1", "2", "3", "4", "5", "6", DONE]]), pause_s=3.0))
    assert isinstance(end, FallbackExhausted)
    assert (end.kind, "".join(pieces), end.output) == ("timeout", "12345", "12345")
    assert [attempt.latency_ms for attempt in end.attempts] == pytest.approx([10_000.0])


def test_a_refused_parameter_is_learnt_from_before_the_first_piece():
    refused = error("unsupported_param", status=400, param="seed")
    streams = Streams(a=[[refused], ["fine", DONE]])
    pieces, end = run_virtual(read(streams, learn=lambda _, problem: problem.param == "seed"))
    assert (pieces, kinds(end)) == (["fine"], [("a", "unsupported_param"), ("a", None)])


def test_streams_share_the_breaker_and_the_first_piece_is_a_sign_of_life():
    async def calls() -> None:
        circuits = Circuits(Breaker(failures=1), now)
        began = now()
        streams = Streams(a=[["one ", 5.0, "two", DONE]], b=[[DONE]])
        ends = await asyncio.gather(*[read(streams, circuits=circuits) for _ in range(20)])
        assert {end.model for _, end in ends} == {"a"}  # nobody waited for the end of the first one
        assert now() - began == pytest.approx(5.0)

        broken = Streams(a=[["one ", ProviderError("reset", kind="connect")]], b=[["other", DONE]])
        await read(broken, circuits=circuits)
        _, end = await read(broken, circuits=circuits)
        assert kinds(end) == [("a", "circuit_open"), ("b", None)]

    run_virtual(calls())


def test_a_slow_reader_is_not_held_against_the_model():
    async def calls() -> None:
        circuits = Circuits(Breaker(failures=1), now)
        _, end = await read(Streams(a=[["1", "2", DONE]], b=[[DONE]]), pause_s=20.0, circuits=circuits)
        assert kinds(end) == [("a", "timeout")]
        assert not circuits.is_open("a")

    run_virtual(calls())


def test_a_stream_that_is_given_up_ends_the_exchange_and_is_recorded_as_cancelled():
    async def calls() -> None:
        record: list[Attempt] = []
        circuits = Circuits(Breaker(failures=1), now)
        streams = Streams(a=[["one ", 3600.0, "two", DONE]])
        options = Options(clock=now, circuits=circuits)
        source = stream_candidates("ab", Policy(), 60.0, streams, attempts=record, options=options)
        assert await anext(source) == "one "
        await source.aclose()
        assert [(a.model, a.error_kind, a.output) for a in record] == [("a", "cancelled", "one ")]
        assert streams.closed == ["a"]
        assert not circuits.is_open("a")

    run_virtual(calls())


def test_a_stream_that_breaks_while_it_is_given_up_says_nothing_of_it(caplog):
    async def calls() -> None:
        streams = Streams(a=[["one ", 1.0, error("server_error")]])
        source = stream_candidates("a", Policy(), 60.0, streams, options=Options(clock=now))
        assert await anext(source) == "one "
        await asyncio.sleep(2)
        await source.aclose()

    run_virtual(calls())
    gc.collect()
    assert caplog.text == ""


def test_a_task_that_is_cancelled_while_it_reads_ends_the_exchange():
    async def calls() -> None:
        streams = Streams(a=[[3600.0]])
        task = asyncio.create_task(read(streams, deadline_s=7200.0))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert streams.closed == ["a"]

    run_virtual(calls())


# ---- the object that a caller holds


def response(outcome: Outcome) -> Response:
    text = outcome.sent.reply.text
    route = Route("t", "cheap", ("a",), ())
    return Response(
        text, outcome.model, "m-a", "stub", "cheap", "stop", Usage(3, 2), 1.0, None, "unknown: test", "c-1",
        outcome.attempts, (), route,
    )  # fmt: skip


class Door:
    """A client's `stream` in small: one candidate, a log of how each call ended."""

    def __init__(self, *steps: Step) -> None:
        self.streams = Streams(a=[list(steps)])
        self.loop = BackgroundLoop()
        self.log: list[str] = []

    def stream(self) -> Stream:
        return Stream(self._items(), self.loop.run)

    async def _items(self) -> AsyncGenerator[str | Response, None]:
        try:
            async with aclosing(stream_candidates("a", Policy(), 60.0, self.streams)) as source:
                async for item in source:
                    if isinstance(item, Outcome):
                        self.log.append("answered")
                        yield response(item)
                    else:
                        yield item
        except (LLMBenchError, asyncio.CancelledError, GeneratorExit) as error:
            self.log.append(type(error).__name__)
            raise

    def logged(self) -> list[str]:
        """The log, once the loop had time to clean up behind a stream that was dropped."""
        until = time.monotonic() + 5
        while not self.log and time.monotonic() < until:
            time.sleep(0.005)
        return self.log


@pytest.fixture
def door():
    opened: list[Door] = []

    def make(*steps: Step) -> Door:
        opened.append(Door(*steps))
        return opened[-1]

    yield make
    for one in opened:
        one.loop.close()


def test_a_plain_for_reads_a_stream(door):
    one = door("one ", "two", DONE)
    stream = one.stream()
    with pytest.raises(LLMBenchError, match="no response yet; read all of its pieces first"):
        _ = stream.response
    assert list(stream) == ["one ", "two"]
    assert (stream.response.text, stream.response.model) == ("text", "a")
    assert list(stream) == []
    one.loop.close()
    threads = threading.active_count()
    stream.close()
    assert (one.log, one.streams.closed) == (["answered"], ["a"])
    assert threading.active_count() <= threads  # nothing is left to do for a loop


def test_an_async_for_reads_a_stream(door):
    one = door("one ", "two", DONE)

    async def call() -> list[str]:
        async with one.stream() as stream:
            pieces = [piece async for piece in stream]
        assert stream.response.text == "text"
        return pieces

    assert asyncio.run(call()) == ["one ", "two"]
    assert one.log == ["answered"]


def test_a_plain_for_reads_a_stream_inside_a_running_loop(door):
    async def call() -> list[str]:
        return list(door("one ", "two", DONE).stream())

    assert asyncio.run(call()) == ["one ", "two"]


def test_a_broken_stream_raises_after_its_pieces(door):
    one = door("one ", ProviderError("reset", kind="connect"))
    pieces = []
    with pytest.raises(FallbackExhausted, match="a: connect") as caught:
        pieces.extend(one.stream())
    stream = one.stream()
    assert next(stream) == "one "
    with pytest.raises(FallbackExhausted), stream:
        next(stream)
    assert (caught.value.output, one.log) == ("one ", ["FallbackExhausted"] * 2)


def test_leaving_a_with_block_early_cancels_the_call(door):
    one = door("one ", "two", 3600.0, DONE)
    with one.stream() as stream:
        assert next(stream) == "one "
    assert (one.log, one.streams.closed) == (["GeneratorExit"], ["a"])
    assert list(stream) == []

    async def call() -> None:
        async with one.stream() as other:
            assert await anext(other) == "one "

    asyncio.run(call())
    assert (one.log, one.streams.closed) == (["GeneratorExit"] * 2, ["a", "a"])


def test_a_stream_that_is_dropped_is_cleaned_up(door):
    one = door("one ", 3600.0, DONE)
    for _ in one.stream():
        break
    gc.collect()
    assert one.logged() == ["GeneratorExit"]
    assert one.streams.closed == ["a"]

    other = door("one ", 3600.0, DONE)

    async def call() -> None:
        async for _ in other.stream():
            break

    asyncio.run(call())
    assert len(other.log) == 1
    assert other.streams.closed == ["a"]


def test_a_stream_that_still_runs_when_its_loop_ends_is_cleaned_up(door):
    one = door("one ", 3600.0, DONE)
    stream = one.stream()
    assert next(stream) == "one "
    one.loop.close()
    assert (len(one.log), one.streams.closed) == (1, ["a"])

    other = door("one ", 3600.0, DONE)

    async def call() -> Stream:
        kept = other.stream()
        assert await anext(kept) == "one "
        return kept

    asyncio.run(call())
    assert (len(other.log), other.streams.closed) == (1, ["a"])


def test_a_stream_that_was_never_read_sends_nothing(door):
    one = door("one ", DONE)
    one.stream()
    with one.stream():
        pass
    gc.collect()
    assert (one.log, one.streams.opened) == ([], [])
