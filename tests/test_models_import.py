"""Import of OpenRouter's models: facts, limits and prices as listed, and nothing lost in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmbench import LLMClient
from llmbench.cli import app
from llmbench.config import inspect_config, load_config
from llmbench.config.model_import import TARGET, import_models
from llmbench.config.openrouter_models import read_row
from llmbench.errors import ConfigError, RouteError

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT.parent / "shared" / "wire" / "captures" / "openrouter-models-list.json"
ROUTER = "providers: {openrouter: {env_api_key: OPENROUTER_API_KEY}}\n"
REGISTRY = """\
models:
  known:   # mine
    provider: openrouter
    model_name: vendor/known
    capabilities: {context_tokens: 5, vision: true}
    defaults: {temperature: 0}
  near: {provider: openrouter, model_name: vendor/near, price: {input: 1, output: 1}}
"""
FILES = {
    "llm_router": ROUTER,
    "llm_model_registry": REGISTRY,
    "llm_tier_candidates": "tiers: {standard: [known]}\n",
}


def row(name: str = "vendor/new-1.5", **changes: Any) -> dict[str, Any]:
    return {
        "id": name,
        "context_length": 1000,
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "pricing": {"prompt": "0.00000027", "completion": "0.00000041", "input_cache_read": "0.000000027"},
        "top_provider": {"context_length": 900, "max_completion_tokens": 200},
        "supported_parameters": ["max_tokens", "temperature", "stop", "tools", "structured_outputs"],
        **changes,
    }


@pytest.fixture
def folder(write_configs) -> Path:
    return write_configs(**FILES)


@pytest.fixture
def listed(tmp_path):
    def write(*rows: Any, bare: bool = False) -> Path:
        path = tmp_path / "models.json"
        path.write_text(json.dumps(list(rows) if bare else {"data": list(rows)}), encoding="utf-8")
        return path

    return write


def overlay(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / TARGET).read_text(encoding="utf-8"))["models"]


# ---- one row


def test_a_row_becomes_an_entry_with_its_limits_parameters_and_price_per_million():
    found = read_row(row())
    assert found.key == "or_vendor_new_1_5"
    assert found.fields == {
        "capabilities": {
            "mode": "text", "vision": False, "context_tokens": 1000, "max_tokens": 200,
            "structured_outputs": True, "json_mode": False, "tools": True, "reasoning": False,
        },
        "params": {
            "allow_temperature": True, "allow_top_p": False, "allow_top_k": False, "allow_stop": True,
            "allow_seed": False, "allow_penalties": False, "max_tokens_key": "max_tokens",
        },
        "price": {"input": 0.27, "output": 0.41, "cached_input": 0.027},
    }  # fmt: skip
    assert found.notes == ()


@pytest.mark.parametrize(
    ("reasoning", "levels"),
    [
        ({"mandatory": False, "supported_efforts": None}, "none minimal low medium high xhigh max"),
        ({"mandatory": True, "supported_efforts": None}, "minimal low medium high xhigh max"),
        ({"mandatory": True, "supported_efforts": ["high", "low", "none"]}, "low high"),
        ({"supported_efforts": ["medium", "made-up"]}, "medium"),
        (None, None),
    ],
)
def test_efforts_are_those_of_the_row_in_order_and_none_only_where_thought_is_optional(reasoning, levels):
    found = read_row(row(supported_parameters=["reasoning"], reasoning=reasoning)).fields
    assert found["capabilities"]["reasoning"]
    assert found["capabilities"].get("reasoning_levels") == (levels and levels.split())
    assert found["params"]["reasoning_key"] == "reasoning"


@pytest.mark.parametrize(
    ("outputs", "mode"), [(["text"], "text"), (["image", "text"], "image"), (["speech"], "speech")]
)
def test_the_mode_is_what_a_model_puts_out(outputs, mode):
    shape = {"input_modalities": ["text", "image"], "output_modalities": outputs}
    found = read_row(row(architecture=shape, pricing=row()["pricing"] | {"image_output": "0.00003"}))
    assert (found.fields["capabilities"]["mode"], found.fields["capabilities"]["vision"]) == (mode, True)
    assert "pricing.image_output" in found.notes
    assert ("price" in found.fields) == (mode == "text")  # a price per image token is none per text token


@pytest.mark.parametrize(
    ("pricing", "price", "notes"),
    [
        (
            {"prompt": "-1", "completion": "-1"},
            None,
            ["pricing.completion (dynamic)", "pricing.prompt (dynamic)"],
        ),
        ({"prompt": "0", "completion": "0"}, {"input": 0.0, "output": 0.0}, []),
        ({"prompt": "1e-6", "completion": 2e-6}, {"input": 1.0, "output": 2.0}, []),
        (
            {"prompt": "1e-6", "completion": "2e-6", "internal_reasoning": "0", "input_cache_read": "0"},
            {"input": 1.0, "output": 2.0},
            [],
        ),
        (
            {"prompt": "0", "completion": "0", "internal_reasoning": "0", "input_cache_read": "0"},
            {"input": 0.0, "output": 0.0, "reasoning": 0.0, "cached_input": 0.0},
            [],
        ),
        (
            {"prompt": "1e-6", "completion": "2e-6", "internal_reasoning": 3e-6, "input_cache_read": 5e-7},
            {"input": 1.0, "output": 2.0, "reasoning": 3.0, "cached_input": 0.5},
            [],
        ),
        (
            {"prompt": "0.000001"},
            None,
            ["price (without both input and output it is unknown)"],
        ),
        (
            {"prompt": "cheap", "completion": "NaN"},
            None,
            ["pricing.completion (no price)", "pricing.prompt (no price)"],
        ),
        (
            {"prompt": "0.000001", "completion": "0.000001", "web_search": "0.01", "request": "0"},
            {"input": 1.0, "output": 1.0},
            ["pricing.web_search"],
        ),
    ],
)  # fmt: skip
def test_a_price_that_has_no_place_or_is_not_known_is_named_and_never_zero(pricing, price, notes):
    found = read_row(row(pricing=pricing))
    assert (found.fields.get("price"), list(found.notes)) == (price, notes)


def test_steps_of_a_price_and_the_last_day_are_kept():
    steps = [{"min_prompt_tokens": 200000, "prompt": "0.000004"}]
    found = read_row(row(pricing=row()["pricing"] | {"overrides": steps}, expiration_date="2026-12-11"))
    assert found.fields["x-price_overrides"] == steps
    assert found.notes == ("pricing.overrides (kept as x-price_overrides)",)
    assert found.fields["expires"] == "2026-12-11"
    assert read_row(row(expiration_date="soon")).notes == ("expiration_date ('soon' is no date)",)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, "the row: "),
        ({"id": "a/b"}, "architecture: field required"),
        (row(name="a b\nc"), "id: string should match"),
        (row(pricing=[]), "pricing: "),
        (row(context_length="many"), "context_length: "),
        (row(architecture={"output_modalities": ["embeddings"]}), "puts out embeddings"),
    ],
)
def test_a_row_that_cannot_be_used_says_why_in_one_line(wrong, said):
    with pytest.raises(ValueError, match=said) as caught:
        read_row(wrong)
    assert "\n" not in str(caught.value)


# ---- a whole list


def test_new_models_are_added_and_the_folder_passes_its_check(folder, listed):
    result = import_models(listed(row(), row("vendor/other")), folder / TARGET)
    assert (result.added, result.updated, result.bad) == (["vendor/new-1.5", "vendor/other"], [], [])
    assert [f for f in inspect_config(folder)[1] if f.severity == "error"] == []
    spec = load_config(folder).models["or_vendor_new_1_5"]
    assert (spec.provider, spec.model_id) == ("openrouter", "vendor/new-1.5")
    assert spec.capabilities.context_tokens == 1000
    assert not spec.params.allow_seed


def test_a_model_that_is_known_keeps_its_key_and_what_is_not_a_fact_of_the_list(folder, listed):
    result = import_models(listed(row("vendor/known")), folder / TARGET)
    assert (result.added, result.updated) == ([], ["vendor/known as known"])
    spec = load_config(folder).models["known"]
    assert (spec.capabilities.context_tokens, spec.capabilities.vision) == (1000, False)
    assert spec.defaults == {"temperature": 0}
    assert "or_vendor_known" not in overlay(folder)


def test_limits_that_were_imported_are_enforced_before_a_call(folder, listed):
    import_models(listed(row("vendor/known")), folder / TARGET)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with LLMClient(folder, variables={"OPENROUTER_API_KEY": "k" * 20}) as client:
        with pytest.raises(RouteError, match="do not fit its context of 1000"):
            client.explain("any", "語" * 2000)
        with pytest.raises(RouteError, match="cannot see images"):
            client.explain("any", [{"role": "user", "content": [image]}])
        body = client.explain("any", "x", max_tokens=500, seed=1).bodies["known"]
    assert body["max_tokens"] == 200
    assert "seed" not in body


def test_the_same_list_in_any_order_gives_the_same_bytes_and_twice_changes_nothing(folder, listed):
    rows = [row(f"vendor/m{number}") for number in range(5)] + [
        row("vendor/known"),
        row("v/a.b"),
        row("v/a-b"),
    ]
    import_models(listed(*rows), folder / TARGET)
    first = (folder / TARGET).read_bytes()
    (folder / TARGET).unlink()
    import_models(listed(*reversed(rows), bare=True), folder / TARGET)
    assert (folder / TARGET).read_bytes() == first
    again = import_models(listed(*rows), folder / TARGET)
    assert (folder / TARGET).read_bytes() == first
    assert (again.added, len(again.updated), again.lost_comments) == ([], 7, False)
    assert b"&" not in first
    assert [path.name for path in folder.iterdir() if path.name.endswith(".tmp")] == []


def test_what_was_not_imported_stays_and_stale_facts_go(folder, listed):
    (folder / TARGET).write_text(
        "# mine\nmodels:\n  near: {defaults: {temperature: 1}}\n"
        "  or_vendor_new_1_5: {provider: openrouter, model_name: vendor/new-1.5, expires: '2027-01-01',"
        " cost_tier: low}\n"
    )
    result = import_models(listed(row()), folder / TARGET)
    assert result.lost_comments
    models = overlay(folder)
    assert models["near"] == {"defaults": {"temperature": 1}}
    assert models["or_vendor_new_1_5"]["cost_tier"] == "low"
    assert "expires" not in models["or_vendor_new_1_5"]


def test_only_the_wanted_ids_are_imported(folder, listed):
    result = import_models(listed(row("a/x"), row("b/y"), row("b/z")), folder / TARGET, ["b/*"])
    assert (result.added, result.left_out) == (["b/y", "b/z"], 1)


def test_bad_rows_are_reported_and_the_rest_is_imported(folder, listed):
    taken = row("vendor/new_1_5")
    result = import_models(listed(row(), row(), {"id": "a/b"}, 7, taken), folder / TARGET)
    assert result.added == ["vendor/new-1.5"]
    assert [text.partition(":")[0] for text in result.bad] == [
        "vendor/new-1.5", "a/b", "row 4", "vendor/new_1_5",
    ]  # fmt: skip
    assert "key or_vendor_new_1_5 is taken" in result.bad[-1]


def test_a_model_of_the_one_file_form_is_not_overlaid(write_configs, listed):
    router = ROUTER + "models: {mine: {provider: openrouter, model_name: vendor/new-1.5}}\n"
    folder = write_configs(**FILES | {"llm_router": router})
    result = import_models(listed(row(), row("a/b")), folder / TARGET)
    assert result.bad == [
        "vendor/new-1.5: mine stands in llm_router.yaml; move it to llm_model_registry.yaml"
    ]
    assert [f for f in inspect_config(folder)[1] if f.severity == "error"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no JSON", "is not JSON"),
        ("{}", "is no list of models"),
        ('{"data": {}}', "is no list of models"),
        ("[]", "is no list of models"),
        ('[{"id": "a/b"}]', "no model of the list can be imported: a/b: architecture"),
    ],
)
def test_a_file_that_is_no_list_of_models_is_an_error_and_nothing_is_written(folder, tmp_path, text, said):
    path = tmp_path / "models.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        import_models(path, folder / TARGET)
    assert not (folder / TARGET).exists()


def test_only_the_overlay_is_ever_written_and_a_provider_must_be_there(folder, listed, write_configs):
    with pytest.raises(ConfigError, match="the import writes llm_model_registry"):
        import_models(listed(row()), folder / "llm_model_registry.yaml")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        import_models(folder / "none.json", folder / TARGET)
    write_configs(llm_router='providers: {far: {base_url: "https://a.example"}}\n', llm_model_registry="{}\n")
    (folder / "llm_tier_candidates.yaml").unlink()
    with pytest.raises(ConfigError, match="no provider of type openrouter"):
        import_models(listed(row()), folder / TARGET)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*row(), "reasoning", "expiration_date", "per_request_limits"]), _VALUES)
def test_whatever_stands_in_a_row_it_is_read_or_refused(key, value):
    try:
        found = read_row(row() | {key: value})
    except ValueError:
        return
    assert yaml.safe_load(yaml.safe_dump(dict(found.fields))) is not None


def test_the_verb_prints_counts_and_what_has_no_place(folder, listed):
    path = listed(row(pricing=row()["pricing"] | {"web_search": "0.01"}), row("vendor/known"), {"id": "[b]"})
    ran = CliRunner().invoke(app, ["models", "import", str(path), "--to", str(folder / TARGET)])
    assert ran.exit_code == 0, ran.output
    lines = ran.output.splitlines()
    assert lines[0].endswith("1 models added, 1 updated, 1 rows not used, 0 left out by --only")
    assert lines[1:3] == ["updated: vendor/known as known", "not carried over: pricing.web_search, 1 models"]
    assert lines[3].startswith("not used: [b]: ")


@pytest.mark.skipif(not SAMPLE.is_file(), reason="the recorded exchanges are not here")
def test_the_recorded_list_is_imported_whole(tmp_path, write_configs):
    body = json.loads(SAMPLE.read_text(encoding="utf-8"))["response"]["body"]
    path = tmp_path / "models.json"
    path.write_text(json.dumps(body))
    folder = write_configs(**FILES)
    result = import_models(path, folder / TARGET)
    assert (len(result.added), result.bad) == (7, [])
    models = load_config(folder).models
    thinking = models["or_moonshotai_kimi_k2_thinking"]
    assert "none" not in thinking.capabilities.reasoning_levels
    assert models["or_openai_gpt_5_mini"].expires == "2026-12-11"
    assert not models["or_openai_gpt_5_mini"].params.allow_temperature
    assert models["or_google_gemini_2_5_flash_image"].capabilities.mode == "image"
    assert models["or_openai_gpt_4o_mini_tts_2025_12_15"].capabilities.mode == "speech"
    assert [f for f in inspect_config(folder)[1] if f.severity == "error"] == []
