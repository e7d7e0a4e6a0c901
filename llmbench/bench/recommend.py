"""From a run's scored rows to a recommendation: a decision per task and the config diff that follows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import pandas as pd

from llmbench.bench import wording
from llmbench.bench.constraints import Constraints
from llmbench.bench.decide import finish
from llmbench.bench.decision import Decision, make_decision
from llmbench.bench.decision_facts import decision_facts, said_decision
from llmbench.bench.propose import Proposal, Routing, propose
from llmbench.bench.propose_media import propose_media
from llmbench.bench.race import Race
from llmbench.bench.table import TaskRows, read_table
from llmbench.bench.terms import Arm, Terms, arm_name, check_terms
from llmbench.bench.tiers import Move
from llmbench.bench.units import make_units
from llmbench.config.model import FILES, MEDIA_CODE_FILES, MEDIA_FILES, ROLLOUTS_FILE, MediaModality
from llmbench.display.decision_text import Said, task_sentence
from llmbench.errors import SweepError

SCHEMA: Final = 2
"""Version of recommendation.json; docs/decisions.md describes it."""

_POLICY: Final = "llm_fallback_policy.yaml"


def recommend(
    results: pd.DataFrame,
    plan: Mapping[str, Any],
    routing: Routing,
    *,
    results_sha256: str | None = None,
    evidence_at: str | None = None,
    evidence_from: str | None = None,
    decisions: Mapping[str, Decision] | None = None,
) -> dict[str, Any]:
    """Decide every task of a run and propose the config change that follows.

    Args:
        results: the rows of results.jsonl, in any order: the plan's order of prompts counts.
        plan: plan.json.
        routing: how tasks are routed today.
        results_sha256: hash of results.jsonl, recorded as the evidence's.
        evidence_at: when the newest call of the run was made (UTC, ISO 8601).
        evidence_from: when the oldest was: that is the evidence's age.
        decisions: what `decide_tasks` gave for the same rows and plan, where that is known already.

    Returns:
        The content of recommendation.json: the same for the same rows in any order.

    Raises:
        SweepError: the rows or the plan cannot be judged; the text names what is wrong.
    """
    if decisions is None:
        decisions = decide_tasks(results, plan)
    routed = routed_tiers(plan, routing)
    proposal = proposal_of(moves_of(decisions, plan, routing), list(decisions), plan, routing)
    tasks = [
        _task_json(task, routed[task], proposal.destinations.get(task, routed[task]), decision, plan)
        for task, decision in decisions.items()
    ]
    return {
        "schema": SCHEMA,
        "run_id": plan.get("run_id"),
        "plan_hash": plan.get("plan_hash"),
        "config_hash": plan.get("config_hash"),
        "evidence_sha256": results_sha256,
        "evidence_at": evidence_at,
        "evidence_from": evidence_from,
        "configs": dict(routing.grounds),
        "header": _header(plan),
        "judge": _judge(decisions),
        "tasks": tasks,
        "tiers": proposal.tiers,
        "diff": proposal.diff,
        "notes": [*wording.notes(list(decisions.values())), *proposal.notes],
    } | ({"asked": plan["asked"]} if plan.get("asked") else {})


def routed_tiers(plan: Mapping[str, Any], routing: Routing) -> dict[str, str]:
    """The tier of every task of a plan today; the plan's own where no config file names the task."""
    return {task: routing.task_tiers.get(task, str(entry["tier"])) for task, entry in plan["tasks"].items()}


def moves_of(decisions: Mapping[str, Decision], plan: Mapping[str, Any], routing: Routing) -> list[Move]:
    """The tasks that leave their reference, with the models that they leave it for."""
    routed = routed_tiers(plan, routing)
    return [
        _move(plan, task, routed[task], decision, decision.chosen.arm, routing)
        for task, decision in decisions.items()
        if decision.chosen is not None
    ]


def proposal_of(
    moves: Sequence[Move], measured: Sequence[str], plan: Mapping[str, Any], routing: Routing
) -> Proposal:
    """What some or all of the moves of a run come to.

    Raises:
        ConfigError: a config file is not YAML.
    """
    proposing = propose if routing.media is None else propose_media
    task_tiers = {**routing.task_tiers, **routed_tiers(plan, routing)}
    return proposing(moves, measured, replace(routing, task_tiers=task_tiers))


def ground_files(kind: MediaModality | None) -> tuple[str, ...]:
    """The config files that the evidence of a kind rests on: all that say who is asked, and how.

    For text those of the text models, for a media kind its own and the policy, each with its overlay. A
    rollout changes no route of the files: what is tried out beside one is looked at when it is moved.
    """
    of_media = {*MEDIA_FILES.values(), *MEDIA_CODE_FILES.values()}
    if kind is None:
        names = [name for name in FILES if name not in of_media and name != ROLLOUTS_FILE]
    else:
        names = [MEDIA_FILES[kind], MEDIA_CODE_FILES[kind], _POLICY]
    return tuple(sorted([*names, *(name.replace(".yaml", ".local.yaml") for name in names)]))


def config_hashes(files: Mapping[str, str], kind: MediaModality | None) -> dict[str, str | None]:
    """Each file that the evidence of a kind rests on -> its SHA-256; None where there is no such file."""
    return {
        name: hashlib.sha256(files[name].encode()).hexdigest() if name in files else None
        for name in ground_files(kind)
    }


