"""The parameter `reasoning`: levels and budgets in each field's spelling, and a budget inside the limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.catalog import Capabilities, ModelSpec, ParamRules
from llmbench.errors import ParamError
from llmbench.messages import Adjustment
from llmbench.providers.gemini import GeminiWire
from llmbench.routing.params import guard
from llmbench.routing.thinking import LEVELS

NAMES = GeminiWire().names


def spec(key: str, *levels: str) -> ModelSpec:
    rules = ParamRules("maxOutputTokens", reasoning_key=key)
    return ModelSpec(
        "m", "p", "id", "gemini", capabilities=Capabilities(reasoning_levels=levels), params=rules
    )


def told(guarded) -> list[tuple]:
    return [(change.action, change.before, change.after) for change in guarded.adjustments]


@pytest.mark.parametrize(
    ("key", "value", "sent"),
    [
        ("thinkingLevel", "low", "LOW"),
        ("thinkingLevel", "minimal", "MINIMAL"),
        ("thinkingBudget", "none", 0),
        ("thinkingBudget", "minimal", 512),
        ("thinkingBudget", "low", 1024),
        ("thinkingBudget", "medium", 8192),
        ("thinkingBudget", "max", 24576),
    ],
)
def test_a_level_in_another_spelling_is_told_with_what_was_sent(key, value, sent):
    guarded = guard(spec(key), {"reasoning": value})
    assert guarded.params == {key: sent}
    assert told(guarded) == [("renamed", value, sent), ("renamed", "reasoning", key)]


def test_a_model_may_have_a_level_of_its_own():
    assert guard(spec("thinkingLevel", "Brand-New"), {"reasoning": "brand-new"}).params == {
        "thinkingLevel": "BRAND-NEW"
    }


@pytest.mark.parametrize("key", ["reasoning", "reasoning_effort", "thinkingLevel", "thinkingBudget", None])
def test_a_slip_in_a_level_is_named_on_every_model(key):
    with pytest.raises(ParamError, match="reasoning 'Hihg' is no level; did you mean 'high'"):
        guard(spec(key), {"reasoning": "Hihg"})


@pytest.mark.parametrize("value", [-2, {"max_tokens": -5}])
def test_a_budget_under_minus_one_is_refused(value):
    with pytest.raises(ParamError, match="-1 for the model's choice: -"):
        guard(spec("reasoning"), {"reasoning": value})


@pytest.mark.parametrize("value", [512, 0.5, True])
def test_a_number_is_refused_where_the_field_takes_words(value):
    for key, wire in (("reasoning_effort", "chat"), ("reasoning", "responses")):
        model = ModelSpec("m", "p", "id", wire, params=ParamRules(reasoning_key=key))
        with pytest.raises(ParamError, match=f"reasoning {value} is no level; m takes words: none, "):
            guard(model, {"reasoning": value})
    on_chat = ModelSpec("m", "p", "id", params=ParamRules(reasoning_key="reasoning"))
    assert guard(on_chat, {"reasoning": 512}).params == {"reasoning": 512}


def test_a_level_may_be_written_in_either_case():
    level = guard(spec("thinkingLevel", "low", "HIGH"), {"reasoning": "LOW"})
    assert level.params == {"thinkingLevel": "LOW"}
    assert told(level) == [("renamed", "reasoning", "thinkingLevel")]
    effort = guard(spec("reasoning", "low", "HIGH"), {"reasoning": "High"})
    assert (effort.params, told(effort)) == ({"reasoning": "high"}, [("renamed", "High", "high")])
    nearest = guard(spec("thinkingLevel", "low", "HIGH"), {"reasoning": "MAX"})
    assert told(nearest)[:2] == [("clamped", "max", "high"), ("renamed", "high", "HIGH")]


@pytest.mark.parametrize(("key", "value"), [("thinkingBudget", 300), ("thinkingBudget", -1)])
def test_a_budget_is_sent_as_it_is(key, value):
    guarded = guard(spec(key, "low", "high"), {"reasoning": value, "max_tokens": 4096})
    assert guarded.params[key] == value
    assert ("renamed", "reasoning", key) in told(guarded)
    assert not [change for change in guarded.adjustments if change.action == "clamped"]


@pytest.mark.parametrize(
    ("key", "value", "limit", "sent"),
    [
        ("thinkingBudget", "low", 1000, 200),
        ("thinkingBudget", "high", 8192, 6553),
        ("thinkingBudget", "high", 24576, 19660),
        ("thinkingBudget", "low", 200, 128),
        ("thinkingBudget", 4096, 4096, 3276),
        ("reasoning", 9000, 1000, 800),
        ("reasoning", {"max_tokens": 9000, "exclude": True}, 1000, {"max_tokens": 800, "exclude": True}),
    ],
)
def test_a_budget_that_leaves_no_room_for_the_answer_is_made_smaller_and_told(key, value, limit, sent):
    guarded = guard(spec(key), {"reasoning": value, "max_tokens": limit})
    assert guarded.params[key] == sent
    rule = f"m: thoughts count against max_tokens {limit}"
    assert [change.rule for change in guarded.adjustments if change.action == "clamped"] == [rule]


def test_the_limit_is_the_one_that_is_sent():
    able = Capabilities(max_output_tokens=1000)
    model = ModelSpec("m", "p", "id", capabilities=able, params=ParamRules(reasoning_key="thinkingBudget"))
    guarded = guard(model, {"reasoning": 2000, "max_tokens": 4000})
    assert guarded.params == {"thinkingBudget": 800, "max_tokens": 1000}
    assert guard(model, {"reasoning": 2000}).params == {"thinkingBudget": 800}, "the model's own limit"


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("reasoning", "high", 100),
        ("reasoning", {"effort": "high"}, 100),
        ("reasoning_effort", "high", 100),
        ("thinkingLevel", "HIGH", 100),
        ("thinkingBudget", 0, 1),
    ],
)
def test_what_is_no_budget_needs_no_room(key, value, limit):
    assert guard(spec(key), {"reasoning": value, "max_tokens": limit}).params[key] == value


@pytest.mark.parametrize(
    ("key", "value", "limit", "said"),
    [
        ("thinkingBudget", "low", 128, "no thought fits in max_tokens 128; give more than 128 or none"),
        ("thinkingBudget", "some", None, "is no level; known: none, "),
        ("thinkingBudget", True, None, "is no thinkingBudget; give a number of tokens or one of none, "),
        ("thinkingLevel", "none", None, "is no thinkingLevel; name the model's levels"),
        ("thinkingLevel", 512, None, "is no thinkingLevel"),
    ],
)
def test_what_no_field_takes_is_refused_before_it_is_sent(key, value, limit, said):
    with pytest.raises(ParamError, match=said) as caught:
        guard(spec(key), {"reasoning": value, **({} if limit is None else {"max_tokens": limit})})
    assert "\n" not in str(caught.value)


@given(
    value=st.one_of(st.sampled_from(LEVELS), st.integers(0, 100_000)),
    limit=st.integers(129, 70_000),
    key=st.sampled_from(["thinkingBudget", "reasoning"]),
)
def test_a_budget_always_leaves_room_for_an_answer(value, limit, key):
    sent = guard(spec(key), {"reasoning": value, "max_tokens": limit}).params[key]
    assert isinstance(sent, str) or sent == 0 or sent < limit


def test_the_names_of_a_wire_are_told():
    options = {"top_p": 0.9, "top_k": 4, "stop": "x", "seed": 1, "max_tokens": 9}
    guarded = guard(spec("thinkingLevel"), options, names=NAMES)
    assert guarded.params == {
        "topP": 0.9,
        "topK": 4,
        "stopSequences": "x",
        "seed": 1,
        "maxOutputTokens": 9,
    }
    renamed = {change.before: change.after for change in guarded.adjustments}
    assert renamed == {
        "top_p": "topP",
        "top_k": "topK",
        "stop": "stopSequences",
        "max_tokens": "maxOutputTokens",
    }
    assert (
        Adjustment("top_p", "renamed", "top_p", "topP", "m: names of the wire gemini") in guarded.adjustments
    )
