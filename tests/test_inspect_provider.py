"""A tier as a model of Inspect AI: what goes in, what comes out, and `inspect eval` on the command line."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("inspect_ai", reason='Inspect is not installed: pip install "llmbench[inspect]"')

import anyio
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.log import read_eval_log
from inspect_ai.model import (
    ChatMessageUser,
    GenerateConfig,
    ResponseSchema,
    get_model,
)
from inspect_ai.util import JSONSchema

from llmbench import load_config
from llmbench.errors import BudgetExceeded, ConfigError, ParamError, ProviderError, RouteError
from llmbench.interop.inspect_model import Place, place_of
from llmbench.jsonl import read_jsonl
from tests.conftest import models, provider
from tests.embedded_clients import SMOL, skip_unless_here
from tests.inspect_calls import _key, ask, facts, tier  # noqa: F401 -- the fixtures
from tests.servers.chat_server import Step, completion, failure

# ---- names and arguments


def test_a_task_wins_over_a_tier_of_its_name_and_a_tier_over_a_model(three_models):
    config = load_config(three_models(llm_tier_mapping={"tasks": {"cheap": "standard"}}))
    assert place_of("cheap", config) == Place("cheap")
    assert place_of("standard", config) == Place("inspect", tier="standard")
    assert place_of("standard", config, "caption") == Place("caption", tier="standard")
    assert place_of("c", config) == place_of("m-c", config) == Place("inspect", models=("c",))
    with pytest.raises(
        ConfigError, match="no task, tier or model 'nope'; tasks: cheap; tiers: cheap, standard"
    ):
        place_of("nope", config)


@pytest.mark.parametrize(
    ("name", "model_args", "said"),
    [
        ("nope", {}, "no task, tier or model"),
        ("cheap", {"chanel": "x"}, "-M chanel: llmbench knows configs, task, channel, env, deadline_s"),
        ("cheap", {"deadline_s": 0}, "-M deadline_s=0: give seconds"),
        ("cheap", {"deadline_s": True}, "-M deadline_s=True: give seconds"),
        ("cheap", {"env": False}, "-M env=False: give a text"),
        ("cheap", {"base_url": "http://127.0.0.1"}, "no base URL"),
        ("cheap", {"api_key": "k"}, "no API key"),
    ],
)
def test_what_cannot_be_opened_is_said_in_the_way_that_inspect_prints_as_one_line(
    tier, name, model_args, said
):
    with pytest.raises(PrerequisiteError) as caught:
        tier(name, **model_args)
    assert said in caught.value.message.replace("\\[", "[")
    assert isinstance(caught.value.__cause__, ConfigError | ParamError)


def test_a_missing_config_folder_is_named(tmp_path):
    with pytest.raises(PrerequisiteError) as caught:
        get_model("llmbench/cheap", memoize=False, configs=str(tmp_path / "nowhere"))
    assert "nowhere" in caught.value.message


def test_a_model_key_pins_one_model_without_fallback(tier, server):
    server.script["m-c"] = [failure(500)]
    with pytest.raises(ProviderError, match="llmbench server_error"):
        ask(tier("c"))
    assert set(server.models()) == {"m-c"}


def test_channel_and_environment_choose_the_route(tier, server):
    overrides = {"channels": {"CH01": {"tasks": {"caption": {"models": ["c"]}}}}}
    mapping = {"tasks": {"caption": "cheap"}, "overrides": overrides}
    output = ask(tier("caption", {"llm_tier_mapping": mapping}, channel="CH01"))
    assert output.model == "c"
    assert facts(output)["task"] == "caption"


def test_importing_the_provider_loads_nothing_of_ours():
    code = (
        "import sys, llmbench.interop.inspect_provider as found\n"
        "print(sorted(name for name in sys.modules if name.startswith('llmbench')))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['llmbench', 'llmbench.interop', 'llmbench.interop.inspect_provider']"


# ---- out: answers, failures


def test_an_answer_says_what_it_cost_and_which_model_gave_it(tier, server):
    counted = {"prompt_tokens": 12, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 5}}
    server.script["m-a"] = [failure(500)]
    server.script["m-b"] = [Step(completion("4", usage=counted))]
    output = ask(tier())
    assert (output.completion, output.model, output.stop_reason) == ("4", "b", "stop")
    assert (output.fallback.model, output.fallback.fallback_model) == ("a", "b")
    usage = output.usage
    assert (usage.input_tokens, usage.input_tokens_cache_read, usage.output_tokens) == (7, 5, 4)
    assert usage.total_tokens == 16
    assert usage.total_cost == pytest.approx(facts(output)["cost_usd"]) == pytest.approx(20e-6)
    assert facts(output)["cost_source"] == "registry"
    assert facts(output)["fallback_chain"] == ["a", "b"]
    line = next(read_jsonl(os.environ["LLM_ROUTER_LOG_PATH"])).record
    assert line["call_id"] == facts(output)["call_id"]
    assert (line["task"], line["tier"], line["run_id"]) == ("inspect", "cheap", None)


@pytest.mark.parametrize(
    ("finish", "expected"), [("stop", "stop"), ("length", "max_tokens"), ("content_filter", "content_filter")]
)
def test_finish_reasons_are_inspects_stop_reasons(tier, server, finish, expected):
    server.script["m-a"] = [Step(completion("some", finish_reason=finish))]
    assert ask(tier("a")).stop_reason == expected


def test_a_prompt_that_fits_no_candidate_is_an_output_to_be_scored_too(tier, server):
    small = {**models("b", "c"), **models("a", capabilities={"context_tokens": 100})}
    output = ask(tier("a", {"llm_model_registry": {"models": small}}), ChatMessageUser(content="word " * 200))
    assert (output.stop_reason, output.completion, facts(output)["error_kind"]) == (
        "model_length",
        "",
        "context_length",
    )
    assert "do not fit its context of 100" in output.error
    assert server.models() == []


def test_a_missing_key_is_an_error_that_says_that_nothing_was_sent(tier, monkeypatch):
    monkeypatch.delenv("STUB_KEY")
    model = tier("a")
    with pytest.raises(RouteError, match=r"^llmbench not_sent: no candidate for task .*set STUB_KEY"):
        ask(model)


@pytest.mark.parametrize(
    ("step", "kind", "stop"),
    [
        (failure(400, "context_length_exceeded"), "context_length", "model_length"),
        (failure(400, "content_filter"), "content_filter", "content_filter"),
        (Step(completion("")), "empty", "unknown"),
    ],
    ids=["context", "filter", "empty"],
)
def test_a_failure_of_the_model_itself_is_an_output_to_be_scored(tier, server, step, kind, stop):
    server.script["m-a"] = [step]
    output = ask(tier("a"))
    assert (output.stop_reason, facts(output)["error_kind"]) == (stop, kind)
    assert output.error.startswith(f"llmbench {kind}: ")


def test_an_answer_against_its_schema_reaches_the_scorer(tier, server):
    server.script["m-a"] = [Step(completion("four"))]
    schema = ResponseSchema(name="sum", json_schema=JSONSchema(type="object"))
    output = ask(tier("a"), response_schema=schema)
    assert output.completion == "four"
    assert facts(output)["error_kind"] == "invalid_output"
    assert output.usage.total_tokens > 0


def test_a_rate_limit_is_retried_by_the_policy_and_not_by_inspect(tier, server):
    server.script["m-a"] = [failure(429)]
    policy = {"llm_fallback_policy": {"backoff_sec": 0, "per_status_retry": {429: 2}}}
    model = tier("a", policy)
    with pytest.raises(ProviderError, match=r"^llmbench rate_limit: ") as caught:
        ask(model, max_retries=5)
    assert (caught.value.kind, caught.value.status_code) == ("rate_limit", 429)
    assert len(server.received) == 3
    assert not model.api.should_retry(caught.value)


def test_the_deadline_of_a_model_argument_ends_a_call(tier, server):
    server.script["m-a"] = [Step(completion(), delay_s=3)]
    with pytest.raises(ProviderError, match=r"^llmbench timeout: "):
        ask(tier("a", deadline_s=0.2))


def test_a_budget_that_is_used_up_says_so_in_words_that_the_import_knows(tier, three_models):
    defaults = {"budgets": {"call_usd": 1e-9}}
    router = {"providers": {"stub": provider("http://127.0.0.1:9/v1")}, "defaults": defaults}
    with pytest.raises(BudgetExceeded, match=r"^llmbench budget: "):
        ask(tier("a", {"llm_router": router}), max_tokens=100)


def test_calls_beyond_a_providers_concurrency_wait_before_their_deadline_begins(tier, server):
    limited = {"llm_router": {"providers": {"stub": provider(server.url, limits={"concurrency": 1})}}}
    server.script["m-a"] = [Step(completion(), delay_s=0.3)]
    model = tier("a", limited, deadline_s=0.8)
    assert model.api.max_connections() == 1

    async def four():
        async with model, anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(model.generate, "Hello?")

    asyncio.run(four())
    assert len(server.received) == 4


def test_another_event_loop_than_asyncio_is_refused(tier):
    model = tier()
    call = model.api.generate([], [], "auto", GenerateConfig())
    with pytest.raises(ParamError, match="asyncio alone"):
        call.send(None)  # as a loop does that is not asyncio's


def test_a_closed_model_leaves_no_connection(tier, server):
    model = tier()
    ask(model)
    assert model.api.client.router._transports == {}


# ---- the command line

TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import tool

@tool
def double():
    async def execute(n: int):
        '''Double a number.

        Args:
            n: the number
        '''
        return str(n * 2)
    return execute

@task
def doubles():
    samples = [Sample(id=f"s{n}", input=f"Double {n}", target=str(2 * n)) for n in range(3)]
    return Task(dataset=samples, solver=[use_tools(double()), generate()], scorer=includes())

@task
def capitals():
    return Task(dataset=[Sample(input="The capital of France is", target="Paris")], scorer=includes())
"""


