"""Candidates that no call can use are found before a call finds them missing."""

from __future__ import annotations

import pytest

from llmbench.config import inspect_config, load_config, read_environment
from llmbench.routing.resolve import Wanted, resolve

ROUTER = 'providers: {stub: {base_url: "http://127.0.0.1:1/v1"}}\n'
TIERS = "tiers: {cheap: [small, large], standard: [large]}\n"
CAPABLE = """\
models:
  small: {provider: stub, model_name: m-small, capabilities: {context_tokens: 100}}
  large: {provider: stub, model_name: m-large, capabilities: {reasoning: true, structured_outputs: true}}
  image: {provider: stub, model_name: m-image, capabilities: {mode: image}}
"""
UNUSABLE = [
    (
        "llm_tier_candidates",
        "tiers:\n  cheap:\n    - small\n    - large\n    - m-small\n",
        ["warning 5 tier 'cheap': 'm-small' can never be used: its entry 1 is the same model; remove one"],
    ),
    (
        "llm_tier_candidates",
        "tiers:\n  cheap:\n    - {model: small, min_context_tokens: 101}\n    - large\n",
        ["warning 3 tier 'cheap': 'small' can never be used: context 100 is under the tier's 101"],
    ),
    (
        "llm_tier_candidates",
        "tiers:\n  cheap:\n    - {model: small, reasoning: yes}\n    - {model: large, reasoning: no}\n",
        [
            "error 2 tier 'cheap': none of its candidates can ever be used",
            "warning 3 tier 'cheap': 'small' can never be used: the tier asks for reasoning: true",
            "warning 4 tier 'cheap': 'large' can never be used: the tier asks for reasoning: false",
        ],
    ),
    (
        "llm_tier_candidates",
        "tiers:\n  cheap: [{model: small, min_context_tokens: 101}, {model: small}]\n",
        ["warning 2 tier 'cheap': 'small' can never be used: context 100 is under the tier's 101"],
    ),
    (
        "llm_model_slots",
        "slots:\n  1:\n    tiers:\n      cheap: [image]\n",
        [
            "error 4 slot 1, tier 'cheap': none of its candidates can ever be used",
            "warning 4 slot 1, tier 'cheap': 'image' can never be used: its mode is image, the list's text",
        ],
    ),
    (
        "llm_task_overrides",
        "tasks:\n  t:\n    models: [small, image]\n",
        ["warning 3 task 't': 'image' can never be used: its mode is image, the list's text"],
    ),
    (
        "llm_tier_mapping",
        "overrides:\n  env:\n    prod:\n      tiers:\n        cheap: [large, large]\n",
        ["warning 5 tier 'cheap': 'large' can never be used: its entry 1 is the same model; remove one"],
    ),
    (
        "llm_model_registry",
        CAPABLE.replace("{provider: stub, model_name: m-small", "{provider: stub, fallback_model: image"),
        ["warning 2 fallback_model 'image' can never be used: its mode is image"],
    ),
    ("llm_model_registry", "fallback_model: small\n" + CAPABLE, []),
    ("llm_tier_candidates", "tiers: {cheap: [{model: small, min_context_tokens: 100}]}\n", []),
]


@pytest.mark.parametrize(("file", "text", "told"), UNUSABLE)
def test_a_candidate_that_can_never_be_used_is_found(write_configs, file, text, told):
    files = {"llm_router": ROUTER, "llm_model_registry": CAPABLE, "llm_tier_candidates": TIERS, file: text}
    _, found = inspect_config(write_configs(**files))
    assert sorted(f"{finding.severity} {finding.line} {finding.message}" for finding in found) == told


def test_what_the_linter_calls_unusable_the_router_excludes(write_configs):
    tiers = "tiers:\n  cheap: [{model: small, min_context_tokens: 101}, {model: large, reasoning: true}]\n"
    config = load_config(
        write_configs(llm_router=ROUTER, llm_model_registry=CAPABLE, llm_tier_candidates=tiers)
    )
    route = resolve(config, read_environment({}), Wanted("t", tier="cheap"), lambda _spec: None)
    assert (route.candidates, [model for model, _reason in route.excluded]) == (("large",), ["small"])


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("{force_responses: true, models: [small, google]}", ["warning"]),
        ("{force_responses: true, models: [google]}", ["error"]),
        ("{force_responses: true, tier: mixed}", ["warning"]),
        ("{force_responses: true, models: [small]}", []),
        ("{models: [google]}", []),
    ],
)
def test_a_forced_wire_that_a_model_has_not_is_found(write_configs, task, told):
    files = {
        "llm_router": ROUTER.replace("}}", "}, gemini: {}}"),
        "llm_model_registry": CAPABLE + "  google: {provider: gemini}\n",
        "llm_tier_candidates": TIERS.replace("{cheap", "{mixed: [small, google], cheap"),
        "llm_tier_mapping": "tasks: {t: mixed}\n",
        "llm_task_overrides": f"tasks:\n  t:\n    {task}\n",
    }
    _, found = inspect_config(write_configs(**files))
    assert [finding.severity for finding in found] == told
    if told:
        assert (found[0].line, "google cannot use" in found[0].message) == (3, True)
