"""What a call may ask for beside its parameters, and what the client learns while it runs."""

from __future__ import annotations

import json

import pytest
import yaml

from llmbench import BudgetExceeded, FallbackExhausted, LLMClient, ParamError, RouteError
from tests.conftest import models, provider
from tests.servers.chat_server import Step, completion, failure

SCHEMA = {
    "type": "object",
    "properties": {"tag": {"type": "string"}},
    "required": ["tag"],
    "additionalProperties": False,
}


def refuses(param: str) -> Step:
    """A 400 in OpenAI's form that names a parameter."""
    error = {"message": f"Unsupported parameter: '{param}'", "code": "unsupported_parameter", "param": param}
    return Step({"error": error}, status=400)


# ---- lessons


def test_a_refused_parameter_is_left_out_at_once_and_in_later_calls(open_client, server, log):
    server.script["m-a"] = [refuses("temperature"), Step(completion("ok"))]
    client = open_client()
    response = client.call("caption", "hi", temperature=0.5, max_tokens=9)
    assert (response.model, server.models()) == ("a", ["m-a", "m-a"])
    assert "temperature" not in server.received[1].json
    (change,) = response.adjustments
    assert (change.param, change.action, change.before) == ("temperature", "dropped", 0.5)
    assert "refused it" in change.rule
    assert [a.get("error_kind") for a in log()[0]["attempts"]] == ["unsupported_param", None]
    later = client.call("caption", "hi", temperature=0.5)
    assert (len(server.received), later.adjustments[0].param) == (3, "temperature")
    assert "temperature" not in client.explain("caption", "hi", temperature=0.5).bodies["a"]


def test_a_refused_limit_goes_out_under_its_other_name(open_client, server):
    server.script["m-a"] = [refuses("max_tokens"), Step(completion("ok"))]
    response = open_client().call("caption", "hi", max_tokens=9)
    assert server.received[1].json["max_completion_tokens"] == 9
    assert "max_tokens" not in server.received[1].json
    assert [change.action for change in response.adjustments] == ["renamed", "renamed"]


def test_a_refused_schema_is_asked_for_in_the_prompt(open_client, server):
    server.script["m-a"] = [refuses("response_format"), Step(completion('{"tag": "x"}'))]
    able = models("a", "b", "c", capabilities={"structured_outputs": True})
    response = open_client(llm_model_registry={"models": able}).call("caption", "hi", response_format=SCHEMA)
    assert response.parsed == {"tag": "x"}
    assert "response_format" not in server.received[1].json
    assert "JSON Schema" in server.received[1].json["messages"][0]["content"]


def test_a_parameter_of_the_callers_own_body_is_left_out_too(open_client, server):
    server.script["m-a"] = [refuses("min_p"), Step(completion("ok"))]
    response = open_client().call("caption", "hi", extra_body={"min_p": 0.1, "top_a": 1})
    assert server.received[1].json["top_a"] == 1
    assert "min_p" not in server.received[1].json
    assert ("min_p", "dropped") in {(change.param, change.action) for change in response.adjustments}


def test_a_host_that_refuses_what_was_not_sent_is_asked_once(open_client, server):
    server.script["m-a"] = [refuses("logit_bias")]
    response = open_client().call("caption", "hi")
    assert server.models() == ["m-a", "m-b"]
    assert response.model == "b"


def test_a_host_that_refuses_the_same_parameter_again_is_not_asked_a_third_time(open_client, server):
    server.script["m-a"] = [refuses("temperature")]
    assert open_client().call("caption", "hi", temperature=0.5).model == "b"
    assert server.models() == ["m-a", "m-a", "m-b"]


def test_a_strict_call_refuses_what_was_learned(open_client, server):
    server.script["m-a"] = [refuses("temperature"), Step(completion("ok"))]
    with pytest.raises(ParamError, match=r"strict: a .*temperature dropped"):
        open_client().call("caption", "hi", temperature=0.5, strict=True)
    assert server.models() == ["m-a"]


# ---- the arguments


