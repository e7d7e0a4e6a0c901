"""Names of models, codes and slots that read like another model than the one that is asked."""

from __future__ import annotations

import pytest

from llmbench.migration import Hidden, migrate
from llmbench.migration.names import is_other

OTHER = [
    ("gpt-4o", "gpt-4o-mini"),
    ("claude-opus", "anthropic/claude-haiku-4.5"),
    ("gpt_5", "gpt-5-mini"),
    ("gpt_5", "gpt-4o"),
    ("gpt_4", "gpt-4o"),
    ("gpt5_az", "gpt-5.1"),
    ("gpt-5-pro", "gpt-5"),
    ("gpt-35-turbo", "gpt-4o"),
    ("o3_mini", "o4-mini"),
    ("gemini_flash", "gemini-2.5-pro"),
    ("gemini_3_pro", "gemini-3.1-pro-preview"),
    ("deepseek_or", "qwen/qwen3-30b"),
    ("deepseek_v3", "deepseek/deepseek-r1"),
    ("llama_70b", "meta-llama/llama-3.3-8b-instruct"),
    ("kimi_k2", "moonshotai/kimi-k2-thinking"),
    ("claude_sonnet_4", "claude-sonnet-4-5"),
    ("速い mini", "gpt-5-nano"),
]
SAME = [
    ("gpt5_mini_az", "gpt-5-mini"),
    ("GPT 5 mini", "gpt-5-mini"),
    ("az_gpt_4_1", "gpt-4.1"),
    ("gpt41", "gpt-4.1"),
    ("gpt_4o", "gpt-4o-2024-08-06"),
    ("gpt-35-turbo", "gpt-3.5-turbo-0125"),
    ("gpt_oss_120b", "openai/gpt-oss-120b"),
    ("gpt-4o", "prod-chat-1"),
    ("o3", "o3-2025-04-16"),
    ("gem_flash", "gemini-2.5-flash"),
    ("gem_3_pro", "gemini-3-pro-preview"),
    ("gemini_2_5_flash", "gemini-2.5-flash-preview-05-20"),
    ("gemini_2_0_flash", "gemini-2.0-flash-001"),
    ("nano_banana", "gemini-2.5-flash-image"),
    ("claude", "claude-haiku-4-5"),
    ("claude-3-5-sonnet", "anthropic.claude-3-5-sonnet-20240620-v1:0"),
    ("claude_sonnet_4_5", "anthropic/claude-sonnet-4.5-20250929"),
    ("deepseek_or", "deepseek/deepseek-v3.2"),
    ("DeepSeek V3.2 (日本語)", "deepseek/deepseek-v3.2"),
    ("deepseek_v3_1", "deepseek/deepseek-chat-v3.1"),
    ("llama_70b", "meta-llama/llama-3.3-70b-instruct"),
    ("or_qwen_qwen3_30b", "qwen/qwen3-30b-a3b:free"),
    ("Kimi K2", "moonshotai/kimi-k2-0905"),
    ("mistral_large", "mistralai/mistral-large-2411"),
    ("main", "gpt-5-mini"),
    ("small", "gpt-5-mini"),
    ("local_2", "llama-3.2-3b"),
    ("k-1", "moonshotai/kimi-k2-thinking"),
    ("o-1", "gpt-5-mini"),
    ("r_2", "gemini-3-pro"),
]
FAMILIES = [
    ("gpt-5", "gpt-5-mini", False),
    ("gpt-5", "gpt-5.1", False),
    ("gpt-4o", "gpt-4o-mini", False),
    ("o-series", "o3-mini", False),
    ("gpt-5", "gpt-4o", True),
    ("claude", "gemini-3-pro", True),
]


@pytest.mark.parametrize(("name", "asked"), OTHER, ids=lambda text: text)
def test_a_name_that_hides_another_model_is_seen(name, asked):
    assert is_other(name, asked)


@pytest.mark.parametrize(("name", "asked"), SAME, ids=lambda text: text)
def test_prefixes_dates_punctuation_and_roles_hide_nothing(name, asked):
    assert not is_other(name, asked)


@pytest.mark.parametrize(("family", "asked", "hides"), FAMILIES)
def test_a_family_may_be_wider_than_its_model_but_no_other(family, asked, hides):
    assert is_other(family, asked, is_full=False) is hides


def test_names_of_models_codes_labels_and_slots_are_all_read(tmp_path):
    files = {
        "llm_model_registry.yaml": (
            "models:\n  gpt-4o: {provider: azure, deployment: gpt-4o-mini, family: claude}\n"
            "  deep: {provider: openrouter, model_name: deepseek/deepseek-v3.2}\n"
        ),
        "llm_model_codes.yaml": "codes: {g: {model_key: gpt-4o, label: GPT-4o}, claude: deep, d: deep}\n",
        "llm_model_slots.yaml": "slots: {1: {label: 全部 Gemini, tiers: {standard: [d, gpt-4o]}}}\n",
        "llm_tier_candidates.yaml": "tiers: {standard: [deep]}\n",
        "image_models.yaml": (
            "providers: {gemini: {}}\n"
            "models: {flux: {provider: gemini, model_name: gemini-2.5-flash-image}}\n"
            "tiers: {image: [flux]}\ntasks: {thumb: {tier: image}}\n"
        ),
        "image_model_slots.yaml": "slots: {f: {model_key: flux, label: Nano Banana}}\n",
    }
    (tmp_path / "old").mkdir()
    for name, text in files.items():
        (tmp_path / "old" / name).write_text(text, encoding="utf-8")
    done = migrate(tmp_path / "old", tmp_path / "new", variables={})
    deep = "deepseek/deepseek-v3.2"
    assert done.hidden == (
        Hidden("gpt-4o", "gpt-4o", "gpt-4o-mini"),
        Hidden("gpt-4o", "claude", "gpt-4o-mini"),
        Hidden("code g", "GPT-4o", "gpt-4o-mini"),
        Hidden("code claude", "claude", deep),
        Hidden("slot 1", "全部 Gemini", deep),
        Hidden("flux", "flux", "gemini-2.5-flash-image"),
    )
