"""Answers without a network, for tests and for replay: from a list, from a function, from a recording.

    client = LLMClient("configs", **recording(load_config("configs"), "calls.jsonl"))   # asks, and keeps
    client = LLMClient("configs", **replaying(load_config("configs"), "calls.jsonl"))   # asks nobody

A recording is JSONL, one request a line: path, hash of the body, status and body of the answer, and what the
local server measured. No header is ever recorded, and key values that an answer repeats are blanked out.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from llmbench.catalog import ModelSpec
from llmbench.config.environment import read_environment
from llmbench.config.model import Config
from llmbench.errors import ERROR_KINDS, ConfigError, ProviderError
from llmbench.messages import Usage, canonical_json
from llmbench.providers.base import HttpReply, HttpxTransport, Transport
from llmbench.providers.hosts import Host, Lease, open_host
from llmbench.structuring import loads_strictly
from llmbench.telemetry import JsonlWriter, Redactor, read_jsonl

SCHEMA: Final = 1
#: Where replayed requests seem to go: port 9 of this machine, on which nothing answers.
OFFLINE_URL: Final = "http://127.0.0.1:9/v1"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as a transport saw it, without its headers. `path` includes the query."""

    path: str
    body: Mapping[str, Any]


Answer = HttpReply | str | ProviderError
_KEY_HEADERS: Final = ("authorization", "api-key", "x-goog-api-key")


def chat_reply(
    text: str, *, usage: Usage | None = None, finish_reason: str = "stop", status: int = 200
) -> HttpReply:
    """A Chat Completions answer; the usage is 1 token in and 1 out unless given."""
    counted = usage or Usage(1, 1)
    payload = {
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": {"prompt_tokens": counted.input_tokens, "completion_tokens": counted.output_tokens},
    }
    return HttpReply(status, {}, json.dumps(payload, ensure_ascii=False).encode())


class ScriptedTransport:
    """Answers from a list, in order, or from a function of the request. Keeps what it was asked.

    An answer is a text (sent as a chat completion), a whole HttpReply, or a ProviderError to raise.
    Give it to a client as `transport=lambda: scripted`.
    """

    def __init__(self, answers: Iterable[Answer] | Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []
        self._answer = answers if callable(answers) else _in_turn(answers)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float) -> HttpReply:
        """The next answer; see Transport.

        Raises:
            ProviderError: the answer is one, or the list is used up (kind connect).
        """
        del headers, connect_s
        asked = Asked(_path(url), json.loads(body))
        self.asked.append(asked)
        answer = self._answer(asked)
        if isinstance(answer, ProviderError):
            raise answer
        return chat_reply(answer) if isinstance(answer, str) else answer

    async def aclose(self) -> None:
        """Nothing is open."""


def _in_turn(answers: Iterable[Answer]) -> Callable[[Asked], Answer]:
    waiting = list(answers)
    given = iter(waiting)

    def answer(asked: Asked) -> Answer:
        found = next(given, None)
        if found is None:
            message = f"the script's {len(waiting)} answers are used up; {asked.path} was asked once more"
            raise ProviderError(message, kind="connect")
        return found

    return answer


# ---- recordings

#: The record of the request that a lease of this task is waiting for; host and transport meet here.
_record_of_lease: ContextVar[dict[str, Any] | None] = ContextVar("llmbench_record", default=None)


