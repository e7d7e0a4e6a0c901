"""`llmbench check`: what is wrong with a config folder, or will be soon, is said before the first call."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmbench.check import check_folder
from llmbench.cli import app
from llmbench.errors import ConfigError
from tests.conftest import CANARY

ROOT = Path(__file__).parents[1]
TODAY = date(2026, 11, 22)
ROUTER = """\
providers:
  stub: {base_url: "http://127.0.0.1:1/v1", env_api_key: STUB_KEY}
  local: {managed: embedded}
"""
REGISTRY = """\
models:
  small: {provider: stub, model_name: m-small, price: {input: 1, output: 2}}
"""
TIERS = "tiers:\n  cheap: [small]\n"
GOOD = {"llm_router": ROUTER, "llm_model_registry": REGISTRY, "llm_tier_candidates": TIERS}
SET = {"STUB_KEY": CANARY}


@pytest.fixture
def check(write_configs):
    def checked(variables=SET, **files: str) -> list[str]:
        found = check_folder(write_configs(**{**GOOD, **files}), variables=variables, today=TODAY)
        return [str(finding) for finding in found]

    return checked


def invoke(*args):
    return CliRunner().invoke(app, ["check", *map(str, args)])


def test_the_shipped_configs_have_no_errors_and_no_warnings():
    found = check_folder(ROOT / "configs", variables={}, today=TODAY)
    assert [str(finding) for finding in found if finding.severity != "info"] == []


def test_a_good_folder_has_no_findings(check):
    assert check() == []


def test_findings_of_the_files_themselves_are_among_them(check):
    assert check(llm_tier_candidates="tiers:\n  cheap:\n    - smal\n") == [
        (
            "llm_tier_candidates.yaml:3: error: tier 'cheap' names model 'smal', which no registry has; did"
            " you mean 'small'?"
        )
    ]


# ---- files that cannot be read


def test_every_broken_file_is_a_finding_of_its_own(check, write_configs):
    (write_configs() / "llm_router.yaml").write_bytes(b"a: \xff")
    found = check(
        llm_router="providers:\n  a:\n    base_url: x\n    base_url: y\n", llm_tier_candidates="tiers: [\n"
    )
    assert [line.split(";")[0] for line in found] == [
        "llm_router.yaml:4: error: the key 'base_url' stands here and in line 3",
        "llm_tier_candidates.yaml:2: error: not valid YAML: did not find expected node content",
    ]


@pytest.mark.parametrize(
    "content",
    [b"a: 1\na: 2\n", b"a: \xff\xfe", b"- a\n", b"a: {", b"\x00"],
    ids=repr,
)
def test_json_is_json_whatever_the_files_hold(tmp_path, content):
    (tmp_path / "llm_router.yaml").write_bytes(content)
    result = invoke(tmp_path, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["ok"]) == (1, False)
    assert {finding["path"] for finding in told["findings"]} == {"llm_router.yaml"}


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_json_is_json_where_nothing_can_be_checked(tmp_path, folder):
    result = invoke(tmp_path / folder, "--json")
    assert (result.exit_code, json.loads(result.stdout)["ok"]) == (1, False)
    with pytest.raises(ConfigError):
        check_folder(tmp_path / folder)


# ---- exit codes


def test_warnings_are_errors_when_strict_and_notes_never_are(write_configs):
    registry = REGISTRY.replace(
        "price: {input: 1, output: 2}", "expires: 2020-01-01, price: {input: 1, output: 2}"
    )
    folder = write_configs(**{**GOOD, "llm_model_registry": registry})
    relaxed, strict = invoke(folder), invoke(folder, "--strict")
    assert (relaxed.exit_code, strict.exit_code) == (0, 1)
    assert "0 errors, 1 warnings, 1 notes" in relaxed.stdout
    assert "1 errors, 0 warnings, 1 notes" in strict.stdout
    folder = write_configs(**GOOD)
    assert "nothing of it can be called here" in invoke(folder, "--strict").stdout
    assert invoke(folder, "--strict").exit_code == 0


# ---- expiry


@pytest.mark.parametrize(
    ("expires", "told"),
    [
        ("2026-11-21", ["warning: model 'small' expired on 2026-11-21; put another in its place"]),
        ("2026-11-22", ["warning: model 'small' expires on 2026-11-22, in 0 days; plan another"]),
        ("2026-12-22", ["warning: model 'small' expires on 2026-12-22, in 30 days; plan another"]),
        ("2026-12-23", []),
        ("soon", ["warning: model 'small': expires 'soon' is no date; write YYYY-MM-DD"]),
    ],
)
def test_models_that_expire_are_named_with_the_date(check, expires, told):
    registry = REGISTRY.replace("small: {", "small:\n    {").replace(
        "{provider", f"{{expires: {expires}, provider"
    )
    assert check(llm_model_registry=registry) == [f"llm_model_registry.yaml:3: {line}" for line in told]


def test_media_files_are_checked_for_dates_addresses_and_keys(check):
    media = """\
