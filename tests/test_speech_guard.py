"""The guard of speech calls: another voice is refused, everything else that changes is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.catalog import Capabilities, ModelSpec, Wire
from llmbench.errors import ParamError
from llmbench.media import MediaAsk
from llmbench.providers.media_wires import media_wire_for
from llmbench.routing.speech_guard import GuardedSpeech, guard_speech, late_change

TEXT = "おはよう。今日は晴れです。Good morning."


def spec(wire: Wire = "speech", **media: Any) -> ModelSpec:
    return ModelSpec("m", "p", "m-id", wire=wire, capabilities=Capabilities(mode="speech"), media=media)


def guarded(
    media: dict[str, Any] | None = None, wire: Wire = "speech", text: str = TEXT, **options: Any
) -> GuardedSpeech:
    return guard_speech(spec(wire, **(media or {})), text, options)


def told(result: GuardedSpeech) -> list[tuple[str, str, Any, Any]]:
    return [(change.param, change.action, change.before, change.after) for change in result.adjustments]


def test_a_plain_call_asks_for_samples_that_can_be_joined_and_changes_nothing():
    result = guarded(voice="alloy", speed=1.5, instructions="calmly")
    assert result.params == {"voice": "alloy", "speed": 1.5, "instructions": "calmly", "format": "wav"}
    assert (result.pieces, result.rate_hz, result.adjustments) == ((TEXT,), 24_000, ())


@pytest.mark.parametrize(
    ("media", "wire", "sent"),
    [
        ({}, "speech", "wav"),
        ({"formats": ["mp3", "pcm"]}, "speech", "pcm"),
        ({"formats": ["mp3", "aac"]}, "speech", "mp3"),
        ({"formats": ["ulaw"]}, "speech", "wav"),
        ({"formats": ["pcm"]}, "gemini", None),
    ],
)
def test_the_wire_is_asked_for_what_joins_with_the_least_loss(media, wire, sent):
    assert guarded(media, wire).params.get("format") == sent


def test_a_format_and_a_rate_that_are_made_here_are_told():
    result = guarded({"sample_rates_hz": [24_000]}, format="mp3", sample_rate_hz=48_000)
    assert told(result) == [("format", "moved", "mp3", "wav"), ("sample_rate_hz", "moved", 48_000, None)]
    assert "sample_rate_hz" not in result.params
    assert told(guarded({"sample_rates_hz": [24_000]}, format="wav", sample_rate_hz=24_000)) == []


def test_the_rate_of_raw_samples_is_the_models_first():
    assert guarded({"sample_rates_hz": [16_000, 48_000]}).rate_hz == 16_000
    assert guarded({"sample_rates_hz": [16_000]}, sample_rate_hz=48_000).rate_hz == 16_000


@pytest.mark.parametrize(
    ("rates", "asked", "form", "whole"),
    [
        ([], None, "wav", None),
        ([], None, "mp3", None),
        ([], None, "opus", 48_000),
        ([48_000, 24_000], None, "wav", 48_000),
        ([24_000], None, "opus", 48_000),
        ([96_000], None, "mp3", 48_000),
        ([24_000], 44_100, "wav", 44_100),
        ([], 44_100, "mp3", 44_100),
    ],
)
def test_the_rate_of_the_whole_is_the_asked_one_or_the_models_first_where_the_format_has_it(
    rates, asked, form, whole
):
    options = {} if asked is None else {"sample_rate_hz": asked}
    media = {"sample_rates_hz": rates} if rates else {}
    assert guard_speech(spec(**media), TEXT, options, form).whole_hz == whole


@pytest.mark.parametrize(
    ("asked", "form", "becomes"),
    [(96_000, "mp3", 48_000), (4000, "mp3", 8000), (11_025, "opus", 48_000), (50_000, "aac", 64_000)],
)
def test_a_rate_that_the_format_has_not_becomes_the_next_that_it_has_and_is_told(asked, form, becomes):
    result = guard_speech(spec(), TEXT, {"sample_rate_hz": asked}, form)
    assert result.whole_hz == becomes
    assert told(result) == [("sample_rate_hz", "clamped", asked, becomes)]


@pytest.mark.parametrize(
    ("came", "whole", "planned", "is_told"),
    [
        ({24_000}, 24_000, None, False),
        ({22_050, 48_000}, 22_050, None, True),
        ({22_050, 48_000}, 48_000, None, True),
        ({22_050, 48_000}, 48_000, 48_000, False),
        ({22_050, 48_000}, 24_000, 24_000, True),
        ({96_000}, 48_000, 48_000, True),
    ],
)
def test_rates_of_pieces_that_are_lost_in_the_whole_are_told(came, whole, planned, is_told):
    change = late_change("m", came, whole, planned)
    assert (change is not None) == is_told
    if change is not None:
        assert (change.param, change.after) == ("sample_rate_hz", whole)


@pytest.mark.parametrize(
    ("media", "options", "said"),
    [
        ({"voices": ["Kore", "Puck"]}, {"voice": "Kora"}, "m has no voice 'Kora'; did you mean 'Kore'?"),
        ({"voices": ["Kore", "Puck"]}, {"voice": "x"}, "it has Kore, Puck"),
        ({"voices": ["Kore"]}, {"speakers": {"A": "Kore", "B": "Zed"}}, "no voice 'Zed'"),
        ({}, {"voice": "a", "speakers": {"A": "b"}}, "not both"),
        ({"max_speakers": 2}, {"speakers": {"A": "a", "B": "b", "C": "c"}}, "2 voices at once"),
        ({"max_speakers": 1}, {"speakers": {"A": "a", "B": "b"}}, "1 voice at once"),
        ({}, {"speakers": {"B": "a", "C": "b"}}, "begins with 'B' or 'C' and a colon"),
        ({"languages": ["ja", "en-US"]}, {"language": "fr"}, "does not speak 'fr'; it speaks ja, en-US"),
    ],
)
def test_what_would_be_another_narration_is_refused(media, options, said):
    with pytest.raises(ParamError) as caught:
        guarded(media, text="A: hello", **options)
    assert said in str(caught.value)


def test_a_language_is_matched_without_its_region():
    for language in ("en", "en-GB", "JA"):
        assert guarded({"languages": ["ja", "en-US"]}, language=language).params["language"] == language


def test_a_language_that_the_model_hears_from_the_text_is_left_out_and_told():
    result = guarded(language="ja")
    assert "language" not in result.params
    assert told(result) == [("language", "dropped", "ja", None)]
    assert guarded(wire="gemini", language="ja").params == {"language": "ja"}


def test_speed_and_instructions_are_dropped_or_clamped_in_the_open():
    without = {"supports_speed": False, "supports_instructions": False}
    result = guarded(without, speed=2.0, instructions="calmly")
    assert told(result) == [("speed", "dropped", 2.0, None), ("instructions", "dropped", "calmly", None)]
    assert told(guarded(speed=9.0)) == [("speed", "clamped", 9.0, 4.0)]
    assert told(guarded(speed=0.1)) == [("speed", "clamped", 0.1, 0.25)]


@pytest.mark.parametrize("media", [{}, {"supports_speed": True}, {"supports_speed": False}])
def test_a_speed_that_gemini_has_no_field_for_is_left_out_in_the_open(media):
    result = guarded(media, "gemini", speed=1.5)
    assert "speed" not in result.params
    assert told(result) == [("speed", "dropped", 1.5, None)]


def test_a_name_without_a_voice_in_a_dialogue_is_told():
    result = guarded(wire="gemini", text="A: hi\nB: hey\nC: yo", speakers={"A": "a", "B": "b"})
    assert told(result) == [("speakers", "dropped", "C", None)]
    assert result.params["speakers"] == {"A": "a", "B": "b"}


@pytest.mark.parametrize("text", ["", " \n　"])
def test_an_empty_text_is_refused(text):
    with pytest.raises(ParamError, match="the text is empty"):
        guarded(text=text)


@pytest.mark.parametrize("text", ["……！？", "* * *\n——", "🎉"])
def test_a_text_with_nothing_to_say_is_refused(text):
    with pytest.raises(ParamError, match="nothing in it can be spoken"):
        guarded(text=text)


def test_pieces_are_as_long_as_the_model_and_the_call_allow():
    long = "これは文です。" * 400
    assert max(map(len, guarded(text=long).pieces)) == 595  # 600 characters where nothing is known
    assert max(map(len, guarded({"max_prompt_tokens": 100}, text=long).pieces)) == 98
    assert max(map(len, guarded(text=long, piece_chars=50).pieces)) == 49
    assert guarded(text=long, split="sentence").pieces == ("これは文です。",) * 400


def test_a_piece_length_that_the_model_does_not_take_is_clamped_in_the_open():
    result = guarded({"max_prompt_chars": 20}, piece_chars=1000)
    assert told(result) == [("piece_chars", "clamped", 1000, 20)]
    assert max(map(len, result.pieces)) <= 20
    assert told(guarded(piece_chars=1000)) == []


def test_instructions_that_go_with_every_piece_take_their_part_of_the_limit():
    media = {"max_prompt_chars": 30}
    assert max(map(len, guarded(media, "gemini", text="あ。" * 30, instructions="x" * 10).pieces)) == 18
    with pytest.raises(ParamError, match="instructions alone fill the limit"):
        guarded(media, "gemini", instructions="x" * 28)


CAPABILITIES = st.fixed_dictionaries(
    {},
    optional={
        "supports_speed": st.booleans(),
        "supports_instructions": st.booleans(),
        "max_speakers": st.integers(1, 3),
        "voices": st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3, unique=True),
        "languages": st.lists(st.sampled_from(["ja", "en-US"]), min_size=1, max_size=2, unique=True),
        "formats": st.lists(st.sampled_from(["mp3", "pcm", "wav", "opus"]), min_size=1, max_size=3),
        "sample_rates_hz": st.lists(st.sampled_from([16_000, 24_000]), min_size=1, max_size=2),
        "max_prompt_chars": st.integers(1, 60),
        "max_prompt_tokens": st.integers(1, 60),
    },
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "voice": st.sampled_from(["a", "b", "z"]),
        "speakers": st.dictionaries(
            st.sampled_from(["Joe", "Jane"]), st.sampled_from(["a", "z"]), min_size=1
        ),
        "language": st.sampled_from(["ja", "en", "fr"]),
        "speed": st.floats(0.01, 10),
        "instructions": st.text(min_size=1, max_size=20),
        "format": st.sampled_from(["wav", "mp3"]),
        "sample_rate_hz": st.sampled_from([16_000, 24_000]),
        "split": st.sampled_from(["size", "sentence"]),
        "piece_chars": st.integers(1, 100),
        "at_once": st.integers(1, 4),
    },
)
TEXTS = st.text(alphabet="あい。、\n aA.!「」 Joe:", min_size=1, max_size=120)


@given(CAPABILITIES, OPTIONS, TEXTS, st.sampled_from(["speech", "gemini"]))
def test_what_is_not_sent_as_it_was_asked_is_told_and_every_letter_is_spoken(media, options, text, wire):
    model = spec(wire, **media)
    try:
        result = guard_speech(model, text, options)
    except ParamError:
        return
    told_of = {change.param for change in result.adjustments}
    for name in ("voice", "speakers", "language", "speed", "instructions"):
        assert result.params.get(name) == options.get(name) or name in told_of
    assert list(filter(str.isalnum, "".join(result.pieces))) == list(filter(str.isalnum, text))
    assert all(any(map(str.isalnum, piece)) for piece in result.pieces)
    limits = [media[name] for name in ("max_prompt_chars", "max_prompt_tokens") if name in media]
    limits += [options["piece_chars"]] if "piece_chars" in options else []
    assert all(len(piece) <= min(limits, default=600) for piece in result.pieces)
    has_no_place = {"speed"} if wire == "gemini" else {"speakers"}
    if not has_no_place & set(result.params) and len(result.params.get("speakers", "ab")) == 2:
        assert media_wire_for(model).body(model, MediaAsk(result.pieces[0], result.params))
