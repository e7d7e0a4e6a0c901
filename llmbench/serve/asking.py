"""One text call of the router, with what OpenAI's dialect sees otherwise than the router does.

To the router an answer that was cut off at its output limit is a failed attempt: it goes on to the next
model, and telemetry says `truncated`. The dialect has a word for it: where no answer fits, the last one is
handed on with the finish reason `length`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from llmbench.errors import FallbackExhausted
from llmbench.messages import Attempt, Response, Usage
from llmbench.routing.call import Call
from llmbench.routing.router import LLMRouter
from llmbench.serve.chat import text_of


async def ask(router: LLMRouter, call: Call) -> Response:
    """The answer of a call.

    Raises:
        LLMBenchError: as `LLMRouter.run`.
    """
    try:
        return await router.run(call)
    except FallbackExhausted as error:
        reply = cut_off(call, error)
        if reply is None:
            raise
        return reply


async def ask_in_pieces(router: LLMRouter, call: Call) -> AsyncGenerator[str | Response, None]:
    """The answer of a call in pieces, then the whole of it.

    Where a schema was asked for, a text that begins with a code fence is held back until it is whole: what is
    handed on is JSON and nothing around it.

    Raises:
        LLMBenchError: as `LLMRouter.stream`.
    """
    has_schema, has_begun, is_held = call.asked.request.output_schema is not None, False, False
    try:
        async with contextlib.aclosing(router.stream(call)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Response):
                    if is_held:
                        yield text_of(piece)
                    yield piece
                elif is_held or (has_schema and not has_begun and piece.lstrip().startswith("`")):
                    is_held = True
                else:
                    has_begun = has_begun or bool(piece.strip())
                    yield piece
    except FallbackExhausted as error:
        reply = cut_off(call, error)
        if reply is None:
            raise
        if is_held or not has_begun:
            yield reply.text
        yield reply


def cut_off(call: Call, error: FallbackExhausted) -> Response | None:
    """The last attempt as an answer, if it was one that its output limit cut off; else None."""
    last = error.attempts[-1] if error.attempts else None
    if not isinstance(last, Attempt) or last.error_kind != "truncated" or not last.output:
        return None
    spec = call.setup.config.models[last.model]
    return Response(
        text=last.output,
        model=last.model,
        model_id=spec.model_id,
        provider=spec.provider,
        tier=call.route.tier,
        finish_reason="length",
        usage=last.usage or Usage(),
        latency_ms=sum(tried.latency_ms for tried in call.attempts),
        cost_usd=last.cost_usd,
        cost_source=last.cost_source or "unknown",
        call_id=call.asked.request.call_id,
        attempts=tuple(call.attempts),
        adjustments=call.changes(),
        route=call.route,
        ttft_ms=last.ttft_ms,
    )


def under_way(call: Call) -> str:
    """The model whose pieces come: the last that a request was prepared for."""
    return next(reversed(call.prepared), "")
