"""Telemetry lines of real calls of every kind: text whole, streamed, failed, local; pictures; speech."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

from llmbench import FallbackExhausted, ImageClient, LLMClient, SpeechClient
from llmbench.providers import local_models
from tests.conftest import models, provider
from tests.media_calls import KEYS, dialect_files, lines, write_folder
from tests.servers.chat_server import ChatServer, Step, completion, failure
from tests.servers.image_provider import ImageProvider
from tests.servers.speech_provider import SpeechProvider
from tests.servers.stream_server import Play, StreamServer

ROOT = Path(__file__).parents[1]
SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def real_lines(folder: Path) -> list[dict[str, Any]]:
    """The lines that such calls leave; the local model's only where it is installed."""
    log = folder / "log.jsonl"
    with ChatServer() as server, ImageProvider() as painter, SpeechProvider() as speaker:
        _ask_for_texts(folder / "text", log, server)
        files = {"image_models": dialect_files(painter), "speech_models": _voices(speaker)}
        media = write_folder(folder / "media", **files)
        with ImageClient(media, variables=KEYS, log_path=log) as images:
            images.generate("openai", "a harbour")
        with SpeechClient(media, variables=KEYS, log_path=log) as voices:
            voices.synthesize("narration", "今日は晴れです。")
    if "smollm2-135m" not in local_models.missing_models():
        shutil.copytree(ROOT / "configs", folder / "configs")
        opened = LLMClient(folder / "configs", variables={}, log_path=log)
        with opened as client, contextlib.suppress(FallbackExhausted):  # cut off or not, it leaves a line
            client.call("caption", "a dog", models="smol_free", max_tokens=40, timeout=60)
    return lines(log)


def _ask_for_texts(folder: Path, log: Path, server: ChatServer) -> None:
    """A call that falls back from a paid answer, one that fails, one with its texts, and a stream."""
    server.script = {
        "m-a": [Step(completion("no json"))],
        "m-b": [failure(500)],
        "m-c": [Step(completion('{"n": 1}'))],
    }
    chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}]}\n\n'
    with StreamServer(Play([chunk, b"data: [DONE]\n\n"])) as streaming:
        made = write_folder(
            folder,
            llm_router={"providers": {"stub": provider(server.url), "slow": provider(streaming.url)}},
            llm_model_registry={"models": models("a", "b", "c") | {"s": {"provider": "slow"}}},
            llm_tier_candidates={"tiers": {"cheap": ["a", "b", "c"], "standard": ["b"]}},
        )
        with LLMClient(made, variables=KEYS, log_path=log) as client:
            client.call("caption", "hello", response_format=SCHEMA, max_completion_tokens=20, routing_key="k")
            with contextlib.suppress(FallbackExhausted):
                client.call("caption", "hello", models="b")
            assert "".join(client.stream("caption", "hello", models="s")) == "ok"
        with LLMClient(made, variables={**KEYS, "LLM_ROUTER_LOG_CONTENT": "1"}, log_path=log) as client:
            client.call("caption", "hello", models="c", response_format=SCHEMA)


def _voices(speaker: SpeechProvider) -> dict[str, Any]:
    return {
        "providers": {"p": provider(speaker.url)},
        "models": {"v": {"provider": "p", "model_name": "m-v"}},
        "tiers": {"speech": ["v"]},
        "tasks": {"narration": {"tier": "speech"}},
    }
