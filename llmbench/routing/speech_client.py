"""SpeechClient: the door for narration."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llmbench.config.model import Config
from llmbench.errors import LLMBenchError
from llmbench.media import Piece, SpeechResponse
from llmbench.messages import Route
from llmbench.routing.door import Door
from llmbench.routing.media_router import SpeechRouter
from llmbench.routing.streaming import Run


class SpeechClient(Door[SpeechRouter]):
    """Have a text spoken; tasks, tiers and models are those of `speech_models.yaml`.

    A long text is split at its sentences, spoken by several requests at once and joined without a gap.
    `synthesize` works in a script, in a notebook and from several threads; `asynthesize` inside a running
    event loop. `llmbench.routing.media_router.media_asked` explains every argument; the parameters are voice,
    speakers (name in the text -> voice), language, speed, instructions, format (wav, mp3, opus, flac, aac;
    else by the ending of `out`: .wav .mp3 .opus .ogg .flac .m4a .mp4 .aac), sample_rate_hz, split ("size", or
    "sentence" for one piece a sentence), piece_chars, at_once, timeout and extra_body.

    Without sample_rate_hz the whole has the first rate of the model's `sample_rates_hz`, else that of its
    first piece. A rate that the format has not becomes the next that it has; Opus always plays at 48000 Hz.
    """

    def __init__(self, configs: str | Path | Config = "configs", **options: Any) -> None:
        """Take the same arguments as LLMRouter."""
        super().__init__(SpeechRouter(configs, **options))

    def synthesize(self, task: str, text: str, **arguments: Any) -> SpeechResponse:
        """Have a text spoken as the task's route says.

        Raises:
            RouteError: no candidate is left, or the task is none for speech.
            ParamError: an argument is wrong, no candidate can take the call as it is, or `out` cannot be
                written.
            FallbackExhausted: every attempt failed.
        """
        response: SpeechResponse = self._loop.run(self.router.run(self.router.begin(task, text, **arguments)))
        return response

    async def asynthesize(self, task: str, text: str, **arguments: Any) -> SpeechResponse:
        """Have a text spoken inside a running event loop; arguments and errors as `synthesize`."""
        response: SpeechResponse = await self.router.run(self.router.begin(task, text, **arguments))
        return response

    def stream(self, task: str, text: str, **arguments: Any) -> SpeechStream:
        """The pieces of a narration as they are spoken: `async for`, or a plain `for` where no loop runs.

        Arguments and errors as `synthesize`. Once a piece has come, no other model takes over.
        """
        call: Any = self.router.begin(task, text, **arguments)
        return SpeechStream(self.router.stream_speech(call), self._loop.run)

    def explain(self, task: str, text: str = "A text.", **arguments: Any) -> Route:
        """Where `synthesize` with the same arguments would go, and the body of its first piece. No network.

        Raises:
            RouteError, ParamError: as `synthesize`.
        """
        return self.router.explain(task, text, **arguments)


class SpeechStream:
    """The pieces of one narration; `response` is the whole once all of them were read.

    A loop that is left early ends the narration, and the call is logged as cancelled: at once with `with` or
    `async with`, else when Python drops the stream.
    """

    def __init__(self, source: AsyncGenerator[Piece | SpeechResponse, None], run: Run) -> None:
        """Take a generator of pieces that ends with the response, and the way to run it without a loop."""
        self._source, self._run = source, run
        self._response: SpeechResponse | None = None
        self._is_over = False

    @property
    def response(self) -> SpeechResponse:
        """The whole narration.

        Raises:
            LLMBenchError: the stream was not read to its end.
        """
        if self._response is None:
            raise LLMBenchError("the narration has no response yet; read all of its pieces first")
        return self._response

    async def _next(self) -> Piece | None:
        try:
            item = await anext(self._source, None)
            if isinstance(item, Piece):
                return item
            self._response = item or self._response
            await anext(self._source, None)  # let it end of itself: closed from outside, it was given up
        except BaseException:
            self._is_over = True
            raise
        self._is_over = True
        return None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        piece = await self._next()
        if piece is None:
            raise StopAsyncIteration
        return piece

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        piece = self._run(self._next())
        if piece is None:
            raise StopIteration
        return piece

    async def aclose(self) -> None:
        """End the narration; what was not read is lost."""
        self._is_over = True
        await self._source.aclose()

    def close(self) -> None:
        """The same where it was read with a plain `for`."""
        if not self._is_over:
            self._run(self.aclose())

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
