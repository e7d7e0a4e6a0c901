"""The budget of a sweep: what is spent and held together never passes it, and nobody waits for nothing."""

from __future__ import annotations

import asyncio
import json
import math
import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.bench.account import Account, Hold, charged, worst_of_call
from llmbench.bench.cells import make_cells
from llmbench.bench.ledger import Ledger, read_ledger
from llmbench.bench.plan import Budget
from llmbench.bench.refusals import refuse_unready
from llmbench.catalog import Policy
from llmbench.errors import SweepError
from llmbench.messages import Attempt
from tests.sweep_project import frozen_plan, open_project_client, write_project
from tests.virtual_time import now, run_virtual

MICRO = 1e-6


@dataclass
class Spender:
    """A call: when it comes, what it may cost and does cost in millionths of a USD, when it gives up."""

    comes_s: float
    takes_s: float
    worst: int
    share: float
    gives_up_s: float | None
    hold: Hold | str | None = None
    spent: float = 0.0

    async def make(self, account: Account) -> None:
        await asyncio.sleep(self.comes_s)
        self.hold = await account.hold(self.worst * MICRO)
        if isinstance(self.hold, str):
            return
        cost = self.worst * MICRO  # of a call that was given up on nobody knows it
        try:
            await asyncio.sleep(self.takes_s)
            cost *= self.share
        finally:
            self.spent = cost
            account.settle(self.hold, cost)


spenders = st.builds(
    Spender,
    comes_s=st.integers(0, 9).map(float),
    takes_s=st.integers(0, 9).map(lambda n: n / 2 + 0.25),
    worst=st.integers(0, 40),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    gives_up_s=st.none() | st.integers(0, 15).map(float),
)


@given(
    calls=st.lists(spenders, min_size=1, max_size=25),
    cap=st.integers(0, 120),
    earlier=st.integers(0, 40),
    most_calls=st.none() | st.integers(0, 20),
)
def test_spent_and_held_never_pass_the_budget_and_whoever_fits_is_let_in(calls, cap, earlier, most_calls):
    async def work():
        account = Account(Budget(cap * MICRO, most_calls), spent_usd=earlier * MICRO, calls=3)
        tasks = [asyncio.create_task(call.make(account)) for call in calls]
        for task, call in zip(tasks, calls, strict=True):
            if call.gives_up_s is not None:
                asyncio.get_running_loop().call_later(call.gives_up_s, task.cancel)
        done = asyncio.gather(*tasks, return_exceptions=True)
        while not done.done():
            await asyncio.sleep(0.1)
            assert now() < 1100.0, "somebody waits for nothing"
            under_way = sum(
                call.worst
                for task, call in zip(tasks, calls, strict=True)
                if isinstance(call.hold, Hold) and not task.done()
            )
            assert round(account.spent_usd / MICRO, 6) + under_way <= max(cap, earlier)
        for end in await done:
            assert end is None or isinstance(end, asyncio.CancelledError)
        assert account.spent_usd == pytest.approx(earlier * MICRO + sum(call.spent for call in calls))
        sent = sum(isinstance(call.hold, Hold) for call in calls)
        assert account.calls == 3 + sent
        assert most_calls is None or account.calls <= max(most_calls, 3)
        for call in calls:
            if isinstance(call.hold, str) and "calls is used up" not in call.hold:
                assert call.worst * MICRO > cap * MICRO - account.spent_usd - 1e-12, "it would have fitted"

    run_virtual(work())


def test_a_call_that_does_not_fit_waits_for_money_that_comes_back():
    async def work():
        account = Account(Budget(1.0))
        first = await account.hold(0.7)
        waiting = asyncio.create_task(account.hold(0.7))
        await asyncio.sleep(1)
        assert not waiting.done()
        account.settle(first, 0.2)
        second = await waiting
        assert isinstance(second, Hold)
        account.settle(second, 0.7)
        refusal = await account.hold(0.7)
        assert refusal == "a call may cost 0.700000 USD, and 0.100000 of the budget of 1 USD is left"
        assert isinstance(await account.hold(0.1), Hold), "a cheaper one still fits"

    run_virtual(work())


