"""Pure scorers: an answer's text and a sample in, a score from 0 to 1 out.

A scorer never raises on what a model wrote: an answer that cannot be read scores 0. It raises only on a
mistake of ours: an unknown scorer, a wrong parameter, a sample that lacks what the scorer needs, a missing
library. docs/scorers.md lists them all and shows how to add one.

Importing this package registers our own; those of other distributions are imported when a card names them.
"""

from llmbench.bench.scorers import (
    combined,
    layout,
    matching,
    pictures,
    shipped,
    similarity,
    speech,
    structured,
)
from llmbench.bench.scorers.registry import (
    SCORERS,
    Params,
    Schema,
    Score,
    Scorer,
    ScorerRow,
    check_dataset,
    check_params,
    missing,
    score,
    scorer,
    scorer_rows,
    target_text,
)

__all__ = [
    "SCORERS",
    "Params",
    "Schema",
    "Score",
    "Scorer",
    "ScorerRow",
    "check_dataset",
    "check_params",
    "combined",
    "layout",
    "matching",
    "missing",
    "pictures",
    "score",
    "scorer",
    "scorer_rows",
    "shipped",
    "similarity",
    "speech",
    "structured",
    "target_text",
]
