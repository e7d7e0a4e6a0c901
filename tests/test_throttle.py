"""The door to a provider: how many calls go at once, and when none goes."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.bench.throttle import (
    FIRST_CONCURRENCY,
    LONGEST_PAUSE_S,
    MOST_CONCURRENCY,
)
from llmbench.catalog import Limits
from llmbench.messages import RateLeft
from tests.throttle_calls import Call, door_of, make_all, sent_at
from tests.virtual_time import now, run_virtual

# ---- calls at once


@pytest.mark.parametrize("concurrency", [1, 3, 200])
def test_a_named_limit_of_calls_at_once_is_used_from_the_start_and_never_passed(concurrency):
    async def work():
        door = door_of(Limits(concurrency=concurrency))
        calls = await make_all(door, [Call() for _ in range(2 * concurrency)])
        assert max(call.most for call in calls) == concurrency == door.limit == door.most
        assert sent_at(calls) == [0.0] * concurrency + [1.0] * concurrency
        assert not any(call.place.is_throttled for call in calls), "a free place alone is no throttling"

    run_virtual(work())


def test_without_a_named_limit_calls_at_once_grow_by_one_for_each_full_round_of_answers():
    async def work():
        door = door_of()
        calls = await make_all(door, [Call() for _ in range(400)])
        waves = [len(list(wave)) for _, wave in itertools.groupby(sent_at(calls))]
        assert waves[0] == FIRST_CONCURRENCY
        assert all(0 <= later - wave <= 1 for wave, later in itertools.pairwise(waves[:-1])), waves
        assert max(waves) >= 20
        assert door.in_flight == 0

    run_virtual(work())


def test_the_limit_never_grows_past_the_most_that_is_tried():
    async def work():
        door = door_of()
        await make_all(door, [Call() for _ in range(6000)])
        assert door.limit == MOST_CONCURRENCY == door.most

    run_virtual(work())


def test_answers_while_places_are_free_raise_nothing():
    async def work():
        door = door_of()
        await make_all(door, [Call(comes_s=2.0 * number) for number in range(50)])
        assert door.limit == FIRST_CONCURRENCY

    run_virtual(work())


@given(refusals=st.integers(1, 16))
def test_a_wave_of_refusals_halves_the_limit_once(refusals):
    async def work():
        door = door_of(Limits(concurrency=16))
        calls = [Call(is_refused=number < refusals) for number in range(16)]
        await make_all(door, calls)
        assert (door.limit, door.refusals) == (8.0, refusals)

    run_virtual(work())


def test_each_further_wave_halves_it_again_down_to_one():
    async def work():
        door = door_of(Limits(concurrency=8))
        seen = []
        for _ in range(5):
            await make_all(door, [Call(is_refused=True, wait_s=0.0)])
            seen.append(door.limit)
        assert seen == [4.0, 2.0, 1.0, 1.0, 1.0]

    run_virtual(work())


def test_a_provider_that_takes_ten_at_once_is_found_out_with_few_refusals():
    async def work():
        door, refused, waiting = door_of(first_pause_s=0.1), 0, list(range(2000))
        open_calls, most = 0, 0

        async def serve():
            nonlocal refused, open_calls, most
            while waiting:
                waiting.pop()
                while True:
                    async with door.place() as place:
                        open_calls += 1
                        most = max(most, open_calls)
                        is_refused = open_calls > 10
                        await asyncio.sleep(0.01 if is_refused else 0.5)
                        open_calls -= 1
                        if not is_refused:
                            door.answered(place)
                            break
                        refused += 1
                        door.refused(place, None)

        began = now()
        await asyncio.gather(*(serve() for _ in range(door.most)))
        assert most <= 12, "the limit goes up one by one"
        assert refused < 100
        assert now() - began < 2.2 * 2000 * 0.5 / 10, "it uses half of what the provider gives, and more"

    run_virtual(work())


# ---- pauses


@pytest.mark.parametrize("wait_s", [0.5, 7.0])
def test_after_a_refusal_nothing_is_sent_for_as_long_as_was_asked_then_one_then_the_others(wait_s):
    async def work():
        door = door_of(Limits(concurrency=4))
        first = Call(is_refused=True, wait_s=wait_s, takes_s=0.25)
        later = [Call(comes_s=0.3, takes_s=2.0) for _ in range(4)]
        await make_all(door, [first, *later])
        probe = 0.25 + wait_s
        assert sent_at(later) == pytest.approx([probe, *[probe + 2] * 2, probe + 4], abs=0.02)
        assert all(call.place.is_throttled for call in later)

    run_virtual(work())


def test_a_pause_is_kept_by_calls_that_queued_before_it_and_they_say_so():
    async def work():
        door = door_of(Limits(concurrency=1))
        first, second = Call(is_refused=True, wait_s=30.0), Call()
        await make_all(door, [first, second])
        assert second.sent_s == pytest.approx(31.0, abs=0.02)
        assert (first.place.is_throttled, second.place.is_throttled) == (False, True)

    run_virtual(work())


def test_without_a_word_the_pause_doubles_from_refusal_to_refusal_up_to_its_longest_and_then_starts_anew():
    async def work():
        door = door_of(Limits(concurrency=1), first_pause_s=1.0)
        calls = [Call(is_refused=number != 8, takes_s=0.0) for number in range(10)]
        await make_all(door, [*calls, Call(takes_s=0.0)])
        gaps = [b - a for a, b in itertools.pairwise(call.sent_s for call in calls)]
        assert gaps[:8] == pytest.approx([1, 2, 4, 8, 16, 32, LONGEST_PAUSE_S, LONGEST_PAUSE_S], abs=0.02)
        assert now() - 1000.0 - calls[-1].sent_s == pytest.approx(1.0, abs=0.02)

    run_virtual(work())


def test_a_provider_that_asks_for_no_wait_and_refuses_on_is_not_asked_without_end():
    """`retry-after: 0` is the provider's word once; a second refusal in a row says that it was wrong."""

    async def work():
        door = door_of(Limits(concurrency=1), first_pause_s=1.0)
        calls = [Call(is_refused=True, wait_s=0.0, takes_s=0.0) for _ in range(5)]
        await make_all(door, calls)
        gaps = [b - a for a, b in itertools.pairwise(call.sent_s for call in calls)]
        assert gaps == pytest.approx([0, 1, 3, 7], abs=0.02)

    run_virtual(work())


