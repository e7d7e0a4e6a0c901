"""A finished run decided: from its folder and the project's configs to decisions and a recommendation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from llmbench.bench.chain import Project
from llmbench.bench.decision import Decision
from llmbench.bench.extras import describe
from llmbench.bench.judged import add_judgements
from llmbench.bench.propose import Routing
from llmbench.bench.propose_media import media_routing
from llmbench.bench.recommend import decide_tasks, recommend
from llmbench.bench.results import write_whole
from llmbench.config import Config, load_config
from llmbench.config.environment import read_environment
from llmbench.errors import SweepError
from llmbench.jsonl import read_jsonl
from llmbench.routing.resolve import tiers_of_tasks

JUDGEMENTS_FILE: Final = "judgements.jsonl"
LABELS_FILE: Final = "labels.jsonl"


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder's content. `rows` have a judge's verdicts and people's labels where there are any."""

    plan: Mapping[str, Any]
    rows: pd.DataFrame
    results_sha256: str


def read_run(run_dir: Path) -> Run:
    """Read a run folder.

    Raises:
        SweepError: plan.json or results.jsonl is missing, or no JSON.
    """
    results, plan_file = run_dir / "results.jsonl", run_dir / "plan.json"
    for path in (results, plan_file):
        if not path.is_file():
            raise SweepError(f"{path} is missing; run the sweep first")
    text = results.read_bytes()
    try:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        plan = json.loads(plan_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SweepError(f"{run_dir} holds a line that is not JSON ({error}); run the sweep again") from error
    frame = _with_judgements(run_dir, pd.DataFrame.from_records(rows), plan)
    return Run(plan, frame, hashlib.sha256(text).hexdigest())


def decisions(run_dir: Path) -> dict[str, Decision]:
    """The decision of every task of a run.

    Raises:
        SweepError: the folder cannot be read, or its rows cannot be judged.
    """
    run = read_run(run_dir)
    return decide_tasks(run.rows, run.plan)


def recommendation(project: Project, run_dir: Path) -> dict[str, Any]:
    """The recommendation for a run folder: verdicts, sentences and the config diff. Writes nothing.

    Raises:
        SweepError: as in `decisions`.
    """
    return _recommend(project, read_run(run_dir))


def _recommend(project: Project, run: Run) -> dict[str, Any]:
    routing = _routing(project, load_config(project.configs), run.plan)
    return recommend(run.rows, run.plan, routing, results_sha256=run.results_sha256)


def write_recommendation(project: Project, run_dir: Path) -> dict[str, Any]:
    """Decide a run and write recommendation.json, recommendation.diff and extras.json into its folder.

    Raises:
        SweepError: as in `decisions`.
    """
    run = read_run(run_dir)
    decided = _recommend(project, run)
    for name, value in (("recommendation.json", decided), ("extras.json", describe(run.rows, run.plan))):
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
        write_whole(run_dir / name, [text, "\n"])
    write_whole(run_dir / "recommendation.diff", [decided["diff"]])
    return decided


def _with_judgements(run_dir: Path, rows: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """The rows with a judge's verdicts and people's labels, where the run has any."""
    judgements, labels = run_dir / JUDGEMENTS_FILE, run_dir / LABELS_FILE
    if not judgements.is_file():
        return rows
    return add_judgements(rows, plan, _records(judgements), _records(labels) if labels.is_file() else ())


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a file that are records; the warehouse says which are not."""
    return (line.record for line in read_jsonl(path) if line.record is not None)


def _routing(project: Project, config: Config, plan: Mapping[str, Any]) -> Routing:
    """How the project's tasks are routed today, with the files that say so."""
    kind = plan.get("modality", "text")
    if kind != "text":
        return media_routing(config, kind, read_environment(), plan.get("unreachable", ()))
    tiers = {name: [entry.model for entry in entries] for name, entries in config.all_tiers().items()}
    uncalled = set(plan.get("unreachable", ()))
    files = {
        path.name: path.read_text(encoding="utf-8") for path in sorted(project.configs.glob("llm_*.yaml"))
    }
    return Routing(
        tiers=tiers,
        task_tiers=tiers_of_tasks(config),
        configs={name: body for name, body in files.items() if not name.endswith(".local.yaml")},
        unreachable={
            name for names in tiers.values() for name in names if config.model_key(name) in uncalled
        },
        providers={key: spec.provider for key, spec in config.models.items()},
    )
