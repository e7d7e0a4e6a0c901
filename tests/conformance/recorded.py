"""The recorded exchanges beside this checkout: what an official SDK sent, and what it was answered."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from llmbench.catalog import Endpoint, ModelSpec, Wire
from llmbench.config.environment import read_environment
from llmbench.errors import ProviderError
from llmbench.providers.hosts import open_host
from llmbench.providers.send import Sent, send_once
from llmbench.providers.stream import stream_once
from llmbench.providers.transport import HttpxTransport
from tests.servers.chat_server import ChatServer, Step

FOLDER = Path(__file__).parents[3] / "shared" / "wire" / "captures"
#: Headers of a recording that belong to its connection.
_CONNECTION = {"content-length", "transfer-encoding", "content-encoding", "connection", "keep-alive"}


@cache
def names() -> tuple[str, ...]:
    """Every recorded exchange; none where the recordings are not beside this checkout."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "index"))


@cache
def load(name: str) -> Mapping[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def request_of(name: str) -> Mapping[str, Any]:
    """The last request of an exchange: method, path, query, headers, json."""
    return load(name)["requests"][-1]


def wire_of(name: str) -> Wire | None:
    """The wire that an exchange speaks, or None when it is none of a text model's."""
    path = request_of(name)["path"]
    ends: Mapping[str, Wire] = {
        "/chat/completions": "chat",
        "/responses": "responses",
        ":generateContent": "gemini",
        ":streamGenerateContent": "gemini",
    }
    return next((wire for end, wire in ends.items() if path.endswith(end)), None)


def is_stream(name: str) -> bool:
    request = request_of(name)
    return request["path"].endswith(":streamGenerateContent") or bool((request["json"] or {}).get("stream"))


def _step(answer: Mapping[str, Any]) -> Step:
    """One recorded answer as the server gives it again."""
    if answer.get("drop"):
        return Step(fault="close")
    headers = {k.lower(): v for k, v in (answer.get("headers") or {}).items()}
    headers = {name: value for name, value in headers.items() if name not in _CONNECTION and value}
    if "sse" in answer:
        events = "".join(answer["sse"]).encode()
        headers.setdefault("content-type", "text/event-stream; charset=utf-8")
        # A cut answer is half of what it announces: all that was recorded, then nothing.
        cut = bool(answer.get("truncate"))
        return Step(events * 2 if cut else events, headers=headers, fault="truncate" if cut else None)
    body = answer["body"]
    if isinstance(body, dict) and set(body) == {"__base64__"}:
        body = base64.b64decode(body["__base64__"])
    return Step(body, answer.get("status") or 200, headers)


def steps_of(name: str) -> list[Step]:
    answers = load(name)["response"]
    return [_step(answer) for answer in (answers if isinstance(answers, list) else [answers])]


def answered(server: ChatServer, name: str) -> Sent:
    """What our wire makes of a recorded answer that comes from a real socket.

    Raises:
        ProviderError: it is no answer.
    """
    step = steps_of(name)[-1]
    server.answer = lambda _: step
    wire = wire_of(name)
    assert wire is not None
    spec = ModelSpec("m", "host", "m-id", wire=wire)
    endpoint = Endpoint("host", base_url=server.url)
    host = open_host(endpoint, read_environment({}))
    recorded = request_of(name)["json"] or {}  # one probe was no JSON
    body = {key: value for key, value in recorded.items() if key not in ("stream", "stream_options")}

    async def once() -> Sent:
        transport = HttpxTransport()
        try:
            if not is_stream(name):
                return await send_once(spec, endpoint, host, transport, body, None)
            parts = [part async for part in stream_once(spec, endpoint, host, transport, body, None)]
            sent = parts[-1]
            assert isinstance(sent, Sent)
            assert "".join(map(str, parts[:-1])) == sent.reply.text
            return sent
        finally:
            await transport.aclose()

    return asyncio.run(once())


def outcome(server: ChatServer, name: str) -> str:
    """One line: `stop: TEXT`, `length (truncated): TEXT` or, for no answer, `- (kind)`."""
    try:
        sent = answered(server, name)
    except ProviderError as error:
        said = f": {error.output}" if error.output else ""
        return f"- ({error.kind}){said}"
    problem = f" ({sent.problem.kind})" if sent.problem else ""
    text = " ".join(sent.reply.text.split())[:40]
    return f"{sent.reply.finish_reason}{problem}: {text}".rstrip(": ")
