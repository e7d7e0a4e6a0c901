"""Answers without a network: scripts for tests, and recordings that cost again what they cost first."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager

import pytest

from llmbench import FallbackExhausted, LLMClient
from llmbench.config import load_config
from llmbench.errors import ConfigError, ProviderError
from llmbench.messages import Usage
from llmbench.providers.base import HttpReply
from llmbench.providers.hosts import Lease
from llmbench.providers.recordings import (
    OfflineHost,
    RecordingHost,
    RecordingTransport,
    ReplayTransport,
    recorded_versions,
    recording,
    replaying,
)
from llmbench.providers.scripted import ScriptedTransport, chat_reply
from llmbench.providers.transport import HttpxTransport
from tests.conftest import CANARY, models
from tests.servers.chat_server import Step, completion, failure

OFFLINE = {"llm_router": {"providers": {"stub": {"base_url": "http://127.0.0.1:9/v1"}}}}


@pytest.fixture
def no_sockets(monkeypatch):
    """From here on even this machine is out of reach for HTTP."""
    connect = socket.socket.connect

    def refuse(self, address):
        if self.family == socket.AF_UNIX:
            return connect(self, address)
        raise AssertionError(f"a connection to {address} was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


# ---- scripts


@pytest.fixture
def scripted(three_models, tmp_path, no_sockets):
    def opening(answers) -> tuple[LLMClient, ScriptedTransport]:
        transport = ScriptedTransport(answers)
        folder = three_models(**OFFLINE)
        log_path = tmp_path / "log.jsonl"
        return LLMClient(folder, variables={}, log_path=log_path, transport=lambda: transport), transport

    return opening


def test_a_list_answers_in_turn_and_keeps_what_was_asked(scripted):
    answers = [
        "one",
        ProviderError("gone", kind="connect"),
        chat_reply("two", usage=Usage(7, 3)),
        HttpReply(401, {}, b""),
    ]
    client, transport = scripted(answers)
    with client:
        assert client.call("caption", "first").text == "one"
        response = client.call("caption", "second")
        assert (response.text, response.usage, response.fallback_chain) == ("two", Usage(7, 3), ("a", "b"))
        with pytest.raises(FallbackExhausted, match=r"HTTP 401.*4 answers are used up"):
            client.call("caption", "third")
    assert [asked.body["model"] for asked in transport.asked] == ["m-a", "m-a", "m-b", "m-a", "m-b", "m-c"]
    assert transport.asked[0].path == "/v1/chat/completions"
    assert transport.asked[0].body["messages"] == [{"role": "user", "content": "first"}]


def test_a_function_answers_from_the_request(scripted):
    client, _ = scripted(lambda asked: asked.body["messages"][-1]["content"].upper())
    with client:
        assert client.call("caption", "shout").text == "SHOUT"


# ---- recordings


class MeasuredHost:
    """A host that measures as a local server's does, in front of the loopback server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def is_reachable(self, _spec) -> bool:
        return True

    def version(self, _spec) -> str:
        return "sha256:abc"

    @asynccontextmanager
    async def lease(self, _spec, tokens=0):
        del tokens
        lease = Lease(self.url, {"authorization": f"Bearer {CANARY}"}, queued_ms=12.5, version="sha256:abc")
        yield lease
        lease.cpu_s, lease.load = 1.8, {"cpu_some_avg10": 3.0, "loadavg1": 0.5}


@pytest.fixture
def local_configs(three_models):
    """The three models at a provider whose servers llmbench would start itself."""
    price = {"per_core_hour": 0.04}
    local = {
        name: {**entry, "provider": "local"} for name, entry in models("a", "b", "c", price=price).items()
    }
    return three_models(
        llm_router={"providers": {"local": {"managed": "embedded"}}}, llm_model_registry={"models": local}
    )


@pytest.fixture
def record(local_configs, server, tmp_path):
    """Record calls at the loopback server, as they would be at local models."""
    path = tmp_path / "calls.jsonl"

    def recorded(*prompts: str):
        client = LLMClient(
            local_configs,
            variables={},
            log_path=tmp_path / "log.jsonl",
            transport=lambda: RecordingTransport(HttpxTransport(), path),
            hosts={"local": RecordingHost(MeasuredHost(server.url), path)},
        )
        with client:
            return [client.call("caption", prompt) for prompt in prompts]

    recorded.path = path
    return recorded


@pytest.fixture
def replay(local_configs, record, tmp_path):
    def opened() -> LLMClient:
        arguments = replaying(load_config(local_configs), record.path)
        return LLMClient(local_configs, variables={}, log_path=tmp_path / "replay.jsonl", **arguments)

    return opened


def facts(response) -> tuple:
    attempts = [(a.model, a.error_kind, a.error, a.cost_usd, a.queued_ms) for a in response.attempts]
    return (
        response.text, response.usage, response.cost_usd, response.cost_source, response.queued_ms,
        response.cpu_s, response.load, response.model_version, response.finish_reason, attempts,
    )  # fmt: skip


