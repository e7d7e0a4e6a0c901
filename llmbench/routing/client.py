"""LLMClient: the text door that a pipeline imports."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from llmbench.config.model import Config
from llmbench.messages import Response, Route
from llmbench.routing.arguments import Prompt, asked_for
from llmbench.routing.background_loop import BackgroundLoop
from llmbench.routing.router import LLMRouter
from llmbench.routing.setup import Setup
from llmbench.routing.streaming import Stream

P = ParamSpec("P")
R = TypeVar("R")


def _takes(
    source: Callable[Concatenate[Setup, P], Any],
) -> Callable[[Callable[..., R]], Callable[Concatenate[Any, P], R]]:
    """Give a door the arguments of `asked_for`, for type checkers, editors and help() alike."""
    arguments = list(inspect.signature(source).parameters.values())[1:]

    def apply(door: Callable[..., R]) -> Callable[Concatenate[Any, P], R]:
        own = inspect.signature(door)
        head = next(iter(own.parameters.values()))
        door.__signature__ = own.replace(parameters=[head, *arguments])  # type: ignore[attr-defined]
        return door

    return apply


class LLMClient:
    """Call a task, get an answer: the text door of the router.

    `call` works in a script, in a notebook and from several threads; `acall` inside a running event loop,
    where `async with LLMClient(...)` closes the loop's connections.
    """

    def __init__(self, configs: str | Path | Config = "configs", **options: Any) -> None:
        """Take the same arguments as LLMRouter."""
        self.router = LLMRouter(configs, **options)
        self._loop = BackgroundLoop()
        weakref.finalize(self, _end, self._loop, self.router)

    @property
    def config(self) -> Config:
        """The loaded config."""
        return self.router.config

    @_takes(asked_for)
    def call(self, task: str, prompt: Prompt, **arguments: Any) -> Response:
        """Answer a prompt as the task's route says.

        `help(llmbench.routing.arguments.asked_for)` explains every argument. Ctrl-C cancels the call,
        writes its telemetry line and raises KeyboardInterrupt.

        Raises:
            RouteError: no candidate is left.
            ParamError: an argument is unknown or wrong, or strict is set and one would be changed.
            FallbackExhausted: every attempt failed.
        """
        call = self.router.begin(task, prompt, **arguments)
        return self._loop.run(self.router.run(call))

    @_takes(asked_for)
    async def acall(self, task: str, prompt: Prompt, **arguments: Any) -> Response:
        """Answer a prompt inside a running event loop; arguments and errors as `call`."""
        return await self.router.run(self.router.begin(task, prompt, **arguments))

    @_takes(asked_for)
    def stream(self, task: str, prompt: Prompt, **arguments: Any) -> Stream:
        """Answer a prompt piece by piece: `async for piece in ...`, or a plain `for` where no loop runs.

        Arguments and errors as `call`; errors of the route come with the first piece. A stream that
        breaks before its first piece goes on to the next candidate, later it raises FallbackExhausted,
        whose `output` is the text so far. `response` of the stream is the whole answer at its end.
        """
        return Stream(self.router.stream(self.router.begin(task, prompt, **arguments)), self._loop.run)

    def explain(self, task: str, prompt: Prompt = "", **arguments: Any) -> Route:
        """Where `call` with the same arguments would go, why, and with which bodies. No network.

        Raises:
            RouteError: no candidate is left.
            ParamError: an argument is unknown or wrong, or strict is set and one would be changed.
        """
        return self.router.explain(task, prompt, **arguments)

    async def aclose(self) -> None:
        """Close connections, the log and the background loop."""
        await self.router.aclose()
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """The same outside of a running loop; inside one its connections are closed as soon as it goes on."""
        _end(self._loop, self.router)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _end(loop: BackgroundLoop, router: LLMRouter) -> None:
    """Close what a client opened; also when nobody closed it before it was garbage."""
    loop.close(router.aclose)
    router.close()
