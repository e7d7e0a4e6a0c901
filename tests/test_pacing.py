"""Pacing: no minute ever holds more than the limit, first come is first served, over loops and threads."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.catalog import Endpoint, Limits, ModelSpec
from llmbench.config import read_environment
from llmbench.providers import pacing
from llmbench.providers.hosts import RemoteHost
from llmbench.providers.pacing import WINDOW_S, Pace, pace_of, was_waiting

SPEC = ModelSpec("m", "stub", "m-id")
requests = st.tuples(st.floats(0, 90, allow_nan=False), st.integers(0, 120))


@pytest.fixture
def short_window(monkeypatch):
    """The real window, only shorter."""
    monkeypatch.setattr(pacing, "WINDOW_S", 0.3)
    return 0.3


async def enter(pace: Pace, tokens: int = 0, hold_s: float = 0.0) -> float:
    async with pace.place(tokens):
        at = time.monotonic()
        await asyncio.sleep(hold_s)
    return at


@given(
    st.lists(requests, min_size=1, max_size=40),
    st.none() | st.integers(1, 5),
    st.none() | st.integers(50, 200),
)
def test_no_window_holds_more_than_the_limits_and_no_wait_is_longer_than_needed(asked, per_minute, tokens_pm):
    """The rule alone, on a clock of its own: each request goes as soon as the rule says zero."""
    pace = Pace(Limits(per_minute, tokens_pm))
    now, sent = 0.0, []
    for gap, tokens in asked:
        now += gap
        pause_s = pace._pause_s(now, tokens)
        if pause_s > 0:  # a moment sooner it would not have fitted
            recent = [t for t in sent if t[0] > now + pause_s - 1e-6 - WINDOW_S]
            is_full = per_minute is not None and len(recent) >= per_minute
            has_no_tokens = tokens_pm is not None and sum(t[1] for t in recent) + tokens > tokens_pm
            assert is_full or has_no_tokens
        now += pause_s + 1e-6
        assert pace._pause_s(now, tokens) == 0.0
        pace._sent.append((now, tokens))
        pace._sent_tokens += tokens
        sent.append((now, tokens))
    for at, _ in sent:
        window = [t for t in sent if at - WINDOW_S < t[0] <= at]
        assert per_minute is None or len(window) <= per_minute
        if tokens_pm is not None and len(window) > 1:
            assert sum(t[1] for t in window) <= tokens_pm


def test_requests_over_the_limit_wait_for_the_window_in_the_order_they_came(short_window):
    pace, order = Pace(Limits(requests_per_minute=2)), []

    async def one(name: int) -> float:
        at = await enter(pace)
        order.append(name)
        return at

    async def all_at_once() -> list[float]:
        return await asyncio.gather(*(one(name) for name in range(6)))

    at = asyncio.run(all_at_once())
    assert order == list(range(6))
    assert all(later - sooner > 0.9 * short_window for sooner, later in zip(at, at[2:], strict=False))
    assert at[-1] - at[0] < 4 * short_window


def test_tokens_count_as_well_and_a_request_beyond_a_whole_minute_goes_alone(short_window):
    pace = Pace(Limits(tokens_per_minute=100))

    async def in_turn() -> list[float]:
        return await asyncio.gather(*(enter(pace, tokens) for tokens in (60, 40, 500, 10)))

    first, second, third, fourth = asyncio.run(in_turn())
    assert second - first < short_window / 2
    # a request stamps itself a moment after it was let in: two stamps may stand that much closer
    assert third - second > 0.9 * short_window
    assert fourth - third > 0.9 * short_window


def test_one_limit_holds_over_threads_with_loops_of_their_own(short_window):
    pace, at, guard = Pace(Limits(requests_per_minute=3, concurrency=2)), [], threading.Lock()

    async def several() -> None:
        for found in await asyncio.gather(*(enter(pace) for _ in range(3))):
            with guard:
                at.append(found)

    threads = [threading.Thread(target=lambda: asyncio.run(several())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    at.sort()
    assert len(at) == 12
    # a request stamps itself a moment after it was let in: two stamps may stand that much closer
    assert all(later - sooner > 0.9 * short_window for sooner, later in zip(at, at[3:], strict=False))


def test_calls_at_once_are_limited_over_threads():
    pace, guard, seen = Pace(Limits(concurrency=2)), threading.Lock(), [0, 0]

    async def hold() -> None:
        async with pace.place():
            with guard:
                seen[0] += 1
                seen[1] = max(seen)
            await asyncio.sleep(0.01)
            with guard:
                seen[0] -= 1

    async def several() -> None:
        await asyncio.gather(*(hold() for _ in range(5)))

    threads = [threading.Thread(target=lambda: asyncio.run(several())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == [0, 2]


def test_one_who_gives_up_leaves_no_trace_and_the_next_one_moves_up():
    pace = Pace(Limits(concurrency=1))

    async def story() -> float:
        async with pace.place():
            impatient = asyncio.create_task(enter(pace))
            patient = asyncio.create_task(enter(pace))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await impatient
        left = time.monotonic()
        return await asyncio.wait_for(patient, 5) - left

    assert asyncio.run(story()) < 0.5
    assert (pace._in_flight, len(pace._queue)) == (0, 0)


def test_a_forked_child_does_not_wait_for_its_parents_calls():
    pace = Pace(Limits(concurrency=1))
    pace._in_flight = 1  # a call of another thread, which the child does not have
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other tests' threads make fork warn
        child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(asyncio.wait_for(enter(pace), 5))
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert pace._in_flight == 1


def test_a_timeout_in_the_queue_is_told_from_one_of_the_host():
    pace = Pace(Limits(concurrency=1))

    async def late(held: Pace, hold_s: float) -> TimeoutError:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.05):
                await enter(held, hold_s=hold_s)
        return caught.value

    async def story() -> None:
        assert not was_waiting(await late(pace, 5.0))
        async with pace.place():
            assert was_waiting(await late(pace, 0.0))

    asyncio.run(story())


def test_a_waiter_whose_loop_died_does_not_hold_up_the_others():
    pace = Pace(Limits(concurrency=1))

    async def holder() -> None:
        async with pace.place():
            dead = asyncio.new_event_loop()
            with pace._guard:
                pace._queue.append(pacing._Ticket(0, dead))
            dead.close()
        await asyncio.wait_for(enter(pace), 5)

    asyncio.run(holder())


def test_clients_of_one_address_share_a_pace_and_it_goes_with_the_last():
    limits = Limits(requests_per_minute=10)
    one = pace_of("p", "https://h.test", limits)
    assert pace_of("p", "https://h.test", Limits(requests_per_minute=10)) is one
    assert pace_of("p", "https://i.test", limits) is not one
    assert pace_of("p", "https://h.test", Limits()) is None
    del one
    gc.collect()
    assert not [key for key in pacing._PACES if key[1] == "https://h.test"]


def test_the_wait_is_the_leases_queue_and_its_tokens_are_counted(short_window):
    endpoint = Endpoint("p", base_url="http://127.0.0.1:9", limits=Limits(tokens_per_minute=100))
    host = RemoteHost(endpoint, read_environment({}))

    async def queued_ms(tokens: int) -> float:
        async with host.lease(SPEC, tokens=tokens) as lease:
            return lease.queued_ms

    async def both() -> tuple[float, float]:
        return await queued_ms(80), await queued_ms(30)

    first, second = asyncio.run(both())
    assert first < 150
    assert 200 < second < 3000
