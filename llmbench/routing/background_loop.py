"""The one synchronous door: a thread that owns an event loop, so that `call` works inside a notebook."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

#: Seconds that an interrupted call may take to write its telemetry line and give back its connection.
INTERRUPT_S: Final = 5.0


class _Running:
    """A loop and the daemon thread that runs it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="llmbench-calls", daemon=True)
        self.thread.start()

    def stop(self, last: Callable[[], Awaitable[None]] | None = None) -> None:
        """Cancel what still runs, do one last thing in the loop, end the thread."""
        if self.pid != os.getpid() or self.loop.is_closed():
            return  # the thread lives in the parent process alone
        if threading.current_thread() is self.thread:  # collected as garbage while a call runs
            self.loop.stop()
            return
        ending = asyncio.run_coroutine_threadsafe(self._wind_up(last), self.loop)
        try:
            ending.result(INTERRUPT_S)
        except concurrent.futures.TimeoutError:
            return  # a task that does not end: leave the daemon thread to it
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _wind_up(self, last: Callable[[], Awaitable[None]] | None) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if last is not None:
            await last()
        await self.loop.shutdown_asyncgens()


class BackgroundLoop:
    """An event loop in a daemon thread, started when first used, and anew after a fork."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._running: _Running | None = None
        self._finalizer: Callable[[], object] | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return its result.

        Ctrl-C cancels it, and waits until it has ended before KeyboardInterrupt goes on.

        Raises:
            RuntimeError: called from a coroutine of this very loop, which would wait for itself.
            concurrent.futures.CancelledError: `close` ended the call.
            BaseException: whatever the coroutine raises.
        """
        running = self._started()
        if threading.current_thread() is running.thread:
            work.close()
            raise RuntimeError("call() was used inside a call of the same client; use `await acall(...)`")
        result: concurrent.futures.Future[T] = concurrent.futures.Future()
        ended = threading.Event()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            task = running.loop.create_task(work)
            tasks.append(task)
            task.add_done_callback(finish)

        def finish(task: asyncio.Task[T]) -> None:
            error = concurrent.futures.CancelledError() if task.cancelled() else task.exception()
            if error is None:
                result.set_result(task.result())
            else:
                result.set_exception(error)
            ended.set()

        running.loop.call_soon_threadsafe(start)
        try:
            return result.result()
        except BaseException:
            if not ended.is_set():
                running.loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
                ended.wait(INTERRUPT_S)
            raise

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a coroutine and do not wait for it; `close` cancels it. Its errors are its own to handle.

        Raises:
            RuntimeError: no thread can be started, as when the interpreter ends.
        """
        try:
            running = self._started()
            asyncio.run_coroutine_threadsafe(work, running.loop)
        except RuntimeError:
            work.close()
            raise

    def _started(self) -> _Running:
        with self._guard:
            if self._running is None or self._running.pid != os.getpid():
                self._running = _Running()
                self._finalizer = weakref.finalize(self, self._running.stop)
            return self._running

    def close(self, last: Callable[[], Awaitable[None]] | None = None) -> None:
        """Cancel running calls, await `last` in the loop, end the thread. Nothing if it never ran."""
        with self._guard:
            running, self._running = self._running, None
        if running is not None:
            running.stop(last)
