"""A plan file becomes a frozen plan: datasets loaded, today's routes found, what cannot be had dropped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmbench.bench.asked import asked_facts
from llmbench.bench.constraints import Constraints
from llmbench.bench.dataset import Dataset, load_dataset
from llmbench.bench.judging.plan import JudgePlan, check_independent
from llmbench.bench.media_client import modality_of, router_of, whole_config
from llmbench.bench.plan import Budget, Plan, TaskPlan, Variant
from llmbench.bench.plan_file import PlanFile, TaskPlanFile
from llmbench.bench.scorers import check_dataset
from llmbench.bench.terms import Arm, arm_name, arm_of
from llmbench.catalog import Limits, Modality
from llmbench.errors import ParamError, RouteError, SweepError
from llmbench.messages import canonical_json
from llmbench.providers import local_models
from llmbench.routing.client import LLMClient

Tiers = Mapping[str, Sequence[str]]


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
    _check_modality(file, client)
    seed = file.seed if seed is None else seed
    notices: list[str] = []
    tiers = {tier: [each.model for each in named] for tier, named in client.config.all_tiers().items()}
    usable = _usable(file, chosen, client, tiers, notices)
    plans = [
        _task_plan(name, chosen[name] or TaskPlanFile(), file, client, usable, tiers, (datasets, limit, seed))
        for name in chosen
    ]
    variants = {variant.key: variant for plan in plans for variant in _variants(plan, file, usable)}
    for plan in plans:
        notices += _judge_notices(plan, variants, client)
    notices += [
        f"{plan.task}: {name} is no candidate: {reason}" for plan in plans for name, reason in plan.excluded
    ]
    models = {key: _model_facts(client, variant) for key, variant in variants.items()}
    notices += dict.fromkeys(text for value in models.values() if (text := value.get("notice")))
    header = {
        "name": file.name,
        "seed": seed,
        "margin": file.margin,
        "alpha": file.alpha,
        "family": file.family,
        "stop": file.stop,
        "batch": file.batch,
        "pilot": file.pilot,
        "repeats": file.repeats,
        "human_share": file.human_share,
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
        family=file.family,
        stop=file.stop,
        batch=file.batch,
        pilot=file.pilot,
        repeats=file.repeats,
        human_share=file.human_share,
        tasks=tuple(plans),
        models=models,
        variants=variants,
        config_hash=client.config.hash,
        budget=Budget(file.budget.usd, file.budget.calls),
        deadline_s=file.deadline_s,
        limits={name: Limits(**limits.model_dump()) for name, limits in file.limits.items()},
        notices=tuple(notices),
        unreachable=tuple(key for key, spec in client.config.models.items() if not file.asks(spec, client)),
        hash=hashlib.sha256(canonical_json(header).encode()).hexdigest(),
        modality=modality_of(client),
        asked=_asked(plans, variants, client),
    )


def _asked(plans: Iterable[TaskPlan], variants: Mapping[str, Variant], client: LLMClient) -> dict[str, Any]:
    measured = {plan.task: [variants[key].base for key in plan.candidates] for plan in plans}
    return asked_facts(client.config, measured, modality_of(client))


def _check_modality(file: PlanFile, client: LLMClient) -> None:
    """Refuse a client of another kind of answers than the plan's, and a plan of several.

    Raises:
        SweepError: it is.
    """
    kind, made = file.modality(whole_config(client)), modality_of(client)
    if kind != made:
        raise SweepError(
            f"plan {file.name!r} is of the kind {kind}, and the client makes {made}; open it by "
            "`chain.open_client(project, plan)`"
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
    tiers: Tiers,
    notices: list[str],
) -> set[str]:
    """The plan's candidates that can be called here; a missing one is a notice, not a failure."""
    banned = (name for task in ("", *chosen) for name in file.constraints_of(task).providers())
    for name in dict.fromkeys([*file.providers, *file.limits, *sorted(banned)]):
        if name not in client.config.endpoints:
            known = ", ".join(client.config.endpoints)
            raise SweepError(f"plan {file.name!r} names provider {name!r}; llm_router.yaml has: {known}")
    named = [arm for task in ("", *chosen) for arm in file.candidates_of(task, tiers)]
    usable: set[str] = set()
    for name in dict.fromkeys(name for arm in named for name in arm):
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
    tiers: Tiers,
    draw: tuple[Path, int | None, int],
) -> TaskPlan:
    folder, most, seed = draw
    dataset = load_dataset(folder / (task.dataset or name))
    if dataset.modality != (made := modality_of(client)):
        raise SweepError(
            f"{name}: the dataset {dataset.name} is of the kind {dataset.modality}, and the task's answers "
            f"are {made}; name another dataset, or write `modality: {made}` into its card"
        )
    check_dataset(dataset)
    limits = [value for value in (task.limit, most) if value is not None]
    limit = min(limits) if limits else None
    tier, chain = _routed_today(name, dataset, file, client)
    constraints = file.constraints_of(name)
    named = file.candidates_of(name, tiers)
    combinations = [Combination(params, dataset, name) for params in file.combinations_of(name)]
    arms, excluded = _arms(named, combinations, chain, constraints, client, usable)
    models = dict.fromkeys(model for arm in (chain, *arms) for model in arm)
    return TaskPlan(
        task=name,
        tier=tier,
        reference=chain[0],
        chain=chain,
        arms=arms,
        candidates=tuple(models),
        dataset=dataset,
        samples=dataset.take(limit, seed),
        limit=limit,
        constraints=constraints,
        excluded=excluded,
        judge=_judge(name, task, file.stop, client, dataset.modality),
    )


