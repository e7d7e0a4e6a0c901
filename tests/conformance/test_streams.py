"""Streams both ways: what asks for one, and what the official SDKs and we make of its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from llmbench.catalog import ModelSpec
from llmbench.errors import ProviderError
from llmbench.messages import Usage
from llmbench.providers.send import wire_for
from tests.conformance.differences import as_ours
from tests.conformance.places import PLACES
from tests.conformance.reading import data_of, of_sdk_stream, ours
from tests.conformance.test_answers import CALLED, CALLS, COUNTED, LEAST, PLACE
from tests.servers.answers import (
    IN,
    REFUSAL,
    gemini_stream,
    openai_chat_stream,
    openrouter_stream,
    responses_stream,
    sse,
)

#: How the user of an SDK asks for a stream with its usage.
ASKED = {
    "chat": {"stream": True, "stream_options": {"include_usage": True}},
    "responses": {"stream": True},
    "openrouter": {"stream": True},
    "gemini": {"stream": True},
}
EMPTY = {
    "chat": openai_chat_stream(),
    "responses": responses_stream(),
    "openrouter": openrouter_stream(),
    "gemini": gemini_stream(),
}


@pytest.mark.parametrize("place", PLACES, ids=[place.name for place in PLACES])
def test_a_stream_is_asked_for_as_the_official_sdk_asks(exchanges, place):
    exchanges.answer(sse(EMPTY[place.dialect]))
    list(exchanges.sdk(place).send(**LEAST[place.dialect], **ASKED[place.dialect]))
    theirs, _ = as_ours(place.name, exchanges.last(), is_stream=True)
    router = exchanges.client(place).router
    spec, endpoint = router.config.models["m"], router.config.endpoints["host"]
    wire = wire_for(spec)
    body = exchanges.client(place).explain("caption", "What is 6*7?").bodies["m"]
    url = place.path + wire.stream_path(spec, endpoint)
    assert url.partition("?")[0] == theirs.path
    assert ("alt=sse" in url) == (theirs.query.get("alt") == "sse") == (place.dialect == "gemini")
    assert wire.stream_body(body) == theirs.body


@dataclass(frozen=True)
class Stream:
    """One stream: what the SDK must say of it (`theirs` is the finish word) and what we must (`ours`)."""

    case: str
    place: str
    events: list[str]
    theirs: str
    ours: str
    text: str = ""
    calls: tuple[Any, ...] = ()
    usage: Usage = field(default=COUNTED)


CUT = {"status": "incomplete", "reason": "max_output_tokens"}
STREAMS = [
    Stream("success", "openai-chat", openai_chat_stream(), "stop", "stop", "42"),
    Stream("success", "azure-chat-dated-key", openai_chat_stream(azure=True), "stop", "stop", "42"),
    Stream(
        "tool-calls",
        "openai-chat",
        openai_chat_stream(calls=CALLS * 2, finish="tool_calls"),
        "tool_calls",
        "tool_calls",
        calls=CALLED * 2,
    ),
    Stream("refusal", "openai-chat", openai_chat_stream((), refusal=REFUSAL), "stop", "refusal", REFUSAL),
    Stream("length", "openai-chat", openai_chat_stream(("4",), finish="length"), "length", "length", "4"),
    Stream(
        "filter",
        "azure-chat-v1-bearer",
        openai_chat_stream(("4",), finish="content_filter", azure=True),
        "content_filter",
        "content_filter",
        "4",
    ),
    Stream("japanese", "openai-chat", openai_chat_stream(("日本", "語")), "stop", "stop", "日本語"),
    Stream("success", "openai-responses", responses_stream(), "completed", "stop", "42"),
    Stream(
        "tool-calls",
        "azure-responses-dated-key",
        responses_stream((), calls=CALLS),
        "completed",
        "tool_calls",
        calls=CALLED,
    ),
    Stream(
        "refusal",
        "openai-responses",
        responses_stream((), refusal=REFUSAL),
        "completed",
        "refusal",
        REFUSAL,
    ),
    Stream("length", "openai-responses", responses_stream(("4",), **CUT), "max_output_tokens", "length", "4"),
    Stream("success", "openrouter-chat", openrouter_stream(), "stop", "stop", "42"),
    Stream(
        "tool-calls",
        "openrouter-chat",
        openrouter_stream(calls=CALLS, finish="tool_calls"),
        "tool_calls",
        "tool_calls",
        calls=CALLED,
    ),
    Stream("length", "openrouter-chat", openrouter_stream(("4",), finish="length"), "length", "length", "4"),
    Stream("success", "gemini-v1", gemini_stream(), "STOP", "stop", "42"),
    Stream("success", "gemini-v1beta", gemini_stream(("日本", "語")), "STOP", "stop", "日本語"),
    Stream("tool-calls", "gemini-v1", gemini_stream(calls=CALLS), "STOP", "tool_calls", calls=CALLED),
    Stream("length", "gemini-v1", gemini_stream(("4",), finish="MAX_TOKENS"), "MAX_TOKENS", "length", "4"),
    Stream(
        "prompt-blocked",
        "gemini-v1",
        gemini_stream(blocked="SAFETY"),
        "SAFETY",
        "content_filter",
        usage=Usage(IN),
    ),
]


def assembled(place, events: list[str]):
    """Our reading of the events; what was shown on the way must be the text at the end."""
    wire = "chat" if place.dialect == "openrouter" else place.dialect
    assembler = wire_for(ModelSpec("m", "host", "m-id", wire)).assembler()
    shown = [assembler.feed(data) for data in map(data_of, events) if data is not None]
    reply = assembler.reply({})
    if reply.finish_reason != "refusal":  # a refusal is no piece of an answer
        assert "".join(shown) == reply.text
    return reply


@pytest.mark.parametrize("stream", STREAMS, ids=[f"{each.place}-{each.case}" for each in STREAMS])
def test_the_sdk_reads_a_stream_as_we_do(exchanges, stream):
    place = PLACE[stream.place]
    exchanges.answer(sse(stream.events))
    events = exchanges.sdk(place).send(**LEAST[place.dialect], **ASKED[place.dialect])
    theirs = of_sdk_stream(place.dialect, events)
    mine = ours(assembled(place, stream.events))
    for read, finish in ((theirs, stream.theirs), (mine, stream.ours)):
        assert (read.text, read.finish, read.usage) == (stream.text, finish, stream.usage)
        assert read.calls == stream.calls


FAILED = {"code": "server_error", "message": "It failed."}
BROKEN = [
    ("openai-chat", openai_chat_stream(finish=None, usage=False, done=False), "no end"),
    ("openai-responses", responses_stream(terminal=False), "no end"),
    ("gemini-v1", gemini_stream(finish=None), "no end"),
    ("openrouter-chat", openrouter_stream(finish=None, done=False), "no end"),
    ("openai-responses", responses_stream((), status="failed", error=FAILED), "failed"),
    ("openrouter-chat", openrouter_stream(error={"code": 502, "message": "It failed."}), "failed"),
]


@pytest.mark.parametrize(
    ("name", "events", "case"), BROKEN, ids=[f"{name}-{case}".replace(" ", "-") for name, _, case in BROKEN]
)
def test_a_broken_stream_is_an_error_for_us_where_the_sdk_says_nothing(exchanges, name, events, case):
    place = PLACE[name]
    exchanges.answer(sse(events))
    pieces = list(exchanges.sdk(place).send(**LEAST[place.dialect], **ASKED[place.dialect]))
    assert pieces  # no exception from the SDK
    with pytest.raises(ProviderError, match="It failed" if case == "failed" else "end") as caught:
        assembled(place, events)
    assert caught.value.kind == "server_error"
