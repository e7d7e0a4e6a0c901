"""The door to a provider by the minute, and whatever happens to those who wait: no place is ever lost."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.bench.throttle import is_refusal
from llmbench.catalog import Limits
from llmbench.messages import RateLeft
from llmbench.providers.pacing import WINDOW_S
from tests.throttle_calls import Call, door_of, make_all, sent_at
from tests.virtual_time import now, run_virtual

# ---- by the minute


@given(
    tokens=st.lists(st.integers(0, 150), min_size=1, max_size=25),
    requests_pm=st.none() | st.integers(1, 6),
    tokens_pm=st.none() | st.integers(100, 300),
)
def test_no_minute_holds_more_requests_or_tokens_than_the_limits(tokens, requests_pm, tokens_pm):
    async def work():
        door = door_of(Limits(requests_pm, tokens_pm, 5))
        calls = await make_all(door, [Call(tokens=count) for count in tokens])
        for first in calls:
            window = [c for c in calls if first.sent_s <= c.sent_s < first.sent_s + WINDOW_S - 0.01]
            assert requests_pm is None or len(window) <= requests_pm
            assert tokens_pm is None or sum(c.tokens for c in window) <= max(tokens_pm, first.tokens)
        assert door.in_flight == 0
        late = [call for call in calls if call.sent_s > 1 + calls.index(call)]
        assert all(call.place.is_throttled for call in late)

    run_virtual(work())


def test_a_call_that_waits_for_its_minute_keeps_a_pause_that_begins_meanwhile():
    async def work():
        door = door_of(Limits(requests_per_minute=2, concurrency=8))
        refused = Call(takes_s=50.0, is_refused=True, wait_s=40.0)  # from 50 to 90 nothing may go
        calls = [refused, Call(), *[Call(takes_s=3.0) for _ in range(3)]]
        await make_all(door, calls)
        later = sent_at(calls[2:])
        assert later[0] >= 90.0, later
        assert later[1] >= later[0] + 3.0, "one goes first, the others when it was answered"

    run_virtual(work())


# ---- no place is lost


call = st.fixed_dictionaries(
    {
        "comes_s": st.integers(0, 40).map(lambda tenths: tenths / 10),
        "takes_s": st.integers(0, 20).map(lambda tenths: tenths / 10),
        "is_refused": st.booleans(),
        "wait_s": st.sampled_from([None, 0.0, 0.3, 2.0]),
        "left": st.sampled_from(
            [None, RateLeft(0, None, 0.7), RateLeft(1, 9, 1.5), RateLeft(2, 0, 0.4), RateLeft(99, None, 3.0)]
        ),
    }
)


@given(
    schedule=st.lists(st.tuples(call, st.none() | st.integers(0, 60)), min_size=1, max_size=30),
    concurrency=st.none() | st.integers(1, 4),
    requests_pm=st.none() | st.integers(3, 9),
)
def test_whoever_comes_gives_up_is_answered_or_refused_no_place_is_lost_and_nobody_waits_beside_a_free_one(
    schedule, concurrency, requests_pm
):
    async def work():
        door = door_of(Limits(requests_pm, None, concurrency), first_pause_s=0.5)
        tasks = [asyncio.create_task(Call(**fields).make(door)) for fields, _ in schedule]
        for task, (_, tenths) in zip(tasks, schedule, strict=True):
            if tenths is not None:
                asyncio.get_running_loop().call_later(tenths / 10, task.cancel)
        done = asyncio.gather(*tasks, return_exceptions=True)
        while not done.done():
            await asyncio.sleep(0.05)
            assert now() < 3000.0, "somebody waits without end"
            for _ in range(8):
                await asyncio.sleep(0)
            is_waiting = any(not future.done() for future in door._waiting)
            assert not (is_waiting and door._has_room()), "somebody waits beside a free place"
            assert 0 <= door.in_flight <= door.most
        ends = await done
        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)
        assert all(end is None for end, (_, tenths) in zip(ends, schedule, strict=True) if tenths is None)
        assert door.in_flight == 0
        calls = await make_all(door, [Call(takes_s=0.0) for _ in range(2 * door.most)])
        assert all(call.tries for call in calls)

    run_virtual(work())


def test_a_waiter_that_is_cancelled_in_the_moment_it_is_woken_gives_its_place_on():
    async def work():
        door = door_of(Limits(concurrency=1))
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(door.place())
            given_up = asyncio.create_task(Call().make(door))
            next_one = Call()
            waiting = asyncio.create_task(next_one.make(door))
            await asyncio.sleep(0.1)
            await stack.aclose()  # wakes the first waiter, which has not run yet
            given_up.cancel()
        await waiting
        assert next_one.sent_s == pytest.approx(0.1)
        assert (given_up.cancelled(), door.in_flight) == (True, 0)

    run_virtual(work())


def test_too_many_requests_are_refusals_and_no_other_failure_is():
    kinds = ["rate_limit", "circuit_open", "quota", "server_error", "timeout", "auth", None]
    assert [kind for kind in kinds if is_refusal(kind)] == ["rate_limit", "circuit_open"]
