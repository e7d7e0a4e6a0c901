"""What is declared before the first call: whom to compare, how much may be lost, at which error rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from llmbench.errors import SweepError

Arm = tuple[str, ...]
"""One model, or a fallback chain of models in the order in which they are tried."""
Family = Literal["task", "report"]
Stop = Literal["decided", "grid"]


def arm_of(given: str | Sequence[str]) -> Arm:
    """A model name, or the names of a chain in the order in which they are tried, as an arm.

    Raises:
        SweepError: a chain is empty or names a model twice.
    """
    arm = (given,) if isinstance(given, str) else tuple(str(name) for name in given)
    if not arm or len(set(arm)) != len(arm) or not all(arm):
        raise SweepError(f"{given!r} is no model and no chain of different models")
    return arm


def arms_of(given: Sequence[str | Sequence[str]]) -> tuple[Arm, ...]:
    """The candidates as arms.

    Raises:
        SweepError: they are one text instead of a list, or one of them is no arm.
    """
    if isinstance(given, str):
        raise SweepError(f"decide: candidates is the text {given!r}; give a list of models")
    return tuple(arm_of(each) for each in given)


def as_slo(given: object) -> tuple[float, float] | None:
    """A latency limit as (milliseconds, share).

    Raises:
        SweepError: it is not two numbers.
    """
    if given is None:
        return None
    if isinstance(given, tuple | list) and len(given) == 2 and all(isinstance(x, int | float) for x in given):
        return float(given[0]), float(given[1])
    raise SweepError(f"decide: slo {given!r} must be (milliseconds, share), as (5000, 0.95)")


def arm_name(arm: Arm) -> str:
    """An arm in words: `a`, or `a > b` for a chain."""
    return " > ".join(arm)


@dataclass(frozen=True, slots=True)
class Terms:
    """The header of a decision. Scores and shares are on 0..1.

    Attributes:
        reference: what the task is routed to today.
        candidates: what could take over; their number divides alpha.
        margin: loss of quality that would be accepted for a lower cost.
        alpha: chance allowed of promoting a candidate that is worse by the margin or more.
        slo: (latency limit in milliseconds, share of calls that must be answered within it), or None.
        floor: mean score that must be kept, or None.
        max_failure: share of failed calls that must not be passed, or None.
        min_saving: share of the cost that must be saved; 0 asks for cheaper at all.
        max_cost_usd: US dollars a call may cost on average, or None.
        upgrade: gain of quality by which a dearer candidate must be better to take over, or None.
        family: whether alpha is for each task, or shared by all tasks of the report.
        tasks: tasks of the report.
        batch: prompts between two looks.
        pilot: prompts that every candidate gets first, to measure its cost.
        human_share: share of the prompts on which people check the judge, or None without a judge.
        stop: `decided` calls what the rule needs; `grid` calls everything.
    """

    reference: Arm
    candidates: tuple[Arm, ...]
    margin: float = 0.05
    alpha: float = 0.05
    slo: tuple[float, float] | None = None
    floor: float | None = None
    max_failure: float | None = None
    min_saving: float = 0.0
    max_cost_usd: float | None = None
    upgrade: float | None = None
    family: Family = "task"
    tasks: int = 1
    batch: int = 10
    pilot: int = 10
    human_share: float | None = None
    stop: Stop = "decided"

    @property
    def task_alpha(self) -> float:
        """The error allowed to one task."""
        return self.alpha / (self.tasks if self.family == "report" else 1)

    @property
    def side(self) -> float:
        """The error allowed to each claim about one candidate."""
        return self.task_alpha / max(len(self.candidates), 1)

    @property
    def reach(self) -> float:
        """The largest paired difference possible; people's labels on a share of the prompts stretch it."""
        return 1.0 if self.human_share is None else 2.0 / self.human_share - 1.0

    def facts(self) -> dict[str, Any]:
        """The JSON form, with arms by name."""
        facts = asdict(self)
        facts["reference"] = arm_name(self.reference)
        facts["candidates"] = [arm_name(arm) for arm in self.candidates]
        facts["slo"] = None if self.slo is None else list(self.slo)
        return facts


def check_terms(terms: Terms) -> Terms:
    """Refuse terms that cannot be decided on.

    Raises:
        SweepError: a value is out of its range, or a candidate stands twice or is the reference.
    """
    shares = {"margin": terms.margin, "alpha": terms.alpha, "floor": terms.floor}
    shares |= {"max_failure": terms.max_failure, "upgrade": terms.upgrade, "human_share": terms.human_share}
    shares |= {"slo's share": terms.slo[1] if terms.slo else None}
    for name, share in shares.items():
        if share is not None and not (isinstance(share, int | float) and 0.0 < share < 1.0):
            raise SweepError(f"decide: {name} {share} must lie between 0 and 1; 0.05 means 5 points")
    if not 0.0 <= terms.min_saving < 1.0:
        raise SweepError(f"decide: min_saving {terms.min_saving} must lie in [0, 1); 0.2 means a fifth")
    if terms.slo is not None and not 0.0 < terms.slo[0] < math.inf:
        raise SweepError(f"decide: slo's limit {terms.slo[0]} must be a number of milliseconds")
    if not all(isinstance(n, int) and n >= 1 for n in (terms.batch, terms.pilot, terms.tasks)):
        raise SweepError("decide: batch, pilot and tasks must be whole numbers from 1 on")
    if terms.alpha > 0.5 or (terms.max_cost_usd is not None and not terms.max_cost_usd > 0.0):
        raise SweepError("decide: alpha must be 0.5 at most, and max_cost_usd a positive number of dollars")
    if terms.family not in ("task", "report") or terms.stop not in ("decided", "grid"):
        raise SweepError("decide: family is `task` or `report`, stop is `decided` or `grid`")
    arms = (terms.reference, *terms.candidates)
    twice = next((arm for arm in terms.candidates if arms.count(arm) > 1), None)
    if twice is not None:
        raise SweepError(f"decide: {arm_name(twice)} stands twice; name each candidate once")
    return terms
