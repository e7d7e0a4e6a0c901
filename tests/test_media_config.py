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
PROFILES = """\
profiles:
  draft:
    tasks:
      thumbnail_image: {tier: image, models: [painter]}
    tiers: {image: [p1]}
"""
CODES = """\
slots:
  p1: {model_key: painter, label: the usual one}
"""
FILES = TEXT | {
    "image_models": IMAGES + PROFILES,
    "speech_models": SPEECH,
    "image_model_slots": CODES,
}


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


@pytest.mark.parametrize(
    ("tier", "model", "kind"), [("cheap", "painter", "image"), ("standard", "voice", "speech")]
)
def test_a_media_model_in_a_text_tier_is_an_error_that_names_its_file(write_configs, tier, model, kind):
    tiers = TEXT["llm_tier_candidates"].replace(f"{tier}: [writer]", f"{tier}: [writer, {model}]")
    _, findings = inspect_config(write_configs(**FILES | {"llm_tier_candidates": tiers}))
    (found,) = [f for f in findings if f.severity == "error"]
    assert (found.path, found.line) == ("llm_tier_candidates.yaml", 1)
    assert f"{kind}_models.yaml" in found.message
    assert "a tier holds one kind of model" in found.message


def test_profiles_and_codes_are_a_part_of_the_media_file(write_configs):
    media = load_config(write_configs(**FILES)).media["image"]
    assert media.codes == {"p1": "painter"}
    draft = media.profiles["draft"]
    assert draft.tiers == {"image": ("p1",)}
    task = draft.tasks["thumbnail_image"]
    assert (task.tier, task.models, task.allow_fallback) == ("image", ("painter",), None)


def test_a_tasks_voice_is_no_finding_where_one_of_its_models_may_have_it(write_configs):
    speech = """\
providers: {gemini: {}}
models:
  first: {provider: gemini, capabilities: {voices: [Kore]}}
  second: {provider: gemini, capabilities: {voices: [Puck]}}
  third: {provider: gemini}
tiers: {speech: [first, second]}
tasks:
  puck: {tier: speech, options: {voice: Puck}}
  bob: {tier: speech, models: [first, third], options: {voice: bob}}
"""
    assert inspect_config(write_configs(**FILES | {"speech_models": speech}))[1] == ()


@pytest.mark.parametrize("voices", ["voices: Kore, ", ""])
def test_a_default_voice_that_the_model_has_or_may_have_is_no_finding(write_configs, voices):
    speech = FILES["speech_models"].replace("voices: Kore, ", voices)
    speech = speech.replace("gemini, c", "gemini, defaults: {voice: Kore, speakers: {A: Kore}}, c")
    assert inspect_config(write_configs(**FILES | {"speech_models": speech}))[1] == ()


def test_a_code_that_is_another_models_key_is_an_error(write_configs):
    models = FILES["image_models"].replace("  painter:\n", "  p1: {provider: gemini}\n  painter:\n")
    _, findings = inspect_config(write_configs(**FILES | {"image_models": models}))
    (found,) = findings
    assert (found.severity, found.path, found.line) == ("error", "image_model_slots.yaml", 2)
    assert "code 'p1' is also a model key of image_models.yaml" in found.message


def test_an_overlay_lies_over_a_media_file(write_configs):
    folder = write_configs(**FILES)
    (folder / "image_models.local.yaml").write_text("models: {painter: {model_name: paint-2}}\n")
    assert load_config(folder).media["image"].models["painter"].model_id == "paint-2"


