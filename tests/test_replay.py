"""A replay takes every answer from a recorded ledger: no network, the same bytes, and no gap in silence."""

from __future__ import annotations

import socket

import pytest
import yaml

from llmbench.bench import chain
from llmbench.bench.progress import read_progress
from llmbench.bench.sweep import run_sweep
from llmbench.errors import SweepError
from tests.sweep_project import read_lines, rows_of, stub_provider, sweep, telemetry_path, write_project


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    with stub_provider(tmp_path_factory.mktemp("stub")) as running:
        yield running


def refuse_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("a replay opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)


def test_a_replay_sends_nothing_and_gives_the_same_rows_byte_for_byte(tmp_path, stub, monkeypatch):
    project = write_project(tmp_path, stub.port, samples=["a", "#500", "#prose", "日本"])
    first = sweep(project)
    calls = first.run_dir / "calls.jsonl"
    refuse_network(monkeypatch)
    written = (first.run_dir / "results.jsonl").read_bytes()
    for recorded in (calls, project.ledger):
        copy = tmp_path / "elsewhere.jsonl"
        copy.write_bytes(recorded.read_bytes())
        run = sweep(project, ledger=copy, reports=tmp_path / "other", replay=True)
        assert (run.calls, run.cached) == (0, first.cells)
        assert (run.run_dir / "results.jsonl").read_bytes() == written
        assert (run.run_dir / "calls.jsonl").read_bytes() == calls.read_bytes()
        assert read_progress(run.run_dir / "progress.json")["cached"] == first.cells
    assert len(read_lines(telemetry_path(project))) == first.cells


def test_a_replay_that_misses_a_cell_names_the_first_one_and_writes_nothing(tmp_path, stub, monkeypatch):
    project = write_project(tmp_path, stub.port, samples=["a", "b"])
    first = sweep(project)
    lines = (first.run_dir / "calls.jsonl").read_bytes().splitlines(keepends=True)
    part = tmp_path / "part.jsonl"
    part.write_bytes(lines[0] + lines[2])
    missing = rows_of(first)[1]
    refuse_network(monkeypatch)
    wanted = f"replay: 2 of 4 cells are not in .*, first labels/{missing['sample_id']}/{missing['model']}/0;"
    with pytest.raises(SweepError, match=wanted):
        sweep(project, ledger=part, replay=True, run_id="missing")
    assert not (project.reports / "missing" / "results.jsonl").exists()
    with pytest.raises(SweepError, match="there is no recorded ledger"):
        sweep(project, ledger=tmp_path / "nowhere.jsonl", replay=True)


def test_a_pending_cell_is_a_miss_in_a_replay(tmp_path, stub):
    project = write_project(tmp_path, stub.port, models=["alpha"], samples=["a", "#429"])
    sweep(project)
    with pytest.raises(SweepError, match="replay: 1 of 2 cells"):
        sweep(project, replay=True)


def test_stored_answers_are_scored_again_in_their_own_folder_after_a_scorer_changed(
    tmp_path, stub, monkeypatch
):
    project = write_project(tmp_path, stub.port, samples=["a", "#500", "b"])
    first = sweep(project, run_id="done")
    assert [row["score"] for row in rows_of(first)] == [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    card = project.datasets / "labels" / "card.yaml"
    value = yaml.safe_load(card.read_text())
    value["scorer"] = {"name": "combine", "params": {"parts": [
        {"scorer": "label", "weight": 1.0}, {"scorer": "format", "weight": 3.0, "params": {"max_chars": 99}},
    ]}}  # fmt: skip
    card.write_text(yaml.safe_dump(value, sort_keys=False))
    refuse_network(monkeypatch)
    before = (first.run_dir / "calls.jsonl").read_bytes()
    again = sweep(project, run_id="done", ledger=first.run_dir / "calls.jsonl", replay=True)
    assert (again.run_dir, again.calls) == (first.run_dir, 0)
    assert {name for row in rows_of(again) for name in row["score_details"]} != {"json", "schema", "label"}
    assert [row["score"] for row in rows_of(again)] == [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    assert (first.run_dir / "calls.jsonl").read_bytes() == before


def test_a_run_with_parameters_is_scored_again_whole_and_keeps_its_calls(tmp_path, stub):
    plan = {"candidates": ["beta"], "params": {"temperature": [0.3, 0.7]}}
    project = write_project(tmp_path, stub.port, samples=["a", "b"], plan=plan)
    first = sweep(project, run_id="done")
    assert first.cells == 6
    recorded = first.run_dir / "calls.jsonl"
    before = (recorded.read_bytes(), (first.run_dir / "results.jsonl").read_bytes())
    choice = chain.Choice(run_id="done", replay=recorded)
    with chain.open_client(project, replay=recorded) as client:
        frozen = chain.find_plan(project, "small", choice, client)
        again = run_sweep(
            frozen, client, ledger=recorded, reports=project.reports, run_id="done", replay=True
        )
    assert again.cells == 6
    assert (recorded.read_bytes(), (first.run_dir / "results.jsonl").read_bytes()) == before


def test_a_run_with_pending_cells_is_scored_again_and_a_part_of_it_loses_no_call(tmp_path, stub):
    project = write_project(tmp_path, stub.port, models=["alpha"], samples=["a", "#401", "b"])
    first = sweep(project, run_id="done")
    recorded = first.run_dir / "calls.jsonl"
    before = recorded.read_bytes()
    again = sweep(project, run_id="done", ledger=recorded, replay=True)
    assert (first.pending, again.pending) == (1, 1)
    assert recorded.read_bytes() == before
