"""The verb `llmbench serve`: what it refuses to start with, and what it says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmbench.cli import app
from llmbench.config import load_config
from llmbench.errors import ERROR_KINDS
from llmbench.serve.names import find_target, targets
from llmbench.serve.problems import STATUSES, Problem
from tests.media_calls import write_folder
from tests.serve_process import serving

ROOT = Path(__file__).parents[1]
TOKEN = "a-token-of-my-own"
ANY = "0.0.0.0"  # noqa: S104 -- what is tested: an open host


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "configs")


def refused(*arguments, env=None):
    """The one line of a verb that does not start."""
    ran = CliRunner().invoke(app, ["serve", *map(str, arguments)], env=env or {})
    assert ran.exit_code == 1, ran.output
    said = ran.stderr.splitlines()
    assert said[-1].startswith("llmbench: ")
    return said[-1]


def test_other_machines_may_come_in_only_with_a_token_of_your_own(folder):
    for host in (ANY, "::", "192.0.2.7", "example.org"):
        line = refused("--configs", folder, "--host", host)
        assert "set LLMBENCH_SERVE_TOKEN" in line


def test_an_open_host_with_a_token_is_served_with_a_warning(folder):
    with serving(folder, "--host", ANY, token=TOKEN) as served:
        assert "not encrypted" in served.said
        served.url = served.url.replace(ANY, "127.0.0.1")
        with served.http(TOKEN) as client:
            assert client.get("/models", headers={"host": "any.example"}).status_code == 200
            assert client.post("/images/generations", json={"model": "x", "prompt": "x"}).status_code == 404
        served.end()


def test_a_token_that_can_be_guessed_is_refused_where_other_machines_can_connect(folder):
    for token in ("a", "x" * 15):
        line = refused("--configs", folder, "--host", ANY, env={"LLMBENCH_SERVE_TOKEN": token})
        assert "at least 16 characters; `openssl rand -hex 32` makes one" in line
    with serving(folder, token="a") as served:
        served.end()


def test_a_variable_that_can_have_no_such_name_is_refused_at_once(folder):
    for name in ("A B", "", "1A", "A=B", "Ä"):
        line = refused("--configs", folder, "--token-env", name)
        assert "is no name of a variable" in line
        assert repr(name) in line


@pytest.mark.parametrize(
    ("name", "kind", "hint"),
    [
        ("tier:nope", "text", "GET /v1/models"),
        ("tier:chep", "text", "did you mean 'tier:cheap'?"),
        ("task:captoin", "text", "did you mean 'caption'?"),
        ("tier:captoin", "text", "GET /v1/models"),
        ("chep", "text", "did you mean 'tier:cheap'?"),
        ("captoin", "text", "did you mean 'caption'?"),
        ("narrator", "text", "GET /v1/models"),
        ("narrator", "speech", "did you mean 'narration'?"),
        ("speach", "speech", "did you mean 'tier:speech'?"),
    ],
)
def test_only_a_near_name_of_what_was_asked_for_is_suggested(name, kind, hint):
    config = load_config(ROOT / "configs")
    with pytest.raises(Problem) as caught:
        find_target(config, name, kind, {})
    assert caught.value.status == 404
    assert hint in str(caught.value)


def test_a_token_that_no_header_can_hold_is_refused(folder):
    for token in ("two words", "日本", "a\tb"):
        assert "printable ASCII" in refused("--configs", folder, env={"LLMBENCH_SERVE_TOKEN": token})


def test_the_token_is_taken_from_the_variable_that_is_named(folder):
    line = refused("--configs", folder, "--token-env", "OTHER", env={"OTHER": "two words"})
    assert line.startswith("llmbench: OTHER: ")


def test_a_certificate_needs_its_key_and_both_must_be_readable(folder, tmp_path):
    env = {"LLMBENCH_SERVE_TOKEN": TOKEN}
    assert "belong together" in refused("--configs", folder, "--tls-cert", "x.pem", env=env)
    (tmp_path / "x.pem").write_text("no certificate")
    both = ("--tls-cert", tmp_path / "x.pem", "--tls-key", tmp_path / "x.pem")
    assert "cannot be used" in refused("--configs", folder, "--port", 0, *both, env=env)
    missing = ("--tls-cert", tmp_path / "y.pem", "--tls-key", tmp_path / "y.pem")
    assert "cannot be used" in refused("--configs", folder, "--port", 0, *missing, env=env)


def test_a_port_that_is_taken_is_told_with_what_to_do(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = refused("--configs", folder, "--port", taken.getsockname()[1])
    assert "choose another with --port" in line


def test_a_host_that_is_not_here_is_told(folder):
    command = [sys.executable, "-m", "llmbench.cli", "serve", "--configs", str(folder), "--host", "192.0.2.7"]
    env = {**os.environ, "LLMBENCH_SERVE_TOKEN": TOKEN}
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("llmbench: port 8700 of 192.0.2.7 cannot be used")


def test_a_broken_config_ends_in_one_line(tmp_path):
    assert "llm_router.yaml" in refused(
        "--configs", write_folder(tmp_path / "bad", llm_router={"x": 1, "providers": 5})
    )


def test_a_missing_extra_is_named():
    program = (
        "import sys; sys.modules['uvicorn'] = None; sys.argv = ['llmbench', 'serve'];"
        "from llmbench.cli import main; main()"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (
        1,
        'llmbench: serve needs uvicorn: pip install "llmbench[serve]"\n',
    )


def test_a_task_wins_over_a_tier_of_its_name_and_prefixes_leave_no_doubt(tmp_path):
    folder = write_folder(
        tmp_path / "c", llm_tier_mapping={"tasks": {"cheap": "standard", "caption": "cheap"}}
    )
    config = load_config(folder)
    assert find_target(config, "cheap", "text", {}).tier is None
    assert find_target(config, "task:cheap", "text", {}).tier is None
    assert find_target(config, "tier:cheap", "text", {}).tier == "cheap"
    assert find_target(config, "standard", "text", {}).tier == "standard"
    assert [target.model_id for target in targets(config)] == [
        "caption",
        "cheap",
        "tier:cheap",
        "tier:standard",
    ]
    for name in ("tier:caption", "task:standard", "tier:", "nothing"):
        with pytest.raises(Problem, match="no task and no tier"):
            find_target(config, name, "text", {})
    with pytest.raises(Problem, match="already names the tier"):
        find_target(config, "tier:cheap", "text", {"tier": "standard"})


def test_every_kind_of_failure_has_a_status():
    assert set(STATUSES) == set(ERROR_KINDS)
