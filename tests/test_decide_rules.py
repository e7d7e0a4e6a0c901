"""`decide`: what it does not depend on, what it says, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench import decide
from llmbench.bench.decide import decide_rows
from llmbench.bench.table import read_table
from llmbench.errors import SweepError
from tests.tables import Pulls, decided, frame_of, losing, names, right

N = 400
BASE = right(0.8, N)


# --- what a decision does not depend on ---------------------------------------------------------------------

shares = st.floats(0.0, 0.5)


@given(shares, shares, st.integers(0, 5), st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_order_of_columns_and_candidates_and_units_do_not_matter(a, b, seed, random):
    base = right(0.8, 120, seed)
    scores = {"ref": base, "small": losing(base, round(96 * a)), "tiny": losing(base, round(96 * b), 2)}
    frame = frame_of(scores)
    columns, models = list(frame.columns), ["small", "tiny"]
    one = decided(frame, *models).to_dict()
    random.shuffle(columns)
    other = decided(frame[columns], *reversed(models)).to_dict()
    one["terms"].pop("candidates"), other["terms"].pop("candidates")
    one.pop("calls"), other.pop("calls")
    assert one == other
    scaled = frame.assign(latency_ms=frame["latency_ms"] / 1000, cost_usd=frame["cost_usd"] * 100)
    third = decided(scaled, *models)
    assert (third.outcome, third.choice) == (one["outcome"], decided(frame, *models).choice)
    assert [row.state for row in third.why.values()] == [row["state"] for row in one["candidates"][1:]]


@given(shares, st.floats(0.02, 0.3), st.booleans())
@settings(max_examples=25)
def test_verdict_and_interval_never_contradict(share, margin, grid):
    base = right(0.7, 150)
    frame = frame_of({"ref": base, "small": losing(base, round(105 * share))})
    row = decided(frame, "small", margin=margin, stop="grid" if grid else "decided").why["small"]
    assert (row.interval[0] > -margin) == (row.state == "promote") == (row.evidence >= row.threshold)


def test_a_seed_shuffles_whole_clusters_and_the_same_seed_repeats_itself():
    frame = frame_of({"ref": BASE, "small": losing(BASE, 30)})
    clusters = {prompt: f"c{i // 4}" for i, prompt in enumerate(names(N))}
    pulls = [Pulls(frame) for _ in range(3)]
    found = [
        decided(frame, "small", pull=p, clusters=clusters, seed=s)
        for p, s in zip(pulls, (1, 1, 2), strict=True)
    ]
    assert found[0].to_dict() == found[1].to_dict()
    first = [[prompt for model, prompt in pull.asked if model == "ref"] for pull in pulls]
    assert first[0] == first[1] != first[2]
    assert all(clusters[a] == clusters[b] for a, b in zip(first[0][::4], first[0][3::4], strict=False))


def test_a_finished_table_gives_what_the_sequential_run_gave():
    for seed in range(6):
        base = right(0.8, 200, seed)
        frame = frame_of({"ref": base, "small": losing(base, 5 * seed), "tiny": losing(base, 9 * seed, 2)})
        live = decided(frame, "small", "tiny")
        rows = read_table(frame.assign(task="t"))["t"]
        assert decide_rows(rows, live.terms).to_dict() == live.to_dict()


def test_a_table_of_the_calls_that_were_made_gives_it_too_when_the_budget_is_told():
    frame = frame_of({"ref": BASE, "small": losing(BASE, 25)})
    pull = Pulls(frame)
    live = decided(frame, "small", pull=pull)
    called = frame[[pair in set(pull.asked) for pair in zip(frame["model"], frame["prompt_id"], strict=True)]]
    rows = read_table(called)[""]
    again = decide_rows(rows, live.terms, budgets=live.budgets)
    assert (again.outcome, again.why["small"].evidence) == (live.outcome, live.why["small"].evidence)
    assert again.why["small"].interval == live.why["small"].interval


def test_more_prompts_go_on_with_the_evidence_that_is_there():
    frame = frame_of({"ref": BASE, "small": losing(BASE, 12)})
    short = decide(Pulls(frame), names(50), reference="ref", candidates=["small"], margin=0.10)
    assert short.outcome == "inconclusive"
    longer = decided(frame, "small", budgets=short.budgets)
    assert longer.budgets == (50, N)
    assert longer.why["small"].path[:6] == short.why["small"].path
    assert longer.outcome == "promote"


def test_more_prompts_under_a_seed_come_after_those_that_were_called_first():
    frame = frame_of({"ref": BASE, "small": losing(BASE, 12)})
    pulls = [Pulls(frame), Pulls(frame)]
    short = decide(pulls[0], names(60), reference="ref", candidates=["small"], margin=0.02, seed=0)
    longer = decide(
        pulls[1], names(N), reference="ref", candidates=["small"], margin=0.02, seed=0, budgets=short.budgets
    )
    first, second = ([prompt for model, prompt in pull.asked if model == "ref"] for pull in pulls)
    assert second[: len(first)] == first
    assert longer.why["small"].path[: len(short.why["small"].path)] == short.why["small"].path


def test_a_larger_cluster_that_comes_later_does_not_rescale_what_was_bet():
    frame = frame_of({"ref": BASE, "small": BASE})
    late = dict.fromkeys(names(N)[90:120], "big")
    options = {"reference": "ref", "candidates": ["small"], "margin": 0.10, "stop": "grid"}
    one = decide(Pulls(frame), names(90), largest_cluster=30, **options)
    both = decide(Pulls(frame), names(120), clusters=late, budgets=one.budgets, largest_cluster=30, **options)
    assert both.why["small"].path[: len(one.why["small"].path)] == one.why["small"].path


def test_the_full_grid_calls_everything_and_keeps_what_was_proved():
    frame = frame_of({"ref": BASE, "small": losing(BASE, 4), "tiny": losing(BASE, 140)})
    grid, short = decided(frame, "small", "tiny", stop="grid"), decided(frame, "small", "tiny")
    assert grid.calls == {"ref": N, "small": N, "tiny": N}
    assert (grid.outcome, grid.choice) == (short.outcome, short.choice) == ("promote", "small")
    assert grid.why["tiny"].state == "worse"
    assert grid.why["small"].delta == pytest.approx(-4 / N)


# --- what it says -------------------------------------------------------------------------------------------


def test_the_paragraph_can_be_read_aloud():
    frame = frame_of({"ref": BASE, "small": losing(BASE, 4)})
    text = str(decided(frame, "small"))
    assert text.startswith("small can take over from ref. On ")
    assert "We bet against the claim “small is 10 points worse or more”: the stake grew" in text
    assert "at 1/8 of the cost ($5.20 against $39.00 per 1,000 calls)" in text
    assert text.endswith("of the full grid's calls were not needed.")


def test_json_has_no_infinity_and_rows_read_by_name_or_attribute():
    found = decided(frame_of({"ref": BASE, "small": losing(BASE, 4)}), "small")
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["candidates"][1]["state"] == found.why["small"]["state"] == "promote"
    with pytest.raises(KeyError):
        found.why["small"]["nothing"]


def test_names_are_escaped_in_a_notebook():
    frame = frame_of({"ref": BASE, "<b>small</b>": BASE})
    page = decided(frame, "<b>small</b>")._repr_html_()
    assert "<b>" not in page
    assert "&lt;b&gt;small" in page
    assert "<svg" in page


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"margin": 0.0}, "margin 0.0 must lie"),
        ({"margin": 5}, "0.05 means 5 points"),
        ({"alpha": 1.0}, "alpha 1.0"),
        ({"slo": (5000, 95)}, "slo's share 95"),
        ({"slo": (0, 0.95)}, "slo's limit"),
        ({"floor": 80}, "floor 80"),
        ({"min_saving": 1.0}, "min_saving"),
        ({"batch": 0}, "batch, pilot and tasks"),
        ({"family": "all"}, "family is"),
        ({"stop": "never"}, "stop is"),
        ({"candidates": ["ref"]}, "ref stands twice"),
        ({"candidates": [()]}, "no model and no chain"),
        ({"candidates": "abc"}, "give a list of models"),
        ({"slo": 5000}, r"must be \(milliseconds, share\)"),
        ({"slo": ("5s", 0.9)}, r"must be \(milliseconds, share\)"),
        ({"margin": "0.05"}, "margin 0.05 must lie"),
        ({"alpha": 0.6}, "0.5 at most"),
        ({"max_cost_usd": -1.0}, "a positive number of dollars"),
        ({"batch": 2.5}, "whole numbers"),
        ({"prompts": []}, "no prompts"),
        ({"prompts": ["p0000", "p0000"]}, "p0000 stands twice"),
    ],
)
def test_terms_that_cannot_be_decided_on_are_refused(options, says):
    frame = frame_of({"ref": BASE[:20], "small": BASE[:20]})
    given = {"prompts": names(20), "reference": "ref", "candidates": ["small"]} | options
    with pytest.raises(SweepError, match=says):
        decide(Pulls(frame), **given)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"score": 1.5}, "score 1.5 is not in"),
        ({"score": float("nan")}, "score nan is not in"),
        ({"score": "good"}, "column score holds something that is not a number"),
        ({"cost_usd": -1.0}, "cost_usd -1.0 is not a price"),
        ({"latency_ms": float("nan")}, "latency_ms nan"),
        ({"status": "okay"}, "unknown status 'okay'"),
        ({"preference": 2.0}, "a preference lies in"),
    ],
)
def test_rows_that_cannot_be_used_are_refused_by_name(change, says):
    frame = frame_of({"ref": BASE[:20], "small": BASE[:20]}).assign(**change)
    with pytest.raises(SweepError, match=says):
        decided(frame, "small")


def test_rows_that_stand_twice_or_were_not_asked_for_are_refused():
    frame = frame_of({"ref": BASE[:20], "small": BASE[:20]})
    with pytest.raises(SweepError, match="epoch 0 stands twice"):
        decided(pd.concat([frame, frame[:1]]), "small")
    with pytest.raises(SweepError, match="was not asked for"):
        decided(frame, "small", pull=lambda model, _: frame[frame["model"] == model])
    with pytest.raises(SweepError, match="pull gave a NoneType"):
        decided(frame, "small", pull=lambda *_: None)
    with pytest.raises(SweepError, match="the epoch is empty"):
        decided(frame.assign(epoch=np.nan), "small")
    with pytest.raises(SweepError, match="column cost_usd is missing"):
        decided(frame.drop(columns="cost_usd"), "small")
