"""The unit of the statistics: prompts that belong together, in calling order."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmbench.errors import SweepError


@dataclass(frozen=True, slots=True)
class Unit:
    """Prompts that belong together: a cluster of that name, or one prompt. `largest`: of all clusters."""

    name: str
    prompts: tuple[str, ...]
    largest: int

    def weight(self, counted: int) -> float:
        """Its weight when so many of its prompts have results."""
        return counted / self.largest


def make_units(
    prompts: Sequence[str],
    clusters: Mapping[str, str] | None,
    *,
    seed: int | None = None,
    largest: int = 1,
    budgets: Sequence[int] = (),
) -> list[Unit]:
    """Group prompts by cluster, in the order in which each cluster comes first; no cluster: one a prompt.

    Args:
        prompts: names of the prompts.
        clusters: prompt -> cluster; a prompt that it lacks stands alone.
        seed: puts the clusters into an order that depends on it and on their names alone.
        budgets: units of earlier plans: each part stays in its place, and only its own order is shuffled, so
            that what was called first is still first. New prompts stand at the end.
        largest: prompts of the largest cluster that may ever come; at least that of those given.

    Raises:
        SweepError: there is no prompt, or one stands twice.
    """
    if not prompts:
        raise SweepError("decide: no prompts were given")
    groups: dict[tuple[bool, str], list[str]] = {}
    for prompt in prompts:
        cluster = (clusters or {}).get(prompt)
        groups.setdefault((cluster is None, prompt if cluster is None else cluster), []).append(prompt)
    if len(set(prompts)) != len(prompts):
        twice = next(prompt for prompt, n in Counter(prompts).items() if n > 1)
        raise SweepError(f"decide: prompt {twice} stands twice")
    largest = max(largest, *map(len, groups.values()))
    units = [Unit(name, tuple(group), largest) for (_, name), group in groups.items()]
    return units if seed is None else _shuffled(units, seed, budgets)


def _shuffled(units: Sequence[Unit], seed: int, budgets: Sequence[int]) -> list[Unit]:
    cuts = [0, *sorted(n for n in set(budgets) if 0 < n < len(units)), len(units)]
    shuffled: list[Unit] = []
    for start, stop in itertools.pairwise(cuts):
        part = units[start:stop]
        shuffled += sorted(part, key=lambda unit: hashlib.sha256(f"{seed}\n{unit.name}".encode()).digest())
    return shuffled
