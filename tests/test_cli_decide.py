"""`llmbench decide`: a table on disk gives what the sequential run gave, and says what is wrong with it."""

from __future__ import annotations

import json

import duckdb
import pandas as pd
import pytest
from typer.testing import CliRunner

from llmbench.cli import app
from tests.tables import decided, frame_of, losing, right

BASE = right(0.8, 300)
FRAME = frame_of({"ref": BASE, "small": losing(BASE, 4), "tiny": losing(BASE, 90)})


def run(*args):
    return CliRunner().invoke(app, ["decide", *map(str, args)])


def written(folder, frame, ending):
    path = folder / f"results{ending}"
    if ending == ".parquet":
        duckdb.sql("select * from frame").write_parquet(str(path))
    elif ending == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_a_finished_table_gives_what_the_sequential_run_gave(tmp_path, ending):
    path = written(tmp_path, FRAME, ending)
    done = run(path, "--reference", "ref", "--margin", "0.1", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads(json.dumps(decided(FRAME, "small", "tiny").to_dict()))


def test_limits_candidates_chains_and_the_order_are_options(tmp_path):
    path = written(tmp_path, FRAME, ".parquet")
    done = run(
        path, "--reference", "ref", "--candidate", "tiny > small", "--candidate", "small", "--margin", "0.1",
        "--slo-ms", "5000", "--slo-share", "0.9", "--floor", "0.5", "--seed", "3", "--stop", "grid", "--json",
        "--batch", "25", "--pilot", "20", "--max-cost-usd", "0.5",
    )  # fmt: skip
    options = {"slo": (5000, 0.9), "floor": 0.5, "seed": 3, "stop": "grid"}
    options |= {"batch": 25, "pilot": 20, "max_cost_usd": 0.5}
    assert json.loads(done.stdout) == decided(FRAME, ("tiny", "small"), "small", **options).to_dict()


def test_without_json_a_paragraph_is_printed_and_names_are_no_markup(tmp_path):
    frame = FRAME.assign(task="[red]caption[/]")
    done = run(written(tmp_path, frame, ".parquet"), "--reference", "ref", "--margin", "0.1")
    assert done.stdout.startswith("[red]caption[/]: small can take over from ref. On ")


def test_several_tasks_are_decided_each_and_a_report_shares_alpha(tmp_path):
    both = [FRAME.assign(task=name) for name in ("one", "two")]
    path = written(tmp_path, pd.concat(both), ".parquet")
    each = json.loads(run(path, "--reference", "ref", "--json").stdout)["tasks"]
    assert list(each) == ["one", "two"]
    shared = run(path, "--reference", "ref", "--family", "report", "--task", "one", "--json").stdout
    assert (each["one"]["side"], json.loads(shared)["side"]) == (0.025, 0.0125)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["gone.parquet", "--reference", "ref"], "does not exist"),
        (["results.txt", "--reference", "ref"], "a table ends in .parquet, .csv, .jsonl"),
        (["results.parquet"], "name the model that is used today with --reference"),
        (
            ["results.parquet", "--reference", "other"],
            "the table has no model 'other'; it has: ref, small, tiny",
        ),
        (["results.parquet", "--reference", "ref", "--task", "x"], "has no task 'x'"),
        (["results.parquet", "--reference", "ref", "--margin", "5"], "0.05 means 5 points"),
        (["results.parquet", "--reference", "ref", "--family", "all"], "family is"),
        (["torn.parquet", "--reference", "ref"], "torn.parquet cannot be read"),
    ],
)
def test_mistakes_end_in_one_line_that_says_what_to_do(tmp_path, monkeypatch, capfd, args, says):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, FRAME, ".parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    done = run(*args)
    assert done.exit_code == 1
    text = done.output + capfd.readouterr().err
    assert says in text
    assert len(text.strip().splitlines()) == 1


def test_a_run_folders_plan_is_not_overruled_by_options(tmp_path):
    from tests.test_recommend import plan_of, rows

    frame = rows({"ref": BASE[:160], "small": BASE[:160]})
    frame.to_json(tmp_path / "results.jsonl", orient="records", lines=True)
    (tmp_path / "plan.json").write_text(json.dumps(plan_of(frame)))
    assert json.loads(run(tmp_path / "results.jsonl", "--json").stdout)["terms"]["margin"] == 0.10
    done = run(tmp_path / "results.jsonl", "--margin", "0.01")
    assert done.exit_code == 1