def test_a_call_that_asks_for_reasoning_goes_to_those_who_can(open_client):
    registry = {
        "models": {
            **models("a", "c"),
            **models("b", capabilities={"reasoning": True, "reasoning_levels": ["low", "high"]}),
        }
    }
    client = open_client(llm_model_registry=registry)
    route = client.explain("caption", "hi", reasoning="high")
    assert route.candidates == ("b",)
    assert dict(route.excluded)["a"] == "cannot reason (capabilities.reasoning)"
    assert client.explain("caption", "hi", reasoning="none").candidates == ("a", "b", "c")
    nobody = client.explain("caption", "hi", models=["a"], reasoning="high")
    assert [change.action for change in nobody.adjustments["a"]] == ["dropped"]


def test_a_forced_wire_is_used_and_leaves_out_who_lacks_it(open_client, server):
    registry = {"models": {**models("a", "b"), "c": {"provider": "far", "model_name": "m-c"}}}
    router = {
        "providers": {
            "stub": provider(server.url),
            "far": {"type": "gemini", "base_url": server.url.removesuffix("/v1"), "env_api_key": "STUB_KEY"},
        }
    }
    client = open_client(llm_router=router, llm_model_registry=registry)
    forced = client.explain("caption", "hi", force_responses=True, max_tokens=20, stop="\n")
    assert forced.candidates == ("a", "b")
    assert forced.bodies["a"]["max_output_tokens"] == 20
    assert "stop" not in forced.bodies["a"]
    assert "wire 'responses'" in dict(forced.excluded)["c"]
    assert "messages" in client.explain("caption", "hi", force_chat=True).bodies["a"]
    with pytest.raises(ParamError, match="exclude each other"):
        client.explain("caption", "hi", force_chat=True, force_responses=True)


def test_a_task_may_force_its_wire(open_client, server):
    client = open_client(llm_task_overrides={"tasks": {"caption": {"force_responses": True}}})
    with pytest.raises(FallbackExhausted):
        client.call("caption", "hi", models="a")  # the stub answers with chat completions
    assert server.received[0].path == "/v1/responses"


def test_places_in_a_text_take_the_variables(open_client, server):
    client = open_client()
    client.call("caption", "題: {title} {x}", variables={"title": "海", "x": 3}, system="For {title}.")
    sent = [turn["content"] for turn in server.received[0].json["messages"]]
    assert sent == ["For 海.", "題: 海 3"]
    client.call("caption", '{"title": 1} {title}')
    assert server.received[1].json["messages"][0]["content"] == '{"title": 1} {title}'


def test_a_task_that_asks_for_it_gets_clean_output_and_no_other(open_client, server):
    server.answer = lambda _: Step(completion('```json\n{"text": "犬が走る"}\n```'))
    tidy = {"tasks": {"caption": {"clean_output": ["unfence", "unwrap_json"]}}}
    client = open_client(llm_task_overrides=tidy)
    assert client.call("caption", "hi").text == "犬が走る"
    assert client.call("other", "hi").text.startswith("```json")


def test_texts_are_logged_only_when_switched_on(open_client, log, server):
    server.answer = lambda _: Step(completion("the reply"))
    open_client().call("caption", "the prompt")
    assert "the prompt" not in json.dumps(log()[0])
    open_client({"LLM_ROUTER_LOG_CONTENT": "1"}).call("caption", "the prompt")
    line = log()[1]
    assert line["messages"] == [{"role": "user", "content": "the prompt"}]
    assert line["output"] == "the reply"
    router = {"providers": {"stub": provider(server.url)}, "defaults": {"log_content": True}}
    open_client(llm_router=router).call("caption", "from the config")
    assert log()[2]["output"] == "the reply"