class RecordingTransport:
    """Passes requests on and appends each answer, or how it failed, to a recording."""

    def __init__(self, inner: Transport, path: str | Path) -> None:
        self._inner = inner
        self._writer = JsonlWriter(path)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float) -> HttpReply:
        """Send one request and record it; see Transport.

        Raises:
            ProviderError: as the inner transport.
            OSError: the recording cannot be written; a recording with gaps would mislead its replay.
        """
        redact = Redactor(v.split()[-1] for name, v in headers.items() if name.lower() in _KEY_HEADERS and v)
        record: dict[str, Any] = {"schema": SCHEMA, "path": _path(url), "body_sha256": _body_sha256(body)}
        started = time.perf_counter()
        try:
            reply = await self._inner.post(url, headers, body, connect_s)
        except ProviderError as error:
            self._keep(record | {"status": None, "error_kind": error.kind, "error": redact(str(error))})
            raise
        record |= {"status": reply.status, "latency_ms": round((time.perf_counter() - started) * 1000, 3)}
        try:
            record["body"] = redact(reply.body.decode())
        except UnicodeDecodeError:
            record["body_base64"] = base64.b64encode(reply.body).decode()
        self._keep(record)
        return reply

    def _keep(self, record: dict[str, Any]) -> None:
        """Write the record, or leave it to the host's lease, which has figures to add."""
        open_record = _record_of_lease.get()
        if open_record is None:
            self._writer.append(record)
        else:
            open_record |= record

    async def aclose(self) -> None:
        """Close the inner transport and the file."""
        await self._inner.aclose()
        self._writer.close()


class RecordingHost:
    """Adds to each record what its host measured: queue, CPU time, load, and the model's version."""

    def __init__(self, inner: Host, path: str | Path) -> None:
        self._inner = inner
        self._writer = JsonlWriter(path)

    def is_reachable(self, spec: ModelSpec) -> bool:
        """As the inner host."""
        return self._inner.is_reachable(spec)

    def version(self, spec: ModelSpec) -> str | None:
        """As the inner host."""
        return self._inner.version(spec)

    @asynccontextmanager
    async def lease(self, spec: ModelSpec) -> AsyncIterator[Lease]:
        """The inner host's lease; its record is written when it ends."""
        record: dict[str, Any] = {}
        token = _record_of_lease.set(record)
        lease: Lease | None = None
        try:
            async with self._inner.lease(spec) as lease:
                yield lease
        finally:
            _record_of_lease.reset(token)
            if record and lease is not None:
                facts = {"queued_ms": lease.queued_ms, "cpu_s": lease.cpu_s, "load": lease.load}
                model = {"model_id": spec.model_id, "model_version": lease.version or self.version(spec)}
                self._writer.append({**record, **facts, **model})


class ReplayTransport:
    """Answers from a recording; never opens a connection.

    A request that was recorded several times gets its answers in the order of the recording, and the last
    one from then on. `pace` 1.0 takes as long as the recorded answer did, 0.0 no time.
    """

    def __init__(self, path: str | Path, *, pace: float = 0.0) -> None:
        self._path = Path(path)
        self._pace = pace
        self._answers: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._given: dict[tuple[str, str], int] = {}
        for record in _records(self._path):
            key = str(record.get("path")), str(record.get("body_sha256"))
            self._answers.setdefault(key, []).append(record)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float) -> HttpReply:
        """The recorded answer; see Transport.

        Raises:
            ProviderError: the recorded failure, or kind connect: nothing was recorded for this request.
        """
        del headers, connect_s
        key = _path(url), _body_sha256(body)
        recorded = self._answers.get(key)
        if recorded is None:
            raise self._missing(key, body)
        turn = self._given.get(key, 0)
        self._given[key] = turn + 1
        record = recorded[min(turn, len(recorded) - 1)]
        open_record = _record_of_lease.get()
        if open_record is not None:
            open_record |= record
        if self._pace > 0:
            await asyncio.sleep(float(record.get("latency_ms") or 0.0) / 1000 * self._pace)
        return _recorded_reply(record)

    def _missing(self, key: tuple[str, str], body: bytes) -> ProviderError:
        path, sha256 = key
        model = loads_strictly(body).get("model")
        answers = sum(len(records) for records in self._answers.values())
        return ProviderError(
            f"{self._path} holds no answer to {path} for model {model!r} with body {sha256[:12]} "
            f"({answers} answers to {len(self._answers)} requests); record this request",
            kind="connect",
        )

    async def aclose(self) -> None:
        """Nothing is open."""


