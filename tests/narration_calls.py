"""What the tests of SpeechClient share: a provider whose samples are known, and clients on its voices."""

from __future__ import annotations

import array
import io
import sys
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llmbench import (
    FallbackExhausted,
    SpeechClient,
)
from tests.media_calls import KEYS, write_folder
from tests.servers.chat_server import Received, Step, failure
from tests.servers.speech_provider import RATE_HZ, SAMPLES_A_CHARACTER, SpeechProvider, text_of, tone

#: Three milliseconds at each edge of a piece are faded.
FADED = 72
SENTENCES = ("おはようございます。", "今日は晴れです。", "Good morning, all.", "では、始めましょう！")
SCRIPT = "".join(SENTENCES[:2]) + " ".join(SENTENCES[2:])


@pytest.fixture
def speaker() -> Iterator[SpeechProvider]:
    with SpeechProvider() as running:
        yield running


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "log.jsonl"


@pytest.fixture
def open_speech(tmp_path, speaker, log) -> Iterator[Callable[..., SpeechClient]]:
    """Open a client on voices that are given as keywords; `a` and `b` by default."""
    opened: list[SpeechClient] = []

    def opening(
        variables: dict[str, str] | None = None,
        task: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        keys: Sequence[str] = ("STUB_KEY",),
        **models: dict[str, Any],
    ) -> SpeechClient:
        models = models or {"a": {}, "b": {}}
        rule = {"tier": "speech", "options": {"split": "sentence"}, **(task or {})}
        files = {
            "providers": {
                "p": {"base_url": speaker.url, "env_api_keys": list(keys)},
                "google": {"type": "gemini", "base_url": speaker.root, "env_api_keys": list(keys)},
            },
            "models": {
                key: {"provider": "p", "model_name": f"m-{key}", **model} for key, model in models.items()
            },
            "tiers": {"speech": list(models)},
            "tasks": {"narration": rule},
        }
        fallback = {"llm_fallback_policy": {"backoff_sec": 0, **(policy or {})}}
        folder = write_folder(tmp_path / f"configs{len(opened)}", speech_models=files, **fallback)
        client = SpeechClient(folder, variables=KEYS | (variables or {}), log_path=log)
        opened.append(client)
        return client

    yield opening
    for client in opened:
        client.close()


def exhausted(client: SpeechClient, text: str = SCRIPT, **arguments: Any) -> FallbackExhausted:
    with pytest.raises(FallbackExhausted) as caught:
        client.synthesize("narration", text, **arguments)
    return caught.value


def samples_of(audio: bytes) -> array.array[int]:
    with wave.open(io.BytesIO(audio)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE_HZ)
        found = array.array("h")
        found.frombytes(file.readframes(file.getnframes()))
    if sys.byteorder == "big":
        found.byteswap()
    return found


def check_joined(samples: array.array[int], texts: Sequence[str], voice: str = "") -> None:
    """The whole is the pieces end to end: every sample but those of the fades is the provider's own."""
    assert len(samples) == sum(map(len, texts)) * SAMPLES_A_CHARACTER
    start = 0
    for text in texts:
        wanted = array.array("h")
        wanted.frombytes(tone(text, voice))
        piece = samples[start : start + len(wanted)]
        assert piece[FADED:-FADED] == wanted[FADED:-FADED]
        assert (piece[0], piece[-1]) == (0, 0)
        start += len(wanted)


def answering(speaker: SpeechProvider, change: Callable[[str, Step], Step]) -> None:
    """Change what the provider answers, by the text that it is asked for."""
    answer = speaker.answer
    speaker.answer = lambda request: change(text_of(request), answer(request))


def failing(voice: str, text: str) -> Callable[[SpeechProvider], None]:
    def apply(speaker: SpeechProvider) -> None:
        answer = speaker.answer

        def changed(request: Received) -> Step:
            is_met = request.json["model"] == voice and text in text_of(request)
            return failure(404, "model_not_found") if is_met else answer(request)

        speaker.answer = changed

    return apply
