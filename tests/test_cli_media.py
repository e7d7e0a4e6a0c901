"""`llmbench image` and `llmbench speak` from a shell, over real sockets: files, notes, JSON and errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from llmbench.cli import app
from tests.conftest import CANARY, provider
from tests.media_calls import lines, write_folder
from tests.servers.image_provider import ImageProvider
from tests.servers.speech_provider import RATE_HZ, SAMPLES_A_CHARACTER, SpeechProvider

TEXT = "おはよう。今日は晴れです。"
Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def painter() -> Iterator[ImageProvider]:
    with ImageProvider() as running:
        yield running


@pytest.fixture(scope="module")
def speaker() -> Iterator[SpeechProvider]:
    with SpeechProvider() as running:
        yield running


@pytest.fixture
def _project(tmp_path, painter, speaker, monkeypatch) -> None:
    """A folder with both media files, where the verbs run."""
    image = {
        "providers": {"p": provider(painter.base_url("openai"))},
        "models": {
            "brush": {
                "provider": "p",
                "price": {"per_image": 0.04},
                "capabilities": {"supports_seed": False, "supports_reference_images": True},
            }
        },
        "tiers": {"image": ["brush"]},
        "tasks": {"scene": {"tier": "image"}, "poster": {"tier": "image", "options": {"size": "64x32"}}},
    }
    speech = {
        "providers": {"s": provider(speaker.url)},
        "models": {"reader": {"provider": "s", "price": {"per_million_chars": 1000}}},
        "tiers": {"speech": ["reader"]},
        "tasks": {"narration": {"tier": "speech"}},
    }
    write_folder(tmp_path / "configs", image_models=image, speech_models=speech)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STUB_KEY", CANARY)
    monkeypatch.setenv("LLM_ROUTER_LOG_PATH", str(tmp_path / "log.jsonl"))


@pytest.fixture
def shell(tmp_path, _project) -> Shell:
    """Run a verb as a shell does."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}

    def run(*args: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "llmbench.cli", *args]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, input=typed, capture_output=True, text=True, check=False
        )

    return run


