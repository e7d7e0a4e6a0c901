"""A project with a finished run to apply: config folder, run folder and the recommendation that follows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from llmbench import (
    ApplyError,
    ConfigError,
    ImageClient,
    LLMClient,
    SpeechClient,
    SweepError,
    apply_recommendation,
)
from llmbench.bench.asked import asked_facts, measured_models
from llmbench.bench.chain import Project
from llmbench.bench.decision_log import read_log
from llmbench.bench.route_proof import view_of
from llmbench.bench.run_decisions import recommendation
from llmbench.config import load_config
from tests.tables import losing, right
from tests.test_recommend import plan_of, rows

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
BASE = right(0.8, 80)
ROUTER = """\
providers: {near: {base_url: "http://127.0.0.1:1/v1"}, far: {base_url: "http://127.0.0.1:2/v1"}}
"""
REGISTRY = """\
models:
  big: {provider: near, model_name: m-big}
  ref: {provider: near, model_name: m-ref}
  small: {provider: far, model_name: m-small}
  tiny: {provider: near, model_name: m-tiny}
"""
CANDIDATES = """\
# 段の候補, 一番目が答える
tiers:
  heavy_reasoning: [big]
  standard: [ref, big]   # the usual
  cheap: [tiny, small]
"""
MAPPING = """\
tasks:
  extract: standard   # 抽出
  caption: standard
  greet: cheap
"""
OVERRIDES = """\
# 課題ごと
tasks:
  greet: {timeout: 30}   # seconds
"""
FILES = {
    "llm_router.yaml": ROUTER,
    "llm_model_registry.yaml": REGISTRY,
    "llm_tier_candidates.yaml": CANDIDATES,
    "llm_tier_mapping.yaml": MAPPING,
    "llm_task_overrides.yaml": OVERRIDES,
}
#: Both tasks move to `small`, which cannot serve a channel that refuses its provider: two files change.
CHANNELS = {"channels": {"CH02": {"not_providers": ["far"]}}}


@dataclass(frozen=True)
class Applying:
    """A project's folder and its run `r1`."""

    root: Path

    @property
    def configs(self) -> Path:
        return self.root / "configs"

    @property
    def run_dir(self) -> Path:
        return self.root / "reports" / "r1"

    @property
    def recommendation(self) -> Path:
        return self.run_dir / "recommendation.json"

    def facts(self) -> dict[str, Any]:
        return json.loads(self.recommendation.read_text(encoding="utf-8"))

    def write(self, facts: Mapping[str, Any]) -> Path:
        self.recommendation.write_text(json.dumps(facts, ensure_ascii=False, indent=2), encoding="utf-8")
        return self.recommendation

    def decide(self) -> None:
        """Write recommendation.json, as `llmbench report r1 --decide` does."""
        self.write(recommendation(Project(self.root), self.run_dir))

    def alone(self) -> Path:
        """A copy of the recommendation without its run."""
        target = self.root / "sent.json"
        shutil.copy(self.recommendation, target)
        return target

    def texts(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.configs.glob("*.yaml"))}

    def first(self, task: str, channel: str | None = None) -> str:
        """The model that `explain` names first."""
        kind = load_config(self.configs).media_of(task=task, tier="")
        door = {None: LLMClient, "image": ImageClient, "speech": SpeechClient}[kind]
        with door(self.configs) as client:
            return client.explain(task, channel=channel).candidates[0]


def make_project(
    root: Path,
    *,
    files: Mapping[str, str] = FILES,
    lost: Mapping[str, int] | None = None,
    constraints: Mapping[str, Any] | None = None,
    made: datetime = NOW - timedelta(days=3),
    **plan: Any,
) -> Applying:
    """Write a project whose tasks `extract` and `caption` were measured on `ref` and `small`.

    `lost` says how many of 80 answers `small` loses per task: 1 is proved no worse, 40 is worse. `made` is
    the time of the newest call; `plan` goes on top of plan.json.
    """
    project = Applying(root)
    project.configs.mkdir(parents=True)
    for name, text in files.items():
        (project.configs / name).write_bytes(text.encode())
    stamp = made.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    lost = {"extract": 1, "caption": 1} if lost is None else lost
    table = [
        row
        for task, count in lost.items()
        for row in rows({"ref": BASE, "small": losing(BASE, count)}, task=task, timestamp=stamp).to_dict(
            "records"
        )
    ]
    write_run(project, table, {"constraints": dict(constraints or {})}, **plan)
    return project


def asked_now(project: Applying, plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a sweep on the present files would record of how each task asks its models."""
    kind = plan.get("modality", "text")
    view = view_of(load_config(project.configs), None if kind == "text" else kind)
    return asked_facts(view, {task: measured_models(plan, task) for task in plan["tasks"]}, kind)


def write_run(
    project: Applying, table: list[dict[str, Any]], task_facts: Mapping[str, Any], **plan: Any
) -> None:
    """Write the run folder and decide it."""
    import pandas as pd

    facts = plan_of(pd.DataFrame(table), unreachable=[], config_hash=load_config(project.configs).hash)
    facts |= {"batch": 80} | plan
    for entry in facts["tasks"].values():
        entry.update(task_facts)
    facts.setdefault("asked", asked_now(project, facts))
    project.run_dir.mkdir(parents=True, exist_ok=True)
    (project.run_dir / "plan.json").write_text(json.dumps(facts), encoding="utf-8")
    lines = "".join(json.dumps(row) + "\n" for row in table)
    (project.run_dir / "results.jsonl").write_text(lines, encoding="utf-8")
    project.decide()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("template") / "project", constraints=CHANNELS)


@pytest.fixture
def project(template, tmp_path):
    shutil.copytree(template.root, tmp_path / "project")
    return Applying(tmp_path / "project")


def applied(project, given="r1", **options):
    return apply_recommendation(given, project=project.root, **{"now": NOW} | options)


def refused(project, given="r1", **options):
    """What an apply says when it refuses; the files are as they were and nothing is logged."""
    before = project.texts()
    with pytest.raises((ApplyError, ConfigError, SweepError)) as error:
        applied(project, given, **options)
    assert project.texts() == before
    assert read_log(project.configs) == ()
    return str(error.value)
