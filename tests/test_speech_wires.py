"""The speech wires: bodies as they are sent, and what becomes of every answer of a loopback provider.

What the official clients sent and got lies beside the checkout as recordings; without them those tests are
skipped.
"""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from llmbench.audio import Sound, decode
from llmbench.catalog import Capabilities, Endpoint, ModelSpec
from llmbench.config.environment import read_environment
from llmbench.errors import ConfigError, ParamError, ProviderError
from llmbench.media import Blob, MediaAsk
from llmbench.messages import Usage
from llmbench.pricing import Made
from llmbench.providers.base import HttpReply, Reply
from llmbench.providers.gemini_speech import GeminiSpeechWire
from llmbench.providers.hosts import open_host
from llmbench.providers.media_send import send_media
from llmbench.providers.media_wires import media_wire_for
from llmbench.providers.speech import SpeechWire
from llmbench.providers.transport import HttpxTransport
from tests.servers.speech_provider import RATE_HZ, SpeechProvider, tone, wav

SPEECH, GEMINI = SpeechWire(), GeminiSpeechWire()
CAPABLE = Capabilities(mode="speech")
VOICE = ModelSpec("voice", "host", "tts-1", "speech", capabilities=CAPABLE)
LOCAL = ModelSpec("mei", "host", "mei", "speech", capabilities=CAPABLE, media={"languages": ["ja", "en"]})
GEM = ModelSpec("gem", "host", "gemini-tts", "gemini", capabilities=CAPABLE)
TWO = {"Joe": "Kore", "Jane": "Puck"}
TEXT = "こんにちは、世界。"


def ask(text: str = TEXT, extra: dict[str, Any] | None = None, **params: Any) -> MediaAsk:
    return MediaAsk(text, params, extra_body=extra or {})


def sent_to(spec: ModelSpec, provider: SpeechProvider, asked: MediaAsk) -> tuple[Reply, Sound | None]:
    """One exchange as the router makes it: what the wire read, and the decoded sound."""
    endpoint = Endpoint("host", base_url=provider.url if spec is VOICE else provider.root, auth="none")

    def opened(reply: Reply) -> tuple[Sound, Made]:
        sound = decode(reply.media[0].data, reply.media[0].mime)
        return sound, Made(audio_s=sound.duration_s)

    async def once() -> tuple[Reply, Sound | None]:
        transport = HttpxTransport()
        try:
            host = open_host(endpoint, read_environment({}))
            body = media_wire_for(spec).body(spec, asked)
            answer = await send_media(spec, endpoint, host, transport, body, opened)
            return answer.reply, answer.parsed
        finally:
            await transport.aclose()

    return asyncio.run(once())


@pytest.fixture(scope="module")
def provider():
    with SpeechProvider() as running:
        yield running


@pytest.fixture(autouse=True)
def _works(provider):
    provider.outcome = lambda _: "ok"


# ---- audio/speech: the request


def test_every_parameter_has_its_field_and_the_text_is_the_input():
    body = SPEECH.body(VOICE, ask(voice="alloy", instructions="calm", format="wav", speed=1.5))
    assert body == {
        "model": "tts-1",
        "input": TEXT,
        "voice": "alloy",
        "instructions": "calm",
        "response_format": "wav",
        "speed": 1.5,
    }
    assert SPEECH.body(VOICE, ask()) == {"model": "tts-1", "input": TEXT}


def test_the_language_is_said_to_voices_that_say_theirs_alone():
    assert SPEECH.body(LOCAL, ask(language="ja"))["language"] == "ja"
    assert "language" not in SPEECH.body(VOICE, ask(language="ja"))


def test_extra_body_adds_fields_and_never_takes_one_over():
    assert SPEECH.body(VOICE, ask(extra={"user": "u1"}))["user"] == "u1"
    with pytest.raises(ParamError, match=r"extra_body\.input"):
        SPEECH.body(VOICE, ask(extra={"input": "other"}))
    with pytest.raises(ParamError, match=r"extra_body\.generationConfig\.responseModalities"):
        GEMINI.body(GEM, ask(extra={"generationConfig": {"responseModalities": ["TEXT"]}}))