def test_a_replayed_call_equals_the_recorded_one_to_its_cost_without_any_server(record, replay, server):
    server.script["m-a"] = [Step(completion("one")), failure(500, message="ouch"), Step(completion("二"))]
    first = record("x", "y", "z")
    assert first[0].cost_usd == pytest.approx(1.8 / 3600 * 0.04)
    asked = len(server.received)
    server.close()
    with replay() as client:
        again = [client.call("caption", prompt) for prompt in ("x", "y", "z")]
        assert client.router.model_version("a") == "sha256:abc"
    assert [facts(response) for response in again] == [facts(response) for response in first]
    assert len(server.received) == asked


def test_a_repeated_request_gets_its_answers_in_their_order_and_then_the_last(record, replay, server):
    server.script["m-a"] = [Step(completion("1")), Step(completion("2"))]
    record("x", "x")
    with replay() as client:
        assert [client.call("caption", "x").text for _ in range(4)] == ["1", "2", "2", "2"]


def test_a_miss_names_the_request_and_the_recording(record, replay):
    record("x")
    with replay() as client, pytest.raises(FallbackExhausted) as caught:
        client.call("caption", "never asked", models="b")
    (miss,) = caught.value.exceptions
    assert miss.kind == "connect"
    for fact in (
        "calls.jsonl",
        "/v1/chat/completions",
        "'m-b'",
        "1 answers to 1 requests",
        "record this request",
    ):
        assert fact in str(miss)


def test_a_failure_on_the_way_is_recorded_and_happens_again(record, replay, server):
    server.script["m-a"] = [Step(fault="reset")]
    first = record("x")[0]
    assert first.fallback_chain == ("a", "b")
    with replay() as client:
        assert facts(client.call("caption", "x")) == facts(first)


def test_a_recording_holds_no_header_and_no_key(record, server):
    echo = "you sent {authorization}"
    server.answer = lambda request: Step(completion(echo.format(**request.headers)))
    record("x")
    text = record.path.read_text()
    assert CANARY not in text
    assert "uthorization" not in text.replace("you sent", "")
    (line,) = [json.loads(line) for line in text.splitlines()]
    assert set(line) == {
        "schema", "path", "body_sha256", "status", "latency_ms", "body", "queued_ms", "cpu_s", "load",
        "model_id", "model_version",
    }  # fmt: skip


def test_a_torn_record_is_a_miss_and_not_the_end(record, replay):
    record("x", "y")
    whole = record.path.read_bytes()
    record.path.write_bytes(whole[:-20])
    with replay() as client:
        assert client.call("caption", "x").text == "answer of m-a"
        with pytest.raises(FallbackExhausted, match="1 answers to 1 requests"):
            client.call("caption", "y")


def test_a_recording_that_is_not_there_is_said_to_be_so(tmp_path, local_configs):
    for use in (ReplayTransport, recorded_versions, lambda path: replaying(load_config(local_configs), path)):
        with pytest.raises(ConfigError, match=r"the recording .*missing.jsonl cannot be read"):
            use(tmp_path / "missing.jsonl")


def test_a_version_can_be_pinned(local_configs, record, tmp_path, server):
    record("x")
    pinned = OfflineHost({"m-a": "pinned"})
    with LLMClient(
        local_configs, variables={}, log_path=tmp_path / "p.jsonl", hosts={"local": pinned}
    ) as client:
        assert client.router.model_version("a") == "pinned"
        assert client.explain("caption").candidates == ("a", "b", "c")


def test_a_keyed_provider_is_recorded_with_its_key_and_replayed_without(
    three_models, variables, tmp_path, server
):
    folder, path = three_models(), tmp_path / "calls.jsonl"
    config = load_config(folder)
    log_path = tmp_path / "log.jsonl"
    with LLMClient(folder, log_path=log_path, **recording(config, path, variables=variables)) as client:
        first = client.call("caption", "x")
    server.answer = lambda _: failure(500)
    with LLMClient(folder, log_path=log_path, variables={}, **replaying(config, path)) as client:
        again = client.call("caption", "x")
    assert (again.text, again.cost_usd, again.usage) == (first.text, first.cost_usd, first.usage)
    assert CANARY not in path.read_text()
    assert len(server.received) == 1


def test_a_paced_replay_takes_its_time(three_models, variables, tmp_path, server):
    folder, path = three_models(), tmp_path / "calls.jsonl"
    server.answer = lambda _: Step(completion("slow"), delay_s=0.08)
    config, log_path = load_config(folder), tmp_path / "log.jsonl"
    with LLMClient(folder, log_path=log_path, **recording(config, path, variables=variables)) as client:
        assert client.call("caption", "x").attempts[0].latency_ms >= 80
    with LLMClient(folder, log_path=log_path, variables={}, **replaying(config, path, pace=1.0)) as client:
        assert client.call("caption", "x").attempts[0].latency_ms >= 78
