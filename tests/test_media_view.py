"""A media file as a config of its own: profiles, forced models, codes, and the reasons of a route."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmbench import ImageClient, LLMClient, SpeechClient
from llmbench.config import load_config, read_environment
from llmbench.config.media_view import media_config, media_environment
from llmbench.errors import ConfigError, ParamError, RouteError
from tests.media_calls import write_folder

URL = "http://127.0.0.1:1/v1"
KEY = {"GEMINI_API_KEY": "k"}
IMAGES: dict[str, Any] = {
    "providers": {"stub": {"base_url": URL}},
    "models": {
        "painter": {"provider": "stub", "model_name": "paint-1", "defaults": {"quality": "high"}},
        "sketcher": {"provider": "stub", "capabilities": {"max_prompt_chars": 40}},
        "chatter": {"provider": "stub", "wire": "chat"},
    },
    "tiers": {"image": ["painter", "sketcher", "chatter"], "image_cheap": ["sketcher"]},
    "tasks": {
        "thumbnail": {"tier": "image", "options": {"aspect_ratio": "16:9"}, "timeout": 30},
        "scene-image.2": {"tier": "image", "models": ["chatter", "painter"], "allow_fallback": True},
    },
    "profiles": {
        "draft": {
            "tasks": {
                "thumbnail": {"tier": "image_cheap", "options": {"quality": "low"}, "timeout": 5},
                "scene-image.2": {"models": ["sketcher"], "allow_fallback": False},
            }
        },
        "chat": {"tiers": {"image": ["chatter"]}},
    },
}
SPEECH: dict[str, Any] = {
    "providers": {"stub": {"base_url": URL}, "google": {"type": "gemini", "base_url": URL}},
    "models": {"reader": {"provider": "stub"}, "kore": {"provider": "google"}},
    "tiers": {"speech": ["reader", "kore"]},
    "tasks": {"narration": {"tier": "speech"}},
    "profiles": {"kore": {"tiers": {"speech": ["kore"]}}},
}
CODES = {"slots": {"p1": {"model_key": "painter"}, "sk": {"model_key": "sketcher", "label": "fast"}}}


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_folder(
        tmp_path / "configs", image_models=IMAGES, speech_models=SPEECH, image_model_slots=CODES
    )


def images(folder: Path, **variables: str) -> ImageClient:
    return ImageClient(folder, variables=variables)


def candidates(folder: Path, task: str, arguments: dict[str, Any], **variables: str) -> tuple[str, ...]:
    with images(folder, **variables) as client:
        return client.explain(task, **arguments).candidates


def test_a_task_without_fallback_has_the_first_of_its_tier_and_one_with_it_all_of_its_own(folder):
    assert candidates(folder, "thumbnail", {}) == ("painter",)
    assert candidates(folder, "thumbnail", {"allow_fallback": True}) == ("painter", "sketcher", "chatter")
    assert candidates(folder, "scene-image.2", {}) == ("chatter", "painter")
    assert candidates(folder, "scene-image.2", {"allow_fallback": False}) == ("chatter",)
    assert candidates(folder, "scene-image.2", {"tier": "image_cheap"}) == ("chatter", "painter")


@pytest.mark.parametrize("name", ["sketcher", "sk", "paint-1", "p1"])
def test_a_model_is_called_by_its_key_its_code_or_its_id(folder, name):
    wanted = ("painter",) if "p" in name else ("sketcher",)
    assert candidates(folder, "thumbnail", {"models": name}) == wanted
    assert candidates(folder, "thumbnail", {}, IMAGE_CLIENT_FORCE_MODEL_KEY=name) == wanted


def test_a_forced_model_holds_for_every_task_and_one_of_a_task_before_it(folder):
    forced = {
        "IMAGE_CLIENT_FORCE_MODEL_KEY": "chatter",
        "IMAGE_CLIENT_FORCE_MODEL_KEY_SCENE_IMAGE_2": "sk",
    }
    assert candidates(folder, "thumbnail", {}, **forced) == ("chatter",)
    assert candidates(folder, "scene-image.2", {}, **forced) == ("sketcher",)
    assert candidates(folder, "scene-image.2", {"models": "painter"}, **forced) == ("painter",)
    with SpeechClient(
        folder, variables={**forced, "SPEECH_CLIENT_FORCE_MODEL_KEY_NARRATION": "kore", **KEY}
    ) as door:
        assert door.explain("narration").candidates == ("kore",)


def test_a_forced_model_is_the_only_one_whatever_the_task_allows(folder):
    assert candidates(folder, "scene-image.2", {}, IMAGE_CLIENT_FORCE_MODEL_KEY="painter") == ("painter",)


def test_a_forced_model_that_the_file_does_not_have_is_a_route_error_that_names_the_variable(folder):
    with (
        images(folder, IMAGE_CLIENT_FORCE_MODEL_KEY_THUMBNAIL="writer") as client,
        pytest.raises(RouteError, match=r"IMAGE_CLIENT_FORCE_MODEL_KEY_<TASK>.*writer: no model, code"),
    ):
        client.explain("thumbnail")


@pytest.mark.parametrize(
    "variables",
    [
        {"LLM_FORCE_MODELS": "sketcher"},
        {"LLM_MODEL_SLOT": "7"},
        {"LLM_FORCE_TASK_MODELS_JSON": '{"thumbnail": ["sketcher"]}'},
        {"LLM_ALLOW_FALLBACK": "1"},
        {"SPEECH_CLIENT_FORCE_MODEL_KEY": "sketcher", "SPEECH_CLIENT_PROFILE": "kore"},
    ],
)
def test_what_steers_text_or_the_other_kind_does_not_steer_pictures(folder, variables):
    assert candidates(folder, "thumbnail", {}, **variables) == ("painter",)


def test_what_steers_pictures_does_not_steer_text(folder):
    variables = {"IMAGE_CLIENT_FORCE_MODEL_KEY": "sketcher", "IMAGE_CLIENT_PROFILE": "draft"}
    with LLMClient(folder, variables=variables) as client:
        assert client.explain("caption").candidates == ("writer",)


def test_a_profile_changes_tasks_and_leaves_what_it_does_not_name(folder):
    config = load_config(folder)
    environment = read_environment({"IMAGE_CLIENT_PROFILE": "draft"})
    view = media_config(config, "image", environment)
    thumbnail, scene = view.task_overrides["thumbnail"], view.media["image"].tasks["scene-image.2"]
    assert view.mapping == {"thumbnail": "image_cheap", "scene-image.2": "image"}
    assert view.router_tasks["thumbnail"].options == {"aspect_ratio": "16:9"}
    assert thumbnail.options == {"quality": "low"}  # a layer of its own, over the task's
    assert thumbnail.timeout_s == 5
    assert (scene.models, scene.allow_fallback) == (("sketcher",), False)
    plain = media_config(config, "image", read_environment({}))
    assert plain.task_overrides["thumbnail"].timeout_s == 30
    assert plain.media["image"].tasks["scene-image.2"].allow_fallback is True


def test_a_profile_changes_a_tier_for_every_task_in_it(folder):
    profile = {"IMAGE_CLIENT_PROFILE": "chat"}
    assert candidates(folder, "thumbnail", {}, **profile) == ("chatter",)
    with SpeechClient(folder, variables={"SPEECH_CLIENT_PROFILE": "kore", **KEY}) as client:
        assert client.explain("narration").candidates == ("kore",)


@pytest.mark.parametrize(
    ("door", "variable", "file", "known"),
    [
        (ImageClient, "IMAGE_CLIENT_PROFILE", "image_models.yaml", "draft, chat"),
        (SpeechClient, "SPEECH_CLIENT_PROFILE", "speech_models.yaml", "kore"),
    ],
)
def test_an_unknown_profile_is_a_config_error_that_says_what_there_is(folder, door, variable, file, known):
    with pytest.raises(ConfigError) as caught:
        door(folder, variables={variable: "drafts"})
    assert str(caught.value) == f"{variable}='drafts' is no profile of {file}; known: {known}"


def test_a_folder_without_media_models_has_no_door_and_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"has no models in image_models\.yaml; copy the shipped one"):
        ImageClient(write_folder(tmp_path / "text"), variables={})


def test_reasons_name_the_media_file_the_profile_and_the_variable(folder):
    with images(folder) as client:
        assert client.explain("thumbnail").reasons == (
            "tier image from image_models",
            "candidates from image_models",
            "strict: only the first candidate, no fallback",
        )
        assert (
            "candidates from image_models tasks.scene-image.2.models"
            in client.explain("scene-image.2").reasons
        )
    with images(folder, IMAGE_CLIENT_PROFILE="draft") as client:
        assert client.explain("thumbnail").reasons[0] == "tier image_cheap from image_models profile draft"
    with images(folder, IMAGE_CLIENT_FORCE_MODEL_KEY="sk") as client:
        assert "candidates from IMAGE_CLIENT_FORCE_MODEL_KEY" in client.explain("thumbnail").reasons


def test_options_of_model_task_and_call_lie_over_each_other(folder):
    with images(folder) as client:
        body = client.explain("thumbnail", seed=3).bodies["painter"]
        assert {name: body[name] for name in ("quality", "aspect_ratio", "seed")} == {
            "quality": "high",
            "aspect_ratio": "16:9",
            "seed": 3,
        }
    with images(folder, IMAGE_CLIENT_PROFILE="draft") as client:
        assert client.explain("thumbnail", ratio="1:1").bodies["sketcher"]["aspect_ratio"] == "1:1"


@pytest.mark.parametrize(
    ("own", "shape"),
    [
        ({}, {"aspect_ratio": "16:9"}),
        ({"size": "1024x1024"}, {"size": "1024x1024"}),
        ({"image_size": "1024x1024", "ratio": None}, {"size": "1024x1024"}),
        ({"size": "2K"}, {"aspect_ratio": "16:9", "size": "2K"}),
        ({"ratio": None}, {}),
        ({"aspect_ratio": None, "size": "1K"}, {"size": "1K"}),
    ],
)
def test_the_shape_that_a_call_names_replaces_the_tasks(folder, own, shape):
    with images(folder) as client:
        body = client.explain("thumbnail", **own, strict=True).bodies["painter"]
    assert {name: body[name] for name in ("aspect_ratio", "size") if name in body} == shape


def test_the_shape_that_a_profile_names_replaces_the_tasks(tmp_path):
    square = {"tasks": {"thumbnail": {"options": {"image_size": "1024x1024", "n": None}}}}
    tasks = {"thumbnail": {"tier": "image", "options": {"ratio": "16:9", "n": 2}}}
    files = {**IMAGES, "tasks": tasks, "profiles": {"square": square}}
    folder = write_folder(tmp_path / "square", image_models=files)
    with images(folder, IMAGE_CLIENT_PROFILE="square") as client:
        body = client.explain("thumbnail").bodies["painter"]
        assert body.keys() & {"size", "aspect_ratio", "n"} == {"size"}
        turned = client.explain("thumbnail", aspect_ratio="2:3").bodies["painter"]
        assert turned.keys() & {"size", "aspect_ratio"} == {"aspect_ratio"}


def test_a_shape_that_contradicts_itself_in_one_place_is_refused(folder):
    with images(folder) as client, pytest.raises(ParamError, match="contradict each other"):
        client.explain("thumbnail", size="1024x1024", aspect_ratio="16:9")


def test_the_speakers_of_a_call_replace_the_voice_of_a_model_and_the_reverse(tmp_path):
    voices = {
        "alone": {"provider": "google", "defaults": {"voice": "Kore"}},
        "both": {"provider": "google", "defaults": {"speakers": {"A": "Kore", "B": "Puck"}}},
        "one": {"provider": "google", "defaults": {"voice": "Kore"}, "capabilities": {"max_speakers": 1}},
    }
    files = {**SPEECH, "models": voices, "tiers": {"speech": [*voices]}, "profiles": {}}
    folder = write_folder(tmp_path / "voices", speech_models=files)
    pair, text = {"A": "Puck", "B": "Zephyr"}, "A: hi\nB: yo"
    with SpeechClient(folder, variables=KEY) as client:

        def config(model: str, **own: Any) -> dict[str, Any]:
            (body,) = client.explain("narration", text, models=model, **own).bodies.values()
            return body["generationConfig"].get("speechConfig", {})

        assert config("alone").keys() == {"voiceConfig"}
        assert config("alone", speakers=pair).keys() == {"multiSpeakerVoiceConfig"}
        assert config("both").keys() == {"multiSpeakerVoiceConfig"}
        assert config("both", voice_name="Kore").keys() == {"voiceConfig"}
        assert config("both", speakers=None) == {}
        with pytest.raises(ParamError, match="not both"):
            config("alone", speakers=pair, voice="Kore")
        with pytest.raises(ParamError, match="1 voice at once"):
            config("one", speakers=pair)


def test_an_explained_dialogue_without_a_text_has_a_line_of_each_speaker(tmp_path):
    talk = {"talk": {"tier": "speech", "options": {"speakers": {"A": "Kore", "B": "Puck"}}}}
    files = {**SPEECH, "tiers": {"speech": ["kore"]}, "tasks": talk, "profiles": {}}
    with SpeechClient(write_folder(tmp_path / "talk", speech_models=files), variables=KEY) as client:
        for own, text in (({}, "A: A text.\nB: A text."), ({"speakers": {"C": "x", "D": "y"}}, "C: A text.")):
            (body,) = client.explain("talk", **own).bodies.values()
            assert body["contents"][0]["parts"][0]["text"].startswith(text)


def test_the_wire_follows_the_provider_where_the_model_names_none(folder):
    config = load_config(folder)
    speech = media_config(config, "speech", read_environment({}))
    assert [spec.wire for spec in speech.models.values()] == ["speech", "gemini"]
    picture = media_config(config, "image", read_environment({}))
    assert [spec.wire for spec in picture.models.values()] == ["images", "images", "chat"]
    assert {spec.capabilities.mode for spec in picture.models.values()} == {"image"}


def test_the_environment_of_a_view_keeps_channel_and_keys(folder):
    config = load_config(folder)
    environment = read_environment({"LLM_CHANNEL": "ch1", "LLM_MODEL_SLOT": "2", "K": "v"})
    seen = media_environment(environment, "image", config.media["image"])
    assert (seen.channel, seen.slot, seen.secret("K")) == ("ch1", None, "v")
