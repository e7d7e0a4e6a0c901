"""A dialogue's lines and the speakers that have voices: a wrong name is refused, a colon of prose is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import ParamError
from llmbench.routing.dialogue import fit_speakers

PAIR = {"Alice": "Kore", "Carol": "Puck"}
AOI = {"葵": "Kore", "蓮": "Puck"}


@pytest.mark.parametrize(
    ("text", "speakers"),
    [
        ("Alice: Hi.\nCarol: Hello.", PAIR),
        ("  alice : Hi.\nCAROL： Hello.", PAIR),
        ("Alice (softly): Hi.\nCarol [laughs]: Hello.", PAIR),
        ("葵: こんにちは。\n蓮：やあ。\n葵（小声で）：ねえ。", AOI),
        ("Alice: Hi.\nWhat a day.\nCarol: Yes.", PAIR),
        ("Alice: We meet at 10:30.\n10:30 it is.\nCarol: Yes: at once.", PAIR),
        ("Alice: See\nhttps://example.com/x\nCarol: Thanks.", PAIR),
        ("Alice: Hi.\nShe paused, then said: no.\nCarol: Oh.", PAIR),
        ("Alice: Hi.\nThis is what I wanted to say: no.\nCarol: Oh.", PAIR),
        ("Alice: I talk alone today.", PAIR),
        ("Mr. J. Smith-Jones the Third, Esq.: Hi.", {"Mr. J. Smith-Jones the Third, Esq.": "Kore"}),
        ("Note: no dialogue at all.", {}),
        ("Note: no dialogue at all.", None),
    ],
)
def test_a_dialogue_of_the_speakers_that_are_named_is_taken_as_it_is(text, speakers):
    assert fit_speakers(text, speakers) == []


@pytest.mark.parametrize(
    ("text", "speakers", "said"),
    [
        ("Hi.\nHello.", PAIR, "no line of the text begins with 'Alice' or 'Carol' and a colon; write"),
        ("こんにちは。\nやあ。", AOI, "begins with '葵' or '蓮'"),
        ("Alice and Carol met at 10:30.", PAIR, "or give voice for one speaker"),
        ("注意：足元に気をつけて。", AOI, "(lines begin with '注意')"),
        ("Bob: Hi.\nDan: Hello.", PAIR, "(lines begin with 'Bob', 'Dan')"),
        ("Alice: Hi.\nBob: Hello.", PAIR, "begins with 'Carol' (lines begin with 'Bob')"),
        ("Alice: Hi.\nCarl: Hello.", PAIR, "did you mean 'Carol' by 'Carl'?"),
        ("葵: こんにちは。\n翔: やあ", AOI, "begins with '蓮' (lines begin with '翔')"),
        ("Hi Alice: yes", PAIR, "'Alice' or 'Carol'"),
    ],
)
def test_a_text_that_lacks_a_speaker_is_refused_with_the_names(text, speakers, said):
    with pytest.raises(ParamError) as caught:
        fit_speakers(text, speakers)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Bob: Hey.", "Bob"),
        ("Note: mind the gap.", "Note"),
        ("注意：足元に。", "注意"),
        ("Old Joe: Ha!", "Old Joe"),
    ],
)
def test_a_name_without_a_voice_beside_all_the_speakers_is_told_and_not_refused(line, name):
    text = f"Alice: Hi.\nCarol: Hello.\n{line}\n{line}"
    (change,) = fit_speakers(text, PAIR)
    assert (change.param, change.action, change.before, change.after) == ("speakers", "dropped", name, None)
    assert "another speaker's voice reads them" in str(change)


@given(st.text(alphabet="AliceCarol:：() \n1-葵", max_size=200))
def test_any_text_is_taken_or_refused_in_typed_words(text):
    try:
        changes = fit_speakers(text, PAIR)
    except ParamError:
        return
    assert all(change.before.casefold() not in ("alice", "carol") for change in changes)
