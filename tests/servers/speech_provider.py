"""A speech provider on loopback, for OpenAI's, Azure's and OpenRouter's audio/speech and for Gemini's voices.

It speaks no words: a text becomes a tone of 20 ms a character, made of whole periods, so that the samples of
an answer are known before it is asked for. `outcome` decides what comes of a text.
"""

from __future__ import annotations

import array
import base64
import io
import json
import math
import re
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tests.servers.chat_server import ChatServer, Received, Step, failure
from tests.servers.image_answers import openrouter_moderation

Outcome = Literal[
    "ok",
    "empty",  # nothing at all
    "no_samples",  # a WAV header and nothing after it; with Gemini, an answer without audio
    "filtered",  # 400 content_filter; with Gemini, a blocked prompt
    "json_error",  # 200 with an error in JSON
    "rate_limit",  # 429
    "cut_off",  # the first half of the bytes, as if they were all
    "text_only",  # an answer in words
    "wrong_mime",  # the audio, called something else
    "no_audio",  # bytes that no decoder knows, called audio
]
RATE_HZ = 24_000
SAMPLES_A_CHARACTER = 480
#: Samples of a voice's period; each of them divides those of a character.
_PERIODS = (32, 40, 48, 60)
_MIME = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": f"audio/pcm;rate={RATE_HZ}",
}
_CODED = {
    "mp3": ("mp3", "libmp3lame"),
    "opus": ("ogg", "libopus"),
    "flac": ("flac", "flac"),
    "aac": ("adts", "aac"),
}
#: Google's client mixes two spellings.
_VOICE = re.compile(r'"voice_?[nN]ame": "([^"]*)"')
_BLOCKED = {
    "error": {"message": "The text was filtered.", "type": None, "param": "input", "code": "content_filter"}
}


