"""The steps from a first reply to a picture: addresses to read it from, tickets to ask for it. All pure."""

from __future__ import annotations

import pytest

from llmbench.errors import ProviderError
from llmbench.media import Blob
from llmbench.providers.base import HttpReply
from llmbench.providers.media_wire import Step
from tests.image_replies import B64, CHAT, DATA, FAR, IMAGES, PNG, WORKFLOW, picture, reply
from tests.servers.image_answers import chat_images_answer, images_answer, result, ticket

# ---- pictures behind addresses


def test_every_picture_behind_an_address_is_read_in_order():
    first = reply(images_answer([{"url": FAR}, {"b64_json": B64}, {"url": FAR + "?2"}]))
    assert IMAGES.next_step(first, {}) == Step(FAR, then=(FAR + "?2",))
    third = picture(b"two", first, picture(b"one"), mime="image/jpeg; q=1")
    assert IMAGES.next_step(third, {}) is None
    blobs = IMAGES.parse(third, {}).media
    assert [(blob.data, blob.mime) for blob in blobs] == [
        (b"one", "image/png"),
        (PNG, None),
        (b"two", "image/jpeg"),
    ]


@pytest.mark.parametrize(
    ("wire", "first"),
    [
        (IMAGES, images_answer([{"url": FAR}, {"url": FAR}])),
        (CHAT, chat_images_answer([FAR, FAR])),
        (WORKFLOW, result("t", "Ready", FAR)),
    ],
)
@pytest.mark.parametrize(("status", "body"), [(404, b"gone"), (200, b"")])
def test_a_picture_that_its_address_does_not_have_ends_the_exchange(wire, first, status, body):
    missing = reply(body, status, reply(first))
    assert wire.next_step(missing, {}) is None
    with pytest.raises(ProviderError, match="cannot be read from the address") as caught:
        wire.parse(missing, {})
    assert caught.value.kind == "server_error"


# ---- workflows


def test_one_picture_that_does_not_come_leaves_its_place_empty_and_keeps_the_others():
    first = reply(images_answer([{"url": FAR}, {"b64_json": "%%%"}, {"b64_json": B64}, {"url": FAR}]))
    last = picture(b"four", first, reply(b"gone", 404))
    assert IMAGES.next_step(last, {}) is None
    assert [blob.data for blob in IMAGES.parse(last, {}).media] == [b"", b"", PNG, b"four"]


def test_a_ticket_is_asked_for_with_growing_waits_until_it_is_ready():
    replies: list[HttpReply] = []
    waits = []
    for payload in (ticket("t-1"), *[result("t-1", "Pending")] * 8):
        answer = reply(payload, 200, *replies)
        step = WORKFLOW.next_step(answer, {})
        assert step is not None
        assert (step.url, step.body) == ("./get_result", {"id": "t-1"})
        waits.append(step.wait_s)
        replies.append(reply(payload))
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (0.5, 5.0)
    ready = reply(result("t-1", "Ready", DATA, seed=9), 200, *replies)
    assert WORKFLOW.next_step(ready, {}) is None
    read = WORKFLOW.parse(ready, {})
    assert (read.media, read.seeds, read.request_id) == ((Blob(PNG, "image/png"),), (9,), "t-1")


def test_the_wait_that_the_host_asks_for_counts():
    step = WORKFLOW.next_step(reply(ticket("t-1"), retry_after="2"), {})
    assert step is not None
    assert step.wait_s == 2.0


def test_a_new_ticket_that_is_not_known_yet_is_asked_for_again_and_then_given_up():
    unknown = result("t-1", "Task not found")
    replies = [reply(ticket("t-1"))]
    for _ in range(3):
        answer = reply(unknown, 200, *replies)
        assert WORKFLOW.next_step(answer, {}) is not None
        replies.append(reply(unknown))
    last = reply(unknown, 200, *replies)
    assert WORKFLOW.next_step(last, {}) is None
    problem = WORKFLOW.parse(last, {}).problem
    assert problem is not None
    assert (problem.kind, str(problem)) == ("server_error", "the workflow failed (task not found)")


def test_a_workflow_that_failed_is_a_server_error():
    failed = reply(result("t-1", "Error"), 200, reply(ticket("t-1")))
    assert WORKFLOW.next_step(failed, {}) is None
    problem = WORKFLOW.parse(failed, {}).problem
    assert problem is not None
    assert problem.kind == "server_error"


@pytest.mark.parametrize("sample", [DATA, B64])
def test_a_result_is_read_as_a_data_address_or_as_base64(sample):
    ready = reply(result("t-1", "Ready", sample), 200, reply(ticket("t-1")))
    assert WORKFLOW.parse(ready, {}).media[0].data == PNG


def test_a_result_that_is_an_address_is_read_from_there_without_waiting():
    asked = reply(ticket("t-1"))
    ready = reply(result("t-1", "Ready", FAR), 200, asked)
    assert WORKFLOW.next_step(ready, {}) == Step(FAR)
    loaded = picture(PNG, asked, reply(result("t-1", "Ready", FAR)))
    assert WORKFLOW.next_step(loaded, {}) is None
    assert WORKFLOW.parse(loaded, {}).media == (Blob(PNG, "image/png"),)


def test_a_picture_sent_as_bytes_is_the_answer_with_what_its_headers_say():
    raw = reply(PNG, content_type="image/jpeg", seed="7", finish_reason="SUCCESS")
    assert WORKFLOW.next_step(raw, {}) is None
    read = WORKFLOW.parse(raw, {})
    assert (read.media, read.seeds, read.problem) == ((Blob(PNG, "image/jpeg"),), (7,), None)
    blurred = reply(PNG, content_type="image/jpeg", finish_reason="CONTENT_FILTERED")
    problem = WORKFLOW.parse(blurred, {}).problem
    assert problem is not None
    assert problem.kind == "content_filter"


def test_a_pending_job_without_a_ticket_is_malformed():
    with pytest.raises(ProviderError, match="request_id"):
        WORKFLOW.next_step(reply({"status": "Pending"}), {})
