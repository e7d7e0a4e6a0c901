"""Where calls go: an address, the official SDK's client for it, and our own config of the same place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.conftest import CANARY

Dialect = Literal["chat", "responses", "openrouter", "gemini"]


@dataclass(frozen=True)
class Sdk:
    """An official SDK's client: `send` makes one call, `close` ends its connections."""

    send: Callable[..., Any]
    close: Callable[[], object]


MODEL: Mapping[Dialect, str] = {
    "chat": "gpt-5-mini",
    "responses": "gpt-5-mini",
    "openrouter": "deepseek/deepseek-v3.2-exp",
    "gemini": "gemini-3-flash-preview",
}
_ABLE = {"structured_outputs": True, "reasoning": True, "tools": True, "vision": True}


@dataclass(frozen=True)
class Place:
    """One address of one provider.

    `path` follows the server's root, in our base_url and the SDK's; `sdk` opens the SDK's client there.
    """

    name: str
    dialect: Dialect
    sdk: Callable[[str], Sdk]
    path: str = ""
    section: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)

    def configs(self, root: str) -> dict[str, Any]:
        """Our config folder for this place."""
        provider = {
            "base_url": root + self.path,
            "env_api_key": "STUB_KEY",
            "env_endpoint": "NOT_SET",
            **self.section,
        }
        entry: dict[str, Any] = {
            "provider": "host",
            "model_name": MODEL[self.dialect],
            "capabilities": _ABLE,
            "params": dict(self.params),
        }
        if self.dialect == "responses":
            entry["use_responses_api"] = True
        return {
            "llm_router": {"providers": {"host": provider}},
            "llm_model_registry": {"models": {"m": entry}},
            "llm_tier_candidates": {"tiers": {"cheap": ["m"], "standard": ["m"]}},
            "llm_tier_mapping": {"tasks": {"caption": "cheap"}},
            "llm_fallback_policy": {"backoff_sec": 0, "retry_limit": 1},
        }


def _openai(api: Literal["chat", "responses"], **options: Any) -> Callable[[str], Sdk]:
    def opened(address: str) -> Sdk:
        from openai import OpenAI

        return _method(OpenAI(base_url=address, api_key=CANARY, max_retries=0, **options), api)

    return opened


def _azure(api: Literal["chat", "responses"], version: str, *, bearer: bool = False) -> Callable[[str], Sdk]:
    def opened(address: str) -> Sdk:
        from openai import AzureOpenAI

        secret = {"azure_ad_token": CANARY} if bearer else {"api_key": CANARY}
        client = AzureOpenAI(azure_endpoint=address, api_version=version, max_retries=0, **secret)
        return _method(client, api)

    return opened


def _azure_v1_responses(address: str) -> Sdk:
    """AzureOpenAI at a v1 address; right for Responses alone, its chat path does not exist there."""
    from openai import AzureOpenAI

    client = AzureOpenAI(base_url=address, api_key=CANARY, api_version="preview", max_retries=0)
    return _method(client, "responses")


def _method(client: Any, api: Literal["chat", "responses"]) -> Sdk:
    create = client.chat.completions.create if api == "chat" else client.responses.create
    return Sdk(lambda **call: create(model=MODEL[api], **call), client.close)


def _openrouter(address: str) -> Sdk:
    from openrouter import OpenRouter, utils

    client = OpenRouter(
        api_key=CANARY,
        server_url=address,
        http_referer="https://app.example",
        x_open_router_title="llmbench",
        retry_config=utils.RetryConfig("none", None, retry_connection_errors=False),
    )
    return Sdk(
        lambda **call: client.chat.send(model=MODEL["openrouter"], **call),
        lambda: client.__exit__(None, None, None),
    )


def _gemini(version: str | None) -> Callable[[str], Sdk]:
    def opened(address: str) -> Sdk:
        from google import genai

        options = {"base_url": address} | ({} if version is None else {"api_version": version})
        client = genai.Client(api_key=CANARY, http_options=options)

        def send(*, stream: bool = False, **call: Any) -> Any:
            ask = client.models.generate_content_stream if stream else client.models.generate_content
            return ask(model=MODEL["gemini"], **call)

        return Sdk(send, client.close)

    return opened


_CHAT = {"max_tokens_key": "max_completion_tokens"}
_DATED, _DATED_RESPONSES = "2024-10-21", "2025-04-01-preview"
_REFERER = {"headers": {"HTTP-Referer": "https://app.example", "X-OpenRouter-Title": "llmbench"}}


def _azure_section(version: str | None = None, auth: str = "key") -> dict[str, Any]:
    return {"type": "azure", "auth": auth} | ({} if version is None else {"api_version": version})


PLACES: tuple[Place, ...] = (
    Place("openai-chat", "chat", _openai("chat"), "/v1", {"type": "openai"}, _CHAT),
    Place("azure-chat-dated-key", "chat", _azure("chat", _DATED), "", _azure_section(_DATED), _CHAT),
    Place(
        "azure-chat-dated-bearer",
        "chat",
        _azure("chat", _DATED, bearer=True),
        "",
        _azure_section(_DATED, "bearer"),
        _CHAT,
    ),
    Place("azure-chat-v1-key", "chat", _openai("chat"), "/openai/v1", _azure_section(), _CHAT),
    Place(
        "azure-chat-v1-bearer", "chat", _openai("chat"), "/openai/v1", _azure_section(auth="bearer"), _CHAT
    ),
    Place("openai-responses", "responses", _openai("responses"), "/v1", {"type": "openai"}),
    Place(
        "azure-responses-dated-key",
        "responses",
        _azure("responses", _DATED_RESPONSES),
        "",
        _azure_section(_DATED_RESPONSES),
    ),
    Place(
        "azure-responses-dated-bearer",
        "responses",
        _azure("responses", _DATED_RESPONSES, bearer=True),
        "",
        _azure_section(_DATED_RESPONSES, "bearer"),
    ),
    Place("azure-responses-v1-key", "responses", _azure_v1_responses, "/openai/v1", _azure_section()),
    Place(
        "azure-responses-v1-bearer",
        "responses",
        _openai("responses"),
        "/openai/v1",
        _azure_section(auth="bearer"),
    ),
    Place(
        "openrouter-chat",
        "openrouter",
        _openrouter,
        "/api/v1",
        {"type": "openrouter", **_REFERER},
        {"reasoning_key": "reasoning"},
    ),
    Place(
        "gemini-v1",
        "gemini",
        _gemini(None),
        "",
        {"type": "gemini"},
        {"reasoning_key": "thinkingLevel", "allow_penalties": True},
    ),
    Place(
        "gemini-v1beta",
        "gemini",
        _gemini("v1beta"),
        "",
        {"type": "gemini", "api_version": "v1beta"},
        {"reasoning_key": "thinkingLevel", "allow_penalties": True},
    ),
    Place(
        "gemini-v1-budget",
        "gemini",
        _gemini(None),
        "",
        {"type": "gemini"},
        {"reasoning_key": "thinkingBudget"},
    ),
)
