"""A real `llmbench serve` process on loopback providers, and clients that ask it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.conftest import CANARY, models, provider
from tests.media_calls import lines, write_folder
from tests.servers.chat_server import ChatServer, Received, Step, completion, failure
from tests.servers.image_provider import ImageProvider
from tests.servers.speech_provider import SpeechProvider
from tests.servers.stream_server import Play, StreamServer

TOKEN = "token-of-the-tests-0123456789"
CALL = {"id": "call_7", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Kyoto"}'}}
#: One piece, and then nothing until the client goes.
ENDLESS = Play([b'data: {"choices": [{"index": 0, "delta": {"content": "one "}}]}\n\n', "hang"])


class TextProvider(ChatServer):
    """Answers as the last message's first word asks: `#tool`, `#slow`, `#429`, ...; else with its text."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = self._answer

    def _answer(self, request: Received) -> Step:
        body = request.json
        said = body["messages"][-1]["content"]
        text = said if isinstance(said, str) else next(p["text"] for p in said if p["type"] == "text")
        word = text.split(" ")[0]
        if word.startswith("#") and word[1:].isdigit():
            return failure(int(word[1:]), "it_failed", f"refused with {CANARY}", retry_after="7")
        if word == "#filter":
            return failure(400, "content_filter", "the prompt was filtered")
        message: dict[str, Any] = {"text": f"you said {text}"}
        if word == "#tool":
            message = {"text": None, "finish_reason": "tool_calls", "tool_calls": [CALL]}
        elif word == "#json":
            message = {"text": '```json\n{"city": "Kyoto", "people": 1463723}\n```'}
        elif word == "#refuse":
            message = {"text": None, "refusal": "I will not."}
        elif word == "#long":
            message |= {"finish_reason": "length"}
        usage = {"prompt_tokens": 12, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}
        whole = completion(**message, usage=usage)
        delay_s = 0.4 if word == "#slow" else 30.0 if word == "#never" else 0.0
        if not body.get("stream"):
            return Step(whole, delay_s=delay_s)
        return Step(_events(whole), headers={"content-type": "text/event-stream"}, delay_s=delay_s)


def _events(whole: Mapping[str, Any]) -> bytes:
    """A completion as the events that it would have been, the text in pieces of a word."""
    choice = whole["choices"][0]
    message = choice["message"]
    deltas = [{"content": piece} for piece in re.findall(r"\S+\s*", message["content"] or "")]
    deltas += [{"refusal": message["refusal"]}] if message.get("refusal") else []
    deltas += [{"tool_calls": [{"index": 0, **call}]} for call in message.get("tool_calls", [])]
    chunks = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    chunks.append({"choices": [], "usage": whole["usage"]})
    return b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"


def folder_of(
    root: Path, text: ChatServer, slow: StreamServer, painter: ImageProvider, voices: SpeechProvider
) -> Path:
    """A config folder with text tiers, pictures and voices on loopback."""
    can = {"capabilities": {"tools": True, "vision": True}, "price": {"input": 1.0, "output": 2.0}}
    registry = models("a", "b", **can) | {"s": {"provider": "slow", "model_name": "m-s", **can}}
    registry |= {"keyless": {"provider": "elsewhere", "model_name": "m-k"}}
    registry |= models("small", capabilities={"context_tokens": 100})
    return write_folder(
        root,
        llm_router={
            "providers": {
                "stub": provider(text.url),
                "slow": provider(slow.url),
                "elsewhere": {"base_url": "http://127.0.0.1:1/v1", "env_api_key": "NO_SUCH_KEY"},
            }
        },
        llm_model_registry={"models": registry},
        llm_tier_candidates={
            "tiers": {"cheap": ["a", "b"], "standard": ["b"], "slow": ["s"], "far": ["keyless"]}
        },
        llm_tier_mapping={
            "tasks": {"caption": "cheap", "draft": "slow", "unreachable": "far"},
            "overrides": {"channels": {"CH01": {"tasks": {"caption": {"tier": "standard"}}}}},
        },
        llm_fallback_policy={"backoff_sec": 0, "transient_statuses": []},
        image_models={
            "providers": {"paint": provider(painter.base_url("openai"))},
            "models": {"p": {"provider": "paint", "model_name": "m-p", "wire": "images"}},
            "tiers": {"image": ["p"]},
            "tasks": {"thumbnail_image": {"tier": "image"}},
        },
        speech_models={
            "providers": {"say": provider(voices.url)},
            "models": {"v": {"provider": "say", "model_name": "m-v", "wire": "speech"}},
            "tiers": {"speech": ["v"]},
            "tasks": {"narration": {"tier": "speech"}},
        },
    )


