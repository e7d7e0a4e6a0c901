"""Judges of pictures: a text model with vision, asked by the sweep that made them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter

import pytest

from llmbench.bench.run_decisions import decisions
from llmbench.errors import SweepError
from tests.media_sweeps import sweep, write_image_project
from tests.servers.image_provider import ImageProvider
from tests.servers.judge_server import JudgeServer
from tests.sweep_project import read_lines, rows_of


@pytest.fixture
def painter():
    with ImageProvider() as running:
        yield running


def judged_project(root, painter, judge, strategy="rubric", models=None, **capabilities):
    referee = {"provider": "bench", "model_name": "referee-1", "price": {"input": 1.0, "output": 2.0}}
    able = {"structured_outputs": True, "vision": True, "context_tokens": 9000, **capabilities}
    return write_image_project(
        root,
        painter.base_url("openai"),
        models=models,
        card={"options": {}},
        plan={"tasks": {"scene": {"judge": {"model": "referee", "strategy": strategy}}}},
        llm_router={"providers": {"bench": {"base_url": f"http://127.0.0.1:{judge.port}/v1"}}},
        llm_model_registry={"models": {"referee": {**referee, "capabilities": able}}},
        llm_tier_candidates={"tiers": {"standard": ["referee"]}},
        llm_tier_mapping={"tasks": {"caption": "standard"}},
    )


def points(_number: int) -> str:
    return json.dumps({name: {"reason": "seen", "score": 4} for name in ("c1", "c2")})


def test_a_judge_sees_the_picture_and_is_asked_once(tmp_path, painter):
    with JudgeServer(replies=points) as judge:
        project = judged_project(tmp_path, painter, judge)
        run = sweep(project)
        asked = [body["messages"][-1]["content"] for body in judge.requests]
        assert len(asked) == 3, "equal pictures of one prompt are one question"
        again = sweep(project, run_id="again")
        assert (again.calls, len(judge.requests)) == (0, 3)
    for content in asked:
        assert [part["type"] for part in content] == ["text", "image_url"]
        head, _, data = content[1]["image_url"]["url"].partition(";base64,")
        assert head == "data:image/png"
        assert base64.b64decode(data) in {path.read_bytes() for path in (run.run_dir / "media").iterdir()}
    assert "a red door" in " ".join(content[0]["text"] for content in asked)
    assert {row["score"] for row in rows_of(run)} == {0.75}
    replayed = sweep(project, replay=run.run_dir / "calls.jsonl", reports=tmp_path / "elsewhere")
    lines = read_lines(run.run_dir / "judgements.jsonl")
    assert read_lines(replayed.run_dir / "judgements.jsonl") == lines
    assert decisions(run.run_dir)["scene"].is_judged


def test_a_judge_compares_two_pictures_in_both_orders(tmp_path, painter):
    def better(_number):
        return json.dumps({"reason": "seen", "better": "A"})

    models = {"alpha": {"defaults": {"size": "640x360"}}, "beta": {"defaults": {"size": "320x320"}}}
    with JudgeServer(replies=better) as judge:
        run = sweep(judged_project(tmp_path, painter, judge, "pairwise", models))
        asked = [body["messages"][-1]["content"][1:] for body in judge.requests]
    rows = {(row["sample_id"], row["model"]): json.loads(row["output"])["file"] for row in rows_of(run)}
    seen = [
        tuple(
            hashlib.sha256(base64.b64decode(part["image_url"]["url"].partition(",")[2])).hexdigest() + ".png"
            for part in parts
        )
        for parts in asked
    ]
    pairs = [(rows[f"s{n}", "beta"], rows[f"s{n}", "alpha"]) for n in range(3)]
    assert sorted(seen) == sorted([*pairs, *(pair[::-1] for pair in pairs)])
    lines = read_lines(run.run_dir / "judgements.jsonl")
    assert Counter((line["order"], line["verdict"]) for line in lines) == {("AB", 1.0): 3, ("BA", -1.0): 3}


def test_a_judge_that_sees_no_pictures_is_refused_before_anything_is_sent(tmp_path, painter):
    with JudgeServer(replies=points) as judge:
        project = judged_project(tmp_path, painter, judge, vision=False)
        with pytest.raises(SweepError, match="sees no pictures"):
            sweep(project)
    assert painter.bodies() == []
