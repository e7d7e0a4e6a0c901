"""Whatever stands in an older config folder, it is moved or refused by an error of the tree."""

from __future__ import annotations

import json
import random
import shutil

from llmbench.migration import migrate
from tests.fuzzing import as_bytes, fuzz, json_text, one_of, patient, yaml_text
from tests.test_migration import SAMPLE


@patient
def test_an_older_folder_is_moved_or_refused(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"

    def act(draw: random.Random) -> None:
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(new, ignore_errors=True)
        old.mkdir()
        name = one_of(list(SAMPLE), draw)
        for each, text in SAMPLE.items():
            (old / each).write_text(text, encoding="utf-8")
        text = (
            json_text(json.loads(SAMPLE[name]), draw)
            if name.endswith(".json")
            else yaml_text(SAMPLE[name], draw)
        )
        (old / name).write_bytes(as_bytes(text, draw))
        migrate(old, new, variables={})

    fuzz(act, examples=12)
