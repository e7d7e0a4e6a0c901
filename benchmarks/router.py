"""What the router costs: CPU per call beside other clients, failover, import, memory. Prints ratios.

    python benchmarks/router.py [--turns 4] [--litellm PYTHON] [--to reports/bench]

Raw POST and llmbench run in one process, in turn, against one stub server; litellm, which needs an
environment of its own, in turns with that process. A ratio is the median of the rounds' ratios, so that a
machine that slows down for a while slows down both sides.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: Rounds in one turn of a process.
ROUNDS = 6
IMPORT = """
import json, sys, time
started = time.process_time()
import llmbench
spent = time.process_time() - started
print(json.dumps({"cpu_ms": spent * 1000, "sockets": "socket" in sys.modules}))
"""


def measured(python: str, *arguments: object) -> dict[str, Any]:
    """The JSON line that a program prints."""
    done = subprocess.run([python, *map(str, arguments)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


Spent = dict[str, list[float]]


def rounds_of(port: int, turns: int, litellm: str | None) -> Spent:
    """CPU microseconds per call: client -> one figure a round (litellm: as many, from its own process)."""
    spent: Spent = {}

    def add(python: str, *arguments: object) -> None:
        for name, figures in measured(python, HERE / "load.py", port, *arguments).items():
            spent.setdefault(name, []).extend(figures)

    for _ in range(turns):
        add(sys.executable, "raw", "llmbench", "failover", "--rounds", ROUNDS)
        add(sys.executable, "pool", "--rounds", ROUNDS, "--calls", 100)
        if litellm:
            add(litellm, "litellm", "--rounds", ROUNDS, "--calls", 400)
    return spent


def ratio(spent: Spent, top: str, bottom: str) -> tuple[float, float, float]:
    """Median, lowest and highest ratio of two clients over the rounds."""
    found = [above / below for above, below in zip(spent[top], spent[bottom], strict=True)]
    return statistics.median(found), min(found), max(found)


def table(spent: Spent, import_ms: list[float], memory: dict[str, Any]) -> str:
    """The report as Markdown."""
    rows = [
        ("llmbench / raw POST, same HTTP client", ratio(spent, "llmbench", "raw"), "<= 1.3"),
        ("failover 429 -> ok / raw POST", ratio(spent, "failover", "raw"), "<= 2.5"),
        ("httpx's own pool / aiohttp under httpx", ratio(spent, "pool", "raw"), ""),
    ]
    if "litellm" in spent:
        rows.append(("litellm.Router / llmbench", ratio(spent, "litellm", "llmbench"), ">= 12"))
    lines = ["# What the router costs", ""]
    lines += [
        f"Python {platform.python_version()}, {len(spent['raw'])} rounds, 64 calls at once, one stub server.",
        "",
    ]
    lines += ["| CPU per call | ratio | lowest | highest | target |", "|---|---|---|---|---|"]
    lines += [
        f"| {name} | {m:.2f} | {low:.2f} | {high:.2f} | {target} |" for name, (m, low, high), target in rows
    ]
    lines += ["", "| client | CPU per call, median, us |", "|---|---|"]
    lines += [f"| {name} | {statistics.median(values):.0f} |" for name, values in spent.items()]
    sizes = memory["resident_mib"]
    growth = f"{sizes[0]} MiB, then {sizes[-1]} MiB: {sizes[-1] - sizes[0]:+.2f} MiB (target below 2)"
    lines += [
        "",
        f"`import llmbench`: {min(import_ms):.1f} to {max(import_ms):.1f} ms CPU (target 60).",
        "",
        f"Resident memory over {memory['calls']} calls after a warm-up: {growth}.",
        f"Steps: {', '.join(map(str, sizes))}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--litellm", help="a Python that has litellm installed")
    parser.add_argument("--calls", type=int, default=100_000, help="calls of the memory run")
    parser.add_argument("--to", type=Path, default=Path("reports/bench"))
    given = parser.parse_args()
    with subprocess.Popen([sys.executable, HERE / "stub.py"], stdout=subprocess.PIPE, text=True) as stub:
        try:
            assert stub.stdout is not None
            port = int(stub.stdout.readline())
            time.sleep(0.1)
            spent = rounds_of(port, given.turns, given.litellm)
            memory = measured(sys.executable, HERE / "memory.py", port, "--calls", given.calls)
        finally:
            stub.kill()
    import_ms = [measured(sys.executable, "-c", IMPORT)["cpu_ms"] for _ in range(5)]
    report = table(spent, import_ms, memory)
    given.to.mkdir(parents=True, exist_ok=True)
    (given.to / "router.md").write_text(report, encoding="utf-8")
    figures = {"cpu_us_per_call": spent, "import_cpu_ms": import_ms, "memory": memory}
    (given.to / "router.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