def _judge(
    name: str, task: TaskPlanFile, stop: str, client: LLMClient, modality: Modality
) -> JudgePlan | None:
    """The judge of a task, its model by its registry key."""
    if task.judge is None:
        return None
    if modality == "speech":
        raise SweepError(
            f"{name}: no judge can hear a narration; remove `judge`, the dataset's scorer listens"
        )
    if stop != "grid":
        raise SweepError(f"{name}: a judged task needs `stop: grid`: answers are judged when all are there")
    judge = task.judge.freeze()
    key = client.config.model_key(judge.model)
    if key is None:
        known = ", ".join(sorted(client.config.models))
        raise SweepError(f"{name}: judge: the registry has no model {judge.model!r}; it has: {known}")
    if modality == "image" and not client.config.models[key].capabilities.vision:
        raise SweepError(
            f"{name}: the judge {key} sees no pictures (capabilities.vision); name one that does"
        )
    return replace(judge, model=key)


def _judge_notices(plan: TaskPlan, variants: Mapping[str, Variant], client: LLMClient) -> list[str]:
    """What is to be said of a judge that is near to a candidate."""
    if plan.judge is None:
        return []
    models = client.config.models
    bases = dict.fromkeys(variants[key].base for key in plan.candidates)
    return check_independent(plan.task, plan.judge, models[plan.judge.model], [models[key] for key in bases])


def _variants(plan: TaskPlan, file: PlanFile, usable: Iterable[str]) -> Iterator[Variant]:
    """How each model of a task's plan is called: its reference and judge as they are, others by the grid."""
    combinations = [{}, *file.combinations_of(plan.task)]
    known = {
        variant.key: variant
        for base in (*plan.chain, *usable)
        for params in combinations
        for variant in [Variant.of(base, params)]
    }
    yield from (known[key] for key in plan.candidates)
    if plan.judge is not None:
        yield Variant.of(plan.judge.model, {})


