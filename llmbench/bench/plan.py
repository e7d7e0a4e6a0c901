"""configs/sweeps/*.yaml -> one frozen plan: which samples go to which candidates, and what is asked of them.

Everything a verdict rests on (margin, error rate, reference, order, model versions) is fixed here,
before the first call.
"""

from __future__ import annotations

import difflib
import hashlib
import html
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from llmbench.bench.dataset import Dataset, Sample, load_dataset
from llmbench.bench.scorers import check_dataset
from llmbench.catalog import ModelSpec
from llmbench.config.yaml_source import parse_yaml
from llmbench.errors import RouteError, SweepError
from llmbench.messages import canonical_json
from llmbench.providers import local_models
from llmbench.routing.client import LLMClient

Share = Annotated[float, Field(gt=0, lt=1)]
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


class TaskPlanFile(BaseModel):
    """One task of a plan file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    dataset: StrictStr | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    candidates: list[StrictStr] | None = None


class PlanFile(BaseModel):
    """A plan file. With `providers` a sweep asks no other provider, whatever keys are set."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: Annotated[str, Field(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,40}\z")]
    description: StrictStr = ""
    seed: int = 0
    margin: Share = 0.05
    alpha: Share = 0.05
    repeats: Annotated[int, Field(ge=1)] = 1
    providers: list[StrictStr] = []
    candidates: Annotated[list[StrictStr], Field(min_length=1)]
    tasks: Annotated[dict[StrictStr, TaskPlanFile | None], Field(min_length=1)]

    def asks(self, spec: ModelSpec, client: LLMClient) -> bool:
        """Whether a sweep of this plan may call a model here."""
        is_wanted = not self.providers or spec.provider in self.providers
        return is_wanted and client.router.is_reachable(spec)

    def remedy(self, spec: ModelSpec, client: LLMClient) -> str:
        """What to do so that a model that is not called would be."""
        if self.providers and spec.provider not in self.providers:
            return f"the plan's providers lack {spec.provider}"
        return "llmbench models pull" if client.config.endpoints[spec.provider].managed else "set its key"


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task of a sweep: its samples in calling order, and who answers them.

    `reference` is what the task is routed to today; it is measured in the same sweep.
    """

    task: str
    tier: str
    reference: str
    candidates: tuple[str, ...]
    dataset: Dataset
    samples: tuple[Sample, ...]
    limit: int | None

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
            "tier": self.tier,
            "scorer": self.dataset.scorer.name,
        }


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """A sweep, fixed before its first call. Margin and alpha are shares (0.10 is ten points).

    `unreachable` are the registry's models that cannot be called here, or are not by this plan.
    """

    name: str
    description: str
    seed: int
    margin: float
    alpha: float
    repeats: int
    tasks: tuple[TaskPlan, ...]
    models: Mapping[str, Mapping[str, Any]]
    config_hash: str
    notices: tuple[str, ...] = ()
    unreachable: tuple[str, ...] = ()
    hash: str = field(default="")

    @property
    def run_id(self) -> str:
        """The plan's name and hash: the same plan is the same run and goes on where it stopped."""
        return f"{self.name}-{self.hash[:8]}"

    @property
    def candidates(self) -> tuple[str, ...]:
        """Every model key of the plan, in order of appearance."""
        return tuple(dict.fromkeys(key for task in self.tasks for key in task.candidates))

    def __repr__(self) -> str:
        counts = ", ".join(f"{task.task} {len(task.samples)}x{len(task.candidates)}" for task in self.tasks)
        return f"Plan({self.run_id}: {counts})"

    def _repr_html_(self) -> str:
        """A table of the tasks, for notebooks."""
        head = "".join(f"<th>{name}</th>" for name in ("task", "tier", "reference", "candidates", "samples"))
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td>{html.escape(str(cell))}</td>"
                for cell in (
                    task.task,
                    task.tier,
                    task.reference,
                    ", ".join(task.candidates),
                    len(task.samples),
                )
            )
            + "</tr>"
            for task in self.tasks
        )
        title = html.escape(f"{self.run_id}: margin {self.margin:g}, alpha {self.alpha:g}, seed {self.seed}")
        notes = "".join(f"<p>{html.escape(notice)}</p>" for notice in self.notices)
        return f"<table><caption>{title}</caption><tr>{head}</tr>{rows}</table>{notes}"

    def facts(self) -> dict[str, Any]:
        """The JSON form (plan.json): the header of a run."""
        return {
            "schema": 1,
            "name": self.name,
            "description": self.description,
            "run_id": self.run_id,
            "plan_hash": self.hash,
            "seed": self.seed,
            "margin": self.margin,
            "alpha": self.alpha,
            "repeats": self.repeats,
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
        }


