"""What Inspect's scorers found, as a number from 0 to 1."""

from __future__ import annotations

import pytest

pytest.importorskip("inspect_ai", reason='Inspect is not installed: pip install "llmbench[inspect]"')

from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from inspect_ai.scorer import Score

from llmbench.errors import DatasetError
from llmbench.interop.inspect_scores import Scale, score_of
from tests.inspect_logs import rows_of, sample, write_log


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *[("C", 1), ("I", 0), ("P", 0.5), ("N", 0), (True, 1), (False, 0)],
        *[(0.25, 0.25), (1, 1), ("0.5", 0.5), ("yes", 1), ("False", 0)],
    ],
)
def test_values_of_scorers_are_numbers(value, expected):
    assert score_of({"s": Score(value=value)}, None, Scale(), "x") == (expected, "s")


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9), st.floats(0, 1))
@examples(max_examples=50)
def test_a_scale_puts_its_worst_at_0_and_its_best_at_1(low, high, share):
    if abs(high - low) < 1e-3:
        return
    scale = Scale(low, high)
    assert (scale.place(low), scale.place(high)) == (0.0, 1.0)
    assert scale.place(low + share * (high - low)) == pytest.approx(share, abs=1e-3)


def test_numbers_outside_0_to_1_are_refused_with_what_to_do():
    scores = {"grade": Score(value=4)}
    with pytest.raises(DatasetError, match=r"x: scorer grade gave 4, outside 0 to 1; .* --scale WORST BEST"):
        score_of(scores, None, Scale(), "x")
    assert score_of(scores, None, Scale(0, 5), "x") == (0.8, "grade")
    assert score_of(scores, None, Scale(5, 0), "x")[0] == pytest.approx(0.2)
    with pytest.raises(DatasetError, match="outside 0 to 1 after --scale 0 3"):
        score_of(scores, None, Scale(0, 3), "x")


def test_words_need_no_scale():
    assert score_of({"s": Score(value="C")}, None, Scale(0, 5), "x")[0] == 1.0


@pytest.mark.parametrize(("low", "high"), [(1, 1), (0, float("inf")), (float("nan"), 1)])
def test_a_scale_of_no_range_is_refused(low, high):
    with pytest.raises(DatasetError, match="two different numbers"):
        Scale(low, high)


def test_a_value_that_is_no_number_is_refused():
    with pytest.raises(DatasetError, match=r"x: scorer s gave 'B\+', which is no number"):
        score_of({"s": Score(value="B+")}, None, Scale(), "x")


def test_one_of_several_scorers_is_chosen_by_name_and_key():
    scores = {
        "match": Score(value="C"),
        "rubric": Score(value={"style": 0.2, "facts": 0.9}),
        "l": Score(value=[1, 0]),
    }
    with pytest.raises(
        DatasetError, match=r"several scores; .*--scorer: 'match', 'rubric/style', 'rubric/facts'"
    ):
        score_of(scores, None, Scale(), "x")
    with pytest.raises(DatasetError, match=r"several scores; .*: 'rubric/style', 'rubric/facts'$"):
        score_of(scores, "rubric", Scale(), "x")
    with pytest.raises(DatasetError, match="no score 'judge'"):
        score_of(scores, "judge", Scale(), "x")
    assert score_of(scores, "match", Scale(), "x") == (1.0, "match")
    assert score_of(scores, "rubric/facts", Scale(), "x") == (0.9, "rubric/facts")
    assert score_of(scores, "l/1", Scale(), "x") == (0.0, "l/1")


def test_a_log_that_was_never_scored_says_how_to_score_it(tmp_path):
    with pytest.raises(
        DatasetError, match=r"no sample has a score; score the log first: inspect score a\.eval"
    ):
        rows_of(tmp_path, write_log(tmp_path / "a.eval", [sample(value=None)]))
