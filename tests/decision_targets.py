"""Runs `decide` on simulated sweeps and holds what it does against the promises, one row a target."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
from scipy.stats import binom

from llmbench.bench.decide import decide
from tests.decision_scenarios import ALTERNATIVES, MARGIN, NULLS, REPORT_TASKS, SCENARIOS, Scenario
from tests.decision_sweeps import Sweep

ALPHA = 0.05
#: Prompts drawn where a sweep is made longer; a longer top-up than that counts as not resolved.
LONGEST = 100_000


@dataclass(frozen=True, slots=True)
class Seen:
    """What one simulated decision came to, once its count of calls and its intervals were checked.

    Attributes:
        is_false: an arm was promoted that is worse than the margin allows, or too slow.
        is_right: the outcome is the one that the truth asks for, and not inconclusive.
        calls: prompts called, over all models.
        grid: calls of the grid of all models and prompts.
        covered: of each candidate that was tried, whether the interval shown holds the true difference.
    """

    outcome: str
    is_false: bool
    is_right: bool
    calls: int
    grid: int
    covered: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One target on one scenario; `measured` is a share, or a mean of calls where the claim says so."""

    target: int
    scenario: str
    kind: str
    sweeps: int
    claim: str
    measured: float
    is_held: bool


# --- one decision ---------------------------------------------------------------------------------------


def decide_once(scenario: Scenario, seed: int) -> Seen:
    """One sweep of a scenario, decided as it is meant to be."""
    sweep = Sweep(scenario.world, seed)
    decision = ask(scenario, sweep.pull, sweep.prompts, clusters=sweep.clusters)
    called = {model: len(prompts) for model, prompts in sweep.called.items()}
    told = {model: count for model, count in decision.calls.items() if count}
    if told != called:
        raise AssertionError(f"{scenario.name}, seed {seed}: {told} calls told, {called} made")
    _check_intervals(scenario, seed, decision)
    return _seen(scenario, decision)


def _check_intervals(scenario: Scenario, seed: int, decision: Any) -> None:
    """The interval shown is above the margin exactly where a candidate is promoted, latency aside."""
    for name, why in decision.why.items():
        is_above, is_promoted = why.interval[0] > -MARGIN, why.state == "promote"
        if is_above != is_promoted and (is_promoted or "slo" not in scenario.options):
            raise AssertionError(f"{scenario.name}, seed {seed}: {name} {why.state}, interval {why.interval}")


def ask(scenario: Scenario, pull: Callable[..., pd.DataFrame], prompts: Sequence[str], **options: Any) -> Any:
    """`decide` on a scenario's models with its own options."""
    given = {"candidates": scenario.world.candidates, **scenario.options, **options}
    return decide(
        pull, list(prompts), reference=scenario.world.reference, margin=MARGIN, alpha=ALPHA, **given
    )


def _seen(scenario: Scenario, decision: Any) -> Seen:
    is_promoted = decision.outcome == "promote"
    wanted = "promote" if scenario.acceptable else "keep"
    tried = {name: why for name, why in decision.why.items() if why.n > 0}
    return Seen(
        outcome=decision.outcome,
        is_false=is_promoted and decision.choice not in scenario.acceptable,
        is_right=decision.outcome == wanted and decision.choice == scenario.right,
        calls=sum(decision.calls.values()),
        grid=scenario.world.prompts * len(scenario.world.models),
        covered=tuple(
            why.interval[0] - 1e-9 <= scenario.truths[name].delta <= why.interval[1] + 1e-9
            for name, why in tried.items()
        ),
    )


