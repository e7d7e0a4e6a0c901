"""The door: what `explain` shows is what is sent, every call leaves one line, and no key ever shows."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import traceback

import pytest

from llmbench import FallbackExhausted, LLMClient, ParamError, ProviderError, RouteError
from llmbench.config import load_config
from llmbench.providers.scripted import ScriptedTransport
from tests.conftest import CANARY, models, provider
from tests.servers.chat_server import Step, completion, failure

SCHEMA = {"type": "object", "properties": {"tag": {"enum": ["x", "y"]}}, "required": ["tag"]}
LINE_KEYS = (
    "schema status timestamp call_id task tier channel env slot model model_id model_version provider "
    "fallback_chain reason latency_ms ttft_ms queued_ms usage cost_usd cost_source cpu_s load wasted_ms "
    "wasted_cost_usd finish_reason request_id attempts adjustments routing_key config_hash prompt_sha256 "
    "run_id cell"
)
SUCCESS_KEYS = set(LINE_KEYS.split())


def test_explain_shows_what_the_server_receives(open_client, server):
    client = open_client(
        llm_task_overrides={
            "tasks": {"caption": {"options": {"stop": ["\n"]}, "system_prompt": "Be brief."}}
        },
        llm_model_registry={
            "models": models(
                "a", "b", "c", params={"max_tokens_key": "max_completion_tokens", "allow_seed": False}
            )
        },
    )
    asked = {
        "temperature": 0.5,
        "max_tokens": 9,
        "seed": 3,
        "response_format": SCHEMA,
        "extra_body": {"z": 1},
    }
    route = client.explain("caption", "写真の題 ✓", **asked)
    server.answer = lambda _: Step(completion('{"tag": "x"}'))
    response = client.call("caption", "写真の題 ✓", **asked)
    assert server.received[0].json == route.bodies["a"]
    assert {key: value for key, value in route.bodies["a"].items() if key != "messages"} == {
        "model": "m-a",
        "stop": ["\n"],
        "temperature": 0.5,
        "max_completion_tokens": 9,
        "z": 1,
    }
    assert [turn["role"] for turn in route.bodies["a"]["messages"]] == ["system", "user"]
    assert server.received[0].path == "/v1/chat/completions"
    assert route.candidates == ("a", "b", "c")
    assert route.adjustments["a"] == response.adjustments
    assert {change.param for change in response.adjustments} == {"max_tokens", "seed", "response_format", "z"}
    assert response.parsed == {"tag": "x"}


def test_explain_opens_no_connection(open_client, server):
    assert open_client().explain("caption").worst_case_s == 120.0
    assert server.received == []


def test_an_answer_leaves_the_contracts_line(open_client, server, log):
    server.script["m-a"] = [failure(429, message="slow down")]
    environment = {"LLM_CHANNEL": "CH01", "LLM_ROUTING_KEY": "user-7"}
    client = open_client(environment, llm_fallback_policy={"per_status_retry": {429: 0}})
    response = client.call("caption", "hello", run_id="r1", cell="c1")
    (line,) = log()
    assert set(line) == SUCCESS_KEYS
    assert (line["status"], line["model"], line["fallback_chain"]) == ("success", "b", ["a", "b"])
    assert (line["channel"], line["routing_key"], line["run_id"], line["cell"]) == (
        "CH01",
        "user-7",
        "r1",
        "c1",
    )
    assert line["reason"].endswith("a: rate_limit")
    assert line["attempts"][0] == {
        "model": "a",
        "error_kind": "rate_limit",
        "status_code": 429,
        "error": "HTTP 429: slow down",
        "latency_ms": line["attempts"][0]["latency_ms"],
        "waited_ms": 0.0,
        "queued_ms": line["attempts"][0]["queued_ms"],
    }
    assert set(line["attempts"][1]) == {"model", "latency_ms", "waited_ms", "queued_ms"}
    lost_ms = line["attempts"][0]["latency_ms"] + line["attempts"][0]["queued_ms"]
    assert line["wasted_ms"] == pytest.approx(lost_ms, abs=0.01)
    assert (line["usage"]["input_tokens"], line["cost_usd"], line["cost_source"]) == (12, 2e-05, "registry")
    assert line["call_id"] == response.call_id
    assert "hello" not in json.dumps(line)


def test_a_failure_leaves_a_line_with_the_same_keys_and_its_error(open_client, server, log):
    server.answer = lambda _: failure(401)
    with pytest.raises(FallbackExhausted) as caught:
        open_client().call("caption", "hello")
    (line,) = log()
    assert set(line) == SUCCESS_KEYS | {"error", "error_class", "error_kind", "status_code"}
    assert (line["status"], line["model"], line["fallback_chain"]) == ("fail", None, ["a", "b", "c"])
    assert (line["error_class"], line["error_kind"], line["status_code"]) == (
        "FallbackExhausted",
        "auth",
        401,
    )
    assert line["call_id"] == caught.value.call_id


def test_a_route_that_leads_nowhere_leaves_a_line_too(open_client, log):
    with pytest.raises(RouteError):
        open_client().call("caption", "x", models="ghost")
    assert [(line["status"], line["error_kind"]) for line in log()] == [("fail", "model_not_found")]


def test_a_missing_key_is_named_by_its_variable(three_models):
    with LLMClient(three_models(), variables={}) as client, pytest.raises(RouteError, match="set STUB_KEY"):
        client.call("caption", "x")


# ---- answers


def test_a_reply_that_breaks_its_schema_was_paid_for_and_moves_on(open_client, server, log):
    server.script["m-a"] = [Step(completion('{"tag": "z"}'))]
    server.script["m-b"] = [Step(completion('```json\n{"tag": "y"}\n```'))]
    response = open_client().call("caption", "x", response_format=SCHEMA)
    assert (response.model, response.parsed) == ("b", {"tag": "y"})
    failed = response.attempts[0]
    assert (failed.error_kind, failed.output, failed.cost_usd) == ("invalid_output", '{"tag": "z"}', 2e-05)
    assert log()[0]["wasted_cost_usd"] == 2e-05


def test_a_schema_of_the_config_holds_unless_the_call_wants_text(open_client, server):
    overrides = {"tasks": {"caption": {"options": {"response_format": SCHEMA}}}}
    server.answer = lambda _: Step(completion('{"tag": "x"}'))
    client = open_client(llm_task_overrides=overrides)
    assert client.call("caption", "x").parsed == {"tag": "x"}
    assert client.call("caption", "x", response_format={"type": "text"}).parsed is None


def test_a_refusal_is_returned_with_its_text(open_client, server, log):
    server.script["m-a"] = [Step(completion(None, refusal="I would rather not."))]
    response = open_client().call("caption", "x", response_format=SCHEMA)
    assert (response.model, response.finish_reason, response.text) == ("a", "refusal", "I would rather not.")
    assert (log()[0]["status"], log()[0]["finish_reason"]) == ("success", "refusal")


def test_tool_calls_reach_the_caller(open_client, server):
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    server.answer = lambda _: Step(completion(None, finish_reason="tool_calls", tool_calls=calls))
    able = {"models": models("a", capabilities={"tools": True}) | models("b", "c")}
    tools = [{"type": "function", "function": {"name": "f"}}]
    response = open_client(llm_model_registry=able).call("caption", "x", tools=tools)
    assert list(response.tool_calls) == calls
    assert dict(response.route.excluded) == dict.fromkeys("bc", "cannot use tools (capabilities.tools)")


def test_the_tasks_own_settings_hold_unless_the_call_says_otherwise(open_client, server):
    rules = {"caption": {"system_prompt": "config", "retry_policy": {"retry_limit": 1}, "timeout": 7}}
    client = open_client(llm_task_overrides={"tasks": rules})
    assert client.explain("caption").worst_case_s == 7
    assert client.explain("caption", timeout=3).worst_case_s == 3
    system = {"role": "system", "content": "own"}
    user = {"role": "user", "content": "x"}
    client.call("caption", "x")
    client.call("caption", [system, user])
    client.call("caption", "x", system="call")
    sent = [[turn["content"] for turn in request.json["messages"]] for request in server.received]
    assert sent == [["config", "x"], ["own", "x"], ["call", "x"]]
    server.answer = lambda _: failure(401)
    with pytest.raises(FallbackExhausted) as caught:
        client.call("caption", "x")
    assert len(caught.value.exceptions) == 1


def test_the_worst_case_is_every_candidate_in_full_and_unknown_without_a_limit(open_client):
    client = open_client()
    assert client.explain("caption", "x" * 400, max_tokens=50).worst_case_usd == pytest.approx(3 * 200e-6)
    assert client.explain("caption", "x").worst_case_usd is None


def test_an_image_is_not_counted_by_its_bytes(open_client):
    sees = models("a", "b", "c", capabilities={"vision": True, "context_tokens": 4000})
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    client = open_client(llm_model_registry={"models": sees})
    prompt = [{"role": "user", "content": [{"type": "text", "text": "what?"}, picture]}]
    assert client.explain("caption", prompt).candidates == ("a", "b", "c")


@pytest.mark.parametrize("options", [{"max_tokens": "9"}, {"timeout": "soon"}, {"temprature": 1}])
def test_a_wrong_option_is_refused_before_anything_is_sent(open_client, server, options):
    with pytest.raises(ParamError):
        open_client().call("caption", "x", **options)
    assert server.received == []


def test_strict_refuses_what_would_be_changed_and_sends_nothing(open_client, server, log):
    able = {"models": models("a", params={"allow_seed": False})}
    client = open_client(
        llm_model_registry=able, llm_tier_candidates={"tiers": {"cheap": ["a"], "standard": ["a"]}}
    )
    with pytest.raises(ParamError, match=r"strict: a would not take.*seed dropped"):
        client.call("caption", "x", seed=1, strict=True)
    assert server.received == []
    assert log()[0]["error_class"] == "ParamError"


def test_a_model_of_a_wire_that_is_not_spoken_is_left_out_and_the_next_answers(open_client):
    mixed = {"models": {**models("a", wire="images"), **models("b", "c")}}
    response = open_client(llm_model_registry=mixed).call("caption", "x")
    assert response.model == "b"
    assert dict(response.route.excluded)["a"] == "this version does not speak its wire 'images'"


# ---- time


def test_the_deadline_ends_a_call_at_a_server_that_hangs(open_client, server, log):
    server.answer = lambda _: Step(fault="hang")
    started = time.monotonic()
    with pytest.raises(FallbackExhausted) as caught:
        open_client().call("caption", "x", timeout=0.4)
    assert time.monotonic() - started < 5
    assert caught.value.kind == "timeout"
    assert log()[0]["fallback_chain"][0] == "a"


def test_a_cancelled_call_says_so_in_the_log(open_client, server, log):
    server.script["m-a"] = [failure(401)]
    server.script["m-b"] = [Step(fault="hang")]

    async def cancelled() -> None:
        async with open_client() as client:
            task = asyncio.create_task(client.acall("caption", "x"))
            while len(server.received) < 2:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelled())
    (line,) = log()
    assert (line["status"], line["error_kind"], line["fallback_chain"]) == ("fail", "cancelled", ["a", "b"])
    assert [attempt["error_kind"] for attempt in line["attempts"]] == ["auth", "cancelled"]


def test_a_broken_circuit_costs_no_request(open_client, server):
    server.script["m-a"] = [failure(500)]
    policy = {"backoff_sec": 0, "per_status_retry": {500: 0}, "breaker": {"failures": 2, "cooldown_s": 60}}
    client = open_client(llm_fallback_policy=policy)
    kinds = [client.call("caption", "x").attempts[0].error_kind for _ in range(3)]
    assert kinds == ["server_error", "server_error", "circuit_open"]
    assert server.models().count("m-a") == 2


# ---- telemetry and secrets


def test_a_log_that_cannot_be_written_fails_no_call(three_models, variables):
    with LLMClient(three_models(), variables=variables, log_path="/dev/full") as client:
        with pytest.warns(RuntimeWarning, match="calls go on"):
            assert client.call("caption", "x").text == "answer of m-a"
        assert client.call("caption", "x").text == "answer of m-a"
        assert client.router.log.dropped == 2


def test_the_log_can_be_switched_off_and_moved(three_models, variables, tmp_path):
    for environment, written in (
        ({"LLM_ROUTER_LOG_DISABLE": "1"}, None),
        ({"LLM_ROUTER_LOG_PATH": str(tmp_path / "moved.jsonl")}, tmp_path / "moved.jsonl"),
    ):
        with LLMClient(three_models(), variables=variables | environment) as client:
            client.call("caption", "x")
            assert client.router.log.path == written
    assert (tmp_path / "moved.jsonl").exists()
    assert not (tmp_path / "default_log").exists()


def test_a_key_appears_in_no_error_log_or_repr(open_client, server, tmp_path, caplog):
    caplog.set_level("DEBUG")
    echo = "key " + CANARY + " and header {authorization} refused"
    server.answer = lambda request: failure(401, message=echo.format(**request.headers))
    client = open_client()
    with pytest.raises(FallbackExhausted) as caught:
        client.call("caption", "x")
    server.answer = lambda _: Step(fault="reset")
    with pytest.raises(FallbackExhausted) as broken:
        client.call("caption", "x")
    seen = [caplog.text, (tmp_path / "log.jsonl").read_text()]
    for group in (caught.value, broken.value):
        for error in (group, *group.exceptions):
            seen += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
        seen += [repr(group.attempts)]
    seen += [repr(client), repr(client.config), repr(client.router.environment), repr(vars(client.router))]
    seen += [str(client.explain("caption", "x")), repr(client.explain("caption", "x"))]
    assert server.received[0].headers["authorization"] == f"Bearer {CANARY}"
    assert "HTTP 401: key ***" in str(caught.value)
    assert not [text for text in seen if CANARY in text]


def test_what_a_transport_met_is_not_carried_along_with_its_error(three_models, variables, tmp_path):
    def answer(_: object) -> ProviderError:
        error = ProviderError(f"bad header {CANARY}", kind="connect")
        error.__cause__ = error.__context__ = ValueError(f"Illegal header value b'Bearer {CANARY}'")
        return error

    options = {"variables": variables, "log_path": tmp_path / "log.jsonl"}
    client = LLMClient(three_models(), transport=lambda: ScriptedTransport(answer), **options)
    with client, pytest.raises(FallbackExhausted) as caught:
        client.call("caption", "x")
    told = "".join(traceback.format_exception(caught.value))
    assert "bad header ***" in told
    assert CANARY not in told
    assert [error.__cause__ for error in caught.value.exceptions] == [None] * 3


# ---- cost of importing


def test_importing_is_cheap_and_brings_no_heavy_library():
    program = """
import time
import llmbench
spent = time.process_time()
import sys
from llmbench import LLMClient
heavy = "httpx pydantic yaml jsonschema rich typer duckdb numpy scipy pandas papermill jinja2 matplotlib"
print(json.dumps([spent, sorted(set(heavy.split()) & set(sys.modules))]))
"""
    program = "import json, time\nbegan = time.process_time()" + program.replace(
        "process_time()\nimport sys", "process_time() - began\nimport sys"
    )
    run = [subprocess.run([sys.executable, "-c", program], capture_output=True, check=True) for _ in range(3)]
    results = [json.loads(done.stdout) for done in run]
    assert min(spent for spent, _ in results) < 0.060
    assert [heavy for _, heavy in results] == [[]] * 3


def test_a_loaded_config_can_be_given_instead_of_a_folder(three_models, variables, server):
    config = load_config(three_models(llm_router={"providers": {"stub": provider(server.url)}}))
    with LLMClient(config, variables=variables) as client:
        assert client.config is config
        assert client.call("unheard of", "x").model == "b"
