"""configs/sweeps/*.yaml: what a person may write in a plan file, and what is said of mistakes in it."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

from llmbench.bench.constraints import ChannelConstraints, Constraints, Share, Slo
from llmbench.bench.judging.plan import JudgeFile
from llmbench.bench.media_client import router_of
from llmbench.bench.terms import Family, Stop
from llmbench.bounded import read_text
from llmbench.catalog import Modality, ModelSpec
from llmbench.config.model import Config
from llmbench.config.values import Seconds, Usd
from llmbench.config.yaml_source import parse_yaml
from llmbench.errors import SweepError
from llmbench.routing.client import LLMClient


class TierOf(BaseModel):
    """Every model of a tier, each as a candidate of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    tier: StrictStr = Field(description="The tier.")


Candidate = StrictStr | TierOf | Annotated[list[StrictStr], Field(min_length=1)]
"""A model, all models of a tier, or a fallback chain of models in the order in which they are tried."""
Grid = dict[
    Literal[
        "temperature", "top_p", "top_k", "reasoning", "verbosity", "seed", "stop", "max_tokens",
        "presence_penalty", "frequency_penalty",
        "size", "aspect_ratio", "quality", "style", "voice", "speed", "instructions",  # of media calls
    ],
    Annotated[list[Any], Field(min_length=1)],
]  # fmt: skip
"""Parameter -> the values to try: each candidate is asked with every combination."""


class BudgetFile(BaseModel):
    """The most that a run may spend: USD (worst cases in flight included), and calls."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    usd: Usd | None = Field(None, description="US dollars, worst cases of calls in flight included.")
    calls: Annotated[int, Field(ge=0)] | None = Field(None, description="Calls.")


class LimitsFile(BaseModel):
    """What a sweep may ask of a provider, below what `llm_router.yaml` allows."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    requests_per_minute: Annotated[int, Field(ge=1)] | None = Field(None, description="Requests a minute.")
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Tokens a minute, input and output."
    )
    concurrency: Annotated[int, Field(ge=1)] | None = Field(None, description="Requests at once.")


class TaskPlanFile(BaseModel):
    """One task of a plan file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    dataset: StrictStr | None = Field(None, description="Name in datasets/, else the task's own.")
    limit: Annotated[int, Field(ge=1)] | None = Field(None, description="At most so many samples.")
    candidates: list[Candidate] | None = Field(
        None, description="Candidates of this task, instead of the plan's."
    )
    params: Grid | None = Field(None, description="Parameters to try, instead of the plan's.")
    judge: JudgeFile | None = Field(None, description="The model that scores its answers.")
    constraints: Constraints = Field(
        Constraints(), description="Limits of this task; they win over the plan's."
    )


class PlanFile(BaseModel):
    """A plan file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: Annotated[str, Field(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,40}\z")] = Field(
        description="Letters, digits, _ and -; run folders begin with it."
    )
    description: StrictStr = Field("", description="What it is for.")
    seed: int = Field(0, description="Order of samples.")
    margin: Share = Field(0.05, description="Loss of quality that would be accepted; 0.05 is 5 points.")
    alpha: Share = Field(0.05, description="Chance allowed of a false move.")
    family: Family = Field(
        "task", description="Whether alpha holds for each task, or for all tasks of the report together."
    )
    stop: Stop = Field(
        "decided",
        description="decided: only the calls that the rule needs. grid: every candidate on every sample.",
    )
    batch: Annotated[int, Field(ge=1)] = Field(10, description="Prompts between two looks.")
    pilot: Annotated[int, Field(ge=1)] = Field(10, description="Prompts that every candidate gets first.")
    repeats: Annotated[int, Field(ge=1)] = Field(1, description="How often each sample is asked.")
    reference: Literal["first", "chain"] = Field(
        "first",
        description="Compare with the first model that serves the task today, or with its whole chain.",
    )
    human_share: Share | None = Field(
        None, description="Share of a judged task's pairs on which people check the judge."
    )
    constraints: Constraints = Field(
        Constraints(), description="Limits on latency, failures and cost, and who may be asked."
    )
    providers: list[StrictStr] = Field(
        [], description="With names here no other provider is asked, whatever keys are set."
    )
    candidates: Annotated[list[Candidate], Field(min_length=1)] = Field(
        description="Models, {tier: NAME} for all of a tier, or lists: a fallback chain each."
    )
    params: Grid = Field({}, description="Parameter -> values to try; each candidate gets every combination.")
    budget: BudgetFile = Field(BudgetFile(), description="The most that a run may spend.")
    deadline_s: Seconds | None = Field(None, description="Time of one run.")
    limits: dict[StrictStr, LimitsFile] = Field(
        {}, description="Provider -> what the sweep asks of it at most, below the config's limits."
    )
    tasks: Annotated[dict[StrictStr, TaskPlanFile | None], Field(min_length=1)] = Field(
        description="Task -> what is its own; nothing below it is enough."
    )

    def constraints_of(self, task: str) -> Constraints:
        """The plan's constraints with the task's own on top."""
        entry = self.tasks.get(task)
        return self.constraints if entry is None else entry.constraints.over(self.constraints)

    def candidates_of(self, task: str, tiers: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
        """The candidates of a task as they are written, a single model as a chain of one.

        Args:
            task: its name; another one's candidates are the plan's own.
            tiers: tier -> models, for candidates that are all of a tier.

        Raises:
            SweepError: there is no such tier.
        """
        entry = self.tasks.get(task)
        named = self.candidates if entry is None or entry.candidates is None else entry.candidates
        found: list[tuple[str, ...]] = []
        for each in named:
            if isinstance(each, TierOf):
                if each.tier not in tiers:
                    known = ", ".join(tiers)
                    raise SweepError(f"plan {self.name!r} names tier {each.tier!r}; the config has: {known}")
                found += [(model,) for model in tiers[each.tier]]
            else:
                found.append((each,) if isinstance(each, str) else tuple(each))
        return found

    def modality(self, config: Config) -> Modality:
        """What the answers of this plan are, by the files that name its tasks.

        Raises:
            SweepError: the tasks are of several kinds; a sweep has one.
        """
        kinds: dict[Modality, list[str]] = {}
        for task in self.tasks:
            kinds.setdefault(config.media_of(task=task, tier="") or "text", []).append(task)
        if len(kinds) > 1:
            said = "; ".join(f"{kind}: {', '.join(tasks)}" for kind, tasks in kinds.items())
            raise SweepError(
                f"plan {self.name!r} mixes kinds of answers ({said}); write a plan for each kind"
            )
        return next(iter(kinds))

    def judges(self) -> tuple[str, ...]:
        """The models of its judges, as they are written."""
        judges = (entry.judge for entry in self.tasks.values() if entry is not None)
        return tuple(dict.fromkeys(judge.model for judge in judges if judge is not None))

    def combinations_of(self, task: str) -> list[dict[str, Any]]:
        """The parameters that each candidate of a task is tried with; one empty combination without any."""
        entry = self.tasks.get(task)
        grid = self.params if entry is None or entry.params is None else entry.params
        return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]

    def asks(self, spec: ModelSpec, client: LLMClient) -> bool:
        """Whether a sweep of this plan may call a model here."""
        is_wanted = not self.providers or spec.provider in self.providers
        return is_wanted and router_of(client, spec).is_reachable(spec)

    def remedy(self, spec: ModelSpec, client: LLMClient) -> str:
        """What to do so that a model that is not called would be."""
        if self.providers and spec.provider not in self.providers:
            return f"the plan's providers lack {spec.provider}"
        return "llmbench models pull" if client.config.endpoints[spec.provider].managed else "set its key"