class OfflineHost:
    """Stands in for any provider during a replay: no key, no server, a fixed address.

    Args:
        versions: model id -> version, as `recorded_versions` reads them, or pinned by hand.
        base_url: where requests seem to go.
    """

    def __init__(self, versions: Mapping[str, str | None], base_url: str = OFFLINE_URL) -> None:
        self._versions = dict(versions)
        self._base_url = base_url.rstrip("/")

    def is_reachable(self, spec: ModelSpec) -> bool:
        """Always: whether an answer was recorded shows when it is asked for."""
        del spec
        return True

    def version(self, spec: ModelSpec) -> str | None:
        """The recorded or pinned version."""
        return self._versions.get(spec.model_id)

    def lease(self, spec: ModelSpec) -> AbstractAsyncContextManager[Lease]:
        """A lease that ends with the recorded figures, so that a replayed call has the same cost."""
        return self._lease(spec)

    @asynccontextmanager
    async def _lease(self, spec: ModelSpec) -> AsyncIterator[Lease]:
        record: dict[str, Any] = {}
        token = _record_of_lease.set(record)
        lease = Lease(self._base_url, version=self.version(spec))
        try:
            yield lease
        finally:
            _record_of_lease.reset(token)
            lease.queued_ms = float(record.get("queued_ms") or 0.0)
            lease.cpu_s, lease.load = record.get("cpu_s"), record.get("load")
            lease.version = record.get("model_version") or lease.version


def recording(
    config: Config, path: str | Path, *, variables: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The arguments that make a client or router record every call to `path`.

    Raises:
        ConfigError: a provider's address cannot be used.
    """
    environment = read_environment(variables)
    return {
        "variables": variables,
        "transport": lambda: RecordingTransport(HttpxTransport(), path),
        "hosts": {
            name: RecordingHost(open_host(endpoint, environment), path)
            for name, endpoint in config.endpoints.items()
        },
    }


def replaying(config: Config, path: str | Path, *, pace: float = 0.0) -> dict[str, Any]:
    """The arguments that make a client or router answer from a recording, every provider included.

    Raises:
        ConfigError: there is no such recording.
    """
    transport = ReplayTransport(path, pace=pace)
    versions = recorded_versions(path)
    urls = {
        name: OFFLINE_URL if endpoint.managed else endpoint.base_url or OFFLINE_URL.removesuffix("/v1")
        for name, endpoint in config.endpoints.items()
    }
    return {
        "transport": lambda: transport,
        "hosts": {name: OfflineHost(versions, url) for name, url in urls.items()},
    }


def recorded_versions(path: str | Path) -> dict[str, str | None]:
    """Model id -> the version that answered, from a recording; the last one where it changed.

    Raises:
        ConfigError: there is no such recording.
    """
    return {
        record["model_id"]: record.get("model_version")
        for record in _records(Path(path))
        if isinstance(record.get("model_id"), str)
    }


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole record; a line torn by a kill is left out, its request is a miss."""
    try:
        for line in read_jsonl(path):
            if line.record is not None:
                yield line.record
    except OSError as error:
        raise ConfigError(f"the recording {path} cannot be read: {error.strerror}") from error


def _recorded_reply(record: Mapping[str, Any]) -> HttpReply:
    kind = record.get("error_kind")
    if kind in ERROR_KINDS:
        raise ProviderError(str(record.get("error")), kind=kind)
    if "body_base64" in record:
        body = base64.b64decode(str(record["body_base64"]))
    else:
        body = str(record.get("body", "")).encode("utf-8", "surrogatepass")
    return HttpReply(int(record.get("status") or 200), {}, body)


def _path(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _body_sha256(body: bytes) -> str:
    """Hash of a request's content: the order of its keys does not change it."""
    return hashlib.sha256(canonical_json(loads_strictly(body)).encode("utf-8", "surrogatepass")).hexdigest()
