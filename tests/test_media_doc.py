"""docs/media.md: its code runs, and it names what the doors, files and variables really are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from llmbench.config.media_view import media_config
from llmbench.routing.media_params import PARAMETERS
from tests.embedded_clients import skip_unless_voice

ROOT = Path(__file__).parents[1]
DOC = (ROOT / "docs" / "media.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOC, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.search(r"\w+Client", block)[0])
def test_the_code_runs(block, tmp_path, monkeypatch, capsys):
    if "SpeechClient" in block:
        skip_unless_voice("mei-joe")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://example.openai.azure.com")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "no-such-key")
    monkeypatch.setenv("SPEECH_CLIENT_PROFILE", "offline")
    exec(compile(block, "docs/media.md", "exec"), {})  # noqa: S102 -- the doc's own code
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("kind", ["image", "speech"])
def test_every_parameter_is_named(kind):
    prose = re.sub(r"^```.*?^```", "", DOC, flags=re.DOTALL | re.MULTILINE)
    said = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]+)`", prose))))
    assert set(PARAMETERS[kind]) <= said


def test_the_variables_are_those_that_are_read():
    source = Path(media_config.__code__.co_filename).read_text(encoding="utf-8")
    for name in ("PROFILE", "FORCE_MODEL_KEY"):
        assert f"IMAGE_CLIENT_{name}" in DOC
        assert f'"{name}"' in source