@pytest.mark.parametrize("params", [{"speakers": TWO}, {"seed": 1}, {"size": "1K"}])
def test_what_audio_speech_has_no_field_for_is_refused_by_name(params):
    with pytest.raises(ParamError, match=f"'voice': {next(iter(params))} has no place"):
        SPEECH.body(VOICE, ask(**params))
    with pytest.raises(ParamError, match="references has no place"):
        SPEECH.body(VOICE, MediaAsk(TEXT, references=(Blob(b"x", "image/png"),)))


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        (Endpoint("h", base_url="https://h.test/v1"), "/audio/speech"),
        (Endpoint("h", "openrouter", "https://h.test/api/v1"), "/audio/speech"),
        (Endpoint("h", "azure", "https://h.test"), "/openai/v1/audio/speech"),
        (Endpoint("h", "azure", "https://h.test/openai/v1/"), "/audio/speech"),
        (
            Endpoint("h", "azure", "https://h.test", api_version="2025-04-01-preview"),
            "/openai/deployments/tts%2F1/audio/speech?api-version=2025-04-01-preview",
        ),
    ],
)
def test_the_path_is_that_of_the_host(endpoint, path):
    assert SPEECH.path(ModelSpec("m", "h", "tts/1", "speech"), endpoint) == path


def test_an_azure_version_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="api_version"):
        SPEECH.path(VOICE, Endpoint("h", "azure", "https://h.test", api_version="a&b"))


# ---- audio/speech: the answer


@pytest.mark.parametrize("form", ["wav", "pcm", "flac", "mp3", "opus", "aac"])
def test_the_audio_of_every_format_comes_back(provider, form):
    reply, sound = sent_to(VOICE, provider, ask(voice="alloy", format=form))
    assert (reply.finish_reason, reply.problem, reply.usage) == ("stop", None, Usage())
    assert reply.request_id == "speech-1"
    assert sound.duration_s == pytest.approx(len(TEXT) * 0.02, abs=0.1)
    if form in ("wav", "pcm", "flac"):
        assert sound == Sound(tone(TEXT, "alloy"), RATE_HZ)


def test_raw_audio_keeps_the_rate_that_its_type_names(provider):
    reply, _ = sent_to(VOICE, provider, ask(format="pcm"))
    assert reply.media[0].mime == f"audio/pcm;rate={RATE_HZ}"


def test_audio_under_a_type_that_tells_nothing_is_what_was_asked_for(provider):
    provider.outcome = lambda _: "wrong_mime"
    for form in ("pcm", "wav", "mp3"):
        reply, sound = sent_to(VOICE, provider, ask(format=form))
        assert reply.media[0].mime == ("audio/pcm" if form == "pcm" else "application/octet-stream")
        assert sound.samples > 0


@pytest.mark.parametrize(
    ("outcome", "form", "kind", "output"),
    [
        ("empty", "wav", "no_media", None),
        ("no_samples", "wav", "no_media", None),
        ("text_only", "wav", "no_media", "I can only write."),
        ("cut_off", "wav", "malformed", None),
        ("no_audio", "mp3", "malformed", None),
    ],
)
def test_an_answer_without_audio_is_a_typed_problem(provider, outcome, form, kind, output):
    provider.outcome = lambda _: outcome
    reply, sound = sent_to(VOICE, provider, ask(format=form))
    assert (reply.problem.kind, reply.problem.output, sound) == (kind, output, None)


