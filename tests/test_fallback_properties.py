"""What holds for every mix of faults, latencies, waits and policies, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from llmbench.catalog import NEVER_RETRY, Breaker, Policy
from llmbench.errors import ERROR_KINDS, ErrorKind, FallbackExhausted, ParamError, ProviderError
from llmbench.messages import Attempt
from llmbench.providers.send import Sent
from llmbench.routing.breaker import Circuits
from llmbench.routing.fallback import Outcome, run_candidates
from llmbench.routing.progress import Options
from llmbench.routing.streaming import stream_candidates
from tests.test_fallback import answer
from tests.virtual_time import now, run_virtual

MODELS = "abcd"
#: What a call may take over its deadline.
SLACK_S = 0.05


@dataclass(frozen=True)
class Fault:
    """One request: takes a time, then answers (no kind), or fails so, or hangs."""

    kind: ErrorKind | None = None
    took_s: float = 0.0
    status: int | None = None
    retry_after_s: float | None = None
    param: str | None = None
    is_problem: bool = False

    async def end(self) -> Sent:
        await asyncio.sleep(self.took_s)
        if self.kind is None:
            return answer()
        failure = ProviderError(
            f"it was {self.kind}",
            kind=self.kind,
            status_code=self.status,
            retry_after_s=self.retry_after_s,
            param=self.param,
        )
        if self.is_problem:
            return answer(failure)
        raise failure


@dataclass
class World:
    """What every model does, request by request (the last one repeats), and what happened."""

    faults: dict[str, list[Fault]]
    cannot: frozenset[str] = frozenset()
    sent: list[tuple[str, Fault]] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    answers: int = 0

    def next(self, model: str) -> Fault:
        """The next request to a model."""
        assert not self.answers, "nothing is sent after an answer"
        if model in self.cannot:
            raise ParamError(f"{model} cannot express it")
        turn = sum(name == model for name, _ in self.sent)
        script = self.faults[model]
        fault = script[min(turn, len(script) - 1)]
        self.sent.append((model, fault))
        return fault

    async def send(self, model: str) -> Sent:
        fault = self.next(model)
        sent = await fault.end()
        self.answers += fault.kind is None
        return sent

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(seconds)

    def models(self) -> list[str]:
        """The models in the order in which they were first asked."""
        return list(dict.fromkeys(name for name, _ in self.sent))


STATUSES = (None, 200, 400, 401, 402, 408, 429, 500, 503)
took = st.sampled_from([0.0, 0.1, 1.0, 7.0, 3600.0]) | st.floats(0, 30)
faults = st.builds(
    Fault,
    st.sampled_from([None, *ERROR_KINDS]),
    took,
    st.sampled_from(STATUSES),
    st.none() | st.floats(0, 90),
    st.sampled_from([None, "seed", "top_k"]),
    st.booleans(),
)
scripts = st.fixed_dictionaries({name: st.lists(faults, min_size=1, max_size=4) for name in MODELS})
by_status = st.sampled_from([429, 500, 503, 402, 408])
policies = st.builds(
    Policy,
    retry_limit=st.integers(0, 4),
    backoff_sec=st.floats(0, 10),
    per_status_backoff=st.dictionaries(by_status, st.floats(0, 20)),
    per_status_retry=st.dictionaries(by_status, st.integers(0, 4)),
    max_total_attempts=st.integers(1, 9),
    max_total_wait_sec=st.floats(0, 30),
    fall_back_on=st.none() | st.frozensets(st.sampled_from(ERROR_KINDS)),
    on_content_filter=st.sampled_from(["fail", "fallback"]),
    on_refusal=st.sampled_from(["return", "fallback"]),
    breaker=st.none() | st.builds(Breaker, st.integers(1, 4)),
)
deadlines = st.floats(0.5, 120)
broken_before = st.lists(st.tuples(st.sampled_from(MODELS), st.sampled_from(["connect", "auth"])), max_size=8)
windows = st.dictionaries(st.sampled_from(MODELS), st.sampled_from([None, 1000, 2000]))
some = st.frozensets(st.sampled_from(MODELS), max_size=2)


def circuits_of(policy: Policy, failures: list[tuple[str, ErrorKind]]) -> Circuits | None:
    """The state of a breaker that met these failures just before."""
    circuits = None if policy.breaker is None else Circuits(policy.breaker, now)
    for model, kind in failures if circuits else ():
        circuits.learn(model, kind)
    return circuits


@dataclass
class Ended:
    """One call: its end, its record and the seconds that it took."""

    outcome: Outcome | None
    error: FallbackExhausted | ParamError | None
    record: list[Attempt]
    elapsed_s: float


async def call(world: World, policy: Policy, deadline_s: float, failures: Any, **more: Any) -> Ended:
    record: list[Attempt] = []
    outcome: Outcome | None = None
    error: FallbackExhausted | ParamError | None = None
    circuits, began = circuits_of(policy, failures), now()
    try:
        outcome = await run_candidates(
            MODELS,
            policy,
            deadline_s,
            world.send,
            attempts=record,
            options=Options(now, world.sleep, circuits, **more),
        )
    except (FallbackExhausted, ParamError) as failure:
        error = failure
    return Ended(outcome, error, record, now() - began)


@settings(max_examples=400, deadline=None)
@given(scripts, policies, deadlines, broken_before, some, windows, st.booleans())
def test_the_deadline_the_caps_and_the_order_hold_for_every_mix(
    script, policy, deadline_s, failures, cannot, context, learns
):
    world = World(script, cannot)
    options = {"context_tokens": context, "learn": (lambda *_: True) if learns else None}
    ended = run_virtual(call(world, policy, deadline_s, failures, **options))

    assert ended.elapsed_s <= deadline_s + SLACK_S
    assert sum(world.waits) <= policy.max_total_wait_sec + 1e-9
    assert len(world.sent) <= policy.max_total_attempts
    allowed = MODELS[: policy.retry_limit] if policy.retry_limit else MODELS
    assert set(world.models()) <= set(allowed)

    skipped = [a.model for a in ended.record if a.error_kind == "circuit_open" and a.status_code is None]
    in_turn = [name for name in world.models() if name not in skipped]
    assert in_turn == sorted(in_turn)
    sends = [name for name, _ in world.sent]
    assert all(sends.index(name) + sends.count(name) > at for at, name in enumerate(sends))  # one turn each
    assert len(ended.record) >= len(sends)
    assert sum(a.waited_ms for a in ended.record) <= sum(world.waits) * 1000 + 1

    is_answered = world.answers > 0
    assert (ended.outcome is not None) == (ended.error is None)
    assert ended.outcome is not None or not is_answered
    event("answered" if ended.outcome else type(ended.error).__name__)
    if isinstance(ended.error, FallbackExhausted):
        assert list(ended.error.attempts) == ended.record
        assert [failure.kind for failure in ended.error.exceptions] == [a.error_kind for a in ended.record]


@settings(max_examples=300, deadline=None)
@given(scripts, policies, deadlines, broken_before)
def test_what_is_never_tried_again_or_elsewhere_is_not(script, policy, deadline_s, failures):
    world = World(script)
    run_virtual(call(world, policy, deadline_s, failures))
    pairs = list(zip(world.sent, world.sent[1:], strict=False))
    for (model, fault), (after, _) in pairs:
        if fault.kind is None or fault.took_s >= 3600:
            continue
        if model == after:
            assert fault.kind not in NEVER_RETRY
            assert fault.status in policy.transient_statuses
        elif fault.took_s < 0.1:  # no share of the deadline ends earlier
            assert policy.falls_back_on(fault.kind)


@settings(max_examples=300, deadline=None)
@given(
    scripts,
    st.sampled_from(MODELS),
    broken_before,
    some,
    st.floats(20, 120),
    st.builds(
        Policy,
        max_total_attempts=st.just(30),
        backoff_sec=st.floats(0, 5),
        breaker=st.none() | st.builds(Breaker, st.integers(1, 4)),
    ),
)
def test_a_call_with_a_candidate_that_always_answers_succeeds(
    script, good, failures, cannot, deadline_s, policy
):
    """The policy lets every kind move on, and half of the time a turn leaves the good one enough of it.

    Only where the good one is left alone for now, the others must not hang: they are asked first, and an
    open circuit gets no share of the time.
    """
    longest_s = 0.5 if any(model == good for model, _ in failures) else 3600.0
    script = {
        name: [
            replace(fault, took_s=min(fault.took_s, longest_s))
            for fault in steps
            if policy.falls_back_on(fault.kind or "connect")
        ]
        or [Fault("connect")]
        for name, steps in script.items()
    }
    world = World(script | {good: [Fault(took_s=1.0)]}, cannot - {good})
    ended = run_virtual(call(world, policy, deadline_s, failures))
    assert ended.outcome is not None, [str(ended.error)]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["connect", "timeout", "auth", "quota", "server_error", "rate_limit"]),
    st.lists(st.floats(0, 5), min_size=30, max_size=60),
    st.sampled_from([0.0, 0.2, 3600.0]),
    st.builds(Breaker, st.integers(1, 4)),
)
def test_calls_that_begin_at_any_time_reach_a_dead_model_as_often_as_the_breaker_allows(
    kind, starts, took_s, breaker
):
    reached: list[str] = []

    async def calls() -> list[Outcome]:
        circuits = Circuits(breaker, now)

        async def send(model: str) -> Sent:
            reached.append(model)
            return await (Fault(kind, took_s, 503) if model == "a" else Fault(took_s=0.3)).end()

        async def one(start_s: float) -> Outcome:
            await asyncio.sleep(start_s)
            return await run_candidates("ab", Policy(), 20.0, send, options=Options(now, circuits=circuits))

        return await asyncio.gather(*[one(start_s) for start_s in starts])

    assert {outcome.model for outcome in run_virtual(calls())} == {"b"}
    assert 1 <= reached.count("a") <= breaker.failures


# ---- streams


@dataclass
class Talk:
    """What one model's stream says before it ends as its fault does."""

    said: list[str]
    pause_s: float
    fault: Fault


