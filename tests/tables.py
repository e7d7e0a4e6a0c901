"""Small tables of calls for the tests of decisions: scores by model, everything else at a default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from llmbench import decide
from llmbench.bench.evidence import Evidence

COST = {"ref": 0.030, "small": 0.004, "tiny": 0.001, "big": 0.120}


def names(n: int) -> list[str]:
    return [f"p{i:04d}" for i in range(n)]


def frame_of(scores: Mapping[str, Sequence[float | None]], **columns: Any) -> pd.DataFrame:
    """One row a (prompt, model), prompt by prompt; a score of None is a failed call.

    Columns given by name are a value for all, or a mapping from model to a value or a list by prompt.
    """
    n = len(next(iter(scores.values())))
    rows = [
        {
            "prompt_id": prompt, "model": model, "epoch": 0,
            "score": 0.0 if scores[model][i] is None else float(scores[model][i]),
            "latency_ms": 100.0 + i % 50, "cost_usd": COST.get(model, 0.002) * (1 + (i % 7) / 10),
            "status": "error" if scores[model][i] is None else "ok",
        } | {name: _cell(value, model, i) for name, value in columns.items()}
        for i, prompt in enumerate(names(n)) for model in scores
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _cell(value: Any, model: str, i: int) -> Any:
    value = value.get(model) if isinstance(value, dict) else value
    return value[i] if isinstance(value, list | np.ndarray) else value


class Pulls:
    """Serves a table and remembers what was asked for."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.by_model = dict(iter(frame.groupby("model")))
        self.asked: list[tuple[str, str]] = []

    def __call__(self, model: str, prompts: list[str]) -> pd.DataFrame:
        self.asked += [(model, prompt) for prompt in prompts]
        rows = self.by_model[model]
        return rows[rows["prompt_id"].isin(prompts)]


def right(share: float, n: int, seed: int = 0) -> np.ndarray:
    """0/1 scores, so many of them 1, in a random order."""
    values = np.zeros(n)
    values[: round(share * n)] = 1.0
    return np.random.default_rng(seed).permutation(values)


def losing(base: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    """The same scores, but for `count` right ones that are wrong."""
    worse = base.copy()
    worse[np.random.default_rng(seed).permutation(np.flatnonzero(base == 1.0))[:count]] = 0.0
    return worse


def decided(frame, *candidates, reference="ref", pull=None, **options):
    prompts = list(dict.fromkeys(frame["prompt_id"]))
    options = {"margin": 0.10} | options
    return decide(pull or Pulls(frame), prompts, reference=reference, candidates=candidates, **options)


def smallest_margin(units: int, *, alpha: float) -> float:
    """The smallest thousandth at which so many equal units are a proof, tried one after the other."""
    for thousandths in range(1, 1000):
        margin = thousandths / 1000
        evidence = Evidence(1 - margin, alpha=alpha, budgets=[units])
        evidence.update([margin] * units)
        if evidence.is_proved:
            return margin
    raise AssertionError("no margin at all")
