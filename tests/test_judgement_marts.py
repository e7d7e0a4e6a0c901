"""Judgements and labels as views, against published figures and an independent computation in pandas."""

from __future__ import annotations

import json
import random
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from llmbench.analytics.warehouse import open_warehouse
from tests.run_folders import write_judgements, write_run_folder

PUBLISHED = Path(__file__).parents[2] / "shared" / "data"
JUDGED = "select * from mart_judges order by task, judge, strategy"
PAIR = ["run_id", "task", "sample_id", "model", "other"]
VIEW = [*PAIR, "judge", "strategy"]


def published(name: str) -> Path:
    folder = PUBLISHED / name
    if not folder.is_dir():
        pytest.skip(f"the published data of {name} is not on this machine")
    return folder


def write_run(folder: Path, judgements: list, labels: list) -> Path:
    for name, lines in (("results", []), ("judgements", judgements), ("labels", labels)):
        text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def judgement(**changes):
    line = {"schema": 1, "run_id": "r", "task": "t", "sample_id": "s", "cluster": "c", "lang": "en"}
    line |= {"model": "cheap", "other": "dear", "judge": "j", "strategy": "pairwise", "order": "AB"}
    return line | {"verdict": 1, "status": "ok", "cost_usd": 0.1, "latency_ms": 5} | changes


def label(**changes):
    line = {"schema": 1, "run_id": "r", "task": "t", "sample_id": "s", "model": "cheap", "other": "dear"}
    return line | {"label": 1, "timestamp": "2026-11-22T09:00:00.000Z"} | changes


