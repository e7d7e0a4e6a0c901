"""What a run's plan.json must hold before anything is decided on it: it may have been changed since."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmbench.catalog import Modality
from llmbench.errors import SweepError

_Names = list[str]
_Count = Annotated[int, Field(ge=1, le=10**9)]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Facts(BaseModel):
    """Only looked at: other keys are as good, and no value is changed."""

    model_config = ConfigDict(extra="allow", strict=True)


class _TaskFacts(_Facts):
    prompts: dict[str, _Names]
    chain: Annotated[_Names, Field(min_length=1)]
    arms: list[Annotated[_Names, Field(min_length=1)]]
    reference: str = ""
    tier: str = ""
    largest_cluster: _Count = 1
    budgets: list[_Count] = []
    constraints: dict[str, Any] = {}
    excluded: list[Any] = []


class _PlanFacts(_Facts):
    tasks: dict[str, _TaskFacts]
    margin: _Share
    alpha: _Share
    repeats: _Count = 1
    batch: _Count = 10
    pilot: _Count = 10
    family: str = "task"
    stop: str = "grid"
    human_share: _Share | None = None
    modality: Modality = "text"
    models: dict[str, dict[str, Any] | None] | None = None
    resets: _Names = []
    unreachable: _Names = []
    asked: dict[str, dict[str, dict[str, str]]] = {}


def check_plan(plan: object, path: Path) -> dict[str, Any]:
    """The plan as it is, once every part that a decision reads is of the kind that it must be.

    Raises:
        SweepError: it is not; names the file and the key.
    """
    try:
        _PlanFacts.model_validate(plan)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, problem["loc"])) or "the file"
        said = problem["msg"][:1].lower() + problem["msg"][1:]
        raise SweepError(f"{path}: {key}: {said}; run the sweep again") from error
    return dict(plan) if isinstance(plan, Mapping) else {}
