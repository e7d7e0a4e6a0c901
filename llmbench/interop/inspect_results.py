"""Logs of Inspect, one a model, into one table of results for `llmbench decide`.

Every sample that a log planned is a row: a failure scores 0, what was not run or not scored is pending.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from inspect_ai.log import EvalLog

from llmbench.bench.results import write_rows
from llmbench.errors import DatasetError
from llmbench.interop.inspect_files import log_files, read_log
from llmbench.interop.inspect_rows import NO_SCORE, Terms, answering_model, missing_row, row_of

__all__ = ["LogSummary", "Terms", "import_results"]

_Row = dict[str, Any]
_Key = tuple[str, int]
_LONGEST_NOTE: Final = 120


@dataclass(frozen=True, slots=True)
class LogSummary:
    """What became of one log.

    Attributes:
        source: the file.
        task: the task of its rows.
        model: the model of its rows.
        rows: rows of the table; the sum of the next three.
        ok: answered and scored.
        failed: failures of the model, which score 0.
        pending: not run, called off or not scored: `llmbench decide` counts them as missing.
        notes: what is odd about it -> how many rows.
    """

    source: Path
    task: str
    model: str
    rows: int
    ok: int
    failed: int
    pending: int
    notes: Mapping[str, int]


@dataclass(slots=True)
class _Log:
    path: Path
    header: EvalLog
    rows: dict[_Key, _Row]
    notes: Counter[str]
    answered: set[str] = field(default_factory=set)


def import_results(sources: Sequence[Path], out: Path, terms: Terms | None = None) -> list[LogSummary]:
    """Write the table of some logs, whole or not at all.

    Args:
        sources: .eval and .json logs, or folders of .eval logs.
        out: the table, JSON lines; one that is there is replaced.
        terms: scorer, scale, task, cluster, and names of models.

    Raises:
        DatasetError: a log cannot be used, two measure the same model twice or different samples under the
            same ids, a score is out of range, or `out` is no place for it.
        SweepError: the table cannot be written.
    """
    terms = terms or Terms()
    if out.suffix != ".jsonl":
        raise DatasetError(f"{out}: the table is JSON lines; give it a name that ends in .jsonl")
    if out.with_name("plan.json").is_file():
        raise DatasetError(f"{out}: this folder is a run of llmbench with a table of its own; choose another")
    logs = [_read_log(path, terms) for path in log_files(sources)]
    _refuse_unknown_names(logs, terms)
    logs.sort(key=lambda log: log.header.eval.created)
    kept = _merged(logs)
    _refuse_other_samples(kept)
    write_rows(out, (row for log in kept for row in log.rows.values()))
    return [_summary(log) for log in logs]


def _read_log(path: Path, terms: Terms) -> _Log:
    header, samples = read_log(path)
    log = _Log(path, header, {}, Counter())
    for sample in samples:
        key = (str(sample.id), sample.epoch)
        if key in log.rows:
            raise DatasetError(f"{path}: sample {key[0]!r:.60} stands twice in epoch {key[1]}")
        log.rows[key] = row_of(header, sample, terms, str(path))
        if (model := answering_model(sample)) is not None:
            log.answered.add(model)
    log.rows = _as_planned(header, log.rows, terms)
    if not log.rows:
        raise DatasetError(
            f"{path}: the log holds no sample (it ended as {header.status}); run the eval again"
        )
    if all(row["error"] == NO_SCORE for row in log.rows.values()):
        raise DatasetError(f"{path}: no sample has a score; score the log first: inspect score {path.name}")
    _forget_versions(log)
    log.notes.update(note for row in log.rows.values() for note in _notes(row))
    return log


def _as_planned(header: EvalLog, rows: dict[_Key, _Row], terms: Terms) -> dict[_Key, _Row]:
    """Rows in the dataset's order, those that are missing filled in.

    A log holds samples as they ended, the quick ones first: evidence taken in that order would lean to them.
    """
    planned: dict[_Key, _Row] = {}
    for sample_id in header.eval.dataset.sample_ids or ():
        for epoch in range(1, (header.eval.config.epochs or 1) + 1):
            key = (str(sample_id), epoch)
            planned[key] = rows.get(key) or missing_row(header, sample_id, epoch, terms)
    return {**planned, **{key: row for key, row in rows.items() if key not in planned}}


def _forget_versions(log: _Log) -> None:
    """A tier that fell back was answered by several models: it is measured as a whole, without a version."""
    if len(log.answered) > 1:
        for row in log.rows.values():
            row["model_version"] = None
        log.notes[f"answered by {len(log.answered)} models of the tier, measured as one"] += len(log.rows)


def _notes(row: _Row) -> list[str]:
    found = []
    if row["status"] == "harness":
        found.append(f"pending: {row['error']}"[:_LONGEST_NOTE])
    elif row["status"] != "ok":
        found.append(f"failed, scores 0: {row['error_kind'] or row['error']}"[:_LONGEST_NOTE])
    elif row["error_kind"]:
        found.append(f"failed and scored by its scorer all the same: {row['error_kind']}")
    if row["retries"]:
        found.append("tried again by Inspect after an error; what the earlier tries cost is unknown")
    if row["cost_usd"] is None and row["cost_source"]:
        found.append(f"without a cost: {row['cost_source']}"[:_LONGEST_NOTE])
    return found


def _refuse_unknown_names(logs: Sequence[_Log], terms: Terms) -> None:
    known = {log.header.eval.model for log in logs}
    for name in terms.models:
        if name not in known:
            raise DatasetError(f"--model {name!r:.80}: the logs have: {', '.join(sorted(known))}")


def _merged(logs: Sequence[_Log]) -> list[_Log]:
    """One log a task and model: rows of a retry replace those of the try before, if they are results.

    Raises:
        DatasetError: a model was measured twice and it was no retry.
    """
    kept: dict[tuple[str, str], _Log] = {}
    for log in logs:
        row = next(iter(log.rows.values()))
        before = kept.get((row["task"], row["model"]))
        if before is not None:
            if before.header.eval.task_id != log.header.eval.task_id:
                raise DatasetError(
                    f"{before.path} and {log.path} both measure {row['model']} on {row['task']}; give one of "
                    "them, or repeat samples by inspect's --epochs"
                )
            _replace(before, log)
        kept[row["task"], row["model"]] = log
    return list(kept.values())


def _replace(before: _Log, log: _Log) -> None:
    """Take from an earlier try what the retry did not finish; what is left there is replaced."""
    for key, row in before.rows.items():
        if key not in log.rows or (log.rows[key]["status"] == "harness" and row["status"] != "harness"):
            log.rows[key] = row
    before.notes["replaced by a retry of the same eval"] += len(before.rows)
    before.rows.clear()


def _refuse_other_samples(logs: Sequence[_Log]) -> None:
    """Refuse logs whose samples of one id are not the same sample.

    Raises:
        DatasetError: naming both files.
    """
    first: dict[str, _Log] = {}
    for log in logs:
        task = next(iter(log.rows.values()))["task"]
        before = first.setdefault(task, log)
        if before is log:
            continue
        known, mine = _prompts(before), _prompts(log)
        both = " and ".join(f"{one.path} ({one.header.eval.dataset.name})" for one in (before, log))
        shared = known.keys() & mine.keys()
        if known and mine and not shared:
            raise DatasetError(f"{both} have no sample in common under task {task}; import them apart")
        other = sorted(name for name in shared if known[name] != mine[name])
        if other:
            raise DatasetError(
                f"{both}: sample {other[0]!r:.60} is not the same in both, {len(other)} of {len(shared)} "
                "differ; models are compared on the same samples: run both on one version of the dataset"
            )


def _prompts(log: _Log) -> dict[str, str]:
    rows = log.rows.values()
    return {row["sample_id"]: row["prompt_sha256"] for row in rows if row["prompt_sha256"] is not None}


def _summary(log: _Log) -> LogSummary:
    counts = Counter(row["status"] for row in log.rows.values())
    name = log.header.eval.model
    row = next(iter(log.rows.values()), {"task": log.header.eval.task, "model": name})
    ok, pending = counts["ok"], counts["harness"]
    rows = sum(counts.values())
    return LogSummary(
        log.path, row["task"], row["model"], rows, ok, rows - ok - pending, pending, dict(log.notes)
    )
