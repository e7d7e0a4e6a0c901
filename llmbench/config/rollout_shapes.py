"""The shape of `llm_rollouts.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr, model_validator
from pydantic_core import PydanticCustomError

from llmbench.config.model import DEFAULT_STOP_FILE
from llmbench.config.shapes import Shape
from llmbench.config.values import AtLeastOne, DatedText, Names, Unit


def _share(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    message = "must be a number from 0 to 1, such as 0.1 for a tenth: {value}"
    raise PydanticCustomError("no_share", message, {"value": f"{value!r:.40}"})


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        message = "must be a day such as 2026-12-31: {value}"
        raise PydanticCustomError("no_day", message, {"value": f"{text!r:.40}"}) from error


#: A part of 1. `true` and `"0.1"` are none, though pydantic would read them as numbers.
Share = Annotated[
    float,
    BeforeValidator(_share, json_schema_input_type=Annotated[float, Field(ge=0, le=1)]),
]
Day = Annotated[DatedText, AfterValidator(_day)]
Usd = Annotated[float, Field(gt=0, allow_inf_nan=False), Unit("USD")]
Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False), Unit("ms")]


class RolloutBudgetShape(Shape):
    """What the shadows of one rollout may use in a day, counted in each process."""

    usd: Usd | None = Field(default=None, description="USD a day, worst cases included.")
    calls: AtLeastOne | None = Field(default=None, description="Shadow calls a day.")
    in_flight: AtLeastOne = Field(default=4, description="Shadow calls on their way at once.")
    per: Literal["day"] = Field(default="day", description="Days are those of UTC.")


class RolloutLimitsShape(Shape):
    """What a challenger has to keep; `llmbench rollout watch` stops a rollout that is proved to break one."""

    failure_rate: Share | None = Field(default=None, description="Failed calls of all, as a part of 1.")
    p95_ms: Milliseconds | None = Field(
        default=None, description="Milliseconds that no more than 5 % of calls may take longer than."
    )


class RolloutShape(Shape):
    """One rollout: a challenger on a share of the calls of tasks or of a tier."""

    task: StrictStr | None = Field(default=None, description="The text task; or `tasks`, or `tier`.")
    tasks: Names = Field(default=[], description="Several tasks.")
    tier: StrictStr | None = Field(default=None, description="Every task routed to this tier.")
    mode: Literal["split", "shadow"] = Field(
        description="split: the challenger answers the share. shadow: it is asked too, its reply discarded."
    )
    challenger: Names = Field(description="A model, or a list: the later ones are its fallbacks.")
    share: Share = Field(description="Part of the routing keys (split) or of the calls (shadow), 0 to 1.")
    salt: StrictStr | None = Field(
        default=None, description="Which keys are in the share; the rollout's name if not given."
    )
    budget: RolloutBudgetShape | None = Field(
        default=None, description="What its shadows may use in a day; a shadow needs one."
    )
    limits: RolloutLimitsShape = Field(
        default=RolloutLimitsShape(), description="What the challenger has to keep."
    )
    until: Day | None = Field(default=None, description="The last day (UTC) on which it runs.")

    @model_validator(mode="before")
    @classmethod
    def _a_place(cls, data: object) -> object:
        if isinstance(data, Mapping) and sum(bool(data.get(key)) for key in ("task", "tasks", "tier")) != 1:
            raise PydanticCustomError("no_place", "give exactly one of task, tasks and tier")
        return data

    @model_validator(mode="after")
    def _a_budget(self) -> Self:
        budget = self.budget
        if not self.challenger:
            raise PydanticCustomError("no_challenger", "challenger names no model")
        if self.mode == "shadow" and (budget is None or (budget.usd is None and budget.calls is None)):
            message = "a shadow costs money beside the call: give budget with usd or calls, or both"
            raise PydanticCustomError("no_budget", message)
        return self


class RolloutsFile(Shape):
    """`llm_rollouts.yaml`: challengers on a share of real calls."""

    stop_file: StrictStr = Field(
        default=DEFAULT_STOP_FILE,
        description="The lab writes here which rollouts are stopped; the router reads it. A path from the "
        "folder that the config folder is in.",
    )
    rollouts: dict[StrictStr, RolloutShape] = Field(default_factory=dict, description="Name -> rollout.")
