"""Budgets: what is admitted, what is held while a request is on its way, and what counts in the end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.catalog import BudgetLimits
from llmbench.config import load_config
from llmbench.errors import BudgetExceeded, ConfigError, ParamError, ProviderError
from llmbench.messages import Route
from llmbench.routing.budget import Budgets, within_budget


def budgets(**limits: float) -> Budgets:
    return Budgets(BudgetLimits(**limits))


def is_admitted(purse, worst_usd) -> bool:
    assert (purse.refusal(worst_usd) is None) == _reserves(purse, worst_usd)
    return purse.refusal(worst_usd) is None


def _reserves(purse, worst_usd) -> bool:
    try:
        purse.reserve("m", worst_usd).settle(0.0)
    except BudgetExceeded:
        return False
    return True


# ---- admission


def test_without_a_limit_everything_is_admitted_also_what_nobody_can_price():
    purse = budgets().open("r", "k")
    assert not purse.is_limited
    assert is_admitted(purse, None)
    assert is_admitted(purse, 1e9)
    with purse.reserve("m", None) as held:
        held.settle(3.0)


def test_what_fits_exactly_is_admitted_and_a_hair_more_is_not():
    purse = budgets(call_usd=0.3).open(None, None)
    for _ in range(3):
        purse.reserve("m", 0.1).settle(0.1)
    assert not is_admitted(purse, 1e-9)
    assert is_admitted(purse, 0.0)


def test_a_call_in_flight_counts_with_its_worst_case_and_then_with_its_cost():
    bank = budgets(run_usd=1.0)
    first, second = bank.open("r", None), bank.open("r", None)
    with first.reserve("m", 0.8) as held:
        assert not is_admitted(second, 0.3)
        held.settle(0.1)
        assert is_admitted(second, 0.9)
    assert is_admitted(second, 0.9)  # leaving the context does not settle again


def test_the_calls_own_limit_holds_over_all_its_attempts_and_for_no_other_call():
    bank = budgets(call_usd=1.0)
    call = bank.open(None, None)
    call.reserve("m", 0.7).settle(0.7)
    assert not is_admitted(call, 0.4)
    assert is_admitted(bank.open(None, None), 0.9)


def test_the_smaller_of_the_calls_argument_and_the_configs_limit_holds():
    bank = budgets(call_usd=1.0)
    assert not is_admitted(bank.open(None, None, 0.5), 0.6)
    assert not is_admitted(bank.open(None, None, 5.0), 1.1)
    assert is_admitted(budgets().open(None, None, 0.5), 0.5)
    assert not is_admitted(budgets().open(None, None, 0.0), 1e-6)


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_an_amount_that_is_none_is_refused(amount):
    with pytest.raises(ParamError, match="give an amount in USD"):
        budgets().open(None, None, amount)


def test_runs_and_routing_keys_have_an_account_each_and_calls_without_one_share():
    bank = budgets(run_usd=1.0, routing_key_usd=1.5)
    bank.open("r1", "k1").reserve("m", 0.9).settle(0.9)
    assert not is_admitted(bank.open("r1", "k2"), 0.2)
    assert not is_admitted(bank.open("r2", "k1"), 0.7)
    assert is_admitted(bank.open("r2", "k2"), 1.0)
    bank.open(None, None).reserve("m", 0.9).settle(0.9)
    assert not is_admitted(bank.open(None, "k2"), 0.2)


def test_a_request_that_one_account_refuses_is_held_in_none():
    bank = budgets(run_usd=1.0, routing_key_usd=0.5)
    with pytest.raises(BudgetExceeded):
        bank.open("r", "k").reserve("m", 0.8)
    assert is_admitted(bank.open("r", "other"), 0.5)


def test_new_limits_hold_for_the_next_call_and_what_was_spent_stays():
    bank = budgets(run_usd=1.0)
    bank.open("r", None).reserve("m", 0.9).settle(0.9)
    bank.limits = BudgetLimits(run_usd=2.0)
    assert is_admitted(bank.open("r", None), 1.1)
    assert not is_admitted(bank.open("r", None), 1.2)


def test_a_refusal_says_what_is_left_and_of_what():
    purse = budgets(run_usd=1.0).open("r7", None)
    purse.reserve("m", 0.9).settle(0.9)
    with pytest.raises(BudgetExceeded) as refused:
        purse.reserve("big", 0.25)
    left = "$0.100000 of the budget of run r7 of $1.000000"
    said = f"big: its worst case $0.250000 is more than what is left: {left}"
    assert str(refused.value) == said


@pytest.mark.parametrize("worst_usd", [None, float("inf"), float("nan")])
def test_under_a_limit_a_model_of_unknown_worst_case_is_refused_with_what_to_do(worst_usd):
    purse = budgets(call_usd=100.0).open(None, None)
    assert not is_admitted(purse, worst_usd)
    with pytest.raises(BudgetExceeded, match=r"m: .*give the model a price and the call max_tokens"):
        purse.reserve("m", worst_usd)


# ---- what counts in the end


def counted(*, settled=(), error: BaseException | None = None) -> float:
    """What a request of worst case 0.5 counts, in USD, found by asking what still fits."""
    purse = budgets(call_usd=1.0).open(None, None)
    failures = contextlib.suppress(ProviderError, ConfigError, asyncio.CancelledError)
    with failures, purse.reserve("m", 0.5) as held:
        for cost in settled:
            held.settle(cost)
        if error is not None:
            raise error
    return next(1.0 - left / 100 for left in range(100, -1, -1) if purse.refusal(left / 100) is None)


def test_a_known_cost_counts_and_an_unknown_one_counts_its_worst_case():
    assert counted(settled=[0.2]) == pytest.approx(0.2)
    assert counted(settled=[0.7]) == pytest.approx(0.7)  # dearer than thought: it was spent
    assert counted(settled=[None]) == pytest.approx(0.5)
    assert counted(settled=[float("nan")]) == pytest.approx(0.5)
    assert counted(settled=[0.2, 0.4]) == pytest.approx(0.2)
    assert counted() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("error", "usd"),
    [
        (ProviderError("x", kind="connect"), 0.0),
        (ProviderError("x", kind="circuit_open"), 0.0),
        (ProviderError("x", kind="auth"), 0.0),
        (ProviderError("x", kind="rate_limit", status_code=429), 0.0),
        (ProviderError("x", kind="bad_request", status_code=400), 0.0),
        (ProviderError("x", kind="server_error", status_code=503), 0.0),
        (ProviderError("x", kind="timeout"), 0.5),
        (ProviderError("x", kind="timeout", status_code=504), 0.5),
        (ProviderError("x", kind="malformed", status_code=200), 0.5),
        (ProviderError("x", kind="server_error", output="half an ans"), 0.5),
        (ProviderError("x", kind="truncated"), 0.5),
        (asyncio.CancelledError(), 0.5),
        (ConfigError("x"), 0.5),
    ],
    ids=repr,
)
def test_a_failure_counts_its_worst_case_unless_nobody_charges_for_it(error, usd):
    assert counted(error=error) == pytest.approx(usd)


def test_a_cost_that_was_told_before_a_failure_counts():
    assert counted(settled=[0.2], error=ProviderError("x", kind="invalid_output")) == pytest.approx(0.2)


def test_a_request_that_its_deadline_cuts_off_counts_its_worst_case():
    bank = budgets(run_usd=1.0)

    async def slow() -> None:
        with bank.open("r", None).reserve("m", 0.6):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)

    with pytest.raises(TimeoutError):
        asyncio.run(slow())
    assert not is_admitted(bank.open("r", None), 0.5)


# ---- the limit holds

AMOUNTS = st.integers(0, 50).map(lambda cents: cents / 100)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "settle", "fail", "leave"]),
        AMOUNTS,
        st.floats(0, 1),
        st.sampled_from(["r1", "r2", None]),
        st.sampled_from(["k1", None]),
    ),
    max_size=60,
)


class Books:
    """Our own count of what is settled and in flight, for every call, run and key."""

    def __init__(self, limits: BudgetLimits) -> None:
        self.caps = {"call": limits.call_usd, "run": limits.run_usd, "key": limits.routing_key_usd}
        self.taken: dict[tuple[str, object], float] = {}

    def has_room(self, accounts, usd: float) -> bool:
        caps = ((self.caps[account[0]], self.taken.get(account, 0.0)) for account in accounts)
        return all(cap is None or taken + usd <= cap + 1e-9 for cap, taken in caps)

    def add(self, accounts, usd: float) -> None:
        for account in accounts:
            self.taken[account] = self.taken.get(account, 0.0) + usd


@given(steps=STEPS, caps=st.tuples(*[st.none() | AMOUNTS.map(lambda usd: usd * 4)] * 3))
def test_settled_and_held_money_never_pass_a_limit_in_any_interleaving(steps, caps):
    """A request is admitted exactly when there is room for its worst case, in whatever order others end."""
    limits = BudgetLimits(*caps)
    bank, books, flying, numbers = Budgets(limits), Books(limits), [], count()
    for what, worst, share, run, key in steps:
        if what == "open":
            accounts = (("call", next(numbers)), ("run", run), ("key", key))
            has_room = books.has_room(accounts, worst)
            try:
                flying.append((bank.open(run, key).reserve("m", worst), worst, accounts))
            except BudgetExceeded:
                assert not has_room
            else:
                assert has_room
                books.add(accounts, worst)
        elif flying:
            held, reserved, accounts = flying.pop(int(share * (len(flying) - 1)))
            if what == "fail":
                held.__exit__(ProviderError, ProviderError("x", kind="connect"), None)
            else:
                held.settle(reserved * share if what == "settle" else None)
            books.add(accounts, {"settle": reserved * share, "fail": 0.0, "leave": reserved}[what] - reserved)
        assert books.has_room(books.taken, 0.0)


def test_threads_spend_a_budget_to_its_last_cent_and_not_beyond():
    bank, admitted = budgets(run_usd=5.0), []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(200):
            try:
                with bank.open("r", None).reserve("m", 0.01) as held:
                    if chance.random() < 0.5:
                        threading.Event().wait(0)
                    held.settle(0.01)
                admitted.append(1)
            except BudgetExceeded:
                pass

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 500
    assert not is_admitted(bank.open("r", None), 0.000001)


# ---- candidates

ROUTE = Route("caption", "cheap", ("big", "small", "odd"), ("why",), excluded=(("blind", "no vision"),))
WORST = {"big": 0.9, "small": 0.1, "odd": None}


def test_candidates_that_do_not_fit_are_left_out_with_the_reason_and_the_order_stays():
    route = within_budget(ROUTE, budgets(call_usd=0.5).open(None, None), WORST.get)
    assert route.candidates == ("small",)
    reasons = dict(route.excluded)
    assert reasons["blind"] == "no vision"
    assert "worst case $0.900000 is more than what is left: $0.500000 of the call's budget" in reasons["big"]
    assert "not known" in reasons["odd"]


def test_when_no_candidate_fits_nothing_is_sent_and_the_error_lists_them():
    with pytest.raises(
        BudgetExceeded, match=r"no candidate of task caption fits .*big: .*; small: .*; odd: "
    ):
        within_budget(ROUTE, budgets(call_usd=0.05).open(None, None), WORST.get)


def test_a_candidate_that_cannot_express_the_call_is_left_for_its_turn_to_say_so():
    def worst(key: str) -> float:
        if key == "odd":
            raise ParamError("odd takes no seed")
        return 0.9

    assert within_budget(ROUTE, budgets(call_usd=0.5).open(None, None), worst).candidates == ("odd",)


def test_without_a_limit_no_worst_case_is_computed():
    def refuse(_: str) -> float:
        raise AssertionError("computed")

    assert within_budget(ROUTE, budgets().open("r", "k"), refuse) is ROUTE


# ---- config


def test_the_limits_are_read_from_the_routers_defaults(write_configs):
    given = {"defaults": {"budgets": {"call_usd": 0.05, "run_usd": 5, "routing_key_usd": 0}}}
    config = load_config(write_configs(llm_router=given))
    assert config.budgets == BudgetLimits(0.05, 5.0, 0.0)
    assert load_config(write_configs(llm_router={"defaults": {}})).budgets == BudgetLimits()


@pytest.mark.parametrize(
    "wrong", [{"call_usd": -1}, {"call_usd": ".inf"}, {"run_usd": "much"}, {"run_used": 1}]
)
def test_a_wrong_limit_is_named_with_its_place(write_configs, wrong):
    with pytest.raises(ConfigError, match=r"llm_router\.yaml:\d+: .*budgets"):
        load_config(write_configs(llm_router={"defaults": {"budgets": wrong}}))
