"""A small sweep on a real local model: its server's own count, the ledger and the telemetry agree."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from llmbench.bench.chain import Project
from llmbench.bench.ledger import read_ledger
from llmbench.bench.sweep import run_sweep
from llmbench.providers import embedded, local_models
from llmbench.providers.embedded import request_count
from tests.embedded_clients import settled_count
from tests.sweep_project import (
    frozen_plan,
    open_project_client,
    read_lines,
    rows_of,
    start_sweep,
    telemetry_path,
    write_dataset,
    write_project,
)

MODEL = "smollm2-135m"
TASKS = ("labels", "notes")
#: 2 tasks x 2 samples x 2 candidates, and a warm-up call for each task and candidate.
CELLS, WARM_UPS = 8, 4

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(not local_models.is_available(MODEL), reason=f"{MODEL} is not installed here"),
]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Servers of this test's own: their counts are this test's calls alone."""
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    embedded.release()


def write_local_project(root: Path, samples: int = 2) -> Project:
    project = write_project(root, 9, tasks=TASKS)
    local = {"provider": "local", "model_name": MODEL, "family": "smollm2", "price": {"per_core_hour": 0.04}}
    files = {
        "llm_router.yaml": {"providers": {"local": {"managed": "embedded", "limits": {"concurrency": 2}}}},
        "llm_model_registry.yaml": {
            "models": {
                "alpha": local | {"params": {"response_format_support": "none"}},
                "beta": local
                | {
                    "params": {"response_format_support": "llguidance"},
                    "capabilities": {"structured_outputs": True},
                },
            }
        },
        "llm_fallback_policy.yaml": {"deadline_s": 60},
    }
    for name, value in files.items():
        (project.configs / name).write_text(yaml.safe_dump(value), encoding="utf-8")
    for task in TASKS:
        write_dataset(project.datasets / task, task, [f"{n} nice videos of {task}" for n in range(samples)])
    return project


def sweep(project):
    with open_project_client(project) as client:
        plan = frozen_plan(project, client)
        return run_sweep(plan, client, ledger=project.ledger, reports=project.reports)


def server_count(expected):
    server = embedded.running_server(MODEL)
    assert server is not None
    return settled_count(server, expected)


def test_the_servers_count_equals_intents_and_telemetry_and_warm_ups_are_no_results(tmp_path, cache):
    project = write_local_project(tmp_path)
    run = sweep(project)
    assert (run.cells, run.calls, run.pending) == (CELLS, CELLS, 0)
    lines = Counter(line["type"] for line in read_lines(project.ledger))
    assert lines == {"intent": CELLS + WARM_UPS, "result": CELLS + WARM_UPS}
    assert len(read_lines(telemetry_path(project))) == CELLS + WARM_UPS
    assert server_count(CELLS + WARM_UPS) == CELLS + WARM_UPS
    rows = rows_of(run)
    assert len(rows) == CELLS
    assert not [row for row in rows if "warmup" in row["sample_id"]]
    assert "warmup" not in (run.run_dir / "calls.jsonl").read_text()
    for row in rows:
        assert row["cpu_s"] > 0
        assert row["cost_usd"] == pytest.approx(row["cpu_s"] / 3600 * 0.04)
        assert row["cost_source"] == "registry:per_core_hour"
        assert row["model_version"].startswith("sha256:")
    assert {row["status"] for row in rows if row["model"] == "beta"} == {"ok"}, "held to the schema"
    written = (run.run_dir / "results.jsonl").read_bytes()
    assert sweep(project).calls == 0
    assert (run.run_dir / "results.jsonl").read_bytes() == written
    assert server_count(CELLS + WARM_UPS) == CELLS + WARM_UPS


def test_after_kill_9_the_servers_count_is_the_intents_and_nothing_finished_is_called_again(tmp_path, cache):
    project = write_local_project(tmp_path, samples=4)
    server = embedded.ensure_server(MODEL)  # held by this process: it outlives the sweep
    process = start_sweep(project)
    end = time.monotonic() + 60
    while not project.ledger.exists() or len(read_ledger(project.ledger).results) < 7:
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    time.sleep(0.5)
    state = read_ledger(project.ledger)
    in_flight = len(state.orphans)
    assert in_flight <= 1, "one server, one call at a time"
    sent = len(state.results) + in_flight
    assert sent - in_flight <= settled_count(server, sent - in_flight) <= sent
    telemetry = len(read_lines(telemetry_path(project)))
    assert len(state.results) <= telemetry <= sent
    finished = {line["cell"] for line in state.results.values()}
    unsent = sent - request_count(server)
    before = len(read_lines(project.ledger))
    run = sweep(project)
    added = [line for line in read_lines(project.ledger)[before:] if line["type"] == "intent"]
    assert not finished & {line["cell"] for line in added if "warmup" not in line["cell"]}
    assert (run.cached + run.calls, run.pending) == (16, 0)
    intents = sum(line["type"] == "intent" for line in read_lines(project.ledger))
    assert settled_count(server, intents - unsent) == intents - unsent
    assert len(read_lines(telemetry_path(project))) == intents - (sent - telemetry)
    assert embedded.running_server(MODEL) == server
