"""`decide`: which of the candidates may take a task over, with a stated error rate and the fewest calls.

The rule stands in `race` and `trial`, the evidence in `evidence`. What is proved is proved at every look:
P(a candidate worse by the margin or more is ever promoted) <= alpha, for each task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import pandas as pd

from llmbench.bench.decision import Decision, make_decision
from llmbench.bench.measured import Call, read_calls
from llmbench.bench.race import Race
from llmbench.bench.table import TaskRows
from llmbench.bench.terms import Family, Stop, Terms, arm_of, arms_of, as_slo, check_terms
from llmbench.bench.units import make_units

Pull = Callable[[str, list[str]], pd.DataFrame]
_TRIES: Final = 3
"""How often a call that our own side spoiled (status `harness`) is asked for."""


def decide(
    pull: Pull,
    prompts: Sequence[str],
    *,
    reference: str | Sequence[str],
    candidates: Sequence[str | Sequence[str]],
    clusters: Mapping[str, str] | None = None,
    margin: float = 0.05,
    alpha: float = 0.05,
    slo: tuple[float, float] | None = None,
    floor: float | None = None,
    max_failure: float | None = None,
    min_saving: float = 0.0,
    upgrade: float | None = None,
    family: Family = "task",
    tasks: int = 1,
    batch: int = 10,
    pilot: int = 10,
    seed: int | None = None,
    budgets: Sequence[int] = (),
    stop: Stop = "decided",
    human_share: float | None = None,
    max_cost_usd: float | None = None,
    largest_cluster: int = 1,
) -> Decision:
    """Decide whether a cheaper candidate may take over from the reference, calling as little as needed.

    Args:
        pull: gives the results of one model on some prompts: a frame with prompt_id, score (0..1),
            latency_ms, cost_usd, status (`ok`, `error`, `timeout`, or `harness` for what our own side
            spoiled), and epoch where prompts are repeated. With `preference` (a judge's verdict against the
            reference, in [-1, 1], both orders averaged) that is compared instead of scores.
        prompts: every prompt that may be called, a random sample of the task's traffic.
        reference: what the task is routed to today: a model, or a chain as a tuple of models.
        candidates: models or chains that could take over, in any order: their measured cost decides.
        clusters: prompt -> cluster, where prompts belong together (one source text, near-duplicates).
        margin: loss of quality that would be accepted, on 0..1.
        alpha: chance allowed of promoting any candidate that is worse by the margin or more.
        slo: (milliseconds, share): so many calls must be answered in that time.
        floor: mean score that the candidate must keep.
        max_failure: share of failed calls that it must not pass.
        min_saving: share of the cost that it must save.
        upgrade: gain of quality by which a dearer candidate must be proved better to be proposed instead.
        family: `report` shares alpha between the `tasks` of a report.
        tasks: how many tasks the report has.
        batch: prompts between two looks.
        pilot: prompts that every candidate gets first.
        seed: of the order of clusters; None calls the prompts in the order given.
        budgets: clusters planned when the same prompts were decided on before, so that more prompts can be
            added at the end of `prompts` without losing validity; `Decision.budgets` has them.
        stop: `grid` calls every candidate on every prompt, whatever is decided on the way.
        human_share: share of the prompts on which the column `human` holds a person's verdict; they must
            have been drawn at random with this chance before anybody looked.
        max_cost_usd: US dollars that a call may cost on average.
        largest_cluster: prompts of the largest cluster that may ever come, where more prompts may be added
            later: a larger one than all before would rescale the bets made.

    Raises:
        SweepError: the terms cannot be decided on, or `pull` gave rows that cannot be used.
    """
    terms = check_terms(
        Terms(
            reference=arm_of(reference),
            candidates=arms_of(candidates),
            margin=margin,
            alpha=alpha,
            slo=as_slo(slo),
            floor=floor,
            max_failure=max_failure,
            min_saving=min_saving,
            max_cost_usd=max_cost_usd,
            upgrade=upgrade,
            family=family,
            tasks=tasks,
            batch=batch,
            pilot=pilot,
            human_share=human_share,
            stop=stop,
        )
    )
    names = [str(prompt) for prompt in prompts]
    groups = {str(p): str(name) for p, name in (clusters or {}).items() if name is not None and name == name}
    units = make_units(names, groups, seed=seed, budgets=budgets, largest=largest_cluster)
    race = Race(terms, units, budgets)
    originals = dict(zip(names, prompts, strict=True))

    def answer(model: str, wanted: list[str]) -> dict[str, list[Call]]:
        return read_calls(pull(model, [originals[name] for name in wanted]), model, wanted)

    finish(race, answer)
    return make_decision(race)


def decide_rows(
    rows: TaskRows, terms: Terms, *, budgets: Sequence[int] = (), seed: int | None = None
) -> Decision:
    """Decide a task over a finished table: as a sequential run did on the same rows in the same order.

    Args:
        rows: the task's rows.
        terms: what was declared.
        budgets: clusters planned, where the table holds fewer because the sweep stopped when it was decided.
        seed: of the order of clusters; None takes the table's own, which is that of the calls.

    Raises:
        SweepError: the terms cannot be decided on.
    """
    race = Race(
        check_terms(terms), make_units(list(rows.prompts), rows.clusters, seed=seed, budgets=budgets), budgets
    )
    finish(race, rows.answer)
    return make_decision(race).noted(rows.notes)


def finish(race: Race, answer: Callable[[str, list[str]], Mapping[str, Sequence[Call]]]) -> None:
    """Drive a race to its end.

    Args:
        race: the race, not yet begun.
        answer: gives the repeats of a model on some prompts; what is missing has no result. A call that our
            own side spoiled (status `harness`) is asked for again, twice at most.
    """
    for wants in race.run():
        for model, prompts in wants:
            found = dict(answer(model, prompts))
            for _ in range(_TRIES - 1):
                spoiled = [p for p in prompts if any(call.status == "harness" for call in found.get(p, ()))]
                if not spoiled:
                    break
                found |= answer(model, spoiled)
            race.measured.add(model, prompts, found)
