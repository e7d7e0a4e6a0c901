"""A key that is planted everywhere is found nowhere: not in a file, not on a screen, not in any spelling.

The server says the key that it was given in every error, in its headers and in the middle of its streams. A
surface is added by a line in STEPS; what it writes under the project, and says, is looked through.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from tests.servers.chat_server import ChatServer, Received, Step, completion
from tests.sweep_project import ROOT, copy_notebooks, write_project

KEYS = {
    "STUB_KEY": "cnry-stub/9f31c2e7+d5a84b60=",
    "AZURE_OPENAI_API_KEY": "cnryazure0d7c1b52aa914e6f83",
    "OPENAI_API_KEY": "sk-proj-cnryopenai7be2c9104f",
    "OPENROUTER_API_KEY": "sk-or-v1-cnryrouter55d0a1b2c3",
    "GEMINI_API_KEY": "AIzaCnryGemini6d21fe0b7c8a9d",
    "KEYED_KEY": 'cnry-"quoted"\\k-4be19d02',
}
TOKEN = "eyJhbGciOiJub25l.Y25yeS10b2tlbi03N2Ux.c2lnLWNucnktNzdlMQ"
HEADER = "cnry-header-2b77e0d1c9"  # a header that is named like a key's
OLD = "cnry-legacy-61f0bc7d22e4"
SECRETS = (*KEYS.values(), TOKEN, HEADER, OLD)


def spellings(secret: str) -> set[bytes]:
    """The secret as it is and as it may have been written by something on the way."""
    raw = secret.encode()
    told = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret))[3:-3],
        repr(secret)[1:-1],
        secret[::-1],
        secret.upper(),
        raw.hex(),
    }
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            told.add(encode(b"x" * shift + raw)[4:-4].decode())
    return {each.encode() for each in told if len(each) > 8}


def found_in(data: bytes) -> list[str]:
    return [secret for secret in SECRETS for spelt in spellings(secret) if spelt in data]


def test_the_search_finds_every_spelling_of_every_key():
    for secret in SECRETS:
        for text in (secret, quote(secret, safe=""), json.dumps({"k": secret}), repr(secret), secret[::-1]):
            assert secret in found_in(f"x {text} y".encode())
        assert secret in found_in(base64.b64encode(f"user:{secret}:tail".encode()))


def answer(request: Received) -> Step:
    """Says what it was given in the clear: in the body, in a header, in an event of a stream."""
    given = " ".join(
        f"{name}: {request.headers[name]}"
        for name in ("authorization", "api-key", "x-goog-api-key", "x-extra-token")
        if name in request.headers
    )
    prompt = json.dumps(request.json)
    if "refuse" not in prompt:
        return Step(completion('{"label": "praise"}'))
    said = f"Incorrect API key provided ({given}) at {request.path}; {quote(given)}; {json.dumps(given)}"
    if "pieces" in prompt:
        event = json.dumps({"error": {"message": said, "code": "server_error"}})
        return Step(f"data: {event}\n\n", 200, {"content-type": "text/event-stream"})
    return Step(
        {"error": {"message": said, "code": given[:60], "type": said, "param": given}},
        401,
        {"x-request-id": given[:90]},
    )


def program(root: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    home = root / "home"
    home.mkdir(exist_ok=True)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("LLM_", "COVERAGE"))
    }
    environment |= {
        "HOME": str(home),
        "PYTHONFAULTHANDLER": "1",
        "PYTHONPATH": str(ROOT),
        **KEYS,
        **variables,
    }
    return subprocess.run(
        [sys.executable, *words], cwd=root, env=environment, capture_output=True, check=False, timeout=200
    )


@pytest.fixture
def project(tmp_path):
    """A project whose providers have a key each, at a server that says them all."""
    with ChatServer() as server:
        server.answer = answer
        samples = ["refuse me", "refuse in pieces", *(f"text {n}" for n in range(6))]
        made = write_project(
            tmp_path, server.port, samples=samples, policy={"fall_back_on": ["auth", "server_error", "quota"]}
        )
        base = f"http://127.0.0.1:{server.port}"
        providers = {
            "stub": {
                "base_url": f"{base}/v1",
                "env_api_key": "STUB_KEY",
                "headers": {"x-extra-token": HEADER},
            },
            "azure": {
                "type": "azure",
                "base_url": base,
                "env_api_key": "AZURE_OPENAI_API_KEY",
                "allow_hosts": ["127.0.0.1"],
            },
            "keyed": {"base_url": f"{base}/v1", "env_api_key": "KEYED_KEY", "auth": "key"},
            "google": {"type": "gemini", "base_url": base, "env_api_key": "GEMINI_API_KEY"},
            "entra": {"type": "azure", "base_url": base, "auth": "entra", "allow_hosts": ["127.0.0.1"]},
        }
        (made.configs / "llm_router.yaml").write_text(yaml.safe_dump({"providers": providers}))
        path = made.configs / "llm_model_registry.yaml"
        registry = yaml.safe_load(path.read_text())
        price = registry["models"]["alpha"]["price"]
        for key, provider in (
            ("keyed", "keyed"),
            ("google", "google"),
            ("token", "entra"),
            ("deployed", "azure"),
        ):
            registry["models"][key] = {"provider": provider, "model_name": f"{key}-1", "price": price}
        path.write_text(yaml.safe_dump(registry))
        yield made


def require_clean(project, ran: subprocess.CompletedProcess[bytes], step: str) -> None:
    for name, data in (("stdout", ran.stdout), ("stderr", ran.stderr)):
        assert found_in(data) == [], f"{step}: {name} shows a key: {_around(data)}"
    for path in sorted(project.root.rglob("*")):
        if path.is_file() and path.relative_to(project.root).parts[0] not in ("old", "configs"):
            data = path.read_bytes()
            assert found_in(data) == [], (
                f"{step}: {path.relative_to(project.root)} holds a key: {_around(data)}"
            )


def _around(data: bytes) -> str:
    at = next(data.index(spelt) for secret in found_in(data) for spelt in spellings(secret) if spelt in data)
    return data[max(at - 90, 0) : at + 60].decode("utf-8", "replace")


def test_a_program_that_calls_streams_fails_and_crashes_says_no_key(project):
    ran = program(project.root, "-m", "tests.canary_program", str(project.root), TOKEN)
    assert ran.returncode == 1
    assert b"FallbackExhausted" in ran.stderr
    assert b"praise" in ran.stdout
    assert b"Incorrect API key provided" in ran.stdout
    require_clean(project, ran, "program")


STEPS = {
    "explain": ("explain", "labels", "text"),
    "call": ("call", "labels", "refuse me"),
    "check": ("check", "--configs", "configs"),
    "sweep": ("sweep", "small", "--project", "."),
    "usage": ("usage", "--json"),
    "query": ("query", "select * from stg_calls", "--json"),
    "load": ("telemetry", "load", "workspaces/logs/llm_usage.jsonl"),
    "report": ("telemetry", "report", "--project", "."),
    "decide": ("decide", "reports/run/results.jsonl"),
    "migrate": ("migrate", "old", "--to", "moved"),
}


@pytest.mark.slow
def test_no_verb_writes_or_says_a_key(project):
    copy_notebooks(project)
    old = project.root / "old"
    old.mkdir()
    providers = {
        "openrouter": {"api_key": KEYS["OPENROUTER_API_KEY"]},
        "acme": {"base_url": "https://a.example/v1", "api_key": OLD},
    }
    models = {"small": {"provider": "openrouter", "model_name": "a/b"}}
    files = {"providers": providers, "models": models, "tiers": {"standard": ["small"]}}
    (old / "llm_router.yaml").write_text(yaml.safe_dump(files))
    done = {}
    for name, words in STEPS.items():
        start = "from llmbench.cli import main; main()"
        ran = program(project.root, "-c", start, *words, LLM_ROUTER_LOG_CONTENT="1")
        done[name] = ran.returncode
        require_clean(project, ran, name)
    assert done["sweep"] == 0
    assert (project.root / "workspaces" / "logs" / "llm_usage.jsonl").stat().st_size > 1_000
