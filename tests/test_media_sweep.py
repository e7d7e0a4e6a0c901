"""Sweeps of pictures and narrations: a provider on loopback that draws, and a real local voice."""

from __future__ import annotations

import base64
import io
import json
import shutil
import struct
import sys
import wave
from collections import Counter
from pathlib import Path

import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from llmbench import SpeechClient
from llmbench.bench import chain, recogniser
from llmbench.bench.dataset import load_dataset
from llmbench.bench.datasets.draft import write_dataset
from llmbench.bench.datasets.review import review_dataset
from llmbench.bench.datasets.split import Split, split_dataset
from llmbench.bench.media_store import answer_of, checked_name, store_file, whole_file
from llmbench.bench.planning import forecast_sweep
from llmbench.bench.run_decisions import decisions
from llmbench.bench.scorers import check_dataset
from llmbench.bench.sweep import run_sweep
from llmbench.cli import app
from llmbench.errors import DatasetError, SweepError
from llmbench.providers import local_models
from tests.media_sweeps import (
    opened,
    sweep,
    write_image_project,
    write_media_dataset,
    write_speech_project,
)
from tests.servers.chat_server import Step
from tests.servers.image_provider import ImageProvider
from tests.sweep_project import ROOT, copy_notebooks, read_lines, rows_of


@pytest.fixture
def painter():
    with ImageProvider() as running:
        yield running


@pytest.fixture
def project(tmp_path, painter):
    return write_image_project(tmp_path, painter.base_url("openai"))


def files_of(folder: Path) -> set[str]:
    return {path.name for path in (folder / "media").iterdir()}


# ---- pictures


def test_a_sweep_of_pictures_keeps_each_file_once_and_says_what_was_measured(project, painter):
    run = sweep(project)
    rows = rows_of(run)
    assert (run.cells, run.calls, run.failed, run.pending) == (6, 6, 0, 0)
    assert {row["score"] for row in rows} == {1.0}
    answers = [json.loads(row["output"]) for row in rows]
    assert all(row["score_details"] == {"valid": 1.0, "shape": 1.0, "contrast": 1.0} for row in rows)
    assert {(a["media"], a["mime"], a["images"]) for a in answers} == {("image", "image/png", 1)}
    assert all(abs(a["width"] / a["height"] - 16 / 9) < 0.05 and 0.02 < a["contrast"] < 1 for a in answers)
    names = {answer["file"] for answer in answers}
    assert len(names) == 3, "both models drew the same three pictures"
    assert files_of(run.run_dir) == files_of(project.ledger.parent) == names
    assert {row["cost_usd"] for row in rows} == {0.02}
    plan = json.loads((run.run_dir / "plan.json").read_text())
    assert plan["modality"] == "image"
    assert decisions(run.run_dir)["scene"].outcome


@pytest.mark.parametrize("kind", ["16 bits", "huge"])
def test_a_picture_of_any_form_is_kept_once_it_is_paid_for(tmp_path, painter, kind):
    shades = Image.frombytes("I;16", (64, 36), struct.pack("<2304H", *(28 * at for at in range(2304))))
    written = io.BytesIO()
    (shades if kind == "16 bits" else Image.new("1", (9600, 5400))).save(written, "PNG")
    data = written.getvalue()
    painter.outcome = Step({"created": 1, "data": [{"b64_json": base64.b64encode(data).decode()}]})
    project = write_image_project(tmp_path, painter.base_url("openai"), prompts=["a door"])
    run = sweep(project, run_id="one")
    rows = rows_of(run)
    assert [row["status"] for row in rows] == ["ok", "ok"]
    for row in rows:
        answer = json.loads(row["output"])
        assert whole_file(run.run_dir / "media", answer["file"]).read_bytes() == data
        if kind == "huge":
            assert answer["contrast"] is None, "a figure that cannot be measured is missing"
            assert row["score_details"] == {"valid": 1.0, "shape": 1.0, "contrast": 0.0}
        else:
            assert answer["contrast"] > 0.3
    asked = len(painter.bodies())
    assert (sweep(project, run_id="two").cached, len(painter.bodies())) == (2, asked)


def test_a_sweep_that_goes_on_makes_no_call_twice(project, painter):
    first = sweep(project, run_id="one")
    asked = len(painter.bodies())
    again = sweep(project, run_id="two")
    assert (again.cached, again.calls, len(painter.bodies())) == (6, 0, asked)
    assert files_of(again.run_dir) == files_of(first.run_dir)


