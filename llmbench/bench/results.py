"""Ledger -> results.jsonl: one scored row a cell, in plan order.

Scores are computed here each time, from stored outputs: a changed scorer costs no call.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from llmbench.bench.cells import Cell
from llmbench.bench.ledger import LedgerState
from llmbench.bench.media_store import with_path
from llmbench.bench.scorers import Score, score
from llmbench.errors import SweepError
from llmbench.own_files import open_new

#: What a ledger line knows of a call and a row repeats.
CALL_FIELDS: Final = (
    "model_version",
    "status",
    "error_kind",
    "error",
    "output",
    "finish_reason",
    "latency_ms",
    "queued_ms",
    "throttled",
    "ttft_ms",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cost_usd",
    "cost_source",
    "cpu_s",
    "load",
    "adjustments",
    "call_id",
    "timestamp",
)


#: What a pending line says of a cell; its figures are of no call that counts.
_PENDING_FIELDS: Final = ("error_kind", "error")


def result_row(
    run_id: str,
    cell: Cell,
    model_id: str,
    line: Mapping[str, Any] | None,
    media: Path,
    unsent: str | None = None,
) -> dict[str, Any]:
    """One row: the cell, what its call gave, and its score.

    `line` is None for a cell never called; `media` is the folder of the ledger's files; `unsent` says why
    this run did not send it.
    """
    row: dict[str, Any] = {
        "schema": 1,
        "run_id": run_id,
        "task": cell.task.task,
        "tier": cell.task.tier,
        "dataset": cell.task.dataset.name,
        "lang": cell.sample.lang,
        "sample_id": cell.sample.id,
        "cluster": cell.sample.cluster,
        "tags": list(cell.sample.tags),
        "model": cell.model,
        "model_id": model_id,
        "repeat": cell.repeat,
        "prompt": cell.sample.input,
        "target": cell.sample.target,
        "fingerprint": cell.fingerprint,
    }
    known = {} if line is None else line
    if known.get("type") != "result":
        known = {name: known.get(name) for name in _PENDING_FIELDS} | {"status": "harness"}
        known["error"] = unsent or known["error"]
    row |= {name: known.get(name) for name in CALL_FIELDS}
    given = cell_score(cell, row["status"], row["output"], media)
    row["score"] = None if given is None else given.value
    row["score_details"] = {} if given is None else dict(given.details)
    return row


def cell_score(cell: Cell, status: str, output: str | None, media: Path) -> Score | None:
    """The score of a cell: none while it is pending, 0 for the model's own failure.

    Args:
        cell: the cell.
        status: how its call ended.
        output: the answer's text, or the line of facts of a picture or a narration.
        media: the folder of the files that such lines name.

    Raises:
        SweepError: the file of an answer is missing or was changed.
        DatasetError: the scorer cannot be used.
    """
    if status == "harness":
        return None
    if status != "ok":
        return Score(0.0, {})
    dataset = cell.task.dataset
    answer = output or ""
    if dataset.modality != "text":
        answer = with_path(answer, media)
    return score(dataset.scorer.name, dataset.scorer.params, answer, cell.sample, dataset.output_schema)


def answered(cells: Iterable[Cell], state: LedgerState) -> Iterator[str | None]:
    """The answers that a ledger has of cells."""
    for cell in cells:
        line = state.results.get(cell.fingerprint)
        if line is not None and line["status"] == "ok":
            yield line.get("output")


def result_rows(
    run_id: str,
    cells: Iterable[Cell],
    state: LedgerState,
    model_ids: Mapping[str, str],
    unsent: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    """Every cell of a plan as a row, in plan order; a cell without a result says why if that is known."""
    for cell in cells:
        line = state.results.get(cell.fingerprint) or state.pending.get(cell.fingerprint)
        reason = unsent.get(cell.fingerprint)
        yield result_row(run_id, cell, model_ids[cell.model], line, state.media, reason)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSONL, whole or not at all.

    Raises:
        SweepError: the file cannot be written.
    """
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_whole(path, lines)


def write_whole(path: Path, texts: Iterable[str]) -> None:
    """Write a file whole or not at all. A lone surrogate, which UTF-8 has no form for, becomes an escape.

    Raises:
        SweepError: the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open_new(temporary) as file:
            file.writelines(text.encode("utf-8", "backslashreplace") for text in texts)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SweepError(f"{path} cannot be written: {error.strerror}") from error
