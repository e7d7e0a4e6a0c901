"""Every fault by name: what a provider may do to a request, in its own dialect.

`FAULTS[name].act` is done to the request whose model id is the name; `on` tells which dialects can meet it.
A fault that is slow ends only when the client gives up.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from tests.servers import answers, errors
from tests.servers.chat_server import Step
from tests.servers.fault_server import DIALECTS, Act, Dialect, Exchange

#: What a healthy model answers.
ANSWER = "42"
#: An id of a key as it stands in the link of OpenRouter's 402; nobody may ever see it.
KEY_ID = "4cc243185e37d3ff658e3ed51653b9fe4f0454acb802f53c3852f23e60422714"
_RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.02s"}
_ERRORS: Mapping[Dialect, Mapping[str, Step]] = {
    "chat": errors.OPENAI_ERRORS,
    "responses": errors.OPENAI_ERRORS,
    "azure": {**errors.OPENAI_ERRORS, **errors.AZURE_ERRORS},
    "openrouter": errors.OPENROUTER_ERRORS,
    "gemini": errors.GEMINI_ERRORS,
}


@dataclass(frozen=True)
class Fault:
    """One way to go wrong."""

    act: Act
    on: tuple[Dialect, ...] = DIALECTS
    is_slow: bool = False


# ---- answers and errors in the form of a dialect


def answer(dialect: Dialect, text: str | None = ANSWER, **form: Any) -> dict[str, Any]:
    """A whole answer; `form` are the arguments of the dialect's function in `answers.py`."""
    if dialect == "gemini":
        return answers.gemini_answer(text, **form)
    if dialect == "responses":
        return answers.responses_answer(text, **form)
    if dialect == "openrouter":
        return answers.openrouter_answer(text, **form)
    return answers.openai_chat_answer(text, azure=dialect == "azure", **form)


def error_body(dialect: Dialect, status: int, said: str, **fields: Any) -> dict[str, Any]:
    """An error without a code of its own, as the dialect writes it."""
    basic: dict[str, Any] = {"message": said}
    if dialect in ("gemini", "openrouter"):
        basic["code"] = status
    elif dialect == "azure":
        basic["code"] = str(status)
    else:
        basic |= {"type": "invalid_request_error", "param": None, "code": None}
    return {"error": {**basic, **fields}}


def healthy(exchange: Exchange) -> Step:
    """The answer of a model that works."""
    return Step(answer(exchange.dialect))


async def _healthy(exchange: Exchange) -> None:
    await exchange.send(healthy(exchange))


def says(make: Callable[[Dialect], Step]) -> Act:
    """Answer with a Step of the dialect."""

    async def act(exchange: Exchange) -> None:
        await exchange.send(make(exchange.dialect))

    return act


def _named(meaning: str) -> Act:
    """An error from the dialect's own table."""
    return says(lambda dialect: _ERRORS[dialect][meaning])


def _status(status: int, **headers: str) -> Act:
    """A status with an error that has no code; header names are written with underscores."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return says(lambda dialect: Step(error_body(dialect, status, f"it is {status}"), status, names))


def _body(body: bytes | str, status: int = 200, **headers: str) -> Act:
    """The same body on every dialect."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return says(lambda _: Step(body, status, names))


def _by_dialect(**forms: Callable[[], dict[str, Any]]) -> Fault:
    """A 200 whose payload differs by dialect; dialects left out cannot meet the fault."""
    on = tuple(dialect for dialect in DIALECTS if dialect in forms)
    return Fault(says(lambda dialect: Step(forms[dialect]())), on=on)


# ---- 429 and its kin: a wait that is asked for, then a good answer


def _once(**headers: str) -> Act:
    """429 to the first request, the answer to the second."""

    async def act(exchange: Exchange) -> None:
        await (_status(429, **headers) if exchange.turn == 1 else _healthy)(exchange)

    return act


async def _retry_info_once(exchange: Exchange) -> None:
    body = error_body(exchange.dialect, 429, "slow down", details=[_RETRY_INFO])
    await exchange.send(Step(body, 429) if exchange.turn == 1 else healthy(exchange))


def _now() -> str:
    return format_datetime(datetime.now(UTC) - timedelta(seconds=1), usegmt=True)


def _held_back(dialect: Dialect) -> Step:
    said = f"in-flight budget; see https://openrouter.ai/workspaces/default/keys/{KEY_ID} now"
    metadata = {"limit_source": "openrouter_in_flight_budget", "reason": "in_flight_budget_exhausted"}
    return Step(error_body(dialect, 402, said, metadata=metadata), 402, {"retry-after": "0"})


