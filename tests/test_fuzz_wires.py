"""Whatever a host answers, whole or in pieces, a wire reads it or raises an error of the tree."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from llmbench.messages import OutputSchema
from llmbench.providers.base import HttpReply, payload_of
from llmbench.providers.chat import ChatWire
from llmbench.providers.chat_images import ChatImageWire
from llmbench.providers.gemini import GeminiWire
from llmbench.providers.gemini_images import GeminiImageWire
from llmbench.providers.gemini_speech import GeminiSpeechWire
from llmbench.providers.images import ImagesWire
from llmbench.providers.responses import ResponsesWire
from llmbench.providers.speech import SpeechWire
from llmbench.providers.sse import event_object, events
from llmbench.providers.workflow_images import WorkflowImageWire
from llmbench.structuring import clean_output
from tests.fuzzing import as_bytes, changed, fuzz, json_text, one_of, patient, spliced
from tests.servers import answers
from tests.servers.answers import WEATHER_CALL
from tests.stream_reading import read_scripted

CHAT = [
    answers.openai_chat_answer(),
    answers.openai_chat_answer(azure=True, finish="content_filter"),
    answers.openai_chat_answer(None, calls=[WEATHER_CALL], finish="tool_calls"),
    answers.openrouter_answer(),
    answers.openai_chat_answer(None, refusal="no"),
    {"error": {"message": "x", "code": 429, "type": "y"}},
]
RESPONSES = [
    answers.responses_answer(),
    answers.responses_answer(calls=[WEATHER_CALL]),
    answers.responses_answer(refusal="no"),
    answers.responses_answer(status="incomplete", reason="max_output_tokens"),
    answers.responses_answer(status="failed", error={"code": "server_error", "message": "x"}),
]
GEMINI = [
    answers.gemini_answer(),
    answers.gemini_answer(calls=[WEATHER_CALL]),
    answers.gemini_answer(blocked="SAFETY"),
    answers.gemini_answer("42", thought="Hm."),
    {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "x"}},
]
STREAMS = {
    "chat": [
        answers.openai_chat_stream(azure=True),
        answers.openai_chat_stream(calls=[WEATHER_CALL]),
        answers.openrouter_stream(),
    ],
    "responses": [
        answers.responses_stream(),
        answers.responses_stream(calls=[WEATHER_CALL]),
        answers.responses_stream(refusal="n"),
    ],
    "gemini": [
        answers.gemini_stream(),
        answers.gemini_stream(calls=[WEATHER_CALL]),
        answers.gemini_stream(blocked="SAFETY"),
    ],
}
HEADERS = {
    "content-type": "application/json",
    "retry-after": "3",
    "x-request-id": "r-1",
    "retry-after-ms": "100",
    "x-ratelimit-remaining-requests": "5",
    "x-ratelimit-reset-requests": "1m2s",
    "seed": "7",
    "finish-reason": "SUCCESS",
}
SCHEMA = OutputSchema({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PART = {"inlineData": {"mimeType": "image/png", "data": PIXEL}}
SOUND = {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": "AAAA"}}
MEDIA = {
    "images": (
        ImagesWire(),
        {
            "created": 1,
            "data": [{"b64_json": PIXEL, "revised_prompt": "x", "seed": 1}],
            "usage": {"input_tokens": 3, "output_tokens": 4},
        },
    ),
    "chat": (
        ChatImageWire(),
        {
            "choices": [
                {
                    "message": {
                        "content": "",
                        "images": [
                            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
                        ],
                    },
                    "finish_reason": "stop",
                }
            ]
        },
    ),
    "gemini": (GeminiImageWire(), {"candidates": [{"content": {"parts": [PART]}, "finishReason": "STOP"}]}),
    "gemini-speech": (
        GeminiSpeechWire(),
        {"candidates": [{"content": {"parts": [SOUND]}, "finishReason": "STOP"}]},
    ),
    "speech": (SpeechWire(), {"error": {"message": "x"}}),
    "workflow": (
        WorkflowImageWire(),
        {"id": "j-1", "status": "Ready", "result": {"sample": f"data:image/png;base64,{PIXEL}"}},
    ),
}


def http_reply(payload: object, draw: random.Random) -> HttpReply:
    named = changed(HEADERS, draw)
    named = named if isinstance(named, dict) else HEADERS
    headers = {str(name).lower(): json_text(value, draw)[:500].strip('"') for name, value in named.items()}
    status = draw.choice(
        (200, 200, 200, 202, 204, 301, 400, 401, 402, 404, 408, 413, 422, 429, 500, 503, 529, 599)
    )
    return HttpReply(status, headers, as_bytes(json_text(payload, draw), draw))


@patient
@pytest.mark.parametrize(
    ("wire", "answer"),
    [(ChatWire(), CHAT), (ResponsesWire(), RESPONSES), (GeminiWire(), GEMINI)],
    ids=["chat", "responses", "gemini"],
)
def test_a_whole_answer_is_read_or_refused(wire, answer):
    def act(draw: random.Random) -> None:
        reply = http_reply(one_of(answer, draw), draw)
        read = wire.parse(payload_of(reply), reply.headers, {"model": "m"})
        assert isinstance(read.text, str)

    fuzz(act, examples=250)


def _other_event(event: str, draw: random.Random) -> str:
    head, mark, data = event.partition("data: ")
    if not mark or not data.startswith("{") or draw.random() > 0.4:
        return event
    return f"{head}{mark}{json_text(json.loads(data), draw)}\n\n"


@patient
@pytest.mark.parametrize("wire", STREAMS)
def test_a_streamed_answer_is_read_or_refused(wire):
    def act(draw: random.Random) -> None:
        made = [_other_event(each, draw) for each in one_of(STREAMS[wire], draw)]
        if draw.random() < 0.5:
            at = draw.randrange(len(made))
            made[at : at + 1] = draw.choice(([], [made[at]] * 2, [spliced(made[at], draw)]))
        read_scripted([as_bytes(each, draw) for each in made], wire=wire, schema=one_of((None, SCHEMA), draw))

    fuzz(act, examples=60)


@patient
def test_events_are_found_in_any_bytes():
    async def read(chunks: list[bytes]) -> None:
        async def source():
            for chunk in chunks:
                yield chunk

        async for event in events(source()):
            event_object(event)

    def act(draw: random.Random) -> None:
        data = b"".join(as_bytes(spliced(each, draw), draw) for each in answers.openai_chat_stream())
        cuts = sorted(draw.randint(0, len(data)) for _ in range(5))
        asyncio.run(read([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]))

    fuzz(act)


@patient
@pytest.mark.parametrize("name", MEDIA)
def test_a_media_answer_is_read_or_refused(name):
    wire, payload = MEDIA[name]

    def act(draw: random.Random) -> None:
        reply = http_reply(payload, draw)
        if draw.random() < 0.2:
            mime = draw.choice(("image/png", "audio/wav", "audio/L16;rate=x", "text/html", ""))
            reply = HttpReply(
                200, {**reply.headers, "content-type": mime}, draw.randbytes(draw.randrange(60))
            )
        if wire.next_step(reply, {"prompt": "x"}) is None:
            wire.parse(reply, {"prompt": "x"})

    fuzz(act)


@patient
def test_any_reply_text_can_be_cleaned():
    samples = ['```json\n{"text": "x"}\n```', '{"output": "a"}', "```\nx\n```\n", "plain"]

    def act(draw: random.Random) -> None:
        clean_output(spliced(one_of(samples, draw), draw), ("unfence", "unwrap_json"))

    fuzz(act, examples=300)