def test_a_call_that_got_through_after_refusals_of_its_own_halves_the_limit_and_pauses_nobody():
    async def work():
        door = door_of(Limits(concurrency=8))
        async with door.place() as place:
            await asyncio.sleep(1)
            door.struggled(place)
            assert (door.limit, door.refusals) == (4.0, 1)
        calls = await make_all(door, [Call() for _ in range(4)])
        assert sent_at(calls) == [1.0] * 4

    run_virtual(work())


def test_no_wait_that_is_asked_for_lasts_longer_than_the_longest_pause():
    async def work():
        door = door_of(Limits(concurrency=1))
        calls = await make_all(door, [Call(is_refused=True, wait_s=86400.0, takes_s=0.0), Call()])
        assert calls[1].sent_s == pytest.approx(LONGEST_PAUSE_S, abs=0.02)

    run_virtual(work())


def test_a_probe_that_never_got_an_answer_hands_the_probing_on():
    async def work():
        door = door_of(Limits(concurrency=4))
        await make_all(door, [Call(is_refused=True, wait_s=1.0)])

        async def given_up():
            async with door.place():
                await asyncio.sleep(0.5)

        probe = asyncio.create_task(given_up())
        await asyncio.sleep(0)
        later = [Call(takes_s=1.0) for _ in range(3)]
        await make_all(door, later)
        await probe
        assert sent_at(later) == pytest.approx([2.5, 3.5, 3.5], abs=0.02)

    run_virtual(work())


