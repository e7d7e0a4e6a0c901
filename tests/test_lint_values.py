"""Values in config files that would fail every call, and spellings that look like slips."""

from __future__ import annotations

import pytest

from llmbench.config import Finding, inspect_config

ROUTER = """\
providers:
  stub: {base_url: "http://127.0.0.1:1/v1"}
  openrouter: {}
  gemini: {}
  local: {managed: embedded}
"""


@pytest.fixture
def findings(write_configs):
    def found(model: str, options: str = "{}") -> list[Finding]:
        files = {
            "llm_router": ROUTER,
            "llm_model_registry": f"models:\n  m: {model}\n",
            "llm_task_overrides": f"tasks:\n  t: {{models: m, options: {options}}}\n",
        }
        return list(inspect_config(write_configs(**files))[1])

    return found


WRONG = [
    ('{max_tokens: "64"}', "max_tokens must be a whole number: '64'"),
    ("{max_completion_tokens: 1.5}", "max_completion_tokens must be a whole number: 1.5"),
    ("{top_k: true}", "top_k must be a whole number"),
    ("{seed: .inf}", "seed must be a whole number"),
    ("{temperature: warm}", "temperature must be a number from 0 to 2: 'warm'"),
    ("{top_p: [1]}", "top_p must be a number"),
    ("{presence_penalty: yes}", "presence_penalty must be a number"),
    ('{frequency_penalty: "0"}', "frequency_penalty must be a number"),
    ("{reasoning: hihg}", "reasoning 'hihg' is no level; did you mean 'high'?"),
    ("{reasoning_effort: off}", "reasoning must be a level or a number of tokens: False; write off as none"),
    ("{response_format: json}", "response_format must be a mapping"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_a_value_that_would_fail_every_call_is_an_error(findings, options, said):
    for found in (
        findings("{provider: stub}", options),
        findings(f"{{provider: stub, defaults: {options}}}"),
    ):
        assert [finding.severity for finding in found] == ["error"]
        assert said in found[0].message
        assert found[0].line == 2


@pytest.mark.parametrize(
    "options",
    [
        "{max_tokens: 64, top_k: 4.0, seed: -1, temperature: 0, top_p: 0.5, stop: x}",
        "{reasoning: HIGH, presence_penalty: -1, frequency_penalty: 0.1, seed: null}",
        "{reasoning: 512, response_format: {type: text}}",
        "{reasoning: {effort: low}, response_format: {type: object}}",
    ],
)
def test_a_good_value_is_none(findings, options):
    assert findings("{provider: stub}", options) == []


def test_a_level_of_a_models_own_is_known_and_warned_of_once(findings):
    found = findings(
        "{provider: stub, capabilities: {reasoning_levels: [low, Mediun]}}", "{reasoning: mediun}"
    )
    assert [(finding.severity, finding.line) for finding in found] == [("warning", 2)]
    assert "reasoning_levels has the unusual word 'mediun'; did you mean 'medium'?" in found[0].message


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("max_tokens_key: max_token", "did you mean 'max_tokens'?"),
        ("reasoning_key: reasoning_efort", "did you mean 'reasoning_effort'?"),
    ],
)
def test_an_unusual_name_of_a_field_is_a_warning(findings, rules, said):
    found = findings(f"{{provider: stub, params: {{{rules}}}}}")
    assert [(finding.severity, finding.line) for finding in found] == [("warning", 2)]
    assert said in found[0].message


@pytest.mark.parametrize(
    "model",
    [
        "{provider: stub, wire: gemini}",
        "{provider: gemini, wire: chat}",
        "{provider: openrouter, use_responses_api: true}",
        "{provider: openrouter, force_responses: true}",
        "{provider: local, wire: responses}",
    ],
)
def test_a_wire_that_the_provider_does_not_speak_is_an_error(findings, model):
    found = [finding for finding in findings(model) if "is to speak" in finding.message]
    assert [(finding.severity, finding.line) for finding in found] == [("error", 2)]


@pytest.mark.parametrize(
    "model",
    [
        "{provider: stub, wire: responses}",
        "{provider: gemini}",
        "{provider: local}",
        "{provider: openrouter}",
    ],
)
def test_a_wire_that_the_provider_speaks_is_fine(findings, model):
    assert [finding for finding in findings(model) if "is to speak" in finding.message] == []