def _routed_today(name: str, dataset: Dataset, file: PlanFile, client: LLMClient) -> tuple[str, Arm]:
    """A task's tier, and the model or the chain that serves it, as far as this plan may call them."""
    try:
        sample = dataset.samples[0]
        route = client.explain(name, dataset.messages(sample), **dataset.options_of(sample))
    except (ParamError, RouteError) as error:
        raise SweepError(f"task {name!r} has no route to compare with: {error}") from error
    asked = tuple(key for key in route.candidates if file.asks(client.config.models[key], client))
    if not asked:
        listed = ", ".join(route.candidates)
        raise SweepError(f"task {name!r} goes to {listed}, and the plan's providers are none of theirs")
    return route.tier, asked if file.reference == "chain" else asked[:1]


@dataclass(frozen=True, slots=True)
class Combination:
    """Parameters that a task's candidates are tried with."""

    params: Mapping[str, Any]
    dataset: Dataset
    task: str

    def asked(self, base: str, client: LLMClient) -> tuple[Variant, str | None]:
        """A model as it is asked with these parameters, and why it cannot be: what is not sent tells nothing.

        Parameters that change nothing of the request are no variant: it is the model as it is.

        Raises:
            SweepError: a value is wrong.
        """
        variant = Variant.of(base, self.params)
        if not self.params:
            return variant, None
        plain = {
            "task": self.task,
            "prompt": self.dataset.messages(self.dataset.samples[0]),
            "response_format": self.dataset.output_schema,
            "models": [base],
            "allow_fallback": False,
            **self.dataset.options_of(self.dataset.samples[0]),
        }
        try:
            before, route = client.explain(**plain), client.explain(**{**plain, **self.params})
        except ParamError as error:
            raise SweepError(f"task {self.task!r}: params {dict(self.params)}: {error}") from error
        except RouteError:
            return variant, None  # said of the sample that it is about
        changes = route.adjustments.get(base, ())
        lost = [c for c in changes if c.param in self.params and c.action in ("dropped", "rejected")]
        if lost:
            return variant, f"{base} does not take {lost[0].param} ({lost[0].rule})"
        is_same = route.bodies.get(base) == before.bodies.get(base)
        return Variant.of(base, {}) if is_same else variant, None


def _arms(
    named: Sequence[Arm],
    combinations: Sequence[Combination],
    chain: Arm,
    constraints: Constraints,
    client: LLMClient,
    usable: set[str],
) -> tuple[tuple[Arm, ...], tuple[tuple[str, str], ...]]:
    """The candidates that may be called and that the constraints allow; the others with the reason."""
    arms: dict[Arm, None] = {}
    excluded: list[tuple[str, str]] = []
    for written in map(arm_of, named):
        bases = tuple(key for name in written if (key := client.config.model_key(name)) in usable)
        if not bases or len(bases) < len(written):
            continue
        refusals = (constraints.refusal(client.config.models[base]) for base in bases)
        reason = next((refusal for refusal in refusals if refusal is not None), None)
        for combination in combinations:
            asked = [combination.asked(base, client) for base in bases]
            arm = tuple(variant.key for variant, _ in asked)
            if arm == chain:
                continue
            refusal = reason or next((lost for _, lost in asked if lost is not None), None)
            if refusal is None:
                arms[arm] = None
            else:
                excluded.append((arm_name(arm), refusal))
    return tuple(arms), tuple(excluded)


def _model_facts(client: LLMClient, variant: Variant) -> dict[str, Any]:
    spec = client.config.models[variant.base]
    is_local = client.config.endpoints[spec.provider].managed == "embedded"
    facts: dict[str, Any] = {
        "provider": spec.provider,
        "model_id": spec.model_id,
        "version": router_of(client, spec).model_version(spec.key),
        "label": local_models.local_model(spec.model_id).label if is_local else spec.model_id,
        "response_format": spec.params.response_format_support,
        "is_local": is_local,
    }
    if variant.params:
        facts |= {"base": variant.base, "params": dict(variant.params)}
    if spec.price is not None:
        facts["price_per_core_hour"] = spec.price.per_core_hour
        facts["price_as_of"] = spec.price.as_of
    if is_local and (notice := local_models.notice(spec.model_id)):
        facts["notice"] = notice
    return facts