def test_a_callers_token_goes_out_as_bearer_and_never_into_the_log(three_models, server, tmp_path):
    token = "entra-token-7c1d55f0a9e34b"
    router = {"providers": {"stub": {"base_url": server.url, "auth": "entra"}}}
    server.script["m-a"] = [failure(400, message=f"bad header {token}")]
    with LLMClient(
        three_models(llm_router=router),
        variables={},
        log_path=tmp_path / "log.jsonl",
        token_providers={"stub": lambda: token},
    ) as client:
        with pytest.raises(FallbackExhausted) as caught:
            client.call("caption", "hi")
        assert server.received[0].headers["authorization"] == f"Bearer {token}"
        assert token not in str(caught.value) + (tmp_path / "log.jsonl").read_text() + repr(client.router)


# ---- reload


def test_changed_files_are_used_without_a_restart_and_broken_ones_are_not(three_models, server, variables):
    folder = three_models()
    with LLMClient(folder, variables=variables, reload=True) as client:
        watch = client.router._watch
        watch._every_s = watch._settle_s = watch._next_look = 0.0
        assert client.call("caption", "hi").model == "a"
        tiers = folder / "llm_tier_candidates.yaml"
        tiers.write_text(yaml.safe_dump({"tiers": {"cheap": ["c"], "standard": ["b"]}}), encoding="utf-8")
        assert client.call("caption", "hi").model == "c"
        tiers.write_text("tiers: {cheap: [ghost]}", encoding="utf-8")
        with pytest.warns(RuntimeWarning, match="the earlier ones stay"):
            assert client.call("caption", "hi").model == "c"
        _written(folder / "new", {"tiers": {"cheap": ["b"]}}).replace(tiers)
        assert client.call("caption", "hi").model == "b"


def _written(path, data):
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


def test_a_client_without_reload_keeps_its_config(three_models, server, variables):
    folder = three_models()
    with LLMClient(folder, variables=variables) as client:
        tiers = folder / "llm_tier_candidates.yaml"
        tiers.write_text("tiers: {cheap: [c], standard: [b]}", encoding="utf-8")
        assert client.call("caption", "hi").model == "a"


def test_a_route_without_a_key_says_what_to_set(open_client, server):
    router = {
        "providers": {
            "stub": provider(server.url),
            "azure": {"env_endpoint": "AZ_URL", "env_api_key": "AZ_KEY"},
        }
    }
    registry = {"models": {**models("b", "c"), "a": {"provider": "azure", "deployment": "d"}}}
    client = open_client(llm_router=router, llm_model_registry=registry)
    assert dict(client.explain("caption").excluded)["a"].endswith("set AZ_URL and AZ_KEY")
    with pytest.raises(RouteError, match="AZ_KEY"):
        client.explain("caption", models="a")


def test_a_reload_keeps_what_hosts_refused_of_models_that_stand_unchanged(three_models, server, variables):
    folder = three_models()
    server.script["m-a"] = [refuses("temperature"), Step(completion("ok"))]
    with LLMClient(folder, variables=variables, reload=True) as client:
        watch = client.router._watch
        watch._every_s = watch._settle_s = watch._next_look = 0.0
        client.call("caption", "hi", temperature=0.5)
        tiers = folder / "llm_tier_candidates.yaml"
        tiers.write_text("tiers: {cheap: [a, c], standard: [b]}", encoding="utf-8")
        assert client.call("caption", "hi", temperature=0.5).model == "a"
    assert server.models() == ["m-a", "m-a", "m-a"]


# ---- the windows and limits of candidates


def test_a_calls_limit_counts_only_as_far_as_the_model_goes(open_client):
    small = models("a", capabilities={"context_tokens": 1000, "max_tokens": 100})
    client = open_client(llm_model_registry={"models": {**small, **models("b", "c")}})
    assert client.explain("caption", "あ" * 800, max_tokens=5000).candidates[0] == "a"
    assert "do not fit" in dict(client.explain("caption", "あ" * 950, max_tokens=5000).excluded)["a"]


