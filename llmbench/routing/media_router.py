"""The router of one media kind: the view of its file, its arguments, and the way of a call through it."""

from __future__ import annotations

import asyncio
import difflib
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from llmbench.catalog import Policy
from llmbench.config.environment import Environment
from llmbench.config.media_view import media_config, media_environment
from llmbench.config.model import Config, MediaModality
from llmbench.errors import ParamError, ProviderError, RouteError
from llmbench.media import Blob, Piece, SpeechResponse
from llmbench.messages import Message, Request
from llmbench.routing.budget import Purse
from llmbench.routing.fallback import Outcome, run_turns
from llmbench.routing.image_call import ImageCall
from llmbench.routing.media_call import MediaAsked
from llmbench.routing.media_files import check_target
from llmbench.routing.media_params import normalise
from llmbench.routing.prepare import text_tokens
from llmbench.routing.progress import Progress
from llmbench.routing.resolve import DOORS, Wanted
from llmbench.routing.router import LLMRouter
from llmbench.routing.setup import Setup
from llmbench.routing.speech_call import SpeechCall


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
        request = asked.request
        return setup, asked, self._budgets.open(request.run_id, request.routing_key, request.budget_usd)

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


def media_asked(
    setup: Setup,
    kind: MediaModality,
    task: str,
    text: str,
    *,
    out: str | Path | None = None,
    references: bytes | str | Path | Sequence[bytes | str | Path] = (),
    channel: str | None = None,
    env: str | None = None,
    tier: str | None = None,
    models: str | Sequence[str] = (),
    allow_fallback: bool | None = None,
    strict: bool = False,
    budget_usd: float | None = None,
    run_id: str | None = None,
    cell: str | None = None,
    routing_key: str | None = None,
    **params: Any,
) -> MediaAsked:
    """What a media call asks for, with the task's own settings filled in.

    Args:
        setup: the loaded view and the process's variables.
        kind: image or speech.
        task: the kind of work, as the media file names it.
        text: the prompt, or what is to be spoken.
        out: the file to write; a record of how it was made is written beside it.
        references: pictures to go by, one or several: bytes, or paths of files.
        channel: written to telemetry; `LLM_CHANNEL` by default.
        env: written to telemetry; `LLM_ENV` by default.
        tier: use this tier whatever the file says of the task.
        models: use these candidates; only the first unless allow_fallback.
        allow_fallback: True lets another model answer, whose style is another; the task's own by default.
        strict: refuse instead of adjusting a parameter.
        budget_usd: the most that this call may cost, in USD.
        run_id: the sweep this call belongs to; written to telemetry.
        cell: the sweep's cell; written to telemetry.
        routing_key: who the call is for; `LLM_ROUTING_KEY` by default.
        **params: canonical parameters of the kind or their aliases; `timeout` is the deadline in seconds.

    Raises:
        ParamError: an argument is unknown or has a wrong value.
    """
    environment = setup.environment
    channel, env = channel or environment.channel, env or environment.env
    settings = setup.settings(task, channel, env)
    options, renamed = normalise(kind, params)
    rule = setup.config.media[kind].tasks.get(task)
    own_fallback = rule is not None and bool(rule.allow_fallback)
    request = Request(
        task=task,
        messages=(Message("user", text),),
        call_id=uuid.uuid4().hex,
        options=options,
        channel=channel,
        env=env,
        deadline_s=float(options.get("timeout") or settings.timeout_s or settings.policy.deadline_s),
        strict=strict,
        budget_usd=budget_usd,
        run_id=run_id,
        cell=cell,
        routing_key=routing_key or environment.routing_key,
    )
    wanted = Wanted(
        task=task,
        tier=tier,
        models=(models,) if isinstance(models, str) else tuple(models),
        channel=channel,
        env=env,
        allow_fallback=own_fallback if allow_fallback is None else allow_fallback,
        modality=kind,
        input_tokens=text_tokens(text),
    )
    given = [references] if isinstance(references, bytes | str | Path) else references
    return MediaAsked(
        request,
        wanted,
        settings.policy,
        renamed,
        references=tuple(map(_reference, given)),
        out=None if out is None else check_target(out),
    )


def _reference(given: bytes | str | Path) -> Blob:
    """A picture to go by, with the type that its bytes tell.

    Raises:
        ParamError: it cannot be read, or is no picture.
    """
    from llmbench.providers.pictures import open_picture

    if not isinstance(given, bytes | str | Path):
        raise ParamError(f"references: give the bytes of a picture or its path, not {type(given).__name__}")
    try:
        data = given if isinstance(given, bytes) else Path(given).read_bytes()
    except OSError as error:
        raise ParamError(f"references: {error.filename} cannot be read: {error.strerror}") from error
    try:
        picture = open_picture(Blob(data))
    except ProviderError as error:
        what = "the bytes" if isinstance(given, bytes) else str(given)
        raise ParamError(
            f"references: {what} are no picture that can be read; give PNG, JPEG or WebP"
        ) from error
    return Blob(data, picture.mime)
