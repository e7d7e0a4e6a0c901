"""Ctrl-C ends a sweep within two seconds whatever it waits for, and nothing is left without an end."""

from __future__ import annotations

import json
import signal
import time

import pytest
import yaml

from llmbench.bench.account import worst_of_call
from llmbench.bench.cells import make_cells
from llmbench.bench.ledger import read_ledger
from tests.sweep_project import (
    frozen_plan,
    open_project_client,
    read_lines,
    start_sweep,
    stub_provider,
    telemetry_path,
    write_project,
)

LONG = {"max_tokens": 400, "temperature": 0.0, "seed": 1}


def paused(root, stub):
    """The provider asked for half a minute of silence."""
    samples = [f"text {n} #dice 1 long=1;" for n in range(12)]
    return write_project(root, stub.port, samples=samples, concurrency=3), 3, 0


def retrying(root, stub):
    """The same, and the policy's own retries wait for it."""
    samples = [f"text {n} #dice 1 long=1;" for n in range(12)]
    project = write_project(root, stub.port, samples=samples, concurrency=3, retries=1, deadline_s=90)
    return project, 3, 3


def out_of_minute(root, stub):
    """The minute has no room for more requests."""
    return write_project(root, stub.port, plan={"limits": {"stub": {"requests_per_minute": 4}}}), 4, 0


def out_of_money(root, stub):
    """Calls that hang hold all the money, and others wait for what they may give back."""
    samples = [f"text {n} #hang" for n in range(12)]
    card = {"options": LONG}
    project = write_project(root, stub.port, samples=samples, concurrency=24, deadline_s=90, card=card)
    with open_project_client(project) as client:
        cells = make_cells(frozen_plan(project, client), client)
        worst = [worst_of_call(cell.worst_usd, client.config.policy) for cell in cells]
    path = project.configs / "sweeps" / "small.yaml"
    plan = yaml.safe_load(path.read_text()) | {"budget": {"usd": 6.5 * max(worst)}}
    path.write_text(yaml.safe_dump(plan))
    return project, 6, 6


def crowded(root, stub):
    """All places are taken by calls that hang."""
    samples = [f"text {n} #hang" for n in range(12)]
    return write_project(root, stub.port, samples=samples, concurrency=5, deadline_s=90), 5, 5


@pytest.mark.alone
@pytest.mark.parametrize("situation", [paused, retrying, out_of_minute, out_of_money, crowded])
def test_ctrl_c_ends_a_sweep_within_two_seconds_while_it_waits(tmp_path, situation):
    with stub_provider(tmp_path) as stub:
        project, requests, under_way = situation(tmp_path, stub)
        process = start_sweep(project)
        end = time.monotonic() + 30
        while stub.count < requests and process.poll() is None:
            assert time.monotonic() < end, f"the server saw {stub.count} of {requests} requests"
            time.sleep(0.01)
        time.sleep(0.4)
        assert stub.count == requests, "the sweep waits"
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
        took_s = time.monotonic() - pressed
        assert stub.count == requests
    assert took_s < 2
    assert process.returncode == -signal.SIGINT
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    for word in ("never awaited", "was destroyed", "unclosed", "ignored", "Error:"):
        assert word not in stderr
    state = read_ledger(project.ledger)
    assert state.orphans == {}
    broken_off = [line for line in state.pending.values() if line["error_kind"] == "cancelled"]
    assert len(broken_off) == under_way
    assert all(line["charged_usd"] > 0 for line in broken_off), "it may have been paid for"
    progress = json.loads(next(project.reports.glob("*/progress.json")).read_text())
    assert progress["state"] == "stopped"
    intents = [line for line in read_lines(project.ledger) if line["type"] == "intent"]
    assert len(read_lines(telemetry_path(project))) == len(intents)