def test_a_run_folder_alone_is_replayed_without_a_provider(tmp_path, painter):
    project = write_image_project(tmp_path / "here", painter.base_url("openai"))
    run = sweep(project)
    moved = tmp_path / "there" / "run"
    shutil.copytree(run.run_dir, moved)
    shutil.rmtree(project.ledger.parent)
    asked = len(painter.bodies())
    again = sweep(project, replay=moved / "calls.jsonl", reports=tmp_path / "again")
    assert len(painter.bodies()) == asked
    assert (again.run_dir / "results.jsonl").read_bytes() == (run.run_dir / "results.jsonl").read_bytes()
    assert files_of(again.run_dir) == files_of(run.run_dir)


def test_a_file_that_is_missing_or_changed_is_named_with_what_to_do(project):
    run = sweep(project)
    kept = sorted((run.run_dir / "media").iterdir())
    kept[0].write_bytes(kept[0].read_bytes()[:-1] + b"x")
    with pytest.raises(
        SweepError, match=rf"{kept[0].name} was changed or is damaged.*bring the kept one back"
    ):
        sweep(project, replay=run.run_dir / "calls.jsonl", run_id="again")
    kept[0].unlink()
    with pytest.raises(SweepError, match=rf"{kept[0].name} cannot be read .*media/ back beside the ledger"):
        sweep(project, replay=run.run_dir / "calls.jsonl", run_id="again")


def test_a_lost_file_of_the_ledger_is_said_before_more_is_paid_for(tmp_path, painter):
    project = write_image_project(tmp_path, painter.base_url("openai"), prompts=["a red door"])
    sweep(project)
    asked = len(painter.bodies())
    rows = [{"input": "a red door"}, {"input": "a blue door"}]
    write_media_dataset(project.datasets / "scene", "scene", "image", rows)
    next((project.ledger.parent / "media").iterdir()).unlink()
    with pytest.raises(SweepError, match="to make it again"):
        sweep(project, run_id="more")
    assert len(painter.bodies()) == asked


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a" * 64, f"{'a' * 64}.png/..", f"{'g' * 64}.png", None, 3]
)
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(SweepError, match="is no name of a media file"):
        checked_name(name)
    with pytest.raises(SweepError, match="is no name of a media file"):
        whole_file(tmp_path, name)


def test_equal_bytes_are_one_file_and_a_damaged_one_is_written_again(tmp_path):
    name = store_file(tmp_path / "media", b"bytes", ".png")
    (tmp_path / "media" / name).write_bytes(b"other")
    assert store_file(tmp_path / "media", b"bytes", ".png") == name
    assert whole_file(tmp_path / "media", name).read_bytes() == b"bytes"
    assert [path.name for path in (tmp_path / "media").iterdir()] == [name]


def test_a_text_in_place_of_a_picture_is_the_models_failure(tmp_path, painter):
    project = write_image_project(
        tmp_path, painter.base_url("openai"), prompts=["a door #text", "a wall #broken", "a roof"]
    )
    rows = rows_of(sweep(project))
    failed = [(row["status"], row["error_kind"], row["score"]) for row in rows if row["sample_id"] != "s2"]
    assert sorted(failed) == [("error", "malformed", 0.0)] * 2 + [("error", "no_media", 0.0)] * 2
    assert all((answer_of(row["output"]) is None) == (row["status"] != "ok") for row in rows)


def test_a_sample_is_asked_for_in_the_shape_that_it_checks(tmp_path, painter):
    project = write_image_project(tmp_path, painter.base_url("openai"), card={"options": {}})
    rows = [{"input": "a gate", "checks": {"size": "640x320"}}, {"input": "a mill"}]
    write_media_dataset(project.datasets / "scene", "scene", "image", rows, options={})
    run = sweep(project)
    assert {body.get("size") for body in painter.bodies()} == {"640x320", None}
    assert [row["score_details"]["shape"] for row in rows_of(run)] == [1.0] * 4


def test_a_plan_may_try_a_model_with_several_parameters(tmp_path, painter):
    project = write_image_project(
        tmp_path,
        painter.base_url("openai"),
        models={"alpha": {}},
        plan={"params": {"quality": ["low", "high"]}},
    )
    run = sweep(project)
    assert {row["model"] for row in rows_of(run)} == {
        "alpha",
        'alpha[quality="low"]',
        'alpha[quality="high"]',
    }
    assert {body.get("quality") for body in painter.bodies()} == {None, "low", "high"}


def test_a_plan_says_what_its_pictures_cost_before_any_is_made(project, painter):
    with opened(project) as (client, plan):
        found = forecast_sweep(plan, client, project.ledger)
    assert painter.bodies() == []
    assert found.calls.usd is not None
    assert found.calls.usd.expected == pytest.approx(6 * 0.02)
    assert found.refusal is None
    assert found.to_dict()["forecast"]["calls"]["high"] == 6
    sweep(project)
    with opened(project) as (client, plan):
        assert forecast_sweep(plan, client, project.ledger).calls.calls.high == 0


