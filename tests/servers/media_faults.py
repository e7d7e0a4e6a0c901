"""Every fault of `faults.py` at a media provider, and those that only pictures and audio can have."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

from tests.servers.answers import gemini_answer
from tests.servers.chat_server import Step
from tests.servers.fault_server import Act, Dialect, Exchange
from tests.servers.faults import FAULTS, Fault
from tests.servers.image_answers import (
    NO_PICTURE,
    base64_of,
    chat_images_answer,
    data_url,
    drawn,
    gemini_image_answer,
    images_answer,
    inline,
    openrouter_images_answer,
    result,
    ticket,
    workflow_answer,
)
from tests.servers.speech_provider import RATE_HZ, tone, wav

MediaWire = Literal[
    "images-openai",
    "images-azure",
    "images-openrouter",
    "images-chat",
    "images-gemini",
    "images-workflow",
    "images-ticket",
    "speech-openai",
    "speech-azure",
    "speech-openrouter",
    "speech-gemini",
]


@dataclass(frozen=True)
class Place:
    """Where a wire's requests go: a dialect of the fault server, and what provider and model entries say."""

    dialect: Dialect
    provider: Mapping[str, Any]
    model: Mapping[str, Any]
    path: str = "{}"


_AZURE = {"type": "azure", "api_version": "2025-04-01-preview"}
_OPENROUTER, _GEMINI = {"type": "openrouter"}, {"type": "gemini"}
PLACES: Mapping[MediaWire, Place] = {
    "images-openai": Place("chat", {}, {"wire": "images"}),
    "images-azure": Place("azure", _AZURE, {"wire": "images"}),
    "images-openrouter": Place("openrouter", _OPENROUTER, {"wire": "images"}),
    "images-chat": Place("openrouter", _OPENROUTER, {"wire": "chat"}),
    "images-gemini": Place("gemini", _GEMINI, {"wire": "gemini"}),
    "images-workflow": Place("chat", {}, {"wire": "workflow"}, "accounts/x/models/{}/text_to_image"),
    "images-ticket": Place("chat", {}, {"wire": "workflow"}, "accounts/x/models/{}"),
    "speech-openai": Place("chat", {}, {"wire": "speech"}),
    "speech-azure": Place("azure", _AZURE, {"wire": "speech"}),
    "speech-openrouter": Place("openrouter", _OPENROUTER, {"wire": "speech"}),
    "speech-gemini": Place("gemini", _GEMINI, {"wire": "gemini"}),
}
#: White space before an answer that is over the cap of the tests.
_PADDING = 2**21


@lru_cache(maxsize=1)
def picture() -> bytes:
    """What a healthy model draws."""
    return drawn("ok", 32, 32)


def sound(text: str) -> bytes:
    """What a healthy voice says."""
    return tone(text)


def answer(wire: MediaWire, exchange: Exchange, data: bytes | None = None) -> Step:
    """The answer of a model that works; with these bytes in place of what it made, b"" for nothing."""
    if wire.startswith("speech-"):
        return _spoken(wire, exchange, data)
    made = [] if data == b"" else [base64_of(picture() if data is None else data)]
    urls = [data_url(each) for each in made]
    if wire == "images-chat":
        return Step(chat_images_answer(urls))
    if wire == "images-gemini":
        return Step(gemini_image_answer(*map(inline, made)))
    if wire == "images-workflow":
        return Step(workflow_answer(urls))
    if wire == "images-ticket":
        return Step(result("t-1", "Ready", urls[0] if urls else None))
    entries = [{"b64_json": each} for each in made]
    return Step(openrouter_images_answer(entries) if wire == "images-openrouter" else images_answer(entries))


def _spoken(wire: MediaWire, exchange: Exchange, data: bytes | None) -> Step:
    if wire != "speech-gemini":
        body = wav(sound(exchange.json["input"])) if data is None else data
        return Step(body, headers={"content-type": "audio/wav"})
    pcm = sound(exchange.json["contents"][0]["parts"][0]["text"]) if data is None else data
    payload = gemini_answer("x")
    mime = f"audio/L16;codec=pcm;rate={RATE_HZ}"
    part = {"inlineData": {"mimeType": mime, "data": base64.b64encode(pcm).decode()}}
    payload["candidates"][0]["content"]["parts"] = [part] if pcm else []
    return Step(payload)


