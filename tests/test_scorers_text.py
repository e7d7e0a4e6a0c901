"""Scorers that look for texts, and the pattern matcher behind `regex`."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.bench.answers import normalise
from llmbench.bench.scorers import score
from llmbench.bench.scorers.linear_regex import compile_linear
from llmbench.errors import DatasetError
from tests.test_scorers import sample


def value(name, output, target="x", params=None, **checks):
    return score(name, params or {}, output, sample(target, **checks), None).value


# ---- exact, answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "output", "expected"),
    [
        ("normalised", "「ＴＯＫＹＯ タワー」。\n", 1),
        ("normalised", "Tokyoタワ", 0),
        ("stripped", " Tokyoタワー\n", 1),
        ("stripped", "tokyoタワー", 0),
        ("raw", "Tokyoタワー", 1),
        ("raw", "Tokyoタワー\n", 0),
    ],
)
def test_a_form_says_what_counts_as_the_same_text(form, output, expected):
    assert value("exact", output, "Tokyoタワー", {"form": form}) == expected


def test_other_right_answers_are_right():
    assert value("exact", "USA", "United States", accepted=["USA", "U.S."]) == 1
    assert value("exact", "UK", "United States", accepted=["USA", "U.S."]) == 0


@given(text=st.text(max_size=20), other=st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_raw_equality_is_equality(text, other):
    assert value("exact", other, text, {"form": "raw"}) == float(text == other and bool(text.strip()))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("B", 1),
        ("First A looks right.\nAnswer: B", 1),
        ("**Answer:** B\nBecause it fits.", 1),
        ("Answer: A\nNo, wait.\nANSWER： Ｂ.", 1),
        ("考えると…\n答え：B", 1),
        ("Answer: A", 0),
        ("Answer:\nB", 0),
        ("Answer: B or C", 0),
        ("I think B", 0),
        ("Answer:", 0),
    ],
)
def test_the_answer_is_the_rest_of_the_last_markers_line(output, expected):
    assert value("answer", output, "B") == expected


def test_the_first_word_can_be_the_answer():
    assert value("answer", "Answer: B) Paris", "B", {"take": "word"}) == 1
    assert value("answer", "結論: イ、理由は", "イ", {"take": "word", "markers": ["結論:"]}) == 1
    assert value("answer", "Answer: 12.", 12) == 1


# ---- contains, coverage, excludes --------------------------------------------------------------------

GROUPS = {"required": [["harbour", "port"], ["crane"]]}


@pytest.mark.parametrize(
    ("output", "all_of", "any_of", "share"),
    [
        ("A crane in the PORT.", 1, 1, 1),
        ("A crane.", 0, 1, 0.5),
        ("An airport, cranes.", 0, 0, 0),
        ("", 0, 0, 0),
    ],
)
def test_groups_are_asked_for_all_any_or_their_share(output, all_of, any_of, share):
    assert value("contains", output, params=GROUPS) == all_of
    assert value("contains", output, params=GROUPS | {"mode": "any"}) == any_of
    assert value("coverage", output, params=GROUPS) == share


def test_groups_of_card_and_sample_are_joined():
    assert value("coverage", "a crane", params={"required": [["crane"]]}, required=[["sea"]]) == 0.5


def test_without_groups_the_target_must_occur():
    assert value("contains", "It is Oslo, I think.", "Oslo") == 1
    assert value("contains", "It is in Norway's capital.", "Oslo", accepted=["capital"]) == 1
    assert value("contains", "It is Bergen.", "Oslo") == 0


def test_parts_of_latin_words_count_when_asked_for():
    assert value("contains", "the airport", params={"required": [["port"]], "whole_words": False}) == 1
    assert value("excludes", "the airport", params={"forbidden": ["port"]}) == 1
    assert value("excludes", "the airport", params={"forbidden": ["port"], "whole_words": False}) == 0


@given(words=st.lists(st.sampled_from(["red", "blue", "猫", "海"]), max_size=6))
@settings(max_examples=100, deadline=None)
def test_what_is_contained_is_not_excluded(words):
    text = " ".join(["so", *words])
    assert value("contains", text, params={"required": [["猫"]]}) == float("猫" in words)
    assert value("excludes", text, params={"forbidden": ["猫", "red"]}) == float(
        not {"猫", "red"} & set(words)
    )


@given(
    words=st.sets(st.sampled_from(["red", "blue", "green", "white"])), more=st.sampled_from(["red", "blue"])
)
def test_a_further_required_word_never_lowers_the_coverage(words, more):
    params = {"required": [["red"], ["blue"], ["green"]]}
    assert value("coverage", " ".join([*words, more]), params=params) >= value(
        "coverage", " ".join(words), params=params
    )


@pytest.mark.parametrize(
    ("name", "params", "checks", "message"),
    [
        ("contains", {"required": [[]]}, {}, "sample s-1: `contains` has an empty group"),
        (
            "contains",
            {"required": [["!"]]},
            {},
            "`!` has no letter or digit to look for; use the scorer `regex`",
        ),
        (
            "coverage",
            {},
            {"required": ["sea"]},
            "sample s-1: checks.required is not a list of lists of texts",
        ),
        ("excludes", {}, {}, "sample s-1: `excludes` has no word; fill checks.forbidden"),
        ("excludes", {}, {"forbidden": "x"}, "sample s-1: checks.forbidden is not a list of texts"),
        ("exact", {"form": "loose"}, {}, "scorer `exact`, parameter `form`: "),
        ("exact", {}, {"accepted": [1]}, "sample s-1: checks.accepted is not a list of texts"),
        ("regex", {}, {}, "sample s-1: `regex` has no pattern"),
        (
            "regex",
            {"pattern": "("},
            {},
            "scorer `regex`, parameter `pattern`: Value error, not a regular expression (",
        ),
        (
            "regex",
            {"pattern": r"(a)\1"},
            {},
            "scorer `regex`, parameter `pattern`: Value error, the back-reference",
        ),
        (
            "regex",
            {},
            {"pattern": "(?=a)"},
            "sample s-1, checks.pattern: the group `(?=a` at character 1 cannot",
        ),
    ],
)
def test_a_mistake_in_card_or_data_is_named(name, params, checks, message):
    with pytest.raises(DatasetError) as caught:
        value(name, "x", params=params, **checks)
    assert str(caught.value).startswith(message)


# ---- regex -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "output", "expected"),
    [
        ({"pattern": r"\d{4}-\d\d"}, "in 2026-11 or so", 1),
        ({"pattern": r"\d{4}-\d\d", "mode": "whole"}, " 2026-11\n", 1),
        ({"pattern": r"\d{4}-\d\d", "mode": "whole"}, "in 2026-11", 0),
        ({"pattern": r"\d{4}-\d\d", "mode": "absent"}, "in 2026-11", 0),
        ({"pattern": r"\d{4}-\d\d", "mode": "absent"}, "soon", 1),
        ({"pattern": "^第[0-9一二三]話", "multiline": True}, "題名\n第三話", 1),
        ({"pattern": "tokyo", "ignore_case": True}, "TOKYO", 1),
        ({"pattern": "a.b", "dot_all": True}, "a\nb", 1),
        ({"pattern": "a.b"}, "a\nb", 0),
    ],
)
def test_a_pattern_is_found_whole_or_absent(params, output, expected):
    assert value("regex", output, params=params) == expected


def test_the_samples_pattern_wins():
    assert value("regex", "cat", params={"pattern": "dog"}, pattern="c.t") == 1


ATOMS = ["a", "b", ".", "[ab]", "[^a]", "[]a]", r"[\]b-]", r"\d", r"\w", r"\b", "^", "$", r"\A", r"\Z", "あ"]
ATOMS += ["[ぁ-ん]", "(?:)", "(a)", r"\n", r"\u3042", r"\x61", r"\.", "{", "}", "a{,b", "{1"]
REPEATS = ["", "", "*", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}", "{,}", "*?", "+?", "{1,2}?"]


def wider(inner):
    row = st.lists(inner, min_size=1, max_size=3)
    return (
        row.map("".join)
        | row.map(lambda branches: "(?:" + "|".join(branches) + ")")
        | st.tuples(inner, st.sampled_from(REPEATS)).map(lambda pair: f"(?:{pair[0]}){pair[1]}")
    )


@given(
    pattern=st.recursive(st.sampled_from(ATOMS), wider, max_leaves=6),
    text=st.text("abA_1あ\n .{}", min_size=1, max_size=6),
    flags=st.sampled_from([0, re.IGNORECASE, re.MULTILINE, re.DOTALL]),
)
@settings(max_examples=1000, deadline=None)
def test_a_pattern_matches_where_re_says_so(pattern, text, flags):
    assert compile_linear(pattern, flags).found_in(text) == bool(re.search(pattern, text, flags))
    assert compile_linear(pattern, flags, whole=True).found_in(text) == bool(
        re.fullmatch(pattern, text, flags)
    )


@pytest.mark.parametrize(
    ("pattern", "counts"),
    [
        ("a{2}", {2}),
        ("a{1,3}", {1, 2, 3}),
        ("a{,2}", {0, 1, 2}),
        ("a{3,}", {3, 4, 5}),
        ("(a{2}){1,2}", {2, 4}),
        ("a?", {0, 1}),
        ("a+?", {1, 2, 3, 4, 5}),
    ],
)
def test_a_repeat_takes_no_more_and_no_less(pattern, counts):
    assert {n for n in range(6) if compile_linear(pattern, whole=True).found_in("a" * n)} == counts


def test_named_groups_are_groups():
    assert compile_linear("(?P<hour>[0-9]+):(?P<minute>[0-9]{2})", whole=True).found_in("9:30")


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|aa)*c", "(.*)*c", "(a*)*(a*)*c", "(a?){40}a{40}c", "(a|a|a)*c"]
)
def test_a_pattern_that_stops_a_backtracking_matcher_is_quick(pattern):
    started = time.process_time()
    assert not compile_linear(pattern).found_in("a" * 20_000 + "b")
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?<=a)b", "cannot be matched in linear time"),
        ("(?!a)b", "cannot be matched in linear time"),
        ("(?i)a", "cannot be matched in linear time"),
        ("(?>a)", "cannot be matched in linear time"),
        ("a++", "a possessive repeat at character 3"),
        (r"(?P<n>a)(?P=n)", "cannot be matched in linear time"),
        ("(a{100}){100}", "needs over 1000 states"),
        ("a" * 1001, "the pattern has 1001 characters; 1000 are allowed"),
        ("(" * 490 + ")" * 490, "nested or repeated too much"),
        ("[", "not a regular expression"),
    ],
)
def test_a_pattern_that_cannot_be_quick_is_refused(pattern, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        compile_linear(pattern)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("-5", "-5"), ("The answer is -5.", "the answer is -5"), ("−1.5", "-1.5"), ("(-3)", "-3"),
        ("気温は-5℃", "気温は-5°c"), ("気温は －５ 度", "気温は-5度"), ("a: -7", "a -7"), ("--5", "-5"),
        ("2026-11-28", "2026 11 28"), ("A-5", "a 5"), ("3月-5月", "3月5月"), ("well-known", "well known"),
    ],
)  # fmt: skip
def test_a_minus_stays_and_a_hyphen_goes(text, plain):
    assert normalise(text) == plain == normalise(plain)
