"""Every fault of a stream by name, in the dialect of the request; see `faults.py`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.servers import answers
from tests.servers.chat_server import Step
from tests.servers.fault_server import Act, Dialect, Exchange
from tests.servers.faults import Fault, answer, error_body, says

#: The text of a stream that breaks, as far as it is sent.
BEGUN = "4"


def events_of(dialect: Dialect, *pieces: str, is_whole: bool = True, finish: str | None = None) -> list[str]:
    """The events of an answer; one that is not whole says neither why nor that it ended."""
    if dialect == "gemini":
        return answers.gemini_stream(pieces, finish=(finish or "STOP") if is_whole else None)
    if dialect == "responses":
        return answers.responses_stream(pieces, terminal=is_whole)
    if dialect == "openrouter":
        return answers.openrouter_stream(
            pieces, finish=(finish or "stop") if is_whole else None, done=is_whole
        )
    return answers.openai_chat_stream(
        pieces,
        azure=dialect == "azure",
        finish=(finish or "stop") if is_whole else None,
        usage=is_whole,
        done=is_whole,
    )


def error_event(dialect: Dialect) -> str:
    """An error in the middle of a stream, as the dialect reports it."""
    if dialect == "responses":
        said = {"type": "error", "sequence_number": 9, "code": "server_error", "message": "it broke"}
        return answers.event({**said, "param": None}, named=True)
    if dialect == "openrouter":
        broken = answers.openrouter_stream(
            (), comments=False, done=False, error={"code": 502, "message": "x"}
        )
        return broken[-1]
    return answers.event(error_body(dialect, 503, "it broke"))


async def _open(exchange: Exchange) -> None:
    await exchange.head(headers={"content-type": "text/event-stream", "transfer-encoding": "chunked"})


async def _say(exchange: Exchange, events: Iterable[str | bytes]) -> None:
    for event in events:
        await exchange.chunk(event if isinstance(event, bytes) else event.encode())


async def _end(exchange: Exchange) -> None:
    await exchange.raw(b"0\r\n\r\n")


def _begun(exchange: Exchange) -> list[str]:
    return events_of(exchange.dialect, BEGUN, is_whole=False)


def _streams(make: Any) -> Act:
    """A body in good order; `make` gives its events for a dialect."""

    async def act(exchange: Exchange) -> None:
        await _open(exchange)
        await _say(exchange, make(exchange.dialect))
        await _end(exchange)

    return act


def _after_text(*events: bytes | str) -> Act:
    """A piece of text, then these bytes, then an end in good order."""

    async def act(exchange: Exchange) -> None:
        await _open(exchange)
        await _say(exchange, [*_begun(exchange), *events])
        await _end(exchange)

    return act


async def _healthy(exchange: Exchange) -> None:
    await _streams(lambda dialect: events_of(dialect, "4", "2"))(exchange)


async def _byte_by_byte(exchange: Exchange) -> None:
    """Pieces whose characters and line ends are cut apart."""
    await _open(exchange)
    for byte in "".join(events_of(exchange.dialect, "四", "十二")).encode():
        await exchange.chunk(bytes([byte]))
    await _end(exchange)


async def _comments_for_ever(exchange: Exchange) -> None:
    await _open(exchange)
    while True:
        await exchange.chunk(b": keep-alive\n\n")
        await asyncio.sleep(0.05)


async def _stall(exchange: Exchange) -> None:
    await _open(exchange)
    await _say(exchange, _begun(exchange))
    await exchange.hang()


async def _reset(exchange: Exchange) -> None:
    await _open(exchange)
    await _say(exchange, _begun(exchange))
    await asyncio.sleep(0.05)
    exchange.reset()


async def _cut(exchange: Exchange) -> None:
    """The last chunk never comes."""
    await _open(exchange)
    await _say(exchange, _begun(exchange))
    exchange.close()


async def _huge(exchange: Exchange) -> None:
    """Two MiB of comments in front of a good answer; the tests lower the cap to one."""
    await _open(exchange)
    for _ in range(32):
        await exchange.chunk(b": " + b"x" * 65536 + b"\n\n")
    await _say(exchange, events_of(exchange.dialect, "4", "2"))
    await _end(exchange)


async def _bad_utf8(exchange: Exchange) -> None:
    """A piece of text whose bytes are no text."""
    await _open(exchange)
    events = "".join(events_of(exchange.dialect, BEGUN, "MARK")).encode()
    await exchange.chunk(events.replace(b"MARK", b"\xff\xfe"))
    await _end(exchange)


async def _error_after_text(exchange: Exchange) -> None:
    await _after_text(error_event(exchange.dialect))(exchange)


async def _second_error(exchange: Exchange) -> None:
    """An error before any text, then, to the second request, the answer."""
    if exchange.turn > 1:
        await _healthy(exchange)
    else:
        await _streams(lambda dialect: [error_event(dialect)])(exchange)


_KEEP_ALIVES = (": OPENROUTER PROCESSING\n\n", ":\n\n", "data:\n\n", "data: : keepalive\n\n", "\r\n\r\n")

STREAM_FAULTS: Mapping[str, Fault] = {
    "healthy": Fault(_healthy),
    "keep-alives-first": Fault(_streams(lambda dialect: [*_KEEP_ALIVES, *events_of(dialect, "4", "2")])),
    "byte-by-byte": Fault(_byte_by_byte),
    "json-instead": Fault(says(lambda dialect: Step(answer(dialect)))),
    # nothing of the text was delivered
    "comments-only": Fault(_streams(lambda _: _KEEP_ALIVES)),
    "comments-for-ever": Fault(_comments_for_ever, is_slow=True),
    "hang": Fault(Exchange.hang, is_slow=True),
    "empty": Fault(_streams(lambda _: ())),
    "html-instead": Fault(
        says(lambda _: Step("<html>Sign in</html>", headers={"content-type": "text/html"}))
    ),
    "status-429": Fault(says(lambda dialect: Step(error_body(dialect, 429, "slow down"), 429))),
    "error-first": Fault(_streams(lambda dialect: [error_event(dialect)])),
    "error-once": Fault(_second_error),
    "huge": Fault(_huge),
    "done-only": Fault(_streams(lambda _: ["data: [DONE]\n\n"]), on=("chat", "azure", "openrouter")),
    # some of the text was delivered
    "no-end": Fault(_streams(lambda dialect: events_of(dialect, BEGUN, is_whole=False))),
    "error-after-text": Fault(_error_after_text),
    "reset": Fault(_reset),
    "stall": Fault(_stall, is_slow=True),
    "cut": Fault(_cut),
    "half-character": Fault(_after_text(b'data: {"choices": "\xe5\x9b')),
    "bad-utf8": Fault(_bad_utf8),
    "bad-json": Fault(_after_text("data: {oops\n\n")),
    "cut-off": Fault(
        _streams(lambda d: events_of(d, BEGUN, finish="MAX_TOKENS" if d == "gemini" else "length")),
        on=("chat", "azure", "openrouter", "gemini"),
    ),
    "filtered": Fault(
        _streams(lambda d: events_of(d, BEGUN, finish="SAFETY" if d == "gemini" else "content_filter")),
        on=("chat", "azure", "openrouter", "gemini"),
    ),
    "failed": Fault(
        _streams(
            lambda _: answers.responses_stream(
                (BEGUN,), status="failed", error={"code": "server_error", "message": json.dumps({"a": 1})}
            )
        ),
        on=("responses",),
    ),
}