def read_plan_file(path: Path) -> PlanFile:
    """Read and check one plan file.

    Raises:
        SweepError: the file is missing or not as it must be; names file, line and key.
        ConfigError: the file is not usable YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        others = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml"))) or "none"
        raise SweepError(f"no sweep plan {path.name} in {path.parent}; there are: {others}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    source = parse_yaml(text, path.name)
    try:
        return PlanFile.model_validate(source.data)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = tuple(problem["loc"])
        _, line = source.place(where)
        place = f"{path.name}:{line}" if line else path.name
        raise SweepError(f"{place}: {'.'.join(map(str, where))}: {_what_is_wrong(problem)}") from error


def _what_is_wrong(problem: Mapping[str, Any]) -> str:
    """One finding of the check in words; an unknown key gets a guess at what was meant."""
    if problem["type"] != "extra_forbidden":
        message = str(problem["msg"])
        return message[0].lower() + message[1:]
    shape = PlanFile if len(problem["loc"]) == 1 else TaskPlanFile
    close = difflib.get_close_matches(str(problem["loc"][-1]), shape.model_fields, n=1)
    guess = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(shape.model_fields)}"
    return f"unknown key; {guess}"


def make_plan(
    file: PlanFile,
    client: LLMClient,
    *,
    datasets: Path = Path("datasets"),
    tasks: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int | None = None,
) -> Plan:
    """Freeze a plan: load its datasets, find each task's present route, drop what cannot be had.

    Args:
        file: the checked plan file.
        client: the router whose present routes are the references.
        datasets: folder of the datasets.
        tasks: only these tasks; all of the file by default.
        limit: at most this many samples a task, below the file's own limits.
        seed: the order of samples; the file's by default.

    Raises:
        SweepError: a task, candidate or scorer is unknown, or no candidate can be had.
        DatasetError: a dataset is not as its card declares.
    """
    chosen = _chosen_tasks(file, tasks)
    seed = file.seed if seed is None else seed
    notices: list[str] = []
    usable = _usable(file, chosen, client, notices)
    plans = [
        _task_plan(name, chosen[name] or TaskPlanFile(), file, client, usable, (datasets, limit, seed))
        for name in chosen
    ]
    keys = dict.fromkeys(key for plan in plans for key in plan.candidates)
    models = {key: _model_facts(client, client.config.models[key]) for key in keys}
    notices += dict.fromkeys(text for value in models.values() if (text := value.get("notice")))
    header = {
        "name": file.name,
        "seed": seed,
        "margin": file.margin,
        "alpha": file.alpha,
        "repeats": file.repeats,
        "tasks": {plan.task: plan.facts() for plan in plans},
        "samples": {plan.task: [sample.sha256 for sample in plan.samples] for plan in plans},
        "models": {key: value["version"] for key, value in models.items()},
    }
    return Plan(
        name=file.name,
        description=file.description,
        seed=seed,
        margin=file.margin,
        alpha=file.alpha,
        repeats=file.repeats,
        tasks=tuple(plans),
        models=models,
        config_hash=client.config.hash,
        notices=tuple(notices),
        unreachable=tuple(key for key, spec in client.config.models.items() if not file.asks(spec, client)),
        hash=hashlib.sha256(canonical_json(header).encode()).hexdigest(),
    )


def _chosen_tasks(file: PlanFile, tasks: Sequence[str] | None) -> dict[str, TaskPlanFile | None]:
    if not tasks:
        return dict(file.tasks)
    unknown = [task for task in tasks if task not in file.tasks]
    if unknown:
        known = ", ".join(file.tasks)
        raise SweepError(f"plan {file.name!r} has no task {unknown[0]!r}; it has: {known}")
    return {task: entry for task, entry in file.tasks.items() if task in tasks}


def _usable(
    file: PlanFile,
    chosen: Mapping[str, TaskPlanFile | None],
    client: LLMClient,
    notices: list[str],
) -> set[str]:
    """The plan's candidates that can be called here; a missing one is a notice, not a failure."""
    for name in file.providers:
        if name not in client.config.endpoints:
            known = ", ".join(client.config.endpoints)
            raise SweepError(f"plan {file.name!r} names provider {name!r}; llm_router.yaml has: {known}")
    named = [*file.candidates, *(key for task in chosen.values() if task for key in task.candidates or ())]
    usable: set[str] = set()
    for name in dict.fromkeys(named):
        key = client.config.model_key(name)
        if key is None:
            known = ", ".join(sorted(client.config.models))
            raise SweepError(f"plan {file.name!r} names candidate {name!r}; the registry has: {known}")
        spec = client.config.models[key]
        if file.asks(spec, client):
            usable.add(key)
        else:
            notices.append(
                f"{key} ({spec.model_id}) cannot be called here and is left out; {file.remedy(spec, client)}"
            )
    if not usable:
        raise SweepError(f"plan {file.name!r}: no candidate can be called: {'; '.join(notices)}")
    return usable


