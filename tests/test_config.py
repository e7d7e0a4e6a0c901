"""Config folders: every mistake is named with file and line, and no text of a key is ever repeated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmbench.catalog import Breaker, Policy
from llmbench.config import Config, Finding, inspect_config, load_config, read_environment
from llmbench.errors import ERROR_KINDS, ConfigError

REPOSITORY = Path(__file__).parents[1]

ROUTER = """\
providers:
  stub: {base_url: "http://127.0.0.1:1/v1"}
"""
REGISTRY = """\
models:
  small: {provider: stub, model_name: m-small, price: {input: 1, output: 2}}
  large: {provider: stub, model_name: m-large, price: {input: 1, output: 2}}
"""
TIERS = """\
tiers:
  cheap: [small, large]
  standard: [large]
"""
GOOD = {"llm_router": ROUTER, "llm_model_registry": REGISTRY, "llm_tier_candidates": TIERS}


@pytest.fixture
def findings(write_configs):
    def found(**files: str) -> list[Finding]:
        return list(inspect_config(write_configs(**{**GOOD, **files}))[1])

    return found


@pytest.fixture
def load(write_configs):
    def loaded(**files: str) -> Config:
        return load_config(write_configs(**{**GOOD, **files}))

    return loaded


def test_the_shipped_configs_have_nothing_to_say():
    assert inspect_config(REPOSITORY / "configs")[1] == ()


def test_a_good_folder_has_no_findings(findings):
    assert findings() == []


@pytest.mark.parametrize(
    ("file", "text", "line", "said"),
    [
        ("llm_router", ROUTER + "    base_ulr: x\n", 3, "not valid YAML"),
        (
            "llm_router",
            ROUTER + "    \n  two:\n    base_ulr: x\n",
            5,
            "'providers.two.base_ulr'; did you mean",
        ),
        ("llm_router", "providers:\n  a:\n    base_url: x\n    base_url: y\n", 4, "and in line 3; keep one"),
        ("llm_router", "tiers:\n  no: [a]\n", 2, "the key 'no' is not text; put it in quotes"),
        ("llm_router", "- a\n", 1, "must hold a mapping"),
        ("llm_router", "a: !!python/object:os.system x\n", 1, "use plain values only"),
        ("llm_router", "a: &a\n  b: *a\n", 1, "an alias refers to itself"),
        ("llm_router", "a: 2026-13-45\n", None, "put it in quotes"),
        ("llm_model_registry", "models:\n  a:\n    provider: no\n", 3, "valid string; put it in quotes"),
        ("llm_model_registry", "models:\n  a:\n    provider: 1.10\n", 3, "valid string; put it in quotes"),
        ("llm_model_registry", "models:\n  a: {model_name: x}\n", 2, "models.a.provider: field required"),
        ("llm_fallback_policy", "retry_limit: -1\n", 1, "greater than or equal to 0"),
        ("llm_fallback_policy", "backoff_sec: .nan\n", 1, "finite"),
        ("llm_fallback_policy", "fall_back_on: [timeuot]\n", 1, "input should be 'connect'"),
        ("llm_fallback_policy", "retry_limt: 1\n", 1, "did you mean 'retry_limit'?"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(load, file, text, line, said):
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        load(**{file: text})
    assert (caught.value.path, caught.value.line) == (f"{file}.yaml", line)
    assert "\n" not in str(caught.value)


def test_an_alias_bomb_is_refused_before_it_goes_off(load):
    lines = ["x-0: &x0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"x-{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match="aliases expand to more than"):
        load(llm_router="\n".join(lines))


def test_nesting_without_end_is_refused(load):
    with pytest.raises(ConfigError, match="nested too deeply"):
        load(llm_router="a: " + "[" * 5000 + "]" * 5000)


def test_an_alias_and_a_merge_key_are_fine(load):
    registry = """\
