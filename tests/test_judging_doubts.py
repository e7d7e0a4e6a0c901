"""A judge that does not read its answers is said to be one, before anybody rests a decision on it."""

from __future__ import annotations

from llmbench.bench.judging.doubts import doubts


def pair(at, first, second, **changes):
    base = {"task": "t", "judge": "j", "sample_id": f"s{at}", "model": "m", "other": "r", "repeat": 0}
    return [
        base | {"order": "AB", "verdict": first} | changes,
        base | {"order": "BA", "verdict": second} | changes,
    ]


def graded(at, score):
    return {"task": "t", "judge": "j", "sample_id": f"s{at}", "model": "m", "order": "alone", "score": score}


def test_a_judge_that_always_names_one_place_is_doubted():
    lines = [line for at in range(8) for line in pair(at, -1.0, 1.0)]
    [said] = doubts(lines)
    assert "t: the judge j says the same in both orders on only 0 of 8 pairs" in said
    assert "do not rest a decision on it" in said
    assert doubts(lines[:8]) == [], "four pairs say little"


def test_a_judge_that_agrees_with_itself_on_half_of_the_pairs_is_not():
    lines = [line for at in range(8) for line in pair(at, -1.0, -1.0 if at % 2 else 1.0)]
    assert doubts(lines) == []
    ties = [line for at in range(8) for line in pair(at, 0.0, 0.0)]
    assert doubts(ties) == []


def test_pairs_with_a_missing_verdict_do_not_count():
    lines = [line for at in range(8) for line in pair(at, None, 1.0)]
    assert doubts(lines) == []


def test_each_task_is_looked_at_by_itself():
    lines = [
        line for at in range(6) for line in pair(at, 1.0, -1.0, task="bad") + pair(at, 1.0, 1.0, task="good")
    ]
    assert [said.partition(":")[0] for said in doubts(lines)] == ["bad"]


def test_a_rubric_with_the_same_points_for_all_is_doubted():
    assert "gave all 6 answers the same points" in doubts([graded(at, 0.25) for at in range(6)])[0]
    assert doubts([graded(at, 0.25 + 0.5 * (at == 3)) for at in range(6)]) == []
    assert doubts([graded(at, 0.25) for at in range(4)] + [graded(9, None)]) == []
