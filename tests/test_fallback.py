"""Fallback under a policy: who is tried, how often, and with which end, one claim a test."""

from __future__ import annotations

import asyncio

import pytest

from llmbench.catalog import Policy
from llmbench.errors import ERROR_KINDS, ConfigError, FallbackExhausted, ParamError, ProviderError
from llmbench.messages import Attempt, Usage
from llmbench.providers.base import Reply
from llmbench.providers.hosts import Lease
from llmbench.providers.send import Sent
from llmbench.routing.fallback import run_candidates
from llmbench.routing.progress import Options

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
    return Sent(reply, None, problem, 5.0, Lease("http://x"), 0.25, "registry", ttft_ms=2.0)


def error(kind, retry_after_s=None, status=None, param=None) -> ProviderError:
    status = STATUS.get(kind) if status is None else status
    text = f"it was {kind}"
    return ProviderError(text, kind=kind, status_code=status, retry_after_s=retry_after_s, param=param)


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
        if isinstance(step, Exception):
            raise step
        return step or answer()


def run(script: Script, policy: Policy, candidates="abc", deadline_s=100.0, **more):
    clock, record = script.clock, more.pop("attempts", None)
    options = Options(clock, clock.sleep, **more)
    work = run_candidates(list(candidates), policy, deadline_s, script, attempts=record, options=options)
    return asyncio.run(work)


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
        ttft_ms=2.0,
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


# ---- what is never tried again, and how often the rest is


@pytest.mark.parametrize(
    "kind",
    ["bad_request", "unsupported_param", "context_length", "content_filter", "refusal", "quota", "cancelled"],
)
def test_a_kind_that_would_end_the_same_is_not_tried_again_whatever_its_status_says(kind):
    for status in (402, 429, 500):
        script = Script(Clock(), a=[error(kind, status=status, retry_after_s=1.0)])
        policy = Policy(
            transient_statuses=frozenset({402, 429, 500}), per_status_retry={402: 3, 429: 3, 500: 3}
        )
        with pytest.raises(FallbackExhausted):
            run(script, policy, "a")
        assert (script.sent, script.clock.waits) == (["a"], [])


def test_each_status_has_its_own_number_of_retries():
    steps = [error("rate_limit"), error("rate_limit"), error("server_error"), error("rate_limit")]
    script = Script(Clock(), a=steps)
    run(script, Policy(backoff_sec=1, per_status_retry={429: 2, 500: 1}, per_status_backoff={500: 3}))
    assert (script.sent, script.clock.waits) == (["a", "a", "a", "a", "b"], [1.0, 1.0, 3.0])


def test_a_wait_asked_of_the_last_candidate_is_not_begun_when_it_does_not_fit():
    script = Script(Clock(), a=[error("rate_limit", retry_after_s=99.0), None])
    with pytest.raises(FallbackExhausted):
        run(script, Policy(max_total_wait_sec=1000), "a", deadline_s=99.0)
    assert (script.sent, script.clock.waits) == (["a"], [])


# ---- lessons


def test_a_parameter_that_the_provider_names_is_left_out_once_and_at_once():
    learnt: list[tuple[str, str | None]] = []

    def learn(model: str, problem: ProviderError) -> bool:
        learnt.append((model, problem.param))
        return True

    seed, top_k = (error("unsupported_param", status=400, param=name) for name in ("seed", "top_k"))
    script = Script(Clock(), a=[seed, top_k, None])
    outcome = run(script, Policy(), learn=learn)
    assert (outcome.model, learnt, script.clock.waits) == ("a", [("a", "seed"), ("a", "top_k")], [])
    kinds = [(attempt.error_kind, attempt.waited_ms) for attempt in outcome.attempts]
    assert kinds == [("unsupported_param", 0.0), ("unsupported_param", 0.0), (None, 0.0)]

    script = Script(Clock(), a=[seed])
    assert run(script, Policy(), learn=learn).model == "b"
    assert script.sent == ["a", "a", "b"]  # the same lesson is not taken twice