def tone(text: str, voice: str = "", speed: float = 1.0) -> bytes:
    """Mono 16-bit little-endian samples at RATE_HZ, SAMPLES_A_CHARACTER of them a character at speed 1."""
    period = _PERIODS[sum(voice.encode()) % len(_PERIODS)]
    wave = array.array("h", (round(9000 * math.sin(2 * math.pi * place / period)) for place in range(period)))
    if sys.byteorder == "big":
        wave.byteswap()
    samples = round(len(text) * SAMPLES_A_CHARACTER / speed)
    return (wave.tobytes() * (samples // period + 1))[: 2 * samples]


def wav(
    pcm: bytes, rate_hz: int = RATE_HZ, size: int | None = None, channels: int = 1, bits: int = 16
) -> bytes:
    """A WAV file; `size` is what its header says of the samples, in bytes."""
    said = len(pcm) if size is None else size
    frame = channels * bits // 8
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate_hz, rate_hz * frame, frame, bits)
    riff = struct.pack("<4sI4s", b"RIFF", min(said + 36, 0xFFFFFFFF), b"WAVE")
    return riff + head + struct.pack("<4sI", b"data", said) + pcm


def coded(pcm: bytes, name: str) -> bytes:
    """The samples as mp3, opus, flac or aac."""
    import av

    container, codec = _CODED[name]
    made = io.BytesIO()
    with av.open(io.BytesIO(wav(pcm)), format="wav") as source, av.open(made, "w", format=container) as sink:
        stream = sink.add_stream(codec, rate=RATE_HZ, layout="mono")
        resampler = av.AudioResampler(stream.codec_context.format, "mono", RATE_HZ)
        for frame in source.decode(audio=0):
            for part in resampler.resample(frame):
                sink.mux(stream.encode(part))
        for part in resampler.resample(None):
            sink.mux(stream.encode(part))
        sink.mux(stream.encode(None))
    return made.getvalue()


class SpeechProvider(ChatServer):
    """Answers on all speech wires; `provider.outcome = lambda text: "filtered"` says how.

    `spoken` are the texts that were asked for, `delay_s` passes before each answer, and `most_open` is how
    many requests were open at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outcome: Callable[[str], Outcome] = lambda _: "ok"
        self.delay_s = 0.0
        self.most_open = 0
        self._open = 0
        self.answer = self._spoken

    @property
    def root(self) -> str:
        """The address without a version."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def spoken(self) -> list[str]:
        """The texts asked for, in order of their arrival."""
        return [text_of(request) for request in self.received]

    async def _send(self, step: Step, writer: Any) -> bool:
        try:
            return await super()._send(step, writer)
        finally:
            self._open -= 1

    def _spoken(self, request: Received) -> Step:
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        text = text_of(request)
        is_gemini = "contents" in request.json
        outcome = self.outcome(text)
        if request.path.startswith("/api/v1") and outcome in ("filtered", "rate_limit"):
            step = openrouter_moderation() if outcome == "filtered" else failure(429, 429, retry_after="0")
        else:
            step = (_gemini_step if is_gemini else _speech_step)(request.json, text, outcome)
        return Step(step.body, step.status, step.headers, self.delay_s, step.fault)


def text_of(request: Received) -> str:
    """What a request asks to be spoken, with the instructions before it in Gemini's."""
    body = request.json
    return body["contents"][0]["parts"][0]["text"] if "contents" in body else body["input"]


def _speech_step(body: Mapping[str, Any], text: str, outcome: Outcome) -> Step:
    asked = body.get("response_format", "mp3")
    if outcome == "filtered":
        return Step(_BLOCKED, 400)
    if outcome == "rate_limit":
        return failure(429, "rate_limit_exceeded", retry_after="0")
    if outcome == "json_error":
        return Step({"error": {"message": "The model failed.", "code": "server_error"}})
    if outcome == "text_only":
        return Step("I can only write.", headers={"content-type": "text/plain; charset=utf-8"})
    if outcome == "no_audio":
        return Step(b"\x00<html>\xff" * 40, headers={"content-type": _MIME[asked]})
    voice = body.get("voice", "")
    pcm = tone(
        "" if outcome == "no_samples" else text,
        voice if isinstance(voice, str) else "",
        body.get("speed", 1.0),
    )
    made = pcm if asked == "pcm" else wav(pcm) if asked == "wav" else coded(pcm, asked)
    if outcome == "empty":
        made = b""
    if outcome == "cut_off":
        made = made[: len(made) // 2]
    mime = "application/octet-stream" if outcome == "wrong_mime" else _MIME[asked]
    return Step(made, headers={"content-type": mime, "x-request-id": "speech-1"})


def _gemini_step(body: Mapping[str, Any], text: str, outcome: Outcome) -> Step:
    if outcome == "rate_limit":
        status = {"code": 429, "message": "Resource has been exhausted", "status": "RESOURCE_EXHAUSTED"}
        return Step({"error": status}, 429)
    if outcome == "json_error":
        return Step({"error": {"code": 500, "message": "Internal error.", "status": "INTERNAL"}})
    usage = {"promptTokenCount": len(text), "totalTokenCount": len(text)}
    if outcome == "empty":
        return Step({})
    if outcome == "filtered":
        return Step({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": usage})
    voices = _VOICE.findall(json.dumps(body["generationConfig"].get("speechConfig", {})))
    data = base64.b64encode(tone(text, "+".join(voices))).decode()
    mime = "audio/wav" if outcome == "wrong_mime" else f"audio/L16;codec=pcm;rate={RATE_HZ}"
    parts: list[dict[str, Any]] = [{"inlineData": {"mimeType": mime, "data": data}}]
    if outcome == "cut_off":
        parts[0]["inlineData"]["data"] = data[: len(data) // 2 - 1] + "!"
    if outcome in ("text_only", "no_samples", "no_audio"):
        parts = [{"text": "I can only write."}] if outcome == "text_only" else []
    spoken = len(text) if outcome in ("ok", "wrong_mime") else 0
    details = [{"modality": "AUDIO", "tokenCount": spoken}]
    return Step(
        {
            "candidates": [
                {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
            ],
            "usageMetadata": {
                **usage,
                "candidatesTokenCount": spoken,
                "totalTokenCount": len(text) + spoken,
                "candidatesTokensDetails": details,
            },
            "modelVersion": "gemini-tts",
            "responseId": "speech-1",
        },
        headers={"content-type": "application/json; charset=UTF-8"},
    )
