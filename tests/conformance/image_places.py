"""Image providers: an address, the official SDK's client for it, and our own model and endpoint of it.

Fireworks has no SDK that could be asked here; its forms are held by tests/test_image_wires.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmbench.catalog import Capabilities, Endpoint, ModelSpec, Wire
from llmbench.config.environment import read_environment
from llmbench.media import MediaAsk
from llmbench.pricing import Made
from llmbench.providers.base import Reply
from llmbench.providers.hosts import open_host
from llmbench.providers.media_send import send_media
from llmbench.providers.media_wires import media_wire_for
from llmbench.providers.send import Sent
from llmbench.providers.transport import HttpxTransport
from tests.conformance.places import Sdk
from tests.conftest import CANARY
from tests.servers.image_provider import ImageProvider, Kind

REFERER = {"HTTP-Referer": "https://app.example", "X-OpenRouter-Title": "llmbench"}
VERSION = "2025-04-01-preview"
_KEYS = ("STUB_KEY",)


@dataclass(frozen=True)
class ImagePlace:
    """One address of one provider; its name starts with those of the differences that it meets."""

    name: str
    kind: Kind
    wire: Wire
    model: str
    sdk: Callable[[str, str], Sdk]
    endpoint: Mapping[str, Any] = field(default_factory=dict)
    media: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> ModelSpec:
        able = Capabilities(mode="image")
        return ModelSpec("m", "host", self.model, self.wire, capabilities=able, media=self.media)

    def sent(self, server: ImageProvider, ask: MediaAsk) -> Sent:
        """Our own call, through the real transport.

        Raises:
            ProviderError: no answer came.
        """
        address = server.base_url(self.kind)
        return sent(self.spec, Endpoint("host", base_url=address, env_api_keys=_KEYS, **self.endpoint), ask)


def sent(spec: ModelSpec, endpoint: Endpoint, ask: MediaAsk) -> Sent:
    """One call of ours; its pictures stay the bytes that came.

    Raises:
        ProviderError: no answer came.
    """
    body = media_wire_for(spec).body(spec, ask)

    def opened(reply: Reply) -> tuple[Any, Made]:
        return reply.media, Made()

    async def once() -> Sent:
        transport = HttpxTransport()
        host = open_host(endpoint, read_environment({"STUB_KEY": CANARY}))
        try:
            return await send_media(spec, endpoint, host, transport, body, opened)
        finally:
            await transport.aclose()

    return asyncio.run(once())


def _openai(address: str, model: str) -> Sdk:
    from openai import OpenAI

    client = OpenAI(base_url=address, api_key=CANARY, max_retries=0)
    return Sdk(lambda **call: client.images.generate(model=model, **call), client.close)


def _azure(address: str, model: str) -> Sdk:
    from openai import AzureOpenAI

    client = AzureOpenAI(azure_endpoint=address, api_version=VERSION, api_key=CANARY, max_retries=0)
    return Sdk(lambda **call: client.images.generate(model=model, **call), client.close)


def _router(address: str) -> Any:
    from openrouter import OpenRouter, utils

    return OpenRouter(
        api_key=CANARY,
        server_url=address,
        http_referer="https://app.example",
        x_open_router_title="llmbench",
        retry_config=utils.RetryConfig("none", None, retry_connection_errors=False),
    )


def _openrouter_images(address: str, model: str) -> Sdk:
    client = _router(address)
    return Sdk(
        lambda **call: client.images.generate(model=model, **call),
        lambda: client.__exit__(None, None, None),
    )


def _openrouter_chat(address: str, model: str) -> Sdk:
    client = _router(address)
    return Sdk(
        lambda **call: client.chat.send(model=model, **call), lambda: client.__exit__(None, None, None)
    )


def _gemini(address: str, model: str) -> Sdk:
    from google import genai

    client = genai.Client(api_key=CANARY, http_options={"base_url": address})
    return Sdk(lambda **call: client.models.generate_content(model=model, **call), client.close)


IMAGE_PLACES: tuple[ImagePlace, ...] = (
    ImagePlace("openai-images", "openai", "images", "gpt-image-2", _openai, {"type": "openai"}),
    ImagePlace(
        "azure-images-dated",
        "azure",
        "images",
        "gpt-image-2",
        _azure,
        {"type": "azure", "auth": "key", "api_version": VERSION},
    ),
    ImagePlace("azure-images-v1", "azure-v1", "images", "gpt-image-2", _openai, {"type": "azure"}),
    ImagePlace(
        "openrouter-images",
        "openrouter",
        "images",
        "openai/gpt-image-2",
        _openrouter_images,
        {"type": "openrouter", "headers": REFERER},
        {"supports_reference_images": True},
    ),
    ImagePlace(
        "openrouter-chat-images",
        "openrouter",
        "chat",
        "google/gemini-2.5-flash-image",
        _openrouter_chat,
        {"type": "openrouter", "headers": REFERER},
    ),
    ImagePlace(
        "gemini-images",
        "gemini",
        "gemini",
        "gemini-3-pro-image-preview",
        _gemini,
        {"type": "gemini", "auth": "key"},
    ),
)
