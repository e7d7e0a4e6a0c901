"""`llmbench serve` as a process: how it ends, what a client that leaves does to its call, and its limits."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import threading
import time

import httpx
import openai
import pytest

from tests.conftest import CANARY, provider
from tests.embedded_clients import SMOL, skip_unless_here
from tests.media_calls import write_folder
from tests.serve_process import TOKEN, providers, running, sdk, serving  # noqa: F401 - fixtures are used by their names
from tests.servers.certificates import Authority
from tests.servers.stream_server import Play

STREAM = {"model": "draft", "messages": [{"role": "user", "content": "x"}], "stream": True}


def asking_for(text):
    return {"model": "caption", "messages": [{"role": "user", "content": text}]}


@pytest.fixture
def opened(tmp_path):
    with providers(tmp_path) as found:
        yield found


class Asking(threading.Thread):
    """A request on its way in a thread; `reply` is the answer, read to its end, or the error instead."""

    def __init__(self, served, body):
        super().__init__(daemon=True)
        self.served, self.body, self.reply = served, body, None
        self.start()

    def run(self):
        with self.served.http() as client:
            try:
                self.reply = client.post("/chat/completions", json=self.body)
            except httpx.HTTPError as error:
                self.reply = error

    def answer(self):
        self.join(20)
        assert isinstance(self.reply, httpx.Response), self.reply
        return self.reply


def wait_for(condition, limit_s=10.0):
    ends = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < ends, "it did not come to pass"
        time.sleep(0.02)


def test_a_signal_lets_calls_in_flight_end_and_exits_with_0_and_no_secret_told(opened):
    folder, text, _ = opened
    with serving(folder) as served:
        with served.http() as client:
            failed = client.post("/chat/completions", json=asking_for("#500"))
            assert failed.status_code == 502
        asking = Asking(served, asking_for("#slow x"))
        wait_for(lambda: len(text.received) == 3)  # two candidates failed before
        assert served.end() == 0
        assert asking.answer().json()["choices"][0]["message"]["content"] == "you said #slow x"
    assert [line["status"] for line in served.lines()] == ["fail", "success"]
    everything = served.said + json.dumps(served.lines()) + failed.text
    assert not [secret for secret in (TOKEN, CANARY, "Traceback") if secret in everything]


def test_a_call_that_outlasts_the_grace_is_cancelled_and_has_its_line(opened):
    folder, text, slow = opened
    with serving(folder, "--grace-s", "0.2") as served:
        whole, pieces = Asking(served, asking_for("#never x")), Asking(served, STREAM)
        wait_for(lambda: text.received and slow.bodies)
        time.sleep(0.2)
        started = time.monotonic()
        assert served.end() == 0
        assert time.monotonic() - started < 5
        assert (whole.answer().status_code, whole.answer().json()["error"]["code"]) == (503, "cancelled")
        events = [line for line in pieces.answer().text.splitlines() if line]
        assert json.loads(events[0].removeprefix("data: "))["choices"][0]["delta"]["content"] == "one "
        assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "cancelled"
    assert [line["error_kind"] for line in served.lines()] == ["cancelled", "cancelled"]
    assert "Traceback" not in served.said


def test_one_call_too_many_is_told_to_come_back_and_a_second_signal_cancels_at_once(opened):
    folder, text, _ = opened
    options = ("--max-calls", "1", "--grace-s", "60")
    with serving(folder, *options) as served, served.http() as client:
        asking = Asking(served, asking_for("#never x"))
        wait_for(lambda: text.received)
        reply = client.post("/chat/completions", json=asking_for("x"))
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
        assert reply.json()["error"]["code"] == "too_many_calls"
        assert client.get("/models").status_code == 200
        served.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert served.process.poll() is None
        assert served.end(signal.SIGINT, limit_s=8) == 0
        assert asking.answer().status_code == 503


def test_a_client_that_leaves_cancels_its_call(running):
    before = len(running.lines())
    running.slow.was_left.clear()
    with running.http() as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/chat/completions", json=asking_for("#never x"), timeout=0.3)
        with client.stream("POST", "/chat/completions", json=STREAM) as reply:
            assert next(reply.iter_lines()).startswith("data: ")
    assert [line["error_kind"] for line in running.new_lines(before, 2)] == ["cancelled", "cancelled"]
    assert running.slow.was_left.wait(5)  # the exchange with the provider ends too


def test_a_stream_that_breaks_ends_in_an_error_that_the_library_raises(running, sdk):
    before, endless = len(running.lines()), running.slow.play
    running.slow.play = Play([*endless.parts[:1], 0.05, "reset"])
    try:
        pieces = sdk.chat.completions.create(**STREAM)
        assert next(pieces).choices[0].delta.content == "one "
        with pytest.raises(openai.APIError, match="no candidate answered"):
            next(pieces)
        kinds = [event.type for event in sdk.responses.create(model="draft", input="x", stream=True)]
    finally:
        running.slow.play = endless
    assert kinds[-2:] == ["response.output_text.delta", "error"]
    assert {line["status"] for line in running.new_lines(before, 2)} == {"fail"}


IMPATIENT = """
import llmbench.serve.reading as reading
import llmbench.serve.server as server
reading.BODY_S = server._HEAD_S = server._TAKE_S = 0.4
"""


def test_a_connection_that_sends_no_request_or_takes_no_answer_is_ended(tmp_path):
    piece = json.dumps({"choices": [{"index": 0, "delta": {"content": "x" * 60_000}}]})
    flood = Play([f"data: {piece}\n\n".encode()] * 1000)
    opened = providers(tmp_path, flood)
    with opened as (folder, _, _), serving(folder, before=IMPATIENT) as served:
        address = ("127.0.0.1", httpx.URL(served.url).port)
        with socket.create_connection(address, timeout=10) as idle:
            idle.sendall(b"GET /v1/models HTTP/1.1\r\nHost: ")
            with contextlib.suppress(ConnectionResetError):
                assert idle.recv(10) == b""
        body = json.dumps(STREAM).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(address, timeout=10) as halting:
            halting.sendall(head.encode() + body[:5])
            assert halting.recv(100).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(address, timeout=10) as deaf:
            deaf.sendall(head.encode() + body)
            assert [line["error_kind"] for line in served.new_lines(0)] == ["cancelled"]
        assert served.end() == 0


def test_tls_is_served_and_a_token_that_is_made_up_is_told_once(opened, tmp_path):
    folder, _, _ = opened
    authority = Authority.create(tmp_path)
    authority.context("localhost")  # writes the key and the certificate to one file
    [file] = tmp_path.glob("localhost-*.pem")
    with serving(folder, "--tls-cert", str(file), "--tls-key", str(file), token=None) as served:
        token = served.token
        assert len(token) >= 40
        url = served.url.replace("https://127.0.0.1", "https://localhost")
        trust = ssl.create_default_context(cafile=str(authority.path))
        with httpx.Client(base_url=url, verify=trust, trust_env=False) as client:
            for given, status in ((token, 200), (TOKEN, 401)):
                headers = {"authorization": f"Bearer {given}"}
                assert client.get("/models", headers=headers).status_code == status
            client.post(
                "/chat/completions", json=asking_for("x"), headers={"authorization": f"Bearer {token}"}
            )
        served.end()
    assert served.said.count(token) == 1
    assert len(served.lines()) == 1
    assert token not in json.dumps(served.lines())


@pytest.mark.embedded
def test_an_embedded_model_answers_through_the_endpoint(tmp_path):
    skip_unless_here(SMOL)
    folder = write_folder(
        tmp_path / "configs",
        llm_router={
            "providers": {"embedded": {"managed": "embedded"}, "stub": provider("http://127.0.0.1:1/v1")}
        },
        llm_model_registry={"models": {"local": {"provider": "embedded", "model_name": SMOL}}},
        llm_tier_candidates={"tiers": {"cheap": ["local"], "standard": ["local"]}},
        llm_tier_mapping={"tasks": {"caption": "cheap"}},
    )
    with serving(folder) as served, served.sdk() as sdk:
        asked = {
            "model": "caption",
            "messages": [{"role": "user", "content": "Count: 1, 2,"}],
            "temperature": 0,
        }
        whole = sdk.chat.completions.create(**asked, max_tokens=24)
        pieces = sdk.chat.completions.create(**asked, max_tokens=24, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
        assert whole.choices[0].message.content == text != ""
        assert whole.usage.completion_tokens > 0
        assert served.end() == 0
