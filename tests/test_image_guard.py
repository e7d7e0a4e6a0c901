"""The guard of image calls: nothing changes silently, and what comes out is what the model takes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.catalog import Capabilities, Endpoint, ModelSpec, Wire
from llmbench.errors import ParamError
from llmbench.media import Blob, MediaAsk
from llmbench.providers.media_wires import media_wire_for
from llmbench.routing.image_guard import GuardedImage, guard_image

PNG = Blob(b"png", "image/png")


def spec(wire: Wire = "images", **media: Any) -> ModelSpec:
    return ModelSpec("m", "p", "m-id", wire=wire, capabilities=Capabilities(mode="image"), media=media)


def guarded(media: dict[str, Any] | None = None, wire: Wire = "images", **options: Any) -> GuardedImage:
    return guard_image(spec(wire, **(media or {})), "a cube", options)


def told(result: GuardedImage) -> list[tuple[str, str, Any, Any]]:
    return [(change.param, change.action, change.before, change.after) for change in result.adjustments]


def test_what_the_file_does_not_speak_of_is_sent_as_it_is():
    options = {"size": "1x9", "aspect_ratio": "1:9", "seed": 5, "quality": "low", "format": "webp"}
    result = guarded(**options)
    assert (result.params, result.batches, result.adjustments) == (options, (1,), ())


@pytest.mark.parametrize("name", ["seed", "negative_prompt"])
def test_what_the_model_has_not_is_left_out_and_told(name):
    result = guarded({f"supports_{name}": False}, **{name: 7})
    assert result.params == {}
    assert told(result) == [(name, "dropped", 7, None)]


@pytest.mark.parametrize("wire", ["images", "workflow"])
def test_a_negative_prompt_is_sent_where_the_entry_says_that_there_is_one(wire):
    result = guarded({"supports_negative_prompt": True}, wire, negative_prompt="text")
    assert (result.params, result.adjustments) == ({"negative_prompt": "text"}, ())
    assert told(guarded(wire=wire, negative_prompt="x")) == [("negative_prompt", "dropped", "x", None)]


@pytest.mark.parametrize("wire", ["gemini", "chat", "workflow"])
def test_what_a_dialect_has_no_field_for_is_left_out_and_told(wire):
    result = guarded(wire=wire, quality="high", style="vivid", background="opaque", format="webp", seed=1)
    assert result.params == {"seed": 1}
    assert told(result) == [
        ("quality", "dropped", "high", None),
        ("style", "dropped", "vivid", None),
        ("background", "dropped", "opaque", None),
        ("format", "moved", "webp", None),
    ]


NO_SIZE, NO_RATIO = {"supports_size": False}, {"supports_aspect_ratio": False}
HD = {"size": "1920x1080", "aspect_ratio": "16:9"}
WIDE_2K, TALL_4K = {"size": "2K", "aspect_ratio": "16:9"}, {"size": "4K", "aspect_ratio": "9:16"}
BOTH = [("aspect_ratio", "moved"), ("size", "clamped")]
NEITHER = NO_SIZE | NO_RATIO
GPT = {"sizes": ["1024x1024", "1536x1024", "1024x1536"], **NO_RATIO}
BIG = {"sizes": ["1024x1024", "2048x2048", "1280x720", "2048x1152"], **NO_RATIO}
NAMED = {"sizes": ["1K", "2K"], "aspect_ratios": ["1:1", "16:9", "9:16"]}


@pytest.mark.parametrize(
    ("media", "options", "params", "changes"),
    [
        (NO_SIZE, {"size": "1920x1080"}, {"aspect_ratio": "16:9"}, [("size", "moved")]),
        (NO_SIZE, {"size": "2K"}, {}, [("size", "dropped")]),
        (NEITHER, {"size": "1920x1080"}, {}, [("size", "dropped")]),
        (NEITHER, {"aspect_ratio": "16:9"}, {}, [("aspect_ratio", "dropped")]),
        (NO_RATIO, {"aspect_ratio": "1:1"}, {"size": "1024x1024"}, [("aspect_ratio", "moved")]),
        (NO_RATIO, {"aspect_ratio": "16:9"}, {"size": "1360x768"}, [("aspect_ratio", "moved")]),
        (NO_RATIO, {"size": "2K"}, {"size": "2048x2048"}, [("size", "clamped")]),
        (NO_RATIO, WIDE_2K, {"size": "2048x1152"}, [("size", "clamped"), ("aspect_ratio", "dropped")]),
        (NO_RATIO, TALL_4K, {"size": "2304x4096"}, [("size", "clamped"), ("aspect_ratio", "dropped")]),
        (GPT, WIDE_2K, {"size": "1536x1024"}, [("size", "clamped"), ("aspect_ratio", "dropped")]),
        (BIG, WIDE_2K, {"size": "2048x1152"}, [("size", "clamped"), ("aspect_ratio", "dropped")]),
        (BIG, {"size": "4K"}, {"size": "2048x2048"}, [("size", "clamped")]),
        ({}, WIDE_2K, WIDE_2K, []),
        (GPT, {"aspect_ratio": "16:9"}, {"size": "1536x1024"}, [("aspect_ratio", "moved")]),
        (GPT, {"size": "720x1280"}, {"size": "1024x1536"}, [("size", "clamped")]),
        (GPT, {"size": "1024x1024"}, {"size": "1024x1024"}, []),
        (NAMED, {"size": "4K"}, {"size": "2K"}, [("size", "clamped")]),
        (NAMED, {"size": "1280x720"}, {"size": "1K", "aspect_ratio": "16:9"}, BOTH),
        (NAMED, {"aspect_ratio": "21:9"}, {"aspect_ratio": "16:9"}, [("aspect_ratio", "clamped")]),
        (NAMED, {"aspect_ratio": "9:16", "size": "2K"}, {"aspect_ratio": "9:16", "size": "2K"}, []),
        (NO_RATIO, HD, {"size": "1920x1080"}, [("aspect_ratio", "dropped")]),
        (NO_SIZE, HD, {"aspect_ratio": "16:9"}, [("size", "dropped")]),
        ({"sizes": ["512x512"]}, HD, {"size": "512x512"}, [("size", "clamped"), ("aspect_ratio", "dropped")]),
        ({"sizes": ["1K"], **NO_RATIO}, {"aspect_ratio": "16:9"}, {}, [("aspect_ratio", "dropped")]),
    ],
)  # fmt: skip
def test_size_and_ratio_are_turned_into_what_the_model_knows(media, options, params, changes):
    result = guarded(media, **options)
    assert dict(result.params) == params
    assert [(change.param, change.action) for change in result.adjustments] == changes


def test_a_ratio_beside_a_size_is_dropped_with_the_reason_that_holds():
    rules = {
        media["sizes"][0]: guarded(media, size="2K", aspect_ratio="16:9").adjustments[-1].rule
        for media in ({"sizes": ["2048x1152"], **NO_RATIO}, {"sizes": ["512x512"], **NO_RATIO})
    }
    assert rules == {
        "2048x1152": "the size says it",
        "512x512": "no size that the model makes has this shape; the size stays",
    }


@pytest.mark.parametrize(
    ("wire", "options", "params"),
    [
        ("gemini", {"size": "1920x1080"}, {"size": "2K", "aspect_ratio": "16:9"}),
        ("chat", {"size": "1024x1024"}, {"size": "1K", "aspect_ratio": "1:1"}),
        ("workflow", {"size": "1024x1536"}, {"aspect_ratio": "2:3"}),
    ],
)
def test_a_dialect_without_pixels_gets_what_it_has(wire, options, params):
    result = guarded(wire=wire, **options)
    assert dict(result.params) == params
    assert result.adjustments


def test_size_and_ratio_that_contradict_each_other_are_refused():
    for size, ratio in (("1024x1024", "16:9"), ("1920x1080", "9:16")):
        with pytest.raises(ParamError, match="contradict each other; give one of them"):
            guarded(size=size, aspect_ratio=ratio)
    assert guarded(size="1536x1024", aspect_ratio="3:2").adjustments == ()


@pytest.mark.parametrize(
    ("media", "wire", "n", "batches"),
    [
        ({}, "images", 10, (10,)),
        ({"max_batch_n": 4}, "images", 10, (4, 4, 2)),
        ({"max_batch_n": 4}, "images", 8, (4, 4)),
        ({"max_batch_n": 1}, "images", 2, (1, 1)),
        ({}, "gemini", 3, (1, 1, 1)),
        ({"max_batch_n": 4}, "chat", 2, (1, 1)),
        ({}, "workflow", 1, (1,)),
    ],
)
def test_more_pictures_than_one_request_makes_are_several_requests(media, wire, n, batches):
    result = guarded(media, wire, n=n)
    assert result.batches == batches
    assert told(result) == ([("n", "moved", n, batches[0])] if len(batches) > 1 else [])


def test_a_seed_that_is_counted_up_over_several_requests_is_told():
    for most in (1, 2):
        result = guarded({"max_batch_n": most}, n=4, seed=7)
        assert ("seed", "moved", 7, None) in told(result)
    assert told(guarded({"max_batch_n": 4}, n=4, seed=7)) == []


@pytest.mark.parametrize(
    ("media", "prompt", "said"),
    [
        ({}, "  \n", "the prompt is empty"),
        ({"max_prompt_chars": 5}, "a cube", r"has 6 characters, m takes 5 \(max_prompt_chars\)"),
        ({"max_prompt_tokens": 3}, "赤い立方体", r"about 5 tokens, m takes 3 \(max_prompt_tokens\)"),
    ],
)
def test_a_prompt_that_is_empty_or_too_long_is_refused_and_never_cut(media, prompt, said):
    with pytest.raises(ParamError, match=said):
        guard_image(spec(**media), prompt, {})


def test_reference_pictures_are_refused_where_the_file_says_so_alone():
    with pytest.raises(ParamError, match="takes no reference pictures"):
        guard_image(spec(supports_reference_images=False), "x", {}, [PNG])
    for said in ({}, {"supports_reference_images": True}):
        assert guard_image(spec(**said), "x", {}, [PNG]).adjustments == ()


CAN = st.sampled_from([None, True, False])
NAMES = ("1K", "2K", "4K", "1024x1024", "1536x1024", "768x1344", "auto")
SHAPES = st.one_of(
    st.sampled_from(["1K", "2K", "4K"]),
    st.builds("{}x{}".format, st.integers(1, 99_999), st.integers(1, 99_999)),
)
RATIOS = st.builds("{}:{}".format, st.integers(1, 9999), st.integers(1, 9999))


@st.composite
def models(draw: st.DrawFn) -> ModelSpec:
    said = {f"supports_{name}": draw(CAN) for name in ("size", "aspect_ratio", "seed", "negative_prompt")}
    media: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    if sizes := draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True)):
        media["sizes"] = sizes
    if ratios := draw(st.lists(RATIOS, max_size=3, unique=True)):
        media["aspect_ratios"] = ratios
    if most := draw(st.none() | st.integers(1, 5)):
        media["max_batch_n"] = most
    return spec(draw(st.sampled_from(["images", "gemini", "chat", "workflow"])), **media)


ASKED = st.fixed_dictionaries(
    {},
    optional={
        "size": SHAPES,
        "aspect_ratio": RATIOS,
        "seed": st.integers(0, 2**40),
        "negative_prompt": st.just("text"),
        "quality": st.just("low"),
        "format": st.sampled_from(["png", "webp"]),
        "background": st.just("opaque"),
        "style": st.just("vivid"),
        "n": st.integers(1, 12),
    },
)


def ratio_of(shape: str) -> float:
    width, height = (int(part) for part in shape.replace("x", ":").split(":"))
    return width / height


@given(models(), ASKED)
def test_what_is_not_sent_as_it_was_asked_is_told_and_what_is_sent_is_in_the_models_lists(model, options):
    try:
        result = guard_image(model, "a cube", options)
    except ParamError:
        shapes = ratio_of(options["size"]) / ratio_of(options["aspect_ratio"])
        assert abs(math.log(shapes)) > 0.09  # the one reason to refuse; a ratio is counted in steps of 16
        return
    told_of = {change.param for change in result.adjustments}
    for change in result.adjustments:
        told_of |= set(change.after) if isinstance(change.after, dict) else set()
    for name in set(options) - {"n"} | set(result.params):
        assert result.params.get(name) == options.get(name) or name in told_of
        assert model.media.get(f"supports_{name}") is not False or name not in result.params
    assert sum(result.batches) == options.get("n", 1)
    assert (len(result.batches) > 1) == ("n" in told_of)
    assert max(result.batches) <= (model.media.get("max_batch_n", 12) if model.wire == "images" else 1)
    for name in ("size", "aspect_ratio"):
        listed = model.media.get(f"{name}s")
        if listed and name in result.params and model.wire == "images":
            assert result.params[name] in listed
    if "x" in result.params.get("size", "") and "aspect_ratio" in result.params:
        shapes = ratio_of(result.params["size"]) / ratio_of(result.params["aspect_ratio"])
        assert abs(math.log(shapes)) < 0.12 or "size" not in told_of


@given(models(), ASKED)
def test_what_the_guard_lets_through_has_a_place_in_the_dialect(model, options):
    try:
        result = guard_image(model, "a cube", options)
    except ParamError:
        return
    wire = media_wire_for(model)
    params = dict(result.params, n=result.batches[0])
    assert wire.body(model, MediaAsk("a cube", params))
    assert wire.path(model, Endpoint("p", base_url="http://127.0.0.1:1")).startswith("/")
