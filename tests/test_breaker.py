"""The breaker: when a circuit opens, rests, tries and closes; it is never the reason that a call fails."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from llmbench.catalog import Breaker, Policy
from llmbench.config.build import build_policy
from llmbench.config.shapes import PolicyShape
from llmbench.errors import ErrorKind, FallbackExhausted, ProviderError
from llmbench.messages import Attempt
from llmbench.providers.send import Sent
from llmbench.routing.breaker import HOST_FAILURES, Circuits
from llmbench.routing.fallback import run_candidates
from llmbench.routing.progress import Options
from tests.test_fallback import Clock, Script, answer, error, run


def test_an_open_circuit_fails_no_call_that_has_nothing_else_left():
    circuits, clock = Circuits(Breaker(failures=1, cooldown_s=1e6)), Clock()
    policy = Policy(transient_statuses=frozenset())
    for model in "ab":
        with pytest.raises(FallbackExhausted):
            run(Script(clock, **{model: [error("server_error")]}), policy, model, circuits=circuits)

    alone = run(Script(clock), policy, "a", circuits=circuits)
    assert [(attempt.model, attempt.error_kind) for attempt in alone.attempts] == [("a", None)]
    with pytest.raises(FallbackExhausted):
        run(Script(clock, a=[error("server_error")]), policy, "a", circuits=circuits)

    both = run(Script(clock, b=[error("server_error")]), policy, "ab", circuits=circuits)
    assert [(attempt.model, attempt.error_kind) for attempt in both.attempts] == [
        ("a", "circuit_open"),
        ("b", "server_error"),
        ("a", None),
    ]


def test_a_single_candidate_is_retried_as_the_policy_says_although_its_circuit_is_open():
    script = Script(Clock(), a=[error("server_error"), error("server_error"), None])
    policy = Policy(per_status_retry={500: 2})
    assert run(script, policy, "a", circuits=Circuits(Breaker(failures=1))).model == "a"


def test_retries_of_a_model_stop_once_its_circuit_is_open():
    script = Script(Clock(), a=[error("server_error")])
    run(script, Policy(per_status_retry={500: 5}), circuits=Circuits(Breaker(failures=2), script.clock))
    assert (script.sent, script.clock.waits) == (["a", "a", "b"], [1.0])


def test_a_model_whose_circuit_others_open_during_a_wait_had_its_turn():
    circuits, script = (
        Circuits(Breaker(failures=2)),
        Script(Clock(), a=[error("server_error")], b=[error("auth")]),
    )

    async def sleep(_: float) -> None:
        circuits.learn("a", "connect")

    work = run_candidates("ab", Policy(), 60.0, script, options=Options(sleep=sleep, circuits=circuits))
    with pytest.raises(FallbackExhausted) as caught:
        asyncio.run(work)
    kinds = [(attempt.model, attempt.error_kind) for attempt in caught.value.attempts]
    assert kinds == [("a", "server_error"), ("a", "circuit_open"), ("b", "auth")]


def test_a_skipped_candidate_uses_up_no_attempt_and_no_time():
    circuits, clock = Circuits(Breaker(failures=1)), Clock()
    circuits.learn("a", "connect")
    script = Script(clock, b=[error("rate_limit", retry_after_s=60.0), None])
    policy = Policy(max_total_attempts=2, max_total_wait_sec=1000)
    assert run(script, policy, "ab", circuits=circuits).model == "b"


def test_a_failure_that_may_not_move_on_is_not_moved_on_from_by_the_breaker_either():
    circuits, clock = Circuits(Breaker(failures=1)), Clock()
    circuits.learn("a", "connect")
    strictest = Policy(fall_back_on=frozenset({"rate_limit", "server_error", "timeout"}))
    with pytest.raises(FallbackExhausted, match=r"a: connect"):
        run(Script(clock, a=[ProviderError("refused", kind="connect")]), strictest, circuits=circuits)
    circuits.learn("b", "server_error")
    assert run(Script(clock), strictest, "bc", circuits=circuits).model == "c"


def test_the_policy_file_changes_the_breaker_or_switches_it_off():
    def breaker(**given: float) -> Breaker | None:
        return build_policy(PolicyShape.model_validate({"breaker": given})).breaker

    assert Policy().breaker == breaker() == Breaker(failures=3, window_s=60.0, cooldown_s=30.0)
    assert breaker(cooldown_s=5) == Breaker(cooldown_s=5.0)
    assert breaker(failures=0) is None


def test_a_policy_without_a_breaker_looks_at_no_circuit():
    circuits, script = Circuits(Breaker(failures=1)), Script(Clock())
    circuits.learn("a", "connect")
    assert run(script, Policy(breaker=None), circuits=circuits).model == "a"


def enter(circuits: Circuits, model: str = "a"):
    return asyncio.run(circuits.enter(model, 0.01, lambda _: True))


def test_a_circuit_opens_rests_tries_once_and_closes():
    clock = Clock()
    circuits = Circuits(Breaker(failures=2, window_s=60, cooldown_s=30), clock)
    policy = Policy(transient_statuses=frozenset())

    def call(**script) -> list[tuple[str, str | None]]:
        outcome = run(Script(clock, **script), policy, circuits=circuits)
        return [(attempt.model, attempt.error_kind) for attempt in outcome.attempts]

    down = {"a": [error("server_error")]}
    assert call(**down) == call(**down) == [("a", "server_error"), ("b", None)]
    assert call() == [("a", "circuit_open"), ("b", None)]
    clock.now += 31
    assert call(**down) == [("a", "server_error"), ("b", None)]
    clock.now += 31  # a trial that fails doubles the rest
    assert call() == [("a", "circuit_open"), ("b", None)]
    clock.now += 30
    assert call() == call() == [("a", None)]


def test_the_rest_of_a_model_that_stays_dead_grows_to_eight_times_the_first():
    clock = Clock()
    circuits = Circuits(Breaker(failures=1, cooldown_s=10), clock)
    circuits.learn("a", "connect")
    rests = []
    for _ in range(6):
        rested = clock.now
        while True:
            clock.now += 1
            try:
                place = enter(circuits)
            except ProviderError:
                continue
            break
        rests.append(clock.now - rested)
        circuits.learn("a", "connect")
        circuits.leave(place)
    assert rests == [10, 20, 40, 80, 80, 80]


def test_an_answer_makes_the_next_rest_short_again_and_late_failures_make_none_longer():
    clock = Clock()
    circuits = Circuits(Breaker(failures=1, cooldown_s=10), clock)
    for kind, seconds in (("connect", 10), ("connect", 20), (None, 0), ("connect", 5), ("connect", 5)):
        circuits.learn("a", kind)
        clock.now += seconds
    assert enter(circuits).is_trial  # the last one came during the rest


@pytest.mark.parametrize("end", ["cancelled", None, "bad_request"])
def test_one_call_at_a_time_tries_and_gives_its_place_back_however_it_ends(end: ErrorKind | None):
    clock = Clock()
    circuits = Circuits(Breaker(failures=1, cooldown_s=10), clock)
    circuits.learn("a", "connect")
    clock.now += 10
    trial = enter(circuits)
    with pytest.raises(ProviderError, match="left alone while one call tries it after 1 failures") as caught:
        enter(circuits)
    assert (trial.is_trial, caught.value.kind) == (True, "circuit_open")
    circuits.learn("a", end)
    circuits.leave(trial)
    assert enter(circuits).is_trial == (end == "cancelled")


def test_a_cancelled_trial_leaves_the_next_call_its_place():
    clock = Clock()
    circuits = Circuits(Breaker(failures=1, cooldown_s=10), clock)
    circuits.learn("a", "connect")
    clock.now += 10
    record: list[Attempt] = []

    async def cancelled() -> None:
        begun = asyncio.Event()

        async def send(_: str) -> Sent:
            begun.set()
            await asyncio.sleep(3600)
            return answer()

        work = run_candidates("ab", Policy(), 60, send, options=Options(circuits=circuits), attempts=record)
        task = asyncio.create_task(work)
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert [(attempt.model, attempt.error_kind) for attempt in record] == [("a", "cancelled")]
    assert run(Script(clock), Policy(), circuits=circuits).model == "a"


def test_an_error_of_our_own_gives_the_place_back():
    clock = Clock()
    circuits = Circuits(Breaker(failures=1, cooldown_s=10), clock)
    circuits.learn("a", "connect")
    clock.now += 10
    with pytest.raises(ZeroDivisionError):
        run(Script(clock, a=[ZeroDivisionError()]), Policy(), circuits=circuits)
    assert enter(circuits).is_trial


def test_failures_of_the_request_and_old_ones_open_no_circuit():
    clock = Clock()
    circuits = Circuits(Breaker(failures=2, window_s=60, cooldown_s=30), clock)
    kinds: tuple[ErrorKind, ...] = (
        "content_filter",
        "server_error",
        "bad_request",
        "server_error",
        "cancelled",
    )
    for kind in kinds:
        circuits.learn("a", kind)
    assert not circuits.is_open("a")
    clock.now += 61
    circuits.learn("a", "timeout")
    assert not circuits.is_open("a")
    circuits.learn("a", "timeout")
    with pytest.raises(
        ProviderError, match=r"left alone for 30.0 s more after 2 failures, the last one timeout"
    ):
        enter(circuits)


@pytest.mark.parametrize("kind", sorted(HOST_FAILURES))
def test_what_every_call_would_meet_opens_a_circuit(kind: ErrorKind):
    circuits = Circuits(Breaker(failures=1))
    circuits.learn("a", kind)
    assert circuits.is_open("a")


def test_those_who_wait_for_a_first_answer_go_on_in_their_own_loop_when_it_comes():
    circuits = Circuits(Breaker(failures=1))
    first = enter(circuits)
    entered = []

    def wait() -> None:
        entered.append(asyncio.run(circuits.enter("a", 30.0, lambda _: True)))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    assert not entered
    circuits.learn("a", None)
    for thread in threads:
        thread.join(5)
    circuits.leave(first)
    assert len(entered) == 3


def test_a_loop_that_was_closed_while_it_waited_disturbs_nobody():
    circuits = Circuits(Breaker(failures=2))
    circuits.learn("a", "timeout")
    first = enter(circuits)
    with pytest.raises(ProviderError, match=r"failures only, and .* no answer yet after 0.0 s") as caught:
        enter(circuits)
    assert caught.value.kind == "circuit_open"
    circuits.leave(first)
    assert not enter(circuits).is_trial


def test_a_wait_that_ends_goes_ahead_where_a_timeout_may_not_move_on():
    circuits = Circuits(Breaker(failures=2))
    circuits.learn("a", "timeout")
    enter(circuits)
    assert asyncio.run(circuits.enter("a", 0.01, lambda kind: kind != "timeout")).model == "a"


def test_the_window_counts_the_pause_between_failures_and_not_how_long_they_took():
    clock = Clock()
    circuits = Circuits(Breaker(failures=3, window_s=60), clock)

    def fail(after_s: float, took_s: float) -> None:
        clock.now += after_s
        place = enter(circuits)
        clock.now += took_s
        circuits.learn("a", "timeout")
        circuits.leave(place)

    fail(0, 150)
    fail(59, 150)
    fail(61, 150)  # the first two are forgotten
    fail(59, 150)
    assert not circuits.is_open("a")
    fail(0, 150)
    assert circuits.is_open("a")


def test_failures_are_kept_while_an_attempt_that_may_be_one_more_is_under_way():
    clock = Clock()
    circuits = Circuits(Breaker(failures=2, window_s=60), clock)
    slow = enter(circuits)
    circuits.learn("a", "connect")
    clock.now += 300
    with pytest.raises(ProviderError, match="failures only"):
        enter(circuits)
    circuits.learn("a", "timeout")
    circuits.leave(slow)
    assert circuits.is_open("a")
