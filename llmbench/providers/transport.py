"""The default transport: httpx's requests and replies over a pool of connections, one for an event loop.

The pool is aiohttp's where `llmbench[fast]` is installed, else httpx's own, which costs several times more
CPU at many calls at once (`make bench` prints the ratio). Both are used below httpx's client, which does
nothing here that a call needs: no cookies, no redirects, no proxies of the environment. A router that reads
`HTTP_PROXY` by itself, or follows a redirect, sends keys to hosts that no config names.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal

from llmbench.errors import ProviderError
from llmbench.providers.base import HttpReply, HttpStream, read_body
from llmbench.providers.failures import connection_failure

if TYPE_CHECKING:
    import ssl

    import aiohttp
    import httpx

Pool = Literal["aiohttp", "httpx"]

#: Seconds that an idle connection is kept; hosts close theirs after a minute or more.
_KEEP_ALIVE_S: Final = 5.0
_HEADERS: Final = {"user-agent": "llmbench", "accept-encoding": "gzip, deflate"}


class HttpxTransport:
    """One pool of connections, without a limit of its own: a provider's `limits` say how many calls run.

    A pool whose loop has ended without closing it is closed when it is garbage.
    """

    def __init__(self, pool: Pool | None = None) -> None:
        """Open a pool; the fastest that is installed unless named. httpx is loaded here, not at import."""
        self._session: aiohttp.ClientSession | None = None
        is_fast = pool == "aiohttp" or (pool is None and find_spec("httpx_aiohttp") is not None)
        self._pool = self._aiohttp_pool() if is_fast else _httpx_pool()

    def _aiohttp_pool(self) -> httpx.AsyncBaseTransport:
        import aiohttp
        from httpx_aiohttp import AiohttpTransport

        def session() -> aiohttp.ClientSession:
            tls = trusted_authorities()
            connector = aiohttp.TCPConnector(limit=0, ssl=tls, keepalive_timeout=_KEEP_ALIVE_S)
            self._loop = asyncio.get_running_loop()
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            return self._session

        return AiohttpTransport(verify=trusted_authorities(), client=session, trust_env=False)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float) -> HttpReply:
        """Send one request; see Transport."""
        return await self._whole(_request(url, headers, body, connect_s))

    async def get(self, url: str, headers: Mapping[str, str], connect_s: float) -> HttpReply:
        """Read what is at an address; see Transport."""
        return await self._whole(_request(url, headers, None, connect_s))

    async def _whole(self, request: httpx.Request) -> HttpReply:
        status = None
        try:
            response = await self._pool.handle_async_request(request)
            status = response.status_code
            try:
                head = _headers(response)
                return HttpReply(status, head, await read_body(_decoded(response, head)))
            finally:
                await response.aclose()
        except _transport_errors() as error:
            raise transport_error(error, status) from error

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float
    ) -> AsyncIterator[HttpStream]:
        """Send one request and read the answer in pieces; see Transport."""
        try:
            response = await self._pool.handle_async_request(_request(url, headers, body, connect_s))
            try:
                head = _headers(response)
                async with aclosing(_named_errors(_decoded(response, head))) as chunks:
                    yield HttpStream(response.status_code, head, chunks)
            finally:
                await response.aclose()
        except _transport_errors() as error:
            raise transport_error(error) from error

    async def aclose(self) -> None:
        """Close pooled connections."""
        await self._pool.aclose()

    def __del__(self) -> None:
        session: aiohttp.ClientSession | None = getattr(self, "_session", None)
        if session is None or session.connector is None or session.connector.closed:
            return
        if self._loop.is_closed() or _is_running_here(self._loop):
            _close_now(session)
        elif self._loop.is_running():
            self._loop.call_soon_threadsafe(_close_now, session)


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _close_now(session: aiohttp.ClientSession) -> None:
    """Close a session without awaiting its peers' goodbye; aiohttp would write to stderr that nobody did."""
    connector = session.connector
    session.detach()
    if connector is not None and not connector.closed:
        with contextlib.suppress(StopIteration, RuntimeError):
            next(connector.close().__await__())


