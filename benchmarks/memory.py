"""Memory over many calls: resident size of one process that calls through the router, in steps.

    python benchmarks/memory.py PORT [--calls 100000]

Prints JSON: resident MiB after the warm-up and after each tenth of the calls.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
from pathlib import Path

from load import drive, llmbench

WARM_UP = 5000


def resident_mib() -> float:
    """Resident memory of this process in MiB (Linux)."""
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def main(port: int, calls: int) -> None:
    async with llmbench(port) as once:
        await drive(once, WARM_UP)
        sizes = [resident_mib()]
        for _ in range(10):
            await drive(once, calls // 10)
            sizes.append(resident_mib())
    print(json.dumps({"calls": calls, "resident_mib": [round(size, 2) for size in sizes]}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--calls", type=int, default=100_000)
    given = parser.parse_args()
    asyncio.run(main(given.port, given.calls))
