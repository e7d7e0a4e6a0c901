"""What config sections become: the rules of a model on its wires, a task's clean-up and forced wire."""

from __future__ import annotations

import pytest

from llmbench.config import Config, load_config
from llmbench.errors import ConfigError

ROUTER = """\
providers:
  stub: {base_url: "http://127.0.0.1:1/v1"}
  azure: {}
  openai: {}
  openrouter: {}
  gemini: {}
"""


@pytest.fixture
def load(write_configs):
    def loaded(**files: str) -> Config:
        return load_config(write_configs(**{"llm_router": ROUTER, **files}))

    return loaded


@pytest.mark.parametrize(
    ("section", "allowed", "lowest"),
    [
        ("{provider: stub}", True, 1),
        ("{provider: openrouter}", True, 1),
        ("{provider: gemini}", True, 1),
        ("{provider: azure}", False, 1),
        ("{provider: openai}", False, 1),
        ("{provider: stub, use_responses_api: true}", False, 16),
        ("{provider: azure, params: {allow_top_k: true, min_max_tokens: 3}}", True, 3),
    ],
)
def test_top_k_and_the_lowest_limit_follow_the_wire_and_the_host(load, section, allowed, lowest):
    rules = load(llm_model_registry=f"models:\n  m: {section}\n").models["m"].params
    assert (rules.allow_top_k, rules.min_max_tokens) == (allowed, lowest)


def test_a_model_can_be_asked_on_its_other_wire_under_that_wires_rules(load):
    section = (
        "{provider: stub, params: {max_tokens_key: limit, allow_stop: true, allow_temperature: false},"
        " capabilities: {reasoning: true}}"
    )
    chat = load(llm_model_registry=f"models:\n  m: {section}\n").models["m"]
    responses = chat.on_wire("responses")
    assert (chat.wire, chat.params.max_tokens_key, chat.params.reasoning_key) == (
        "chat",
        "limit",
        "reasoning_effort",
    )
    assert (responses.wire, responses.params.max_tokens_key, responses.params.reasoning_key) == (
        "responses",
        "max_output_tokens",
        "reasoning",
    )
    assert (responses.params.allow_stop, responses.params.allow_temperature) == (False, False)
    assert responses.params.min_max_tokens == 16
    assert responses.on_wire("chat") == chat
    assert chat.on_wire("chat") is chat


def test_gemini_has_no_verbosity_unless_its_entry_says_so(load):
    models = load(
        llm_model_registry="models:\n  g: {provider: gemini}\n  s: {provider: stub}\n"
        "  o: {provider: gemini, params: {allow_verbosity: true}}\n"
    ).models
    assert [models[key].params.allow_verbosity for key in "gso"] == [False, True, True]


def test_a_gemini_model_has_no_other_wire(load):
    model = load(llm_model_registry="models:\n  m: {provider: gemini}\n").models["m"]
    assert model.on_wire("chat") is model


def test_a_model_and_a_task_can_insist_on_a_wire(load):
    registry = "models:\n  m: {provider: azure, use_responses_api: true, force_chat: true}\n"
    tasks = "tasks:\n  a: {force_responses: true}\n  b: {force_chat: true}\n  c: {force_chat: false}\n"
    config = load(llm_model_registry=registry, llm_task_overrides=tasks)
    assert config.models["m"].wire == "chat"
    assert [config.task_overrides[task].force_wire for task in "abc"] == ["responses", "chat", None]


@pytest.mark.parametrize(
    ("file", "text", "line", "said"),
    [
        (
            "llm_task_overrides",
            "tasks:\n  t:\n    force_chat: true\n    force_responses: true\n",
            2,
            "exclude each other",
        ),
        (
            "llm_model_registry",
            "models:\n  m: {provider: stub, force_chat: true, force_responses: true}\n",
            2,
            "exclude",
        ),
        (
            "llm_model_registry",
            "models:\n  m: {provider: stub, force_chat: true, wire: gemini}\n",
            2,
            "keep one",
        ),
        (
            "llm_task_overrides",
            "tasks:\n  t:\n    clean_output: [unfense]\n",
            3,
            "'unfence' or 'unwrap_json'",
        ),
    ],
)
def test_a_contradiction_is_named_with_file_and_line(load, file, text, line, said):
    with pytest.raises(ConfigError, match=said) as caught:
        load(**{file: text})
    assert (caught.value.path, caught.value.line) == (f"{file}.yaml", line)


def test_a_tasks_clean_up_is_a_word_or_a_list_and_is_off_when_not_named(load):
    tasks = "tasks:\n  a: {clean_output: unfence}\n  b: {clean_output: [unfence, unwrap_json]}\n"
    tasks += "  c: {timeout: 3}\n  d: {}\n"
    rules = load(llm_task_overrides=tasks).task_overrides
    assert [rules[task].clean_output for task in "abcd"] == [
        ("unfence",),
        ("unfence", "unwrap_json"),
        (),
        (),
    ]


def test_the_routers_switches_are_off_unless_set(load):
    config = load()
    assert (config.log_content, config.reload) == (False, False)
    config = load(llm_router=ROUTER + "defaults: {log_content: true, reload: true}\n")
    assert (config.log_content, config.reload) == (True, True)