def test_a_refusal_of_an_older_wave_halves_nothing_and_pauses_all_the_same():
    async def work():
        door = door_of(Limits(concurrency=8))
        quick, slow = Call(is_refused=True, wait_s=1.0), Call(is_refused=True, takes_s=5.0, wait_s=4.0)
        probe, last = Call(comes_s=1.5, takes_s=1.0), Call(comes_s=6.0)
        await make_all(door, [quick, slow, probe, last])
        assert door.limit == 4.0
        assert probe.sent_s == pytest.approx(2.0, abs=0.02), "a slow call under way holds nobody back"
        assert last.sent_s == pytest.approx(9.0, abs=0.02)

    run_virtual(work())


# ---- what headers say


@pytest.mark.parametrize(
    "left", [RateLeft(0, None, 5.0), RateLeft(None, 0, 5.0), RateLeft(7, 0, 5.0)], ids=str
)
def test_headers_that_say_nothing_is_left_pause_the_door_until_the_reset(left):
    async def work():
        door = door_of(Limits(concurrency=2))
        first, second = Call(left=left), Call(takes_s=1.1)
        calls = await make_all(door, [first, second, Call(comes_s=0.5), Call(comes_s=0.5)])
        assert sent_at(calls) == pytest.approx([0, 0, 6, 6], abs=0.02)
        assert [call.place.is_throttled for call in calls] == [False, False, True, True]
        assert door.limit == 2.0, "nothing was refused"

    run_virtual(work())


def test_headers_that_leave_a_few_requests_let_those_go_and_hold_the_others_until_the_reset():
    async def work():
        door = door_of(Limits(concurrency=8))
        first = Call(left=RateLeft(3, None, 10.0))
        later = [Call(comes_s=1.5, takes_s=0.1) for _ in range(6)]
        await make_all(door, [first, *later])
        assert sent_at(later) == pytest.approx([1.5] * 3 + [11.0] * 3, abs=0.02)
        assert sum(call.place.is_throttled for call in later) == 3

    run_virtual(work())


def test_calls_under_way_may_be_the_ones_that_the_headers_do_not_count_yet():
    async def work():
        door = door_of(Limits(concurrency=4))
        first = Call(takes_s=1.0, left=RateLeft(3, None, 10.0))
        under_way = [Call(takes_s=3.0) for _ in range(2)]
        later = [Call(comes_s=1.5, takes_s=0.1) for _ in range(2)]
        await make_all(door, [first, *under_way, *later])
        assert sent_at(later) == pytest.approx([1.5, 11.0], abs=0.02)

    run_virtual(work())


def test_newer_headers_with_plenty_left_or_a_sooner_reset_lift_an_older_word():
    async def work():
        for newer, sent_s in ((RateLeft(100, None, 60.0), 2.0), (RateLeft(1, None, 3.0), 5.0)):
            door, began = door_of(Limits(concurrency=3)), now()
            calls = [Call(left=RateLeft(1, None, 50.0)), Call(takes_s=2.0, left=newer), Call(takes_s=9.0)]
            waiting = Call(comes_s=1.5)
            await make_all(door, [*calls, waiting])
            assert waiting.sent_s == pytest.approx(began - 1000.0 + sent_s, abs=0.02)

    run_virtual(work())


@pytest.mark.parametrize(
    "left", [RateLeft(0, 0, None), RateLeft(0, 0, 0.0), RateLeft(50, 4000, 60.0), None], ids=str
)
def test_headers_without_a_reset_or_with_plenty_left_hold_nothing(left):
    async def work():
        door = door_of(Limits(concurrency=2))
        calls = await make_all(door, [Call(left=left) for _ in range(6)])
        assert sent_at(calls) == [0, 0, 1, 1, 2, 2]

    run_virtual(work())


def test_the_door_knows_for_how_long_every_call_was_refused():
    async def work():
        door = door_of(Limits(concurrency=2), first_pause_s=1.0)
        assert door.refusing_s() == 0.0
        calls = [Call(is_refused=True), Call(is_refused=True)]
        await make_all(door, calls)
        await asyncio.sleep(100)
        assert door.refusing_s() == pytest.approx(101.0, abs=3.0)
        await make_all(door, [Call()])
        assert door.refusing_s() == 0.0

    run_virtual(work())
