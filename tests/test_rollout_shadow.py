"""Shadows: the challenger is asked beside the call, and nothing of it ever reaches the caller."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmbench.catalog import BudgetLimits
from llmbench.errors import BudgetExceeded, FallbackExhausted, ProviderError
from llmbench.routing.budget import Budgets
from llmbench.routing.rollout import place_of
from llmbench.routing.rollout_shadow import CLOSE_S, _Account, _shadow_of
from tests.conftest import models
from tests.servers.chat_server import Step, completion, failure
from tests.test_forked_child import holds_in_a_child

SHADOW = {
    "task": "caption",
    "mode": "shadow",
    "challenger": "d",
    "share": 1.0,
    "budget": {"calls": 1000, "in_flight": 100},
    "limits": {"failure_rate": 0.05},
}


@pytest.fixture
def client_with(open_client, tmp_path):
    """A client whose calls of `caption` have shadows at d."""

    def opening(price=(1.0, 2.0), policy=None, environment=None, **changes):
        rollouts = {"small": SHADOW | changes}
        prices = {"input": price[0], "output": price[1]}
        return open_client(
            environment,
            llm_rollouts={"stop_file": str(tmp_path / "rollouts.json"), "rollouts": rollouts},
            llm_model_registry={"models": models("a", "b", "c", "d", price=prices)},
            llm_fallback_policy={"backoff_sec": 0} | (policy or {}),
        )

    return opening


def arms(lines):
    """The lines of callers and of shadows."""
    return (
        [line for line in lines if line["rollout"]["of"] is None],
        [line for line in lines if line["rollout"]["of"] is not None],
    )


def wait_for(claim, seconds=5.0):
    until = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.01)


async def ask(client, prompt):
    """A call in a loop of its own, which closes its connections and nothing else."""
    await client.acall("caption", prompt)
    await client.router.aclose()


# ---- beside the call -----------------------------------------------------------------------------------


def test_the_caller_gets_the_controls_answer_and_the_shadow_has_its_line(client_with, server, log):
    client = client_with()
    response = client.call("caption", "hi", routing_key="u", max_tokens=7)
    assert (response.model, response.text) == ("a", "answer of m-a")
    assert "d is asked too, off the caller's path" in response.reason
    client.close()
    (own,), (shadow,) = arms(log())
    assert own["call_id"] == response.call_id
    assert own["rollout"] == {
        "name": "small",
        "mode": "shadow",
        "arm": "control",
        "of": None,
        "models": ["d"],
    }
    assert shadow["rollout"] == own["rollout"] | {"arm": "challenger", "of": response.call_id}
    assert (shadow["model"], shadow["status"], shadow["routing_key"]) == ("d", "success", "u")
    assert shadow["call_id"] != own["call_id"]
    assert shadow["cost_usd"] > 0
    bodies = {request.json["model"]: request.json for request in server.received}
    assert bodies["m-d"] == bodies["m-a"] | {"model": "m-d"}


def test_explain_sends_no_shadow(client_with, server):
    client = client_with()
    assert client.explain("caption", routing_key="u").candidates == ("a", "b", "c")
    client.close()
    assert server.received == []


def test_a_challenger_that_hangs_neither_slows_nor_fails_the_caller(client_with, server, log):
    server.script["m-d"] = [Step(fault="hang")]
    client = client_with(budget={"calls": 1000, "in_flight": 3})
    client.call("caption", "warm")
    began = time.monotonic()
    for number in range(20):
        assert client.call("caption", "hi", routing_key=f"u{number}").model == "a"
    took_s = time.monotonic() - began
    assert took_s < 2.0
    assert client.router.shadows.dropped("small") == {"in flight": 18}
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < CLOSE_S + 2.0
    own, shadows = arms(log())
    assert len(own) == 21
    assert [line["error_kind"] for line in shadows] == ["cancelled"] * 3


def test_a_shadow_has_the_calls_deadline_for_itself(client_with, server, log):
    server.script["m-d"] = [Step(fault="hang")]
    client = client_with()
    client.call("caption", "hi", timeout=0.5)
    wait_for(lambda: len(log()) == 2)
    (_,), (shadow,) = arms(log())
    assert shadow["error_kind"] == "timeout"
    assert shadow["latency_ms"] == pytest.approx(500, abs=400)


def test_a_challenger_that_fails_opens_no_circuit_of_the_callers(client_with, server, log):
    server.script["m-d"] = [failure(401)]
    client = client_with()
    for _ in range(6):
        client.call("caption", "hi")
    client.close()
    _, shadows = arms(log())
    assert Counter(line["error_kind"] for line in shadows) == {"auth": 6}
    assert not client.router.setup().circuits.is_open("d")


def test_a_failed_call_fails_as_ever_and_its_shadow_is_its_own(client_with, server, log):
    for model in ("m-a", "m-b", "m-c"):
        server.script[model] = [failure(401)]
    client = client_with()
    with pytest.raises(FallbackExhausted):
        client.call("caption", "hi")
    client.close()
    (own,), (shadow,) = arms(log())
    assert (own["status"], shadow["status"]) == ("fail", "success")
    assert own["fallback_chain"] == ["a", "b", "c"]


def test_the_share_of_calls_is_by_key_or_else_by_call(client_with, log):
    client = client_with(share=0.5, budget={"calls": 1000, "in_flight": 100})
    keys = [f"user-{number}" for number in range(40)]
    for key in keys:
        client.call("caption", "hi", routing_key=key)
    for _ in range(40):
        client.call("caption", "hi")
    client.close()
    shadows = [line for line in log() if line.get("rollout", {}).get("of")]
    assert {line["routing_key"] for line in shadows} - {None} == {
        key for key in keys if place_of("small", key) < 0.5
    }
    assert 8 <= sum(line["routing_key"] is None for line in shadows) <= 32
    assert all("rollout" in line or line["model"] == "a" for line in log())


def test_streams_and_async_calls_have_shadows_too(client_with, server, log):
    client = client_with()

    asyncio.run(ask(client, "one"))
    server.script["m-a"] = [Step(_sse("hel", "lo"), headers={"content-type": "text/event-stream"})]
    assert "".join(client.stream("caption", "two")) == "hello"
    client.close()
    own, shadows = arms(log())
    assert {line["rollout"]["of"] for line in shadows} == {line["call_id"] for line in own}
    assert len(shadows) == 2


def _sse(*pieces):
    import json

    chunks = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in pieces]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def test_a_shadow_outlives_the_event_loop_of_its_caller(client_with, server, log):
    server.script["m-d"] = [Step(completion("late"), delay_s=0.4)]
    client = client_with()
    asyncio.run(ask(client, "hi"))
    client.close()
    _, (shadow,) = arms(log())
    assert shadow["status"] == "success"


def test_an_async_client_ends_its_shadows_too(client_with, server, log):
    server.script["m-d"] = [Step(completion("late"), delay_s=0.4)]
    client = client_with()

    async def once():
        async with client:
            await client.acall("caption", "hi")

    asyncio.run(once())
    _, (shadow,) = arms(log())
    assert shadow["status"] == "success"


# ---- the budget ----------------------------------------------------------------------------------------


def test_the_calls_of_a_day_are_never_passed_by_many_threads(client_with, server, log):
    client = client_with(budget={"calls": 7, "in_flight": 50})
    with ThreadPoolExecutor(12) as threads:
        list(threads.map(lambda number: client.call("caption", f"hi {number}"), range(60)))
    client.close()
    own, shadows = arms(log())
    assert (len(own), len(shadows), server.models().count("m-d")) == (60, 7, 7)
    assert client.router.shadows.dropped("small") == {"calls": 53}


def test_the_money_of_a_day_is_held_before_it_is_sent(client_with, server, log):
    worst = 2 / 1e6 * 1000 + 10 / 1e6 * 2000  # of 2 input and 10 output tokens
    server.script["m-d"] = [
        Step(completion(usage={"prompt_tokens": 1, "completion_tokens": 10}), delay_s=0.05)
    ]
    client = client_with(price=(1000.0, 2000.0), budget={"usd": 5 * worst, "in_flight": 50})
    with ThreadPoolExecutor(12) as threads:
        list(
            threads.map(
                lambda number: client.call("caption", f"hi {number}", max_tokens=10, budget_usd=None),
                range(40),
            )
        )
    client.close()
    own, shadows = arms(log())
    assert len(own) == 40
    spent = sum(line["cost_usd"] for line in shadows)
    assert 0 < spent <= 5 * worst
    assert len(shadows) == 5
    assert len(shadows) + client.router.shadows.dropped("small")["budget"] == 40
    assert server.models().count("m-d") == len(shadows)


def test_a_challenger_without_a_price_is_not_asked_on_a_budget_of_money(client_with, server, log, tmp_path):
    client = client_with(budget={"usd": 5.0})
    client.call("caption", "hi")  # no max_tokens: nobody knows the worst case
    client.close()
    assert server.models() == ["m-a"]
    assert client.router.shadows.dropped("small") == {"budget": 1}
    assert len(log()) == 1


def test_a_shadow_that_was_not_sent_for_want_of_money_has_no_line(client_with, log, tmp_path):
    client = client_with(budget={"usd": 1.0})
    call = client.router.begin("caption", "hi", max_tokens=5)
    call.resolve()
    account = _Account(Budgets(BudgetLimits()))
    _shadow_of(call, call.arm, account, "today").failed(BudgetExceeded("d: nothing is left"))
    assert not (tmp_path / "log.jsonl").exists()
    _shadow_of(call, call.arm, account, "today").failed(ProviderError("no", kind="connect"))
    assert len(log()) == 1


def test_without_a_log_no_money_is_spent_on_shadows(client_with, server):
    client = client_with(environment={"LLM_ROUTER_LOG_DISABLE": "1"})
    client.call("caption", "hi")
    client.close()
    assert server.models() == ["m-a"]
    assert client.router.shadows.dropped("small") == {"log is off": 1}


def test_a_new_day_has_a_new_budget(client_with, server):
    from datetime import UTC, datetime

    client = client_with(budget={"calls": 1})
    shadows, router = client.router.shadows, client.router
    for day in (1, 1, 2):
        call = router.begin("caption", "hi")
        call.resolve()
        shadows.send(call, lambda day=day: datetime(2026, 1, day, tzinfo=UTC))
    wait_for(lambda: server.models().count("m-d") == 2)
    assert shadows.dropped("small") == {"calls": 1}


def test_a_callers_own_line_tells_that_its_shadow_was_dropped(client_with, server, log):
    server.script["m-d"] = [Step(fault="hang")]
    client = client_with(budget={"calls": 100, "in_flight": 1})
    for _ in range(4):
        client.call("caption", "hi")
    assert [line["rollout"].get("dropped_before", 0) for line in log()] == [0, 1, 1, 1]
    client.close()
    _, (shadow,) = arms(log())
    assert "dropped_before" not in shadow["rollout"]


def test_a_shadow_that_is_dropped_later_is_told_by_the_next_callers_line(client_with, server, log):
    client = client_with(budget={"usd": 5.0})
    client.call("caption", "hi")  # no max_tokens: nobody knows the worst case
    wait_for(lambda: client.router.shadows.dropped("small") == {"budget": 1})
    client.call("caption", "hi", max_tokens=5)
    client.close()
    own, shadows = arms(log())
    assert [line["rollout"].get("dropped_before", 0) for line in own] == [0, 1]
    assert len(shadows) == 1


# ---- ends and beginnings -------------------------------------------------------------------------------


def test_closing_waits_for_a_shadow_that_is_about_to_end(client_with, server, log):
    server.script["m-d"] = [Step(completion("late"), delay_s=0.5)]
    client = client_with()
    client.call("caption", "hi")
    began = time.monotonic()
    client.close()
    assert 0.2 < time.monotonic() - began < CLOSE_S
    assert [line["status"] for line in arms(log())[1]] == ["success"]
    client.close()


def test_a_forked_child_has_shadows_of_its_own(client_with, server, log, tmp_path):
    server.script["m-d"] = [Step(fault="hang"), Step(completion())]
    client = client_with(budget={"calls": 100, "in_flight": 1})
    client.call("caption", "hi")
    wait_for(lambda: server.models().count("m-d") == 1)

    def claim() -> bool:
        asyncio.run(ask(client, "from the child"))
        wait_for(lambda: len(arms(log())[1]) == 1, 3.0)
        return arms(log())[1][0]["status"] == "success"

    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with client.router.shadows._guard:
            held.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(5)
    is_right = holds_in_a_child(claim)
    done.set()
    holder.join()
    assert is_right


def test_a_client_without_shadows_starts_no_thread(open_client):
    before = {thread.ident for thread in threading.enumerate()}
    client = open_client()
    asyncio.run(ask(client, "hi"))
    new = [thread.name for thread in threading.enumerate() if thread.ident not in before]
    assert "llmbench-calls" not in new


def test_a_reload_changes_the_rollout_of_a_running_client(three_models, variables, tmp_path, server):
    from llmbench import LLMClient

    registry = {"models": models("a", "b", "c", "d")}
    folder: Path = three_models(llm_model_registry=registry)
    with LLMClient(folder, variables=variables, log_path=tmp_path / "log.jsonl", reload=True) as client:
        client.call("caption", "hi")
        assert server.models() == ["m-a"]
        three_models(llm_model_registry=registry, llm_rollouts={"rollouts": {"small": SHADOW}})
        wait_for(lambda: client.call("caption", "hi") and "m-d" in server.models(), 6.0)