def test_no_lesson_is_taken_where_none_is_named_or_the_call_does_not_want_it():
    named = error("unsupported_param", status=400, param="seed")
    nameless = error("unsupported_param", status=400)
    other = error("bad_request", status=400, param="seed")
    for step, learn in ((named, None), (named, lambda *_: False), (nameless, lambda *_: True)):
        script = Script(Clock(), a=[step])
        run(script, Policy(), learn=learn)
        assert script.sent == ["a", "b"]
    with pytest.raises(FallbackExhausted):
        run(Script(Clock(), a=[other]), Policy(), learn=lambda *_: True)
    script = Script(Clock(), a=[named])
    with pytest.raises(FallbackExhausted):
        run(script, Policy(max_total_attempts=1), learn=lambda *_: True)
    assert script.sent == ["a"]


# ---- windows


def test_a_call_that_is_too_long_goes_on_to_larger_windows_only():
    script = Script(Clock(), a=[error("context_length", status=400)])
    windows = {"a": 8192, "b": 8192, "d": 4096, "e": 32768}
    assert run(script, Policy(), "abde", context_tokens=windows).model == "e"
    assert script.sent == ["a", "e"]
    script.sent.clear()
    assert run(script, Policy(), "abc", context_tokens=windows).model == "c"  # unknown may be larger
    script.sent.clear()
    assert run(script, Policy(), "ab", context_tokens={"b": 100}).model == "b"  # than what, is unknown


def test_the_windows_that_were_left_out_are_named_when_the_call_fails():
    script = Script(Clock(), a=[error("context_length", status=400)])
    with pytest.raises(FallbackExhausted, match="b: left out, its context window is no larger") as caught:
        run(script, Policy(), "ab", context_tokens={"a": 8192, "b": 4096})
    assert [attempt.model for attempt in caught.value.attempts] == ["a"]


def test_a_candidate_that_is_left_out_takes_no_share_of_the_time():
    script = Script(Clock(), a=[error("context_length", status=400)], b=[error("rate_limit", 60.0), None])
    policy = Policy(max_total_wait_sec=1000)
    assert run(script, policy, "abc", context_tokens={"a": 10, "b": 20, "c": 5}).model == "b"


# ---- candidates that cannot express the call


def test_a_candidate_that_cannot_express_the_call_is_left_out_of_it():
    strictest = Policy(fall_back_on=frozenset({"timeout"}), max_total_attempts=1)
    for reason, kind in (
        (ParamError("no top_k"), "unsupported_param"),
        (ConfigError("no wire"), "model_not_found"),
    ):
        outcome = run(Script(Clock(), a=[reason]), strictest)
        assert [(a.model, a.error_kind) for a in outcome.attempts] == [("a", kind), ("b", None)]
        assert str(reason) in str(outcome.attempts[0].error)


def test_a_call_that_nobody_can_express_is_the_callers_own_error():
    script = Script(Clock(), a=[ParamError("no top_k")], b=[ConfigError("no wire")])
    with pytest.raises(ParamError, match="no top_k"):
        run(script, Policy(), "ab")
    with pytest.raises(ConfigError, match="no wire"):
        run(script, Policy(), "b")
    script = Script(Clock(), a=[error("auth")], b=[ParamError("no top_k")])
    with pytest.raises(FallbackExhausted, match=r"a: auth .*; b: unsupported_param \(no top_k\)"):
        run(script, Policy(), "ab")


def test_a_strict_call_is_refused_by_the_first_candidate_that_cannot_express_it():
    record: list[Attempt] = []
    script = Script(Clock(), a=[ParamError("no top_k")])
    with pytest.raises(ParamError, match="no top_k"):
        run(script, Policy(), attempts=record, is_strict=True)
    assert (script.sent, record) == (["a"], [])
