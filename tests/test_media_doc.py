"""docs/media.md names what the doors, files and variables really are; test_docs_blocks runs its code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmbench.config.media_view import media_config
from llmbench.routing.media_params import PARAMETERS

ROOT = Path(__file__).parents[1]
DOC = (ROOT / "docs" / "media.md").read_text(encoding="utf-8")


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
