"""What the tests of ImageClient share: a provider that draws the prompt, and clients on its dialects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from llmbench import (
    FallbackExhausted,
    ImageClient,
)
from tests.conftest import provider
from tests.media_calls import DIALECTS, KEYS, dialect_files, write_folder
from tests.servers.chat_server import Received, Step
from tests.servers.image_provider import ImageProvider

ALL = list(DIALECTS)
WITH_WORDS, WITH_ADDRESSES = ["chat", "gemini"], [name for name in ALL if name != "gemini"]


@pytest.fixture
def painter() -> Iterator[ImageProvider]:
    with ImageProvider() as running:
        yield running


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "log.jsonl"


@pytest.fixture
def open_images(tmp_path, painter, log) -> Iterator[Callable[..., ImageClient]]:
    """Open a client: on every dialect, or on models of the images API that are given as keywords."""
    opened: list[ImageClient] = []

    def opening(
        variables: dict[str, str] | None = None,
        task: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        keys: Sequence[str] = ("STUB_KEY",),
        **models: dict[str, Any],
    ) -> ImageClient:
        files = dialect_files(painter)
        if models:
            files = {
                "providers": {"p": {"base_url": painter.base_url("openai"), "env_api_keys": list(keys)}},
                "models": {
                    key: {"provider": "p", "model_name": f"m-{key}", **m} for key, m in models.items()
                },
                "tiers": {"image": list(models)},
                "tasks": {"scene": {"tier": "image", **(task or {})}},
            }
        speech = {
            "providers": {"s": provider("http://127.0.0.1:1/v1")},
            "models": {"reader": {"provider": "s"}},
            "tiers": {"speech": ["reader"]},
            "tasks": {"narration": {"tier": "speech"}},
        }
        fallback = {"llm_fallback_policy": {"backoff_sec": 0, **(policy or {})}}
        folder = write_folder(
            tmp_path / f"configs{len(opened)}", image_models=files, speech_models=speech, **fallback
        )
        client = ImageClient(folder, variables=KEYS | (variables or {}), log_path=log)
        opened.append(client)
        return client

    yield opening
    for client in opened:
        client.close()


def exhausted(client: ImageClient, task: str, prompt: str, **arguments: Any) -> FallbackExhausted:
    with pytest.raises(FallbackExhausted) as caught:
        client.generate(task, prompt, **arguments)
    return caught.value


def by_turn(painter: ImageProvider, *steps: Step | None) -> None:
    """Answer the first posts with these steps, None for the picture, all further ones with the picture."""
    waiting = list(steps)
    guard, drawn_answer = threading.Lock(), painter.answer

    def answer(request: Received) -> Step:
        with guard:
            step = waiting.pop(0) if waiting and request.method == "POST" else None
        return step or drawn_answer(request)

    painter.answer = answer
