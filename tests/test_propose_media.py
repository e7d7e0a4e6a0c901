"""A verdict on pictures or narrations becomes a diff of their file, and the changed folder routes by it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from llmbench import ImageClient, SpeechClient
from llmbench.bench.edit import unified_diff
from llmbench.bench.propose import Routing
from llmbench.bench.propose_media import media_routing, propose_media
from llmbench.bench.recommend import recommend
from llmbench.bench.tiers import Move
from llmbench.config import load_config
from llmbench.config.environment import read_environment
from llmbench.errors import ConfigError
from tests.tables import right
from tests.test_recommend import plan_of, rows

TEXT = {"llm_router": 'providers: {stub: {base_url: "http://127.0.0.1:1/v1"}}\n'}
SPEECH = """\
# 声の段 (voices)
providers:
  near: {base_url: "http://127.0.0.1:1/v1"}
  far: {base_url: "https://far.example/v1", env_api_key: FAR_KEY}   # 遠い

models:
  ref: {provider: near, model_name: voice-1}    # the usual one
  small: {provider: near, model_name: voice-2}
  tiny: {provider: near, model_name: voice-3}
  away: {provider: far, model_name: voice-4}

tiers:
  speech:
    # 本番の声
    - away     # once its key is set
    - ref
    - "tiny"   # 軽い
  speech_cheap: [small, ref]   # cheaper

tasks:
  narration: {tier: speech}            # a whole script, read aloud
  dialogue: {tier: speech, models: [ref, tiny]}   # two speakers
  preview:
    tier: speech_cheap   # 下書き
    models: []

profiles:
  draft:
    label: cheap drafts
    tasks:
      dialogue: {tier: speech_cheap}
    tiers:
      speech: [tiny, ref]   # of drafts
"""
IMAGES = """\
providers: {near: {base_url: "http://127.0.0.1:1/v1"}, far: {env_api_key: FAR_KEY, base_url: "https://far.example"}}
models:
  gone: {provider: far, model_name: paint-0}
  ref: {provider: near, model_name: paint-1}
  small: {provider: near, model_name: paint-2}
  tiny: {provider: near, model_name: paint-3}
tiers:
  image: [gone, P1, tiny]       # a code
  image_cheap: [small]
tasks:
  thumbnail_image: {tier: image, allow_fallback: true}   # one of the video
  scene_image: {tier: image}
  image_draft: {tier: image_cheap}
