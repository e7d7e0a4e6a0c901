"""A first model without its key: who is asked in its place is told, and `strict` asks nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmbench import ImageClient, LLMBenchError, ParamError, RouteError, SpeechClient
from llmbench.check import check_folder
from tests.conftest import CANARY, provider
from tests.media_calls import KEYS, lines, write_folder
from tests.servers.image_provider import ImageProvider
from tests.servers.speech_provider import SpeechProvider

BOTH = {**KEYS, "FIRST_KEY": "first-secret-value"}
ADVICE = "allow_fallback: true of the task, or b as the first of its list, settles it"
MOVED = {
    "param": "model",
    "action": "moved",
    "from": "a",
    "to": "b",
    "rule": f"no key or address for provider first: set FIRST_KEY; {ADVICE}",
}


@pytest.fixture(scope="module")
def painter() -> Iterator[ImageProvider]:
    with ImageProvider() as running:
        yield running


@pytest.fixture(scope="module")
def speaker() -> Iterator[SpeechProvider]:
    with SpeechProvider() as running:
        yield running


@pytest.fixture
def folder(tmp_path, painter, speaker) -> Path:
    """Models `a` and `b` of either kind; the key of the provider of `a` is FIRST_KEY."""

    def files(url: str, task: str, **model: Any) -> dict[str, Any]:
        return {
            "providers": {"first": provider(url, env_api_key="FIRST_KEY"), "second": provider(url)},
            "models": {"a": {"provider": "first", **model}, "b": {"provider": "second", **model}},
            "tiers": {f"tier-{task}": ["a", "b"]},
            "tasks": {
                task: {"tier": f"tier-{task}"},
                f"free-{task}": {"tier": f"tier-{task}", "allow_fallback": True},
            },
        }

    return write_folder(
        tmp_path / "configs",
        image_models=files(painter.base_url("openai"), "scene"),
        speech_models=files(speaker.url, "narration", price={"per_minute": 1}, defaults={"voice": "x"}),
    )


def open_door(folder: Path, kind: str, variables: dict[str, str]) -> tuple[Any, Any, str]:
    """A client of the kind, its call, and its task."""
    log = folder.parent / "log.jsonl"
    if kind == "image":
        images = ImageClient(folder, variables=variables, log_path=log)
        return images, images.generate, "scene"
    voices = SpeechClient(folder, variables=variables, log_path=log)
    return voices, voices.synthesize, "narration"


@pytest.mark.parametrize(("kind", "suffix"), [("image", "png"), ("speech", "wav")])
def test_a_model_that_answers_in_place_of_one_without_a_key_is_told_everywhere(
    folder, tmp_path, kind, suffix
):
    client, make, task = open_door(folder, kind, KEYS)
    out = tmp_path / f"made.{suffix}"
    with client:
        response = make(task, "a cube", out=out)
        explained = client.explain(task, "a cube")
    assert response.model == "b"
    assert [change.as_dict() for change in response.adjustments] == [MOVED]
    assert [change.as_dict() for change in explained.adjustments["b"]] == [MOVED]
    assert MOVED["rule"] in str(explained)
    (line,) = lines(tmp_path / "log.jsonl")
    assert line["adjustments"] == [MOVED]
    assert json.loads(Path(f"{out}.json").read_text())["adjustments"] == [MOVED]


@pytest.mark.parametrize("kind", ["image", "speech"])
def test_strict_asks_nobody_in_place_of_a_model_without_a_key(folder, painter, speaker, kind):
    client, make, task = open_door(folder, kind, KEYS)
    before = len(painter.received) + len(speaker.received)
    with client:
        for ask in (make, client.explain):
            with pytest.raises(ParamError, match=r"strict: b would answer in place of a: .*set FIRST_KEY"):
                ask(task, "a cube", strict=True)
    assert len(painter.received) + len(speaker.received) == before


@pytest.mark.parametrize("kind", ["image", "speech"])
@pytest.mark.parametrize(
    ("variables", "prefix", "arguments"),
    [
        (BOTH, "", {}),  # its key is set
        (KEYS, "free-", {}),  # the task allows it
        (KEYS, "", {"allow_fallback": True}),
        (KEYS, "", {"models": "b"}),
        (KEYS, "", {"models": ["b", "a"]}),
    ],
)
def test_nothing_is_told_where_nobody_was_passed_over(folder, kind, variables, prefix, arguments):
    client, make, task = open_door(folder, kind, variables)
    with client:
        assert make(prefix + task, "a cube", **arguments).adjustments == ()


def test_a_list_that_a_call_gives_is_no_other_than_one_of_a_file(folder):
    client, make, task = open_door(folder, "image", KEYS)
    with client:
        assert make(task, "a cube", models=["a", "b"]).adjustments[0].as_dict() == MOVED
        with pytest.raises(RouteError, match="set FIRST_KEY"):
            make(task, "a cube", models="a")


def test_a_call_that_fails_at_another_model_says_that_it_was_another(folder, tmp_path):
    client, make, task = open_door(folder, "image", KEYS)
    with client, pytest.raises(LLMBenchError):
        make(task, "a cube #moderation")
    (line,) = lines(tmp_path / "log.jsonl")
    assert (line["status"], line["adjustments"]) == ("fail", [MOVED])


def test_check_names_the_tasks_that_another_model_would_answer_here(folder):
    def found(**variables: str) -> list[str]:
        said = map(str, check_folder(folder, variables=variables))
        return [line for line in said if "info" in line and "task" in line]

    told = [line.partition(": ")[2] for line in found(STUB_KEY=CANARY)]
    tasks = ("scene", "narration")
    assert told == [f"info: task {task!r}: b answers in place of a here: {MOVED['rule']}" for task in tasks]
    assert found(**BOTH) == found(FIRST_KEY="x") == found() == []
