"""From reply text to data: fences, strict JSON, schemas that are checked before a reply is paid for."""

from __future__ import annotations

import json
import time
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_validator

from llmbench.errors import ParamError, ProviderError
from llmbench.messages import OutputSchema
from llmbench.structuring import (
    as_output_schema,
    clean_output,
    loads_strictly,
    meets_strict_rules,
    parse_structured,
    unfence,
    unwrap_json,
)

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('  ```\n{"a": 1}```  ', '{"a": 1}'),
        ('```json\r\n{"a": 1}\r\n```\r\n', '{"a": 1}'),
        ("```c-sharp\n  x\n```", "  x"),
    ],
)
def test_a_fence_around_the_whole_reply_is_taken_off(text, inside):
    assert unfence(text) == inside


@pytest.mark.parametrize(
    "text",
    [
        'Here:\n```json\n{"a": 1}\n```',
        "```\na\n```\nand\n```\nb\n```",
        "```json",
        "``` a b ```",
        "no fence",
        "",
    ],
)
def test_a_fence_inside_a_longer_reply_stays(text):
    assert unfence(text) == text


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_fenced_or_not_the_data_is_the_same(value):
    text = json.dumps(value)
    assert loads_strictly(unfence(f"```json\n{text}\n```")) == loads_strictly(unfence(text)) == value


def test_a_reply_of_white_space_is_read_in_linear_time():
    started = time.process_time()
    unfence("```\n" + " \t" * 500_000 + "x")
    assert time.process_time() - started < 1


@pytest.mark.parametrize("field", ["text", "output", "content"])
def test_a_reply_that_is_one_text_field_is_that_text(field):
    assert unwrap_json(f' {{"{field}": "字幕\\n{{x}}"}}\n') == "字幕\n{x}"


@pytest.mark.parametrize(
    "text",
    [
        '{"text": "a", "n": 1}',
        '{"text": "a", "text": "b"}',
        '{"text": 1}',
        '{"text": {"text": "a"}}',
        '{"title": "a"}',
        '[{"text": "a"}]',
        'Here: {"text": "a"}',
        '{"text": "a"} done',
        '{"text": "a"}{"text": "b"}',
        '{"text": "a"',
        '{"text":' + "[" * 100_000 + "]}",
        "{}",
        "{text}",
        "",
    ],
)
def test_any_other_reply_keeps_its_json(text):
    assert unwrap_json(text) == text


def test_steps_go_on_until_nothing_is_wrapped():
    for text in ('```json\n{"text": "{\\"output\\": \\"x\\"}"}\n```', '{"text": "```\\nx\\n```"}'):
        for steps in (("unfence", "unwrap_json"), ("unwrap_json", "unfence")):
            assert clean_output(text, steps) == "x"
    assert clean_output(text, ("unfence",)) == clean_output(text, ()) == text
    with pytest.raises(ParamError, match="unknown step 'strip'; known: unfence, unwrap_json"):
        clean_output(text, ("strip",))


wrapped = st.recursive(
    st.text() | st.sampled_from(["```", "{", "```\nx\n```"]),
    lambda inner: (
        inner.map(lambda text: f"```json\n{text}\n```")
        | inner.map(lambda text: f" {text}\n")
        | st.builds(
            lambda name, text: json.dumps({name: text}), st.sampled_from(["text", "output", "name"]), inner
        )
    ),
)


@given(wrapped, st.lists(st.sampled_from(["unfence", "unwrap_json"]), max_size=3))
def test_cleaning_twice_is_cleaning_once_and_never_adds(text, steps):
    cleaned = clean_output(text, steps)
    assert clean_output(cleaned, steps) == cleaned
    assert len(cleaned) <= len(text)


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "1e999", "{", "", "[" * 100_000])
def test_what_the_standard_does_not_have_is_refused(text):
    with pytest.raises(ValueError, match=r"JSON|double|deeply|Expecting"):
        loads_strictly(text)


def test_a_reply_that_meets_its_schema_becomes_data():
    assert parse_structured('```json\n{"name": "Ann", "age": 3}\n```', OutputSchema(PERSON)) == {
        "name": "Ann",
        "age": 3,
    }


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("SECRET", "is not JSON"),
        ('{"name": "SECRET", "age": -1}', "at age: must meet minimum 0"),
        ('{"name": 1, "age": 1}', "at name: must meet type string"),
        ('{"age": 1}', "'name' is a required property"),
        ('{"name": "x", "age": 1, "SECRET": 2}', "must meet additionalProperties False"),
        ("NaN", "NaN is not JSON"),
    ],
)
def test_a_broken_reply_names_the_rule_and_not_its_own_content(reply, said):
    with pytest.raises(ProviderError, match=said) as caught:
        parse_structured(reply, OutputSchema(PERSON))
    assert caught.value.kind == "invalid_output"
    assert caught.value.output == reply
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_reply_that_is_nested_without_end_is_invalid_output():
    tree = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "array", "items": {"$ref": "#/$defs/n"}}}}
    with pytest.raises(ProviderError) as caught:
        parse_structured("[" * 900 + "]" * 900, OutputSchema(tree))
    assert caught.value.kind == "invalid_output"


class Person(BaseModel):
    name: str


class Event(BaseModel, strict=True):
    day: date
    title: str

    @field_validator("title")
    @classmethod
    def _is_short(cls, title: str) -> str:
        if title == "typo":
            raise TypeError(f"about {title}")
        if len(title) > 5:
            raise ValueError("longer than\n5 characters")
        return title


