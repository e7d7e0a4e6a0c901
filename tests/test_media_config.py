"""The media files: names are checked, and no text model is ever asked for a picture or a voice."""

from __future__ import annotations

import pytest

from llmbench import LLMClient
from llmbench.config import inspect_config, load_config
from llmbench.errors import RouteError

TEXT = {
    "llm_router": 'providers: {stub: {base_url: "http://127.0.0.1:1/v1"}}\n',
    "llm_model_registry": "models: {writer: {provider: stub, price: {input: 1, output: 1}}}\n",
    "llm_tier_candidates": "tiers: {standard: [writer], cheap: [writer]}\n",
    "llm_tier_mapping": "tasks: {caption: cheap}\n",
}
IMAGES = """\
providers:
  gemini: {}
models:
  painter:
    provider: gemini
    model_name: paint-1
    capabilities: {supports_aspect_ratio: true, supports_seed: false, max_batch_n: 4}
tiers:
  image: [painter]
tasks:
  thumbnail_image: {tier: image}
"""
SPEECH = """\
providers: {gemini: {}}
models: {voice: {provider: gemini, capabilities: {voices: Kore, sample_rates_hz: [24000]}}}
tiers: {speech: [voice]}
tasks: {narration: {tier: speech, models: [voice], allow_fallback: true, timeout: 60}}
"""
FILES = TEXT | {"image_models": IMAGES, "speech_models": SPEECH}


def test_media_files_become_a_part_of_their_own(write_configs):
    config = load_config(write_configs(**FILES))
    painter = config.media["image"].models["painter"]
    assert (painter.modality, painter.model_id) == ("image", "paint-1")
    facts = {"supports_aspect_ratio": True, "supports_seed": False, "max_batch_n": 4}
    assert painter.capabilities == facts  # what the file does not say is not there
    voice = config.media["speech"].models["voice"]
    assert (voice.model_id, voice.capabilities["voices"]) == ("voice", ["Kore"])
    task = config.media["speech"].tasks["narration"]
    assert (task.tier, task.models, task.allow_fallback, task.timeout_s) == ("speech", ("voice",), True, 60)
    assert set(config.models) == {"writer"}
    assert not config.media["image"].tasks["thumbnail_image"].allow_fallback


def test_an_overlay_lies_over_a_media_file(write_configs):
    folder = write_configs(**FILES)
    (folder / "image_models.local.yaml").write_text("models: {painter: {model_name: paint-2}}\n")
    assert load_config(folder).media["image"].models["painter"].model_id == "paint-2"


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "said"),
    [
        ("image_models", "provider: gemini", "provider: gemni", 5, "did you mean 'gemini'?"),
        ("image_models", "[painter]", "[paintr]", 9, "did you mean 'painter'?"),
        ("image_models", "[painter]", "[]", 9, "has no candidate"),
        ("image_models", "{tier: image}", "{tier: imag}", 11, "did you mean 'image'?"),
        ("image_models", "{tier: image}", "{tier: image, models: [writer]}", 11, "names model 'writer'"),
        ("image_models", "max_batch_n", "max_batch", 7, "did you mean 'max_batch_n'?"),
        ("image_models", "{supports_a", "{mode: speech, supports_a", 7, "it belongs in speech_models.yaml"),
        ("image_models", "  image: [painter]", "  cheap: [painter]", 9, "too; a tier holds one kind"),
        ("image_models", "  thumbnail_image", "  caption", 11, "stands in the text tasks too"),
        ("image_models", "  thumbnail_image", "  narration", 11, "stands in speech_models.yaml too"),
        ("speech_models", "{speech: [voice]}", "{image: [voice]}", 3, "stands in image_models.yaml too"),
        ("speech_models", "timeout: 60", "timeout: 0", 4, "greater than 0"),
    ],
)  # fmt: skip
def test_a_name_that_leads_nowhere_or_to_two_kinds_is_an_error(write_configs, file, old, new, line, said):
    assert FILES[file].count(old) == 1
    _, findings = inspect_config(write_configs(**FILES | {file: FILES[file].replace(old, new)}))
    found = [f for f in findings if said in f.message and (f.path, f.line) == (f"{file}.yaml", line)]
    assert found, [str(f) for f in findings]
    assert found[0].severity == "error"


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("thumbnail_image", {}, "belongs to the image tier 'image' of image_models.yaml"),
        ("thumbnail_image", {"models": ["writer"]}, "asks no text model for it"),
        ("thumbnail_image", {"tier": "cheap"}, "ask through the image client"),
        ("narration", {}, "belongs to the speech tier 'speech' of speech_models.yaml"),
        ("caption", {"tier": "image"}, "belongs to the image tier 'image'"),
    ],
)
def test_a_text_call_to_a_media_task_is_refused_and_no_model_is_asked(write_configs, task, options, said):
    with LLMClient(write_configs(**FILES)) as client, pytest.raises(RouteError, match=said):
        client.call(task, "draw a cat", **options)


def test_a_text_task_beside_the_media_files_is_routed_as_ever(write_configs):
    with LLMClient(write_configs(**FILES)) as client:
        assert client.explain("caption").candidates == ("writer",)
        assert client.explain("never_heard_of").tier == "standard"
