"""A small project around the stub provider: config folder, dataset and plan in a temporary folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from llmbench.bench.chain import NOTEBOOKS, Project
from llmbench.bench.plan import Plan
from llmbench.bench.plan_build import make_plan
from llmbench.bench.plan_file import PlanFile
from llmbench.bench.sweep import SweepRun, run_sweep
from llmbench.routing.client import LLMClient

ROOT = Path(__file__).parents[1]
STUB = Path(__file__).parent / "servers" / "stub_provider.py"
SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["praise", "spam"]}},
    "required": ["label"],
    "additionalProperties": False,
}
PRICE = {"input": 1.0, "output": 2.0, "as_of": "2026-11-22"}


@dataclass(frozen=True)
class Stub:
    """A running stub provider."""

    port: int
    log: Path
    pid: int

    def requests(self) -> list[dict[str, Any]]:
        return read_lines(self.log) if self.log.exists() else []

    @property
    def count(self) -> int:
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0


@contextlib.contextmanager
def stub_provider(folder: Path, latency_ms: tuple[float, float] = (1, 2)) -> Iterator[Stub]:
    log = folder / "provider.jsonl"
    command = [sys.executable, str(STUB), str(log), *map(str, latency_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Stub(int(process.stdout.readline()), log, process.pid)
        finally:
            process.kill()


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def write_project(
    root: Path,
    port: int,
    *,
    models: Sequence[str] = ("alpha", "beta"),
    tasks: Sequence[str] = ("labels",),
    samples: Sequence[str] = tuple(f"sample {number}" for number in range(12)),
    concurrency: int = 3,
    retries: int = 0,
    deadline_s: float = 10,
    plan: dict[str, Any] | None = None,
    price: dict[str, Any] | None = PRICE,
    policy: dict[str, Any] | None = None,
    card: dict[str, Any] | None = None,
) -> Project:
    """Write the project's files; every task gets a dataset of its own with the same kind of samples.

    `plan`, `policy` and `card` go on top of what the files say otherwise.
    """
    files: dict[str, Any] = {
        "configs/llm_router.yaml": {
            "providers": {
                "stub": {"base_url": f"http://127.0.0.1:{port}/v1", "limits": {"concurrency": concurrency}}
            }
        },
        "configs/llm_model_registry.yaml": {
            "models": {
                key: {
                    "provider": "stub",
                    "model_name": f"{key}-1",
                    "capabilities": {"context_tokens": 2048},
                }
                | ({} if price is None else {"price": dict(price)})
                for key in models
            }
        },
        "configs/llm_tier_candidates.yaml": {"tiers": {"standard": list(models)}},
        "configs/llm_tier_mapping.yaml": {"tasks": dict.fromkeys(tasks, "standard")},
        "configs/llm_fallback_policy.yaml": {
            "transient_statuses": [429, 500],
            "per_status_retry": {429: retries, 500: retries},
            "backoff_sec": 0.01,
            "deadline_s": deadline_s,
        }
        | (policy or {}),
        "configs/sweeps/small.yaml": {
            "name": "small",
            "stop": "grid",
            "margin": 0.5,  # what a dozen samples can prove
            "candidates": list(models),
            "budget": {"usd": 1.0},
            "tasks": {task: {} for task in tasks},
        }
        | (plan or {}),
    }
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    for task in tasks:
        write_dataset(root / "datasets" / task, task, [f"{text} of {task}" for text in samples], card)
    return Project(root)


def write_dataset(
    folder: Path, task: str, texts: Sequence[str], changes: dict[str, Any] | None = None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": f"s{number:03}",
            "lang": "en",
            "cluster": f"c{number:03}",
            "input": text,
            "target": {"label": "praise"},
        }
        for number, text in enumerate(texts)
    ]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "data.jsonl").write_bytes(data)
    card = {
        "name": task,
        "version": "1.0",
        "licence": "MIT",
        "task": task,
        "languages": ["en"],
        "description": "Texts for tests.",
        "sha256": hashlib.sha256(data).hexdigest(),
        "samples": len(rows),
        "clusters": len(rows),
        "fields": {"input": "a text"},
        "scorer": {"name": "label", "params": {"field": "label"}},
        "output_schema": SCHEMA,
        "prompt": {"system": "Label it.", "shots": [{"input": "nice", "output": '{"label": "praise"}'}]},
        "options": {"max_tokens": 16, "temperature": 0.0, "seed": 1},
    } | (changes or {})
    (folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")


def open_project_client(project: Project, **options: Any) -> LLMClient:
    """A client that takes nothing from the environment and logs into the project."""
    return LLMClient(project.configs, variables={}, log_path=telemetry_path(project), **options)


def telemetry_path(project: Project) -> Path:
    return project.root / "workspaces" / "logs" / "llm_usage.jsonl"


def frozen_plan(project: Project, client: LLMClient, **choice: Any) -> Plan:
    text = (project.configs / "sweeps" / "small.yaml").read_text(encoding="utf-8")
    return make_plan(
        PlanFile.model_validate(yaml.safe_load(text)), client, datasets=project.datasets, **choice
    )


def sweep(project: Project, *, client_options: dict[str, Any] | None = None, **options: Any) -> SweepRun:
    """Run the project's plan in this process."""
    with open_project_client(project, **(client_options or {})) as client:
        plan = frozen_plan(project, client)
        given = {"ledger": project.ledger, "reports": project.reports} | options
        return run_sweep(plan, client, **given)


def rows_of(run: SweepRun) -> list[dict[str, Any]]:
    return read_lines(run.run_dir / "results.jsonl")


#: The sweep of a project as a program, for tests that end its process.
PROGRAM = """
import sys
from pathlib import Path
from tests.sweep_project import sweep
from llmbench.bench.chain import NOTEBOOKS, Project
print(sweep(Project(Path(sys.argv[1]))), flush=True)
"""


def start_sweep(project: Project, **options: Any) -> subprocess.Popen[str]:
    """Start the project's sweep in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(project.root)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def copy_notebooks(project: Project, *, changed: dict[str, str] | None = None, is_short: bool = True) -> None:
    """The project's own copies of the shipped notebooks.

    Args:
        project: where they go.
        changed: a piece of a cell's source -> what the whole cell becomes.
        is_short: leave out the cells that only show something; each costs seconds of imports.
    """
    import nbformat

    needed = ("run_sweep(", "find_plan(", "write_recommendation(")
    project.notebooks.mkdir()
    for name in NOTEBOOKS:
        notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
        if is_short:
            notebook.cells = [
                cell
                for cell in notebook.cells
                if "parameters" in cell.metadata.get("tags", []) or any(w in cell.source for w in needed)
            ]
        for piece, source in (changed or {}).items():
            for cell in notebook.cells:
                if piece in cell.source:
                    cell.source = source
        nbformat.write(notebook, project.notebooks / name)
