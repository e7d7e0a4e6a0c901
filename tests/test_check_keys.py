"""`llmbench check` on keys that stand in a config folder: each is found, and none is repeated."""

from __future__ import annotations

import pytest

from llmbench.check import check_folder
from tests.conftest import CANARY
from tests.test_check import GOOD, REGISTRY, ROUTER, SET, TODAY

KEY = "sk-proj-abcdefghijklmnop0123"


@pytest.fixture
def check(write_configs):
    def checked(variables=SET, **files: str) -> list[str]:
        found = check_folder(write_configs(**{**GOOD, **files}), variables=variables, today=TODAY)
        return [str(finding) for finding in found]

    return checked


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        ("llm_router", ROUTER + f"x-note:\n  deep:\n    - [a, '{KEY}']\n", "llm_router.yaml:6"),
        ("llm_router", ROUTER + f"# was {KEY}\n", "llm_router.yaml:4"),
        (
            "llm_router.local",
            f"providers: {{stub: {{headers: {{x: '{KEY}'}}}}}}\n",
            "llm_router.local.yaml:1",
        ),
        ("llm_router", f"providers: [\n  {KEY}\n", "llm_router.yaml:2"),
        ("llm_task_overrides", f"tasks:\n  t:\n    system_prompt: {KEY}\n", "llm_task_overrides.yaml:3"),
        ("llm_model_registry", REGISTRY + f"  m: {{provider: {KEY}}}\n", "llm_model_registry.yaml:3"),
        ("llm_router", ROUTER + "x-auth: Bearer abcdefghijklmnop\n", "llm_router.yaml:4"),
        ("llm_router", ROUTER + f"x-mine: {CANARY}\n", "llm_router.yaml:4"),
        ("notes", f"a: {KEY}\n", "notes.yaml:1"),
    ],
)
def test_a_key_in_any_file_is_an_error_and_is_not_repeated(check, file, text, place):
    found = check(**{file: text})
    message = "this line holds a key; set it as an environment variable and name that here"
    assert f"{place}: error: {message}" in found
    assert KEY not in "".join(found)
    assert CANARY not in "".join(found)
    assert "abcdefghijklmnop" not in "".join(found)


def test_a_key_in_a_sweep_plan_is_found(check, write_configs):
    sweeps = write_configs() / "sweeps"
    sweeps.mkdir()
    (sweeps / "p.yaml").write_text(f"name: p\ndescription: {KEY}\ncandidates: [small]\ntasks: {{t: }}\n")
    assert [line.split(": ")[0] for line in check()] == ["sweeps/p.yaml:2"]


def test_a_header_that_carries_a_key_is_an_error_whatever_the_key_looks_like(check):
    router = ROUTER + "  two:\n    base_url: https://x.test\n    headers:\n      Api-Key: short\n"
    assert check(llm_router=router) == [
        (
            "llm_router.yaml:7: error: provider 'two': the header 'Api-Key' holds a key; name its variable in"
            " env_api_key"
        )
    ]


@pytest.mark.parametrize(
    "header", ["X-Auth-Token", "subscription-KEY", "My-Secret", "Proxy-Authorization", "Cookie"]
)
def test_a_header_with_a_name_of_keys_is_an_error_and_its_value_is_not_repeated(check, header):
    router = ROUTER + f"  two:\n    base_url: https://x.test\n    headers:\n      {header}: hidden-value\n"
    place = "llm_router.yaml:7: error: provider 'two'"
    assert check(llm_router=router) == [
        f"{place}: the header {header!r} holds a key; name its variable in env_api_key"
    ]


@pytest.mark.parametrize(
    "line", ["api_key: hidden-value", "x-secret: hidden-value", "tokens: [hidden-value]"]
)
@pytest.mark.parametrize("file", ["llm_router", "speech_models"])
def test_a_key_of_a_provider_that_holds_a_key_by_its_name_is_an_error(check, file, line):
    head = ROUTER if file == "llm_router" else "providers:\n"
    found = check(**{file: f"{head}  two:\n    base_url: https://x.test\n    {line}\n"})
    place = f"{file}.yaml:{6 if file == 'llm_router' else 4}"
    name = line.split(":")[0]
    assert f"{place}: error: provider 'two': {name!r} holds a key; name its variable in env_api_key" in found
    assert "hidden-value" not in "".join(found)


@pytest.mark.parametrize("line", ["api_key_env: MY_API_KEY", "tokens_per_minute: 100", "x-owner: hidden"])
def test_names_of_variables_and_figures_are_no_keys_of_a_provider(check, line):
    found = check(llm_router=ROUTER + f"  two:\n    base_url: https://x.test\n    {line}\n")
    assert "holds a key" not in "".join(found)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x-mine:\n  azure_key: '%s'\n", 5),
        ("x-mine: {my-token: %s}\n", 4),
        ("# secret = %s\n", 4),
        ("x-mine: {checksum: %s}\n", None),
        ("x-mine: {key: %s0}\n", None),
    ],
)
def test_32_hexadecimal_digits_are_a_key_under_a_name_of_keys(check, text, line):
    digits = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
    found = check(llm_router=ROUTER + text % digits)
    message = "this line holds a key; set it as an environment variable and name that here"
    assert found == ([f"llm_router.yaml:{line}: error: {message}"] if line else [])


def test_words_about_keys_are_no_keys(check):
    assert check(llm_router=ROUTER + "# bearer authentication: fw_deep_v3, or_small, sk-short\n") == []


@pytest.mark.parametrize(
    "address", ["https://bob:hidden-pass@x.test/v1", "https://x.test/v1?api_key=hidden-pass"]
)
def test_a_key_in_an_address_is_found_wherever_it_stands(check, address):
    found = check(llm_router=ROUTER + f"# was {address}\n")
    message = "this line holds a key; set it as an environment variable and name that here"
    assert f"llm_router.yaml:4: error: {message}" in found
    assert "hidden-pass" not in "".join(found)
