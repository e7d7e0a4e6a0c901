"""Config folders, clients and lines for calls to image and speech models on loopback."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from llmbench.jsonl import read_jsonl
from tests.conftest import CANARY, provider
from tests.servers.image_provider import ImageProvider, Kind

#: Each image dialect: the provider of the stand-in, its type, and what a model's entry says.
DIALECTS: Mapping[str, tuple[Kind, dict[str, Any], dict[str, Any]]] = {
    "openai": ("openai", {"type": "openai"}, {"wire": "images"}),
    "azure": ("azure", {"type": "azure", "api_version": "2025-04-01-preview"}, {"wire": "images"}),
    "azure-v1": ("azure-v1", {"type": "azure"}, {"wire": "images"}),
    "openrouter": ("openrouter", {"type": "openrouter"}, {"wire": "images"}),
    "chat": ("openrouter", {"type": "openrouter"}, {"wire": "chat"}),
    "gemini": ("gemini", {"type": "gemini"}, {"wire": "gemini"}),
    "workflow": (
        "fireworks",
        {},
        {"wire": "workflow", "model_name": "accounts/fireworks/models/flux/text_to_image"},
    ),
    "ticket": ("fireworks", {}, {"wire": "workflow", "model_name": "accounts/fireworks/models/kontext"}),
}
KEYS = {"STUB_KEY": CANARY}
#: A text model beside the media files: a folder may not be without.
TEXT: Mapping[str, Any] = {
    "llm_router": {"providers": {"stub": {"base_url": "http://127.0.0.1:1/v1"}}},
    "llm_model_registry": {"models": {"writer": {"provider": "stub", "price": {"input": 1, "output": 1}}}},
    "llm_tier_candidates": {"tiers": {"standard": ["writer"], "cheap": ["writer"]}},
    "llm_tier_mapping": {"tasks": {"caption": "cheap"}},
    "llm_fallback_policy": {"backoff_sec": 0},
}


def write_folder(folder: Path, **files: Any) -> Path:
    """Write a config folder: the text files, and those that are given over them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {**TEXT, **files}.items():
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def dialect_files(server: ImageProvider) -> dict[str, Any]:
    """An image file with a provider, a model, a tier and a task of the same name for every dialect."""
    return {
        "providers": {
            name: provider(server.base_url(kind), **settings)
            for name, (kind, settings, _) in DIALECTS.items()
        },
        "models": {name: {"provider": name, **model} for name, (_, _, model) in DIALECTS.items()},
        "tiers": {f"tier-{name}": [name] for name in DIALECTS},
        "tasks": {name: {"tier": f"tier-{name}"} for name in DIALECTS},
    }


def lines(log: Path) -> list[dict[str, Any]]:
    """The lines of a telemetry file."""
    found = [line.record for line in read_jsonl(log)]
    assert None not in found
    return [record for record in found if record is not None]
