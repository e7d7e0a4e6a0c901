"""Parameters of image and speech calls: names, spellings and types, checked before anything is sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import ParamError
from llmbench.routing.media_params import PARAMETERS, merge, normalise

GOOD = {
    "image": {
        "n": 2,
        "size": "1536x1024",
        "aspect_ratio": "16:9",
        "negative_prompt": "text",
        "seed": 0,
        "quality": "high",
        "format": "png",
        "background": "opaque",
        "style": "vivid",
        "timeout": 2.5,
        "extra_body": {"user": "u"},
    },
    "speech": {
        "voice": "Kore",
        "speakers": {"Joe": "Kore", "Jane": "Puck"},
        "language": "ja",
        "speed": 1.25,
        "instructions": "cheerfully",
        "format": "mp3",
        "sample_rate_hz": 24_000,
        "split": "sentence",
        "piece_chars": 200,
        "at_once": 2,
        "timeout": 60,
        "extra_body": {},
    },
}


@pytest.mark.parametrize("kind", ["image", "speech"])
def test_every_parameter_is_taken_under_its_canonical_name_without_a_change(kind):
    assert set(GOOD[kind]) == {*PARAMETERS[kind], "extra_body"}
    assert normalise(kind, GOOD[kind]) == (GOOD[kind], ())


@pytest.mark.parametrize(
    ("kind", "given_name", "value", "name"),
    [
        ("image", "num_images", 3, "n"),
        ("image", "image_size", "2K", "size"),
        ("image", "ratio", "1:1", "aspect_ratio"),
        ("image", "output_format", "webp", "format"),
        ("image", "response_format", "png", "format"),
        ("speech", "voice_name", "Kore", "voice"),
        ("speech", "lang", "ja", "language"),
        ("speech", "rate", 1.5, "speed"),
        ("speech", "output_format", "wav", "format"),
        ("speech", "sample_rate", 16_000, "sample_rate_hz"),
    ],
)
def test_another_spelling_is_renamed_and_told(kind, given_name, value, name):
    options, (change,) = normalise(kind, {given_name: value})
    assert options == {name: value}
    assert (change.param, change.action, change.before, change.after) == (
        given_name,
        "renamed",
        given_name,
        name,
    )


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("image", {"aspect_ration": "1:1"}, "did you mean 'aspect_ratio'"),
        ("image", {"zzzzzz": 1}, "known: n, size, aspect_ratio"),
        ("image", {"voice": "Kore"}, "unknown image parameter 'voice'"),
        ("speech", {"negative_prompt": "x"}, "unknown speech parameter 'negative_prompt'"),
        ("image", {"size": "1K", "image_size": "2K"}, "size is given twice"),
        ("image", {"n": 0}, "n must be a whole number of 1 to 100: 0"),
        ("image", {"n": 101}, "n must be a whole number of 1 to 100: 101"),
        ("image", {"n": True}, "n must be"),
        ("image", {"n": 1.0}, "n must be"),
        ("image", {"size": "1024"}, "WIDTHxHEIGHT"),
        ("image", {"size": "0x10"}, "WIDTHxHEIGHT"),
        ("image", {"size": "1024x1024\n"}, "WIDTHxHEIGHT"),
        ("image", {"size": "3K"}, "1K, 2K or 4K"),
        ("image", {"aspect_ratio": "16x9"}, "a ratio such as 16:9"),
        ("image", {"aspect_ratio": "0:1"}, "a ratio such as 16:9"),
        ("image", {"seed": -1}, "seed must be"),
        ("image", {"format": "gif"}, "format 'gif' is none of png, jpeg, webp"),
        ("image", {"quality": " "}, "quality must be a text"),
        ("image", {"extra_body": [1]}, "extra_body must be a mapping"),
        ("image", {"extra_body": {"a": {1, 2}}}, "extra_body is no plain JSON: Object of type set"),
        ("speech", {"extra_body": {"a": [float("nan")]}}, "extra_body is no plain JSON"),
        ("speech", {"extra_body": {"a": b"x"}}, "extra_body is no plain JSON: Object of type bytes"),
        ("image", {"timeout": 0}, "timeout must be"),
        ("image", {"timeout": float("nan")}, "timeout must be"),
        ("speech", {"timeout": float("inf")}, "timeout must be"),
        ("speech", {"speed": 0}, "speed must be"),
        ("speech", {"speed": 10**400}, "speed must be"),
        ("image", {"seed": 10**400}, "seed must be"),
        ("speech", {"speed": "fast"}, "speed must be"),
        ("speech", {"speakers": {}}, "speakers must be a mapping"),
        ("speech", {"speakers": {"Joe": ""}}, "speakers must be a mapping"),
        ("speech", {"speakers": ["Joe"]}, "speakers must be a mapping"),
        ("speech", {"sample_rate_hz": 3999}, "4000 to 192000"),
        ("speech", {"sample_rate_hz": 24_000.0}, "4000 to 192000"),
        ("speech", {"split": "word"}, "`size` or `sentence`"),
        ("speech", {"split": ["size"]}, "`size` or `sentence`"),
        ("speech", {"piece_chars": 0}, "piece_chars must be"),
        ("speech", {"at_once": 0}, "at_once must be"),
        ("speech", {"format": "pcm"}, "format 'pcm' is none of wav, mp3"),
    ],
)
def test_a_wrong_name_or_value_is_refused_in_words_that_help(kind, options, said):
    with pytest.raises(ParamError) as caught:
        normalise(kind, options)
    assert said in str(caught.value)


def test_none_is_as_if_it_were_not_given():
    assert normalise("image", {"size": None, "image_size": "1K", "seed": None})[0] == {"size": "1K"}


@pytest.mark.parametrize(
    ("kind", "spelt", "name"),
    [("image", "JPG", "jpeg"), ("speech", "ogg", "opus"), ("speech", "M4A", "aac"), ("image", "PNG", "png")],
)
def test_a_format_is_known_under_the_names_that_people_use(kind, spelt, name):
    assert normalise(kind, {"format": spelt})[0] == {"format": name}


def test_the_later_layer_wins_and_only_its_renaming_is_told():
    options, renamed = merge("image", [{"num_images": 2, "image_size": "1K"}, {"n": 3}, {"ratio": "1:1"}])
    assert options == {"n": 3, "size": "1K", "aspect_ratio": "1:1"}
    assert [change.param for change in renamed] == ["image_size", "ratio"]


@pytest.mark.parametrize(
    ("kind", "layers", "options"),
    [
        ("image", [{"aspect_ratio": "16:9"}, {"size": "1024x1024"}], {"size": "1024x1024"}),
        ("image", [{"size": "1024x1024"}, {"ratio": "16:9"}], {"aspect_ratio": "16:9"}),
        ("image", [{"size": "2K"}, {"ratio": "16:9"}], {"size": "2K", "aspect_ratio": "16:9"}),
        ("image", [{"ratio": "16:9"}, {"size": "2K"}], {"size": "2K", "aspect_ratio": "16:9"}),
        ("image", [{"ratio": "1:1"}, {"size": "9x9"}, {"size": None}], {}),
        ("image", [{"image_size": "1K", "n": 2}, {"size": None}], {"n": 2}),
        ("speech", [{"voice": "a"}, {"speakers": {"A": "b"}}], {"speakers": {"A": "b"}}),
        ("speech", [{"speakers": {"A": "b"}}, {"voice_name": "a"}], {"voice": "a"}),
        ("speech", [{"voice": "a"}, {"speakers": {"A": "b"}}, {"voice": "c"}], {"voice": "c"}),
        ("speech", [{"voice": "a", "speakers": {"A": "b"}}], {"voice": "a", "speakers": {"A": "b"}}),
    ],
)
def test_an_option_takes_away_what_it_excludes_in_lower_layers_alone(kind, layers, options):
    assert merge(kind, layers)[0] == options


def test_the_renaming_of_what_a_later_layer_takes_away_is_not_told():
    for later in ({"size": "9x9"}, {"aspect_ratio": None}, {"aspect_ratio": "1:1"}):
        assert merge("image", [{"ratio": "16:9"}, later])[1] == ()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers()),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2), st.binary(max_size=4),
)  # fmt: skip


@given(st.sampled_from(["image", "speech"]), st.data())
def test_whatever_is_given_comes_out_checked_or_is_a_param_error(kind, data):
    names = st.sampled_from([*PARAMETERS[kind], "extra_body", "ratio", "lang", "x"])
    options = data.draw(st.dictionaries(names, VALUES, max_size=4))
    try:
        canonical, _ = normalise(kind, options)
    except ParamError:
        return
    assert set(canonical) <= {*PARAMETERS[kind], "extra_body"}
    assert None not in canonical.values()
    assert normalise(kind, canonical) == (canonical, ())
