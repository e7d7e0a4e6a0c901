"""docs/media.md names what the doors, files and variables really are; test_docs_blocks runs its code."""

from __future__ import annotations

import dataclasses
import inspect
import re
from dataclasses import replace
from pathlib import Path

import pytest

from llmbench import ImageClient, SpeechClient
from llmbench.config import load_config, read_environment
from llmbench.config.media_view import media_config, media_environment
from llmbench.media import Image
from llmbench.routing.media_asked import media_asked
from llmbench.routing.media_params import PARAMETERS
from tests.media_calls import write_folder

ROOT = Path(__file__).parents[1]
DOC = (ROOT / "docs" / "media.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```", "", DOC, flags=re.DOTALL | re.MULTILINE)
ARGUMENTS = {
    name for name, each in inspect.signature(media_asked).parameters.items() if each.kind is each.KEYWORD_ONLY
}
DOORS = {"image": ImageClient, "speech": SpeechClient}


def listed(words: str) -> set[str]:
    """The names in the code span that follows these words."""
    (span,) = re.findall(rf"{re.escape(words)} `([^`]+)`", " ".join(PROSE.split()))
    return set(span.split())


def test_the_arguments_of_all_doors_are_those_that_are_taken():
    assert listed("All take") == (ARGUMENTS - {"references"}) | {"timeout", "extra_body"}


@pytest.mark.parametrize(
    ("kind", "words", "own"), [("image", "Pictures:", {"references"}), ("speech", "Speech:", set())]
)
def test_the_parameters_of_a_kind_are_those_that_it_takes(kind, words, own):
    assert listed(words) == (set(PARAMETERS[kind]) - {"timeout"}) | own


def test_every_argument_that_the_text_gives_a_value_exists():
    given = set(re.findall(r"`(\w+)=", PROSE))
    assert {"aspect_ratio", "speakers", "strict"} <= given
    assert given <= {*ARGUMENTS, *PARAMETERS["image"], *PARAMETERS["speech"]}


def test_what_is_asked_for_in_the_table_exists():
    rows = re.findall(
        r"^\| (.+?) \| .+? \| .+? \|$", PROSE.partition("## What is sent")[2], flags=re.MULTILINE
    )
    named = set(re.findall(r"`([a-z_]+)", " ".join(rows)))
    assert {"aspect_ratio", "speed", "sample_rate_hz"} <= named
    assert named <= {*ARGUMENTS, *PARAMETERS["image"], *PARAMETERS["speech"]}


def test_the_doors_have_the_methods_that_are_named_and_no_others():
    rows = re.findall(r"^\| `((?:Image|Speech)Client\..+?) \|", PROSE, flags=re.MULTILINE)
    said = {f"{row.partition('.')[0]}.{name}" for row in rows for name in re.findall(r"\w+(?=`)", row)}
    real = {
        f"{door.__name__}.{name}"
        for door in DOORS.values()
        for name in vars(door)
        if not name.startswith("_") and name != "explain"  # which has a row of its own
    }
    assert said == real
    assert ".explain(task, ...)` of both" in PROSE
    assert all(callable(door.explain) for door in DOORS.values())
    assert listed("`.images` with") == {field.name for field in dataclasses.fields(Image)}


# ---- variables


class _Watched(dict[str, str]):
    """Variables that remember which of them were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Both media files with two models and a profile each."""
    files = {
        f"{kind}_models": {
            "providers": {"stub": {"base_url": "http://127.0.0.1:1/v1"}},
            "models": {name: {"provider": "stub", "defaults": more} for name in ("usual", "other")},
            "tiers": {kind: ["usual"]},
            "tasks": {f"{kind}-a": {"tier": kind}, f"{kind}-b": {"tier": kind}},
            "profiles": {"draft": {"tiers": {kind: ["other"]}}},
        }
        for kind, more in (("image", {}), ("speech", {"voice": "x"}))
    }
    return write_folder(tmp_path / "configs", **files)


def documented(kind: str, task: str) -> list[str]:
    """The variables of the table, those of a task with its name."""
    rows = re.findall(r"^\| (`(?:IMAGE|SPEECH)_CLIENT_.+?) \|", PROSE, flags=re.MULTILINE)
    names = re.findall(rf"`({kind.upper()}_CLIENT_[A-Z_<>]+)`", " ".join(rows))
    return [name.replace("<TASK>", task.upper().replace("-", "_")) for name in names]


@pytest.mark.parametrize("kind", ["image", "speech"])
def test_the_variables_are_those_that_are_read_and_no_others(folder, kind):
    config, variables = load_config(folder), _Watched()
    environment = replace(read_environment({}), variables=variables)
    media_config(config, kind, environment)
    media_environment(environment, kind, config.media[kind])
    said = {name for task in (f"{kind}-a", f"{kind}-b") for name in documented(kind, task)}
    assert said == variables.asked


@pytest.mark.parametrize("kind", ["image", "speech"])
def test_the_variables_do_what_is_said(folder, kind):
    profile, every, one = documented(kind, f"{kind}-a")
    for name, value, chosen in (
        (profile, "draft", ("other", "other")),
        (every, "other", ("other", "other")),
        (one, "other", ("other", "usual")),
        ("LLM_FORCE_MODELS", "other", ("usual", "usual")),
        ("LLM_MODEL_SLOT", "1", ("usual", "usual")),
    ):
        with DOORS[kind](folder, variables={name: value}) as client:
            routes = [client.explain(f"{kind}-{task}").candidates for task in "ab"]
        assert routes == [(model,) for model in chosen], name
