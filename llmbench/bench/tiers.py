"""Which tier a proved task moves to, and what becomes of each tier. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from llmbench.bench.terms import arm_name

LADDER: Final = ("heavy_reasoning", "standard", "cheap")
"""The tiers that tasks move between, dearest first; others are left alone."""


@dataclass(frozen=True, slots=True)
class Move:
    """A task that leaves its reference for another model.

    Attributes:
        task: its name.
        tier: its tier today.
        reference: the first model that serves it today.
        outcome: promote or demote.
        chain: the model to move to, or a fallback chain.
        closed_channels: channels that may not use it and stay as they are -> the models they may not use.
        params: what it is to be asked with for this task, where parameters were tried.
    """

    task: str
    tier: str
    reference: str
    outcome: str
    chain: tuple[str, ...]
    closed_channels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The first model of the chain."""
        return self.chain[0]


def settle(
    moves: Sequence[Move],
    measured: Sequence[str],
    tiers: Mapping[str, Sequence[str]],
    served: Mapping[str, str],
    pinned: Collection[str],
) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Where each task goes, and what becomes of each tier.

    A task does not move into a tier that gets another first model in the same proposal: it would be served
    by a model that nobody proved for it. It stays, with a list of its own.
    """
    kept: set[str] = set()
    while True:
        destinations = {
            move.task: _destination(move, tiers, is_pinned=move.task in pinned or move.task in kept)
            for move in moves
        }
        staying = [m for m in moves if destinations[m.task] == m.tier and m.task not in pinned]
        names = dict.fromkeys([*(name for name in tiers if name in LADDER), *(m.tier for m in moves)])
        rows = [
            tier_row(tier, moves, staying, measured, tiers, served, destinations, LADDER) for tier in names
        ]
        firsts = {row["tier"]: row["proposed_first"] for row in rows if row["changed"]}
        swept = {
            m.task
            for m in moves
            if destinations[m.task] != m.tier and firsts.get(destinations[m.task], m.model) != m.model
        }
        if not swept:
            return destinations, rows
        kept |= swept


def _destination(move: Move, tiers: Mapping[str, Sequence[str]], *, is_pinned: bool) -> str:
    """The tier that a task moves to: down the ladder for less money, up for more quality, else none."""
    if is_pinned or move.tier not in LADDER:
        return move.tier
    place = LADDER.index(move.tier)
    others = LADDER[:place:-1] if move.outcome == "promote" else LADDER[:place][::-1]
    for tier in others:
        if tuple(tiers.get(tier, ()))[: len(move.chain)] == move.chain:
            return tier
    return move.tier


def tier_row(
    tier: str,
    moves: Sequence[Move],
    staying: Sequence[Move],
    measured: Sequence[str],
    tiers: Mapping[str, Sequence[str]],
    task_tiers: Mapping[str, str],
    destinations: Mapping[str, str],
    changeable: Collection[str],
) -> dict[str, Any]:
    """What becomes of one tier, as a row of recommendation.json.

    Args:
        tier: its name.
        moves: every move of the run.
        staying: those of them that leave their task in its tier and without a list of its own.
        measured: every task of the run.
        tiers: tier -> the models that could be called.
        task_tiers: task -> tier, of the tasks that their tier serves.
        destinations: task -> the tier that it would be in.
        changeable: the tiers that may get a new first model.
    """
    first = next(iter(tiers.get(tier, ())), None)
    tasks = sorted({task for task, name in task_tiers.items() if name == tier})
    here = [task for task in measured if task in tasks]
    won = [move for move in moves if move.tier == tier and move.outcome == "promote"]
    promoted = {move.task: arm_name(move.chain) for move in won}
    inside = {move.task: arm_name(move.chain) for move in staying if move.task in promoted}
    leader = _leader(inside or promoted)
    blocking = [task for task in tasks if leader is not None and promoted.get(task) != leader]
    is_model = any(move.chain == (leader,) for move in staying)  # a chain is no first model of a tier
    agreed = bool(here) and all(inside.get(task) == leader for task in tasks)
    changed = tier in changeable and is_model and leader != first and agreed
    if changed:
        sentence = f"Put {leader} before {first} in {tier}: proved for every task of it ({', '.join(here)})."
    elif not here:
        sentence = f"{tier} keeps {first}: none of its tasks was measured."
    elif leader is None:
        sentence = f"{tier} keeps {first}: no measured task of it moves to a cheaper model."
    elif blocking:
        winners = ", ".join(task for task in here if promoted.get(task) == leader)
        losers = ", ".join(task if task in here else f"{task} (not measured)" for task in blocking)
        sentence = f"{tier} keeps {first}: {leader} is proved for {winners}, but not for {losers}."
    else:
        places = ", ".join(dict.fromkeys(destinations[task] for task in here))
        sentence = (
            f"{tier} keeps {first}: every task of it moves to {places} instead."
            if places != tier
            else f"{tier} keeps {first}: {leader} is put first for each of its tasks alone."
        )
    return {
        "tier": tier,
        "first": first,
        "proposed_first": leader if changed else first,
        "changed": changed,
        "blocking_tasks": blocking,
        "sentence": sentence,
    }


def _leader(models: Mapping[str, str]) -> str | None:
    """The model promoted for most tasks; of equals the first by name."""
    counts = Counter(models.values())
    return min(counts, key=lambda model: (-counts[model], model), default=None)
