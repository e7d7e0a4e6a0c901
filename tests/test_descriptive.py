"""Rankings, adjusted grids and slices: hand-made cases, properties, and the committed example."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from llmbench.bench.descriptive import holm_table, least_clusters, paired_t_p_value, score_table, slice_table
from llmbench.bench.frontier import average_improvement_in_quality, frontier
from llmbench.bench.ranking import bradley_terry, pairs_from_scores
from llmbench.errors import SweepError

EXAMPLE = Path(__file__).parents[1] / "reports" / "example" / "results.jsonl"


def rows_of(scores, *, task="t", **columns):
    """Rows of {model: scores}, sample s0, s1, ... a score; a string for a score is a status."""
    rows = [
        {
            "task": task, "model": model, "sample_id": f"s{place}", "repeat": 0,
            "status": value if isinstance(value, str) else "ok",
            "score": None if isinstance(value, str) else value,
        } | {name: values[place] for name, values in columns.items()}
        for model, given_scores in scores.items()
        for place, value in enumerate(given_scores)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def pairs_of(*outcomes):
    return pd.DataFrame(outcomes, columns=["cluster", "model", "other", "verdict"])


def strengths(pairs, **options):
    return bradley_terry(pairs, resamples=5, **options).set_index("model")["strength"]


@pytest.fixture(scope="module")
def example():
    return pd.read_json(EXAMPLE, lines=True)


# --- scores -------------------------------------------------------------------------------------------------


def test_repeats_are_averaged_failures_score_0_and_pending_calls_are_left_out():
    first = rows_of({"a": [1.0, "timeout", "harness"], "b": [0.5, "error", "harness"], "c": ["harness"] * 3})
    second = rows_of({"a": [0.0, 1.0, 1.0]}).assign(repeat=1)
    table = score_table(pd.concat([first, second]))
    assert list(table.columns) == ["a", "b", "c"]
    assert table["a"].tolist() == [0.5, 0.5, 1.0]
    assert table["b"].fillna(-1).tolist() == [0.5, 0.0, -1]
    assert table["c"].isna().all()


def test_a_score_beside_a_failure_does_not_count():
    rows = rows_of({"a": [1.0]}).assign(status="error")
    assert score_table(rows)["a"].tolist() == [0.0]


def test_a_sample_without_a_cluster_is_its_own():
    rows = rows_of({"a": [1.0, 0.0, 0.0]}, cluster=["c", "c", None])
    assert score_table(rows).index.tolist() == [("c", "s0"), ("c", "s1"), ("s2", "s2")]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (rows_of({"a": [1.0]}).drop(columns="status"), "column status is missing"),
        (rows_of({"a": [1.0]}).iloc[:0], "rows of 0 tasks"),
        (pd.concat([rows_of({"a": [1.0]}), rows_of({"a": [1.0]}, task="u")]), r"rows of 2 tasks \(t, u\)"),
        (rows_of({"a": [1.0, "lost"]}), "t x a on s1: status is none of ok, error"),
        (rows_of({"a": [1.5]}), r"t x a on s0: the score is not in \[0, 1\]"),
        (rows_of({"a": [None]}), r"t x a on s0: the score is not in \[0, 1\]"),
        (pd.concat([rows_of({"a": [1.0]})] * 2), "t x a on s0: the row stands twice"),
        (
            pd.concat([rows_of({"a": [1.0]}, cluster=["x"]), rows_of({"b": [1.0]}, cluster=["y"])]),
            "on s0: the sample is in two clusters",
        ),
    ],
)
def test_rows_that_cannot_be_read_are_refused_with_their_place(rows, said):
    with pytest.raises(SweepError, match=said):
        score_table(rows)


# --- ranking ------------------------------------------------------------------------------------------------


def test_a_pair_is_won_by_the_higher_cluster_mean_and_tied_by_an_equal_one():
    scores = {"a": [0.1, 0.7, 1.0, 0.5], "b": [0.2, 0.6, 0.0, "error"], "c": ["harness", 0.7, 0.0, 1.0]}
    pairs = pairs_from_scores(rows_of(scores, cluster=["x", "x", "y", "z"]))
    found = {(row.cluster, row.model, row.other): row.verdict for row in pairs.itertuples()}
    assert found == {
        ("x", "a", "b"): 0.0, ("y", "a", "b"): 1.0, ("z", "a", "b"): 1.0,
        ("x", "a", "c"): 0.0, ("y", "a", "c"): 1.0, ("z", "a", "c"): -1.0,
        ("x", "b", "c"): -1.0, ("y", "b", "c"): 0.0, ("z", "b", "c"): -1.0,
    }  # fmt: skip


def test_two_models_differ_by_the_log_odds_of_their_wins_with_a_half_added():
    pairs = pairs_of(
        *[(i, "a", "b", 1) for i in range(6)], (6, "b", "a", 1), (7, "a", "b", 0), (8, "a", "b", 0.5)
    )
    ranked = bradley_terry(pairs, resamples=20)
    gap = math.log((6 + 0.5 + 0.75 + 0.5) / (1 + 0.5 + 0.25 + 0.5))
    assert ranked["model"].tolist() == ["a", "b"]
    assert ranked["strength"].tolist() == pytest.approx([gap / 2, -gap / 2])
    assert ranked["comparisons"].tolist() == [9, 9]


def test_strengths_are_those_of_the_greatest_likelihood():
    rng = np.random.default_rng(3)
    models, true = list("abcde"), np.array([1.0, 0.4, 0.0, -0.5, -0.9])
    outcomes, wins = [], np.full((5, 5), 0.5)
    for cluster in range(120):
        i, j = rng.choice(5, 2, replace=False).tolist()
        verdict = 1 if rng.random() < 1 / (1 + math.exp(true[j] - true[i])) else -1
        outcomes.append((cluster, models[i], models[j], verdict))
        wins[(i, j) if verdict == 1 else (j, i)] += 1
    np.fill_diagonal(wins, 0)
    found = optimize.minimize(lambda s: float((wins * np.logaddexp(0, s - s[:, None])).sum()), np.zeros(5))
    expected = dict(zip(models, found.x - found.x.mean(), strict=True))
    assert strengths(pairs_of(*outcomes)).to_dict() == pytest.approx(expected, abs=1e-4)


def test_a_model_that_always_wins_is_first_with_a_finite_strength():
    rng = np.random.default_rng(4)
    scores = {"z_best": [1.0] * 40, "a": rng.uniform(0, 0.9, 40), "b": rng.uniform(0, 0.9, 40)}
    ranked = bradley_terry(pairs_from_scores(rows_of(scores)), resamples=100)
    assert ranked["model"].iloc[0] == "z_best"
    assert np.isfinite(ranked["strength"]).all()
    assert (ranked["low"] <= ranked["strength"]).all()
    assert (ranked["strength"] <= ranked["high"]).all()
    assert ranked["strength"].sum() == pytest.approx(0.0)


@st.composite
def outcome_tables(draw):
    verdicts = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])
    per_cluster = draw(st.lists(st.tuples(verdicts, verdicts, verdicts), min_size=2, max_size=12))
    return pairs_of(
        *[
            (f"c{place}", model, other, verdict)
            for place, three in enumerate(per_cluster)
            for (model, other), verdict in zip([("a", "b"), ("b", "c"), ("a", "c")], three, strict=True)
        ]
    )


@given(outcome_tables())
@settings(max_examples=25, deadline=None)
def test_mirrored_verdicts_mirror_the_strengths_and_the_limits(pairs):
    plain = bradley_terry(pairs, resamples=30).set_index("model").sort_index()
    mirrored = (
        bradley_terry(pairs.assign(verdict=-pairs["verdict"]), resamples=30).set_index("model").sort_index()
    )
    assert mirrored["strength"].to_numpy() == pytest.approx(-plain["strength"].to_numpy(), abs=1e-6)
    assert mirrored["low"].to_numpy() == pytest.approx(-plain["high"].to_numpy(), abs=1e-6)


@given(outcome_tables(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_neither_the_order_of_rows_nor_the_side_of_a_model_matters(pairs, random):
    rows = list(pairs.itertuples(index=False, name=None))
    random.shuffle(rows)
    turned = [(c, b, a, -v) if random.random() < 0.5 else (c, a, b, v) for c, a, b, v in rows]
    again = bradley_terry(pairs_of(*turned), resamples=30, seed=5)
    pd.testing.assert_frame_equal(bradley_terry(pairs, resamples=30, seed=5), again, check_exact=True)


def test_the_seed_decides_the_limits_and_nothing_else():
    rng = np.random.default_rng(6)
    pairs = pairs_of(*[(i, "a", "b", v) for i, v in enumerate(rng.choice([-1, 1], 30))])
    one, other = bradley_terry(pairs, seed=1), bradley_terry(pairs, seed=2)
    assert one["strength"].tolist() == other["strength"].tolist()
    assert one["low"].tolist() != other["low"].tolist() or one["high"].tolist() != other["high"].tolist()


def test_the_interval_of_a_ranking_covers_the_truth():
    """Two models, the first wins two in three; a percentile interval is a little short at 60 clusters."""
    rng, runs, missed = np.random.default_rng(7), 40, 0
    for _ in range(runs):
        verdicts = np.where(rng.random(60) < 2 / 3, 1, -1)
        ranked = bradley_terry(pairs_of(*[(i, "a", "b", v) for i, v in enumerate(verdicts)]), resamples=100)
        a = ranked.set_index("model").loc["a"]
        missed += not a["low"] <= math.log(2) / 2 <= a["high"]
    assert missed <= stats.binom.ppf(0.999, runs, 0.07)


def test_clusters_are_resampled_and_not_rows():
    """The same cluster a hundred times over, in other pairs, is not a hundred observations."""
    few = [(c, "a", "b", v) for c, v in enumerate([1, 1, 1, -1] * 3)]
    wide = [(c, "a", f"b{k}", v) for c, _, _, v in few for k in range(40)]
    width = {}
    for name, rows in (("few", few), ("wide", wide)):
        a = bradley_terry(pairs_of(*rows), resamples=200).set_index("model").loc["a"]
        width[name] = a["high"] - a["low"]
    assert width["wide"] > width["few"] / 2


def test_several_verdicts_on_a_pair_in_a_cluster_count_once():
    both_orders = pairs_of(("x", "a", "b", 1), ("x", "b", "a", 1), ("y", "a", "b", 1), ("y", "a", "b", 1))
    averaged = pairs_of(("x", "a", "b", 0), ("y", "a", "b", 1))
    pd.testing.assert_frame_equal(bradley_terry(both_orders), bradley_terry(averaged))


def test_several_verdicts_on_a_pair_are_averaged_the_same_in_any_order():
    """Floats added in another order give another sum, in the last digit."""
    rng = np.random.default_rng(9)
    for verdicts in rng.uniform(0.5, 1, (20, 7)):
        orders = [[("x", "a", "b", v) for v in rng.permutation(verdicts)] for _ in range(10)]
        assert len({strengths(pairs_of(*rows))["a"] for rows in orders}) == 1


def test_where_no_resample_differs_there_are_no_limits():
    ranked = bradley_terry(pairs_of(*[(i, "a", "b", 1) for i in range(10)]), resamples=50)
    assert ranked["low"].tolist() == [-math.inf] * 2
    assert ranked["high"].tolist() == [math.inf] * 2


@pytest.mark.parametrize(
    ("pairs", "options", "said"),
    [
        (pairs_of(("x", "a", "b", 1)).drop(columns="verdict"), {}, "column verdict is missing"),
        (pairs_of(), {}, "there are no comparisons"),
        (pairs_of(("x", "a", "b", 1.5)), {}, r"a against b on x: the verdict is not in \[-1, 1\]"),
        (pairs_of(("x", "a", "b", None)), {}, "a against b on x: the verdict is not"),
        (pairs_of(("x", "a", "a", 1)), {}, "compared with itself"),
        (pairs_of(("x", "a", "b", 1), ("x", "c", "d", 1)), {}, "a and c are linked by no chain"),
        (pairs_of(("x", "a", "b", 1)), {"resamples": 0}, "1 resample or more"),
        (pairs_of(("x", "a", "b", 1)), {"level": 1.0}, "level between 0 and 1"),
    ],
)
def test_comparisons_that_cannot_be_ranked_are_refused(pairs, options, said):
    with pytest.raises(SweepError, match=said):
        bradley_terry(pairs, **options)


# --- Holm ---------------------------------------------------------------------------------------------------


def test_the_p_value_is_a_t_test_with_one_gain_and_one_loss_added():
    differences = [0.5, 0.0, -0.25, 0.0]
    padded = [*differences, 1.0, -1.0]
    mean = sum(padded) / 6
    deviation = math.sqrt(sum((d - mean) ** 2 for d in padded) / 5)
    t = (mean + 0.1) / (deviation / math.sqrt(6))
    assert paired_t_p_value(differences, 0.1) == pytest.approx(float(stats.t.sf(t, 5)))
    assert paired_t_p_value([0.0] * 20, 0.05) > 0.05  # no spread is no certainty
    assert paired_t_p_value([], 0.05) == 1.0


@pytest.mark.parametrize(("differences", "margin"), [([1.5], 0.05), ([math.nan], 0.05), ([0.0], 0.0)])
def test_differences_out_of_range_are_refused(differences, margin):
    with pytest.raises(SweepError):
        paired_t_p_value(differences, margin)


def test_the_grid_is_adjusted_as_a_hand_would_do_it():
    rng = np.random.default_rng(8)
    base = rng.choice([0.0, 0.5, 1.0], 60)
    first = rows_of(
        {"r": base, "good": base, "fair": np.where(rng.random(60) < 0.1, 0.0, base), "gone": ["harness"] * 60}
    )
    second = rows_of({"r": base, "bad": base * 0.5}, task="u", cluster=[i // 2 for i in range(60)])
    table = holm_table(pd.concat([first, second]), {"u": "r", "t": "r"}, margin=0.1)
    assert table[["task", "candidate", "clusters"]].to_numpy().tolist() == [
        ["t", "fair", 60], ["t", "gone", 0], ["t", "good", 60], ["u", "bad", 30],
    ]  # fmt: skip
    p = dict(zip(table["candidate"], table["p_value"], strict=True))
    assert p["gone"] == 1.0
    assert p["good"] == pytest.approx(paired_t_p_value([0.0] * 60, 0.1))
    pairs = np.diff(np.stack([base, base * 0.5]), axis=0)[0].reshape(30, 2).mean(axis=1)
    assert p["bad"] == pytest.approx(paired_t_p_value(pairs, 0.1))
    expected, largest = {}, 0.0
    for place, (name, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (4 - place) * value))
        expected[name] = largest
    assert dict(zip(table["candidate"], table["p_holm"], strict=True)) == pytest.approx(expected)
    assert math.isnan(table.loc[table["candidate"] == "gone", "difference"].iloc[0])


def test_a_grid_that_names_what_was_not_measured_is_refused():
    rows = rows_of({"a": [1.0], "b": [1.0]})
    with pytest.raises(SweepError, match="task other has no rows"):
        holm_table(rows, {"other": "a"})
    with pytest.raises(SweepError, match="the reference c has no rows"):
        slice_table(rows, {"t": "c"})


def test_a_grid_of_references_alone_is_an_empty_table():
    assert holm_table(rows_of({"a": [1.0]}), {"t": "a"})["p_holm"].tolist() == []


# --- slices -------------------------------------------------------------------------------------------------


def test_the_least_number_of_clusters_is_the_one_of_a_table_without_a_difference():
    assert [least_clusters(m, 0.05) for m in (0.03, 0.05, 0.1)] == [99, 59, 29]
    assert (1 - 0.05) ** 59 <= 0.05 < (1 - 0.05) ** 58
    with pytest.raises(SweepError, match="margin 1"):
        least_clusters(1.0, 0.05)


def test_slices_of_a_small_table_are_as_counted_by_hand():
    rows = rows_of(
        {"r": [1.0, 0.5, 0.0, 1.0, 1.0, 1.0], "m": [0.0, 0.5, "error", "harness", 1.0, 0.5]},
        cluster=["x", "x", "y", "z", "z", "w"],
        prompt=["a" * n for n in (1, 2, 3, 4, 50, 60)],
        channel=["web", "web", "mail", "mail", None, None],
        tags=[["long", "hard"], ["hard"], [], None, ["long"], "hard"],
    )
    table = slice_table(rows, {"t": "r"}, margin=0.5, alpha=0.2)  # 3 clusters are the least
    assert set(table["dimension"]) == {"length", "channel", "tag"}
    mine = table[table["model"] == "m"].drop(columns=["task", "model", "warning"])
    assert mine.fillna(-9).to_numpy().tolist() == [
        ["length", "1-2 characters", 2, 1, 0.25, -0.5],
        ["length", "3-4 characters", 1, 1, 0.0, 0.0],
        ["length", "50-60 characters", 2, 2, 0.75, -0.25],
        ["channel", "mail", 1, 1, 0.0, 0.0],
        ["channel", "web", 2, 1, 0.25, -0.5],
        ["tag", "hard", 3, 2, pytest.approx(1 / 3), -0.5],
        ["tag", "long", 2, 2, 0.5, -0.5],
    ]
    assert table.loc[table["model"] == "r", "difference"].isna().all()


def test_a_slice_is_warned_of_when_the_clusters_behind_the_difference_are_too_few():
    rows = rows_of(
        {"r": [1.0] * 6, "m": [1.0] * 5 + ["harness"]},
        lang=["en", "en", "ja", "ja", "ja", "ja"],
    )
    table = slice_table(rows, {"t": "r"}, margin=0.3, alpha=0.3).set_index(["slice", "model"])["warning"]
    assert table["ja", "r"] == ""
    few = "3 clusters; a model only as good needs 4 to rule out a loss of 0.3"
    assert table["ja", "m"] == few
    assert table["en", "r"].startswith("2 clusters")
    swapped = rows.assign(model=rows["model"].map({"r": "m", "m": "r"}))
    table = slice_table(swapped, {"t": "r"}, margin=0.3, alpha=0.3).set_index(["slice", "model"])
    assert table.loc[("ja", "m"), "clusters"] == 4
    assert table.loc[("ja", "m"), "warning"].startswith("3 clusters")


def test_a_prompt_as_long_as_a_cut_counts_to_the_shorter_third():
    table = slice_table(rows_of({"r": [1.0] * 4}, prompt=["a", "bb", "ccc", "dddd"]), {"t": "r"})
    assert table["slice"].tolist() == ["1-2 characters", "3-3 characters", "4-4 characters"]


def test_equally_long_prompts_make_one_slice():
    table = slice_table(rows_of({"r": [1.0] * 5}, prompt=["same"] * 5), {"t": "r"})
    assert table["slice"].tolist() == ["4-4 characters"]
    assert table["n"].tolist() == [5]


def test_a_model_that_finished_nothing_is_shown_with_0_samples():
    rows = rows_of({"r": [1.0, 1.0], "m": ["harness", "harness"]}, lang=["en", "en"])
    last = slice_table(rows, {"t": "r"}).set_index("model").loc["m"]
    assert (last["n"], last["clusters"]) == (0, 0)
    assert math.isnan(last["score"])
    everything_open = rows.assign(status="harness", score=None)
    assert slice_table(everything_open, {"t": "r"})["n"].tolist() == [0, 0]
    assert holm_table(everything_open, {"t": "r"})["p_holm"].tolist() == [1.0]


# --- the committed example ----------------------------------------------------------------------------------


def test_the_example_run_is_described(example):
    plan = json.loads(EXAMPLE.with_name("plan.json").read_text(encoding="utf-8"))
    references = {task: entry["reference"] for task, entry in plan["tasks"].items()}
    grid = holm_table(example, references)
    assert len(grid) == example.groupby("task")["model"].nunique().sum() - len(references)
    assert (grid["p_holm"] >= grid["p_value"]).all()
    slices = slice_table(example, references)
    assert set(slices["dimension"]) == {"length", "lang", "tag"}
    for dimension, part in slices[slices["dimension"] != "tag"].groupby("dimension"):
        totals = part.groupby(["task", "model"])["n"].sum()
        assert totals.to_dict() == example.groupby(["task", "model"]).size().to_dict(), dimension

    extract = example[example["task"] == "fact_extract"]
    means = extract.groupby("model")[["score", "cost_usd"]].mean()
    ranked = bradley_terry(pairs_from_scores(extract), resamples=200)
    assert ranked["model"].tolist() == means["score"].sort_values(ascending=False).index.tolist()
    line = frontier(means["cost_usd"], means["score"], list(means.index))
    assert line.names[-1] == ranked["model"].iloc[0]
    assert means["score"].min() <= average_improvement_in_quality(line) <= means["score"].max()
