"""The page docs/serve.md: its examples run as they stand, and its lists are those of the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmbench.serve.app import PATHS
from llmbench.serve.problems import STATUSES
from llmbench.serve.reading import OWN_FIELDS
from tests.serve_process import TOKEN, running  # noqa: F401 - fixtures are used by their names

PAGE = (Path(__file__).parents[1] / "docs" / "serve.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```sh\n((?:python|node|curl).*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.split()[0] for example in EXAMPLES])
def test_an_example_prints_the_answer(running, example):
    if shutil.which(example.split()[0]) is None:
        pytest.skip(f"{example.split()[0]} is not on this machine")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "OPENAI_BASE_URL": running.url, "OPENAI_API_KEY": TOKEN}
    ran = subprocess.run(
        ["bash", "-euc", example], env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "you said" in re.sub(r'",?[^"]*"delta": "|\s+', " ", ran.stdout)


def test_there_are_examples_in_three_languages():
    assert [example.split()[0] for example in EXAMPLES] == ["python", "curl", "node"]


def test_every_path_field_and_kind_is_on_the_page():
    assert [path for path in PATHS if path not in PAGE] == []
    assert [name for name in OWN_FIELDS if f"`{name}`" not in PAGE] == []
    table = PAGE.partition("## Errors")[2].partition("## Who")[0]
    for kind, status in STATUSES.items():
        row = next(line for line in table.splitlines() if line.startswith("| ") and str(status) in line[:18])
        assert f"`{kind}`" in row, (kind, status)
