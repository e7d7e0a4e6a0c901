"""Streams without a network: from a script, and from a recording that breaks where the stream broke."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from llmbench.catalog import Endpoint
from llmbench.errors import ProviderError
from llmbench.jsonl import read_jsonl
from llmbench.messages import Usage
from llmbench.providers.hosts import Lease
from llmbench.providers.recordings import OfflineHost, RecordingHost, RecordingTransport, ReplayTransport
from llmbench.providers.scripted import ScriptedTransport, StreamReply, chat_reply, chat_stream_reply
from llmbench.providers.stream import stream_once
from tests.servers.answers import openai_chat_stream
from tests.stream_reading import BODY, read, spec_of

CUT = ProviderError("connection failed: cut", kind="connect")


def run(transport, **options):
    return asyncio.run(read(transport, **options))


# ---- scripts


def test_a_script_streams_texts_replies_and_whole_answers():
    script = ScriptedTransport(
        ["one", chat_stream_reply(["t", "wo"], usage=Usage(7, 3)), chat_reply("three"), CUT]
    )
    assert run(script)[0] == ["one"]
    pieces, sent = run(script)
    assert (pieces, sent.reply.usage) == (["t", "wo"], Usage(7, 3))
    assert run(script)[0] == ["three"]
    with pytest.raises(ProviderError, match="cut"):
        run(script)
    assert [asked.body["stream"] for asked in script.asked] == [True] * 4
    assert script.asked[0].path == "/v1/chat/completions"


def test_a_scripted_stream_can_break_or_end_too_early():
    with pytest.raises(ProviderError, match="cut") as caught:
        run(ScriptedTransport([chat_stream_reply(["4", "2"], breaks_with=CUT)]))
    assert caught.value.output == "42"
    with pytest.raises(ProviderError) as caught:
        run(ScriptedTransport([chat_stream_reply(["4"], finish_reason=None)]))
    assert (caught.value.kind, caught.value.output) == ("server_error", "4")


# ---- recordings


def record(path, *answers):
    """One recorded stream an answer; a failure is recorded as well."""

    async def main() -> None:
        transport = RecordingTransport(ScriptedTransport(answers), path)
        for _ in answers:
            with suppress(ProviderError):
                await read(transport)
        await transport.aclose()

    asyncio.run(main())
    return [line.record for line in read_jsonl(path)]


def test_a_stream_is_recorded_as_its_whole_body_and_replayed_from_it(tmp_path):
    path = tmp_path / "calls.jsonl"
    events = openai_chat_stream(["字", "幕"])
    (kept,) = record(path, StreamReply([event.encode() for event in events]))
    assert (kept["status"], kept["body"]) == (200, "".join(events))
    pieces, sent = run(ReplayTransport(path))
    assert (pieces, sent.reply.usage) == (["字", "幕"], Usage(31, 90, 4, 64))


def test_a_broken_stream_breaks_again_at_the_same_place(tmp_path):
    path = tmp_path / "calls.jsonl"
    (kept,) = record(path, chat_stream_reply(["4"], breaks_with=CUT))
    assert kept["error_kind"] == "connect"
    with pytest.raises(ProviderError, match="cut") as caught:
        run(ReplayTransport(path))
    assert (caught.value.kind, caught.value.output) == ("connect", "4")


def test_a_stream_that_never_began_and_one_that_was_refused_fail_again(tmp_path):
    path = tmp_path / "calls.jsonl"
    refused = chat_reply("no", status=429)
    records = record(path, CUT, refused)
    assert [kept["status"] for kept in records] == [None, 429]
    replay = ReplayTransport(path)
    with pytest.raises(ProviderError, match="cut"):
        run(replay)
    with pytest.raises(ProviderError) as caught:
        run(replay)
    assert caught.value.kind == "rate_limit"


def test_a_recorded_failure_inside_a_stream_is_found_again_in_its_body(tmp_path):
    path = tmp_path / "calls.jsonl"
    event = b'data: {"error": {"code": 502, "message": "gone"}}\n\n'
    half = chat_stream_reply(["4"], finish_reason=None).chunks
    record(path, StreamReply([*half, event]))
    with pytest.raises(ProviderError, match="gone") as caught:
        run(ReplayTransport(path))
    assert (caught.value.kind, caught.value.output) == ("server_error", "4")


class MeasuredHost(OfflineHost):
    """A host that measures, as a local server's does."""

    @asynccontextmanager
    async def lease(self, spec, tokens=0):
        del spec, tokens
        yield (lease := Lease("http://127.0.0.1:9/v1", queued_ms=12.5, version="sha256:abc"))
        lease.cpu_s = 1.8


def test_what_the_host_measured_is_recorded_though_each_piece_was_fetched_by_a_task_of_its_own(tmp_path):
    path = tmp_path / "calls.jsonl"

    async def fetch(transport, host) -> list:
        endpoint, parts = Endpoint("stub"), []
        stream = stream_once(spec_of(), endpoint, host, transport, BODY, None)
        with suppress(StopAsyncIteration):
            while True:
                parts.append(await asyncio.create_task(anext(stream)))  # as a synchronous door does it
        return parts

    async def main() -> list:
        transport = RecordingTransport(ScriptedTransport([chat_stream_reply(["4", "2"])]), path)
        await fetch(transport, RecordingHost(MeasuredHost({}), path))
        await transport.aclose()
        return await fetch(ReplayTransport(path), OfflineHost({}))

    *pieces, sent = asyncio.run(main())
    assert pieces == ["4", "2"]
    assert (sent.lease.cpu_s, sent.lease.queued_ms, sent.lease.version) == (1.8, 12.5, "sha256:abc")


def test_a_request_after_a_lease_is_a_record_of_its_own(tmp_path):
    path = tmp_path / "calls.jsonl"

    async def main() -> None:
        transport = RecordingTransport(ScriptedTransport(["4", "2"]), path)
        host = RecordingHost(MeasuredHost({}), path)
        async for _ in stream_once(spec_of(), Endpoint("stub"), host, transport, BODY, None):
            pass
        await transport.post("http://127.0.0.1:9/v1/other", {}, b"{}", 1.0)
        await transport.aclose()

    asyncio.run(main())
    kept = [line.record for line in read_jsonl(path)]
    assert [(one["path"], one.get("cpu_s")) for one in kept] == [
        ("/v1/chat/completions", 1.8),
        ("/v1/other", None),
    ]


def test_a_whole_answer_and_a_stream_of_the_same_question_are_two_recordings(tmp_path):
    path = tmp_path / "calls.jsonl"
    record(path, chat_stream_reply(["4"]))
    with pytest.raises(ProviderError, match="holds no answer"):
        asyncio.run(ReplayTransport(path).post("http://127.0.0.1:9/v1/chat/completions", {}, b"{}", 1.0))
