"""What `llmbench serve` says to requests that are wrong, forged or meant to hurt."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmbench.errors import ParamError
from llmbench.serve import reading
from llmbench.serve.chat import read_chat
from llmbench.serve.gate import names_this_machine
from llmbench.serve.media import read_image, read_speech
from llmbench.serve.problems import Problem, problem_of, shown
from llmbench.serve.responses_request import read_response
from tests.conftest import CANARY
from tests.hostile_strings import HOSTILE
from tests.serve_process import TOKEN, running  # noqa: F401 - fixtures are used by their names

JSON_HEADER = {"content-type": "application/json"}
GOOD = {"model": "caption", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture
def http(running):
    with running.http() as client:
        yield client


def error_of(reply, status):
    """The error of an answer, which has OpenAI's shape."""
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in reply.text
    assert CANARY not in reply.text
    return error


@pytest.mark.parametrize("given", [None, "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "-"])
def test_a_request_without_the_token_is_401(running, given):
    before = len(running.text.received)
    with running.http(given) as client:
        for reply in (client.get("/models"), client.post("/chat/completions", json=GOOD)):
            assert error_of(reply, 401)["code"] == "auth"
            assert reply.headers["www-authenticate"] == "Bearer"
    assert len(running.text.received) == before


def test_the_token_counts_as_a_bearer_token_and_once(http, running):
    for value in (f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}, Bearer {TOKEN}"):
        error_of(http.get("/models", headers={"authorization": value}), 401)
    twice = [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer x")]
    error_of(httpx.get(f"{running.url}/models", headers=twice, trust_env=False), 401)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8700", "127.0.0.1.evil.example", "10.0.0.1", ""]
)
def test_another_name_than_this_machines_is_refused_before_the_token(running, host):
    with running.http() as client:
        assert error_of(client.get("/models", headers={"host": host}), 403)["code"] == "host_refused"


def test_this_machine_has_several_names():
    hosts = ("127.0.0.1", "127.0.0.1:8700", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8700", "127.3.2.1:80")
    assert all(names_this_machine(host.encode()) for host in hosts)
    for host in ("localhost:x", "::1:evil", "[::1", "127.0.0.1@evil", "\xff", "localhost.evil"):
        assert not names_this_machine(host.encode("latin-1"))


def test_health_needs_no_token_and_says_nothing(running):
    with running.http(None) as client:
        reply = client.get(running.url.removesuffix("/v1") + "/healthz")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


def test_no_page_of_another_origin_may_read_an_answer(http):
    reply = http.options("/chat/completions", headers={"origin": "https://evil.example"})
    assert reply.status_code == 405
    assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/embeddings", "/completions", "/", "/chat", "/chat/completions/"])
def test_a_path_that_is_not_there_says_what_is(http, path):
    assert "/v1/chat/completions" in error_of(http.post(path, json=GOOD), 404)["message"]


def test_another_method_is_405(http):
    assert error_of(http.get("/chat/completions"), 405)["code"] == "bad_request"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'"x"', b"null", b'{"model": NaN}', b'{"model": 1e999}', b"\xff\xfe\xfa",
        b'{"model": "\xc3\x28"}', b"[" * 100_000, b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b'{"a":' * 200 + b"1" + b"}" * 200, b'{"n": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_400(http, body):
    headers = {"content-type": "application/json"}
    error_of(http.post("/chat/completions", content=body, headers=headers), 400)


def test_a_schema_that_is_nested_too_deeply_is_refused_before_anybody_reads_it(http):
    schema = {"type": "object"}
    for _ in range(100):
        schema = {"type": "object", "properties": {"a": schema}}
    form = {"type": "json_schema", "json_schema": {"name": "deep", "schema": schema}}
    error = error_of(http.post("/chat/completions", json={**GOOD, "response_format": form}), 400)
    assert "nested deeper than 60 levels" in error["message"]


def test_hostile_texts_pass_through_as_texts_and_open_nothing(http, running):
    before, sent = len(running.lines()), 0
    for start in range(0, len(HOSTILE), 12):
        texts = HOSTILE[start : start + 12]
        named = [text for text in texts if text.strip() and len(text) <= reading.MOST_NAME]
        own = dict(zip(("run_id", "channel", "env", "routing_key"), named, strict=False))
        said = "- " + "\n".join(texts)
        body = {"model": "caption", "messages": [{"role": "user", "content": said}], "llmbench": own}
        reply = http.post("/chat/completions", content=json.dumps(body), headers=JSON_HEADER)
        assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json"), texts
        assert reply.json()["choices"][0]["message"]["content"] == f"you said {said}"
        sent += 1
        error = http.post(
            "/chat/completions", content=json.dumps({**GOOD, "model": texts[0]}), headers=JSON_HEADER
        )
        assert error.status_code in (400, 404), texts
    assert len(running.new_lines(before, sent)) == sent
    assert len(HOSTILE) >= 500


def test_a_body_must_say_that_it_is_json(http):
    body = json.dumps(GOOD)
    error_of(http.post("/chat/completions", content=body, headers={"content-type": "text/plain"}), 415)
    error_of(http.post("/chat/completions", json=GOOD, headers={"content-encoding": "gzip"}), 415)


def test_a_large_body_is_413_whether_it_says_so_or_not(http):
    body = json.dumps({**GOOD, "user": "x" * 2**21}).encode()
    headers = {"content-type": "application/json"}
    error_of(http.post("/chat/completions", content=body, headers=headers), 413)
    chunks = (body[at : at + 65536] for at in range(0, len(body), 65536))
    error_of(http.post("/chat/completions", content=chunks, headers=headers), 413)


def test_a_large_header_is_refused(running):
    with running.http() as client:
        assert client.get("/models", headers={"x-large": "x" * 200_000}).status_code == 400


def test_what_is_no_http_has_an_error_of_the_same_shape(running):
    port = int(running.url.split(":")[2].removesuffix("/v1"))
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        said = plain.recv(65536)
        while chunk := plain.recv(65536):
            said += chunk
    assert said.startswith(b"HTTP/1.1 400")
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["code"] == "bad_request"


def test_a_slow_client_holds_nobody_up(running, http):
    port = int(running.url.split(":")[2].removesuffix("/v1"))
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    try:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        for number, plain in enumerate(slow):
            rest = "Content-Type: application/json\r\nContent-Length: 999\r\n\r\n{" if number % 2 else ""
            plain.sendall((head + rest).encode())
        started = time.monotonic()
        assert http.post("/chat/completions", json=GOOD).status_code == 200
        assert time.monotonic() - started < 3
    finally:
        for plain in slow:
            plain.close()


def test_a_plain_http_client_is_answered_and_its_connection_kept(running):
    port = int(running.url.split(":")[2].removesuffix("/v1"))
    body = json.dumps(GOOD).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: bearer {TOKEN}\r\n"
        f"Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as plain, plain.makefile("rb") as arriving:
        for _ in range(2):
            plain.sendall(head.encode())
            plain.sendall(body)
            assert arriving.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while (line := arriving.readline()) != b"\r\n":
                name, _, value = line.decode().partition(":")
                length = int(value) if name.lower() == "content-length" else length
            answer = json.loads(arriving.read(length))
            assert answer["choices"][0]["message"]["content"] == "you said x"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"temprature": 1}, "temprature"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{}]}, "functions"),
        ({"store": True}, "store"),
        ({"llmbench": {"chanel": "x"}}, "llmbench.chanel"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_a_parameter_that_would_be_lost_is_refused_by_name(http, running, more, param):
    before = len(running.text.received)
    error = error_of(http.post("/chat/completions", json={**GOOD, **more}), 400)
    assert error["param"] == param
    assert len(running.text.received) == before


def test_a_slip_is_told_what_was_meant(http):
    error = error_of(http.post("/chat/completions", json={**GOOD, "temprature": 1}), 400)
    assert (error["code"], "did you mean 'temperature'?" in error["message"]) == ("unsupported_param", True)
    error = error_of(http.post("/chat/completions", json={**GOOD, "model": "captoin"}), 404)
    assert (error["code"], "did you mean 'caption'?" in error["message"]) == ("model_not_found", True)


@pytest.mark.parametrize(
    "more",
    [
        {"model": 5}, {"model": None}, {"model": ["caption"]}, {"messages": "x"}, {"messages": []},
        {"messages": [5]}, {"messages": [{"role": "king", "content": "x"}]}, {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": 5}]}, {"messages": [{"role": "user", "content": [5]}]},
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "file:///etc/passwd"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}]},
        {"messages": [{"role": "tool", "content": "x"}]}, {"messages": [{"role": ["user"], "content": "x"}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": 1}]}]},
        {"stream": "yes"}, {"temperature": "hot"}, {"max_tokens": 0},
        {"max_tokens": 1, "max_completion_tokens": 2},
        {"stop": [5]}, {"seed": 1.5}, {"tools": [{"type": "web"}]}, {"tools": "x"}, {"tool_choice": {"a": 1}},
        {"response_format": "json"}, {"response_format": {"type": "json_schema"}}, {"reasoning_effort": 5},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 5}}}},
        {"llmbench": []}, {"llmbench": {"strict": 1}}, {"llmbench": {"deadline_s": -1}},
        {"llmbench": {"budget_usd": True}}, {"llmbench": {"models": [5]}}, {"llmbench": {"extra_body": 5}},
        {"llmbench": {"extra_body": {"model": "other"}}}, {"llmbench": {"extra_body": {"store": True}}},
        {"temperature": 10**400}, {"top_p": 10**400}, {"max_tokens": 10**400}, {"seed": 10**400},
        {"temperature": -3}, {"temperature": 1e308}, {"top_p": 1.5}, {"presence_penalty": 3},
        {"llmbench": {"deadline_s": 10**400}}, {"llmbench": {"budget_usd": 10**400}},
        {"response_format": {"type": "xml"}},
        {"user": 5}, {"stream": True, "stream_options": 5},
    ],
    ids=lambda more: json.dumps(more)[:60],
)  # fmt: skip
def test_a_wrong_type_is_400_and_costs_nothing(http, running, more):
    before = len(running.text.received)
    error_of(http.post("/chat/completions", json={**GOOD, **more}), 400)
    assert len(running.text.received) == before


