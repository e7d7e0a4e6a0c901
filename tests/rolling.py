"""Projects with a rollout: a control on one host, the challenger on another, and the verbs that watch it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from llmbench import LLMClient
from llmbench.cli_rollout import rollout_app
from llmbench.telemetry import DEFAULT_LOG_PATH
from tests.conftest import CANARY, models, provider
from tests.servers.chat_server import ChatServer

LIMITS = {"failure_rate": 0.05, "p95_ms": 4000}
SPLIT = {"task": "caption", "mode": "split", "challenger": "d", "share": 0.5, "limits": LIMITS}
SHADOW = SPLIT | {"mode": "shadow", "share": 1.0, "budget": {"calls": 1000, "in_flight": 100}}


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(rollout_app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def other() -> ChatServer:
    """The host of the challenger."""
    with ChatServer() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, server: ChatServer, other: ChatServer):
    """A project with models a and b on one host and the challenger d on another."""

    def write(*, content: bool = False, **rollouts) -> Path:
        root = tmp_path / "project"
        folder = root / "configs"
        folder.mkdir(parents=True, exist_ok=True)
        registry = models("a", "b", price={"input": 1.0, "output": 2.0})
        registry |= {
            n: m | {"provider": "other"} for n, m in models("d", price={"input": 1, "output": 1}).items()
        }
        files = {
            "llm_router": {
                "providers": {"stub": provider(server.url), "other": provider(other.url)},
                "defaults": {"log_content": content},
            },
            "llm_model_registry": {"models": registry},
            "llm_tier_candidates": {"tiers": {"cheap": ["a", "b"], "standard": ["b"]}},
            "llm_tier_mapping": {"tasks": {"caption": "cheap"}},
            "llm_fallback_policy": {"backoff_sec": 0, "breaker": {"failures": 0}},
            "llm_rollouts": {"stop_file": str(root / "workspaces" / "rollouts.json"), "rollouts": rollouts},
        }
        for name, data in files.items():
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
        return root

    return write


def open_client(root: Path) -> LLMClient:
    return LLMClient(root / "configs", variables={"STUB_KEY": CANARY}, log_path=root / DEFAULT_LOG_PATH)


@pytest.fixture(autouse=True)
def the_projects_log(monkeypatch):
    monkeypatch.delenv("LLM_ROUTER_LOG_PATH")


def status(root: Path, *words: object) -> list[dict]:
    """How rollouts stand, every call judged as soon as it is in the log."""
    return json.loads(run("status", "--project", root, "--json", "--settle", 0, *words))


def look(root: Path) -> str:
    return run("watch", "--once", "--project", root, "--settle", 0)
