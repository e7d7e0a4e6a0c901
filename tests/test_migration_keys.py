"""Keys in an older folder: wherever they stand, none is copied or printed, and each place is named."""

from __future__ import annotations

import json

import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from llmbench.catalog import PARAMETER_ALIASES, PARAMETERS
from llmbench.cli import app
from llmbench.config import load_config, media_shapes
from llmbench.config import shapes as shapes_of_text
from llmbench.config.key_names import address_keys, is_key_name, without_address_keys
from llmbench.migration import migrate

ROUTER = """\
providers:
  azure: {api_keys: [0123abcd4567abcd, 89abcdef01234567], endpoint: "https://foo.openai.azure.com/"}
  asked: {base_url: "https://h.example.com/v1?api_key=canary-one-111&v=1"}
  named: {base_url: "https://bob:canary/two@222@h.example.com/v1", env_api_key: NAMED_KEY}
  headed:
    base_url: https://h.example.com/v1
    headers: {X-Token: canary-three, Ocp-Apim-Subscription-Key: canary-four, Cookie: s=canary-five-5555,
              X-My-Secret: canary-six, X-Mode: fast}
  typed: {base_url: https://h.example.com/v1, env_api_key: 0123456789abcdef01234567, auth: canary-nine}
# was canary-five-5555, and bob had canary/two@222
models:
  g: {provider: named, model_name: some-model}
tiers: {standard: [g], secret: [g]}
tasks:
  a: {model: g, bearer: canary-seven, auth: {key: canary-eight, type: plain}, token: 12345678, max_tokens: 5}
  keywords: {tier: secret}
"""
SECRETS = ("0123abcd", "89abcdef", "canary", "12345678", "01234567", "222@h")


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "llm_router.yaml").write_text(ROUTER, encoding="utf-8")
    (folder / "llm_registry.json").write_text(json.dumps({"password": "g", "api_token": {"model": "g"}}))
    return folder


def test_no_key_is_written_or_printed_whatever_its_place(old, tmp_path):
    shown = CliRunner().invoke(app, ["migrate", str(old), "--to", str(tmp_path / "new")])
    assert shown.exit_code in (0, 1)
    written = "".join(path.read_text("utf-8") for path in (tmp_path / "new").iterdir())
    assert [secret for secret in SECRETS if secret in written + shown.output] == []


def test_each_place_of_a_key_is_listed_with_what_to_do(old, tmp_path):
    done = migrate(old, tmp_path / "new", variables={})
    listed = {loss.key: loss for loss in done.losses if loss.value == "***"}
    assert set(listed) == {
        "providers.azure.api_keys.0",
        "providers.azure.api_keys.1",
        "providers.asked.base_url",
        "providers.named.base_url",
        *(f"providers.headed.headers.{name}" for name in ("X-Token", "Cookie", "X-My-Secret")),
        "providers.headed.headers.Ocp-Apim-Subscription-Key",
        "providers.typed.env_api_key",
        "providers.typed.auth",
        "tasks.a.bearer",
        "tasks.a.auth.key",
        "tasks.a.auth.type",
        "tasks.a.token",
    }
    assert "set it as HEADED_API_KEY" in listed["providers.headed.headers.Cookie"].reason
    assert listed["tasks.a.token"].line == 15


def test_what_is_no_key_stays_and_an_address_keeps_its_rest(old, tmp_path):
    migrate(old, tmp_path / "new", variables={})
    config = load_config(tmp_path / "new")
    assert config.endpoints["asked"].base_url == "https://h.example.com/v1?v=1"
    assert config.endpoints["named"].base_url == "https://h.example.com/v1"
    assert config.endpoints["named"].env_api_keys == ("NAMED_KEY",)
    assert config.endpoints["azure"].env_api_keys == ("AZURE_OPENAI_API_KEY",)
    assert dict(config.endpoints["headed"].headers) == {"X-Mode": "fast"}
    tasks = yaml.safe_load((tmp_path / "new" / "llm_task_overrides.yaml").read_text("utf-8"))["tasks"]
    assert tasks["password"] == tasks["api_token"] == {"models": ["g"]}
    assert config.mapping.keys() | config.task_names() >= {"keywords", "a"}


KEYS = """api_keys apiKey APIKey token tokens bearer Cookie client_secret api_key_2 authToken x-api-key
password aws_secret_access_key apikey API_TOKEN keys credentials pass パスワード"""
OTHERS = """max_tokens model_key reasoning_key context_tokens keywords author tokenizer stop_token cache_key
字幕 max_output_tokens secret_story first_pass author_bio monkey"""


def test_no_field_of_a_config_and_no_parameter_reads_like_a_key():
    shapes = [each for module in (shapes_of_text, media_shapes) for each in vars(module).values()]
    models = [each for each in shapes if isinstance(each, type) and issubclass(each, BaseModel)]
    names = {name for model in models for name in model.model_fields} | {*PARAMETERS, *PARAMETER_ALIASES}
    assert {name for name in names if is_key_name(name)} == {"env_api_key", "env_api_keys", "auth"}


@pytest.mark.parametrize("name", KEYS.split())
def test_a_name_of_keys_is_known(name):
    assert is_key_name(name)


@pytest.mark.parametrize("name", ["", *OTHERS.split()])
def test_a_name_of_something_else_is_not(name):
    assert not is_key_name(name)


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("https://u:p@h/v1", "https://h/v1"),
        ("https://token@h/v1", "https://h/v1"),
        ("https://u:p/q?r@h:80/v1", "https://h:80/v1"),
        ("https://h/v1?key=x", "https://h/v1"),
        ("https://h/v1?a=1&sig=x&b=2", "https://h/v1?a=1&b=2"),
        ("https://h/v1?sig=x&b=2#access_token=y", "https://h/v1?b=2"),
        ("https://h:8080/@x?keyword=k", "https://h:8080/@x?keyword=k"),
        ("https://h/v1?key=${KEY}", "https://h/v1?key=${KEY}"),
        ("mail a@b.example or see http://h/x", "mail a@b.example or see http://h/x"),
    ],
)
def test_an_address_is_freed_of_what_opens_something(text, bare):
    assert without_address_keys(text) == bare
    assert bool(list(address_keys(text))) == (text != bare)