def test_pictures_keep_the_budget(tmp_path, painter):
    project = write_image_project(tmp_path, painter.base_url("openai"), plan={"budget": {"usd": 0.05}})
    with pytest.raises(SweepError, match="expected to cost"):
        sweep(project)
    assert painter.bodies() == []


def test_a_price_by_tokens_is_no_bound_of_a_picture(tmp_path, painter):
    by_tokens = {"alpha": {"price": {"input": 1.0, "output": 30.0, "as_of": "2026-11-22"}}}
    project = write_image_project(tmp_path, painter.base_url("openai"), models=by_tokens)
    with pytest.raises(SweepError, match="give the model a `price` `per_image`"):
        sweep(project)
    assert painter.bodies() == []


def test_a_race_of_pictures_is_decided(tmp_path, painter):
    prompts = [f"door number {number}" for number in range(12)]
    project = write_image_project(
        tmp_path,
        painter.base_url("openai"),
        prompts=prompts,
        models={"alpha": {}, "beta": {"price": {"per_image": 0.01, "as_of": "2026-11-22"}}},
        plan={"stop": "decided", "pilot": 4, "batch": 4},
    )
    run = sweep(project)
    assert decisions(run.run_dir)["scene"].choice == "beta"


# ---- what is refused


def test_a_plan_of_two_kinds_of_answers_is_refused(project):
    path = project.configs / "sweeps" / "small.yaml"
    plan = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**plan, "tasks": {"scene": {}, "caption": {}}}, sort_keys=False))
    with pytest.raises(SweepError, match=r"mixes kinds of answers \(image: scene; text: caption\)"):
        chain.open_client(project, "small")


def test_a_client_of_another_kind_is_refused(project):
    with chain.open_client(project) as client, pytest.raises(SweepError, match="is of the kind image"):
        chain.find_plan(project, "small", chain.Choice(), client)


def test_a_cluster_is_refused_for_pictures(project, painter):
    copy_notebooks(project)
    engine, said = "tcp://127.0.0.1:8786", "made in the sweep's own process"
    with opened(project) as (client, plan):
        with pytest.raises(SweepError, match=said):
            run_sweep(plan, client, ledger=project.ledger, reports=project.reports, engine=engine)
        with pytest.raises(SweepError, match=said):  # before a kernel is started
            chain.planned_steps(project, "small", plan, chain.Choice(engine=engine))
    assert painter.bodies() == []


@pytest.mark.parametrize(
    ("modality", "card", "row", "said"),
    [
        ("image", {"options": {"sise": "1K"}}, {}, "did you mean 'size'"),
        ("image", {"options": {"n": 2}}, {}, "n must be 1"),
        ("speech", {"options": {"format": "mp3"}}, {}, "format must be wav"),
        ("image", {"prompt": {"system": ""}}, {}, "unknown key `prompt`"),
        ("image", {}, {"checks": {"size": "big"}}, "size must be"),
        ("image", {}, {"turns": [{"role": "user", "content": "hi"}]}, "`turns` have no place"),
        ("speech", {}, {"target": {"a": 1}}, "the target is no text"),
        ("image", {"scorer": {"name": "caption"}}, {}, "`caption` is for answers that are text"),
        ("speech", {"scorer": {"name": "picture"}}, {}, "`picture` is for answers that are image"),
        ("image", {}, {"checks": {"size": "1K"}}, r"checks\.size is not pixels"),
        ("image", {"scorer": {"name": "picture_text"}}, {"checks": {"caption": 3}}, "caption is no text"),
    ],
)
def test_a_card_or_a_row_that_is_wrong_is_named(tmp_path, modality, card, row, said):
    write_media_dataset(tmp_path, "scene", modality, [{"input": "a door", **row}], **card)
    with pytest.raises(DatasetError, match=said):
        check_dataset(load_dataset(tmp_path))


def test_a_voice_that_lacks_a_language_is_named_with_its_sample_before_anything_is_spoken(tmp_path):
    lines = [{"input": "A line.", "lang": "en"}, {"input": "Une ligne.", "lang": "fr"}]
    project = write_speech_project(tmp_path, lines, scorer={"name": "narration", "params": {"listen": False}})
    with (
        opened(project) as (client, plan),
        pytest.raises(SweepError, match=r"narration/s1: mei .*'fr'"),
    ):
        run_sweep(plan, client, ledger=project.ledger, reports=project.reports)


