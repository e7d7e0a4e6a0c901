"""Messages, routes and responses: values that drop nothing of what they were given."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import ParamError
from llmbench.messages import (
    Adjustment,
    Attempt,
    Message,
    Request,
    Response,
    Route,
    Usage,
    canonical_json,
)
from llmbench.prompts import as_messages


def test_a_text_becomes_one_user_turn_after_the_system_prompt():
    assert as_messages("hi", "be brief") == (Message("system", "be brief"), Message("user", "hi"))
    assert as_messages("") == (Message("user", ""),)


def test_the_further_keys_of_a_turn_are_sent_as_they_are():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = as_messages(
        [
            {"role": "user", "content": [{"type": "text", "text": "go"}], "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
        ]
    )
    assert [turn.as_dict() for turn in turns] == [
        {"role": "user", "content": [{"type": "text", "text": "go"}], "name": "ann"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ([], "the list is empty"),
        ([{"role": "robot", "content": "x"}], "'robot' is none of system"),
        ([{"role": "user"}], "content must be text"),
        ([{"role": "user", "content": None}], "content must be text"),
        ([{"role": "user", "content": ["x"]}], "content must be text"),
        (["x"], "a message is a mapping"),
        ({"role": "user", "content": "x"}, "a message is a mapping"),
        (None, "give a text or a list of messages, not NoneType"),
        (5, "give a text or a list of messages, not int"),
        ([{"role": "user", "content": "x", "name": object()}], r"messages\[0\]: not plain JSON"),
        ([{"role": "user", "content": [{"type": "text", "text": b"x"}]}], r"messages\[0\]: not plain JSON"),
        ([{"role": "user", "content": [{"n": float("nan")}]}], r"messages\[0\]: not plain JSON"),
        ([Message("user", "x", {"name": b"x"})], r"messages\[0\]: not plain JSON"),
        ([Message("user", b"x")], "content must be text"),
    ],
)
def test_a_prompt_that_is_none_is_refused_with_its_place(prompt, said):
    with pytest.raises(ParamError, match=said):
        as_messages(prompt)


def test_a_system_prompt_that_is_no_text_is_refused():
    with pytest.raises(ParamError, match="system: must be a text, not bytes"):
        as_messages("hi", b"be brief")


PARTS = [{"type": "text", "text": "{what} of {city}"}, {"type": "image_url", "image_url": {"url": "{what}"}}]


def test_variables_fill_their_places_in_every_text_and_touch_nothing_else():
    turns = as_messages(
        [Message("user", "{what}: {count}"), {"role": "user", "content": PARTS}],
        "As {who}, not as {'who'} or {0} or { who }",
        {"what": "概要", "who": "an {editor}", "count": 3, "city": "Kyōto"},
    )
    assert [turn.content for turn in turns] == [
        "As an {editor}, not as {'who'} or {0} or { who }",  # a value is not looked through again
        "概要: 3",
        ({"type": "text", "text": "概要 of Kyōto"}, PARTS[1]),
    ]
    assert as_messages("{題}です", variables={"題": "x"})[0].content == "xです"


def test_without_variables_braces_mean_nothing():
    assert as_messages('{name} {"a": {}}', "{x}") == (
        Message("system", "{x}"),
        Message("user", '{name} {"a": {}}'),
    )


@given(st.text(), st.text())
def test_a_value_arrives_as_it_is_whatever_it_holds(value, around):
    around = around.replace("{", "(")
    (turn,) = as_messages(around + '{"json": {a}}', variables={"a": value})
    assert turn.content == around + '{"json": ' + value + "}"


@pytest.mark.parametrize(
    ("prompt", "variables", "said"),
    [
        ("{name}", {}, r"\{name\} has no value in variables; give one"),
        ("{name}", {"nmae": 1}, r"\{name\} has no value in variables; did you mean 'nmae'"),
        ("{name}", {"name": 1, "names": 2}, r"no text has a place \{names\}; did you mean 'name'"),
        ("plain", {"name": 1}, r"no text has a place \{name\}; remove it"),
        ("{name}", {"name": None}, "'name' must be a text or a number, not NoneType"),
        ("{name}", {"name": True}, "'name' must be a text or a number, not bool"),
    ],
)
def test_a_place_without_a_value_and_a_value_without_a_place_are_refused(prompt, variables, said):
    with pytest.raises(ParamError, match=said):
        as_messages(prompt, variables=variables)


def test_a_failed_attempt_that_was_paid_for_says_so_and_an_answer_leaves_its_cost_to_the_call():
    paid = Attempt("a", 5.0, queued_ms=2.0004, error_kind="truncated", usage=Usage(7, 2), cost_usd=0.5,
                   cost_source="registry", ttft_ms=1.23456)  # fmt: skip
    assert paid.as_dict() == {
        "model": "a", "latency_ms": 5.0, "waited_ms": 0.0, "queued_ms": 2.0, "ttft_ms": 1.235,
        "error_kind": "truncated", "status_code": None, "error": None, "usage": Usage(7, 2).as_dict(),
        "cost_usd": 0.5, "cost_source": "registry",
    }  # fmt: skip
    assert set(Attempt("b", 1.0, usage=Usage(1, 1), cost_usd=0.1).as_dict()) == {
        "model", "latency_ms", "waited_ms", "queued_ms",
    }  # fmt: skip


def test_values_are_frozen():
    for value in (Usage(), Message("user", "x"), Attempt("a", 1.0)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, "changed")


def test_equal_prompts_have_equal_hashes_and_a_turn_more_another():
    def hashed(*contents):
        turns = tuple(Message("user", text) for text in contents)
        return Request(task="t", messages=turns, call_id="x").prompt_sha256

    assert hashed("字幕") == hashed("字幕") != hashed("字幕", "")


def test_half_a_character_of_a_torn_text_has_a_hash_too():
    hashes = {
        Request(task="t", messages=as_messages(text), call_id="x").prompt_sha256
        for text in ("x", "x \ud83d", "x \ud83e")
    }
    assert len(hashes) == 3


def test_canonical_json_has_one_spelling_and_no_nan():
    assert canonical_json({"b": "é", "a": [1, None]}) == '{"a":[1,null],"b":"é"}'
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(float("nan"))


def route(**fields) -> Route:
    return Route(task="caption", tier="cheap", candidates=("a", "b"), reasons=("tier cheap",), **fields)


def test_a_route_tells_its_story_and_a_page_shows_it_escaped():
    change = Adjustment("stop", "dropped", ["<b>"], None, "a: allow_stop")
    told = str(route(excluded=(("c", "no key"),), adjustments={"a": (change,)}, worst_case_s=120.0))
    assert told.splitlines() == [
        "caption -> tier cheap -> a > b",
        "  because tier cheap",
        "  without c: no key",
        "  a: stop dropped: ['<b>'] -> None (a: allow_stop)",
        "  at worst 120 s and unknown",
    ]
    assert "<b>" not in route(adjustments={"a": (change,)})._repr_html_()
    hostile = Route("<b>", "<b>", ("<b>",), ("<b>",), (("<b>", "<b>"),))
    assert "<b>" not in hostile._repr_html_()


def response(**fields) -> Response:
    basic = {
        "text": "<script>", "model": "b", "model_id": "m-b", "provider": "stub", "tier": "cheap",
        "finish_reason": "stop", "usage": Usage(1, 1), "latency_ms": 5.0, "cost_usd": None,
        "cost_source": "unknown: no price", "call_id": "c", "adjustments": (), "route": route(),
        "attempts": (Attempt("a", 1.0, error_kind="rate_limit"), Attempt("a", 1.0, error_kind="timeout"),
                     Attempt("b", 2.0)),
    }  # fmt: skip
    return Response(**{**basic, **fields})


def test_the_chain_names_each_model_once_and_the_one_that_answered_last():
    assert response().fallback_chain == ("a", "b")
    assert response().reason == "tier cheap; a: rate_limit; a: timeout"


def test_a_response_shows_its_text_and_never_runs_it():
    assert str(response()) == "<script>"
    hostile = response(model="<script>", tier="<script>", cost_source="<script>")
    assert "<script>" not in hostile._repr_html_()
    assert "unknown: no price" in response()._repr_html_()
