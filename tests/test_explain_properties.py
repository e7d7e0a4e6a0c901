"""For any parameters: what explain shows is what is sent first, and nothing is changed without an entry."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmbench import LLMClient
from llmbench.providers.scripted import ScriptedTransport
from tests.conftest import models

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.integers(1, 5000),
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(0, 50),
        "seed": st.integers(0, 9),
        "stop": st.sampled_from(["\n", ["。", "end"]]),
        "presence_penalty": st.floats(-2, 2),
        "frequency_penalty": st.floats(-2, 2),
        "reasoning": st.sampled_from(["none", "low", "high", "max"]),
        "verbosity": st.sampled_from(["low", "high"]),
        "extra_body": st.fixed_dictionaries({}, optional={"min_p": st.floats(0, 1), "seed": st.just(3)}),
    },
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens_key": st.sampled_from(["max_tokens", "max_completion_tokens"]),
        "reasoning_key": st.just("reasoning_effort"),
        **{f"allow_{name}": st.booleans() for name in ("temperature", "top_p", "top_k", "stop", "seed")},
        "allow_penalties": st.booleans(),
    },
)


@pytest.fixture
def folder(three_models):
    def write(rules, limit):
        can = {"max_tokens": limit, "reasoning_levels": ["low", "high"]}
        return three_models(
            llm_model_registry={"models": models("a", "b", "c", params=rules, capabilities=can)}
        )

    return write


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=OPTIONS, rules=RULES, limit=st.sampled_from([10, 1000]))
def test_explain_is_the_first_request_and_every_change_has_its_entry(folder, tmp_path, options, rules, limit):
    transport = ScriptedTransport(["ok"])
    with LLMClient(
        folder(rules, limit),
        variables={"STUB_KEY": "key"},
        log_path=tmp_path / "log.jsonl",
        transport=lambda: transport,
    ) as client:
        route = client.explain("caption", "字幕", **options)
        reply = client.call("caption", "字幕", **options)
    body = transport.asked[0].body
    assert body == route.bodies[route.candidates[0]]
    assert reply.adjustments == route.adjustments.get(reply.model, ())
    told = {change.param for change in reply.adjustments}
    plain = {name: value for name, value in options.items() if name != "extra_body"}
    for name, value in {**plain, **options.get("extra_body", {})}.items():
        assert name in told or body.get(name) == value, (name, body, reply.adjustments)
    given_names = {*plain, *options.get("extra_body", {}), "model", "messages"}
    renamed = {str(change.after) for change in reply.adjustments if change.action == "renamed"}
    assert set(body) <= given_names | renamed