@dataclass
class Talking:
    """Streams of a world: what was said by whom, and which were opened and closed."""

    talks: dict[str, Talk]
    world: World = field(init=False)
    said: list[tuple[str, str]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = World({name: [talk.fault] for name, talk in self.talks.items()})

    async def open(self, model: str) -> AsyncGenerator[str | Sent, None]:
        talk, _ = self.talks[model], self.world.next(model)
        self.opened.append(model)
        try:
            for piece in talk.said:
                await asyncio.sleep(talk.pause_s)
                self.said += [(model, piece)] if piece else []
                yield piece
            yield await talk.fault.end()
        finally:
            self.closed.append(model)


async def read(source: AsyncGenerator[str | Outcome, None], heard: list[str], pause_s: float) -> Any:
    """The end of a stream, its outcome or its error, read with a pause after every piece."""
    try:
        async with aclosing(source):
            async for item in source:
                if isinstance(item, Outcome):
                    return item
                heard.append(item)
                await asyncio.sleep(pause_s)
    except FallbackExhausted as group:
        return group
    raise AssertionError("a stream ends with an outcome or an error")


talks = st.builds(Talk, st.lists(st.text("xy ", max_size=3), max_size=4), took, faults)


@settings(max_examples=400, deadline=None)
@given(
    st.fixed_dictionaries(dict.fromkeys(MODELS, talks)),
    policies,
    deadlines,
    broken_before,
    st.floats(0, 3),
    st.none() | st.just(lambda *_: True),
)
def test_a_stream_delivers_one_models_text_and_its_error_tells_how_much(
    talking, policy, deadline_s, failures, reading_s, learn
):
    streams, heard, record = Talking(talking), [], []

    async def timed() -> tuple[Any, float]:
        began, circuits = now(), circuits_of(policy, failures)
        options = Options(clock=now, sleep=streams.world.sleep, circuits=circuits, learn=learn)
        source = stream_candidates(MODELS, policy, deadline_s, streams.open, attempts=record, options=options)
        return await read(source, heard, reading_s), now() - began

    end, elapsed_s = run_virtual(timed())
    event(type(end).__name__ + (" with text" if heard else ""))
    assert heard == [piece for _, piece in streams.said]
    assert len({model for model, _ in streams.said}) <= 1  # no two models' text
    assert not heard or streams.said[0][0] == record[-1].model == streams.opened[-1]  # nothing after it
    assert not isinstance(end, FallbackExhausted) or end.output == ("".join(heard) or None)
    assert streams.opened == streams.closed
    assert elapsed_s <= deadline_s + 2 * reading_s + SLACK_S  # the reader ends its pauses
    assert sum(streams.world.waits) <= policy.max_total_wait_sec + 1e-9
    assert len(streams.opened) <= policy.max_total_attempts
