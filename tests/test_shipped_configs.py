"""The shipped configs/ are a working start: with no key the local models answer, with a key its models do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers

from llmbench import LLMClient
from llmbench.bench.chain import Choice, Project, find_plan
from llmbench.config import inspect_config, load_config
from llmbench.errors import RouteError
from llmbench.providers import local_models
from llmbench.providers.recordings import OfflineHost

ROOT = Path(__file__).parents[1]
CONFIG = load_config(ROOT / "configs")
AS_OF = "2026-11-23"
LOCAL = {
    "heavy_reasoning": ["gemma_free", "gemma_json"],
    "standard": ["gemma_json", "gemma_free", "smol_json"],
    "cheap": ["smol_json", "smol_free"],
}
KEYS = {
    "AZURE_OPENAI_API_KEY": "dummy-key",
    "AZURE_OPENAI_ENDPOINT": "https://dummy.openai.azure.com",
    "OPENROUTER_API_KEY": "dummy-key",
    "GEMINI_API_KEY": "dummy-key",
}
#: Type of the provider -> what genai-prices calls it.
LISTS = {"azure": "azure", "gemini": "google", "openrouter": "openrouter"}
REMOTE = {key: spec for key, spec in CONFIG.models.items() if spec.provider != "local"}
MEDIA = [model for media in CONFIG.media.values() for model in media.models.values()]
#: Shut down, or announced to be within weeks of AS_OF.
RETIRING = re.compile(r"(gpt-5(-mini|-nano|-pro)?|o3.*|gemini-2\.5.*|gpt-image-1.*)\Z")


def client(variables: dict[str, str]) -> LLMClient:
    """A client of the shipped configs on a machine that has the local models and these variables."""
    versions = {name: local_models.model_version(name) for name in local_models.MODELS}
    return LLMClient(
        CONFIG, variables=variables | {"LLM_ROUTER_LOG_DISABLE": "1"}, hosts={"local": OfflineHost(versions)}
    )


def test_check_finds_no_error_and_no_warning():
    assert [str(f) for f in inspect_config(ROOT / "configs")[1] if f.severity != "info"] == []


@pytest.mark.parametrize("tier", LOCAL)
def test_without_a_key_the_local_models_answer_as_ever(tier):
    with client({}) as without:
        assert list(without.explain("any", "こんにちは", tier=tier).candidates) == LOCAL[tier]
    assert [entry.model for entry in CONFIG.tiers[tier]][-len(LOCAL[tier]) :] == LOCAL[tier]


@pytest.mark.parametrize("tier", LOCAL)
def test_with_keys_each_provider_has_a_candidate_and_the_local_ones_come_last(tier):
    with client(KEYS) as keyed:
        route = keyed.explain("any", "こんにちは", tier=tier)
    assert route.candidates == tuple(entry.model for entry in CONFIG.tiers[tier])
    ahead = [REMOTE[key].provider for key in route.candidates if key in REMOTE]
    assert ahead == ["azure", "gemini", "openrouter"]


@pytest.mark.parametrize(
    ("variable", "provider"), [("GEMINI_API_KEY", "gemini"), ("OPENROUTER_API_KEY", "openrouter")]
)
def test_one_key_brings_its_own_models_only(variable, provider):
    with client({variable: "dummy-key"}) as keyed:
        found = keyed.explain("caption", "字幕").candidates
    assert {CONFIG.models[key].provider for key in found} == {provider, "local"}


@pytest.mark.parametrize("key", REMOTE)
def test_the_defaults_of_a_remote_model_reach_the_wire_as_they_are(key):
    with client(KEYS) as keyed:
        route = keyed.explain("any", "こんにちは", models=[key], tier="cheap")
    changes = route.adjustments.get(key, ())
    assert {change.action for change in changes} <= {"renamed"}, changes
    assert "256" in str(route.bodies[key])  # the tier's output limit
    assert re.search(r"reasoning|thinking", str(route.bodies[key]))


def test_thought_cannot_eat_the_short_limit_of_the_cheap_tier():
    for entry in CONFIG.tiers["cheap"]:
        spec = CONFIG.models[entry.model]
        if spec.key in REMOTE:
            assert spec.defaults["reasoning"] == spec.capabilities.reasoning_levels[0]
            assert spec.defaults["reasoning"] in ("none", "minimal", "low")
            assert spec.default_max_tokens is None  # it would win over the tier's


def test_the_local_models_keep_their_own_limit():
    with client({}) as without:
        bodies = [
            body
            for tier in LOCAL
            for body in without.explain("any", "x", tier=tier).bodies.values()
        ]  # fmt: skip
    assert {body["max_tokens"] for body in bodies} == {64}


@pytest.mark.parametrize("key", REMOTE)
def test_a_remote_model_has_a_list_price_and_the_window_that_the_list_knows(key):
    spec = REMOTE[key]
    provider = LISTS[CONFIG.endpoints[spec.provider].type]
    name = spec.family if provider == "azure" else spec.model_id
    assert name is not None
    found = calc_price(Usage(input_tokens=1000, output_tokens=500), name, provider_id=provider)
    assert found.total_price > 0
    assert found.model.context_window in (None, 1000000, spec.capabilities.context_tokens)
    assert not found.model.deprecated
    if provider == "openrouter":  # the very id, and not one that a pattern takes it for
        assert name in {m.id for p in providers if p.id == "openrouter" for m in p.models}


@pytest.mark.parametrize("model", [*REMOTE.values(), *MEDIA], ids=lambda model: model.key)
def test_no_model_is_named_that_is_gone_or_retires_soon(model):
    name = (model.family or model.model_id).rpartition("/")[2]
    assert RETIRING.match(name) is None
    assert model.expires is None or model.expires > AS_OF


@pytest.mark.parametrize("model", MEDIA, ids=lambda model: model.key)
def test_every_media_model_of_google_and_azure_is_in_the_price_list(model):
    if model.provider in ("openrouter", "embedded"):
        return  # reports the cost of each call; is paid by the core-hour
    provider = "google" if model.provider == "gemini" else "azure"
    name = model.family or model.model_id
    assert calc_price(Usage(input_tokens=10, output_tokens=10), name, provider_id=provider).total_price > 0


@pytest.mark.parametrize(
    ("tier", "tasks"),
    [
        ("heavy_reasoning", "script_outline script_draft script_rewrite quality_review runtime_math"),
        (
            "standard",
            "tts_text_prepare annotate format_script comment_classify keyword_extract translate_line",
        ),
        ("cheap", "caption thumbnail_caption belt_generation image_chunking fact_extract"),
    ],
)
def test_the_tasks_of_a_video_stand_in_their_tiers(tier, tasks):
    assert {CONFIG.mapping[task] for task in tasks.split()} == {tier}


@pytest.mark.parametrize("task", ["thumbnail_image", "narration"])
def test_pictures_and_voices_are_no_text_tasks(task):
    with client(KEYS) as keyed, pytest.raises(RouteError, match=r"belongs to the (image|speech) tier"):
        keyed.explain(task, "x")


def test_every_slot_but_the_first_answers_every_tier_from_one_place():
    assert CONFIG.slots["0"].tiers == {}
    for name in ("1", "2", "3", "9"):
        with client(KEYS | {"LLM_MODEL_SLOT": name}) as keyed:
            routes = [keyed.explain("any", "x", tier=tier) for tier in LOCAL]
        used = {CONFIG.models[key].provider for route in routes for key in route.candidates}
        assert len(used) == 1, name
        assert all(route.slot == name for route in routes)


def test_the_default_sweep_measures_the_four_local_models_against_todays_route():
    with client({}) as without:
        plan = find_plan(Project(ROOT), "default", Choice(limit=2), without)
    assert sorted(plan.candidates) == ["gemma_free", "gemma_json", "smol_free", "smol_json"]
    references = {task.task: task.reference for task in plan.tasks}
    assert references == {task: LOCAL[CONFIG.mapping[task]][0] for task in references}
    assert set(plan.unreachable) == set(REMOTE)


def test_the_breaker_is_on():
    assert CONFIG.policy.breaker is not None
