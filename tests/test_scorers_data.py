"""Scorers of replies that are data: a schema, F1 over fields, values at paths."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.bench.scorers import score
from llmbench.errors import DatasetError
from tests.test_scorers import JSONS, RECORD, sample


def f1(output, target, schema=None, **params):
    text = output if isinstance(output, str) else json.dumps(output)
    return score("field_f1", params, text, sample(target), schema)


# ---- json_schema -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "details"),
    [
        ('{"event": "Any", "price": 1}', {"json": 1.0, "schema": 1.0}),
        ('```json\n{"event": "Any", "price": 1}\n```', {"json": 1.0, "schema": 1.0}),
        ('{"event": "Any", "price": "1"}', {"json": 1.0, "schema": 0.0}),
        ('Here: {"event": "Any", "price": 1}', {"json": 0.0, "schema": 0.0}),
    ],
)
def test_a_reply_obeys_the_schema_or_not(output, details):
    got = score("json_schema", {}, output, sample({"event": "Glass", "price": 2}), RECORD)
    assert (got.value, got.details) == (details["schema"], details)


def test_a_schema_may_ask_for_a_list():
    names = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    assert score("json_schema", {}, '["a"]', sample(["b"]), names).value == 1
    assert score("json_schema", {}, "[]", sample(["b"]), names).value == 0


def test_validity_needs_a_schema():
    with pytest.raises(DatasetError, match="needs the card's `output_schema`"):
        score("json_schema", {}, "{}", sample({}), None)


# ---- field_f1 ----------------------------------------------------------------------------------------


def test_precision_and_recall_count_values_at_any_depth():
    target = {"name": "Pier 4", "open": True, "tags": ["sea", "boat"]}
    got = f1({"name": "ＰＩＥＲ 4", "open": 1, "tags": ["boat", "sun", "sea"]}, target)
    assert got.details == {
        "json": 1.0,
        "schema": 1.0,
        "precision": 3 / 5,
        "recall": 3 / 4,
        "f1": pytest.approx(2 * (3 / 5) * (3 / 4) / (3 / 5 + 3 / 4)),
    }
    assert got.value == got.details["f1"]


@pytest.mark.parametrize(
    ("left", "right", "is_same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (1, "1", False),
        (0.5, 0.5, True),
        (None, "null", False),
        ("Ａ", "a", True),
        ([], {}, False),
        ([], [], True),
        (2**70, 2**70, True),
        (2**70, 2**70 + 1, False),
    ],
)
def test_values_are_the_same_as_for_a_reader(left, right, is_same):
    assert f1({"v": left}, {"v": right}).value == float(is_same)


def test_an_item_given_twice_counts_twice():
    assert f1({"t": ["a", "a"]}, {"t": ["a", "a"]}).value == 1
    assert f1({"t": ["a"]}, {"t": ["a", "a"]}).details["recall"] == 0.5
    assert f1({"t": ["a", "a"]}, {"t": ["a"]}).details["precision"] == 0.5


def test_keys_can_be_left_out_of_the_count():
    target = {"id": 1, "items": [{"id": 2, "n": "a"}]}
    assert f1({"items": [{"n": "a", "id": 9}]}, target, ignore=["id"]).value == 1
    with pytest.raises(DatasetError, match="no value of the target counts"):
        f1({}, {"id": 1}, ignore=["id"])


def test_a_target_may_be_a_list():
    assert f1(["b", "a"], ["a", "b"]).value == 1
    assert f1({"a": 1}, ["a"]).value == 0


def test_a_reply_that_breaks_the_schema_has_no_fields():
    got = f1({"event": "Glass", "price": "40"}, {"event": "Glass", "price": 40}, RECORD)
    assert got.details == {"json": 1.0, "schema": 0.0, "precision": 0.0, "recall": 0.0, "f1": 0.0}


OBJECTS = st.dictionaries(st.sampled_from("abc"), JSONS, min_size=1).filter(
    lambda value: "NaN" not in json.dumps(value) and "Infinity" not in json.dumps(value)
)


@given(target=OBJECTS, reply=OBJECTS)
@settings(max_examples=200, deadline=None)
def test_f1_is_symmetric_and_between_precision_and_recall(target, reply):
    got, back = f1(reply, target), f1(target, reply)
    assert got.value == back.value
    assert (got.details["precision"], got.details["recall"]) == (
        back.details["recall"],
        back.details["precision"],
    )
    low, high = sorted([got.details["precision"], got.details["recall"]])
    assert low - 1e-12 <= got.value <= high + 1e-12


@given(items=st.lists(st.integers(0, 3) | st.text("ab", max_size=2), min_size=1, max_size=6), data=st.data())
@settings(max_examples=100, deadline=None)
def test_the_order_of_keys_and_items_does_not_matter(items, data):
    shuffled = data.draw(st.permutations(items))
    assert f1({"b": 1, "a": shuffled}, {"a": items, "b": 1}).value == 1


# ---- json_paths --------------------------------------------------------------------------------------

REPLY = {"title": "Dawn", "scenes": [{"name": "pier", "n": 1}, {"name": "海", "n": 2}], "a b": {"c-d": [[5]]}}


@pytest.mark.parametrize(
    ("path", "wanted", "is_met"),
    [
        ("title", "DAWN", True),
        ("scenes[1].name", "海", True),
        ("scenes[0].name", "海", False),
        ("scenes[*].name", "海", True),
        ("scenes[*].name", "sky", False),
        ("scenes[7].name", "sky", False),
        ("scenes[0]", {"name": "Pier", "n": 1}, True),
        ("a b.c-d[0][0]", 5, True),
        ("title[0]", "D", False),
        ("scenes.name", "pier", False),
    ],
)
def test_a_path_leads_to_the_values_that_are_compared(path, wanted, is_met):
    one = sample("x", expect={path: wanted})
    assert score("json_paths", {}, json.dumps(REPLY), one, None).value == float(is_met)


def test_the_share_of_paths_counts_and_the_samples_win():
    one = sample("x", expect={"title": "Dawn"})
    got = score("json_paths", {"expect": {"title": "Dusk", "scenes[0].n": 9}}, json.dumps(REPLY), one, None)
    assert got.details == {"json": 1.0, "schema": 1.0, "path:title": 1.0, "path:scenes[0].n": 0.0}
    assert got.value == 0.5


def test_a_list_at_the_top_has_paths_too():
    assert score("json_paths", {"expect": {"[0].a": 1}}, '[{"a": 1}]', sample("x"), None).value == 1


@pytest.mark.parametrize("path", ["", "a..b", "a.", "[x]", "a[", "a]b", "$[?(@.x)]"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(DatasetError, match="is no path"):
        score("json_paths", {"expect": {path: 1}}, "{}", sample("x"), None)


def test_no_path_at_all_is_refused():
    with pytest.raises(DatasetError, match="`json_paths` has no path"):
        score("json_paths", {}, "{}", sample("x"), None)