def test_a_class_validates_more_than_its_schema_and_the_data_stays_plain():
    schema = as_output_schema(Event)
    assert schema is not None
    good = {"day": "2024-02-29", "title": "leap"}
    assert parse_structured(json.dumps(good), schema) == good


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"day": "2023-02-29", "title": "leap"}, "breaks its class at day: Input should be a valid date"),
        ({"day": "2024-02-29", "title": "too long"}, "at title: Value error, longer than 5 characters"),
        ({"day": "2024-02-29", "title": "typo"}, "breaks its class at the reply: TypeError"),
    ],
)
def test_what_a_class_refuses_is_invalid_output(reply, said):
    schema = as_output_schema(Event)
    assert schema is not None
    with pytest.raises(ProviderError, match=said) as caught:
        parse_structured(json.dumps(reply), schema)
    assert caught.value.kind == "invalid_output"
    assert caught.value.output == json.dumps(reply)
    assert "\n" not in str(caught.value)


def test_every_spelling_of_a_wish_for_structure_is_understood():
    assert as_output_schema(None) is None
    assert as_output_schema({"type": "text"}) is None
    assert as_output_schema(PERSON) == OutputSchema(PERSON)
    assert as_output_schema(Person) == OutputSchema(Person.model_json_schema(), name="Person")
    assert as_output_schema({"type": "json_object"}) == OutputSchema({"type": "object"}, name="json_object")
    nested = {"type": "json_schema", "json_schema": {"name": "p", "strict": False, "schema": PERSON}}
    assert as_output_schema(nested) == OutputSchema(PERSON, name="p", strict=False)
    assert as_output_schema({"type": "json_object", "schema": PERSON}) == OutputSchema(PERSON)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (7, "not int"),
        ("json", "not str"),
        ({"type": "json_schema"}, "needs json_schema.schema"),
        ({"foo": 1}, "is no JSON Schema"),
        ({"type": "objekt"}, "is none of text, json_object and json_schema, and none of a JSON Schema"),
        ({"type": "object", "required": 5}, "not a valid JSON Schema"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/missing"}}}, "leads nowhere"),
        ({"$ref": "https://example.org/schema.json"}, "leads nowhere"),
        ({"type": "array", "items": {"$dynamicRef": "https://example.org/schema.json"}}, "leads nowhere"),
        ({"type": "object", "default": {1, 2}}, "not plain JSON"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_before_any_call(wish, said):
    with pytest.raises(ParamError, match=said):
        as_output_schema(wish)


def closed(**properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def nested(levels: int, **more: object) -> dict[str, object]:
    return closed(a={"type": "array", "items": nested(levels - 1)}) if levels > 1 else closed(a={}, **more)


@pytest.mark.parametrize(
    "rule",
    [
        *(
            {"minimum": 0},
            {"maximum": 9},
            {"exclusiveMinimum": 0},
            {"exclusiveMaximum": 9},
            {"multipleOf": 2},
        ),
        *({"minLength": 1}, {"maxLength": 9}, {"pattern": "^a"}, {"format": "date"}),
        *({"minItems": 1}, {"maxItems": 9}, {"uniqueItems": True}, {"patternProperties": {}}),
        *({"minProperties": 1}, {"maxProperties": 9}, {"allOf": [{}]}, {"oneOf": [{}]}, {"not": {}}),
    ],
    ids=lambda rule: next(iter(rule)),
)
def test_strict_is_not_for_schemas_with_keywords_that_hosts_refuse(rule):
    assert not meets_strict_rules(closed(a=rule))
    assert not meets_strict_rules(closed(a={"anyOf": [{"type": "null"}, {"type": "array", "items": rule}]}))
    assert meets_strict_rules(closed(**{next(iter(rule)): {"type": "string"}})), "the name of a property"


def test_strict_is_not_for_schemas_that_are_larger_than_hosts_take():
    assert meets_strict_rules(closed(**{f"p{n}": {} for n in range(100)}))
    assert not meets_strict_rules(closed(**{f"p{n}": {} for n in range(101)}))
    assert meets_strict_rules(nested(5))
    assert not meets_strict_rules(nested(6))
    assert not meets_strict_rules({**closed(a={}), "anyOf": [closed(a={})]})


def test_a_reference_counts_as_what_it_names_and_a_circle_ends():
    deep = closed(a=closed(b={"$ref": "#/$defs/deep"}))
    assert meets_strict_rules({**deep, "$defs": {"deep": nested(3)}})
    assert not meets_strict_rules({**deep, "$defs": {"deep": nested(4)}})
    circle = closed(next={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]})
    assert meets_strict_rules({**circle, "$defs": {"node": circle}})
    assert meets_strict_rules(closed(a={"$ref": "https://example.org/x.json"}))


def test_strict_is_for_closed_objects_that_need_all_their_keys():
    person = closed(name={"type": "string"}, age={"type": "integer"})
    assert meets_strict_rules(person)
    assert not meets_strict_rules({**person, "required": ["name"]})
    assert not meets_strict_rules({**person, "additionalProperties": True})
    assert not meets_strict_rules({"type": "array", "items": person})
    inner = {"type": "object", "properties": {"x": {"type": "string"}}}
    outer = {**person, "properties": {"p": inner}, "required": ["p"]}
    assert not meets_strict_rules(outer)
