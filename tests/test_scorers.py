"""A scorer reads any text, gives the target 1, and raises only on a mistake of ours."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.bench.answers import normalise, numbers_in, read_json, script_fits
from llmbench.bench.dataset import Sample
from llmbench.bench.scorers import SCORERS, Params, Score, Scorer, score, scorer, target_text
from llmbench.errors import DatasetError

RECORD = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "price": {"type": "integer"}},
    "required": ["event", "price"],
    "additionalProperties": False,
}
LABEL = {"type": "object", "properties": {"label": {"enum": ["praise", "spam"]}}, "required": ["label"]}
NUMBER = {"type": "object", "properties": {"answer": {"type": "number"}}, "required": ["answer"]}
WORDS = {
    "type": "object",
    "properties": {"keywords": {"type": "array", "items": {"type": "string"}}},
    "required": ["keywords"],
}


def sample(target, text="text", lang="en", **checks):
    return Sample("s-1", lang, "s-1", text, target, checks, (), "0" * 64)


CASES = {
    "fields": ({}, sample({"event": "Glass Orchard", "price": 40}), RECORD),
    "label": ({}, sample({"label": "praise"}), LABEL),
    "numeric": ({"field": "answer", "abs_tol": 0.5}, sample({"answer": 95}), NUMBER),
    "keywords": (
        {"max_count": 4},
        sample(
            {"keywords": ["old harbour", "crane"]},
            "The old harbour and a crane.",
            required=[["harbour"], ["crane"]],
        ),
        WORDS,
    ),
    "caption": (
        {},
        sample(
            "三十年続く豆腐屋",
            "双子が三十年守る小さな豆腐屋の朝です。",
            "ja",
            max_chars=18,
            required=[["豆腐屋"]],
        ),
        None,
    ),
    "translation": (
        {},
        sample(
            "犬を3匹飼っています。",
            "We have 3 dogs.",
            "en",
            to="ja",
            terms=[["犬", "いぬ"]],
            numbers=[["3", "三"]],
        ),
        None,
    ),
}


def run(name, output):
    params, one, schema = CASES[name]
    return score(name, params, output, one, schema)


@pytest.mark.parametrize("name", CASES)
def test_the_target_itself_scores_one(name):
    got = run(name, target_text(CASES[name][1]))
    assert got.value == 1
    assert set(got.details.values()) == {1.0}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "output", ["", " ", "\n\n", "。", "```\n```", "null", "[]", "{}", "\ud800", "[" * 100_000]
)
def test_an_empty_or_broken_reply_scores_zero(name, output):
    if name == "caption" and output not in ("", " ", "\n\n", "。"):
        assert run(name, output).value < 1
    else:
        assert run(name, output).value == 0


KEYS = ["event", "price", "label", "answer", "keywords"]
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("name", CASES)
@given(
    output=st.text() | JSONS.map(json.dumps) | st.dictionaries(st.sampled_from(KEYS), JSONS).map(json.dumps)
)
@settings(max_examples=150, deadline=None)
def test_any_reply_scores_between_zero_and_one(name, output):
    got = run(name, output)
    assert 0 <= got.value <= 1
    assert all(0 <= v <= 1 for v in got.details.values())


@pytest.mark.parametrize(
    "output",
    ['{"answer": 1e999}', '{"answer": 1' + "0" * 4000 + "}", '{"answer": 1' + "0" * 9000 + "}", "九" * 9000],
)
def test_a_number_beyond_all_bounds_is_only_wrong(output):
    for name in CASES:
        assert run(name, output).value < 1


# ---- normalise ---------------------------------------------------------------------------------------


@given(text=st.text())
@settings(max_examples=500, deadline=None)
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("ＡＢＣ　１２", "abc 12"),
        ("ｶﾒﾗ", "カメラ"),
        ("「星くず縁日」", "星くず縁日"),
        ("東京 タワー", "東京タワー"),
        ("1,200円", "1200円"),
        ("１，２００円。", "1200円"),
        ("Straße", "STRASSE"),
        ("  Hello ,  world! ", "hello world"),
        ("don’t", "don't"),
    ],
)
def test_texts_a_reader_takes_as_the_same_have_one_spelling(left, right):
    assert normalise(left) == normalise(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1.5", "15"),
        ("18:30", "1830"),
        ("50%", "50"),
        ("ビール", "ビル"),
        ("は", "ば"),
        ("$5", "¥5"),
        ("re-do", "redo"),
    ],
)
def test_texts_that_differ_in_meaning_stay_apart(left, right):
    assert normalise(left) != normalise(right)


# ---- JSON replies ------------------------------------------------------------------------------------


def test_one_fence_around_the_whole_reply_is_taken_off():
    assert read_json('```json\n{"a": 1}\n```') == {"a": 1}
    assert read_json('\n```\n{"a": 1}```\n') == {"a": 1}
    assert read_json('Sure:\n```json\n{"a": 1}\n```') is None
    assert read_json('{"a": 1} done') is None
    assert read_json('{"a": NaN}') is None


def test_blanks_key_order_width_and_case_do_not_matter_to_fields():
    assert run("fields", ' {"price":40,"event":"ＧＬＡＳＳ orchard"}\n').value == 1


def test_fields_give_the_share_that_is_right():
    got = run("fields", '{"event": "Glass Orchard", "price": 30}')
    assert got == Score(0.5, {"json": 1.0, "schema": 1.0, "field:event": 1.0, "field:price": 0.0})


@pytest.mark.parametrize(
    "output",
    [
        '{"event": "Glass Orchard", "price": "40"}',
        '{"event": "Glass Orchard"}',
        '{"event": "Glass Orchard", "price": 40, "city": "Oslo"}',
        '{"event": "Glass Orchard", "price": true}',
        '[{"event": "Glass Orchard", "price": 40}]',
        '{"event": "Glass Orchard", "price": 40',
    ],
)
def test_a_reply_that_breaks_the_schema_scores_zero(output):
    assert run("fields", output).value == 0


def test_without_a_schema_fields_are_still_compared():
    one = sample({"event": "Glass Orchard", "price": 40})
    assert score("fields", {}, '{"event": "Glass Orchard", "price": "40"}', one, None).value == 0.5


def test_a_label_is_right_or_wrong():
    assert run("label", '{"label": "spam"}').value == 0
    assert run("label", "praise").value == 0
    assert score("label", {}, " Praise. ", sample("praise"), None).value == 1
    assert score("label", {"field": "kind"}, '{"kind": "a"}', sample({"kind": "a"}), None).value == 1


@given(got=st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=200, deadline=None)
def test_a_number_counts_within_the_tolerance_alone(got):
    assert run("numeric", json.dumps({"answer": got})).value == float(
        math.isclose(got, 95, abs_tol=0.5, rel_tol=0)
    )


def test_without_a_schema_the_last_number_counts():
    one = sample(1200)
    assert score("numeric", {}, "6 x 200 makes １，２００ yen.", one, None).value == 1
    assert score("numeric", {}, "1200 or 7", one, None).value == 0
    assert score("numeric", {}, "no idea", one, None).value == 0


# ---- keywords, captions, translations ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["crane", "old harbour"], 1),
        (["ＣＲＡＮＥ", "harbour", "old"], 1),
        (["crane"], 0.5),
        (["crane", "harbour", "ship", "sea"], 0.5),
        (["crane", "harbour", "crane", "Crane"], 0.5),
        (["the", "old", "and", "a", "harbour", "crane"], 0),
        (["The old harbour and a crane"], 0),
        (["cran", "harb"], 0),
        ([], 0),
    ],
)
def test_keywords_pay_for_coverage_and_lose_by_invention(words, value):
    assert run("keywords", json.dumps({"keywords": words})).value == pytest.approx(value)


@given(words=st.permutations(["crane", "old harbour", "the", "ship"]))
def test_the_order_of_keywords_does_not_matter(words):
    assert run("keywords", json.dumps({"keywords": words})).value == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("output", "rule"),
    [
        ("双子が毎朝ていねいに作り続ける町の小さな豆腐屋", "length"),
        ("豆腐屋\n双子", "line"),
        ("双子の豆腐屋。", "ending"),
        ("「双子の豆腐屋", "bare"),
        ("題名：双子の豆腐屋", "bare"),
        ("双子が三十年守る小さな豆腐屋", "own"),
        ("Twins 豆腐屋", "script"),
        ("双子の豆腐屋40年", "honest"),
        ("双子の店", "required:0"),
    ],
)
def test_a_caption_loses_the_rule_it_breaks(output, rule):
    got = run("caption", output)
    assert got.details[rule] == 0
    assert 0 < got.value < 1


@pytest.mark.parametrize(
    "output", ["双子が三十年守る小さな豆腐屋の朝です", "字幕: 双子が三十年守る 小さな豆腐屋の朝です。"]
)
def test_the_whole_text_again_is_no_caption(output):
    assert run("caption", output).value == 0


def test_a_number_in_digits_is_honest_where_the_text_has_it_in_kanji():
    assert run("caption", "30年続く豆腐屋").value == 1
    assert numbers_in("二千三百五円と12個、百") == {"2305", "12", "100"}
    assert numbers_in("九" * 9000) == {"9" * 12}


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("いぬが三匹います", 1),
        ("犬を飼っています", 0.5),
        ("猫が3匹", 0.5),
        ("We have 3 dogs.", 0),
        ("3", 0),
        ("犬3" + "ねこ" * 60, 0),
    ],
)
def test_a_translation_needs_script_length_terms_and_numbers(output, value):
    assert run("translation", output).value == value


def test_a_latin_term_counts_as_a_whole_word_only():
    one = sample("The cat sat.", "猫が座った。", "ja", to="en", terms=[["cat"]], numbers=[])
    assert score("translation", {}, "A cat sat down.", one, None).value == 1
    assert score("translation", {}, "The category.", one, None).value == 0


def test_a_script_is_judged_by_its_letters():
    assert script_fits("BGMの音量", "ja")
    assert not script_fits("BGM volumeの", "ja")
    assert script_fits("Café 3", "en")
    assert not script_fits("Café 猫", "en")
    assert not script_fits("!?", "en")


# ---- mistakes of ours --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("label", {"feild": "x"}, "scorer `label` has no parameter `feild`; did you mean `field`?"),
        ("fields", {"zzz": 1}, "scorer `fields` has no parameter `zzz`; known are none"),
        ("numeric", {"abs_tol": -1}, "scorer `numeric`, parameter `abs_tol`: "),
        ("numeric", {"abs_tol": "1"}, "scorer `numeric`, parameter `abs_tol`: "),
        ("numerics", {}, "scorer `numerics` is unknown; did you mean `numeric`?"),
        ("qqq", {}, "scorer `qqq` is unknown; known are answer, bleu, caption"),
        ("fields", {}, "sample s-1: the scorer `fields` needs an object as target; correct the dataset"),
        ("label", {"field": "x"}, "sample s-1: the scorer `label` needs an object as target"),
        ("keywords", {}, "sample s-1: checks.required is not a list"),
        ("caption", {}, "sample s-1: checks.max_chars is not a number"),
        ("translation", {}, "sample s-1: checks.to is not a language"),
    ],
)
def test_a_mistake_in_card_or_data_is_an_error(name, params, message):
    with pytest.raises(DatasetError) as caught:
        score(name, params, "{}", sample("x"), {} if name == "label" else None)
    assert str(caught.value).startswith(message)


def test_a_scorer_of_ones_own_joins_by_name():
    class Own(Params):
        word: str

    @scorer("own", Own)
    def own(params, output, one, schema):
        return Score(float(params.word in output), {})

    try:
        assert isinstance(SCORERS["own"], Scorer)
        assert score("own", {"word": "x"}, "xyz", sample("x"), None).value == 1
        with pytest.raises(DatasetError, match="already registered"):
            scorer("own")(own)
    finally:
        del SCORERS["own"]
