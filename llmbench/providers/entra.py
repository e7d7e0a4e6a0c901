"""Microsoft Entra tokens for Azure: fetched off the event loop, one at a time, kept until near their end.

Source: the scope is the one that Azure's API lifecycle page names for the v1 and the dated APIs.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import inspect
import os
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from llmbench.errors import ProviderError
from llmbench.telemetry import Redactor

SCOPE: Final = "https://ai.azure.com/.default"
#: Seconds before its end that a token is no longer used.
MARGIN_S: Final = 300.0
#: Seconds that a token of unknown end is kept. azure-identity's own provider functions hand out tokens
#: that live 300 seconds more at least.
TEXT_KEPT_S: Final = 60.0
#: Seconds that an awaitable of a token provider may take.
FETCH_LIMIT_S: Final = 60.0

#: Returns a token text, an object with `token` and `expires_on` (seconds since 1970), or an awaitable of one.
TokenProvider = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class _Kept:
    text: str = field(repr=False)
    until: float


class EntraTokens:
    """The current token of one provider. Safe between threads and event loops.

    A provider function may be sync or async. It is called in a thread of its own; what it awaits runs on
    the loop of the call that asked first.
    """

    def __init__(
        self,
        name: str,
        provider: TokenProvider | None = None,
        *,
        learn: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the way to a token.

        Args:
            name: the provider's name in the config, for error texts.
            provider: the caller's function; azure-identity's DefaultAzureCredential without one.
            learn: is told every new token, so that it can be hidden from logs.
            clock: seconds since 1970.
        """
        self._name = name
        self._provider = provider or _default_provider()
        self._is_own = provider is not None
        self._learn = learn
        self._clock = clock
        self._guard = threading.Lock()
        self._kept: _Kept | None = None
        self._fetch: Future[_Kept] | None = None
        self._pid = os.getpid()

    def is_available(self) -> bool:
        """Whether there is a provider function or the library that replaces it."""
        return self._is_own or has_azure_identity()

    async def token(self) -> str:
        """A token that is valid for some minutes more.

        Raises:
            ProviderError: kind auth; no token can be had.
        """
        with self._guard:
            if self._kept is not None and self._clock() < self._kept.until:
                return self._kept.text
            if not self.is_available():
                message = (
                    f"provider {self._name!r} has auth: entra, but azure-identity is not installed; "
                    "pip install 'llmbench[azure]', or pass token_providers to the client"
                )
                raise ProviderError(message, kind="auth")
            if self._fetch is None or self._fetch.done() or self._pid != os.getpid():
                thread = ThreadPoolExecutor(1, "llmbench-entra")
                self._fetch = thread.submit(self._fetched, asyncio.get_running_loop())
                thread.shutdown(
                    wait=False
                )  # ends with its one task: a thread that is kept does not survive a fork
                self._pid = os.getpid()
            waiting = asyncio.wrap_future(self._fetch)
        waiting.add_done_callback(
            lambda done: done.cancelled() or done.exception()
        )  # a given-up wait is silent
        await asyncio.wait({waiting})  # unlike a plain await, this leaves the fetch to others when cancelled
        error = waiting.exception()
        if error is not None:
            first_line = next(iter(str(error).splitlines()), "")[:200]
            message = f"no Entra token for provider {self._name!r}: {type(error).__name__}: {first_line}"
            raise ProviderError(Redactor()(message).rstrip(": "), kind="auth")
        return waiting.result().text

    def forget(self, text: str) -> None:
        """Fetch anew at the next call: the host refused this token."""
        with self._guard:
            if self._kept is not None and self._kept.text == text:
                self._kept = None

    def _fetched(self, loop: asyncio.AbstractEventLoop) -> _Kept:
        """In the thread: ask, check, keep."""
        found = self._provider()
        if inspect.isawaitable(found):
            found = asyncio.run_coroutine_threadsafe(_awaited(found), loop).result(FETCH_LIMIT_S)
        text = found if isinstance(found, str) else getattr(found, "token", None)
        if not (isinstance(text, str) and text and text.isascii() and text.isprintable()):
            kind = type(found).__name__
            raise TypeError(f"the token provider gave {kind} without a text that a header can carry")
        ends_at = getattr(found, "expires_on", None)
        kept_s = TEXT_KEPT_S if ends_at is None else float(ends_at) - self._clock() - MARGIN_S
        if self._learn is not None:
            self._learn(text)
        kept = _Kept(text, self._clock() + kept_s)
        with self._guard:
            self._kept = kept
        return kept


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


def _default_provider() -> TokenProvider:
    """Tokens of DefaultAzureCredential; the library is loaded when the first one is asked for."""

    @functools.cache
    def credential() -> Any:
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential()

    return lambda: credential().get_token(SCOPE)


@functools.cache
def has_azure_identity() -> bool:
    """Whether azure-identity is installed; nothing is loaded."""
    try:
        return importlib.util.find_spec("azure.identity") is not None
    except ModuleNotFoundError:
        return False
