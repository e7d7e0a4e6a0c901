"""What a sweep costs beside a bare loop of the same calls: wall, CPU and memory, as ratios within one run.

    python benchmarks/sweep.py [--rounds N] [--inspect PYTHON] [--out FILE]     (3 minutes)

The stub answers each request after 200 ms. First case: 500 prompts x 3 models, 32 calls at once. Second:
10,000 cells, 512 at once. Memory: the peak of 1,000 and of 50,000 cells. `--inspect` names the Python of an
environment with inspect-ai (and openai), which then does the first case too.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
PROMPT = "字幕にして、犬が走る場面を一行で: 夕方の海岸で、犬が波打ち際を走っている。番号"
LATENCY_MS = 200


# ---- the clients, each a process of its own ----------------------------------------------------------


async def bare(port: int, calls: int, at_once: int) -> None:
    """The same number of calls in a plain aiohttp loop."""
    import aiohttp

    url, left = f"http://127.0.0.1:{port}/v1/chat/completions", iter(range(calls))
    pool = aiohttp.TCPConnector(limit=at_once)
    async with aiohttp.ClientSession(connector=pool) as session:

        async def worker() -> None:
            for number in left:
                body = {"model": "m0", "messages": [{"role": "user", "content": f"{PROMPT}{number}"}]}
                async with session.post(url, json=body) as reply:
                    assert (await reply.json())["choices"][0]["message"]["content"]

        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(worker())


def write_project(root: Path, port: int, prompts: int, models: int, repeats: int, at_once: int) -> None:
    """A project whose one task has so many prompts, candidates and repeats."""
    rows = [
        {"id": f"s{n}", "lang": "ja", "cluster": f"c{n}", "input": f"{PROMPT}{n}", "target": "犬が走る"}
        for n in range(prompts)
    ]
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    keys = [f"m{n}" for n in range(models)]
    card = {
        "name": "bench", "version": "1", "licence": "MIT", "task": "bench", "languages": ["ja"],
        "description": "for measuring", "sha256": hashlib.sha256(data).hexdigest(), "samples": prompts,
        "clusters": prompts, "fields": {"input": "a text"}, "scorer": {"name": "label"},
        "prompt": {"system": "字幕を書いてください。"}, "options": {"max_tokens": 50},
    }  # fmt: skip
    router = {
        "providers": {
            "stub": {"base_url": f"http://127.0.0.1:{port}/v1", "limits": {"concurrency": at_once}}
        },
        "models": {
            key: {"provider": "stub", "price": {"input": 1, "output": 2},
                  "capabilities": {"context_tokens": 100000}}
            for key in keys
        },
        "tiers": {"standard": keys},
        "tasks": {"bench": {"tier": "standard"}},
    }  # fmt: skip
    plan = {
        "name": "bench", "stop": "grid", "margin": 0.5, "repeats": repeats, "candidates": keys,
        "budget": {"usd": 1000.0}, "tasks": {"bench": {}},
    }  # fmt: skip
    for name, value in {
        "configs/llm_router.yaml": router,
        "configs/sweeps/bench.yaml": plan,
        "datasets/bench/card.yaml": card,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(value), encoding="utf-8")  # JSON is YAML
    (root / "datasets/bench/data.jsonl").write_bytes(data)


def ours(root: Path) -> None:
    """One sweep of a project, as a script runs it."""
    from llmbench.bench import chain
    from llmbench.bench.sweep import run_sweep

    project, choice = chain.Project(root), chain.Choice()
    with chain.open_client(project) as client:
        plan = chain.find_plan(project, "bench", choice, client)
        run = run_sweep(plan, client, ledger=project.ledger, reports=project.reports)
    assert run.pending == run.failed == 0, run


def inspect(port: int, prompts: int, models: int, at_once: int) -> None:
    """The same prompts and models with Inspect AI."""
    import os

    os.environ |= {"OPENAI_API_KEY": "key", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"}
    from inspect_ai import Task
    from inspect_ai import eval as run
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.scorer import includes
    from inspect_ai.solver import generate

    samples = [Sample(input=f"{PROMPT}{n}", target="犬") for n in range(prompts)]
    task = Task(dataset=MemoryDataset(samples), solver=generate(), scorer=includes())
    with tempfile.TemporaryDirectory() as logs:
        names = [f"openai/m{n}" for n in range(models)]
        done = run(
            task, model=names, max_connections=-(-at_once // models), max_samples=at_once, max_tasks=models,
            display="none", log_dir=logs, log_format="eval", model_args={"responses_api": False},
        )  # fmt: skip
        assert all(log.status == "success" for log in done)


# ---- measuring ---------------------------------------------------------------------------------------


def measured(python: str, *arguments: object) -> dict[str, float]:
    """Wall, whole-process CPU and peak memory of one client."""
    command = [python, str(HERE / "sweep.py"), "--client", *map(str, arguments)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


def client(arguments: list[str]) -> None:
    """What a measured process does; prints its figures. The clock starts after Python itself has."""
    name, *rest = arguments
    started = time.perf_counter()
    if name == "bare":
        asyncio.run(bare(*map(int, rest)))
    elif name == "ours":
        ours(Path(rest[0]))
    else:
        inspect(*map(int, rest))
    wall_s = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {"wall_s": wall_s, "cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}
    print(json.dumps(figures))


def sweep_of(port: int, prompts: int, models: int, repeats: int, at_once: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        write_project(Path(folder), port, prompts, models, repeats, at_once)
        return measured(sys.executable, "ours", folder)


def started_stub(latency_ms: float) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, str(HERE / "stub.py"), str(latency_ms)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def case(port: int, shape: tuple[int, int, int, int], rounds: int, inspect_python: str | None) -> list[str]:
    """Rows of one case: each client in turn, as many rounds, medians."""
    prompts, models, repeats, at_once = shape
    calls = prompts * models * repeats
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        found.setdefault("bare aiohttp loop", []).append(
            measured(sys.executable, "bare", port, calls, at_once)
        )
        found.setdefault("llmbench", []).append(sweep_of(port, *shape))
    if inspect_python:
        found["Inspect AI"] = [measured(inspect_python, "inspect", port, prompts, models, at_once)]
    bare_s = statistics.median(each["wall_s"] for each in found["bare aiohttp loop"])
    rows = []
    for name, figures in found.items():
        wall, cpu, peak = (
            statistics.median(each[key] for each in figures) for key in ("wall_s", "cpu_s", "peak_mb")
        )
        rows.append(
            f"| {calls:,} at {at_once} | {name} | {wall:.1f} | {wall / bare_s:.2f} | {cpu:.1f} | {peak:.0f} |"
        )
    return rows


def report(rounds: int, inspect_python: str | None) -> str:
    """The table, and what memory does between 1,000 and 50,000 cells."""
    lines = [
        "# What a sweep costs",
        "",
        f"One run on one machine; the stub answers after {LATENCY_MS} ms. Wall and CPU in seconds, of the",
        "whole process with its imports; the ratio is to the bare loop's wall; memory is the peak in MB.",
        "",
        "| calls | client | wall s | / bare | CPU s | peak MB |",
        "|---|---|---|---|---|---|",
    ]
    stub, port = started_stub(LATENCY_MS)
    try:
        lines += case(port, (500, 3, 1, 32), rounds, inspect_python)
        lines += case(port, (500, 4, 5, 512), rounds, None)
    finally:
        stub.kill()
    stub, port = started_stub(0)
    try:
        small, large = (sweep_of(port, 500, 2, repeats, 64) for repeats in (1, 50))
    finally:
        stub.kill()
    grown = large["peak_mb"] - small["peak_mb"]
    peak = (
        f"Peak memory: {small['peak_mb']:.0f} MB with 1,000 cells, {large['peak_mb']:.0f} MB with 50,000 "
        f"({grown * 1024 / 49_000:.2f} kB a cell). 50,000 cells against a stub without latency: "
        f"{50_000 / large['wall_s']:.0f} a second, {large['cpu_s'] / 50_000 * 1e6:.0f} us of CPU each."
    )
    lines += [
        "",
        peak,
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inspect", help="Python of an environment with inspect-ai; this one's if it has it")
    parser.add_argument("--out", type=Path, default=HERE.parent / "reports" / "bench" / "sweep.md")
    parser.add_argument("--client", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        client(given.client)
        return
    has_inspect = importlib.util.find_spec("inspect_ai") is not None
    text = report(given.rounds, given.inspect or (sys.executable if has_inspect else None))
    print(text)
    given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
