"""Fallback under a policy: the order, the caps and the deadline hold for every script of failures."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.catalog import Breaker, Policy
from llmbench.errors import ERROR_KINDS, FallbackExhausted, ProviderError
from llmbench.messages import Attempt, Usage
from llmbench.providers.base import Reply
from llmbench.providers.hosts import Lease
from llmbench.providers.send import Sent
from llmbench.routing.breaker import Circuits
from llmbench.routing.fallback import run_candidates

STATUS = {"rate_limit": 429, "server_error": 500, "timeout": 408, "auth": 401, "bad_request": 400}


class Clock:
    """Seconds that pass only when somebody waits or answers."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def answer(problem: ProviderError | None = None) -> Sent:
    reply = Reply("text", "refusal" if problem else "stop", Usage(3, 2), problem=problem)
    return Sent(reply, None, problem, 5.0, Lease("http://x"), 0.25, "registry")


def error(kind, retry_after_s=None, status=None) -> ProviderError:
    status = STATUS.get(kind) if status is None else status
    return ProviderError(f"it was {kind}", kind=kind, status_code=status, retry_after_s=retry_after_s)


class Script:
    """What each model does, in turn, and how long it takes; the last step repeats."""

    def __init__(self, clock: Clock, took_s: float = 0.0, **steps) -> None:
        self.clock, self.took_s, self.steps = clock, took_s, steps
        self.sent: list[str] = []

    async def __call__(self, model: str) -> Sent:
        turn = self.sent.count(model)
        self.sent.append(model)
        self.clock.now += self.took_s
        steps = self.steps.get(model, [None])
        step = steps[min(turn, len(steps) - 1)]
        if isinstance(step, ProviderError):
            raise step
        return step or answer()


def run(script: Script, policy: Policy, candidates="abc", deadline_s=100.0, **more):
    clock = script.clock
    return asyncio.run(
        run_candidates(list(candidates), policy, deadline_s, script, clock=clock, sleep=clock.sleep, **more)
    )


def test_the_first_that_answers_ends_the_call_and_the_record_tells_the_way():
    script = Script(Clock(), a=[error("rate_limit")], b=[error("auth")])
    outcome = run(script, Policy(per_status_retry={429: 2}, backoff_sec=1.5))
    assert script.sent == ["a", "a", "a", "b", "c"]
    assert outcome.model == "c"
    assert [(a.model, a.error_kind, a.waited_ms) for a in outcome.attempts] == [
        ("a", "rate_limit", 0.0),
        ("a", "rate_limit", 1500.0),
        ("a", "rate_limit", 1500.0),
        ("b", "auth", 0.0),
        ("c", None, 0.0),
    ]
    assert outcome.attempts[-1] == Attempt(
        "c",
        5.0,
        usage=Usage(3, 2),
        cost_usd=0.25,
        cost_source="registry",
        output="text",
        finish_reason="stop",
    )


def test_a_transient_status_is_tried_once_more_unless_a_number_is_given():
    for retries, sent in (({}, "aab"), ({429: 0}, "ab"), ({429: 3}, "aaaab"), ({500: 3}, "aab")):
        script = Script(Clock(), a=[error("rate_limit")])
        run(script, Policy(per_status_retry=retries))
        assert "".join(script.sent) == sent


def test_a_status_that_is_not_transient_moves_on_at_once():
    script = Script(Clock(), a=[error("rate_limit")])
    run(script, Policy(transient_statuses=frozenset({500})))
    assert (script.sent, script.clock.waits) == (["a", "b"], [])


def test_the_providers_own_wait_goes_before_the_policys():
    script = Script(Clock(), a=[error("rate_limit", retry_after_s=7.0), error("server_error"), None])
    run(script, Policy(backoff_sec=1, per_status_backoff={500: 3}, per_status_retry={429: 2, 500: 2}))
    assert (script.sent, script.clock.waits) == (["a", "a", "a"], [7.0, 3.0])


