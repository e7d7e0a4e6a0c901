"""Every recorded stream, and those built from the providers' pages, through one attempt."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from llmbench.errors import ProviderError
from llmbench.messages import Usage
from llmbench.providers.scripted import ScriptedTransport, StreamReply
from tests.stream_reading import read

CAPTURES = Path(__file__).parents[2] / "shared" / "wire" / "captures"
AZURE = Usage(31, 90, 0, 64)
#: case -> pieces, finish reason, usage, kind of the problem.
ANSWERS = {
    "azure-chat-stream": ("4|2", "stop", AZURE, None),
    "azure-responses-stream": ("4|2", "stop", AZURE, None),
    "azure-responses-stream-incomplete": ("", "length", AZURE, "truncated"),
    "gemini-stream": ("4|2", "stop", Usage(12, 98, 0, 96), None),
    "gemini-stream-blocked": ("", "content_filter", Usage(12), "content_filter"),
    "llamacpp-chat-stream": ("<|||im|_|end||>", "length", Usage(43, 6, 38), "truncated"),
    "llamacpp-chat-stream-nousage": ("<|||im|_", "length", Usage(), "truncated"),
    "llamacpp-responses-stream": ("<|||im|_|end||>", "stop", Usage(26, 6, 1), None),
    "openrouter-stream": ("4|2", "stop", Usage(14, 40, 0, 32), None),
    "openrouter-via-openai-stream-comments": ("4|2", "stop", Usage(), None),
}
#: case -> kind of the error, status, text so far.
FAILURES = {
    "azure-chat-stream-midstream-error": ("server_error", 200, "4"),
    "azure-chat-stream-no-done": ("server_error", 200, "4"),
    "azure-chat-stream-truncated": ("connect", None, "4"),
    "azure-responses-stream-error-event": ("server_error", 200, None),
    "azure-responses-stream-error-event-nested": ("rate_limit", 200, None),
    "azure-responses-stream-failed": ("rate_limit", 200, None),
    "gemini-stream-midstream-error": ("server_error", 503, "4"),
    "gemini-stream-no-finish": ("server_error", 200, "4"),
    "gemini-stream-truncated": ("connect", None, "4"),
    "llamacpp-error-stream-context": ("context_length", 400, None),
    "openrouter-stream-200-json": ("server_error", 502, None),
    "openrouter-stream-bare-error": ("server_error", 502, None),
    "openrouter-stream-comments-only": ("server_error", 200, None),
    "openrouter-stream-midstream-error": ("rate_limit", 429, "4"),
}


def captured(case: str) -> tuple[StreamReply, str]:
    """The answer of a case, and the wire that it is on. A cut connection breaks where the recording ends."""
    path = CAPTURES / f"{case}.json"
    if not path.is_file():
        pytest.skip("the recorded exchanges are not beside this checkout (shared/wire/captures)")
    response = json.loads(path.read_text(encoding="utf-8"))["response"]
    body = response.get("body")
    parts = response.get("sse") or [body if isinstance(body, str) else json.dumps(body)]
    chunks: list[bytes | ProviderError] = [part.encode() for part in parts]
    if response.get("truncate"):
        chunks.append(ProviderError("connection failed", kind="connect"))
    wire = next((name for name in ("responses", "gemini") if name in case), "chat")
    return StreamReply(chunks, response.get("status", 200), response.get("headers") or {}), wire


@pytest.mark.parametrize("case", ANSWERS)
def test_a_recorded_stream_is_answered(case):
    reply, wire = captured(case)
    pieces, sent = asyncio.run(read(ScriptedTransport([reply]), wire=wire))
    text, finish, usage, problem = ANSWERS[case]
    assert "|".join(pieces) == text
    assert "".join(pieces) == sent.reply.text
    assert (sent.reply.finish_reason, sent.reply.usage) == (finish, usage)
    assert (sent.problem and sent.problem.kind) == problem


@pytest.mark.parametrize("case", FAILURES)
def test_a_recorded_failure_is_raised(case):
    reply, wire = captured(case)
    with pytest.raises(ProviderError) as caught:
        asyncio.run(read(ScriptedTransport([reply]), wire=wire))
    error = caught.value
    assert (error.kind, error.status_code, error.output) == FAILURES[case]
    if "x-request-id" in reply.headers:
        assert error.request_id == reply.headers["x-request-id"]


def test_no_recorded_stream_is_left_out():
    if not CAPTURES.is_dir():
        pytest.skip("the recorded exchanges are not beside this checkout (shared/wire/captures)")
    names = {path.stem for path in CAPTURES.glob("*stream*.json") if "-upstream" not in path.stem}
    assert names == ANSWERS.keys() | FAILURES.keys()