@pytest.mark.parametrize(
    ("spec", "outcome", "kind"),
    [
        (VOICE, "filtered", "content_filter"),
        (VOICE, "json_error", "server_error"),
        (VOICE, "rate_limit", "rate_limit"),
        (GEM, "json_error", "server_error"),
        (GEM, "rate_limit", "rate_limit"),
        (GEM, "empty", "malformed"),
    ],
)
def test_an_error_of_the_host_is_raised_with_its_kind(provider, spec, outcome, kind):
    provider.outcome = lambda _: outcome
    with pytest.raises(ProviderError) as caught:
        sent_to(spec, provider, ask())
    assert caught.value.kind == kind


def answered(body: bytes, mime: str, status: int = 200) -> Reply:
    return SPEECH.parse(HttpReply(status, {"content-type": mime}, body), {})


def test_json_instead_of_audio_is_an_error_or_no_media_whatever_it_is_called():
    said = answered(b'{"text": "no"}', "application/json; charset=utf-8").problem
    assert (said.kind, said.output) == ("no_media", '{"text": "no"}')
    for mime in ("application/problem+json", "application/octet-stream", ""):
        with pytest.raises(ProviderError) as caught:
            answered(b'{"error": {"code": "content_filter", "message": "no"}}', mime)
        assert caught.value.kind == "content_filter"
    assert answered(b'{"no json', "application/octet-stream").media[0].data == b'{"no json'


def test_an_empty_body_is_no_media_whatever_it_is_called():
    for mime in ("audio/wav", "application/octet-stream", "text/plain", ""):
        reply = answered(b"", mime)
        assert (reply.problem.kind, reply.finish_reason, reply.media) == ("no_media", "empty", ())


def test_a_page_instead_of_audio_is_malformed():
    for body, mime in [
        (b"<html>", "text/html"),
        (b"data: {}\n\n", "text/event-stream"),
        (b"", "application/json"),
    ]:
        with pytest.raises(ProviderError) as caught:
            answered(body, mime)
        assert caught.value.kind == "malformed"
    with pytest.raises(ProviderError) as caught:
        answered(wav(b""), "audio/wav", 503)
    assert caught.value.kind == "server_error"


# ---- Gemini: the request


def test_one_voice_is_a_voice_config():
    body = GEMINI.body(GEM, ask(voice="Kore", language="ja-JP", format="pcm"))
    assert body == {
        "contents": [{"role": "user", "parts": [{"text": TEXT}]}],
        "generationConfig": {
            "responseModalities": ["AUDIO"],
            "speechConfig": {
                "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}},
                "languageCode": "ja-JP",
            },
        },
    }
    assert GEMINI.body(GEM, ask())["generationConfig"] == {"responseModalities": ["AUDIO"]}


def test_two_speakers_are_two_voice_configs_in_their_order():
    config = GEMINI.body(GEM, ask(speakers=TWO))["generationConfig"]["speechConfig"]
    voices = config["multiSpeakerVoiceConfig"]["speakerVoiceConfigs"]
    assert [each["speaker"] for each in voices] == ["Joe", "Jane"]
    assert voices[1]["voiceConfig"] == {"prebuiltVoiceConfig": {"voiceName": "Puck"}}


@pytest.mark.parametrize(
    ("given", "prompt"),
    [("Say cheerfully", "Say cheerfully: hi"), ("Say cheerfully: ", "Say cheerfully: hi"), ("  ", "hi")],
)
def test_instructions_go_before_the_text(given, prompt):
    body = GEMINI.body(GEM, ask("hi", instructions=given))
    assert body["contents"][0]["parts"] == [{"text": prompt}]


def test_instructions_stand_on_a_line_before_a_dialogue():
    body = GEMINI.body(GEM, ask("Joe: hi\nJane: hey", instructions="TTS the talk", speakers=TWO))
    assert body["contents"][0]["parts"] == [{"text": "TTS the talk:\nJoe: hi\nJane: hey"}]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"speed": 2}, "speed has no place"),
        ({"seed": 2}, "seed has no place"),
        ({"format": "mp3"}, "ask it for pcm"),
        ({"speakers": {"Joe": "Kore"}}, "exactly 2 speakers, not 1"),
        ({"speakers": {**TWO, "Ann": "Zephyr"}}, "exactly 2 speakers, not 3"),
        ({"speakers": TWO, "voice": "Kore"}, "keep one"),
    ],
)
def test_what_gemini_has_no_place_for_is_refused(params, said):
    with pytest.raises(ParamError, match=said):
        GEMINI.body(GEM, ask(**params))


