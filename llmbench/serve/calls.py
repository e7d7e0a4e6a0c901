"""The calls in flight: how many there may be, and how they end when a client leaves or the server does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response as HttpResponse
from starlette.types import Receive, Scope, Send

from llmbench.errors import LLMBenchError
from llmbench.serve.problems import Problem, problem_of

T = TypeVar("T")
#: What a stream sends: its name where the dialect names events, and its data.
Event = tuple[str | None, str]
_ENDING: Final = "the server is shutting down"


class Calls:
    """The tasks of the calls in flight. `most` is how many may run at the same time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_ending = False

    def cancel(self) -> None:
        """End every call that is in flight, and refuse those that come from now on."""
        self._is_ending = True
        for task in self._tasks:
            task.cancel()

    async def answered(self, receive: Receive, work: Coroutine[Any, Any, T]) -> T:
        """Do the work of one call while its client is there.

        Raises:
            Problem: 503, too many calls are in flight, or the server is shutting down.
            ClientDisconnect: the client left; the work was cancelled and has ended.
            LLMBenchError: as the work.
        """
        if self._is_ending or len(self._tasks) >= self.most:
            work.close()
            raise self._full()
        task = asyncio.create_task(work)
        self._tasks.add(task)
        gone = asyncio.create_task(_client_gone(receive))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientDisconnect
            if task.cancelled():
                raise Problem(503, "cancelled", _ENDING)
            return task.result()
        finally:
            await _ended(task)
            await _ended(gone)
            self._tasks.discard(task)

    def _full(self) -> Problem:
        if self._is_ending:
            return Problem(503, "cancelled", _ENDING)
        message = f"{self.most} calls are in flight already (--max-calls); try again in a moment"
        return Problem(503, "too_many_calls", message, headers={"retry-after": "1"})


async def _ended(task: asyncio.Task[Any]) -> None:
    """Cancel what still runs, and wait until it has ended; how it ended is not asked here."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


async def _client_gone(receive: Receive) -> None:
    """Wait until the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(HttpResponse):
    """An answer as server-sent events. What breaks off ends in an event of its own."""

    def __init__(
        self,
        calls: Calls,
        events: AsyncGenerator[Event, None],
        source: AsyncGenerator[Any, None],
        failed: Callable[[Problem], list[Event]],
        headers: Mapping[str, str],
    ) -> None:
        """Take the events, the call that they are made of, and what a problem becomes."""
        super().__init__(status_code=200, headers={"cache-control": "no-store", **headers})
        self.headers["content-type"] = "text/event-stream; charset=utf-8"
        del self.headers["content-length"]
        self._calls, self._events, self._source, self._failed = calls, events, source, failed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events as they come; a client that leaves ends the call."""
        del scope
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        ending: list[Event] = []
        try:
            await self._calls.answered(receive, self._sent(send))
        except ClientDisconnect:
            return
        except Problem as problem:
            ending = self._failed(problem)
        except LLMBenchError as error:
            ending = self._failed(problem_of(error))
        finally:
            await self._events.aclose()
            await self._source.aclose()  # events that were never begun do not close it
        await send({"type": "http.response.body", "body": b"".join(map(frame, ending))})

    async def _sent(self, send: Send) -> None:
        async with contextlib.aclosing(self._events) as events:
            async for event in events:
                await send({"type": "http.response.body", "body": frame(event), "more_body": True})


def frame(event: Event) -> bytes:
    """One event as it goes over the wire; its data is one line of JSON or a word."""
    name, data = event
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {data}\n\n".encode()
