"""Answers of image providers that are none, addresses that nobody named, keys, and time that runs out."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import subprocess
import sys
import time
import zlib

import pytest
from PIL import Image as Pillow

from llmbench.catalog import BudgetLimits
from llmbench.errors import BudgetExceeded, ProviderError
from llmbench.media import Blob
from llmbench.providers.pictures import MOST_PIXELS, open_picture
from tests.conftest import CANARY
from tests.image_calls import ALL, WITH_ADDRESSES, WITH_WORDS, exhausted, log, open_images, painter  # noqa: F401 - fixtures are used by their names
from tests.media_calls import lines
from tests.servers.chat_server import ChatServer, Received, Step, failure
from tests.servers.image_answers import WORDS, base64_of, drawn, images_answer

# ---- answers that are none


@pytest.mark.parametrize("task", ALL)
@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ("moderation", "content_filter"),
        ("text", "no_media"),
        ("nothing", "no_media"),
        ("broken", "malformed"),
        ("garbled", "malformed"),
    ],
)
def test_an_answer_without_a_picture_is_a_typed_failure_with_one_line(open_images, log, task, outcome, kind):
    error = exhausted(open_images(), task, f"a cube #{outcome}")
    assert error.kind == kind
    (line,) = lines(log)
    assert (line["status"], line["error_kind"], line["media"]) == ("fail", kind, {"modality": "image"})
    assert len(line["attempts"]) == 1
    assert (error.exceptions[0].output == WORDS) == (outcome == "text" and task in WITH_WORDS)


def test_what_an_answer_without_a_picture_cost_is_counted(open_images, log):
    exhausted(open_images(), "chat", "a cube #text")
    (line,) = lines(log)
    assert (line["attempts"][0]["cost_usd"], line["wasted_cost_usd"]) == (0.01, 0.01)


def test_a_refusal_in_words_is_a_failure_and_no_empty_answer(open_images, painter):
    message = {"role": "assistant", "content": None, "refusal": "I cannot draw that."}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    painter.outcome = Step({"id": "g", "choices": choices, "usage": {}})
    error = exhausted(open_images(), "chat", "a cube")
    assert error.kind == "refusal"


@pytest.mark.parametrize("task", WITH_ADDRESSES)
def test_a_picture_behind_an_address_of_the_provider_is_read(open_images, task):
    assert open_images().generate(task, "a cube #url").image.data == drawn("a cube #url", 1024, 1024)


@pytest.mark.parametrize("task", WITH_ADDRESSES)
def test_an_address_where_nothing_is_ends_in_a_server_error(open_images, task):
    assert exhausted(open_images(), task, "a cube #gone").kind == "server_error"


@pytest.mark.parametrize(
    "address",
    [
        "https://elsewhere.example/a.png",
        "http://10.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:10.0.0.1]/a.png",
        "http://127.0.0.1:1@elsewhere.example/a.png",
        "http://elsewhere.example\\@127.0.0.1/a.png",
        "http://user:pass@127.0.0.1/a.png",
        "http://127.0.0.1:99999/a.png",
        "http://127.0.0.1:port/a.png",
        "http://127.0.0.1/a\u3042.png",
        "http://127.0.0.1/a b.png",
        "http://127.0.0.1/" + "a" * 20_000,
        "http://[::1/a.png",
        "https://",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a.png",
    ],
)
def test_an_address_that_nobody_named_is_never_asked(open_images, painter, address):
    painter.outcome = Step(images_answer([{"url": address}]))
    error = exhausted(open_images(a={}), "scene", "a cube")
    assert error.kind == "malformed"
    assert len(painter.received) == 1


def test_the_key_goes_to_the_provider_and_not_to_the_address_in_its_answer(open_images, painter):
    with ChatServer() as elsewhere:
        elsewhere.answer = lambda _: Step(drawn("x", 32, 32), headers={"content-type": "image/png"})
        painter.outcome = Step(images_answer([{"url": f"http://127.0.0.1:{elsewhere.port}/x.png"}]))
        assert open_images(a={}).generate("scene", "a cube").image.width == 32
    assert CANARY in painter.received[0].headers["authorization"]
    (asked,) = elsewhere.received
    assert (asked.method, CANARY in json.dumps(dict(asked.headers))) == ("GET", False)
    assert "authorization" not in asked.headers


def test_a_redirect_of_the_address_is_not_followed(open_images, painter):
    with ChatServer() as elsewhere:
        elsewhere.answer = lambda _: Step(b"", 302, {"location": "http://127.0.0.1:1/secret"})
        painter.outcome = Step(images_answer([{"url": f"http://127.0.0.1:{elsewhere.port}/x.png"}]))
        error = exhausted(open_images(a={}), "scene", "a cube")
        assert (error.kind, len(elsewhere.received)) == ("server_error", 1)


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""
    whole = io.BytesIO()
    Pillow.new("1", (8, 8)).save(whole, "PNG")
    data = bytearray(whole.getvalue())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def test_a_picture_that_claims_more_pixels_than_memory_has_is_refused_unopened(open_images, painter):
    painter.outcome = Step(images_answer([{"b64_json": base64_of(png_of(60_000, 60_000))}]))
    error = exhausted(open_images(a={}), "scene", "a cube")
    assert error.kind == "malformed"
    with pytest.raises(ProviderError, match=rf"over the limit of {MOST_PIXELS}|decompression bomb"):
        open_picture(Blob(png_of(20_000, 10_000)))


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", drawn("x", 64, 64)[:-100], b"%PDF-1.4"]
)
def test_what_cannot_be_read_to_its_last_pixel_is_malformed(data):
    with pytest.raises(ProviderError) as caught:
        open_picture(Blob(data, "image/png"))
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_the_type_is_told_by_the_bytes_whatever_the_provider_calls_them(image_format):
    image = open_picture(Blob(drawn("x", 64, 32, image_format=image_format), "image/gif"))
    suffix = {"jpeg": ".jpg"}.get(image_format, f".{image_format}")
    assert (image.mime, image.suffix, image.width, image.height) == (f"image/{image_format}", suffix, 64, 32)


# ---- keys, logs, time


def test_a_key_that_is_out_of_quota_rests_and_the_next_one_is_used(open_images, painter, log):
    variables = {"FIRST": "first-secret-value-1", "SECOND": "second-secret-value-2"}

    def answer(request: Received) -> Step:
        if "first" in request.headers["authorization"]:
            return failure(429, "insufficient_quota", f"no credit left for {variables['FIRST']}")
        return painter._by_path(request)

    painter.answer = answer
    client = open_images(variables, keys=["FIRST", "SECOND"], a={})
    responses = [client.generate("scene", "a cube", size="64x64") for _ in range(2)]
    used = [request.headers["authorization"].split()[1].split("-")[0] for request in painter.received]
    assert used == ["first", "second", "second"]
    assert [attempt.error_kind for attempt in responses[0].attempts] == ["quota", None]
    assert [len(response.attempts) for response in responses] == [2, 1]
    refused = lines(log)[0]["attempts"][0]
    assert (refused["error_kind"], refused["status_code"]) == ("quota", 429)
    assert re.search(r"key#\w{4} \(FIRST\) rests for 10 min, another key is next", refused["error"])
    assert not any(value in json.dumps(lines(log)) + str(responses) for value in variables.values())


def test_a_request_is_sent_once_with_each_key_at_most(open_images, painter):
    painter.outcome = failure(401, "invalid_api_key")
    keys = ("FIRST", "SECOND", "THIRD")
    variables = {name: f"{name.lower()}-secret-value" for name in keys}
    error = exhausted(open_images(variables, keys=keys, a={}), "scene", "a cube")
    assert [failed.kind for failed in error.exceptions] == ["auth"] * 3
    assert len({request.headers["authorization"] for request in painter.received}) == 3
    assert len(painter.received) == 3


def test_a_key_that_the_provider_repeats_is_in_no_error_and_no_line(open_images, painter, log):
    painter.outcome = failure(401, "invalid_api_key", f"Incorrect API key provided: {CANARY}")
    error = exhausted(open_images(a={}), "scene", "a cube")
    assert error.kind == "auth"
    assert CANARY not in json.dumps(lines(log)) + str(error) + repr(error.exceptions[0])


def test_prompt_and_result_are_logged_where_the_user_asks_for_it_alone(open_images, log):
    client = open_images({"LLM_ROUTER_LOG_CONTENT": "1"}, a={})
    client.generate("scene", f"a cube {CANARY}", size="64x64")
    (line,) = lines(log)
    assert "a cube" in json.dumps(line["messages"])
    assert line["output"] == "1 picture: image/png 64x64"
    assert CANARY not in json.dumps(line)


@pytest.mark.parametrize("task", ["openai", "workflow", "ticket", "gemini"])
def test_a_provider_that_does_not_answer_is_left_at_the_deadline(open_images, painter, log, task):
    painter.outcome = Step(fault="hang")
    client, started = open_images(), time.monotonic()
    assert exhausted(client, task, "a cube", timeout=0.4).kind == "timeout"
    assert time.monotonic() - started < 3
    assert lines(log)[0]["error_kind"] == "timeout"


def test_an_address_that_does_not_answer_is_left_at_the_deadline(open_images, painter):
    answer = painter.answer
    painter.answer = lambda request: Step(fault="hang") if request.method == "GET" else answer(request)
    client, started = open_images(), time.monotonic()
    assert exhausted(client, "openai", "a cube #url", timeout=0.4).kind == "timeout"
    assert time.monotonic() - started < 3


def test_a_ticket_that_is_never_ready_is_asked_for_until_the_deadline_and_no_longer(open_images, painter):
    painter.polls = 10**9
    client, started = open_images(), time.monotonic()
    assert exhausted(client, "ticket", "a cube", timeout=1).kind == "timeout"
    assert 0.9 < time.monotonic() - started < 3
    asked = len(painter.received)
    time.sleep(0.2)
    assert len(painter.received) == asked > 3


@pytest.mark.parametrize("end", ["/get_result", ".png"])
def test_a_picture_that_is_made_is_asked_for_again_after_a_passing_failure(open_images, painter, end):
    answer, missed = painter.answer, []

    def unsteady(request: Received) -> Step:
        if request.path.endswith(end) and len(missed) < 2:
            missed.append(request.path)
            return failure(503, retry_after="0")
        return answer(request)

    painter.answer = unsteady
    response = open_images().generate("ticket", "a cube #url")
    assert (len(response.images), len(missed)) == (1, 2)
    paths = [request.path.rpartition("/")[2] for request in painter.received]
    assert paths.count("kontext") == 1  # one job, which is paid for once
    with_key = [CANARY in request.headers.get("authorization", "") for request in painter.received]
    assert with_key == [request.method == "POST" for request in painter.received]


PAGE = Step(b"<html>one moment</html>", headers={"content-type": "text/html"})
BROKEN = [Step({"id": "t"}, fault=fault) for fault in ("reset", "close", "truncate")]
UNKNOWN = Step({"error": "no such task"}, 404)


def missing(painter, monkeypatch, step: Step, times: int) -> None:
    """Answer the first so many questions after a ticket with this step."""
    monkeypatch.setattr("llmbench.providers.media_send._MISSED_WAIT_S", 0.01)
    monkeypatch.setattr("llmbench.providers.workflow_images._FIRST_WAIT_S", 0.01)
    left, answer = [step] * times, painter.answer
    painter.answer = lambda request: (
        left.pop() if left and request.path.endswith("/get_result") else answer(request)
    )


def posts(painter, end: str) -> int:
    return sum(request.path.endswith(end) for request in painter.received)


@pytest.mark.parametrize("step", [*BROKEN, UNKNOWN, PAGE, Step(b"")], ids=str)
def test_a_ticket_outlives_a_broken_connection_a_404_and_a_page_of_a_gateway(
    open_images, painter, monkeypatch, step
):
    missing(painter, monkeypatch, step, 2)
    response = open_images().generate("ticket", "a cube")
    assert (len(response.images), len(response.attempts)) == (1, 1)
    assert (posts(painter, "/kontext"), posts(painter, "/get_result")) == (1, 4)


@pytest.mark.parametrize(
    ("step", "times", "kind"),
    [
        (BROKEN[0], 5, "connect"),
        (failure(503), 5, "server_error"),
        (UNKNOWN, 4, "server_error"),
        (PAGE, 4, "malformed"),
        (failure(401), 1, "auth"),
        (Step({"error": {"message": "it failed", "code": 502}}), 1, "server_error"),
    ],
)
def test_a_ticket_that_is_lost_is_asked_for_a_few_times_counts_as_paid_and_no_other_takes_its_place(
    open_images, painter, monkeypatch, step, times, kind
):
    missing(painter, monkeypatch, step, 100)
    ticket = {"provider": "p", "wire": "workflow", "model_name": "accounts/fireworks/models/kontext"}
    client = open_images(a={**ticket, "price": {"per_image": 0.04}})
    client.router._budgets.limits = BudgetLimits(run_usd=0.05)
    error = exhausted(client, "scene", "a cube")
    assert [(each.kind, each.status_code) for each in error.exceptions] == [(kind, 200)]
    assert (posts(painter, "/kontext"), posts(painter, "/get_result")) == (1, times)
    with pytest.raises(BudgetExceeded, match=r"what is left: \$0\.010000"):
        client.generate("scene", "a cube")


def test_a_ticket_that_asks_for_a_long_wait_does_not_outlast_the_deadline(open_images, painter):
    waiting = Step({"request_id": "t-1"}, headers={"retry-after": "600"})
    painter.outcome = waiting
    client, started = open_images(), time.monotonic()
    assert exhausted(client, "ticket", "a cube", timeout=0.4).kind == "timeout"
    assert time.monotonic() - started < 3


def test_a_cancelled_call_is_logged_as_cancelled(open_images, painter, log):
    painter.outcome = Step(fault="hang")
    client = open_images()

    async def give_up() -> None:
        async with client, asyncio.timeout(0.2):
            await client.agenerate("openai", "a cube")

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    (line,) = lines(log)
    assert (line["status"], line["error_kind"]) == ("fail", "cancelled")


INTERRUPTED = """
import sys
from llmbench import ImageClient
client = ImageClient(sys.argv[1], variables={"STUB_KEY": "x"}, log_path=sys.argv[2])
print("ready", flush=True)
try:
    client.generate("openai", "a cube")
except KeyboardInterrupt:
    print("interrupted", flush=True)
client.close()
"""


def test_ctrl_c_ends_a_call_and_leaves_its_line(open_images, painter, log):
    painter.outcome = Step(fault="hang")
    folder = open_images().config.folder
    command = [sys.executable, "-c", INTERRUPTED, str(folder), str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        give_up = time.monotonic() + 20
        while not painter.received and time.monotonic() < give_up:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        assert child.wait(20) == 0
    assert [line["error_kind"] for line in lines(log)] == ["cancelled"]


def test_a_picture_stands_in_a_notebook_with_its_facts_escaped(open_images):
    response = open_images(**{"a<b": {}}).generate("scene", "<script>", size="64x64")
    shown = response._repr_html_()
    assert "data:image/png;base64," in shown
    assert "a&lt;b" in shown
    assert "<script" not in shown
