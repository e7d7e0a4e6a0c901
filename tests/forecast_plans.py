"""Plans that are not swept, ledgers written by hand, and what is forecast from them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import yaml

from llmbench.bench.cells import make_cells
from llmbench.bench.forecast import ForecastRow
from llmbench.bench.forecast_calls import Span, forecast_calls
from llmbench.bench.ledger import read_ledger
from llmbench.bench.planning import forecast_sweep
from tests.sweep_project import frozen_plan, open_project_client, write_project

ROOT = Path(__file__).parents[1]
CALLS = ROOT / "reports" / "example" / "calls.jsonl"
PORT = 9  # nobody is called


def project_of(root, models, *, samples=12, registry=None, **options):
    """A project that is not swept; `registry` changes the entries of models."""
    project = write_project(
        root, PORT, models=models, samples=[f"text {n}" for n in range(samples)], **options
    )
    path = project.configs / "llm_model_registry.yaml"
    known = yaml.safe_load(path.read_text(encoding="utf-8"))
    for model, changes in (registry or {}).items():
        entry = known["models"][model]
        for name, value in changes.items():
            entry[name] = {**entry[name], **value} if name == "capabilities" else value
        known["models"][model] = {name: value for name, value in entry.items() if value is not None}
    path.write_text(yaml.safe_dump(known), encoding="utf-8")
    return project


def result(cell, **facts):
    """A ledger line of a cell."""
    usual = {"status": "ok", "input_tokens": 40, "output_tokens": 8, "latency_ms": 500.0, "output": "x"}
    head = {"type": "result", "fingerprint": cell.fingerprint, "intent_id": cell.fingerprint}
    return {**head, "cached_tokens": 0, "reasoning_tokens": 0, **usual, **facts}


def write_ledger(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def forecast_of(project, ledger=None, **changes):
    with open_project_client(project) as client:
        plan = dataclasses.replace(frozen_plan(project, client), **changes)
        return forecast_sweep(plan, client, ledger or project.ledger)


def calls_of(project, ledger):
    """(cell, what it takes) for every cell."""
    with open_project_client(project) as client:
        cells = list(make_cells(frozen_plan(project, client), client))
        found = forecast_calls(cells, read_ledger(ledger), client)
    return [(cell, found[cell.fingerprint]) for cell in cells]


def cells_of(project):
    with open_project_client(project) as client:
        return list(make_cells(frozen_plan(project, client), client))


def row(model, **changes):
    usual = {
        "task": "t", "model": model, "provider": "local", "lane": f"local/{model}", "planned": 10,
        "in_ledger": 0, "calls": Span(10, 10, 10), "input": Span(), "output": Span(),
        "usd": Span(1.0, 2.0, 3.0), "unknown": "", "seconds": 10.0, "reserved_tokens": 0,
        "costs_money": False, "basis": ("its calls",),
    }  # fmt: skip
    return ForecastRow(**{**usual, **changes})
