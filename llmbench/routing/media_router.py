"""The router of one media kind: the view of its file, its arguments, and the way of a call through it."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

from llmbench.catalog import Policy
from llmbench.config.environment import Environment
from llmbench.config.media_view import media_config, media_environment
from llmbench.config.model import Config, MediaModality
from llmbench.errors import ParamError, RouteError
from llmbench.media import Piece, SpeechResponse
from llmbench.routing.budget import Purse
from llmbench.routing.fallback import Outcome, run_turns
from llmbench.routing.image_call import ImageCall
from llmbench.routing.media_asked import media_asked
from llmbench.routing.media_call import MediaAsked
from llmbench.routing.progress import Progress
from llmbench.routing.resolve import DOORS
from llmbench.routing.router import LLMRouter
from llmbench.routing.setup import Setup
from llmbench.routing.speech_call import SpeechCall

#: What a call under a budget needs of its model.
_BUDGET_NEEDS: Final[Mapping[MediaModality, str]] = {
    "image": "give the model a price per_image, by which a budget of pictures is kept",
    "speech": "give the model a price per_million_chars or per_minute, by which a budget of speech is kept",
}


class MediaRouter(LLMRouter):
    """What the calls of one media kind share; the arguments are those of LLMRouter."""

    kind: ClassVar[MediaModality]

    def _seen(self, config: Config) -> tuple[Config, Environment]:
        self.whole = config
        view = media_config(config, self.kind, self.environment)
        return view, media_environment(self.environment, self.kind, config.media[self.kind])

    def asked(self, setup: Setup, task: str, text: str, **arguments: Any) -> MediaAsked:
        """What a call asks for; see `media_asked`.

        Raises:
            ParamError: an argument is unknown or has a wrong value.
            RouteError: the task is of another kind, or of none.
        """
        if not isinstance(text, str):
            raise ParamError(f"give a text, not {type(text).__name__}")
        asked = media_asked(setup, self.kind, task, text, **arguments)
        if task not in setup.config.mapping and not (asked.wanted.tier or asked.wanted.models):
            raise RouteError(self._no_such_task(setup.config, task))
        return asked

    def _begun(self, task: str, text: Any, arguments: Mapping[str, Any]) -> tuple[Setup, MediaAsked, Purse]:
        """What a call works with, what it asks for, and the money that it may spend."""
        setup = self.setup()
        asked = self.asked(setup, task, text, **arguments)
        request, needs = asked.request, _BUDGET_NEEDS[self.kind]
        purse = self._budgets.open(request.run_id, request.routing_key, request.budget_usd, needs)
        return setup, asked, purse

    def _no_such_task(self, view: Config, task: str) -> str:
        """Why a task is none of this kind, with the door where it is one."""
        other = self.whole.media_of(task=task, tier="") or (
            "text" if task in self.whole.task_names() else None
        )
        if other is not None and other != self.kind:
            return f"task {task!r} is of the kind {other}, not {self.kind}; ask through {DOORS[other]}"
        close = difflib.get_close_matches(task, view.mapping, n=1, cutoff=0.6)
        hint = (
            f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(view.mapping)) or 'none'}"
        )
        return f"unknown {self.kind} task {task!r}; {hint}"

    async def run(self, call: Any) -> Any:
        """One call from route to telemetry line; the call can tell that a part went to the caller.

        Raises:
            RouteError, ParamError, ConfigError, FallbackExhausted: as LLMRouter.run.
        """
        try:
            route, transport = call.resolve(), self._transport()
            options = call.options()
            call.progress = progress = Progress(
                call.asked.policy,
                options.clock() + call.asked.request.deadline_s,
                lambda key: call.send(key, transport),
                options,
                call.attempts,
            )
            outcome: Outcome = await run_turns(progress, route.candidates)
            return call.answered(outcome)
        except BaseException as error:
            call.failed(error)
            raise


class SpeechRouter(MediaRouter):
    """The router of speech calls."""

    kind = "speech"

    def _asked(self, task: str, prompt: Any, **arguments: Any) -> SpeechCall:
        setup, asked, purse = self._begun(task, prompt, arguments)
        policy = pieces(asked.policy)
        return SpeechCall(setup, whole(asked), self.log, self._redact, purse, piece_policy=policy)

    async def stream_speech(self, call: SpeechCall) -> AsyncGenerator[Piece | SpeechResponse, None]:
        """The pieces of a narration as they come, in order, then the response.

        A stream that is given up counts as cancelled.

        Raises:
            RouteError, ParamError, ConfigError, FallbackExhausted: as `run`.
        """
        ready: asyncio.Queue[Piece | None] = asyncio.Queue(maxsize=1)  # a slow listener holds the voices back
        call.on_piece = ready.put

        async def run() -> SpeechResponse:
            try:
                response: SpeechResponse = await self.run(call)
            except Exception:  # not a stream that is given up: nobody would take what is put
                await ready.put(None)
                raise
            await ready.put(None)
            return response

        running = asyncio.create_task(run())
        try:
            while (piece := await ready.get()) is not None:
                yield piece
            yield await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class ImageRouter(MediaRouter):
    """The router of image calls."""

    kind = "image"

    def _asked(self, task: str, prompt: Any, **arguments: Any) -> ImageCall:
        setup, asked, purse = self._begun(task, prompt, arguments)
        policy = pieces(asked.policy)
        return ImageCall(setup, whole(asked), self.log, self._redact, purse, piece_policy=policy)


def whole(asked: MediaAsked) -> MediaAsked:
    """A call whose candidates are each asked once: their requests are tried again one by one."""
    return replace(asked, policy=replace(pieces(asked.policy), transient_statuses=frozenset()))


def pieces(policy: Policy) -> Policy:
    """A policy for one request of a candidate: words in place of a picture or a voice are no answer."""
    return replace(policy, on_refusal="fallback")
