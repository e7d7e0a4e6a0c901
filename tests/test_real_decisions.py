"""Real per-prompt results: a sequential verdict agrees with the clear answer of the whole table.

Every ordered pair of models is a sweep: one is the reference, the other a candidate at a tenth of its cost.
The answer of the whole table is clear where the mean difference is four standard errors or more from the
margin.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmbench import decide

DATA = Path(__file__).parents[2] / "shared" / "data"
MARGIN = 0.05


def read(name: str) -> pd.DataFrame:
    import duckdb

    path = DATA / name
    if not path.is_file():
        pytest.skip(f"the measured results are not beside this checkout (shared/data/{name})")
    return duckdb.read_parquet(str(path)).df()


def mifeval() -> pd.DataFrame:
    frame = read("mifeval/results.parquet")
    frame["prompt"] = frame["lang"].astype(str) + frame["idx"].astype(str)
    return frame.pivot(index="prompt", columns="model", values="strict_all").astype(float)


def alpaca_eval2() -> pd.DataFrame:
    frame = read("alpaca_eval2/annotations.parquet").dropna(subset="preference")
    table = frame.pivot_table(index="prompt_id", columns="model", values="preference") - 1.0
    return table.dropna(axis="columns", thresh=805).dropna()


def routellm() -> pd.DataFrame:
    frame = read("routellm/mmlu_gsm8k.parquet")
    return frame[["weak_correct", "strong_correct"]].astype(float)


def sweeps(table: pd.DataFrame, every: int) -> Iterator[tuple[bool, bool, float]]:
    """Whether a clear pair is within the margin, whether it was promoted, and the share of the calls."""
    prompts = [str(i) for i in range(len(table))]
    scores = {model: table[model].to_numpy() for model in table.columns}
    for place, (reference, candidate) in enumerate(itertools.permutations(scores, 2)):
        difference = scores[candidate] - scores[reference]
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        if place % every or abs(difference.mean() + MARGIN) < 4 * error:
            continue

        def pull(model: str, names: list[str], reference: str = reference) -> pd.DataFrame:
            cost = 1.0 if model == reference else 0.1
            columns = {"prompt_id": names, "epoch": 0, "score": scores[model][[int(name) for name in names]]}
            return pd.DataFrame(columns | {"latency_ms": 1.0, "cost_usd": cost, "status": "ok"})

        found = decide(pull, prompts, reference=reference, candidates=[candidate], margin=MARGIN, seed=place)
        yield difference.mean() > -MARGIN, found.outcome == "promote", 1.0 - found.saved


def check(table: pd.DataFrame, every: int = 1) -> tuple[int, float, float]:
    rows = list(sweeps(table, every))
    agreed = float(np.mean([truth == promoted for truth, promoted, _ in rows]))
    calls = float(np.mean([share for *_, share in rows]))
    print(f"{len(rows)} clear pairs: {100 * agreed:.1f} % agree, {100 * calls:.1f} % of the calls")
    assert agreed >= 0.98
    assert calls <= 0.20
    return len(rows), agreed, calls


@pytest.mark.parametrize(("source", "every"), [(mifeval, 7), (alpaca_eval2, 61), (routellm, 1)])
def test_a_verdict_agrees_with_the_whole_table_on_some_pairs(source, every):
    assert check(source(), every)[0] >= 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("source", [mifeval, alpaca_eval2])
def test_a_verdict_agrees_with_the_whole_table_on_every_pair(source):
    assert check(source())[0] >= 100