models:
  small: &small {provider: stub, model_name: m-small, price: &p {input: 1, output: 2}}
  large: {<<: *small, model_name: m-large, price: *p}
"""
    config = load(llm_model_registry=registry)
    assert config.models["large"].model_id == "m-large"
    assert config.models["large"].price == config.models["small"].price


DANGLING = [
    (
        "llm_model_registry",
        REGISTRY + "  x: {provider: stubb}\n",
        4,
        "'stubb', which llm_router.yaml does not",
    ),
    ("llm_model_registry", "fallback_model: smal\n" + REGISTRY, 1, "did you mean 'small'?"),
    (
        "llm_model_registry",
        REGISTRY + "  x:\n    provider: stub\n    fallback_model: lrge\n",
        6,
        "did you mean 'large'?",
    ),
    ("llm_tier_candidates", TIERS + "  more:\n    - small\n    - smal\n", 6, "did you mean 'small'?"),
    ("llm_tier_candidates", TIERS + "defaults:\n  cheep: {max_tokens: 1}\n", 5, "did you mean 'cheap'?"),
    ("llm_tier_candidates", TIERS + "  none: []\n", 4, "has no candidate"),
    ("llm_tier_mapping", "tasks:\n  caption: cheep\n", 2, "did you mean 'cheap'?"),
    (
        "llm_tier_mapping",
        "overrides:\n  env:\n    prod:\n      tasks:\n        t: {tier: cheep}\n",
        5,
        "'cheap'",
    ),
    (
        "llm_tier_mapping",
        "overrides:\n  channels:\n    C:\n      env:\n        prod:\n          tasks: {t: {models: lrge}}\n",
        6,
        "did you mean 'large'?",
    ),
    (
        "llm_tier_mapping",
        "overrides:\n  channels:\n    C:\n      tiers:\n        cheap: [lrge]\n",
        5,
        "did you mean 'large'?",
    ),
    (
        "llm_tier_mapping",
        "overrides:\n  channels:\n    C:\n      tiers:\n        cheep: [large]\n",
        5,
        "did you mean 'cheap'?",
    ),
    ("llm_task_overrides", "tasks:\n  t:\n    tier: cheep\n", 3, "did you mean 'cheap'?"),
    ("llm_task_overrides", "tasks:\n  t:\n    models: smal\n", 3, "did you mean 'small'?"),
    ("llm_task_overrides", "tasks:\n  t:\n    options: {max_tokns: 3}\n", 3, "did you mean 'max_tokens'?"),
    ("llm_router", ROUTER + "tasks:\n  t:\n    defaults:\n      stopp: x\n", 6, "did you mean 'stop'?"),
    ("llm_router", ROUTER + "  two: {type: openai_compatible}\n", 3, "has no base_url and no env_endpoint"),
    ("llm_router", ROUTER + "tiers:\n  old: [smal]\n", 4, "did you mean 'small'?"),
    ("llm_model_slots", "slots:\n  1:\n    tiers:\n      cheap: [smal]\n", 4, "did you mean 'small'?"),
    ("llm_model_slots", "slots:\n  1:\n    tiers:\n      cheep: [small]\n", 4, "did you mean 'cheap'?"),
    ("llm_model_slots", "default_slot: 2\nslots:\n  1: {tiers: {cheap: small}}\n", 1, "'2' is no slot"),
    ("llm_model_codes", "codes:\n  s:\n    model_key: smal\n", 3, "did you mean 'small'?"),
]


@pytest.mark.parametrize(("file", "text", "line", "said"), DANGLING)
def test_every_dangling_name_is_found_with_file_and_line(findings, file, text, line, said):
    errors = [finding for finding in findings(**{file: text}) if finding.severity == "error"]
    assert [(error.path, error.line) for error in errors] == [(f"{file}.yaml", line)]
    assert said in errors[0].message


def test_a_section_that_is_wrong_does_not_make_others_look_wrong(findings):
    errors = findings(llm_model_registry="models:\n  small: {provider: 3}\n")
    assert [(error.path, error.line) for error in errors] == [("llm_model_registry.yaml", 2)]


def test_unknown_keys_warn_and_own_keys_do_not(findings):
    found = findings(llm_router=ROUTER + "x-note: mine\nzebra: 1\n")
    assert [(finding.severity, finding.line) for finding in found] == [("warning", 4)]
    assert "'zebra'" in found[0].message


def test_limits_and_times_of_a_provider_have_an_effect_and_nothing_is_said(findings):
    limits = "limits: {requests_per_minute: 5, tokens_per_minute: 9}"
    times = "timeouts: {stall_s: 3, first_token_s: 2}"
    assert findings(llm_router=ROUTER.replace("}", f", {limits}, {times}}}")) == []


def test_an_overlay_is_merged_deeply_and_blamed_for_its_own_lines(write_configs):
    folder = write_configs(**GOOD)
    (folder / "llm_router.local.yaml").write_text("providers:\n  stub: {limits: {concurrency: 3}}\n")
    (folder / "llm_tier_candidates.local.yaml").write_text(
        "# mine\ntiers:\n  cheap:\n    - large\n    - lrge\n"
    )
    config, findings = inspect_config(folder)
    assert config.endpoints["stub"].limits.concurrency == 3
    assert config.endpoints["stub"].base_url == "http://127.0.0.1:1/v1"
    assert [candidate.model for candidate in config.tiers["standard"]] == ["large"]
    assert [(finding.path, finding.line) for finding in findings] == [("llm_tier_candidates.local.yaml", 5)]


def test_the_older_one_file_form_loads_as_it_is(tmp_path):
    (tmp_path / "llm_router.yaml").write_text("""\
