"""An answer in pieces, under the same policy, breaker and deadline as a whole answer.

A stream is an ordinary call (`run_turns`) whose one attempt hands over each piece as it comes. It runs in a
task of its own, so that its limits hold while the caller is busy; before the first piece it falls back like
any call, after it nothing else is tried: two models' texts are never mixed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from llmbench.catalog import Policy
from llmbench.errors import LLMBenchError, ProviderError
from llmbench.messages import Attempt, Response
from llmbench.providers.send import Sent
from llmbench.routing.fallback import Outcome, run_turns
from llmbench.routing.progress import Options, Progress

T = TypeVar("T")
#: A text or a part of a narration, neither of them a Response, and the whole that it belongs to.
PieceT = TypeVar("PieceT")
ResponseT = TypeVar("ResponseT", bound=Response)
OpenStream = Callable[[str], AsyncGenerator[str | Sent, None]]


async def stream_candidates(
    candidates: Sequence[str],
    policy: Policy,
    deadline_s: float,
    open_stream: OpenStream,
    *,
    attempts: list[Attempt] | None = None,
    options: Options | None = None,
) -> AsyncGenerator[str | Outcome, None]:
    """Yield the pieces of the first candidate that answers, and its Outcome at the end.

    Closing the generator early cancels the attempt, which then stands in `attempts` with the kind cancelled.

    Args:
        candidates: model keys; `policy.retry_limit` of them at most, 0 for all.
        policy: what is retried, what moves on, and the caps; all of it up to the first piece.
        deadline_s: wall-clock limit over all of it, in seconds; also over the time that the caller takes
            between two pieces, which is no silence of the model's.
        open_stream: one attempt at one model: pieces of text, then one Sent. Fails like `send` of
            `run_candidates`.
        attempts: an empty list that grows with every attempt.
        options: what else the call brings along.

    Raises:
        FallbackExhausted: nobody answered, or the stream broke; `output` is the text delivered before.
        ParamError, ConfigError: see `run_candidates`.
    """
    options = options or Options()
    pieces: asyncio.Queue[str | None] = asyncio.Queue()

    async def send(model: str) -> Sent:
        async with aclosing(open_stream(model)) as opened:
            async for piece in opened:
                if isinstance(piece, Sent):
                    return piece
                if piece:
                    call.deliver(model, piece)
                    pieces.put_nowait(piece)
                    await pieces.join()  # read on when the caller has taken it
        message = "the stream ended without saying that it was complete"
        raise ProviderError(message, kind="malformed", output=call.output)

    async def run() -> Outcome:
        try:
            return await run_turns(call, candidates)
        finally:
            pieces.put_nowait(None)

    record = [] if attempts is None else attempts
    call = Progress(policy, options.clock() + deadline_s, send, options, record)
    running = asyncio.create_task(run())
    try:
        while (piece := await pieces.get()) is not None:
            pieces.task_done()
            yield piece
        outcome = await running
        if outcome.sent.reply.finish_reason == "refusal" and call.output is None:
            yield outcome.sent.reply.text  # the policy returns it as an answer, and it came in no pieces
        yield outcome
    finally:
        if not running.done():
            running.cancel()
            await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # who gave up the stream does not ask for it


class Run(Protocol):
    """How a stream is read without an event loop: `BackgroundLoop.run`."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T:
        """Run a coroutine to its end in a loop of another thread."""
        ...


class Stream(Generic[PieceT, ResponseT]):
    """The pieces of an answer as they come; after the last one, `response` is the whole of it.

        async for piece in client.stream("script_draft", prompt): ...
        for piece in client.stream("script_draft", prompt): ...

    Use one of the two on the same stream. A loop that is left early ends the exchange, and the call is
    logged as cancelled: at once with `with` or `async with`, else when Python drops the stream. Iteration
    raises what `acall` raises; the `output` of a FallbackExhausted is the text that was delivered before.
    The deadline also covers the time that the caller takes between two pieces.
    """

    def __init__(self, source: AsyncGenerator[PieceT | ResponseT, None], run: Run) -> None:
        """Take a generator of pieces that ends with the Response, and the way to run it without a loop."""
        self._source = source
        self._run = run
        self._response: ResponseT | None = None
        self._is_over = False

    @property
    def response(self) -> ResponseT:
        """The whole answer.

        Raises:
            LLMBenchError: the stream was not read to its end.
        """
        if self._response is None:
            raise LLMBenchError("the stream has no response yet; read all of its pieces first")
        return self._response

    async def _next(self) -> PieceT | None:
        """The next piece, or None at the end."""
        try:
            item = await anext(self._source, None)
            if item is not None and not isinstance(item, Response):
                return item
            self._response = self._response if item is None else cast("ResponseT", item)
            await anext(self._source, None)  # let it end of itself: closed from outside, it was given up
        except BaseException:
            self._is_over = True
            raise
        self._is_over = True
        return None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PieceT:
        piece = await self._next()
        if piece is None:
            raise StopAsyncIteration
        return piece

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> PieceT:
        piece = self._run(self._next())
        if piece is None:
            raise StopIteration
        return piece

    async def aclose(self) -> None:
        """End the exchange; what was not read is lost."""
        self._is_over = True
        await self._source.aclose()

    def close(self) -> None:
        """The same where the stream was read with a plain `for`."""
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