def read_plan_file(path: Path) -> PlanFile:
    """Read and check one plan file.

    Raises:
        SweepError: the file is missing or not as it must be; names file, line and key.
        ConfigError: the file is not usable YAML.
    """
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        others = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml"))) or "none"
        raise SweepError(f"no sweep plan {path.name} in {path.parent}; there are: {others}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    source = parse_yaml(text, path.name)
    try:
        return PlanFile.model_validate(source.data)
    except ValidationError as error:
        problem = _most_telling(error.errors(include_url=False))
        where = tuple(part for part in problem["loc"] if part not in _INNER)
        _, line = source.place(where)
        place = f"{path.name}:{line}" if line else path.name
        raise SweepError(f"{place}: {'.'.join(map(str, where))}: {_what_is_wrong(problem)}") from error


#: What pydantic puts into a place that the file has not: a key itself, and the forms of a candidate.
_INNER: Final = frozenset({"[key]", "str", "TierOf"})


def _most_telling(problems: Sequence[Any]) -> Any:
    """The first finding; of a candidate that is a mapping, what is wrong with it as one.

    A key that is missing beside an unknown one is most often that one, misspelled.
    """
    first = problems[0]
    of_tier = [each for each in problems if "TierOf" in each["loc"]]
    if "str" in first["loc"] and of_tier and isinstance(first["input"], dict):
        first = of_tier[0]
    if first["type"] == "missing":
        beside = [each for each in problems if each["loc"][:-1] == first["loc"][:-1]]
        return next((each for each in beside if each["type"] == "extra_forbidden"), first)
    return first


def _what_is_wrong(problem: Mapping[str, Any]) -> str:
    """One finding of the check in words; an unknown key gets a guess at what was meant."""
    place, message = problem["loc"], str(problem["msg"])
    if problem["type"] == "extra_forbidden":
        return _unknown_key(str(place[-1]), list(_shape_at(place).model_fields))
    if place[-1] == "[key]":
        return _unknown_key(str(place[-2]), list(get_args(get_args(Grid)[0])))
    if problem["type"] == "model_type":
        return f"must be a mapping; its keys: {', '.join(_shape_at((*place, '')).model_fields)}"
    if place[-1] == "str" and "candidates" in place:
        return "a candidate is a model's key, `{tier: NAME}`, or a list of model keys, which is a chain"
    return message[0].lower() + message[1:]


def _unknown_key(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return "unknown key; " + (f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}")


def _shape_at(place: tuple[int | str, ...]) -> type[BaseModel]:
    """The shape whose key stands at a place of a plan file."""
    above = [str(part) for part in place[:-1]]
    if not above:
        return PlanFile
    if above[0] == "tasks":
        above = above[2:]  # a task may have any name
        if not above:
            return TaskPlanFile
    inner: dict[str, type[BaseModel]] = {"judge": JudgeFile, "budget": BudgetFile, "limits": LimitsFile}
    inner["candidates"] = TierOf
    if above[0] in inner:
        return inner[above[0]]
    return Slo if above[-1] == "slo" else ChannelConstraints if "channels" in above else Constraints
