"""JSON Schemas for editors: fresh, accepting what loads, refusing what does not."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from llmbench.config.files import ROOTS
from llmbench.config.model import FILES
from llmbench.config.schema import schemas, write_schemas, written

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "configs" / "schema"
MADE = schemas()


def as_an_editor_reads(value: Any) -> Any:
    """YAML in JSON's terms: keys are texts, and so are dates."""
    if isinstance(value, dict):
        return {str(key): as_an_editor_reads(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_an_editor_reads(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


def problems(name: str, text: str) -> list[str]:
    data = as_an_editor_reads(yaml.safe_load(text))
    return [error.message for error in Draft7Validator(MADE[name]).iter_errors(data)]


def test_every_config_file_has_a_root_shape_and_two_schemas():
    assert set(FILES) <= set(ROOTS)
    stems = [name.removesuffix(".yaml") for name in ROOTS]
    assert set(MADE) == {f"{stem}{end}" for stem in stems for end in (".json", ".local.json")}


def test_the_committed_schemas_are_those_of_the_shapes():
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*")} == {
        name: written(schema) for name, schema in MADE.items()
    }, "stale: run `make schema`"


@pytest.mark.parametrize("name", MADE)
def test_a_schema_is_one(name):
    Draft7Validator.check_schema(MADE[name])


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_the_shipped_files_are_valid(path):
    assert problems(f"{path.stem}.json", path.read_text(encoding="utf-8")) == []


VALID = {
    "llm_router.json": """
providers:
  azure: {env_api_key: AZURE_OPENAI_API_KEY, default_api_version: 2024-10-21}
  near: {base_url: "http://127.0.0.1:1/v1", allow_hosts: one, env_api_keys: [A, B], limits: , env_endpoint: }
  own: {base_url: "http://127.0.0.1:1/v1", x-note: 3}
models:
  m: {provider: azure, deployment: d, capabilities: {mode: chat, supports_reasoning: true, supports_x: 1}}
  n: {provider: near, model: n}
tiers: {cheap: [m, {model: n, min_context_tokens: 5}]}
tasks: {caption: {tier: cheap, timeout: 30, clean_output: unfence, retry_policy: {backoff_sec: 1}}, later: }
defaults: {unknown_task: error, log_content: true}
x-mine: [1]
""",
    "llm_router.local.json": "providers: {azure: {limits: {concurrency: 3}}}\nmodels: {m: {model_name: x}}",
    "llm_model_registry.json": 'models: {m: {provider: p, price: {input: 1, as_of: "2026-11-22"}}}',
    "llm_tier_candidates.json": "tiers: {cheap: [a]}\ndefaults: {cheap: {max_completion_tokens: 3}}",
    "llm_tier_mapping.json": "tasks:\noverrides: {channels: {C: {env: {prod: {tasks: {t: {models: m}}}}}}}",
    "llm_task_overrides.json": "tasks: {t: {options: {extra_body: {top_a: 1}}, force_chat: true}}",
    "llm_fallback_policy.json": "per_status_retry: {429: 2}\nbreaker: {failures: 3}\nfall_back_on: [timeout]",
    "llm_model_slots.json": "default_slot: 1\nslots: {1: {label: a, tiers: {cheap: [m]}}}",
    "llm_model_codes.json": "codes: {s: {model_key: small}}",
}


@pytest.mark.parametrize("name", VALID)
def test_what_loads_is_valid(name):
    assert problems(name, VALID[name]) == []
    assert problems(name, "# nothing yet\n") == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("llm_router.json", "providrs: {}", "'providrs'"),
        ("llm_router.json", "providers: {a: {base_ulr: x}}", "'base_ulr'"),
        ("llm_router.json", "providers: {a: {env_api_key: sk-abc-def}}", "does not match"),
        (
            "llm_router.json",
            "providers: {a: {env_api_key: a0b1c2d3a0b1c2d3a0b1c2d3a0b1c2d3}}",
            "should not be valid",
        ),
        (
            "llm_router.json",
            "providers: {a: {env_api_keys: [Ab3xYz9QwErTy7UiOpAsDfGhJkLzXcVbNm1234567890]}}",
            "not valid",
        ),
        ("llm_router.json", "defaults: {log_content: 3}", "3 is not"),
        ("llm_router.local.json", "providers: {a: {base_ulr: x}}", "'base_ulr'"),
        ("llm_model_registry.json", "models: {a: {model_name: x}}", "'provider' is a required"),
        ("llm_model_registry.json", "models: {a: }", "not of type 'object'"),
        ("llm_model_registry.json", "models: {a: {provider: p, defaults: {temprature: 1}}}", "'temprature'"),
        ("llm_tier_candidates.json", "tiers: {cheap: [{mdel: a}]}", "not valid"),
        ("llm_tier_candidates.local.json", "tiers: {cheap: [{min_context_tokens: 1}]}", "not valid"),
        ("llm_tier_mapping.json", "overides: {}", "'overides'"),
        ("llm_task_overrides.json", "tasks: {t: {clean_output: [unfense]}}", "not valid"),
        ("llm_fallback_policy.json", "retry_limit: -1", "less than the minimum"),
        ("llm_model_slots.json", "slots: {1: {lable: a}}", "'lable'"),
        ("llm_model_codes.json", "codes: {s: {}}", "'model_key' is a required"),
    ],
)
def test_a_mistake_is_refused(name, text, said):
    assert said in " ".join(problems(name, text))


def test_stale_files_are_replaced_and_removed(tmp_path):
    (tmp_path / "llm_old.json").write_text("{}")
    (tmp_path / "llm_router.json").write_text("{}")
    write_schemas(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(MADE)
    assert json.loads((tmp_path / "llm_router.json").read_text()) == MADE["llm_router.json"]


def test_the_schemas_are_written_by_one_command(tmp_path):
    command = [sys.executable, "-m", "llmbench.config.schema", str(tmp_path / "new")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert len(ran.stdout.splitlines()) == len(MADE)
    wrong = subprocess.run(command[:-1], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (wrong.returncode, "usage" in wrong.stderr) == (1, True)
