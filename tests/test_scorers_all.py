"""Whatever the scorer: the target scores exactly 1, an empty reply 0, any reply something between."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.bench.dataset import Dataset, Prompt, ScorerSpec
from llmbench.bench.scorers import SCORERS, Score, check_dataset, score, scorer_rows, target_text
from llmbench.errors import DatasetError
from tests.test_scorers import CASES as TASK_CASES
from tests.test_scorers import JSONS, RECORD, sample

LINE = "The ferry leaves at 9:30 from pier 4, so come early."
JAPANESE = "連絡船は9時半に4番桟橋から出ます。早めに来てください。"
SCENES = {"title": "Dawn", "scenes": [{"name": "pier", "n": 1}, {"name": "sea", "n": 2}], "tags": []}
PARTS = [
    {"scorer": "format", "params": {"max_chars": 80, "ending": "sentence"}, "gate": True},
    {"scorer": "chrf", "weight": 2.0},
    {"scorer": "embedding", "weight": 0.3},
]
CASES = TASK_CASES | {
    "exact": ({}, sample(JAPANESE, lang="ja"), None),
    "answer": ({}, sample("B"), None),
    "contains": ({"required": [["ferry", "boat"]]}, sample(LINE, required=[["pier 4"]]), None),
    "coverage": ({}, sample(JAPANESE, lang="ja", required=[["連絡船"], ["桟橋", "埠頭"]]), None),
    "excludes": ({"forbidden": ["train"]}, sample(LINE, forbidden=["bus"]), None),
    "regex": ({"pattern": r"\b\d{1,2}:\d{2}\b"}, sample(LINE), None),
    "format": (
        {"max_chars": 60, "ending": "sentence", "script": "sample"},
        sample(JAPANESE, lang="ja"),
        None,
    ),
    "json_schema": ({}, sample({"event": "Glass Orchard", "price": 40}), RECORD),
    "field_f1": ({}, sample(SCENES), None),
    "json_paths": ({}, sample(SCENES, expect={"scenes[1].name": "sea"}), None),
    "edit": ({}, sample(JAPANESE, lang="ja"), None),
    "rouge": ({}, sample(LINE), None),
    "bleu": ({}, sample(JAPANESE, "text", "en", to="ja"), None),
    "chrf": ({"word_order": 2}, sample(LINE), None),
    "embedding": ({"floor": 0.3}, sample(LINE), None),
    "combine": ({"parts": PARTS}, sample(LINE), None),
}


def run(name, output):
    params, one, schema = CASES[name]
    return score(name, params, output, one, schema)


def test_every_scorer_of_text_has_a_case_here():
    of_media = {name for name, entry in SCORERS.items() if entry.modality not in ("text", None)}
    assert of_media == {"picture", "picture_text", "narration"}, "tests/test_scorers_media.py has theirs"
    assert set(CASES) | of_media == set(SCORERS) == {row.name for row in scorer_rows()}


@pytest.mark.parametrize("name", CASES)
def test_the_target_itself_scores_exactly_one(name):
    got = run(name, target_text(CASES[name][1]))
    assert got.value == 1.0
    assert set(got.details.values()) == {1.0}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("output", ["", " ", "\n\n", "\u3000", "\t"])
def test_an_empty_reply_scores_zero(name, output):
    assert run(name, output).value == 0.0


@pytest.mark.parametrize("name", sorted(set(CASES) - {"excludes"}))
@pytest.mark.parametrize("output", ["null", "\ud800", "\0", "[" * 100_000, "九" * 30_000, "a " * 30_000])
def test_a_broken_or_endless_reply_scores_below_one(name, output):
    assert 0 <= run(name, output).value < 1


REPLIES = st.text() | JSONS.map(json.dumps) | st.text(alphabet="3:犬The ferryleaves。.\n-* ", max_size=60)


@pytest.mark.parametrize("name", CASES)
@given(output=REPLIES)
@settings(max_examples=60, deadline=None)
def test_any_reply_scores_between_zero_and_one_and_the_same_again(name, output):
    got = run(name, output)
    assert all(0 <= value <= 1 for value in (got.value, *got.details.values()))
    assert all(type(value) is float for value in (got.value, *got.details.values()))
    assert run(name, output) == got


TEXT_SCORERS = ["exact", "answer", "edit", "rouge", "bleu", "chrf", "embedding", "contains", "coverage"]


@pytest.mark.parametrize("name", TEXT_SCORERS)
@given(
    target=st.text(alphabet="abc 犬を飼う。.,3é", min_size=1, max_size=40).filter(
        lambda t: any(map(str.isalnum, t))
    )
)
@settings(max_examples=60, deadline=None)
def test_any_text_with_a_letter_scores_exactly_one_against_itself(name, target):
    for lang in ("en", "ja"):
        assert score(name, {}, target, sample(target, lang=lang), None).value == 1.0


@given(target=JSONS.filter(lambda value: isinstance(value, dict)))
@settings(max_examples=200, deadline=None)
def test_any_object_scores_exactly_one_against_itself(target):
    try:
        got = score("field_f1", {}, json.dumps(target, allow_nan=False), sample(target), None)
    except ValueError:  # NaN and infinity are no JSON
        return
    assert got.value == 1.0


def dataset(name, params, *samples):
    return Dataset(
        "own",
        "1",
        "task",
        "MIT",
        ("en",),
        "",
        {},
        samples,
        "0" * 64,
        None,
        ScorerSpec(name, params),
        {},
        Prompt("", ()),
    )


def test_a_dataset_whose_target_misses_a_rule_is_refused():
    check_dataset(dataset("format", {"max_chars": 60}, sample(LINE)))
    with pytest.raises(DatasetError) as caught:
        check_dataset(dataset("format", {"max_chars": 10, "max_lines": 1}, sample(LINE)))
    assert str(caught.value) == (
        "own: the target of s-1 scores 0.50 (below 1: max_chars); correct the target or its checks"
    )


def test_likeness_of_meaning_never_judges_alone():
    with pytest.raises(DatasetError, match=r"`embedding` cannot judge alone.*`combine`"):
        check_dataset(dataset("embedding", {}, sample(LINE)))
    alone = {"parts": [{"scorer": "embedding"}]}
    with pytest.raises(DatasetError, match="`embedding` cannot judge alone; add a scorer"):
        check_dataset(dataset("combine", alone, sample(LINE)))
    check_dataset(dataset("combine", {"parts": PARTS}, sample(LINE)))


# ---- combine -----------------------------------------------------------------------------------------


def combined(*parts, output="red sea", **checks):
    return score("combine", {"parts": list(parts)}, output, sample("red sea", **checks), None)


WRONG = {"scorer": "contains", "params": {"required": [["blue"]]}}
RIGHT = {"scorer": "contains", "params": {"required": [["red"]]}}


def test_parts_count_by_weight_and_say_what_they_gave():
    got = combined(RIGHT | {"weight": 3.0}, WRONG)
    assert got == Score(
        0.75,
        {"0:contains": 1.0, "0:contains:required:0": 1.0, "1:contains": 0.0, "1:contains:required:0": 0.0},
    )


def test_a_gate_that_is_not_passed_closes_all():
    assert combined(RIGHT, WRONG | {"gate": True}).value == 0.0
    assert combined(WRONG, RIGHT | {"gate": True}).value == 0.0
    assert combined(RIGHT, RIGHT | {"gate": True}).value == 1.0
    assert combined(RIGHT | {"gate": True}).value == 1.0


@given(weights=st.lists(st.floats(min_value=1e-3, max_value=1e3), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_reply_right_in_all_parts_scores_exactly_one_whatever_the_weights(weights):
    assert combined(*(RIGHT | {"weight": weight} for weight in weights)).value == 1.0


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "scorer `combine`, parameter `parts`: "),
        (
            [{"scorer": "combine", "params": {}}],
            "scorer `combine`, parameter `parts`: Value error, `combine` cannot hold itself",
        ),
        (
            [{"scorer": "exact", "wieght": 1.0}],
            "scorer `combine` has no parameter `parts.0.wieght`; correct the card",
        ),
        ([{"scorer": "exact", "weight": 0.0}], "scorer `combine`, parameter `parts.0.weight`: "),
        ([{"scorer": "exakt"}], "scorer `exakt` is unknown; did you mean `exact`?"),
        ([{"scorer": "exact", "params": {"x": 1}}], "scorer `exact` has no parameter `x`; known are form"),
    ],
)
def test_a_mistake_in_a_part_is_named(parts, message):
    with pytest.raises(DatasetError) as caught:
        combined(*parts)
    assert str(caught.value).startswith(message)


def test_a_part_scores_as_it_does_alone():
    for name in ("fields", "caption", "keywords"):
        params, one, schema = CASES[name]
        one = replace(one, id="s-2")
        part = {"parts": [{"scorer": name, "params": dict(params)}]}
        for output in (target_text(one), "豆腐屋", "{}"):
            alone = score(name, params, output, one, schema)
            assert score("combine", part, output, one, schema).value == alone.value