def test_a_wait_that_does_not_fit_is_not_begun():
    for wait_s, policy in ((11.0, Policy(max_total_wait_sec=10)), (60.0, Policy(max_total_wait_sec=1000))):
        script = Script(Clock(), a=[error("rate_limit", retry_after_s=wait_s)])
        run(script, policy)
        assert (script.sent, script.clock.waits) == (["a", "b"], [])


def test_the_waits_of_a_call_count_together_and_so_do_its_attempts():
    slow = [error("rate_limit", retry_after_s=6.0), None]
    script = Script(Clock(), a=[slow[0]], b=slow)
    assert run(script, Policy(max_total_wait_sec=10)).model == "c"
    assert (script.sent, script.clock.waits) == (["a", "a", "b", "c"], [6.0])

    script = Script(Clock(), a=[error("server_error")], b=[error("server_error")])
    with pytest.raises(FallbackExhausted):
        run(script, Policy(max_total_attempts=3, per_status_retry={500: 1}))
    assert script.sent == ["a", "a", "b"]


def test_the_last_candidate_may_use_all_the_time_that_is_left():
    script = Script(Clock(), a=[error("rate_limit", retry_after_s=60.0), None])
    assert run(script, Policy(max_total_wait_sec=1000), "a").model == "a"


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_each_kind_moves_on_or_ends_the_call_as_the_contract_says(kind):
    script = Script(Clock(), a=[error(kind, status=499)])
    if kind in ("bad_request", "content_filter", "refusal", "cancelled"):
        with pytest.raises(FallbackExhausted) as caught:
            run(script, Policy())
        assert (caught.value.kind, script.sent) == (kind, ["a"])
    else:
        assert run(script, Policy()).model == "b"


def test_the_strictest_form_moves_on_for_three_kinds_only():
    policy = Policy(fall_back_on=frozenset({"rate_limit", "server_error", "timeout"}))
    for kind in ERROR_KINDS:
        script = Script(Clock(), a=[error(kind, status=499)])
        if policy.falls_back_on(kind):
            assert run(script, policy).model == "b"
        else:
            with pytest.raises(FallbackExhausted):
                run(script, policy)
    assert [kind for kind in ERROR_KINDS if policy.falls_back_on(kind)] == [
        "timeout",
        "rate_limit",
        "server_error",
    ]


def test_a_refusal_is_an_answer_unless_the_policy_falls_back():
    refused = answer(error("refusal"))
    outcome = run(Script(Clock(), a=[refused]), Policy())
    assert (outcome.model, outcome.sent.reply.finish_reason) == ("a", "refusal")
    assert outcome.attempts[0].error_kind is None
    outcome = run(Script(Clock(), a=[refused]), Policy(on_refusal="fallback"))
    assert [(a.model, a.error_kind, a.cost_usd) for a in outcome.attempts] == [
        ("a", "refusal", 0.25),
        ("b", None, 0.25),
    ]


def test_a_content_filter_falls_back_where_the_policy_says_so():
    script = Script(Clock(), a=[error("content_filter")])
    assert run(script, Policy(on_content_filter="fallback")).model == "b"


def test_the_end_is_one_group_of_every_attempt():
    script = Script(Clock(), a=[error("connect")], b=[error("auth")], c=[error("timeout", status=500)])
    with pytest.raises(FallbackExhausted, match=r"a: connect.*b: auth.*c: timeout") as caught:
        run(script, Policy(transient_statuses=frozenset()))
    assert [failure.kind for failure in caught.value.exceptions] == ["connect", "auth", "timeout"]
    assert [attempt.model for attempt in caught.value.attempts] == ["a", "b", "c"]


def test_the_number_of_candidates_is_the_retry_limit():
    script = Script(Clock(), a=[error("auth")], b=[error("auth")])
    with pytest.raises(FallbackExhausted):
        run(script, Policy(retry_limit=2))
    assert script.sent == ["a", "b"]


