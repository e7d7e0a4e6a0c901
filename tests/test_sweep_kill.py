"""What a sweep promises when its process dies: nothing finished is called again, nothing paid for is lost."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter

import pytest

from llmbench.bench.ledger import read_ledger
from tests.sweep_project import (
    frozen_plan,
    open_project_client,
    read_lines,
    rows_of,
    start_sweep,
    stub_provider,
    sweep,
    telemetry_path,
    write_project,
)

CONCURRENCY = 4
SAMPLES = [f"question {number}" for number in range(36)]
LATENCY_MS = (20, 50)


def wait_for_requests(stub, wanted, process, seconds=30):
    """Wait until the server has seen that many requests, or the sweep has ended."""
    end = time.monotonic() + seconds
    while stub.count < wanted and process.poll() is None:
        assert time.monotonic() < end, f"the server saw {stub.count} of {wanted} requests"
        time.sleep(0.003)


def by_cell(stub):
    """The server's own count of each cell's requests."""
    return Counter((line["model"].removesuffix("-1"), line["prompt"]) for line in stub.requests())


def results_by_cell(project):
    """The ledger's results by the same names as the server's."""
    with open_project_client(project) as client:
        samples = {s.id: s.input for task in frozen_plan(project, client).tasks for s in task.samples}
    results = read_ledger(project.ledger).results.values()
    names = [line["cell"].split("/") for line in results]
    return {(model, samples[sample_id]) for _, sample_id, model, _ in names}


@pytest.fixture
def stub(tmp_path):
    with stub_provider(tmp_path, LATENCY_MS) as running:
        yield running


@pytest.mark.parametrize("rounds", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment_loses_at_most_the_calls_in_flight(tmp_path, stub, rounds):
    dice = random.Random(rounds)
    samples = [f"question {number}" for number in range(15 * rounds)]
    project = write_project(tmp_path, stub.port, samples=samples, concurrency=CONCURRENCY)
    kills, finished = 0, set()
    for _ in range(rounds):
        calls_before = by_cell(stub)
        process = start_sweep(project)
        wait_for_requests(stub, stub.count + dice.randint(1, 20), process)
        time.sleep(dice.uniform(0, 0.04))
        process.kill()
        process.communicate()
        time.sleep(0.1)  # what lies in the server's socket arrives
        state = read_ledger(project.ledger)
        kills += process.returncode == -signal.SIGKILL
        assert len(state.orphans) <= kills * CONCURRENCY
        assert len(state.results) <= stub.count <= len(state.results) + len(state.orphans)
        assert not finished & set(by_cell(stub) - calls_before), "a finished cell was called again"
        finished = results_by_cell(project)
    assert kills >= 2, "a busy machine let the sweep end before it was killed"
    seen, cells = stub.count, 2 * len(samples)
    run = sweep(project)
    assert (run.cached, run.calls, run.pending) == (len(finished), cells - len(finished), 0)
    assert stub.count == seen + run.calls
    assert [row["status"] for row in rows_of(run)] == ["ok"] * cells
    assert sweep(project).calls == 0
    print(f"{kills} kills: {stub.count} calls for {cells} cells, {len(state.orphans)} orphans")


@pytest.mark.alone
def test_ctrl_c_ends_a_sweep_within_two_seconds_and_it_goes_on_from_there(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=SAMPLES, concurrency=CONCURRENCY)
    process = start_sweep(project)
    wait_for_requests(stub, 20, process)
    pressed = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert time.monotonic() - pressed < 2
    assert process.returncode == -signal.SIGINT
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    for word in ("never awaited", "was destroyed", "unclosed", "ignored"):
        assert word not in stderr
    state = read_ledger(project.ledger)
    results, broken_off = len(state.results), len(state.pending)
    assert {line["error_kind"] for line in state.pending.values()} == {"cancelled"}
    assert state.orphans == {}
    assert broken_off <= CONCURRENCY
    assert results + broken_off - CONCURRENCY <= stub.count <= results + broken_off
    progress = json.loads(next(project.reports.glob("*/progress.json")).read_text())
    assert (progress["state"], progress["done"]) == ("stopped", results)
    lines = read_lines(telemetry_path(project))
    assert len(lines) == results + broken_off, "an interrupted call says so in telemetry"
    assert {line["error_kind"] for line in lines if line["status"] == "fail"} == {"cancelled"}
    seen = stub.count
    run = sweep(project)
    assert (run.cached, run.calls, run.pending) == (results, run.cells - results, 0)
    assert stub.count == seen + run.calls


def test_a_sweep_killed_while_a_line_was_torn_goes_on(tmp_path, stub):
    project = write_project(tmp_path, stub.port, samples=SAMPLES, concurrency=CONCURRENCY)
    process = start_sweep(project)
    wait_for_requests(stub, 30, process)
    process.kill()
    process.communicate()
    whole = project.ledger.read_bytes()
    project.ledger.write_bytes(whole[: whole.rindex(b'"type": "result"') + 40])
    known = len(read_ledger(project.ledger).results)
    run = sweep(project)
    assert run.cached == known
    assert "1 ledger lines were skipped (first: line" in run.notices[0]
    assert len(read_ledger(project.ledger).results) == run.cells


def test_a_second_sweep_on_a_ledger_in_use_is_refused_and_sends_nothing(tmp_path, stub):
    samples = [*SAMPLES[:10], "#hang"]
    project = write_project(tmp_path, stub.port, samples=samples, concurrency=CONCURRENCY, deadline_s=60)
    first = start_sweep(project)
    wait_for_requests(stub, 22, first)
    second = start_sweep(project)
    _, said = second.communicate(timeout=30)
    assert (first.poll(), second.returncode) == (None, 1)
    assert said.splitlines()[-1].startswith("llmbench.errors.SweepError: another sweep is writing to ")
    assert stub.count == 22
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=10)
    assert len(read_ledger(project.ledger).results) == 20
