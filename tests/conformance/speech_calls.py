"""Speech providers and the calls made there, once by the official SDK and once by us.

The local voice server has no SDK of its own; OpenAI's speaks its form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmbench.catalog import Capabilities, Endpoint, ModelSpec, Wire
from llmbench.media import MediaAsk
from llmbench.providers.send import Sent
from tests.conformance.image_places import REFERER, VERSION, sent
from tests.conformance.places import Sdk
from tests.conftest import CANARY
from tests.servers.speech_provider import SpeechProvider

SCRIPT = "こんにちは。Hello, world."
DIALOGUE = "Joe: hi\nJane: hey"
TWO = {"Joe": "Kore", "Jane": "Puck"}
_TTS = "gpt-4o-mini-tts"


@dataclass(frozen=True)
class SpeechPlace:
    """One address of one provider; its name starts with those of the differences that it meets."""

    name: str
    path: str
    wire: Wire
    model: str
    sdk: Callable[[str, str], Sdk]
    endpoint: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> ModelSpec:
        return ModelSpec("m", "host", self.model, self.wire, capabilities=Capabilities(mode="speech"))

    def sent(self, server: SpeechProvider, ask: MediaAsk) -> Sent:
        """Our own call, through the real transport.

        Raises:
            ProviderError: no answer came.
        """
        address = server.root + self.path
        return sent(
            self.spec, Endpoint("host", base_url=address, env_api_keys=("STUB_KEY",), **self.endpoint), ask
        )


def _openai(address: str, model: str) -> Sdk:
    from openai import OpenAI

    client = OpenAI(base_url=address, api_key=CANARY, max_retries=0)
    return Sdk(lambda **call: client.audio.speech.create(model=model, **call).content, client.close)


def _azure(address: str, model: str) -> Sdk:
    from openai import AzureOpenAI

    client = AzureOpenAI(azure_endpoint=address, api_version=VERSION, api_key=CANARY, max_retries=0)
    return Sdk(lambda **call: client.audio.speech.create(model=model, **call).content, client.close)


def _openrouter(address: str, model: str) -> Sdk:
    from openrouter import OpenRouter, utils

    client = OpenRouter(
        api_key=CANARY,
        server_url=address,
        http_referer=REFERER["HTTP-Referer"],
        x_open_router_title=REFERER["X-OpenRouter-Title"],
        retry_config=utils.RetryConfig("none", None, retry_connection_errors=False),
    )

    def send(**call: Any) -> bytes:
        answer = client.tts.create_speech(model=model, **call)
        try:
            return b"".join(answer.iter_bytes())
        finally:
            answer.close()

    return Sdk(send, lambda: client.__exit__(None, None, None))


def _gemini(version: str) -> Callable[[str, str], Sdk]:
    def opened(address: str, model: str) -> Sdk:
        from google import genai

        client = genai.Client(api_key=CANARY, http_options={"base_url": address, "api_version": version})

        def send(**call: Any) -> bytes:
            answer = client.models.generate_content(model=model, **call)
            return b"".join(part.inline_data.data for part in answer.candidates[0].content.parts)

        return Sdk(send, client.close)

    return opened


SPEECH_PLACES: tuple[SpeechPlace, ...] = (
    SpeechPlace("openai-speech", "/v1", "speech", _TTS, _openai, {"type": "openai"}),
    SpeechPlace(
        "azure-speech-dated",
        "",
        "speech",
        _TTS,
        _azure,
        {"type": "azure", "auth": "key", "api_version": VERSION},
    ),
    SpeechPlace("azure-speech-v1", "/openai/v1", "speech", _TTS, _openai, {"type": "azure"}),
    SpeechPlace(
        "openrouter-speech",
        "/api/v1",
        "speech",
        f"openai/{_TTS}",
        _openrouter,
        {"type": "openrouter", "headers": REFERER},
    ),
    SpeechPlace(
        "gemini-speech-v1", "", "gemini", "gemini-tts", _gemini("v1"), {"type": "gemini", "auth": "key"}
    ),
    SpeechPlace(
        "gemini-speech-v1beta",
        "",
        "gemini",
        "gemini-tts",
        _gemini("v1beta"),
        {"type": "gemini", "auth": "key", "api_version": "v1beta"},
    ),
)


@dataclass(frozen=True)
class SpeechCall:
    """One call in both tongues, at the places where it can be made."""

    name: str
    places: tuple[str, ...]
    sdk: Mapping[str, Any]
    params: Mapping[str, Any] = field(default_factory=dict)
    text: str = SCRIPT
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def ask(self) -> MediaAsk:
        return MediaAsk(self.text, self.params, extra_body=self.extra_body)


_OPENAI = ("openai-speech", "azure-speech-dated", "azure-speech-v1")
_ROUTER = ("openrouter-speech",)
_GEMINI = ("gemini-speech-v1", "gemini-speech-v1beta")


def _spoken(text: str = SCRIPT, **speech: Any) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": text}]}]
    more = {"speech_config": speech} if speech else {}
    return {"contents": contents, "config": {"response_modalities": ["AUDIO"], **more}}


def _voice(name: str) -> dict[str, Any]:
    return {"prebuilt_voice_config": {"voice_name": name}}


_PAIR = {
    "speaker_voice_configs": [{"speaker": name, "voice_config": _voice(voice)} for name, voice in TWO.items()]
}
_SAFETY = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}]
SPEECH_CALLS: tuple[SpeechCall, ...] = (
    SpeechCall("voice", _OPENAI, {"input": SCRIPT, "voice": "alloy"}, {"voice": "alloy"}),
    SpeechCall(
        "everything",
        _OPENAI,
        {
            "input": SCRIPT,
            "voice": "alloy",
            "instructions": "落ち着いて",
            "response_format": "wav",
            "speed": 1.25,
            "extra_body": {"stream_format": "audio"},
        },
        {"voice": "alloy", "instructions": "落ち着いて", "format": "wav", "speed": 1.25},
        extra_body={"stream_format": "audio"},
    ),
    SpeechCall(
        "raw",
        _OPENAI + _ROUTER,
        {"input": SCRIPT, "voice": "alloy", "response_format": "pcm"},
        {"voice": "alloy", "format": "pcm"},
    ),
    SpeechCall(
        "everything",
        _ROUTER,
        {
            "input": SCRIPT,
            "voice": "alloy",
            "instructions": "calm",
            "response_format": "mp3",
            "speed": 0.5,
            "user": "u1",
        },
        {"voice": "alloy", "instructions": "calm", "format": "mp3", "speed": 0.5},
        extra_body={"user": "u1"},
    ),
    SpeechCall("minimal", _GEMINI, _spoken()),
    SpeechCall("voice", _GEMINI, _spoken(voice_config=_voice("Kore")), {"voice": "Kore"}),
    SpeechCall(
        "language",
        _GEMINI,
        _spoken(voice_config=_voice("Kore"), language_code="ja-JP"),
        {"voice": "Kore", "language": "ja-JP", "format": "pcm"},
    ),
    SpeechCall(
        "style",
        _GEMINI,
        _spoken(f"Say cheerfully: {SCRIPT}", voice_config=_voice("Kore")),
        {"voice": "Kore", "instructions": "Say cheerfully"},
    ),
    SpeechCall(
        "dialogue", _GEMINI, _spoken(DIALOGUE, multi_speaker_voice_config=_PAIR), {"speakers": TWO}, DIALOGUE
    ),
    SpeechCall(
        "safety",
        _GEMINI,
        {**_spoken(), "config": {"response_modalities": ["AUDIO"], "safety_settings": _SAFETY}},
        extra_body={"safetySettings": _SAFETY},
    ),
)
