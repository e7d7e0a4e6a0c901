"""A dead model is found out by a few calls, whatever their number, their deadline and the way it is dead."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmbench.catalog import Breaker, Policy
from llmbench.errors import ProviderError
from llmbench.messages import Response
from llmbench.providers.send import Sent
from llmbench.routing.breaker import Circuits
from llmbench.routing.fallback import Outcome, run_candidates
from llmbench.routing.progress import Options
from tests.conftest import models, provider
from tests.servers.chat_server import Step, failure
from tests.test_fallback import answer, error
from tests.virtual_time import now, run_virtual

DEADLINES_S = [3.0, 20.0, 60.0, 120.0, 300.0]
DEAD = {
    "refusing": ProviderError("connection refused", kind="connect"),
    "status 503": error("server_error", status=503),
    "wrong key": error("auth"),
    "empty account": error("quota", status=402),
    "throttling": error("rate_limit", retry_after_s=0.5),
}


class Dead:
    """The first of two candidates is dead in one way; the second answers in 50 ms."""

    def __init__(self, how: str, deadline_s: float) -> None:
        self.how, self.deadline_s = how, deadline_s
        self.reached: list[str] = []
        self.circuits = Circuits(Breaker(), clock=now)

    async def send(self, model: str) -> Sent:
        self.reached.append(model)
        if model == "b":
            await asyncio.sleep(0.05)
            return answer()
        await asyncio.sleep(3600 if self.how == "hanging" else 0.01)
        raise DEAD[self.how]

    async def call(self) -> Outcome:
        policy = Policy(per_status_retry={429: 2, 503: 2})
        return await run_candidates(
            "ab", policy, self.deadline_s, self.send, options=Options(now, circuits=self.circuits)
        )


HOW = [*DEAD, "hanging"]


@pytest.mark.parametrize("deadline_s", DEADLINES_S)
@pytest.mark.parametrize("how", HOW)
def test_200_calls_one_after_another_reach_a_dead_model_5_times_at_most(how, deadline_s):
    dead = Dead(how, deadline_s)

    async def calls() -> list[Outcome]:
        return [await dead.call() for _ in range(200)]

    outcomes = run_virtual(calls())
    assert [outcome.model for outcome in outcomes] == ["b"] * 200
    assert 1 <= dead.reached.count("a") <= 5
    assert [attempt.error_kind for attempt in outcomes[-1].attempts] == ["circuit_open", None]


@pytest.mark.parametrize("deadline_s", DEADLINES_S)
@pytest.mark.parametrize("how", HOW)
def test_200_calls_at_once_reach_a_dead_model_5_times_at_most(how, deadline_s):
    dead = Dead(how, deadline_s)

    async def calls() -> list[Outcome]:
        return await asyncio.gather(*[dead.call() for _ in range(200)])

    outcomes = run_virtual(calls())
    assert [outcome.model for outcome in outcomes] == ["b"] * 200
    assert dead.reached.count("a") == 3
    waited = [outcome.attempts[0].queued_ms for outcome in outcomes]
    assert sum(ms > 0 for ms in waited) == 197
    assert max(waited) <= (deadline_s / 2 * 1000 if how == "hanging" else 0.0) + 50


def test_200_calls_of_four_threads_reach_a_dead_model_5_times_at_most():
    reached: list[str] = []
    circuits = Circuits(Breaker())

    async def send(model: str) -> Sent:
        reached.append(model)
        await asyncio.sleep(0.02)
        if model == "a":
            raise DEAD["status 503"]
        return answer()

    async def fifty() -> list[Outcome]:
        policy = Policy(backoff_sec=0.01)
        calls = [
            run_candidates(["a", "b"], policy, 30.0, send, options=Options(circuits=circuits))
            for _ in range(50)
        ]
        return await asyncio.gather(*calls)

    with ThreadPoolExecutor(4) as pool:
        outcomes = [one for many in pool.map(lambda _: asyncio.run(fifty()), range(4)) for one in many]
    assert [outcome.model for outcome in outcomes] == ["b"] * 200
    assert 1 <= reached.count("a") <= 5


def test_200_calls_at_once_to_a_healthy_model_wait_for_its_first_answer_and_all_go_there():
    reached: list[float] = []

    async def calls() -> list[Outcome]:
        circuits = Circuits(Breaker(), clock=now)

        async def send(_: str) -> Sent:
            reached.append(now())
            await asyncio.sleep(2)
            return answer()

        policy, began = Policy(), now()
        outcomes = await asyncio.gather(
            *[
                run_candidates("ab", policy, 60, send, options=Options(now, circuits=circuits))
                for _ in range(200)
            ]
        )
        assert [at - began for at in reached] == pytest.approx([0.0] * 3 + [2.0] * 197)
        return outcomes

    outcomes = run_virtual(calls())
    assert {outcome.model for outcome in outcomes} == {"a"}
    assert sorted(outcome.attempts[0].queued_ms for outcome in outcomes)[3] == pytest.approx(2000.0)


@pytest.mark.parametrize(
    ("takes_s", "deadline_s"), [(45.0, 120.0), (39.0, 120.0), (1.2, 3.0), (125.0, 300.0)]
)
def test_a_slow_first_choice_answers_every_one_of_20_calls_at_once(takes_s, deadline_s):
    async def calls() -> list[Outcome]:
        circuits = Circuits(Breaker(), clock=now)

        async def send(model: str) -> Sent:
            await asyncio.sleep(takes_s if model == "a" else 0.05)
            return answer()

        work = [
            run_candidates("ab", Policy(), deadline_s, send, options=Options(now, circuits=circuits))
            for _ in range(20)
        ]
        return await asyncio.gather(*work)

    outcomes = run_virtual(calls())
    assert [outcome.model for outcome in outcomes] == ["a"] * 20


def test_a_wait_that_ends_before_any_failure_is_known_goes_ahead_with_the_first_choice():
    async def calls() -> Outcome:
        circuits = Circuits(Breaker(failures=1), clock=now)

        async def send(model: str) -> Sent:
            await asyncio.sleep(30.0 if not slow.done() else 1.0)
            return answer()

        slow: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        first = asyncio.create_task(
            run_candidates("ab", Policy(), 100.0, send, options=Options(now, circuits=circuits))
        )
        await asyncio.sleep(0.1)
        slow.set_result(None)
        second = await run_candidates("ab", Policy(), 10.0, send, options=Options(now, circuits=circuits))
        await first
        return second

    outcome = run_virtual(calls())
    assert [(attempt.model, attempt.queued_ms) for attempt in outcome.attempts] == [("a", 5500.0)]


def test_once_a_model_that_answered_has_failed_nobody_joins_the_calls_under_way():
    reached: list[float] = []

    async def calls() -> list[Outcome]:
        circuits, began = Circuits(Breaker(), clock=now), now()

        async def send(model: str) -> Sent:
            if model == "b":
                return answer()
            reached.append(now() - began)
            if len(reached) > 1:
                await asyncio.sleep(1.0 if len(reached) == 2 else 3600)
                raise ProviderError("reset", kind="connect")
            return answer()

        async def call(start_s: float) -> Outcome:
            await asyncio.sleep(start_s)
            return await run_candidates("ab", Policy(), 20.0, send, options=Options(now, circuits=circuits))

        await call(0.0)
        return await asyncio.gather(*[call(0.0) for _ in range(5)], *[call(2.0) for _ in range(200)])

    outcomes = run_virtual(calls())
    assert [outcome.model for outcome in outcomes] == ["b"] * 205
    assert reached == [0.0] * 6


@pytest.mark.parametrize("dead", [failure(503), Step(fault="hang")], ids=["503", "hang"])
def test_calls_of_a_client_at_once_all_succeed_beside_a_dead_model(open_client, server, dead):
    server.script["m-a"] = [dead]
    options = {"models": ["a", "b"], "allow_fallback": True, "timeout": 9}

    async def calls() -> list[Response]:
        async with open_client() as client:
            return await asyncio.gather(*[client.acall("caption", "x", **options) for _ in range(50)])

    assert {reply.model for reply in asyncio.run(calls())} == {"b"}
    assert 1 <= server.models().count("m-a") <= 5


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses connections: it is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("is_at_once", [True, False], ids=["at once", "one after another"])
def test_200_calls_of_a_client_all_succeed_and_5_at_most_try_a_closed_port(
    open_client, server, log, closed_port, is_at_once
):
    dead = provider(f"http://127.0.0.1:{closed_port}/v1")
    registry = models("a", "b")
    registry["a"]["provider"] = "gone"
    client = open_client(
        llm_router={"providers": {"stub": provider(server.url), "gone": dead}},
        llm_model_registry={"models": registry},
        llm_tier_candidates={"tiers": {"cheap": ["a", "b"]}},
    )

    async def calls() -> list[Response]:
        async with client:
            work = [client.acall("caption", "x") for _ in range(200)]
            return await asyncio.gather(*work) if is_at_once else [await one for one in work]

    replies = asyncio.run(calls())
    client.close()
    assert {reply.model for reply in replies} == {"b"}
    attempts = [attempt for record in log() for attempt in record["attempts"] if attempt["model"] == "a"]
    kinds = [attempt["error_kind"] for attempt in attempts]
    assert len(log()) == len(attempts) == 200
    assert 1 <= kinds.count("connect") <= 5
    assert kinds.count("connect") + kinds.count("circuit_open") == 200
