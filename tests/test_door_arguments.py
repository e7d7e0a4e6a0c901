"""Plain wrong arguments at the three doors: a typed error that says what to give, before anything is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmbench import ImageClient, LLMClient, SpeechClient
from llmbench.errors import ParamError
from llmbench.routing.door import Door
from tests.media_calls import write_folder

PROVIDER = {"providers": {"stub": {"base_url": "http://127.0.0.1:1/v1"}}}
MODELS = {"models": {"m": {"provider": "stub"}, "n": {"provider": "stub"}}}
IMAGES = {**PROVIDER, **MODELS, "tiers": {"image": ["m", "n"]}, "tasks": {"scene": {"tier": "image"}}}
SPEECH = {
    **PROVIDER,
    "models": {"v": {"provider": "stub", "defaults": {"voice": "x"}}},
    "tiers": {"speech": ["v"]},
    "tasks": {"narration": {"tier": "speech"}},
}
Ask = Callable[..., Any]


def _whole(door: Any, method: str) -> Ask:
    """A method that is run to its end: awaited, or read to its last piece."""

    def ask(*args: Any, **arguments: Any) -> Any:
        made = getattr(door, method)(*args, **arguments)
        if asyncio.iscoroutine(made):
            return asyncio.run(made)
        return list(made) if method == "stream" else made

    return ask


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("doors"), image_models=IMAGES, speech_models=SPEECH)


@pytest.fixture(
    scope="module",
    params=[
        (LLMClient, "caption", ("call", "acall", "stream", "explain")),
        (ImageClient, "scene", ("generate", "agenerate", "explain")),
        (SpeechClient, "narration", ("synthesize", "asynthesize", "stream", "explain")),
    ],
    ids=["text", "image", "speech"],
)
def door(request, folder) -> Any:
    """A client, the name of its task, and its ways to ask."""
    kind, task, methods = request.param
    with kind(folder, variables={}, log_path=folder / "log.jsonl") as client:
        yield client, task, [_whole(client, method) for method in methods]


def check_refused(ways: list[Ask], said: str, task: Any, text: Any = "x", **arguments: Any) -> None:
    """Every way to ask refuses the call in these words."""
    for ask in ways:
        with pytest.raises(ParamError) as caught:
            ask(task, text, **arguments)
        assert str(caught.value).startswith(said)


@pytest.mark.parametrize(("task", "kind"), [(None, "NoneType"), (5, "int"), (["a"], "list"), (b"a", "bytes")])
def test_a_task_that_is_no_name_is_refused(door, task, kind):
    check_refused(door[2], f"task: give the name of a task as a text, not {kind}", task)


@pytest.mark.parametrize("name", ["strict", "allow_fallback"])
@pytest.mark.parametrize("value", ["no", "", 0, 1, []])
def test_what_is_neither_true_nor_false_is_refused(door, name, value):
    check_refused(door[2], f"{name}: give True or False, not {value!r}", door[1], **{name: value})


@pytest.mark.parametrize("models", [5, ["m", 5], b"m", [None], True])
def test_models_that_are_no_names_are_refused(door, models):
    check_refused(
        door[2], "models: give the name of a model, or a list of names, not", door[1], models=models
    )


@pytest.mark.parametrize("name", ["channel", "env", "tier", "run_id", "cell", "routing_key"])
@pytest.mark.parametrize("value", [["a"], 5])
def test_what_should_be_a_text_and_is_none_is_refused(door, name, value):
    said = f"{name}: give a text, not {type(value).__name__}"
    check_refused(door[2], said, door[1], **{name: value})


def test_none_is_as_if_it_were_not_given(door):
    client, task, _ = door
    names = ("models", "strict", "allow_fallback", "channel", "env", "tier", "run_id", "cell", "budget_usd")
    more = () if isinstance(client, LLMClient) else ("references", "out")
    plain = client.explain(task, "x")
    for name in (*names, *more):
        assert client.explain(task, "x", **{name: None}) == plain


def test_models_are_taken_as_one_name_or_as_any_list_of_names(folder):
    with ImageClient(folder, variables={}) as client:
        for models in ("n", ["n", "m"], ("n",), iter(["n"]), {"n": 1}.keys()):
            assert client.explain("scene", "x", models=models).candidates == ("n",)


@pytest.mark.parametrize(
    "name", ["force_responses", "force_chat", "variables", "system"]
)  # fmt: skip
def test_arguments_of_the_text_door_alone_are_checked_too(folder, name):
    with LLMClient(folder, variables={}) as client, pytest.raises(ParamError, match=f"^{name}: "):
        client.explain("caption", "x", **{name: 5})


@pytest.mark.parametrize(("out", "kind"), [(b"x.png", "bytes"), (3, "int"), (["x.png"], "list")])
def test_a_file_that_is_no_path_is_refused(folder, out, kind):
    said = f"out: give the path of a file as a text or a Path, not {kind}"
    with ImageClient(folder, variables={}) as pictures, SpeechClient(folder, variables={}) as voices:
        check_refused([_whole(pictures, "generate"), pictures.explain], said, "scene", out=out)
        check_refused([_whole(voices, "stream"), voices.explain], said, "narration", out=out)


def test_references_that_are_no_pictures_are_refused(folder):
    with ImageClient(folder, variables={}) as client:
        ways = [_whole(client, "generate"), client.explain]
        check_refused(
            ways, "references: give pictures as bytes or paths, one or a list, not", "scene", references=5
        )
        check_refused(ways, "references: give the bytes of a picture or its path", "scene", references=[None])


@pytest.mark.parametrize("given", [b"x", "a.png", [Path("a.png")]])
def test_a_narration_takes_no_references(folder, given):
    with SpeechClient(folder, variables={}) as client:
        ways = [_whole(client, "synthesize"), _whole(client, "stream"), client.explain]
        check_refused(ways, "references: a narration takes no pictures", "narration", references=given)
        assert client.explain("narration", "x", references=[]).candidates == ("v",)


def test_the_doors_are_all_here():
    assert {LLMClient, ImageClient, SpeechClient} <= set(Door.__subclasses__())
