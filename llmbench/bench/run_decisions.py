"""A finished run decided: from its folder and the project's configs to decisions and a recommendation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pandas as pd

from llmbench.bench.chain import Project
from llmbench.bench.decision import Decision
from llmbench.bench.extras import describe
from llmbench.bench.judged import add_judgements
from llmbench.bench.plan_facts import check_plan
from llmbench.bench.propose import Routing
from llmbench.bench.propose_media import media_routing
from llmbench.bench.recommend import config_hashes, decide_tasks, ground_files, recommend
from llmbench.bench.recommendation import Recommendation
from llmbench.bench.results import write_whole
from llmbench.bounded import MAX_CONFIG_BYTES, MAX_DOCUMENT_BYTES, parse_json, read_bytes
from llmbench.config import Config, load_config
from llmbench.config.environment import read_environment
from llmbench.config.model import MediaModality
from llmbench.errors import ConfigError, SweepError
from llmbench.jsonl import read_jsonl
from llmbench.routing.resolve import tiers_of_tasks

JUDGEMENTS_FILE: Final = "judgements.jsonl"
LABELS_FILE: Final = "labels.jsonl"
#: The rows of a run are held in memory at once.
MAX_RESULTS_BYTES: Final = 2**30


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder's content. `rows` have a judge's verdicts and people's labels where there are any.

    `evidence_at` is when the newest call was made, as its row says it (UTC, ISO 8601).
    """

    plan: Mapping[str, Any]
    rows: pd.DataFrame
    results_sha256: str
    evidence_at: str | None = None

    def oldest(self, tasks: Collection[str]) -> str | None:
        """When the oldest call of some tasks was made; None where a row does not say it (UTC, ISO 8601)."""
        if "timestamp" not in self.rows.columns:
            return None
        times = list(self.rows.loc[self.rows["task"].isin(list(tasks)), "timestamp"])
        return min(times) if times and all(isinstance(text, str) for text in times) else None


def read_run(run_dir: Path) -> Run:
    """Read a run folder.

    Raises:
        SweepError: plan.json or results.jsonl is missing, or no JSON.
    """
    results, plan_file = run_dir / "results.jsonl", run_dir / "plan.json"
    for path in (results, plan_file):
        if not path.is_file():
            raise SweepError(f"{path} is missing; run the sweep first")
    text = _whole(results, MAX_RESULTS_BYTES)
    plan = check_plan(_parsed(_whole(plan_file, MAX_DOCUMENT_BYTES), plan_file), plan_file)
    rows = [_parsed(line, results) for line in text.splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise SweepError(f"{results} holds a line that is no JSON object; run the sweep again")
    frame = _with_judgements(run_dir, pd.DataFrame.from_records(rows), plan)
    times = [row.get("timestamp") for row in rows if isinstance(row, dict)]
    newest = max((text for text in times if isinstance(text, str)), default=None)
    return Run(plan, frame, hashlib.sha256(text).hexdigest(), newest)


def _whole(path: Path, most: int) -> bytes:
    try:
        return read_bytes(path, most)
    except OSError as error:
        raise SweepError(f"{path} cannot be read: {error.strerror}") from error


def _parsed(text: bytes, path: Path) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise SweepError(f"{path} holds a line that is not JSON ({error}); run the sweep again") from error


def decisions(run_dir: Path) -> dict[str, Decision]:
    """The decision of every task of a run.

    Raises:
        SweepError: the folder cannot be read, or its rows cannot be judged.
    """
    run = read_run(run_dir)
    return decide_tasks(run.rows, run.plan)


def recommendation(project: Project, run_dir: Path) -> Recommendation:
    """The recommendation for a run folder: verdicts, sentences and the config diff. Writes nothing.

    Raises:
        SweepError: as in `decisions`.
    """
    return _recommend(project, read_run(run_dir))


def _recommend(project: Project, run: Run) -> Recommendation:
    routing = routing_of(project, load_config(project.configs), run.plan)
    return recommend_run(run, routing)


def recommend_run(
    run: Run, routing: Routing, decisions: Mapping[str, Decision] | None = None
) -> Recommendation:
    """The recommendation for a run that was read, under a routing; `decisions` where they are known already.

    Raises:
        SweepError: as in `decisions`.
    """
    facts = recommend(
        run.rows,
        run.plan,
        routing,
        results_sha256=run.results_sha256,
        evidence_at=run.evidence_at,
        evidence_from=run.oldest(run.plan["tasks"]),
        decisions=decisions,
    )
    return Recommendation(facts)


def write_recommendation(project: Project, run_dir: Path) -> Recommendation:
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


def routing_of(project: Project, config: Config, plan: Mapping[str, Any]) -> Routing:
    """How the project's tasks are routed today, with the files that say so, each byte of them kept.

    Raises:
        ConfigError: a config file cannot be read.
    """
    kind = plan.get("modality", "text")
    grounds = _grounds(project.configs, None if kind == "text" else kind)
    if kind != "text":
        found = media_routing(config, kind, read_environment(), plan.get("unreachable", ()))
        exact = {name: _exact(project.configs / name) for name in found.configs or ()}
        return replace(found, configs=exact, grounds=grounds)
    tiers = {name: [entry.model for entry in entries] for name, entries in config.all_tiers().items()}
    uncalled = set(plan.get("unreachable", ()))
    files = {path.name: _exact(path) for path in sorted(project.configs.glob("llm_*.yaml"))}
    return Routing(
        tiers=tiers,
        task_tiers=tiers_of_tasks(config),
        configs={name: body for name, body in files.items() if not name.endswith(".local.yaml")},
        unreachable={
            name for names in tiers.values() for name in names if config.model_key(name) in uncalled
        },
        providers={key: spec.provider for key, spec in config.models.items()},
        grounds=grounds,
    )


def _grounds(folder: Path, kind: MediaModality | None) -> dict[str, str | None]:
    """The hashes of the files that the evidence rests on, as they are now."""
    there = [name for name in ground_files(kind) if (folder / name).is_file()]
    return config_hashes({name: _exact(folder / name) for name in there}, kind)


def _exact(path: Path) -> str:
    """A config file's text with the line ends that it has: a diff of any other would not apply to it.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        return read_bytes(path, MAX_CONFIG_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"not UTF-8 text (byte {error.start}); save it as UTF-8", path=path.name) from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", path=path.name) from error