def test_a_waiter_is_refused_when_no_call_is_under_way_that_could_give_money_back():
    async def work():
        account = Account(Budget(1.0))
        first = await account.hold(1.0)
        waiting = [asyncio.create_task(account.hold(0.5)) for _ in range(3)]
        await asyncio.sleep(1)
        waiting[0].cancel()
        account.settle(first, 1.0)
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError, str, str]

    run_virtual(work())


def test_what_is_released_is_neither_spent_nor_a_call():
    async def work():
        account = Account(Budget(1.0, 1))
        hold = await account.hold(1.0)
        assert await account.hold(0.0) == "the budget of 1 calls is used up"
        account.release(hold)
        assert (account.spent_usd, account.calls) == (0.0, 0)
        assert isinstance(await account.hold(1.0), Hold)

    run_virtual(work())


@pytest.mark.parametrize("worst", [None, math.inf, math.nan])
def test_a_call_of_which_nobody_knows_what_it_can_cost_is_not_sent_under_a_budget(worst):
    async def work():
        assert "is not known: give the model a price" in await Account(Budget(1.0)).hold(worst)
        assert isinstance(await Account(Budget(None, 5)).hold(worst), Hold), "calls alone can be counted"

    run_virtual(work())


def test_a_cost_above_the_worst_case_counts_in_full_and_ends_the_spending():
    async def work():
        account = Account(Budget(1.0))
        account.settle(await account.hold(0.1), 5.0)
        assert account.spent_usd == 5.0
        assert "0.000000 of the budget of 1 USD is left" in await account.hold(0.1)
        assert isinstance(await account.hold(0.0), str), "nothing is left for a free call either"

    run_virtual(work())


def test_a_hundred_thousand_small_sums_add_up_without_drift():
    async def work():
        account = Account(Budget(0.1))
        for _ in range(100_000):
            hold = await account.hold(MICRO)
            assert isinstance(hold, Hold)
            account.settle(hold, MICRO)
        assert account.spent_usd == 0.1
        assert isinstance(await account.hold(MICRO), str)

    run_virtual(work())


# ---- what a call costs


def attempt(**fields) -> Attempt:
    return Attempt("m", 1.0, **fields)


@pytest.mark.parametrize(
    ("fields", "usd"),
    [
        ({"cost_usd": 0.3}, 0.3),
        ({"cost_usd": None}, 1.0),  # an answer whose price nobody knows
        ({"cost_usd": math.inf}, 1.0),
        ({"cost_usd": math.nan, "error_kind": "malformed", "status_code": 200}, 1.0),
        ({"cost_usd": 0.2, "error_kind": "invalid_output", "status_code": 200}, 0.2),
        ({"error_kind": "malformed", "status_code": 200}, 1.0),
        ({"error_kind": "connect", "status_code": 200}, 1.0),  # it broke off within the answer
        ({"error_kind": "timeout"}, 1.0),
        ({"error_kind": "timeout", "status_code": 504}, 1.0),
        ({"error_kind": "cancelled"}, 1.0),
        ({"error_kind": "malformed"}, 1.0),
        ({"error_kind": "server_error", "status_code": 500}, 0.0),
        ({"error_kind": "rate_limit", "status_code": 429}, 0.0),
        ({"error_kind": "connect"}, 0.0),
        ({"error_kind": "circuit_open"}, 0.0),
        ({"error_kind": "auth"}, 0.0),
    ],
    ids=str,
)
def test_what_an_attempt_may_have_been_charged(fields, usd):
    assert charged([attempt(**fields)], 1.0) == usd
    assert charged([attempt(**fields), attempt(cost_usd=0.25)], 1.0) == usd + 0.25


def test_where_no_money_is_limited_what_nobody_knows_counts_nothing():
    assert charged([attempt(error_kind="timeout")], None) == 0.0


@pytest.mark.parametrize(
    ("policy", "requests"),
    [
        (Policy(transient_statuses=frozenset({429, 500})), 2),  # a code may say timeout with any status
        (Policy(transient_statuses=frozenset({429}), per_status_retry={429: 0}), 1),
        (Policy(transient_statuses=frozenset({504}), per_status_retry={504: 3}), 4),
        (Policy(transient_statuses=frozenset({408, 504}), per_status_retry={408: 1, 504: 2}), 3),
        (Policy(transient_statuses=frozenset({504}), per_status_retry={504: 9}, max_total_attempts=4), 4),
        (Policy(transient_statuses=frozenset(), per_status_retry={504: 9}), 1),
    ],
    ids=str,
)
def test_a_calls_worst_case_counts_the_retries_that_may_be_charged(policy, requests):
    assert worst_of_call(0.5, policy) == 0.5 * requests
    assert worst_of_call(None, policy) is None


