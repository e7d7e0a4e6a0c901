"""A forked child inherits what was learned and spent, and nothing of what its parent has under way."""

from __future__ import annotations

import asyncio
import os
import signal
import warnings
from collections.abc import Callable

import pytest

from llmbench.catalog import Breaker, BudgetLimits
from llmbench.errors import ProviderError
from llmbench.routing.breaker import Circuits
from llmbench.routing.budget import Budgets


def holds_in_a_child(claim: Callable[[], bool]) -> bool:
    """Whether a claim is true in a forked child, which has five seconds to say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests may have left threads
        child = os.fork()
    if child == 0:
        signal.alarm(5)
        try:
            os._exit(0 if claim() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


def enter(circuits: Circuits, model: str):
    return asyncio.run(circuits.enter(model, 0.01, lambda _: True))


def test_a_child_waits_for_no_call_and_no_trial_of_its_parents():
    clock = [1000.0]
    circuits = Circuits(Breaker(failures=2, cooldown_s=10), lambda: clock[0])
    for _ in range(2):
        circuits.learn("tried", "connect")
    circuits.learn("new", "timeout")
    clock[0] += 10
    under_way = [enter(circuits, "tried"), enter(circuits, "new")]

    def claim() -> bool:
        for place in under_way:
            circuits.leave(place)  # of the parent's: it takes nobody's place away
        mine = enter(circuits, "new")
        with pytest.raises(ProviderError, match="failures only"):
            enter(circuits, "new")
        circuits.learn("new", "timeout")
        circuits.leave(mine)
        return circuits.is_open("new") and enter(circuits, "tried").is_trial

    assert holds_in_a_child(claim)


def test_a_child_needs_no_lock_that_its_parent_holds():
    circuits, budgets = Circuits(Breaker()), Budgets(BudgetLimits(run_usd=1.0))
    with circuits._guard, budgets.guard():  # as another thread of the parent may, at that moment
        assert holds_in_a_child(lambda: bool(enter(circuits, "a")) and budgets.open("r", None).is_limited)


def test_a_child_starts_with_what_was_spent_and_nothing_held():
    budgets = Budgets(BudgetLimits(run_usd=1.0))
    budgets.open("r", None).reserve("m", 0.4).settle(0.4)
    held = budgets.open("r", None).reserve("m", 0.5)

    def claim() -> bool:
        purse = budgets.open("r", None)
        held.settle(0.0)  # the parent's request is the parent's to pay
        return purse.refusal(0.6) is None and purse.refusal(0.61) is not None

    assert holds_in_a_child(claim)
    assert budgets.open("r", None).refusal(0.2) is not None