kinds = st.sampled_from(sorted(STATUS))
waits = st.none() | st.floats(0, 40)
steps = st.lists(st.none() | st.builds(error, kinds, waits), min_size=1, max_size=4)
policies = st.builds(
    Policy,
    retry_limit=st.integers(0, 3),
    backoff_sec=st.floats(0, 10),
    per_status_backoff=st.dictionaries(st.sampled_from([429, 500]), st.floats(0, 20)),
    per_status_retry=st.dictionaries(st.sampled_from([429, 500, 408]), st.integers(0, 4)),
    max_total_attempts=st.integers(1, 9),
    max_total_wait_sec=st.floats(0, 30),
)


@settings(max_examples=300)
@given(policies, steps, steps, steps, st.floats(0, 5), st.floats(0.5, 60))
def test_deadline_caps_and_order_hold_for_every_script(policy, a, b, c, took_s, deadline_s):
    script = Script(Clock(), took_s, a=a, b=b, c=c)
    began, record = script.clock.now, []
    failed: list[FallbackExhausted] = []
    try:
        run(script, policy, deadline_s=deadline_s, attempts=record)
    except FallbackExhausted as group:
        failed.append(group)
    assert [list(group.attempts) for group in failed] == [record] * len(failed)
    assert [len(group.exceptions) for group in failed] == [len(record)] * len(failed)
    elapsed = script.clock.now - began
    assert elapsed <= deadline_s + took_s + 1e-6  # the clock is asked before each step, not within it
    assert sum(script.clock.waits) <= policy.max_total_wait_sec + 1e-9
    assert 1 <= len(record) <= policy.max_total_attempts
    assert [attempt.model for attempt in record] == script.sent
    assert script.sent == sorted(script.sent)
    assert sum(attempt.waited_ms for attempt in record) == pytest.approx(sum(script.clock.waits) * 1000)
    if policy.retry_limit:
        assert len(set(script.sent)) <= policy.retry_limit


def test_an_attempt_that_hangs_is_cut_off_and_leaves_time_for_the_next():
    async def send(model: str) -> Sent:
        if model == "a":
            await asyncio.sleep(3600)
        return answer()

    outcome = asyncio.run(run_candidates(["a", "b"], Policy(), 0.1, send))
    assert [(a.model, a.error_kind) for a in outcome.attempts] == [("a", "timeout"), ("b", None)]
    assert outcome.attempts[0].latency_ms >= 45


def test_a_cancelled_call_still_tells_what_it_tried():
    async def call() -> list[Attempt]:
        record: list[Attempt] = []
        begun = asyncio.Event()

        async def send(model: str) -> Sent:
            if model == "a":
                raise error("auth")
            begun.set()
            await asyncio.sleep(3600)
            return answer()

        task = asyncio.create_task(run_candidates(["a", "b"], Policy(), 60, send, attempts=record))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return record

    record = asyncio.run(call())
    assert [(a.model, a.error_kind) for a in record] == [("a", "auth"), ("b", "cancelled")]


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
    assert call() == [("a", "circuit_open"), ("b", None)]
    clock.now += 31
    assert call() == call() == [("a", None)]


def test_failures_of_the_request_and_old_ones_open_no_circuit():
    clock = Clock()
    circuits = Circuits(Breaker(failures=2, window_s=60, cooldown_s=30), clock)
    for kind in ("content_filter", "server_error", "bad_request", "server_error"):
        circuits.note("a", kind)
    circuits.require_closed("a")
    clock.now += 61
    circuits.note("a", "timeout")
    circuits.require_closed("a")
    circuits.note("a", "timeout")
    with pytest.raises(ProviderError, match=r"left alone for 30.0 s more after 2 failures") as caught:
        circuits.require_closed("a")
    assert caught.value.kind == "circuit_open"