class Served:
    """A running server: where it is, its token, and the telemetry that it writes."""

    text: TextProvider
    slow: StreamServer

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log, self.said = process, log, ""
        self.url = self._awaited(r"at (\S+?/v1);")

    def _awaited(self, pattern: str) -> str:
        """The first group of a pattern in what the process has said, once it is there."""
        ends = time.monotonic() + 30
        while not (found := re.search(pattern, self.said)):
            self._read(ends)
        return found[1]

    def _read(self, ends: float) -> None:
        assert self.process.stderr is not None
        stream = self.process.stderr.fileno()
        assert select.select([stream], [], [], max(0.0, ends - time.monotonic()))[0], self.said
        chunk = os.read(stream, 65536)
        assert chunk, f"it ended: {self.said}"
        self.said += chunk.decode()

    @property
    def token(self) -> str:
        """The token that the server made up and printed."""
        return self._awaited(r"token of this run: (\S+)")

    def sdk(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=TOKEN, **{"max_retries": 0, **options})

    def http(self, token: str | None = TOKEN, **options: Any) -> httpx.Client:
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False, **options)

    def lines(self) -> list[dict[str, Any]]:
        return lines(self._log) if self._log.exists() else []

    def new_lines(self, before: int, count: int = 1) -> list[dict[str, Any]]:
        """The lines after the first `before`, once there are `count` of them."""
        ends = time.monotonic() + 10
        while len(self.lines()) < before + count and time.monotonic() < ends:
            time.sleep(0.02)
        return self.lines()[before:]

    def end(self, number: signal.Signals = signal.SIGTERM, limit_s: float = 20) -> int:
        """Tell the process to end, and wait until it has."""
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=limit_s)
        self.said += rest.decode()
        return self.process.returncode


@contextlib.contextmanager
def serving(folder: Path, *arguments: str, token: str | None = TOKEN, before: str = "") -> Iterator[Served]:
    """Run `llmbench serve` on a free port; it is ended at the latest with the context.

    `before` is Python that the process runs first.
    """
    log = folder.parent / f"{folder.name}-log.jsonl"
    own = {name: value for name, value in os.environ.items() if not name.startswith("LLM")}
    environment = {**own, "STUB_KEY": CANARY, "LLM_ROUTER_LOG_PATH": str(log)}
    environment |= {} if token is None else {"LLMBENCH_SERVE_TOKEN": token}
    command = [sys.executable, "-W", "error", "-c", f"{before}\nfrom llmbench.cli import main; main()"]
    process = subprocess.Popen(
        [*command, "serve", "--configs", str(folder), "--port", "0", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    try:
        yield Served(process, log)
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def providers(root: Path, play: Play = ENDLESS) -> Iterator[tuple[Path, TextProvider, StreamServer]]:
    """Loopback providers of every kind, and a config folder on them."""
    with contextlib.ExitStack() as stack:
        text, slow = stack.enter_context(TextProvider()), stack.enter_context(StreamServer(play))
        painter, voices = stack.enter_context(ImageProvider()), stack.enter_context(SpeechProvider())
        yield folder_of(root / "configs", text, slow, painter, voices), text, slow


_SHARED = pytest.StashKey["Served"]()


@pytest.fixture
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """One server for all tests that only ask it, with its providers as `text` and `slow`."""
    stash = request.config.stash
    if _SHARED not in stash:
        stack = contextlib.ExitStack()
        request.config.add_cleanup(stack.close)
        folder, text, slow = stack.enter_context(providers(tmp_path_factory.mktemp("serve")))
        served = stack.enter_context(serving(folder, "--max-body-mb", "1"))
        served.text, served.slow = text, slow
        stash[_SHARED] = served
    return stash[_SHARED]


@pytest.fixture
def sdk(running: Served) -> Iterator[openai.OpenAI]:
    with running.sdk() as client:
        yield client
