"""Rules of length and form: each one holds, is broken alone, and says so."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.bench.scorers import score
from llmbench.bench.scorers.layout import FormatParams
from llmbench.errors import DatasetError
from tests.test_scorers import sample

# rule, its value, a reply that keeps it, a reply that breaks it
RULES = [
    ("min_chars", 3, "猫が鳴", "猫が"),
    ("max_chars", 3, " が鳴く\n", "が鳴くよ"),
    ("max_chars", 4, "cafe\u0301", "cafés"),
    ("min_words", 2, "two words", "word"),
    ("max_words", 2, "two  words", "three words now"),
    ("min_lines", 2, "a\n\nb", "a\n\n"),
    ("max_lines", 2, "a\n\nb", "a\nb\nc"),
    ("min_bullets", 2, "・朝\n・夜", "・朝\n夜"),
    ("max_bullets", 1, "1. one\ntext", "- one\n2) two"),
    ("min_sentences", 2, "朝です。夜です。", "朝です"),
    ("max_sentences", 1, "It is 3.5 km.", "It is. It was."),
    ("min_width", 4, "朝夜", "朝a"),
    ("max_width", 4, "朝夜", "朝夜a"),
    ("max_line_width", 6, "朝の海\nsea", "朝の海a"),
    ("max_sentence_chars", 4, "海です。朝です。", "海が青いね。"),
    ("script", "ja", "東京のBGM", "Tokyo BGM"),
    ("script", "sample", "Tokyo", "東京"),
    ("starts_with", ["第", "その"], "その一", "一"),
    ("ends_with", ["。", "！"], "海です。\n", "海です"),
    ("ending", "sentence", "「海です。」", "海です、"),
    ("ending", "open", "海の朝", "海の朝。"),
    ("no_markdown", True, "3 * 4 - 2 at _dawn_\n・sea", "A **bold** word"),
    ("no_markdown", True, "#sea と #朝", "# Sea"),
    ("no_markdown", True, "It's 2026.", "1. one\n2. two"),
    ("no_markdown", True, "a [note] (b)", "a [note](b)"),
    ("no_urls", True, "see example dot com", "see https://example.com"),
    ("no_emoji", True, "★海♪①", "海🌊"),
    ("no_emoji", True, "♥", "♥\ufe0f"),
    ("no_quotes_around", True, '"Sea" and "sky"', '"Sea and sky"'),
    ("no_quotes_around", True, "「海」と「空」", "「海と空」"),
    ("no_halfwidth_kana", True, "カメラ", "ｶﾒﾗ"),
    ("no_fullwidth_ascii", True, "2026年！", "２０２６年"),
    ("no_repeats", True, "Yes. Yes. The sea is calm.", "The sea is calm. Yes. The sea is calm."),
]


@pytest.mark.parametrize(("rule", "wanted", "kept", "broken"), RULES)
def test_a_rule_is_kept_or_broken(rule, wanted, kept, broken):
    name = rule
    for output, expected in ((kept, 1.0), (broken, 0.0)):
        got = score("format", {rule: wanted}, output, sample("x", lang="en"), None)
        assert (got.value, got.details) == (expected, {name: expected})


def test_every_rule_has_a_case_here():
    assert {rule for rule, *_ in RULES} == set(FormatParams.model_fields) - {"strict"}


def test_the_share_of_rules_counts_or_all_of_them():
    rules = {"max_chars": 3, "max_lines": 1, "ending": "open", "no_urls": True}
    assert score("format", rules, "long text", sample("x"), None).value == 0.75
    assert score("format", rules | {"strict": True}, "long text", sample("x"), None).value == 0
    assert score("format", rules | {"strict": True}, "sea", sample("x"), None).value == 1


def test_the_samples_own_limits_win():
    one = sample("x", max_chars=5)
    assert score("format", {"max_chars": 2}, "water", one, None).value == 1
    assert score("format", {}, "waters", one, None).value == 0


@given(text=st.text(max_size=40), low=st.integers(0, 20), more=st.integers(0, 20))
@settings(max_examples=200, deadline=None)
def test_a_wider_limit_is_kept_wherever_a_narrow_one_is(text, low, more):
    for measure in ("chars", "lines", "width", "sentence_chars"):
        narrow = score("format", {f"max_{measure}": low}, text, sample("x"), None).value
        assert score("format", {f"max_{measure}": low + more}, text, sample("x"), None).value >= narrow


@pytest.mark.parametrize(
    "text", ["**" * 30_000, "`" * 50_000, "[" * 50_000, "__a" * 20_000, "." * 50_000, '."' * 30_000]
)
def test_no_text_makes_the_rules_slow(text):
    rules = {
        "no_markdown": True,
        "no_repeats": True,
        "no_quotes_around": True,
        "max_sentences": 3,
        "min_bullets": 1,
    }
    assert 0 <= score("format", rules, text, sample("x"), None).value <= 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "text", ["_" * 30_000, "!" * 30_000 + "x", "[" + "a" * 30_000, "." * 60_000 + "x", '."' * 15_000 + "x"]
)
def test_long_runs_of_one_sign_are_read_in_reasonable_time(text):
    rules = {"no_markdown": True, "max_sentences": 3, "ending": "sentence"}
    assert 0 <= score("format", rules, text, sample("x"), None).value <= 1


@pytest.mark.parametrize(
    ("params", "checks", "message"),
    [
        ({}, {}, "sample s-1: `format` has no rule; give one, such as `max_chars`"),
        ({"max_char": 3}, {}, "scorer `format` has no parameter `max_char`; did you mean `max_chars`?"),
        ({"max_chars": -1}, {}, "scorer `format`, parameter `max_chars`: "),
        ({}, {"max_chars": "5"}, "sample s-1, checks.max_chars: "),
        ({"ending": "dot"}, {}, "scorer `format`, parameter `ending`: "),
        ({"starts_with": []}, {}, "scorer `format`, parameter `starts_with`: "),
    ],
)
def test_a_mistake_in_card_or_data_is_named(params, checks, message):
    with pytest.raises(DatasetError) as caught:
        score("format", params, "text", sample("x", **checks), None)
    assert str(caught.value).startswith(message)