@pytest.mark.parametrize("name", ["channel", "env", "tier", "models", "run_id", "routing_key"])
def test_a_name_has_at_most_200_characters(http, name):
    error = error_of(http.post("/chat/completions", json={**GOOD, "llmbench": {name: "x" * 201}}), 400)
    assert error["param"] == f"llmbench.{name}"
    assert len(error["message"]) < 300


def test_a_task_and_a_user_are_names_too(http):
    long = {"model": "x" * 201, "llmbench": {"models": ["a"]}}
    assert error_of(http.post("/chat/completions", json={**GOOD, **long}), 400)["param"] == "model"
    error = error_of(http.post("/chat/completions", json={**GOOD, "user": "x" * 201}), 400)
    assert (error["param"], "at most 200 characters" in error["message"]) == ("user", True)
    assert http.post("/chat/completions", json={**GOOD, "user": "x" * 200}).status_code == 200


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (
            {"messages": [{"role": "user", "content": "word " * 200}]},
            "context_length",
            "small: about 250 tokens do not fit its context of 100",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}]},
            "unsupported_param",
            "small: cannot use tools",
        ),
    ],
    ids=["length", "tools"],
)
def test_what_a_call_asks_too_much_is_told_and_not_the_keys_that_are_missing_here(http, more, code, said):
    body = {**GOOD, **more, "llmbench": {"models": ["small", "keyless"]}}
    error = error_of(http.post("/chat/completions", json=body), 400)
    assert error["code"] == code
    assert said in error["message"]
    assert "NO_SUCH_KEY" not in error["message"]