providers:
  away:
    base_url: http://example.com/v1
    headers: {api-key: x}
models:
  loud:
    provider: away
    expires: 2020-01-01
    price: {per_minute: 1}
    defaults: {voice: coral}
tiers: {voice: [loud]}
"""
    assert [re.split(";| is neither", line)[0] for line in check(speech_models=media)] == [
        "speech_models.yaml:3: error: provider 'away': the address http://example.com",
        "speech_models.yaml:4: error: provider 'away': the header 'api-key' holds a key",
        "speech_models.yaml:8: warning: model 'loud' expired on 2020-01-01",
        (
            "speech_models.yaml:11: info: tier 'voice': nothing of it can be called here: the address of"
            " provider away is refused"
        ),
    ]


def test_media_models_are_checked_for_prices_voices_wires_and_reach(check):
    media = """\
providers:
  local: {managed: embedded}
  host: {base_url: "http://127.0.0.1:1/v1", env_api_key: NO_SUCH_KEY}
models:
  mei: {provider: local, model_name: mei-jo, price: {per_core_hour: 1}}
  free: {provider: host}
  lost: {provider: host, wire: images, price: {per_minute: 1}}
tiers: {voice: [free]}
"""
    assert [line.partition(";")[0] for line in check(speech_models=media)] == [
        "speech_models.yaml:5: error: model 'mei': there is no local voice 'mei-jo'",
        "speech_models.yaml:7: error: model 'lost': speech models have no wire 'images'",
        "speech_models.yaml:6: warning: model 'free' speaks with no voice of its own",
        (
            "speech_models.yaml:6: warning: model 'free' has no price, its cost will be unknown: audio comes"
            " without a count of tokens"
        ),
        (
            "speech_models.yaml:8: info: tier 'voice': nothing of it can be called here: no key or address"
            " for provider host: set NO_SUCH_KEY"
        ),
    ]


def test_options_and_forced_models_that_would_end_every_call_are_told(write_configs):
    media = """\
providers: {host: {base_url: "http://127.0.0.1:1/v1"}}
models:
  pic: {provider: host, price: {per_image: 1}, defaults: {nn: 1}}
  wrong: {provider: host, price: {per_minute: 1}}
tiers: {pictures: [pic]}
tasks:
  scene: {tier: pictures, options: {size: big}}
"""
    folder = write_configs(**GOOD, image_models=media)
    variables = {
        "IMAGE_CLIENT_FORCE_MODEL_KEY": "nope",
        "IMAGE_CLIENT_FORCE_MODEL_KEY_SCENNE": "pic",
        "IMAGE_CLIENT_FORCE_MODEL_KEY_SCENE": "pic",
    }
    found = [str(each) for each in check_folder(folder, variables=variables, today=TODAY)]
    for start in (
        "image_models.yaml:3: error: unknown image parameter 'nn'",
        "image_models.yaml:7: error: size must be WIDTHxHEIGHT",
        "image_models.yaml:2: error: IMAGE_CLIENT_FORCE_MODEL_KEY names model 'nope'",
        "image_models.yaml:6: warning: IMAGE_CLIENT_FORCE_MODEL_KEY_SCENNE is of no task; did you mean",
        "image_models.yaml:4: warning: model 'wrong' has no price",
    ):
        assert any(line.startswith(start) for line in found), (start, found)
    assert not any("FORCE_MODEL_KEY_SCENE " in line for line in found)


# ---- prices


def test_a_model_without_a_price_anywhere_is_told(check):
    registry = """\
models:
  small: {provider: stub, model_name: m-small}
  listed: {provider: openai, model_name: gpt-5-mini}
  strange: {provider: openai, model_name: gpt-none-such}
  deployed: {provider: azure, deployment: mine, family: gpt-5-mini}
  nameless: {provider: azure, deployment: mine-too}
  routed: {provider: openrouter, model_name: vendor/none-such}
  half: {provider: stub, model_name: half, price: {input: 1}}
  near: {provider: local, model_name: gemma3-270m, price: {per_core_hour: 0.04}}
"""
    router = ROUTER + "  openai: {}\n  azure: {}\n  openrouter: {}\n"
    found = [line for line in check(llm_model_registry=registry, llm_router=router) if "price" in line]
    assert [line.split(",")[0] for line in found] == [
        "llm_model_registry.yaml:2: warning: model 'small' has no price",
        "llm_model_registry.yaml:4: warning: model 'strange' has no price",
        "llm_model_registry.yaml:6: warning: model 'nameless' has no price",
        "llm_model_registry.yaml:8: warning: model 'half' has no price",
    ]


# ---- models that this version or this machine does not have


def test_a_local_model_that_nobody_knows_is_named_with_the_nearest(check):
    registry = (
        REGISTRY + "  near:\n    provider: local\n    model_name: gemma3-27m\n    price: {per_core_hour: 1}\n"
    )
    assert check(llm_model_registry=registry) == [
        (
            "llm_model_registry.yaml:5: error: model 'near': there is no local model 'gemma3-27m'; did"
            " you mean 'gemma3-270m'?"
        )
    ]


def test_a_wire_that_is_not_spoken_is_told(check):
    registry = (
        REGISTRY
        + "  loud: {provider: stub, wire: speech, capabilities: {tts: true}, price: {per_minute: 1}}\n"
    )
    assert check(llm_model_registry=registry) == [
        (
            "llm_model_registry.yaml:3: warning: model 'loud' can never be used here: it is of the kind"
            " speech; put it into speech_models.yaml"
        )
    ]


AZURE = """\
providers:
  azure:
    base_url: "https://x.openai.azure.com"
    default_api_version: 2024-10-21