def _move(
    plan: Mapping[str, Any], task: str, tier: str, decision: Decision, arm: Arm, routing: Routing
) -> Move:
    """A task's move; a candidate with parameters of its own is the registry's model behind it, and they."""
    facts = [(plan.get("models") or {}).get(key) or {} for key in arm]
    chain = tuple(str(each.get("base", key)) for each, key in zip(facts, arm, strict=True))
    closed = _closed_channels(plan, task, chain, routing)
    params = facts[0].get("params") or {}
    return Move(task, tier, decision.terms.reference[0], decision.outcome, chain, closed, params)


def decide_tasks(results: pd.DataFrame, plan: Mapping[str, Any]) -> dict[str, Decision]:
    """Decide every task of a run, on the terms that its plan declares.

    Raises:
        SweepError: the rows or the plan cannot be judged.
    """
    tables = read_table(results)
    unplanned = [task for task in tables if task not in plan["tasks"]]
    if unplanned:
        raise SweepError(f"results: task {unplanned[0]} is not in the plan; use the plan of this run")
    return {task: _decide_task(task, tables.get(task), plan) for task in plan["tasks"]}


def _decide_task(task: str, rows: TaskRows | None, plan: Mapping[str, Any]) -> Decision:
    declared: Mapping[str, Any] = plan["tasks"][task]
    prompts: Mapping[str, Sequence[str]] = declared["prompts"]
    clusters = {prompt: cluster for cluster, names in prompts.items() for prompt in names}
    if rows is not None:
        _refuse_unplanned(task, rows, clusters, declared)
    units = make_units(list(clusters), clusters, largest=int(declared.get("largest_cluster", 1)))
    race = Race(_terms(plan, declared, rows), units, declared.get("budgets", ()))
    repeats = int(plan.get("repeats", 1))

    def answer(model: str, names: list[str]) -> dict[str, Any]:
        """A prompt counts once all of its repeats are there."""
        found = {} if rows is None else rows.answer(model, names)
        return {name: calls for name, calls in found.items() if len(calls) == repeats}

    finish(race, answer)
    resets = [
        text for text in plan.get("resets", ()) if text.startswith((f"{task}: ", *_models_of(declared)))
    ]
    return make_decision(race).noted([*(() if rows is None else rows.notes), *resets])


def _models_of(declared: Mapping[str, Any]) -> list[str]:
    return [f"{model} " for arm in (declared["chain"], *declared["arms"]) for model in arm]


def _terms(plan: Mapping[str, Any], declared: Mapping[str, Any], rows: TaskRows | None) -> Terms:
    constraints = Constraints.model_validate(declared.get("constraints", {}))
    is_judged = rows is not None and rows.is_judged
    return check_terms(
        Terms(
            reference=tuple(declared["chain"]),
            candidates=tuple(tuple(arm) for arm in declared["arms"]),
            margin=float(plan["margin"]),
            alpha=float(plan["alpha"]),
            family=plan.get("family", "task"),
            tasks=len(plan["tasks"]),
            batch=int(plan.get("batch", 10)),
            pilot=int(plan.get("pilot", 10)),
            stop=plan.get("stop", "grid"),
            human_share=plan.get("human_share") if is_judged else None,
            **constraints.terms(),
        )
    )


def _refuse_unplanned(
    task: str, rows: TaskRows, clusters: Mapping[str, str], declared: Mapping[str, Any]
) -> None:
    models = {model for arm in (declared["chain"], *declared["arms"]) for model in arm}
    other = sorted(set(rows.calls) - models)
    if other:
        raise SweepError(f"results: {task}: model {other[0]} is not a candidate of the plan")
    extra = [prompt for prompt in rows.prompts if prompt not in clusters]
    if extra:
        raise SweepError(f"results: {task}: sample {extra[0]} is not in the plan; use the plan of this run")
    for prompt, cluster in rows.clusters.items():
        if clusters[prompt] != cluster:
            raise SweepError(
                f"results: {task}: sample {prompt} is in cluster {cluster}, in the plan in {clusters[prompt]}"
            )


def _closed_channels(
    plan: Mapping[str, Any], task: str, arm: tuple[str, ...], routing: Routing
) -> dict[str, tuple[str, ...]]:
    """Channels that may not follow a move, with the models that they may not use."""
    constraints = Constraints.model_validate(plan["tasks"][task].get("constraints", {}))
    return constraints.closed_channels(routing.providers or {}, arm)


def _task_json(
    task: str, tier: str, proposed_tier: str, decision: Decision, plan: Mapping[str, Any]
) -> dict[str, Any]:
    reference = arm_name(decision.terms.reference)
    facts = decision_facts(decision)
    said = Said(task, tier, reference, proposed_tier, facts["choice"])
    return {
        "task": task,
        "tier": tier,
        "reference": reference,
        "proposed_tier": proposed_tier,
        "proposed_model": facts["choice"],
        "sentence": task_sentence(said, said_decision(decision)),
        "excluded": list(plan["tasks"][task].get("excluded", ())),
        **facts,
    }


def _header(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What was declared before the first call, for all tasks."""
    names = ("margin", "alpha", "family", "stop", "seed", "repeats", "pilot", "batch", "human_share")
    versions = {key: facts.get("version") for key, facts in (plan.get("models") or {}).items()}
    return {name: plan.get(name) for name in names} | {"models": versions}


def _judge(decisions: Mapping[str, Decision]) -> dict[str, list[str]]:
    """The tasks that a judge scored, and those of them that no person checked."""
    judged = [task for task, decision in decisions.items() if decision.is_judged]
    return {
        "judged_tasks": judged,
        "uncalibrated_tasks": [task for task in judged if not decisions[task].is_calibrated],
    }