def _filtered(wire: MediaWire) -> Step | None:
    """An answer that says that a filter stopped it, where a wire has one beside an error status."""
    forms: Mapping[MediaWire, Any] = {
        "images-chat": chat_images_answer([], finish="content_filter"),
        "images-gemini": gemini_image_answer(finish="IMAGE_SAFETY"),
        "images-workflow": workflow_answer([], finish="CONTENT_FILTERED"),
        "images-ticket": result("t-1", "Content Moderated"),
        "speech-gemini": gemini_answer(blocked="PROHIBITED_CONTENT"),
    }
    return Step(forms[wire]) if wire in forms else None


def _encoded(step: Step) -> bytes:
    return step.body if isinstance(step.body, bytes) else json.dumps(step.body).encode()


#: Faults whose bodies are answers of text models, with what stands in their place here or nothing.
_OF_TEXT = frozenset(
    {
        *("failed-200", "failed-rate-200", "no-choices", "empty-content", "cut-off", "filtered-200"),
        *("prompt-blocked-200", "refusal-200"),
    }
)


def media_faults(wire: MediaWire) -> dict[str, Fault]:
    """The faults that a wire can meet, by name."""
    dialect = PLACES[wire].dialect
    found = {name: fault for name, fault in FAULTS.items() if dialect in fault.on and name not in _OF_TEXT}
    own = {**_answers(wire), **_broken(wire)}
    found |= {name: Fault(act) for name, act in own.items()}
    found |= {
        name: Fault(_once(FAULTS[name].act, own["healthy"])) for name in FAULTS if name.endswith("-once")
    }
    if wire == "images-ticket":
        return {name: replace(fault, act=_at_the_result(fault.act)) for name, fault in found.items()}
    return found


def _answers(wire: MediaWire) -> dict[str, Act]:
    """A good answer, and those that are none."""

    def says(data: bytes | None = None) -> Act:
        async def act(exchange: Exchange) -> None:
            await exchange.send(answer(wire, exchange, data))

        return act

    no_media = NO_PICTURE if wire.startswith("images-") else b"\0"
    made = {"healthy": says(), "nothing-200": says(b""), "broken-200": says(no_media)}
    filtered = _filtered(wire)
    if filtered is not None:

        async def act(exchange: Exchange) -> None:
            await exchange.send(filtered)

        made["filtered-200"] = act
    return made


def _broken(wire: MediaWire) -> dict[str, Act]:
    """A good answer that does not arrive as one."""

    async def short_body(exchange: Exchange) -> None:
        step = answer(wire, exchange)
        body = _encoded(step)
        await exchange.head(headers={**step.headers, "content-length": str(len(body) + 10)})
        await exchange.raw(body)
        exchange.close()

    async def truncated(exchange: Exchange) -> None:
        step = answer(wire, exchange)
        body = _encoded(step)
        await exchange.send(Step(body[: len(body) // 2], headers=step.headers))

    async def huge(exchange: Exchange) -> None:
        await exchange.head(headers={"transfer-encoding": "chunked"})
        for _ in range(_PADDING // 65536):
            await exchange.chunk(b" " * 65536)
        await exchange.chunk(_encoded(answer(wire, exchange)))
        await exchange.raw(b"0\r\n\r\n")

    async def bomb(exchange: Exchange) -> None:
        body = gzip.compress(b" " * _PADDING + _encoded(answer(wire, exchange)))
        await exchange.send(Step(body, headers={"content-encoding": "gzip"}))

    return {"short-body": short_body, "truncated-json": truncated, "huge-200": huge, "bomb-200": bomb}


def _once(failing: Act, healthy: Act) -> Act:
    async def act(exchange: Exchange) -> None:
        await (failing if exchange.turn == 1 else healthy)(exchange)

    return act


def _at_the_result(act: Act) -> Act:
    """A ticket for every job, and the fault where its result is asked for."""

    async def asked(exchange: Exchange) -> None:
        if not exchange.path.endswith("/get_result"):
            await exchange.send(Step(ticket("t-1"), headers={"retry-after": "0.01"}))
            return
        exchange.turn -= 1  # the first request was for the ticket
        await act(exchange)

    return asked
