"""One call made twice at a loopback server, and what arrived there each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml

from llmbench import LLMClient
from tests.conformance.calls import RECORD, Call
from tests.conformance.places import Dialect, Place, Sdk
from tests.conftest import CANARY
from tests.servers.answers import gemini_answer, openai_chat_answer, openrouter_answer, responses_answer
from tests.servers.chat_server import ChatServer, Received, Step

#: Headers that say who asks; all others are the HTTP client's own business.
_COMPARED = (
    "authorization",
    "api-key",
    "x-goog-api-key",
    "http-referer",
    "x-openrouter-title",
    "content-type",
)
_ANSWERS: Mapping[Dialect, Any] = {
    "chat": openai_chat_answer(RECORD),
    "responses": responses_answer(RECORD),
    "openrouter": openrouter_answer(RECORD),
    "gemini": gemini_answer(RECORD),
}


@dataclass(frozen=True)
class Seen:
    """A request in the parts that are compared."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Mapping[str, Any]


def seen(request: Received) -> Seen:
    url = urlsplit(request.path)
    headers = {name: request.headers[name] for name in _COMPARED if name in request.headers}
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    return Seen(request.method, url.path, query, headers, request.json)


class Exchanges:
    """Both clients of every place, opened once, at one server."""

    def __init__(self, server: ChatServer, folder: Path) -> None:
        self._server, self._folder = server, folder
        self._ours: dict[str, LLMClient] = {}
        self._sdk: dict[str, Sdk] = {}
        self._made: dict[tuple[str, str], tuple[Seen, Seen]] = {}

    @property
    def root(self) -> str:
        return self._server.url.removesuffix("/v1")

    def both(self, place: Place, call: Call) -> tuple[Seen, Seen]:
        """The official SDK's request and ours."""
        key = place.name, call.name
        if key not in self._made:
            self._server.answer = lambda _: Step(_ANSWERS[place.dialect])
            self.sdk(place).send(**call.sdk)
            self.client(place).call("caption", call.prompt, **call.options)
            theirs, ours = self._server.received[-2:]
            self._made[key] = seen(theirs), seen(ours)
        return self._made[key]

    def sdk(self, place: Place) -> Sdk:
        """The official SDK's client of a place."""
        if place.name not in self._sdk:
            self._sdk[place.name] = place.sdk(self.root + place.path)
        return self._sdk[place.name]

    def client(self, place: Place) -> LLMClient:
        """Our client of a place."""
        if place.name not in self._ours:
            folder = self._folder / place.name
            folder.mkdir()
            for name, content in place.configs(self.root).items():
                (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
            log = self._folder / f"{place.name}.jsonl"
            self._ours[place.name] = LLMClient(folder, variables={"STUB_KEY": CANARY}, log_path=log)
        return self._ours[place.name]

    def last(self) -> Seen:
        """The last request that arrived."""
        return seen(self._server.received[-1])

    def answer(self, step: Step) -> None:
        """What the server answers from now on."""
        self._server.answer = lambda _: step

    def close(self) -> None:
        for client in self._ours.values():
            client.close()
        for sdk in self._sdk.values():
            sdk.close()
