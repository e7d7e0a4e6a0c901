"""Budgets in whole calls over a loopback server: who is left out, what is refused, what a run adds up to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from llmbench import BudgetExceeded
from tests.conftest import models, provider
from tests.servers.chat_server import Step, completion, failure

DEAR, FAIR = {"input": 1.0, "output": 100.0}, {"input": 1.0, "output": 1.0}  # 100 tokens: 0.01 and 0.0001 USD
REGISTRY = {"models": {**models("a", "b", price=DEAR), **models("c", price=FAIR)}}
CALL = {"max_tokens": 100}


@pytest.fixture
def client(open_client, server):
    def opened(**limits):
        router = {"providers": {"stub": provider(server.url)}, "defaults": {"budgets": limits}}
        return open_client(llm_router=router, llm_model_registry=REGISTRY)

    return opened


def test_a_candidate_that_does_not_fit_is_left_out_of_the_call_and_of_explain(client, server, log):
    opened = client(call_usd=0.001)
    assert opened.explain("caption", "hi", **CALL).candidates == ("c",)
    response = opened.call("caption", "hi", **CALL)
    assert (response.model, server.models()) == ("c", ["m-c"])
    assert dict(response.route.excluded).keys() == {"a", "b"}
    assert log()[0]["fallback_chain"] == ["c"]


def test_nothing_is_sent_when_no_candidate_fits(client, server, log):
    with pytest.raises(BudgetExceeded, match="no candidate of task caption fits"):
        client(call_usd=0.00001).call("caption", "hi", **CALL)
    with pytest.raises(BudgetExceeded, match="not known"):
        client(call_usd=100).call("caption", "hi")
    assert server.received == []
    assert [(line["status"], line["error_class"]) for line in log()] == [("fail", "BudgetExceeded")] * 2


def test_what_a_failed_attempt_may_have_cost_leaves_less_for_the_next(client, server):
    """The broken answer of a may have been charged: its 0.01 leaves nothing for b, and c still fits."""
    server.script["m-a"] = [Step("<html>", headers={"content-type": "text/html"})]
    response = client(call_usd=0.015).call("caption", "hi", **CALL)
    assert server.models() == ["m-a", "m-c"]
    assert response.model == "c"


def test_a_status_that_nobody_charges_for_leaves_the_budget_whole(client, server):
    server.script["m-a"] = [failure(401)]
    assert client(call_usd=0.015).call("caption", "hi", **CALL).model == "b"


def test_a_run_and_a_routing_key_add_up_over_calls_and_others_go_on(client):
    opened = client(run_usd=0.00015, routing_key_usd=0.0002)
    opened.call("caption", "hi", run_id="r1", routing_key="k1", **CALL)
    for _ in range(3):  # each costs 0.000016 of the 0.0001 that it might
        opened.call("caption", "hi", run_id="r1", **CALL)
    with pytest.raises(BudgetExceeded, match="the budget of run r1"):
        opened.call("caption", "hi", run_id="r1", **CALL)
    opened.call("caption", "hi", run_id="r2", routing_key="k2", **CALL)


def test_parallel_calls_never_spend_more_than_their_run_may(client, server):
    full = completion("x", usage={"prompt_tokens": 1, "completion_tokens": 100})
    server.answer = lambda _: Step(full, delay_s=0.01)
    opened = client(run_usd=0.00101)  # ten calls of 0.000101 USD

    def one(_: int) -> bool:
        try:
            opened.call("caption", "hi", run_id="r", **CALL)
        except BudgetExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(40))) == 10
    assert len(server.received) == 10
