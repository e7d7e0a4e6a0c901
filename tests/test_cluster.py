"""A sweep on a Dask cluster of two nodes on this machine: what holds when a node or the scheduler dies."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmbench.bench.chain import Project
from llmbench.bench.cluster import check_engine
from llmbench.bench.cluster_calls import shard
from llmbench.bench.sweep import SweepRun, run_sweep
from llmbench.errors import SweepError
from llmbench.routing.client import LLMClient
from tests.sweep_project import (
    ROOT,
    frozen_plan,
    read_lines,
    rows_of,
    stub_provider,
    sweep,
    telemetry_path,
    write_project,
)

pytest.importorskip("distributed")
KEY = "canary-of-a-node-51c7"


class Cluster:
    """A scheduler and its nodes, each a process without a nanny: one that is killed stays dead."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder, self._stack = folder, stack
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.engine = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
        self.nodes: list[subprocess.Popen[bytes]] = []
        port = self.engine.rpartition(":")[2]
        self.scheduler = self._process("scheduler", ["dask_scheduler", "--port", port], {})

    def add_node(self, **environment: str) -> subprocess.Popen[bytes]:
        name = f"node{len(self.nodes)}"
        command = ["dask_worker", self.engine, "--no-nanny", "--nthreads", "1", "--local-directory", "."]
        node = self._process(name, command, environment)
        self.nodes.append(node)
        return node

    def wait(self) -> None:
        from distributed import Client

        with Client(self.engine, set_as_default=False, timeout=30) as client:
            client.wait_for_workers(len(self.nodes), timeout=30)

    def _process(self, name: str, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        folder = self._folder / name
        folder.mkdir()
        paths = os.pathsep.join(filter(None, [environment.pop("PYTHONPATH", ""), str(ROOT)]))
        program = [sys.executable, "-m", f"distributed.cli.{command[0]}", *command[1:]]
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [*program, "--host", "127.0.0.1", "--no-dashboard"],
                cwd=folder,
                env={**os.environ, **environment, "PYTHONPATH": paths},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        yield Cluster(tmp_path, stack)


def when(condition, act) -> threading.Thread:
    """Act as soon as the condition holds, from another thread."""

    def wait() -> None:
        until = time.monotonic() + 60
        while not condition() and time.monotonic() < until:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def keyed_sweep(project: Project, cluster: Cluster, key: str) -> SweepRun:
    """A sweep whose own process has this key in its environment."""
    with LLMClient(project.configs, variables={"STUB_KEY": key}, log_path=telemetry_path(project)) as client:
        return run_sweep(
            frozen_plan(project, client),
            client,
            ledger=project.ledger,
            reports=project.reports,
            engine=cluster.engine,
        )


def test_a_killed_node_s_cells_are_made_again_once_and_the_ledger_knows_of_every_call(tmp_path, cluster):
    for _ in range(2):
        cluster.add_node()
    with stub_provider(tmp_path, (40, 80)) as stub:
        project = write_project(
            tmp_path / "p", stub.port, models=("a", "b", "c", "d"), concurrency=24,
            samples=[f"text {number}" for number in range(75)],
        )  # fmt: skip
        cluster.wait()
        killing = when(lambda: stub.count >= 100, lambda: cluster.nodes[0].send_signal(signal.SIGKILL))
        run = sweep(project, engine=cluster.engine)
        killing.join()
        seen = stub.requests()
    rows = rows_of(run)
    assert Counter(row["status"] for row in rows) == {"ok": 300}
    assert len({(row["sample_id"], row["model"]) for row in rows}) == 300
    lines = read_lines(project.ledger)
    results = [line for line in lines if line["type"] == "result"]
    intents = [line for line in lines if line["type"] == "intent"]
    lost = [line for line in lines if line["type"] == "pending"]
    assert max(Counter(line["fingerprint"] for line in results).values()) == 1
    assert lost
    assert all("was lost before the answer came" in line["error"] for line in lost)
    assert len(intents) == len(results) + len(lost)  # one intent a call, the second one of a lost cell too
    assert len(results) <= len(seen) <= len(intents)
    assert max(request["seen"] for request in seen) <= 2
    assert max(request["open"] for request in seen[:100]) <= 24  # one limit for both nodes together
    assert max(request["open"] for request in seen) <= 24 + len(lost)  # the provider still answers the dead
    assert f"was lost with {len(lost)} calls under way" in " ".join(run.notices)
    telemetry = read_lines(telemetry_path(project))
    assert len(telemetry) == len(results)
    assert {line["run_id"] for line in telemetry} == {run.run_dir.name}


def test_a_budget_of_calls_holds_for_all_nodes_together(tmp_path, cluster):
    for _ in range(2):
        cluster.add_node()
    with stub_provider(tmp_path) as stub:
        project = write_project(
            tmp_path / "p", stub.port, concurrency=16, samples=[f"text {number}" for number in range(40)],
            plan={"budget": {"usd": 1.0, "calls": 40}},
        )  # fmt: skip
        cluster.wait()
        with contextlib.suppress(SweepError):
            sweep(project, engine=cluster.engine)
        assert stub.count <= 40


def test_a_dead_scheduler_ends_the_sweep_in_one_line_and_the_same_sweep_goes_on_without_it(tmp_path, cluster):
    cluster.add_node()
    with stub_provider(tmp_path, (20, 40)) as stub:
        project = write_project(
            tmp_path / "p", stub.port, concurrency=8, samples=[f"text {number}" for number in range(60)]
        )
        cluster.wait()
        killing = when(lambda: stub.count >= 30, lambda: cluster.scheduler.send_signal(signal.SIGKILL))
        with pytest.raises(SweepError, match=r"the scheduler at tcp://\S+ was lost: .* goes on") as caught:
            sweep(project, engine=cluster.engine)
        killing.join()
        assert "\n" not in str(caught.value)
        cluster.nodes[0].kill()
        done = [line for line in read_lines(project.ledger) if line["type"] == "result"]
        run = sweep(project)
    assert run.cached == len(done) >= 1
    assert Counter(row["status"] for row in rows_of(run)) == {"ok": 120}


def test_a_node_takes_keys_from_its_own_environment_and_says_which_one_it_lacks(
    tmp_path, cluster, monkeypatch
):
    cluster.add_node()
    with stub_provider(tmp_path) as stub:
        project = write_project(tmp_path / "p", stub.port)
        router = project.configs / "llm_router.yaml"
        text = router.read_text(encoding="utf-8")
        router.write_text(text.replace("base_url:", "env_api_key: STUB_KEY\n    base_url:"), encoding="utf-8")
        cluster.wait()
        with pytest.raises(SweepError, match=r"node tcp://\S+ cannot make calls: .*set STUB_KEY"):
            keyed_sweep(project, cluster, KEY)
        assert stub.count == 0
        cluster.nodes[0].kill()
        cluster.add_node(STUB_KEY=KEY)
        cluster.nodes.pop(0)
        time.sleep(0.5)
        cluster.wait()
        run = keyed_sweep(project, cluster, "another-key-here")
    assert Counter(row["status"] for row in rows_of(run)) == {"ok": 24}
    for log in tmp_path.glob("*.log"):
        assert KEY not in log.read_text(encoding="utf-8")


def test_a_node_with_another_version_is_refused_with_both_named(tmp_path, cluster):
    info = tmp_path / "older" / "llmbench-0.0.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llmbench\nVersion: 0.0.9\n")
    cluster.add_node(PYTHONPATH=str(info.parent))
    with stub_provider(tmp_path) as stub:
        project = write_project(tmp_path / "p", stub.port)
        cluster.wait()
        with pytest.raises(SweepError, match=r"has llmbench 0\.0\.9, and this process (?!0\.0\.9)\d"):
            sweep(project, engine=cluster.engine)
        assert stub.count == 0


