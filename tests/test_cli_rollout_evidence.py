"""`llmbench rollout watch`: which lines of a log are evidence, and when they are judged."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from tests.rolling import SHADOW, SPLIT, open_client, other, project, run, status, the_projects_log  # noqa: F401 (fixtures)
from tests.servers.chat_server import Step


def write_log(root: Path, lines: list[dict]) -> Path:
    """A log of challenger calls of rollout small; each says when it began, in seconds, and its latency."""
    part = {"name": "small", "mode": "split", "arm": "challenger", "of": None, "models": ["d"]}
    texts = []
    for at, line in enumerate(lines):
        end = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(
            seconds=line["start"], milliseconds=line["latency_ms"]
        )
        known = {"schema": 1, "task": "caption", "status": "success", "model": "d", "call_id": f"c{at:05}"}
        known |= {"timestamp": end.isoformat(timespec="milliseconds"), "attempts": [{"model": "d"}]}
        known |= {"rollout": part | line.pop("rollout", {})} | line
        texts.append(json.dumps(known))
    log = root / "told.jsonl"
    log.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return log


FAILED = {"model": "a", "attempts": [{"model": "d", "error_kind": "timeout"}, {"model": "a"}]}


def test_a_good_challenger_whose_failures_are_time_outs_is_not_stopped(project):
    root = project(small=SPLIT | {"limits": {"failure_rate": 0.1}})
    draw, start, lines = random.Random(3), 0.0, []
    for _ in range(3000):
        bad = draw.random() < 0.02
        took = 30.0 if bad else draw.uniform(0.7, 1.4)
        one = {"start": start, "latency_ms": 1000 * took, "routing_key": "CH01"}
        lines.append(one | (FAILED if bad else {}))
        start += took
    said = run("watch", "--once", "--project", root, "--log", write_log(root, lines))
    assert said.startswith("small: running: ")
    (claim,) = status(root)[0]["limits"]
    assert claim["units"] > 70
    assert claim["share"] < 0.08


def test_calls_of_another_challenger_are_no_evidence(project):
    root = project(small=SPLIT | {"challenger": "b"})
    old = [{"start": 5.0 * at, "latency_ms": 10, "routing_key": f"k{at}"} | FAILED for at in range(100)]
    said = run("watch", "--once", "--project", root, "--log", write_log(root, old))
    assert said.startswith("small: running: 0 of 0 calls failed")
    (arm,) = status(root)[0]["arms"]
    assert (arm["arm"], arm["failures"]) == ("challenger", 100)
    both = project(small=SPLIT | {"challenger": ["d", "b"]})
    assert status(both)[0]["limits"][0]["units"] == 100


def test_what_began_before_a_resume_is_no_evidence_of_the_time_after_it(project):
    root = project(small=SPLIT)
    lines = [{"start": at, "latency_ms": 60_000, "routing_key": f"k{at}"} | FAILED for at in range(0, 80, 10)]
    log = write_log(root, lines)
    entry = {"state": "running", "counts_from": "2026-11-01T00:00:35+00:00"}
    path = root / "workspaces" / "rollouts.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"schema": 1, "rollouts": {"small": entry}}), encoding="utf-8")
    assert status(root, "--log", log)[0]["limits"][0]["units"] == 4


def test_calls_that_others_may_still_outlast_are_not_judged_yet(project):
    root = project(small=SPLIT)
    with open_client(root) as client:
        client.call("caption", "hi", routing_key="user-3")
        client.call("caption", "hi", routing_key="user-8")
    shown = run("status", "--project", root)
    assert "small: 0 of 0 calls failed" in shown
    assert "small: calls begun in the last 120 s are not judged yet" in shown


@pytest.mark.parametrize(
    ("files", "seconds"),
    [
        ({}, 120.0),
        ({"llm_fallback_policy": {"deadline_s": 30}}, 30.0),
        ({"llm_task_overrides": {"tasks": {"caption": {"timeout": 300}}}}, 300.0),
        ({"llm_task_overrides": {"tasks": {"other": {"timeout": 300}}}}, 120.0),
        ({"llm_task_overrides": {"tasks": {"caption": {"retry_policy": {"deadline_s": 200}}}}}, 200.0),
    ],
)
def test_a_call_is_judged_when_the_longest_deadline_of_its_task_has_passed(project, files, seconds):
    root = project(small=SPLIT)
    for name, data in files.items():
        (root / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    assert json.loads(run("status", "--project", root, "--json"))[0]["settle_s"] == seconds


def test_a_hanging_shadow_of_a_short_process_is_evidence_of_its_slowness(project, other):
    other.script["m-d"] = [Step(fault="hang")]
    root = project(slow=SHADOW | {"limits": {"p95_ms": 1000, "failure_rate": 0.05}})
    with open_client(root) as client:
        for _ in range(8):
            client.call("caption", "hi")
    (found,) = status(root)
    units = {claim["measure"]: (claim["units"], claim["broken"]) for claim in found["limits"]}
    assert units == {"failure_rate": (0, 0), "p95_ms": (8, 8)}


def test_a_stop_file_that_the_router_obeys_is_shown_too(project):
    root = project(small=SPLIT)
    path = root / "workspaces" / "rollouts.json"
    path.parent.mkdir()
    path.write_text('{"schema": 1, "rollouts": {"small": {"state": "stopped"}}}', encoding="utf-8")
    assert "small is stopped since unknown: unknown" in run("status", "--project", root)
    with open_client(root) as client:
        assert "it is stopped" in client.explain("caption", routing_key="u").reasons[-1]


def test_a_stop_by_hand_is_obeyed_by_a_client_that_works_in_another_folder(project, tmp_path, monkeypatch):
    root = project(small=SPLIT | {"share": 1.0})
    rollouts = root / "configs" / "llm_rollouts.yaml"
    rollouts.write_text(rollouts.read_text(encoding="utf-8").replace(f"{root}/", ""), encoding="utf-8")
    monkeypatch.chdir(root)
    run("stop", "small", "--reason", "enough")
    monkeypatch.chdir(tmp_path)
    with open_client(root) as client:
        assert "it is stopped: enough" in client.explain("caption", routing_key="u").reasons[-1]
