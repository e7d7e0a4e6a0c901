"""The paths of the endpoint: each reads a request, has the router answer it, and writes the answer."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from llmbench.catalog import Modality
from llmbench.errors import LLMBenchError
from llmbench.media import ImageResponse, SpeechResponse
from llmbench.messages import Response
from llmbench.routing.call import Call
from llmbench.serve.asking import ask as ask_text
from llmbench.serve.asking import ask_in_pieces, under_way
from llmbench.serve.calls import Calls, Event, EventStream
from llmbench.serve.chat import Ask, Chunks, completion, read_chat
from llmbench.serve.doors import Doors
from llmbench.serve.gate import HEALTH, Gate
from llmbench.serve.media import facts_header, image_answer, read_image, read_speech, speech_answer
from llmbench.serve.names import described, find_target, targets
from llmbench.serve.problems import Problem, json_response, problem_of
from llmbench.serve.reading import read_body
from llmbench.serve.responses_reply import Events, response_object
from llmbench.serve.responses_request import read_response

PATHS: Final = (
    *("GET /v1/models", "GET /v1/models/{id}", "POST /v1/chat/completions", "POST /v1/responses"),
    *("POST /v1/images/generations", "POST /v1/audio/speech", f"GET {HEALTH}"),
)
Dialect = Literal["chat", "responses"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What the paths share. `most_bytes` is the largest body that is read."""

    doors: Doors
    calls: Calls
    most_bytes: int
    started: int

    async def models(self, request: Request) -> HttpResponse:
        """`GET /v1/models`: tasks and tiers."""
        del request
        listed = [described(self.doors, target, self.started) for target in targets(self.doors.config)]
        return json_response({"object": "list", "data": listed})

    async def model(self, request: Request) -> HttpResponse:
        """`GET /v1/models/{id}`."""
        name = request.path_params["name"]
        known = list(targets(self.doors.config))
        found = [target for target in known if name in (target.model_id, f"task:{target.model_id}")]
        found = found or [target for target in known if name == target.task]
        if not found:
            raise Problem(
                404, "model_not_found", f"no task and no tier is named {name[:80]!r}", param="model"
            )
        return json_response(described(self.doors, found[0], self.started))

    async def chat(self, request: Request) -> HttpResponse:
        """`POST /v1/chat/completions`."""
        ask = read_chat(await read_body(request, self.most_bytes))
        if ask.is_stream:
            return await self._streamed(request, ask, "chat")
        call, created = self._begun("text", ask, ask.prompt), int(time.time())
        reply: Response = await self.calls.answered(request.receive, ask_text(self.doors.text.router, call))
        return json_response(completion(reply, created), headers=_named(call))

    async def responses(self, request: Request) -> HttpResponse:
        """`POST /v1/responses`."""
        ask = read_response(await read_body(request, self.most_bytes))
        if ask.is_stream:
            return await self._streamed(request, ask, "responses")
        call, created = self._begun("text", ask, ask.prompt), int(time.time())
        reply: Response = await self.calls.answered(request.receive, ask_text(self.doors.text.router, call))
        answer = response_object(reply.call_id, created, reply.model, reply, ask.echo)
        return json_response(answer, headers=_named(call))

    async def images(self, request: Request) -> HttpResponse:
        """`POST /v1/images/generations`."""
        ask = read_image(await read_body(request, self.most_bytes))
        call = self._begun("image", ask, ask.prompt[0]["content"])
        running: Any = self.doors.of("image").router.run(call)
        reply: ImageResponse = await self.calls.answered(request.receive, running)
        return json_response(image_answer(reply, int(time.time())), headers=_named(call))

    async def speech(self, request: Request) -> HttpResponse:
        """`POST /v1/audio/speech`."""
        body = await read_body(request, self.most_bytes)
        ask = read_speech(body)
        call = self._begun("speech", ask, ask.prompt[0]["content"])
        running: Any = self.doors.of("speech").router.run(call)
        reply: SpeechResponse = await self.calls.answered(request.receive, running)
        audio, mime = speech_answer(reply, is_pcm=body.get("response_format") == "pcm")
        headers = {"content-type": mime, "x-llmbench": facts_header(reply), **_named(call)}
        return HttpResponse(audio, headers=headers)

    def _begun(self, kind: Modality, ask: Ask, prompt: Any) -> Call:
        """A call of the router; from here on it has its telemetry line.

        Raises:
            Problem: the model is none, or of another kind.
            ParamError, RouteError: an argument is wrong, or no task is named so.
        """
        door = self.doors.of(kind)
        target = find_target(self.doors.config, ask.model, kind, ask.arguments)
        arguments = ask.arguments if target.tier is None else {**ask.arguments, "tier": target.tier}
        return door.router.begin(target.task, prompt, **arguments)

    async def _streamed(self, request: Request, ask: Ask, dialect: Dialect) -> HttpResponse:
        """An answer in pieces. What fails before the first of them is an answer with its own status."""
        call = self._begun("text", ask, ask.prompt)
        pieces = ask_in_pieces(self.doors.text.router, call)
        try:
            first = await self.calls.answered(request.receive, _next(pieces))
        except BaseException:
            await pieces.aclose()
            raise
        call_id, created = call.asked.request.call_id, int(time.time())
        if dialect == "chat":
            chunks = Chunks(call_id, created, ask.has_usage)
            events, failed = _chunk_events(chunks, call, first, pieces), _chunk_failed
        else:
            numbered = Events(call_id, created, ask.echo)
            events = _response_events(numbered, call, first, pieces)
            failed = partial(_response_failed, numbered)
        return EventStream(self.calls, events, pieces, failed, _named(call))


