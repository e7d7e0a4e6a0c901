"""A run's candidates side by side, by task: quality, its languages, latency, failures and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llmbench.analytics.warehouse import open_warehouse
from llmbench.display import wording
from llmbench.markup import escaped, table

if TYPE_CHECKING:
    import pandas as pd

_HEAD: Final = (
    "model",
    "prompts",
    "quality",
    "failed",
    "pending",
    "p50",
    "p95",
    "tokens/s",
    "per 1,000 calls",
)
_CANDIDATES: Final = "select * from mart_candidates order by task, mean_score desc nulls last, model"
_LANGUAGES: Final = "select task, model, lang, n, mean_score from mart_language order by lang"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The candidates of a run, best mean score first within a task.

    The order is no verdict: whether a model may take a task over is for the evidence of a decision to say.

    Attributes:
        run_id: the run's name.
        rows: the rows of mart_candidates.
        by_language: (task, model) -> language tag -> (mean score on 0..1, answers).
    """

    run_id: str
    rows: Sequence[Mapping[str, Any]]
    by_language: Mapping[tuple[str, str], Mapping[str, tuple[float, int]]]

    @property
    def tasks(self) -> list[str]:
        """The tasks, each once, in order."""
        return list(dict.fromkeys(str(row["task"]) for row in self.rows))

    def frame(self) -> pd.DataFrame:
        """The rows as a table to go on with."""
        import pandas as pd

        return pd.DataFrame.from_records([dict(row) for row in self.rows])

    def __str__(self) -> str:
        lines = []
        for row in self.rows:
            cost = wording.money(row["cost_per_1000_usd"])
            prompts = wording.count(row["samples"], "prompt")
            quality = f"{wording.score(row['mean_score'])} points on {prompts}"
            rest = f"p95 {wording.duration(row['p95_ms'])}, {cost} per 1,000 calls, {row['failures']} failed"
            lines.append(f"{row['task']}: {row['model']} {quality}, {rest}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        tags = sorted({tag for found in self.by_language.values() for tag in found})
        head = (*_HEAD[:3], *tags, *_HEAD[3:])
        parts = [f"<p>{escaped(f'Run {self.run_id}. Quality in points of 100; failed calls count 0.')}</p>"]
        for task in self.tasks:
            rows = [self._cells(row, tags) for row in self.rows if row["task"] == task]
            parts.append(table(head, rows, task, numeric=True))
        return "".join(parts)

    def _cells(self, row: Mapping[str, Any], tags: Sequence[str]) -> list[object]:
        found = self.by_language.get((row["task"], row["model"]), {})
        quality = [
            f"{wording.score(found[tag][0])} ({found[tag][1]})" if tag in found else "" for tag in tags
        ]
        return [
            row["model"],
            row["samples"],
            wording.score(row["mean_score"]),
            *quality,
            row["failures"],
            row["pending"],
            wording.duration(row["p50_ms"]),
            wording.duration(row["p95_ms"]),
            wording.rate(row["tokens_per_s"]),
            wording.money(row["cost_per_1000_usd"]),
        ]


def compare(run_dir: Path) -> Comparison:
    """Compare the candidates of a finished run.

    Raises:
        WarehouseError: a file of the run folder is missing or cannot be read.
    """
    with open_warehouse(run_dirs=[run_dir]) as warehouse:
        rows, languages = warehouse.rows(_CANDIDATES), warehouse.rows(_LANGUAGES)
    found: dict[tuple[str, str], dict[str, tuple[float, int]]] = {}
    for row in languages:
        found.setdefault((row["task"], row["model"]), {})[str(row["lang"])] = (row["mean_score"], row["n"])
    return Comparison(run_dir.name, rows, found)
