"""Recorded answers: calls that cost money once, and are replayed without a network from then on.

    client = LLMClient("configs", **recording(load_config("configs"), "calls.jsonl"))   # asks, and keeps
    client = LLMClient("configs", **replaying(load_config("configs"), "calls.jsonl"))   # asks nobody

A recording is JSONL, one request a line: path, hash of the body, status and body of the answer, and what the
local server measured. No header is ever recorded, and key values that an answer repeats are blanked out.
A stream is recorded as its whole body, up to its end or to where it broke, and replayed in one piece.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Container, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

from llmbench.catalog import ModelSpec
from llmbench.config.environment import read_environment
from llmbench.config.model import Config
from llmbench.errors import ERROR_KINDS, ConfigError, ProviderError
from llmbench.jsonl import JsonlWriter, read_jsonl
from llmbench.messages import canonical_json
from llmbench.providers.base import HttpReply, HttpStream, Transport
from llmbench.providers.hosts import Host, Lease, open_host
from llmbench.providers.scripted import path_of
from llmbench.providers.transport import HttpxTransport
from llmbench.structuring import loads_strictly
from llmbench.telemetry import Redactor

SCHEMA: Final = 1
#: Where replayed requests seem to go: port 9 of this machine, on which nothing answers.
OFFLINE_URL: Final = "http://127.0.0.1:9/v1"
_KEY_HEADERS: Final = ("authorization", "api-key", "x-goog-api-key")

#: What stands for the body of a request that has none.
_NO_BODY: Final = b"{}"
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
        exchange = _Exchange(self._writer, url, headers, body)
        return await exchange.kept(self._inner.post(url, headers, body, connect_s))

    async def get(self, url: str, headers: Mapping[str, str], connect_s: float) -> HttpReply:
        """Read what is at an address and record it; see `post`."""
        exchange = _Exchange(self._writer, url, headers, _NO_BODY)
        return await exchange.kept(self._inner.get(url, headers, connect_s))

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float
    ) -> AsyncIterator[HttpStream]:
        """Send one request and record what came until its end, or until an error ended it; see Transport.

        A stream that its reader left, or whose call was cancelled, is not recorded: nobody knows its end.

        Raises:
            ProviderError: as the inner transport.
            OSError: the recording cannot be written.
        """
        exchange = _Exchange(self._writer, url, headers, body)
        read: list[bytes] = []
        try:
            async with (
                self._inner.stream(url, headers, body, connect_s) as answer,
                aclosing(_copied(answer.chunks, read)) as chunks,
            ):
                exchange.status = answer.status
                yield HttpStream(answer.status, answer.headers, chunks)
        except ProviderError as error:
            exchange.keep_failure(error, b"".join(read))
            raise
        exchange.keep_answer(answer.status, b"".join(read))

    async def aclose(self) -> None:
        """Close the inner transport and the file."""
        await self._inner.aclose()
        self._writer.close()


async def _copied(chunks: AsyncIterator[bytes], into: list[bytes]) -> AsyncGenerator[bytes, None]:
    async for chunk in chunks:
        into.append(chunk)
        yield chunk


class _Exchange:
    """One request on its way into the recording."""

    def __init__(self, writer: JsonlWriter, url: str, headers: Mapping[str, str], body: bytes) -> None:
        self._writer = writer
        keys = (v.split()[-1] for name, v in headers.items() if name.lower() in _KEY_HEADERS and v)
        self._redact = Redactor(keys)
        self._record = {"schema": SCHEMA, "path": path_of(url), "body_sha256": _body_sha256(body)}
        self._of_lease = _record_of_lease.get()
        self._started = time.perf_counter()
        self.status: int | None = None

    async def kept(self, asking: Awaitable[HttpReply]) -> HttpReply:
        """The answer or the failure of a request, recorded."""
        try:
            reply = await asking
        except ProviderError as error:
            self.keep_failure(error)
            raise
        self.keep_answer(reply.status, reply.body)
        return reply

    def keep_answer(self, status: int, body: bytes) -> None:
        """Record an answer that came to its end."""
        latency_ms = round((time.perf_counter() - self._started) * 1000, 3)
        self._keep({"status": status, "latency_ms": latency_ms, **self._body(body)})

    def keep_failure(self, error: ProviderError, body: bytes = b"") -> None:
        """Record how a request failed, and what came before."""
        failure = {"status": self.status, "error_kind": error.kind, "error": self._redact(str(error))}
        self._keep({**failure, **(self._body(body) if body else {})})

    def _body(self, body: bytes) -> dict[str, str]:
        try:
            return {"body": self._redact(body.decode())}
        except UnicodeDecodeError:
            return {"body_base64": base64.b64encode(body).decode()}

    def _keep(self, outcome: Mapping[str, Any]) -> None:
        """Write the record, or leave it to the host's lease, which has figures to add."""
        record = {**self._record, **outcome}
        if self._of_lease is None:
            self._writer.append(record)
        else:
            self._of_lease |= record


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
    async def lease(self, spec: ModelSpec, tokens: int = 0) -> AsyncIterator[Lease]:
        """The inner host's lease; its record is written when it ends."""
        record: dict[str, Any] = {}
        outer = _record_of_lease.get()
        _record_of_lease.set(record)
        lease: Lease | None = None
        try:
            async with self._inner.lease(spec, tokens) as lease:
                yield lease
        finally:
            _record_of_lease.set(outer)  # no reset: a stream may end in another task than it began in
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
        record = await self._find(url, body)
        if error := _recorded_error(record):
            raise error
        return HttpReply(int(record.get("status") or 200), {}, _recorded_body(record))

    async def get(self, url: str, headers: Mapping[str, str], connect_s: float) -> HttpReply:
        """What was recorded of this address; see `post`."""
        return await self.post(url, headers, _NO_BODY, connect_s)

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str], body: bytes, connect_s: float
    ) -> AsyncIterator[HttpStream]:
        """The recorded answer as a stream of one piece; it breaks where the recorded one broke.

        Raises:
            ProviderError: as `post`.
        """
        del headers, connect_s
        record = await self._find(url, body)
        error = _recorded_error(record)
        if error is not None and record.get("status") is None:
            raise error
        async with aclosing(_replayed(_recorded_body(record), error)) as chunks:
            yield HttpStream(int(record.get("status") or 200), {}, chunks)

    async def _find(self, url: str, body: bytes) -> dict[str, Any]:
        """The record of this request's turn, once its time has passed."""
        key = path_of(url), _body_sha256(body)
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
        return record

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
        models: keys or ids of the models that can be "called"; every model when it is None.
    """

    def __init__(
        self,
        versions: Mapping[str, str | None],
        base_url: str = OFFLINE_URL,
        *,
        models: Container[str] | None = None,
    ) -> None:
        self._versions = dict(versions)
        self._base_url = base_url.rstrip("/")
        self._models = models

    def is_reachable(self, spec: ModelSpec) -> bool:
        """Whether the recording knows the model: a route then leads where it led when it was made."""
        return self._models is None or spec.key in self._models or spec.model_id in self._models

    def version(self, spec: ModelSpec) -> str | None:
        """The recorded or pinned version."""
        return self._versions.get(spec.model_id)

    def lease(self, spec: ModelSpec, tokens: int = 0) -> AbstractAsyncContextManager[Lease]:
        """A lease that ends with the recorded figures, so that a replayed call has the same cost."""
        del tokens
        return self._lease(spec)

    @asynccontextmanager
    async def _lease(self, spec: ModelSpec) -> AsyncIterator[Lease]:
        record: dict[str, Any] = {}
        outer = _record_of_lease.get()
        _record_of_lease.set(record)
        lease = Lease(self._base_url, version=self.version(spec))
        try:
            yield lease
        finally:
            _record_of_lease.set(outer)
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
    hosts = {}
    for name, endpoint in config.endpoints.items():
        url = OFFLINE_URL if endpoint.managed else endpoint.base_url or OFFLINE_URL.removesuffix("/v1")
        # A provider that needs a key is there only as far as it was there when the recording was made.
        hosts[name] = OfflineHost(versions, url, models=versions if endpoint.env_api_keys else None)
    return {"transport": lambda: transport, "hosts": hosts}


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


def _recorded_error(record: Mapping[str, Any]) -> ProviderError | None:
    kind = record.get("error_kind")
    return ProviderError(str(record.get("error")), kind=kind) if kind in ERROR_KINDS else None


def _recorded_body(record: Mapping[str, Any]) -> bytes:
    if "body_base64" in record:
        return base64.b64decode(str(record["body_base64"]))
    return str(record.get("body", "")).encode("utf-8", "surrogatepass")


async def _replayed(body: bytes, error: ProviderError | None) -> AsyncGenerator[bytes, None]:
    yield body
    if error is not None:
        raise error


def _body_sha256(body: bytes) -> str:
    """Hash of a request's content: the order of its keys does not change it."""
    return hashlib.sha256(canonical_json(loads_strictly(body)).encode("utf-8", "surrogatepass")).hexdigest()