"""


@pytest.mark.parametrize(
    ("model", "variables", "place"),
    [
        ("{use_responses_api: true, ", {}, "llm_router.yaml:4"),
        ("{use_responses_api: true, api_version: 2025-01-01, ", {}, "llm_model_registry.yaml:2"),
        ("{use_responses_api: true, api_version: 2025-04-01-preview, ", {}, None),
        ("{", {}, None),
        (
            "{use_responses_api: true, ",
            {"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com/openai/v1"},
            None,
        ),
    ],
)
def test_an_api_version_without_the_responses_api_is_found_before_a_call(check, model, variables, place):
    registry = f"models:\n  m: {model}provider: azure, price: {{input: 1, output: 1}}}}\n"
    found = check(
        {"AZURE_OPENAI_API_KEY": CANARY, **variables},
        llm_router=AZURE,
        llm_model_registry=registry,
        llm_tier_candidates="tiers: {cheap: [m]}",
    )
    assert [line.split(": error")[0] for line in found] == ([place] if place else [])


def test_an_address_that_no_key_may_go_to_is_an_error_at_its_line(check):
    found = check(llm_router=ROUTER + "  two:\n    base_url: http://example.com/v1\n")
    assert [line.split(" the address")[0] for line in found] == ["llm_router.yaml:5: error: provider 'two':"]


@pytest.mark.parametrize("kind", ["openai", "openrouter", "gemini"])
def test_a_foreign_host_of_a_typed_provider_is_an_error_and_its_section_is_not_missed(check, kind):
    found = check(
        llm_router=f"providers:\n  h:\n    type: {kind}\n    base_url: https://evil.test/v1\n",
        llm_model_registry=REGISTRY.replace("stub", "h"),
    )
    assert found[0] == (
        "llm_router.yaml:4: error: provider 'h': the address https://evil.test is not in allow_hosts; name"
        " the host there"
    )
    assert "is not in llm_router.yaml" not in "".join(found)
    assert "nothing of it can be called here: the address of provider h is refused" in found[-1]


def test_lists_of_which_nothing_can_be_called_here_are_notes(check):
    slots = "slots:\n  1:\n    tiers:\n      cheap: [small]\n"
    assert check({}, llm_model_slots=slots) == [
        (
            "llm_model_slots.yaml:4: info: slot 1, tier 'cheap': nothing of it can be called here: no key or"
            " address for provider stub: set STUB_KEY"
        ),
        (
            "llm_tier_candidates.yaml:2: info: tier 'cheap': nothing of it can be called here: no key or"
            " address for provider stub: set STUB_KEY"
        ),
    ]
    assert check(llm_model_slots=slots) == []


# ---- sweep plans and files that are not read


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: p\ncandidates: [small]\ntasks: {t: }\n", None),
        (
            "name: p\ncandidates: [small]\nreepats: 2\ntasks: {t: }\n",
            "sweeps/p.yaml:3: error: reepats: unknown key",
        ),
        ("name: p\nname: q\n", "sweeps/p.yaml:2: error: the key 'name' stands here and in line 1; keep one"),
        (
            "name: p\ncandidates:\n  - smal\ntasks: {t: }\n",
            "sweeps/p.yaml:3: error: the plan names model 'smal'",
        ),
        (
            "name: p\ncandidates: [small]\ntasks:\n  t:\n    candidates: [smal]\n",
            "sweeps/p.yaml:5: error: the plan names model 'smal', which no registry has; did you mean",
        ),
    ],
)
def test_sweep_plans_are_read_and_their_models_known(check, write_configs, text, told):
    sweeps = write_configs() / "sweeps"
    sweeps.mkdir()
    (sweeps / "p.yaml").write_text(text)
    found = check()
    assert found == [] if told is None else any(line.startswith(told) for line in found)


@pytest.mark.parametrize("name", ["llm_model_registery.yaml", "llm_model_registry.yml"])
def test_a_file_whose_name_is_nearly_that_of_a_config_file_is_told(check, write_configs, name):
    (write_configs() / name).write_text("models: {}\n")
    assert check() == [f"{name}: warning: this file is not read; did you mean 'llm_model_registry.yaml'?"]