# ---- connections that break or never end


async def _hang_before(exchange: Exchange) -> None:
    await exchange.hang()


async def _hang_after_headers(exchange: Exchange) -> None:
    await exchange.head(headers={"content-length": "500"})
    await exchange.hang()


async def _hang_mid_body(exchange: Exchange) -> None:
    await exchange.head(headers={"content-length": "500"})
    await exchange.raw(b'{"choices": [')
    await exchange.hang()


async def _drip(exchange: Exchange) -> None:
    """A byte of white space now and then: alive, and never done."""
    await exchange.head(headers={"transfer-encoding": "chunked"})
    while True:
        await exchange.chunk(b" ")
        await asyncio.sleep(0.05)


async def _reset_before(exchange: Exchange) -> None:
    exchange.reset()


async def _reset_mid_body(exchange: Exchange) -> None:
    await exchange.head(headers={"content-length": "500"})
    await exchange.raw(b'{"choices": [')
    await asyncio.sleep(0.02)
    exchange.reset()


async def _close_before(exchange: Exchange) -> None:
    exchange.close()


async def _short_body(exchange: Exchange) -> None:
    body = json.dumps(answer(exchange.dialect)).encode()
    await exchange.head(headers={"content-length": str(len(body) + 10)})
    await exchange.raw(body)
    exchange.close()


async def _broken_chunks(exchange: Exchange) -> None:
    # In one piece: a wrong chunk that comes after the head lets aiohttp wait, until the deadline ends it.
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    await exchange.raw(head + b"zz\r\nno length\r\n")
    exchange.close()


async def _not_http(exchange: Exchange) -> None:
    await exchange.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    exchange.close()