# ---- earlier parts of a run


@given(seed=st.integers(0, 10_000))
def test_a_resumed_run_starts_from_what_its_lines_say(tmp_path_factory, seed):
    """Results and broken-off calls with what they cost, calls without an end with their worst case."""
    path, dice = tmp_path_factory.mktemp("bill") / "ledger.jsonl", random.Random(seed)
    usd, calls = 0.0, 0
    with Ledger(path).opened() as ledger:
        for number in range(dice.randint(0, 30)):
            run_id = dice.choice(["mine", "mine", "other"])
            worst, cost = dice.randint(0, 90) * MICRO, dice.randint(0, 40) * MICRO
            mark = {"intent_id": f"i{number}", "fingerprint": f"f{number % 7}", "cell": "c", "run_id": run_id}
            ledger.intent(mark | {"worst_usd": worst})
            end = dice.choice(["result", "pending", "none"])
            if end == "result":
                ledger.result(mark, {"status": "ok", "cost_usd": cost / 2, "charged_usd": cost})
            elif end == "pending":
                ledger.pending(mark, {"status": "harness", "charged_usd": cost})
            if run_id == "mine":
                calls, usd = calls + 1, usd + (worst if end == "none" else cost)
    bill = read_ledger(path, wanted={"f1"}, run_id="mine").bill
    assert (bill.usd, bill.calls) == (pytest.approx(usd, abs=1e-15), calls)
    assert read_ledger(path).bill.calls == 0


def test_a_torn_end_counts_as_a_call_under_way(tmp_path):
    path = tmp_path / "ledger.jsonl"
    mark = {"intent_id": "i", "fingerprint": "f", "cell": "c", "run_id": "mine"}
    with Ledger(path).opened() as ledger:
        ledger.intent(mark | {"worst_usd": 0.25})
        ledger.result(mark, {"status": "ok", "charged_usd": 0.01})
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert read_ledger(path, run_id="mine").bill.usd == 0.25


def test_a_ledger_written_before_there_were_budgets_counts_its_costs(tmp_path):
    path = tmp_path / "ledger.jsonl"
    mark = {"intent_id": "i", "fingerprint": "f", "cell": "c", "run_id": "mine"}
    lines = [
        {"type": "intent", **mark},
        {"type": "result", **mark, "status": "ok", "cost_usd": 0.5},
        {"type": "intent", **mark, "intent_id": "j"},
        {"type": "result", **mark, "intent_id": "j", "status": "error", "cost_usd": None},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    bill = read_ledger(path, run_id="mine").bill
    assert (bill.usd, bill.calls) == (0.5, 2)


# ---- plans without one


def refusal_of(project, **changes) -> str | None:
    with open_project_client(project) as client:
        plan = replace(frozen_plan(project, client), **changes)
        try:
            refuse_unready(plan, client, make_cells(plan, client))
        except SweepError as error:
            return str(error)
    return None


def test_a_paid_provider_without_a_budget_is_refused_and_named(tmp_path):
    project = write_project(tmp_path, 9)
    assert refusal_of(project) is None
    said = refusal_of(project, budget=Budget())
    assert "calls alpha, beta, which may cost money" in said
    assert "budget: {usd:" in said
    assert "alpha, beta" in refusal_of(project, budget=Budget(None, 1000)), "calls are no money"


@pytest.mark.parametrize(
    ("price", "is_free"),
    [(None, True), ({"input": 0.0, "output": 0.0}, True), ({"input": 0.0, "output": 0.1}, False)],
)
def test_a_host_on_this_machine_without_a_price_needs_no_budget(tmp_path, price, is_free):
    project = write_project(tmp_path, 9, price=price)
    assert (refusal_of(project, budget=Budget()) is None) == is_free


def test_under_a_budget_a_paid_model_without_a_known_worst_case_is_refused(tmp_path):
    project = write_project(tmp_path, 9, price={"input": 1.0})  # and no price of an answer
    said = refusal_of(project)
    assert "the most that a call to alpha can cost is not known" in said
    assert "`max_tokens`" in said