def test_a_scheduler_that_is_not_there_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("llmbench.bench.cluster_calls.CONNECT_S", 0.5)
    project = write_project(tmp_path, 9)
    with pytest.raises(SweepError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        sweep(project, engine="tcp://127.0.0.1:9")


@pytest.mark.parametrize("engine", ["127.0.0.1:8786", "tcp://", "http://127.0.0.1:8787", "dask"])
def test_an_engine_that_is_no_scheduler_s_address_is_refused(engine):
    with pytest.raises(SweepError, match="is no scheduler's address"):
        check_engine(engine)


def test_a_replay_refuses_an_engine_that_it_would_not_use():
    with pytest.raises(SweepError, match="a replay sends nothing"):
        check_engine("tcp://127.0.0.1:8786", is_replay=True)


def test_models_are_spread_evenly_and_stay_where_they_are_while_their_node_lives():
    models = ["a", "b", "c", "d", "e"]
    homes = shard(models, ["n1", "n2"], {})
    assert sorted(Counter(homes.values()).values()) == [2, 3]
    assert shard(models, ["n2", "n1"], homes) == homes
    without = shard(models, ["n2"], homes)
    assert set(without.values()) == {"n2"}
    joined = shard(models, ["n2", "n3"], without)
    assert sorted(Counter(joined.values()).values()) == [2, 3]
    assert shard(models, [], homes) == {}


def test_a_sweep_in_this_process_never_loads_dask():
    program = "import sys, llmbench.bench.sweep; assert 'distributed' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
