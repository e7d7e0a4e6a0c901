"""The recorded image exchanges, replayed: our request for the same call, our reading of the same answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from llmbench.catalog import Capabilities, Endpoint, ModelSpec, Wire
from llmbench.errors import ProviderError
from llmbench.media import MediaAsk
from llmbench.messages import Usage
from llmbench.providers.base import Reply
from llmbench.providers.media_wires import media_wire_for
from tests.conformance.image_places import sent
from tests.conformance.recorded import FOLDER, request_of, steps_of
from tests.servers.chat_server import ChatServer

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the recorded exchanges are not beside this checkout (shared/wire/captures)"
)
#: Each exchange with its wire, and the call that it is.
CALLS: Mapping[str, tuple[Wire, MediaAsk]] = {
    **dict.fromkeys(
        ("azure-image-deployments", "azure-image-moderation-blocked", "azure-image-v1"),
        (
            "images",
            MediaAsk("a red cube", {"n": 1, "format": "png", "quality": "low", "size": "1024x1024"}),
        ),
    ),
    "openrouter-images": ("images", MediaAsk("a red cube")),
    "openrouter-chat-image-output": ("chat", MediaAsk("What is 6*7?", {"aspect_ratio": "16:9"})),
    "gemini-image-generate": ("gemini", MediaAsk("a red cube", {"aspect_ratio": "16:9", "size": "1K"})),
    "gemini-image-no-image": ("gemini", MediaAsk("x")),
}
#: What stands in a recorded body and not in ours, or otherwise, and why.
OTHERWISE: Mapping[str, Mapping[str, Any]] = {
    # A picture has one prompt and no system turn; false is the default of stream.
    "openrouter-chat-image-output": {
        "messages": [{"role": "user", "content": "What is 6*7?"}],
        "stream": None,
    },
    # Words beside the picture say why there is none; a model without them answers with the picture alone.
    "gemini-image-no-image": {"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}},
}


def _spec(name: str) -> ModelSpec:
    request = request_of(name)
    model = (request["json"] or {}).get("model") or request["path"].split("/models/")[1].split(":")[0]
    return ModelSpec("m", "host", model, CALLS[name][0], capabilities=Capabilities(mode="image"))


def _endpoint(name: str) -> Endpoint:
    """Where the exchange took place."""
    request = request_of(name)
    kind = name.partition("-")[0]
    bases = {"azure": "", "openrouter": "/api/v1", "gemini": ""}
    base = "/openai/v1" if "/openai/v1/" in request["path"] else bases[kind]
    version = request["query"].get("api-version")
    return Endpoint("host", type=kind, base_url=f"https://h.test{base}", api_version=version)


@pytest.mark.parametrize("name", CALLS)
def test_our_request_for_the_same_picture_is_the_recorded_one(name):
    request, spec, endpoint = request_of(name), _spec(name), _endpoint(name)
    wire = media_wire_for(spec)
    expected = {**request["json"], **OTHERWISE.get(name, {})}
    assert wire.body(spec, CALLS[name][1]) == {
        key: value for key, value in expected.items() if value is not None
    }
    query = "".join(f"?{key}={value}" for key, value in request["query"].items())
    assert endpoint.base_url is not None
    address = endpoint.base_url + wire.path(spec, endpoint)
    assert address == f"https://h.test{request['path']}{query}"


def _reply(name: str) -> Reply:
    """Our reading of a recorded answer that comes from a real socket.

    Raises:
        ProviderError: it is no answer.
    """
    with ChatServer() as server:
        server.answer = lambda _: steps_of(name)[-1]
        return sent(_spec(name), Endpoint("host", base_url=server.url, auth="none"), CALLS[name][1]).reply


@pytest.mark.parametrize(
    ("name", "start", "usage", "usd"),
    [
        ("azure-image-deployments", b"\x89PNG\r\n\x1a\n", Usage(12, 272), None),
        ("azure-image-v1", b"\x89PNG\r\n\x1a\n", Usage(12, 272), None),
        ("openrouter-images", b"\x89PNG", Usage(4, 272), 0.01),
        ("openrouter-chat-image-output", b"\x89PNG", Usage(14, 40, 0, 32), 2.14e-05),
        ("gemini-image-generate", b"\x89PNG-EXAMPLE", Usage(4, 1300), None),
    ],
)
def test_a_recorded_picture_is_read_with_its_tokens_and_its_cost(name, start, usage, usd):
    reply = _reply(name)
    assert (reply.problem, len(reply.media), reply.usage) == (None, 1, usage)
    assert reply.media[0].data.startswith(start)
    assert (reply.media[0].mime, reply.reported_usd) == ("image/png", usd)


def test_a_recorded_block_before_generation_is_an_error_of_kind_content_filter():
    with pytest.raises(ProviderError, match="rejected as a result of our safety system") as caught:
        _reply("azure-image-moderation-blocked")
    assert caught.value.kind == "content_filter"


def test_a_recorded_block_of_the_picture_is_a_problem_of_kind_content_filter():
    reply = _reply("gemini-image-no-image")
    assert reply.problem is not None
    assert (reply.problem.kind, reply.media, reply.usage) == ("content_filter", (), Usage(4, 0))