def check_finding(write_configs, file, old, new, line, said):
    """A file with one change has one error at that line that says so."""
    assert FILES[file].count(old) == 1
    _, findings = inspect_config(write_configs(**FILES | {file: FILES[file].replace(old, new)}))
    found = [f for f in findings if said in f.message and (f.path, f.line) == (f"{file}.yaml", line)]
    assert found, [str(f) for f in findings]
    assert found[0].severity == "error"


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "said"),
    [
        ("image_models", "provider: gemini", "provider: gemni", 5, "did you mean 'gemini'?"),
        ("image_models", "  image: [painter]", "  image: [paintr]", 9, "did you mean 'painter'?"),
        ("image_models", "  image: [painter]", "  image: []", 9, "has no candidate"),
        ("image_models", "{tier: image}", "{tier: imag}", 11, "did you mean 'image'?"),
        ("image_models", "{tier: image}", "{tier: image, models: [writer]}", 11, "names model 'writer'"),
        ("image_model_slots", "label", "lable", 2, "did you mean 'label'?"),
        ("image_models", "max_batch_n", "max_batch", 7, "did you mean 'max_batch_n'?"),
        ("image_models", "{supports_a", "{mode: speech, supports_a", 7, "it belongs in speech_models.yaml"),
        ("image_models", "  image: [painter]", "  cheap: [painter]", 9, "too; a tier holds one kind"),
        ("speech_models", "{speech: [voice]}", "{image: [voice]}", 3, "stands in image_models.yaml too"),
        ("speech_models", "timeout: 60", "timeout: 0", 4, "greater than 0"),
        ("speech_models", "gemini, c", "gemini, defaults: {voice: Kora}, c", 2, "did you mean 'Kore'?"),
        ("speech_models", "gemini, c", "gemini, defaults: {voice_name: bob}, c", 2, "'bob'; known: Kore"),
        ("speech_models", "gemini, c", "gemini, defaults: {speakers: {A: bob}}, c", 2, "has no voice 'bob'"),
        ("speech_models", "timeout: 60", "options: {voice: Kora}", 4, "models has the voice 'Kora'; did you"),
    ],
)  # fmt: skip
def test_a_name_that_leads_nowhere_or_to_two_kinds_is_an_error(write_configs, file, old, new, line, said):
    check_finding(write_configs, file, old, new, line, said)


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "said"),
    [
        (
            "image_models",
            "  image: [painter]",
            "  image: [painter, writer]",
            9,
            "tier 'image' names model 'writer', which is a text model",
        ),
        (
            "image_models",
            "  image: [painter]",
            "  image: [voice]",
            9,
            "names model 'voice', which is a speech model; a tier holds one kind of model",
        ),
        (
            "speech_models",
            "{speech: [voice]}",
            "{speech: [painter]}",
            3,
            "names model 'painter', which is an image model; a tier holds one kind of model",
        ),
        (
            "image_models",
            "      thumbnail_image",
            "      thumbnail",
            15,
            "profile 'draft': no task 'thumbnail'; did you mean 'thumbnail_image'?",
        ),
        (
            "image_models",
            "{tier: image, models",
            "{tier: imge, models",
            15,
            "profile 'draft': no tier 'imge'; did you mean 'image'?",
        ),
        (
            "image_models",
            "models: [painter]",
            "models: [writer]",
            15,
            "profile 'draft' names model 'writer', which is a text model",
        ),
        (
            "image_models",
            "tiers: {image: [p1]}",
            "tiers: {image: [p2]}",
            16,
            "profile 'draft' names model 'p2', which this file does not have",
        ),
        (
            "image_models",
            "tiers: {image: [p1]}",
            "tiers: {imag: [p1]}",
            16,
            "profile 'draft': no tier 'imag'; did you mean 'image'?",
        ),
        (
            "image_model_slots",
            "painter",
            "paintr",
            2,
            "code 'p1' names model 'paintr', which this file does not have; did you mean 'painter'?",
        ),
        (
            "image_model_slots",
            "painter",
            "writer",
            2,
            "code 'p1' names model 'writer', which is a text model",
        ),
        (
            "image_model_slots",
            "painter",
            "voice",
            2,
            "code 'p1' names model 'voice', which is a speech model",
        ),
        (
            "image_models",
            "tasks:\n  thumbnail_image",
            "tasks:\n  caption",
            11,
            "stands in the text tasks too",
        ),
        (
            "image_models",
            "tasks:\n  thumbnail_image",
            "tasks:\n  narration",
            11,
            "stands in speech_models.yaml too",
        ),
    ],
)
def test_a_name_of_another_kind_is_an_error_wherever_it_stands(write_configs, file, old, new, line, said):
    check_finding(write_configs, file, old, new, line, said)


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        ("thumbnail_image", {}, "belongs to the image tier 'image' of image_models.yaml"),
        ("thumbnail_image", {"models": ["writer"]}, "asks no text model for it"),
        ("thumbnail_image", {"tier": "cheap"}, "ask through ImageClient.generate"),
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


def test_a_text_call_that_names_an_image_model_is_told_its_door(write_configs):
    with (
        LLMClient(write_configs(**FILES)) as client,
        pytest.raises(RouteError, match=r"painter: a model of image_models.yaml: ask through ImageClient"),
    ):
        client.explain("caption", "x", models="painter")
