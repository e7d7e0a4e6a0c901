"""Several scorers as one: a weighted mean behind gates."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from llmbench.bench.dataset import Sample
from llmbench.bench.scorers.registry import Params, Schema, Score, find, score, scorer
from llmbench.errors import DatasetError


class Part(Params):
    """One scorer of `combine`: its name and parameters, and a weight in the mean or a gate before it."""

    scorer: str
    params: dict[str, Any] = Field(default_factory=dict)
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    gate: bool = False


class CombineParams(Params):
    """Parameters of `combine`: `parts`, each `{scorer, params, weight, gate}`."""

    parts: list[Part] = Field(min_length=1)

    @field_validator("parts")
    @classmethod
    def _is_flat(cls, parts: list[Part]) -> list[Part]:
        if any(part.scorer == "combine" for part in parts):
            raise ValueError("`combine` cannot hold itself; list all parts in one")
        return parts


@scorer("combine", CombineParams, modality=None)
def combine(params: CombineParams, output: str, sample: Sample, schema: Schema) -> Score:
    """The weighted mean of other scorers; 0 when a part marked `gate` gives less than 1.

    Gates are not in the mean; gates alone give 0 or 1. Scorers that cannot judge alone (`embedding`) need a
    part beside them that can.
    """
    if all(find(part.scorer).is_hint for part in params.parts):
        names = ", ".join(f"`{part.scorer}`" for part in params.parts)
        raise DatasetError(f"scorer `combine`: {names} cannot judge alone; add a scorer that checks facts")
    details: dict[str, float] = {}
    is_open = True
    total = weights = 0.0
    for index, part in enumerate(params.parts):
        got = score(part.scorer, part.params, output, sample, schema)
        label = f"{index}:{part.scorer}"
        details[label] = got.value
        details |= {f"{label}:{rule}": value for rule, value in got.details.items()}
        if part.gate:
            is_open = is_open and got.value >= 1
        else:
            total, weights = total + part.weight * got.value, weights + part.weight
    mean = total / weights if weights else 1.0
    return Score(min(mean, 1.0) if is_open else 0.0, details)
