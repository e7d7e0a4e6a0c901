"""What the warehouse says of a judge: place bias, ties, replies that could not be read, rubrics, repeats."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from llmbench.analytics.warehouse import open_warehouse
from tests.test_judgement_marts import judgement, label, write_run

JUDGES = "select * from mart_judges order by task, judge, strategy"


def opened(folder, lines, labels=()):
    return open_warehouse(run_dirs=[write_run(folder, lines, list(labels))])


def rubric(**changes):
    line = judgement(order="alone", strategy="rubric", verdict=None, score=0.75) | {"asked": 1}
    return {name: value for name, value in (line | changes).items() if name != "other"}


@pytest.mark.parametrize(("firsts", "seconds"), [(9, 1), (3, 3), (0, 4), (1, 0), (40, 20)])
def test_the_share_of_first_places_has_wilsons_interval(tmp_path, firsts, seconds):
    """Half of the verdicts come from each order: what counts is the place, not the candidate."""
    lines = []
    for at, is_first in enumerate([True] * firsts + [False] * seconds):
        order = "AB" if at % 2 else "BA"
        verdict = 1 if is_first == (order == "AB") else -1
        lines.append(judgement(sample_id=f"s{at}", order=order, verdict=verdict))
    lines.append(judgement(sample_id="tie", verdict=0))
    with opened(tmp_path, lines) as warehouse:
        row = warehouse.rows(JUDGES)[0]
    n = firsts + seconds
    low, high = binomtest(firsts, n).proportion_ci(0.95, method="wilson")
    assert row["first_share"] == pytest.approx(firsts / n)
    assert (row["first_low"], row["first_high"]) == pytest.approx((low, high), abs=1e-6)
    assert row["tie_share"] == pytest.approx(1 / (n + 1))


def test_a_judge_that_only_ties_or_never_answers_has_no_bias_to_show(tmp_path):
    lines = [judgement(verdict=0), judgement(order="BA", verdict=None, status="unparsable")]
    with opened(tmp_path, lines) as warehouse:
        row = warehouse.rows(JUDGES)[0]
    assert (row["first_share"], row["first_low"], row["first_high"]) == (None, None, None)
    assert (row["tie_share"], row["unparsable_share"], row["unparsable_replies"]) == (1.0, 0.5, 1)


def test_replies_that_a_second_one_mended_are_counted_and_so_are_addressed_judges(tmp_path):
    lines = [
        judgement(asked=2, unparsable=1, addresses_judge=True),
        judgement(
            order="BA", verdict=None, status="unparsable", asked=2, unparsable=2, addresses_judge=False
        ),
    ]
    with opened(tmp_path, lines) as warehouse:
        row = warehouse.rows(JUDGES)[0]
        assert [line["asked"] for line in warehouse.rows("select asked from stg_judgements")] == [2, 2]
    assert (row["unparsable_replies"], row["unparsable_share"], row["addressed"]) == (3, 0.5, 1)


def test_a_rubrics_judge_has_answers_and_no_pairs(tmp_path):
    lines = [
        rubric(),
        rubric(sample_id="x", score=0.25),
        rubric(sample_id="y", score=None, status="unparsable"),
    ]
    with opened(tmp_path, lines, [label()]) as warehouse:
        row = warehouse.rows(JUDGES)[0]
        assert warehouse.rows("select * from quarantine") == []
        assert warehouse.rows("select * from mart_preferences") == []
    assert (row["answers"], row["mean_score"], row["pairs"], row["accuracy"]) == (2, 0.5, 0, None)
    assert row["unparsable_share"] == pytest.approx(1 / 3)
    assert row["cost_usd"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (rubric(score=1.5), "score_out_of_range"),
        (rubric(score="much"), "type_mismatch"),
        (rubric(score=None), "verdict_missing"),
        (judgement(other=None), "missing_required"),
        (judgement(order="CD"), "unknown_order"),
        (judgement(repeat="first"), "type_mismatch"),
    ],
)
def test_a_line_that_is_no_judgement_is_kept_apart(tmp_path, line, reason):
    with opened(tmp_path, [line]) as warehouse:
        assert [row["reason"] for row in warehouse.rows("select reason from quarantine")] == [reason]


def test_a_rubrics_line_given_twice_counts_once(tmp_path):
    with opened(tmp_path, [rubric(), rubric(score=0.5)]) as warehouse:
        assert warehouse.rows("select score from stg_judgements") == [{"score": 0.5}]


def test_a_rubrics_line_of_another_file_counts_once(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        write_run(folder, [rubric()], [])
    with open_warehouse(run_dirs=folders) as warehouse:
        assert warehouse.rows("select reason from quarantine") == [{"reason": "duplicate_of_other_file"}]


def test_repeats_are_pairs_of_their_own_and_people_saw_the_first(tmp_path):
    lines = [judgement(repeat=at, order=order, verdict=1 - 2 * at) for at in (0, 1) for order in ("AB", "BA")]
    with opened(tmp_path, lines, [label()]) as warehouse:
        pairs = warehouse.rows("select repeat, verdict, label from mart_preferences order by repeat")
        row = warehouse.rows(JUDGES)[0]
        assert warehouse.rows("select * from quarantine") == []
    assert pairs == [{"repeat": 0, "verdict": 1, "label": 1}, {"repeat": 1, "verdict": -1, "label": None}]
    assert (row["pairs"], row["labelled"], row["accuracy"]) == (2, 1, 1.0)