def facts(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_image_writes_its_files_and_notes_what_was_changed(shell, tmp_path):
    options = ("--size", "64x32", "--n", "2", "--seed", "3")
    done = shell("image", "scene", "a cube", "--out", "made/a.jpg", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["made/a-1.jpg", "made/a-2.jpg"]
    for name in ("a-1.jpg", "a-2.jpg"):
        with Pillow.open(tmp_path / "made" / name) as picture:
            assert (picture.format, picture.size) == ("JPEG", (64, 32))
        assert (tmp_path / "made" / f"{name}.json").is_file()
    said = " ".join(done.stderr.split())
    assert "note: seed dropped: 3 -> None" in said
    assert "note: format moved: 'image/png' -> 'image/jpeg'" in said
    assert "brush · image ·" in said
    assert "$0.080000" in said
    assert [line["status"] for line in lines(tmp_path / "log.jsonl")] == ["success"]
    assert CANARY not in done.stdout + done.stderr + (tmp_path / "log.jsonl").read_text()


def test_an_option_that_is_not_given_leaves_the_tasks_own(shell, painter):
    facts(shell("image", "poster", "a cube", "--out", "a.png", "--json"))
    assert painter.bodies()[-1]["size"] == "64x32"


def test_image_as_json_names_its_files_and_adjustments_alone(shell, painter, tmp_path):
    with Pillow.new("RGB", (8, 8)) as picture:
        picture.save(tmp_path / "like.png")
    done = shell(
        *("image", "scene", "-", "--out", "a.png", "--size", "64x64", "--seed", "3", "--json"),
        *("--reference", "like.png"),
        typed="赤い立方体",
    )
    found = facts(done)
    assert (found["files"], found["model"], found["cost_usd"]) == (["a.png"], "brush", 0.04)
    assert [change["param"] for change in found["adjustments"]] == ["seed"]
    body = painter.bodies()[-1]
    assert (body["prompt"], len(body["input_references"])) == ("赤い立方体", 1)
    assert json.loads((tmp_path / "a.png.json").read_text(encoding="utf-8"))["references"] == 1


def test_speak_writes_audio_and_subtitles(shell, tmp_path):
    done = shell("speak", "narration", TEXT, "--out", "a.wav", "--srt", "a.srt", "--split", "sentence")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a.wav", "a.srt"]
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnframes()) == (RATE_HZ, len(TEXT) * SAMPLES_A_CHARACTER)
    subtitles = (tmp_path / "a.srt").read_text(encoding="utf-8")
    assert [line for line in subtitles.splitlines() if "。" in line] == ["おはよう。", "今日は晴れです。"]
    assert "reader · speech ·" in done.stderr


@pytest.mark.usefixtures("_project")
@pytest.mark.parametrize(
    ("srt", "says"),
    [
        ("a.wav", "is where the narration or its record is written"),
        ("sub/../A.wav.json", "is where the narration or its record is written"),
        ("configs", "configs is a folder"),
        ("log.jsonl/a.srt", "srt: 'log.jsonl/a.srt' cannot be written"),
    ],
)
def test_subtitles_that_cannot_be_written_are_refused_before_anything_is_spoken(speaker, tmp_path, srt, says):
    (tmp_path / "log.jsonl").touch()
    before = len(speaker.received)
    done = CliRunner().invoke(app, ["speak", "narration", TEXT, "--out", "a.wav", "--srt", srt])
    assert (done.exit_code, done.stdout) == (1, "")
    assert says in done.stderr
    assert len(speaker.received) == before
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.usefixtures("_project")
def test_a_folder_for_subtitles_is_made(tmp_path):
    done = CliRunner().invoke(app, ["speak", "narration", TEXT, "--out", "a.wav", "--srt", "new/a.srt"])
    assert done.exit_code == 0, done.stderr
    assert "今日は晴れです。" in (tmp_path / "new" / "a.srt").read_text(encoding="utf-8")


@pytest.mark.usefixtures("_project")
def test_subtitles_that_fail_after_all_are_told_with_where_the_narration_is(speaker, tmp_path, monkeypatch):
    def removing(request, answer=speaker.answer):
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
        return answer(request)

    monkeypatch.setattr(speaker, "answer", removing)
    done = CliRunner().invoke(app, ["speak", "narration", TEXT, "--out", "a.wav", "--srt", "new/a.srt"])
    assert done.exit_code == 1
    assert "new/a.srt cannot be written: No such file or directory; the narration is in a.wav" in done.stderr
    assert (tmp_path / "a.wav").is_file()


@pytest.mark.parametrize("verb", ["speak", "image", "call"])
@pytest.mark.usefixtures("_project")
def test_standard_input_of_another_encoding_is_told_what_to_do(verb):
    options = () if verb == "call" else ("--out", "a.bin")
    done = CliRunner().invoke(app, [verb, "narration", "-", *options], input="今日は".encode("shift_jis"))
    assert done.exit_code == 1
    assert "standard input is not UTF-8; convert it first, for example with `iconv" in done.stderr


def test_an_argument_of_another_encoding_is_told_what_to_do(shell):
    done = shell("speak", "narration", os.fsdecode("今日は".encode("shift_jis")), "--out", "a.wav")
    assert "llmbench: the text is not UTF-8; convert it first" in done.stderr


def test_speak_as_json_names_its_files_and_length(shell):
    found = facts(shell("speak", "narration", "-", "--out", "a.wav", "--json", typed=TEXT))
    assert (found["files"], found["model"]) == (["a.wav"], "reader")
    assert found["duration_s"] == pytest.approx(len(TEXT) * SAMPLES_A_CHARACTER / RATE_HZ)
    assert found["cost_usd"] == pytest.approx(len(TEXT) / 1000)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("image", "narration", "x", "--out", "a.png"), "ask through SpeechClient.synthesize"),
        (("speak", "scene", "x", "--out", "a.wav"), "ask through ImageClient.generate"),
        (("image", "caption", "x", "--out", "a.png"), "ask through LLMClient.call"),
        (("call", "scene", "x"), "ask through ImageClient.generate"),
        (("image", "scne", "x", "--out", "a.png"), "did you mean 'scene'?"),
        (("image", "scene", "x", "--out", "a.png", "--size", "big"), "WIDTHxHEIGHT"),
        (("image", "scene", "x", "--out", "a.png", "--n", "101"), "n must be a whole number of 1 to 100"),
        (("image", "scene", "x", "--out", "a.png", "--reference", "none.png"), "none.png cannot be read"),
        (("image", "scene", "x", "--out", "configs"), "is a folder"),
        (
            ("image", "scene", "x", "--out", "a.png", "--seed", "1", "--strict"),
            "strict: brush would",
        ),
        (("image", "scene", "x #moderation", "--out", "a.png"), "content_filter"),
    ],
)
@pytest.mark.usefixtures("_project")
def test_an_error_is_one_line_that_says_what_to_do_and_writes_no_file(tmp_path, args, says):
    done = CliRunner().invoke(app, args)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("llmbench: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"configs", "log.jsonl"}


@pytest.mark.usefixtures("_project")
@pytest.mark.parametrize(
    ("args", "kept"),
    [
        (("image", "scene", "a cube", "--out", "made/a.png", "--n", "2"), ["1.png", "2.png"]),
        (("speak", "narration", TEXT, "--out", "made/a.wav"), ["audio.wav"]),
    ],
)
def test_what_was_paid_for_is_kept_where_its_file_cannot_be_written(
    painter, speaker, tmp_path, monkeypatch, args, kept
):
    for server in (painter, speaker):

        def removing(request, answer=server.answer):
            shutil.rmtree(tmp_path / "made", ignore_errors=True)
            return answer(request)

        monkeypatch.setattr(server, "answer", removing)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = CliRunner().invoke(app, args)
    assert (done.exit_code, done.stdout) == (1, "")
    found = re.search(
        r"cannot be written: No such file or directory; what came was kept in (\S+)\n", done.stderr
    )
    assert found is not None, done.stderr
    assert sorted(path.name for path in Path(found[1]).iterdir()) == kept
    assert all(path.stat().st_size for path in Path(found[1]).iterdir())


@pytest.mark.usefixtures("_project")
def test_explain_takes_the_door_of_a_tasks_kind_and_sends_nothing(painter):
    before = len(painter.received)
    assert "image -> brush" in CliRunner().invoke(app, ["explain", "scene", "a cube"]).stdout
    assert "speech -> reader" in CliRunner().invoke(app, ["explain", "narration"]).stdout
    assert len(painter.received) == before
