"""One sweep: what is sent, what is recorded, and what a failed call becomes."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from pathlib import Path

import pytest
import yaml

from llmbench.bench.ledger import read_ledger
from llmbench.bench.progress import read_progress
from llmbench.bench.sending import MOST_TRIES
from llmbench.bench.sweep import run_sweep
from llmbench.errors import ProviderError, SweepError
from llmbench.providers.scripted import ScriptedTransport
from tests.sweep_project import (
    frozen_plan,
    open_project_client,
    read_lines,
    rows_of,
    stub_provider,
    sweep,
    telemetry_path,
    write_dataset,
    write_project,
)


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    with stub_provider(tmp_path_factory.mktemp("stub")) as running:
        yield running


def calls_in(project):
    """Requests by the ledger's own account: every ended call's, and one for each that never ended."""
    lines = read_lines(project.ledger)
    return sum(line["calls"] for line in lines if line["type"] != "intent")


def only_row(run, model="alpha"):
    (row,) = [row for row in rows_of(run) if row["model"] == model]
    return row


def test_every_cell_is_a_row_in_plan_order_and_the_server_saw_each_once(tmp_path, stub):
    project = write_project(tmp_path, stub.port, plan={"repeats": 2}, tasks=("labels", "notes"))
    before = stub.count
    run = sweep(project)
    assert (run.cells, run.calls, run.cached, run.failed, run.pending) == (96, 96, 0, 0, 0)
    assert stub.count - before == 96
    rows = rows_of(run)
    with open_project_client(project) as client:
        plan = frozen_plan(project, client)
    wanted = [
        (task.task, repeat, sample.id, model)
        for task in plan.tasks
        for repeat in range(2)
        for sample in task.samples
        for model in task.candidates
    ]
    assert [(row["task"], row["repeat"], row["sample_id"], row["model"]) for row in rows] == wanted
    assert {
        (row["status"], row["score"], row["model_version"]) for row in rows if row["model"] == "alpha"
    } == {("ok", 1.0, "alpha-1-2026-01-01")}
    assert all(row["cost_usd"] == pytest.approx(13e-6) for row in rows)


def test_an_intent_stands_in_the_ledger_before_each_result_and_in_telemetry(tmp_path, stub):
    project = write_project(tmp_path, stub.port)
    run = sweep(project, run_id="named")
    lines = read_lines(project.ledger)
    seen = set()
    for line in lines:
        if line["type"] == "intent":
            seen.add(line["intent_id"])
        else:
            assert line["intent_id"] in seen
    telemetry = read_lines(telemetry_path(project))
    assert len(telemetry) == len(seen) == run.cells
    assert {line["run_id"] for line in (*lines, *telemetry)} == {"named"}
    ledger_calls = {line["call_id"]: line["cell"] for line in lines if line["type"] == "result"}
    assert {line["call_id"]: line["cell"] for line in telemetry} == ledger_calls


def test_a_second_run_calls_nobody_and_writes_the_same_bytes(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a", "#500", "#prose", '日本語 \\ " \u2028'])
    first = sweep(project)
    written = {
        path.name: path.read_bytes() for path in first.run_dir.iterdir() if path.name != "progress.json"
    }
    seen = stub.count
    second = sweep(project)
    assert (second.calls, second.cached) == (0, first.cells)
    assert stub.count == seen
    assert {
        path.name: path.read_bytes() for path in first.run_dir.iterdir() if path.name in written
    } == written


def test_a_run_under_another_name_uses_the_same_answers(tmp_path, stub):
    project = write_project(tmp_path, stub.port)
    first = sweep(project)
    again = sweep(project, run_id="again")
    assert again.calls == 0
    assert again.run_dir == project.reports / "again"
    assert [row | {"run_id": ""} for row in rows_of(again)] == [
        row | {"run_id": ""} for row in rows_of(first)
    ]
    assert {row["run_id"] for row in rows_of(again)} == {"again"}


def test_a_longer_draw_pays_for_its_new_samples_only(tmp_path, stub):
    project = write_project(tmp_path, stub.port, plan={"tasks": {"labels": {"limit": 5}}})
    sweep(project)
    path = project.configs / "sweeps" / "small.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"tasks": {"labels": {"limit": 9}}}))
    run = sweep(project)
    assert (run.cached, run.calls) == (10, 8)


def test_another_scorer_costs_no_call(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a", "b"])
    sweep(project)
    folder = project.datasets / "labels"
    card = yaml.safe_load((folder / "card.yaml").read_text())
    card["scorer"] = {"name": "fields", "params": {}}
    (folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    run = sweep(project)
    assert run.calls == 0
    assert {tuple(row["score_details"]) for row in rows_of(run)} != {()}


# ---- failures as rows


@pytest.mark.parametrize(
    ("prompt", "status", "kind", "requests"),
    [
        ("#500", "error", "server_error", 3),
        ("#prose", "error", "invalid_output", 1),
        ("#inf", "error", "malformed", 1),
        ("#hang", "timeout", "timeout", 1),
    ],
)
def test_what_the_model_or_its_provider_did_wrong_is_a_result_with_score_0(
    tmp_path, stub, prompt, status, kind, requests
):
    project = write_project(
        tmp_path,
        stub.port,
        models=["alpha"],
        samples=[prompt],
        retries=2,
        deadline_s=1 if "hang" in prompt else 10,
    )
    before = stub.count
    run = sweep(project)
    row = only_row(run)
    assert (row["status"], row["error_kind"], row["score"]) == (status, kind, 0.0)
    assert stub.count - before == calls_in(project) == requests
    assert row["error"]
    assert row["adjustments"][0]["param"] == "response_format"
    assert row["call_id"] == read_lines(telemetry_path(project))[0]["call_id"]
    assert sweep(project).calls == 0, "a failure is a result: it is not paid for twice"


def test_an_answer_that_breaks_the_schema_keeps_its_text_tokens_and_cost(tmp_path, stub):
    row = only_row(sweep(write_project(tmp_path, stub.port, models=["alpha"], samples=["#prose"])))
    assert row["output"] == "I would say praise"
    assert (row["input_tokens"], row["output_tokens"]) == (7, 3)
    assert row["cost_usd"] == pytest.approx(13e-6)
    assert row["finish_reason"] == "stop"


def test_a_failure_that_passes_with_a_retry_is_an_answer(tmp_path, stub):
    project = write_project(tmp_path, stub.port, models=["alpha"], samples=["#once"], retries=1)
    assert only_row(sweep(project))["status"] == "ok"
    assert calls_in(project) == 2


@pytest.mark.parametrize(
    ("prompt", "kind", "requests"), [("#429", "rate_limit", 3 * MOST_TRIES), ("#401", "auth", 1)]
)
def test_our_own_throttling_and_accounts_are_pending_and_never_a_result(
    tmp_path, stub, prompt, kind, requests
):
    project = write_project(tmp_path, stub.port, models=["alpha"], samples=[prompt, "fine"], retries=2)
    before = stub.count
    run = sweep(project)
    row = next(row for row in rows_of(run) if row["prompt"].startswith("#"))
    assert (row["status"], row["error_kind"], row["score"], row["output"]) == ("harness", kind, None, None)
    assert f"told to fail with {prompt[1:]}" in row["error"]
    assert (run.pending, run.failed, run.calls) == (1, 0, 2)
    assert stub.count - before == calls_in(project) == requests + 1
    again = sweep(project)
    assert (again.cached, again.calls, again.pending) == (1, 1, 1)


def test_an_error_of_our_own_is_pending_under_its_name_and_the_sweep_goes_on(tmp_path):
    project = write_project(tmp_path, 9, models=["alpha"], samples=["broken", "fine"])

    def answer(asked):
        if asked.body["messages"][-1]["content"].startswith("broken"):
            raise ZeroDivisionError("a bug of ours")
        return '{"label": "praise"}'

    scripted = ScriptedTransport(answer)
    run = sweep(project, client_options={"transport": lambda: scripted})
    by_prompt = {row["prompt"].split()[0]: row for row in rows_of(run)}
    assert by_prompt["fine"]["score"] == 1.0
    assert by_prompt["broken"]["status"] == "harness"
    assert by_prompt["broken"]["error"] == "ZeroDivisionError: a bug of ours"
    assert (run.pending, run.failed) == (1, 0)


def test_an_answer_with_half_a_character_is_kept_and_read_again(tmp_path, stub):
    project = write_project(tmp_path, stub.port, models=["alpha"], samples=["#surrogate"])
    first = sweep(project)
    written = (first.run_dir / "results.jsonl").read_bytes()
    assert "\ud800" in (only_row(first)["output"] or "")
    assert sweep(project).calls == 0
    assert (first.run_dir / "results.jsonl").read_bytes() == written


def test_failed_and_answered_cells_of_one_model_do_not_look_like_two_versions(tmp_path, stub):
    run = sweep(write_project(tmp_path, stub.port, samples=["fine", "#500"]))
    versions = {row["model_version"] for row in rows_of(run) if row["model"] == "alpha"}
    assert versions == {"alpha-1-2026-01-01", None}


# ---- what ends a sweep


def test_a_disk_that_is_full_stops_the_sending_with_one_clear_error(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=[f"q {n}" for n in range(30)], concurrency=4)
    project.ledger.parent.mkdir(parents=True)
    before = stub.count
    with open_project_client(project) as client:
        plan = frozen_plan(project, client)
        done = 0

        def fill_the_disk(_progress):
            """The ledger becomes a device without space while the sweep runs."""
            nonlocal done
            done += 1
            if done == 1:
                project.ledger.unlink(missing_ok=True)
                project.ledger.symlink_to("/dev/full")

        with pytest.raises(
            SweepError, match="cannot be written: No space left on device; nothing more is sent"
        ):
            run_sweep(plan, client, ledger=project.ledger, reports=project.reports, watch=fill_the_disk)
    assert stub.count - before <= 4
    progress = read_progress(next(project.reports.glob("*/progress.json")))
    assert progress is not None
    assert progress["state"] == "stopped"


def test_a_run_id_that_leads_out_of_the_reports_folder_is_refused_before_any_call(tmp_path, stub):
    project = write_project(tmp_path, stub.port)
    before = stub.count
    with pytest.raises(SweepError, match="cannot be a folder's name"):
        sweep(project, run_id="../outside")
    assert stub.count == before
    assert not (tmp_path / "outside").exists()


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path, stub):
    project = write_project(tmp_path, stub.port)
    project.reports.write_text("a file")
    with pytest.raises(SweepError, match="cannot be made"):
        sweep(project)


# ---- concurrency, progress, loops


def test_a_provider_never_sees_more_calls_at_once_than_its_limit(tmp_path):
    with stub_provider(tmp_path, (5, 15)) as stub:
        project = write_project(tmp_path, stub.port, samples=[f"q {n}" for n in range(25)], concurrency=3)
        sweep(project)
        assert max(line["open"] for line in stub.requests()) == 3
    steps = (1 if line["type"] == "intent" else -1 for line in read_lines(project.ledger))
    assert max(itertools.accumulate(steps)) == 3, "no intent stands longer than its call takes"


def test_progress_adds_up_at_every_moment(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a", "b", "#500", "#429", "c"])
    sweep(write_project(tmp_path, stub.port, samples=["a"]))
    write_dataset(
        project.datasets / "labels", "labels", [f"{t} of labels" for t in ["a", "b", "#500", "#429", "c"]]
    )
    seen = []
    run = sweep(project, watch=lambda progress: seen.append(progress.facts()))
    for facts in seen:
        assert facts["cached"] + facts["done"] + facts["pending"] <= facts["planned"] == 10
        assert facts["failed"] <= facts["done"]
    last = seen[-1]
    shown = read_progress(run.run_dir / "progress.json")
    assert shown is not None
    assert {name for name in last if last[name] != shown[name]} <= {"elapsed_s", "rate"}
    assert last["state"] == "done"
    assert (last["cached"], last["done"], last["failed"], last["pending"]) == (2, 6, 2, 2)
    assert last["cost_usd"] == pytest.approx(4 * 13e-6)
    assert last["cost_unknown"] == 4


def test_progress_that_cannot_be_written_ends_nothing(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a"])
    (project.reports / "blocked" / "progress.json").mkdir(parents=True)
    assert sweep(project, run_id="blocked").calls == 2


def test_a_sweep_runs_inside_a_running_loop_and_leaves_no_thread(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a", "b"])
    before = set(threading.enumerate())

    async def notebook():
        return sweep(project)

    assert asyncio.run(notebook()).calls == 4
    ends_at = time.monotonic() + 10  # a thread that loads the price list ends by itself
    while (left := set(threading.enumerate()) - before) and time.monotonic() < ends_at:
        time.sleep(0.05)
    assert not left


def test_a_ledger_of_another_plan_is_left_alone(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=["a"])
    sweep(project)
    before = project.ledger.read_bytes()
    write_dataset(project.datasets / "labels", "labels", ["b of labels"])
    assert sweep(project).calls == 2
    assert project.ledger.read_bytes().startswith(before)
    assert len(read_ledger(project.ledger).results) == 4


def test_a_failing_provider_of_one_model_leaves_the_other_models_alone(tmp_path):
    project = write_project(tmp_path, 9, samples=["a", "b", "c"])

    def answer(asked):
        if asked.body["model"] == "beta-1":
            return ProviderError("gone", kind="connect")
        return '{"label": "praise"}'

    scripted = ScriptedTransport(answer)
    run = sweep(project, client_options={"transport": lambda: scripted})
    statuses = {(row["model"], row["status"], row["error_kind"]) for row in rows_of(run)}
    assert statuses == {("alpha", "ok", None), ("beta", "error", "connect")}
    assert len(scripted.asked) == 6


def test_nothing_half_written_is_left_in_a_run_folder(tmp_path, stub):
    run = sweep(write_project(tmp_path, stub.port, samples=["a"]))
    names = {path.name for path in Path(run.run_dir).iterdir()}
    assert names == {"plan.json", "results.jsonl", "calls.jsonl", "progress.json"}
    assert os.listdir(run.run_dir.parent) == [run.run_dir.name]  # noqa: PTH208


def test_a_run_folder_of_another_plan_is_not_written_over(tmp_path, stub):
    project = write_project(tmp_path, stub.port)
    run = sweep(project, run_id="mine")
    kept = (run.run_dir / "results.jsonl").read_bytes()
    with open_project_client(project) as client:
        other = frozen_plan(project, client, limit=2)
        with pytest.raises(SweepError, match="mine holds a run of another plan"):
            run_sweep(other, client, ledger=project.ledger, reports=project.reports, run_id="mine")
    assert (run.run_dir / "results.jsonl").read_bytes() == kept
    assert sweep(project, run_id="mine").calls == 0  # the same plan goes on in its own folder


def test_lines_that_are_no_records_are_told_with_the_progress(tmp_path, stub):
    project = write_project(tmp_path, stub.port)
    sweep(project)
    with project.ledger.open("ab") as file:
        file.write(b'{"torn": ')
    run = sweep(project)
    (notice,) = run.notices
    assert "1 ledger lines were skipped" in notice
    assert read_progress(run.run_dir / "progress.json")["notices"] == [notice]