def test_two_lengths_of_one_body_are_refused(http):
    headers = {**JSON_HEADER, "content-length": "5", "transfer-encoding": "chunked"}
    reply = http.post("/chat/completions", content=json.dumps(GOOD), headers=headers)
    assert "not both" in error_of(reply, 400)["message"]
    assert reply.headers["connection"] == "close"


def test_half_a_surrogate_pair_goes_through_in_both_directions(http):
    body = b'{"model": "caption", "messages": [{"role": "user", "content": "\\ud800 x"}]}'
    reply = http.post("/chat/completions", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 200
    assert "\\ud800 x" in reply.text


def test_paths_of_this_machine_are_not_told(tmp_path):
    told = shown(f"cannot read {tmp_path}/secret/key.pem: POST /v1/chat/completions of accounts/x/models/y")
    assert told == "cannot read (a path): POST /v1/chat/completions of accounts/x/models/y"
    assert "(a path)" in str(problem_of(ParamError(f"no file {tmp_path}/a")))
    assert len(shown("x" * 10_000)) < 2100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = (
    *("model", "messages", "input", "prompt", "voice", "stream", "stream_options", "tools", "tool_choice"),
    *("response_format", "text", "reasoning", "llmbench", "user", "n", "size", "temperature", "max_tokens"),
    *("logit_bias", "modalities", "instructions", "stop", "speed", "reasoning_effort", "store"),
)


def refusal_of(read, value):
    """The status that a value is refused with; None where it is taken. Any other error fails the test."""
    try:
        read(value)
    except Problem as problem:
        return problem.status
    return None


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6))
def test_no_body_makes_a_reader_fail_otherwise_than_by_a_problem(body):
    for read in (read_chat, read_response, read_image, read_speech):
        assert refusal_of(read, body) in (None, 400)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(NAMES), JSON)
def test_no_value_makes_the_server_fail(http, name, value):
    reply = http.post("/chat/completions", content=json.dumps({**GOOD, name: value}).encode(),
                      headers={"content-type": "application/json"})  # fmt: skip
    assert reply.status_code < 500, reply.text


@settings(max_examples=100)
@given(st.binary(max_size=80))
def test_no_bytes_make_the_parser_fail_otherwise_than_by_a_problem(raw):
    assert refusal_of(reading.parsed, raw) in (None, 400)
