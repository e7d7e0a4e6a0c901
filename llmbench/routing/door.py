"""What the doors of all three kinds of call have in common: a router, a loop for plain calls, and an end."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from llmbench.config.model import Config
from llmbench.routing.background_loop import BackgroundLoop
from llmbench.routing.router import LLMRouter
from llmbench.routing.setup import Setup

RouterT = TypeVar("RouterT", bound=LLMRouter)
P = ParamSpec("P")
R = TypeVar("R")


def takes(
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


class Door(Generic[RouterT]):
    """A client around one router. Close it, or use it in a `with` or `async with` statement."""

    def __init__(self, router: RouterT) -> None:
        self.router = router
        self._loop = BackgroundLoop()
        weakref.finalize(self, _end, self._loop, self.router)

    @property
    def config(self) -> Config:
        """The loaded config."""
        return self.router.config

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