def test_the_path_is_that_of_the_text_models():
    assert (
        GEMINI.path(GEM, Endpoint("g", "gemini", "https://g.test")) == "/v1/models/gemini-tts:generateContent"
    )


# ---- Gemini: the answer


def test_gemini_audio_comes_back_with_its_rate_usage_and_version(provider):
    reply, sound = sent_to(GEM, provider, ask(voice="Kore"))
    assert reply.media[0].mime == f"audio/L16;codec=pcm;rate={RATE_HZ}"
    assert sound == Sound(tone(TEXT, "Kore"), RATE_HZ)
    assert (reply.finish_reason, reply.problem) == ("stop", None)
    assert reply.usage == Usage(len(TEXT), len(TEXT))
    assert (reply.served_model, reply.request_id) == ("gemini-tts", "speech-1")


@pytest.mark.parametrize(
    ("outcome", "kind", "output"),
    [
        ("text_only", "no_media", "I can only write."),
        ("no_samples", "no_media", None),
        ("filtered", "content_filter", None),
        ("cut_off", "malformed", None),
        ("wrong_mime", "malformed", None),
    ],
)
def test_a_gemini_answer_without_audio_is_a_typed_problem(provider, outcome, kind, output):
    provider.outcome = lambda _: outcome
    reply, sound = sent_to(GEM, provider, ask())
    assert (reply.problem.kind, reply.problem.output, sound) == (kind, output, None)
    assert reply.usage.input_tokens == len(TEXT)


def gemini(*parts: dict[str, Any], finish: str = "STOP") -> Reply:
    candidate = {"content": {"parts": list(parts)}, "finishReason": finish}
    body = json.dumps({"candidates": [candidate]}).encode()
    return GEMINI.parse(HttpReply(200, {}, body), {})


def spoken(data: bytes, mime: str = "audio/L16;rate=24000", **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}, **more}


def test_parts_of_raw_audio_are_put_end_to_end():
    reply = gemini(spoken(b"\1\2"), {"text": "(pause)"}, spoken(b"\3"), spoken(b"\4"))
    assert reply.media == (Blob(b"\1\2\3\4", "audio/L16;rate=24000"),)
    assert (reply.problem, reply.finish_reason) == (None, "stop")


def test_audio_of_a_thought_and_data_that_is_no_audio_are_not_the_answer():
    assert gemini(spoken(b"\1\2", thought=True)).problem.kind == "no_media"
    assert gemini(spoken(b"\1\2", "image/png")).problem.kind == "no_media"


def test_parts_that_cannot_be_joined_are_malformed():
    for parts in (
        [spoken(b"\1\2"), spoken(b"\1\2", "audio/L16;rate=8000")],
        [spoken(b"RI", "audio/wav")] * 2,
    ):
        reply = gemini(*parts)
        assert (reply.problem.kind, reply.media) == ("malformed", ())


@pytest.mark.parametrize(
    ("finish", "kind"),
    [("SAFETY", "content_filter"), ("MAX_TOKENS", "truncated"), ("OTHER", "server_error")],
)
def test_audio_that_was_stopped_or_cut_off_is_no_answer(finish, kind):
    reply = gemini(spoken(b"\1\2"), finish=finish)
    assert (reply.problem.kind, reply.media) == (kind, ())


def test_both_base64_alphabets_are_read():
    data = bytes([251, 255, 190, 255])
    urlsafe = base64.urlsafe_b64encode(data).decode().rstrip("=")
    part = {"inlineData": {"mimeType": "audio/pcm", "data": urlsafe}}
    assert gemini(part).media[0].data == data
