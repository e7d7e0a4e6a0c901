"""Descriptive extras of a run: present where they mean something, absent elsewhere, and plain JSON."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from llmbench.bench.extras import describe
from tests.tables import losing, right
from tests.test_recommend import plan_of, rows

BASE = right(0.8, 160)


@pytest.fixture
def frame():
    frame = rows({"ref": BASE, "small": losing(BASE, 4), "tiny": losing(BASE, 60)})
    return frame.assign(lang=np.where(frame["sample_id"] < "s150", "ja", "en"), prompt="x" * 10)


def test_a_full_grid_is_ranked_adjusted_and_sliced(frame):
    found = describe(frame, plan_of(frame))
    json.dumps(found, allow_nan=False)
    assert [row["model"] for row in found["ranking"]][-1] == "tiny"
    assert {row["model"]: row["rejected"] for row in found["holm"]} == {"small": True, "tiny": False}
    (hull,) = found["aiq"]
    assert 0.4 < hull["aiq"] < 0.8
    english = [
        row
        for row in found["slices"]
        if (row["slice"], row["value"], row["model"]) == ("lang", "en", "small")
    ]
    assert english[0]["n"] == 10
    assert english[0]["warning"]


def test_a_race_that_stopped_early_has_no_table_of_a_fixed_size(frame):
    assert describe(frame, plan_of(frame, stop="decided"))["holm"] == []


def test_an_unknown_cost_has_no_hull_and_no_rows_have_nothing(frame):
    unknown = frame.assign(cost_usd=np.where(frame["model"] == "tiny", np.nan, frame["cost_usd"]))
    assert describe(unknown, plan_of(frame))["aiq"] == []
    empty = {"ranking": [], "aiq": [], "holm": [], "slices": []}
    assert describe(frame.iloc[:0], plan_of(frame)) == empty
    assert describe(frame.assign(status="harness"), plan_of(frame)) == empty


def test_a_model_alone_is_not_ranked(frame):
    alone = frame[frame["model"] == "ref"]
    found = describe(alone, plan_of(alone))
    assert (found["ranking"], found["aiq"]) == ([], [])


def test_every_task_has_its_own(frame):
    both = pd.concat([frame, frame.assign(task="caption")])
    found = describe(both, plan_of(both))
    assert (
        {row["task"] for row in found["ranking"]}
        == {row["task"] for row in found["aiq"]}
        == {"extract", "caption"}
    )
