"""Pictures in files, whole or not at all; and the door that every task is asked through."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import threading
from pathlib import Path

import pytest
from PIL import Image as Pillow

from llmbench import (
    LLMClient,
    ParamError,
    RouteError,
    SpeechClient,
    UnsavedError,
)
from llmbench.media import Blob
from llmbench.providers.pictures import converted, open_picture
from tests.conftest import CANARY
from tests.image_calls import log, open_images, painter  # noqa: F401 - fixtures are used by their names
from tests.media_calls import KEYS, lines
from tests.servers.image_answers import drawn

# ---- files


def test_a_picture_is_written_with_a_record_of_how_it_was_made(open_images, tmp_path):
    client = open_images(a={"price": {"per_image": 0.04}, "capabilities": {"supports_seed": False}})
    out = tmp_path / "made" / "サムネ.png"
    response = client.generate("scene", "赤い立方体 <b>", out=out, size="64x64", seed=3)
    assert response.image.path == out
    assert out.read_bytes() == response.image.data
    record = json.loads(out.with_name(out.name + ".json").read_text(encoding="utf-8"))
    assert record["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    facts = {name: record[name] for name in ("task", "model", "model_id", "prompt", "cost_usd", "width")}
    assert facts == {
        "task": "scene",
        "model": "a",
        "model_id": "m-a",
        "prompt": "赤い立方体 <b>",
        "cost_usd": 0.04,
        "width": 64,
    }
    assert record["options"] == {"size": "64x64", "seed": 3}
    assert [change["param"] for change in record["adjustments"]] == ["seed"]
    assert sorted(path.name for path in out.parent.iterdir()) == ["サムネ.png", "サムネ.png.json"]
    assert CANARY not in json.dumps(record)


def test_several_pictures_are_numbered_and_an_older_file_is_replaced(open_images, tmp_path):
    out = tmp_path / "a.png"
    (tmp_path / "a-1.png").write_bytes(b"old")
    response = open_images(a={}).generate("scene", "a cube", n=2, out=out, size="64x64")
    assert [image.path.name for image in response.images] == ["a-1.png", "a-2.png"]
    assert (tmp_path / "a-1.png").read_bytes() == response.images[0].data
    assert json.loads((tmp_path / "a-2.png.json").read_text())["number"] == 2


@pytest.mark.parametrize("name", ["f/x.png", ".", "a" * 252 + ".png", "あ" * 90 + ".png", "a\0.png"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_paid_for(
    open_images, painter, tmp_path, name
):
    (tmp_path / "f").write_bytes(b"a file where a folder would be")
    with pytest.raises(ParamError, match="out: "):
        open_images(a={}).generate("scene", "a cube", out=tmp_path / name)
    assert painter.received == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_leave_to_write_is_refused_before_anything_is_paid_for(
    open_images, painter, tmp_path
):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(ParamError, match="is not writable"):
        open_images(a={}).generate("scene", "a cube", out=folder / "x.png")
    assert painter.received == []


def test_a_name_of_the_greatest_length_is_written(open_images, tmp_path):
    out = tmp_path / ("a" * (255 - len("-999.png.json")) + ".png")
    open_images(a={}).generate("scene", "a cube", out=out, size="64x64")
    assert out.is_file()


def test_a_full_disk_leaves_no_half_file_and_the_older_one_whole(open_images, log, tmp_path, monkeypatch):
    out = tmp_path / "made" / "a.png"
    client = open_images(a={"price": {"per_image": 0.04}})
    client.generate("scene", "a cube", out=out, size="64x64")
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    whole = Path.write_bytes

    def full_disk(self: Path, data: bytes) -> int:
        whole(self, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(UnsavedError, match="cannot be written: No space left on device") as caught:
        client.generate("scene", "another", out=out, size="64x64")
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before
    last = lines(log)[-1]
    assert (last["status"], last["wasted_cost_usd"]) == ("fail", 0.04)
    assert [attempt["cost_usd"] for attempt in last["attempts"]] == [0.04]
    response = pickle.loads(pickle.dumps(caught.value)).response  # noqa: S301 -- our own bytes
    assert (response.image.path, response.cost_usd) == (None, 0.04)
    assert response.image.data == drawn("another", 64, 64)


def test_a_picture_that_cannot_be_written_keeps_the_others_and_their_files(
    open_images, tmp_path, monkeypatch
):
    whole = Path.write_bytes
    picture = drawn("a cube", 64, 64)

    def first_fails(self: Path, data: bytes) -> int:
        if data == picture:
            raise OSError(5, "Input/output error")
        return whole(self, data)

    monkeypatch.setattr(Path, "write_bytes", first_fails)
    with pytest.raises(UnsavedError, match=r"a-1\.png cannot be written: Input/output error") as caught:
        open_images(a={}).generate("scene", "a cube", n=2, size="64x64", out=tmp_path / "a.png")
    images = caught.value.response.images
    assert [image.path for image in images] == [None, tmp_path / "a-2.png"]
    assert (images[0].data, images[1].path.read_bytes()) == (picture, images[1].data)


def test_threads_that_write_one_file_leave_one_of_their_pictures_whole(open_images, tmp_path):
    client, out = open_images(a={}), tmp_path / "made" / "a.png"
    threads = [
        threading.Thread(target=client.generate, args=("scene", f"{n}"), kwargs={"out": out, "size": "64x64"})
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert out.read_bytes() in [drawn(f"{n}", 64, 64) for n in range(6)]
    assert len(list(out.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("task", "name", "options", "form"),
    [
        ("gemini", "a.jpg", {}, "jpeg"),
        ("gemini", "a.webp", {}, "webp"),
        ("gemini", "a", {"format": "webp"}, "webp"),
        ("openai", "a.JPEG", {}, "jpeg"),
        ("openai", "a.gif", {"format": "webp"}, "webp"),
        ("openai", "a.png", {}, "png"),
        ("openai", "a", {}, "png"),
    ],
)
def test_a_picture_has_the_form_of_its_option_or_of_its_files_name(
    open_images, painter, tmp_path, task, name, options, form
):
    response = open_images().generate(task, "a cube", out=tmp_path / name, **options)
    with Pillow.open(tmp_path / name) as picture:
        assert (picture.format, picture.size) == (form.upper(), (1024, 1024))
    assert response.image.mime == f"image/{form}"
    is_made_here = task == "gemini" or not options
    told = [change.param for change in response.adjustments]
    assert told == (["format"] if form != "png" and is_made_here else [])
    sent = {"output_format": options["format"]} if options and task == "openai" else {}
    assert {key: value for key, value in painter.bodies()[0].items() if key == "output_format"} == sent


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (
            "a.gif",
            {},
            r"by the ending '\.gif'; use \.png, \.jpg, \.jpeg or \.webp, or say which form with format=",
        ),
        ("a.tiff", {}, r"by the ending '\.tiff'"),
        ("a.png", {"format": "jpeg"}, r"\.png is a name for png and format is 'jpeg'; leave one of them out"),
        ("a.jpg", {"format": "webp"}, r"\.jpg is a name for jpeg"),
    ],
)
def test_a_name_that_contradicts_the_form_or_says_none_is_refused_before_it_costs(
    open_images, painter, tmp_path, name, options, said
):
    with pytest.raises(ParamError, match=said):
        open_images().generate("openai", "a cube", out=tmp_path / name, **options)
    assert (painter.bodies(), list(tmp_path.glob("a.*"))) == ([], [])


def test_a_transparent_picture_is_put_on_white_where_the_form_has_no_transparency():
    made = io.BytesIO()
    Pillow.new("RGBA", (8, 8), (255, 0, 0, 0)).save(made, "PNG")
    image, refusal = converted(open_picture(Blob(made.getvalue()), seed=3), "jpeg")
    assert refusal == ""
    assert (image.mime, image.seed, image.width) == ("image/jpeg", 3, 8)
    with Pillow.open(io.BytesIO(image.data)) as picture:
        assert picture.getpixel((4, 4)) == (255, 255, 255)
    assert converted(image, None) == converted(image, "jpeg") == (image, "")


# ---- the right door


def test_every_door_names_the_right_one_for_a_task_of_another_kind(open_images):
    client = open_images(a={})
    folder = client.config.folder
    with pytest.raises(
        RouteError, match=r"'caption' is of the kind text, not image; ask through LLMClient\.call"
    ):
        client.generate("caption", "x")
    with pytest.raises(RouteError, match=r"kind speech, not image; ask through SpeechClient\.synthesize"):
        client.generate("narration", "x")
    with pytest.raises(RouteError, match=r"unknown image task 'scne'; did you mean 'scene'\?"):
        client.generate("scne", "x")
    with LLMClient(folder, variables=KEYS) as text, pytest.raises(RouteError, match=r"ImageClient\.generate"):
        text.call("scene", "x")
    with (
        SpeechClient(folder, variables=KEYS) as speech,
        pytest.raises(RouteError, match=r"'scene' is of the kind image, not speech; ask through ImageClient"),
    ):
        speech.synthesize("scene", "x")
