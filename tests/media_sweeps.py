"""A small project for sweeps of pictures or narrations: config folder, dataset and plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from llmbench.bench import chain
from llmbench.bench.chain import Project
from llmbench.bench.sweep import SweepRun, run_sweep
from tests.media_calls import write_folder

CARDS: Mapping[str, Mapping[str, Any]] = {
    "image": {"modality": "image", "scorer": {"name": "picture"}, "options": {"aspect_ratio": "16:9"}},
    "speech": {"modality": "speech", "scorer": {"name": "narration"}, "options": {}},
}
PRICE = {"per_image": 0.02, "as_of": "2026-11-22"}


def write_media_dataset(
    folder: Path, task: str, modality: str, rows: Sequence[Mapping[str, Any]], **changes: Any
) -> None:
    """A dataset of one modality; `changes` go over the card."""
    folder.mkdir(parents=True, exist_ok=True)
    full = [
        {"id": f"s{n}", "lang": "en", "cluster": f"c{n}", "target": None, **row} for n, row in enumerate(rows)
    ]
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in full).encode()
    (folder / "data.jsonl").write_bytes(data)
    card = {
        "name": task,
        "version": "1",
        "licence": "MIT",
        "task": task,
        "languages": sorted({row["lang"] for row in full}),
        "description": "For tests.",
        "sha256": hashlib.sha256(data).hexdigest(),
        "samples": len(full),
        "clusters": len(full),
        "fields": {"input": "a text"},
        **CARDS[modality],
        **changes,
    }
    (folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")


def write_image_project(
    root: Path,
    base_url: str,
    *,
    prompts: Sequence[str] = ("a red door", "a blue door", "a green door"),
    models: Mapping[str, Mapping[str, Any]] | None = None,
    plan: Mapping[str, Any] | None = None,
    card: Mapping[str, Any] | None = None,
    **files: Any,
) -> Project:
    """Models alpha and beta of one provider, and the task `scene`; what is given goes over the files."""
    named = models or {"alpha": {}, "beta": {}}
    image_models = {
        "providers": {"stub": {"base_url": base_url}},
        "models": {
            key: {"provider": "stub", "model_name": f"{key}-1", "wire": "images", "price": PRICE, **more}
            for key, more in named.items()
        },
        "tiers": {"image": list(named)},
        "tasks": {"scene": {"tier": "image"}},
    }
    write_folder(root / "configs", image_models=image_models, **files)
    rows = [{"input": text} for text in prompts]
    write_media_dataset(root / "datasets" / "scene", "scene", "image", rows, **(card or {}))
    return _with_plan(root, list(named), {"scene": {}}, plan)


def write_speech_project(
    root: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    voices: Mapping[str, str] = MappingProxyType({"mei": "mei-joe"}),
    **card: Any,
) -> Project:
    """Local voices, one at a time, and the task `narration`; what else is given goes over the card."""
    speech_models = {
        "providers": {"embedded": {"managed": "embedded", "limits": {"concurrency": 1}}},
        "models": {
            key: {
                "provider": "embedded",
                "model_name": name,
                "capabilities": {"languages": ["ja", "en"], "formats": ["wav"]},
                "price": {"per_core_hour": 0.04, "as_of": "2026-11-22"},
            }
            for key, name in voices.items()
        },
        "tiers": {"speech": list(voices)},
        "tasks": {"narration": {"tier": "speech"}},
    }
    write_folder(root / "configs", speech_models=speech_models)
    write_media_dataset(root / "datasets" / "narration", "narration", "speech", rows, **card)
    return _with_plan(root, list(voices), {"narration": {}}, None)


def _with_plan(
    root: Path, candidates: list[str], tasks: Mapping[str, Any], plan: Mapping[str, Any] | None
) -> Project:
    usual = {
        "name": "small",
        "stop": "grid",
        "margin": 0.5,
        "budget": {"usd": 1.0},
        "candidates": candidates,
        "tasks": dict(tasks),
    }
    path = root / "configs" / "sweeps" / "small.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump({**usual, **(plan or {})}), encoding="utf-8")
    return Project(root)


@contextmanager
def opened(project: Project, replay: Path | None = None) -> Iterator[tuple[Any, Any]]:
    """The client and the plan of a project."""
    with chain.open_client(project, "small", replay=replay) as client:
        yield client, chain.find_plan(project, "small", chain.Choice(), client)


def sweep(project: Project, *, replay: Path | None = None, **options: Any) -> SweepRun:
    """Run the project's plan in this process, or replay a ledger."""
    with opened(project, replay) as (client, plan):
        given = {"ledger": replay or project.ledger, "reports": project.reports, "replay": replay is not None}
        return run_sweep(plan, client, **{**given, **options})
