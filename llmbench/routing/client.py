"""LLMClient: the text door that a pipeline imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmbench.config.model import Config
from llmbench.messages import Response, Route
from llmbench.routing.arguments import Prompt, asked_for
from llmbench.routing.door import Door, takes
from llmbench.routing.router import LLMRouter
from llmbench.routing.streaming import Stream


class LLMClient(Door[LLMRouter]):
    """Call a task, get an answer: the text door of the router.

    `call` works in a script, in a notebook and from several threads; `acall` inside a running event loop,
    where `async with LLMClient(...)` closes the loop's connections.
    """

    def __init__(self, configs: str | Path | Config = "configs", **options: Any) -> None:
        """Take the same arguments as LLMRouter."""
        super().__init__(LLMRouter(configs, **options))

    @takes(asked_for)
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

    @takes(asked_for)
    async def acall(self, task: str, prompt: Prompt, **arguments: Any) -> Response:
        """Answer a prompt inside a running event loop; arguments and errors as `call`."""
        return await self.router.run(self.router.begin(task, prompt, **arguments))

    @takes(asked_for)
    def stream(self, task: str, prompt: Prompt, **arguments: Any) -> Stream[str, Response]:
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
