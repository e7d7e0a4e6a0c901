"""The guard: no parameter reaches a model changed, renamed or lost without an entry that says so."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.catalog import PARAMETER_ALIASES, PARAMETERS, Capabilities, ModelSpec, ParamRules
from llmbench.errors import ParamError
from llmbench.messages import Adjustment, OutputSchema
from llmbench.routing.params import guard, merge, normalise

SCHEMA = {
    "type": "object",
    "properties": {"tag": {"enum": ["x"]}},
    "required": ["tag"],
    "additionalProperties": False,
}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
LEVELS = ["none", "minimal", "low", "medium", "high", "xhigh", "max"]
numbers = st.floats(0, 1) | st.integers(0, 1)
penalties = st.floats(-2, 2) | st.integers(-2, 2)
values = {
    "max_tokens": st.integers(1, 10_000),
    "reasoning": st.sampled_from(LEVELS),
    "temperature": numbers,
    "top_p": numbers,
    "top_k": st.integers(0, 100),
    "stop": st.text(min_size=1) | st.lists(st.text(min_size=1), min_size=1, max_size=3),
    "seed": st.integers(),
    "presence_penalty": penalties,
    "frequency_penalty": penalties,
    "tools": st.just(TOOLS),
    "tool_choice": st.sampled_from(["auto", "none"]),
    "verbosity": st.sampled_from(["low", "high"]),
    "timeout": st.floats(0.1, 100),
    "extra_body": st.dictionaries(st.sampled_from(["top_a", "temperature", "seed"]), st.integers()),
}
options = st.fixed_dictionaries({}, optional=values)
rules = st.builds(
    ParamRules,
    max_tokens_key=st.sampled_from(["max_tokens", "max_completion_tokens"]),
    reasoning_key=st.sampled_from([None, "reasoning", "reasoning_effort"]),
    response_format_support=st.sampled_from(["json_schema", "json_object", "llguidance", "prompt", "none"]),
    allow_temperature=st.booleans(),
    allow_top_p=st.booleans(),
    allow_stop=st.booleans(),
    allow_seed=st.booleans(),
    allow_penalties=st.booleans(),
    allow_top_k=st.booleans(),
    allow_verbosity=st.booleans(),
    min_max_tokens=st.integers(1, 64),
)
abilities = st.builds(
    Capabilities,
    tools=st.booleans(),
    reasoning_levels=st.lists(st.sampled_from(LEVELS), unique=True).map(tuple),
    max_output_tokens=st.none() | st.integers(1, 5_000),
)
specs = st.builds(ModelSpec, st.just("m"), st.just("p"), st.just("id"), capabilities=abilities, params=rules)
schemas = st.none() | st.just(OutputSchema(SCHEMA, "tag"))


def spec(**fields) -> ModelSpec:
    can = fields.pop("capabilities", Capabilities())
    return ModelSpec("m", "p", "id", capabilities=can, params=ParamRules(**fields))


@settings(max_examples=400)
@given(specs, options, schemas)
def test_every_option_is_sent_verbatim_or_has_an_adjustment(model, wanted, schema):
    guarded = guard(model, wanted, schema)
    told = {change.param for change in guarded.adjustments}
    for name, value in wanted.items():
        if name == "timeout":  # the call's deadline; no provider takes it
            assert name not in guarded.params
        elif name == "extra_body":
            assert guarded.extra_body == value
            assert set(value) <= told
        else:
            assert name in told or guarded.params[name] == value
    if schema is not None and "response_format" not in guarded.params:
        assert "response_format" in told


@given(specs, options, schemas)
def test_nothing_is_sent_that_nobody_asked_for(model, wanted, schema):
    guarded = guard(model, wanted, schema)
    asked = set(wanted)
    asked |= {str(change.after) for change in guarded.adjustments if change.action in ("renamed", "moved")}
    if schema is not None:
        asked.add("response_format")
    assert set(guarded.params) <= asked


@given(specs, options, schemas)
def test_adjustments_tell_the_truth(model, wanted, schema):
    guarded = guard(model, wanted, schema)
    for change in guarded.adjustments:
        if change.action == "dropped" and change.rule != "extra_body says otherwise":
            assert change.param not in guarded.params
        if change.action == "renamed":
            assert change.after in guarded.params or change.after in guarded.extra_body
        if change.action == "clamped":
            assert change.before == wanted[change.param] != change.after


@given(specs, options, schemas)
def test_the_guard_gives_the_same_for_the_same_and_what_json_can_hold(model, wanted, schema):
    guarded = guard(model, wanted, schema)
    assert guard(model, wanted, schema) == guarded
    json.dumps([dict(guarded.params), dict(guarded.extra_body)], allow_nan=False)


@given(st.lists(options, max_size=4))
def test_layers_merge_as_a_dictionary_does(layers):
    merged, renamed = merge(layers)
    expected: dict[str, object] = {}
    for layer in layers:
        expected |= layer
    assert merged == expected
    assert renamed == ()


def test_an_alias_is_recorded_and_only_that_of_the_layer_that_won():
    change = Adjustment(
        "max_completion_tokens", "renamed", "max_completion_tokens", "max_tokens", "canonical name"
    )
    assert merge([{"max_tokens": 5}, {"max_completion_tokens": 6}]) == ({"max_tokens": 6}, (change,))
    assert merge([{"max_completion_tokens": 6}, {"max_tokens": 5}]) == ({"max_tokens": 5}, ())
    assert merge([{"max_completion_tokens": 6}, {"max_tokens": None}]) == ({"max_tokens": 6}, (change,))
    for alias, name in PARAMETER_ALIASES.items():
        canonical, changes = normalise({alias: 5 if name == "max_tokens" else "low"})
        assert (list(canonical), [change.param for change in changes]) == ([name], [alias])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"temprature": 1}, "did you mean 'temperature'"),
        ({"zebra": 1}, "known: max_tokens"),
        ({"max_tokens": 5, "max_output_tokens": 6}, "max_tokens is given twice"),
        ({"max_tokens": 0}, "of at least 1"),
        ({"max_tokens": 1.5}, "whole number"),
        ({"max_tokens": True}, "whole number"),
        ({"max_tokens": "64"}, "whole number"),
        ({"max_tokens": math.inf}, "whole number"),
        ({"seed": math.nan}, "whole number"),
        ({"top_k": -1}, "of at least 0"),
        ({"temperature": "hot"}, "must be a number"),
        ({"temperature": math.nan}, "must be a number"),
        *(({name: 10**400}, "must be a") for name in ("temperature", "top_p", "timeout", "seed")),
        ({"max_tokens": 10**5000}, "int that is too long to show"),
        ({"temperature": -0.1}, "temperature must be a number from 0 to 2: -0.1"),
        ({"temperature": 2.1}, "temperature must be a number from 0 to 2: 2.1"),
        ({"top_p": 1.1}, "top_p must be a number from 0 to 1"),
        ({"presence_penalty": -3}, "from -2 to 2"),
        ({"timeout": 0}, "number over 0"),
        ({"stop": ""}, "text or a list of texts"),
        ({"stop": 5}, "text or a list of texts"),
        ({"stop": ["a", 1]}, "text or a list of texts"),
        ({"tools": {1, 2}}, "plain JSON"),
        ({"extra_body": [1]}, "must be a mapping"),
        ({"extra_body": {"x": math.nan}}, "plain JSON"),
        ({"extra_body": {"model": "other"}}, "must not set model"),
        ({"extra_body": {"stream": True}}, "must not set stream"),
    ],
)
def test_a_wrong_option_is_refused_by_name(wrong, said):
    with pytest.raises(ParamError, match=said) as caught:
        normalise(wrong)
    assert "\n" not in str(caught.value)


def test_whole_numbers_of_other_kinds_are_taken_as_what_they_are():
    import numpy as np

    canonical, _ = normalise({"max_tokens": 64.0, "seed": np.int64(7)})
    assert (canonical, [type(value) for value in canonical.values()]) == (
        {"max_tokens": 64, "seed": 7},
        [int, int],
    )


def test_none_means_not_given():
    assert normalise({"temperature": None, "max_tokens": None}) == ({}, ())


@given(st.sampled_from(LEVELS), st.lists(st.sampled_from(LEVELS), min_size=1, unique=True))
def test_a_reasoning_level_goes_to_the_nearest_allowed_one(level, allowed):
    model = spec(reasoning_key="reasoning_effort", capabilities=Capabilities(reasoning_levels=tuple(allowed)))
    guarded = guard(model, {"reasoning": level})
    sent = guarded.params["reasoning_effort"]
    distance = {name: abs(LEVELS.index(name) - LEVELS.index(level)) for name in allowed}
    assert distance[sent] == min(distance.values())
    assert any(change.action == "clamped" for change in guarded.adjustments) == (level not in allowed)


def test_a_limit_over_the_models_is_clamped_and_told():
    model = spec(capabilities=Capabilities(max_output_tokens=100))
    guarded = guard(model, {"max_tokens": 500})
    assert guarded.params == {"max_tokens": 100}
    assert guarded.adjustments == (Adjustment("max_tokens", "clamped", 500, 100, "m: max output tokens 100"),)
    assert guard(model, {"max_tokens": 100}).adjustments == ()


def test_a_limit_under_the_lowest_that_the_api_takes_is_raised_and_told():
    model = spec(min_max_tokens=16)
    guarded = guard(model, {"max_tokens": 5})
    assert guarded.params == {"max_tokens": 16}
    assert guarded.adjustments == (Adjustment("max_tokens", "clamped", 5, 16, "m: min_max_tokens 16"),)
    assert guard(model, {"max_tokens": 16}).adjustments == ()


def test_top_k_goes_only_where_the_api_has_it():
    assert guard(spec(), {"top_k": 4}).params == {"top_k": 4}
    dropped = guard(spec(allow_top_k=False), {"top_k": 4})
    assert (dropped.params, dropped.adjustments) == (
        {},
        (Adjustment("top_k", "dropped", 4, None, "m: allow_top_k"),),
    )


def test_a_level_that_is_none_is_refused():
    with pytest.raises(ParamError, match="'very' is no level"):
        guard(
            spec(reasoning_key="reasoning_effort", capabilities=Capabilities(reasoning_levels=("low",))),
            {"reasoning": "very"},
        )


def test_the_schema_goes_where_the_model_takes_it():
    schema = OutputSchema(SCHEMA, "tag")
    enforced = guard(spec(response_format_support="json_schema"), {}, schema)
    assert enforced.params["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "tag", "schema": SCHEMA, "strict": True},
    }
    assert enforced.adjustments == ()

    open_schema = OutputSchema({"type": "object"}, "free")
    loose = guard(spec(response_format_support="json_schema"), {}, open_schema)
    assert "strict" not in loose.params["response_format"]["json_schema"]

    grammar = guard(spec(response_format_support="llguidance"), {}, schema).params["grammar"]
    assert grammar.startswith("%llguidance {}\nstart: ")
    assert json.loads(grammar.split("%json ")[1])["x-guidance"]["whitespace_flexible"] is False

    for support, sent in (("prompt", {}), ("json_object", {"response_format": {"type": "json_object"}})):
        asked = guard(spec(response_format_support=support), {}, schema)
        assert (asked.params, '"enum":["x"]' in (asked.instruction or "")) == (sent, True)
        assert [change.after for change in asked.adjustments] == ["system prompt"]

    dropped = guard(spec(response_format_support="none"), {}, schema)
    assert (dropped.params, dropped.instruction, dropped.adjustments[0].action) == ({}, None, "dropped")


def test_json_mode_is_passed_on_where_the_host_has_it():
    wish = OutputSchema({"type": "object"}, "json_object")
    asked = guard(spec(response_format_support="json_schema"), {}, wish)
    assert asked.params["response_format"] == {"type": "json_object"}
    assert "JSON" in (asked.instruction or ""), "hosts refuse JSON mode where no message has the word"
    assert [(change.action, change.after) for change in asked.adjustments] == [("moved", "system prompt")]
    on_gemini = replace(spec(response_format_support="json_schema"), wire="gemini")
    assert guard(on_gemini, {}, wish).instruction is None


@pytest.mark.parametrize(
    ("name", "sent"),
    [("Box[int]", "Box_int"), ("概要", "reply"), ("a b.c", "a_b_c"), ("x" * 70, "x" * 64), ("_a-1", "_a-1")],
)
def test_a_schemas_name_is_one_that_hosts_take_and_its_change_is_told(name, sent):
    guarded = guard(spec(response_format_support="json_schema"), {}, OutputSchema(SCHEMA, name))
    assert guarded.params["response_format"]["json_schema"]["name"] == sent
    told = [(change.action, change.before, change.after) for change in guarded.adjustments]
    assert told == ([] if name == sent else [("renamed", name, sent)])


def test_strict_is_what_the_caller_asked_for_or_what_the_schema_allows():
    limited = {**SCHEMA, "properties": {"tag": {"type": "string", "pattern": "^x"}}}
    model = spec(response_format_support="json_schema")
    for strict in (None, True, False):
        sent = guard(model, {}, OutputSchema(limited, "tag", strict)).params["response_format"]["json_schema"]
        assert sent.get("strict") is strict


def test_verbosity_is_dropped_where_the_model_has_no_field_for_it():
    dropped = Adjustment("verbosity", "dropped", "low", None, "m: allow_verbosity")
    guarded = guard(spec(allow_verbosity=False), {"verbosity": "low"})
    assert (guarded.params, guarded.adjustments) == ({}, (dropped,))


def test_the_names_are_the_contracts():
    assert " ".join(PARAMETERS) == (
        "max_tokens reasoning temperature top_p top_k stop seed presence_penalty frequency_penalty "
        "response_format tools tool_choice verbosity timeout"
    )


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"model": "x"}, "must not set model"),
        ({"input": "x", "instructions": "y"}, "must not set input, instructions"),
        ({"contents": []}, "must not set contents"),
        ({"store": True}, "must not set store: no answer is stored at a provider"),
    ],
)
def test_extra_fields_never_replace_the_messages_or_store_an_answer(extra, said):
    with pytest.raises(ParamError, match=said):
        normalise({"extra_body": extra})
    assert normalise({"extra_body": {"store": False}})[0] == {"extra_body": {"store": False}}