async def _next(pieces: AsyncGenerator[str | Response, None]) -> str | Response:
    return await anext(pieces)


def _named(call: Call) -> dict[str, str]:
    """The call's id in telemetry, as the id of the request."""
    return {"x-request-id": call.asked.request.call_id}


async def _chunk_events(
    chunks: Chunks, call: Call, first: str | Response, rest: AsyncGenerator[str | Response, None]
) -> AsyncGenerator[Event, None]:
    """A stream of Chat Completions."""
    chunks.model = under_way(call)
    async with contextlib.aclosing(_all(first, rest)) as pieces:
        async for piece in pieces:
            made = chunks.ending(piece) if isinstance(piece, Response) else [chunks.piece(piece)]
            for chunk in made:
                yield None, json.dumps(chunk)
    yield None, "[DONE]"


def _chunk_failed(problem: Problem) -> list[Event]:
    return [(None, json.dumps(problem.body()))]


async def _response_events(
    numbered: Events, call: Call, first: str | Response, rest: AsyncGenerator[str | Response, None]
) -> AsyncGenerator[Event, None]:
    """A stream of Responses."""
    numbered.model = under_way(call)
    async with contextlib.aclosing(_all(first, rest)) as pieces:
        async for piece in pieces:
            made = numbered.ending(piece) if isinstance(piece, Response) else numbered.piece(piece)
            for event in made:
                yield _named_event(event)


def _response_failed(numbered: Events, problem: Problem) -> list[Event]:
    return [_named_event(event) for event in numbered.failed(problem)]


def _named_event(event: Mapping[str, Any]) -> Event:
    return str(event["type"]), json.dumps(event)


async def _all(
    first: str | Response, rest: AsyncGenerator[str | Response, None]
) -> AsyncGenerator[str | Response, None]:
    async with contextlib.aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


# ---- the app


async def _health(request: Request) -> HttpResponse:
    del request
    return json_response({"status": "ok"})


async def _refused(request: Request, error: Exception) -> HttpResponse:
    """What a request that failed is told."""
    del request
    if isinstance(error, Problem):
        return error.response()
    if isinstance(error, LLMBenchError):
        return problem_of(error).response()
    if isinstance(error, ClientDisconnect):
        return HttpResponse(status_code=499)  # nobody reads it
    if isinstance(error, HTTPException):
        code = "not_found" if error.status_code == 404 else "bad_request"
        headers = dict(error.headers or {})
        return Problem(error.status_code, code, f"there is {', '.join(PATHS)}", headers=headers).response()
    # What nobody expected: its traceback goes to the operator's standard error.
    message = "the server met an error of its own; see its standard error"
    return Problem(500, "server_error", message).response()


def build_app(
    doors: Doors, calls: Calls, token: str, *, is_loopback: bool = True, most_bytes: int = 32 * 2**20
) -> Starlette:
    """The endpoint as an ASGI app.

    Args:
        doors: the clients that answer.
        calls: the calls in flight; whoever ends the server cancels them.
        token: what every request must bring.
        is_loopback: whether it serves this machine alone, so that the Host header must name it.
        most_bytes: the largest body that is read.
    """
    paths = Endpoint(doors, calls, most_bytes, int(time.time()))
    posts: Sequence[tuple[str, Callable[[Request], Coroutine[Any, Any, HttpResponse]]]] = (
        ("/v1/chat/completions", paths.chat),
        ("/v1/responses", paths.responses),
        ("/v1/images/generations", paths.images),
        ("/v1/audio/speech", paths.speech),
    )
    routes = [Route(path, answer, methods=["POST"]) for path, answer in posts]
    routes += [
        Route("/v1/models", paths.models, methods=["GET"]),
        Route("/v1/models/{name:path}", paths.model, methods=["GET"]),
        Route(HEALTH, _health, methods=["GET"]),
    ]
    kinds = (Problem, LLMBenchError, ClientDisconnect, HTTPException, Exception)
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Gate, token=token, is_loopback=is_loopback)],
        exception_handlers=dict.fromkeys(kinds, _refused),
    )
    app.router.redirect_slashes = False  # a redirect would name the host that the client claimed
    return app