def test_win_rates_are_those_that_alpaca_eval_publishes(tmp_path):
    source = published("alpaca_eval2")
    rows = duckdb.sql(f"from '{source / 'annotations.parquet'}'").fetchall()
    board = pd.read_csv(source / "published_leaderboard.csv", index_col=0)
    lines = [
        judgement(sample_id=str(at), model=model, other=base, order="BA", verdict=2 * (preference - 1.5))
        for model, at, base, _, preference, *_ in rows
    ]
    with open_warehouse(run_dirs=[write_run(tmp_path, lines, [])]) as warehouse:
        got = warehouse.query("select * from mart_win_rates order by model").set_index("model")
    got = got.loc[got.index.isin(board.index)]  # one model's verdicts are there without published figures
    board = board.loc[got.index]
    assert len(got) == 57
    assert got["n"].tolist() == board["n_total"].tolist()
    np.testing.assert_allclose(got["win_rate"], board["win_rate"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(got["standard_error"], board["standard_error"], rtol=0, atol=1e-9)
    for mine, theirs in (("wins", "n_wins"), ("losses", "n_wins_base"), ("ties", "n_draws")):
        assert got[mine].tolist() == board[theirs].tolist()


def test_judges_are_as_accurate_as_llmbar_publishes(tmp_path):
    source = published("llmbar")
    judged = duckdb.sql(f"from '{source / 'judge_verdicts.parquet'}'").fetchall()
    gold = duckdb.sql(f"select subset, idx, label from '{source / 'pairs.parquet'}'").fetchall()  # noqa: S608
    value = {"1": 1, "2": -1, "None": None}
    pair = {"run_id": "llmbar", "model": "output_1", "other": "output_2"}
    lines = [
        judgement(
            **pair,
            task=subset,
            sample_id=str(at),
            judge=judge,
            strategy=strategy,
            order=order,
            verdict=value[winner],
            status="unparsable" if value[winner] is None else "ok",
        )
        for subset, at, judge, strategy, _, first, second in judged
        for order, winner in (("AB", first), ("BA", second))
    ]
    labels = [label(**pair, task=task, sample_id=str(at), label=value[str(best)]) for task, at, best in gold]
    with open_warehouse(run_dirs=[write_run(tmp_path, lines, labels)]) as warehouse:
        got = warehouse.rows(JUDGED)
        assert warehouse.rows("select * from quarantine") == []
    board = pd.read_csv(source / "published_statistics.csv").set_index(["subset", "judge", "strategy"])
    assert len(got) == len(board) == 499
    for row in got:
        want = board.loc[(row["task"], row["judge"], row["strategy"])]
        assert row["pairs"] == row["labelled"]
        for mine, theirs in (
            ("accuracy_ab", "correct_False"),
            ("accuracy_ba", "correct_True"),
            ("accuracy_both", "correct_both"),
            ("agreement", "equal"),
        ):
            hits, n = (int(part) for part in want[theirs].split(" = ")[0].split(" / "))
            assert row[mine] == hits / n, (mine, row)
            assert n == row["pairs"]
        assert 100 * row["accuracy"] == pytest.approx(float(want["correct_average"].rstrip("%")), abs=1e-9)


def sign_of(values):
    return np.sign(values.astype(float))


def preferences_by_hand(lines, labels) -> pd.DataFrame:
    """mart_preferences, computed another way."""
    raw = pd.DataFrame(lines)
    raw["verdict"] = raw["verdict"].astype(float)
    wide = raw.pivot(index=VIEW, columns="order", values=["status", "verdict"])
    frame = pd.DataFrame(
        {
            f"{name}_{order.lower()}": wide[(name, order)]
            for name in ("status", "verdict")
            for order in ("AB", "BA")
        }
    )
    frame[["verdict_ab", "verdict_ba"]] = frame[["verdict_ab", "verdict_ba"]].astype(float)
    frame["verdict"] = (frame["verdict_ab"] + frame["verdict_ba"]) / 2
    last = pd.DataFrame(labels).drop_duplicates(PAIR, keep="last").set_index(PAIR)["label"]
    return frame.join(last, on=PAIR)


@pytest.fixture(scope="module", params=[1, 2, 3])
def generated(request, tmp_path_factory):
    folder = write_run_folder(tmp_path_factory.mktemp("judged"), samples=24, seed=request.param)
    write_judgements(folder, seed=request.param)
    read = {
        name: [json.loads(line) for line in (folder.run_dir / f"{name}.jsonl").read_text().splitlines()]
        for name in ("judgements", "labels")
    }
    with open_warehouse(run_dirs=[folder.run_dir]) as warehouse:
        yield warehouse, preferences_by_hand(read["judgements"], read["labels"]), read["judgements"]


def test_preferences_are_those_computed_by_hand(generated):
    warehouse, want, _ = generated
    got = warehouse.query("select * from mart_preferences").set_index(VIEW).loc[want.index]
    for name in ("verdict_ab", "verdict_ba", "verdict", "label"):
        np.testing.assert_array_equal(got[name].astype(float), want[name].astype(float), err_msg=name)
    for name in ("status_ab", "status_ba"):
        assert got[name].fillna("").tolist() == want[name].fillna("").tolist()
    parsed = want["verdict"].notna()
    assert parsed.any()
    assert not parsed.all()
    assert got["is_consistent"].notna().tolist() == parsed.tolist()
    same = sign_of(want["verdict_ab"]) == sign_of(want["verdict_ba"])
    assert got["is_consistent"][parsed].tolist() == same[parsed].tolist()


def test_win_rates_are_those_computed_by_hand(generated):
    warehouse, want, _ = generated
    keys = ["run_id", "task", "model", "other", "judge", "strategy"]
    got = warehouse.query("select * from mart_win_rates").set_index(keys).sort_index()
    groups = want.assign(won=50 * (want["verdict"] + 1)).groupby(keys)["won"]
    assert got["pairs"].tolist() == groups.size().tolist()
    assert got["n"].tolist() == groups.count().tolist()
    np.testing.assert_allclose(got["win_rate"], groups.mean())
    np.testing.assert_allclose(got["standard_error"], groups.sem())
    for name, holds in (("wins", groups.agg(lambda won: (won > 50).sum())),
                        ("losses", groups.agg(lambda won: (won < 50).sum())),
                        ("ties", groups.agg(lambda won: (won == 50).sum()))):  # fmt: skip
        assert got[name].tolist() == holds.astype(int).tolist(), name


def test_judges_are_those_computed_by_hand(generated):
    warehouse, pairs, lines = generated
    for row in warehouse.rows(JUDGED):
        mine = pairs.loc[(row["run_id"], row["task"])].xs(row["judge"], level="judge")
        known = mine[mine["label"].notna()]
        asked = {order: known[known[f"status_{order}"].notna()] for order in ("ab", "ba")}
        right = {o: sign_of(part[f"verdict_{o}"]) == part["label"] for o, part in asked.items()}
        twice = mine[mine["status_ab"].notna() & mine["status_ba"].notna()]
        same = (sign_of(twice["verdict_ab"]) == sign_of(twice["verdict_ba"])) | (
            (twice["status_ab"] == "unparsable") & (twice["status_ba"] == "unparsable")
        )
        calls = [x for x in lines if x["task"] == row["task"] and x["judge"] == row["judge"]]
        wanted = {
            "pairs": len(mine),
            "labelled": len(known),
            "parsed_both": mine["verdict"].notna().sum(),
            "accuracy_ab": right["ab"].mean(),
            "accuracy_ba": right["ba"].mean(),
            "accuracy": (right["ab"].mean() + right["ba"].mean()) / 2,
            "accuracy_both": (right["ab"] & right["ba"])[twice.index.intersection(known.index)].mean(),
            "agreement": same.mean(),
            "unparsable_share": sum(x["status"] == "unparsable" for x in calls) / len(calls),
            "error_share": sum(x["status"] == "error" for x in calls) / len(calls),
            "cost_usd": sum(x["cost_usd"] for x in calls),
        }
        for name, value in wanted.items():
            assert row[name] == pytest.approx(value), name


def test_a_lone_order_counts_only_where_no_pair_was_asked_in_both(tmp_path):
    lines = [
        judgement(order="AB", verdict=1),
        judgement(order="BA", verdict=-1),
        judgement(sample_id="half", order="AB", verdict=1),
        judgement(judge="once", order="BA", verdict=0.5),
        judgement(judge="once", sample_id="half", order="AB", verdict=-0.5),
    ]
    with open_warehouse(run_dirs=[write_run(tmp_path, lines, [])]) as warehouse:
        got = warehouse.rows("select judge, sample_id, verdict from mart_preferences")
    assert {(row["judge"], row["sample_id"]): row["verdict"] for row in got} == {
        ("j", "s"): 0,
        ("j", "half"): None,
        ("once", "s"): 0.5,
        ("once", "half"): -0.5,
    }


def test_a_tie_in_both_orders_is_consistent_and_a_changed_label_replaces_the_first(tmp_path):
    lines = [judgement(order=order, verdict=0) for order in ("AB", "BA")]
    labels = [label(label=1), label(sample_id="x"), label(label=0)]
    with open_warehouse(run_dirs=[write_run(tmp_path, lines, labels)]) as warehouse:
        pair = warehouse.rows("select is_consistent, label, verdict from mart_preferences")
        judge = warehouse.rows("select accuracy, accuracy_both, labelled from mart_judges")
        counted = warehouse.rows("select label, times_labelled from stg_labels where sample_id = 's'")
        assert warehouse.rows("select * from quarantine") == []
    assert pair == [{"is_consistent": True, "label": 0, "verdict": 0}]
    assert judge == [{"accuracy": 1, "accuracy_both": 1, "labelled": 1}]
    assert counted == [{"label": 0, "times_labelled": 2}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"schema": 1, "run_id": "r", "task', "torn_tail"),
        ('{"some": "thing"}\n', "missing_required"),
        (judgement(schema=2), "unknown_schema"),
        (judgement(judge=None), "missing_required"),
        (judgement(order="first"), "unknown_order"),
        (judgement(status="fine"), "unknown_status"),
        (judgement(verdict="better"), "type_mismatch"),
        (judgement(verdict=1.5), "verdict_out_of_range"),
        (judgement(verdict=None), "verdict_missing"),
        (judgement(cost_usd=-1), "non_finite_or_negative"),
    ],
)
def test_a_line_that_is_no_judgement_is_kept_apart(tmp_path, line, reason):
    run = write_run(tmp_path, [judgement(sample_id="good"), line], [])
    with open_warehouse(run_dirs=[run]) as warehouse:
        found = warehouse.rows("select line_no, reason from quarantine")
        left = warehouse.rows("select sample_id from stg_judgements")
    assert (found, left) == ([{"line_no": 2, "reason": reason}], [{"sample_id": "good"}])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"run_id": "r", "la', "torn_tail"),
        ("[1]\n", "not_an_object"),
        (label(schema=2), "unknown_schema"),
        (label(other=None), "missing_required"),
        (label(label="yes"), "type_mismatch"),
        (label(label=0.5), "unknown_label"),
    ],
)
def test_a_line_that_is_no_label_is_kept_apart(tmp_path, line, reason):
    run = write_run(tmp_path, [], [label(sample_id="good"), line])
    with open_warehouse(run_dirs=[run]) as warehouse:
        found = warehouse.rows("select line_no, reason from quarantine")
        left = warehouse.rows("select sample_id from stg_labels")
    assert (found, left) == ([{"line_no": 2, "reason": reason}], [{"sample_id": "good"}])


def test_of_judgements_made_twice_the_later_counts_and_a_copied_folder_adds_nothing(tmp_path):
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
        write_run(folder, [judgement(verdict=None, status="error"), judgement(verdict=-1)], [label()])
    with open_warehouse(run_dirs=folders) as warehouse:
        assert warehouse.rows("select verdict, label from mart_preferences") == [{"verdict": -1, "label": 1}]
        reasons = warehouse.rows("select reason, count(*) as n from quarantine group by reason order by n")
    assert {row["reason"]: row["n"] for row in reasons} == {
        "duplicate_of_later_line": 2,
        "duplicate_of_other_file": 2,
    }


def test_forty_thousand_lines_load_at_the_speed_of_a_bulk_read(tmp_path):
    """A loop over lines in Python takes far longer; the bound leaves room for a slow machine."""
    import time

    draw = random.Random(3)
    lines = [judgement(sample_id=str(at), verdict=draw.uniform(-1, 1)) for at in range(40_000)]
    write_run(tmp_path, lines, [])
    started = time.process_time()
    with open_warehouse(run_dirs=[tmp_path]) as warehouse:
        assert warehouse.rows("select n from mart_win_rates") == [{"n": 40_000}]
    assert time.process_time() - started < 10