"""
CODES = "slots:\n  P1: {model_key: ref, label: usual}\n"
DOORS = {"speech": SpeechClient, "image": ImageClient}


@pytest.fixture
def folder(write_configs):
    return write_configs(**TEXT, speech_models=SPEECH, image_models=IMAGES, image_model_slots=CODES)


def routes(folder, modality="speech"):
    """Task -> the model that the door asks first, for every task of the kind."""
    with DOORS[modality](folder) as client:
        return {task: client.explain(task).candidates[0] for task in client.config.mapping}


def routing_of(folder, modality="speech", uncalled=("away", "gone")):
    return media_routing(load_config(folder), modality, read_environment(), uncalled)


def proposed(folder, *moves, modality="speech", measured=None, **changes):
    """Moves as (task, tier, model) from ref."""
    found = [Move(task, tier, changes.get("of", "ref"), "promote", (model,)) for task, tier, model in moves]
    return propose_media(found, measured or [m[0] for m in moves], routing_of(folder, modality))


def changed_lines(diff):
    return [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def applied(folder, tmp_path, diff):
    """The routes of each kind once git has applied the diff."""
    (tmp_path / "recommendation.diff").write_bytes(diff.encode())
    top = folder.parent
    subprocess.run(["git", "init", "-q"], cwd=top, check=True)
    subprocess.run(["git", "apply", str(tmp_path / "recommendation.diff")], cwd=top, check=True)
    return {modality: routes(folder, modality) for modality in DOORS}


BEFORE = {
    "speech": {"narration": "ref", "dialogue": "ref", "preview": "small"},
    "image": {"thumbnail_image": "ref", "scene_image": "ref", "image_draft": "small"},
}


def test_the_folder_routes_as_the_tests_take_it(folder):
    assert {modality: routes(folder, modality) for modality in DOORS} == BEFORE


def test_a_task_moves_to_the_tier_that_its_new_model_heads_and_its_comment_stays(folder, tmp_path):
    found = proposed(folder, ("narration", "speech", "small"))
    assert found.destinations == {"narration": "speech_cheap"}
    assert changed_lines(found.diff) == [
        "-  narration: {tier: speech}            # a whole script, read aloud",
        "+  narration: {tier: speech_cheap}            # a whole script, read aloud",
    ]
    after = applied(folder, tmp_path, found.diff)
    assert after == BEFORE | {"speech": BEFORE["speech"] | {"narration": "small"}}


def test_a_tier_gets_a_new_first_where_it_is_proved_for_every_task_that_it_serves(folder, tmp_path):
    found = proposed(folder, ("narration", "speech", "tiny"))
    assert [(row["tier"], row["changed"], row["proposed_first"]) for row in found.tiers] == [
        ("speech", True, "tiny")
    ]
    assert changed_lines(found.diff) == ['+    - "tiny"   # 軽い', '-    - "tiny"   # 軽い']
    after = applied(folder, tmp_path, found.diff)
    assert after == BEFORE | {"speech": BEFORE["speech"] | {"narration": "tiny"}}
    assert any(note.startswith("Profile draft names models of narration itself") for note in found.notes)
    assert any(note.startswith("speech: away could not be called here") for note in found.notes)


def test_a_model_that_one_task_of_the_tier_did_not_prove_goes_to_that_task_alone(folder, tmp_path):
    found = proposed(
        folder,
        ("scene_image", "image", "tiny"),
        modality="image",
        measured=["scene_image", "thumbnail_image"],
    )
    assert changed_lines(found.diff) == [
        "-  scene_image: {tier: image}",
        "+  scene_image: {tier: image, models: [gone, tiny, P1]}",
    ]
    (row,) = found.tiers
    assert (row["changed"], row["blocking_tasks"]) == (False, ["thumbnail_image"])
    after = applied(folder, tmp_path, found.diff)
    assert after == BEFORE | {"image": BEFORE["image"] | {"scene_image": "tiny"}}


def test_a_model_called_by_its_code_is_the_one_that_is_replaced(folder, tmp_path):
    both = ("scene_image", "image", "tiny"), ("thumbnail_image", "image", "tiny")
    found = proposed(folder, *both, modality="image")
    assert changed_lines(found.diff) == [
        "-  image: [gone, P1, tiny]       # a code",
        "+  image: [gone, tiny, P1]       # a code",
    ]
    after = applied(folder, tmp_path, found.diff)["image"]
    assert after == {"thumbnail_image": "tiny", "scene_image": "tiny", "image_draft": "small"}


def test_a_task_with_its_own_list_is_changed_there(folder, tmp_path):
    found = proposed(folder, ("dialogue", "speech", "tiny"))
    assert changed_lines(found.diff) == [
        "-  dialogue: {tier: speech, models: [ref, tiny]}   # two speakers",
        "+  dialogue: {tier: speech, models: [tiny, ref]}   # two speakers",
    ]
    after = applied(folder, tmp_path, found.diff)
    assert after == BEFORE | {"speech": BEFORE["speech"] | {"dialogue": "tiny"}}


def test_an_empty_list_of_a_task_is_filled(folder, tmp_path):
    tiers = {"of": "small"}
    found = proposed(folder, ("preview", "speech_cheap", "tiny"), measured=["preview", "other"], **tiers)
    raised = proposed(folder, ("preview", "speech_cheap", "tiny"), **tiers)
    assert "+  speech_cheap: [tiny, small, ref]   # cheaper" in changed_lines(raised.diff)
    assert found.diff == raised.diff  # no other task is served by the tier
    move = Move("preview", "speech_cheap", "small", "promote", ("tiny", "ref"))
    chain = propose_media([move], ["preview"], routing_of(folder))
    assert changed_lines(chain.diff) == ["-    models: []", "+    models: [tiny, ref, small]"]
    assert any("set allow_fallback: true" in note for note in chain.notes)
    after = applied(folder, tmp_path, chain.diff)
    assert after == BEFORE | {"speech": BEFORE["speech"] | {"preview": "tiny"}}


def test_parameters_that_were_proved_go_into_the_tasks_options(folder, tmp_path):
    move = Move("scene_image", "image", "ref", "promote", ("tiny",), {}, {"quality": "low"})
    found = propose_media([move], ["scene_image"], routing_of(folder, "image"))
    tasks = yaml.safe_load(found.edited["image_models.yaml"])["tasks"]
    assert tasks["scene_image"] == {
        "tier": "image",
        "models": ["gone", "tiny", "P1"],
        "options": {"quality": "low"},
    }
    assert applied(folder, tmp_path, found.diff)["image"]["scene_image"] == "tiny"


def test_other_parameters_of_the_same_model_change_its_options_alone(folder):
    move = Move("scene_image", "image", "ref", "promote", ("ref",), {}, {"quality": "low"})
    found = propose_media([move], ["scene_image"], routing_of(folder, "image"))
    assert changed_lines(found.diff)[1:] == ["+  scene_image: {tier: image, options: {quality: low}}"]
    assert "a call that passes it wins" in found.notes[0]


# --- profiles ---------------------------------------------------------------------------------------------

DRAFT = {"narration": "tiny", "dialogue": "small", "preview": "small"}


@pytest.mark.parametrize(
    ("move", "line"),
    [
        (("narration", "speech", "tiny", "ref"), "+      speech: [ref, tiny]   # of drafts"),
        (
            ("dialogue", "speech_cheap", "small", "ref"),
            "+      dialogue: {tier: speech_cheap, models: [ref, small]}",
        ),
        (("preview", "speech_cheap", "small", "tiny"), "+      preview:"),
        (("dialogue", "speech_cheap", "small", "tiny"), "+      dialogue: {tier: speech}"),
    ],
)
def test_a_run_under_a_profile_changes_that_profile_alone(folder, tmp_path, monkeypatch, move, line):
    task, tier, reference, model = move
    monkeypatch.setenv("SPEECH_CLIENT_PROFILE", "draft")
    assert routes(folder) == DRAFT
    found = propose_media(
        [Move(task, tier, reference, "promote", (model,))],
        ["narration", "dialogue", "preview"],
        routing_of(folder),
    )
    assert line in changed_lines(found.diff)
    assert found.notes[0].startswith("The change is made in profile draft of speech_models.yaml")
    assert applied(folder, tmp_path, found.diff)["speech"] == DRAFT | {task: model}
    monkeypatch.delenv("SPEECH_CLIENT_PROFILE")
    assert routes(folder) == BEFORE["speech"]


def test_a_profile_that_takes_the_tier_from_the_file_is_named(folder):
    found = proposed(folder, ("preview", "speech_cheap", "tiny"), of="small")
    assert "Profile draft takes speech_cheap from speech_models.yaml and gets the change too." in found.notes


# --- what is refused or said ------------------------------------------------------------------------------


def test_an_edit_that_is_not_safe_becomes_a_note_and_touches_nothing(folder):
    path = folder / "speech_models.yaml"
    text = SPEECH.replace("models: [ref, tiny]}", "models: &own [ref, tiny]}")
    text = text.replace("models: []", "models: *own")
    path.write_text(text, encoding="utf-8")
    found = proposed(folder, ("dialogue", "speech", "tiny"))
    assert found.diff == ""
    assert found.notes[0].startswith("Not in the diff: speech_models.yaml: tasks.dialogue.models cannot be")


def test_an_overlay_that_may_hide_the_change_is_named_and_never_edited(folder):
    overlay = folder / "speech_models.local.yaml"
    overlay.write_text("tasks: {narration: {models: [ref]}}\n", encoding="utf-8")
    found = proposed(folder, ("dialogue", "speech", "tiny"))
    assert "speech_models.local.yaml lies over speech_models.yaml and may hide the change." in found.notes
    assert found.edited[overlay.name] == overlay.read_text(encoding="utf-8")
    assert overlay.name not in found.diff


def test_a_channel_that_may_not_use_the_model_is_named(folder):
    move = Move("narration", "speech", "ref", "promote", ("small",), {"CH02": ("small",)})
    found = propose_media([move], ["narration"], routing_of(folder))
    assert any("channel CH02 may not use small" in note for note in found.notes)


def test_nothing_moves_without_a_move_and_a_text_routing_is_refused(folder):
    found = propose_media([], ["narration"], routing_of(folder))
    assert (found.diff, found.notes) == ("", [])
    with pytest.raises(ConfigError, match="media_routing"):
        propose_media([], [], Routing({}, {}))


def test_a_folder_without_the_file_or_the_profile_is_refused_by_name(write_configs, folder, monkeypatch):
    monkeypatch.setenv("IMAGE_CLIENT_PROFILE", "night")
    with pytest.raises(ConfigError, match="night"):
        routing_of(folder, "image")


# --- from rows to the changed folder ----------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["speech", "image"])
def test_rows_of_a_media_run_become_a_recommendation_that_routes_to_the_proved_model(
    folder, tmp_path, modality
):
    task, tier = ("narration", "speech") if modality == "speech" else ("scene_image", "image")
    scores = right(0.8, 160)
    frame = rows({"ref": scores, "small": scores}, task=task)
    plan = plan_of(frame, modality=modality)
    plan["tasks"][task]["tier"] = tier
    answer = recommend(frame, plan, routing_of(folder, modality))
    (entry,) = answer["tasks"]
    assert (entry["outcome"], entry["proposed_model"], entry["proposed_tier"]) == (
        "promote", "small", f"{tier}_cheap",
    )  # fmt: skip
    assert entry["sentence"].startswith(f"Move {task} from {tier} (ref) to {tier}_cheap (small)")
    assert answer["diff"].count("diff --git") == 1
    after = applied(folder, tmp_path, answer["diff"])
    assert after == BEFORE | {modality: BEFORE[modality] | {task: "small"}}


def test_the_shipped_files_take_a_proposal_with_all_of_their_comments(tmp_path):
    config = load_config(Path(__file__).parents[1] / "configs")
    for modality, task in (("image", "scene_image"), ("speech", "narration")):
        routing = media_routing(config, modality, read_environment({}), ())
        tier = routing.task_tiers[task]
        other, model = next((name, models[0]) for name, models in routing.tiers.items() if name != tier)
        move = Move(task, tier, routing.tiers[tier][0], "promote", (model,))
        found = propose_media([move], [task], routing)
        assert found.destinations == {task: other}
        minus, plus = changed_lines(found.diff)
        assert minus.partition("#")[2] == plus.partition("#")[2] != ""
        assert found.diff == unified_diff(routing.configs, found.edited)