def run_sweeps(
    scenario: Scenario, sweeps: int, *, once: Callable[..., Any] = decide_once, workers: int = 1
) -> list[Any]:
    """`once` on the sweeps with seeds 0, 1, .. of a scenario, in other processes when there are workers."""
    if workers <= 1:
        return [once(scenario, seed) for seed in range(sweeps)]
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=fresh) as pool:
        return list(pool.map(partial(once, scenario), range(sweeps), chunksize=max(sweeps // 20, 1)))


# --- the naive ways -------------------------------------------------------------------------------------


def naive_failures_dropped(scenario: Scenario, seed: int, *, dropped: Sequence[str] = ("error",)) -> bool:
    """Whether an arm is falsely promoted when prompts with a failed call are taken out of the table."""
    sweep = Sweep(scenario.world, seed)
    failed = [sweep.table(model.name)["status"].isin(dropped).to_numpy() for model in scenario.world.models]
    prompts = [prompt for prompt, *flags in zip(sweep.prompts, *failed, strict=True) if not any(flags)]
    return _seen(scenario, ask(scenario, sweep.pull, prompts)).is_false


naive_timeouts_dropped = partial(naive_failures_dropped, dropped=("timeout",))


def naive_clusters_ignored(scenario: Scenario, seed: int) -> bool:
    """Whether an arm is falsely promoted when every prompt counts as a cluster of its own."""
    sweep = Sweep(scenario.world, seed)
    return _seen(scenario, ask(scenario, sweep.pull, sweep.prompts)).is_false


def naive_repeats_as_rows(scenario: Scenario, seed: int) -> bool:
    """Whether an arm is falsely promoted when every repeat counts as a prompt of its own."""
    sweep = Sweep(scenario.world, seed)

    def pull(model: str, ids: Sequence[str]) -> pd.DataFrame:
        table = sweep.table(model)
        names = table["prompt_id"].astype(str) + "#" + table["epoch"].astype(str)
        return table.assign(prompt_id=names, epoch=0).set_index(names).loc[list(ids)]

    repeats = [f"{prompt}#{epoch}" for prompt in sweep.prompts for epoch in range(scenario.world.epochs)]
    return _seen(scenario, ask(scenario, pull, repeats)).is_false


def naive_each_alone(scenario: Scenario, seed: int) -> bool:
    """Whether any arm is falsely promoted when each candidate is tested as if it were the only one."""
    sweep = Sweep(scenario.world, seed)
    alone = (
        ask(scenario, sweep.pull, sweep.prompts, clusters=sweep.clusters, candidates=[name])
        for name in scenario.world.candidates
    )
    return any(_seen(scenario, decision).is_false for decision in alone)


NAIVE: dict[str, tuple[str, Callable[[Scenario, int], bool]]] = {
    "null_failures": ("failures dropped", naive_failures_dropped),
    "null_timeouts": ("timeouts dropped", naive_timeouts_dropped),
    "null_clusters": ("clusters ignored", naive_clusters_ignored),
    "null_epochs": ("repeats as rows", naive_repeats_as_rows),
    "null_k6_high": ("alpha not divided", naive_each_alone),
}


# --- rows -----------------------------------------------------------------------------------------------


def most_false(sweeps: int, rate: float = ALPHA) -> int:
    """The count that a correct rule exceeds once in a thousand tries."""
    return int(binom.ppf(0.999, sweeps, rate))


def rows_of(scenario: Scenario, sweeps: int, *, workers: int = 1) -> list[Row]:
    """All targets that one scenario is held against, and its plain figures where it has none."""
    seen = run_sweeps(scenario, sweeps, workers=workers)
    right = _share(one.is_right for one in seen)
    calls = sum(one.calls for one in seen) / sweeps
    saved = 1.0 - calls / seen[0].grid
    count, most = sum(one.is_false for one in seen), most_false(sweeps)
    rows = [
        Row(1, scenario.name, scenario.kind, sweeps,
            f"false promotions, at most {most} of {sweeps}", count / sweeps, count <= most)
    ]  # fmt: skip

    def hold(target: int, claim: str, measured: float, *, is_held: bool) -> None:
        if target in scenario.targets:
            rows.append(Row(target, scenario.name, scenario.kind, sweeps, claim, measured, is_held))

    least = 0.70 if len(scenario.world.candidates) == 1 else 0.80
    hold(3, f"calls saved, at least {least:.0%}", saved, is_held=saved >= least)
    hold(4, "right choice, at least 97%", right, is_held=right >= 0.97)
    hold(5, "promoted, at least 88%", right, is_held=right >= 0.88)
    hold(5, "calls, at most 950", calls, is_held=calls <= 950.0)
    inside = sum(all(one.covered) for one in seen)
    claim = f"interval holds the truth, at least 95%: {sweeps - most} of {sweeps}"
    hold(6, claim, inside / sweeps, is_held=inside >= sweeps - most)  # the same slack as for false promotions
    if scenario.kind == "alternative" and not {3, 4, 5} & set(scenario.targets):
        rows.append(Row(0, scenario.name, scenario.kind, sweeps, "right choice", right, True))
    if scenario.kind == "alternative" and not {3, 5} & set(scenario.targets):
        rows.append(Row(0, scenario.name, scenario.kind, sweeps, "calls saved", saved, True))
    return rows


def report_row(sweeps: int, *, workers: int = 1) -> Row:
    """Target 2: ten tasks in one report, all null; any false promotion in it counts."""
    runs = [run_sweeps(task, sweeps, workers=workers) for task in REPORT_TASKS]
    count = sum(any(one.is_false for one in report) for report in zip(*runs, strict=True))
    most = most_false(sweeps)
    claim = f"reports with a false promotion, at most {most} of {sweeps}"
    return Row(2, "multi_null", "null", sweeps, claim, count / sweeps, count <= most)


def naive_row(name: str, sweeps: int, *, workers: int = 1) -> Row:
    """Target 8: the share of false promotions of the naive way, which shows what the scenario can tell."""
    way, once = NAIVE[name]
    count = sum(run_sweeps(SCENARIOS[name], sweeps, once=once, workers=workers))
    claim = f"false promotions with {way}, at least 15%"
    return Row(8, name, "naive", sweeps, claim, count / sweeps, count >= 0.15 * sweeps)


def topped_up(scenario: Scenario, seed: int, *, first: int) -> bool | None:
    """Whether an inconclusive sweep promotes after the top-up it asked for; None: it asked for none."""
    sweep = Sweep(scenario.world, seed)
    before = ask(scenario, sweep.pull, sweep.prompts[:first])
    more = before.why[scenario.right].needs_more
    if before.outcome != "inconclusive" or more is None:
        return None
    if first + more > LONGEST:
        return False
    after = ask(scenario, sweep.pull, sweep.prompts[: first + more], budgets=(first,))
    return bool(after.outcome == "promote")


def top_up_row(first: int, sweeps: int, *, workers: int = 1) -> Row:
    """Target 9: of the sweeps of `alt_equal` that ask for more prompts, how many promote with them."""
    once = partial(topped_up, first=first)
    told = run_sweeps(_longer(SCENARIOS["alt_equal"]), sweeps, once=once, workers=workers)
    resolved = [one for one in told if one is not None]
    share = _share(resolved)
    claim = f"of {len(resolved)} top-ups after {first} prompts, promoted at least 75%"
    return Row(9, "alt_equal", "alternative", sweeps, claim, share, share >= 0.75)


def _longer(scenario: Scenario) -> Scenario:
    return replace(scenario, world=replace(scenario.world, prompts=LONGEST))


def _share(flags: Iterable[bool]) -> float:
    counted = list(flags)
    return sum(counted) / len(counted) if counted else 0.0


def all_rows(sweeps: int, *, workers: int = 1) -> Iterator[Row]:
    """Every target on every scenario, one after the other."""
    for scenario in (*NULLS, *ALTERNATIVES):
        yield from rows_of(scenario, sweeps, workers=workers)
    yield report_row(sweeps, workers=workers)
    for name in NAIVE:
        yield naive_row(name, sweeps, workers=workers)
    for first in (150, 300):
        yield top_up_row(first, sweeps, workers=workers)
