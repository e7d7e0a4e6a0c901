"""`llmbench check` of the media files: options of one place that exclude each other end every call."""

from __future__ import annotations

import pytest

from llmbench.check import check_folder
from tests.test_check import GOOD, TODAY


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            "{size: 1024x1024, aspect_ratio: '16:9'}",
            "size 1024x1024 and aspect_ratio 16:9 contradict each other",
        ),
        (
            "{image_size: 1024x1024, ratio: '16:9'}",
            "size 1024x1024 and aspect_ratio 16:9 contradict each other",
        ),
        ("{size: 1024x1024, image_size: 2K}", "size is given twice (once as image_size)"),
        ("{size: 1024x1024, aspect_ratio: '1:1'}", None),
        ("{size: 2K, aspect_ratio: '16:9'}", None),
        ("{size: 1024x1024, aspect_ratio: null}", None),
    ],
)
@pytest.mark.parametrize("place", ["task", "model", "profile"])
def test_picture_options_of_one_place_that_exclude_each_other_are_told(write_configs, place, options, said):
    given = dict.fromkeys(("task", "model", "profile"), "{}") | {place: options}
    media = f"""\
providers: {{host: {{base_url: "http://127.0.0.1:1/v1"}}}}
models:
  pic: {{provider: host, price: {{per_image: 1}}, defaults: {given["model"]}}}
tiers: {{pictures: [pic]}}
tasks:
  scene: {{tier: pictures, options: {given["task"]}}}
profiles: {{draft: {{tasks: {{scene: {{options: {given["profile"]}}}}}}}}}
"""
    folder = write_configs(**GOOD, image_models=media)
    found = [str(each) for each in check_folder(folder, variables={}, today=TODAY)]
    errors = [line for line in found if "error" in line]
    line = {"model": 3, "task": 6, "profile": 7}[place]
    assert errors == [] if said is None else errors[0].startswith(f"image_models.yaml:{line}: error: {said}")
    assert len(errors) <= 1


@pytest.mark.parametrize("place", ["task", "model"])
def test_a_voice_beside_speakers_in_one_place_is_told(write_configs, place):
    both = "{voice: ann, speakers: {Tom: ann, Eve: bob}}"
    given = {"task": "{}", "model": "{voice: ann}"} | {place: both}
    media = f"""\
providers: {{host: {{base_url: "http://127.0.0.1:1/v1"}}}}
models:
  loud: {{provider: host, price: {{per_minute: 1}}, defaults: {given["model"]}}}
tiers: {{voices: [loud]}}
tasks:
  read: {{tier: voices, options: {given["task"]}}}
  talk: {{tier: voices, options: {{speakers: {{Tom: ann, Eve: bob}}}}}}   # over the model's own voice
"""
    folder = write_configs(**GOOD, speech_models=media)
    found = [str(each) for each in check_folder(folder, variables={}, today=TODAY)]
    (said,) = [line for line in found if "error" in line]
    line = {"model": 3, "task": 6}[place]
    assert said.startswith(f"speech_models.yaml:{line}: error: give voice for one speaker or speakers for")
