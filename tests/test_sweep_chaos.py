"""Killed again and again at a provider that does all that is wrong: each cell has one, right result."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter, defaultdict

import pytest

from llmbench.bench.ledger import read_ledger
from tests.servers.stub_provider import label_of
from tests.sweep_project import (
    frozen_plan,
    open_project_client,
    rows_of,
    start_sweep,
    stub_provider,
    sweep,
    write_project,
)

CONCURRENCY = 16
FATES = "ok=78 prose=2 429=5 retry=3 500=4 hang=1 reset=2 cut=2 garbage=3"
CARD = {
    "output_schema": {
        "type": "object",
        "properties": {"label": {"type": "string"}},
        "required": ["label"],
        "additionalProperties": False,
    }
}
#: What each fate is in a result; of 429s nothing is a result.
ENDS = {
    "ok": ("ok", None),
    "prose": ("error", "invalid_output"),
    "500": ("error", "server_error"),
    "hang": ("timeout", "timeout"),
    "reset": ("error", "connect"),
    "cut": ("error", "connect"),
    "garbage": ("error", "malformed"),
}


def whole_lines(path):
    """The lines of a ledger that are whole; a kill may have torn some."""
    for line in path.read_bytes().splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def prompts_by_sample(project):
    with open_project_client(project) as client:
        return {s.id: s.input for task in frozen_plan(project, client).tasks for s in task.samples}


def books(project, prompts):
    """By cell: how many requests its lines count, how many intents have no end, and its result lines."""
    calls, intents, results = Counter(), defaultdict(dict), defaultdict(list)
    for line in whole_lines(project.ledger):
        _, sample, model, _ = line["cell"].split("/")
        cell = (f"{model}-1", prompts[sample])
        if line["type"] == "intent":
            intents[cell][line["intent_id"]] = line
            continue
        intents[cell].pop(line["intent_id"], None)
        calls[cell] += line["calls"]
        if line["type"] == "result":
            results[cell].append(line)
    return calls, {cell: len(left) for cell, left in intents.items()}, results


def check_books(project, stub, prompts):
    """The server's own count of each cell lies between what was recorded and that with the orphans."""
    calls, orphans, results = books(project, prompts)
    seen, fates = Counter(), defaultdict(set)
    for line in stub.requests():
        seen[line["model"], line["prompt"]] += 1
        fates[line["model"], line["prompt"]].add(line["fate"])
    for cell in seen.keys() | orphans.keys():
        assert calls[cell] <= seen[cell] <= calls[cell] + orphans.get(cell, 0), cell
    for cell, lines in results.items():
        assert len(lines) == 1, "a cell has one result"
        (line,) = lines
        met = {ENDS[fate] for fate in fates[cell] if fate in ENDS}
        assert (line["status"], line["error_kind"]) in met, (line["status"], line["error_kind"], fates[cell])
        if line["status"] == "ok":
            assert json.loads(line["output"]) == {"label": label_of(*cell)}, "the answer is another cell's"
    return seen, sum(orphans.values())


def kill_at_random(project, stub, dice, most_requests):
    """Start the sweep, and kill it after so many requests at most; whether it was killed."""
    process = start_sweep(project)
    wanted, ends_at = stub.count + dice.randint(1, most_requests), time.monotonic() + 60
    while stub.count < wanted and process.poll() is None:
        assert time.monotonic() < ends_at, f"the server saw {stub.count} of {wanted} requests"
        time.sleep(0.002)
    time.sleep(dice.uniform(0, 0.02))
    process.kill()
    process.communicate()
    time.sleep(0.05)  # what lies in the server's socket arrives
    return process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("kills", "samples"),
    [(4, 150), pytest.param(20, 1000, marks=pytest.mark.slow)],
    ids=["quick", "20 kills over 2,000 cells"],
)
def test_after_kill_9_amid_every_fault_each_cell_has_one_result_and_no_answer_is_wrong(
    tmp_path, kills, samples
):
    dice, cells = random.Random(kills), 2 * samples
    texts = [f"question {number} #dice {kills} {FATES};" for number in range(samples)]
    with stub_provider(tmp_path, (1, 8)) as stub:
        project = write_project(
            tmp_path, stub.port, samples=texts, concurrency=CONCURRENCY, deadline_s=0.5, card=CARD
        )
        prompts, killed, finished = prompts_by_sample(project), 0, {}
        for _ in range(kills):
            before = Counter((line["model"], line["prompt"]) for line in stub.requests())
            killed += kill_at_random(project, stub, dice, 2 * cells // (kills + 1))
            seen, orphans = check_books(project, stub, prompts)
            assert orphans <= killed * CONCURRENCY
            assert not finished.keys() & (seen - before).keys(), "a finished cell was called again"
            found = {cell: lines[0] for cell, lines in books(project, prompts)[2].items()}
            assert found | finished == found, "a finished result stays as it is"
            finished = found
        assert killed >= kills - 1, "the sweep must not end before it was killed"
        run, more = sweep(project), 0
        while run.pending and more < 3:  # eight refusals in a row leave a cell pending: it is made up for
            statuses = {(row["status"], row["error_kind"]) for row in rows_of(run) if row["score"] is None}
            assert statuses <= {("harness", "rate_limit")}
            run, more = sweep(project), more + 1
        seen, orphans = check_books(project, stub, prompts)
        rows = rows_of(run)
        assert (run.cells, run.pending, len(rows)) == (cells, 0, cells)
        assert len({row["fingerprint"] for row in rows}) == cells == len(read_ledger(project.ledger).results)
        assert set(Counter(row["status"] for row in rows)) == {"ok", "error", "timeout"}
        print(f"{killed} kills: {stub.count} requests for {cells} cells, {orphans} orphans, {more} more runs")
        total = stub.count
        again = sweep(project)
        assert (again.calls, stub.count) == (0, total)
        assert rows_of(again) == rows
