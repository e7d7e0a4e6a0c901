"""Streams over real sockets: pieces as they come, breaks with the text so far, waits that have limits."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import aclosing

import pytest

from llmbench.catalog import Endpoint, Limits, Timeouts
from llmbench.config.environment import read_environment
from llmbench.errors import ProviderError
from llmbench.messages import OutputSchema
from llmbench.providers import base
from llmbench.providers.hosts import open_host
from llmbench.providers.stream import stream_once
from llmbench.providers.transport import HttpxTransport
from tests.servers.answers import openai_chat_answer, openai_chat_stream, openrouter_stream
from tests.servers.chat_server import ChatServer, Step
from tests.servers.stream_server import Play, StreamServer
from tests.stream_reading import BODY, read, read_from, read_scripted, spec_of

EVENTS = [event.encode() for event in openai_chat_stream()]
HEAD, FOUR, TWO, FINISH, USAGE, DONE = EVENTS
JSON = {"content-type": "application/json"}
COMMENT = b": OPENROUTER PROCESSING\n\n"


def play(*parts, **options):
    return StreamServer(Play(parts, **options))


def failure_of(server: StreamServer | ChatServer, **options) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        read_from(server.url, **options)
    return caught.value


# ---- answers


def test_pieces_come_while_the_answer_is_still_being_written():
    async def main(url: str) -> list[float]:
        transport, began = HttpxTransport(), time.perf_counter()
        host = open_host(Endpoint("stub", base_url=url), read_environment({}))
        parts = stream_once(spec_of(), Endpoint("stub", base_url=url), host, transport, BODY, None)
        times = [time.perf_counter() - began async for _ in parts]
        await transport.aclose()
        return times

    with play(HEAD, 0.15, FOUR, 0.2, TWO, 0.2, FINISH, USAGE, DONE) as server:
        first, second, end = asyncio.run(main(server.url))
    assert first >= 0.14
    assert second - first >= 0.18
    assert end - second >= 0.18


def test_the_time_to_the_first_part_and_to_the_end_are_told():
    with play(HEAD, 0.15, FOUR, 0.2, TWO, FINISH, USAGE, DONE) as server:
        _, sent = read_from(server.url)
    assert sent.ttft_ms >= 140
    assert sent.ttft_ms + 190 <= sent.latency_ms


def test_an_event_may_be_cut_inside_a_character():
    whole = "".join(openai_chat_stream(["字", "幕"])).encode()
    with play(*(whole[at : at + 7] for at in range(0, len(whole), 7))) as server:
        assert read_from(server.url)[0] == ["字", "幕"]


def test_the_request_asks_for_a_stream():
    with play(*EVENTS) as server:
        read_from(server.url)
    assert json.loads(server.bodies[0]) == BODY | {"stream": True, "stream_options": {"include_usage": True}}
    assert "accept: text/event-stream" in server.heads[0].lower()
    assert server.heads[0].startswith("POST /v1/chat/completions ")


def test_a_connection_serves_the_next_stream_too():
    async def main(url: str) -> None:
        transport = HttpxTransport()
        for _ in range(3):
            assert (await read(transport, url=url))[0] == ["4", "2"]
        await transport.aclose()

    with play(*EVENTS) as server:
        asyncio.run(main(server.url))
    assert (len(server.bodies), server.connections) == (3, 1)


def test_a_body_that_does_not_end_after_its_end_mark_holds_nobody_up():
    with play(*EVENTS, "hang") as server:
        began = time.perf_counter()
        pieces, sent = read_from(server.url)
        assert (pieces, sent.problem) == (["4", "2"], None)
        assert time.perf_counter() - began < 5
        assert server.was_left.wait(5)
    with play(*EVENTS, "reset") as server:
        assert read_from(server.url)[0] == ["4", "2"]


def test_data_is_parsed_at_the_end_and_broken_data_is_a_problem():
    schema = OutputSchema({"type": "object", "required": ["a"]})
    with play(*(one.encode() for one in openai_chat_stream(['{"a"', ": 1}"]))) as server:
        assert read_from(server.url, schema=schema)[1].parsed == {"a": 1}
    with play(*EVENTS) as server:
        assert read_from(server.url, schema=schema)[1].problem.kind == "invalid_output"


# ---- hosts that answer a stream request otherwise


@pytest.mark.parametrize("headers", [JSON, {"content-type": "text/event-stream"}, {}])
def test_a_host_that_does_not_stream_is_read_as_it_answers(headers):
    body = json.dumps(openai_chat_answer("42")).encode()
    with play(b"\n    \n", 0.01, body[:40], body[40:], headers=headers) as server:
        pieces, sent = read_from(server.url)
    assert (pieces, sent.reply.text, sent.cost_usd) == (["42"], "42", pytest.approx(211e-6))


def test_a_whole_answer_with_a_problem_is_not_shown():
    body = json.dumps(openai_chat_answer("half", finish="length")).encode()
    with play(body, headers=JSON) as server:
        pieces, sent = read_from(server.url)
    assert (pieces, sent.problem.kind, sent.problem.output) == ([], "truncated", "half")


@pytest.mark.parametrize(
    ("body", "status", "kind", "code"),
    [
        ({"error": {"code": 502, "message": "x"}}, 200, "server_error", 502),
        ({"error": {"message": "slow down"}}, 429, "rate_limit", 429),
        ({"error": {"message": "bad", "code": "context_length_exceeded"}}, 400, "context_length", 400),
        ("<html>Sign in</html>", 200, "malformed", 200),
        ("", 200, "malformed", 200),
        ("  \n ", 200, "malformed", 200),
        ("[]", 200, "malformed", 200),
        ("data: {}\n\n", 500, "server_error", 500),
        ("no stream at all", 200, "server_error", 200),
    ],
)
def test_what_is_no_stream_is_judged_as_a_whole_answer(body, status, kind, code):
    sent = body if isinstance(body, str) else json.dumps(body)
    with play(sent.encode(), status=status, headers={**JSON, "x-request-id": "req-1"}) as server:
        error = failure_of(server)
    assert (error.kind, error.status_code, error.output, error.request_id) == (kind, code, None, "req-1")


# ---- broken connections


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize(("before", "output"), [([HEAD, FOUR, TWO], "42"), ([HEAD], None), ([], None)])
def test_a_connection_that_breaks_is_raised_with_the_text_so_far(how, before, output):
    with play(*before, how) as server:
        error = failure_of(server)
    assert (error.kind, error.output) == ("connect", output)


def test_a_body_that_ends_in_good_order_before_the_answer_does_is_no_answer():
    with play(HEAD, FOUR) as server:
        error = failure_of(server)
    assert (error.kind, error.output) == ("server_error", "4")


def test_a_body_without_end_is_left_at_the_cap(monkeypatch):
    monkeypatch.setattr(base, "MAX_REPLY_BYTES", 100_000)
    for parts, headers in ([FOUR] * 2000, {}), ([b"{" + b" " * 999] * 200, JSON):
        with play(*parts, "hang", headers=headers) as server:
            assert failure_of(server).kind == "malformed"


# ---- waits


@pytest.mark.parametrize("before", [[], [HEAD], [HEAD, *[0.05, COMMENT] * 100]])
def test_the_first_part_has_a_limit_that_keep_alives_do_not_stretch(before):
    with play(*before, "hang") as server:
        began = time.perf_counter()
        error = failure_of(server, first_token_s=0.2, stall_s=5.0)
        assert 0.19 <= time.perf_counter() - began < 3
        assert server.was_left.wait(5)
    assert (error.kind, error.output) == ("timeout", None)
    assert "first_token_s (0.2 s)" in str(error)


def test_a_host_that_does_not_even_answer_meets_the_limit_of_the_first_part(server):
    server.answer = lambda _: Step(fault="hang")
    assert failure_of(server, first_token_s=0.2).kind == "timeout"


def test_a_flood_of_keep_alives_that_leaves_no_time_to_wait_meets_the_limit_too():
    with pytest.raises(ProviderError, match="first_token_s") as caught:
        read_scripted([COMMENT] * 20_000, first_token_s=0.001)
    assert caught.value.kind == "timeout"


def test_silence_has_a_limit_and_a_keep_alive_breaks_it():
    with play(HEAD, FOUR, *[0.1, COMMENT] * 7, TWO, FINISH, DONE) as server:
        assert read_from(server.url, first_token_s=9.0, stall_s=0.6)[0] == ["4", "2"]
    with play(HEAD, FOUR, "hang") as server:
        began = time.perf_counter()
        error = failure_of(server, stall_s=0.2)
        assert 0.19 <= time.perf_counter() - began < 3
        assert server.was_left.wait(5)
    assert (error.kind, error.output) == ("timeout", "4")
    assert "stall_s (0.2 s)" in str(error)


def test_the_first_part_ends_its_limit():
    with play(HEAD, FOUR, 0.6, TWO, FINISH, DONE) as server:
        assert read_from(server.url, first_token_s=0.5)[0] == ["4", "2"]


def test_a_slow_reader_meets_no_limit():
    async def main(url: str) -> int:
        transport = HttpxTransport()
        endpoint = Endpoint("stub", base_url=url, timeouts=Timeouts(first_token_s=0.5, stall_s=0.5))
        host = open_host(endpoint, read_environment({}))
        count = 0
        async for _ in stream_once(spec_of(), endpoint, host, transport, BODY, None):
            count += 1
            await asyncio.sleep(0.6)
        await transport.aclose()
        return count

    with play(*EVENTS) as server:
        assert asyncio.run(main(server.url)) == 3


# ---- leaving


@pytest.mark.parametrize("leave", ["close", "cancel", "other task"])
def test_leaving_a_stream_early_ends_the_connection_and_gives_the_place_back(leave):
    async def main(url: str) -> None:
        transport = HttpxTransport()
        endpoint = Endpoint("stub", base_url=url, limits=Limits(concurrency=1))
        host = open_host(endpoint, read_environment({}))
        pieces = stream_once(spec_of(), endpoint, host, transport, BODY, None)
        if leave == "close":
            async with aclosing(pieces):
                assert await anext(pieces) == "4"
        else:
            assert await asyncio.create_task(anext(pieces)) == "4"
            if leave == "cancel":
                waiting = asyncio.create_task(anext(pieces))
                await asyncio.sleep(0.05)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            else:
                await asyncio.create_task(pieces.aclose())
        async with asyncio.timeout(5), host.lease(spec_of()):
            pass
        await transport.aclose()

    with play(HEAD, FOUR, "hang") as server:
        asyncio.run(main(server.url))
        assert server.was_left.wait(5)


def test_many_streams_go_on_at_once():
    async def main(url: str) -> list[list[str]]:
        transport = HttpxTransport()
        found = await asyncio.gather(*(read(transport, url=url) for _ in range(50)))
        await transport.aclose()
        return [pieces for pieces, _ in found]

    before = threading.active_count()
    with play(*(one.encode() for one in openrouter_stream()[:4]), 0.2, *EVENTS[1:]) as server:
        began = time.perf_counter()
        assert asyncio.run(main(server.url)) == [["4", "4", "2"]] * 50
        assert time.perf_counter() - began < 5
    assert threading.active_count() < before + 20
