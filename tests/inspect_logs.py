"""Logs of Inspect, written by Inspect itself: shared by the tests of their import."""

from __future__ import annotations

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalSample,
    EvalSpec,
    write_eval_log,
)
from inspect_ai.model import ModelOutput, ModelUsage
from inspect_ai.scorer import Score

from llmbench.interop.inspect_results import Terms, import_results
from llmbench.jsonl import read_jsonl


def sample(number=1, value="C", *, epoch=1, error=None, **fields):
    """One sample as Inspect logs it; `value` is a score, a dict of scores by scorer, or None for no score."""
    scores = value if isinstance(value, dict) else {"match": value}
    known = {
        "id": f"s{number}",
        "input": f"question {number}",
        "target": "yes",
        "output": ModelOutput.from_content("served-1", "yes"),
        "scores": None if value is None else {name: Score(value=found) for name, found in scores.items()},
        "model_usage": {"openai/gpt-4o": ModelUsage(input_tokens=100, output_tokens=10, total_tokens=110)},
        "working_time": 0.5,
        "total_time": 2.0,
        "completed_at": "2026-11-01T10:00:00+00:00",
    }
    if error is not None:
        known["error"] = {"message": error, "traceback": "", "traceback_ansi": ""}
    return EvalSample(epoch=epoch, **{**known, **fields})


def write_log(path, samples, *, model="openai/gpt-4o", status="success", epochs=1, ids=None, **spec):
    """A log as Inspect writes it; `ids` are the samples that were planned."""
    planned = ids or list(dict.fromkeys(one.id for one in samples))
    known = {
        "created": "2026-11-01T09:00:00+00:00",
        "task": "sums",
        "task_id": f"task of {path.name}",
        "eval_id": f"eval of {path.name}",
        "model": model,
        "dataset": EvalDataset(name="sums", samples=len(planned), sample_ids=planned),
        "config": EvalConfig(epochs=epochs),
    }
    log = EvalLog(status=status, eval=EvalSpec(**{**known, **spec}), samples=list(samples))
    write_eval_log(log, str(path))
    return path


def rows_of(tmp_path, *logs, **terms):
    """The rows that some logs make."""
    import_results(logs, tmp_path / "table.jsonl", Terms(**terms))
    return [line.record for line in read_jsonl(tmp_path / "table.jsonl")]


def only_row(tmp_path, one, **terms):
    return rows_of(tmp_path, write_log(tmp_path / "one.eval", [sample(9), one]), **terms)[1]