def _httpx_pool() -> httpx.AsyncBaseTransport:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=_KEEP_ALIVE_S)
    return httpx.AsyncHTTPTransport(verify=trusted_authorities(), limits=limits, trust_env=False)


@lru_cache(maxsize=1)
def trusted_authorities() -> ssl.SSLContext:
    """The authorities that are trusted, read once: that takes tens of milliseconds."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)


@lru_cache(maxsize=1024)
def _parsed(url: str) -> httpx.URL:
    import httpx

    return httpx.URL(url)


@lru_cache(maxsize=256)
def _encoded(host: bytes, headers: tuple[tuple[str, str], ...]) -> httpx.Headers:
    """A provider's headers, which are the same for every call until its key changes."""
    import httpx

    return httpx.Headers({"host": host.decode("ascii"), **_HEADERS, **dict(headers)})


@lru_cache(maxsize=64)
def _timeouts(connect_s: float) -> dict[str, Any]:
    """Only connecting has a limit here: the deadline of the call is the caller's business."""
    import httpx

    return httpx.Timeout(None, connect=connect_s).as_dict()


def _request(url: str, headers: Mapping[str, str], body: bytes | None, connect_s: float) -> httpx.Request:
    """A POST of the body; without one a GET."""
    import httpx

    address, extensions = _parsed(url), {"timeout": _timeouts(connect_s)}
    request = httpx.Request(
        "GET" if body is None else "POST",
        address,
        headers=_encoded(address.netloc, tuple(headers.items())),
        stream=httpx.ByteStream(body or b""),  # `content` would make httpx work the headers out anew
        extensions=extensions,
    )
    if body is not None:
        request.headers["content-length"] = str(len(body))
    request.read()
    return request


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw}


def _decoded(response: httpx.Response, headers: Mapping[str, str]) -> AsyncIterable[bytes]:
    """The body as it arrives; decoding costs CPU, so it is left out where nothing is encoded."""
    if "content-encoding" in headers:
        return response.aiter_bytes()
    return response.stream  # type: ignore[return-value]  # an asynchronous pool's stream is asynchronous


async def _named_errors(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes; a connection that breaks is a ProviderError at the place where it is read."""
    try:
        async for chunk in chunks:
            yield chunk
    except _transport_errors() as error:
        raise transport_error(error) from error


def _transport_errors() -> tuple[type[Exception], ...]:
    """What a failing connection raises; httpx's aiohttp transport lets some errors through unmapped."""
    import httpx

    aiohttp = sys.modules.get("aiohttp")
    mapped: tuple[type[Exception], ...] = (httpx.HTTPError, httpx.InvalidURL)
    return mapped if aiohttp is None else (*mapped, aiohttp.ClientError)


def transport_error(error: Exception, status: int | None = None) -> ProviderError:
    """A connection that failed, as a ProviderError of kind timeout, connect or malformed.

    `status` is that of the answer where one had begun: a host may charge for it.
    """
    import httpx

    detail = str(error) or type(error).__name__
    if _is_late(error):
        return ProviderError(f"no connection in time: {detail}", kind="timeout", status_code=status)
    if isinstance(error, (httpx.DecodingError, httpx.InvalidURL, httpx.UnsupportedProtocol)):
        return ProviderError(f"unreadable reply or address: {detail}", kind="malformed", status_code=status)
    said = connection_failure(error)
    return ProviderError(f"connection failed: {said}", kind="connect", status_code=status)


def _is_late(error: Exception) -> bool:
    """Whether time ran out. Over aiohttp, httpx calls every refused or broken connection a timeout."""
    import httpx

    aiohttp, cause = sys.modules.get("aiohttp"), error.__cause__
    if aiohttp is not None and isinstance(cause, aiohttp.ClientError):
        return isinstance(cause, aiohttp.ServerTimeoutError)
    return isinstance(error, httpx.TimeoutException)