providers:
  azure:
    env_api_key: AZURE_OPENAI_API_KEY
    env_endpoint: AZURE_OPENAI_ENDPOINT
    default_api_version: 2024-10-21
  openrouter:
    env_api_key: OPENROUTER_API_KEY
    headers: {X-Title: studio}
models:
  az_mini:
    provider: azure
    deployment: mini-dep
    model_name: gpt-5-mini
    capabilities: {mode: chat, supports_reasoning: true, json_mode: true, max_completion_tokens: 16384}
    defaults: {temperature: 1.0}
  or_small:
    provider: openrouter
    model_name: vendor/small
    capabilities: {mode: chat, max_tokens: 4096}
tiers:
  heavy_reasoning: [az_mini]
  standard: [az_mini, or_small]
  cheap: [or_small]
tasks:
  caption:
    tier: cheap
    timeout: 30
    retry_policy: {per_status_retry: {429: 3}, backoff_sec: 0.5, max_attempts: 4}
    defaults: {max_tokens: 64}
  story:
    models: [or_small]
  later:
""")
    config = load_config(tmp_path)
    mini = config.models["az_mini"]
    assert (mini.model_id, mini.capabilities.reasoning, mini.params.max_tokens_key) == (
        "mini-dep",
        True,
        "max_completion_tokens",
    )
    assert config.endpoints["azure"].api_version == "2024-10-21"
    caption = config.router_tasks["caption"]
    assert (caption.tier, caption.timeout_s, caption.options) == ("cheap", 30.0, {"max_tokens": 64})
    assert config.router_tasks["later"].tier is None
    assert caption.policy == {"per_status_retry": {429: 3}, "backoff_sec": 0.5}


def test_empty_sections_count_as_not_written(load):
    assert load(llm_tier_mapping="tasks:\noverrides:\n", llm_task_overrides="# nothing yet\n").mapping == {}


def test_a_folder_that_cannot_be_used_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="create it or pass its path"):
        load_config(tmp_path / "missing")
    with pytest.raises(ConfigError, match="copy the shipped configs"):
        load_config(tmp_path)
    (tmp_path / "llm_router.yaml").write_bytes("a: ß".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"^llm_router.yaml: not UTF-8"):
        load_config(tmp_path)


def test_the_hash_follows_the_content_and_not_the_layout(load):
    first = load().hash
    assert load(llm_router="# a remark\n" + ROUTER).hash == first
    assert load(llm_tier_candidates=TIERS.replace("[small, large]", "[large, small]")).hash != first


def test_the_policy_file_sets_what_it_names_and_keeps_the_rest(load):
    text = "retry_limit: 2\ndeadline_s: 9\nbreaker: {failures: 3}\nfall_back_on: [rate_limit, timeout]\n"
    policy = load(llm_fallback_policy=text).policy
    assert policy == Policy(
        retry_limit=2,
        deadline_s=9.0,
        breaker=Breaker(failures=3),
        fall_back_on=frozenset({"rate_limit", "timeout"}),
    )
    basic = Policy()
    never = {kind for kind in ERROR_KINDS if not basic.falls_back_on(kind)}
    assert never == {"bad_request", "content_filter", "refusal", "cancelled"}


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcdefghijklmnop",
        "ab" * 16,
        "A0B1C2D3" * 4,
        "Ab3xYz9QwErTy7UiOpAsDfGhJkLzXcVbNm1234567890",
    ],
)
def test_a_key_in_the_place_of_its_name_is_refused_and_not_repeated(findings, key):
    router = ROUTER + f"  two: {{base_url: 'https://x.test', env_api_key: {key}}}\n"
    router += f"  three: {{base_url: 'https://x.test', env_api_keys: [A, '{key}']}}\n"
    found = findings(llm_router=router)
    assert [finding.line for finding in found] == [3, 4]
    assert all("name of an environment variable" in finding.message for finding in found)
    assert key not in "".join(map(str, found))


@pytest.mark.parametrize("name", ["a", "ab" * 15, "MY_COMPANY_AND_ITS_TEAMS_LONG_VARIABLE_NAME_2", "MyKey2"])
def test_a_name_of_a_variable_is_no_key(findings, name):
    router = ROUTER + f"  two: {{base_url: 'https://x.test', env_api_key: {name}}}\n"
    assert not findings(llm_router=router)


@pytest.mark.parametrize("header", ["日本語", "a\\nb"])
def test_a_header_that_no_request_could_carry_is_refused(findings, header):
    found = findings(llm_router=ROUTER.replace("}", f', headers: {{X-Title: "{header}"}}}}'))
    assert [(finding.severity, finding.line) for finding in found] == [("error", 2)]


def test_a_model_is_found_by_key_code_and_unique_id(load):
    config = load(llm_model_codes="codes: {s: {model_key: small}}\n")
    assert [config.model_key(name) for name in ("small", "s", "m-small", "nope")] == [
        "small",
        "small",
        "small",
        None,
    ]
    twins = REGISTRY + "  twin: {provider: stub, model_name: m-small}\n"
    assert load(llm_model_registry=twins).model_key("m-small") is None


def test_the_environment_is_read_with_its_traps():
    read = read_environment({"LLM_FORCE_MODELS": " 2 ", "LLM_MODEL_SLOT": "1", "LLM_ALLOW_FALLBACK": "1"})
    assert (read.slot, read.force_models, read.allow_fallback) == ("2", (), True)
    read = read_environment({"LLM_FORCE_MODELS": "a, b,", "LLM_FORCE_TASK_MODELS_JSON": '{"t": "c"}'})
    assert (read.force_models, read.force_task_models) == (("a", "b"), {"t": ("c",)})
    assert read_environment({"KEY": " k "}).secret("KEY") == "k"
    assert "hidden" not in repr(read_environment({"KEY": "hidden"}))
    for wrong in ("{", "[]", '{"t": 1}', '{"t": [1]}'):
        with pytest.raises(ConfigError, match="LLM_FORCE_TASK_MODELS_JSON must be a JSON object"):
            read_environment({"LLM_FORCE_TASK_MODELS_JSON": wrong})