def _task_plan(
    name: str,
    task: TaskPlanFile,
    file: PlanFile,
    client: LLMClient,
    usable: set[str],
    draw: tuple[Path, int | None, int],
) -> TaskPlan:
    folder, most, seed = draw
    dataset = load_dataset(folder / (task.dataset or name))
    check_dataset(dataset)
    limits = [value for value in (task.limit, most) if value is not None]
    limit = min(limits) if limits else None
    try:
        route = client.explain(name, dataset.messages(dataset.samples[0]), **dataset.options)
    except RouteError as error:
        raise SweepError(f"task {name!r} has no route to compare with: {error}") from error
    asked = [key for key in route.candidates if file.asks(client.config.models[key], client)]
    if not asked:
        listed = ", ".join(route.candidates)
        raise SweepError(f"task {name!r} goes to {listed}, and the plan's providers are none of theirs")
    reference = asked[0]
    keys = [client.config.model_key(key) for key in task.candidates or file.candidates]
    candidates = dict.fromkeys([reference, *(key for key in keys if key in usable)])
    return TaskPlan(
        task=name,
        tier=route.tier,
        reference=reference,
        candidates=tuple(key for key in candidates if key is not None),
        dataset=dataset,
        samples=dataset.take(limit, seed),
        limit=limit,
    )


def _model_facts(client: LLMClient, spec: ModelSpec) -> dict[str, Any]:
    is_local = client.config.endpoints[spec.provider].managed == "embedded"
    facts: dict[str, Any] = {
        "provider": spec.provider,
        "model_id": spec.model_id,
        "version": client.router.model_version(spec.key),
        "label": local_models.local_model(spec.model_id).label if is_local else spec.model_id,
        "response_format": spec.params.response_format_support,
        "is_local": is_local,
    }
    if spec.price is not None:
        facts["price_per_core_hour"] = spec.price.per_core_hour
        facts["price_as_of"] = spec.price.as_of
    if is_local and (notice := local_models.notice(spec.model_id)):
        facts["notice"] = notice
    return facts
