"""Pictures, speech and the list of models of `llmbench serve`, asked by the official library."""

from __future__ import annotations

import base64
import io
import json

import openai
import pytest

from tests.conftest import CANARY
from tests.serve_process import running, sdk  # noqa: F401 - fixtures are used by their names
from tests.servers.speech_provider import SAMPLES_A_CHARACTER


def test_pictures_come_in_base64_with_what_the_router_knows(running, sdk):
    from PIL import Image

    before = len(running.lines())
    reply = sdk.images.generate(
        model="thumbnail_image", prompt="a port at dawn", n=2, size="1024x1024", quality="auto"
    )
    pictures = [Image.open(io.BytesIO(base64.b64decode(each.b64_json))) for each in reply.data]
    assert [picture.format for picture in pictures] == ["PNG", "PNG"]
    assert (reply.llmbench["task"], reply.llmbench["model_id"]) == ("thumbnail_image", "m-p")
    [line] = running.new_lines(before)
    assert line["call_id"] == reply.llmbench["call_id"]
    assert sdk.images.generate(model="tier:image", prompt="x").llmbench["tier"] == "image"


def test_a_picture_that_was_blocked_is_an_error_of_its_kind(sdk):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.images.generate(model="thumbnail_image", prompt="#moderation")
    assert caught.value.code == "content_filter"


def test_no_request_names_a_file_to_read_or_to_write(sdk):
    for field in ("out", "references", "path"):
        with pytest.raises(openai.BadRequestError, match="unknown parameter"):
            sdk.images.generate(model="thumbnail_image", prompt="x", extra_body={field: "somewhere.png"})


@pytest.mark.parametrize(
    ("form", "magic"), [("wav", b"RIFF"), ("mp3", b""), ("opus", b"OggS"), ("flac", b"fLaC"), ("aac", b"")]
)
def test_speech_comes_in_the_format_that_was_asked_for(running, sdk, form, magic):
    before = len(running.lines())
    reply = sdk.audio.speech.create(model="narration", input="Good morning.", voice="x", response_format=form)
    assert reply.content.startswith(magic)
    assert len(reply.content) > 500
    assert reply.response.headers["content-type"].startswith("audio/")
    facts = json.loads(reply.response.headers["x-llmbench"])
    [line] = running.new_lines(before)
    assert (facts["call_id"], facts["model"]) == (line["call_id"], "v")


def test_raw_samples_have_no_header(sdk):
    text = "Good morning."
    reply = sdk.audio.speech.create(model="speech", input=text, voice="default", response_format="pcm")
    assert reply.response.headers["content-type"] == "audio/pcm"
    assert len(reply.content) == 2 * SAMPLES_A_CHARACTER * len(text)


def test_a_name_of_another_kind_is_told_its_path(sdk):
    with pytest.raises(openai.BadRequestError, match="images/generations"):
        sdk.chat.completions.create(model="thumbnail_image", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="chat/completions"):
        sdk.images.generate(model="caption", prompt="x")


def test_models_are_the_tasks_and_tiers_and_say_whether_they_can_be_reached(sdk):
    listed = {model.id: model for model in sdk.models.list()}
    assert list(listed) == [
        *("caption", "draft", "unreachable", "thumbnail_image", "narration"),
        *("tier:cheap", "tier:far", "tier:slow", "tier:standard", "tier:image", "tier:speech"),
    ]
    assert {model.owned_by for model in listed.values()} == {"llmbench"}
    assert listed["caption"].llmbench == {
        "kind": "task", "modality": "text", "tier": "cheap", "candidates": ["a", "b"], "reachable": True,
    }  # fmt: skip
    assert listed["tier:image"].llmbench["modality"] == "image"
    far = listed["unreachable"].llmbench
    assert (far["reachable"], far["candidates"]) == (False, [])
    assert "NO_SUCH_KEY" in far["reason"]


def test_one_model_is_found_by_each_of_its_names(sdk):
    for name in ("tier:cheap", "cheap"):
        assert sdk.models.retrieve(name).id == "tier:cheap"
    assert sdk.models.retrieve("caption").llmbench["kind"] == "task"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("nothing/of/this")


def test_no_answer_holds_a_key(running):
    with running.http() as client:
        texts = [client.get("/models").text, client.get("/models/caption").text]
    assert not any(CANARY in text for text in texts)
