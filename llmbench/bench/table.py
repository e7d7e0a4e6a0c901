"""A finished table of calls: checked, and sorted by task, model and prompt.

Two spellings are read: the tidy one (prompt_id, cluster_id, epoch) and that of results.jsonl (sample_id,
cluster, repeat). A model that changed its version while it was measured keeps the rows of its last version
alone: the others are evidence about another model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd

from llmbench.bench.measured import Call, read_calls
from llmbench.errors import SweepError

_SPELLINGS: Final = {"sample_id": "prompt_id", "cluster": "cluster_id", "repeat": "epoch"}
_READERS: Final = {".parquet": "read_parquet", ".csv": "read_csv", ".jsonl": "read_json"}


@dataclass(frozen=True, slots=True)
class TaskRows:
    """One task's rows.

    Attributes:
        task: its name; empty when the table has no such column.
        prompts: in order of first appearance.
        clusters: prompt -> cluster, as far as the table says.
        calls: model -> prompt -> its repeats.
        notes: rows that are not counted, and why.
    """

    task: str
    prompts: tuple[str, ...]
    clusters: Mapping[str, str]
    calls: Mapping[str, Mapping[str, Sequence[Call]]]
    notes: tuple[str, ...] = field(default=())

    @property
    def is_judged(self) -> bool:
        """Whether a judge compared answers."""
        calls = (call for by_prompt in self.calls.values() for each in by_prompt.values() for call in each)
        return any(call.preference == call.preference for call in calls)

    def answer(self, model: str, prompts: Sequence[str]) -> dict[str, Sequence[Call]]:
        """The calls of a model on some prompts; a prompt without a row is missing."""
        known = self.calls.get(model, {})
        return {prompt: known[prompt] for prompt in prompts if prompt in known}


def load_table(path: Path) -> pd.DataFrame:
    """Read a table of results from a Parquet, CSV or JSONL file.

    Raises:
        SweepError: there is no such file, it has another ending, or it cannot be read.
    """
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise SweepError(f"{path}: a table ends in {', '.join(_READERS)}")
    if not path.is_file():
        raise SweepError(f"{path} does not exist")
    import duckdb

    function: Callable[..., duckdb.DuckDBPyRelation] = getattr(duckdb, reader)
    options = {"format": "newline_delimited"} if path.suffix == ".jsonl" else {}
    try:
        frame: pd.DataFrame = function(str(path), **options).df()
    except duckdb.Error as error:
        raise SweepError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    return frame


def read_table(frame: pd.DataFrame) -> dict[str, TaskRows]:
    """Check a table and split it by task, in order of appearance.

    Args:
        frame: one row a (task, model, prompt, repeat), in calling order; columns as `measured.read_calls`
            needs them and `model`, optionally task, cluster_id, model_version.

    Raises:
        SweepError: a column is missing, a row stands twice or is out of range, or a prompt has two clusters.
    """
    frame = frame.rename(columns={old: new for old, new in _SPELLINGS.items() if new not in frame.columns})
    for name in ("model", "prompt_id"):
        if name not in frame.columns:
            raise SweepError(f"results: column {name} is missing")
    if "task" not in frame.columns:
        frame = frame.assign(task="")
    groups = frame.groupby(frame["task"].astype(str), sort=False)
    return {str(task): _task_rows(str(task), rows) for task, rows in groups}


def _task_rows(task: str, rows: pd.DataFrame) -> TaskRows:
    prompts = rows["prompt_id"].astype(str)
    clusters: dict[str, str] = {}
    if "cluster_id" in rows.columns:
        known = rows.assign(prompt=prompts).dropna(subset="cluster_id")
        known = known.drop_duplicates(["prompt", "cluster_id"])
        twice = known[known.duplicated("prompt")]
        if not twice.empty:
            raise SweepError(f"results: {task}: prompt {twice['prompt'].iloc[0]} is in two clusters")
        clusters = dict(zip(known["prompt"], known["cluster_id"].astype(str), strict=True))
    calls, notes = {}, []
    for model, mine in rows.groupby(rows["model"].astype(str), sort=False):
        kept, note = _last_version(str(model), mine)
        notes += note
        names = list(dict.fromkeys(kept["prompt_id"].astype(str)))
        calls[str(model)] = read_calls(kept, f"{task} x {model}" if task else str(model), names)
    return TaskRows(task, tuple(dict.fromkeys(prompts)), clusters, calls, tuple(notes))


def _last_version(model: str, rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The rows of the version that answered last; failures that name none stay."""
    if "model_version" not in rows.columns:
        return rows, []
    named = rows.dropna(subset="model_version")
    if named["model_version"].nunique() < 2:
        return rows, []
    ordered = named.sort_values("timestamp", kind="stable") if "timestamp" in rows.columns else named
    last = ordered["model_version"].iloc[-1]
    older = rows["model_version"].notna() & (rows["model_version"] != last)
    note = (
        f"{model} changed its version to {last} while it was measured: {int(older.sum())} earlier answers "
        "are of another model and are not counted; run the sweep again to replace them."
    )
    return rows[~older], [note]
