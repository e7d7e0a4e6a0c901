"""What a judge's reply says: tolerant, never raising, and never a guess."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.bench.judging.verdicts import Points, read_points, read_preference

json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["better", "reason", "c1", "c2", "score", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.text() | json_values.map(json.dumps) | st.text('{}[]",:AB1 \n`', max_size=60))
@settings(max_examples=300, deadline=None)
def test_reading_never_raises_and_gives_a_verdict_or_none(output):
    found = read_preference(output)
    assert found is None or found.better in ("A", "B", "tie")
    points = read_points(output, 2, 5)
    assert points is None or (len(points.scores) == 2 and all(1 <= each <= 5 for each in points.scores))


def test_deep_and_long_replies_are_no_verdict():
    for output in ('{"better":' * 1_900, "[" * 19_000, "{" * 19_000, "x" * 10**6, None, ""):
        assert read_preference(output) is None
        assert read_points(output, 1, 5) is None


@pytest.mark.parametrize(
    ("output", "better"),
    [
        ('{"reason": "x", "better": "A"}', "A"),
        ('```json\n{"reason": "x", "better": "b"}\n```', "B"),
        ('Sure! {"reason": "a } in it", "better": "Answer B"} I hope that helps.', "B"),
        ('{"better": "回答Ａ"}', "A"),
        ('{"better": "引き分け"}', "tie"),
        ('{"better": "Tie."}', "tie"),
        ("B", "B"),
        ('{"better": "A"} and again {"reason": "y", "better": "A"}', "A"),
        ('{"better": "A"} {"better": "B"}', None),
        ('{"better": "A", "better": "B"}', None),
        ('{"better": "A or B"}', None),
        ('{"better": ["A"]}', None),
        ('{"better": true}', None),
        ('{"inner": {"better": "A"}}', None),
        ("Answer A is better than B because it is short and right.", None),
        ('{"reason": "cut off', None),
    ],
)
def test_a_preference_is_read_or_is_none(output, better):
    found = read_preference(output)
    assert (None if found is None else found.better) == better


@pytest.mark.parametrize(
    ("output", "scores"),
    [
        ('{"c1": {"reason": "x", "score": 4}, "c2": {"reason": "y", "score": 1}}', (4, 1)),
        ('{"c1": 4.0, "c2": "5/5"}', (4, 5)),
        ('{"c1": {"score": "３"}, "c2": {"score": 2}}', (3, 2)),
        ('{"c1": {"score": 4}}', None),
        ('{"c1": {"score": 6}, "c2": {"score": 1}}', None),
        ('{"c1": {"score": 0}, "c2": {"score": 1}}', None),
        ('{"c1": {"score": true}, "c2": {"score": 1}}', None),
        ('{"c1": {"score": 3.5}, "c2": {"score": 1}}', None),
        ('{"c1": "4/10", "c2": "5/5"}', None),
        ('{"c1": {"score": NaN}, "c2": {"score": 1}}', None),
        ('{"c1": 1, "c2": 2} {"c1": 5, "c2": 5}', None),
    ],
)
def test_points_are_whole_and_within_the_scale_or_none(output, scores):
    found = read_points(output, 2, 5)
    assert (None if found is None else found.scores) == scores


def test_points_become_a_share_of_the_scale():
    assert Points((1, 1), ("", "")).score(5) == 0.0
    assert Points((5, 5), ("", "")).score(5) == 1.0
    assert Points((2, 3), ("", "")).score(3) == 0.75