def inspect_eval(folder, *args):
    """`inspect eval` as a person types it; the logs it wrote."""
    (folder / "task.py").write_text(TASK, encoding="utf-8")
    command = [Path(sys.executable).with_name("inspect"), "eval", *args, "-M", "configs=configs"]
    command += ["--display", "plain", "--log-dir", "logs"]
    environment = {**os.environ, "HOME": str(folder), "LLM_ROUTER_LOG_PATH": str(folder / "calls.jsonl")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [read_eval_log(str(path)) for path in sorted((folder / "logs").glob("*.eval"))]


def double(request):
    """A model that calls the tool and then says what it gave."""
    turns = request.json["messages"]
    if turns[-1]["role"] == "tool":
        return Step(completion(f"It is {turns[-1]['content']}."))
    call = {"n": int(turns[-1]["content"].split()[1])}
    function = {"name": "double", "arguments": json.dumps(call)}
    calls = [{"id": "call-1", "type": "function", "function": function}]
    return Step(completion(None, finish_reason="tool_calls", tool_calls=calls))


def test_inspect_eval_runs_a_task_with_tools_on_a_tier(three_models, server, tmp_path):
    registry = {"models": models("a", "b", capabilities={"tools": True}, price={"input": 1.0, "output": 2.0})}
    three_models(llm_model_registry=registry, llm_tier_candidates={"tiers": {"cheap": ["a", "b"]}})
    server.answer = lambda request: failure(500) if request.json["model"] == "m-a" else double(request)
    (log,) = inspect_eval(tmp_path, "task.py@doubles", "--model", "llmbench/cheap", "--temperature", "0")
    assert log.status == "success"
    assert log.results.scores[0].metrics["accuracy"].value == 1.0
    assert {sample.output.model for sample in log.samples} == {"b"}
    lines = [line.record for line in read_jsonl(tmp_path / "calls.jsonl")]
    assert len(lines) == 6
    assert {line["run_id"] for line in lines} == {log.eval.eval_id}
    spent = sum(sample.model_usage["llmbench/cheap"].total_cost for sample in log.samples)
    assert spent == pytest.approx(sum(line["cost_usd"] for line in lines))


@pytest.mark.slow
@pytest.mark.embedded
def test_inspect_eval_runs_on_an_embedded_model(write_configs, tmp_path):
    skip_unless_here(SMOL)
    line = {"temperature": 0, "seed": 1, "stop": ["\n", "."]}
    write_configs(
        llm_router={"providers": {"local": {"managed": "embedded"}}},
        llm_model_registry={"models": {"smol": {"provider": "local", "model_name": SMOL, "defaults": line}}},
        llm_tier_candidates={"tiers": {"cheap": ["smol"]}},
    )
    (log,) = inspect_eval(tmp_path, "task.py@capitals", "--model", "llmbench/cheap", "--max-tokens", "64")
    assert log.status == "success"
    (sample,) = log.samples
    assert sample.output.usage.output_tokens > 0, sample.output
    assert sample.output.error is None
    assert sample.output.metadata["llmbench"]["model_version"].startswith("sha256:")
