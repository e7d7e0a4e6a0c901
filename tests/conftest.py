"""What every test gets: no network beyond this machine, no settings of the person who runs it."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

from llmbench import LLMClient
from llmbench.jsonl import read_jsonl
from tests.servers.chat_server import ChatServer

# The same examples on every run, and no clock of their own: a slow machine is no failure.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")

#: The value of every provider key in the tests. It must never appear in a log, an error or a recording.
CANARY = "canary-9f31c2e7d5a84b60"


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Refuse every connection that would leave this machine, and every look-up of a foreign name."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name)))
        look_up = socket.getaddrinfo

        def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
            _require_loopback(host)
            return look_up(host, *args, **options)

        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


def _guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _require_loopback(address[0])
        return connect(self, address)

    return guarded


def _require_loopback(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    try:
        is_here = name in (None, "", "localhost") or ipaddress.ip_address(name).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        raise AssertionError(f"a test reached for {name!r}: tests talk to this machine only")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No routing variable and no provider key of the machine; the default log goes to the test's folder."""
    for name in list(os.environ):
        if name.startswith("LLM_") or name.endswith(("_API_KEY", "_API_KEYS")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LLM_ROUTER_LOG_PATH", str(tmp_path / "default_log" / "llm_usage.jsonl"))


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


Files = dict[str, Any]


def models(*names: str, **settings: Any) -> Files:
    """Registry entries at provider `stub`: model `a` has the id `m-a`."""
    return {name: {"provider": "stub", "model_name": f"m-{name}", **settings} for name in names}


def provider(url: str, **settings: Any) -> Files:
    return {"base_url": url, "env_api_key": "STUB_KEY", **settings}


@pytest.fixture
def write_configs(tmp_path: Path) -> Callable[..., Path]:
    """Write a config folder: `llm_router={...}` or text, one argument a file."""

    def write(**files: Files | str) -> Path:
        folder = tmp_path / "configs"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def three_models(write_configs: Callable[..., Path], server: ChatServer) -> Callable[..., Path]:
    """Models a, b, c at the loopback server, in this order in tier `cheap`; no waiting between attempts."""

    def write(**files: Files | str) -> Path:
        basic: dict[str, Files | str] = {
            "llm_router": {"providers": {"stub": provider(server.url)}},
            "llm_model_registry": {"models": models("a", "b", "c", price={"input": 1.0, "output": 2.0})},
            "llm_tier_candidates": {"tiers": {"cheap": ["a", "b", "c"], "standard": ["b"]}},
            "llm_tier_mapping": {"tasks": {"caption": "cheap"}},
            "llm_fallback_policy": {"backoff_sec": 0},
        }
        return write_configs(**{**basic, **files})

    return write


@pytest.fixture
def variables() -> dict[str, str]:
    """The environment of a client in the tests: the provider's key and nothing else."""
    return {"STUB_KEY": CANARY}


@pytest.fixture
def open_client(
    three_models: Callable[..., Path], variables: dict[str, str], tmp_path: Path
) -> Iterator[Callable[..., LLMClient]]:
    """Open clients on the three models; what they log is read by `log`."""
    opened: list[LLMClient] = []

    def opening(environment: dict[str, str] | None = None, **files: Files | str) -> LLMClient:
        folder = three_models(**files)
        client = LLMClient(folder, variables=variables | (environment or {}), log_path=tmp_path / "log.jsonl")
        opened.append(client)
        return client

    yield opening
    for client in opened:
        client.close()


@pytest.fixture
def log(tmp_path: Path) -> Callable[[], list[dict[str, Any] | None]]:
    """Read the telemetry of `open_client`'s clients."""
    return lambda: [line.record for line in read_jsonl(tmp_path / "log.jsonl")]