def test_a_configs_limit_counts_as_a_calls_does(open_client):
    small = models("a", capabilities={"context_tokens": 1000})
    client = open_client(
        llm_model_registry={"models": {**small, **models("b", "c")}},
        llm_tier_candidates={
            "tiers": {"cheap": ["a", "b"], "standard": ["b"]},
            "defaults": {"cheap": {"max_tokens": 900}},
        },
    )
    assert client.explain("caption", "あ" * 90).candidates == ("a", "b")
    assert client.explain("caption", "あ" * 200).candidates == ("b",)
    assert client.explain("caption", "あ" * 200, max_tokens=50).candidates == ("a", "b")


def test_tools_and_schemas_count_as_input(open_client):
    able = models("a", capabilities={"context_tokens": 500, "tools": True})
    client = open_client(llm_model_registry={"models": {**able, **models("b", "c")}})
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 4000, "parameters": {}}}
    with pytest.raises(RouteError, match="do not fit its context of 500"):
        client.explain("caption", "hi", tools=[tool], models=["a"])


def test_a_model_without_a_key_does_not_count_as_one_that_can_reason(open_client, server):
    far = {"provider": "far", "model_name": "m", "capabilities": {"reasoning": True}}
    router = {
        "providers": {
            "stub": provider(server.url),
            "far": {"base_url": "https://far.example/v1", "env_api_key": "FAR_KEY"},
        }
    }
    client = open_client(llm_router=router, llm_model_registry={"models": {**models("b", "c"), "a": far}})
    assert client.explain("caption", "hi", reasoning="high").candidates == ("b", "c")


def test_explain_leaves_out_who_cannot_express_the_call_as_the_call_does(open_client, server):
    registry = {
        "models": {
            **models("a", "c"),
            "b": {"provider": "stub", "model_name": "m-b", "allow_temperature": False},
        }
    }
    client = open_client(llm_model_registry=registry)
    route = client.explain("caption", "hi", temperature=0.5, strict=True)
    assert route.candidates == ("a", "c")
    assert "temperature dropped" in dict(route.excluded)["b"]
    assert client.call("caption", "hi", temperature=0.5, strict=True).model == "a"


def test_a_tool_call_is_an_answer_where_a_schema_is_asked_for(open_client, server):
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    server.answer = lambda _: Step(completion(None, finish_reason="tool_calls", tool_calls=calls))
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    able = models("a", "b", "c", capabilities={"tools": True, "structured_outputs": True})
    client = open_client(llm_model_registry={"models": able})
    reply = client.call("caption", "hi", tools=[tool], response_format=SCHEMA)
    assert (reply.model, reply.parsed, reply.tool_calls[0]["id"]) == ("a", None, "c1")


def test_the_most_specific_file_says_how_long_a_task_may_take(open_client, server):
    router = {"providers": {"stub": provider(server.url)}, "tasks": {"caption": {"timeout": 300}}}
    channel = {"tasks": {"caption": {"options": {"timeout": 5}}}}
    mapping = {"tasks": {"caption": "cheap"}, "overrides": {"channels": {"CH1": channel}}}
    client = open_client(llm_router=router, llm_tier_mapping=mapping)
    assert client.explain("caption", channel="CH1").worst_case_s == 5.0
    assert client.explain("caption").worst_case_s == 300.0


# ---- one line a call


@pytest.mark.parametrize("wrong", [{"temprature": 1}, {"budget_usd": -1}, {"response_format": {"type": 5}}])
def test_a_call_that_is_refused_leaves_its_line_too(open_client, server, log, wrong):
    with pytest.raises(ParamError):
        open_client().call("caption", "hi", **wrong)
    (line,) = log()
    assert (line["status"], line["task"], line["error_class"]) == ("fail", "caption", "ParamError")
    assert server.received == []


def test_a_limit_in_the_callers_own_body_counts_against_a_budget(open_client, server):
    client = open_client()
    with pytest.raises(BudgetExceeded):
        client.call("caption", "hi", max_tokens=10, budget_usd=0.0001, extra_body={"max_tokens": 100_000})
    with pytest.raises(BudgetExceeded):
        client.call("caption", "hi", max_tokens=10, budget_usd=0.0001, extra_body={"n": 128})
    assert server.received == []