async def _endless_headers(exchange: Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 X\r\n" + b"x-filler: " + b"x" * 200_000 + b"\r\n")
    exchange.close()


async def _truncated_json(exchange: Exchange) -> None:
    body = json.dumps(answer(exchange.dialect)).encode()
    await exchange.send(Step(body[: len(body) // 2]))


async def _huge(exchange: Exchange) -> None:
    """Two MiB of white space in front of a good answer; the tests lower the cap to one."""
    await exchange.head(headers={"transfer-encoding": "chunked"})
    for _ in range(32):
        await exchange.chunk(b" " * 65536)
    await exchange.chunk(json.dumps(answer(exchange.dialect)).encode())
    await exchange.raw(b"0\r\n\r\n")


def _redirect(status: int) -> Act:
    async def act(exchange: Exchange) -> None:
        where = f"http://127.0.0.1:{exchange.port}/elsewhere?state=s3cr3t"
        await exchange.send(Step(b"", status, {"location": where}))

    return act


async def _bomb(exchange: Exchange) -> None:
    """The same, travelling as three KiB."""
    body = b" " * 2**21 + json.dumps(answer(exchange.dialect)).encode()
    await exchange.send(Step(gzip.compress(body), headers={"content-encoding": "gzip"}))


_CHAT: tuple[Dialect, ...] = ("chat", "azure", "openrouter")
_FAILED_502 = {"code": 502, "message": "Provider returned error"}

FAULTS: Mapping[str, Fault] = {
    "healthy": Fault(_healthy),
    # errors with a status
    "bad-request-400": Fault(_named("bad_request")),
    "unsupported-param-400": Fault(_named("unsupported_param")),
    "context-length-400": Fault(_named("context_length")),
    "content-filter-400": Fault(_named("content_filter"), on=("azure",)),
    "bad-key": Fault(_named("auth")),
    "bad-key-flat": Fault(_named("auth_flat"), on=("azure",)),
    "credits-402": Fault(
        says(lambda d: Step(error_body(d, 402, f"see https://h.example/keys/{KEY_ID}"), 402))
    ),
    "in-flight-402": Fault(says(_held_back)),
    "forbidden-403": Fault(_status(403)),
    "moderation-403": Fault(_named("content_filter"), on=("openrouter",)),
    "model-404": Fault(_named("model_not_found")),
    "timeout-408": Fault(_status(408)),
    "conflict-409": Fault(_status(409)),
    "too-large-413": Fault(_status(413)),
    "unprocessable-422": Fault(_status(422)),
    "quota-429": Fault(_named("quota"), on=("chat", "azure", "responses", "gemini")),
    "free-limit-429": Fault(
        says(lambda d: Step(error_body(d, 429, "Rate limit exceeded: free-models-per-day."), 429)),
        on=("openrouter",),
    ),
    "rate-429-long": Fault(_named("rate_limit")),
    "rate-429-none": Fault(_status(429)),
    "rate-429-seconds-once": Fault(_once(retry_after="0.02")),
    "rate-429-ms-once": Fault(_once(retry_after_ms="20", retry_after="9")),
    "rate-429-date-once": Fault(_once(retry_after=_now())),
    "rate-429-info-once": Fault(_retry_info_once),
    "no-capacity-429": Fault(_named("overloaded"), on=("azure",)),
    "server-500": Fault(_named("server_error")),
    "html-502": Fault(_body("<html>\n<h1>502 Bad gateway</h1></html>", 502, content_type="text/html")),
    "unavailable-503": Fault(_status(503)),
    "unavailable-503-long": Fault(_status(503, retry_after="30")),
    "gateway-504": Fault(_status(504)),
    "edge-524": Fault(_status(524)),
    "overloaded-529": Fault(_status(529)),
    "redirect-302": Fault(_redirect(302)),
    "redirect-307": Fault(_redirect(307)),
    "redirect-308": Fault(_redirect(308)),
    # connections
    "hang-before": Fault(_hang_before, is_slow=True),
    "hang-after-headers": Fault(_hang_after_headers, is_slow=True),
    "hang-mid-body": Fault(_hang_mid_body, is_slow=True),
    "drip": Fault(_drip, is_slow=True),
    "reset-before": Fault(_reset_before),
    "reset-mid-body": Fault(_reset_mid_body),
    "close-before": Fault(_close_before),
    "short-body": Fault(_short_body),
    "broken-chunks": Fault(_broken_chunks),
    "not-http": Fault(_not_http),
    "endless-headers": Fault(_endless_headers),
    # a 200 that is no answer
    "truncated-json": Fault(_truncated_json),
    "html-200": Fault(_body("<html>Sign in</html>", content_type="text/html")),
    "empty-200": Fault(_body(b"")),
    "white-space-200": Fault(_body(b"\n\n   \n")),
    "array-200": Fault(_body(b"[1, 2]")),
    "deep-200": Fault(_body(b"[" * 100_000)),
    "nan-200": Fault(_body(b'{"choices": NaN}')),
    "bad-utf8-200": Fault(_body(b'{"choices": "\xff\xfe"}')),
    "bad-gzip-200": Fault(_body(b"no gzip", content_encoding="gzip")),
    "huge-200": Fault(_huge),
    "bomb-200": Fault(_bomb),
    "error-200": Fault(says(lambda d: Step(error_body(d, 502, "Provider returned error", code=502)))),
    "error-text-200": Fault(_body('{"error": "no"}')),
    "failed-200": _by_dialect(
        responses=lambda: answer(
            "responses", status="failed", error={"code": "server_error", "message": "x"}
        ),
        openrouter=lambda: answer("openrouter", error=_FAILED_502),
        gemini=lambda: answer("gemini", None, finish="OTHER"),
    ),
    "failed-rate-200": _by_dialect(
        responses=lambda: answer(
            "responses", status="failed", error={"code": "rate_limit_exceeded", "message": "x"}
        ),
        openrouter=lambda: answer("openrouter", error={"code": 429, "message": "x"}),
    ),
    "no-choices": _by_dialect(
        chat=lambda: answer("chat") | {"choices": []},
        azure=lambda: answer("azure") | {"choices": []},
        openrouter=lambda: answer("openrouter") | {"choices": None},
        responses=lambda: answer("responses") | {"output": None},
        gemini=lambda: {"modelVersion": "g"},
    ),
    "empty-content": _by_dialect(
        **{d: lambda d=d: answer(d, "") for d in _CHAT},
        responses=lambda: answer("responses", None),
        gemini=lambda: answer("gemini", None),
    ),
    "cut-off": _by_dialect(
        **{d: lambda d=d: answer(d, "", finish="length") for d in _CHAT},
        responses=lambda: answer("responses", None, status="incomplete", reason="max_output_tokens"),
        gemini=lambda: answer("gemini", None, finish="MAX_TOKENS"),
    ),
    "filtered-200": _by_dialect(
        **{d: lambda d=d: answer(d, "", finish="content_filter") for d in _CHAT},
        responses=lambda: answer("responses", None, status="incomplete", reason="content_filter"),
        gemini=lambda: answer("gemini", None, finish="SAFETY"),
    ),
    "prompt-blocked-200": _by_dialect(gemini=lambda: answer("gemini", blocked="PROHIBITED_CONTENT")),
    "refusal-200": _by_dialect(
        **{d: lambda d=d: answer(d, None, refusal=answers.REFUSAL) for d in _CHAT},
        responses=lambda: answer("responses", refusal=answers.REFUSAL),
    ),
}