def test_a_ledger_of_a_store_is_refused_for_pictures(project):
    arguments = ["sweep", "small", "--project", str(project.root), "--ledger-store", "memory://shared"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code != 0
    assert "leave out --ledger-store" in " ".join(done.output.split())


def test_a_part_of_a_dataset_of_narrations_is_one_too(tmp_path):
    whole = load_dataset(ROOT / "datasets" / "narration")
    half = Split(shares={"one": 0.5, "two": 0.5})
    parts = split_dataset(ROOT / "datasets" / "narration", whole, half)
    made = [write_dataset(draft, tmp_path / name) for name, draft in parts.drafts.items()]
    assert {part.modality for part in made} == {"speech"}
    assert sum(len(part.samples) for part in made) == len(whole.samples)
    assert review_dataset(tmp_path / "one").findings == ()


# ---- narrations

voice = pytest.mark.skipif(not local_models.is_available("mei-joe"), reason="the voice is not installed")
LINES = [
    {"input": "最後までご覧いただき、ありがとうございました。", "lang": "ja"},
    {"input": "Would you cross this bridge at night?", "lang": "en"},
]


@voice
@pytest.mark.embedded
@pytest.mark.skipif(not recogniser.is_installed(), reason="the recogniser is not installed")
def test_a_real_voice_is_swept_heard_and_replayed_from_its_run_folder(tmp_path):
    project = write_speech_project(tmp_path / "here", LINES)
    with opened(project) as (client, plan):
        usd = forecast_sweep(plan, client, project.ledger).calls.usd
        assert usd is not None
        assert 0 < usd.expected < 0.01
    run = sweep(project)
    rows = rows_of(run)
    assert [row["status"] for row in rows] == ["ok", "ok"]
    kinds = Counter(line["type"] for line in read_lines(project.ledger))
    assert kinds == {"intent": 3, "result": 3}, "two lines, and a few words to warm the voice up"
    assert {row["target"] for row in rows} == {line["input"] for line in LINES}
    for row in rows:
        answer = json.loads(row["output"])
        assert row["score_details"]["heard"] > 0.7
        assert 0 < answer["real_time_factor"] < 20
        assert answer["characters"] == len(row["prompt"])
        with wave.open(str(run.run_dir / "media" / answer["file"])) as file:
            assert file.getframerate() == answer["rate_hz"]
            assert file.getnframes() / file.getframerate() == pytest.approx(answer["duration_s"], abs=1e-3)
    assert sweep(project, run_id="again").calls == 0
    heard = sorted((run.run_dir / "media").glob("*.json"))
    kept = [path.read_text(encoding="utf-8") for path in heard]
    assert len(heard) == 2
    for path, altered in zip(heard, ("", kept[1].replace('"found": "', '"found": "x')), strict=True):
        path.write_text(altered, encoding="utf-8")
    replayed = sweep(project, replay=run.run_dir / "calls.jsonl", run_id="replayed")
    assert [row["score"] for row in rows_of(replayed)] == [row["score"] for row in rows]
    assert [path.read_text(encoding="utf-8") for path in heard] == kept, "it is heard again"


@pytest.mark.skipif(
    not all(map(local_models.is_available, ("mei-joe", "kokoro"))), reason="the voices are not installed"
)
@pytest.mark.embedded
def test_local_voices_are_warm_before_the_first_is_measured_and_speak_one_at_a_time(tmp_path):
    listen = {"name": "narration", "params": {"listen": False}}
    voices = {"mei": "mei-joe", "kokoro": "kokoro"}
    project = write_speech_project(tmp_path, LINES, voices=voices, scorer=listen)

    def sent():
        """The ledger's lines of one sweep in order: (warm-up or cell, intent or result)."""
        lines = read_lines(project.ledger)[before:]
        return [("warmup" if "warmup" in line["cell"] else "cell", line["type"]) for line in lines]

    before = 0
    run = sweep(project, run_id="one")
    warm, spoken = [("warmup", "intent"), ("warmup", "result")], [("cell", "intent"), ("cell", "result")]
    assert sent() == warm * 2 + spoken * 4
    assert run.pending == 0
    before = len(read_lines(project.ledger))
    more = [*LINES, {"input": "Is it still dark outside?", "lang": "en"}]
    write_media_dataset(project.datasets / "narration", "narration", "speech", more, scorer=listen)
    sweep(project, run_id="two")
    assert sent() == warm * 2 + spoken * 2, "a sweep that goes on warms the voices up first, too"


def test_the_shipped_voices_of_this_machine_speak_one_at_a_time():
    with SpeechClient(ROOT / "configs") as client:
        assert client.config.endpoints["embedded"].limits.concurrency == 1


def test_a_narration_that_nobody_could_hear_is_not_paid_for(tmp_path, monkeypatch):
    project = write_speech_project(tmp_path, LINES)
    monkeypatch.setitem(sys.modules, "faster_whisper", None)  # Python's own way to say: not installed
    with opened(project) as (client, plan), pytest.raises(SweepError, match="listen: false"):
        run_sweep(plan, client, ledger=project.ledger, reports=project.reports)
    assert not project.ledger.exists()
