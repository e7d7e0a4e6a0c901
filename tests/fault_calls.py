"""Config folders for calls that meet faults: a provider and a model for every name, on one wire."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from llmbench.jsonl import read_jsonl
from tests.conftest import provider
from tests.servers.fault_server import Dialect

#: What a busy machine may add to a deadline. How exactly the clock is kept is tested on a clock of its own.
TOLERANCE_S = 3.0
_TYPES: Mapping[Dialect, dict[str, Any]] = {
    "chat": {},
    "azure": {"type": "azure", "api_version": "2024-10-21"},
    "openrouter": {"type": "openrouter"},
    "responses": {"type": "openai"},
    "gemini": {"type": "gemini"},
}


def write_config(
    folder: Path, wire: Dialect, places: Mapping[str, str], **timeouts: Mapping[str, float]
) -> Path:
    """Write a folder with a provider and a model for each name at its base URL.

    No call meets what another one left behind at its provider. `timeouts` are those of single names.
    """
    extra = {"allow_hosts": ["provider.invalid"]}
    settings = {"wire": "responses"} if wire == "responses" else {}
    limits = {name: {"timeouts": dict(timeouts[name])} if name in timeouts else {} for name in places}
    files: dict[str, Any] = {
        "llm_router": {
            "providers": {
                name: provider(url, **_TYPES[wire], **extra, **limits[name]) for name, url in places.items()
            }
        },
        "llm_model_registry": {"models": {n: {"provider": n, "model_name": n} | settings for n in places}},
        "llm_tier_candidates": {"tiers": {"cheap": ["healthy"]}},
        "llm_tier_mapping": {"tasks": {"caption": "cheap"}},
        "llm_fallback_policy": {"backoff_sec": 0, "max_total_wait_sec": 1},
    }
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return folder


def lines_by_cell(log: Path) -> dict[str, list[dict[str, Any]]]:
    """The lines of a telemetry file by their `cell`; a cell without a line has none."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in read_jsonl(log):
        assert line.record is not None, line
        found[line.record["cell"]].append(line.record)
    return found
