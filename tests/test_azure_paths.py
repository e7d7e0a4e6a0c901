"""Azure's paths: of a dated version, of the v1 API, and below an address that names a part of them."""

from __future__ import annotations

import pytest

from llmbench.catalog import Endpoint, ModelSpec
from llmbench.errors import ConfigError
from llmbench.providers.chat import ChatWire
from llmbench.providers.responses import ResponsesWire

CHAT = "/chat/completions"
RESPONSES = "/responses"


def paths(address: str, version: str | None) -> tuple[str, str]:
    endpoint = Endpoint("x", type="azure", base_url=address, api_version=version)
    spec = ModelSpec("m", "x", "dep/1")
    return ChatWire().path(spec, endpoint), ResponsesWire().path(spec, endpoint)


@pytest.mark.parametrize("version", [None, "v1", "preview"])
@pytest.mark.parametrize(
    ("address", "below"),
    [
        ("https://r.test", "/openai/v1"),
        ("https://r.test/", "/openai/v1"),
        ("https://r.test/openai", "/v1"),
        ("https://r.test/openai/", "/v1"),
        ("https://r.test/openai/v1", ""),
    ],
)
def test_a_version_without_a_date_is_the_v1_path(address, below, version):
    assert paths(address, version) == (below + CHAT, below + RESPONSES)


@pytest.mark.parametrize(
    ("address", "below"),
    [("https://r.test", "/openai"), ("https://r.test/openai", ""), ("https://r.test/openai/", "")],
)
def test_a_dated_version_stands_in_the_query_and_openai_once_in_the_address(address, below):
    query = "?api-version=2025-04-01-preview"
    chat, responses = paths(address, "2025-04-01-preview")
    assert (chat, responses) == (
        f"{below}/deployments/dep%2F1{CHAT}{query}",
        f"{below}{RESPONSES}{query}",
    )


@pytest.mark.parametrize("version", ["latest", "2024-10", "2024-10-21&x=1", "V 1"])
@pytest.mark.parametrize("wire", [ChatWire(), ResponsesWire()])
def test_a_version_that_cannot_be_is_refused_before_a_request(wire, version):
    endpoint = Endpoint("x", type="azure", base_url="https://r.test", api_version="2025-04-01-preview")
    with pytest.raises(ConfigError, match="is no version of Azure's API; write v1, or a date") as caught:
        wire.path(ModelSpec("m", "x", "dep", api_version=version), endpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", ["2024-10-21", "2025-02-01-preview"])
def test_a_version_without_the_responses_api_is_refused_with_the_way_out(version):
    with pytest.raises(ConfigError, match="use 2025-03-01-preview or later, or v1") as caught:
        paths("https://r.test", version)
    assert "\n" not in str(caught.value)
