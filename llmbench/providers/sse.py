"""Server-sent events: the data of each event, from bytes as they come.

Source: the event stream format of the HTML standard, and what hosts make of it: comments and empty events as
keep-alives, `data: : keepalive`, CRLF, a last event without its blank line.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from llmbench.errors import ProviderError
from llmbench.providers import base
from llmbench.structuring import loads_strictly

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
#: What ends a stream of the Chat Completions API; other APIs end without it.
_DONE: Final = "[DONE]"


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
    """The data of every event that has any; its lines are joined by a line break.

    Keep-alives are left out: comments, events without data, and data that begins with a colon, which no
    JSON does. Event names, ids and retry times are not read: the data of every wire names its own type.

    Raises:
        ProviderError: kind malformed, the stream is over MAX_REPLY_BYTES; or as `chunks`.
    """
    data: list[bytes] = []
    async with aclosing(_lines(chunks)) as lines:
        async for line in lines:
            name, _, value = line.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
            elif not line:
                if event := _event(data):
                    yield event
                data.clear()
    if event := _event(data):
        yield event


def _event(data: list[bytes]) -> str:
    """The text of one event, or "" for a keep-alive."""
    text = b"\n".join(data).decode("utf-8", "replace")
    return "" if text.lstrip().startswith(":") else text.strip()


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Whole lines without their ends, which are CRLF, LF or CR; a chunk may end anywhere, even inside CRLF.

    Lines are cut as bytes: no byte of a longer UTF-8 character looks like a line end.
    """
    begun: list[bytes] = []
    size, is_first, after_cr = 0, True, False
    async for chunk in chunks:
        size += len(chunk)
        if size > base.MAX_REPLY_BYTES:
            raise base.too_long()
        for part in chunk.splitlines(keepends=True):
            if after_cr and part == b"\n":
                after_cr = False
                continue
            after_cr = part.endswith(b"\r")
            begun.append(part)
            if part.endswith((b"\r", b"\n")):
                line = b"".join(begun).rstrip(b"\r\n")
                yield line.removeprefix(_BYTE_ORDER_MARK) if is_first else line
                begun.clear()
                is_first = False
    if begun:
        yield b"".join(begun)


def event_object(data: str) -> dict[str, Any] | None:
    """The JSON object of one event, or None for the mark that ends a chat stream.

    Raises:
        ProviderError: kind malformed; the data is no JSON object.
    """
    if data == _DONE:
        return None
    try:
        value = loads_strictly(data)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        message = f"an event of the stream is not a JSON object: {data[:80]!r}"
        raise ProviderError(message, kind="malformed", status_code=200)
    return value


def unfinished() -> ProviderError:
    """The error of a stream that ended as if nothing were wrong, but without its end mark."""
    message = "the stream ended before the answer did: no finish reason and no end mark came"
    return ProviderError(message, kind="server_error", status_code=200)
