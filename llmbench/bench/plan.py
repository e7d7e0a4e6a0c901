"""One frozen plan: which samples go to which candidates, and what is asked of them.

Everything a verdict rests on (margin, error rate, reference, order, model versions) is fixed here,
before the first call.
"""

from __future__ import annotations

import os
import platform
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llmbench.bench.constraints import Constraints
from llmbench.bench.dataset import Dataset, Sample
from llmbench.bench.judging.plan import JudgePlan
from llmbench.bench.terms import Arm, Family, Stop, Terms, arm_name, check_terms
from llmbench.bench.units import Unit, make_units
from llmbench.catalog import Limits, Modality
from llmbench.errors import SweepError
from llmbench.markup import paragraph, table
from llmbench.messages import canonical_json

_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked_run_id(run_id: str) -> str:
    """A run id that is safe as the name of a folder.

    Raises:
        SweepError: it is not; a path would lead out of the reports folder.
    """
    if _RUN_ID.fullmatch(run_id) is None or ".." in run_id:
        raise SweepError(
            f"run id {run_id!r} cannot be a folder's name; use up to 64 letters, digits, '.', '_' and '-'"
        )
    return run_id


@dataclass(frozen=True, slots=True)
class Variant:
    """A candidate as it is called: a model of the registry, with parameters of its own or none."""

    key: str
    base: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, base: str, params: Mapping[str, Any]) -> Variant:
        """The variant of a model with these parameters, named after them: `alpha[temperature=0.7]`."""
        said = ",".join(f"{name}={canonical_json(value)}" for name, value in params.items())
        return cls(f"{base}[{said}]" if params else base, base, dict(params))


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a sweep may spend: USD, and calls. None is no limit."""

    usd: float | None = None
    calls: int | None = None


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task of a sweep: its samples in calling order, and who answers them.

    Attributes:
        task: its name.
        tier: its tier today.
        reference: the model that it is routed to today, measured in the same sweep.
        chain: the reference as it is compared: that model, or the fallback chain that it leads.
        arms: what could take over: models, or chains of them.
        candidates: every model that may be called, the reference first.
        dataset: where its samples come from.
        samples: in calling order.
        limit: the most samples asked for, or None.
        constraints: what a candidate must keep.
        excluded: (candidate, reason) of those that the constraints rule out before any call.
        judge: the model that scores the answers, or None where the dataset's scorer does.
    """

    task: str
    tier: str
    reference: str
    chain: Arm
    arms: tuple[Arm, ...]
    candidates: tuple[str, ...]
    dataset: Dataset
    samples: tuple[Sample, ...]
    limit: int | None
    constraints: Constraints
    excluded: tuple[tuple[str, str], ...] = ()
    judge: JudgePlan | None = None

    @property
    def units(self) -> list[Unit]:
        """The samples by cluster, in calling order."""
        clusters = {sample.id: sample.cluster for sample in self.samples}
        return make_units(list(clusters), clusters, largest=self.largest_cluster)

    @property
    def largest_cluster(self) -> int:
        """Samples of the whole dataset's largest cluster: a longer draw must not rescale earlier bets."""
        return max(Counter(sample.cluster for sample in self.dataset.samples).values())

    def facts(self) -> dict[str, Any]:
        """The JSON form, as plan.json holds it."""
        languages = sorted({sample.lang for sample in self.samples})
        return {
            "dataset": self.dataset.name,
            "dataset_sha256": self.dataset.sha256,
            "version": self.dataset.version,
            "limit": self.limit,
            "samples": len(self.samples),
            "clusters": len({sample.cluster for sample in self.samples}),
            "lang": {lang: sum(sample.lang == lang for sample in self.samples) for lang in languages},
            "candidates": list(self.candidates),
            "reference": self.reference,
            "chain": list(self.chain),
            "arms": [list(arm) for arm in self.arms],
            "excluded": [list(pair) for pair in self.excluded],
            "constraints": self.constraints.model_dump(exclude_defaults=True),
            "tier": self.tier,
            "scorer": self.dataset.scorer.name,
            "largest_cluster": self.largest_cluster,
            "prompts": {unit.name: list(unit.prompts) for unit in self.units},
        } | ({} if self.judge is None else {"judge": self.judge.facts()})


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """A sweep, fixed before its first call. Margin and alpha are shares (0.10 is ten points).

    `unreachable` are the registry's models that cannot be called here, or are not by this plan. `variants`
    says how each candidate is called. `budget`, `deadline_s` (seconds of one run) and `limits` (by provider)
    hold while it runs: they are no part of what a verdict rests on, so they may change between two runs.
    `modality` is what all answers are, `asked` how each task asks its models (`asked.asked_facts`).
    """

    name: str
    description: str
    seed: int
    margin: float
    alpha: float
    family: Family
    stop: Stop
    batch: int
    pilot: int
    repeats: int
    human_share: float | None
    tasks: tuple[TaskPlan, ...]
    models: Mapping[str, Mapping[str, Any]]
    variants: Mapping[str, Variant]
    config_hash: str
    budget: Budget = Budget()
    deadline_s: float | None = None
    limits: Mapping[str, Limits] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    hash: str = field(default="")
    modality: Modality = "text"
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """The plan's name and hash: the same plan is the same run and goes on where it stopped."""
        return f"{self.name}-{self.hash[:8]}"

    @property
    def candidates(self) -> tuple[str, ...]:
        """Every model key of the plan, in order of appearance."""
        return tuple(dict.fromkeys(key for task in self.tasks for key in task.candidates))

    def terms(self, task: TaskPlan) -> Terms:
        """What is declared of a task's decision.

        Raises:
            SweepError: it cannot be decided on.
        """
        return check_terms(
            Terms(
                reference=task.chain,
                candidates=task.arms,
                margin=self.margin,
                alpha=self.alpha,
                family=self.family,
                tasks=len(self.tasks),
                batch=self.batch,
                pilot=self.pilot,
                stop=self.stop,
                **task.constraints.terms(),
            )
        )

    def __repr__(self) -> str:
        counts = ", ".join(f"{task.task} {len(task.samples)}x{len(task.candidates)}" for task in self.tasks)
        return f"Plan({self.run_id}: {counts})"

    def _repr_html_(self) -> str:
        """A table of the tasks, for notebooks."""
        head = ("task", "tier", "reference", "candidates", "samples")
        rows = [
            (
                each.task,
                each.tier,
                arm_name(each.chain),
                ", ".join(map(arm_name, each.arms)),
                len(each.samples),
            )
            for each in self.tasks
        ]
        title = f"{self.run_id}: margin {self.margin:g}, alpha {self.alpha:g}, seed {self.seed}"
        return table(head, rows, title) + "".join(map(paragraph, self.notices))

    def facts(self) -> dict[str, Any]:
        """The JSON form (plan.json): the header of a run."""
        return {
            "schema": 1,
            "name": self.name,
            "description": self.description,
            "run_id": self.run_id,
            "plan_hash": self.hash,
            "modality": self.modality,
            "seed": self.seed,
            "margin": self.margin,
            "alpha": self.alpha,
            "family": self.family,
            "stop": self.stop,
            "batch": self.batch,
            "pilot": self.pilot,
            "repeats": self.repeats,
            "human_share": self.human_share,
            "candidates": list(self.candidates),
            "tasks": {task.task: task.facts() for task in self.tasks},
            "models": {key: dict(value) for key, value in self.models.items()},
            "machine": {
                "cores": os.cpu_count(),
                "platform": f"{platform.system()} {platform.machine()}",
                "python": platform.python_version(),
            },
            "notices": list(self.notices),
            "unreachable": list(self.unreachable),
            "config_hash": self.config_hash,
            "asked": dict(self.asked),
            "budget": {"usd": self.budget.usd, "calls": self.budget.calls},
            "deadline_s": self.deadline_s,
        }
